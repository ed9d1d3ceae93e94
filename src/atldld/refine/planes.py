"""Moving the planes of all sections together, until each looks like what the atlas has there.

A section has nine numbers (`Frame`): how far the middle and the half sides of its picture move.
They are found by Gauss-Newton steps on pictures that are normalised locally, so that neither the
light nor a section's contrast counts, from coarse pixels to fine ones. What neighbours have in
common is part of the same equations: the numbers change little from one section to the next, since
one knife at one angle cut them in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.place.deformation import Deformation
from atldld.refine.model import Image, Labels3d, Look, Matrix, learn
from atldld.support.pipeline import outcomes

__all__ = ["Brightness", "Frame", "Prior", "fit_planes", "unsure_of"]

_LEVELS = ((200.0, 12), (100.0, 10), (50.0, 6))  # µm of a pixel, and Gauss-Newton steps
_WINDOW = 4.0  # pixels: standard deviation of the window in which pictures are normalised
_NOISE = 0.02  # of the variance, below which a window shows nothing
_OUTLIER = 2.0  # spreads from which a pixel counts less


class Frame:
    """The nine numbers of a section: how far its plane's middle and its half sides move, in µm.

    Parameters
    ----------
    look : Look
        The section; its picture's middle and sides are meant.
    """

    def __init__(self, look: Look) -> None:
        self.middle = np.array([(side[0] + side[-1]) / 2 for side in (look.x, look.y)])
        self.half = np.maximum([np.ptp(side) / 2 for side in (look.x, look.y)], 1.0)

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


@dataclass(frozen=True)
class Prior:
    """What is known of the nine numbers before a section is looked at.

    Attributes
    ----------
    spread : float
        How far, in µm, each number usually is from 0.
    change : float
        How much, in µm, it usually changes over 200 µm from one section to the next.
    correlated : float
        How many of the pixels of 50 µm tell as much as one that is independent.
    """

    spread: float = 150.0
    change: float = 40.0
    correlated: float = 40.0


class Brightness:
    """What the brain looks like in three dimensions, on voxels of growing size.

    Parameters
    ----------
    greys : numpy.ndarray, shape (count,)
        What structures look like.
    labels : Labels3d
        The atlas.
    sides : sequence of float
        About how large the voxels are, in µm.
    """

    def __init__(self, greys: Matrix, labels: Labels3d, sides: Sequence[float]) -> None:
        self.volumes: dict[float, tuple[Image, float]] = {}
        volume, side = _rendered(greys, labels, min(sides))
        for wanted in sorted(sides):
            while side * 1.5 < wanted:
                volume, side = _halved(volume), side * 2
            self.volumes[wanted] = (volume, side)

    def at(self, points: Matrix, wanted: float) -> tuple[Matrix, Matrix]:
        """Return the grey, shape (N,), and its slope per µm, shape (3, N), at points (3, N)."""
        from scipy import ndimage

        volume, side = self.volumes[wanted]
        places = points / side - 0.5

        def sampled(at: Matrix) -> Matrix:
            out: Matrix = ndimage.map_coordinates(
                volume, at, order=1, mode="nearest", output=np.float64
            )
            return out

        slopes = np.empty_like(points)
        for axis in range(3):
            step = np.zeros((3, 1))
            step[axis] = 1.0
            slopes[axis] = (sampled(places + step) - sampled(places - step)) / (2 * side)
        return sampled(places), slopes


def _rendered(greys: Matrix, labels: Labels3d, wanted: float) -> tuple[Image, float]:
    """Return the grey of each voxel, averaged over voxels of about the wanted side."""
    factor = max(round(wanted / labels.resolution), 1)
    greys = greys.astype(np.float32)
    places = labels.places
    whole = [size // factor * factor for size in places.shape]
    shape = tuple(size // factor for size in whole)
    out = np.empty(shape, dtype=np.float32)
    for k in range(shape[0]):
        slab = greys[places[k * factor : (k + 1) * factor, : whole[1], : whole[2]]]
        out[k] = slab.reshape(factor, shape[1], factor, shape[2], factor).mean(axis=(0, 2, 4))
    return out, labels.resolution * factor


def _halved(volume: Image) -> Image:
    whole = volume[tuple(slice(size // 2 * 2) for size in volume.shape)]
    p, i, r = (size // 2 for size in whole.shape)
    out: Image = whole.reshape(p, 2, i, 2, r, 2).mean(axis=(1, 3, 5))
    return out


@dataclass(frozen=True, eq=False)
class _View:
    """A section on pixels of one size."""

    seen: Image
    counted: NDArray[np.bool_]
    flat: Matrix
    basis: Matrix
    side: float


def fit_planes(
    looks: Sequence[Look],
    forwards: Sequence[Matrix],
    deformations: Sequence[Deformation | None],
    depths: Sequence[float],
    labels: Labels3d,
    *,
    prior: Prior | None = None,
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> list[Matrix]:
    """Return the maps of all sections, moved to where they look most like the atlas.

    Parameters
    ----------
    looks : sequence of Look
        The sections. What is held back of them is not used.
    forwards : sequence of numpy.ndarray, shape (3, 3)
        Where they lie.
    deformations : sequence of Deformation or None
        The ways to their flat images.
    depths : sequence of float
        How far along the series each section lies, in µm.
    labels : Labels3d
        The atlas.
    prior : Prior, optional
        What is known of the numbers.
    jobs : int
        Threads. The result does not depend on them.
    progress : callable, optional
        Called when a section has been done at one size of pixels.
    """
    prior = prior or Prior()
    frames = [Frame(look) for look in looks]
    numbers = np.zeros((len(looks), 9))
    sides = [side for side, _ in _LEVELS if side >= 0.9 * labels.resolution] or [labels.resolution]
    for side, steps in _LEVELS:
        if side not in sides:
            continue
        views = [
            _view(look.coarser(side), frame, deformation)
            for look, frame, deformation in zip(looks, frames, deformations, strict=True)
        ]
        moved = [
            frame.applied(forward, own)
            for frame, forward, own in zip(frames, forwards, numbers, strict=True)
        ]
        values = [view.seen[view.counted].astype(np.float64) for view in views]
        points = [
            at @ view.flat[:, view.counted.ravel()] for at, view in zip(moved, views, strict=True)
        ]
        brightness = Brightness(learn(values, points, labels), labels, [side])
        numbers = _level(
            views, forwards, numbers, depths, brightness, side, steps, prior, jobs, progress
        )
    return [
        frame.applied(forward, own)
        for frame, forward, own in zip(frames, forwards, numbers, strict=True)
    ]


def unsure_of(
    look: Look, forward: Matrix, deformation: Deformation | None, brightness: Brightness
) -> Matrix:
    """Return how little a section's pixels say of its plane, shape (rows · columns,), in µm.

    That is the standard deviation of where each pixel lies, as far as the nine numbers go and
    neighbours say nothing.

    Parameters
    ----------
    look : Look
        The section.
    forward : numpy.ndarray, shape (3, 3)
        Where it lies.
    deformation : Deformation or None
        The way to its flat image.
    brightness : Brightness
        What the brain looks like, on voxels of about the side of the look's pixels.
    """
    prior = Prior()
    view = _view(look, Frame(look), deformation)
    side = next(iter(brightness.volumes))
    matrix, _ = _equations(view, forward, np.zeros(9), brightness, side, prior.correlated)
    spread = np.linalg.inv(matrix + np.eye(9) / prior.spread**2).reshape(3, 3, 3, 3)
    total = np.einsum("iaib->ab", spread)
    out: Matrix = np.sqrt(np.einsum("an,ab,bn->n", view.basis, total, view.basis))
    return out


def _view(look: Look, frame: Frame, deformation: Deformation | None) -> _View:
    at = look.flat(deformation)
    return _View(look.values, look.fitted, at, frame.basis(at), look.side)


def _level(
    views: Sequence[_View],
    forwards: Sequence[Matrix],
    numbers: Matrix,
    depths: Sequence[float],
    brightness: Brightness,
    side: float,
    steps: int,
    prior: Prior,
    jobs: int,
    progress: Callable[[str], None] | None,
) -> Matrix:
    """Take Gauss-Newton steps of all sections together."""
    for step in range(steps):
        now = numbers

        def equations(k: int, _: None, now: Matrix = now) -> tuple[Matrix, Matrix]:
            return _equations(views[k], forwards[k], now[k], brightness, side, prior.correlated)

        found: list[tuple[Matrix, Matrix]] = []
        for _, result in outcomes(
            range(len(views)), lambda _: None, equations, fetchers=1, workers=jobs
        ):
            if isinstance(result, Exception):
                raise result
            found.append(result)
            if progress and step == steps - 1:
                progress("sections")
        change = _solved(found, now, depths, prior)
        # no further than the pixels show the way
        longest = np.abs(change).max(axis=1, keepdims=True)
        numbers = now + change * np.minimum(1.0, side / np.maximum(longest, 1e-9))
        if longest.max() < 0.02 * side:
            break
    return numbers


def _equations(
    view: _View,
    forward: Matrix,
    numbers: Matrix,
    brightness: Brightness,
    side: float,
    correlated: float,
) -> tuple[Matrix, Matrix]:
    """Return what a section says of its numbers: the matrix and the right side of its equations."""
    points = forward @ view.flat + numbers.reshape(3, 3) @ view.basis
    grey, slope = brightness.at(points, side)
    shape = view.seen.shape
    seen, _ = _normalised(view.seen)
    expected, spread = _normalised(grey.reshape(shape).astype(np.float32))
    left = (seen - expected).ravel()
    rows = (slope[:, None] * view.basis[None]).reshape(9, *shape).astype(np.float32)
    jacobian = np.stack([(row - _blurred(row)) / spread for row in rows]).reshape(9, -1)
    # how well the two agree there, which is little where one of the two shows nothing
    used = view.counted.ravel()
    left, jacobian = left[used].astype(np.float64), jacobian[:, used].astype(np.float64)
    scale = 1.4826 * float(np.median(np.abs(left))) + 0.1
    weight = 1 / (1 + (left / (_OUTLIER * scale)) ** 2)
    variance = float((weight * left * left).sum() / weight.sum())
    # pixels of twice the side tell four times as much each
    weight *= (view.side / 50.0) ** 2 / (max(variance, 1e-6) * correlated)
    weighted = jacobian * weight
    return weighted @ jacobian.T, weighted @ left


def _blurred(picture: Image) -> Image:
    out = cv2.GaussianBlur(picture, (0, 0), _WINDOW, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(out, dtype=np.float32)


def _normalised(picture: Image) -> tuple[Image, Image]:
    """Return a picture less its local mean by its local spread, and that spread."""
    high = picture - _blurred(picture)
    noise = np.float32(_NOISE * float(picture.var()) + 1e-6)
    spread = np.sqrt(_blurred(high * high) + noise)
    return high / spread, spread


def _solved(
    equations: Sequence[tuple[Matrix, Matrix]],
    numbers: Matrix,
    depths: Sequence[float],
    prior: Prior,
) -> Matrix:
    """Return how all numbers change, by the equations of the sections and the prior together."""
    count = len(numbers)
    # the matrix is symmetric, and nothing is farther from its diagonal than 17 places
    band = np.zeros((18, 9 * count))
    right = np.zeros((count, 9))
    for k, (matrix, vector) in enumerate(equations):
        own = matrix + np.eye(9) * (1 / prior.spread**2)
        for above in range(9):
            band[17 - above, 9 * k + above : 9 * k + 9] += np.diagonal(own, above)
        right[k] = vector - numbers[k] / prior.spread**2
    for k in range(count - 1):
        gap = max(abs(depths[k + 1] - depths[k]), 10.0)
        tie = 1 / (prior.change**2 * gap / 200.0)
        band[17, 9 * k : 9 * k + 18] += tie
        band[8, 9 * k + 9 : 9 * k + 18] -= tie
        apart = numbers[k + 1] - numbers[k]
        right[k] += tie * apart
        right[k + 1] -= tie * apart
    from scipy.linalg import solveh_banded

    out: Matrix = solveh_banded(band, right.ravel()).reshape(count, 9)
    return out
