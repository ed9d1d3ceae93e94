"""Displacement fields in physical units: what ITK, SimpleITK, ANTs and OME-Zarr readers apply.

Both sides of the field are planes in mm. A point q of the output plane has the coordinates
(column coordinate, row coordinate) of the reference space; output pixel k's centre is at
(k + ½) · resolution. A point of the section image has the coordinates (x, y) · pixel size, and its
full-resolution pixel (0, 0) has its centre at the origin. The field holds, for each output pixel,
the vector d(q) such that the section is seen at q + d(q).

This is ITK's and ANTs' convention: transforms map points of the fixed space (here, the reference)
to the moving one (the image), and vectors are in its physical (LPS) coordinates. An image of tier
d, with spacing 2^d · pixel size and origin (2^d − 1)/2 · pixel size, lies in the same space
whatever its tier, so one field serves all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.errors import InvalidInputError, RecordError
from atldld.support.provenance import version
from atldld.warp.displacement import DisplacementField

if TYPE_CHECKING:
    from atldld.place.planes import OutputPlane
    from atldld.place.sections import PlacedSection

__all__ = ["PhysicalField", "describe"]


@dataclass(frozen=True, eq=False)
class PhysicalField:
    """A displacement field from the output plane to the section image, both in mm.

    Attributes
    ----------
    vectors : numpy.ndarray, shape (rows, columns, 2), float64
        (x, y) of each displacement, in mm.
    spacing : float
        Side of an output pixel, in mm; the first one's centre is at half of it.
    pixel : float
        Side of the image's full-resolution pixel, in mm.
    provenance : dict
        What it is of; can be written as JSON.
    """

    vectors: NDArray[np.float64]
    spacing: float
    pixel: float
    provenance: dict[str, Any]

    @classmethod
    def of(
        cls,
        section: PlacedSection,
        plane: OutputPlane,
        *,
        field: DisplacementField | None = None,
        downsample: int = 0,
    ) -> PhysicalField:
        """Return the field of a section and an output plane.

        Parameters
        ----------
        section : PlacedSection
            The section; its image's resolution gives the pixel its size.
        plane : OutputPlane
            The output grid and its map to the image.
        field : DisplacementField, optional
            Another map than the plane's own, such as a refined one: displacements in pixels of
            the tier `downsample`. The plane's own is exact; one in pixels is float32.
        downsample : int
            The tier that `field` is for.

        Raises
        ------
        RecordError
            If the image's record does not give the size of its pixels.
        InvalidInputError
            If the field has another shape than the plane's grid.
        """
        image = section.image
        if not image.resolution or not np.isfinite(image.resolution) or image.resolution < 0:
            raise RecordError(
                f"The record of section image {image.id} tells no size of its pixels, so its field "
                "cannot be given in mm.",
                image_id=image.id,
                hint="Use .npy, which is in pixels.",
            )
        pixel = image.resolution / 1000
        spacing = plane.grid.resolution / 1000
        rows, columns = plane.grid.shape
        if field is None:
            shown = _shown(plane)
        else:
            if field.shape != (rows, columns):
                raise InvalidInputError(
                    f"The displacement field has {field.shape} pixels, but the plane's grid "
                    f"{(rows, columns)}."
                )
            # a tier's pixel u has its centre at 2^d·u + (2^d − 1)/2 of full resolution
            factor = 1 << downsample
            shown = np.stack((field.delta_x, field.delta_y), axis=-1).astype(np.float64)
            shown[..., 0] += np.arange(columns)
            shown[..., 1] += np.arange(rows)[:, None]
            shown = shown * factor + (factor - 1) / 2
        vectors = shown * pixel
        vectors[..., 0] -= (np.arange(columns) + 0.5) * spacing
        vectors[..., 1] -= ((np.arange(rows) + 0.5) * spacing)[:, None]
        return cls(vectors, spacing, pixel, describe(section, plane))


def describe(section: PlacedSection, plane: OutputPlane) -> dict[str, Any]:
    """Say, in words and numbers, what a field of a section is."""
    rows, columns = plane.grid.shape
    row_axis, column_axis = plane.grid.axis_names
    resolution = section.image.resolution
    return {
        "atldld_version": version(),
        "image_id": section.id,
        "dataset_id": section.image.data_set_id,
        "section_number": section.number,
        "alignment": section.alignment,
        "coordinates": section.coordinates,
        "plane_kind": plane.kind,
        "resolution_um": plane.grid.resolution,
        "rows": rows,
        "columns": columns,
        "axis_of_rows": row_axis,
        "axis_of_columns": column_axis,
        "third_coordinate": plane.describe_depth(),
        "image_from_output": plane.to_image.tolist(),
        **section.describe_registration(),
        "image_pixel_um": resolution,
        "from": f"({column_axis}, {row_axis}) of the reference space; pixel centre (k + 1/2) * "
        "resolution",
        "to": "(x, y) of the section image * pixel size; full-resolution pixel (0, 0) has its "
        "centre at 0, tier d has spacing 2^d and origin (2^d - 1)/2 pixels",
    }


def _shown(plane: OutputPlane) -> NDArray[np.float64]:
    """Return the image pixels (x, y) that all output pixels show, in float64."""
    shape = plane.grid.shape
    out = np.empty((*shape, 2))
    columns, rows = np.arange(shape[1]), np.arange(shape[0])[:, None]
    for k, (by_column, by_row, constant) in enumerate(plane.to_image):
        out[..., k] = by_column * columns + by_row * rows + constant
    if plane.deformation is not None:
        for row in out:  # a row at a time: no second array of the whole plane
            row[:] = plane.deformation.to_image(row)
    return out
