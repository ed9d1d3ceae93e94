"""Sections and data sets as they lie in the brain: records with placements, and no way to pixels.

Everything that computes takes these. `atldld.api` adds the session that pixels come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atldld.errors import AlignmentMissingError, InvalidInputError, UnsupportedPlaneError
from atldld.place.coordinates import SERVICE, all_coordinates
from atldld.place.nearest import nearest_pixel
from atldld.place.placement import Placement, SectionGeometry
from atldld.place.spaces import PLACED_SPACES, Plane, check_points
from atldld.records import SectionDataSet, SectionImage, SkippedImage
from atldld.support.arguments import check_id, check_whole, several
from atldld.support.fields import CHANGED, IMAGES_STILL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from atldld.place.alignment import Planes
    from atldld.place.anchoring import AlignmentFile
    from atldld.place.refinement import ExpectedError, Refinement

__all__ = ["LEFT_OUT", "PlacedDataSet", "PlacedSection", "Spot", "spot_on"]

LEFT_OUT = "it was left out by hand"
"""Why a section is not placed that people have marked as not to be used."""


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
    file : AlignmentFile or None
        The file whose plane is used in place of the service's alignment, if one is.
    refinement : Refinement or None
        What a registration says of it: the steps that have moved it, and how far off it is
        expected to be.
    synthetic : bool
        Whether its pixels are made up: those of the demo are.
    """

    image: SectionImage
    placement: Placement
    plane: Plane
    thickness: float
    file: AlignmentFile | None = None
    refinement: Refinement | None = None
    synthetic: bool = False

    @property
    def id(self) -> int:
        """The id of the section image."""
        return self.image.id

    @property
    def number(self) -> int:
        """The section number."""
        return self.image.section_number

    @property
    def alignment(self) -> str | None:
        """Name of the file whose plane is used in place of the service's alignment, if one is."""
        return None if self.file is None else self.file.name

    @property
    def coordinates(self) -> str:
        """Whose coordinates it lies in, in the words of `atldld.place.coordinates`.

        A section that a registration has not moved lies where it lay.
        """
        if self.file is None:
            return SERVICE
        return self.file.coordinates_of(moved=self.refinement is None or bool(self.refinement.kept))

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


@dataclass(frozen=True, slots=True, eq=False)
class Spot:
    """A pixel of a section that lies nearest to a point of the brain.

    Attributes
    ----------
    section : PlacedSection
        Which section.
    xy : tuple of 2 float
        (x, y) in full-resolution pixels of the section's box, origin upper left; always within
        the image.
    pir : tuple of 3 float
        Where that pixel lies: (p, i, r) in µm.
    distance : float
        How far, in µm, that is from the point that was asked for.
    """

    section: PlacedSection
    xy: tuple[float, float]
    pir: tuple[float, float, float]
    distance: float

    def __repr__(self) -> str:
        x, y = self.xy
        return (
            f"<Spot: section {self.section.number}, image {self.section.id}, pixel "
            f"({x:.0f}, {y:.0f}), {self.distance:.0f} µm from the point>"
        )


def spot_on(section: PlacedSection, point: NDArray[np.float64]) -> Spot:
    """Return the pixel of a section that lies nearest to a point, and how far that is.

    Parameters
    ----------
    section : PlacedSection
        The section.
    point : numpy.ndarray, shape (3,), float64
        (p, i, r) in µm.
    """
    image = section.image
    xy = nearest_pixel(section.placement, image.width, image.height, point)
    there = section.to_reference(xy)
    x, y = xy.tolist()
    p, i, r = there.tolist()
    away = there - point
    return Spot(section, (x, y), (p, i, r), float((away @ away) ** 0.5))


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
    set_aside : mapping of int to Placement
        By image id, where those sections lie that people have marked as not to be used.
    """

    record: SectionDataSet
    plane: Plane
    sections: tuple[PlacedSection, ...]
    skipped: tuple[SkippedImage, ...]
    alignment: AlignmentFile | None = None
    alignment_notes: tuple[str, ...] = ()
    set_aside: Mapping[int, Placement] = field(default_factory=dict)

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
        from atldld.place.registration import Registration

        if isinstance(alignment, Registration):
            file, told = alignment.source, alignment.refinements
            left_out = alignment.left_out
        else:
            file, told, left_out = alignment.file, {}, frozenset()
        placements = alignment.placements(record)
        return cls.with_placements(record, placements, file, told, left_out)

    @classmethod
    def with_placements(
        cls,
        record: SectionDataSet,
        given: Mapping[int, Placement] | None = None,
        alignment: AlignmentFile | None = None,
        refinements: Mapping[int, Refinement] | None = None,
        left_out: frozenset[int] = frozenset(),
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
        left_out : frozenset of int
            Images that people have marked as not to be used; they are not placed.

        Raises
        ------
        AlignmentMissingError, UnsupportedPlaneError
            As for `of`.
        """
        plane, thickness = _check_laid_out(record)
        given, told = given or {}, refinements or {}
        notes: tuple[str, ...] = ()
        if alignment is not None:
            from atldld.place.anchoring import oddities

            notes = oddities(alignment.name, record, given)
        sections: list[PlacedSection] = []
        skipped = list(record.skipped)
        for image in record.images:
            if image.failed:
                reason = "the laboratory marked it as failed"
            elif image.id in left_out:
                reason = LEFT_OUT
            elif image.alignment2d is None and image.id not in given:
                reason = image.alignment_problem or "it has no alignment2d"
            else:
                placement = given.get(image.id) or Placement.of(record, image)
                if placement.crosses(plane):
                    file = alignment if image.id in given else None
                    sections.append(
                        PlacedSection(
                            image,
                            placement,
                            plane,
                            thickness,
                            file,
                            told.get(image.id),
                            record.synthetic,
                        )
                    )
                    continue
                reason = f"its alignment does not lie in the {plane.value} plane"
            skipped.append(SkippedImage(image.id, image.section_number, reason))
        aside = {image_id: given[image_id] for image_id in sorted(left_out & set(given))}
        return cls(record, plane, tuple(sections), tuple(skipped), alignment, notes, aside)

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
    def coordinates(self) -> str:
        """Whose coordinates its sections lie in; see `atldld.place.coordinates`."""
        return all_coordinates(section.coordinates for section in self.sections)

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
            hint="An alignment file may place them; the images themselves can be fetched with "
            "`atldld download image`."
            if listed
            else None,
        )

    def section(
        self, image_id: int | str | None = None, *, number: int | None = None
    ) -> PlacedSection:
        """Return one section, by the id of its image or by its section number.

        Parameters
        ----------
        image_id : int, optional
            The id of the section image.
        number : int, optional
            The section number instead.

        Raises
        ------
        InvalidInputError
            If neither or both are given, if the data set has no such section, or if several have
            that number.
        """
        if (image_id is None) == (number is None):
            raise InvalidInputError(
                "A section is found by the id of its image or by its section number: give one of "
                "image_id and number.",
                dataset_id=self.id,
            )
        if number is not None:
            return self._numbered(check_whole(number, "section number"))
        image_id = check_id(image_id, "section image")
        for section in self.sections:
            if section.id == image_id:
                return section
        numbered = [section for section in self.sections if section.number == image_id]
        raise InvalidInputError(
            f"Section data set {self.id} has no placed section image {image_id}.",
            dataset_id=self.id,
            image_id=image_id,
            hint=f"It has a section of that number: section(number={image_id})."
            if numbered
            else None,
        )

    def _numbered(self, number: int) -> PlacedSection:
        found = [section for section in self.sections if section.number == number]
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidInputError(
                f"Section data set {self.id} has {len(found)} sections with the number {number}: "
                f"images {', '.join(str(section.id) for section in found)}.",
                dataset_id=self.id,
                hint="Give the image_id of one.",
            )
        near = sorted({section.number for section in self.sections}, key=lambda n: abs(n - number))
        listed = " and ".join(map(str, sorted(near[:2])))
        raise InvalidInputError(
            f"Section data set {self.id} has no placed section with the number {number}.",
            dataset_id=self.id,
            hint=f"The nearest are {listed}." if near else None,
        )

    def at(self, point: ArrayLike) -> Spot:
        """Return the section, and its pixel, that lie nearest to a point of the brain.

        Parameters
        ----------
        point : array-like, shape (3,)
            (p, i, r) in µm of the reference space.

        Returns
        -------
        Spot
            The section, the pixel, and how far from the point it lies.

        Raises
        ------
        InvalidInputError
            If this is no single point, or its coordinates are not finite.
        AlignmentMissingError
            If no section is placed.
        """
        pir = check_points(point, 3, "(p, i, r) in µm of the reference space")
        if pir.shape != (3,):
            raise InvalidInputError(
                f"{pir.size // 3} points are given, but the nearest section is of one point "
                "(p, i, r).",
                hint="Call it for each; `atldld.reference_to_image` takes many at once.",
            )
        self.check_placed()
        return min(
            (spot_on(section, pir) for section in self.sections), key=lambda spot: spot.distance
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
            hint=f"{CHANGED} {IMAGES_STILL}" if space is None else IMAGES_STILL,
        )
    return plane, thickness
