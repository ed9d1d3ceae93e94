"""The structure ontology: ids, acronyms, colours, and what is part of what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.atlas.lists import parse_list, read_entries, whole_number
from atldld.errors import InvalidInputError, NotFoundError
from atldld.support.arguments import check_names, check_whole, plain
from atldld.support.files import check_file

__all__ = ["Structure", "StructureGraph"]

_LARGEST_FILE = 64 << 20  # bytes; the service's has less than one MB


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


@dataclass(frozen=True, eq=False, repr=False)
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
    >>> import atldld
    >>> graph = atldld.open_atlas(100).graph
    >>> graph.find("hippocampal formation").acronym
    'HPF'
    """

    structures: tuple[Structure, ...]
    synthetic: bool = False
    _by_id: dict[int, Structure] = field(init=False, repr=False)
    _children: dict[int, tuple[int, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_id = {structure.id: structure for structure in self.structures}
        children: dict[int, list[int]] = {}
        for structure in self.structures:
            if structure.parent_id is not None:
                children.setdefault(structure.parent_id, []).append(structure.id)
        object.__setattr__(self, "_by_id", by_id)
        object.__setattr__(self, "_children", {k: tuple(v) for k, v in children.items()})

    @classmethod
    def from_answer(cls, document: object) -> StructureGraph:
        """Return the graph in an answer of the service.

        Parameters
        ----------
        document : dict or list
            An answer of ``structure_graph_download`` (the envelope with a nested tree), one of a
            query for the model Structure, what stands in their ``msg``, or the flat list of
            AllenSDK or BrainGlobe. What lies in what may be said by ``children``,
            ``parent_structure_id`` or ``structure_id_path``; colours by ``color_hex_triplet`` or
            ``rgb_triplet``.

        Raises
        ------
        InvalidInputError
            If the answer is not a structure graph; if a structure is named twice, lacks its id, is
            its own ancestor, or lies in one that a graph with a root lacks; or if a value cannot be
            read.
        """
        entries = read_entries(document)
        paths = _paths({entry.id: entry.parent for entry in entries})
        structures = [
            Structure(
                id=entry.id,
                acronym=entry.acronym,
                name=entry.name,
                color=entry.color,
                parent_id=entry.parent,
                path=paths[entry.id],
                graph_order=place if entry.graph_order is None else entry.graph_order,
                depth=len(paths[entry.id]) - 1,
                st_level=entry.st_level,
            )
            for place, entry in enumerate(entries)
        ]
        synthetic = any(entry.synthetic for entry in entries)
        return cls(
            tuple(sorted(structures, key=lambda structure: structure.graph_order)), synthetic
        )

    @classmethod
    def from_file(cls, path: str | Path) -> StructureGraph:
        """Return the graph in a JSON or CSV file; see `from_answer`.

        Raises
        ------
        InvalidInputError
            If the file cannot be read, or does not hold a structure graph.
        """
        path = Path(path)
        check_file(path, largest=_LARGEST_FILE)
        try:
            document = parse_list(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidInputError(f"{path} is no structure graph: {error}.") from None
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
        given = plain(structure_id)
        digits = isinstance(given, str) and given.strip().isdecimal()
        if digits or (isinstance(given, float) and given.is_integer()):
            given = int(given)
        if isinstance(given, int) and not isinstance(given, bool) and given in self._by_id:
            return self._by_id[given]
        raise NotFoundError(
            f"The structure graph has no structure {structure_id!r}.",
            hint="Names and acronyms are looked up with `find`.",
        )

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
            If there is no such structure; the hint names some that look alike.
        InvalidInputError
            If several structures have that acronym or name.
        """
        (given,) = check_names([what], "structure")
        text = str(given).strip()
        number = whole_number(given)
        if number in self._by_id:
            return self._by_id[number]
        for key in (_acronym, _name):
            same = [structure for structure in self if key(structure) == text]
            same = same or [
                structure for structure in self if key(structure).casefold() == text.casefold()
            ]
            if len(same) > 1:
                raise InvalidInputError(
                    f"{text!r} stands for several structures: "
                    + ", ".join(
                        f"{structure.id} ({structure.acronym}, {structure.name})"
                        for structure in same
                    )
                    + ".",
                    hint="Name the id.",
                )
            if same:
                return same[0]
        raise NotFoundError(f"There is no structure {text!r}.", hint=self._suggest(text))

    def _ipython_key_completions_(self) -> list[int]:
        return [structure.id for structure in self]

    def __repr__(self) -> str:
        made_up = ", SYNTHETIC" if self.synthetic else ""
        return f"<StructureGraph of {len(self)} structures{made_up}>"

    def _suggest(self, text: str) -> str:
        from difflib import get_close_matches

        spellings = {
            key(structure).casefold(): structure for structure in self for key in (_name, _acronym)
        }
        close = get_close_matches(text.casefold(), spellings, n=4, cutoff=0.6)
        close += [name for name in spellings if len(text) > 3 and text.casefold() in name]
        found = list(dict.fromkeys(spellings[name] for name in close))[:4]
        if not found:
            return "Name an id, an acronym such as DG, or a whole name."
        named = ", ".join(f"{structure.acronym} ({structure.name})" for structure in found)
        return f"Did you mean {named}?"

    def children(self, structure_id: int) -> tuple[int, ...]:
        """Return the ids of the structures right below one, in graph order."""
        return self._children.get(self[structure_id].id, ())

    def descendants(self, structure_id: int) -> tuple[int, ...]:
        """Return the ids of a structure and all within it, parents before children."""
        found = [self[structure_id].id]
        for below in found:  # grows while it is read
            found += self._children.get(below, ())
        return tuple(found)

    def ancestors(self, structure_id: int) -> tuple[int, ...]:
        """Return the ids of all structures that one lies in, the root first; not its own."""
        return self[structure_id].path[:-1]

    def lineage(self, what: str | int) -> tuple[Structure, ...]:
        """Return a structure and all that it lies in, from the root down.

        Parameters
        ----------
        what : str or int
            An id, an acronym or a name; see `find`.

        Examples
        --------
        >>> import atldld
        >>> graph = atldld.open_atlas(100).graph
        >>> [structure.acronym for structure in graph.lineage("DG")]
        ['root', 'grey', 'HPF', 'DG']
        """
        return tuple(self._by_id[one] for one in self.find(what).path)

    @property
    def leaves(self) -> tuple[int, ...]:
        """Ids of the structures without children, in graph order."""
        return tuple(structure.id for structure in self if structure.id not in self._children)

    @property
    def roots(self) -> tuple[int, ...]:
        """Ids of the structures without a parent, in graph order."""
        return tuple(structure.id for structure in self if structure.parent_id is None)

    def unknown(self, ids: ArrayLike) -> tuple[int, ...]:
        """Return which ids of an array the graph lacks, sorted; 0 is no structure.

        Parameters
        ----------
        ids : array-like of integers, any shape
            Ids, such as those of an annotation.
        """
        array = np.asarray(ids)
        _check_whole(array)
        present = np.unique(array).tolist()
        return tuple(number for number in present if number and number not in self._by_id)

    def roll_up(
        self,
        ids: ArrayLike,
        *,
        depth: int | None = None,
        to: str | int | Iterable[str | int] | None = None,
    ) -> NDArray[Any]:
        """Replace each id by that of a structure it lies in.

        Parameters
        ----------
        ids : array-like of integers, any shape
            Ids, such as those of a plane of the annotation.
        depth : int, optional
            Ancestors at this depth; structures that are not that deep stay themselves.
        to : str, int or iterable of them, optional
            Ids, acronyms or names. The nearest of these that is the structure itself or an
            ancestor; structures that lie in none of them become 0.

        Returns
        -------
        numpy.ndarray
            Of the same shape, and of the same type if that holds all ids, else int64. 0 stays 0,
            and ids that the graph lacks stay themselves.

        Raises
        ------
        InvalidInputError
            If neither or both are given, the depth is negative, or the ids are not whole numbers.
        NotFoundError
            If a structure of ``to`` is not in the graph.
        """
        if (depth is None) == (to is None):
            raise InvalidInputError("Give either a depth or the structures to roll up to.")
        if depth is not None:
            depth = check_whole(depth, "depth, from the root on,")
        chosen = None
        if to is not None:
            chosen = {self.find(name).id for name in check_names(to, "structure")}
        array = np.asarray(ids)
        _check_whole(array)
        present, inverse = np.unique(array, return_inverse=True)
        found = [self._ancestor(int(number), depth, chosen) for number in present]
        # ancestors may have larger ids than what lies in them
        dtype = array.dtype if array.size else np.dtype(np.int64)
        limits = np.iinfo(dtype)
        if found and not limits.min <= min(found) <= max(found) <= limits.max:
            dtype = np.dtype(np.int64)
        return np.array(found, dtype)[inverse].reshape(array.shape)

    def _ancestor(self, structure_id: int, depth: int | None, chosen: set[int] | None) -> int:
        known = self._by_id.get(structure_id)
        if known is None:
            return structure_id
        if chosen is None:
            return known.path[min(depth or 0, known.depth)]
        return next((above for above in reversed(known.path) if above in chosen), 0)


def _check_whole(array: NDArray[Any]) -> None:
    # an empty list makes an array of floats
    if array.size and array.dtype.kind not in "iu":
        raise InvalidInputError(
            f"These ids are {array.dtype} values, but ids of structures are whole numbers."
        )


def _acronym(structure: Structure) -> str:
    return structure.acronym


def _name(structure: Structure) -> str:
    return structure.name


def _paths(parents: Mapping[int, int | None]) -> dict[int, tuple[int, ...]]:
    """Return the way from the root to each structure; parents that are not listed do not count."""
    paths: dict[int, tuple[int, ...]] = {}
    for structure_id in parents:
        way = [structure_id]
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
