"""What a search asks for: filters that are checked, and the SQL that they mean."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from atldld.errors import InvalidInputError
from atldld.find.genes import ORGANISMS, like, matching, organism_name
from atldld.find.rows import (
    FoundDataSet,
    FoundGene,
    FoundImage,
    FoundSpecimen,
    FoundStructure,
)
from atldld.place.spaces import PlaneOfSection, ReferenceSpace
from atldld.support.arguments import check_id, check_ids, check_whole, is_given, plain, several

__all__ = [
    "FILTERS",
    "KINDS",
    "PASSED",
    "PRODUCTS",
    "Condition",
    "Filters",
    "conditions",
    "counts",
    "ids_of",
    "plural",
    "select",
]

ORIENTATIONS = {"sense": 1, "antisense": 2}
"""The service's ids of the orientations of a probe."""

# What people call the products that most searches are about: id, and what a name must hold.
PRODUCTS = {"adult": 1, "mouse": 1, "developing": 3, "devmouse": 3}

KINDS: Mapping[str, type[msgspec.Struct]] = {
    "dataset": FoundDataSet,
    "image": FoundImage,
    "gene": FoundGene,
    "specimen": FoundSpecimen,
    "structure": FoundStructure,
}

_OF_DONOR = ("age", "sex", "strain")
_OF_DATASET = (
    "gene",
    "organism",
    "plane",
    "product",
    *_OF_DONOR,
    "specimen",
    "orientation",
    "treatment",
    "space",
    "min_sections",
    "max_sections",
    "resolution",
    "failed",
    "rma",
)
FILTERS: Mapping[str, tuple[str, ...]] = {
    "dataset": ("id", *_OF_DATASET),
    "image": ("id", "dataset", *_OF_DATASET),
    "gene": ("id", "name", "organism", "rma"),
    "specimen": ("id", "name", *_OF_DONOR, "rma"),
    "structure": ("id", "name", "graph", "rma"),
}
"""The filters of each kind of search."""

Texts = tuple[str, ...]
Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Filters that make sense; see `atldld.search` for what they mean."""

    id: Ids = ()
    dataset: Ids = ()
    name: Texts = ()
    gene: Texts = ()
    organism: int | None = None
    plane: Ids = ()
    product: Texts = ()
    age: Texts = ()
    sex: Texts = ()
    strain: Texts = ()
    specimen: Texts = ()
    orientation: Ids = ()
    treatment: Texts = ()
    space: Ids = ()
    graph: Ids = ()
    min_sections: int | None = None
    max_sections: int | None = None
    resolution: float | None = None
    failed: bool = False
    rma: str | None = None

    @classmethod
    def of(cls, kind: str, given: Mapping[str, Any]) -> Filters:
        """Read filters as people give them.

        Raises
        ------
        InvalidInputError
            If a search of that kind has no such filter, or a value makes no sense.
        """
        if not isinstance(kind, str) or kind not in KINDS:
            raise InvalidInputError(
                f"{kind!r} cannot be searched for; there are: {', '.join(KINDS)}."
            )
        wanted = {name: plain(value) for name, value in given.items() if is_given(value)}
        wrong = [name for name in wanted if name not in FILTERS[kind] and wanted[name] is not False]
        if wrong:
            raise InvalidInputError(
                f"A search for {plural(kind)} cannot be filtered by {wrong[0]}; by: "
                f"{', '.join(FILTERS[kind])}."
            )
        read = {name: _READERS[name](value) for name, value in wanted.items() if name in _READERS}
        filters = cls(**read, failed=bool(wanted.get("failed")))
        low, high = filters.min_sections, filters.max_sections
        if low is not None and high is not None and low > high:
            raise InvalidInputError(
                f"No data set has at least {low} and at most {high} sections at once."
            )
        return filters

    @property
    def needs_images(self) -> bool:
        """Whether the images of data sets must be known to tell which ones fit."""
        return any(
            value is not None for value in (self.min_sections, self.max_sections, self.resolution)
        )

    @property
    def given(self) -> dict[str, Any]:
        """The filters that are set."""
        empty = Filters()
        return {name: value for name, value in vars(self).items() if value != getattr(empty, name)}


def _texts(name: str, value: Any) -> Texts:
    texts = []
    for given in several(value):
        number = isinstance(given, (int, float)) and not isinstance(given, bool)
        # ids are compared too; a column of a table may hold them as 17.0
        text = str(check_id(given, name)) if number else str(given).strip()
        if not number and (not isinstance(given, str) or not text or "\0" in text):
            raise InvalidInputError(f"{given!r} is not a text to compare the {name} with.")
        texts.append(text)
    return tuple(texts)


def _ids(what: str, value: Any) -> Ids:
    return tuple(check_ids(value, what))


def _named_ids(what: str, names: Mapping[str, int], value: Any) -> Ids:
    """Read ids, or the names that stand for them."""
    found = []
    for given in several(value):
        whole = isinstance(given, float) and given.is_integer()
        text = str(int(given) if whole else getattr(given, "value", given)).strip()
        known = {name.lower(): number for name, number in names.items()}
        if text.isdecimal():
            found.append(int(text))
        elif text.lower() in known:
            found.append(known[text.lower()])
        else:
            import difflib

            near = difflib.get_close_matches(text.lower(), known, 1)
            meant = next((name for name in names if near and name.lower() == near[0]), None)
            raise InvalidInputError(
                f"There is no {what} {text!r}; there are: {', '.join(names)}.",
                hint=f"Did you mean {meant}?" if meant else None,
            )
    return tuple(found)


def _sexes(value: Any) -> Texts:
    known = {"m": "M", "male": "M", "f": "F", "female": "F"}
    texts = _texts("sex", value)
    wrong = [text for text in texts if text.lower() not in known]
    if wrong:
        raise InvalidInputError(f"{wrong[0]!r} is no sex; there are: M (male), F (female).")
    return tuple(known[text.lower()] for text in texts)


def _number_of_sections(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    return check_whole(value, "number of sections")


def _organism(value: Any) -> int:
    found = _named_ids("organism", ORGANISMS, value)
    if len(found) > 1:
        raise InvalidInputError(f"{value!r} are several organisms, but one can be asked for.")
    return found[0]


def _resolution(value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise InvalidInputError(
            f"The resolution is {value!r}, but must be a positive number of µm per pixel."
        )
    return number


def _rma(value: Any) -> str:
    text = str(value).strip().strip(",")
    if "::" in text:
        raise InvalidInputError(
            f"{text!r} is a whole query, but only its criteria are wanted.",
            hint="Give terms such as [weight$gt5000],products[id$eq1]; model, includes and "
            "options are added.",
        )
    return text


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "id": partial(_ids, "record"),
    "dataset": partial(_ids, "section data set"),
    **{
        name: partial(_texts, name)
        for name in ("name", "gene", "product", "age", "strain", "specimen", "treatment")
    },
    "organism": _organism,
    "plane": partial(_named_ids, "plane of section", {str(p): p.value for p in PlaneOfSection}),
    "sex": _sexes,
    "orientation": partial(_named_ids, "orientation of a probe", ORIENTATIONS),
    "space": partial(_named_ids, "reference space", {str(s): s.value for s in ReferenceSpace}),
    "graph": partial(_ids, "structure graph"),
    "min_sections": _number_of_sections,
    "max_sections": _number_of_sections,
    "resolution": _resolution,
    "rma": _rma,
}


@dataclass(frozen=True)
class Condition:
    """A filter in SQL, in words that complete "12 data sets …", and the column that it is about."""

    sql: str
    values: tuple[Any, ...]
    words: str
    field: str | None = None


def conditions(
    kind: str, filters: Filters, db: sqlite3.Connection, genes: Iterable[tuple[str, Ids]] = ()
) -> list[Condition]:
    """Return the conditions of a search, in the order in which they are told.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    filters : Filters
        What is asked for.
    db : sqlite3.Connection
        A catalogue.
    genes : iterable of (str, tuple of int)
        The genes that `filters.gene` stands for: names as people know them, and ids.
    """
    found = []
    table = {"dataset": "d", "image": "i", "gene": "g", "specimen": "s", "structure": "t"}[kind]
    if filters.id:
        found.append(_among(f"{table}.id", filters.id, f"of id {_or(filters.id)}"))
    if filters.dataset:
        words = f"of data set {_or(filters.dataset)}"
        found.append(_among("i.data_set_id", filters.dataset, words))
    genes = list(genes)
    if genes:
        ids = [number for _, numbers in genes for number in numbers]
        condition = _among("gene_id", ids, f"of gene {_or([name for name, _ in genes])}", "genes")
        sql = f"d.id IN (SELECT data_set_id FROM data_set_gene WHERE {condition.sql})"
        found.append(replace(condition, sql=sql))
    if filters.name and kind == "specimen":
        found.append(_alike("s.name", "s.id", filters.name, f"called {_or(filters.name)}"))
    elif filters.name:
        owners = [number for name in filters.name for number in _named(db, kind, name)]
        found.append(_among(f"{table}.id", owners, f"called {_or(filters.name)}"))
    if filters.organism is not None and kind == "gene":
        words = f"of the {organism_name(filters.organism)}"
        found.append(_among("g.organism_id", (filters.organism,), words))
    if filters.graph:
        words = f"of structure graph {_or(filters.graph)}"
        found.append(_among("t.graph_id", filters.graph, words))
    if filters.specimen:
        words = f"of specimen {_or(filters.specimen)}"
        condition = _alike("x.name", "x.id", filters.specimen, words)
        sql = f"d.specimen_id IN (SELECT x.id FROM specimen x WHERE {condition.sql})"
        found.append(replace(condition, sql=sql))
    if filters.plane:
        planes = [PlaneOfSection.name_of(number) for number in filters.plane]
        found.append(_among("d.plane_of_section_id", filters.plane, _or(planes), "plane"))
    if filters.product:
        found.append(_of_product(db, filters.product))
    for name, column in (("age", "a.name"), ("sex", "o.sex"), ("strain", "o.strain")):
        values = getattr(filters, name)
        if values:
            found.append(_alike(column, None, values, f"of {name} {_or(values)}", name))
    if filters.treatment:
        words = f"treated with {_or(filters.treatment)}"
        condition = _alike("x.name", "x.id", filters.treatment, words, "treatments")
        found.append(_linked("treatment", condition))
    if filters.orientation:
        names = {number: name for name, number in ORIENTATIONS.items()}
        words = _or([names.get(number, str(number)) for number in filters.orientation])
        condition = _among("x.orientation_id", filters.orientation, words, "probes")
        found.append(_linked("probe", condition))
    if filters.space:
        words = f"in reference space {_or(filters.space)}"
        found.append(_among("d.reference_space_id", filters.space, words, "reference_space"))
    for sql, value, words, field in (
        ("m.sections >= ?", filters.min_sections, "with at least {} sections", "sections"),
        ("m.sections <= ?", filters.max_sections, "with at most {} sections", "sections"),
        ("m.resolution <= ?", filters.resolution, "with {} µm per pixel or finer", "resolution"),
    ):
        if value is not None:
            found.append(Condition(sql, (value,), words.format(value), field))
    if not filters.failed and kind == "dataset":
        found.append(Condition("NOT coalesce(d.failed, 0)", (), PASSED))
    if not filters.failed and kind == "image":
        sql = "NOT (coalesce(d.failed, 0) OR coalesce(i.failed, 0))"
        found.append(Condition(sql, (), PASSED))
    return found


PASSED = "passed the quality control"


def _or(values: Sequence[Any], most: int = 5) -> str:
    shown = [str(value) for value in values[:most]]
    if len(values) > most:
        shown.append(f"{len(values) - most} others")
    return " or ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _among(column: str, values: Sequence[int], words: str, field: str | None = None) -> Condition:
    # as one parameter, because the number of parameters is limited
    sql = f"{column} IN (SELECT value FROM json_each(?))"
    return Condition(sql, (json.dumps(list(values)),), words, field)


def _alike(
    column: str, id_column: str | None, values: Texts, words: str, field: str | None = None
) -> Condition:
    """Compare texts without regard to case, with ``*`` for anything; numbers are ids too."""
    tests, parameters = [], []
    for value in values:
        # an index serves equality, not patterns
        pattern = "*" in value
        tests.append(rf"{column} LIKE ? ESCAPE '\'" if pattern else f"{column} = ? COLLATE NOCASE")
        parameters.append(like(value) if pattern else value)
        if id_column and value.isdecimal():
            tests.append(f"{id_column} = ?")
            parameters.append(value)
    return Condition(f"({' OR '.join(tests)})", tuple(parameters), words, field)


def _linked(table: str, condition: Condition) -> Condition:
    """Turn a condition on something that data sets have several of into one on data sets."""
    sql = (
        f"EXISTS (SELECT 1 FROM data_set_{table} l JOIN {table} x ON x.id = l.{table}_id "
        f"WHERE l.data_set_id = d.id AND {condition.sql})"
    )
    return Condition(sql, condition.values, condition.words, condition.field)


def _of_product(db: sqlite3.Connection, names: Texts) -> Condition:
    """Find products by id, abbreviation, name, or a part of the name where no name is that."""
    ids: list[int] = []
    for name in names:
        if name.isdecimal() or name.lower() in PRODUCTS:
            ids.append(PRODUCTS.get(name.lower()) or int(name))
            continue
        for pattern in (like(name), like(f"*{name}*")):
            rows = db.execute(
                r"SELECT id FROM product WHERE name LIKE ?1 ESCAPE '\' "
                r"OR abbreviation LIKE ?1 ESCAPE '\'",
                (pattern,),
            ).fetchall()
            if rows:
                ids += [number for (number,) in rows]
                break
    return _linked("product", _among("x.id", ids, f"of product {_or(names)}", "products"))


def _named(db: sqlite3.Connection, kind: str, name: str) -> list[int]:
    found = matching(db, kind, name)
    if name.isdecimal():
        column = "entrez_id" if kind == "gene" else "id"
        found += [n for (n,) in db.execute(f"SELECT id FROM {kind} WHERE {column} = ?", (name,))]
    if kind == "gene":
        rows = db.execute("SELECT id FROM gene WHERE ensembl_id = ?", (name.partition(".")[0],))
        found += [n for (n,) in rows]
    return found


_DATASET = """
    data_set d
    LEFT JOIN specimen s ON s.id = d.specimen_id
    LEFT JOIN donor o ON o.id = s.donor_id
    LEFT JOIN age a ON a.id = o.age_id
    LEFT JOIN imaged m ON m.data_set_id = d.id
"""
_FROM = {
    "dataset": _DATASET,
    "image": "image i LEFT JOIN data_set d ON d.id = i.data_set_id"
    + _DATASET.removeprefix("\n    data_set d"),
    "gene": "gene g",
    "specimen": "specimen s LEFT JOIN donor o ON o.id = s.donor_id "
    "LEFT JOIN age a ON a.id = o.age_id",
    "structure": "structure t",
}


def _list_of(table: str, column: str) -> str:
    return (
        f"(SELECT json_group_array(x.{column}) FROM data_set_{table} l JOIN {table} x "
        f"ON x.id = l.{table}_id WHERE l.data_set_id = d.id)"
    )


_SELECT = {
    "dataset": f"""
        d.id, {_list_of("gene", "acronym")} genes, d.plane_of_section_id plane,
        {_list_of("treatment", "name")} treatments, {_list_of("probe", "orientation_id")} probes,
        {_list_of("product", "abbreviation")} products, a.name age, o.sex, o.strain,
        s.name specimen, d.specimen_id, d.reference_space_id reference_space,
        d.section_thickness thickness, m.sections, m.resolution, coalesce(d.delegate, 0)
        representative, coalesce(d.failed, 0) failed, coalesce(d.synthetic, 0) synthetic
    """,
    "image": "i.id, i.data_set_id, i.section_number, i.width, i.height, i.tier_count, "
    "i.resolution, coalesce(i.failed, 0) failed",
    "gene": """
        g.id, g.acronym, g.name, g.entrez_id, g.ensembl_id, g.organism_id organism,
        (SELECT json_group_array(text) FROM alias WHERE gene_id = g.id) aliases,
        (SELECT count(*) FROM data_set_gene l JOIN data_set d ON d.id = l.data_set_id
         WHERE l.gene_id = g.id AND NOT coalesce(d.failed, 0)) data_sets
    """,
    "specimen": """
        s.id, s.name, o.name donor, a.name age, o.sex, o.strain,
        (SELECT count(*) FROM data_set d WHERE d.specimen_id = s.id
         AND NOT coalesce(d.failed, 0)) data_sets
    """,
    "structure": "t.id, t.acronym, t.name, t.parent_structure_id parent_id, t.graph_id, t.depth, "
    "t.color_hex_triplet color",
}
_ORDER = {
    "dataset": "d.id",
    "image": "i.data_set_id, i.section_number, i.id",
    "gene": "g.id",
    "specimen": "s.name, s.id",
    "structure": "t.graph_id, t.graph_order, t.id",
}


def _where(wanted: Sequence[Condition]) -> tuple[str, list[Any]]:
    tests = " AND ".join(condition.sql for condition in wanted) or "1"
    return tests, [value for condition in wanted for value in condition.values]


def counts(db: sqlite3.Connection, kind: str, wanted: Sequence[Condition]) -> int:
    """Return how many rows meet all of some conditions."""
    tests, values = _where(wanted)
    sql = f"SELECT count(*) FROM {_FROM[kind]} WHERE {tests}"
    return int(db.execute(sql, values).fetchone()[0])


def ids_of(db: sqlite3.Connection, kind: str, wanted: Sequence[Condition]) -> list[int]:
    """Return the ids of the rows that meet all of some conditions."""
    tests, values = _where(wanted)
    sql = f"SELECT {_SELECT[kind].split(',')[0]} FROM {_FROM[kind]} WHERE {tests}"
    return [number for (number,) in db.execute(sql, values)]


def select(
    db: sqlite3.Connection, kind: str, wanted: Sequence[Condition], *, ranked: Sequence[int] = ()
) -> list[Any]:
    """Return the rows that meet all conditions, as the kind's values.

    Parameters
    ----------
    db : sqlite3.Connection
        A catalogue.
    kind : str
        One of `KINDS`.
    wanted : sequence of Condition
        What `conditions` returned.
    ranked : sequence of int
        Ids in the order in which they should come, where that is not the usual one.
    """
    tests, values = _where(wanted)
    sql = f"SELECT {_SELECT[kind]} FROM {_FROM[kind]} WHERE {tests} ORDER BY {_ORDER[kind]}"
    cursor = db.execute(sql, values)
    names = [column[0] for column in cursor.description]
    read = _READ.get(kind, lambda row: row)
    rows: list[Any] = [_found(kind, read, dict(zip(names, row, strict=True))) for row in cursor]
    if ranked:
        rank = {number: place for place, number in enumerate(ranked)}
        rows.sort(key=lambda row: rank.get(row.id, len(rank)))
    return rows


def _found(
    kind: str, read: Callable[[dict[str, Any]], dict[str, Any]], row: dict[str, Any]
) -> msgspec.Struct:
    """Return a row as what was found; a file may hold anything in any column."""
    try:
        return msgspec.convert(read(row), KINDS[kind])
    except (ValueError, TypeError, LookupError, RecursionError, msgspec.ValidationError) as error:
        raise sqlite3.DatabaseError(
            f"{plural(kind, 1)} {row.get('id')} holds something else than it should ({error})"
        ) from None


def _read_dataset(row: dict[str, Any]) -> dict[str, Any]:
    names = {number: name for name, number in ORIENTATIONS.items()}
    for column in ("genes", "treatments", "products"):
        row[column] = tuple(name for name in json.loads(row[column]) if name)
    oriented = [n for n in json.loads(row["probes"]) if n is not None]
    row["probes"] = tuple(dict.fromkeys(names.get(n, str(n)) for n in oriented))
    row["plane"] = PlaneOfSection.name_of(row["plane"])
    for column in ("representative", "failed", "synthetic"):
        row[column] = bool(row[column])
    return row


def _read_image(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "failed": bool(row["failed"])}


def _read_gene(row: dict[str, Any]) -> dict[str, Any]:
    row["aliases"] = tuple(json.loads(row["aliases"]))
    row["organism"] = organism_name(row["organism"])
    return row


_READ: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "dataset": _read_dataset,
    "image": _read_image,
    "gene": _read_gene,
}


def plural(kind: str, number: int = 2) -> str:
    """Return what a number of a kind are called."""
    singular = "data set" if kind == "dataset" else kind
    return singular if number == 1 else f"{singular}s"
