"""`atldld grid`: Allen's 200 µm grids of expression."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atldld.cli.options import AtlasResolution, DatasetId, Force, answer, asks_service, say
from atldld.cli.quantify import show

if TYPE_CHECKING:
    from atldld.fetch.session import Session


@asks_service
def grid(
    session: "Session",
    dataset_id: DatasetId,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The grid; its ending says the format, as for `atldld volume`. NaN where there "
            "are no data.",
        ),
    ] = None,
    kind: Annotated[
        Literal["energy", "density", "intensity"], typer.Option(help="What to write.")
    ] = "energy",
    regions: Annotated[
        bool, typer.Option("--regions", help="Show the means over structures.")
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the means over structures: .csv or .parquet."),
    ] = None,
    labels: Annotated[
        Literal["atlas", "service"],
        typer.Option(
            help="Which structures the voxels are in: what fills most of them in the atlas of "
            "2017, or what the service itself had on this grid, which is older."
        ),
    ] = "atlas",
    atlas_resolution: AtlasResolution = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Fetch it even if it is in the cache.")
    ] = False,
    force: Force = False,
) -> None:
    """Fetch Allen's 200 µm grids.

    They are written as a volume in the reference space, or as means over structures.
    """
    from atldld.atlas import check_atlas
    from atldld.formats import check_volume
    from atldld.regions.grids import fetch_grid, grid_region_means, open_labels
    from atldld.regions.table import check_output

    if output is not None:
        check_volume(output, force=force)
    if table is not None:
        check_output(table, force=force)
    if (regions or table is not None) and labels == "atlas":
        check_atlas(resolution=atlas_resolution)
    found = fetch_grid(dataset_id, session=session, refresh=refresh)
    if output is not None or regions:
        found[kind]  # says at once if it lacks this kind
    if output is not None:
        answer(found.save(output, kind, force=force))
    if regions or table is not None:
        names, graph = open_labels(session, labels, atlas_resolution)
        means = grid_region_means(found, names, graph)
        if table is not None:
            for path in means.save(table, force=force):
                answer(path)
        if regions:
            show(means.select(hemispheres=["both"]), kind)
        if unknown := means.metadata["unknown_ids"]:
            listed = ", ".join(map(str, unknown[:20]))
            say(f"The structure graph lacks these ids, which are listed as unknown: {listed}.")
    if found.synthetic:
        say("SYNTHETIC: of the demo brain.")
    sizes = " × ".join(map(str, found.shape))
    say(
        f"Data set {found.dataset_id}: {', '.join(found.data)} in {sizes} voxels of "
        f"{found.resolution:g} µm."
    )
