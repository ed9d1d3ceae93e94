"""0.3 import path for the service's planes of section and reference spaces."""

from atldld.place.spaces import PlaneOfSection, ReferenceSpace

__all__ = ["PlaneOfSection", "ReferenceSpace"]
