"""Volumes that are built and written in bands: the same voxels, to the last bit, in less memory."""

import errno
import os
import tracemalloc
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

import atldld
from atldld.api import DataSet
from atldld.demo.archive import DemoArchive
from atldld.demo.local import in_process_session
from atldld.errors import (
    AtldldError,
    InvalidInputError,
    OfflineError,
    OutputError,
    SkippedImageWarning,
)
from atldld.formats.voxels import CHUNK
from atldld.volume import VolumeRecipe
from atldld.volume.slabs import Accumulator, Band, Neighbours
from tests.volume.test_slabs import RESOLUTION, SHAPE, TURNS, rotation, slab_at

zarr = pytest.importorskip("zarr")

CORONAL, SAGITTAL = 71717084, 69289763


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with in_process_session(
        tmp_path_factory.mktemp("bands"), DemoArchive(cells=False, noise=False)
    ) as session:
        yield session


@pytest.fixture
def thin(monkeypatch):
    """Chunks, and so bands, of few planes: a small volume has several of them."""
    monkeypatch.setitem(CHUNK, 1, 40)
    monkeypatch.setitem(CHUNK, 4, 24)


def some(session, dataset_id, which=slice(None, None, 6)):
    record = session.dataset(dataset_id)
    return DataSet(msgspec.structs.replace(record, images=record.images[which]), session)


def stored(path):
    """All that a store holds: its arrays, and what it says."""
    group = zarr.open_group(path, mode="r")
    arrays = {name: (array.chunks, array[...]) for name, array in group.arrays()}
    return dict(group.attrs), arrays


def assert_same_store(one, other):
    (about, arrays), (also, expected) = stored(one), stored(other)
    assert about == also
    assert arrays.keys() == expected.keys()
    for name, (chunks, voxels) in arrays.items():
        assert chunks == expected[name][0]
        np.testing.assert_array_equal(voxels, expected[name][1])


@pytest.mark.one_in(3)
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("fill", ["none", "nearest", "linear"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_band_holds_what_all_voxels_would_hold_there(turn, fill, axis, channels):
    rng = np.random.default_rng(3)
    pictures = [
        rng.integers(0, 256, (140, 160, 3)[: 2 + (channels > 1)], dtype=np.uint8) for _ in range(3)
    ]
    slabs = [slab_at(s, turned=rotation(*turn)) for s in (-80.0, 15.0, 60.0)]
    shown = rng.random((140, 160)) > 0.3

    def build(band):
        accumulator = Accumulator(SHAPE, RESOLUTION, channels, 0, band)
        for k, (slab, picture) in enumerate(zip(slabs, pictures, strict=True)):
            accumulator.add(
                slab,
                picture,
                0,
                0,
                background=(9.0,) * channels,
                shown=shown if k == 1 else None,
                neighbours=Neighbours(95.0, 45.0),
                fill=fill,
            )
        return accumulator.finish()

    data, coverage = build(Band(axis, 0, SHAPE[axis]))
    assert coverage.any()
    edges = [0, 7, 8, SHAPE[axis]]
    bands = [build(Band(axis, start, stop)) for start, stop in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate([one for one, _ in bands], axis=axis), data)
    np.testing.assert_array_equal(np.concatenate([one for _, one in bands], axis=axis), coverage)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("fill", ["none", "nearest", "linear"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nothing_lies_beyond_a_sections_extent(turn, fill, axis):
    slab, neighbours = slab_at(30.0, turned=rotation(*turn)), Neighbours(140.0, None)
    accumulator = Accumulator(SHAPE, RESOLUTION, 1)
    picture = np.full((140, 160), 200, dtype=np.uint8)
    accumulator.add(slab, picture, 0, 0, neighbours=neighbours, fill=fill)
    data, _ = accumulator.finish()
    low, high = slab.extent(RESOLUTION, axis, neighbours, fill)
    at = (np.unique(np.nonzero(data)[axis]) + 0.5) * RESOLUTION
    assert low < at.min()
    assert at.max() < high
    if axis == 0 and turn == (0, 0, 0):  # and it is not just everything
        assert high - low < 140 * 1.5 + 25 + 4 * RESOLUTION


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("dataset_ids", "options"),
    [
        ([CORONAL], {"fill": "none"}),
        ([CORONAL], {"fill": "linear"}),
        ([SAGITTAL], {"fill": "nearest"}),
        ([SAGITTAL], {"fill": "linear", "channel": "expression"}),
        ([SAGITTAL, CORONAL], {"fill": "linear", "channel": "intensity"}),
        ([CORONAL, SAGITTAL], {"fill": "none"}),
    ],
)
def test_the_store_is_that_of_the_whole_volume(session, thin, tmp_path, dataset_ids, options):
    datasets = [some(session, one, slice(None, None, 8)) for one in dataset_ids]
    whole = atldld.build_volume(datasets, 100, **options)
    whole.save(tmp_path / "whole.ome.zarr", coverage=True)
    paths = atldld.write_volume(
        datasets, tmp_path / "bands.ome.zarr", 100, coverage=True, **options
    )
    assert [path.name for path in paths] == ["bands.ome.zarr", "bands_coverage.ome.zarr"]
    for found, name in zip(paths, ("whole", "whole_coverage"), strict=True):
        assert_same_store(found, tmp_path / f"{name}.ome.zarr")
    voxels = stored(paths[0])[1]["0"][1]
    np.testing.assert_array_equal(
        np.moveaxis(voxels, 0, -1) if voxels.ndim == 4 else voxels, whole.data
    )


def test_other_formats_are_written_whole(session, tmp_path):
    dataset = some(session, SAGITTAL)
    path, _ = dataset.write_volume(tmp_path / "a.npy", 200)
    np.testing.assert_array_equal(np.load(path), dataset.volume(200).data)
    with pytest.raises(OutputError, match="is there already"):
        dataset.write_volume(path, 200)
    with pytest.raises(InvalidInputError, match="ending"):
        dataset.write_volume(tmp_path / "a.xyz", 200)


class Without:
    """A session that cannot fetch one image."""

    def __init__(self, session, image_id):
        self.session, self.image_id = session, image_id
        self.asked = []

    def __getattr__(self, name):
        return getattr(self.session, name)

    def image(self, image, *arguments, **options):
        self.asked.append(image.id)
        if image.id == self.image_id:
            raise OfflineError("it is far away", image_id=image.id)
        return self.session.image(image, *arguments, **options)


def test_a_section_that_fails_widens_the_gap_in_every_band(session, thin, tmp_path):
    dataset = some(session, CORONAL, slice(20, 80, 4))
    missing = dataset.sections[7].id
    dataset = DataSet(dataset.record, Without(session, missing))  # type: ignore[arg-type]
    with pytest.warns(SkippedImageWarning, match=str(missing)):
        whole = dataset.volume(100, fill="linear")
    with pytest.warns(SkippedImageWarning, match=str(missing)) as told:
        (path,) = dataset.write_volume(tmp_path / "a.ome.zarr", 100, fill="linear")
    assert len(told) == 1
    about, arrays = stored(path)
    np.testing.assert_array_equal(np.moveaxis(arrays["0"][1], 0, -1), whole.data)
    assert about["atldld"]["metadata"]["datasets"][0]["failed"].keys() == {str(missing)}


def test_without_a_single_section_nothing_is_written(session, tmp_path):
    dataset = some(session, CORONAL, slice(50, 51))
    dataset = DataSet(dataset.record, Without(session, dataset.sections[0].id))  # type: ignore[arg-type]
    with pytest.raises(OfflineError):
        dataset.write_volume(tmp_path / "a.ome.zarr", 100)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays_when_a_later_band_fails(session, thin, tmp_path, monkeypatch):
    dataset = some(session, SAGITTAL)
    path = tmp_path / "a.ome.zarr"
    dataset.write_volume(path, 400, coverage=True)
    before = stored(path)[1]["0"][1]
    bands = []

    def fails(self, *arguments):
        bands.append(1)
        if len(bands) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(self, *arguments)

    original = Accumulator.finish
    monkeypatch.setattr(Accumulator, "finish", fails)
    with pytest.raises(OutputError, match="No space left"):
        dataset.write_volume(path, 100, coverage=True, force=True)
    np.testing.assert_array_equal(stored(path)[1]["0"][1], before)
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "a.ome.zarr",
        "a_coverage.ome.zarr",
    ]


def test_each_section_is_read_for_the_bands_that_it_reaches_only(session, thin, tmp_path):
    dataset = some(session, CORONAL, slice(20, 80, 4))
    counting = Without(session, None)
    dataset = DataSet(dataset.record, counting)  # type: ignore[arg-type]
    told = []
    dataset.write_volume(
        tmp_path / "a.ome.zarr",
        100,
        progress=lambda done, total, last: told.append((done, total, last)),
    )
    count = len(dataset.sections)
    # once to see whether it is there, then for its own band, and for the next one's at its edge
    assert 2 * count <= len(counting.asked) <= 3 * count
    assert [done for done, _, _ in told] == list(range(1, count + 4 + 1))
    assert {total for _, total, _ in told} == {count + 4}  # 132 planes of 40 to a band
    assert told[-1][2] == "block 4 of 4"


def test_a_section_that_vanishes_meanwhile_is_an_error(session, thin, tmp_path):
    dataset = some(session, CORONAL, slice(40, 44))

    class Vanishing(Without):
        def image(self, image, *arguments, **options):
            if len(self.asked) == 4:
                raise OfflineError("it is gone", image_id=image.id)
            return super().image(image, *arguments, **options)

    dataset = DataSet(dataset.record, Vanishing(session, None))  # type: ignore[arg-type]
    with pytest.raises(AtldldError, match="it is gone"):
        dataset.write_volume(tmp_path / "a.ome.zarr", 100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_memory_holds_one_band(session, thin, tmp_path):
    """Counted: the whole volume, or two bands of it, would be more."""
    dataset = some(session, CORONAL, slice(50, 60, 4))
    recipe = VolumeRecipe(50)
    dataset.write_volume(tmp_path / "warm.ome.zarr", 50, coverage=True)
    tracemalloc.start()
    try:
        dataset.write_volume(tmp_path / "a.ome.zarr", 50, coverage=True, jobs=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert recipe.bytes > 4 * recipe.band_bytes
    assert peak < 1.5 * recipe.band_bytes


@pytest.mark.parametrize("channel", ["image", "expression"])
def test_a_volume_of_10_um_takes_less_than_one_and_a_half_gb(channel):
    recipe = VolumeRecipe(10, channel)
    assert recipe.shape == (1320, 800, 1140)
    assert recipe.bytes > 8e9
    assert recipe.band_bytes < 1.35e9


def test_what_does_not_fit_names_ome_zarr(session, tmp_path, monkeypatch):
    monkeypatch.setattr("atldld.volume.build.available_memory", lambda: 2_000_000_000)
    dataset = DataSet(session.dataset(CORONAL), None)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"8\.43 GB with its coverage.*\n?.*") as caught:
        dataset.write_volume(tmp_path / "a.nii.gz", 10)
    assert "20 µm would fit" in str(caught.value)
    assert "write_volume with a name that ends in .ome.zarr" in str(caught.value)
    # a store of 10 µm fits, and one of 2 µm does not
    VolumeRecipe(10).check_memory(in_bands=True)
    with pytest.raises(InvalidInputError, match="block by block") as caught:
        dataset.write_volume(tmp_path / "a.ome.zarr", 2)
    assert "10 µm would fit" in str(caught.value)
    assert "OME-Zarr" not in str(caught.value)
    assert list(Path(tmp_path).iterdir()) == []
