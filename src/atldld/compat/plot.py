"""Figures. `dataset_preview` needs matplotlib: ``pip install atldld[plot]``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from atldld.compat.constants import REF_DIM_1UM
from atldld.compat.dataset import PlaneOfSection
from atldld.errors import AtldldError, UnsupportedPlaneError
from atldld.place.spaces import AXES, AXIS_ENDS, BOX, Plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    # scripts written for 0.3 also take these two from here
    "REF_DIM_1UM",
    "PlaneOfSection",
    "dataset_preview",
]


def dataset_preview(all_corners: Iterable[ArrayLike], plane_of_section: object) -> Figure:
    """Draw how the sections of a data set lie in the reference space, from its sides.

    Parameters
    ----------
    all_corners : iterable of array-like, shape (4, 3)
        For each section, the reference coordinates in µm of its corners in order (see
        `SectionGeometry.corners`).
    plane_of_section : Plane, PlaneOfSection or str
        The plane that the sections are named after; its `str` is used.

    Returns
    -------
    matplotlib.figure.Figure
        One view along the sections' depth, and the two in which they are seen edge-on.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
    except ImportError:
        raise AtldldError(
            "Figures need matplotlib, which is not installed.",
            hint="Install it with `pip install 'atldld[plot]'`.",
        ) from None

    name = plane_of_section.value if isinstance(plane_of_section, Plane) else str(plane_of_section)
    try:
        plane = Plane(name.lower().split()[0])
    except ValueError:
        raise UnsupportedPlaneError(
            f"Sections of the plane {name!r} cannot be drawn, only coronal, sagittal and "
            "transverse ones."
        ) from None
    corners = [np.asarray(section, dtype=np.float64) for section in all_corners]
    depths = [float(section[:, plane.depth_axis].mean()) for section in corners]
    low, high = (min(depths), max(depths)) if depths else (0.0, 1.0)

    rows, columns = plane.axes()
    depth = plane.depth_axis
    # (horizontal axis, vertical axis) of each view; the last two show the sections edge-on
    views = [(columns, rows), (columns, depth), (depth, rows)]
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    for position, (horizontal, vertical) in enumerate(views, start=1):
        axes = figure.add_subplot(1, 3, position)
        axes.add_patch(
            Rectangle((0, 0), BOX[horizontal], BOX[vertical], facecolor="0.95", edgecolor="0.6")
        )
        for section, middle in zip(corners, depths, strict=True):
            shade = (middle - low) / (high - low) if high > low else 0.5
            outline = np.vstack((section, section[:1]))
            axes.plot(
                outline[:, horizontal],
                outline[:, vertical],
                color=(0.10 + 0.75 * shade, 0.25 + 0.30 * shade, 0.60 - 0.35 * shade),
                linewidth=0.8,
            )
        for axis, set_label in ((horizontal, axes.set_xlabel), (vertical, axes.set_ylabel)):
            start, end = AXIS_ENDS[axis]
            arrow = f"{start} → {end}" if axis == horizontal else f"{end} ← {start}"
            set_label(f"{AXES[axis]} (µm): {arrow}")
        axes.set_aspect("equal")
        axes.margins(0.03)
        axes.invert_yaxis()
        axes.tick_params(labelsize=8)
    figure.suptitle(
        f"{len(corners)} {plane.value} sections in the reference space (grey: 13200 × 8000 × "
        "11400 µm)",
        fontsize=11,
    )
    return figure
