"""Displacement fields, applied by the libraries that users apply them with."""

import json

import numpy as np
import pytest

from atldld.api import DataSet, open_dataset
from atldld.errors import InvalidInputError, RecordError
from atldld.formats import FIELD_EXTENSIONS, PhysicalField, write_field
from atldld.place.tiers import tier_matrix
from atldld.records import SectionDataSet
from atldld.sections.files import write_fields
from atldld.sections.register import Recipe
from atldld.warp import DisplacementField

sitk = pytest.importorskip("SimpleITK")
pytest.importorskip("nibabel")
pytest.importorskip("nrrd")

ITK = [".mha", ".nrrd", ".nii", ".nii.gz"]


@pytest.fixture(scope="module")
def dataset(demo_records):
    """Its sections are oblique, and no pixel is asked for."""
    return DataSet(demo_records[71717084], session=None)  # type: ignore[arg-type]


def job_of(dataset, number=40, resolution=100, **options):
    return Recipe(resolution=resolution, **options).plan(dataset.sections[number])


def points_and_pixels(job, count=200):
    """Points of the output plane in mm, inside the field, and the pixels that are seen there."""
    rows, columns = job.plane.grid.shape
    rng = np.random.default_rng(3)
    at = rng.random((count, 2)) * [columns - 1, rows - 1]
    mm = (at + 0.5) * job.plane.grid.resolution / 1000
    pixels = np.column_stack((at, np.ones(count))) @ job.plane.to_image.T
    return mm, pixels


@pytest.mark.parametrize("kind", ["oblique", "parallel"])
@pytest.mark.parametrize("ending", ITK)
def test_simpleitk_applies_it_to_points(dataset, tmp_path, ending, kind):
    job = job_of(dataset, cut=kind)
    path = write_field(job.section, job.plane, tmp_path / f"field{ending}")
    image = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
    rows, columns = job.plane.grid.shape
    assert (image.GetDimension(), image.GetSize()) == (2, (columns, rows))
    assert np.allclose(image.GetSpacing(), 0.1)
    assert np.allclose(image.GetOrigin(), 0.05)
    assert np.allclose(image.GetDirection(), (1, 0, 0, 1))
    transform = sitk.DisplacementFieldTransform(image)
    points, pixels = points_and_pixels(job)
    moved = np.array([transform.TransformPoint(point) for point in points.tolist()])
    size_of_pixel = job.section.image.resolution / 1000
    assert np.abs(moved / size_of_pixel - pixels).max() < 1e-3


def test_one_field_serves_all_tiers(session, tmp_path):
    """SimpleITK shows the section as our own warp does, whatever tier the image has."""
    section = open_dataset(909, session=session).sections[7]
    for tier in (2, 3):
        job = Recipe(resolution=50, downsample=tier).plan(section)
        path = write_field(section, job.plane, tmp_path / "field.mha", force=True)
        transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path)))
        pixels = section.pixels(tier)
        moving = sitk.GetImageFromArray(pixels[..., 0].astype(np.float32))
        assert section.image.resolution is not None
        size_of_pixel = section.image.resolution / 1000
        moving.SetSpacing([2**tier * size_of_pixel] * 2)
        moving.SetOrigin([(2**tier - 1) / 2 * size_of_pixel] * 2)
        rows, columns = job.plane.grid.shape
        fixed = sitk.Image([columns, rows], sitk.sitkFloat32)
        fixed.SetSpacing([0.05] * 2)
        fixed.SetOrigin([0.025] * 2)
        shown = sitk.GetArrayFromImage(
            sitk.Resample(moving, fixed, transform, sitk.sitkLinear, -1.0)
        )
        ours = DisplacementField.from_matrix(
            tier_matrix(job.plane.to_image, tier), (rows, columns)
        ).warp(pixels[..., 0].astype(np.float32), c=-1.0)
        # OpenCV reads at 1/32 of a pixel, so edges differ by some grey levels; a shift of half a
        # pixel differs by more than 2 on average
        inside = (shown >= 0) & (ours >= 0)
        assert inside.mean() > 0.3
        assert np.abs(shown - ours)[inside].mean() < 0.5


@pytest.mark.parametrize("ending", [".mha", ".nii.gz"])
def test_a_refined_field_is_written_as_it_is(dataset, tmp_path, ending):
    job = job_of(dataset, downsample=4)
    rows, columns = job.plane.grid.shape
    straight = DisplacementField.from_matrix(
        tier_matrix(job.plane.to_image, job.downsample), (rows, columns)
    )
    bump = np.zeros((rows, columns), np.float32)
    bump[20:40, 30:50] = 8  # pixels of the tier
    refined = DisplacementField(straight.delta_x + bump, straight.delta_y)
    vectors = []
    for field in (straight, refined):
        path = write_field(
            job.section, job.plane, tmp_path / f"f{ending}", field=field, downsample=4, force=True
        )
        vectors.append(sitk.GetArrayFromImage(sitk.ReadImage(str(path), sitk.sitkVectorFloat64)))
    exact = PhysicalField.of(job.section, job.plane).vectors
    size_of_pixel = job.section.image.resolution / 1000
    # float32 pixels of the tier carry a thousandth of a pixel
    assert np.abs(vectors[0] - exact).max() / size_of_pixel < 1e-2
    difference = (vectors[1] - vectors[0]) / size_of_pixel
    assert np.allclose(difference[..., 0], bump * 16, atol=1e-2)
    assert np.allclose(difference[..., 1], 0, atol=1e-9)


class TestZarr:
    zarr = pytest.importorskip("zarr")
    ngff_zarr = pytest.importorskip("ngff_zarr")

    @pytest.fixture
    def written(self, dataset, tmp_path):
        job = job_of(dataset)
        path = write_field(job.section, job.plane, tmp_path / "field.ome.zarr")
        return job, path

    def test_the_schema_of_0_6_is_met(self, written):
        group = self.zarr.open_group(written[1], mode="r")
        self.ngff_zarr.validate(dict(group.attrs), version="0.6", model="image", strict=False)

    def test_applied_as_the_specification_says(self, written):
        """RFC-5: array → "field" by scale and translation; the i-th component is the i-th axis."""
        job, path = written
        group = self.zarr.open_group(path, mode="r")
        multiscale = group.attrs["ome"]["multiscales"][0]
        transformation = multiscale["coordinateTransformations"][0]
        assert transformation["type"] == "displacements"
        systems = {one["name"]: one["axes"] for one in multiscale["coordinateSystems"]}
        assert [axis["name"] for axis in systems["field"]] == ["c", "y", "x"]
        assert systems["reference"] == systems["section"] == systems["field"][1:]
        assert {axis["unit"] for axis in systems["reference"]} == {"micrometer"}
        vectors = group[transformation["path"]][...]
        scale, shift = multiscale["datasets"][0]["coordinateTransformations"][0]["transformations"]
        row, column = 17, 60
        point = [row, column] * np.array(scale["scale"][1:]) + shift["translation"][1:]
        seen = point + vectors[:, row, column]
        x, y = job.plane.to_image @ [column, row, 1]
        assert np.allclose(seen / job.section.image.resolution, [y, x], atol=1e-6)

    def test_ngff_zarr_makes_an_itk_transform_of_it(self, written):
        job, path = written
        multiscales = self.ngff_zarr.from_ngff_zarr(str(path))
        displacements = multiscales.metadata.coordinateTransformations[0]
        made = self.ngff_zarr.ngff_displacement_field_to_itk_transform(
            displacements, multiscales, ["y", "x"]
        )[0]
        fixed = np.asarray(made.fixedParameters)
        size = fixed[:2].astype(int)
        image = sitk.GetImageFromArray(
            np.asarray(made.parameters, float).reshape(*size[::-1], 2), isVector=True
        )
        image.SetOrigin(fixed[2:4])
        image.SetSpacing(fixed[4:6])
        transform = sitk.DisplacementFieldTransform(image)
        points, pixels = points_and_pixels(job)
        moved = [transform.TransformPoint(point) for point in (points * 1000).tolist()]
        assert np.abs(np.array(moved) / job.section.image.resolution - pixels).max() < 1e-3


def test_numpy_is_in_pixels_of_the_tier(dataset, tmp_path):
    job = job_of(dataset, downsample=3)
    write_field(job.section, job.plane, tmp_path / "field.npy", downsample=3)
    field = DisplacementField.from_file(tmp_path / "field.npy")
    x, y = tier_matrix(job.plane.to_image, 3) @ [60, 17, 1]
    assert field.delta_x[17, 60] + 60 == pytest.approx(x, abs=1e-3)
    assert field.delta_y[17, 60] + 17 == pytest.approx(y, abs=1e-3)


@pytest.mark.parametrize("ending", FIELD_EXTENSIONS)
def test_all_sections_and_their_index(demo_records, tmp_path, ending):
    dataset = DataSet(demo_records[909], session=None)  # type: ignore[arg-type]
    index = write_fields(dataset, tmp_path / "out", Recipe(resolution=200), ending)
    told = json.loads(index.read_text())
    assert told["dataset_id"] == 909
    assert len(told["fields"]) == len(dataset.sections)
    entry = told["fields"][3]
    section = dataset.section(entry["image_id"])
    assert (index.parent / entry["file"]).exists()
    assert entry["section_number"] == section.number
    assert entry["axis_of_rows"] == "i"
    assert entry["third_coordinate"]["axis"] == "p"
    unit = {".npy": "pixel of the tier", ".zarr": "um", ".ome.zarr": "um"}.get(ending, "mm")
    assert entry["unit"] == unit


def test_what_makes_no_sense(dataset, demo_records, tmp_path):
    job = job_of(dataset)
    with pytest.raises(InvalidInputError, match="displacement fields"):
        write_field(job.section, job.plane, tmp_path / "field.h5")
    wrong = DisplacementField(np.zeros((3, 4)), np.zeros((3, 4)))
    with pytest.raises(InvalidInputError, match=r"has \(3, 4\) pixels"):
        write_field(job.section, job.plane, tmp_path / "field.mha", field=wrong)
    import msgspec

    known: SectionDataSet = demo_records[909]
    images = tuple(msgspec.structs.replace(image, resolution=None) for image in known.images)
    record = msgspec.structs.replace(known, images=images)
    job = job_of(DataSet(record, session=None), number=2)  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="no size of its pixels"):
        write_field(job.section, job.plane, tmp_path / "field.mha")
    write_field(job.section, job.plane, tmp_path / "field.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["field.npy"]
