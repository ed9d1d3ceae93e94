"""Sections and data sets as they lie in the brain: records with placements, and no way to pixels.

Everything that computes takes these. `atldld.api` adds the session that pixels come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atldld.errors import AlignmentMissingError, InvalidInputError, UnsupportedPlaneError
from atldld.place.anchoring import oddities
from atldld.place.placement import Placement, SectionGeometry
from atldld.place.registration import Refinement, Registration
from atldld.place.spaces import PLACED_SPACES, Plane
from atldld.records import SectionDataSet, SectionImage, SkippedImage
from atldld.support.arguments import check_id, several

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from atldld.place.alignment import Planes
    from atldld.place.anchoring import AlignmentFile
    from atldld.place.registration import ExpectedError

__all__ = ["PlacedDataSet", "PlacedSection"]


@dataclass(frozen=True, eq=False)
class PlacedSection:
    """One placed section of a data set.

    Attributes
    ----------
    image : SectionImage
        The service's record.
    placement : Placement
        Where the section lies.
    plane : Plane
        The plane of section of its data set.
    thickness : float
        How thick the section is, in µm.
    alignment : str or None
        Name of the file whose plane is used in place of the service's alignment, if one is.
    refinement : Refinement or None
        What a registration says of it: the steps that have moved it, and how far off it is
        expected to be.
    """

    image: SectionImage
    placement: Placement
    plane: Plane
    thickness: float
    alignment: str | None = None
    refinement: Refinement | None = None

    @property
    def id(self) -> int:
        """The id of the section image."""
        return self.image.id

    @property
    def number(self) -> int:
        """The section number."""
        return self.image.section_number

    def to_reference(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Map image pixels to the reference space; see `Placement.to_reference`.

        Parameters
        ----------
        xy : array-like, shape (..., 2)
            (x, y) in full-resolution pixels of the section's box, origin upper left.

        Returns
        -------
        numpy.ndarray, shape (..., 3), float64
            (p, i, r) in µm.
        """
        return self.placement.to_reference(xy)

    def to_image(self, pir: ArrayLike) -> NDArray[np.float64]:
        """Map reference coordinates to image pixels; see `Placement.to_image`.

        Parameters
        ----------
        pir : array-like, shape (..., 3)
            (p, i, r) in µm.

        Returns
        -------
        numpy.ndarray, shape (..., 2), float64
            (x, y) in full-resolution pixels of the section's box, origin upper left.
        """
        return self.placement.to_image(pir)

    @property
    def geometry(self) -> SectionGeometry:
        """Corners, centre, normal, tilt and depth of the section's plane."""
        return self.placement.geometry(self.image.width, self.image.height, self.plane)

    def describe_deformation(self) -> dict[str, Any] | None:
        """Say how the section is curved, if it is; see `Placement.describe_deformation`."""
        return self.placement.describe_deformation(self.image.width, self.image.height)

    @property
    def expected_error(self) -> ExpectedError | None:
        """How far off the section is expected to be, if a registration says so."""
        return None if self.refinement is None else self.refinement.expected_error

    def describe_registration(self) -> dict[str, Any]:
        """Say how the section is curved and how far off it is expected to be, if that is known.

        Returns
        -------
        dict
            ``deformation`` as of `describe_deformation`, and ``expected_error_um`` with ``before``,
            ``after``, ``bound90_before`` and ``bound90_after``; without what is not known.
        """
        out: dict[str, Any] = {}
        if (deformation := self.describe_deformation()) is not None:
            out["deformation"] = deformation
        if (expected := self.expected_error) is not None:
            out["expected_error_um"] = expected.of_section
        return out

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number}, image {self.id}>"


@dataclass(frozen=True, eq=False, repr=False)
class PlacedDataSet:
    """A section data set, and where its sections lie; `of` makes one.

    Attributes
    ----------
    record : SectionDataSet
        The service's records.
    plane : Plane
        The plane of section.
    sections : tuple of PlacedSection
        Those that can be placed, in the order of the record's images: by section number.
    skipped : tuple of SkippedImage
        Images that cannot be used, and why.
    alignment : AlignmentFile or None
        The file whose planes are used in place of the service's alignment, if one is.
    alignment_notes : tuple of str
        What is strange about that file's planes, such as sections that it shows mirrored.
    """

    record: SectionDataSet
    plane: Plane
    sections: tuple[PlacedSection, ...]
    skipped: tuple[SkippedImage, ...]
    alignment: AlignmentFile | None = None
    alignment_notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: SectionDataSet, alignment: Planes | None = None) -> PlacedDataSet:
        """Place the sections of a data set.

        Parameters
        ----------
        record : SectionDataSet
            The service's records.
        alignment : Alignment or Registration, optional
            Planes to be used in place of the service's alignment; sections that it does not anchor
            keep the service's.

        Raises
        ------
        AlignmentMissingError
            If the data set has no alignment3d or no section thickness.
        UnsupportedPlaneError
            If the plane of section or the reference space cannot be laid out.
        InvalidInputError
            If the alignment does not fit the data set; see `Alignment.placements`.
        """
        _check_laid_out(record)
        if alignment is None:
            return cls.with_placements(record)
        told = alignment.refinements if isinstance(alignment, Registration) else None
        return cls.with_placements(record, alignment.placements(record), alignment.file, told)

    @classmethod
    def with_placements(
        cls,
        record: SectionDataSet,
        given: Mapping[int, Placement] | None = None,
        alignment: AlignmentFile | None = None,
        refinements: Mapping[int, Refinement] | None = None,
    ) -> PlacedDataSet:
        """Place the sections of a data set, some of them by placements that are given.

        Parameters
        ----------
        record : SectionDataSet
            The service's records.
        given : mapping of int to Placement, optional
            By id of the section image; others keep the service's alignment.
        alignment : AlignmentFile, optional
            Where the given ones come from.
        refinements : mapping of int to Refinement, optional
            What a registration says of them, by id of the section image.

        Raises
        ------
        AlignmentMissingError, UnsupportedPlaneError
            As for `of`.
        """
        plane, thickness = _check_laid_out(record)
        given, told = given or {}, refinements or {}
        source = None if alignment is None else alignment.name
        notes = () if source is None else oddities(source, record, given)
        sections: list[PlacedSection] = []
        skipped = list(record.skipped)
        for image in record.images:
            if image.failed:
                reason = "the laboratory marked it as failed"
            elif image.alignment2d is None and image.id not in given:
                reason = "it has no alignment2d"
            else:
                placement = given.get(image.id) or Placement.of(record, image)
                if placement.crosses(plane):
                    name = source if image.id in given else None
                    sections.append(
                        PlacedSection(image, placement, plane, thickness, name, told.get(image.id))
                    )
                    continue
                reason = f"its alignment does not lie in the {plane.value} plane"
            skipped.append(SkippedImage(image.id, image.section_number, reason))
        return cls(record, plane, tuple(sections), tuple(skipped), alignment, notes)

    @property
    def id(self) -> int:
        """The id of the section data set."""
        return self.record.id

    @property
    def image_ids(self) -> frozenset[int]:
        """Ids of all its images, also of those that cannot be placed."""
        ids = {image.id for image in self.record.images}
        return frozenset(ids | {one.image_id for one in self.skipped if one.image_id is not None})

    @property
    def unplaced(self) -> tuple[SkippedImage, ...]:
        """Images whose records are sound but which cannot be placed."""
        return self.skipped[len(self.record.skipped) :]

    def __len__(self) -> int:
        return len(self.sections)

    def __iter__(self) -> Iterator[PlacedSection]:
        return iter(self.sections)

    def check_placed(self) -> None:
        """Check that at least one section is placed.

        Whatever goes through sections calls this first, as a loop over none would end well with
        nothing done.

        Raises
        ------
        AlignmentMissingError
            If no section is placed; the message counts the reasons.
        """
        if self.sections:
            return
        reasons = Counter(skipped.reason for skipped in self.skipped)
        listed = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        raise AlignmentMissingError(
            f"Section data set {self.id} has no section that can be placed in the reference space: "
            + (f"of its {len(self.skipped)} images, {listed}." if listed else "it has no images."),
            dataset_id=self.id,
            hint="An alignment file may place them; the images themselves can be had with "
            "`atldld download image`."
            if listed
            else None,
        )

    def section(self, image_id: int) -> PlacedSection:
        """Return the section of an image.

        Raises
        ------
        InvalidInputError
            If the data set has no such section.
        """
        image_id = check_id(image_id, "section image")
        for section in self.sections:
            if section.id == image_id:
                return section
        raise InvalidInputError(
            f"Section data set {self.id} has no placed section image {image_id}.",
            dataset_id=self.id,
            image_id=image_id,
        )

    def chosen(
        self, sections: PlacedSection | Iterable[PlacedSection] | None = None
    ) -> tuple[PlacedSection, ...]:
        """Return the sections that are asked for, or all.

        Parameters
        ----------
        sections : PlacedSection or iterable of PlacedSection, optional
            Only these; all by default.

        Raises
        ------
        AlignmentMissingError
            If all sections are asked for, and none is placed.
        InvalidInputError
            If something that is given is not a section.
        """
        if sections is None:
            self.check_placed()
            return self.sections
        found = tuple(several(sections))
        for section in found:
            if not isinstance(section, PlacedSection):
                raise InvalidInputError(
                    f"{section!r} is no section.",
                    dataset_id=self.id,
                    hint="Give sections of the data set; `section` finds one by its image's id.",
                )
        return found

    def __repr__(self) -> str:
        genes = ", ".join(gene.acronym or "?" for gene in self.record.genes) or "no gene"
        name = type(self).__name__
        return f"<{name} {self.id} ({genes}), {self.plane.value}, {len(self)} sections>"


def _check_laid_out(record: SectionDataSet) -> tuple[Plane, float]:
    """Return the plane and the section thickness of a data set that can be laid out."""
    plane = Plane.from_id(record.plane_of_section_id, dataset_id=record.id)
    _, thickness = record.check_alignment()
    space = record.reference_space_id
    if space not in PLACED_SPACES:
        raise UnsupportedPlaneError(
            "reference_space_id is "
            + ("missing" if space is None else str(space))
            + ", but pictures can be laid out only in the adult spaces 9 and 10 (P56).",
            dataset_id=record.id,
            hint="The images themselves can still be had with `atldld download image`.",
        )
    return plane, thickness
