"""Whose coordinates a placement gives: those of the service's alignment, or of an atlas.

The service's alignment is of the P56 reference space, which shares box, axes and origin with CCFv3
and equals it only nearly. What lays sections on an atlas, by hand or by `atldld refine`, gives
coordinates of that atlas. Whatever is written of sections says which, in these words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from atldld.support.text import shown

__all__ = ["CCF", "SERVICE", "all_coordinates", "coordinates_of", "is_ccf", "short_of"]

SERVICE = "P56 (the reference space of the service's alignment, which equals CCFv3 only nearly)"
CCF = "CCFv3 (Allen Mouse Brain Common Coordinate Framework, 2017)"

_CCF = re.compile(
    r"ccf_2017|brainglobe:allen_mouse_\d+um(_v[\d.]+)?|.*mouse.*ccf.?v?3.*", re.IGNORECASE
)


def is_ccf(atlas: str) -> bool:
    """Whether a name is that of CCFv3: Allen's own, BrainGlobe's or a ``.cutlas``."""
    return _CCF.fullmatch(atlas) is not None


def coordinates_of(atlas: str) -> str:
    """Return what coordinates that are laid on an atlas are called."""
    return CCF if is_ccf(atlas) else f"the atlas {shown(atlas)}"


def short_of(coordinates: str) -> str:
    """Return the same in a word, for a column of a table: CCFv3, P56, or the atlas's name."""
    return coordinates.partition(" (")[0]


def all_coordinates(each: Iterable[str]) -> str:
    """Return what the coordinates of several sections, or of several data sets, are called.

    Where they differ, each kind is named with how many there are.
    """
    counts = Counter(each).most_common()
    if len(counts) < 2:
        return counts[0][0] if counts else SERVICE
    return "; ".join(f"{count} of {sum(n for _, n in counts)} in {name}" for name, count in counts)
