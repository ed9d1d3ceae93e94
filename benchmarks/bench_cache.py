"""What a cache of many images costs: to look at it, to list it, to take it from an archive.

    python benchmarks/bench_cache.py [--images 100000] [--json FILE]

The images are small JPEGs of random pixels, sixty to a data set. The commands run as processes of
their own; the second time they find the index. Time of the processor says the same on a busy
machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import simplejpeg

from atldld.fetch.cache import FORMAT, MARKER, Cache
from findings import Findings, json_option

FIRST, EACH = 69_000_000, 60


def fill(root: Path, count: int) -> None:
    """Make a cache of so many images, as a run would leave it."""
    cache = Cache(root)
    root.mkdir(parents=True)
    (root / MARKER).write_text(json.dumps(FORMAT))
    for number in range(count):
        image_id = FIRST + number
        pixels = np.random.default_rng(number).integers(0, 255, (24, 32, 3), dtype=np.uint8)
        content = simplejpeg.encode_jpeg(pixels, 90, "RGB", "420")
        path = cache.image_path(image_id, 4)
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        known = {
            "width": 32,
            "height": 24,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "url": f"http://example.invalid/{image_id}",
            "fetched": "2026-11-20T10:00:00+00:00",
            "dataset_id": 1 + number // EACH,
        }
        path.with_name(path.name + ".json").write_text(json.dumps(known))


def run(cache: Path, *words: str) -> tuple[float, float]:
    """Run a command; return its seconds, and those of the processor."""
    # the images are those of the service that is asked where nothing else is said
    inherited = {name: value for name, value in os.environ.items() if "ATLDLD" not in name}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "atldld", "cache", *words],
        env={**inherited, "ATLDLD_CACHE_DIR": str(cache)},
        check=True,
        capture_output=True,
    )
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    json_option(parser)
    options = parser.parse_args()
    findings = Findings("cache", options.json)
    with tempfile.TemporaryDirectory() as folder:
        filled, taken = Path(folder) / "filled", Path(folder) / "taken"
        fill(filled, options.images)
        time.sleep(5)  # what has just been written is not kept in an index
        for name, cache, words in (
            ("`cache list`, without an index", filled, ["list"]),
            ("`cache info`", filled, ["info"]),
            ("`cache list`", filled, ["list"]),
            ("`cache import`", taken, ["import", str(filled)]),
        ):
            seconds, busy = run(cache, *words)
            print(f"{name:34} {seconds:7.2f} s, {busy:7.2f} s of the processor", flush=True)
            findings.row({"command": name, "seconds": seconds, "processor, s": busy})
    findings.tell(
        f"{options.images:,} images, "
        + ", ".join(f"{row['command']} {row['processor, s']:.2f} s" for row in findings.rows)
    )


if __name__ == "__main__":
    main()
