"""Sections laid into one grid of voxels."""

from atldld.volume.build import VolumeRecipe, build_volume
from atldld.volume.model import Channel, Fill, Volume

__all__ = ["Channel", "Fill", "Volume", "VolumeRecipe", "build_volume"]
