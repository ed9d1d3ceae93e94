"""A curved section's picture laid flat, so that all that follows may be affine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from atldld.place.curves import CurvedMap, Lookup
from atldld.place.deformation import Deformation
from atldld.place.placement import Placement
from atldld.place.tiers import tier_matrix, tier_to_image
from atldld.warp.resample import nearest, resample

__all__ = ["FlatFrame"]

_EVERY = 64  # along an image's edges, in pixels, points say how large its flat picture is


@dataclass(frozen=True, slots=True, eq=False)
class FlatFrame:
    """The pixels of a section's flat picture at a tier.

    It has room for all that the image shows, which a deformation may move beyond the image's
    edges. So its first pixel is not the image's.

    Attributes
    ----------
    placement : Placement
        Of a flat section whose image the flat picture is: without a deformation.
    size : tuple of 2 int
        Width and height in full-resolution pixels, whole ones of the tier.
    downsample : int
        The tier.
    lookup : Lookup
        From the flat picture's pixels of the tier to the image's.
    shown : numpy.ndarray, shape (size[1] >> d, size[0] >> d), bool
        Which pixels of the flat picture have their centres in the image.
    """

    placement: Placement
    size: tuple[int, int]
    downsample: int
    lookup: Lookup
    shown: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        placement: Placement,
        deformation: Deformation,
        size: tuple[int, int],
        downsample: int,
    ) -> FlatFrame:
        """Return the frame of a section's flat picture.

        Parameters
        ----------
        placement : Placement
            Of the section.
        deformation : Deformation
            The placement's.
        size : tuple of 2 int
            Width and height of the image, in full-resolution pixels.
        downsample : int
            The tier.
        """
        block = 1 << downsample
        low, high = (
            edge // block for edge in _bounds(deformation, (size[0] - 1, size[1] - 1), block)
        )
        columns, rows = (int(side) for side in high - low + 1)
        # whole pixels of the tier, whose corners lie half a pixel before the first one's centre
        shift = low * block
        flat_to_image = tier_to_image(downsample).matrix.copy()
        flat_to_image[:, 2] += shift
        way = CurvedMap.to_image(flat_to_image, deformation, tier_matrix(np.eye(2, 3), downsample))
        forward, backward = placement.forward.copy(), placement.backward.copy()
        forward[:, 2] += forward[:, :2] @ shift
        backward[:2, 3] -= shift
        whole = np.full((size[1] >> downsample, size[0] >> downsample), 255, dtype=np.uint8)
        lookup = way.over((rows, columns), whole.shape[::-1])
        shown = nearest(whole, lookup, (rows, columns)) > 0
        return cls(
            replace(placement, forward=forward, backward=backward, deformation=None),
            (columns * block, rows * block),
            downsample,
            lookup,
            shown,
        )

    def lay_out(self, picture: NDArray[np.uint8], background: Sequence[float]) -> NDArray[np.uint8]:
        """Return an image of the tier as it would be had the section stayed flat.

        Parameters
        ----------
        picture : numpy.ndarray, shape (height, width[, 3]), uint8
            The image at the tier.
        background : sequence of float
            What lies around it, one number for each channel.
        """
        return resample(picture, self.lookup, self.shown.shape, background)

    def pick(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the same of whole pixels: each has the value that one of the image has."""
        return nearest(picture, self.lookup, self.shown.shape)


def _bounds(
    deformation: Deformation, last: tuple[int, int], block: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the least and the greatest flat (x, y) of an image's edges, with a block around."""
    across, down = (np.linspace(-0.5, side + 0.5, side // _EVERY + 2) for side in last)
    edges = np.concatenate(
        [np.column_stack((across, np.full(len(across), y))) for y in (down[0], down[-1])]
        + [np.column_stack((np.full(len(down), x), down)) for x in (across[0], across[-1])]
    )
    flat = deformation.to_flat(edges)
    low, high = np.floor(flat.min(axis=0)) - block, np.ceil(flat.max(axis=0)) + block
    return low.astype(np.int64), high.astype(np.int64)
