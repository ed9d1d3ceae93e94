"""Whether the bytes of an image are the whole image that was asked for, and their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from atldld.errors import BrokenImageError, CacheError
from atldld.fetch.cache import unreadable

__all__ = ["LARGEST_BUFFER", "LARGEST_PIXELS", "REDUCTIONS", "decode", "verify", "verify_content"]

REDUCTIONS = (8, 4, 2, 1)
"""How many pixels along each side the decoder can merge into one, the most first."""

LARGEST_PIXELS = 2_500_000_000
"""Of one image, such as 60,000 × 41,000: a slide of 6 × 4 cm at 1 µm. The sections of the mouse
brain have about 12,000 × 8,000 at most."""

LARGEST_BUFFER = 320 << 20
"""Bytes that the decoder may need before it gives the first pixel. The service's images need none
to speak of: their blocks are decoded one after the other. Where each block comes in several parts,
as in a progressive JPEG, all must be held at once: two bytes for each value of each pixel."""

_SCANS = 64  # a progressive JPEG has about ten; each costs a walk through the whole image
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers that begin a frame (SOFn)
_IN_PARTS = {0xC2, 0xC6, 0xCA, 0xCE}  # of them, the progressive ones
_START_OF_SCAN = 0xDA
_WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xD9)}  # markers that nothing follows


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
        If the file does not decode whole, or is larger than `LARGEST_PIXELS` and
        `LARGEST_BUFFER` allow.
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


def verify(
    path: Path,
    width: int,
    height: int,
    *,
    url: str | None = None,
    sender: str = "the service",
) -> None:
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
    url, sender : str, optional
        Where it came from and who sent it, for the error.

    Raises
    ------
    BrokenImageError
        If it is not, or if decoding it would take more than `LARGEST_PIXELS` and
        `LARGEST_BUFFER` allow. Both are known from the header, so nothing is decoded then.
    """
    verify_content(Path(path).read_bytes(), width, height, url=url, sender=sender)


def verify_content(
    data: bytes,
    width: int,
    height: int,
    *,
    url: str | None = None,
    sender: str = "the service",
) -> None:
    """Check that bytes are a whole JPEG of the expected size; see `verify`."""
    try:
        # The header comes first: one that promises too many pixels costs no memory.
        found_height, found_width = _size(data)
    except ValueError:
        raise BrokenImageError(
            f"{_begin(sender)} sent {len(data)} bytes that are no JPEG: {data[:40]!r}…",
            url=url,
            hint="It may be down for maintenance, or keep no such image; try again later.",
        ) from None
    if (found_width, found_height) != (width, height):
        raise BrokenImageError(
            f"{_begin(sender)} sent an image of {found_width} × {found_height} pixels instead of "
            f"{width} × {height}.",
            url=url,
        )
    what = f"The JPEG of {len(data)} bytes that {sender} sent"
    _decode(data, max(REDUCTIONS), what, url)


def _begin(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _size(data: bytes) -> tuple[int, int]:
    """Return the height and the width that the header tells."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    return height, width


def _decode(data: bytes, reduction: int, what: str, url: str | None) -> NDArray[np.uint8]:
    try:
        height, width = _size(data)
        _check_cost(data, height * width, what, url)
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


def _check_cost(data: bytes, pixels: int, what: str, url: str | None) -> None:
    """Refuse an image that would take too much memory or time, before it is decoded."""
    buffer = _buffer(data)
    if pixels > LARGEST_PIXELS:
        reason = f"has {pixels / 1e6:,.0f} million pixels, more than {LARGEST_PIXELS / 1e6:,.0f}"
    elif buffer > LARGEST_BUFFER:
        reason = (
            f"is progressive and of {pixels / 1e6:,.0f} million pixels: decoding it would take "
            f"{buffer / 1e9:.1f} GB of memory, more than {LARGEST_BUFFER / 1e9:.1f}"
        )
    elif buffer and data.count(bytes((0xFF, _START_OF_SCAN))) > _SCANS:
        reason = f"comes in more than {_SCANS} parts"
    else:
        return
    raise BrokenImageError(
        f"{what} {reason}.",
        url=url,
        hint="The service has no such images; check the address.",
        tries=2,
    )


def _buffer(data: bytes) -> int:
    """Return how many bytes the decoder must hold before it gives a pixel; 0 if hardly any.

    The segments before the first scan tell. What is no whole JPEG is left to the decoder.
    """
    at, in_parts, components, values = 2, False, 0, 0
    while at + 10 <= len(data):
        if data[at] != 0xFF or data[at + 1] == 0xFF:
            at += 1  # as the decoder does: it looks for the next marker
            continue
        marker = data[at + 1]
        if marker in _WITHOUT_LENGTH:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        if marker in _FRAMES:
            in_parts = marker in _IN_PARTS
            height, width = (int.from_bytes(data[k : k + 2]) for k in (at + 5, at + 7))
            components = data[at + 9]
            sampling = data[at + 11 : at + 10 + 3 * components : 3]
            values = _values(height, width, [(byte >> 4, byte & 15) for byte in sampling])
        elif marker == _START_OF_SCAN:
            # A scan of only some components cannot give a pixel either.
            return 2 * values if in_parts or data[at + 4] < components else 0
        at += 2 + max(length, 2)
    return 2 * values if in_parts else 0


def _values(height: int, width: int, sampling: list[tuple[int, int]]) -> int:
    """Return how many values the blocks of all components hold."""
    across = max((h for h, _ in sampling), default=1) or 1
    down = max((v for _, v in sampling), default=1) or 1
    columns, rows = -(-width // (8 * across)), -(-height // (8 * down))
    return sum(64 * columns * h * rows * v for h, v in sampling)
