import json
import sys

import numpy as np
import pytest

from atldld.errors import OutputError
from atldld.formats.fields import write_field
from atldld.napari.reader import get_reader
from atldld.place.planes import OutputPlane
from atldld.place.spaces import Grid
from atldld.regions.grids import ExpressionGrid
from atldld.volume.model import Volume

zarr = pytest.importorskip("zarr")

RESOLUTION = 50.0
SHAPE = (264, 160, 228)
LANDMARK = (65, 120, 33)


def volume(colours):
    shape = (*SHAPE, 3) if colours else SHAPE
    data = np.zeros(shape, np.uint8 if colours else np.float32)
    # a block of 2 × 2 × 2, so that the landmark is in every level
    corner = tuple(slice(k - k % 2, k - k % 2 + 2) for k in LANDMARK)
    data[corner] = (250, 130, 10) if colours else 1.0
    coverage = np.full(SHAPE, 2.5, np.float32)
    return Volume(
        data=data,
        coverage=coverage,
        resolution=RESOLUTION,
        channel="image" if colours else "expression",
        dataset_ids=(909,),
        fill="none",
        metadata={},
    )


@pytest.fixture(scope="module", params=[True, False], ids=["colours", "grey"])
def written(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "prox1.ome.zarr"
    made = volume(request.param)
    made.save(path, coverage=True)
    return made, path


def read(path):
    reader = get_reader(str(path))
    assert reader is not None
    return reader(str(path))


def test_voxels_lie_where_they_belong(written):
    made, path = written
    (levels, options, kind), (weights, about, _) = read(path)
    assert kind == "image"
    assert options["multiscale"]
    assert [one.shape[0] for one in levels] == [264, 132, 66]
    assert levels[0].shape == made.data.shape
    index = np.array(LANDMARK)
    pir = (index + 0.5) * RESOLUTION
    assert np.allclose(index * options["scale"] + options["translate"], pir)
    assert np.array_equal(np.asarray(levels[0][LANDMARK]), made.data[LANDMARK])
    assert np.array_equal(np.asarray(levels[1][tuple(index // 2)]), made.data[LANDMARK])
    assert options["units"] == ("um", "um", "um")
    assert options["axis_labels"] == ("p", "i", "r")
    assert options["rgb"] == (made.data.ndim == 4)
    assert options["visible"]
    assert options["metadata"]["atldld"]["dataset_ids"] == [909]
    # the coverage is there to be looked at, and in nobody's way
    assert not about["visible"]
    assert about["contrast_limits"] == (0.0, 2.5)
    for name in ("scale", "translate", "units"):
        assert about[name] == options[name]
    assert np.asarray(weights[0][LANDMARK]) == 2.5


def test_coverage_alone(written):
    _, path = written
    ((_, options, _),) = read(path.with_name("prox1_coverage.ome.zarr"))
    assert options["name"].startswith("coverage")


def test_without_dask(written, monkeypatch):
    made, path = written
    monkeypatch.setitem(sys.modules, "dask.array", None)
    levels, *_ = read(path)[0]
    assert type(levels[0]) is np.ndarray
    assert np.array_equal(levels[0], made.data)


def test_grids_lie_half_a_voxel_before(tmp_path):
    energy = np.random.default_rng(1).random((67, 41, 58), dtype=np.float32)
    grid = ExpressionGrid({"energy": energy}, 200.0, 909, "nowhere", synthetic=True)
    grid.save(tmp_path / "grid.ome.zarr")
    ((data, options, _),) = read(tmp_path / "grid.ome.zarr")
    assert not options["multiscale"]
    assert np.array_equal(np.asarray(data), energy)
    assert tuple(options["translate"]) == (0.0, 0.0, 0.0)
    assert tuple(options["scale"]) == (200.0, 200.0, 200.0)


def test_others_stores_are_left_to_others(written, tmp_path):
    zarr.open_group(str(tmp_path / "other.ome.zarr"), mode="w").attrs["ome"] = {"version": "0.5"}
    assert get_reader(str(tmp_path / "other.ome.zarr")) is None
    (tmp_path / "empty.ome.zarr").mkdir()
    (tmp_path / "empty.ome.zarr" / "zarr.json").write_text("{")
    assert get_reader(str(tmp_path / "empty.ome.zarr")) is None
    assert get_reader(str(written[1] / "0")) is None  # one level by itself


def test_displacement_fields_are_no_picture(tmp_path, coronal):
    section = coronal[0].sections[3]
    plane = OutputPlane.oblique(section.placement, Grid(section.plane, 400))
    path = write_field(section, plane, tmp_path / "field.ome.zarr")
    assert "atldld" in zarr.open_group(path, mode="r").attrs
    assert get_reader(str(path)) is None


def test_a_store_that_is_not_whole_says_so(tmp_path):
    path = tmp_path / "a.ome.zarr"
    volume(False).save(path)
    (path / "1" / "zarr.json").unlink()
    with pytest.raises(OutputError, match=r"a\.ome\.zarr is not whole"):
        read(path)


def test_a_store_without_a_place_says_so(tmp_path):
    path = tmp_path / "a.ome.zarr"
    volume(False).save(path)
    document = json.loads((path / "zarr.json").read_text())
    first = document["attributes"]["ome"]["multiscales"][0]["datasets"][0]
    del first["coordinateTransformations"][1]
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(OutputError, match=r"a\.ome\.zarr is not whole: .*translation"):
        read(path)
