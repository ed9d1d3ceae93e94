"""The figure of the reference spaces' box, axes and directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atldld.demo import anatomy
from atldld.errors import AtldldError
from atldld.place.spaces import AXES, AXIS_ENDS, BOX

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["reference_spaces"]


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
    step, colors = 100, ("tab:blue", "tab:orange", "tab:green")
    grids = [(np.arange(side // step) + 0.5) * step for side in BOX]
    tissue = anatomy.tissue(np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1))
    middle = BOX[2] / 2

    figure = Figure(figsize=(12, 9.6), layout="constrained")
    box = figure.add_subplot(2, 2, 1, projection="3d")
    # Laid out as (r, -p, -i), which is a rotation: reversing an axis of the plot would mirror it.
    p, i, r = BOX
    corners = [(a, b, c) for a in (0, r) for b in (0, -p) for c in (0, -i)]
    for corner in corners:
        for neighbour in corners:
            if sum(x != y for x, y in zip(corner, neighbour, strict=True)) == 1:
                box.plot(*zip(corner, neighbour, strict=True), color="0.7", linewidth=0.8)
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
        label = f"{AXES[axis]} → {AXIS_ENDS[axis][1]}\n{BOX[axis]} µm"
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
            start_name, end_name = AXIS_ENDS[axis]
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
