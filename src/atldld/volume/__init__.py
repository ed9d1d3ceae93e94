"""Sections laid into one grid of voxels."""

from atldld.volume.build import VolumeRecipe, build_volume
from atldld.volume.model import Volume

__all__ = ["Volume", "VolumeRecipe", "build_volume"]
