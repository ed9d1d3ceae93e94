"""Where a pixel of a section lies in the brain, and back: pure mathematics, no I/O."""

from atldld.place.placement import Placement, SectionGeometry

__all__ = ["Placement", "SectionGeometry"]
