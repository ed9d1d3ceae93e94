"""Queries in the service's RMA language, as values, and the one place where they are written.

RMA is described at the Allen Institute's "RESTful Model Access" pages. A query names a model,
criteria that its records must meet, and associations to send along. A `Query` is what such a text
means, with every default filled in; `RMAParameters` is a request for one, which says no more than
its author did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atldld.errors import InvalidInputError

__all__ = [
    "DEFAULT_ROWS",
    "Bare",
    "Column",
    "Criteria",
    "Filter",
    "Options",
    "Order",
    "Query",
    "RMAParameters",
    "Term",
    "among",
    "as_terms",
]

Criteria = Mapping[str, Any]
DEFAULT_ROWS = 50


class Bare(str):
    """A value that is written without quotes, such as a number or ``true``."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column, qualified with the plural name of its table or belonging to where it stands."""

    table: str | None
    name: str

    @property
    def text(self) -> str:
        """The column in the service's language."""
        return self.name if self.table is None else f"{self.table}.{self.name}"


@dataclass(frozen=True, slots=True)
class Filter:
    """A comparison of a column with values; `None` among the values is SQL's null.

    A value that is `Bare` is written without quotes. That makes no difference to what it means.
    """

    column: Column
    operator: str
    values: tuple[str | None, ...]

    @classmethod
    def of(cls, column: str, operator: str, *values: Any) -> Filter:
        """Compare a column with Python values.

        Raises
        ------
        InvalidInputError
            If a value cannot be expressed in the service's language.
        """
        return cls(Column(None, column), operator, tuple(_value(value) for value in values))

    @property
    def text(self) -> str:
        """The filter in the service's language."""
        values = ",".join(
            "null" if value is None else value if isinstance(value, Bare) else _quoted(value)
            for value in self.values
        )
        return f"[{self.column.text}{self.operator}{values}]"


@dataclass(frozen=True, slots=True)
class Term:
    """Filters on an association's records, and terms that start from those records.

    A term without an association speaks of the records of the term around it.
    """

    association: str | None
    filters: tuple[Filter, ...] = ()
    terms: tuple[Term, ...] = ()
    restricts: bool = field(init=False, repr=False, compare=False)
    """Whether there is a filter in this term or in one inside it."""

    def __post_init__(self) -> None:
        inside = any(term.restricts for term in self.terms)
        object.__setattr__(self, "restricts", bool(self.filters) or inside)

    @property
    def text(self) -> str:
        """The term in the service's language."""
        filters = "".join(condition.text for condition in self.filters)
        inside = ",".join(term.text for term in self.terms)
        return f"{self.association or ''}{filters}" + (f"({inside})" if inside else "")


@dataclass(frozen=True, slots=True)
class Order:
    """One sorting key."""

    column: Column
    descending: bool = False

    @property
    def text(self) -> str:
        """The key in the service's language."""
        return self.column.text + "$desc" * self.descending


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

    @property
    def texts(self) -> dict[str, str]:
        """What differs from the default, written, by name of the option."""
        columns = [f"{column.text} as {key}" for key, column in self.tabular]
        listed = {
            "order": [key.text for key in self.order],
            "only": [column.text for column in self.only],
            "except": [column.text for column in self.omit],
            "tabular": ["distinct " * self.distinct + ",".join(columns)] if columns else [],
        }
        rows = "all" if self.num_rows is None else str(self.num_rows)
        plain = {
            "start_row": str(self.start_row) if self.start_row else "",
            "num_rows": rows if self.num_rows != DEFAULT_ROWS else "",
            "count": "" if self.count else "false",
        }
        texts = {**{name: _quoted(",".join(items)) for name, items in listed.items() if items}}
        return texts | {name: text for name, text in plain.items() if text}


@dataclass(frozen=True, slots=True)
class Query:
    """A query, understood.

    Examples
    --------
    >>> Query("SectionImage", (Term(None, (Filter.of("data_set_id", "$eq", 479),)),)).text
    'model::SectionImage,rma::criteria,[data_set_id$eq479]'
    """

    model: str
    criteria: tuple[Term, ...] = ()
    include: tuple[Term, ...] = ()
    options: Options = field(default_factory=Options)

    @property
    def text(self) -> str:
        """The query in the service's language."""
        return _written(
            self.model,
            [term.text for term in self.criteria],
            [term.text for term in self.include],
            self.options.texts,
        )


@dataclass(frozen=True)
class RMAParameters:
    """One RMA query; ``str()`` of it is the ``criteria=`` part of the address.

    Parameters
    ----------
    model : str
        Such as ``"SectionDataSet"``.
    criteria : mapping or sequence of Term or str, optional
        Column → value that it must equal; a nested mapping is an association with criteria of
        its own, such as ``{"genes": {"acronym": "Prox1"}}``. Or terms, among which a text is
        sent as it is.
    include : sequence of str, optional
        Associations to send along, such as ``["alignment3d", "specimen(donor(age))"]``.
    start_row, num_rows : int, optional
        The page.
    order : str, optional
        Column to sort by, with its table's name where associations are joined, such as
        ``"data_sets.id"``.
    only : sequence of str, optional
        Columns to send, such as ``["sub_images.id", "sub_images.width"]``; all if not given.

    Examples
    --------
    >>> RMAParameters("SectionDataSet", {"id": 479}, ["alignment3d"]).text
    'model::SectionDataSet,rma::criteria,[id$eq479],rma::include,alignment3d'
    """

    model: str
    criteria: Criteria | Sequence[Term | str] | None = None
    include: Sequence[str] | None = None
    start_row: int | None = None
    num_rows: int | None = None
    order: str | None = None
    only: Sequence[str] | None = None

    def __str__(self) -> str:
        return f"criteria={self.text}"

    @property
    def text(self) -> str:
        """The query in the service's language."""
        criteria = self.criteria or ()
        terms = as_terms(criteria) if isinstance(criteria, Mapping) else criteria
        options = {
            "order": None if self.order is None else _quoted(self.order),
            "start_row": self.start_row,
            "num_rows": self.num_rows,
            "only": _quoted(",".join(self.only)) if self.only else None,
        }
        return _written(
            self.model,
            [term if isinstance(term, str) else term.text for term in terms],
            self.include or (),
            {name: value for name, value in options.items() if value is not None},
        )


def as_terms(criteria: Criteria, operator: str = "$eq") -> tuple[Term, ...]:
    """Turn a mapping into terms: one of the columns, and one for each association.

    Parameters
    ----------
    criteria : mapping
        See `RMAParameters`.
    operator : str, optional
        How columns are compared with their values.

    Raises
    ------
    InvalidInputError
        If a value cannot be expressed in the service's language.
    """
    own = tuple(
        Filter.of(column, operator, value)
        for column, value in criteria.items()
        if not isinstance(value, Mapping)
    )
    terms = [Term(None, own)] if own else []
    for association, nested in criteria.items():
        if isinstance(nested, Mapping):
            inside = as_terms(nested, operator)
            filters = inside[0].filters if inside and inside[0].association is None else ()
            terms.append(Term(association, filters, inside[bool(filters) :]))
    return tuple(terms)


def among(column: str, values: Sequence[str | int]) -> Filter:
    """Compare a column with one value, or with several of which it must be one."""
    return Filter.of(column, "$eq" if len(values) == 1 else "$in", *values)


def _written(
    model: str, criteria: Iterable[str], include: Iterable[str], options: Mapping[str, Any]
) -> str:
    stages = [f"model::{model}"]
    for name, texts in (("criteria", criteria), ("include", include)):
        stage = ",".join(filter(None, texts))
        if stage:
            stages.append(f"rma::{name},{stage}")
    if options:
        named = (f"[{name}$eq{value}]" for name, value in options.items())
        stages.append("rma::options" + "".join(named))
    return ",".join(stages)


def _quoted(text: str) -> str:
    return f"'{text}'"


def _value(value: Any) -> str | None:
    """Return what stands for a Python value in a query."""
    if value is None:
        return None
    if isinstance(value, bool):
        return Bare("true" if value else "false")
    if isinstance(value, int | float):
        return Bare(value)
    text = str(value)
    if len(text) > 1 and text[0] == text[-1] == "'":
        text = text[1:-1]  # quoted already
    if "'" in text or '"' in text:
        # How the service wants quotes escaped is not known, so none are sent.
        raise InvalidInputError(
            f"{text!r} holds a quotation mark, which the service's query language cannot express.",
            hint="Search without it.",
        )
    return text
