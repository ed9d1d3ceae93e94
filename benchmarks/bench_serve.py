"""What a client of `atldld serve` waits while others are in bad faith.

Run it from the project's root::

    python benchmarks/bench_serve.py [--seconds 15] [--only "slow headers"]

A service of the demo archive runs in one process, the clients in bad faith in another, and one
client in good faith asks in turn for a data set's records, its images' records, a point on it and
a picture that is held. Its waits are told as the median, the 99th percentile and the longest,
together with how many of its questions were not answered. The last column is the most memory that
the service has held.

Before that, 64 clients in good faith ask at once, each as soon as it has its answer: for the
records of a data set, for those of its images, and for a picture of tier 4.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import os
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from findings import Findings, json_option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

QUESTIONS = (
    "/api/v2/data/query.json?criteria=model::SectionDataSet,rma::criteria,[id$eq909]",
    "/api/v2/data/query.json?criteria=model::SectionImage,rma::criteria,[data_set_id$eq909],"
    "rma::include,alignment2d",
    "/api/v2/image_to_reference/101321610.json?x=700&y=600",
    "/api/v2/section_image_download/101321610?downsample=4",
)
HUGE = "/api/v2/section_image_download/101321610?downsample=0"


async def connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(host, port, limit=1 << 16)


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1")


async def by_the_byte(host: str, port: int) -> None:
    _, writer = await connect(host, port)
    writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
    while True:
        await asyncio.sleep(random.uniform(1, 4))
        writer.write(b"x")
        await writer.drain()


async def never_reads(host: str, port: int) -> None:
    _, writer = await connect(host, port)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(get(HUGE))
    await asyncio.sleep(3600)


async def ahead(host: str, port: int) -> None:
    _, writer = await connect(host, port)
    while True:
        writer.write(get("/") * 2000)
        await writer.drain()


async def comes_and_goes(host: str, port: int) -> None:
    for _ in range(10_000):
        _, writer = await connect(host, port)
        writer.write(b"GET / HT")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()


def asks(paths: Callable[[], str]) -> Callable[[str, int], Awaitable[None]]:
    """Ask again and again, each time as soon as the last answer is there."""

    async def run(host: str, port: int) -> None:
        reader, writer = await connect(host, port)
        while True:
            writer.write(get(paths()))
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            while length > 0:
                piece = await reader.read(min(length, 1 << 16))
                if not piece:
                    return
                length -= len(piece)

    return run


def hostile() -> Callable[[], str]:
    from tests.faults.hostile import hostile_queries

    listed = [
        "/api/v2/data/query.json?criteria=" + quote(q, safe="$[](),':*")
        for q in hostile_queries(99)
    ]
    return lambda: random.choice(listed)


def pictures() -> str:
    image = random.choice((101321610, 101321611, 101321612, 101321613))
    size = random.randrange(100, 900)
    return (
        f"/api/v2/section_image_download/{image}?downsample={random.randrange(2)}"
        f"&quality={random.randrange(101)}&width={size}&height={size}"
    )


def points() -> str:
    ids = ",".join(random.choices(("909", "69289763", "71717084"), k=100))
    return f"/api/v2/reference_to_image/9.json?x=6000&y=3000&z=5000&section_data_set_ids={ids}"


WAYS: dict[str, tuple[int, Callable[[str, int], Awaitable[None]] | None]] = {
    "nobody else": (0, None),
    "slow headers": (120, by_the_byte),
    "answers never read": (120, never_reads),
    "come and go": (120, comes_and_goes),
    "thousands ahead": (40, ahead),
    "costly queries": (40, asks(lambda: hostile_path())),
    "cheap queries": (60, asks(lambda: QUESTIONS[0])),
    "points on 100 data sets": (40, asks(points)),
    "pictures in pieces": (40, asks(pictures)),
}

_paths: list[Callable[[], str]] = []


def hostile_path() -> str:
    if not _paths:
        _paths.append(hostile())
    return _paths[0]()


async def misbehave(way: str, host: str, port: int) -> None:
    count, act = WAYS[way]
    assert act is not None

    async def persist() -> None:
        while True:  # who is cut off comes back
            with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
                await act(host, port)
            await asyncio.sleep(0.2)

    await asyncio.gather(*(persist() for _ in range(count)))


def wait_for_answers(host: str, port: int, seconds: float) -> tuple[list[float], int]:
    """Ask for so long; return how long each answer took, in s, and how many were none."""
    waits, failed, number = [], 0, 0
    client = http.client.HTTPConnection(host, port, timeout=30)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        begun = time.perf_counter()
        try:
            client.request("GET", QUESTIONS[number % len(QUESTIONS)])
            answer = client.getresponse()
            answer.read()
            failed += answer.status != 200
        except (OSError, http.client.HTTPException):
            failed += 1
            client.close()
        waits.append(time.perf_counter() - begun)
        number += 1
        time.sleep(0.02)
    client.close()
    return waits, failed


CLIENTS = 64
MANY = {"a data set": QUESTIONS[0], "its images": QUESTIONS[1], "a picture": QUESTIONS[3]}


async def ask_at_once(path: str, host: str, port: int, seconds: float) -> list[float]:
    """Have all clients ask for so long; return how long each answer took, in s."""
    waits = []

    async def one(ends: float) -> None:
        reader, writer = await connect(host, port)
        while time.monotonic() < ends:
            begun = time.perf_counter()
            writer.write(get(path))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = head.lower().partition(b"content-length:")[2].split()[0]
            await reader.readexactly(int(length))
            waits.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(one(time.monotonic() + seconds) for _ in range(CLIENTS)))
    return waits


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has used."""
    numbers = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, numbers[11:13])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def served() -> Iterator[tuple[int, str, int]]:
    """Serve the demo archive; give the process and its address."""
    service = subprocess.Popen(
        [sys.executable, "-m", "atldld", "serve", "demo", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert service.stdout is not None
        host, port = service.stdout.readline().strip().removeprefix("http://").split(":")
        wait_for_answers(host, int(port), 3)  # the first answers make what later ones use
        yield service.pid, host, int(port)
    finally:
        service.kill()
        service.wait()


def measure_many(what: str, seconds: float, findings: Findings) -> str:
    with served() as (process, host, port):
        before = processor_seconds(process)
        waits = sorted(asyncio.run(ask_at_once(MANY[what], host, port, seconds)))
        each = (processor_seconds(process) - before) / len(waits)
    p50, p99 = (waits[int(len(waits) * part)] for part in (0.5, 0.99))
    findings.row(
        {
            "others": f"{CLIENTS} clients ask for {what}",
            "asked": len(waits),
            "p50, s": p50,
            "p99, s": p99,
            "longest, s": waits[-1],
            "failed": 0,
            "answers a second": len(waits) / seconds,
            "processor, µs an answer": 1e6 * each,
        }
    )
    return (
        f"{CLIENTS} ask for {what:<15}{len(waits):6} asked {p50:8.3f} s {p99:8.3f} s"
        f" {waits[-1]:8.3f} s {len(waits) / seconds:6.0f} a second, {1e6 * each:.0f} µs each"
    )


def peak_of(process: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def measure(way: str, seconds: float, findings: Findings) -> str:
    others = None
    with served() as (process, host, port):
        try:
            if WAYS[way][1] is not None:
                others = subprocess.Popen(
                    [sys.executable, __file__, "--misbehave", way, host, str(port)]
                )
                time.sleep(3)
            waits, failed = wait_for_answers(host, port, seconds)
        finally:
            if others is not None:
                others.kill()
                others.wait()
        peak = peak_of(process)
    waits.sort()
    p50, p99 = (waits[int(len(waits) * part)] for part in (0.5, 0.99))
    findings.row(
        {
            "others": way,
            "asked": len(waits),
            "p50, s": p50,
            "p99, s": p99,
            "longest, s": waits[-1],
            "failed": failed,
            "peak, MB": peak,
        }
    )
    return (
        f"{way:<26}{len(waits):6} asked {p50:8.3f} s {p99:8.3f} s {waits[-1]:8.3f} s"
        f"{failed:6} failed {peak:8.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--only", choices=WAYS)
    parser.add_argument("--misbehave", nargs=3, help=argparse.SUPPRESS)
    json_option(parser)
    options = parser.parse_args()
    if options.misbehave:
        way, host, port = options.misbehave
        asyncio.run(misbehave(way, host, int(port)))
        return
    findings = Findings("serve", options.json)
    print(
        f"{'others':<32}{'':8}{'p50':>5}{'p99':>11}{'longest':>13}   ({os.cpu_count()} processors)"
    )
    if options.only is None:
        for what in MANY:
            print(measure_many(what, options.seconds, findings), flush=True)
    for way in [options.only] if options.only else WAYS:
        print(measure(way, options.seconds, findings), flush=True)
    worst = max(findings.rows, key=lambda row: row["p99, s"])
    failed = sum(row["failed"] for row in findings.rows)
    findings.tell(
        f"p99 at most {1e3 * worst['p99, s']:.0f} ms ({worst['others']}), {failed} not answered"
    )


if __name__ == "__main__":
    main()
