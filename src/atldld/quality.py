"""How far each section of a data set may be trusted: figures, and a rule that marks the odd ones.

Every section is looked at on the reference grid, coarsely, in its own plane. It is compared with
the sections beside it and, if there is one, with the atlas in the same plane. A figure by itself
says little, as sections near the ends of the brain differ from those in its middle. So the rule
looks at how far a section's figures depart from those of the sections around it, in units of how
much they depart in this data set anyhow. ``docs/quality.md`` has every formula and what the rule
finds and misses.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.planes import on_reference
from atldld.errors import InvalidInputError
from atldld.export.common import as_json, check_new, ending_of, whole_file
from atldld.pipeline import default_jobs
from atldld.spaces import Grid
from atldld.volumes import darkness
from atldld.warp.planes import OutputPlane
from atldld.warp.resample import resample

if TYPE_CHECKING:
    from atldld.atlas import Atlas
    from atldld.register import RegisteredSection
    from atldld.sections import DataSet, Section

__all__ = [
    "DatasetQuality",
    "SectionQuality",
    "SectionView",
    "assess",
    "assess_pictures",
    "check_output",
    "view_of",
]

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

THRESHOLD = 6.0
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
    """

    sections: tuple[SectionQuality, ...]
    threshold: float
    rule: str
    with_atlas: bool
    atlas: str | None
    resolution: float

    @property
    def suspicious(self) -> tuple[SectionQuality, ...]:
        """The sections that are marked, the worst first."""
        marked = [section for section in self.sections if section.suspicious]
        return tuple(sorted(marked, key=lambda section: -section.score))

    def save(self, path: str | Path) -> Path:
        """Write the figures, whole or not at all.

        Parameters
        ----------
        path : str or pathlib.Path
            ``.csv``, a line for each section; or ``.json``, which holds the rule, its threshold
            and the atlas too.

        Raises
        ------
        InvalidInputError
            Another ending.
        OutputError
            It cannot be written.
        """
        path = Path(path)
        rows = self.to_rows()
        if ending_of(path, _ENDINGS, "tables") == ".json":
            described = {
                "rule": self.rule,
                "threshold": self.threshold,
                "atlas": self.atlas,
                "resolution_um": self.resolution,
                "sections": rows,
            }
            with whole_file(path) as temporary:
                temporary.write_text(as_json(described, indent=1) + "\n", "utf-8")
            return path
        with (
            whole_file(path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
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
        See `atldld.volumes.darkness`.
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


def assess(
    dataset: DataSet,
    atlas: Atlas | None = None,
    *,
    resolution: float = 50,
    sections: Sequence[Section] | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> DatasetQuality:
    """Return figures for every section of a data set, and which ones are suspicious.

    Parameters
    ----------
    dataset : DataSet
        Its sections are registered, coarsely.
    atlas : Atlas, optional
        What they are compared with too; its template is fetched if need be.
    resolution : float
        Side of a pixel, in µm, at which sections are looked at.
    sections : sequence of Section, optional
        Only these; neighbours are sought among them.
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

    Warns
    -----
    SkippedImageWarning
        A section cannot be had and is left out.
    """
    if atlas is not None:
        atlas.check_dataset(dataset.record)
    total = len(dataset.sections if sections is None else sections)
    views = []
    for registered in dataset.register(resolution, sections=sections, jobs=jobs):
        views.append(view_of(registered, resolution))
        if progress:
            progress(len(views), total, f"section {registered.section.number}")
    return assess_pictures(views, atlas, resolution=resolution, jobs=jobs)


def assess_pictures(
    registered: Iterable[RegisteredSection | SectionView],
    atlas: Atlas | None = None,
    *,
    resolution: float = 50,
    jobs: int | None = None,
) -> DatasetQuality:
    """Return figures for sections that are registered already; see `assess`.

    Parameters
    ----------
    registered : iterable of RegisteredSection or SectionView
        Of one data set. Pictures are reduced one by one, so they need not be held together.
    atlas, resolution, jobs :
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
    order = np.argsort([_depth(view) for view in views], kind="stable")
    figures = _measure([views[k] for k in order], atlas, jobs)
    judged = _judge([views[k] for k in order], figures)
    back = np.argsort(order)
    return DatasetQuality(
        sections=tuple(judged[k] for k in back),
        threshold=THRESHOLD,
        rule=rule_text(),
        with_atlas=atlas is not None,
        atlas=None if atlas is None else atlas.name,
        resolution=views[0].plane.grid.resolution if views else float(resolution),
    )


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
    check_new([path], force=force)


def view_of(registered: RegisteredSection, resolution: float = 50) -> SectionView:
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
    dark = (cv2.GaussianBlur(grey, (0, 0), 1) > TISSUE).astype(np.uint8)
    # what is narrower than some pixels is a hair, the edge of the slide or writing
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, _DISC)
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


def _depth(view: SectionView) -> float:
    rows, columns = view.plane.grid.shape
    return float(view.plane.depth_at(rows / 2, columns / 2))


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


def _measure(views: Sequence[SectionView], atlas: Atlas | None, jobs: int | None) -> _Figures:
    count = len(views)
    unknown = np.full(count, np.nan)
    with ThreadPoolExecutor(jobs or default_jobs(), thread_name_prefix="quality") as pool:
        brains: list[Mask] | None = None
        overlap = mutual = unknown
        if atlas is not None:
            template = atlas.template
            planes = list(
                pool.map(lambda view: on_reference(atlas.annotation, view.plane) > 0, views)
            )
            brains = planes
            overlap = np.array([_overlap(v, brain) for v, brain in zip(views, brains, strict=True)])
            if template is not None:
                mutual = np.array(
                    list(
                        pool.map(
                            lambda view, brain: _mutual_information(
                                view, on_reference(template, view.plane, order=1), brain
                            ),
                            views,
                            brains,
                        )
                    )
                )
        pairs = [(k, k + d) for d in range(1, REACH + 1) for k in range(count - d)]
        compared = dict(
            zip(
                pairs,
                pool.map(lambda pair: _compare(views[pair[0]], views[pair[1]]), pairs),
                strict=True,
            )
        )
        continuity, fit, moves = _with_neighbours(views, compared)
        expected = list(pool.map(lambda k: _torn(views, k, moves[k]), range(count)))
    outside = (
        np.array(
            [
                _outside(view, _expected_tissue(views, k) if brains is None else brains[k])
                for k, view in enumerate(views)
            ]
        )
        if count
        else unknown
    )
    misplacement = np.array(
        [_root_mean_square(view, move) for view, move in zip(views, moves, strict=True)]
    )
    return _Figures(
        overlap,
        mutual,
        continuity,
        fit,
        misplacement,
        np.array([view.sharpness for view in views]),
        np.array(expected),
        outside,
    )


def _overlap(view: SectionView, brain: Mask) -> float:
    either = (view.tissue | brain) & view.inside
    total = int(either.sum())
    return float((view.tissue & brain & view.inside).sum() / total) if total else float("nan")


def _mutual_information(view: SectionView, template: NDArray[np.float32], brain: Mask) -> float:
    looked_at = (view.tissue | brain) & view.inside
    if looked_at.sum() < 50:
        return float("nan")
    counts, _, _ = np.histogram2d(view.darkness[looked_at], template[looked_at], bins=32)
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
    shift: tuple[float, float]  # of the common centre, in pixels: column, row
    turn: float  # radians
    centre: tuple[float, float]


def _compare(one: SectionView, other: SectionView) -> _Comparison:
    either = one.tissue | other.tissue
    seen = either & one.inside & other.inside
    if not (one.tissue & seen).any() or not (other.tissue & seen).any():
        return _Comparison(0.0 if seen.any() else float("nan"), (np.nan, np.nan), np.nan, (0, 0))
    a, b = (
        cv2.GaussianBlur(view.darkness, (0, 0), 1)[seen].astype(np.float64) for view in (one, other)
    )
    a -= a.mean()
    b -= b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    correlation = float(a @ b / norm) if norm > 0 else 0.0
    shift, turn, centre = _align(one, other)
    return _Comparison(correlation, shift, turn, centre)


def _align(
    one: SectionView, other: SectionView
) -> tuple[tuple[float, float], float, tuple[float, float]]:
    """Return how the first section is moved so that it fits the second one best."""
    halves = []
    for view in (one, other):
        softened = cv2.GaussianBlur(view.darkness.astype(np.float32), (0, 0), 2)
        halves.append(cv2.resize(softened, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    row, column = (float(np.mean(where)) for where in np.nonzero(one.tissue | other.tissue))
    matrix = np.eye(2, 3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    try:
        _, matrix = cv2.findTransformECC(
            halves[0], halves[1], matrix, cv2.MOTION_EUCLIDEAN, criteria, None, 5
        )
    except cv2.error:  # it did not converge
        return (np.nan, np.nan), np.nan, (column, row)
    turn = float(np.arctan2(matrix[1, 0], matrix[0, 0]))
    # from pixels of the halved pictures: x = 2 u + 1/2
    centre = np.array([column, row])
    moved = 2 * (matrix[:, :2] @ ((centre - 0.5) / 2) + matrix[:, 2]) + 0.5
    shift = moved - centre
    return (float(shift[0]), float(shift[1])), turn, (column, row)


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
    near = _neighbours(views, k)
    view = views[k]
    if not near:
        return float("nan")
    tissue, grey, inside = view.tissue.astype(np.uint8), view.darkness, view.inside
    if not np.isnan(move).any() and tissue.any():
        row, column = (float(np.mean(where)) for where in np.nonzero(tissue))
        cos, sin = np.cos(move[2]), np.sin(move[2])
        turn = np.array([[cos, -sin], [sin, cos]])
        matrix = np.column_stack((turn, np.array([column, row]) + move[:2] - turn @ [column, row]))
        size = tissue.shape[::-1]
        tissue = cv2.warpAffine(tissue, matrix, size, flags=cv2.INTER_NEAREST)
        grey = cv2.warpAffine(grey, matrix, size)
        inside = cv2.warpAffine(inside.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
    counts = np.sum([other.tissue for other in near], axis=0)
    expected = counts >= max(len(near) - 1, 1)
    border = np.ones((5, 5), np.uint8)
    core = cv2.erode(expected.astype(np.uint8), border) > 0
    total = int((expected & inside).sum())
    if not total:
        return float("nan")
    missing = core & inside & ~(cv2.dilate(tissue, np.ones((3, 3), np.uint8)) > 0)
    darkest = cv2.dilate(np.max([other.darkness for other in near], axis=0), border)
    folded = (cv2.blur(grey, (3, 3)).astype(int) > darkest.astype(int) + 25) & core
    beyond = (tissue > 0) & ~(cv2.dilate((counts > 0).astype(np.uint8), border) > 0)
    return float((missing | folded | beyond).sum() / total)


def _outside(view: SectionView, brain: Mask) -> float:
    total = int(brain.sum())
    return float((brain & ~view.inside).sum() / total) if total else 0.0


# -- the rule ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Test:
    """How a figure counts: which way is worse, and the least deviation that is one at all."""

    figure: str
    sign: int
    floor: float


_TESTS = (
    _Test("overlap", -1, 0.01),
    _Test("mutual_information", -1, 0.01),
    _Test("fit", -1, 0.01),
    _Test("misplacement", 1, 20.0),
    _Test("sharpness", -1, 0.05),
    _Test("tear", 1, 0.005),
    _Test("outside", 1, 0.01),
)


def rule_text() -> str:
    """Return the rule in words."""
    return (
        "Each figure is compared with the median of those of the sections around; the difference "
        "towards the worse, divided by the usual one (1.4826 times the median absolute difference "
        "of the data set, but at least a fixed floor), is its deviation. The score is the root of "
        f"the sum of the squared deviations, each cut at {LARGEST:g}; above {THRESHOLD:g} a section is "
        "suspicious, as is one without tissue."
    )


def _deviations(figures: _Figures) -> dict[str, Field]:
    out = {}
    for test in _TESTS:
        values = test.sign * getattr(figures, test.figure)
        rest = values - _around(values, 5)
        scale = max(1.4826 * _median(np.abs(rest)), test.floor) if np.isfinite(rest).any() else 1
        out[test.figure] = np.clip(np.nan_to_num(rest / scale, nan=0.0), 0, LARGEST)
    return out


def _judge(views: Sequence[SectionView], figures: _Figures) -> list[SectionQuality]:
    deviations = _deviations(figures)
    scores = np.sqrt(sum((d**2 for d in deviations.values()), np.zeros(len(views))))
    out = []
    for k, view in enumerate(views):
        empty = not view.tissue.any()
        score = max(float(scores[k]), 2 * LARGEST) if empty else float(scores[k])
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
                suspicious=score > THRESHOLD,
                reasons=_reasons(figures, deviations, k, empty=empty),
            )
        )
    return out


def _reasons(
    figures: _Figures, deviations: dict[str, Field], k: int, *, empty: bool
) -> tuple[str, ...]:
    if empty:
        return ("no tissue is seen on it",)
    odd = sorted(
        (name for name in deviations if deviations[name][k] > 3), key=lambda n: -deviations[n][k]
    )
    return tuple(_sentence(figures, name, k) for name in odd)


def _sentence(figures: _Figures, name: str, k: int) -> str:
    shown = figures.continuity if name == "fit" else getattr(figures, name)
    value = shown[k]
    around = shown[max(k - 3, 0) : k + 4]
    around = np.delete(around, min(k, 3))
    around = around[np.isfinite(around)]
    low, high = (
        (float(x) for x in np.percentile(around, [25, 75])) if len(around) else (value, value)
    )
    percent = f"{100 * low:.0f}–{100 * high:.0f} %"
    return {
        "overlap": f"its tissue and the annotation overlap by {100 * value:.0f} %; its neighbours {percent}",
        "mutual_information": f"it shares {value:.2f} of its information with the template; its "
        f"neighbours {low:.2f}–{high:.2f}",
        "fit": f"it agrees with its neighbours by {value:.2f}; they do by {low:.2f}–{high:.2f}",
        "misplacement": f"it would fit its neighbours better if moved or turned by {value:.0f} µm",
        "sharpness": f"its detail is {value:.2f}; its neighbours' {low:.2f}–{high:.2f}: it may be blurred",
        "tear": f"{100 * value:.1f} % of its tissue is missing, folded or out of place; "
        f"its neighbours' {100 * low:.1f}–{100 * high:.1f} %",
        "outside": f"{100 * value:.0f} % of the brain lies outside its image; its neighbours' {percent}",
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
