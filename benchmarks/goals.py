"""What the usual work takes beside what it is meant to take, in one run.

    make bench                    all of it; the first time makes pictures, and is longer
    python benchmarks/goals.py --only sync,report --json FILE

Each benchmark runs as a process of its own, one after the other, and its own JSON is read. Times
are by the clock, so nothing else should run on the machine: what others use is measured before
each, and told. Memory that the host of a virtual machine has taken back is fetched before each. The
goals were set on two cores, and hold for those.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import simplejpeg

from findings import Findings, folder_option, json_option
from memory import fetch_memory

HERE = Path(__file__).resolve().parent
QUIET = 3.0  # s between benchmarks, for what the last one has left to write
BUSY = 0.2  # of the processor's time, used by others: more, and times say little

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """One figure and what it is meant to be.

    Attributes
    ----------
    work : str
        What is measured, with its unit.
    wanted : float
        What the figure is to be at most; at least, if ``more_is_better``.
    of : callable
        The figure, from the rows that the benchmark has found.
    more_is_better : bool
        Whether it is a goal from below.
    """

    work: str
    wanted: float
    of: Callable[[Sequence[Row]], float]
    more_is_better: bool = False

    def row(self, runs: Sequence[Sequence[Row]]) -> dict[str, Any]:
        """Return the line of the table, of the median of some runs."""
        found = median(self.of(rows) for rows in runs)
        reached = found >= self.wanted if self.more_is_better else found <= self.wanted
        return {
            "figure": self.work,
            "found": found,
            "goal": f"{'≥' if self.more_is_better else '≤'} {self.wanted:g}",
            "reached": "yes" if reached else f"no: {found / self.wanted:.3g} times that",
        }


@dataclass(frozen=True)
class Benchmark:
    """A script, how it is called, and the goals that its figures are held against.

    Attributes
    ----------
    words : str
        Its arguments; ``FOLDER`` stands for what is kept from run to run, ``CACHE`` for a part of
        it that is the benchmark's own, ``RUNS`` for how often it is to repeat its work.
    goals : tuple of Goal
        What is read from it.
    repeated : bool
        Whether the script itself is run again and again, as it does not repeat its work.
    again : str
        More arguments from the second time on, when pictures are in the cache.
    """

    words: str
    goals: tuple[Goal, ...]
    repeated: bool = False
    again: str = ""


def only(column: str, **where: Any) -> Callable[[Sequence[Row]], float]:
    """Return what takes a column of the one row with these cells."""

    def of(rows: Sequence[Row]) -> float:
        (one,) = [row for row in rows if where.items() <= row.items()]
        return float(one[column])

    return of


def most(column: str) -> Callable[[Sequence[Row]], float]:
    """Return what takes the largest of a column."""
    return lambda rows: max(float(row[column]) for row in rows if row.get(column) is not None)


def above_floor(rows: Sequence[Row]) -> float:
    """Return how many times its floor a cold download takes."""
    (one,) = rows
    return float(one["ours, s"] / one["limit, s"])


BENCHMARKS: dict[str, Benchmark] = {
    "peer cold 20": Benchmark(
        "--rows cold-default --sections 20 --alone --runs RUNS --folder FOLDER",
        (Goal("cold `download`, 20 sections, times its floor", 1.25, above_floor),),
    ),
    "peer cold 60": Benchmark(
        "--rows cold-default --sections 60 --alone --runs RUNS --folder FOLDER",
        (Goal("cold `download`, 60 sections, times its floor", 1.25, above_floor),),
    ),
    "start": Benchmark(
        "",
        (
            Goal("start of `cache info`, ms", 100, only("ms", command="cache info")),
            Goal("start of `download dataset`, ms", 100, only("ms", command="download dataset")),
        ),
    ),
    "peer cached": Benchmark(
        "--rows cached-tier4,cached-full-25 --sections 60 --runs RUNS --folder FOLDER",
        (
            Goal("tier 4 in the cache, 60 sections, s", 0.35, only("ours, s", row="cached-tier4")),
            Goal("the same, times as fast as 0.3.4", 4, only("ratio", row="cached-tier4"), True),
            Goal(
                "full resolution in the cache, times as fast as 0.3.4",
                10,
                only("ratio", row="cached-full-25"),
                True,
            ),
        ),
    ),
    "volume": Benchmark(
        "--repeats RUNS",
        (
            Goal(
                "volume of 112 sections, 25 µm, s",
                0.6,
                only("seconds", channel="image", fill="none"),
            ),
            Goal(
                "the same, gaps filled linearly, s",
                1.5,
                only("seconds", channel="image", fill="linear"),
            ),
        ),
    ),
    "curved": Benchmark(
        "--cache CACHE",
        (
            Goal(
                "a curved section at 25 µm, times a flat one",
                1.5,
                lambda rows: max(row["ratio"] for row in rows if row.get("µm") == 25),
            ),
            Goal("a volume of curved sections, times flat ones", 1.5, only("ratio", work="volume")),
            Goal("their outlines", 1.5, only("ratio", work="outlines")),
            Goal("`sync` of their points", 1.5, only("ratio", work="sync")),
            Goal(
                "10⁷ points through curves, s",
                1,
                lambda rows: max(row["seconds"] for row in rows if "points" in row),
            ),
        ),
    ),
    "quantify": Benchmark(
        "--cache CACHE",
        (
            Goal("`quantify` of 434 megapixels, s", 4, most("seconds")),
            Goal("its memory, MB", 600, most("peak, MB")),
        ),
        repeated=True,
    ),
    "report": Benchmark(
        "--cache CACHE",
        (
            Goal("`report` of 112 sections, s", 10, most("seconds")),
            Goal("its memory, MB", 700, most("peak, MB")),
        ),
        repeated=True,
        again="--no-warm",
    ),
    "sync": Benchmark(
        "--kinds parquet,csv --runs RUNS",
        (
            Goal("`sync` of 10⁷ rows of CSV, s", 8, only("seconds", format="csv")),
            Goal("its memory, MB", 700, only("peak, MB", format="csv")),
            Goal("`sync` of 10⁷ rows of Parquet, s", 3, only("seconds", format="parquet")),
        ),
    ),
    "cache": Benchmark(
        "",
        (
            Goal("`cache info`, 10⁵ images, s", 0.5, only("seconds", command="`cache info`")),
            Goal("`cache list`, s", 0.5, only("seconds", command="`cache list`")),
            Goal("`cache import`, s", 15, only("seconds", command="`cache import`")),
        ),
    ),
    "quality": Benchmark(
        "--cache CACHE --only-time",
        (Goal("`quality` of 112 sections, s", 3, most("seconds")),),
        repeated=True,
    ),
    "refine": Benchmark(
        "--cache CACHE",
        (
            Goal("`refine` of 112 sections, s a section", 3, most("a section, s")),
            Goal("its memory, MB", 2000, most("peak, MB")),
        ),
    ),
    "serve": Benchmark(
        "--seconds 3",
        (
            Goal(
                "served to 64 clients: metadata, 99th percentile, ms",
                60,
                lambda rows: max(
                    1e3 * row["p99, s"] for row in rows if "clients ask" in row["others"]
                ),
            ),
            Goal(
                "a question beside hostile clients, longest, ms",
                1000,
                lambda rows: 1e3 * max(float(row["longest, s"]) for row in rows),
            ),
        ),
    ),
}


def measure(name: str, benchmark: Benchmark, kept: Path, times: int) -> list[Sequence[Row]]:
    """Run a benchmark, and return the rows of each of its runs."""
    values = {"CACHE": str(kept / name), "FOLDER": str(kept), "RUNS": str(times)}
    words = [values.get(word, word) for word in benchmark.words.split()]
    script = HERE / f"bench_{name.split()[0]}.py"
    found = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        for run in range(times if benchmark.repeated else 1):
            more = benchmark.again.split() if run else []
            command = [sys.executable, str(script), *words, *more, "--json", str(file)]
            fetch_memory()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            found.append(json.loads(file.read_text("utf-8"))["rows"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Benchmarks: " + ", ".join(BENCHMARKS)
    )
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="some of the benchmarks")
    folder_option(parser, "about 1 GB")
    parser.add_argument("--runs", type=int, default=3, help="medians are of so many (3)")
    json_option(parser)
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(BENCHMARKS):
        parser.error(f"no such benchmarks: {', '.join(sorted(unknown))}")
    findings, begun = Findings("goals", options.json), time.perf_counter()
    busiest, missed = 0.0, []
    for name in options.only.split(","):
        busiest = max(busiest, others())
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            runs = measure(name, BENCHMARKS[name], options.folder, options.runs)
            rows = [goal.row(runs) for goal in BENCHMARKS[name].goals]
        except subprocess.CalledProcessError as error:
            missed.append(f"{name}: {error.stderr.decode().strip().splitlines()[-1]}")
            continue
        except (KeyError, ValueError) as error:
            missed.append(f"{name}: it has other rows than those that are looked for, {error!r}")
            continue
        for row in rows:
            findings.row(row)
            print(f"  {row['figure']}: {row['found']:.3g}, wanted {row['goal']}", flush=True)
    minutes = (time.perf_counter() - begun) / 60
    about = (
        f"`python benchmarks/goals.py --runs {options.runs}`, medians of as many, on a machine on "
        f"which {pace()}"
    )
    if busiest > BUSY:
        about += f", beside other work ({busiest:.1f} of a core at most)"
    findings.about(about + "".join(f"; left out: {one}" for one in missed))
    reached = sum(row["reached"] == "yes" for row in findings.rows)
    findings.tell(
        f"{reached} of {len(findings.rows)} goals are reached, in {minutes:.0f} minutes"
        + "".join(f"; left out: {one}" for one in missed)
    )


def pace() -> str:
    """Return how fast this machine is, so that figures of two machines, or two days, compare."""
    starts, decodes = [], []
    noise = np.random.default_rng(0).integers(0, 256, (250, 250, 3), np.uint8)
    content = simplejpeg.encode_jpeg(cv2.resize(noise, (2000, 2000)), 90)
    for _ in range(9):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        starts.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        simplejpeg.decode_jpeg(content)
        decodes.append(time.perf_counter() - begun)
    fetch_memory()
    used = fetch_memory()
    time.sleep(5)
    idle = fetch_memory()
    return (
        f"Python starts in {1e3 * median(starts):.0f} ms and a core decodes "
        f"{4 / median(decodes):.0f} megapixels of JPEG a second; 1.5 GB of memory are touched in "
        f"{used:.1f} s, and in {idle:.1f} s once they have lain free for 5 s"
    )


def others() -> float:
    """Wait a little; return the part of a core's time that others use in the meantime."""

    def idle() -> float:
        return float(Path("/proc/uptime").read_text().split()[1])

    if not Path("/proc/uptime").exists():
        return 0.0
    before, begun = idle(), time.perf_counter()
    time.sleep(QUIET)
    return (os.cpu_count() or 1) - (idle() - before) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
