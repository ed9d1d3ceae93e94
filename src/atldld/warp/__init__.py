"""Pixels from one frame to another: output planes, resampling, displacement fields."""

from atldld.warp.background import background_of
from atldld.warp.displacement import DisplacementField
from atldld.warp.planes import OutputPlane, choose_downsample
from atldld.warp.resample import resample

__all__ = [
    "DisplacementField",
    "OutputPlane",
    "background_of",
    "choose_downsample",
    "resample",
]
