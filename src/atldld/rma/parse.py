"""Reading queries in the service's language.

::

    model::SectionDataSet,rma::criteria,[failed$eqfalse],genes[acronym$eq'Prox1'],
    rma::include,alignment3d,rma::options[num_rows$eqall][order$eq'data_sets.id']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NoReturn

from atldld.rma.budget import QueryError
from atldld.rma.query import DEFAULT_ROWS, Bare, Column, Filter, Options, Order, Query, Term

__all__ = [
    "MAX_DEPTH",
    "MAX_LENGTH",
    "OPTION_NAMES",
    "RMASyntaxError",
    "parse",
    "read_options",
]

MAX_LENGTH = 16_384
"""Longest query text that is read, in characters."""

MAX_DEPTH = 16
"""Deepest nesting of associations that is read."""

_OPERATORS = ("$eq", "$ne", "$lt", "$gt", "$le", "$ge", "$li", "$il", "$in", "$is")

OPTION_NAMES = ("num_rows", "start_row", "order", "only", "except", "tabular", "count")
"""Options that have an effect."""

_OPTIONS_WITHOUT_EFFECT = ("debug", "filename")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STAGE = re.compile(r"\w+::")
_OPTION_VALUE = re.compile(r"(?:'[^']*'|[^\]'])*")
_BARE_VALUE = re.compile(r"[^\s,\[\]'$]+")
_COLUMN = re.compile(r"(?:(\w+)\.)?(\w+)")
_ORDER = re.compile(r"(?:(\w+)\.)?(\w+)(?:[ +$]+(asc|desc))?", re.IGNORECASE)
_TABULAR = re.compile(r"(?:(\w+)\.)?(\w+)(?:[ +]+as[ +]+(\w+))?", re.IGNORECASE)
_DISTINCT = re.compile(r"distinct[ +]+", re.IGNORECASE)
_BOOLEANS = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}


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
        return None if value in ("null", "nil") else Bare(value)

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


def read_options(values: Mapping[str, str]) -> Options:
    """Read options from their texts.

    Parameters
    ----------
    values : mapping of str to str
        Text by name of the option. Names that are no option are ignored, as the service does
        with URL parameters.

    Raises
    ------
    RMASyntaxError
        If a text is not a value of its option.
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
    return Options(
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
        If a text breaks the grammar; nothing else is raised, whatever the text.

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
        options=read_options({**(options or {}), **inner_options}),
    )
