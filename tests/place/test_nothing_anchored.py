"""The kind: a file that names sections of a data set, and places none of them."""

from atldld.demo.local import in_process_session
from atldld.place.anchoring import oddities


def test_an_alignment_that_places_nothing_has_nothing_odd(tmp_path):
    with in_process_session(tmp_path) as session:
        assert not oddities("a.json", session.dataset(909), {})
