"""What the rule for suspicious sections marks and finds on real sections.

    python benchmarks/registration/suspicious.py [--seeds 100-119] [--half odd] [--alignment REG]
        [--without 409]

The 66 Nissl plates (`nissl.py`) are sound, though real: whole hemispheres are missing on two of
them, and their pictures cut the brain off. The rule is to mark few of them as they are. Then a
tenth of them is disturbed, another tenth for each seed, as in ``benchmarks/bench_quality.py``:

shift   moved in its plane by 200 to 600 µm, in any direction
turn    turned in its plane by 3 to 8°, about the middle of its tissue
other   the picture of the plate 1 to 3 places (200 to 600 µm) away
depth   placed 1 to 3 places away
torn    8 to 25 % of the tissue, on one side of a line, is missing, or lies 300 to 800 µm off

Placed by Allen's matrices, by people, and by a registration (``--alignment``, or one that is made
now). Printed are how many of all sound plates are marked, the areas under the ROC curve of the
score, all together and each kind against the undisturbed, and the part of the disturbed that is
marked.

``--without`` leaves sections, by their numbers, out of the areas and of what is found.

The rule was chosen on plates of even place, with seeds 0 to 15; the others are to be reported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import nissl
from atldld.api import DataSet
from atldld.atlas import Atlas
from atldld.place.alignment import read_alignment
from atldld.place.placement import Placement
from atldld.place.sections import PlacedDataSet
from atldld.quality import DatasetQuality, SectionView, assess_pictures
from atldld.refine import refine
from judged import genuine_atlas, numbers_of, session_of

sys.path.append(str(Path(__file__).resolve().parents[1]))
import bench_quality as bench

SHARE = 0.1
PLACES = (1, 3)


class Plates(bench.Sound):
    """The plates, of which some of one half are disturbed."""

    def some_disturbed(
        self, seed: int, half: NDArray[np.bool_]
    ) -> tuple[list[SectionView], list[str]]:
        """Return views of which a tenth is disturbed, and the kind of each ("" if it is not)."""
        rng = np.random.default_rng(seed)
        sections = list(self.dataset.sections)
        tissue = np.array([view.tissue.sum() for view in self.views])
        fit = np.flatnonzero(half & (tissue >= bench.LEAST_TISSUE))
        chosen = rng.choice(fit, round(SHARE * len(sections)), replace=False)
        first = int(rng.integers(len(bench.KINDS)))
        kinds, views = [""] * len(sections), list(self.views)
        for turn, k in enumerate(chosen):
            kinds[k] = bench.KINDS[(first + turn) % len(bench.KINDS)]
            views[k] = self._view(int(k), kinds[k], sections, rng)
        return views, kinds


def judged(
    plates: Plates,
    atlas: Atlas | None,
    seeds: Sequence[int],
    half: NDArray[np.bool_],
    counted: NDArray[np.bool_],
    jobs: int,
) -> str:
    """Return one line of the table, without its name; plates of a half are disturbed."""
    sound = assess_pictures(plates.views, atlas, jobs=jobs)
    outcome = bench.Outcome()
    for seed in seeds:
        views, kinds = plates.some_disturbed(seed, half)
        quality = assess_pictures(views, atlas, jobs=jobs)
        chosen = np.flatnonzero(half & counted)
        part = DatasetQuality(
            tuple(quality.sections[k] for k in chosen), 0, "", atlas is not None, None, 0
        )
        outcome.add(part, [kinds[k] for k in chosen])
    marked = len(sound.suspicious)
    _, recall = outcome.precision_and_recall()
    kinds_found = " | ".join(f"{outcome.curve(kind):.3f}" for kind in bench.KINDS)
    return (
        f"| {marked} of {len(plates.views)} ({marked / len(plates.views):.1%}) "
        f"| **{outcome.curve():.3f}** | {kinds_found} | {recall:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=numbers_of, default=numbers_of("100-119"))
    parser.add_argument("--half", choices=("even", "odd", "all"), default="odd")
    parser.add_argument("--alignment", type=Path, help="a registration of the plates")
    parser.add_argument("--without", type=numbers_of, default=[], help="numbers of sections")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if not nissl.PLATES.is_dir():
        raise SystemExit(f"The genuine plates are not at {nissl.PLATES}.")
    bench.PLACES = PLACES
    atlas, record = genuine_atlas(), nissl.record()
    place = np.arange(len(record.images))
    half = {"even": place % 2 == 0, "odd": place % 2 == 1}.get(options.half, place >= 0)
    numbers = [image.section_number for image in record.images]
    counted = ~np.isin(numbers, options.without)
    print(
        "| placed by | atlas | sound ones marked | area | " + " | ".join(bench.KINDS) + " | found |"
    )
    print("|---" * (5 + len(bench.KINDS)) + "|")
    with session_of(nissl.pictures()) as session:
        start = PlacedDataSet.of(record)
        if options.alignment is None:
            found = refine(start, atlas, session=session, jobs=options.jobs).placements(record)
        else:
            found = read_alignment(options.alignment).placements(record)
        given: dict[str, Mapping[int, Placement]] = {
            "Allen": {},
            "people": nissl.people(),
            "atldld refine": found,
        }
        for who, placements in given.items():
            placed = PlacedDataSet.with_placements(record, placements)
            plates = Plates(DataSet.with_pixels(placed, session), options.jobs)
            for known in (atlas, None):
                line = judged(plates, known, options.seeds, half, counted, options.jobs)
                print(f"| {who} | {'with' if known else 'without'} {line}", flush=True)


if __name__ == "__main__":
    main()
