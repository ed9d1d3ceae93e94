"""What colours of expression masks stand for: the genuine mask in colour against the same in grey.

    python benchmarks/mask_scale.py [FOLDER]

FOLDER is that of the genuine data (by default ``shared/data`` beside the repository); of it
``masks/71661873_colour.jpg`` and ``masks/71661873_grey.jpg`` are read: section image 71661873 of
data set 71717640 (Calb1). Needs Matplotlib, for other scales to compare with.

The two pictures differ in size and crop, so the grey one is laid over the other by an affine map
that makes them most alike. Then, for each candidate scale:

- large areas, where pixels are not mixed with anything: the level of their colour and their grey;
- single cells, 1 to 2 pixels wide: a cell's sums of luma and chroma are its area times its colour,
  and its sum of grey its area times its level, whatever blurred either picture;

and for the scale that the package uses, what brightness means: sums of grey against sums of level
times part, of levels of whole pixels, and of pictures whose colours were averaged before.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image

from atldld.warp.stain import EXPRESSING, JET, Scale, read_mask

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"

# Rows and columns of the picture in colour.
FOLDS = {
    "fold, upper": np.s_[400:450, 245:295],
    "fold, lower": np.s_[450:470, 220:250],
}
REGIONS = {
    "dentate gyrus, left": np.s_[370:600, 270:400],
    "superior colliculus": np.s_[200:310, 450:840],
    "cortex, upper left": np.s_[90:300, 200:600],
    "below the third ventricle": np.s_[610:720, 540:800],
    "cortex, lower right": np.s_[700:830, 960:1080],
}
TO_LUMA = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)


def candidates() -> dict[str, Scale]:
    """Return the scales that are compared."""
    place = np.arange(256) / 255

    def jet(low: float, high: float) -> np.ndarray:
        along = (low + (high - low) * place)[:, None]
        return 255 * np.clip(1.5 - np.abs(4 * along - [3, 2, 1]), 0, 1)

    hues = np.column_stack((240 * (1 - place), np.ones(256), np.ones(256))).astype(np.float32)
    tables = {
        "full jet": jet(0, 1),
        "jet, 0.06 to 0.96": jet(0.06, 0.96),
        "jet, 0.12 to 0.92": jet(0.12, 0.92),
        "hues 240 to 0": 255 * cv2.cvtColor(hues[None], cv2.COLOR_HSV2RGB)[0],
    }
    for name in ("jet", "turbo", "rainbow", "hot"):
        tables[f"Matplotlib's {name}"] = 255 * matplotlib.colormaps[name](np.arange(256))[:, :3]
    return {name: Scale.of(name, np.clip(table, 0, 255)) for name, table in tables.items()}


def registered(colour: np.ndarray, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return grey laid over colour, the map (2, 3) from colour's pixels, and the correlation."""
    bright = colour.max(axis=2).astype(np.float32)
    width, height = (grey.shape[k] / bright.shape[k] for k in (1, 0))
    found = np.array([[width, 0, 0], [0, height, 0]], dtype=np.float32)
    for sigma in (16, 8, 4, 2, 1):
        one, other = (cv2.GaussianBlur(picture, (0, 0), sigma) for picture in (bright, grey))
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 300, 1e-7)
        alike, better = cv2.findTransformECC(
            one, other, found, cv2.MOTION_AFFINE, stop, np.full(grey.shape, 255, np.uint8), 1
        )
        found = np.asarray(better, dtype=np.float32)
    over = cv2.warpAffine(
        grey, found, bright.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return over, found, alike


def spread(values: np.ndarray) -> str:
    low, quarter, middle, three, high = np.percentile(values, [5, 25, 50, 75, 95])
    return f"{middle:4.0f} (half {quarter:.0f} to {three:.0f}, nine tenths {low:.0f} to {high:.0f})"


def large_areas(colour: np.ndarray, grey: np.ndarray, scales: dict[str, Scale]) -> None:
    inner = cv2.erode(colour.max(axis=2), np.ones((3, 3), np.uint8)) > 150
    hue = cv2.cvtColor(colour.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[..., 0]
    red = ((hue >= 9) & (hue <= 18) & (colour.max(axis=2) > 180)).astype(np.uint8)
    areas = {"granule layer": (cv2.erode(red, np.ones((3, 3), np.uint8)) > 0) & inner}
    for name, where in FOLDS.items():
        areas[name] = np.zeros_like(inner)
        areas[name][where] = inner[where]
    print("Large areas: grey, and the level of their median colour by each scale")
    for name, area in areas.items():
        median = np.median(colour[area], axis=0).astype(np.uint8)
        print(
            f"  {name:15} {area.sum():4} pixels, RGB {median.tolist()}: grey {spread(grey[area])}"
        )
        patch = np.tile(median, (9, 9, 1))
        levels = (f"{key} {read_mask(patch, scale=one).level[4, 4]}" for key, one in scales.items())
        print("    " + ", ".join(levels))


def cells(path: Path, grey: np.ndarray, scales: dict[str, Scale]) -> None:
    with Image.open(path) as opened:
        opened.draft("YCbCr", opened.size)
        # not as RGB, which cuts off what JPEG has below black
        luma = np.asarray(opened.convert("YCbCr"), np.float64) - [0, 128, 128]
    grown = cv2.dilate(
        ((luma[..., 0] > 12) | (grey > 12)).astype(np.uint8),
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)),
    )
    count, label, stats, _ = cv2.connectedComponentsWithStats(grown, connectivity=8)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(label.ravel(), values.ravel(), count)

    sums = np.stack([total(luma[..., k]) for k in range(3)], axis=1)
    greys = total(grey)
    own = (np.arange(count) > 0) & (sums[:, 0] > 150) & (greys > 150) & (stats[:, 4] < 600)
    sums, greys = sums[own], greys[own]
    print(
        f"\nSingle cells: {len(sums)}. 'off': how far their colours are from the scale's; 'spread':"
    )
    print("of grey / (area x level) about its median, in logarithm; then level: grey / area")
    for name, scale in scales.items():
        axes = scale.colours @ TO_LUMA.T
        length = np.maximum((axes**2).sum(axis=1), 1)
        area = sums @ axes.T / length
        left = (sums**2).sum(axis=1)[:, None] - area**2 * length
        left[area <= 0] = np.inf
        level = left.argmin(axis=1)
        rows = np.arange(len(sums))
        off = np.sqrt(np.maximum(left[rows, level], 0) / (sums**2).sum(axis=1))
        area = area[rows, level]
        good = (off < 0.15) & (area > 2) & (level > 0)
        ratio = np.log(greys[good] / (area * level)[good])
        spread_of = 1.48 * np.median(np.abs(ratio - np.median(ratio)))
        steps = []
        for low in range(0, 256, 32):
            these = good & (level >= low) & (level < low + 32)
            if these.sum() >= 10:
                seen = greys[these] / area[these]
                error = 1.25 * seen.std() / np.sqrt(these.sum())
                steps.append(f"{level[these].mean():.0f}: {np.median(seen):.0f} ± {error:.0f}")
        print(
            f"  {name:20} off {np.median(off):.3f}, {good.sum()} fit, spread {spread_of:.2f}; "
            + ", ".join(steps)
        )


def brightness(colour: np.ndarray, grey: np.ndarray) -> None:
    read = read_mask(colour)
    bright = colour.max(axis=2)
    whole = np.where(bright > EXPRESSING, read.level, 0)
    print("\nBrightness: sums over regions, each divided by the sum of grey")
    regions = {"all": np.s_[:, :], **REGIONS}
    averaged = {}
    for side in (2, 4):
        rows, columns = (n // side for n in bright.shape)
        small = cv2.resize(
            colour[: rows * side, : columns * side], (columns, rows), interpolation=cv2.INTER_AREA
        )
        level = read_mask(small.astype(np.uint8)).intensity
        large = level.repeat(side, axis=0).repeat(side, axis=1)
        averaged[side] = np.zeros_like(bright)
        averaged[side][: rows * side, : columns * side] = large
    for name, where in regions.items():
        base = grey[where].sum()
        mixed = ", ".join(
            f"{side} x {side} averaged first {one[where].sum() / base:.2f}"
            for side, one in averaged.items()
        )
        print(
            f"  {name:26} level x part {read.intensity[where].sum() / base:.2f}, "
            f"levels of whole pixels {whole[where].sum() / base:.2f}, {mixed}"
        )
    print(
        f"Area: {100 * (read.part / 255).mean():.1f} % by parts, "
        f"{100 * (bright > EXPRESSING).mean():.1f} % of pixels exceed {EXPRESSING}"
    )
    hue = cv2.cvtColor(colour.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[..., 0]
    counts, _ = np.histogram(hue[bright > 150], bins=np.arange(0, 261, 10))
    print("Hues, pixels in steps of 10 degrees from 0: " + " ".join(map(str, counts)))
    weight = np.bincount(read.level.ravel() // 8, (read.part / 255).ravel(), 32)
    shares = 100 * weight / weight.sum()
    print("Levels, % of the area in steps of 8 from 0: " + " ".join(f"{s:.0f}" for s in shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=SHARED)
    masks = parser.parse_args().folder / "masks"
    colour = np.asarray(Image.open(masks / "71661873_colour.jpg").convert("RGB"))
    twin = np.asarray(Image.open(masks / "71661873_grey.jpg").convert("L"), dtype=np.float32)
    grey, found, alike = registered(colour, twin)
    print(
        f"Grey over colour: x' = {found[0, 0]:.4f} x {found[0, 1]:+.4f} y {found[0, 2]:+.2f}, "
        f"y' = {found[1, 0]:.4f} x {found[1, 1]:+.4f} y {found[1, 2]:+.2f}; "
        f"correlation {alike:.3f}\n"
    )
    scales = candidates()
    assert scales["full jet"].table == JET.table
    large_areas(colour, grey, scales)
    cells(masks / "71661873_colour.jpg", grey, scales)
    brightness(colour, grey)


if __name__ == "__main__":
    main()
