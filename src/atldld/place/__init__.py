"""Where a pixel of a section lies in the brain, and back: pure mathematics, no I/O."""

from atldld.place.placement import Placement, SectionGeometry
from atldld.place.sync import (
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
from atldld.place.transforms import Affine

__all__ = [
    "Affine",
    "ImagePoints",
    "Placement",
    "ReferencePoints",
    "SectionGeometry",
    "StructureCenter",
    "image_to_atlas",
    "image_to_image",
    "image_to_image_2d",
    "image_to_reference",
    "reference_to_image",
    "structure_to_image",
]
