"""The numbers by which errors of registrations are stated, and how well they tell the true ones.

    python benchmarks/registration/calibrate.py [DATASET ...] [--keep FILE]

The sections are those of ``cut.py``, whose true places are known. With seeds 0 to 4 the numbers of
`atldld.refine.errors.MODEL` are fitted, and printed as they stand there; with seeds 100 to 104 they
are judged; ``--as-is`` judges only, also data sets that nothing was fitted to. A bound is what nine
of ten sections are below where the numbers were fitted to all other runs: a user's data set is not
in the fit either.

The table gives Spearman's correlation of the stated error of sections with the true one (the mean
over the tissue), the part of the sections that lie below their 90 % bound, and the mean of both
errors, for what the registration found ("after"), for the start ("before"), for sections put back
to where they started beside others that were not ("put back"), for sections that lay right at the
start ("right"), and for structures. Numbers are the same each time.

``--keep FILE`` keeps what is collected, so that a second run goes on from there.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from atldld.atlas import Atlas
from atldld.place.placement import Placement
from atldld.refine import engine
from atldld.refine.errors import FIGURES, LEAST, MODEL, MOST, Evidence, Model, evidence, stated
from atldld.refine.model import Labels3d
from atldld.testing.cut import CutSection, cut
from atldld.testing.places import Errors
from atldld.testing.stains import Anatomy
from cut import LEAST as FEWEST_PIXELS
from cut import run
from judged import genuine_atlas, genuine_record, numbers_of, rank_correlation

Matrix = NDArray[np.float64]

DATASETS = (69289763, 74272479)
FITTED, JUDGED = "0-4", "100-104"
SIGNS = (1, 1, -1, 1, 1, 1)  # an error does not fall with the first figure, and so on
PUT_BACK = 3  # every so many sections
LEAST_ERROR = 10.0  # µm: smaller errors are all alike
RIDGE = 0.5  # sections' worth of doubt that a figure tells anything


@dataclass(frozen=True, eq=False)
class Sample:
    """One section: what is known of its error, and the error, before and after, in µm."""

    dataset_id: int
    seed: int
    kind: str
    what: str  # "found", "put back" or "right"
    known: Evidence
    before: float
    after: float
    structures: dict[int, tuple[float, float]]


def samples(
    dataset_id: int,
    seed: int,
    right: bool,
    atlas: Atlas,
    anatomy: Anatomy,
    jobs: int,
    **options: Any,
) -> Iterator[Sample]:
    """Yield the sections of one run."""
    nothing = Errors(median=0) if right else None
    data = cut(genuine_record(dataset_id), anatomy, seed, errors=nothing, jobs=jobs)
    told: list[dict[str, Any]] = []

    def recording(
        looks: Any, starts: Any, ends: Any, *rest: Any, jobs: int, **_: Any
    ) -> list[Evidence | None]:
        out = evidence(looks, starts, ends, *rest, jobs=jobs)
        back = [
            start if k % PUT_BACK == seed % PUT_BACK else end
            for k, (start, end) in enumerate(zip(starts, ends, strict=True))
        ]
        again = evidence(looks, starts, back, *rest, jobs=jobs)
        told.append({"starts": starts, "found": (ends, out), "put back": (back, again)})
        told[-1] |= {"numbers": rest[0], "labels": rest[-2], "lines": rest[-1]}
        return out

    with patch.object(engine, "evidence", recording):
        placed, found, _, _ = run(data, atlas, jobs, **options)
    for section in placed:
        steps = found.sections[section.id].steps
        if steps and steps[0].step == "none":
            print(f"  section {section.number} stays: {steps[0].reason}", flush=True)
    seen = told[-1]  # without the sections that do not belong, if there are any
    stays = {one for one, fit in found.sections.items() if [s.step for s in fit.steps] == ["none"]}
    by_number = {section.number: section for section in placed}
    order = [by_number[number] for number in seen["numbers"]]
    for what in ("found",) if right else ("found", "put back"):
        for k, (section, end, known) in enumerate(zip(order, *seen[what], strict=True)):
            truth = data.sections[section.id]
            put_back = end is seen["starts"][k] and end is not seen["found"][0][k]
            if known is None or len(truth.tissue) < FEWEST_PIXELS or (what != "found") != put_back:
                continue
            if section.id in stays:
                continue
            place = section.placement
            at = place if put_back else found.sections[section.id].placement
            off = truth.off(place), truth.off(at)
            yield Sample(
                dataset_id,
                seed,
                data.about["kind"],
                "right" if right else what,
                known,
                float(off[0].mean()),
                float(off[1].mean()),
                by_structure(truth, at, off, seen["labels"], seen["lines"]),
            )


def by_structure(
    truth: CutSection,
    at: Placement,
    off: tuple[Matrix, Matrix],
    labels: Labels3d,
    lines: Sequence[Sequence[int]],
) -> dict[int, tuple[float, float]]:
    """Return the mean errors of the tissue that a placement puts into each structure."""
    rows = labels.at(at.to_reference(truth.tissue).T)
    sums: dict[int, Matrix] = {}
    for row in np.unique(rows[rows > 0]).tolist():
        own = rows == row
        add = np.array([own.sum(), off[0][own].sum(), off[1][own].sum()])
        for structure in lines[row]:
            sums[structure] = sums.get(structure, np.zeros(3)) + add
    return {
        structure: (float(before / count), float(after / count))
        for structure, (count, before, after) in sums.items()
        if count >= FEWEST_PIXELS
    }


def fitted(chosen: Sequence[Sample]) -> Model:
    """Return the numbers that tell the errors of some sections best, and bounds for others."""
    # places that are right to the last micrometre exist in no real data set
    chosen = [one for one in chosen if one.what != "right"]
    model = with_structures(fitted_sections(chosen), chosen)
    apart = []
    for of_run in sorted({(one.dataset_id, one.seed) for one in chosen}):
        others = fitted_sections([one for one in chosen if (one.dataset_id, one.seed) != of_run])
        for one in chosen:
            if (one.dataset_id, one.seed) == of_run and one.what == "found":
                before, after = told(one, others)
                apart.append((one.before / before, one.after / after))
    before, after = np.quantile(apart, 0.9, axis=0)
    return replace(model, bounds=(float(before), float(after)))


def fitted_sections(chosen: Sequence[Sample]) -> Model:
    """Return the numbers of sections, without structures and bounds."""
    found = [one for one in chosen if one.what == "found"]
    unseen = float(np.mean([one.before for one in found]))
    none = (0.0,) * len(FIGURES)
    true = np.log([max(one.after, LEAST_ERROR) for one in chosen])
    figures = np.log(np.clip([one.known.figures for one in chosen], LEAST, MOST))
    offset, powers = monotone(figures, true)
    model = Model(float(np.exp(offset)), tuple(powers), none, 1.0, 1.0, unseen, (1.0, 1.0))
    # powers fit the middle of errors, which is less than their mean
    off = np.mean([one.after for one in found]) / np.mean([told(one, model)[1] for one in found])
    model = replace(model, scale=model.scale * float(off))
    way = np.array([one.known.moved for one in found]) ** 2
    grown = np.array([one.before**2 - told(one, model)[1] ** 2 for one in found])
    return replace(model, moved=float(np.sqrt(max(grown @ way / (way @ way), 0.0))))


def with_structures(model: Model, chosen: Sequence[Sample]) -> Model:
    """Return the numbers of sections with those of structures."""
    ratios, errors = [], []
    for one in chosen:
        after = stated(one.known, model).after
        middle = np.log(np.clip(one.known.figures, LEAST, MOST))
        for structure, own in zip(one.known.structures, one.known.local, strict=True):
            if structure in one.structures:
                ratios.append(np.log(np.clip(own, LEAST, MOST)) - middle)
                errors.append(np.log(max(one.structures[structure][1], LEAST_ERROR) / after))
    offset, local = monotone(np.array(ratios), np.array(errors))
    spread = np.exp(np.var(np.array(errors) - offset - np.array(ratios) @ local) / 2)
    return replace(model, local=tuple(local), local_scale=float(np.exp(offset) * spread))


def told(one: Sample, model: Model) -> tuple[float, float]:
    """Return the stated error before and after."""
    out = stated(one.known, model)
    return out.before, out.after


def monotone(figures: Matrix, wanted: Matrix) -> tuple[float, Matrix]:
    """Return the offset and the powers of figures, whose signs are known, by least squares."""
    from scipy.optimize import lsq_linear

    signs = np.array(SIGNS)
    middle = figures.mean(axis=0)
    doubt = np.sqrt(RIDGE) * np.eye(len(SIGNS))
    matrix = np.vstack(((figures - middle) * signs, doubt))
    right = np.concatenate((wanted - wanted.mean(), np.zeros(len(SIGNS))))
    powers = lsq_linear(matrix, right, bounds=(0.0, 2.0)).x * signs
    return float(wanted.mean() - middle @ powers), powers


HEADER = (
    "| sections | number | rank | in bound | stated, true | structures: rank, of all, in a section "
    "|\n" + "|---" * 6 + "|"
)


def row(name: str, chosen: Sequence[Sample], model: Model, when: int) -> str:
    """Return one line of the table."""
    errors = [stated(one.known, model) for one in chosen]
    mine = np.array([(e.before, e.after)[when] for e in errors])
    most = np.array([(e.bound90_before, e.bound90_after)[when] for e in errors])
    true = np.array([(one.before, one.after)[when] for one in chosen])
    inner, pairs = [], []
    for one, error in zip(chosen, errors, strict=True):
        both = [s for s in error.structures if s in one.structures]
        here = np.array([[error.structures[s][when], one.structures[s][when]] for s in both])
        if len(both) >= 10 and np.ptp(here[:, 1]) > 0:
            inner.append(rank_correlation(*here.T))
            pairs.append(here)
    structures = rank_correlation(*np.concatenate(pairs).T) if pairs else np.nan
    within = float(np.mean(inner)) if inner else np.nan
    rank = rank_correlation(mine, true) if np.ptp(true) > 0 else np.nan
    return (
        f"| {name} | {len(chosen)} | {rank:.2f} | "
        f"{np.mean(true <= most):.0%} | {mine.mean():.0f}, {true.mean():.0f} "
        f"| {structures:.2f}, {within:.2f} |"
    )


def table(chosen: Sequence[Sample], model: Model) -> Iterator[str]:
    """Yield the lines of a table."""
    yield HEADER
    found = [one for one in chosen if one.what == "found"]
    keys: tuple[tuple[str, Callable[[Sample], Any]], ...] = (
        ("after, ", lambda one: one.dataset_id),
        ("after, ", lambda one: one.kind),
        ("after, ", lambda one: f"{one.dataset_id}, seed {one.seed}"),
    )
    yield row("**after**", found, model, 1)
    yield row("**before**", found, model, 0)
    for what in ("put back", "right"):
        some = [one for one in chosen if one.what == what]
        if some:
            yield row(what, some, model, 1)
        if some and what == "right":
            yield row("right, before", some, model, 0)
    for begin, key in keys:
        for value in sorted({key(one) for one in found}, key=str):
            yield row(f"{begin}{value}", [one for one in found if key(one) == value], model, 1)


def printed(model: Model) -> str:
    """Return a model as it stands in the code."""

    def rounded(values: Sequence[float]) -> str:
        # a power that may not be less than 0 is hardly ever 0 to the last digit
        return "(" + ", ".join(f"{round(value, 6) + 0.0:.3g}" for value in values) + ")"

    return (
        f"MODEL = Model(\n    scale={model.scale:.3g},\n    powers={rounded(model.powers)},\n"
        f"    local={rounded(model.local)},\n    local_scale={model.local_scale:.3g},\n"
        f"    moved={model.moved:.3g},\n    unseen={model.unseen:.3g},\n"
        f"    bounds={rounded(model.bounds)},\n)"
    )


def collected(
    dataset_ids: Sequence[int],
    seeds: Sequence[int],
    file: Path | None,
    jobs: int,
    *,
    right: bool = False,
    **options: Any,
) -> list[Sample]:
    """Return the sections of many runs; those that a file keeps are not made anew."""
    kept: dict[tuple[int, int, bool], list[Sample]] = {}
    if file is not None and file.is_file():
        kept = pickle.loads(file.read_bytes())
    atlas = genuine_atlas()
    anatomy = Anatomy.of(atlas)
    wanted = [(one, seed, False) for seed in seeds for one in dataset_ids]
    if right:
        wanted += [(one, seeds[0], True) for one in dataset_ids]
    for one, seed, lie_right in wanted:
        if (one, seed, lie_right) in kept:
            continue
        kept[one, seed, lie_right] = list(
            samples(one, seed, lie_right, atlas, anatomy, jobs, **options)
        )
        if file is not None:
            file.write_bytes(pickle.dumps(kept))
        print(
            f"{one}, seed {seed}{', right' * lie_right}: {len(kept[one, seed, lie_right])}",
            flush=True,
        )
    return [sample for key in wanted for sample in kept[key]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", type=int, nargs="*", default=DATASETS)
    parser.add_argument("--fitted", type=numbers_of, default=numbers_of(FITTED))
    parser.add_argument("--judged", type=numbers_of, default=numbers_of(JUDGED))
    parser.add_argument("--keep", type=Path, help="a file for what is collected")
    parser.add_argument("--as-is", action="store_true", help="judge the model in the code only")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    model = MODEL
    if not options.as_is:
        chosen = collected(options.datasets, options.fitted, options.keep, options.jobs)
        model = fitted(chosen)
        print(f"\n{printed(model)}\n\nFigures: {', '.join(FIGURES)}; fitted on these:\n")
        print("\n".join(table(chosen, model)))
    chosen = collected(options.datasets, options.judged, options.keep, options.jobs, right=True)
    print("\nJudged on these:\n")
    print("\n".join(table(chosen, model)))


if __name__ == "__main__":
    main()
