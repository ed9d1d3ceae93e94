"""The 66 genuine Nissl plates as a data set, and where people have laid them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from atldld.place.placement import Placement
from atldld.records import Alignment2d, Alignment3d, SectionDataSet, SectionImage
from atldld.testing.cut import Pictures
from judged import SHARED

__all__ = ["PLATES", "known", "people", "pictures", "record", "to_section"]

PLATES = SHARED / "nissl" / "plates"
SECTION_PIXEL = 1.047  # µm
HUMAN_PIXEL = 10.0  # µm of the image that people have anchored
VOXEL = 25.0

Matrix = NDArray[np.float64]


@cache
def known() -> Mapping[str, Any]:
    """Return what ``index.json`` says of the plates."""
    return dict(json.loads((PLATES / "index.json").read_text()))


def to_section(plate: Mapping[str, Any]) -> Matrix:
    """Return the map from a picture's pixels to those of the section, shape (2, 3)."""
    (step_x, _, x), (_, step_y, y) = plate["image_to_section"]
    # from pixels' corners to their centres
    return np.array(
        [[step_x, 0, x + step_x / 2 - 0.5], [0, step_y, y + step_y / 2 - 0.5]], dtype=np.float64
    )


def record() -> SectionDataSet:
    """Return the plates as the service would tell of them, their pictures being all there is."""
    index = known()
    tvr = np.array(index["tvr"])
    trv = np.linalg.inv(np.vstack((tvr, (0, 0, 0, 1))))[:3]
    return SectionDataSet(
        id=index["section_data_set_id"],
        plane_of_section_id=1,
        reference_space_id=9,
        section_thickness=index["section_thickness_um"],
        alignment3d=Alignment3d.of(tvr, trv),
        images=tuple(_image(plate, index["section_data_set_id"]) for plate in index["sections"]),
    )


def _image(plate: Mapping[str, Any], dataset_id: int) -> SectionImage:
    whole = np.vstack((to_section(plate), (0, 0, 1)))
    tsv = np.array(plate["tsv"]) @ whole
    tvs = np.linalg.inv(np.vstack((tsv, (0, 0, 1))))[:2]
    width, height = plate["image_px"]
    return SectionImage(
        id=plate["section_image_id"],
        data_set_id=dataset_id,
        section_number=plate["section_number"],
        width=width,
        height=height,
        tier_count=4,
        resolution=float(whole[0, 0]) * SECTION_PIXEL,
        alignment2d=Alignment2d.of(tsv, tvs),
    )


def pictures() -> Pictures:
    """Return a source of the plates' pictures, dark on bright again as they were taken."""
    jpegs = {}
    for plate in known()["sections"]:
        grey = np.asarray(cv2.imread(str(PLATES / plate["image"]), cv2.IMREAD_GRAYSCALE))
        bright = cv2.cvtColor(255 - grey, cv2.COLOR_GRAY2RGB)
        jpegs[plate["section_image_id"]] = simplejpeg.encode_jpeg(bright, 95, "RGB", "444")
    return Pictures(jpegs, 0)


def people() -> dict[int, Placement]:
    """Return where people have laid the plates by hand, with QuickNII's planes."""
    index = known()
    step = np.array(index["tvr"])[:, 2] * index["section_thickness_um"]
    out = {}
    for plate in index["sections"]:
        o, u, v = np.reshape(plate["human_anchoring"], (3, 3))
        width, height = plate["human_px"]
        scale = HUMAN_PIXEL / SECTION_PIXEL
        by_x, by_y = u / width / scale, v / height / scale
        voxels = np.column_stack((by_x, by_y, o + (by_x + by_y) / 2))
        forward = VOXEL * np.vstack((-voxels[1], -voxels[2], voxels[0]))
        forward[:, 2] += VOXEL * np.array([528, 320, 0])
        forward = forward @ np.vstack((to_section(plate), (0, 0, 1)))
        placed = Placement.from_plane(forward, step, plate["section_number"])
        assert placed is not None, "people lay coronal sections about coronally"
        out[plate["section_image_id"]] = placed
    return out
