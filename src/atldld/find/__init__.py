"""From a gene, a plane, a specimen to data sets and images."""

from atldld.support.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__)
