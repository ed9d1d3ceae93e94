"""From a gene, a plane, a specimen to data sets and images."""

from atldld.find.search import search_datasets, search_images

__all__ = ["search_datasets", "search_images"]
