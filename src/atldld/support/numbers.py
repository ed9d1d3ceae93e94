"""Numbers of sections as people write them: 70, 40-60, or several with commas between."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence

from atldld.errors import InvalidInputError
from atldld.support.arguments import check_whole, several

__all__ = ["pick", "read_numbers"]


def read_numbers(values: str | int | Iterable[str | int] | None) -> list[range]:
    """Return the numbers that are meant, as ranges.

    Parameters
    ----------
    values : int, str or iterable of these, optional
        Such as 70, ``"40-60"`` or ``"5,7-9"``.

    Raises
    ------
    InvalidInputError
        If a text is no such list, or a range runs backwards.

    Examples
    --------
    >>> read_numbers(["5,7-9", 70])
    [range(5, 6), range(7, 10), range(70, 71)]
    """
    found: list[range] = []
    for value in [] if values is None else several(values):
        if not isinstance(value, str):
            number = check_whole(value, "section number")
            found.append(range(number, number + 1))
            continue
        for part in value.split(","):
            first, dash, last = (piece.strip() for piece in part.replace("–", "-").partition("-"))
            if not _is_number(first) or (dash and not _is_number(last)):
                raise InvalidInputError(
                    f"{value!r} is not a list of section numbers.", hint="Write it as 5,7-9."
                )
            if dash and int(last) < int(first):
                raise InvalidInputError(
                    f"{part.strip()!r} is a range of section numbers that runs backwards.",
                    hint=f"Write it as {last}-{first}.",
                )
            found.append(range(int(first), int(last or first) + 1))
    return found


def pick(numbers: Iterable[range], there: Iterable[int | None], where: str) -> set[int]:
    """Return the numbers that are meant, of those that are there.

    Parameters
    ----------
    numbers : iterable of range
        What is meant.
    there : iterable of int
        The numbers of sections that there are.
    where : str
        What they are of, for the error's sentence.

    Raises
    ------
    InvalidInputError
        If a number, or a whole range, is not there. The error says which ones are near.
    """
    known = sorted({number for number in there if number is not None})
    chosen: set[int] = set()
    for part in numbers:
        meant = {number for number in known if number in part}
        if not meant:
            raise InvalidInputError(_lacking(part, known, where))
        chosen |= meant
    return chosen


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _lacking(part: range, known: Sequence[int], where: str) -> str:
    many = len(part) > 1
    wanted = f"sections {part[0]} to {part[-1]}" if many else f"section {part[0]}"
    if not known:
        return f"There is no {wanted} in {where}, which has none."
    place = bisect(known, part[0])
    near = known[max(place - 1, 0) : place + 1]
    told = " and ".join(map(str, near))
    are = "nearest are" if len(near) > 1 else "nearest is"
    return (
        f"{'There are no' if many else 'There is no'} {wanted} in {where}; it has {len(known)}, "
        f"from {known[0]} to {known[-1]}, and the {are} {told}."
    )
