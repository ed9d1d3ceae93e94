"""`atldld dataset`: what a data set is, and how its sections lie."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from atldld.cli.declare import Commands
from atldld.cli.manner import result
from atldld.cli.options import (
    DatasetId,
    Force,
    answer,
    asks_service,
    place_of,
    say,
    table,
    to,
    written_to,
)
from atldld.cli.options import facts as show_facts

if TYPE_CHECKING:
    from atldld.fetch.session import Session

app = Commands("What a data set is, and how its sections lie.")


@app.command("info")
@asks_service
def dataset_info(session: "Session", dataset_id: DatasetId) -> None:
    """Describe a section data set and list its sections."""
    from atldld.api import DataSet
    from atldld.errors import RecordError
    from atldld.find.named import find_dataset
    from atldld.place.spaces import PlaneOfSection, ReferenceSpace

    record = session.dataset(find_dataset(dataset_id, session=session))

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
    known: dict[str, object] = {
        "id": record.id,
        "failed": record.failed,
        "synthetic": record.synthetic,
        "genes": [gene.acronym for gene in record.genes],
        "specimen": record.specimen_name,
        "plane_of_section": PlaneOfSection.name_of(record.plane_of_section_id),
        "plane_of_section_id": record.plane_of_section_id,
        "reference_space": ReferenceSpace.name_of(record.reference_space_id),
        "reference_space_id": record.reference_space_id,
        "section_thickness_um": record.section_thickness,
        "images": len(record.images),
        "placed": False,
        "not_placed_because": None,
        "sections": [],
        "skipped": [],
    }
    try:
        dataset = DataSet(record, session)
    except RecordError as error:
        result(known | {"not_placed_because": str(error)})
        show_facts(facts)
        say(f"Not placed: {error}")
        return
    geometries = [section.geometry for section in dataset.sections]
    if geometries:
        facts["Tilt"] = f"{max(g.tilt for g in geometries):.2f}°"
        facts["Depth swept"] = f"up to {max(g.depth_swept for g in geometries):.0f} µm a section"
    show_facts(facts)
    axis = "pir"[dataset.plane.depth_axis]
    result(
        known
        | {
            "placed": bool(dataset.sections),
            "sections": [
                {
                    "section_number": section.number,
                    "image_id": section.id,
                    "width": section.image.width,
                    "height": section.image.height,
                    "axis": axis,
                    "depth_um": geometry.depth_range,
                    "tilt_degrees": geometry.tilt,
                    "depth_swept_um": geometry.depth_swept,
                }
                for section, geometry in zip(dataset.sections, geometries, strict=True)
            ],
            "skipped": dataset.skipped,
        }
    )
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
    output: Annotated[str | None, to("FOLDER|FILE.png|-", "this folder")] = None,
    force: Force = False,
) -> None:
    """Draw how the sections of a data set lie in the reference space.

    In a folder the picture is dataset-id-ID-preview.png.
    """
    from atldld.api import open_dataset
    from atldld.find.named import find_dataset, read_dataset_name
    from atldld.formats.common import need
    from atldld.plot import dataset_preview as draw
    from atldld.support.files import check_folder, check_targets, whole_file

    # everything that can be said before the service is asked
    need("matplotlib.figure", "plot", "Figures")
    place = place_of(output, None, ".")
    read_dataset_name(dataset_id, api_url=session.settings.api_url)
    whole = place == "-" or place.lower().endswith(".png")
    if not whole:
        check_folder(Path(place))
    number = find_dataset(dataset_id, session=session)
    path = Path(place) if whole else Path(place) / f"dataset-id-{number}-preview.png"
    if place != "-" and session.cache.read_document("datasets", str(number)) is None:
        check_targets([path], force=force)
    dataset = open_dataset(number, session=session)
    dataset.check_placed()
    figure = draw([section.geometry.corners for section in dataset.sections], dataset.plane.value)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    if place == "-":
        with written_to(place, ".png") as temporary:
            temporary.write_bytes(drawn.getvalue())
        return
    # Scripts for 0.3 draw it twice: the very picture that is there need not be written again.
    if not (path.is_file() and path.read_bytes() == drawn.getvalue()):
        with whole_file(path, force=force) as temporary:
            temporary.write_bytes(drawn.getvalue())
    result({"dataset_id": number, "files": [path]})
    answer(path)
