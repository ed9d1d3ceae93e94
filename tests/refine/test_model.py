"""What a section looks like, which of its pixels count, and what structures usually look like."""

import numpy as np
import pytest

from atldld.refine.model import Labels3d, Look, learn, look_at, weights_of
from atldld.refine.usual import usual_greys

SIDE = 50.0
COUNT = 40


def look_of(values):
    rows, columns = values.shape
    return Look(values.astype(np.float32), np.arange(columns) * 1.0, np.arange(rows) * 1.0, SIDE)


@pytest.mark.parametrize("dark", [20, 120, 250])
def test_a_pixel_that_is_half_tissue_is_half_as_dark(dark):
    stain = np.zeros((40, 60), np.uint8)
    stain[:, 25:] = dark  # pixels of 10 µm: the third of 100 µm is half tissue
    values = look_at(stain, (1, 1, 0, 0), 10.0, 100.0).values
    np.testing.assert_allclose(values[:, :2], 0, atol=1e-5)
    np.testing.assert_allclose(values[:, 2] / values[:, 3], 0.5, atol=1e-4)


def test_the_noise_of_a_slide_is_pale_beside_what_is_stained():
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None], 4, axis=0)
    values = look_at(levels, (1, 1, 0, 0), 10.0, 10.0).values[0]
    assert values[0] == 0
    assert (np.diff(values) > 0).all()
    assert values[4] < 0.07 * values[255]  # a plain root has an eighth
    assert values[64] > 0.4 * values[255]  # and no root a quarter


def half(columns=160):
    """Tissue on the right half only, at least 4 mm from the left edge."""
    values = np.ones((100, columns))
    values[10:90, columns // 2 : -10] = np.random.default_rng(0).uniform(
        6, 9, (80, columns // 2 - 10)
    )
    return look_of(values)


def test_where_there_is_no_tissue_far_and_wide_nothing_counts():
    look = half()
    middle = look.counted[50]
    assert not middle[: 80 - 17].any()
    assert middle[80 - 15 :].all()
    assert not (look.fitted & look.judging).any()
    np.testing.assert_array_equal(look.fitted | look.judging, look.counted)


def test_an_empty_picture_counts_as_a_whole():
    assert look_of(np.ones((20, 20))).counted.all()


def test_what_is_missing_is_told_only_if_much_is():
    look, greys = half(), np.array([1.0, 8.0])
    whole = np.full(look.values.shape, 8.0, np.float32)
    weights = weights_of(look, whole, greys)
    assert weights is not None
    np.testing.assert_array_equal(weights > 0, look.counted)
    there = np.where(look.counted, whole, 1.0).astype(np.float32)
    assert weights_of(look, there, greys) is None


@pytest.fixture
def labels(monkeypatch):
    """Forty structures side by side, and what they usually look like."""
    places = np.repeat(np.arange(COUNT, dtype=np.uint8), 10)[:, None, None] + np.zeros(
        (1, 4, 4), np.uint8
    )
    found = Labels3d(places, COUNT, 100.0, np.arange(COUNT))
    usual = np.linspace(2, 12, COUNT)
    usual[0] = 1.0
    found.__dict__["usual"] = usual
    return found


def pixels(labels, greys, counts):
    own = np.repeat(np.arange(COUNT), counts)
    points = np.stack(((own * 10 + 5.0) * 100, np.full(len(own), 150.0), np.full(len(own), 150.0)))
    return greys[own], points


def test_a_structure_of_few_pixels_looks_as_it_usually_does(labels):
    truth = 3 + 0.5 * labels.usual
    seen = truth.copy()
    seen[20] = 1.0  # it does not lie right yet
    counts = np.full(COUNT, 300)
    counts[20] = 30
    values, points = pixels(labels, seen, counts)
    alone = learn([values], [points], labels, SIDE)
    assert abs(alone[20] - truth[20]) < 0.6
    # of many sections, what is seen counts more
    many = learn([values] * 50, [points] * 50, labels, SIDE)
    assert abs(many[20] - seen[20]) < 0.3
    np.testing.assert_allclose(many[1:20], truth[1:20], atol=0.1)


def test_a_stain_that_goes_the_other_way_owes_nothing_to_what_is_usual(labels):
    seen = 12 - 0.8 * labels.usual
    values, points = pixels(labels, seen, np.full(COUNT, 300))
    alone = learn([values], [points], labels, SIDE)
    # all are drawn to the same grey: that of all tissue
    drawn = alone[1:] - seen[1:] * 300 / 1300
    np.testing.assert_allclose(drawn, drawn[0], atol=1e-9)


def test_what_is_usual_weighs_as_much_on_finer_pixels(labels):
    seen = np.full(COUNT, 6.0)
    found = []
    for count, side in ((50, SIDE), (200, SIDE / 2)):
        values, points = pixels(labels, seen, np.full(COUNT, count))
        found.append(learn([values], [points], labels, side))
    np.testing.assert_allclose(found[0], found[1])


def test_an_atlas_with_other_ids_has_nothing_usual():
    assert np.isnan(usual_greys(np.array([0, -5, 10**9]))).all()
    layer, white = usual_greys(np.array([632, 68]))  # granule cells, frontal pole layer 1
    assert layer > white > 0
