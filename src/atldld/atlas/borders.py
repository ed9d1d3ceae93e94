"""The borders in a picture of labels as lines: each is traced once, for both of its sides.

A line runs half-way between the centres of pixels that differ, and cuts their corners by an eighth
of a pixel (marching squares). Where three labels or four meet, their lines meet in the corner that
the pixels share. So what two neighbours have between them is one and the same line: their polygons
leave no gap and do not overlap, however far the lines are simplified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atldld.formats.common import need

__all__ = ["Faces", "trace_faces"]

Index = NDArray[np.intp]

# A cell lies between the centres of four pixels. Clockwise from the upper left one they are its
# corners 0 to 3, and arm k is the side before corner k: left, top, right, bottom. A line crosses
# the arms whose two ends differ; bit k of the cell's kind says so of arm k. Of kind 16 are cells
# in which corners 0 and 2 are joined across the middle, of kind 17 those with 1 and 3.
_JOINED_02, _JOINED_13 = 16, 17


def _next_arms() -> Index:
    """Return, by kind and arm, where the border of the corner after this arm leaves the cell."""
    table = np.full((18, 4), -1)
    for kind in range(16):
        arms = [arm for arm in range(4) if kind >> arm & 1]
        if len(arms) > 1:
            table[kind, arms] = np.roll(arms, -1)
    table[_JOINED_02] = 3, 2, 1, 0
    table[_JOINED_13] = 1, 0, 3, 2
    return table


_NEXT = _next_arms()
# three labels or four: all lines meet in the middle
_MEETING = np.array([kind < 16 and kind.bit_count() > 2 for kind in range(18)])


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """What the borders enclose.

    Attributes
    ----------
    labels : list of int
        Of each face.
    areas : list of float
        Within the exterior ring of each, in pixels, before lines are simplified.
    rings : list of list of numpy.ndarray
        Of each face the exterior ring and its holes: places in `points`, closed.
    points : numpy.ndarray, shape (N, 2), float64
        (x, y), the centre of the first pixel at (0, 0). Each point is there once, so faces that
        share it share it also after a transform.
    """

    labels: list[int]
    areas: list[float]
    rings: list[list[Index]]
    points: NDArray[np.float64]


def trace_faces(labels: NDArray[np.integer[Any]], tolerance: float = 0.0) -> Faces:
    """Turn a picture of labels into faces that fit together.

    Parameters
    ----------
    labels : numpy.ndarray, shape (rows, columns), integers
        Small numbers; 0 is nothing and gets no face.
    tolerance : float
        How far, in pixels, a line may be simplified: no point of it is farther from what is left
        (the Douglas-Peucker algorithm). Points where three labels meet stay, and no line is moved
        over another one.

    Returns
    -------
    Faces
        Their polygons are valid, for every tolerance.
    """
    if not labels.any():
        return Faces([], [], [], np.empty((0, 2)))
    shapely = need("shapely", "atlas", "Outlines of structures")
    width = 2 * (labels.shape[1] + 2)
    start, middle, label, following = _steps(np.pad(labels, 1), width)
    lines, rings = _lines(start.tolist(), middle.tolist(), _cycles(following))
    owners = [int(label[steps]) for steps, _ in rings]
    exact = _joined([np.array(line) for line in lines], rings)
    nested, areas = _nested(shapely, owners, exact, width)
    if tolerance:
        drawn = shapely.linestrings(
            _points(np.concatenate([np.array(line) for line in lines]), width),
            indices=np.repeat(np.arange(len(lines)), [len(line) for line in lines]),
        )
        # all lines at once: that is how none of them is moved over another
        simple = shapely.simplify(shapely.multilinestrings(drawn), tolerance)
        places, line = shapely.get_coordinates(shapely.get_parts(simple), return_index=True)
        whole = np.rint(2 * (places + 1)).astype(np.intp) @ (1, width)
        exact = _joined(np.split(whole, np.flatnonzero(np.diff(line)) + 1), rings)
    vertices, index = np.unique(np.concatenate(exact), return_inverse=True)
    split = np.split(index, np.cumsum([len(ring) for ring in exact])[:-1])
    return Faces(
        labels=[owners[face[0]] for face in nested],
        areas=areas,
        rings=[[split[ring] for ring in face] for face in nested],
        points=_points(vertices, width),
    )


def _points(vertices: Index, width: int) -> NDArray[np.float64]:
    """Return (x, y) of vertices, which count half pixels from the corner of the padded picture."""
    return np.stack((vertices % width, vertices // width), axis=-1) / 2 - 1


def _steps(padded: NDArray[np.integer[Any]], width: int) -> tuple[Index, Index, Index, Index]:
    """Return the steps that borders take through cells, with the label always on the same side.

    Returns
    -------
    start : the vertex on the arm where a step begins
    middle : the vertex in the cell's middle if it leads through that, else -1
    label : what it goes around
    following : the step with which the border goes on
    """
    beside, below = padded[:, 1:] != padded[:, :-1], padded[1:] != padded[:-1]
    kinds = np.zeros((padded.shape[0] - 1, padded.shape[1] - 1), dtype=np.uint8)
    for bit, crossed in enumerate((below[:, :-1], beside[:-1], below[:, 1:], beside[1:])):
        kinds |= crossed.view(np.uint8) << bit
    row, column = np.nonzero(kinds)
    kind = kinds[row, column].astype(np.intp)
    corners = np.stack(
        [padded[row + down, column + right] for down, right in ((0, 0), (0, 1), (1, 1), (1, 0))],
        axis=1,
    ).astype(np.intp)
    all_cross = np.flatnonzero(kind == 15)
    a, b, c, d = corners[all_cross].T
    # of two pairs that meet at their corners only, the one with the larger label is joined
    joined = (a == c) & ((b != d) | (a > b))
    kind[all_cross[joined]] = _JOINED_02
    kind[all_cross[(b == d) & ~joined]] = _JOINED_13
    centre = (2 * row + 1) * width + 2 * column + 1
    arms = np.stack((centre - 1, centre - width, centre + 1, centre + width), axis=1)
    leaves = _NEXT[kind]
    cell, arm = np.nonzero((leaves >= 0) & (corners > 0))
    start, end, label = arms[cell, arm], arms[cell, leaves[cell, arm]], corners[cell, arm]
    middle = np.where(_MEETING[kind[cell]], centre[cell], -1)
    # from a vertex on an arm one step of each label goes on, and one arrives
    count = int(label.max()) + 1
    key = start * count + label
    order = np.argsort(key)
    following = order[np.searchsorted(key, end * count + label, sorter=order)]
    return start, middle, label, following


def _cycles(following: Index) -> list[list[int]]:
    """Return the rings that steps make up."""
    after = following.tolist()
    seen = bytearray(len(after))
    rings = []
    for first in range(len(after)):
        step, ring = first, []
        while not seen[step]:
            seen[step] = 1
            ring.append(step)
            step = after[step]
        if ring:
            rings.append(ring)
    return rings


def _lines(
    start: list[int], middle: list[int], cycles: list[list[int]]
) -> tuple[list[list[int]], list[tuple[int, list[tuple[int, bool]]]]]:
    """Cut rings into lines that lie between two labels each.

    Returns
    -------
    lines : list of list of int
        Vertices, from one meeting point to the next, or closed where there is none. Each line once.
    rings : list of (int, list of (int, bool))
        One step of each ring; then its lines, and whether the ring goes along them backwards.
    """
    lines: list[list[int]] = []
    rings = []
    line_of: dict[int, int] = {}  # by the vertices on arms, each of which is in one line
    for cycle in cycles:
        meetings = [place for place, step in enumerate(cycle) if middle[step] >= 0]
        if meetings:
            turn = meetings[-1] + 1
            cycle = cycle[turn:] + cycle[:turn]
            parts, part = [], [middle[cycle[-1]]]
            for step in cycle:
                part.append(start[step])
                if middle[step] >= 0:
                    parts.append([*part, middle[step]])
                    part = [middle[step]]
        else:
            vertices = [start[step] for step in cycle]
            parts = [[*vertices, vertices[0]]]
        ring = []
        for part in parts:
            known = line_of.get(part[1])
            if known is None:
                line_of |= dict.fromkeys(part[1:-1] if meetings else part, len(lines))
                ring.append((len(lines), False))
                lines.append(part)
            else:
                ring.append((known, True))
        rings.append((cycle[0], ring))
    return lines, rings


def _joined(lines: list[Index], rings: list[tuple[int, list[tuple[int, bool]]]]) -> list[Index]:
    """Put rings together again out of their lines."""
    joined = []
    for _, ring in rings:
        parts = [lines[line][::-1] if backwards else lines[line] for line, backwards in ring]
        joined.append(np.concatenate([*(part[:-1] for part in parts), parts[0][:1]]))
    return joined


def _nested(
    shapely: Any, owners: list[int], rings: list[Index], width: int
) -> tuple[list[list[int]], list[float]]:
    """Return which rings are one face, the exterior first, and the areas of the exteriors."""
    drawn = shapely.linearrings(
        _points(np.concatenate(rings), width),
        indices=np.repeat(np.arange(len(rings)), [len(ring) for ring in rings]),
    )
    # y runs down, so steps that keep the label on their one side run clockwise around it
    is_hole = shapely.is_ccw(drawn)
    shells = shapely.polygons(drawn)
    areas = shapely.area(shells)
    faces = {ring: [ring] for ring in np.flatnonzero(~is_hole).tolist()}
    by_label: dict[int, list[int]] = {}
    for ring in faces:
        by_label.setdefault(owners[ring], []).append(ring)
    for hole in np.flatnonzero(is_hole).tolist():
        around = by_label[owners[hole]]
        if len(around) > 1:
            x, y = _points(rings[hole][0], width)
            around = [ring for ring in around if shapely.contains_xy(shells[ring], x, y)]
        faces[min(around, key=areas.__getitem__)].append(hole)
    return list(faces.values()), [float(areas[ring]) for ring in faces]
