"""How a command talks: quietly, at length, or to a program; and the envelope of what it says then.

A command calls `result` with what it has found, whoever listens. With ``--json`` that goes to
standard output in an envelope, alone; what the command would say to a person becomes `remarks` in
it, and an error goes to standard error as one line of JSON.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from atldld.cli.codes import STOPPED
from atldld.errors import AtldldError

__all__ = [
    "SCHEMA",
    "Manner",
    "as_line",
    "at_work",
    "error_document",
    "manner",
    "plain_json",
    "result",
    "start",
]

SCHEMA = "atldld/1"
"""The envelope's version: it changes where something is renamed, removed or means another thing."""


class Manner:
    """How the command of this process talks.

    Attributes
    ----------
    quiet, verbose, as_json : bool
        What was asked for.
    output : str or None
        A file for what is printed, of a command that writes none of its own.
    force : bool
        Whether that may be replaced.
    command : str or None
        The command that is at work, such as ``"dataset info"``.
    found : object
        What the command has found so far, for the envelope.
    remarks : list of str
        What it has said in the meantime.
    """

    def __init__(
        self, *, quiet: bool = False, verbose: bool = False, as_json: bool = False
    ) -> None:
        # by hand: dataclasses bring half of what `atldld --help` would load
        self.quiet, self.verbose, self.as_json = quiet, verbose, as_json
        self.output: str | None = None
        self.force = False
        self.command: str | None = None
        self.working = False
        self.found: Any = None
        self.remarks: list[str] = []

    def keeps(self, text: str) -> bool:
        """Whether a sentence for a person is not to be shown; a program gets it at the end."""
        if not self.working:
            return False
        if self.as_json:
            self.remarks.append(text)
        return self.as_json or self.quiet

    @property
    def shows_progress(self) -> bool:
        """Whether anyone wants to see how far the work is."""
        return not (self.working and (self.quiet or self.as_json))


manner = Manner()
"""Of this process, as there is one terminal."""


def start(*, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> None:
    """Start again, for another command in the same process."""
    for name, value in vars(Manner(quiet=quiet, verbose=verbose, as_json=as_json)).items():
        setattr(manner, name, value)


def result(found: Any) -> None:
    """Tell a program what the command has found; without ``--json`` nobody hears it.

    Parameters
    ----------
    found : object
        Plain values, or records of them; numbers that are not finite become null.
    """
    if manner.as_json:
        manner.found = plain_json(found)


@contextlib.contextmanager
def at_work(
    command: str,
    show: Callable[[Any], None],
    keep: Callable[[Callable[[], None]], None] | None = None,
    complain: Callable[[str], None] | None = None,
    repeat: Callable[[str], None] = lambda text: None,
) -> Iterator[None]:
    """Let a command work, and print the envelope of what it has found, or keep what it prints.

    Parameters
    ----------
    command : str
        Its whole name.
    show : callable
        Prints a document to standard output.
    keep : callable, optional
        Takes what prints the result, and has it printed into a file.
    complain : callable, optional
        Prints a line to standard error: of a command that ended without a result and an error.
    repeat : callable
        Prints lines that were printed before, and kept aside.
    """
    manner.command, manner.working = command, True
    printed = io.BytesIO()
    elsewhere = manner.as_json or keep is not None
    stream = _Aside(printed, encoding="utf-8", newline="\n") if elsewhere else sys.stdout
    code: int | None = None
    try:
        with contextlib.redirect_stdout(stream):
            yield
            stream.flush()
        code = 0
    except BaseException as error:
        # a status without an error: not all could be done, and what was done is the result
        code = getattr(error, "exit_code", None)
        if elsewhere:
            stream.flush()
        raise
    finally:
        manner.working = False
        empty = manner.found is None
        if manner.as_json and code and empty and complain is not None:
            complain(as_line(_unfinished(code)))
        elif elsewhere and code is not None and not (code and empty and manner.as_json):

            def give() -> None:
                if manner.as_json:
                    show(_envelope(command, complete=code == 0))
                else:
                    repeat(printed.getvalue().decode("utf-8").removesuffix("\n"))

            if keep is None:
                give()
            else:
                keep(give)


class _Aside(io.TextIOWrapper):
    """Takes what is printed, where it is not for the screen."""

    def isatty(self) -> bool:
        """Nobody looks."""
        return False


def _envelope(command: str | None, *, complete: bool) -> dict[str, Any]:
    return {
        **_head(command),
        "complete": complete,
        "result": manner.found,
        "remarks": manner.remarks,
    }


def _head(command: str | None) -> dict[str, Any]:
    from atldld.support.provenance import version

    return {"schema": SCHEMA, "command": command, "version": version()}


def error_document(error: BaseException, message: str, code: int) -> dict[str, Any]:
    """Return what a program is told of an error.

    Parameters
    ----------
    error : exception
        What has happened.
    message : str
        What has happened, as a sentence.
    code : int
        With which status the command ends.
    """
    known = error if isinstance(error, AtldldError) else None
    return {
        **_head(manner.command),
        "error": {
            "kind": type(error).__name__ if known or code != 2 else "UsageError",
            "code": code,
            "message": known.message if known else message,
            "hint": known.hint if known else None,
            "dataset_id": known.dataset_id if known else None,
            "image_id": known.image_id if known else None,
            "url": known.url if known else None,
            "candidates": list(getattr(error, "candidates", ())),
        },
        "remarks": manner.remarks,
    }


def _unfinished(code: int) -> dict[str, Any]:
    """Return what a program is told of a command that was stopped, or gave up."""
    message = manner.remarks[-1] if manner.remarks else "The command has not finished."
    document = error_document(AtldldError(message), message, code)
    document["error"]["kind"] = "Stopped" if code == STOPPED else "Unfinished"
    return document


def plain_json(value: Any) -> Any:
    """Return a value as JSON can hold it: records as objects, what is not finite as null."""
    item = getattr(value, "item", None)
    if getattr(value, "ndim", None) == 0 and callable(item):
        value = item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None  # NaN is not less either
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain_json(inner) for key, inner in value.items()}
    # records, and dataclasses
    names = getattr(value, "__struct_fields__", None) or getattr(
        value, "__dataclass_fields__", None
    )
    if names is not None:
        return {name: plain_json(getattr(value, name)) for name in names}
    if isinstance(value, Iterable):
        return [plain_json(inner) for inner in value]
    return str(value)


def as_line(document: Mapping[str, Any]) -> str:
    """Return a document as one line of JSON, in ASCII."""
    import json

    return json.dumps(document, allow_nan=False)
