"""Where each section would fit the atlas best, beside where it lies.

In one data set a structure looks much the same on all sections. So the mean darkness of each
structure, over all sections as they lie, is a picture of what any section should look like at any
place of the atlas, whatever the stain. Each section is moved and turned in its plane, and across
it, to where it looks most like that. All are off by the same amount where the whole data set is;
what counts is how far a section is off beyond those beside it, and how much worse it would fit
where they say that it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.sample import on_reference
from atldld.quality.figures import around
from atldld.support.pipeline import workers_for

if TYPE_CHECKING:
    from atldld.quality.figures import Field, Mask, SectionView

__all__ = ["AtlasFigures", "in_atlas"]

_SIDE = 100.0  # µm: pixels that sections are fitted at
_SMOOTHED = 75.0  # µm
_STEP, _STEPS = 150.0, 6  # µm, and how many: depths on either side at which the atlas is cut
_FIRST = (0, -2, 2, -4, 4)  # of these, those that the search in the plane begins at
_ROUNDS = 2
_FEW = 20  # pixels that weigh as much as what all tissue looks like
_NEVER = 1e-6  # no less than this of a section is unexplained
_LEAST = 30  # pixels without which nothing can be compared
_BESIDE = 3  # sections on either side that say where one is expected
_CROSS = np.ones((3, 3), np.uint8)
_AROUND = np.ones((5, 5), np.uint8)

Matrix = NDArray[np.float64]
Picture = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class AtlasFigures:
    """How sections fit the atlas, in the order of depth; all of shape (N,), NaN if not known.

    Attributes
    ----------
    aside : numpy.ndarray
        How far, in µm (root mean square over the tissue), a section would have to be moved and
        turned in its plane to fit best, beyond what those beside it would.
    deep : numpy.ndarray
        The same across the plane.
    depth_gain : numpy.ndarray
        Logarithm of how much less of the section would be left unexplained at its own best depth
        than at that which those beside it suggest.
    hole : numpy.ndarray
        Part of the atlas's brain in which it has no tissue, where it fits best.
    """

    aside: Field
    deep: Field
    depth_gain: Field
    hole: Field


@dataclasses.dataclass(frozen=True, slots=True)
class _Move:
    """A move of the atlas against a section: pixels of `_SIDE`, radians, µm."""

    x: float
    y: float
    turn: float
    depth: float


class _Fitted:
    """A section and what the atlas expects at each depth, and where the two fit best."""

    def __init__(
        self,
        view: SectionView,
        here: NDArray[Any],
        ids: NDArray[Any],
        greys: Picture,
        labels: NDArray[Any],
    ) -> None:
        self._factor = max(round(_SIDE / view.plane.grid.resolution), 1)
        self.side = view.plane.grid.resolution * self._factor
        self._dark = self._small(self._smooth(view.darkness.astype(np.float32), view))
        self._inside = self._small(view.inside.astype(np.float32)) > 0.99
        self._tissue = self._small(view.tissue.astype(np.float32)) > 0.5
        rows, columns = np.nonzero(self._tissue)
        self._middle = np.array([columns.mean(), rows.mean()]) if len(rows) else np.zeros(2)
        self.radius = float(np.sqrt(rows.var() + columns.var())) if len(rows) else 0.0
        self._expected: list[Picture] = []
        self._brain: list[Mask] = []
        for step in range(-_STEPS, _STEPS + 1):
            found = _cut(view, labels, step * _STEP) if step else here
            self._expected.append(self._small(self._smooth(greys[_rows(ids, found)], view)))
            self._brain.append(self._small((found != 0).astype(np.float32)) > 0.5)
        self.best, self.likeness, self.hole = self._fit()

    def _smooth(self, picture: Picture, view: SectionView) -> Picture:
        sigma = _SMOOTHED / view.plane.grid.resolution
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.float32)

    def _small(self, picture: Picture) -> Picture:
        height, width = picture.shape
        size = (max(width // self._factor, 1), max(height // self._factor, 1))
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.float32)

    def _warp(self, move: _Move) -> Matrix:
        cos, sin = np.cos(move.turn), np.sin(move.turn)
        turn = np.array([[cos, -sin], [sin, cos]])
        shift = self._middle + np.array([move.x, move.y]) - turn @ self._middle
        return np.column_stack((turn, shift))

    def _moved(self, picture: NDArray[Any], warp: Matrix, flags: int) -> NDArray[Any]:
        size = picture.shape[::-1]
        border = cv2.BORDER_REPLICATE if flags == cv2.INTER_LINEAR else cv2.BORDER_CONSTANT
        return cv2.warpAffine(
            picture, warp, size, flags=flags | cv2.WARP_INVERSE_MAP, borderMode=border
        )

    def _masks(self, warp: Matrix) -> tuple[Mask, Mask]:
        inside, tissue = (
            self._moved(mask.astype(np.uint8), warp, cv2.INTER_NEAREST) > 0
            for mask in (self._inside, self._tissue)
        )
        return inside, tissue

    def _alike(self, warp: Matrix, steps: Sequence[int]) -> list[float]:
        """Return the correlation with the atlas at some depths, once the section is moved."""
        dark = self._moved(self._dark, warp, cv2.INTER_LINEAR)
        inside, tissue = self._masks(warp)
        out = []
        for step in steps:
            either = (tissue | self._brain[step]).view(np.uint8)
            seen = inside & (cv2.dilate(either, _AROUND) > 0)
            if seen.sum() < _LEAST:
                out.append(0.0)
                continue
            a, b = dark[seen] - dark[seen].mean(), self._expected[step][seen]
            b = b - b.mean()
            power = float(np.sqrt((a @ a) * (b @ b)))
            out.append(float(a @ b) / power if power > 0 else 0.0)
        return out

    def _aligned(self, warp: Matrix, step: int) -> Matrix | None:
        """Return the move in the plane that fits best at a depth, beginning at another."""
        try:
            _, found = cv2.findTransformECC(
                self._expected[step],
                self._dark,
                warp.astype(np.float32),
                cv2.MOTION_EUCLIDEAN,
                (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3),
                np.ones(self._dark.shape, np.uint8),
                1,
            )
        except cv2.error:  # it did not converge
            return None
        return np.asarray(found, dtype=np.float64)

    def _fit(self) -> tuple[_Move, float, float]:
        every = range(2 * _STEPS + 1)
        warp = self._warp(_Move(0, 0, 0, 0))
        likeness = self._alike(warp, [_STEPS])[0]
        for step in (_STEPS + first for first in _FIRST):
            tried = self._aligned(warp, step)
            if tried is not None and (alike := self._alike(tried, [step])[0]) > likeness:
                warp, likeness = tried, alike
        curve = self._alike(warp, every)
        for _ in range(_ROUNDS):
            step = int(np.argmax(curve))
            tried = self._aligned(warp, step)
            if tried is None or self._alike(tried, [step])[0] <= curve[step] + 1e-5:
                break
            warp, curve = tried, self._alike(tried, every)
        step = int(np.argmax(curve))
        depth = (step - _STEPS) * _STEP
        if 0 < step < 2 * _STEPS:  # the top of the parabola through three
            below, top, above = curve[step - 1 : step + 2]
            bend = below - 2 * top + above
            depth += _STEP * (below - above) / (2 * bend) if bend < 0 else 0.0
        inside, tissue = self._masks(warp)
        brain = self._brain[step]
        core = cv2.erode(brain.view(np.uint8), _CROSS) > 0
        empty = core & inside & ~(cv2.dilate(tissue.view(np.uint8), _CROSS) > 0)
        hole = float(empty.sum() / max(int((brain & inside).sum()), 1))
        turn = float(np.arctan2(warp[1, 0], warp[0, 0]))
        x, y = warp[:, :2] @ self._middle + warp[:, 2] - self._middle
        return _Move(float(x), float(y), turn, depth), curve[step], hole

    def gain(self, depth: float) -> float:
        """Return how much less is unexplained at the best depth than at another, as a logarithm."""
        place = np.clip(depth / _STEP + _STEPS, 0, 2 * _STEPS)
        low = int(min(place, 2 * _STEPS - 1))
        below, above = self._alike(self._warp(self.best), [low, low + 1])
        there = below + (place - low) * (above - below)
        return float(np.log(max(1 - there, _NEVER) / max(1 - self.likeness, _NEVER)))


def in_atlas(
    views: Sequence[SectionView], labels: NDArray[Any], jobs: int | None = None
) -> AtlasFigures:
    """Return how sections fit an annotation.

    Parameters
    ----------
    views : sequence of SectionView, length N
        In the order of depth.
    labels : numpy.ndarray, shape (P, I, R)
        The annotation.
    jobs : int, optional
        Threads; the number of cores by default.
    """
    with ThreadPoolExecutor(workers_for(jobs), thread_name_prefix="quality") as pool:
        found = list(pool.map(lambda view: _cut(view, labels, 0.0), views))
        ids = np.unique(np.concatenate([np.unique(one) for one in found])) if found else np.zeros(1)
        greys = _greys(views, found, ids)
        fitted = list(
            pool.map(lambda view, here: _Fitted(view, here, ids, greys, labels), views, found)
        )
    moves = np.array([dataclasses.astuple(one.best) for one in fitted]).reshape(-1, 4)
    # one that shows nothing says nothing of those beside it
    moves[[not view.tissue.any() for view in views]] = np.nan
    usual = np.column_stack([around(column, _BESIDE) for column in moves.T])
    rest = moves - usual
    sides = np.array([one.side for one in fitted])
    radii = np.array([one.radius for one in fitted])
    gains = [
        one.gain(depth) if np.isfinite(depth) else np.nan
        for one, depth in zip(fitted, usual[:, 3], strict=True)
    ]
    return AtlasFigures(
        aside=sides * np.sqrt(rest[:, 0] ** 2 + rest[:, 1] ** 2 + (radii * rest[:, 2]) ** 2),
        deep=np.abs(rest[:, 3]),
        depth_gain=np.array(gains),
        hole=np.array([one.hole for one in fitted]),
    )


def _cut(view: SectionView, labels: NDArray[Any], across: float) -> NDArray[Any]:
    """Return the annotation at a section, so many µm across its plane."""
    depth = view.plane.depth + np.array([0, 0, across])
    return on_reference(labels, dataclasses.replace(view.plane, depth=depth))


def _rows(ids: NDArray[Any], found: NDArray[Any]) -> NDArray[np.intp]:
    """Return which of the ids each pixel has; one more than the last where it has none of them."""
    flat = found.ravel()
    # neighbours mostly lie in one structure, so only the first of each run is looked up
    begins = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    firsts = flat[begins]
    rows = np.minimum(np.searchsorted(ids, firsts), len(ids) - 1)
    out = np.where(ids[rows] == firsts, rows, len(ids))
    return np.repeat(out, np.diff(begins, append=flat.size)).reshape(found.shape)


def _greys(
    views: Sequence[SectionView], found: Sequence[NDArray[Any]], ids: NDArray[Any]
) -> Picture:
    """Return the mean darkness of each structure, and of all tissue for those not seen."""
    counts, sums = np.zeros(len(ids) + 1), np.zeros(len(ids) + 1)
    for view, labels in zip(views, found, strict=True):
        rows = _rows(ids, labels)[view.inside]
        dark = cv2.GaussianBlur(view.darkness.astype(np.float32), (0, 0), 1)[view.inside]
        counts += np.bincount(rows, minlength=len(counts))
        sums += np.bincount(rows, dark, minlength=len(counts))
    outside = np.append(ids == 0, False)
    usual = sums[~outside].sum() / max(counts[~outside].sum(), 1)
    greys = (sums + _FEW * usual) / (counts + _FEW)
    greys[outside] = sums[outside] / np.maximum(counts[outside], 1)
    return np.asarray(greys, dtype=np.float32)
