"""What happens to a made-up section on its slide and under the camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera", "Damage", "damaged", "photographed"]

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
Random = np.random.Generator


@dataclass(frozen=True)
class Damage:
    """How often sections are damaged: chances from 0 to 1, or how many there are on average.

    Attributes
    ----------
    bubbles, folds, hairs, dirt : float
        How many on a section.
    missing : float
        Chance that a piece at the edge is missing.
    beside : float
        Chance that tissue of another section lies at the side.
    torn, cropped : float
        Chances that the section is torn, and that its picture is cut off.
    """

    bubbles: float = 0.5
    folds: float = 0.25
    hairs: float = 0.3
    dirt: float = 2.0
    missing: float = 0.1
    beside: float = 0.12
    torn: float = 0.12
    cropped: float = 0.1

    @classmethod
    def drawn(cls, rng: Random) -> Damage:
        """Return how often sections of one laboratory on one day are damaged."""
        usual = cls()
        return cls(
            **{name: getattr(usual, name) * rng.uniform(0.3, 1.7) for name in cls.__annotations__}
        )


@dataclass(frozen=True)
class Camera:
    """How sections are photographed.

    Attributes
    ----------
    background : tuple of 3 float
        The slide's red, green and blue, 0 to 255.
    uneven : float
        By which part of itself the light changes over the picture.
    noise : float
        Standard deviation, of 255.
    blur : float
        Standard deviation of the point spread, in µm.
    spread : float
        By which part of itself absorbance changes from section to section.
    quality : int
        Of the JPEG.
    """

    background: tuple[float, float, float]
    uneven: float
    noise: float
    blur: float
    spread: float
    quality: int

    @classmethod
    def drawn(cls, rng: Random, *, dark_field: bool) -> Camera:
        """Return a camera with settings of its own."""
        background = rng.uniform(2, 14, 3) if dark_field else rng.uniform(222, 246, 3)
        return cls(
            background=(float(background[0]), float(background[1]), float(background[2])),
            uneven=rng.uniform(0.02, 0.12),
            noise=rng.uniform(1.5, 5),
            blur=rng.uniform(8, 22),
            spread=rng.uniform(0.04, 0.15),
            quality=int(rng.integers(70, 93)),
        )


def damaged(
    absorbance: Matrix, tissue: Mask, pixel: float, damage: Damage, rng: Random
) -> tuple[Matrix, Mask]:
    """Return a section's absorbance once it is damaged, and what is left of its tissue.

    Parameters
    ----------
    absorbance : numpy.ndarray, shape (rows, columns)
        0 is the bare slide.
    tissue : numpy.ndarray, shape (rows, columns), bool
        Where there is tissue.
    pixel : float
        Side of a pixel, in µm.
    damage : Damage
        How often what happens.
    rng : numpy.random.Generator
        What is random.
    """
    out, left = absorbance.copy(), tissue.copy()
    if tissue.any():
        if rng.random() < damage.missing:
            gone = _piece(tissue, rng)
            out[gone], left[gone] = 0.0, False
        for _ in range(rng.poisson(damage.folds)):
            _fold(out, left, pixel, rng)
        for _ in range(rng.poisson(damage.bubbles)):
            _bubble(out, pixel, rng)
        if rng.random() < damage.beside:
            _beside(out, tissue, pixel, rng)
    for _ in range(rng.poisson(damage.hairs)):
        _hair(out, pixel, rng)
    for _ in range(rng.poisson(damage.dirt)):
        row, column = (int(rng.integers(side)) for side in out.shape)
        cv2.circle(out, (column, row), max(round(rng.uniform(15, 60) / pixel), 1), 0.6, -1)
    return out, left


def photographed(
    absorbance: Matrix, pixel: float, tint: Matrix, camera: Camera, rng: Random, *, dark_field: bool
) -> NDArray[np.uint8]:
    """Return the picture of a section, shape (rows, columns, 3), RGB.

    Parameters
    ----------
    absorbance : numpy.ndarray, shape (rows, columns)
        Of the section, in powers of ten.
    pixel : float
        Side of a pixel, in µm.
    tint : numpy.ndarray, shape (3,)
        How much more than usual is absorbed of red, green and blue.
    camera : Camera
        How it is photographed.
    rng : numpy.random.Generator
        What is random.
    dark_field : bool
        Whether tissue shines on a dark slide.
    """
    blur = camera.blur * rng.uniform(0.6, 1.4) * (3.0 if rng.random() < 0.04 else 1.0) / pixel
    seen = cv2.GaussianBlur(absorbance, (0, 0), blur) if blur > 0.2 else absorbance
    seen = seen * (1 + camera.spread * rng.normal())
    light = 1 + camera.uneven * _uneven(seen.shape, rng)
    through = 10 ** -(np.maximum(seen, 0)[..., None] * tint)
    background = np.array(camera.background) + rng.normal(0, 1.5, 3)
    picture = background + 235 * (1 - through) if dark_field else background * through
    picture = picture * light[..., None]
    noise = rng.normal(0, camera.noise, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def _uneven(shape: tuple[int, ...], rng: Random) -> Matrix:
    """Return a smooth random picture between about −1 and 1."""
    coarse = rng.normal(0, 0.5, (3, 4))
    out: Matrix = np.asarray(
        cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), dtype=np.float64
    )
    return out


def _within(tissue: Mask, rng: Random) -> tuple[int, int]:
    rows, columns = np.nonzero(tissue)
    k = int(rng.integers(len(rows)))
    return int(rows[k]), int(columns[k])


def _piece(tissue: Mask, rng: Random) -> Mask:
    """Return a piece beyond a wavy line, 3 to 12 % of the tissue."""
    rows, columns = np.indices(tissue.shape)
    angle = rng.uniform(0, 2 * np.pi)
    along = columns * np.cos(angle) - rows * np.sin(angle)
    wave = 0.02 * sum(tissue.shape) * np.sin(along / (0.03 * sum(tissue.shape)) + rng.uniform(0, 6))
    depth = rows * np.cos(angle) + columns * np.sin(angle) + wave
    beyond = np.quantile(depth[tissue], 1 - rng.uniform(0.03, 0.12))
    out: Mask = depth > beyond
    return out


def _curve(
    start: tuple[float, float], length: float, step: float, bend: float, rng: Random
) -> NDArray[np.int32]:
    """Return the points (x, y) of a line that wanders, with four bits below the pixel."""
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, bend, max(int(length / step), 2)))
    x = start[0] + step * np.cumsum(np.cos(angle))
    y = start[1] + step * np.cumsum(np.sin(angle))
    return np.rint(np.stack((x, y), axis=-1) * 16).astype(np.int32)


def _drawn(shape: tuple[int, ...], line: NDArray[np.int32], width: float) -> Matrix:
    mask = np.zeros(shape, dtype=np.uint8)
    cv2.polylines(mask, [line], False, 255, max(round(width), 1), cv2.LINE_AA, shift=4)
    return mask / 255.0


def _fold(out: Matrix, tissue: Mask, pixel: float, rng: Random) -> None:
    """Lay tissue double along a line."""
    row, column = _within(tissue, rng)
    line = _curve((column, row), rng.uniform(500, 2500) / pixel, 6, 0.12, rng)
    doubled = _drawn(out.shape, line, rng.uniform(60, 180) / pixel)
    out += doubled * (0.6 * out + 0.08) * tissue


def _bubble(out: Matrix, pixel: float, rng: Random) -> None:
    """Make a round place pale, with a dark rim."""
    row, column = (int(rng.integers(side)) for side in out.shape)
    radius = max(round(rng.uniform(100, 600) / pixel), 2)
    inside, rim = np.zeros(out.shape, np.uint8), np.zeros(out.shape, np.uint8)
    axes = (radius, max(round(radius * rng.uniform(0.7, 1)), 2))
    turned, wide = float(rng.uniform(0, 180)), max(round(25 / pixel), 1)
    cv2.ellipse(inside, (column, row), axes, turned, 0, 360, 255, -1, cv2.LINE_AA)
    cv2.ellipse(rim, (column, row), axes, turned, 0, 360, 255, wide, cv2.LINE_AA)
    out *= 1 - rng.uniform(0.1, 0.5) * inside / 255.0
    out += rng.uniform(0.1, 0.4) * rim / 255.0


def _hair(out: Matrix, pixel: float, rng: Random) -> None:
    start = (float(rng.uniform(0, out.shape[1])), float(rng.uniform(0, out.shape[0])))
    line = _curve(start, rng.uniform(1500, 6000) / pixel, 5, 0.08, rng)
    np.maximum(out, 0.7 * _drawn(out.shape, line, 22 / pixel), out=out)


def _beside(out: Matrix, tissue: Mask, pixel: float, rng: Random) -> None:
    """Let the edge of another section, which looks like this one, peep in from the side."""
    columns = np.flatnonzero(tissue.any(axis=0))
    first, last = int(columns[0]), int(columns[-1])
    width = out.shape[1]
    peeps = round(width * rng.uniform(0.04, 0.12))
    other = np.zeros_like(out)
    if rng.random() < 0.5:
        peeps = min(peeps, last - first)
        other[:, :peeps] = out[:, last - peeps + 1 : last + 1]
    else:
        peeps = min(peeps, last - first)
        other[:, width - peeps :] = out[:, first : first + peeps]
    shift = round(rng.normal(0, 500) / pixel)
    other = np.roll(other, shift, axis=0)
    apart = cv2.dilate(tissue.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    out[apart] = np.maximum(out, other)[apart]
