"""A section is bent by all pixels, by coarser ones where these make it worse, or not at all."""

from unittest.mock import patch

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from atldld.refine import steps
from atldld.refine.inplane import bend
from atldld.refine.model import Labels3d, Look
from atldld.refine.steps import Atlas3d, Fitted, run_steps

SIDE, COUNT = 50.0, 96  # µm; voxels and pixels along each side
DEPTHS = range(20, 76, 11)


@pytest.fixture(scope="module")
def labels():
    """A round brain of five structures."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(COUNT, COUNT, COUNT)), 6)
    places = 1 + np.digitize(noise, np.quantile(noise, [0.2, 0.4, 0.6, 0.8]))
    apart = np.linalg.norm(np.indices((COUNT, COUNT, COUNT)) - COUNT / 2, axis=0)
    places[apart > 0.46 * COUNT] = 0
    return Labels3d(places.astype(np.uint16), 6, SIDE, np.arange(6))


@pytest.fixture(scope="module")
def bent(labels):
    """Sections of it that are bent, where they lie, and by how many pixels each is off."""
    rng = np.random.default_rng(1)
    greys = np.array([0.0, 9, 5, 12, 7, 3])
    at = np.arange(float(COUNT))
    looks, starts, shifts = [], [], []
    for depth in DEPTHS:
        blurred = cv2.GaussianBlur(rng.normal(size=(COUNT, COUNT, 2)), (0, 0), 16)
        shift = np.asarray(blurred * (4 / np.abs(blurred).max()), np.float32)
        forward = np.array([[0, 0, SIDE * (depth + 0.5)], [0, SIDE, SIDE / 2], [SIDE, 0, SIDE / 2]])
        fitted = Fitted(forward, np.array([SIDE, 0, 0]))
        empty = Look(np.zeros((COUNT, COUNT), np.float32), at, at, SIDE)
        seen = greys[labels.at(fitted.places(empty, shift))].reshape(COUNT, COUNT)
        seen += rng.normal(0, 0.3, seen.shape)
        looks.append(Look(seen.astype(np.float32), at, at, SIDE))
        starts.append(fitted)
        shifts.append(shift)
    return looks, starts, shifts


def off(looks, found, starts, shifts):
    """How far tissue lies from where it truly does, in µm, the median of each section."""
    told = []
    for look, now, start, shift in zip(looks, found, starts, shifts, strict=True):
        away = np.linalg.norm(now.places(look) - start.places(look, shift), axis=0)
        told.append(np.median(away[look.values.ravel() > 1]))
    return np.array(told)


def run(labels, bent, bending):
    looks, starts, shifts = bent
    with patch.object(steps, "bend", bending):
        found = run_steps(looks, starts, Atlas3d(labels), ["inplane"])
    before = off(looks, starts, starts, shifts)
    return [one.results[-1] for one in found], before, off(looks, found, starts, shifts)


def wild_below(finest):
    """Bending that goes astray on pixels smaller than this."""

    def bending(look, expected, weights=None, begin=None, least=0.0):
        found = bend(look, expected, weights, begin, least)
        if least < finest:
            found = found + 6 * np.sin(np.indices(found.shape[:2]).sum(axis=0) / 3)[..., None]
        return found.astype(np.float32)

    return bending


def test_all_pixels_bend_where_they_agree(labels, bent):
    results, before, after = run(labels, bent, bend)
    assert all(one.kept for one in results)
    assert not any("pixels of" in one.reason for one in results)
    assert (after < 0.5 * before).all()


@pytest.mark.parametrize("finest", [100, 200])
def test_coarser_pixels_bend_where_finer_ones_make_it_worse(labels, bent, finest):
    results, before, after = run(labels, bent, wild_below(finest))
    assert all(one.kept for one in results)
    told = f"fit better, by pixels of {finest} µm; finer ones made it worse."
    assert all(one.reason.endswith(told) for one in results)
    assert (after < 0.8 * before).all()


def test_what_no_pixels_can_bend_stays_and_says_what_all_of_them_found(labels, bent):
    results, before, after = run(labels, bent, wild_below(1000))
    assert not any(one.kept for one in results)
    assert all(one.moved == 0 for one in results)
    np.testing.assert_array_equal(before, after)
    for one in results:
        # the figures are those that the reason is about
        assert one.after["difference"] > one.before["difference"] - 0.005


def test_a_section_that_only_half_of_it_can_bend_tells_the_figures_of_all(labels, bent):
    looks, _, _ = bent

    def bending(look, expected, weights=None, begin=None, least=0.0):
        found = bend(look, expected, weights, begin, least)
        return found + np.float32(0 if weights is not None else 8)  # of all of it

    results, _, _ = run(labels, bent, bending)
    assert len(results) == len(looks)
    for one in results:
        assert not one.kept
        assert one.after["difference"] > one.before["difference"]


def test_few_sections_are_bent_again_by_all_pixels_or_not_at_all(labels, bent):
    looks, starts, _ = bent
    tried = []

    def bending(look, expected, weights=None, begin=None, least=0.0):
        tried.append(least)
        return wild_below(100)(look, expected, weights, begin, least)

    with patch.object(steps, "bend", bending):
        found = run_steps(looks[:4], starts[:4], Atlas3d(labels), ["inplane"])
    for one in found:
        first, again = one.results
        assert first.kept
        assert "by pixels of 100 µm" in first.reason
        assert not again.kept
    assert tried[-4:] == [0.0] * 4  # the second time, one half of each section, and no more
