import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atldld.errors import ClampedSectionWarning, InvalidInputError
from atldld.place import Placement, reference_to_image
from atldld.place.spaces import Plane
from atldld.records import Alignment2d, Alignment3d, SectionDataSet, SectionImage

IDENTITY_2D = (1.0, 0, 0, 1, 0, 0)
IDENTITY_3D = (1.0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)


def flat(matrix):
    array = np.asarray(matrix)
    return tuple(float(v) for v in (*array[:, :-1].ravel(), *array[:, -1]))


@pytest.fixture(scope="module")
def recorded(shared):
    return json.loads((shared / "sync" / "recorded_points.json").read_text())


def test_recorded_points_forward(recorded):
    worst = 0.0
    for record in recorded["image_to_reference"]:
        placement = Placement.from_alignments(
            Alignment2d(flat(record["tsv"]), IDENTITY_2D),
            Alignment3d(flat(record["tvr"]), IDENTITY_3D),
            record["section_number"],
            record["section_thickness_um"],
        )
        found = placement.to_reference([record["x"], record["y"]])
        worst = max(worst, np.abs(found - [record["p"], record["i"], record["r"]]).max())
    assert len(recorded["image_to_reference"]) == 20
    assert worst <= 1e-9


def test_recorded_points_backward(recorded):
    worst = 0.0
    for record in recorded["reference_to_image"]:
        placement = Placement.from_alignments(
            Alignment2d(IDENTITY_2D, flat(record["tvs"])),
            Alignment3d(IDENTITY_3D, flat(record["trv"])),
            record["section_number"],
            25.0,
        )
        found = placement.to_image([record["p"], record["i"], record["r"]])
        worst = max(worst, np.abs(found - [record["x"], record["y"]]).max())
    assert len(recorded["reference_to_image"]) == 10
    assert worst <= 1e-9


def test_round_trips_of_all_genuine_sections(genuine):
    """Six-digit matrices are no exact inverses of each other.

    At the middle and the corners of all 190 sections, the 2-D step comes back within 0.065 px (the
    worst is 0.0641, at the far corner of 69177668), the 3-D step within 0.12 µm, and the placement
    as a whole within 0.12 µm and 0.11 px.
    """
    sections, worst = 0, dict.fromkeys(("2-D px", "3-D µm", "px", "µm"), 0.0)

    def note(name, one, other):
        worst[name] = max(worst[name], float(np.abs(one - other).max()))

    for dataset in genuine.values():
        alignment3d, thickness = dataset.check_alignment()
        for image in dataset.images:
            alignment = image.check_alignment()
            placement = Placement.of(dataset, image)
            w, h = image.width, image.height
            xy = np.array([(x, y) for x in (0, w / 2, w) for y in (0, h / 2, h)])
            ones = np.ones((len(xy), 1))
            volume = np.hstack((xy, ones)) @ alignment.to_volume.T
            note("2-D px", np.hstack((volume, ones)) @ alignment.to_image.T, xy)
            volume = np.hstack((volume, ones * image.section_number * thickness))
            reference = np.hstack((volume, ones)) @ alignment3d.to_reference.T
            note("3-D µm", np.hstack((reference, ones)) @ alignment3d.to_volume.T, volume)
            pir = placement.to_reference(xy)
            note("px", placement.to_image(pir), xy)
            note("µm", placement.to_reference(placement.to_image(pir)), pir)
            np.testing.assert_allclose(pir, reference, atol=1e-9)
            np.testing.assert_allclose(
                placement.section_numbers(pir), image.section_number, atol=0.01
            )
            sections += 1
    assert sections == 190
    assert worst["2-D px"] <= 0.065, worst
    assert worst["3-D µm"] <= 0.12, worst
    assert worst["px"] <= 0.11, worst
    assert worst["µm"] <= 0.12, worst


def test_the_dentate_gyrus_of_prox1(genuine):
    """The documented test point of section image 69177654."""
    dataset = genuine[69289763]
    placement = Placement.of(dataset, dataset.image(69177654))
    np.testing.assert_allclose(placement.to_reference([6384, 2744]), (8052, 2890, 3346), atol=0.7)


def test_shapes_and_dtypes(demo_records):
    dataset = demo_records[71717084]
    placement = Placement.of(dataset, dataset.images[0])
    for shape in ((2,), (0, 2), (5, 2), (3, 4, 2)):
        out = placement.to_reference(np.zeros(shape, dtype=np.float32))
        assert out.shape == (*shape[:-1], 3)
        assert out.dtype == np.float64
    assert placement.to_image(np.zeros((7, 3))).shape == (7, 2)
    assert placement.section_numbers(np.zeros((7, 3))).shape == (7,)
    for bad in (np.zeros((2, 3)), np.zeros(()), [[np.nan, 0]]):
        with pytest.raises(InvalidInputError, match="pixels of the section's box"):
            placement.to_reference(bad)
    with pytest.raises(InvalidInputError, match="µm"):
        placement.to_image([[1, 2]])


numbers = st.floats(-1e4, 1e4)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=5), numbers, numbers)
def test_the_map_is_affine(points, dx, dy):
    placement = Placement(
        np.array([[1.1, 0.1, 50], [-0.1, 0.9, 20], [0.02, -0.03, 3000]]), np.zeros((3, 4))
    )
    xy = np.array(points)
    moved = placement.to_reference(xy + np.array([dx, dy])) - placement.to_reference(xy)
    np.testing.assert_allclose(moved, moved[:1].repeat(len(xy), axis=0), atol=1e-6)


def tilted(degrees):
    """A coronal section at p = 5000, turned about the r axis, with pixels of 1 µm."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return Placement(np.array([[0, s, 5000], [0, c, 0], [1, 0, 0]]), np.zeros((3, 4)))


@pytest.mark.parametrize("degrees", [0, 1e-7, 2.8, 10, 45, -10])
def test_geometry_of_a_tilted_section(degrees):
    geometry = tilted(degrees).geometry(1000, 800, Plane.CORONAL)
    assert geometry.tilt == pytest.approx(abs(degrees), abs=1e-9)
    assert geometry.depth_swept == pytest.approx(800 * abs(np.sin(np.radians(degrees))))
    assert np.linalg.norm(geometry.normal) == pytest.approx(1)
    assert geometry.normal[0] > 0
    np.testing.assert_allclose(geometry.corners.mean(axis=0), geometry.centre)
    np.testing.assert_allclose(geometry.corners[1] - geometry.corners[0], [0, 0, 1000], atol=1e-9)
    np.testing.assert_allclose(
        (geometry.corners[1:] - geometry.corners[0]) @ geometry.normal, 0, atol=1e-6
    )


def test_reference_to_image_takes_the_nearest_section_and_says_how_far(genuine):
    dataset = genuine[69289763]  # sections 6 … 158
    for image in dataset.images:
        pir = Placement.of(dataset, image).to_reference([[1000.0, 900.0]])
        found = reference_to_image(dataset, pir)
        assert found.image_ids[0] == image.id
        np.testing.assert_allclose(found.xy, [[1000, 900]], atol=0.2)
        np.testing.assert_allclose(found.distance, 0, atol=0.2)
    with pytest.warns(ClampedSectionWarning, match=r"2 of 2 points .* half the local spacing"):
        far = reference_to_image(dataset, [[6000, 4000, 0], [6000, 4000, 11000]])
    assert far.section_numbers.tolist() == [6, 158]
    assert far.distance[0] < -1000
    assert far.distance[1] > 5000
    same = reference_to_image(dataset, [[6000, 4000, 3000]], space=10)
    mirrored = reference_to_image(dataset, [[6000, 4000, 8400]], space=9)
    np.testing.assert_array_equal(same.xy, mirrored.xy)


def test_reference_to_image_agrees_with_the_recorded_choice(recorded):
    """Fractional sections that the service rounded to the nearest that exists."""
    for at, chosen in ((342.7, 154), (-55.3, 2), (506.0, 474), (222.1, 225), (68.5, 70)):
        images = tuple(
            SectionImage(
                id=number,
                section_number=number,
                width=1,
                height=1,
                alignment2d=Alignment2d(IDENTITY_2D, IDENTITY_2D),
            )
            for number in sorted({chosen, chosen - 200 if at < chosen else chosen - 8})
        )
        dataset = SectionDataSet(
            id=1,
            section_thickness=25.0,
            alignment3d=Alignment3d(IDENTITY_3D, IDENTITY_3D),
            images=images,
        )
        found = reference_to_image(dataset, [[0, 0, at * 25]], beyond="ignore")
        assert found.section_numbers.tolist() == [chosen]


def laid(forward):
    """A placement of some way there, of which the way back is of no interest."""
    return Placement(np.array(forward, dtype=float), np.eye(3, 4))


def test_sections_across_a_plane_have_no_picture_in_it():
    flat = laid([[0, 0, 50], [0, 2, 0], [3, 0, 0]])  # coronal: i and r grow with the pixels
    assert [flat.crosses(plane) for plane in Plane] == [plane is Plane.CORONAL for plane in Plane]
    collapsed = laid([[0, 0, 50], [0, 2, 0], [0, 3, 0]])
    assert not any(collapsed.crosses(plane) for plane in Plane)
    for scale in (1e-9, 1, 1e9):  # the size of a pixel does not matter
        for tilt, expected in ((1e-5, True), (1e-7, False)):
            # nor where it lies
            nearly = laid(scale * np.array([[1, 0, 1e6], [0, 1, 0], [tilt, 0, -1e6]]))
            assert nearly.crosses(Plane.CORONAL) is expected


def test_the_normal_points_towards_growing_depth():
    cos, sin = np.cos(0.1), np.sin(0.1)
    # rows lean towards posterior; the order of the axes makes the cross product point backwards
    for forward in ([[0, 5 * sin, 7], [0, 5 * cos, 0], [5, 0, 0]],
                    [[5 * sin, 0, 7], [5 * cos, 0, 0], [0, 5, 0]]):  # fmt: skip
        found = laid(forward).geometry(10, 10, Plane.CORONAL)
        np.testing.assert_allclose(found.normal, (cos, -sin, 0), atol=1e-12)
        assert found.tilt == pytest.approx(np.degrees(0.1))
        assert found.depth_range == pytest.approx((7, 7 + 50 * sin))
    # at right angles to the plane it points either way
    found = laid([[5, 0, 0], [0, 5, 0], [0, 0, 0]]).geometry(10, 10, Plane.CORONAL)
    assert found.tilt == pytest.approx(90)


def test_records_as_the_service_sends_them(demo_records):
    from atldld.demo.archive import DemoArchive

    (row,) = (row for row in DemoArchive().tables()["SectionDataSet"] if row["id"] == 909)
    dataset = demo_records[909]
    for image in row["section_images"][:2]:
        found = Placement.from_records(row, image)
        expected = Placement.of(dataset, dataset.image(image["id"]))
        np.testing.assert_array_equal(found.forward, expected.forward)
        np.testing.assert_array_equal(found.backward, expected.backward)


def test_section_numbers_are_the_third_row():
    backward = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 2]])
    placed = Placement(np.eye(3)[:, [0, 1, 2]] * 1.0, backward)
    assert placed.section_numbers([10, 20, 30]) == 17
    assert placed.section_numbers([[10, 20, 30], [1, 2, 4]]).tolist() == [17, 4]
    assert placed.to_image([[10, 20, 30]]).tolist() == [[10, 20]]
