"""A batch: every data set of a list, several at once, with a journal to go on from."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from atldld.batch.journal import Entry, Journal
from atldld.batch.places import Place, Store, open_place
from atldld.batch.work import Work
from atldld.errors import (
    AtldldError,
    CacheError,
    HTTPStatusError,
    InvalidInputError,
    NetworkError,
    OutputError,
    ServiceTimeoutError,
    ServiceWarning,
)
from atldld.fetch.session import Session
from atldld.pipeline import default_jobs

__all__ = ["PATIENCE", "BatchSummary", "Progress", "make_one", "run_batch"]

PATIENCE = 5
"""So many data sets in a row that fail for a reason that others would meet too end a batch: a
service that is down for an hour must not fail thousands of them."""

BETWEEN_COPIES = 60.0
"""Seconds from one copy of the journal in a store to the next."""


@dataclass(frozen=True, slots=True)
class Progress:
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
    ids: Sequence[int],
    out: str | os.PathLike[str],
    work: Work,
    *,
    session: Session,
    jobs: int = 1,
    threads: int | None = None,
    dask: str | None = None,
    force: bool = False,
    command_line: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> BatchSummary:
    """Make something of each data set of a list, and go on where an earlier run has stopped.

    The result of each is in ``out/<id>``. ``out/batch.jsonl`` is the journal: what is done, and
    what failed and why. Data sets that it calls done are looked at briefly and not made again.
    Defects of the service do not warn; they are counted, and named in each ``metadata.json``.

    Parameters
    ----------
    ids : sequence of int
        The data sets; one that is named twice is made once.
    out : str or path
        A folder, or an address that fsspec understands, such as ``s3://bucket/prefix``.
    work : Work
        What is made: `Download` or `Volumes`.
    session : Session
        Where metadata and images come from. Its client's limits bound the requests of the whole
        batch, however many data sets are made at once and by however many workers.
    jobs : int
        Data sets at once, on this machine.
    threads : int, optional
        Threads that decode and warp for each of them; by default all cores together.
    dask : str, optional
        Make them on the workers of this Dask scheduler, or of ``"local:N"``: N processes here.
    force : bool
        Begin anew whatever is there.
    command_line : str, optional
        For the journal and ``metadata.json``.
    progress : callable, optional
        Called when a data set has ended.

    Raises
    ------
    InvalidInputError
        Something makes no sense. Nothing is asked.
    OutputError
        The place cannot be used, holds a batch of something else, or another process works there.
    AtldldError
        There is no such scheduler.
    """
    chosen = tuple(dict.fromkeys(ids))
    if not chosen:
        raise InvalidInputError("The list of data sets is empty, so there is nothing to do.")
    if jobs < 1:
        raise InvalidInputError(f"{jobs} data sets at once make no sense; at least 1 must be.")
    work.check()
    begun = time.monotonic()
    place = open_place(out, session.cache.root / "batches")
    task = Task(work, place, session, jobs, threads, force, command_line)
    with _alone(place), _quietly(), _running(task, dask) as run:
        place.fetch_journal()
        journal = Journal(
            place.journal, work.describe(), force=force, command_line=command_line
        )
        try:
            place.keep_journal()
            kept = {one for one in chosen if _is_done(journal, place, work, one)}
            to_do = [one for one in chosen if one not in kept]
            given_up = _follow(run(to_do), journal, place, len(kept), len(to_do), progress)
        finally:
            journal.close()
            place.keep_journal()
    ended = {entry.data_set for entry in journal.ended} | kept
    return BatchSummary(
        out=str(place),
        entries=tuple(journal.known[one] for one in chosen if one in ended),
        kept=len(kept),
        left=tuple(one for one in chosen if one not in ended),
        given_up=given_up,
        seconds=time.monotonic() - begun,
    )
