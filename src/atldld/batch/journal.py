"""The journal of a batch: one JSON object a line, only ever added to.

The first line says what the batch makes; each further one how a data set ended. A line is on the
disk before the next data set is begun, so a kill loses those that were running and no more. A last
line that was torn counts for nothing.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from atldld.errors import OutputError, Remedy
from atldld.support.documents import DocumentError, parse_as, parse_json
from atldld.support.files import write_errors
from atldld.support.text import in_words, whole_text

__all__ = ["JOURNAL", "Entry", "Journal", "read_entries"]

JOURNAL = "batch.jsonl"

_BEGIN = b'{"batch": 1, "request": '


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a data set ended.

    Attributes
    ----------
    data_set : int
        The id of the section data set.
    state : {"done", "failed"}
        Whether all of it was had.
    sections : int
        Sections that there are now.
    image_bytes : int
        Bytes of the service's images that it was made from.
    bytes : int
        Bytes of what was made.
    seconds : float
        How long it took.
    defects : int
        Defects of the service's data that were met; ``metadata.json`` names them.
    why : str or None
        Why it failed.
    when : str
        When it ended, in UTC (ISO 8601).
    passing : bool
        Whether the next data sets are likely to fail for the same reason: no service, no space.
    """

    data_set: int
    state: Literal["done", "failed"]
    sections: int = 0
    image_bytes: int = 0
    bytes: int = 0
    seconds: float = 0.0
    defects: int = 0
    why: str | None = None
    when: str = ""
    passing: bool = False


class Journal:
    """A journal that is open for adding.

    Parameters
    ----------
    path : pathlib.Path
        The file; made if need be.
    request : mapping
        What the batch makes.
    force : bool
        Start again if the journal is of another batch, or of the same.
    command_line : str, optional
        Noted with the request.

    Attributes
    ----------
    known : dict
        How each data set ended last, by id.

    Raises
    ------
    OutputError
        If the file cannot be used, or is the journal of a batch that makes something else.
    """

    def __init__(
        self,
        path: Path,
        request: Mapping[str, Any],
        *,
        force: bool = False,
        command_line: str | None = None,
    ) -> None:
        self.path = path
        self.known: dict[int, Entry] = {}
        # as it will be read back
        wanted = json.loads(json.dumps(request))
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            content = b"" if force or not path.exists() else path.read_bytes()
            lines = [] if _is_torn(content) else content.splitlines()
            if lines:
                before = _request_in(lines[0])
                if before != wanted:
                    raise _another(path, before, wanted)
            self.known |= _entries_in(lines[1:])
            self._file = open(path, "r+b" if lines else "wb")  # noqa: SIM115
            size = self._file.seek(0, os.SEEK_END)
            if lines and size and _last_byte(self._file) != b"\n":
                self._file.write(b"\n")
        if not lines:
            self._add({"batch": 1, "request": wanted})
        self._add({"begun": _now(), "command_line": command_line})

    def note(self, entry: Entry) -> None:
        """Add how a data set ended."""
        self.known[entry.data_set] = entry
        self._add(msgspec.to_builtins(entry))

    def close(self) -> None:
        """Close the file."""
        with self._errors():  # a full disk may be told only now
            self._file.close()

    def _add(self, document: Mapping[str, Any]) -> None:
        text = whole_text(json.dumps(document, ensure_ascii=False))
        with self._errors():
            self._file.write(text.encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def _errors(self) -> AbstractContextManager[None]:
        return write_errors(f"The journal {self.path}", hint="The same command goes on.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    last: bytes = file.read(1)
    return last


def _request_in(line: bytes) -> dict[str, Any] | None:
    try:
        request = parse_json(line)["request"]
    except (DocumentError, TypeError, KeyError):
        return None
    return request if isinstance(request, dict) else None


def _is_torn(content: bytes) -> bool:
    """Whether not even the first line of a journal is whole, as when its run was killed."""
    return b"\n" not in content and (content.startswith(_BEGIN) or _BEGIN.startswith(content))


def read_entries(path: Path) -> dict[int, Entry]:
    """Return how each data set of a journal ended last, by id; none where there is no journal."""
    try:
        return _entries_in(path.read_bytes().splitlines()[1:])
    except OSError:
        return {}


def _entries_in(lines: Iterable[bytes]) -> dict[int, Entry]:
    entries = (_entry_in(line) for line in lines)
    return {entry.data_set: entry for entry in entries if entry is not None}


def _entry_in(line: bytes) -> Entry | None:
    try:
        entry = parse_as(line, Entry)
    except DocumentError:  # torn by a kill, or what a run began with
        return None
    counts = (entry.data_set - 1, entry.sections, entry.image_bytes, entry.bytes, entry.seconds)
    return entry if min(*counts, entry.defects) >= 0 and math.isfinite(entry.seconds) else None


def _another(path: Path, before: dict[str, Any] | None, wanted: dict[str, Any]) -> OutputError:
    if before is None:
        what = f"{path} is not the journal of a batch"
    else:
        differing = ", ".join(
            f"{name} {in_words(before.get(name))} there, {in_words(wanted.get(name))} now"
            for name in dict.fromkeys([*wanted, *before])
            if before.get(name) != wanted.get(name)
        )
        what = f"{path.parent} holds a batch that was made with other options: {differing}"
    return OutputError(
        f"{what}.", hint=f"Choose another folder, or start again with {Remedy.FORCE}."
    )
