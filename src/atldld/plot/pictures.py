"""Figures of sections: pictures in µm of the reference space, with outlines on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.atlas.drawing import Canvas, label_places, scale_length, scale_text
from atldld.atlas.outlines import Hemisphere, Outline, Selection, section_outlines
from atldld.atlas.sample import section_template
from atldld.errors import InvalidInputError, NotFoundError
from atldld.place.spaces import AXES, AXIS_ENDS, Grid
from atldld.plot.paper import (
    Width,
    canvas_for,
    colour_bar,
    colours_of_values,
    note,
    settled,
    styled,
)
from atldld.support.arguments import check_number, check_whole
from atldld.warp.stain import read_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from atldld.api import DataSet, Section
    from atldld.atlas.model import Atlas

__all__ = ["expression", "section", "sections"]

Picture = Literal["image", "template", "expression", "none"]

_EXPRESSION = "expression (0 none, 1 highest)"
_MARGIN = 250  # µm around what is shown


class _Shown(NamedTuple):
    """What is drawn of a section, in µm of the reference space along columns and rows."""

    section: Section
    grid: Grid
    pixels: NDArray[Any] | None
    values: NDArray[np.float32] | None
    outlines: tuple[Outline, ...]
    box: tuple[float, float, float, float]  # left, right, top, bottom
    dark: bool


def section(
    section: Section,
    atlas: Atlas | None = None,
    *,
    ax: Axes | None = None,
    picture: Picture = "image",
    resolution: float = 10,
    structures: str | int | Sequence[str | int] | None = None,
    depth: int | None = None,
    hemisphere: Hemisphere = "both",
    fill: bool = False,
    labels: bool = True,
    scale_bar: bool = True,
    title: str | None = None,
    width: Width = "single",
) -> Figure:
    """Draw one section with outlines, labels and a scale bar.

    Parameters
    ----------
    section : Section
        The section; it is shown in its own plane, dorsal up (horizontal ones anterior up).
    atlas : Atlas, optional
        Whose structures are outlined; none without it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a figure is made.
    picture : {"image", "template", "expression", "none"}
        The section image, the atlas's template in the same plane, how much expresses by the mask
        (0 to 1), or outlines alone.
    resolution : float
        Side of a pixel, in µm.
    structures, depth, hemisphere : optional
        Which structures are outlined; see `atldld.atlas.Selection`.
    fill : bool
        Fill structures with their colours, so that the picture shines through.
    labels : bool
        Write acronyms into the structures that have room for them.
    scale_bar : bool
        Draw a scale bar.
    title : str, optional
        By default, where the section lies; "" for none.
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
        If the template is wanted of no atlas, or an option makes no sense.
    NotFoundError
        If the section has no expression mask.

    Examples
    --------
    >>> import atldld
    >>> from atldld import plot
    >>> section = atldld.open_dataset(69289763).section(69177654)
    >>> figure = plot.section(section, atldld.open_atlas(100), resolution=50, depth=3)
    >>> figure.savefig("section.pdf")
    """
    selection = Selection(structures, depth, hemisphere)
    shown = _shown(section, atlas, picture, resolution, selection)
    left, right, top, bottom = shown.box
    with styled():
        figure, (axes,) = canvas_for(ax, 1, width, (bottom - top) / (right - left) * 0.98 + 0.06)
        image = _draw(axes, shown, fill=fill, labels=labels, scale_bar=scale_bar, title=title)
        if image is not None:
            colour_bar(image, axes, _EXPRESSION)
        note(axes, atlas is not None and atlas.synthetic)
        return settled(figure)


def sections(
    sections: DataSet | Iterable[Section],
    atlas: Atlas | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    count: int = 5,
    picture: Picture = "image",
    resolution: float = 25,
    structures: str | int | Sequence[str | int] | None = None,
    depth: int | None = None,
    hemisphere: Hemisphere = "both",
    fill: bool = False,
    width: Width = "double",
) -> Figure:
    """Draw sections in a row, all at one scale, each with its place in the brain.

    Parameters
    ----------
    sections : DataSet or iterable of Section
        Of a data set, some at even distances; else these, in their order.
    atlas : Atlas, optional
        Whose structures are outlined; none without it.
    axes : sequence of matplotlib.axes.Axes, optional
        Where to draw, one for each section; by default a figure is made.
    count : int
        How many sections of a data set are shown.
    picture, resolution, structures, depth, hemisphere, fill, width : optional
        As for `section`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    AtldldError
        If matplotlib, or for outlines shapely, is not installed.
    InvalidInputError
        If there is no section, or an option makes no sense.

    Examples
    --------
    >>> import atldld
    >>> from atldld import plot
    >>> ds = atldld.open_dataset(69289763)
    >>> figure = plot.sections(ds, atldld.open_atlas(100), count=3, resolution=100, depth=2)
    >>> len(figure.axes)
    3
    """
    chosen = _chosen(sections, count)
    selection = Selection(structures, depth, hemisphere)
    shown = [_shown(one, atlas, picture, resolution, selection) for one in chosen]
    # one box for all, so that they are at one scale
    left, right, top, bottom = (
        pick(one.box[side] for one in shown) for side, pick in enumerate((min, max, min, max))
    )
    shown = [one._replace(box=(left, right, top, bottom)) for one in shown]
    ratio = (bottom - top) / (right - left) / len(shown)
    with styled():
        figure, drawn = canvas_for(axes, len(shown), width, ratio + 0.035)
        image = None
        for place, (axis, one) in enumerate(zip(drawn, shown, strict=True)):
            last = place == len(shown) - 1
            image = _draw(axis, one, fill=fill, labels=False, scale_bar=last, line=0.25)
        if image is not None:
            colour_bar(image, drawn, "expression")
        note(drawn[0], atlas is not None and atlas.synthetic)
        return settled(figure)


def expression(
    section: Section,
    atlas: Atlas | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    picture: Picture = "image",
    resolution: float = 10,
    structures: str | int | Sequence[str | int] | None = None,
    depth: int | None = None,
    labels: bool = True,
    width: Width = "double",
) -> Figure:
    """Draw the anatomy of a section, and beside it how much expresses.

    Parameters
    ----------
    section : Section
        The section; its data set must have expression masks.
    atlas : Atlas, optional
        Whose structures are outlined on both; none without it.
    axes : sequence of two matplotlib.axes.Axes, optional
        Where to draw; by default a figure is made.
    picture : {"image", "template", "none"}
        What the anatomy is.
    resolution, structures, depth, labels, width : optional
        As for `section`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    AtldldError
        If matplotlib, or for outlines shapely, is not installed.
    NotFoundError
        If the section has no expression mask.

    Examples
    --------
    >>> import atldld
    >>> from atldld import plot
    >>> section = atldld.open_dataset(69289763).section(69177654)
    >>> figure = plot.expression(section, atldld.open_atlas(100), resolution=50, depth=3)
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['section image', 'expression']
    """
    selection = Selection(structures, depth)
    right = _shown(section, atlas, "expression", resolution, selection)
    left = _shown(section, atlas, picture, resolution, selection)._replace(box=right.box)
    start, end, top, bottom = right.box
    names = {"image": "section image", "template": "atlas template", "none": "atlas"}
    with styled():
        figure, (one, other) = canvas_for(
            axes, 2, width, (bottom - top) / (end - start) / 2 * 0.93 + 0.03
        )
        _draw(one, left, labels=labels, title=names.get(picture, picture))
        image = _draw(other, right, labels=False, scale_bar=False, title="expression")
        assert image is not None
        colour_bar(image, other, _EXPRESSION)
        note(one, atlas is not None and atlas.synthetic)
        return settled(figure)


def _chosen(given: DataSet | Iterable[Section], count: int) -> list[Section]:
    """Return the sections that are meant, of a data set some at even distances."""
    count = check_whole(count, "number of sections", least=1)
    if hasattr(given, "sections"):
        every = sorted(given.sections, key=lambda one: _depth(one))
        # not the very first and last, which show little
        places = (np.arange(count) + 0.5) / count * len(every)
        found = [every[place] for place in sorted(set(places.astype(int).tolist()))]
    else:
        found = list(given)
    if not found:
        raise InvalidInputError("There is no section to draw.")
    if len({one.plane for one in found}) > 1:
        raise InvalidInputError("The sections are of several planes; a row has one.")
    return found


def _depth(section: Section) -> float:
    return float(section.geometry.centre[section.plane.depth_axis])


def _shown(
    section: Section,
    atlas: Atlas | None,
    picture: Picture,
    resolution: float,
    selection: Selection,
) -> _Shown:
    resolution = check_number(resolution, "resolution", above=0, unit="µm")
    if picture not in ("image", "template", "expression", "none"):
        raise InvalidInputError(
            f"The picture is {picture!r}, but must be 'image', 'template', 'expression' or 'none'."
        )
    if atlas is None and picture in ("template", "none"):
        raise InvalidInputError(
            f"The picture {picture!r} needs an atlas.", hint="Open one with atldld.open_atlas."
        )
    grid = Grid(section.plane, resolution)
    found: tuple[Outline, ...] = ()
    if atlas is not None:
        found = section_outlines(
            section, atlas, max(resolution, atlas.resolution), selection, frame="reference"
        )
    pixels: NDArray[Any] | None = None
    values: NDArray[np.float32] | None = None
    tissue: NDArray[np.bool_] | None = None
    if picture == "template" and atlas is not None:
        grey = section_template(section, atlas, resolution)
        inside = grey[grey > 0]
        white = float(np.percentile(inside, 99.8)) if inside.size else 1.0
        pixels = np.clip(grey / white, 0, 1).astype(np.float32)
        tissue = grey > 0
    elif picture in ("image", "expression"):
        registered = section.register(resolution, expression=picture == "expression")
        away = np.abs(registered.image.astype(np.float32) - registered.background).max(axis=2)
        small = cv2.blur(away, (5, 5))
        tissue = small > 25
        pixels = registered.image
        if picture == "expression":
            if registered.mask is None:
                raise NotFoundError(
                    f"Section {section.number} (image {section.id}) has no expression mask: "
                    f"{registered.files.mask_problem or 'its data set has none'}.",
                    hint="Draw its image, or take a data set of in-situ hybridisation.",
                )
            values = np.divide(read_mask(registered.mask).intensity, 255, dtype=np.float32)
            pixels = None
    box = _box(found, tissue, grid)
    return _Shown(section, grid, pixels, values, found, box, picture == "template")


def _box(
    outlines: tuple[Outline, ...], tissue: NDArray[np.bool_] | None, grid: Grid
) -> tuple[float, float, float, float]:
    """Return what is shown, in µm: all structures, or else the tissue, with a margin."""
    rows, columns = (count * grid.resolution for count in grid.shape)
    points = [ring for outline in outlines for polygon in outline.polygons for ring in polygon[:1]]
    if points:
        every = np.concatenate(points)
        low, high = every.min(axis=0), every.max(axis=0)
    elif tissue is not None and tissue.any():
        down, across = np.nonzero(tissue)
        low = np.percentile(np.stack((across, down)), 0.2, axis=1) * grid.resolution
        high = np.percentile(np.stack((across, down)), 99.8, axis=1) * grid.resolution
    else:
        low, high = np.zeros(2), np.array([columns, rows])
    low, high = np.maximum(low - _MARGIN, 0), np.minimum(high + _MARGIN, (columns, rows))
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])


def _draw(
    axes: Axes,
    shown: _Shown,
    *,
    fill: bool = False,
    labels: bool = True,
    scale_bar: bool = True,
    title: str | None = None,
    line: float = 0.4,
) -> Any:
    """Draw one section into axes; returns the picture of values, if there is one."""
    left, right, top, bottom = shown.box
    rows, columns = (count * shown.grid.resolution for count in shown.grid.shape)
    extent = (0, columns, rows, 0)
    image = None
    if shown.values is not None:
        image = axes.imshow(
            shown.values,
            cmap=colours_of_values(),
            vmin=0,
            vmax=1,
            extent=extent,
            interpolation="antialiased",
        )
    elif shown.pixels is not None:
        grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1} if shown.dark else {}
        axes.imshow(shown.pixels, extent=extent, interpolation="antialiased", **grey)
    axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[], aspect="equal")
    for spine in axes.spines.values():
        spine.set_visible(False)
    ink, paper = _inks(shown)
    _draw_outlines(axes, shown, fill=fill, ink=ink, paper=paper, width=line)
    if labels:
        _draw_labels(axes, shown, ink, paper)
    # beside the brain a template is black
    ink = "white" if shown.dark else "black"
    axis = shown.grid.depth_axis
    if title is None:
        title = f"{AXES[axis]} = {_depth(shown.section) / 1000:.2f} mm"
    axes.set_title(title)
    for x, end, side in ((0.01, 0, "left"), (0.99, 1, "right")):
        axes.text(
            x,
            0.99,
            AXIS_ENDS[shown.grid.column_axis][end][0].upper(),
            transform=axes.transAxes,
            ha=side,
            va="top",
            fontsize=6,
            color=ink,
            alpha=0.7,
        )
    if scale_bar:
        _draw_scale(axes, right - left, ink)
    return image


def _inks(shown: _Shown) -> tuple[str, str]:
    """Return the colours of lines and of their rims: what stands out from the tissue."""
    dark = ("white", "black")
    if not shown.dark or shown.pixels is None:
        return dark[::-1]
    tissue = shown.pixels[shown.pixels > 0]
    return dark if tissue.size and float(np.median(tissue)) < 0.45 else dark[::-1]


def _draw_outlines(
    axes: Axes, shown: _Shown, *, fill: bool, ink: str, paper: str, width: float
) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    from matplotlib.patheffects import Normal, Stroke

    over = shown.pixels is not None or shown.values is not None
    for outline in shown.outlines:
        rings = [ring for polygon in outline.polygons for ring in polygon]
        codes = [
            code
            for ring in rings
            for code in (Path.MOVETO, *[Path.LINETO] * (len(ring) - 2), Path.CLOSEPOLY)
        ]
        path = Path(np.concatenate(rings), codes)
        color = f"#{outline.color}"
        if fill:
            axes.add_patch(
                PathPatch(path, facecolor=color, edgecolor="none", alpha=0.45 if over else 1.0)
            )
        line = PathPatch(
            path,
            facecolor="none",
            edgecolor=ink,
            linewidth=width,
            joinstyle="round",
            gid=f"{outline.acronym}-{outline.hemisphere}",
        )
        if over and not fill:
            line.set_path_effects(
                [Stroke(linewidth=2.75 * width, foreground=paper, alpha=0.5), Normal()]
            )
        axes.add_patch(line)


def _draw_labels(axes: Axes, shown: _Shown, ink: str, paper: str) -> None:
    from matplotlib.font_manager import FontProperties
    from matplotlib.patheffects import withStroke
    from matplotlib.textpath import TextPath

    left, right, top, bottom = shown.box
    points = 5.5
    # µm for a point of text: the axes show their box as large as they can
    figure = axes.figure
    place = axes.get_position()
    wide, high = (size * 72 / figure.dpi for size in figure.bbox.size)
    um = max((right - left) / (place.width * wide), (bottom - top) / (place.height * high))
    if len(figure.axes) == 1:
        # the layout, which is made later, gives them all of the figure
        um = max((right - left) / wide, (bottom - top) / high)
    font = FontProperties()

    def size_of(text: str) -> tuple[float, float]:
        extent = TextPath((0, 0), text, size=points, prop=font).get_extents()
        return (extent.width + 1) * um / 25, (points + 0.5) * um / 25

    canvas = Canvas("reference", 25.0)
    size = round(bottom / 25), round(right / 25)
    for text, (x, y) in label_places(shown.outlines, canvas, size, size_of):
        axes.text(
            (x + 0.5) * 25,
            (y + 0.5) * 25,
            text,
            ha="center",
            va="center",
            fontsize=points,
            color=ink,
            path_effects=[withStroke(linewidth=1.4, foreground=paper, alpha=0.8)],
        )


def _draw_scale(axes: Axes, width: float, ink: str) -> None:
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    length = scale_length(width)
    axes.add_artist(
        AnchoredSizeBar(
            axes.transData,
            length,
            scale_text(length),
            loc="lower right",
            pad=0.1,
            sep=2,
            frameon=False,
            color=ink,
            size_vertical=width / 250,
            label_top=True,
        )
    )
