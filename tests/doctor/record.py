"""Makes `src/atldld/doctor/data/known.json` anew: plain numbers of the genuine data and the demo.

    python tests/doctor/record.py

The genuine data are not part of the repository (`../shared/data`). The formulas of the
synchronisation calls are written down once more here, on purpose: the numbers must not depend on
the code that they are compared with.
"""

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import simplejpeg

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
TARGET = ROOT / "src" / "atldld" / "doctor" / "data" / "known.json"

DATASET, OTHER, IMAGE, SECOND = 69289763, 71717084, 69177654, 69177656
PIXEL = (6384, 2744)
TIER = 6
BLOCKS = (6, 8)
COLUMNS = (
    "id",
    "section_number",
    "width",
    "height",
    "x",
    "y",
    "tier_count",
    "resolution",
    "failed",
)
GRANULE = {"genuine": 632, "synthetic": 22}


def records(dataset_id):
    return json.loads((SHARED / "datasets" / f"{dataset_id}.json").read_text())


def matrix(record, name, size):
    numbers = [record[f"{name}_{k:02d}"] for k in range(size * (size + 1))]
    linear, shift = numbers[: size * size], numbers[size * size :]
    return np.column_stack((np.reshape(linear, (size, size)), shift))


def forward(found, image_id, xy):
    image = next(one for one in found["section_images"] if one["id"] == image_id)
    thickness = found["section_data_set"]["section_thickness"]
    v = matrix(image["alignment2d"], "tsv", 2) @ [*xy, 1]
    depth = image["section_number"] * thickness
    return matrix(found["section_data_set"]["alignment3d"], "tvr", 3) @ [*v, depth, 1]


def backward(found, pir):
    v = matrix(found["section_data_set"]["alignment3d"], "trv", 3) @ [*pir, 1]
    number = v[2] / found["section_data_set"]["section_thickness"]
    image = min(found["section_images"], key=lambda one: abs(one["section_number"] - number))
    x, y = matrix(image["alignment2d"], "tvs", 2) @ [v[0], v[1], 1]
    return {
        "section_data_set_id": found["section_data_set"]["id"],
        "section_image_id": image["id"],
        "section_number": image["section_number"],
        "x": float(x),
        "y": float(y),
    }


def point(pir):
    return dict(zip("xyz", map(float, pir), strict=True))


def synchronised():
    own, other = records(DATASET), records(OTHER)
    pir = forward(own, IMAGE, PIXEL)
    mirrored = [pir[0], pir[1], 11400 - pir[2]]
    first = next(one for one in own["section_images"] if one["id"] == IMAGE)
    second = next(one for one in own["section_images"] if one["id"] == SECOND)
    v = matrix(first["alignment2d"], "tsv", 2) @ [*PIXEL, 1]
    x, y = matrix(second["alignment2d"], "tvs", 2) @ [*v, 1]
    flat = {
        "section_data_set_id": DATASET,
        "section_image_id": SECOND,
        "section_number": second["section_number"],
        "x": float(x),
        "y": float(y),
    }
    asked = [round(float(value)) for value in pir]
    return {
        "image": IMAGE,
        "pixel": list(PIXEL),
        "point": asked,
        "image_to_reference": point(pir),
        "reference_to_image": backward(own, asked),
        "image_to_image": backward(other, mirrored),
        "image_to_image_2d": flat,
    }


def blocks(pixels):
    """Mean brightness of 6 × 8 blocks: what a picture shows, whichever way it is compressed."""
    grey = pixels.astype(float).mean(axis=2)
    rows = np.array_split(grey, BLOCKS[0])
    return [[round(float(b.mean())) for b in np.array_split(r, BLOCKS[1], axis=1)] for r in rows]


def genuine_picture():
    path = SHARED / "images" / f"{IMAGE}_downsample2.jpg"
    pixels = simplejpeg.decode_jpeg(path.read_bytes())
    side = 1 << (TIER - 2)
    height, width = (n // side for n in pixels.shape[:2])
    cut = pixels[: height * side, : width * side].reshape(height, side, width, side, 3)
    return blocks(cut.mean(axis=(1, 3)))


def grid_facts(raw):
    values = np.frombuffer(raw, "<f4")
    shown = values[values >= 0].astype(float)
    return {
        "empty_voxels": int((values == -1).sum()),
        "sum": {"$near": round(float(shown.sum()), 2), "$within": round(shown.sum() * 1e-3, 2)},
        "largest": {"$near": round(float(shown.max()), 3), "$within": 0.05},
    }


def demo():
    from werkzeug.test import Client

    from atldld.demo.archive import DemoArchive
    from atldld.serve.app import Application

    client = Client(Application(DemoArchive()))

    def get(path):
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.data[:300])
        return answer.data

    def sync(path):
        return json.loads(get(path))["msg"]

    image = f"/api/v2/section_image_download/{IMAGE}?downsample={TIER}"
    packed = get(f"/grid_data/download/{DATASET}?include=energy")
    raw = zipfile.ZipFile(io.BytesIO(packed)).read("energy.raw")
    graph = json.loads(get("/api/v2/structure_graph_download/1.json"))["msg"][0]
    x, y = PIXEL
    atlas = sync(f"/api/v2/image_to_atlas/{IMAGE}.json?x={x}&y={y}&atlas_id=1")
    centre = sync(f"/api/v2/structure_to_image/{DATASET}.json?structure_ids=22")
    ccf = "/informatics-archive/current-release/mouse_ccf/average_template"
    head = get(f"{ccf}/average_template_100.nrrd")[:2000].split(b"\n\n")[0].decode()
    return {
        "picture": blocks(simplejpeg.decode_jpeg(get(image))),
        "mask": blocks(simplejpeg.decode_jpeg(get(f"{image}&view=expression"))),
        "grid": grid_facts(raw),
        "graph": {"structures": count(graph), "root": graph["id"], "content": None},
        "structure": {"id": 22, "acronym": "DG"},
        "image_to_atlas": atlas["image_sync"],
        "structure_to_image": centre[0]["image_sync"],
        "totals": {"data_sets": {"$from": 1, "$to": 1000}, "plates": {"$from": 3, "$to": 3}},
        "plate_paths": {"$from": 3, "$to": 10_000},
        "template": header(head) | {"bytes": None},
        "annotation": None,
        "gene": {"acronym": "Prox1", "entrez_id": 19130, "organism_id": 2},
        "recorded_points": [],
    }


def header(text):
    lines = [line.partition(": ") for line in text.splitlines()]
    return {
        name: value
        for name, _, value in lines
        if name in ("type", "dimension", "sizes", "encoding", "endian")
    }


def count(node):
    return 1 + sum(map(count, node["children"]))


def genuine():
    from atldld.fetch.known import _GRAPH_CONTENT

    graph = json.loads((SHARED / "atlas" / "structure_graph_1.json").read_text())["msg"][0]
    recorded = json.loads((SHARED / "sync" / "recorded_points.json").read_text())
    volumes = {}
    for name, file in (
        ("annotation", "annotation_25.nrrd"),
        ("template", "average_template_100.nrrd"),
    ):
        content = (SHARED / "atlas" / file).read_bytes()
        volumes[name] = header(content[:900].split(b"\n\n")[0].decode()) | {"bytes": len(content)}
    return {
        "picture": genuine_picture(),
        "mask": None,
        "grid": grid_facts((SHARED / "grids" / f"{DATASET}_energy.raw").read_bytes()),
        "graph": {"structures": count(graph), "root": graph["id"], "content": _GRAPH_CONTENT},
        "structure": {"id": 632, "acronym": "DG-sg"},
        "image_to_atlas": None,
        "structure_to_image": {
            "section_data_set_id": DATASET,
            "section_image_id": IMAGE,
            "section_number": 70,
            "x": {"$near": PIXEL[0], "$within": 1},
            "y": {"$near": PIXEL[1], "$within": 1},
        },
        "totals": {
            "data_sets": {"$from": 20_000, "$to": 500_000},
            "plates": {"$from": 132, "$to": 132},
        },
        "plate_paths": {"$from": 50, "$to": 10_000},
        **volumes,
        "gene": {"acronym": "Prox1", "entrez_id": 19130, "organism_id": 2},
        "recorded_points": [
            {
                "image": one["section_image_id"],
                "pixel": [one["x"], one["y"]],
                "image_to_reference": {"x": one["p"], "y": one["i"], "z": one["r"]},
            }
            for one in recorded["image_to_reference"][:4:2]
        ],
    }


def bucket():
    path = SHARED / "datasets" / "s3_100055044.json"
    record = json.loads(path.read_text())
    images = sorted(record["section_images"], key=lambda one: one["id"])
    return {
        "dataset": record["id"],
        "images": len(images),
        "image": {
            key: images[0][key]
            for key in ("id", "section_number", "resolution", "image_file_name", "downsampling")
        },
    }


def recorded():
    found = records(DATASET)
    dataset = found["section_data_set"]
    images = sorted(found["section_images"], key=lambda one: one["id"])
    align = [f"{n}_{k:02d}" for n in ("tsv", "tvs") for k in range(6)]
    return {
        "dataset": {
            "id": DATASET,
            "failed": dataset["failed"],
            "plane_of_section_id": dataset["plane_of_section_id"],
            "reference_space_id": dataset["reference_space_id"],
            "section_thickness": dataset["section_thickness"],
            "specimen_id": dataset["specimen_id"],
            "alignment3d": {
                f"{n}_{k:02d}": dataset["alignment3d"][f"{n}_{k:02d}"]
                for n in ("tvr", "trv")
                for k in range(12)
            },
        },
        "specimen": {"id": dataset["specimen"]["id"], "name": dataset["specimen"]["name"]},
        "images": {
            "columns": list(COLUMNS),
            "rows": [[one[name] for name in COLUMNS] for one in images],
            "alignment2d": {
                "columns": align,
                "rows": [[one["alignment2d"][name] for name in align] for one in images],
            },
        },
        "grid_header": {
            "NDims": "3",
            "BinaryDataByteOrderMSB": "False",
            "TransformMatrix": "1 0 0 0 1 0 0 0 1",
            "Offset": "0 0 0",
            "AnatomicalOrientation": "RAI",
            "ElementSpacing": "200 200 200",
            "DimSize": "67 41 58",
            "ElementType": "MET_FLOAT",
        },
        "other_dataset": OTHER,
        "tier": TIER,
        "sync": synchronised(),
        "bucket": bucket(),
        "genuine": genuine(),
        "synthetic": demo(),
    }


def text():
    """One line for each entry, so that a change can be seen."""
    lines = []
    for key, value in recorded().items():
        if key in ("genuine", "synthetic"):
            inner = ",\n".join(f'  "{k}": {json.dumps(v)}' for k, v in value.items())
            lines.append(f' "{key}": {{\n{inner}\n }}')
        else:
            lines.append(f' "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    TARGET.write_text(text(), encoding="utf-8")
    print(TARGET, hashlib.sha256(TARGET.read_bytes()).hexdigest()[:12])
