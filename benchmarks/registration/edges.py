"""How planes that lie right are moved: what the step `sections` gets wrong by itself.

    python benchmarks/registration/edges.py [DATASET] [--seeds 1]

Sections are cut from the genuine atlas right where they are placed, so the best move is none. Each
line is the median over a third of them, in the order of their numbers: how far the fitted planes
lie across themselves, in µm, and by how many µm per mm what lies in them is too large (less than 0:
too small) along either axis of the plane. No guard has a say. Decision 14 tells why it is not 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atldld.atlas import Atlas
from atldld.place.sections import PlacedDataSet
from atldld.place.spaces import Plane
from atldld.refine.engine import looks_of
from atldld.refine.model import Labels3d, Look, capped
from atldld.refine.planes import Frame, fit_planes
from atldld.testing.cut import cut
from atldld.testing.places import Errors
from atldld.testing.stains import Anatomy
from judged import genuine_atlas, genuine_record, numbers_of, session_of

Matrix = NDArray[np.float64]

RESOLUTION, FITTED_AT = 25.0, 50.0  # µm, as `atldld refine` has them
AXES = {Plane.CORONAL: 0, Plane.TRANSVERSE: 1, Plane.SAGITTAL: 2}  # what planes lie across


def moved(look: Look, before: Matrix, after: Matrix, labels: Labels3d, across: int) -> Matrix:
    """Return how a plane has moved: across itself in µm, and the two scales in µm per mm."""
    pixels = look.flat(None)
    start = before @ pixels
    inside = labels.at(start) > 0
    start, away = start[:, inside], ((after - before) @ pixels)[:, inside]
    along = [axis for axis in range(3) if axis != across]
    middle = start.mean(axis=1, keepdims=True)
    basis = np.vstack(((start - middle)[along] / 1000, np.ones(start.shape[1])))
    slopes, *_ = np.linalg.lstsq(basis.T, away.T, rcond=None)
    return np.array([slopes[2, across], slopes[0, along[0]], slopes[1, along[1]]])


def of_run(dataset_id: int, seed: int, atlas: Atlas, jobs: int) -> Matrix:
    """Return how each section that shows tissue has moved, shape (sections, 3)."""
    data = cut(
        genuine_record(dataset_id), Anatomy.of(atlas), seed, errors=Errors(median=0), jobs=jobs
    )
    placed, labels = PlacedDataSet.of(data.record), Labels3d.of(atlas)
    with session_of(data.images) as session:
        found, _ = looks_of(list(placed), session, RESOLUTION, jobs)
    order = sorted(found, key=lambda section: section.number)
    looks = [look.coarser(FITTED_AT) for look in capped([found[section] for section in order])]
    starts = [section.placement.forward for section in order]
    across = AXES[order[0].plane]
    depths = [
        float(start[across] @ [*Frame(look).middle, 1.0])
        for start, look in zip(starts, looks, strict=True)
    ]
    ends = fit_planes(looks, starts, [None] * len(looks), depths, labels, jobs=jobs)
    moves = [
        moved(look, start, end, labels, across)
        for look, start, end in zip(looks, starts, ends, strict=True)
        if (labels.at(start @ look.flat(None)) > 0).any()
    ]
    return np.array(moves)


def table(moves: Matrix) -> Sequence[str]:
    """Return a line for each third of the sections."""
    return [
        "| " + " | ".join([name, *(f"{value:.1f}" for value in np.median(third, axis=0))]) + " |"
        for name, third in zip(
            ("first third", "second", "last"), np.array_split(moves, 3), strict=True
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=int, nargs="?", default=74272479)
    parser.add_argument("--seeds", type=numbers_of, default=numbers_of("1"))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    atlas = genuine_atlas()
    for seed in options.seeds:
        print(f"\n{options.dataset}, seed {seed}\n")
        print("| sections | across, µm | first axis, µm per mm | second axis, µm per mm |")
        print("|---|---|---|---|")
        print("\n".join(table(of_run(options.dataset, seed, atlas, options.jobs))), flush=True)


if __name__ == "__main__":
    main()
