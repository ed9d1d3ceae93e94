"""Pictures of many pictures: contact sheets of sections, cuts through volumes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.support.text import shown

__all__ = ["contact_sheet", "volume_cuts"]


def contact_sheet(
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    title: str,
    *,
    columns: int = 5,
    width: int = 300,
) -> NDArray[np.uint8]:
    """Lay pictures out in rows, each under its caption.

    Parameters
    ----------
    pictures : sequence of (str, numpy.ndarray of shape (rows, columns, 3) and dtype uint8)
        Captions and RGB pictures, all of one shape.
    title : str
        Written above all.
    columns : int
        How many stand side by side.
    width : int
        Of each picture on the sheet, in pixels.

    Returns
    -------
    numpy.ndarray, shape (height, width, 3), uint8
        RGB.
    """

    def write(text: str, x: int, y: int, size: float, grey: int) -> None:
        line = _drawable(text)
        cv2.putText(
            sheet, line, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, (grey,) * 3, 1, cv2.LINE_AA
        )

    gap, head, caption = 8, 34, 18
    rows, cells = pictures[0][1].shape[:2]
    height = round(width * rows / cells)
    lines = -(-len(pictures) // columns)
    sheet = np.full(
        (head + lines * (height + caption + gap), gap + columns * (width + gap), 3),
        255,
        dtype=np.uint8,
    )
    write(title, gap, 22, 0.55, 40)
    for index, (text, picture) in enumerate(pictures):
        x = gap + index % columns * (width + gap)
        y = head + index // columns * (height + caption + gap)
        write(text, x, y + 12, 0.4, 90)
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        sheet[y + caption : y + caption + height, x : x + width] = small
    return sheet


def volume_cuts(
    rows: Sequence[NDArray[np.uint8]], at: tuple[int, int, int], title: str
) -> NDArray[np.uint8]:
    """Cut volumes of one size in three planes, a row for each.

    Parameters
    ----------
    rows : sequence of numpy.ndarray, shape (P, I, R, 3), uint8
        RGB volumes, axes p, i, r.
    at : tuple of 3 int
        Voxel (p, i, r) through which the coronal, the horizontal and the sagittal cut go.
    title : str
        Written above.

    Returns
    -------
    numpy.ndarray, shape (height, width, 3), uint8
        For each volume the coronal (i × r), the sagittal (i × p) and the horizontal cut (r × p).
    """
    p, i, r = at
    gap, head = 6, 26
    lines = []
    for volume in rows:
        cuts = [volume[p], volume[:, :, r].swapaxes(0, 1), volume[:, i].swapaxes(0, 1)]
        height = max(len(cut) for cut in cuts) + gap
        padded = [
            np.pad(cut, ((0, height - len(cut)), (0, gap), (0, 0)), constant_values=255)
            for cut in cuts
        ]
        lines.append(np.hstack(padded))
    sheet = np.pad(np.vstack(lines), ((head, 0), (gap, 0), (0, 0)), constant_values=255)
    line = _drawable(title)
    cv2.putText(sheet, line, (gap, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40,) * 3, 1, cv2.LINE_AA)
    return sheet


def _drawable(text: str) -> str:
    """Return a text in the characters that OpenCV's fonts have."""
    return shown(text).encode("ascii", "backslashreplace").decode("ascii")
