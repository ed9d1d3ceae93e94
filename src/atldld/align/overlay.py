"""The atlas over a section: colours, borders or the template, for a place that is only proposed.

Drawn again for each frame while one drags, so it has to be quick: structures are looked up nearest,
straight in the annotation, and what a depth of the tree makes of them is one table. The page gets
the numbers of structures and paints colours and borders from them itself; as pictures, they would
be looked up twice, and be encoded and decoded twice.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.sample import Flat, on_pixels
from atldld.errors import InvalidInputError, OutputError
from atldld.place.deformation import Deformation
from atldld.place.markers import MarkedDeformation, MarkerDeformation
from atldld.place.placement import Placement
from atldld.support.memory import let_go

if TYPE_CHECKING:
    from atldld.atlas.model import Atlas

__all__ = ["KINDS", "Kind", "Painter", "View"]

Matrix = NDArray[np.float64]
Kind = Literal["labels", "borders", "template"]

KINDS: tuple[Kind, ...] = ("labels", "borders", "template")
"""What can be drawn."""

_MOST_STRUCTURES = 65_534  # numbers have two bytes; 0 is the outside, and the last one is unknown

LARGEST_SIDE, MOST_PIXELS = 4096, 4_000_000

_QUICK = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
_FLAT = 1e-9  # twice a triangle's area, in pixels, below which it holds nothing
_SHIFT = 4  # bits after the point of a triangle's corners
_CLOSE = 0.05  # full-resolution pixels, below which corners of triangles are too far for numbers
_APART = 4  # pixels from one node to the next where a section is bent smoothly
_LET_GO = 50  # drawings after which that is done
_BRIGHTEST = 99.8  # per cent of the brain's voxels that are not white


@dataclass(frozen=True)
class View:
    """Which pixels of a section a picture shows.

    Attributes
    ----------
    width, height : int
        Size of the picture.
    left, top : float
        Its upper left corner, in full-resolution pixels of the image, counted from the image's own
        corner.
    across, down : float
        Full-resolution pixels that one of its pixels covers, along each side.
    """

    width: int
    height: int
    left: float
    top: float
    across: float
    down: float

    def __post_init__(self) -> None:
        if not (
            1 <= self.width <= LARGEST_SIDE
            and 1 <= self.height <= LARGEST_SIDE
            and self.width * self.height <= MOST_PIXELS
        ):
            raise InvalidInputError(
                f"A picture of {self.width} × {self.height} pixels is asked for, but must have 1 "
                f"to {LARGEST_SIDE} along a side and at most {MOST_PIXELS} in all."
            )
        numbers = np.array([self.left, self.top, self.across, self.down])
        if not np.isfinite(numbers).all() or np.abs(numbers).max() > 1e7:
            raise InvalidInputError("The part of the image that is asked for is none.")
        if min(self.across, self.down) < 1e-3:
            raise InvalidInputError("A pixel of the picture must cover something of the image.")

    @property
    def to_image(self) -> Matrix:
        """Its pixels → full-resolution pixels, shape (2, 3); pixel centres are whole on both."""
        return np.array(
            [
                [self.across, 0, self.left + self.across / 2 - 0.5],
                [0, self.down, self.top + self.down / 2 - 0.5],
            ]
        )


class Painter:
    """Draws an atlas over sections.

    Parameters
    ----------
    atlas : Atlas
        The atlas.
    """

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self._lock = threading.Lock()
        self._drawn = 0
        self._ids = np.array(sorted(one.id for one in atlas.graph), dtype=np.int64)
        if len(self._ids) > _MOST_STRUCTURES:
            raise InvalidInputError(
                f"The atlas {atlas.name} has {len(self._ids)} structures, and at most "
                f"{_MOST_STRUCTURES} can be drawn."
            )
        self._tables: dict[int | None, tuple[NDArray[np.uint16], NDArray[np.uint8]]] = {}
        self._bright: float | None = None

    @property
    def deepest(self) -> int:
        """The depth of the deepest structure."""
        return max((one.depth for one in self.atlas.graph), default=0)

    def png(
        self,
        placement: Placement,
        view: View,
        kind: Kind,
        *,
        depth: int | None = None,
        ink: tuple[int, int, int] = (255, 255, 255),
        thick: int = 1,
    ) -> bytes:
        """Return a picture of the atlas where a section lies, with a transparent ground.

        Parameters
        ----------
        placement : Placement
            Where it lies.
        view : View
            What of it is shown.
        kind : {"labels", "borders", "template"}
            Colours of structures, the lines between them, or the template's grey.
        depth : int, optional
            How deep in the tree structures are distinguished; all the way by default.
        ink : tuple of 3 int
            Colour of lines.
        thick : int
            Pixels that they are wide.

        Raises
        ------
        InvalidInputError
            If the atlas has no template.
        """
        if kind == "template":
            return self._template(placement, view)
        places = self._structures(placement, view, depth)
        if kind == "labels":
            return _png(_painted(places, self._table(depth)[1]))
        return _png(_lines(places, ink, thick))

    def structures(self, placement: Placement, view: View, *, depth: int | None = None) -> bytes:
        """Return the number of the structure at each pixel, for `colours_by_number`.

        Parameters
        ----------
        placement : Placement
            Where the section lies.
        view : View
            What of it is shown.
        depth : int, optional
            How deep in the tree structures are distinguished; all the way by default.

        Returns
        -------
        bytes
            Compressed by zlib: two bytes for each pixel, the lower one first, row after row.
        """
        numbers = self._structures(placement, view, depth).astype("<u2", copy=False)
        return zlib.compress(numbers.tobytes(), 1)

    @property
    def colours_by_number(self) -> list[str | None]:
        """The colour of each structure's number, such as ``#ff7080``; None outside the brain."""
        colours = self._table(None)[1].tolist()
        return [
            f"#{red:02x}{green:02x}{blue:02x}" if on else None for blue, green, red, on in colours
        ]

    def _structures(
        self, placement: Placement, view: View, depth: int | None
    ) -> NDArray[np.uint16]:
        self._count()
        labels = on_pixels(
            self.atlas.annotation,
            placement,
            view.to_image,
            (view.height, view.width),
            resolution=self.atlas.resolution,
            flat=_flattened(placement.deformation, view),
        )
        return self._table(depth)[0].take(self._places(labels))

    def _count(self) -> None:
        """Give back now and then what was looked at: it is mapped, all of it in the end."""
        self._drawn += 1
        if self._drawn % _LET_GO == 0:
            self.let_go()

    def let_go(self) -> None:
        """Give back the memory of what is only mapped; it is mapped again when it is needed."""
        let_go(self.atlas.annotation)
        template = vars(self.atlas).get("template")
        if template is not None:
            let_go(template)

    def _template(self, placement: Placement, view: View) -> bytes:
        self._count()
        grey = self.atlas.template
        if grey is None:
            raise InvalidInputError(f"The atlas {self.atlas.name} has no template.")
        side = self.atlas.resolution * self.atlas.annotation.shape[0] / grey.shape[0]
        # between voxels there is something to see only where pixels are finer
        fine = float(np.linalg.norm(placement.forward[:, 0])) * view.across < side
        found = on_pixels(
            grey,
            placement,
            view.to_image,
            (view.height, view.width),
            order=1 if fine else 0,
            resolution=side,
            flat=_flattened(placement.deformation, view),
        )
        values = np.clip(found * (255 / self._brightest(grey)), 0, 255).astype(np.uint8)
        shown = np.repeat(values[..., None], 4, axis=2)
        shown[..., 3] = np.where(found > 0, np.uint8(255), np.uint8(0))
        return _png(shown)

    def grey(self, cut: NDArray[Any]) -> NDArray[np.uint8]:
        """Return a part of the template as a picture, 0 to 255."""
        template = self.atlas.template
        assert template is not None
        values = cut.astype(np.float32) * np.float32(255 / self._brightest(template))
        shown: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
        return shown

    def colours(self, labels: NDArray[Any], depth: int | None = None) -> NDArray[np.uint8]:
        """Return the colours of labels, blue, green, red and opacity."""
        rolled, colours = self._table(depth)
        return _painted(rolled.take(self._places(labels)), colours)

    def _brightest(self, grey: NDArray[Any]) -> float:
        with self._lock:
            if self._bright is None:
                some = grey[::7, ::5, ::5]
                inside = some[some > 0]
                top = np.percentile(inside, _BRIGHTEST) if inside.size else 1.0
                self._bright = max(float(top), 1e-6)
            return self._bright

    def _places(self, labels: NDArray[Any]) -> NDArray[np.intp]:
        """Return where in the table labels are: 0 is the outside, the last one is unknown."""
        # most pixels are like the one before: those alone are looked up that are not
        flat = labels.ravel()
        changes = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
        found = flat[changes].astype(np.int64)
        at = np.searchsorted(self._ids, found)
        known = self._ids[np.minimum(at, len(self._ids) - 1)] == found
        place = np.where(known, at + 1, np.where(found == 0, 0, len(self._ids) + 1))
        lengths = np.diff(changes, append=flat.size)
        return np.repeat(place, lengths).reshape(labels.shape)

    def _table(self, depth: int | None) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """Return what each place in the table is at a depth, and the colours of places."""
        with self._lock:
            if depth not in self._tables:
                self._tables[depth] = self._made(depth)
            return self._tables[depth]

    def _made(self, depth: int | None) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        graph = self.atlas.graph
        ids = self._ids if depth is None else graph.roll_up(self._ids, depth=depth)
        rolled = np.zeros(len(self._ids) + 2, dtype=np.uint16)
        rolled[1:-1] = np.searchsorted(self._ids, ids) + 1
        rolled[-1] = len(self._ids) + 1
        colours = np.zeros((len(self._ids) + 2, 4), dtype=np.uint8)
        for place, number in enumerate(self._ids.tolist(), 1):
            red, green, blue = graph[number].rgb
            colours[place] = blue, green, red, 255
        colours[-1] = 128, 128, 128, 255
        return rolled, colours


# ---- curved sections


@dataclass(frozen=True, eq=False)
class _Everywhere:
    """Which (column, row) of the flat picture each pixel has."""

    at: NDArray[np.float32]  # (2, rows, columns)

    def block(self, rows: slice, /) -> Matrix:
        return self.at[:, rows].astype(np.float64)


def _flattened(bent: Deformation | None, view: View) -> Flat | None:
    """Return which pixel of the flat picture each pixel of a view has, to a fraction of a pixel.

    Quicker than `atldld.place.curves`, which keeps to less: triangles are filled with their numbers
    and each number has an affine map, and what is smooth is evaluated at every few pixels.
    """
    if bent is None or min(view.across, view.down) < _CLOSE:
        return None
    row, column = np.indices((view.height, view.width), dtype=np.float32)
    at = np.stack((column, row))
    curve: Deformation | None = bent
    if isinstance(bent, MarkedDeformation):
        at, curve = _by_triangles(bent.markers, view, at), bent.curve
    elif isinstance(bent, MarkerDeformation):
        at, curve = _by_triangles(bent, view, at), None
    return _Everywhere(at if curve is None else _by_nodes(curve, view, at))


def _by_triangles(
    bent: MarkerDeformation, view: View, at: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return where markers lead pixels of a view, in its pixels, shape (2, rows, columns)."""
    shift, scale = view.to_image[:, 2], np.array([view.across, view.down])
    here, there = (((side - shift) / scale)[bent.triangles] for side in (bent.image, bent.flat))
    sides = np.concatenate((np.swapaxes(here, 1, 2), np.ones((len(here), 1, 3))), axis=1)
    sound = np.abs(np.linalg.det(sides)) > _FLAT
    here, there, sides = here[sound], there[sound], sides[sound]
    # the first map is that of what lies beyond the outer corners
    maps = np.concatenate((np.eye(2, 3)[None], np.swapaxes(there, 1, 2) @ np.linalg.inv(sides)))
    number = np.zeros((view.height, view.width), dtype=np.int32)
    corners = np.round(here * (1 << _SHIFT)).astype(np.int32)
    for k, triangle in enumerate(corners, 1):
        cv2.fillConvexPoly(number, triangle, k, shift=_SHIFT)
    out = np.empty_like(at)
    for axis in (0, 1):
        x, y, one = (maps[:, axis, k].astype(np.float32).take(number) for k in (0, 1, 2))
        out[axis] = x * at[0] + y * at[1] + one
    return out


def _by_nodes(curve: Deformation, view: View, at: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return where a smooth deformation leads places in a view, in its pixels."""
    shift, scale = view.to_image[:, 2], np.array([view.across, view.down])
    low, high = at.min(axis=(1, 2)) - _APART, at.max(axis=(1, 2)) + 2 * _APART
    x, y = (np.arange(low[axis], high[axis], _APART) for axis in (0, 1))
    nodes = np.stack(np.meshgrid(x, y), axis=-1)
    moved = (curve.to_flat(nodes * scale + shift) - shift) / scale - nodes
    across, down = ((at[axis] - np.float32(low[axis])) / np.float32(_APART) for axis in (0, 1))
    away = cv2.remap(moved.astype(np.float32), across, down, cv2.INTER_LINEAR)
    out: NDArray[np.float32] = at + np.moveaxis(away, -1, 0)
    return out


def _painted(places: NDArray[np.uint16], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colours of places, four bytes each taken at once."""
    whole = colours.view(np.uint32)[:, 0].take(places)
    out: NDArray[np.uint8] = whole.view(np.uint8).reshape(*places.shape, 4)
    return out


def _lines(places: NDArray[np.uint16], ink: tuple[int, int, int], thick: int) -> NDArray[np.uint8]:
    """Return lines where structures meet, blue, green, red and opacity."""
    on = np.zeros(places.shape, dtype=np.uint8)
    across, down = places[:, 1:] != places[:, :-1], places[1:] != places[:-1]
    on[:, 1:] |= across
    on[1:] |= down
    if thick > 1:
        on = cv2.dilate(on, np.ones((thick, thick), np.uint8)).astype(np.uint8, copy=False)
    out = np.empty((*places.shape, 4), dtype=np.uint8)
    red, green, blue = ink
    out[:] = blue, green, red, 0
    out[..., 3] = on * 255
    return out


def _png(pixels: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".png", pixels, _QUICK)
    if not done:
        raise OutputError("A picture cannot be encoded as PNG.")
    return data.tobytes()
