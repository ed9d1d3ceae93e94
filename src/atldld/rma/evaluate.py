"""Queries in the service's language, answered from plain records.

`run` answers a `Query` from tables of records which have the shape of the service's JSON. The
service stands on a relational database and shows it: an association in the criteria is an inner
join, and pages are counted in joined rows, although an object that several joined rows share
arrives once per page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import msgspec

from atldld.rma.budget import Budget, QueryError
from atldld.rma.query import Column, Filter, Order, Query, Term

__all__ = ["Answer", "Lookup", "columns", "encode", "run"]

Record: TypeAlias = Mapping[str, Any]
Tables: TypeAlias = Mapping[str, Sequence[Record]]
# One row of the joined result: the model's record, then one record for each join.
_Row: TypeAlias = tuple[Record, ...]
_Records: TypeAlias = Callable[[], Iterator[Record]]

DEFAULT_ROW_CAP = 25_000

# Columns by which a model's records are found without looking at all of them.
_INDEXED = ("id", "data_set_id", "section_data_set_id")

# How many records are looked at to tell what names there are.
_EXAMPLES = 200

# What a joined row and a rendered record hold of memory, in bytes.
_ROW, _PLACE, _OBJECT, _ENTRY = 56, 8, 200, 40

# The associations of the documented models, by table. They are needed beside the records because
# a record may lack the key of an association that it could have.
_ASSOCIATIONS: Mapping[str, frozenset[str]] = {
    table: frozenset(names.split())
    for table, names in {
        "data_sets": (
            "specimen plane_of_section reference_space section_images sub_images atlas_images"
            " well_known_files genes structure_unionizes fine_structure_searches"
            " manual_annotations treatments probes products atlases alignment3d equalization"
        ),
        "sub_images": (
            "structure data_set section_data_set atlas_data_set graphic_objects alternate_images"
            " sub_image_annotations treatments associates alignment2d"
        ),
        "specimens": "donor structure data_sets injections treatments",
        "donors": "age organism",
        "ages": "organism",
        "genes": ("organism chromosome gene_aliases probes products data_sets transgenic_lines"),
        "probes": (
            "gene orientation predicted_sequence forward_primer_sequence"
            " reverse_primer_sequence data_sets products"
        ),
        "reference_spaces": "age organism products well_known_files",
    }.items()
}

# Tables whose name is not the plural of the association that leads to them.
_TABLES = {
    "atlas": "atlases",
    "atlas_image": "sub_images",
    "atlas_images": "sub_images",
    "section_image": "sub_images",
    "section_images": "sub_images",
    "atlas_data_set": "data_sets",
    "section_data_set": "data_sets",
    "section_data_sets": "data_sets",
}

# The service lets a query name the parent class of a model.
_PARENT_CLASSES = {"DataSet": "SectionDataSet", "SubImage": "SectionImage"}

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_BOOLEANS = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Answer:
    """A page of a result.

    Attributes
    ----------
    rows : list of dict
        The objects, or the flat rows of a tabular query.
    start_row : int
        Number of the page's first row.
    num_rows : int
        Rows of the page. More than ``len(rows)`` when several joined rows share an object.
    total_rows : int
        Rows of the whole result, or only up to the end of this page when the query says
        ``count$eqfalse``.
    """

    rows: list[dict[str, Any]]
    start_row: int
    num_rows: int
    total_rows: int


def _table_of(name: str) -> str:
    """Table of an association or of a model written like one: ``plane_of_section``."""
    return _TABLES.get(name, name if name.endswith("s") else f"{name}s")


def _snake_case(model: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", model).lower()


def _camel_case(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _is_nested(value: Any) -> bool:
    """Whether a value holds associated records; an empty list does, as no column is a list."""
    kind = type(value)
    if kind is str or kind is int or kind is float or kind is bool or value is None:
        return False
    return isinstance(value, Mapping) or (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(item is None or isinstance(item, Mapping) for item in value)
    )


def _is_column(table: str, name: str, value: Any) -> bool:
    # A record may spell a missing association with a null, which looks like an empty column.
    return name not in _ASSOCIATIONS.get(table, ()) and not _is_nested(value)


def _column_names(table: str, records: Sequence[Record]) -> set[str]:
    return {
        name
        for record in records
        for name, value in record.items()
        if _is_column(table, name, value)
    }


def _model_in(tables: Tables, model: str) -> str:
    for name in (model, _PARENT_CLASSES.get(model, model)):
        if name in tables:
            return name
    offered = ", ".join(sorted(tables))
    raise QueryError(f"there is no model {model!r:.100} here; there are: {offered}")


def columns(tables: Tables, model: str) -> set[str]:
    """Return the names of the columns of a model.

    Parameters
    ----------
    tables : mapping
        Records by name of the model.
    model : str
        Name of the model.

    Raises
    ------
    QueryError
        If the tables lack the model.
    """
    model = _model_in(tables, model)
    return _column_names(_table_of(_snake_case(model)), tables[model])


class Lookup:
    """Finds records of some tables by a column. Kept as long as the tables, it is quick.

    Parameters
    ----------
    tables : mapping
        Records by name of the model, which do not change.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._positions: dict[tuple[str, str], dict[Any, list[int]]] = {}
        self._of_gene: dict[Any, list[Record]] | None = None

    def find(self, model: str, column: str, value: Any) -> list[Record]:
        """Return the records of a model with a value in a column, in their order."""
        if not isinstance(value, int | str):
            return []
        records = self.tables.get(model, ())
        return [records[k] for k in self.positions(model, column).get(value, ())]

    def positions(self, model: str, column: str) -> Mapping[Any, list[int]]:
        """Return by value of a column where in its table the records stand."""
        key = model, column
        if key not in self._positions:
            found: dict[Any, list[int]] = {}
            for k, record in enumerate(self.tables.get(model, ())):
                value = record.get(column)
                if isinstance(value, int | str):
                    found.setdefault(value, []).append(k)
            self._positions[key] = found
        return self._positions[key]

    def data_sets_of_gene(self, acronym: Any) -> list[Record]:
        """Return the data sets that hold a gene: they hold their genes, not the other way."""
        if self._of_gene is None:
            found: dict[Any, list[Record]] = {}
            for record in self.tables.get("SectionDataSet", ()):
                genes = record.get("genes") or ()
                for name in dict.fromkeys(
                    gene["acronym"]
                    for gene in genes
                    if isinstance(gene, Mapping) and isinstance(gene.get("acronym"), str)
                ):
                    found.setdefault(name, []).append(record)
            self._of_gene = found
        return self._of_gene.get(acronym, []) if isinstance(acronym, str) else []


def run(
    query: Query,
    tables: Tables,
    *,
    row_cap: int = DEFAULT_ROW_CAP,
    budget: Budget | None = None,
    lookup: Lookup | None = None,
) -> Answer:
    """Answer a query from tables of records.

    An association of a record is a nested mapping or list of mappings under the association's
    name. Where a record has no such key, other tables are looked into: ``gene`` is the record of
    the model ``Gene`` that ``gene_id`` names, and section images and their data set find each
    other by ``data_set_id``.

    Parameters
    ----------
    query : Query
        What `parse` returned.
    tables : mapping
        Records by name of the model.
    row_cap : int, optional
        Most rows in one answer, however many the query asks for.
    budget : Budget, optional
        What the query may cost; by default that of `Budget`.
    lookup : Lookup, optional
        That of the tables, where it is kept from one query to the next.

    Returns
    -------
    Answer
        The page that the query's options ask for. Included associations are complete whichever
        rows of the joined result the page shows, except that filters in an include choose among
        the associated records too.

    Raises
    ------
    QueryError
        If the query names a model, an association, a column or a table that there is not, or
        compares a column with a value of another kind.
    BudgetError
        If the query costs more than its budget.
    """
    if lookup is None or lookup.tables is not tables:
        lookup = Lookup(tables)
    return _Evaluation(query, tables, budget or Budget(), lookup).page(row_cap)


class _Evaluation:
    """The state of answering one query."""

    def __init__(self, query: Query, tables: Tables, budget: Budget, lookup: Lookup) -> None:
        self.query = query
        self.tables = tables
        self.budget = budget
        self.lookup = lookup
        self.model = _model_in(tables, query.model)
        self.base = tables[self.model]
        # Table of each place of the joined rows.
        self.places = [_table_of(_snake_case(self.model))]
        # Filters on a table that may be joined only later in the query.
        self.deferred: list[Filter] = []
        # What many rows share is worked out once. Records and terms outlive the evaluation.
        self.conditions: dict[int, _Condition] = {}
        self.shown: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        self.columns_of: dict[tuple[str, int], tuple[dict[str, Any], int]] = {}
        self.rendered: dict[tuple[str, int, int], tuple[dict[str, Any], int]] = {}
        self.nested: dict[int, bool] = {}
        self.matched: dict[tuple[str, int, int], bool] = {}
        self.paths = _paths(query.include)

    # ---- from a record to its associated records

    def resolve(
        self, table: str, record: Record, name: str
    ) -> Record | Sequence[Record | None] | None:
        """Find what is associated with a record: one record, a list, or nothing."""
        self.budget.spend(1)
        value = record.get(name)
        if value is not None and self.is_nested(value):
            found: Record | Sequence[Record | None] = value
            return found
        if table == "data_sets" and name == "sub_images" and "section_images" in record:
            return self.resolve(table, record, "section_images")
        if table == "data_sets" and name in ("section_images", "sub_images"):
            return self.lookup.find("SectionImage", "data_set_id", record.get("id")) or None
        if table == "genes" and name == "data_sets":
            return self.lookup.data_sets_of_gene(record.get("acronym"))
        if name in ("section_data_set", "data_set"):
            model, key = "SectionDataSet", "data_set_id"
        else:
            model, key = _camel_case(name), f"{name}_id"
        if record.get(key) is None:
            return None
        parents = self.lookup.find(model, "id", record[key])
        return parents[0] if parents else None

    def is_nested(self, value: Any) -> bool:
        """As `_is_nested`, but a list is looked through only once."""
        if isinstance(value, dict):
            return True
        key = id(value)
        if key not in self.nested:
            self.budget.spend(len(value) // 16 if isinstance(value, list) else 0, _ENTRY)
            self.nested[key] = _is_nested(value)
        return self.nested[key]

    def partners(self, table: str, record: Record, name: str) -> Sequence[Record]:
        found = self.resolve(table, record, name)
        if found is None:
            return ()
        if isinstance(found, Mapping):
            return (found,)
        self.budget.spend(len(found) // 8)
        return [partner for partner in found if partner is not None]

    # ---- complaints about names

    def check_association(self, table: str, name: str, records: _Records) -> None:
        known = _ASSOCIATIONS.get(table, frozenset())
        if name in known:
            return
        empty = True
        for record in records():
            empty = False
            if self.resolve(table, record, name) is not None:
                return
        if empty:
            return
        held = {
            key
            for record in islice(records(), _EXAMPLES)
            for key, value in record.items()
            if _is_nested(value)
        }
        offered = ", ".join(sorted(known | held)) or "none"
        raise QueryError(f"{table} has no association {name!r:.100}; it has: {offered}")

    def check_column(self, table: str, name: str, records: _Records) -> None:
        empty = True
        for record in records():
            empty = False
            self.budget.spend(1)
            if name in record and _is_column(table, name, record[name]):
                return
        if empty:
            return
        offered = ", ".join(sorted(_column_names(table, list(islice(records(), _EXAMPLES)))))
        raise QueryError(f"{table} has no column {name!r:.100} here; it has: {offered}")

    # ---- joins

    def rows(self) -> list[_Row]:
        """Join what the criteria and the restricting includes name, and filter."""
        rows: list[_Row] = [(record,) for record in self.candidates()]
        self.budget.spend(len(rows) // 4, len(rows) * (_ROW + _PLACE))
        # All of them must hold, so the cheap ones go first.
        for term in sorted(self.query.criteria, key=lambda term: term.association is not None):
            rows = self.join(rows, 0, term)
        for term in self.query.include:
            if term.restricts:
                rows = self.join(rows, 0, term, only_restricting=True)
        for condition in self.deferred:
            table = condition.column.table or self.places[0]
            if table not in self.places:
                raise QueryError(
                    f"the column {table}.{condition.column.name} is of a table that is not"
                    f" joined; there are: {', '.join(self.places)}"
                )
            rows = self.select(rows, self.places.index(table), condition)
        return rows

    def candidates(self) -> Iterable[Record]:
        """Return the records that can satisfy the criteria: those that an index finds, or all."""
        fewest: list[int] | None = None
        for term in self.query.criteria:
            for condition in term.filters if term.association is None else ():
                found = self.positions(condition)
                if found is not None and (fewest is None or len(found) < len(fewest)):
                    fewest = found
        return self.base if fewest is None else [self.base[k] for k in fewest]

    def positions(self, condition: Filter) -> list[int] | None:
        """Return where the records stand that an equality chooses, if there is an index for it."""
        name, table = condition.column.name, condition.column.table
        if name not in _INDEXED or table not in (None, self.places[0]):
            return None
        if condition.operator not in ("$eq", "$in"):
            return None
        index = self.lookup.positions(self.model, name)
        # texts and booleans are compared otherwise, and a wrong value is complained about below
        if not index or not all(type(value) is int for value in islice(index, _EXAMPLES)):
            return None
        self.budget.spend(len(condition.values))
        found: set[int] = set()
        for text in condition.values:
            number = None if text is None else _number(text)
            if number is None:
                return None
            found.update(index.get(number, ()))
        return sorted(found)

    def join(
        self, rows: list[_Row], place: int, term: Term, *, only_restricting: bool = False
    ) -> list[_Row]:
        if term.association is not None:
            table, name = self.places[place], term.association
            self.check_association(table, name, self.records_at(rows, place))
            size = _ROW + _PLACE * (len(self.places) + 1)
            steps = 1 + len(self.places) // 16
            joined: list[_Row] = []
            for row in rows:
                for partner in self.partners(table, row[place], name):
                    self.budget.spend(steps, size)
                    joined.append((*row, partner))
            self.budget.release(len(rows) * (size - _PLACE))
            rows = joined
            place = len(self.places)
            self.places.append(_table_of(name))
        for condition in term.filters:
            if condition.column.table in (None, self.places[place]):
                rows = self.select(rows, place, condition)
            else:
                self.deferred.append(condition)
        for inner in term.terms:
            if inner.restricts or not only_restricting:
                rows = self.join(rows, place, inner, only_restricting=only_restricting)
        return rows

    def select(self, rows: list[_Row], place: int, condition: Filter) -> list[_Row]:
        self.check_column(self.places[place], condition.column.name, self.records_at(rows, place))
        test = self.condition(condition)
        self.budget.spend(len(rows) + 1)
        kept = [row for row in rows if test.holds(row[place])]
        self.budget.release((len(rows) - len(kept)) * (_ROW + _PLACE * len(self.places)))
        return kept

    def condition(self, condition: Filter) -> _Condition:
        key = id(condition)
        if key not in self.conditions:
            self.budget.spend(len(condition.values))
            self.conditions[key] = _Condition(condition, self.budget)
        return self.conditions[key]

    def records_at(self, rows: list[_Row], place: int) -> _Records:
        # A wrong name in the model's own table is one even when no row is left to show it.
        if place == 0:
            return lambda: iter(self.base)
        return lambda: (row[place] for row in rows)

    # ---- columns of other tables

    def values(self, rows: list[_Row], column: Column) -> list[Any]:
        """Return the values of a column in each row, null where a row lacks the record."""
        table = column.table or self.places[0]
        self.budget.spend(len(rows) + 1)
        if table in self.places:
            place = self.places.index(table)
            self.check_column(table, column.name, self.records_at(rows, place))
            return [row[place].get(column.name) for row in rows]
        path = self.paths.get(table)
        if path is None:
            raise QueryError(
                f"the table of the column {table}.{column.name} is neither joined nor"
                f" included; there are: {', '.join(self.places)}"
            )
        records = [self.first(row[0], path) for row in rows]
        self.check_column(
            table, column.name, lambda: (record for record in records if record is not None)
        )
        return [None if record is None else record.get(column.name) for record in records]

    def first(self, record: Record, path: tuple[str, ...]) -> Record | None:
        """Follow associations from a record, always to the first partner."""
        table = self.places[0]
        for name in path:
            partners = self.partners(table, record, name)
            if not partners:
                return None
            record, table = partners[0], _table_of(name)
        return record

    # ---- the answer

    def page(self, row_cap: int) -> Answer:
        options = self.query.options
        rows = self.in_order(self.rows())
        start = options.start_row
        size = row_cap if options.num_rows is None else min(options.num_rows, row_cap)
        if options.tabular:
            shown, total = self.tabulate(rows, start, size)
            num_rows = len(shown)
            for flat in shown:
                self.budget.write(len(encode(flat)) + 1)
        else:
            self.check_outputs()
            page = rows[start : start + size]
            total, num_rows = len(rows), len(page)
            objects = list({id(row[0]): row[0] for row in page}.values())
            self.check_includes(self.places[0], self.base, objects, self.query.include)
            shown = []
            for record in objects:
                drawn, length = self.render(self.places[0], record, self.query.include)
                self.budget.write(length + 1)
                shown.append(drawn)
        return Answer(shown, start, num_rows, total if options.count else start + num_rows)

    def in_order(self, rows: list[_Row]) -> list[_Row]:
        # Of a column that is named twice, the first decides.
        keys: dict[Column, Order] = {}
        for order in self.query.options.order:
            keys.setdefault(order.column, order)
        # Sorting is stable: the least important key goes first.
        for column, order in reversed(keys.items()):
            self.budget.spend(len(rows) * (1 + len(rows).bit_length() // 8), len(rows) * _PLACE)
            values = [_sort_key(value) for value in self.values(rows, column)]
            positions = sorted(range(len(rows)), key=values.__getitem__, reverse=order.descending)
            rows = [rows[position] for position in positions]
            self.budget.release(len(rows) * _PLACE)
        return rows

    def tabulate(self, rows: list[_Row], start: int, size: int) -> tuple[list[dict[str, Any]], int]:
        """Return a page of flat rows, and how many there are in all."""
        options = self.query.options
        total = len(rows)
        if not options.distinct:
            rows = rows[start : start + size]
        columns = dict(options.tabular)
        self.budget.spend(len(rows) * len(columns), len(rows) * (_OBJECT + _ENTRY * len(columns)))
        values = [self.values(rows, column) for column in columns.values()]
        flat = [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
        if not options.distinct:
            return flat, total
        self.budget.spend(2 * len(flat) * len(columns), len(flat) * _OBJECT)
        flat = list({encode(row): row for row in flat}.values())
        return flat[start : start + size], len(flat)

    def check_outputs(self) -> None:
        """Refuse columns of ``only`` and ``except`` which there are not."""
        options = self.query.options
        for column in dict.fromkeys((*options.only, *options.omit)):
            table = column.table or self.places[0]
            if table == self.places[0]:
                self.check_column(table, column.name, lambda: iter(self.base))
            elif table not in self.places and table not in self.paths:
                raise QueryError(
                    f"the table of the column {table}.{column.name} is neither joined nor"
                    f" included; there are: {', '.join(self.places)}"
                )

    def check_includes(
        self, table: str, known: Sequence[Record], records: list[Record], terms: tuple[Term, ...]
    ) -> None:
        for term in terms:
            name = term.association or ""
            self.check_association(table, name, lambda: iter(known))
            if term.terms:
                # each once, although many records may share it
                found = {
                    id(partner): partner
                    for record in records
                    for partner in self.partners(table, record, name)
                }
                partners = list(found.values())
                self.check_includes(_table_of(name), partners, partners, term.terms)

    def render(
        self, table: str, record: Record, include: tuple[Term, ...]
    ) -> tuple[dict[str, Any], int]:
        """Return a record's own columns and its included associations, and its length as JSON.

        Records that are shared are rendered once. What they would be when written out is known
        before it is written, however often they occur.
        """
        key = table, id(record), id(include)
        if key not in self.rendered:
            self.rendered[key] = self.draw(table, record, include)
        return self.rendered[key]

    def draw(
        self, table: str, record: Record, include: tuple[Term, ...]
    ) -> tuple[dict[str, Any], int]:
        own, length = self.columns(table, record)
        if not include:
            return own, length
        self.budget.spend(len(include), _OBJECT + _ENTRY * (len(own) + len(include)))
        out = dict(own)
        for term in include:
            name = term.association or ""
            inner = _table_of(name)
            found = self.resolve(table, record, name)
            if found is None:
                # The service leaves a missing single record out, and answers an empty list.
                if name.endswith("s"):
                    out[name] = []
                    length += len(name) + 6
            elif isinstance(found, Mapping):
                if self.matches(inner, found, term):
                    out[name], added = self.render(inner, found, term.terms)
                    length += len(name) + 4 + added
            else:
                listed: list[dict[str, Any] | None] = []
                length += len(name) + 6
                self.budget.spend(len(found), _PLACE * len(found))
                for partner in found:
                    if partner is None:
                        if not term.restricts:
                            listed.append(None)
                            length += 5
                    elif self.matches(inner, partner, term):
                        drawn, added = self.render(inner, partner, term.terms)
                        listed.append(drawn)
                        length += added + 1
                out[name] = listed
        if length > self.budget.limits.answer:
            self.budget.write(length)
        return out, length

    def columns(self, table: str, record: Record) -> tuple[dict[str, Any], int]:
        """Return a record's own columns, and their length as JSON."""
        key = table, id(record)
        if key not in self.columns_of:
            only, omit = self.shows(table)
            own = {
                name: value
                for name, value in record.items()
                if (not only or name in only) and name not in omit
                if _is_column(table, name, value)
            }
            length = len(encode(own))
            steps = 2 + len(record) // 4 + length // 1024
            self.budget.spend(steps, _OBJECT + _ENTRY * len(own))
            self.columns_of[key] = own, length
        return self.columns_of[key]

    def shows(self, table: str) -> tuple[frozenset[str], frozenset[str]]:
        """Return a table's columns of ``only``, which leaves other tables whole, and ``except``."""
        if table not in self.shown:
            options, base = self.query.options, self.places[0]
            self.budget.spend(len(options.only) + len(options.omit))
            only, omit = (
                frozenset(column.name for column in columns if (column.table or base) == table)
                for columns in (options.only, options.omit)
            )
            self.shown[table] = only, omit
        return self.shown[table]

    def matches(self, table: str, record: Record, term: Term) -> bool:
        """Whether a record satisfies the filters of an include."""
        if not term.restricts:
            return True
        key = table, id(record), id(term)
        if key not in self.matched:
            self.budget.spend(1 + len(term.filters) + len(term.terms), _OBJECT)
            # Filters on other tables have chosen among the joined rows already.
            self.matched[key] = all(
                self.condition(condition).holds(record)
                for condition in term.filters
                if condition.column.table in (None, table)
            ) and all(
                any(
                    self.matches(_table_of(inner.association or ""), partner, inner)
                    for partner in self.partners(table, record, inner.association or "")
                )
                for inner in term.terms
                if inner.restricts
            )
        return self.matched[key]


def _paths(include: tuple[Term, ...]) -> dict[str, tuple[str, ...]]:
    """Return by table the associations that lead to it through the includes, the first way."""
    found: dict[str, tuple[str, ...]] = {}

    def walk(terms: tuple[Term, ...], above: tuple[str, ...]) -> None:
        for term in terms:
            path = (*above, term.association or "")
            found.setdefault(_table_of(path[-1]), path)
            walk(term.terms, path)

    walk(include, ())
    return found


def _sort_key(value: Any) -> tuple[int, Any]:
    """Order nulls last, and values of different kinds somehow."""
    if value is None:
        return 2, 0
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def encode(value: Any) -> bytes:
    """Write plain values as JSON that every language reads: NaN becomes null.

    Raises
    ------
    QueryError
        If a value cannot be written, which only records that others made can hold.
    """
    try:
        return msgspec.json.encode(value)
    except (OverflowError, RecursionError, TypeError, UnicodeEncodeError) as error:
        raise QueryError(f"the archive holds a value that cannot be written: {error}") from None


class _Condition:
    """A filter whose values are read once, not once for each record.

    Comparing is SQL's: a null satisfies no comparison but the one with null.
    """

    def __init__(self, condition: Filter, budget: Budget) -> None:
        self.name, self.operator = condition.column.name, condition.operator
        self.values = condition.values
        self.budget = budget
        self._read: dict[type, Any] = {}
        wanted = self.values[0] or ""
        folded = wanted.lower() if self.operator == "$il" else wanted
        self._pieces: list[str] = []
        if self.operator in ("$li", "$il"):
            first, *rest = folded.split("*")
            self._pieces = [first, *filter(None, rest[:-1]), *rest[-1:]]

    def holds(self, record: Record) -> bool:
        value = record.get(self.name)
        operator, wanted = self.operator, self.values[0]
        if operator == "$in":
            if value is None:
                return False
            wanted_values = self.read_all(value)
            return bool(wanted_values) and value in wanted_values
        if wanted is None:
            return (
                (value is None)
                if operator in ("$eq", "$is")
                else (operator == "$ne" and value is not None)
            )
        if value is None:
            return False
        if self._pieces:
            if not isinstance(value, str):
                raise QueryError(f"{operator} compares text, and {self.name} is not")
            self.budget.spend(len(value) // 64 + len(self._pieces) // 4)
            return _fits(value.lower() if operator == "$il" else value, self._pieces)
        other = self.read(value, wanted)
        if operator in ("$eq", "$is"):
            return bool(value == other)
        if operator == "$ne":
            return bool(value != other)
        if operator in ("$lt", "$le"):
            return bool(value < other or (operator == "$le" and value == other))
        return bool(value > other or (operator == "$ge" and value == other))

    def read_all(self, value: Any) -> frozenset[Any]:
        """Return the listed values as the kind of value that a column holds."""
        found: frozenset[Any] | None = self._read.get(type(value))
        if found is None:
            self.budget.spend(len(self.values), _ENTRY * len(self.values))
            found = self._read[type(value)] = frozenset(
                self.like(value, text) for text in self.values if text is not None
            )
        return found

    def read(self, value: Any, text: str) -> Any:
        """Return the one value as the kind of value that a column holds."""
        kind = type(value)
        if kind not in self._read:
            self._read[kind] = self.like(value, text)
        return self._read[kind]

    def like(self, value: Any, text: str) -> Any:
        if isinstance(value, str):
            return text
        if isinstance(value, bool):
            if text.lower() in _BOOLEANS:
                return _BOOLEANS[text.lower()]
            raise QueryError(f"{self.name} is true or false, not {text!r:.100}")
        if isinstance(value, int | float):
            number = _number(text)
            if number is None:
                raise QueryError(f"{self.name} is a number, not {text!r:.100}")
            return number
        raise QueryError(f"{self.name} cannot be compared")


def _number(text: str) -> int | float | None:
    """Read a number of a query, or return `None`."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    # Identifiers must not be rounded; Python refuses to read numbers of thousands of digits.
    if found[1] is None and found[2] is None and len(text) < 20:
        return int(text)
    return float(text)


def _fits(text: str, pieces: Sequence[str]) -> bool:
    """Compare with a pattern, cut at each ``*``, which stands for any characters.

    Written out because a regular expression with many ``.*`` may take for ever to fail.
    """
    first, *middle = pieces
    if not middle:
        return text == first
    last = middle.pop()
    end = len(text) - len(last)
    if not (text.startswith(first) and text.endswith(last)) or len(first) > end:
        return False
    at = len(first)
    for piece in middle:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True
