import json
import os
import time
from datetime import timedelta

import pytest

from atldld.errors import CacheError, InvalidInputError
from atldld.fetch.cache import companion_of
from atldld.fetch.holdings import holdings, parts
from atldld.fetch.upkeep import prune, stored_images, verify_cache


def paths(cache):
    return [stored.path for stored in stored_images(cache)]


def test_holdings(filled):
    (held,) = holdings(filled.cache)
    assert (held.dataset_id, held.images, held.masks, held.tiers) == (909, 3, 1, (4,))
    assert (held.genes, held.section_images) == (("Demo",), 14)
    images = paths(filled.cache)
    own = [*images, *map(companion_of, images), filled.cache.root / "datasets" / "909.json"]
    assert held.files == len(own) == 9
    assert held.bytes == sum(path.stat().st_size for path in own)


def test_parts_are_all_that_there_is(filled):
    """The kind: two counts of the same cache that differ."""
    cache = filled.cache
    for name in ("files/api/x", "unpacked/a.npy", "queries/ab.json", "catalogue.sqlite", "odd"):
        (cache.root / name).parent.mkdir(parents=True, exist_ok=True)
        (cache.root / name).write_bytes(b"12345")
    paths(cache)[0].unlink()  # what was checked of it stays, and still counts
    (cache.root / "images" / "left-over").write_bytes(b"1234567")
    found = {part.kind: part for part in parts(cache)}
    assert cache.size() == (
        sum(part.files for part in found.values()),
        sum(part.bytes for part in found.values()),
    )
    held = holdings(cache)
    images = found["images, masks and metadata of data sets"]
    assert images.files == sum(one.files for one in held)
    assert images.bytes == sum(one.bytes for one in held)
    assert held[-1].dataset_id is None
    assert held[-1].files == 1
    for kind in (
        "atlases, grids and plates",
        "volumes of atlases, unpacked (made again when needed)",
        "answers to searches",
        "catalogue",
    ):
        assert (found[kind].files, found[kind].bytes) == (1, 5), kind
    assert found["other files"].bytes >= 12


def test_a_sound_cache(filled):
    found = verify_cache(filled)
    assert (found.sound, found.damaged) == (5, [])


def flip_one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", ["bit", "truncated", "no companion", "wrong companion", "document", "left over"]
)
def test_damage_is_found_and_mended(filled, damage):
    path = paths(filled.cache)[1]
    before = path.read_bytes()
    if damage == "bit":
        flip_one_bit(path)
    elif damage == "truncated":
        path.write_bytes(before[:100])
    elif damage == "no companion":
        companion_of(path).unlink()
    elif damage == "wrong companion":
        facts = json.loads(companion_of(path).read_text())
        companion_of(path).write_text(json.dumps(facts | {"width": 3}))
    elif damage == "document":
        (filled.cache.root / "datasets" / "909.json").write_text("{")
    else:
        old = path.with_name(".1-abcd.part.jpg")
        old.write_bytes(b"half")
        os.utime(old, (time.time() - 9999,) * 2)
        path.with_name(".2-abcd.part.jpg").write_bytes(b"another run is writing this")
    found = verify_cache(filled)
    assert len(found.damaged) == 1
    assert found.repaired == 0
    mended = verify_cache(filled, repair=True)
    assert mended.repaired == 1
    assert verify_cache(filled).damaged == []
    if damage != "document":
        assert path.read_bytes() == before
    else:
        assert len(filled.dataset(909).images) == 14


def test_mending_offline_only_removes(filled):
    path = paths(filled.cache)[1]
    flip_one_bit(path)
    away = filled.strictly()
    away.settings = type(filled.settings)(
        filled.settings.api_url, cache_dir=filled.settings.cache_dir, offline=True
    )
    (damage,) = verify_cache(away, repair=True).damaged
    assert "offline" in (damage.remedy or "")
    assert not path.exists()


def test_prune(filled):
    cache = filled.cache
    with pytest.raises(InvalidInputError, match="older_than"):
        prune(cache)
    assert prune(cache, older_than=timedelta(days=1)) == (0, 0)
    first = paths(cache)[0]
    facts = json.loads(companion_of(first).read_text())
    companion_of(first).write_text(json.dumps(facts | {"fetched": "2020-01-01T00:00:00+00:00"}))
    size = first.stat().st_size
    assert prune(cache, older_than=timedelta(days=1)) == (1, size)
    assert not first.exists()
    assert not companion_of(first).exists()
    left = sum(path.stat().st_size for path in paths(cache))
    count, gone = prune(cache, max_size=left - 1)
    assert count == 1
    assert left - gone <= left - 1
    assert prune(cache, dataset_id=5) == (0, 0)
    assert prune(cache, dataset_id=909)[0] == 2
    assert paths(cache) == []
    assert cache.document_names("datasets") == []


def test_an_archive_of_a_newer_version_is_left_alone(filled):
    marker = filled.cache.root / "atldld-archive.json"
    marker.write_text('{"format": "atldld-archive", "version": 99}')
    before = sorted(filled.cache.root.rglob("*"))
    with pytest.raises(CacheError, match="newer atldld"):
        verify_cache(filled, repair=True)
    with pytest.raises(CacheError, match="newer atldld"):
        prune(filled.cache, max_size=0)
    with pytest.raises(CacheError, match="newer atldld"):
        filled.image(filled.dataset(909).images[5], 4)
    assert sorted(filled.cache.root.rglob("*")) == before


def test_the_cache_of_0_3_is_taken_over_where_it_is_sound(filled):
    dataset = filled.dataset(909)
    cache = filled.cache
    known = filled.image(dataset.images[0], 4)
    content = known.path.read_bytes()
    old = cache.old_image_path(dataset.images[0].id, 4)
    assert old.name == f"{dataset.images[0].id}-4.jpg"
    old.write_bytes(content)
    companion_of(known.path).unlink()
    known.path.unlink()
    sent = filled.client.requests_sent
    again = filled.image(dataset.images[0], 4)
    assert (again.sha256, filled.client.requests_sent) == (known.sha256, sent)
    # one that is broken is not, and stays as it was
    broken = cache.old_image_path(dataset.images[7].id, 4)
    broken.write_bytes(content[:1000])
    filled.image(dataset.images[7], 4)
    assert filled.client.requests_sent == sent + 1
    assert broken.read_bytes() == content[:1000]


def test_an_image_without_companion_is_looked_at_before_it_is_fetched_again(filled):
    image = filled.dataset(909).images[0]
    known = filled.image(image, 4)
    companion_of(known.path).unlink()
    sent = filled.client.requests_sent
    assert filled.image(image, 4).sha256 == known.sha256
    assert filled.client.requests_sent == sent


def test_pruning_goes_on_where_it_was_cut_off(filled):
    """Killed between the companion and the image: nothing vouches for it, and it is found."""
    cache = filled.cache
    companion_of(next(stored_images(cache)).path).unlink()
    count = len(list(stored_images(cache)))
    assert prune(cache, dataset_id=909)[0] == count
    assert list(stored_images(cache)) == []


def test_what_cannot_be_removed_is_one_sentence(filled, monkeypatch):
    def fail(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.unlink", fail)
    with pytest.raises(CacheError, match="Permission denied"):
        prune(filled.cache, dataset_id=909)


def test_what_was_not_fetched_again_is_not_mended(filled, monkeypatch):
    flip_one_bit(next(stored_images(filled.cache)).path)

    def fail(*arguments, **options):
        raise CacheError("The disk is full.")

    monkeypatch.setattr(type(filled), "image", fail)
    found = verify_cache(filled, repair=True)
    assert [damage.remedy for damage in found.damaged] == [
        "removed; not fetched again: The disk is full."
    ]
    assert found.repaired == 0


def test_each_folder_is_looked_into_once_and_no_file_gets_a_path(tmp_path, monkeypatch):
    """With many images the time goes into `Path` objects and second looks at folders."""
    import os
    from pathlib import Path

    from atldld.fetch.cache import Cache
    from atldld.fetch.holdings import holdings, parts

    cache = Cache(tmp_path)
    for image_id in range(1000, 1040):
        path = cache.image_path(image_id, 2)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"jpeg")
        path.with_name("2.jpg.json").write_text('{"dataset_id": 5}')
    looked: list[str] = []
    made: list[object] = []
    scan, make = os.scandir, Path.__truediv__

    def scanned(path):
        looked.append(os.fspath(path))
        return scan(path)

    def joined(one, other):
        made.append(other)
        return make(one, other)

    monkeypatch.setattr(os, "scandir", scanned)
    monkeypatch.setattr(Path, "__truediv__", joined)
    assert sum(part.files for part in parts(cache)) == 80
    assert len(looked) == len(set(looked))
    assert sum("images" in path for path in looked) == 40 + 2  # with images and images/1
    assert len(made) < 10
    looked.clear()
    (held,) = holdings(cache)
    assert (held.dataset_id, held.images, held.files) == (5, 40, 80)
    assert sum("images" in path for path in looked) == 40 + 2
