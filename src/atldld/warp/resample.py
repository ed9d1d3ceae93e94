"""One affine warp, with areas averaged wherever the output is coarser than the image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.errors import InvalidInputError
from atldld.place.spaces import LARGEST_SIDE
from atldld.place.tiers import shrink_source

__all__ = ["largest_block", "resample"]

SPACING = 1.25
"""Most image pixels from one sample to the next, where output pixels are averages of samples.

Linear interpolation reaches one pixel to either side, so that at this spacing every image pixel
counts nearly alike.
"""

LARGE = 1 << 20
"""Pixels of a picture from which dense samples cost too much."""

STRIP = 64
"""Rows of the result that are made at a time."""


def resample(
    image: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    shape: tuple[int, int],
    background: Sequence[float],
) -> NDArray[np.uint8]:
    """Show an image on another grid of pixels.

    Where output pixels are larger than the image's, each is the average over its own area, so
    nothing aliases: blocks of whole image pixels are averaged first (see `largest_block`), then
    the warp samples as densely as the rest needs and its samples are averaged.
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
    if 0 in image.shape[:2]:
        raise _too_small(image)
    block = largest_block(matrix, shape)
    while max(image.shape[:2]) // block > LARGEST_SIDE:
        block += 1
    if block > 1:
        image = _average_blocks(image, block)
        matrix = shrink_source(matrix, block)
    rows, columns = shape
    coarsest = np.linalg.svd(matrix[:, :2], compute_uv=False)[0]
    samples = math.ceil(coarsest / SPACING - 1e-9)
    if max(rows, columns) * samples > LARGEST_SIDE:
        samples = max(LARGEST_SIDE // max(rows, columns), 1)
    flags = (cv2.INTER_CUBIC if samples == 1 else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    around = tuple(float(value) for value in background)
    dense = _denser_output(matrix, samples)
    out = np.empty((*shape, *image.shape[2:]), dtype=np.uint8)
    # A strip at a time: the samples of a whole picture are many times its size.
    samples_of_strip = np.empty((STRIP * samples, columns * samples, *image.shape[2:]), np.uint8)
    for top in range(0, rows, STRIP):
        strip = out[top : top + STRIP]
        height = len(strip) * samples
        there = strip if samples == 1 else samples_of_strip[:height]
        cv2.warpAffine(
            image,
            _shift_output(dense, top * samples),
            (columns * samples, height),
            dst=there,
            flags=flags,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=around,
        )
        if samples > 1:
            cv2.resize(there, (columns, len(strip)), dst=strip, interpolation=cv2.INTER_AREA)
    return out


def largest_block(matrix: NDArray[np.float64], shape: tuple[int, int]) -> int:
    """Return how wide blocks of image pixels may be that are averaged before a warp.

    Blocks of half an output pixel leave room to sample densely, which keeps most detail near the
    size of an output pixel. In a picture of millions of pixels that would take most of the time,
    and what is to be seen there is larger than they are; so then blocks are of up to a whole one.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (2, 3)
        Output pixel → pixel of the image.
    shape : tuple of 2 int
        Rows and columns of the output.

    Returns
    -------
    int
        Whole pixels, at least 1.
    """
    finest = np.linalg.svd(matrix[:, :2], compute_uv=False)[-1] + 1e-9
    return int(max(np.floor(finest if shape[0] * shape[1] > LARGE else finest / 2), 1))


def _average_blocks(image: NDArray[np.uint8], block: int) -> NDArray[np.uint8]:
    """Average blocks of whole pixels; what does not fill a block at the far edges is left off."""
    height, width = (side // block for side in image.shape[:2])
    if not height or not width:
        raise _too_small(image)
    return cv2.resize(  # type: ignore[return-value]
        image[: height * block, : width * block],
        (width, height),
        interpolation=cv2.INTER_AREA,
    )


def _too_small(image: NDArray[np.uint8]) -> InvalidInputError:
    return InvalidInputError(
        f"An image of {image.shape[1]} × {image.shape[0]} pixels is smaller than one pixel of the "
        "result.",
        hint="Use a finer resolution.",
    )


def _shift_output(matrix: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    """Turn a map from the pixels of a picture into one from those below its first rows."""
    out = matrix.copy()
    out[:, 2] += out[:, 1] * rows
    return out


def _denser_output(matrix: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Turn a map from pixels into one from pixels that lie `factor` times as densely."""
    out = matrix.copy()
    out[:, :2] /= factor
    out[:, 2] -= out[:, :2].sum(axis=1) * (factor - 1) / 2
    return out
