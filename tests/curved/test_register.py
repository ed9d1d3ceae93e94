"""Pictures and displacement fields of curved sections, against the truth point by point."""

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from atldld.fetch.kept import CachedImage
from atldld.formats.displacements import PhysicalField
from atldld.formats.fields import write_field
from atldld.place.curves import SEEN, CurvedMap
from atldld.place.deformation import Displacements
from atldld.place.markers import MarkerDeformation
from atldld.place.planes import OutputPlane
from atldld.place.spaces import Grid
from atldld.place.tiers import tier_matrix, tier_to_image, tier_way
from atldld.quality.figures import view_of
from atldld.sections.register import Files, Recipe, RegisteredSection, fetch, warp
from atldld.warp.displacement import DisplacementField
from atldld.warp.resample import nearest, resample

CUTS = ("oblique", "parallel")
NOTHING = CachedImage(Path("none"), 1, 1, 0, "", "", "")


def plan(section, cut="oblique", resolution=50):
    return Recipe(resolution, cut=cut).plan(section)


def truth(section, plane):
    """Full-resolution pixel that each output pixel shows, by the placement's own ways."""
    rows, columns = plane.grid.shape
    at = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    pir = plane.pixel_to_reference.apply(at)
    return section.placement.to_image(pir)


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other.astype(float)) ** 2))


def test_the_deformation_is_what_these_tests_say(curved):
    deformation = curved.placement.deformation
    least, most = deformation.jacobian
    assert 0.5 <= least < 0.8
    assert 1.25 < most <= 2
    assert 250 < deformation.bending.greatest < 310
    assert deformation.round_trip < 0.5


def test_the_jacobian_is_that_of_points(curved):
    for grid in (
        curved.placement.deformation.flattening,
        Displacements(
            (5.0, 7.0),
            (3.0, 5.0),
            np.random.default_rng(0).normal(0, 0.3, (4, 7, 2)).astype(np.float32),
        ),
    ):
        rows, columns = grid.vectors.shape[:2]
        across, down = (step / 2 for step in grid.spacing)
        x = grid.origin[0] + across * np.arange(2 * columns - 1)
        y = grid.origin[1] + down * np.arange(2 * rows - 1)
        moved = grid.moved(np.stack(np.meshgrid(x, y), axis=-1))
        by_x = np.diff(moved, axis=1)[:-1] / across
        by_y = np.diff(moved, axis=0)[:, :-1] / down
        area = by_x[..., 0] * by_y[..., 1] - by_x[..., 1] * by_y[..., 0]
        np.testing.assert_allclose(grid.jacobian, (area.min(), area.max()), rtol=1e-9)


@pytest.mark.parametrize("cut", CUTS)
def test_a_plane_shows_the_pixels_that_the_placement_gives(curved, cut):
    plane = plan(curved, cut).plane
    rows, columns = plane.grid.shape
    at = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    # the stored way back has six digits, which the oblique plane does not use
    np.testing.assert_allclose(plane.shown(at), truth(curved, plane), atol=0.2)
    assert plane.pixel_to_image.target == "flat image"


def test_what_an_oblique_pixel_shows_lies_at_the_pixel(curved):
    plane = plan(curved).plane
    at = np.random.default_rng(0).uniform(0, 100, (500, 2))
    flat = plane.pixel_to_image.apply(at)
    shown = plane.shown(at)
    # each way is a spline of its own, which agree within some tenths of a pixel
    np.testing.assert_allclose(curved.placement.deformation.to_flat(shown), flat, atol=0.5)
    np.testing.assert_allclose(
        curved.to_reference(shown), plane.pixel_to_reference.apply(at), atol=0.7
    )


@pytest.mark.parametrize("cut", CUTS)
def test_a_field_is_the_placement_at_every_pixel(curved, cut):
    job = plan(curved, cut)
    registered = RegisteredSection(
        job.section, job.plane, 4, np.zeros((1, 1, 3), np.uint8), None, (0, 0, 0), Files(NOTHING)
    )
    x, y = registered.displacement_field().transformation
    expected = tier_to_image(4).inverse().apply(job.plane.shown(grid_of(job.plane)))
    np.testing.assert_allclose(np.stack((x, y), axis=-1), expected, atol=1e-3)
    flat = DisplacementField.from_matrix(tier_matrix(job.plane.to_image, 4), job.plane.grid.shape)
    assert np.abs(x - flat.transformation[0]).max() > 5


def grid_of(plane):
    rows, columns = plane.grid.shape
    return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)


def test_a_field_of_a_coarse_and_of_a_fine_grid_is_evaluated_in_blocks(curved, monkeypatch):
    job = plan(curved, resolution=200)
    way = tier_way(job.plane, 3)
    whole = DisplacementField.of(way, job.plane.grid.shape)
    monkeypatch.setattr("atldld.warp.displacement._AT_ONCE", 100)
    assert DisplacementField.of(way, job.plane.grid.shape) == whole


@pytest.mark.parametrize("cut", CUTS)
def test_fields_in_files_are_curved(curved, cut, tmp_path):
    plane = plan(curved, cut, 100).plane
    write_field(curved, plane, tmp_path / "field.npy", downsample=3)
    x, y = DisplacementField.from_file(tmp_path / "field.npy").transformation
    expected = tier_to_image(3).inverse().apply(plane.shown(grid_of(plane)))
    np.testing.assert_allclose(np.stack((x, y), axis=-1), expected, atol=1e-3)

    physical = PhysicalField.of(curved, plane)
    rows, columns = plane.grid.shape
    step = physical.spacing
    at = np.stack(
        np.meshgrid((np.arange(columns) + 0.5) * step, (np.arange(rows) + 0.5) * step), axis=-1
    )
    pixels = (physical.vectors + at) / physical.pixel
    np.testing.assert_allclose(pixels, plane.shown(grid_of(plane)), atol=1e-9)


def test_the_field_is_the_warp_that_was_done(opened):
    section = opened(69289763).sections[2]
    registered = section.register(20, downsample=5)
    raw = section.pixels(5)
    again = registered.displacement_field().warp(raw, "cubic", c=tuple(registered.background))
    # sampled at the same places, but for what a lookup may be off
    differ = np.abs(again.astype(int) - registered.image).max(axis=-1)
    assert np.percentile(differ, 99) <= 6
    assert psnr(again, registered.image) > 45


@pytest.mark.parametrize("resolution", [25, 60, 200])
def test_a_picture_is_resampled_where_the_placement_says(curved, resolution):
    """A picture of known, slowly varying greys: what is seen must be the grey at the true place."""
    job = plan(curved, resolution=resolution)
    downsample = job.downsample
    columns, rows = curved.image.size(downsample)
    x = np.linspace(0, 255, columns)
    y = np.linspace(0, 255, rows)[:, None]
    picture = np.dstack((np.broadcast_to(x, (rows, columns)), np.broadcast_to(y, (rows, columns))))
    rgb = np.dstack((picture, np.zeros((rows, columns)))).round().astype(np.uint8)
    shown = resample(rgb, tier_way(job.plane, downsample), job.plane.grid.shape, (0, 0, 0))
    at = tier_to_image(downsample).inverse().apply(job.plane.shown(grid_of(job.plane)))
    inside = ((at > 4) & (at < (columns - 5, rows - 5))).all(axis=-1)
    assert inside.sum() > 500
    found = shown[inside][:, :2] * (np.array([columns - 1, rows - 1]) / 255)
    # a grey level is `columns / 255` pixels; cubic interpolation and rounding take one of it
    level = max(columns, rows) / 255
    np.testing.assert_allclose(found, at[inside], atol=0.6 * level + 1)


@pytest.mark.parametrize("resolution", [20, 50, 150])
def test_a_bent_picture_is_shown_straight_again(flat, curved, demo_session, resolution):
    """What the deformation's inverse has bent, the registration straightens."""
    tier = plan(flat, resolution=resolution).downsample
    straight = cv2.GaussianBlur(demo_session.pixels(flat.image, tier), (0, 0), 1)
    to_image = tier_to_image(tier).matrix
    back = tier_matrix(np.eye(2, 3), tier)
    deformation = curved.placement.deformation
    # pixel u of the bent picture shows the straight one at to_flat(u)
    bent = resample(
        straight, CurvedMap(to_image, deformation.to_flat, back), straight.shape[:2], (0, 0, 0)
    )
    shape = plan(flat, resolution=resolution).plane.grid.shape
    expected = resample(
        straight, tier_way(plan(flat, resolution=resolution).plane, tier), shape, (0, 0, 0)
    )
    found = resample(
        bent, tier_way(plan(curved, resolution=resolution).plane, tier), shape, (0, 0, 0)
    )
    neglected = resample(
        bent, tier_way(plan(flat, resolution=resolution).plane, tier), shape, (0, 0, 0)
    )
    inside = within(curved, plan(curved, resolution=resolution).plane)
    assert psnr(found[inside], expected[inside]) > 38
    assert psnr(neglected[inside], expected[inside]) < 30


def within(section, plane, margin=700):
    """Output pixels whose image and flat pixels both lie well within the picture."""
    size = np.array([section.image.width, section.image.height])
    flat = plane.pixel_to_image.apply(grid_of(plane))
    shown = plane.shown(grid_of(plane))
    return ((np.minimum(flat, shown) > margin) & (np.maximum(flat, shown) < size - margin)).all(
        axis=-1
    )


def test_averages_are_those_of_the_area_that_a_pixel_covers(curved):
    """A pattern finer than output pixels comes out even, however the section is stretched."""
    job = plan(curved, resolution=100)
    columns, rows = curved.image.size(3)
    stripes = np.zeros((rows, columns), np.uint8)
    stripes[:, ::3] = 255
    shown = resample(stripes, tier_way(job.plane, 3), job.plane.grid.shape, (0,))
    inside = within(curved, job.plane)
    assert abs(shown[inside].mean() - 85) < 1
    assert shown[inside].std() < 6


def test_pickled_curves_are_the_same(curved):
    job = plan(curved)
    again = pickle.loads(pickle.dumps(job))
    at = np.random.default_rng(0).uniform(0, 100, (50, 2))
    np.testing.assert_array_equal(again.plane.shown(at), job.plane.shown(at))
    xy = np.random.default_rng(0).uniform(0, 8000, (50, 2))
    np.testing.assert_array_equal(again.section.to_reference(xy), curved.to_reference(xy))


def test_the_geometry_is_that_of_the_plane(flat, curved):
    np.testing.assert_array_equal(flat.geometry.corners, curved.geometry.corners)
    np.testing.assert_array_equal(flat.geometry.centre, curved.geometry.centre)


def test_what_lies_in_the_image_is_seen_through_the_deformation(opened):
    section = opened(71717084).sections[2]
    job = Recipe(25).plan(section)
    view = view_of(warp(job, fetch(job, section.session), section.session), 50)
    shown = view.plane.shown(grid_of(view.plane))
    size = (section.image.width, section.image.height)
    inside = ((shown >= -0.5) & (shown < np.array(size) - 0.5)).all(axis=-1)
    np.testing.assert_array_equal(view.inside, inside)


# ---- lookups of curved maps


def maps():
    """Maps that are smooth, kinked, oscillating, and bent within a pixel."""
    eye = np.eye(2, 3)
    return {
        "smooth": CurvedMap(eye, lambda xy: xy + 20 * np.sin(xy[..., ::-1] / 60), eye),
        "kinked": CurvedMap(eye, lambda xy: xy + np.maximum(xy[..., ::-1] - 77.3, 0) * 0.4, eye),
        "oscillating": CurvedMap(eye, lambda xy: xy + 3 * np.sin(xy * np.pi / 8), eye),
        "ragged": CurvedMap(eye, lambda xy: xy + 2 * np.sin(xy * 2.1), eye),
    }


@pytest.mark.parametrize("name", maps())
@pytest.mark.parametrize("shape", [(200, 300), (1, 40), (33, 1), (64, 64)])
def test_a_lookup_is_as_exact_as_it_says(name, shape):
    way = maps()[name]
    lookup = way.over(shape)
    everything = slice(0, shape[0])
    exact = way.pixels(everything, slice(0, shape[1]))
    off = np.abs(lookup.block(everything) - exact).max()
    assert off <= (SEEN / 10 if name == "smooth" else SEEN)
    # one block at a time gives the same, beyond the edges too
    parts = [lookup.block(slice(k, min(k + 7, shape[0]))) for k in range(0, shape[0], 7)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), lookup.block(everything), atol=1e-9)
    beyond = lookup.block(slice(-1, shape[0] + 1), slice(-1, shape[1] + 1))
    np.testing.assert_allclose(beyond[:, 1:-1, 1:-1], lookup.block(everything), atol=1e-9)


def test_markers_are_looked_up_as_exactly(flat):
    """Between triangles a map is kinked: there it is evaluated pixel by pixel."""
    width, height = flat.image.width, flat.image.height
    random = np.random.default_rng(4)
    across, down = np.meshgrid(np.linspace(0.1, 0.9, 5) * width, np.linspace(0.1, 0.9, 5) * height)
    here = np.column_stack((across.ravel(), down.ravel()))
    there = here + random.normal(0, 60, here.shape)
    deformation = MarkerDeformation.of(np.column_stack((there, here)), width, height)
    placement = replace(flat.placement, deformation=deformation)
    job = plan(replace(flat, placement=placement), resolution=25)
    way = tier_way(job.plane, job.downsample)
    assert isinstance(way, CurvedMap)
    shape = job.plane.grid.shape
    lookup = way.over(shape)
    exact = way.pixels(slice(0, shape[0]), slice(0, shape[1]))
    assert np.abs(lookup.block(slice(0, shape[0])) - exact).max() <= SEEN
    described = placement.describe_deformation(width, height)
    assert described is not None
    assert described["jacobian"][0] > 0


def test_a_smooth_map_is_evaluated_at_few_pixels():
    lookup = maps()["smooth"].over((400, 400))
    assert lookup.step >= 4


def test_nearest_pixels_are_those_in_which_centres_lie(curved):
    job = plan(curved, resolution=100)
    columns, rows = curved.image.size(6)
    random = np.random.default_rng(3).integers(1, 255, (rows, columns), dtype=np.uint8)
    way = tier_way(job.plane, 6)
    assert isinstance(way, CurvedMap)
    shown = nearest(random, way, job.plane.grid.shape)
    x, y = way.pixels(slice(0, job.plane.grid.shape[0]), slice(0, job.plane.grid.shape[1]))
    # but for centres that lie on an edge, within what a lookup may be off
    clear = (np.abs(np.abs(x % 1 - 0.5)) > 0.1) & (np.abs(np.abs(y % 1 - 0.5)) > 0.1)
    i, j = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
    inside = (i >= 0) & (i < columns) & (j >= 0) & (j < rows)
    expected = np.where(inside, random[np.clip(j, 0, rows - 1), np.clip(i, 0, columns - 1)], 0)
    np.testing.assert_array_equal(shown[clear], expected[clear])


def test_a_flat_section_is_not_touched(flat):
    """Without a deformation there is no lookup, and the plane's map is a matrix."""
    job = plan(flat)
    assert isinstance(tier_way(job.plane, 3), np.ndarray)
    assert job.plane.pixel_to_image.target == "image"
    grid = Grid(flat.plane, 50)
    assert OutputPlane.oblique(flat.placement, grid).deformation is None
