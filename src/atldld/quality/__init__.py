"""How far a registration can be trusted: what sections look like, and which stand out."""

from atldld.quality.figures import DatasetQuality, SectionQuality, assess

__all__ = ["DatasetQuality", "SectionQuality", "assess"]
