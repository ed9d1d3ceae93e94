"""Image files of the cache, whatever they are: JPEGs of the service, or boxes of slides."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from atldld.errors import BrokenImageError, CacheError
from atldld.fetch import jpeg
from atldld.fetch.cache import origin_in, origin_of, unreadable

__all__ = ["decode", "verify", "verify_open"]


def decode(path: Path, reduction: int = 1) -> NDArray[np.uint8]:
    """Return the pixels of a verified image, or averages of blocks of them.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    reduction : {1, 2, 4, 8}
        Sides of the blocks; see `atldld.fetch.jpeg.decode`.

    Returns
    -------
    numpy.ndarray, shape (height // reduction, width // reduction, 3), uint8
        RGB.

    Raises
    ------
    BrokenImageError
        If the file does not decode whole.
    CacheError
        If the file is gone, or may not be read.
    """
    if not _is_box(path):
        return jpeg.decode(path, reduction)
    from atldld.fetch.slides import SlideError, decode_box

    try:
        return decode_box(path, reduction)
    except SlideError as error:
        raise BrokenImageError(f"The TIFF at {path} {error}.") from None
    except OSError as error:
        raise unreadable(path, error) from error


def verify(
    path: Path,
    width: int,
    height: int,
    *,
    url: str | None = None,
    sender: str = "the service",
) -> None:
    """Check that a file is a whole image of the expected size; see `atldld.fetch.jpeg.verify`.

    Raises
    ------
    BrokenImageError
        If it is not.
    OSError
        If it cannot be read.
    """
    with open(path, "rb") as file:
        verify_open(file, path, width, height, url=url, sender=sender)


def verify_open(
    file: BinaryIO,
    path: Path,
    width: int,
    height: int,
    *,
    url: str | None = None,
    sender: str = "the service",
) -> None:
    """Check a file that is open already, from its beginning.

    Parameters
    ----------
    file : binary file
        The image, open for reading.
    path : pathlib.Path
        Where it is, for messages and for readers that open it themselves.
    width, height, url, sender :
        See `atldld.fetch.jpeg.verify`.

    Raises
    ------
    BrokenImageError
        If it is no whole image of that size.
    """
    file.seek(0)
    if origin_in(file) == "api":
        file.seek(0)
        jpeg.verify_content(file.read(), width, height, url=url, sender=sender)
        return
    from atldld.fetch.slides import SlideError, verify_box

    try:
        found = verify_box(path)
    except SlideError as error:
        raise BrokenImageError(f"The TIFF of a box from {sender} {error}.", url=url) from None
    if found != (width, height):
        raise BrokenImageError(
            f"The box from {sender} has {found[0]} × {found[1]} pixels instead of "
            f"{width} × {height}.",
            url=url,
        )


def _is_box(path: Path) -> bool:
    try:
        return origin_of(path) == "bucket"
    except FileNotFoundError:
        raise CacheError(
            f"{path} is gone: something has removed it since it was verified.",
            hint="Ask for it again, and it is fetched again.",
        ) from None
    except OSError as error:
        raise unreadable(path, error) from error
