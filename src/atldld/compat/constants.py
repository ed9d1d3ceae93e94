"""0.3 import path for the reference space's size and the layout of the stored matrices."""

from __future__ import annotations

from atldld.place.spaces import BOX

__all__ = ["AFFINE_TEMPLATES", "REF_DIM_1UM", "REF_DIM_25UM"]

REF_DIM_1UM = BOX
"""Size of the reference space along (p, i, r), in voxels of 1 µm."""

REF_DIM_25UM = tuple(side // 25 for side in BOX)
"""The same in voxels of 25 µm."""

AFFINE_TEMPLATES = {
    **{
        name: [
            [f"{name}_{k:02d}" for k in (3 * row, 3 * row + 1, 3 * row + 2, 9 + row)]
            for row in range(3)
        ]
        for name in ("trv", "tvr")
    },
    **{
        name: [[f"{name}_{k:02d}" for k in (2 * row, 2 * row + 1, 4 + row)] for row in range(2)]
        for name in ("tsv", "tvs")
    },
}
"""Which column of an alignment record stands where in its matrix."""
