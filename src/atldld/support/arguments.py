"""What callers pass, turned into plain Python values, or refused in one sentence.

Numbers may be Python's or NumPy's, texts too; several of something may come as any iterable: a
list, an array, a pandas Series or Index, a generator. A single value stands for itself, and a text
is never taken apart into letters. Everything public goes through here. NumPy is not imported: its
scalars are known by what they can do.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any, TypeVar

from atldld.errors import InvalidInputError

__all__ = [
    "check_id",
    "check_ids",
    "check_jobs",
    "check_names",
    "check_number",
    "check_whole",
    "is_given",
    "plain",
    "several",
]

T = TypeVar("T")


def plain(value: Any) -> Any:
    """Return a scalar of NumPy, or an array without axes, as Python's own; others as they are."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def several(value: Any) -> list[Any]:
    """Return the values of an iterable as a list; of anything else, a text too, the one value."""
    value = plain(value)
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return [value]
    return [plain(item) for item in value]


def is_given(value: Any) -> bool:
    """Whether an optional argument says anything: not `None`, no empty text, nothing empty."""
    value = plain(value)
    if value is None or isinstance(value, (str, bytes)):
        return bool(value)
    return not hasattr(value, "__len__") or len(value) > 0


def check_number(
    value: Any, what: str, *, above: float = -math.inf, least: float = -math.inf, unit: str = ""
) -> float:
    """Check a finite number, and return it.

    Parameters
    ----------
    value : number
        What was passed. Texts and truth values are no numbers.
    what : str
        What it is, such as ``"resolution"``, for the error's sentence.
    above, least : float
        What it must exceed, and what it must be at least.
    unit : str
        Such as ``"µm"``.

    Raises
    ------
    InvalidInputError
        If the value is not such a number.
    """
    number = plain(value)
    usable = isinstance(number, (int, float)) and not isinstance(number, bool)
    try:
        usable = usable and math.isfinite(number) and number > above and number >= least
    except OverflowError:  # an int beyond every float
        usable = False
    if not usable:
        wanted = "a positive number" if above == 0 else "a number"
        unit = f" of {unit}" if unit else ""
        limit = f", at least {least:g}" if math.isfinite(least) else ""
        raise InvalidInputError(f"The {what} is {value!r}, but must be {wanted}{unit}{limit}.")
    # a whole number stays one, so that it is written as one
    return number  # type: ignore[no-any-return]


def check_whole(value: Any, what: str, *, least: int = 0, most: int | None = None) -> int:
    """Check a whole number in a range, and return it.

    Raises
    ------
    InvalidInputError
        If the value is anything else, such as a truth value, a text or a fraction.
    """
    number = plain(value)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    try:
        number = operator.index(number)
    except TypeError:
        number = None
    limit = f"at least {least}" if most is None else f"from {least} to {most}"
    if (
        number is None
        or isinstance(plain(value), bool)
        or number < least
        or (most is not None and number > most)
    ):
        raise InvalidInputError(f"The {what} is {value!r}, but must be a whole number, {limit}.")
    return int(number)


def check_jobs(jobs: Any) -> int | None:
    """Check a number of threads, and return it; `None` stands for as many as there are cores.

    Raises
    ------
    InvalidInputError
        If the number is not a whole number of at least 1.
    """
    return None if jobs is None else check_whole(jobs, "number of jobs", least=1)


def check_id(value: Any, what: str) -> int:
    """Check an id, and return it as an `int`.

    Parameters
    ----------
    value : int or str
        A number of Python's or NumPy's, or its digits.
    what : str
        What the id is of, such as ``"section image"``.

    Raises
    ------
    InvalidInputError
        If the value is not a positive whole number.
    """
    given = plain(value)
    try:
        number = int(given)
        exact = number == float(given)
    except (TypeError, ValueError, OverflowError):
        number, exact = 0, False
    if (
        isinstance(given, bool)
        or not exact
        or not 0 < number < 1 << 63
        or hasattr(given, "__array__")
    ):
        # a whole number of thousands of digits has no text
        told = f"{value!r:.60}" if not isinstance(given, int) or abs(given) < 1 << 200 else "This"
        raise InvalidInputError(
            f"{told} is not the id of {'an' if what[0] in 'aeiou' else 'a'} {what}: ids are "
            "positive whole numbers."
        )
    return number


def check_ids(values: Any, what: str) -> list[int]:
    """Check one id, or any iterable of ids, and return a list of `int`; see `check_id`.

    Raises
    ------
    InvalidInputError
        If a value is not a positive whole number.
    """
    return [check_id(value, what) for value in several(values)]


def check_names(values: Any, what: str) -> list[str | int]:
    """Check one name or id, or any iterable of them, and return a list.

    Raises
    ------
    InvalidInputError
        If a value is neither a text nor a whole number.
    """
    found: list[str | int] = []
    for value in several(values):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise InvalidInputError(
                f"{value!r} is not a {what}: it must be an id, an acronym or a name."
            )
        found.append(str(value) if isinstance(value, str) else value)
    return found
