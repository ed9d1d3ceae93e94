"""A plane as the numbers that people edit: depth, two tilts, rotation, shift, scale and shear.

A plane has nine degrees of freedom, and so many numbers stand for it. They are counted in the
picture's middle, so that a tilt or a turn leaves in place what one looks at. With the axes of the
data set's plane of section, of which 1 runs to the right, 2 down, and d in depth (coronal: r, i, p;
sagittal: p, i, r; transverse: r, p, i), the middle of the picture lies at

    d = depth            1, 2 = middle of the brain's box + shift

and the pixel (u, v) away from it lies further on by

    turned(tilt 1, tilt 2) · rotated(rotation) · [[scale 1, scale 2 · shear], [0, scale 2]] · (u, v)

times the side that the image's record gives a pixel, or 1 µm where it gives none. ``rotated`` turns
axis 1 towards axis 2. ``turned`` tilts the plane: by tilt 2 about axis 1, then by tilt 1 about axis
2, so that the plane's normal is (sin t1 · cos t2, −sin t2, cos t1 · cos t2) along (1, 2, d). Both
tilts are from −90° to 90°. A picture that is a mirror image has one scale below 0: that which
leaves the rotation between −90° and 90°.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.errors import InvalidInputError
from atldld.place.spaces import BOX, Plane

__all__ = ["PlaneNumbers", "Shape", "check_forward"]

Matrix = NDArray[np.float64]


class Shape(msgspec.Struct, frozen=True):
    """What numbers of a plane are counted by.

    Attributes
    ----------
    plane : Plane
        The plane of section.
    width, height : int
        Size of the picture, in full-resolution pixels.
    pixel : float or None
        Side of such a pixel, in µm, as the image's record has it.
    """

    plane: Plane
    width: int
    height: int
    pixel: float | None = None

    @property
    def axes(self) -> tuple[int, int, int]:
        """Which reference axes 1, 2 and d are."""
        down, right = self.plane.axes()
        return right, down, self.plane.depth_axis

    @property
    def middle(self) -> Matrix:
        """``(x, y, 1)`` of the picture's middle."""
        return np.array([(self.width - 1) / 2, (self.height - 1) / 2, 1.0])

    @property
    def side(self) -> float:
        """What a scale of 1 makes a pixel's side, in µm."""
        return self.pixel or 1.0


class PlaneNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a plane; the module says what each is.

    Attributes
    ----------
    depth_um : float
        Where the picture's middle lies along the axis that the plane cuts across, in µm.
    tilt_1_deg, tilt_2_deg, rotation_deg : float
        In degrees.
    shift_um : tuple of 2 float
        From the middle of the brain's box to the picture's middle, to the right and down, in µm.
    scale : tuple of 2 float
        Along the picture's rows and columns: 1 leaves a pixel the side that its record gives it.
    shear : float
        How far the picture's columns lean, as a part of their length.
    """

    depth_um: float
    tilt_1_deg: float
    tilt_2_deg: float
    rotation_deg: float
    shift_um: tuple[float, float]
    scale: tuple[float, float]
    shear: float

    @classmethod
    def of(cls, forward: ArrayLike, shape: Shape) -> PlaneNumbers:
        """Return the numbers of a plane.

        Parameters
        ----------
        forward : array-like, shape (3, 3)
            ``[p, i, r] = forward @ [x, y, 1]``: full-resolution pixels of the flat image → µm.
        shape : Shape
            What they are counted by.

        Raises
        ------
        InvalidInputError
            If these are not nine finite numbers that span a plane, or the plane does not cross the
            axis of its depth.
        """
        matrix = check_forward(forward)[list(shape.axes)]
        right, down = matrix[:, 0], matrix[:, 1]
        normal = np.cross(right, down)
        if abs(normal[2]) <= 1e-9 * np.linalg.norm(normal):
            raise InvalidInputError(
                f"This plane runs along the axis that {shape.plane.value} sections are counted on, "
                "so it has no depth."
            )
        mirrored = normal[2] < 0
        one, two, across = -normal if mirrored else normal
        tilt_1 = np.arctan2(one, across)
        tilt_2 = np.arctan2(-two, np.hypot(one, across))
        within = _turned(tilt_1, tilt_2).T @ matrix[:, :2]
        rotation = np.arctan2(within[1, 0], within[0, 0])
        if mirrored and abs(rotation) > np.pi / 2:
            rotation -= np.copysign(np.pi, rotation)
        (scale_1, leaning), (_, scale_2) = _rotated(-rotation) @ within[:2]
        centre = matrix @ shape.middle
        box = np.array(BOX, dtype=np.float64)[list(shape.axes)]
        shift = centre[:2] - box[:2] / 2
        return cls(
            depth_um=float(centre[2]),
            tilt_1_deg=float(np.degrees(tilt_1)),
            tilt_2_deg=float(np.degrees(tilt_2)),
            rotation_deg=float(np.degrees(rotation)),
            shift_um=(float(shift[0]), float(shift[1])),
            scale=(float(scale_1 / shape.side), float(scale_2 / shape.side)),
            shear=float(leaning / scale_2),
        )

    def forward(self, shape: Shape) -> Matrix:
        """Return the plane that the numbers stand for, shape (3, 3); the inverse of `of`.

        Raises
        ------
        InvalidInputError
            If a number is not finite, a scale is 0, or a tilt is not between −90° and 90°.
        """
        numbers = np.array(
            [*_flat(self)],
            dtype=np.float64,
        )
        if not np.isfinite(numbers).all() or np.abs(numbers).max() > _LARGEST:
            raise InvalidInputError("The numbers of a plane must be finite, and below a million.")
        if not (min(map(abs, self.scale)) > _LEAST_SCALE):
            raise InvalidInputError("A scale of 0 would leave nothing of the section.")
        if max(abs(self.tilt_1_deg), abs(self.tilt_2_deg)) >= 90:
            raise InvalidInputError("A section can be tilted by less than 90° either way.")
        tilt_1, tilt_2, rotation = np.radians([self.tilt_1_deg, self.tilt_2_deg, self.rotation_deg])
        scale_1, scale_2 = (scale * shape.side for scale in self.scale)
        within = _rotated(rotation) @ np.array([[scale_1, scale_2 * self.shear], [0, scale_2]])
        sides = _turned(tilt_1, tilt_2)[:, :2] @ within
        axes = list(shape.axes)
        box = np.array(BOX, dtype=np.float64)[axes]
        centre = np.array([*(box[:2] / 2 + self.shift_um), self.depth_um])
        out = np.empty((3, 3))
        out[axes, :2] = sides
        out[axes, 2] = centre - sides @ shape.middle[:2]
        return out


_LARGEST = 1e6  # µm, degrees or times: far beyond any brain
_FARTHEST = 1e8  # µm, of the first pixel of a picture that may be large
_LEAST_SCALE = 1e-6


def _flat(numbers: PlaneNumbers) -> list[float]:
    told: dict[str, Any] = msgspec.structs.asdict(numbers)
    out: list[float] = []
    for value in told.values():
        out += value if isinstance(value, tuple) else [value]
    return out


def check_forward(forward: ArrayLike) -> Matrix:
    """Return nine numbers as a plane's matrix, shape (3, 3).

    Raises
    ------
    InvalidInputError
        If they are not finite numbers of a sensible size that span a plane.
    """
    try:
        matrix = np.asarray(forward, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.size != 9 or not np.isfinite(matrix).all() or np.abs(matrix).max() > _FARTHEST:
        raise InvalidInputError(
            "A plane is given by nine finite numbers of a sensible size: forward, row by row, with "
            "[p, i, r] = forward @ [x, y, 1]."
        )
    matrix = matrix.reshape(3, 3)
    right, down = matrix[:, 0], matrix[:, 1]
    area = np.linalg.norm(np.cross(right, down))
    if not area > 1e-6 * np.linalg.norm(right) * np.linalg.norm(down) or not area > 1e-9:
        raise InvalidInputError("The two sides of the picture must span a plane.")
    return matrix


def _turned(tilt_1: float, tilt_2: float) -> Matrix:
    """Return the rotation that tilts the plane, along (1, 2, d)."""
    s1, c1, s2, c2 = np.sin(tilt_1), np.cos(tilt_1), np.sin(tilt_2), np.cos(tilt_2)
    about_2 = np.array([[c1, 0, s1], [0, 1, 0], [-s1, 0, c1]])
    about_1 = np.array([[1, 0, 0], [0, c2, -s2], [0, s2, c2]])
    turned: Matrix = about_2 @ about_1
    return turned


def _rotated(angle: float) -> Matrix:
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([[cosine, -sine], [sine, cosine]])
