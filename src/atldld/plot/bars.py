"""The figure of a table of regions: bars, grouped by what the structures lie in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atldld.errors import InvalidInputError, NotFoundError
from atldld.plot.paper import PALETTE, Width, canvas_for, settled, styled
from atldld.support.arguments import check_names, check_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from atldld.regions.table import RegionTable

__all__ = ["regions"]

Row = dict[str, Any]

_ROW_MM = 3.4
_BEST = ("energy", "density", "unionize_energy", "grid_energy", "stained_fraction")


def regions(
    table: RegionTable,
    by: str | None = None,
    *,
    ax: Axes | None = None,
    structures: str | int | Sequence[str | int] | None = None,
    count: int = 20,
    depth: int | None = None,
    group_depth: int = 2,
    sides: bool = False,
    width: Width = "single",
) -> Figure:
    """Draw how much is in each structure as bars, grouped by what the structures lie in.

    Parameters
    ----------
    table : RegionTable
        What `atldld.quantify` returns.
    by : str, optional
        The column; by default the energy of expression, or what there is in its place.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a figure is made, as high as its bars need.
    structures : optional
        Which structures, by id or acronym; by default those with the largest values.
    count : int
        How many, where they are chosen by their values.
    depth : int, optional
        Only structures that lie in so many others; by default those that no other one of the table
        lies in.
    group_depth : int
        The groups are the structures at this depth of the hierarchy; 0 is the root.
    sides : bool
        Two bars for each structure: the left side (pale) and the right one.
    width : {"single", "double"} or float
        Of a new figure: one column (85 mm), two (180 mm), or mm.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    AtldldError
        If matplotlib is not installed.
    InvalidInputError
        If the table has no such column, or nothing in it.
    NotFoundError
        If the table has no such structure.

    Examples
    --------
    >>> import atldld
    >>> from atldld import plot
    >>> ds = atldld.open_dataset(69289763)
    >>> table = ds.quantify(atldld.open_atlas(100), 100, grid=False, unionize=False)
    >>> figure = plot.regions(table, "density", count=10)
    >>> figure.axes[0].get_xlabel().startswith("density")
    True
    """
    if by is None:
        filled = [n for n in _BEST if n in table.columns and np.isfinite(table[n]).any()]
        if not filled:
            raise InvalidInputError(
                "The table has no numbers of expression.", hint="Name a column with `by`."
            )
        by = filled[0]
    if table[by].dtype.kind not in "fiu":
        raise InvalidInputError(f"The column {by!r} does not hold numbers.")
    rows = [row for row in table.rows() if row["kind"] == "structure"]
    every = {row["structure_id"]: row for row in rows}
    values = {(row["structure_id"], row["hemisphere"]): float(row[by]) for row in rows}
    chosen = _chosen(every, values, structures, count, depth)
    groups: dict[int, list[int]] = {}
    for structure in chosen:
        groups.setdefault(_group(every, structure, group_depth), []).append(structure)
    total = {
        group: max(_value(values, member) for member in members)
        for group, members in groups.items()
    }
    order = sorted(groups, key=lambda group: -total[group])
    lines = len(chosen) + 1.25 * len(order)
    with styled():
        from matplotlib.colors import to_rgb

        across = {"single": 85.0, "double": 180.0}.get(width, width)  # type: ignore[arg-type]
        ratio = (lines * _ROW_MM + 12) / float(across) if not isinstance(across, str) else 1.0
        figure, (axes,) = canvas_for(ax, 1, width, ratio)
        at, ticks, names = 0.0, [], []
        for place, group in enumerate(order):
            color = PALETTE[place % len(PALETTE)]
            heading = every[group]["name"] if group in every else "other"
            axes.text(
                0.01,
                at,
                heading[:1].upper() + heading[1:],
                transform=axes.get_yaxis_transform(),
                ha="left",
                va="center",
                fontweight="bold",
                color=_darker(to_rgb(color)),
            )
            at += 1.0
            for structure in sorted(groups[group], key=lambda one: -_value(values, one)):
                if sides:
                    pale = tuple(0.45 * part + 0.55 for part in to_rgb(color))
                    for side, shift, shade in (("left", -0.2, pale), ("right", 0.2, color)):
                        value = values.get((structure, side), np.nan)
                        axes.barh(at + shift, value, 0.38, color=shade)
                else:
                    axes.barh(at, values.get((structure, "both"), np.nan), 0.72, color=color)
                ticks.append(at)
                names.append(every[structure]["acronym"])
                at += 1.0
            at += 0.25
        axes.set_yticks(ticks, names)
        axes.set(ylim=(at - 0.4, -0.7), xlim=(0, None))
        axes.set_xlabel(_axis_label(table, by))
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.locator_params(axis="x", nbins=5)
        if sides:
            from matplotlib.patches import Patch

            axes.legend(
                handles=[Patch(color="0.75", label="left"), Patch(color="0.35", label="right")],
                loc="lower left",
                bbox_to_anchor=(0.0, 0.99),
                ncols=2,
                frameon=False,
                borderpad=0.1,
            )
        if table.metadata.get("synthetic"):
            axes.text(
                1.0,
                1.0,
                "SYNTHETIC (demo brain)",
                transform=axes.transAxes,
                ha="right",
                va="bottom",
                fontsize=5,
                color="0.35",
            )
        return settled(figure)


def _value(values: dict[tuple[int, str], float], structure: int) -> float:
    value = values.get((structure, "both"), np.nan)
    return value if np.isfinite(value) else -np.inf


def _chosen(
    every: dict[int, Row],
    values: dict[tuple[int, str], float],
    structures: str | int | Sequence[str | int] | None,
    count: int,
    depth: int | None,
) -> list[int]:
    if structures is not None:
        by_name = {row["acronym"]: number for number, row in every.items()}
        found = []
        for name in check_names(structures, "structure"):
            number = name if name in every else by_name.get(str(name))
            if number is None:
                raise NotFoundError(f"The table has no row for {name!r}.")
            found.append(int(number))
        return found
    count = check_whole(count, "number of structures", least=1)
    # nothing is no bar
    finite = {number for number in every if np.isfinite(_value(values, number))}
    finite = {number for number in finite if _value(values, number) > 0}
    if depth is None:
        parents = {every[number]["parent_id"] for number in finite}
        fitting = [number for number in finite if number not in parents]
    else:
        depth = check_whole(depth, "depth")
        fitting = [number for number in finite if every[number]["depth"] == depth]
    if not fitting:
        raise InvalidInputError("There is no structure with something to draw.")
    return sorted(fitting, key=lambda number: -_value(values, number))[:count]


def _group(every: dict[int, Row], structure: int, depth: int) -> int:
    """Return the structure at a depth that another one lies in."""
    while structure in every and every[structure]["depth"] > depth:
        structure = every[structure]["parent_id"]
    return structure


def _axis_label(table: RegionTable, by: str) -> str:
    """Return a column's name with its unit, as far as it is said."""
    about = table.about.get(by, "")
    for unit, shown in (("mm2", "mm²"), ("mm3", "mm³")):
        if unit in about and by.endswith(unit):
            return f"{by.removesuffix('_' + unit).replace('_', ' ')} ({shown})"
    name = by.replace("_", " ")
    return f"{name} (0 to 1)" if "0 to 1" in about else name


def _darker(rgb: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return a colour that is read as text on white."""
    red, green, blue = (0.6 * part for part in rgb)
    return red, green, blue
