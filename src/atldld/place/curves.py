"""Where the pixels of a picture lie by a curved map, for many pixels at once.

A deformation takes a cubic spline for each point, which is slow for the millions of pixels of a
picture. So a `CurvedMap` is evaluated at every few pixels (`CurvedMap.over`), and cubic polynomials
lead from one to the next: as far apart as they can be without an error that could be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atldld.place.affine import apply_affine
from atldld.place.deformation import Deformation, SplineDeformation

__all__ = ["SEEN", "CurvedMap", "Lookup"]

Matrix = NDArray[np.float64]
Float = type[np.float32] | type[np.float64]

SEEN = 1 / 16
"""The largest error of a `Lookup`, in pixels of what its map leads to, where the map is kinked.

Nodes of twice the distance must agree within half of it: a kink that passes them by may be as large
again. The error of a smooth map, which falls with the fourth power of the distance, is a tenth of
it at most.
"""

_SMOOTH = 3 * SEEN
"""How far nodes of twice the distance may be off where a map is known to be smooth: by nodes that
lie twice as densely a cubic spline is missed by a fifth to a sixteenth of that."""

_FARTHEST = 32  # pixels from one node to the next, to begin with
_SMALL = 1 << 18  # pixels
_AROUND = 2  # nodes before the first pixel: polynomials take two on either side
_AT_ONCE = 64  # samples: more have more nodes that do not concern them
_WIDE = 256  # and of these, along the rows
_TRIED = 257  # places off the lattice, where an oscillation that fits it would show


@dataclass(frozen=True, slots=True, eq=False)
class CurvedMap:
    """A map of the plane that is affine, then curved, then affine again.

    Attributes
    ----------
    before : numpy.ndarray, shape (2, 3), float64
        ``[x, y] = before @ [column, row, 1]``: to what `curve` takes.
    curve : callable
        (..., 2) → (..., 2): a way of a `~atldld.place.deformation.Deformation`.
    after : numpy.ndarray, shape (2, 3), float64
        From what `curve` gives.
    smooth : tuple of 4 float, optional
        Least x and y, and greatest x and y, of what `curve` takes, between which it is known to
        have no kink.
    """

    before: Matrix
    curve: Callable[[Matrix], Matrix]
    after: Matrix
    smooth: tuple[float, float, float, float] | None = None

    @classmethod
    def to_image(cls, before: Matrix, deformation: Deformation, after: Matrix) -> CurvedMap:
        """Return the map through a deformation's way from the flat image to the image."""
        smooth = None
        if isinstance(deformation, SplineDeformation):
            smooth = deformation.bending.extent
        return cls(before, deformation.to_image, after, smooth)

    @property
    def straight(self) -> Matrix:
        """The map without its curve, shape (2, 3)."""
        out = self.after[:, :2] @ self.before
        out[:, 2] += self.after[:, 2]
        return out

    def at(self, points: Matrix) -> Matrix:
        """Map points, shape (..., 2) → (..., 2), exactly."""
        return apply_affine(self.after, self.curve(apply_affine(self.before, points)))

    def pixels(self, rows: slice, columns: slice, dense: int = 1) -> Matrix:
        """Map the pixels of a block, or so many samples along each side of a pixel, exactly.

        Returns
        -------
        numpy.ndarray, shape (2, rows · dense, columns · dense), float64
            x and y.
        """
        column, row = np.meshgrid(_centres(columns, dense), _centres(rows, dense))
        return np.moveaxis(self.at(np.stack((column, row), axis=-1)), -1, 0)

    def over(self, shape: tuple[int, int], size: tuple[int, int] | None = None) -> Lookup:
        """Return the map for the pixels of a picture.

        Parameters
        ----------
        shape : tuple of 2 int
            Rows and columns.
        size : tuple of 2 int, optional
            Width and height of the picture that the map leads to, if nothing is to be seen beyond
            it. There the lookup need not be exact, as long as it stays beyond.
        """
        # against an oscillation that the lattice would not see
        golden = np.outer(np.arange(1.0, _TRIED + 1), (0.7548776662466927, 0.5698402909980532)) % 1
        tried: Matrix = golden * np.array([shape[1] - 1.0, shape[0] - 1.0])
        exact = self.at(tried)
        # to try the farthest first costs more than a small picture can gain by it
        step = _FARTHEST if shape[0] * shape[1] > _SMALL else _FARTHEST // 2
        coarse = self._nodes(shape, step)
        while step > 2:
            step //= 2
            fine = self._halved(coarse, shape, step)
            bad = _missed(coarse, fine, size, self._limits(shape, step))
            # Pixels of bad cells are evaluated one by one. With cells of half the size there are
            # at best half as many, for four times as many nodes.
            if bad.sum() * step**2 / 2 <= 4 * bad.size:
                lookup = Lookup(self, shape, step, fine, bad if bad.any() else None)
                off = np.abs(lookup.between(tried) - exact).max(axis=1)
                if off[_seen(exact, size)].max(initial=0) <= SEEN:
                    return lookup
            coarse = fine
        return Lookup(self, shape, 1, None, None)

    def _nodes(self, shape: tuple[int, int], step: int) -> Matrix:
        """Map every `step`-th pixel, from `_AROUND` nodes before the picture to beyond its end."""
        return np.moveaxis(self.at(_lattice(shape, step)), -1, 0)

    def _halved(self, coarse: Matrix, shape: tuple[int, int], step: int) -> Matrix:
        """Return the nodes, (2, M, N), of a lattice half as coarse; only new ones are mapped."""
        lattice = _lattice(shape, step)
        rows, columns = lattice.shape[:2]
        fine = np.empty((2, rows, columns))
        # both begin `_AROUND` of their own nodes before the picture, and that is an even number
        first = _AROUND // 2
        known = coarse[:, first : first + (rows + 1) // 2, first : first + (columns + 1) // 2]
        fine[:, ::2, ::2] = known
        for new in (np.s_[1::2, :], np.s_[::2, 1::2]):
            fine[:, *new] = np.moveaxis(self.at(lattice[new]), -1, 0)
        return fine

    def _limits(self, shape: tuple[int, int], step: int) -> Matrix | float:
        """Return how far each node of a lattice may be off from one half as fine, (M, N)."""
        if self.smooth is None:
            return SEEN / 2
        x, y = np.moveaxis(apply_affine(self.before, _lattice(shape, step)), -1, 0)
        # what is expected of a node is made of those up to three away, along either axis
        margin = 3 * step * float(np.abs(self.before[:, :2]).sum(axis=1).max())
        left, top, right, bottom = self.smooth
        inside = (x > left + margin) & (x < right - margin)
        inside &= (y > top + margin) & (y < bottom - margin)
        return np.where(inside, _SMOOTH, SEEN / 2)


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """A curved map for the pixels of one picture.

    Attributes
    ----------
    way : CurvedMap
        The map.
    shape : tuple of 2 int
        Rows and columns of the picture.
    step : int
        Pixels from one node to the next; 1 where each pixel is evaluated.
    nodes : numpy.ndarray, shape (2, M, N), float64, or None
        Where every `step`-th pixel lies, from `_AROUND` nodes before the first one on.
    bad : numpy.ndarray, shape (M − 1, N − 1), bool, or None
        Cells in which the map is bent too much, or kinked. Their pixels are evaluated.
    """

    way: CurvedMap
    shape: tuple[int, int]
    step: int
    nodes: Matrix | None
    bad: NDArray[np.bool_] | None

    def block(
        self,
        rows: slice,
        columns: slice | None = None,
        *,
        dense: int = 1,
        dtype: Float = np.float64,
    ) -> NDArray[np.floating[Any]]:
        """Return where pixels lie, or samples of them.

        Parameters
        ----------
        rows : slice
            Of the picture; those next to it may be among them.
        columns : slice, optional
            The same; all by default.
        dense : int
            Samples along each side of a pixel, spread evenly.
        dtype : type
            float32 takes half the time, and is as exact as pictures need.

        Returns
        -------
        numpy.ndarray, shape (2, rows · dense, columns · dense)
            x and y.
        """
        columns = columns or slice(0, self.shape[1])
        if self.nodes is None:
            return self.way.pixels(rows, columns, dense).astype(dtype, copy=False)
        row, column = (_samples(pixels, dense) for pixels in (rows, columns))
        # along the columns first, of the few rows of nodes; then along the rows
        down = list(_spreads(row, self.step, dense, dtype))
        top, bottom = down[0][1].start, down[-1][1].stop
        nodes = self.nodes[:, top:bottom].astype(dtype, copy=False)
        wide = np.empty((2, len(nodes[0]), len(column)), dtype)
        for some, near, weights in _spreads(column, self.step, dense, dtype):
            np.matmul(nodes[:, :, near], weights.T, out=wide[:, :, some])
        out = np.empty((2, len(row), len(column)), dtype)
        for some, near, weights in down:
            # piece by piece: BLAS would share larger products among threads, and let them wait
            for left in range(0, len(column), _WIDE):
                piece = np.s_[:, near.start - top : near.stop - top, left : left + _WIDE]
                np.matmul(weights, wide[piece], out=out[:, some, left : left + _WIDE])
        if self.bad is not None:
            at = np.ix_(*(_cell(samples, self.step, dense) for samples in (row, column)))
            j, i = np.nonzero(self.bad[at])
            if len(j):
                x, y = (_centres(pixels, dense) for pixels in (columns, rows))
                out[:, j, i] = self.way.at(np.stack((x[i], y[j]), axis=-1)).T
        return out

    def between(self, points: Matrix) -> Matrix:
        """Return where points lie, shape (N, 2) → (N, 2), as pixels there would."""
        if self.nodes is None:
            return self.way.at(points)
        place = points / self.step + _AROUND
        low = np.floor(place).astype(np.intp)
        across, down = (_weights(share) for share in (place - low).T)
        i, j = low.T
        around = np.arange(-1, 3)
        nodes = self.nodes[:, j[:, None, None] + around[:, None], i[:, None, None] + around]
        out: Matrix = np.einsum("kpab,ap,bp->pk", nodes, down, across)
        if self.bad is not None:
            bad = self.bad[j, i]
            out[bad] = self.way.at(points[bad])
        return out


def _samples(pixels: slice, dense: int) -> range:
    """Return the numbers of the samples of some pixels, of which there are `dense` in each."""
    return range(pixels.start * dense, pixels.stop * dense)


def _centres(pixels: slice, dense: int) -> Matrix:
    """Return where samples lie that are spread evenly over pixels, in pixels."""
    return (2 * np.array(_samples(pixels, dense)) + (1 - dense)) / (2 * dense)


def _counted(samples: range, step: int, dense: int) -> NDArray[np.intp]:
    """Return where samples lie from the first node on, in halves of a sample: in whole numbers."""
    return 2 * np.array(samples) + (1 - dense) + _AROUND * 2 * dense * step


def _cell(samples: range, step: int, dense: int) -> NDArray[np.intp]:
    """Return the node before each sample."""
    return _counted(samples, step, dense) // (2 * dense * step)


def _spreads(
    samples: range, step: int, dense: int, dtype: Float
) -> Iterator[tuple[slice, slice, NDArray[np.floating[Any]]]]:
    """Give some samples after the other, the nodes near them, and the weights of these."""
    period = step * dense
    most = max(_AT_ONCE // period, 1) * period
    for start in range(0, len(samples), most):
        stop = min(start + most, len(samples))
        # the weights of samples and of those a cell farther on are the same
        cells, begin = divmod(samples[start], period)
        first, weights = _spread(begin, stop - start, step, dense, np.dtype(dtype))
        first += cells
        yield slice(start, stop), slice(first, first + weights.shape[1]), weights


@lru_cache(maxsize=64)
def _spread(
    start: int, count: int, step: int, dense: int, dtype: np.dtype[Any]
) -> tuple[int, NDArray[np.floating[Any]]]:
    """Return the first node near some samples, and the weight of each node in each sample."""
    whole = 2 * dense * step
    node, share = np.divmod(_counted(range(start, start + count), step, dense), whole)
    weights = np.zeros((count, node[-1] - node[0] + 4), dtype)
    place = node - node[0]
    weights[np.arange(count)[:, None], place[:, None] + np.arange(4)] = _weights(share / whole).T
    weights.flags.writeable = False
    return int(node[0]) - 1, weights


def _weights(share: Matrix) -> Matrix:
    """Return the weights of four nodes for a place between the middle ones, shape (4, N).

    Those of the polynomial of third degree through them (Lagrange's).
    """
    before, after, beyond = share + 1, share - 1, share - 2
    return np.stack(
        (
            -share * after * beyond / 6,
            before * after * beyond / 2,
            -before * share * beyond / 2,
            before * share * after / 6,
        )
    )


def _seen(at: Matrix, size: tuple[int, int] | None) -> NDArray[np.bool_]:
    """Return which places, shape (N, 2), lie in a picture of a size."""
    if size is None:
        return np.ones(len(at), dtype=bool)
    x, y = at.T
    seen: NDArray[np.bool_] = (x > -1) & (y > -1) & (x < size[0]) & (y < size[1])
    return seen


def _lattice(shape: tuple[int, int], step: int) -> Matrix:
    """Return (column, row) of the nodes of a lattice over a picture, shape (M, N, 2)."""
    rows, columns = (
        step * np.arange(-_AROUND, -(-size // step) + _AROUND + 1, dtype=np.float64)
        for size in shape
    )
    return np.stack(np.meshgrid(columns, rows), axis=-1)


def _missed(
    coarse: Matrix, fine: Matrix, size: tuple[int, int] | None, limits: Matrix | float
) -> NDArray[np.bool_]:
    """Return in which cells of a lattice nodes are not where one half as fine has them.

    Parameters
    ----------
    coarse, fine : numpy.ndarray, shapes (2, m, n) and (2, M, N)
        As `CurvedMap._nodes` gives them.
    size : tuple of 2 int, optional
        See `CurvedMap.over`.
    limits : numpy.ndarray, shape (M, N), or float
        See `CurvedMap._limits`.

    Returns
    -------
    numpy.ndarray, shape (M − 1, N − 1), bool
    """
    rows, columns = fine.shape[1:]
    # begins at the coarse lattice's second node, which is the fine one's first
    expected = _twice(_twice(coarse, 1), 2)[:, :rows, :columns]
    off = np.zeros((rows + 2, columns + 2), dtype=bool)
    missed = np.abs(fine - expected).max(axis=0)
    off[1:-1, 1:-1] = missed > limits
    bad = np.zeros((rows - 1, columns - 1), dtype=bool)
    for a in range(4):
        for b in range(4):
            bad |= off[a : a + rows - 1, b : b + columns - 1]
    if size is not None:
        # cells that lie on one side of the picture as a whole, however far they may be off
        margin = 2 + missed.max()
        for side, length in zip(fine, size, strict=True):
            for outside in (side < -margin, side > length + margin):
                bad &= ~(outside[:-1, :-1] & outside[1:, :-1] & outside[:-1, 1:] & outside[1:, 1:])
    return bad


def _twice(nodes: Matrix, axis: int) -> Matrix:
    """Return nodes from the second to the last but one, and places halfway between them."""
    count = nodes.shape[axis]
    first, second, third, fourth = (
        nodes.take(range(k, count - 3 + k), axis=axis) for k in range(4)
    )
    between = (9 * (second + third) - first - fourth) / 16
    last = third.take([-1], axis=axis)
    pairs = np.stack((second, between), axis=axis + 1)
    shape = list(second.shape)
    shape[axis] *= 2
    out: Matrix = np.concatenate((pairs.reshape(shape), last), axis=axis)
    return out
