import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atldld.errors import InvalidInputError
from atldld.warp.displacement import DisplacementField

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def field(shape=(20, 30), scale=1.0):
    return DisplacementField(RNG.normal(0, scale, shape), RNG.normal(0, scale, shape))


def test_zero_shows_the_image_itself():
    zero = DisplacementField(np.zeros((20, 30)), np.zeros((20, 30)))
    np.testing.assert_array_equal(zero.warp(IMAGE), IMAGE)
    assert zero.shape == (20, 30)
    assert zero.norm.max() == 0


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((3, 4), (4, 3)), ((2, 2, 2), (2, 2, 2))])
def test_bad_shapes(shapes):
    with pytest.raises(ValueError, match="shape"):
        DisplacementField(np.zeros(shapes[0]), np.zeros(shapes[1]))
    with pytest.raises(ValueError, match="shape"):
        DisplacementField.from_transform(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_float32_and_norm():
    one = DisplacementField([[3.0]], [[4.0]])
    assert one.delta_x.dtype == one.delta_y.dtype == np.float32
    assert one.norm.tolist() == [[5.0]]


@given(
    st.lists(st.floats(-2, 2), min_size=4, max_size=4),
    st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=2),
)
def test_affine_maps(linear, shift):
    matrix = np.column_stack((np.reshape(linear, (2, 2)), shift))
    made = DisplacementField.from_matrix(matrix, (7, 9))
    rows, columns = np.indices((7, 9))
    x, y = np.einsum("ab,bhw->ahw", matrix, [columns, rows, np.ones((7, 9))])
    f_x, f_y = made.transformation
    np.testing.assert_allclose(f_x, x, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(f_y, y, rtol=1e-6, atol=1e-5)
    assert made == DisplacementField.from_transform(x, y)


def test_warping_reads_where_it_says():
    shifted = DisplacementField(np.full((20, 30), 2.0), np.full((20, 30), -3.0))
    out = shifted.warp(IMAGE, c=7)
    np.testing.assert_array_equal(out[3:, :-2], IMAGE[:-3, 2:])
    assert (out[:3] == 7).all()
    assert (shifted.warp(IMAGE, border_mode="replicate")[:3, :-2] == IMAGE[0, 2:]).all()


@pytest.mark.parametrize("colour", [[1, 2, 3], (1, 2, 3), np.array([1, 2, 3]), [1.0, 2, 3, 4]])
def test_the_constant_of_a_border_is_any_sequence_of_numbers(colour):
    """Kind: what OpenCV takes as a number for each channel, scripts pass in any container."""
    shifted = DisplacementField(np.full((20, 30), 2.0), np.full((20, 30), -3.0))
    assert (shifted.warp(IMAGE, c=colour)[:3] == (1, 2, 3)).all()


@pytest.mark.parametrize("number", [7, 7.0, np.uint8(7), np.array(7), [7], np.array([7])])
def test_one_number_is_meant_for_every_channel(number):
    shifted = DisplacementField(np.full((20, 30), 2.0), np.full((20, 30), -3.0))
    assert (shifted.warp(IMAGE, c=number)[:3] == 7).all()


@pytest.mark.parametrize("constant", [[], [1] * 5, [[1, 2]], "white", None, [1, None], object()])
def test_a_constant_that_is_none_is_refused(constant):
    with pytest.raises(InvalidInputError, match="constant c"):
        field().warp(IMAGE, c=constant)


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic", "area", "lanczos"])
def test_interpolations(interpolation):
    assert field().warp(IMAGE, interpolation=interpolation).shape == IMAGE.shape
    grey = field().warp(IMAGE[..., 0].astype(np.float32), interpolation=interpolation)
    assert grey.dtype == np.float32


@pytest.mark.parametrize(
    "border", ["constant", "replicate", "reflect", "wrap", "reflect_101", "transparent"]
)
def test_borders(border):
    assert field(scale=20).warp(IMAGE, border_mode=border).shape == IMAGE.shape


def test_unknown_names_are_key_errors():
    with pytest.raises(KeyError):
        field().warp(IMAGE, interpolation="magic")
    with pytest.raises(KeyError):
        field().warp(IMAGE, border_mode="magic")


def test_saving(tmp_path):
    one = field()
    one.save(tmp_path / "f.npy")
    assert np.load(tmp_path / "f.npy").shape == (20, 30, 2)
    assert DisplacementField.from_file(tmp_path / "f.npy") == one
    np.save(tmp_path / "g.npy", np.zeros((3, 3)))
    with pytest.raises(ValueError, match="rows, columns, 2"):
        DisplacementField.from_file(tmp_path / "g.npy")


def test_other_endings_are_refused(tmp_path):
    for path in (tmp_path / "f", str(tmp_path / "f.png")):
        with pytest.raises(ValueError, match="npy"):
            field().save(path)
        with pytest.raises(ValueError, match="npy"):
            DisplacementField.from_file(path)


def test_equality_and_scaling():
    one = field()
    assert one == DisplacementField(one.delta_x + 1e-9, one.delta_y)
    assert one != field()
    assert one != field((3, 3))
    assert one != "field"
    assert one * 2 == 2 * one == DisplacementField(2 * one.delta_x, 2 * one.delta_y)
    assert one * np.float64(0.5) == 0.5 * one
    with pytest.raises(TypeError):
        one * "2"


MATRIX = np.array([[1.1, 0.1, 3.0], [-0.05, 0.9, 2.0]])


def smooth(shape=(40, 50)):
    """A field that bends, but does not fold."""
    rows, columns = np.indices(shape)
    return DisplacementField(2 * np.sin(rows / 9) + 1, 1.5 * np.cos(columns / 8) - 1)


def test_fields_of_affine_maps_apply_exactly():
    field = DisplacementField.from_matrix(MATRIX, (40, 50))
    points = np.random.default_rng(1).uniform(0, 39, (60, 2))
    np.testing.assert_allclose(
        field.apply(points), points @ MATRIX[:, :2].T + MATRIX[:, 2], atol=1e-5
    )
    assert field.apply([[49, 39], [0, 0]]).shape == (2, 2)
    assert np.isfinite(field.apply([[49, 39], [0, 0]])).all()
    assert np.isnan(field.apply([[49.1, 39], [-0.1, 0]])).all()
    with pytest.raises(ValueError, match="output pixels"):
        field.apply([1, 2, 3])


def test_one_field_then_another():
    one = DisplacementField.from_matrix(np.array([[0.5, 0, 4.0], [0, 0.5, 3.0]]), (20, 25))
    other = DisplacementField.from_matrix(MATRIX, (40, 50))
    both = np.vstack((MATRIX, [0, 0, 1])) @ [[0.5, 0, 4], [0, 0.5, 3], [0, 0, 1]]
    assert one.then(other) == DisplacementField.from_matrix(both[:2], (20, 25))
    beyond = DisplacementField.from_matrix(np.array([[1.0, 0, 60], [0, 1, 0]]), (5, 5))
    assert np.isnan(beyond.then(other).delta_x).all()


@pytest.mark.parametrize(
    "field", [DisplacementField.from_matrix(MATRIX, (40, 50)), smooth()], ids=["affine", "bent"]
)
def test_there_and_back(field):
    back = field.inverse((45, 60))
    assert back.shape == (45, 60)
    points = np.stack(np.meshgrid(np.arange(60), np.arange(45)), axis=-1)
    shown = np.isfinite(back.delta_x)
    assert shown.sum() > 1000
    found = np.stack(back.transformation, axis=-1)[shown]
    there = field.apply(np.clip(found, 0, [49, 39]))
    np.testing.assert_allclose(there, points[shown], atol=2e-3)


def test_no_way_back():
    rows, columns = np.indices((20, 20))
    with pytest.raises(ValueError, match="line or a point"):
        DisplacementField(-columns, 0 * rows).inverse((20, 20))
    with pytest.raises(ValueError, match="folds"):
        DisplacementField(12 * np.sin(columns * 1.3), 0 * rows).inverse((20, 20))
