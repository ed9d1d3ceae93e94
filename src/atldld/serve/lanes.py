"""How much heavy work the local service does at once.

Work that takes long goes through a lane with a few places, so that it leaves processors, memory
and threads to the many questions that take a millisecond.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["BusyError", "Lane", "Lanes"]


class BusyError(Exception):
    """Too many requests wait already, or the client has gone."""


class Lane:
    """Lets a few in at a time, the cheap ones first.

    Parameters
    ----------
    places : int
        How many are in it at once.
    waiting : int
        How many may wait; the next one is turned away.

    Notes
    -----
    Whoever comes later has to be cheaper by 2 for each that came before to be let in first, so
    nobody waits for ever.
    """

    def __init__(self, places: int, waiting: int) -> None:
        self._places = places
        self._longest = waiting
        self._queue: list[tuple[float, int]] = []
        self._came = 0
        self._changed = threading.Condition()

    @contextmanager
    def enter(self, cost: float = 0, gone: Callable[[], bool] | None = None) -> Iterator[None]:
        """Wait for a place and hold it.

        Parameters
        ----------
        cost : float
            What the work costs, about tenths of a second.
        gone : callable, optional
            Whether nobody waits for the answer any more.

        Raises
        ------
        BusyError
            If too many wait already, or the client of this request has gone.
        """
        with self._changed:
            if self._places < 1 or self._queue:
                if len(self._queue) >= self._longest:
                    raise BusyError
                self._came += 1
                ticket = cost + 2 * self._came, self._came
                self._queue.append(ticket)
                try:
                    self._changed.wait_for(lambda: self._places > 0 and ticket == min(self._queue))
                finally:
                    self._queue.remove(ticket)
                    self._changed.notify_all()
            if gone is not None and gone():
                raise BusyError
            self._places -= 1
        try:
            yield
        finally:
            with self._changed:
                self._places += 1
                self._changed.notify_all()


@dataclass(frozen=True)
class Lanes:
    """The lanes of a service that strangers may ask.

    Attributes
    ----------
    queries : Lane
        For queries and synchronisation that are more than light. One at a time: Python runs no
        two of them at once, and light ones would wait for both.
    pixels : Lane
        For images, grids and volumes that have to be made. One at a time: each keeps all
        processors busy, and a section at full resolution takes most of a gigabyte.
    """

    queries: Lane = field(default_factory=lambda: Lane(1, 10))
    pixels: Lane = field(default_factory=lambda: Lane(1, 40))

    @property
    def threads(self) -> int:
        """How many threads there must be for some to be free although all lanes are full."""
        return 64
