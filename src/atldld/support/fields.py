"""Reading fields of records that others send: what is unmistakable is taken, the rest refused.

A number may come as a text, and a whole one with a decimal point; nothing is guessed. What no such
field can be (a width of 10³⁰⁰ pixels, a text where a number should be, true for 1) is refused with
the field's name and what came.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from atldld.support.text import shown

__all__ = [
    "CHANGED",
    "IMAGES_STILL",
    "UnusableFieldError",
    "flag",
    "number",
    "object_in",
    "quoted",
    "text",
    "whole",
]

CHANGED = "`atldld doctor` says whether the service has changed."
"""What to do when a record is not what it was."""

IMAGES_STILL = "The images themselves can still be fetched with `atldld download image`."
"""What is left of a data set that cannot be placed."""

_NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?", re.ASCII)
_YES = {"true", "t", "1"}
_NO = {"false", "f", "0"}
_LONGEST = 40


class UnusableFieldError(ValueError):
    """A field is missing, or holds what it cannot.

    Parameters
    ----------
    field : str
        Its name.
    problem : str
        What is wrong with it, as a clause.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


def quoted(value: object) -> str:
    """Return a value as a sentence may quote it, short and harmless."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) > 10**_LONGEST:
        return f"a number of more than {_LONGEST} digits"
    told = shown(f'"{value[: _LONGEST + 1]}"' if isinstance(value, str) else f"{value!r:.200}")
    return told if len(told) <= _LONGEST + 2 else f"{told[:_LONGEST]}…"


def number(
    record: Mapping[str, Any], name: str, low: float, high: float, *, needed: bool = False
) -> float | None:
    """Return a number.

    Parameters
    ----------
    record : mapping
        The record.
    name : str
        The field.
    low, high : float
        What it can be, at least and at most.
    needed : bool
        Whether it must be there; else what is missing, or null, is `None`.

    Raises
    ------
    UnusableFieldError
        If it is no number in that range.
    """
    value = _value(record, name, needed=needed)
    found = _number_in(value)
    if value is None or (found is not None and low <= found <= high):
        return found
    raise UnusableFieldError(
        name, f"{name} is {quoted(value)}, but must be a number from {low:g} to {high:g}"
    )


def whole(
    record: Mapping[str, Any], name: str, low: int, high: int, *, needed: bool = False
) -> int | None:
    """Return a whole number; see `number`."""
    value = _value(record, name, needed=needed)
    found = int(value) if isinstance(value, int) and not isinstance(value, bool) else None
    if found is None:
        read = _number_in(value)
        # a float holds whole numbers exactly up to there
        if read is not None and read.is_integer() and abs(read) <= 1 << 53:
            found = int(read)
    if value is None or (found is not None and low <= found <= high):
        return found
    raise UnusableFieldError(
        name, f"{name} is {quoted(value)}, but must be a whole number from {low} to {high}"
    )


def flag(record: Mapping[str, Any], name: str) -> bool | None:
    """Return whether something is so; ``"true"``, ``"t"`` and 1 say so too.

    Raises
    ------
    UnusableFieldError
        If it is anything else.
    """
    value = record.get(name)
    if value is None or isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise UnusableFieldError(name, f"{name} is {quoted(value)}, but must be true or false")


def text(record: Mapping[str, Any], name: str) -> str | None:
    """Return a text; an empty one counts as missing.

    Raises
    ------
    UnusableFieldError
        If it is no text.
    """
    value = record.get(name)
    if value is None or isinstance(value, str):
        return value or None
    raise UnusableFieldError(name, f"{name} is {quoted(value)}, but must be a text")


def object_in(record: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return what is included in a record; a list of one stands for the one in it.

    Raises
    ------
    UnusableFieldError
        If it is no object.
    """
    value = record.get(name)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        (value,) = value
    if value is None or value in ([], {}, ()):
        return None
    if isinstance(value, Mapping):
        return value
    raise UnusableFieldError(name, f"{name} is {quoted(value)}, but must be an object")


def _value(record: Mapping[str, Any], name: str, *, needed: bool) -> Any:
    if needed and name not in record:
        raise UnusableFieldError(name, f"{name} is missing")
    value = record.get(name)
    if needed and value is None:
        raise UnusableFieldError(name, f"{name} is null")
    return value


def _number_in(value: object) -> float | None:
    """Return a value as a finite number, if it is one beyond doubt."""
    if isinstance(value, str):
        written = value.strip()
        value = float(written) if _NUMBER.fullmatch(written) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
