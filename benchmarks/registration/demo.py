"""Registrations of the demo brain, where every place is known, from planes that are off.

    python benchmarks/registration/demo.py [DATASET] [--together UM] [--apart UM] [--seed N]

All sections are moved together, each by itself, and turned, by normally distributed amounts; then
refined. Errors are distances from the truth, in µm: the median over a grid of places in the tissue
of each section. With ``--together 0 --apart 0`` it shows what happens to sections that lie right.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atldld.api import DataSet, open_dataset
from atldld.atlas import Atlas, open_atlas
from atldld.demo.local import in_process_session
from atldld.formats.quicknii import write_quicknii
from atldld.place.placement import Placement
from atldld.place.sections import PlacedSection

VOXEL = 25.0  # µm, of QuickNII's anchorings


def disturbed(dataset: DataSet, folder: Path, together: float, apart: float, seed: int) -> Path:
    """Write the planes of a data set, off by known amounts."""
    path = write_quicknii(dataset, folder / "off.json")
    document = json.loads(path.read_text())
    rng = np.random.default_rng(seed)
    common = rng.normal(0, together / VOXEL, 3)
    for image in document["slices"]:
        o, u, v = np.reshape(image["anchoring"], (3, 3))
        moves = rng.normal(0, apart / VOXEL, (3, 3))
        image["anchoring"] = np.concatenate(
            (o + common + moves[0], u + 2 * moves[1], v + 2 * moves[2])
        ).tolist()
    path.write_text(json.dumps(document))
    return path


def error(section: PlacedSection, atlas: Atlas, placement: Placement) -> float | None:
    """Return how far off a section's tissue lies; None where there is hardly any."""
    width, height = section.image.width, section.image.height
    x, y = np.meshgrid(np.linspace(0.05, 0.95, 15) * width, np.linspace(0.05, 0.95, 11) * height)
    points = np.stack((x.ravel(), y.ravel()), axis=-1)
    truth: NDArray[np.float64] = section.to_reference(points)
    most = np.array(atlas.annotation.shape) - 1
    voxels = np.clip(np.floor(truth / atlas.resolution).astype(int), 0, most)
    tissue = atlas.annotation[tuple(voxels.T)] > 0
    if tissue.sum() < 3:
        return None
    off = placement.to_reference(points[tissue]) - truth[tissue]
    return float(np.median(np.linalg.norm(off, axis=1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=int, nargs="?", default=71717084)
    parser.add_argument("--together", type=float, default=200.0)
    parser.add_argument("--apart", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        in_process_session(Path(folder) / "cache") as session,
    ):
        warnings.simplefilter("ignore")
        dataset = open_dataset(options.dataset, session=session)
        atlas = open_atlas(25, session=session)
        path = disturbed(dataset, Path(folder), options.together, options.apart, options.seed)
        start = open_dataset(options.dataset, session=session, alignment=path)
        for section in start:
            section.pixels(4)  # made once, by the demo
        begun = time.perf_counter()
        found = start.refine(atlas, jobs=options.jobs)
        seconds = (time.perf_counter() - begun) / len(start)
        pairs = []
        for section in dataset:
            before = error(section, atlas, start.section(section.id).placement)
            after = error(section, atlas, found.sections[section.id].placement)
            if before is not None and after is not None:
                pairs.append((before, after))
    before_all, after_all = np.array(pairs).T
    print(f"{len(pairs)} sections, {found.moved} moved, {seconds:.1f} s each")
    for name, values in (("before", before_all), ("after", after_all)):
        middle, high, most = np.percentile(values, [50, 95, 100])
        print(f"{name:7} median {middle:4.0f}, 95 % {high:4.0f}, most {most:4.0f} µm")
    print(f"worse by more than 10 µm: {int((after_all > before_all + 10).sum())}")


if __name__ == "__main__":
    main()
