"""The demo archive's atlas: volumes, structures and plates of the procedural brain.

They are made when they are asked for, and answered at the addresses of the Allen Institute's own.
Each says that it is synthetic: volumes in their header, structures and plates in their records.
"""

from __future__ import annotations

import io
import json
import re
from functools import lru_cache
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from atldld.atlas.ccf import KINDS, VolumeFile
from atldld.atlas.outlines import Selection, outlines
from atldld.atlas.structures import StructureGraph
from atldld.demo import anatomy, render
from atldld.formats.common import need
from atldld.place import Placement
from atldld.place.tiers import tier_to_image

__all__ = [
    "ATLAS_ID",
    "atlas_tables",
    "plate_image",
    "plate_svg",
    "structure_graph",
    "volume",
]

Record = dict[str, Any]

# Finer than this the brain is not evaluated: it would take minutes. A file at 25 µm repeats the
# voxels of 50 µm and says so.
FINEST = 50
OFFERED = (25, 50, 100)

ATLAS_ID = 1
PLATES_DATASET = 100048576  # of the institute's own coronal plates
PLATE_WIDTH, PLATE_HEIGHT = 1400, 1000
PLATE_PIXEL = 8.0  # µm
# Ids far from the institute's own, and where the plates cut the brain, p in µm.
PLATES = {990000001: 4500.0, 990000002: 7200.0, 990000003: 11000.0}

_VOLUME = re.compile(r"/informatics-archive/current-release/mouse_ccf/.*/(\w+)_(\d+)\.nrrd")


def volume(path: str) -> bytes | None:
    """Return the NRRD file at a path of the informatics archive, or `None` where there is none."""
    found = _VOLUME.fullmatch(path)
    if found is None or found[1] not in KINDS or int(found[2]) not in OFFERED:
        return None
    file = VolumeFile(found[1], int(found[2]))
    return _nrrd(file) if path == f"/{file.path}" else None


@lru_cache(maxsize=6)
def _nrrd(file: VolumeFile) -> bytes:
    nrrd = need("nrrd", "atlas", "Volumes of the demo archive")
    evaluated = max(file.resolution, FINEST)
    data: NDArray[Any] = getattr(_voxels(evaluated), file.kind)
    for axis in range(3):
        # transposed, so that repeating keeps p the fastest axis
        data = np.repeat(data.T, evaluated // file.resolution, axis=2 - axis).T
    step = float(file.resolution)
    header = {
        "space": "left-posterior-superior",
        "space directions": np.eye(3) * step,
        "space origin": np.zeros(3),
        "kinds": ["domain"] * 3,
        "encoding": "gzip",
        "content": "SYNTHETIC: the made-up brain of atldld's demo archive, not a measurement",
        "synthetic": "true",
        "evaluated_at_um": str(evaluated),
    }
    written = io.BytesIO()
    nrrd.write(written, data, header, compression_level=1, index_order="F")
    return written.getvalue()


@lru_cache(maxsize=2)
def _voxels(resolution: int) -> anatomy.Voxels:
    return anatomy.voxels(resolution)


@lru_cache(maxsize=1)
def structure_graph() -> bytes:
    """Return the answer of ``structure_graph_download``: the synthetic ontology as a tree."""
    nodes: dict[int, Record] = {}
    for order, structure in enumerate(anatomy.STRUCTURES):
        above = nodes.get(structure.parent_id or 0)
        nodes[structure.id] = {
            "id": structure.id,
            "atlas_id": order,
            "ontology_id": 1,
            "acronym": structure.acronym,
            "name": structure.name,
            "color_hex_triplet": structure.color_hex,
            "graph_order": order,
            "st_level": 0 if above is None else above["st_level"] + 1,
            "hemisphere_id": 3,
            "parent_structure_id": structure.parent_id,
            "synthetic": True,
            "children": [],
        }
        if above is not None:
            above["children"].append(nodes[structure.id])
    envelope = {"success": True, "id": 0, "start_row": 0, "num_rows": 1, "total_rows": 1}
    return json.dumps({**envelope, "synthetic": True, "msg": [nodes[1]]}).encode()


# ---- plates


def atlas_tables() -> dict[str, list[Record]]:
    """Return the records of the coronal atlas: its data set and its annotated plates."""
    atlas = {
        "id": ATLAS_ID,
        "name": "SYNTHETIC coronal atlas of the demo brain",
        "structure_graph_id": 1,
        "reference_space_id": 9,
        "graphic_group_label_id": 28,
        "synthetic": True,
    }
    whole = {
        "id": PLATES_DATASET,
        "plane_of_section_id": 1,
        "reference_space_id": 9,
        "section_thickness": 25.0,
        "failed": False,
        "synthetic": True,
        "alignment3d": _alignment3d(),
    }
    plates = [
        {
            "id": plate_id,
            "data_set_id": PLATES_DATASET,
            "section_number": round(p / 25),
            "annotated": True,
            "failed": False,
            "x": 0,
            "y": 0,
            "width": PLATE_WIDTH,
            "height": PLATE_HEIGHT,
            "image_width": PLATE_WIDTH,
            "image_height": PLATE_HEIGHT,
            "resolution": PLATE_PIXEL,
            "tier_count": 4,
            "image_type": "Primary",
            "expression_path": None,
            "synthetic": True,
            "alignment2d": _alignment2d(plate_id),
            "atlas_data_set": {"id": PLATES_DATASET, "atlases": [{"id": ATLAS_ID}]},
            "alternate_images": [
                {"id": plate_id + 10, "sub_image_id": plate_id, "image_type": "Atlas - Adult Mouse"}
            ],
        }
        for plate_id, p in PLATES.items()
    ]
    return {
        "Atlas": [{**atlas, "atlas_data_sets": [{"id": PLATES_DATASET}]}],
        "AtlasDataSet": [{**whole, "atlases": [atlas]}],
        "AtlasImage": plates,
    }


def plate_image(plate_id: int, downsample: int, *, annotation: bool, quality: int) -> bytes | None:
    """Return a plate as a JPEG: the stained section, or the structures in their colours.

    `None` where there is no such plate or tier.
    """
    if plate_id not in PLATES or not 0 <= downsample < 4:
        return None
    pixels = render.render(
        _placement(plate_id).forward, PLATE_WIDTH, PLATE_HEIGHT, downsample, seed=plate_id
    )
    if annotation:
        labels = _labels(plate_id, downsample)
        for structure in anatomy.STRUCTURES:
            pixels[labels == structure.id] = list(bytes.fromhex(structure.color_hex))
    jpeg: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=quality, colorspace="RGB", colorsubsampling="444"
    )
    return jpeg


@lru_cache(maxsize=4)
def plate_svg(plate_id: int) -> bytes | None:
    """Return the SVG of a plate's structures, or `None` where there is no such plate."""
    from atldld.atlas.drawing import write_svg
    from atldld.support.files import scratch_folder

    if plate_id not in PLATES:
        return None
    graph = StructureGraph.from_answer(json.loads(structure_graph()))
    drawn = outlines(_labels(plate_id, 0), tier_to_image(0), graph, Selection(tolerance=0.5))
    with scratch_folder() as folder:
        path = folder / "plate.svg"
        write_svg(
            path,
            drawn,
            (PLATE_WIDTH, PLATE_HEIGHT),
            description="SYNTHETIC: the made-up brain of atldld's demo archive",
        )
        return path.read_bytes()


@lru_cache(maxsize=4)
def _labels(plate_id: int, downsample: int) -> NDArray[np.uint32]:
    """Return the structures at the centres of a plate's pixels, which is cheaper than a volume."""
    shape = PLATE_HEIGHT >> downsample, PLATE_WIDTH >> downsample
    rows, columns = np.indices(shape)
    xy = tier_to_image(downsample).apply(np.stack((columns, rows), axis=-1))
    return anatomy.structure_id(_placement(plate_id).to_reference(xy))


def _alignment3d() -> Record:
    """Return the way from volume (vx, vy, s) → (p, i, r) = (s, vy, vx), and back."""
    numbers = [0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0]
    return {f"{way}_{k:02d}": float(v) for way in ("tvr", "trv") for k, v in enumerate(numbers)}


def _alignment2d(plate_id: int) -> Record:
    """Return an alignment that puts the plate's centre in the middle of the box."""
    left, top = 5700 - PLATE_PIXEL * PLATE_WIDTH / 2, 4000 - PLATE_PIXEL * PLATE_HEIGHT / 2
    there = [PLATE_PIXEL, 0, 0, PLATE_PIXEL, left, top]
    back = [1 / PLATE_PIXEL, 0, 0, 1 / PLATE_PIXEL, -left / PLATE_PIXEL, -top / PLATE_PIXEL]
    return {
        "section_image_id": plate_id,
        **{f"tsv_{k:02d}": float(v) for k, v in enumerate(there)},
        **{f"tvs_{k:02d}": float(v) for k, v in enumerate(back)},
    }


def _placement(plate_id: int) -> Placement:
    tables = atlas_tables()
    (plate,) = (image for image in tables["AtlasImage"] if image["id"] == plate_id)
    return Placement.from_records(tables["AtlasDataSet"][0], plate)
