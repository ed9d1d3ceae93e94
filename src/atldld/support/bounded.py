"""What was used last, as much of it as there is room for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Bounded"]

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Values by key, of which those that were used longest ago go when there are too many.

    The last value stays, however large. Threads that share one need a lock.

    Parameters
    ----------
    most : int
        The size of all values together, in the units of `size`.
    size : callable
        Returns the size of a value.
    """

    def __init__(self, most: int, size: Callable[[V], int]) -> None:
        self._most, self._size = most, size
        self._values: OrderedDict[K, V] = OrderedDict()
        self._held = 0

    @property
    def held(self) -> int:
        """The size of all values that are kept."""
        return self._held

    def get(self, key: K) -> V | None:
        """Return a value, which counts as used now; `None` if it is not there."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def keep(self, key: K, value: V) -> None:
        """Keep a value in place of what had its key, and let others go."""
        before = self._values.pop(key, None)
        if before is not None:
            self._held -= self._size(before)
        self._values[key] = value
        self._held += self._size(value)
        while self._held > self._most and len(self._values) > 1:
            self._held -= self._size(self._values.popitem(last=False)[1])
