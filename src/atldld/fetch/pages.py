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
from atldld.support.fields import CHANGED, UnusableFieldError, quoted, whole

__all__ = ["count_in", "fetch_all"]

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
        If the service refuses, or no usable answer arrives.
    """
    rows: dict[Any, dict[str, Any]] = {}
    for _ in range(PASSES):
        pages = _read_pages(ask, query, rows)
        if len(rows) >= pages.promised or (not distinct and pages.arrived >= pages.promised):
            break
    else:
        report(
            RowShortfallWarning(
                f"The service promised {pages.promised} rows and sent {len(rows)} for "
                f"{query.text}. {CHANGED}"
            )
        )
    if pages.odd:
        told = (
            f"The service sent {len(pages.odd)} rows that are no records, such as "
            f"{quoted(pages.odd[0])} instead of an object, for {query.text}."
        )
        if not rows:
            raise AnswerError(told, hint=CHANGED)
        report(ServiceWarning(f"{told} {CHANGED}"))
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

    `arrived` counts rows as the service does: joined ones, of which it shows folded objects. `odd`
    are those that are no objects.
    """

    promised: int
    arrived: int
    repeated: int
    sorted: bool
    odd: tuple[Any, ...]


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
    odd: list[Any] = []
    idle = 0  # pages in a row that brought nothing new
    while idle < 2:
        page = replace(query, start_row=start, num_rows=query.num_rows or ROWS_IN_PAGE)
        envelope = ask(page)
        msg = envelope.get("msg")
        if not isinstance(msg, list):
            told = f"{msg!r:.200}" if isinstance(msg, str) else quoted(msg)
            raise RMAError(
                f"The service answered msg = {told} instead of rows to {page.text}.",
                hint=CHANGED,
            )
        total = max(total, count_in(envelope, "total_rows"))
        for place, row in enumerate(msg):
            if not isinstance(row, dict):
                odd.append(row)
            else:
                # rows of a table without ids are told apart by where they stand
                key = row.get("id", ("row", start + place))
                key = key if isinstance(key, Hashable) else repr(key)
                ids.append(key)
                rows.setdefault(key, row)
        before = len(different)
        different.update(ids[-len(msg) :] if msg else ())
        idle = 0 if len(different) > before else idle + 1
        # num_rows counts joined rows where msg is folded; either may be the larger one. More than
        # were asked for it cannot be.
        most = page.num_rows or ROWS_IN_PAGE
        start += max(len(msg), min(count_in(envelope, "num_rows"), most)) if msg else 0
        # a total that a full page has gone beyond says nothing
        if not msg or start == total or (start > total and len(msg) < most):
            break
    repeated = len(ids) - len(different)
    numbers = [key for key in ids if isinstance(key, int)]
    in_order = numbers == sorted(numbers)
    return _Pages(max(total - first, 0), start - first, repeated, in_order, tuple(odd))


def count_in(envelope: Mapping[str, Any], name: str) -> int:
    """Return a count that an envelope tells; 0 where it tells none.

    Raises
    ------
    AnswerError
        If what it tells is no count.
    """
    try:
        return whole(envelope, name, 0, 10**12, needed=name in envelope) or 0
    except UnusableFieldError as error:
        raise AnswerError(
            f"The service's answer cannot be counted, as {error}.", hint=CHANGED
        ) from None
