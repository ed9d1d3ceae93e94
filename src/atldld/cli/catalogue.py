"""`atldld catalogue`: the local catalogue that searches are answered from."""

from typing import TYPE_CHECKING, Annotated

from atldld.cli.declare import Commands, Option
from atldld.cli.manner import result
from atldld.cli.options import asks_service, facts, progress_bar, say

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.find import CatalogueInfo

app = Commands("The local catalogue that searches are answered from.")


@app.command()
@asks_service
def update(
    session: "Session",
    images: Annotated[bool, Option("--images", help="The section images too.")] = False,
    full: Annotated[
        bool,
        Option("--full", help="Fetch everything anew, to see what changed in old records."),
    ] = False,
) -> None:
    """Make the catalogue, or add what is new. One that was stopped goes on where it was.

    --images fetches the numbers of all section images too.
    """
    from atldld.find import update as update_catalogue

    with progress_bar("Rows") as progress:
        info_ = update_catalogue(session, images=images, full=full, progress=progress)
    added = [f"{number:,} {_plural(table)}" for table, number in info_.added.items() if number]
    say(f"New: {', '.join(added) or 'nothing'}.")
    _print(info_)


@app.command()
@asks_service
def info(session: "Session") -> None:
    """Show what the catalogue holds, of which service, and how old it is."""
    from atldld.find import catalogue_info

    _print(catalogue_info(session))


def _print(info_: "CatalogueInfo") -> None:
    from atldld.find import age_in_words

    result(info_)
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
    facts(known)
    for remark in info_.remarks:
        say(f"Warning: {remark}")


def _plural(table: str) -> str:
    return f"{table.replace('_', ' ')}s"
