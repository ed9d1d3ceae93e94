"""What pixels say about stain: expression masks, and the darkness of stained tissue.

The service paints the pixels that it takes for expressing in the colours of a scale, on black.
`read_mask` turns the colours back into numbers: a **level**, from 0 to 255, which is where the
colour lies on the scale, and a **part**, which is how much of the pixel expresses at all. Pictures
of lower resolution, and the soft edges of any, mix colours with black. Mixing scales a colour
towards black and leaves its hue, so hue tells the level and brightness tells the part.

**Which scale.** The service does not say. One genuine section is at hand both in colour and in
grey; ``python benchmarks/mask_scale.py`` lays one over the other. They say *full jet*, grey 0 to
255 from dark blue to dark red (`JET`), and no more than this:

- Large areas, where nothing is mixed: two yellow-green folds read as 156 and 149 and are grey 158
  and 148; the red-orange granule layer reads as 210 and is grey 218, nine tenths of it 196 to 239.
- That mask has few colours: its hues crowd at 13, 48, 72, 121, 157 and 203 degrees, and nothing but
  JPEG's errors is redder than the granule layer, though grey goes on to 245. So a colour there
  stands for a range of some ±20. Whether the service's own masks are like that is not known.
- Of jets, the full one fits single cells best (spread of grey over level 0.24 in logarithm; 0.35
  for one cut to 0.12 … 0.92), but these are 1 to 2 pixels wide, and what reads as 48 to 203 is grey
  79 to 146: they say that levels rise with the scale, and no more about how far.
- Matplotlib's jet, which has longer ramps than `JET` (MATLAB's and OpenCV's), fits the granule
  layer better and the folds worse. Where a mask follows it, levels are off by up to 9.

So a level is known to some 10 in the middle of the scale and to 20 near its ends.

**What brightness means.** Colours mixed with black are darker. In the same pair, sums of level ×
part over five regions are 0.9 to 1.2 times those of grey; to count every pixel above the threshold
as a whole one makes it 1.5 to 3.3 times, most where cells are small.

**The ends.** The lowest eighth of a jet is one hue of blue and the highest one of red; there only
brightness tells the level, from 127 to 255. A pixel at an edge takes its brightness from what lies
around it. Where all of a spot is dimmed, by being smaller than a pixel, its level is what it looks
like: at most 38 too low (blue) or too high (red).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.errors import InvalidInputError

__all__ = [
    "EXPRESSING",
    "JET",
    "SCALES",
    "Expression",
    "Scale",
    "darkness",
    "open_scale",
    "read_mask",
]

EXPRESSING = 20
"""Brightest channel above which a pixel of an expression mask counts; below is the JPEG's noise."""

LUMINOSITY = (0.21, 0.72, 0.07)
"""Weights of red, green and blue in the brightness that the service itself works with."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The colours of expression masks.

    Attributes
    ----------
    name : str
        What it is called in metadata.
    table : bytes
        Red, green and blue of levels 0 to 255, 768 bytes.
    """

    name: str
    table: bytes

    @classmethod
    def of(cls, name: str, colours: ArrayLike) -> Scale:
        """Make a scale from a table.

        Parameters
        ----------
        name : str
            What to call it.
        colours : array_like, shape (256, 3)
            Red, green and blue of levels 0 to 255, each from 0 to 255.

        Raises
        ------
        InvalidInputError
            If the table has another shape, numbers that are not colours, or fewer than two colours
            that differ from black.
        """
        array = np.asarray(colours)
        if array.shape != (256, 3):
            raise InvalidInputError(
                f"The scale {name} has shape {array.shape}, but must have red, green and blue for "
                "256 levels: (256, 3)."
            )
        if array.dtype.kind not in "uif" or not ((array >= 0) & (array <= 255)).all():
            raise InvalidInputError(f"The colours of the scale {name} must be from 0 to 255.")
        if array.max() <= 1:
            raise InvalidInputError(
                f"The colours of the scale {name} reach no more than {array.max():g}, but must be "
                "from 0 to 255.",
                hint="Multiply colours from 0 to 1 by 255.",
            )
        rounded = np.rint(array).astype(np.uint8)
        if len(np.unique(rounded[rounded.max(axis=1) > EXPRESSING], axis=0)) < 2:
            raise InvalidInputError(
                f"The scale {name} has no two colours that can be distinguished."
            )
        return cls(name, rounded.tobytes())

    @property
    def colours(self) -> NDArray[np.uint8]:
        """Red, green and blue of each level, shape (256, 3), uint8, read-only."""
        return np.frombuffer(self.table, np.uint8).reshape(256, 3)

    def paint(self, levels: ArrayLike) -> NDArray[np.float32]:
        """Return the colours of levels.

        Parameters
        ----------
        levels : array_like, shape (...,)
            From 0 to 255, also between whole ones; what lies beyond takes the end colours.

        Returns
        -------
        numpy.ndarray, shape (..., 3), float32
            Red, green and blue, 0 to 255.
        """
        at = np.clip(np.asarray(levels, dtype=np.float32), 0, 255)
        below = np.minimum(at.astype(np.intp), 254)
        between = (at - below.astype(np.float32))[..., None]
        colours = self.colours.astype(np.float32)
        painted: NDArray[np.float32] = colours[below]
        painted += (colours[below + 1] - painted) * between
        return painted

    def describe(self) -> dict[str, str]:
        """Return the scale's name and the SHA-256 of its table, for metadata."""
        return {"name": self.name, "sha256": hashlib.sha256(self.table).hexdigest()}


def _jet() -> Scale:
    """Return the jet of MATLAB and OpenCV: ramps of a quarter of the scale, a quarter apart."""
    place = np.arange(256)[:, None] / 255
    return Scale.of("jet", 255 * np.clip(1.5 - np.abs(4 * place - [3, 2, 1]), 0, 1))


JET = _jet()
"""Dark blue, blue, cyan, green, yellow, red, dark red."""

SCALES = {scale.name: scale for scale in (JET,)}
"""The scales that have names."""


def open_scale(scale: Scale | str | Path) -> Scale:
    """Return a scale by its name, or from a file.

    Parameters
    ----------
    scale : Scale, str or pathlib.Path
        ``"jet"``; or a file ``.npy`` or ``.csv`` (no heading; lines that begin with # are
        comments) with red, green and blue from 0 to 255 of levels 0 to 255, shape (256, 3).

    Raises
    ------
    InvalidInputError
        If there is no such scale, or the file cannot be read as one.
    """
    if isinstance(scale, Scale):
        return scale
    if isinstance(scale, str) and scale in SCALES:
        return SCALES[scale]
    path = Path(scale)
    if path.suffix.lower() not in (".csv", ".npy"):
        raise InvalidInputError(
            f"There is no scale {str(scale)!r}; it must be {' or '.join(SCALES)}, or a file .csv "
            "or .npy with red, green and blue of 256 levels."
        )
    try:
        if path.suffix.lower() == ".npy":
            table: Any = np.load(path, allow_pickle=False)
        else:
            table = np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8-sig")
    except (OSError, ValueError, EOFError) as error:
        raise InvalidInputError(
            f"{path} cannot be read as a scale: {error}",
            hint="It must hold red, green and blue, from 0 to 255, in 256 lines and no heading.",
        ) from None
    return Scale.of(path.name, table)


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """What an expression mask says.

    Attributes
    ----------
    level : numpy.ndarray, shape (height, width), uint8
        1 to 255: where the colour lies on the scale; 0 where nothing expresses.
    part : numpy.ndarray, shape (height, width), uint8
        255 times the part of the pixel that expresses; 0 where nothing does.
    """

    level: NDArray[np.uint8]
    part: NDArray[np.uint8]

    @property
    def intensity(self) -> NDArray[np.uint8]:
        """Level × part / 255, rounded: what the whole pixel has on average."""
        return cv2.multiply(self.level, self.part, scale=1 / 255)  # type: ignore[return-value]


def read_mask(
    pixels: NDArray[np.uint8], expressing: int = EXPRESSING, scale: Scale = JET
) -> Expression:
    """Return what an expression mask's colours stand for.

    Read a mask first and average or warp the numbers: the average of two colours is none of the
    scale, or another level's.

    JPEG leaves little of the colour of a dim pixel. So the level of one that is less than 0.92 as
    bright as its level's colour is moved towards that of its neighbourhood, in which bright pixels
    count for more, as far as JPEG may have taken it; the dimmer, the farther. Its part is its
    brightness, of that colour's. Where no black is within 3 pixels nothing is mixed with it: a
    pixel as bright as the scale's darkest colour is whole there, as mixtures of two colours are
    darker than either.

    Parameters
    ----------
    pixels : numpy.ndarray, shape (height, width, 3), uint8
        RGB, expressing pixels coloured on black.
    expressing : int
        What the brightest channel must exceed for a pixel to count; below is the JPEG's noise.
    scale : Scale
        The colours of the levels.
    """
    level, part = np.zeros((2, *pixels.shape[:2]), dtype=np.uint8)
    brightest = _brightest(pixels)
    # tile by tile, as arrays that fit the processor's cache are several times faster
    for top in range(0, level.shape[0], _TILE):
        for left in range(0, level.shape[1], _TILE):
            _read_tile(pixels, brightest, expressing, scale, (top, left), level, part)
    return Expression(level, part)


def _read_tile(
    pixels: NDArray[np.uint8],
    brightest: NDArray[np.uint8],
    expressing: int,
    scale: Scale,
    corner: tuple[int, int],
    level: NDArray[np.uint8],
    part: NDArray[np.uint8],
) -> None:
    """Write the levels and parts of a tile, whose (top, left) is given, of a picture."""
    top, left = corner
    y, x = max(top - _REACHED, 0), max(left - _REACHED, 0)
    tile = np.s_[y : top + _TILE + _REACHED, x : left + _TILE + _REACHED]
    counts = brightest[tile] > expressing
    if not counts[top - y : top - y + _TILE, left - x : left - x + _TILE].any():
        return
    # of the black around it only what is within an edge's reach says anything
    across, down, width, height = cv2.boundingRect(counts.view(np.uint8))
    up, before = max(down - _EDGE, 0), max(across - _EDGE, 0)
    box = np.s_[up : down + height + _EDGE, before : across + width + _EDGE]
    shade = np.ascontiguousarray(brightest[tile][box])
    at = np.flatnonzero(counts[box])
    colours = np.ascontiguousarray(pixels[tile][box]).reshape(-1, 3).take(at, axis=0)
    y, x = y + up, x + before
    row, column = max(top - y, 0), max(left - x, 0)
    inner = np.s_[row : top + _TILE - y, column : left + _TILE - x]
    plane = np.zeros_like(shade)
    found = _read_colours(colours, shade, at, expressing, scale)
    for target, values in zip((level, part), found, strict=True):
        # in which nothing but black is 0
        plane.ravel()[at] = np.maximum(values, 1)
        own = plane[inner]
        target[y + row :, x + column :][: own.shape[0], : own.shape[1]] = own


def _brightest(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the brightest channel of each pixel.

    Of each byte and the two after it: to take the channels apart first takes five times as long.
    """
    height, width = pixels.shape[:2]
    found = np.empty((height, width), dtype=np.uint8)
    step = max(_STRIP // max(width, 1), 1)
    for top in range(0, height, step):
        packed = np.ascontiguousarray(pixels[top : top + step]).reshape(1, -1)
        greatest = packed.copy()
        cv2.max(packed[:, :-1], packed[:, 1:], greatest[:, :-1])
        cv2.max(greatest[:, :-2], packed[:, 2:], greatest[:, :-2])
        strip = found[top : top + step]
        cv2.extractChannel(greatest.reshape(*strip.shape, 3), 0, strip)
    return found


def _read_colours(
    colours: NDArray[np.uint8],
    brightest: NDArray[np.uint8],
    at: NDArray[np.intp],
    expressing: int,
    scale: Scale,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the levels and parts of colours, shape (N, 3), that lie at places of a plane."""
    value = brightest.ravel()[at]
    chroma = np.ascontiguousarray((colours.astype(np.float32) @ _TO_CHROMA).T)
    chroma /= value.astype(np.float32)
    # without black nearby nothing is mixed with it
    edge = cv2.erode(brightest, _DISC).ravel()[at] <= expressing
    shade = (value // (256 // _SHADES)).astype(np.uint8)
    for end in _ends(scale):
        apart = chroma - end[:, None]
        apart *= apart
        own = np.flatnonzero(edge & (apart[0] + apart[1] < _SAME_HUE**2))
        if len(own):
            around = 255 * _around(_BRIGHTNESS, value[own], at[own], brightest.shape)
            bright = value[own].astype(np.float32)
            bright = np.where(bright < _FULL * around, around, bright)
            shade[own] = np.minimum(bright * (_SHADES / 256), _SHADES - 1)
    found = _levels_of_colours(scale).ravel()[_cells(shade, chroma)]
    parts = _parts(scale)
    first = value.astype(np.intp) << 8  # of the pairs of a brightness and a level
    pair = first + found
    dim = np.flatnonzero(parts.are_dim[pair])
    if len(dim):
        around = _around(parts.weights, pair, at, brightest.shape, dim)
        was = found[dim]
        doubt = parts.doubts[pair[dim]]
        found[dim] = np.rint(np.clip(around, was - doubt, was + doubt)).astype(np.uint8)
        pair[dim] = first[dim] + found[dim]
    part = parts.rounded[pair]
    # colours mixed with each other are darker too
    part[~edge & (value >= parts.darkest)] = 255
    return found, part


# Blue and red difference of YCbCr: what is left of a colour of which JPEG has halved the chroma
# points the same way there, so that angles are worth more than lengths.
_TO_CHROMA = np.array(
    [[-0.168736, 0.5], [-0.331264, -0.418688], [0.5, -0.081312]], dtype=np.float32
)

_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))  # how far JPEG spreads an edge
_EDGE = _DISC.shape[0] // 2
_STRIP = 1 << 17  # pixels of which the brightest channels are found at once
_TILE = 384  # pixels each way that are read at once: small tiles share more with their neighbours
_REACHED = _EDGE + 2 * 6  # pixels that one depends on each way: 6 of either neighbourhood
_FULL = 0.92  # part of its full brightness below which a colour is mixed with black
_DOUBT = 5.0  # levels by which JPEG may make a colour wrong, at full brightness
_BELL = cv2.getGaussianKernel(13, 2.0, cv2.CV_32F)  # a neighbourhood
_SAME_HUE = 0.15  # difference of chroma, relative to brightness, that JPEG makes at an end
_STEPS, _REACH = 128, 0.75  # chroma is looked up in so many steps each way, from −reach to reach
_FIRST_CELL, _CELLS = 21, 86  # of which those hold all from −0.5 to 0.5, and there is no other
_SHADES = 64  # and brightness in so many
_RADIAL = 0.3  # a difference in length of the chroma counts so much of one in direction
_DIMMING = 0.002  # and the part that is black counts so much of the square of a wrong colour


@dataclass(frozen=True, slots=True, eq=False)
class _Weighted:
    """Values times what they count, and what they count, both by the same key."""

    values: NDArray[np.float32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, values: NDArray[np.float32], parts: NDArray[np.float32]) -> _Weighted:
        """Weigh values by the sixth power of parts, which are from 0 to 1."""
        weights = (parts * parts * parts) ** 2 + np.float32(1e-12)
        return cls((values * weights).ravel(), weights.ravel())


_BYTES = np.arange(256, dtype=np.float32)
_BRIGHTNESS = _Weighted.of(_BYTES / np.float32(255), _BYTES / np.float32(255))


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """What a pixel's brightness and level say, all (65536,), by 256 × brightness + level.

    Attributes
    ----------
    are_dim : numpy.ndarray, bool
        Whether the pixel is so dark that its colour is mixed with black.
    weights : _Weighted
        The level, by the part of its full brightness.
    doubts : numpy.ndarray, float32
        Levels by which JPEG may have made it wrong.
    rounded : numpy.ndarray, uint8
        255 × the part, 1 or more.
    darkest : int
        The full brightness of the scale's darkest colour.
    """

    are_dim: NDArray[np.bool_]
    weights: _Weighted
    doubts: NDArray[np.float32]
    rounded: NDArray[np.uint8]
    darkest: int


@lru_cache(maxsize=8)
def _parts(scale: Scale) -> _Parts:
    full = np.maximum(scale.colours.max(axis=1), 1).astype(np.float32)
    parts = np.minimum(_BYTES[:, None] / full, np.float32(1))
    weights = _Weighted.of(_BYTES, parts)
    doubts = (_DOUBT / np.maximum(parts, 1e-6) ** 2).astype(np.float32)
    rounded = np.maximum(np.rint(parts * 255), 1).astype(np.uint8)
    darkest = int(full[full > EXPRESSING].min())
    return _Parts((parts < _FULL).ravel(), weights, doubts.ravel(), rounded.ravel(), darkest)


def _around(
    table: _Weighted,
    index: NDArray[np.integer[Any]],
    at: NDArray[np.intp],
    shape: tuple[int, ...],
    wanted: NDArray[np.intp] | slice = np.s_[:],
) -> NDArray[np.float32]:
    """Return the means of what a table says of pixels over the neighbourhoods of those wanted."""
    top, bottom = np.zeros((2, *shape), dtype=np.float32)
    top.ravel()[at], bottom.ravel()[at] = table.values[index], table.weights[index]
    at = at[wanted]
    total, weight = (
        # what GaussianBlur does, without looking for faster ways first
        cv2.sepFilter2D(plane, -1, _BELL, _BELL, borderType=cv2.BORDER_CONSTANT).ravel()[at]
        for plane in (top, bottom)
    )
    mean: NDArray[np.float32] = np.divide(total, weight)
    return mean


def _cells(shade: NDArray[np.uint8], chroma: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return which cell of the look-up table a shade and a chroma, shape (2, N), lie in."""
    steps = ((chroma + np.float32(_REACH)) * np.float32(_STEPS / 2 / _REACH)).astype(np.int32)
    cells = shade.astype(np.int32)
    for step in steps:
        cells *= _CELLS
        cells += step
    cells -= _FIRST_CELL * (_CELLS + 1)
    return cells


def _chroma(scale: Scale) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the chroma of each level relative to its brightness, (256, 2), and that, (256,)."""
    colours = scale.colours.astype(np.float32)
    full = np.maximum(colours.max(axis=1), 1)
    return colours @ _TO_CHROMA / full[:, None], full


@lru_cache(maxsize=8)
def _ends(scale: Scale) -> tuple[NDArray[np.float32], ...]:
    """Return the chroma of each end of a scale that is one hue of many brightnesses."""
    chroma, full = _chroma(scale)
    found = []
    for along, shade in ((chroma, full), (chroma[::-1], full[::-1])):
        differs = np.linalg.norm(along - along[0], axis=1) > 0.06
        length = int(differs.argmax()) if differs.any() else len(along)
        # of a scale that is brightness all through nothing can be told from its neighbours
        if 1 < length < 128 and np.ptp(shade[:length]) > 0:
            found.append(along[0])
    return tuple(found)


@lru_cache(maxsize=8)
def _levels_of_colours(scale: Scale) -> NDArray[np.uint8]:
    """Return the level of each shade and cell of chroma, shape (shades, cells²), uint8.

    It is the one whose colour, dimmed or not, is nearest. Being dimmed costs a little, so that of
    two levels of one hue the one is taken that the brightness fits; being brighter than the
    scale's colour costs in full.
    """
    chroma, full = _chroma(scale)
    _, first, same = np.unique(scale.colours, axis=0, return_index=True, return_inverse=True)
    # levels that share a colour are read as their mean
    mean = np.bincount(same, np.arange(256)) / np.bincount(same)
    levels, chroma, full = np.rint(mean).astype(np.uint8), chroma[first], full[first]
    centres = (np.arange(_STEPS, dtype=np.float32) + 0.5) * (2 * _REACH / _STEPS) - _REACH
    centres = centres[_FIRST_CELL : _FIRST_CELL + _CELLS]
    apart = np.stack(np.meshgrid(centres, centres, indexing="ij"), -1).reshape(-1, 1, 2) - chroma
    length = np.linalg.norm(chroma, axis=1)
    radial = (apart * (chroma / np.maximum(length, 1e-6)[:, None])).sum(axis=-1)
    squared = (apart**2).sum(axis=-1)
    wrong = squared - (1 - np.float32(_RADIAL**2)) * radial**2
    # grey has no direction
    wrong[:, length < 0.02] = squared[:, length < 0.02]
    out = np.empty((_SHADES, len(wrong)), dtype=np.uint8)
    for shade in range(_SHADES):
        value = np.float32((shade + 0.5) * 256 / _SHADES)
        dimmed = np.where(full > value, _DIMMING * (1 - value / full), (full / value - 1) ** 2)
        out[shade] = levels[(wrong + dimmed).argmin(axis=1)]
    out.flags.writeable = False
    return out


def darkness(
    pixels: NDArray[np.uint8], background: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Return how much of the background's light a stained section takes away.

    With luminosity L = 0.21 R + 0.72 G + 0.07 B it is a = 1 − L / L(background), and 0 where the
    pixel is brighter than that: absorptance, 0 for bare glass and 1 for black. It goes up with
    optical density, as −log₁₀(1 − a), but unlike that its average over an area is that of the
    area's average colour, so that tiers and resolutions agree. On dark-field images it is 0.

    Parameters
    ----------
    pixels : numpy.ndarray, shape (height, width, 3), uint8
        RGB.
    background : tuple of 3 float
        The colour around the tissue; see `atldld.warp.background_of`.

    Returns
    -------
    numpy.ndarray, shape (height, width), uint8
        255 · a, rounded.
    """
    weights = np.array(LUMINOSITY)
    around = max(float(weights @ background), 1.0)
    # 255 · (1 − L / around), rounded and cut to 0 … 255, in one pass
    return cv2.transform(pixels, np.array([[*(-255 / around * weights), 255.0]]))  # type: ignore[return-value]
