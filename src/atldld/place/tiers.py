"""Tiers: which reduced copy of an image to read, and where its pixels lie.

The service keeps each image at several tiers: at `downsample` d, a pixel is the average of
2^d × 2^d pixels of the full-resolution image, and what is left over at the far edges is left off.
So tier pixel u has its centre at full-resolution coordinate 2^d · u + (2^d − 1)/2.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from atldld.place.affine import Affine
from atldld.place.curves import CurvedMap
from atldld.place.planes import OutputPlane
from atldld.place.spaces import Grid
from atldld.support.arguments import check_whole

if TYPE_CHECKING:
    from atldld.place.sections import PlacedSection

__all__ = [
    "choose_downsample",
    "shrink_source",
    "tier_by_size",
    "tier_matrix",
    "tier_of",
    "tier_to_image",
    "tier_way",
]

Matrix = NDArray[np.float64]

_SAME = np.eye(2, 3)


def choose_downsample(to_image: Matrix, highest: int) -> int:
    """Return the coarsest tier that is at least as fine as the output.

    Parameters
    ----------
    to_image : numpy.ndarray, shape (2, 3)
        Output pixel → full-resolution image pixel.
    highest : int
        The coarsest tier there is.

    Returns
    -------
    int
        The largest d ≤ `highest` whose pixels, of 2^d image pixels, are no larger than an output
        pixel is along its shortest direction in the image; 0 if even full resolution is coarser.
        Of a curved section the flat image counts: how a deformation stretches it here and there
        does not choose the tier.
    """
    finest = np.linalg.svd(to_image[:, :2], compute_uv=False)[-1]
    return int(np.clip(np.floor(np.log2(max(finest, 1.0)) + 1e-9), 0, highest))


def tier_matrix(to_image: Matrix, downsample: int) -> Matrix:
    """Turn a map to full-resolution pixels into one to the pixels of a tier.

    A tier's pixel u is the average of 2^d full-resolution pixels from 2^d·u on, so its centre is
    at 2^d·u + (2^d − 1)/2.

    Parameters
    ----------
    to_image : numpy.ndarray, shape (2, 3)
        Anything → full-resolution image pixel.
    downsample : int
        The tier, d.

    Returns
    -------
    numpy.ndarray, shape (2, 3)
        Anything → pixel of the tier.
    """
    return shrink_source(to_image, 1 << downsample)


@overload
def shrink_source(way: Matrix, factor: int) -> Matrix: ...
@overload
def shrink_source(way: CurvedMap, factor: int) -> CurvedMap: ...
def shrink_source(way: Matrix | CurvedMap, factor: int) -> Matrix | CurvedMap:
    """Turn a map to pixels into one to the averages of factor × factor pixels.

    Parameters
    ----------
    way : numpy.ndarray, shape (2, 3), or CurvedMap
        Anything → image pixel.
    factor : int
        Image pixels along each side of an average.

    Returns
    -------
    numpy.ndarray, shape (2, 3), or CurvedMap
        Anything → averaged pixel.
    """
    if isinstance(way, CurvedMap):
        return replace(way, after=shrink_source(way.after, factor))
    out = way.copy()
    out[:, 2] -= (factor - 1) / 2
    return out / factor


def tier_way(plane: OutputPlane, downsample: int) -> Matrix | CurvedMap:
    """Return which pixel of a tier each output pixel shows.

    Parameters
    ----------
    plane : OutputPlane
        The output's grid.
    downsample : int
        The tier, d.

    Returns
    -------
    numpy.ndarray, shape (2, 3), or CurvedMap
        Output pixel → pixel of the tier; a matrix where the section is flat.
    """
    if plane.deformation is None:
        return tier_matrix(plane.to_image, downsample)
    return CurvedMap.to_image(plane.to_image, plane.deformation, tier_matrix(_SAME, downsample))


def tier_to_image(downsample: int) -> Affine:
    """Return the map from the pixels of a tier to full-resolution pixels.

    A tier's pixel u is the mean of 2^d pixels from 2^d·u on, so its centre is at
    2^d·u + (2^d − 1)/2.
    """
    factor = 1 << check_whole(downsample, "downsample", most=62)
    shift = (factor - 1) / 2
    return Affine(np.array([[factor, 0, shift], [0, factor, shift]]), "tier pixel", "image")


def tier_of(section: PlacedSection, resolution: float) -> int:
    """Return the tier that shows a section in its own plane at a resolution.

    Parameters
    ----------
    section : PlacedSection
        The section.
    resolution : float
        Side of an output pixel, in µm.

    Raises
    ------
    InvalidInputError
        If the resolution is not valid.
    """
    plane = OutputPlane.oblique(section.placement, Grid(section.plane, resolution))
    return choose_downsample(plane.to_image, section.image.highest_downsample)


def tier_by_size(resolution: float, pixel: float, highest: int) -> int:
    """Return about the tier that `choose_downsample` does, where no alignment is known yet.

    The alignment stretches the brain by some per cent (2 to 22 % in three genuine data sets), which
    this does not know: where the two sizes are near, it may be one tier too coarse.

    Parameters
    ----------
    resolution : float
        Side of an output pixel, in µm.
    pixel : float
        Side of a full-resolution pixel of the image, in µm.
    highest : int
        The coarsest tier there is.
    """
    finer = max(resolution / pixel, 1.0)
    return min(math.floor(math.log2(finer) + 1e-9), highest)
