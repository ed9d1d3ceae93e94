"""Displacement fields: for each output pixel, how far away the image pixel lies that it shows."""

from __future__ import annotations

import tokenize
import warnings
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.errors import InvalidInputError, MissingFileError
from atldld.place.curves import CurvedMap
from atldld.place.spaces import LARGEST_SIDE, check_points
from atldld.support.files import OnlyWrites, whole_file

__all__ = ["DisplacementField"]

Field = NDArray[np.float32]

# Pixels of a curved map that are evaluated at once: some MB, whatever the field's size.
_AT_ONCE = 1 << 17

_MAGIC = b"\x93NUMPY"

# What NumPy raises where a file's header is none, by what is wrong with it.
_BROKEN_HEADER = (
    ValueError,
    TypeError,
    EOFError,
    SyntaxError,
    tokenize.TokenError,
    OverflowError,
    RecursionError,
)

_INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}
_BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT,
    "wrap": cv2.BORDER_WRAP,
    "reflect_101": cv2.BORDER_REFLECT_101,
    "transparent": cv2.BORDER_TRANSPARENT,
}


class DisplacementField:
    """A displacement of pixels.

    Output pixel (row, column) shows the image at ``x = column + delta_x[row, column]``,
    ``y = row + delta_y[row, column]``, in pixels of the image that is warped (of the tier that is
    used), whose pixel (0, 0) has its centre at (0, 0).

    Parameters
    ----------
    delta_x, delta_y : array-like, shape (rows, columns)
        Displacements in pixels, stored as float32.

    Raises
    ------
    InvalidInputError
        If the two arrays differ in shape or are not two-dimensional.
    """

    INPUT_FRAME = "output pixel"
    OUTPUT_FRAME = "tier pixel"

    def __init__(self, delta_x: ArrayLike, delta_y: ArrayLike) -> None:
        x, y = (np.asarray(delta, dtype=np.float32) for delta in (delta_x, delta_y))
        if x.ndim != 2 or x.shape != y.shape:
            raise InvalidInputError(
                f"delta_x and delta_y have the shapes {x.shape} and {y.shape}, but must both have "
                "the shape (rows, columns) of the output."
            )
        self.delta_x: Field = x
        self.delta_y: Field = y

    @classmethod
    def from_transform(cls, f_x: ArrayLike, f_y: ArrayLike) -> DisplacementField:
        """Make a field from the image pixels that the output pixels show.

        Parameters
        ----------
        f_x, f_y : array-like, shape (rows, columns)
            x and y of the image pixel for each output pixel.
        """
        x, y = np.asarray(f_x), np.asarray(f_y)
        if x.ndim != 2 or x.shape != y.shape:
            raise InvalidInputError(
                f"f_x and f_y have the shapes {x.shape} and {y.shape}, but must both have the "
                "shape (rows, columns) of the output."
            )
        rows, columns = x.shape
        # One side at a time, and float32 at once: at 1 µm a plane has 91 million pixels.
        return cls(
            np.subtract(x, np.arange(columns), dtype=np.float64).astype(np.float32),
            np.subtract(y, np.arange(rows)[:, None], dtype=np.float64).astype(np.float32),
        )

    @classmethod
    def from_matrix(cls, matrix: NDArray[np.float64], shape: tuple[int, int]) -> DisplacementField:
        """Make the field of an affine map.

        Parameters
        ----------
        matrix : numpy.ndarray, shape (2, 3)
            ``[x, y] = matrix @ [column, row, 1]``.
        shape : tuple of 2 int
            Rows and columns of the output.
        """
        columns = np.arange(shape[1], dtype=np.float64)
        rows = np.arange(shape[0], dtype=np.float64)[:, None]

        def side(by_column: float, by_row: float, constant: float) -> Field:
            out = np.empty(shape, dtype=np.float32)
            # float64 sums, rounded once as they are stored; no float64 array of the whole plane
            np.add(by_column * columns, by_row * rows + constant, out=out, casting="same_kind")
            return out

        (a, b, c), (d, e, f) = matrix
        return cls(side(a - 1, b, c), side(d, e - 1, f))

    @classmethod
    def of(cls, way: NDArray[np.float64] | CurvedMap, shape: tuple[int, int]) -> DisplacementField:
        """Make the field of a map, affine or curved; each pixel is evaluated.

        Parameters
        ----------
        way : numpy.ndarray, shape (2, 3), or CurvedMap
            From output pixels to those of the image, such as `atldld.place.tiers.tier_way` gives.
        shape : tuple of 2 int
            Rows and columns of the output.
        """
        if not isinstance(way, CurvedMap):
            return cls.from_matrix(way, shape)
        rows, columns = shape
        x, y = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
        height = max(_AT_ONCE // columns, 1)
        for top in range(0, rows, height):
            block = slice(top, min(top + height, rows))
            shown = way.pixels(block, slice(0, columns))
            x[block] = shown[0] - np.arange(columns)
            y[block] = shown[1] - np.arange(block.start, block.stop)[:, None]
        return cls(x, y)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        rows, columns = self.delta_x.shape
        return rows, columns

    @property
    def norm(self) -> Field:
        """Length of each displacement, in pixels; shape (rows, columns), float32."""
        return np.hypot(self.delta_x, self.delta_y)

    @property
    def transformation(self) -> tuple[Field, Field]:
        """The image pixels (x, y) that the output pixels show; two float32 arrays."""
        rows, columns = self.shape
        x = np.empty_like(self.delta_x)
        y = np.empty_like(self.delta_y)
        np.add(self.delta_x, np.arange(columns), out=x, casting="same_kind")
        np.add(self.delta_y, np.arange(rows)[:, None], out=y, casting="same_kind")
        return x, y

    def warp(
        self,
        img: NDArray[Any],
        interpolation: Literal["nearest", "linear", "cubic", "area", "lanczos"] = "linear",
        border_mode: Literal[
            "constant", "replicate", "reflect", "wrap", "reflect_101", "transparent"
        ] = "constant",
        c: float | Sequence[float] | NDArray[Any] = 0,
    ) -> NDArray[Any]:
        """Warp an image.

        Parameters
        ----------
        img : numpy.ndarray, shape (height, width) or (height, width, channels)
            The image, of the tier that the field is for.
        interpolation : {"nearest", "linear", "cubic", "area", "lanczos"}
            How to read between pixels.
        border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101", "transparent"}
            What to show outside the image.
        c : float, or sequence of 1 to 4 float
            The constant for ``"constant"``: one number for all channels, or one for each.

        Returns
        -------
        numpy.ndarray, shape (rows, columns[, channels])
            Of the image's dtype.

        Raises
        ------
        KeyError
            If the interpolation or the border mode is unknown.
        InvalidInputError
            If `c` is not a number or a sequence of 1 to 4 numbers, or if the image or the field is
            larger than OpenCV can warp.
        """
        flags, border = _INTERPOLATIONS[interpolation], _BORDERS[border_mode]
        value = _border_value(c)
        if max(*self.shape, *img.shape[:2]) > LARGEST_SIDE:
            raise InvalidInputError(
                f"Images of {img.shape[:2]} and fields of {self.shape} pixels cannot be warped: "
                f"a side may have at most {LARGEST_SIDE}.",
                hint="Use a coarser tier or resolution.",
            )
        f_x, f_y = self.transformation
        # "transparent" leaves what is there, which would be whatever memory held before
        beneath = np.zeros(self.shape + img.shape[2:], dtype=img.dtype)
        warped: NDArray[Any] = cv2.remap(
            img, f_x, f_y, flags, dst=beneath, borderMode=border, borderValue=value
        )
        return warped

    def apply(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the image pixels that points of the output show.

        Parameters
        ----------
        points : array-like, shape (..., 2)
            (column, row) in output pixels, fractions allowed; read between the field's pixels
            bilinearly.

        Returns
        -------
        numpy.ndarray, shape (..., 2), float64
            (x, y) in pixels of the image; NaN outside the field.

        Raises
        ------
        InvalidInputError
            If the points have another shape, or coordinates that are not finite.
        """
        at = check_points(points, 2, "(column, row) in output pixels")
        rows, columns = self.shape
        left, top = np.floor(at[..., 0]), np.floor(at[..., 1])
        # the last pixel has no neighbour beyond it, and needs none
        left, top = np.minimum(left, max(columns - 2, 0)), np.minimum(top, max(rows - 2, 0))
        inside = (at >= 0).all(axis=-1) & (at[..., 0] <= columns - 1) & (at[..., 1] <= rows - 1)
        j, i = (np.where(inside, side, 0).astype(np.intp) for side in (left, top))
        j2, i2 = np.minimum(j + 1, columns - 1), np.minimum(i + 1, rows - 1)
        across, down = at[..., 0] - j, at[..., 1] - i
        out = np.empty_like(at)
        for axis, delta in enumerate((self.delta_x, self.delta_y)):
            upper = delta[i, j] * (1 - across) + delta[i, j2] * across
            lower = delta[i2, j] * (1 - across) + delta[i2, j2] * across
            out[..., axis] = at[..., axis] + upper * (1 - down) + lower * down
        out[~inside] = np.nan
        return out

    def then(self, other: DisplacementField) -> DisplacementField:
        """Return the field that shows what `other` shows at the pixels that this one shows.

        Warping an image by the result is warping it by `other` and that picture by this field,
        but with one interpolation instead of two. The output is this field's, the image other's.

        Parameters
        ----------
        other : DisplacementField
            Its output is what this field reads from; NaN where that ends.
        """
        f_x, f_y = self.transformation
        shown = other.apply(np.stack((f_x, f_y), axis=-1))
        return DisplacementField.from_transform(shown[..., 0], shown[..., 1])

    def inverse(self, shape: tuple[int, int]) -> DisplacementField:
        """Return the field that leads back: image pixels → output pixels.

        Found by fixed-point iteration, p ← p − (f(p) − q) through the field's mean linear part,
        which converges where the field does not fold.

        Parameters
        ----------
        shape : tuple of 2 int
            Rows and columns of the image, which become those of the result.

        Returns
        -------
        DisplacementField
            NaN at image pixels that no point of the output shows.

        Raises
        ------
        InvalidInputError
            If the field folds or collapses, so that it cannot be inverted.
        """
        rows, columns = np.indices(self.shape, dtype=np.float64)
        basis = np.stack((columns, rows, np.ones_like(rows)), axis=-1).reshape(-1, 3)
        shown = np.stack(self.transformation, axis=-1).reshape(-1, 2)
        linear = np.linalg.lstsq(basis, shown, rcond=None)[0].T
        if abs(np.linalg.det(linear[:, :2])) < 1e-9:
            raise InvalidInputError("The field shows a line or a point, so it has no inverse.")
        back = np.linalg.inv(linear[:, :2])
        wanted = np.stack(np.meshgrid(np.arange(shape[1]), np.arange(shape[0])), axis=-1) * 1.0
        found = (wanted - linear[:, 2]) @ back.T
        limit = np.array([self.shape[1] - 1.0, self.shape[0] - 1.0])
        for _ in range(100):
            inside = np.clip(found, 0, limit)
            # beyond its edge the field goes on as its linear part does
            missed = self.apply(inside) + (found - inside) @ linear[:, :2].T - wanted
            found -= missed @ back.T
            if np.abs(missed).max(initial=0) < 1e-4:
                break
        else:
            raise InvalidInputError(
                "The field folds, so it has no inverse.", hint="Smooth it, or use points one way."
            )
        found[((found < -1e-3) | (found > limit + 1e-3)).any(axis=-1)] = np.nan
        return DisplacementField.from_transform(found[..., 0], found[..., 1])

    def save(self, path: str | Path, *, force: bool = True) -> None:
        """Write a ``.npy`` file of shape (rows, columns, 2), float32: delta_x, delta_y.

        Parameters
        ----------
        path : str or pathlib.Path
            The file.
        force : bool
            Replace a file that is there, as 0.3 did; unlike other writers, by default.

        Raises
        ------
        InvalidInputError
            If the name has another ending.
        OutputError
            If the file cannot be written, or exists and `force` is false.
        """
        _check_ending(path)
        with whole_file(path, force=force) as temporary, open(temporary, "wb") as file:
            np.save(OnlyWrites(file), np.stack((self.delta_x, self.delta_y), axis=-1))

    @classmethod
    def from_file(cls, file_path: str | Path) -> DisplacementField:
        """Read a field that `save` wrote.

        Raises
        ------
        MissingFileError
            If the file is not there.
        InvalidInputError
            If the file cannot be read, or does not hold an array of numbers of shape (rows,
            columns, 2).
        """
        _check_ending(file_path)
        try:
            with open(file_path, "rb") as file:
                ours = file.read(len(_MAGIC)) == _MAGIC
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NumPy's, of files that Python 2 wrote
                # Mapped: a file that is shorter than it says is refused before memory is taken.
                # What is pickled could run anything, and is never loaded.
                array = np.load(file_path, mmap_mode="r", allow_pickle=False) if ours else None
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise (MissingFileError if missing else InvalidInputError)(
                f"{file_path} cannot be read: {error.strerror or error}."
            ) from None
        except _BROKEN_HEADER:
            array = None
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise InvalidInputError(
                f"{file_path} is no whole .npy file of numbers.",
                hint="`DisplacementField.save` writes such files.",
            )
        if array.ndim != 3 or array.shape[-1] != 2:
            raise InvalidInputError(
                f"{file_path} holds an array of shape {array.shape}, but a displacement field has "
                "the shape (rows, columns, 2)."
            )
        return cls(array[..., 0], array[..., 1])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DisplacementField):
            return NotImplemented
        return self.shape == other.shape and bool(
            np.allclose(self.delta_x, other.delta_x) and np.allclose(self.delta_y, other.delta_y)
        )

    __hash__ = None  # type: ignore[assignment]

    def __mul__(self, factor: object) -> DisplacementField:
        if not isinstance(factor, Real):
            return NotImplemented
        number = np.float32(float(factor))
        return DisplacementField(self.delta_x * number, self.delta_y * number)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"<DisplacementField of {rows} × {columns} pixels>"


def _border_value(c: object) -> tuple[float, ...]:
    """Return what OpenCV takes for the constant of a border, one number for each channel."""
    numbers = np.atleast_1d(np.array(c, dtype=object))
    if (
        numbers.ndim > 1
        or not 1 <= numbers.size <= 4
        or not all(isinstance(number, Real) for number in numbers)
    ):
        raise InvalidInputError(
            f"The border's constant c is {c!r}, but must be a number, or 1 to 4 numbers."
        )
    constants = tuple(float(number) for number in numbers)
    return constants * 4 if len(constants) == 1 else constants


def _check_ending(path: str | Path) -> None:
    if Path(path).suffix != ".npy":
        raise InvalidInputError(f"{path} must end in .npy to hold a displacement field.")
