"""What the writers share: endings, optional libraries, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from atldld.errors import AtldldError, InvalidInputError
from atldld.text import whole_text

__all__ = ["as_json", "ending_of", "need"]


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
