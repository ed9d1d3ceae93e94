import json
import os
import threading
import zipfile
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
import simplejpeg

from atldld.errors import CacheError
from atldld.fetch import archive as archive_module
from atldld.fetch import cache as cache_module
from atldld.fetch import pictures
from atldld.fetch.archive import export_archive, import_archive
from atldld.fetch.cache import Cache, companion_of
from atldld.fetch.locks import locked
from atldld.fetch.upkeep import stored_images
from atldld.support import pipeline


def paths(cache):
    return [stored.path for stored in stored_images(cache)]


@pytest.mark.parametrize("name", ["archive.zip", "archive"])
def test_export_and_import(filled, tmp_path, name):
    assert export_archive(filled.cache, tmp_path / name, [909]) == 4
    other = Cache(tmp_path / "other")
    assert import_archive(other, tmp_path / name) == (4, [])
    for mine, theirs in zip(stored_images(filled.cache), stored_images(other), strict=True):
        assert mine.path.read_bytes() == theirs.path.read_bytes()
        assert mine.facts == theirs.facts
    assert other.read_document("datasets", "909") == filled.cache.read_document("datasets", "909")
    assert import_archive(other, tmp_path / name) == (0, [])
    with pytest.raises(CacheError, match="there already"):
        export_archive(filled.cache, tmp_path / name)


def test_exporting_what_is_not_there(filled, tmp_path):
    with pytest.raises(CacheError, match="atldld download 5 -o OUT"):
        export_archive(filled.cache, tmp_path / "a.zip", [909, 5])
    with pytest.raises(CacheError, match="empty"):
        export_archive(Cache(tmp_path / "nothing"), tmp_path / "a")
    assert not (tmp_path / "a.zip").exists()
    assert not (tmp_path / "a").exists()


def tampered(filled, tmp_path, change):
    """An exported ZIP file whose members `change` has had its way with."""
    export_archive(filled.cache, tmp_path / "good.zip")
    with zipfile.ZipFile(tmp_path / "good.zip") as good:
        members = {info.filename: good.read(info) for info in good.infolist()}
    change(members)
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad:
        for name, content in members.items():
            bad.writestr(name, content)
    return tmp_path / "bad.zip"


def image_of(members):
    return next(name for name in members if name.endswith(".jpg"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update({"../../evil.txt": b"x"}), "none of an archive's"),
        (lambda m: m.update({"/etc/evil": b"x"}), "none of an archive's"),
        (lambda m: m.update({"images/0/../../1/2.jpg": b"x"}), "none of an archive's"),
        (lambda m: m.update({"datasets/x.json": b"{}"}), "none of an archive's"),
        (lambda m: m.update({"datasets/7.json": b'{"a": 1}'}), "no data set"),
        (lambda m: m.update({"datasets/7.json": m["datasets/909.json"]}), "data set 909"),
        (lambda m: m.update({"datasets/8.json": b"[" * 100_000}), "Expected `object`, got `array`"),
        (lambda m: m.update({"datasets/8.json": b"{x"}), "no JSON"),
        (lambda m: m.update({image_of(m): m[image_of(m)][:-40]}), "do not match its hash"),
        (lambda m: m.pop(image_of(m) + ".json"), "nothing is known"),
        (lambda m: m.update({"queries/" + "0" * 64 + ".json": b'{"rows": 1}'}), "no answer"),
    ],
)
def test_importing_believes_nothing(filled, tmp_path, change, says):
    other = Cache(tmp_path / "deep" / "other")
    count, refused = import_archive(other, tampered(filled, tmp_path, change))
    assert len(refused) == 1
    assert says in refused[0].problem
    assert count >= 3
    written = {p for p in (tmp_path / "deep").rglob("*") if p.is_file()}
    assert all(other.root in path.parents for path in written)
    assert not list(tmp_path.rglob("evil*"))
    assert not list(other.root.rglob("*.part*"))


def test_importing_what_is_no_archive(filled, tmp_path):
    with pytest.raises(CacheError, match="no archive"):
        import_archive(
            filled.cache, tampered(filled, tmp_path, lambda m: m.pop("atldld-archive.json"))
        )
    (tmp_path / "text.zip").write_text("hello")
    for source in (tmp_path / "text.zip", tmp_path / "missing"):
        with pytest.raises(CacheError, match=r"a folder (nor|or) a ZIP"):
            import_archive(filled.cache, source)


@pytest.fixture
def many(tmp_path):
    """A cache of three images for each of 64 locks."""
    source = Cache(tmp_path / "source")
    source.write_json(source.root / "atldld-archive.json", cache_module.FORMAT)
    jpeg = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    known = {"sha256": sha256(jpeg).hexdigest(), "width": 8, "height": 8, "bytes": len(jpeg)}
    ids = [*range(1000, 1064), *range(1256, 1320), *range(1512, 1576)]  # three for each lock
    for image_id in ids:
        path = source.image_path(image_id, 3)
        path.parent.mkdir(parents=True)
        path.write_bytes(jpeg)
        companion_of(path).write_text(json.dumps(known))
    return source, ids


def test_taking_many_images_locks_groups_and_looks_once(tmp_path, many, monkeypatch):
    """The kind: work that each of 100,000 images repeats, and that one of them could do for all."""
    source, ids = many
    counts: Counter[str] = Counter()

    def counted(name, work, what=lambda *of, **also: True):
        def wrapped(*of, **also):
            counts[name] += what(*of, **also)
            return work(*of, **also)

        return wrapped

    monkeypatch.setattr(cache_module, "locked", counted("locks", locked))
    monkeypatch.setattr(
        cache_module,
        "read_json",
        counted("markers", cache_module.read_json, lambda path: path.name == "atldld-archive.json"),
    )
    inside = os.fspath(source.root)
    monkeypatch.setattr(
        os, "scandir", counted("looks", os.scandir, lambda path: os.fspath(path).startswith(inside))
    )
    target = Cache(tmp_path / "target")
    count, refused = import_archive(target, source.root)
    assert (count, refused) == (len(ids), [])
    assert counts["locks"] == 64
    assert counts["markers"] <= 3
    assert counts["looks"] == len(ids) + 3  # each folder once, with the root, images/ and images/1
    assert [one.image_id for one in stored_images(target)] == ids


def test_an_image_that_is_taken_is_opened_once_and_removed_never(tmp_path, many, monkeypatch):
    """It is verified in the file that it was written to, and what was moved is not looked for."""
    source, ids = many
    seen: Counter[str] = Counter()

    def counted(name, work):
        def wrapped(path, *given, **options):
            seen[name] += str(path).startswith(f"{tmp_path}/target/images/")
            return work(path, *given, **options)

        return wrapped

    opened = counted("open", open)
    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr("io.open", opened)
    for name in ("unlink", "mkdir", "stat"):
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    assert import_archive(Cache(tmp_path / "target"), source.root) == (len(ids), [])
    monkeypatch.undo()
    # the companion that is not there yet, and both files; no others are looked for
    assert seen["open"] == 3 * len(ids)
    assert seen["unlink"] == len(ids)  # the companion of an older file
    assert seen["stat"] == 0


@pytest.mark.parametrize("packed", [False, True])
def test_large_images_are_taken_by_several_threads(tmp_path, many, monkeypatch, packed):
    """Decoding them is most of the work; of small ones it is Python's own."""
    source, ids = many
    source.image_path(ids[7], 3).write_bytes(b"no image")
    source.image_path(ids[100], 3).write_bytes(b"no image")
    place = source.root
    if packed:
        place = tmp_path / "a.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for path in sorted(source.root.rglob("*.j*")):
                archive.write(path, path.relative_to(source.root).as_posix())
    monkeypatch.setattr(pipeline, "default_jobs", lambda: 3)
    threads, verify = set(), pictures.verify_open

    def seen(*given):
        threads.add(threading.get_ident())
        return verify(*given)

    monkeypatch.setattr(pictures, "verify_open", seen)
    found = {}
    for least in (1 << 20, 1):
        monkeypatch.setattr(archive_module, "_LARGE", least)
        threads.clear()
        told: list[tuple[str, bool]] = []
        target = Cache(tmp_path / f"target-{least}")

        def note(kind, new, told=told):
            told.append((kind, new))

        count, refused = import_archive(target, place, tell=note)
        assert bool(threads - {threading.get_ident()}) == (least == 1)
        found[least] = (count, refused, told, [one.image_id for one in stored_images(target)])
    assert found[1] == found[1 << 20]
    assert found[1][0] == len(ids) - 2
    assert len(found[1][1]) == 2
