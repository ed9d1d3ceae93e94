"""From a gene, a plane, a specimen to data sets and images."""

from atldld.find.neighbour import Neighbour, neighbours
from atldld.find.rows import (
    FoundDataSet,
    FoundGene,
    FoundImage,
    FoundSpecimen,
    FoundStructure,
    Origin,
    age_in_words,
)
from atldld.find.searches import Kind, Search, search
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
    "Origin",
    "Search",
    "age_in_words",
    "build",
    "catalogue_info",
    "neighbours",
    "search",
    "update",
]
