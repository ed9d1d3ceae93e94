"""Figures of the whole brain: volumes projected along its axes, and where sections lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from atldld.atlas.drawing import scale_length, scale_text
from atldld.atlas.outlines import Selection, outlines
from atldld.atlas.sample import voxel_side
from atldld.errors import InvalidInputError
from atldld.place import Affine
from atldld.place.spaces import AXES, AXIS_ENDS, BOX
from atldld.plot.paper import (
    Width,
    canvas_for,
    colour_bar,
    colours_of_values,
    note,
    settled,
    styled,
)
from atldld.volume.model import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path

    from atldld.atlas.model import Atlas
    from atldld.place.sections import PlacedDataSet

__all__ = ["glass_brain", "planes"]

Points = NDArray[np.float64]

# rows, columns and the name of each view: dorsal up, and anterior up in the one from above
_VIEWS = ((1, 2, "coronal"), (1, 0, "sagittal"), (0, 2, "horizontal"))
_LINES = "0.55"
_FACE_ON = 6  # sections at most


def glass_brain(
    volume: Volume | NDArray[Any],
    atlas: Atlas | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    how: Literal["max", "mean"] = "max",
    vmax: float | None = None,
    structures: str | int | Sequence[str | int] | None = None,
    label: str | None = None,
    width: Width = "double",
) -> Figure:
    """Draw a volume projected along the three axes, within the outline of the brain.

    Parameters
    ----------
    volume : Volume or numpy.ndarray, shape (P, I, R)
        One number for each voxel: the channels ``"expression"`` and ``"intensity"``, or any array
        that fills the reference box. Not a number counts as nothing.
    atlas : Atlas, optional
        Whose outline is drawn, and outside which nothing counts; without it only the box is known.
    axes : sequence of three matplotlib.axes.Axes, optional
        Where to draw the coronal, the sagittal and the horizontal view.
    how : {"max", "mean"}
        The largest value along the way through the brain, or the mean of those above 0.
    vmax : float, optional
        The value of the darkest colour; by default that which one voxel in 200 exceeds.
    structures : optional
        Structures whose outlines are drawn too, by id, acronym or name.
    label : str, optional
        Of the colours; by default what the volume shows.
    width : {"single", "double"} or float
        Of a new figure: one column (85 mm), two (180 mm), or mm.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    AtldldError
        If matplotlib, or for outlines shapely, is not installed.
    InvalidInputError
        If the volume does not have one number for each voxel, or an option makes no sense.

    Examples
    --------
    >>> import atldld
    >>> from atldld import plot
    >>> volume = atldld.open_dataset(69289763).volume(200, channel="expression")
    >>> figure = plot.glass_brain(volume, atldld.open_atlas(100))
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['coronal', 'sagittal', 'horizontal']
    """
    if isinstance(volume, Volume):
        data, side, synthetic = (
            volume.data,
            volume.resolution,
            bool(volume.metadata.get("synthetic")),
        )
        label = label or volume.channel
    else:
        data, synthetic = np.asarray(volume), False
        side = voxel_side(data) if data.ndim == 3 else 0.0
    if data.ndim != 3 or data.dtype.kind not in "fiub":
        raise InvalidInputError(
            f"The volume has shape {data.shape}, but must have one number for each voxel.",
            hint='Build it with channel="expression" or channel="intensity".',
        )
    if how not in ("max", "mean"):
        raise InvalidInputError(f"The projection is {how!r}, but must be 'max' or 'mean'.")
    known = np.nan_to_num(np.asarray(data, dtype=np.float32), nan=0.0)
    if atlas is not None:
        known = np.where(_in_brain(atlas, data.shape, side), known, np.float32(0))
    projections = [_projected(known, 3 - rows - columns, how) for rows, columns, _ in _VIEWS]
    if vmax is None:
        above = np.concatenate([one[one > 0] for one in projections])
        vmax = float(np.percentile(above, 99.5)) if above.size else 1.0
    with styled():
        figure, drawn = canvas_for(axes, 3, width, 0.305, shares=[BOX[c] for _, c, _ in _VIEWS])
        image = None
        for axis, projection, (rows, columns, title) in zip(
            drawn, projections, _VIEWS, strict=True
        ):
            size = [side * data.shape[a] for a in (rows, columns)]
            image = axis.imshow(
                projection if rows < columns else projection.T,
                extent=(0, size[1], size[0], 0),
                cmap=colours_of_values(),
                vmin=0,
                vmax=vmax,
                interpolation="antialiased",
            )
            _draw_view(axis, atlas, rows, columns, title, structures)
        _draw_scale(drawn[-1])
        assert image is not None
        what = "largest" if how == "max" else "mean"
        colour_bar(image, drawn, f"{what} {label or 'value'} along the view")
        note(drawn[0], synthetic or (atlas is not None and atlas.synthetic))
        return settled(figure)


def planes(
    dataset: PlacedDataSet,
    atlas: Atlas | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    width: Width = "double",
) -> Figure:
    """Draw where the sections of a data set lie in the brain, seen from three sides.

    Parameters
    ----------
    dataset : DataSet
        The data set.
    atlas : Atlas, optional
        Whose brain is outlined; without it the box of the reference space is drawn.
    axes : sequence of three matplotlib.axes.Axes, optional
        Where to draw the coronal, the sagittal and the horizontal view.
    width : {"single", "double"} or float
        Of a new figure: one column (85 mm), two (180 mm), or mm.

    Returns
    -------
    matplotlib.figure.Figure
        The sections, coloured by their depth: edge-on from two sides, where each is the line in
        which it cuts the brain as it is seen from there; and some of them face-on.

    Raises
    ------
    AtldldError
        If matplotlib, or for outlines shapely, is not installed.
    InvalidInputError
        If no section of the data set is placed.

    Examples
    --------
    >>> import atldld
    >>> from atldld import plot
    >>> figure = plot.planes(atldld.open_dataset(69289763), atldld.open_atlas(100))
    >>> figure.savefig("planes.svg")
    """
    placed = list(dataset.sections)
    if not placed:
        raise InvalidInputError(f"No section of data set {dataset.id} is placed.")
    depth = dataset.plane.depth_axis
    corners = [np.asarray(one.geometry.corners, dtype=np.float64) for one in placed]
    depths = np.array([corner[:, depth].mean() for corner in corners])
    with styled():
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.collections import LineCollection
        from matplotlib.colors import Normalize

        low, high = float(depths.min()), float(depths.max())
        scale = Normalize(low / 1000, (high if high > low else low + 1) / 1000)
        # viridis without its palest end, which vanishes on white
        colours = colormaps["viridis"].resampled(256)
        shades = colours(0.9 * np.asarray(scale(depths / 1000)))
        figure, drawn = canvas_for(axes, 3, width, 0.305, shares=[BOX[c] for _, c, _ in _VIEWS])
        for axis, (rows, columns, title) in zip(drawn, _VIEWS, strict=True):
            _draw_view(axis, atlas, rows, columns, title, None, faint=True)
            edge_on = depth in (rows, columns)
            # face-on many would hide each other
            some = np.arange(len(placed))
            if not edge_on:
                some = np.unique(np.linspace(0, len(placed) - 1, _FACE_ON).round().astype(int))
            lines = LineCollection(
                [np.vstack((corners[k], corners[k][:1]))[:, [columns, rows]] for k in some],
                colors=shades[some],
                # lines of neighbours stay apart
                linewidths=float(np.clip(45 / len(placed), 0.3, 1.2)) if edge_on else 0.7,
            )
            axis.add_collection(lines)
            if edge_on and atlas is not None:
                lines.set_clip_path(_brain_path(atlas, rows, columns), axis.transData)
        _draw_scale(drawn[-1])
        from matplotlib.colors import ListedColormap

        shown = ListedColormap(colours(np.linspace(0, 0.9, 256)))
        start, end = AXIS_ENDS[depth]
        bar = colour_bar(
            ScalarMappable(scale, shown), drawn, f"{AXES[depth]} (mm), {start} to {end}"
        )
        bar.ax.invert_yaxis()
        note(drawn[0], atlas is not None and atlas.synthetic)
        return settled(figure)


def _in_brain(atlas: Atlas, shape: tuple[int, ...], side: float) -> NDArray[np.bool_]:
    """Return which voxels of a volume have their centre in a structure of the atlas."""
    places = [
        np.minimum(((np.arange(count) + 0.5) * side / atlas.resolution).astype(int), have - 1)
        for count, have in zip(shape, atlas.annotation.shape, strict=True)
    ]
    inside: NDArray[np.bool_] = atlas.annotation[np.ix_(*places)] != 0
    return inside


def _brain_path(atlas: Atlas, rows: int, columns: int) -> Path:
    """Return the brain's outer lines as one path."""
    from matplotlib.path import Path

    return Path.make_compound_path(*[Path(ring) for ring in _silhouette(atlas, rows, columns)])


def _projected(data: NDArray[np.float32], axis: int, how: str) -> NDArray[np.float32]:
    if how == "max":
        largest: NDArray[np.float32] = data.max(axis=axis)
        return largest
    total, count = data.sum(axis=axis), np.count_nonzero(data > 0, axis=axis)
    mean: NDArray[np.float32] = (total / np.maximum(count, 1)).astype(np.float32)
    return mean


def _draw_view(
    axes: Axes,
    atlas: Atlas | None,
    rows: int,
    columns: int,
    title: str,
    structures: str | int | Sequence[str | int] | None,
    *,
    faint: bool = False,
) -> None:
    """Draw the brain seen along an axis into axes of µm, and what its ends are called."""
    from matplotlib.patches import Polygon, Rectangle

    if atlas is None:
        axes.add_patch(
            Rectangle((0, 0), BOX[columns], BOX[rows], facecolor="none", edgecolor=_LINES, lw=0.5)
        )
    else:
        for ring in _silhouette(atlas, rows, columns):
            axes.add_patch(
                Polygon(
                    ring,
                    facecolor="0.94" if faint else "none",
                    edgecolor=_LINES if faint else "0.3",
                    linewidth=0.6,
                    zorder=0.5 if faint else 2,
                )
            )
        for name in _names(structures):
            for ring in _silhouette(atlas, rows, columns, name):
                axes.add_patch(
                    Polygon(ring, facecolor="none", edgecolor=_LINES, linewidth=0.5, zorder=2)
                )
    axes.set(
        xlim=(-150, BOX[columns] + 150),
        ylim=(BOX[rows] + 150, -150),
        xticks=[],
        yticks=[],
        aspect="equal",
    )
    for spine in axes.spines.values():
        spine.set_visible(False)
    # the views are of one scale; their names stand in one row
    axes.set_anchor("N")
    axes.set_title(title)
    for x, end, side in ((0.0, 0, "left"), (1.0, 1, "right")):
        letter = AXIS_ENDS[columns][end][0].upper()
        axes.text(
            x, 0.98, letter, transform=axes.transAxes, ha=side, va="top", fontsize=6, color="0.4"
        )


def _names(structures: str | int | Sequence[str | int] | None) -> list[str | int]:
    if structures is None:
        return []
    return [structures] if isinstance(structures, (str, int)) else list(structures)


def _silhouette(
    atlas: Atlas, rows: int, columns: int, name: str | int | None = None
) -> list[Points]:
    """Return the outer lines of the brain, or of a structure, seen along an axis, in µm."""
    step = max(round(50 / atlas.resolution), 1)
    side = step * atlas.resolution
    labels = atlas.annotation[::step, ::step, ::step]
    if name is None:
        inside = labels != 0
    else:
        inside = np.isin(labels, atlas.graph.descendants(atlas.graph.find(name).id))
    seen = inside.any(axis=3 - rows - columns)
    seen = seen if rows < columns else seen.T
    to_um = Affine(np.array([[side, 0, side / 2], [0, side, side / 2]]), "output pixel", "page")
    drawn = outlines(seen.astype(np.uint8), to_um, atlas.graph, Selection(smallest=30))
    return [polygon[0] for outline in drawn for polygon in outline.polygons]


def _draw_scale(axes: Axes) -> None:
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    length = scale_length(BOX[2])
    axes.add_artist(
        AnchoredSizeBar(
            axes.transData,
            length,
            scale_text(length),
            loc="lower right",
            pad=0.1,
            sep=2,
            frameon=False,
            color="black",
            size_vertical=60,
            label_top=True,
        )
    )
