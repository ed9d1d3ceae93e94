"""`atldld export`: files that other tools open."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from atldld.cli.declare import Argument, Commands, Exit, Option
from atldld.cli.manner import result
from atldld.cli.options import (
    AlignmentFile,
    Confirmed,
    Cut,
    DatasetId,
    Expression,
    Force,
    Resolution,
    Tier,
    alignment_of,
    answer,
    asks_service,
    check_confirmed,
    folder_of,
    place_of,
    progress_bar,
    say,
    tier_of,
    to,
    written_to,
)
from atldld.errors import InvalidInputError

if TYPE_CHECKING:
    from atldld.api import DataSet
    from atldld.fetch.session import Session

app = Commands("Write files that other tools open: QuickNII, ITK, OME.")

Folder = Annotated[str | None, Argument(metavar="[OUT]", help="Folder of the result; or -o.")]


@app.command("quicknii")
@asks_service
def export_quicknii(
    session: "Session",
    dataset_id: DatasetId,
    output: Annotated[str, to("FILE.json|FILE.csv|-")],
    downsample_img: Tier = "auto",
    image_format: Annotated[Literal["jpg", "png"], Option(help="Of the images.")] = "jpg",
    images: Annotated[bool, Option("--images", help="The section images too.")] = False,
    tolerance: Annotated[
        float,
        Option(
            "--marker-tolerance",
            help="How far, in µm, the markers of a curved section may lead from where it lies.",
        ),
    ] = 20,
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    force: Force = False,
) -> None:
    """Write the alignment of every section for QuickNII, VisuAlign, ABBA and PyNutil.

    Curved sections get VisuAlign's markers. A .csv is DeepSlice's flat table. The file goes with
    images of tier 3 by default; --images writes them beside it.
    """
    from atldld.api import open_dataset
    from atldld.find.named import find_dataset
    from atldld.formats import image_name, write_quicknii
    from atldld.formats.quicknii import anchors_of, check_quicknii, check_tolerance
    from atldld.sections.folder import check_one_dataset
    from atldld.sections.images import copy_images
    from atldld.support.files import check_targets

    check_confirmed(alignment, confirmed)
    # everything that can be said before the service is asked
    printed = output == "-"
    if printed and images:
        raise InvalidInputError("--images are written beside a file; name one with -o FILE.json.")
    if not printed:
        check_quicknii(Path(output), force=force)
    check_tolerance(tolerance)
    tier = tier_of(downsample_img, 3)
    number = find_dataset(dataset_id, session=session)
    dataset = open_dataset(
        number, session=session, alignment=alignment_of(alignment, number, confirmed=confirmed)
    )
    if images:
        folder = Path(output).parent
        check_one_dataset(folder, number, dataset.image_ids, force=force)
    pictures = {
        Path(output).parent / image_name(section.image, f".{image_format}"): section.image
        for section in dataset.sections
        if images
    }
    check_targets(pictures, force=force)
    with progress_bar(f"Sections of {number}") as progress:
        anchors = anchors_of(
            dataset,
            downsample=tier,
            image_ending=f".{image_format}",
            tolerance=tolerance,
            progress=progress,
        )
    with written_to(output, ".json") as path:
        write_quicknii(dataset, path, anchors=anchors, force=force)
    if images:
        with progress_bar(f"Images of {number}") as progress:
            copy_images(session, pictures, tier, force=force, progress=progress)
    say(f"{len(dataset.sections)} sections anchored.")
    if anchors.deviation is not None and path.suffix != ".csv":
        say(
            f"{anchors.markers} markers bend the curved ones; they lead at most "
            f"{anchors.deviation:.1f} µm from where the displacements do."
        )
    if anchors.folded:
        listed = ", ".join(map(str, anchors.folded))
        say(f"Sections whose markers fold at the edge, so that nothing reads them: {listed}.")
    result(
        {
            "dataset_id": number,
            "files": [] if printed else [path, *pictures],
            "sections": len(dataset.sections),
            "markers": anchors.markers,
            "deviation_um": anchors.deviation,
            "folded": anchors.folded,
        }
    )
    if not printed:
        answer(path)


@app.command("fields")
@asks_service
def export_fields(
    session: "Session",
    dataset_id: DatasetId,
    folder: Folder = None,
    output: Annotated[str | None, to("FOLDER")] = None,
    field_format: Annotated[
        Literal["itk", "zarr", "npy"],
        Option("--format", help="Format of the files that are written."),
    ] = "itk",
    resolution: Resolution = 25,
    cut: Cut = "oblique",
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    force: Force = False,
) -> None:
    """Write the displacement field of every section; no image is fetched.

    The formats are MetaImage in mm for ITK and ANTs (itk), OME-Zarr (zarr), or NumPy in pixels
    (npy).
    """
    from atldld.sections.exports import FIELD_ENDINGS
    from atldld.sections.files import check_fields

    check_confirmed(alignment, confirmed)
    # everything that can be said before the service is asked
    place = folder_of(place_of(output, folder))
    check_fields(place, FIELD_ENDINGS[field_format], force=force)
    dataset = _opened(session, dataset_id, place, alignment, confirmed=confirmed, force=force)
    with progress_bar(f"Fields of {dataset.id}") as progress:
        index = dataset.export.fields(
            place,
            format=field_format,
            resolution=resolution,
            cut=cut,
            force=force,
            progress=progress,
        )
    result({"dataset_id": dataset.id, "folder": place, "files": [index]})
    answer(index)


@app.command("sections")
@asks_service
def export_sections(
    session: "Session",
    dataset_id: DatasetId,
    folder: Folder = None,
    output: Annotated[str | None, to("FOLDER")] = None,
    resolution: Resolution = 25,
    cut: Cut = "oblique",
    include_expression: Expression = False,
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    force: Force = False,
) -> None:
    """Write every registered section as an OME-TIFF in µm."""
    from atldld.support.files import check_folder

    check_confirmed(alignment, confirmed)
    # everything that can be said before the service is asked
    place = folder_of(place_of(output, folder))
    check_folder(place)
    dataset = _opened(session, dataset_id, place, alignment, confirmed=confirmed, force=force)
    with progress_bar(f"Sections of {dataset.id}") as progress:
        written = dataset.export.sections(
            place,
            resolution=resolution,
            cut=cut,
            expression=include_expression,
            force=force,
            progress=progress,
        )
    result({"dataset_id": dataset.id, "folder": place, "files": written})
    say(f"{len(written)} sections written.")
    answer(place)
    if len(written) < len(dataset.sections):
        raise Exit(1)


def _opened(
    session: "Session",
    dataset_id: str,
    place: Path,
    alignment: str | None,
    *,
    confirmed: bool,
    force: bool,
) -> "DataSet":
    """Return a data set whose files a folder is to have, and no other data set's."""
    from atldld.api import open_dataset
    from atldld.find.named import find_dataset
    from atldld.sections.folder import check_one_dataset

    number = find_dataset(dataset_id, session=session)
    check_one_dataset(place, number, force=force)
    planes = alignment_of(alignment, number, confirmed=confirmed)
    return open_dataset(number, session=session, alignment=planes)
