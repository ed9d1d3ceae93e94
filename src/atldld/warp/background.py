"""The colour that a section lies on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["background_of"]


def background_of(image: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return the colour around the tissue: the commonest one along the image's edges.

    Tissue, a label or a scratch may touch an edge, and any one pixel may be dust. So the grey
    level that occurs most along a frame of 2 % of the sides is looked for, and the median colour
    of the frame's pixels within 8 levels of it is the background. Nothing is said of the hue, so
    dark-field images work as well.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width, 3), uint8
        RGB pixels.

    Returns
    -------
    tuple of 3 float
        Red, green, blue, 0 to 255.
    """
    height, width = image.shape[:2]
    band = max(min(height, width) // 50, 1)
    # every few pixels are enough: some thousands of them carry the estimate
    step = max((height + width) // 2000, 1)
    frame = np.concatenate(
        [
            image[:band:step, ::step].reshape(-1, 3),
            image[-band::step, ::step].reshape(-1, 3),
            image[::step, :band:step].reshape(-1, 3),
            image[::step, -band::step].reshape(-1, 3),
        ]
    )
    # three times the grey level; columns first, as NumPy is slow at adding up three numbers
    light = frame[:, 0].astype(np.intp)
    light += frame[:, 1]
    light += frame[:, 2]
    counts = np.bincount(light // (3 * _BIN), minlength=256 // _BIN)
    smooth = np.convolve(counts, [1, 2, 1], mode="same")
    centre = int(np.argmax(smooth)) * _BIN + _BIN // 2
    near = frame.compress(np.abs(light - 3 * centre) <= 3 * 8, axis=0)
    red, green, blue = (_median(near[:, channel]) for channel in range(3))
    return red, green, blue


_BIN = 4  # grey levels


def _median(values: NDArray[np.uint8]) -> float:
    """Return what `numpy.median` does, of values that can be counted."""
    below = np.bincount(values, minlength=256).cumsum()
    lower, upper = below.searchsorted([(len(values) - 1) // 2, len(values) // 2], side="right")
    return float(lower + upper) / 2
