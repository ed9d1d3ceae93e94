"""`atldld volume`: the sections of data sets in one grid of voxels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from atldld.cli.batches import Between, Dask, DryRun, InFlight, Rate, work_on
from atldld.cli.declare import Argument, Exit, Option
from atldld.cli.manner import result
from atldld.cli.options import (
    AlignmentFile,
    Confirmed,
    Datasets,
    Force,
    Jobs,
    MaskScale,
    Resolution,
    alignment_of,
    answer,
    asks_service,
    check_confirmed,
    folder_of,
    progress_bar,
    say,
    stoppable,
    to,
)
from atldld.cli.search import Gene, Plane
from atldld.errors import InvalidInputError

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.volume import VolumeRecipe


@asks_service
def volume(
    session: "Session",
    output: Annotated[str, to("FILE|FOLDER|ADDRESS")],
    dataset_ids: Annotated[
        list[str] | None,
        Argument(
            metavar="[ID]...",
            help="Section data sets: ids, addresses of their pages, or genes with planes "
            "(Prox1:coronal); several are averaged.",
        ),
    ] = None,
    resolution: Resolution = 25,
    channel: Annotated[
        Literal["image", "expression", "intensity"],
        Option(
            help="Section images (RGB), intensities of the expression masks (0 to 1), or how "
            "much darker than the background the stain is."
        ),
    ] = "image",
    fill: Annotated[
        Literal["none", "nearest", "linear"],
        Option(help="What to put between sections: nothing, or what the two beside say."),
    ] = "none",
    thickness: Annotated[
        float | None,
        Option(help="How thick sections are taken to be, in µm; what the data set says."),
    ] = None,
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    scale: MaskScale = "jet",
    jobs: Jobs = None,
    force: Force = False,
    listed: Datasets = None,
    gene: Gene = None,
    plane: Plane = None,
    ending: Annotated[
        str,
        Option("--format", help="Format of the files that are written."),
    ] = "nii.gz",
    in_flight: InFlight = 6,
    rate: Rate = None,
    dask: Dask = None,
    dry_run: DryRun = False,
    between: Between = None,
) -> None:
    """Lay every section, in its own plane, into one grid of voxels.

    The ending of the file says its format; the coverage goes beside it, to FILE_coverage. OME-Zarr
    is written block by block, so the volume may be larger than the memory. Data sets that are named
    by their ids become one volume. With --datasets or --gene, each becomes one of its own,
    OUT/ID/ID.nii.gz, in a folder or at an address such as s3://bucket/it, and the same command goes
    on where it has stopped.
    """
    from atldld.volume import VolumeRecipe
    from atldld.warp.stain import open_scale

    check_confirmed(alignment, confirmed)
    folder_of(output)
    colours = open_scale(scale)
    if listed or gene:
        from atldld.batch import Alignments, Volumes, find_ids, read_ids

        if dataset_ids or (listed and gene):
            raise InvalidInputError(
                "Ids, --datasets and --gene each name data sets; use one of them."
            )
        work_on(
            session,
            read_ids(listed, session=session)
            if listed
            else find_ids(session, gene=gene, plane=plane),
            output,
            Volumes(
                resolution,
                channel,
                fill,
                thickness,
                "." + ending.lstrip("."),
                colours,
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
    if not dataset_ids:
        raise InvalidInputError("No data set is named; give ids, --datasets or --gene.")
    if plane or rate or dask or dry_run:
        raise InvalidInputError(
            "--plane, --rate, --dask and --dry-run are for many volumes, with --datasets or --gene."
        )
    _one_volume(
        session,
        dataset_ids,
        Path(output),
        VolumeRecipe(resolution, channel, fill, thickness, colours),
        alignment=alignment,
        confirmed=confirmed,
        jobs=jobs,
        force=force,
    )


def _one_volume(
    session: "Session",
    dataset_ids: list[str],
    output: Path,
    recipe: "VolumeRecipe",
    *,
    alignment: str | None,
    confirmed: bool,
    jobs: int | None,
    force: bool,
) -> None:
    from atldld.api import open_dataset
    from atldld.find.named import find_datasets
    from atldld.formats import check_volume
    from atldld.formats.voxels import takes_bands
    from atldld.volume import prepare_volume

    # everything that can be said before the service is asked
    recipe.check_memory(in_bands=takes_bands(output))
    check_volume(output, coverage=True, force=force, voxel_bytes=recipe.bytes)
    datasets = [
        open_dataset(
            number, session=session, alignment=alignment_of(alignment, number, confirmed=confirmed)
        )
        for number in find_datasets(dataset_ids, session=session)
    ]
    with stoppable(session), progress_bar("Volume") as progress:
        built = prepare_volume(
            [(dataset, dataset.session) for dataset in datasets],
            recipe,
            output,
            jobs=jobs,
            progress=progress,
        )
        files = built.save(output, coverage=True, force=force)
    shape = (*built.shape, 3) if recipe.channel == "image" else built.shape
    result({"files": files, "shape": shape, "about": built.metadata})
    for path in files:
        answer(path)
    described = built.metadata["datasets"]
    if built.metadata["synthetic"]:
        say("The pixels are SYNTHETIC, of the demo brain.")
    count = sum(len(dataset["sections"]) for dataset in described)
    sizes = " × ".join(map(str, built.shape))
    say(f"{count} sections in {sizes} voxels of {built.resolution:g} µm.")
    if missing := sum(len(dataset["failed"]) for dataset in described):
        say(f"{missing} could not be fetched; the same command with --force tries them again.")
        raise Exit(1)
