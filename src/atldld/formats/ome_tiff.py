"""OME-TIFF: what Fiji, QuPath and Bio-Formats open. tifffile writes it.

A volume is a stack of coronal planes: z is p, y is i, x is r, and sizes and positions are in µm. A
section is one picture, or two with its expression mask.

Source: the OME-TIFF specification and the OME model (Pixels, Plane).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.formats.common import as_json, ending_of
from atldld.support.files import whole_file
from atldld.support.text import shown

if TYPE_CHECKING:
    from atldld.formats.voxels import Voxels

__all__ = ["write", "write_pictures"]

_COMPRESSION = "adobe_deflate"
_UNIT = "µm"


def _sizes(step: float) -> dict[str, Any]:
    return {
        "PhysicalSizeX": step,
        "PhysicalSizeXUnit": _UNIT,
        "PhysicalSizeY": step,
        "PhysicalSizeYUnit": _UNIT,
    }


def _planes(first: float, depths: list[float]) -> dict[str, Any]:
    """Say where the first pixel's centre of each plane lies."""
    count = len(depths)
    return {
        "PositionX": [first] * count,
        "PositionXUnit": [_UNIT] * count,
        "PositionY": [first] * count,
        "PositionYUnit": [_UNIT] * count,
        "PositionZ": depths,
        "PositionZUnit": [_UNIT] * count,
    }


def _tags(step: float) -> dict[str, Any]:
    """Return TIFF's own resolution, for readers that know nothing of OME."""
    return {"resolution": (1e4 / step,) * 2, "resolutionunit": "CENTIMETER"}


def write(voxels: Voxels, path: Path) -> None:
    """Write a volume as OME-TIFF; see `atldld.volume.Volume.save`."""
    import tifffile

    step = voxels.resolution
    metadata = {
        "axes": "ZYXS" if voxels.rgb else "ZYX",
        "Name": shown(voxels.title),
        "Description": as_json(voxels.provenance),
        **_sizes(step),
        "PhysicalSizeZ": step,
        "PhysicalSizeZUnit": _UNIT,
        "Plane": _planes(
            voxels.first_centre,
            [voxels.first_centre + k * step for k in range(voxels.data.shape[0])],
        ),
    }
    tifffile.imwrite(
        path,
        voxels.data,
        ome=True,
        photometric="rgb" if voxels.rgb else "minisblack",
        compression=_COMPRESSION,
        metadata=metadata,
        bigtiff=voxels.data.nbytes > 2**31,
        **_tags(step),
    )


def write_pictures(
    pictures: Mapping[str, NDArray[np.uint8]],
    path: Path,
    *,
    resolution: float,
    depth: float,
    about: Mapping[str, Any],
    force: bool = False,
) -> None:
    """Write pictures of one plane as OME-TIFF.

    Parameters
    ----------
    pictures : mapping of str to numpy.ndarray, shape (rows, columns, 3), uint8
        RGB, by their names.
    path : pathlib.Path
        The file.
    resolution : float
        Side of a pixel, in µm; the first one's centre is at half of it.
    depth : float
        The third coordinate of the plane's middle, in µm.
    about : mapping
        What the description says; can be written as JSON.
    force : bool
        Replace a file that is there.

    Raises
    ------
    InvalidInputError
        If the name does not end in ``.ome.tif``, ``.ome.tiff``, ``.tif`` or ``.tiff``.
    OutputError
        If the file cannot be written, or exists and `force` is false.
    """
    import tifffile

    ending = ending_of(path, (".ome.tif", ".ome.tiff", ".tif", ".tiff"), "sections")
    with (
        whole_file(path, ending, force=force) as temporary,
        tifffile.TiffWriter(temporary, ome=True) as writer,
    ):
        for name, pixels in pictures.items():
            writer.write(
                np.ascontiguousarray(pixels),
                photometric="rgb",
                compression=_COMPRESSION,
                metadata={
                    "axes": "YXS",
                    "Name": name,
                    "Description": as_json(about),
                    **_sizes(resolution),
                    "Plane": _planes(resolution / 2, [depth]),
                },
                **_tags(resolution),
            )
