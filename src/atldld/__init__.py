"""Allen Brain Atlas section data sets in the brain's reference coordinates.

Examples
--------
>>> import atldld
>>> ds = atldld.open_dataset(69289763)
>>> ds
<DataSet 69289763 (Prox1), sagittal, 18 sections>
>>> for section in ds.register(resolution=100, sections=ds.sections[8:10]):
...     print(section.id, section.image.shape)
69177654 (80, 132, 3)
69177656 (80, 132, 3)
"""

from __future__ import annotations

# Not from `typing`: importing that takes longer than all that is left here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atldld.api import DataSet, Section, assess, build_volume, open_dataset, quantify
    from atldld.atlas import Atlas, StructureGraph, open_atlas
    from atldld.errors import AtldldError
    from atldld.fetch import Cache, Limits, Session
    from atldld.find import Search, neighbours, search
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
    from atldld.place.spaces import Grid, Plane, ReferenceSpace
    from atldld.quality import DatasetQuality, SectionQuality
    from atldld.records import SectionDataSet, SectionImage
    from atldld.regions.grids import ExpressionGrid, fetch_grid
    from atldld.regions.table import RegionTable
    from atldld.sections.register import RegisteredSection
    from atldld.settings import Settings
    from atldld.volume.model import Volume
    from atldld.warp import DisplacementField

__all__ = [
    "Affine",
    "Atlas",
    "AtldldError",
    "Cache",
    "DataSet",
    "DatasetQuality",
    "DisplacementField",
    "ExpressionGrid",
    "Grid",
    "ImagePoints",
    "Limits",
    "OutputPlane",
    "Placement",
    "Plane",
    "ReferencePoints",
    "ReferenceSpace",
    "RegionTable",
    "RegisteredSection",
    "Search",
    "Section",
    "SectionDataSet",
    "SectionGeometry",
    "SectionImage",
    "SectionQuality",
    "Session",
    "Settings",
    "StructureCenter",
    "StructureGraph",
    "Volume",
    "__version__",
    "assess",
    "build_volume",
    "fetch_grid",
    "image_to_atlas",
    "image_to_image",
    "image_to_image_2d",
    "image_to_reference",
    "neighbours",
    "open_atlas",
    "open_dataset",
    "quantify",
    "reference_to_image",
    "search",
    "structure_to_image",
]

# Imported when first used, so that importing the package takes no time.
_HOMES = {
    "Affine": "place",
    "Atlas": "atlas",
    "AtldldError": "errors",
    "Cache": "fetch",
    "DataSet": "api",
    "DatasetQuality": "quality",
    "DisplacementField": "warp",
    "ExpressionGrid": "regions.grids",
    "Grid": "place",
    "ImagePoints": "place",
    "Limits": "fetch",
    "OutputPlane": "place",
    "Placement": "place",
    "Plane": "place",
    "ReferencePoints": "place",
    "ReferenceSpace": "place",
    "RegionTable": "regions.table",
    "RegisteredSection": "sections.register",
    "Search": "find",
    "Section": "api",
    "SectionDataSet": "records",
    "SectionGeometry": "place",
    "SectionImage": "records",
    "SectionQuality": "quality",
    "Session": "fetch",
    "Settings": "settings",
    "StructureCenter": "place",
    "StructureGraph": "atlas",
    "Volume": "volume",
    "assess": "api",
    "build_volume": "api",
    "fetch_grid": "regions.grids",
    "image_to_atlas": "place",
    "image_to_image": "place",
    "image_to_image_2d": "place",
    "image_to_reference": "place",
    "neighbours": "find",
    "open_atlas": "atlas",
    "open_dataset": "api",
    "quantify": "api",
    "reference_to_image": "place",
    "search": "find",
    "structure_to_image": "place",
}


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__version__":
        from importlib.metadata import version

        value = version("atldld")
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
