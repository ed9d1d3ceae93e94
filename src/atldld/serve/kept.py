"""Answers that are kept as the bytes that they are, so that they are worked out once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from atldld.support.bounded import Bounded

__all__ = ["LARGEST", "KeptAnswer", "KeptAnswers"]

LARGEST = 256 << 10
"""Bytes of an answer; a larger one is not kept."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer that succeeded.

    Attributes
    ----------
    body : bytes
        Its content.
    content_type : str
        The header.
    etag : str
        Names the content, without quotation marks.
    is_current : callable
        Whether it is still the answer.
    """

    body: bytes
    content_type: str
    etag: str
    is_current: Callable[[], bool] = lambda: True

    @classmethod
    def of(cls, body: bytes, content_type: str) -> KeptAnswer:
        """Return the answer with a name for its content."""
        return cls(body, content_type, hashlib.sha256(body).hexdigest()[:32])

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers that it is sent with."""
        return [
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("ETag", f'"{self.etag}"'),
        ]


_Entry: TypeAlias = tuple[tuple[str, str], KeptAnswer]


class KeptAnswers:
    """The answers that were asked for last, by the paths and parameters of their addresses.

    Parameters
    ----------
    most : int
        Bytes of all of them, addresses included.
    """

    def __init__(self, most: int = 32 << 20) -> None:
        self._answers: Bounded[tuple[str, str], _Entry] = Bounded(most, _size)
        self._lock = threading.Lock()

    def get(self, address: tuple[str, str]) -> KeptAnswer | None:
        """Return the answer to an address, if it is kept and still the answer."""
        with self._lock:
            found = self._answers.get(address)
        return found[1] if found is not None and found[1].is_current() else None

    def keep(self, address: tuple[str, str], answer: KeptAnswer) -> None:
        """Keep an answer, and let those go that were asked for longest ago."""
        if len(answer.body) > LARGEST:
            return
        with self._lock:
            self._answers.keep(address, (address, answer))


def _size(entry: _Entry) -> int:
    address, answer = entry
    return len(answer.body) + sum(map(len, address)) + 500  # for what holds them
