"""Results in a store: whole files, the last of which counts, on a server that speaks S3."""

import json
import os

import pytest

from atldld.batch import Download, run_batch
from atldld.batch.places import Folder, Store, open_place
from atldld.errors import InvalidInputError, OutputError

fsspec = pytest.importorskip("fsspec", reason="fsspec, of the extra dask, is not installed")


@pytest.fixture
def memory():
    """A store in memory, empty."""
    from fsspec.implementations.memory import MemoryFileSystem

    store = MemoryFileSystem()
    store.store.clear()
    yield store
    store.store.clear()


def test_a_name_is_a_folder_and_an_address_a_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_place("out", tmp_path) == Folder(tmp_path / "out")
    assert open_place(tmp_path / "out", tmp_path) == Folder(tmp_path / "out")
    assert open_place(f"file://{tmp_path}/out", tmp_path) == Folder(tmp_path / "out")
    store = open_place("memory://bucket/prefix/", tmp_path)
    assert isinstance(store, Store)
    assert str(store) == "memory://bucket/prefix"
    assert store.journal.parent == tmp_path


def test_an_address_of_nothing_known_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="nosuch://"):
        open_place("nosuch://bucket", tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError):
        open_place(tmp_path / "out", tmp_path)


def test_a_batch_in_a_store_goes_on(memory, session, ids, work, tmp_path):
    out = "memory://bucket/all"
    assert run_batch(ids[:2], out, work, session=session).complete
    folder = tmp_path / "folder"
    run_batch(ids[:2], folder, work, session=session)
    for path in folder.rglob("*.png"):
        name = path.relative_to(folder).as_posix()
        assert memory.cat_file(f"/bucket/all/{name}") == path.read_bytes()
    lines = memory.cat_file("/bucket/all/batch.jsonl").splitlines()
    assert [json.loads(line).get("state") for line in lines] == [None, None, "done", "done"]
    assert run_batch(ids[:2], out, work, session=session).kept == 2
    # what vouches for it is gone, so it does not count
    memory.rm_file(f"/bucket/all/{ids[0]}/metadata.json")
    again = run_batch(ids[:3], out, work, session=session)
    assert again.complete
    assert again.kept == 1


def test_another_machine_finds_the_journal_there(memory, session, ids, work, tmp_path):
    run_batch(ids[:2], "memory://bucket/all", work, session=session)
    for path in (session.cache.root / "batches").glob("*.jsonl"):
        path.unlink()
    assert run_batch(ids[:2], "memory://bucket/all", work, session=session).kept == 2


def test_other_options_are_refused_there_too(memory, session, ids, work):
    run_batch(ids[:1], "memory://bucket/all", work, session=session)
    with pytest.raises(OutputError, match="other options"):
        run_batch(ids[:1], "memory://bucket/all", Download(), session=session)


def test_an_upload_that_breaks_off_does_not_count(memory, session, ids, work, monkeypatch):
    put, names = type(memory).put_file, []

    def break_off(self, local, remote, *arguments, **options):
        if str(ids[0]) in remote:
            names.append(remote.rpartition("/")[2])
            if len(names) == 8:
                raise OSError("the line is cut")
        return put(self, local, remote, *arguments, **options)

    monkeypatch.setattr(type(memory), "put_file", break_off)
    summary = run_batch(ids[:2], "memory://bucket/all", work, session=session)
    assert [entry.state for entry in summary.entries] == ["failed", "done"]
    assert "the line is cut" in (summary.failed[0].why or "")
    assert not memory.exists(f"/bucket/all/{ids[0]}/metadata.json")
    assert run_batch(ids[:2], "memory://bucket/all", work, session=session).complete
    assert names[-1] == "metadata.json"


def test_what_is_replaced_does_not_count_meanwhile(memory, session, ids, work, monkeypatch):
    vouching = f"/bucket/all/{ids[0]}/metadata.json"
    run_batch(ids[:1], "memory://bucket/all", work, session=session)
    put = type(memory).put_file

    def look(self, local, remote, *arguments, **options):
        if remote.endswith(".png"):
            assert not memory.exists(vouching)
        return put(self, local, remote, *arguments, **options)

    monkeypatch.setattr(type(memory), "put_file", look)
    assert run_batch(ids[:1], "memory://bucket/all", work, session=session, force=True).complete
    assert memory.exists(vouching)


def test_s3(s3, session, ids, work, tmp_path):
    """Against a server of its protocol; the endpoint comes from the environment."""
    summary = run_batch(ids[:2], "s3://bucket/all", work, session=session)
    assert summary.complete, summary.failed
    store = fsspec.filesystem("s3")
    found = store.find("bucket/all")
    assert f"bucket/all/{ids[0]}/metadata.json" in found
    assert sum(name.endswith(".png") for name in found) == 28
    assert run_batch(ids[:2], "s3://bucket/all", work, session=session).kept == 2
    with pytest.raises(OutputError, match="s3://nowhere"):
        run_batch(ids[:1], "s3://nowhere/all", work, session=session)


def test_a_home_folder_that_nobody_knows(tmp_path):
    """The kind: a name of a folder that `expanduser` refuses with an error of its own."""
    with pytest.raises(InvalidInputError, match="home folder"):
        open_place("~nosuchuser/out", tmp_path)
