"""Which sections of a data set cross a structure, or lie near it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from atldld.atlas.labels import compact_labels
from atldld.atlas.sample import on_reference
from atldld.errors import NotFoundError
from atldld.place.planes import OutputPlane
from atldld.place.sections import PlacedSection
from atldld.place.spaces import Grid
from atldld.support.arguments import check_names, check_number

if TYPE_CHECKING:
    from atldld.atlas.model import Atlas

__all__ = ["sections_near"]

AnySection = TypeVar("AnySection", bound=PlacedSection)
Voxels = NDArray[np.uint8]


def sections_near(
    sections: Iterable[AnySection],
    atlas: Atlas,
    structures: str | int | Iterable[str | int],
    *,
    within: float = 100,
) -> list[AnySection]:
    """Return the sections whose images show a structure, or pass it at no more than a distance.

    Parameters
    ----------
    sections : iterable of PlacedSection
        Which ones are looked at.
    atlas : Atlas
        Where the structure is; all that lies in it counts.
    structures : str, int or iterable of them
        Ids, acronyms or names; any of them will do.
    within : float
        How far, in µm across the section, the structure may lie from a section's plane. 0 takes
        those alone that cross it.

    Returns
    -------
    list of PlacedSection
        In the order in which they were given.

    Raises
    ------
    NotFoundError
        If the atlas has no such structure, or it has no voxel of it.
    InvalidInputError
        If the distance is negative.
    """
    within = check_number(within, "distance", least=0, unit="µm")
    voxels = _voxels_of(atlas, structures)
    # the shadow on the first slab is quickly made, and holds the extent along both of its axes
    shadow = voxels.max(axis=0)
    along = (voxels.reshape(len(voxels), -1).max(axis=1), shadow.max(axis=1), shadow.max(axis=0))
    ends = np.array([np.flatnonzero(one)[[0, -1]] for one in along])
    low, high = ends[:, 0] * atlas.resolution, (ends[:, 1] + 1) * atlas.resolution
    return [
        section
        for section in sections
        if _passes(section, low, high, within) and _shows(section, voxels, atlas.resolution, within)
    ]


def _voxels_of(atlas: Atlas, structures: str | int | Iterable[str | int]) -> Voxels:
    """Return 1 in the voxels of structures and all that lies in them, else 0."""
    found = [atlas.graph.find(name) for name in check_names(structures, "structure")]
    wanted = {within for structure in found for within in atlas.graph.descendants(structure.id)}
    ids, places = compact_labels(atlas.annotation)
    chosen = np.isin(ids, list(wanted)).astype(np.uint8)
    if not chosen.any():
        named = " and ".join(f"{structure.name} ({structure.acronym})" for structure in found)
        raise NotFoundError(
            f"The annotation of {atlas.name} at {atlas.resolution:g} µm has no voxel of {named}.",
            hint="Name a structure that it lies in, or open a finer atlas.",
        )
    voxels: Voxels = chosen[places]
    return voxels


def _passes(
    section: PlacedSection, low: NDArray[np.float64], high: NDArray[np.float64], within: float
) -> bool:
    """Whether a section's plane comes within a distance of a box."""
    middle, half = (low + high) / 2, (high - low) / 2
    normal = section.geometry.normal
    away = abs((middle - section.placement.forward[:, 2]) @ normal)
    return bool(away <= half @ np.abs(normal) + within)


def _shows(section: PlacedSection, voxels: Voxels, side: float, within: float) -> bool:
    """Whether structures lie in a section's image, or in one moved across it by some µm."""
    grid = Grid(section.plane, side)
    normal = section.geometry.normal
    steps = np.arange(1, int(within / side) + 1) * side
    # the last bit is less than a voxel
    ways = [0.0, *(sign * step for step in [*steps, within] for sign in (1, -1) if within)]
    for way in ways:
        forward = section.placement.forward.copy()
        forward[:, 2] += way * normal
        plane = OutputPlane.oblique(replace(section.placement, forward=forward), grid)
        rows, columns = np.nonzero(on_reference(voxels, plane, resolution=side))
        if not rows.size:
            continue
        xy = plane.shown(np.stack((columns, rows), axis=-1))
        size = section.image.width, section.image.height
        if ((xy >= -0.5) & (xy < np.array(size) - 0.5)).all(axis=-1).any():
            return True
    return False
