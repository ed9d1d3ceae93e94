"""Three cuts through the brain, and where sections cross them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.align.overlay import Painter
from atldld.errors import AtldldError, OutputError
from atldld.place.spaces import AXES, BOX, Plane
from atldld.records import SectionImage

__all__ = ["NAMES", "Cuts"]

Matrix = NDArray[np.float64]

NAMES = {Plane.CORONAL: "coronal", Plane.TRANSVERSE: "horizontal", Plane.SAGITTAL: "sagittal"}
"""What people call the cuts."""

_COARSEST = 50.0  # µm: pixels of the pictures are about so large
_QUALITY = 85


class Cuts:
    """Pictures of an atlas cut along its axes, and the lines of sections in them.

    Parameters
    ----------
    painter : Painter
        Draws the atlas.
    """

    def __init__(self, painter: Painter) -> None:
        self._painter = painter
        self._lock = threading.Lock()
        side = painter.atlas.resolution
        self._stride = max(1, round(_COARSEST / side))
        p, i, r = painter.atlas.annotation.shape
        self._shape = self._size(p), self._size(i), self._size(r)
        self._brain: NDArray[np.uint8] | None = None

    @property
    def side(self) -> float:
        """Side of a picture's pixel, in µm."""
        return self._painter.atlas.resolution * self._stride

    def describe(
        self,
        forward: Matrix,
        image_id: int,
        sections: Mapping[int, tuple[SectionImage, Matrix]],
        plane: Plane,
    ) -> list[dict[str, Any]]:
        """Return the cuts through the middle of a section's picture.

        Parameters
        ----------
        forward : numpy.ndarray, shape (3, 3)
            The section's plane.
        image_id : int
            The section.
        sections : mapping of int to tuple
            All sections in the order of their numbers: the record, and the plane.
        plane : Plane
            Their plane of section.

        Returns
        -------
        list of dict
            ``name``, ``at_um``, ``axes`` (what grows to the right and downwards), ``axis`` and
            ``voxel`` (by which the picture is asked for), ``width``, ``height``,
            ``um_per_pixel``, and ``lines``, in pixels counted from the picture's corner.
        """
        image = sections[image_id][0]
        middle = forward @ [(image.width - 1) / 2, (image.height - 1) / 2, 1]
        order = list(sections)
        at = order.index(image_id)
        kinds = dict.fromkeys(order, "other")
        kinds[image_id] = "this"
        if at:
            kinds[order[at - 1]] = "before"
        if at + 1 < len(order):
            kinds[order[at + 1]] = "after"
        out = []
        for cut, name in NAMES.items():
            axis = cut.depth_axis
            down, across = cut.axes()
            count = self._painter.atlas.annotation.shape[axis]
            voxel = int(np.clip(middle[axis] // self._painter.atlas.resolution, 0, count - 1))
            height, width = (self._shape[one] for one in (down, across))
            lines = []
            for one, kind in kinds.items():
                shown, matrix = sections[one]
                if one == image_id:
                    matrix = forward
                points = (
                    _outline(matrix, shown)
                    if cut is plane
                    else _crossing(matrix, shown, axis, float(middle[axis]))
                )
                if len(points) and (cut is not plane or kind == "this"):
                    seen = points[:, [across, down]] / self.side
                    lines.append({"image_id": one, "kind": kind, "points": seen.round(2).tolist()})
            out.append(
                {
                    "name": name,
                    "at_um": float(np.clip(middle[axis], 0, BOX[axis])),
                    "axes": [AXES[across], AXES[down]],
                    "axis": axis,
                    "voxel": voxel,
                    "width": width,
                    "height": height,
                    "um_per_pixel": self.side,
                    "lines": lines,
                }
            )
        return out

    def picture(self, axis: int, voxel: int) -> bytes:
        """Return the picture of a cut, as a JPEG: the template, or colours without one.

        Parameters
        ----------
        axis : {0, 1, 2}
            Which reference axis it cuts across.
        voxel : int
            Where, in voxels of the annotation.
        """
        with self._lock:
            # once for all cuts, so others may as well wait for it
            if self._brain is None:
                self._brain = self._small()
            brain = self._brain
        return _drawn(brain, axis, min(voxel // self._stride, self._shape[axis] - 1))

    def _small(self) -> NDArray[np.uint8]:
        """Return the atlas as the cuts show it, shape (p, i, r, colours).

        A cut across the axis along which a volume lies in its file reads all of the file; what is
        read once is enough for all of them.
        """
        painter = self._painter
        try:
            template = painter.atlas.template
        except AtldldError:  # not in the cache, and offline
            template = None
        volume = painter.atlas.annotation if template is None else template
        out = np.empty((*self._shape, 3 if template is None else 1), dtype=np.uint8)
        # layers that lie together in memory
        turned = volume.flags.f_contiguous and not volume.flags.c_contiguous
        layers, target = (volume.T, np.swapaxes(out, 0, 2)) if turned else (volume, out)
        (rows, columns), count = target.shape[1:3], len(target)
        for k in range(count):
            low, high = (j * len(layers) // count for j in (k, k + 1))
            if template is None:
                nearest = np.ascontiguousarray(layers[low, :: self._stride, :: self._stride])
                target[k] = painter.colours(nearest)[:rows, :columns, :3]
            else:
                layer = layers[low : max(high, low + 1)].mean(axis=0, dtype=np.float32)
                size = columns, rows
                target[k, ..., 0] = painter.grey(
                    cv2.resize(layer, size, interpolation=cv2.INTER_AREA)
                )
        painter.let_go()
        return out

    def _size(self, count: int) -> int:
        return max(1, count // self._stride)


def _drawn(brain: NDArray[np.uint8], axis: int, place: int) -> bytes:
    cut = next(one for one in Plane if one.depth_axis == axis)
    down, across = cut.axes()
    pixels = np.take(brain, place, axis)
    if down > across:  # what is left has its axes in order
        pixels = np.swapaxes(pixels, 0, 1)
    done, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(pixels), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    if not done:
        raise OutputError("A picture cannot be encoded as JPEG.")
    return data.tobytes()


def _corners(image: SectionImage) -> Matrix:
    """Return (x, y, 1) of a picture's corners, in the order of its outline, shape (3, 4)."""
    right, bottom = image.width - 0.5, image.height - 0.5
    return np.array([[-0.5, right, right, -0.5], [-0.5, -0.5, bottom, bottom], [1, 1, 1, 1]])


def _outline(forward: Matrix, image: SectionImage) -> Matrix:
    corners: Matrix = (forward @ _corners(image)).T
    return np.concatenate((corners, corners[:1]))


def _crossing(forward: Matrix, image: SectionImage, axis: int, at: float) -> Matrix:
    """Return the two ends of the line where a section's picture crosses a cut, or none."""
    corners = (forward @ _corners(image)).T
    off = corners[:, axis] - at
    ends = []
    for one, other, a, b in zip(
        corners, np.roll(corners, -1, 0), off, np.roll(off, -1), strict=True
    ):
        if (a < 0) != (b < 0):
            ends.append(one + (other - one) * (a / (a - b)))
    return np.array(ends) if len(ends) == 2 else np.empty((0, 3), dtype=np.float64)
