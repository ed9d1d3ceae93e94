"""What an answer says of itself, and its JSON: read with bounds, whatever stands there."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import Any

from atldld.errors import AnswerError
from atldld.support.documents import CostlyDocumentError, check_depth, parse_as

__all__ = ["announced_length", "decode", "is_encoded", "retry_after"]


def decode(body: bytes | bytearray, *, url: str | None = None) -> Any:
    """Return what a JSON answer holds.

    Parameters
    ----------
    body : bytes
        The answer.
    url : str, optional
        What was asked, for errors.

    Raises
    ------
    DocumentError
        If it is no JSON.
    AnswerError
        If it would cost too much to read; see `atldld.support.documents`.
    """
    try:
        found = parse_as(body, object)
        check_depth(found)
    except CostlyDocumentError as error:
        raise AnswerError(
            f"The answer {error}.",
            url=url,
            hint="The service never sends such answers; check the address.",
            tries=2,
        ) from None
    return found


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
