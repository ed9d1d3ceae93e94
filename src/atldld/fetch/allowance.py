"""How many requests a day may be sent to a host, counted over all processes of a cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Lock

from atldld.errors import CacheError, DailyLimitError
from atldld.fetch.locks import locked
from atldld.support.files import move_to, temporary_beside
from atldld.support.processes import renew_in_children

__all__ = ["Allowance"]

AT_ONCE = 10
"""Requests that a process takes at once, so that the file is seldom asked; what it does not use
is lost to the day."""

NAME = "requests-today.json"


def _today() -> date:
    return datetime.now(UTC).date()


class Allowance:
    """The requests that may still be sent today.

    The count lies in the cache's folder, in a file that all processes share. Where that cannot be
    written, each process counts for itself.

    Parameters
    ----------
    root : pathlib.Path
        The cache's folder of the host.
    most : int
        Requests a day, by UTC.
    host : str
        For the error.
    today : callable, optional
        Returns the date.
    """

    def __init__(
        self, root: Path, most: int, host: str, *, today: Callable[[], date] = _today
    ) -> None:
        self.root, self.most, self.host = root, most, host
        self._today = today
        self._day: date | None = None
        self._left = self._own = 0
        self._lock = Lock()
        renew_in_children(self)

    def __reduce__(self) -> tuple[type[Allowance], tuple[Path, int, str]]:
        return Allowance, (self.root, self.most, self.host)

    def renew(self) -> None:
        """Forget, in a forked child, what the parent has taken."""
        self._lock = Lock()
        self._left = self._own = 0

    def take(self) -> None:
        """Take one request.

        Raises
        ------
        DailyLimitError
            If there is none left today.
        """
        with self._lock:
            today = self._today()
            if today != self._day:
                self._day, self._left, self._own = today, 0, 0
            if self._left == 0:
                self._left = self._taken(today)
            if self._left == 0:
                raise DailyLimitError(
                    f"{self.most:,} requests have been sent to {self.host} today, which is all "
                    "that are allowed a day.",
                    hint="It goes on after midnight (UTC). What is in the cache can be used; more "
                    "are allowed with ATLDLD_PER_DAY, which others who use the service may feel.",
                    tries=1,
                )
            self._left -= 1
            self._own += 1

    def used(self) -> int:
        """Return how many were taken today, as far as that is known."""
        today = self._today()
        told = self._read(today)
        return max(told - self._left, self._own if today == self._day else 0)

    def _taken(self, today: date) -> int:
        path = self.root / NAME
        try:
            with locked(self.root / "locks" / "requests.lock", "The count of requests"):
                before = self._read(today)
                share = max(min(AT_ONCE, self.most - before), 0)
                with temporary_beside(path) as temporary:
                    told = {"day": today.isoformat(), "requests": before + share}
                    temporary.write_text(json.dumps(told), "utf-8")
                    move_to(temporary, path)
                return share
        except (OSError, CacheError):
            return max(min(AT_ONCE, self.most - self._own), 0)

    def _read(self, today: date) -> int:
        with suppress(OSError, ValueError, TypeError, KeyError):
            told = json.loads((self.root / NAME).read_bytes())
            if told["day"] == today.isoformat():
                return max(int(told["requests"]), 0)
        return 0
