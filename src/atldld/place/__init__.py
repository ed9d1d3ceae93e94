"""Where a pixel of a section lies in the brain, and back: pure mathematics, no I/O."""

from atldld.place.placement import Placement, SectionGeometry
from atldld.place.sync import ImagePoints, reference_to_image

__all__ = ["ImagePoints", "Placement", "SectionGeometry", "reference_to_image"]
