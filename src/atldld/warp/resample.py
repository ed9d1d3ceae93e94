"""One affine warp, with areas averaged wherever the output is coarser than the image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.errors import InvalidInputError
from atldld.spaces import LARGEST_SIDE
from atldld.warp.planes import shrink_source

__all__ = ["resample"]


def resample(
    image: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    shape: tuple[int, int],
    background: Sequence[float],
) -> NDArray[np.uint8]:
    """Show an image on another grid of pixels.

    Where output pixels are larger than the image's, each is the average over its own area, so
    nothing aliases: blocks of whole image pixels, up to half an output pixel wide, are averaged
    first, then the warp samples several times as densely as asked and its samples are averaged.
    Where output pixels are smaller, cubic interpolation keeps what detail there is.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width, 3) or (height, width), uint8
        The pixels.
    matrix : numpy.ndarray, shape (2, 3)
        ``[x, y] = matrix @ [column, row, 1]``: centre of an output pixel → pixel of `image`,
        whose pixel (0, 0) has its centre at (0, 0).
    shape : tuple of 2 int
        Rows and columns of the result.
    background : sequence of float
        What is shown outside the image, one number for each channel.

    Returns
    -------
    numpy.ndarray, shape (rows, columns[, 3]), uint8
    """
    finest, coarsest = sorted(np.linalg.svd(matrix[:, :2], compute_uv=False))
    block = max(math.floor(finest / 2 + 1e-9), 1)
    while max(image.shape[:2]) // block > LARGEST_SIDE:
        block += 1
    if block > 1:
        image = _average_blocks(image, block)
        matrix = shrink_source(matrix, block)
    samples = max(math.ceil(coarsest / block - 1e-3), 1)
    rows, columns = shape
    if max(rows, columns) * samples > LARGEST_SIDE:
        samples = max(LARGEST_SIDE // max(rows, columns), 1)
    warped: NDArray[np.uint8] = cv2.warpAffine(  # type: ignore[assignment]
        image,
        _denser_output(matrix, samples),
        (columns * samples, rows * samples),
        flags=(cv2.INTER_CUBIC if samples == 1 else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=tuple(float(value) for value in background),
    )
    if samples > 1:
        warped = cv2.resize(warped, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return warped


def _average_blocks(image: NDArray[np.uint8], block: int) -> NDArray[np.uint8]:
    """Average blocks of whole pixels; what does not fill a block at the far edges is left off."""
    height, width = (side // block for side in image.shape[:2])
    if not height or not width:
        raise InvalidInputError(
            f"An image of {image.shape[1]} × {image.shape[0]} pixels is smaller than one pixel of "
            "the result.",
            hint="Use a finer resolution.",
        )
    return cv2.resize(  # type: ignore[return-value]
        image[: height * block, : width * block],
        (width, height),
        interpolation=cv2.INTER_AREA,
    )


def _denser_output(matrix: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Turn a map from pixels into one from pixels that lie `factor` times as densely."""
    out = matrix.copy()
    out[:, :2] /= factor
    out[:, 2] -= out[:, :2].sum(axis=1) * (factor - 1) / 2
    return out
