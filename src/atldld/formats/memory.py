"""Volumes and pictures as objects of other libraries, with their places in the brain.

``xarray``: coordinates are the centres of voxels, in µm of the reference space (p, i, r).
``SimpleITK``: mm in ITK's (left, posterior, superior); a voxel's world is (−r, p, −i), as in the
NRRD files. ``nibabel``: mm in (right, anterior, superior); a voxel's world is (r, −p, −i), as in
the NIfTI files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.formats.common import LIBRARIES, as_json, need
from atldld.formats.nifti import image_of
from atldld.formats.nrrd import LPS_OF_PIR
from atldld.formats.voxels import Voxels
from atldld.place.spaces import AXES, AXIS_ENDS

if TYPE_CHECKING:
    import nibabel
    import SimpleITK
    import xarray

    from atldld.place.planes import OutputPlane

__all__ = [
    "pictures_to_xarray",
    "voxels_to_nibabel",
    "voxels_to_sitk",
    "voxels_to_xarray",
]

COLOURS = ["red", "green", "blue"]


def voxels_to_xarray(voxels: Voxels, **beside: NDArray[Any]) -> xarray.DataArray:
    """Return a volume as a `xarray.DataArray` with coordinates in µm.

    Parameters
    ----------
    voxels : Voxels
        The volume.
    **beside : numpy.ndarray, shape (P, I, R)
        Other values of the same voxels, which become coordinates that are no index.

    Returns
    -------
    xarray.DataArray
        Over ``p``, ``i`` and ``r``, and ``channel`` for colours. It shares the volume's memory.

    Raises
    ------
    AtldldError
        If xarray is not installed.
    """
    library = need("xarray", "xarray", "Labelled arrays")
    coords: dict[str, Any] = {
        name: _axis(
            axis,
            name,
            voxels.first_centre + np.arange(voxels.data.shape[axis]) * float(voxels.resolution),
        )
        for axis, name in enumerate(AXES)
    }
    dims: list[str] = [*AXES]
    coords |= {name: (list(AXES), values) for name, values in beside.items()}
    if voxels.rgb:
        dims.append("channel")
        coords["channel"] = COLOURS
    made: xarray.DataArray = library.DataArray(
        voxels.data,
        coords=coords,
        dims=dims,
        name=voxels.name,
        attrs=_attributes(voxels.provenance),
    )
    return made


def pictures_to_xarray(
    pictures: Mapping[str, NDArray[np.uint8]], plane: OutputPlane, about: Mapping[str, Any]
) -> xarray.Dataset:
    """Return pictures of one grid as a `xarray.Dataset` with coordinates in µm.

    Parameters
    ----------
    pictures : mapping of str to numpy.ndarray, shape (rows, columns, 3), uint8
        By name.
    plane : OutputPlane
        Where their pixels lie. The third reference coordinate is one for each pixel.
    about : mapping
        What the pictures are of.

    Raises
    ------
    AtldldError
        If xarray is not installed.
    """
    library = need("xarray", "xarray", "Labelled arrays")
    grid = plane.grid
    rows, columns = grid.shape
    row, column = grid.axis_names
    centres = [(np.arange(count) + 0.5) * grid.resolution for count in (rows, columns)]
    depth = plane.depth_at(np.arange(rows)[:, None], np.arange(columns))
    across = AXES[grid.depth_axis]
    coords = {
        row: _axis(grid.row_axis, row, centres[0]),
        column: _axis(grid.column_axis, column, centres[1]),
        across: ([row, column], np.broadcast_to(depth, (rows, columns)), _units(grid.depth_axis)),
        "channel": COLOURS,
    }
    made: xarray.Dataset = library.Dataset(
        {name: ([row, column, "channel"], values) for name, values in pictures.items()},
        coords=coords,
        attrs=_attributes(about),
    )
    return made


def voxels_to_sitk(voxels: Voxels) -> SimpleITK.Image:
    """Return a volume as a `SimpleITK.Image`, in mm of (left, posterior, superior).

    Raises
    ------
    AtldldError
        If SimpleITK is not installed.
    """
    library = need("SimpleITK", "sitk", "Images of ITK")
    made: Any = library.GetImageFromArray(np.ascontiguousarray(voxels.data), isVector=voxels.rgb)
    # ITK's first index is the array's last: (r, i, p)
    made.SetDirection(LPS_OF_PIR[::-1].T.ravel().tolist())
    made.SetSpacing([voxels.resolution / 1000] * 3)
    made.SetOrigin((LPS_OF_PIR.sum(axis=0) * voxels.first_centre / 1000).tolist())
    made.SetMetaData("atldld", as_json(voxels.provenance))
    image: SimpleITK.Image = made
    return image


def voxels_to_nibabel(voxels: Voxels) -> nibabel.Nifti1Image:
    """Return a volume as a `nibabel.Nifti1Image`: what a NIfTI file of it holds.

    Raises
    ------
    AtldldError
        If nibabel is not installed.
    """
    need(*LIBRARIES[".nii"])
    made: nibabel.Nifti1Image = image_of(voxels)
    return made


def _axis(axis: int, name: str, values: NDArray[Any]) -> tuple[str, Any, dict[str, str]]:
    return name, values, _units(axis)


def _units(axis: int) -> dict[str, str]:
    start, end = AXIS_ENDS[axis]
    return {"units": "µm", "long_name": f"{end} coordinate", "direction": f"{start} to {end}"}


def _attributes(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file of such an array can hold, too: numbers, texts, lists of them."""
    kept: dict[str, Any] = {}
    for name, value in about.items():
        if isinstance(value, bool):
            kept[name] = str(value).lower()
        elif isinstance(value, (int, float, str)):
            kept[name] = value
        elif isinstance(value, (list, tuple)) and all(
            isinstance(v, (int, float, str)) for v in value
        ):
            kept[name] = list(value)
        elif value is not None:
            kept[name] = as_json(value if isinstance(value, Mapping) else {name: value})
    return kept
