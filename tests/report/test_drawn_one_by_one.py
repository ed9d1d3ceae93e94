"""Sections are drawn and written one after another, and what is only mapped is given back.

Guarded by counts: times and memory are measured by ``benchmarks/bench_report.py``.
"""

import threading
import weakref

import numpy as np
import pytest

from atldld.atlas.labels import compact_labels
from atldld.report import contents, gather, open_source
from atldld.report.page import parts
from atldld.report.pictures import Picture, views_of
from atldld.support import memory
from atldld.support.memory import let_go
from atldld.volume.build import VolumeRecipe, build_volume
from tests.report.conftest import DATASET


@pytest.mark.one_in(2)
@pytest.mark.parametrize("jobs", [1, 2])
def test_few_sections_are_held_at_a_time(source, atlas, monkeypatch, jobs):
    lock, drawn, alive, most = threading.Lock(), [], set(), [0]

    def watched(registered, *arguments, **options):
        with lock:
            name = registered.section.id
            drawn.append(name)
            alive.add(name)
            weakref.finalize(registered.image, alive.discard, name)
            most[0] = max(most[0], len(alive))
        return views_of(registered, *arguments, **options)

    monkeypatch.setattr(contents, "views_of", watched)
    gather(source, atlas, volume=False, jobs=jobs)
    assert len(drawn) == len(source.dataset)
    assert 1 <= most[0] <= jobs + 1


def test_the_page_is_written_piece_by_piece(report):
    pieces = list(parts(report))
    marks = [f'"{entry.views.registered.uri}"' for entry in report.entries]
    # a picture of the viewer stands in the piece of its section, and in no other
    found = [[k for k, piece in enumerate(pieces) if mark in piece] for mark in marks]
    places = [where[-1] for where in found]
    assert all(where for where in found)
    assert len(set(places)) == len(places)


def test_pictures_become_text_when_they_are_written(report, monkeypatch):
    made = []

    def uri(self):
        made.append(self)
        return f"data:{self.kind};base64,"

    monkeypatch.setattr(Picture, "uri", property(uri))
    pieces = parts(report)
    late = report.entries[-1].views.raw
    for piece in pieces:
        if 'id="figures"' in piece:
            break
    assert not any(one is late for one in made)
    for _ in pieces:
        pass
    assert any(one is late for one in made)


def test_no_section_is_read_at_two_tiers(demo_session, monkeypatch):
    """Pictures, quality figures and the volume are made of the same files."""
    session = demo_session
    source = open_source(DATASET, session=session, table_resolution=50)
    asked = []
    real = type(session).image

    def image(self, image, downsample=0, **options):
        asked.append((image.id, downsample, bool(options.get("expression"))))
        return real(self, image, downsample, **options)

    monkeypatch.setattr(type(session), "image", image)
    gather(source, None, without_atlas="none")
    tiers: dict[int, set[int]] = {}
    for image_id, tier, mask in asked:
        if not mask:
            tiers.setdefault(image_id, set()).add(tier)
    assert len(tiers) == len(source.dataset)
    # but for the first picture of the page, which is finer
    assert sum(len(found) > 1 for found in tiers.values()) <= 1


def test_a_volume_of_averaged_pixels_is_that_of_the_coarser_tier(source):
    dataset, session = source.dataset, source.dataset.session
    coarse = build_volume([(dataset, session)], VolumeRecipe(200, fill="linear"))
    finer = build_volume([(dataset, session)], VolumeRecipe(200, fill="linear", read_at=50))
    assert finer.data.shape == coarse.data.shape
    np.testing.assert_array_equal(finer.coverage, coarse.coverage)
    known = coarse.coverage > 0.1
    apart = np.abs(finer.data[known].astype(int) - coarse.data[known])
    assert apart.mean() < 3  # grey levels: JPEG's own errors
    used = {one["downsample"] for one in finer.metadata["datasets"][0]["sections"]}
    assert used == {one["downsample"] for one in coarse.metadata["datasets"][0]["sections"]}


def test_what_is_mapped_is_given_back_and_read_again(tmp_path):
    path = tmp_path / "array.npy"
    np.save(path, np.arange(3_000_000, dtype=np.uint32).reshape(100, 100, 300))
    mapped = np.load(path, mmap_mode="r")
    before = int(mapped.sum(dtype=np.int64))
    let_go(mapped)
    assert int(mapped.sum(dtype=np.int64)) == before
    # what may have been changed is left alone
    changed = np.load(path, mmap_mode="c")
    changed[0, 0, 0] = 77
    let_go(changed)
    assert changed[0, 0, 0] == 77
    let_go(np.zeros(3))


@pytest.mark.parametrize("order", ["C", "F"])
def test_little_of_a_mapped_annotation_is_held(tmp_path, monkeypatch, order):
    """It is given back slab by slab, and the result is in C order without a second copy."""
    labels = np.random.default_rng(1).integers(0, 9, (40, 30, 50)).astype(np.uint32) * 1000
    array = np.asarray(labels, order=order)
    given: list[np.ndarray] = []
    monkeypatch.setattr("atldld.atlas.labels.let_go", given.append)
    ids, places = compact_labels(array)
    assert len(given) >= array.shape[0 if order == "C" else 2] / 16
    assert places.flags.c_contiguous
    assert places.base is None
    np.testing.assert_array_equal(ids[places], labels)
    assert memory.let_go is let_go
