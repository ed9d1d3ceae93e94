"""Bending a section within its plane until it looks like what the atlas has there.

The section and the picture that is expected of it, the grey of each pixel's structure, are compared
by their local correlation: both are seen through a small window, in which neither brightness nor
contrast counts. Its gradient, smoothed, is the next small move; moves are composed, not added, and
the whole displacement is smoothed after each, so that it stays one-to-one. This is done on coarse
pixels first. It is the greedy form of symmetric normalisation (Avants et al. 2008,
doi:10.1016/j.media.2007.06.004), with the regularisation of diffeomorphic demons (Vercauteren et
al. 2009, doi:10.1016/j.neuroimage.2008.10.040). docs/decisions/0014 compares it with libraries.
"""

from __future__ import annotations

import cv2
import numpy as np

from atldld.errors import InvalidInputError
from atldld.place.deformation import Deformation, Displacements, SplineDeformation
from atldld.refine.model import Image, Look, Matrix

__all__ = ["JACOBIAN", "bend", "deformation_of", "shown_at"]

JACOBIAN = (0.3, 3.0)
"""Least and greatest local change of area that a deformation may have."""

_NODES = 50.0  # µm from one node of a deformation to the next
_AROUND = 8  # nodes around the picture
_COARSEST = 200.0  # µm: pixels that are compared first
_WINDOW = 1.8  # pixels: standard deviation of the window of the local correlation
_FLUID = 2.0  # pixels: what a move is smoothed by
_ELASTIC = 1.4  # pixels: what the displacement is smoothed by after each move
_STEP = 0.4  # pixels: the longest move
_NOISE = 0.02  # of the variance of a picture, below which a window shows nothing
_MOVES = {1: 40, 2: 60}  # on the finest pixels, and on all coarser ones
_SMOOTHER = 1.6  # by how much more a displacement that folds is smoothed each time


def bend(
    look: Look,
    expected: Image,
    weights: Image | None = None,
    begin: Image | None = None,
    finest: float = 0.0,
) -> Image:
    """Return the displacement that makes a section look like what is expected of it.

    Parameters
    ----------
    look : Look
        The section.
    expected : numpy.ndarray, shape (rows, columns), float32
        What each of its pixels should look like where it lies now.
    weights : numpy.ndarray, shape (rows, columns), float32, optional
        What each pixel counts, 0 to 1; all alike by default.
    begin : numpy.ndarray, shape (rows, columns, 2), float32, optional
        A displacement to begin with, which only needs to be refined on the finer pixels.
    finest : float
        Pixels smaller than this, in µm, are not compared.

    Returns
    -------
    numpy.ndarray, shape (rows, columns, 2), float32
        (dx, dy) in the look's pixels: what is at (x, y) of the section is expected at (x + dx,
        y + dy).
    """
    seen, moving = _normal(look.values), _normal(expected)
    rows, columns = seen.shape
    factors = [1]
    while (
        factors[-1] * 2 * look.side <= _COARSEST * 1.01 and min(rows, columns) // factors[-1] > 16
    ):
        factors.append(factors[-1] * 2)
    factors = [factor for factor in factors if factor * look.side >= finest * 0.99] or factors[-1:]
    shift = begin
    if begin is not None:
        factors = factors[:2]
    for factor in reversed(factors):
        shift = _level(seen, moving, weights, factor, shift)
    assert shift is not None
    return _resized(shift, rows, columns)


def deformation_of(
    look: Look, shift: Image, start: Deformation | None = None
) -> SplineDeformation | None:
    """Return a displacement of a look's pixels as a deformation, or None if it cannot be tamed.

    What is bent too sharply is smoothed until areas change by no more than `JACOBIAN`.

    Parameters
    ----------
    look : Look
        The section.
    shift : numpy.ndarray, shape (rows, columns, 2), float32
        See `bend`.
    start : Deformation, optional
        The deformation that the section had when it was bent.
    """
    smooth = 1.0
    for _ in range(8):
        nodes, x, y = _at_nodes(look, shift, smooth)
        places = np.stack(np.meshgrid(x, y), axis=-1)
        moved = places + nodes * look.steps
        flat = moved if start is None else start.to_flat(moved)
        spacing = (float(x[1] - x[0]), float(y[1] - y[0]))
        field = Displacements(
            (float(x[0]), float(y[0])), spacing, (flat - places).astype(np.float32)
        )
        least, greatest = field.jacobian
        if JACOBIAN[0] <= least and greatest <= JACOBIAN[1]:
            try:
                return SplineDeformation.of(field)
            except InvalidInputError:
                pass
        smooth *= _SMOOTHER
    return None


def _at_nodes(look: Look, shift: Image, smooth: float) -> tuple[Matrix, Matrix, Matrix]:
    """Return a displacement at the nodes of a grid around the look, and where these are.

    Around the picture the displacement goes on as it is at the edge, without a kink, which no
    spline could follow on the way back.
    """
    rows, columns = shift.shape[:2]
    places = []
    for size in (columns, rows):
        count = max(int(np.ceil((size - 1) * look.side / _NODES)), 1)
        places.append(np.arange(-_AROUND, count + _AROUND + 1) * (max(size - 1, 1) / count))
    blurred = _blurred(shift, _NODES / look.side / 2)
    nodes = shown_at(blurred, np.stack(np.meshgrid(*places), axis=-1).astype(np.float32))
    x, y = (
        old[0] + step * at
        for at, old, step in zip(places, (look.x, look.y), look.steps, strict=True)
    )
    return _blurred(nodes, smooth).astype(np.float64), x, y


def _normal(picture: Image) -> Image:
    """Return a picture with mean 0 and variance 1."""
    spread = float(picture.std()) or 1.0
    return np.asarray((picture - picture.mean()) / spread, dtype=np.float32)


def _blurred(picture: Image, sigma: float) -> Image:
    out = cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(out, dtype=np.float32)


def shown_at(picture: Image, places: Image) -> Image:
    """Return a picture at places (x, y), shape (rows, columns, 2); its edge goes on outside."""
    out = cv2.remap(
        picture,
        places[..., 0],
        places[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(out, dtype=np.float32)


def _resized(shift: Image, rows: int, columns: int) -> Image:
    """Return a displacement on another grid of pixels over the same picture, in its pixels."""
    old_rows, old_columns = shift.shape[:2]
    if (old_rows, old_columns) == (rows, columns):
        return shift
    out = cv2.resize(shift, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(out * (columns / old_columns, rows / old_rows), dtype=np.float32)


def _level(
    seen: Image,
    moving: Image,
    weights: Image | None,
    factor: int,
    shift: Image | None,
) -> Image:
    rows, columns = max(seen.shape[0] // factor, 1), max(seen.shape[1] // factor, 1)

    def small(picture: Image) -> Image:
        out = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)
        return np.asarray(out, dtype=np.float32)

    fixed, source = (seen, moving) if factor == 1 else (small(seen), small(moving))
    force = _Correlation(fixed, None if weights is None else small(weights), _WINDOW)
    grid = np.stack(
        np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)), -1
    )
    shift = (
        np.zeros((rows, columns, 2), np.float32)
        if shift is None
        else _resized(shift, rows, columns)
    )
    moves = _MOVES[min(factor, 2)]
    for move in range(moves):
        warped = shown_at(source, grid + shift)
        step = _blurred(force.gradient(warped), _FLUID)
        longest = float(np.sqrt((step * step).sum(axis=-1).max()))
        if longest <= 0:
            break
        step *= np.float32(_STEP * (1 - 0.7 * move / moves) / longest)
        # the displacement that does the move first, and then what was found before
        shift = _blurred(shown_at(shift, grid + step) + step, _ELASTIC)
    return shift


class _Correlation:
    """The local correlation of a picture with others; what does not change is kept."""

    def __init__(self, seen: Image, weights: Image | None, window: float) -> None:
        self.weights, self.window = weights, window
        if weights is not None:
            self.total: Image = np.maximum(_blurred(weights, window), np.float32(1e-3))
        self.seen = seen
        self.mean = self._local(seen)
        self.variance = np.maximum(self._local(seen * seen) - self.mean**2, 0) + np.float32(_NOISE)

    def _local(self, picture: Image) -> Image:
        """Return the mean of a picture in the window around each pixel."""
        if self.weights is None:
            return _blurred(picture, self.window)
        out: Image = _blurred(picture * self.weights, self.window) / self.total
        return out

    def gradient(self, other: Image) -> Image:
        """Return which way, and how much, moving each pixel raises the squared correlation."""
        mean = self._local(other)
        variance = np.maximum(self._local(other * other) - mean**2, 0) + np.float32(_NOISE)
        shared = self._local(self.seen * other) - self.mean * mean
        # a contrast the other way round is no likeness
        rate = np.where(shared > 0, shared / (self.variance * variance), np.float32(0))
        force: Image = rate * (self.seen - self.mean - shared / variance * (other - mean))
        if self.weights is not None:
            force *= self.weights
        sides: Image = np.stack([force * _slope(other, x, 1 - x) for x in (1, 0)], axis=-1)
        return sides


def _slope(picture: Image, along_x: int, along_y: int) -> Image:
    """Return how much a picture changes from one pixel to the next."""
    border = cv2.BORDER_REPLICATE
    out = cv2.Sobel(picture, cv2.CV_32F, along_x, along_y, ksize=3, scale=1 / 8, borderType=border)
    return np.asarray(out, dtype=np.float32)
