"""What the ``result`` of each command is with ``--json``: its keys, their types, their meaning.

The documentation's table and the JSON Schemas are made of this. Keys may be added; one that is
renamed, removed or means another thing raises the number in `atldld.cli.manner.SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atldld.cli.manner import SCHEMA

__all__ = ["ERROR", "RESULTS", "envelope_schema", "error_schema", "table_of_results"]

_TYPES = ("integer", "number", "string", "boolean", "object", "array")

_FILES = {"files": "array: paths that were written"}
_DATASET = {"dataset_id": "integer: the section data set"}
_SEARCH = {
    "kind": "string: what was searched for",
    "count": "integer: how many there are; `rows` may be fewer, with --limit",
    "hidden": "integer: how many more failed the quality control",
    "source": "object: `kind` (catalogue or service), `url`, `when`",
    "rows": "array: an object each, with the attributes of `atldld.find.Found…`",
}
_SYNC = {
    **_FILES,
    "count": "integer: rows",
    "unanswered": "integer: rows without an answer",
    "reasons": "object: why, and how many",
    "rows": "array: an object each, the columns that were read and the new ones",
}
_BATCH = {
    "out": "string: folder or address",
    "entries": "array: an object for each data set: `data_set`, `state` (done, failed), "
    "`sections`, `image_bytes`, `bytes`, `seconds`, `defects`, `why`, `when`",
    "kept": "integer: data sets that an earlier run had made",
    "left": "array: ids of data sets that were not begun",
    "given_up": "string?: why the batch was given up",
    "seconds": "number: how long this run took",
    "not_ids": "array: a sentence for each line of a list that names no data set",
}
_ESTIMATE = {
    "estimate": "object: with --dry-run, and nothing else then but `not_ids`; see "
    "`atldld.batch.Estimate`"
}

RESULTS: Mapping[str, Mapping[str, str]] = {
    **{f"search {kind}": _SEARCH for kind in ("dataset", "image", "gene", "specimen", "structure")},
    "search neighbours": {
        "kind": "string: neighbours",
        "of": "object: the data set that was named",
        "count": "integer: how many there are",
        "rows": "array: an object each, with `offset`: by how many numbers its sections lie beside",
    },
    **{
        f"catalogue {name}": {
            "path": "string: the file",
            "source": "object: `kind`, `url`, `when` (updated last)",
            "built": "string: when all of it was fetched",
            "bytes": "integer: size of the file",
            "rows": "object: how many rows, by table",
            "imaged": "integer: of how many data sets the images are known",
            "added": "object: rows that the last update brought, by table",
            "remarks": "array: what the service did not send",
            "placements": "object?: the placements, if they are there: `path`, `service`, "
            "`updated`, `bytes`, `data_sets`, `images`, `incomplete`",
            "estimate": "object: of `update --dry-run`, and nothing else then; see "
            "`atldld.find.placements.PlacementsEstimate`",
        }
        for name in ("update", "info")
    },
    **{
        f"catalogue {name}": {
            "path": "string?: the file; null for standard output",
            "service": "string: of which service",
            "files": "array: what it holds",
            "bytes": "integer: of those, unpacked",
        }
        for name in ("export", "import")
    },
    "dataset info": {
        "id": "integer: the section data set",
        "failed": "boolean: whether it failed the quality control",
        "synthetic": "boolean: whether its pixels are made up",
        "genes": "array: acronyms",
        "specimen": "string?: its name",
        "plane_of_section": "string: its name",
        "plane_of_section_id": "integer?: its id",
        "reference_space": "string: its name",
        "reference_space_id": "integer?: its id",
        "section_thickness_um": "number?: µm",
        "images": "integer: how many section images",
        "placed": "boolean: whether sections can be placed in the brain",
        "not_placed_because": "string?: why the data set cannot be placed",
        "sections": "array: an object each: `section_number`, `image_id`, `width`, `height` "
        "(pixels), `axis` (p, i or r), `depth_um` (least and greatest), `tilt_degrees`, "
        "`depth_swept_um`",
        "skipped": "array: images that cannot be placed: `image_id`, `section_number`, `reason`",
    },
    "dataset preview": {**_DATASET, **_FILES},
    "download dataset": {
        **_DATASET,
        "folder": "string: where the sections are",
        "written": "integer: sections that were written",
        "kept": "integer: sections that were there already",
        "failed": "object: image ids, and why they could not be fetched",
        "without_mask": "object: image ids, and why they have no expression mask",
    },
    "download datasets": {**_BATCH, **_ESTIMATE},
    "download image": {**_FILES, "failed": "object: image ids, and why"},
    "cache info": {
        "location": "string: the folder",
        "service": "string: whose answers",
        "file_count": "integer: how many files",
        "bytes": "integer: size of all of them",
        "parts": "array: an object for each kind of files: `kind`, `files`, `bytes`",
    },
    "cache list": {
        "data_sets": "array: an object each: `dataset_id`, `genes`, `images`, `masks`, `tiers`, "
        "`file_count`, `bytes`",
    },
    "cache verify": {
        "sound": "integer: files that are as they should be",
        "damaged": "array: an object each: `path`, `problem`, `remedy`, `lost`",
        "repaired": "integer: of the damaged ones",
    },
    "cache prune": {
        "images": "integer: how many were removed",
        "bytes": "integer: their size",
    },
    "cache export": {
        **_FILES,
        "images": "integer: how many",
        "left_out": "object: names, and why they were left out",
    },
    "cache import": {
        "images": "integer: how many were taken",
        "taken": "object: how many data sets, answers and files besides",
        "already_there": "integer: how many were there already",
        "refused": "array: an object each: `path`, `problem`",
    },
    **{
        f"sync {name}": _SYNC
        for name in (
            "image-to-reference",
            "reference-to-image",
            "image-to-image",
            "image-to-image-2d",
            "image-to-atlas",
            "structure-to-image",
        )
    },
    "volume": {
        **_FILES,
        "shape": "array: voxels along p, i, r, and the channels",
        "about": "object: how it was made, as in the file's metadata",
        **_BATCH,
        **_ESTIMATE,
    },
    "atlas list": {
        "volumes": "array: an object each: `volume`, `resolution_um`, `shape`, `to_fetch`, "
        "`cached_bytes` (null if it is not in the cache), `path`",
    },
    "atlas fetch": {
        "atlas": "string: its name",
        "structures": "integer: how many it has",
        "synthetic": "boolean: whether it is made up",
        "volume": "string: what was fetched",
        "resolution_um": "number: side of a voxel",
        "path": "string: the file",
        "bytes": "integer: its size",
        "sha256": "string: its hash",
    },
    "atlas outlines": {
        **_DATASET,
        "folder": "string: where the files are",
        **_FILES,
        "unknown_ids": "array: ids of the annotation that the structure graph lacks",
        "synthetic": "boolean: whether the structures are made up",
    },
    "atlas plates": {
        "plates": "array: an object each: `plate_id`, `section_number`, `width`, `height`, "
        "`resolution_um`",
        **_FILES,
    },
    "quantify": {
        **_DATASET,
        **_FILES,
        "columns": "object: what each column is",
        "rows": "array: an object for each structure and hemisphere",
        "about": "object: how it was made",
    },
    "grid": {
        **_DATASET,
        **_FILES,
        "kinds": "array: energy, density, intensity, as far as they are there",
        "shape": "array: voxels along p, i, r",
        "rows": "array?: with --regions, an object for each structure",
        "synthetic": "boolean: whether it is made up",
    },
    "refine": {
        **_DATASET,
        **_FILES,
        "sections": "array: an object each: `image_id`, `section_number`, `steps`, `moved_um`, "
        "`expected_error`",
        "failed": "object: image ids, and why they could not be fetched",
        **_BATCH,
        **_ESTIMATE,
    },
    "quality": {
        **_DATASET,
        **_FILES,
        "rule": "string: how the score is made",
        "threshold": "number: a section with a higher score is suspicious",
        "atlas": "string?: what sections were compared with, besides each other",
        "resolution_um": "number: side of a pixel",
        "suspicious": "array: image ids, the worst first",
        "sections": "array: an object each, with the columns of [quality](quality.md)",
        "notes": "array: what the figures lack, and why",
    },
    "report": {
        **_DATASET,
        **_FILES,
        "bytes": "integer: size of the page",
        "sections": "integer: how many it shows",
        "suspicious": "integer: how many of them",
        "failed": "object: image ids, and why they could not be fetched",
        "without_atlas": "string?: why it has no atlas",
        "synthetic": "boolean: whether the pixels are made up",
    },
    "export quicknii": {
        **_DATASET,
        **_FILES,
        "sections": "integer: how many are anchored",
        "markers": "integer: how many bend the curved ones",
        "deviation_um": "number?: how far they lead at most from where the displacements do",
        "folded": "array: image ids whose markers fold",
    },
    "export fields": {**_DATASET, "folder": "string: where the files are", **_FILES},
    "export sections": {**_DATASET, "folder": "string: where the files are", **_FILES},
    "doctor": {
        "healthy": "boolean: whether nothing differs, and nothing fails",
        "passed": "integer: checks that pass",
        "differing": "integer: checks whose answer is not what is known",
        "failed": "integer: checks whose answer cannot be used, or did not come",
        "skipped": "integer: checks that were left out; their `found` says why",
        "service": "string?: which API was asked",
        "synthetic": "boolean?: whether it says that its data are made up; null if it was not "
        "asked",
        "offline": "boolean: whether nothing was asked",
        "bytes": "integer: what came from the network",
        "seconds": "number: how long all took",
        "checks": "array: an object each: `part`, `name`, `status` (pass, differs, fails, "
        "skipped), `found`, `remedy`, `bytes`, `seconds`, `differences` (objects with `field`, "
        "`known`, `came`, `said`); see [doctor](doctor.md)",
    },
    "demo": {
        **_DATASET,
        "folder": "string: where the sections are",
        **_FILES,
        "judged": "string?: how well known errors were mended",
    },
    "info version": {"version": "string: of the package"},
    "info cache": {
        "location": "string: the folder",
        "file_count": "integer: how many files",
        "bytes": "integer: size of all of them",
    },
}
"""By command: each key with its type (``?`` where it may be null) and its meaning."""

ERROR: Mapping[str, str] = {
    "kind": "string: the class of the error, such as DatasetNotFoundError; UsageError for a wrong "
    "word or option, Stopped after Ctrl-C, Unfinished where nothing could be done",
    "code": "integer: the [exit code](exit-codes.md)",
    "message": "string: what happened, as a sentence",
    "hint": "string?: what to do next",
    "dataset_id": "integer?: the data set that it is about",
    "image_id": "integer?: the section image that it is about",
    "url": "string?: the address that was asked",
    "candidates": "array: what an ambiguous name fits",
}
"""What an error is: keys of ``error``."""


def envelope_schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema of what a command prints with ``--json``."""
    return _document(
        command,
        {
            "complete": {"type": "boolean"},
            "result": _object(RESULTS[command], closed=True),
            "remarks": {"type": "array", "items": {"type": "string"}},
        },
    )


def error_schema() -> dict[str, Any]:
    """Return the JSON Schema of the line that says with ``--json`` what has gone wrong."""
    remarks = {"type": "array", "items": {"type": "string"}}
    error = {**_object(ERROR, closed=True), "required": list(ERROR)}
    return _document(None, {"error": error, "remarks": remarks})


def table_of_results() -> list[str]:
    """Return the lines of the documentation that say what each command's result is."""
    alike: dict[str, list[str]] = {}
    for command, keys in RESULTS.items():
        alike.setdefault("\n".join(_rows(keys)), []).append(f"`{command}`")
    lines: list[str] = []
    for rows, commands in alike.items():
        lines += [f"### {', '.join(commands)}", "", "| key | type | meaning |", "|---|---|---|"]
        lines += [*rows.split("\n"), ""]
    return lines[:-1]


def _rows(keys: Mapping[str, str]) -> list[str]:
    rows = []
    for key, told in keys.items():
        kind, _, meaning = told.partition(": ")
        kind = f"{kind.removesuffix('?')} or null" if kind.endswith("?") else kind
        rows.append(f"| `{key}` | {kind} | {meaning} |")
    return rows


def _object(keys: Mapping[str, str], *, closed: bool) -> dict[str, Any]:
    properties = {}
    for key, told in keys.items():
        kind = told.partition(": ")[0]
        name = kind.removesuffix("?")
        assert name in _TYPES, told
        properties[key] = {"type": [name, "null"] if kind.endswith("?") else name}
    return {"type": "object", "properties": properties, "additionalProperties": not closed}


def _document(command: str | None, more: Mapping[str, Any]) -> dict[str, Any]:
    properties = {
        "schema": {"const": SCHEMA},
        "command": {"type": ["string", "null"]} if command is None else {"const": command},
        "version": {"type": "string"},
        **more,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
