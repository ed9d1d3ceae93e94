"""Outlines are smooth, and yet each pixel's centre, each neighbour and each area stay in place."""

import cv2
import numpy as np
import pytest
import shapely

from atldld.api import open_dataset
from atldld.atlas import StructureGraph, open_atlas
from atldld.atlas.outlines import Selection, outlines, section_outlines
from atldld.atlas.sample import on_reference, section_annotation
from atldld.atlas.smoothing import MOST
from atldld.place.planes import OutputPlane
from atldld.place.spaces import Grid, Plane
from atldld.place.tiers import tier_to_image

SAME = tier_to_image(0)
TRACED = Selection(smooth=False)
GRAPH = StructureGraph.from_answer(
    [{"id": 1, "acronym": "a", "name": "A", "color_hex_triplet": "019399"}]
)
Y, X = np.mgrid[0:80, 0:90].astype(float)


def shapes_of(found):
    return np.array(
        [shapely.MultiPolygon([(ring, holes) for ring, *holes in o.polygons]) for o in found]
    )


def turning(outline, step=1.0):
    """By how much all rings turn, in degrees without signs, seen at points a step apart."""
    total = 0.0
    for polygon in outline.polygons:
        for ring in polygon:
            line = shapely.LinearRing(ring)
            if line.length < 8 * step:
                continue
            places = np.linspace(0, line.length, round(line.length / step), endpoint=False)
            points = shapely.get_coordinates(shapely.line_interpolate_point(line, places))
            ways = np.angle((np.roll(points, -1, axis=0) - points) @ (1, 1j))
            turns = np.roll(ways, -1) - ways
            total += np.abs((turns + np.pi) % (2 * np.pi) - np.pi).sum()
    return np.degrees(total)


def fit(shapes):
    """How much shapes overlap, and how much room is between them and in no shape."""
    union = shapely.union_all(shapes)
    overlap = shapely.area(shapes).sum() - union.area
    holes = [shapely.Polygon(hole) for part in shapely.get_parts(union) for hole in part.interiors]
    return overlap, holes


@pytest.mark.parametrize("voxel", [1, 2, 4])
@pytest.mark.parametrize("slope", [0.05, 0.31, 0.77, 3.2])
def test_a_slanted_line_is_straight(slope, voxel):
    labels = (slope * (X - 45) + 40.2 < Y).astype(np.uint8)
    labels = np.kron(labels, np.ones((voxel, voxel), np.uint8))
    (one,) = outlines(labels, SAME, GRAPH, voxel=voxel)
    x, y = ((one.polygons[0][0] + 0.5) / voxel - 0.5).T
    # away from the edge of the picture, where the line ends and stays
    inside = (x > 12) & (x < 77) & (y > 12) & (y < 67)
    off = np.abs(y - (slope * (x - 45) + 40.2)) / np.hypot(slope, 1)
    (traced,) = outlines(labels, SAME, GRAPH, TRACED)
    u, v = ((traced.polygons[0][0] + 0.5) / voxel - 0.5).T
    before = np.abs(v - (slope * (u - 45) + 40.2)) / np.hypot(slope, 1)
    within = (u > 12) & (u < 77) & (v > 12) & (v < 67)
    assert inside.sum() > 50
    assert off[inside].max() < 0.3
    assert off[inside].std() < 0.6 * before[within].std()


@pytest.mark.parametrize("voxel", [1, 3])
@pytest.mark.parametrize("radius", [4.3, 11.7, 30.4])
def test_a_disc_is_round(radius, voxel):
    labels = (np.hypot(X - 44.3, Y - 39.6) < radius).astype(np.uint8)
    count = np.count_nonzero(labels)
    labels = np.kron(labels, np.ones((voxel, voxel), np.uint8))
    (one,) = outlines(labels, SAME, GRAPH, voxel=voxel)
    ((ring,),) = one.polygons
    distance = np.hypot(*((ring + 0.5) / voxel - 0.5 - (44.3, 39.6)).T)
    assert np.abs(distance - radius).max() < 0.45
    assert one.area / voxel**2 == pytest.approx(count, abs=1e-3)
    # a circle turns once around; steps of pixels turn to and fro
    assert turning(one, voxel) < 480
    (traced,) = outlines(labels, SAME, GRAPH, TRACED)
    assert turning(traced, voxel) > 600 or radius < 5


@pytest.mark.one_in(3)
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("voxel", "tolerance"), [(1, 0), (1, 0.4), (1, 3), (1.6, 0), (3, 0), (3, 3)]
)
def test_any_picture_gives_smooth_outlines_that_fit_together(seed, voxel, tolerance):
    """Noise, blots, corners where four meet, islands in holes: of pixels, and of coarse voxels."""
    rng = np.random.default_rng(seed)
    size = rng.integers(4, 40, 2)
    if seed % 2:
        labels = rng.integers(0, rng.integers(2, 9), size)
    else:
        blots = [cv2.GaussianBlur(rng.normal(size=size), (0, 0), 1.5) for _ in range(6)]
        labels = np.argmax(blots, axis=0)
    if voxel == 3 and seed % 3:
        labels = np.kron(labels, np.ones((3, 3), int))
    traced = outlines(labels, SAME, GRAPH, TRACED)
    found = outlines(labels, SAME, GRAPH, Selection(tolerance=tolerance), voxel=voxel)
    shapes, before = shapes_of(found), shapes_of(traced)
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    overlap, holes = fit(shapes)
    assert abs(overlap) < 1e-9
    assert len(holes) == len(fit(before)[1])  # no gap: what is open was so before
    assert [len(o.polygons) for o in found] == [len(o.polygons) for o in traced]
    moved = shapely.hausdorff_distance(shapely.boundary(before), shapely.boundary(shapes))
    assert moved.max() <= MOST * voxel + tolerance + 1e-9
    if voxel == 1 and tolerance == 0:
        for outline, shape in zip(found, shapes, strict=True):
            rows, columns = np.nonzero(labels == outline.id)
            assert shapely.contains_xy(shape, columns, rows).all()
            assert abs(shape.area - len(rows)) < 0.03 * len(rows) + 1


def test_thin_structures_holes_and_islands_stay():
    labels = np.zeros((30, 30), int)
    labels[4:26, 4:26] = 1
    labels[np.arange(8, 18), np.arange(8, 18)] = 2  # pixels that meet at corners only
    labels[np.arange(8, 17), np.arange(9, 18)] = 2  # and their steps
    labels[6, 8:24] = 3  # one pixel wide
    labels[20, 8] = 4  # one pixel
    labels[12:16, 20:24] = 0  # a hole
    labels[14, 22] = 5  # with an island
    found = {one.id: one for one in outlines(labels, SAME, GRAPH)}
    for label, one in found.items():
        assert one.area == pytest.approx(np.count_nonzero(labels == label), rel=0.01)
    assert {label: len(one.polygons) for label, one in found.items()} == dict.fromkeys(
        range(1, 6), 1
    )
    assert len(found[1].polygons[0]) == 1 + 4  # the exterior; steps, a line, a pixel, a hole


def test_points_where_three_meet_stay():
    labels = np.ones((20, 20), int)
    labels[:, 9:] = 2
    labels[(Y[:20, :20] > 0.4 * X[:20, :20] + 6.3)] = 3
    smooth, traced = (outlines(labels, SAME, GRAPH, s) for s in (Selection(), TRACED))

    def meeting(found):
        corners = [{tuple(p) for p in one.polygons[0][0]} for one in found]
        return set.intersection(*corners)

    assert len(meeting(traced)) == 1
    assert meeting(smooth) == meeting(traced)


def test_what_the_picture_cuts_off_stays_cut_off_straight():
    labels = (np.hypot(X, Y - 40) < 30).astype(np.uint8)
    (one,) = outlines(labels, SAME, GRAPH)
    x = one.polygons[0][0][:, 0]
    assert x.min() == -0.5
    assert np.count_nonzero(x == -0.5) > 50


# ---- whole sections


def check_section(labels, graph, voxel, *, area, small, turns):
    """Check one section's outlines in pixels; returns the worst deviation, in voxels."""
    found = outlines(labels, SAME, graph, voxel=voxel)
    traced = outlines(labels, SAME, graph, TRACED)
    shapes, before = shapes_of(found), shapes_of(traced)
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    overlap, holes = fit(shapes)
    assert abs(overlap) < 1e-9 * shapely.area(shapes).sum()
    assert len(holes) == len(fit(before)[1])
    assert [one.id for one in found] == [one.id for one in traced]
    counts = np.array([np.count_nonzero(labels == one.id) for one in found])
    error = np.abs(shapely.area(shapes) / counts - 1)
    assert error[counts > 100 * voxel**2].max() < area
    assert error.max() < small
    worst = 0.0
    for one, other in ((before, shapes), (shapes, before)):
        for shape, line in zip(one, shapely.boundary(other), strict=True):
            shapely.prepare(line)
            points = shapely.points(shapely.get_coordinates(shape))
            worst = max(worst, shapely.distance(points, line).max())
    before, after = (sum(turning(one, voxel) for one in all_) for all_ in (traced, found))
    assert after < turns * before
    return worst / voxel


@pytest.mark.parametrize(("resolution", "turns"), [(25, 0.6), (100, 0.85)])
def test_the_genuine_annotation(real_atlas, prox1, graph, resolution, turns):
    plane = OutputPlane.oblique(prox1[1], Grid(Plane.SAGITTAL, resolution))
    labels = on_reference(real_atlas.annotation, plane)
    assert check_section(labels, graph, 1.0, area=1e-3, small=0.05, turns=turns) <= 0.5


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("side", "resolution"), [(50, 50), (100, 25)])
def test_the_demo(demo_session, side, resolution):
    atlas = open_atlas(side, session=demo_session)
    section = open_dataset(71717084, session=demo_session).sections[60]
    labels = section_annotation(section, atlas, resolution)
    worst = check_section(labels, atlas.graph, side / resolution, area=0.01, small=0.1, turns=0.8)
    assert worst <= 0.5


def test_pixels_finer_than_voxels_show_no_steps_of_voxels(demo_session):
    """In every door: on the reference grid, over the picture, in either frame."""
    atlas = open_atlas(100, session=demo_session)
    section = open_dataset(69289763, session=demo_session).section(69177654)
    for options in ({"frame": "reference"}, {"frame": "image"}, {"downsample": 5}):
        smooth, traced = (
            sum(turning(o, 100) for o in section_outlines(section, atlas, 25, chosen, **options))
            for chosen in (Selection(depth=2), Selection(depth=2, smooth=False))
        )
        assert smooth < 0.6 * traced


def test_simplified_lines_do_not_touch_what_is_straight(demo_session):
    """The kind: of two smooth lines between the same points one is left out to its ends, and the
    other, straight, lies on it but for what numbers are rounded by."""
    atlas = open_atlas(100, session=demo_session)
    dataset = open_dataset(71717084, session=demo_session)
    section = dataset.sections[len(dataset) // 2]
    for tolerance in (0.5, 2, 5):
        selection = Selection(tolerance=tolerance)
        for downsample in (None, 5):
            found = section_outlines(section, atlas, 50, selection, downsample=downsample)
            shapes = shapes_of(found)
            assert shapely.is_valid(shapes).all()
            assert shapely.coverage_is_valid(shapes)
            # in pixels of the image, of which 48 are one of the grid
            assert shapely.area(shapely.get_parts(shapes)).min() > 1
