"""The contract: one small request for every kind that the package sends, and what must come.

Each check is a function of an `Asked`. What it compares with stands in ``data/known.json``.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atldld.doctor.asking import Asker
from atldld.doctor.compare import differences, rows_by_id, shown
from atldld.doctor.known import images_known, known, world_of
from atldld.doctor.model import Difference, Finding
from atldld.errors import AnswerError
from atldld.fetch.documents import DATASET_INCLUDES
from atldld.records import SectionDataSet
from atldld.rma.query import Filter, RMAParameters, Term

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from atldld.fetch.look import Look

__all__ = [
    "REPORT",
    "Asked",
    "among",
    "annotation",
    "atlas_dataset",
    "bucket_record",
    "bucket_slide",
    "centres",
    "dataset",
    "empty",
    "gene",
    "gene_alike",
    "graph",
    "grid",
    "grid_annotation",
    "image",
    "image_to_atlas",
    "image_to_image",
    "image_to_image_2d",
    "image_to_reference",
    "images",
    "is_synthetic",
    "mask",
    "only",
    "order",
    "paging",
    "picture_of",
    "plate",
    "plates",
    "reference_to_image",
    "searched",
    "section_look",
    "specimen",
    "structure",
    "structure_to_image",
    "template",
    "total",
    "unionize",
]

REPORT = "Send what `atldld doctor --json` prints with a report of the problem."
NO_TRUST = f"Do not use new placements until this is understood. {REPORT}"

CCF = "/informatics-archive/current-release/mouse_ccf"
TEMPLATE = f"{CCF}/average_template/average_template_100.nrrd"
ANNOTATION = f"{CCF}/annotation/ccf_2017/annotation_25.nrrd"
GRID_ANNOTATION = (
    "/informatics-archive/current-release/mouse_annotation/P56_Mouse_gridAnnotation.zip"
)

ADULT = 1  # the atlas of the adult mouse, and its structure graph
PLATES = 28  # the group of outlines that its drawings have

SYNC_WITHIN = 1e-6
"""µm or pixels: the service computes with float64 what the records say."""

ALIKE = 0.97
"""Correlation of the brightness of blocks of a picture, above which it shows the same."""


@dataclass(frozen=True)
class Asked:
    """Whom a check asks, and what it compares with.

    Attributes
    ----------
    ask : Asker
        Asks, and counts.
    synthetic : bool
        Whether the service says that its data are made up: its pixels, structures and totals are
        compared with those of the demo brain then.
    """

    ask: Asker
    synthetic: bool

    @property
    def world(self) -> Mapping[str, Any]:
        """What is known of genuine data, or of the demo brain's."""
        return world_of(self.synthetic)


def is_synthetic(ask: Asker) -> bool:
    """Whether the service says that its data are made up: its record of the data set does."""
    query = RMAParameters("SectionDataSet", {"id": known()["dataset"]["id"]})
    rows = ask.rows(query)
    return bool(rows) and isinstance(rows[0], Mapping) and rows[0].get("synthetic") is True


# ---- records


def dataset(asked: Asked) -> Finding:
    """Ask for a data set as placing needs it: its record, its alignment, what comes along."""
    facts = known()["dataset"]
    envelope = asked.ask.rma(RMAParameters("SectionDataSet", {"id": facts["id"]}, DATASET_INCLUDES))
    row = _only_row(envelope, f"section data set {facts['id']}")
    gene = {"acronym": asked.world["gene"]["acronym"]}
    also = {
        "specimen": {**known()["specimen"], "donor": {"age": {"name": "P56"}}},
        "products": {"$is": "list"},
        "treatments": {"$is": "list"},
    }
    found = [
        *_envelope(envelope, 1),
        *differences({**facts, **also}, row),
        *_first(row.get("genes"), gene, "genes"),
    ]
    SectionDataSet.from_records(row, [])  # that the package can use it
    return Finding.of(
        found, f"Data set {facts['id']} is as known, its 24 alignment numbers too.", NO_TRUST
    )


def images(asked: Asked) -> Finding:
    """Ask for all images of a data set, with sizes, tiers and alignments."""
    facts = images_known()
    envelope = asked.ask.rma(_images_of(known()["dataset"]["id"]))
    rows = _rows(envelope)
    found = [
        *_envelope(envelope, len(facts)),
        *rows_by_id(facts, rows, "image"),
        *_sorted([row.get("id") for row in rows if isinstance(row, Mapping)], "sub_images.id"),
    ]
    dataset = SectionDataSet.from_records({"id": known()["dataset"]["id"]}, rows)
    if not found and dataset.skipped:
        first = dataset.skipped[0]
        return Finding("fails", f"Image {first.image_id} cannot be used: {first.reason}", REPORT)
    return Finding.of(
        found,
        f"All {len(facts)} images are as known: sizes, tiers, {len(facts) * 12} alignment "
        "numbers, and sorted by id as asked.",
        NO_TRUST,
    )


def gene(asked: Asked) -> Finding:
    """Ask for a gene by its acronym."""
    facts = asked.world["gene"]
    wanted = {"acronym": facts["acronym"], "organism_id": facts["organism_id"]}
    rows = asked.ask.rows(RMAParameters("Gene", wanted, order="genes.id"))
    row = _mapping(rows, f"gene {facts['acronym']}")
    return Finding.of(
        differences({**facts, "id": {"$is": "number"}, "name": {"$is": "text"}}, row),
        f"{facts['acronym']} is gene {row.get('id')}, Entrez {facts['entrez_id']}.",
        REPORT,
    )


def gene_alike(asked: Asked) -> Finding:
    """Ask for a text by a pattern, in other capitals."""
    acronym = asked.world["gene"]["acronym"]
    pattern = f"{acronym[:-1].lower()}*"
    term = Term(None, (Filter.of("acronym", "$il", pattern),))
    rows = asked.ask.rows(RMAParameters("Gene", [term], order="genes.id", num_rows=50))
    names = [str(row.get("acronym")) for row in rows if isinstance(row, Mapping)]
    found = []
    if acronym not in names:
        found.append(
            Difference("acronym", acronym, names, f"{pattern} brings no {acronym}, but {names}")
        )
    odd = [name for name in names if not name.lower().startswith(pattern[:-1])]
    if odd:
        found.append(
            Difference("acronym", pattern, odd, f"{pattern} brings {shown(odd[0])}, which differs")
        )
    return Finding.of(found, f"{pattern} brings {acronym}; {len(names)} genes in all.", REPORT)


def searched(asked: Asked) -> Finding:
    """Ask for data sets of a gene, as a search does."""
    from atldld.find.service import SEARCH_INCLUDES

    acronym = asked.world["gene"]["acronym"]
    terms = [Term("genes", (Filter.of("acronym", "$eq", acronym),))]
    envelope = asked.ask.rma(
        RMAParameters(
            "SectionDataSet",
            [*terms, Term(None, (Filter.of("id", "$eq", known()["dataset"]["id"]),))],
            SEARCH_INCLUDES,
            order="data_sets.id",
        )
    )
    row = _only_row(envelope, f"data set of {acronym}")
    shape = {name: {"$is": "list"} for name in ("genes", "probes", "products", "treatments")}
    facts = {"id": known()["dataset"]["id"], "specimen": known()["specimen"], **shape}
    found = [
        *differences(facts, row),
        *_first(row.get("genes"), {"acronym": acronym, "id": {"$is": "number"}}, "genes"),
        *_first(row.get("probes"), {"orientation_id": {"$is": "number|null"}}, "probes"),
        *_first(row.get("treatments"), {"name": "ISH"}, "treatments"),
    ]
    return Finding.of(found, f"{acronym} leads to data set {row.get('id')}.", REPORT)


def specimen(asked: Asked) -> Finding:
    """Ask for a specimen by its name, with donor and age."""
    facts = known()["specimen"]
    rows = asked.ask.rows(
        RMAParameters("Specimen", {"name": facts["name"]}, ("donor(age)",), order="specimens.id")
    )
    row = _mapping(rows, f"specimen {facts['name']}")
    found = differences({**facts, "donor": {"age": {"name": "P56"}}}, row)
    return Finding.of(found, f"{facts['name']} is specimen {facts['id']}.", REPORT)


def structure(asked: Asked) -> Finding:
    """Ask for a structure as rows of the model have it."""
    facts = asked.world["structure"]
    rows = asked.ask.rows(RMAParameters("Structure", {"id": facts["id"], "graph_id": ADULT}))
    row = _mapping(rows, f"structure {facts['id']}")
    more = {"name": {"$is": "text"}, "parent_structure_id": {"$is": "number"}}
    found = differences({**facts, **more, "color_hex_triplet": {"$is": "text"}}, row)
    return Finding.of(found, f"{facts['id']} is {facts['acronym']}.", REPORT)


def unionize(asked: Asked) -> Finding:
    """Ask for the service's own summary by structure, and see what its figures mean."""
    columns = (
        "structure_id",
        "sum_pixels",
        "sum_expressing_pixels",
        "expression_density",
        "expression_energy",
    )
    envelope = asked.ask.rma(
        RMAParameters(
            "StructureUnionize",
            {"section_data_set_id": known()["dataset"]["id"]},
            order="structure_unionizes.id",
            num_rows=5,
        )
    )
    rows = _rows(envelope)
    if not rows:
        return Finding("differs", "There are no rows for the data set.", REPORT)
    found: list[Difference] = []
    for row in rows:
        found += differences({name: {"$is": "number"} for name in columns}, row, "row")
        if not found and row["sum_pixels"]:
            density = row["sum_expressing_pixels"] / row["sum_pixels"]
            found += differences(
                {"expression_density": {"$near": density, "$within": 1e-3}}, row, "row"
            )
    total = envelope.get("total_rows")
    return Finding.of(
        found, f"{total} rows; density is expressing pixels / pixels, as known.", REPORT
    )


def centres(asked: Asked) -> Finding:
    """Ask where structures lie in a reference space."""
    facts = {"structure_id": {"$is": "number"}, "reference_space_id": 10}
    facts |= {axis: {"$from": -5000, "$to": 20_000} for axis in "xyz"}
    rows = asked.ask.rows(
        RMAParameters(
            "StructureCenter",
            {"reference_space_id": 10},
            order="structure_centers.id",
            num_rows=3,
        )
    )
    row = _mapping(rows, "centre of a structure in space 10")
    return Finding.of(differences(facts, row), f"{len(rows)} centres in space 10, in µm.", REPORT)


def plates(asked: Asked) -> Finding:
    """Ask for the annotated plates of the adult atlas."""
    envelope = asked.ask.rma(_plates_query())
    row = _mapping(_rows(envelope), "annotated plate of atlas 1")
    facts = {
        "id": {"$is": "number"},
        "annotated": True,
        "width": {"$is": "number"},
        "height": {"$is": "number"},
        "alignment2d": {f"tsv_{k:02d}": {"$is": "number"} for k in range(6)},
    }
    total = {"total_rows": asked.world["totals"]["plates"]}
    found = [*differences(facts, row, "plate"), *differences(total, envelope)]
    return Finding.of(found, f"{envelope.get('total_rows')} plates.", REPORT)


def atlas_dataset(asked: Asked) -> Finding:
    """Ask for the data set of the adult atlas, as points on plates need it."""
    rows = asked.ask.rows(RMAParameters("AtlasDataSet", {"id": 100048576}, ("alignment3d",)))
    row = _mapping(rows, "atlas data set 100048576")
    align = {f"tvr_{k:02d}": {"$is": "number"} for k in range(12)}
    facts = {"id": 100048576, "section_thickness": {"$is": "number"}, "alignment3d": align}
    return Finding.of(differences(facts, row), "Data set 100048576, with its alignment.", REPORT)


# ---- how rows come


def paging(asked: Asked) -> Finding:
    """Ask for pages: where they start, how long they are, what the envelope says."""
    ids = sorted(images_known())
    query = _images_of(known()["dataset"]["id"])
    found: list[Difference] = []
    for start in (0, 5):
        page = RMAParameters(
            query.model, query.criteria, None, start_row=start, num_rows=5, order=query.order
        )
        envelope = asked.ask.rma(page)
        came = [row.get("id") for row in _rows(envelope) if isinstance(row, Mapping)]
        wanted = {"start_row": start, "num_rows": 5, "total_rows": len(ids)}
        found += differences(wanted, envelope, f"page from {start}")
        if sorted(map(str, came)) != sorted(map(str, ids[start : start + 5])):
            text = f"page from {start} holds other rows: {came[:5]}"
            found.append(Difference("msg", ids[start : start + 5], came, text))
        elif came != ids[start : start + 5]:
            text = f"page from {start} is not sorted by sub_images.id: {came[:5]}"
            found.append(Difference("order", ids[start : start + 5], came, text))
    return Finding.of(
        found,
        "Pages of five rows come from where they are asked, sorted.",
        "The client asks for what is missing again, and warns; see RowShortfallWarning.",
    )


def order(asked: Asked) -> Finding:
    """Ask for rows sorted by another column than the id."""
    query = _images_of(known()["dataset"]["id"])
    rows = asked.ask.rows(
        RMAParameters(query.model, query.criteria, None, order="sub_images.section_number")
    )
    numbers = [row.get("section_number") for row in rows if isinstance(row, Mapping)]
    return Finding.of(
        _sorted(numbers, "sub_images.section_number"),
        "Rows come by section number where that is asked.",
        "The client sorts by itself, so nothing is lost.",
    )


def only(asked: Asked) -> Finding:
    """Ask for some columns alone, and rows with a higher id alone, as the catalogue does."""
    ids = sorted(images_known())
    wanted = Term(
        None,
        (
            Filter.of("data_set_id", "$eq", known()["dataset"]["id"]),
            Filter.of("id", "$gt", ids[9]),
        ),
    )
    columns = ("id", "data_set_id", "width")
    rows = asked.ask.rows(
        RMAParameters(
            "SectionImage",
            [wanted],
            order="sub_images.id",
            only=[f"sub_images.{column}" for column in columns],
        )
    )
    found = [*_ids(ids[10:], rows, f"[id$gt{ids[9]}]")]
    more = sorted({str(k) for row in rows if isinstance(row, Mapping) for k in row} - {*columns})
    if more:
        text = f"rows hold more columns than were asked for: {', '.join(more[:3])}"
        found.append(Difference("only", list(columns), more, text))
    for row in rows[:1]:
        found += differences({name: {"$is": "number"} for name in columns}, row, "row")
    return Finding.of(found, f"{len(columns)} columns of {len(rows)} rows, as asked.", f"{REPORT}")


def among(asked: Asked) -> Finding:
    """Ask for several ids at once."""
    from atldld.rma.query import among as one_of

    ids = [known()["dataset"]["id"], known()["other_dataset"]]
    rows = asked.ask.rows(
        RMAParameters("SectionDataSet", [Term(None, (one_of("id", ids),))], order="data_sets.id")
    )
    return Finding.of(_ids(ids, rows, "$in"), "Two data sets by one question.", REPORT)


def empty(asked: Asked) -> Finding:
    """Ask a question to which there is no row."""
    envelope = asked.ask.rma(RMAParameters("SectionDataSet", {"id": 999_999_999_999}))
    facts = {"success": True, "num_rows": 0, "total_rows": 0, "msg": []}
    return Finding.of(
        differences(facts, envelope), "An unknown id has no rows, and is no error.", REPORT
    )


def total(asked: Asked) -> Finding:
    """Ask how many data sets there are: whether the archive is all there."""
    envelope = asked.ask.rma(RMAParameters("SectionDataSet", num_rows=1, order="data_sets.id"))
    facts = {"total_rows": asked.world["totals"]["data_sets"]}
    return Finding.of(
        differences(facts, envelope),
        f"{envelope.get('total_rows')} section data sets.",
        "Searches find less, or more, than was known; look whether that is announced.",
    )


# ---- pixels


def image(asked: Asked) -> Finding:
    """Ask for a section at its coarsest tier: whole, of the known size, showing what it should."""
    return _picture(asked, known()["tier"], expression=False)


def mask(asked: Asked) -> Finding:
    """Ask for its expression mask: the same size, black where nothing is expressed."""
    return _picture(asked, known()["tier"], expression=True)


def section_look(asked: Asked, tier: int, **params: Any) -> Look:
    """Ask for the known section at a tier."""
    number = known()["sync"]["image"]
    return asked.ask.look(
        f"/api/v2/section_image_download/{number}", {"downsample": tier, **params}
    )


def picture_of(found: Look) -> NDArray[np.uint8]:
    """Return the pixels of an answer, which must be a whole JPEG.

    Raises
    ------
    AnswerError
        If it is none.
    """
    import simplejpeg

    if found.status != 200:
        raise AnswerError(f"The service answered with status {found.status}.", url=found.url)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(found.body, colorspace="RGB")
    except ValueError as error:
        raise AnswerError(
            f"The answer is no whole JPEG ({error}); it begins with {bytes(found.body[:16])!r}.",
            url=found.url,
        ) from None
    return pixels


def _picture(asked: Asked, tier: int, *, expression: bool) -> Finding:
    number = known()["sync"]["image"]
    record = images_known()[number]
    looked = section_look(asked, tier, **({"view": "expression"} if expression else {}))
    pixels = picture_of(looked)
    height, width = pixels.shape[:2]
    wanted = {"width": record["width"] >> tier, "height": record["height"] >> tier}
    found = [
        *differences(wanted, {"width": width, "height": height}),
        *_header(looked, "content-type", "image/jpeg"),
    ]
    what = "mask" if expression else "picture"
    facts = asked.world[what]
    if facts is not None and not found:
        found += _shows(facts, pixels, what)
    elif expression and not found:
        dark = float((pixels.max(axis=2) < 20).mean())
        found += differences({"dark": {"$from": 0.2, "$to": 1}}, {"dark": dark}, "mask")
    return Finding.of(
        found,
        f"{width} × {height} pixels at tier {tier}, a whole JPEG of {len(looked.body) / 1e3:.0f} "
        "kB that shows what is known.",
        f"{REPORT}",
    )


def _shows(facts: list[list[int]], pixels: NDArray[np.uint8], what: str) -> Iterator[Difference]:
    """Compare what a picture shows: the brightness of blocks, whichever way it is compressed."""
    import numpy as np

    wanted = np.array(facts, dtype=float)
    grey = pixels.astype(float).mean(axis=2)
    rows = np.array_split(grey, wanted.shape[0])
    came = np.array([[b.mean() for b in np.array_split(r, wanted.shape[1], 1)] for r in rows])

    def alike(turned: NDArray[np.float64]) -> float:
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(np.nan_to_num(np.corrcoef(wanted.ravel(), turned.ravel())[0, 1]))

    straight = alike(came)
    off = float(abs(came - wanted).mean())
    if straight >= ALIKE and off <= 12:
        return
    turned = {
        "mirrored left to right": came[:, ::-1],
        "upside down": came[::-1],
        "turned by 180°": came[::-1, ::-1],
    }
    way = next((name for name, blocks in turned.items() if alike(blocks) >= ALIKE), None)
    how = way or f"another picture (correlation {straight:.2f}, {off:.0f} grey levels off)"
    yield Difference(what, facts, came.round().tolist(), f"{what} is {how}")


# ---- synchronisation


def _point(asked: Asked) -> dict[str, Any]:
    x, y = known()["sync"]["pixel"]
    return {"x": x, "y": y}


def image_to_reference(asked: Asked) -> Finding:
    """Take a pixel to the brain; the genuine service also those that it has answered before."""
    facts = known()["sync"]
    cases = [(facts["image"], facts["pixel"], facts["image_to_reference"])]
    cases += [
        (one["image"], one["pixel"], one["image_to_reference"])
        for one in asked.world["recorded_points"]
    ]
    found: list[Difference] = []
    for number, (x, y), wanted in cases:
        envelope = asked.ask.envelope(f"/api/v2/image_to_reference/{number}.json", {"x": x, "y": y})
        near = {axis: {"$near": value, "$within": SYNC_WITHIN} for axis, value in wanted.items()}
        found += differences({"image_to_reference": near}, envelope["msg"], "")
    return Finding.of(
        found, f"{len(cases)} pixels lie where the records' matrices take them.", NO_TRUST
    )


def reference_to_image(asked: Asked) -> Finding:
    """Take a point of the brain to the nearest section."""
    facts = known()["sync"]
    params = dict(zip("xyz", facts["point"], strict=True))
    params["section_data_set_ids"] = known()["dataset"]["id"]
    envelope = asked.ask.envelope("/api/v2/reference_to_image/10.json", params)
    return _on_section(envelope, facts["reference_to_image"])


def image_to_image(asked: Asked) -> Finding:
    """Take a pixel to another data set's section, from space 10 to 9: left is mirrored."""
    facts = known()["sync"]
    params = {**_point(asked), "section_data_set_ids": known()["other_dataset"]}
    envelope = asked.ask.envelope(f"/api/v2/image_to_image/{facts['image']}.json", params)
    return _on_section(
        envelope,
        facts["image_to_image"],
        "The flip between spaces 9 and 10 was inferred (z becomes 11400 − z); "
        f"`atldld sync image-to-image` follows it. {REPORT}",
    )


def image_to_image_2d(asked: Asked) -> Finding:
    """Take a pixel to another section of the same specimen, by the planes alone."""
    facts = known()["sync"]
    target = facts["image_to_image_2d"]["section_image_id"]
    params = {**_point(asked), "section_image_ids": target}
    envelope = asked.ask.envelope(f"/api/v2/image_to_image_2d/{facts['image']}.json", params)
    return _on_section(envelope, facts["image_to_image_2d"])


def structure_to_image(asked: Asked) -> Finding:
    """Take the centre of a structure to a data set's section."""
    number = known()["dataset"]["id"]
    params = {"structure_ids": asked.world["structure"]["id"]}
    envelope = asked.ask.envelope(f"/api/v2/structure_to_image/{number}.json", params)
    return _on_section(envelope, asked.world["structure_to_image"])


def image_to_atlas(asked: Asked) -> Finding:
    """Take a pixel to a plate of the adult atlas: an object, not a list."""
    facts = known()["sync"]
    wanted = asked.world["image_to_atlas"] or {
        "section_image_id": {"$is": "number"},
        "x": {"$is": "number"},
        "y": {"$is": "number"},
    }
    envelope = asked.ask.envelope(
        f"/api/v2/image_to_atlas/{facts['image']}.json", {**_point(asked), "atlas_id": ADULT}
    )
    found = list(differences({"image_sync": _near(wanted)}, envelope["msg"]))
    plate = "" if found else f" plate {envelope['msg']['image_sync']['section_image_id']}"
    return Finding.of(found, f"The pixel lies on{plate}.", REPORT)


def _on_section(
    envelope: Mapping[str, Any], wanted: Mapping[str, Any], remedy: str = NO_TRUST
) -> Finding:
    found = [*differences([{"image_sync": _near(wanted)}], envelope["msg"], "msg")]
    return Finding.of(
        found,
        f"Section {wanted['section_number']} of data set {wanted['section_data_set_id']}, to a "
        "millionth of a pixel."
        if isinstance(wanted["x"], float)
        else f"Section {wanted['section_number']}, within a pixel.",
        remedy,
    )


def _near(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Allow coordinates, and nothing else, to differ in their last digits."""
    return {
        key: {"$near": value, "$within": SYNC_WITHIN} if isinstance(value, float) else value
        for key, value in wanted.items()
    }


# ---- grids, structures, plates


def grid(asked: Asked) -> Finding:
    """Ask for the grid of expression energy: the ZIP's members, the header, and the voxels."""
    import numpy as np

    from atldld.support.metaimage import header_of

    number = known()["dataset"]["id"]
    looked = asked.ask.look(f"/grid_data/download/{number}", {"include": "energy"}, largest=700_000)
    if looked.status != 200:
        raise AnswerError(f"The service answered with status {looked.status}.", url=looked.url)
    if not looked.whole:
        raise AnswerError("The grid is longer than 700 kB; 130 kB are known.", url=looked.url)
    try:
        with zipfile.ZipFile(io.BytesIO(looked.body)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            found = list(
                differences(
                    {"energy.mhd": {"$from": 1, "$to": 10_000}, "energy.raw": 637_304}, sizes, "ZIP"
                )
            )
            if found:
                return Finding.of(found, "", REPORT)
            header = header_of(archive.read("energy.mhd"), "energy.mhd")
            raw = archive.read("energy.raw")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise AnswerError(f"The service sent no ZIP: {error}.", url=looked.url) from None
    found += differences(known()["grid_header"], header, "header")
    values = np.frombuffer(raw, "<f4")
    shown_ = values[values >= 0].astype(float)
    came = {
        "empty_voxels": int((values == -1).sum()),
        "sum": float(shown_.sum()),
        "largest": float(shown_.max()) if len(shown_) else 0.0,
    }
    if not found:
        found += differences(asked.world["grid"], came, "energy")
    return Finding.of(
        found,
        f"67 × 41 × 58 voxels of 200 µm in {len(looked.body) / 1e3:.0f} kB, with the known sum.",
        REPORT,
    )


def graph(asked: Asked) -> Finding:
    """Ask for the adult mouse's structure graph, all of it."""
    from atldld.atlas.structures import StructureGraph
    from atldld.errors import InvalidInputError
    from atldld.fetch.known import is_known_graph

    facts = asked.world["graph"]
    envelope = asked.ask.envelope(f"/api/v2/structure_graph_download/{ADULT}.json", largest=900_000)
    try:
        structures = StructureGraph.from_answer(envelope)
    except InvalidInputError as error:
        raise AnswerError(f"The service sent no structure graph: {error.message}") from None
    came = {"structures": len(structures), "root": structures.roots[0]}
    wanted = {"structures": facts["structures"], "root": facts["root"]}
    found = list(differences(wanted, came))
    if facts["content"] is not None and not found:
        same = is_known_graph(
            (one.id, one.parent_id, one.acronym, one.name, one.color) for one in structures
        )
        if not same:
            text = "ids, parents, acronyms, names or colours have been revised"
            found.append(Difference("content", facts["content"], None, text))
    return Finding.of(
        found,
        f"{len(structures)} structures, as known.",
        "Tables by structure may name others than before; note the date of the graph.",
    )


def plate(asked: Asked) -> Finding:
    """Ask for a plate of the atlas: its picture and its drawing."""
    from xml.parsers import expat

    row = _mapping(asked.ask.rows(_plates_query()), "annotated plate of atlas 1")
    image = _usable_plate(row)
    tier = min(image.highest_downsample, 5)
    looked = asked.ask.look(
        f"/api/v2/atlas_image_download/{image.id}", {"downsample": tier}, largest=150_000
    )
    height, width = picture_of(looked).shape[:2]
    wanted = dict(zip(("width", "height"), image.size(tier), strict=True))
    found = list(differences(wanted, {"width": width, "height": height}, "plate"))
    drawing = asked.ask.look(
        f"/api/v2/svg_download/{image.id}", {"groups": PLATES}, largest=250_000
    )
    paths, root = 0, ""

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal paths, root
        root = root or name.rpartition("}")[2]
        paths += name.endswith("path") and "structure_id" in attributes

    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler = begin
    try:
        parser.Parse(drawing.body, True)
    except expat.ExpatError as error:
        raise AnswerError(f"The drawing is no whole SVG: {error}.", url=drawing.url) from None
    came = {"root": root, "paths": paths}
    found += differences({"root": "svg", "paths": asked.world["plate_paths"]}, came, "drawing")
    return Finding.of(
        found, f"Plate {image.id}: {width} × {height} pixels, {paths} outlines.", REPORT
    )


def _usable_plate(row: Mapping[str, Any]) -> Any:
    from atldld.records import SectionImage

    return SectionImage.from_record(row)


def _plates_query() -> RMAParameters:
    return RMAParameters(
        "AtlasImage",
        {"annotated": True, "atlas_data_set": {"atlases": {"id": ADULT}}},
        ("alignment2d",),
        order="sub_images.section_number",
        start_row=0,
        num_rows=1,
    )


# ---- the informatics archive, and the bucket


def template(asked: Asked) -> Finding:
    """Ask for the template's first bytes: a NRRD file of the known shape and size."""
    return _volume(asked, TEMPLATE, asked.world["template"])


def annotation(asked: Asked) -> Finding:
    """Ask for the annotation of 25 µm: its length is that of the file whose hash is known."""
    facts = asked.world["annotation"]
    if facts is None:
        return Finding("skipped", "A made-up annotation is not compared.")
    return _volume(asked, ANNOTATION, facts)


def grid_annotation(asked: Asked) -> Finding:
    """Ask whether the structures of the grid's voxels are there."""
    looked = asked.ask.look(GRID_ANNOTATION, host="archive", method="HEAD")
    if looked.status == 404 and asked.synthetic:
        return Finding("skipped", "A made-up archive has none.")
    if looked.status != 200:
        raise AnswerError(f"The archive answered with status {looked.status}.", url=looked.url)
    return Finding("pass", f"It is there, {_size(looked.length)}.")


def _volume(asked: Asked, path: str, facts: Mapping[str, Any]) -> Finding:
    looked = asked.ask.look(path, host="archive", headers={"Range": "bytes=0-2047"}, largest=2048)
    if looked.status not in (200, 206):
        raise AnswerError(f"The archive answered with status {looked.status}.", url=looked.url)
    if not looked.body.startswith(b"NRRD"):
        raise AnswerError(
            f"The archive sent no NRRD file, but {bytes(looked.body[:16])!r}.", url=looked.url
        )
    text = looked.body.split(b"\n\n")[0].decode("latin-1")
    lines = (line.partition(": ") for line in text.replace("\r", "").splitlines())
    header = {name: value for name, _, value in lines}
    length = _whole_length(looked)
    wanted = dict(facts)
    size = wanted.pop("bytes")
    found = [*differences(wanted, header, "header")]
    if size is not None and length is not None and length != size:
        found.append(Difference("bytes", size, length, f"it has {length} bytes instead of {size}"))
    return Finding.of(
        found,
        f"{wanted['sizes']} voxels of {wanted['type']}, {wanted['encoding']}, {_size(length)}.",
        f"The file may have been replaced: results of another annotation differ. {REPORT}",
    )


def _whole_length(looked: Look) -> int | None:
    """Return the length of a file of which a part was asked for."""
    total = looked.headers.get("content-range", "").rpartition("/")[2]
    if total.isdecimal():
        return int(total[:18])
    return looked.length if looked.status == 200 else None


def bucket_record(asked: Asked) -> Finding:
    """Ask for a record in the public bucket: the boxes of sections on their slides."""
    import json

    facts = known()["bucket"]
    looked = asked.ask.look(
        f"/section_data_set_{facts['dataset']}/section_data_set.json",
        host="bucket",
        largest=150_000,
    )
    if looked.status != 200 or not looked.whole:
        raise AnswerError(f"The bucket answered with status {looked.status}.", url=looked.url)
    try:
        record = json.loads(looked.body)
        rows = record["section_images"]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise AnswerError("The bucket sent no record of a data set.", url=looked.url) from None
    own = {facts["image"]["id"]: facts["image"]}
    some = [row for row in rows if isinstance(row, dict) and row.get("id") in own]
    found = [
        *differences({"images": facts["images"]}, {"images": len(rows)}),
        *rows_by_id(own, some, "image"),
    ]
    return Finding.of(found, f"{len(rows)} sections with their boxes, as known.", REPORT)


def bucket_slide(asked: Asked) -> Finding:
    """Ask for a slide in the bucket: its type, whether it comes in parts, its hash."""
    facts = known()["bucket"]
    path = f"/section_data_set_{facts['dataset']}/downsample_5/{facts['image']['image_file_name']}"
    looked = asked.ask.look(path, host="bucket", headers={"Range": "bytes=0-15"}, largest=64)
    if looked.status not in (200, 206):
        raise AnswerError(f"The bucket answered with status {looked.status}.", url=looked.url)
    found = []
    if looked.body[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        text = f"it begins with {bytes(looked.body[:4])!r}, which is no TIFF"
        found.append(Difference("magic", "TIFF", str(looked.body[:4]), text))
    if looked.status != 206:
        text = "ranges of bytes are not answered (status 200 instead of 206)"
        found.append(Difference("status", 206, looked.status, text))
    etag = looked.headers.get("etag", "")
    if not etag:
        found.append(Difference("etag", "an MD5", None, "it has no ETag, which was its MD5"))
    return Finding.of(
        found, f"A TIFF of {_size(_whole_length(looked))}, by ranges; ETag {etag}.", REPORT
    )


# ---- what checks share


def _images_of(dataset_id: int) -> RMAParameters:
    return RMAParameters(
        "SectionImage", {"data_set_id": dataset_id}, ("alignment2d",), order="sub_images.id"
    )


def _rows(envelope: Mapping[str, Any]) -> list[Any]:
    msg = envelope["msg"]
    if not isinstance(msg, list):
        raise AnswerError(f"msg is {msg!r:.80} instead of a list of rows.")
    return msg


def _mapping(rows: list[Any], what: str) -> Mapping[str, Any]:
    if not rows:
        raise AnswerError(f"There is no row for {what}.", hint=_ABSENT)
    if not isinstance(rows[0], Mapping):
        raise AnswerError(f"The row for {what} is {shown(rows[0])} instead of an object.")
    return rows[0]


_ABSENT = "An archive of a laboratory holds only what was exported; the Allen Institute's has it."


def _only_row(envelope: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    return _mapping(_rows(envelope), what)


def _envelope(envelope: Mapping[str, Any], rows: int) -> Iterator[Difference]:
    facts = {"success": True, "start_row": 0, "num_rows": rows, "total_rows": rows}
    yield from differences(facts, envelope)


def _first(listed: Any, wanted: Mapping[str, Any], what: str) -> Iterator[Difference]:
    """Compare the first of what came along."""
    if isinstance(listed, list) and listed:
        yield from differences(wanted, listed[0], f"{what}[0]")
    else:
        text = f"{what} is {shown(listed)} instead of a list with something in it"
        yield Difference(what, dict(wanted), listed, text)


def _ids(wanted: list[int], rows: list[Any], what: str) -> Iterator[Difference]:
    came = [row.get("id") for row in rows if isinstance(row, Mapping)]
    if sorted(map(str, came)) != sorted(map(str, wanted)):
        text = f"{what} brings {len(came)} rows ({came[:3]}…) instead of {len(wanted)}"
        yield Difference("id", wanted, came, text)
    else:
        yield from _sorted(came, "id")


def _sorted(values: list[Any], column: str) -> Iterator[Difference]:
    numbers = [value for value in values if isinstance(value, (int, float))]
    if numbers != sorted(numbers):
        text = f"rows are not sorted by {column}, which was asked for: {numbers[:4]} …"
        yield Difference("order", column, numbers, text)


def _header(looked: Look, name: str, wanted: str) -> Iterator[Difference]:
    came = looked.headers.get(name, "")
    if came.partition(";")[0].strip().lower() != wanted:
        yield Difference(name, wanted, came, f"the header {name} is {shown(came)}")


def _size(length: int | None) -> str:
    if length is None:
        return "of unknown length"
    for unit, one in (("GB", 1e9), ("MB", 1e6)):
        if length >= one:
            return f"{length / one:.3g} {unit}"
    return f"{length / 1e3:.3g} kB"
