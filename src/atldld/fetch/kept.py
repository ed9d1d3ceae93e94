"""A verified file of the cache, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CachedFile", "CachedImage"]


@dataclass(frozen=True, slots=True)
class CachedImage:
    """A verified section image on disk.

    Attributes
    ----------
    path : pathlib.Path
        The JPEG.
    width, height : int
        Its size in pixels.
    bytes : int
        Length of the file.
    sha256 : str
        Hash of the file, in hexadecimal.
    url : str
        Where it came from.
    fetched : str
        When, in UTC (ISO 8601).
    dataset_id : int or None
        The section data set that it belongs to.
    """

    path: Path
    width: int
    height: int
    bytes: int
    sha256: str
    url: str
    fetched: str
    dataset_id: int | None = None


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A verified file of another kind on disk: a volume, a grid, a plate.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    bytes : int
        Its length.
    sha256 : str
        Its hash, in hexadecimal.
    url : str
        Where it came from.
    fetched : str
        When, in UTC (ISO 8601).
    etag, modified : str
        What the server calls this version of it; empty where it says nothing.
    """

    path: Path
    bytes: int
    sha256: str
    url: str
    fetched: str
    etag: str = ""
    modified: str = ""
