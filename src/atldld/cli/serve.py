"""`atldld serve` and `atldld demo`: the local service."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from atldld.cli.declare import Argument, Option
from atldld.cli.manner import result
from atldld.cli.options import Datasets, Force, answer, folder_of, place_of, progress_bar, say, to
from atldld.settings import Settings

# Seconds that a costly question computes before others get their turn; 5 ms are Python's own, and
# a light question waits for that several times.
_TURN = 0.0005

if TYPE_CHECKING:
    from atldld.atlas import Atlas
    from atldld.fetch.session import Session
    from atldld.support.provenance import Progress


def serve(
    archive: Annotated[
        str,
        Argument(
            help="demo, cache (the one in use), or an exported archive: a folder or a .zip file."
        ),
    ] = "demo",
    port: Annotated[int, Option(min=0, max=65535, help="0 chooses a free one.")] = 8765,
    host: Annotated[str, Option(help="Address to listen at.")] = "127.0.0.1",
    public: Annotated[
        bool, Option("--public", help="Allow an address that others can reach.")
    ] = False,
    datasets: Datasets = None,
    budget: Annotated[
        float,
        Option(metavar="TIMES", help="What one question may cost, times the usual."),
    ] = 1.0,
    cache_dir: Annotated[
        Path | None,
        Option(help="Folder of the cache.", envvar="ATLDLD_CACHE_DIR", metavar="DIR"),
    ] = None,
) -> None:
    """Serve an archive at the service's own URLs, read-only, until Ctrl-C.

    With --datasets, only these.
    """
    from contextlib import ExitStack

    from atldld.batch import read_ids
    from atldld.demo.local import opened_archive
    from atldld.fetch.session import Session
    from atldld.serve.listen import listen

    ids = None
    if datasets:
        with Session(Settings.from_environment(cache_dir=cache_dir)) as session:
            ids = list(read_ids(datasets, session=session).ids)
    with ExitStack() as stack:
        stack.enter_context(ended_by_signals())
        source = stack.enter_context(
            opened_archive(archive, Settings.from_environment(cache_dir=cache_dir), ids)
        )
        server = listen(host, port, source, public=public, budget=budget)
        stack.callback(server.close)
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(_TURN)
        address = f"http://{server.effective_host}:{server.effective_port}"
        count = len(source.tables()["SectionDataSet"])
        kind = " SYNTHETIC pixels, genuine numbers." if getattr(source, "synthetic", False) else ""
        say(f"Serving {archive}: {count} data sets.{kind} Ctrl-C ends it.")
        say(f"Use it with: export ATLDLD_API_URL={address}")
        answer(address)
        server.run()  # ends with Ctrl-C, or when it is told to
        say("Stopped.")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, with everything tidied up."""

    def end(number: int, _: object) -> None:
        # a second one does not interrupt the tidying up
        for again in before:
            signal.signal(again, signal.SIG_IGN)
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # who runs it with nohup does not want SIGHUP to end it
    before = {
        number: signal.signal(number, end)
        for number in numbers
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def demo(
    folder: Annotated[
        str | None, Argument(metavar="[OUT]", help="Folder of the result; or -o.")
    ] = None,
    output: Annotated[str | None, to("FOLDER", "demo")] = None,
    force: Force = False,
) -> None:
    """Run the main job on the packaged demo archive, with no network.

    Then all sections are displaced by known amounts and refined; the report shows both alignments.
    """
    from atldld.demo.local import in_process_session
    from atldld.place.registration import check_registration
    from atldld.report import check_page, gather, open_source, try_atlas, write_report
    from atldld.sections.download import download_dataset, overview
    from atldld.sections.register import Recipe
    from atldld.support.files import check_targets, scratch_folder

    dataset_id = 69289763
    output_folder = folder_of(place_of(output, folder, "demo"))
    pictures = output_folder / str(dataset_id)
    page, sheet = output_folder / "report.html", output_folder / "overview.png"
    off, refined = output_folder / "disturbed.json", output_folder / "refined.json"
    check_page(page, force=force)
    check_targets([sheet], force=force)
    for path in (off, refined):
        check_registration(path, force=force)
    with (
        ended_by_signals(),
        scratch_folder() as cache,
        in_process_session(cache) as session,
    ):
        with progress_bar(f"Demo of data set {dataset_id}") as progress:
            download_dataset(
                dataset_id,
                pictures,
                Recipe(expression=True),
                session=session,
                command_line="atldld demo",
                progress=progress,
                force=force,
            )
        overview(pictures, sheet, force=force)
        atlas, reason = try_atlas(session)
        judged = None
        if atlas is not None:
            with progress_bar("Refining") as progress:
                judged = _refined_again(dataset_id, atlas, session, off, refined, force, progress)
        with progress_bar("Report") as progress:
            made = gather(
                open_source(
                    dataset_id, session=session, alignment=refined if judged is not None else None
                ),
                atlas,
                without_atlas=reason,
                command_line="atldld demo",
                progress=progress,
            )
        write_report(made, page, force=force)
    files = [sheet, page, *([off, refined] if judged is not None else [])]
    result(
        {"dataset_id": dataset_id, "folder": pictures.resolve(), "files": files, "judged": judged}
    )
    say("Sections of a SYNTHETIC brain, placed by the genuine numbers of data set 69289763.")
    say(f"All of them on one sheet: {sheet.resolve()}")
    say("Pictures at 25 µm, expression masks and metadata.json:")
    answer(pictures.resolve())
    if judged is not None:
        say(
            "Then the brain was moved, turned and sheared, and each section shifted, tilted and "
            f"bent by known amounts ({off.name}), and all refined from there ({refined.name})."
        )
        say(judged)
    say("A report that shows and explains everything, with both alignments; open it in a browser:")
    answer(page.resolve())


def _refined_again(
    dataset_id: int,
    atlas: "Atlas",
    session: "Session",
    off: Path,
    refined: Path,
    force: bool,
    progress: "Progress",
) -> str:
    """Put the sections of a data set off, refine them, and say how well that went."""
    import warnings

    from atldld.api import open_dataset
    from atldld.testing.disturbed import disturbed, judgement

    truth = open_dataset(dataset_id, session=session)
    disturbed(truth, atlas).save(off, force=force)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd about planes that are off on purpose
        start = open_dataset(dataset_id, session=session, alignment=off)
    # coarsely, as the demo is to be quick; `atldld refine` looks at 25 µm
    found = start.refine(atlas, resolution=100, progress=progress)
    found.save(refined, force=force)
    return judgement(truth, start, found, atlas)
