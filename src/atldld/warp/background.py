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
    grey = frame.mean(axis=1)
    counts, edges = np.histogram(grey, bins=64, range=(0, 256))
    smooth = np.convolve(counts, [1, 2, 1], mode="same")
    centre = edges[np.argmax(smooth)] + 2.0
    red, green, blue = np.median(frame[np.abs(grey - centre) <= 8], axis=0)
    return float(red), float(green), float(blue)
