"""Drawings of a report as SVG: where the sections lie, and their quality along the brain.

Suspicious sections are marked by shape (a triangle) and words, not by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from atldld.place.spaces import AXES, BOX, Plane
from atldld.report.pictures import silhouette

if TYPE_CHECKING:
    from atldld.atlas import Atlas
    from atldld.quality import DatasetQuality
    from atldld.report.contents import Entry

__all__ = ["FIGURES", "number", "positions", "quality_chart"]

FIGURES = (
    ("score", "Score", "higher is more suspicious"),
    ("overlap", "Overlap", "of tissue and annotation (IoU)"),
    ("mutual_information", "Mutual information", "with the template’s plane"),
    ("continuity", "Continuity", "correlation with the neighbours"),
    ("misplacement", "Misplacement", "µm, by its neighbours"),
    ("tear", "Tear", "tissue missing, folded or torn"),
    ("sharpness", "Sharpness", "fine against coarse detail"),
    ("outside", "Outside", "part of the brain off the image"),
)
"""Attributes of `atldld.quality.SectionQuality`: what they are called, and what they are."""

_ENDS = (("anterior", "posterior"), ("dorsal", "ventral"), ("left", "right"))


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as it is read on the page; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


def positions(entries: Sequence[Entry], plane: Plane, atlas: Atlas | None, odd: set[int]) -> str:
    """Draw the sections edge-on, each as a line where it lies.

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
    unit = width / 1000
    shape = "" if atlas is None else silhouette(atlas, down, across)
    parts = [
        f'<svg class="positions" viewBox="{-40 * unit:.0f} {-70 * unit:.0f} '
        f'{width + 80 * unit:.0f} {height + 130 * unit:.0f}" role="group" '
        f'aria-label="Where the sections lie, seen edge-on">',
        f'<rect class="box" width="{width}" height="{height}"/>',
        f'<path class="brain" d="{shape}"/>' if shape else "",
    ]
    for place, entry in enumerate(entries):
        rows, columns = entry.plane.grid.shape
        middle = (columns - 1) / 2
        # along the axis that runs down the drawing, or (transverse) across it
        ends = [
            (float(entry.plane.depth_at(row, middle)), k)
            for row, k in ((-0.5, 0.0), (rows - 0.5, 1.0))
        ]
        if plane is Plane.TRANSVERSE:
            points = [(k * width, depth) for depth, k in ends]
        else:
            points = [(depth, k * height) for depth, k in ends]
        (x0, y0), (x1, y1) = points
        marked = entry.section.id in odd
        said = f"Section {entry.section.number}" + (", suspicious" if marked else "")
        name = "suspicious" if marked else "fine"
        line = f'x1="{x0:.0f}" y1="{y0:.0f}" x2="{x1:.0f}" y2="{y1:.0f}"'
        sign = ""
        if marked:
            r = 11 * unit
            sign = (
                f'<path class="sign" d="M{x0:.0f} {y0 - 30 * unit:.0f}l{r:.0f} {1.8 * r:.0f}'
                f'h{-2 * r:.0f}z"/>'
            )
        parts.append(
            f'<a href="#section" data-go="{place}" class="{name}" aria-label="{said}">'
            f"<title>{said}, {AXES[plane.depth_axis]} = {entry.coordinate:.0f} µm</title>"
            f'<line class="hit" {line}/><line {line}/>{sign}</a>'
        )
    left, right = _ENDS[across]
    top, bottom = _ENDS[down]
    size, below = f'font-size="{0.042 * height:.0f}"', f"{1.055 * height:.0f}"
    parts += [
        f'<text {size} x="0" y="{below}">{left}</text>',
        f'<text {size} x="{width}" y="{below}" text-anchor="end">{right}</text>',
        f'<text {size} x="{-12 * unit:.0f}" y="0" text-anchor="end" '
        f'transform="rotate(-90 {-12 * unit:.0f} 0)">{top}</text>',
        f'<text {size} x="{-12 * unit:.0f}" y="{height}" '
        f'transform="rotate(-90 {-12 * unit:.0f} {height})">{bottom}</text>',
        "</svg>",
    ]
    return "".join(parts)


def quality_chart(entries: Sequence[Entry], quality: DatasetQuality) -> str:
    """Draw every figure along the section numbers, one below the other.

    Parameters
    ----------
    entries : sequence of Entry
        The sections in the order in which the page counts them.
    quality : DatasetQuality
        Their figures.
    """
    place = {entry.section.id: k for k, entry in enumerate(entries)}
    sections = sorted(
        (one for one in quality.sections if one.image_id in place),
        key=lambda one: (one.section_number, one.image_id),
    )
    shown = [
        figure
        for figure in FIGURES
        if any(_known(getattr(one, figure[0], None)) for one in sections)
    ]
    left, right, top, row, gap = 210, 1180, 22, 46, 18
    height = top + len(shown) * (row + gap) + 24
    low, high = sections[0].section_number, sections[-1].section_number

    def x_of(section_number: float) -> float:
        return left + (section_number - low) / max(high - low, 1) * (right - left)

    out = [
        f'<svg class="chart" viewBox="0 0 1200 {height}" role="group" '
        'aria-label="Quality figures along the section numbers">'
    ]
    bottom = top + len(shown) * (row + gap) - gap
    for one in sections:
        if one.suspicious:
            x = x_of(one.section_number)
            out.append(
                f'<line class="mark" x1="{x:.1f}" y1="{top - 6}" x2="{x:.1f}" y2="{bottom}"/>'
            )
    for k, (name, title, about) in enumerate(shown):
        y0 = top + k * (row + gap)
        values = [(one, getattr(one, name)) for one in sections]
        known = [float(value) for _, value in values if _known(value)]
        least, most = min(known), max(known)
        if name == "score":
            least, most = min(least, 0.0), max(most, quality.threshold * 1.1)
        if flat := most - least < 1e-9:
            most = least + 1

        def y_of(value: float, y0: float = y0, least: float = least, most: float = most) -> float:
            return y0 + row - (value - least) / (most - least) * row

        upper = "" if flat else number(most, 2)
        out.append(
            f'<text class="name" x="0" y="{y0 + 14}">{escape(title)}</text>'
            f'<text class="about" x="0" y="{y0 + 30}">{escape(about)}</text>'
            f'<line class="axis" x1="{left}" y1="{y0 + row}" x2="{right}" y2="{y0 + row}"/>'
            f'<text class="tick" x="{left - 8}" y="{y0 + 8}">{upper}</text>'
            f'<text class="tick" x="{left - 8}" y="{y0 + row + 3}">{number(least, 2)}</text>'
        )
        if name == "score":
            y = y_of(quality.threshold)
            out.append(
                f'<line class="limit" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
                f'<text class="about" x="{right}" y="{y - 3:.1f}" text-anchor="end">'
                f"suspicious above {number(quality.threshold)}</text>"
            )
        line = " ".join(
            f"{x_of(one.section_number):.1f},{y_of(value):.1f}"
            for one, value in values
            if _known(value)
        )
        out.append(f'<polyline class="run" points="{line}"/>')
        for one, value in values:
            if not _known(value):
                continue
            x, y = x_of(one.section_number), y_of(value)
            out.append(
                f'<path class="odd" d="M{x:.1f} {y - 5:.1f}l4.5 8.4h-9z"/>'
                if one.suspicious
                else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>'
            )
    wide = (right - left) / max(len(sections) - 1, 1)
    for one in sections:
        x = x_of(one.section_number)
        said = f"Section {one.section_number}" + (", suspicious" if one.suspicious else "")
        told = "; ".join(f"{title} {number(getattr(one, name))}" for name, title, _ in shown)
        out.append(
            f'<a href="#section" data-go="{place[one.image_id]}" aria-label="{escape(said)}">'
            f"<title>{escape(said)}: {escape(told)}</title>"
            f'<rect class="hit" x="{x - wide / 2:.1f}" y="{top - 6}" width="{wide:.1f}" '
            f'height="{bottom - top + 10}"/></a>'
        )
    out += [
        f'<text class="tick middle" x="{x_of(value):.1f}" y="{bottom + 16}">{value}</text>'
        for value in _ticks(low, high)
    ]
    out.append(f'<text class="about" x="0" y="{bottom + 16}">section number</text></svg>')
    return "".join(out)


def _known(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _ticks(low: int, high: int) -> list[int]:
    span = max(high - low, 1)
    step = next(
        size * 10**power
        for power in range(9)
        for size in (1, 2, 5)
        if span / (size * 10**power) <= 12
    )
    return list(range(math.ceil(low / step) * step, high + 1, step))
