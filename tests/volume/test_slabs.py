"""How sections meet voxels: on made-up sections whose every number is known."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from atldld.volume.slabs import Accumulator, Neighbours, Slab

RESOLUTION = 20.0
SHAPE = (30, 24, 26)
PIXEL = 5.0  # µm
CENTRE = np.array([300.0, 240.0, 260.0])  # µm, the middle of the voxels
UNIT_CELLS = (np.indices((12, 12, 12)).reshape(3, -1).T + 0.5) / 12 - 0.5


def rotation(*degrees):
    """Turn about p, then i, then r."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = [k for k in range(3) if k != axis]
        one = np.eye(3)
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turned = one @ turned
    return turned


def slab_at(s, thickness=25.0, turned=None, size=(160, 140), stretch=1.0):
    """A coronal section at s µm behind the middle: x runs along r, y along i, d along p."""
    turned = np.eye(3) if turned is None else turned
    x, y, across = turned[:, 2] * PIXEL, turned[:, 1] * PIXEL, turned[:, 0] * stretch
    corner = CENTRE - x * (size[0] - 1) / 2 - y * (size[1] - 1) / 2 + across * s
    return Slab.of(np.column_stack((x, y, corner)), across, size, thickness)


def centres():
    return (np.indices(SHAPE).transpose(1, 2, 3, 0) + 0.5) * RESOLUTION


def addresses(slab):
    """(x, y, d) of every voxel's centre, by solving for them."""
    flat = centres().reshape(-1, 3) - slab.to_reference[:, 3]
    solved = np.linalg.solve(slab.to_reference[:, :3], flat.T).T
    return solved.reshape(*SHAPE, 3)


def flat_picture(level, size=(160, 140), channels=1):
    shape = (size[1], size[0]) if channels == 1 else (size[1], size[0], channels)
    return np.full(shape, level, dtype=np.uint8)


TURNS = [(0, 0, 0), (0, 10, 0), (4, -7, 9), (0, 0, -40)]


@pytest.mark.parametrize("turn", TURNS)
def test_the_address_of_a_point_is_exact(turn):
    slab = slab_at(35.0, turned=rotation(*turn), stretch=1.02)
    xyd = np.array([(0.0, 0.0, 0.0), (159.0, 139.0, 0.0), (40.0, 7.0, -12.5)])
    pir = xyd @ slab.to_reference[:, :3].T + slab.to_reference[:, 3]
    back = pir @ slab.to_section[:, :3].T + slab.to_section[:, 3]
    np.testing.assert_allclose(back, xyd, atol=1e-10)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("thickness", [4.0, 25.0, 90.0])
def test_overlap_is_the_part_of_a_voxel_within_the_section(turn, thickness):
    slab = slab_at(0, thickness, rotation(*turn))
    d = np.linspace(-80, 80, 321)
    # the cube cut into 12³ cells, each counted if its middle is inside
    cells = UNIT_CELLS @ slab.to_section[2, :3] * RESOLUTION
    counted = (np.abs(d[:, None] + cells) <= thickness / 2).mean(axis=1)
    found = slab.overlap(d, RESOLUTION, 0)
    assert np.abs(found - counted).max() < 0.6 / 12 * (3 if turn == (0, 0, 0) else 1) + 0.02
    # what all voxels across a section get is the section, whatever the tilt
    step = 0.01
    d = np.arange(-100, 100, step)
    total = slab.overlap(d, RESOLUTION, 0).sum() * step
    assert total == pytest.approx(thickness, rel=1e-3)
    beyond = np.array([-1.0, 1.0]) * (slab.half_extent(RESOLUTION) + 0.01)
    assert (slab.overlap(beyond, RESOLUTION, 0) == 0).all()


@pytest.mark.parametrize("depth_axis", [0, 1, 2])
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("d", [(-30.0, 30.0), (-110.0, 55.0)])
def test_boxes_hold_every_voxel_that_is_reached_and_few_others(turn, depth_axis, d):
    slab = slab_at(20.0, turned=rotation(*turn), size=(70, 60))
    xyd = addresses(slab)
    reached = (
        (np.abs(xyd[..., 0] - 34.5) <= 35)
        & (np.abs(xyd[..., 1] - 29.5) <= 30)
        & (xyd[..., 2] >= d[0])
        & (xyd[..., 2] <= d[1])
    )
    boxed = np.zeros(SHAPE, dtype=bool)
    seen = set()
    for index, rows, columns in slab.boxes(RESOLUTION, SHAPE, depth_axis, d):
        assert index not in seen
        seen.add(index)
        plane = np.moveaxis(boxed, depth_axis, 0)[index]
        plane[rows, columns] = True
    assert reached.any()
    assert not (reached & ~boxed).any()
    assert boxed.sum() < 4 * reached.sum() + 200


def test_nothing_is_boxed_outside_the_grid():
    assert not list(slab_at(5000.0).boxes(RESOLUTION, SHAPE, 0, (-30, 30)))


def test_neighbours_share_the_filling_between_them():
    d = np.linspace(0, 80, 161)
    for fill in ("linear", "nearest"):
        mine = Neighbours(100, 80).weight(d, fill)
        others = Neighbours(80, 60).weight(d - 80, fill)
        total = mine + others
        # at the middle both are equally near
        np.testing.assert_allclose(total[d != 40], 1)
    assert Neighbours(100, 80).weight(np.array([20.0, -25.0]), "linear").tolist() == [0.75, 0.75]
    assert Neighbours(100, 80).weight(np.array([39.0, 41, -49, -51]), "nearest").tolist() == [
        *(1, 0, 1, 0)
    ]


@pytest.mark.parametrize("fill", ["nearest", "linear"])
def test_filling_ends_half_a_gap_beyond_the_last_section(fill):
    last = Neighbours(before=100)
    assert last.weight(np.array([0.0, 49, 51]), fill).tolist() == [1, 1, 0]
    assert Neighbours().weight(np.array([1.0]), fill).tolist() == [0]
    assert Neighbours(before=100, after=100).weight(np.array([1.0]), "none").tolist() == [0]


@pytest.mark.parametrize("turn", TURNS)
def test_sections_are_averaged_by_how_much_of_a_voxel_they_fill(turn):
    turned = rotation(*turn)
    accumulator = Accumulator(SHAPE, RESOLUTION, 1)
    slabs = [slab_at(s, 30.0, turned) for s in (-4.0, 17.0)]
    for slab, level in zip(slabs, (51, 204), strict=True):
        accumulator.add(slab, flat_picture(level), 0, 0)
    data, coverage = accumulator.finish()
    overlaps = [slab.overlap(addresses(slab)[..., 2].ravel(), RESOLUTION, 0) for slab in slabs]
    weights = np.reshape(overlaps, (2, *SHAPE))
    assert ((weights > 0.01).all(axis=0)).any()
    np.testing.assert_allclose(coverage, weights.sum(axis=0), atol=4e-3)
    clear = (weights.sum(axis=0) > 0.05) & ~((weights > 0) & (weights < 0.01)).any(axis=0)
    expected = (weights[0] * 0.2 + weights[1] * 0.8)[clear] / weights.sum(axis=0)[clear]
    np.testing.assert_allclose(data[clear], expected, atol=0.01)
    assert (data[coverage == 0] == 0).all()


def test_colours_are_averaged_like_numbers():
    accumulator = Accumulator(SHAPE, RESOLUTION, 3)
    for level in (10, 110, 60):
        picture = flat_picture(level, channels=3)
        picture[..., 2] = 255 - level
        accumulator.add(slab_at(0), picture, 0, 0, background=(level, level, 255 - level))
    data, coverage = accumulator.finish()
    middle = data[15, 12, 13]
    assert data.dtype == np.uint8
    assert middle.tolist() == [60, 60, 195]
    # 25 µm of section about the border of two voxels of 20 µm: 12.5 / 20 in each, thrice
    assert coverage[15, 12, 13] == pytest.approx(3 * 12.5 / 20, abs=0.01)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("downsample", [0, 1])
@pytest.mark.parametrize(("by_x", "by_y"), [(1.4, 0), (0, 1.5)])
def test_a_voxel_shows_what_lies_at_its_centre(turn, downsample, by_x, by_y):
    """A picture that rises evenly: its average over any square is its value at the middle."""
    slab = slab_at(3.0, turned=rotation(*turn))
    errors = []
    for sign in (1, -1):  # rounding to 8 bits goes up in both, a shift shows with its sign
        levels = 128 + sign * (by_x * (np.arange(160) - 80) + by_y * (np.arange(140)[:, None] - 70))
        if downsample:
            levels = levels.reshape(70, 2, 80, 2).mean(axis=(1, 3))
        accumulator = Accumulator(SHAPE, RESOLUTION, 1)
        accumulator.add(slab, np.rint(levels).astype(np.uint8), downsample, 0)
        data, coverage = accumulator.finish()
        x, y, _ = np.moveaxis(addresses(slab), -1, 0)
        inner = (coverage > 0.01) & (np.abs(x - 79.5) < 76) & (np.abs(y - 69.5) < 66)
        assert inner.sum() > 500
        expected = 128 + sign * (by_x * (x - 80) + by_y * (y - 70))[inner]
        errors.append(data[inner] * 255 - expected)
    assert np.abs(errors).max() < 1.6
    # half a pixel would be 0.7; what is left is rounding that does not quite cancel
    assert abs(errors[0].mean() - errors[1].mean()) / 2 < 0.3


def test_outside_the_picture_is_not_covered():
    slab = slab_at(0, size=(40, 30))
    accumulator = Accumulator(SHAPE, RESOLUTION, 1)
    accumulator.add(slab, flat_picture(200, (40, 30)), 0, 0)
    _, coverage = accumulator.finish()
    x, y, d = np.moveaxis(addresses(slab), -1, 0)
    inside = (np.abs(x - 19.5) <= 20) & (np.abs(y - 14.5) <= 15) & (np.abs(d) < 22)
    np.testing.assert_array_equal(coverage > 0, inside)


def filled(positions, fill, turned=None, order=1):
    """Sections whose level is their position, added with what is between them."""
    accumulator = Accumulator(SHAPE, RESOLUTION, 1)
    numbered = list(enumerate(positions))[::order]
    for k, s in numbered:
        before = s - positions[k - 1] if k else None
        after = positions[k + 1] - s if k + 1 < len(positions) else None
        accumulator.add(
            slab_at(s, 10.0, turned),
            flat_picture(int(128 + s)),
            0,
            0,
            neighbours=Neighbours(before, after),
            fill=fill,
        )
    return accumulator.finish()


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("turn", TURNS)
def test_linear_filling_continues_what_is_linear_across_the_sections(turn, order):
    turned = rotation(*turn)
    positions = [-100.0, -20.0, 80.0]
    data, coverage = filled(positions, "linear", turned, order)
    x, y, s = np.moveaxis(addresses(slab_at(0.0, turned=turned)), -1, 0)
    inside = (np.abs(x - 79.5) < 79) & (np.abs(y - 69.5) < 69)
    between = inside & (coverage == 0) & (s > -100) & (s < 80)
    assert between.sum() > 1000
    np.testing.assert_allclose(data[between] * 255, 128 + s[between], atol=0.1)
    # half of the last gap further on, the last section goes on
    on = inside & (coverage == 0) & (s > 80) & (s < 129)
    np.testing.assert_allclose(data[on] * 255, 208, atol=0.01)
    assert (data[inside & ((s > 131) | (s < -141))] == 0).all()
    # what is covered is as it would be without filling
    plain, again = filled(positions, "none", turned)
    np.testing.assert_array_equal(coverage, again)
    np.testing.assert_allclose(data[coverage > 0], plain[coverage > 0], atol=1e-5)


def test_nearest_filling_takes_the_nearer_section():
    positions = [-100.0, -20.0, 80.0]
    data, coverage = filled(positions, "nearest")
    s = addresses(slab_at(0.0))[..., 2]
    for low, high, level in ((-100, -61, 28), (-59, 29, 108), (31, 80, 208)):
        part = (s > low) & (s < high) & (coverage == 0)
        np.testing.assert_allclose(data[part] * 255, level, atol=0.01)


@pytest.mark.parametrize("depth_axis", [1, 2])
def test_the_layout_in_memory_makes_no_difference(depth_axis):
    one = Accumulator(SHAPE, RESOLUTION, 3)
    other = Accumulator(SHAPE, RESOLUTION, 3, depth_axis)
    picture = np.random.default_rng(0).integers(0, 256, (140, 160, 3), dtype=np.uint8)
    slab = slab_at(0, turned=rotation(3, 5, 0))
    with ThreadPoolExecutor(3) as pool:
        one.add(slab, picture, 0, 0, background=(9, 9, 9))
        other.add(slab, picture, 0, 0, background=(9, 9, 9), pool=pool)
    (data, coverage), (same, weights) = one.finish(), other.finish()
    assert data.shape == same.shape == (*SHAPE, 3)
    assert coverage.any()
    np.testing.assert_array_equal(data, same)
    np.testing.assert_array_equal(coverage, weights)


def test_an_error_in_a_thread_is_raised():
    accumulator = Accumulator(SHAPE, RESOLUTION, 3)
    with ThreadPoolExecutor(2) as pool, pytest.raises(Exception, match=r"shape|blendLinear|size"):
        # one channel where three are needed
        accumulator.add(slab_at(0), flat_picture(1), 0, 0, pool=pool)


def test_addresses_within_the_image_are_asked_for_at_its_edges_alone(monkeypatch):
    from atldld.volume import slabs

    asked = []
    original = slabs._sums

    def counted(down, across):
        asked.append(len(down) * len(across))
        return original(down, across)

    monkeypatch.setattr(slabs, "_sums", counted)
    accumulator = Accumulator((3, 1280, 64), 5.0, 1)
    # far larger than the voxels: no edge is near
    forward = np.array([[0, 0, 7.5], [0, 2.0, -500], [2.0, 0, -500]])
    slab = Slab.of(forward, np.array([1.0, 0, 0]), (4000, 4000), 4.0)
    accumulator.add(slab, flat_picture(9, (4000, 4000)), 0, 0)
    depths, ends = 1280 * 64, 2 * (2 * 1280 + 2 * 64)
    assert sum(asked) == depths + ends


@pytest.mark.parametrize("turn", [(0, 0, 0), (0, 0, 7), (0, 0, -40), (4, -3, 120)])
@pytest.mark.parametrize("shift", [(0, 0), (-31, 12), (900, 0), (0, -900)])
def test_what_lies_beside_the_image_is_left_out_voxel_by_voxel(turn, shift):
    from atldld.volume.slabs import _Edges

    matrix = 1.7 * rotation(*turn)
    matrix[:2, 2] = np.array([40, 50]) + shift
    shape = (100, 70)
    column, row = np.meshgrid(np.arange(70), np.arange(100))
    for line, length in zip(matrix, (90, 130), strict=False):
        weights = np.ones(shape, dtype=np.float32)
        edges = _Edges.of(line, shape, length)
        for top in range(0, 100, 32):
            strip = slice(top, min(top + 32, 100))
            edges.leave_out(weights[strip], strip)
        place = line[0] * column + line[1] * row + line[2]
        clear = np.abs(np.abs(place - (length - 1) / 2) - length / 2) > 1e-3
        assert ((weights == 1) == (np.abs(place - (length - 1) / 2) < length / 2))[clear].all()
        assert clear.mean() > 0.9
