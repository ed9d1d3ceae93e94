"""Text of others: shown so that nothing obeys it, and put into tables so that nothing runs it.

Names come from the service, from files and from the command line. A terminal obeys escape
sequences in them, a reader is misled by marks that turn the direction of writing, and a
spreadsheet runs a cell that begins like a formula. What is ours to say passes unchanged.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TextIO

__all__ = ["TableWriter", "cell_of", "in_words", "shown", "text_in_cell", "whole_text"]

_MARKS = 4  # on one letter; more of them run over the lines above and below

_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile(
    r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?\s*%?\s*|\s*[+-]?(inf|infinity|nan)\s*",
    re.ASCII | re.IGNORECASE,
)
# The full-width forms too: spreadsheets for East Asian languages take them for the others.
_FORMULA = re.compile("'*([ \t\r\n]*[=+\\-@＝＋－＠].|[\t\r\n])", re.DOTALL)


def shown(text: object) -> str:
    r"""Return a text of others as one line that a terminal or a page shows and does not obey.

    Characters that have no picture (controls, escape sequences, line breaks, marks of direction,
    spaces of other widths, lone surrogates) are written as Python writes them, such as ``\x1b``.
    So are accents that stand on no letter, or are piled up on one.

    Parameters
    ----------
    text : object
        What is shown, as a text.
    """
    line = str(text)
    if line.isascii() and line.isprintable():
        return line
    out: list[str] = []
    marks = _MARKS  # nothing to stand on at the beginning
    for character in line:
        if unicodedata.category(character) in {"Mn", "Me", "Mc"}:
            marks += 1
            out.append(character if marks <= _MARKS else _escaped(character))
            continue
        visible = character.isprintable()
        marks = 0 if visible and character != " " else _MARKS
        out.append(character if visible else _escaped(character))
    return "".join(out)


def in_words(value: object) -> str:
    """Return the value of an option as a user would say it, not as Python writes it."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value)) or "none"
    return shown(value)


def whole_text(text: str) -> str:
    """Return a text that can be written as UTF-8: lone surrogates become U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def cell_of(value: object) -> object:
    """Return a value as a cell of a CSV table that no spreadsheet takes for a formula.

    A text that begins like one (``=``, ``+``, ``-``, ``@``, a tab or a line break) gets an
    apostrophe before it, as OWASP advises. Numbers, also those that are written as texts, stay.

    Parameters
    ----------
    value : object
        Of any type; only texts are changed.
    """
    # nearly all of them
    if not isinstance(value, str) or (value.isascii() and value[:1].isalnum()):
        return value
    text = whole_text(value)
    return f"'{text}" if _is_formula(text) else text


def text_in_cell(cell: str) -> str:
    """Return what `cell_of` has made a cell of."""
    return cell[1:] if cell[:1] == "'" and _is_formula(cell[1:]) else cell


class TableWriter:
    """Writes rows of a text table, in which no text is a formula.

    Parameters
    ----------
    file : text file
        Open for writing, as UTF-8 and with ``newline=""``.
    separator : str
        What is between cells.
    """

    def __init__(self, file: TextIO, separator: str = ",") -> None:
        import csv  # late: `atldld --help` does without

        self._writer = csv.writer(file, delimiter=separator, lineterminator="\n")

    def row(self, values: Iterable[object]) -> None:
        """Write a row."""
        self._writer.writerow([cell_of(value) for value in values])

    def rows(self, rows: Iterable[Iterable[object]]) -> None:
        """Write rows."""
        for values in rows:
            self.row(values)


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
