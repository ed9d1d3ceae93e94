"""Lists of data sets, as people and other commands write them."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from atldld.errors import InvalidInputError, NotFoundError, OfflineError
from atldld.fetch.session import Session
from atldld.find.named import find_dataset, find_datasets, read_dataset_name

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


def read_ids(
    sources: Iterable[str],
    standard_input: BinaryIO | None = None,
    *,
    session: Session | None = None,
) -> IdList:
    """Read the ids of data sets.

    Parameters
    ----------
    sources : iterable of str
        Data sets (ids with commas between, addresses, genes; see `atldld.find.named`), names of
        text files with one a line, and ``"-"`` for standard input. In files, what follows a ``#``
        is a comment, empty lines count for nothing, and genes have their plane: ``Prox1:coronal``.
    standard_input : binary file, optional
        What ``"-"`` stands for; that of the process by default.
    session : Session, optional
        Where genes are looked for.

    Raises
    ------
    InvalidInputError
        If a source is neither a data set nor a file of ids, or if none of them holds an id.
    AtldldError
        If a source is a gene that cannot be looked for.
    """
    named: list[int] = []
    rubbish: list[str] = []
    for source in sources:
        if _is_named(source, genes=session is not None):
            named += _found(source, session)
            continue
        try:
            if source == STANDARD_INPUT:
                stream = standard_input or sys.stdin.buffer
                _read_lines("standard input", stream, named, rubbish, session)
            else:
                with open(source, "rb") as file:
                    _read_lines(Path(source).name, file, named, rubbish, session)
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


def _is_named(source: str, *, genes: bool) -> bool:
    """Whether a source is the name of a data set, and not that of a file."""
    if "://" in source or all(part.strip().isdigit() for part in source.split(",")):
        return True
    if source == STANDARD_INPUT or not genes or os.path.exists(source):
        return False
    try:
        read_dataset_name(source.partition(",")[0])
    except InvalidInputError:
        return False
    # what looks like a file and is not there is one that is missing
    return not re.search(r"[/\\]|\.[A-Za-z]\w*$", source)


def _found(source: str, session: Session | None) -> list[int]:
    try:
        return find_datasets(source, session=session)
    except (NotFoundError, OfflineError) as error:
        raise InvalidInputError(
            f"{source!r} is neither the id of a section data set nor a file of ids, and as a gene "
            f"it names none: {error.message}",
            hint=error.hint,
        ) from None


def _named(line: str, session: Session | None) -> int:
    """Return the data set of a line: a bare word there is no gene, lest any text be searched."""
    named = read_dataset_name(line, **({} if session is None else _own(session)))
    if isinstance(named, int):
        return named
    if named.plane is None or ":" not in line:
        raise InvalidInputError(f"{line!r} is no id.")
    return find_dataset(line, session=session)


def _own(session: Session) -> dict[str, str]:
    return {"api_url": session.settings.api_url}


def _read_lines(
    name: str, file: BinaryIO, named: list[int], rubbish: list[str], session: Session | None
) -> None:
    content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise InvalidInputError(
            f"{name[:1].upper()}{name[1:]} has more than {LARGEST >> 20} MB, so it is no list of "
            "ids."
        )
    for number, text in _meaningful(content):
        try:
            named.append(_named(text, session))
        except (InvalidInputError, NotFoundError):
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
