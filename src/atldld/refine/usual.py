"""How dark structures usually are, before a data set is looked at.

Cells are packed more densely in one structure than in another, which shows in any stain that clings
to cells. The numbers are of Nissl-stained sections and were made by
``benchmarks/registration/greys.py``. How much they say of a data set, the data set itself tells
(`atldld.refine.model.learn`): they are scaled to it, and count for nothing if it does not go along
with them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["FILE", "usual_greys"]

FILE = Path(__file__).parent / "data" / "greys.json"
"""The numbers, by the ids of structures."""


@cache
def _known() -> dict[int, float]:
    return {int(one): float(grey) for one, grey in json.loads(FILE.read_text())["greys"].items()}


def usual_greys(ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how dark structures are in a Nissl stain, shape (count,); NaN where it is not known.

    Parameters
    ----------
    ids : numpy.ndarray, shape (count,), int64
        The structures' ids.
    """
    known = _known()
    return np.array([known.get(one, np.nan) for one in ids.tolist()], dtype=np.float64)
