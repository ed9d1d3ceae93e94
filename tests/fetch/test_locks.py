"""Locks where there are none, and where somebody else has them.

The kind: a lock that the file system refuses must not end or hold up the work, as nothing depends
on it but doing the same twice; and nobody waits without a word.
"""

import errno
import threading
import time
import warnings

import pytest

from atldld.batch.places import Folder
from atldld.batch.run import _alone
from atldld.cli.options import warnings_once
from atldld.errors import CacheError, LockWarning, OutputError
from atldld.fetch import locks
from atldld.fetch.cache import Cache
from atldld.fetch.facts import FileFacts, ImageFacts
from atldld.fetch.locks import Taken, locked
from atldld.find import search
from atldld.find.renewal import update

fcntl = pytest.importorskip("fcntl")


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(locks, "_told", set())


REFUSALS = ["ENOLCK", "EOPNOTSUPP", "ENOTSUP", "EINVAL", "ENOSYS", "EPERM"]


@pytest.fixture(params=REFUSALS)
def no_locks(request, monkeypatch):
    """A file system that answers every `flock` with an error."""
    number = getattr(errno, request.param)

    def refuse(*_):
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)


def put(cache, image_id=7):
    with cache.new_image(image_id, 2) as arriving:
        arriving.file.write(b"pixels")
        return arriving.keep(
            ImageFacts(width=3, height=2, sha256="0" * 64, url="http://s/7", dataset_id=5)
        )


@pytest.mark.usefixtures("no_locks")
def test_without_locks_work_goes_on_and_that_is_said_once(tmp_path):
    cache = Cache(tmp_path)
    with pytest.warns(LockWarning, match="has no locks") as told:
        put(cache)
    assert len(told) == 1
    put(cache, 8)
    with cache.new_file("a/b.zip") as arriving:
        arriving.keep(FileFacts(url="http://s", sha256="0"))
    with cache.settled(7):
        pass
    assert cache.find_image(7, 2)
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.usefixtures("no_locks")
@pytest.mark.filterwarnings("ignore::atldld.errors.LockWarning")
def test_without_locks_batches_and_updates_of_the_catalogue_go_on(session, tmp_path):
    with _alone(Folder(tmp_path / "batch")):
        pass
    update(session)
    assert not list(session.cache.root.glob("catalogue-update*"))
    assert search(gene="Prox1", session=session).source.kind == "catalogue"


def test_a_disk_that_is_full_is_no_lack_of_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(CacheError, match="Free some space"):
        put(Cache(tmp_path))


def test_unlocking_that_fails_is_nobodys_business(tmp_path, monkeypatch):
    original = fcntl.flock

    def refuse(file, operation):
        if operation == fcntl.LOCK_UN:
            raise OSError(errno.EIO, "Input/output error")
        return original(file, operation)

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert put(Cache(tmp_path)).bytes == 6


def released_when_told(path, told):
    """Hold a lock in another thread until something has been told; return the thread."""
    held = threading.Event()

    def hold():
        with locked(path, "It"):
            held.set()
            for _ in range(1200):
                if told:
                    break
                time.sleep(0.05)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    return thread


def test_waiting_long_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "FIRST_WORD", 0.1)
    cache = Cache(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        thread = released_when_told(tmp_path / "locks" / "07.lock", told)
        put(cache)
        thread.join()
    assert "Section image 7 is waited for" in str(told[0].message)
    assert str(tmp_path / "locks" / "07.lock") in str(told[0].message)
    assert told[0].category is LockWarning


def test_the_command_line_tells_it_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "FIRST_WORD", 0.1)
    said: list[str] = []
    monkeypatch.setattr("atldld.cli.options.say_now", said.append)
    with warnings_once():
        thread = released_when_told(tmp_path / "a.lock", said)
        with locked(tmp_path / "a.lock", "The image"):
            assert said[0].startswith("Warning: The image is waited for")
        thread.join()


def test_what_does_not_wait_says_so(tmp_path, session):
    again = locked(tmp_path / "a.lock", "It", wait=False)
    with locked(tmp_path / "a.lock", "It"), pytest.raises(Taken), again:
        pass
    more = _alone(Folder(tmp_path))
    with _alone(Folder(tmp_path)), pytest.raises(OutputError, match="Another process"), more:
        pass
    catalogue = session.cache.root / "locks" / "catalogue.lock"
    with locked(catalogue, "It"), pytest.raises(CacheError, match="Another update"):
        update(session)
