"""`atldld align`: see, correct and confirm a registration by hand, in the browser."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from atldld.cli.declare import Option
from atldld.cli.options import (
    AlignmentFile,
    DatasetId,
    Force,
    alignment_of,
    answer,
    asks_service,
    folder_of,
    say,
    takes_atlas,
    to,
)
from atldld.cli.serve import ended_by_signals

if TYPE_CHECKING:
    from atldld.batch import AtlasChoice
    from atldld.fetch.session import Session


@asks_service
@takes_atlas
def align(
    session: "Session",
    choice: "AtlasChoice",
    dataset_id: DatasetId,
    alignment: AlignmentFile = None,
    output: Annotated[str | None, to("FILE.json", "ID.json")] = None,
    port: Annotated[int, Option(min=0, max=65535, help="0 chooses a free one.")] = 0,
    host: Annotated[str, Option(help="Address to listen at.")] = "127.0.0.1",
    public: Annotated[
        bool, Option("--public", help="Allow an address that others can reach.")
    ] = False,
    no_browser: Annotated[
        bool, Option("--no-browser", help="Only print the page's address.")
    ] = False,
    force: Force = False,
) -> None:
    """See, correct and confirm by hand where the sections lie, in the browser.

    The page is served from this machine until Ctrl-C, and whatever is done in it is saved at once:
    as a registration, which other commands take with --alignment, and in a journal beside it. The
    same command goes on where it was left. Here --alignment says where the sections lie at first.
    """
    from atldld.align.desk import check_start, open_desk
    from atldld.align.listen import listen
    from atldld.find.named import find_dataset
    from atldld.place.alignment import read_alignment
    from atldld.place.sections import PlacedDataSet

    if output is not None:
        check_start(folder_of(output), force=force)
    choice.check()
    number = find_dataset(dataset_id, session=session)
    place = Path(f"{number}.json") if output is None else folder_of(output)
    goes_on = check_start(place, force=force)
    file = alignment_of(alignment, number)
    planes = None if file is None or goes_on else read_alignment(file)
    record = session.dataset(number)
    if not goes_on:
        PlacedDataSet.of(record, planes).check_placed()
    atlas = choice.open(session)
    desk = open_desk(record, session, atlas, place, alignment=planes, force=force)
    try:
        opened = listen(desk, host, port, public=public)
        try:
            if goes_on:
                begun = "" if file is None else f" {file} is not read again."
                say(f"{place} goes on where it was left.{begun}")
            if desk.synthetic:
                say("SYNTHETIC: of the demo brain.")
            say(f"Everything is saved at once, into {place}. Ctrl-C ends it.")
            answer(opened.address)
            if not no_browser:
                import webbrowser

                webbrowser.open(opened.address)
            with ended_by_signals():
                opened.server.run()
        finally:
            opened.server.close()
            opened.application.close()
    finally:
        desk.close()
    say("Stopped.")
