"""`atldld download`: registered data sets, and images as they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from atldld.cli.batches import PANEL as BATCH
from atldld.cli.batches import Between, Dask, DryRun, InFlight, Rate, work_on
from atldld.cli.declare import Argument, Commands, Exit, Option
from atldld.cli.manner import result
from atldld.cli.options import (
    TIER,
    AlignmentFile,
    Confirmed,
    Cut,
    DatasetId,
    Expression,
    Force,
    Jobs,
    Numbers,
    Refresh,
    Target,
    Tier,
    alignment_of,
    answer,
    asks_service,
    check_confirmed,
    command_line,
    folder_of,
    last_is_place,
    place_of,
    progress_bar,
    say,
    tier_of,
    to,
)
from atldld.errors import AtldldError, InvalidInputError

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.sections.register import Recipe

app = Commands("Download registered data sets, and images as they are.")

Resolution = Annotated[
    float,
    Option(
        "--resolution",
        "--downsample-ref",
        help="Side of a pixel or voxel that is worked with, in µm.",
    ),
]
Fields = Annotated[bool, Option("--fields", help="Write each displacement field too (.npy).")]
PictureFormat = Annotated[
    Literal["png", "tiff"], Option("--format", help="Format of the files that are written.")
]


@app.command("dataset")
@asks_service
def download_dataset(
    session: "Session",
    dataset_id: DatasetId,
    folder: Annotated[
        str | None, Argument(metavar="[OUT]", help="Folder of the result; or -o.")
    ] = None,
    output: Annotated[str | None, to("FOLDER")] = None,
    cut: Cut = "oblique",
    resolution: Resolution = 25,
    downsample_img: Tier = "auto",
    include_expression: Expression = False,
    fields: Fields = False,
    picture_format: PictureFormat = "png",
    refresh: Refresh = False,
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Write every section of a data set in the brain's reference coordinates.

    By default images are read at the coarsest tier that is as fine as the result. The same command
    goes on where it has stopped; --force replaces what an earlier run left in the folder.
    """
    from atldld.find.named import find_dataset
    from atldld.support.files import check_folder

    check_confirmed(alignment, confirmed)
    tier_of(downsample_img, 0)
    place = folder_of(place_of(output, folder))
    check_folder(place)
    number = find_dataset(dataset_id, session=session)
    # An alignment, and the result of an earlier run, are looked at before anything is asked.
    if alignment is None and not (place / "metadata.json").exists():
        session.ask_ahead(number, refresh=refresh)
    # not before: it brings NumPy and OpenCV, which takes as long as the answer
    from atldld.sections.download import download_dataset as write

    recipe = _recipe(cut, resolution, downsample_img, include_expression)
    try:
        with progress_bar(f"Data set {number}") as progress:
            summary = write(
                number,
                place,
                recipe,
                session=session,
                fields=fields,
                picture_format=picture_format,
                jobs=jobs,
                force=force,
                refresh=refresh,
                alignment=alignment_of(alignment, number, confirmed=confirmed),
                command_line=command_line(),
                progress=progress,
            )
    except KeyboardInterrupt:
        session.close()
        say("Stopped. The same command goes on from here.")
        raise Exit(130) from None
    result(
        {
            "dataset_id": number,
            "folder": summary.folder,
            "written": summary.written,
            "kept": summary.kept,
            "failed": summary.failed,
            "without_mask": summary.notes,
        }
    )
    for image_id, reason in summary.notes.items():
        say(f"Image {image_id} is done without its mask: {reason}.")
    _say_failed(summary.failed)
    already = f", {summary.kept} were there already" if summary.kept else ""
    say(f"{summary.written} sections written{already}.")
    answer(summary.folder)
    if not summary.complete:
        say(f"{len(summary.failed)} could not be fetched; the same command tries them again.")
        raise Exit(1)


@app.command("datasets")
@asks_service
def download_datasets(
    session: "Session",
    words: Annotated[
        list[str],
        Argument(
            metavar="ID|FILE|-... [OUT]",
            help="Data sets: ids, files with one a line (# begins a comment), or - for standard "
            "input; then a folder, or an address such as s3://bucket/it, or -o.",
        ),
    ],
    output: Annotated[str | None, to("FOLDER|ADDRESS")] = None,
    cut: Cut = "oblique",
    resolution: Resolution = 25,
    downsample_img: Tier = "auto",
    include_expression: Expression = False,
    fields: Fields = False,
    picture_format: PictureFormat = "png",
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    force: Force = False,
    jobs: Annotated[int, Option("--at-once", min=1, help="Data sets at once.", heading=BATCH)] = 2,
    in_flight: InFlight = 6,
    rate: Rate = None,
    dask: Dask = None,
    dry_run: DryRun = False,
    between: Between = None,
) -> None:
    """Write many data sets, each into OUT/ID, and go on where an earlier run has stopped.

    --force starts again.
    """
    from atldld.batch import Alignments, Download, read_ids

    check_confirmed(alignment, confirmed)
    recipe = _recipe(cut, resolution, downsample_img, include_expression)
    ids, place = last_is_place(words, output)
    folder_of(place)
    work_on(
        session,
        read_ids(ids, session=session),
        place,
        Download(
            recipe,
            fields,
            picture_format,
            None if alignment is None else Alignments(alignment, confirmed),
        ),
        jobs=jobs,
        dask=dask,
        rate=rate,
        in_flight=in_flight,
        force=force,
        dry_run=dry_run,
        between=between,
    )


@app.command("image")
@asks_service
def download_image(
    session: "Session",
    words: Annotated[
        list[str] | None,
        Argument(
            metavar="[ID]... [OUT]",
            help="Section images: ids or addresses; then the folder of the result, or -o.",
        ),
    ] = None,
    dataset: Target = None,
    section: Numbers = None,
    output: Annotated[str | None, to("FOLDER")] = None,
    downsample_img: Annotated[str, TIER] = "auto",
    include_expression: Expression = False,
    force: Force = False,
) -> None:
    """Write section images as the service keeps them, verified.

    By default at full size. With --dataset, those of its --section numbers, or all.
    """
    from atldld.find.named import find_dataset, read_image_name
    from atldld.sections.images import save_image
    from atldld.support.numbers import pick, read_numbers

    tier = tier_of(downsample_img, 0)
    numbers = read_numbers(section)
    if numbers and dataset is None:
        raise InvalidInputError("Section numbers are those of a data set; name it with --dataset.")
    if dataset is None:
        ids, place = last_is_place(words or [], output)
    elif words and output is None:
        *ids, place = words
    else:
        ids, place = words or [], place_of(output, None)
    folder = folder_of(place)
    image_ids = [read_image_name(one, api_url=session.settings.api_url) for one in ids]
    if dataset is not None:
        record = session.dataset(find_dataset(dataset, session=session))
        there = [image.section_number for image in record.images]
        chosen = pick(numbers, there, f"section data set {record.id}") if numbers else set(there)
        image_ids += [image.id for image in record.images if image.section_number in chosen]
    failed: dict[str, str] = {}
    files: list[Path] = []
    for image_id in image_ids:
        try:
            for path in save_image(
                session,
                image_id,
                folder,
                downsample=tier,
                expression=include_expression,
                force=force,
            ):
                files.append(path)
                answer(path)
        except AtldldError as error:
            if len(image_ids) == 1:
                raise
            failed[str(image_id)] = str(error)
            say(f"Error: {error}")
    result({"files": files, "failed": failed})
    if failed:
        raise Exit(1)


def _say_failed(failed: dict[str, str]) -> None:
    """Name what could not be fetched; a reason that many images share is told once."""
    alike: dict[str, list[str]] = {}
    for image_id, reason in failed.items():
        # what happened stands before the ids and the address in brackets
        alike.setdefault(reason.partition(" [")[0], []).append(image_id)
    for image_id, *others in alike.values():
        say(f"Image {image_id} could not be fetched: {failed[image_id]}")
        if others:
            say(f"The same happened to {len(others)} more: {', '.join(others)}")


def _recipe(
    cut: Literal["oblique", "parallel"],
    resolution: float,
    downsample_img: str,
    include_expression: bool,
) -> "Recipe":
    from atldld.sections.register import Recipe

    tier: int | Literal["auto"] = "auto"
    if downsample_img != "auto":
        tier = tier_of(downsample_img, 0)
    return Recipe(resolution, cut, tier, include_expression)
