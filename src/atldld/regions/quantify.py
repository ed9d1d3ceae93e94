"""How much is expressed in which structure: a table out of a data set's expression masks.

Everything is counted in the image. Each pixel of a mask is asked where it lies, which is one
affine map, and which structure the annotation has there; no picture is warped, so a pixel counts
once and with its own value. What a pixel stands for is the same everywhere on a section, so a
section is three sums for each structure and hemisphere.

On a curved section a pixel stands for more where it was pressed and for less where it was
stretched. So its values are laid flat first, each pixel of the flat picture having those of the one
pixel of the image in which its centre lies (`atldld.warp.straighten.FlatFrame.pick`), and pixels of
the flat picture are counted: they are all of one size. Those beyond the image do not count.

With a = the pixel's area in the reference space, and over the pixels of a structure in all
sections::

    density   = Σ a · part / Σ a
    intensity = Σ a · part · level / Σ a · part
    energy    = density · intensity

A pixel of a mask expresses when its brightest channel exceeds the threshold. Its level is that of
its colour on the masks' scale, 1 to 255; its part is how much of it expresses, by its brightness
(`atldld.warp.stain.read_mask`): at the edges of cells pixels are mixed with black, and to count
them whole would make the same cells larger the coarser they are read. ``docs/quantify.md`` says
what may be compared with what.

Source of the definitions: the Allen Institute's columns of StructureUnionize.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.atlas.labels import compact_labels
from atldld.atlas.sample import on_image
from atldld.errors import (
    AnswerError,
    AtldldError,
    InvalidInputError,
    RecordError,
    Remedy,
    ServiceWarning,
)
from atldld.place.spaces import BOX
from atldld.place.tiers import tier_of
from atldld.records import LARGEST_ID
from atldld.regions.grids import fetch_grid, grid_region_means, places_on_grid
from atldld.regions.table import HEMISPHERES, Regions, RegionTable
from atldld.sections.register import report_left_out
from atldld.support.arguments import check_number, check_whole, plain
from atldld.support.fields import CHANGED, UnusableFieldError, number, whole
from atldld.support.memory import let_go
from atldld.support.pipeline import outcomes, workers_for
from atldld.support.provenance import Progress, citation_of, version
from atldld.warp.background import background_of
from atldld.warp.stain import EXPRESSING, Scale, darkness, open_scale, read_mask
from atldld.warp.straighten import FlatFrame

if TYPE_CHECKING:
    from atldld.atlas import Atlas
    from atldld.fetch.kept import CachedImage
    from atldld.fetch.session import Session
    from atldld.place.sections import PlacedDataSet, PlacedSection

__all__ = ["RegionTable", "check_thresholds", "quantify", "structure_unionizes"]


# Pixels of a picture that are counted at once: their numbers stay in the processor's cache.
_AT_ONCE = 1 << 18

_ABOUT = {
    "pixels": "pixels of the tier that was read",
    "area_mm2": "area of the pixels in the reference space, mm2, over all sections",
    "volume_mm3": "volume of the reference space that the sections stand for, mm3: area times the "
    "way halfway to the next sections, but no more than half of the usual spacing on each side",
    "density": "area that expresses / area of all pixels, 0 to 1; a pixel that is dimmer than its "
    "colour on the scale counts in part",
    "intensity": "mean level of what expresses on the masks' scale, 1 (low) to 255 (high)",
    "energy": "density x intensity",
    "stained_fraction": "area of pixels darker than the threshold / area of all pixels, 0 to 1; "
    "NOT a density of expression",
    "stained_darkness": "mean absorptance of those pixels, 0 to 1",
    "sections": "sections with a pixel in the structure",
    "coverage": "volume_mm3 / atlas_volume_mm3; small structures may exceed 1 by chance",
    "atlas_volume_mm3": "volume of the structure in the atlas, mm3",
    "unionize_density": "expression_density of the service's StructureUnionize",
    "unionize_intensity": "sum_expressing_pixel_intensity / sum_expressing_pixels, the same",
    "unionize_energy": "expression_energy of the service's StructureUnionize",
    "grid_density": "mean of the service's 200 um density grid over the structure",
    "grid_intensity": "mean energy / mean density of the service's 200 um grids",
    "grid_energy": "mean of the service's 200 um energy grid over the structure",
    "grid_data_fraction": "fraction of the structure's voxels of 200 um that hold data",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """One section, and the tier that is read of it."""

    section: PlacedSection
    downsample: int


def quantify(
    dataset: PlacedDataSet,
    atlas: Atlas,
    resolution: float = 8,
    *,
    session: Session,
    hemispheres: bool = True,
    threshold: int = EXPRESSING,
    scale: Scale | str | Path = "jet",
    stain_threshold: float | None = None,
    grid: bool = True,
    unionize: bool = True,
    sections: PlacedSection | Iterable[PlacedSection] | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> RegionTable:
    """Return how much is expressed in each structure and hemisphere, rolled up the hierarchy.

    Parameters
    ----------
    dataset : PlacedDataSet
        What is counted.
    atlas : Atlas
        Which structure is where.
    resolution : float
        In µm: of each section the coarsest tier is read whose pixels are no larger than this.
    session : Session
        Where pixels, grids and unionizes come from.
    hemispheres : bool
        Give rows for left and right too.
    threshold : int
        0 to 254: a pixel of a mask expresses when its brightest channel exceeds this.
    scale : Scale, str or pathlib.Path
        The colours of the masks; see `atldld.warp.stain.open_scale`.
    stain_threshold : float, optional
        Read the section images instead of the masks, and give another quantity: the
        ``stained_fraction``, of pixels that take away more than this of the background's light (0
        to 1; see `atldld.warp.stain.darkness`).
    grid, unionize : bool
        Put beside it what the service itself has: means of its 200 µm grids, and its
        StructureUnionize. Where it has none, or cannot be asked, the columns hold NaN and a
        warning says why. Not done for stained fractions.
    sections : Section or iterable of Section, optional
        Count only these.
    jobs : int, optional
        Threads; the number of cores by default.
    progress : callable, optional
        Called with how many sections are done, how many there are, and what the last one was.

    Returns
    -------
    RegionTable
        Rows for all structures of the annotation and what they lie in, for ids that the graph
        lacks, and for what lies outside (in ``"both"`` alone). Its roots, unknown ids and outside
        hold every pixel once.

    Raises
    ------
    InvalidInputError
        If a threshold or a resolution is not valid, or a scale cannot be opened; nothing is
        requested then.
    UnsupportedPlaneError
        If the data set is of another brain than the atlas: a developing one.
    AlignmentMissingError
        If no section of the data set is placed.
    RecordError
        If the data set has no expression masks.
    AtldldError
        If not a single section can be fetched; this is the error of the first one.

    Warns
    -----
    SkippedImageWarning
        If a section cannot be fetched and is left out.
    ServiceWarning
        If the service's own numbers cannot be fetched.
    OtherAtlasWarning
        If the sections were laid on another atlas.
    """
    check_thresholds(threshold, stain_threshold)
    threshold, stain_threshold = int(plain(threshold)), plain(stain_threshold)
    scale = open_scale(scale)
    atlas.check_dataset(dataset.record)
    atlas.compare_alignment(dataset.alignment, session)
    masks = stain_threshold is None
    chosen = dataset.chosen(sections)
    tasks, without_mask = _plan(chosen, resolution, masks=masks)
    if not tasks:
        raise _nothing_to_count(dataset, masks and bool(without_mask))

    ids, places = compact_labels(atlas.annotation)
    let_go(atlas.annotation)
    keys = _in_halves(places)
    del places  # `keys` may be the very same array by now
    regions = Regions(ids.tolist(), atlas.graph)
    voxels = _voxels_of(keys, len(ids))
    counts, used, failed = _count_all(
        tasks,
        session,
        keys,
        len(ids),
        threshold,
        scale,
        stain_threshold,
        workers_for(jobs),
        progress,
    )
    if not used:
        raise failed[0][1]
    report_left_out([(task.section, error) for task, error in failed], session, dataset.id)
    area, volume = _worth(dataset, used)
    measured = _measure(regions.add_up(counts), area, volume)
    atlas_volume = _with_both(regions.add_up(voxels)) * (atlas.resolution / 1000) ** 3
    atlas_volume[-1] = np.nan  # the outside has no end
    fraction, mean = measured.pop("fraction"), measured.pop("mean")
    if masks:
        shown = {"density": fraction, "intensity": mean, "energy": fraction * mean}
    else:
        shown = {"stained_fraction": fraction, "stained_darkness": mean / 255}
    values = {name: measured[name] for name in ("pixels", "area_mm2", "volume_mm3")} | shown
    values["sections"] = measured["sections"]
    with np.errstate(invalid="ignore", divide="ignore"):
        values["coverage"] = measured["volume_mm3"] / atlas_volume
    values["atlas_volume_mm3"] = atlas_volume
    compared: dict[str, Any] = {}
    if masks and unionize:
        values |= _beside_unionizes(dataset, session, regions, compared)
    if masks and grid:
        keys >>= 1
        values |= _beside_grid(dataset, session, atlas, ids, keys, regions, compared)
    if not hemispheres:
        values = {name: array[:, 2:] for name, array in values.items()}
    metadata = _describe(
        dataset,
        session.settings.api_url,
        atlas,
        resolution,
        threshold,
        scale,
        stain_threshold,
        used,
        failed,
        without_mask,
    )
    metadata |= {"unknown_ids": regions.unknown, "compared_with": compared}
    return regions.table(values, {name: _ABOUT[name] for name in values}, metadata)


def check_thresholds(threshold: int, stain_threshold: float | None = None) -> None:
    """Check the thresholds; see `quantify`.

    Raises
    ------
    InvalidInputError
        If a threshold is out of its range.
    """
    check_whole(threshold, "threshold", most=254)
    if stain_threshold is None:
        return
    if not 0 < check_number(stain_threshold, "threshold of stain") < 1:
        raise InvalidInputError(
            f"The threshold of stain is {stain_threshold!r}, but must lie between 0 and 1: the "
            "part of the background's light that is taken away."
        )


def structure_unionizes(session: Session, dataset_id: int) -> dict[int, dict[str, Any]]:
    """Return the service's own summary of a data set, by structure id.

    Parameters
    ----------
    session : Session
        Where to ask; the answer is kept.
    dataset_id : int
        The section data set.

    Returns
    -------
    dict
        The rows of the model StructureUnionize; empty where there are none.

    Raises
    ------
    OfflineError, ServiceError
        If the rows are not in the cache and cannot be fetched.
    AnswerError
        If one of them cannot be used.
    """
    rows = session.query(
        "StructureUnionize", {"section_data_set_id": dataset_id}, order="structure_unionizes.id"
    )
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        try:
            number_ = whole(row, "structure_id", 1, LARGEST_ID, needed=True)
            figures = {
                name: number(row, name, 0, most) for name, most in _FIGURES.items() if name in row
            }
            _check_figures(figures)
        except UnusableFieldError as error:
            raise AnswerError(
                f"The service sent an unusable StructureUnionize record (id {row.get('id')}): "
                f"{error}.",
                dataset_id=dataset_id,
                hint=CHANGED,
            ) from None
        found[int(number_ or 0)] = {**row, **figures, "structure_id": number_}
    return found


# What each figure can be at most; intensities have 8 or 16 bits.
_FIGURES = {
    "sum_pixels": 1e15,
    "sum_expressing_pixels": 1e15,
    "sum_pixel_intensity": 65_535e15,
    "sum_expressing_pixel_intensity": 65_535e15,
    "expression_density": 1.001,
    "expression_energy": 65_535.0,
}
_LARGEST_INTENSITY = 65_535.0


def _check_figures(row: Mapping[str, float | None]) -> None:
    """Refuse figures of which one contradicts another.

    Raises
    ------
    UnusableFieldError
        If more pixels express than there are, or more brightly than pixels can be.
    """
    whole_, part, light = (
        row.get(name)
        for name in ("sum_pixels", "sum_expressing_pixels", "sum_expressing_pixel_intensity")
    )
    if whole_ is not None and part is not None and part > whole_ * 1.001:
        raise UnusableFieldError(
            "sum_expressing_pixels",
            f"sum_expressing_pixels is {part:.6g}, more than sum_pixels, which is {whole_:.6g}",
        )
    if part and light is not None and light / part > _LARGEST_INTENSITY:
        raise UnusableFieldError(
            "sum_expressing_pixel_intensity",
            f"sum_expressing_pixel_intensity is {light:.6g} of {part:.6g} pixels "
            "(sum_expressing_pixels), brighter than pixels can be",
        )


def _plan(
    sections: Sequence[PlacedSection], resolution: float, *, masks: bool
) -> tuple[list[_Task], list[PlacedSection]]:
    """Return the sections to read, and those without a mask."""
    tasks: list[_Task] = []
    without: list[PlacedSection] = []
    for section in sections:
        if masks and not section.image.has_expression_mask:
            without.append(section)
            continue
        tasks.append(_Task(section, tier_of(section, resolution)))
    return tasks, without


def _nothing_to_count(dataset: PlacedDataSet, lacks_masks: bool) -> AtldldError:
    if not lacks_masks:
        return InvalidInputError(
            "There is no section to count in, as none was chosen.", dataset_id=dataset.id
        )
    return RecordError(
        f"Data set {dataset.id} has no expression masks, so no expression can be counted.",
        dataset_id=dataset.id,
        hint="Another quantity can be measured: with a threshold of stain "
        f"(`{Remedy.STAIN_THRESHOLD}`), "
        "the fraction of each structure that is darker than that in the section images.",
    )


def _count_all(
    tasks: Sequence[_Task],
    session: Session,
    keys: NDArray[np.unsignedinteger[Any]],
    labels: int,
    threshold: int,
    scale: Scale,
    stain_threshold: float | None,
    jobs: int,
    progress: Progress | None,
) -> tuple[NDArray[np.int64], list[_Task], list[tuple[_Task, AtldldError]]]:
    """Count all sections.

    Returns
    -------
    counts : numpy.ndarray, shape (labels, sections, 2, 3), int64
        In the left and the right half: pixels, the sum of their parts (255 for a whole one), and
        the sum of parts times values.
    used : list
        The sections that were counted.
    failed : list
        Those that cannot be fetched, and why.
    """
    masks = stain_threshold is None

    def fetch(task: _Task) -> CachedImage:
        return session.image(task.section.image, task.downsample, expression=masks)

    def work(task: _Task, file: CachedImage) -> NDArray[np.int64]:
        image = task.section.image
        pixels = session.pixels(image, task.downsample, expression=masks, held=file)
        if stain_threshold is None:
            mask = read_mask(pixels, threshold, scale)
            value, part = mask.level, mask.part
        else:
            value = darkness(pixels, background_of(pixels))
            part = np.where(value > 255 * stain_threshold, 255, 0).astype(np.uint8)
        del pixels
        placement = task.section.placement
        if placement.deformation is None:
            where = on_image(keys, placement, image.width, image.height, task.downsample)
            return _count(where, value, part, labels)
        size = image.width, image.height
        flat = FlatFrame.of(placement, placement.deformation, size, task.downsample)
        value, part = flat.pick(value), flat.pick(part)
        where = on_image(keys, flat.placement, *flat.size, task.downsample)
        return _count(where, value, part, labels, flat.shown)

    used: list[_Task] = []
    failed: list[tuple[_Task, AtldldError]] = []
    counts: list[NDArray[np.int64]] = []
    fetchers = session.limits.in_flight
    for task, result in outcomes(tasks, fetch, work, fetchers=fetchers, workers=jobs):
        if isinstance(result, AtldldError):
            failed.append((task, result))
        else:
            counts.append(result)
            used.append(task)
        if progress:
            progress(len(used) + len(failed), len(tasks), f"section {task.section.number}")
    empty = np.zeros((labels, 0, 2, 3), dtype=np.int64)
    return (np.stack(counts, axis=1) if counts else empty), used, failed


def _count(
    where: NDArray[np.unsignedinteger[Any]],
    value: NDArray[np.uint8],
    part: NDArray[np.uint8],
    labels: int,
    shown: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Return pixels, the sum of parts and of parts · values, shape (labels, 2, 3).

    Pixels that are not `shown` do not count; what lies there has no part.
    """
    total = np.zeros((2 * labels, 3), dtype=np.int64)
    step = max(_AT_ONCE // where.shape[1], 1)
    for start in range(0, where.shape[0], step):
        rows = slice(start, start + step)
        keys, parts = where[rows].ravel(), part[rows].ravel()
        # neighbours mostly lie in one structure, so first the pixels of each run are added up
        begins = _runs(keys)
        key = keys.take(begins)
        if shown is None:
            sums = [np.diff(begins, append=keys.size)]
        else:
            sums = [np.add.reduceat(shown[rows].ravel(), begins, dtype=np.int64)]
        if parts.any():
            both = np.multiply(parts, value[rows].ravel(), dtype=np.uint16)
            sums += [np.add.reduceat(one, begins, dtype=np.int64) for one in (parts, both)]
        for kind, each in enumerate(sums):
            # exact in float64: sums stay below 2 ** 53
            total[:, kind] += np.bincount(key, each, minlength=2 * labels).astype(np.int64)
    return total.reshape(labels, 2, 3)


def _runs(keys: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.intp]:
    """Return where runs of one number begin, of one number or more."""
    return np.concatenate(([0], np.flatnonzero(keys[1:] != keys[:-1]) + 1))


def _in_halves(
    places: NDArray[np.unsignedinteger[Any]],
) -> NDArray[np.unsignedinteger[Any]]:
    """Return 2 · place + (0 in the left half, 1 in the right one), in place where that fits.

    A voxel belongs to the half in which its centre lies; one in the midline counts as right.
    """
    count = places.shape[2]
    right = np.arange(count) + 0.5 >= count / 2
    if 2 * (int(places.max()) + 1) > np.iinfo(places.dtype).max:
        places = places.astype(np.uint32)
    places <<= 1
    places += right.astype(places.dtype)
    return places


def _voxels_of(keys: NDArray[np.unsignedinteger[Any]], labels: int) -> NDArray[np.int64]:
    """Count the atlas's voxels, shape (labels, 2)."""
    total = np.zeros(2 * labels, dtype=np.int64)
    for layer in keys:
        flat = layer.ravel()
        begins = _runs(flat)
        lengths = np.diff(begins, append=flat.size)
        total += np.bincount(flat.take(begins), lengths, minlength=2 * labels).astype(np.int64)
    return total.reshape(labels, 2)


def _worth(
    dataset: PlacedDataSet, used: Sequence[_Task]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what a tier's pixel of each section is worth: its area in mm² and volume in mm³."""
    alignment, thickness = dataset.record.check_alignment()
    across = alignment.to_reference[:, 2]
    all_planes = np.unique([section.number for section in dataset.sections])
    # one plane alone stands for nothing but itself
    usual = float(np.median(np.diff(all_planes))) if len(all_planes) > 1 else 1.0
    planes, place, images = np.unique(
        [task.section.number for task in used], return_inverse=True, return_counts=True
    )
    # What is missing between two planes is not made up: no more than the usual is bridged.
    gaps = np.minimum(np.concatenate(([usual], np.diff(planes), [usual])), usual)
    depth = ((gaps[:-1] + gaps[1:]) / 2 / images)[place] * thickness
    area, volume = np.empty(len(used)), np.empty(len(used))
    for k, task in enumerate(used):
        along_x, along_y = task.section.placement.forward[:, :2].T * (1 << task.downsample)
        area[k] = np.linalg.norm(np.cross(along_x, along_y)) * 1e-6
        volume[k] = abs(np.linalg.det(np.stack((along_x, along_y, across)))) * depth[k] * 1e-9
    return area, volume


def _with_both(halves: NDArray[Any]) -> NDArray[Any]:
    """Return left, right and both, of left and right along the second axis."""
    return np.concatenate((halves, halves.sum(axis=1, keepdims=True)), axis=1)


def _measure(
    counted: NDArray[np.int64], area: NDArray[np.float64], volume: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """Turn what was counted, shape (rows, sections, 2, 3), into quantities, shape (rows, 3)."""
    counted = _with_both(counted.transpose(0, 2, 1, 3))  # rows, halves, sections, 3
    pixels, above, total = np.moveaxis(counted, -1, 0)
    above, total = above / 255, total / 255
    all_area, above_area, total_area = pixels @ area, above @ area, total @ area
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "pixels": pixels.sum(axis=-1),
            "area_mm2": all_area,
            "volume_mm3": pixels @ volume,
            "fraction": above_area / all_area,
            # of nothing there is no mean, but what nothing expresses has no energy
            "mean": np.where(
                all_area > 0, total_area / np.where(above_area, above_area, 1), np.nan
            ),
            "sections": (pixels > 0).sum(axis=-1),
        }


def _beside_unionizes(
    dataset: PlacedDataSet, session: Session, regions: Regions, compared: dict[str, Any]
) -> dict[str, NDArray[np.float64]]:
    """Return the columns of the service's StructureUnionize; it knows no hemispheres."""
    names = ("unionize_density", "unionize_intensity", "unionize_energy")
    columns = {name: np.full((len(regions.ids), 3), np.nan) for name in names}
    try:
        rows = structure_unionizes(session, dataset.id)
    except AtldldError as error:
        rows = {}
        _lacking(session, "StructureUnionize", str(error))
    compared["structure_unionize_rows"] = len(rows)
    for place, structure_id in enumerate(regions.ids):
        row = rows.get(structure_id, {})
        expressing, total = (
            _number(row.get(name))
            for name in ("sum_expressing_pixels", "sum_expressing_pixel_intensity")
        )
        values = (
            _number(row.get("expression_density")),
            total / expressing if expressing else np.nan,
            _number(row.get("expression_energy")),
        )
        for name, value in zip(names, values, strict=True):
            columns[name][place, 2] = value
    return columns


def _beside_grid(
    dataset: PlacedDataSet,
    session: Session,
    atlas: Atlas,
    ids: NDArray[np.int64],
    places: NDArray[np.unsignedinteger[Any]],
    regions: Regions,
    compared: dict[str, Any],
) -> dict[str, NDArray[np.float64]]:
    """Return the columns of the service's grids, by the atlas's annotation on the same voxels."""
    names = ("density", "intensity", "energy")
    columns = {f"grid_{name}": np.full((len(regions.ids), 3), np.nan) for name in names}
    columns["grid_data_fraction"] = np.full((len(regions.ids), 3), np.nan)
    compared["grid"] = None
    try:
        found = fetch_grid(dataset.id, session=session)
        on_grid = places_on_grid(places, len(ids), atlas.resolution, found.shape, found.resolution)
        means = grid_region_means(found, ids[on_grid], atlas.graph)
    except AtldldError as error:
        _lacking(session, "expression grid", str(error))
        return columns
    compared["grid"], compared["grid_kinds"] = found.source, list(found.data)
    place = {structure_id: k for k, structure_id in enumerate(regions.ids)}
    for row in means.rows():
        where = place[row["structure_id"]], HEMISPHERES.index(row["hemisphere"])
        for name in (*names, "data_fraction"):
            # a grid need not hold every kind
            columns[f"grid_{name}"][where] = row.get(name, np.nan)
    return columns


def _lacking(session: Session, what: str, reason: str) -> None:
    session.report(ServiceWarning(f"The columns of the service's {what} are empty: {reason}"))


def _number(value: object) -> float:
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known else np.nan  # type: ignore[arg-type]


def _describe(
    dataset: PlacedDataSet,
    service: str,
    atlas: Atlas,
    resolution: float,
    threshold: int,
    scale: Scale,
    stain_threshold: float | None,
    used: Sequence[_Task],
    failed: Sequence[tuple[_Task, AtldldError]],
    without_mask: Sequence[PlacedSection],
) -> dict[str, Any]:

    record = dataset.record
    left_out = {str(skipped.image_id): skipped.reason for skipped in dataset.skipped}
    left_out |= {str(section.id): "it has no expression mask" for section in without_mask}
    counts = (
        {
            "counted": "expression masks",
            "threshold_of_brightest_channel": threshold,
            "scale": scale.describe(),
        }
        if stain_threshold is None
        else {"counted": "section images", "stain_threshold": stain_threshold}
    )
    return {
        "atldld_version": version(),
        "synthetic": record.synthetic or atlas.synthetic,
        "dataset_id": dataset.id,
        "genes": [gene.acronym for gene in record.genes],
        "specimen": record.specimen_name,
        "plane_of_section": dataset.plane.value,
        "reference_space_id": record.reference_space_id,
        "service": service,
        "citation": citation_of(dataset.id),
        "alignment": dataset.alignment.describe() if dataset.alignment else None,
        "coordinates": dataset.coordinates,
        "section_thickness_um": record.section_thickness,
        "atlas": atlas.describe(),
        "resolution_um": float(resolution),
        **counts,
        "midline_um": BOX[2] / 2,
        "sections": [
            {
                "image_id": task.section.id,
                "section_number": task.section.number,
                "downsample": task.downsample,
                **task.section.describe_registration(),
            }
            for task in used
        ],
        "skipped": left_out,
        "failed": {str(task.section.id): str(error) for task, error in failed},
    }
