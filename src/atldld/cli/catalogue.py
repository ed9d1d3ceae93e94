"""`atldld catalogue`: the local catalogue that searches are answered from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from atldld.cli.declare import Argument, Commands, Option
from atldld.cli.manner import plain_json, result
from atldld.cli.options import (
    Force,
    answer,
    asks_service,
    facts,
    progress_bar,
    say,
    to,
    written_to,
)

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.find import CatalogueInfo
    from atldld.find.placements import PlacementsEstimate, PlacementsInfo

app = Commands("The local catalogue that searches are answered from.")


@app.command()
@asks_service
def update(
    session: "Session",
    images: Annotated[bool, Option("--images", help="The section images too.")] = False,
    placements: Annotated[
        bool,
        Option(
            "--placements",
            help="Where every section of the adult brain lies too, so that data sets open "
            "without the service.",
        ),
    ] = False,
    full: Annotated[
        bool,
        Option("--full", help="Fetch everything again, to see what changed in old records."),
    ] = False,
    dry_run: Annotated[
        bool,
        Option(
            "--dry-run", help="Say how much it will be, from what is known here, and do nothing."
        ),
    ] = False,
) -> None:
    """Make the catalogue, or add what is new. One that was stopped goes on where it was.

    --images fetches the numbers of all section images too; --placements the alignments, sizes and
    tiers of all sections of the adult brain, after it has said how much that will be.
    """
    from atldld.find import update as update_catalogue
    from atldld.find.placements import estimate_placements, update_placements

    if dry_run:
        _tell(estimate_placements(session, full=full), session)
        return
    with progress_bar("Rows") as progress:
        info_ = update_catalogue(session, images=images, full=full, progress=progress)
    added = [f"{number:,} {_plural(table)}" for table, number in info_.added.items() if number]
    say(f"New: {', '.join(added) or 'nothing'}.")
    placed = None
    if placements:
        _tell(estimate_placements(session, full=full), session)
        with progress_bar("Placements") as progress:
            placed = update_placements(session, full=full, progress=progress)
    _print(info_, placed)


@app.command()
@asks_service
def info(session: "Session") -> None:
    """Show what the catalogue holds, of which service, and how old it is."""
    from atldld.find import catalogue_info
    from atldld.find.placements import placements_info

    _print(catalogue_info(session), placements_info(session))


@app.command("export")
@asks_service
def export_(
    session: "Session",
    output: Annotated[str, to("FILE.zip|-")],
    force: Force = False,
) -> None:
    """Write the catalogue, with its placements, into one file for others."""
    from atldld.find.exchange import export_catalogue

    with written_to(output, ".zip") as path:
        done = export_catalogue(session, path, force=force)
    printed = output == "-"
    result({**plain_json(done), "path": None if printed else str(path)})
    say(f"Written: {', '.join(done.files)} of {done.service}, {done.bytes / 1e6:.1f} MB unpacked.")
    if not printed:
        answer(path)


@app.command("import")
@asks_service
def import_(
    session: "Session",
    file: Annotated[Path, Argument(metavar="FILE.zip", help="What was exported.")],
    force: Force = False,
) -> None:
    """Take a catalogue, with its placements, that somebody else has exported."""
    from atldld.find.exchange import import_catalogue

    done = import_catalogue(session, file, force=force)
    result(done)
    say(f"Taken: {', '.join(done.files)} of {done.service}, {done.bytes / 1e6:.1f} MB.")
    answer(session.cache.root)


def _tell(estimate: "PlacementsEstimate", session: "Session") -> None:
    rate = session.limits.per_second
    minutes = f", {estimate.requests / rate / 60:.0f} minutes at {rate:g} a second" if rate else ""
    result({"estimate": estimate})
    say(
        f"To be placed: {estimate.data_sets:,} data sets with about {estimate.images:,} images. "
        f"That is about {estimate.requests:,} requests{minutes}, "
        f"{estimate.fetched_bytes / 1e6:,.0f} MB to fetch and "
        f"{estimate.written_bytes / 1e6:,.0f} MB to keep."
    )


def _print(info_: "CatalogueInfo", placed: "PlacementsInfo | None" = None) -> None:
    from atldld.find import age_in_words

    result({**plain_json(info_), "placements": placed})
    known = {
        "Catalogue": str(info_.path),
        "Service": info_.source.url,
        "Updated": f"{info_.source.when:%Y-%m-%d %H:%M} UTC, {age_in_words(info_.source.when)}",
        "All of it": f"{info_.built:%Y-%m-%d %H:%M} UTC, {age_in_words(info_.built)}",
        "Size": f"{info_.bytes / 1e6:.1f} MB",
        **{
            _plural(table).capitalize(): f"{number:,}"
            + (f" of {info_.imaged:,} data sets" if table == "image" else "")
            for table, number in info_.rows.items()
        },
    }
    if placed is not None:
        known["Placements"] = (
            f"{placed.images:,} images of {placed.data_sets:,} data sets, "
            f"{placed.bytes / 1e6:.1f} MB"
        )
    facts(known)
    for remark in info_.remarks:
        say(f"Warning: {remark}")
    if placed is not None and placed.incomplete:
        say(
            f"Warning: of {placed.incomplete} data sets the service did not send all images that "
            "it had promised; the next update asks again."
        )


def _plural(table: str) -> str:
    return f"{table.replace('_', ' ')}s"
