"""The journal keeps what was told to be kept, whatever becomes of the process."""

import json
import multiprocessing
import os
import random
import time

import pytest

from atldld.align.desk import BY_HAND
from atldld.align.journal import Journal, journal_of
from atldld.align.state import Marker
from atldld.errors import InvalidInputError, OutputError
from atldld.place.alignment import read_alignment
from atldld.place.registration import Registration
from tests.align.working import DATASET, work


def saved_at(path):
    """Return a registration that was written."""
    found = read_alignment(path)
    assert isinstance(found, Registration)
    return found


def first(desk):
    return list(desk.sections)[5]


def shifted(desk, image_id, by=100.0):
    import numpy as np

    forward = np.array(desk.document.sections[image_id].forward)
    forward[0, 2] += by
    return forward


def test_edits_are_undone_and_done_again_without_end(desk):
    one = first(desk)
    states = [desk.document]
    for k in range(30):
        desk.place(one, shifted(desk, one, 10 + k))
        states.append(desk.document)
    for k in range(30, 0, -1):
        assert desk.document.sections == states[k].sections
        desk.undo()
    assert desk.document.sections == states[0].sections
    with pytest.raises(InvalidInputError, match="nothing to undo"):
        desk.undo()
    for k in range(1, 31):
        desk.redo()
        assert desk.document.sections == states[k].sections
    with pytest.raises(InvalidInputError, match="nothing to redo"):
        desk.redo()


def test_an_edit_after_an_undo_takes_its_place(desk):
    one = first(desk)
    desk.say(one, note="a")
    desk.say(one, note="b")
    desk.undo()
    desk.say(one, note="c")
    assert desk.document.sections[one].note == "c"
    assert not desk.journal.history.can_redo
    desk.undo()
    assert desk.document.sections[one].note == "a"


def test_undo_goes_on_after_a_new_start(opened):
    desk = opened()
    one = first(desk)
    desk.say(one, note="a")
    desk.mark(one, [Marker("m", (3000, 3000), (3100, 3050))])
    desk.undo()
    before = desk.document, desk.revision
    desk = opened()
    assert (desk.document, desk.revision) == before
    desk.redo()
    assert len(desk.document.sections[one].markers) == 1
    desk.undo()
    desk.undo()
    assert desk.document.sections[one].note == ""


def test_a_line_torn_anywhere_is_as_if_it_was_not_begun(opened, tmp_path):
    desk = opened()
    one = first(desk)
    desk.say(one, note="kept")
    whole = desk.document
    kept = journal_of(desk.output).read_bytes()
    desk.mark(one, [Marker("m", (3000, 3000), (3100, 3050))])
    desk.close()
    content = journal_of(desk.output).read_bytes()
    torn = tmp_path / "torn.jsonl"
    for end in range(len(kept), len(content)):
        torn.write_bytes(content[:end])
        with Journal.open(torn) as journal:
            assert journal.history.document == whole
            assert journal.history.revision == 1
        # and what is written next does not follow on the torn half
        assert torn.read_bytes() == kept
    torn.write_bytes(content)
    with Journal.open(torn) as journal:
        assert journal.history.revision == 2


def test_damage_elsewhere_is_told(opened):
    desk = opened()
    one = first(desk)
    for note in "abc":
        desk.say(one, note=note)
    path = journal_of(desk.output)
    lines = path.read_bytes().split(b"\n")
    for place, line in (
        (1, b'{"kind": "edit"'),
        (2, b'{"kind":"redo","when":""}'),
        (0, b'{"format":"atldld journal of edits by hand"}'),
    ):
        path.write_bytes(b"\n".join([*lines[:place], line, *lines[place + 1 :]]))
        with pytest.raises(InvalidInputError, match=f"damaged in line {place + 1}"):
            opened()
    path.write_bytes(b"\n".join(lines))
    assert opened().document.sections[one].note == "c"


def test_a_disk_that_is_full_leaves_all_as_it_was(desk, monkeypatch):
    one = first(desk)
    desk.say(one, note="a")
    before, bytes_before = desk.document, journal_of(desk.output).read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            desk.say(one, note="b")
    assert desk.document == before
    assert journal_of(desk.output).read_bytes() == bytes_before
    desk.say(one, note="c")
    assert desk.document.sections[one].note == "c"


def test_the_registration_without_its_journal_is_gone_on_with(opened):
    desk = opened()
    one, other, left, *_ = list(desk.sections)[5:]
    desk.place(one, shifted(desk, one))
    desk.mark(one, [Marker("m", (3000, 3000), (3100, 3050))])
    desk.say(one, note="look here")
    desk.say(other, status="confirmed")
    desk.say(left, status="left out")
    was = desk.document
    desk.close()
    saved = desk.output.read_bytes()
    journal_of(desk.output).unlink()
    desk = opened()
    again = desk.document
    for image_id in (one, other, left):
        before, now = was.sections[image_id], again.sections[image_id]
        assert (now.forward, now.status, now.note) == (before.forward, before.status, before.note)
    assert again.sections[one].markers[0].image == pytest.approx((3000, 3000))
    assert again.sections[one].markers[0].flat == pytest.approx((3100, 3050))
    assert again.moved(one)
    assert not again.moved(other)
    # where it began is still known, and nothing is told twice
    assert desk.start_of(one).forward == was.origins[was.sections[one].origin].forward
    sections = json.loads(saved)["sections"]
    now = json.loads(desk.output.read_bytes())["sections"]
    for image_id, entry in sections.items():
        assert now[image_id]["steps"] == entry["steps"] if "steps" in entry else True
        assert now[image_id].get("status") == entry.get("status")


def test_the_journal_without_the_registration_is_gone_on_with(opened):
    desk = opened()
    one = first(desk)
    desk.say(one, status="confirmed")
    saved = desk.output.read_bytes()
    desk.close()
    desk.output.unlink()
    desk = opened()
    assert desk.document.sections[one].status == "confirmed"
    assert desk.output.read_bytes() == saved


def test_what_was_not_edited_is_not_replaced(opened, tmp_path):
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(OutputError, match="is no registration that `atldld align` has edited"):
        opened(path)
    assert path.read_text() == "{}"
    desk = opened(path, force=True)
    assert saved_at(path).about[BY_HAND]["journal"] == desk.journal.beginning.id


def test_a_registration_put_in_its_place_is_not_taken_for_it(opened, tmp_path):
    desk = opened()
    desk.say(first(desk), note="mine")
    desk.close()
    other = opened(tmp_path / "other.json")
    other.close()
    desk.output.write_bytes(other.output.read_bytes())
    with pytest.raises(OutputError, match="another registration than the one"):
        opened()


def test_one_process_at_a_time(desk, demo):
    from atldld.align.desk import open_desk

    session, atlas = demo
    with pytest.raises(OutputError, match="being edited by another"):
        open_desk(session.dataset(DATASET), session, atlas, desk.output)


@pytest.mark.long
def test_a_killed_process_loses_nothing_that_was_told(demo, opened, tmp_path):
    """At twenty moments: the registration is whole, and the journal has every edit."""
    session, _ = demo
    output = tmp_path / "reg.json"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.align.working"])
    chosen = random.Random(3)
    for _ in range(20):
        hears, tells = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(session.settings.cache_dir, output, tells))
        process.start()
        tells.close()
        assert hears.recv() == "begun"
        time.sleep(chosen.uniform(0, 0.12))
        process.kill()
        told = list(_heard(hears))
        hears.close()
        process.join()
        saved = saved_at(output)
        assert saved.dataset_id == DATASET
        with Journal.open(journal_of(output)) as journal:
            notes = {k: state.note for k, state in journal.history.document.sections.items()}
            revision = journal.history.revision
        for image_id, number in dict(told).items():
            # a later round may have come to the same section without telling
            assert int(notes[image_id]) >= number
        # what is saved lags behind by one edit at most
        behind = [k for k, fit in saved.sections.items() if fit.note != notes[k]]
        assert len(behind) <= 1
        assert not told or revision >= told[-1][1] + 1
    assert opened(output).revision > 20


def _heard(hears):
    while True:
        try:
            yield hears.recv()
        except (EOFError, OSError):
            return
