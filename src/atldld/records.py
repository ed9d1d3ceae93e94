"""The service's records as small frozen values.

Only the columns that the package works with are named here; everything that the service sent is
kept as it came in the cache. Unknown keys are ignored, and what may be missing is optional.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from atldld.errors import AlignmentMissingError, AnswerError
from atldld.support.fields import (
    CHANGED,
    IMAGES_STILL,
    UnusableFieldError,
    flag,
    number,
    object_in,
    quoted,
    text,
    whole,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
Matrix: TypeAlias = "NDArray[np.float64]"

# What numbers can be at all, far beyond any that is known: what is larger is no brain's.
LARGEST_ID = 10**15
LARGEST_SECTION = 20_000  # of 25 µm that is half a metre
LARGEST_SIDE = 1_000_000  # pixels
LARGEST_TIERS = 32
LARGEST_PIXEL = 1000.0  # µm
LARGEST_THICKNESS = 5000.0  # µm
LARGEST_SCALE = 1000.0  # of matrices
LARGEST_SHIFT = 1e7  # of matrices, in µm or pixels

AGREE_WITHIN = 5.0
"""Pixels, or µm, by which a stored matrix and the one for the way back may miss each other over
the whole section, or brain; six digits make 0.12 of known ones."""

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
        try:
            return None if not record else cls(*_both_ways(record, ("tsv", "tvs"), 2))
        except (UnusableFieldError, TypeError, AttributeError):
            return None

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
        try:
            return None if not record else cls(*_both_ways(record, ("tvr", "trv"), 3))
        except (UnusableFieldError, TypeError, AttributeError):
            return None

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


def _both_ways(
    record: Mapping[str, Any], names: tuple[str, str], size: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Read the numbers of both directions.

    Raises
    ------
    UnusableFieldError
        If one of them is missing, or no number that can be there.
    """

    def numbers(name: str) -> tuple[float, ...]:
        found = []
        for k in range(size * (size + 1)):
            most = LARGEST_SCALE if k < size * size else LARGEST_SHIFT
            value = number(record, f"{name}_{k:02d}", -most, most, needed=True)
            found.append(0.0 if value is None else value)  # it is needed, so it is never None
        return tuple(found)

    return numbers(names[0]), numbers(names[1])


def _contradiction(
    there: Sequence[float], back: Sequence[float], points: Sequence[Sequence[float]]
) -> float:
    """Return how far points come to lie from themselves, there and back."""
    # in plain Python: a few points, and records are read by commands that need no arrays
    return max(
        abs(came - known)
        for point in points
        for came, known in zip(_moved(back, _moved(there, point)), point, strict=True)
    )


def _moved(numbers: Sequence[float], point: Sequence[float]) -> list[float]:
    """Apply a matrix as records have it."""
    size = len(point)
    return [
        sum(numbers[size * row + k] * point[k] for k in range(size)) + numbers[size * size + row]
        for row in range(size)
    ]


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
    alignment_problem : str or None
        Why the one that came cannot be used.
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
    alignment_problem: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SectionImage:
        """Read a record as an RMA query returns it.

        A number may come as a text, an object as a list of one; ``x``, ``y`` and ``failed`` may be
        missing. A ``tier_count`` or ``resolution`` that can be none counts as unknown.

        Raises
        ------
        AnswerError
            If a column that is needed is missing or of the wrong type.
        """
        if not isinstance(record, Mapping):
            raise AnswerError(
                f"The service sent {quoted(record)} instead of a section image.", hint=CHANGED
            )
        with _usable(record, "SectionImage"):
            image = cls(
                id=_needed(record, "id", LARGEST_ID),
                data_set_id=whole(record, "data_set_id", 1, LARGEST_ID),
                section_number=_needed(record, "section_number", LARGEST_SECTION, least=0),
                width=_needed(record, "width", LARGEST_SIDE),
                height=_needed(record, "height", LARGEST_SIDE),
                x=whole(record, "x", -LARGEST_SIDE, LARGEST_SIDE) or 0,
                y=whole(record, "y", -LARGEST_SIDE, LARGEST_SIDE) or 0,
                tier_count=_known(whole, record, "tier_count", 1, LARGEST_TIERS),
                resolution=_known(number, record, "resolution", 1e-3, LARGEST_PIXEL),
                failed=flag(record, "failed") or False,
                expression_path=text(record, "expression_path"),
            )
        try:
            alignment, problem = _alignment2d_in(record, image), None
        except UnusableFieldError as error:
            alignment, problem = None, str(error)
        return msgspec.structs.replace(image, alignment2d=alignment, alignment_problem=problem)

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
            why = f": {self.alignment_problem}" if self.alignment_problem else ""
            usable = "usable " if why else ""
            raise AlignmentMissingError(
                f"Section image {self.id} has no {usable}alignment2d, so it cannot be placed in "
                f"the reference space{why}.",
                dataset_id=self.data_set_id,
                image_id=self.id,
                hint=CHANGED,
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
    alignment_problem : str or None
        Why the alignment3d or the section thickness that came cannot be used.
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
    alignment_problem: str | None = None

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
            raise AnswerError(
                f"The service sent {quoted(record)} instead of a section data set.", hint=CHANGED
            )
        with _usable(record, "SectionDataSet"):
            dataset = cls(
                id=_needed(record, "id", LARGEST_ID),
                plane_of_section_id=whole(record, "plane_of_section_id", 0, LARGEST_ID),
                reference_space_id=whole(record, "reference_space_id", 0, LARGEST_ID),
                failed=flag(record, "failed") or False,
                synthetic=flag(record, "synthetic") or False,
                genes=_genes_in(record),
                specimen_name=_name_in(record, "specimen"),
            )
        usable, skipped = _images_in(images)
        thickness = alignment = problem = None
        try:
            thickness = number(record, "section_thickness", 0.1, LARGEST_THICKNESS)
            alignment = _alignment3d_in(record)
        except UnusableFieldError as error:
            problem = str(error)
        return msgspec.structs.replace(
            dataset,
            section_thickness=thickness,
            alignment3d=alignment,
            alignment_problem=problem,
            images=usable,
            skipped=skipped,
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
            field = "section_thickness" if not usable else "alignment3d"
            why = f": {self.alignment_problem}" if self.alignment_problem else ""
            raise AlignmentMissingError(
                f"Section data set {self.id} has no usable {field}, so its sections cannot be "
                f"placed in the reference space{why}.",
                dataset_id=self.id,
                hint=f"{CHANGED} {IMAGES_STILL}",
            )
        return self.alignment3d, thickness


def _images_in(
    records: Sequence[Mapping[str, Any] | None],
) -> tuple[tuple[SectionImage, ...], tuple[SkippedImage, ...]]:
    """Return the images that can be used, by section number, and the others."""
    usable: dict[int, SectionImage] = {}
    skipped: list[SkippedImage] = []
    for entry in records:
        if entry is None:
            skipped.append(SkippedImage(None, None, "the service sent a null record"))
            continue
        try:
            image = SectionImage.from_record(entry)
        except AnswerError as error:
            image_id = entry.get("id") if isinstance(entry, Mapping) else None
            known = isinstance(image_id, int) and not isinstance(image_id, bool)
            skipped.append(SkippedImage(image_id if known else None, None, error.message))
            continue
        usable.setdefault(image.id, image)
    by_number = sorted(usable.values(), key=lambda image: image.section_number)
    return tuple(by_number), tuple(skipped)


def _alignment2d_in(record: Mapping[str, Any], image: SectionImage) -> Alignment2d | None:
    """Read an image's alignment, which must agree with itself."""
    included = object_in(record, "alignment2d")
    if included is None:
        return None
    alignment = Alignment2d(*_both_ways(included, ("tsv", "tvs"), 2))
    corners = [(0, 0), (image.width, 0), (0, image.height), (image.width, image.height)]
    off = _contradiction(alignment.tsv, alignment.tvs, corners)
    if not off <= AGREE_WITHIN:
        raise UnusableFieldError(
            "alignment2d",
            f"alignment2d contradicts itself: there and back by tsv_00 … tsv_05 and tvs_00 … "
            f"tvs_05, a pixel is off by {off:.4g}",
        )
    return alignment


def _alignment3d_in(record: Mapping[str, Any]) -> Alignment3d | None:
    """Read a data set's alignment, which must agree with itself."""
    included = object_in(record, "alignment3d")
    if included is None:
        return None
    alignment = Alignment3d(*_both_ways(included, ("tvr", "trv"), 3))
    corners = [(p, i, r) for p in (0, 13200) for i in (0, 8000) for r in (0, 11400)]
    off = _contradiction(alignment.trv, alignment.tvr, corners)
    if not off <= AGREE_WITHIN:
        raise UnusableFieldError(
            "alignment3d",
            "alignment3d contradicts itself: there and back by trv_00 … trv_11 and tvr_00 … "
            f"tvr_11, a point of the brain is off by {off:.4g} µm",
        )
    return alignment


def _genes_in(record: Mapping[str, Any]) -> tuple[Gene, ...]:
    """Read the genes; fields of theirs that cannot be used count as unknown."""
    listed = record.get("genes")
    if isinstance(listed, Mapping):  # an object stands for a list of one
        listed = [listed]
    if listed is None:
        listed = []
    if not isinstance(listed, (list, tuple)):
        raise UnusableFieldError("genes", f"genes is {quoted(listed)}, but must be a list")
    return tuple(
        Gene(
            acronym=_known(text, gene, "acronym"),
            name=_known(text, gene, "name"),
            id=_known(whole, gene, "id", 1, LARGEST_ID),
            entrez_id=_known(whole, gene, "entrez_id", 1, LARGEST_ID),
        )
        for gene in listed
        if isinstance(gene, Mapping) and gene
    )


def _name_in(record: Mapping[str, Any], included: str) -> str | None:
    """Return the name of what is included; `None` where there is none that can be read."""
    found = _known(object_in, record, included)
    return None if found is None else _known(text, found, "name")


def _needed(record: Mapping[str, Any], name: str, most: int, *, least: int = 1) -> int:
    found = whole(record, name, least, most, needed=True)
    assert found is not None
    return found


def _known(
    read: Callable[..., T], record: Mapping[str, Any], name: str, *limits: float
) -> T | None:
    """Read a field on which nothing rests: what cannot be used counts as unknown."""
    try:
        return read(record, name, *limits)
    except UnusableFieldError:
        return None


@contextmanager
def _usable(record: Mapping[str, Any], kind: str) -> Iterator[None]:
    """Say of which record a field cannot be used."""
    try:
        yield
    except UnusableFieldError as error:
        raise AnswerError(
            f"The service sent an unusable {kind} record (id {quoted(record.get('id'))}): {error}.",
            hint=CHANGED,
        ) from None
