"""Pictures of sections through the demo brain, with cells, noise and a label.

Rendering evaluates the function once every 16 full-resolution pixels, at the centres of the tier-4
pixels, and interpolates with a polynomial whose weights are averaged over the pixels of the tier
asked for. Hence all tiers are box averages of the same picture.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast

import cv2
import numpy as np

from atldld.demo.anatomy import WORKERS, evaluate
from atldld.place.spaces import BOX
from atldld.warp.stain import JET

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Field = NDArray[np.float32]

__all__ = ["View", "mask_part", "render"]

View = Literal["image", "expression"]

_STEP = 16  # full-resolution pixels from sample to sample
_TIER = 4  # at this tier a pixel is one sample wide
_MARGIN = 4  # samples evaluated beyond the picture, for the interpolation
_TAPS = 7  # samples an interpolated pixel depends on, in each direction
_BAND = 32  # rows finished at once
_TILE = 1024  # full-resolution pixels after which cells and noise repeat


def mask_part(gene: ArrayLike) -> Field:
    """Return how much of a place expression masks show in colour, float32, 0..1.

    Masks show where expression exceeds 0.11; they begin within 0.01 of it.

    Parameters
    ----------
    gene : array-like, shape (...,)
        Strength of expression, 0..1.

    Returns
    -------
    numpy.ndarray, shape (...,), float32
    """
    strength = np.asarray(gene, dtype=np.float32)
    return cast("Field", np.clip((strength - np.float32(0.105)) * 100, 0, 1))


def _polynomial_weights(offset: float) -> NDArray[np.float64]:
    """Return Lagrange weights of samples -3 ... 3 at a position from the middle one, (7,)."""
    nodes = np.arange(_TAPS) - _TAPS // 2
    weights = [np.prod([(offset - m) / (k - m) for m in nodes if m != k]) for k in nodes]
    return np.array(weights, dtype=np.float64)


@lru_cache(maxsize=8)
def _phase_kernels(downsample: int) -> tuple[NDArray[np.float64], ...]:
    """Return one kernel for each pixel a sample spans at a tier (0..4).

    A pixel's kernel is the mean of the kernels of the full-resolution pixel centres it covers,
    which is what makes all tiers averages of each other.
    """
    full = [_polynomial_weights((x - (_STEP - 1) / 2) / _STEP) for x in range(_STEP)]
    size = 1 << downsample
    return tuple(
        np.asarray(np.mean(full[x : x + size], axis=0), dtype=np.float64)
        for x in range(0, _STEP, size)
    )


def _refine(plane: Field, downsample: int, bounds: tuple[int, int, int, int]) -> Field:
    """Interpolate samples to the pixels of a tier.

    Parameters
    ----------
    plane
        float32 samples with at least three to spare on each side of ``bounds``.
    downsample
        Tier, 0..4.
    bounds
        First and end row, first and end column of the samples to turn into pixels.

    Returns
    -------
    float32, ``16 >> downsample`` pixels per sample in each direction.
    """
    kernels = _phase_kernels(downsample)
    n = len(kernels)
    top, bottom, left, right = bounds
    out = np.empty(((bottom - top) * n, (right - left) * n), dtype=np.float32)
    for j, across in enumerate(kernels):
        for k, along in enumerate(kernels):
            fine = cv2.sepFilter2D(plane, cv2.CV_32F, across, along)
            out[k::n, j::n] = fine[top:bottom, left:right]
    return out


def _sample(
    matrix: NDArray[np.float64], rows: int, columns: int, view: View
) -> tuple[Field, Field]:
    """Evaluate the brain at sample centres, margins included.

    Returns
    -------
    float32 (4, rows + 8, columns + 8): R, G, B and darkness of cells, or for masks first the
    expression, 0..1; and where a label must not be, (rows + 8, columns + 8): the tissue, 0..1, and
    0.4 outside the reference box.
    """
    height, width = rows + 2 * _MARGIN, columns + 2 * _MARGIN
    planes = np.empty((4, height, width), dtype=np.float32)
    inside = np.empty((height, width), dtype=np.float32)
    side = 128  # samples evaluated at once, in each direction

    def position(k: NDArray[np.int64]) -> NDArray[np.float64]:
        return k.astype(np.float64) * _STEP + ((_STEP - 1) / 2 - _MARGIN * _STEP)

    def fill(corner: tuple[int, int]) -> None:
        y0, x0 = corner
        y, x = np.arange(y0, min(y0 + side, height)), np.arange(x0, min(x0 + side, width))
        points = (
            position(x)[None, :, None] * matrix[:, 0] + position(y)[:, None, None] * matrix[:, 1]
        )
        points += matrix[:, 2]
        s = evaluate(points.reshape(-1, 3).astype(np.float32))
        window = np.s_[y0 : y0 + len(y), x0 : x0 + len(x)]
        shape = (len(y), len(x))
        if view == "image":
            planes[:3, *window] = s.rgb.reshape(3, *shape)
            planes[3, *window] = s.cells.reshape(shape)
        else:
            planes[0, *window] = s.gene.reshape(shape)
        # Beyond the box a label would be lost to pictures of the reference space, but does no harm.
        beyond = ((points < 100) | (points > np.array(BOX) - 100)).any(axis=-1)
        inside[window] = np.maximum(s.tissue.reshape(shape), np.float32(0.4) * beyond)

    corners = [(y, x) for y in range(0, height, side) for x in range(0, width, side)]
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(fill, corners))
    return planes, inside


@cache
def _cell_tile(downsample: int) -> Field:
    """Return a periodic tile of cell dots at a tier, float32, 0 (none) to 1 (dark)."""
    if downsample:
        return _halve(_cell_tile(downsample - 1))
    rng = np.random.default_rng(20240229)
    tile = np.zeros((_TILE, _TILE), dtype=np.float32)
    reach = np.arange(-10, 11)
    for _ in range(3600):
        x, y, radius, flat, turn, dark = rng.random(6)
        x, y, turn = x * _TILE, y * _TILE, turn * np.pi
        radius = 3.6 + 3.4 * radius**2
        dx, dy = reach[None, :] + int(x) - x, reach[:, None] + int(y) - y
        a = (dx * np.cos(turn) + dy * np.sin(turn)) * (1 + 0.35 * flat)
        b = (dy * np.cos(turn) - dx * np.sin(turn)) * (1 - 0.20 * flat)
        dot = (0.45 + 0.55 * dark) / (1 + np.exp((np.sqrt(a * a + b * b) - radius) * 1.6))
        window = np.ix_((reach + int(y)) % _TILE, (reach + int(x)) % _TILE)
        tile[window] = np.maximum(tile[window], dot)
    return tile


@cache
def _noise_tile(downsample: int) -> Field:
    """Return a periodic tile of sensor noise at a tier, float32 grey levels about 0."""
    if downsample:
        return _halve(_noise_tile(downsample - 1))
    rng = np.random.default_rng(20240301)
    white = rng.standard_normal((_TILE, _TILE)).astype(np.float32)
    # A little blur, as demosaicing leaves; by rolling, so that the tile stays periodic.
    soft = white + (np.roll(white, 1, 0) + np.roll(white, 1, 1) + np.roll(white, (1, 1), (0, 1)))
    return cast("Field", soft * np.float32(1.1))


def _halve(plane: Field) -> Field:
    """Return the 2x2 box averages of a plane of even size."""
    rows, columns = plane.shape
    return cast(
        "Field", plane.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3), dtype=np.float32)
    )


def _shift(seed: int, stream: int) -> tuple[int, int]:
    """Return the offset of a section's tile in samples, so that it is whole at tiers 0..4."""
    rng = np.random.default_rng((seed, stream))
    y, x = rng.integers(0, _TILE // _STEP, 2)
    return int(y), int(x)


def _rolled(tile: Field | None, shift: tuple[int, int]) -> Field | None:
    """Shift a periodic tile by a number of samples."""
    if tile is None:
        return None
    unit = len(tile) * _STEP // _TILE
    return np.roll(tile, (-shift[0] * unit, -shift[1] * unit), axis=(0, 1))


def _tiled(tile: Field | None, top: int, rows: int, columns: int) -> Field | None:
    """Return rows ``top`` ... of the plane a periodic tile covers, (rows, columns)."""
    if tile is None:
        return None
    across = -(-columns // len(tile))
    piece = tile.take(range(top, top + rows), axis=0, mode="wrap")
    return np.tile(piece, (1, across))[:, :columns]


# Share of the light a fully dark cell takes away, for R, G, B.
_CELL_DIMMING = (0.62, 0.68, 0.46)


def _finish(planes: list[Field], cells: Field | None, noise: Field | None) -> NDArray[np.uint8]:
    """Put cells and noise over R, G, B (and cell darkness) planes and round, (h, w, 3) uint8."""
    channels = []
    dark = None if cells is None else cv2.multiply(planes[3], cells)
    for plane, dimming in zip(planes, _CELL_DIMMING, strict=False):
        channel: Any = plane
        if dark is not None:
            channel = cv2.subtract(channel, cv2.multiply(channel, dark, scale=dimming))
        if noise is not None:
            channel = cv2.add(channel, noise)
        channels.append(cv2.convertScaleAbs(channel))
    return cast("NDArray[np.uint8]", cv2.merge(channels))


@cache
def _text(text: str) -> tuple[Field, int]:
    """Return large ink of a text, float32 in 0..1 and cut to it, and the height of its capitals.

    Shrunk, it has the same shape at all tiers, which letters drawn at each size have not.
    """
    font, scale, thick = cv2.FONT_HERSHEY_SIMPLEX, 4.0, 9
    (_, capital), _ = cv2.getTextSize("S", font, scale, thick)
    (wide, _), below = cv2.getTextSize(text, font, scale, thick)
    ink = np.zeros((3 * capital + below, wide + 2 * capital), dtype=np.uint8)
    cv2.putText(ink, text, (capital, 2 * capital), font, scale, 255, thick, cv2.LINE_AA)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return cut.astype(np.float32) / np.float32(255), int(2 * capital - rows[0])


def _stamp(
    picture: NDArray[np.uint8], text: str, inside: Field, size: tuple[int, int], downsample: int
) -> None:
    """Burn a text into the first corner that has room outside the tissue, in place.

    Parameters
    ----------
    picture
        uint8 (h, w, 3), the picture of this tier.
    text
        What to write.
    inside
        float32 samples with margins, 0..1, of where not to write: above 0.5 at no price. They
        are the same at all tiers, hence the same place.
    size
        Full-resolution width and height, pixels.
    downsample
        Tier of ``picture``.
    """
    width, height = size
    ink, reference = _text(text)
    wide = ink.shape[1]
    grey = 90 if picture[0, 0].mean() > 128 else 165
    best: tuple[float, float, int, int] | None = None
    for shrink in (1.0, 0.8, 0.6, 0.45):
        capital = shrink * min(0.018 * width, 0.03 * height, 0.9 * width * reference / wide)
        length, pad = wide * capital / reference, capital
        for x, base in (
            (pad, height - pad),
            (width - pad - length, height - pad),
            (pad, pad + capital),
            (width - pad - length, pad + capital),
            ((width - length) / 2, height - pad),
            ((width - length) / 2, pad + capital),
            (pad, height / 4),
            (width - pad - length, height / 4),
        ):
            rows, columns = (
                slice(int(lo // _STEP) + _MARGIN - 1, int(hi // _STEP) + _MARGIN + 3)
                for lo, hi in ((base - capital, base + 0.4 * capital), (x, x + length))
            )
            covered = float(inside[rows, columns].max(initial=0))
            if best is None or covered < best[0] - 0.01:
                best = (covered, capital, round(x), round(base))
    if best is None or best[0] > 0.5:  # no room: a label on tissue would pass for data
        return
    _, capital, left, base_line = best
    scale = 2.0**-downsample
    shape = tuple(max(1, round(n * capital / reference * scale)) for n in ink.shape)
    small = cv2.resize(ink, shape[::-1], interpolation=cv2.INTER_AREA)[..., None]
    y, x = round((base_line - capital) * scale), round(left * scale)
    under = picture[max(y, 0) : y + shape[0], max(x, 0) : x + shape[1]]
    small = small[: under.shape[0], : under.shape[1]]
    under[:] = np.rint(under * (1 - small) + np.float32(grey) * small)


def _bands(rows: int, size: int) -> list[tuple[int, int]]:
    """Cut ``rows`` into (first, end) pieces of at most ``size``."""
    return [(y, min(y + size, rows)) for y in range(0, rows, size)]


def _coarse(
    planes: Field, cells: Field | None, noise: Field | None, factor: int
) -> NDArray[np.uint8]:
    """Finish tier-4 planes and average ``factor`` x ``factor`` pixels, for tiers beyond 4."""
    rows, columns = (n // factor for n in planes.shape[1:])
    out = np.empty((rows, columns, 3), dtype=np.float32)
    dark = None if cells is None else planes[3] * cells
    for k, dimming in enumerate(_CELL_DIMMING):
        plane = planes[k] if dark is None else planes[k] * (1 - np.float32(dimming) * dark)
        if noise is not None:
            plane = plane + noise
        plane = plane[: rows * factor, : columns * factor]
        out[..., k] = plane.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def _picture(
    planes: list[Field],
    border: int,
    size: tuple[int, int],
    downsample: int,
    *,
    noise: bool,
    seed: int,
) -> NDArray[np.uint8]:
    """Put cells and noise over the planes of a stained section and round.

    Parameters
    ----------
    planes
        R, G, B and, if there shall be cells, their darkness, with a border.
    border
        Width of the border, pixels.
    size
        Width and height of the picture.
    downsample
        Its tier.
    noise, seed
        See `render`.

    Returns
    -------
    uint8 (height, width, 3) RGB.
    """
    width, height = size
    cells = len(planes) > 3
    tier = min(downsample, _TIER)
    zoom = (_STEP >> tier) // border
    dots = _cell_tile(tier) if cells else None
    grain = _noise_tile(tier) if noise else None
    dots, grain = _rolled(dots, _shift(seed, 0)), _rolled(grain, _shift(seed, 1))

    if downsample > _TIER:
        stack = np.stack(planes)[:, border:-border, border:-border]
        n, m = stack.shape[1:]
        coarse = _coarse(
            stack,
            _tiled(dots, 0, n, m),
            _tiled(grain, 0, n, m),
            1 << (downsample - _TIER),
        )
        return np.ascontiguousarray(coarse[:height, :width])
    picture = np.empty((height, width, 3), dtype=np.uint8)

    def fill(band: tuple[int, int]) -> None:
        top, end = band
        first, last = top // zoom + border, -(-end // zoom) + border
        around: list[Any] = [plane[first - 1 : last + 1] for plane in planes]
        if zoom > 1:
            around = [
                cv2.resize(plane, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
                for plane in around
            ]
        window = np.s_[zoom : zoom + end - top, zoom * border : zoom * border + width]
        picture[top:end] = _finish(
            [plane[window] for plane in around],
            _tiled(dots, top, end - top, width),
            _tiled(grain, top, end - top, width),
        )

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(fill, _bands(height, _BAND)))
    return picture


def _mask(gene: Field, border: int, size: tuple[int, int], downsample: int) -> NDArray[np.uint8]:
    """Paint an expression mask: at tier 2, of which coarser ones are averages, or finer.

    Parameters
    ----------
    gene
        float32 expression at tier 2, with a border.
    border
        Width of the border, pixels.
    size
        Width and height of the picture.
    downsample
        Its tier.

    Returns
    -------
    uint8 (height, width, 3) RGB.
    """
    width, height = size
    picture = np.empty((height, width, 3), dtype=np.uint8)
    zoom, factor = 1 << max(2 - downsample, 0), 1 << max(downsample - 2, 0)

    def fill(band: tuple[int, int]) -> None:
        top, end = band
        first, last = top * factor // zoom + border, -(-end * factor // zoom) + border
        around: Any = gene[first - 1 : last + 1]
        if zoom > 1:
            around = cv2.resize(around, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
        rows, columns = (end - top) * factor, width * factor
        strength = around[zoom : zoom + rows, zoom * border : zoom * border + columns]
        part = mask_part(strength)
        shown = part > 0
        colours = np.zeros((rows, columns, 3), dtype=np.float32)
        colours[shown] = JET.paint(255 * strength[shown]) * part[shown, None]
        averaged = cv2.resize(colours, (width, end - top), interpolation=cv2.INTER_AREA)
        picture[top:end] = np.rint(averaged)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(fill, _bands(height, max(_BAND // factor, 1))))
    return picture


def render(
    image_to_reference: ArrayLike,
    width: int,
    height: int,
    downsample: int = 0,
    *,
    view: View = "image",
    cells: bool = True,
    noise: bool = True,
    seed: int = 0,
    label: str | None = "SYNTHETIC",
) -> NDArray[np.uint8]:
    """Render a section of the procedural brain.

    Pixel (x, y) of the full-resolution picture has its centre at coordinate (x, y). Pixel u of
    tier d is the average of full-resolution pixels ``2**d * u`` ... ``2**d * u + 2**d - 1``.

    Parameters
    ----------
    image_to_reference : array-like, shape (3, 3)
        (p, i, r) in µm = matrix @ (x, y, 1), x = column and y = row in full-resolution pixels of
        the section's box.
    width, height : int
        Full-resolution size, pixels.
    downsample : int
        Tier d, 0..8.
    view : {"image", "expression"}
        "image" for the stained section, "expression" for a made-up gene in the colours of a full
        jet on black.
    cells : bool
        Strew cell dots, darker where the tissue has more cells ("image" only).
    noise : bool
        Add mild sensor noise ("image" only).
    seed : int
        Chooses where in their periodic patterns cells and noise start.
    label : str or None
        First word of the line burnt into a corner outside the tissue, None for no line. Where no
        corner has room the picture stays without.

    Returns
    -------
    numpy.ndarray, shape (height >> d, width >> d, 3), uint8
        RGB.

    Raises
    ------
    ValueError
        If the tier or the view does not exist, or the section has no pixels at the tier.
    """
    matrix = np.asarray(image_to_reference, dtype=np.float64)
    if matrix.shape != (3, 3):
        raise ValueError(f"image_to_reference must have shape (3, 3), not {matrix.shape}")
    if not 0 <= downsample <= 8:
        raise ValueError(f"downsample must be 0..8, not {downsample}")
    if view not in ("image", "expression"):
        raise ValueError(f"view must be 'image' or 'expression', not {view!r}")
    out_width, out_height = width >> downsample, height >> downsample
    if out_width < 1 or out_height < 1:
        raise ValueError(f"{width} x {height} pixels leave none at tier {downsample}")

    rows, columns = -(-height // _STEP), -(-width // _STEP)
    samples, inside = _sample(matrix, rows, columns, view)
    # Tiers 0 and 1 come from tier 2: at 4 um from pixel to pixel straight lines do.
    base = min(max(downsample, 2), _TIER)
    # One sample more on each side, for those lines to start from.
    bounds = (_MARGIN - 1, _MARGIN + rows + 1, _MARGIN - 1, _MARGIN + columns + 1)
    used = 4 if cells else 3
    if view == "expression":
        base, used = 2, 1
    with ThreadPoolExecutor(WORKERS) as pool:
        planes = list(pool.map(lambda plane: _refine(plane, base, bounds), samples[:used]))
    planes[:3] = [np.maximum(plane, 0) for plane in planes[:3]]
    border = _STEP >> base

    size = (out_width, out_height)
    if view == "expression":
        picture = _mask(planes[0], border, size, downsample)
    else:
        picture = _picture(planes, border, size, downsample, noise=noise, seed=seed)
    if label is not None:
        _stamp(picture, f"{label}  atldld demo brain", inside, (width, height), downsample)
    return picture
