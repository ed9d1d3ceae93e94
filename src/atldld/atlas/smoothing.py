"""Borders traced around pixels as smooth lines, without moving a pixel to the other side.

A traced line has one vertex on each *edge*, the segment between the centres of two neighbouring
pixels that differ. Smoothing slides every vertex along its own edge, and never as far as a pixel's
centre. Between two edges a line runs through one cell, a square between four centres, and however
the vertices slide, the lines in a cell cannot meet. So what follows holds by construction, for any
picture of labels:

- the centre of every pixel stays in its own structure, so structures of one pixel's width stay;
- lines neither cross nor touch, and polygons stay valid, with their holes and islands;
- no vertex moves farther than `MOST`, and points where three structures meet do not move.

Where to slide to is taken from a smoothing spline through the vertices (Whittaker's: the squares of
the moves plus `STIFFNESS` times those of the second differences are least). Then each line is
shifted until the same area lies on either side of it as in the picture: structures keep their area.

Where pixels are finer than the voxels that they show, the steps to be smoothed are those of voxels,
and vertices must move by more than an edge: to where the spline has them, by `MOST` of a voxel.
Nothing keeps lines apart by construction then. So they are looked through for places where they
meet, and what meets goes back, as far as need be to where it slides along its edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from atldld.formats.common import need

__all__ = ["CLEAR", "MOST", "as_complex", "smooth_lines"]

MOST = 0.48
"""How far a vertex may slide, in pixels; at 0.5 it would reach the centre of a pixel."""

CLEAR = 0.01
"""Pixels between lines, so that they are apart in any frame, and rounded in a file."""

STIFFNESS = 60.0
"""How much smoothness counts: waves shorter than about 2π · STIFFNESS^¼ = 17 pixels go."""

# The ends of a closed line are repeated so often, in vertices, that its spline does not feel them.
_WRAP = 24
# Small islands keep their shape: their first wave, the ellipse, may lose this much.
_LOSS = 0.05
_PINNED = 1e12  # weight of what does not move
_ROUNDS = 20  # of shifting lines, until areas are right
_FLATTEST = 0.1  # between an edge and a line that runs along it, as a sine
_LEAST_GAIN = 0.05  # pixels of area for a pixel of shift

_FINER = 1.01  # voxels are coarser than pixels
_SPLINES = 6  # each with weights from the one before
_NEAR = 0.95  # of how far vertices may go: what splines aim at
_TURNS = 12  # of looking for lines that meet

Flags = NDArray[np.bool_]
Points = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """The vertices of all lines, one line after the other.

    Attributes
    ----------
    points : numpy.ndarray, shape (N, 2)
        As traced. A closed line ends where it begins.
    sizes, starts : numpy.ndarray, shape (L,)
        How many vertices each line has, and where it starts.
    closed : numpy.ndarray, shape (L,), bool
        Which lines are closed.
    held : numpy.ndarray, shape (N,), bool
        Which vertices stay.
    """

    points: Points
    sizes: Index
    starts: Index
    closed: Flags
    held: Flags

    @property
    def last(self) -> Index:
        """Where each line ends."""
        return self.starts + self.sizes - 1

    @property
    def owner(self) -> Index:
        """The line of each vertex."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


def smooth_lines(
    points: Points,
    sizes: Index,
    closed: Flags,
    fixed: Flags,
    voxel: float = 1.0,
    slides: Flags | None = None,
) -> Points:
    """Return the vertices of lines, moved so that the lines are smooth.

    Parameters
    ----------
    points : numpy.ndarray, shape (N, 2), float64
        (x, y) of the vertices of all lines, one line after the other, in pixels. All lie on edges
        but the ends of lines that are not closed. A closed line ends where it begins.
    sizes : numpy.ndarray, shape (L,)
        How many vertices each line has.
    closed : numpy.ndarray, shape (L,), bool
        Which lines are closed.
    fixed : numpy.ndarray, shape (N,), bool
        Vertices that stay, besides the ends of lines that are not closed.
    voxel : float
        Side of a voxel in pixels, where pixels are finer.
    slides : numpy.ndarray, shape (L,), bool, optional
        Lines that move along their edges only, also where pixels are finer.

    Returns
    -------
    numpy.ndarray, shape (N, 2), float64
        The vertices in the same order.
    """
    starts = np.cumsum(sizes) - sizes
    held = fixed.copy()
    held[starts[~closed]] = held[(starts + sizes - 1)[~closed]] = True
    lines = _Lines(points, sizes, starts, closed, held)
    # edges lie across where a vertex is between two columns
    edges = np.where((points[:, 0] % 1 == 0.5)[:, None], (1.0, 0.0), (0.0, 1.0))
    safe = _moved(lines, edges, 1.0)
    if voxel < _FINER or (slides is not None and slides.all()):
        return safe
    share = np.ones(len(points))
    if slides is not None:
        share[slides[lines.owner]] = 0.0
    return _apart(lines, safe, _moved(lines, None, voxel), share)


def as_complex(points: Points) -> NDArray[np.complex128]:
    """Return points, shape (N, 2), as numbers x + iy, which can be sorted and looked up."""
    # not `points @ (1, 1j)`, which BLAS shares out among cores: that takes longer than all else
    return np.ascontiguousarray(points).view(np.complex128)[:, 0]


def _moved(lines: _Lines, edges: Points | None, side: float) -> Points:
    """Return vertices moved to their splines, along edges or freely, so that areas stay."""
    points, sizes, held = lines.points, lines.sizes, lines.held
    owner, last = lines.owner, lines.last
    before, after = np.arange(len(points)) - 1, np.arange(len(points)) + 1
    before[lines.starts] = np.where(lines.closed, last - 1, lines.starts)
    after[last] = np.where(lines.closed, lines.starts + 1, last)
    most = np.where(held, 0.0, MOST * side)[:, None]
    smooth = _splines(lines, STIFFNESS * side**4, MOST * side, math.ceil(_WRAP * side))

    tangent = smooth[after] - smooth[before]
    normal = np.stack((-tangent[:, 1], tangent[:, 0]), axis=1)
    normal /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    if edges is None:
        aside, move = normal, smooth - points
    else:
        # a vertex slides to where its edge meets the tangent of the spline
        slope = (normal * edges).sum(axis=1)
        slope = np.where(np.abs(slope) < _FLATTEST, np.copysign(_FLATTEST, slope), slope)
        aside = edges / slope[:, None]
        move = (normal * (smooth - points)).sum(axis=1)[:, None] * aside
    move = _limited(move, 0.999 * most)

    # The area between a line and its chord is that by the edges of pixels, which have a corner in
    # the middle of each cell.
    inner = np.flatnonzero(owner[1:] == owner[:-1])
    start, end = points[inner], points[inner + 1]
    corner = np.where(start % 1 == 0.5, start, end)
    wanted = np.bincount(
        owner[inner], _cross(start, corner) + _cross(corner, end), minlength=len(sizes)
    )
    once = ~held
    once[last[lines.closed]] = False  # the same vertex as the first
    shift = np.zeros(len(sizes))
    found = points
    for _ in range(_ROUNDS):
        reach = move + shift[owner][:, None] * aside
        found = points + _limited(reach, most)
        missing = wanted - np.bincount(
            owner[inner], _cross(found[inner], found[inner + 1]), minlength=len(sizes)
        )
        # what a line gains where it can still be shifted
        able = once & (np.hypot(*reach.T) < most[:, 0])
        each = np.where(able, _cross(aside, found[after] - found[before]), 0.0)
        gain = np.bincount(owner, each, minlength=len(sizes))
        step = np.divide(
            missing, gain, out=np.zeros_like(missing), where=np.abs(gain) > _LEAST_GAIN
        )
        if np.abs(step).max(initial=0.0) < 1e-7:
            break
        shift += np.clip(step, -MOST, MOST)
    return found


def _apart(lines: _Lines, safe: Points, wide: Points, share: NDArray[np.float64]) -> Points:
    """Return vertices as near to the second places as lines can be without meeting.

    They begin a share of the way from the first places. What meets goes half the way back, and its
    neighbours with it, more of them each time; at last what still meets goes back to where it is
    safe.
    """
    shapely = need("shapely", "atlas", "Outlines of structures")
    owner = lines.owner
    inner = np.flatnonzero(owner[1:] == owner[:-1])
    # ends of segments by what vertex they are: lines that meet in one share it
    _, vertex = np.unique(as_complex(lines.points), return_inverse=True)
    first, second = vertex[inner], vertex[inner + 1]
    for turn in range(_TURNS):
        found = safe + share[:, None] * (wide - safe)
        drawn = shapely.linestrings(np.stack((found[inner], found[inner + 1]), axis=1))
        one, other = shapely.STRtree(drawn).query(drawn, predicate="dwithin", distance=CLEAR)
        apart = (
            (first[one] != first[other])
            & (first[one] != second[other])
            & (second[one] != first[other])
            & (second[one] != second[other])
        )
        met = np.zeros(len(lines.points), dtype=bool)
        met[inner[one[apart]]] = met[inner[one[apart]] + 1] = True
        if not met.any():
            return found
        near = met
        for _ in range(4 * (turn + 1)):
            near[1:] |= near[:-1] & (owner[1:] == owner[:-1])
            near[:-1] |= near[1:] & (owner[1:] == owner[:-1])
        share[near] = share[near] / 2 if turn < _TURNS // 2 else 0.0
        # the first and the last of a closed line are one
        ends = lines.starts[lines.closed], lines.last[lines.closed]
        share[ends[0]] = share[ends[1]] = np.minimum(share[ends[0]], share[ends[1]])
    return safe


def _limited(moves: Points, most: Points) -> Points:
    """Return moves, shortened where they are longer than they may be."""
    length = np.hypot(*moves.T)[:, None]
    limited: Points = moves * np.minimum(1.0, most / np.maximum(length, 1e-12))
    return limited


def _cross(a: Points, b: Points) -> NDArray[np.float64]:
    """Return twice the areas of the triangles between the origin and two points."""
    area: NDArray[np.float64] = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return area


def _splines(lines: _Lines, stiffest: float, most: float, wrap: int) -> Points:
    """Return where smoothing splines lead the vertices, all lines in one banded system.

    Vertices that a spline would lead farther than they may go weigh more in the next one.
    """
    points, sizes, starts, closed = lines.points, lines.sizes, lines.starts, lines.closed
    parts, stiffness = [], np.full(len(sizes), stiffest)
    for number, (first, size) in enumerate(zip(starts.tolist(), sizes.tolist(), strict=True)):
        if closed[number]:
            count = size - 1
            wave = (2 - 2 * np.cos(2 * np.pi / count)) ** 2
            stiffness[number] = min(stiffest, _LOSS / wave)
            parts.append(first + np.arange(-wrap, count + wrap) % count)
        else:
            parts.append(np.arange(first, first + size))
    lengths = np.array([len(part) for part in parts])
    index, owner = np.concatenate(parts), np.repeat(np.arange(len(parts)), lengths)
    weight = np.where(lines.held[index], _PINNED, 1.0)
    # second differences (1, -2, 1) of three vertices of one line
    bends = np.where(owner[2:] == owner[:-2], stiffness[owner[2:]], 0.0)
    stiff = np.zeros((3, len(index)))  # the main diagonal last
    for place, factor in enumerate((1.0, 4.0, 1.0)):
        stiff[2, place : place + len(bends)] += factor * bends
    stiff[1, 1:-1] -= 2 * bends
    stiff[1, 2:] -= 2 * bends
    stiff[0, 2:] += bends
    traced = points[index]
    for turn in range(_SPLINES):
        bands = stiff + np.array([0.0, 0.0, 1.0])[:, None] * weight
        solved = solveh_banded(bands, weight[:, None] * traced, check_finite=False)
        if turn + 1 < _SPLINES:
            # along the line they may go anywhere
            way = np.gradient(solved, axis=0)
            far = np.abs(_cross(way, solved - traced)) / np.maximum(np.hypot(*way.T), 1e-9)
            weight *= np.maximum(far / (_NEAR * most), 1.0) ** 2
    offsets = np.cumsum(lengths) - lengths
    smooth = points.copy()
    for number, first in enumerate(starts.tolist()):
        size = int(sizes[number])
        skip = int(offsets[number]) + (wrap if closed[number] else 0)
        if closed[number]:
            smooth[first : first + size - 1] = solved[skip : skip + size - 1]
            smooth[first + size - 1] = smooth[first]
        else:
            smooth[first : first + size] = solved[skip : skip + size]
    return smooth
