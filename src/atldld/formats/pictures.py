"""Plain pictures: PNG and TIFF."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.errors import OutputError
from atldld.support.files import whole_file

__all__ = ["as_png", "as_thumbnail", "read_picture", "write_picture"]


def write_picture(
    path: Path,
    pixels: NDArray[np.uint8],
    resolution: float | None = None,
    *,
    force: bool = False,
) -> None:
    """Write an RGB picture as PNG or TIFF, by the file's ending; whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        Ends in ``.png`` or ``.tif``.
    pixels : numpy.ndarray, shape (rows, columns, 3), uint8
        RGB.
    resolution : float, optional
        Side of a pixel in µm, for TIFF's resolution tags.
    force : bool
        Replace a file that is there.

    Raises
    ------
    OutputError
        If the file cannot be written, or exists and `force` is false.
    """
    with whole_file(path, force=force, sync=False) as temporary:
        if path.suffix == ".png":
            temporary.write_bytes(as_png(pixels))
        else:
            import tifffile

            tags: dict[str, Any] = {}
            if resolution is not None:
                tags = {"resolution": (1e4 / resolution,) * 2, "resolutionunit": "CENTIMETER"}
            tifffile.imwrite(
                temporary, pixels, photometric="rgb", compression="adobe_deflate", **tags
            )


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an RGB picture, shape (rows, columns, 3), uint8, as a PNG file.

    Its bytes may differ between machines; what they decode to does not.
    """
    try:
        from isal import isal_zlib
    except ImportError:  # there are machines that it is not made for
        done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        if not done:
            raise OutputError("A picture cannot be encoded as PNG.") from None
        return data.tobytes()
    rows, columns = pixels.shape[:2]
    squeezed = isal_zlib.compressobj(isal_zlib.ISAL_DEFAULT_COMPRESSION)
    above = np.zeros((1, 3 * columns), dtype=np.uint8)
    # 8 bits, RGB; of compression, filters and interlacing the usual
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", *_chunk(b"IHDR", header)]
    for top in range(0, rows, _STRIP):
        strip = np.ascontiguousarray(pixels[top : top + _STRIP]).reshape(-1, 3 * columns)
        parts += _chunk(b"IDAT", squeezed.compress(_without_neighbours(strip, above)))
        above = strip[-1:]
    parts += (*_chunk(b"IDAT", squeezed.flush()), *_chunk(b"IEND", b""))
    return b"".join(parts)


_STRIP = 64  # rows that are filtered at a time
_AVERAGE = 3  # PNG's number of the filter


def _without_neighbours(strip: NDArray[np.uint8], above: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return PNG's lines of some rows: each value less the average of those to the left and above.

    In tissue no other of PNG's filters leaves so little to be written.
    """
    lines = np.empty((len(strip), strip.shape[1] + 1), dtype=np.uint8)
    lines[:, 0] = _AVERAGE
    left = np.zeros_like(strip)
    left[:, 3:] = strip[:, :-3]
    upper = np.concatenate((above, strip[:-1]))
    # the average, rounded down, of bytes whose sum is none
    average = left ^ upper
    average >>= 1
    left &= upper
    average += left
    np.subtract(strip, average, out=lines[:, 1:])
    return lines


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return one of the pieces that a PNG file is made of."""
    checked = crc32(data, crc32(kind))
    return struct.pack(">I", len(data)) + kind, data, struct.pack(">I", checked)


def read_picture(path: Path) -> NDArray[np.uint8] | None:
    """Return the pixels of a picture, shape (rows, columns, 3), uint8, RGB; `None` if it is none.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def as_thumbnail(pixels: NDArray[np.uint8], longest: int, *, quality: int = 82) -> bytes:
    """Return an RGB picture as a small JPEG.

    Parameters
    ----------
    pixels : numpy.ndarray, shape (rows, columns, 3), uint8
        RGB.
    longest : int
        The longer side is made this many pixels if it has more.
    quality : int
        Of the JPEG, 1 to 100.
    """
    rows, columns = pixels.shape[:2]
    factor = longest / max(rows, columns)
    if factor < 1:
        size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise OutputError("A picture cannot be encoded as JPEG.")
    return data.tobytes()
