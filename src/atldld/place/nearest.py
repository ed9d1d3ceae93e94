"""Which pixel of a section lies nearest to a point of the brain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atldld.place.placement import Placement

__all__ = ["nearest_pixel"]

Matrix = NDArray[np.float64]


def nearest_pixel(placement: Placement, width: int, height: int, point: Matrix) -> Matrix:
    """Return the pixel of an image that lies nearest to a point.

    Parameters
    ----------
    placement : Placement
        Of the section.
    width, height : int
        Size of the image at full resolution, in pixels.
    point : numpy.ndarray, shape (3,), float64
        (p, i, r) in µm.

    Returns
    -------
    numpy.ndarray, shape (2,), float64
        (x, y) in full-resolution pixels; from the centre of the first pixel to that of the last.
        Of a curved section the nearest pixel of the flat image is bent, and kept within the image.
    """
    along = placement.forward[:, :2]
    to_point = point - placement.forward[:, 2]
    far = np.array([width - 1.0, height - 1.0])
    foot: Matrix = np.linalg.lstsq(along, to_point, rcond=None)[0].astype(np.float64)
    if (foot < 0).any() or (foot > far).any():
        # beyond the image: the nearest point of its rim, on which one coordinate is an end's
        rim = []
        for axis in (0, 1):
            across = along[:, 1 - axis]
            for end in (0.0, far[axis]):
                left = to_point - end * along[:, axis]
                other = np.clip(left @ across / (across @ across), 0, far[1 - axis])
                rim.append([end, other] if axis == 0 else [other, end])
        corners = np.array(rim)
        away = np.linalg.norm(corners @ along.T - to_point, axis=1)
        foot = corners[np.argmin(away)]
    if placement.deformation is None:
        return foot
    bent: Matrix = np.clip(placement.deformation.to_image(foot), 0, far)
    return bent
