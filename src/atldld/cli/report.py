"""`atldld report`: one page about a data set that holds everything itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from atldld.cli.declare import Argument, Exit, Option
from atldld.cli.manner import result
from atldld.cli.options import (
    AlignmentFile,
    Confirmed,
    Force,
    Jobs,
    MaskScale,
    NoAtlas,
    Resolution,
    TableResolution,
    alignment_of,
    answer,
    asks_service,
    check_confirmed,
    command_line,
    place_of,
    progress_bar,
    say,
    stoppable,
    takes_atlas,
    to,
    written_to,
)

if TYPE_CHECKING:
    from atldld.batch import AtlasChoice
    from atldld.fetch.session import Session


@asks_service
@takes_atlas
def report(
    session: "Session",
    choice: "AtlasChoice",
    what: Annotated[
        str,
        Argument(
            metavar="ID|FOLDER",
            help="A section data set: its id, the address of its page, or a gene and plane "
            "(Prox1:coronal); or a folder that `atldld download dataset` made.",
        ),
    ],
    output: Annotated[str | None, to("FILE.html|-", "report.html")] = None,
    resolution: Resolution = 25,
    table_resolution: TableResolution = 8,
    no_atlas: NoAtlas = False,
    no_volume: Annotated[bool, Option("--no-volume", help="No volume.")] = False,
    scale: MaskScale = "jet",
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Write one page about a data set: sections, quality, regions, volume, methods.

    The page holds everything itself, loads nothing, and opens from disk. Without the atlas it has
    no outlines and no table of regions. A folder's sections keep the resolution that they have.
    """
    from atldld.report import check_page, find_source, gather, open_source, try_atlas, write_report
    from atldld.warp.stain import open_scale

    check_confirmed(alignment, confirmed)
    # everything that can be said before the service is asked
    place = place_of(output, None, "report.html")
    if place != "-":
        check_page(Path(place), force=force)
    if not no_atlas:
        choice.check_files()
    colours = open_scale(scale)
    named = find_source(what, session=session)
    source = open_source(
        named,
        session=session,
        resolution=resolution,
        table_resolution=table_resolution,
        alignment=alignment_of(
            alignment, named if isinstance(named, int) else None, confirmed=confirmed
        ),
    )
    source.dataset.check_placed()
    opened, reason = (
        (None, "It was left out on purpose (--no-atlas).")
        if no_atlas
        else try_atlas(
            session,
            choice.resolution,
            choice.name,
            annotation=choice.annotation,
            graph=choice.graph,
            template=choice.template,
        )
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
    with written_to(place, ".html") as path:
        write_report(made, path, force=force)
        size = path.stat().st_size
    odd = len(made.quality.suspicious) if made.quality else 0
    result(
        {
            "dataset_id": source.dataset.id,
            "files": [] if place == "-" else [place],
            "bytes": size,
            "sections": len(made.entries),
            "suspicious": odd,
            "failed": made.failed,
            "without_atlas": reason,
            "synthetic": made.synthetic,
        }
    )
    if made.synthetic:
        say("SYNTHETIC: of the demo brain.")
    say(
        f"{len(made.entries)} sections of data set {source.dataset.id}, {odd} suspicious, "
        f"{size / 1e6:.1f} MB.{' Open it in a browser:' if place != '-' else ''}"
    )
    if place != "-":
        answer(path)
    if made.failed:
        say(f"{len(made.failed)} sections could not be fetched; the page names them.")
        raise Exit(1)
