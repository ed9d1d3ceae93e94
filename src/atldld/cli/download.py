"""`atldld download`: registered data sets, and images as they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atldld.cli.batches import PANEL as BATCH
from atldld.cli.batches import AlignmentsOf, Dask, DryRun, InFlight, Rate, work_on
from atldld.cli.options import (
    AlignmentFile,
    DatasetId,
    Force,
    Jobs,
    answer,
    asks_service,
    command_line,
    progress_bar,
    say,
)
from atldld.errors import AtldldError, InvalidInputError

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.sections.register import Recipe

app = typer.Typer(
    help="Download registered data sets, and images as they are.", no_args_is_help=True
)

Expression = Annotated[
    bool, typer.Option("-e", "--include-expression", help="The expression masks too.")
]
Cut = Annotated[
    Literal["oblique", "parallel"],
    typer.Option(
        "--cut",
        "--plane",
        help="The section's own plane, or one of constant third coordinate (as in 0.3).",
    ),
]
Resolution = Annotated[
    float, typer.Option("--resolution", "--downsample-ref", help="Side of an output pixel, in µm.")
]
Tier = Annotated[
    str,
    typer.Option(
        metavar="auto|0|1|…",
        help="Tier of the images; auto takes the coarsest that is as fine as the output.",
    ),
]
Fields = Annotated[bool, typer.Option("--fields", help="Write each displacement field too (.npy).")]
PictureFormat = Annotated[Literal["png", "tiff"], typer.Option("--format", help="Of the pictures.")]


@app.command("dataset")
@asks_service
def download_dataset(
    session: "Session",
    dataset_id: DatasetId,
    output_folder: Annotated[Path, typer.Argument(help="Folder of the result.")],
    cut: Cut = "oblique",
    resolution: Resolution = 25,
    downsample_img: Tier = "auto",
    include_expression: Expression = False,
    fields: Fields = False,
    picture_format: PictureFormat = "png",
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask for the metadata again, cached or not.")
    ] = False,
    alignment: AlignmentFile = None,
    jobs: Jobs = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what an earlier run left in the folder.")
    ] = False,
) -> None:
    """Write every section of a data set in the brain's reference coordinates."""
    from atldld.sections.download import download_dataset as write

    recipe = _recipe(cut, resolution, downsample_img, include_expression)
    try:
        with progress_bar(f"Data set {dataset_id}") as progress:
            summary = write(
                dataset_id,
                output_folder,
                recipe,
                session=session,
                fields=fields,
                picture_format=picture_format,
                jobs=jobs,
                force=force,
                refresh=refresh,
                alignment=alignment,
                command_line=command_line(),
                progress=progress,
            )
    except KeyboardInterrupt:
        session.close()
        say("Stopped. The same command goes on from here.")
        raise typer.Exit(130) from None
    for image_id, reason in summary.notes.items():
        say(f"Image {image_id} is done without its mask: {reason}.")
    _say_failed(summary.failed)
    already = f", {summary.kept} were there already" if summary.kept else ""
    say(f"{summary.written} sections written{already}.")
    answer(summary.folder)
    if not summary.complete:
        say(f"{len(summary.failed)} could not be had; the same command tries them again.")
        raise typer.Exit(1)


@app.command("datasets")
@asks_service
def download_datasets(
    session: "Session",
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID|FILE|-...",
            help="Ids, files with one id a line (# begins a comment), or - for standard input.",
        ),
    ],
    output_folder: Annotated[
        str, typer.Argument(metavar="OUT", help="A folder, or an address such as s3://bucket/it.")
    ],
    cut: Cut = "oblique",
    resolution: Resolution = 25,
    downsample_img: Tier = "auto",
    include_expression: Expression = False,
    fields: Fields = False,
    picture_format: PictureFormat = "png",
    alignment: AlignmentsOf = None,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew, and replace what is there.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Data sets at once.", rich_help_panel=BATCH)] = 2,
    in_flight: InFlight = 6,
    rate: Rate = None,
    dask: Dask = None,
    dry_run: DryRun = False,
) -> None:
    """Write many data sets, each into OUT/ID, and go on where an earlier run has stopped."""
    from atldld.batch import Alignments, Download, read_ids

    recipe = _recipe(cut, resolution, downsample_img, include_expression)
    work_on(
        session,
        read_ids(ids),
        output_folder,
        Download(
            recipe, fields, picture_format, None if alignment is None else Alignments(alignment)
        ),
        jobs=jobs,
        dask=dask,
        rate=rate,
        in_flight=in_flight,
        force=force,
        dry_run=dry_run,
    )


@app.command("image")
@asks_service
def download_image(
    session: "Session",
    image_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of section images.")],
    output_folder: Annotated[Path, typer.Argument(help="Folder of the result.")],
    downsample_img: Annotated[
        int, typer.Option(min=0, help="Tier: each halves the sides of the one before.")
    ] = 0,
    include_expression: Expression = False,
    force: Force = False,
) -> None:
    """Write section images as the service keeps them, verified."""
    from atldld.sections.images import save_image

    failed = 0
    for image_id in image_ids:
        try:
            for path in save_image(
                session,
                image_id,
                output_folder,
                downsample=downsample_img,
                expression=include_expression,
                force=force,
            ):
                answer(path)
        except AtldldError as error:
            if len(image_ids) == 1:
                raise
            failed += 1
            say(f"Error: {error}")
    if failed:
        raise typer.Exit(1)


def _say_failed(failed: dict[str, str]) -> None:
    """Name what could not be had; a reason that many images share is told once."""
    alike: dict[str, list[str]] = {}
    for image_id, reason in failed.items():
        # what happened stands before the ids and the address in brackets
        alike.setdefault(reason.partition(" [")[0], []).append(image_id)
    for image_id, *others in alike.values():
        say(f"Image {image_id} could not be had: {failed[image_id]}")
        if others:
            say(f"The same happened to {len(others)} more: {', '.join(others)}")


def _recipe(
    cut: Literal["oblique", "parallel"],
    resolution: float,
    downsample_img: str,
    include_expression: bool,
) -> "Recipe":
    from atldld.sections.register import Recipe

    return Recipe(resolution, cut, _downsample(downsample_img), include_expression)


def _downsample(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdigit():
        raise InvalidInputError(
            f"--downsample-img is {text!r}, but must be auto or a tier: 0, 1, 2, …"
        )
    return int(text)
