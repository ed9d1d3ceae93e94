"""Curved maps between a section's picture and its flat picture.

Sections bend, stretch and shrink when they are cut and mounted, which no plane can undo. So a
placement may have a deformation: image pixel (x, y) lies at the pixel (x', y') of the *flat image*,
the picture as it would be had the section stayed flat, and the plane is that of the flat image::

    [x', y']  = to_flat(x, y)
    [p, i, r] = forward @ [x', y', 1]

and back with `to_image`. Both are in full-resolution pixels of the section's box, whose pixel
(0, 0) has its centre at (0, 0). A deformation is one-to-one, and goes on as a shift beyond its
edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.errors import InvalidInputError
from atldld.place.affine import in_blocks
from atldld.place.spaces import check_points

__all__ = ["Deformation", "Displacements", "SplineDeformation"]

Matrix = NDArray[np.float64]

_NODES_AT_LEAST = 4  # in each direction: a cubic spline through fewer is none
_ROUNDS = 30  # of Newton's method, which needs four or five
_EXACT = 1e-4  # pixels


class Deformation(Protocol):
    """What a placement asks of a deformation."""

    def to_flat(self, xy: ArrayLike) -> Matrix:
        """Map image pixels to pixels of the flat image, shape (..., 2) → (..., 2)."""

    def to_image(self, xy: ArrayLike) -> Matrix:
        """Map pixels of the flat image to image pixels, shape (..., 2) → (..., 2)."""


@dataclass(frozen=True, eq=False)
class Displacements:
    """Displacements at the nodes of a regular grid, with a cubic spline through them.

    Attributes
    ----------
    origin : tuple of 2 float
        (x, y) of the first node, in full-resolution pixels.
    spacing : tuple of 2 float
        Pixels from one node to the next along x and y.
    vectors : numpy.ndarray, shape (rows, columns, 2), float32
        (dx, dy) at the nodes, in full-resolution pixels: a pixel at (x, y) moves to (x + dx,
        y + dy).

    Raises
    ------
    InvalidInputError
        If the arrays have another shape, fewer than 4 nodes along a side, or numbers that are not
        finite.
    """

    origin: tuple[float, float]
    spacing: tuple[float, float]
    vectors: NDArray[np.float32]

    def __post_init__(self) -> None:
        vectors = np.ascontiguousarray(self.vectors, dtype=np.float32)
        if (
            vectors.ndim != 3
            or vectors.shape[2] != 2
            or min(vectors.shape[:2]) < _NODES_AT_LEAST
            or min(self.spacing) <= 0
        ):
            raise InvalidInputError(
                f"Displacements have the shape {vectors.shape} and the spacing {self.spacing}, but "
                f"need (rows, columns, 2) with at least {_NODES_AT_LEAST} nodes along a side, and "
                "a spacing above 0."
            )
        if not (np.isfinite(vectors).all() and np.isfinite((*self.origin, *self.spacing)).all()):
            raise InvalidInputError("Displacements must be finite numbers.")
        object.__setattr__(self, "vectors", vectors)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Least x and y, and greatest x and y, of the nodes, in full-resolution pixels."""
        rows, columns = self.vectors.shape[:2]
        (x, y), (across, down) = self.origin, self.spacing
        return x, y, x + (columns - 1) * across, y + (rows - 1) * down

    def moved(self, xy: ArrayLike) -> Matrix:
        """Return where pixels lie once they are displaced.

        Parameters
        ----------
        xy : array-like, shape (..., 2)
            (x, y) in full-resolution pixels. Beyond the outer nodes a pixel moves as the nearest
            point of the grid does.

        Returns
        -------
        numpy.ndarray, shape (..., 2), float64
            (x, y) in full-resolution pixels.

        Raises
        ------
        InvalidInputError
            If the pixels have another shape, or coordinates that are not finite.
        """
        at = check_points(xy, 2, "(x, y) in full-resolution pixels")
        out = np.empty(at.shape)
        points, moved = at.reshape(-1, 2), out.reshape(-1, 2)
        _ = self._padded  # once, and not in each of several threads

        def work(block: slice) -> None:
            np.add(points[block], self._at(points[block]), out=moved[block])

        in_blocks(len(points), work)
        return out

    @cached_property
    def _coefficients(self) -> tuple[Matrix, Matrix]:
        from scipy.ndimage import spline_filter

        x, y = (
            spline_filter(self.vectors[..., axis].astype(np.float64), 3, mode="mirror")
            for axis in (0, 1)
        )
        return x, y

    @cached_property
    def _padded(self) -> NDArray[np.complex128]:
        """The spline's coefficients, x + iy in full-resolution pixels, (rows + 3, columns + 3).

        They are mirrored at the edges by as many as a place there takes.
        """
        x, y = self._coefficients
        return np.pad(x + 1j * y, (1, 2), mode="reflect")

    def _at(self, at: Matrix) -> Matrix:
        """Return the displacements at places, both in full-resolution pixels, (..., 2) → (..., 2).

        Each is the sum of 4 × 4 coefficients around it by their weights. All places take one
        coefficient after the other: both coordinates of it at once, as a complex number.
        """
        rows, columns = self.vectors.shape[:2]
        places = at.reshape(-1, 2) - self.origin
        places /= self.spacing
        np.clip(places, 0, (columns - 1, rows - 1), out=places)
        cells = places.astype(np.intp)
        places -= cells
        # twice each: one weight for x, one for y
        across, down = (_cubic(np.repeat(share, 2)) for share in places.T)
        width = self._padded.shape[1]
        first = cells[:, 1] * width + cells[:, 0]
        coefficients = self._padded.ravel()
        out = np.zeros_like(places)
        taken = np.empty(len(places), np.complex128)
        values, line = taken.view(np.float64), np.empty(out.size)
        for row, weights in enumerate(down):
            line.fill(0)
            for column, others in enumerate(across):
                # no index is clipped: unlike the other modes, this one needs no copy
                coefficients[row * width + column :].take(first, out=taken, mode="clip")
                values *= others
                line += values
            line *= weights
            out.reshape(-1)[:] += line
        return out.reshape(at.shape)

    @property
    def jacobian(self) -> tuple[float, float]:
        """Least and greatest local change of area, halfway between nodes as well as at them."""
        half_x, half_y = (step / 2 for step in self.spacing)
        dx, dy = (_at_halves(side) for side in self._coefficients)
        # one-sided over half a node: what a line between neighbours sees
        x_by_x = 1 + np.diff(dx, axis=1)[:-1] / half_x
        y_by_x = np.diff(dy, axis=1)[:-1] / half_x
        x_by_y = np.diff(dx, axis=0)[:, :-1] / half_y
        y_by_y = 1 + np.diff(dy, axis=0)[:, :-1] / half_y
        area = x_by_x * y_by_y - y_by_x * x_by_y
        return float(area.min()), float(area.max())

    @property
    def greatest(self) -> float:
        """Length of the longest displacement at a node, in pixels."""
        return float(np.linalg.norm(self.vectors, axis=-1).max())

    def inverse(self) -> Displacements:
        """Return the displacements that lead back, on a grid of the same spacing.

        Found at each node by Newton's method; between nodes the two agree as well as a cubic
        spline does, which is some hundredths of a pixel where nodes lie 100 µm apart and the
        deformation is smooth over several of them.

        Raises
        ------
        InvalidInputError
            If the displacements fold, so that there is no way back.
        """
        rows, columns = self.vectors.shape[:2]
        margin = [
            int(np.ceil(np.abs(self.vectors[..., axis]).max() / self.spacing[axis]))
            for axis in (0, 1)
        ]
        x = self.origin[0] + self.spacing[0] * np.arange(-margin[0], columns + margin[0])
        y = self.origin[1] + self.spacing[1] * np.arange(-margin[1], rows + margin[1])
        wanted = np.stack(np.meshgrid(x, y), axis=-1)
        found = wanted - self._at(wanted)
        small = np.array(self.spacing) * 1e-3
        for _ in range(_ROUNDS):
            missed = found + self._at(found) - wanted
            if np.abs(missed).max() < _EXACT:
                break
            slopes = [
                (self._at(found + step) - self._at(found - step)) / (2 * step.sum())
                for step in np.diag(small)
            ]
            matrix = np.stack(slopes, axis=-1) + np.eye(2)
            found = found - np.linalg.solve(matrix, missed[..., None])[..., 0]
        else:
            raise InvalidInputError("The displacements fold, so there is no way back.")
        vectors = (found - wanted).astype(np.float32)
        return Displacements((float(x[0]), float(y[0])), self.spacing, vectors)


@dataclass(frozen=True, eq=False)
class SplineDeformation:
    """A deformation of which each way is a cubic spline of its own.

    Like the service's matrices, each is used in its own direction; how well they agree is
    `round_trip`.

    Attributes
    ----------
    flattening : Displacements
        Image → flat image.
    bending : Displacements
        Flat image → image.
    """

    flattening: Displacements
    bending: Displacements

    @classmethod
    def of(cls, flattening: Displacements) -> SplineDeformation:
        """Return a deformation from its way to the flat image.

        Raises
        ------
        InvalidInputError
            If the displacements fold.
        """
        return cls(flattening, flattening.inverse())

    def to_flat(self, xy: ArrayLike) -> Matrix:
        """Map image pixels to pixels of the flat image; see `Displacements.moved`."""
        return self.flattening.moved(xy)

    def to_image(self, xy: ArrayLike) -> Matrix:
        """Map pixels of the flat image to image pixels; see `Displacements.moved`."""
        return self.bending.moved(xy)

    @property
    def jacobian(self) -> tuple[float, float]:
        """Least and greatest local change of area on the way to the flat image."""
        return self.flattening.jacobian

    @property
    def round_trip(self) -> float:
        """How far, in pixels, a pixel lies from where it was after the way there and back.

        The most of all that lie at the image's nodes and halfway between them.
        """
        grid = self.flattening
        rows, columns = grid.vectors.shape[:2]
        x = grid.origin[0] + grid.spacing[0] * np.arange(0, columns - 0.75, 0.5)
        y = grid.origin[1] + grid.spacing[1] * np.arange(0, rows - 0.75, 0.5)
        at = np.stack(np.meshgrid(x, y), axis=-1)
        return float(np.linalg.norm(self.to_image(self.to_flat(at)) - at, axis=-1).max())


def _cubic(share: Matrix) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Return the cubic B-spline's weights of the four coefficients around places, shape (N,) each.

    Parameters
    ----------
    share : numpy.ndarray, shape (N,)
        How far places lie from the second of the four towards the third, 0 to 1.
    """
    rest = 1 - share
    first, last = rest**2, share**2
    second = (share / 2 - 1) * last + 2 / 3
    first *= rest / 6
    last *= share / 6
    third = 1 - first
    third -= second
    third -= last
    return first, second, third, last


def _at_halves(coefficients: Matrix) -> Matrix:
    """Return a spline at its nodes and halfway between them, shape (M, N) → (2M − 1, 2N − 1)."""
    out = coefficients
    for _ in range(2):  # along the rows' index, then, turned, along the columns'
        c = np.pad(out, ((1, 1), (0, 0)), mode="reflect")
        wider = np.pad(out, ((1, 2), (0, 0)), mode="reflect")
        along = np.empty((2 * len(out) - 1, out.shape[1]))
        along[::2] = (c[:-2] + 4 * c[1:-1] + c[2:]) / 6
        halfway = wider[:-3] + 23 * (wider[1:-2] + wider[2:-1]) + wider[3:]
        along[1::2] = halfway[: len(out) - 1] / 48
        out = along.T
    return out
