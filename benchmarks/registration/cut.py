"""Registrations of sections that were cut from the genuine atlas at known places.

    python benchmarks/registration/cut.py [DATASET ...] [--seeds 100-104] [--right] [--peers]

Along the genuine matrices of three data sets, sections are cut from the annotation and the template
in ``shared/data`` beside the repository; but they truly lie somewhere else, by errors of the brain
as a whole, of each section, and smooth ones within it (`atldld.testing.places`). Five kinds of
stain, expression that is not anatomy, uneven light and damage (`atldld.testing.stains`,
`atldld.testing.pictures`) differ from seed to seed. The registration gets pictures and records as
from the service. Errors are distances, in µm, from where a pixel truly lies, over all tissue. With
``--right`` all sections lie right at the start, and the error is how far they have been moved.

Parameters were chosen with seeds 0 to 4; figures are to be reported for 100 to 104.
"""

from __future__ import annotations

import argparse
import inspect
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atldld.atlas import Atlas
from atldld.place.registration import Registration, SectionFit
from atldld.place.sections import PlacedDataSet
from atldld.place.tiers import tier_of
from atldld.refine import refine
from atldld.testing.cut import CutDataSet, HasPlaces, cut
from atldld.testing.places import Errors
from atldld.testing.stains import Anatomy
from judged import (
    SHARED,
    Peak,
    genuine_atlas,
    genuine_record,
    jacobians,
    numbers_of,
    rank_correlation,
    session_of,
    there_and_back,
)
from peers import PEERS, registered_by

DATASETS = (69289763, 71717084, 74272479)
REPORTED = "100-104"
OURS = "atldld"
RESOLUTION = inspect.signature(refine).parameters["resolution"].default
WORSE = 10.0  # µm: a section whose mean error grows by more has become worse
LEAST = 20  # judged pixels without which a section says nothing

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judged:
    """One section: its errors, in µm, and how it was mapped."""

    before: Matrix
    after: Matrix
    jacobian: tuple[float, float]
    round_trip: float
    expected: float | None = None
    bound: float | None = None

    @property
    def worse(self) -> bool:
        """Whether the section lies worse than at the start."""
        return float(self.after.mean()) > float(self.before.mean()) + WORSE


@dataclass(frozen=True, eq=False)
class Run:
    """One data set with one seed."""

    name: str
    kind: str
    sections: list[Judged]
    seconds: float
    memory: float


def judged(
    data: CutDataSet,
    placed: PlacedDataSet,
    placements: Mapping[int, HasPlaces],
    fits: Mapping[int, SectionFit] | None = None,
) -> list[Judged]:
    """Return the errors of all sections that have tissue."""
    out = []
    for section in placed:
        known = data.sections[section.id]
        if len(known.tissue) < LEAST:
            continue
        placement = placements[section.id]
        expected, bound = expected_of((fits or {}).get(section.id))
        out.append(
            Judged(
                before=known.off(section.placement),
                after=known.off(placement),
                jacobian=jacobians(placement, section.placement, known.tissue),
                round_trip=there_and_back(placement, known.tissue),
                expected=expected,
                bound=bound,
            )
        )
    return out


def expected_of(fit: Any) -> tuple[float | None, float | None]:
    """Return the error that a registration states, and what nine of ten such sections are below."""
    stated = getattr(fit, "expected_error", None)
    if stated is None:
        return None, None
    return float(stated.after), float(stated.bound90_after)


def run(
    data: CutDataSet,
    atlas: Atlas,
    jobs: int,
    **options: Any,
) -> tuple[PlacedDataSet, Registration, float, float]:
    """Refine a data set as if the service had it; return also seconds a section, and MB."""
    placed = PlacedDataSet.of(data.record)
    with session_of(data.images) as session:
        for section in placed:  # as from a cache that holds them
            session.image(section.image, tier_of(section, options.get("resolution", RESOLUTION)))
        peak = Peak()
        begun = time.perf_counter()
        found = refine(placed, atlas, session=session, jobs=jobs, **options)
        return placed, found, (time.perf_counter() - begun) / len(placed), peak.megabytes


def runs(
    dataset_ids: Sequence[int],
    seeds: Sequence[int],
    atlas: Atlas,
    *,
    errors: Errors | None = None,
    peers: Sequence[str] = (),
    jobs: int = 2,
    **options: Any,
) -> Iterator[tuple[str, Run]]:
    """Yield the judged registrations of all data sets and seeds, by the name of what made them."""
    anatomy = Anatomy.of(atlas)
    for dataset_id in dataset_ids:
        for seed in seeds:
            data = cut(genuine_record(dataset_id), anatomy, seed, errors=errors, jobs=jobs)
            placed, found, seconds, memory = run(data, atlas, jobs, **options)
            kind, name = data.about["kind"], f"{dataset_id}, seed {seed}"
            sections = judged(data, placed, found.placements(data.record), found.sections)
            yield OURS, Run(name, kind, sections, seconds, memory)
            for peer in peers:
                with session_of(data.images) as session:
                    begun = time.perf_counter()
                    theirs = registered_by(peer, placed, atlas, session)
                    seconds = (time.perf_counter() - begun) / len(placed)
                yield peer, Run(name, kind, judged(data, placed, theirs), seconds, np.nan)


HEADER = (
    "| data set | stain | sections | before: median, 95 % | after: median, 95 % | worse "
    "| Jacobian | there and back | rank | in bound | s each | MB |\n" + "|---" * 12 + "|"
)


def row(name: str, kind: str, judged: Sequence[Judged], seconds: float, memory: float) -> str:
    """Return one line of the table."""
    before, after = (
        np.percentile(np.concatenate([getattr(one, when) for one in judged]), [50, 95])
        for when in ("before", "after")
    )
    least = min(one.jacobian[0] for one in judged)
    most = max(one.jacobian[1] for one in judged)
    stated = [one for one in judged if one.expected is not None and one.bound is not None]
    rank, within = "–", "–"
    if stated:
        true = np.array([float(one.after.mean()) for one in stated])
        rank = f"{rank_correlation(np.array([one.expected for one in stated]), true):.2f}"
        within = f"{np.mean(true <= np.array([one.bound for one in stated])):.0%}"
    return (
        f"| {name} | {kind} | {len(judged)} | {before[0]:.0f}, {before[1]:.0f} "
        f"| {after[0]:.0f}, {after[1]:.0f} | {sum(one.worse for one in judged)} "
        f"| {least:.2f} … {most:.2f} | {max(one.round_trip for one in judged):.2f} "
        f"| {rank} | {within} | {seconds:.1f} | {memory:.0f} |"
    )


def table(found: Iterable[tuple[str, Run]], *, every: bool = True) -> Iterator[str]:
    """Yield the lines of a table: each data set with each seed, each data set, and all."""
    yield HEADER
    kept: list[tuple[str, Run]] = []
    for who, one in found:
        kept.append((who, one))
        if every and who == OURS:
            yield row(one.name, one.kind, one.sections, one.seconds, one.memory)
    ours = [one for who, one in kept if who == OURS]
    for name in dict.fromkeys(one.name.split(",")[0] for one in ours):
        yield summary(name, [one for one in ours if one.name.startswith(name)])
    for who in dict.fromkeys(who for who, _ in kept):
        what = "**all**" if who == OURS else f"all, {who}"
        yield summary(what, [one for name, one in kept if name == who])


def summary(name: str, chosen: Sequence[Run]) -> str:
    """Return one line for several runs."""
    sections = [section for one in chosen for section in one.sections]
    counts = [len(one.sections) for one in chosen]
    seconds = float(np.average([one.seconds for one in chosen], weights=counts))
    return row(name, "all", sections, seconds, max(one.memory for one in chosen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", type=int, nargs="*", default=DATASETS)
    parser.add_argument("--seeds", type=numbers_of, default=numbers_of(REPORTED))
    parser.add_argument("--resolution", type=float, help="as for `atldld refine`")
    parser.add_argument("--right", action="store_true", help="all sections lie right at the start")
    parser.add_argument("--peers", action="store_true", help="and what others make of them")
    parser.add_argument("--summary", action="store_true", help="no line for each data set and seed")
    parser.add_argument("--options", type=json.loads, default={}, help="more of refine's, as JSON")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    more = dict(options.options)
    if options.resolution:
        more["resolution"] = options.resolution
    if not SHARED.is_dir():
        raise SystemExit(f"The genuine data are not at {SHARED}.")
    missing = {name: peer.missing() for name, peer in PEERS.items() if options.peers}
    found = runs(
        options.datasets,
        options.seeds,
        genuine_atlas(),
        errors=Errors(median=0) if options.right else None,
        peers=[name for name, why in missing.items() if why is None],
        jobs=options.jobs,
        **more,
    )
    for line in table(found, every=not options.summary):
        print(line, flush=True)
    for name, why in missing.items():
        if why is not None:
            print(f"\n{name} is left out: {why}")


if __name__ == "__main__":
    main()
