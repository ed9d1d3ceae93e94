"""The folder that `atldld download dataset` leaves: pictures, fields, and how they were made."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from atldld.api import DataSet, open_dataset
from atldld.errors import AtldldError, CacheError, OutputError
from atldld.fetch.cache import CachedImage, sha256_of
from atldld.fetch.jpeg import decode
from atldld.fetch.session import Session, check_id
from atldld.records import SectionImage
from atldld.sections.metadata import METADATA, is_plain, read_metadata, section_in
from atldld.sections.register import Job, Recipe, RegisteredSection, run
from atldld.support.documents import DocumentError, parse_json
from atldld.support.files import (
    check_folder,
    check_space,
    check_targets,
    make_folder,
    whole_file,
    write_errors,
)
from atldld.support.provenance import FRAME, Progress, citation_of, version

__all__ = [
    "METADATA",
    "Summary",
    "copy_image",
    "download_dataset",
    "files_of",
    "overview",
    "save_image",
    "write_picture",
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
        What could not be had, by image id: the reason.
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
        """Whether everything that can be placed was had."""
        return not self.failed


def download_dataset(
    dataset_id: int | str,
    folder: str | Path,
    recipe: Recipe,
    *,
    session: Session,
    fields: bool = False,
    picture_format: PictureFormat = "png",
    jobs: int | None = None,
    force: bool = False,
    refresh: bool = False,
    alignment: str | Path | None = None,
    command_line: str | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Write every section of a data set, registered, into a folder.

    Each picture is ``<image_id>.png``, each mask ``<image_id>_expr.png``, each displacement field
    ``<image_id>_field.npy``; ``metadata.json`` says all that is needed to use them. Running again
    with the same arguments does only what is missing.

    Parameters
    ----------
    dataset_id : int
        The id of the section data set.
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
    command_line : str, optional
        For ``metadata.json``.
    progress : callable, optional
        See `atldld.support.provenance.Progress`.

    Raises
    ------
    OutputError
        The folder cannot be used, or holds another result.
    AtldldError
        The data set cannot be had or placed. Nothing is written then.
    """
    dataset_id = check_id(dataset_id, "section data set")
    folder = Path(folder)
    before = _check_folder(folder, dataset_id, force=force)
    met_before = len(session.defects)
    dataset = open_dataset(dataset_id, session=session, refresh=refresh, alignment=alignment)
    dataset.check_placed()
    plans = [recipe.plan(section) for section in dataset.sections]

    request = _request(recipe, fields=fields, picture_format=picture_format)
    # by content: a refined file of the same name gives other pictures
    request["alignment"] = dataset.alignment.sha256 if dataset.alignment else None
    if before and not force and before.get("request") != request:
        raise OutputError(
            f"{folder} holds sections of data set {dataset_id} that were made with other options: "
            f"{_difference(before.get('request'), request)}.",
            dataset_id=dataset_id,
            hint="Choose another folder, or replace them with --force.",
        )
    if before and not force and before.get("synthetic", False) != dataset.record.synthetic:
        raise OutputError(
            f"{folder} holds {'SYNTHETIC' if before.get('synthetic') else 'genuine'} sections of "
            f"data set {dataset_id}, which must not be mixed with others.",
            dataset_id=dataset_id,
            hint="Choose another folder, or replace them with --force.",
        )
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
    older = _older_files(before, force=force)
    # What is to be replaced stays until there is something better; so does what tells of it, which
    # the hashes of new pictures do not fit.
    replacing = force and bool(before)
    placed = {str(plan.section.id) for plan in plans}
    kept = {
        name: entry
        for name, entry in ({} if replacing else _still_there(folder, before)).items()
        if name in placed
    }
    metadata = _describe(dataset, recipe, request, plans, command_line)
    metadata["per_image"].update(kept)
    if older:
        metadata["to_be_replaced"] = older
    if not replacing:
        _write_metadata(folder, metadata)

    def finish(registered: RegisteredSection) -> dict[str, Any]:
        return _write_section(folder, registered, fields=fields, picture_format=picture_format)

    to_do = [plan for plan in plans if str(plan.section.id) not in kept]
    done = len(kept)
    failed: dict[str, str] = {}
    written = time.monotonic()
    try:
        for plan, result in run(to_do, finish, jobs=jobs):
            name = str(plan.section.id)
            if isinstance(result, OutputError | CacheError):
                raise result  # a full disk stays full for the sections that follow
            if isinstance(result, AtldldError):
                failed[name] = metadata["failed"][name] = str(result)
            else:
                metadata["per_image"][name] = result
                if "mask_failed" in result:
                    failed[name] = metadata["failed"][name] = f"without its mask: {result['note']}"
            done += 1
            # Not after each: it tells of all sections, so the time would grow with their square.
            if time.monotonic() - written > BETWEEN_WRITES:
                _write_metadata(folder, metadata)
                written = time.monotonic()
            if progress:
                progress(done, len(plans), f"section {plan.section.number}")
    except BaseException:
        # what is there need not be made again
        if metadata["per_image"] or not replacing:
            with contextlib.suppress(OutputError):
                _write_metadata(folder, metadata)
        raise
    if not failed:
        _remove(folder, older, metadata)
        metadata.pop("to_be_replaced", None)
    metadata["complete"] = not failed
    metadata["warnings"] = [
        f"{type(defect).__name__}: {defect}" for defect in session.defects[met_before:]
    ] + [f"AlignmentFileWarning: {note}" for note in dataset.alignment_notes]
    metadata["per_image"] = dict(
        # the highest section number first, as in 0.3
        sorted(metadata["per_image"].items(), key=lambda entry: -entry[1]["section_number"])
    )
    _write_metadata(folder, metadata)
    return Summary(
        folder=folder,
        written=len(to_do) - len(failed),
        kept=len(kept),
        skipped=metadata["skipped"],
        failed=failed,
        notes={
            name: entry["note"]
            for name, entry in metadata["per_image"].items()
            if "note" in entry and name not in failed
        },
        warnings=tuple(metadata["warnings"]),
    )


def save_image(
    session: Session,
    image_id: int | str,
    folder: str | Path,
    *,
    downsample: int = 0,
    expression: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write one section image as the service keeps it, as PNG.

    Parameters
    ----------
    session : Session
        Where it comes from.
    image_id : int
        The id of the section image.
    folder : str or pathlib.Path
        Made if need be; the files are ``<image_id>-<downsample>.png`` and
        ``<image_id>-<downsample>-expression.png``.
    downsample : int
        The tier.
    expression : bool
        Write the expression mask too.
    force : bool
        Replace files that are there. Without it they may only be what would be written again.

    Returns
    -------
    list of pathlib.Path
        What was written, or was there.

    Raises
    ------
    AtldldError
        The image, or its mask, cannot be had; then nothing of it is written.
    """
    image_id = check_id(image_id, "section image")
    folder = Path(folder)
    check_folder(folder)
    files = {folder / f"{image_id}-{downsample}.png": False}
    if expression:
        files[folder / f"{image_id}-{downsample}-expression.png"] = True
    # Scripts for 0.3 fetch images twice: what is there already need not be written again.
    new = {
        path: mask
        for path, mask in files.items()
        if force
        or not _holds(path, session.cache.find_image(image_id, downsample, expression=mask))
    }
    check_targets(new, force=force)
    if new:
        image = SectionImage.from_record(session.image_record(image_id))
        cached = {
            path: session.image(image, downsample, expression=mask) for path, mask in new.items()
        }
        for path, held in cached.items():
            pixels = session.pixels(image, downsample, expression=new[path], held=held)
            write_picture(path, pixels, force=force)
    return list(files)


def _holds(path: Path, image: CachedImage | None) -> bool:
    """Whether a file is a section image as `save_image` writes it."""
    try:
        return image is not None and path.read_bytes() == _as_png(decode(image.path))
    except (OSError, AtldldError):
        return False


def copy_image(
    session: Session, image: SectionImage, path: Path, downsample: int, *, force: bool = False
) -> None:
    """Write a section image as the service keeps it: its own JPEG, or decoded to PNG.

    Parameters
    ----------
    session : Session
        Where it comes from.
    image : SectionImage
        Which one.
    path : pathlib.Path
        Ends in ``.jpg`` or ``.png``; its folder must exist.
    downsample : int
        The tier.
    force : bool
        Replace a file that is there.
    """
    check_targets([path], force=force)
    cached = session.image(image, downsample)
    if path.suffix == ".png":
        write_picture(path, session.pixels(image, downsample, held=cached), force=force)
        return
    with whole_file(path, force=force, sync=False) as temporary:
        shutil.copyfile(cached.path, temporary)


def write_picture(
    path: Path,
    pixels: NDArray[np.uint8],
    resolution: float | None = None,
    *,
    force: bool = False,
) -> None:
    """Write an RGB picture as PNG or TIFF, by the file's ending; whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        Ends in ``.png`` or ``.tif``.
    pixels : numpy.ndarray, shape (rows, columns, 3), uint8
        RGB.
    resolution : float, optional
        Side of a pixel in µm, for TIFF's resolution tags.
    force : bool
        Replace a file that is there.

    Raises
    ------
    OutputError
        It cannot be written, or is there already.
    """
    with whole_file(path, force=force, sync=False) as temporary:
        if path.suffix == ".png":
            temporary.write_bytes(_as_png(pixels))
        else:
            import tifffile

            tags: dict[str, Any] = {}
            if resolution is not None:
                tags = {"resolution": (1e4 / resolution,) * 2, "resolutionunit": "CENTIMETER"}
            tifffile.imwrite(
                temporary, pixels, photometric="rgb", compression="adobe_deflate", **tags
            )


def _as_png(pixels: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise OutputError("A picture cannot be encoded as PNG.")
    return data.tobytes()


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
    from atldld.plot import contact_sheet

    folder, path = Path(folder), Path(path)
    metadata = read_metadata(folder)
    pictures = []
    for image_id, entry in reversed(metadata["per_image"].items()):
        axis = entry["third_coordinate"]["axis"]
        caption = f"{image_id}  {axis} = {entry['section_coordinate']:.0f} um"
        name = entry["files"]["image"]["name"]
        pixels = cv2.imread(str(folder / name), cv2.IMREAD_COLOR) if is_plain(name) else None
        if pixels is None:
            raise OutputError(f"{folder / name} cannot be read.")
        pictures.append((caption, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8)))
    if not pictures:
        raise OutputError(f"{folder} holds no picture.")
    title = (
        f"Section data set {metadata['dataset_id']}, {metadata['output']['plane_kind']} planes, "
        f"{metadata['output']['resolution_um']} um a pixel"
    )
    if metadata["synthetic"]:
        title = f"SYNTHETIC pixels (demo brain), genuine placement - {title}"
    write_picture(path, contact_sheet(pictures, title), force=force)
    return path


def _write_section(
    folder: Path, registered: RegisteredSection, *, fields: bool, picture_format: PictureFormat
) -> dict[str, Any]:
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


def _describe_section(registered: RegisteredSection, outputs: Mapping[str, Path]) -> dict[str, Any]:
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
        "files": {
            kind: {"name": path.name, "sha256": sha256_of(path)} for kind, path in outputs.items()
        },
    }
    if section.alignment is not None:
        entry["alignment"] = section.alignment
    elif image.alignment2d is not None:
        entry["tsv"] = list(image.alignment2d.tsv)
        entry["tvs"] = list(image.alignment2d.tvs)
    if files.mask is not None:
        entry["expression_source"] = _describe_source(files.mask)
    if files.mask_problem is not None:
        entry["note"] = files.mask_problem
    if files.mask_failed:
        entry["mask_failed"] = True
    return entry


def _describe_source(image: CachedImage) -> dict[str, Any]:
    return {
        "url": image.url,
        "sha256": image.sha256,
        "bytes": image.bytes,
        "width": image.width,
        "height": image.height,
        "fetched": image.fetched,
    }


def _request(recipe: Recipe, *, fields: bool, picture_format: PictureFormat) -> dict[str, Any]:
    """Return what decides the pixels and files: runs with equal ones may share a folder."""
    point = recipe.detection_xy
    return {
        "version": version(),
        "plane": recipe.plane,
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
        f"{name} {old.get(name)} there, {value} now"
        for name, value in now.items()
        if old.get(name) != value
    )


def _describe(
    dataset: DataSet,
    recipe: Recipe,
    request: Mapping[str, Any],
    plans: list[Job],
    command_line: str | None,
) -> dict[str, Any]:

    record = dataset.record
    grid = plans[0].plane.grid
    return {
        "dataset_id": str(dataset.id),  # a text, as in 0.3
        "complete": False,
        "synthetic": record.synthetic,
        "atldld_version": version(),
        "command_line": command_line,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "service": dataset.session.settings.api_url,
        "citation": citation_of(dataset.id),
        "request": request,
        "downsample_ref": _plain(recipe.resolution),
        "downsample_img": recipe.downsample,
        "include_expression": recipe.expression,
        "plane_of_section": record.plane_of_section_id,
        "plane_of_section_name": dataset.plane.value,
        "reference_space_id": record.reference_space_id,
        "section_thickness": record.section_thickness,
        "failed_data_set": record.failed,
        "genes": [gene.acronym for gene in record.genes],
        "specimen": record.specimen_name,
        "alignment": dataset.alignment.describe() if dataset.alignment else None,
        "tvr": list(record.alignment3d.tvr) if record.alignment3d else None,
        "trv": list(record.alignment3d.trv) if record.alignment3d else None,
        "output": {
            "plane_kind": recipe.plane,
            "resolution_um": _plain(recipe.resolution),
            "rows": grid.shape[0],
            "columns": grid.shape[1],
            "axis_of_rows": grid.axis_names[0],
            "axis_of_columns": grid.axis_names[1],
            "pixel_centre": "(k + 1/2) * resolution_um along each axis",
            "frame": FRAME,
            "third_coordinate": "per image: axis = a * row coordinate + b * column coordinate "
            "+ constant, all in um",
            "image_from_output": "per image: full-resolution (x, y) = M @ (column, row, 1)",
        },
        "per_image": {},
        "skipped": {str(skipped.image_id): skipped.reason for skipped in dataset.skipped},
        "failed": {},
    }


def _check_folder(folder: Path, dataset_id: int, *, force: bool) -> dict[str, Any]:
    """Refuse a folder that cannot be used, and return an earlier result's metadata.

    Nothing is made yet: an id that does not exist must leave nothing behind.
    """
    check_folder(folder)
    path = folder / METADATA
    if not path.exists():
        return {}
    try:
        before = parse_json(path.read_bytes())
        other = before["dataset_id"]
        if not isinstance(before.get("per_image", {}), dict):
            raise TypeError
    except (OSError, DocumentError, TypeError, KeyError, AttributeError):
        before, other = {}, None
    if str(other) != str(dataset_id) and not force:
        what = f"the result of data set {other}" if other else "a metadata.json of something else"
        raise OutputError(
            f"{folder} holds {what}.",
            dataset_id=dataset_id,
            hint="Choose another folder, or replace what is there with --force.",
        )
    return dict(before)


def files_of(metadata: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the names and hashes of the files that an earlier run lists, by image id.

    Names come from a file that anyone may have edited, so only plain ones count.
    """
    listed: dict[str, dict[str, str]] = {}
    entries = metadata.get("per_image")
    for image_id, entry in entries.items() if isinstance(entries, dict) else ():
        with contextlib.suppress(AttributeError, KeyError, TypeError):
            hashes = {file["name"]: file["sha256"] for file in entry["files"].values()}
            if all(map(is_plain, hashes)):
                listed[image_id] = hashes
    return listed


def _still_there(folder: Path, before: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the entries of an earlier run that say all they should and whose files are whole."""
    kept = {}
    for image_id, hashes in files_of(before).items():
        entry = before["per_image"][image_id]
        with contextlib.suppress(OSError):
            whole = all(sha256_of(folder / name) == digest for name, digest in hashes.items())
            if whole and "mask_failed" not in entry and section_in(entry):
                kept[image_id] = entry
    return kept


def _older_files(before: Mapping[str, Any], *, force: bool) -> list[str]:
    """Return the files of earlier runs that are not to stay once all of the new ones are there."""
    listed = before.get("to_be_replaced")
    older = {str(name) for name in listed} if isinstance(listed, list) else set()
    if force:
        older |= {name for hashes in files_of(before).values() for name in hashes}
    return sorted(name for name in older if is_plain(name))


def _remove(folder: Path, older: Iterable[str], metadata: Mapping[str, Any]) -> None:
    """Remove the files of an earlier run for which there are no new ones, and nothing else."""
    new = {name for hashes in files_of(metadata).values() for name in hashes}
    with write_errors(folder):
        for name in older:
            if name not in new:
                (folder / name).unlink(missing_ok=True)


def _write_metadata(folder: Path, metadata: Mapping[str, Any]) -> None:
    with whole_file(folder / METADATA, force=True) as temporary:
        # many times as fast as the standard library's, which indents in Python
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(metadata), indent=1))
