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
            raise InvalidInputError(f"The scale {name} has no two colours that can be told apart.")
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
    # tile by tile, as arrays that fit the processor's cache are several times faster
    for top in range(0, level.shape[0], _TILE):
        for left in range(0, level.shape[1], _TILE):
            above, before = min(top, _REACHED), min(left, _REACHED)
            tile = pixels[
                top - above : top + _TILE + _REACHED, left - before : left + _TILE + _REACHED
            ]
            inner = np.s_[above : above + _TILE, before : before + _TILE]
            own = np.s_[top : top + _TILE, left : left + _TILE]
            _read_tile(tile, expressing, scale, inner, level[own], part[own])
    return Expression(level, part)


def _read_tile(
    pixels: NDArray[np.uint8],
    expressing: int,
    scale: Scale,
    inner: tuple[slice, slice],
    level: NDArray[np.uint8],
    part: NDArray[np.uint8],
) -> None:
    """Write the levels and parts of the inner pixels of a tile into two arrays of their shape."""
    pixels = np.ascontiguousarray(pixels)
    red, green, blue = cv2.split(pixels)
    brightest = np.asarray(cv2.max(cv2.max(red, green), blue), dtype=np.uint8)
    if brightest[inner].max() <= expressing:
        return
    at = np.flatnonzero(brightest > expressing)
    value = brightest.ravel()[at].astype(np.float32)
    colours = pixels.reshape(-1, 3).take(at, axis=0)
    chroma = np.ascontiguousarray((colours.astype(np.float32) @ _TO_CHROMA).T)
    chroma /= value
    # without black nearby nothing is mixed with it
    edge = cv2.erode(brightest, _DISC).ravel()[at] <= expressing
    bright = value.copy()
    for end in _ends(scale):
        apart = chroma - end[:, None]
        apart *= apart
        own = np.flatnonzero(edge & (apart[0] + apart[1] < _SAME_HUE**2))
        if len(own):
            part_of = value[own] / np.float32(255)
            around = 255 * _around(part_of, part_of, at[own], brightest.shape)
            bright[own] = np.where(value[own] < _FULL * around, around, value[own])
    shade = np.minimum(bright * (_SHADES / 256), _SHADES - 1).astype(np.intp)
    found = _levels_of_colours(scale)[shade, _cells(chroma)]
    full = np.maximum(scale.colours.max(axis=1), 1).astype(np.float32)
    fraction = np.minimum(value / full[found], 1)
    dim = np.flatnonzero(fraction < _FULL)
    around = _around(found.astype(np.float32), fraction, at, brightest.shape)[dim]
    doubt = _DOUBT / fraction[dim] ** 2
    around = np.clip(around, found[dim] - doubt, found[dim] + doubt)
    found[dim] = np.rint(around).astype(np.uint8)
    fraction = np.minimum(value / full[found], 1)
    # colours mixed with each other are darker too
    fraction[~edge & (value >= full[full > EXPRESSING].min())] = 1
    for target, values in ((level, found), (part, np.rint(fraction * 255))):
        plane = np.zeros_like(brightest)
        # in which nothing but black is 0
        plane.ravel()[at] = np.maximum(values, 1)
        target[:] = plane[inner]


# Blue and red difference of YCbCr: what is left of a colour of which JPEG has halved the chroma
# points the same way there, so that angles are worth more than lengths.
_TO_CHROMA = np.array(
    [[-0.168736, 0.5], [-0.331264, -0.418688], [0.5, -0.081312]], dtype=np.float32
)

_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))  # how far JPEG spreads an edge
_TILE = 256  # pixels each way that are worked on at once
_REACHED = 15  # pixels that one depends on each way: 3 of the disc, and 6 of either neighbourhood
_FULL = 0.92  # part of its full brightness below which a colour is mixed with black
_DOUBT = 5.0  # levels by which JPEG may make a colour wrong, at full brightness
_NEAR = 2.0  # standard deviation of a neighbourhood, in pixels
_SAME_HUE = 0.15  # difference of chroma, relative to brightness, that JPEG makes at an end
_CELLS, _REACH = 128, 0.75  # chroma is looked up in so many steps each way, from −reach to reach
_SHADES = 64  # and brightness in so many
_RADIAL = 0.3  # a difference in length of the chroma counts so much of one in direction
_DIMMING = 0.002  # and the part that is black counts so much of the square of a wrong colour


def _around(
    values: NDArray[np.float32],
    weights: NDArray[np.float32],
    at: NDArray[np.intp],
    shape: tuple[int, ...],
) -> NDArray[np.float32]:
    """Return the mean of pixels' values over the neighbourhood of each, by weight to the sixth.

    Weights are from 0 to 1.
    """
    weights = (weights * weights * weights) ** 2 + np.float32(1e-12)
    top, bottom = np.zeros((2, *shape), dtype=np.float32)
    top.ravel()[at], bottom.ravel()[at] = values * weights, weights
    total, weight = (
        cv2.GaussianBlur(plane, (13, 13), _NEAR, borderType=cv2.BORDER_CONSTANT).ravel()[at]
        for plane in (top, bottom)
    )
    mean: NDArray[np.float32] = total / weight
    return mean


def _cells(chroma: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return which cell of the look-up table a chroma, shape (2, N), lies in."""
    steps = ((chroma + np.float32(_REACH)) * np.float32(_CELLS / 2 / _REACH)).astype(np.intp)
    np.clip(steps, 0, _CELLS - 1, out=steps)
    cells: NDArray[np.intp] = steps[0] * _CELLS + steps[1]
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
    centres = (np.arange(_CELLS, dtype=np.float32) + 0.5) * (2 * _REACH / _CELLS) - _REACH
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
