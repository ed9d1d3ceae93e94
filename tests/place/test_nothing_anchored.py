"""The kind: a file that names sections of a data set, and places none of them."""

from atldld.place.anchoring import oddities


def test_an_alignment_that_places_nothing_has_nothing_odd(demo_session):
    assert not oddities("a.json", demo_session.dataset(909), {})
