import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atldld.errors import InvalidInputError, OutputError
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


def test_reading_between_pixels_up_to_every_edge():
    """Bilinearly, as written out; a field of one row or column has only itself to read."""
    for shape in ((1, 1), (1, 4), (3, 1), (2, 2), (3, 4)):
        made = field(shape)
        rows, columns = shape
        for row, column in ((0, 0), (rows - 1, columns - 1), (0, columns - 1), (rows - 1, 0)):
            found = made.apply([column, row])
            expected = made.delta_x[row, column] + column, made.delta_y[row, column] + row
            np.testing.assert_allclose(found, expected, atol=1e-6)
        middle = np.array([(columns - 1) / 2, (rows - 1) / 2])
        corner = np.s_[(rows - 1) // 2 : rows // 2 + 1, (columns - 1) // 2 : columns // 2 + 1]
        expected = np.add(middle, [made.delta_x[corner].mean(), made.delta_y[corner].mean()])
        np.testing.assert_allclose(made.apply(middle), expected, atol=1e-6)
        for outside in ((-0.01, 0), (0, -0.01), (columns - 0.99, 0), (0, rows - 0.99)):
            both = made.apply([outside, (0, 0)])
            np.testing.assert_array_equal(np.isnan(both).all(axis=1), [True, False])


def test_points_between_the_last_two_pixels():
    made = field((3, 4))
    x, y = made.apply([2.25, 1.75])
    weights = np.outer((0.25, 0.75), (0.75, 0.25))
    assert x == pytest.approx(2.25 + (made.delta_x[1:, 2:] * weights).sum(), abs=1e-6)
    assert y == pytest.approx(1.75 + (made.delta_y[1:, 2:] * weights).sum(), abs=1e-6)


def test_the_way_back_ends_where_the_output_does():
    """Image pixels that the output's first and last pixels show are had, those beyond are not."""
    shifted = DisplacementField(np.full((4, 5), 2.0), np.full((4, 5), 3.0))
    back = shifted.inverse((9, 11))
    known = np.isfinite(back.delta_x) & np.isfinite(back.delta_y)
    expected = np.zeros((9, 11), dtype=bool)
    expected[3:7, 2:7] = True
    np.testing.assert_array_equal(known, expected)
    np.testing.assert_allclose(back.delta_x[known], -2, atol=1e-5)
    np.testing.assert_allclose(back.delta_y[known], -3, atol=1e-5)


def test_the_way_back_of_a_bent_field():
    rows, columns = np.indices((30, 40))
    made = DisplacementField(
        5 + 2 * np.sin(rows / 9) + 0.1 * columns, -3 + 1.5 * np.cos(columns / 7) + 0.2 * rows
    )
    back = made.inverse((30, 50))
    at = np.stack(back.transformation, axis=-1).astype(float)
    # float32 may put what lies on the edge a little beyond it
    known = (at >= 0).all(axis=-1) & (at <= (39, 29)).all(axis=-1)
    assert 0.3 < known.mean() < 1
    x, y = np.meshgrid(np.arange(50), np.arange(30))
    expected = np.stack((x, y), axis=-1)[known]
    np.testing.assert_allclose(made.apply(at[known]), expected, atol=2e-3)


def test_sides_that_cannot_be_warped(monkeypatch):
    monkeypatch.setattr("atldld.warp.displacement.LARGEST_SIDE", 10)
    fits = DisplacementField(np.zeros((10, 10)), np.zeros((10, 10)))
    image = np.ones((10, 10, 3), dtype=np.uint8)
    assert fits.warp(image).shape == (10, 10, 3)
    for shape in ((11, 1), (1, 11)):
        with pytest.raises(InvalidInputError, match="at most 10"):
            fits.warp(np.ones(shape, dtype=np.uint8))
        large = DisplacementField(np.zeros(shape), np.zeros(shape))
        with pytest.raises(InvalidInputError, match="at most 10"):
            large.warp(image)


def test_transparent_borders_show_nothing():
    away = DisplacementField(np.full((20, 30), 100.0), np.zeros((20, 30)))
    for _ in range(5):
        np.full((20, 30, 3), 99, dtype=np.uint8)  # what memory held before
        assert not away.warp(IMAGE, border_mode="transparent").any()


def test_files_that_are_no_fields(tmp_path):
    path = tmp_path / "field.npy"
    for array in (np.zeros((3, 4)), np.zeros((3, 4, 3)), np.zeros((2,)), np.zeros((1, 2, 2, 2))):
        np.save(path, array)
        with pytest.raises(InvalidInputError):
            DisplacementField.from_file(path)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(InvalidInputError, match=r"no whole \.npy file"):
        DisplacementField.from_file(path)
    np.save(path, np.array([["a", "b"]]))
    with pytest.raises(InvalidInputError, match=r"no whole \.npy file"):
        DisplacementField.from_file(path)


def test_fields_differ_where_either_part_does():
    zero = np.zeros((2, 2))
    assert DisplacementField(zero, zero) != DisplacementField(zero, zero + 1)
    assert DisplacementField(zero, zero) != DisplacementField(zero + 1, zero)


def test_a_field_says_its_size():
    assert "2" in repr(field((2, 3)))
    assert "3" in repr(field((2, 3)))


def test_a_file_that_is_there_is_replaced_unless_told_otherwise(tmp_path):
    path = tmp_path / "field.npy"
    first, second = field((2, 3)), field((2, 3))
    first.save(path)
    second.save(path)
    assert DisplacementField.from_file(path) == second
    for force in (False, None):
        with pytest.raises(OutputError, match="there already"):
            first.save(path, force=force)
    first.save(path, force=True)
    assert DisplacementField.from_file(path) == first


def test_half_a_pixel_is_read_as_it_is_asked_for():
    ramp = np.tile(np.arange(0, 200, 10, dtype=np.float32), (5, 1))
    half = DisplacementField(np.full((5, 20), 0.5), np.zeros((5, 20)))
    inner = np.s_[:, 3:-3]
    expected = ramp[inner]
    np.testing.assert_allclose(half.warp(ramp)[inner], expected + 5)
    np.testing.assert_allclose(half.warp(ramp, "cubic")[inner], expected + 5, atol=1e-3)
    nearest = half.warp(ramp, "nearest")[inner]
    assert set(np.unique(nearest - expected)) <= {0, 10}
    step = np.where(ramp < 100, 0, 100).astype(np.float32)
    assert np.unique(half.warp(step, "linear")).tolist() == [0, 50, 100]
