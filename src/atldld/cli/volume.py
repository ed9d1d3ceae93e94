"""`atldld volume`: the sections of data sets in one grid of voxels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atldld.cli.batches import PANEL as BATCH
from atldld.cli.batches import Dask, DryRun, InFlight, Rate, work_on
from atldld.cli.options import (
    Force,
    Jobs,
    MaskScale,
    answer,
    asks_service,
    progress_bar,
    say,
    stoppable,
)
from atldld.errors import InvalidInputError

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.volume import VolumeRecipe


@asks_service
def volume(
    session: "Session",
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|OUT",
            help="The volume; its ending says the format. The coverage goes beside it, to "
            "FILE_coverage. With --datasets or --gene: the folder, or an address such as "
            "s3://bucket/it.",
        ),
    ],
    dataset_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Ids of section data sets; several are averaged."),
    ] = None,
    resolution: Annotated[float, typer.Option(help="Side of a voxel, in µm.")] = 25,
    channel: Annotated[
        Literal["image", "expression", "intensity"],
        typer.Option(
            help="Section images (RGB), intensities of the expression masks (0 to 1), or how "
            "much darker than the background the stain is."
        ),
    ] = "image",
    fill: Annotated[
        Literal["none", "nearest", "linear"],
        typer.Option(help="What to put between sections: nothing, or what the two beside say."),
    ] = "none",
    thickness: Annotated[
        float | None,
        typer.Option(help="How thick sections are taken to be, in µm; what the data set says."),
    ] = None,
    alignment: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.json|FOLDER",
            help="For one data set: use a registration of `atldld refine`, or a QuickNII, "
            "VisuAlign or DeepSlice file. With --datasets or --gene: a folder of such, ID.json or "
            "ID/ID.json, or a name with {id} in it.",
        ),
    ] = None,
    scale: MaskScale = "jet",
    jobs: Jobs = None,
    force: Force = False,
    listed: Annotated[
        list[str] | None,
        typer.Option(
            "--datasets",
            metavar="ID|FILE|-",
            help="One volume for each data set: an id, a file with one id a line, or - for "
            "standard input.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    gene: Annotated[
        list[str] | None,
        typer.Option(
            "-g", "--gene", help="One volume for each data set of a gene.", rich_help_panel=BATCH
        ),
    ] = None,
    plane: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--plane", help="With --gene: the plane of section.", rich_help_panel=BATCH
        ),
    ] = None,
    ending: Annotated[
        str,
        typer.Option("--format", help="Ending of the volumes' files.", rich_help_panel=BATCH),
    ] = "nii.gz",
    in_flight: InFlight = 6,
    rate: Rate = None,
    dask: Dask = None,
    dry_run: DryRun = False,
) -> None:
    """Lay every section, in its own plane, into one grid of voxels.

    Data sets that are named by their ids become one volume. With --datasets or --gene, each
    becomes one of its own, OUT/ID/ID.nii.gz, and the same command goes on where it has stopped.
    """
    from atldld.volume import VolumeRecipe
    from atldld.warp.stain import open_scale

    colours = open_scale(scale)
    if listed or gene:
        from atldld.batch import Alignments, Volumes, find_ids, read_ids

        if dataset_ids or (listed and gene):
            raise InvalidInputError(
                "Ids, --datasets and --gene each name data sets; use one of them."
            )
        work_on(
            session,
            read_ids(listed) if listed else find_ids(session, gene=gene, plane=plane),
            output,
            Volumes(
                resolution,
                channel,
                fill,
                thickness,
                "." + ending.lstrip("."),
                colours,
                None if alignment is None else Alignments(alignment),
            ),
            threads=jobs,
            dask=dask,
            rate=rate,
            in_flight=in_flight,
            force=force,
            dry_run=dry_run,
        )
        return
    if not dataset_ids:
        raise InvalidInputError("No data set is named; give ids, --datasets or --gene.")
    if plane or rate or dask or dry_run:
        raise InvalidInputError(
            "--plane, --rate, --dask and --dry-run are for many volumes, with --datasets or --gene."
        )
    _one_volume(
        session,
        dataset_ids,
        Path(output),
        VolumeRecipe(resolution, channel, fill, thickness, colours),
        alignment=None if alignment is None else Path(alignment),
        jobs=jobs,
        force=force,
    )


def _one_volume(
    session: "Session",
    dataset_ids: list[str],
    output: Path,
    recipe: "VolumeRecipe",
    *,
    alignment: Path | None,
    jobs: int | None,
    force: bool,
) -> None:
    from atldld.api import open_dataset
    from atldld.formats import check_volume
    from atldld.volume import build_volume as build

    # everything that can be said before the service is asked
    recipe.check_memory()
    check_volume(output, coverage=True, force=force, voxel_bytes=recipe.bytes)
    datasets = [
        open_dataset(dataset_id, session=session, alignment=alignment) for dataset_id in dataset_ids
    ]
    with stoppable(session), progress_bar("Volume") as progress:
        built = build(
            [(dataset, dataset.session) for dataset in datasets],
            recipe,
            jobs=jobs,
            progress=progress,
        )
    for path in built.save(output, coverage=True, force=force):
        answer(path)
    described = built.metadata["datasets"]
    if built.metadata["synthetic"]:
        say("The pixels are SYNTHETIC, of the demo brain.")
    count = sum(len(dataset["sections"]) for dataset in described)
    sizes = " × ".join(map(str, built.coverage.shape))
    say(f"{count} sections in {sizes} voxels of {built.resolution:g} µm.")
    if missing := sum(len(dataset["failed"]) for dataset in described):
        say(f"{missing} could not be had; the same command with --force tries them again.")
        raise typer.Exit(1)
