"""NRRD: what 3D Slicer, ITK, ImageJ and the Allen Institute's own files use. Needs pynrrd.

``space`` is left-posterior-superior, ITK's own, in mm: the world coordinate of a voxel is
(−r, p, −i). As in the Allen Institute's volumes, the array's first axis is p, and is the fastest
in the file; `nrrd.read` returns shape (P, I, R), or (3, P, I, R) for RGB.

Source: the NRRD format definition (``space``, ``space directions``, ``kinds``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.formats.common import LIBRARIES, as_json, need

if TYPE_CHECKING:
    from atldld.formats.voxels import Voxels

__all__ = ["LPS_OF_PIR", "save", "write"]

# gzip's default of 9 takes several times as long for a few percent of the bytes.
_LEVEL = 3

LPS_OF_PIR = np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]])
"""(left, posterior, superior) of one step along p, i and r: a row each."""


def write(voxels: Voxels, path: Path) -> None:
    """Write a volume as NRRD; see `atldld.volume.Volume.save`."""
    step = voxels.resolution / 1000
    directions = LPS_OF_PIR * step
    kinds = ["domain"] * 3
    data = voxels.data
    if voxels.rgb:
        # A colour is no direction in space; NRRD wants its axis to be the fastest.
        data = np.moveaxis(data, -1, 0)
        directions = np.vstack((np.full(3, np.nan), directions))
        kinds = ["RGB-color", *kinds]
    header = {
        "space": "left-posterior-superior",
        "space directions": directions,
        # the centre of the first voxel
        "space origin": LPS_OF_PIR.sum(axis=0) * voxels.first_centre / 1000,
        "space units": ["mm"] * 3,
        "kinds": kinds,
        "content": voxels.title,
        "atldld": as_json(voxels.provenance, ascii_only=True),
    }
    save(path, data, header)


def save(path: Path, data: NDArray[Any], header: dict[str, Any]) -> None:
    """Write an array, first axis fastest.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    data : numpy.ndarray, shape (P, I, R) or (3, P, I, R)
        Values of voxels; for colours red, green and blue along the first axis.
    header : dict
        Fields of NRRD, besides those of the encoding.
    """
    nrrd = need(*LIBRARIES[".nrrd"])
    nrrd.write(
        str(path),
        data,
        {**header, "encoding": "gzip"},
        compression_level=_LEVEL,
        index_order="F",
    )
