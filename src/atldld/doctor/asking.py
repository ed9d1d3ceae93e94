"""Asking the service within a budget of bytes and seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from atldld.errors import AnswerError, RMAError
from atldld.fetch.answers import decode

if TYPE_CHECKING:
    from atldld.fetch.client import Client
    from atldld.fetch.look import Look
    from atldld.rma.query import RMAParameters

__all__ = ["LARGEST", "LONGEST", "PATIENCE", "Asker", "Budget", "SpentError"]

LARGEST = 1_700_000
"""Bytes that all checks together may take; the last parts of answers, of 64 kB each, may go a
little beyond, so that it stays below 2 MB."""

LONGEST = 50.0
"""Seconds after which nothing more is asked; a request that has begun may end."""

PATIENCE = 30.0
"""Seconds that one request may take, while there are so many."""


class SpentError(Exception):
    """The budget is spent, so a check is left out."""


class Budget:
    """What may still be taken, for all threads together.

    Parameters
    ----------
    largest : int
        Bytes.
    longest : float
        Seconds from now on.
    patience : float
        Seconds that one request may take.
    """

    def __init__(
        self, largest: int = LARGEST, longest: float = LONGEST, patience: float = PATIENCE
    ) -> None:
        self.patience = patience
        self._largest = largest
        self._end = time.monotonic() + longest
        self._lock = threading.Lock()
        self.taken = 0

    @property
    def left(self) -> int:
        """Bytes that are left."""
        return max(self._largest - self.taken, 0)

    @property
    def seconds(self) -> float:
        """Seconds that are left."""
        return max(self._end - time.monotonic(), 0.0)

    def check(self) -> None:
        """Raise `SpentError` if nothing is left."""
        if self.seconds <= 0:
            raise SpentError("the time for all checks is over")
        if self.left <= 0:
            raise SpentError("the bytes for all checks are spent")

    def take(self, count: int) -> None:
        """Take some bytes that have arrived.

        Raises
        ------
        SpentError
            If that is more than was left.
        """
        with self._lock:
            self.taken += count
            spent = self.taken > self._largest
        if spent:
            raise SpentError("the bytes for all checks are spent")


class Asker:
    """Asks one client, for one check, and counts what comes.

    Parameters
    ----------
    client : Client
        Asks.
    api, archive, bucket : str
        The addresses of the hosts.
    budget : Budget
        Of all checks together.
    """

    def __init__(
        self, client: Client, budget: Budget, *, api: str, archive: str, bucket: str
    ) -> None:
        self.client = client
        self.budget = budget
        self.hosts = {"api": api, "archive": archive, "bucket": bucket}
        self.bytes = 0
        self.statuses: list[int] = []
        self.limits: dict[str, str] = {}

    def apart(self) -> Asker:
        """Return one that counts for itself, with the same budget."""
        return Asker(self.client, self.budget, **self.hosts)

    def look(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        host: Literal["api", "archive", "bucket"] = "api",
        method: Literal["GET", "HEAD", "POST"] = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        largest: int = 200_000,
    ) -> Look:
        """Ask once, whatever is answered; see `Client.look`."""
        self.budget.check()
        url = self.client.url(path, params, base=self.hosts[host])
        found = self.client.look(
            url,
            method=method,
            headers=headers,
            content=content,
            largest=min(largest, self.budget.left),
            seconds=min(self.budget.patience, max(self.budget.seconds, 1.0)),
            take=self._take,
        )
        heads = found.bytes - len(found.body)
        self.bytes += heads
        self.budget.take(heads)
        self.statuses.append(found.status)
        self.limits |= {
            name: value
            for name, value in found.headers.items()
            if "ratelimit" in name.replace("-", "") or name == "retry-after"
        }
        return found

    def _take(self, count: int) -> None:
        self.bytes += count
        self.budget.take(count)

    def envelope(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        largest: int = 200_000,
    ) -> dict[str, Any]:
        """Return the envelope of an answer in JSON.

        Raises
        ------
        RMAError
            If the service refuses.
        AnswerError
            If it is no envelope.
        """
        found = self.look(path, params, largest=largest)
        if not found.whole:
            raise AnswerError(
                f"The answer is longer than {largest} bytes, far more than is known of it.",
                url=found.url,
            )
        try:
            envelope = decode(found.body, url=found.url)
        except ValueError:
            envelope = None
        if isinstance(envelope, dict) and envelope.get("success") is False:
            raise RMAError(
                f"The service refused (status {found.status}): {envelope.get('msg')!s:.300}",
                url=found.url,
            )
        if found.status != 200:
            raise AnswerError(f"The service answered with status {found.status}.", url=found.url)
        if not isinstance(envelope, dict) or "msg" not in envelope:
            raise AnswerError(
                f"The service answered no envelope with msg, but {bytes(found.body[:60])!r}.",
                url=found.url,
            )
        return envelope

    def rma(self, query: RMAParameters, *, largest: int = 200_000) -> dict[str, Any]:
        """Return the envelope of the answer to a query."""
        return self.envelope("/api/v2/data/query.json", {"criteria": query.text}, largest=largest)

    def rows(self, query: RMAParameters, *, largest: int = 200_000) -> list[Any]:
        """Return the rows of the answer to a query.

        Raises
        ------
        AnswerError
            If ``msg`` is no list.
        """
        msg = self.rma(query, largest=largest)["msg"]
        if not isinstance(msg, list):
            raise AnswerError(f"msg is {msg!r:.80} instead of a list of rows to {query.text}.")
        return msg
