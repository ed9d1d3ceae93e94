"""One affine map of the brain that lays all sections of a data set best.

It minimises the difference between the sections and the grey of the structure that each of their
pixels lies in (`atldld.refine.model`), by Powell's method (SciPy's): the difference has steps at
voxels' borders, so it has no gradient worth following.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atldld.place.spaces import BOX
from atldld.refine.model import Labels3d, Matrix

__all__ = ["direction_by", "fit_whole", "moved_by"]

_CENTRE = np.array(BOX) / 2
_REACH = 4000.0  # µm: what the numbers of the affine map are measured at
_FIRST = 150.0  # µm: the first steps of the search
_ENOUGH = 200_000  # pixels of all sections together: twelve numbers need no more


def fit_whole(values: Sequence[Matrix], points: Sequence[Matrix], labels: Labels3d) -> Matrix:
    """Return the affine map of the reference space that lays a data set best, shape (3, 4).

    ``p' = p + map @ [(p - centre) / 4000 µm, 1]`` for points p in µm. At each place the greys are
    those that fit best, so what is minimised is the difference within structures.

    Parameters
    ----------
    values : sequence of numpy.ndarray, shape (N,)
        The pixels of each section.
    points : sequence of numpy.ndarray, shape (3, N)
        Where they lie, in reference µm.
    labels : Labels3d
        The atlas.
    """
    from scipy.optimize import minimize

    # a step that shares nothing with a picture's width, so that the pixels lie everywhere
    every = max(sum(map(len, values)) // _ENOUGH, 1) | 1
    at = np.concatenate([places[:, ::every] for places in points], axis=1)
    seen = np.concatenate([pixels[::every] for pixels in values])
    basis = np.vstack(((at - _CENTRE[:, None]) / _REACH, np.ones(at.shape[1])))

    def cost(numbers: Matrix) -> float:
        found = labels.at(at + numbers.reshape(3, 4) @ basis)
        counts = np.maximum(np.bincount(found, minlength=labels.count), 1)
        sums = np.bincount(found, seen, minlength=labels.count)
        return -float((sums * sums / counts).sum()) / len(seen)

    found = minimize(
        cost,
        np.zeros(12),
        method="Powell",
        options={"maxiter": 3, "xtol": 2.0, "ftol": 1e-5, "direc": np.eye(12) * _FIRST},
    )
    best: Matrix = found.x
    return best.reshape(3, 4)


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
