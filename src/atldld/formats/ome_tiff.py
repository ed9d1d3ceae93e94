"""OME-TIFF: what Fiji, QuPath and Bio-Formats open. tifffile writes it.

A volume is a stack of coronal planes: z is p, y is i, x is r, and sizes and positions are in µm. A
section is one picture, or two with its expression mask.

Source: the OME-TIFF specification and the OME model (Pixels, Plane).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atldld.formats.common import as_json, ending_of
from atldld.support.files import whole_file
from atldld.support.provenance import version
from atldld.support.text import shown

if TYPE_CHECKING:
    from atldld.formats.volume import Voxels
    from atldld.sections.register import RegisteredSection

__all__ = ["write", "write_section"]

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
    """Write a volume as OME-TIFF; see `atldld.formats.write_volume`."""
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


def write_section(registered: RegisteredSection, path: str | Path, *, force: bool = False) -> Path:
    """Write a registered section as OME-TIFF, with its expression mask as a second picture.

    Parameters
    ----------
    registered : RegisteredSection
        The section on its reference grid. Rows and columns run along the reference axes that
        ``registered.plane.grid.axis_names`` tells; pixel (0, 0)'s centre is half a pixel from the
        box's edges.
    path : str or pathlib.Path
        Ends in ``.ome.tif``, ``.ome.tiff``, ``.tif`` or ``.tiff``.
    force : bool
        Replace a file that is there.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InvalidInputError
        Another ending.
    OutputError
        The file cannot be written, or is there already.
    """
    import tifffile

    path = Path(path)
    ending = ending_of(path, (".ome.tif", ".ome.tiff", ".tif", ".tiff"), "sections")
    plane, section = registered.plane, registered.section
    step = plane.grid.resolution
    about = {
        "atldld_version": version(),
        "image_id": section.id,
        "dataset_id": section.image.data_set_id,
        "section_number": section.number,
        "plane_kind": plane.kind,
        "axis_of_rows": plane.grid.axis_names[0],
        "axis_of_columns": plane.grid.axis_names[1],
        "third_coordinate": plane.describe_depth(),
        "image_from_output": plane.to_image.tolist(),
        "pixel_centre": "(k + 1/2) * resolution_um along each axis",
        "resolution_um": step,
    }
    # An oblique picture has no single depth: the one of its middle is told as the plane's.
    pictures = {"image": registered.image}
    if registered.mask is not None:
        pictures["expression"] = registered.mask
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
                    "Name": f"{section.id} {name}",
                    "Description": as_json(about),
                    **_sizes(step),
                    "Plane": _planes(step / 2, [plane.central_depth]),
                },
                **_tags(step),
            )
    return path
