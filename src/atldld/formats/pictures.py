"""Plain pictures: PNG and TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.errors import OutputError
from atldld.support.files import whole_file

__all__ = ["as_png", "write_picture"]


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
