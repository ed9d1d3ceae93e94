"""What figures for papers have in common: sizes, fonts, colours, and how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from atldld.errors import InvalidInputError
from atldld.formats.common import ending_of, need
from atldld.support.arguments import check_number
from atldld.support.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = [
    "PALETTE",
    "STYLE",
    "Width",
    "canvas_for",
    "colour_bar",
    "colours_of_values",
    "note",
    "save",
    "settled",
    "styled",
]

Width = Literal["single", "double"] | float

_WIDTHS = {"single": 85.0, "double": 180.0}  # mm
_MM = 1 / 25.4
_DPI = 300

PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#595959",
)
"""Colours for groups (Okabe and Ito 2008), which people who are colour-blind tell apart."""

STYLE: dict[str, Any] = {
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "atldld",
    "font.family": "sans-serif",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "axes.titlepad": 3,
    "axes.unicode_minus": True,
}
"""Settings of matplotlib for figures that are made here; ``rcParams.update(STYLE)`` takes them."""


@cache
def colours_of_values() -> Colormap:
    """Return the colours of expression: white for nothing, then magma, darker for more.

    Its lightness falls evenly, so it reads the same to people who are colour-blind, and in grey.
    """
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    above = colormaps["magma_r"](np.linspace(0.06, 1, 255))
    return LinearSegmentedColormap.from_list("atldld", np.vstack(([1.0, 1.0, 1.0, 1.0], above)))


_FONTS = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")


@cache
def _fonts() -> list[str]:
    """Return the fonts that are installed: matplotlib warns about each that is not."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return [name for name in _FONTS if name in installed] or ["DejaVu Sans"]


@contextmanager
def styled() -> Iterator[None]:
    """Use the settings of figures for papers."""
    matplotlib = need("matplotlib", "plot", "Figures")
    with matplotlib.rc_context({**STYLE, "font.sans-serif": _fonts()}):
        yield


@cache
def _figure_type() -> type[Figure]:
    from matplotlib.figure import Figure

    class PaperFigure(Figure):
        """A figure that is written as journals want it, and shows itself in notebooks."""

        def savefig(self, fname: Any, **options: Any) -> None:
            """Write the figure; fonts are embedded as TrueType, text of SVG stays text."""
            options.setdefault("dpi", _DPI)
            with styled():
                super().savefig(fname, **options)

        def _repr_png_(self) -> bytes:
            drawn = BytesIO()
            self.savefig(drawn, format="png", dpi=200)
            return drawn.getvalue()

    return PaperFigure


def canvas_for(
    axes: Axes | Sequence[Axes] | None,
    count: int,
    width: Width,
    ratio: float,
    *,
    shares: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Return axes to draw into, those given or new ones side by side, and their figure.

    Parameters
    ----------
    axes : matplotlib.axes.Axes, sequence of them, or None
        What the user gave.
    count : int
        How many are needed.
    width : {"single", "double"} or float
        Of a new figure: a journal's column, or mm.
    ratio : float
        Height of a new figure, in widths.
    shares : sequence of float, optional
        How wide new axes are beside each other.

    Raises
    ------
    AtldldError
        If matplotlib is not installed.
    InvalidInputError
        If the width makes no sense, or there are too few axes.
    """
    need("matplotlib.figure", "plot", "Figures")
    if axes is not None:
        import numpy as np

        given: list[Axes] = np.atleast_1d(np.asarray(axes, dtype=object)).ravel().tolist()
        if len(given) != count or not all(hasattr(one, "get_figure") for one in given):
            raise InvalidInputError(
                f"This figure draws into {count} axes, but got {len(given)}.",
                hint="Make them with matplotlib.pyplot.subplots, or leave them out.",
            )
        figure = given[0].get_figure()
        assert figure is not None
        return figure, given  # type: ignore[return-value]
    if isinstance(width, str):
        if width not in _WIDTHS:
            raise InvalidInputError(
                f"The width is {width!r}, but must be 'single', 'double' or a number of mm."
            )
        across = _WIDTHS[width]
    else:
        across = check_number(width, "width", above=0, unit="mm")
    made = _figure_type()(figsize=(across * _MM, across * ratio * _MM), layout="constrained")
    made.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    grid = made.add_gridspec(1, count, width_ratios=shares)
    return made, [made.add_subplot(grid[0, place]) for place in range(count)]


def colour_bar(image: Any, axes: Axes | Sequence[Axes], label: str) -> Colorbar:
    """Draw the scale of a picture's colours beside its axes, and return it.

    Parameters
    ----------
    image : matplotlib.cm.ScalarMappable
        What has the colours.
    axes : Axes or sequence of Axes
        Which make room for it.
    label : str
        What the numbers are.
    """
    from matplotlib.ticker import MaxNLocator

    figure = (axes[0] if isinstance(axes, Sequence) else axes).get_figure()
    assert figure is not None
    # Without numbers of its own it would choose them by the settings when the file is written.
    bar = figure.colorbar(
        image, ax=axes, shrink=0.7, aspect=18, pad=0.01, panchor=False, ticks=MaxNLocator(5)
    )
    bar.set_label(label)
    bar.outline.set_linewidth(0.4)
    return bar


def settled(figure: Figure) -> Figure:
    """Return a figure that was made here with its layout made, and kept as it is.

    Laid out again each time it is written, it would move by less than anyone sees, but no file
    would be like the one before.
    """
    engine = figure.get_layout_engine()
    if isinstance(figure, _figure_type()) and engine is not None:
        # scales of colours are as high as pictures are, which the first layout decides
        for _ in range(3):
            figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def note(axes: Axes, synthetic: bool) -> None:
    """Say on a figure that it shows the made-up brain of the demo, if it does."""
    if synthetic:
        axes.text(
            0.0,
            -0.01,
            "SYNTHETIC (demo brain)",
            transform=axes.transAxes,
            ha="left",
            va="top",
            fontsize=5,
            color="0.35",
        )


def save(figure: Figure, path: str | Path, *, dpi: float = _DPI, force: bool = False) -> Path:
    """Write a figure as PDF, SVG, EPS, PNG or TIFF, whole or not at all.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Also one that was not made here.
    path : str or pathlib.Path
        The file; its ending says the format.
    dpi : float
        Of pixels; pictures within vectors have as many.
    force : bool
        Replace a file that is there.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InvalidInputError
        If the ending is not one of these.
    OutputError
        If the file cannot be written, or exists and `force` is false.

    Examples
    --------
    >>> import atldld
    >>> from atldld import plot
    >>> figure = plot.planes(atldld.open_dataset(69289763))
    >>> plot.save(figure, "planes.pdf").name
    'planes.pdf'
    """
    path = Path(path)
    ending = ending_of(path, (".pdf", ".svg", ".eps", ".png", ".tif", ".tiff"), "figures")
    kind = ending.lstrip(".")
    # the same figure gives the same file
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    options: dict[str, Any] = {} if metadata is None else {"metadata": metadata}
    with whole_file(path, force=force) as temporary, styled():
        figure.savefig(temporary, format=kind, dpi=dpi, **options)
    return path
