"""Drawings of how sections lie in the reference space, for notebooks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from atldld.place.spaces import AXIS_ENDS, BOX, Plane
from atldld.support.html import ACCENT, Markup, escaped, svg

if TYPE_CHECKING:
    from atldld.place.sections import PlacedSection

__all__ = ["planes_drawing"]

# The axes to the right and down of the view in which sections are seen edge-on.
_VIEWS = {Plane.CORONAL: (0, 1), Plane.SAGITTAL: (2, 0), Plane.TRANSVERSE: (0, 1)}
_MARGIN = 1250  # µm, for the names of the sides
_MOST = 60  # sections that are drawn as lines; of more, some


def planes_drawing(
    sections: Sequence[PlacedSection],
    plane: Plane,
    marked: Collection[int] = (),
    *,
    height: int = 150,
) -> Markup:
    """Return a drawing of sections in the reference space, seen edge-on.

    Parameters
    ----------
    sections : sequence of PlacedSection
        Those that are drawn.
    plane : Plane
        Their plane of section, which chooses the view.
    marked : collection of int
        Ids of the images that stand out.
    height : int
        How high it is shown, in pixels of the screen.
    """
    across, down = _VIEWS[plane]
    step = max(1, -(-len(sections) // _MOST))
    chosen = [s for k, s in enumerate(sections) if k % step == 0 or s.id in marked]
    chosen.sort(key=lambda section: section.id in marked)  # those lie on top
    lines = [_line(section, across, down, section.id in marked) for section in chosen]
    width, tall = BOX[across], BOX[down]
    middle = _MARGIN + tall / 2
    text = 'fill="currentColor" fill-opacity=".65" font-size="760" font-family="sans-serif"'
    names = [
        (_MARGIN * 0.45, middle, AXIS_ENDS[across][0][0]),
        (_MARGIN * 1.55 + width, middle, AXIS_ENDS[across][1][0]),
        (_MARGIN + width / 2, _MARGIN * 0.6, AXIS_ENDS[down][0][0]),
        (_MARGIN + width / 2, _MARGIN * 1.7 + tall, AXIS_ENDS[down][1][0]),
    ]
    letters = "".join(
        f'<text x="{x:.0f}" y="{y + 260:.0f}" text-anchor="middle" {text}>'
        f"{escaped(name.upper())}</text>"
        for x, y, name in names
    )
    frame = (
        f'<rect x="{_MARGIN}" y="{_MARGIN}" width="{width}" height="{tall}" rx="180" '
        'fill="currentColor" fill-opacity=".06" stroke="currentColor" stroke-opacity=".35" '
        'stroke-width="60"/>'
    )
    ends = " to ".join(AXIS_ENDS[across])
    label = (
        f"{len(sections)} {plane.value} section{'' if len(sections) == 1 else 's'} in the "
        f"reference space, seen edge-on: {ends} from left to right"
    )
    size = (width + 2.0 * _MARGIN, tall + 2.0 * _MARGIN)
    return svg(frame + "".join(lines) + letters, size, label, height=height)


def _line(section: PlacedSection, across: int, down: int, marked: bool) -> str:
    """Return a section's image as it is seen from the side: a line through its middle."""
    corners = section.geometry.corners
    # from the middle of one edge to that of the opposite one; the longer of the two ways
    edges = (corners + np.roll(corners, -1, axis=0)) / 2
    seen = np.column_stack((edges[:, across], edges[:, down]))
    longer = int(np.argmax(np.linalg.norm(seen[:2] - seen[2:], axis=1)))
    # what lies beyond the box is not shown
    ends = np.clip(seen[[longer, longer + 2]], 0, (BOX[across], BOX[down])) + _MARGIN
    (x1, y1), (x2, y2) = ends.tolist()
    colour, opacity, width = (ACCENT, 1, 190) if marked else ("currentColor", 0.6, 55)
    return (
        f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="{colour}" '
        f'stroke-opacity="{opacity:g}" stroke-width="{width}">'
        f"<title>section {section.number}, image {section.id}</title></line>"
    )
