"""Data sets and sections as people work with them: records, placements and images together."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from atldld.errors import (
    AlignmentFileWarning,
    AlignmentMissingError,
    InvalidInputError,
    MissingAlignmentWarning,
    UnsupportedPlaneError,
)
from atldld.fetch.session import Session, default_session
from atldld.place import Placement, SectionGeometry
from atldld.place.spaces import PLACED_SPACES, Plane
from atldld.records import SectionDataSet, SectionImage, SkippedImage
from atldld.support.arguments import check_id, check_jobs, several

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from atldld.atlas.model import Atlas
    from atldld.atlas.outlines import Outline
    from atldld.formats.quicknii import Alignment
    from atldld.place.planes import PlaneKind
    from atldld.place.spaces import Layout
    from atldld.regions.table import Labels
    from atldld.sections.register import RegisteredSection
    from atldld.volume.build import Volume
    from atldld.warp.stain import Scale

__all__ = ["DataSet", "Section", "open_dataset"]


@dataclass(frozen=True, eq=False)
class Section:
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
    session : Session
        Where its pixels come from.
    alignment : str or None
        Name of the file whose plane is used in place of the service's alignment, if one is.
    """

    image: SectionImage
    placement: Placement
    plane: Plane
    thickness: float
    session: Session
    alignment: str | None = None

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
        """Corners, centre, normal, tilt and depth of the section."""
        return self.placement.geometry(self.image.width, self.image.height, self.plane)

    def pixels(self, downsample: int = 0, *, expression: bool = False) -> NDArray[np.uint8]:
        """Return the section's image as the service keeps it, fetching it if need be.

        Parameters
        ----------
        downsample : int
            The tier.
        expression : bool
            The expression mask instead.

        Returns
        -------
        numpy.ndarray, shape (height, width, 3), uint8
            RGB.
        """
        return self.session.pixels(self.image, downsample, expression=expression)

    def register(
        self,
        resolution: float = 25,
        *,
        plane: PlaneKind = "oblique",
        downsample: int | Literal["auto"] = "auto",
        expression: bool = False,
        detection_xy: ArrayLike | None = None,
        layout: Layout | None = None,
    ) -> RegisteredSection:
        """Show this section on the reference grid; see `DataSet.register`."""
        from atldld.sections.register import Recipe, fetch, warp

        recipe = Recipe(resolution, plane, downsample, expression, detection_xy, layout)
        job = recipe.plan(self)
        return warp(job, fetch(job))

    def annotation(
        self, atlas: Atlas, resolution: float = 25, *, downsample: int | None = None
    ) -> Labels:
        """Return the structures in this section's plane; see `atldld.atlas.section_annotation`."""
        from atldld.atlas.sample import section_annotation

        return section_annotation(self, atlas, resolution, downsample=downsample)

    def outlines(self, atlas: Atlas, resolution: float = 25, **chosen: Any) -> tuple[Outline, ...]:
        """Return outlines of structures; see `atldld.atlas.section_outlines`."""
        from atldld.atlas.outlines import section_outlines

        return section_outlines(self, atlas, resolution, **chosen)

    def __repr__(self) -> str:
        return f"<Section {self.number}, image {self.id}>"


class DataSet:
    """A section data set whose sections can be placed.

    Parameters
    ----------
    record : SectionDataSet
        The service's records.
    session : Session
        Where pixels come from.
    alignment : Alignment, optional
        Planes to be used in place of the service's alignment; sections that it does not anchor
        keep the service's.

    Raises
    ------
    AlignmentMissingError
        The data set has no alignment3d or no section thickness.
    UnsupportedPlaneError
        The plane of section or the reference space is not one that can be laid out.

    Warns
    -----
    AlignmentFileWarning
        If planes of the alignment show sections mirrored or turned over.
    """

    def __init__(
        self, record: SectionDataSet, session: Session, alignment: Alignment | None = None
    ) -> None:
        self.record = record
        self.session = session
        self.alignment = alignment
        self.plane = Plane.from_id(record.plane_of_section_id, dataset_id=record.id)
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
        refined = {} if alignment is None else alignment.placements(record)
        self.alignment_notes: tuple[str, ...] = (
            () if alignment is None else alignment.oddities(record, refined)
        )
        for note in self.alignment_notes:
            warnings.warn(note, AlignmentFileWarning, stacklevel=2)
        skipped = list(record.skipped)
        sections = []
        for image in record.images:
            if image.failed:
                reason = "the laboratory marked it as failed"
            elif image.alignment2d is None and image.id not in refined:
                reason = "it has no alignment2d"
            else:
                placement = refined.get(image.id) or Placement.of(record, image)
                if placement.crosses(self.plane):
                    source = alignment.name if alignment and image.id in refined else None
                    sections.append(
                        Section(image, placement, self.plane, thickness, session, source)
                    )
                    continue
                reason = f"its alignment does not lie in the {self.plane.value} plane"
            skipped.append(SkippedImage(image.id, image.section_number, reason))
        left_out = skipped[len(record.skipped) :]
        if left_out:
            session.report(
                MissingAlignmentWarning(
                    f"{len(left_out)} images of data set {record.id} are left out: "
                    + "; ".join(f"{one.image_id}: {one.reason}" for one in left_out)
                )
            )
        self.sections: tuple[Section, ...] = tuple(sections)
        self.skipped: tuple[SkippedImage, ...] = tuple(skipped)

    @property
    def id(self) -> int:
        """The id of the section data set."""
        return self.record.id

    def __len__(self) -> int:
        return len(self.sections)

    def __iter__(self) -> Iterator[Section]:
        return iter(self.sections)

    def check_placed(self) -> None:
        """Refuse work on a data set of which no section is placed.

        Whatever goes through sections calls this first, as a loop over none would end well with
        nothing done.

        Raises
        ------
        AlignmentMissingError
            If there is no section; the message counts the reasons.
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

    def section(self, image_id: int) -> Section:
        """Return the section of an image.

        Raises
        ------
        InvalidInputError
            The data set has no such section.
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

    def chosen(self, sections: Section | Iterable[Section] | None = None) -> tuple[Section, ...]:
        """Return the sections that work is to be done on.

        Parameters
        ----------
        sections : Section or iterable of Section, optional
            Only these; all by default.

        Raises
        ------
        AlignmentMissingError
            If all are meant, and none is placed.
        InvalidInputError
            If something that is given is no section.
        """
        if sections is None:
            self.check_placed()
            return self.sections
        found = tuple(several(sections))
        for section in found:
            if not isinstance(section, Section):
                raise InvalidInputError(
                    f"{section!r} is no section.",
                    dataset_id=self.id,
                    hint="Give sections of the data set; `section` finds one by its image's id.",
                )
        return found

    def register(
        self,
        resolution: float = 25,
        *,
        plane: PlaneKind = "oblique",
        downsample: int | Literal["auto"] = "auto",
        expression: bool = False,
        detection_xy: ArrayLike | None = None,
        layout: Layout | None = None,
        sections: Section | Iterable[Section] | None = None,
        jobs: int | None = None,
    ) -> Iterator[RegisteredSection]:
        """Show every section on the reference grid, in order of section number.

        Images are fetched ahead while others are decoded and warped in parallel; memory does not
        grow with the number of sections. A section that cannot be had is left out and named in a
        `~atldld.errors.SkippedImageWarning` when the others are done.

        Parameters
        ----------
        resolution : float
            Side of an output pixel, in µm.
        plane : {"oblique", "parallel"}
            The section's own plane, or one of constant third coordinate.
        downsample : int or "auto"
            The tier of the images; ``"auto"`` takes the coarsest that is at least as fine as the
            output.
        expression : bool
            Warp the expression masks too.
        detection_xy : array-like, shape (2,), optional
            For ``"parallel"``: where on the image, in full-resolution pixels, the third
            coordinate is taken. The image's centre by default.
        layout : {"anatomical", "0.3"}, optional
            Which axes run along rows and columns. By default ``"parallel"`` pictures are laid out
            as in 0.3, others anatomically; see `atldld.sections.register.Recipe`.
        sections : Section or iterable of Section, optional
            Only these.
        jobs : int, optional
            Threads that decode and warp; the number of cores by default.

        Yields
        ------
        RegisteredSection
            The picture, the mask, the plane.

        Raises
        ------
        InvalidInputError
            A resolution, tier or point that makes no sense. Nothing is asked.
        AlignmentMissingError
            If no section of the data set is placed.
        """
        from atldld.sections.register import Recipe, register

        recipe = Recipe(resolution, plane, downsample, expression, detection_xy, layout)
        check_jobs(jobs)
        chosen = self.chosen(sections)
        # Planned here and not in the generator: what makes no sense is said at once.
        return register([recipe.plan(section) for section in chosen], jobs=jobs)

    def volume(
        self,
        resolution: float = 25,
        *,
        channel: str = "image",
        fill: str = "none",
        thickness: float | None = None,
        jobs: int | None = None,
        progress: Callable[[int, int, str], None] | None = None,
        scale: Scale | str | Path = "jet",
    ) -> Volume:
        """Lay every section into one grid of voxels; see `atldld.volume.build.build_volume`.

        Examples
        --------
        >>> ds.volume(channel="expression").save("prox1.nii.gz")  # doctest: +SKIP
        """
        from atldld.volume.build import build_volume

        return build_volume(self, resolution, channel, fill, thickness, jobs, progress, scale)

    def __repr__(self) -> str:
        genes = ", ".join(gene.acronym or "?" for gene in self.record.genes) or "no gene"
        return f"<DataSet {self.id} ({genes}), {self.plane.value}, {len(self)} sections>"


def open_dataset(
    dataset_id: int | str,
    *,
    session: Session | None = None,
    refresh: bool = False,
    strict: bool = False,
    alignment: str | Path | None = None,
) -> DataSet:
    """Open a section data set: its metadata, from the cache or the service.

    Parameters
    ----------
    dataset_id : int
        The id of the section data set.
    session : Session, optional
        Where to ask; by default what the environment says.
    refresh : bool
        Ask the service even if the metadata is in the cache.
    strict : bool
        Treat defects of the service as errors, here and in all that is done with the data set.
    alignment : str or pathlib.Path, optional
        A JSON of QuickNII, VisuAlign or DeepSlice whose planes are used in place of the service's
        alignment; see `atldld.formats.read_alignment`. Sections that it does not anchor keep the
        service's.

    Raises
    ------
    InvalidInputError
        The alignment file cannot be used, or anchors other images or another atlas.
    DatasetNotFoundError
        The service has no such data set.
    AlignmentMissingError, UnsupportedPlaneError
        Its sections cannot be placed.
    ServiceError
        It is not in the cache, and cannot be fetched.

    Examples
    --------
    >>> ds = open_dataset(69289763)  # doctest: +SKIP
    >>> ds.sections[8].to_reference([(6384, 2744)])  # doctest: +SKIP
    array([[8051.7, 2889.7, 3345.9]])
    """
    session = session or default_session()
    if strict:
        session = session.strictly()
    planes = None
    if alignment is not None:
        from atldld.formats.quicknii import read_alignment

        planes = read_alignment(alignment)
    return DataSet(session.dataset(dataset_id, refresh=refresh), session, planes)
