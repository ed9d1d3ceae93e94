"""Looking after a cache that others use, or that something has happened to.

The kinds: files that vanish, appear or change between being listed and being looked at; files that
may not be read or removed; contents that no writer of ours has left; amounts that make no sense.
"""

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.demo.archive import DemoArchive
from atldld.demo.local import in_process_session
from atldld.errors import AtldldError, CacheError, InvalidInputError, OfflineError
from atldld.fetch import locks, upkeep
from atldld.fetch.archive import export_archive, import_archive
from atldld.fetch.cache import Cache, companion_of, read_json, sha256_of
from atldld.fetch.holdings import holdings
from atldld.fetch.upkeep import prune, stored_images, verify_cache
from atldld.support import files as files_module
from atldld.support.files import sweep


@pytest.fixture
def filled(session):
    """A session whose cache holds data set 909: three images and one mask."""
    dataset = session.dataset(909)
    for image in dataset.images[:3]:
        session.image(image, 4)
    session.image(dataset.images[0], 4, expression=True)
    return session


def paths(cache):
    return [stored.path for stored in stored_images(cache)]


# ---- amounts


@pytest.mark.parametrize("age", [timedelta(weeks=999_999), timedelta.max])
def test_ages_from_before_the_calendar_remove_nothing(filled, age):
    assert prune(filled.cache, older_than=age) == (0, 0)


@pytest.mark.parametrize(
    "condition",
    [
        {"older_than": timedelta(0)},
        {"older_than": timedelta(days=-1)},
        {"older_than": float("nan")},
        {"max_size": -1},
        {"max_size": float("nan")},
        {"max_size": True},
        {"max_size": "2GB"},
        {"dataset_id": 0},
        {"dataset_id": -5},
        {"dataset_id": float("inf")},
    ],
)
def test_amounts_that_make_no_sense_remove_nothing(filled, condition):
    before = paths(filled.cache)
    with pytest.raises(InvalidInputError):
        prune(filled.cache, **condition)
    assert paths(filled.cache) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("--older-than", "0d"),
        ("--older-than", "-3d"),
        ("--older-than", "nand"),
        ("--older-than", "1e9w"),
        ("--max-size", "1e999"),
        ("--max-size", "-1"),
        ("--max-size", "nan"),
        ("--max-size", "999999999999999999999TB"),
    ],
)
def test_the_command_line_says_so_too(arguments):
    from click.testing import CliRunner

    from atldld.cli import app

    done = CliRunner().invoke(app, ["cache", "prune", *arguments])
    assert isinstance(done.exception, InvalidInputError)


def test_the_command_line_takes_an_age_from_before_the_calendar(filled):
    done = subprocess.run(
        [sys.executable, "-m", "atldld", "cache", "prune", "--older-than", "999999w"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "0 images removed" in done.stderr) == (0, True), done.stderr


# ---- contents


DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
ODD = [
    *(DEEP, b"[" * 100_000, b"\xff\xfe", b"\0" * 50, b"{", b"null", b"[]", b"7", b'{"a": 1}', b""),
    *(b'{"width": 1e999, "bytes": 1e999}', b'{"bytes": null, "fetched": 5, "dataset_id": []}'),
    b'{"section_data_set": {}, "section_images": [], "defects": 5}',
    b'{"section_data_set": {"id": 1e999}, "section_images": [null, 7, {"id": "x"}]}',
]


@pytest.mark.parametrize("content", ODD)
def test_odd_contents_are_no_traceback(filled, content, tmp_path):
    cache = filled.cache
    image = filled.dataset(909).images[1]
    path = cache.image_path(image.id, 4)
    truth = path.read_bytes()
    companion_of(path).write_bytes(content)
    (cache.root / "datasets" / "909.json").write_bytes(content)
    (cache.root / "datasets" / "8.json").write_bytes(content)
    (cache.root / "datasets" / "notes.json").write_bytes(content)
    holdings(cache)
    cache.size()
    list(stored_images(cache))
    prune(cache, older_than=timedelta(days=9))
    with contextlib.suppress(AtldldError):
        export_archive(cache, tmp_path / "a.zip")
    found = verify_cache(filled)
    assert path in [damage.path for damage in found.damaged]
    verify_cache(filled, repair=True)
    with contextlib.suppress(AtldldError):
        filled.dataset(909)
    filled.dataset(909, refresh=True)
    assert filled.image(image, 4).path.read_bytes() == truth


@pytest.mark.parametrize("width", ["1e999", "NaN", '"x"', "null", "[]", "-1", "1e400"])
def test_importing_odd_sizes(filled, tmp_path, width):
    export_archive(filled.cache, tmp_path / "a")
    companion = next((tmp_path / "a").rglob("*.jpg.json"))
    facts = json.loads(companion.read_text())
    companion.write_text(
        companion.read_text().replace(f'"width": {facts["width"]}', f'"width": {width}')
    )
    count, refused = import_archive(Cache(tmp_path / "b"), tmp_path / "a")
    assert (count, len(refused)) == (3, 1)


# ---- permissions


def test_a_marker_of_whatever_kind(tmp_path):
    (tmp_path / "atldld-archive.json").write_bytes(DEEP)
    Cache(tmp_path).check_version()


@pytest.fixture
def forbidden(monkeypatch):
    """Make one file unreadable, for root too; yields the function that does."""
    closed: set[Path] = set()
    read, access = Path.read_bytes, os.access

    def read_bytes(path):
        if path in closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    monkeypatch.setattr(os, "access", lambda p, mode: Path(p) not in closed and access(p, mode))
    return closed.add


def test_what_may_not_be_read_is_not_missing(filled, forbidden):
    image = filled.dataset(909).images[1]
    path = filled.image(image, 4).path
    for closed in (path, companion_of(path)):
        forbidden(closed)
        with pytest.raises(CacheError, match=r"cannot be read: Permission denied") as caught:
            filled.image(image, 4)
        assert not isinstance(caught.value, OfflineError)
        assert str(closed) in str(caught.value)
    found = verify_cache(filled)
    assert [damage.path for damage in found.damaged] == [path]
    assert "cannot be read" in found.damaged[0].problem
    holdings(filled.cache)
    prune(filled.cache, older_than=timedelta(days=1))


def test_metadata_that_may_not_be_read_are_not_missing(filled, forbidden):
    forbidden(filled.cache.root / "datasets" / "909.json")
    with pytest.raises(CacheError, match=r"909\.json is in the cache, but cannot be read"):
        filled.dataset(909)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_pruning_and_repairing_what_cannot_be_written_is_one_sentence(filled, monkeypatch, number):
    path = paths(filled.cache)[1]
    path.write_bytes(path.read_bytes()[:100])

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    def refuse_new(self, *_, **__):
        if not self.is_dir():  # as file systems do
            refuse()

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse_new)
    for work in (
        lambda: prune(filled.cache, max_size=0),
        lambda: prune(filled.cache, dataset_id=909),
        lambda: verify_cache(filled, repair=True),
    ):
        with pytest.raises(CacheError, match=r"cannot be written: .*ATLDLD_CACHE_DIR"):
            work()
    assert len(verify_cache(filled).damaged) == 1, "looking needs no permission to write"


def test_a_folder_that_may_not_be_looked_into(filled, monkeypatch):
    original = os.scandir

    def scandir(path="."):
        if str(path).endswith("images"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for work in (filled.cache.size, lambda: holdings(filled.cache), lambda: verify_cache(filled)):
        with pytest.raises(CacheError, match="images cannot be read: Permission denied"):
            work()


# ---- files that others remove and write


def test_an_image_that_is_removed_before_it_is_read_is_fetched_again(filled, monkeypatch):
    from atldld.fetch import session as session_module

    image = filled.dataset(909).images[0]
    truth = filled.pixels(image, 4)
    held = filled.image(image, 4)
    prune(filled.cache, max_size=0)
    assert np.array_equal(filled.pixels(image, 4, held=held), truth)
    found = session_module.Session.image

    def removed(*arguments, **options):
        file = found(*arguments, **options)
        prune(filled.cache, max_size=0)
        return file

    monkeypatch.setattr(session_module.Session, "image", removed)
    with pytest.raises(CacheError, match="is gone"):
        filled.pixels(image, 4)  # again and again: it ends with a sentence


def test_an_image_whose_companion_is_about_to_come_is_not_damaged(filled):
    """A download has moved the image and still holds its lock."""
    stored = next(stored_images(filled.cache))
    known = companion_of(stored.path).read_bytes()
    begun, looked = threading.Event(), threading.Event()

    def download():
        with filled.cache.settled(stored.image_id):
            companion_of(stored.path).unlink()
            begun.set()
            looked.wait(0.3)
            companion_of(stored.path).write_bytes(known)

    thread = threading.Thread(target=download)
    thread.start()
    begun.wait(60)
    found = verify_cache(filled, repair=True)
    thread.join()
    assert found.damaged == []
    assert stored.path.exists()


def test_pruning_waits_for_who_is_looking_or_writing(filled, monkeypatch):
    """An image without its companion must not be seen; one that was just fetched stays."""
    monkeypatch.setattr(locks, "FIRST_WORD", 0.1)
    first, second = list(stored_images(filled.cache))[2:]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(1) as pool:
            with filled.cache.settled(first.image_id):
                pruning = pool.submit(prune, filled.cache, max_size=0)
                while not told and not pruning.done():
                    pass
                assert companion_of(first.path).exists()
                os.utime(first.path, (1, 1))  # written again
            assert pruning.result()[0] == 3
    assert "is waited for" in str(told[0].message)
    assert first.path.exists()
    assert not second.path.exists()


def test_files_that_vanish_between_listing_and_looking(filled, monkeypatch):
    """Every step finds another file gone; nothing counts it, and nothing fails."""

    def vanishing(path):
        path.unlink(missing_ok=True)
        return sha256_of(path)

    monkeypatch.setattr(upkeep, "sha256_of", vanishing)
    found = verify_cache(filled, repair=True)
    assert (found.sound, found.damaged) == (1, [])
    assert paths(filled.cache) == []


def test_what_is_being_written_is_no_document(filled):
    (filled.cache.root / "datasets" / ".1@here-0badf00d.part.json").write_text("{")
    assert [held.dataset_id for held in holdings(filled.cache)] == [909]
    assert verify_cache(filled).damaged == []


def test_one_meaning_of_left_over(filled):
    """A writer of this machine that is dead leaves rests at once; one that lives never does."""
    folder = filled.cache.root / "datasets"
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = folder / f".{child.pid}@{files_module._HOST}-00000000.part.json"
    alive = folder / f".{os.getpid()}@{files_module._HOST}-00000000.part.json"
    elsewhere = folder / f".{child.pid}@elsewhere-00000000.part.json"
    for path in (dead, alive, elsewhere):
        path.write_text("{")
    assert [damage.path for damage in verify_cache(filled).damaged] == [dead]
    sweep(folder)
    assert not dead.exists()
    assert alive.exists()
    assert elsewhere.exists()


def work_at_once(seed):
    """One of many: download, prune, verify, list, measure, export and import, for some rounds."""
    root, archive = STATE
    with in_process_session(root, archive) as session:
        sections = open_dataset(909, session=session).sections
        for turn in range(6):
            kind = (seed + turn) % 6
            if kind == 0:
                prune(session.cache, max_size=turn * 20_000)
            elif kind == 1:
                found = verify_cache(session, repair=turn % 2 == 0)
                assert found.damaged == [], found.damaged
            elif kind == 2:
                holdings(session.cache)
                session.cache.size()
            elif kind == 3:
                target = root.parent / f"{os.getpid()}-{threading.get_ident()}-{turn}"
                with contextlib.suppress(CacheError):
                    export_archive(session.cache, target)
                    assert import_archive(session.cache, target)[1] == []
            for number in (seed % 14, (seed * 5 + turn) % 14):
                assert sections[number].pixels(4).shape[2] == 3
                kept = read_json(companion_of(session.cache.image_path(sections[number].id, 4)))
                assert kept == {} or kept["width"] > 0
    return True


STATE: tuple[Path, DemoArchive | None] = (Path(), None)


@pytest.mark.filterwarnings("ignore::atldld.errors.LockWarning")  # on a busy machine
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads, from 3.12 on
def test_all_of_it_at_once_in_threads_and_processes(tmp_path):
    """Prune, verify, list, import, export and download in pairs of every kind."""
    global STATE
    archive = DemoArchive((909,))
    STATE = tmp_path / "cache", archive
    with in_process_session(tmp_path / "warm", archive) as session:
        truth = [s.pixels(4) for s in open_dataset(909, session=session).sections]
    children = []
    for seed in range(3) if hasattr(os, "fork") else ():
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if work_at_once(seed) else 3)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(4)
        children.append(child)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work_at_once, range(3, 7)))
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
    with in_process_session(tmp_path / "cache", archive) as session:
        assert verify_cache(session).damaged == []
        for section, picture in zip(
            open_dataset(909, session=session).sections, truth, strict=True
        ):
            assert np.array_equal(section.pixels(4), picture)


def test_process_ids_of_another_container_are_nobodys_here(monkeypatch):
    """Two containers of one host name that share a cache must not take each other for dead."""
    original = os.stat

    class Stat:
        st_ino = 4026999999

    monkeypatch.setattr(
        os, "stat", lambda path, **options: Stat() if "/ns/" in str(path) else original(path)
    )
    assert files_module._here().endswith("x4026999999")
    monkeypatch.setattr(Stat, "st_ino", files_module._WHOLE_MACHINE)
    assert "x4026" not in files_module._here()
