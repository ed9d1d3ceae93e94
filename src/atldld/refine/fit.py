"""Moving sections until they fit: the whole data set by one affine map, then each section.

Both minimise the same difference, between a section and the grey of the structure that each of its
pixels lies in (`atldld.refine.model`), by Powell's method (SciPy's): the difference has steps at
voxels' borders, so it has no gradient worth following.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atldld.formats.common import need
from atldld.place.spaces import BOX
from atldld.refine.model import Labels3d, Look, Matrix, residuals

__all__ = ["Frame", "direction_by", "fit_section", "fit_whole", "moved_by"]

_CENTRE = np.array(BOX) / 2
_REACH = 4000.0  # µm: what the numbers of the affine map of the whole are measured at
_WHOLE_STEP = 150.0  # µm: the first steps of the search
_SECTION_STEP = 60.0


class Frame:
    """The nine numbers of a section: how far its plane's middle and its half sides move, in µm.

    Parameters
    ----------
    look : Look
        The section; its picture's middle and sides are meant.
    """

    def __init__(self, look: Look) -> None:
        x, y = look.pixels[:2]
        self.middle = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
        self.half = np.maximum(np.array([np.ptp(x), np.ptp(y)]) / 2, 1.0)

    def basis(self, pixels: Matrix) -> Matrix:
        """Return what the numbers are multiplied by at pixels, shape (3, N) → (3, N)."""
        return np.vstack(((pixels[:2] - self.middle[:, None]) / self.half[:, None], pixels[2:]))

    def applied(self, forward: Matrix, numbers: Matrix) -> Matrix:
        """Return a map (3, 3) to the reference, moved by nine numbers."""
        moves = numbers.reshape(3, 3)
        out = forward.copy()
        out[:, :2] += moves[:, :2] / self.half
        out[:, 2] += moves[:, 2] - moves[:, :2] @ (self.middle / self.half)
        return out


def _powell(cost: Any, start: Matrix, step: float, rounds: int) -> Matrix:
    minimize = need("scipy.optimize", "refine", "Registrations").minimize
    found = minimize(
        cost,
        start,
        method="Powell",
        options={
            "maxiter": rounds,
            "xtol": 2.0,
            "ftol": 1e-5,
            "direc": np.eye(len(start)) * step,
        },
    )
    best: Matrix = found.x
    return best


def fit_whole(looks: Sequence[Look], forwards: Sequence[Matrix], labels: Labels3d) -> Matrix:
    """Return the affine map of the reference space that lays a data set best, shape (3, 4).

    ``p' = p + map @ [(p - centre) / 4000 µm, 1]`` for points p in µm. At each place the greys are
    those that fit best, so what is minimised is the difference within structures.

    Parameters
    ----------
    looks : sequence of Look
        All sections.
    forwards : sequence of numpy.ndarray, shape (3, 3)
        Where they lie.
    labels : Labels3d
        The atlas.
    """
    points = np.concatenate(
        [forward @ look.pixels for look, forward in zip(looks, forwards, strict=True)], axis=1
    )
    values = np.concatenate([look.values for look in looks])
    basis = np.vstack(((points - _CENTRE[:, None]) / _REACH, np.ones(points.shape[1])))

    def cost(numbers: Matrix) -> float:
        found = labels.at(points + numbers.reshape(3, 4) @ basis)
        counts = np.maximum(np.bincount(found, minlength=labels.count), 1)
        sums = np.bincount(found, values, minlength=labels.count)
        return -float((sums * sums / counts).sum()) / len(values)

    return _powell(cost, np.zeros(12), _WHOLE_STEP, 3).reshape(3, 4)


def moved_by(whole: Matrix, forward: Matrix) -> Matrix:
    """Return a map (3, 3) to the reference after an affine map of the whole, shape (3, 4)."""
    about = forward.copy()
    about[:, 2] -= _CENTRE
    out: Matrix = forward + whole[:, :3] @ about / _REACH
    out[:, 2] += whole[:, 3]
    return out


def direction_by(whole: Matrix, step: Matrix) -> Matrix:
    """Return a direction, shape (3,), after an affine map of the whole."""
    out: Matrix = step + whole[:, :3] @ step / _REACH
    return out


def fit_section(
    look: Look,
    forward: Matrix,
    greys: Matrix,
    labels: Labels3d,
    expected: Matrix,
    *,
    spread: float = 60.0,
    weight: float = 0.004,
) -> Matrix:
    """Return the nine numbers (see `Frame`) that lay a section best.

    Parameters
    ----------
    look : Look
        The section.
    forward : numpy.ndarray, shape (3, 3)
        Where it lies.
    greys : numpy.ndarray, shape (count,)
        What structures look like, learned from all sections.
    labels : Labels3d
        The atlas.
    expected : numpy.ndarray, shape (9,)
        The numbers that the sections around suggest, where the search begins.
    spread : float
        How far, in µm, numbers usually lie from the expected ones.
    weight : float
        What it costs to be one spread away, as a part of the difference at the start.
    """
    frame = Frame(look)
    points, basis = forward @ look.pixels, frame.basis(look.pixels)

    def difference(numbers: Matrix) -> float:
        left = residuals(look, points + numbers.reshape(3, 3) @ basis, greys, labels)
        return float(left @ left)

    begin = difference(np.zeros(9)) or 1.0

    def cost(numbers: Matrix) -> float:
        away = (numbers - expected) / spread
        return difference(numbers) / begin + weight * float(away @ away) / 2

    return _powell(cost, expected, _SECTION_STEP, 4)
