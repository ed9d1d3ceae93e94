"""Volumes: every section of one or more data sets, laid into one grid of voxels.

Voxel k of an axis spans [k·R, (k+1)·R) µm of the reference space, so its centre is at (k + ½)·R.
`atldld.volume.slabs` says what a voxel gets from a section; here are the channels, the work through
all sections with little memory, and the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from atldld.errors import AtldldError, InvalidInputError, Remedy
from atldld.fetch.jpeg import REDUCTIONS
from atldld.formats.voxels import CHUNK, takes_bands
from atldld.place.coordinates import all_coordinates
from atldld.place.spaces import BOX, LARGEST_SIDE
from atldld.sections.register import report_left_out
from atldld.support.arguments import check_number, plain
from atldld.support.memory import available_memory
from atldld.support.pipeline import outcomes, workers_for
from atldld.support.provenance import FRAME, Progress, citation_of, version
from atldld.volume.bands import VolumeInBands
from atldld.volume.model import Channel, Fill, Volume
from atldld.volume.slabs import Accumulator, Band, Neighbours, Slab
from atldld.warp.background import background_of
from atldld.warp.stain import Scale, darkness, open_scale, read_mask
from atldld.warp.straighten import FlatFrame

if TYPE_CHECKING:
    from atldld.fetch.kept import CachedImage
    from atldld.fetch.session import Session
    from atldld.place.sections import PlacedDataSet, PlacedSection

__all__ = [
    "CHANNELS",
    "FILLS",
    "VolumeRecipe",
    "build_volume",
    "prepare_volume",
]

CHANNELS: tuple[Channel, ...] = get_args(Channel)
"""What a volume can show."""

FILLS: tuple[Fill, ...] = get_args(Fill)
"""How gaps between sections can be filled."""

# Sides of voxels that are suggested when a volume would not fit, in µm.
_USUAL = (1, 2, 5, 10, 12.5, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 250, 400, 500, 1000)


# Along which volumes are built in bands: across i, planes would be the largest.
_BAND_AXES = (0, 2)


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """One section, the tier of its pixels, and the tier of the file that they are in."""

    dataset: PlacedDataSet
    section: PlacedSection
    session: Session
    slab: Slab
    downsample: int
    file: int


@dataclass(frozen=True, slots=True, eq=False)
class _Pixels:
    """One section's channel at its tier, and what lies around it; of a curved one, laid flat."""

    task: _Task
    slab: Slab
    picture: NDArray[np.uint8]
    background: tuple[float, ...]
    shown: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Reaching:
    """A section that has arrived before, and between which µm along the bands' axis it counts."""

    task: _Task
    neighbours: Neighbours
    extent: tuple[float, float]


@dataclass(frozen=True, slots=True)
class VolumeRecipe:
    """How sections become a volume. The arguments are those of `atldld.build_volume`.

    Attributes
    ----------
    resolution : float
        Side of a voxel, in µm.
    channel : {"image", "expression", "intensity"}
        What the numbers are.
    fill : {"none", "nearest", "linear"}
        What is done between sections; see `atldld.volume.slabs`.
    thickness : float or None
        How thick sections are taken to be, in volume µm; what their data set says if None.
    scale : Scale
        The colours of the expression masks.
    read_at : float or None
        In µm: read the files that voxels of this side would need, where others at hand are made of
        them too. Pixels of images are averaged as they are read; masks, whose colours cannot be
        averaged, are not.

    Raises
    ------
    InvalidInputError
        If an option is not valid, or there is no such scale.
    """

    resolution: float = 25
    channel: Channel = "image"
    fill: Fill = "none"
    thickness: float | None = None
    scale: Scale | str | Path = "jet"
    read_at: float | None = None

    def __post_init__(self) -> None:
        for name in ("resolution", "thickness", "read_at"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        _check_options(self.resolution, self.channel, self.fill, self.thickness)
        object.__setattr__(self, "scale", open_scale(self.scale))

    @property
    def colours(self) -> Scale:
        """The scale, opened."""
        return open_scale(self.scale)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (p, i, r): the whole ones that fit, safe from rounding as `Grid.shape`."""
        p, i, r = (math.floor(side / self.resolution + 1e-9) for side in BOX)
        return p, i, r

    @property
    def bytes(self) -> int:
        """Bytes of the data and the coverage; sections in flight are small beside them."""
        return math.prod(self.shape) * self._voxel

    @property
    def band(self) -> int:
        """Planes of a band where the volume is built in bands: those of one layer of chunks."""
        return CHUNK[1] if self.channel == "image" else CHUNK[4]

    @property
    def band_bytes(self) -> int:
        """Bytes of the largest band, and of the coarser levels that are made as it is written."""
        largest = max(math.prod(self.shape) // self.shape[axis] for axis in _BAND_AXES)
        # each level holds as thick a layer as the one before, of a quarter of the voxels
        return largest * min(self.band, self.shape[0]) * self._voxel * 4 // 3

    @property
    def _voxel(self) -> int:
        return (3 if self.channel == "image" else 4) + 4

    def slab(
        self, dataset: PlacedDataSet, section: PlacedSection, flat: FlatFrame | None = None
    ) -> Slab:
        """Return the slab that a section of a data set fills.

        Parameters
        ----------
        dataset : PlacedDataSet
            The data set.
        section : PlacedSection
            One of its sections.
        flat : FlatFrame, optional
            Of a curved section: its flat picture, whose slab is wanted.

        Raises
        ------
        AlignmentMissingError
            If the data set has no alignment3d or no section thickness.
        """
        alignment, _ = dataset.record.check_alignment()
        size = section.image.width, section.image.height
        return Slab.of(
            section.placement.forward if flat is None else flat.placement.forward,
            alignment.to_reference[:, 2],
            size if flat is None else flat.size,
            section.thickness if self.thickness is None else self.thickness,
        )

    def tier_of(self, section: PlacedSection, slab: Slab) -> int:
        """Return the tier of the pixels that are made of a section."""
        image, axis = section.image, section.plane.depth_axis
        return slab.downsample(self.resolution, axis, image.highest_downsample)

    def files_of(self, section: PlacedSection, slab: Slab) -> tuple[int, int]:
        """Return the tier of the pixels that are made of a section, and of the file they are in."""
        wanted = self.tier_of(section, slab)
        if self.read_at is None or self.read_at >= self.resolution:
            return wanted, wanted
        image, axis = section.image, section.plane.depth_axis
        file = slab.downsample(self.read_at, axis, image.highest_downsample)
        if self.channel == "expression":
            return file, file
        return min(wanted, file + len(REDUCTIONS) - 1), file

    def check_memory(self, *, in_bands: bool = False) -> None:
        """Check that the volume fits into memory.

        Parameters
        ----------
        in_bands : bool
            Whether it is built in bands, of which one must fit.

        Raises
        ------
        InvalidInputError
            If it does not fit; the hint says which resolution would, and whether OME-Zarr would.
        """
        available = available_memory()

        def needed(recipe: VolumeRecipe) -> int:
            return recipe.band_bytes if in_bands else recipe.bytes

        if available is None or needed(self) <= available:
            return
        at = (replace(self, resolution=resolution) for resolution in _USUAL)
        fits = next((recipe for recipe in at if needed(recipe) <= available), None)
        if fits is None:
            fits = replace(self, resolution=min(BOX))
        p, i, r = self.shape
        hint = (
            f"A resolution of {fits.resolution:g} µm would fit: it takes {needed(fits) / 1e9:.3g} "
            "GB."
        )
        if not in_bands and self.band_bytes <= available:
            hint += (
                f" OME-Zarr is written block by block, in {self.band_bytes / 1e9:.3g} GB: "
                f"{Remedy.OME_ZARR}."
            )
        what = "block by block" if in_bands else "with its coverage"
        raise InvalidInputError(
            f"A volume of {p} × {i} × {r} voxels of {self.resolution:g} µm takes "
            f"{needed(self) / 1e9:.3g} GB {what}, but {available / 1e9:.3g} GB of memory are free.",
            hint=hint,
        )


def build_volume(
    datasets: Sequence[tuple[PlacedDataSet, Session]],
    recipe: VolumeRecipe,
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Volume:
    """Lay every section of one or more data sets into one grid of voxels.

    This is the work of `atldld.build_volume`, which says how sections are added, what `jobs` and
    `progress` are, what is warned of, and what is raised; a recipe's options have been checked
    already.

    Parameters
    ----------
    datasets : sequence of (PlacedDataSet, Session)
        Each with where its pixels come from.
    recipe : VolumeRecipe
        The options.
    """
    recipe.check_memory()
    return _Work(datasets, recipe, jobs, progress).whole()


def prepare_volume(
    datasets: Sequence[tuple[PlacedDataSet, Session]],
    recipe: VolumeRecipe,
    path: str | Path,
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Volume | VolumeInBands:
    """Return what can be saved to a file: in bands if its format can be written so, or else whole.

    The voxels are the same. Sections that cannot be fetched are known, and warned of, once this
    returns.

    Parameters
    ----------
    datasets, recipe, jobs, progress :
        See `build_volume`.
    path : str or pathlib.Path
        The file, whose ending says the format.

    Raises
    ------
    InvalidInputError
        As `build_volume`, or if the file's ending is unknown.
    """
    if not takes_bands(path):
        return build_volume(datasets, recipe, jobs=jobs, progress=progress)
    recipe.check_memory(in_bands=True)
    return _Work(datasets, recipe, jobs, progress).in_bands()


class _Work:
    """The way from sections to voxels, whole or in bands."""

    def __init__(
        self,
        datasets: Sequence[tuple[PlacedDataSet, Session]],
        recipe: VolumeRecipe,
        jobs: int | None,
        progress: Progress | None,
    ) -> None:
        self.placed = [dataset for dataset, _ in datasets]
        _check_datasets(self.placed)
        self.datasets, self.recipe, self.progress = datasets, recipe, progress
        self.jobs = workers_for(jobs)
        self.tasks, self.without_mask = _plan(datasets, recipe)
        self.failed: list[tuple[_Task, AtldldError]] = []
        self.used: list[_Task] = []

    def whole(self) -> Volume:
        """Return the volume."""
        accumulator = self._accumulator()
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="volume") as pool:
            for pixels, neighbours in self._sections(len(self.tasks)):
                self._add(pixels, neighbours, accumulator, pool)
        self._report()
        data, coverage = accumulator.finish()
        return Volume(data, coverage, *self._about())

    def in_bands(self) -> VolumeInBands:
        """Return the volume to be saved in bands.

        All sections are read once before: one that fails widens the gap that its neighbours fill,
        and those may lie in a band before its own.
        """
        axis, bands = self._axis(), self._bands()
        sections = [
            _Reaching(
                pixels.task,
                neighbours,
                pixels.slab.extent(self.recipe.resolution, axis, neighbours, self.recipe.fill),
            )
            for pixels, neighbours in self._sections(len(self.tasks) + len(bands))
        ]
        self._report()

        def build(band: Band) -> tuple[NDArray[Any], NDArray[np.float32]]:
            return self._band(band, sections)

        def told(done: int) -> None:
            if self.progress:
                total = len(self.tasks) + len(bands)
                self.progress(len(self.tasks) + done, total, f"block {done} of {len(bands)}")

        return VolumeInBands(build, bands, told, self.recipe.shape, *self._about())

    def _band(
        self, band: Band, sections: Sequence[_Reaching]
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        side = self.recipe.resolution
        reaching = {
            id(one.task): one.neighbours
            for one in sections
            if one.extent[0] <= band.stop * side and band.start * side <= one.extent[1]
        }
        tasks = [task for task in self.used if id(task) in reaching]
        accumulator = self._accumulator(band)
        failed: list[tuple[_Task, AtldldError]] = []
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="volume") as pool:
            for pixels in _arriving(tasks, self.recipe, self.jobs, failed):
                self._add(pixels, reaching[id(pixels.task)], accumulator, pool)
        if failed:  # it was there before: what has been written holds it
            raise failed[0][1]
        return accumulator.finish()

    def _axis(self) -> int:
        """Return the axis of the bands: sections are thin along it, or else p is their rows' axis.

        So each section is read for a band or two, or no more of it is worked on than is needed.
        """
        axes = {dataset.plane.depth_axis for dataset in self.placed}
        return axes.pop() if len(axes) == 1 and axes <= set(_BAND_AXES) else 0

    def _bands(self) -> list[Band]:
        axis, thickness = self._axis(), self.recipe.band
        side = self.recipe.shape[axis]
        return [
            Band(axis, start, min(start + thickness, side)) for start in range(0, side, thickness)
        ]

    def _accumulator(self, band: Band | None = None) -> Accumulator:
        recipe = self.recipe
        channels = 3 if recipe.channel == "image" else 1
        if band is None:
            axis = self._axis()
            band = Band(axis, 0, recipe.shape[axis])
        depth_axis = self.placed[0].plane.depth_axis
        return Accumulator(recipe.shape, recipe.resolution, channels, depth_axis, band)

    def _sections(self, steps: int) -> Iterator[tuple[_Pixels, Neighbours]]:
        """Yield all sections that arrive, and note which do and which do not."""
        arrived = _arriving(self.tasks, self.recipe, self.jobs, self.failed)
        for pixels, neighbours in _with_neighbours(arrived):
            yield pixels, neighbours
            self.used.append(pixels.task)
            if self.progress:
                done = len(self.used) + len(self.failed)
                self.progress(done, steps, f"section {pixels.task.section.number}")

    def _add(
        self, pixels: _Pixels, neighbours: Neighbours, accumulator: Accumulator, pool: Executor
    ) -> None:
        accumulator.add(
            pixels.slab,
            pixels.picture,
            pixels.task.downsample,
            pixels.task.section.plane.depth_axis,
            background=pixels.background,
            shown=pixels.shown,
            neighbours=neighbours,
            fill=self.recipe.fill,
            pool=pool,
        )

    def _report(self) -> None:
        """Warn of sections that are left out; refuse to go on with none."""
        if not self.used:
            raise self.failed[0][1] if self.failed else _without_masks(self.placed)
        for task, error in self.failed:
            report_left_out([(task.section, error)], task.session, task.dataset.id)

    def _about(self) -> tuple[float, Channel, tuple[int, ...], Fill, dict[str, Any]]:
        recipe = self.recipe
        return (
            float(recipe.resolution),
            recipe.channel,
            tuple(dataset.id for dataset in self.placed),
            recipe.fill,
            _describe(self.datasets, recipe, self.used, self.failed, self.without_mask),
        )


def _check_options(
    resolution: float, channel: str, fill: str, thickness: float | None = None
) -> None:
    """Check the options."""
    for value, known, what in ((channel, CHANNELS, "channel"), (fill, FILLS, "fill")):
        if value not in known:
            raise InvalidInputError(f"The {what} is {value!r}, but must be one of {_list(known)}.")
    lengths = {"resolution": resolution}
    if thickness is not None:
        lengths["thickness"] = thickness
    for what, number in lengths.items():
        check_number(number, what, above=0, unit="µm")
    if min(BOX) < resolution or max(BOX) / resolution > LARGEST_SIDE:
        raise InvalidInputError(
            f"The resolution is {resolution:g} µm, but voxels must be from 1 to {min(BOX)} µm.",
            hint="Use a resolution from 10 to some hundreds of µm.",
        )


def _check_datasets(datasets: Sequence[PlacedDataSet]) -> None:
    if not datasets:
        raise InvalidInputError("There is no data set to make a volume of; give at least one.")
    ids = [dataset.id for dataset in datasets]
    if len(set(ids)) < len(ids):
        raise InvalidInputError(
            f"Each data set can be given once, but these are {_list(ids)}: it would count twice."
        )
    for dataset in datasets:
        dataset.check_placed()


def _plan(
    datasets: Sequence[tuple[PlacedDataSet, Session]], recipe: VolumeRecipe
) -> tuple[list[_Task], list[PlacedSection]]:
    """Return the sections to read, by data set and section number, and those without a mask."""
    tasks: list[_Task] = []
    without: list[PlacedSection] = []
    for dataset, session in datasets:
        for section in dataset.sections:
            if recipe.channel == "expression" and not section.image.has_expression_mask:
                without.append(section)
                continue
            slab = recipe.slab(dataset, section)
            tasks.append(_Task(dataset, section, session, slab, *recipe.files_of(section, slab)))
    return tasks, without


def _arriving(
    tasks: Sequence[_Task],
    recipe: VolumeRecipe,
    jobs: int,
    failed: list[tuple[_Task, AtldldError]],
) -> Iterator[_Pixels]:
    """Yield sections with their pixels, in order; put those that fail into `failed`."""
    if not tasks:
        return
    channel, scale = recipe.channel, recipe.colours
    masks = channel == "expression"

    def fetch(task: _Task) -> CachedImage:
        return task.session.image(task.section.image, task.file, expression=masks)

    def work(task: _Task, file: CachedImage) -> _Pixels:
        pixels = task.session.pixels(
            task.section.image,
            task.file,
            expression=masks,
            reduction=1 << (task.downsample - task.file),
            held=file,
        )
        if masks:
            # before anything is averaged: the average of two colours is another level's
            return _laid_flat(task, recipe, read_mask(pixels, scale=scale).intensity, (0.0,))
        background = background_of(pixels)
        if channel == "intensity":
            return _laid_flat(task, recipe, darkness(pixels, background), (0.0,))
        return _laid_flat(task, recipe, pixels, background)

    fetchers = tasks[0].session.limits.in_flight
    for task, result in outcomes(tasks, fetch, work, fetchers=fetchers, workers=jobs):
        if isinstance(result, AtldldError):
            failed.append((task, result))
        else:
            yield result


def _laid_flat(
    task: _Task, recipe: VolumeRecipe, picture: NDArray[np.uint8], background: tuple[float, ...]
) -> _Pixels:
    placement, image = task.section.placement, task.section.image
    if placement.deformation is None:
        return _Pixels(task, task.slab, picture, background)
    flat = FlatFrame.of(
        placement, placement.deformation, (image.width, image.height), task.downsample
    )
    slab = recipe.slab(task.dataset, task.section, flat)
    return _Pixels(task, slab, flat.lay_out(picture, background), background, flat.shown)


def _with_neighbours(arriving: Iterable[_Pixels]) -> Iterator[tuple[_Pixels, Neighbours]]:
    """Yield sections, with how far the next planes of their data set are that have arrived.

    A section waits for the one after it, so that one that is missing widens the gap instead of
    leaving a hole.
    """

    def address(pixels: _Pixels) -> tuple[int, int]:
        return id(pixels.task.dataset), pixels.task.section.number

    before: PlacedSection | None = None
    waiting: list[_Pixels] = []
    # several images of one section number lie in one plane
    groups: Iterator[list[_Pixels]] = (list(group) for _, group in groupby(arriving, address))
    for group in chain(groups, [[]]):
        if waiting:
            last = waiting[0].task
            follows = bool(group) and group[0].task.dataset is last.dataset
            after = group[0].task.section if follows else None
            neighbours = Neighbours(_distance(before, last.section), _distance(last.section, after))
            for pixels in waiting:
                yield pixels, neighbours
            before = last.section if follows else None
        waiting = group


def _distance(section: PlacedSection | None, neighbour: PlacedSection | None) -> float | None:
    """Return how far apart the planes of two section numbers of a data set are, in volume µm."""
    if section is None or neighbour is None:
        return None
    return (neighbour.number - section.number) * section.thickness


def _without_masks(datasets: Sequence[PlacedDataSet]) -> AtldldError:
    return InvalidInputError(
        f"Of the data sets {_list([dataset.id for dataset in datasets])} there is no section with "
        "an expression mask, so there is nothing to make a volume of.",
        dataset_id=datasets[0].id if len(datasets) == 1 else None,
    )


def _describe(
    datasets: Sequence[tuple[PlacedDataSet, Session]],
    recipe: VolumeRecipe,
    used: Sequence[_Task],
    failed: Sequence[tuple[_Task, AtldldError]],
    without_mask: Sequence[PlacedSection],
) -> dict[str, Any]:
    described = []
    thickness = recipe.thickness
    for dataset, session in datasets:
        record = dataset.record
        left_out = {str(skipped.image_id): skipped.reason for skipped in dataset.skipped}
        own = set(dataset.sections)
        left_out |= {
            str(section.id): "it has no expression mask"
            for section in without_mask
            if section in own
        }
        described.append(
            {
                "dataset_id": dataset.id,
                "synthetic": record.synthetic,
                "service": session.settings.api_url,
                "citation": citation_of(dataset.id),
                "genes": [gene.acronym for gene in record.genes],
                "specimen": record.specimen_name,
                "plane_of_section": dataset.plane.value,
                "reference_space_id": record.reference_space_id,
                "alignment": dataset.alignment.describe() if dataset.alignment else None,
                "coordinates": dataset.coordinates,
                "section_thickness_um": record.section_thickness,
                "thickness_used_um": record.section_thickness if thickness is None else thickness,
                "sections": [
                    {
                        "image_id": task.section.id,
                        "section_number": task.section.number,
                        "downsample": task.downsample,
                        **task.section.describe_registration(),
                    }
                    for task in used
                    if task.dataset is dataset
                ],
                "skipped": left_out,
                "failed": {
                    str(task.section.id): str(error)
                    for task, error in failed
                    if task.dataset is dataset
                },
            }
        )
    return {
        "atldld_version": version(),
        "synthetic": any(dataset.record.synthetic for dataset, _ in datasets),
        "resolution_um": float(recipe.resolution),
        "channel": recipe.channel,
        "fill": recipe.fill,
        "frame": FRAME,
        "coordinates": all_coordinates(dataset.coordinates for dataset, _ in datasets),
        "voxel_centre": "(k + 1/2) * resolution_um along each axis",
        "coverage": "fraction of each voxel that lies within sections, summed over sections",
        "datasets": described,
        **({"scale": recipe.colours.describe()} if recipe.channel == "expression" else {}),
    }


def _list(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
