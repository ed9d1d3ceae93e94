"""Data sets as people work with them: one object from which everything is reached.

The one room that knows all others. What computes stands below and takes placed sections and a
session; here they are one object, which `open_dataset` returns. Each of its methods, and the
function of the same name, calls the one implementation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from atldld.errors import InvalidInputError
from atldld.fetch.session import Session, default_session, session_for
from atldld.find.named import find_dataset
from atldld.place.sections import PlacedDataSet, Spot
from atldld.records import SectionDataSet
from atldld.sections.open import report_oddities
from atldld.sections.opened import OpenedDataSet, Section, Sections
from atldld.settings import Settings
from atldld.support.arguments import several
from atldld.support.notebook import Progressing, progressing

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from atldld.atlas.model import Atlas
    from atldld.place.alignment import AlignmentPath, Planes
    from atldld.place.planes import Cut
    from atldld.place.registration import Registration
    from atldld.place.spaces import Layout
    from atldld.quality import DatasetQuality
    from atldld.refine import Step
    from atldld.regions.table import RegionTable
    from atldld.report import Source
    from atldld.sections.download import PictureFormat, Summary
    from atldld.sections.exports import Exports
    from atldld.volume.model import Channel, Fill, Volume
    from atldld.warp.stain import Scale

__all__ = [
    "DataSet",
    "Section",
    "Sections",
    "Spot",
    "assess",
    "build_volume",
    "download",
    "open_dataset",
    "quality",
    "quantify",
    "refine",
    "report",
    "volume",
    "write_volume",
]

AUTO: Literal["auto"] = "auto"
"""What functions take as `atlas` for the adult mouse's, CCFv3, which they open."""


class DataSet(OpenedDataSet):
    """A section data set whose sections can be placed, with all that can be made of it.

    Parameters
    ----------
    record : SectionDataSet
        The service's records.
    session : Session
        Where pixels come from.
    alignment : Alignment or Registration, optional
        Planes to be used in place of the service's alignment; sections that it does not anchor
        keep the service's.
    alignment_path : pathlib.Path, optional
        Where the alignment was read from.

    Attributes
    ----------
    id : int
        The id of the section data set.
    record : SectionDataSet
        The service's records: genes, specimen, thickness, images.
    plane : Plane
        The plane of section.
    sections : Sections
        Those that can be placed, in order of section number; index, slice or iterate.
    skipped : tuple of SkippedImage
        Images that cannot be used, and why.
    alignment, alignment_notes, alignment_path :
        The file that is used in place of the service's alignment, if one is, and what is strange
        about it.
    session : Session
        Where pixels come from.
    export : Exports
        Files for other tools.

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

    def __init__(
        self,
        record: SectionDataSet,
        session: Session,
        alignment: Planes | None = None,
        alignment_path: Path | None = None,
    ) -> None:
        super().__init__(PlacedDataSet.of(record, alignment), session, alignment_path)
        report_oddities(self, session)

    @classmethod
    def with_pixels(
        cls, placed: PlacedDataSet, session: Session, alignment_path: Path | None = None
    ) -> DataSet:
        """Return a placed data set with a session that its pixels come from.

        Parameters
        ----------
        placed : PlacedDataSet
            The data set.
        session : Session
            Where pixels come from.
        alignment_path : pathlib.Path, optional
            The file that `placed` has its alignment from.
        """
        made = cls.__new__(cls)
        OpenedDataSet.__init__(made, placed, session, alignment_path)
        return made

    @property
    def export(self) -> Exports:
        """Files for other tools: ``ds.export.quicknii(path)``, `fields`, `sections`, `outlines`."""
        from atldld.sections.exports import Exports

        return Exports(self)

    def sections_near(
        self,
        structures: str | int | Iterable[str | int],
        atlas: Atlas | Literal["auto"] = AUTO,
        *,
        within: float = 100,
    ) -> Sections:
        """Return the sections that show a structure, or pass it at no more than a distance.

        Parameters
        ----------
        structures : str, int or iterable of them
            Ids, acronyms or names; any of them will do, with all that lies in it.
        atlas : Atlas or "auto"
            Where the structure is; by default the adult mouse's, at 25 µm.
        within : float
            How far, in µm across the section, the structure may lie from a section's plane. 0 takes
            those alone that cross it.

        Raises
        ------
        NotFoundError
            If the atlas has no such structure.
        InvalidInputError
            If the distance is negative.
        AlignmentMissingError, UnsupportedPlaneError
            If no section is placed, or the data set is of another brain than the atlas.

        Examples
        --------
        >>> ds = open_dataset(69289763)
        >>> from atldld.atlas import open_atlas
        >>> ds.sections_near("DG", open_atlas(100), within=0)[:3].numbers
        [14, 22, 30]
        """
        from atldld.atlas.near import sections_near

        self.check_placed()
        opened = _atlas_for(self, atlas)
        opened.check_dataset(self.record)
        return Sections(sections_near(self.sections, opened, structures, within=within))

    def quality(
        self,
        atlas: Atlas | Literal["auto"] | None = AUTO,
        *,
        resolution: float = 50,
        jobs: int | None = None,
        progress: Progressing = None,
    ) -> DatasetQuality:
        """Return figures for every section, and which ones may not be trusted.

        Parameters
        ----------
        atlas : Atlas, "auto" or None
            What the sections are compared with, besides each other: the adult mouse's (CCFv3) by
            default, where the service has it; nothing with None.
        resolution : float
            Side of a pixel, in µm, at which sections are looked at.
        jobs, progress :
            As for `volume`.

        Raises
        ------
        InvalidInputError
            If the resolution makes no sense, or this is no atlas.
        AlignmentMissingError, UnsupportedPlaneError
            If no section is placed, or the data set is of another brain than the atlas.
        AtldldError
            If not one section can be fetched; the first one's error.

        Warns
        -----
        SkippedImageWarning
            If a section cannot be fetched; it is left out.
        """
        self.check_placed()
        opened, reason = _atlas_or_reason(self, atlas)
        return self.assess(
            opened, resolution=resolution, without_atlas=reason, jobs=jobs, progress=progress
        )

    def assess(
        self,
        atlas: Atlas | None = None,
        *,
        resolution: float = 50,
        without_atlas: str | None = None,
        jobs: int | None = None,
        progress: Progressing = None,
    ) -> DatasetQuality:
        """Return figures for every section; as `quality`, but without an atlas by default.

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

        if atlas is not None:
            atlas = _atlas_for(self, atlas)
        with progressing(progress, f"Quality of {self.id}") as show:
            return assess(
                self,
                atlas,
                session=self.session,
                resolution=resolution,
                without_atlas=without_atlas,
                jobs=jobs,
                progress=show,
            )

    def quantify(
        self,
        atlas: Atlas | Literal["auto"] = AUTO,
        resolution: float = 8,
        *,
        hemispheres: bool = True,
        threshold: int = 20,
        scale: Scale | str | Path = "jet",
        stain_threshold: float | None = None,
        grid: bool = True,
        unionize: bool = True,
        sections: Section | Iterable[Section] | None = None,
        jobs: int | None = None,
        progress: Progressing = None,
    ) -> RegionTable:
        """Return how much is expressed in each structure and hemisphere.

        Parameters
        ----------
        atlas : Atlas or "auto"
            Which structure is where; by default the adult mouse's (CCFv3), at 25 µm.
        resolution : float
            In µm: of each section the coarsest tier is read whose pixels are no larger than this.
        hemispheres : bool
            Give rows for left and right too.
        threshold : int
            0 to 254: a pixel of a mask expresses when its brightest channel exceeds this.
        scale : Scale, str or pathlib.Path
            The colours of the masks; see `atldld.warp.stain.open_scale`.
        stain_threshold : float, optional
            Read the section images instead of the masks: the fraction that takes away more than
            this of the background's light, 0 to 1.
        grid, unionize : bool
            Put beside it what the service itself has: its 200 µm grids, its StructureUnionize.
        sections : Section or iterable of Section, optional
            Count only these.
        jobs, progress :
            As for `volume`.

        Returns
        -------
        RegionTable
            See `atldld.regions.quantify.quantify`, which says all about the numbers.

        Raises
        ------
        InvalidInputError
            If an option is not valid, or this is no atlas. Nothing is requested then.
        RecordError
            If the data set has no expression masks.
        AlignmentMissingError, UnsupportedPlaneError
            If no section is placed, or the data set is of another brain than the atlas.
        """
        from atldld.regions.quantify import check_thresholds, quantify

        check_thresholds(threshold, stain_threshold)
        self.check_placed()
        opened = _atlas_for(self, atlas)
        with progressing(progress, f"Regions of {self.id}") as show:
            return quantify(
                self,
                opened,
                resolution,
                session=self.session,
                hemispheres=hemispheres,
                threshold=threshold,
                scale=scale,
                stain_threshold=stain_threshold,
                grid=grid,
                unionize=unionize,
                sections=sections,
                jobs=jobs,
                progress=show,
            )

    def refine(
        self,
        atlas: Atlas | Literal["auto"] = AUTO,
        *,
        steps: Step | Sequence[Step] = ("whole", "sections", "inplane"),
        resolution: float = 25,
        most: float = 1500,
        sections: Section | Iterable[Section] | None = None,
        few: bool = False,
        jobs: int | None = None,
        progress: Progressing = None,
    ) -> Registration:
        """Move and bend the sections to fit the atlas; see `atldld.refine.engine.refine`.

        Parameters
        ----------
        atlas : Atlas or "auto"
            Which structure is where; by default the adult mouse's (CCFv3), at 25 µm.
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

        Raises
        ------
        InvalidInputError
            If an option makes no sense, or this is no atlas. Nothing is requested then.
        AlignmentMissingError, UnsupportedPlaneError
            If no section is placed, or the data set is of another brain than the atlas.
        """
        from atldld.refine import check_refinement, refine

        chosen = check_refinement(steps, resolution, most)
        self.check_placed()
        opened = _atlas_for(self, atlas)
        with progressing(progress, f"Refining {self.id}") as show:
            return refine(
                self,
                opened,
                session=self.session,
                steps=chosen,
                resolution=resolution,
                most=most,
                sections=sections,
                few=few,
                jobs=jobs,
                progress=show,
            )

    def volume(
        self,
        resolution: float = 25,
        *,
        channel: Channel = "image",
        fill: Fill = "none",
        thickness: float | None = None,
        jobs: int | None = None,
        progress: Progressing = None,
        scale: Scale | str | Path = "jet",
    ) -> Volume:
        """Lay every section into one grid of voxels; see `build_volume`.

        Parameters
        ----------
        resolution : float
            Side of a voxel, in µm.
        channel : {"image", "expression", "intensity"}
            The section images, the expression masks, or how dark the stain is.
        fill : {"none", "nearest", "linear"}
            What is done between sections.
        thickness : float, optional
            How thick sections are taken to be, in volume µm; what their data set says by default.
        jobs : int, optional
            Threads; the number of cores by default.
        progress : callable or bool, optional
            Called with how many sections are done, how many there are, and what the last one was.
            In a notebook there is a bar by default; False leaves it out.
        scale : Scale, str or pathlib.Path
            The colours of the expression masks; see `atldld.warp.stain.open_scale`.

        Examples
        --------
        >>> ds = open_dataset(69289763)
        >>> volume = ds.volume(200, channel="expression")
        >>> volume
        <Volume of expression, 66 × 40 × 57 voxels of 200 µm>
        >>> path = volume.save("prox1.nii.gz")
        """
        return build_volume(self, resolution, channel, fill, thickness, jobs, progress, scale)

    def write_volume(
        self,
        path: str | Path,
        resolution: float = 25,
        *,
        channel: Channel = "image",
        fill: Fill = "none",
        thickness: float | None = None,
        coverage: bool = False,
        force: bool = False,
        jobs: int | None = None,
        progress: Progressing = None,
        scale: Scale | str | Path = "jet",
    ) -> list[Path]:
        """Lay every section into one grid of voxels, and write it; see `atldld.write_volume`.

        Parameters
        ----------
        path : str or pathlib.Path
            The file, whose ending says the format: see `atldld.volume.Volume.save`. An OME-Zarr
            store (``.ome.zarr``) is written block by block, so it may be larger than the memory.
        resolution, channel, fill, thickness, jobs, progress, scale :
            See `volume`.
        coverage : bool
            Write the coverage too, to the name that `atldld.formats.beside` gives.
        force : bool
            Replace files that are there.

        Examples
        --------
        >>> ds = open_dataset(69289763)
        >>> paths = ds.write_volume("prox1.ome.zarr", 400, channel="expression")
        """
        return write_volume(
            self,
            path,
            resolution,
            channel=channel,
            fill=fill,
            thickness=thickness,
            coverage=coverage,
            force=force,
            jobs=jobs,
            progress=progress,
            scale=scale,
        )

    def download(
        self,
        folder: str | Path,
        resolution: float = 25,
        *,
        cut: Cut = "oblique",
        downsample: int | Literal["auto"] = "auto",
        expression: bool = False,
        fields: bool = False,
        picture_format: PictureFormat = "png",
        detection_xy: ArrayLike | None = None,
        layout: Layout | None = None,
        jobs: int | None = None,
        force: bool = False,
        progress: Progressing = None,
    ) -> Summary:
        """Write every section, registered, into a folder with a ``metadata.json``.

        Running again with the same arguments does only what is missing.

        Parameters
        ----------
        folder : str or pathlib.Path
            Made if need be.
        resolution, cut, downsample, expression, detection_xy, layout :
            How the sections are shown; see `register`.
        fields : bool
            Write the displacement fields too.
        picture_format : {"png", "tiff"}
            Of pictures and masks.
        jobs, progress :
            As for `volume`.
        force : bool
            Replace what an earlier run has left in the folder, whatever it was.

        Returns
        -------
        Summary
            How many were written, and what could not be fetched.

        Raises
        ------
        InvalidInputError
            If an option makes no sense.
        OutputError
            If the folder cannot be used, or holds another result.
        AlignmentMissingError
            If no section is placed.
        """
        from atldld.sections.download import download_dataset
        from atldld.sections.register import Recipe

        recipe = Recipe(resolution, cut, downsample, expression, detection_xy, layout)
        with progressing(progress, f"Sections of {self.id}") as show:
            return download_dataset(
                self,
                folder,
                recipe,
                session=self.session,
                fields=fields,
                picture_format=picture_format,
                jobs=jobs,
                force=force,
                progress=show,
            )

    def report(
        self,
        path: str | Path,
        atlas: Atlas | Literal["auto"] | None = AUTO,
        *,
        resolution: float = 25,
        table_resolution: float = 8,
        volume: bool = True,
        scale: Scale | str | Path = "jet",
        jobs: int | None = None,
        force: bool = False,
        progress: Progressing = None,
    ) -> Path:
        """Write one page about the data set: sections, quality, regions, volume, methods.

        Parameters
        ----------
        path : str or pathlib.Path
            The page, ``.html``. It holds everything itself, and opens from disk.
        atlas : Atlas, "auto" or None
            Which structure is where: the adult mouse's (CCFv3) by default, where the service has
            it; no outlines and no table of regions with None.
        resolution : float
            Side of a picture's pixel, in µm.
        table_resolution : float
            In µm: masks are counted at the tier that is at least as fine.
        volume : bool
            Lay the sections into a volume too.
        scale : Scale, str or pathlib.Path
            The colours of the expression masks; see `atldld.warp.stain.open_scale`.
        jobs, progress :
            As for `volume`.
        force : bool
            Replace a file that is there.

        Raises
        ------
        InvalidInputError
            If the ending is another one, or an option makes no sense. Nothing is requested then.
        OutputError
            If the file cannot be written, or exists and `force` is false.
        AlignmentMissingError
            If no section is placed.
        AtldldError
            If Jinja2 is not installed, or not one section can be fetched.
        """
        from atldld.report import check_page, source_of

        check_page(path, force=force)
        source = source_of(self, resolution=resolution, table_resolution=table_resolution)
        return _write_report(source, path, atlas, volume, scale, jobs, force, progress)


def build_volume(
    datasets: DataSet | Iterable[DataSet],
    resolution: float = 25,
    channel: Channel = "image",
    fill: Fill = "none",
    thickness: float | None = None,
    jobs: int | None = None,
    progress: Progressing = None,
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
    progress : callable or bool, optional
        Called with how many sections are done, how many there are, and what the last one was. In a
        notebook there is a bar by default; False leaves it out.
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
    with progressing(progress, f"Volume of {', '.join(str(one.id) for one in chosen)}") as show:
        return build_volume(
            [(dataset, dataset.session) for dataset in chosen], recipe, jobs=jobs, progress=show
        )


def write_volume(
    datasets: DataSet | Iterable[DataSet],
    path: str | Path,
    resolution: float = 25,
    *,
    channel: Channel = "image",
    fill: Fill = "none",
    thickness: float | None = None,
    coverage: bool = False,
    force: bool = False,
    jobs: int | None = None,
    progress: Progressing = None,
    scale: Scale | str | Path = "jet",
) -> list[Path]:
    """Lay every section of one or more data sets into one grid of voxels, and write it.

    The voxels are those of `build_volume`. An OME-Zarr store is written block by block, so memory
    holds a part of the volume and a few sections; other formats are written of a whole volume.

    Parameters
    ----------
    datasets, resolution, channel, fill, thickness, jobs, progress, scale :
        See `build_volume`.
    path : str or pathlib.Path
        The file, or for OME-Zarr the folder; the name's ending decides the format, see
        `atldld.volume.Volume.save`. It is written whole or not at all.
    coverage : bool
        Write the coverage too, to the name that `atldld.formats.beside` gives.
    force : bool
        Replace files that are there.

    Returns
    -------
    list of pathlib.Path
        What was written.

    Raises
    ------
    InvalidInputError
        As for `build_volume`, or if the name has no ending that is known. Nothing is requested
        then.
    AlignmentMissingError
        If no section of one of the data sets is placed.
    AtldldError
        If the library for the format is not installed, or not a single section can be fetched.
    OutputError
        If a file cannot be written, or exists and `force` is false.

    Warns
    -----
    SkippedImageWarning
        If a section cannot be fetched and is left out.
    """
    from atldld.formats.voxels import check_volume
    from atldld.volume.build import VolumeRecipe, prepare_volume

    recipe = VolumeRecipe(resolution, channel, fill, thickness, scale)
    chosen = _data_sets(datasets)
    check_volume(path, coverage=coverage, force=force, voxel_bytes=recipe.bytes)
    with progressing(progress, f"Volume of {', '.join(str(one.id) for one in chosen)}") as show:
        made = prepare_volume(
            [(dataset, dataset.session) for dataset in chosen],
            recipe,
            path,
            jobs=jobs,
            progress=show,
        )
        return made.save(path, coverage=coverage, force=force)


def _data_sets(datasets: DataSet | Iterable[DataSet]) -> list[OpenedDataSet]:
    chosen = [datasets] if isinstance(datasets, OpenedDataSet) else several(datasets)
    for dataset in chosen:
        if not isinstance(dataset, OpenedDataSet):
            raise InvalidInputError(
                f"{dataset!r} is no data set; open it with atldld.open_dataset first."
            )
    return chosen


def volume(
    dataset: DataSet | int | str,
    resolution: float = 25,
    *,
    channel: Channel = "image",
    fill: Fill = "none",
    thickness: float | None = None,
    jobs: int | None = None,
    progress: Progressing = None,
    scale: Scale | str | Path = "jet",
    session: Session | None = None,
) -> Volume:
    """Lay every section of a data set into one grid of voxels; see `DataSet.volume`.

    Parameters
    ----------
    dataset : DataSet or int
        The data set, or its id. `build_volume` takes several.
    resolution, channel, fill, thickness, jobs, progress, scale :
        See `DataSet.volume`.
    session : Session, optional
        Where to ask for a data set of an id; by default what the environment says.
    """
    return _data_set(dataset, session).volume(
        resolution,
        channel=channel,
        fill=fill,
        thickness=thickness,
        jobs=jobs,
        progress=progress,
        scale=scale,
    )


def assess(
    dataset: DataSet | int | str,
    atlas: Atlas | None = None,
    *,
    session: Session | None = None,
    **options: Any,
) -> DatasetQuality:
    """Return figures for every section of a data set; see `DataSet.assess`."""
    return _data_set(dataset, session).assess(atlas, **options)


def quality(
    dataset: DataSet | int | str,
    atlas: Atlas | Literal["auto"] | None = AUTO,
    *,
    resolution: float = 50,
    jobs: int | None = None,
    progress: Progressing = None,
    session: Session | None = None,
) -> DatasetQuality:
    """Return figures for every section, and which may not be trusted; see `DataSet.quality`.

    Parameters
    ----------
    dataset : DataSet or int
        The data set, or its id.
    atlas, resolution, jobs, progress :
        See `DataSet.quality`.
    session : Session, optional
        Where to ask for a data set of an id; by default what the environment says.
    """
    return _data_set(dataset, session).quality(
        atlas, resolution=resolution, jobs=jobs, progress=progress
    )


def quantify(
    dataset: DataSet | int | str,
    atlas: Atlas | Literal["auto"] = AUTO,
    resolution: float = 8,
    *,
    hemispheres: bool = True,
    threshold: int = 20,
    scale: Scale | str | Path = "jet",
    stain_threshold: float | None = None,
    grid: bool = True,
    unionize: bool = True,
    sections: Section | Iterable[Section] | None = None,
    jobs: int | None = None,
    progress: Progressing = None,
    session: Session | None = None,
) -> RegionTable:
    """Return how much is expressed in each structure; see `DataSet.quantify`.

    Parameters
    ----------
    dataset : DataSet or int
        The data set, or its id.
    atlas, resolution, hemispheres, threshold, scale, stain_threshold, grid, unionize, sections, \
    jobs, progress :
        See `DataSet.quantify`.
    session : Session, optional
        Where to ask for a data set of an id; by default what the environment says.
    """
    return _data_set(dataset, session).quantify(
        atlas,
        resolution,
        hemispheres=hemispheres,
        threshold=threshold,
        scale=scale,
        stain_threshold=stain_threshold,
        grid=grid,
        unionize=unionize,
        sections=sections,
        jobs=jobs,
        progress=progress,
    )


def refine(
    dataset: DataSet | int | str,
    atlas: Atlas | Literal["auto"] = AUTO,
    *,
    steps: Step | Sequence[Step] = ("whole", "sections", "inplane"),
    resolution: float = 25,
    most: float = 1500,
    sections: Section | Iterable[Section] | None = None,
    few: bool = False,
    jobs: int | None = None,
    progress: Progressing = None,
    session: Session | None = None,
) -> Registration:
    """Move and bend the sections of a data set to fit the atlas; see `DataSet.refine`.

    Parameters
    ----------
    dataset : DataSet or int
        The data set, or its id.
    atlas, steps, resolution, most, sections, few, jobs, progress :
        See `DataSet.refine`.
    session : Session, optional
        Where to ask for a data set of an id; by default what the environment says.
    """
    return _data_set(dataset, session).refine(
        atlas,
        steps=steps,
        resolution=resolution,
        most=most,
        sections=sections,
        few=few,
        jobs=jobs,
        progress=progress,
    )


def download(
    dataset: DataSet | int | str,
    folder: str | Path,
    resolution: float = 25,
    *,
    cut: Cut = "oblique",
    downsample: int | Literal["auto"] = "auto",
    expression: bool = False,
    fields: bool = False,
    picture_format: PictureFormat = "png",
    detection_xy: ArrayLike | None = None,
    layout: Layout | None = None,
    jobs: int | None = None,
    force: bool = False,
    progress: Progressing = None,
    session: Session | None = None,
) -> Summary:
    """Write every section of a data set, registered, into a folder; see `DataSet.download`.

    Parameters
    ----------
    dataset : DataSet or int
        The data set, or its id.
    folder, resolution, cut, downsample, expression, fields, picture_format, detection_xy, layout, \
    jobs, force, progress :
        See `DataSet.download`.
    session : Session, optional
        Where to ask for a data set of an id; by default what the environment says.
    """
    return _data_set(dataset, session).download(
        folder,
        resolution,
        cut=cut,
        downsample=downsample,
        expression=expression,
        fields=fields,
        picture_format=picture_format,
        detection_xy=detection_xy,
        layout=layout,
        jobs=jobs,
        force=force,
        progress=progress,
    )


def report(
    dataset: DataSet | int | str | Path,
    path: str | Path,
    atlas: Atlas | Literal["auto"] | None = AUTO,
    *,
    resolution: float = 25,
    table_resolution: float = 8,
    volume: bool = True,
    scale: Scale | str | Path = "jet",
    jobs: int | None = None,
    force: bool = False,
    progress: Progressing = None,
    session: Session | None = None,
) -> Path:
    """Write one page about a data set; see `DataSet.report`.

    Parameters
    ----------
    dataset : DataSet, int, str or pathlib.Path
        The data set, its id, or a folder that `download` has made.
    path, atlas, resolution, table_resolution, volume, scale, jobs, force, progress :
        See `DataSet.report`. A folder has its own resolution.
    session : Session, optional
        Where to ask for a data set of an id; by default what the environment says.
    """
    from atldld.report import check_page, find_source, open_source

    if isinstance(dataset, (str, Path)):
        check_page(path, force=force)
        asked = session or default_session()
        named = find_source(dataset, session=asked)
    if isinstance(dataset, (str, Path)) and isinstance(named, Path):
        source = open_source(named, session=asked)
        return _write_report(source, path, atlas, volume, scale, jobs, force, progress)
    return _data_set(dataset, session).report(
        path,
        atlas,
        resolution=resolution,
        table_resolution=table_resolution,
        volume=volume,
        scale=scale,
        jobs=jobs,
        force=force,
        progress=progress,
    )


def _write_report(
    source: Source,
    path: str | Path,
    atlas: Atlas | Literal["auto"] | None,
    volume: bool,
    scale: Scale | str | Path,
    jobs: int | None,
    force: bool,
    progress: Progressing,
) -> Path:
    from atldld.report import gather, try_atlas, write_report
    from atldld.warp.stain import open_scale

    colours = open_scale(scale)
    dataset = source.dataset
    dataset.check_placed()
    reason: str | None = "It was left out on purpose (atlas=None)."
    opened = None
    if _is_auto(atlas):
        opened, reason = try_atlas(dataset.session)
    elif atlas is not None:
        opened, reason = _atlas_for(dataset, atlas), None
    with progressing(progress, f"Report on {dataset.id}") as show:
        made = gather(
            source,
            opened,
            without_atlas=reason,
            volume=volume,
            scale=colours,
            jobs=jobs,
            progress=show,
        )
    return write_report(made, path, force=force)


def _data_set(dataset: object, session: Session | None = None) -> DataSet:
    """Return a data set that is open, or open the one of an id."""
    if isinstance(dataset, OpenedDataSet):
        if session is not None and session is not dataset.session:
            raise InvalidInputError(
                "A session is given with a data set that is open already, and has its own.",
                dataset_id=dataset.id,
                hint="Give the id of the data set, or leave out the session.",
            )
        if isinstance(dataset, DataSet):
            return dataset
        # such as what a report was made of
        return DataSet.with_pixels(dataset, dataset.session, dataset.alignment_path)
    if isinstance(dataset, Section):
        raise InvalidInputError(
            f"{dataset!r} is one section, but a data set is wanted.",
            hint="Give the data set, and sections=… where only some are meant.",
        )
    return open_dataset(dataset, session=session)  # type: ignore[arg-type]


def _is_auto(atlas: object) -> bool:
    return isinstance(atlas, str) and atlas == AUTO


def _atlas_for(dataset: OpenedDataSet, atlas: object) -> Atlas:
    """Return an atlas that is open, or open the one that is usual, where the data set asks."""
    from atldld.atlas.model import Atlas
    from atldld.atlas.open import open_atlas

    if isinstance(atlas, Atlas):
        return atlas
    if _is_auto(atlas):
        return open_atlas(session=dataset.session)
    raise InvalidInputError(
        f"{atlas!r:.60} is no atlas.",
        hint="Give one that atldld.open_atlas has opened, or 'auto' for the adult mouse's.",
    )


def _atlas_or_reason(
    dataset: OpenedDataSet, atlas: Atlas | Literal["auto"] | None
) -> tuple[Atlas | None, str | None]:
    from atldld.quality import atlas_or_reason

    if atlas is None:
        return None, "it was left out on purpose (atlas=None)."
    if _is_auto(atlas):
        return atlas_or_reason(session=dataset.session)
    return _atlas_for(dataset, atlas), None


def open_dataset(
    dataset_id: int | str,
    *,
    session: Session | None = None,
    offline: bool | None = None,
    cache_dir: str | Path | None = None,
    api_url: str | None = None,
    refresh: bool = False,
    strict: bool = False,
    alignment: AlignmentPath | None = None,
) -> DataSet:
    """Open a section data set: its metadata, from the cache or the service.

    Parameters
    ----------
    dataset_id : int or str
        The id of the section data set, the address of its page, or a gene of which only one data
        set fits, as in ``"Prox1"`` or ``"Prox1:sagittal"``.
    session : Session, optional
        Where to ask; by default what the environment says.
    offline : bool, optional
        Make no request at all: what is not in the cache is an `~atldld.errors.OfflineError`.
    cache_dir : str or pathlib.Path, optional
        The folder of the cache.
    api_url : str, optional
        The host of the API, such as that of `atldld serve`. These three go before the environment,
        and cannot be given with a session, which has its own.
    refresh : bool
        Ask the service even if the metadata is in the cache.
    strict : bool
        Treat defects of the service as errors, here and in all that is done with the data set.
    alignment : str, pathlib.Path or ConfirmedOnly, optional
        A registration of `refine` or `atldld align`, or a JSON of QuickNII, VisuAlign or DeepSlice,
        that is used in place of the service's alignment; see
        `atldld.place.alignment.read_alignment`. Sections that it lacks keep the service's, with a
        warning.

    Raises
    ------
    InvalidInputError
        If this is no id, or a setting is not valid or given beside a session; if the alignment file
        cannot be used, anchors other images, or is for another atlas.
    AmbiguousNameError
        If several data sets of the gene fit; the error lists them.
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
    session = _session_of(session, offline=offline, cache_dir=cache_dir, api_url=api_url)
    if strict:
        session = session.strictly()
    planes = None
    if alignment is not None:
        from atldld.place.alignment import read_alignment

        planes = read_alignment(alignment)
    path = None if alignment is None else Path(alignment)
    number = find_dataset(dataset_id, session=session)
    return DataSet(session.dataset(number, refresh=refresh), session, planes, path)


def _session_of(session: Session | None, **settings: Any) -> Session:
    """Return a session that is given, or the one of some settings."""
    given = {name: value for name, value in settings.items() if value is not None}
    if session is None:
        return session_for(Settings.from_environment(**given)) if given else default_session()
    if not isinstance(session, Session):
        raise InvalidInputError(
            f"{session!r:.60} is no session.", hint="Make one with atldld.Session(settings)."
        )
    if given:
        raise InvalidInputError(
            f"A session is given, and {' and '.join(given)} too: the session has its own.",
            hint="Give one of them: Session(Settings(…)) holds all settings.",
        )
    return session
