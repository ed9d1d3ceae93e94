"""What an answer says of itself, and its JSON: read with bounds, whatever stands there."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from atldld.errors import AnswerError

__all__ = ["DEEPEST", "LARGEST_MEMORY", "announced_length", "decode", "is_encoded", "retry_after"]

LARGEST_MEMORY = 512 << 20
"""Bytes of memory that the objects of one answer may take. A page of 2000 data sets with all that
is asked of them takes about 15 MB."""

DEEPEST = 100
"""Objects within objects. The deepest genuine answer, the tree of structures, has about 25."""

# What Python takes for each, by its first sign. Measured with the worst of each kind, they tell up
# to four times too much and never too little.
_MEMORY = {b"{": 240, b"[": 88, b",": 100}


def decode(body: bytes | bytearray, *, url: str | None = None) -> Any:
    """Return what a JSON answer holds.

    Eight megabytes of empty objects become two hundred in memory, so how much it will be is
    estimated before anything is made.

    Parameters
    ----------
    body : bytes
        The answer.
    url : str, optional
        What was asked, for errors.

    Raises
    ------
    ValueError
        If it is no JSON.
    AnswerError
        If it would take more memory than `LARGEST_MEMORY`, or is nested deeper than `DEEPEST`.
    """
    memory = len(body) + sum(body.count(sign) * size for sign, size in _MEMORY.items())
    if memory > LARGEST_MEMORY:
        raise _refused(
            f"The answer of {len(body) / 1e6:.1f} MB would take about {memory / 1e9:.1f} GB of "
            f"memory, more than the {LARGEST_MEMORY / 1e9:.1f} GB that one may.",
            url,
        )
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        deep = True
    else:
        deep = _is_deep(found)
    if deep:
        raise _refused(f"The answer is nested more than {DEEPEST} levels deep.", url)
    return found


def _is_deep(found: Any) -> bool:
    level = [found]
    for _ in range(DEEPEST + 1):
        level = [
            value
            for outer in level
            if isinstance(outer, (dict, list))
            for value in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(value, (dict, list))
        ]
        if not level:
            return False
    return True


def _refused(message: str, url: str | None) -> AnswerError:
    error = AnswerError(
        message, url=url, hint="The service never sends such answers; check the address."
    )
    error.tries = 2
    return error


def announced_length(headers: Mapping[str, str]) -> int | None:
    """Return how many bytes an answer announces, if it says so in a way that can be understood."""
    value = headers.get("content-length", "").strip()
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else None


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Whether a body would have to be decompressed."""
    names = headers.get("content-encoding", "").lower().split(",")
    return any(name.strip() not in {"", "identity"} for name in names)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds a service asks to wait; nothing if what it says makes no sense."""
    from email.utils import parsedate_to_datetime

    value = headers.get("retry-after", "").strip()[:100]
    try:
        if re.fullmatch(r"[0-9.]+", value):
            seconds = float(value)
        else:
            seconds = max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    # years and zones beyond all calendars break in many ways
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) else None
