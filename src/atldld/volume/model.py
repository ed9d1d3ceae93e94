"""What a volume is, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from atldld.formats.voxels import Voxels, beside, check_volume, write_voxels
from atldld.place.spaces import AXES
from atldld.support.html import card, picture, synthetic_note
from atldld.support.provenance import FRAME, version

if TYPE_CHECKING:
    import nibabel
    import SimpleITK
    import xarray

__all__ = ["Channel", "Fill", "Volume", "provenance_of"]

Channel = Literal["image", "expression", "intensity"]
"""What a volume can show; see `atldld.build_volume`."""

Fill = Literal["none", "nearest", "linear"]
"""How gaps between sections can be filled; see `atldld.volume.slabs`."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Sections in a grid of isotropic voxels.

    Attributes
    ----------
    data : numpy.ndarray, shape (P, I, R, 3) uint8 or (P, I, R) float32
        RGB for the channel ``"image"``, one number from 0 to 1 for the others; 0 where nothing is
        known. The axes are the reference axes: posterior, inferior, right. It may lie in memory
        in another order than C's.
    coverage : numpy.ndarray, shape (P, I, R), float32
        Weight of the samples that each voxel got: the fraction of it that lies within sections,
        summed over all sections. 0 where there are none, also where filling has put something.
    resolution : float
        Side R of a voxel, in µm. Voxel k spans [k·R, (k+1)·R), its centre is at (k + ½)·R.
    channel : {"image", "expression", "intensity"}
        What the numbers are; see `build_volume`.
    dataset_ids : tuple of int
        The section data sets that it was made from.
    fill : {"none", "nearest", "linear"}
        How gaps between sections were filled.
    metadata : dict
        Where it comes from: version, data sets and their sections, thickness, what is left out,
        citations, whether pixels are synthetic. Plain values that JSON can hold.
    """

    data: NDArray[Any]
    coverage: NDArray[np.float32]
    resolution: float
    channel: Channel
    dataset_ids: tuple[int, ...]
    fill: Fill
    metadata: dict[str, Any]

    def save(self, path: str | Path, *, coverage: bool = False, force: bool = False) -> list[Path]:
        """Write the volume to a file, whole or not at all; the name's ending decides the format.

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
        is being replaced stays until all that is new is complete.

        Parameters
        ----------
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
            If the name has none of these endings, or the arrays have another shape or type.
        AtldldError
            If the library for the format is not installed.
        OutputError
            If a file cannot be written, or exists and `force` is false.
        """
        path = Path(path)
        check_volume(path, coverage=coverage, force=force)
        volumes = {path: self._voxels(self.data, self.channel)}
        if coverage:
            weights = np.asarray(self.coverage, dtype=np.float32)
            volumes[beside(path)] = self._voxels(weights, "coverage")
        return write_voxels(volumes, force=force)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along p, i, r."""
        p, i, r = self.coverage.shape
        return p, i, r

    def to_xarray(self) -> xarray.DataArray:
        """Return a `xarray.DataArray` over ``p``, ``i``, ``r`` (and ``channel``), in µm.

        Coordinates are the centres of the voxels, in µm of the reference space, with ``units``. The
        coverage goes along as a coordinate: ``array.where(array.coverage > 0)``. It shares the
        volume's memory.

        Raises
        ------
        AtldldError
            If xarray is not installed.
        """
        from atldld.formats.memory import voxels_to_xarray

        return voxels_to_xarray(self._voxels(self.data, self.channel), coverage=self.coverage)

    def to_sitk(self) -> SimpleITK.Image:
        """Return a `SimpleITK.Image` in mm of (left, posterior, superior), as NRRD files have it.

        Raises
        ------
        AtldldError
            If SimpleITK is not installed.
        """
        from atldld.formats.memory import voxels_to_sitk

        return voxels_to_sitk(self._voxels(self.data, self.channel))

    def to_nibabel(self) -> nibabel.Nifti1Image:
        """Return a `nibabel.Nifti1Image` with axis codes P, I, R, as NIfTI files have it.

        Raises
        ------
        AtldldError
            If nibabel is not installed.
        """
        from atldld.formats.memory import voxels_to_nibabel

        return voxels_to_nibabel(self._voxels(self.data, self.channel))

    def _voxels(self, data: NDArray[Any], name: str) -> Voxels:
        about = provenance_of(
            name, self.resolution, self.channel, self.dataset_ids, self.fill, self.metadata
        )
        return Voxels(data, float(self.resolution), name, about)

    def _repr_html_(self) -> str:
        from atldld.formats.pictures import as_thumbnail

        sizes = " × ".join(str(side) for side in self.coverage.shape)
        known = float(np.count_nonzero(self.coverage) / max(self.coverage.size, 1))
        views = [
            picture(as_thumbnail(pixels, 240), f"{self.channel}, {name}", height=140)
            for name, pixels in _views(self.data).items()
        ]
        return card(
            f"Volume of {self.channel}",
            {
                "voxels": f"{sizes} (p × i × r) of {self.resolution:g} µm",
                "data sets": ", ".join(map(str, self.dataset_ids)),
                "filled between sections": self.fill,
                "voxels with samples": f"{known:.0%}",
                "values": f"{self.data.dtype}"
                + ("" if self.data.ndim == 4 else f", up to {float(self.data.max()):.3g}"),
                "memory": f"{(self.data.nbytes + self.coverage.nbytes) / 1e6:.0f} MB",
            },
            pictures=views,
            note=synthetic_note(bool(self.metadata.get("synthetic"))),
            hint=".save('volume.nii.gz')   .to_xarray()   .to_nibabel()   .to_sitk()",
        )

    def __repr__(self) -> str:
        sizes = " × ".join(str(side) for side in self.coverage.shape)
        return f"<Volume of {self.channel}, {sizes} voxels of {self.resolution:g} µm>"


def provenance_of(
    name: str,
    resolution: float,
    channel: Channel,
    dataset_ids: tuple[int, ...],
    fill: Fill,
    metadata: dict[str, Any],
) -> dict[str, Any]:
    """Return what every format says of where a volume or its coverage comes from.

    Parameters
    ----------
    name : str
        What the file shows: the channel, or ``"coverage"``.
    resolution, channel, dataset_ids, fill, metadata :
        As of `Volume`.
    """
    return {
        "atldld_version": version(),
        "shows": name,
        "channel": channel,
        "dataset_ids": list(dataset_ids),
        "fill": fill,
        "resolution_um": float(resolution),
        "axes": list(AXES),
        "voxel_centre": "(k + 1/2) * resolution_um along each axis",
        "frame": FRAME,
        "coordinates": metadata.get("coordinates"),
        "metadata": metadata,
    }


def _views(data: NDArray[Any]) -> dict[str, NDArray[np.uint8]]:
    """Return a volume from three sides: colours in the middle, numbers by their maximum."""
    views = {"from the front": 0, "from above": 1, "from the side": 2}
    made = {}
    for name, axis in views.items():
        if data.ndim == 4:
            seen = _fullest(data, axis)
        else:
            flat = data.max(axis=axis)
            top = float(flat.max()) or 1.0
            seen = np.repeat((flat / top * 255).astype(np.uint8)[..., None], 3, axis=2)
        # dorsal up: i runs down wherever it is seen, and p down from above
        made[name] = np.ascontiguousarray(seen if axis != 2 else np.swapaxes(seen, 0, 1))
    return made


def _fullest(data: NDArray[Any], axis: int) -> NDArray[np.uint8]:
    """Return the plane of some around the middle that holds most: sections have gaps."""
    middle, reach = data.shape[axis] // 2, max(1, data.shape[axis] // 8)
    planes = range(max(0, middle - reach), min(data.shape[axis], middle + reach + 1))
    by_plane: NDArray[np.uint8] = np.moveaxis(data, axis, 0)
    found = max(planes, key=lambda k: int(np.count_nonzero(by_plane[k, ::4, ::4])))
    plane: NDArray[np.uint8] = np.ascontiguousarray(by_plane[found])
    return plane
