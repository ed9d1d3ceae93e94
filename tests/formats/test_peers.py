"""What others' published packages make of our files, each in an environment of its own."""

import json
import subprocess
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from atldld.api import DataSet
from atldld.formats import write_quicknii
from atldld.place.alignment import read_alignment
from atldld.place.deformation import Displacements, SplineDeformation
from atldld.place.sections import PlacedDataSet

pytest.importorskip("zarr")

pytestmark = [pytest.mark.peer, pytest.mark.timeout(1200)]

OME_ZARR = """
import json, sys
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05.image import Image
import zarr

path, index = sys.argv[1], json.loads(sys.argv[2])
nodes = list(Reader(parse_url(path))())
node = nodes[0]
Image.from_zarr(zarr.open_group(path, mode="r"))  # refuses what the specification forbids
scale, shift = node.metadata["coordinateTransformations"][0]
print(json.dumps({
    "nodes": len(nodes),
    "levels": [array.shape for array in node.data],
    "value": node.data[0][(..., *index)].compute().tolist(),
    "at": [s * k + t for s, k, t in zip(
        scale["scale"][-3:], index, shift["translation"][-3:], strict=True)],
    "axes": [axis["name"] for axis in node.metadata["axes"]],
    "units": [axis.get("unit") for axis in node.metadata["axes"]][-3:],
    "limits": node.metadata["contrast_limits"],
}))
"""

NAPARI = """
import json, sys
from napari.components import ViewerModel
from napari_ome_zarr import napari_get_reader

path, index = sys.argv[1], json.loads(sys.argv[2])
viewer = ViewerModel()  # no window
for data, options, kind in napari_get_reader(path)(path):
    getattr(viewer, f"add_{kind}")(data, **options)
print(json.dumps({
    "layers": len(viewer.layers),
    "values": [
        float((layer.data[0] if layer.multiscale else layer.data)[tuple(index)])
        for layer in viewer.layers],
    "at": [list(layer.data_to_world(index)) for layer in viewer.layers],
    "units": [[str(unit) for unit in layer.units] for layer in viewer.layers],
    "axes": viewer.layers[0].axis_labels,
    "colours": [layer.colormap.name for layer in viewer.layers],
}))
"""

PYNUTIL = """
import json, sys
import numpy as np, pandas as pd
import PyNutil

path, points = sys.argv[1], json.loads(sys.argv[2])
registration = PyNutil.read_alignment(path)
shape = registration.metadata["target-resolution"]
# 8 slabs from left to right, so that each label tells where a point is
annotation = np.zeros(shape, np.uint32)
annotation[:] = 1 + np.arange(shape[0])[:, None, None] // 57
sides = np.ones(shape, np.uint8)
sides[shape[0] // 2:] = 2
labels = pd.DataFrame([
    {"idx": k, "name": str(k), "r": k, "g": 0, "b": 0} for k in range(9)])
atlas = PyNutil.AtlasData(annotation=annotation, hemispheres=sides, labels=labels)
frame = pd.DataFrame(
    points, columns=["X", "Y", "image_width", "image_height", "section number"])
result = PyNutil.xy_to_coords(frame, registration, atlas, return_orientation="lpi")
print(json.dumps({
    "sections": len(registration.slices),
    "points": np.asarray(result.points.points).tolist(),
    "labels": np.asarray(result.points.labels).tolist(),
}))
"""


def ask(python, script, *arguments):
    done = subprocess.run(
        [python, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(params=["grey", "colours"])
def store(request, tmp_path):
    volume = request.getfixturevalue(request.param)
    volume.save(tmp_path / "volume.ome.zarr")
    return volume, tmp_path / "volume.ome.zarr"


def test_ome_zarr_py(environment_of, store, landmark):
    python = environment_of("ome-zarr", "ome-zarr")
    volume, path = store
    index, pir = landmark
    told = ask(python, OME_ZARR, path, json.dumps(index))
    assert told["nodes"] == 1
    assert told["levels"][0][-3:] == list(volume.data.shape[:3])
    assert np.allclose(told["value"], volume.data[index])
    assert np.allclose(told["at"], pir)
    assert told["axes"] == (["c"] if volume.data.ndim == 4 else []) + ["z", "y", "x"]
    assert told["units"] == ["micrometer"] * 3


def test_napari(environment_of, store, landmark):
    """The reader of napari-ome-zarr, and napari's own layers, without a window."""
    python = environment_of("napari", "napari-ome-zarr")
    volume, path = store
    index, pir = landmark
    told = ask(python, NAPARI, path, json.dumps(index))
    colours = volume.data.ndim == 4
    assert told["layers"] == (3 if colours else 1)
    assert np.allclose(told["values"], volume.data[index])
    # napari-ome-zarr 0.10 takes the first of a level's two transformations, the scale, and drops
    # the translation: there all lies half a voxel before its place, and nothing else is wrong.
    short = pir - told["at"]
    assert np.allclose(short, 0) or np.allclose(short, volume.resolution / 2)
    assert told["units"] == [["micrometer"] * 3] * told["layers"]
    assert told["axes"] == ["z", "y", "x"]
    assert told["colours"] == (["red", "green", "blue"] if colours else ["gray"])


def test_pynutil_through_markers(environment_of, demo_records, tmp_path):
    """PyNutil leads pixels through our markers to where our own reader leads them.

    Of a section that a spline bends, they also lie where the spline puts them, but for what the
    file tells.
    """
    python = environment_of("pynutil", "PyNutil")
    record = demo_records[71717084]
    record = msgspec.structs.replace(record, images=record.images[40:43])
    plain = PlacedDataSet.with_placements(record)
    y, x = np.indices((70, 100), dtype=np.float64)
    waves = np.stack((np.sin(x / 9 + y / 15), np.cos(y / 11)), axis=-1)
    bends = [
        SplineDeformation.of(Displacements((-100.0, -100.0), (100.0, 100.0), waves * amount))
        for amount in (200, -90)
    ]
    curved = PlacedDataSet.with_placements(
        record,
        {
            section.id: replace(section.placement, deformation=bend)
            for section, bend in zip(plain.sections, bends, strict=False)
        },
    )
    path = write_quicknii(curved, tmp_path / "ours.json", downsample=3)
    slices = json.loads(path.read_text())["slices"]
    read = PlacedDataSet.of(record, read_alignment(path))
    points, truth, ours, limits = [], [], [], []
    for one, section, again in zip(slices, curved.sections, read.sections, strict=True):
        width, height = section.image.size(3)
        for at in np.random.default_rng(6).uniform(0, 1, (300, 2)) * (width, height):
            points.append((*at, width, height, section.number))
            truth.append(section.to_reference(8 * at - 0.5))
            ours.append(again.to_reference(8 * at - 0.5))
            limits.append(one.get("atldld", {}).get("greatest_deviation_um", 0) * 1.2 + 1e-6)
    told = ask(python, PYNUTIL, path, json.dumps(points))
    assert told["sections"] == 3
    x, y, z = np.transpose(told["points"])
    pir = np.column_stack((25 * (528 - y), 25 * (320 - z), 25 * x))
    np.testing.assert_allclose(pir, ours, rtol=0, atol=1e-6)
    assert (np.linalg.norm(pir - truth, axis=1) <= limits).all()


@pytest.mark.parametrize("dataset_id", [71717084, 69289763])
def test_pynutil(environment_of, demo_records, tmp_path, dataset_id):
    """PyNutil puts points of our images where the matrices put them."""
    python = environment_of("pynutil", "PyNutil")
    dataset = DataSet(demo_records[dataset_id], session=None)  # type: ignore[arg-type]
    path = write_quicknii(dataset, tmp_path / "allen.json", downsample=3)
    points, truth = [], []
    for section in dataset.sections[3::7]:
        width, height = section.image.size(3)
        for x, y in [(width * 0.4, height * 0.5), (width * 0.6, height * 0.45)]:
            points.append((x, y, width, height, section.number))
            # PyNutil counts from the image's corner, in pixels of the tier
            truth.append(section.to_reference((8 * x - 0.5, 8 * y - 0.5)))
    told = ask(python, PYNUTIL, path, json.dumps(points))
    assert told["sections"] == len(dataset.sections)
    x, y, z = np.transpose(told["points"])
    pir = np.column_stack((25 * (528 - y), 25 * (320 - z), 25 * x))
    # it groups by section number, and so do we
    assert np.allclose(pir, truth, atol=1e-6)
    right = 1 + np.clip(np.array(truth)[:, 2] // 25, 0, 455) // 57
    # the label is read from its own drawing of the plane, a voxel off at most
    assert np.mean(np.array(told["labels"]) == right) > 0.9
