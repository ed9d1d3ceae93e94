"""`atldld quantify`: how much is expressed in which structure."""

from typing import TYPE_CHECKING, Annotated

from atldld.cli.declare import Exit, Option
from atldld.cli.manner import result
from atldld.cli.options import (
    AlignmentFile,
    Confirmed,
    DatasetId,
    Depth,
    Force,
    Hemisphere,
    Jobs,
    MaskScale,
    Structures,
    TableResolution,
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
from atldld.warp.stain import EXPRESSING

if TYPE_CHECKING:
    from atldld.batch import AtlasChoice
    from atldld.fetch.session import Session
    from atldld.regions.table import Half, RegionTable

SHOWN = 25

HEADINGS = {
    "area_mm2": "area (mm²)",
    "stained_fraction": "stained fraction",
    "stained_darkness": "stained darkness",
    "voxels_with_data": "voxels",
    "unionize_energy": "Allen's energy",
    "grid_energy": "grid energy",
}
"""How columns of tables are headed on a screen, where that differs from their names in files."""

MEANINGS = (
    "Density is the part of the area that expresses, intensity how bright masks are there (1 to "
    "255), and energy the product of both."
)


@asks_service
@takes_atlas
def quantify(
    session: "Session",
    choice: "AtlasChoice",
    dataset_id: DatasetId,
    output: Annotated[str | None, to("FILE.csv|FILE.parquet|-", "a table on the screen")] = None,
    resolution: TableResolution = 8,
    structure: Structures = None,
    depth: Depth = None,
    hemisphere: Hemisphere = None,
    threshold: Annotated[
        int,
        Option(
            min=0, max=254, help="A pixel of a mask expresses if its brightest channel exceeds it."
        ),
    ] = EXPRESSING,
    scale: MaskScale = "jet",
    stain_threshold: Annotated[
        float | None,
        Option(
            metavar="T",
            help="Another quantity, from the section images: the fraction of pixels that take away "
            "more than this of the background's light (0 to 1). Needs no masks.",
        ),
    ] = None,
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    grid: Annotated[
        bool, Option("--grid/--no-grid", help="Means of Allen's 200 µm grids beside it.")
    ] = True,
    unionize: Annotated[
        bool,
        Option("--unionize/--no-unionize", help="Allen's StructureUnionize beside it."),
    ] = True,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Count expressing pixels of every structure and hemisphere.

    Each pixel of the masks counts once, where it lies; nothing is warped. A .csv.json beside a .csv
    says how it was made. Without --hemisphere files have all of them, and the screen has both
    together; without --output it shows the structures with the highest energy.
    """
    from atldld.api import open_dataset
    from atldld.find.named import find_dataset
    from atldld.regions.quantify import check_thresholds
    from atldld.regions.table import check_output, ids_within
    from atldld.warp.stain import open_scale

    check_confirmed(alignment, confirmed)
    # everything that can be said before the service is asked
    if output is not None and output != "-":
        check_output(output, force=force)
    check_thresholds(threshold, stain_threshold)
    choice.check()
    colours = open_scale(scale)
    number = find_dataset(dataset_id, session=session)
    dataset = open_dataset(
        number, session=session, alignment=alignment_of(alignment, number, confirmed=confirmed)
    )
    dataset.check_placed()
    opened = choice.open(session)
    ids = ids_within(opened.graph, structure) if structure else None
    with stoppable(session), progress_bar("Sections") as progress:
        regions = dataset.quantify(
            opened,
            resolution,
            threshold=threshold,
            scale=colours,
            stain_threshold=stain_threshold,
            grid=grid,
            unionize=unionize,
            jobs=jobs,
            progress=progress,
        )
    sides: list[Half] | None = None
    if hemisphere is not None:
        sides = ["left", "right"] if hemisphere == "each" else [hemisphere]
    chosen = regions.select(ids, depth=depth, hemispheres=sides)
    result(
        {
            "dataset_id": number,
            "files": [] if output in (None, "-") else [output],
            "columns": chosen.about,
            "rows": chosen.rows(),
            "about": regions.metadata,
        }
    )
    if output is None:
        by = "energy" if stain_threshold is None else "stained_fraction"
        show(chosen if hemisphere else chosen.select(hemispheres=["both"]), by)
    else:
        with written_to(output, ".csv") as path:
            written = chosen.save(path, force=force)
        for path in written if output != "-" else ():
            answer(path)
    about = regions.metadata
    if about["synthetic"]:
        say("SYNTHETIC: of the demo brain.")
    if about["unknown_ids"]:
        say(
            f"{len(about['unknown_ids'])} ids of the annotation are not in the structure graph "
            f"and are listed as unknown: {', '.join(map(str, about['unknown_ids'][:5]))} …"
        )
    count = len(about["sections"])
    say(f"{count} sections of data set {number} in a table of {len(chosen)} rows.")
    if about["failed"]:
        again = " with --force" if output is not None else ""
        missing = len(about["failed"])
        say(f"{missing} could not be fetched; the same command{again} tries them again.")
        raise Exit(1)


def show(regions: "RegionTable", by: str) -> None:
    """Print the structures with the largest values of a column; see `RegionTable.top`."""
    least = {"sections": 2} if "sections" in regions.columns else {"voxels_with_data": 8}
    top = regions.top(by, SHOWN, **least)
    columns = regions.headline
    rows = list(top.rows())
    sides = {row["hemisphere"] for row in rows}
    # where all are of one side, the sentence below says so
    side = {"side": "left"} if len(sides) > 1 else {}
    headings = {HEADINGS.get(name, name): "right" for name in columns}
    table(
        {"acronym": "left", **side, **headings, "name": "below"},
        [
            [
                row["acronym"],
                *([row["hemisphere"]] if side else []),
                *(_number(row[name]) for name in columns),
                row["name"],
            ]
            for row in rows
        ],
    )
    [(name, value)] = least.items()
    where = {"left": " in the left hemisphere", "right": " in the right hemisphere"}
    of_side = where.get("".join(sides), "")
    these = "The structure" if len(top) == 1 else f"The {len(top)} structures"
    say(
        f"{these} with the highest {_in_words(by)}{of_side}, of those with "
        f"{value} {_in_words(name)} or more." + (f" {MEANINGS}" if "energy" in columns else "")
    )


def _in_words(column: str) -> str:
    return column.replace("_", " ")


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.3g}" if value == value else "–"
