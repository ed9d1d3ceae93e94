"""A batch: every data set of a list, several at once, with a journal to go on from."""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from atldld.batch.cluster import workers
from atldld.batch.estimate import estimate
from atldld.batch.journal import Entry, Journal
from atldld.batch.places import Folder, Place, open_place
from atldld.batch.task import Task
from atldld.batch.window import Window
from atldld.batch.work import Work
from atldld.errors import (
    CacheError,
    InvalidInputError,
    OutputError,
    ServiceWarning,
)
from atldld.fetch.locks import Taken, locked
from atldld.fetch.session import Session, default_session
from atldld.support.arguments import check_ids, check_whole
from atldld.support.files import check_space, write_errors
from atldld.support.pipeline import default_jobs

__all__ = ["PATIENCE", "BatchProgress", "BatchSummary", "run_batch"]

PATIENCE = 5
"""So many data sets in a row that fail for a reason that others would meet too end a batch: a
service that is down for an hour must not fail thousands of them."""

BETWEEN_COPIES = 60.0
"""Seconds from one copy of the journal in a store to the next."""


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch has come.

    Attributes
    ----------
    done, failed, left : int
        Data sets: those that are there, whether made now or before; those that failed in this
        run; and the others.
    bytes : int
        Of what was made in this run.
    seconds_left : float or None
        At the pace of this run; `None` until there is one.
    """

    done: int
    failed: int
    left: int
    bytes: int
    seconds_left: float | None


@dataclass(frozen=True)
class BatchSummary:
    """How a batch ended.

    Attributes
    ----------
    out : str
        Where the results are.
    entries : tuple of Entry
        How each data set of the list ended, in the list's order; those that were not begun have
        none.
    kept : int
        Those among them that an earlier run had made.
    left : tuple of int
        Data sets that were not begun, because the batch was given up.
    given_up : str or None
        Why it was.
    seconds : float
        How long this run took.
    """

    out: str
    entries: tuple[Entry, ...]
    kept: int
    left: tuple[int, ...]
    given_up: str | None
    seconds: float

    @property
    def failed(self) -> tuple[Entry, ...]:
        """Those that failed."""
        return tuple(entry for entry in self.entries if entry.state == "failed")

    @property
    def complete(self) -> bool:
        """Whether all of every data set is there."""
        return not self.failed and not self.left


def run_batch(
    ids: Iterable[int] | int,
    out: str | os.PathLike[str],
    work: Work,
    *,
    session: Session | None = None,
    jobs: int = 1,
    threads: int | None = None,
    dask: str | None = None,
    force: bool = False,
    command_line: str | None = None,
    progress: Callable[[BatchProgress], None] | None = None,
    window: Window | None = None,
) -> BatchSummary:
    """Make something of each data set of a list, and go on where an earlier run has stopped.

    The result of each is in ``out/<id>``. ``out/batch.jsonl`` is the journal: what is done, and
    what failed and why. Data sets that it calls done are looked at briefly and not made again.
    Defects of the service do not warn; they are counted, and named in each ``metadata.json``.

    Parameters
    ----------
    ids : int or iterable of int
        The data sets; one that is named twice is made once.
    out : str or path
        A folder, or an address that fsspec understands, such as ``s3://bucket/prefix``.
    work : Work
        What is made: `Download`, `Volumes` or `Registrations`.
    session : Session, optional
        Where metadata and images come from; by default what the environment says. Its client's
        limits bound the requests of the whole batch, however many data sets are made at once and by
        however many workers.
    jobs : int
        Data sets at once, on this machine.
    threads : int, optional
        Threads that decode and warp for each of them; by default all cores together.
    dask : str, optional
        Make them on the workers of this Dask scheduler, or of ``"local:N"``: N processes here.
    force : bool
        Start again whatever is there.
    command_line : str, optional
        For the journal and ``metadata.json``.
    progress : callable, optional
        Called when a data set has ended.
    window : Window, optional
        The hours in which data sets are begun; it is waited for them.

    Raises
    ------
    InvalidInputError
        If an argument is not valid; nothing is requested then.
    OutputError
        If the place cannot be used or holds another batch, or if another process works there.
    AtldldError
        If there is no such scheduler.
    """
    chosen = tuple(dict.fromkeys(check_ids(ids, "section data set")))
    if not chosen:
        raise InvalidInputError("The list of data sets is empty, so there is nothing to do.")
    session = session or default_session()
    jobs = check_whole(jobs, "number of data sets at once", least=1)
    work.check()
    begun = time.monotonic()
    place = open_place(out, session.cache.root / "batches")
    if threads is None:
        threads = max(default_jobs() // jobs, 1) if dask is None else 1
    task = Task(work, place, threads, force, command_line)
    with _quietly(), _workers(task, session, jobs, dask, window) as make, _alone(place):
        place.fetch_journal()
        journal = Journal(place.journal, work.describe(), force=force, command_line=command_line)
        try:
            place.keep_journal()
            kept = {
                dataset_id for dataset_id in chosen if _is_done(journal, place, work, dataset_id)
            }
            to_do = [dataset_id for dataset_id in chosen if dataset_id not in kept]
            _check_space(place, to_do, work, session)
            ended, given_up = _follow(make(to_do), journal, place, len(kept), len(to_do), progress)
        except BaseException:
            with suppress(OutputError):
                place.keep_journal()
            raise
        else:
            place.keep_journal()
        finally:
            journal.close()
    known = {**{dataset_id: journal.known[dataset_id] for dataset_id in kept}, **ended}
    return BatchSummary(
        out=str(place),
        entries=tuple(known[dataset_id] for dataset_id in chosen if dataset_id in known),
        kept=len(kept),
        left=tuple(dataset_id for dataset_id in chosen if dataset_id not in known),
        given_up=given_up,
        seconds=time.monotonic() - begun,
    )


Make = Callable[[Sequence[int]], Iterator[Entry]]


@contextmanager
def _workers(
    task: Task, session: Session, jobs: int, dask: str | None, window: Window | None
) -> Iterator[Make]:
    """Yield the function that makes data sets, and yields how each ended as soon as it does."""
    if dask is not None:
        with workers(dask, task, session, window) as make:
            yield make
        return
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="batch")

    def make_here(ids: Sequence[int]) -> Iterator[Entry]:
        # No more than are made at once, so that giving up comes before the next ones.
        left = deque(ids)
        running: set[Future[Entry]] = set()
        while left or running:
            while left and len(running) < jobs and (window is None or window.is_open()):
                running.add(pool.submit(task.make, left.popleft(), session))
            if not running and window is not None:
                window.wait()
                continue
            # what has ended is told before the next ones begin, or are waited for
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield future.result()

    try:
        yield make_here
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    else:
        pool.shutdown(cancel_futures=True)


def _follow(
    entries: Iterator[Entry],
    journal: Journal,
    place: Place,
    kept: int,
    to_do: int,
    progress: Callable[[BatchProgress], None] | None,
) -> tuple[dict[int, Entry], str | None]:
    """Note how data sets end; return that, and why the rest was given up if it was."""
    begun = copied = time.monotonic()
    ended: dict[int, Entry] = {}
    failed = size = in_a_row = 0

    def show() -> None:
        if progress:
            left = to_do - len(ended)
            pace = (time.monotonic() - begun) / len(ended) if ended else None
            seconds = None if pace is None else pace * left
            progress(BatchProgress(kept + len(ended) - failed, failed, left, size, seconds))

    show()
    for entry in entries:
        journal.note(entry)
        ended[entry.data_set] = entry
        failed += entry.state == "failed"
        size += entry.bytes
        in_a_row = in_a_row + 1 if entry.passing else 0
        show()
        if time.monotonic() - copied > BETWEEN_COPIES:
            place.keep_journal()
            copied = time.monotonic()
        if in_a_row >= PATIENCE and len(ended) < to_do:
            return ended, f"{in_a_row} data sets in a row failed, the last because: {entry.why}"
    return ended, None


def _check_space(place: Place, ids: Sequence[int], work: Work, session: Session) -> None:
    """Check that the disk has space for a batch, as far as its size is known.

    What is empty compresses to little, so a quarter of the estimate is enough to begin.
    """
    if isinstance(place, Folder):
        with suppress(CacheError):  # a damaged catalogue is not needed
            check_space(place.root, (estimate(ids, work, session).written_bytes or 0) // 4)


def _is_done(journal: Journal, place: Place, work: Work, dataset_id: int) -> bool:
    known = journal.known.get(dataset_id)
    return known is not None and known.state == "done" and place.is_whole(dataset_id, work)


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ServiceWarning)
        yield


@contextmanager
def _alone(place: Place) -> Iterator[None]:
    """Keep other processes from working on the same batch, where there are locks."""
    path = place.journal.with_name(f".{place.journal.name}.lock")
    with ExitStack() as stack:
        try:
            with write_errors(path):
                stack.enter_context(locked(path, f"The batch in {place}", wait=False))
        except Taken:
            raise OutputError(
                f"Another process is working on a batch in {place}.",
                hint="Wait for it, stop it, or choose another folder.",
            ) from None
        yield
