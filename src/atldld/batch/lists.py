"""Lists of data sets, as people and other commands write them."""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from atldld.errors import InvalidInputError, NotFoundError
from atldld.fetch.session import Session, check_id

__all__ = ["IdList", "find_ids", "read_ids"]

STANDARD_INPUT = "-"
SHOWN = 40  # characters of a line that is no id
LARGEST = 64 << 20  # bytes of a list
MOST_RUBBISH = 10_000  # lines without an id, after which it is no list of ids


@dataclass(frozen=True, slots=True)
class IdList:
    """What a list says.

    Attributes
    ----------
    ids : tuple of int
        The data sets, each once, in the order in which they were first named.
    rubbish : tuple of str
        A sentence for each line that is no id, with the file and the line's number.
    repeated : int
        How many ids were named again.
    """

    ids: tuple[int, ...]
    rubbish: tuple[str, ...] = ()
    repeated: int = 0


def read_ids(sources: Iterable[str], standard_input: BinaryIO | None = None) -> IdList:
    """Read the ids of data sets.

    Parameters
    ----------
    sources : iterable of str
        Ids, names of text files with one id a line, and ``"-"`` for standard input. In files,
        what follows a ``#`` is a comment, and empty lines count for nothing.
    standard_input : binary file, optional
        What ``"-"`` stands for; that of the process by default.

    Raises
    ------
    InvalidInputError
        If a source is neither an id nor a file of ids, or if none of them holds an id.
    """
    named: list[int] = []
    rubbish: list[str] = []
    for source in sources:
        if source.isdigit():
            named.append(check_id(source, "section data set"))
            continue
        try:
            if source == STANDARD_INPUT:
                stream = standard_input or sys.stdin.buffer
                _read_lines("standard input", stream, named, rubbish)
            else:
                with open(source, "rb") as file:
                    _read_lines(Path(source).name, file, named, rubbish)
        except FileNotFoundError:
            raise InvalidInputError(
                f"{source!r} is neither the id of a section data set nor a file of ids."
            ) from None
        except OSError as error:
            what = "Standard input" if source == STANDARD_INPUT else f"The list {source}"
            raise InvalidInputError(f"{what} cannot be read: {error.strerror or error}.") from error
    ids = tuple(dict.fromkeys(named))
    if not ids:
        raise InvalidInputError(
            "The list of data sets holds no id"
            + (f", only {len(rubbish)} lines that are none: {rubbish[0]}" if rubbish else "."),
            hint="Give ids, a file with one id a line, or - to read them from another command.",
        )
    return IdList(ids, tuple(rubbish), len(named) - len(ids))


def find_ids(session: Session, **filters: Any) -> IdList:
    """Return the data sets that a search finds, in the catalogue or at the service.

    Parameters
    ----------
    session : Session
        Where to look.
    **filters
        Those of `atldld.search`, such as ``gene="Gad1"``, ``plane="coronal"``.

    Raises
    ------
    NotFoundError
        If the search finds no data set; the message says which filter has left nothing.
    """
    from atldld.find import search

    found = search(session=session, **filters)
    if not found:
        raise NotFoundError(found.explanation or "The search finds no data set.")
    return IdList(tuple(found.ids))


def _read_lines(name: str, file: BinaryIO, named: list[int], rubbish: list[str]) -> None:
    content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise InvalidInputError(
            f"{name[:1].upper()}{name[1:]} has more than {LARGEST >> 20} MB, so it is no list of "
            "ids."
        )
    for number, text in _meaningful(content):
        try:
            named.append(check_id(text, "section data set"))
        except InvalidInputError:
            told = text if len(text) <= SHOWN else text[:SHOWN] + "…"
            rubbish.append(f"{name}, line {number}: {told!r} is not the id of a data set.")
            if len(rubbish) > MOST_RUBBISH:
                raise InvalidInputError(
                    f"More than {MOST_RUBBISH:,} lines hold no id, so this is no list of ids. "
                    f"The first is {rubbish[0]}"
                ) from None


def _meaningful(content: bytes) -> Iterator[tuple[int, str]]:
    # editors on Windows begin a file with a mark, and PowerShell writes UTF-16
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if marked else "utf-8-sig", errors="replace")
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        meant = line.partition("#")[0].strip()
        if meant:
            yield number, meant
