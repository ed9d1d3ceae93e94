"""The atlas over a section: colours, borders or the template, for a place that is only proposed.

Drawn anew for each frame while one drags, so it has to be quick: structures are looked up nearest,
straight in the annotation, and what a depth of the tree makes of them is one table.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.sample import on_pixels
from atldld.errors import InvalidInputError, OutputError
from atldld.place.placement import Placement

if TYPE_CHECKING:
    from atldld.atlas.model import Atlas

__all__ = ["KINDS", "Kind", "Painter", "View"]

Matrix = NDArray[np.float64]
Kind = Literal["labels", "borders", "template"]

KINDS: tuple[Kind, ...] = ("labels", "borders", "template")
"""What can be drawn."""

LARGEST_SIDE, MOST_PIXELS = 4096, 4_000_000

_QUICK = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
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
        self._ids = np.array(sorted(one.id for one in atlas.graph), dtype=np.int64)
        self._tables: dict[int | None, tuple[NDArray[np.intp], NDArray[np.uint8]]] = {}
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
            How deep in the tree structures are told apart; all the way by default.
        ink : tuple of 3 int
            Colour of lines.
        thick : int
            Pixels that they are wide.

        Raises
        ------
        InvalidInputError
            If the atlas has no template.
        """
        shape = view.height, view.width
        if kind == "template":
            return self._template(placement, view.to_image, shape)
        labels = on_pixels(
            self.atlas.annotation,
            placement,
            view.to_image,
            shape,
            resolution=self.atlas.resolution,
        )
        rolled, colours = self._table(depth)
        places = rolled[self._places(labels)]
        if kind == "labels":
            return _png(_painted(places, colours))
        return _png(_lines(places, ink, thick))

    def _template(self, placement: Placement, to_image: Matrix, shape: tuple[int, int]) -> bytes:
        grey = self.atlas.template
        if grey is None:
            raise InvalidInputError(f"The atlas {self.atlas.name} has no template.")
        side = self.atlas.resolution * self.atlas.annotation.shape[0] / grey.shape[0]
        found = on_pixels(grey, placement, to_image, shape, order=1, resolution=side)
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
        return _painted(rolled[self._places(labels)], colours)

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

    def _table(self, depth: int | None) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Return what each place in the table is at a depth, and the colours of places."""
        with self._lock:
            if depth not in self._tables:
                self._tables[depth] = self._made(depth)
            return self._tables[depth]

    def _made(self, depth: int | None) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        graph = self.atlas.graph
        ids = self._ids if depth is None else graph.roll_up(self._ids, depth=depth)
        rolled = np.zeros(len(self._ids) + 2, dtype=np.intp)
        rolled[1:-1] = np.searchsorted(self._ids, ids) + 1
        rolled[-1] = len(self._ids) + 1
        colours = np.zeros((len(self._ids) + 2, 4), dtype=np.uint8)
        for place, number in enumerate(self._ids.tolist(), 1):
            red, green, blue = graph[number].rgb
            colours[place] = blue, green, red, 255
        colours[-1] = 128, 128, 128, 255
        return rolled, colours


def _painted(places: NDArray[np.intp], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colours of places, four bytes each taken at once."""
    whole = colours.view(np.uint32)[:, 0].take(places)
    out: NDArray[np.uint8] = whole.view(np.uint8).reshape(*places.shape, 4)
    return out


def _lines(places: NDArray[np.intp], ink: tuple[int, int, int], thick: int) -> NDArray[np.uint8]:
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
