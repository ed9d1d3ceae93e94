"""Compare with the published atldld 0.3.4: times, memory and errors in one run.

    make bench-peer                            20 sections, three runs
    make bench-all                             60 sections, five runs, and all other benchmarks
    python benchmarks/bench_peer.py --rows cold-full,points --runs 3 --sections 12

The work is the genuine data set 74272479 at its genuine sizes (see ``sections.py``), served by the
local service; for the cold rows a line of 150 ms and 200 Mbit/s lies between (see ``line.py``).
Both packages are run as whole processes, in turns, and the medians are compared. The published
package is installed from the package index into an environment of its own and run as it is.

Beside each time stands how far it is from what the machine or the line allows, measured in the
same run, and for each picture how far it is from the truth: the RMS difference, in grey levels of
255, between its pixels in the tissue and what the demo brain is at the places in the brain that
the picture says they show; and, in brackets, at the places that they really show, which leaves the
error of the resampling alone.

Rows that cannot be measured here are left out, and said.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

import sections
from atldld.demo import anatomy
from atldld.fetch.cache import Cache
from atldld.place import Placement
from atldld.place.planes import OutputPlane
from atldld.place.spaces import Grid, Plane
from findings import Findings, folder_option, json_option
from performance import peer_table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from tests.peers.published import (  # noqa: E402
    PEER,
    SITECUSTOMIZE,
    UnavailableError,
    make_environment,
    peer_requirements,
    program,
)

ROUND_TRIP, MEGABITS = 0.15, 200.0
NEEDED_MB = 1500  # the published package's appetite at full resolution
OURS, THEIRS = "ours", "0.3.4"

Environ = dict[str, str]


@dataclass(frozen=True)
class Row:
    """One kind of work, for both packages.

    Attributes
    ----------
    name, what : str
        Short and long.
    target : float
        How many times as fast it ought to be.
    ours, theirs : tuple of str
        The arguments of the two command lines; ``{out}`` is the folder of the result.
    cached : int or None
        The tier that is in the caches before, or nothing.
    resolution : float or None
        Of the pictures, in µm; where there are none, `None`.
    script : str or None
        A program that both run, in place of the command lines. It prints its own seconds.
    """

    name: str
    what: str
    target: float
    ours: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()
    cached: int | None = None
    line: bool = False
    resolution: float | None = None
    script: str | None = None

    @property
    def asks(self) -> bool:
        """Whether the service is asked, so that the way to it must be told."""
        return self.resolution is not None


def download(*options: object) -> tuple[str, ...]:
    return ("download", "dataset", str(sections.DATASET), "{out}", *map(str, options))


# The kernel counts what a process held before it became another program. So the measured one is
# begun by this small one, and not by the one that holds the benchmark's arrays.
LAUNCHER = """
import json, os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[2:], stdout=1, stderr=1)
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - begun
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), seconds, usage.ru_utime + usage.ru_stime,
               usage.ru_maxrss * 1024 / 1e6], file)
"""

SCRIPT = """
import time, numpy as np
from atldld.sync import {name}
tsv = np.array([[1.0474, 0.0579728, 3595.04], [-0.0579728, 1.0474, 2878.74]])
tvs = np.array([[0.951832, -0.0526834, -3270.21], [0.0526834, 0.951832, -2929.48]])
tvr = np.array([[-0.00512241, 0.0, -1.02447, 13347.5],
                [0.00661506, 1.00786, -3.30756e-05, -1611.58],
                [1.02445, -0.00603465, -0.00512227, -921.046]])
trv = np.array([[-0.00488048, 0.00584431, 0.976075, 973.571],
                [1.33312e-18, 0.992159, -0.00640657, 1593.04],
                [-0.976087, -2.92218e-05, -0.00488042, 13023.7]])
{prepare}
times = []
for _ in range({repeats}):
    begun = time.perf_counter()
    result = {call}
    times.append(time.perf_counter() - begun)
    {check}
    del result
print(min(times))
"""

POINTS = "points = np.random.default_rng(0).uniform(0, 8000, (3, 10_000_000))"

ROWS = (
    Row(
        "cold-default",
        "cold run over the line, default settings of each, 25 µm result",
        40,
        download(),
        download("--downsample-img", 0),  # its default
        line=True,
        resolution=25,
    ),
    Row(
        "cold-full",
        "cold run over the line, the same full-resolution images for both, 25 µm result",
        2,
        download("--downsample-img", 0),
        download("--downsample-img", 0),
        line=True,
        resolution=25,
    ),
    Row(
        "cached-full-25",
        "images in the cache at full resolution, 25 µm result",
        10,
        download("--downsample-img", 0),
        download("--downsample-img", 0),
        cached=0,
        resolution=25,
    ),
    Row(
        "cached-full-5",
        "images in the cache at full resolution, 5 µm result",
        6,
        download("--downsample-img", 0, "--downsample-ref", 5),
        download("--downsample-img", 0, "--downsample-ref", 5),
        cached=0,
        resolution=5,
    ),
    Row(
        "cached-tier4",
        "images in the cache at tier 4, 25 µm result",
        5,
        download("--downsample-img", 4),
        download("--downsample-img", 4),
        cached=4,
        resolution=25,
    ),
    Row(
        "xy-to-pir",
        "`xy_to_pir` on 10⁷ points, float64",
        3,
        script=SCRIPT.format(
            name="xy_to_pir",
            prepare=POINTS,
            repeats=5,
            call="xy_to_pir(points, tsv, tvr)",
            check="assert result.dtype == np.float64 and result.shape == points.shape",
        ),
    ),
    Row(
        "pir-to-xy",
        "`pir_to_xy` on 10⁷ points, float64",
        3,
        script=SCRIPT.format(
            name="pir_to_xy",
            prepare=POINTS,
            repeats=5,
            call="pir_to_xy(points, tvs, trv)",
            check="assert result.dtype == np.float64 and result.shape == points.shape",
        ),
    ),
    Row(
        "transform",
        "`get_parallel_transform` at 1 µm (8000 × 11400)",
        5,
        script=SCRIPT.format(
            name="get_parallel_transform",
            prepare="",
            repeats=1,
            call="get_parallel_transform(6000.0, tvs, trv)",
            check="assert result.shape == (8000, 11400)",
        ),
    ),
    Row("help", "start of the command (`--help`)", 3, ("--help",), ("--help",)),
)


@dataclass
class Measured:
    """What runs of one package took."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    carried: list[int] = field(default_factory=list)
    error: float | None = None
    resampling_error: float | None = None

    @property
    def median(self) -> float:
        """The median time, in seconds."""
        return statistics.median(self.seconds)

    @property
    def peak(self) -> float:
        """The largest memory of any run, in MB."""
        return max(self.peak_mb)


@dataclass(frozen=True)
class Side:
    """One of the two packages: its command, its Python, and where its cache is."""

    name: str
    command: tuple[str, ...]
    python: str
    environ: Callable[[str, Path], Environ]


class Bench:
    """The archives, the service, the line and the two packages.

    Parameters
    ----------
    stack : ExitStack
        Ends what is begun here.
    folder : pathlib.Path
        Where the archives and the environment of the published package are kept.
    section_count : int
        How many of the 60 sections.
    alone : bool
        Leave the published package out.
    """

    def __init__(
        self, stack: ExitStack, folder: Path, section_count: int, *, alone: bool = False
    ) -> None:
        self.scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        name = "busy" if section_count == 60 else f"busy-{section_count}"
        self.busy = sections.archive(folder / name, "busy", section_count)
        self.smooth = sections.archive(folder / "smooth", "smooth")
        self.busy_url = stack.enter_context(served(self.busy))
        self.smooth_url = stack.enter_context(served(self.smooth))
        self.line_url, self.carried = stack.enter_context(line_to(self.busy_url))
        site = self.scratch / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SITECUSTOMIZE)
        self.sides = [
            Side(
                OURS,
                (sys.executable, "-c", "from atldld.cli import main; main()"),
                sys.executable,
                lambda url, cache: {"ATLDLD_API_URL": url, "ATLDLD_CACHE_DIR": str(cache)},
            )
        ]
        self.problem: str | None = None
        self.done: dict[object, Measured] = {}
        if alone:
            self.problem = "so it was asked"
            return
        try:
            peer = Path(os.environ.get("ATLDLD_PEER_ENV") or folder / "peer" / "env")
            make_environment(peer, ["install", "--quiet", *peer_requirements()])
        except (UnavailableError, OSError) as error:
            self.problem = f"{PEER} cannot be installed: {error}"
            return
        self.sides.append(
            Side(
                THEIRS,
                (str(program(peer, "atldld")),),
                str(program(peer, "python")),
                lambda url, cache: {
                    "PEER_API_URL": url,
                    "PYTHONPATH": str(site),
                    "XDG_CACHE_HOME": str(cache),
                    "MPLBACKEND": "Agg",
                },
            )
        )

    def measure(self, row: Row, runs: int) -> dict[str, Measured]:
        """Run both packages in turns.

        What the published package did for another row is not done again: its default is full
        resolution, so two rows are one to it.
        """
        results = {side.name: Measured() for side in self.sides}
        same = (
            self.done.get((row.theirs, row.line, row.cached, runs)) if row.script is None else None
        )
        if same is not None:
            results[THEIRS] = same
        sides = [side for side in self.sides if side.name == OURS or same is None]
        url = self.line_url if row.line else self.busy_url
        with tempfile.TemporaryDirectory(dir=self.scratch) as work:
            warm = {side.name: Path(work) / f"cache-{side.name}" for side in self.sides}
            if row.cached is not None:
                for side in self.sides:
                    self.fill(side, warm[side.name], self.busy, self.busy_url, row.cached)
            for run in range(runs):
                for side in sides:
                    fresh = Path(work) / f"run-{side.name}"
                    cache = warm[side.name] if row.cached is not None else fresh / "cache"
                    before = self.carried()
                    self.run(side, row, url, cache, fresh / "out", results[side.name])
                    results[side.name].carried.append(self.carried() - before)
                    shutil.rmtree(fresh, ignore_errors=True)
                    taken = results[side.name].seconds[-1]
                    say(f"{row.name}: {side.name} {taken:.2f} s (run {run + 1} of {runs})")
            if row.resolution is not None:
                for side in sides:
                    one = results[side.name]
                    one.error, one.resampling_error = self.error(side, row, Path(work) / "truth")
        if THEIRS in results:
            self.done[row.theirs, row.line, row.cached, runs] = results[THEIRS]
        return results

    def run(self, side: Side, row: Row, url: str, cache: Path, out: Path, result: Measured) -> None:
        """Run one package once, as a process of its own."""
        cache.mkdir(parents=True, exist_ok=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        if row.script is not None:
            command = [side.python, "-c", row.script]
        else:
            arguments = row.ours if side.name == OURS else row.theirs
            command = [*side.command, *(word.format(out=out) for word in arguments)]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("ATLDLD_")}
        if row.asks:
            clean |= side.environ(url, cache)
        report = self.scratch / "report.json"
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(report)]
        done = subprocess.run(
            [*launcher, *command], stdout=subprocess.PIPE, text=True, env=clean, check=True
        )
        status, seconds, cpu, peak_mb = json.loads(report.read_text())
        if status:
            raise RuntimeError(f"{side.name} failed at {row.name}:\n{done.stdout[-2000:]}")
        result.seconds.append(float(done.stdout) if row.script is not None else seconds)
        result.cpu.append(cpu)
        result.peak_mb.append(peak_mb)

    def fill(self, side: Side, cache: Path, archive: Cache, url: str, tier: int) -> None:
        """Put the images of an archive at one tier into a package's cache."""
        if side.name == OURS:
            # by its own door, so that everything is verified and the metadata is there too
            arguments = download("--downsample-img", tier, "--resolution", 200)
            row = Row("fill", "", 0, arguments, resolution=200)
            self.run(side, row, url, cache, cache.parent / "filled", Measured())
            shutil.rmtree(cache.parent / "filled")
            return
        there = cache / "atldld"
        there.mkdir(parents=True)
        for image in self.images(archive):
            shutil.copy(archive.image_path(image["id"], tier), there / f"{image['id']}-{tier}.jpg")

    @staticmethod
    def images(archive: Cache) -> list[sections.Record]:
        """Return the records of an archive's images."""
        document = archive.read_document("datasets", str(sections.DATASET)) or {}
        return list(document["section_images"])

    def error(self, side: Side, row: Row, folder: Path) -> tuple[float, float]:
        """Return how far a package's pictures are from the truth, and their resampling alone."""
        out, cache = folder / side.name / "out", folder / side.name / "cache"
        if row.cached is not None:
            self.fill(side, cache, self.smooth, self.smooth_url, row.cached)
        self.run(side, row, self.smooth_url, cache, out, Measured())
        squares = [
            difference_to_truth(out, image, row.resolution or 0, side.name)
            for image in self.images(self.smooth)
        ]
        claimed, shown = (
            np.sqrt(np.mean(np.concatenate(part))) for part in zip(*squares, strict=True)
        )
        return float(claimed), float(shown)


def difference_to_truth(
    folder: Path, image: sections.Record, resolution: float, side: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return squared differences to the brain where a picture says it is, and where it really is.

    Each picture is read as its package says: ours shows at pixel k the average over [kR, (k+1)R)
    in the section's own plane; that of 0.3.4 shows at pixel k the point kR of the plane of constant
    third coordinate that its metadata tells.
    """
    dataset, _ = sections.records()
    picture = np.asarray(
        cv2.imread(str(next(folder.rglob(f"{image['id']}.png"))), cv2.IMREAD_COLOR_RGB)
    )
    grid = Grid(Plane.CORONAL, resolution)
    placement = Placement.from_records(dataset, image)
    plane = OutputPlane.oblique(placement, grid)
    offset = 0.5 if side == OURS else 0.0

    def points(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        p = plane.depth_at(rows, columns) if side == OURS else np.full(rows.shape, depth)
        return np.stack((p, (rows + offset) * resolution, (columns + offset) * resolution), -1)

    depth = 0.0
    if side == THEIRS:
        depth = told_depth(folder, image["id"])
    rng = np.random.default_rng(0)
    rows, columns = (rng.integers(2, size - 2, 60_000) for size in picture.shape[:2])
    around = np.array([(0, 0), (-2, -2), (-2, 2), (2, -2), (2, 2)])
    inside = anatomy.tissue(points(rows[:, None] + around[:, 0], columns[:, None] + around[:, 1]))
    chosen = np.flatnonzero((inside > 0.99).all(axis=1))[:4000]
    rows, columns = rows[chosen], columns[chosen]
    steps = (np.arange(6) + 0.5) / 6 - 0.5
    down, right = (axis.ravel() for axis in np.meshgrid(steps, steps))
    claimed = points(rows[:, None] + down, columns[:, None] + right)
    shown = placement.to_reference(placement.to_image(claimed))
    first, second = (
        (picture[rows, columns] - anatomy.color(where).mean(axis=1)) ** 2
        for where in (claimed, shown)
    )
    return first, second


def told_depth(folder: Path, image_id: int) -> float:
    """Return the third coordinate that 0.3.4 tells of a picture, in µm."""
    metadata = json.loads(next(folder.rglob("metadata.json")).read_text())
    per_image = metadata["per_image"]
    told = (
        per_image[str(image_id)]
        if isinstance(per_image, dict)
        else next(
            one for one in per_image if str(one.get("image_id", one.get("id"))) == str(image_id)
        )
    )
    return float(told["section_coordinate"])


@contextmanager
def served(archive: Cache) -> Iterator[str]:
    """Serve an archive in a process of its own; give its address."""
    with reading(
        [
            sys.executable,
            "-c",
            "from atldld.cli import main; main()",
            "serve",
            str(archive.root),
            "--port",
            "0",
        ]
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


@contextmanager
def line_to(url: str) -> Iterator[tuple[str, Callable[[], int]]]:
    """Put a slow line before a service; give its address, and what it has carried so far."""
    command = [sys.executable, str(HERE / "line.py"), url]
    command += ["--round-trip", str(ROUND_TRIP), "--megabits", str(MEGABITS)]
    with reading(command) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None
        assert told is not None

        def carried() -> int:
            asked.write("\n")
            asked.flush()
            return int(told.readline())

        yield told.readline().strip(), carried


@contextmanager
def reading(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


# What the machine allows


def decode_seconds(archive: Cache, tier: int, reduction: int, cores: int) -> float:
    """Return how long libjpeg-turbo takes for all images at a tier, on all cores, all warm."""
    paths = [archive.image_path(image["id"], tier) for image in Bench.images(archive)]
    contents = [path.read_bytes() for path in paths]
    sizes = [simplejpeg.decode_jpeg_header(content)[:2] for content in contents]
    largest = max(h * w for h, w in sizes) * 3
    shares = [range(k, len(paths), cores) for k in range(cores)]
    buffers = [np.zeros(largest, np.uint8) for _ in shares]

    def work(share: range, buffer: np.ndarray) -> None:
        for k in share:
            (height, width), least = sizes[k], {}
            if reduction > 1:
                least = {
                    "min_height": -(-height // reduction),
                    "min_width": -(-width // reduction),
                }
            simplejpeg.decode_jpeg(contents[k], "RGB", buffer=buffer, **least)

    begun = time.perf_counter()
    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(shares, buffers, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun


def bytes_per_second() -> float:
    """Return how fast this process can write to memory that it already has."""
    block = np.zeros(80_000_000, np.uint8)
    best = float("inf")
    for k in range(5):
        begun = time.perf_counter()
        block.fill(k)
        best = min(best, time.perf_counter() - begun)
    return len(block) / best


IN_FLIGHT = 6
"""Requests that are on their way at once, by default."""


@dataclass(frozen=True)
class Floor:
    """The least time that a cold run over the line could take.

    The metadata of the data set and of its images are asked for at once, which takes a handshake
    and a round trip; then the images, six at a time, on connections that are there. What a slow
    start of each connection costs besides is not counted.
    """

    start: float
    sections: int
    carried: float

    @property
    def round_trips(self) -> int:
        """Those that wait for each other."""
        return 2 + -(-self.sections // IN_FLIGHT)

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.start + self.round_trips * ROUND_TRIP + self.carried * 8 / (MEGABITS * 1e6)

    def __str__(self) -> str:
        return (
            f"{self.start:.2f} s to start, {self.round_trips} round trips, "
            f"{self.carried / 1e6:.0f} MB over the line"
        )


def needed_start() -> float:
    """Return how long Python takes to start with what a download needs, at best."""
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        code = "import atldld.cli.download, atldld.sections.download, atldld.fetch.session"
        subprocess.run([sys.executable, "-c", code], check=True)
        taken.append(time.perf_counter() - begun)
    return min(taken)


def limit_of(row: Row, bench: Bench, results: dict[str, Measured], cores: int) -> tuple[float, str]:
    """Return the least time that a row could take, in seconds, and what sets it."""
    if row.line:
        floor = Floor(
            needed_start(),
            len(Bench.images(bench.busy)),
            statistics.median(results[OURS].carried),
        )
        return floor.seconds, str(floor)
    if row.cached == 0:
        reduction = 8 if row.resolution == 25 else 2
        least = decode_seconds(bench.busy, 0, reduction, cores)
        return least, f"JPEG decode at 1/{reduction} on {cores} cores"
    if row.cached is not None:
        return decode_seconds(bench.busy, row.cached, 1, cores), f"JPEG decode on {cores} cores"
    if row.name == "transform":
        return 2 * 4 * 8000 * 11400 / bytes_per_second(), "writing the result to memory"
    if row.script is not None:
        return 2 * 3 * 8 * 10_000_000 / bytes_per_second(), "reading and writing the points"
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - begun, "starting Python"


# The table


def cells_of(
    row: Row, results: dict[str, Measured], limit: tuple[float, str]
) -> dict[str, str | float | None]:
    """Return what was measured of a row, by the names that ``performance.py`` knows."""
    ours, theirs = results[OURS], results.get(THEIRS)
    cells: dict[str, str | float | None] = {
        "row": row.name,
        "work": row.what,
        "ours, s": ours.median,
        "0.3.4, s": None if theirs is None else theirs.median,
        "ratio": None if theirs is None else theirs.median / ours.median,
        "wanted": row.target,
        "ours, CPU s": statistics.median(ours.cpu) if ours.cpu else None,
    }
    for side, one in results.items():
        cells[f"{side}, peak MB"] = one.peak
        if ours.error is not None:
            cells[f"{side}, RMS error"] = one.error
            cells[f"{side}, resampling error"] = one.resampling_error
    return {**cells, "limit, s": limit[0], "limit": limit[1]}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def free_mb() -> float:
    """Return the free memory, in MB."""
    from atldld.support.memory import available_memory

    return (available_memory() or 1 << 40) / 1e6


def main() -> None:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Rows: " + ", ".join(names)
    )
    parser.add_argument("--runs", type=int, default=5, help="of each package and row (5)")
    parser.add_argument("--sections", type=int, default=60, help="how many of the 60")
    parser.add_argument("--rows", default=",".join(names), help="some of the rows")
    folder_option(parser, "about 600 MB")
    parser.add_argument(
        "--alone", action="store_true", help="leave the published package out: minutes, not an hour"
    )
    json_option(parser)
    options = parser.parse_args()
    unknown = set(options.rows.split(",")) - set(names)
    if unknown or not 1 <= options.sections <= 60 or options.runs < 1:
        parser.error(f"no such rows: {', '.join(sorted(unknown))}" if unknown else "out of range")

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    findings = Findings("peer", options.json)
    left_out: list[str] = []
    with ExitStack() as stack:
        bench = Bench(stack, options.folder, options.sections, alone=options.alone)
        if bench.problem:
            say(f"Only this package is measured: {bench.problem}.")
        for row in ROWS:
            if row.name not in options.rows.split(","):
                continue
            heavy = row.name in {"cold-full", "cached-full-25", "cached-full-5", "transform"}
            if (heavy or row.name == "cold-default") and free_mb() < NEEDED_MB:
                left_out.append(f"{row.name}: {free_mb():.0f} MB are free, {NEEDED_MB} needed")
                say(f"Left out {left_out[-1]}.")
                continue
            try:
                results = bench.measure(row, options.runs)
                limit = limit_of(row, bench, results, cores or 1)
            except (RuntimeError, OSError) as error:
                left_out.append(f"{row.name}: {error}")
                say(f"Left out {row.name}: {error}")
                continue
            cells = cells_of(row, results, limit)
            findings.row(cells)
            ratio = cells["ratio"]
            say(
                f"{row.name}: {results[OURS].median:.3g} s"
                + (f", {ratio:.3g} times as fast as 0.3.4" if ratio else "")
                + f"; the floor is {limit[0]:.3g} s ({limit[1]}), "
                f"ours {results[OURS].median / limit[0]:.2f} times that"
            )
    about = (
        f"{options.sections} sections, medians of {options.runs} runs in turns; "
        f"`python benchmarks/bench_peer.py --runs {options.runs} --sections {options.sections}`"
    )
    about += "".join(f"; left out: {reason}" for reason in left_out)
    findings.about(about)
    if findings.rows:
        print(f"{peer_table(findings.rows)}\n")
    findings.tell(
        f"{options.sections} sections, "
        + ", ".join(
            f"{row['row']} {row['ours, s']:.3g} s"
            + (f" ({row['ratio']:.3g} ×)" if row["ratio"] else "")
            for row in findings.rows
        )
    )


if __name__ == "__main__":
    main()
