"""Every format of a volume, read back by the library that its users read it with."""

import errno
import json
import os
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from atldld.errors import AtldldError, InvalidInputError, OutputError
from atldld.formats import beside, known_extensions
from atldld.formats.ome_zarr import halve, in_bands
from atldld.formats.voxels import Voxels, write_voxels

nibabel = pytest.importorskip("nibabel")
nrrd = pytest.importorskip("nrrd")
sitk = pytest.importorskip("SimpleITK")
zarr = pytest.importorskip("zarr")
ngff_zarr = pytest.importorskip("ngff_zarr")
tifffile = pytest.importorskip("tifffile")

COLOUR = (250, 130, 10)


def lps(pir):
    """(left, posterior, superior) in mm, as ITK has it."""
    p, i, r = np.asarray(pir) / 1000
    return np.array([-r, p, -i])


def check_with_sitk(path, data, landmark):
    """The landmark is at its physical point, and every value at its index."""
    index, pir = landmark
    image = sitk.ReadImage(str(path))
    assert image.GetDimension() == 3
    assert image.GetSize() == data.shape[:3]
    assert np.allclose(image.TransformIndexToPhysicalPoint(index), lps(pir), atol=1e-6)
    assert image.TransformPhysicalPointToIndex(lps(pir)) == index
    # SimpleITK's arrays run the other way round
    values = sitk.GetArrayFromImage(image)
    assert np.array_equal(np.moveaxis(values, (0, 1, 2), (2, 1, 0)), data)


class TestNifti:
    @pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
    def test_grey_as_nibabel_reads_it(self, grey, landmark, tmp_path, ending):
        path = tmp_path / f"volume{ending}"
        assert grey.save(path) == [path]
        image = nibabel.load(path)
        assert nibabel.aff2axcodes(image.affine) == ("P", "I", "R")
        assert np.array_equal(np.asarray(image.dataobj), grey.data)
        assert image.get_data_dtype() == np.float32
        index, (p, i, r) = landmark
        # RAS+: right is positive, posterior and inferior are negative
        world = nibabel.affines.apply_affine(image.affine, index)
        assert np.allclose(world, [r / 1000, -p / 1000, -i / 1000], atol=1e-6)
        assert image.header.get_xyzt_units()[0] == "mm"
        qform, qcode = image.get_qform(coded=True)
        sform, scode = image.get_sform(coded=True)
        assert qcode == scode == 2
        assert np.allclose(qform, sform, atol=1e-6)
        assert b"69289763" in image.header["descrip"].item()
        assert image.header.get_intent()[2] == "expression"
        told = json.loads(image.header.extensions[0].get_content())
        assert told["dataset_ids"] == [69289763, 909]
        assert told["metadata"]["citation"] == "© somebody, 25 µm"

    def test_colours_as_nibabel_reads_them(self, colours, landmark, tmp_path):
        colours.save(tmp_path / "volume.nii.gz")
        image = nibabel.load(tmp_path / "volume.nii.gz")
        assert image.header["datatype"] == 128  # RGB24
        voxels = np.asarray(image.dataobj)
        assert voxels[landmark[0]].item() == COLOUR
        assert all(
            np.array_equal(voxels[name], colours.data[..., k]) for k, name in enumerate("RGB")
        )

    def test_itk_reads_the_same_points(self, grey, colours, landmark, tmp_path):
        for name, volume in {"grey": grey, "colours": colours}.items():
            volume.save(tmp_path / f"{name}.nii.gz")
            check_with_sitk(tmp_path / f"{name}.nii.gz", volume.data, landmark)


class TestNrrd:
    def test_grey_as_pynrrd_reads_it(self, grey, landmark, tmp_path):
        grey.save(tmp_path / "volume.nrrd")
        data, header = nrrd.read(str(tmp_path / "volume.nrrd"))
        assert np.array_equal(data, grey.data)
        assert header["space"] == "left-posterior-superior"
        assert header["space units"] == ["mm"] * 3
        index, pir = landmark
        point = header["space origin"] + np.array(index) @ header["space directions"]
        assert np.allclose(point, lps(pir))
        assert json.loads(header["atldld"])["channel"] == "expression"

    def test_colours_as_pynrrd_reads_them(self, colours, landmark, tmp_path):
        colours.save(tmp_path / "volume.nrrd")
        data, header = nrrd.read(str(tmp_path / "volume.nrrd"))
        assert header["kinds"] == ["RGB-color", "domain", "domain", "domain"]
        assert data.shape == (3, *colours.data.shape[:3])
        assert tuple(data[(slice(None), *landmark[0])]) == COLOUR

    def test_itk_reads_the_same_points(self, grey, colours, landmark, tmp_path):
        for name, volume in {"grey": grey, "colours": colours}.items():
            volume.save(tmp_path / f"{name}.nrrd")
            check_with_sitk(tmp_path / f"{name}.nrrd", volume.data, landmark)


class TestZarr:
    def large(self, volume, colours=False):
        """A ramp along each axis, large enough for three levels, odd along two axes."""
        p, i, r = np.meshgrid(*(np.arange(n) for n in (301, 40, 77)), indexing="ij")
        ramp = (p + 1000 * i + 10 * r).astype(np.float32)
        if colours:
            ramp = np.stack((p % 200, 4 * i, 2 * r), axis=-1).astype(np.uint8)
        return replace(volume, data=ramp, coverage=np.ones(ramp.shape[:3], np.float32))

    def test_the_schema_of_0_5_is_met(self, grey, colours, tmp_path):
        for name, volume in {"grey": grey, "colours": colours}.items():
            volume.save(tmp_path / f"{name}.ome.zarr")
            group = zarr.open_group(tmp_path / f"{name}.ome.zarr", mode="r")
            assert group.metadata.zarr_format == 3
            ngff_zarr.validate(dict(group.attrs), version="0.5", model="image", strict=True)

    def test_as_ngff_zarr_reads_it(self, grey, landmark, tmp_path):
        grey.save(tmp_path / "volume.ome.zarr")
        image = ngff_zarr.from_ngff_zarr(str(tmp_path / "volume.ome.zarr")).images[0]
        index, pir = landmark
        assert tuple(image.dims) == ("z", "y", "x")
        assert np.array_equal(np.asarray(image.data), grey.data)
        point = [
            image.scale[d] * k + image.translation[d] for d, k in zip("zyx", index, strict=True)
        ]
        assert np.allclose(point, pir)
        assert set(image.axes_units.values()) == {"micrometer"}
        told = {axis: value.value.value for axis, value in image.axes_orientations.items()}
        assert told == {
            "z": "anterior-to-posterior",
            "y": "superior-to-inferior",
            "x": "left-to-right",
        }

    def test_colours_as_ngff_zarr_reads_them(self, colours, landmark, tmp_path):
        colours.save(tmp_path / "volume.zarr")
        image = ngff_zarr.from_ngff_zarr(str(tmp_path / "volume.zarr")).images[0]
        assert tuple(image.dims) == ("c", "z", "y", "x")
        assert tuple(np.asarray(image.data)[(slice(None), *landmark[0])]) == COLOUR
        group = zarr.open_group(tmp_path / "volume.zarr", mode="r")
        shown = [channel["color"] for channel in group.attrs["ome"]["omero"]["channels"]]
        assert shown == ["FF0000", "00FF00", "0000FF"]
        assert group.attrs["atldld"]["metadata"]["sections"] == [4, 5]

    def test_every_level_shows_the_same_place(self, grey, tmp_path):
        """A ramp's average over a block is its value at the block's centre: all levels agree."""
        volume = self.large(grey)
        volume.save(tmp_path / "volume.ome.zarr")
        group = zarr.open_group(tmp_path / "volume.ome.zarr", mode="r")
        levels = group.attrs["ome"]["multiscales"][0]["datasets"]
        assert [group[level["path"]].shape for level in levels] == [
            (301, 40, 77),
            (151, 20, 39),
            (76, 10, 20),
        ]
        for level in levels:
            data = group[level["path"]][...]
            scale, shift = level["coordinateTransformations"]
            # whole blocks only: at the far edges the average is of what is left over
            inside = tuple(slice(0, n - 1) for n in data.shape)
            at = [
                (np.arange(n - 1) * s + t) / volume.resolution - 0.5
                for n, s, t in zip(data.shape, scale["scale"], shift["translation"], strict=True)
            ]
            p, i, r = np.meshgrid(*at, indexing="ij")
            assert np.allclose(data[inside], p + 1000 * i + 10 * r, rtol=1e-6), level["path"]

    @pytest.mark.parametrize("axis", [0, 1, 2])
    @pytest.mark.parametrize("thickness", [1, 37, 64, 130, 301])
    def test_bands_of_any_thickness_make_the_same_store(self, grey, tmp_path, axis, thickness):
        # backwards: the largest value comes first
        data = np.moveaxis(self.large(grey).data[::-1], 0, axis)
        voxels = Voxels(data, 25.0, "coverage", {"dataset_ids": [1]})
        whole, path = tmp_path / "whole.ome.zarr", tmp_path / "bands.ome.zarr"
        write_voxels({whole: voxels})
        with in_bands({path: voxels.layout}, axis) as (writer,):
            for start in range(0, 301, thickness):
                writer.add(data[(slice(None),) * axis + (slice(start, start + thickness),)])
        made, expected = (zarr.open_group(one, mode="r") for one in (path, whole))
        assert dict(made.attrs) == dict(expected.attrs)
        assert made.attrs["ome"]["omero"]["channels"][0]["window"]["max"] == data.max()
        for name, array in expected.arrays():
            assert np.array_equal(made[name][...], array[...])

    def test_bands_that_do_not_fill_the_volume_are_no_store(self, grey, tmp_path):
        layout = Voxels(grey.data, 25.0, "coverage", {}).layout

        def write(*bands):
            with in_bands({tmp_path / "a.ome.zarr": layout}, 0) as (writer,):
                for band in bands:
                    writer.add(band)

        with pytest.raises(ValueError, match="do not fill"):
            write(grey.data[:-1])
        with pytest.raises(ValueError, match="more than fill"):
            write(grey.data, grey.data[:1])
        assert list(tmp_path.iterdir()) == []

    def test_edges_average_what_is_there(self):
        data = np.arange(5 * 3 * 3, dtype=np.float32).reshape(5, 3, 3)
        halved = halve(data)
        assert halved.shape == (3, 2, 2)
        assert halved[0, 0, 0] == data[:2, :2, :2].mean()
        assert halved[2, 1, 1] == data[4, 2, 2]
        assert halved[2, 0, 1] == data[4, :2, 2].mean()

    def test_levels_of_colours_are_rounded(self, colours, tmp_path):
        volume = self.large(colours, colours=True)
        volume.save(tmp_path / "volume.ome.zarr")
        group = zarr.open_group(tmp_path / "volume.ome.zarr", mode="r")
        assert group["0"].chunks == (1, 128, 40, 77)
        noise = np.random.default_rng(8).integers(0, 256, (6, 6, 6, 3), dtype=np.uint8)
        blocks = noise.reshape(3, 2, 3, 2, 3, 2, 3).mean(axis=(1, 3, 5))
        assert np.array_equal(halve(noise), np.rint(blocks))
        assert np.array_equal(group["1"][...], np.moveaxis(halve(volume.data), -1, 0))

    def test_a_store_is_replaced_whole(self, grey, tmp_path):
        path = tmp_path / "volume.ome.zarr"
        self.large(grey).save(path)
        grey.save(path, force=True)
        assert sorted(zarr.open_group(path, mode="r").array_keys()) == ["0"]
        assert [p.name for p in tmp_path.iterdir()] == ["volume.ome.zarr"]

    def test_another_folder_is_not_replaced(self, grey, tmp_path):
        path = tmp_path / "holiday.zarr"
        path.mkdir()
        (path / "picture.jpg").write_text("precious")
        with pytest.raises(OutputError, match="no Zarr store"):
            grey.save(path, force=True)
        assert (path / "picture.jpg").read_text() == "precious"

    def test_what_was_there_stays_when_writing_fails(self, grey, tmp_path, monkeypatch):
        path = tmp_path / "volume.ome.zarr"
        grey.save(path)

        def fails(*arguments):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("atldld.formats.ome_zarr._Level._write", fails)
        with pytest.raises(OutputError, match="No space left"):
            grey.save(path, force=True)
        assert np.array_equal(zarr.open_group(path, mode="r")["0"][...], grey.data)
        assert [p.name for p in tmp_path.iterdir()] == ["volume.ome.zarr"]

    def test_the_old_store_comes_back_when_the_new_one_cannot_be_moved(
        self, grey, tmp_path, monkeypatch
    ):
        path = tmp_path / "volume.ome.zarr"
        grey.save(path)
        move = os.rename

        def fails(source, target):
            if str(source).endswith(".part.ome.zarr"):
                raise OSError(errno.EACCES, "Permission denied")
            move(source, target)

        monkeypatch.setattr("atldld.support.files.os.rename", fails)
        with pytest.raises(OutputError, match="Permission denied"):
            replace(grey, data=grey.data / 2).save(path, force=True)
        assert [p.name for p in tmp_path.iterdir()] == ["volume.ome.zarr"]
        assert np.array_equal(zarr.open_group(path, mode="r")["0"][...], grey.data)


class TestTiff:
    @pytest.mark.parametrize("ending", [".ome.tif", ".tiff"])
    def test_as_tifffile_reads_it(self, grey, colours, landmark, tmp_path, ending):
        for name, volume in {"grey": grey, "colours": colours}.items():
            path = tmp_path / f"{name}{ending}"
            volume.save(path)
            with tifffile.TiffFile(path) as tif:
                assert tif.is_ome
                series = tif.series[0]
                assert series.axes == ("ZYXS" if name == "colours" else "ZYX")
                assert np.array_equal(series.asarray(), volume.data)
                xml = ElementTree.fromstring(tif.ome_metadata)
            space = {"ome": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}
            pixels = xml.find(".//ome:Pixels", space)
            assert pixels is not None
            index, (p, i, r) = landmark
            for axis, k, truth in zip("ZYX", index, (p, i, r), strict=True):
                step = float(pixels.attrib[f"PhysicalSize{axis}"])
                assert pixels.get(f"PhysicalSize{axis}Unit", "µm") == "µm"
                assert step == volume.resolution
                planes = {
                    int(one.attrib["TheZ"]): one for one in pixels.findall("ome:Plane", space)
                }
                at = float(planes[index[0]].attrib[f"Position{axis}"])
                # the position is that of the plane's first pixel
                assert at + (0 if axis == "Z" else k * step) == truth

    def test_what_it_is_of(self, grey, tmp_path):
        grey.save(tmp_path / "volume.ome.tif")
        with tifffile.TiffFile(tmp_path / "volume.ome.tif") as tif:
            xml = ElementTree.fromstring(tif.ome_metadata)
        space = {"ome": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}
        told = json.loads(xml.findtext(".//ome:Description", "", space))
        assert told["dataset_ids"] == [69289763, 909]
        assert told["metadata"]["citation"] == "© somebody, 25 µm"


def test_numpy_and_its_companion(colours, landmark, tmp_path):
    path = tmp_path / "volume.npy"
    assert colours.save(path) == [path, tmp_path / "volume.npy.json"]
    assert np.array_equal(np.load(path), colours.data)
    told = json.loads((tmp_path / "volume.npy.json").read_text("utf-8"))
    index, pir = landmark
    assert told["axes"] == ["p", "i", "r"]
    assert np.array_equal((np.array(index) + 0.5) * told["resolution_um"], pir)
    assert "anterior-superior-left" in told["frame"]


@pytest.mark.parametrize("ending", known_extensions())
def test_coverage_beside(colours, tmp_path, ending):
    path = tmp_path / f"volume{ending}"
    written = colours.save(path, coverage=True)
    beside_it = tmp_path / f"volume_coverage{ending}"
    assert beside(path) == beside_it
    assert {path, beside_it} <= set(written)
    assert all(one.exists() for one in written)


def test_coverage_holds_the_weights(colours, tmp_path):
    colours.save(tmp_path / "volume.nii.gz", coverage=True)
    image = nibabel.load(tmp_path / "volume_coverage.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj), colours.coverage)


@pytest.mark.parametrize("name", ["volume", "volume.png", "volume.gz", ".nii.gz", "volume.nii.bz2"])
def test_an_ending_that_means_nothing(grey, tmp_path, name):
    with pytest.raises(InvalidInputError, match=r"\.nii\.gz, \.npy, \.nrrd"):
        grey.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_capitals_and_dots_in_names(grey, tmp_path):
    grey.save(tmp_path / "my.v1.NII.GZ")
    assert nibabel.load(tmp_path / "my.v1.NII.GZ").shape == grey.data.shape


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (np.zeros((2, 2)), r"shape \(2, 2\)"),
        (np.zeros((2, 2, 2)), "type float64"),
        (np.zeros((2, 2, 2, 4), np.uint8), r"\(2, 2, 2, 4\)"),
        (np.zeros((2, 2, 2, 3), np.float32), "float32"),
    ],
)
def test_a_volume_of_another_kind(grey, tmp_path, data, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        replace(grey, data=data).save(tmp_path / "volume.npy")


@pytest.mark.parametrize("resolution", [0, -25, np.nan])
def test_a_resolution_that_is_none(grey, tmp_path, resolution):
    with pytest.raises(InvalidInputError, match="positive number of µm"):
        replace(grey, resolution=resolution).save(tmp_path / "volume.npy")


@pytest.mark.parametrize(
    ("library", "ending", "extra"),
    [
        ("nibabel", ".nii.gz", "volume"),
        ("nrrd", ".nrrd", "volume"),
        ("zarr", ".ome.zarr", "zarr"),
    ],
)
def test_a_library_that_is_missing(grey, tmp_path, monkeypatch, library, ending, extra):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(AtldldError, match=rf"need {library}.*pip install 'atldld\[{extra}\]'"):
        grey.save(tmp_path / f"volume{ending}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".ome.tif", ".npy"])
def test_what_was_there_stays_when_writing_fails(grey, colours, tmp_path, monkeypatch, ending):
    path = tmp_path / f"volume{ending}"
    grey.save(path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fails(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("atldld.support.files.os.replace", fails)
    monkeypatch.setattr("atldld.support.files.os.rename", fails)
    with pytest.raises(OutputError, match="No space left"):
        colours.save(path, force=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_is_made_and_a_folder_is_no_file(grey, tmp_path):
    grey.save(tmp_path / "new" / "deep" / "volume.nrrd")
    assert (tmp_path / "new" / "deep" / "volume.nrrd").is_file()
    (tmp_path / "folder.nrrd").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        grey.save(tmp_path / "folder.nrrd")


def test_saving_a_volume_is_the_same(grey, tmp_path):
    grey.save(tmp_path / "volume.nii.gz")
    assert nibabel.load(tmp_path / "volume.nii.gz").shape == grey.data.shape
