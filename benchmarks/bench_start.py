"""What commands cost before they work: modules loaded, and seconds by the clock and at work.

    python benchmarks/bench_start.py [--runs 5] [--json FILE]

Each command runs as a process of its own with everything it needs in the cache, in turns with the
others. Time of the processor says the same on a busy machine; modules are the same everywhere.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

from findings import Findings, json_option

COMMANDS = {
    "python": [],
    "--help": ["--help"],
    "cache info": ["cache", "info"],
    "search dataset": ["search", "dataset", "--id", "909"],
    "dataset info": ["dataset", "info", "909"],
    "sync": ["sync", "image-to-reference", "points.csv"],
    "download dataset": ["download", "dataset", "909", "out", "--resolution", "400", "--force"],
}


def command(words: list[str], *options: str) -> list[str]:
    """Return what runs a command; without words, Python alone."""
    return [sys.executable, *options, *(["-m", "atldld", *words] if words else ["-c", "pass"])]


def seconds_of(words: list[str], folder: str) -> tuple[float, float]:
    """Return how long a command takes, and how long it works."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command(words), cwd=folder, check=True, capture_output=True)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def modules(words: list[str], folder: str) -> int:
    done = subprocess.run(
        command(words, "-X", "importtime"), cwd=folder, check=True, capture_output=True, text=True
    )
    return len(re.findall(r"^import time: +\d+ ", done.stderr, re.MULTILINE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    json_option(parser)
    options = parser.parse_args()

    from atldld.demo.archive import DemoArchive
    from atldld.serve.listen import listen

    server = listen("127.0.0.1", 0, DemoArchive([909]))
    threading.Thread(target=server.run, daemon=True).start()
    os.environ["ATLDLD_API_URL"] = f"http://127.0.0.1:{server.effective_port}"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ATLDLD_CACHE_DIR"] = f"{folder}/cache"
        Path(folder, "points.csv").write_text("image_id,x,y\n1,2,3\n")
        for words in COMMANDS.values():  # fills the cache
            subprocess.run(command(words), cwd=folder, check=True, capture_output=True)
        counts = {name: modules(words, folder) for name, words in COMMANDS.items()}
        runs = [
            {name: seconds_of(words, folder) for name, words in COMMANDS.items()}
            for _ in range(options.runs)
        ]
    server.close()
    told = {
        name: {
            "modules": count,
            "seconds": median(run[name][0] for run in runs),
            "cpu_seconds": median(run[name][1] for run in runs),
        }
        for name, count in counts.items()
    }
    findings = Findings("start", options.json)
    for name, one in told.items():
        findings.row(
            {
                "command": name,
                "modules": one["modules"],
                "ms": 1e3 * one["seconds"],
                "processor, ms": 1e3 * one["cpu_seconds"],
            }
        )
    findings.tell(
        ", ".join(
            f"{name} {one['cpu_seconds'] * 1000:.0f} ms of the processor, {one['modules']} modules"
            for name, one in told.items()
        )
    )


if __name__ == "__main__":
    main()
