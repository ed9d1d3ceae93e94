"""Where a report's sections come from: the service (or the cache), or an output folder.

A folder that `~atldld.sections.download.download_dataset` has made says in its ``metadata.json``
how every section lies, so nothing is asked of the service for that. What is not in the folder (the
raw pictures, which also make the volume and the table) is taken from the cache, or is missing. Only
for quality figures, which must not depend on the folder's pictures, is the service asked.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.errors import (
    AtldldError,
    DatasetNotFoundError,
    InvalidInputError,
    OutputError,
    Remedy,
)
from atldld.fetch.cache import sha256_of
from atldld.fetch.kept import CachedImage
from atldld.fetch.session import Session
from atldld.find.named import GeneInPlane, find_dataset, read_dataset_name
from atldld.place import Placement
from atldld.place.alignment import AlignmentPath, Planes, read_alignment
from atldld.place.anchoring import AlignmentFile
from atldld.place.planes import OutputPlane
from atldld.place.registration import Registration
from atldld.place.sections import PlacedDataSet, PlacedSection
from atldld.place.spaces import Grid, Layout
from atldld.quality import SectionView, look_at, recipe
from atldld.records import (
    Alignment2d,
    Alignment3d,
    Gene,
    SectionDataSet,
    SectionImage,
    SkippedImage,
)
from atldld.report.start import Start, find_start, same_file
from atldld.sections.metadata import (
    METADATA,
    FolderMetadata,
    SectionEntry,
    is_plain,
    read_metadata,
)
from atldld.sections.open import report_oddities
from atldld.sections.opened import OpenedDataSet
from atldld.sections.register import Files, Recipe, RegisteredSection, fetch, run, warp
from atldld.support.pipeline import outcomes, workers_for
from atldld.support.text import shown

__all__ = ["FolderSource", "ServiceSource", "Source", "find_source", "open_source", "source_of"]

Result = TypeVar("Result")

TABLE_RESOLUTION = 8.0
"""In µm, as in `atldld.regions.quantify`: coarser masks mix the colours of cells."""


class Source(Protocol):
    """What a report is made of.

    Attributes
    ----------
    dataset : OpenedDataSet
        Its sections, placed; the session of which gives raw pictures.
    resolution : float
        Side of a pixel of the registered pictures, in µm.
    table_resolution : float
        At which the masks are counted, in µm.
    plane : str
        ``"oblique"`` or ``"parallel"``; see `atldld.place.planes`.
    origin : str
        In words, for the page.
    failed : dict
        What an earlier run could not have, by image id: the reason.
    start : Start or None
        Where the sections lay before, if an alignment has moved them and that is known.
    """

    @property
    def dataset(self) -> OpenedDataSet:
        """See the class."""

    @property
    def resolution(self) -> float:
        """See the class."""

    @property
    def table_resolution(self) -> float:
        """See the class."""

    @property
    def plane(self) -> str:
        """See the class."""

    @property
    def origin(self) -> str:
        """See the class."""

    @property
    def failed(self) -> Mapping[str, str]:
        """See the class."""

    @property
    def start(self) -> Start | None:
        """See the class."""

    @property
    def pictures_are_judged(self) -> bool:
        """Whether its pictures are those that quality figures are made of."""

    def registered(
        self, finish: Callable[[RegisteredSection], Result], jobs: int | None = None
    ) -> Iterator[tuple[PlacedSection, Result | AtldldError]]:
        """Yield each section with what `finish`, called in a worker's thread, makes of it."""
        ...

    def look_at(self, jobs: int | None = None) -> list[SectionView]:
        """Return the sections as `atldld.quality.assess` looks at them."""
        ...

    @property
    def curves_missing(self) -> str | None:
        """Why it is not known how curved sections are curved; `None` if it is, or none is."""

    def curve_is_known(self, section: PlacedSection) -> bool:
        """Whether a section is flat, or it is known how it is curved."""
        ...

    def finer(self, section: PlacedSection, resolution: float) -> RegisteredSection | None:
        """Return a section at a finer resolution, in µm, than the others, if that can be done."""
        ...


@dataclass(frozen=True)
class ServiceSource:
    """A data set of the service; pictures are fetched where they are not in the cache."""

    dataset: OpenedDataSet
    resolution: float = 25
    table_resolution: float = TABLE_RESOLUTION
    plane: str = "oblique"
    origin: str = "the service and the cache"
    failed: Mapping[str, str] = field(default_factory=dict)
    start: Start | None = None
    curves_missing: None = None

    def curve_is_known(self, _: PlacedSection) -> bool:
        """See `Source`."""
        return True

    def finer(self, section: PlacedSection, resolution: float) -> RegisteredSection | None:
        """See `Source`."""
        return _finer(self, section, resolution)

    def registered(
        self, finish: Callable[[RegisteredSection], Result], jobs: int | None = None
    ) -> Iterator[tuple[PlacedSection, Result | AtldldError]]:
        """See `Source`."""
        recipe = Recipe(self.resolution, expression=True)
        plans = [recipe.plan(section) for section in self.dataset.sections]
        for job, result in run(plans, finish, self.dataset.session, jobs=jobs):
            yield job.section, result

    @property
    def pictures_are_judged(self) -> bool:
        """See `Source`."""
        return self.resolution == recipe().resolution

    def look_at(self, jobs: int | None = None) -> list[SectionView]:
        """See `Source`."""
        return look_at(self.dataset, session=self.dataset.session, jobs=jobs)


@dataclass(frozen=True)
class FolderSource:
    """An output folder. Its pictures are taken as they are; nothing is asked of the service.

    The exception is `look_at`: quality figures are made of pictures of one kind. Where those in the
    folder are of another, the images are taken from the cache or, if that is allowed, fetched.
    """

    dataset: OpenedDataSet
    folder: Path
    metadata: FolderMetadata
    session: Session
    start: None = None
    curves_missing: str | None = None

    def curve_is_known(self, section: PlacedSection) -> bool:
        """See `Source`."""
        curved = self.metadata.per_image[str(section.id)].deformation is not None
        return not curved or section.placement.deformation is not None

    def finer(self, section: PlacedSection, resolution: float) -> RegisteredSection | None:
        """See `Source`; of what the cache holds."""
        if self.plane != "oblique" or not self.curve_is_known(section):
            return None
        return _finer(self, section, resolution)

    @property
    def resolution(self) -> float:
        """Side of a pixel, in µm."""
        return float(self.metadata.output.resolution_um)

    @property
    def table_resolution(self) -> float:
        """The folder's own, as these masks are in the cache if any are."""
        return self.resolution

    @property
    def plane(self) -> str:
        """How the pictures lie."""
        return self.metadata.output.plane_kind

    @property
    def origin(self) -> str:
        """In words."""
        made = self.metadata.created or "at an unknown time"
        return f"an output folder made by atldld {self.metadata.atldld_version}, {made}"

    @property
    def failed(self) -> Mapping[str, str]:
        """What could not be fetched when the folder was made."""
        return dict(self.metadata.failed)

    def registered(
        self, finish: Callable[[RegisteredSection], Result], jobs: int | None = None
    ) -> Iterator[tuple[PlacedSection, Result | AtldldError]]:
        """See `Source`."""
        grid = _grid(self.dataset, self.metadata)

        yield from outcomes(
            self.dataset.sections,
            lambda _: None,
            lambda section, _: finish(self._read(section, grid)),
            fetchers=1,
            workers=workers_for(jobs),
        )

    @property
    def pictures_are_judged(self) -> bool:
        """See `Source`."""
        wanted = recipe()
        return (self.plane, self.resolution, self.metadata.downsample_img) == (
            wanted.cut,
            wanted.resolution,
            wanted.downsample,
        )

    def look_at(self, jobs: int | None = None) -> list[SectionView]:
        """See `Source`."""
        if self.curves_missing is not None:
            raise OutputError("How its sections are curved is not known.")
        return look_at(self.dataset, session=self.session, jobs=jobs)

    def _read(self, section: PlacedSection, grid: Grid) -> RegisteredSection:
        entry = self.metadata.per_image[str(section.id)]
        depth = entry.third_coordinate
        names = grid.axis_names
        plane = OutputPlane(
            self.metadata.output.plane_kind,
            grid,
            np.array(entry.image_from_output, dtype=np.float64),
            np.array([depth[names[0]], depth[names[1]], depth["constant"]], dtype=np.float64),
            section.placement.deformation,
        )
        return RegisteredSection(
            section,
            plane,
            entry.downsample_img,
            self._picture(entry, "image", grid),
            self._picture(entry, "expression", grid) if "expression" in entry.files else None,
            entry.background,
            Files(self._source_file(section, entry), mask_problem=entry.note),
        )

    def _picture(self, entry: SectionEntry, kind: str, grid: Grid) -> NDArray[np.uint8]:
        # the name stands in a file that anyone may have edited: it must not lead elsewhere
        name = Path(entry.files[kind].name).name
        path = self.folder / name
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR) if is_plain(name) else None
        if pixels is None or pixels.shape[:2] != grid.shape:
            raise OutputError(
                f"{path} cannot be read as a picture of {grid.shape[1]} × {grid.shape[0]} pixels.",
                hint="Run the download again: it writes what is missing.",
            )
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)

    def _source_file(self, section: PlacedSection, entry: SectionEntry) -> CachedImage:
        known = entry.source
        return CachedImage(
            path=self.dataset.session.cache.image_path(section.id, entry.downsample_img),
            width=known.width,
            height=known.height,
            bytes=known.bytes,
            sha256=known.sha256,
            url=known.url,
            fetched=known.fetched,
        )


def find_source(what: int | str | Path, *, session: Session) -> int | Path:
    """Return what is named: the id of a section data set, or an output folder.

    Parameters
    ----------
    what : int, str or pathlib.Path
        An output folder, or a data set as `atldld.find.named.read_dataset_name` reads it: its id,
        the address of its page, or a gene with its plane. What is a folder is taken for one.
    session : Session
        Where genes are looked for.

    Raises
    ------
    InvalidInputError
        If it is neither.
    NotFoundError
        If there is no folder of that name, and no data set of a gene of that name.
    AtldldError
        If the gene cannot be looked for.
    """
    text = str(what).strip()
    if isinstance(what, Path) or (not text.isdigit() and Path(text).is_dir()):
        return what if isinstance(what, Path) else Path(text)
    unknown = InvalidInputError(
        f"{text!r:.80} is neither a folder nor a section data set.",
        hint="Give an id such as 69289763, the address of its page, a gene such as Prox1, or a "
        "folder that `atldld download` made.",
    )
    try:
        named = read_dataset_name(what, api_url=session.settings.api_url)
    except InvalidInputError:
        if "://" in text:
            raise  # it says what is wrong with the address
        raise unknown from None
    if isinstance(named, GeneInPlane) and {"/", "\\"} & set(text):
        raise unknown
    try:
        return find_dataset(what, session=session)
    except DatasetNotFoundError as error:
        raise DatasetNotFoundError(
            f"{error.message} There is no folder of that name either.", hint=error.hint
        ) from error


def open_source(
    what: int | str | Path,
    *,
    session: Session,
    resolution: float = 25,
    table_resolution: float = TABLE_RESOLUTION,
    alignment: AlignmentPath | None = None,
) -> Source:
    """Open what a report is made of.

    Parameters
    ----------
    what : int, str or pathlib.Path
        The id of a section data set, another of its names, or an output folder; see `find_source`.
    session : Session
        Where to ask. For a folder nothing is asked; its cache is looked into.
    resolution, table_resolution : float
        In µm; a folder has its own.
    alignment : str or pathlib.Path, optional
        A registration, or a JSON of QuickNII, VisuAlign or DeepSlice, to be used in place of the
        service's alignment. Of a folder it must be the very file that the folder was made with,
        which says how its sections are curved; it is found by itself in the folder, beside it, or
        in the current one.

    Raises
    ------
    InvalidInputError
        It is neither, or a folder was not made with the alignment that is given.
    OutputError
        The folder holds no readable result.
    AtldldError
        The data set cannot be fetched or placed.
    """
    named = find_source(what, session=session)
    if isinstance(named, int):
        planes = None if alignment is None else read_alignment(alignment)
        placed = PlacedDataSet.of(session.dataset(named), planes)
        report_oddities(placed, session)
        start = None
        if planes is not None and alignment is not None:
            start = find_start(planes, alignment, placed.record)
        dataset = OpenedDataSet(placed, session)
        return ServiceSource(dataset, resolution, table_resolution, start=start)
    if not named.is_dir():
        raise InvalidInputError(
            f"There is no folder {named}.",
            hint="Give the id of a section data set, or a folder that `atldld download` made.",
        )
    return _open_folder(named, session, alignment)


def _finer(source: Source, section: PlacedSection, resolution: float) -> RegisteredSection | None:
    if resolution >= source.resolution:
        return None
    session = source.dataset.session
    try:
        job = Recipe(resolution, expression=True).plan(section)
        return warp(job, fetch(job, session), session)
    except AtldldError:
        return None


def source_of(
    dataset: OpenedDataSet, *, resolution: float = 25, table_resolution: float = TABLE_RESOLUTION
) -> ServiceSource:
    """Return what a report of a data set that is open already is made of.

    Parameters
    ----------
    dataset : OpenedDataSet
        Its sections, placed.
    resolution, table_resolution : float
        In µm.

    Raises
    ------
    AtldldError
        If the file that its alignment was read from is gone.
    """
    start, path = None, dataset.alignment_path
    if path is not None:
        start = find_start(read_alignment(path), path, dataset.record)
    return ServiceSource(dataset, resolution, table_resolution, start=start)


def _open_folder(folder: Path, session: Session, alignment: AlignmentPath | None) -> FolderSource:
    path = folder / METADATA
    metadata = read_metadata(folder)
    if alignment is not None and not _made_with(metadata, Path(alignment)):
        raise InvalidInputError(
            f"{folder} was not made with {alignment}, and its sections are placed already.",
            hint=f"Give the id of the data set, or make the folder again with {Remedy.ALIGNMENT}.",
        )
    try:
        placed = _placed(metadata)
        _grid(placed, metadata)
        placed, curves_missing = _curved(placed, folder, metadata, alignment)
    except (AtldldError, np.linalg.LinAlgError) as error:
        said = error.message if isinstance(error, AtldldError) else "a matrix has no inverse"
        raise OutputError(
            f"{path} is no result of atldld's that a report can be made of: {said}",
            hint="Give a folder that `atldld download dataset` made.",
        ) from None
    # the same cache and the same list of defects, but no request
    quiet = copy.copy(session)
    quiet.settings = replace(session.settings, offline=True)
    report_oddities(placed, quiet)
    dataset = OpenedDataSet(placed, quiet)
    return FolderSource(dataset, folder, metadata, session, curves_missing=curves_missing)


def _made_with(metadata: FolderMetadata, path: Path) -> bool:
    """Whether a file is the alignment that a folder was made with."""
    try:
        return sha256_of(path) == (metadata.alignment or {}).get("sha256")
    except OSError as error:
        raise InvalidInputError(
            f"The alignment file {path} cannot be read: {error.strerror or error}."
        ) from error


def _curved(
    placed: PlacedDataSet,
    folder: Path,
    metadata: FolderMetadata,
    alignment: AlignmentPath | None,
) -> tuple[PlacedDataSet, str | None]:
    """Return a folder's sections, curved as the file that it was made with has them.

    If that file cannot be fetched they stay flat, and the second value says what to do.
    """
    curved = [name for name, entry in metadata.per_image.items() if entry.deformation is not None]
    if not curved:
        return placed, None
    named = metadata.alignment or {"file": "an alignment that the folder does not name"}
    try:
        if alignment is None:
            alignment = same_file(named, folder, folder.parent)
        placements = _placements(read_alignment(alignment), placed.record)
    except AtldldError as error:
        told = OutputError(
            f"{len(curved)} sections in {folder} are curved. How they are curved stands in the "
            f"file that they were made with, {shown(str(named.get('file')))}, which cannot be "
            f"used: {error.message} Their pictures are right, but a table, a volume, and outlines "
            "over the pictures as scanned need that file.",
            hint=f"Put it, with its folder of fields, beside {folder}, or give it with "
            f"{Remedy.ALIGNMENT}, and make the report again.",
        )
        return placed, str(told)
    sections = tuple(
        replace(
            section,
            placement=replace(section.placement, deformation=placements[section.id].deformation),
        )
        if str(section.id) in curved
        else section
        for section in placed.sections
    )
    return replace(placed, sections=sections), None


def _placements(planes: Planes, record: SectionDataSet) -> Mapping[int, Placement]:
    """Return the placements of images, of which a folder may hold a part."""
    if not isinstance(planes, Registration):
        return planes.placements(record)
    held = {image.id for image in record.images}
    part = {image_id: fit for image_id, fit in planes.sections.items() if image_id in held}
    return replace(planes, sections=part).placements(record)


def _placed(metadata: FolderMetadata) -> PlacedDataSet:
    """Return the data set that a folder speaks of, placed as it was when the folder was made."""
    alignment3d = Alignment3d(metadata.tvr, metadata.trv)
    thickness = metadata.section_thickness
    across = alignment3d.to_volume[2] / thickness
    dataset_id = int(metadata.dataset_id)
    images, planes, told = [], {}, {}
    for name, entry in metadata.per_image.items():
        stored = None
        if entry.tsv is not None and entry.tvs is not None:
            stored = Alignment2d(entry.tsv, entry.tvs)
        else:
            backward = np.vstack((np.array(entry.reference_to_image), across))
            planes[int(name)] = Placement(np.array(entry.image_to_reference), backward)
        if entry.refinement is not None:
            told[int(name)] = entry.refinement
        masked = "expression" in entry.files or entry.expression_source is not None
        images.append(
            SectionImage(
                id=int(name),
                section_number=entry.section_number,
                width=entry.width,
                height=entry.height,
                data_set_id=dataset_id,
                expression_path="in the folder" if masked else None,
                alignment2d=stored,
            )
        )
    record = SectionDataSet(
        id=dataset_id,
        plane_of_section_id=metadata.plane_of_section,
        reference_space_id=metadata.reference_space_id,
        section_thickness=thickness,
        failed=metadata.failed_data_set,
        genes=tuple(Gene(acronym=name) for name in metadata.genes or ()),
        specimen_name=metadata.specimen,
        alignment3d=alignment3d,
        images=tuple(sorted(images, key=lambda image: (image.section_number, image.id))),
        synthetic=metadata.synthetic,
    )
    known = metadata.alignment
    file = None if known is None else AlignmentFile.from_description(known)
    placed = PlacedDataSet.with_placements(record, planes if file else {}, file, told)
    skipped = tuple(
        SkippedImage(int(image_id), None, str(reason))
        for image_id, reason in metadata.skipped.items()
    )
    return replace(placed, skipped=skipped)


def _grid(dataset: PlacedDataSet, metadata: FolderMetadata) -> Grid:
    output = metadata.output
    axes = output.axis_of_rows, output.axis_of_columns
    layouts: tuple[Layout, ...] = ("anatomical", "0.3")
    for layout in layouts:
        grid = Grid(dataset.plane, float(output.resolution_um), layout)
        if grid.axis_names == axes:
            return grid
    raise InvalidInputError(
        f"It has pictures with the axes {' and '.join(axes)} of a {dataset.plane.value} data set."
    )
