"""Planes that are off by known amounts come back, all sections together."""

import dataclasses

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from atldld.refine.guard import verdict
from atldld.refine.model import Labels3d, Look
from atldld.refine.planes import Frame, Prior, _solved, fit_planes

SIDE, VOXEL = 50.0, 50.0
SHAPE = (120, 100, 110)


@pytest.fixture(scope="module")
def labels():
    """A brain of blobs: nine structures in an ellipsoid."""
    rng = np.random.default_rng(0)
    noise = gaussian_filter(rng.normal(size=SHAPE), 7)
    places = 1 + np.digitize(noise, np.quantile(noise, np.linspace(0.1, 0.9, 8)))
    p, i, r = (np.linspace(-1, 1, size) for size in SHAPE)
    outside = p[:, None, None] ** 2 + i[None, :, None] ** 2 + r[None, None] ** 2 > 0.9
    places[outside] = 0
    return Labels3d(places.astype(np.uint16), 10, VOXEL, np.arange(10))


def section(labels, forward, greys, rng):
    x, y = SIDE * np.arange(110.0), SIDE * np.arange(100.0)
    points = np.stack([side.ravel() for side in (*np.meshgrid(x, y), np.ones((100, 110)))])
    seen = greys[labels.at(forward @ points)].reshape(100, 110)
    seen = seen * rng.uniform(0.8, 1.2) + rng.normal(0, 0.3, seen.shape)
    return Look(seen.astype(np.float32), x, y, SIDE)


@pytest.fixture(scope="module")
def series(labels):
    """Nine coronal sections; where they truly lie, and where they are said to."""
    rng = np.random.default_rng(1)
    greys = np.concatenate(([0.0], rng.uniform(4, 14, 9)))
    truths, looks, starts = [], [], []
    for k in range(9):
        truth = np.array([[0, 0, 1800.0 + 250 * k], [0, 1, 0], [1, 0, 0]])
        look = section(labels, truth, greys, rng)
        numbers = rng.normal(0, 40, 9) + np.array([0, 0, 150, 0, 0, -90, 60, 0, 60])
        truths.append(truth)
        looks.append(look)
        starts.append(Frame(look).applied(truth, numbers))
    return looks, truths, starts


def away(look, forward, truth):
    points = look.flat(None)
    return float(np.median(np.linalg.norm((forward - truth) @ points, axis=0)))


def test_all_sections_come_back(labels, series):
    looks, truths, starts = series
    depths = [1800.0 + 250 * k for k in range(9)]
    found = fit_planes(looks, starts, [None] * 9, depths, labels)
    before = [away(*one) for one in zip(looks, starts, truths, strict=True)]
    after = [away(*one) for one in zip(looks, found, truths, strict=True)]
    assert np.median(before) > 150
    assert np.median(after) < 0.35 * np.median(before)
    assert all(a < b for a, b in zip(after, before, strict=True))


def test_what_is_held_back_is_not_fitted_to(labels, series):
    looks, truths, starts = series
    rng = np.random.default_rng(3)
    spoilt = []
    for look in looks:
        values = look.values.copy()
        values[look.held_back] = rng.permutation(values[look.held_back])
        spoilt.append(dataclasses.replace(look, values=values))
    depths = [1800.0 + 250 * k for k in range(9)]
    found = fit_planes(spoilt, starts, [None] * 9, depths, labels)
    before, after = (
        np.median([away(*one) for one in zip(looks, places, truths, strict=True)])
        for places in (starts, found)
    )
    assert after < 0.5 * before


@pytest.mark.long
def test_threads_do_not_matter(labels, series):
    looks, _, starts = series
    depths = list(range(0, 9 * 250, 250))
    one, many = (
        fit_planes(looks, starts, [None] * 9, depths, labels, jobs=jobs) for jobs in (1, 3)
    )
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)


def test_neighbours_pull_a_section_that_says_nothing():
    """The equations of the whole series are those of a dense system."""
    rng = np.random.default_rng(2)
    matrices = []
    for k in range(4):
        half = rng.normal(size=(9, 9)) * (k != 2)  # the third section shows nothing
        matrices.append((half @ half.T, rng.normal(size=9) * (k != 2)))
    numbers = rng.normal(size=(4, 9))
    prior, depths = Prior(spread=10.0, change=2.0), [0.0, 200.0, 400.0, 1000.0]
    dense, right = np.zeros((36, 36)), np.zeros(36)
    for k, (matrix, vector) in enumerate(matrices):
        own = slice(9 * k, 9 * k + 9)
        dense[own, own] += matrix + np.eye(9) / 100
        right[own] += vector - numbers[k] / 100
    for k in range(3):
        tie = 1 / (4 * (depths[k + 1] - depths[k]) / 200)
        here, there = slice(9 * k, 9 * k + 9), slice(9 * k + 9, 9 * k + 18)
        for a, b in ((here, here), (there, there)):
            dense[a, b] += tie * np.eye(9)
        for a, b in ((here, there), (there, here)):
            dense[a, b] -= tie * np.eye(9)
        right[here] += tie * (numbers[k + 1] - numbers[k])
        right[there] -= tie * (numbers[k + 1] - numbers[k])
    np.testing.assert_allclose(
        _solved(matrices, numbers, depths, prior).ravel(), np.linalg.solve(dense, right), rtol=1e-8
    )


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ((0.5, 0.9), (0.4, 0.9), True),
        ((0.5, 0.9), (0.497, 0.9), False),
        ((0.5, 0.9), (0.4, 0.85), False),
        ((0.5, 0.9, 0.1), (0.48, 0.9, 0.12), True),
        ((0.5, 0.9, 0.1), (0.4, 0.9, 0.09), False),
        # the template speaks for it, and the pixels hardly against it
        ((0.5, 0.9, 0.1), (0.51, 0.9, 0.12), True),
        ((0.5, 0.9, 0.1), (0.55, 0.9, 0.2), False),
    ],
)
def test_the_guard(before, after, kept):
    names = ("difference", "overlap", "detail")
    was, is_now = (dict(zip(names, values, strict=False)) for values in (before, after))
    decision, reason = verdict(was, is_now)
    assert decision == kept
    assert reason.endswith(".")
