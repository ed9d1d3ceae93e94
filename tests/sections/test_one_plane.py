"""One rule for how pictures lie, at every door that writes or gives them.

The kind of fault: an option that is understood in more than one place, and in each another way. So
the fields of one command did not fit the pictures of another. All doors are compared with what
`DataSet.register` gives: shapes, axes, and what is in the pictures.
"""

import json

import cv2
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from atldld.api import open_dataset
from atldld.batch import Download
from atldld.cli import app
from atldld.errors import InvalidInputError, OutputError
from atldld.fetch.session import Session
from atldld.napari.folder import layers
from atldld.place import OutputPlane, Placement
from atldld.place.spaces import Grid, Plane
from atldld.report import open_source
from atldld.sections.download import download_dataset
from atldld.sections.files import write_fields, write_section
from atldld.sections.metadata import METADATA
from atldld.sections.register import Recipe
from atldld.settings import Settings
from atldld.warp import DisplacementField

STEP = 400
CORONAL, SAGITTAL = 909, 69289763
AXES = {
    (CORONAL, "oblique"): ("i", "r"),
    (CORONAL, "parallel"): ("i", "r"),
    (SAGITTAL, "oblique"): ("i", "p"),
    (SAGITTAL, "parallel"): ("p", "i"),
}
SIDES = {"p": 33, "i": 20, "r": 28}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One cache for all, so that each section is made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def session(demo_server, cache):
    with Session(Settings(api_url=demo_server, cache_dir=cache)) as session:
        yield session


@pytest.fixture
def run(at_demo_server, cache, monkeypatch):
    monkeypatch.setenv("ATLDLD_CACHE_DIR", str(cache))

    def run(*arguments):
        result = CliRunner().invoke(app, [*map(str, arguments), "--resolution", str(STEP)])
        assert result.exit_code == 0, (result.output, result.exception)

    return run


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dataset_id", [CORONAL, SAGITTAL])
@pytest.mark.parametrize("kind", ["oblique", "parallel"])
def test_every_door_lays_pictures_out_alike(run, session, tmp_path, dataset_id, kind):
    axes = AXES[dataset_id, kind]
    shape = tuple(SIDES[axis] for axis in axes)
    dataset = open_dataset(dataset_id, session=session)
    known = {one.id: one for one in dataset.register(STEP, plane=kind)}
    assert {one.plane.grid.axis_names for one in known.values()} == {axes}
    assert {one.image.shape[:2] for one in known.values()} == {shape}

    section = dataset.sections[5]
    alone = section.register(STEP, plane=kind)
    np.testing.assert_array_equal(alone.image, known[section.id].image)

    run("download", "dataset", dataset_id, tmp_path / "out", "--plane", kind, "--fields")
    metadata = json.loads((tmp_path / "out" / METADATA).read_text())
    assert (metadata["output"]["axis_of_rows"], metadata["output"]["axis_of_columns"]) == axes
    assert (metadata["output"]["rows"], metadata["output"]["columns"]) == shape
    for form in ("npy", "itk"):
        run("export", "fields", dataset_id, tmp_path / form, "--plane", kind, "--format", form)
    run("export", "sections", dataset_id, tmp_path / "ome", "--plane", kind)
    listed = {
        form: {
            one["image_id"]: one
            for one in json.loads((tmp_path / form / "fields.json").read_text())["fields"]
        }
        for form in ("npy", "itk")
    }
    for image_id, registered in known.items():
        where = registered.plane
        entry = metadata["per_image"][str(image_id)]
        picture = cv2.imread(str(tmp_path / "out" / f"{image_id}.png"))
        assert picture is not None
        np.testing.assert_array_equal(picture[..., ::-1], registered.image)
        np.testing.assert_allclose(entry["image_from_output"], where.to_image)
        assert entry["third_coordinate"] == where.describe_depth()
        assert entry["section_coordinate"] == where.central_depth
        ours = DisplacementField.from_file(tmp_path / "out" / f"{image_id}_field.npy")
        theirs = DisplacementField.from_file(tmp_path / "npy" / f"{image_id}_field.npy")
        assert ours.shape == theirs.shape == shape
        np.testing.assert_array_equal(ours.delta_x, theirs.delta_x)
        np.testing.assert_array_equal(ours.delta_y, theirs.delta_y)
        for found in (listed["npy"][image_id], listed["itk"][image_id]):
            assert (found["axis_of_rows"], found["axis_of_columns"]) == axes
            assert (found["rows"], found["columns"]) == shape
            np.testing.assert_allclose(found["image_from_output"], where.to_image)
        header = (tmp_path / "itk" / f"{image_id}_field.mha").read_bytes()[:600]
        assert f"DimSize = {shape[1]} {shape[0]}".encode() in header
        with tifffile.TiffFile(tmp_path / "ome" / f"{image_id}.ome.tif") as tif:
            np.testing.assert_array_equal(tif.series[0].asarray(), registered.image)
            assert f'"axis_of_rows": "{axes[0]}"' in (tif.ome_metadata or "").replace("&quot;", '"')

    pictures, options, _ = layers(tmp_path / "out")[0]
    # napari's axes are p, i, r whichever way the pictures lie
    data = np.asarray(pictures)
    across = {CORONAL: "p", SAGITTAL: "r"}[dataset_id]
    planes = {one["image_id"]: one["plane"] for one in options["metadata"]["atldld"]["sections"]}
    plane = planes[str(section.id)]
    shown = np.take(data, plane, axis="pir".index(across))
    expected = alone.image if axes == tuple(sorted(axes, key="pir".index)) else None
    expected = alone.image.swapaxes(0, 1) if expected is None else expected
    np.testing.assert_array_equal(shown, expected)

    source = open_source(tmp_path / "out", session=session)
    shown = [one for _, one in source.registered(lambda picture: picture, 1)]
    assert {one.plane.grid.axis_names for one in shown} == {axes}
    for one in shown:
        np.testing.assert_array_equal(one.image, known[one.id].image)

    made = Download(Recipe(STEP, cut=kind))
    made.make(dataset_id, tmp_path / "batch", session, threads=1, force=False, command_line=None)
    batch = json.loads((tmp_path / "batch" / METADATA).read_text())
    assert batch["output"] == metadata["output"]
    assert made.output_bytes(dataset.plane, 1) == round(shape[0] * shape[1] * 1.4)


def test_the_library_functions_take_the_same_recipe(session, tmp_path):
    """Nothing is left to the command line: the same values in Python give the same files."""
    dataset = open_dataset(SAGITTAL, session=session)
    recipe = Recipe(STEP, cut="parallel")
    index = write_fields(dataset, tmp_path / "fields", recipe, ".npy")
    assert {one["axis_of_rows"] for one in json.loads(index.read_text())["fields"]} == {"p"}
    path = write_section(
        dataset.sections[3].register(STEP, plane="parallel"), tmp_path / "one.ome.tif"
    )
    assert tifffile.imread(path).shape[:2] == (33, 20)


def test_a_layout_that_is_given_is_kept(session, tmp_path):
    """Also by a folder, which does not hold pictures of two layouts."""
    dataset = open_dataset(SAGITTAL, session=session)
    anatomical = dataset.sections[3].register(STEP, plane="parallel", layout="anatomical")
    usual = dataset.sections[3].register(STEP, plane="parallel")
    assert anatomical.plane.grid.axis_names == ("i", "p")
    assert usual.plane.grid.axis_names == ("p", "i")
    assert next(iter(dataset.register(STEP, layout="0.3"))).image.shape == (33, 20, 3)
    recipe = Recipe(STEP, cut="parallel")
    assert (
        Download(recipe).describe()
        == Download(Recipe(STEP, cut="parallel", layout="0.3")).describe()
    )
    download_dataset(SAGITTAL, tmp_path / "out", recipe, session=session)
    other = Recipe(STEP, cut="parallel", layout="anatomical")
    with pytest.raises(OutputError, match=r"layout 0\.3 there, anatomical now"):
        download_dataset(SAGITTAL, tmp_path / "out", other, session=session)
    for bad in ("sideways", ""):
        with pytest.raises(InvalidInputError, match="layout"):
            dataset.register(STEP, layout=bad)  # type: ignore[arg-type]


def test_the_depth_of_a_picture_is_that_of_its_middle():
    """It was told at the corner behind the middle in one place, half a pixel off."""
    forward = np.array([[0.3, 0.1, 4000], [0.05, 1, 0], [1, 0.05, 0]])
    backward = np.zeros((3, 4))
    grid = Grid(Plane.CORONAL, 1000)
    plane = OutputPlane.oblique(Placement(forward, backward), grid)
    rows, columns = grid.shape
    corners = plane.depth_at([0, 0, rows - 1, rows - 1], [0, columns - 1, 0, columns - 1])
    assert plane.central_depth == pytest.approx(corners.mean())
