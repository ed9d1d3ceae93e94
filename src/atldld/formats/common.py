"""What the writers share: endings, the libraries that they need, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atldld.errors import InvalidInputError
from atldld.support.libraries import need
from atldld.support.text import whole_text

__all__ = ["LIBRARIES", "as_json", "ending_of", "need", "usable_ending"]

LIBRARIES = {
    ".nii": ("nibabel", "volume", "NIfTI files"),
    ".nii.gz": ("nibabel", "volume", "NIfTI files"),
    ".nrrd": ("nrrd", "volume", "NRRD files"),
    ".ome.zarr": ("zarr", "zarr", "OME-Zarr files"),
    ".zarr": ("zarr", "zarr", "OME-Zarr files"),
}
"""What `need` takes for the formats that need an optional library, by ending."""


def ending_of(path: Path, endings: Sequence[str], what: str) -> str:
    """Return the ending of a file's name: the longest of some that fits.

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
        If the name has none of these endings, or consists of the ending alone.
    """
    name = path.name.lower()
    fitting = [e for e in endings if name.endswith(e) and len(name) > len(e)]
    if not fitting:
        raise InvalidInputError(
            f"{path} cannot be written: its ending is not one of a file format for {what}.",
            hint=f"Use one of {', '.join(sorted(endings))}.",
        )
    return max(fitting, key=len)


def usable_ending(path: str | Path, endings: Sequence[str], what: str) -> str:
    """Return the ending of a file's name, and check that the format's library is installed.

    Parameters
    ----------
    path, endings, what :
        As for `ending_of`.

    Raises
    ------
    InvalidInputError
        If the name has none of these endings, or consists of the ending alone.
    AtldldError
        If the library for the format is not installed.
    """
    ending = ending_of(Path(path), endings, what)
    if ending in LIBRARIES:
        need(*LIBRARIES[ending])
    return ending


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
