import numpy as np
import pytest

from atldld.errors import InvalidInputError, UnsupportedPlaneError
from atldld.place.spaces import (
    Grid,
    Plane,
    PlaneOfSection,
    ReferenceSpace,
    between_spaces,
    check_points,
)


@pytest.mark.parametrize(
    ("plane", "names", "shape", "names_03", "shape_03"),
    [
        (Plane.CORONAL, ("i", "r"), (320, 456), ("i", "r"), (320, 456)),
        (Plane.SAGITTAL, ("i", "p"), (320, 528), ("p", "i"), (528, 320)),
        (Plane.TRANSVERSE, ("p", "r"), (528, 456), ("p", "r"), (528, 456)),
    ],
)
def test_layouts(plane, names, shape, names_03, shape_03):
    grid, old = Grid(plane, 25), Grid(plane, 25, "0.3")
    assert (grid.axis_names, grid.shape) == (names, shape)
    assert (old.axis_names, old.shape) == (names_03, shape_03)
    assert {grid.row_axis, grid.column_axis, grid.depth_axis} == {0, 1, 2}


def test_resolutions_that_do_not_divide():
    assert Grid(Plane.CORONAL, 12.5).shape == (640, 912)
    assert Grid(Plane.CORONAL, 7).shape == (1142, 1628)
    assert Grid(Plane.CORONAL, 1).shape == (8000, 11400)
    assert Grid(Plane.CORONAL, 0.4).shape == (20000, 28500)


@pytest.mark.parametrize("resolution", [0, -25, float("nan"), float("inf"), 0.1, 9000])
def test_bad_resolution(resolution):
    with pytest.raises(InvalidInputError, match="µm"):
        Grid(Plane.CORONAL, resolution)


@pytest.mark.parametrize(
    ("plane_id", "plane"),
    [(1, "coronal"), (2, "sagittal"), (6, "transverse"), (8, "sagittal"), (531107579, "coronal")],
)
def test_plane_of_id(plane_id, plane):
    assert Plane.from_id(plane_id).value == plane


@pytest.mark.parametrize("plane_id", [None, 3, 4, 5, 1082279372])
def test_unsupported_plane(plane_id):
    with pytest.raises(UnsupportedPlaneError, match="plane_of_section_id") as caught:
        Plane.from_id(plane_id, dataset_id=5)
    assert caught.value.dataset_id == 5
    assert "download image" in str(caught.value)


def test_check_points():
    assert check_points([[1, 2]], 2, "what").dtype == np.float64
    for bad in (1.0, [1, 2, 3], [[1, 2], [np.nan, 1]], [[np.inf, 0]], "text", [[1], [2, 3]]):
        with pytest.raises(InvalidInputError, match="what"):
            check_points(bad, 2, "what")


def test_the_flip_is_only_between_9_and_10():
    points = np.array([[1.0, 2.0, 3000.0]])
    assert between_spaces(points, 9, 9) is points
    assert between_spaces(points, None, 10) is points
    np.testing.assert_array_equal(between_spaces(points, 9, 10), [[1, 2, 8400]])
    np.testing.assert_array_equal(between_spaces(points, 10, 9), [[1, 2, 8400]])
    assert points[0, 2] == 3000
    with pytest.raises(InvalidInputError, match="3"):
        between_spaces(points, 3, 9)


def test_ids_have_names():
    assert ReferenceSpace.name_of(9) == str(ReferenceSpace.of(9))
    assert PlaneOfSection.name_of(2) == "sagittal"
    assert PlaneOfSection.name_of(None) == PlaneOfSection.name_of(77) == "unknown"


def test_grids_of_one_pixel_up_to_the_largest():
    assert Grid(Plane.CORONAL, 8000).shape == (1, 1)
    with pytest.raises(InvalidInputError, match="each side must have"):
        Grid(Plane.CORONAL, 1e9)
    assert max(Grid(Plane.SAGITTAL, 0.5).shape) == 26400
    with pytest.raises(InvalidInputError, match="pixels"):
        Grid(Plane.SAGITTAL, 0.4)


@pytest.mark.parametrize(
    "find",
    [
        lambda points: ReferenceSpace.P56.hemispheres(points),
        lambda points: ReferenceSpace.P56.to_hemisphere(points, "left"),
        lambda points: ReferenceSpace.P56.to_brainglobe(points),
        lambda points: ReferenceSpace.P56.to_voxels(points, 25),
    ],
)
def test_what_points_must_be_is_said(find):
    with pytest.raises(InvalidInputError, match=r"\(p, i, r\) in µm of the reference space"):
        find([[1, 2]])
    assert isinstance(find([[1, 2, 3]]), np.ndarray)


def test_what_a_grid_lacks_is_said():
    with pytest.raises(InvalidInputError, match=r"resolution is .* µm"):
        Grid(Plane.CORONAL, -1)
    with pytest.raises(InvalidInputError, match="coronal, sagittal, transverse"):
        Grid("flat", 25)  # type: ignore[arg-type]
