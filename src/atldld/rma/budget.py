"""What answering one question may cost: work, memory, bytes and, as a last resort, time.

Work is counted, not timed, so a question that is refused on a busy machine is refused on an idle
one too. A step is about a microsecond: a record looked at, a partner joined, four columns copied.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = ["Budget", "BudgetError", "Limits", "QueryError"]


class QueryError(ValueError):
    """A query that cannot be answered."""


class BudgetError(QueryError):
    """A query that would cost more than one query may."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one question may cost.

    Attributes
    ----------
    steps : int
        Steps of work.
    memory : int
        Bytes held in the meantime: joined rows, rendered records and the answer.
    answer : int
        Bytes of the answer.
    seconds : float
        Where the steps should ever be counted wrong. Far beyond what they take.
    light : int
        Steps after which a question counts as heavy, of which few are answered at once.
    """

    steps: int = 600_000
    memory: int = 32 << 20
    answer: int = 20 << 20
    seconds: float = 60.0
    light: int = 4_000

    def times(self, factor: float) -> Limits:
        """Return limits that are so many times as large, all but `light`."""
        return replace(
            self,
            steps=int(self.steps * factor),
            memory=int(self.memory * factor),
            answer=int(self.answer * factor),
            seconds=self.seconds * factor,
        )


class Budget:
    """Counts what one question has cost, and ends the work where that is too much.

    Parameters
    ----------
    limits : Limits, optional
        What it may cost.
    when_heavy : callable, optional
        Called once when the question has cost more than ``limits.light`` steps. It may wait, and
        it may raise.
    clock : callable, optional
        Returns seconds that never go back.

    Attributes
    ----------
    steps, held, peak, answer : int
        Steps so far; bytes held now and at most; bytes of the answer.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        when_heavy: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits or Limits()
        self.steps = self.held = self.peak = self.answer = 0
        self._when_heavy = when_heavy
        self._clock = clock
        self._ends = clock() + self.limits.seconds
        self._looks = min(self.limits.light, self.limits.steps)

    def spend(self, steps: int, size: int = 0) -> None:
        """Count steps of work, and bytes that are held from now on.

        Raises
        ------
        BudgetError
            If that is more than one question may cost.
        """
        self.steps += steps
        if size:
            self.held += size
            if self.held > self.peak:
                self.peak = self.held
                if self.peak > self.limits.memory:
                    raise _too_much(f"more than {self.limits.memory >> 20} MB of memory")
        if self.steps > self._looks:
            self._look()

    def release(self, size: int) -> None:
        """Count bytes as held no longer."""
        self.held -= size

    def write(self, size: int) -> None:
        """Count bytes of the answer.

        Raises
        ------
        BudgetError
            If it is longer than an answer may be.
        """
        self.answer += size
        if self.answer > self.limits.answer:
            raise _too_much(f"an answer of more than {self.limits.answer >> 20} MB")
        self.spend(0, size)

    def _look(self) -> None:
        if self.steps > self.limits.steps:
            raise _too_much(f"more than {self.limits.steps} steps of work")
        if self._when_heavy is not None and self.steps > self.limits.light:
            begun = self._clock()
            wait, self._when_heavy = self._when_heavy, None
            wait()
            self._ends += self._clock() - begun  # waiting is no work
        if self._clock() > self._ends:
            raise _too_much(f"more than {self.limits.seconds:g} s")
        self._looks = min(self.steps + 8192, self.limits.steps)


def _too_much(what: str) -> BudgetError:
    return BudgetError(
        f"the query needs {what}, which is more than one may; ask for fewer records, fewer"
        " associations or a smaller page (num_rows), or start the service with a larger budget"
    )
