"""`atldld report`: one page about a data set that holds everything itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atldld.cli.options import (
    AlignmentFile,
    AtlasName,
    AtlasResolution,
    Force,
    Jobs,
    MaskScale,
    answer,
    asks_service,
    command_line,
    progress_bar,
    say,
    stoppable,
)

if TYPE_CHECKING:
    from atldld.fetch.session import Session


@asks_service
def report(
    session: "Session",
    what: Annotated[
        str,
        typer.Argument(
            metavar="ID|FOLDER",
            help="Id of the section data set, or a folder that `atldld download dataset` made.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE.html", help="The page.")
    ] = Path("report.html"),
    resolution: Annotated[
        float, typer.Option(help="Side of a picture's pixel, in µm; a folder has its own.")
    ] = 25,
    table_resolution: Annotated[
        float,
        typer.Option(
            help="In µm: masks are counted at the tier that is at least as fine. A folder's are "
            "counted as it has them."
        ),
    ] = 8,
    atlas: AtlasName = "ccf_2017",
    atlas_resolution: AtlasResolution = None,
    no_atlas: Annotated[
        bool, typer.Option("--no-atlas", help="No outlines, no table of regions.")
    ] = False,
    no_volume: Annotated[bool, typer.Option("--no-volume", help="No volume.")] = False,
    scale: MaskScale = "jet",
    alignment: AlignmentFile = None,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Write one page about a data set: sections, quality, regions, volume, methods.

    The page holds everything itself, loads nothing, and opens from disk.
    """
    from atldld.report import check_page, gather, open_source, try_atlas, write_report
    from atldld.warp.stain import open_scale

    # everything that can be said before the service is asked
    check_page(output, force=force)
    colours = open_scale(scale)
    source = open_source(
        what,
        session=session,
        resolution=resolution,
        table_resolution=table_resolution,
        alignment=alignment,
    )
    source.dataset.check_placed()
    opened, reason = (
        (None, "It was left out on purpose (--no-atlas).")
        if no_atlas
        else try_atlas(session, atlas_resolution, atlas)
    )
    if reason and not no_atlas:
        say(f"The report has no atlas: {reason}")
    with stoppable(session), progress_bar("Report") as progress:
        made = gather(
            source,
            opened,
            without_atlas=reason,
            volume=not no_volume,
            scale=colours,
            jobs=jobs,
            command_line=command_line(),
            progress=progress,
        )
    write_report(made, output, force=force)
    if made.synthetic:
        say("SYNTHETIC: of the demo brain.")
    odd = len(made.quality.suspicious) if made.quality else 0
    say(
        f"{len(made.entries)} sections of data set {source.dataset.id}, {odd} suspicious, "
        f"{output.stat().st_size / 1e6:.1f} MB. Open it in a browser:"
    )
    answer(output)
    if made.failed:
        say(f"{len(made.failed)} sections could not be had; the page names them.")
        raise typer.Exit(1)
