"""The journal: every state as it happens, so that nothing is lost and all can be undone.

A file beside the registration, ``REG.journal.jsonl`` for ``REG.json``. Each line is a JSON object,
flushed to the disk before the edit counts as done. The first says of what data set it is and how it
began, the others what has been changed, undone or done again. A line that has no end was being
written when the process died: nobody was told that it was kept, and it is ignored.

Nothing is ever taken away from it: what is undone stays in the file, and so does what has been
undone and then overtaken by another edit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import msgspec

from atldld.align.state import Document, Origin, SectionState
from atldld.errors import InvalidInputError, OutputError
from atldld.support.files import read_errors, write_errors
from atldld.support.text import shown

__all__ = ["Beginning", "Entry", "History", "Journal", "is_journal", "journal_of"]

FORMAT = "atldld journal of edits by hand"
FORMAT_VERSION = 1

Kind = Literal["edit", "undo", "redo"]


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """The first line.

    Attributes
    ----------
    id : str
        Of the journal; the registration beside it has the same.
    dataset_id : int
        The section data set.
    about : dict
        What the registration says of how it began.
    sections, origins :
        See `Document`.
    """

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    id: str
    dataset_id: int
    about: dict[str, Any]
    sections: dict[int, SectionState]
    origins: tuple[Origin, ...]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line after the first.

    Attributes
    ----------
    kind : {"edit", "undo", "redo"}
        What was done.
    when : str
        When, in UTC.
    what : str
        Of an edit: what was done, in a word.
    sections : dict of int to SectionState
        Of an edit: the sections that it changed, as they are then.
    origins : tuple of Origin
        Of an edit: those that it added.
    """

    kind: Kind
    when: str
    what: str = ""
    sections: dict[int, SectionState] = {}
    origins: tuple[Origin, ...] = ()


@dataclass(frozen=True)
class _Change:
    what: str
    before: Mapping[int, SectionState]
    after: Mapping[int, SectionState]


@dataclass(frozen=True)
class History:
    """A document, and the way to it and from it.

    Attributes
    ----------
    document : Document
        As it is now.
    revision : int
        How many lines the journal has after the first.
    changes : tuple
        What was done, and what was undone and can be done again.
    position : int
        How many of the changes are done.
    """

    document: Document
    revision: int = 0
    changes: tuple[_Change, ...] = ()
    position: int = 0

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit to do again."""
        return self.position < len(self.changes)

    @property
    def next_undone(self) -> str | None:
        """What would be undone, in a word."""
        return self.changes[self.position - 1].what if self.can_undo else None

    @property
    def next_redone(self) -> str | None:
        """What would be done again, in a word."""
        return self.changes[self.position].what if self.can_redo else None

    def after(self, entry: Entry) -> tuple[History, frozenset[int]]:
        """Return the history once an entry is added, and which sections that changes.

        Raises
        ------
        InvalidInputError
            If there is nothing to undo or to do again, or the entry names what is not there.
        """
        if entry.kind == "edit":
            return self._edited(entry)
        back = entry.kind == "undo"
        if not (self.can_undo if back else self.can_redo):
            raise InvalidInputError(f"There is nothing to {entry.kind}.")
        change = self.changes[self.position - back]
        sections = change.before if back else change.after
        return (
            History(
                self.document.with_sections(sections),
                self.revision + 1,
                self.changes,
                self.position + (-1 if back else 1),
            ),
            frozenset(sections),
        )

    def _edited(self, entry: Entry) -> tuple[History, frozenset[int]]:
        known = self.document.sections
        origins = len(self.document.origins) + len(entry.origins)
        for image_id, state in entry.sections.items():
            if image_id not in known or not 0 <= state.origin < origins:
                raise InvalidInputError(f"An edit names image {image_id}, or an origin, wrongly.")
        change = _Change(entry.what, {k: known[k] for k in entry.sections}, entry.sections)
        document = self.document.with_sections(entry.sections, entry.origins)
        changes = (*self.changes[: self.position], change)
        history = History(document, self.revision + 1, changes, len(changes))
        return history, frozenset(entry.sections)


def journal_of(path: Path) -> Path:
    """Return the journal of a registration: ``REG.journal.jsonl`` for ``REG.json``."""
    return path.with_suffix(".journal.jsonl")


def is_journal(path: Path) -> bool:
    """Whether a file calls itself a journal."""
    with read_errors(path), open(path, "rb") as file:
        return FORMAT.encode() in file.read(200)


@dataclass
class Journal:
    """A journal that is open for adding to it.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    beginning : Beginning
        Its first line.
    history : History
        What all lines together make.
    """

    path: Path
    beginning: Beginning
    history: History
    _file: Any = field(repr=False)

    @classmethod
    def begin(cls, path: Path, beginning: Beginning) -> Journal:
        """Start a new journal in place of one that is there.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        from atldld.support.files import whole_file

        with whole_file(path, force=True) as temporary:
            temporary.write_bytes(msgspec.json.encode(beginning) + b"\n")
        return cls._opened(path, beginning, _history(beginning), path.stat().st_size)

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Open a journal and go through it.

        Raises
        ------
        InvalidInputError
            If it is no journal, or damaged elsewhere than at its end.
        """
        with read_errors(path):
            content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        first, *lines = whole.split(b"\n")[:-1] or [b""]
        try:
            beginning = msgspec.json.decode(first, type=Beginning)
            if beginning.format != FORMAT or beginning.format_version > FORMAT_VERSION:
                raise msgspec.ValidationError(f"it calls itself {shown(beginning.format)!r:.60}")
            history = _history(beginning)
        except (msgspec.DecodeError, InvalidInputError) as error:
            raise _damaged(path, 1, error) from None
        decoder = msgspec.json.Decoder(Entry)
        for number, line in enumerate(lines, 2):
            try:
                history, _ = history.after(decoder.decode(line))
            except (msgspec.DecodeError, InvalidInputError) as error:
                raise _damaged(path, number, error) from None
        return cls._opened(path, beginning, history, len(whole))

    @classmethod
    def _opened(cls, path: Path, beginning: Beginning, history: History, size: int) -> Journal:
        with write_errors(path):
            file = open(path, "r+b", buffering=0)  # noqa: SIM115 - kept open as long as the journal
            try:
                file.truncate(size)
                file.seek(size)
            except OSError:
                file.close()
                raise
        return cls(path, beginning, history, file)

    def add(self, entry: Entry) -> frozenset[int]:
        """Add a line, and return which sections that changes; it is on the disk then.

        Raises
        ------
        InvalidInputError
            If it makes no sense here; nothing is written.
        OutputError
            If it cannot be written; the journal is as it was.
        """
        history, changed = self.history.after(entry)
        line = msgspec.json.encode(entry) + b"\n"
        end = self._file.tell()
        try:
            with write_errors(self.path):
                left = memoryview(line)
                while left:
                    left = left[self._file.write(left) :]
                os.fsync(self._file.fileno())
        except OutputError:
            # what is there of the line must not be taken for the beginning of the next one
            self._file.seek(end)
            self._file.truncate(end)
            raise
        self.history = history
        return changed

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _history(beginning: Beginning) -> History:
    sections = beginning.sections
    if any(not 0 <= state.origin < len(beginning.origins) for state in sections.values()):
        raise InvalidInputError("A section names an origin that is not there.")
    return History(Document(sections=sections, origins=beginning.origins))


def _damaged(path: Path, line: int, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"The journal {path} is damaged in line {line}: {error}",
        hint="Move it away to go on from the registration beside it, without what can be undone.",
    )
