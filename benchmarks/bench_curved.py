"""What a curved section costs more than a flat one: CPU seconds of decoding and laying it out.

    python benchmarks/bench_curved.py [--rounds N]

Two sections of the demo archive at every resolution, their images cached; the curves are smooth,
of up to 300 full-resolution pixels, with nodes 100 apart, as `atldld refine` makes them. Flat and
curved take turns, and the least CPU time of each counts, so that a busy machine matters little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
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
    findings.tell(
        f"at most {max(row['ratio'] for row in findings.rows):.2f} times the flat section's time"
    )


if __name__ == "__main__":
    main()
