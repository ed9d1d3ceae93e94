"""`atldld export`: files that other tools open."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atldld.cli.options import DatasetId, Force, answer, asks_service, progress_bar, say

if TYPE_CHECKING:
    from atldld.fetch.session import Session

app = typer.Typer(
    help="Write files that other tools open: QuickNII, ITK, OME.", no_args_is_help=True
)

AlignmentFile = Annotated[
    Path | None,
    typer.Option(
        "--alignment",
        metavar="FILE.json",
        help="Use a registration of `atldld refine`, or a QuickNII, VisuAlign or DeepSlice "
        "file, not Allen's alignment.",
    ),
]
Cut = Annotated[
    Literal["oblique", "parallel"],
    typer.Option(
        "--cut", "--plane", help="The section's own plane, or one of constant third coordinate."
    ),
]
Resolution = Annotated[float, typer.Option(help="Side of an output pixel, in µm.")]
Folder = Annotated[Path, typer.Argument(help="Folder of the result.")]

_FIELD_ENDINGS = {"itk": ".mha", "zarr": ".ome.zarr", "npy": ".npy"}


@app.command("quicknii")
@asks_service
def export_quicknii(
    session: "Session",
    dataset_id: DatasetId,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE", help=".json, or .csv for DeepSlice's flat table."
        ),
    ],
    downsample_img: Annotated[
        int, typer.Option(min=0, help="Tier of the images that the file goes with.")
    ] = 3,
    image_format: Annotated[Literal["jpg", "png"], typer.Option(help="Of the images.")] = "jpg",
    images: Annotated[
        bool, typer.Option("--images", help="Write the images too, beside the file.")
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(
            help="How far, in µm, the markers of a curved section may lead from where it lies."
        ),
    ] = 20,
    alignment: AlignmentFile = None,
    force: Force = False,
) -> None:
    """Write the alignment of every section for QuickNII, VisuAlign, ABBA and PyNutil.

    Curved sections get VisuAlign's markers.
    """
    from atldld.api import open_dataset
    from atldld.formats import image_name, write_quicknii
    from atldld.formats.quicknii import anchors_of, check_quicknii, check_tolerance
    from atldld.sections.folder import check_one_dataset
    from atldld.sections.images import copy_image
    from atldld.support.files import check_targets

    # everything that can be said before the service is asked
    check_quicknii(output, force=force)
    check_tolerance(tolerance)
    dataset = open_dataset(dataset_id, session=session, alignment=alignment)
    if images:
        check_one_dataset(output.parent, dataset.id, dataset.image_ids, force=force)
    pictures = {
        output.parent / image_name(section.image, f".{image_format}"): section.image
        for section in dataset.sections
        if images
    }
    check_targets(pictures, force=force)
    with progress_bar(f"Sections of {dataset_id}") as progress:
        anchors = anchors_of(
            dataset,
            downsample=downsample_img,
            image_ending=f".{image_format}",
            tolerance=tolerance,
            progress=progress,
        )
    path = write_quicknii(dataset, output, anchors=anchors, force=force)
    if images:
        with progress_bar(f"Images of {dataset_id}") as progress:
            for done, (picture, image) in enumerate(pictures.items(), 1):
                copy_image(session, image, picture, downsample_img, force=force)
                progress(done, len(pictures), picture.name)
    say(f"{len(dataset.sections)} sections anchored.")
    if anchors.deviation is not None and output.suffix != ".csv":
        say(
            f"{anchors.markers} markers bend the curved ones; they lead at most "
            f"{anchors.deviation:.1f} µm from where the displacements do."
        )
    if anchors.folded:
        listed = ", ".join(map(str, anchors.folded))
        say(f"Sections whose markers fold at the edge, so that nothing reads them: {listed}.")
    answer(path)


@app.command("fields")
@asks_service
def export_fields(
    session: "Session",
    dataset_id: DatasetId,
    output_folder: Folder,
    field_format: Annotated[
        Literal["itk", "zarr", "npy"],
        typer.Option(
            "--format", help="MetaImage in mm for ITK and ANTs, OME-Zarr, or NumPy in pixels."
        ),
    ] = "itk",
    resolution: Resolution = 25,
    cut: Cut = "oblique",
    alignment: AlignmentFile = None,
    force: Force = False,
) -> None:
    """Write the displacement field of every section; no image is fetched."""
    from atldld.api import open_dataset
    from atldld.fetch.session import check_id
    from atldld.sections.files import check_fields, write_fields
    from atldld.sections.folder import check_one_dataset
    from atldld.sections.register import Recipe

    # everything that can be said before the service is asked
    ending = _FIELD_ENDINGS[field_format]
    check_fields(output_folder, ending, force=force)
    number = check_id(dataset_id, "section data set")
    check_one_dataset(output_folder, number, force=force)
    dataset = open_dataset(number, session=session, alignment=alignment)
    recipe = Recipe(resolution=resolution, cut=cut)
    with progress_bar(f"Fields of {dataset_id}") as progress:
        index = write_fields(dataset, output_folder, recipe, ending, force=force, progress=progress)
    answer(index)


@app.command("sections")
@asks_service
def export_sections(
    session: "Session",
    dataset_id: DatasetId,
    output_folder: Folder,
    resolution: Resolution = 25,
    cut: Cut = "oblique",
    include_expression: Annotated[
        bool, typer.Option("-e", "--include-expression", help="The expression masks too.")
    ] = False,
    alignment: AlignmentFile = None,
    force: Force = False,
) -> None:
    """Write every registered section as an OME-TIFF in µm."""
    from atldld.api import open_dataset
    from atldld.fetch.session import check_id
    from atldld.sections.files import write_section
    from atldld.sections.folder import check_one_dataset
    from atldld.support.files import check_folder, check_targets

    # everything that can be said before the service is asked
    check_folder(output_folder)
    number = check_id(dataset_id, "section data set")
    check_one_dataset(output_folder, number, force=force)
    dataset = open_dataset(number, session=session, alignment=alignment)
    check_one_dataset(output_folder, number, dataset.image_ids, force=force)
    files = {section.id: output_folder / f"{section.id}.ome.tif" for section in dataset.sections}
    check_targets(files.values(), force=force)
    registered = dataset.register(resolution, cut=cut, expression=include_expression)
    written = 0
    with progress_bar(f"Sections of {dataset_id}") as progress:
        for section in registered:
            if section.files.mask_failed:
                # nothing would tell it from a section that has none
                why = section.files.mask_problem
                say(f"Image {section.id} is left out, without its mask: {why}")
                continue
            write_section(section, files[section.id], force=force)
            written += 1
            progress(written, len(dataset.sections), str(section.id))
    say(f"{written} sections written.")
    answer(output_folder)
    if written < len(dataset.sections):
        raise typer.Exit(1)
