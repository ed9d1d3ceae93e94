import gc
import threading
import time
from collections.abc import Generator

import pytest

from atldld.support.pipeline import default_jobs, fetch_then_work, free_jobs, in_order


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


@pytest.mark.parametrize(("cores", "workers", "free"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (2, 6, 1)])
def test_what_works_beside_others_leaves_them_their_cores(monkeypatch, cores, workers, free):
    monkeypatch.setattr("atldld.support.pipeline.default_jobs", lambda: cores)
    found = fetch_then_work(
        range(4), lambda _: None, lambda *_: free_jobs(), fetchers=1, workers=workers
    )
    assert list(found) == [free] * 4
    assert free_jobs() == cores


@pytest.mark.parametrize("cores", [1, 3])
def test_pieces_come_in_order_and_no_more_are_read_than_are_worked_on(monkeypatch, cores):
    monkeypatch.setattr("atldld.support.pipeline.default_jobs", lambda: cores)
    read = []

    def pieces():
        for number in range(20):
            read.append(number)
            yield number

    def work(number):
        time.sleep(0.002 * (number % 3))
        return number, threading.current_thread() is threading.main_thread()

    for at, (number, here) in enumerate(in_order(pieces(), work)):
        assert number == at
        assert here == (cores == 1)
        assert len(read) <= at + 1 + cores
    assert read == list(range(20))


def test_an_error_comes_at_the_turn_of_its_piece(monkeypatch):
    monkeypatch.setattr("atldld.support.pipeline.default_jobs", lambda: 4)

    def work(number):
        return 1 / (2 - number)

    results = in_order(range(10), work)
    assert [next(results), next(results)] == [0.5, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
