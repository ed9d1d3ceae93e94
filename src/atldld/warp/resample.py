"""One warp, affine or curved, with areas averaged where the output is coarser than the image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.errors import InvalidInputError
from atldld.place.curves import CurvedMap, Lookup
from atldld.place.spaces import LARGEST_SIDE
from atldld.place.tiers import shrink_source

__all__ = ["Strips", "largest_block", "nearest", "resample"]

SPACING = 1.25
"""Most image pixels from one sample to the next, where output pixels are averages of samples.

Linear interpolation reaches one pixel to either side, so that at this spacing every image pixel
counts nearly alike.
"""

LARGE = 1 << 20
"""Pixels of a picture from which dense samples cost too much."""

PADDED = 1 << 22
"""Pixels of an image of which a copy with a fourth channel takes little memory."""

STRIP = 64
"""Rows of the result that are made at a time."""


def resample(
    image: NDArray[np.uint8],
    way: NDArray[np.float64] | CurvedMap | Lookup,
    shape: tuple[int, int],
    background: Sequence[float],
) -> NDArray[np.uint8]:
    """Show an image on another grid of pixels.

    Where output pixels are larger than the image's, each is the average over its own area, so
    nothing aliases: blocks of whole image pixels are averaged first (see `largest_block`), then
    the warp samples as densely as the rest needs and its samples are averaged.
    Where output pixels are smaller, cubic interpolation keeps what detail there is.

    A curved map is interpolated once as well. Blocks are those of its straight part; samples lie as
    densely as it needs where it stretches most. See `atldld.place.curves.SEEN` for its error.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width, 3) or (height, width), uint8
        The pixels.
    way : numpy.ndarray, shape (2, 3), CurvedMap or Lookup
        Centre of an output pixel → pixel of `image`, whose pixel (0, 0) has its centre at (0, 0).
        A matrix is ``[x, y] = way @ [column, row, 1]``. A lookup is one for this shape and image.
    shape : tuple of 2 int
        Rows and columns of the result.
    background : sequence of float
        What is shown outside the image, one number for each channel.

    Returns
    -------
    numpy.ndarray, shape (rows, columns[, 3]), uint8
    """
    out = np.empty((*shape, *image.shape[2:]), dtype=np.uint8)
    strips = Strips(image, way, shape, background)
    # A strip at a time: the samples of a whole picture are many times its size.
    for rows in strips.rows:
        strips.make(rows, out[rows])
    return out


class Strips:
    """An image on another grid of pixels, of which single strips can be made; see `resample`.

    Parameters
    ----------
    image, way, shape, background :
        See `resample`.
    """

    def __init__(
        self,
        image: NDArray[np.uint8],
        way: NDArray[np.float64] | CurvedMap | Lookup,
        shape: tuple[int, int],
        background: Sequence[float],
    ) -> None:
        if 0 in image.shape[:2]:
            raise _too_small(image)
        known = way if isinstance(way, Lookup) else None
        way = way.way if isinstance(way, Lookup) else way
        block = largest_block(way.straight if isinstance(way, CurvedMap) else way, shape)
        while max(image.shape[:2]) // block > LARGEST_SIDE:
            block += 1
        if block > 1:
            image = _average_blocks(image, block)
            way, known = shrink_source(way, block), None
        self._shape = shape
        size = image.shape[1], image.shape[0]
        self._curved = known or (way.over(shape, size) if isinstance(way, CurvedMap) else None)
        straight = way.straight if isinstance(way, CurvedMap) else way
        if self._curved is not None:
            coarsest = _coarsest(self._curved)
        else:
            coarsest = np.linalg.svd(straight[:, :2], compute_uv=False)[0]
        samples = math.ceil(coarsest / SPACING - 1e-9)
        if max(shape) * samples > LARGEST_SIDE:
            samples = max(LARGEST_SIDE // max(shape), 1)
        self._samples = samples
        self._interpolation = cv2.INTER_CUBIC if samples == 1 else cv2.INTER_LINEAR
        self._around = tuple(float(value) for value in background)
        self._dense = _denser_output(straight, samples)
        # OpenCV interpolates four channels linearly in half the time of three, to the same values;
        # cubically it takes longer
        self._padded = samples > 1 and image.shape[2:] == (3,) and image.size <= PADDED * 3
        self._image = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA) if self._padded else image
        channels = self._image.shape[2:]
        self._taken = np.empty(
            (STRIP * samples, shape[1] * samples, *channels) if samples > 1 else 0, np.uint8
        )
        self._averaged = np.empty((STRIP, shape[1], *channels) if self._padded else 0, np.uint8)

    @property
    def rows(self) -> Iterator[slice]:
        """The rows of each strip, from the top."""
        rows = self._shape[0]
        return (slice(top, min(top + STRIP, rows)) for top in range(0, rows, STRIP))

    def make(self, rows: slice, strip: NDArray[np.uint8]) -> None:
        """Write the pixels of one strip.

        Parameters
        ----------
        rows : slice
            One of `rows`.
        strip : numpy.ndarray, shape (rows, columns[, 3]), uint8
            Where they go.
        """
        samples, columns = self._samples, self._shape[1]
        height = len(strip) * samples
        there = strip if samples == 1 else self._taken[:height]
        if self._curved is not None:
            x, y = self._curved.block(rows, dense=samples, dtype=np.float32)
            cv2.remap(
                self._image,
                x,
                y,
                self._interpolation,
                dst=there,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=self._around,
            )
        else:
            cv2.warpAffine(
                self._image,
                _shift_output(self._dense, rows.start * samples),
                (columns * samples, height),
                dst=there,
                flags=self._interpolation | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=self._around,
            )
        if samples > 1:
            averaged = self._averaged[: len(strip)] if self._padded else strip
            cv2.resize(there, (columns, len(strip)), dst=averaged, interpolation=cv2.INTER_AREA)
            if self._padded:
                cv2.cvtColor(averaged, cv2.COLOR_RGBA2RGB, dst=strip)


def nearest(
    image: NDArray[np.uint8],
    way: CurvedMap | Lookup,
    shape: tuple[int, int],
    background: int = 0,
) -> NDArray[np.uint8]:
    """Show on another grid the pixel of an image in which each output pixel's centre lies.

    Parameters
    ----------
    image, way, shape :
        See `resample`.
    background : int
        What is shown outside the image.

    Returns
    -------
    numpy.ndarray, shape (rows, columns[, channels]), uint8
    """
    lookup = way if isinstance(way, Lookup) else way.over(shape, (image.shape[1], image.shape[0]))
    out = np.empty((*shape, *image.shape[2:]), dtype=np.uint8)
    for top in range(0, shape[0], STRIP):
        strip = out[top : top + STRIP]
        x, y = lookup.block(slice(top, top + len(strip))).astype(np.float32)
        cv2.remap(
            image,
            # OpenCV rounds halves to even ones, and pixels would not all be of one size
            np.floor(x + np.float32(0.5)),
            np.floor(y + np.float32(0.5)),
            cv2.INTER_NEAREST,
            dst=strip,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(background,) * 4,
        )
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


def _coarsest(lookup: Lookup) -> float:
    """Return how many image pixels an output pixel is long where the map stretches most."""
    nodes: NDArray[np.floating[Any]] | None = lookup.nodes
    if nodes is None:
        nodes = lookup.block(slice(0, lookup.shape[0]))
    along = (nodes[:, :-1, 1:] - nodes[:, :-1, :-1]) / lookup.step
    down = (nodes[:, 1:, :-1] - nodes[:, :-1, :-1]) / lookup.step
    # the larger singular value of each 2 × 2 matrix
    squares = (along**2).sum(axis=0) + (down**2).sum(axis=0)
    area = along[0] * down[1] - along[1] * down[0]
    largest = (squares + np.sqrt(np.maximum(squares**2 - 4 * area**2, 0))) / 2
    if not largest.size:  # one row or column of pixels
        return float(np.linalg.svd(lookup.way.straight[:, :2], compute_uv=False)[0])
    return float(np.sqrt(largest.max()))


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
