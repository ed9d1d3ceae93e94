"""How far a registration can be trusted: what sections look like, and which stand out.

`figures` measures, `rule` judges, `table` holds and writes what is found; `assessment` does all
three for a data set.
"""

from atldld.quality.assessment import assess, assess_pictures, atlas_or_reason
from atldld.quality.figures import LOOKED_AT, SectionView, look_at, recipe, view_of
from atldld.quality.rule import THRESHOLD
from atldld.quality.table import DatasetQuality, SectionQuality, check_output

__all__ = [
    "LOOKED_AT",
    "THRESHOLD",
    "DatasetQuality",
    "SectionQuality",
    "SectionView",
    "assess",
    "assess_pictures",
    "atlas_or_reason",
    "check_output",
    "look_at",
    "recipe",
    "view_of",
]
