"""The index of the cache: it saves looking, and notices what comes, goes or is replaced."""

import json
import os
import subprocess
import sys
import time

import pytest

from atldld.fetch import index
from atldld.fetch.cache import Cache
from atldld.fetch.holdings import holdings, parts
from atldld.fetch.index import INDEX, take_stock
from atldld.fetch.session import Session
from atldld.fetch.upkeep import verify_cache
from atldld.settings import Settings

COUNT = 30


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A small cache that gets an index, whose files count as settled."""
    monkeypatch.setattr(index, "SMALLEST", COUNT)
    monkeypatch.setattr(index, "SETTLED", -(10**12))
    made = Cache(tmp_path / "cache")
    made.write_document("datasets", "5", {"section_data_set": {"id": 5}})
    for at in range(COUNT):
        add(made, 1990 + at, data_set=5 + at % 2)
    return made


def add(cache, image_id, name="2.jpg", data_set=5, content=b"jpeg"):
    path = cache.root / "images" / str(image_id // 1000) / str(image_id) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.with_name(f"{name}.json").write_text(json.dumps({"dataset_id": data_set}))
    return path


def state(cache):
    return holdings(cache), parts(cache)


def truth(cache):
    """What is found without any index."""
    kept = cache.root / INDEX
    aside = kept.with_name("aside")
    kept.rename(aside)
    try:
        return state(cache)
    finally:
        aside.replace(kept)


def looks(monkeypatch, work):
    """Return the folders below images/ that are opened, and the companions that are read."""
    opened, read = [], []
    scan, decode = os.scandir, index._data_set

    def scanned(path):
        opened.append(os.fspath(path))
        return scan(path)

    def decoded(*of, **how):
        read.append(of)
        return decode(*of, **how)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scanned)
        patch.setattr(index, "_data_set", decoded)
        result = work()
    return result, [path for path in opened if "/images/" in path], read


def test_what_has_not_changed_is_not_opened_again(cache, monkeypatch):
    first, opened, read = looks(monkeypatch, lambda: state(cache))
    assert len(read) == COUNT
    again, opened, read = looks(monkeypatch, lambda: state(cache))
    assert again == first
    assert opened == read == []
    (of_5, of_6) = first[0]
    assert (of_5.dataset_id, of_5.images, of_5.files) == (5, COUNT // 2, COUNT + 1)
    assert (of_6.dataset_id, of_6.images, of_6.files) == (6, COUNT // 2, COUNT)


def test_a_list_looks_at_folders_and_at_no_file(cache, monkeypatch):
    """A look at each of 200,000 files takes two thirds of a list's time."""
    before = state(cache)
    looked, look = [], os.stat

    def looking(path, *of, **how):
        looked.append(os.fspath(path))
        return look(path, *of, **how)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", looking)
        assert holdings(cache) == before[0]
    inside = [path.rpartition("/images/")[2] for path in looked if "/images/" in path]
    groups = {"1": range(1990, 2000), "2": range(2000, 1990 + COUNT)}
    expected = [*groups, *(f"{group}/{image}" for group in groups for image in groups[group])]
    assert sorted(inside) == sorted(expected)


def test_only_groups_that_have_changed_are_opened_again(cache, monkeypatch):
    state(cache)
    add(cache, 1995, "4.jpg")
    _, opened, read = looks(monkeypatch, lambda: holdings(cache))
    inside = [path.rpartition("/images/")[2] for path in opened]
    assert sorted(inside) == ["1", *(f"1/{image}" for image in range(1990, 2000))]
    assert len(read) == 11


def replaced(path, content):
    path.with_name("new").write_bytes(content)
    path.with_name("new").replace(path)


def rewritten(path, content):
    """As `cp -p` and `rsync --inplace` do: the same file, with its old time."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.truncate()
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def add_deeper(path):
    (path.parent / "more").mkdir()
    (path.parent / "more" / "2.jpg").write_bytes(b"odd")


def companion(path):
    return path.with_name(path.name + ".json")


CHANGES = {
    "an image more": lambda cache, path: add(cache, 5001, data_set=6),
    "a tier more": lambda cache, path: add(cache, 1995, "4.jpg"),
    "a mask more": lambda cache, path: add(cache, 1995, "2-expression.jpg"),
    "an image of the bucket": lambda cache, path: add(cache, 1995, "2.tif"),
    "an odd file": lambda cache, path: path.with_name("notes.txt").write_text("odd"),
    "a folder in it": lambda cache, path: add_deeper(path),
    "an image less": lambda cache, path: path.unlink(),
    "a companion less": lambda cache, path: companion(path).unlink(),
    "a folder less": lambda cache, path: (
        path.unlink(),
        companion(path).unlink(),
        path.parent.rmdir(),
    ),
    "another image": lambda cache, path: replaced(path, b"another jpeg"),
    "another data set": lambda cache, path: replaced(companion(path), b'{"dataset_id": 7}'),
    "a torn companion": lambda cache, path: replaced(companion(path), b'{"datas'),
    "a link": lambda cache, path: path.with_name("0.jpg").symlink_to(path),
    "a folder that became a file": lambda cache, path: (
        path.unlink(),
        companion(path).unlink(),
        path.parent.rmdir(),
        path.parent.write_text("odd"),
    ),
    "an image in another's group": lambda cache, path: path.parent.rename(
        path.parent.parent.parent / "2" / path.parent.name
    ),
    "other metadata": lambda cache, path: replaced(
        cache.root / "datasets" / "5.json", b'{"section_data_set": null, "more": 1}'
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_noticed(cache, change):
    before = state(cache)
    path = cache.root / "images" / "1" / "1995" / "2.jpg"
    CHANGES[change](cache, path)
    found = state(cache)
    assert found != before
    assert found == truth(cache) == state(cache)
    size = cache.size()
    assert size == (sum(part.files for part in found[1]), sum(part.bytes for part in found[1]))


@pytest.mark.parametrize(
    ("of", "content"), [(lambda path: path, b"longer jpeg"), (companion, b'{"dataset_id": 7}')]
)
def test_what_is_rewritten_in_place_is_noticed_when_the_cache_is_verified(cache, of, content):
    """Its folder looks as before; a list of a hundred thousand images looks at folders alone."""
    before = state(cache)
    rewritten(of(cache.root / "images" / "1" / "1995" / "2.jpg"), content)
    assert state(cache) == before
    verify_cache(Session(Settings(cache_dir=cache.root, offline=True)))
    found = state(cache)
    assert found != before
    assert found == truth(cache)


def test_a_file_that_is_still_being_written_is_not_kept(cache, monkeypatch):
    """It grows without a change of its folder."""
    now = time.time()
    path = cache.root / "images" / "1" / "1995" / "2.jpg"
    monkeypatch.setattr(index, "SETTLED", -30 * 10**9)
    os.utime(path, (now + 60, now + 60))
    first = state(cache)
    rewritten(path, b"a longer jpeg")
    assert state(cache) == truth(cache) != first


def test_a_link_to_nowhere_hides_nothing(cache):
    """Folders of the same group that come after it are looked at, too."""
    (cache.root / "images" / "1" / "0").symlink_to(cache.root / "nowhere")
    for image_id in range(1990, 2000):
        before = state(cache)
        add(cache, image_id, "4.jpg")
        assert state(cache) == truth(cache) != before


def test_what_a_link_leads_to_is_looked_at_each_time(cache, tmp_path):
    target = tmp_path / "elsewhere.jpg"
    path = cache.root / "images" / "1" / "1995" / "0.jpg"
    path.symlink_to(target)
    first = state(cache)
    target.write_bytes(b"it is there now")
    assert state(cache) == truth(cache) != first


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"2.jpg", b"3.jpg"),
        lambda content: content[:-40] + b"\0" * 40,
        lambda content: index._sum_of(b"{}") + b"{}",
        lambda content: index._sum_of(b'{"version": 2}') + b'{"version": 2}',
        lambda content: index._sum_of(b"[1]") + b"[1]",
        lambda content: os.urandom(100),
    ],
)
def test_a_damaged_index_is_made_again(cache, damage):
    sound = state(cache)
    path = cache.root / INDEX
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert state(cache) == sound
    assert path.read_bytes() == whole


def test_an_index_of_a_copy_is_made_again(cache, tmp_path, monkeypatch):
    """Other files have other numbers and times."""
    import shutil

    sound = state(cache)
    shutil.copytree(cache.root, tmp_path / "copy")
    copy = Cache(tmp_path / "copy")
    found, _, read = looks(monkeypatch, lambda: state(copy))
    assert found == sound
    assert len(read) == COUNT


def test_what_has_just_been_written_is_not_kept(cache, monkeypatch):
    """It may be written again in the same step of the file system's clock."""
    monkeypatch.setattr(index, "SETTLED", 60 * 10**9)
    for _ in range(2):
        _, _, read = looks(monkeypatch, lambda: take_stock(cache).keep())
        assert len(read) == COUNT


def test_where_nothing_can_be_written_the_answer_is_the_same(cache, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.touch", refuse)
        patch.setattr("pathlib.Path.write_bytes", refuse)
        found = state(cache)
    assert not (cache.root / INDEX).exists()
    assert state(cache) == found


def test_small_caches_get_none(cache, monkeypatch):
    monkeypatch.setattr(index, "SMALLEST", COUNT + 1)
    before = sorted(cache.root.rglob("*"))
    state(cache)
    assert sorted(cache.root.rglob("*")) == before


PROGRAM = """
import os, sys
from pathlib import Path
from atldld.fetch import index
from atldld.fetch.cache import Cache
index.SMALLEST, index.SETTLED = 1, -(10**12)
if sys.argv[2] == "killed":
    os.replace = lambda *paths: os._exit(9)
for _ in range(int(sys.argv[3])):
    (Path(sys.argv[1]) / "index" / "images.json").unlink(missing_ok=True)
    index.take_stock(Cache(sys.argv[1])).keep()
"""


def program(cache, *words):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, cache.root, *words])


def test_one_that_was_killed_leaves_no_index_and_is_swept(cache):
    assert program(cache, "killed", "1").wait() == 9
    assert len(os.listdir(cache.root / "index")) == 1
    found = state(cache)
    assert os.listdir(cache.root / "index") == ["images.json"]
    assert state(cache) == found


def test_two_that_write_at_once(cache):
    found = state(cache)
    writers = [program(cache, "writes", "20") for _ in range(2)]
    try:
        while any(writer.poll() is None for writer in writers):
            assert state(cache) == found
    finally:
        assert [writer.wait() for writer in writers] == [0, 0]
    assert state(cache) == found
