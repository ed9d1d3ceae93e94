"""`atldld dataset`: what a data set is, and how its sections lie."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atldld.cli.options import DatasetId, Force, answer, asks_service, say, table
from atldld.cli.options import facts as show_facts

if TYPE_CHECKING:
    from atldld.fetch.session import Session

app = typer.Typer(help="What a data set is, and how its sections lie.", no_args_is_help=True)


@app.command("info")
@asks_service
def dataset_info(session: "Session", dataset_id: DatasetId) -> None:
    """Describe a section data set and list its sections."""
    from atldld.api import DataSet
    from atldld.errors import RecordError
    from atldld.place.spaces import PlaneOfSection, ReferenceSpace

    record = session.dataset(dataset_id)

    numbers = [image.section_number for image in record.images]
    facts = {
        "Data set": str(record.id) + (" (failed)" if record.failed else ""),
        "Genes": ", ".join(gene.acronym or "?" for gene in record.genes) or "none",
        "Specimen": record.specimen_name or "unknown",
        "Plane of section": f"{PlaneOfSection.name_of(record.plane_of_section_id)} "
        f"(id {record.plane_of_section_id})",
        "Reference space": f"{ReferenceSpace.name_of(record.reference_space_id)} "
        f"(id {record.reference_space_id})",
        "Section thickness": f"{record.section_thickness} µm",
        "Images": f"{len(record.images)}, section numbers {min(numbers)} to {max(numbers)}"
        if numbers
        else "none",
    }
    if record.synthetic:
        facts["Pixels"] = "SYNTHETIC, of the demo brain"
    try:
        dataset = DataSet(record, session)
    except RecordError as error:
        show_facts(facts)
        say(f"Not placed: {error}")
        return
    geometries = [section.geometry for section in dataset.sections]
    if geometries:
        facts["Tilt"] = f"{max(g.tilt for g in geometries):.2f}°"
        facts["Depth swept"] = f"up to {max(g.depth_swept for g in geometries):.0f} µm a section"
    show_facts(facts)
    axis = "pir"[dataset.plane.depth_axis]
    table(
        {"section": "right", "image": "right", "size (pixels)": "right", f"{axis} (µm)": "right"},
        [
            [
                str(section.number),
                str(section.id),
                f"{section.image.width} × {section.image.height}",
                f"{geometry.depth_range[0]:.0f} to {geometry.depth_range[1]:.0f}",
            ]
            for section, geometry in zip(dataset.sections, geometries, strict=True)
        ],
    )
    for skipped in dataset.skipped:
        say(f"Image {skipped.image_id} is not placed: {skipped.reason}.")


@app.command("preview")
@asks_service
def dataset_preview(
    session: "Session",
    dataset_id: DatasetId,
    output_dir: Annotated[
        Path, typer.Option("-o", "--output-dir", help="Folder of the picture.", metavar="DIR")
    ] = Path(),
    force: Force = False,
) -> None:
    """Draw how the sections of a data set lie in the reference space."""
    from atldld.api import open_dataset
    from atldld.fetch.session import check_id
    from atldld.formats.common import need
    from atldld.plot import dataset_preview as draw
    from atldld.support.files import check_folder, check_targets, whole_file

    # everything that can be said before the service is asked
    number = check_id(dataset_id, "section data set")
    path = output_dir / f"dataset-id-{number}-preview.png"
    need("matplotlib.figure", "plot", "Figures")
    check_folder(output_dir)
    if session.cache.read_document("datasets", str(number)) is None:
        check_targets([path], force=force)
    dataset = open_dataset(number, session=session)
    dataset.check_placed()
    figure = draw([section.geometry.corners for section in dataset.sections], dataset.plane.value)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    # Scripts for 0.3 draw it twice: the very picture that is there need not be written again.
    if not (path.is_file() and path.read_bytes() == drawn.getvalue()):
        with whole_file(path, force=force) as temporary:
            temporary.write_bytes(drawn.getvalue())
    answer(path)
