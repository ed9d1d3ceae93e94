"""The complete rows of the answers to a query, which come page by page."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from atldld.errors import (
    AnswerError,
    RepeatedRowsWarning,
    RMAError,
    RowShortfallWarning,
    ServiceWarning,
    UnsortedRowsWarning,
)
from atldld.rma.query import RMAParameters

__all__ = ["fetch_all"]

ROWS_IN_PAGE = 2000
PASSES = 3


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
        If the service refuses, or no usable answer can be had.
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
        page = replace(query, start_row=start, num_rows=query.num_rows or ROWS_IN_PAGE)
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
