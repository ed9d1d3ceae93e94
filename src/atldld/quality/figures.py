"""What is measured of each section: how it looks, and how it fits its neighbours and the atlas.

Every section is looked at on the reference grid, coarsely, in its own plane. It is compared with
the sections beside it and, if there is one, with the atlas in the same plane.
``docs/quality.md`` has every formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.sample import on_reference
from atldld.errors import AtldldError, InvalidInputError
from atldld.place.planes import OutputPlane
from atldld.place.spaces import Grid, Plane
from atldld.sections.register import Job, Recipe, report_left_out, run
from atldld.support.memory import let_go
from atldld.support.pipeline import workers_for
from atldld.support.provenance import Progress
from atldld.warp.resample import resample
from atldld.warp.stain import darkness

if TYPE_CHECKING:
    from atldld.atlas import Atlas
    from atldld.fetch.session import Session
    from atldld.place.sections import PlacedDataSet, PlacedSection
    from atldld.sections.register import RegisteredSection

__all__ = [
    "LOOKED_AT",
    "REACH",
    "Figures",
    "SectionView",
    "around",
    "look_at",
    "measure",
    "median",
    "recipe",
    "view_of",
]

LOOKED_AT = 50.0
"""Side of a pixel, in µm, at which sections are looked at."""

PICTURED_AT = 25.0
"""Side of a pixel, in µm, of the pictures that are reduced to that: those that every command makes
unless told otherwise, so that no other tier is fetched for the figures alone."""

FOLDED = 25
"""By how much, of 255, a fold is darker than all tissue near it on the sections beside."""

_BORDER = np.ones((5, 5), np.uint8)
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))

Field = NDArray[np.float64]
Mask = NDArray[np.bool_]

TISSUE = 12
"""Darkness above which a pixel is tissue, of 255."""

SMALLEST_PIECE = 0.02
"""Pieces of tissue smaller than this part of the largest one are dust."""

REACH = 3
"""Sections to either side that a section is compared with."""


@dataclass(frozen=True, slots=True, eq=False)
class SectionView:
    """A registered section as it is looked at: small, so that those of a data set can be held.

    Attributes
    ----------
    section : PlacedSection
        Which one.
    plane : OutputPlane
        Which point of the brain each pixel shows.
    darkness : numpy.ndarray, shape (rows, columns), uint8
        See `atldld.warp.stain.darkness`.
    tissue : numpy.ndarray, shape (rows, columns), bool
        Where there is tissue.
    inside : numpy.ndarray, shape (rows, columns), bool
        What lies in the image.
    sharpness : float
        See `SectionQuality`.
    """

    section: PlacedSection
    plane: OutputPlane
    darkness: NDArray[np.uint8]
    tissue: Mask
    inside: Mask
    sharpness: float


def recipe(resolution: float = LOOKED_AT) -> Recipe:
    """Return how the pictures are made that sections are looked at in.

    Figures depend on the tier of the images and on the pictures' grid. So these are the same
    whoever asks: the section's own plane at 25 µm, or as fine as it is looked at if that is finer.

    Parameters
    ----------
    resolution : float
        Side of a pixel, in µm, at which sections are looked at.

    Raises
    ------
    InvalidInputError
        If the resolution makes no sense.
    """
    Recipe(resolution).grid(Plane.CORONAL)
    return Recipe(min(PICTURED_AT, resolution))


def look_at(
    dataset: PlacedDataSet,
    resolution: float = LOOKED_AT,
    *,
    session: Session,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> list[SectionView]:
    """Return every section of a data set as it is looked at; see `assess`.

    Raises
    ------
    AlignmentMissingError
        If no section of the data set is placed.
    AtldldError
        If not one section can be fetched: the first one's error.

    Warns
    -----
    SkippedImageWarning
        If a section cannot be fetched; it is left out.
    """
    how = recipe(resolution)
    dataset.check_placed()
    views: list[SectionView] = []
    failed: list[tuple[Job, AtldldError]] = []
    plans = [how.plan(section) for section in dataset.sections]
    for job, result in run(plans, lambda plan: view_of(plan, resolution), session, jobs=jobs):
        if isinstance(result, AtldldError):
            failed.append((job, result))
        else:
            views.append(result)
        if progress:
            progress(len(views) + len(failed), len(plans), f"section {job.section.number}")
    if not views:
        raise failed[0][1]
    report_left_out([(job.section, error) for job, error in failed], session)
    return views


def view_of(registered: RegisteredSection, resolution: float = LOOKED_AT) -> SectionView:
    """Reduce a registered section to what is looked at.

    Parameters
    ----------
    registered : RegisteredSection
        On any grid that is at least as fine.
    resolution : float
        Side of a pixel, in µm.

    Raises
    ------
    InvalidInputError
        If the picture is coarser than that.
    """
    plane = registered.plane
    grey = darkness(registered.image, registered.background)
    factor = resolution / plane.grid.resolution
    if factor < 1 - 1e-9:
        raise InvalidInputError(
            f"Section {registered.section.number} is shown at {plane.grid.resolution:g} µm, "
            f"which is coarser than the {resolution:g} µm at which you look at it.",
            hint="Register it more finely, or assess it more coarsely.",
        )
    if factor > 1 + 1e-9:
        # pixel k spans [k, k + 1) of its side on either grid
        finer = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2]])
        grid = Grid(plane.grid.plane, resolution, plane.grid.layout)
        grey = resample(grey, finer, grid.shape, (0,))
        plane = OutputPlane(
            plane.kind,
            grid,
            plane.to_image @ np.vstack((finer, [0, 0, 1])),
            plane.depth,
            plane.deformation,
        )
    tissue = _tissue(grey)
    return SectionView(
        registered.section,
        plane,
        grey,
        tissue,
        _inside(plane, registered.section),
        _sharpness(grey, tissue),
    )


# -- what is seen of one section ---------------------------------------------------------------


def _tissue(grey: NDArray[np.uint8]) -> Mask:
    """Where the smoothed darkness exceeds a threshold, without dust; see ``docs/quality.md``."""
    above = (cv2.GaussianBlur(grey, (0, 0), 1) > TISSUE).astype(np.uint8)
    # what is narrower than some pixels is a hair, the edge of the slide or writing
    dark = cv2.morphologyEx(above, cv2.MORPH_OPEN, _DISC)
    count, pieces, about, _ = cv2.connectedComponentsWithStats(dark)
    if count < 2:
        return dark > 0
    area = about[:, cv2.CC_STAT_AREA]
    kept = area >= SMALLEST_PIECE * area[1:].max()
    kept[0] = False
    out: Mask = kept[pieces]
    return out


def _inside(plane: OutputPlane, section: PlacedSection) -> Mask:
    rows, columns = plane.grid.shape
    row, column = np.arange(rows)[:, None], np.arange(columns)
    x, y = (line[0] * column + (line[1] * row + line[2]) for line in plane.to_image)
    if plane.deformation is not None:
        x, y = np.moveaxis(plane.deformation.to_image(np.stack((x, y), axis=-1)), -1, 0)
    width, height = section.image.width, section.image.height
    inside: Mask = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    return inside


def _sharpness(grey: NDArray[np.uint8], tissue: Mask) -> float:
    """Ratio of the detail of one pixel to that of two to four, well within the tissue."""
    within = cv2.erode(tissue.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if within.sum() < 50:
        return float("nan")
    picture = grey.astype(np.float32)
    once, thrice = (cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (1, 3))
    coarse = float((once - thrice)[within].std())
    return float((picture - once)[within].std()) / coarse if coarse > 0.05 else float("nan")


# -- figures -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """One number for each section, in the order of depth; NaN where it is not known.

    All of shape (N,); see `atldld.quality.SectionQuality`. `fit` is continuity, less what is usual
    at that distance.
    """

    overlap: Field
    mutual_information: Field
    continuity: Field
    fit: Field
    misplacement: Field
    sharpness: Field
    tear: Field
    outside: Field


def measure(
    views: Sequence[SectionView],
    atlas: Atlas | None,
    template: NDArray[Any] | None,
    jobs: int | None,
) -> Figures:
    """Return what is measured of each section.

    Parameters
    ----------
    views : sequence of SectionView, length N
        In the order of depth.
    atlas : Atlas, optional
        Without it there are neither overlaps nor mutual information.
    template : numpy.ndarray, shape (P, I, R), optional
        The atlas's; without it there is no mutual information.
    jobs : int, optional
        Threads; the number of cores by default.
    """
    places = range(len(views))
    unknown = np.full(len(views), np.nan)
    with ThreadPoolExecutor(workers_for(jobs), thread_name_prefix="quality") as pool:
        pairs = [(k, k + d) for d in range(1, REACH + 1) for k in range(len(views) - d)]
        found = pool.map(lambda pair: _compare(views[pair[0]], views[pair[1]]), pairs)
        continuity, fit, moves = _with_neighbours(views, dict(zip(pairs, found, strict=True)))
        tear = np.array(list(pool.map(lambda k: _torn(views, k, moves[k]), places)))
        overlap = mutual = unknown
        brains: Sequence[Mask] = [_expected_tissue(views, k) for k in places]
        if atlas is not None:
            labels = atlas.annotation
            brains = list(pool.map(lambda view: on_reference(labels, view.plane) != 0, views))
            overlap = np.array(list(map(_overlap, views, brains)))
            let_go(labels)
            if template is not None:
                shared = pool.map(partial(_mutual_information, template), views, brains)
                mutual = np.array(list(shared))
                let_go(template)
    return Figures(
        overlap,
        mutual,
        continuity,
        fit,
        np.array(list(map(_root_mean_square, views, moves))),
        np.array([view.sharpness for view in views]),
        tear,
        np.array(list(map(_outside, views, brains))),
    )


def _overlap(view: SectionView, brain: Mask) -> float:
    either = (view.tissue | brain) & view.inside
    total = int(either.sum())
    return float((view.tissue & brain & view.inside).sum() / total) if total else float("nan")


def _mutual_information(template: NDArray[Any], view: SectionView, brain: Mask) -> float:
    looked_at = (view.tissue | brain) & view.inside
    if looked_at.sum() < 50:
        return float("nan")
    expected = on_reference(template, view.plane, order=1)
    counts, _, _ = np.histogram2d(view.darkness[looked_at], expected[looked_at], bins=32)
    joint = _entropy(counts)
    both = _entropy(counts.sum(axis=0)) + _entropy(counts.sum(axis=1))
    return 2 * (both - joint) / both if both > 0 else 0.0


def _entropy(counts: NDArray[Any]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two sections: how well they agree in place, and how the first would have to be moved."""

    correlation: float
    shift: tuple[float, float]  # of the tissue's middle, in pixels: column, row
    turn: float  # radians


def _compare(first: SectionView, second: SectionView) -> _Comparison:
    seen = (first.tissue | second.tissue) & first.inside & second.inside
    if not (first.tissue & seen).any() or not (second.tissue & seen).any():
        # the first shows no tissue where the second could: they agree in nothing
        return _Comparison(0.0 if seen.any() else np.nan, (np.nan, np.nan), np.nan)
    a, b = (
        cv2.GaussianBlur(view.darkness, (0, 0), 1)[seen].astype(np.float64)
        for view in (first, second)
    )
    a -= a.mean()
    b -= b.mean()
    # not `a @ b`: BLAS shares long sums out among cores, which waits for those that others use,
    # and gives other last digits on another number of them
    together, power, other = (float((x * y).sum()) for x, y in ((a, b), (a, a), (b, b)))
    norm = np.sqrt(power * other)
    correlation = together / norm if norm > 0 else 0.0
    return _Comparison(correlation, *_align(first, second))


def _align(first: SectionView, second: SectionView) -> tuple[tuple[float, float], float]:
    """Return how the first section is moved so that it fits the second one best.

    The move in the plane, a shift and a turn, maximises the correlation of the smoothed pictures
    at half the resolution (Evangelidis and Psarakis 2008, doi:10.1109/TPAMI.2008.113).
    """
    halves = []
    for view in (first, second):
        softened = cv2.GaussianBlur(view.darkness.astype(np.float32), (0, 0), 2)
        halves.append(cv2.resize(softened, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    start = np.eye(2, 3, dtype=np.float32)
    every = np.ones(halves[0].shape, np.uint8)
    try:
        _, matrix = cv2.findTransformECC(
            halves[0], halves[1], start, cv2.MOTION_EUCLIDEAN, criteria, every, 5
        )
    except cv2.error:  # it did not converge
        return (np.nan, np.nan), np.nan
    # from pixels of the halved pictures: x = 2 u + 1/2
    row, column = (float(np.mean(where)) for where in np.nonzero(first.tissue))
    centre = np.array([column, row])
    shift = 2 * (matrix[:, :2] @ ((centre - 0.5) / 2) + matrix[:, 2]) + 0.5 - centre
    turn = float(np.arctan2(matrix[1, 0], matrix[0, 0]))
    return (float(shift[0]), float(shift[1])), turn


def _with_neighbours(
    views: Sequence[SectionView], compared: dict[tuple[int, int], _Comparison]
) -> tuple[Field, Field, Field]:
    """Return each section's continuity, how unusual it is, and how it would have to be moved."""
    count = len(views)
    continuity, fit = np.full(count, np.nan), np.full(count, np.nan)
    moves = np.full((count, 3), np.nan)
    # what is usual at a distance hereabouts: how alike sections are, and how the brain's own
    # change of shape makes them seem to move
    odd: dict[tuple[int, int], Field] = {}
    for d in range(1, REACH + 1):
        pairs = [(k, k + d) for k in range(count - d)]
        found = np.array(
            [(c.correlation, *c.shift, c.turn) for c in (compared[pair] for pair in pairs)]
        ).reshape(-1, 4)
        usual = np.column_stack([around(column, REACH + 2) for column in found.T])
        odd |= dict(zip(pairs, found - np.nan_to_num(usual), strict=True))
    for k in range(count):
        near = [j for j in range(max(k - REACH, 0), min(k + REACH + 1, count)) if j != k]
        if not near:
            continue
        continuity[k] = median(
            [compared[min(k, j), max(k, j)].correlation for j in near if abs(j - k) <= 2]
        )
        rests = np.array([odd[min(k, j), max(k, j)] for j in near])
        fit[k] = median(rests[:, 0])
        # a pair is compared once; the other way round it moves the other way
        signs = np.array([1 if k < j else -1 for j in near])
        moves[k] = [median(signs * rests[:, column]) for column in (1, 2, 3)]
    return continuity, fit, moves


def _root_mean_square(view: SectionView, move: Field) -> float:
    """How far a move takes the tissue, in µm."""
    rows, columns = np.nonzero(view.tissue)
    if not len(rows) or np.isnan(move).any():
        return float("nan")
    spread = rows.var() + columns.var()
    pixels = np.sqrt(move[0] ** 2 + move[1] ** 2 + move[2] ** 2 * spread)
    return float(pixels * view.plane.grid.resolution)


def _neighbours(views: Sequence[SectionView], k: int) -> list[SectionView]:
    return [views[j] for j in range(max(k - 2, 0), min(k + 3, len(views))) if j != k]


def _expected_tissue(views: Sequence[SectionView], k: int) -> Mask:
    """Where most of the neighbours have tissue."""
    near = _neighbours(views, k)
    if not near:
        return views[k].tissue
    most: Mask = np.sum([view.tissue for view in near], axis=0) * 2 > len(near)
    return most


def _torn(views: Sequence[SectionView], k: int, move: Field) -> float:
    """Part of the expected tissue that is missing, folded or out of place, once it is moved."""
    near, view = _neighbours(views, k), views[k]
    if not near:
        return float("nan")
    matrix = _as_matrix(view, move)

    def moved(picture: NDArray[np.uint8], flags: int) -> NDArray[Any]:
        return cv2.warpAffine(picture, matrix, picture.shape[::-1], flags=flags)

    tissue = moved(view.tissue.view(np.uint8), cv2.INTER_NEAREST)
    inside = moved(view.inside.view(np.uint8), cv2.INTER_NEAREST) > 0
    grey = cv2.blur(moved(view.darkness, cv2.INTER_LINEAR), (3, 3)).astype(int)
    counts = np.sum([beside.tissue for beside in near], axis=0)
    expected = counts >= max(len(near) - 1, 1)  # one of them may be torn itself
    total = int((expected & inside).sum())
    if not total:
        return float("nan")
    core = cv2.erode(expected.view(np.uint8), _BORDER) > 0
    missing = core & inside & ~(cv2.dilate(tissue, np.ones((3, 3), np.uint8)) > 0)
    darkest = cv2.dilate(np.max([beside.darkness for beside in near], axis=0), _BORDER)
    folded = core & (grey > darkest.astype(int) + FOLDED)
    beyond = (tissue > 0) & ~(cv2.dilate((counts > 0).view(np.uint8), _BORDER) > 0)
    return float((missing | folded | beyond).sum() / total)


def _as_matrix(view: SectionView, move: Field) -> Field:
    """Return a move about the middle of the tissue as a map of pixels (column, row)."""
    if np.isnan(move).any() or not view.tissue.any():
        return np.eye(2, 3)
    row, column = (float(np.mean(where)) for where in np.nonzero(view.tissue))
    cos, sin = np.cos(move[2]), np.sin(move[2])
    turn = np.array([[cos, -sin], [sin, cos]])
    centre = np.array([column, row])
    return np.column_stack((turn, centre + move[:2] - turn @ centre))


def _outside(view: SectionView, brain: Mask) -> float:
    total = int(brain.sum())
    return float((brain & ~view.inside).sum() / total) if total else 0.0


def around(values: Field, reach: int) -> Field:
    """Return the median of the values to either side of each one, without it, shape (N,)."""
    out = np.full(len(values), np.nan)
    for k in range(len(values)):
        out[k] = median(np.r_[values[max(k - reach, 0) : k], values[k + 1 : k + 1 + reach]])
    return out


def median(values: Sequence[float] | Field) -> float:
    """Return the median of what is known; NaN if nothing is."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(np.median(known)) if len(known) else float("nan")
