"""Volumes of an atlas sampled in the plane of a section.

A volume is read straight at a section's pixels: at those of a picture on the reference grid, or at
those of the raw picture, at any tier. Nothing is interpolated twice. The pixels of a raw picture
lie in the brain by an affine map, and before it by the section's deformation if it has one, which
is looked up to 1/16 of a pixel of the tier (`atldld.place.curves`); on the reference grid a pixel
lies where it lies, however the section is bent.
Reference spaces 9 and 10 are one space here; nothing is flipped.

Voxel k of an axis spans [k·R, (k + 1)·R) µm. For labels the voxel is floor(µm / R); for grey
values the eight voxels around are weighted by the distances of their centres, (k + ½)·R. Beyond
the volume is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from atldld.errors import InvalidInputError
from atldld.place import Placement
from atldld.place.curves import CurvedMap
from atldld.place.planes import OutputPlane
from atldld.place.spaces import BOX, Grid
from atldld.place.tiers import tier_to_image
from atldld.support.arguments import check_whole
from atldld.support.pipeline import free_jobs

if TYPE_CHECKING:
    from atldld.atlas.labels import Labels
    from atldld.atlas.model import Atlas
    from atldld.place.sections import PlacedSection

__all__ = [
    "Flat",
    "hemispheres_on_image",
    "hemispheres_on_reference",
    "on_image",
    "on_pixels",
    "on_reference",
    "section_annotation",
    "section_template",
    "voxel_side",
]

Matrix = NDArray[np.float64]
Order = Literal[0, 1]


class Flat(Protocol):
    """Says which pixel of the flat picture each pixel of a picture has."""

    def block(self, rows: slice, /) -> NDArray[np.floating[Any]]:
        """Return (column, row) over some rows of the picture, shape (2, rows, columns)."""


# Points sampled at once: their indices take a few MB, whatever the picture's size.
_AT_ONCE = 1 << 17
# Of them so many are rounded at a time: they stay in the part of the cache next to the processor.
_BUFFERED = 2048

LEFT, RIGHT = 1, 2


def on_reference(
    volume: NDArray[Any], plane: OutputPlane, *, order: Order = 0, resolution: float | None = None
) -> NDArray[Any]:
    """Sample a volume at the pixels of a picture on the reference grid.

    Parameters
    ----------
    volume : numpy.ndarray, shape (P, I, R)
        Over the reference space.
    plane : OutputPlane
        Where the pixels lie: the section's own plane, or an axis-parallel one.
    order : {0, 1}
        0 takes the voxel in which a pixel's centre lies (labels), 1 interpolates linearly.
    resolution : float, optional
        Side of a voxel in µm. By default the volume fills the reference box, which gives it.

    Returns
    -------
    numpy.ndarray, shape (rows, columns)
        Of the volume's type for labels, else float32. 0 outside the volume.

    Raises
    ------
    InvalidInputError
        If the volume has another shape, or the order is unknown.
    """
    rows, columns = plane.grid.shape
    return _sample(
        volume, _Pixels(plane.pixel_to_reference.matrix, rows, columns), order, resolution
    )


def on_image(
    volume: NDArray[Any],
    placement: Placement,
    width: int,
    height: int,
    downsample: int = 0,
    *,
    order: Order = 0,
    resolution: float | None = None,
) -> NDArray[Any]:
    """Sample a volume at the pixels of a section's raw picture.

    Parameters
    ----------
    volume : numpy.ndarray, shape (P, I, R)
        Over the reference space.
    placement : Placement
        Of the section.
    width, height : int
        Size of the section image at full resolution, in pixels.
    downsample : int
        The tier d: sides are the floor of size / 2^d, and pixel u has its centre at
        2^d·u + (2^d − 1)/2.
    order : {0, 1}
        0 takes the voxel in which a pixel's centre lies (labels), 1 interpolates linearly.
    resolution : float, optional
        Side of a voxel in µm. By default the volume fills the reference box, which gives it.

    Returns
    -------
    numpy.ndarray, shape (height >> d, width >> d)
        Of the volume's type for labels, else float32. 0 outside the volume. Little memory is
        needed beyond it: pixels are worked on in blocks of rows.

    Raises
    ------
    InvalidInputError
        If the volume has another shape, if no pixel is left at the tier, or if the order is
        unknown.
    """
    return _sample(volume, _tier(placement, width, height, downsample), order, resolution)


def on_pixels(
    volume: NDArray[Any],
    placement: Placement,
    to_image: Matrix,
    shape: tuple[int, int],
    *,
    order: Order = 0,
    resolution: float | None = None,
    flat: Flat | None = None,
) -> NDArray[Any]:
    """Sample a volume at the pixels of any picture of a section, such as a part of it.

    Parameters
    ----------
    volume : numpy.ndarray, shape (P, I, R)
        Over the reference space.
    placement : Placement
        Of the section.
    to_image : numpy.ndarray, shape (2, 3)
        ``[x, y] = to_image @ [column, row, 1]``: its pixels → full-resolution pixels.
    shape : tuple of 2 int
        Its rows and columns.
    order, resolution :
        See `on_image`.
    flat : Flat, optional
        Which (column, row) of the flat picture each pixel has, where that is known already; by
        default it is looked up in the placement's deformation.

    Returns
    -------
    numpy.ndarray, shape (rows, columns)
        As of `on_image`.
    """
    rows, columns = shape
    if flat is not None:
        matrix = placement.forward @ np.vstack((to_image, [0, 0, 1]))
        return _sample(volume, _Pixels(matrix, rows, columns, flat), order, resolution)
    return _sample(volume, _seen(placement, to_image, rows, columns), order, resolution)


def hemispheres_on_reference(plane: OutputPlane) -> NDArray[np.uint8]:
    """Return on which side of the brain the pixels of a picture on the reference grid lie.

    Returns
    -------
    numpy.ndarray, shape (rows, columns), uint8
        1 = left (r < 5700 µm), 2 = right.
    """
    rows, columns = plane.grid.shape
    return _hemispheres(_Pixels(plane.pixel_to_reference.matrix, rows, columns))


def hemispheres_on_image(
    placement: Placement, width: int, height: int, downsample: int = 0
) -> NDArray[np.uint8]:
    """Return on which side of the brain the pixels of a raw picture lie; see `on_image`.

    Returns
    -------
    numpy.ndarray, shape (height >> d, width >> d), uint8
        1 = left (r < 5700 µm), 2 = right.
    """
    return _hemispheres(_tier(placement, width, height, downsample))


def voxel_side(volume: NDArray[Any], resolution: float | None = None) -> float:
    """Return the side of a volume's voxels in µm.

    Parameters
    ----------
    volume : numpy.ndarray, shape (P, I, R)
        Over the reference space.
    resolution : float, optional
        What it is, where the volume does not fill the reference box exactly.

    Raises
    ------
    InvalidInputError
        If the volume does not have three axes, or its sides do not fill the box with cubes.
    """
    if volume.ndim != 3:
        raise InvalidInputError(
            f"The volume has shape {volume.shape}, but must have three axes: (p, i, r)."
        )
    if resolution is not None:
        return float(resolution)
    sides = {
        length / count if count else 0 for length, count in zip(BOX, volume.shape, strict=True)
    }
    if len(sides) != 1:
        raise InvalidInputError(
            f"The volume has shape {volume.shape}, which does not fill the reference box of "
            f"{' × '.join(map(str, BOX))} µm with cubes.",
            hint="Say the side of a voxel in µm.",
        )
    return float(sides.pop())


def section_annotation(
    section: PlacedSection, atlas: Atlas, resolution: float = 25, *, downsample: int | None = None
) -> Labels:
    """Return the structures in a section's own plane.

    Parameters
    ----------
    section : PlacedSection
        The section.
    atlas : Atlas
        Its annotation is used.
    resolution : float
        Side of an output pixel on the reference grid, in µm.
    downsample : int, optional
        Over the raw picture at this tier instead.

    Returns
    -------
    numpy.ndarray, shape (rows, columns), of the annotation's type
        Ids; 0 outside the brain. On the reference grid (dorsal up), or (height >> d, width >> d).
    """
    labels: Labels = _of_section(section, atlas.annotation, resolution, downsample, 0)
    return labels


def section_template(
    section: PlacedSection, atlas: Atlas, resolution: float = 25, *, downsample: int | None = None
) -> NDArray[np.float32]:
    """Return the template's grey values in a section's own plane; see `section_annotation`.

    Raises
    ------
    InvalidInputError
        If the atlas has no template.
    """
    if atlas.template is None:
        raise InvalidInputError(f"The atlas {atlas.name} has no template.")
    grey: NDArray[np.float32] = _of_section(section, atlas.template, resolution, downsample, 1)
    return grey


def _of_section(
    section: PlacedSection,
    volume: NDArray[Any],
    resolution: float,
    downsample: int | None,
    order: Order,
) -> NDArray[Any]:
    if downsample is None:
        plane = OutputPlane.oblique(section.placement, Grid(section.plane, resolution))
        return on_reference(volume, plane, order=order)
    image = section.image
    return on_image(volume, section.placement, image.width, image.height, downsample, order=order)


@dataclass(frozen=True, slots=True, eq=False)
class _Pixels:
    """The pixels of a picture, and where they lie.

    Attributes
    ----------
    matrix : numpy.ndarray, shape (3, 3)
        ``[p, i, r] = matrix @ [column, row, 1]``.
    rows, columns : int
        Size of the picture.
    flat : Flat or None
        Which (column, row) of the flat picture each pixel has, if there is a deformation.
    """

    matrix: Matrix
    rows: int
    columns: int
    flat: Flat | None = None

    def at(
        self, block: slice, columns: slice, lines: Matrix, dtype: type[Any] = np.float64
    ) -> Iterator[NDArray[Any]]:
        """Give each of ``lines @ [column, row, 1]`` over a block of the picture, in turn.

        Integers are rounded towards 0 as they are made, a few at a time: to make an array of what
        they are rounded from would take three times as long.
        """
        if self.flat is not None:
            across, down = (at[:, columns] for at in self.flat.block(block))
        else:
            down = np.arange(block.start, block.stop, dtype=np.float64)[:, None]
            across = np.arange(columns.start, columns.stop, dtype=np.float64)
        shape = np.broadcast_shapes(across.shape, down.shape)
        for line in lines:
            out = np.empty(shape, dtype)
            before = np.setbufsize(_BUFFERED)
            try:
                np.add(line[0] * across, line[1] * down + line[2], out=out, casting="unsafe")
            finally:
                np.setbufsize(before)
            yield out

    def stretches(
        self, block: slice, lines: Matrix, shape: tuple[int, ...]
    ) -> list[tuple[slice, bool]]:
        """Return the columns that reach a volume in some rows, and whether it is known that all do.

        ``lines @ [column, row, 1]`` is a pixel's voxel. By a straight map it goes one way along
        the columns and one along the rows, also as numbers are rounded, so that the first and the
        last row tell of those between.
        """
        if self.flat is not None:
            return [(slice(0, self.columns), False)]
        across = np.arange(self.columns, dtype=np.float64)
        start, stop, left, right = 0, self.columns, 0, self.columns
        for line, count in zip(lines, shape, strict=True):
            rows = (block.start, block.stop - 1) if line[1] >= 0 else (block.stop - 1, block.start)
            along = line[0] * across
            least, most = (along + (line[1] * float(row) + line[2]) for row in rows)
            here = _between(most, least, count, rising=line[0] >= 0)
            start, stop = max(start, here[0]), min(stop, here[1])
            here = _between(least, most, count, rising=line[0] >= 0)
            left, right = max(left, here[0]), min(right, here[1])
        if left >= right:
            left = right = stop
        edges = ((start, left, False), (left, right, True), (right, stop, False))
        return [(slice(begin, end), known) for begin, end, known in edges if begin < end]


def _between(above: Matrix, below: Matrix, count: int, *, rising: bool) -> tuple[int, int]:
    """Return from where to where `above` is 0 or more and `below` less than `count`."""
    if rising:
        return int(above.searchsorted(0)), int(below.searchsorted(count))
    size = len(above)
    return size - int(below[::-1].searchsorted(count)), size - int(above[::-1].searchsorted(0))


def _tier(placement: Placement, width: int, height: int, downsample: int) -> _Pixels:
    """Return the pixels of a tier, and where they lie in the brain."""
    downsample = check_whole(downsample, "downsample", most=62)
    columns, rows = (size >> downsample for size in (width, height))
    if min(columns, rows) < 1:
        raise InvalidInputError(
            f"{width} × {height} pixels leave no picture at downsample {downsample}."
        )
    return _seen(placement, tier_to_image(downsample).matrix, rows, columns)


def _seen(placement: Placement, to_image: Matrix, rows: int, columns: int) -> _Pixels:
    """Return the pixels of a picture of a section, and where they lie in the brain."""
    matrix = placement.forward @ np.vstack((to_image, [0, 0, 1]))
    if placement.deformation is None:
        return _Pixels(matrix, rows, columns)
    # from pixel to pixel of the picture, so that the error is counted in them
    back = np.linalg.inv(to_image[:, :2])
    from_image = np.column_stack((back, -back @ to_image[:, 2]))
    flat = CurvedMap(to_image, placement.deformation.to_flat, from_image)
    return _Pixels(matrix, rows, columns, flat.over((rows, columns)))


def _sample(
    volume: NDArray[Any],
    pixels: _Pixels,
    order: int,
    resolution: float | None,
) -> NDArray[Any]:
    side = voxel_side(volume, resolution)
    if order not in (0, 1):
        raise InvalidInputError(f"The order is {order}, but must be 0 (nearest) or 1 (linear).")
    # from here on in voxels: voxel k spans [k, k + 1)
    scaled = pixels.matrix / side
    out = np.zeros((pixels.rows, pixels.columns), dtype=np.float32 if order else volume.dtype)
    if volume.flags.f_contiguous:  # as files are; read the other way round it is in C order
        volume, scaled = volume.T, scaled[::-1]
    # The flat view of a volume in C order makes one index of three; others are read by three.
    flat = volume.reshape(-1) if volume.flags.c_contiguous else None
    # processors convert to 32 bits several numbers at a time, to 64 bits one
    whole = np.int32 if volume.size <= np.iinfo(np.int32).max else np.intp

    def fill(block: slice) -> None:
        for columns, inside in pixels.stretches(block, scaled, volume.shape):
            if order:
                out[block, columns] = _linear(volume, flat, list(pixels.at(block, columns, scaled)))
            elif inside:
                indices = list(pixels.at(block, columns, scaled, whole))
                out[block, columns] = _gather(volume, flat, indices)
            else:
                positions = pixels.at(block, columns, scaled)
                out[block, columns] = _nearest(volume, flat, positions, whole)

    _in_blocks(fill, pixels.rows, pixels.columns)
    return out


def _hemispheres(pixels: _Pixels) -> NDArray[np.uint8]:
    out = np.empty((pixels.rows, pixels.columns), dtype=np.uint8)

    def fill(block: slice) -> None:
        across = next(pixels.at(block, np.s_[0 : pixels.columns], pixels.matrix[2:]))
        out[block] = np.where(across < BOX[2] / 2, np.uint8(LEFT), np.uint8(RIGHT))

    _in_blocks(fill, pixels.rows, pixels.columns)
    return out


def _in_blocks(fill: Callable[[slice], None], rows: int, columns: int) -> None:
    """Work on blocks of rows, in threads where there are several: NumPy lets others run."""
    step = max(1, _AT_ONCE // columns)
    blocks = [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
    jobs = free_jobs()
    if jobs == 1 or len(blocks) < 4:
        for block in blocks:
            fill(block)
        return
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(fill, blocks))


def _nearest(
    volume: NDArray[Any],
    flat: NDArray[Any] | None,
    positions: Iterable[Matrix],
    whole: type[np.signedinteger[Any]],
) -> NDArray[Any]:
    """Return the voxels at positions, or 0 where these lie beyond the volume."""
    beyond: NDArray[np.bool_] | None = None
    indices: list[NDArray[np.signedinteger[Any]]] = []
    for position, count in zip(positions, volume.shape, strict=True):
        if position.min() >= 0 and position.max() < count:
            indices.append(position.astype(whole))
            continue
        # below 0 the conversion would round up, so what lies there is told apart before
        off = (position < 0) | (position >= count)
        beyond = off if beyond is None else beyond | off
        indices.append(np.clip(position, 0, count - 1).astype(whole))
    values = _gather(volume, flat, indices)
    if beyond is not None:
        values[beyond] = 0
    return values


def _linear(
    volume: NDArray[Any], flat: NDArray[Any] | None, positions: list[Matrix]
) -> NDArray[np.float32]:
    inside = np.ones(positions[0].shape, dtype=bool)
    corners, weights = [], []
    for position, count in zip(positions, volume.shape, strict=True):
        inside &= (position >= 0) & (position < count)
        # In the outer halves of the first and the last voxel there is one neighbour only.
        centre = np.clip(position - 0.5, 0, count - 1)
        low = np.minimum(centre.astype(np.intp), max(count - 2, 0))
        share = (centre - low).astype(np.float32)
        corners.append((low, np.minimum(low + 1, count - 1)))
        weights.append((1 - share, share))
    out = np.zeros(inside.shape, dtype=np.float32)
    for a in (0, 1):
        for b in (0, 1):
            across = weights[0][a] * weights[1][b]
            for c in (0, 1):
                indices = [corners[0][a], corners[1][b], corners[2][c]]
                out += across * weights[2][c] * _gather(volume, flat, indices)
    out[~inside] = 0
    return out


def _gather(
    volume: NDArray[Any], flat: NDArray[Any] | None, indices: list[NDArray[np.signedinteger[Any]]]
) -> NDArray[Any]:
    if flat is None:
        return np.asarray(volume[tuple(indices)])
    _, rows, columns = volume.shape
    index = indices[0] * indices[0].dtype.type(rows)
    index += indices[1]
    index *= index.dtype.type(columns)
    index += indices[2]
    return np.asarray(flat.take(index))
