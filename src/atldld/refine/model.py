"""What sections look like where the atlas says what is there: one grey for each structure.

A registration moves sections until what lies in one structure looks alike. The greys are not known
beforehand, since stains differ; they are learned from all sections of a data set at once, which is
what keeps a single section from being drawn to the nearest likeness. Nothing of the atlas's own
pictures is used, so a stain may be dark or bright where the template is the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.labels import compact_labels
from atldld.refine.usual import usual_greys
from atldld.warp.background import background_of
from atldld.warp.stain import LUMINOSITY, darkness

if TYPE_CHECKING:
    from atldld.atlas.model import Atlas
    from atldld.place.deformation import Deformation

__all__ = [
    "Image",
    "Labels3d",
    "Look",
    "Matrix",
    "capped",
    "expected_of",
    "learn",
    "local_correlation",
    "look_at",
    "residuals",
    "tissue_above",
    "weights_of",
]

Matrix = NDArray[np.float64]
Image = NDArray[np.float32]

_FEW = 0.05  # mm² that weigh as much as what is usual, of many sections together
_ALONE = 2.5  # mm²: the same of a single section
_MUCH = 1.0  # mm² from which on a structure says no more of what is usual
_LEAST_KNOWN = 20  # structures, below which nothing can be said of that
_CAPPED_AT = 99.5  # percentile of all values above which they are cut off
_NOISE = 0.02  # of the variance of a picture, below which a window shows nothing
_PALE = 3.0  # grey levels added before the root: without them it would magnify the slide's noise
_NEAR = 800.0  # µm from tissue: no section lies farther off than what is to be found
_MISSING = 0.02  # of the brain, from which on it is told which pixels count
_BLOCK = 1000.0  # µm: sides of the squares of which every other one is held back


@dataclass(frozen=True, eq=False)
class Labels3d:
    """An annotation made small: which of its structures each voxel is in.

    Attributes
    ----------
    places : numpy.ndarray, shape (P, I, R), unsigned integers
        Which row of the ids of `compact_labels`; 0 is the outside.
    count : int
        How many structures there are, the outside included.
    resolution : float
        Side of a voxel, in µm.
    ids : numpy.ndarray, shape (count,), int64
        The structures' ids; the first is 0.
    """

    places: NDArray[np.unsignedinteger]
    count: int
    resolution: float
    ids: NDArray[np.int64]

    @classmethod
    def of(cls, atlas: Atlas) -> Labels3d:
        """Return the annotation of an atlas."""
        ids, places = compact_labels(atlas.annotation)
        return cls(places, len(ids), atlas.resolution, ids)

    @cached_property
    def usual(self) -> Matrix:
        """How dark each structure usually is, shape (count,); NaN where that is not known."""
        return usual_greys(self.ids)

    def at(self, points: Matrix) -> NDArray[np.intp]:
        """Return the structure of points, shape (3, N) in reference µm → (N,); 0 outside."""
        steps = np.floor(points / self.resolution).astype(np.int32)
        limits = np.array(self.places.shape, dtype=np.int32)[:, None]
        inside = ((steps >= 0) & (steps < limits)).all(axis=0)
        found = np.zeros(points.shape[1], dtype=np.intp)
        p, i, r = steps[:, inside]
        found[inside] = self.places[p, i, r]
        return found


@dataclass(frozen=True, eq=False)
class Look:
    """One section, as coarsely as it is registered.

    Attributes
    ----------
    values : numpy.ndarray, shape (rows, columns), float32
        How much stain each pixel has: the mean of the square roots of 0 to 255 and a little more,
        as tissue differs more where it is pale; 0 is no stain.
    x, y : numpy.ndarray, shape (columns,) and (rows,)
        Where the pixels' centres are, in full-resolution pixels.
    side : float
        Side of a pixel in the brain, in µm.
    """

    values: Image
    x: Matrix
    y: Matrix
    side: float

    @cached_property
    def held_back(self) -> NDArray[np.bool_]:
        """Pixels that a step is not fitted to, but judged by: every other square millimetre."""
        rows, columns = self.values.shape
        down = np.floor((np.arange(rows) + 0.5) * self.side / _BLOCK)
        across = np.floor((np.arange(columns) + 0.5) * self.side / _BLOCK)
        out: NDArray[np.bool_] = (across + down[:, None]) % 2 == 1
        return out

    @cached_property
    def counted(self) -> NDArray[np.bool_]:
        """Pixels that say where the section lies: tissue and what is near it.

        Half a brain, or a lobe, may be missing; where there is no tissue far and wide, there is
        nothing to compare.
        """
        tissue: NDArray[np.uint8] = (self.values > tissue_above(self.values)).astype(np.uint8)
        core = np.ones((3, 3), np.uint8)  # without specks
        tissue = np.asarray(cv2.morphologyEx(tissue, cv2.MORPH_OPEN, core), dtype=np.uint8)
        if not tissue.any():
            return np.ones(self.values.shape, dtype=np.bool_)
        away = cv2.distanceTransform(1 - tissue, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        out: NDArray[np.bool_] = away * self.side <= _NEAR
        return out

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Pixels that a step is fitted to."""
        out: NDArray[np.bool_] = self.counted & ~self.held_back
        return out

    @property
    def judging(self) -> NDArray[np.bool_]:
        """Pixels that a step is judged by."""
        out: NDArray[np.bool_] = self.counted & self.held_back
        return out

    def flat(self, deformation: Deformation | None, shift: Image | None = None) -> Matrix:
        """Return (x, y, 1) of the pixels' centres in the flat image, shape (3, rows · columns).

        Parameters
        ----------
        deformation : Deformation or None
            The way to the flat image.
        shift : numpy.ndarray, shape (rows, columns, 2), float32, optional
            How far pixels move before that, in pixels.
        """
        xy = np.stack(np.meshgrid(self.x, self.y), axis=-1)
        if shift is not None:
            xy = xy + shift * self.steps
        xy = xy.reshape(-1, 2)
        if deformation is not None:
            xy = deformation.to_flat(xy)
        return np.vstack((xy.T, np.ones(len(xy))))

    @property
    def steps(self) -> tuple[float, float]:
        """Full-resolution pixels from one pixel to the next, along x and y."""
        x, y = (
            float(np.ptp(at)) / (len(at) - 1) if len(at) > 1 else 1.0 for at in (self.x, self.y)
        )
        return x, y

    def capped(self, most: float) -> Look:
        """Return it with values cut off: what is darker still is expression, ink or a fold."""
        return Look(np.minimum(self.values, np.float32(most)), self.x, self.y, self.side)

    def coarser(self, side: float) -> Look:
        """Return it with pixels of about another side, in µm; itself if that is not larger."""
        rows, columns = self.values.shape
        factor = side / self.side
        if factor < 1.2:
            return self
        rows, columns = max(round(rows / factor), 1), max(round(columns / factor), 1)
        values = cv2.resize(self.values, (columns, rows), interpolation=cv2.INTER_AREA)
        x, y = (_centres(old, count) for old, count in ((self.x, columns), (self.y, rows)))
        across = len(self.x) / columns
        return Look(np.asarray(values, np.float32), x, y, self.side * across)


def _centres(old: Matrix, count: int) -> Matrix:
    """Return where the centres of fewer pixels are that share out the same stretch."""
    places: Matrix = np.interp(
        (np.arange(count) + 0.5) * len(old) / count - 0.5, np.arange(len(old)), old
    )
    return places


def look_at(
    pixels: NDArray[np.uint8],
    to_image: tuple[float, float, float, float],
    micrometres: float,
    resolution: float,
) -> Look:
    """Return a section as it is registered.

    Parameters
    ----------
    pixels : numpy.ndarray, shape (height, width, 3) or (height, width), uint8
        RGB, on a bright slide or in a dark field; or grey, with the stain bright.
    to_image : tuple of 4 float
        (step x, step y, x, y): pixel (column, row) has its centre at full-resolution pixel
        (x + column · step x, y + row · step y).
    micrometres : float
        Side of one of these pixels in the brain, in µm.
    resolution : float
        How large the pixels are to be, in µm.
    """
    if pixels.ndim == 3:
        background = background_of(pixels)
        if float(np.dot(LUMINOSITY, background)) >= 128:
            stain = darkness(pixels, background)
        else:  # a dark field: what shines is the stain
            stain = cv2.transform(pixels, np.array([LUMINOSITY])).astype(np.uint8)
    else:
        stain = pixels
    height, width = stain.shape
    factor = max(resolution / micrometres, 1.0)
    columns, rows = max(round(width / factor), 1), max(round(height / factor), 1)
    # The root comes before the mean: of a mean it would make a pixel half of which is tissue more
    # than half as dark, so that tissue would seem to reach farther than it does.
    roots = np.sqrt(np.arange(256, dtype=np.float32) + _PALE) - np.sqrt(np.float32(_PALE))
    small = cv2.resize(roots[stain], (columns, rows), interpolation=cv2.INTER_AREA)
    step_x, step_y, x0, y0 = to_image
    x = x0 + step_x * ((np.arange(columns) + 0.5) * (width / columns) - 0.5)
    y = y0 + step_y * ((np.arange(rows) + 0.5) * (height / rows) - 0.5)
    side = micrometres * width / columns
    return Look(np.asarray(small, dtype=np.float32), x, y, side)


def learn(
    values: Sequence[Matrix | Image], points: Sequence[Matrix], labels: Labels3d, side: float
) -> Matrix:
    """Return the grey of each structure over all sections, shape (count,).

    Structures of few pixels are drawn to what they usually look like, as far as the data set goes
    along with that, and the more so the fewer sections there are: one section cannot tell what a
    thin layer looks like before it lies right.

    Parameters
    ----------
    values : sequence of numpy.ndarray, shape (N,)
        The pixels of each section.
    points : sequence of numpy.ndarray, shape (3, N)
        Where they lie, in reference µm.
    labels : Labels3d
        The atlas.
    side : float
        Side of a pixel, in µm.
    """
    pixel = (side / 1000) ** 2
    counts, sums = np.zeros(labels.count), np.zeros(labels.count)
    for seen, places in zip(values, points, strict=True):
        found = labels.at(places)
        counts += np.bincount(found, minlength=labels.count)
        sums += np.bincount(found, seen, minlength=labels.count)
    weight = max(_FEW, _ALONE / max(len(values), 1)) / pixel
    usual = _usual(counts, sums, labels.usual, _FEW / pixel, _MUCH / pixel)
    greys: Matrix = (sums + weight * usual) / (counts + weight)
    greys[0] = sums[0] / max(counts[0], 1)
    return greys


def _usual(counts: Matrix, sums: Matrix, usual: Matrix, few: float, much: float) -> Matrix:
    """Return what structures should look like by what is usual, shape (count,).

    Structures of a few pixels and less say nothing, and those of many no more than of much. It is
    the line through the structures' greys, by their usual ones, that fits best; where
    nothing is usual, or the line falls, it is what all tissue looks like.
    """
    tissue = sums[1:].sum() / max(counts[1:].sum(), 1)
    out = np.full(len(counts), tissue)
    known = np.isfinite(usual)
    known[0] = False
    fitted = known & (counts > few)
    if fitted.sum() < _LEAST_KNOWN:
        return out
    weights = np.minimum(counts[fitted], much)  # so that the largest ones do not decide alone
    own, means = usual[fitted], sums[fitted] / counts[fitted]
    middle, mean = np.average(own, weights=weights), np.average(means, weights=weights)
    spread = float((weights * (own - middle) ** 2).sum())
    shared = float((weights * (own - middle) * (means - mean)).sum())
    slope = max(shared / spread, 0.0) if spread > 0 else 0.0
    out[known] = mean + slope * (usual[known] - middle)
    return out


def tissue_above(values: Matrix | Image) -> float:
    """Return the value that parts tissue from the slide best (Otsu's)."""
    span = float(np.ptp(values))
    if span == 0:
        return float(values.flat[0]) if values.size else 0.0
    scaled = np.clip((values - values.min()) / span * 255, 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(scaled.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    # tissue is often much paler than its darkest layers: what is clearly above the slide counts
    return float(values.min() + span * level / 255 / 2)


def capped(looks: Sequence[Look]) -> list[Look]:
    """Return sections with the darkest pixels of all of them cut off; see `Look.capped`."""
    values = np.concatenate([look.values.ravel() for look in looks])
    most = float(np.percentile(values, _CAPPED_AT))
    return [look.capped(most) for look in looks]


def expected_of(look: Look, places: Matrix, greys: Matrix, labels: Labels3d) -> Image:
    """Return what a section should look like, shape (rows, columns), float32.

    Parameters
    ----------
    look : Look
        The section.
    places : numpy.ndarray, shape (3, rows · columns)
        Where its pixels lie, in reference µm.
    greys : numpy.ndarray, shape (count,)
        What structures look like.
    labels : Labels3d
        The atlas.
    """
    found: Image = greys[labels.at(places)].reshape(look.values.shape).astype(np.float32)
    return found


def weights_of(look: Look, expected: Image, greys: Matrix) -> Image | None:
    """Return what each pixel of a section counts, shape (rows, columns), float32.

    None, which is faster, if nearly all of the brain is there that is expected.

    Parameters
    ----------
    look : Look
        The section.
    expected : numpy.ndarray, shape (rows, columns), float32
        See `expected_of`.
    greys : numpy.ndarray, shape (count,)
        What structures look like.
    """
    brain = expected != np.float32(greys[0])
    missing = brain & ~look.counted
    if missing.sum() <= _MISSING * brain.sum():
        return None
    return look.counted.astype(np.float32)


def local_correlation(seen: Image, other: Image, window: float) -> Image:
    """Return Pearson's correlation of two pictures around each pixel, −1 to 1.

    Where one of them shows nothing, it is near 0.

    Parameters
    ----------
    seen, other : numpy.ndarray, shape (rows, columns), float32
        The pictures.
    window : float
        Standard deviation of the window around a pixel, in pixels.
    """

    def local(picture: Image) -> Image:
        out = cv2.GaussianBlur(picture, (0, 0), window, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(out, dtype=np.float32)

    pair = [np.asarray(picture - picture.mean(), dtype=np.float32) for picture in (seen, other)]
    means = [local(picture) for picture in pair]
    spreads = [
        np.maximum(local(picture * picture) - mean * mean, 0)
        + np.float32(_NOISE * float(picture.var()) + 1e-6)
        for picture, mean in zip(pair, means, strict=True)
    ]
    shared = local(pair[0] * pair[1]) - means[0] * means[1]
    out: Image = shared / np.sqrt(spreads[0] * spreads[1])
    return out


def residuals(values: Matrix, expected: Matrix) -> Matrix:
    """Return how much pixels differ from what is expected of them, shape (N,).

    The section's own brightness and contrast are fitted first, so that an uneven series is no
    difference; a contrast the other way round is none.

    Parameters
    ----------
    values : numpy.ndarray, shape (N,)
        Pixels of a section.
    expected : numpy.ndarray, shape (N,)
        The greys of the structures that they lie in.
    """
    expected = expected - expected.mean()
    values = values - values.mean()
    power = float(expected @ expected)
    contrast = max(float(expected @ values) / power, 0.0) if power > 0 else 0.0
    left: Matrix = values - contrast * expected
    return left
