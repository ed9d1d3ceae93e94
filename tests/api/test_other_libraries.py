"""Results as objects of other libraries: the same numbers at the same places."""

import builtins

import numpy as np
import pytest

from atldld.errors import AtldldError, InvalidInputError
from atldld.place.spaces import AXES

VOXEL = (20, 9, 14)


@pytest.fixture(scope="module")
def volume(ds):
    return ds.volume(400, channel="expression")


@pytest.fixture(scope="module")
def colours(ds):
    return ds.volume(400)


@pytest.fixture(scope="module")
def registered(ds):
    return ds.sections[6].register(200, expression=True)


def pir_of_ras(ras):
    right, anterior, superior = np.asarray(ras) * 1000
    return -anterior, -superior, right


@pytest.mark.parametrize("name", ["volume", "colours"])
def test_a_volume_of_xarray(name, request):
    xarray = pytest.importorskip("xarray")
    volume = request.getfixturevalue(name)
    array = volume.to_xarray()
    assert isinstance(array, xarray.DataArray)
    assert array.dims[:3] == AXES
    assert np.array_equal(array.values, volume.data)
    assert np.shares_memory(array.values, volume.data)
    for axis, index in zip(AXES, VOXEL, strict=True):
        assert array[axis].values[index] == (index + 0.5) * 400
        assert array[axis].attrs["units"] == "µm"
    # by coordinate, which is what it is for
    picked = array.sel(p=8100, i=3700, r=5900, method="nearest")
    assert np.array_equal(picked.values, volume.data[VOXEL])
    assert np.array_equal(array.coverage.values, volume.coverage)
    assert array.attrs["resolution_um"] == 400
    assert array.name == volume.channel


@pytest.mark.parametrize("name", ["volume", "colours"])
def test_a_volume_of_sitk_is_that_of_its_file(name, request, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    volume = request.getfixturevalue(name)
    image = volume.to_sitk()
    p, i, r = VOXEL
    assert np.allclose(image.GetPixel(r, i, p), volume.data[VOXEL])
    left, posterior, superior = image.TransformIndexToPhysicalPoint((r, i, p))
    expected = [(k + 0.5) * 0.4 for k in VOXEL]
    assert np.allclose((posterior, -superior, -left), expected)
    (path,) = volume.save(tmp_path / "v.nrrd")
    read = sitk.ReadImage(str(path))
    # the file has its axes in another order; the world is one
    world = image.TransformIndexToPhysicalPoint((r, i, p))
    there = read.TransformPhysicalPointToIndex(world)
    assert np.allclose(read.GetPixel(there), volume.data[VOXEL])


@pytest.mark.parametrize("name", ["volume", "colours"])
def test_a_volume_of_nibabel_is_that_of_its_file(name, request, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    volume = request.getfixturevalue(name)
    image = volume.to_nibabel()
    assert nibabel.aff2axcodes(image.affine) == ("P", "I", "R")
    (path,) = volume.save(tmp_path / "v.nii.gz")
    read = nibabel.load(path)
    assert np.array_equal(read.affine.astype(np.float32), image.affine.astype(np.float32))
    assert np.array_equal(np.asarray(read.dataobj), np.asarray(image.dataobj))
    world = nibabel.affines.apply_affine(image.affine, VOXEL)
    assert np.allclose(pir_of_ras(world), [(k + 0.5) * 400 for k in VOXEL])


def test_a_registered_section_of_xarray(registered):
    pytest.importorskip("xarray")
    data = registered.to_xarray()
    assert np.array_equal(data.image.values, registered.image)
    assert np.array_equal(data["mask"].values, registered.mask)
    assert data.image.dims == ("i", "r", "channel")
    assert data.i.attrs["units"] == data.p.attrs["units"] == "µm"
    # every pixel lies where the section's placement says
    row, column = 13, 40
    x, y = registered.plane.shown([(column, row)])[0]
    pir = registered.section.to_reference((x, y))
    there = [float(data[a].values[k]) for a, k in (("i", row), ("r", column))]
    assert np.allclose([float(data.p.values[row, column]), *there], pir, atol=1e-6)
    plain = registered.section.register(400)
    assert "mask" not in plain.to_xarray()


def test_a_registered_section_of_nibabel(registered):
    """One slice in the section's own oblique plane, exactly."""
    nibabel = pytest.importorskip("nibabel")
    image = registered.to_nibabel()
    assert image.shape == (*registered.image.shape[:2], 1)
    row, column = 13, 40
    assert [image.dataobj[row, column, 0][c] for c in "RGB"] == registered.image[
        row, column
    ].tolist()
    world = nibabel.affines.apply_affine(image.affine, (row, column, 0))
    xy = registered.plane.shown([(column, row)])[0]
    assert np.allclose(pir_of_ras(world), registered.section.to_reference(xy), atol=1e-2)
    across = image.affine[:3, 2] * 1000
    assert np.isclose(np.linalg.norm(across), registered.section.thickness)
    assert np.array_equal(
        np.asarray(registered.to_nibabel(mask=True).dataobj)["R"][..., 0], registered.mask[..., 0]
    )


def test_a_registered_section_of_sitk(registered):
    sitk = pytest.importorskip("SimpleITK")
    image = registered.to_sitk()
    assert np.array_equal(sitk.GetArrayFromImage(image), registered.image)
    assert image.TransformIndexToPhysicalPoint((3, 5)) == pytest.approx((0.7, 1.1))
    assert np.array_equal(sitk.GetArrayFromImage(registered.to_sitk(mask=True)), registered.mask)


def test_a_mask_that_is_not_there(registered):
    plain = registered.section.register(400)
    for call in (plain.to_sitk, plain.to_nibabel):
        with pytest.raises(InvalidInputError, match="without an expression mask"):
            call(mask=True)


def test_a_grid(shared_session):
    import atldld

    grid = atldld.fetch_grid(69289763, session=shared_session)
    pytest.importorskip("xarray")
    array = grid.to_xarray("density")
    assert array.p.values[3] == 600  # grids are centred at multiples
    assert np.array_equal(array.values, grid.density, equal_nan=True)
    origin = grid.to_sitk().TransformIndexToPhysicalPoint((0, 0, 0))
    assert np.allclose(origin, 0)
    assert np.allclose(grid.to_nibabel().affine[:3, 3], 0)


def test_quality_and_registration_of_pandas(ds, atlas):
    quality = ds.quality(atlas, resolution=300)
    frame = quality.to_pandas()
    assert list(frame.index) == ds.sections.numbers
    assert frame.index.name == "section_number"
    assert list(frame["image_id"]) == ds.sections.ids
    assert frame["score"].tolist() == [section.score for section in quality.sections]
    assert frame.attrs["threshold"] == quality.threshold
    found = ds.refine(atlas, steps=[], resolution=200)
    frame = found.to_pandas()
    assert sorted(frame.index) == sorted(ds.sections.ids)
    assert not frame["curved"].any()
    assert (frame["moved_um"] == 0).all()


CALLS = {
    "xarray": ["to_xarray"],
    "SimpleITK": ["to_sitk"],
    "nibabel": ["to_nibabel"],
}


@pytest.mark.parametrize("library", CALLS)
def test_what_is_missing_is_named(library, volume, registered, monkeypatch):
    real = builtins.__import__
    import importlib

    def without(name, *rest, **options):
        if name.partition(".")[0] == library:
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(
        "atldld.support.libraries.import_module",
        lambda name: without(name) if name == library else importlib.import_module(name),
    )
    for value in (volume, registered):
        for call in CALLS[library]:
            with pytest.raises(AtldldError, match=f"need {library}") as told:
                getattr(value, call)()
            assert "pip install 'atldld[" in str(told.value)


def test_the_extras_are_there():
    """Each that an error speaks of."""
    import re
    import tomllib
    from pathlib import Path

    root = Path(__file__).resolve().parent.parent.parent
    known = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set()
    for path in (root / "src").rglob("*.py"):
        named |= set(re.findall(r'need\(\s*"[\w.]+",\s*"(\w+)"', path.read_text("utf-8")))
    assert {"xarray", "sitk", "tables"} <= named
    assert named <= known.keys()
