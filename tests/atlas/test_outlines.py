import time
from typing import Literal

import cv2
import numpy as np
import pytest
import shapely

from atldld.api import open_dataset
from atldld.atlas import StructureGraph, section_annotation
from atldld.atlas.outlines import Selection, outlines, section_outlines
from atldld.atlas.sample import hemispheres_on_reference, on_reference
from atldld.errors import InvalidInputError, NotFoundError
from atldld.place.planes import OutputPlane
from atldld.place.spaces import Grid, Plane
from atldld.place.tiers import tier_to_image

SAME = tier_to_image(0)
TRACED = Selection(smooth=False)

GRAPH = StructureGraph.from_answer(
    [
        {"id": 1, "acronym": "root", "name": "root", "color_hex_triplet": "FFFFFF"},
        {
            "id": 2,
            "acronym": "a",
            "name": "A",
            "color_hex_triplet": "019399",
            "parent_structure_id": 1,
        },
        {
            "id": 3,
            "acronym": "b",
            "name": "B",
            "color_hex_triplet": "FF0000",
            "parent_structure_id": 2,
        },
        {
            "id": 4,
            "acronym": "c",
            "name": "C",
            "color_hex_triplet": "00FF00",
            "parent_structure_id": 2,
        },
    ]
)


def picture(*rows):
    return np.array([[int(cell) for cell in row] for row in rows], dtype=np.uint32)


def rings(outline):
    return sum(len(polygon) for polygon in outline.polygons)


def filled(outline, shape):
    """What is within the outline, with an independent program (OpenCV)."""
    out = np.zeros(shape, dtype=np.uint8)
    points = [
        np.rint(ring * 16).astype(np.int32) for polygon in outline.polygons for ring in polygon
    ]
    cv2.fillPoly(out, points, 1, shift=4)
    return out


def test_a_square():
    (one,) = outlines(picture("0000", "0330", "0330", "0000"), SAME, GRAPH, TRACED)
    assert (one.id, one.acronym, one.name, one.color, one.hemisphere) == (
        3,
        "b",
        "B",
        "FF0000",
        "both",
    )
    assert one.rgb == (255, 0, 0)
    ((ring,),) = one.polygons
    np.testing.assert_array_equal(ring[0], ring[-1])
    # half-way between pixel centres, an eighth of a pixel less at each corner
    assert ring.min() == 0.5
    assert ring.max() == 2.5
    assert one.area == pytest.approx(4 - 0.5)


def test_what_touches_the_edge_of_the_picture_is_closed():
    (one,) = outlines(picture("33", "33"), SAME, GRAPH, TRACED)
    assert one.polygons[0][0].min() == -0.5
    assert one.area == pytest.approx(3.5)


def test_holes_and_islands():
    labels = picture("33333", "30003", "30403", "30003", "33333")
    b, c = outlines(labels, SAME, GRAPH, TRACED)
    assert [len(polygon) for polygon in b.polygons] == [2]
    assert b.area == pytest.approx(16)
    assert [len(polygon) for polygon in c.polygons] == [1]
    two = picture("3030", "0000", "3000")
    (b,) = outlines(two, SAME, GRAPH)
    assert len(b.polygons) == 3
    (big,) = outlines(picture("33300", "33303", "33300"), SAME, GRAPH, Selection(smallest=2))
    assert len(big.polygons) == 1


def test_neighbours_share_their_border():
    left, right = outlines(picture("3344", "3344", "3344"), SAME, GRAPH, TRACED)
    shared = {tuple(p) for p in left.polygons[0][0]} & {tuple(p) for p in right.polygons[0][0]}
    # also where the outside is the third that meets them
    assert shared == {(1.5, y) for y in (-0.5, 0.0, 1.0, 2.0, 2.5)}


def test_ids_that_the_graph_lacks_are_kept_and_named():
    known, unknown = outlines(picture("39", "39"), SAME, GRAPH)
    assert known.known
    assert (unknown.id, unknown.acronym, unknown.known) == (9, "9", False)
    assert "not in the graph" in unknown.name


def test_the_hierarchy():
    labels = picture("003344", "003344", "999999")
    assert [one.id for one in outlines(labels, SAME, GRAPH, Selection(depth=1))] == [2, 9]
    (a,) = outlines(labels, SAME, GRAPH, Selection(structures=["a"], smooth=False))
    assert a.area == pytest.approx(7.5)
    # one within the other: both whole
    a, b = outlines(labels, SAME, GRAPH, Selection(structures=["b", 2], smooth=False))
    assert (a.id, b.id) == (2, 3)
    assert a.area == pytest.approx(7.5)
    assert b.area == pytest.approx(3.5)
    assert outlines(labels, SAME, GRAPH, Selection(structures=[])) == ()
    with pytest.raises(NotFoundError, match="no structure 'nix'"):
        outlines(labels, SAME, GRAPH, Selection(structures=["nix"]))


def test_the_hemispheres():
    labels = picture("0333", "0334")
    sides = picture("1122", "1122").astype(np.uint8)
    kept = {"sides": sides}
    assert [(o.id, o.hemisphere) for o in outlines(labels, SAME, GRAPH, **kept)] == [
        (3, "both"),
        (4, "right"),
    ]
    each = outlines(labels, SAME, GRAPH, Selection(hemisphere="each", smooth=False), **kept)
    assert [(o.id, o.hemisphere) for o in each] == [(3, "left"), (3, "right"), (4, "right")]
    # together they are one piece, whose corners are cut
    assert sum(o.area for o in each) == 6 - 0.5
    (left,) = outlines(labels, SAME, GRAPH, Selection(hemisphere="left", smooth=False), **kept)
    assert left.polygons[0][0][:, 0].max() == 1.5
    with pytest.raises(InvalidInputError, match="sides"):
        outlines(labels, SAME, GRAPH, Selection(hemisphere="left"))


@pytest.mark.parametrize(
    ("more", "sides", "said"),
    [
        ({}, np.zeros((1, 2), np.uint8), "1 .left. or 2"),
        ({"structures": [3], "depth": 1}, None, "not both"),
        ({"hemisphere": "up"}, None, "up"),
        ({"tolerance": -1}, None, "tolerance"),
        ({"tolerance": float("nan")}, None, "tolerance"),
        ({}, np.ones((1, 1), np.uint8), "shape"),
    ],
)
def test_bad_arguments(more, sides, said):
    with pytest.raises(InvalidInputError, match=said):
        outlines(picture("33"), SAME, GRAPH, Selection(**more), sides=sides)
    with pytest.raises(InvalidInputError, match="whole numbers"):
        outlines(np.zeros((3, 3)), SAME, GRAPH)


def test_nothing_has_no_outline():
    assert outlines(np.zeros((4, 4), np.uint32), SAME, GRAPH) == ()


# ---- the genuine annotation in the genuine section's own plane


@pytest.fixture(scope="module")
def plane(prox1):
    return OutputPlane.oblique(prox1[1], Grid(Plane.SAGITTAL, 25))


@pytest.fixture(scope="module")
def labels(real_atlas, plane):
    return on_reference(real_atlas.annotation, plane)


def test_areas_are_the_pixel_counts(labels, graph):
    found = outlines(labels, SAME, graph, TRACED)
    assert len(found) == len(np.unique(labels)) - 1 == 171
    for one in found:
        count = np.count_nonzero(labels == one.id)
        # the corners that are cut, of single pixels four eighths
        assert abs(one.area / count - 1) <= (0.01 if count > 100 else 0.5)
    # nothing is lost between structures; only the corners of the tissue are cut
    whole = np.count_nonzero(labels)
    assert 0 <= whole - sum(one.area for one in found) < 2e-4 * whole


def test_outlines_enclose_the_very_pixels(labels, graph):
    for one in outlines(labels, SAME, graph, Selection(structures=["DG", "TH", "Isocortex", "CB"])):
        inside = np.isin(labels, graph.descendants(one.id))
        wrong = filled(one, labels.shape).astype(bool) != inside
        # OpenCV fills the pixels on the line too
        rim = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3))).astype(bool)
        assert not (wrong & ~rim).any()
        assert not (~filled(one, labels.shape).astype(bool) & inside).any()


def test_simplified_outlines_stay_within_the_tolerance(labels, graph):
    whole, simple = (outlines(labels, SAME, graph, Selection(tolerance=t)) for t in (0, 0.5))
    points = [sum(len(r) for o in all_ for p in o.polygons for r in p) for all_ in (whole, simple)]
    assert points[1] < 0.4 * points[0]
    assert len(whole) == len(simple)
    for before, after in zip(whole, simple, strict=True):
        assert before.id == after.id
        for old, new in zip(before.polygons, after.polygons, strict=True):
            line = new[0].astype(np.float32).reshape(-1, 1, 2)
            off = [abs(cv2.pointPolygonTest(line, tuple(map(float, p)), True)) for p in old[0]]
            assert max(off) <= 0.5 * 4 / 3


def test_the_frames_agree(real_atlas, prox1, plane, labels, graph):
    """µm → image by the placement is what the outlines in image pixels are."""
    sides = hemispheres_on_reference(plane)
    on_picture = outlines(
        labels, plane.pixel_to_image, graph, Selection(structures=["DG"]), sides=sides
    )[0]
    pixels = outlines(labels, SAME, graph, Selection(structures=["DG"]), sides=sides)[0]
    assert on_picture.hemisphere == pixels.hemisphere == "left"
    for (a, *_), (b, *_) in zip(on_picture.polygons, pixels.polygons, strict=True):
        pir = prox1[1].to_reference(a)
        np.testing.assert_allclose(pir[:, [0, 1]], (b + 0.5) * 25, atol=1e-6)
    # the service puts the granule layer at (6384, 2744)
    box = np.vstack([polygon[0] for polygon in on_picture.polygons])
    assert box.min(axis=0)[0] < 6384 < box.max(axis=0)[0]
    assert box.min(axis=0)[1] < 2744 < box.max(axis=0)[1]


# ---- polygons that fit together, at every tolerance


def shapes_of(found):
    return np.array(
        [shapely.MultiPolygon([(ring, holes) for ring, *holes in o.polygons]) for o in found]
    )


def misfit(shapes):
    """How much polygons overlap, and what holes there are in all of them together."""
    union = shapely.union_all(shapes)
    holes = [hole for part in shapely.get_parts(union) for hole in part.interiors]
    return shapely.area(shapes).sum() - union.area, [shapely.Polygon(hole) for hole in holes]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("tolerance", [0, 0.5, 1, 2, 5, 10])
@pytest.mark.parametrize("hemisphere", ["both", "each"])
def test_outlines_are_valid_and_fit_together(labels, graph, plane, tolerance, hemisphere):
    """The kind: polygons that were simplified one by one crossed themselves and their neighbours.

    In pixels and in the frame of the image, whose numbers are rounded otherwise.
    """
    y, x = np.nonzero(labels == 0)
    outside = np.stack((x, y), axis=-1)
    for target in (SAME, plane.pixel_to_image):
        sides = hemispheres_on_reference(plane)
        selection = Selection(hemisphere=hemisphere, tolerance=tolerance)
        shapes = shapes_of(outlines(labels, target, graph, selection, sides=sides))
        assert shapely.is_valid(shapes).all()
        # neighbours have all points of their border in common
        assert shapely.coverage_is_valid(shapes)
        overlap, holes = misfit(shapes)
        assert abs(overlap) < 1e-9 * shapely.area(shapes).sum()
        # what is in no structure is no gap between some, but was outside from the beginning
        sharp = misfit(shapes_of(outlines(labels, target, graph)))[1]
        assert len(holes) == len(sharp)
        assert all(shapely.contains_xy(hole, target.apply(outside)).any() for hole in sharp)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("tolerance", [0, 0.5, 1, 2, 5, 10])
@pytest.mark.parametrize("seed", range(12))
def test_any_picture_gives_outlines_that_fit_together(seed, tolerance):
    """Noise and blots: islands, holes in holes, single pixels, corners where four meet."""
    rng = np.random.default_rng(seed)
    size = rng.integers(4, 50, 2)
    if seed % 2:
        labels = rng.integers(0, rng.integers(2, 9), size)
    else:
        blots = [cv2.GaussianBlur(rng.normal(size=size), (0, 0), 1.5) for _ in range(6)]
        labels = np.argmax(blots, axis=0)
    sharp, found = (outlines(labels, SAME, GRAPH, Selection(tolerance=t)) for t in (0, tolerance))
    shapes = shapes_of(found)
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert abs(misfit(shapes)[0]) < 1e-9
    assert [len(o.polygons) for o in found] == [len(o.polygons) for o in sharp]
    # no line is farther off than what was allowed
    moved = shapely.hausdorff_distance(shapely.boundary(shapes_of(sharp)), shapely.boundary(shapes))
    assert moved.max() <= tolerance + 1e-9
    for one in sharp:
        inside = filled(one, labels.shape).astype(bool)
        assert inside[labels == one.id].all()


def test_levels_fit_together_each_by_itself(labels, graph):
    """Of structures of which one lies in another, each level fits together by itself."""
    chosen = ["Isocortex", "MO", "SS", "TH", "HPF", "DG", "CA"]
    found = outlines(labels, SAME, graph, Selection(structures=chosen, tolerance=2))
    inner = {graph.find(name).id for name in ("MO", "SS", "DG", "CA")}
    for level in (
        [one for one in found if one.id in inner],
        [one for one in found if one.id not in inner],
    ):
        shapes = shapes_of(level)
        assert len(shapes)
        assert shapely.is_valid(shapes).all()
        assert shapely.coverage_is_valid(shapes)


def test_a_single_name_is_not_read_letter_by_letter(labels, graph):
    """The kind: a text where a list of texts is meant."""
    for name in ("TH", 549):
        (one,) = outlines(labels, SAME, graph, Selection(structures=name))
        assert one.acronym == "TH"
    with pytest.raises(NotFoundError, match="'XYZ'"):
        outlines(labels, SAME, graph, Selection(structures="XYZ"))


@pytest.mark.parametrize("id", [-3, 2**32 + 3, 2**40])
def test_ids_are_what_the_labels_say(id):
    """Negative ones, and ones beyond 32 bits, are no other structures."""
    labels = np.array([[id, id, 3]])
    found = {one.id: one for one in outlines(labels, SAME, GRAPH)}
    assert set(found) == {id, 3}
    assert not found[id].known
    assert found[id].area == pytest.approx(2 - 0.25)


def test_they_take_no_time(labels, plane, graph, real_atlas):
    outlines(labels, plane.pixel_to_image, graph)
    best = float("inf")
    for _ in range(5):
        begun = time.thread_time()
        outlines(on_reference(real_atlas.annotation, plane), plane.pixel_to_image, graph)
        best = min(best, time.thread_time() - begun)
    print(f"outlines of one section at 25 µm: {1000 * best:.0f} ms")
    assert best < 5  # of a processor's time, on however slow a one


# ---- sections of the demo


@pytest.fixture(scope="module")
def section(demo_session):
    return open_dataset(69289763, session=demo_session).section(69177654)


def test_the_two_grids_lead_to_the_same_places(section, demo_atlas):
    """Sampled on the reference grid or over the picture, in either frame: the same place."""
    areas = {}
    first = None
    frames: tuple[Literal["image", "reference"], ...] = ("image", "reference")
    for frame in frames:
        for downsample in (None, 4):
            (found,) = section_outlines(
                section,
                demo_atlas,
                50,
                Selection(structures=["HPF"]),
                downsample=downsample,
                frame=frame,
            )
            assert found.frame == frame
            points = np.vstack([polygon[0] for polygon in found.polygons])
            areas[frame, downsample] = found.area
            centre = (points.min(axis=0) + points.max(axis=0)) / 2
            if frame == "image":
                centre = section.to_reference(centre)[[0, 1]]
            first = centre if first is None else first
            np.testing.assert_allclose(centre, first, atol=80)
    assert areas["image", None] == pytest.approx(areas["image", 4], rel=0.01)
    assert areas["reference", None] == pytest.approx(areas["reference", 4], rel=0.01)
    with pytest.raises(InvalidInputError, match="frame"):
        section_outlines(section, demo_atlas, frame="slide")  # type: ignore[arg-type]


def test_every_label_of_the_section_is_outlined(section, demo_atlas):
    labels = section_annotation(section, demo_atlas, 100)
    found = section_outlines(section, demo_atlas, 100)
    assert {one.id for one in found} == set(np.unique(labels).tolist()) - {0}
    assert all(one.hemisphere == "left" for one in found)
