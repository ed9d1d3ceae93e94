"""0.3 import path for displacement fields, and two makers of affine ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.errors import InvalidInputError
from atldld.warp.displacement import DisplacementField

__all__ = ["DisplacementField", "affine", "affine_simple"]

Delta = NDArray[np.float64]


def affine(shape: tuple[int, int], matrix: ArrayLike) -> tuple[Delta, Delta]:
    """Return the displacements of an affine (or projective) map.

    Parameters
    ----------
    shape : tuple of 2 int
        Rows and columns of the output.
    matrix : array-like, shape (3, 3)
        ``[x, y, 1] ~ matrix @ [column, row, 1]``: output pixel → image pixel.

    Returns
    -------
    delta_x, delta_y : numpy.ndarray, shape (rows, columns), float64
        In pixels.
    """
    array = np.asarray(matrix, dtype=np.float64)
    if array.shape != (3, 3):
        raise InvalidInputError(f"The matrix has shape {array.shape}, but must have (3, 3).")
    rows, columns = np.arange(shape[0], dtype=np.float64)[:, None], np.arange(shape[1])
    x, y, w = (by_x * columns + by_y * rows + constant for by_x, by_y, constant in array)
    return x / w - columns, y / w - rows


def affine_simple(
    shape: tuple[int, int],
    scale_x: float = 1,
    scale_y: float = 1,
    rotation: float = 0,
    translation_x: float = 0,
    translation_y: float = 0,
    shear: float = 0,
    apply_centering: bool = True,
) -> tuple[Delta, Delta]:
    """Return the displacements of an affine map given by its parts.

    Parameters
    ----------
    shape : tuple of 2 int
        Rows and columns of the output.
    scale_x, scale_y : float
        Factors.
    rotation : float
        In radians, counter-clockwise in the image's frame (x right, y down).
    translation_x, translation_y : float
        In pixels.
    shear : float
        Angle in radians, counter-clockwise.
    apply_centering : bool
        Scale, rotate and shear about the middle of the output instead of pixel (0, 0).

    Returns
    -------
    delta_x, delta_y : numpy.ndarray, shape (rows, columns), float64
        In pixels.
    """
    matrix = np.array(
        [
            [
                scale_x * np.cos(rotation),
                -scale_y * np.sin(rotation + shear),
                translation_x,
            ],
            [
                scale_x * np.sin(rotation),
                scale_y * np.cos(rotation + shear),
                translation_y,
            ],
            [0.0, 0.0, 1.0],
        ]
    )
    if apply_centering:
        to_middle = np.eye(3)
        to_middle[:2, 2] = (1 - shape[1]) / 2, (1 - shape[0]) / 2
        back = np.eye(3)
        back[:2, 2] = (shape[1] - 1) / 2, (shape[0] - 1) / 2
        matrix = back @ matrix @ to_middle
    return affine(shape, matrix)
