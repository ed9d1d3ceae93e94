"""Everything that a report says, gathered: sections, quality, regions, volume, how it was made."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atldld.errors import (
    AtldldError,
    InvalidInputError,
    MissingAlignmentWarning,
    RecordError,
    RepeatedRowsWarning,
    UnsortedRowsWarning,
)
from atldld.formats.common import need
from atldld.place.sections import PlacedSection
from atldld.report.pictures import (
    Artist,
    Picture,
    Slices,
    Views,
    cut,
    encode,
    transparent,
    views_of,
)
from atldld.report.source import ServiceSource
from atldld.report.start import Move, move_between
from atldld.sections.register import Recipe, RegisteredSection, warp
from atldld.support.memory import let_go
from atldld.support.pipeline import workers_for
from atldld.support.provenance import Progress, version
from atldld.warp.stain import JET, Scale, open_scale

if TYPE_CHECKING:
    from atldld.atlas import Atlas
    from atldld.fetch.session import Session
    from atldld.place.planes import OutputPlane
    from atldld.quality import DatasetQuality, SectionView
    from atldld.regions.table import RegionTable
    from atldld.report.source import Source
    from atldld.sections.opened import OpenedDataSet

__all__ = ["Entry", "Hero", "Report", "gather", "try_atlas"]

STAIN_THRESHOLD = 0.3
"""Of the ``stained_fraction`` that is shown where there are no masks."""

FILES_RESOLUTION = 25.0
"""In µm: image files are read at the tiers that this needs at least."""

VOLUME_RESOLUTION = 50.0
"""In µm; finer volumes take much memory and show no more on a page."""

HERO_RESOLUTION = 12.5
"""In µm, of the picture that the page begins with, where its image can be fetched."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One section in the report.

    Attributes
    ----------
    section : PlacedSection
        Which one.
    plane : OutputPlane
        Which point of the brain each pixel of its picture shows.
    downsample : int
        The tier that the picture was made from.
    views : Views
        Its pictures and outlines.
    move : Move or None
        How far an alignment has moved it, if that is known.
    """

    section: PlacedSection
    plane: OutputPlane
    downsample: int
    views: Views
    move: Move | None = None

    @property
    def coordinate(self) -> float:
        """The third reference coordinate in the middle of the picture, in µm."""
        return self.plane.central_depth


@dataclass(frozen=True, slots=True)
class Hero:
    """The picture that the page begins with.

    Attributes
    ----------
    place : int
        Which of the report's entries it shows.
    picture : Picture
        The section on the reference grid, as fine as it could be had.
    mask : Picture or None
        Its expression mask on the same grid.
    """

    place: int
    picture: Picture
    mask: Picture | None


@dataclass(frozen=True, eq=False)
class Report:
    """What a report says.

    Attributes
    ----------
    source : Source
        What it was made of.
    entries : tuple of Entry
        The sections by their third coordinate.
    atlas : Atlas or None
        What they are compared with.
    quality : DatasetQuality or None
        Figures for each section.
    regions : RegionTable or None
        Expression, or the stained fraction, of each structure.
    slices : tuple of Slices
        The volume in three planes; empty if there is none.
    missing : dict
        What is not there (``"atlas"``, ``"regions"``, ...), and why; ``"figures"`` says what the
        quality figures lack.
    failed : dict
        Sections that could not be fetched, by image id: the reason.
    warnings : tuple of str
        All that was met on the way.
    absent : tuple of int
        Section numbers that the usual spacing would have, but the data set has not.
    created : str
        When, in UTC (ISO 8601).
    versions : dict
        Of the programs that made it.
    command_line : str or None
        How it was called.
    quality_before : DatasetQuality or None
        The same figures as the sections lay before, if an alignment has moved them.
    remarks : tuple of str
        Those of the warnings that change anything for the reader.
    hero : Hero or None
        The section that says most; the page chooses one of the entries where there is none.
    scale : Scale
        The colours of the expression masks.
    """

    source: Source
    entries: tuple[Entry, ...]
    atlas: Atlas | None
    quality: DatasetQuality | None
    regions: RegionTable | None
    slices: tuple[Slices, ...]
    missing: Mapping[str, str]
    failed: Mapping[str, str]
    warnings: tuple[str, ...]
    absent: tuple[int, ...]
    created: str
    versions: Mapping[str, str]
    command_line: str | None
    quality_before: DatasetQuality | None = None
    remarks: tuple[str, ...] = ()
    hero: Hero | None = None
    scale: Scale = JET

    @property
    def most_telling(self) -> Hero:
        """The picture that the page begins with."""
        if self.hero is not None:
            return self.hero
        place = _most_telling(self.entries, self.quality)
        views = self.entries[place].views
        return Hero(place, views.registered, views.mask)

    @property
    def synthetic(self) -> bool:
        """Whether anything in it is made up."""
        return self.source.dataset.record.synthetic or bool(self.atlas and self.atlas.synthetic)


def try_atlas(
    session: Session,
    resolution: float | None = None,
    name: str = "ccf_2017",
    **own: str | None,
) -> tuple[Atlas | None, str | None]:
    """Open an atlas with its template, or say why there is none.

    A report is worth having without an atlas, so only an option that makes no sense is an error.
    Files of your own (``annotation``, ``graph``, ``template``) are used where they are given.

    Raises
    ------
    InvalidInputError
        There is no such atlas or resolution.
    """
    from atldld.atlas import open_atlas

    try:
        need("shapely", "atlas", "Outlines of structures")
        given: dict[str, Any] = {key: value for key, value in own.items() if value is not None}
        return open_atlas(resolution, name=name, session=session, **given), None
    except InvalidInputError:
        raise
    except AtldldError as error:
        return None, str(error)


def gather(
    source: Source,
    atlas: Atlas | None = None,
    *,
    without_atlas: str | None = None,
    volume: bool = True,
    scale: Scale | str | Path = "jet",
    jobs: int | None = None,
    command_line: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Make everything that a report shows.

    Each section is warped once; its pictures are encoded in the worker's thread and let go, so
    that memory holds a few sections at a time. What cannot be fetched is left out, and the report
    says so.

    Parameters
    ----------
    source : Source
        What it is made of.
    atlas : Atlas, optional
        Which structure is where.
    without_atlas : str, optional
        Why there is none.
    volume : bool
        Lay the sections into a volume too.
    scale : Scale, str or pathlib.Path
        The colours of the expression masks; see `atldld.warp.stain.open_scale`.
    jobs : int, optional
        Threads; the number of cores by default.
    command_line : str, optional
        To be told in the report.
    progress : callable, optional
        Called with how many sections are done, how many there are, and what the last one was.

    Raises
    ------
    AlignmentMissingError
        If no section of the data set is placed.
    InvalidInputError
        If there is no such scale.
    AtldldError
        Not one section can be fetched; the first one's error.
    """
    scale = open_scale(scale)
    dataset = source.dataset
    dataset.check_placed()
    missing: dict[str, str] = {}
    if atlas is not None:
        try:
            atlas.check_dataset(dataset.record)
            atlas.compare_alignment(dataset.alignment, dataset.session)
        except RecordError as error:
            atlas, without_atlas = None, str(error)
    if atlas is None:
        missing["atlas"] = without_atlas or "No atlas was given."
    else:
        atlas = _asked_once(atlas)
    entries, seen, failed = _sections(source, atlas, scale, jobs, progress)
    _give_back(atlas)
    quality = _quality(source, seen, atlas, jobs, missing)
    del seen
    quality_before = _quality_before(source, quality, atlas, jobs, missing)
    entries.sort(key=lambda entry: (entry.coordinate, entry.section.id))
    hero = _hero(source, entries, quality)
    _give_back(atlas)
    regions: RegionTable | None = None
    slices: tuple[Slices, ...] = ()
    if source.curves_missing is None:
        regions = _regions(source, atlas, scale, jobs, missing)
        slices = _volume(source, atlas, jobs, missing) if volume else ()
    else:
        missing["curves"] = source.curves_missing
        missing["regions"] = missing["volume"] = "It needs to know how the sections are curved."
    if not volume:
        missing["volume"] = "It was not asked for."
    return Report(
        source=source,
        entries=tuple(entries),
        atlas=atlas,
        quality=quality,
        regions=regions,
        slices=slices,
        missing=missing,
        failed={**source.failed, **failed},
        warnings=tuple(
            dict.fromkeys([*map(str, dataset.session.defects), *dataset.alignment_notes])
        ),
        remarks=_remarks(dataset),
        absent=_absent([section.number for section in dataset.sections]),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        command_line=command_line,
        quality_before=quality_before,
        hero=hero,
        scale=scale,
    )


def _give_back(atlas: Atlas | None) -> None:
    """Give back the memory of an atlas that the cache holds; it is mapped, and read again."""
    if atlas is None:
        return
    let_go(atlas.annotation)
    with suppress(AtldldError):
        if atlas.template is not None:
            let_go(atlas.template)


def _remarks(dataset: OpenedDataSet) -> tuple[str, ...]:
    """Return those warnings that change anything for who reads the page.

    That rows came twice or in another order does not, as each is kept once: where rows are missing,
    a warning of its own says so. Images that were left out are listed.
    """
    trifles = (UnsortedRowsWarning, RepeatedRowsWarning, MissingAlignmentWarning)
    met = [str(defect) for defect in dataset.session.defects if not isinstance(defect, trifles)]
    return tuple(dict.fromkeys([*met, *dataset.alignment_notes]))


def _most_telling(entries: Sequence[Entry], quality: DatasetQuality | None) -> int:
    """Return the place of the section with the most expression among those that can be trusted.

    Without masks it is the one in the middle.
    """
    odd = {section.image_id for section in quality.suspicious} if quality else set()
    sound = [k for k, entry in enumerate(entries) if entry.section.id not in odd]
    places = sound or list(range(len(entries)))
    middle = places[(len(places) - 1) // 2]
    best = max(places, key=lambda k: entries[k].views.expression or 0.0)
    return best if entries[best].views.expression else middle


def _hero(source: Source, entries: Sequence[Entry], quality: DatasetQuality | None) -> Hero:
    """Return the section that says most, with finer pictures than the others' where it can be."""
    place = _most_telling(entries, quality)
    views = entries[place].views
    finer = source.finer(entries[place].section, HERO_RESOLUTION)
    if finer is None:
        return Hero(place, views.registered, views.mask)
    mask = None if finer.mask is None else encode(transparent(finer.mask))
    return Hero(place, encode(finer.image), mask or views.mask)


def _asked_once(atlas: Atlas) -> Atlas:
    """Fetch an atlas's template now; where that fails, say so each time without asking again."""
    try:
        atlas.template  # noqa: B018
    except AtldldError as error:
        found = error

        def refuse(_: str) -> None:
            raise found

        return replace(atlas, load=refuse)
    return atlas


def _sections(
    source: Source,
    atlas: Atlas | None,
    scale: Scale,
    jobs: int | None,
    progress: Progress | None,
) -> tuple[list[Entry], list[SectionView], dict[str, str]]:
    from atldld.quality import LOOKED_AT, view_of

    resolution = max(source.resolution, LOOKED_AT)
    artist = Artist(atlas, source.dataset.session, scale)

    def finish(registered: RegisteredSection) -> tuple[Entry, SectionView]:
        section, start = registered.section, source.start
        before = None if start is None else start.section(section.id)
        move = move_between(before, section)
        then = None
        if before is not None and move is not None and not move.still:
            then = _as_it_lay(registered, before, source)
        entry = Entry(
            section,
            registered.plane,
            registered.downsample,
            views_of(
                registered,
                artist,
                start=then,
                curve_is_known=source.curve_is_known(section),
            ),
            move,
        )
        return entry, view_of(registered, resolution)

    entries, seen = [], []
    failed: dict[str, str] = {}
    first: AtldldError | None = None
    total = len(source.dataset)
    for section, result in source.registered(finish, jobs):
        if isinstance(result, AtldldError):
            failed[str(section.id)] = str(result)
            first = first or result
        else:
            entries.append(result[0])
            seen.append(result[1])
        if progress:
            progress(len(entries) + len(failed), total, f"section {section.number}")
    if first is not None and not entries:
        raise first
    return entries, seen, failed


def _as_it_lay(
    registered: RegisteredSection, before: PlacedSection, source: Source
) -> RegisteredSection:
    """Return a section on the same grid as it lay before, of the same file."""
    recipe = Recipe(registered.plane.grid.resolution, downsample=registered.downsample)
    files = replace(registered.files, mask=None)
    return warp(recipe.plan(before), files, source.dataset.session)


def _quality(
    source: Source,
    pictured: Sequence[SectionView],
    atlas: Atlas | None,
    jobs: int | None,
    missing: dict[str, str],
) -> DatasetQuality | None:
    """Return what `atldld.quality.assess` does, whatever the resolution of the pictures is."""
    from atldld.quality import assess_pictures

    notes: tuple[str, ...] = ()
    seen = pictured
    try:
        if not source.pictures_are_judged:
            seen = source.look_at(jobs)
    except AtldldError as error:
        step = source.resolution
        if isinstance(source, ServiceSource):
            missing["quality"] = str(error)
            return None
        notes = (
            f"The quality figures are made of the folder's own {source.plane} pictures of "
            f"{step:g} µm, so those of `atldld quality` may differ: {error}",
        )
    resolution = seen[0].plane.grid.resolution
    if atlas is not None:
        try:
            atlas.template  # noqa: B018
        except AtldldError as error:
            # the annotation is there all the same
            atlas = replace(atlas, load=lambda _: None)
            notes += (f"There is no mutual information: {error}",)
    found = assess_pictures(
        seen, atlas, resolution=resolution, without_atlas=missing.get("atlas"), jobs=jobs
    )
    found = replace(found, notes=notes or found.notes)
    if found.notes and "atlas" not in missing:
        missing["figures"] = " ".join(found.notes)
    return found


def _quality_before(
    source: Source,
    now: DatasetQuality | None,
    atlas: Atlas | None,
    jobs: int | None,
    missing: dict[str, str],
) -> DatasetQuality | None:
    """Return the figures of the sections as they lay before."""
    from atldld.quality import assess_pictures, look_at

    start = source.start
    if start is None or now is None:
        return None
    if start.note is not None:
        missing["start"] = start.note
    try:
        seen = look_at(start.dataset, now.resolution, session=source.dataset.session, jobs=jobs)
        if atlas is not None and any("mutual information" in note for note in now.notes):
            atlas = replace(atlas, load=lambda _: None)
        return assess_pictures(
            seen, atlas, resolution=now.resolution, without_atlas=missing.get("atlas"), jobs=jobs
        )
    except AtldldError as error:
        missing["before"] = str(error)
        return None


def _regions(
    source: Source,
    atlas: Atlas | None,
    scale: Scale,
    jobs: int | None,
    missing: dict[str, str],
) -> RegionTable | None:
    from atldld.regions.quantify import quantify

    if atlas is None:
        missing["regions"] = "Without an atlas there are no structures to count in."
        return None
    masks = any(section.image.has_expression_mask for section in source.dataset)
    try:
        return quantify(
            source.dataset,
            atlas,
            source.table_resolution,
            session=source.dataset.session,
            scale=scale,
            stain_threshold=None if masks else STAIN_THRESHOLD,
            jobs=jobs,
        )
    except AtldldError as error:
        missing["regions"] = str(error)
        return None


def _volume(
    source: Source, atlas: Atlas | None, jobs: int | None, missing: dict[str, str]
) -> tuple[Slices, ...]:
    from atldld.volume import VolumeRecipe, build_volume

    dataset = source.dataset
    recipe = VolumeRecipe(
        max(source.resolution, VOLUME_RESOLUTION),
        fill="linear",
        # the files that the pictures are made of
        read_at=max(source.resolution, FILES_RESOLUTION),
    )
    try:
        built = build_volume([(dataset, dataset.session)], recipe, jobs=jobs)
    except AtldldError as error:
        missing["volume"] = str(error)
        return ()
    return cut(built, atlas, workers_for(jobs))


def _absent(numbers: Sequence[int]) -> tuple[int, ...]:
    """Return the section numbers that the usual spacing would have between the first and last."""
    planes = np.unique(numbers)
    if len(planes) < 3:
        return ()
    usual = int(np.median(np.diff(planes)))
    out: list[int] = []
    for before, after in zip(planes[:-1].tolist(), planes[1:].tolist(), strict=True):
        count = round((after - before) / usual)
        out += [round(before + (after - before) * k / count) for k in range(1, count)]
    return tuple(out)


def _versions() -> dict[str, str]:
    import cv2

    return {
        "atldld": version(),
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "OpenCV": cv2.__version__,
    }
