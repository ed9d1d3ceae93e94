"""Whether the bytes of an image are the whole image that was asked for, and their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from atldld.errors import BrokenImageError, CacheError
from atldld.fetch.cache import unreadable

__all__ = ["REDUCTIONS", "decode", "verify"]

REDUCTIONS = (8, 4, 2, 1)
"""How many pixels along each side the decoder can merge into one, the most first."""


def decode(path: Path, reduction: int = 1) -> NDArray[np.uint8]:
    """Return the pixels of a verified image, or averages of blocks of them.

    A JPEG holds blocks of 8 × 8 pixels by their frequencies. Leaving the higher ones out gives
    the image at 1/2, 1/4 or 1/8 of its size: at 1/8 exactly the averages of the blocks, at the
    others as close to them as the encoder's own rounding (0.4 grey levels RMS), in a half to a
    third of the time and with little memory.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    reduction : {1, 2, 4, 8}
        Sides of the blocks. Pixels at the far edges that do not fill one are left off.

    Returns
    -------
    numpy.ndarray, shape (height // reduction, width // reduction, 3), uint8
        RGB.

    Raises
    ------
    BrokenImageError
        The file does not decode whole.
    CacheError
        If the file is gone, or may not be read.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise CacheError(
            f"{path} is gone: something has removed it since it was verified.",
            hint="Ask for it again, and it is fetched again.",
        ) from None
    except OSError as error:
        raise unreadable(path, error) from error
    pixels = _decode(data, reduction, f"The JPEG at {path}", None)
    height, width = _size(data)
    # the decoder pads what does not fill a block by repeating the edge
    return pixels[: height // reduction, : width // reduction]


def verify(path: Path, width: int, height: int, *, url: str | None = None) -> None:
    """Check that a file is a whole JPEG of the expected size.

    Every byte is read and every block's code is followed, so that what other readers paint grey
    without a word (a body that breaks off, or lost bytes in its middle) is an error. Only the last
    step, from a block's frequencies to its 64 pixels, is left out: it cannot fail.

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
        found_height, found_width = _size(data)
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
    what = f"The JPEG of {len(data)} bytes that the service sent"
    _decode(data, max(REDUCTIONS), what, url)


def _size(data: bytes) -> tuple[int, int]:
    """Return the height and the width that the header tells."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    return height, width


def _decode(data: bytes, reduction: int, what: str, url: str | None) -> NDArray[np.uint8]:
    try:
        height, width = _size(data)
        # The decoder takes the smallest of its sizes that is at least as large as this one.
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data,
            "RGB",
            min_height=-(-height // reduction),
            min_width=-(-width // reduction),
            strict=True,
        )
    except ValueError as error:
        raise BrokenImageError(f"{what} does not decode whole: {error}.", url=url) from None
    return pixels
