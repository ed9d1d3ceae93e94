"""A batch on the workers of Dask.

Each data set is one task. It is what counts or does not (its ``metadata.json``), it takes seconds
to minutes, beside which a task's milliseconds are nothing, and no pixels travel between machines;
a section would be many more tasks that all wait for the same folder. A task that a worker was
killed with is run again elsewhere by Dask, and goes on from the whole files that it finds.

The limits of the batch's session are shared out to the tasks that have been handed in: each has so
many of the requests at once, and that part of the rate, until it ends and gives them to the next.
So they hold whatever becomes of a worker, and a request costs no message to the scheduler.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
import secrets
import signal
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from atldld.batch.journal import Entry
from atldld.errors import AtldldError, InvalidInputError, ServiceWarning
from atldld.fetch.limits import Limits
from atldld.fetch.session import Session
from atldld.formats.common import need
from atldld.settings import Settings

if TYPE_CHECKING:
    from atldld.batch.task import Task
from atldld.batch.window import Window

__all__ = ["shares", "workers"]

CONNECT = 5.0
"""Seconds in which a scheduler must answer."""

TIMES = 4
"""How often a data set is handed in, if its result is lost with a worker again and again."""

PROFILER = "distributed.worker.profile.enabled"

_LOCAL = re.compile(r"local:(?P<workers>\d+)")
_ADDRESS = re.compile(r"(?:(?P<scheme>[a-z]+)://)?(?P<host>[^/:\s]+|\[[0-9a-fA-F:]+\]):\d{1,5}/?")


@contextmanager
def workers(
    address: str, task: Task, session: Session, window: Window | None = None
) -> Iterator[Callable[[Sequence[int]], Iterator[Entry]]]:
    """Yield the function that makes data sets on the workers of a scheduler.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``tcp://host:8786``, or ``"local:4"`` for four processes here.
    task : Task
        What is done for each.
    session : Session
        Its settings and limits are those of the workers; its cache's folder is on their machines.
    window : Window, optional
        The hours in which data sets are handed out.

    Raises
    ------
    InvalidInputError
        If the address is not valid.
    AtldldError
        If no scheduler answers at the address, or Dask is not installed.
    """
    number = _LOCAL.fullmatch(address)
    if number and not int(number["workers"]):
        raise InvalidInputError("local:0 is no worker at all; at least local:1 is needed.")
    if not number and not _ADDRESS.fullmatch(address):
        raise InvalidInputError(
            f"{address!r} is not the address of a Dask scheduler.",
            hint="Use one such as tcp://host:8786, or local:4 for four processes here.",
        )
    distributed = need("distributed", "dask", "Batches on Dask")
    settings = dataclasses.replace(
        session.settings, cache_dir=session.settings.cache_dir.absolute()
    )
    with ExitStack() as stack:
        target: Any = address.rstrip("/")
        if number:
            dask = need("dask", "dask", "Batches on Dask")
            # Where threads come and go, as ours do, the workers' profiler now and then stops a
            # worker for good in Python 3.11 (python/cpython#106883, dask/distributed#8616).
            with _deaf_to_ctrl_c(), dask.config.set({PROFILER: False}):
                target = distributed.LocalCluster(
                    n_workers=int(number["workers"]),
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                )
            stack.enter_context(target)
        client = stack.enter_context(_connected(distributed, target, address))
        prefix = f"atldld-{secrets.token_hex(8)}"

        def hand_in(dataset_id: int, share: int, times: int) -> Any:
            limits = session.limits
            own = dataclasses.replace(
                limits,
                in_flight=share,
                per_second=limits.per_second and limits.per_second * share / limits.in_flight,
            )
            name = f"{prefix}-{dataset_id}-{times}"
            return client.submit(_make_there, task, dataset_id, settings, own, key=name, pure=False)

        def make(ids: Sequence[int]) -> Iterator[Entry]:
            left = deque(ids)
            free = session.limits.in_flight
            running: dict[Any, tuple[int, int]] = {}
            times = Counter[int]()
            ended = distributed.as_completed(loop=client.loop)
            try:
                while left or running:
                    closed = window is not None and not window.is_open()
                    if window is not None and closed and not running:
                        window.wait()
                        continue
                    idle = (
                        0
                        if closed
                        else max(sum(client.nthreads().values()) - len(running), not running)
                    )
                    for share in shares(free, min(idle, len(left))) if idle else ():
                        data_set = left.popleft()
                        times[data_set] += 1
                        future = hand_in(data_set, share, times[data_set])
                        running[future] = data_set, share
                        free -= share
                        ended.add(future)
                    future = next(ended)
                    data_set, share = running.pop(future)
                    free += share
                    gone = future.status in ("cancelled", "lost")
                    if gone and client.status == "running" and times[data_set] < TIMES:
                        # a worker that was killed took the result with it: the files are there
                        left.appendleft(data_set)
                    else:
                        yield _ended(future, data_set, task)
                    future.release()
            finally:
                client.cancel(list(running))

        yield make


def shares(free: int, tasks: int) -> list[int]:
    """Share out simultaneous requests to tasks evenly; a task without any is not begun.

    Parameters
    ----------
    free : int
        Requests at once that no task has.
    tasks : int
        Tasks that could begin.

    Returns
    -------
    list of int
        The requests at once of each task that begins.
    """
    begin = min(free, tasks)
    return [free // begin + (k < free % begin) for k in range(begin)]


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes that start in the meantime ignore Ctrl-C, which is for the one that ends them.

    A terminal sends it to all, and each worker would tell how it was interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _connected(distributed: Any, target: Any, address: str) -> Iterator[Any]:
    try:
        if isinstance(target, str):
            # First a plain connection: a client of something else than a scheduler would take
            # long to give up.
            # In a thread of its own: a notebook's event loop runs in this one.
            with ThreadPoolExecutor(1) as pool:
                pool.submit(
                    asyncio.run, asyncio.wait_for(_knock(distributed, target), CONNECT)
                ).result()
        client = distributed.Client(target, timeout=CONNECT, set_as_default=False)
    except Exception as error:  # whatever answers there may answer anything
        raise AtldldError(
            f"No Dask scheduler answers at {address}: {error or type(error).__name__}.",
            hint="Check the address and that it runs (`dask scheduler`), or use local:N.",
        ) from error
    with client:
        yield client


async def _knock(distributed: Any, address: str) -> None:
    secured = distributed.Security().get_connection_args("client")
    comm = await distributed.comm.connect(address, timeout=CONNECT, **secured)
    await comm.close()


def _ended(future: Any, dataset_id: int, task: Task) -> Entry:
    """Return how a task ended."""
    if future.status == "cancelled" or future.status == "lost":
        raise AtldldError(
            "The connection to the Dask scheduler was lost.",
            hint="The same command goes on from here.",
        )
    error = future.exception()
    if error is not None:
        # such as a worker that was killed with this task again and again
        why = f"{type(error).__name__}: {error}"
        return Entry(data_set=dataset_id, state="failed", why=why, passing=True)
    entry: Entry = future.result()
    if entry.state == "done" and not task.place.is_whole(dataset_id, task.work):
        why = (
            f"A worker has made it, but it is not to be seen in {task.place} from here: the "
            "folder must be on a file system that all machines share, or an address such as "
            "s3://bucket/prefix."
        )
        return Entry(data_set=dataset_id, state="failed", why=why, passing=True)
    return entry


def _make_there(task: Task, dataset_id: int, settings: Settings, limits: Limits) -> Entry:
    """Do the task; called on a worker."""
    warnings.simplefilter("ignore", ServiceWarning)
    begun = time.monotonic()
    with Session(settings, limits=limits) as session:
        entry = task.make(dataset_id, session)
        sent = session.client.requests_sent
    if limits.per_second is not None:
        # a short task must not pass on its part of the rate before it has been used up
        time.sleep(max(begun + sent / limits.per_second - time.monotonic(), 0.0))
    return entry
