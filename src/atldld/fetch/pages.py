"""Queries in the service's RMA language, and the complete rows of their answers.

RMA is described at the Allen Institute's "RESTful Model Access" pages. A query names a model,
criteria that rows must meet, and associations to include.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from atldld.errors import (
    AnswerError,
    InvalidInputError,
    RepeatedRowsWarning,
    RMAError,
    RowShortfallWarning,
    ServiceWarning,
    UnsortedRowsWarning,
)

__all__ = ["Criteria", "RMAParameters", "fetch_all"]

Criteria = Mapping[str, Any]
PAGE = 2000
PASSES = 3


@dataclass(frozen=True)
class RMAParameters:
    """One RMA query; ``str()`` of it is the ``criteria=`` part of the address.

    Parameters
    ----------
    model : str
        Such as ``"SectionDataSet"``.
    criteria : mapping, optional
        Column → value that it must equal; a nested mapping is an association with criteria of
        its own, such as ``{"genes": {"acronym": "Prox1"}}``.
    include : sequence of str, optional
        Associations to send along, such as ``["alignment3d", "specimen(donor(age))"]``.
    start_row, num_rows : int, optional
        The page.
    order : str, optional
        Column to sort by, with its table's name where associations are joined, such as
        ``"data_sets.id"``.

    Examples
    --------
    >>> RMAParameters("SectionDataSet", {"id": 479}, ["alignment3d"]).text
    'model::SectionDataSet,rma::criteria,[id$eq479],rma::include,alignment3d'
    """

    model: str
    criteria: Criteria | None = None
    include: Sequence[str] | None = None
    start_row: int | None = None
    num_rows: int | None = None
    order: str | None = None

    def __str__(self) -> str:
        return f"criteria={self.text}"

    @property
    def text(self) -> str:
        """The query in the service's language."""
        stages = [f"model::{self.model}"]
        if self.criteria:
            stages.append("rma::criteria," + ",".join(_terms(self.criteria)))
        if self.include:
            stages.append("rma::include," + ",".join(self.include))
        options = [
            f"[{name}$eq{value}]"
            for name, value in (
                ("order", None if self.order is None else f"'{self.order}'"),
                ("start_row", self.start_row),
                ("num_rows", self.num_rows),
            )
            if value is not None
        ]
        if options:
            stages.append("rma::options" + "".join(options))
        return ",".join(stages)


def _terms(criteria: Criteria) -> list[str]:
    """Return the filters of the columns as one term, and one term for each association."""
    filters = "".join(
        f"[{column}$eq{_literal(value)}]"
        for column, value in criteria.items()
        if not isinstance(value, Mapping)
    )
    terms = [filters] if filters else []
    for association, nested in criteria.items():
        if isinstance(nested, Mapping):
            own, *deeper = _terms(nested) or [""]
            if own and not own.startswith("["):
                own, deeper = "", [own, *deeper]
            terms.append(f"{association}{own}" + (f"({','.join(deeper)})" if deeper else ""))
    return terms


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    if len(text) > 1 and text[0] == text[-1] == "'":
        text = text[1:-1]  # quoted already
    if "'" in text or '"' in text:
        # How the service wants quotes escaped is not known, so none are sent.
        raise InvalidInputError(
            f"{text!r} holds a quotation mark, which the service's query language cannot express.",
            hint="Search without it.",
        )
    return f"'{text}'"


def fetch_all(
    ask: Callable[[RMAParameters], Mapping[str, Any]],
    query: RMAParameters,
    report: Callable[[ServiceWarning], None],
    *,
    distinct: bool = False,
) -> list[dict[str, Any]]:
    """Return every row of a query, page by page.

    The service may send fewer rows in a page than were asked for, may count joined rows while it
    sends folded ones, and may never send all that it promised. So pages advance by what the
    answer says it holds, rows are de-duplicated by id, and an empty page ends it, or two with
    nothing new. What is missing then is asked for again, twice, since it may have been a passing
    fault; after that a shortfall is a warning.

    Parameters
    ----------
    ask : callable
        Sends one query and returns the envelope of the answer.
    query : RMAParameters
        Without a page. Its `order` should make the sequence of rows definite.
    report : callable
        Takes a `RowShortfallWarning` when fewer rows arrived than were promised, a
        `RepeatedRowsWarning` when some came again, an `UnsortedRowsWarning` when they do not come
        by id although the query asks for that.
    distinct : bool
        The query joins nothing that there may be several of, so as many different rows must
        arrive as were promised.

    Raises
    ------
    RMAError, ServiceError
        The service refused, or no usable answer could be had.
    """
    rows: dict[Any, dict[str, Any]] = {}
    for _ in range(PASSES):
        pages = _read_pages(ask, query, rows)
        if len(rows) >= pages.promised or (not distinct and pages.arrived >= pages.promised):
            break
    else:
        report(
            RowShortfallWarning(
                f"The service promised {pages.promised} rows and sent {len(rows)} for {query.text}."
            )
        )
    if pages.repeated:
        report(
            RepeatedRowsWarning(f"The service sent {pages.repeated} rows again for {query.text}.")
        )
    if not pages.sorted and query.order is not None and query.order.endswith(".id"):
        report(UnsortedRowsWarning(f"The service did not sort by id for {query.text}."))
    return list(rows.values())


@dataclass(frozen=True)
class _Pages:
    """What one reading of all pages was like.

    `arrived` counts rows as the service does: joined ones, of which it shows folded objects.
    """

    promised: int
    arrived: int
    repeated: int
    sorted: bool


def _read_pages(
    ask: Callable[[RMAParameters], Mapping[str, Any]],
    query: RMAParameters,
    rows: dict[Any, dict[str, Any]],
) -> _Pages:
    """Read all pages once, and add the rows that are new."""
    first = start = query.start_row or 0
    total = 0
    ids: list[Any] = []
    different: set[Any] = set()
    idle = 0  # pages in a row that brought nothing new
    while idle < 2:
        page = replace(query, start_row=start, num_rows=query.num_rows or PAGE)
        envelope = ask(page)
        msg = envelope.get("msg")
        if not isinstance(msg, list):
            raise RMAError(f"The service answered {msg!r:.200} instead of rows to {page.text}.")
        total = max(total, _count(envelope, "total_rows"))
        for place, row in enumerate(msg):
            if isinstance(row, dict):
                # rows of a table without ids are told apart by where they stand
                key = row.get("id", ("row", start + place))
                key = key if isinstance(key, Hashable) else repr(key)
                ids.append(key)
                rows.setdefault(key, row)
        before = len(different)
        different.update(ids[-len(msg) :] if msg else ())
        idle = 0 if len(different) > before else idle + 1
        # num_rows counts joined rows where msg is folded; either may be the larger one.
        start += max(len(msg), _count(envelope, "num_rows")) if msg else 0
        if not msg or start >= total:
            break
    repeated = len(ids) - len(different)
    numbers = [key for key in ids if isinstance(key, int)]
    return _Pages(total - first, start - first, repeated, numbers == sorted(numbers))


def _count(envelope: Mapping[str, Any], name: str) -> int:
    value = envelope.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise AnswerError(f"The service's answer says {name} = {value!r}, which is no count.")
    return value
