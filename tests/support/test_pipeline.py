import gc
import threading
import time
from collections.abc import Generator

import pytest

from atldld.support.pipeline import default_jobs, fetch_then_work


def test_in_order_whatever_takes_longest():
    def slow(item):
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item

    out = list(fetch_then_work(range(20), slow, lambda i, f: (i, slow(f)), fetchers=4, workers=3))
    assert out == [(i, i) for i in range(20)]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_do_not_pile_up(workers):
    """However many items, no more than workers + 1 results wait for a slow reader."""
    lock, begun, read, most = threading.Lock(), 0, 0, 0

    def work(item, fetched):
        nonlocal begun, most
        with lock:
            begun += 1
            most = max(most, begun - read)
        return item

    for _ in fetch_then_work(range(60), lambda i: i, work, fetchers=2, workers=workers):
        time.sleep(0.002)
        with lock:
            read += 1
    assert most <= workers + 2  # those that wait, and the one in the reader's hands


def test_fetching_runs_ahead_of_working():
    fetched: list[int] = []

    def work(item, _):
        time.sleep(0.05)
        return len(fetched)

    ahead = next(iter(fetch_then_work(range(10), fetched.append, work, fetchers=4, workers=1)))
    assert ahead == 10


def test_leaving_the_loop_cancels_the_rest():
    fetched = []

    def fetch(item):
        time.sleep(0.02)
        fetched.append(item)

    results = fetch_then_work(range(100), fetch, lambda i, f: i, fetchers=1, workers=1)
    assert next(results) == 0
    assert isinstance(results, Generator)
    results.close()
    gc.collect()
    count = len(fetched)
    time.sleep(0.1)
    assert len(fetched) <= count + 1 < 20


def test_errors_come_at_their_turn():
    def fetch(item):
        if item == 2:
            raise RuntimeError("no")

    results = fetch_then_work(range(5), fetch, lambda i, f: i, fetchers=2, workers=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(RuntimeError):
        next(results)


def test_nothing_to_do():
    assert list(fetch_then_work([], id, max, fetchers=1, workers=1)) == []
    assert default_jobs() >= 1
