"""What was answered to one question, whatever it was; see `atldld.fetch.client.Client.look`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atldld.fetch.answers import announced_length

__all__ = ["Look"]


@dataclass(frozen=True, slots=True)
class Look:
    """An answer as it came.

    Attributes
    ----------
    url : str
        What was asked.
    status : int
        The HTTP status.
    headers : mapping of str to str
        By name, in small letters.
    body : bytes
        As much of it as was read.
    whole : bool
        Whether that is all of it.
    head_seconds, seconds : float
        Until the headers had arrived, and in all.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool
    head_seconds: float
    seconds: float

    @property
    def length(self) -> int | None:
        """How many bytes the body has, as far as the headers say so."""
        return announced_length(self.headers)

    @property
    def bytes(self) -> int:
        """How many bytes arrived: headers and body."""
        return len(self.body) + sum(len(k) + len(v) + 4 for k, v in self.headers.items())
