"""What is known of a verified file, as its companion says it."""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["LARGEST_FILE", "FileFacts", "ImageFacts"]

LARGEST_FILE = 8 << 30

_Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Url = Annotated[str, msgspec.Meta(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
_When = Annotated[
    str,
    msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?\Z"),
]
_Side = Annotated[int, msgspec.Meta(ge=1, le=65_535)]  # the most that a JPEG can have
_Length = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_FILE)]


_Told = Annotated[str, msgspec.Meta(max_length=512, pattern=r"^[\x20-\x7e]*\Z")]


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the companion of a file says: length, hash, source, time, and the server's version."""

    sha256: _Sha256
    bytes: _Length | None = None
    url: _Url = ""
    etag: _Told = ""
    modified: _Told = ""
    fetched: _When | None = None


class ImageFacts(FileFacts, frozen=True, kw_only=True):
    """What the companion of an image says: also its size in pixels and its data set."""

    width: _Side
    height: _Side
    dataset_id: Annotated[int, msgspec.Meta(ge=1, le=10**15)] | None = None
