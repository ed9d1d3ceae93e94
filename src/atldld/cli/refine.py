"""`atldld refine`: where the sections of a data set lie, found anew."""

from typing import TYPE_CHECKING, Annotated

from atldld.cli.batches import Between, Dask, DryRun, InFlight, Rate, work_on
from atldld.cli.declare import Argument, Exit, Option
from atldld.cli.manner import result
from atldld.cli.options import (
    DATASET,
    AlignmentFile,
    Confirmed,
    Datasets,
    Force,
    Jobs,
    Numbers,
    Resolution,
    alignment_of,
    answer,
    asks_service,
    check_confirmed,
    folder_of,
    progress_bar,
    say,
    stoppable,
    takes_atlas,
    to,
)
from atldld.errors import InvalidInputError

if TYPE_CHECKING:
    from atldld.batch import AtlasChoice
    from atldld.fetch.session import Session
    from atldld.place.registration import Registration


@asks_service
@takes_atlas
def refine(
    session: "Session",
    choice: "AtlasChoice",
    output: Annotated[str, to("FILE.json|FOLDER|ADDRESS")],
    dataset_id: Annotated[str | None, Argument(metavar="[ID]", help=DATASET)] = None,
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    steps: Annotated[
        str, Option(help="What is done, with commas between.")
    ] = "whole,sections,inplane",
    resolution: Resolution = 25,
    limit: Annotated[
        float,
        Option("--max-move", help="How far, in µm, a step may move any point of a section."),
    ] = 1500,
    sections: Numbers = None,
    few: Annotated[
        bool,
        Option(
            "--few",
            help="Refine fewer than five sections as well: their structures' greys are less sure.",
        ),
    ] = False,
    jobs: Jobs = None,
    force: Force = False,
    listed: Datasets = None,
    in_flight: InFlight = 6,
    rate: Rate = None,
    dask: Dask = None,
    dry_run: DryRun = False,
    between: Between = None,
) -> None:
    """Move and bend sections to fit the atlas; one that would not gain stays.

    Sections are fitted to the atlas's annotation, by the grey that each structure has in this data
    set: all together (whole), each section's plane (sections), and bent within its plane (inplane).
    A step is kept for a section only if pixels that were held back and the atlas's template agree.
    Other commands take the file with --alignment; here it says where the sections are at the start.
    Sections that --section leaves out stay put. With --datasets, each data set gets OUT/ID/ID.json
    in a folder or at an address such as s3://bucket/it, and the same command goes on where it has
    stopped.
    """
    from atldld.api import open_dataset
    from atldld.batch import Alignments, Registrations, read_ids
    from atldld.find.named import find_dataset
    from atldld.place.registration import check_registration
    from atldld.refine import check_refinement
    from atldld.support.numbers import pick, read_numbers

    check_confirmed(alignment, confirmed)
    # everything that can be said before the service is asked
    named = tuple(name.strip() for name in steps.split(",") if name.strip())
    names = check_refinement(named, resolution, limit)
    folder_of(output)
    choice.check()
    if listed:
        if dataset_id is not None or sections is not None:
            raise InvalidInputError(
                "An id and --section are for one data set, and --datasets names many; use one of "
                "them."
            )
        work_on(
            session,
            read_ids(listed, session=session),
            output,
            Registrations(
                choice,
                names,
                resolution,
                limit,
                few,
                None if alignment is None else Alignments(alignment, confirmed),
            ),
            threads=jobs,
            dask=dask,
            rate=rate,
            in_flight=in_flight,
            force=force,
            dry_run=dry_run,
            between=between,
        )
        return
    if dataset_id is None:
        raise InvalidInputError("No data set is named; give an id, or --datasets.")
    if rate or dask or dry_run:
        raise InvalidInputError(
            "--rate, --dask and --dry-run are for many data sets, with --datasets."
        )
    check_registration(output, force=force)
    numbers = read_numbers(sections)
    number = find_dataset(dataset_id, session=session)
    dataset = open_dataset(
        number, session=session, alignment=alignment_of(alignment, number, confirmed=confirmed)
    )
    dataset.check_placed()
    chosen = None
    if numbers:
        there = [section.number for section in dataset.sections]
        wanted = pick(numbers, there, f"the placed ones of section data set {number}")
        chosen = [section for section in dataset.sections if section.number in wanted]
    opened = choice.open(session)
    with stoppable(session), progress_bar("Refining") as progress:
        found = dataset.refine(
            opened,
            steps=names,
            resolution=resolution,
            most=limit,
            sections=chosen,
            few=few,
            jobs=jobs,
            progress=progress,
        )
    path = found.save(output, force=force)
    result(
        {
            "dataset_id": number,
            "files": [path],
            "sections": [
                {
                    "image_id": image_id,
                    "section_number": fit.section_number,
                    "steps": fit.steps,
                    "moved_um": fit.refinement.moved,
                    "expected_error": fit.expected_error,
                }
                for image_id, fit in found.sections.items()
            ],
            "failed": found.about["failed"],
        }
    )
    answer(path)
    _tell(found)
    if missing := len(found.about["failed"]):
        say(f"{missing} could not be fetched; the same command with --force tries them again.")
        raise Exit(1)


def _tell(found: "Registration") -> None:
    """Say how many sections have moved, how far, and why the others have not."""
    moved = [
        max(step.moved for step in fit.steps if step.kept)
        for fit in found.sections.values()
        if any(step.kept for step in fit.steps)
    ]
    say(f"{len(moved)} of {len(found.sections)} sections of data set {found.dataset_id} moved.")
    if moved:
        middle = sorted(moved)[len(moved) // 2]
        say(f"By {middle:.0f} µm in the middle of them, and by {max(moved):.0f} µm at most.")
    stayed: dict[str, list[int]] = {}
    for fit in found.sections.values():
        if fit.steps and not any(step.kept for step in fit.steps):
            stayed.setdefault(fit.steps[-1].reason, []).append(fit.section_number)
    for reason, numbers in stayed.items():
        say(f"Stayed: {', '.join(map(str, sorted(numbers)))}. {reason}")
    template = str(found.about["template"])
    if template.startswith("none"):
        say(f"Template: {template.rstrip('.')}.")
    if found.about.get("synthetic"):
        say("SYNTHETIC: of the demo brain.")
    say(f"Where sections have moved, coordinates are those of {found.about['space']}.")
