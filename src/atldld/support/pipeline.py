"""Fetching ahead and working in parallel, with results in order and memory bounded."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from atldld.errors import AtldldError
from atldld.support.arguments import check_jobs

__all__ = ["default_jobs", "fetch_then_work", "free_jobs", "in_order", "outcomes", "workers_for"]

Item = TypeVar("Item")
Fetched = TypeVar("Fetched")
Result = TypeVar("Result")


def default_jobs() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_own = threading.local()


def free_jobs() -> int:
    """Return how many threads a part of the work may use, 1 or more.

    All cores, or what the others leave of them where this is called by one of several that work
    side by side (`fetch_then_work`): more threads would only wait for each other.
    """
    return max(default_jobs() // getattr(_own, "workers", 1), 1)


def _is_one_of(workers: int) -> None:
    _own.workers = workers


def workers_for(jobs: int | None) -> int:
    """Return the given number of threads, or the number of cores.

    Raises
    ------
    InvalidInputError
        If the number is not a whole number of at least 1.
    """
    return check_jobs(jobs) or default_jobs()


def in_order(items: Iterable[Item], work: Callable[[Item], Result]) -> Iterator[Result]:
    """Yield ``work(item)`` for each item, in order, from as many threads as cores are free.

    Items are taken as they are needed, and no more than one for each thread and one more are
    worked on or waited for at a time. An exception is raised where its result would be yielded.

    Parameters
    ----------
    items : iterable
        What to work on; it is only read in the thread that asks for results.
    work : callable
        Called in threads.
    """
    jobs = free_jobs()
    if jobs == 1:
        yield from map(work, items)
        return
    pool = _workers(jobs)
    try:
        yield from _results((pool.submit(work, item) for item in items), jobs)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _workers(count: int) -> ThreadPoolExecutor:
    """Return threads that work side by side, and know that they do."""
    return ThreadPoolExecutor(count, "work", _is_one_of, (count,))


def _results(begun: Iterable[Future[Result]], most: int) -> Iterator[Result]:
    """Yield what is worked on, in order; more is begun while no more than `most` are waited for."""
    waiting: deque[Future[Result]] = deque()
    for future in begun:
        waiting.append(future)
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def fetch_then_work(
    items: Sequence[Item],
    fetch: Callable[[Item], Fetched],
    work: Callable[[Item, Fetched], Result],
    *,
    fetchers: int,
    workers: int,
) -> Iterator[Result]:
    """Yield ``work(item, fetch(item))`` for each item, in order.

    Fetching leaves its bytes on disk and runs as far ahead as it can, so the line never waits for
    the cores. Work holds pixels, so no more than ``workers + 1`` results exist at a time. An
    exception of either is raised where its result would be yielded; leaving the loop cancels
    what has not begun. Where the loop goes on in a forked process, which has none of the threads,
    what is left is started again there.

    Parameters
    ----------
    items : sequence
        What to do, in order.
    fetch, work : callable
        Both are called in threads.
    fetchers, workers : int
        How many threads each has.
    """
    here = os.getpid()
    fetching = ThreadPoolExecutor(fetchers, thread_name_prefix="fetch")
    working = _workers(workers)
    done = 0
    try:
        fetched = deque(fetching.submit(fetch, item) for item in items)
        begun = (working.submit(_work_on, work, item, fetched.popleft()) for item in items)
        for result in _results(begun, workers):
            yield result
            done += 1
            if os.getpid() != here:
                break
    finally:
        if os.getpid() == here:
            fetching.shutdown(wait=False, cancel_futures=True)
            working.shutdown(wait=False, cancel_futures=True)
    if os.getpid() != here:
        yield from fetch_then_work(items[done:], fetch, work, fetchers=fetchers, workers=workers)


def outcomes(
    items: Sequence[Item],
    fetch: Callable[[Item], Fetched],
    work: Callable[[Item, Fetched], Result],
    *,
    fetchers: int,
    workers: int,
) -> Iterator[tuple[Item, Result | AtldldError]]:
    """Yield each item with what becomes of it, or with the error that kept it from that.

    Arguments and order are those of `fetch_then_work`. An `AtldldError` of `fetch` or `work` is a
    result, as one image that is missing must not end the work on the others; any other exception is
    raised.
    """

    def fetch_or_error(item: Item) -> Fetched | AtldldError:
        try:
            return fetch(item)
        except AtldldError as error:
            return error

    def work_or_error(item: Item, fetched: Fetched | AtldldError) -> Result | AtldldError:
        if isinstance(fetched, AtldldError):
            return fetched
        try:
            return work(item, fetched)
        except AtldldError as error:
            return error

    results = fetch_then_work(
        items, fetch_or_error, work_or_error, fetchers=fetchers, workers=workers
    )
    yield from zip(items, results, strict=True)


def _work_on(
    work: Callable[[Item, Fetched], Result], item: Item, arriving: Future[Fetched]
) -> Result:
    return work(item, arriving.result())
