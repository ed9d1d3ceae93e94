"""The page: a report's figures put into its template, in one file that fetches nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from atldld.formats.common import ending_of, need
from atldld.place.spaces import AXES
from atldld.report.charts import (
    FIGURES,
    levels,
    moves_chart,
    number,
    positions,
    quality_chart,
    strip,
)
from atldld.report.contents import Entry, Report
from atldld.report.moves import GUARDED, moves_of
from atldld.report.pictures import STEPS, Slices, matrix_to_raw, tier_to_raw
from atldld.report.words import (
    DIRECTIONS,
    MISSING,
    alignments,
    doubts,
    judgement,
    lead,
    measure,
    methods,
    strongest,
    summary,
)
from atldld.support.files import check_targets, whole_file
from atldld.support.provenance import citation_of
from atldld.support.text import shown
from atldld.warp.stain import Scale

__all__ = ["check_page", "figures", "parts", "render", "write_report"]

FORMAT, VERSION = "atldld report", 1

SHOWN_COLUMNS = (
    ("name", "Structure"),
    ("energy", "Energy"),
    ("density", "Density"),
    ("intensity", "Intensity"),
    ("stained_fraction", "Stained fraction"),
    ("stained_darkness", "Stained darkness"),
    ("area_mm2", "Area, mm²"),
    ("volume_mm3", "Volume, mm³"),
    ("sections", "Sections"),
    ("coverage", "Coverage"),
    ("unionize_energy", "Allen’s energy"),
    ("grid_energy", "Grid’s energy"),
)
"""Columns of the region table that the page shows; the others are in its JSON and its CSV."""


def check_page(path: str | Path, *, force: bool = False) -> None:
    """Say what speaks against writing a page to a file, before it is made.

    Raises
    ------
    InvalidInputError
        If the ending is not ``.html``.
    OutputError
        If a file is there already and may not be replaced, or its folder cannot be written.
    AtldldError
        If Jinja2 is not installed.
    """
    need("jinja2", "report", "Reports")
    ending_of(Path(path), (".html", ".htm"), "reports")
    check_targets([Path(path)], force=force)


def write_report(report: Report, path: str | Path, *, force: bool = False) -> Path:
    """Write a report; whole or not at all.

    Parameters
    ----------
    report : Report
        What it says.
    path : str or pathlib.Path
        The page, ``.html``.
    force : bool
        Replace a file that is there.

    Raises
    ------
    InvalidInputError
        If the ending is another one.
    OutputError
        If it cannot be written, or is there already.
    AtldldError
        If Jinja2 is not installed.
    """
    path = Path(path)
    check_page(path, force=force)
    with (
        whole_file(path, force=force) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as page,
    ):
        for part in parts(report):
            page.write(part)
    return path


def render(report: Report) -> str:
    """Return the page as HTML, all of it.

    Raises
    ------
    AtldldError
        If Jinja2 is not installed.
    """
    return "".join(parts(report))


def parts(report: Report) -> Iterator[str]:
    """Yield the page as HTML, piece by piece: of the sections' pictures one at a time is text.

    Raises
    ------
    AtldldError
        If Jinja2 is not installed.
    """
    jinja2 = need("jinja2", "report", "Reports")
    markup = need("markupsafe", "report", "Reports").Markup
    here = files("atldld.report") / "templates"

    def text_of(name: str) -> str:
        return (here / name).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(text_of),
        autoescape=True,
        # what stands in braces is of others, unless it is markup that was made here
        finalize=lambda value: shown(value) if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fixed"] = lambda value, digits=0: f"{value:.{digits}f}"
    dataset, quality = report.source.dataset, report.quality
    odd = {section.image_id for section in quality.suspicious} if quality else set()
    judged = {section.image_id: section for section in quality.sections} if quality else {}
    grid = report.entries[0].plane.grid
    rows, columns = grid.shape
    moves = moves_of(report.entries)
    regions = report.regions
    yield from environment.get_template("report.html").generate(
        report=report,
        dataset=dataset,
        record=dataset.record,
        title=_title(report),
        lead=lead(report),
        summary=summary(report),
        methods=methods(report),
        citations=_citations(report),
        entries=report.entries,
        hero=report.most_telling,
        strongest=strongest(report),
        measure=None if regions is None else measure(regions),
        doubts=doubts(report),
        judgement=judgement(report),
        missing_names=MISSING,
        judged=judged,
        odd=odd,
        strip=strip(report.entries, quality),
        levels=levels(quality),
        place_of={entry.section.id: place for place, entry in enumerate(report.entries)},
        steps=STEPS,
        gradient=_gradient(report.scale),
        axis=AXES[dataset.plane.depth_axis],
        direction=DIRECTIONS[dataset.plane.depth_axis],
        rows=rows,
        columns=columns,
        positions=positions(report.entries, dataset.plane, report.atlas, odd),
        chart=quality_chart(report.entries, quality, report.quality_before) if quality else None,
        moves=moves,
        moves_chart=moves_chart(report.entries) if moves else None,
        alignments=alignments(report),
        quality=quality,
        number=number,
        slices=report.slices,
        masks=any(entry.views.mask for entry in report.entries),
        shown_columns=_columns(report),
        first_rows=_first_rows(report),
        css=markup(text_of("report.css")),
        js=markup(text_of("report.js")),
        figure_names=markup(_json([(f.name, f.listed, f.unit) for f in FIGURES])),
        guarded_names=markup(_json([(f.name, f.title.lower()) for f in GUARDED])),
        figures=markup(_json(figures(report))),
        # made when they are written, not before
        section_data=(
            (entry.section.id, markup(_json(_pictures(entry)))) for entry in report.entries
        ),
        volume_data=markup(_json([_slices(cuts) for cuts in report.slices])),
        command=report.command_line,
    )


def figures(report: Report) -> dict[str, Any]:
    """Return every number of a report as plain values that JSON can hold; without pictures."""
    dataset, record = report.source.dataset, report.source.dataset.record
    quality, regions, atlas = report.quality, report.regions, report.atlas
    judged = {row["image_id"]: row for row in quality.to_rows()} if quality else {}
    reasons = {s.image_id: list(s.reasons) for s in quality.sections} if quality else {}
    before = report.quality_before
    judged_before = {row["image_id"]: row for row in before.to_rows()} if before else {}
    named = alignments(report)
    return {
        "format": FORMAT,
        "version": VERSION,
        "synthetic": report.synthetic,
        "created": report.created,
        "versions": dict(report.versions),
        "command_line": report.command_line,
        "origin": report.source.origin,
        "service": dataset.session.settings.api_url,
        "dataset": {
            "id": dataset.id,
            "genes": [{"acronym": gene.acronym, "name": gene.name} for gene in record.genes],
            "specimen": record.specimen_name,
            "plane_of_section": dataset.plane.value,
            "reference_space_id": record.reference_space_id,
            "section_thickness_um": record.section_thickness,
            "failed": record.failed,
            "tvr": list(record.alignment3d.tvr) if record.alignment3d else None,
            "alignment": dataset.alignment.describe() if dataset.alignment else None,
            "coordinates": dataset.coordinates,
            "absent_section_numbers": list(report.absent),
        },
        "alignments": None if named is None else {"before": named[0], "after": named[1]},
        "picture": {
            "plane": report.source.plane,
            "resolution_um": report.source.resolution,
            "rows": report.entries[0].plane.grid.shape[0],
            "columns": report.entries[0].plane.grid.shape[1],
            "axes": list(report.entries[0].plane.grid.axis_names),
            "outline_units_per_pixel": STEPS,
        },
        "atlas": None if atlas is None else atlas.describe(),
        "structures": _structures(report),
        "sections": [
            {
                "image_id": entry.section.id,
                "section_number": entry.section.number,
                "coordinate_um": round(entry.coordinate, 1),
                "tilt_degrees": round(entry.section.geometry.tilt, 3),
                "downsample": entry.downsample,
                "width": entry.section.image.width,
                "height": entry.section.image.height,
                "alignment_file": entry.section.alignment,
                "image_from_output": entry.plane.to_image.tolist(),
                "deformation": entry.section.describe_deformation(),
                "third_coordinate": entry.plane.describe_depth(),
                "structures_mm2": {
                    str(shape.id): _short(shape.area) for shape in entry.views.shapes
                },
                "quality": judged.get(entry.section.id),
                "reasons": reasons.get(entry.section.id, []),
                "problems": entry.views.problems,
                "expression_mm2": _short(entry.views.expression),
                "quality_before": judged_before.get(entry.section.id),
                "moved_um": None
                if entry.move is None
                else {"median": _short(entry.move.median), "most": _short(entry.move.most)},
                "refinement": None
                if entry.section.refinement is None
                else msgspec.to_builtins(entry.section.refinement, str_keys=True),
            }
            for entry in report.entries
        ],
        "quality": None
        if quality is None
        else {
            "rule": quality.rule,
            "threshold": quality.threshold,
            "with_atlas": quality.with_atlas,
            "resolution_um": quality.resolution,
            "notes": list(quality.notes),
        },
        "regions": None
        if regions is None
        else {
            "columns": list(regions.columns),
            "about": regions.about,
            "rows": [[_short(value) for value in row.values()] for row in regions.rows()],
            "metadata": {
                name: value for name, value in regions.metadata.items() if name != "sections"
            },
        },
        "missing": dict(report.missing),
        "skipped": {str(image.image_id): image.reason for image in dataset.skipped},
        "could_not_be_had": dict(report.failed),
        "warnings": list(report.warnings),
        "citations": _citations(report),
        "methods": methods(report),
    }


def _pictures(entry: Entry) -> dict[str, Any]:
    views, image, was = entry.views, entry.section.image, entry.views.before

    def uri(name: str) -> str | None:
        picture = getattr(views, name)
        return picture.uri if picture else None

    return {
        "registered": uri("registered"),
        "raw": uri("raw"),
        "template": uri("template"),
        "mask": uri("mask"),
        "raw_size": [image.width, image.height],
        "to_raw": [float(f"{value:.6g}") for value in matrix_to_raw(entry.plane, entry.downsample)],
        "shapes": [[shape.id, shape.path] for shape in views.shapes],
        # of a curved section, whose outlines no matrix takes to the raw picture
        "raw_shapes": None
        if views.raw_shapes is None
        else [[shape.id, shape.path] for shape in views.raw_shapes],
        "before": was
        and {
            "registered": was.registered and was.registered.uri,
            "own_shapes": [[shape.id, shape.path] for shape in was.own_shapes],
            "shapes": [[shape.id, shape.path] for shape in was.shapes],
            "raw_shapes": [[shape.id, shape.path] for shape in was.raw_shapes],
            "to_raw": tier_to_raw(entry.downsample),
        },
    }


def _slices(cuts: Slices) -> dict[str, Any]:
    return {
        "axis": cuts.axis,
        "step": cuts.step,
        "pictures": [picture.uri for picture in cuts.pictures],
        "lines": [picture.uri for picture in cuts.lines],
    }


def _structures(report: Report) -> dict[str, dict[str, Any]]:
    """Return the structures on the sections, and those that they lie in, by id."""
    graph = None if report.atlas is None else report.atlas.graph
    out: dict[str, dict[str, Any]] = {}
    for entry in report.entries:
        for structure, (acronym, name, color) in entry.views.names.items():
            path = graph[structure].path if graph is not None and structure in graph else ()
            for one in (graph[above] for above in path) if graph is not None else ():
                out[str(one.id)] = {
                    "acronym": one.acronym,
                    "name": one.name,
                    "color": one.color,
                    "parent": one.parent_id,
                }
            if not path:
                out[str(structure)] = {
                    "acronym": acronym,
                    "name": name,
                    "color": color,
                    "parent": None,
                }
    return out


def _gradient(scale: Scale) -> str:
    """Return the colours of a scale as stops of a gradient in CSS."""
    return ", ".join("rgb({} {} {})".format(*colour) for colour in scale.colours[::15].tolist())


def _first_rows(report: Report) -> list[dict[str, Any]]:
    """Return the rows of the region table that are there without JavaScript, and on paper."""
    table = report.regions
    if table is None:
        return []
    least = min(3, len(report.entries))
    top = table.select(hemispheres=["both"]).top(measure(table), 40, sections=least)
    return list(top.rows())


def _columns(report: Report) -> list[tuple[str, str, str]]:
    """Return the name, the title and the meaning of the columns that are shown."""
    table = report.regions
    if table is None:
        return []
    about = {
        **table.about,
        "unionize_energy": f"{table.about.get('unionize_energy', '')} (both hemispheres only)",
    }
    return [
        (name, title, about[name])
        for name, title in SHOWN_COLUMNS
        if name in table.columns and (name == "name" or _holds(table.columns[name]))
    ]


def _holds(column: Any) -> bool:
    return any(
        isinstance(value, (int, float)) and math.isfinite(value) for value in column.tolist()
    )


def _title(report: Report) -> str:
    record = report.source.dataset.record
    genes = ", ".join(gene.acronym for gene in record.genes if gene.acronym)
    what = genes or "Section data set"
    return f"{what} · {report.source.dataset.plane.value} sections · {record.id}"


def _citations(report: Report) -> list[str]:
    made = [citation_of(report.source.dataset.id)]
    if report.atlas is not None:
        made.append(report.atlas.citation)
    return made


def _short(value: object) -> object:
    """Return a number with as many digits as make sense; `None` where there is none."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _json(document: Mapping[str, Any] | Sequence[Any]) -> str:
    """Return JSON that may stand in a script element: nothing in it can end the element."""
    text = json.dumps(
        _harmless(document), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return text.replace("<", "\\u003c")


def _harmless(value: object) -> object:
    """Return a value for the page: texts as they may be shown, `None` for numbers that are none."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {shown(name): _harmless(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_harmless(inner) for inner in value]
    return value
