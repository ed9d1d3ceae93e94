"""Pixels from one frame to another: resampling, displacement fields."""

from atldld.warp.background import background_of
from atldld.warp.displacement import DisplacementField
from atldld.warp.resample import resample

__all__ = [
    "DisplacementField",
    "background_of",
    "resample",
]
