"""OME-Zarr: what napari, neuroglancer, vizarr, BigDataViewer and WebKnossos open. Needs zarr 3.

Axes are z, y, x in µm, which are the reference's p, i, r: in a viewer that pages through z one sees
coronal planes, dorsal up, the animal's left on the left. The index 0 of a level of pixel size s is
at s / 2, which each level's ``translation`` says; levels are averages of 2 × 2 × 2.

Source: the OME-NGFF specification 0.5 (``multiscales``, ``omero``), RFC-4 (``orientation``), and
0.6, which holds RFC-5 (``displacements``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.formats.common import LIBRARIES, need
from atldld.formats.voxels import CHUNK, check_format
from atldld.support.files import whole_files

if TYPE_CHECKING:
    from atldld.formats.displacements import PhysicalField
    from atldld.formats.voxels import Layout, Voxels

__all__ = ["BandWriter", "halve", "in_bands", "write", "write_displacements"]

# Levels are made until the longest side is no larger than this: one screenful.
_SMALLEST = 128

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
    data = voxels.data
    writer = BandWriter(voxels.layout, path, 0)
    for k in range(0, len(data), writer.thickness):
        writer.add(data[k : k + writer.thickness])
    writer.finish()


@contextmanager
def in_bands(
    volumes: Mapping[Path, Layout], axis: int, *, force: bool = False
) -> Iterator[list[BandWriter]]:
    """Yield what writes volumes that belong together band by band; all are written or none.

    Parameters
    ----------
    volumes : mapping of pathlib.Path to Layout
        What is written, by its OME-Zarr store.
    axis : {0, 1, 2}
        The axis along which bands follow one another.
    force : bool
        Replace stores that are there, once all that is new is complete.

    Yields
    ------
    list of BandWriter
        One for each volume. Each must have got all of its voxels in the end.

    Raises
    ------
    AtldldError
        If zarr is not installed.
    OutputError
        If a store cannot be written, or exists and `force` is false.
    """
    ending = check_format(next(iter(volumes)))
    with whole_files(list(volumes), ending, force=force, store=True) as temporaries:
        writers = [
            BandWriter(layout, path, axis)
            for layout, path in zip(volumes.values(), temporaries, strict=True)
        ]
        yield writers
        for writer in writers:
            writer.finish()


class BandWriter:
    """A volume that is written as OME-Zarr 0.5 while its voxels come, band by band.

    Levels are made as it goes: each holds one layer of its chunks at most. So the store is the same
    whatever the bands are.

    Parameters
    ----------
    layout : Layout
        What is written.
    path : pathlib.Path
        The folder.
    axis : {0, 1, 2}
        The axis along which bands follow one another.
    """

    def __init__(self, layout: Layout, path: Path, axis: int) -> None:
        zarr = need(*LIBRARIES[".zarr"])
        self._layout = layout
        self._group = zarr.open_group(str(path), mode="w", zarr_format=3)
        self._levels: list[_Level] = []
        self._datasets: list[dict[str, Any]] = []
        self._largest = 0.0
        shape, size = layout.shape, layout.resolution
        while True:
            # the first voxel of a level is the average of the first ones before it
            first = layout.first_centre + (size - layout.resolution) / 2
            level = _Level(self._group, str(len(self._levels)), shape, layout.dtype, axis)
            self._datasets.append(level.describe(size, first))
            if self._levels:
                self._levels[-1].next = level
            self._levels.append(level)
            if max(shape[:3]) <= _SMALLEST:
                break
            shape, size = (*(-(-side // 2) for side in shape[:3]), *shape[3:]), size * 2

    @property
    def thickness(self) -> int:
        """Of a band that needs not be held to be written: that of a chunk."""
        return self._levels[0].thickness

    def add(self, band: NDArray[Any]) -> None:
        """Write the next band.

        Parameters
        ----------
        band : numpy.ndarray, shape (P, I, R) or (P, I, R, 3)
            As many planes as one likes of the axis that bands follow one another along, all of the
            other axes. It is not kept.
        """
        if _is_measured(self._layout):
            self._largest = max(self._largest, float(np.nanmax(band, initial=0)))
        self._levels[0].add(band)

    def finish(self) -> None:
        """Write what the store says of itself, which makes it a volume.

        Raises
        ------
        ValueError
            If planes are missing.
        """
        if not all(level.is_whole for level in self._levels):
            raise ValueError("the volume's bands do not fill it")
        layout = self._layout
        self._group.attrs.update(
            {
                "ome": {
                    "version": "0.5",
                    "multiscales": [
                        {
                            "name": layout.title,
                            "axes": _axes(layout),
                            "datasets": self._datasets,
                            "type": "mean",
                            "metadata": {"description": "averages of 2 x 2 x 2 voxels"},
                        }
                    ],
                    "omero": {"channels": _channels(layout, self._largest)},
                },
                "atldld": _plain(layout.provenance),
            }
        )


class _Level:
    """One array of a volume, written by whole layers of chunks, and halved into the next one."""

    def __init__(
        self, group: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int
    ) -> None:
        self._name, self._shape, self._dtype, self._axis = name, shape, dtype, axis
        self._colours = len(shape) == 4
        chunk = CHUNK.get(dtype.itemsize, 64)
        chunks = tuple(min(chunk, side) for side in shape[:3])
        self.thickness = chunks[axis]
        self.next: _Level | None = None
        self._array = group.create_array(
            name,
            shape=(3, *shape[:3]) if self._colours else shape,
            # one colour to a chunk: viewers ask for them one by one
            chunks=(1, *chunks) if self._colours else chunks,
            dtype=dtype,
            dimension_names=["c", "z", "y", "x"] if self._colours else ["z", "y", "x"],
        )
        self._written = 0  # planes
        self._held: NDArray[Any] | None = None  # a layer of chunks that is not full
        self._filled = 0  # planes of it

    @property
    def is_whole(self) -> bool:
        """Whether all planes are written."""
        return self._written == self._shape[self._axis]

    def describe(self, size: float, first: float) -> dict[str, Any]:
        """Return what ``multiscales`` says of it."""
        extra = [1.0] if self._colours else []
        shift = [0.0] if self._colours else []
        return {
            "path": self._name,
            "coordinateTransformations": [
                {"type": "scale", "scale": [*extra, *[float(size)] * 3]},
                {"type": "translation", "translation": [*shift, *[float(first)] * 3]},
            ],
        }

    def add(self, band: NDArray[Any]) -> None:
        """Take the next planes, and write those that make a whole layer of chunks."""
        start, planes = 0, band.shape[self._axis]
        while start < planes:
            left = self._shape[self._axis] - self._written
            layer = min(self.thickness, left)
            taken = min(layer - self._filled, planes - start)
            if not taken:
                raise ValueError("the volume's bands are more than fill it")
            part = band[self._planes(start, start + taken)]
            start += taken
            if taken == layer:  # as it is
                self._write(part)
                continue
            held = self._layer() if self._held is None else self._held
            held[self._planes(self._filled, self._filled + taken)] = part
            self._held, self._filled = held, self._filled + taken
            if self._filled == layer:
                self._held, self._filled = None, 0
                self._write(held[self._planes(0, layer)])

    def _write(self, layer: NDArray[Any]) -> None:
        start = self._written
        self._written += layer.shape[self._axis]
        planes = self._planes(start, self._written)
        if self._colours:
            self._array[(slice(None), *planes)] = np.moveaxis(layer, -1, 0)
        else:
            self._array[planes] = layer
        if self.next is not None:
            # chunks that others follow have even sides, so pairs of planes are never parted
            self.next.add(halve(layer))

    def _layer(self) -> NDArray[Any]:
        """Return an empty layer of chunks; planes lie one after the other in memory."""
        sides = list(self._shape)
        del sides[self._axis]
        made: NDArray[Any] = np.empty((self.thickness, *sides), dtype=self._dtype)
        return np.moveaxis(made, 0, self._axis)

    def _planes(self, start: int, stop: int) -> tuple[slice, ...]:
        return (slice(None),) * self._axis + (slice(start, stop),)


def _axes(layout: Layout) -> list[dict[str, Any]]:
    space = [
        {
            "name": name,
            "type": "space",
            "unit": "micrometer",
            "orientation": {"type": "anatomical", "value": orientation},
        }
        for name, orientation in zip("zyx", _ORIENTATIONS, strict=True)
    ]
    return [{"name": "c", "type": "channel"}, *space] if layout.rgb else space


def _is_measured(layout: Layout) -> bool:
    """Whether the voxels themselves say up to what they should be shown."""
    return layout.name == "coverage" or layout.first is not None


def _channels(layout: Layout, largest: float) -> list[dict[str, Any]]:
    """Say how a viewer should show the channels, so that RGB looks as it was stained."""
    top = 255.0 if layout.dtype == np.uint8 else 1.0
    if _is_measured(layout):
        top = max(largest, 1.0)
    window = {"start": 0.0, "min": 0.0, "end": top, "max": top}
    colours = {"red": "FF0000", "green": "00FF00", "blue": "0000FF"}
    if not layout.rgb:
        colours = {layout.name: "FFFFFF"}
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
