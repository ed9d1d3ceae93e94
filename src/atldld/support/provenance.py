"""Where a result comes from: the version that made it, whom to cite, and the frame it lies in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

__all__ = ["FRAME", "Progress", "citation_of", "version"]

FRAME = (
    "reference space (p, i, r) = (posterior, inferior, right), um from the "
    "anterior-superior-left corner of 13200 x 8000 x 11400"
)
"""The reference frame, as files say it."""

Progress = Callable[[int, int, str], None]
"""Called with how many are done, how many there are, and what the last one was."""


@cache
def version() -> str:
    """Return the version of this package."""
    from importlib import import_module

    try:
        # no import statement, as the file is not there before the package is first built
        return str(import_module("atldld._version").version)
    except ModuleNotFoundError:
        from importlib.metadata import version

        return version("atldld")


def citation_of(dataset_id: int | None) -> str:
    """Return how the Allen Institute asks to be cited for a section data set."""
    return (
        "© Allen Institute for Brain Science. Allen Mouse Brain Atlas. Available from: "
        f"mouse.brain-map.org. Section data set {dataset_id}: "
        f"https://mouse.brain-map.org/experiment/show/{dataset_id}. "
        "Lein, E.S. et al. (2007) Genome-wide atlas of gene expression in the adult mouse brain, "
        "Nature 445: 168-176. doi:10.1038/nature05453"
    )
