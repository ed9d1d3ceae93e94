import json
import os

import pytest

from atldld.errors import CacheError, NetworkError
from atldld.fetch.cache import MARKER, Cache
from atldld.fetch.facts import ImageFacts
from atldld.support.files import whole_file


def put(cache, image_id=7, downsample=2, content=b"pixels", **which):
    with cache.new_image(image_id, downsample, **which) as arriving:
        arriving.file.write(content)
        return arriving.keep(
            ImageFacts(width=3, height=2, sha256="0" * 64, url="http://s/7", dataset_id=5)
        )


def files(cache):
    found = (p for p in cache.root.rglob("*") if p.is_file() and p.suffix != ".lock")
    return sorted(path.relative_to(cache.root).as_posix() for path in found)


def test_layout(tmp_path):
    cache = Cache(tmp_path / "c")
    put(cache)
    put(cache, expression=True)
    cache.write_document("datasets", "5", {"a": 1})
    assert files(cache) == [
        MARKER,
        "datasets/5.json",
        "images/0/7/2-expression.jpg",
        "images/0/7/2-expression.jpg.json",
        "images/0/7/2.jpg",
        "images/0/7/2.jpg.json",
    ]
    assert json.loads((cache.root / MARKER).read_text()) == {
        "format": "atldld-archive",
        "version": 1,
    }
    assert cache.document_names("datasets") == ["5"]
    document = cache.read_document("datasets", "5")
    assert document is not None
    assert document["a"] == 1
    assert cache.size()[0] == 6


def test_an_image_is_found_again(tmp_path):
    cache = Cache(tmp_path)
    kept = put(cache)
    assert cache.find_image(7, 2) == kept
    assert cache.find_image(7, 1) is None
    assert cache.find_image(7, 2, expression=True) is None


def test_without_keep_nothing_is_kept(tmp_path):
    cache = Cache(tmp_path)
    with cache.new_image(7, 2) as arriving:
        arriving.file.write(b"half")
    with pytest.raises(RuntimeError), cache.new_image(7, 2):
        raise RuntimeError
    assert files(cache) == [MARKER]


@pytest.mark.parametrize("damage", ["truncate", "no companion", "bad companion", "odd companion"])
def test_what_is_damaged_does_not_count(tmp_path, damage):
    cache = Cache(tmp_path)
    path = put(cache).path
    companion = path.with_name(path.name + ".json")
    if damage == "truncate":
        path.write_bytes(b"pix")
    elif damage == "no companion":
        companion.unlink()
    elif damage == "bad companion":
        companion.write_text('{"width": 3,')
    else:
        companion.write_text('{"width": 3, "path": "/etc/passwd"}')
    assert cache.find_image(7, 2) is None
    put(cache)
    assert cache.find_image(7, 2) is not None


def test_broken_documents_count_as_missing(tmp_path):
    cache = Cache(tmp_path)
    cache.write_document("queries", "q", {"rows": []})
    (tmp_path / "queries" / "q.json").write_text("{")
    assert cache.read_document("queries", "q") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_cache(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CacheError, match="ATLDLD_CACHE_DIR"):
        put(Cache(tmp_path / "c"))


def test_a_cache_that_is_a_file(tmp_path):
    (tmp_path / "c").write_text("")
    with pytest.raises(CacheError, match="cannot be written"):
        put(Cache(tmp_path / "c"))


def test_a_failed_request_is_no_failed_file(tmp_path):
    with pytest.raises(NetworkError), Cache(tmp_path).new_image(7, 2):
        raise NetworkError("No line.")


def test_replacing_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with whole_file(path, force=True) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]
