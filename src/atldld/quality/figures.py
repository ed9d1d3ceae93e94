"""How far each section of a data set may be trusted: figures, and a rule that marks the odd ones.

Every section is looked at on the reference grid, coarsely, in its own plane. It is compared with
the sections beside it and, if there is one, with the atlas in the same plane. A figure by itself
says little, as sections near the ends of the brain differ from those in its middle. So the rule
looks at how far a section's figures depart from those of the sections around it, in units of how
much they depart in this data set anyhow. ``docs/quality.md`` has every formula and what the rule
finds and misses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.sample import on_reference
from atldld.errors import (
    AtldldError,
    HTTPStatusError,
    InvalidInputError,
    NotFoundError,
    SkippedImageWarning,
)
from atldld.formats.common import as_json, ending_of
from atldld.formats.tables import Table, write_table
from atldld.place.planes import OutputPlane
from atldld.place.spaces import Grid, Plane
from atldld.sections.register import Job, Recipe, run
from atldld.support.files import check_targets, whole_file
from atldld.support.pipeline import workers_for
from atldld.warp.resample import resample
from atldld.warp.stain import darkness

if TYPE_CHECKING:
    from atldld.api import DataSet, Section
    from atldld.atlas import Atlas
    from atldld.fetch.session import Session
    from atldld.sections.register import RegisteredSection

__all__ = [
    "LOOKED_AT",
    "DatasetQuality",
    "SectionQuality",
    "SectionView",
    "assess",
    "assess_pictures",
    "atlas_or_reason",
    "check_output",
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

Progress = Callable[[int, int, str], None]
Field = NDArray[np.float64]
Mask = NDArray[np.bool_]

TISSUE = 12
"""Darkness above which a pixel is tissue, of 255."""

SMALLEST_PIECE = 0.02
"""Pieces of tissue smaller than this part of the largest one are dust."""

REACH = 3
"""Sections to either side that a section is compared with."""

AROUND = 8
"""Sections to either side whose figures say what is usual."""

NOTABLE = 3.0
"""Deviation from which a figure is named among the reasons."""

THRESHOLD = 7.0
"""Score above which a section is suspicious."""

LARGEST = 12.0
"""Deviations beyond this count as this."""


@dataclass(frozen=True, slots=True)
class SectionQuality:
    """What is to be said of one section.

    Attributes
    ----------
    image_id, section_number : int
        Which one.
    overlap : float or None
        Tissue and annotation: area of both / area of either (IoU), 0 to 1, over what of the plane
        lies in the image. `None` without an atlas.
    mutual_information : float or None
        Of darkness and template, over the pixels of either: 2 (H(a) + H(b) − H(a, b)) /
        (H(a) + H(b)), 0 to 1. `None` without an atlas or a template.
    continuity : float
        Median correlation with the neighbouring sections in place, −1 to 1; NaN without any.
    misplacement : float
        How far, in µm (root mean square over the tissue), a shift and a turn in the plane would
        move the section to fit those beside it; NaN without any.
    sharpness : float
        Detail of one pixel relative to that of some pixels. It can be compared within a data
        set at one resolution only; NaN without tissue.
    tear : float
        Part of the tissue expected here that is missing, or darker than all neighbours by far: 0
        for whole sections; NaN without neighbours.
    outside : float
        Part of the brain's plane that lies outside the image, 0 to 1. Without an atlas the
        brain is where the neighbours have tissue.
    score : float
        Higher is more suspicious; see `DatasetQuality.rule`.
    suspicious : bool
        Whether the score exceeds the threshold.
    reasons : tuple of str
        Plain sentences on what is odd, the oddest first; empty if nothing is.
    """

    image_id: int
    section_number: int
    overlap: float | None
    mutual_information: float | None
    continuity: float
    misplacement: float
    sharpness: float
    tear: float
    outside: float
    score: float
    suspicious: bool
    reasons: tuple[str, ...]


_COLUMNS = tuple(field.name for field in fields(SectionQuality))
_ENDINGS = (".csv", ".json")


@dataclass(frozen=True)
class DatasetQuality:
    """What is to be said of the sections of a data set.

    Attributes
    ----------
    sections : tuple of SectionQuality
        In the order in which they were given.
    threshold : float
        Score above which a section is suspicious.
    rule : str
        How the score is made, in words.
    with_atlas : bool
        Whether an atlas was compared with.
    atlas : str or None
        Its name.
    resolution : float
        Side of a pixel, in µm, at which sections were looked at.
    notes : tuple of str
        Sentences on what the figures lack, and why: no atlas, no template.
    """

    sections: tuple[SectionQuality, ...]
    threshold: float
    rule: str
    with_atlas: bool
    atlas: str | None
    resolution: float
    notes: tuple[str, ...] = ()

    @property
    def suspicious(self) -> tuple[SectionQuality, ...]:
        """The sections that are marked, the worst first."""
        marked = [section for section in self.sections if section.suspicious]
        return tuple(sorted(marked, key=lambda section: -section.score))

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the figures, whole or not at all.

        Parameters
        ----------
        path : str or pathlib.Path
            ``.csv``, a line for each section; or ``.json``, which holds the rule, its threshold
            and the atlas too.
        force : bool
            Replace a file that is there.

        Raises
        ------
        InvalidInputError
            Another ending.
        OutputError
            It cannot be written, or is there already.
        """
        path = Path(path)
        check_output(path, force=force)
        rows = self.to_rows()
        if ending_of(path, _ENDINGS, "tables") == ".json":
            described = {
                "rule": self.rule,
                "threshold": self.threshold,
                "atlas": self.atlas,
                "resolution_um": self.resolution,
                "notes": list(self.notes),
                "sections": rows,
            }
            with whole_file(path, force=force) as temporary:
                temporary.write_text(as_json(described, indent=1) + "\n", "utf-8")
            return path
        columns = {name: [row[name] for row in rows] for name in _COLUMNS}
        write_table(path, Table(columns), force=force)
        return path

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a plain dictionary for each section, such as for a table or JSON.

        The keys are the attributes of `SectionQuality`. What is not known is `None`; the reasons
        are one text, joined by semicolons.
        """
        return [_as_row(section) for section in self.sections]

    def __repr__(self) -> str:
        return (
            f"<DatasetQuality of {len(self.sections)} sections, {len(self.suspicious)} suspicious>"
        )


@dataclass(frozen=True, slots=True, eq=False)
class SectionView:
    """A registered section as it is looked at: small, so that those of a data set can be held.

    Attributes
    ----------
    section : Section
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

    section: Section
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


def atlas_or_reason(
    resolution: float | None = None, *, name: str = "ccf_2017", session: Session
) -> tuple[Atlas | None, str | None]:
    """Open an atlas, or say why there is none where the service has none.

    Parameters
    ----------
    resolution, name, session :
        See `atldld.open_atlas`.

    Raises
    ------
    AtldldError
        If it cannot be had for another reason, which may pass: figures that lack the atlas today
        and have it tomorrow would not be the same.
    """
    from atldld.atlas import open_atlas

    try:
        return open_atlas(resolution, name=name, session=session), None
    except AtldldError as error:
        if not _has_none(error):
            raise
        return None, str(error)


def _has_none(error: AtldldError) -> bool:
    """Whether the service has no such thing, however often it is asked."""
    if isinstance(error, HTTPStatusError):
        # an archive that may not be listed answers 403 for what it does not hold
        return error.status_code in {403, 404, 410}
    return isinstance(error, NotFoundError)


def assess(
    dataset: DataSet,
    atlas: Atlas | None = None,
    *,
    resolution: float = LOOKED_AT,
    without_atlas: str | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> DatasetQuality:
    """Return figures for every section of a data set, and which ones are suspicious.

    Parameters
    ----------
    dataset : DataSet
        Its sections are registered, coarsely.
    atlas : Atlas, optional
        What they are compared with too; its template is fetched if need be. Where the service has
        no template, the figures do without and the result's ``notes`` say so.
    resolution : float
        Side of a pixel, in µm, at which sections are looked at; see `recipe`.
    without_atlas : str, optional
        Why there is no atlas, for the ``notes``.
    jobs : int, optional
        Threads; the number of cores by default.
    progress : callable, optional
        Called with how many sections are done, how many there are, and what the last one was.

    Returns
    -------
    DatasetQuality
        Without the sections that cannot be had.

    Raises
    ------
    InvalidInputError
        A resolution that makes no sense.
    UnsupportedPlaneError
        The data set is of another brain than the atlas.
    AlignmentMissingError
        If no section of the data set is placed.
    AtldldError
        If not one section can be had; the first one's error.

    Warns
    -----
    SkippedImageWarning
        A section cannot be had and is left out.
    """
    if atlas is not None:
        atlas.check_dataset(dataset.record)
    views = look_at(dataset, resolution, jobs=jobs, progress=progress)
    return assess_pictures(
        views, atlas, resolution=resolution, without_atlas=without_atlas, jobs=jobs
    )


def look_at(
    dataset: DataSet,
    resolution: float = LOOKED_AT,
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> list[SectionView]:
    """Return every section of a data set as it is looked at; see `assess`.

    Raises
    ------
    AlignmentMissingError
        If no section of the data set is placed.
    AtldldError
        If not one section can be had; the first one's error.

    Warns
    -----
    SkippedImageWarning
        A section cannot be had and is left out.
    """
    how = recipe(resolution)
    dataset.check_placed()
    views: list[SectionView] = []
    failed: list[tuple[Job, AtldldError]] = []
    plans = [how.plan(section) for section in dataset.sections]
    for job, result in run(plans, lambda picture: view_of(picture, resolution), jobs=jobs):
        if isinstance(result, AtldldError):
            failed.append((job, result))
        else:
            views.append(result)
        if progress:
            progress(len(views) + len(failed), len(plans), f"section {job.section.number}")
    if not views:
        raise failed[0][1]
    for job, error in failed:
        dataset.session.report(
            SkippedImageWarning(f"Section {job.section.number} is left out: {error}")
        )
    return views


def assess_pictures(
    registered: Iterable[RegisteredSection | SectionView],
    atlas: Atlas | None = None,
    *,
    resolution: float = LOOKED_AT,
    without_atlas: str | None = None,
    jobs: int | None = None,
) -> DatasetQuality:
    """Return figures for sections that are registered already; see `assess`.

    They are those of `assess` if the pictures are those that `recipe` makes.

    Parameters
    ----------
    registered : iterable of RegisteredSection or SectionView
        Of one data set. Pictures are reduced one by one, so they need not be held together.
    atlas, resolution, without_atlas, jobs :
        As for `assess`. The resolution must be no finer than that of the pictures.

    Raises
    ------
    InvalidInputError
        The resolution is finer than that of the pictures, or they are of several planes.
    """
    views = [
        one if isinstance(one, SectionView) else view_of(one, resolution) for one in registered
    ]
    if len({view.plane.grid for view in views}) > 1:
        raise InvalidInputError(
            "The pictures are on several grids, but those of one data set are compared.",
            hint="Give pictures of one plane, resolution and layout.",
        )
    order = np.argsort([view.plane.central_depth for view in views], kind="stable")
    template, notes = _template(atlas, without_atlas)
    figures = _measure([views[k] for k in order], atlas, template, jobs)
    judged = _judge([views[k] for k in order], figures)
    back = np.argsort(order)
    return DatasetQuality(
        sections=tuple(judged[k] for k in back),
        threshold=THRESHOLD,
        rule=rule_text(),
        with_atlas=atlas is not None,
        atlas=None if atlas is None else atlas.name,
        resolution=views[0].plane.grid.resolution if views else float(resolution),
        notes=notes,
    )


def _template(
    atlas: Atlas | None, without_atlas: str | None
) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
    """Return an atlas's template, if there is one, and what the figures lack."""
    if atlas is None:
        reason = without_atlas or "no atlas was given."
        return None, (f"There is neither overlap nor mutual information: {reason}",)
    try:
        template = atlas.template
        reason = f"the atlas {atlas.name} has no template."
    except AtldldError as error:
        if not _has_none(error):
            raise
        template, reason = None, str(error)
    if template is None:
        return None, (f"There is no mutual information: {reason}",)
    return template, ()


def check_output(path: str | Path, *, force: bool = False) -> None:
    """Say what speaks against writing figures to a file, before they are made.

    Raises
    ------
    InvalidInputError
        The ending is neither ``.csv`` nor ``.json``.
    OutputError
        A file is there already and may not be replaced, or its folder cannot be written.
    """
    path = Path(path)
    ending_of(path, _ENDINGS, "tables")
    check_targets([path], force=force)


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
        The picture is coarser than that.
    """
    plane = registered.plane
    grey = darkness(registered.image, registered.background)
    factor = resolution / plane.grid.resolution
    if factor < 1 - 1e-9:
        raise InvalidInputError(
            f"Section {registered.section.number} is shown at {plane.grid.resolution:g} µm, "
            f"which is coarser than the {resolution:g} µm at which it is to be looked at.",
            hint="Register it more finely, or assess it more coarsely.",
        )
    if factor > 1 + 1e-9:
        # pixel k spans [k, k + 1) of its side on either grid
        finer = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2]])
        grid = Grid(plane.grid.plane, resolution, plane.grid.layout)
        grey = resample(grey, finer, grid.shape, (0,))
        plane = OutputPlane(
            plane.kind, grid, plane.to_image @ np.vstack((finer, [0, 0, 1])), plane.depth
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


def _inside(plane: OutputPlane, section: Section) -> Mask:
    rows, columns = plane.grid.shape
    row, column = np.arange(rows)[:, None], np.arange(columns)
    x, y = (line[0] * column + (line[1] * row + line[2]) for line in plane.to_image)
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


@dataclass(eq=False)
class _Figures:
    """One number for each section, in the order of depth; NaN where it is not known."""

    overlap: Field
    mutual_information: Field
    continuity: Field
    fit: Field  # continuity, less what is usual at that distance
    misplacement: Field
    sharpness: Field
    tear: Field
    outside: Field


def _measure(
    views: Sequence[SectionView],
    atlas: Atlas | None,
    template: NDArray[Any] | None,
    jobs: int | None,
) -> _Figures:
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
            if template is not None:
                shared = pool.map(partial(_mutual_information, template), views, brains)
                mutual = np.array(list(shared))
    return _Figures(
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
    one, other = _entropy(counts.sum(axis=0)), _entropy(counts.sum(axis=1))
    return 2 * (one + other - joint) / (one + other) if one + other > 0 else 0.0


def _entropy(counts: NDArray[Any]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two sections: how well they agree in place, and how the first would have to be moved."""

    correlation: float
    shift: tuple[float, float]  # of the tissue's middle, in pixels: column, row
    turn: float  # radians


def _compare(one: SectionView, other: SectionView) -> _Comparison:
    seen = (one.tissue | other.tissue) & one.inside & other.inside
    if not (one.tissue & seen).any() or not (other.tissue & seen).any():
        # one shows no tissue where the other could: they agree in nothing
        return _Comparison(0.0 if seen.any() else np.nan, (np.nan, np.nan), np.nan)
    a, b = (
        cv2.GaussianBlur(view.darkness, (0, 0), 1)[seen].astype(np.float64) for view in (one, other)
    )
    a -= a.mean()
    b -= b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    correlation = float(a @ b / norm) if norm > 0 else 0.0
    return _Comparison(correlation, *_align(one, other))


def _align(one: SectionView, other: SectionView) -> tuple[tuple[float, float], float]:
    """Return how the first section is moved so that it fits the second one best.

    The move in the plane, a shift and a turn, maximises the correlation of the smoothed pictures
    at half the resolution (Evangelidis and Psarakis 2008, doi:10.1109/TPAMI.2008.113).
    """
    halves = []
    for view in (one, other):
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
    row, column = (float(np.mean(where)) for where in np.nonzero(one.tissue))
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
        usual = np.column_stack([_around(column, REACH + 2) for column in found.T])
        odd |= dict(zip(pairs, found - np.nan_to_num(usual), strict=True))
    for k in range(count):
        near = [j for j in range(max(k - REACH, 0), min(k + REACH + 1, count)) if j != k]
        if not near:
            continue
        continuity[k] = _median(
            [compared[min(k, j), max(k, j)].correlation for j in near if abs(j - k) <= 2]
        )
        rests = np.array([odd[min(k, j), max(k, j)] for j in near])
        fit[k] = _median(rests[:, 0])
        # a pair is compared once; the other way round it moves the other way
        signs = np.array([1 if k < j else -1 for j in near])
        moves[k] = [_median(signs * rests[:, column]) for column in (1, 2, 3)]
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
    counts = np.sum([other.tissue for other in near], axis=0)
    expected = counts >= max(len(near) - 1, 1)  # one of them may be torn itself
    total = int((expected & inside).sum())
    if not total:
        return float("nan")
    core = cv2.erode(expected.view(np.uint8), _BORDER) > 0
    missing = core & inside & ~(cv2.dilate(tissue, np.ones((3, 3), np.uint8)) > 0)
    darkest = cv2.dilate(np.max([other.darkness for other in near], axis=0), _BORDER)
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


# -- the rule ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Test:
    """How a figure counts: which way is worse, and the least difference that is a whole one."""

    figure: str
    sign: int
    floor: float


_TESTS = (
    _Test("overlap", -1, 0.02),
    _Test("mutual_information", -1, 0.02),
    _Test("fit", -1, 0.015),
    _Test("misplacement", 1, 25.0),
    _Test("sharpness", -1, 0.05),
    _Test("tear", 1, 0.015),
    _Test("outside", 1, 0.04),
)


def rule_text() -> str:
    """Return the rule in words."""
    return (
        f"Each figure of a section is compared with the median of the {AROUND} sections on either "
        "side. The difference towards the worse, divided by 1.4826 times the data set's median "
        "absolute difference (or a fixed floor, if that is larger), is its deviation, from 0 to "
        f"{LARGEST:g}. The score is the sum of the deviations, times the part of the {REACH} "
        f"neighbours on either side that there are. Above {THRESHOLD:g} a section is suspicious, "
        "and so is one on which no tissue is seen."
    )


def _deviations(figures: _Figures) -> dict[str, Field]:
    """How far each figure of each section departs towards the worse, 0 to `LARGEST`."""
    out = {}
    for test in _TESTS:
        values = test.sign * getattr(figures, test.figure)
        rest = values - _around(values, AROUND)
        usual = 1.4826 * _median(np.abs(rest))
        scale = max(usual, test.floor) if np.isfinite(usual) else test.floor
        out[test.figure] = np.clip(np.nan_to_num(rest / scale, nan=0.0), 0, LARGEST)
    return out


def _judge(views: Sequence[SectionView], figures: _Figures) -> list[SectionQuality]:
    count = len(views)
    deviations = _deviations(figures)
    place = np.arange(count)
    # at the ends of a data set there is less to compare with, and the brain changes fastest
    beside = np.minimum(place, REACH) + np.minimum(count - 1 - place, REACH)
    scores = sum(deviations.values(), np.zeros(count)) * beside / (2 * REACH)
    out = []
    for k, view in enumerate(views):
        empty = not view.tissue.any()
        score = max(float(scores[k]), 2 * THRESHOLD) if empty else float(scores[k])
        suspicious = score > THRESHOLD
        out.append(
            SectionQuality(
                image_id=view.section.id,
                section_number=view.section.number,
                overlap=_known(figures.overlap[k]),
                mutual_information=_known(figures.mutual_information[k]),
                continuity=float(figures.continuity[k]),
                misplacement=float(figures.misplacement[k]),
                sharpness=float(figures.sharpness[k]),
                tear=float(figures.tear[k]),
                outside=float(figures.outside[k]),
                score=score,
                suspicious=suspicious,
                reasons=_reasons(figures, deviations, k, empty=empty, suspicious=suspicious),
            )
        )
    return out


def _reasons(
    figures: _Figures, deviations: dict[str, Field], k: int, *, empty: bool, suspicious: bool
) -> tuple[str, ...]:
    if empty:
        return ("no tissue is seen on it",)
    worst = sorted(deviations, key=lambda name: -deviations[name][k])
    odd = [name for name in worst if deviations[name][k] >= NOTABLE]
    # many small deviations can add up
    return tuple(_sentence(figures, name, k) for name in odd or (worst[:1] if suspicious else []))


def _sentence(figures: _Figures, name: str, k: int) -> str:
    shown = figures.continuity if name == "fit" else getattr(figures, name)
    value = shown[k]
    near = np.r_[shown[max(k - REACH, 0) : k], shown[k + 1 : k + 1 + REACH]]
    near = near[np.isfinite(near)]
    low, high = np.percentile(near, [25, 75]) if len(near) else (value, value)

    def compared(form: str, unit: str = "", times: float = 1) -> str:
        one, lowest, highest = (format(times * x, form) for x in (value, low, high))
        of_others = lowest if lowest == highest else f"{lowest}–{highest}"
        return f"{one}{unit} (its neighbours: {of_others}{unit})"

    percent = compared(".0f", " %", 100)
    return {
        "overlap": f"its tissue and the annotation overlap by {percent}",
        "mutual_information": f"it shares information with the template by {compared('.2f')}",
        "fit": f"it agrees with the sections beside it by {compared('.2f')}",
        "misplacement": "it would fit the sections beside it better if it were moved or turned, "
        f"by {compared('.0f', ' µm')}",
        "sharpness": f"it may be blurred: its detail is {compared('.2f')}",
        "tear": "tissue is missing, folded or out of place: "
        f"{compared('.1f', ' %', 100)} of what is expected",
        "outside": f"part of the brain lies outside its image: {percent}",
    }[name]


def _around(values: Field, reach: int) -> Field:
    """Median of the values to either side of each one, without it."""
    out = np.full(len(values), np.nan)
    for k in range(len(values)):
        out[k] = _median(np.r_[values[max(k - reach, 0) : k], values[k + 1 : k + 1 + reach]])
    return out


def _median(values: Sequence[float] | Field) -> float:
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(np.median(known)) if len(known) else float("nan")


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _as_row(section: SectionQuality) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in _COLUMNS:
        value = getattr(section, name)
        if isinstance(value, tuple):
            value = "; ".join(value)
        elif isinstance(value, float) and not np.isfinite(value):
            value = None
        row[name] = value
    return row
