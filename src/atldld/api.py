"""Data sets and sections as people work with them: records, placements and images together.

The one room that knows all others. What computes stands below and takes placed sections and a
session; here they are one object, which `open_dataset` returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from atldld.errors import InvalidInputError
from atldld.fetch.session import Session, default_session
from atldld.place.sections import PlacedDataSet, PlacedSection
from atldld.records import SectionDataSet
from atldld.sections.open import report_oddities
from atldld.support.arguments import check_jobs, several

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from atldld.atlas.labels import Labels
    from atldld.atlas.model import Atlas
    from atldld.atlas.outlines import Frame, Outline
    from atldld.place.alignment import Planes
    from atldld.place.planes import Cut
    from atldld.place.registration import Registration
    from atldld.place.spaces import Layout
    from atldld.quality import DatasetQuality
    from atldld.regions.table import RegionTable
    from atldld.sections.register import RegisteredSection
    from atldld.support.provenance import Progress
    from atldld.volume.model import Volume
    from atldld.warp.stain import Scale

__all__ = ["DataSet", "Section", "assess", "build_volume", "open_dataset", "quantify"]


@dataclass(frozen=True, eq=False, repr=False)
class Section(PlacedSection):
    """One placed section of a data set, with its pixels.

    Attributes
    ----------
    image, placement, plane, thickness, file, refinement :
        See `atldld.place.sections.PlacedSection`.
    session : Session
        Where its pixels come from.
    """

    session: Session = field(kw_only=True)

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
        cut: Cut = "oblique",
        downsample: int | Literal["auto"] = "auto",
        expression: bool = False,
        detection_xy: ArrayLike | None = None,
        layout: Layout | None = None,
        plane: Cut | None = None,
    ) -> RegisteredSection:
        """Show this section on the reference grid; see `DataSet.register`."""
        from atldld.sections.register import Recipe, fetch, warp

        recipe = Recipe(resolution, plane or cut, downsample, expression, detection_xy, layout)
        job = recipe.plan(self)
        return warp(job, fetch(job, self.session), self.session)

    def annotation(
        self, atlas: Atlas, resolution: float = 25, *, downsample: int | None = None
    ) -> Labels:
        """Return the structures in this section's plane; see `atldld.atlas.section_annotation`.

        Warns
        -----
        OtherAtlasWarning
            If the section was laid on another atlas.
        """
        from atldld.atlas.sample import section_annotation

        atlas.compare_alignment(self.file, self.session)
        return section_annotation(self, atlas, resolution, downsample=downsample)

    def outlines(
        self,
        atlas: Atlas,
        resolution: float = 25,
        *,
        downsample: int | None = None,
        frame: Frame = "image",
        **selection: Any,
    ) -> tuple[Outline, ...]:
        """Return outlines of structures in this section's own plane.

        Parameters
        ----------
        atlas : Atlas
            Which structure is where.
        resolution, downsample, frame :
            See `atldld.atlas.section_outlines`.
        **selection
            Which structures, and how finely: the attributes of `atldld.atlas.Selection`, such as
            ``structures=["HPF"]``, ``depth=3`` or ``hemisphere="each"``.

        Warns
        -----
        OtherAtlasWarning
            If the section was laid on another atlas.
        """
        from atldld.atlas.outlines import Selection, section_outlines

        atlas.compare_alignment(self.file, self.session)
        return section_outlines(
            self,
            atlas,
            resolution,
            Selection(**selection),
            downsample=downsample,
            frame=frame,
        )


class DataSet(PlacedDataSet):
    """A section data set whose sections can be placed, with their pixels.

    Parameters
    ----------
    record : SectionDataSet
        The service's records.
    session : Session
        Where pixels come from.
    alignment : Alignment or Registration, optional
        Planes to be used in place of the service's alignment; sections that it does not anchor
        keep the service's.

    Attributes
    ----------
    record, plane, skipped, alignment, alignment_notes :
        See `atldld.place.sections.PlacedDataSet`.
    sections : tuple of Section
        Those that can be placed, in order of section number.
    session : Session
        Where pixels come from.

    Raises
    ------
    AlignmentMissingError
        If the data set has no alignment3d or no section thickness.
    UnsupportedPlaneError
        If the plane of section or the reference space cannot be laid out.
    InvalidInputError
        If the alignment does not fit the data set.

    Warns
    -----
    AlignmentFileWarning
        If planes of the alignment show sections mirrored or turned over.
    MissingAlignmentWarning
        If images have no alignment, and are left out.
    """

    sections: tuple[Section, ...]
    session: Session

    def __init__(
        self, record: SectionDataSet, session: Session, alignment: Planes | None = None
    ) -> None:
        self._take(PlacedDataSet.of(record, alignment), session)
        report_oddities(self, session)

    @classmethod
    def with_pixels(cls, placed: PlacedDataSet, session: Session) -> DataSet:
        """Return a placed data set with a session that its pixels come from.

        Parameters
        ----------
        placed : PlacedDataSet
            The data set.
        session : Session
            Where pixels come from.
        """
        made = cls.__new__(cls)
        made._take(placed, session)
        return made

    def _take(self, placed: PlacedDataSet, session: Session) -> None:
        super().__init__(
            placed.record,
            placed.plane,
            tuple(
                Section(
                    section.image,
                    section.placement,
                    section.plane,
                    section.thickness,
                    section.file,
                    section.refinement,
                    session=session,
                )
                for section in placed.sections
            ),
            placed.skipped,
            placed.alignment,
            placed.alignment_notes,
        )
        object.__setattr__(self, "session", session)

    def __iter__(self) -> Iterator[Section]:
        return iter(self.sections)

    def section(self, image_id: int) -> Section:
        """Return the section of an image.

        Raises
        ------
        InvalidInputError
            If the data set has no such section.
        """
        found = super().section(image_id)
        assert isinstance(found, Section)
        return found

    def register(
        self,
        resolution: float = 25,
        *,
        cut: Cut = "oblique",
        downsample: int | Literal["auto"] = "auto",
        expression: bool = False,
        detection_xy: ArrayLike | None = None,
        layout: Layout | None = None,
        sections: PlacedSection | Iterable[PlacedSection] | None = None,
        jobs: int | None = None,
        plane: Cut | None = None,
    ) -> Iterator[RegisteredSection]:
        """Show every section on the reference grid, in order of section number.

        Images are fetched ahead while others are decoded and warped in parallel; memory does not
        grow with the number of sections. A section that cannot be fetched is left out and named
        in a `~atldld.errors.SkippedImageWarning` when the others are done.

        Parameters
        ----------
        resolution : float
            Side of an output pixel, in µm.
        cut : {"oblique", "parallel"}
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
        plane : {"oblique", "parallel"}, optional
            An older name of `cut`.

        Yields
        ------
        RegisteredSection
            The picture, the mask, the plane.

        Raises
        ------
        InvalidInputError
            If the resolution, the tier or the point is not valid; nothing is requested then.
        AlignmentMissingError
            If no section of the data set is placed.
        """
        from atldld.sections.register import Recipe, register

        recipe = Recipe(resolution, plane or cut, downsample, expression, detection_xy, layout)
        check_jobs(jobs)
        chosen = self.chosen(sections)
        # Planned here and not in the generator: what makes no sense is said at once.
        return register([recipe.plan(section) for section in chosen], self.session, jobs=jobs)

    def assess(
        self,
        atlas: Atlas | None = None,
        *,
        resolution: float = 50,
        without_atlas: str | None = None,
        jobs: int | None = None,
        progress: Progress | None = None,
    ) -> DatasetQuality:
        """Return figures for every section, and which ones stand out; see `atldld.quality.assess`.

        Parameters
        ----------
        atlas : Atlas, optional
            What the sections are compared with, besides each other.
        resolution : float
            Side of a pixel, in µm, at which sections are looked at.
        without_atlas : str, optional
            Why there is no atlas, for the notes.
        jobs, progress :
            As for `volume`.
        """
        from atldld.quality import assess

        return assess(
            self,
            atlas,
            session=self.session,
            resolution=resolution,
            without_atlas=without_atlas,
            jobs=jobs,
            progress=progress,
        )

    def quantify(self, atlas: Atlas, resolution: float = 8, **options: Any) -> RegionTable:
        """Return how much is expressed in each structure and hemisphere.

        Parameters
        ----------
        atlas : Atlas
            Which structure is where.
        resolution : float
            In µm: of each section the coarsest tier is read whose pixels are no larger than this.
        **options
            Thresholds, the scale of the masks, what stands beside the numbers: those of
            `atldld.regions.quantify.quantify`, which says all about the result, too.
        """
        from atldld.regions.quantify import quantify

        return quantify(self, atlas, resolution, session=self.session, **options)

    def refine(
        self,
        atlas: Atlas,
        *,
        steps: str | Sequence[str] = ("whole", "sections", "inplane"),
        resolution: float = 25,
        most: float = 1500,
        sections: Section | Iterable[Section] | None = None,
        few: bool = False,
        jobs: int | None = None,
        progress: Progress | None = None,
    ) -> Registration:
        """Find anew where the sections lie, starting from here; see `atldld.refine.refine`.

        Parameters
        ----------
        atlas : Atlas
            Which structure is where.
        steps : sequence of {"whole", "sections", "inplane"}
            What is done: one affine map for the data set, then each section's plane, then a smooth
            displacement within each plane.
        resolution : float
            Side of a pixel, in µm, at which sections are looked at.
        most : float
            How far, in µm, a step may move any point of a section.
        sections : Section or iterable of Section, optional
            Only these; the others stay where they are.
        few : bool
            Refine fewer than five sections as well.
        jobs, progress :
            As for `volume`.

        Returns
        -------
        Registration
            Saved as JSON (`Registration.save`), it is an alignment for `open_dataset`.
        """
        from atldld.refine import refine

        return refine(
            self,
            atlas,
            session=self.session,
            steps=steps,
            resolution=resolution,
            most=most,
            sections=sections,
            few=few,
            jobs=jobs,
            progress=progress,
        )

    def volume(
        self,
        resolution: float = 25,
        *,
        channel: str = "image",
        fill: str = "none",
        thickness: float | None = None,
        jobs: int | None = None,
        progress: Progress | None = None,
        scale: Scale | str | Path = "jet",
    ) -> Volume:
        """Lay every section into one grid of voxels; see `build_volume`.

        Examples
        --------
        >>> ds = open_dataset(69289763)
        >>> volume = ds.volume(200, channel="expression")
        >>> volume
        <Volume of expression, 66 × 40 × 57 voxels of 200 µm>
        >>> path = volume.save("prox1.nii.gz")
        """
        return build_volume(self, resolution, channel, fill, thickness, jobs, progress, scale)


def build_volume(
    datasets: DataSet | Iterable[DataSet],
    resolution: float = 25,
    channel: str = "image",
    fill: str = "none",
    thickness: float | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
    scale: Scale | str | Path = "jet",
) -> Volume:
    """Lay every section of one or more data sets into one grid of voxels.

    Each section is a slab in its own oblique plane. A voxel gets the average of the sections that
    reach into it, weighted by the fraction of it that lies within each; `atldld.volume.slabs` has
    the whole model. Sections are fetched ahead and added one after the other, so that memory holds
    the volume and a few sections. The result does not depend on `jobs`.

    Parameters
    ----------
    datasets : DataSet or iterable of DataSet
        Of any planes of section; several are averaged and their coverage is summed.
    resolution : float
        Side of a voxel, in µm.
    channel : {"image", "expression", "intensity"}
        ``"image"``: the section images, RGB. ``"expression"``: the intensities of the expression
        masks, 0 to 1 (`atldld.warp.stain.read_mask`). ``"intensity"``: how much darker than its
        section's background a pixel is (`atldld.warp.stain.darkness`).
    fill : {"none", "nearest", "linear"}
        What is done between sections; see `atldld.volume.slabs`.
    thickness : float, optional
        How thick sections are taken to be, in volume µm (along the volume's s axis, before
        ``tvr``); by default what their data set says. With the spacing of the sections, each
        stands for all the tissue around it.
    jobs : int, optional
        Threads; the number of cores by default.
    progress : callable, optional
        Called with how many sections are done, how many there are, and what the last one was.
    scale : Scale, str or pathlib.Path
        The colours of the expression masks; see `atldld.warp.stain.open_scale`.

    Returns
    -------
    Volume

    Raises
    ------
    InvalidInputError
        If an option is not valid, if there is no data set, one is given twice or there is no such
        scale, or if the volume does not fit into memory. Nothing is requested then.
    AlignmentMissingError
        If no section of one of the data sets is placed.
    AtldldError
        If not a single section can be fetched; this is the error of the first one.

    Warns
    -----
    SkippedImageWarning
        If a section cannot be fetched and is left out.
    """
    from atldld.volume.build import VolumeRecipe, build_volume

    recipe = VolumeRecipe(resolution, channel, fill, thickness, scale)
    chosen = _data_sets(datasets)
    return build_volume(
        [(dataset, dataset.session) for dataset in chosen], recipe, jobs=jobs, progress=progress
    )


def _data_sets(datasets: DataSet | Iterable[DataSet]) -> list[DataSet]:
    chosen = [datasets] if isinstance(datasets, DataSet) else several(datasets)
    for dataset in chosen:
        if not isinstance(dataset, DataSet):
            raise InvalidInputError(
                f"{dataset!r} is no data set; open it with atldld.open_dataset first."
            )
    return chosen


def assess(dataset: DataSet, atlas: Atlas | None = None, **options: Any) -> DatasetQuality:
    """Return figures for every section of a data set; see `DataSet.assess`."""
    return dataset.assess(atlas, **options)


def quantify(dataset: DataSet, atlas: Atlas, resolution: float = 8, **options: Any) -> RegionTable:
    """Return how much is expressed in each structure; see `DataSet.quantify`."""
    return dataset.quantify(atlas, resolution, **options)


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
        A registration of `refine`, or a JSON of QuickNII, VisuAlign or DeepSlice, that is used in
        place of the service's alignment; see `atldld.place.alignment.read_alignment`. Sections
        that it lacks keep the service's, with a warning.

    Raises
    ------
    InvalidInputError
        If the alignment file cannot be used, anchors other images, or is for another atlas.
    DatasetNotFoundError
        If the service has no such data set.
    AlignmentMissingError, UnsupportedPlaneError
        If the sections of the data set cannot be placed.
    ServiceError
        If the metadata are not in the cache and cannot be fetched.

    Examples
    --------
    >>> ds = open_dataset(69289763)
    >>> ds.sections[8].to_reference([(6384, 2744)]).round(1)
    array([[8051.8, 2889.9, 3345.7]])
    """
    session = session or default_session()
    if strict:
        session = session.strictly()
    planes = None
    if alignment is not None:
        from atldld.place.alignment import read_alignment

        planes = read_alignment(alignment)
    return DataSet(session.dataset(dataset_id, refresh=refresh), session, planes)
