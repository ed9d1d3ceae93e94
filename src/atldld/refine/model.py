"""What sections look like where the atlas says what is there: one grey for each structure.

A registration moves sections until what lies in one structure looks alike. The greys are not known
beforehand, since stains differ; they are learned from all sections of a data set at once, which is
what keeps a single section from being drawn to the nearest likeness. Nothing of the atlas's own
pictures is used, so a stain may be dark or bright where the template is the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.labels import compact_labels
from atldld.warp.background import background_of
from atldld.warp.stain import LUMINOSITY, darkness

if TYPE_CHECKING:
    from atldld.atlas.model import Atlas

__all__ = ["Labels3d", "Look", "Matrix", "learn", "look_at", "residuals"]

Matrix = NDArray[np.float64]

_FEW = 20  # pixels that weigh as much as what all tissue looks like
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
    """

    places: NDArray[np.unsignedinteger]
    count: int
    resolution: float

    @classmethod
    def of(cls, atlas: Atlas) -> Labels3d:
        """Return the annotation of an atlas."""
        ids, places = compact_labels(atlas.annotation)
        return cls(places, len(ids), atlas.resolution)

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
    values : numpy.ndarray, shape (N,), float64
        How much stain each pixel has: the square root of 0 to 255, as tissue differs more where it
        is pale.
    pixels : numpy.ndarray, shape (3, N), float64
        (x, y, 1) of the pixels' centres, in full-resolution pixels.
    held_back : numpy.ndarray, shape (N,), bool
        Pixels that are not registered with, but judged by: every other square millimetre.
    """

    values: Matrix
    pixels: Matrix
    held_back: NDArray[np.bool_]

    @property
    def fitted(self) -> Look:
        """The pixels that are registered with."""
        return self.only(~self.held_back)

    def only(self, chosen: NDArray[np.bool_]) -> Look:
        """Return some of the pixels."""
        return Look(self.values[chosen], self.pixels[:, chosen], self.held_back[chosen])

    def capped(self, most: float) -> Look:
        """Return it with values cut off: what is darker still is expression, ink or a fold."""
        return Look(np.minimum(self.values, most), self.pixels, self.held_back)


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
    small = cv2.resize(stain.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    step_x, step_y, x0, y0 = to_image
    across, down = width / columns, height / rows
    x = x0 + step_x * ((np.arange(columns) + 0.5) * across - 0.5)
    y = y0 + step_y * ((np.arange(rows) + 0.5) * down - 0.5)
    blocks = (
        np.floor(np.arange(columns) * across * micrometres / _BLOCK)
        + np.floor(np.arange(rows) * down * micrometres / _BLOCK)[:, None]
    )
    points = np.ones((3, rows * columns))
    points[0], points[1] = np.tile(x, rows), np.repeat(y, columns)
    return Look(np.sqrt(small.ravel()).astype(np.float64), points, (blocks % 2 == 1).ravel())


def learn(looks: list[Look], forwards: list[Matrix], labels: Labels3d) -> Matrix:
    """Return the grey of each structure over all sections, shape (count,).

    Structures of few pixels are drawn to what all tissue looks like.

    Parameters
    ----------
    looks : list of Look
        The sections.
    forwards : list of numpy.ndarray, shape (3, 3)
        Where they lie.
    labels : Labels3d
        The atlas.
    """
    counts, sums = np.zeros(labels.count), np.zeros(labels.count)
    for look, forward in zip(looks, forwards, strict=True):
        found = labels.at(forward @ look.pixels)
        counts += np.bincount(found, minlength=labels.count)
        sums += np.bincount(found, look.values, minlength=labels.count)
    tissue = sums[1:].sum() / max(counts[1:].sum(), 1)
    greys: Matrix = (sums + _FEW * tissue) / (counts + _FEW)
    greys[0] = sums[0] / max(counts[0], 1)
    return greys


def residuals(look: Look, points: Matrix, greys: Matrix, labels: Labels3d) -> Matrix:
    """Return how much a section differs from what it would look like at points, shape (N,).

    The section's own brightness and contrast are fitted first, so that an uneven series is no
    difference; a contrast the other way round is none.

    Parameters
    ----------
    look : Look
        The section.
    points : numpy.ndarray, shape (3, N)
        Where its pixels lie, in reference µm.
    greys : numpy.ndarray, shape (count,)
        What structures look like.
    labels : Labels3d
        The atlas.
    """
    expected = greys[labels.at(points)]
    expected = expected - expected.mean()
    values = look.values - look.values.mean()
    power = float(expected @ expected)
    contrast = max(float(expected @ values) / power, 0.0) if power > 0 else 0.0
    left: Matrix = values - contrast * expected
    return left
