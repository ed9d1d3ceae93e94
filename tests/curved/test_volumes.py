"""Volumes of curved sections whose pictures are bent: those of the flat ones."""

import numpy as np
import pytest

from atldld.formats.voxels import CHUNK
from atldld.place.tiers import tier_to_image
from atldld.warp.straighten import FlatFrame
from tests.curved.conftest import Bending


def frame_of(section, downsample):
    placement, image = section.placement, section.image
    return FlatFrame.of(placement, placement.deformation, (image.width, image.height), downsample)


@pytest.mark.parametrize("downsample", [3, 6])
def test_a_flat_frame_lies_where_the_section_does(curved, downsample):
    frame = frame_of(curved, downsample)
    columns, rows = curved.image.size(downsample)
    height, width = frame.shown.shape
    at = np.stack(np.meshgrid(np.arange(0, width, 7), np.arange(0, height, 7)), axis=-1)
    # the frame's pixel → brain, by its own flat placement; → image, by the section's
    pir = frame.placement.to_reference(tier_to_image(downsample).apply(at))
    xy = curved.to_image(pir)
    np.testing.assert_allclose(
        frame.lookup.way.at(at.astype(float)),
        tier_to_image(downsample).inverse().apply(xy),
        atol=0.1,
    )
    np.testing.assert_allclose(frame.placement.section_numbers(pir), curved.number, atol=0.01)
    tier = frame.lookup.way.at(at.astype(float))
    clear = (np.abs(tier + 0.5) > 0.2).all(-1) & (
        np.abs(tier - (columns - 0.5, rows - 0.5)) > 0.2
    ).all(-1)
    inside = ((tier > -0.5) & (tier < (columns - 0.5, rows - 0.5))).all(axis=-1)
    np.testing.assert_array_equal(frame.shown[::7, ::7][clear], inside[clear])


def test_a_flat_frame_has_room_for_the_whole_image(curved):
    downsample = 5
    frame = frame_of(curved, downsample)
    columns, rows = curved.image.size(downsample)
    # as many flat pixels as the image is large once it is flat, by its area
    xy = np.stack(np.meshgrid(np.arange(columns + 1), np.arange(rows + 1)), axis=-1) - 0.5
    flat = curved.placement.deformation.to_flat(tier_to_image(downsample).apply(xy))
    x, y = np.moveaxis(flat, -1, 0) / 32
    across = (x[1:, 1:] - x[:-1, :-1]) * (y[1:, :-1] - y[:-1, 1:])
    down = (y[1:, 1:] - y[:-1, :-1]) * (x[1:, :-1] - x[:-1, 1:])
    area = (down - across).sum() / 2
    assert frame.shown.sum() == pytest.approx(abs(area), rel=0.002)
    # nothing is cut off at its edges
    assert not frame.shown[[0, -1]].any()
    assert not frame.shown[:, [0, -1]].any()


@pytest.mark.parametrize("channel", ["image", "expression", "intensity"])
def test_the_volume_is_that_of_the_flat_sections(bent, straight, channel):
    dataset_id = 69289763
    found = bent(dataset_id).volume(100, channel=channel)
    expected = straight(dataset_id).volume(100, channel=channel)
    both = (found.coverage > 0.1) & (expected.coverage > 0.1)
    assert both.sum() > 0.9 * (expected.coverage > 0.1).sum()
    np.testing.assert_allclose(
        found.coverage[both].mean(), expected.coverage[both].mean(), rtol=0.01
    )
    scale = 1 if channel == "image" else 255
    one, other = (volume.data[both].astype(float) * scale for volume in (found, expected))
    off = np.sqrt(np.mean((one - other) ** 2))
    assert 20 * np.log10(255 / off) > 33
    neglected = straight(dataset_id)
    # the same bent pictures without the curve are another volume
    wrong = (
        type(neglected)
        .with_pixels(neglected, Bending(neglected.session, bent(dataset_id)))
        .volume(100, channel=channel)
    )
    worse = np.sqrt(np.mean((wrong.data[both].astype(float) * scale - other) ** 2))
    assert worse > 2 * off


def test_filling_and_threads_do_not_change_it(bent):
    dataset = bent(71717084)
    one = dataset.volume(200, fill="linear", jobs=1)
    other = dataset.volume(200, fill="linear", jobs=2)
    np.testing.assert_array_equal(one.data, other.data)
    plain = dataset.volume(200)
    np.testing.assert_array_equal(one.coverage, plain.coverage)


def test_coverage_ends_where_the_image_does(opened):
    """A voxel is covered where the placement's own way back ends in the image."""
    dataset = opened(71717084)
    volume = dataset.volume(100)
    voxels = np.argwhere(volume.coverage > 0)
    pir = (voxels + 0.5) * 100
    inside = np.zeros(len(pir), dtype=bool)
    for one in dataset.sections:
        xy = one.to_image(pir)
        size = np.array([one.image.width, one.image.height])
        near = np.abs(one.placement.section_numbers(pir) - one.number) * one.thickness < 120
        margin = 2 << 6
        inside |= near & ((xy > -margin) & (xy < size + margin)).all(axis=-1)
    assert inside.all()


@pytest.mark.parametrize("dataset_id", [71717084, 69289763])
def test_in_bands_it_is_the_same(bent, tmp_path, monkeypatch, dataset_id):
    zarr = pytest.importorskip("zarr")
    monkeypatch.setitem(CHUNK, 4, 24)  # several bands
    dataset = bent(dataset_id)
    whole = dataset.volume(100, fill="linear", channel="intensity")
    path, other = dataset.write_volume(
        tmp_path / "a.ome.zarr", 100, fill="linear", channel="intensity", coverage=True
    )
    np.testing.assert_array_equal(zarr.open_group(path, mode="r")["0"][...], whole.data)
    np.testing.assert_array_equal(zarr.open_group(other, mode="r")["0"][...], whole.coverage)
