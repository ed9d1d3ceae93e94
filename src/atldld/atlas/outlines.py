"""Outlines of structures as vector polygons.

The borders in a picture of labels are traced once for both of their sides
(`atldld.atlas.borders`) and smoothed (`atldld.atlas.smoothing`): no staircases of pixels, yet no
pixel's centre changes sides, and areas stay what the pixels say. The polygons are valid and fit
together: neighbours share their border point by point, without a gap and without an overlap.

With a tolerance, points are left out that lie no farther from the line that is left than it (the
Douglas-Peucker algorithm, as GEOS has it). All borders are simplified together, each once, and none
is moved over another one; so everything above holds at every tolerance.

On a curved section borders are traced and simplified where they are straight, and then bent: points
are put between those of a line wherever its ends alone would not follow the curve. Neighbours get
the same points.

Structures of which one lies in another overlap. Each level of them is traced by itself, so what is
said of neighbours holds for those of one level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from atldld.atlas.borders import trace_faces
from atldld.atlas.labels import compact_labels
from atldld.atlas.sample import (
    LEFT,
    RIGHT,
    hemispheres_on_image,
    hemispheres_on_reference,
    section_annotation,
)
from atldld.atlas.structures import Structure, StructureGraph
from atldld.errors import InvalidInputError
from atldld.formats.common import need
from atldld.place import Affine
from atldld.place.affine import apply_affine
from atldld.place.planes import OutputPlane
from atldld.place.spaces import Grid
from atldld.place.tiers import tier_to_image
from atldld.support.arguments import check_names, check_number, check_whole, several

if TYPE_CHECKING:
    from atldld.atlas.model import Atlas
    from atldld.place.sections import PlacedSection

__all__ = [
    "Choice",
    "Frame",
    "Hemisphere",
    "Outline",
    "Selection",
    "bend_outlines",
    "outlines",
    "section_outlines",
]

Points = NDArray[np.float64]
Frame = Literal["image", "reference"]
Side = Literal["left", "right", "both"]
Hemisphere = Literal["left", "right", "both", "each"]

_SIDES: dict[int, Side] = {LEFT: "left", RIGHT: "right", LEFT | RIGHT: "both"}
_UNKNOWN_COLOR = "808080"

# How far, in pixels of the picture of labels, a bent line may lie from the curve.
_OFF_CURVE = 0.05
_HALVINGS = 12  # of a line, at most
_FINER = 4  # times that lines are bent more finely, where they cross


@dataclass(frozen=True, slots=True)
class Selection:
    """Which structures are outlined, and how finely.

    Attributes
    ----------
    structures : tuple of str or int, or None
        Ids, acronyms or names; one alone may stand for itself. Each is outlined with all that lies
        in it, also where another that is chosen lies in it too. By default all that occur, each for
        itself.
    depth : int or None
        Take structures together up to this depth of the hierarchy; 0 is the root.
    hemisphere : {"both", "left", "right", "each"}
        All; only one side; or both, cut apart along the midline.
    tolerance : float
        How far, in pixels of the picture, outlines may be simplified. 0 keeps every point.
    smallest : float
        Leave out polygons of a smaller area, in pixels of the picture.
    smooth : bool
        Smooth the lines. Else they run along the edges of the pixels, with each corner cut by an
        eighth of a pixel.

    Raises
    ------
    InvalidInputError
        If a value makes no sense, or both structures and a depth are given.
    """

    structures: str | int | Sequence[str | int] | None = None
    depth: int | None = None
    hemisphere: Hemisphere = "both"
    tolerance: float = 0.0
    smallest: float = 0.0
    smooth: bool = True

    def __post_init__(self) -> None:
        names = self.structures
        for name, value in (
            ("structures", None if names is None else tuple(check_names(names, "structure"))),
            ("depth", None if self.depth is None else check_whole(self.depth, "depth")),
            (
                "tolerance",
                check_number(self.tolerance, "tolerance", least=0, unit="pixels"),
            ),
            ("smallest", check_number(self.smallest, "smallest area", unit="pixels")),
        ):
            object.__setattr__(self, name, value)
        if self.structures is not None and self.depth is not None:
            raise InvalidInputError("Choose structures or a depth in the hierarchy, not both.")
        if self.hemisphere not in ("left", "right", "both", "each"):
            raise InvalidInputError(
                f"The hemisphere is {self.hemisphere!r}, but must be 'left', 'right', 'both' or "
                "'each'."
            )

    @property
    def names(self) -> tuple[str | int, ...] | None:
        """The structures that are chosen, if any are."""
        return None if self.structures is None else tuple(several(self.structures))


class Choice(TypedDict, total=False):
    """The attributes of a `Selection`, as functions take them."""

    structures: str | int | Sequence[str | int] | None
    depth: int | None
    hemisphere: Hemisphere
    tolerance: float
    smallest: float


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """The outline of one structure in one picture.

    Attributes
    ----------
    id : int
        Of the structure.
    acronym, name : str
        Of the structure; its id where the graph lacks it.
    color : str
        Six hexadecimal digits of its RGB colour, without ``#``.
    hemisphere : {"left", "right", "both"}
        On which side of the brain it lies.
    polygons : tuple of tuple of numpy.ndarray
        Each an exterior ring and its holes: (N, 2) float64, closed (the last point is the first).
    frame : {"image", "reference"}
        What the points are: (x, y) in full-resolution pixels of the section's box, the centre of
        pixel (0, 0) at (0, 0); or µm of the reference space along the columns and the rows of a
        picture on the reference grid.
    known : bool
        Whether the graph has the structure.
    ancestors : tuple of Structure
        What it lies in, from the root on.
    """

    id: int
    acronym: str
    name: str
    color: str
    hemisphere: Side
    polygons: tuple[tuple[Points, ...], ...]
    frame: Frame
    known: bool = True
    ancestors: tuple[Structure, ...] = ()

    @property
    def parent(self) -> Structure | None:
        """The structure that it lies in."""
        return self.ancestors[-1] if self.ancestors else None

    @property
    def path(self) -> tuple[int, ...]:
        """Ids from the root to this structure, both included."""
        return (*(structure.id for structure in self.ancestors), self.id)

    @property
    def area(self) -> float:
        """The area within, without the holes, in the frame's unit squared."""
        shapely = need("shapely", "atlas", "Areas of outlines")
        return float(sum(shapely.Polygon(ring, holes).area for ring, *holes in self.polygons))

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour, 0 to 255 each."""
        red, green, blue = bytes.fromhex(self.color)
        return red, green, blue


def outlines(
    labels: NDArray[Any],
    to_target: Affine,
    graph: StructureGraph,
    selection: Selection = EVERYTHING,
    *,
    sides: NDArray[np.uint8] | None = None,
    voxel: float = 1.0,
) -> tuple[Outline, ...]:
    """Return the outlines of the structures in a picture of labels.

    Parameters
    ----------
    labels : numpy.ndarray, shape (rows, columns), integers
        Ids of structures; 0 is none.
    to_target : Affine
        From (column, row) of the picture, centres at whole numbers, to the frame of the points:
        its target is ``"image"`` or ``"reference"``.
    graph : StructureGraph
        Names and colours. Ids that it lacks are outlined all the same, in grey.
    selection : Selection
        Which structures, and how finely; all of them, with every point, by default.
    sides : numpy.ndarray, shape (rows, columns), uint8, optional
        1 where a pixel lies in the left hemisphere, 2 in the right one.
    voxel : float
        Side of the annotation's voxels in pixels of the picture, where these are finer: the steps
        that voxels make are smoothed then.

    Returns
    -------
    tuple of Outline
        In the graph's order, the left side first; ids that the graph lacks last.

    Raises
    ------
    InvalidInputError
        If the arguments do not fit together.
    NotFoundError
        If there is no such structure.
    """
    _check(labels, sides, to_target, selection.hemisphere)
    ids, places = compact_labels(labels)
    found: list[Outline] = []
    for named in _layers(ids, graph, selection):
        layer = _polygons(named, places, sides, to_target, selection, voxel)
        for (structure_id, side), polygons in layer.items():
            known = structure_id in graph
            structure = graph[structure_id] if known else None
            found.append(
                Outline(
                    id=structure_id,
                    acronym=structure.acronym if structure else str(structure_id),
                    name=structure.name
                    if structure
                    else f"structure {structure_id}, not in the graph",
                    color=_color(structure.color) if structure else _UNKNOWN_COLOR,
                    hemisphere=side,
                    polygons=tuple(polygons),
                    frame="image" if to_target.target == "image" else "reference",
                    known=known,
                    ancestors=tuple(graph[above] for above in structure.path[:-1])
                    if structure
                    else (),
                )
            )
    found.sort(key=lambda outline: _place(outline, graph))
    return tuple(found)


def section_outlines(
    section: PlacedSection,
    atlas: Atlas,
    resolution: float = 25,
    selection: Selection = EVERYTHING,
    *,
    downsample: int | None = None,
    frame: Frame = "image",
) -> tuple[Outline, ...]:
    """Return the outlines of an atlas's structures in a section's own plane.

    Parameters
    ----------
    section : PlacedSection
        The section.
    atlas : Atlas
        The atlas.
    resolution : float
        The annotation is sampled on the reference grid at this many µm,
    selection : Selection
        Which structures, and how finely.
    downsample : int, optional
        or over the raw picture at this tier. Fine tiers take long: their pixels are many times
        smaller than voxels, and add nothing but their number.
    frame : {"image", "reference"}
        Of the points; see `Outline`. Both are exact whichever way the annotation is sampled.
    """
    if frame not in ("image", "reference"):
        raise InvalidInputError(f"The frame is {frame!r}, but must be 'image' or 'reference'.")
    labels = section_annotation(section, atlas, resolution, downsample=downsample)
    grid = Grid(section.plane, resolution)
    deformation = section.placement.deformation
    bend: Callable[[Points], Points] | None = None
    if downsample is None:
        plane = OutputPlane.oblique(section.placement, grid)
        sides = hemispheres_on_reference(plane)
        to_target = plane.pixel_to_image if frame == "image" else _in_plane(grid)
        if deformation is not None and frame == "image":
            bend = deformation.to_image
    else:
        image = section.image
        sides = hemispheres_on_image(section.placement, image.width, image.height, downsample)
        to_target = tier_to_image(downsample)
        if frame == "reference":
            forward = section.placement.forward[[grid.column_axis, grid.row_axis]]
            if deformation is None:
                to_target = to_target.then(Affine(forward, "image", "reference plane"))
            else:
                to_flat = deformation.to_flat

                def bend(xy: Points) -> Points:
                    return apply_affine(forward, to_flat(xy))

    unit = float(np.linalg.norm(section.placement.forward[:, 0]))  # µm, of a pixel of the image
    pixel = resolution if downsample is None else unit * 2**downsample
    found = outlines(
        labels, to_target, atlas.graph, selection, sides=sides, voxel=atlas.resolution / pixel
    )
    if bend is None:
        return found
    side = float(np.linalg.norm(to_target.matrix[:, 0])) * _OFF_CURVE
    most = side * (unit if frame == "reference" else 1.0)
    bent: tuple[Outline, ...] = ()
    for _ in range(_FINER):
        bent = bend_outlines(found, bend, most, frame)
        if _fit_together(bent, atlas.graph, selection):
            break
        # lines that are nearer to each other than to their curves
        most /= 8
    return bent


def _fit_together(outlines: Sequence[Outline], graph: StructureGraph, selection: Selection) -> bool:
    """Return whether polygons are valid, and those of one level do not cross."""
    shapely = need("shapely", "atlas", "Outlines of structures")
    chosen = {graph.find(name).id for name in selection.names or ()}
    levels: dict[int, list[Any]] = {}
    for outline in outlines:
        level = sum(above.id in chosen for above in outline.ancestors)
        levels.setdefault(level, []).extend(
            shapely.Polygon(ring, holes) for ring, *holes in outline.polygons
        )
    return all(
        shapely.is_valid(shapes).all() and shapely.coverage_is_valid(shapes)
        for shapes in levels.values()
    )


def bend_outlines(
    outlines: Sequence[Outline], bend: Callable[[Points], Points], most: float, frame: Frame
) -> tuple[Outline, ...]:
    """Return outlines whose points are led through a curved map.

    Parameters
    ----------
    outlines : sequence of Outline
        Where their lines are straight.
    bend : callable
        From there to the new frame, (N, 2) → (N, 2).
    most : float
        How far lines may lie from the curve, in the unit of the new frame.
    frame : {"image", "reference"}
        The new frame.
    """
    rings = [ring for outline in outlines for polygon in outline.polygons for ring in polygon]
    bent = iter(_bent_rings(rings, bend, most))
    return tuple(
        replace(
            outline,
            polygons=tuple(tuple(next(bent) for _ in polygon) for polygon in outline.polygons),
            frame=frame,
        )
        for outline in outlines
    )


def _bent_rings(
    rings: Sequence[Points], bend: Callable[[Points], Points], most: float
) -> list[Points]:
    """Return rings with points put on their lines until these are near enough to the curve.

    All rings at once: to bend a hundred points takes nearly as long as to bend thousands.

    Parameters
    ----------
    rings : sequence of numpy.ndarray, shape (N, 2)
        Closed: the last point is the first. In the frame that `bend` takes.
    bend, most :
        See `bend_outlines`.

    Returns
    -------
    list of numpy.ndarray, shape (M, 2), float64
        In the frame that `bend` gives.
    """
    if not rings:
        return []
    points = np.concatenate(rings)
    bent = bend(points)
    ends = np.cumsum([len(ring) for ring in rings])
    # lines that may still be too far: where each begins, its two ends, and these bent
    line = np.delete(np.arange(len(points)), ends - 1)
    share = np.zeros(len(line))  # of the way from one point of the ring to the next
    start, end, bent_start, bent_end = points[line], points[line + 1], bent[line], bent[line + 1]
    lines, shares, found = [np.arange(len(points))], [np.zeros(len(points))], [bent]
    for halving in range(_HALVINGS):
        # Sums do not depend on the direction in which a line is run through, so that neighbours,
        # which run through it either way, put the same points on it.
        middle = (start + end) / 2
        bent_middle = bend(middle)
        off = np.linalg.norm(bent_middle - (bent_start + bent_end) / 2, axis=1)
        # where a curve turns its middle may be on the line, and it is nowhere else
        for one, other in ((0.75, 0.25), (0.25, 0.75)):
            at = bend(start * one + end * other)
            straight = bent_start * one + bent_end * other
            off = np.maximum(off, np.linalg.norm(at - straight, axis=1))
        long = np.flatnonzero(off > most)
        if not long.size:
            break
        line, share, half = line[long], share[long], 0.5 ** (halving + 1)
        middle, bent_middle = middle[long], bent_middle[long]
        lines, shares = [*lines, line], [*shares, share + half]
        found.append(bent_middle)
        start, end = np.concatenate((start[long], middle)), np.concatenate((middle, end[long]))
        bent_start = np.concatenate((bent_start[long], bent_middle))
        bent_end = np.concatenate((bent_middle, bent_end[long]))
        line, share = np.tile(line, 2), np.concatenate((share, share + half))
    begin = np.concatenate(lines)
    order = np.lexsort((np.concatenate(shares), begin))
    # of a ring all that begin before its end
    cuts = np.searchsorted(begin[order], ends[:-1])
    return np.split(np.concatenate(found)[order], cuts)


def _in_plane(grid: Grid) -> Affine:
    """Return the way from an output pixel (column, row) to µm along the columns and the rows."""
    step = grid.resolution
    matrix = np.array([[step, 0, step / 2], [0, step, step / 2]])
    return Affine(matrix, "output pixel", "reference plane")


def _check(
    labels: NDArray[Any],
    sides: NDArray[np.uint8] | None,
    to_target: Affine,
    hemisphere: Hemisphere,
) -> None:
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise InvalidInputError(
            f"The labels have shape {labels.shape} and type {labels.dtype}, but must be a picture "
            "of whole numbers."
        )
    if sides is not None and sides.shape != labels.shape:
        raise InvalidInputError(
            f"The sides have shape {sides.shape}, but the labels {labels.shape}."
        )
    if sides is not None and not np.isin(sides, (LEFT, RIGHT)).all():
        raise InvalidInputError("The sides of pixels must be 1 (left) or 2 (right).")
    if to_target.matrix.shape != (2, 3):
        raise InvalidInputError(
            f"{to_target} leads not from the two coordinates of a picture to two others."
        )
    if hemisphere != "both" and sides is None:
        raise InvalidInputError("To tell the hemispheres apart, give the sides of the pixels.")


def _layers(
    ids: NDArray[np.int64], graph: StructureGraph, selection: Selection
) -> Iterator[NDArray[np.int64]]:
    """Yield what to outline in place of each id: several where one structure lies in another."""
    if selection.depth is not None:
        yield graph.roll_up(ids, depth=selection.depth)
        return
    if selection.names is None:
        yield ids
        return
    chosen = {graph.find(name).id for name in selection.names}
    known = np.isin(ids, graph.unknown(ids), invert=True)
    levels: dict[int, list[int]] = {}
    for structure_id in chosen:
        above = sum(ancestor in chosen for ancestor in graph.ancestors(structure_id))
        levels.setdefault(above, []).append(structure_id)
    for level in sorted(levels):
        yield np.where(known, graph.roll_up(ids, to=levels[level]), 0)


def _polygons(
    named: NDArray[np.int64],
    places: NDArray[np.unsignedinteger[Any]],
    sides: NDArray[np.uint8] | None,
    to_target: Affine,
    selection: Selection,
    voxel: float,
) -> dict[tuple[int, Side], list[tuple[Points, ...]]]:
    """Return the polygons of each structure, apart for each side of the brain if that is asked."""
    ids = np.concatenate(([0], np.unique(named[named != 0])))
    # four numbers for each structure, so that one of them can say the hemisphere too
    keys = (4 * np.where(named == 0, 0, np.searchsorted(ids[1:], named) + 1)).astype(np.int32)[
        places
    ]
    on = np.full(len(ids), LEFT | RIGHT)
    hemisphere = selection.hemisphere
    if sides is not None:
        if hemisphere in ("left", "right"):
            keys[sides != (LEFT if hemisphere == "left" else RIGHT)] = 0
        met = np.bincount((keys | sides).ravel(), minlength=4 * len(ids)).reshape(-1, 4) > 0
        on = LEFT * met[:, LEFT] + RIGHT * met[:, RIGHT]
        if hemisphere == "each":
            keys[keys > 0] |= sides[keys > 0]
    faces = trace_faces(keys, selection.tolerance, smooth=selection.smooth, voxel=voxel)
    points = to_target.apply(faces.points)
    found: dict[tuple[int, Side], list[tuple[Points, ...]]] = {}
    for key, area, rings in zip(faces.labels, faces.areas, faces.rings, strict=True):
        if area >= selection.smallest:
            place, side = divmod(key, 4)
            which = int(ids[place]), _SIDES[side or int(on[place])]
            found.setdefault(which, []).append(tuple(points[ring] for ring in rings))
    return found


def _color(text: str) -> str:
    try:
        return text if len(bytes.fromhex(text)) == 3 else _UNKNOWN_COLOR
    except ValueError:
        return _UNKNOWN_COLOR


def _place(outline: Outline, graph: StructureGraph) -> tuple[bool, int, int, str]:
    order = graph[outline.id].graph_order if outline.known else 0
    return not outline.known, order, outline.id, outline.hemisphere
