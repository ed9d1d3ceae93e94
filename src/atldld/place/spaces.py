"""Planes of section, the box of the reference space, and the grids that pictures are laid out on.

Reference coordinates are (p, i, r): posterior, inferior and right, in µm from the
anterior-superior-left corner of a box of 13200 × 8000 × 11400 µm. Reference spaces 9 and 10
(P56) share that box; no pixel is flipped between them. ``docs/spaces.md`` shows them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

from atldld.errors import InvalidInputError, UnsupportedPlaneError
from atldld.support.arguments import check_number, check_whole
from atldld.support.fields import CHANGED, IMAGES_STILL

if TYPE_CHECKING:
    # imported where it is used: names and boxes are wanted without it
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "AXES",
    "BOX",
    "PLACED_SPACES",
    "Grid",
    "Layout",
    "Plane",
    "PlaneOfSection",
    "ReferenceSpace",
    "between_spaces",
    "check_points",
]

AxisName = Literal["p", "i", "r"]

AXES: tuple[AxisName, AxisName, AxisName] = ("p", "i", "r")
"""Names of the reference axes, in order."""

AXIS_ENDS = (("anterior", "posterior"), ("superior", "inferior"), ("left", "right"))
"""What the two ends of each axis are called, from 0 to the far side of the box."""

BOX = (13200, 8000, 11400)
"""Size of the reference space along (p, i, r), in µm."""

PLACED_SPACES = (9, 10)
"""Ids of the reference spaces whose box is `BOX`."""

Layout = Literal["anatomical", "0.3"]


def between_spaces(
    pir: NDArray[np.float64], space: int | None, other: int | None
) -> NDArray[np.float64]:
    """Take points from one P56 reference space to another.

    Spaces 9 and 10 are one space; the service mirrors left and right when it synchronises between
    them, so that the left hemisphere's sagittal sections meet the right hemisphere's atlas. This
    is the only place where anything is flipped.

    Parameters
    ----------
    pir : numpy.ndarray, shape (..., 3)
        (p, i, r) in µm.
    space, other : int or None
        Ids of the spaces; `None` stands for the same one as the other.

    Returns
    -------
    numpy.ndarray, shape (..., 3), float64
        The points themselves, or mirrored: r′ = 11400 − r.
    """
    if space is None or other is None or space == other:
        return pir
    if not {space, other} <= set(PLACED_SPACES):
        raise InvalidInputError(
            f"Points of reference space {space} cannot be taken to space {other}: only 9 and 10 "
            "(P56) are known to correspond."
        )
    mirrored = pir.copy()
    mirrored[..., 2] = BOX[2] - mirrored[..., 2]
    return mirrored


# How many points are worked on at once: few enough to stay in the processor's cache.
BLOCK = 1 << 14

# The largest side that OpenCV's warps can address: their maps hold 16-bit integers.
LARGEST_SIDE = 32766


class _Named(Enum):
    """An id of the service and its name."""

    label: str

    # the default only tells type checkers that `PlaneOfSection(1)` is how a member is looked up
    def __new__(cls, value: int, label: str = "") -> _Named:
        member = object.__new__(cls)
        member._value_ = value
        member.label = label
        return member

    def __str__(self) -> str:
        return self.label

    @classmethod
    def name_of(cls, value: int | None) -> str:
        """Return the name for an id, or ``"unknown"``."""
        return next((member.label for member in cls if member.value == value), "unknown")


class PlaneOfSection(_Named):
    """The service's planes of section; the value is the id, ``str()`` the name."""

    CORONAL = 1, "coronal"
    SAGITTAL = 2, "sagittal"
    VARIABLE = 4, "variable"
    NA = 5, "n/a"
    TRANSVERSE = 6, "transverse"
    LATERAL_TO_MEDIAL = 7, "Lateral to Medial"
    MEDIAL_TO_LATERAL = 8, "Medial to Lateral"
    VENTRAL_TO_DORSAL = 9, "Ventral to Dorsal"
    DORSAL_TO_VENTRAL = 10, "Dorsal to Ventral"
    CORONAL_CAUDAL_TO_ROSTRAL = 11, "Coronal (Caudal to Rostral)"
    CORONAL_ROSTRAL_TO_CAUDAL = 531107579, "Coronal (Rostral to Caudal)"
    TANGENTIAL = 1082279372, "Tangential"


class ReferenceSpace(_Named):
    """The service's reference spaces; the value is the id, ``str()`` the name.

    Voxels, hemispheres and other orders of the axes are known for the two spaces of the adult
    brain. Those are cut into voxels of R µm from the origin on: voxel k spans [kR, (k + 1)R), its
    centre is at (k + ½)R, and only whole voxels count.

    Examples
    --------
    >>> ReferenceSpace.P56.shape(25)
    (528, 320, 456)
    >>> ReferenceSpace.P56.to_voxels([8051.7, 2889.7, 3345.9], 25).tolist()
    [322, 115, 133]
    >>> ReferenceSpace.P56.to_um([322, 115, 133], 25).tolist()
    [8062.5, 2887.5, 3337.5]
    """

    E11PT5_EMBRYO = 1, "E11.5 Embryo"
    E13PT5_EMBRYO = 2, "E13.5 Embryo"
    E15PT5_EMBRYO = 3, "E15.5 Embryo"
    E16PT5_HEAD = 4, "E16.5 Head"
    E18PT5_BRAIN = 5, "E18.5 Brain"
    P4_BRAIN = 6, "P4 Brain"
    P14_BRAIN = 7, "P14 Brain"
    P28_BRAIN = 8, "P28 Brain"
    P56 = 9, "P56 Brain"
    P56_LR_FLIPPED = 10, "P56 Brain, L/R Flipped"

    @classmethod
    def of(cls, space: ReferenceSpace | int) -> ReferenceSpace:
        """Return the space of an id.

        Raises
        ------
        InvalidInputError
            If there is no such space.
        """
        for member in cls:
            if space == member or (not isinstance(space, cls) and _same_id(space, member.value)):
                return member
        raise InvalidInputError(
            f"There is no reference space {space!r}; there are "
            + ", ".join(f"{member.value} ({member})" for member in cls)
            + "."
        )

    @property
    def id(self) -> int:
        """The service's number."""
        return int(self.value)

    @property
    def species(self) -> str:
        """All of these are of the mouse."""
        return "Mus musculus"

    @property
    def age(self) -> str:
        """The developmental stage, such as ``"E11.5"`` or ``"P56"``."""
        return self.label.split()[0].rstrip(",")

    @property
    def axes(self) -> tuple[str, str, str] | None:
        """Where the three coordinates grow to; `None` for spaces where it is not documented."""
        return ("posterior", "inferior", "right") if self.value in PLACED_SPACES else None

    @property
    def size(self) -> tuple[int, int, int] | None:
        """Extent along (p, i, r) in µm; `None` for spaces where it is not documented."""
        return BOX if self.value in PLACED_SPACES else None

    def _box(self) -> tuple[int, int, int]:
        if self.size is None:
            raise InvalidInputError(
                f"The size of reference space {self.value} ({self}) is not known; voxels, "
                "hemispheres and other orders of axes are known for 9 and 10 (P56)."
            )
        return self.size

    def shape(self, resolution: float) -> tuple[int, int, int]:
        """Return how many whole voxels there are along (p, i, r).

        Parameters
        ----------
        resolution : float
            Side of a voxel, in µm.

        Raises
        ------
        InvalidInputError
            If the resolution is not a positive number of µm or no voxel fits, or if the size of the
            space is unknown.
        """
        p, i, r = self._box()
        if check_number(resolution, "resolution", above=0, unit="µm") > min(p, i, r):
            raise InvalidInputError(
                f"The resolution is {resolution}, but must be a positive number of µm, at most "
                f"{min(p, i, r)}."
            )
        return (
            _whole_steps(p, resolution),
            _whole_steps(i, resolution),
            _whole_steps(r, resolution),
        )

    def to_voxels(
        self,
        pir: ArrayLike,
        resolution: float,
        *,
        outside: Literal["raise", "mark"] = "raise",
    ) -> NDArray[np.int64]:
        """Return the voxels in which points lie: floor(coordinate / resolution).

        Parameters
        ----------
        pir : array-like, shape (..., 3)
            (p, i, r) in µm.
        resolution : float
            Side of a voxel, in µm.
        outside : {"raise", "mark"}
            What happens to points outside the box: an error, or the indices (-1, -1, -1).

        Returns
        -------
        numpy.ndarray, shape (..., 3), int64
            Indices along (p, i, r).

        Raises
        ------
        InvalidInputError
            If the points have another shape, are not finite or lie outside, or if the resolution is
            not valid.
        """
        import numpy as np

        shape = np.array(self.shape(resolution))
        points = check_points(pir, 3, "(p, i, r) in µm of the reference space")
        indices = np.floor(points / resolution)
        beyond = ((indices < 0) | (indices >= shape)).any(axis=-1)
        if beyond.any():
            if outside == "raise":
                raise InvalidInputError(
                    f"{np.count_nonzero(beyond)} of {beyond.size} points lie outside the "
                    f"{' × '.join(map(str, shape))} voxels of {resolution:g} µm.",
                    hint='With outside="mark" they get the indices (-1, -1, -1).',
                )
            indices[beyond] = -1
        return indices.astype(np.int64)

    def to_um(self, voxels: ArrayLike, resolution: float) -> NDArray[np.float64]:
        """Return the centres of voxels: (index + ½) · resolution.

        Parameters
        ----------
        voxels : array-like, shape (..., 3)
            Indices along (p, i, r); fractions are points between the centres.
        resolution : float
            Side of a voxel, in µm.

        Returns
        -------
        numpy.ndarray, shape (..., 3), float64
            (p, i, r) in µm.

        Raises
        ------
        InvalidInputError
            If the indices have another shape or are not finite, or if the resolution is not valid.
        """
        self.shape(resolution)
        indices = check_points(voxels, 3, "indices of voxels along (p, i, r)")
        return (indices + 0.5) * resolution

    def to_brainglobe(self, pir: ArrayLike, orientation: str = "asr") -> NDArray[np.float64]:
        """Return points with the axes in BrainGlobe's order and directions.

        BrainGlobe's letters say where each axis **starts**, those of (p, i, r) where it goes: this
        package's own axes are BrainGlobe's ``"asl"``. Its usual ``"asr"`` therefore counts the
        last axis from the right: r′ = 11400 − r.

        Parameters
        ----------
        pir : array-like, shape (..., 3)
            (p, i, r) in µm.
        orientation : str
            One letter each of a/p, s/i and l/r, in any order.

        Returns
        -------
        numpy.ndarray, shape (..., 3), float64
            In µm from the corner that the letters name.

        Raises
        ------
        InvalidInputError
            If the orientation is not valid, or if the points have another shape or are not finite.
        """
        import numpy as np

        points = check_points(pir, 3, "(p, i, r) in µm of the reference space")
        out = np.empty_like(points)
        for place, (axis, far) in enumerate(self._brainglobe_axes(orientation)):
            out[..., place] = far - points[..., axis] if far else points[..., axis]
        return out

    def from_brainglobe(self, points: ArrayLike, orientation: str = "asr") -> NDArray[np.float64]:
        """Return (p, i, r) of points in BrainGlobe's order; see `to_brainglobe`.

        Parameters
        ----------
        points : array-like, shape (..., 3)
            In µm from the corner that the letters name.
        orientation : str
            One letter each of a/p, s/i and l/r, in any order.

        Returns
        -------
        numpy.ndarray, shape (..., 3), float64
            (p, i, r) in µm.
        """
        import numpy as np

        axes = self._brainglobe_axes(orientation)
        given = check_points(points, 3, f"µm in BrainGlobe's order {orientation!r}")
        out = np.empty_like(given)
        for place, (axis, far) in enumerate(axes):
            out[..., axis] = far - given[..., place] if far else given[..., place]
        return out

    def _brainglobe_axes(self, orientation: str) -> list[tuple[int, int]]:
        """Return for each letter our axis, and its length where it is counted from the far end."""
        size = self._box()
        axes = [
            (axis, size[axis] if far else 0)
            for letter in str(orientation).lower()
            for axis, letters in enumerate(("ap", "si", "lr"))
            for far in [letters.find(letter)]
            if far >= 0
        ]
        if sorted(axis for axis, _ in axes) != [0, 1, 2] or len(str(orientation)) != 3:
            raise InvalidInputError(
                f"The orientation is {orientation!r}, but must have one letter each of a/p, s/i "
                "and l/r, such as 'asr'."
            )
        return axes

    def hemispheres(self, pir: ArrayLike) -> NDArray[np.int64]:
        """Return the hemisphere in which points lie, as the service numbers them.

        Parameters
        ----------
        pir : array-like, shape (..., 3)
            (p, i, r) in µm.

        Returns
        -------
        numpy.ndarray, shape (...), int64
            1 = left (r < 5700), 2 = right; what lies in the mid-sagittal plane counts as right,
            as the voxel that starts there does. Both spaces are anatomical: sagittal sections of
            space 10 are left ones.
        """
        import numpy as np

        middle = self._box()[2] / 2
        points = check_points(pir, 3, "(p, i, r) in µm of the reference space")
        return np.where(points[..., 2] < middle, 1, 2).astype(np.int64)

    def to_hemisphere(self, pir: ArrayLike, side: Literal["left", "right"]) -> NDArray[np.float64]:
        """Return points mirrored into one hemisphere where they lie in the other.

        Parameters
        ----------
        pir : array-like, shape (..., 3)
            (p, i, r) in µm.
        side : {"left", "right"}
            Where they shall lie.

        Returns
        -------
        numpy.ndarray, shape (..., 3), float64
            (p, i, r) in µm.
        """
        import numpy as np

        if side not in {"left", "right"}:
            raise InvalidInputError(f"The side is {side!r}, but must be 'left' or 'right'.")
        middle = self._box()[2] / 2
        out = check_points(pir, 3, "(p, i, r) in µm of the reference space").copy()
        across = np.abs(out[..., 2] - middle)
        out[..., 2] = middle - across if side == "left" else middle + across
        return out


def _same_id(given: object, known: int) -> bool:
    try:
        return check_whole(given, "reference space") == known
    except InvalidInputError:
        return False


def _whole_steps(length: float, step: float) -> int:
    # the small addition keeps 8000 / 12.5 and its like from losing a step to rounding
    return math.floor(length / step + 1e-9)


class Plane(Enum):
    """A plane of section, by the reference axis that it cuts across."""

    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    TRANSVERSE = "transverse"

    @property
    def depth_axis(self) -> int:
        """Index of the reference axis that it cuts across: 0 = p, 1 = i, 2 = r."""
        return _DEPTH_AXIS[self]

    def axes(self, layout: Layout = "anatomical") -> tuple[int, int]:
        """Return the reference axes that run along the rows' and the columns' index.

        Parameters
        ----------
        layout : {"anatomical", "0.3"}
            ``"anatomical"`` is dorsal up: (i, r) for coronal, (i, p) for sagittal, (p, r) for
            transverse. ``"0.3"`` lays sagittal pictures out as (p, i).

        Raises
        ------
        InvalidInputError
            If the layout is neither of the two.
        """
        if layout not in ("anatomical", "0.3"):
            raise InvalidInputError(f"The layout is {layout!r}, but must be 'anatomical' or '0.3'.")
        if self is Plane.CORONAL:
            return 1, 2
        if self is Plane.TRANSVERSE:
            return 0, 2
        return (1, 0) if layout == "anatomical" else (0, 1)

    @classmethod
    def from_id(cls, plane_of_section_id: int | None, *, dataset_id: int | None = None) -> Plane:
        """Return the plane for the service's ``plane_of_section_id``.

        Raises
        ------
        UnsupportedPlaneError
            If the id is missing, or stands for a plane without a single axis to cut across
            (variable, n/a, tangential).
        """
        try:
            return _PLANE_OF_ID[plane_of_section_id]
        except KeyError:
            raise UnsupportedPlaneError(
                "plane_of_section_id is "
                + ("missing" if plane_of_section_id is None else str(plane_of_section_id))
                + ", which is neither coronal, sagittal nor transverse; no picture can be laid "
                "out in the reference space.",
                dataset_id=dataset_id,
                hint=f"{CHANGED} {IMAGES_STILL}" if plane_of_section_id is None else IMAGES_STILL,
            ) from None


_DEPTH_AXIS = {Plane.CORONAL: 0, Plane.SAGITTAL: 2, Plane.TRANSVERSE: 1}

# Some of the service's planes name the same cut with a direction.
_PLANE_OF_ID = {
    PlaneOfSection.CORONAL.value: Plane.CORONAL,
    PlaneOfSection.CORONAL_CAUDAL_TO_ROSTRAL.value: Plane.CORONAL,
    PlaneOfSection.CORONAL_ROSTRAL_TO_CAUDAL.value: Plane.CORONAL,
    PlaneOfSection.SAGITTAL.value: Plane.SAGITTAL,
    PlaneOfSection.LATERAL_TO_MEDIAL.value: Plane.SAGITTAL,
    PlaneOfSection.MEDIAL_TO_LATERAL.value: Plane.SAGITTAL,
    PlaneOfSection.TRANSVERSE.value: Plane.TRANSVERSE,
    PlaneOfSection.VENTRAL_TO_DORSAL.value: Plane.TRANSVERSE,
    PlaneOfSection.DORSAL_TO_VENTRAL.value: Plane.TRANSVERSE,
}


@dataclass(frozen=True, slots=True)
class Grid:
    """The pixel grid of a picture in the reference space.

    Pixel k along an axis spans [k · resolution, (k + 1) · resolution) µm and its centre is at
    (k + ½) · resolution.

    Parameters
    ----------
    plane : Plane
        The plane of section.
    resolution : float
        Side of a pixel, in µm.
    layout : {"anatomical", "0.3"}
        See `Plane.axes`.

    Raises
    ------
    InvalidInputError
        If the resolution is not a positive number, or is so small or large that there is no
        picture.
    """

    plane: Plane
    resolution: float
    layout: Layout = "anatomical"

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "plane", Plane(self.plane))
        except ValueError:
            raise InvalidInputError(
                f"The plane of section is {self.plane!r}, but must be one of "
                f"{', '.join(plane.value for plane in Plane)}."
            ) from None
        resolution = check_number(self.resolution, "resolution", above=0, unit="µm")
        object.__setattr__(self, "resolution", resolution)
        sides = [BOX[axis] / self.resolution for axis in (self.row_axis, self.column_axis)]
        if min(sides) < 1 or max(sides) > LARGEST_SIDE:
            raise InvalidInputError(
                f"At a resolution of {self.resolution} µm a picture of the {self.plane.value} "
                f"plane has {sides[0]:.4g} × {sides[1]:.4g} pixels, but each side must have "
                f"1 to {LARGEST_SIDE}.",
                hint="Use a resolution from 1 to some hundreds of µm.",
            )

    @property
    def row_axis(self) -> int:
        """Reference axis along which the row index grows."""
        return self.plane.axes(self.layout)[0]

    @property
    def column_axis(self) -> int:
        """Reference axis along which the column index grows."""
        return self.plane.axes(self.layout)[1]

    @property
    def depth_axis(self) -> int:
        """Reference axis across the picture."""
        return self.plane.depth_axis

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns: the whole pixels that fit into the reference box."""
        rows, columns = (
            _whole_steps(BOX[axis], self.resolution) for axis in (self.row_axis, self.column_axis)
        )
        return rows, columns

    @property
    def axis_names(self) -> tuple[AxisName, AxisName]:
        """Names of the axes of rows and columns, such as ``("i", "r")``."""
        return AXES[self.row_axis], AXES[self.column_axis]


def check_points(points: object, dimensions: int, what: str) -> NDArray[np.float64]:
    """Check points, and return them as float64.

    Parameters
    ----------
    points : array-like, shape (..., dimensions)
        The coordinates.
    dimensions : int
        Length of the last axis.
    what : str
        Frame, order and unit, for the error's sentence.

    Raises
    ------
    InvalidInputError
        If the points have another shape, or a coordinate is not finite.
    """
    import numpy as np

    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError(
            f"Coordinates must be numbers of shape (..., {dimensions}): {what}."
        ) from None
    if array.ndim == 0 or array.shape[-1] != dimensions:
        raise InvalidInputError(
            f"Coordinates have shape {array.shape}, but must have shape (..., {dimensions}): "
            f"{what}."
        )
    # Block by block: the flags of ten million points at once would cost time and memory.
    if not all(
        np.isfinite(array[start : start + BLOCK]).all() for start in range(0, len(array), BLOCK)
    ):
        raise InvalidInputError(f"Coordinates hold NaN or infinity, but must be finite: {what}.")
    return array
