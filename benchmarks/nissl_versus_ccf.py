"""How far Allen's alignment of the P56 Nissl reference specimen is from CCFv3.

Run it from the project's root, with the genuine data in ``../shared/data``::

    python benchmarks/nissl_versus_ccf.py

Nissl data set 100048576 is the specimen on which the P56 reference space was built. Its stored
matrices place each pixel in that space; for 255 of its sections people placed a plane in CCFv3 2017
by hand-corrected DeepSlice. Both are evaluated at the same pixels, an even grid of one point every
80 µm over each image, and compared where the plane in CCFv3 lies in tissue (annotation not 0).

The planes are QuickNII's: o, u, v in voxels of 25 µm, whose axes run right, anterior from the
posterior end, and superior from the inferior one, so p = 25 · (528 − y), i = 25 · (320 − z),
r = 25 · x. They belong to images at 10 µm a pixel; the sections' own pixel is 1.047 µm.
"""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path

import numpy as np

from atldld.place import Affine

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SECTION_PIXEL = 1.047  # µm
STEP = 8  # pixels of the planes' images
VOXEL = 25  # µm
SHAPE = (528, 320, 456)


def read_annotation(path: Path) -> np.ndarray:
    """Return the annotation, indexed [p, i, r]."""
    header, _, body = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line)
    sizes = tuple(int(size) for size in fields["sizes"].split())
    assert sizes == SHAPE, sizes
    # the first axis runs fastest in NRRD
    return np.frombuffer(zlib.decompress(body, 31), "<u4").reshape(sizes, order="F")


def differences(folder: Path) -> np.ndarray:
    """Return Allen's (p, i, r) minus those in CCFv3, in µm, at points in tissue; shape (N, 3)."""
    nissl = json.loads((folder / "nissl" / "100048576.json").read_text())
    annotation = read_annotation(folder / "atlas" / "annotation_25.nrrd")
    thickness, pixel = nissl["section_thickness_um"], nissl["human_pixel_um"]
    to_reference = Affine(nissl["tvr"], "volume", "reference")
    found = []
    for section in nissl["sections"]:
        width, height = section["human_width_px"], section["human_height_px"]
        columns, rows = np.meshgrid(np.arange(0.5, width, STEP), np.arange(0.5, height, STEP))
        points = np.column_stack((columns.ravel(), rows.ravel()))
        depth = [0, 0, section["section_number"] * thickness]
        allen = (
            Affine(np.diag([pixel / SECTION_PIXEL] * 2 + [1])[:2], "plane pixel", "image")
            .then(Affine(np.array([*section["tsv"], depth]), "image", "volume"))
            .then(to_reference)
            .apply(points)
        )
        o, u, v = np.reshape(section["human_anchoring"], (3, 3))
        x, y, z = (o + points[:, :1] / width * u + points[:, 1:] / height * v).T
        people = VOXEL * np.column_stack((SHAPE[0] - y, SHAPE[1] - z, x))
        voxels = np.floor(people / VOXEL).astype(int)
        inside = np.asarray(((voxels >= 0) & (voxels < SHAPE)).all(axis=1))
        inside[inside] = annotation[tuple(voxels[inside].T)] > 0
        found.append((allen - people)[inside])
    return np.concatenate(found)


def summary(folder: Path) -> dict[str, dict[str, int]]:
    """Return for each axis the median and 95th percentile of the difference, in whole µm."""
    apart = differences(folder)
    return {
        axis: {
            "median": round(float(np.median(np.abs(apart[:, k])))),
            "p95": round(float(np.percentile(np.abs(apart[:, k]), 95))),
            "shift": round(float(np.median(apart[:, k]))),
        }
        for k, axis in enumerate("pir")
    } | {"points": {"count": len(apart)}}


def main() -> None:
    parser = argparse.ArgumentParser(description="Allen's Nissl alignment against CCFv3.")
    parser.add_argument("folder", type=Path, nargs="?", default=SHARED)
    found = summary(parser.parse_args().folder)
    print(f"{found.pop('points')['count']} points in tissue, 255 sections; Allen minus CCFv3, µm")
    print("axis   |difference| median   95th percentile   signed median")
    for axis, numbers in found.items():
        print(f"{axis:<6}{numbers['median']:>22}{numbers['p95']:>18}{numbers['shift']:>+16}")


if __name__ == "__main__":
    main()
