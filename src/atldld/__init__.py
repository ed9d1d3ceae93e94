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
    from atldld.place import Placement, SectionGeometry
    from atldld.records import SectionDataSet, SectionImage
    from atldld.register import RegisteredSection
    from atldld.sections import DataSet, Section, open_dataset
    from atldld.settings import Settings
    from atldld.spaces import Grid, Plane
    from atldld.volumes import Volume, build_volume
    from atldld.warp import DisplacementField, OutputPlane

__version__ = version("atldld")

__all__ = [
    "AtldldError",
    "Cache",
    "DataSet",
    "DisplacementField",
    "Grid",
    "Limits",
    "OutputPlane",
    "Placement",
    "Plane",
    "RegisteredSection",
    "Section",
    "SectionDataSet",
    "SectionGeometry",
    "SectionImage",
    "Session",
    "Settings",
    "Volume",
    "__version__",
    "build_volume",
    "open_dataset",
]

# Imported when first used, so that importing the package takes no time.
_HOMES = {
    "AtldldError": "errors",
    "Cache": "fetch",
    "DataSet": "sections",
    "DisplacementField": "warp",
    "Grid": "spaces",
    "Limits": "fetch",
    "OutputPlane": "warp",
    "Placement": "place",
    "Plane": "spaces",
    "RegisteredSection": "register",
    "Section": "sections",
    "SectionDataSet": "records",
    "SectionGeometry": "place",
    "SectionImage": "records",
    "Session": "fetch",
    "Settings": "settings",
    "Volume": "volumes",
    "build_volume": "volumes",
    "open_dataset": "sections",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
