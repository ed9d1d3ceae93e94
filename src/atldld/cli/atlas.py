"""`atldld atlas`: the atlas, fetched; its outlines on a section; its annotated plates."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from atldld.cli.declare import Argument, Commands, Option
from atldld.cli.manner import result
from atldld.cli.options import (
    AlignmentFile,
    AtlasResolution,
    Confirmed,
    DatasetId,
    Depth,
    Force,
    Hemisphere,
    Images,
    Numbers,
    Resolution,
    Structures,
    Tier,
    alignment_of,
    answer,
    asks_service,
    check_confirmed,
    folder_of,
    progress_bar,
    say,
    table,
    takes_atlas,
    tier_of,
    to,
)
from atldld.cli.progress import arriving

if TYPE_CHECKING:
    from atldld.atlas.ccf import VolumeFile
    from atldld.batch import AtlasChoice
    from atldld.fetch.session import Session

app = Commands("Which structure is where: atlases, outlines on sections, plates.")


@app.command("list")
@asks_service
def list_(session: "Session") -> None:
    """List the volumes of the atlas: what is here, and what would have to be fetched."""
    from atldld.atlas.ccf import KINDS, RESOLUTIONS, VolumeFile

    rows = []
    known = []
    for file in (VolumeFile(kind, side) for kind in KINDS for side in RESOLUTIONS):
        held = file.held(session)
        known.append(
            {
                "volume": file.kind,
                "resolution_um": file.resolution,
                "shape": file.shape,
                "to_fetch": file.described_size,
                "cached_bytes": None if held is None else held.bytes,
                "path": None if held is None else held.path,
            }
        )
        rows.append(
            [
                file.kind,
                file.resolution,
                " × ".join(map(str, file.shape)),
                "–" if held is None else _megabytes(held.bytes),
                "0" if held else _to_fetch(file),
                _megabytes(file.unpacked_bytes),
            ]
        )
    result({"volumes": known})
    table(
        {
            "volume": "left",
            "voxel (µm)": "right",
            "voxels (p, i, r)": "right",
            "here (MB)": "right",
            "to fetch (MB)": "right",
            "unpacked (MB)": "right",
        },
        rows,
    )
    say(
        "CCFv3, 2017, from the anterior-superior-left corner, spaces 9 and 10 alike. Files "
        "that are here are not fetched again; what is opened is kept unpacked beside its file. "
        "Where < stands, the size is known only once the file is here."
    )
    say(
        "`atldld atlas fetch KIND --resolution UM` fetches one. Atlases of BrainGlobe: `--atlas "
        "brainglobe:NAME`, such as brainglobe:allen_mouse_50um."
    )


@app.command()
@asks_service
def fetch(
    session: "Session",
    what: Annotated[
        str,
        Argument(help="annotation, average_template, ara_nissl, structures, or brainglobe:NAME."),
    ] = "annotation",
    resolution: AtlasResolution = None,
) -> None:
    """Fetch a volume of the atlas, verified, with the structure graph that belongs to it."""
    from atldld.atlas.ccf import volume_file
    from atldld.atlas.model import BRAINGLOBE
    from atldld.atlas.open import check_atlas, fetch_graph, open_atlas

    if what != "structures":
        check_atlas(what if what.startswith(BRAINGLOBE) else "ccf_2017")
    if what.startswith(BRAINGLOBE):
        opened = open_atlas(resolution, name=what, session=session)
        result({"atlas": what, "resolution_um": opened.resolution, "structures": len(opened.graph)})
        answer(f"{opened.name}: {opened.resolution:g} µm, {len(opened.graph)} structures")
        return
    side = 25 if resolution is None else resolution
    file = None if what == "structures" else volume_file(what, side)
    # whoever asks for nothing else wants what the service has now
    graph = fetch_graph(session, refresh=file is None and not session.settings.offline)
    if graph.synthetic:
        say("This is the SYNTHETIC brain of the demo archive.")
    say(f"{len(graph)} structures.")
    about = {"atlas": "ccf_2017", "structures": len(graph), "synthetic": graph.synthetic}
    result(about)
    if file is None:
        return
    with arriving(f"{file.name}.nrrd") as progress:
        if file.kind == "annotation":
            atlas = open_atlas(side, session=session, progress=progress)
            if atlas.unknown_ids:
                listed = ", ".join(map(str, atlas.unknown_ids))
                say(f"The graph lacks these ids of the annotation, which are kept: {listed}.")
        else:
            file.open(session, progress=progress)
    held = file.fetch(session)
    result(
        about
        | {
            "volume": file.kind,
            "resolution_um": file.resolution,
            "path": held.path,
            "bytes": held.bytes,
            "sha256": held.sha256,
        }
    )
    say(f"{held.bytes / 1e6:.1f} MB, SHA-256 {held.sha256}")
    answer(held.path)


@app.command()
@asks_service
@takes_atlas
def outlines(
    session: "Session",
    choice: "AtlasChoice",
    dataset_id: DatasetId,
    output: Annotated[str, to("FOLDER")],
    format: Annotated[
        Literal["svg", "geojson", "png"],
        Option(help="Format of the files that are written."),
    ] = "svg",
    frame: Annotated[
        Literal["image", "reference"],
        Option(help="Over the raw picture, or over the picture on the reference grid."),
    ] = "image",
    resolution: Resolution = 25,
    downsample_img: Tier = "auto",
    image: Images = None,
    numbered: Numbers = None,
    structure: Structures = None,
    depth: Depth = None,
    hemisphere: Hemisphere = None,
    tolerance: Annotated[
        float,
        Option(help="How far lines may be moved to simplify them, in pixels of the grid."),
    ] = 0,
    picture: Annotated[
        bool, Option("--picture", help="Put the picture into the SVG, behind the outlines.")
    ] = False,
    smooth: Annotated[
        bool,
        Option("--smooth/--no-smooth", help="Smooth lines, or along the edges of pixels."),
    ] = True,
    acronyms: Annotated[
        bool, Option("--acronyms", help="Write acronyms onto a PNG, where they have room.")
    ] = False,
    scale_bar: Annotated[
        bool, Option("--scale-bar/--no-scale-bar", help="Draw a scale bar onto a PNG.")
    ] = True,
    alignment: AlignmentFile = None,
    confirmed: Confirmed = False,
    force: Force = False,
) -> None:
    """Outline the atlas's structures on every section, in the section's own plane.

    One file a section: a drawing (svg), annotations for QuPath (geojson), or lines on the picture
    (png). Outlines lie on raw pictures of tier 3 by default, both hemispheres together.
    """
    from atldld.api import open_dataset
    from atldld.atlas.outlines import Selection
    from atldld.find.named import find_dataset, read_image_name
    from atldld.sections.drawings import Drawing, check_drawings, write_drawing
    from atldld.sections.folder import check_one_dataset
    from atldld.support.numbers import pick, read_numbers

    check_confirmed(alignment, confirmed)
    drawing = Drawing(
        format=format,
        frame=frame,
        resolution=resolution,
        downsample=tier_of(downsample_img, 3),
        selection=Selection(
            structure or None, depth, hemisphere or "both", tolerance, smooth=smooth
        ),
        picture=picture,
        labels=acronyms,
        scale_bar=scale_bar,
    )
    # everything that can be said before the service is asked
    folder = folder_of(output)
    check_drawings(folder, drawing, force=force)
    choice.check(outlines=True)
    numbers = read_numbers(numbered)
    images = [read_image_name(one, api_url=session.settings.api_url) for one in image or ()]
    number = find_dataset(dataset_id, session=session)
    check_one_dataset(folder, number, force=force)
    drawing.check_record(session.dataset(number))
    dataset = open_dataset(
        number, session=session, alignment=alignment_of(alignment, number, confirmed=confirmed)
    )
    dataset.check_placed()
    check_one_dataset(folder, number, dataset.image_ids, force=force)
    sections = list(dataset)
    if images or numbers:
        named = {dataset.section(image_id).id for image_id in images}
        there = [one.number for one in dataset]
        wanted = pick(numbers, there, f"the placed ones of section data set {number}")
        sections = [one for one in dataset if one.id in named or one.number in wanted]
    check_drawings(folder, drawing, sections, force=force)
    opened = choice.open(session)
    opened.compare_alignment(dataset.alignment, session)
    drawing.check_structures(opened)
    unknown: set[int] = set()
    files: list[Path] = []
    with progress_bar("Outlines") as progress:
        for done, section in enumerate(sections, start=1):
            path, drawn = write_drawing(
                section, opened, drawing, folder, session=session, force=force
            )
            files.append(path)
            unknown.update(outline.id for outline in drawn if not outline.known)
            progress(done, len(sections), path.name)
            answer(path)
    result(
        {
            "dataset_id": number,
            "folder": folder,
            "files": files,
            "unknown_ids": sorted(unknown),
            "synthetic": opened.synthetic,
        }
    )
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
        Argument(metavar="[ID]...", help="Which plates to fetch; all by default."),
    ] = None,
    atlas: Annotated[
        str,
        Option(
            "--atlas-id",
            metavar="ID",
            help="Whose plates: 1 is the adult coronal atlas, 2 the sagittal one.",
        ),
    ] = "1",
    output: Annotated[str | None, to("FOLDER", "only list them")] = None,
    downsample_img: Tier = "auto",
    annotated: Annotated[
        bool, Option("--annotated", help="The picture with the structures' colours.")
    ] = False,
    force: Force = False,
) -> None:
    """List the annotated plates of an atlas, or fetch them: picture and SVG.

    Pictures are of full size by default.
    """
    from atldld.atlas.plates import choose_plates, copy_plate, list_plates, plate_files
    from atldld.support.files import check_folder, check_targets

    tier = tier_of(downsample_img, 0)
    if output is not None:
        check_folder(folder_of(output))
    chosen = choose_plates(list_plates(session, atlas), plate)
    known = [
        {
            "plate_id": atlas_plate.id,
            "section_number": atlas_plate.image.section_number,
            "width": atlas_plate.image.width,
            "height": atlas_plate.image.height,
            "resolution_um": atlas_plate.image.resolution,
        }
        for atlas_plate in chosen
    ]
    result({"plates": known, "files": []})
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
        for file in plate_files(Path(output), atlas_plate, annotation=annotated)
    ]
    check_targets(files, force=force)
    made: list[Path] = []
    with progress_bar("Plates") as progress:
        for done, atlas_plate in enumerate(chosen, start=1):
            for path in copy_plate(
                session,
                atlas_plate,
                Path(output),
                downsample=tier,
                annotation=annotated,
                force=force,
            ):
                made.append(path)
                answer(path)
            progress(done, len(chosen), str(atlas_plate.id))
    result({"plates": known, "files": made})


def _to_fetch(file: "VolumeFile") -> str:
    known = file.known_bytes
    return f"< {_megabytes(file.unpacked_bytes)}" if known is None else _megabytes(known)


def _megabytes(count: float) -> str:
    """Return a size in MB, to three digits, or to whole ones where there are more."""
    size = count / 1e6
    return f"{size:,.0f}" if size >= 100 else f"{size:.3g}"
