"""Points of a table to the brain, as the command does it: time and memory by rows and format.

    python benchmarks/bench_sync.py [--rows 1e7] [--runs 5] [--kinds parquet,csv] [--json FILE]

The last kind, "quoted csv", is a table that pyarrow cannot help with: its rows go through Python.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from statistics import median

import numpy as np

from findings import Findings, json_option

RUN = """\
import atexit, json, resource, time
began = time.perf_counter()
def tell():
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
    print("told", time.perf_counter() - began, used.ru_utime + used.ru_stime, int(peak) / 1024)
atexit.register(tell)
from atldld.cli import main
main()
"""
KINDS = {
    "parquet": ("points.parquet", "parquet"),
    "csv": ("points.csv", "csv"),
    "quoted csv": ("quoted.csv", "csv"),
}


def write_points(folder: Path, rows: int, ids: list[int]) -> None:
    import pyarrow
    import pyarrow.parquet

    rng = np.random.default_rng(0)
    images = np.sort(rng.choice(ids, rows))
    x, y = rng.uniform(0, 9000, rows).round(2), rng.uniform(0, 7000, rows).round(2)
    table = pyarrow.table({"image_id": images, "x": x, "y": y})
    pyarrow.parquet.write_table(table, folder / "points.parquet")
    with (folder / "points.csv").open("w") as plain, (folder / "quoted.csv").open("w") as quoted:
        plain.write("image_id,x,y\n")
        quoted.write('"image_id",x,y\n')
        for at in range(0, rows, 100_000):
            part = slice(at, at + 100_000)
            lines = zip(images[part].tolist(), x[part].tolist(), y[part].tolist(), strict=True)
            text = "".join(f"{a},{b},{c}\n" for a, b, c in lines)
            plain.write(text)
            quoted.write(text)


def one_run(folder: Path, name: str, ending: str) -> tuple[float, float, float]:
    """Return seconds, seconds of the processor, and the peak in MB."""
    words = ["sync", "image-to-reference", name, "-o", f"out.{ending}", "--force"]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    found = re.search(r"^told (\S+) (\S+) (\S+)$", done.stdout, re.MULTILINE)
    assert found is not None
    return float(found[1]), float(found[2]), float(found[3])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, default=1e7)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kinds", default=",".join(KINDS), help="some of the tables")
    json_option(parser)
    options = parser.parse_args()

    from atldld.api import open_dataset
    from atldld.demo.archive import DemoArchive
    from atldld.serve.listen import listen

    server = listen("127.0.0.1", 0, DemoArchive([909]))
    threading.Thread(target=server.run, daemon=True).start()
    os.environ["ATLDLD_API_URL"] = f"http://127.0.0.1:{server.effective_port}"
    told = {}
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["ATLDLD_CACHE_DIR"] = f"{temporary}/cache"
        folder = Path(temporary)
        ids = [section.id for section in open_dataset(909).sections]
        write_points(folder, int(options.rows), ids)
        for kind in options.kinds.split(","):
            name, ending = KINDS[kind]
            runs = [one_run(folder, name, ending) for _ in range(options.runs)]
            seconds, cpu, peak = (median(run[k] for run in runs) for k in range(3))
            told[kind] = {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak}
    server.close()
    findings = Findings("sync", options.json)
    for kind, one in told.items():
        findings.row(
            {
                "rows": options.rows,
                "format": kind,
                "seconds": one["seconds"],
                "processor, s": one["cpu_seconds"],
                "peak, MB": one["peak_mb"],
            }
        )
    findings.tell(
        f"{options.rows:.0e} rows: "
        + ", ".join(
            f"{kind} {one['seconds']:.1f} s ({one['cpu_seconds']:.1f} s of the processor, "
            f"{one['peak_mb']:.0f} MB)"
            for kind, one in told.items()
        )
    )


if __name__ == "__main__":
    main()
