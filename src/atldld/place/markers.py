"""Curved sections as VisuAlign and WebWarp have them: markers with triangles between.

A marker says that what lies at one place of the picture belongs to another place of the flat
overlay, which is the plane's own. In between the way is affine in each triangle. Four outer
corners, a tenth of the picture's width and height beyond its edges, do not move; beyond them
nothing does.

The triangles are those of the Delaunay triangulation of the markers' places **in the picture**. So
does PyNutil 0.6.2, which was asked as a black box; triangulated on the overlay, points would come
out several pixels elsewhere. Where four places lie on one circle there are two such triangulations,
and programs may choose either.

Where a triangle is turned over on its way to the overlay, the markers fold the section: some of its
tissue would lie at two places. Such markers are no deformation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.errors import InvalidInputError
from atldld.place.deformation import Deformation
from atldld.place.spaces import check_points

__all__ = ["MOST_MARKERS", "MarkedDeformation", "MarkerDeformation", "MarkerFit", "fit_markers"]

Matrix = NDArray[np.float64]

MARGIN = 0.1
"""How far beyond the picture the outer corners lie, in its widths and heights."""

MOST_MARKERS = 500
"""Markers that `fit_markers` gives a section at most."""

_FOLDED = 1e-6  # change of area below which a triangle counts as folded
_BLOCK = 1 << 19  # points that are mapped at once
_CELLS = 200  # along a side, at most
# of `fit_markers`
_LOOKS = 180, 240  # how many places along a side are looked at
_ROUNDS = 40  # of adding markers: five to fifteen are needed
_NEARLY = 0.004  # how far beyond the edges, in widths and heights, all of the deformation is left
_COARSER, _TRIES = 1.5, 12  # where the tolerance takes too many markers


@dataclass(frozen=True, eq=False)
class MarkerDeformation:
    """A piecewise affine deformation between triangulated markers; both ways are exact.

    Attributes
    ----------
    image : numpy.ndarray, shape (N, 2), float64
        (x, y) of the vertices in the image; the first four are the outer corners: upper left,
        upper right, lower left and lower right.
    flat : numpy.ndarray, shape (N, 2), float64
        The same in the flat image; the outer corners are where they are in the image.
    triangles : numpy.ndarray, shape (M, 3)
        Which vertices make each triangle.
    """

    image: Matrix
    flat: Matrix
    triangles: NDArray[np.intp]

    @classmethod
    def of(cls, markers: ArrayLike, width: float, height: float) -> MarkerDeformation:
        """Triangulate markers.

        Parameters
        ----------
        markers : array-like, shape (N, 4)
            ``[x in the flat image, y, x in the image, y]`` of each, counted from the picture's
            corner, as VisuAlign counts: the first pixel's centre is at (½, ½). Of markers at one
            place in the image the first counts.
        width, height : float
            Size of the picture.

        Raises
        ------
        InvalidInputError
            If the markers are no such numbers, lie beyond the outer corners, or fold the section.
        """
        found = cls.triangulated(markers, width, height)
        found.check()
        return found

    def check(self) -> None:
        """Check that it is one-to-one.

        Raises
        ------
        InvalidInputError
            If triangles are folded, or do not fill what lies between the outer corners.
        """
        folded = self.folded
        if count := int(folded.sum()):
            where = self.image[self.triangles[folded]].mean(axis=1)[0]
            raise InvalidInputError(
                f"The markers fold the section in {count} of {len(folded)} triangles, such as the "
                f"one about pixel ({where[0]:.0f}, {where[1]:.0f}).",
                hint="Move or remove markers there until none is on the wrong side of another.",
            )
        for vertices in (self.image, self.flat):
            filled = np.abs(_areas(vertices[self.triangles])).sum() / 2
            if not np.isclose(filled, np.prod(vertices[3] - vertices[0]), rtol=1e-6):
                raise InvalidInputError(
                    "The triangles between markers do not fill what lies between the outer corners."
                )

    @classmethod
    def triangulated(cls, markers: ArrayLike, width: float, height: float) -> MarkerDeformation:
        """Triangulate markers that may fold the section; see `of` and `folded`."""
        from scipy.spatial import Delaunay

        try:
            given = np.asarray(markers, dtype=np.float64).reshape(-1, 4)
        except (TypeError, ValueError):
            given = np.full((1, 4), np.nan)
        if not np.isfinite(given).all():
            raise InvalidInputError("Markers must be four finite numbers each.")
        low = np.array([-MARGIN * width, -MARGIN * height])
        high = np.array([(1 + MARGIN) * width, (1 + MARGIN) * height])
        beyond = ((given[:, 2:] <= low) | (given[:, 2:] >= high)).any(axis=1)
        if beyond.any():
            raise InvalidInputError(
                f"{int(beyond.sum())} of {len(given)} markers lie more than a tenth of the picture "
                "beyond its edges."
            )
        _, first = np.unique(given[:, 2:], axis=0, return_index=True)
        given = given[np.sort(first)]
        corners = np.array([low, (high[0], low[1]), (low[0], high[1]), high])
        image = np.concatenate((corners, given[:, 2:]))
        flat = np.concatenate((corners, given[:, :2]))
        # moved and scaled for the sake of its tolerances only
        return cls(image, flat, Delaunay(image).simplices.astype(np.intp))

    def scaled(self, by: tuple[float, float], shift: float) -> MarkerDeformation:
        """Return it in other coordinates: ``by`` · (x, y) + ``shift``, on both sides."""
        return MarkerDeformation(self.image * by + shift, self.flat * by + shift, self.triangles)

    @property
    def markers(self) -> Matrix:
        """``[x in the flat image, y, x in the image, y]`` of each marker, shape (N, 4)."""
        return np.concatenate((self.flat[4:], self.image[4:]), axis=1)

    def to_flat(self, xy: ArrayLike) -> Matrix:
        """Map image pixels to pixels of the flat image.

        Parameters
        ----------
        xy : array-like, shape (..., 2)
            (x, y) in full-resolution pixels. Beyond the outer corners nothing moves.

        Returns
        -------
        numpy.ndarray, shape (..., 2), float64
            (x, y) in full-resolution pixels.

        Raises
        ------
        InvalidInputError
            If the pixels have another shape, or coordinates that are not finite.
        """
        return self._flattening.moved(check_points(xy, 2, "(x, y) in full-resolution pixels"))

    def to_image(self, xy: ArrayLike) -> Matrix:
        """Map pixels of the flat image to image pixels, shape (..., 2); the inverse of `to_flat`.

        Raises
        ------
        InvalidInputError
            If the pixels have another shape, or coordinates that are not finite.
        """
        return self._bending.moved(check_points(xy, 2, "(x, y) in full-resolution pixels"))

    @property
    def folded(self) -> NDArray[np.bool_]:
        """Whether each triangle is turned over, or has no area left, in the flat image."""
        return ~(self._changes > _FOLDED)

    @property
    def jacobian(self) -> tuple[float, float]:
        """Least and greatest change of area of a triangle on the way to the flat image."""
        return float(self._changes.min()), float(self._changes.max())

    @property
    def greatest(self) -> float:
        """Length of the longest displacement of a marker, in pixels."""
        return float(np.linalg.norm(self.flat - self.image, axis=1).max())

    @cached_property
    def _changes(self) -> Matrix:
        with np.errstate(divide="ignore", invalid="ignore"):
            return _areas(self.flat[self.triangles]) / _areas(self.image[self.triangles])

    @cached_property
    def _flattening(self) -> _Pieces:
        return _Pieces.of(self.image, self.flat, self.triangles)

    @cached_property
    def _bending(self) -> _Pieces:
        return _Pieces.of(self.flat, self.image, self.triangles)


@dataclass(frozen=True, eq=False)
class MarkedDeformation:
    """Markers on a section that is curved already; both ways are exact.

    The markers say where the overlay of the curved section is wrong: what lies at one place of the
    image belongs where another place of the image has it without them.

    Attributes
    ----------
    markers : MarkerDeformation
        From the image to the image as it is without markers.
    curve : Deformation
        From there to the flat image.
    """

    markers: MarkerDeformation
    curve: Deformation

    def to_flat(self, xy: ArrayLike) -> Matrix:
        """Map image pixels to pixels of the flat image, shape (..., 2) → (..., 2)."""
        return self.curve.to_flat(self.markers.to_flat(xy))

    def to_image(self, xy: ArrayLike) -> Matrix:
        """Map pixels of the flat image to image pixels, shape (..., 2) → (..., 2)."""
        return self.markers.to_image(self.curve.to_image(xy))


def _areas(corners: Matrix) -> Matrix:
    """Return twice the signed areas of triangles, shape (M, 3, 2)."""
    first, second = (corners[:, k] - corners[:, 0] for k in (1, 2))
    areas: Matrix = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return areas


@dataclass(frozen=True, eq=False)
class _Pieces:
    """One way of a piecewise affine map, and which triangles may hold a point.

    A grid of cells tells for each the triangles whose boxes touch it.
    """

    low: Matrix  # corners of what moves
    high: Matrix
    origins: Matrix  # (M, 2): the first corner of each triangle
    weights: Matrix  # (M, 2, 2): from there to the weights of the other two
    targets: Matrix  # (M, 2)
    slopes: Matrix  # (M, 2, 2)
    cells: int  # along a side
    starts: NDArray[np.intp]  # (cells² + 1,): where each cell's triangles begin in `members`
    members: NDArray[np.intp]

    @classmethod
    def of(cls, here: Matrix, there: Matrix, triangles: NDArray[np.intp]) -> _Pieces:
        corners = here[triangles]
        # what a program has left of no area holds no point
        sound = np.abs(_areas(corners)) > 0
        corners, ends = corners[sound], there[triangles[sound]]
        sides = np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2)
        weights = np.asarray(np.linalg.inv(sides), dtype=np.float64)
        slopes = np.swapaxes(ends[:, 1:] - ends[:, :1], 1, 2) @ weights
        low, high = here[0], here[3]
        cells = int(np.clip(np.sqrt(8 * len(corners)), 1, _CELLS))
        lowest, highest = (
            np.clip(((edge - low) / (high - low) * cells).astype(np.intp), 0, cells - 1)
            for edge in (corners.min(axis=1), corners.max(axis=1))
        )
        across, down = (highest - lowest + 1).T
        count = across * down
        triangle = np.repeat(np.arange(len(corners)), count)
        nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        column = lowest[triangle, 0] + nth % across[triangle]
        row = lowest[triangle, 1] + nth // across[triangle]
        cell = row * cells + column
        order = np.argsort(cell, kind="stable")
        starts = np.searchsorted(cell[order], np.arange(cells * cells + 1))
        return cls(
            low, high, corners[:, 0], weights, ends[:, 0], slopes, cells, starts, triangle[order]
        )

    def moved(self, xy: Matrix) -> Matrix:
        """Return where points lie on the other side, shape (..., 2)."""
        points = xy.reshape(-1, 2)
        out = points.copy()
        for begin in range(0, len(points), _BLOCK):
            block = points[begin : begin + _BLOCK]
            triangle = self.triangle_of(block)
            inside = triangle >= 0
            chosen = triangle[inside]
            offset = block[inside] - self.origins[chosen]
            out[begin : begin + _BLOCK][inside] = self.targets[chosen] + np.einsum(
                "nij,nj->ni", self.slopes[chosen], offset
            )
        return out.reshape(xy.shape)

    def triangle_of(self, points: Matrix) -> NDArray[np.intp]:
        """Return which triangle each point is in, shape (N,); −1 beyond the outer corners.

        Rounding may leave a point on an edge in neither triangle; it goes to the nearer one.
        """
        found = np.full(len(points), -1, dtype=np.intp)
        waiting = np.flatnonzero(((points >= self.low) & (points <= self.high)).all(axis=1))
        steps = (points[waiting] - self.low) / (self.high - self.low) * self.cells
        column, row = np.clip(steps.astype(np.intp), 0, self.cells - 1).T
        at = self.starts[row * self.cells + column]
        end = self.starts[row * self.cells + column + 1]
        best = np.full(len(waiting), -np.inf)
        while len(waiting):
            candidate = self.members[at]
            offset = points[waiting] - self.origins[candidate]
            weights = np.einsum("nij,nj->ni", self.weights[candidate], offset)
            least = np.minimum(weights.min(axis=1), 1 - weights.sum(axis=1))
            better = least > best
            found[waiting[better]] = candidate[better]
            best = np.maximum(best, least)
            at += 1
            left = (best < 0) & (at < end)
            waiting, at, end, best = waiting[left], at[left], end[left], best[left]
        return found


# ---- markers for another deformation


@dataclass(frozen=True, eq=False)
class MarkerFit:
    """Markers that reproduce a deformation.

    Attributes
    ----------
    markers : numpy.ndarray, shape (N, 4), float64
        ``[x in the flat image, y, x in the image, y]``, in full-resolution pixels; pixel (0, 0)
        has its centre at (0, 0).
    deviation : float
        How far, at most, they lead to another place than the deformation does, in µm.
    folds : bool
        Whether they fold the section: then they are of no use, as when the deformation is too
        strong for the margin in which it has to end.
    """

    markers: Matrix
    deviation: float
    folds: bool


def fit_markers(
    deformation: Deformation,
    extent: tuple[int, int],
    to_micrometres: ArrayLike,
    *,
    tolerance: float,
    most: int = MOST_MARKERS,
) -> MarkerFit:
    """Find markers between which a deformation is reproduced.

    It begins with a few. In each triangle where the two differ too much it adds one where they
    differ most, and one in each that is folded, until there is no such triangle. Places are
    scattered a little, as regular ones would have more than one triangulation.

    Parameters
    ----------
    deformation : Deformation
        What they are to reproduce.
    extent : tuple of 2 int
        Width and height of the picture, in full-resolution pixels.
    to_micrometres : array-like, shape (3, 2)
        What a way in the flat image, in pixels, is in the reference space, in µm.
    tolerance : float
        How far, in µm, the two may be apart.
    most : int
        How many markers there may be. Where the tolerance takes more, it is raised until it does
        not.
    """
    scale = np.asarray(to_micrometres, dtype=np.float64)
    rng = np.random.default_rng(0)
    looks = []
    for cells in _LOOKS:  # the second one, at other places, corrects what the first has missed
        places = _scattered(extent, cells, rng)
        looks.append((places, deformation.to_flat(places)))

    def off(fitted: MarkerDeformation, places: Matrix, wanted: Matrix) -> Matrix:
        away: Matrix = np.linalg.norm((fitted.to_flat(places) - wanted) @ scale.T, axis=1)
        return away

    def made(chosen: Matrix) -> MarkerDeformation:
        flat = chosen + (deformation.to_flat(chosen) - chosen) * _fading(chosen, extent)
        return _between(np.concatenate((flat, chosen), axis=1), extent)

    def attempt(tolerance: float) -> MarkerDeformation | None:
        """Return what keeps to a tolerance, or nothing if that takes too many markers."""
        chosen = _first(extent)
        fitted = made(chosen)
        for look in looks:
            for _ in range(_ROUNDS):
                worst = _worst(fitted, look[0], off(fitted, *look), tolerance)
                folded = fitted.image[fitted.triangles[fitted.folded]].mean(axis=1)
                if not (len(worst) or len(folded)):
                    break
                new = _off_the_edge(look[0][worst], extent, rng)
                chosen = np.concatenate((chosen, new, folded))
                if len(chosen) > most:
                    return None
                fitted = made(chosen)
        return fitted

    if isinstance(deformation, MarkerDeformation):
        fitted = _between(deformation.markers, extent)
    else:
        tries = (attempt(tolerance * _COARSER**k) for k in range(_TRIES))
        fitted = next((found for found in tries if found is not None), made(_first(extent)))
    deviation = max(float(off(fitted, *look).max()) for look in looks)
    return MarkerFit(fitted.markers, deviation, bool(fitted.folded.any()))


def _between(markers: Matrix, extent: tuple[int, int]) -> MarkerDeformation:
    """Triangulate markers that are given in full-resolution pixels."""
    return MarkerDeformation.triangulated(markers + 0.5, *extent).scaled((1, 1), -0.5)


def _fading(points: Matrix, extent: tuple[int, int]) -> Matrix:
    """Return how much of the deformation is left at places, shape (N, 1): all in the picture.

    Beyond its edges it ends before the outer corners, which do not move.
    """
    size = np.array(extent, dtype=np.float64)
    beyond = np.abs((points + 0.5) / size - 0.5) - 0.5 - _NEARLY
    left: Matrix = 1 - np.clip(beyond / (0.9 * MARGIN), 0, 1).max(axis=1, keepdims=True)
    return left


def _off_the_edge(points: Matrix, extent: tuple[int, int], rng: np.random.Generator) -> Matrix:
    """Return places with those on the picture's edges moved outwards, each a little otherwise.

    PyNutil 0.6.2 leaves out a marker that lies on the line between two others.
    """
    share = (points + 0.5) / extent
    away = rng.uniform(0, _NEARLY, share.shape)
    places: Matrix = np.where(share <= 0, -away, np.where(share >= 1, 1 + away, share))
    return places * extent - 0.5


def _worst(
    fitted: MarkerDeformation, points: Matrix, away: Matrix, tolerance: float
) -> NDArray[np.intp]:
    """Return the worst point of each triangle that has one that is too far off, worst first."""
    order = np.argsort(-away, kind="stable")
    order = order[away[order] > max(tolerance, 0.3 * float(away.max()))]
    _, first = np.unique(fitted._flattening.triangle_of(points[order]), return_index=True)
    worst: NDArray[np.intp] = order[np.sort(first)]
    return worst


def _first(extent: tuple[int, int]) -> Matrix:
    """Return the picture's corners and nine places within, no four of them on one circle."""
    k = np.arange(1, 10)
    # a sequence that fills the plane evenly: multiples of powers of the plastic number
    inner = np.stack((k * 0.7548776662466927 % 1, k * 0.5698402909980532 % 1), axis=-1)
    outer = np.array([(-0.001, -0.002), (1.002, 0.004), (0.003, 1.001), (1.003, 0.997)])
    return np.concatenate((outer, inner)) * extent - 0.5


def _scattered(extent: tuple[int, int], cells: int, rng: np.random.Generator) -> Matrix:
    """Return places everywhere on a picture, its edges included, near those of a grid."""
    columns = cells if extent[0] >= extent[1] else max(cells * extent[0] // extent[1], 2)
    rows = cells if extent[1] > extent[0] else max(cells * extent[1] // extent[0], 2)
    nodes = np.stack(np.meshgrid(np.arange(columns + 1), np.arange(rows + 1)), axis=-1)
    at = nodes.reshape(-1, 2) + rng.uniform(-0.3, 0.3, (nodes.size // 2, 2))
    places: Matrix = np.clip(at / (columns, rows), 0, 1) * extent - 0.5
    return places
