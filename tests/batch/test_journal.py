"""The journal: whole lines, read back, of one request."""

import json
import os

import pytest

from atldld.batch.journal import Entry, Journal
from atldld.errors import OutputError

REQUEST = {"makes": "sections", "resolution": 25.0}


def open_journal(path, request=REQUEST, **options):
    return Journal(path, request, **options)


def test_what_is_noted_is_known_again(tmp_path):
    path = tmp_path / "new" / "batch.jsonl"
    journal = open_journal(path)
    journal.note(Entry(data_set=1, state="failed", why="no line"))
    journal.note(Entry(data_set=1, state="done", bytes=7))
    journal.note(Entry(data_set=2, state="failed", why="no such thing"))
    journal.close()
    again = open_journal(path)
    again.close()
    assert {one: entry.state for one, entry in again.known.items()} == {1: "done", 2: "failed"}
    assert again.known[1].bytes == 7
    for line in path.read_text().splitlines():
        json.loads(line)


def test_each_line_is_on_disk_at_once(tmp_path):
    path = tmp_path / "batch.jsonl"
    journal = open_journal(path)
    before = path.read_bytes()
    journal.note(Entry(data_set=1, state="done"))
    assert path.read_bytes().startswith(before)
    assert json.loads(path.read_bytes().splitlines()[-1])["data_set"] == 1
    journal.close()


def test_a_torn_line_is_lost_alone(tmp_path):
    path = tmp_path / "batch.jsonl"
    journal = open_journal(path)
    journal.note(Entry(data_set=1, state="done"))
    journal.note(Entry(data_set=2, state="done"))
    journal.close()
    path.write_bytes(path.read_bytes()[:-20])
    journal = open_journal(path)
    assert list(journal.known) == [1]
    journal.note(Entry(data_set=3, state="done"))
    journal.close()
    journal = open_journal(path)
    journal.close()
    assert list(journal.known) == [1, 3]
    # what was written next stands on a line of its own
    assert sum(line.startswith(b'{"begun"') for line in path.read_bytes().splitlines()) == 3


def test_another_request_is_refused_and_nothing_changed(tmp_path):
    path = tmp_path / "batch.jsonl"
    open_journal(path).close()
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"resolution 25 there, 50 now"):
        open_journal(path, {**REQUEST, "resolution": 50.0})
    assert path.read_bytes() == before
    open_journal(path, {**REQUEST, "resolution": 50.0}, force=True).close()
    open_journal(path, {**REQUEST, "resolution": 50.0}).close()


@pytest.mark.parametrize("content", [b"hello\n", b"[1]\n", b'{"batch": 1}\n', b"\xff\xfe"])
def test_a_file_that_is_no_journal_is_refused(tmp_path, content):
    path = tmp_path / "batch.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="not the journal"):
        open_journal(path)
    assert path.read_bytes() == content


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full disk")
def test_a_full_disk_is_one_sentence_to_the_end(tmp_path):
    """Also when the file is closed: what could not be written is tried once more then."""
    journal = open_journal(tmp_path / "batch.jsonl", REQUEST)
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), journal._file.fileno())
    with pytest.raises(OutputError, match="No space left"):
        journal.note(Entry(data_set=1, state="done"))
    with pytest.raises(OutputError, match="No space left"):
        journal.close()


@pytest.mark.parametrize("content", [b"", b'{"batch"', b'{"batch": 1, "request": {"makes": "sec'])
def test_a_first_line_that_was_torn_begins_anew(tmp_path, content):
    (tmp_path / "batch.jsonl").write_bytes(content)
    open_journal(tmp_path / "batch.jsonl", REQUEST).close()
    open_journal(tmp_path / "batch.jsonl", REQUEST).close()
