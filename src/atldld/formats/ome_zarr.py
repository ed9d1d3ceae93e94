"""OME-Zarr: what napari, neuroglancer, vizarr, BigDataViewer and WebKnossos open. Needs zarr 3.

Axes are z, y, x in µm, which are the reference's p, i, r: in a viewer that pages through z one sees
coronal planes, dorsal up, the animal's left on the left. The index 0 of a level of pixel size s is
at s / 2, which each level's ``translation`` says; levels are averages of 2 × 2 × 2.

Source: the OME-NGFF specification 0.5 (``multiscales``, ``omero``), RFC-4 (``orientation``), and
0.6, which holds RFC-5 (``displacements``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.formats.common import LIBRARIES, need

if TYPE_CHECKING:
    from atldld.formats.displacements import PhysicalField
    from atldld.formats.voxels import Voxels

__all__ = ["halve", "write", "write_displacements"]

# Levels are made until the longest side is no larger than this: one screenful.
_SMALLEST = 128

# Sides of a chunk: 2 MiB of uint8, 1 MiB of float32.
_CHUNK = {1: 128, 4: 64}

_ORIENTATIONS = ("anterior-to-posterior", "superior-to-inferior", "left-to-right")


def halve(data: NDArray[Any]) -> NDArray[Any]:
    """Average 2 × 2 × 2 voxels; where a side is odd, what is left over at its end by itself.

    Parameters
    ----------
    data : numpy.ndarray, shape (P, I, R) or (P, I, R, 3)
        uint8 or float32.

    Returns
    -------
    numpy.ndarray
        Each of the first three sides is half as long, rounded up; of the same type, uint8 being
        rounded to the nearest.
    """
    shape = tuple(-(-side // 2) for side in data.shape[:3]) + data.shape[3:]
    out = np.empty(shape, dtype=data.dtype)
    for k in range(shape[0]):  # a slab at a time: no float copy of the whole volume
        slab = data[2 * k : 2 * k + 2].astype(np.float32).mean(axis=0)
        for axis in (0, 1):
            slab = _halve_axis(slab, axis)
        out[k] = np.rint(slab) if data.dtype == np.uint8 else slab
    return out


def _halve_axis(data: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    first = data[(slice(None),) * axis + (slice(0, None, 2),)].copy()
    second = data[(slice(None),) * axis + (slice(1, None, 2),)]
    pairs = first[(slice(None),) * axis + (slice(0, second.shape[axis]),)]
    pairs += second
    pairs /= 2
    return first


def write(voxels: Voxels, path: Path) -> None:
    """Write a volume as OME-Zarr 0.5; see `atldld.volume.Volume.save`."""
    zarr = need(*LIBRARIES[".zarr"])
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    data, size = voxels.data, voxels.resolution
    datasets: list[dict[str, Any]] = []
    while True:
        # the first voxel of a level is the average of the first ones before it
        first = voxels.first_centre + (size - voxels.resolution) / 2
        datasets.append(_write_level(group, str(len(datasets)), data, size, first))
        if max(data.shape[:3]) <= _SMALLEST:
            break
        data, size = halve(data), size * 2
    group.attrs.update(
        {
            "ome": {
                "version": "0.5",
                "multiscales": [
                    {
                        "name": voxels.title,
                        "axes": _axes(voxels),
                        "datasets": datasets,
                        "type": "mean",
                        "metadata": {"description": "averages of 2 x 2 x 2 voxels"},
                    }
                ],
                "omero": {"channels": _channels(voxels)},
            },
            "atldld": _plain(voxels.provenance),
        }
    )


def _write_level(
    group: Any, name: str, data: NDArray[Any], size: float, first: float
) -> dict[str, Any]:
    colours = data.ndim == 4
    chunk = _CHUNK.get(data.dtype.itemsize, 64)
    shape = (3, *data.shape[:3]) if colours else data.shape
    chunks = tuple(min(chunk, side) for side in data.shape[:3])
    array = group.create_array(
        name,
        shape=shape,
        # one colour to a chunk: viewers ask for them one by one
        chunks=(1, *chunks) if colours else chunks,
        dtype=data.dtype,
        dimension_names=["c", "z", "y", "x"] if colours else ["z", "y", "x"],
    )
    for k in range(0, data.shape[0], chunks[0]):
        part = data[k : k + chunks[0]]
        if colours:
            array[:, k : k + chunks[0]] = np.moveaxis(part, -1, 0)
        else:
            array[k : k + chunks[0]] = part
    extra = [1.0] if colours else []
    shift = [0.0] if colours else []
    return {
        "path": name,
        "coordinateTransformations": [
            {"type": "scale", "scale": [*extra, *[float(size)] * 3]},
            {"type": "translation", "translation": [*shift, *[float(first)] * 3]},
        ],
    }


def _axes(voxels: Voxels) -> list[dict[str, Any]]:
    space = [
        {
            "name": name,
            "type": "space",
            "unit": "micrometer",
            "orientation": {"type": "anatomical", "value": orientation},
        }
        for name, orientation in zip("zyx", _ORIENTATIONS, strict=True)
    ]
    return [{"name": "c", "type": "channel"}, *space] if voxels.rgb else space


def _channels(voxels: Voxels) -> list[dict[str, Any]]:
    """Say how a viewer should show the channels, so that RGB looks as it was stained."""
    top = 255.0 if voxels.data.dtype == np.uint8 else 1.0
    if voxels.name == "coverage" or voxels.first is not None:
        top = float(max(np.nanmax(voxels.data, initial=0), 1))
    window = {"start": 0.0, "min": 0.0, "end": top, "max": top}
    colours = {"red": "FF0000", "green": "00FF00", "blue": "0000FF"}
    if not voxels.rgb:
        colours = {voxels.name: "FFFFFF"}
    return [
        {"label": label, "color": colour, "active": True, "window": window}
        for label, colour in colours.items()
    ]


def write_displacements(field: PhysicalField, path: Path) -> None:
    """Write a displacement field as OME-Zarr 0.6, which holds RFC-5's ``displacements``.

    The store is the field and says itself what it is: its one array has the axes c, y, x, where c
    holds the components (y, x) in µm, and the transformation goes from the system ``reference``
    (the output plane: row and column coordinate) to the system ``section`` (the image).

    Parameters
    ----------
    field : PhysicalField
        The field.
    path : pathlib.Path
        The folder.
    """
    zarr = need(*LIBRARIES[".zarr"])
    step = field.spacing * 1000
    spatial = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    component = {"name": "c", "type": "displacement", "discrete": True}
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    rows, columns = field.vectors.shape[:2]
    array = group.create_array(
        "0",
        shape=(2, rows, columns),
        chunks=(2, min(rows, 256), min(columns, 256)),
        dtype=np.float64,
        dimension_names=["c", "y", "x"],
    )
    # components in the order of the axes, and µm, as everything in this store
    array[...] = np.moveaxis(field.vectors[..., ::-1], -1, 0) * 1000
    group.attrs.update(
        {
            "ome": {
                "version": "0.6",
                "multiscales": [
                    {
                        "name": "displacements",
                        "coordinateSystems": [
                            # the array's own is the first, where readers look for it
                            {"name": "field", "axes": [component, *spatial]},
                            {"name": "reference", "axes": spatial},
                            {"name": "section", "axes": spatial},
                        ],
                        "datasets": [
                            {
                                "path": "0",
                                "coordinateTransformations": [
                                    {
                                        "type": "sequence",
                                        "name": "grid",
                                        "input": {"path": "0"},
                                        "output": {"name": "field"},
                                        "transformations": [
                                            {"type": "scale", "scale": [1.0, step, step]},
                                            {
                                                "type": "translation",
                                                "translation": [0.0, step / 2, step / 2],
                                            },
                                        ],
                                    }
                                ],
                            }
                        ],
                        "coordinateTransformations": [
                            {
                                "type": "displacements",
                                "name": "reference to section",
                                "path": "0",
                                "interpolation": "linear",
                                "input": {"name": "reference"},
                                "output": {"name": "section"},
                            }
                        ],
                    }
                ],
            },
            "atldld": _plain(field.provenance),
        }
    )


def _plain(document: dict[str, Any]) -> Any:
    """Return a document whose values JSON knows."""
    import json

    from atldld.formats.common import as_json

    return json.loads(as_json(document))
