"""What the service would have summed up of the demo brain: grids of 200 µm and structure unionizes.

Both are integrals of `anatomy.expression` itself, over points 100 µm apart that the data set's
sections stand for. They are not taken from the rendered masks, so they check what is.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atldld.demo import anatomy
from atldld.place import Placement
from atldld.records import SectionDataSet

__all__ = ["grid_zip", "structure_unionizes"]


SHAPE = (67, 41, 58)  # voxels along p, i, r
STEP = 200  # µm; voxel k is centred at k · STEP, as in the service's grids
POINTS = 2  # along each side of a voxel

# Above this, rendered masks show a colour; see `render.mask_part`.
EXPRESSED = 0.11

_HEADER = """ObjectType = Image
NDims = 3
Comment = SYNTHETIC, of atldld's demo brain
BinaryData = True
BinaryDataByteOrderMSB = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
ElementSpacing = 200 200 200
DimSize = {0} {1} {2}
ElementType = MET_FLOAT
ElementDataFile = {kind}.raw
"""


def grid_zip(dataset: SectionDataSet, kinds: Sequence[str]) -> bytes:
    """Return the answer of ``grid_data/download``: a ZIP of MetaImages."""
    grids = _grids(dataset)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        # the same bytes whenever they are asked for
        def add(name: str, content: bytes | str) -> None:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)

        add(
            "data_set.xml",
            f"<section-data-set><id>{dataset.id}</id><synthetic>true</synthetic>"
            "</section-data-set>\n",
        )
        for kind in kinds:
            add(f"{kind}.mhd", _HEADER.format(*SHAPE, kind=kind))
            # p is the fastest in the file
            add(f"{kind}.raw", grids[kind].astype("<f4").tobytes(order="F"))
    return packed.getvalue()


def structure_unionizes(dataset: SectionDataSet) -> list[dict[str, Any]]:
    """Return a record for each structure of which the data set's sections hold anything."""
    ids, gene = _lattice()
    sampled = _stood_for(dataset)
    ids, gene = ids[sampled], gene[sampled]
    expressing = gene > EXPRESSED
    parents = {node.id: node.parent_id for node in anatomy.STRUCTURES}
    records = []
    for place, structure in enumerate(anatomy.STRUCTURES):
        own = [
            structure_id for structure_id in parents if structure.id in _path(structure_id, parents)
        ]
        within = np.isin(ids, own)
        count, shown = int(within.sum()), within & expressing
        if not count:
            continue
        intensity = 255 * gene.astype(float)
        energy = np.where(expressing, intensity, 0)[within]
        records.append(
            {
                "id": dataset.id * 1000 + place,
                "section_data_set_id": dataset.id,
                "structure_id": structure.id,
                "sum_pixels": count,
                "sum_expressing_pixels": int(shown.sum()),
                "sum_pixel_intensity": float(intensity[within].sum()),
                "sum_expressing_pixel_intensity": float(intensity[shown].sum()),
                "expression_density": float(shown.sum() / count),
                "expression_energy": float(energy.mean()),
                "voxel_energy_mean": float(energy.mean()),
                "voxel_energy_cv": float(energy.std() / energy.mean()) if energy.any() else None,
                "synthetic": True,
            }
        )
    return records


def _path(structure_id: int | None, parents: Mapping[int, int | None]) -> set[int]:
    found = set()
    while structure_id is not None:
        found.add(structure_id)
        structure_id = parents[structure_id]
    return found


def _grids(dataset: SectionDataSet) -> dict[str, NDArray[np.float32]]:
    """Return the grids by kind, shape (P, I, R), −1 where there are no data."""
    _, gene = _lattice()
    sampled = _stood_for(dataset)
    expressing = sampled & (gene > EXPRESSED)
    points = _in_voxels(sampled)
    shown = _in_voxels(expressing)
    total = _in_voxels(np.where(expressing, 255 * gene, 0))
    with np.errstate(invalid="ignore"):
        density = np.where(points > 0, shown / points, -1)
        energy = np.where(points > 0, total / points, -1)
        intensity = np.where(points > 0, np.where(shown > 0, total / shown, 0), -1)
    return {
        name: array.astype(np.float32)
        for name, array in (("density", density), ("energy", energy), ("intensity", intensity))
    }


def _in_voxels(values: NDArray[Any]) -> NDArray[np.float64]:
    """Add up the points of each voxel."""
    p, i, r = SHAPE
    apart = values.reshape(p, POINTS, i, POINTS, r, POINTS)
    return np.asarray(apart.sum(axis=(1, 3, 5), dtype=float))


def _axes() -> list[NDArray[np.float64]]:
    """Return the points' coordinates along p, i and r, in µm."""
    within = ((np.arange(POINTS) + 0.5) / POINTS - 0.5) * STEP
    return [(np.arange(side)[:, None] * STEP + within).ravel() for side in SHAPE]


@cache
def _points() -> NDArray[np.float32]:
    """Return the points, shape (P, I, R, 3), in µm."""
    return np.stack(np.meshgrid(*_axes(), indexing="ij"), axis=-1).astype(np.float32)


@cache
def _lattice() -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Return the structures and the expression at the points."""
    return anatomy.structure_id(_points()), anatomy.expression(_points())


@cache
def _stood_for(dataset: SectionDataSet) -> NDArray[np.bool_]:
    """Return which points lie in a section's image, moved onto the nearest section.

    A section stands for half of the usual way to the next one on either side.
    """
    images = sorted(dataset.images, key=lambda image: image.section_number)
    placements = [Placement.of(dataset, image) for image in images]
    numbers = np.array([image.section_number for image in images], dtype=float)
    usual = float(np.median(np.diff(np.unique(numbers))))
    points = _points().reshape(-1, 3).astype(float)
    depth = placements[0].section_numbers(points)
    nearest = np.searchsorted((numbers[1:] + numbers[:-1]) / 2, depth)
    close = np.abs(depth - numbers[nearest]) <= usual / 2
    out = np.zeros(len(points), dtype=bool)
    for k, (image, placement) in enumerate(zip(images, placements, strict=True)):
        here = np.flatnonzero(close & (nearest == k))
        x, y = placement.to_image(points[here]).T
        out[here] = (x >= -0.5) & (x < image.width - 0.5) & (y >= -0.5) & (y < image.height - 0.5)
    return out.reshape(_points().shape[:3])
