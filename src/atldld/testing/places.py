"""Known errors of placements: where sections truly lie, if where they are placed is wrong.

The errors are those of real sections. The brain as a whole is moved, turned, scaled and sheared
against the atlas, and bent by some tens of micrometres over millimetres. Each section lies askew on
its slide, at a depth and a tilt that drift along the series, since a brain is cut by one knife; and
it is stretched by itself when it is mounted: by up to about a tenth, smoothly over 1 to 3 mm, and
more sharply where it is torn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atldld.errors import InvalidInputError
from atldld.place.deformation import Displacements, SplineDeformation
from atldld.place.placement import Placement
from atldld.place.sections import PlacedSection
from atldld.place.spaces import BOX

__all__ = ["Errors", "Noise", "Tear", "true_placements"]

Matrix = NDArray[np.float64]
Random = np.random.Generator

_CENTRE = np.array(BOX) / 2
_NODES = 120.0  # µm from one node of a deformation to the next
_MARGIN = 1500.0  # µm around the brain for which there is noise
_TRIES = 20
_REACH = 600.0  # µm from a tear within which tissue gives way
_LEAST_AREA = 0.3  # to which part of itself a deformation may shrink tissue
_SHARED = 0.5  # part of the smooth deformation's variance that all sections share


@dataclass(frozen=True)
class Errors:
    """How large errors are: standard deviations.

    Those of the whole and of the sections are scaled together until the median over the tissue is
    `median`. Lengths are in µm, angles in degrees, and scale and shear parts of one.

    Attributes
    ----------
    shift, turn, scale, shear : float
        Of the brain as a whole, along and about each axis.
    section_shift, section_turn : float
        Of each section in its plane.
    depth, tilt : float
        Of each section across its plane: mostly a drift along the series.
    bend : tuple of (float, float)
        Smooth displacements in the plane: how far, and over which length.
    median : float
        What the median of all errors together is to be, in µm; 0 if all sections lie right, and
        are not bent either.
    """

    shift: float = 70.0
    turn: float = 1.6
    scale: float = 0.02
    shear: float = 0.012
    section_shift: float = 70.0
    section_turn: float = 0.9
    depth: float = 40.0
    tilt: float = 0.6
    bend: tuple[tuple[float, float], ...] = ((75.0, 2500.0), (18.0, 1000.0))
    median: float = 220.0


@dataclass(frozen=True)
class Tear:
    """A gap that has opened in a section.

    Attributes
    ----------
    x, y : float
        Its middle, in full-resolution pixels.
    angle : float
        Of its long side, in radians from the x axis to the y axis.
    length, width : float
        In µm.
    """

    x: float
    y: float
    angle: float
    length: float
    width: float

    def along_and_across(self, xy: Matrix, pixel: float) -> tuple[Matrix, Matrix]:
        """Return how far pixels lie along and across it, in µm, where a pixel has a side in µm."""
        dx, dy = (xy[..., 0] - self.x) * pixel, (xy[..., 1] - self.y) * pixel
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return dx * cos + dy * sin, dy * cos - dx * sin

    def gap(self, xy: Matrix, pixel: float) -> NDArray[np.bool_]:
        """Return which pixels lie in the gap."""
        along, across = self.along_and_across(xy, pixel)
        inside: NDArray[np.bool_] = np.abs(across) < self.width / 2 * _fading(
            along, self.length / 2
        )
        return inside

    def closing(self, xy: Matrix, pixel: float) -> Matrix:
        """Return how far pixels have to move to close it, shape (..., 2), in µm.

        The gap becomes about half as wide, and tissue gives way all around.
        """
        along, across = self.along_and_across(xy, pixel)
        near = _fading(along, self.length / 2 + _REACH) * _fading(across, _REACH)
        by = -self.width / 3 * np.tanh(across / (self.width / 2)) * near
        return np.stack((-np.sin(self.angle) * by, np.cos(self.angle) * by), axis=-1)


def _fading(distance: Matrix, reach: float) -> Matrix:
    """Return 1 at 0, and smoothly less to 0 at a reach and beyond."""
    out: Matrix = np.cos(np.clip(np.abs(distance) / reach, 0, 1) * np.pi / 2) ** 2
    return out


class Noise:
    """A smooth random function over a box, of mean 0 and a variance of 1 or a bit less.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where it comes from.
    length : float
        About how far, in µm, it is from a hill to a valley.
    sides : sequence of float
        Of the box, in µm; that of the reference space by default.
    """

    def __init__(self, rng: Random, length: float, sides: Sequence[float] = BOX) -> None:
        from scipy.ndimage import spline_filter

        self._length = length
        shape = [int(np.ceil((side + 2 * _MARGIN) / length)) + 1 for side in sides]
        # no outliers: two of these near each other would fold a section
        self._coefficients = spline_filter(np.clip(rng.normal(size=shape), -2, 2), 3)

    def at(self, points: Matrix) -> Matrix:
        """Return it at points, shape (dimensions, N) in µm → (N,)."""
        from scipy.ndimage import map_coordinates

        places = (points + _MARGIN) / self._length
        out: Matrix = map_coordinates(
            self._coefficients, places, order=3, mode="nearest", prefilter=False
        )
        return out


def true_placements(
    sections: Sequence[PlacedSection],
    samples: Sequence[Matrix],
    errors: Errors,
    rng: Random,
    tears: Sequence[Sequence[Tear]] | None = None,
) -> list[Placement]:
    """Return where sections truly lie, if where they are placed is wrong by known errors.

    Parameters
    ----------
    sections : sequence of PlacedSection
        Where they are placed, in the order of their numbers.
    samples : sequence of numpy.ndarray, shape (N, 2)
        For each section pixels (x, y) of its tissue, at full resolution, at which errors are
        measured.
    errors : Errors
        How large.
    rng : numpy.random.Generator
        What is random.
    tears : sequence of sequence of Tear, optional
        Of each section.

    Returns
    -------
    list of Placement
        With deformations.
    """
    if errors.median == 0:
        return [section.placement for section in sections]
    tears = tears or [()] * len(sections)
    whole, own = _affine_errors(sections, errors, rng)
    deformations = _deformations(sections, errors, rng, tears)
    pairs = []
    for section, deformation, xy in zip(sections, deformations, samples, strict=True):
        pairs.append((deformation.to_flat(xy), section.placement.to_reference(xy)))

    def median(times: float) -> float:
        found = []
        for section, (flat, placed), move in zip(sections, pairs, own, strict=True):
            forward = _moved(section.placement.forward, move * times, whole * times)
            truth = flat @ forward[:, :2].T + forward[:, 2]
            found.append(np.linalg.norm(truth - placed, axis=1))
        return float(np.median(np.concatenate(found)))

    low, high = 0.0, 10.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if median(middle) < errors.median else (low, middle)
    return [
        _placed(section, move * low, whole * low, deformation)
        for section, move, deformation in zip(sections, own, deformations, strict=True)
    ]


def _affine_errors(
    sections: Sequence[PlacedSection], errors: Errors, rng: Random
) -> tuple[Matrix, list[Matrix]]:
    """Return moves of the whole and of each section: (3, 4) matrices that are to be added to 1."""
    whole = np.zeros((3, 4))
    whole[:, 3] = rng.normal(0, errors.shift, 3)
    whole[:, :3] = _turning(np.radians(rng.normal(0, errors.turn, 3)))
    whole[:, :3] += np.diag(rng.normal(0, errors.scale, 3))
    sheared = rng.normal(0, errors.shear, 3)
    whole[[0, 0, 1], [1, 2, 2]] += sheared
    whole[[1, 2, 2], [0, 0, 1]] += sheared
    whole[:, 3] -= whole[:, :3] @ _CENTRE
    drifts = [_drift(len(sections), rng) for _ in range(3)]
    moves = []
    for k, section in enumerate(sections):
        forward = section.placement.forward
        right, down = (forward[:, axis] / np.linalg.norm(forward[:, axis]) for axis in (0, 1))
        across = np.cross(right, down)
        tilts = errors.tilt * np.array([drift[k] for drift in drifts[1:]])
        much = np.exp(0.5 * rng.normal())  # some sections are mounted better than others
        angles = np.radians([*tilts, much * errors.section_turn * rng.normal()])
        move = np.zeros((3, 4))
        move[:, :3] = _turning(angles @ np.array([right, down, across]))
        middle = forward @ [section.image.width / 2, section.image.height / 2, 1]
        shift = much * rng.normal(0, errors.section_shift, 2)
        move[:, 3] = shift @ np.array([right, down]) + errors.depth * drifts[0][k] * across
        move[:, 3] -= move[:, :3] @ middle
        moves.append(move)
    return whole, moves


def _drift(count: int, rng: Random) -> Matrix:
    """Return numbers that mostly drift along a series, of variance 1."""
    knots = rng.normal(size=count // 8 + 3)
    smooth = np.interp(np.arange(count) / 8 + rng.uniform(), np.arange(len(knots)), knots)
    out: Matrix = 0.95 * smooth + 0.3 * rng.normal(size=count)
    return out


def _turning(angles: Matrix) -> Matrix:
    """Return what turns by small angles (3,) about the axes add, shape (3, 3)."""
    a, b, c = angles
    return np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])


def _moved(forward: Matrix, own: Matrix, whole: Matrix) -> Matrix:
    out = forward.copy()
    for move in (own, whole):
        added = move[:, :3] @ out
        added[:, 2] += move[:, 3]
        out = out + added
    return out


def _placed(
    section: PlacedSection, own: Matrix, whole: Matrix, deformation: SplineDeformation
) -> Placement:
    forward = _moved(section.placement.forward, own, whole)
    step = np.linalg.inv(section.placement.backward[:, :3])[:, 2]
    for move in (own, whole):
        step = step + move[:, :3] @ step
    flat = Placement.from_plane(forward, step, section.number)
    assert flat is not None, "errors of some degrees do not turn a section by ninety"
    return Placement(flat.forward, flat.backward, deformation)


def _deformations(
    sections: Sequence[PlacedSection],
    errors: Errors,
    rng: Random,
    tears: Sequence[Sequence[Tear]],
) -> list[SplineDeformation]:
    """Return how each section is bent, image → flat image."""
    shared = [(Noise(rng, length), Noise(rng, length)) for _, length in errors.bend]
    return [
        _bent(section, shared, errors, torn, rng)
        for section, torn in zip(sections, tears, strict=True)
    ]


def _bent(
    section: PlacedSection,
    shared: Sequence[tuple[Noise, Noise]],
    errors: Errors,
    torn: Sequence[Tear],
    rng: Random,
) -> SplineDeformation:
    forward = section.placement.forward
    pixel = np.linalg.norm(forward[:, :2], axis=0)
    spacing = _NODES / pixel
    size = np.array([section.image.width, section.image.height])
    columns, rows = np.ceil(size / spacing).astype(int) + 3
    x, y = spacing[0] * (np.arange(columns) - 1), spacing[1] * (np.arange(rows) - 1)
    xy = np.stack(np.meshgrid(x, y), axis=-1)
    flat = xy.reshape(-1, 2).T
    points = forward @ np.vstack((flat, np.ones(rows * columns)))
    moves = np.zeros(xy.shape)
    for of_all, (far, length) in zip(shared, errors.bend, strict=True):
        for axis in (0, 1):
            own = Noise(rng, length, size * pixel).at(flat * pixel[:, None])
            both = np.sqrt(_SHARED) * of_all[axis].at(points) + np.sqrt(1 - _SHARED) * own
            moves[..., axis] += far * both.reshape(rows, columns)
    for tear in torn:
        moves += tear.closing(xy, float(pixel.mean()))
    for _ in range(_TRIES):
        vectors = (moves / pixel).astype(np.float32)
        try:
            bent = SplineDeformation.of(
                Displacements(
                    (float(x[0]), float(y[0])), (float(spacing[0]), float(spacing[1])), vectors
                )
            )
        except InvalidInputError:
            moves *= 0.9
            continue
        if bent.jacobian[0] > _LEAST_AREA:
            return bent
        moves *= 0.9
    raise AssertionError("a tenth of a small displacement does not fold")
