"""From a gene, a plane, a specimen to data sets and images."""

from atldld.find.rows import (
    FoundDataSet,
    FoundGene,
    FoundImage,
    FoundSpecimen,
    FoundStructure,
    Source,
    age_in_words,
)
from atldld.find.searches import (
    Kind,
    Neighbour,
    Search,
    neighbours,
    search,
    search_datasets,
    search_images,
)
from atldld.find.update import CatalogueInfo, build, catalogue_info, update

__all__ = [
    "CatalogueInfo",
    "FoundDataSet",
    "FoundGene",
    "FoundImage",
    "FoundSpecimen",
    "FoundStructure",
    "Kind",
    "Neighbour",
    "Search",
    "Source",
    "age_in_words",
    "build",
    "catalogue_info",
    "neighbours",
    "search",
    "search_datasets",
    "search_images",
    "update",
]
