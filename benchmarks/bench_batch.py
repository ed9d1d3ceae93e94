"""How fast many data sets are made: several at once, and on Dask.

    python benchmarks/bench_batch.py [--data-sets 40] [--delay 0.1]

A service on this machine (copies.py), which answers after 100 ms, offers 40 copies of one small
data set of 14 sections. Each run has a process and an empty cache of its own. First data sets at
once (--jobs), up to the limit of requests at once; then memory for 10 and for 40; then Dask, where
the images are in the cache already, so that what is measured is Dask; then Dask with requests.
Takes about two minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from atldld.testing.sources import FIRST
from findings import Findings, json_option
from memory import peak_mb

SECTIONS = 14


def one(options: argparse.Namespace) -> None:
    """Make a batch in this process and print what it took."""
    from atldld.batch import Download, run_batch
    from atldld.fetch.limits import Limits
    from atldld.fetch.session import Session
    from atldld.sections.register import Recipe
    from atldld.settings import Settings

    marks: list[float] = []
    settings = Settings(api_url=options.address, cache_dir=Path(options.cache))
    with Session(settings, limits=Limits(in_flight=options.in_flight)) as session:
        summary = run_batch(
            range(FIRST, FIRST + options.data_sets),
            options.out,
            Download(Recipe(resolution=50, downsample=4)),
            session=session,
            jobs=options.jobs,
            dask=options.dask,
            progress=lambda _: marks.append(time.monotonic()),
        )
        sent = session.client.requests_sent
    assert summary.complete, summary.failed
    digest = hashlib.sha256()
    for path in sorted(Path(options.out).rglob("*.png")):
        digest.update(path.name.encode() + path.read_bytes())
    told = {
        # from the moment when the workers are there
        "seconds": marks[-1] - marks[0],
        "sent": sent,
        "peak": peak_mb(),
        "pictures": digest.hexdigest()[:12],
    }
    print(json.dumps(told))


class Bench:
    """Runs batches in processes of their own, against one service."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder, self.runs = address, folder, 0

    def run(
        self,
        data_sets: int,
        *,
        jobs: int = 1,
        in_flight: int = 6,
        dask: str | None = None,
        cache: str | None = None,
    ) -> dict[str, Any]:
        """Make a batch and return what it took."""
        self.runs += 1
        out = self.folder / f"out-{self.runs}"
        command = [sys.executable, __file__, "--address", self.address, "--out", out]
        command += ["--cache", self.folder / (cache or f"cache-{self.runs}")]
        command += ["--data-sets", data_sets, "--jobs", jobs, "--in-flight", in_flight]
        command += ["--dask", dask] if dask else []
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            sys.exit(done.stderr)
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told


def compare(bench: Bench, number: int, findings: Findings) -> None:
    print(f"{number} data sets of {SECTIONS} sections, 100 ms a request\n")
    print("at once  requests at once  seconds  data sets/s  requests/s  peak MB")
    pictures = set()
    for jobs, in_flight in ((1, 6), (2, 6), (4, 6), (8, 6), (8, 12)):
        told = bench.run(number, jobs=jobs, in_flight=in_flight)
        pictures.add(told["pictures"])
        findings.row(
            {
                "work": "fetched and registered",
                "at once": jobs,
                "requests at once": in_flight,
                "seconds": told["seconds"],
                "data sets/s": number / told["seconds"],
                "requests/s": told["sent"] / told["seconds"],
                "peak, MB": told["peak"],
            }
        )
        print(
            f"{jobs:7}  {in_flight:16}  {told['seconds']:7.1f}  {number / told['seconds']:11.2f}  "
            f"{told['sent'] / told['seconds']:10.1f}  {told['peak']:7.0f}",
            flush=True,
        )
    few = bench.run(number // 4, jobs=4)
    print(f"\npeak for {number // 4} data sets, 4 at once: {few['peak']:.0f} MB")

    print("\nDask, images in the cache\n\nworkers  seconds  ms a section")
    bench.run(number, jobs=4, cache="warm")
    sections = number * SECTIONS
    for name, options in (
        ("none", {}),
        ("1", {"dask": "local:1"}),
        ("2", {"dask": "local:2"}),
        ("4", {"dask": "local:4"}),
    ):
        told = bench.run(number, cache="warm", **options)  # type: ignore[arg-type]
        pictures.add(told["pictures"])
        each = 1e3 * told["seconds"] / sections
        findings.row(
            {"work": "in the cache, Dask workers", "at once": name, "seconds": told["seconds"]}
        )
        print(f"{name:>7}  {told['seconds']:7.2f}  {each:12.2f}", flush=True)

    print("\nDask, with requests: 6 at once, of all workers together\n\nworkers  seconds")
    for workers in (2, 4):
        told = bench.run(number, dask=f"local:{workers}")
        pictures.add(told["pictures"])
        print(f"{workers:7}  {told['seconds']:7.1f}", flush=True)
        findings.row({"work": "Dask workers", "at once": workers, "seconds": told["seconds"]})
    print(f"\nall pictures the same: {'yes' if len(pictures) == 1 else pictures}")
    best = max(findings.rows, key=lambda row: row.get("data sets/s", 0))
    findings.tell(
        f"{number} data sets, at most {best['data sets/s']:.2f} a second ({best['at once']} at "
        f"once), {best['peak, MB']:.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-sets", type=int, default=40)
    parser.add_argument("--delay", type=float, default=0.1)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    parser.add_argument("--jobs", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--in-flight", type=int, default=6, help=argparse.SUPPRESS)
    parser.add_argument("--dask", help=argparse.SUPPRESS)
    json_option(parser)
    options = parser.parse_args()
    if options.address:
        one(options)
        return
    service = subprocess.Popen(
        [
            sys.executable,
            str(Path(__file__).with_name("copies.py")),
            *("--data-sets", str(options.data_sets), "--delay", str(options.delay)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert service.stdout is not None
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(service.stdout.readline().strip(), Path(folder))
        compare(bench, options.data_sets, Findings("batch", options.json))
    service.communicate("")
    print(f"\n{time.monotonic() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
