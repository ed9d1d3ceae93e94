"""`atldld grid`: Allen's 200 µm grids of expression."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from atldld.cli.declare import Option
from atldld.cli.manner import result
from atldld.cli.options import (
    DatasetId,
    Force,
    Refresh,
    answer,
    asks_service,
    folder_of,
    say,
    takes_atlas,
    to,
    written_to,
)
from atldld.cli.quantify import show

if TYPE_CHECKING:
    from atldld.batch import AtlasChoice
    from atldld.fetch.session import Session


@asks_service
@takes_atlas
def grid(
    session: "Session",
    choice: "AtlasChoice",
    dataset_id: DatasetId,
    output: Annotated[str | None, to("FILE", "nowhere")] = None,
    kind: Annotated[
        Literal["energy", "density", "intensity"], Option(help="What to write.")
    ] = "energy",
    regions: Annotated[bool, Option("--regions", help="Show the means over structures.")] = False,
    table: Annotated[
        str | None,
        Option(metavar="FILE.csv|FILE.parquet|-", help="Write the means over structures there."),
    ] = None,
    labels: Annotated[
        Literal["atlas", "service"],
        Option(
            help="Which structures the voxels are in: what fills most of them in the atlas of "
            "2017, or what the service itself had on this grid, which is older."
        ),
    ] = "atlas",
    refresh: Refresh = False,
    force: Force = False,
) -> None:
    """Fetch Allen's 200 µm grids.

    They are written as a volume in the reference space, whose ending says the format as for `atldld
    volume`, NaN where there are no data; or as means over structures.
    """
    from atldld.find.named import find_dataset
    from atldld.formats import check_volume
    from atldld.regions.grids import fetch_grid, grid_region_means, open_labels
    from atldld.regions.table import check_output

    if output is not None:
        check_volume(folder_of(output), force=force)
    if table is not None and table != "-":
        check_output(table, force=force)
    if (regions or table is not None) and labels == "atlas":
        choice.check()
    number = find_dataset(dataset_id, session=session)
    found = fetch_grid(number, session=session, refresh=refresh)
    files: list[Path] = []
    rows = None
    if output is not None or regions:
        found[kind]  # says at once if it lacks this kind
    if output is not None:
        files.append(found.save(output, kind, force=force))
        answer(files[0])
    if regions or table is not None:
        opened = choice.open(session) if labels == "atlas" else None
        names, graph = open_labels(session, labels, atlas=opened)
        means = grid_region_means(found, names, graph)
        rows = list(means.select(hemispheres=["both"]).rows()) if regions else None
        if table is not None:
            with written_to(table, ".csv") as path:
                written = means.save(path, force=force)
            files += written if table != "-" else ()
            for path in written if table != "-" else ():
                answer(path)
        if regions:
            show(means.select(hemispheres=["both"]), kind)
        if unknown := means.metadata["unknown_ids"]:
            listed = ", ".join(map(str, unknown[:20]))
            say(f"The structure graph lacks these ids, which are listed as unknown: {listed}.")
    result(
        {
            "dataset_id": number,
            "files": files,
            "kinds": list(found.data),
            "shape": found.shape,
            "rows": rows,
            "synthetic": found.synthetic,
        }
    )
    if found.synthetic:
        say("SYNTHETIC: of the demo brain.")
    sizes = " × ".join(map(str, found.shape))
    say(
        f"Data set {found.dataset_id}: {', '.join(found.data)} in {sizes} voxels of "
        f"{found.resolution:g} µm."
    )
