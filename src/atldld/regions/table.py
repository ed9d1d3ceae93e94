"""Tables with a row for each structure and hemisphere, rolled up the hierarchy.

What is counted has one label: the structure that the annotation names there. A structure's row
holds all that lies in it, so what is counted of each label is added to the structure itself and to
everything that it lies in. Two kinds of rows lie in no structure and are kept all the same: ids
that the structure graph lacks (``"unknown"``), and what lies outside the annotation
(``"outside"``, id 0). The roots, the unknown ids and the outside together are all that was counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from atldld.errors import InvalidInputError, NotFoundError
from atldld.formats.common import ending_of, need
from atldld.formats.tables import Table, data_frame, write_table
from atldld.support.arguments import check_names, check_whole, plain, several
from atldld.support.files import check_targets, sidecar_of
from atldld.support.html import Bar, card, synthetic_note, table

if TYPE_CHECKING:
    import pandas as pd

    from atldld.atlas.structures import StructureGraph

__all__ = [
    "ABOUT_STRUCTURES",
    "HEMISPHERES",
    "Half",
    "RegionTable",
    "Regions",
    "RowKind",
    "check_output",
    "ids_within",
]

Half = Literal["left", "right", "both"]
"""A half of the brain, or the whole."""

RowKind = Literal["structure", "unknown", "outside"]
"""What a row is of; see the module."""

HEMISPHERES: tuple[Half, ...] = get_args(Half)

ABOUT_STRUCTURES = {
    "structure_id": "id of the structure in the atlas's graph; 0 is outside the annotation",
    "acronym": "short name",
    "name": "long name",
    "parent_id": "id of the structure that it lies in; 0 for none",
    "depth": "how many structures it lies in; -1 outside the hierarchy",
    "kind": "structure, unknown (an id that the graph lacks) or outside (the annotation)",
    "hemisphere": "left, right or both",
}
"""The columns that every table begins with, and what they are."""

_ENDINGS = (".csv", ".parquet")


_HEADLINE = (
    "area_mm2",
    "stained_fraction",
    "stained_darkness",
    "voxels_with_data",
    "density",
    "intensity",
    "energy",
    "sections",
    "coverage",
    "unionize_energy",
    "grid_energy",
)


_STRONGEST = ("energy", "stained_fraction", "grid_energy", "density")
_SHOWN = 10  # rows in a notebook


@dataclass(frozen=True, eq=False)
class RegionTable:
    """A row for each structure and hemisphere, in graph order; ``both`` after left and right.

    Of the outside, which has no halves, there is one row only.

    Attributes
    ----------
    columns : dict of str to numpy.ndarray
        All of one length. They begin with `ABOUT_STRUCTURES`; numbers are float64 with NaN where
        there is none, or int64.
    about : dict of str to str
        What each column is, with its unit.
    metadata : dict
        Where it comes from: versions, parameters, citations, whether pixels are synthetic. Plain
        values that JSON can hold.
    """

    columns: dict[str, NDArray[Any]]
    about: dict[str, str]
    metadata: dict[str, Any]

    def __len__(self) -> int:
        return len(self.columns["structure_id"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            return self.columns[name]
        except KeyError:
            raise InvalidInputError(
                f"The table has no column {name!r}; it has {', '.join(self.columns)}."
            ) from None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row as a dictionary of plain values."""
        lists = [column.tolist() for column in self.columns.values()]
        for values in zip(*lists, strict=True):
            yield dict(zip(self.columns, values, strict=True))

    def row(self, structure: int | str, hemisphere: Half = "both") -> dict[str, Any]:
        """Return one row.

        Parameters
        ----------
        structure : int or str
            Id or acronym.
        hemisphere : {"left", "right", "both"}
            Which half.

        Raises
        ------
        NotFoundError
            If the table has no such row.
        """
        structure = plain(structure)
        name = "structure_id" if isinstance(structure, int) else "acronym"
        found = np.flatnonzero(
            (self.columns[name] == structure) & (self.columns["hemisphere"] == hemisphere)
        )
        if not found.size:
            raise NotFoundError(f"The table has no row for {structure!r}, hemisphere {hemisphere}.")
        return {key: column[found[0]].item() for key, column in self.columns.items()}

    def select(
        self,
        ids: int | Iterable[int] | None = None,
        *,
        depth: int | None = None,
        hemispheres: Half | Iterable[Half] | None = None,
        kinds: RowKind | Iterable[RowKind] | None = None,
    ) -> RegionTable:
        """Return the rows that meet all conditions.

        Parameters
        ----------
        ids : int or iterable of int, optional
            Ids of structures.
        depth : int, optional
            Structures that lie in so many others.
        hemispheres : {"left", "right", "both"} or iterable of them, optional
            Which halves.
        kinds : {"structure", "unknown", "outside"} or iterable of them, optional
            Which kinds of rows.

        Raises
        ------
        InvalidInputError
            If there is no such hemisphere.
        """
        chosen = np.ones(len(self), dtype=bool)
        if hemispheres is not None:
            wanted = [str(side) for side in several(hemispheres)]
            unknown = set(wanted) - set(HEMISPHERES)
            if unknown:
                raise InvalidInputError(
                    f"The hemisphere is {min(unknown)!r}, but must be one of "
                    f"{', '.join(HEMISPHERES)}."
                )
            chosen &= np.isin(self.columns["hemisphere"], wanted)
        if ids is not None:
            numbers = [check_whole(number, "id of a structure") for number in several(ids)]
            chosen &= np.isin(self.columns["structure_id"], numbers)
        if depth is not None:
            chosen &= self.columns["depth"] == check_whole(depth, "depth")
        if kinds is not None:
            chosen &= np.isin(self.columns["kind"], several(kinds))
        return RegionTable(
            {name: column[chosen] for name, column in self.columns.items()},
            self.about,
            self.metadata,
        )

    def top(self, by: str, count: int, **least: float) -> RegionTable:
        """Return the rows of structures with the largest values of a column, the largest first.

        Parameters
        ----------
        by : str
            The column.
        count : int
            How many rows at most.
        **least : float
            Columns, and the smallest value of each with which a row is taken.
        """
        chosen = (self["kind"] == "structure") & np.isfinite(self[by])
        for name, value in least.items():
            chosen &= self[name] >= value
        order = np.flatnonzero(chosen)
        order = order[np.argsort(-self[by][order], kind="stable")][:count]
        return RegionTable(
            {name: column[order] for name, column in self.columns.items()},
            self.about,
            self.metadata,
        )

    @property
    def headline(self) -> list[str]:
        """The columns that say most, of those that hold anything: for a table on a screen."""
        return [
            name
            for name in _HEADLINE
            if name in self.columns and np.isfinite(self.columns[name]).any()
        ]

    def to_pandas(self) -> pd.DataFrame:
        """Return a `pandas.DataFrame`; ``.attrs`` holds the metadata. Needs pandas."""
        # thousands of rows share few different texts
        frame = data_frame(self.columns, ("kind", "hemisphere"))
        frame.attrs.update(self.metadata)
        return frame

    def save(self, path: str | Path, *, force: bool = False) -> list[Path]:
        """Write the table, whole or not at all; the name's ending decides the format.

        Parameters
        ----------
        path : str or pathlib.Path
            ``.csv``, with a ``.csv.json`` beside it that holds what the columns are and the
            metadata; or ``.parquet``, which holds them itself, as JSON under the key ``atldld``
            of its schema (needs pyarrow).
        force : bool
            Replace files that are there.

        Returns
        -------
        list of pathlib.Path
            What was written.

        Raises
        ------
        InvalidInputError
            If the name has another ending.
        AtldldError
            If pyarrow is needed and not installed.
        OutputError
            If the file cannot be written, or exists and `force` is false.
        """
        path = Path(path)
        check_output(path, force=force)
        about = {"columns": self.about, **self.metadata}
        return write_table(path, Table(self.columns), force=force, about=about, digits=10)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.columns)

    def _repr_html_(self) -> str:
        both = self.select(hemispheres="both", kinds="structure")
        shown = [name for name in self.headline if name not in ("area_mm2", "voxels_with_data")]
        by = next((name for name in _STRONGEST if name in shown), None)
        names = ([by] if by else []) + [name for name in shown if name != by][:3]
        top = both if by is None else both.top(by, _SHOWN)
        strongest = float(top[by].max()) if by and len(top) else 0.0
        rows = [
            (
                row["acronym"],
                row["name"],
                *(
                    Bar(_digits(row[name]), row[name] / strongest if strongest else 0)
                    if name == by
                    else _digits(row[name])
                    for name in names
                ),
            )
            for row in list(top.rows())[:_SHOWN]
        ]
        columns = {"": "left", "structure": "left"}
        columns |= {name.replace("_", " "): "right" for name in names}
        atlas = self.metadata.get("atlas")
        ids = self.metadata.get("dataset_ids") or [self.metadata.get("dataset_id")]
        return card(
            "Regions" + (f" by {by.replace('_', ' ')}: the strongest" if by else ""),
            {
                "data set": ", ".join(str(one) for one in ids if one is not None) or None,
                "atlas": atlas.get("name") if isinstance(atlas, dict) else None,
                "rows": f"{len(self)}: {len(np.unique(self['structure_id']))} structures, "
                f"{len(np.unique(self['hemisphere']))} of left, right and both",
            },
            body=[table(columns, rows)],
            note=synthetic_note(bool(self.metadata.get("synthetic"))),
            hint=".row('DG')   .select(depth=3)   .to_pandas()   .save('regions.csv')",
        )

    def __repr__(self) -> str:
        count = len(np.unique(self.columns["structure_id"]))
        return f"<RegionTable of {count} structures, {len(self)} rows>"


def _digits(value: float) -> str:
    """Return a number as people read it, with three digits that count."""
    if not np.isfinite(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e6 else f"{value:.2e}"


def check_output(path: str | Path, *, force: bool = False) -> None:
    """Check that a table can be written to a file, before it is made.

    Raises
    ------
    InvalidInputError
        If the name does not have the ending of a table.
    AtldldError
        If pyarrow is needed and not installed.
    OutputError
        If a file cannot be written, or exists and `force` is false.
    """
    path = Path(path)
    if ending_of(path, _ENDINGS, "tables") == ".csv":
        check_targets([path, sidecar_of(path)], force=force)
    else:
        need("pyarrow.parquet", "tables", "Parquet files")
        check_targets([path], force=force)


def ids_within(graph: StructureGraph, names: str | int | Iterable[str | int]) -> list[int]:
    """Return the ids of structures and of all that lies in them.

    Parameters
    ----------
    graph : StructureGraph
        What lies in what.
    names : str, int or iterable of them
        Acronyms, names or ids.

    Raises
    ------
    NotFoundError
        If there is no such structure.
    """
    chosen = check_names(names, "structure")
    return [within for name in chosen for within in graph.descendants(graph.find(name).id)]


class Regions:
    """The rows of a table, and how what is counted of each label adds up to them.

    Parameters
    ----------
    labels : sequence of int
        The different ids of an annotation, in the order in which counts will come. 0 is the
        outside.
    graph : StructureGraph
        What lies in what.

    Attributes
    ----------
    ids : list of int
        The structures of the rows: those of the labels and all that they lie in, in graph order;
        then unknown ids; then 0.
    unknown : list of int
        Ids that the graph lacks.
    """

    def __init__(self, labels: Sequence[int], graph: StructureGraph) -> None:
        self._graph = graph
        labels = [int(label) for label in labels]
        known = {above for label in labels if label in graph for above in graph[label].path}
        self.unknown = sorted({label for label in labels if label and label not in graph})
        self.ids = [structure.id for structure in graph if structure.id in known]
        self.ids += [*self.unknown, 0]
        place = {structure_id: k for k, structure_id in enumerate(self.ids)}
        pairs = [
            (k, place[above])
            for k, label in enumerate(labels)
            for above in (graph[label].path if label in graph else (label,))
        ]
        self._from = np.array([pair[0] for pair in pairs], dtype=np.intp)
        self._to = np.array([pair[1] for pair in pairs], dtype=np.intp)

    def add_up(self, counted: NDArray[Any]) -> NDArray[Any]:
        """Return what is counted of each row's structure and of all that lies in it.

        Parameters
        ----------
        counted : numpy.ndarray, shape (labels, ...)
            Of each label alone; integers stay integers.

        Returns
        -------
        numpy.ndarray, shape (len(ids), ...)
        """
        out = np.zeros((len(self.ids), *counted.shape[1:]), dtype=counted.dtype)
        np.add.at(out, self._to, counted[self._from])
        return out

    def table(
        self,
        values: Mapping[str, NDArray[Any]],
        about: Mapping[str, str],
        metadata: dict[str, Any],
    ) -> RegionTable:
        """Return the table of values.

        Parameters
        ----------
        values : mapping of str to numpy.ndarray, shape (len(ids), 3) or (len(ids), 1)
            Of the left half, the right one and both; or of both alone.
        about : mapping of str to str
            What the values are.
        metadata : dict
            Where they come from.
        """
        halves = next(iter(values.values())).shape[1]
        named = [self._about(structure_id) for structure_id in self.ids]
        columns: dict[str, NDArray[Any]] = {
            name: np.repeat(np.array([row[name] for row in named]), halves)
            for name in ABOUT_STRUCTURES
            if name != "hemisphere"
        }
        columns["hemisphere"] = np.tile(np.array(HEMISPHERES[-halves:]), len(self.ids))
        columns |= {name: np.ascontiguousarray(v).reshape(-1) for name, v in values.items()}
        kept = (columns["kind"] != "outside") | (columns["hemisphere"] == "both")
        columns = {name: column[kept] for name, column in columns.items()}
        return RegionTable(columns, {**ABOUT_STRUCTURES, **about}, metadata)

    def _about(self, structure_id: int) -> dict[str, Any]:
        if structure_id in self._graph:
            known = self._graph[structure_id]
            return {
                "structure_id": known.id,
                "acronym": known.acronym,
                "name": known.name,
                "parent_id": known.parent_id or 0,
                "depth": known.depth,
                "kind": "structure",
            }
        return {
            "structure_id": structure_id,
            "acronym": f"unknown {structure_id}" if structure_id else "outside",
            "name": "an id that the structure graph lacks"
            if structure_id
            else "outside the annotation",
            "parent_id": 0,
            "depth": -1,
            "kind": "unknown" if structure_id else "outside",
        }
