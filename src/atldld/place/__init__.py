"""Where a pixel of a section lies in the brain, and back: pure mathematics, no I/O."""

from atldld.place.affine import Affine
from atldld.place.placement import Placement, SectionGeometry
from atldld.place.planes import OutputPlane
from atldld.place.points import (
    ImagePoints,
    ReferencePoints,
    StructureCenter,
    image_to_atlas,
    image_to_image,
    image_to_image_2d,
    image_to_reference,
    reference_to_image,
    structure_to_image,
)
from atldld.place.spaces import Grid, Plane, ReferenceSpace
from atldld.place.tiers import choose_downsample

__all__ = [
    "Affine",
    "Grid",
    "ImagePoints",
    "OutputPlane",
    "Placement",
    "Plane",
    "ReferencePoints",
    "ReferenceSpace",
    "SectionGeometry",
    "StructureCenter",
    "choose_downsample",
    "image_to_atlas",
    "image_to_image",
    "image_to_image_2d",
    "image_to_reference",
    "reference_to_image",
    "structure_to_image",
]
