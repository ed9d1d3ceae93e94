"""The real napari, in an environment of its own, without a window."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from atldld.napari.reader import get_reader
from atldld.volume.model import Volume
from tests.peers.environments import environment, program

pytestmark = [pytest.mark.peer, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parent.parent.parent

SCRIPT = """
import json, sys, warnings
import npe2
from napari.components import ViewerModel
from napari.layers import Layer

npe2.PluginManager.instance().discover()
viewer = ViewerModel()
path, index, tilted = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
found, reader = npe2.io_utils.read_get_reader([path], stack=False, plugin_name="atldld")
for one in found:
    layer = viewer.add_layer(Layer.create(*one))
    if tilted:
        with warnings.catch_warnings():  # napari shows tilted stacks in 2-D without their tilt
            warnings.simplefilter("ignore")
            layer.affine = layer.metadata["tilt"]
flat = [layer.data_to_world(index) for layer in viewer.layers]
if tilted:
    warnings.simplefilter("ignore")
viewer.dims.set_point(0, flat[0][0])
first = viewer.layers[0]
shown = first.get_value(flat[0], world=True, view_direction=None, dims_displayed=[1, 2])
shown = shown[1] if getattr(first, "multiscale", False) else shown
print(json.dumps({
    "kinds": [type(layer).__name__ for layer in viewer.layers],
    "at": [list(at) for at in flat],
    "shown": [int(value) for value in shown],
    "units": [[str(unit) for unit in layer.units] for layer in viewer.layers],
    "axes": [list(layer.axis_labels) for layer in viewer.layers],
    "visible": [layer.visible for layer in viewer.layers],
    "shapes": [sorted(set(layer.features["acronym"])) for layer in viewer.layers
               if type(layer).__name__ == "Shapes"],
    "ends": [[list(end) for end in layer.extent.world] for layer in viewer.layers],
}))
"""


@pytest.fixture(scope="session")
def napari(request, tmp_path_factory):
    install = ["install", "--quiet", "napari>=0.5.1", "--editable", f"{ROOT}[zarr]"]
    folder = environment("napari", install, request, tmp_path_factory)

    def ask(path, index, *, tilted=False):
        done = subprocess.run(
            [
                *(program(folder, "python"), "-W", "error::UserWarning", "-c", SCRIPT),
                *(str(path), json.dumps(index), json.dumps(tilted)),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return ask


def placed(folder, number):
    """An image's id, its plane's index, its entry of metadata.json, and the sections' layer."""
    metadata = json.loads((folder / "metadata.json").read_text())
    reader = get_reader(str(folder))
    assert reader is not None
    data, options, _ = reader(str(folder))[0]
    one = options["metadata"]["atldld"]["sections"][number]
    return int(one["image_id"]), one["plane"], metadata["per_image"][one["image_id"]], data


def test_a_folder(napari, coronal):
    _, plane, entry, data = placed(coronal[1], 8)
    index = [plane, 30, 40]
    told = napari(coronal[1], index)
    assert told["kinds"] == ["Image", "Image", "Shapes"]
    assert told["units"] == [["micrometer"] * 3] * 3
    assert told["axes"] == [["p", "i", "r"]] * 3
    assert told["visible"] == [True] * 3
    assert told["shown"] == np.asarray(data[tuple(index)]).tolist()
    assert set(told["shapes"][0]) > {"CTX1", "HB"}
    assert np.allclose(told["at"], [[entry["section_coordinate"], 3050, 4050]] * 3)


def test_the_tilt(napari, sagittal):
    """With the affine that the metadata offer, pixels lie in the section's own plane."""
    dataset, folder = sagittal
    image_id, plane, entry, _ = placed(folder, 4)
    index = [30, 70, plane]  # the layout of 0.3: rows are p, columns i
    truth = dataset.section(image_id).to_reference(
        np.array(entry["image_from_output"]) @ [70, 30, 1]
    )
    flat, tilted = (napari(folder, index, tilted=one)["at"] for one in (False, True))
    assert np.allclose(flat, [[3050, 7050, entry["section_coordinate"]]] * 2)
    assert np.allclose(tilted, [truth] * 2, atol=1e-3)
    assert np.abs(truth - flat).max() > 10


def test_a_volume(napari, tmp_path):
    rng = np.random.default_rng(1)
    data = rng.integers(0, 255, (264, 160, 228, 3), dtype=np.uint8)
    volume = Volume(
        data=data,
        coverage=np.ones(data.shape[:3], np.float32),
        resolution=50.0,
        channel="image",
        dataset_ids=(909,),
        fill="none",
        metadata={},
    )
    path = tmp_path / "volume.ome.zarr"
    volume.save(path, coverage=True)
    index = [60, 100, 30]
    told = napari(path, index)
    assert told["kinds"] == ["Image", "Image"]
    assert told["visible"] == [True, False]
    assert np.allclose(told["at"], [(np.array(index) + 0.5) * 50] * 2)
    assert np.allclose(told["ends"], [[[25, 25, 25], [13175, 7975, 11375]]] * 2)
    assert told["units"] == [["micrometer"] * 3] * 2
