"""The stored two-step alignment of a section, as one exact, vectorised map each way.

With image pixel (x, y), section number n and section thickness t in µm::

    [vx, vy]  = [[tsv_00, tsv_01], [tsv_02, tsv_03]] @ [x, y] + [tsv_04, tsv_05]
    s         = n · t
    [p, i, r] = R(tvr_00 … tvr_08) @ [vx, vy, s] + [tvr_09, tvr_10, tvr_11]

and back with ``trv`` and ``tvs``. This is what the service's ``image_to_reference`` and
``reference_to_image`` compute, with plain pixel coordinates: no half-pixel shift, no flip.

The stored matrices have six digits, so the way back is not the exact inverse of the way there;
each is used in its own direction, as the service does. Round trips of genuine sections close
within 0.12 µm and 0.06 px.

A refined section is bent as well: a `Deformation` then leads from its pixels to those of the flat
image, which is what the maps above begin at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.place.affine import FRAMES, Affine, apply_affine
from atldld.place.deformation import Deformation
from atldld.place.spaces import Plane, check_points
from atldld.records import Alignment2d, Alignment3d, SectionDataSet, SectionImage

__all__ = ["Placement", "SectionGeometry"]

Matrix = NDArray[np.float64]

IMAGE_FRAME = FRAMES["image"]
REFERENCE_FRAME = FRAMES["reference"]

# Below this (the volume of the box of the three unit vectors), a plane runs along the very
# direction in which sections follow one another, and no way back exists.
FLAT = 1e-3


@dataclass(frozen=True, slots=True)
class SectionGeometry:
    """How a section lies in the reference space.

    Attributes
    ----------
    corners : numpy.ndarray, shape (4, 3), float64
        Reference coordinates, in µm, of the image's corners (0, 0), (w, 0), (w, h), (0, h).
    centre : numpy.ndarray, shape (3,), float64
        Reference coordinates of the image's centre, in µm.
    normal : numpy.ndarray, shape (3,), float64
        Unit vector across the section, pointing along the growing reference axis.
    tilt : float
        Angle between the section and the plane it is named after, in degrees.
    depth_range : tuple of 2 float
        Smallest and largest coordinate, in µm, along the axis that the plane cuts across.
    """

    corners: Matrix
    centre: Matrix
    normal: Matrix
    tilt: float
    depth_range: tuple[float, float]

    @property
    def depth_swept(self) -> float:
        """How far, in µm, the section runs along the axis that its plane cuts across."""
        return self.depth_range[1] - self.depth_range[0]


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where one section lies in the reference space.

    Parameters
    ----------
    forward : array-like, shape (3, 3)
        ``[p, i, r] = forward @ [x, y, 1]``: pixels of the flat image → reference µm.
    backward : array-like, shape (3, 4)
        ``[x, y, n] = backward @ [p, i, r, 1]``: reference µm → pixels of the flat image and the
        (fractional) section number at which the point lies.
    deformation : Deformation, optional
        The way between the image and the flat image. Without one, they are the same.
    """

    forward: Matrix
    backward: Matrix
    deformation: Deformation | None = None

    @classmethod
    def from_alignments(
        cls,
        alignment2d: Alignment2d,
        alignment3d: Alignment3d,
        section_number: int,
        section_thickness: float,
    ) -> Placement:
        """Compose the two steps.

        Parameters
        ----------
        alignment2d, alignment3d : Alignment2d, Alignment3d
            As stored.
        section_number : int
            The section's number.
        section_thickness : float
            In µm.
        """
        to_volume = np.empty((3, 3))
        to_volume[:2] = alignment2d.to_volume
        to_volume[2] = 0, 0, section_number * section_thickness
        forward = alignment3d.to_reference[:, :3] @ to_volume
        forward[:, 2] += alignment3d.to_reference[:, 3]

        from_reference = alignment3d.to_volume
        backward = np.empty((3, 4))
        backward[:2] = alignment2d.to_image[:, :2] @ from_reference[:2]
        backward[:2, 3] += alignment2d.to_image[:, 2]
        backward[2] = from_reference[2] / section_thickness
        return cls(forward, backward)

    @classmethod
    def from_plane(
        cls, forward: ArrayLike, step: ArrayLike, section_number: int
    ) -> Placement | None:
        """Return the placement of a plane, or None if it runs along the way to the next section.

        On the plane itself the fractional section number is the section's own, and it grows by 1
        with each `step`.

        Parameters
        ----------
        forward : array-like, shape (3, 3)
            ``[p, i, r] = forward @ [x, y, 1]``: image pixels → reference µm.
        step : array-like, shape (3,)
            The way from one section number to the next, in reference µm.
        section_number : int
            The section's number.
        """
        forward = np.asarray(forward, dtype=np.float64)
        spanned = np.column_stack((forward[:, :2], step))
        if abs(np.linalg.det(spanned / np.linalg.norm(spanned, axis=0))) < FLAT:
            return None
        backward = np.empty((3, 4))
        backward[:, :3] = np.linalg.inv(spanned)
        backward[:, 3] = -backward[:, :3] @ forward[:, 2]
        backward[2, 3] += section_number
        return cls(forward, backward)

    @classmethod
    def of(cls, dataset: SectionDataSet, image: SectionImage) -> Placement:
        """Return the placement of one image of a data set.

        Raises
        ------
        AlignmentMissingError
            If the data set or the image has no alignment.
        """
        alignment3d, thickness = dataset.check_alignment()
        return cls.from_alignments(
            image.check_alignment(), alignment3d, image.section_number, thickness
        )

    @classmethod
    def from_records(
        cls, section_data_set: Mapping[str, Any], section_image: Mapping[str, Any]
    ) -> Placement:
        """Return the placement for two records as the service sends them."""
        dataset = SectionDataSet.from_records(section_data_set, [])
        return cls.of(dataset, SectionImage.from_record(section_image))

    def crosses(self, plane: Plane) -> bool:
        """Whether the section can be laid out in a plane at all.

        A section at right angles to the plane, or whose matrices collapse it, has no picture
        there.
        """
        in_plane = np.delete(self.forward[:, :2], plane.depth_axis, axis=0)
        scale = np.linalg.norm(self.forward[:, :2])
        return bool(abs(np.linalg.det(in_plane)) > 1e-6 * scale**2)

    @property
    def image_to_reference(self) -> Affine:
        """The map from the flat image to the reference space, 2 → 3 coordinates."""
        return Affine(self.forward, self._flat, "reference")

    @property
    def reference_to_image(self) -> Affine:
        """The map from the reference space to the flat image; drops the distance, 3 → 2."""
        return Affine(self.backward[:2], "reference", self._flat)

    @property
    def _flat(self) -> str:
        """The name of the frame that the plane is of."""
        return "image" if self.deformation is None else "flat image"

    def to_reference(self, xy: ArrayLike) -> Matrix:
        """Map image pixels to the reference space.

        Parameters
        ----------
        xy : array-like, shape (..., 2)
            (x, y) in full-resolution pixels of the section's own box, origin upper left, whatever
            tier is shown. Pixel (0, 0) has its centre at (0, 0).

        Returns
        -------
        numpy.ndarray, shape (..., 3), float64
            (p, i, r) in µm.

        Raises
        ------
        InvalidInputError
            If the pixels have another shape, or coordinates that are not finite.
        """
        xy = check_points(xy, 2, IMAGE_FRAME)
        if self.deformation is not None:
            xy = self.deformation.to_flat(xy)
        return apply_affine(self.forward, xy)

    def to_image(self, pir: ArrayLike) -> Matrix:
        """Map reference coordinates to image pixels, dropping the distance to the section.

        Parameters
        ----------
        pir : array-like, shape (..., 3)
            (p, i, r) in µm.

        Returns
        -------
        numpy.ndarray, shape (..., 2), float64
            (x, y) in full-resolution pixels of the section's own box, origin upper left.

        Raises
        ------
        InvalidInputError
            If the points have another shape, or coordinates that are not finite.
        """
        xy = self._back(pir, slice(0, 2))
        return xy if self.deformation is None else self.deformation.to_image(xy)

    def section_numbers(self, pir: ArrayLike) -> Matrix:
        """Return the fractional section number at which reference points lie.

        Parameters
        ----------
        pir : array-like, shape (..., 3)
            (p, i, r) in µm.

        Returns
        -------
        numpy.ndarray, shape (...), float64
            Depth in the volume divided by the section thickness. It is the same for every
            section of a data set.
        """
        return self._back(pir, slice(2, 3))[..., 0]

    def _back(self, pir: ArrayLike, rows: slice) -> Matrix:
        return apply_affine(self.backward[rows], check_points(pir, 3, REFERENCE_FRAME))

    def describe_deformation(self, width: int, height: int) -> dict[str, Any] | None:
        """Say in plain values how the image is bent, for what is written of it.

        Parameters
        ----------
        width, height : int
            Size of the image at full resolution, in pixels.

        Returns
        -------
        dict or None
            ``greatest_displacement_um``, the farthest that any pixel of a grid of 65 × 65 over the
            image is moved in its plane; ``jacobian``, the least and the greatest local change of
            area on the way to the flat image, where the deformation knows it; and ``about``, in
            words.
            None for a flat section.
        """
        if self.deformation is None:
            return None
        at = np.stack(
            np.meshgrid(np.linspace(0, width - 1, 65), np.linspace(0, height - 1, 65)), axis=-1
        )
        moved = (self.deformation.to_flat(at) - at) @ self.forward[:, :2].T
        described: dict[str, Any] = {
            "greatest_displacement_um": float(np.linalg.norm(moved, axis=-1).max())
        }
        # splines and triangles know it; others need not
        if (jacobian := getattr(self.deformation, "jacobian", None)) is not None:
            described["jacobian"] = list(jacobian)
        described["about"] = (
            "the section is curved: matrices from or to its image are those of the flat image, "
            "which the image's pixels are led to by a deformation that is not in this file"
        )
        return described

    def geometry(self, width: float, height: float, plane: Plane) -> SectionGeometry:
        """Describe how the section lies in the reference space: its plane.

        Corners and centre are those of the flat image; a deformation moves nothing out of the
        plane.

        Parameters
        ----------
        width, height : float
            Size of the image at full resolution, in pixels.
        plane : Plane
            The plane of section that the tilt and the depth are counted from.
        """
        flat = self.image_to_reference
        corners = flat.apply([(0, 0), (width, 0), (width, height), (0, height)])
        normal = np.cross(self.forward[:, 0], self.forward[:, 1])
        normal /= np.linalg.norm(normal)
        axis = plane.depth_axis
        if normal[axis] < 0:
            normal = -normal
        depths = corners[:, axis]
        return SectionGeometry(
            corners=corners,
            centre=flat.apply([width / 2, height / 2]),
            normal=normal,
            # the arctangent keeps its digits near 0, where the arccosine loses half of them
            tilt=float(
                np.degrees(np.arctan2(np.linalg.norm(np.delete(normal, axis)), normal[axis]))
            ),
            depth_range=(float(depths.min()), float(depths.max())),
        )
