"""What is written of curved sections says that they are curved, and where it cannot, warns."""

import csv
import json
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from atldld.errors import CurveLeftOutWarning
from atldld.formats import write_quicknii
from atldld.formats.fields import write_field
from atldld.place.anchoring import anchoring_of
from atldld.place.placement import Placement
from atldld.place.tiers import tier_matrix, tier_to_image
from atldld.report.contents import Entry
from atldld.report.page import _pictures
from atldld.report.pictures import Artist, views_of
from atldld.sections.download import download_dataset
from atldld.sections.drawings import Drawing, write_drawing
from atldld.sections.metadata import FLAT, FORMAT_VERSION, DeformationEntry, read_metadata
from atldld.sections.register import Recipe
from atldld.warp.displacement import DisplacementField

DATASET = 71717084


@pytest.fixture
def folder(curved_sets, demo_session, tmp_path, monkeypatch):
    """An output folder of curved sections, with fields."""
    monkeypatch.setattr(
        "atldld.sections.download.place_dataset", lambda *_, **__: curved_sets[DATASET]
    )
    download_dataset(DATASET, tmp_path / "out", Recipe(100), session=demo_session, fields=True)
    return tmp_path / "out"


def grid_of(entry):
    output = entry
    return np.stack(np.meshgrid(np.arange(output.columns), np.arange(output.rows)), axis=-1)


def test_a_description_is_what_the_deformation_does(flat, curved):
    assert flat.describe_deformation() is None
    described = curved.describe_deformation()
    random = np.random.default_rng(0)
    xy = random.uniform(0, 1, (20_000, 2)) * (curved.image.width, curved.image.height)
    moved = curved.to_reference(xy) - flat.to_reference(xy)
    greatest = np.linalg.norm(moved, axis=1).max()
    assert described["greatest_displacement_um"] == pytest.approx(greatest, rel=0.02)
    assert tuple(described["jacobian"]) == curved.placement.deformation.jacobian
    assert "flat image" in described["about"]
    json.dumps(described)


def test_metadata_say_that_sections_are_curved(folder, curved_sets):
    metadata = read_metadata(folder)
    assert metadata.format_version == FORMAT_VERSION > FLAT
    for section in curved_sets[DATASET].sections:
        entry = metadata.per_image[str(section.id)]
        assert entry.deformation is not None
        assert entry.deformation == msgspec.convert(
            section.describe_deformation(), DeformationEntry
        )
        # the matrices are the flat image's: with the deformation they are the section's own way
        bare = Placement(np.array(entry.image_to_reference), section.placement.backward)
        xy = np.array([[2000.0, 3000.0]])
        flat = section.placement.deformation.to_flat(xy)
        np.testing.assert_allclose(bare.to_reference(flat), section.to_reference(xy))
        field = DisplacementField.from_file(folder / entry.files["field"].name)
        x, y = field.transformation
        to_flat = np.array(entry.image_from_output)
        at = grid_of(metadata.output)
        pixels = section.placement.deformation.to_image(at @ to_flat[:, :2].T + to_flat[:, 2])
        expected = tier_to_image(entry.downsample_img).inverse().apply(pixels)
        np.testing.assert_allclose(np.stack((x, y), axis=-1), expected, atol=2e-3)


def test_a_folder_of_flat_sections_is_as_before(demo_session, tmp_path):
    download_dataset(909, tmp_path / "out", Recipe(200), session=demo_session)
    document = json.loads((tmp_path / "out" / "metadata.json").read_text())
    assert document["format_version"] == 1
    assert not any("deformation" in entry for entry in document["per_image"].values())


def test_fields_say_what_they_are_of(curved, tmp_path):
    job = Recipe(200).plan(curved)
    path = write_field(curved, job.plane, tmp_path / "field.nii")
    import nibabel

    header: Any = nibabel.load(path).header
    (extension,) = header.extensions
    told = json.loads(extension.get_content())
    assert told["deformation"]["greatest_displacement_um"] > 50


def test_stores_of_fields_are_curved(curved, tmp_path):
    zarr = pytest.importorskip("zarr")
    plane = Recipe(200).plan(curved).plane
    path = write_field(curved, plane, tmp_path / "field.ome.zarr")
    group = zarr.open_group(str(path), mode="r")
    vectors = np.moveaxis(np.asarray(group["0"][...]), 0, -1)[..., ::-1]
    rows, columns = plane.grid.shape
    at = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    pixels = (vectors + (at + 0.5) * 200) / curved.image.resolution
    np.testing.assert_allclose(pixels, plane.shown(at), atol=1e-6)
    assert "deformation" in group.attrs["atldld"]


def test_planes_alone_are_written_with_a_warning(curved_sets, tmp_path):
    dataset = curved_sets[DATASET]
    path = tmp_path / "planes.csv"
    with pytest.warns(CurveLeftOutWarning, match="no place for markers") as met:
        write_quicknii(dataset, path)
    assert len(met) == 1
    section = dataset.sections[0]
    image = section.image
    with path.open() as file:
        row = next(csv.DictReader(file))
    anchoring = [float(row[f"{vector}{axis}"]) for vector in "ouv" for axis in "xyz"]
    np.testing.assert_allclose(
        anchoring, anchoring_of(section.placement.forward, image.width, image.height)
    )


def test_flat_planes_are_written_without_one(placed, tmp_path, recwarn):
    write_quicknii(placed[DATASET], tmp_path / "planes.json")
    assert not recwarn.list


def test_the_volume_says_which_sections_are_curved(opened):
    told = opened(DATASET).volume(200).metadata["datasets"][0]["sections"]
    assert all(section["deformation"]["greatest_displacement_um"] > 50 for section in told)


def test_outlines_on_the_raw_picture_do_not_come_to_napari_askew(
    folder, curved_sets, demo_session, atlas
):
    from atldld.napari.folder import layers

    for section in curved_sets[DATASET].sections:
        write_drawing(section, atlas, Drawing("geojson"), folder, session=demo_session)
    with pytest.warns(UserWarning, match="curved"):
        kinds = [kind for _, _, kind in layers(folder)]
    assert "shapes" not in kinds
    for section in curved_sets[DATASET].sections:
        drawing = Drawing("geojson", frame="reference", resolution=100)
        write_drawing(section, atlas, drawing, folder, session=demo_session, force=True)
    found = layers(folder)
    assert "shapes" in [kind for _, _, kind in found]
    told = found[0][1]["metadata"]["atldld"]["sections"]
    assert all(section["deformation"]["greatest_displacement_um"] > 50 for section in told)


def test_outlines_of_a_report_lie_on_the_raw_picture_as_it_is(opened, atlas):
    section = opened(DATASET).sections[2]
    registered = section.register(50)
    views = views_of(registered, Artist(atlas, section.session))
    entry = Entry(section, registered.plane, registered.downsample, views)
    data = _pictures(entry)
    assert len(data["raw_shapes"]) == len(data["shapes"])
    side, tier = data["to_raw"][0], 3
    width, height = section.image.size(tier)
    # the same structure, drawn from both, one of them led through the deformation pixel by pixel
    (structure, path), *_ = data["raw_shapes"]
    drawn = np.zeros((height, width), np.uint8)
    fill(drawn, path, lambda points: points * side / 2**tier)
    (same, flat_path), *_ = data["shapes"]
    assert same == structure
    rows, columns = entry.plane.grid.shape
    on_grid = np.zeros((rows * 4, columns * 4), np.uint8)
    fill(on_grid, flat_path, lambda points: points)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    xy = tier_to_image(tier).apply(np.stack((x, y), axis=-1))
    deformation = section.placement.deformation
    assert deformation is not None
    flat = deformation.to_flat(xy)
    to_output = np.linalg.inv(np.vstack((entry.plane.to_image, [0, 0, 1])))[:2]
    at = flat @ to_output[:, :2].T + to_output[:, 2]
    quarter = np.rint((at + 0.5) * 4 - 0.5).astype(int)
    inside = ((quarter >= 0) & (quarter < (columns * 4, rows * 4))).all(axis=-1)
    i, j = np.moveaxis(np.where(inside[..., None], quarter, 0), -1, 0)
    expected: Any = np.where(inside, on_grid[j, i], 0) > 0
    both, either = (drawn > 0) & expected, (drawn > 0) | expected
    assert expected.sum() > 5000
    assert both.sum() / either.sum() > 0.98
    affine = np.zeros((height, width), np.uint8)
    back = tier_matrix(entry.plane.to_image, tier)
    fill(affine, flat_path, lambda p: (p / 4 - 0.5) @ back[:, :2].T + back[:, 2] + 0.5)
    wrong = (affine > 0) & expected
    assert wrong.sum() / ((affine > 0) | expected).sum() < 0.97


def fill(picture, path, where):
    """Fill a path of a report: absolute starts, then relative whole numbers."""
    rings = []
    for part in path.split("M")[1:]:
        start, _, steps = part.partition("l")
        numbers = steps.rstrip("z").replace("-", " -").split()
        moves = np.array(numbers, dtype=float).reshape(-1, 2)
        first = np.array(start.replace("-", " -").split(), dtype=float)
        points = np.concatenate(([first], first + np.cumsum(moves, axis=0)))
        # OpenCV fills what pixel centres lie in; paths count corners
        rings.append(np.rint((where(points) - 0.5) * 16).astype(np.int32))
    cv2.fillPoly(picture, rings, 255, shift=4)
