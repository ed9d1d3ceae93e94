"""Figures. `dataset_preview` needs matplotlib: ``pip install atldld[plot]``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.constants import REF_DIM_1UM
from atldld.dataset import PlaneOfSection
from atldld.errors import AtldldError, UnsupportedPlaneError
from atldld.place.spaces import AXES, BOX, Plane
from atldld.support.text import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    # scripts written for 0.3 also take these two from here
    "REF_DIM_1UM",
    "PlaneOfSection",
    "contact_sheet",
    "dataset_preview",
    "reference_spaces",
    "volume_cuts",
]

# What each axis's two ends are called, from 0 to the far side of the box.
_ENDS = (("anterior", "posterior"), ("superior", "inferior"), ("left", "right"))


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
            start, end = _ENDS[axis]
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


def reference_spaces() -> Figure:
    """Draw the box of the reference spaces 9 and 10: origin, axes, directions, hemispheres.

    The outline in it is that of the demo archive's made-up brain.

    Returns
    -------
    matplotlib.figure.Figure
        The box in perspective, and its three sides.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise AtldldError(
            "Figures need matplotlib, which is not installed.",
            hint="Install it with `pip install 'atldld[plot]'`.",
        ) from None
    from atldld.demo import anatomy

    step, colors = 100, ("tab:blue", "tab:orange", "tab:green")
    grids = [(np.arange(side // step) + 0.5) * step for side in BOX]
    tissue = anatomy.tissue(np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1))
    middle = BOX[2] / 2

    figure = Figure(figsize=(12, 9.6), layout="constrained")
    box = figure.add_subplot(2, 2, 1, projection="3d")
    # Laid out as (r, -p, -i), which is a rotation: reversing an axis of the plot would mirror it.
    p, i, r = BOX
    corners = [(a, b, c) for a in (0, r) for b in (0, -p) for c in (0, -i)]
    for one in corners:
        for other in corners:
            if sum(x != y for x, y in zip(one, other, strict=True)) == 1:
                box.plot(*zip(one, other, strict=True), color="0.7", linewidth=0.8)
    over_p, over_i, over_r = grids[0], grids[1], grids[2]
    flat = {"levels": [0.5], "colors": "0.45", "linewidths": 0.9}
    box.contour(*np.meshgrid(over_r, -over_p), tissue.max(axis=1), zdir="z", offset=-i, **flat)
    side, height = np.meshgrid(over_r, -over_i)
    box.contour(side, tissue.max(axis=0), height, zdir="y", offset=0, **flat)
    side, height = np.meshgrid(-over_p, -over_i)
    box.contour(tissue.max(axis=2).T, side, height, zdir="x", offset=0, **flat)
    for axis, tip, at in (
        (0, (0, -p, 0), (-900, -p * 0.97, 1400)),
        (1, (0, 0, -i), (1300, 0, -i * 0.62)),
        (2, (r, 0, 0), (r * 0.8, 0, 500)),
    ):
        box.quiver(0, 0, 0, *tip, color=colors[axis], arrow_length_ratio=0.07, linewidth=2.5)
        label = f"{AXES[axis]} → {_ENDS[axis][1]}\n{BOX[axis]} µm"
        box.text(*at, label, color=colors[axis], fontsize=10)
    box.scatter([0], [0], [0], color="crimson", s=45, depthshade=False)
    box.text(0, 0, 700, "(0, 0, 0): anterior superior left", color="crimson", fontsize=9)
    box.set(xlim=(0, r), ylim=(-p, 0), zlim=(-i, 0), box_aspect=(r, p, i))
    box.view_init(elev=24, azim=-52)
    box.set_axis_off()
    box.set_title("Seen from behind and the right; p × i = r: right-handed", fontsize=11)

    views = (
        (2, 1, 0, "Coronal, seen from behind: image left is the animal's left"),
        (0, 1, 2, "Sagittal, seen from the left: anterior is left"),
        (2, 0, 1, "Horizontal, seen from above: anterior is up"),
    )
    for position, (across, down, depth, title) in enumerate(views, start=2):
        axes = figure.add_subplot(2, 2, position)
        picture = tissue.max(axis=depth)
        axes.contourf(
            grids[across],
            grids[down],
            picture if across > down else picture.T,
            levels=[0.5, 2],
            colors=["0.88"],
        )
        for axis, start, end in (
            (across, (0, 0), (BOX[across], 0)),
            (down, (0, 0), (0, BOX[down])),
        ):
            axes.annotate(
                "",
                end,
                start,
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": colors[axis],
                    "lw": 2.5,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
                annotation_clip=False,
            )
        axes.plot(0, 0, "o", color="crimson", clip_on=False, zorder=5)
        if 2 in (across, down):
            axes.axvline(middle, color="0.4", linestyle="--", linewidth=1)
            for x, side in ((0.25, "LEFT"), (0.75, "RIGHT")):
                axes.text(
                    x, 0.04, side, transform=axes.transAxes, ha="center", color="0.35", fontsize=9
                )
            axes.text(middle, BOX[down] * 0.02, " r = 5700", va="top", color="0.35", fontsize=9)
        for axis, set_label in ((across, axes.set_xlabel), (down, axes.set_ylabel)):
            start_name, end_name = _ENDS[axis]
            arrow = f"{start_name} → {end_name}" if axis == across else f"{end_name} ← {start_name}"
            set_label(f"{AXES[axis]} (µm): {arrow}", color=colors[axis])
        axes.set(xlim=(0, BOX[across]), ylim=(BOX[down], 0), aspect="equal")
        axes.set_title(title, fontsize=11)
        axes.tick_params(labelsize=8)
    figure.suptitle(
        "Reference spaces 9 and 10 (P56): one box, one set of axes (the outline is made up)",
        fontsize=12,
    )
    return figure


def contact_sheet(
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    title: str,
    *,
    columns: int = 5,
    width: int = 300,
) -> NDArray[np.uint8]:
    """Lay pictures out in rows, each under its caption.

    Parameters
    ----------
    pictures : sequence of (str, numpy.ndarray of shape (rows, columns, 3) and dtype uint8)
        Captions and RGB pictures, all of one shape.
    title : str
        Written above all.
    columns : int
        How many stand side by side.
    width : int
        Of each picture on the sheet, in pixels.

    Returns
    -------
    numpy.ndarray, shape (height, width, 3), uint8
        RGB.
    """
    import cv2

    def write(text: str, x: int, y: int, size: float, grey: int) -> None:
        line = _drawable(text)
        cv2.putText(
            sheet, line, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, (grey,) * 3, 1, cv2.LINE_AA
        )

    gap, head, caption = 8, 34, 18
    rows, cells = pictures[0][1].shape[:2]
    height = round(width * rows / cells)
    lines = -(-len(pictures) // columns)
    sheet = np.full(
        (head + lines * (height + caption + gap), gap + columns * (width + gap), 3),
        255,
        dtype=np.uint8,
    )
    write(title, gap, 22, 0.55, 40)
    for index, (text, picture) in enumerate(pictures):
        x = gap + index % columns * (width + gap)
        y = head + index // columns * (height + caption + gap)
        write(text, x, y + 12, 0.4, 90)
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        sheet[y + caption : y + caption + height, x : x + width] = small
    return sheet


def volume_cuts(
    rows: Sequence[NDArray[np.uint8]], at: tuple[int, int, int], title: str
) -> NDArray[np.uint8]:
    """Cut volumes of one size in three planes, a row for each.

    Parameters
    ----------
    rows : sequence of numpy.ndarray, shape (P, I, R, 3), uint8
        RGB volumes, axes p, i, r.
    at : tuple of 3 int
        Voxel (p, i, r) through which the coronal, the horizontal and the sagittal cut go.
    title : str
        Written above.

    Returns
    -------
    numpy.ndarray, shape (height, width, 3), uint8
        For each volume the coronal (i × r), the sagittal (i × p) and the horizontal cut (r × p).
    """
    import cv2

    p, i, r = at
    gap, head = 6, 26
    lines = []
    for volume in rows:
        cuts = [volume[p], volume[:, :, r].swapaxes(0, 1), volume[:, i].swapaxes(0, 1)]
        height = max(len(cut) for cut in cuts) + gap
        padded = [
            np.pad(cut, ((0, height - len(cut)), (0, gap), (0, 0)), constant_values=255)
            for cut in cuts
        ]
        lines.append(np.hstack(padded))
    sheet = np.pad(np.vstack(lines), ((head, 0), (gap, 0), (0, 0)), constant_values=255)
    line = _drawable(title)
    cv2.putText(sheet, line, (gap, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40,) * 3, 1, cv2.LINE_AA)
    return sheet


def _drawable(text: str) -> str:
    """Return a text in the characters that OpenCV's fonts have."""
    return shown(text).encode("ascii", "backslashreplace").decode("ascii")
