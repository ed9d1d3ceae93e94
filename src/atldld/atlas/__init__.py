"""Which structure is where: atlases, and their planes and outlines on sections."""

from atldld.atlas.drawing import draw_outlines, write_geojson, write_svg
from atldld.atlas.model import Atlas
from atldld.atlas.open import check_atlas, open_atlas
from atldld.atlas.outlines import Outline, Selection, outlines, section_outlines
from atldld.atlas.sample import (
    hemispheres_on_image,
    hemispheres_on_reference,
    on_image,
    on_reference,
    section_annotation,
    section_template,
)
from atldld.atlas.structures import Structure, StructureGraph

__all__ = [
    "Atlas",
    "Outline",
    "Selection",
    "Structure",
    "StructureGraph",
    "check_atlas",
    "draw_outlines",
    "hemispheres_on_image",
    "hemispheres_on_reference",
    "on_image",
    "on_reference",
    "open_atlas",
    "outlines",
    "section_annotation",
    "section_outlines",
    "section_template",
    "write_geojson",
    "write_svg",
]
