"""The folder that `atldld download dataset` leaves: pictures, fields, and how they were made."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import cv2
import msgspec
import numpy as np

from atldld.errors import AtldldError, CacheError, OutputError, Remedy
from atldld.fetch.cache import sha256_of
from atldld.fetch.kept import CachedImage
from atldld.fetch.session import Session, check_id
from atldld.formats.pictures import write_picture
from atldld.formats.sheets import contact_sheet
from atldld.place.sections import PlacedDataSet
from atldld.sections.folder import (
    check_one_dataset,
    earlier_result,
    older_files,
    remove_older,
    still_there,
    write_metadata,
)
from atldld.sections.metadata import (
    FLAT,
    FORMAT_VERSION,
    DeformationEntry,
    FileEntry,
    FolderMetadata,
    OutputEntry,
    SectionEntry,
    SourceEntry,
    is_plain,
    read_metadata,
)
from atldld.sections.open import place_dataset
from atldld.sections.register import Job, Recipe, RegisteredSection, run
from atldld.support.files import (
    check_space,
    check_targets,
    make_folder,
)
from atldld.support.provenance import FRAME, Progress, citation_of, version
from atldld.support.text import in_words

if TYPE_CHECKING:
    from atldld.place.alignment import AlignmentPath

__all__ = [
    "Summary",
    "download_dataset",
    "overview",
]


BETWEEN_WRITES = 1.0
"""Seconds from one state of the metadata on disk to the next, while sections are made."""


PictureFormat = Literal["png", "tiff"]


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes
    ----------
    folder : pathlib.Path
        Where the result is.
    written : int
        Sections written in this run.
    kept : int
        Sections that an earlier run had written.
    skipped : dict
        What cannot be placed, by image id: the reason.
    failed : dict
        What could not be fetched, by image id: the reason.
    notes : dict
        What was done without something, by image id: the reason.
    warnings : tuple of str
        Defects of the service that were met.
    """

    folder: Path
    written: int
    kept: int
    skipped: dict[str, str]
    failed: dict[str, str]
    notes: dict[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything that can be placed was written."""
        return not self.failed


def download_dataset(
    dataset: int | str | PlacedDataSet,
    folder: str | Path,
    recipe: Recipe,
    *,
    session: Session,
    fields: bool = False,
    picture_format: PictureFormat = "png",
    jobs: int | None = None,
    force: bool = False,
    refresh: bool = False,
    alignment: AlignmentPath | None = None,
    command_line: str | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Write every section of a data set, registered, into a folder.

    Each picture is ``<image_id>.png``, each mask ``<image_id>_expr.png``, each displacement field
    ``<image_id>_field.npy``; ``metadata.json`` says all that is needed to use them. Running again
    with the same arguments does only what is missing.

    Parameters
    ----------
    dataset : int or PlacedDataSet
        The id of the section data set; or the data set itself, as it is placed.
    folder : str or pathlib.Path
        Made if need be.
    recipe : Recipe
        How the sections are shown.
    session : Session
        Where metadata and images come from.
    fields : bool
        Write the displacement fields too.
    picture_format : {"png", "tiff"}
        Of pictures and masks.
    jobs : int, optional
        Threads that decode, warp and write; the number of cores by default.
    force : bool
        Replace what an earlier run has left in the folder, whatever it was.
    refresh : bool
        Ask the service for the metadata even if they are in the cache.
    alignment : str or pathlib.Path, optional
        A JSON of QuickNII, VisuAlign or DeepSlice to be used in place of the service's alignment.
        This and `refresh` are for ids.
    command_line : str, optional
        For ``metadata.json``.
    progress : callable, optional
        See `atldld.support.provenance.Progress`.

    Raises
    ------
    OutputError
        If the folder cannot be used, or holds another result.
    AtldldError
        If the data set cannot be fetched or placed; nothing is written then.
    """
    if isinstance(dataset, PlacedDataSet):
        dataset_id = dataset.id
        met_before = 0  # what was met as it was opened is said of it, too
    else:
        dataset_id = check_id(dataset, "section data set")
        met_before = len(session.defects)
    folder = Path(folder)
    before = earlier_result(folder, dataset_id, force=force)
    if not isinstance(dataset, PlacedDataSet):
        dataset = place_dataset(dataset_id, session, refresh=refresh, alignment=alignment)
    dataset.check_placed()
    check_one_dataset(folder, dataset_id, dataset.image_ids, force=force)
    plans = [recipe.plan(section) for section in dataset.sections]

    request = _request(recipe, fields=fields, picture_format=picture_format)
    # by content: a refined file of the same name gives other pictures
    request["alignment"] = dataset.alignment.sha256 if dataset.alignment else None
    if dataset.alignment is not None and dataset.alignment.confirmed_only:
        request["confirmed_only"] = True
    if before and not force:
        _check_alike(folder, before, dataset, request)
    names = [
        _file_names(plan.section.id, recipe.expression, fields, picture_format) for plan in plans
    ]
    if not before:
        # nothing vouches for files of these names, so they are somebody else's
        check_targets([folder / name for each in names for name in each.values()], force=force)
        # the displacement fields are not compressed: two float32 for each pixel
        pixels = sum(math.prod(plan.plane.grid.shape) for plan in plans)
        check_space(folder, 8 * pixels if fields else 0)
    make_folder(folder)
    older = older_files(before, force=force)
    # What is to be replaced stays until there is something better; so does what tells of it, which
    # the hashes of new pictures do not fit.
    replacing = force and bool(before)
    placed = {str(plan.section.id) for plan in plans}
    kept = {
        name: entry
        for name, entry in ({} if replacing else still_there(folder, before)).items()
        if name in placed
    }
    metadata = _describe(dataset, session, recipe, request, plans, command_line)
    metadata.per_image.update(kept)
    if older:
        metadata.to_be_replaced = older
    if not replacing:
        write_metadata(folder, metadata)

    def finish(registered: RegisteredSection) -> SectionEntry:
        return _write_section(folder, registered, fields=fields, picture_format=picture_format)

    to_do = [plan for plan in plans if str(plan.section.id) not in kept]
    done = len(kept)
    written = time.monotonic()
    try:
        for plan, result in run(to_do, finish, session, jobs=jobs):
            name = str(plan.section.id)
            if isinstance(result, OutputError | CacheError):
                raise result  # a full disk stays full for the sections that follow
            if isinstance(result, AtldldError):
                metadata.failed[name] = str(result)
            else:
                metadata.per_image[name] = result
                if result.mask_failed:
                    metadata.failed[name] = f"without its mask: {result.note}"
            done += 1
            # Not after each: it tells of all sections, so the time would grow with their square.
            if time.monotonic() - written > BETWEEN_WRITES:
                write_metadata(folder, metadata)
                written = time.monotonic()
            if progress:
                progress(done, len(plans), f"section {plan.section.number}")
    except BaseException:
        # what is there need not be made again
        if metadata.per_image or not replacing:
            with contextlib.suppress(OutputError):
                write_metadata(folder, metadata)
        raise
    failed = metadata.failed
    if not failed:
        remove_older(folder, older, metadata)
        metadata.to_be_replaced = msgspec.UNSET
    metadata.complete = not failed
    warnings = [f"{type(defect).__name__}: {defect}" for defect in session.defects[met_before:]]
    warnings += [f"AlignmentFileWarning: {note}" for note in dataset.alignment_notes]
    metadata.warnings = warnings
    # the highest section number first, as in 0.3
    metadata.per_image = dict(
        sorted(metadata.per_image.items(), key=lambda entry: -entry[1].section_number)
    )
    write_metadata(folder, metadata)
    return Summary(
        folder=folder,
        written=len(to_do) - len(failed),
        kept=len(kept),
        skipped={name: str(reason) for name, reason in metadata.skipped.items()},
        failed=dict(failed),
        notes={
            name: entry.note
            for name, entry in metadata.per_image.items()
            if entry.note is not None and name not in failed
        },
        warnings=tuple(warnings),
    )


def _check_alike(
    folder: Path, before: Mapping[str, Any], dataset: PlacedDataSet, request: Mapping[str, Any]
) -> None:
    """Refuse to go on with a result that was made otherwise."""
    if before.get("request") != request:
        raise OutputError(
            f"{folder} holds sections of data set {dataset.id} that were made with other options: "
            f"{_difference(before.get('request'), request)}.",
            dataset_id=dataset.id,
            hint=f"Choose another folder, or replace them with {Remedy.FORCE}.",
        )
    if before.get("synthetic", False) != dataset.record.synthetic:
        raise OutputError(
            f"{folder} holds {'SYNTHETIC' if before.get('synthetic') else 'genuine'} sections of "
            f"data set {dataset.id}, which must not be mixed with others.",
            dataset_id=dataset.id,
            hint=f"Choose another folder, or replace them with {Remedy.FORCE}.",
        )


def overview(folder: str | Path, path: str | Path, *, force: bool = False) -> Path:
    """Draw all pictures of a finished folder on one sheet.

    Parameters
    ----------
    folder : str or pathlib.Path
        What `download_dataset` has written, as PNG.
    path : str or pathlib.Path
        The sheet, ``.png``.
    force : bool
        Replace a file that is there.
    """
    folder, path = Path(folder), Path(path)
    metadata = read_metadata(folder)
    pictures = []
    for image_id, entry in reversed(metadata.per_image.items()):
        axis = entry.third_coordinate["axis"]
        caption = f"{image_id}  {axis} = {entry.section_coordinate:.0f} um"
        name = entry.files["image"].name
        pixels = cv2.imread(str(folder / name), cv2.IMREAD_COLOR) if is_plain(name) else None
        if pixels is None:
            raise OutputError(f"{folder / name} cannot be read.")
        pictures.append((caption, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8)))
    if not pictures:
        raise OutputError(f"{folder} holds no picture.")
    title = (
        f"Section data set {metadata.dataset_id}, {metadata.output.plane_kind} planes, "
        f"{metadata.output.resolution_um} um a pixel"
    )
    if metadata.synthetic:
        title = f"SYNTHETIC pixels (demo brain), genuine placement - {title}"
    write_picture(path, contact_sheet(pictures, title), force=force)
    return path


def _write_section(
    folder: Path, registered: RegisteredSection, *, fields: bool, picture_format: PictureFormat
) -> SectionEntry:
    """Write the files of one section and return its entry of ``metadata.json``."""
    step = registered.plane.grid.resolution
    names = _file_names(registered.id, registered.mask is not None, fields, picture_format)
    outputs = {kind: folder / name for kind, name in names.items()}
    # what is there is an earlier run's, as metadata.json says
    write_picture(outputs["image"], registered.image, step, force=True)
    if registered.mask is not None:
        write_picture(outputs["expression"], registered.mask, step, force=True)
    if fields:
        registered.displacement_field().save(outputs["field"], force=True)
    return _describe_section(registered, outputs)


def _file_names(
    image_id: int, mask: bool, field: bool, picture_format: PictureFormat
) -> dict[str, str]:
    """Return the names of a section's files, by what they hold."""
    ending = ".png" if picture_format == "png" else ".tif"
    names = {"image": f"{image_id}{ending}"}
    if mask:
        names["expression"] = f"{image_id}_expr{ending}"
    if field:
        names["field"] = f"{image_id}_field.npy"
    return names


def _describe_section(registered: RegisteredSection, outputs: Mapping[str, Path]) -> SectionEntry:
    section, plane, files = registered.section, registered.plane, registered.files
    geometry = section.geometry
    image = section.image
    coordinate = plane.central_depth
    entry: dict[str, Any] = {
        "section_number": section.number,
        # 0.3 had one number for the whole picture; for an oblique plane it is the picture's centre
        "section_coordinate": coordinate,
        "section_coordinate_scaled": coordinate / section.thickness,
        "third_coordinate": plane.describe_depth(),
        "image_from_output": plane.to_image.tolist(),
        "image_to_reference": section.placement.forward.tolist(),
        "reference_to_image": section.placement.backward[:2].tolist(),
        "tilt_degrees": geometry.tilt,
        "depth_range_um": list(geometry.depth_range),
        "width": image.width,
        "height": image.height,
        "downsample_img": registered.downsample,
        "background": list(registered.background),
        "source": _describe_source(files.image),
        "files": {kind: FileEntry(path.name, sha256_of(path)) for kind, path in outputs.items()},
    }
    if section.alignment is not None:
        entry["alignment"] = section.alignment
        entry["coordinates"] = section.coordinates
    elif image.alignment2d is not None:
        entry["tsv"] = list(image.alignment2d.tsv)
        entry["tvs"] = list(image.alignment2d.tvs)
    deformation = section.describe_deformation()
    if deformation is not None:
        entry["deformation"] = DeformationEntry(**deformation)
    if section.refinement is not None:
        entry["refinement"] = section.refinement
    if files.mask is not None:
        entry["expression_source"] = _describe_source(files.mask)
    if files.mask_problem is not None:
        entry["note"] = files.mask_problem
    if files.mask_failed:
        entry["mask_failed"] = True
    return SectionEntry(**entry)


def _describe_source(image: CachedImage) -> SourceEntry:
    return SourceEntry(
        url=image.url,
        sha256=image.sha256,
        bytes=image.bytes,
        width=image.width,
        height=image.height,
        fetched=image.fetched,
    )


def _request(recipe: Recipe, *, fields: bool, picture_format: PictureFormat) -> dict[str, Any]:
    """Return what decides the pixels and files: runs with equal ones may share a folder."""
    point = recipe.detection_xy
    return {
        "version": version(),
        "plane": recipe.cut,
        "layout": recipe.used_layout,
        "resolution_um": _plain(recipe.resolution),
        "downsample_img": recipe.downsample,
        "include_expression": recipe.expression,
        "detection_xy": None if point is None else np.asarray(point, dtype=float).tolist(),
        "fields": fields,
        "format": picture_format,
    }


def _plain(number: float) -> float:
    """Return a whole number as an `int`: 25, not 25.0."""
    return int(number) if float(number).is_integer() else number


def _difference(before: object, now: Mapping[str, Any]) -> str:
    old = before if isinstance(before, Mapping) else {}
    return ", ".join(
        f"{name} {in_words(old.get(name))} there, {in_words(value)} now"
        for name, value in now.items()
        if old.get(name) != value
    )


def _describe(
    dataset: PlacedDataSet,
    session: Session,
    recipe: Recipe,
    request: dict[str, Any],
    plans: list[Job],
    command_line: str | None,
) -> FolderMetadata:
    record = dataset.record
    alignment3d, thickness = record.check_alignment()
    grid = plans[0].plane.grid
    row_axis, column_axis = grid.axis_names
    curved = any(plan.plane.deformation is not None for plan in plans)
    return FolderMetadata(
        dataset_id=str(dataset.id),  # a text, as in 0.3
        format_version=FORMAT_VERSION if curved else FLAT,
        synthetic=record.synthetic,
        atldld_version=version(),
        command_line=command_line,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        service=session.settings.api_url,
        citation=citation_of(dataset.id),
        request=request,
        downsample_ref=_plain(recipe.resolution),
        downsample_img=recipe.downsample,
        include_expression=recipe.expression,
        plane_of_section=cast("int", record.plane_of_section_id),
        plane_of_section_name=dataset.plane.value,
        reference_space_id=cast("int", record.reference_space_id),
        section_thickness=thickness,
        failed_data_set=record.failed,
        genes=[gene.acronym for gene in record.genes],
        specimen=record.specimen_name,
        alignment=dataset.alignment.describe() if dataset.alignment else None,
        tvr=alignment3d.tvr,
        trv=alignment3d.trv,
        output=OutputEntry(
            plane_kind=recipe.cut,
            resolution_um=_plain(recipe.resolution),
            rows=grid.shape[0],
            columns=grid.shape[1],
            axis_of_rows=row_axis,
            axis_of_columns=column_axis,
            frame=FRAME,
            coordinates=dataset.coordinates,
        ),
        per_image={},
        skipped={str(skipped.image_id): skipped.reason for skipped in dataset.skipped},
        failed={},
    )
