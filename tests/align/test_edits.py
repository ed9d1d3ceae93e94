"""What edits do, and what those between the key sections do then."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atldld.align.desk import StaleError
from atldld.align.state import Marker
from atldld.errors import InvalidInputError
from atldld.place.anchoring import anchoring_of
from tests.align.working import DATASET


def forward_of(desk, image_id):
    return np.array(desk.document.sections[image_id].forward)


def tilted(desk, image_id, **change):
    from atldld.align.plane_numbers import PlaneNumbers

    shape = desk.shape_of(image_id)
    told = PlaneNumbers.of(forward_of(desk, image_id), shape)
    values = {name: getattr(told, name) + by for name, by in change.items()}
    return msgspec.structs.replace(told, **values).forward(shape)


def vectors(desk, image_id):
    image = desk.sections[image_id].image
    return anchoring_of(forward_of(desk, image_id), image.width, image.height)


def test_sections_between_key_sections_follow_as_in_quicknii(desk):
    ids = list(desk.sections)
    low, high = ids[4], ids[11]
    desk.place(low, tilted(desk, low, depth_um=120, tilt_1_deg=2))
    before = desk.document
    changed = desk.place(high, tilted(desk, high, depth_um=-150, rotation_deg=3), carry="vectors")
    assert changed == frozenset(ids[5:12])
    numbers = {one: desk.sections[one].number for one in ids}
    ends = vectors(desk, low), vectors(desk, high)
    for one in ids[5:11]:
        share = (numbers[one] - numbers[low]) / (numbers[high] - numbers[low])
        wanted = ends[0] + share * (ends[1] - ends[0])
        assert np.abs(vectors(desk, one) - wanted).max() < 1e-9 * np.abs(wanted).max()
        assert desk.document.sections[one].status == "automatic"
    for one in (*ids[:5], *ids[12:]):
        assert desk.document.sections[one] == before.sections[one]
    desk.undo()
    assert desk.document.sections == before.sections


def test_moves_are_what_is_carried_over_if_wished(desk):
    """Sections that move alike take those between along, which keep how they lie in pictures."""
    ids = list(desk.sections)
    shift = np.array([80.0, -40.0, 60.0])
    for one in (ids[3], ids[9]):
        forward = forward_of(desk, one)
        forward[:, 2] += shift
        desk.place(one, forward, carry="moves")
    for one in ids[4:9]:
        start = np.array(desk.start_of(one).forward)
        assert forward_of(desk, one)[:, :2] == pytest.approx(start[:, :2], abs=1e-9)
        assert forward_of(desk, one)[:, 2] == pytest.approx(start[:, 2] + shift)
    # and half of a move half-way
    forward = forward_of(desk, ids[9])
    forward[:, 2] += shift
    desk.place(ids[9], forward, carry="moves")
    numbers = [desk.sections[one].number for one in ids]
    share = (numbers[6] - numbers[3]) / (numbers[9] - numbers[3])
    begun = np.array(desk.start_of(ids[6]).forward)
    assert forward_of(desk, ids[6])[:, 2] == pytest.approx(begun[:, 2] + (1 + share) * shift)


def test_key_sections_and_those_left_out_do_not_follow(desk):
    ids = list(desk.sections)
    desk.place(ids[2], tilted(desk, ids[2], depth_um=50))
    desk.say(ids[5], status="confirmed")
    desk.say(ids[3], status="left out")
    before = desk.document
    changed = desk.place(ids[8], tilted(desk, ids[8], depth_um=90), carry="vectors")
    assert changed == frozenset(ids[6:9])
    desk.undo()
    changed = desk.place(ids[4], tilted(desk, ids[4], depth_um=90), carry="vectors")
    assert changed == frozenset({ids[4]})
    assert desk.document.sections[ids[3]] == before.sections[ids[3]]


def test_without_another_key_section_nothing_follows(desk):
    one = list(desk.sections)[7]
    assert desk.place(one, tilted(desk, one, depth_um=10), carry="vectors") == frozenset({one})


def test_an_edit_of_another_state_is_refused(desk):
    one = list(desk.sections)[7]
    desk.say(one, note="a", revision=0)
    with pytest.raises(StaleError):
        desk.say(one, note="b", revision=0)
    with pytest.raises(StaleError):
        desk.undo(revision=0)
    assert desk.document.sections[one].note == "a"


def test_an_edit_that_changes_nothing_is_none(desk):
    one = list(desk.sections)[7]
    assert desk.say(one, note="") == frozenset()
    assert desk.revision == 0


def test_markers_that_fold_are_refused(desk):
    one = list(desk.sections)[7]
    with pytest.raises(InvalidInputError, match="fold"):
        desk.mark(
            one, [Marker("a", (3000, 3000), (9000, 3000)), Marker("b", (3500, 3000), (1000, 3000))]
        )
    with pytest.raises(InvalidInputError, match="beyond its edges"):
        desk.mark(one, [Marker("a", (-9000, 3000), (3000, 3000))])
    with pytest.raises(InvalidInputError, match="one name"):
        desk.mark(one, [Marker("a", (1, 2), (1, 2)), Marker("a", (3, 4), (3, 4))])
    with pytest.raises(InvalidInputError, match="one place"):
        desk.mark(one, [Marker("a", (1, 2), (1, 2)), Marker("b", (1, 2), (3, 4))])
    assert desk.revision == 0


def test_a_plane_that_does_not_cross_is_refused(desk):
    one = list(desk.sections)[7]
    forward = forward_of(desk, one)
    forward[:, :2] = [[1, 0], [0, 0], [0, 1]]  # the section is stood on its edge
    with pytest.raises(InvalidInputError, match="no longer lie in its plane"):
        desk.place(one, forward)
    assert desk.revision == 0


def test_what_people_say(desk):
    one = list(desk.sections)[7]

    def status():
        return desk.document.sections[one].status

    desk.say(one, status="confirmed")
    assert status() == "confirmed"
    desk.say(one, status="edited")
    assert status() == "automatic"  # it has not moved
    desk.place(one, tilted(desk, one, depth_um=10))
    assert status() == "edited"
    desk.say(one, status="confirmed")
    desk.mark(one, [Marker("a", (3000, 3000), (3050, 3000))])
    assert status() == "edited"  # what was confirmed is no longer what there is
    desk.say(one, status="left out")
    desk.place(one, tilted(desk, one, depth_um=10))
    assert status() == "left out"
    desk.say(one, status="automatic")
    assert status() == "edited"
    desk.reset(one)
    assert status() == "automatic"
    assert not desk.document.moved(one)
    with pytest.raises(InvalidInputError, match="no status"):
        desk.say(one, status="perfect")
    with pytest.raises(InvalidInputError, match="4000 characters"):
        desk.say(one, note="x" * 5000)
    with pytest.raises(InvalidInputError, match="no placed section image 5"):
        desk.say(5, note="x")


def test_a_section_that_nobody_moved_is_saved_as_it_was(desk):
    """To the last digit, so that matrices of the service stay those of the service."""
    record = desk.dataset.session.dataset(DATASET)
    from atldld.place.placement import Placement

    saved = desk.registration()
    for image in record.images:
        if image.id in saved.sections:
            own = Placement.of(record, image)
            assert np.array_equal(saved.sections[image.id].placement.forward, own.forward)
            assert np.array_equal(saved.sections[image.id].placement.backward, own.backward)


marker = st.tuples(
    st.floats(500, 9000), st.floats(500, 6000), st.floats(-40, 40), st.floats(-40, 40)
)


@settings(max_examples=20)
@given(st.lists(marker, min_size=1, max_size=6, unique_by=lambda one: one[:2]))
def test_markers_lead_where_they_say(demo, tmp_path_factory, listed):
    from atldld.align.edits import deformed

    markers = [Marker(str(k), (x, y), (x + dx, y + dy)) for k, (x, y, dx, dy) in enumerate(listed)]
    try:
        bent = deformed(markers, 11000, 7000, None)
    except InvalidInputError:
        return  # two that lie close fold
    assert bent is not None
    for one in markers:
        assert bent.to_flat(one.image) == pytest.approx(one.flat, abs=1e-6)
        assert bent.to_image(one.flat) == pytest.approx(one.image, abs=1e-6)
