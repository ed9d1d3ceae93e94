"""Sections as slabs of a voxel grid: which voxels a section fills, how much, and with what.

A section is a slab of tissue. With the forward map of its image and the third column of the
volume's map to the reference, ``across``, every point of the brain has one address in it::

    [p, i, r] = forward @ [x, y, 1] + across · d

(x, y) are full-resolution pixels and d is the distance, in volume µm, from the section's middle
along the volume's s axis, the direction across all sections. `Slab` inverts these three equations
in float64. So a point of the section's own plane has d = 0 exactly, as the forward map has it,
and tilt, shear and scale are all in the one matrix. (The stored six-digit way back would put the
planes of genuine sections up to 0.1 µm off.)

A curved section is laid flat before (`atldld.warp.straighten`): its flat picture is the image of
such a slab, and what lies beyond the section's own image is left out of it.

**What one section gives to one voxel.** The colour: the image at the (x, y) of the voxel's centre,
averaged over the square that the voxel's side cuts out there (what is averaged are the pixels of
the tier, means of their own areas, with straight lines between them); it is the same all through
the section's thickness T, as a section image has no depth. The weight: the fraction of the voxel's
cube that lies within the slab |d| ≤ T / 2.

**What a voxel gets.** The average of the colours of all sections by these weights. The sum of the
weights is its coverage: 1 is a voxel that is full of section, ¼ one of which a quarter is, and
above 1 there are several samples of the same place.

**Filling** serves voxels that no section reaches. Between two neighbouring planes of one data set
both sections are read at the voxel's own (x, y) address in each, that is along the line across the
sections, and weighted by nearness: ``"linear"`` takes 1 − d/D of a section at distance d, with D
the distance of the two planes, ``"nearest"`` all of the nearer one. Beyond the first and the last
section filling goes on for half of D. It never changes a covered voxel, and adds no coverage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.place.tiers import choose_downsample, tier_matrix
from atldld.warp.resample import Strips

if TYPE_CHECKING:
    from atldld.volume.model import Fill

__all__ = ["Accumulator", "Band", "Neighbours", "Slab"]

Matrix = NDArray[np.float64]

# Weights are kept this many times as large while they add up: `cv2.blendLinear` adds 1e-5 to its
# divisor, which must not show even where a section only grazes a voxel.
_UNIT = np.float32(4096)
# A slab that cuts off less of a voxel than this does not count as covering it.
_LEAST = 1e-3
# Steps of the table of weights from a section to where it touches no voxel: some 0.02 µm each.
_STEPS = 1024
# Along the two sides of a voxel that run along the section, how often its cube is cut.
_CUTS = 16


@dataclass(frozen=True, slots=True)
class Band:
    """Some of a grid's voxels: all of those whose index along one axis is in a range.

    Attributes
    ----------
    axis : {0, 1, 2}
        The axis.
    start, stop : int
        The first index along it, and the one after the last.
    """

    axis: int
    start: int
    stop: int

    def shape(self, whole: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return how many of a grid's voxels it has along p, i, r."""
        sides = list(whole)
        sides[self.axis] = self.stop - self.start
        p, i, r = sides
        return p, i, r

    def part(self, indices: slice) -> tuple[slice, slice]:
        """Return what some indices along its axis have in common with it.

        Returns
        -------
        inner, own : slice
            Counted from the first of those indices, and from the band's first; both may be empty.
        """
        low = max(indices.start, self.start)
        high = max(min(indices.stop, self.stop), low)
        return (
            slice(low - indices.start, high - indices.start),
            slice(low - self.start, high - self.start),
        )


@dataclass(frozen=True, slots=True)
class Neighbours:
    """How far the neighbouring planes of the same data set are, in volume µm; `None` for none."""

    before: float | None = None
    after: float | None = None

    def reach(self, fill: Fill) -> tuple[float, float]:
        """Return the smallest and the largest d, in µm, that the section fills."""
        if fill == "none" or (self.before is None and self.after is None):
            return 0.0, 0.0
        share = 1.0 if fill == "linear" else 0.5
        # where the data set ends, half of the last gap goes on
        low = share * self.before if self.before is not None else 0.5 * (self.after or 0.0)
        high = share * self.after if self.after is not None else 0.5 * (self.before or 0.0)
        return -low, high

    def weight(self, d: Matrix, fill: Fill) -> Matrix:
        """Return how much of a voxel's filling the section gives, 0 to 1.

        Parameters
        ----------
        d : numpy.ndarray, shape (N,)
            Distances from the section along the s axis, in volume µm.
        fill : {"none", "nearest", "linear"}
            See the module.
        """
        low, high = self.reach(fill)
        if fill == "none":
            return np.zeros_like(d)
        weight = np.ones_like(d)
        if fill == "linear":
            if self.before is not None:
                weight = np.where(d < 0, 1 + d / self.before, weight)
            if self.after is not None:
                weight = np.where(d > 0, 1 - d / self.after, weight)
        return np.where((d >= low) & (d <= high), np.clip(weight, 0, 1), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Slab:
    """Where one section lies among the voxels.

    Attributes
    ----------
    to_reference : numpy.ndarray, shape (3, 4), float64
        ``[p, i, r] = to_reference @ [x, y, d, 1]``.
    to_section : numpy.ndarray, shape (3, 4), float64
        ``[x, y, d] = to_section @ [p, i, r, 1]``, its exact inverse.
    size : tuple of 2 int
        Width and height of the section's image, in full-resolution pixels.
    thickness : float
        Of the section, in volume µm.
    """

    to_reference: Matrix
    to_section: Matrix
    size: tuple[int, int]
    thickness: float

    @classmethod
    def of(cls, forward: Matrix, across: Matrix, size: tuple[int, int], thickness: float) -> Slab:
        """Return the slab of a section.

        Parameters
        ----------
        forward : numpy.ndarray, shape (3, 3)
            Of the section's `~atldld.place.Placement`.
        across : numpy.ndarray, shape (3,)
            Third column of the volume's map to the reference (``tvr``): reference µm for each
            volume µm along s.
        size : tuple of 2 int
            Width and height of the image, in full-resolution pixels.
        thickness : float
            Of the section, in volume µm.
        """
        to_reference = np.column_stack((forward[:, :2], across, forward[:, 2]))
        linear = np.linalg.inv(to_reference[:, :3])
        to_section = np.column_stack((linear, -linear @ to_reference[:, 3]))
        return cls(to_reference, to_section, size, thickness)

    def downsample(self, resolution: float, depth_axis: int, highest: int) -> int:
        """Return the coarsest tier that is at least as fine as voxels of `resolution` µm."""
        return choose_downsample(self.plane_matrix(resolution, depth_axis, 0.0), highest)

    def overlap(self, d: Matrix, resolution: float, depth_axis: int) -> Matrix:
        """Return the fraction of a voxel that lies within the section, 0 to 1.

        Exact along the depth axis; over the cube's two other axes, along which d changes by the
        section's tilt only, 16 × 16 cuts are averaged.

        Parameters
        ----------
        d : numpy.ndarray, shape (N,)
            Distances of voxel centres along the s axis, in volume µm.
        resolution : float
            Side of a voxel, in µm.
        depth_axis : int
            Reference axis that the plane of section cuts across.
        """
        sides = np.abs(self.to_section[2, :3]) * resolution
        half, height = self.thickness / 2, sides[depth_axis]
        cuts = (np.arange(_CUTS) + 0.5) / _CUTS - 0.5
        first, second = np.delete(sides, depth_axis)
        shifts = np.sort(np.add.outer(first * cuts, second * cuts), axis=None)
        sums = np.append(0.0, np.cumsum(shifts[::-1]))

        def above(heights: Matrix) -> Matrix:
            """Return how far points lie above 0, or 0 if below, in the mean of all cuts."""
            count = np.searchsorted(-shifts[::-1], heights)
            mean: Matrix = (count * heights + sums[count]) / shifts.size
            return mean

        # Of one cut it is a trapezoid of d, which rises, stays and falls along straight lines. All
        # cuts together are alike on both sides; on this one nothing but zeros is added far away.
        outer, inner, side = half + height / 2, abs(half - height / 2), -np.abs(d)
        total = above(side + outer) - above(side + inner) - above(side - inner)
        total += above(side - outer)
        fraction: Matrix = np.clip(total / height, 0.0, 1.0)
        return fraction

    def half_extent(self, resolution: float) -> float:
        """Return the largest distance of a voxel's centre, in volume µm, that still touches."""
        return float(self.thickness / 2 + np.abs(self.to_section[2, :3]).sum() * resolution / 2)

    def extent(
        self, resolution: float, axis: int, neighbours: Neighbours, fill: Fill
    ) -> tuple[float, float]:
        """Return between which coordinates along one axis the section may give voxels anything.

        Parameters
        ----------
        resolution : float
            Side of a voxel, in µm.
        axis : {0, 1, 2}
            The axis.
        neighbours : Neighbours
            Of the section.
        fill : {"none", "nearest", "linear"}
            What is done with voxels that no section reaches.

        Returns
        -------
        tuple of 2 float
            The least and the greatest, in µm; with a voxel to spare.
        """
        touches = self.half_extent(resolution)
        low, high = neighbours.reach(fill)
        _, points = self._prism((min(low, -touches), max(high, touches)))
        along = points[:, axis]
        return float(along.min()) - resolution, float(along.max()) + resolution

    def _prism(self, d: tuple[float, float]) -> tuple[Matrix, Matrix]:
        """Return the corners of what lies at some distances from the image: (x, y, d), (p, i, r).

        The coordinates (x, y, d) have a 1 after them.
        """
        width, height = self.size
        corners = np.array(
            [(x, y, z, 1.0) for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5) for z in d]
        )
        return corners, corners @ self.to_reference.T

    def boxes(
        self,
        resolution: float,
        shape: tuple[int, int, int],
        depth_axis: int,
        d: tuple[float, float],
    ) -> Iterator[tuple[int, slice, slice]]:
        """Yield which part of which plane of voxels the section can reach.

        Parameters
        ----------
        resolution : float
            Side of a voxel, in µm.
        shape : tuple of 3 int
            Number of voxels along p, i, r.
        depth_axis : int
            Planes of voxels are those of one index along this axis.
        d : tuple of 2 float
            Smallest and largest distance from the section, in volume µm.

        Yields
        ------
        tuple of int, slice, slice
            The plane's index, and the voxels along the two other axes, in order.
        """
        corners, points = self._prism(d)
        # the prism's edges join corners that differ in one of the three
        ends = np.array(
            [
                (points[a], points[b])
                for a, b in combinations(range(8), 2)
                if (corners[a] != corners[b]).sum() == 1
            ]
        )
        start, end = ends[:, 0, depth_axis], ends[:, 1, depth_axis]
        others = np.delete(np.arange(3), depth_axis)
        low, high = (points[:, depth_axis].min(), points[:, depth_axis].max())
        for index in range(
            max(int(np.ceil(low / resolution - 0.5)), 0),
            min(int(np.floor(high / resolution - 0.5)) + 1, shape[depth_axis]),
        ):
            depth = (index + 0.5) * resolution
            crossing = ((start <= depth) & (end >= depth)) | ((start >= depth) & (end <= depth))
            a, b = ends[crossing, 0], ends[crossing, 1]
            run = b[:, depth_axis] - a[:, depth_axis]
            # an edge that lies in the plane has its ends on other edges
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.where(run == 0, 0.0, (depth - a[:, depth_axis]) / run)
            cut = (a + share[:, None] * (b - a))[:, others] / resolution - 0.5
            first = np.clip(np.ceil(cut.min(axis=0) - 1e-6), 0, None).astype(int)
            limits = np.array(shape)[others]
            last = np.minimum(np.floor(cut.max(axis=0) + 1e-6).astype(int) + 1, limits)
            if (first < last).all():
                yield index, slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))

    def plane_matrix(self, resolution: float, depth_axis: int, depth: float) -> Matrix:
        """Return the map from voxels of one plane to the section.

        Parameters
        ----------
        resolution : float
            Side of a voxel, in µm.
        depth_axis : int
            The axis along which all of them have the coordinate `depth`.
        depth : float
            In µm.

        Returns
        -------
        numpy.ndarray, shape (3, 3), float64
            ``[x, y, d] = M @ [column, row, 1]``; rows and columns are the indices of the voxels
            along the two other axes, in order.
        """
        rows, columns = np.delete(np.arange(3), depth_axis)
        centre = np.full(3, resolution / 2)
        centre[depth_axis] = depth
        linear = self.to_section[:, :3]
        return np.column_stack(
            (
                linear[:, columns] * resolution,
                linear[:, rows] * resolution,
                linear @ centre + self.to_section[:, 3],
            )
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Weights:
    """What one section gives to a voxel, looked up by its distance.

    Attributes
    ----------
    values : numpy.ndarray, shape (N,), float32
        `_UNIT` times the fraction that is covered, or else minus `_UNIT` times the share of the
        filling, at the distances (first + k) · step.
    first : int
        See `values`.
    step : float
        In volume µm. It hangs on the section and the voxels alone, so that coverage is the same
        to the last bit whatever is filled.
    """

    values: NDArray[np.float32]
    first: int
    step: float

    @classmethod
    def of(
        cls, slab: Slab, resolution: float, depth_axis: int, neighbours: Neighbours, fill: Fill
    ) -> _Weights:
        extent = slab.half_extent(resolution)
        low, high = neighbours.reach(fill)
        step = extent / _STEPS
        first = min(math.floor(low / step), -_STEPS)
        last = max(math.ceil(high / step), _STEPS)
        d: Matrix = step * np.arange(first, last + 1, dtype=np.float64)
        values = -neighbours.weight(d, fill)
        core = slice(-_STEPS - first, _STEPS - first + 1)
        overlap = slab.overlap(d[core], resolution, depth_axis)
        values[core] = np.where(overlap >= _LEAST, overlap, values[core])
        # what lies beyond takes the end's value, which is nothing
        values[0] = values[-1] = 0
        return cls((values * _UNIT).astype(np.float32), first, step)

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest distance, in volume µm, that anything is given at."""
        return self.first * self.step, (self.first + len(self.values) - 1) * self.step

    def at(self, d: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the weights of voxels.

        Parameters
        ----------
        d : numpy.ndarray, shape (...,), float32
            Distances of voxel centres from the section along the s axis, in volume µm.

        Returns
        -------
        numpy.ndarray, shape (...,), float32
        """
        index = np.rint(d * np.float32(1 / self.step)).astype(np.int32) - self.first
        weights: NDArray[np.float32] = np.take(self.values, index, mode="clip")
        return weights


class Accumulator:
    """A grid of voxels that sections are added to, one after the other.

    It holds the result and nothing else of its size: colours are averaged as they come, in the
    type they have in the end. An 8-bit colour is rounded once for each section that a voxel gets
    after its first, which is 0.3 grey levels RMS. One array of weights serves both kinds of
    samples: it is positive where sections are, and negative where only filling is.

    Parameters
    ----------
    shape : tuple of 3 int
        Number of voxels along p, i, r.
    resolution : float
        Side of a voxel, in µm.
    channels : {1, 3}
        3 for RGB in uint8; 1 for one number from 0 to 1 in float32.
    depth_axis : int
        The axis that most sections cut across: voxels of one index along it lie together in
        memory, which is what makes adding fast.
    band : Band, optional
        Hold these voxels of the grid only; all by default. They are the same, to the last bit, as
        those of any other band along the same axis, such as one of all voxels.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        resolution: float,
        channels: int,
        depth_axis: int = 0,
        band: Band | None = None,
    ) -> None:
        self.shape = shape
        self.resolution = resolution
        self.channels = channels
        self.band = band or Band(depth_axis, 0, shape[depth_axis])
        self._is_filled = False  # whether any weight may be negative
        order = (depth_axis, *(axis for axis in range(3) if axis != depth_axis))
        back = tuple(int(place) for place in np.argsort(order))
        held = self.band.shape(shape)
        stored = tuple(held[axis] for axis in order)
        self._weight = np.zeros(stored, dtype=np.float32).transpose(back)
        self._data: NDArray[Any] = (
            np.zeros(stored, dtype=np.float32).transpose(back)
            if channels == 1
            else np.zeros((*stored, channels), dtype=np.uint8).transpose(*back, 3)
        )

    def add(
        self,
        slab: Slab,
        picture: NDArray[np.uint8],
        downsample: int,
        depth_axis: int,
        *,
        background: Sequence[float] = (0.0,),
        shown: NDArray[np.bool_] | None = None,
        neighbours: Neighbours | None = None,
        fill: Fill = "none",
        pool: Executor | None = None,
    ) -> None:
        """Add one section.

        Parameters
        ----------
        slab : Slab
            Where it lies.
        picture : numpy.ndarray, shape (height, width, 3) or (height, width), uint8
            The section at tier `downsample`: RGB, or 255 times the one channel.
        downsample : int
            The tier.
        depth_axis : int
            The reference axis that its plane of section cuts across.
        background : sequence of float
            What is taken to lie outside the picture, one number for each channel. It shows only
            in the half voxel along the picture's edges.
        shown : numpy.ndarray, shape (height, width), bool, optional
            Which of the picture's pixels are the section's; all by default.
        neighbours : Neighbours, optional
            Where the next planes of its data set are; needed to fill.
        fill : {"none", "nearest", "linear"}
            What is done with voxels that no section reaches.
        pool : concurrent.futures.Executor, optional
            Planes of voxels are worked on in its threads. The result is the same.
        """
        neighbours = neighbours or Neighbours()
        weights = _Weights.of(slab, self.resolution, depth_axis, neighbours, fill)
        self._is_filled = self._is_filled or bool((weights.values < 0).any())
        own = None if shown is None else shown.view(np.uint8)

        def work(box: tuple[int, slice, slice]) -> None:
            self._add_plane(slab, picture, own, downsample, depth_axis, background, box, weights)

        band = self.band
        boxes = (
            box
            for box in slab.boxes(self.resolution, self.shape, depth_axis, weights.range)
            if band.axis != depth_axis or band.start <= box[0] < band.stop
        )
        # consumed, so that an exception of a thread is raised here
        for _ in map(work, boxes) if pool is None else pool.map(work, boxes):
            pass

    def _add_plane(
        self,
        slab: Slab,
        picture: NDArray[np.uint8],
        own: NDArray[np.uint8] | None,
        downsample: int,
        depth_axis: int,
        background: Sequence[float],
        box: tuple[int, slice, slice],
        weights: _Weights,
    ) -> None:
        """Add a section to those voxels of one box in one plane that are held.

        Strips are made as if all were held, so that voxels do not depend on the band.
        """
        index, rows, columns = box
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        place: list[int | slice] = [rows, columns]
        place.insert(depth_axis, index)
        # those of the box's rows and columns that are held, counted in the box
        held_rows, held_columns = slice(0, shape[0]), slice(0, shape[1])
        if self.band.axis == depth_axis:
            place[depth_axis] = index - self.band.start
        elif self.band.axis == min({0, 1, 2} - {depth_axis}):
            held_rows, place[self.band.axis] = self.band.part(rows)
        else:
            held_columns, place[self.band.axis] = self.band.part(columns)
        if held_rows.start == held_rows.stop or held_columns.start == held_columns.stop:
            return
        matrix = slab.plane_matrix(self.resolution, depth_axis, (index + 0.5) * self.resolution)
        matrix[:, 2] += matrix[:, :2] @ (columns.start, rows.start)
        to_tier = tier_matrix(matrix[:2], downsample)
        strips = Strips(picture, to_tier, shape, background)
        edges = [
            _Edges.of(line, shape, length)
            for line, length in zip(matrix[:2], slab.size, strict=True)
        ]
        # the plane, whose rows are voxels' rows
        data, weight = self._data[tuple(place)], self._weight[tuple(place)]
        colour = np.empty((0, 0), dtype=np.uint8)
        # A strip at a time: what is worked on stays near the processor.
        for strip in strips.rows:
            # what is held of the strip: counted from its first row, and from the first that is held
            inner, target = Band(0, held_rows.start, held_rows.stop).part(strip)
            if inner.start == inner.stop:
                continue
            new = weights.at(_places(matrix[2], strip, shape[1]))
            for side in edges:
                side.leave_out(new, strip)
            held = inner, held_columns
            if not new[held].any():
                continue
            if own is not None:
                new *= _nearest(own, to_tier, strip, shape[1])
                if not new[held].any():
                    continue
            known = _within(weight[target], held, new.shape)
            if self._is_filled:
                # where sections are nothing is filled, and a section replaces what was filled
                new[(new < 0) & (known > 0)] = 0
                if not new[held].any():
                    continue
                known[(new > 0) & (known < 0)] = 0
            if len(colour) != len(new):
                colour = np.empty((*new.shape, *picture.shape[2:]), dtype=np.uint8)
            strips.make(strip, colour)
            given: NDArray[Any] = colour
            if self.channels == 1:
                given = colour.astype(np.float32) / 255
            if self.channels == 3 and not known.any() and new.all():
                # nothing to average with: what blending would give, once it is rounded
                data[target], weight[target] = given[held], new[held]
                continue
            before, after = (known, new) if not self._is_filled else (np.abs(known), np.abs(new))
            # what is not held is blended too: OpenCV rounds at the ends of rows in another way
            blended = cv2.blendLinear(_within(data[target], held, new.shape), given, before, after)
            if self.channels == 1 and depth_axis != self.band.axis:
                # blending with nothing is not quite nothing, and would depend on what else is held
                np.copyto(data[target], blended[held], where=new[held] != 0)
            else:
                data[target] = blended[held]
            known += new
            weight[target] = known[held]

    def finish(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Return the data and the coverage; nothing can be added afterwards.

        Returns
        -------
        data : numpy.ndarray, shape (P, I, R, 3) uint8 or (P, I, R) float32
            0 where nothing is known. Of the band, if there is one.
        coverage : numpy.ndarray, shape (P, I, R), float32
            Sum of the fractions of each voxel that lie within sections.
        """
        data, weight = self._data, self._weight
        del self._data, self._weight
        np.maximum(weight, 0, out=weight)
        weight /= _UNIT
        return data, weight


def _nearest(
    picture: NDArray[np.uint8], way: Matrix, rows: slice, columns: int
) -> NDArray[np.uint8]:
    """Return the nearest pixels of a picture at some rows of voxels, (rows, columns), 0 beside it.

    `way`, shape (2, 3), leads from (column, row) of the plane of voxels to the picture's pixels.
    """
    shifted = way.copy()
    shifted[:, 2] += way[:, 1] * rows.start
    return cv2.warpAffine(  # type: ignore[return-value]
        picture,
        shifted,
        (columns, rows.stop - rows.start),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )


def _within(part: NDArray[Any], where: tuple[slice, slice], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a strip of which a part is given, in one piece of memory, with 0 around it."""
    if part.shape[:2] == shape:
        return np.ascontiguousarray(part)
    strip = np.zeros((*shape, *part.shape[2:]), dtype=part.dtype)
    strip[where] = part
    return strip


def _places(line: Matrix, rows: slice, columns: int) -> NDArray[np.float32]:
    """Return one coordinate in the section of some rows of voxels, shape (rows, columns)."""
    return _sums(*_ways(line, rows, columns))


def _ways(line: Matrix, rows: slice, columns: int) -> tuple[Matrix, Matrix]:
    """Return what rows and what columns of voxels add to one coordinate in the section."""
    by_column, by_row, constant = line
    return np.arange(rows.start, rows.stop) * by_row + constant, np.arange(columns) * by_column


def _sums(down: Matrix, across: Matrix) -> NDArray[np.float32]:
    """Return each row's number plus each column's, shape (rows, columns)."""
    sums = np.empty((len(down), len(across)), dtype=np.float32)
    # rounded as they are added, a few at a time
    np.add(down[:, None], across, out=sums, casting="same_kind")
    return sums


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """Where in one plane of voxels the image of a section ends, along one of its sides.

    Attributes
    ----------
    down, across : numpy.ndarray, shape (rows,) and (columns,), float64
        What a voxel's row and column add to its coordinate in the image, in full-resolution pixels.
    length : int
        Pixels along that side.
    rows, columns : slice
        Those whose two ends lie in the image. Coordinates rise or fall all along a row, also once
        they are rounded, so these lie in it as a whole.
    """

    down: Matrix
    across: Matrix
    length: int
    rows: slice
    columns: slice

    @classmethod
    def of(cls, line: Matrix, shape: tuple[int, int], length: int) -> _Edges:
        """Return them for a plane's (rows, columns), by a line of `Slab.plane_matrix`."""
        down, across = _ways(line, slice(0, shape[0]), shape[1])
        rows = _run(~np.any(_beyond(down, across[[0, -1]], length), axis=1))
        columns = _run(~np.any(_beyond(down[[0, -1]], across, length), axis=0))
        return cls(down, across, length, rows, columns)

    def leave_out(self, weights: NDArray[np.float32], strip: slice) -> None:
        """Take the weight from voxels of some rows whose centres lie beside the image."""
        for rows in _outside(self.rows, strip):
            for columns in _outside(self.columns, slice(0, len(self.across))):
                beyond = _beyond(self.down[rows], self.across[columns], self.length)
                weights[rows.start - strip.start : rows.stop - strip.start, columns][beyond] = 0


def _beyond(down: Matrix, across: Matrix, length: int) -> NDArray[np.bool_]:
    """Return which places, shape (rows, columns), lie beside an image along one of its sides."""
    places = _sums(down, across)
    return (places < -0.5) | (places > length - 0.5)


def _run(marked: NDArray[np.bool_]) -> slice:
    """Return where those that are marked, which all lie together, begin and end."""
    where = np.flatnonzero(marked)
    return slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0)


def _outside(run: slice, within: slice) -> Iterator[slice]:
    """Yield what of a range lies before and after a run."""
    if within.start < min(run.start, within.stop):
        yield slice(within.start, min(run.start, within.stop))
    if max(run.stop, within.start) < within.stop:
        yield slice(max(run.stop, within.start), within.stop)
