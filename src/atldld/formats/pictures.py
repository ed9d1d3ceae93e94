"""Plain pictures: PNG and TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.errors import OutputError
from atldld.support.files import whole_file

__all__ = ["as_png", "as_thumbnail", "write_picture"]


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
    """Return an RGB picture, shape (rows, columns, 3), uint8, as a PNG file."""
    done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise OutputError("A picture cannot be encoded as PNG.")
    return data.tobytes()


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
