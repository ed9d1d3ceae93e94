"""Volumes as files, with where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.formats.voxels import Voxels, beside, check_volume, write_voxels
from atldld.place.spaces import AXES
from atldld.support.provenance import FRAME, version

if TYPE_CHECKING:
    from atldld.volume.build import Volume

__all__ = ["write_volume"]


def write_volume(
    volume: Volume, path: str | Path, *, coverage: bool = False, force: bool = False
) -> list[Path]:
    """Write a volume; the file's ending says the format.

    ======================  ==========================================================
    ending                  what it is
    ======================  ==========================================================
    ``.nii``, ``.nii.gz``   NIfTI-1, mm, axis codes P, I, R (needs nibabel)
    ``.nrrd``               NRRD, mm, LPS (needs pynrrd)
    ``.ome.zarr, .zarr``    OME-Zarr 0.5, multiscale, µm, axes z, y, x = p, i, r (zarr)
    ``.tif``, ``.ome.tif``  OME-TIFF, µm, one page for each p
    ``.npy``                NumPy, with a ``.npy.json`` beside it
    ======================  ==========================================================

    Every format carries the voxel's centre: voxel k of an axis is at (k + ½) · resolution. What
    is to be replaced stays until all that is new is complete.

    Parameters
    ----------
    volume : Volume
        The volume; shape (P, I, R) float32 or uint8, or (P, I, R, 3) uint8.
    path : str or pathlib.Path
        The file, or for OME-Zarr the folder; its parent is made if need be.
    coverage : bool
        Write the coverage too, to the name that `beside` gives.
    force : bool
        Replace files that are there.

    Returns
    -------
    list of pathlib.Path
        What was written.

    Raises
    ------
    InvalidInputError
        If the name has none of these endings, or the volume's arrays are of another shape or type.
    AtldldError
        If the library for the format is not installed.
    OutputError
        If a file cannot be written, or is there already and `force` is not given.
    """
    path = Path(path)
    check_volume(path, coverage=coverage, force=force)
    volumes = {path: _voxels(volume, volume.data, volume.channel)}
    if coverage:
        weights = np.asarray(volume.coverage, dtype=np.float32)
        volumes[beside(path)] = _voxels(volume, weights, "coverage")
    return write_voxels(volumes, force=force)


def _voxels(volume: Volume, data: NDArray[Any], name: str) -> Voxels:
    provenance = {
        "atldld_version": version(),
        "shows": name,
        "channel": volume.channel,
        "dataset_ids": list(volume.dataset_ids),
        "fill": volume.fill,
        "resolution_um": float(volume.resolution),
        "axes": list(AXES),
        "voxel_centre": "(k + 1/2) * resolution_um along each axis",
        "frame": FRAME,
        "metadata": volume.metadata,
    }
    return Voxels(data, float(volume.resolution), name, provenance)
