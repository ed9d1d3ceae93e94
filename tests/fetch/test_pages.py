import warnings

import pytest

from atldld.errors import (
    AnswerError,
    RepeatedRowsWarning,
    RMAError,
    RowShortfallWarning,
    ServiceWarning,
    UnsortedRowsWarning,
)
from atldld.fetch import pages
from atldld.rma.query import RMAParameters


def fetch_all(ask, query):
    return pages.fetch_all(ask, query, warnings.warn)


def service(rows, *, cap=50, promise=None, folded=0, sent=None):
    """An RMA service with `cap` rows a page that promises `promise` rows."""

    def ask(query):
        start = query.start_row
        page = rows[start : start + min(cap, query.num_rows)]
        if sent is not None:
            page = page[: max(sent - start, 0)]
        return {
            "msg": page,
            "num_rows": len(page) + folded if page else 0,
            "total_rows": len(rows) if promise is None else promise,
        }

    return ask


ROWS = [{"id": n} for n in range(123)]


@pytest.mark.parametrize("cap", [1, 7, 50, 123, 2000])
def test_all_pages(cap):
    assert fetch_all(service(ROWS, cap=cap), RMAParameters("M")) == ROWS


def test_repeated_rows_come_once_and_are_no_shortfall():
    repeated = [*ROWS[:60], *ROWS[55:]]
    with pytest.warns(RepeatedRowsWarning, match="5 rows again"):
        assert fetch_all(service(repeated), RMAParameters("M")) == ROWS


def test_rows_out_of_order_are_told():
    ordered = RMAParameters("M", order="ms.id")
    assert fetch_all(service(ROWS), ordered) == ROWS
    with pytest.warns(UnsortedRowsWarning):
        fetch_all(service(ROWS[::-1]), ordered)


def test_a_shortfall_is_a_warning():
    with pytest.warns(RowShortfallWarning, match="promised 500 rows and sent 123"):
        assert fetch_all(service(ROWS, promise=500), RMAParameters("M")) == ROWS


def test_pages_that_end_early():
    with pytest.warns(RowShortfallWarning, match="promised 123 rows and sent 70"):
        assert len(fetch_all(service(ROWS, sent=70), RMAParameters("M"))) == 70


def test_no_rows():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fetch_all(service([]), RMAParameters("M")) == []


def test_start_row():
    assert fetch_all(service(ROWS), RMAParameters("M", start_row=100)) == ROWS[100:]


def test_joined_rows_are_skipped_where_the_page_was_folded():
    """The page says it held more joined rows than it shows objects: go on after those."""
    starts = []

    def ask(query):
        starts.append(query.start_row)
        return {"msg": ROWS[:40] if not query.start_row else [], "num_rows": 50, "total_rows": 99}

    with pytest.warns(RowShortfallWarning):
        fetch_all(ask, RMAParameters("M"))
    assert starts == [0, 50] * 3  # and again, since it may have been a passing fault


@pytest.mark.parametrize("msg", ["no such model", {"a": 1}, None])
def test_a_message_that_is_no_rows(msg):
    with pytest.raises(RMAError, match="instead of rows"):
        fetch_all(lambda query: {"msg": msg}, RMAParameters("M"))


@pytest.mark.parametrize("count", [-1, "many", None, True, 1.5])
def test_counts_are_checked(count):
    answer = {"msg": [{"id": 1}], "num_rows": 1, "total_rows": count}
    with pytest.raises(AnswerError, match="total_rows"):
        fetch_all(lambda query: answer, RMAParameters("M"))


def test_a_service_that_sends_one_page_for_ever_is_not_asked_for_ever():
    """Kind: what a service promises decides how long it is asked."""
    asked = []

    def ask(query):
        asked.append(query.start_row)
        return {"msg": [{"id": 1}, {"id": 2}], "num_rows": 2, "total_rows": 10**12}

    with pytest.warns(ServiceWarning):
        rows = fetch_all(ask, RMAParameters("M"))
    assert [row["id"] for row in rows] == [1, 2]
    assert len(asked) <= 9
