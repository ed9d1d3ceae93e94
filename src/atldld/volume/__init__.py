"""Sections laid into one grid of voxels."""

from atldld.volume.build import Volume, VolumeRecipe, build_volume
from atldld.volume.files import write_volume

__all__ = ["Volume", "VolumeRecipe", "build_volume", "write_volume"]
