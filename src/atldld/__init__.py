"""Allen Brain Atlas section data sets in the brain's reference coordinates.

Examples
--------
>>> import atldld
>>> ds = atldld.open_dataset(69289763)  # doctest: +SKIP
>>> for section in ds.register(resolution=25):  # doctest: +SKIP
...     section.image, section.plane
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atldld.errors import AtldldError
    from atldld.fetch import Cache, Limits, Session
    from atldld.place import (
        Affine,
        ImagePoints,
        Placement,
        ReferencePoints,
        SectionGeometry,
        StructureCenter,
        image_to_atlas,
        image_to_image,
        image_to_image_2d,
        image_to_reference,
        reference_to_image,
        structure_to_image,
    )
    from atldld.records import SectionDataSet, SectionImage
    from atldld.register import RegisteredSection
    from atldld.sections import DataSet, Section, open_dataset
    from atldld.settings import Settings
    from atldld.spaces import Grid, Plane, ReferenceSpace
    from atldld.volumes import Volume, build_volume
    from atldld.warp import DisplacementField, OutputPlane

__version__ = version("atldld")

__all__ = [
    "Affine",
    "AtldldError",
    "Cache",
    "DataSet",
    "DisplacementField",
    "Grid",
    "ImagePoints",
    "Limits",
    "OutputPlane",
    "Placement",
    "Plane",
    "ReferencePoints",
    "ReferenceSpace",
    "RegisteredSection",
    "Section",
    "SectionDataSet",
    "SectionGeometry",
    "SectionImage",
    "Session",
    "Settings",
    "StructureCenter",
    "Volume",
    "__version__",
    "build_volume",
    "image_to_atlas",
    "image_to_image",
    "image_to_image_2d",
    "image_to_reference",
    "open_dataset",
    "reference_to_image",
    "structure_to_image",
]

# Imported when first used, so that importing the package takes no time.
_HOMES = {
    "Affine": "place",
    "AtldldError": "errors",
    "Cache": "fetch",
    "DataSet": "sections",
    "DisplacementField": "warp",
    "Grid": "spaces",
    "ImagePoints": "place",
    "Limits": "fetch",
    "OutputPlane": "warp",
    "Placement": "place",
    "Plane": "spaces",
    "ReferencePoints": "place",
    "ReferenceSpace": "spaces",
    "RegisteredSection": "register",
    "Section": "sections",
    "SectionDataSet": "records",
    "SectionGeometry": "place",
    "SectionImage": "records",
    "Session": "fetch",
    "Settings": "settings",
    "StructureCenter": "place",
    "Volume": "volumes",
    "build_volume": "volumes",
    "image_to_atlas": "place",
    "image_to_image": "place",
    "image_to_image_2d": "place",
    "image_to_reference": "place",
    "open_dataset": "sections",
    "reference_to_image": "place",
    "structure_to_image": "place",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
