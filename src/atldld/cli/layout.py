"""Tables and texts laid out to fit a terminal: nothing that matters is ever cut.

Numbers and ids stay whole. Words go on in the next line, remarks go below their row, and a row
that is wider than the terminal takes several lines.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TextIO

from atldld.support.text import shown

__all__ = ["cells", "kept", "laid_out", "listed", "screen_width", "wrapped"]

_GAPS = (2, 1)  # between columns, in cells
_INDENT = 4  # of what goes on below its row
_LONGEST_WORD = 24  # that makes a column of words as wide as it is
_NARROW = re.compile(
    "[\x20-\u02ff\u2010-\u2044\u2190-\u22ff\u2500-\u257f]*"
)  # as we write ourselves
_KEPT = "\u00a0"  # stands for a space at which no line ends


def screen_width(stream: TextIO) -> int | None:
    """Return how many cells a line may have that goes to a stream; None where nobody looks.

    COLUMNS says it also where the stream is no terminal.
    """
    chosen = os.environ.get("COLUMNS", "")
    if chosen.isdecimal() and int(chosen):
        return int(chosen)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return None


def cells(text: str) -> int:
    """Return how wide a text is on the screen."""
    if _NARROW.fullmatch(text):
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def kept(text: str) -> str:
    """Return a text in which no line ends; see `wrapped`."""
    return text.replace(" ", _KEPT)


def wrapped(text: str, width: int | None) -> list[str]:
    """Return the lines of a text; they end between words, but not within `a command`.

    A word that is wider than a line stays whole, so that addresses and paths can be copied.
    """
    if width is None:
        return [text]
    lines, line = [], ""
    for word in _words(text, width):
        if line and cells(line) + 1 + cells(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def listed(pairs: Iterable[tuple[str, str]], width: int | None, column: int = 0) -> Iterator[str]:
    """Yield lines of names with what they mean beside them, or below them where they are long.

    Parameters
    ----------
    pairs : iterable of (str, str)
        Names and meanings.
    width : int, optional
        Of the screen.
    column : int
        Where meanings begin; where the longest name ends, by default.
    """
    known = list(pairs)
    column = column or max((cells(name) for name, _ in known), default=0) + 2
    pad = " " * column
    for name, meaning in known:
        if width and max(map(cells, meaning.split(" "))) > max(width - column, 20):
            # a path or an address, which is to be copied
            yield name
            yield from (f"  {line}" for line in wrapped(meaning, width - 2))
            continue
        lines = wrapped(meaning, width and max(width - column, 20))
        if cells(name) + 2 > column:
            yield name
        else:
            lines[0] = name + " " * (column - cells(name)) + lines[0]
        yield from (line.rstrip() if line.startswith(name) else pad + line for line in lines)


class _Column(NamedTuple):
    """One column: its heading, its cells, and where in it they stand (left, right or below)."""

    heading: str
    side: str
    cells: tuple[str, ...]

    @property
    def natural(self) -> int:
        return max(map(cells, (self.heading, *self.cells)))

    @property
    def least(self) -> int:
        """How narrow it may be: numbers and ids stay whole, and so do words."""
        heads = self.heading.split(" ")
        if self.side == "right":
            return max(map(cells, (*heads, *self.cells)))
        words = [word for text in self.cells for word in text.split(" ")]
        return max(map(cells, (*heads, *(word[:_LONGEST_WORD] for word in words))))


def laid_out(
    columns: Mapping[str, str],
    rows: Iterable[Iterable[object]],
    width: int | None,
    *,
    bold: bool = False,
) -> list[str]:
    """Return the lines of a table.

    Parameters
    ----------
    columns : dict of str to str
        For each heading, where its cells stand: ``right`` (numbers and ids, never broken),
        ``left`` (words, which may go on in the next line) or ``below`` (remarks, which go below
        their row where they do not fit beside it).
    rows : iterable of iterables
        Cells, texts of others among them.
    width : int, optional
        Of the screen, in cells; lines are as long as they like where it is None.
    bold : bool
        Whether headings are bold.
    """
    held = [[shown(cell) for cell in row] for row in rows]
    made = [
        _Column(heading, side, tuple(row[at] for row in held))
        for at, (heading, side) in enumerate(columns.items())
    ]
    below: list[_Column] = []
    if width is not None and _whole((column.natural for column in made), _GAPS[0]) > width:
        below = [column for column in made if column.side == "below"]
        made = [column for column in made if column.side != "below"]
    lines = [_group(group, below, width) for group in _groups(made, width)]
    heads = [line for group in lines for line in group.head]
    rule = "─" * max(map(cells, heads))
    out = [f"\x1b[1m{line}\x1b[0m" if bold else line for line in heads]
    out.append(rule)
    for at in range(len(held)):
        out += [line for group in lines for line in group.rows[at]]
        for column in below:
            if column.cells[at]:
                pad = " " * _INDENT
                out += [pad + line for line in _folded(column.cells[at], (width or 80) - _INDENT)]
    return out


class _Group(NamedTuple):
    """What stands beside each other: the lines of the heading, and those of each row."""

    head: list[str]
    rows: list[list[str]]


def _whole(widths: Iterable[int], gap: int) -> int:
    """Return how wide columns are together."""
    known = list(widths)
    return sum(known) + gap * (len(known) - 1)


def _groups(columns: Sequence[_Column], width: int | None) -> list[tuple[Sequence[_Column], int]]:
    """Return columns that fit beside each other, with the cells before the first."""
    if width is None or _whole((column.least for column in columns), _GAPS[-1]) <= width:
        return [(columns, 0)]
    groups: list[tuple[list[_Column], int]] = [([], 0)]
    for column in columns:
        last, indent = groups[-1]
        if last and indent + _whole((one.least for one in [*last, column]), _GAPS[0]) > width:
            groups.append(([], _INDENT))
        groups[-1][0].append(column)
    return list(groups)


def _group(
    group: tuple[Sequence[_Column], int], below: Sequence[_Column], width: int | None
) -> _Group:
    columns, indent = group
    room = None if width is None else width - indent
    least = [column.least for column in columns]
    gap = next((gap for gap in _GAPS if room is None or _whole(least, gap) <= room), _GAPS[-1])
    wide = _widths(columns, gap, room)
    count = len(columns[0].cells)

    def line(texts: Sequence[str]) -> list[str]:
        parts = [_folded(text, size) for text, size in zip(texts, wide, strict=True)]
        tall = max(map(len, parts))
        lines = []
        for at in range(tall):
            pieces = []
            for column, part, size in zip(columns, parts, wide, strict=True):
                text = part[at] if at < len(part) else ""
                pad = " " * (size - cells(text))
                pieces.append(pad + text if column.side == "right" else text + pad)
            lines.append((" " * indent + (" " * gap).join(pieces)).rstrip())
        return lines

    return _Group(
        line([column.heading for column in columns]),
        [line([column.cells[at] for column in columns]) for at in range(count)],
    )


def _widths(columns: Sequence[_Column], gap: int, room: int | None) -> list[int]:
    """Return how wide each column is: as wide as it likes, where there is room for that."""
    wide = [column.natural for column in columns]
    if room is None or _whole(wide, gap) <= room:
        return wide
    least = [min(column.least, room) for column in columns]
    spare = room - _whole(least, gap)
    wishes = [most - few for most, few in zip(wide, least, strict=True)]
    for at in sorted(range(len(wide)), key=lambda at: wishes[at]):
        # the smallest wishes come first: what they leave is shared by the others
        others = sum(1 for wish in wishes if wish > 0)
        given = min(wishes[at], max(spare, 0) // others) if others else 0
        least[at] += given
        spare -= given
        wishes[at] = 0
    return least


def _folded(text: str, width: int) -> list[str]:
    """Return the lines of a cell; a word wider than the cell is broken."""
    return [piece for line in wrapped(text, width) for piece in _chopped(line, width)] or [""]


def _chopped(text: str, width: int) -> Iterator[str]:
    while cells(text) > width > 0:
        at = width
        while cells(text[:at]) > width and at > 1:
            at -= 1
        yield text[:at]
        text = text[at:]
    yield text


def _words(text: str, width: int) -> list[str]:
    """Return the words of a text; a command between backticks is one, if it fits on a line."""
    parts = text.split("`")
    for at in range(1, len(parts) - 1, 2):
        if cells(parts[at]) + 3 <= width:
            parts[at] = kept(parts[at])
    return [word.replace(_KEPT, " ") for word in "`".join(parts).split(" ")]
