"""NIfTI-1: what ITK-SNAP, 3D Slicer, FSLeyes, ANTs and siibra-explorer open. Needs nibabel.

The world of NIfTI is (right, anterior, superior) in mm. A voxel's array index runs along
(p, i, r), so its world coordinate is (r, −p, −i): its magnitude is the reference coordinate, and
``nibabel.aff2axcodes`` says P, I, R.

Source: the NIfTI-1.1 header, ``nifti1.h`` (qform, sform, xyzt_units, DT_RGB24).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.formats.common import LIBRARIES, as_json, need

if TYPE_CHECKING:
    from atldld.formats.voxels import Voxels

__all__ = ["RAS_OF_PIR", "affine_of", "image_of", "write"]

# "aligned": to another file's, or to an atlas's coordinates. 5, "template", would say the same, but
# is younger than some readers.
_ALIGNED = 2


RAS_OF_PIR = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""(right, anterior, superior) of (p, i, r), as a matrix."""


def affine_of(resolution: float, first: float | None = None) -> NDArray[np.float64]:
    """Return the matrix from voxel indices (p, i, r) to the NIfTI world in mm.

    Parameters
    ----------
    resolution : float
        Side of a voxel, in µm.
    first : float, optional
        Where the centre of the first voxel of each axis is, in µm; half a voxel by default.

    Returns
    -------
    numpy.ndarray, shape (4, 4), float64
        ``[right, anterior, superior, 1] = M @ [kp, ki, kr, 1]``.
    """
    step = resolution / 1000
    affine = np.zeros((4, 4))
    affine[0, 2], affine[1, 0], affine[2, 1] = step, -step, -step
    start = step / 2 if first is None else first / 1000  # index 0 is a voxel's centre
    affine[:3, 3] = start, -start, -start
    affine[3, 3] = 1
    return affine


def write(voxels: Voxels, path: Path) -> None:
    """Write a volume as NIfTI-1; see `atldld.volume.Volume.save`."""
    nibabel = need(*LIBRARIES[".nii"])
    nibabel.save(image_of(voxels), path)


def image_of(voxels: Voxels, affine: NDArray[np.float64] | None = None) -> Any:
    """Return a volume as a `nibabel.Nifti1Image`.

    Parameters
    ----------
    voxels : Voxels
        The volume.
    affine : numpy.ndarray, shape (4, 4), optional
        From indices to the NIfTI world in mm; that of `affine_of` by default.
    """
    nibabel = need(*LIBRARIES[".nii"])
    data = voxels.data
    if voxels.rgb:
        rgb24 = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
        data = np.ascontiguousarray(data).view(rgb24)[..., 0]
    if affine is None:
        affine = affine_of(voxels.resolution, voxels.first_centre)
    image = nibabel.Nifti1Image(data, affine)
    # of an oblique picture, whose axes are not at right angles, it is the nearest that it can hold
    image.set_qform(affine, _ALIGNED, strip_shears=True)
    image.set_sform(affine, _ALIGNED)
    header = image.header
    header.set_xyzt_units("mm")
    header.set_intent("none", name=voxels.name[:15])
    header["descrip"] = f"atldld: {voxels.title}".encode("ascii", "replace")[:79]
    if voxels.name in {"expression", "intensity"}:
        header["cal_max"] = 1  # so that viewers do not stretch the contrast
    header.extensions.append(
        nibabel.nifti1.Nifti1Extension("comment", as_json(voxels.provenance).encode())
    )
    return image
