"""The numbers that people edit stand for planes, and planes for numbers."""

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from atldld.align.plane_numbers import PlaneNumbers, Shape, check_forward
from atldld.errors import InvalidInputError
from atldld.place.spaces import Plane

sides = st.integers(50, 30_000)
shapes = st.builds(
    Shape, st.sampled_from(Plane), sides, sides, st.one_of(st.none(), st.floats(0.2, 20))
)
scales = st.floats(0.2, 5)
upright = st.builds(
    PlaneNumbers,
    depth_um=st.floats(-2000, 15000),
    tilt_1_deg=st.floats(-80, 80),
    tilt_2_deg=st.floats(-80, 80),
    rotation_deg=st.floats(-179.9, 179.9),
    shift_um=st.tuples(st.floats(-8000, 8000), st.floats(-8000, 8000)),
    scale=st.tuples(scales, scales),
    shear=st.floats(-2, 2),
)


def numbers(told):
    flat: list[float] = []
    for value in msgspec.structs.astuple(told):
        flat += value if isinstance(value, tuple) else [value]
    return np.array(flat)


@given(shapes, upright)
def test_numbers_come_back(shape, told):
    found = PlaneNumbers.of(told.forward(shape), shape)
    scale = np.maximum(np.abs(numbers(told)), 1)
    assert (np.abs(numbers(found) - numbers(told)) <= 1e-9 * scale).all()


@given(shapes, upright, st.sampled_from(["no", "rows", "columns"]))
def test_planes_come_back(shape, told, mirrored):
    """Those that are mirror images, too."""
    forward = told.forward(shape)
    if mirrored == "rows":
        forward[:, 0] *= -1
    elif mirrored == "columns":
        forward[:, 1] *= -1
    found = PlaneNumbers.of(forward, shape)
    assume(np.abs(numbers(found)).max() <= 1e6)  # a metre from the brain is refused
    assert (found.scale[0] * found.scale[1] < 0) == (mirrored != "no")
    if mirrored != "no":
        assert abs(found.rotation_deg) <= 90 + 1e-9
    corners = np.array(
        [
            [0, shape.width - 1, 0, shape.width - 1],
            [0, 0, shape.height - 1, shape.height - 1],
            [1] * 4,
        ]
    )
    here, there = forward @ corners, found.forward(shape) @ corners
    assert np.abs(here - there).max() <= 1e-9 * max(np.abs(here).max(), 1)


@pytest.mark.parametrize("plane", Plane)
def test_what_each_number_does(plane):
    """A plane without tilts lies as its picture is laid out, and the middle is where it says."""
    shape = Shape(plane, 1001, 501, 2.0)
    flat = PlaneNumbers(
        depth_um=3000,
        tilt_1_deg=0,
        tilt_2_deg=0,
        rotation_deg=0,
        shift_um=(100, -50),
        scale=(1, 1),
        shear=0,
    )
    right, down, depth = shape.axes
    forward = flat.forward(shape)
    middle = forward @ [500, 250, 1]
    box = (13200, 8000, 11400)
    assert middle[depth] == pytest.approx(3000)
    assert middle[right] == pytest.approx(box[right] / 2 + 100)
    assert middle[down] == pytest.approx(box[down] / 2 - 50)
    assert forward[right] @ [1, 0, 0] == pytest.approx(2)
    assert forward[down] @ [0, 1, 0] == pytest.approx(2)

    def moved(**change):
        return msgspec.structs.replace(flat, **change).forward(shape)

    # the first tilt takes what is on the right out of the plane, the second what is below
    assert moved(tilt_1_deg=10)[depth, 0] == pytest.approx(-2 * np.sin(np.radians(10)))
    assert moved(tilt_1_deg=10)[depth, 1] == pytest.approx(0)
    assert moved(tilt_2_deg=10)[depth, 1] == pytest.approx(2 * np.sin(np.radians(10)))
    assert moved(tilt_2_deg=10)[depth, 0] == pytest.approx(0)
    # a turn takes the right down
    assert moved(rotation_deg=90)[down, 0] == pytest.approx(2)
    assert moved(scale=(3, 1))[right, 0] == pytest.approx(6)
    assert moved(shear=0.5)[right, 1] == pytest.approx(1)
    # and nothing moves the middle that one looks at
    for change in ({"tilt_1_deg": 20}, {"tilt_2_deg": 20}, {"rotation_deg": 30}, {"shear": 0.3}):
        assert moved(**change) @ [500, 250, 1] == pytest.approx(middle)


@pytest.mark.parametrize(
    "change",
    [
        {"tilt_1_deg": 90},
        {"tilt_2_deg": -95},
        {"scale": (0, 1)},
        {"scale": (1, 0.0)},
        {"depth_um": float("nan")},
        {"shear": float("inf")},
        {"shift_um": (1e9, 0)},
    ],
)
def test_numbers_that_are_no_plane(change):
    shape = Shape(Plane.CORONAL, 100, 100, 1.0)
    flat = PlaneNumbers(
        depth_um=0,
        tilt_1_deg=0,
        tilt_2_deg=0,
        rotation_deg=0,
        shift_um=(0, 0),
        scale=(1, 1),
        shear=0,
    )
    with pytest.raises(InvalidInputError):
        msgspec.structs.replace(flat, **change).forward(shape)


@pytest.mark.parametrize(
    "given",
    [[], [1] * 8, [1] * 9, [0] * 9, [float("nan")] * 9, [[1, 2], [3]], "abc", [1e9] * 9, None],
)
def test_matrices_that_are_no_plane(given):
    with pytest.raises(InvalidInputError):
        check_forward(given)


def test_a_plane_along_the_depth_has_no_numbers():
    forward = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]])  # p and i, for sections along r
    with pytest.raises(InvalidInputError, match="has no depth"):
        PlaneNumbers.of(forward, Shape(Plane.CORONAL, 100, 100, 1.0))
