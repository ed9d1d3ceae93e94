"""`atldld quality`: which sections of a data set may not be trusted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from atldld.cli.declare import Exit, Option
from atldld.cli.manner import result
from atldld.cli.options import (
    AlignmentFile,
    Confirmed,
    DatasetId,
    Force,
    Jobs,
    NoAtlas,
    alignment_of,
    answer,
    asks_service,
    check_confirmed,
    progress_bar,
    say,
    stoppable,
    table,
    takes_atlas,
    to,
    written_to,
)

if TYPE_CHECKING:
    from atldld.batch import AtlasChoice
    from atldld.fetch.session import Session
    from atldld.place.refinement import ExpectedError
    from atldld.quality import DatasetQuality


@asks_service
@takes_atlas
def quality(
    session: "Session",
    choice: "AtlasChoice",
    dataset_id: DatasetId,
    output: Annotated[str | None, to("FILE.csv|FILE.json|-", "a table on the screen")] = None,
    resolution: Annotated[
        float,
        Option(
            "--quality-resolution",
            help="Side of a pixel, in µm, at which sections are compared.",
        ),
    ] = 50,
    no_atlas: NoAtlas = False,
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Mark the sections that lie, or look, unlike those around them.

    Each section is compared with its neighbours and with the atlas in its own plane; without the
    atlas, with its neighbours alone.
    """
    from atldld.api import open_dataset
    from atldld.find.named import find_dataset
    from atldld.quality import atlas_or_reason, check_output

    check_confirmed(alignment, confirmed)
    if output is not None and output != "-":
        check_output(Path(output), force=force)
    if not no_atlas:
        choice.check()
    number = find_dataset(dataset_id, session=session)
    dataset = open_dataset(
        number, session=session, alignment=alignment_of(alignment, number, confirmed=confirmed)
    )
    dataset.check_placed()
    opened, reason = (
        (None, "it was left out on purpose (--no-atlas).")
        if no_atlas
        else atlas_or_reason(
            None if choice.name.startswith("brainglobe:") else choice.resolution,
            name=choice.name,
            session=session,
            annotation=choice.annotation,
            graph=choice.graph,
            template=choice.template,
        )
    )
    with stoppable(session), progress_bar("Sections") as progress:
        found = dataset.assess(
            opened,
            resolution=resolution,
            without_atlas=reason,
            jobs=jobs,
            progress=progress,
        )
    result(
        {
            "dataset_id": number,
            "files": [] if output in (None, "-") else [output],
            "rule": found.rule,
            "threshold": found.threshold,
            "atlas": found.atlas,
            "resolution_um": found.resolution,
            "suspicious": [section.image_id for section in found.suspicious],
            "sections": found.to_rows(),
            "notes": found.notes,
        }
    )
    if output is None:
        show(found)
    else:
        with written_to(output, ".csv") as path:
            found.save(path, force=force)
        if output != "-":
            answer(path)
    for note in () if no_atlas else found.notes:
        say(note)
    if found.with_expected:
        say(
            "The error that is expected of a section: before → after it was refined, in µm (≤ what "
            "nine of ten such sections stay below). It is no part of the score."
        )
    say(found.rule)
    say(
        f"{len(found.suspicious)} of {len(found.sections)} sections of data set {number} are "
        f"suspicious, compared with each other{' and the atlas' if found.with_atlas else ''}."
    )
    left_out = len(dataset) - len(found.sections)
    if left_out:
        again = " with --force" if output is not None else ""
        say(f"{left_out} could not be fetched; the same command{again} tries them again.")
        raise Exit(1)


def show(found: "DatasetQuality") -> None:
    """Print a line for each section, the suspicious ones marked with their reasons."""
    expected = {"expected (µm)": "right"} if found.with_expected else {}
    table(
        {
            "section": "right",
            "image": "right",
            "overlap": "right",
            "shared info": "right",
            "continuity": "right",
            "off (µm)": "right",
            "sharpness": "right",
            "torn (%)": "right",
            "outside (%)": "right",
            **expected,
            "score": "right",
            "suspicious": "below",
        },
        [
            [
                str(section.section_number),
                str(section.image_id),
                _number(section.overlap, ".2f"),
                _number(section.mutual_information, ".2f"),
                _number(section.continuity, ".2f"),
                _number(section.misplacement, ".0f"),
                _number(section.sharpness, ".2f"),
                _percent(section.tear),
                _percent(section.outside),
                *([_expected(section.expected_error)] if expected else []),
                _number(section.score, ".1f"),
                "* " + "; ".join(section.reasons) if section.suspicious else "",
            ]
            for section in found.sections
        ],
    )


def _expected(error: "ExpectedError | None") -> str:
    """Return the error that is expected before and after, and what nine of ten stay below."""
    if error is None:
        return "–"
    return f"{error.before:.0f} → {error.after:.0f} (≤ {error.bound90_after:.0f})"


def _percent(part: float | None) -> str:
    return _number(None if part is None else 100 * part, ".1f")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or value != value else format(value, form)
