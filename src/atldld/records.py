"""The service's records as small frozen values.

Only the columns that the package works with are named here; everything that the service sent is
kept as it came in the cache. Unknown keys are ignored, and what may be missing is optional.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from atldld.errors import AlignmentMissingError, AnswerError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
Matrix: TypeAlias = "NDArray[np.float64]"

__all__ = [
    "Alignment2d",
    "Alignment3d",
    "Gene",
    "SectionDataSet",
    "SectionImage",
    "SkippedImage",
]


class Alignment2d(msgspec.Struct, frozen=True):
    """The 2-D affine of a section image, both ways, as stored (six digits).

    Attributes
    ----------
    tsv : tuple of 6 float
        Image pixels → volume µm: ``[vx, vy] = [[t0, t1], [t2, t3]] @ [x, y] + [t4, t5]``.
    tvs : tuple of 6 float
        Volume µm → image pixels, in the same order.
    """

    tsv: tuple[float, ...]
    tvs: tuple[float, ...]

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | None) -> Alignment2d | None:
        """Read ``tsv_00`` … ``tvs_05``; `None` where any of them is no number."""
        tsv, tvs = _numbers(record, "tsv", 6), _numbers(record, "tvs", 6)
        return None if tsv is None or tvs is None else cls(tsv, tvs)

    @classmethod
    def of(cls, to_volume: Matrix, to_image: Matrix) -> Alignment2d:
        """Return the alignment that two matrices make, shape (2, 3) each."""
        return cls(_row_of(to_volume), _row_of(to_image))

    @property
    def to_volume(self) -> Matrix:
        """``tsv`` as a matrix, shape (2, 3): ``[vx, vy] = M @ [x, y, 1]``."""
        return _matrix(self.tsv, 2)

    @property
    def to_image(self) -> Matrix:
        """``tvs`` as a matrix, shape (2, 3): ``[x, y] = M @ [vx, vy, 1]``."""
        return _matrix(self.tvs, 2)


class Alignment3d(msgspec.Struct, frozen=True):
    """The 3-D affine of a section data set, both ways, as stored (six digits).

    Attributes
    ----------
    tvr : tuple of 12 float
        Volume µm → reference µm: nine numbers of the matrix row by row, then the translation.
    trv : tuple of 12 float
        Reference µm → volume µm, in the same order.
    """

    tvr: tuple[float, ...]
    trv: tuple[float, ...]

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | None) -> Alignment3d | None:
        """Read ``tvr_00`` … ``trv_11``; `None` where any of them is no number."""
        tvr, trv = _numbers(record, "tvr", 12), _numbers(record, "trv", 12)
        return None if tvr is None or trv is None else cls(tvr, trv)

    @classmethod
    def of(cls, to_reference: Matrix, to_volume: Matrix) -> Alignment3d:
        """Return the alignment that two matrices make, shape (3, 4) each."""
        return cls(_row_of(to_reference), _row_of(to_volume))

    @property
    def to_reference(self) -> Matrix:
        """``tvr`` as a matrix, shape (3, 4): ``[p, i, r] = M @ [vx, vy, s, 1]``."""
        return _matrix(self.tvr, 3)

    @property
    def to_volume(self) -> Matrix:
        """``trv`` as a matrix, shape (3, 4): ``[vx, vy, s] = M @ [p, i, r, 1]``."""
        return _matrix(self.trv, 3)


def _numbers(record: object, name: str, count: int) -> tuple[float, ...] | None:
    known = record if isinstance(record, Mapping) else {}
    try:
        values = tuple(float(known[f"{name}_{k:02d}"]) for k in range(count))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return values if all(map(math.isfinite, values)) else None


def _row_of(matrix: Matrix) -> tuple[float, ...]:
    """Return a matrix as records have it: its square part row by row, then the shift."""
    return (*matrix[:, :-1].ravel().tolist(), *matrix[:, -1].tolist())


def _matrix(numbers: tuple[float, ...], size: int) -> Matrix:
    import numpy as np  # records are read, searched and listed without it

    linear, shift = numbers[: size * size], numbers[size * size :]
    return np.column_stack((np.reshape(linear, (size, size)), shift))


class Gene(msgspec.Struct, frozen=True):
    """A gene that a data set shows."""

    acronym: str | None = None
    name: str | None = None
    id: int | None = None
    entrez_id: int | None = None


class SectionImage(msgspec.Struct, frozen=True, kw_only=True):
    """One section image.

    Attributes
    ----------
    id, data_set_id : int
        The service's ids.
    section_number : int
        The laboratory's cutting index; times the section thickness it is the section's depth.
    width, height : int
        Size of the section's own box at full resolution, in pixels.
    x, y : int
        Upper left corner of that box on the scanned slide, in full-resolution pixels.
    tier_count : int or None
        How many tiers the pyramid has: downsample 0 … tier_count − 1.
    resolution : float or None
        Side of a full-resolution pixel, in µm.
    failed : bool
        The laboratory's own verdict.
    expression_path : str or None
        Where the service keeps the expression mask; `None` where there is none.
    alignment2d : Alignment2d or None
        The section's part of the registration.
    """

    id: int
    section_number: int
    width: int
    height: int
    data_set_id: int | None = None
    x: int = 0
    y: int = 0
    tier_count: int | None = None
    resolution: float | None = None
    failed: bool = False
    expression_path: str | None = None
    alignment2d: Alignment2d | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SectionImage:
        """Read a record as an RMA query returns it.

        Raises
        ------
        AnswerError
            If a column that is needed is missing or of the wrong type.
        """
        if not isinstance(record, Mapping):
            raise AnswerError(f"The service sent {record!r:.60} instead of a section image.")
        columns = dict(record, alignment2d=None)
        for name in ("x", "y", "failed"):
            if columns.get(name) is None:
                columns.pop(name, None)
        image = _convert(columns, cls)
        if image.id < 1 or image.width < 1 or image.height < 1:
            raise AnswerError(
                f"The record of section image {image.id} has no usable size: "
                f"{image.width} × {image.height} pixels.",
                image_id=image.id,
            )
        alignment = Alignment2d.from_record(record.get("alignment2d"))
        return msgspec.structs.replace(image, alignment2d=alignment)

    @property
    def has_expression_mask(self) -> bool:
        """Whether the service keeps an expression mask of this section."""
        return self.expression_path is not None

    def check_alignment(self) -> Alignment2d:
        """Return the 2-D alignment, or raise if it is missing.

        Raises
        ------
        AlignmentMissingError
            If the image has no alignment2d.
        """
        if self.alignment2d is None:
            raise AlignmentMissingError(
                f"Section image {self.id} has no alignment2d, so it cannot be placed in the "
                "reference space.",
                dataset_id=self.data_set_id,
                image_id=self.id,
            )
        return self.alignment2d

    def size(self, downsample: int) -> tuple[int, int]:
        """Return (width, height) at a tier, in pixels: the floor of size / 2^downsample."""
        return self.width >> downsample, self.height >> downsample

    @property
    def highest_downsample(self) -> int:
        """The coarsest tier that the service keeps."""
        if self.tier_count is not None:
            return max(self.tier_count - 1, 0)
        # Tiers go down to where the longer side fits into 256 pixels.
        return max((max(self.width, self.height) - 1).bit_length() - 8, 0)


class SkippedImage(msgspec.Struct, frozen=True):
    """A section image that cannot be placed, and why."""

    image_id: int | None
    section_number: int | None
    reason: str


class SectionDataSet(msgspec.Struct, frozen=True, kw_only=True):
    """A section data set with its images.

    Attributes
    ----------
    id : int
        The service's id.
    plane_of_section_id, reference_space_id : int or None
        As the service numbers them.
    section_thickness : float or None
        In µm.
    failed : bool
        The laboratory's own verdict.
    genes : tuple of Gene
        What was stained for; empty for Nissl sets.
    specimen_name : str or None
        The animal.
    alignment3d : Alignment3d or None
        The data set's part of the registration.
    images : tuple of SectionImage
        All usable records, by section number.
    skipped : tuple of SkippedImage
        Records that are no usable section images.
    synthetic : bool
        Whether the pixels are made up: the demo archive's records say so, no others do.
    """

    id: int
    plane_of_section_id: int | None = None
    reference_space_id: int | None = None
    section_thickness: float | None = None
    failed: bool = False
    genes: tuple[Gene, ...] = ()
    specimen_name: str | None = None
    alignment3d: Alignment3d | None = None
    images: tuple[SectionImage, ...] = ()
    skipped: tuple[SkippedImage, ...] = ()
    synthetic: bool = False

    @classmethod
    def from_records(
        cls, record: Mapping[str, Any], images: Sequence[Mapping[str, Any] | None]
    ) -> SectionDataSet:
        """Read a data set's record and those of its images.

        Null entries, unusable records and repeated ids among the images are put into `skipped`;
        the rest is sorted by section number, since the service keeps no order.

        Raises
        ------
        AnswerError
            If the record of the data set itself is unusable.
        """
        if not isinstance(record, Mapping):
            raise AnswerError(f"The service sent {record!r:.60} instead of a section data set.")
        usable: dict[int, SectionImage] = {}
        skipped: list[SkippedImage] = []
        for entry in images:
            if entry is None:
                skipped.append(SkippedImage(None, None, "the service sent a null record"))
                continue
            try:
                image = SectionImage.from_record(entry)
            except AnswerError as error:
                image_id = entry.get("id") if isinstance(entry, Mapping) else None
                skipped.append(
                    SkippedImage(
                        image_id if isinstance(image_id, int) else None, None, error.message
                    )
                )
                continue
            usable.setdefault(image.id, image)
        specimen = record.get("specimen") or {}
        columns = {
            "id": record.get("id"),
            "plane_of_section_id": record.get("plane_of_section_id"),
            "reference_space_id": record.get("reference_space_id"),
            "section_thickness": record.get("section_thickness"),
            "failed": bool(record.get("failed")),
            "synthetic": bool(record.get("synthetic")),
            "genes": [gene for gene in _list(record.get("genes")) if gene],
            "specimen_name": specimen.get("name") if isinstance(specimen, Mapping) else None,
        }
        return msgspec.structs.replace(
            _convert(columns, cls),
            alignment3d=Alignment3d.from_record(record.get("alignment3d")),
            images=tuple(sorted(usable.values(), key=lambda image: image.section_number)),
            skipped=tuple(skipped),
        )

    def image(self, image_id: int) -> SectionImage:
        """Return the image of that id.

        Raises
        ------
        KeyError
            If the data set has no such image.
        """
        for image in self.images:
            if image.id == image_id:
                return image
        raise KeyError(image_id)

    def aligned_images(self) -> tuple[SectionImage, ...]:
        """Return the images that have a 2-D alignment, or raise if there are none.

        Raises
        ------
        AlignmentMissingError
            If no image has an alignment2d.
        """
        aligned = tuple(image for image in self.images if image.alignment2d is not None)
        if not aligned:
            raise AlignmentMissingError(
                f"No image of section data set {self.id} has an alignment2d, so none of its "
                f"{len(self.images)} can be placed in the reference space.",
                dataset_id=self.id,
            )
        return aligned

    def check_alignment(self) -> tuple[Alignment3d, float]:
        """Return the 3-D alignment and the section thickness in µm, or raise if one is missing.

        Raises
        ------
        AlignmentMissingError
            If ``alignment3d`` or ``section_thickness`` is missing.
        """
        thickness = self.section_thickness
        usable = thickness is not None and math.isfinite(thickness) and thickness > 0
        if self.alignment3d is None or thickness is None or not usable:
            field = "alignment3d" if self.alignment3d is None else "section_thickness"
            raise AlignmentMissingError(
                f"Section data set {self.id} has no usable {field}, so its sections cannot be "
                "placed in the reference space.",
                dataset_id=self.id,
                hint="The images themselves can still be had with `atldld download image`.",
            )
        return self.alignment3d, thickness


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _convert(columns: Mapping[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(columns, kind, strict=False)
    except (msgspec.ValidationError, OverflowError) as error:
        raise AnswerError(
            f"The service sent an unusable {kind.__name__} record "
            f"(id {columns.get('id')}): {error}."
        ) from None
