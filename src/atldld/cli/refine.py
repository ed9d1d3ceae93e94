"""`atldld refine`: where the sections of a data set lie, found anew."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atldld.cli.batches import PANEL as BATCH
from atldld.cli.batches import Dask, DryRun, InFlight, Rate, work_on
from atldld.cli.options import (
    AtlasName,
    AtlasResolution,
    Force,
    Jobs,
    answer,
    asks_service,
    progress_bar,
    say,
    section_numbers,
    stoppable,
)
from atldld.errors import InvalidInputError

if TYPE_CHECKING:
    from atldld.api import DataSet, Section
    from atldld.fetch.session import Session
    from atldld.place.registration import Registration


@asks_service
def refine(
    session: "Session",
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="REG.json|OUT",
            help="The registration. With --datasets: the folder, or an address such as "
            "s3://bucket/it.",
        ),
    ],
    dataset_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id of the section data set.")
    ] = None,
    alignment: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.json|FOLDER",
            help="Start from a registration, or a QuickNII, VisuAlign or DeepSlice file, not from "
            "Allen's alignment. With --datasets: a folder of such, ID.json or ID/ID.json, or a "
            "name with {id} in it.",
        ),
    ] = None,
    steps: Annotated[
        str, typer.Option(help="What is done, with commas between.")
    ] = "whole,sections,inplane",
    resolution: Annotated[
        float, typer.Option(help="Side of a pixel, in µm, at which sections are looked at.")
    ] = 25,
    limit: Annotated[
        float, typer.Option(help="How far, in µm, a step may move any point of a section.")
    ] = 1500,
    atlas: AtlasName = "ccf_2017",
    atlas_resolution: AtlasResolution = None,
    annotation: Annotated[
        Path | None, typer.Option(metavar="FILE.nrrd", help="An annotation of your own.")
    ] = None,
    graph: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Its structures.")] = None,
    template: Annotated[
        Path | None,
        typer.Option(metavar="FILE.nrrd", help="A template of your own; it may be coarser."),
    ] = None,
    sections: Annotated[
        str | None,
        typer.Option(
            metavar="N,N-N,…", help="Only sections of these numbers; the others stay put."
        ),
    ] = None,
    few: Annotated[
        bool,
        typer.Option(
            "--few",
            help="Refine fewer than five sections as well: their structures' greys are less sure.",
        ),
    ] = False,
    jobs: Jobs = None,
    force: Force = False,
    listed: Annotated[
        list[str] | None,
        typer.Option(
            "--datasets",
            metavar="ID|FILE|-",
            help="A registration of each data set: an id, a file with one id a line, or - for "
            "standard input.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    in_flight: InFlight = 6,
    rate: Rate = None,
    dask: Dask = None,
    dry_run: DryRun = False,
) -> None:
    """Find anew where the sections lie, never worse than where they lay.

    Sections are fitted to the atlas's annotation, by the grey that each structure has in this data
    set: all together (whole), each section's plane (sections), and bent within its plane (inplane).
    A step is kept for a section only if pixels that were held back and the atlas's template agree.
    Other commands take the file with --alignment. With --datasets, each data set gets
    OUT/ID/ID.json, and the same command goes on where it has stopped.
    """
    from atldld.api import open_dataset
    from atldld.batch import Alignments, AtlasChoice, Registrations, read_ids
    from atldld.place.registration import check_registration
    from atldld.refine import check_refinement

    # everything that can be said before the service is asked
    named = tuple(name.strip() for name in steps.split(",") if name.strip())
    names = check_refinement(named, resolution, limit)
    own = [None if path is None else str(path.absolute()) for path in (annotation, graph, template)]
    choice = AtlasChoice(atlas, atlas_resolution, *own)
    choice.check()
    if listed:
        if dataset_id is not None or sections is not None:
            raise InvalidInputError(
                "An id and --sections are for one data set, and --datasets names many; use one of "
                "them."
            )
        work_on(
            session,
            read_ids(listed),
            output,
            Registrations(
                choice,
                names,
                resolution,
                limit,
                few,
                None if alignment is None else Alignments(alignment),
            ),
            threads=jobs,
            dask=dask,
            rate=rate,
            in_flight=in_flight,
            force=force,
            dry_run=dry_run,
        )
        return
    if dataset_id is None:
        raise InvalidInputError("No data set is named; give an id, or --datasets.")
    if rate or dask or dry_run:
        raise InvalidInputError(
            "--rate, --dask and --dry-run are for many data sets, with --datasets."
        )
    check_registration(output, force=force)
    numbers = None if sections is None else section_numbers(sections)
    dataset = open_dataset(dataset_id, session=session, alignment=alignment)
    dataset.check_placed()
    chosen = None if numbers is None else _numbered(dataset, numbers)
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
    answer(found.save(output, force=force))
    _tell(found)
    if missing := len(found.about["failed"]):
        say(f"{missing} could not be had; the same command with --force tries them again.")
        raise typer.Exit(1)


def _numbered(dataset: "DataSet", numbers: list[range]) -> "list[Section]":
    """Return the sections of these numbers."""
    found = [
        section for section in dataset.sections if any(section.number in part for part in numbers)
    ]
    if not found:
        placed = [section.number for section in dataset.sections]
        raise InvalidInputError(
            f"Section data set {dataset.id} has no placed section of these numbers; it has "
            f"{len(placed)}, from {min(placed)} to {max(placed)}.",
            dataset_id=dataset.id,
        )
    return found


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
    if found.about.get("synthetic"):
        say("SYNTHETIC: of the demo brain.")
    say("Coordinates are the atlas's own, not those of the service's alignment.")
