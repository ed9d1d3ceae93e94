import sys

import cv2
import numpy as np
import pytest

from atldld.errors import InvalidInputError
from atldld.warp.resample import STRIP, largest_block, resample


def scaling(factor, shift=0.0):
    """Output pixels that are `factor` image pixels wide, both grids starting at one corner."""
    offset = (factor - 1) / 2 + shift
    return np.array([[factor, 0, offset], [0, factor, offset]])


NOISE = np.random.default_rng(1).integers(0, 256, (96, 120, 3), dtype=np.uint8)


def test_the_identity_changes_nothing():
    np.testing.assert_array_equal(resample(NOISE, scaling(1), (96, 120), (0, 0, 0)), NOISE)


@pytest.mark.parametrize("factor", [2, 3, 4, 6, 8, 12, 24])
def test_whole_factors_average_areas(factor):
    rows, columns = 96 // factor, 120 // factor
    found = resample(NOISE, scaling(factor), (rows, columns), (0, 0, 0)).astype(float)
    blocks = NOISE.reshape(rows, factor, columns, factor, 3).mean(axis=(1, 3))
    inner = np.s_[1:-1, 1:-1]
    assert np.sqrt(np.mean((found - blocks)[inner] ** 2)) < 0.35 * np.std(blocks) + 0.6
    assert abs((found - blocks)[inner].mean()) < 0.6


@pytest.mark.parametrize("factor", [1.3, 1.7, 2.5, 4.9, 10.3])
def test_nothing_aliases(factor):
    """White noise loses its variance with the area that an output pixel averages."""
    noise = np.random.default_rng(2).integers(0, 256, (800, 800), dtype=np.uint8)
    side = int(800 / factor) - 2
    found = resample(noise, scaling(factor), (side, side), (0,))
    assert found[2:-2, 2:-2].std() < 1.1 * noise.std() / factor


@pytest.mark.parametrize("factor", [0.25, 0.5, 1, 1.5, 2, 3.7, 8, 23.4])
def test_a_ramp_keeps_its_place(factor):
    """No shift at any scale: each output pixel's centre reads the ramp there."""
    x = np.arange(480)
    # one level a pixel, up and down: no level stands for two pixels
    ramp = np.broadcast_to(np.where(x < 240, x, 479 - x).astype(np.uint8), (480, 480))
    ramp = np.ascontiguousarray(np.stack([ramp, ramp.T, 255 - ramp], axis=-1))
    side = int(480 / factor)
    found = resample(ramp, scaling(factor), (side, side), (0, 0, 0)).astype(float)
    centres = (np.arange(side) + 0.5) * factor - 0.5
    inner = (centres > 2 * factor + 4) & (centres < 236 - 2 * factor)
    expected = centres
    error = found[inner][:, inner, 0] - expected[inner]
    assert abs(error.mean()) <= 0.5, error.mean()  # of a pixel: whole levels are rounded
    assert np.abs(error).max() < 1.1


def test_outside_is_background():
    found = resample(NOISE, scaling(1, shift=-40), (96, 120), (250, 249, 248))
    np.testing.assert_array_equal(found[0, 0], (250, 249, 248))
    np.testing.assert_array_equal(found[40:, 40:], NOISE[:56, :80])


def test_grey_pictures():
    assert resample(NOISE[..., 0], scaling(2), (48, 60), (7,)).shape == (48, 60)


def test_an_image_smaller_than_a_block():
    with pytest.raises(InvalidInputError, match=r"of 3 × 2 pixels is .* Use a finer resolution"):
        resample(NOISE[:2, :3], scaling(24), (2, 2), (0, 0, 0))


def test_very_large_images_are_averaged_first():
    wide = np.zeros((4, 40_000, 3), dtype=np.uint8)
    wide[:, 20_000:] = 200
    found = resample(wide, np.array([[4.0, 0, 1.5], [0, 1, 1]]), (2, 10_000), (0, 0, 0))
    assert found[0, 4980, 0] == 0
    assert found[0, 5020, 0] == 200


@pytest.mark.parametrize(
    ("matrix", "shape", "expected"),
    [
        (scaling(1), (10, 10), 1),
        (scaling(4), (10, 10), 2),
        (scaling(5.9), (10, 10), 2),
        (scaling(6), (10, 10), 3),
        (scaling(6), (1024, 1024), 3),  # a million pixels are not many yet
        (scaling(6), (1024, 1025), 6),
        (scaling(6), (1, 1_048_577), 6),
        (scaling(0.5), (2000, 2000), 1),
        # the finer of the two directions decides, whatever the shift
        (np.array([[8.0, 0, 500], [0, 4, -500]]), (10, 10), 2),
        (np.array([[4.0, 0, 0], [0, 8, 0]]), (10, 10), 2),
    ],
)
def test_how_wide_blocks_may_be(matrix, shape, expected):
    assert largest_block(matrix, shape) == expected


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3)])
def test_no_pixels(shape):
    with pytest.raises(InvalidInputError, match="smaller than one pixel"):
        resample(np.zeros(shape, np.uint8), scaling(1), (2, 2), (0, 0, 0))


def test_one_row_or_column_is_a_picture():
    for shape in ((1, 8), (8, 1)):
        image = np.arange(8, dtype=np.uint8).reshape(shape)
        np.testing.assert_array_equal(resample(image, scaling(1), shape, (0,)), image)


@pytest.mark.parametrize(
    ("factor", "limit", "samples"),
    # two and three samples a pixel would be too many, so one and two; or larger blocks
    [(1.0, 120, 1), (1.3, 121, 1), (2.6, 121, 2), (3.3, 100, 2), (3.3, 130, 3)],
)
def test_pictures_as_large_as_the_warp_can_address(monkeypatch, factor, limit, samples):
    """Fewer samples, or larger blocks, and nearly the same picture."""
    smooth = np.asarray(cv2.GaussianBlur(NOISE, (0, 0), 6), dtype=np.uint8)
    matrix, shape = scaling(factor), (int(90 / factor), int(110 / factor))
    sizes: list[int] = []

    def warp(image, matrix, size, **options):
        sizes.extend((size[0] // shape[1], size[0], max(image.shape)))
        return warp_affine(image, matrix, size, **options)

    warp_affine = cv2.warpAffine
    whole = resample(smooth, matrix, shape, (0, 0, 0)).astype(float)
    monkeypatch.setattr(sys.modules[resample.__module__], "LARGEST_SIDE", limit)
    monkeypatch.setattr(cv2, "warpAffine", warp)
    limited = resample(smooth, matrix, shape, (0, 0, 0)).astype(float)
    assert sizes[0] == samples
    assert max(sizes[1:]) <= limit
    # the same place, too
    assert np.abs(whole - limited)[2:-2, 2:-2].max() < 4
    np.testing.assert_allclose(whole.mean(), limited.mean(), atol=0.5)


def test_tall_pictures_have_fewer_samples_too(monkeypatch):
    monkeypatch.setattr(sys.modules[resample.__module__], "LARGEST_SIDE", 100)
    smooth = np.asarray(cv2.GaussianBlur(NOISE, (0, 0), 6), dtype=np.uint8)[:, :90]
    sizes = []
    monkeypatch.setattr(cv2, "warpAffine", lambda image, m, size, dst, **_: sizes.append(size))
    resample(smooth, scaling(1.3), (70, 30), (0, 0, 0))
    assert {width for width, _ in sizes} == {30}  # 70 × 2 would be too many


def test_strips_fit_together():
    """A picture of many strips is that of its parts."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (3 * STRIP, 40), dtype=np.uint8)
    for factor in (1.0, 1.5):
        rows = int(3 * STRIP / factor) - 1
        whole = resample(image, scaling(factor), (rows, 20), (0,))
        first = rows - 7
        below = scaling(factor)
        below[1, 2] += factor * first
        np.testing.assert_array_equal(whole[first:], resample(image, below, (7, 20), (0,)))
