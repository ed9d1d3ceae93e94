"""Volumes that are written while they are built, so that memory holds one part of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.formats.ome_zarr import in_bands
from atldld.formats.voxels import Layout, beside, check_volume
from atldld.volume.model import Channel, Fill, provenance_of
from atldld.volume.slabs import Band

if TYPE_CHECKING:
    from atldld.formats.ome_zarr import BandWriter

__all__ = ["VolumeInBands"]


@dataclass(frozen=True, eq=False)
class VolumeInBands:
    """A volume whose voxels are built while they are written, a band of them at a time.

    Attributes
    ----------
    build : callable
        Given a band, returns its data, shape (P, I, R) float32 or (P, I, R, 3) uint8 of its own
        voxels, and their coverage, shape (P, I, R) float32, 0 to 1.
    bands : sequence of Band
        All of them, along one axis.
    progress : callable
        Called with how many bands are written.
    shape : tuple of 3 int
        Number of voxels along p, i, r, the axes of the reference space.
    resolution, channel, dataset_ids, fill, metadata :
        As of `Volume`.
    """

    build: Callable[[Band], tuple[NDArray[Any], NDArray[np.float32]]]
    bands: Sequence[Band]
    progress: Callable[[int], None]
    shape: tuple[int, int, int]
    resolution: float
    channel: Channel
    dataset_ids: tuple[int, ...]
    fill: Fill
    metadata: dict[str, Any]

    def save(self, path: str | Path, *, coverage: bool = False, force: bool = False) -> list[Path]:
        """Build the volume and write it to an OME-Zarr store, whole or not at all.

        Parameters
        ----------
        path, coverage, force :
            See `Volume.save`.

        Returns
        -------
        list of pathlib.Path
            What was written.

        Raises
        ------
        AtldldError
            If the library for the format is not installed, or a section cannot be read again.
        OutputError
            If a store cannot be written, or exists and `force` is false.
        """
        path = Path(path)
        check_volume(path, coverage=coverage, force=force)
        number = np.dtype(np.float32)
        layouts = {path: self._layout(self.channel, number)}
        if self.channel == "image":
            layouts = {path: self._layout(self.channel, np.dtype(np.uint8), 3)}
        if coverage:
            layouts[beside(path)] = self._layout("coverage", number)
        with in_bands(layouts, self.bands[0].axis, force=force) as writers:
            for done, band in enumerate(self.bands, 1):
                self._write(band, writers)
                self.progress(done)
        return list(layouts)

    def _write(self, band: Band, writers: Sequence[BandWriter]) -> None:
        # a function of its own, so that nothing holds this band when the next one is built
        for writer, voxels in zip(writers, self.build(band), strict=False):
            writer.add(voxels)

    def _layout(self, name: str, dtype: np.dtype[Any], *channels: int) -> Layout:
        shape = (*self.shape, *channels)
        about = provenance_of(
            name, self.resolution, self.channel, self.dataset_ids, self.fill, self.metadata
        )
        return Layout(shape, dtype, float(self.resolution), name, about)
