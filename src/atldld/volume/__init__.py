"""Sections laid into one grid of voxels."""

from atldld.volume.bands import VolumeInBands
from atldld.volume.build import VolumeRecipe, build_volume, prepare_volume
from atldld.volume.model import Channel, Fill, Volume

__all__ = [
    "Channel",
    "Fill",
    "Volume",
    "VolumeInBands",
    "VolumeRecipe",
    "build_volume",
    "prepare_volume",
]
