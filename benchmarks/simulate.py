"""Batches of up to all adult data sets, simulated: what the machinery costs, and when it ends.

    python benchmarks/simulate.py [--data-sets 1,10,100,1000,10000] [--whole] [--json FILE]

The planner, the journal, the bounds on requests and the resumption are the package's own. The
service and the work on pixels are stand-ins, and what waits for them is a clock that jumps: a
request takes as long as a slow service would (0.4 s, the slowest one in a hundred 4 s; one in 200
fails and is sent again; now and then the service is down for ten minutes), a section the core's
time of ``scale.py``. Images are asked for six at a time, five a second.

First each number of data sets is made, and the costs of this machine are fitted: the time of the
processor, memory, requests, files and bytes of the journal. With --whole, all 26,061 adult data
sets are made in processes that are killed (SIGKILL) again and again, the last line of the journal
torn each time; the clock then says when it ended, and `estimate` what ``--dry-run`` had said.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import scale
from atldld.batch import estimate, run_batch
from atldld.batch.estimate import METADATA_REQUESTS
from atldld.batch.journal import JOURNAL, read_entries
from atldld.batch.run import BatchSummary
from atldld.batch.work import Made
from atldld.errors import NetworkError
from atldld.fetch import connection
from atldld.fetch.limits import PER_SECOND, Limits
from atldld.fetch.session import Session
from atldld.find import build
from atldld.find.catalogue import catalogue_path
from atldld.place.sections import PlacedDataSet, PlacedSection
from atldld.place.spaces import Plane
from atldld.settings import Settings
from findings import Findings, json_option
from memory import peak_mb

SERVICE = "http://simulated.invalid"
FIRST = 70_000_000
TIER = 4
AT_ONCE = 2  # data sets, as the command does it
MEDIAN_SECONDS, SPREAD = 0.4, 1.0  # of a request: lognormal
FAILS = 1 / 200
OUTAGE_EVERY, OUTAGE = 12 * 3600.0, 600.0
SIDES = (9000, 6000)


class Clock:
    """A clock that stands still until something is waited for, and the slots that wait on it.

    It stands in for the modules ``time`` and ``threading`` of `atldld.fetch.connection`, whose
    slots keep to the rate.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.ahead = 0.0  # how far the request that is being sent is ahead of everything else

    def monotonic(self) -> float:
        """Return the moment, for the request that is being sent."""
        return self.now + self.ahead

    # what `connection` uses of ``threading``

    def BoundedSemaphore(self, count: int) -> _Slots:  # noqa: N802 - the module's own name
        """Return slots that wait on this clock."""
        return _Slots(self, count)

    def Event(self) -> _Event:  # noqa: N802
        """Return what is waited for on this clock."""
        return _Event(self)

    def __getattr__(self, name: str) -> Any:
        import threading

        return getattr(threading, name)


class _Slots:
    """A semaphore whose places become free at moments of the clock."""

    def __init__(self, clock: Clock, count: int) -> None:
        self.clock, self.free = clock, [0.0] * count

    def acquire(self) -> None:
        self.clock.now = max(self.clock.now, heapq.heappop(self.free))

    def release(self) -> None:
        heapq.heappush(self.free, self.clock.monotonic())


@dataclass
class _Event:
    clock: Clock
    happened: bool = False

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    def is_set(self) -> bool:
        return self.happened

    def set(self) -> None:
        self.happened = True


@dataclass
class Service:
    """What is asked, on a clock of its own."""

    clock: Clock
    seed: int
    requests: int = 0
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def ask(self, session: Session) -> float:
        """Send a request; return the moment at which its answer is there."""
        while True:
            with session.client._connections.slot():
                self.requests += 1
                seconds = MEDIAN_SECONDS * self.rng.lognormvariate(0, SPREAD)
                self.clock.ahead = min(seconds, 30.0)
                ends = self.clock.monotonic()
            self.clock.ahead = 0.0
            if ends % OUTAGE_EVERY < OUTAGE and ends > OUTAGE_EVERY:
                # the client's tries do not outlast it, so the data set fails; the batch is given
                # up after five of them, and begun again when the service is there
                raise NetworkError("The service cannot be reached.", url=SERVICE)
            if self.rng.random() >= FAILS:
                return ends
            self.clock.ahead = 0.0  # it waits by itself; the others go on


@dataclass
class Simulated:
    """The work on a data set, without its pixels."""

    service: Service
    core_seconds: float = scale.CORE_SECONDS[TIER]
    kill_after: int | None = None
    made: int = 0
    beyond: int = 0
    ends: list[float] = field(default_factory=list)
    metadata: dict[int, float] = field(default_factory=dict)

    resolution, tier, views = scale.OUTPUTS[TIER], TIER, 1

    def check(self) -> None:
        """Do nothing: there are no options."""

    def describe(self) -> dict[str, Any]:
        """Return what the journal begins with."""
        return {"makes": "nothing"}

    def tier_of(self, dataset: PlacedDataSet, section: PlacedSection) -> int:
        """Return the tier of all images."""
        return TIER

    def output_bytes(self, plane: Plane, images: int) -> int | None:
        """Return nothing: no pictures are written."""
        return None

    def is_whole(self, folder: Path) -> bool:
        """Whether the data set has been made."""
        return (folder / "metadata.json").exists()

    def make(
        self,
        dataset_id: int,
        folder: Path,
        session: Session,
        *,
        threads: int | None,
        force: bool,
        command_line: str | None,
    ) -> Made:
        """Ask for the metadata and the images, and let the clock go on by the work."""
        clock, count = self.service.clock, images_of(dataset_id - FIRST)
        if dataset_id not in self.metadata:
            self.metadata[dataset_id] = self._described(session)
        clock.now = max(clock.now, self.metadata.pop(dataset_id))
        # another data set is begun while the images of this one arrive
        if dataset_id + 1 < self.beyond:
            with suppress(NetworkError):
                self.metadata[dataset_id + 1] = self._described(session)
        ends = [self.service.ask(session) for _ in range(count)]
        # a section is worked on while the next ones arrive; the last one is waited for. Meanwhile
        # the next data set is asked for, and the one after it when this one has ended.
        self.ends.append(max(clock.now, *ends) + self.core_seconds)
        if len(self.ends) >= AT_ONCE:
            clock.now = max(clock.now, self.ends.pop(0))
        self.made += 1
        if self.kill_after is not None and self.made >= self.kill_after:
            clock.now = max(clock.now, *self.ends)
            _note(folder.parent, self.service)
            os.kill(os.getpid(), signal.SIGKILL)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metadata.json").write_text(json.dumps({"sections": count}))
        return Made(count, 0, 0, {})

    def _described(self, session: Session) -> float:
        """Ask for the metadata, both at once; return the moment at which they are there."""
        return max(self.service.ask(session) for _ in range(METADATA_REQUESTS))


def images_of(number: int) -> int:
    """Return how many images a data set has: one in six is coronal, as of all adult ones."""
    sagittal, coronal = (scale.KINDS[plane] for plane in (Plane.SAGITTAL, Plane.CORONAL))
    every = (sagittal.data_sets + coronal.data_sets) / coronal.data_sets
    return coronal.images if int((number + 1) / every) > int(number / every) else sagittal.images


def catalogue(session: Session, count: int) -> None:
    """Build the catalogue that `estimate` reads."""

    def data_sets() -> Iterator[dict[str, Any]]:
        for number in range(count):
            plane = 1 if images_of(number) == scale.KINDS[Plane.CORONAL].images else 2
            yield {"id": FIRST + number, "plane_of_section_id": plane, "failed": False}

    def images() -> Iterator[dict[str, Any]]:
        image_id = 100_000_000
        for number in range(count):
            for section in range(images_of(number)):
                image_id += 1
                yield {
                    "id": image_id,
                    "data_set_id": FIRST + number,
                    "section_number": section,
                    "width": SIDES[0],
                    "height": SIDES[1],
                    "tier_count": 7,
                    "resolution": 1.049,
                    "failed": False,
                }

    path = catalogue_path(session.cache.root)
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = range(FIRST, FIRST + count)
    tables = [("SectionDataSet", data_sets()), ("SectionImage", images())]
    build(path, tables, service=SERVICE, images_of=ids)


@contextmanager
def simulated(
    folder: Path, *, seed: int = 0, now: float = 0.0
) -> Iterator[tuple[Session, Service]]:
    """Give a session whose requests wait on a clock that jumps."""
    clock = Clock(now)
    bounds: Any = connection
    real = bounds.time, bounds.threading
    bounds.time = bounds.threading = clock
    try:
        settings = Settings(api_url=SERVICE, cache_dir=folder / "cache", offline=False)
        with Session(settings, limits=Limits(per_second=PER_SECOND)) as session:
            yield session, Service(clock, seed)
    finally:
        bounds.time, bounds.threading = real


def _note(out: Path, service: Service) -> None:
    """Keep what a kill would lose: the clock, and how many requests there were."""
    state = out.with_name("state.json")
    before = json.loads(state.read_text()) if state.exists() else {"requests": 0}
    told = {"now": service.clock.now, "requests": before["requests"] + service.requests}
    state.write_text(json.dumps(told))


def one_run(folder: Path, count: int, *, kill_after: int | None, seed: int) -> BatchSummary:
    """Make a batch in this process, from where the last one was killed."""
    state = folder / "state.json"
    now = json.loads(state.read_text())["now"] if state.exists() else 0.0
    with simulated(folder, seed=seed, now=now) as (session, service):
        work = Simulated(service, kill_after=kill_after, beyond=FIRST + count)
        ids = range(FIRST, FIRST + count)
        summary = run_batch(ids, folder / "out", work, session=session)
        service.clock.now = max(service.clock.now, *work.ends, 0.0)
        if not summary.complete:  # whoever runs it begins again when the service is there
            service.clock.now += OUTAGE
        _note(folder / "out", service)
    return summary


def killed_runs(folder: Path, count: int, kills: Sequence[int]) -> dict[str, float]:
    """Make a batch in processes that are killed; return what it took in all."""
    out, runs, waiting, peaks = folder / "out", 0, list(kills), []
    while True:
        kill_after = waiting.pop(0) if waiting else 0
        command = [sys.executable, __file__, "--one", folder, count, kill_after, runs]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        runs += 1
        if done.returncode == -signal.SIGKILL:
            journal = out / JOURNAL
            with open(journal, "r+b") as file:  # as a power cut would leave it
                file.truncate(max(journal.stat().st_size - 20, 0))
            continue
        if done.returncode:
            sys.exit(done.stderr)
        told = json.loads(done.stdout.splitlines()[-1])
        peaks.append(told["peak"])
        if told["complete"]:
            break
    state = json.loads((folder / "state.json").read_text())
    entries = read_entries(out / JOURNAL)
    assert len(entries) == count
    return {
        "runs": runs,
        "hours": state["now"] / 3600,
        "requests": state["requests"],
        "peak": max(peaks),
    }


def cost(count: int) -> dict[str, float]:
    """Return what a batch costs this machine, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--cost", folder, str(count)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


def _cost_here(folder: Path, count: int) -> dict[str, float]:
    out, busy, runs = folder / "out", time.process_time(), 0
    while not one_run(folder, count, kill_after=None, seed=runs).complete:
        runs += 1  # the service was down
    return {
        "data sets": count,
        "processor, s": time.process_time() - busy,
        "peak, MB": peak_mb(),
        "requests": json.loads((folder / "state.json").read_text())["requests"],
        "files": sum(len(files) for _, _, files in os.walk(out)),
        "journal, kB": (out / JOURNAL).stat().st_size / 1e3,
    }


def fitted(rows: Sequence[Mapping[str, float]], name: str) -> tuple[float, float, float]:
    """Return the law a + b × data sets, and how far the largest number is from it, as a share.

    Deviations are weighed by what is measured, so that small numbers count as much as large ones.
    """
    x = np.array([row["data sets"] for row in rows], float)
    y = np.array([row[name] for row in rows], float)
    b, a = np.polyfit(x, y, 1, w=1 / np.maximum(y, 1e-9))
    return float(a), float(b), float(abs(a + b * x[-1] - y[-1]) / y[-1])


def expected(folder: Path, count: int) -> tuple[float, int]:
    """Return the hours that ``--dry-run`` tells, and the requests."""
    with simulated(folder) as (session, service):
        catalogue(session, count)
        found = estimate(range(FIRST, FIRST + count), Simulated(service), session)
    return found.requests / PER_SECOND / 3600, found.requests


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        folder, count, kill_after, seed = Path(sys.argv[2]), *map(int, sys.argv[3:])
        summary = one_run(folder, count, kill_after=kill_after or None, seed=seed)
        print(json.dumps({"complete": summary.complete, "peak": peak_mb()}))
        return
    if sys.argv[1:2] == ["--cost"]:
        print(json.dumps(_cost_here(Path(sys.argv[2]), int(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-sets", default="1,10,100,1000,10000")
    parser.add_argument("--whole", action="store_true", help="all adult data sets, with kills")
    json_option(parser)
    options = parser.parse_args()
    findings = Findings("simulate", options.json)
    rows = []
    for count in map(int, options.data_sets.split(",")):
        rows.append(cost(count))
        findings.row(rows[-1])
        print(", ".join(f"{name} {value:,.6g}" for name, value in rows[-1].items()), flush=True)
    for name in list(rows[0])[1:] if len(rows) > 2 else ():
        a, b, off = fitted(rows, name)
        print(f"{name} = {a:.3g} + {b:.3g} × data sets; off by {100 * off:.0f} % at {count}")
    line = f"{count:,} data sets, {rows[-1]['peak, MB']:.0f} MB"
    if options.whole:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            total = scale.counted()[0]
            hours, requests = expected(folder, total)
            told = killed_runs(folder, total, [3000, 5000, 1000, 7000, 4000])
        print(f"estimated: {hours:.1f} h, {requests:,} requests")
        print(", ".join(f"{name} {value:,.6g}" for name, value in told.items()))
        findings.row(
            {"data sets": total, "hours": told["hours"], "estimated, hours": hours, **told}
        )
        line += f"; all {total:,}: {told['hours']:.1f} h, estimated {hours:.1f} h"
    findings.tell(line)


if __name__ == "__main__":
    main()
