import json
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atldld.errors import InvalidInputError, OutputError
from atldld.place import Affine, OutputPlane, Placement
from atldld.place.affine import (
    apply_affine,
    apply_affine_to_columns,
    image_to_volume,
    in_blocks,
    reference_to_volume,
    volume_to_image,
    volume_to_reference,
)
from atldld.place.spaces import BLOCK, Grid, Plane

numbers = st.floats(-100, 100).map(lambda v: round(v, 6))


def affines(rows, columns, source, target):
    return hnp.arrays(np.float64, (rows, columns + 1), elements=numbers).map(
        lambda matrix: Affine(matrix, source, target)
    )


def invertible(size, source, target):
    """Well conditioned: the identity and something small."""
    return hnp.arrays(np.float64, (size, size + 1), elements=st.floats(-0.2, 0.2)).map(
        lambda matrix: Affine(matrix + np.eye(size, size + 1), source, target)
    )


@given(
    affines(2, 2, "a", "b"),
    affines(3, 2, "b", "c"),
    affines(2, 3, "c", "d"),
    hnp.arrays(np.float64, (4, 2), elements=numbers),
)
def test_composition_is_associative_and_is_what_it_does(one, two, three, points):
    left, right = one.then(two).then(three), one.then(two.then(three))
    assert (left.source, left.target) == (right.source, right.target) == ("a", "d")
    np.testing.assert_allclose(left.matrix, right.matrix, rtol=1e-9, atol=1e-4)
    step_by_step = three.apply(two.apply(one.apply(points)))
    np.testing.assert_allclose(left.apply(points), step_by_step, rtol=1e-9, atol=1e-3)


@given(invertible(3, "volume", "reference"), hnp.arrays(np.float64, (5, 3), elements=numbers))
def test_inverse(affine, points):
    back = affine.inverse()
    assert (back.source, back.target) == ("reference", "volume")
    np.testing.assert_allclose(back.apply(affine.apply(points)), points, atol=1e-9)
    np.testing.assert_allclose(affine.then(back).matrix, np.eye(3, 4), atol=1e-9)
    np.testing.assert_allclose(back.inverse().matrix, affine.matrix, atol=1e-9)


@given(
    hnp.arrays(
        np.float64, (3, 3), elements=st.floats(allow_nan=False, allow_infinity=False, width=64)
    )
)
def test_saving_and_loading_keeps_every_digit(tmp_path_factory, matrix):
    path = tmp_path_factory.mktemp("affine") / "a.json"
    affine = Affine(matrix, "image", "reference")
    affine.save(path)
    affine.save(path, force=True)  # over the first
    assert Affine.load(path) == affine
    assert Affine.load(path).matrix.tobytes() == affine.matrix.tobytes()
    assert [one.name for one in path.parent.iterdir()] == ["a.json"]


def test_frames_that_do_not_meet():
    there = Affine(np.eye(3), "image", "reference")
    with pytest.raises(InvalidInputError, match=r"'reference'.*'image'"):
        there.then(there)
    odd = Affine(np.eye(2, 3), "x", "y")
    with pytest.raises(InvalidInputError, match=r"2 coordinates.* 3"):
        odd.then(Affine(np.eye(3, 4), "y", "z"))


@pytest.mark.parametrize(
    ("matrix", "source", "target", "message"),
    [
        (np.eye(3), "volume", "reference", "'volume' has 3 coordinates"),
        (np.eye(2, 3), "image", "reference", "'reference' has 3 coordinates"),
        (np.eye(3), "", "reference", "must have a name"),
        (np.zeros(3), "a", "b", r"\(m, n \+ 1\)"),
        ([[np.nan, 1, 2]], "a", "b", "NaN"),
        ([["x", 1, 2]], "a", "b", "numbers"),
    ],
)
def test_bad_affines(matrix, source, target, message):
    with pytest.raises(InvalidInputError, match=message):
        Affine(matrix, source, target)


def test_no_inverse():
    with pytest.raises(InvalidInputError, match="from 2 to 3 coordinates"):
        Affine(np.eye(3), "image", "reference").inverse()
    with pytest.raises(InvalidInputError, match="flattens"):
        Affine(np.array([[1, 2, 0], [2, 4, 0]]), "image", "mirror").inverse()
    # small units are no reason to refuse
    tiny = Affine(np.eye(2, 3) * 1e-9, "image", "metres").inverse()
    np.testing.assert_allclose(tiny.matrix, np.eye(2, 3) * 1e9)


def test_values_do_not_change():
    given_matrix = np.eye(2, 3)
    affine = Affine(given_matrix, "a", "b")
    given_matrix[0, 0] = 7
    assert affine.matrix[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        affine.matrix[0, 0] = 7
    same = Affine(np.eye(2, 3), "a", "b")
    assert affine == same
    assert hash(affine) == hash(same)
    assert affine != Affine(np.eye(2, 3), "a", "c")
    assert affine != Affine(np.eye(2, 3) * 2, "a", "b")
    assert repr(affine) == "Affine(a → b, 2 → 2 coordinates)"
    with pytest.raises(InvalidInputError, match="NaN"):
        affine.apply([[np.nan, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "no saved affine map"),
        ('{"format": "other"}', "no saved affine map"),
        ('{"format": "atldld affine", "version": 9}', "version 9"),
        ('{"format": "atldld affine", "version": 1, "source": "a"}', "lacks matrix, target"),
        (
            '{"format": "atldld affine", "version": 1, "source": "a", "target": "b",'
            ' "matrix": [[1, NaN]]}',
            "NaN",
        ),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        Affine.load(path)


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(InvalidInputError, match=r"none\.json"):
        Affine.load(tmp_path / "none.json")
    affine = Affine(np.eye(2, 3), "a", "b")
    affine.save(tmp_path / "new" / "a.json")
    with pytest.raises(OutputError, match="is there already"):
        affine.save(tmp_path / "new" / "a.json")
    with pytest.raises(OutputError, match="cannot be written"):
        affine.save(tmp_path / "new" / "a.json" / "b.json")


def test_a_file_says_its_frames(tmp_path):
    Affine(np.eye(3), "image", "reference").save(tmp_path / "a.json")
    record = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert "µm" in record["frames"]["reference"]
    assert "upper left" in record["frames"]["image"]


def test_the_steps_of_a_section_make_its_placement(demo_records):
    dataset = demo_records[69289763]
    for image in dataset.images[::5]:
        placement = Placement.of(dataset, image)
        there = image_to_volume(dataset, image).then(volume_to_reference(dataset))
        back = reference_to_volume(dataset).then(volume_to_image(image))
        assert (there.source, there.target) == ("image", "reference")
        assert (back.source, back.target) == ("reference", "image")
        np.testing.assert_allclose(there.matrix, placement.image_to_reference.matrix, atol=1e-9)
        np.testing.assert_allclose(back.matrix, placement.reference_to_image.matrix, atol=1e-9)
        xy = [[10.0, 20.0], [3000.0, 1000.0]]
        np.testing.assert_array_equal(
            placement.image_to_reference.apply(xy), placement.to_reference(xy)
        )
        np.testing.assert_allclose(there.then(back).apply(xy), xy, atol=0.2)


@pytest.mark.parametrize(("dataset_id", "plane"), [(69289763, "sagittal"), (71717084, "coronal")])
@pytest.mark.parametrize("kind", ["oblique", "parallel"])
def test_the_maps_of_an_output_plane(demo_records, dataset_id, plane, kind):
    dataset = demo_records[dataset_id]
    placement = Placement.of(dataset, dataset.images[5])
    grid = Grid(Plane(plane), 25)
    output = (
        OutputPlane.oblique(placement, grid)
        if kind == "oblique"
        else OutputPlane.parallel(placement, grid, [3000, 2000])
    )
    pixels = np.array([[0, 0], [100, 50], [7, 200]])  # (column, row)
    pir = output.pixel_to_reference.apply(pixels)
    np.testing.assert_allclose(pir[:, grid.column_axis], (pixels[:, 0] + 0.5) * 25)
    np.testing.assert_allclose(pir[:, grid.row_axis], (pixels[:, 1] + 0.5) * 25)
    np.testing.assert_allclose(pir[:, grid.depth_axis], output.depth_at(pixels[:, 1], pixels[:, 0]))
    xy = output.pixel_to_image.apply(pixels)
    if kind == "oblique":
        shown = output.pixel_to_image.then(placement.image_to_reference)
        np.testing.assert_allclose(shown.apply(pixels), pir, atol=1e-6)
    else:
        np.testing.assert_allclose(placement.to_image(pir), xy, atol=1e-6)
    np.testing.assert_allclose(output.pixel_to_image.inverse().apply(xy), pixels, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_blocks_leave_no_gap(count):
    points = np.random.default_rng(0).random((count, 2))
    matrix = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    np.testing.assert_allclose(
        apply_affine(matrix, points), points @ matrix[:, :2].T + matrix[:, 2], rtol=1e-14
    )
    # a view whose rows are not next to each other
    np.testing.assert_allclose(
        apply_affine(matrix, points[::2, ::-1]), apply_affine(matrix, points[:, ::-1].copy())[::2]
    )


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("matrix", [np.eye(4)[:3], np.arange(1.0, 13).reshape(3, 4)])
def test_points_in_columns_must_be_finite(matrix, row, wrong):
    from atldld.place.affine import apply_affine_to_columns

    points = np.ones((3, 200_000))
    points[row, 123_456] = wrong
    with pytest.raises(InvalidInputError, match="NaN or infinity"):
        apply_affine_to_columns(matrix, points)
    points[row, 123_456] = 1e308  # sums overflow, but all are finite
    points[row, 23_456] = 1e308
    assert apply_affine_to_columns(matrix / 1e3, points).shape == (3, 200_000)


def blocks_of(count):
    found: list[slice] = []
    in_blocks(count, found.append)
    return sorted((block.start, block.stop) for block in found)


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, BLOCK, BLOCK + 1, 8 * BLOCK, 12 * BLOCK + 5])
def test_blocks_hold_every_point_once(monkeypatch, jobs, count):
    monkeypatch.setattr("atldld.place.affine.default_jobs", lambda: jobs)
    found = blocks_of(count)
    assert all(0 < stop - start <= BLOCK for start, stop in found)
    assert [start for start, _ in found[:1]] == [0][:count]
    assert [start for start, _ in found[1:]] == [stop for _, stop in found[:-1]]
    assert not found or found[-1][1] >= count


def test_threads_are_worth_their_start(monkeypatch):
    """Two threads from eight blocks on, and never more than there are."""
    started = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, jobs, **options):
            started.append(jobs)
            super().__init__(jobs, **options)

    monkeypatch.setattr("atldld.place.affine.ThreadPoolExecutor", Pool)
    monkeypatch.setattr("atldld.place.affine.default_jobs", lambda: 3)
    for blocks, expected in ((7, []), (8, [2]), (11, [2]), (12, [3]), (100, [3])):
        started.clear()
        blocks_of(blocks * BLOCK)
        assert started == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_columns_are_checked_whatever_the_matrix_leaves_out(axis, bad):
    points = np.ones((3, 5))
    points[axis, 3] = bad
    for matrix in (
        np.eye(2, 4),  # no row has something of every coordinate
        np.array([[1.0, 2, 3, 4], [0, 0, 1, 0]]),
        np.array([[0.0, 0, 1, 0], [1, 2, 3, 4]]),
    ):
        seen = matrix[:, axis].any()
        if not seen:
            continue  # what has no part in the result does no harm
        with pytest.raises(InvalidInputError, match="NaN or infinity"):
            apply_affine_to_columns(matrix, points)


def test_columns_that_overflow_in_the_sum_are_fine():
    points = np.full((2, 4), 1e308)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = apply_affine_to_columns(np.array([[1.0, 0.5, 0]]), points / 2)
        large = apply_affine_to_columns(np.eye(2, 3), points)  # their sum is infinite
    np.testing.assert_allclose(found, 0.75e308)
    np.testing.assert_array_equal(large, points)


def test_equal_maps_are_one_in_a_set():
    first, second = (
        Affine(np.array([[1.0, zero, 2.0], [0.0, 1.0, zero]]), "a", "b") for zero in (0.0, -0.0)
    )
    assert first == second
    assert hash(first) == hash(second)
    other = Affine(np.array([[1.0, 0.5, 2.0], [0.0, 1.0, 0.0]]), "a", "b")
    assert len({hash(first), hash(other), hash(Affine(first.matrix, "a", "c"))}) == 3
    with pytest.raises(ValueError, match="read-only"):
        first.matrix[0, 0] = 2


def test_points_of_the_wrong_kind_are_named():
    with pytest.raises(InvalidInputError, match="pixel"):
        Affine(np.eye(2, 3), "image", "mine").apply([[1, 2, 3]])
    with pytest.raises(InvalidInputError, match="mine"):
        Affine(np.eye(2, 3), "mine", "yours").apply([[1, 2, 3]])


def test_saved_maps_are_text_that_people_read(tmp_path):
    path = tmp_path / "a.json"
    Affine(np.eye(1, 2), "é", "b").save(path)
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) > 3
    assert any("é" in line for line in lines)
    assert lines[1].startswith(' "')


@pytest.mark.parametrize("shape", [(0, 3), (2, 1), (2,), (1, 2, 3)])
def test_no_matrices(shape):
    with pytest.raises(InvalidInputError, match="shape"):
        Affine(np.ones(shape), "a", "b")
