"""The planes in which a section can be shown on the reference grid.

``oblique``
    Each output pixel shows the section at the point of its own plane that has the pixel's two
    in-plane coordinates. The third one is a linear function of them.
``parallel``
    All output pixels share one third coordinate, as in atldld 0.3; the section is looked up where
    the alignment projects that axis-parallel plane onto it.

Both maps from output pixel to image pixel are affine where the section is flat. Those of a curved
one lead to the flat image, and its deformation leads on; see `atldld.place.deformation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.errors import InvalidInputError
from atldld.place import Affine, Placement
from atldld.place.deformation import Deformation
from atldld.place.spaces import AXES, Grid

__all__ = ["Cut", "OutputPlane"]

Cut = Literal["oblique", "parallel"]
"""How the brain is cut for a picture: along the section, or along two of the reference axes."""
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class OutputPlane:
    """A picture's grid, and which point of the section each of its pixels shows.

    Attributes
    ----------
    kind : {"oblique", "parallel"}
        See the module.
    grid : Grid
        The pixels in the reference space.
    to_image : numpy.ndarray, shape (2, 3), float64
        ``[x, y] = to_image @ [column, row, 1]``: index of an output pixel (its centre) →
        full-resolution pixels of the flat image, which is the image itself without a deformation.
    depth : numpy.ndarray, shape (3,), float64
        The third reference coordinate in µm: ``depth @ [row coordinate, column coordinate, 1]``,
        with the coordinates in µm.
    deformation : Deformation or None
        The section's, which leads from the flat image to the image.
    """

    kind: Cut
    grid: Grid
    to_image: Matrix
    depth: Matrix
    deformation: Deformation | None = None

    @classmethod
    def oblique(cls, placement: Placement, grid: Grid) -> OutputPlane:
        """Return the section's own plane.

        The point of the section that has given in-plane coordinates is found by inverting the
        placement's way to the reference for those two coordinates. So the way there from the
        pixel that is shown ends exactly at the pixel's centre, which the stored six-digit way
        back would miss by some hundredths of a µm.

        Parameters
        ----------
        placement : Placement
            Of the section.
        grid : Grid
            The pixels in the reference space.
        """
        forward = placement.forward
        in_plane = np.eye(3)
        in_plane[:2] = forward[[grid.row_axis, grid.column_axis]]
        # [row µm, column µm, 1] -> [x, y, 1]
        from_coordinates = np.linalg.inv(in_plane)
        return cls(
            "oblique",
            grid,
            (from_coordinates @ _coordinates_of_pixel(grid))[:2],
            forward[grid.depth_axis] @ from_coordinates,
            placement.deformation,
        )

    @classmethod
    def parallel(cls, placement: Placement, grid: Grid, detection_xy: ArrayLike) -> OutputPlane:
        """Return the plane of constant third coordinate through one point of the section.

        Parameters
        ----------
        placement : Placement
            Of the section.
        grid : Grid
            The pixels in the reference space.
        detection_xy : array-like, shape (2,)
            The point, (x, y) in full-resolution pixels of the section's box.
        """
        depth = placement.to_reference(detection_xy)
        if depth.shape != (3,):
            raise InvalidInputError(
                f"detection_xy is {detection_xy!r}, but must be one point (x, y) in "
                "full-resolution pixels of the section."
            )
        return cls.at_depth(placement, grid, float(depth[grid.depth_axis]))

    @classmethod
    def at_depth(cls, placement: Placement, grid: Grid, depth: float) -> OutputPlane:
        """Return the plane of a given third coordinate.

        Parameters
        ----------
        placement : Placement
            Of the section.
        grid : Grid
            The pixels in the reference space.
        depth : float
            The third coordinate, in µm.
        """
        # [row µm, column µm, 1] -> [p, i, r, 1]
        spread = np.zeros((4, 3))
        spread[grid.row_axis, 0] = 1
        spread[grid.column_axis, 1] = 1
        spread[grid.depth_axis, 2] = depth
        spread[3, 2] = 1
        from_coordinates = placement.backward[:2] @ spread
        return cls(
            "parallel",
            grid,
            from_coordinates @ _coordinates_of_pixel(grid),
            np.array([0.0, 0.0, depth]),
            placement.deformation,
        )

    @property
    def pixel_to_image(self) -> Affine:
        """`to_image` as an affine map from "output pixel" (column, row) to the flat image."""
        flat = "image" if self.deformation is None else "flat image"
        return Affine(self.to_image, "output pixel", flat)

    def shown(self, pixels: ArrayLike) -> Matrix:
        """Return which image pixels output pixels show.

        Parameters
        ----------
        pixels : array-like, shape (..., 2)
            (column, row), fractions allowed.

        Returns
        -------
        numpy.ndarray, shape (..., 2), float64
            (x, y) in full-resolution pixels of the section's box.

        Raises
        ------
        InvalidInputError
            If the pixels have another shape, or coordinates that are not finite.
        """
        xy = self.pixel_to_image.apply(pixels)
        return xy if self.deformation is None else self.deformation.to_image(xy)

    @property
    def pixel_to_reference(self) -> Affine:
        """Where output pixels lie, as an affine map from "output pixel" (column, row)."""
        coordinates = _coordinates_of_pixel(self.grid)
        matrix = np.empty((3, 3))
        matrix[[self.grid.row_axis, self.grid.column_axis]] = coordinates[:2]
        matrix[self.grid.depth_axis] = self.depth @ coordinates
        return Affine(matrix, "output pixel", "reference")

    def depth_at(self, rows: ArrayLike, columns: ArrayLike) -> Matrix:
        """Return the third reference coordinate of output pixels, in µm.

        Parameters
        ----------
        rows, columns : array-like
            Indices of output pixels, of shapes that broadcast.
        """
        step = self.grid.resolution
        row_um = (np.asarray(rows, dtype=np.float64) + 0.5) * step
        column_um = (np.asarray(columns, dtype=np.float64) + 0.5) * step
        depth: Matrix = self.depth[0] * row_um + self.depth[1] * column_um + self.depth[2]
        return depth

    @property
    def central_depth(self) -> float:
        """The third reference coordinate in the middle of the picture, in µm."""
        rows, columns = self.grid.shape
        return float(self.depth_at((rows - 1) / 2, (columns - 1) / 2))

    def describe_depth(self) -> dict[str, object]:
        """Return the third coordinate as a linear function, in words and numbers."""
        rows, columns = self.grid.axis_names
        return {
            "axis": AXES[self.grid.depth_axis],
            rows: float(self.depth[0]),
            columns: float(self.depth[1]),
            "constant": float(self.depth[2]),
            "unit": "um",
        }


def _coordinates_of_pixel(grid: Grid) -> Matrix:
    """``[row µm, column µm, 1] = M @ [column, row, 1]``, for pixel centres."""
    step = grid.resolution
    return np.array([[0, step, step / 2], [step, 0, step / 2], [0, 0, 1]])
