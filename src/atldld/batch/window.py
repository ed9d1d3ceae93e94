"""The hours in which a batch works, such as those of the night."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from time import sleep

from atldld.errors import InvalidInputError

__all__ = ["Window"]

LONGEST_SLEEP = 60.0
"""Seconds: a machine that was asleep, or whose clock was set, is noticed after these."""

_HOURS = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)\s*[-–]\s*([01]?\d|2[0-4]):([0-5]\d)", re.ASCII)


def _now() -> datetime:
    return datetime.now().astimezone()


@dataclass(frozen=True)
class Window:
    """The hours of each day in which data sets are begun.

    Those that have been begun are finished.

    Parameters
    ----------
    begin, end : datetime.time
        Of this machine's clock. The end may come before the beginning: the night.
    now : callable, optional
        Returns the moment.
    sleep : callable, optional
        Waits for some seconds.
    """

    begin: time
    end: time
    now: Callable[[], datetime] = field(default=_now, compare=False, repr=False)
    sleep: Callable[[float], object] = field(default=sleep, compare=False, repr=False)

    @classmethod
    def read(cls, text: str) -> Window:
        """Return the window that a text names, such as ``"22:00-06:00"``.

        Raises
        ------
        InvalidInputError
            If it names none.
        """
        found = _HOURS.fullmatch(text.strip())
        numbers = [int(number) for number in found.groups()] if found else []
        told = list(zip(numbers[::2], numbers[1::2], strict=True))
        moments = [(hour % 24, minute) for hour, minute in told]
        beyond = any(moment > (24, 0) for moment in told)
        if not moments or beyond or moments[0] == moments[1]:
            raise InvalidInputError(
                f"{text!r} is no window of hours.", hint="Write it as 22:00-06:00."
            )
        return cls(time(*moments[0]), time(*moments[1]))

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"

    def is_open(self) -> bool:
        """Whether now is within it."""
        now = self.now().time().replace(tzinfo=None)
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end

    def seconds(self) -> float:
        """Return how long it is until it opens; nothing if it is open."""
        if self.is_open():
            return 0.0
        now = self.now()
        opens = now.replace(hour=self.begin.hour, minute=self.begin.minute, second=0, microsecond=0)
        if opens <= now:
            opens += timedelta(days=1)
        return (opens - now).total_seconds()

    def wait(self) -> None:
        """Wait until it is open."""
        while (left := self.seconds()) > 0:
            self.sleep(min(left, LONGEST_SLEEP))
