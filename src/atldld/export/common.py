"""What the writers share: whole files, optional libraries, where a file came from."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from atldld.errors import AtldldError, InvalidInputError, OutputError
from atldld.text import whole_text

__all__ = ["as_json", "check_new", "ending_of", "need", "whole_file", "whole_folder"]

# What a folder must hold for a Zarr store to be written over it: nobody's folder of other things
# is deleted for having an unlucky name.
_ZARR_MARKERS = ("zarr.json", ".zgroup", ".zarray")


def need(module: str, extra: str, what: str) -> Any:
    """Import an optional library, or say how to install it.

    Parameters
    ----------
    module : str
        Its name.
    extra : str
        The extra of the package that brings it.
    what : str
        What needs it, as the beginning of a sentence (a plural).

    Raises
    ------
    AtldldError
        It is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise AtldldError(
            f"{what} need {module}, which is not installed.",
            hint=f"Install it with `pip install 'atldld[{extra}]'`.",
        ) from None


def ending_of(path: Path, endings: Sequence[str], what: str) -> str:
    """Return which of some endings a file's name has, the longest that fits.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    endings : sequence of str
        Such as ``".nii.gz"``; compared without regard to capitals.
    what : str
        What is written, for the error's sentence.

    Raises
    ------
    InvalidInputError
        None of them, or nothing before it.
    """
    name = path.name.lower()
    fitting = [e for e in endings if name.endswith(e) and len(name) > len(e)]
    if not fitting:
        raise InvalidInputError(
            f"{path} cannot be written: its ending is not one of a file format for {what}.",
            hint=f"Use one of {', '.join(sorted(endings))}.",
        )
    return max(fitting, key=len)


def check_new(paths: Iterable[Path], *, force: bool) -> None:
    """Refuse files that could not be written in the end, before work on them begins.

    Parameters
    ----------
    paths : iterable of pathlib.Path
        What will be written.
    force : bool
        Whether what is there may be replaced.

    Raises
    ------
    OutputError
        One is there already, or its folder cannot be written.
    """
    for path in paths:
        if path.exists() and not force:
            raise OutputError(
                f"{path} is there already.", hint="Choose another name, or replace it with --force."
            )
        nearest = path.parent
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise OutputError(
                f"{path} cannot be written: {nearest} is "
                + ("read-only." if nearest.is_dir() else "a file."),
                hint="Choose another folder.",
            )


@contextmanager
def whole_file(path: Path, ending: str | None = None) -> Iterator[Path]:
    """Give a temporary path beside a file, and move it over the file when all went well.

    Parameters
    ----------
    path : pathlib.Path
        The file; its folder is made if need be.
    ending : str, optional
        What the temporary name ends in; libraries choose the format by it, and some, such as
        ``.nii.gz``, are longer than a suffix.

    Raises
    ------
    OutputError
        It cannot be written. What was there is untouched.
    """
    temporary = _temporary(path, path.suffix if ending is None else ending)
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder, but must be a file.", hint="Choose another.")
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OutputError:
        raise
    except OSError as error:
        raise _not_writable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside a Zarr store, and put it in the store's place when done.

    Raises
    ------
    OutputError
        It cannot be written, or what is there is no Zarr store. What was there is untouched.
    """
    if path.exists() and not any((path / marker).is_file() for marker in _ZARR_MARKERS):
        raise OutputError(
            f"{path} is there and is no Zarr store, so it is not replaced.",
            hint="Choose another name.",
        )
    temporary, old = _temporary(path, ".zarr"), _temporary(path, ".old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if path.exists():
            # A folder cannot be moved over another one: the old one makes room, and comes back
            # if the new one cannot be moved.
            os.replace(path, old)
        try:
            os.replace(temporary, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise
    except OSError as error:
        raise _not_writable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def as_json(
    document: Mapping[str, Any], *, indent: int | None = None, ascii_only: bool = False
) -> str:
    """Return JSON text; NumPy's numbers and arrays, paths and sets are written as their values.

    Parameters
    ----------
    document : mapping
        What is written.
    indent : int, optional
        Spaces for each level; on one line by default.
    ascii_only : bool
        Write other characters as escapes: the headers of some formats are ASCII.
    """
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only, default=_plain)
    return whole_text(text)


def _plain(value: object) -> object:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)


def _temporary(path: Path, ending: str) -> Path:
    return path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.part{ending}")


def _not_writable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written: {error.strerror or error}.",
        hint="Free some space or choose another place. What was there is untouched.",
    )
