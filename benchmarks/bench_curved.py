"""What a curved section costs more than a flat one: its picture, and ten million of its points.

    python benchmarks/bench_curved.py [--rounds N]

Two sections of the demo archive at every resolution, their images cached; the curves are smooth,
of up to 300 full-resolution pixels, with nodes 100 apart, as `atldld refine` makes them. Of
decoding and laying out, flat and curved take turns, and the least CPU time of each counts, so that
a busy machine matters little. Of the points, which all cores share, it is the median by the clock.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from atldld.demo.local import in_process_session
from atldld.place import Plane
from atldld.place.deformation import Displacements, SplineDeformation
from atldld.place.sections import PlacedDataSet, PlacedSection
from atldld.sections.register import Recipe, fetch, warp
from findings import Findings, json_option

DATASETS = (71717084, 69289763)
RESOLUTIONS = (10, 25, 50)
SPACING, FADING, LARGEST = 100.0, 20, 300.0


def curve(section: PlacedSection, seed: int) -> PlacedSection:
    """Bend a section smoothly; the deformation fades beyond the image."""
    random = np.random.default_rng(seed)
    size = section.image.width, section.image.height
    x, y = (np.arange(-FADING, side // SPACING + 1 + FADING) * SPACING for side in size)
    fade_x, fade_y = (
        np.clip(np.minimum(k, k[::-1]) / FADING, 0, 1)
        for k in (np.arange(len(x)), np.arange(len(y)))
    )
    vectors = np.zeros((len(y), len(x), 2))
    for _ in range(8):
        across, down = random.uniform(-1, 1, 2) * 2 * np.pi / 4000
        wave = np.sin(across * x + (down * y)[:, None] + random.uniform(0, 2 * np.pi))
        vectors += wave[..., None] * random.normal(size=2)
    vectors *= ((fade_x**2 * (3 - 2 * fade_x)) * (fade_y**2 * (3 - 2 * fade_y))[:, None])[..., None]
    vectors *= LARGEST / np.linalg.norm(vectors, axis=-1).max()
    deformation = SplineDeformation.of(
        Displacements((float(x[0]), float(y[0])), (SPACING, SPACING), vectors.astype(np.float32))
    )
    return replace(section, placement=replace(section.placement, deformation=deformation))


def points(section: PlacedSection, count: int, rounds: int) -> dict[str, float]:
    """Return the seconds that points of a curved section take, there and back."""
    size = section.image.width, section.image.height
    places = np.random.default_rng(0).random((count, 2)) * size
    found = section.placement.to_reference(places)
    ways: dict[str, Callable[[], object]] = {
        "to the reference space": lambda: section.placement.to_reference(places),
        "to the image": lambda: section.placement.to_image(found),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            begun = time.perf_counter()
            work()
            seconds[way].append(time.perf_counter() - begun)
    return {way: median(taken) for way, taken in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--points", type=lambda text: int(float(text)), default=10_000_000)
    json_option(parser)
    options = parser.parse_args()
    findings = Findings("curved", options.json)
    cv2.setNumThreads(1)
    print("| data set | plane | µm | flat, CPU s | curved, CPU s | ratio |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, in_process_session(Path(folder)) as session:
        for dataset_id in DATASETS:
            dataset = PlacedDataSet.of(session.dataset(dataset_id))
            flat = dataset.sections[len(dataset) // 2]
            curved = curve(flat, 1)
            for resolution in RESOLUTIONS:
                jobs = [Recipe(resolution).plan(section) for section in (flat, curved)]
                files = fetch(jobs[0], session)
                least = [np.inf, np.inf]
                for _ in range(options.rounds):
                    for k, job in enumerate(jobs):
                        begun = time.process_time()
                        warp(job, files, session)
                        least[k] = min(least[k], time.process_time() - begun)
                one, other = least
                plane = Plane.from_id(dataset.record.plane_of_section_id).value
                print(
                    f"| {dataset_id} | {plane} | {resolution} | {one:.3f} | {other:.3f} | "
                    f"{other / one:.2f} |",
                    flush=True,
                )
                findings.row(
                    {
                        "data set": dataset_id,
                        "plane": plane,
                        "µm": resolution,
                        "flat, CPU s": one,
                        "curved, CPU s": other,
                        "ratio": other / one,
                    }
                )
            if dataset_id == DATASETS[0]:
                for way, seconds in points(curved, options.points, options.rounds).items():
                    print(f"{options.points:g} points {way}: {seconds:.2f} s")
                    findings.row({"points": f"{options.points:g} {way}", "seconds": seconds})
    most = max(row["ratio"] for row in findings.rows if "ratio" in row)
    findings.tell(f"at most {most:.2f} times the flat section's time")


if __name__ == "__main__":
    main()
