"""`atldld sync`: points between images and the brain, in tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atldld.cli.options import AlignmentFile, Force, asks_service, say

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.formats.points import Answers
    from atldld.formats.tables import Table
    from atldld.place.alignment import Planes

app = typer.Typer(
    help="Take points between images and the brain. Tables are CSV or Parquet, and keep their "
    "other columns; rows without an answer keep empty cells.",
    no_args_is_help=True,
)

Input = Annotated[
    str, typer.Argument(metavar="POINTS", help="A .csv or .parquet file; - reads CSV from stdin.")
]
Output = Annotated[
    str,
    typer.Option("-o", "--output", metavar="FILE", help="A .csv or .parquet file; - is stdout."),
]
Target = Annotated[
    str, typer.Option("-d", "--dataset", metavar="ID", help="The section data set to find them in.")
]
MaxDistance = Annotated[
    float | None,
    typer.Option(
        min=0, metavar="UM", help="Leave out what lies further than so many µm from a section."
    ),
]
Unit = Annotated[
    Literal["um", "mm"] | None,
    typer.Option(help="The unit of the columns p, i, r, where their names do not say it."),
]
TargetAlignment = Annotated[
    Path | None,
    typer.Option(
        "--target-alignment",
        metavar="FILE.json",
        help="The same for the other data set; --alignment is for the one that the points are on, "
        "and for both if they are one.",
    ),
]


@app.command("image-to-reference")
@asks_service
def image_to_reference(
    session: "Session",
    points: Input,
    output: Output = "-",
    dataset_id: Annotated[
        str | None,
        typer.Option("-d", "--dataset", metavar="ID", help="The data set of all the images."),
    ] = None,
    alignment: AlignmentFile = None,
    force: Force = False,
) -> None:
    """Map pixels to the brain: columns image_id, x, y to p_um, i_um, r_um.

    x and y are full-resolution pixels of the section's own box, from its upper left corner.
    Images of other data sets than that of the alignment file keep the service's alignment.
    """
    from atldld.formats.points import pixels_to_reference
    from atldld.formats.tables import check_target, read_table

    check_target(output, force=force)
    planes = _planes(alignment)
    table = read_table(points)
    found = pixels_to_reference(session, table, dataset_id, alignment=planes, remark=_warn)
    _write(output, table, found, force)


@app.command("reference-to-image")
@asks_service
def reference_to_image(
    session: "Session",
    points: Input,
    dataset_id: Target,
    output: Output = "-",
    unit: Unit = None,
    space: Annotated[
        int | None,
        typer.Option(
            help="Reference space of the points, 9 or 10; by default what the column "
            "reference_space_id says of each row, or the data set's own."
        ),
    ] = None,
    max_distance: MaxDistance = None,
    alignment: AlignmentFile = None,
    force: Force = False,
) -> None:
    """Find points of the brain on the nearest sections: columns p_um, i_um, r_um to image_id, x, y.

    distance_um is the signed distance from the section. A column reference_space_id says of each
    row in which space it is.
    """
    from atldld.formats.points import reference_to_pixels
    from atldld.formats.tables import check_target, read_table

    check_target(output, force=force)
    planes = _planes(alignment)
    table = read_table(points)
    found = reference_to_pixels(
        session,
        table,
        dataset_id,
        unit=unit,
        space=space,
        max_distance=max_distance,
        alignment=planes,
    )
    _write(output, table, found, force)


@app.command("image-to-image")
@asks_service
def image_to_image(
    session: "Session",
    points: Input,
    dataset_id: Target,
    output: Output = "-",
    max_distance: MaxDistance = None,
    alignment: AlignmentFile = None,
    target_alignment: TargetAlignment = None,
    force: Force = False,
) -> None:
    """Find pixels in another data set: columns image_id, x, y to target_image_id, target_x, …."""
    from atldld.formats.points import pixels_to_pixels
    from atldld.formats.tables import check_target, read_table

    check_target(output, force=force)
    planes = _planes(alignment)
    targets = _planes(target_alignment)
    target = session.dataset(dataset_id)
    table = read_table(points)
    found = pixels_to_pixels(
        session,
        table,
        target,
        max_distance=max_distance,
        alignment=planes,
        target_alignment=targets,
        remark=_warn,
    )
    _write(output, table, found, force)


@app.command("image-to-image-2d")
@asks_service
def image_to_image_2d(
    session: "Session",
    points: Input,
    image_id: Annotated[
        str, typer.Option("-i", "--image", metavar="ID", help="The section image to find them in.")
    ],
    output: Output = "-",
    alignment: AlignmentFile = None,
    target_alignment: TargetAlignment = None,
    force: Force = False,
) -> None:
    """Find pixels in another image of the same specimen, ignoring the third dimension."""
    from atldld.formats.points import dataset_of_image, pixels_to_image
    from atldld.formats.tables import check_target, read_table
    from atldld.support.arguments import check_id

    check_target(output, force=force)
    planes = _planes(alignment)
    targets = _planes(target_alignment)
    number = check_id(image_id, "section image")
    target = session.dataset(dataset_of_image(session, number))
    table = read_table(points)
    found = pixels_to_image(
        session,
        table,
        target,
        number,
        alignment=planes,
        target_alignment=targets,
        remark=_warn,
    )
    _write(output, table, found, force)


@app.command("image-to-atlas")
@asks_service
def image_to_atlas(
    session: "Session",
    points: Input,
    output: Output = "-",
    atlas_dataset: Annotated[
        str,
        typer.Option(
            "--atlas-dataset",
            metavar="ID",
            help="The data set of the atlas's plates; by default that of the adult coronal atlas.",
        ),
    ] = "100048576",
    max_distance: MaxDistance = None,
    alignment: AlignmentFile = None,
    force: Force = False,
) -> None:
    """Find pixels on the annotated plates of an atlas: columns image_id, x, y to target_….

    The plates are AtlasImages; the nearest one is taken.
    """
    from atldld.formats.points import atlas_plates, pixels_to_pixels
    from atldld.formats.tables import check_target, read_table
    from atldld.support.arguments import check_id

    check_target(output, force=force)
    planes = _planes(alignment)
    plates = atlas_plates(session, check_id(atlas_dataset, "data set of an atlas"))
    table = read_table(points)
    found = pixels_to_pixels(
        session, table, plates, max_distance=max_distance, alignment=planes, remark=_warn
    )
    _write(output, table, found, force)


@app.command("structure-to-image")
@asks_service
def structure_to_image(
    session: "Session",
    points: Input,
    dataset_id: Target,
    output: Output = "-",
    max_distance: MaxDistance = None,
    alignment: AlignmentFile = None,
    force: Force = False,
) -> None:
    """Find the centres of structures: the column structure_id to image_id, x, y."""
    from atldld.formats.points import structures_to_pixels
    from atldld.formats.tables import check_target, read_table

    check_target(output, force=force)
    planes = _planes(alignment)
    table = read_table(points)
    found = structures_to_pixels(
        session, table, dataset_id, max_distance=max_distance, alignment=planes
    )
    _write(output, table, found, force)


def _planes(path: Path | None) -> "Planes | None":
    from atldld.place.alignment import read_alignment

    return None if path is None else read_alignment(path)


def _warn(sentence: str) -> None:
    say(f"Warning: {sentence}")


def _write(output: str, table: "Table", found: "Answers", force: bool) -> None:
    """Write the answers beside the rows that they belong to, and say which rows have none."""
    from atldld.formats.tables import write_table

    write_table(output, table.with_columns(found.columns), force=force)
    if found.summary:
        say(found.summary)
    if found.all_unplaced:
        raise typer.Exit(1)
