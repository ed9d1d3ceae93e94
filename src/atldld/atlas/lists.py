"""Lists of structures as they are about: trees and flat lists, JSON and CSV.

The Allen service sends a tree, or rows with ``parent_structure_id``; AllenSDK and BrainGlobe keep
flat lists with ``structure_id_path`` and ``rgb_triplet``; tables that went through a spreadsheet or
pandas have numbers with ``.0`` and colours without their leading zeros. All are read alike. What
contradicts itself is refused: a structure in the wrong place makes wrong sums.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from atldld.errors import InvalidInputError

__all__ = ["Entry", "parse_list", "read_entries", "whole_number"]

_WRAPPERS = ("msg", "data", "structures")
_LONGEST = 2**63
_NOTHING = {"", "nan", "none", "null", "<na>"}

# What a field is called, in small letters and nothing else; the first that is there counts.
_ID = ("id", "identifier", "structureid")
_PARENT = ("parentstructureid", "parentidentifier", "parentid", "parent")
_PATH = ("structureidpath", "rootidentifierpath")
_ACRONYM = ("acronym", "abbreviation")
_NAME = ("name", "safename")
_COLOR = ("colorhextriplet", "rgbtriplet", "color")


@dataclass(frozen=True, slots=True)
class Entry:
    """One structure of a list.

    Attributes
    ----------
    id : int
        Of the structure.
    parent : int or None
        That of the structure that it lies in, which is in the list too.
    acronym, name : str
        Its id where the list has none.
    color : str
        Six hexadecimal digits; white where the list has none.
    graph_order, st_level : int or None
        As the list says.
    synthetic : bool
        Whether it says that it is made up.
    """

    id: int
    parent: int | None
    acronym: str
    name: str
    color: str
    graph_order: int | None
    st_level: int | None
    synthetic: bool


def parse_list(content: bytes) -> object:
    """Parse a JSON or CSV file of structures.

    Raises
    ------
    ValueError
        If the content is neither JSON nor CSV.
    """
    text = content.decode(json.detect_encoding(content))
    if text.lstrip().startswith(("{", "[")):
        return json.loads(text)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    if delimiter not in header:
        raise ValueError("it is neither JSON nor a CSV table")
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(str(error)) from None
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise ValueError(f"its row {number} has more fields than the first one")
    return rows


def read_entries(document: object) -> list[Entry]:
    """Return the structures of a list.

    Parameters
    ----------
    document : dict or list
        A tree (``children``) or a flat list, bare or below ``msg``, ``data`` or ``structures``.

    Returns
    -------
    list of Entry
        In the order of the document; those of a tree before their children.

    Raises
    ------
    InvalidInputError
        If the content is not a list of structures; if a structure is named twice, lacks its id, has
        a value that cannot be read, or lies in itself; or if the list has a root, and a structure
        lies in one that the list lacks.
    """
    records: dict[int, Mapping[str, Any]] = {}
    above: dict[int, int | None] = {}
    for record, around in _flat(_unwrapped(document)):
        number = _field(record, _ID)
        structure_id = whole_number(number)
        if not structure_id:
            raise InvalidInputError(
                f"This is no structure graph: a structure has the id {number!r}, but must have a "
                "whole number other than 0."
            )
        if structure_id in records:
            raise InvalidInputError(f"The structure graph names structure {structure_id} twice.")
        records[structure_id] = record
        above[structure_id] = around
    parents = _parents(records, above)
    return [
        Entry(
            id=structure_id,
            parent=parents[structure_id],
            acronym=_text(record, _ACRONYM) or str(structure_id),
            name=_text(record, _NAME) or str(structure_id),
            color=_color(record, structure_id),
            graph_order=whole_number(record.get("graphorder")),
            st_level=whole_number(record.get("stlevel")),
            synthetic=str(record.get("synthetic")).lower() in ("true", "1"),
        )
        for structure_id, record in records.items()
    ]


def whole_number(value: object) -> int | None:
    """Return a whole number that is written in any of the usual ways; `None` if it is none.

    Parameters
    ----------
    value : object
        A number; or a text such as ``"997"``, ``"997.0"`` or ``"-5"``.
    """
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"[+-]?[0-9]{1,20}", text):
            return _bounded(int(text))
        if not re.fullmatch(r"[+-]?[0-9]{1,20}\.?[0-9]{0,20}([eE][+-]?[0-9]{1,2})?", text):
            return None
        value = float(text)
    if hasattr(value, "item"):  # a number of NumPy's
        value = value.item()
    if isinstance(value, float):
        # beyond 2^53 not every whole number is a float
        return int(value) if value.is_integer() and abs(value) < 2**53 else None
    return _bounded(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _bounded(number: int) -> int | None:
    return number if -_LONGEST <= number < _LONGEST else None


def _unwrapped(document: object) -> list[object]:
    for _ in range(3):
        if isinstance(document, Mapping):
            # the service's envelope has an id of its own
            inner = next((key for key in _WRAPPERS if key in document), None)
            if inner is not None:
                document = document[inner]
            elif _field(_plain_keys(document), _ID) is not None:
                document = [document]
    if not isinstance(document, Sequence) or isinstance(document, (str, bytes)) or not document:
        raise InvalidInputError("This is no structure graph: it holds no list of structures.")
    return list(document)


def _flat(listed: list[object]) -> Iterator[tuple[Mapping[str, Any], int | None]]:
    """Yield records, with simple keys, and the ids of those that they stand below."""
    # a list to work off, not recursion: an answer may be nested as deep as it likes
    waiting: list[tuple[object, int | None]] = [(record, None) for record in reversed(listed)]
    while waiting:
        found, around = waiting.pop()
        if not isinstance(found, Mapping):
            raise InvalidInputError(
                f"This is no structure graph: {str(found)[:40]!r} stands where a structure must."
            )
        record = _plain_keys(found)
        yield record, around
        children = record.get("children")
        if _is_nothing(children):
            continue
        if not isinstance(children, Sequence) or isinstance(children, (str, bytes)):
            raise InvalidInputError(
                f"This is no structure graph: the children of structure {_field(record, _ID)} are "
                f"{str(children)[:40]!r}, but must be a list."
            )
        structure_id = whole_number(_field(record, _ID))
        waiting += [(child, structure_id) for child in reversed(children)]


def _plain_keys(record: Mapping[Any, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in record.items():
        plain.setdefault(_plain_key(str(key)), value)
    return plain


@lru_cache(maxsize=256)  # of thousands of records all have the same
def _plain_key(key: str) -> str:
    return re.sub(r"[^a-z]", "", key.lower())


def _is_nothing(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _NOTHING
    return value is None or (isinstance(value, float) and value != value)


def _field(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((record[name] for name in names if not _is_nothing(record.get(name))), None)


def _text(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    value = _field(record, names)
    return None if value is None else str(value)


# ---- what lies in what


def _parents(
    records: Mapping[int, Mapping[str, Any]], above: Mapping[int, int | None]
) -> dict[int, int | None]:
    """Return the parent of each structure, by the tree, by its path or as it is stated."""
    parents: dict[int, int | None] = {}
    orphans: dict[int, int] = {}
    for structure_id, record in records.items():
        stated, path = _stated(record, structure_id, records), _path(record, structure_id)
        ways = [
            way
            for way in (above[structure_id], stated, path[-1] if path else None)
            if way is not None
        ]
        if len(set(ways)) > 1 or (path == () and ways):
            raise InvalidInputError(
                f"The structure graph contradicts itself: structure {structure_id} lies in "
                + " and in ".join(str(way) for way in dict.fromkeys(ways))
                + (", but its path says that it is a root." if path == () else ".")
            )
        known = [way for way in path or ways if way in records]
        parents[structure_id] = known[-1] if known else None
        if ways and not known:
            orphans[structure_id] = ways[0]
    # a part of a graph has tops whose parents are elsewhere; a whole one has none
    if orphans and any(
        parent is None and structure_id not in orphans for structure_id, parent in parents.items()
    ):
        structure_id, missing = next(iter(orphans.items()))
        raise InvalidInputError(
            f"In the structure graph, structure {structure_id} lies in {missing}, which the graph "
            "lacks" + (f" ({len(orphans)} structures are such)." if len(orphans) > 1 else "."),
            hint="Add what is missing, or leave the parent of a root empty.",
        )
    return parents


def _stated(
    record: Mapping[str, Any], structure_id: int, records: Mapping[int, object]
) -> int | None:
    value = _field(record, _PARENT)
    if value is None:
        foreign = [key for key in record if "parent" in key and key not in _PARENT]
        if foreign and not any(name in record for name in (*_PARENT, *_PATH)):
            raise InvalidInputError(
                f"The structure graph says what lies in what by {foreign[0]!r}, which is not read.",
                hint="Name the parent's id as parent_structure_id.",
            )
        return None
    parent = whole_number(value)
    if parent is None:
        raise InvalidInputError(
            f"The parent of structure {structure_id} is {value!r}, but must be the id of a "
            "structure."
        )
    # 0 is the outside; −1 is what tables often have for none
    return None if parent == 0 or (parent == -1 and parent not in records) else parent


def _path(record: Mapping[str, Any], structure_id: int) -> tuple[int, ...] | None:
    """Return the ids of what a structure lies in, the root first; `None` if they are not said."""
    value = _field(record, _PATH)
    if value is None:
        return None
    parts = re.split(r"[\s,;/|\[\]()]+", value) if isinstance(value, str) else value
    try:
        path = [whole_number(part) for part in parts if part != ""]
    except TypeError:
        path = []
    if not path or path[-1] != structure_id or None in path:
        raise InvalidInputError(
            f"The path of structure {structure_id} is {str(value)[:60]!r}, but must be the ids "
            f"from the root to {structure_id}, such as /997/8/{structure_id}/."
        )
    return tuple(part for part in path[:-1] if part is not None)


# ---- colours


def _color(record: Mapping[str, Any], structure_id: int) -> str:
    value = _field(record, _COLOR)
    found = "FFFFFF" if value is None else _hexadecimal(value)
    if found is None:
        raise InvalidInputError(
            f"The colour of structure {structure_id} is {str(value)[:40]!r}, which is none.",
            hint="Write six hexadecimal digits, such as 019399, or three numbers from 0 to 255.",
        )
    return found


def _hexadecimal(value: object) -> str | None:
    """Return six digits; where there are fewer, zeros at the beginning were lost."""
    if isinstance(value, str):
        text = value.strip()
        if found := re.fullmatch(r"#([0-9A-Fa-f]{3})", text):
            return "".join(2 * digit for digit in found[1])
        if found := re.fullmatch(r"(?:#|0[xX])?([0-9A-Fa-f]{1,6})(?:\.0*)?", text):
            return found[1].zfill(6)
        parts: Any = re.findall(r"[0-9.]+", text)
    elif hasattr(value, "__len__"):
        parts = value
    else:
        digits = whole_number(value)
        return str(digits).zfill(6) if digits is not None and 0 <= digits <= 999999 else None
    levels = [whole_number(part) for part in parts]
    if len(levels) != 3 or not all(level is not None and 0 <= level <= 255 for level in levels):
        return None
    return "".join(f"{level:02X}" for level in levels)
