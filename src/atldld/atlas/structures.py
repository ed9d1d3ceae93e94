"""The structure ontology: ids, acronyms, colours, and what is part of what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.documents import DocumentError, parse_json
from atldld.errors import InvalidInputError, NotFoundError

__all__ = ["Structure", "StructureGraph"]


@dataclass(frozen=True, slots=True)
class Structure:
    """One node of a structure graph.

    Attributes
    ----------
    id : int
        What voxels of an annotation hold.
    acronym, name : str
        Short and long name.
    color : str
        Six hexadecimal digits of its RGB colour, without ``#``, exactly as the service gives them.
    parent_id : int or None
        `None` for a root.
    path : tuple of int
        Ids from the root to this structure, both included.
    graph_order : int
        Its place in the order of the ontology.
    depth : int
        How many structures it lies in: 0 for a root.
    st_level : int or None
        The service's own level, which counts differently; `None` where it is not known.
    """

    id: int
    acronym: str
    name: str
    color: str
    parent_id: int | None
    path: tuple[int, ...]
    graph_order: int
    depth: int
    st_level: int | None = None

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour, 0 to 255 each; white where the service's is no colour."""
        try:
            red, green, blue = bytes.fromhex(self.color)
        except ValueError:
            return 255, 255, 255
        return red, green, blue


@dataclass(frozen=True, eq=False)
class StructureGraph:
    """All structures of an ontology, in graph order.

    Parameters
    ----------
    structures : tuple of Structure
        Sorted by ``graph_order``.
    synthetic : bool
        Whether it is the demo brain's.

    Examples
    --------
    >>> graph = StructureGraph.from_file("structure_graph_1.json")  # doctest: +SKIP
    >>> graph.find("DG-sg").id  # doctest: +SKIP
    632
    """

    structures: tuple[Structure, ...]
    synthetic: bool = False
    _by_id: dict[int, Structure] = field(init=False, repr=False)
    _children: dict[int, tuple[int, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_id = {one.id: one for one in self.structures}
        children: dict[int, list[int]] = {}
        for one in self.structures:
            if one.parent_id is not None:
                children.setdefault(one.parent_id, []).append(one.id)
        object.__setattr__(self, "_by_id", by_id)
        object.__setattr__(self, "_children", {k: tuple(v) for k, v in children.items()})

    @classmethod
    def from_answer(cls, document: object) -> StructureGraph:
        """Return the graph that an answer of the service holds.

        Parameters
        ----------
        document : dict or list
            An answer of ``structure_graph_download`` (the envelope with a nested tree), one of a
            query for the model Structure, or what stands in their ``msg``.

        Raises
        ------
        InvalidInputError
            It is none, or a structure is named twice, lacks its id, or is its own ancestor.
        """
        listed = document.get("msg", [document]) if isinstance(document, Mapping) else document
        if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
            raise InvalidInputError("This is no structure graph: it holds no list of structures.")
        records: dict[int, tuple[Mapping[str, Any], int | None]] = {}
        _gather(listed, None, records)
        synthetic = any(bool(record.get("synthetic")) for record, _ in records.values())
        paths = _paths({one: parent for one, (_, parent) in records.items()})
        structures = [
            Structure(
                id=one,
                acronym=str(record.get("acronym") or one),
                name=str(record.get("name") or record.get("safe_name") or one),
                color=str(record.get("color_hex_triplet") or "FFFFFF"),
                parent_id=parent,
                path=paths[one],
                graph_order=_whole(record.get("graph_order"), place) or 0,
                depth=len(paths[one]) - 1,
                st_level=_whole(record.get("st_level"), None),
            )
            for place, (one, (record, parent)) in enumerate(records.items())
        ]
        return cls(tuple(sorted(structures, key=lambda one: one.graph_order)), synthetic)

    @classmethod
    def from_file(cls, path: str | Path) -> StructureGraph:
        """Return the graph in a JSON file; see `from_answer`.

        Raises
        ------
        InvalidInputError
            The file cannot be read, or holds no structure graph.
        """
        try:
            document = parse_json(Path(path).read_bytes())
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}.") from None
        except DocumentError as error:
            raise InvalidInputError(f"{path} {error}, so it is no structure graph.") from None
        try:
            return cls.from_answer(document)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path} cannot be used. {error.message}") from None

    def __iter__(self) -> Iterator[Structure]:
        return iter(self.structures)

    def __len__(self) -> int:
        return len(self.structures)

    def __contains__(self, structure_id: object) -> bool:
        return structure_id in self._by_id

    def __getitem__(self, structure_id: int) -> Structure:
        try:
            return self._by_id[int(structure_id)]
        except KeyError:
            raise NotFoundError(
                f"The structure graph has no structure {structure_id}.",
                hint="Names and acronyms are looked up with `find`.",
            ) from None

    def find(self, what: str | int) -> Structure:
        """Return the structure that an id, an acronym or a name stands for.

        Parameters
        ----------
        what : str or int
            An id; an acronym, or a name. Capitals count only where structures differ in nothing
            else.

        Raises
        ------
        NotFoundError
            There is none; the hint names some that look alike.
        InvalidInputError
            Several structures have that acronym or name.
        """
        text = str(what).strip()
        if text.isdecimal() and int(text) in self._by_id:
            return self._by_id[int(text)]
        for key in (_acronym, _name):
            same = [one for one in self if key(one) == text]
            same = same or [one for one in self if key(one).casefold() == text.casefold()]
            if len(same) > 1:
                raise InvalidInputError(
                    f"{text!r} stands for several structures: "
                    + ", ".join(f"{one.id} ({one.acronym}, {one.name})" for one in same)
                    + ".",
                    hint="Name the id.",
                )
            if same:
                return same[0]
        raise NotFoundError(f"There is no structure {text!r}.", hint=self._suggest(text))

    def _suggest(self, text: str) -> str:
        from difflib import get_close_matches

        spellings = {key(one).casefold(): one for one in self for key in (_name, _acronym)}
        close = get_close_matches(text.casefold(), spellings, n=4, cutoff=0.6)
        close += [name for name in spellings if len(text) > 3 and text.casefold() in name]
        found = list(dict.fromkeys(spellings[name] for name in close))[:4]
        if not found:
            return "Name an id, an acronym such as DG, or a whole name."
        return f"Did you mean {', '.join(f'{one.acronym} ({one.name})' for one in found)}?"

    def children(self, structure_id: int) -> tuple[int, ...]:
        """Return the ids of the structures right below one, in graph order."""
        return self._children.get(self[structure_id].id, ())

    def descendants(self, structure_id: int) -> tuple[int, ...]:
        """Return the ids of a structure and all within it, parents before children."""
        found = [self[structure_id].id]
        for one in found:  # grows while it is read
            found += self._children.get(one, ())
        return tuple(found)

    def ancestors(self, structure_id: int) -> tuple[int, ...]:
        """Return the ids of all structures that one lies in, the root first; not its own."""
        return self[structure_id].path[:-1]

    @property
    def leaves(self) -> tuple[int, ...]:
        """Ids of the structures without children, in graph order."""
        return tuple(one.id for one in self if one.id not in self._children)

    @property
    def roots(self) -> tuple[int, ...]:
        """Ids of the structures without a parent, in graph order."""
        return tuple(one.id for one in self if one.parent_id is None)

    def unknown(self, ids: ArrayLike) -> tuple[int, ...]:
        """Return which ids of an array the graph lacks, sorted; 0 is no structure."""
        return tuple(int(one) for one in np.unique(ids) if one and int(one) not in self._by_id)

    def roll_up(
        self, ids: ArrayLike, *, depth: int | None = None, to: Iterable[int] | None = None
    ) -> NDArray[Any]:
        """Replace each id by that of a structure it lies in.

        Parameters
        ----------
        ids : array-like of integers
            Ids, such as those of a plane of the annotation.
        depth : int, optional
            Ancestors at this depth; structures that are not that deep stay themselves.
        to : iterable of int, optional
            The nearest of these that is the structure itself or an ancestor; structures that lie
            in none of them become 0.

        Returns
        -------
        numpy.ndarray
            Of the same shape and type. 0 stays 0, and ids that the graph lacks stay themselves.

        Raises
        ------
        InvalidInputError
            Neither or both are given, or the depth is negative.
        NotFoundError
            A structure of ``to`` is not in the graph.
        """
        if (depth is None) == (to is None):
            raise InvalidInputError("Give either a depth or the structures to roll up to.")
        if depth is not None and depth < 0:
            raise InvalidInputError(f"The depth is {depth}, but must be 0 (the root) or more.")
        chosen = None if to is None else {self[one].id for one in to}
        array = np.asarray(ids)
        present, inverse = np.unique(array, return_inverse=True)
        table = np.array([self._ancestor(int(one), depth, chosen) for one in present], array.dtype)
        return table[inverse].reshape(array.shape)

    def _ancestor(self, one: int, depth: int | None, chosen: set[int] | None) -> int:
        known = self._by_id.get(one)
        if known is None:
            return one
        if chosen is None:
            return known.path[min(depth or 0, known.depth)]
        return next((above for above in reversed(known.path) if above in chosen), 0)


def _acronym(one: Structure) -> str:
    return one.acronym


def _name(one: Structure) -> str:
    return one.name


def _whole(value: object, otherwise: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _gather(
    listed: Sequence[object],
    parent: int | None,
    into: dict[int, tuple[Mapping[str, Any], int | None]],
) -> None:
    """Collect records with their parents, parents before children, from trees or a flat list."""
    # a list to work off, not recursion: an answer may be nested as deep as it likes
    waiting = [(record, parent) for record in reversed(listed)]
    while waiting:
        record, above = waiting.pop()
        one = record.get("id") if isinstance(record, Mapping) else None
        if not isinstance(record, Mapping) or not isinstance(one, int) or one < 1:
            raise InvalidInputError(
                f"This is no structure graph: a structure has the id {one!r}, but must have a "
                "positive whole number."
            )
        if one in into:
            raise InvalidInputError(f"The structure graph names structure {one} twice.")
        stated = record.get("parent_structure_id")
        into[one] = record, above if above is not None else _whole(stated, None)
        children = record.get("children") or []
        if not isinstance(children, list):
            raise InvalidInputError(
                f"This is no structure graph: the children of structure {one} are no list."
            )
        waiting += [(child, one) for child in reversed(children)]


def _paths(parents: Mapping[int, int | None]) -> dict[int, tuple[int, ...]]:
    """Return the way from the root to each structure; parents that are not listed do not count."""
    paths: dict[int, tuple[int, ...]] = {}
    for one in parents:
        way = [one]
        while (above := parents[way[-1]]) is not None and above in parents:
            if above in paths:
                break
            if above in way:
                raise InvalidInputError(f"In the structure graph, {above} is its own ancestor.")
            way.append(above)
        known = paths.get(parents[way[-1]] or 0, ())
        for step in reversed(way):
            known = (*known, step)
            paths[step] = known
    return paths
