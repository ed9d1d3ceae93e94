"""What was used last is kept, as much of it as there is room for."""

from atldld.support.bounded import Bounded


def test_what_was_used_longest_ago_goes():
    kept: Bounded[str, bytes] = Bounded(10, len)
    kept.keep("a", b"1234")
    kept.keep("b", b"1234")
    assert kept.get("a") == b"1234"
    kept.keep("c", b"1234")
    assert kept.get("b") is None
    assert (kept.get("a"), kept.get("c")) == (b"1234", b"1234")


def test_a_value_takes_the_place_of_the_one_before():
    kept: Bounded[str, bytes] = Bounded(10, len)
    for _ in range(20):
        kept.keep("a", b"1234")
    kept.keep("b", b"123456")
    assert (kept.get("a"), kept.get("b")) == (b"1234", b"123456")
    assert kept.held == 10


def test_the_last_value_stays_however_large():
    kept: Bounded[str, bytes] = Bounded(10, len)
    kept.keep("a", b"1")
    kept.keep("b", b"1" * 100)
    assert (kept.get("a"), kept.get("b")) == (None, b"1" * 100)
