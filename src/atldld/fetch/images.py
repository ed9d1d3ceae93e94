"""Whether the bytes of an image are the whole image that was asked for, and their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from atldld.errors import BrokenImageError

__all__ = ["decode", "verify"]


def decode(path: Path) -> NDArray[np.uint8]:
    """Return the pixels of a verified image: (height, width, 3) uint8, RGB.

    Raises
    ------
    BrokenImageError
        The file does not decode whole.
    """
    return _decode(Path(path).read_bytes(), f"The JPEG at {path}", None)


def verify(path: Path, width: int, height: int, *, url: str | None = None) -> None:
    """Check that a file is a whole JPEG of the expected size.

    Every pixel is decoded, and what other readers paint grey without a word (a body that breaks
    off, or lost bytes in its middle) is an error.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    width, height : int
        The expected size, in pixels.
    url : str, optional
        Where it came from, for the error.

    Raises
    ------
    BrokenImageError
        It is not.
    """
    data = Path(path).read_bytes()
    try:
        # The header comes first: one that promises too many pixels costs no memory.
        found_height, found_width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        raise BrokenImageError(
            f"The service sent {len(data)} bytes that are no JPEG: {data[:40]!r}…",
            url=url,
            hint="It may be down for maintenance, or keep no such image; try again later.",
        ) from None
    if (found_width, found_height) != (width, height):
        raise BrokenImageError(
            f"The service sent an image of {found_width} × {found_height} pixels instead of "
            f"{width} × {height}.",
            url=url,
        )
    _decode(data, f"The JPEG of {len(data)} bytes that the service sent", url)


def _decode(data: bytes, what: str, url: str | None) -> NDArray[np.uint8]:
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        raise BrokenImageError(f"{what} does not decode whole: {error}.", url=url) from None
    return pixels
