"""What commands that work on many data sets share: options, progress, the table at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from atldld.cli.declare import Exit, Option
from atldld.cli.manner import result
from atldld.cli.options import answer, command_line, say, table
from atldld.cli.progress import duration, stage

if TYPE_CHECKING:
    from atldld.batch import BatchProgress, BatchSummary, Entry, Estimate, IdList, Work
    from atldld.fetch.session import Session

__all__ = ["Between", "Dask", "DryRun", "InFlight", "Rate", "work_on"]

PANEL = "Many at once"
ROWS = 40  # of data sets that the table at the end shows one by one
NAMED = 10  # lines of rubbish, and unknown data sets

Dask = Annotated[
    str | None,
    Option(
        metavar="ADDRESS|local:N",
        help="Work on a Dask cluster: its scheduler's address, or N processes here.",
        heading=PANEL,
    ),
]
Rate = Annotated[
    float | None,
    Option(
        min=0.01,
        metavar="PER_SECOND",
        help="Requests each second at most, of all workers together.",
        heading=PANEL,
    ),
]
InFlight = Annotated[
    int,
    Option(
        min=1,
        help="Requests at once at most, of all workers together.",
        heading=PANEL,
    ),
]
Between = Annotated[
    str | None,
    Option(
        metavar="HH:MM-HH:MM",
        help="Begin data sets in these hours alone, such as 22:00-06:00.",
        heading=PANEL,
    ),
]
DryRun = Annotated[
    bool,
    Option(
        "--dry-run",
        help="Say how much it will be, from what is known here, and do nothing.",
        heading=PANEL,
    ),
]


def work_on(
    session: Session,
    listed: IdList,
    out: str,
    work: Work,
    *,
    jobs: int = 1,
    threads: int | None = None,
    dask: str | None = None,
    rate: float | None = None,
    in_flight: int = 6,
    force: bool = False,
    dry_run: bool = False,
    between: str | None = None,
) -> None:
    """Work on a list, tell how it goes, and end with the status that fits."""
    from atldld.batch import Window, estimate, run_batch
    from atldld.fetch.limits import Limits
    from atldld.fetch.session import Session

    for sentence in listed.rubbish[:NAMED]:
        say(sentence)
    if len(listed.rubbish) > NAMED:
        say(f"… and {len(listed.rubbish) - NAMED} more lines that are no ids.")
    if listed.repeated:
        say(f"{_count(listed.repeated, 'id')} named again; each data set is made once.")
    if dry_run:
        found = estimate(listed.ids, work, session)
        result({"estimate": found, "not_ids": listed.rubbish})
        bounds = session.limits
        _show_estimate(found, rate or bounds.per_second, bounds.per_day)
        raise Exit(1 if listed.rubbish else 0)
    window = None if between is None else Window.read(between)
    limits = Limits(in_flight=in_flight, per_second=rate)
    if window is not None and not window.is_open():
        say(f"It is begun at {window.begin:%H:%M}, in {duration(window.seconds())}.")
    with Session(session.settings, limits=limits) as limited, _progress() as show:
        try:
            summary = run_batch(
                listed.ids,
                out,
                work,
                session=limited,
                jobs=jobs,
                threads=threads,
                dask=dask,
                force=force,
                command_line=command_line(),
                progress=show,
                window=window,
            )
        except KeyboardInterrupt:
            limited.close()
            again = "without --force " if force else ""
            say(f"Stopped. The same command {again}goes on from here.")
            raise Exit(130) from None
    result(
        {
            "out": summary.out,
            "entries": summary.entries,
            "kept": summary.kept,
            "left": summary.left,
            "given_up": summary.given_up,
            "seconds": summary.seconds,
            "not_ids": listed.rubbish,
        }
    )
    _show_summary(summary)
    if listed.rubbish:
        say(f"{_count(len(listed.rubbish), 'line')} of the list without an id.")
    if not summary.complete or listed.rubbish:
        raise Exit(1)


def _show_summary(summary: BatchSummary) -> None:
    one_by_one = len(summary.entries) <= ROWS
    shown = summary.entries if one_by_one else summary.failed[:ROWS]
    rows = [_row(str(entry.data_set), entry.state, [entry], entry.why) for entry in shown]
    done = [entry for entry in summary.entries if entry.state == "done"]
    for state, entries in (("done", done), ("failed", list(summary.failed))):
        if entries:
            rows.append(_row(f"{len(entries)} {state}", "", entries))
    if summary.left:
        rows.append([f"{len(summary.left)} left", *[""] * 6])
    table(
        {
            "data set": "right",
            "state": "left",
            "sections": "right",
            "images (MB)": "right",
            "written (MB)": "right",
            "time (s)": "right",
            "why": "below",
        },
        rows,
    )
    if len(summary.failed) > ROWS and not one_by_one:
        say(f"The other {len(summary.failed) - ROWS} that failed are in the journal, batch.jsonl.")
    if summary.kept:
        say(f"{summary.kept} of these were there already.")
    if defects := sum(entry.defects for entry in summary.entries):
        named = "each metadata.json names its own"
        say(f"Met {_count(defects, 'defect')} of the service's data; {named}.")
    answer(summary.out)
    if summary.given_up:
        say(f"Given up: {summary.given_up}")
    if not summary.complete:
        failed = f"{len(summary.failed)} failed. " if summary.failed else ""
        say(f"{failed}The same command tries what failed again, and goes on with what is left.")


def _row(name: str, state: str, entries: list[Entry], why: str | None = None) -> list[str]:
    return [
        name,
        state,
        str(sum(entry.sections for entry in entries)),
        f"{sum(entry.image_bytes for entry in entries) / 1e6:,.1f}",
        f"{sum(entry.bytes for entry in entries) / 1e6:,.1f}",
        f"{sum(entry.seconds for entry in entries):,.1f}",
        why or "",
    ]


def _show_estimate(found: Estimate, rate: float | None, per_day: int | None) -> None:
    from atldld.batch.estimate import BYTES_PER_PIXEL

    known = found.data_sets - len(found.unknown)
    tiers = ", ".join(map(str, found.tiers)) or "–"
    rows = [
        ["data sets", f"{found.data_sets:,}"],
        ["of them known here", f"{known:,}"],
        [f"images at tier {tiers}", f"{found.images:,}"],
        ["of them in the cache", f"{found.cached:,}"],
        ["requests", f"{found.requests:,}"],
        ["to fetch, about", _size(found.fetched_bytes)],
        ["to write, about", _size(found.written_bytes)],
    ]
    if rate:
        rows.append([f"at {rate:g} requests a second", f"{found.requests / rate / 3600:.1f} h"])
    if per_day and found.requests > per_day:
        rows.append([f"at {per_day:,} requests a day", f"{-(-found.requests // per_day):,} days"])
    table({"": "left", "about": "right"}, rows)
    say(f"A JPEG is taken to have {BYTES_PER_PIXEL} bytes a pixel, as the one measured at tier 2.")
    if found.unknown:
        named = ", ".join(map(str, found.unknown[:NAMED]))
        more = ", …" if len(found.unknown) > NAMED else ""
        say(
            f"Nothing is known here of the images of {_count(len(found.unknown), 'data set')}, not "
            f"in these numbers: {named}{more}. `atldld catalogue update --images` learns of all."
        )


def _size(size: int | None) -> str:
    if size is None:
        return "unknown"
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"


@contextmanager
def _progress() -> Iterator[Callable[[BatchProgress], None]]:
    """Show done, failed, left, bytes and time left on standard error."""
    with stage("Data sets") as show:

        def tell(now: BatchProgress) -> None:
            ended = now.done + now.failed
            show(ended, ended + now.left, _in_words(now))

        yield tell


def _in_words(now: BatchProgress) -> str:
    left = f"{now.left} left"
    if now.seconds_left and now.left:
        left += f", {duration(now.seconds_left)}"
    failed = f", {now.failed} failed" if now.failed else ""
    return f"{now.done} done{failed}, {left}; {now.bytes / 1e6:,.1f} MB"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
