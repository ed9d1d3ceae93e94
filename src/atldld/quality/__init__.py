"""How far a registration can be trusted: what sections look like, and which stand out."""

from atldld.quality.figures import LOOKED_AT, DatasetQuality, SectionQuality, assess

__all__ = ["LOOKED_AT", "DatasetQuality", "SectionQuality", "assess"]
