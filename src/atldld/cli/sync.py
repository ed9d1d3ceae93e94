"""`atldld sync`: points between images and the brain, in tables."""

from typing import TYPE_CHECKING, Annotated, Literal

from atldld.cli.declare import Argument, Commands, Exit, Option
from atldld.cli.manner import manner, result
from atldld.cli.options import (
    DATASET,
    AlignmentFile,
    Confirmed,
    Force,
    Numbers,
    Target,
    alignment_of,
    asks_service,
    check_confirmed,
    say,
    to,
)
from atldld.errors import InvalidInputError

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.formats.points import Answers
    from atldld.formats.tables import Table
    from atldld.place.alignment import Planes

app = Commands(
    "Take points between images and the brain. Tables are CSV or Parquet, and keep their "
    "other columns; rows without an answer keep empty cells."
)

Input = Annotated[
    str, Argument(metavar="POINTS", help="A .csv or .parquet file; - reads CSV from stdin.")
]
Output = Annotated[str | None, to("FILE.csv|FILE.parquet|-", "-")]
Wanted = Annotated[str, Option("-d", "--dataset", metavar="ID", help=DATASET)]
MaxDistance = Annotated[
    float | None,
    Option(min=0, metavar="UM", help="Leave out what lies further than so many µm from a section."),
]
Unit = Annotated[
    Literal["um", "mm"] | None,
    Option(help="The unit of the columns p, i, r, where their names do not say it."),
]
TargetAlignment = Annotated[
    str | None,
    Option(
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
    output: Output = None,
    dataset_id: Target = None,
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    force: Force = False,
) -> None:
    """Map pixels to the brain: columns image_id, x, y to p_um, i_um, r_um.

    x and y are full-resolution pixels of the section's own box, from its upper left corner.
    --dataset is the one of all the images. Images of other data sets than that of the alignment
    file keep the service's alignment.
    """
    from atldld.find.named import find_dataset
    from atldld.formats.points import pixels_to_reference
    from atldld.formats.tables import check_target, read_table

    check_confirmed(alignment, confirmed)
    output = output or "-"
    check_target(output, force=force)
    planes = _planes(alignment, confirmed=confirmed)
    table = read_table(points)
    number = None if dataset_id is None else find_dataset(dataset_id, session=session)
    found = pixels_to_reference(session, table, number, alignment=planes, remark=_warn)
    _write(output, table, found, force)


@app.command("reference-to-image")
@asks_service
def reference_to_image(
    session: "Session",
    points: Input,
    dataset_id: Wanted,
    output: Output = None,
    unit: Unit = None,
    space: Annotated[str | None, Option(help="Reference space, as 9.")] = None,
    max_distance: MaxDistance = None,
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    force: Force = False,
) -> None:
    """Find points of the brain on the nearest sections: columns p_um, i_um, r_um to image_id, x, y.

    distance_um is the signed distance from the section. The points are in the reference --space, 9
    or 10; by default in what the column reference_space_id says of each row, or in the data set's
    own.
    """
    from atldld.find.named import find_dataset
    from atldld.formats.points import reference_to_pixels
    from atldld.formats.tables import check_target, read_table
    from atldld.support.arguments import check_id

    check_confirmed(alignment, confirmed)
    output = output or "-"
    check_target(output, force=force)
    table = read_table(points)
    number = find_dataset(dataset_id, session=session)
    planes = _planes(alignment, number, confirmed=confirmed)
    found = reference_to_pixels(
        session,
        table,
        number,
        unit=unit,
        space=None if space is None else check_id(space, "reference space"),
        max_distance=max_distance,
        alignment=planes,
    )
    _write(output, table, found, force)


@app.command("image-to-image")
@asks_service
def image_to_image(
    session: "Session",
    points: Input,
    dataset_id: Wanted,
    output: Output = None,
    max_distance: MaxDistance = None,
    alignment: AlignmentFile = None,
    target_alignment: TargetAlignment = None,
    confirmed: Confirmed = False,
    force: Force = False,
) -> None:
    """Find pixels in another data set: columns image_id, x, y to target_image_id, target_x, …."""
    from atldld.find.named import find_dataset
    from atldld.formats.points import pixels_to_pixels
    from atldld.formats.tables import check_target, read_table

    check_confirmed(alignment or target_alignment, confirmed)
    output = output or "-"
    check_target(output, force=force)
    planes = _planes(alignment, confirmed=confirmed)
    number = find_dataset(dataset_id, session=session)
    targets = _planes(target_alignment, number, confirmed=confirmed)
    target = session.dataset(number)
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
    image: Annotated[
        str | None,
        Option("-i", "--image", metavar="ID", help="A section image, by its id."),
    ] = None,
    dataset_id: Target = None,
    section: Numbers = None,
    output: Output = None,
    alignment: AlignmentFile = None,
    target_alignment: TargetAlignment = None,
    confirmed: Confirmed = False,
    force: Force = False,
) -> None:
    """Find pixels in another image of the same specimen, ignoring the third dimension.

    That image is the --image, or the one --section of a --dataset.
    """
    from atldld.find.named import find_dataset, read_image_name
    from atldld.formats.points import dataset_of_image, pixels_to_image
    from atldld.formats.tables import check_target, read_table
    from atldld.support.numbers import pick, read_numbers

    check_confirmed(alignment or target_alignment, confirmed)
    output = output or "-"
    check_target(output, force=force)
    planes = _planes(alignment, confirmed=confirmed)
    targets = _planes(target_alignment, confirmed=confirmed)
    numbers = read_numbers(section)
    if (image is None) == (dataset_id is None) or bool(numbers) != (dataset_id is not None):
        raise InvalidInputError(
            "One image is needed to find the pixels in.",
            hint="Give --image ID, or --dataset ID and --section N.",
        )
    if image is not None:
        number = read_image_name(image, api_url=session.settings.api_url)
        target = session.dataset(dataset_of_image(session, number))
    else:
        target = session.dataset(find_dataset(dataset_id, session=session))
        there = [one.section_number for one in target.images]
        chosen = pick(numbers, there, f"section data set {target.id}")
        ids = [one.id for one in target.images if one.section_number in chosen]
        if len(ids) > 1:
            raise InvalidInputError(
                f"Pixels are found in one image, and these are {len(ids)}: "
                f"{', '.join(map(str, ids))}.",
                hint="Choose one with --image ID.",
            )
        number = ids[0]
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
    output: Output = None,
    atlas_dataset: Annotated[
        str,
        Option(
            "--atlas-dataset",
            metavar="ID",
            help="The data set of the atlas's plates; by default that of the adult coronal atlas.",
        ),
    ] = "100048576",
    max_distance: MaxDistance = None,
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    force: Force = False,
) -> None:
    """Find pixels on the annotated plates of an atlas: columns image_id, x, y to target_….

    The plates are AtlasImages; the nearest one is taken.
    """
    from atldld.find.named import find_dataset
    from atldld.formats.points import atlas_plates, pixels_to_pixels
    from atldld.formats.tables import check_target, read_table

    check_confirmed(alignment, confirmed)
    output = output or "-"
    check_target(output, force=force)
    planes = _planes(alignment, confirmed=confirmed)
    plates = atlas_plates(session, find_dataset(atlas_dataset, session=session))
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
    dataset_id: Wanted,
    output: Output = None,
    max_distance: MaxDistance = None,
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    force: Force = False,
) -> None:
    """Find the centres of structures: the column structure_id to image_id, x, y."""
    from atldld.find.named import find_dataset
    from atldld.formats.points import structures_to_pixels
    from atldld.formats.tables import check_target, read_table

    check_confirmed(alignment, confirmed)
    output = output or "-"
    check_target(output, force=force)
    table = read_table(points)
    number = find_dataset(dataset_id, session=session)
    planes = _planes(alignment, number, confirmed=confirmed)
    found = structures_to_pixels(
        session, table, number, max_distance=max_distance, alignment=planes
    )
    _write(output, table, found, force)


def _planes(
    alignment: str | None, dataset_id: int | None = None, *, confirmed: bool
) -> "Planes | None":
    from atldld.place.alignment import read_alignment

    path = alignment_of(alignment, dataset_id, confirmed=confirmed and alignment is not None)
    return None if path is None else read_alignment(path)


def _warn(sentence: str) -> None:
    say(f"Warning: {sentence}")


def _write(output: str, table: "Table", found: "Answers", force: bool) -> None:
    """Write the answers beside the rows that they belong to, and say which rows have none."""
    from atldld.formats.tables import write_table

    answered = table.with_columns(found.columns)
    written = write_table(output, answered, force=force)
    if manner.as_json:
        columns = [
            getattr(one, "tolist", lambda one=one: list(one))() for one in answered.columns.values()
        ]
        result(
            {
                "files": written,
                "count": found.count,
                "unanswered": found.unanswered,
                "reasons": found.reasons,
                "rows": [
                    dict(zip(answered.names, row, strict=True))
                    for row in zip(*columns, strict=True)
                ],
            }
        )
    for sentence in (found.left_out, found.summary):
        if sentence:
            say(sentence)
    if found.all_unplaced:
        raise Exit(1)
