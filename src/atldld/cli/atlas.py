"""`atldld atlas`: the atlas, fetched; its outlines on a section; its annotated plates."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atldld.cli.options import (
    AlignmentFile,
    AtlasName,
    AtlasResolution,
    DatasetId,
    Force,
    answer,
    asks_service,
    progress_bar,
    say,
    table,
)
from atldld.support.text import shown

if TYPE_CHECKING:
    from atldld.fetch.session import Session

app = typer.Typer(
    help="Which structure is where: atlases, outlines on sections, plates.", no_args_is_help=True
)


@app.command("list")
@asks_service
def list_(session: "Session") -> None:
    """List the volumes of the atlas, and whether they are in the cache."""
    from atldld.atlas.ccf import KINDS, RESOLUTIONS, VolumeFile

    rows = []
    for file in (VolumeFile(kind, side) for kind in KINDS for side in RESOLUTIONS):
        held = file.held(session)
        rows.append(
            [
                file.kind,
                str(file.resolution),
                " × ".join(map(str, file.shape)),
                file.described_size,
                "–" if held is None else f"{held.bytes / 1e6:.1f} MB",
            ]
        )
    table(
        {
            "volume": "left",
            "µm": "right",
            "shape (p, i, r)": "left",
            "to fetch": "left",
            "in the cache": "right",
        },
        rows,
    )
    say("CCFv3, 2017; (p, i, r) from the anterior-superior-left corner, spaces 9 and 10 alike.")
    say("Atlases of BrainGlobe: --atlas brainglobe:NAME, such as brainglobe:allen_mouse_50um.")


@app.command()
@asks_service
def fetch(
    session: "Session",
    what: Annotated[
        str,
        typer.Argument(
            help="annotation, average_template, ara_nissl, structures, or brainglobe:NAME."
        ),
    ] = "annotation",
    resolution: Annotated[float, typer.Option(help="Side of a voxel, in µm.")] = 25,
) -> None:
    """Fetch a volume of the atlas, verified, with the structure graph that belongs to it."""
    from atldld.atlas.ccf import volume_file
    from atldld.atlas.model import BRAINGLOBE
    from atldld.atlas.open import check_atlas, fetch_graph, open_atlas

    if what != "structures":
        check_atlas(what if what.startswith(BRAINGLOBE) else "ccf_2017")
    if what.startswith(BRAINGLOBE):
        answer(repr(open_atlas(name=what, session=session)))
        return
    file = None if what == "structures" else volume_file(what, resolution)
    # whoever asks for nothing else wants what the service has now
    graph = fetch_graph(session, refresh=file is None and not session.settings.offline)
    if graph.synthetic:
        say("This is the SYNTHETIC brain of the demo archive.")
    say(f"{len(graph)} structures.")
    if file is None:
        return
    with _bytes_bar(f"{file.name}.nrrd") as progress:
        if file.kind == "annotation":
            atlas = open_atlas(resolution, session=session, progress=progress)
            if atlas.unknown_ids:
                listed = ", ".join(map(str, atlas.unknown_ids))
                say(f"The graph lacks these ids of the annotation, which are kept: {listed}.")
        else:
            file.open(session, progress=progress)
    held = file.fetch(session)
    say(f"{held.bytes / 1e6:.1f} MB, SHA-256 {held.sha256}")
    answer(held.path)


@app.command()
@asks_service
def outlines(
    session: "Session",
    dataset_id: DatasetId,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Folder of the files, one a section."),
    ],
    format: Annotated[
        Literal["svg", "geojson", "png"],
        typer.Option(help="Drawing, annotations for QuPath, or lines on the picture."),
    ] = "svg",
    frame: Annotated[
        Literal["image", "reference"],
        typer.Option(help="Over the raw picture, or over the picture on the reference grid."),
    ] = "image",
    atlas: AtlasName = "ccf_2017",
    resolution: Annotated[
        float,
        typer.Option(help="The annotation is sampled every so many µm."),
    ] = 25,
    atlas_resolution: AtlasResolution = None,
    annotation: Annotated[
        Path | None,
        typer.Option(metavar="FILE.nrrd", help="An annotation of your own in place of Allen's."),
    ] = None,
    graph: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its structure graph, JSON or CSV.")
    ] = None,
    downsample_img: Annotated[
        int,
        typer.Option(min=0, help="Tier of the raw picture that the outlines lie on."),
    ] = 3,
    image: Annotated[
        list[int] | None,
        typer.Option("--image", metavar="ID", help="Only this section image; may be repeated."),
    ] = None,
    structure: Annotated[
        list[str] | None,
        typer.Option(
            "--structure", metavar="WHAT", help="Id, acronym or name; may be repeated. All."
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(min=0, help="Take structures together up to this depth of the hierarchy."),
    ] = None,
    hemisphere: Annotated[
        Literal["both", "left", "right", "each"],
        typer.Option(help="Both, one, or each apart."),
    ] = "both",
    tolerance: Annotated[
        float,
        typer.Option(help="How far lines may be moved to simplify them, in pixels of the grid."),
    ] = 0,
    picture: Annotated[
        bool, typer.Option("--picture", help="Put the picture into the SVG, behind the outlines.")
    ] = False,
    smooth: Annotated[
        bool,
        typer.Option("--smooth/--no-smooth", help="Smooth lines, or along the edges of pixels."),
    ] = True,
    labels: Annotated[
        bool, typer.Option("--labels", help="Write acronyms onto a PNG, where they have room.")
    ] = False,
    scale_bar: Annotated[
        bool, typer.Option("--scale-bar/--no-scale-bar", help="Draw a scale bar onto a PNG.")
    ] = True,
    alignment: AlignmentFile = None,
    force: Force = False,
) -> None:
    """Outline the atlas's structures on every section, in the section's own plane."""
    from atldld.api import open_dataset
    from atldld.atlas.open import check_atlas, open_atlas
    from atldld.atlas.outlines import Selection
    from atldld.fetch.session import check_id
    from atldld.sections.drawings import Drawing, check_drawings, write_drawing
    from atldld.sections.folder import check_one_dataset

    drawing = Drawing(
        format=format,
        frame=frame,
        resolution=resolution,
        downsample=downsample_img,
        selection=Selection(structure or None, depth, hemisphere, tolerance, smooth=smooth),
        picture=picture,
        labels=labels,
        scale_bar=scale_bar,
    )
    # everything that can be said before the service is asked
    check_drawings(output, drawing, force=force)
    number = check_id(dataset_id, "section data set")
    check_one_dataset(output, number, force=force)
    check_atlas(atlas, atlas_resolution, outlines=True)
    drawing.check_record(session.dataset(number))
    dataset = open_dataset(number, session=session, alignment=alignment)
    dataset.check_placed()
    check_one_dataset(output, number, dataset.image_ids, force=force)
    sections = [dataset.section(image_id) for image_id in image] if image else list(dataset)
    check_drawings(output, drawing, sections, force=force)
    opened = open_atlas(
        atlas_resolution, name=atlas, annotation=annotation, graph=graph, session=session
    )
    drawing.check_structures(opened)
    unknown: set[int] = set()
    with progress_bar("Outlines") as progress:
        for done, section in enumerate(sections, start=1):
            path, drawn = write_drawing(
                section, opened, drawing, output, session=session, force=force
            )
            unknown.update(outline.id for outline in drawn if not outline.known)
            progress(done, len(sections), path.name)
            answer(path)
    if opened.synthetic:
        say("The structures are those of the SYNTHETIC demo brain.")
    if structure and opened.unknown_ids:
        listed = ", ".join(map(str, opened.unknown_ids[:20]))
        say(f"The structure graph lacks these ids, which are in none of the outlines: {listed}.")
    if unknown:
        listed = ", ".join(map(str, sorted(unknown)))
        say(f"The structure graph lacks these ids, which are outlined in grey: {listed}.")


@app.command()
@asks_service
def plates(
    session: "Session",
    plate: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Which plates to fetch; all by default."),
    ] = None,
    atlas: Annotated[
        str, typer.Option(metavar="ID", help="1 is the adult coronal atlas, 2 the sagittal one.")
    ] = "1",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Fetch them into this folder; else list them."
        ),
    ] = None,
    downsample_img: Annotated[int, typer.Option(min=0, help="Tier of the pictures.")] = 0,
    annotated: Annotated[
        bool, typer.Option("--annotated", help="The picture with the structures' colours.")
    ] = False,
    force: Force = False,
) -> None:
    """List the annotated plates of an atlas, or fetch them: picture and SVG."""
    from atldld.atlas.plates import choose_plates, copy_plate, list_plates, plate_files
    from atldld.support.files import check_folder, check_targets

    if output is not None:
        check_folder(output)
    chosen = choose_plates(list_plates(session, atlas), plate)
    if output is None:
        table(
            {"plate": "right", "section": "right", "pixels": "left", "µm a pixel": "right"},
            [
                [
                    str(atlas_plate.id),
                    str(atlas_plate.image.section_number),
                    f"{atlas_plate.image.width} × {atlas_plate.image.height}",
                    f"{atlas_plate.image.resolution or 0:g}",
                ]
                for atlas_plate in chosen
            ],
        )
        say("Fetch them with -o FOLDER.")
        return
    files = [
        file
        for atlas_plate in chosen
        for file in plate_files(output, atlas_plate, annotation=annotated)
    ]
    check_targets(files, force=force)
    with progress_bar("Plates") as progress:
        for done, atlas_plate in enumerate(chosen, start=1):
            for path in copy_plate(
                session,
                atlas_plate,
                output,
                downsample=downsample_img,
                annotation=annotated,
                force=force,
            ):
                answer(path)
            progress(done, len(chosen), str(atlas_plate.id))


@contextmanager
def _bytes_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show how much of a file has arrived; nothing where nobody looks, or nothing is fetched."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(shown(what), total=None)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        yield show
