"""What a batch will be, before anything is fetched."""

import pytest

from atldld.api import DataSet, open_dataset
from atldld.batch import Download, Volumes, estimate, run_batch
from atldld.batch.estimate import BYTES_PER_PIXEL
from atldld.find import update
from atldld.place.tiers import tier_by_size
from atldld.sections.register import Recipe


def test_nothing_is_known_at_first(session, ids, work):
    found = estimate(ids[:3], work, session)
    assert found.unknown == tuple(ids[:3])
    assert found.images == found.fetched_bytes == 0
    assert found.written_bytes is None
    assert found.requests == 6
    assert session.client.requests_sent == 0


def test_the_catalogue_knows_all(session, ids, work):
    update(session, images=True)
    sent = session.client.requests_sent
    found = estimate([*ids, 12345], work, session)
    assert found.unknown == (12345,)
    assert found.images == 14 * len(ids)
    assert found.requests == 2 * (len(ids) + 1) + 14 * len(ids)
    assert found.fetched_bytes == round(14 * len(ids) * 178 * 166 * BYTES_PER_PIXEL)
    assert found.tiers == (4,)
    assert session.client.requests_sent == sent


def test_the_cache_knows_what_need_not_be_fetched(session, ids, work, tmp_path):
    run_batch(ids[:1], tmp_path, work, session=session)
    open_dataset(ids[1], session=session)
    found = estimate(ids[:2], work, session)
    assert found.unknown == ()
    assert (found.images, found.cached, found.requests) == (28, 14, 14)
    both = Download(Recipe(resolution=200, downsample=4, expression=True))
    assert estimate(ids[1:2], both, session).images == 28


def test_an_estimate_is_near_the_truth(session, ids, tmp_path):
    work = Download(Recipe(resolution=100))
    open_dataset(ids[0], session=session)
    found = estimate(ids[:1], work, session)
    (entry,) = run_batch(ids[:1], tmp_path, work, session=session).entries
    assert found.requests == entry.sections
    # the demo's pictures compress worse (their quality is 100) than the service's
    assert found.fetched_bytes < entry.image_bytes < 4 * found.fetched_bytes
    assert found.written_bytes is not None
    assert 0.3 < found.written_bytes / entry.bytes < 3
    used = {path.name for path in session.cache.root.rglob("images/*/*/*.jpg")}
    assert used == {f"{tier}.jpg" for tier in found.tiers}


@pytest.mark.parametrize(
    ("resolution", "pixel", "tiers", "tier"),
    [(25, 1.049, 7, 4), (25, 1.049, 4, 3), (1, 1.049, 7, 0), (10, 1.049, 7, 3), (16, 1.0, 9, 4)],
)
def test_the_tier_by_size(resolution, pixel, tiers, tier):
    assert tier_by_size(resolution, pixel, tiers - 1) == tier


@pytest.mark.parametrize("resolution", [10, 25, 50, 100])
def test_it_is_about_the_one_that_is_chosen(genuine, resolution):
    """For genuine sections; one of the brains is stretched so much that 10 µm need a finer one."""
    recipe = Recipe(resolution=resolution)
    for record in genuine.values():
        for section in DataSet(record, None).sections:  # type: ignore[arg-type]
            image = section.image
            assert image.resolution is not None
            guessed = tier_by_size(resolution, image.resolution, image.highest_downsample)
            off = guessed - recipe.plan(section).downsample
            assert off == (1 if (record.id, resolution) == (74272479, 10) else 0)


def test_of_what_is_known_the_very_tiers_are_told(session, ids):
    """The kind: a dry run that had a rule of its own, one tier too coarse at times."""
    for work in (Download(Recipe(10)), Volumes(10), Download(Recipe(25, downsample=3))):
        dataset = open_dataset(ids[0], session=session)
        tiers = {work.tier_of(dataset, section) for section in dataset}
        assert set(estimate(ids[:1], work, session).tiers) == tiers


def test_what_nobody_knows_is_not_guessed(session, ids):
    open_dataset(ids[0], session=session)
    assert estimate(ids[:1], Volumes(), session).written_bytes is None
    assert estimate(ids[:1], Download(fields=True), session).written_bytes is None
