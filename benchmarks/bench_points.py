"""Ten million points from image to reference: time on one core, and peak memory.

Run it from the project's root::

    python benchmarks/bench_points.py

The formulation beside it is the obvious one: homogeneous coordinates, once by each stored matrix.
Time is the best of five; memory is what NumPy allocates, as tracemalloc sees it, over the size of
the result. The points themselves are not counted: they are there before.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from atldld.demo.archive import DemoArchive
from atldld.place import image_to_reference, reference_to_image
from atldld.records import SectionDataSet
from findings import Findings, json_option


def measure(work: Callable[[], object], repeats: int) -> tuple[float, int]:
    """Return the shortest time in s and the peak of memory in bytes."""
    best = float("inf")
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    # apart from the timing, which it would slow down
    tracemalloc.start()
    try:
        work()
        return best, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def run(count: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Return seconds and peak memory over the result's size, by formulation."""
    records = DemoArchive([71717084]).tables()["SectionDataSet"][0]
    dataset = SectionDataSet.from_records(records, records["section_images"])
    image = dataset.images[50]
    alignment3d, thickness = dataset.check_alignment()
    tsv, tvr = image.check_alignment().to_volume, alignment3d.to_reference
    rng = np.random.default_rng(0)
    xy = rng.random((count, 2)) * (image.width, image.height)

    def obvious() -> np.ndarray:
        volume = np.column_stack((xy, np.ones(count))) @ tsv.T
        depth = np.full(count, image.section_number * thickness)
        return np.column_stack((volume, depth, np.ones(count))) @ tvr.T

    found = image_to_reference(dataset, image.id, xy)
    worst = float(np.abs(found.pir - obvious()).max())
    assert worst < 1e-9, f"the two differ by {worst} µm"
    size = found.pir.nbytes
    ids = np.array([one.id for one in dataset.images])[
        rng.integers(len(dataset.images), size=count)
    ]
    image_points_size = count * 8 * 5
    results = {}
    for name, work, result in (
        ("obvious NumPy", obvious, size),
        ("one image", lambda: image_to_reference(dataset, image.id, xy), size),
        ("an image for each point", lambda: image_to_reference(dataset, ids, xy), size),
        (
            "back: reference to image",
            lambda: reference_to_image(dataset, found.pir, beyond="ignore"),
            image_points_size,
        ),
    ):
        seconds, peak = measure(work, repeats)
        results[name] = seconds, peak / result
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="Points from image to reference.")
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    json_option(parser)
    arguments = parser.parse_args()
    findings = Findings("points", arguments.json)
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    if any(os.environ.get(name) != "1" for name in threads):
        # One core only, which NumPy must know before it is loaded: so once more, from the start.
        os.execve(
            sys.executable,
            [sys.executable, *sys.argv],
            {**os.environ, **dict.fromkeys(threads, "1")},
        )
    print(f"{arguments.count:,} points, float64, one core, best of {arguments.repeats}")
    for name, (seconds, ratio) in run(arguments.count, arguments.repeats).items():
        print(f"{name:<28}{seconds:8.3f} s   peak {ratio:.2f} × the result")
        findings.row({"what": name, "seconds": seconds, "peak / result": ratio})
    findings.tell(
        f"{arguments.count:,} points, "
        + ", ".join(f"{row['what']} {row['seconds']:.3f} s" for row in findings.rows)
    )


if __name__ == "__main__":
    main()
