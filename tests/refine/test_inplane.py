"""Bending finds a known displacement, stays one-to-one, and leads there and back."""

import cv2
import numpy as np
import pytest

from atldld.place.deformation import Displacements, SplineDeformation
from atldld.refine.inplane import JACOBIAN, _Correlation, bend, deformation_of
from atldld.refine.model import Look

ROWS, COLUMNS, SIDE, STEP = 120, 160, 50.0, 32.0


def structures(rng):
    """A picture of areas of one grey each, as an annotation makes it."""
    noise = cv2.GaussianBlur(rng.normal(size=(ROWS, COLUMNS)).astype(np.float32), (0, 0), 6)
    picture = np.digitize(noise, np.quantile(noise, [0.2, 0.4, 0.6, 0.8])).astype(np.float32)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    inside = ((x - 80) / 70) ** 2 + ((y - 60) / 50) ** 2 < 1
    return np.where(inside, 2 + picture, 0).astype(np.float32)


def known_shift(rng, most=4.0):
    """A smooth displacement of up to so many pixels."""
    shift = np.stack(
        [
            cv2.GaussianBlur(rng.normal(size=(ROWS, COLUMNS)).astype(np.float32), (0, 0), 22)
            for _ in range(2)
        ],
        axis=-1,
    )
    return shift * np.float32(most / np.abs(shift).max())


def shown(picture, shift):
    y, x = np.mgrid[:ROWS, :COLUMNS].astype(np.float32)
    return cv2.remap(picture, x + shift[..., 0], y + shift[..., 1], cv2.INTER_LINEAR)


def look_of(picture):
    x = 100 + STEP * np.arange(float(COLUMNS))
    y = 40 + STEP * np.arange(float(ROWS))
    return Look(picture, x, y, SIDE)


@pytest.fixture(scope="module", params=[1, 2])
def case(request):
    rng = np.random.default_rng(request.param)
    expected = structures(rng)
    shift = known_shift(rng)
    light = 1 + 0.3 * np.linspace(-1, 1, COLUMNS, dtype=np.float32)
    seen = shown(expected, shift) * light + rng.normal(0, 0.1, (ROWS, COLUMNS))
    return look_of(seen.astype(np.float32)), expected, shift


def test_a_known_displacement_is_found(case):
    look, expected, shift = case
    found = bend(look, expected)
    tissue = expected > 0
    before = np.linalg.norm(shift, axis=-1)[tissue]
    after = np.linalg.norm(found - shift, axis=-1)[tissue]
    assert np.median(before) > 1.2
    assert np.median(after) < 0.35 * np.median(before)


def test_half_of_the_pixels_find_it_as_well(case):
    look, expected, shift = case
    found = bend(look, expected, (~look.held_back).astype(np.float32))
    held = look.held_back & (expected > 0)
    before = np.linalg.norm(shift, axis=-1)[held]
    after = np.linalg.norm(found - shift, axis=-1)[held]
    assert np.median(after) < 0.6 * np.median(before)


def test_what_is_held_back_is_not_looked_at(case):
    look, expected, _ = case
    weights = (~look.held_back).astype(np.float32)
    other = look.values.copy()
    other[look.held_back] = 9 - other[look.held_back]
    again = bend(look_of(other), expected, weights)
    # mean and spread of the whole picture are used, and nothing else of it
    moved = np.abs(bend(look, expected, weights) - again)
    assert np.median(moved) < 0.25


def test_a_section_that_fits_stays(case):
    _, expected, _ = case
    found = np.linalg.norm(bend(look_of(expected), expected), axis=-1)
    # each move has a fixed length, so it never quite comes to rest
    assert np.median(found[expected > 0]) < 0.2
    assert found.max() < 0.6


def test_a_contrast_the_other_way_round_does_not_pull(case):
    _, expected, shift = case
    other = shown(expected, shift)
    force = _Correlation(expected, None, 2.0)
    tissue = expected > 0
    assert np.abs(force.gradient(other)[tissue]).max() > 0.01
    # a window here and there happens to be alike all the same
    assert np.percentile(np.abs(force.gradient(-expected)[tissue]), 99) == 0


def test_a_deformation_is_what_was_found_and_leads_back(case):
    look, expected, _ = case
    shift = bend(look, expected)
    curve = deformation_of(look, shift)
    assert curve is not None
    least, most = curve.jacobian
    assert JACOBIAN[0] <= least <= most <= JACOBIAN[1]
    assert curve.round_trip < 0.5
    xy = np.stack(np.meshgrid(look.x, look.y), axis=-1)
    away = np.linalg.norm(curve.to_flat(xy) - (xy + shift * STEP), axis=-1)
    assert np.percentile(away, 99) < 0.15 * STEP


def test_a_fold_is_smoothed_out():
    rng = np.random.default_rng(3)
    shift = 12 * rng.normal(size=(ROWS, COLUMNS, 2)).astype(np.float32)
    curve = deformation_of(look_of(np.zeros((ROWS, COLUMNS), np.float32)), shift)
    assert curve is not None
    least, most = curve.jacobian
    assert JACOBIAN[0] <= least <= most <= JACOBIAN[1]


def test_what_is_squeezed_too_much_is_eased():
    """One-to-one, but areas shrink to a seventh: beyond what a deformation may do."""
    shift = np.zeros((ROWS, COLUMNS, 2), np.float32)
    shift[..., 0] = -8.5 * np.tanh((np.arange(COLUMNS) - 80) / 10)
    assert 1 + np.gradient(shift[0, :, 0]).min() == pytest.approx(1 / 7, abs=0.02)
    curve = deformation_of(look_of(np.zeros((ROWS, COLUMNS), np.float32)), shift)
    assert curve is not None
    assert curve.jacobian[0] >= JACOBIAN[0]


def test_a_start_that_is_curved_comes_after_the_shift(case):
    look, expected, _ = case
    shift = bend(look, expected)
    rng = np.random.default_rng(4)
    vectors = 10 * known_shift(rng)[::8, ::8]
    start = SplineDeformation.of(Displacements((0.0, 0.0), (256.0, 256.0), vectors))
    both, alone = (deformation_of(look, shift, begin) for begin in (start, None))
    assert both is not None
    assert alone is not None
    xy = rng.uniform((500, 500), (4500, 3300), (200, 2))
    np.testing.assert_allclose(both.to_flat(xy), start.to_flat(alone.to_flat(xy)), atol=0.5)
