"""Registered sections and their displacement fields as files that other tools open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from atldld.errors import AtldldError, SkippedImageWarning
from atldld.formats.common import as_json
from atldld.formats.displacements import describe
from atldld.formats.fields import check_field_format, write_field
from atldld.formats.ome_tiff import write_pictures
from atldld.place.sections import PlacedDataSet, PlacedSection
from atldld.sections.folder import check_one_dataset
from atldld.sections.register import Recipe, RegisteredSection, report_left_out, run
from atldld.support.files import check_folder, check_targets, whole_file
from atldld.support.provenance import Progress, version

if TYPE_CHECKING:
    from atldld.fetch.session import Session

__all__ = ["check_fields", "write_fields", "write_section", "write_sections"]

INDEX = "fields.json"

# a pixel's, in formats without compression: two numbers
_BYTES = {".mha": 16, ".nii": 16, ".npy": 8}


def check_fields(
    folder: str | Path,
    ending: str = ".mha",
    *,
    dataset: PlacedDataSet | None = None,
    recipe: Recipe | None = None,
    force: bool = False,
) -> None:
    """Check that fields can be written into a folder, before any is computed.

    Parameters
    ----------
    folder, ending :
        As for `write_fields`.
    dataset : PlacedDataSet, optional
        Whose fields; without it, only what holds for every data set is checked.
    recipe : Recipe, optional
        The output grid; with it and the data set, the space on the disk is checked too.
    force : bool
        Whether files that are there may be replaced.

    Raises
    ------
    AtldldError
        As for `write_fields`.
    """
    folder = Path(folder)
    check_field_format(f"field{ending}")
    check_folder(folder)
    check_targets([folder / INDEX], force=force)
    if dataset is not None:
        check_one_dataset(folder, dataset.id, dataset.image_ids, force=force)
        needed = 0
        if recipe is not None and ending in _BYTES and dataset.sections:
            rows, columns = recipe.plan(dataset.sections[0]).plane.grid.shape
            needed = len(dataset.sections) * rows * columns * _BYTES[ending]
        check_targets(
            [_field_path(folder, section, ending) for section in dataset.sections],
            force=force,
            store=ending.endswith(".zarr"),
            needed=needed,
        )


def _field_path(folder: Path, section: PlacedSection, ending: str) -> Path:
    return folder / f"{section.id}_field{ending}"


def write_fields(
    dataset: PlacedDataSet,
    folder: str | Path,
    recipe: Recipe,
    ending: str = ".mha",
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write the displacement field of every section of a data set; no image is fetched.

    Parameters
    ----------
    dataset : PlacedDataSet
        The data set.
    folder : str or pathlib.Path
        Made if need be; the files are ``<image_id>_field`` and the ending.
    recipe : Recipe
        The output grid; its tier is that of the pixels in ``.npy``.
    ending : str
        One of `FIELD_EXTENSIONS`.
    force : bool
        Replace files that are there.
    progress : callable, optional
        Called with how many are done, how many there are, and what the last one was.

    Returns
    -------
    pathlib.Path
        ``fields.json`` in the folder, which tells for each file what it is of.

    Raises
    ------
    AlignmentMissingError
        If no section of the data set is placed.
    AtldldError
        As for `write_field`. What was written before stays; ``fields.json`` comes last. If a file
        exists already, nothing is written.
    """
    folder = Path(folder)
    dataset.check_placed()
    check_fields(folder, ending, dataset=dataset, recipe=recipe, force=force)
    entries = []
    for done, section in enumerate(dataset.sections, 1):
        job = recipe.plan(section)
        path = _field_path(folder, section, ending)
        write_field(section, job.plane, path, downsample=job.downsample, force=force)
        entry = describe(section, job.plane) | {"file": path.name}
        if ending == ".npy":
            # these are in pixels, not mm
            entry |= {
                "unit": "pixel of the tier",
                "downsample_img": job.downsample,
                "from": "output pixel (column, row)",
                "to": "pixel (x, y) of the tier",
            }
        else:
            entry["unit"] = "um" if ending.endswith(".zarr") else "mm"
        entries.append(entry)
        if progress:
            progress(done, len(dataset.sections), path.name)
    with whole_file(folder / INDEX, force=force) as temporary:
        document = {
            "dataset_id": dataset.id,
            "coordinates": dataset.coordinates,
            "fields": entries,
        }
        temporary.write_text(as_json(document, indent=1) + "\n", "utf-8")
    return folder / INDEX


def write_section(registered: RegisteredSection, path: str | Path, *, force: bool = False) -> Path:
    """Write a registered section as OME-TIFF, with its expression mask as a second picture.

    Parameters
    ----------
    registered : RegisteredSection
        The section on its reference grid. Rows and columns run along the reference axes that
        ``registered.plane.grid.axis_names`` tells; pixel (0, 0)'s centre is half a pixel from the
        box's edges.
    path : str or pathlib.Path
        Ends in ``.ome.tif``, ``.ome.tiff``, ``.tif`` or ``.tiff``.
    force : bool
        Replace a file that is there.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InvalidInputError
        If the name has another ending.
    OutputError
        If the file cannot be written, or exists and `force` is false.
    """
    path = Path(path)
    plane, section = registered.plane, registered.section
    step = plane.grid.resolution
    about = {
        "atldld_version": version(),
        "image_id": section.id,
        "dataset_id": section.image.data_set_id,
        "section_number": section.number,
        "alignment": section.alignment,
        "coordinates": section.coordinates,
        "plane_kind": plane.kind,
        "axis_of_rows": plane.grid.axis_names[0],
        "axis_of_columns": plane.grid.axis_names[1],
        "third_coordinate": plane.describe_depth(),
        "image_from_output": plane.to_image.tolist(),
        "pixel_centre": "(k + 1/2) * resolution_um along each axis",
        "resolution_um": step,
    }
    pictures = {f"{section.id} image": registered.image}
    if registered.mask is not None:
        pictures[f"{section.id} expression"] = registered.mask
    # an oblique picture has no single depth: the one of its middle is told as the plane's
    write_pictures(
        pictures, path, resolution=step, depth=plane.central_depth, about=about, force=force
    )
    return path


def write_sections(
    dataset: PlacedDataSet,
    folder: str | Path,
    recipe: Recipe,
    *,
    session: Session,
    jobs: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write every section of a data set as OME-TIFF; see `write_section`.

    Parameters
    ----------
    dataset : PlacedDataSet
        The data set.
    folder : str or pathlib.Path
        Made if need be; the files are ``<image_id>.ome.tif``.
    recipe : Recipe
        How the sections are shown.
    session : Session
        Where pixels come from.
    jobs : int, optional
        Threads; the number of cores by default.
    force : bool
        Replace files that are there.
    progress : callable, optional
        Called with how many are done, how many there are, and what the last one was.

    Returns
    -------
    list of pathlib.Path
        What was written; less than there are sections if some could not be fetched.

    Raises
    ------
    InvalidInputError
        If the recipe makes no sense.
    AlignmentMissingError
        If no section of the data set is placed.
    OutputError
        If a file cannot be written, or exists and `force` is false.

    Warns
    -----
    SkippedImageWarning
        If a section, or its mask, cannot be fetched: nothing would tell a section without its mask
        from one that has none, so it is left out.
    """
    folder = Path(folder)
    check_folder(folder)
    dataset.check_placed()
    check_one_dataset(folder, dataset.id, dataset.image_ids, force=force)
    plans = [recipe.plan(section) for section in dataset.sections]
    files = {section.id: folder / f"{section.id}.ome.tif" for section in dataset.sections}
    check_targets(files.values(), force=force)
    written: list[Path] = []
    failed: list[tuple[PlacedSection, AtldldError]] = []
    for done, (job, result) in enumerate(run(plans, lambda made: made, session, jobs=jobs), 1):
        if isinstance(result, AtldldError):
            failed.append((job.section, result))
        elif result.files.mask_failed:
            session.report(
                SkippedImageWarning(
                    f"Image {result.id} is left out, without its mask: {result.files.mask_problem}"
                )
            )
        else:
            written.append(write_section(result, files[result.id], force=force))
        if progress:
            progress(done, len(plans), str(job.section.id))
    report_left_out(failed, session)
    return written
