"""How long the catalogue takes to build and to search, and how large it is.

    python benchmarks/bench_catalogue.py [--images] [--keep FOLDER]

The catalogue is a made-up one of the service's size: 20,000 mouse genes with names and synonyms,
26,000 data sets of the adult brain and 18,000 others; with ``--images`` also the numbers of their
section images, about 1.5 million. It is the same one each time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from atldld.find.catalogue import catalogue_path
from atldld.testing.catalogue import made_up_catalogue, questions
from findings import Findings, json_option

REPEATS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", action="store_true", help="with 1.5 million images")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="build there, and keep it")
    json_option(parser)
    chosen = parser.parse_args()
    findings = Findings("catalogue", chosen.json)
    with tempfile.TemporaryDirectory() as temporary:
        start = time.perf_counter()
        session = made_up_catalogue(chosen.keep or Path(temporary), with_images=chosen.images)
        seconds = time.perf_counter() - start
        path = catalogue_path(session.cache.root)
        print(f"building                          {seconds:8.1f} s")
        print(f"on disk                           {path.stat().st_size / 1e6:8.1f} MB")
        print(f"{'':34}{'first':>8} {'median':>8} {'95 %':>8}   milliseconds")
        for name, ask in questions(session).items():
            times = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                ask()
                times.append(1e3 * (time.perf_counter() - start))
            high = statistics.quantiles(times, n=20)[-1]
            middle = statistics.median(times)
            print(f"{name:34}{times[0]:8.2f} {middle:8.2f} {high:8.2f}")
            findings.row(
                {"search": name, "first, ms": times[0], "median, ms": middle, "95 %, ms": high}
            )
        slowest = max(findings.rows, key=lambda row: row["median, ms"])
        findings.tell(
            f"built in {seconds:.1f} s, slowest search {slowest['median, ms']:.1f} ms "
            f"({slowest['search']})"
        )


if __name__ == "__main__":
    main()
