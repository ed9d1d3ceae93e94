"""Outlines of one section at 25 µm: time after the atlas is loaded, and how well it is placed.

Run it from the project's root::

    python benchmarks/bench_outlines.py [--annotation FILE.nrrd --graph FILE.json]

Without files, those of ``../shared/data`` are used where they are, else the demo's synthetic
atlas. Times are the best and the median of ten, on the middle section of each data set.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from atldld.api import Section, open_dataset
from atldld.atlas import Atlas, Outline, open_atlas, section_annotation, section_outlines
from atldld.demo.local import in_process_session
from findings import Findings, json_option

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "atlas"
DATASETS = (69289763, 71717084)


def measure(work: Callable[[], object]) -> tuple[float, float]:
    """Return the shortest and the median time of ten, in ms."""
    taken = []
    for _ in range(10):
        begun = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - begun))
    return min(taken), statistics.median(taken)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotation", type=Path, default=SHARED / "annotation_25.nrrd")
    parser.add_argument("--graph", type=Path, default=SHARED / "structure_graph_1.json")
    json_option(parser)
    chosen = parser.parse_args()
    findings = Findings("outlines", chosen.json)
    worst = 0.0
    with (
        tempfile.TemporaryDirectory() as cache,
        in_process_session(Path(cache)) as session,
    ):
        begun = time.perf_counter()
        if chosen.annotation.exists() and chosen.graph.exists():
            atlas: Atlas = open_atlas(annotation=chosen.annotation, graph=chosen.graph)
        else:
            open_atlas(25, session=session)  # made, fetched and unpacked; then opened from disk
            begun = time.perf_counter()
            atlas = open_atlas(25, session=session)
        print(f"{atlas}: opened in {1000 * (time.perf_counter() - begun):.0f} ms")
        for dataset_id in DATASETS:
            dataset = open_dataset(dataset_id, session=session)
            section = dataset.sections[len(dataset) // 2]

            def sampled(section: Section = section) -> object:
                return section_annotation(section, atlas)

            def outlined(section: Section = section) -> tuple[Outline, ...]:
                return section_outlines(section, atlas)

            count = len(outlined())
            for name, work in (("annotation", sampled), ("with outlines", outlined)):
                best, median = measure(work)
                worst = max(worst, best)
                what = f"{dataset_id} ({dataset.plane.value}), {name}"
                print(f"{what}: {best:.0f} ms, median {median:.0f} ms")
                findings.row({"what": what, "best, ms": best, "median, ms": median})
            print(f"    {count} structures")
    findings.tell(f"at most {worst:.0f} ms a section")
    return 0 if worst <= 150 else 1


if __name__ == "__main__":
    sys.exit(main())
