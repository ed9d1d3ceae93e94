"""RMA, the query language of the Allen Brain Map web API, evaluated on plain records.

A query names a model, says which of its records are wanted and which associated records come
along::

    model::SectionDataSet,rma::criteria,[failed$eqfalse],genes[acronym$eq'Prox1'],
    rma::include,alignment3d,rma::options[num_rows$eqall][order$eq'data_sets.id']

`parse` turns such text into a `Query`, and `run` answers it from tables of records which have the
shape of the service's JSON. The service stands on a relational database and shows it: an
association in the criteria is an inner join, and pages are counted in joined rows, although an
object that several joined rows share arrives once per page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

__all__ = [
    "MAX_DEPTH",
    "MAX_LENGTH",
    "OPTION_NAMES",
    "Answer",
    "Column",
    "Filter",
    "Options",
    "Order",
    "Query",
    "QueryError",
    "RMASyntaxError",
    "Term",
    "columns",
    "parse",
    "run",
]

Record: TypeAlias = Mapping[str, Any]
Tables: TypeAlias = Mapping[str, Sequence[Record]]
# One row of the joined result: the model's record, then one record for each join.
_Row: TypeAlias = tuple[Record, ...]

MAX_LENGTH = 16_384
"""Longest query text that is read, in characters."""

MAX_DEPTH = 16
"""Deepest nesting of associations that is read."""

DEFAULT_ROWS = 50
DEFAULT_ROW_CAP = 25_000

# Joins multiply and includes nest, so a short query can ask for more records than there is memory.
_MAX_PARTNERS = 1_000_000

_OPERATORS = ("$eq", "$ne", "$lt", "$gt", "$le", "$ge", "$li", "$il", "$in", "$is")

OPTION_NAMES = ("num_rows", "start_row", "order", "only", "except", "tabular", "count")
"""Options that have an effect."""

_OPTIONS_WITHOUT_EFFECT = ("debug", "filename")

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

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STAGE = re.compile(r"\w+::")
_OPTION_VALUE = re.compile(r"(?:'[^']*'|[^\]'])*")
_BARE_VALUE = re.compile(r"[^\s,\[\]'$]+")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_COLUMN = re.compile(r"(?:(\w+)\.)?(\w+)")
_ORDER = re.compile(r"(?:(\w+)\.)?(\w+)(?:[ +$]+(asc|desc))?", re.IGNORECASE)
_TABULAR = re.compile(r"(?:(\w+)\.)?(\w+)(?:[ +]+as[ +]+(\w+))?", re.IGNORECASE)
_DISTINCT = re.compile(r"distinct[ +]+", re.IGNORECASE)
_BOOLEANS = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}


class QueryError(ValueError):
    """A query that cannot be answered."""


class RMASyntaxError(QueryError):
    """A query that breaks the grammar.

    Parameters
    ----------
    message : str
        What was expected.
    text : str
        The text that was read.
    position : int
        Index in `text` of the character that does not fit.
    """

    def __init__(self, message: str, text: str, position: int) -> None:
        before, after = text[max(0, position - 30) : position], text[position : position + 30]
        super().__init__(f"{message} at position {position}: {before!r} here --> {after!r}")
        self.text = text
        self.position = position


@dataclass(frozen=True, slots=True)
class Column:
    """A column, qualified with the plural name of its table or belonging to where it stands."""

    table: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Filter:
    """A comparison of a column with values; `None` among the values is SQL's null."""

    column: Column
    operator: str
    values: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """Filters on an association's records, and terms that start from those records.

    A term without an association speaks of the records of the term around it.
    """

    association: str | None
    filters: tuple[Filter, ...] = ()
    terms: tuple[Term, ...] = ()

    @property
    def restricts(self) -> bool:
        """Whether there is a filter in this term or in one inside it."""
        return bool(self.filters) or any(term.restricts for term in self.terms)


@dataclass(frozen=True, slots=True)
class Order:
    """One sorting key."""

    column: Column
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """What of the result is answered, and how.

    Attributes
    ----------
    num_rows : int or None
        Rows in the answer; `None` for all.
    start_row : int
        First row, counted from 0.
    order : tuple of Order
        Sorting keys, the most important first.
    only, omit : tuple of Column
        Columns to answer and columns to leave out (``except`` in a query).
    tabular : tuple of (str, Column)
        Keys and columns of flat rows; empty for objects.
    distinct : bool
        Whether equal flat rows are answered once.
    count : bool
        Whether the rows of the whole result are counted.
    """

    num_rows: int | None = DEFAULT_ROWS
    start_row: int = 0
    order: tuple[Order, ...] = ()
    only: tuple[Column, ...] = ()
    omit: tuple[Column, ...] = ()
    tabular: tuple[tuple[str, Column], ...] = ()
    distinct: bool = False
    count: bool = True

    @classmethod
    def from_strings(cls, values: Mapping[str, str]) -> Options:
        """Read options from their text.

        Parameters
        ----------
        values : mapping of str to str
            Text by name of the option. Names that are no option are ignored, as the service does
            with URL parameters.

        Raises
        ------
        RMASyntaxError
            When a text is not a value of its option.
        """
        # Quotes around a value, or around each item of a list, are optional.
        given = {name: values[name].replace("'", "") for name in OPTION_NAMES if name in values}
        num_rows = given.get("num_rows", str(DEFAULT_ROWS))
        tabular = given.get("tabular", "")
        distinct = _DISTINCT.match(tabular)
        listed = tabular[distinct.end() :] if distinct else tabular
        count = given.get("count", "true").lower()
        if count not in _BOOLEANS:
            raise RMASyntaxError("expected true or false for count", count, 0)
        return cls(
            num_rows=None if num_rows == "all" else _whole(num_rows, "num_rows"),
            start_row=_whole(given.get("start_row", "0"), "start_row"),
            order=tuple(
                Order(Column(f[1], f[2]), (f[3] or "").lower() == "desc")
                for f in _items(_ORDER, given.get("order", ""))
            ),
            only=tuple(Column(f[1], f[2]) for f in _items(_COLUMN, given.get("only", ""))),
            omit=tuple(Column(f[1], f[2]) for f in _items(_COLUMN, given.get("except", ""))),
            tabular=tuple((f[3] or f[2], Column(f[1], f[2])) for f in _items(_TABULAR, listed)),
            distinct=distinct is not None,
            count=_BOOLEANS[count],
        )


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query."""

    model: str
    criteria: tuple[Term, ...] = ()
    include: tuple[Term, ...] = ()
    options: Options = field(default_factory=Options)


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


def _whole(text: str, name: str) -> int:
    if re.fullmatch(r"[0-9]{1,12}", text) is None:
        raise RMASyntaxError(f"expected a whole number for {name}", text, 0)
    return int(text)


def _items(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Match the items of a comma list, none if the text is empty."""
    position = 0
    for item in text.split(",") if text else ():
        found = pattern.fullmatch(item.strip())
        if found is None:
            raise RMASyntaxError("expected the name of a column", text, position)
        yield found
        position += len(item) + 1


class _Parser:
    """Recursive descent over the text of one query."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        if len(text) > MAX_LENGTH:
            self.at = MAX_LENGTH
            self.fail(f"expected a query of at most {MAX_LENGTH} characters, got {len(text)},")

    def fail(self, message: str) -> NoReturn:
        raise RMASyntaxError(message, self.text, self.at)

    @property
    def ended(self) -> bool:
        return self.at == len(self.text)

    def accept(self, literal: str) -> bool:
        found = self.text.startswith(literal, self.at)
        if found:
            self.at += len(literal)
        return found

    def expect(self, literal: str, where: str) -> None:
        if not self.accept(literal):
            self.fail(f"expected {literal!r} {where}")

    def match(self, pattern: re.Pattern[str], what: str) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            self.fail(f"expected {what}")
        self.at = found.end()
        return found[0]

    def query(self, model: str | None) -> tuple[str, list[Term], list[Term], dict[str, str]]:
        steps: dict[str, list[Term]] = {"criteria": [], "include": []}
        options: dict[str, str] = {}
        step = "criteria"
        separated = model is None
        if model is None:
            if self.text.startswith(("service::", "pipe::")):
                self.fail("expected 'model::' (services and pipes are not offered)")
            self.expect("model::", "at the start")
            model = self.match(_NAME, "the name of a model")
            if self.text.startswith("[", self.at):
                steps["criteria"].append(self.term())
        while not self.ended:
            if separated:
                self.expect(",", "or the end")
            separated = True
            if self.accept("rma::options"):
                options.update(self.options())
            elif self.accept("rma::"):
                step = self.match(_NAME, "criteria, include or options")
                if step not in steps:
                    self.at -= len(step)
                    self.fail("expected criteria, include or options")
                # A bracket may follow the name of the step without a comma, as after a model.
                separated = not self.text.startswith("[", self.at)
            elif _STAGE.match(self.text, self.at):
                self.fail("expected no second stage (one model per query is offered)")
            else:
                steps[step].append(self.term(named=step == "include"))
        return model, steps["criteria"], steps["include"], options

    def terms(self) -> list[Term]:
        found = [] if self.ended else [self.term(named=True)]
        while not self.ended:
            self.expect(",", "or the end")
            found.append(self.term(named=True))
        return found

    def term(self, *, named: bool = False, depth: int = 1) -> Term:
        if depth > MAX_DEPTH:
            self.fail(f"expected at most {MAX_DEPTH} associations inside each other")
        association = None
        if named or not self.text.startswith("[", self.at):
            association = self.match(
                _NAME, "the name of an association" + ("" if named else " or a filter")
            )
        filters = []
        while self.accept("["):
            filters.append(self.filter())
        inner = []
        if self.accept("("):
            inner.append(self.term(named=named, depth=depth + 1))
            while self.accept(","):
                inner.append(self.term(named=named, depth=depth + 1))
            self.expect(")", "or ','")
        return Term(association, tuple(filters), tuple(inner))

    def filter(self) -> Filter:
        name = self.match(_NAME, "the name of a column")
        column = Column(None, name)
        if self.accept("."):
            column = Column(name, self.match(_NAME, "the name of a column"))
        if self.accept("]"):
            return Filter(column, "$ne", (None,))
        operator = self.text[self.at : self.at + 3]
        if operator not in _OPERATORS:
            self.fail(f"expected ']' or an operator ({' '.join(_OPERATORS)})")
        self.at += 3
        values = [self.value()]
        while self.accept(","):
            if operator != "$in":
                self.at -= 1
                self.fail(f"expected ']' ({operator} takes one value; quote one with a comma)")
            values.append(self.value())
        self.expect("]", "(quote a value with white space, quotes cannot be inside a value)")
        return Filter(column, operator, tuple(values))

    def value(self) -> str | None:
        if self.text.startswith("'", self.at):
            return self.quoted()
        if self.text.startswith("$", self.at):
            self.fail("expected a value (variables are not offered)")
        value = self.match(_BARE_VALUE, "a value")
        return None if value in ("null", "nil") else value

    def quoted(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            self.fail("expected a closing quote for the one")
        value = self.text[self.at + 1 : end]
        self.at = end + 1
        return value

    def options(self) -> dict[str, str]:
        values = {}
        while self.accept("["):
            name = self.match(_NAME, "the name of an option")
            if name not in OPTION_NAMES and name not in _OPTIONS_WITHOUT_EFFECT:
                self.at -= len(name)
                self.fail(f"expected an option ({', '.join(OPTION_NAMES)})")
            self.expect("$eq", "after the name of an option")
            # Lists, directions (id$asc) and aliases (id as key) are allowed without quotes too.
            values[name] = self.match(_OPTION_VALUE, "a value")
            self.expect("]", "after the value of an option")
        if not values:
            self.fail("expected '[' after rma::options")
        return values


def parse(
    criteria: str,
    *,
    model: str | None = None,
    include: str = "",
    options: Mapping[str, str] | None = None,
) -> Query:
    """Parse a query, whole or in the parts that a URL gives.

    Parameters
    ----------
    criteria : str
        A query that starts with ``model::``; or, when `model` is given, what follows the name of
        the model (possibly nothing).
    model : str, optional
        The model, when the URL's path names it.
    include : str, optional
        Further associations to include.
    options : mapping of str to str, optional
        Text of options by name. Where the query has ``rma::options`` too, those win.

    Returns
    -------
    Query
        The parsed query.

    Raises
    ------
    RMASyntaxError
        When a text breaks the grammar; nothing else is raised, whatever the text.

    Examples
    --------
    >>> parse("model::SectionImage,rma::criteria,[data_set_id$eq479]").criteria[0].filters[0]
    Filter(column=Column(table=None, name='data_set_id'), operator='$eq', values=('479',))
    """
    name, wanted, included, inner_options = _Parser(criteria).query(model)
    return Query(
        model=name,
        criteria=tuple(wanted),
        include=(*included, *_Parser(include).terms()),
        options=Options.from_strings({**(options or {}), **inner_options}),
    )


def _table_of(name: str) -> str:
    """Table of an association or of a model written like one: ``plane_of_section``."""
    return _TABLES.get(name, name if name.endswith("s") else f"{name}s")


def _snake_case(model: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", model).lower()


def _camel_case(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _is_nested(value: Any) -> bool:
    """Whether a value holds associated records; an empty list does, as no column is a list."""
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
    raise QueryError(f"there is no model {model!r} here; there are: {', '.join(sorted(tables))}")


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
        When the tables lack the model.
    """
    model = _model_in(tables, model)
    return _column_names(_table_of(_snake_case(model)), tables[model])


def run(query: Query, tables: Tables, *, row_cap: int = DEFAULT_ROW_CAP) -> Answer:
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

    Returns
    -------
    Answer
        The page that the query's options ask for. Included associations are complete whichever
        rows of the joined result the page shows, except that filters in an include choose among
        the associated records too.

    Raises
    ------
    QueryError
        When the query names a model, an association, a column or a table that there is not, or
        compares a column with a value of another kind, or asks for too much.
    """
    return _Evaluation(query, tables).page(row_cap)


class _Evaluation:
    """The state of answering one query."""

    def __init__(self, query: Query, tables: Tables) -> None:
        self.query = query
        self.tables = tables
        model = _model_in(tables, query.model)
        self.base = list(tables[model])
        # Table of each place of the joined rows.
        self.places = [_table_of(_snake_case(model))]
        # Filters on a table that may be joined only later in the query.
        self.deferred: list[Filter] = []
        self.partners_left = _MAX_PARTNERS
        self.indices: dict[tuple[str, str], dict[Any, list[Record]]] = {}

    # ---- from a record to its associated records

    def index(self, model: str, column: str) -> Mapping[Any, list[Record]]:
        key = model, column
        if key not in self.indices:
            index = self.indices[key] = {}
            for record in self.tables.get(model, ()):
                index.setdefault(record.get(column), []).append(record)
        return self.indices[key]

    def resolve(
        self, table: str, record: Record, name: str
    ) -> Record | Sequence[Record | None] | None:
        """Find what is associated with a record: one record, a list, or nothing."""
        if name in record and _is_nested(record[name]):
            found: Record | Sequence[Record | None] = record[name]
            return found
        if table == "data_sets" and name == "sub_images" and "section_images" in record:
            return self.resolve(table, record, "section_images")
        if table == "data_sets" and name in ("section_images", "sub_images"):
            return self.index("SectionImage", "data_set_id").get(record.get("id"))
        if table == "genes" and name == "data_sets":
            # a data set holds its genes; the other way round is looked through
            acronym = record.get("acronym")
            return [
                one
                for one in self.tables.get("SectionDataSet", ())
                if any(gene and gene.get("acronym") == acronym for gene in one.get("genes") or ())
            ]
        if name in ("section_data_set", "data_set"):
            model, key = "SectionDataSet", "data_set_id"
        else:
            model, key = _camel_case(name), f"{name}_id"
        if record.get(key) is None:
            return None
        parents = self.index(model, "id").get(record[key])
        return parents[0] if parents else None

    def partners(self, table: str, record: Record, name: str) -> list[Record]:
        found = self.resolve(table, record, name)
        if found is None:
            return []
        return [found] if isinstance(found, Mapping) else [one for one in found if one is not None]

    def spend(self) -> None:
        self.partners_left -= 1
        if self.partners_left < 0:
            raise QueryError(
                f"the query leads to more than {_MAX_PARTNERS} associated records;"
                " ask for fewer records or fewer associations"
            )

    # ---- complaints about names

    def check_association(self, table: str, name: str, records: Sequence[Record]) -> None:
        known = _ASSOCIATIONS.get(table, frozenset())
        if name in known or not records:
            return
        if any(self.resolve(table, record, name) is not None for record in records):
            return
        held = {key for record in records for key, value in record.items() if _is_nested(value)}
        offered = ", ".join(sorted(known | held)) or "none"
        raise QueryError(f"{table} has no association {name!r}; it has: {offered}")

    def check_column(self, table: str, name: str, records: Sequence[Record]) -> None:
        if not records or any(
            name in record and _is_column(table, name, record[name]) for record in records
        ):
            return
        offered = ", ".join(sorted(_column_names(table, records)))
        raise QueryError(f"{table} has no column {name!r} here; it has: {offered}")

    # ---- joins

    def rows(self) -> list[_Row]:
        """Join what the criteria and the restricting includes name, and filter."""
        rows: list[_Row] = [(record,) for record in self.base]
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

    def join(
        self, rows: list[_Row], place: int, term: Term, *, only_restricting: bool = False
    ) -> list[_Row]:
        if term.association is not None:
            table = self.places[place]
            self.check_association(table, term.association, self.records_at(rows, place))
            joined: list[_Row] = []
            for row in rows:
                for partner in self.partners(table, row[place], term.association):
                    self.spend()
                    joined.append((*row, partner))
            rows = joined
            place = len(self.places)
            self.places.append(_table_of(term.association))
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
        return [row for row in rows if _holds(condition, row[place])]

    def records_at(self, rows: list[_Row], place: int) -> list[Record]:
        # A wrong name in the model's own table is one even when no row is left to show it.
        return self.base if place == 0 else [row[place] for row in rows]

    # ---- columns of other tables

    def values(self, rows: list[_Row], column: Column) -> list[Any]:
        """Return the values of a column in each row, null where a row lacks the record."""
        table = column.table or self.places[0]
        records: list[Record | None]
        if table in self.places:
            place = self.places.index(table)
            records = [row[place] for row in rows]
            known = self.records_at(rows, place)
        else:
            path = _path_to(table, self.query.include)
            if path is None:
                raise QueryError(
                    f"the table of the column {table}.{column.name} is neither joined nor"
                    f" included; there are: {', '.join(self.places)}"
                )
            records = [self.first(row[0], path) for row in rows]
            known = [record for record in records if record is not None]
        self.check_column(table, column.name, known)
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
        rows = self.rows()
        # Sorting is stable: the least important key goes first.
        for order in reversed(options.order):
            keys = [_sort_key(value) for value in self.values(rows, order.column)]
            positions = sorted(range(len(rows)), key=keys.__getitem__, reverse=order.descending)
            rows = [rows[position] for position in positions]

        start = options.start_row
        size = row_cap if options.num_rows is None else min(options.num_rows, row_cap)
        if options.tabular:
            flat = self.tabulate(rows)
            shown = flat[start : start + size]
            total, num_rows = len(flat), len(shown)
        else:
            self.check_outputs()
            page = rows[start : start + size]
            total, num_rows = len(rows), len(page)
            objects = list({id(row[0]): row[0] for row in page}.values())
            self.check_includes(self.places[0], self.base, objects, self.query.include)
            shown = [self.render(self.places[0], one, self.query.include) for one in objects]
        return Answer(shown, start, num_rows, total if options.count else start + num_rows)

    def tabulate(self, rows: list[_Row]) -> list[dict[str, Any]]:
        options = self.query.options
        keys = [key for key, _ in options.tabular]
        values = [self.values(rows, column) for _, column in options.tabular]
        flat = [dict(zip(keys, row, strict=True)) for row in zip(*values, strict=True)]
        if options.distinct:
            flat = list({repr(row): row for row in flat}.values())
        return flat

    def check_outputs(self) -> None:
        """Refuse columns of ``only`` and ``except`` which there are not."""
        options = self.query.options
        for column in (*options.only, *options.omit):
            table = column.table or self.places[0]
            if table == self.places[0]:
                self.check_column(table, column.name, self.base)
            elif table not in self.places and _path_to(table, self.query.include) is None:
                raise QueryError(
                    f"the table of the column {table}.{column.name} is neither joined nor"
                    f" included; there are: {', '.join(self.places)}"
                )

    def check_includes(
        self, table: str, known: Sequence[Record], records: list[Record], terms: tuple[Term, ...]
    ) -> None:
        for term in terms:
            name = term.association or ""
            self.check_association(table, name, known)
            if term.terms:
                partners = [one for record in records for one in self.partners(table, record, name)]
                self.check_includes(_table_of(name), partners, partners, term.terms)

    def render(self, table: str, record: Record, include: tuple[Term, ...]) -> dict[str, Any]:
        """Return a record's own columns and its included associations."""
        self.spend()
        out = {
            name: value
            for name, value in record.items()
            if _is_column(table, name, value) and self.shows(table, name)
        }
        for term in include:
            name = term.association or ""
            inner = _table_of(name)
            found = self.resolve(table, record, name)
            if found is None:
                # The service leaves a missing single record out, and answers an empty list.
                if name.endswith("s"):
                    out[name] = []
            elif isinstance(found, Mapping):
                if self.matches(inner, found, term):
                    out[name] = self.render(inner, found, term.terms)
            else:
                out[name] = [
                    None if one is None else self.render(inner, one, term.terms)
                    for one in found
                    if (not term.restricts if one is None else self.matches(inner, one, term))
                ]
        return out

    def shows(self, table: str, name: str) -> bool:
        """Whether the options let a column through; ``only`` leaves other tables whole."""
        options, base = self.query.options, self.places[0]
        only = [column.name for column in options.only if (column.table or base) == table]
        omit = [column.name for column in options.omit if (column.table or base) == table]
        return (not only or name in only) and name not in omit

    def matches(self, table: str, record: Record, term: Term) -> bool:
        """Whether a record satisfies the filters of an include."""
        for condition in term.filters:
            # Filters on other tables have chosen among the joined rows already.
            if condition.column.table in (None, table) and not _holds(condition, record):
                return False
        return all(
            any(
                self.matches(_table_of(inner.association or ""), partner, inner)
                for partner in self.partners(table, record, inner.association or "")
            )
            for inner in term.terms
            if inner.restricts
        )


def _path_to(table: str, include: tuple[Term, ...]) -> tuple[str, ...] | None:
    """Find the associations that lead through the includes to a table."""
    for term in include:
        name = term.association or ""
        if _table_of(name) == table:
            return (name,)
        rest = _path_to(table, term.terms)
        if rest is not None:
            return (name, *rest)
    return None


def _sort_key(value: Any) -> tuple[int, Any]:
    """Order nulls last, and values of different kinds somehow."""
    if value is None:
        return 2, 0
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def _holds(condition: Filter, record: Record) -> bool:
    """Compare as SQL does: a null satisfies no comparison but the one with null."""
    value = record.get(condition.column.name)
    operator, wanted = condition.operator, condition.values[0]
    if operator == "$in":
        return value is not None and any(
            value == _like(value, one, condition) for one in condition.values if one is not None
        )
    if wanted is None:
        return (
            (value is None)
            if operator in ("$eq", "$is")
            else (operator == "$ne" and value is not None)
        )
    if value is None:
        return False
    if operator in ("$li", "$il"):
        if not isinstance(value, str):
            raise QueryError(f"{operator} compares text, and {condition.column.name} is not")
        if operator == "$il":
            value, wanted = value.lower(), wanted.lower()
        return _fits(value, wanted)
    other = _like(value, wanted, condition)
    if operator in ("$eq", "$is"):
        return bool(value == other)
    if operator == "$ne":
        return bool(value != other)
    if operator in ("$lt", "$le"):
        return bool(value < other or (operator == "$le" and value == other))
    return bool(value > other or (operator == "$ge" and value == other))


def _like(value: Any, text: str, condition: Filter) -> Any:
    """Read the text of a query as the kind of value that a column holds."""
    if isinstance(value, str):
        return text
    if isinstance(value, bool):
        if text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        raise QueryError(f"{condition.column.name} is true or false, not {text!r}")
    if isinstance(value, int | float):
        found = _NUMBER.fullmatch(text)
        if found is None:
            raise QueryError(f"{condition.column.name} is a number, not {text!r}")
        # Identifiers must not be rounded; Python refuses to read numbers of thousands of digits.
        whole = found[1] is None and found[2] is None and len(text) < 20
        return int(text) if whole else float(text)
    raise QueryError(f"{condition.column.name} cannot be compared")


def _fits(text: str, pattern: str) -> bool:
    """Compare with a pattern whose ``*`` stands for any characters.

    Written out because a regular expression with many ``.*`` may take for ever to fail.
    """
    first, *middle = pattern.split("*")
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
