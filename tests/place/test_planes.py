import numpy as np
import pytest

from atldld.errors import InvalidInputError
from atldld.place import Placement
from atldld.place.planes import OutputPlane
from atldld.place.spaces import BOX, Grid, Plane
from atldld.place.tiers import choose_downsample, tier_matrix

ALL = [(dataset_id, index) for dataset_id in (69289763, 71717084) for index in (0, 7, 15)]


def section(demo_records, dataset_id, index):
    dataset = demo_records[dataset_id]
    image = dataset.images[index]
    return Placement.of(dataset, image), Plane.from_id(dataset.plane_of_section_id), image


def centre(plane, row, column):
    """Reference coordinates of an output pixel's centre, by the words of the documentation."""
    grid = plane.grid
    point = np.empty(3)
    point[grid.row_axis] = (row + 0.5) * grid.resolution
    point[grid.column_axis] = (column + 0.5) * grid.resolution
    point[grid.depth_axis] = plane.depth_at(row, column)
    return point


@pytest.mark.parametrize(("dataset_id", "index"), ALL)
@pytest.mark.parametrize("layout", ["anatomical", "0.3"])
def test_oblique_pixels_show_their_own_point(demo_records, dataset_id, index, layout):
    placement, plane_of_section, _ = section(demo_records, dataset_id, index)
    plane = OutputPlane.oblique(placement, Grid(plane_of_section, 25, layout))
    for row, column in ((0, 0), (100, 250), (310, 30)):
        xy = plane.to_image @ [column, row, 1]
        np.testing.assert_allclose(
            placement.to_reference(xy), centre(plane, row, column), atol=1e-7
        )
        np.testing.assert_allclose(placement.to_image(centre(plane, row, column)), xy, atol=0.15)


@pytest.mark.parametrize(("dataset_id", "index"), ALL)
def test_parallel_planes_have_one_depth(demo_records, dataset_id, index):
    placement, plane_of_section, image = section(demo_records, dataset_id, index)
    grid = Grid(plane_of_section, 25)
    plane = OutputPlane.parallel(placement, grid, (image.width / 2, image.height / 2))
    middle = placement.to_reference((image.width / 2, image.height / 2))[grid.depth_axis]
    assert plane.depth_at(3, 5) == plane.depth_at(100, 200) == pytest.approx(middle)
    for row, column in ((0, 0), (100, 250)):
        np.testing.assert_allclose(
            plane.to_image @ [column, row, 1],
            placement.to_image(centre(plane, row, column)),
            atol=1e-6,
        )


def test_both_kinds_agree_on_a_straight_section():
    straight = Placement(
        np.array([[0, 0, 5000], [0, 1.1, 30], [1.2, 0, -20]]),
        np.array([[0, 0, 1 / 1.2, 20 / 1.2], [0, 1 / 1.1, 0, -30 / 1.1], [-1 / 25, 0, 0, 528]]),
    )
    grid = Grid(Plane.CORONAL, 25)
    oblique = OutputPlane.oblique(straight, grid)
    parallel = OutputPlane.parallel(straight, grid, (0, 0))
    np.testing.assert_allclose(oblique.to_image, parallel.to_image, atol=1e-9)
    np.testing.assert_allclose(oblique.depth, parallel.depth, atol=1e-9)
    assert oblique.describe_depth() == {
        "axis": "p",
        "i": 0.0,
        "r": 0.0,
        "constant": 5000.0,
        "unit": "um",
    }


def test_the_depth_of_a_tilted_plane_in_words():
    tilted = OutputPlane(
        "oblique", Grid(Plane.CORONAL, 25), np.eye(2, 3), np.array((0.25, -0.5, 5000.0))
    )
    assert tilted.describe_depth() == {
        "axis": "p",
        "i": 0.25,
        "r": -0.5,
        "constant": 5000.0,
        "unit": "um",
    }
    # at pixel centres: half a pixel is 12.5 µm
    assert tilted.depth_at(0, 0) == 5000 + 12.5 * (0.25 - 0.5)
    assert tilted.depth_at([3], [1]).tolist() == [5000 + 87.5 * 0.25 - 37.5 * 0.5]


@pytest.mark.parametrize(
    ("step", "expected"), [(0.5, 0), (1, 0), (1.99, 0), (2, 1), (4, 2), (7.9, 2), (1e6, 3)]
)
def test_the_tier_whose_pixels_fit(step, expected):
    """The shorter of the two directions decides."""
    for matrix in ([[step, 0, 9], [0, 8 * step, -9]], [[0, 8 * step, 0], [step, 0, 0]]):
        assert choose_downsample(np.array(matrix, dtype=float), 3) == expected


def test_dorsal_is_up_and_rostral_is_left(demo_records):
    placement, sagittal, _ = section(demo_records, 69289763, 8)
    plane = OutputPlane.oblique(placement, Grid(sagittal, 25))
    step_down = plane.to_image[:, 1]
    step_right = plane.to_image[:, 0]
    assert step_down[1] > 0.9 * np.linalg.norm(step_down)  # the images themselves are dorsal up
    assert step_right[0] > 0.9 * np.linalg.norm(step_right)


@pytest.mark.parametrize("bad", [(1, 2, 3), [(1, 2), (3, 4)], (np.nan, 0), "ab"])
def test_bad_detection_point(demo_records, bad):
    placement, plane_of_section, _ = section(demo_records, 71717084, 0)
    with pytest.raises(InvalidInputError, match="pixels"):
        OutputPlane.parallel(placement, Grid(plane_of_section, 25), bad)


@pytest.mark.parametrize(
    ("scale", "highest", "expected"),
    [
        (0.5, 6, 0),
        (1, 6, 0),
        (1.99, 6, 0),
        (2, 6, 1),
        (23.8, 6, 4),
        (32, 6, 5),
        (500, 6, 6),
        (500, 0, 0),
    ],
)
def test_auto_takes_the_coarsest_tier_that_is_as_fine_as_the_output(scale, highest, expected):
    turned = scale * np.array([[np.cos(0.3), -np.sin(0.3), 7], [np.sin(0.3), np.cos(0.3), 9]])
    assert choose_downsample(turned, highest) == expected
    anisotropic = turned @ np.diag([1.5, 1, 1])
    assert choose_downsample(anisotropic, highest) == expected


def test_centres_of_tier_pixels():
    """Tier pixel u's centre is at 2^d·u + (2^d − 1)/2 of the full-resolution image."""
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])
    for d in range(6):
        u = 5.0
        x = 2**d * u + (2**d - 1) / 2
        np.testing.assert_allclose(tier_matrix(identity, d) @ [x, x, 1], [u, u])


def test_a_picture_covers_the_box():
    for plane in Plane:
        grid = Grid(plane, 25)
        assert [n * 25 for n in grid.shape] == [BOX[grid.row_axis], BOX[grid.column_axis]]


def test_planes_know_their_kind(demo_records):
    placement, sagittal, _ = section(demo_records, 69289763, 8)
    grid = Grid(sagittal, 100)
    assert OutputPlane.oblique(placement, grid).kind == "oblique"
    assert OutputPlane.parallel(placement, grid, (10, 10)).kind == "parallel"
    assert OutputPlane.at_depth(placement, grid, 5000.0).kind == "parallel"
