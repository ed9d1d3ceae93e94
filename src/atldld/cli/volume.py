"""`atldld volume`: the sections of data sets in one grid of voxels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atldld.cli.options import asks_service, progress_bar, say

if TYPE_CHECKING:
    from atldld.fetch.session import Session


@asks_service
def volume(
    session: "Session",
    dataset_ids: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="Ids of section data sets; several are averaged."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The volume; its ending says the format. The coverage goes beside it, to "
            "FILE_coverage.",
        ),
    ],
    resolution: Annotated[float, typer.Option(help="Side of a voxel, in µm.")] = 25,
    channel: Annotated[
        Literal["image", "expression", "intensity"],
        typer.Option(
            help="Section images (RGB), expression masks (position on the heat scale), or how "
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
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="For one data set: use the planes of a QuickNII, VisuAlign or DeepSlice file.",
        ),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Threads; all cores by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Lay every section, in its own plane, into one grid of voxels."""
    from atldld.export import beside, write_volume
    from atldld.export.common import check_new
    from atldld.sections import open_dataset
    from atldld.volumes import build_volume, check_options

    # everything that can be said before the service is asked
    check_new((output, beside(output)), force=force)
    check_options(resolution, channel, fill, thickness)
    datasets = [
        open_dataset(dataset_id, session=session, alignment=alignment) for dataset_id in dataset_ids
    ]
    try:
        with progress_bar("Volume") as progress:
            built = build_volume(
                datasets,
                resolution,
                channel,
                fill,
                thickness,
                jobs=jobs,
                progress=progress,
            )
    except KeyboardInterrupt:
        session.close()
        say("Stopped. What was fetched is kept, so the same command takes less time.")
        raise typer.Exit(130) from None
    for path in write_volume(built, output, coverage=True):
        typer.echo(path)
    described = built.metadata["datasets"]
    if built.metadata["synthetic"]:
        say("The pixels are SYNTHETIC, of the demo brain.")
    say(f"{sum(len(one['sections']) for one in described)} sections in {built!r}.")
    if missing := sum(len(one["failed"]) for one in described):
        say(f"{missing} could not be had; the same command with --force tries them again.")
        raise typer.Exit(1)
