"""Sections that are cut at known places: their pictures show what lies there."""

import dataclasses

import msgspec
import numpy as np
import pytest
import simplejpeg

from atldld.fetch.session import Session
from atldld.place.sections import PlacedDataSet
from atldld.place.tiers import tier_to_image
from atldld.settings import Settings
from atldld.testing.cut import cut
from atldld.testing.pictures import Damage
from atldld.testing.places import Errors, Tear
from atldld.testing.stains import KINDS, Anatomy

NONE = Damage(**dict.fromkeys(Damage.__annotations__, 0.0))


@pytest.fixture(scope="module")
def anatomy(demo):
    return Anatomy.of(demo[2])


@pytest.fixture(scope="module")
def record(demo):
    """Three sections of data set 909."""
    whole = demo[1].record
    return msgspec.structs.replace(whole, images=whole.images[4:10:2])


@pytest.fixture(scope="module")
def sound(record, anatomy):
    return cut(record, anatomy, 3, kind="grey", damage=NONE)


def picture(data, section):
    return simplejpeg.decode_jpeg(data.images.jpeg(section.id), "RGB")


def in_brain(anatomy, placement, shape, tier):
    row, column = np.indices(shape)
    xy = tier_to_image(tier).apply(np.stack((column, row), axis=-1))
    return anatomy.at(placement.to_reference(xy).reshape(-1, 3).T).reshape(shape) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_shows_what_lies_at_the_true_place(record, anatomy, kind):
    data = cut(record, anatomy, 5, kind=kind, damage=NONE)
    camera = data.about["camera"]
    for section in PlacedDataSet.of(data.record):
        pixels = picture(data, section).astype(float)
        away = np.abs(pixels - camera.background).max(axis=2)
        shape, tier = away.shape, data.images.tier
        right, wrong = (
            np.corrcoef(away.ravel(), in_brain(anatomy, at, shape, tier).ravel())[0, 1]
            for at in (data.sections[section.id].truth, section.placement)
        )
        assert right > 0.8
        assert right > wrong + 0.02


def test_errors_are_as_large_as_asked_for(sound):
    placed = PlacedDataSet.of(sound.record)
    off = np.concatenate([sound.sections[one.id].off(one.placement) for one in placed])
    assert np.median(off) == pytest.approx(220, rel=0.05)
    for known in sound.sections.values():
        least, most = known.truth.deformation.jacobian
        assert 0.3 < least < most < 3
        back = known.truth.to_image(known.truth.to_reference(known.tissue))
        assert np.abs(back - known.tissue).max() < 1


def test_sections_may_lie_right(record, anatomy):
    data = cut(record, anatomy, 0, errors=Errors(median=0))
    for section in PlacedDataSet.of(data.record):
        assert not data.sections[section.id].off(section.placement).any()


def test_only_the_seed_matters(record, anatomy, sound):
    again = cut(record, anatomy, 3, kind="grey", damage=NONE, jobs=1)
    other = cut(record, anatomy, 4, kind="grey", damage=NONE)
    for image_id in sound.sections:
        assert again.images.jpeg(image_id) == sound.images.jpeg(image_id)
        assert other.images.jpeg(image_id) != sound.images.jpeg(image_id)


def test_a_session_has_the_pictures_at_every_coarser_tier(sound, tmp_path):
    settings = Settings(cache_dir=tmp_path, offline=True)
    tier = sound.images.tier
    with Session(settings, sources=[sound.images]) as session:
        for image in sound.record.images:
            fine = session.pixels(image, tier).astype(float)
            coarse = session.pixels(image, tier + 1).astype(float)
            assert coarse.shape[:2] == image.size(tier + 1)[::-1]
            rows, columns = coarse.shape[:2]
            boxes = fine[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, 3)
            assert np.abs(coarse - boxes.mean(axis=(1, 3))).mean() < 3


def test_what_is_cropped_stays_where_it_was(record, anatomy):
    data = cut(record, anatomy, 1, damage=dataclasses.replace(NONE, cropped=1.0))
    whole = PlacedDataSet.of(record)
    for section in PlacedDataSet.of(data.record):
        full = whole.section(section.id)
        assert section.image.width * section.image.height < full.image.width * full.image.height
        # one of the sides is where it was, so one of the corners is, too
        ends = [(0, 0), (section.image.width, section.image.height)]
        corners = [(0, 0), (full.image.width, full.image.height)]
        away = np.linalg.norm(section.to_reference(ends) - full.to_reference(corners), axis=1)
        assert away.min() < 1e-6 < away.max()
        back = section.placement.to_image(section.to_reference(ends))
        assert np.abs(back - ends).max() < 0.2


def test_tissue_beside_a_tear_gives_way_and_what_is_in_it_is_not_judged(record, anatomy):
    torn = cut(record, anatomy, 2, kind="nissl", damage=dataclasses.replace(NONE, torn=1.0))
    whole = cut(record, anatomy, 2, kind="nissl", damage=NONE)
    assert all(known.torn for known in torn.sections.values())
    for image_id, known in torn.sections.items():
        assert len(known.tissue) < len(whole.sections[image_id].tissue)


def test_a_tear_closes():
    tear = Tear(1000.0, 2000.0, 0.0, length=2000.0, width=300.0)
    xy = np.array([[1000.0, 2000.0 + y] for y in (-2000, -300, -140, 0, 140, 300, 2000)])
    moved = xy[:, 1] + tear.closing(xy, 1.0)[:, 1]
    assert (np.diff(moved) > 0).all()
    assert moved[4] - moved[2] < 0.6 * (xy[4] - xy[2])[1]
    assert np.abs(moved[[0, -1]] - xy[[0, -1], 1]).max() < 1e-9
    assert tear.gap(xy, 1.0).tolist() == [False, False, True, True, True, False, False]
