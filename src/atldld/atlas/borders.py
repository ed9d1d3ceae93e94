"""The borders in a picture of labels as lines: each is traced once, for both of its sides.

A line runs half-way between the centres of pixels that differ, and cuts their corners by an eighth
of a pixel (marching squares), or is smoothed from there (`atldld.atlas.smoothing`). Where three
labels or four meet, their lines meet in the corner that the pixels share. So what two neighbours
have between them is one and the same line: their polygons leave no gap and do not overlap, however
far the lines are simplified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atldld.atlas.smoothing import CLEAR, as_complex, smooth_lines
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
_TRIALS = 6  # of smoothing, until no line has leapt over another
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
        Within the exterior ring of each, in pixels, as traced.
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


def trace_faces(
    labels: NDArray[np.integer[Any]],
    tolerance: float = 0.0,
    *,
    smooth: bool = True,
    voxel: float = 1.0,
) -> Faces:
    """Turn a picture of labels into faces that fit together.

    Parameters
    ----------
    labels : numpy.ndarray, shape (rows, columns), integers
        Small numbers; 0 is nothing and gets no face.
    tolerance : float
        How far, in pixels, a line may be simplified: no point of it is farther from what is left
        (the Douglas-Peucker algorithm). Points where three labels meet stay, and no line is moved
        over another one.
    smooth : bool
        Whether lines are smoothed, before they are simplified; see `atldld.atlas.smoothing`.
    voxel : float
        Side of a voxel in pixels, where pixels are finer: steps of that height are smoothed.

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
    drawn = [np.array(line) for line in lines]
    # the same whether lines are smoothed or not
    nested, areas = _nested(shapely, owners, _joined(drawn, rings), width)
    vertices, first = np.unique(np.concatenate(drawn), return_index=True)
    points = _points(vertices, width)
    if smooth:
        smoothed = _smoothed(shapely, drawn, rings, nested, width, labels.shape, voxel)
        points = smoothed[first]
    if tolerance:
        simple = _simplified(shapely, drawn, vertices, points, tolerance)
        drawn = _kept_apart(shapely, simple, drawn, vertices, points) if smooth else simple
    exact = _joined(drawn, rings)
    index = np.searchsorted(vertices, np.concatenate(exact))
    split = np.split(index, np.cumsum([len(ring) for ring in exact])[:-1])
    return Faces(
        labels=[owners[face[0]] for face in nested],
        areas=areas,
        rings=[[split[ring] for ring in face] for face in nested],
        points=points,
    )


def _smoothed(
    shapely: Any,
    lines: list[Index],
    rings: list[tuple[int, list[tuple[int, bool]]]],
    nested: list[list[int]],
    width: int,
    shape: tuple[int, ...],
    voxel: float,
) -> NDArray[np.float64]:
    """Return where smoothing moves the vertices of all lines, one line after the other."""
    points = _points(np.concatenate(lines), width)
    rows, columns = shape
    sizes = np.array([len(line) for line in lines])
    # a line that returns to a meeting point is none that is closed
    meets = (points % 1 == 0.5).all(axis=1)
    ends = np.cumsum(sizes)
    closed = (points[ends - sizes] == points[ends - 1]).all(axis=1) & ~meets[ends - 1]
    # what is cut off by the picture's edge stays cut off straight
    edges = (points == -0.5) | (points == (columns - 0.5, rows - 0.5))
    slides = np.zeros(len(lines), dtype=bool)
    for _ in range(_TRIALS):
        smooth = smooth_lines(points, sizes, closed, edges.any(axis=1), voxel, slides)
        if voxel <= 1 or slides.all():
            break
        # Lines that do not meet may yet have leapt over an island.
        wrong = _wrong_lines(shapely, np.split(smooth, ends[:-1]), rings, nested)
        if not wrong:
            return smooth
        slides[wrong] = True
    else:
        slides[:] = True
        smooth = smooth_lines(points, sizes, closed, edges.any(axis=1), voxel, slides)
    return smooth


def _wrong_lines(
    shapely: Any,
    lines: list[NDArray[np.float64]],
    rings: list[tuple[int, list[tuple[int, bool]]]],
    nested: list[list[int]],
) -> list[int]:
    """Return the lines around faces that are not valid, or lie on others."""
    joined = _joined(lines, rings)
    faces = np.array([shapely.Polygon(joined[f[0]], [joined[h] for h in f[1:]]) for f in nested])
    wrong = ~shapely.is_valid(faces)
    if not wrong.any():
        wrong = ~shapely.is_empty(shapely.coverage_invalid_edges(faces))
    return [
        line
        for face in np.flatnonzero(wrong)
        for ring in nested[face]
        for line, _ in rings[ring][1]
    ]


def _simplified(
    shapely: Any,
    lines: list[Index],
    vertices: Index,
    points: NDArray[np.float64],
    tolerance: float,
) -> list[Index]:
    """Return lines without the vertices that are not needed."""
    places = points[np.searchsorted(vertices, np.concatenate(lines))]
    drawn = shapely.linestrings(
        places, indices=np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    )
    # all lines at once: that is how none of them is moved over another
    simple = shapely.simplify(shapely.multilinestrings(drawn), tolerance)
    left, line = shapely.get_coordinates(shapely.get_parts(simple), return_index=True)
    # vertices are known by where they are: no two are in one place
    known = as_complex(points)
    order = np.argsort(known)
    found = vertices[order[np.searchsorted(known, as_complex(left), sorter=order)]]
    return np.split(found, np.flatnonzero(np.diff(line)) + 1)


def _kept_apart(
    shapely: Any,
    simple: list[Index],
    lines: list[Index],
    vertices: Index,
    points: NDArray[np.float64],
) -> list[Index]:
    """Return simplified lines, but those as they were that would touch others.

    Smooth lines may be straight: where one is left out to its ends, another one is soon on it, but
    for what numbers are rounded by.
    """
    simple = list(simple)
    while True:
        near = _near_lines(shapely, simple, vertices, points)
        changed = [line for line in near if len(simple[line]) < len(lines[line])]
        if not changed:
            return simple
        for line in changed:
            simple[line] = lines[line]


def _near_lines(
    shapely: Any, lines: list[Index], vertices: Index, points: NDArray[np.float64]
) -> list[int]:
    """Return the lines that cross others, or are nearer to vertices of others than `CLEAR`."""
    place = np.searchsorted(vertices, np.concatenate(lines))
    owner = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    inner = owner[1:] == owner[:-1]
    start, end, of = place[:-1][inner], place[1:][inner], owner[:-1][inner]
    segments = shapely.linestrings(np.stack((points[start], points[end]), axis=1))
    tree = shapely.STRtree(segments)
    one, other = tree.query(segments, predicate="intersects")
    ends = np.stack((start, end), axis=1)
    apart = (ends[one][:, :, None] != ends[other][:, None]).all(axis=(1, 2))
    point, segment = tree.query(shapely.points(points[place]), predicate="dwithin", distance=CLEAR)
    strange = (place[point] != start[segment]) & (place[point] != end[segment])
    near = (of[one[apart]], of[segment[strange]], owner[point[strange]])
    return [int(line) for line in np.unique(np.concatenate(near))]


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


def _joined(
    lines: list[NDArray[Any]], rings: list[tuple[int, list[tuple[int, bool]]]]
) -> list[NDArray[Any]]:
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
