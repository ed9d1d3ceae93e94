"""Drawings of a report: where the sections lie, and their quality along the brain.

Here is what is drawn, in the units of each drawing; ``templates/positions.svg`` and
``templates/chart.svg`` draw it. Suspicious sections are marked by shape (a triangle) and words, not
by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from atldld.place.spaces import AXES, BOX, Plane
from atldld.report.pictures import silhouette

if TYPE_CHECKING:
    from atldld.atlas import Atlas
    from atldld.quality import DatasetQuality, SectionQuality
    from atldld.report.contents import Entry

__all__ = [
    "FIGURES",
    "Band",
    "Cell",
    "Chart",
    "Column",
    "Figure",
    "Line",
    "Point",
    "Positions",
    "Row",
    "Strip",
    "levels",
    "moves_chart",
    "number",
    "positions",
    "quality_chart",
    "strip",
]


class Figure(NamedTuple):
    """A figure of a section's quality, as it is called on the page.

    Attributes
    ----------
    name : str
        Attribute of `atldld.quality.SectionQuality`.
    title, about : str
        What it is called in the chart, where there is little room, and what it is.
    listed, unit : str
        What it is called among the figures of one section, and what it is given in.
    """

    name: str
    title: str
    about: str
    listed: str
    unit: str


FIGURES = (
    Figure("score", "Score", "higher is more suspicious", "Score", "higher is more suspicious"),
    Figure(
        "overlap", "Overlap", "of tissue and annotation (IoU)", "Overlap with the annotation", "IoU"
    ),
    Figure(
        "mutual_information",
        "Mutual information",
        "with the template’s plane",
        "Mutual information",
        "with the template",
    ),
    Figure(
        "continuity",
        "Continuity",
        "correlation with the neighbours",
        "Continuity",
        "with the neighbours",
    ),
    Figure(
        "misplacement",
        "Misplacement",
        "µm, by its neighbours",
        "Misplacement",
        "µm, by its neighbours",
    ),
    Figure(
        "tear",
        "Tear",
        "tissue missing, folded or torn",
        "Missing, folded or torn",
        "part of the tissue",
    ),
    Figure("sharpness", "Sharpness", "fine against coarse detail", "Sharpness", ""),
    Figure(
        "outside",
        "Outside",
        "part of the brain off the image",
        "Brain outside the image",
        "part",
    ),
)

MOVED = Figure("moved", "Moved", "µm, median over the picture", "Moved", "µm")
EXPECTED = Figure(
    "expected_error", "Expected error", "µm, before and after", "Expected error", "µm"
)

NBSP = "\N{NO-BREAK SPACE}"

_ENDS = (("anterior", "posterior"), ("dorsal", "ventral"), ("left", "right"))


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as people read it: three digits, no powers of ten; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    size, sign = abs(value), "−" if value < 0 else ""
    if size == 0:
        return "0"
    if size < 0.001:
        return f"<{NBSP}0.001" if value > 0 else f">{NBSP}−0.001"
    if size >= 99.95:
        return f"{sign}{size:,.0f}"
    return f"{sign}{size:.{digits}g}"


# ---- where the sections lie


@dataclass(frozen=True, slots=True)
class Line:
    """A section seen edge-on.

    Attributes
    ----------
    place : int
        Where it comes in the order of the page.
    number, image_id : int
        Of the section.
    suspicious : bool
        Whether it is marked.
    coordinate : float
        Where its middle lies, in µm.
    start, end : tuple of 2 float
        (x, y) in µm.
    """

    place: int
    number: int
    image_id: int
    suspicious: bool
    coordinate: float
    start: tuple[float, float]
    end: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Positions:
    """The sections seen edge-on, in the box of the brain.

    Attributes
    ----------
    width, height : float
        Of the box, in µm.
    axis : str
        p, i or r: along which the sections lie.
    brain : str
        The brain's outline as SVG's path data; empty without an atlas.
    left, right, top, bottom : str
        What lies there.
    lines : tuple of Line
        The sections.
    """

    width: float
    height: float
    axis: str
    brain: str
    left: str
    right: str
    top: str
    bottom: str
    lines: tuple[Line, ...]


def positions(
    entries: Sequence[Entry], plane: Plane, atlas: Atlas | None, odd: set[int]
) -> Positions:
    """Return how the sections lie, edge-on.

    Parameters
    ----------
    entries : sequence of Entry
        The sections in the order in which the page counts them.
    plane : Plane
        Their plane of section.
    atlas : Atlas, optional
        Its outline is drawn behind them.
    odd : set of int
        Image ids of the suspicious ones.
    """
    # edge-on, the brain's long axis across where it can be
    down, across = (1, 0) if plane is not Plane.SAGITTAL else (1, 2)
    width, height = BOX[across], BOX[down]
    lines = []
    for place, entry in enumerate(entries):
        rows, columns = entry.plane.grid.shape
        middle = (columns - 1) / 2
        first, last = (float(entry.plane.depth_at(row, middle)) for row in (-0.5, rows - 0.5))
        # along the axis that runs down the drawing, or (transverse) across it
        lying = plane is Plane.TRANSVERSE
        lines.append(
            Line(
                place,
                entry.section.number,
                entry.section.id,
                entry.section.id in odd,
                entry.coordinate,
                (0.0, first) if lying else (first, 0.0),
                (width, last) if lying else (last, height),
            )
        )
    brain = "" if atlas is None else silhouette(atlas, down, across)
    axis = AXES[plane.depth_axis]
    return Positions(width, height, axis, brain, *_ENDS[across], *_ENDS[down], tuple(lines))


# ---- how unusual they are


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of one section in the heat strip.

    Attributes
    ----------
    level : int or None
        0 (as is usual in this data set) to 4 (most unusual); `None` if it is not known.
    told : str
        The figure, in words.
    """

    level: int | None
    told: str


@dataclass(frozen=True, slots=True)
class Band:
    """A section in the heat strip: one cell for each of its rows."""

    place: int
    number: int
    image_id: int
    suspicious: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """All figures of all sections as shades, in the order of the page.

    Attributes
    ----------
    rows : tuple of (str, str)
        What each row is called, and what it is.
    bands : tuple of Band
        The sections.
    every : int
        Each so many sections have their number written.
    """

    rows: tuple[tuple[str, str], ...]
    bands: tuple[Band, ...]
    every: int


_LOW_IS_BAD = {"overlap", "mutual_information", "continuity", "sharpness"}
_LEVELS = (1.0, 2.0, 3.0, 4.5)  # deviations from the middle, towards what is bad
_SHARES = (0.25, 0.5, 0.75, 1.0)  # of the threshold or of the most


def strip(entries: Sequence[Entry], quality: DatasetQuality | None) -> Strip:
    """Return the heat strip: expression, and how unusual each figure of quality is.

    A figure's shade is how far it lies from the middle of the data set's, towards what is bad, in
    robust standard deviations; that of the score is its part of the threshold.

    Parameters
    ----------
    entries : sequence of Entry
        The sections in the order in which the page counts them.
    quality : DatasetQuality, optional
        Their figures.
    """
    judged = {one.image_id: one for one in quality.sections} if quality else {}
    odd = {one.image_id for one in quality.suspicious} if quality else set()
    rows: list[tuple[str, str]] = []
    columns: list[list[Cell]] = []
    amounts = [entry.views.expression for entry in entries]
    if any(amounts):
        rows.append(("Expression", "how much of it is on the section"))
        most = max(amount or 0.0 for amount in amounts)
        columns.append([_amount(amount, most) for amount in amounts])
    for figure in FIGURES if quality else ():
        values = [
            _known(getattr(judged.get(entry.section.id), figure.name, None)) for entry in entries
        ]
        if all(value is None for value in values):
            continue
        rows.append((figure.title, figure.about))
        threshold = quality.threshold if quality and figure.name == "score" else None
        shades = _levels(values, threshold, low_is_bad=figure.name in _LOW_IS_BAD)
        columns.append(
            [
                Cell(level, f"{figure.title} {number(value)}")
                for level, value in zip(shades, values, strict=True)
            ]
        )
    bands = tuple(
        Band(
            place,
            entry.section.number,
            entry.section.id,
            entry.section.id in odd,
            tuple(column[place] for column in columns),
        )
        for place, entry in enumerate(entries)
    )
    return Strip(tuple(rows), bands, max(round(len(bands) / 14), 1))


def levels(quality: DatasetQuality | None) -> dict[int, int]:
    """Return how unusual sections are as a whole, 0 to 4, by image id."""
    if quality is None:
        return {}
    scores = [_known(section.score) for section in quality.sections]
    found = _levels(scores, quality.threshold, low_is_bad=False)
    return {
        section.image_id: level or 0 for section, level in zip(quality.sections, found, strict=True)
    }


def _amount(amount: float | None, most: float) -> Cell:
    if amount is None:
        return Cell(None, "no expression mask")
    level = sum(amount > share * most for share in (0.02, *_SHARES[:-1]))
    return Cell(level, f"Expression {number(100 * amount / most, 2)} % of the most")


def _levels(
    values: Sequence[float | None], threshold: float | None, *, low_is_bad: bool
) -> list[int | None]:
    """Return how unusual each value is, 0 to 4."""
    known = sorted(value for value in values if value is not None)
    if threshold is not None:
        return [
            None if value is None else sum(value > share * threshold for share in _SHARES)
            for value in values
        ]
    middle = known[len(known) // 2]
    spread = sorted(abs(value - middle) for value in known)[len(known) // 2]
    # where most values are the same, small differences mean nothing
    unit = max(1.4826 * spread, 0.02 * abs(middle), 1e-3)
    out: list[int | None] = []
    for value in values:
        if value is None:
            out.append(None)
            continue
        off = (middle - value if low_is_bad else value - middle) / unit
        out.append(sum(off >= level for level in _LEVELS))
    return out


# ---- their quality


@dataclass(frozen=True, slots=True)
class Point:
    """A figure of one section: where it is drawn, and whether the section is suspicious."""

    x: float
    y: float
    suspicious: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A figure along the section numbers.

    Attributes
    ----------
    figure : Figure
        Which one.
    top : float
        Where its row begins.
    least, most : str
        The smallest and the largest value; `most` is empty where they are the same.
    limit : float or None
        Where the threshold is drawn, if it has one.
    points : tuple of Point
        Of the sections of which it is known.
    before : tuple of Point
        The same before an alignment moved them, if that is known.
    """

    figure: Figure
    top: float
    least: str
    most: str
    limit: float | None
    points: tuple[Point, ...]
    before: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A section in all rows: where it is, and what is told of it."""

    place: int
    number: int
    image_id: int
    suspicious: bool
    x: float
    told: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Figures along the section numbers, one below the other.

    Attributes
    ----------
    label : str
        What it shows.
    rows : tuple of Row
        The figures that are known.
    columns : tuple of Column
        The sections, by their numbers.
    threshold : str
        Of the score.
    ticks : tuple of (float, int)
        Where section numbers are written.
    """

    label: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    threshold: str
    ticks: tuple[tuple[float, int], ...]

    left = 210
    right = 1180
    top = 22
    row_height = 46
    gap = 18

    @property
    def bottom(self) -> int:
        """Where the last row ends."""
        return self.top + len(self.rows) * (self.row_height + self.gap) - self.gap

    @property
    def step(self) -> float:
        """From one section to the next, if there are no gaps."""
        return (self.right - self.left) / max(len(self.columns) - 1, 1)

    @property
    def compares(self) -> bool:
        """Whether figures of before are drawn too."""
        return any(row.before for row in self.rows)


class _Series(NamedTuple):
    """A figure of all sections, in the order of their numbers; `None` where it is not known."""

    figure: Figure
    values: Sequence[float | None]
    before: Sequence[float | None]
    limit: float | None = None


def quality_chart(
    entries: Sequence[Entry], quality: DatasetQuality, before: DatasetQuality | None = None
) -> Chart:
    """Return every figure of the sections' quality along the section numbers.

    Parameters
    ----------
    entries : sequence of Entry
        The sections in the order in which the page counts them.
    quality : DatasetQuality
        Their figures.
    before : DatasetQuality, optional
        Their figures before an alignment moved them.
    """
    judged = {section.image_id: section for section in quality.sections}
    earlier = {section.image_id: section for section in before.sections} if before else {}
    shown = [(place, entry) for place, entry in enumerate(entries) if entry.section.id in judged]

    def values(of: dict[int, SectionQuality], name: str) -> list[float | None]:
        return [_known(getattr(of.get(entry.section.id), name, None)) for _, entry in shown]

    series = [
        _Series(
            figure,
            values(judged, figure.name),
            values(earlier, figure.name),
            quality.threshold if figure.name == "score" else None,
        )
        for figure in FIGURES
    ]
    odd = {section.image_id for section in quality.suspicious}
    return _chart("Quality figures", shown, series, odd, number(quality.threshold))


def moves_chart(entries: Sequence[Entry]) -> Chart | None:
    """Return how far sections have moved, and what is expected of them, if anything is known.

    Parameters
    ----------
    entries : sequence of Entry
        The sections in the order in which the page counts them.
    """
    shown = list(enumerate(entries))
    expected = [entry.section.expected_error for entry in entries]
    series = [
        _Series(MOVED, [entry.move.median if entry.move else None for entry in entries], ()),
        _Series(
            EXPECTED,
            [None if error is None else error.after for error in expected],
            [None if error is None else error.before for error in expected],
        ),
    ]
    if all(value is None for one in series for value in one.values):
        return None
    return _chart("How far sections have moved", shown, series, set(), "")


def _chart(
    label: str,
    shown: Sequence[tuple[int, Entry]],
    series: Sequence[_Series],
    odd: set[int],
    threshold: str,
) -> Chart:
    order = sorted(
        range(len(shown)),
        key=lambda k: (shown[k][1].section.number, shown[k][1].section.id),
    )
    known = [one for one in series if any(value is not None for value in one.values)]
    numbers = [entry.section.number for _, entry in shown]
    low, high = min(numbers), max(numbers)

    def x_of(section_number: float) -> float:
        share = (section_number - low) / max(high - low, 1)
        return Chart.left + share * (Chart.right - Chart.left)

    columns = []
    for k in order:
        place, entry = shown[k]
        columns.append(
            Column(
                place,
                entry.section.number,
                entry.section.id,
                entry.section.id in odd,
                x_of(entry.section.number),
                "; ".join(_told(one, k) for one in known),
            )
        )
    rows: list[Row] = []
    for one in known:
        top = Chart.top + len(rows) * (Chart.row_height + Chart.gap)
        values, before = (
            [
                (column, found[k] if found else None)
                for column, k in zip(columns, order, strict=True)
            ]
            for found in (one.values, one.before)
        )
        rows.append(_row(one, top, values, before))
    return Chart(
        label,
        tuple(rows),
        tuple(columns),
        threshold,
        tuple((x_of(value), value) for value in _ticks(low, high)),
    )


def _told(one: _Series, k: int) -> str:
    now = number(one.values[k])
    if not one.before or all(value is None for value in one.before):
        return f"{one.figure.title} {now}"
    return f"{one.figure.title} {number(one.before[k])} → {now}"


def _row(
    one: _Series,
    top: float,
    values: Sequence[tuple[Column, float | None]],
    before: Sequence[tuple[Column, float | None]],
) -> Row:
    known = [value for _, value in (*values, *before) if value is not None]
    least, most = min(known), max(known)
    if one.limit is not None:
        least, most = min(least, 0.0), max(most, one.limit * 1.1)
    if one.figure in (MOVED, EXPECTED):
        least = 0.0
    if flat := most - least < 1e-9:
        most = least + 1

    def y_of(value: float) -> float:
        return top + Chart.row_height - (value - least) / (most - least) * Chart.row_height

    def points(found: Sequence[tuple[Column, float | None]]) -> tuple[Point, ...]:
        return tuple(
            Point(column.x, y_of(value), column.suspicious)
            for column, value in found
            if value is not None
        )

    return Row(
        one.figure,
        top,
        number(least, 2),
        "" if flat else number(most, 2),
        None if one.limit is None else y_of(one.limit),
        points(values),
        points(before),
    )


def _known(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _ticks(low: int, high: int) -> list[int]:
    span = max(high - low, 1)
    step = next(
        size * 10**power
        for power in range(9)
        for size in (1, 2, 5)
        if span / (size * 10**power) <= 12
    )
    return list(range(math.ceil(low / step) * step, high + 1, step))
