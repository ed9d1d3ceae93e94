"""Expression masks become numbers: colours of a known scale, drawn here, sent as JPEG, and read.

The scale is made here, by the formula that MATLAB and OpenCV have for it and out of Matplotlib,
and never by the package.
"""

import os
import pickle

import cv2
import numpy as np
import pytest
import simplejpeg

from atldld.errors import InvalidInputError
from atldld.warp.stain import EXPRESSING, JET, Scale, _jet, darkness, open_scale, read_mask

LEVELS = np.arange(256)
SAMPLINGS = ["444", "420"]


def full_jet():
    """Red, green and blue of levels 0 to 255: ramps of a quarter of the scale."""
    place = LEVELS[:, None] / 255
    return 255 * np.clip(1.5 - np.abs(4 * place - np.array([3, 2, 1])), 0, 1)


def seven_steps():
    """A jet of which every level has one of seven colours, as in the genuine mask."""
    steps = [16, 71, 113, 127, 147, 172, 209]
    return full_jet()[[min(steps, key=lambda step: abs(step - level)) for level in LEVELS]]


def sent(pixels, sampling, quality=85):
    rounded = np.rint(pixels).astype(np.uint8)
    return simplejpeg.decode_jpeg(
        simplejpeg.encode_jpeg(rounded, quality=quality, colorsubsampling=sampling)
    )


def blobs(colour, diameter, seed=1):
    """Sixteen discs on black with soft edges, and how much of each pixel they cover."""
    rng = np.random.default_rng(seed)
    fine = np.zeros((96 * 8, 96 * 8), np.float32)
    for place in range(16):
        corner = 12 + 24 * np.array(divmod(place, 4)) + 6 * rng.random(2)
        cv2.circle(fine, np.rint(8 * corner).astype(int).tolist(), 4 * diameter, 1.0, -1)
    covered = cv2.resize(fine, (96, 96), interpolation=cv2.INTER_AREA)
    return covered[..., None] * colour, covered


def mean_level(read):
    """As tables have it: the mean level of what expresses."""
    return float((read.level * (read.part / 255)).sum() / (read.part / 255).sum())


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_level_of_a_full_jet_survives_jpeg(sampling):
    """The kind: numbers of masks that the demo's own paint, not the service's, was the ruler of.

    Patches of every level, all of the patch but its edge, and the whole of it with its edge.
    """
    jet = full_jet()
    for level in LEVELS:
        picture = np.zeros((64, 64, 3))
        picture[20:52, 20:52] = jet[level]
        read = read_mask(sent(picture, sampling))
        off = np.abs(read.level.astype(int) - level)
        assert off[32:48, 32:48].max() <= 4, level
        assert off[22:50, 22:50].mean() <= 4, level
        assert read.part[22:50, 22:50].mean() > 245, level
        assert abs(mean_level(read) - level) <= 4, level
        # black is nothing
        assert not read.level[:16].any()
        assert not read.intensity[:16].any()


@pytest.mark.parametrize(("sampling", "diameter"), [("444", 12), ("444", 8), ("420", 12)])
def test_soft_blobs_keep_level_and_area(sampling, diameter):
    """Edges are colours mixed with black: their hue tells the level, their brightness the part.

    The kind: a pixel that counted as a whole one however little of it was coloured, so that small
    cells were up to three times as large as they are.
    """
    jet = full_jet()
    for level in range(0, 256, 5):
        picture, covered = blobs(jet[level], diameter)
        read = read_mask(sent(picture, sampling))
        assert abs(mean_level(read) - level) <= 4, level
        assert read.part.sum() / 255 == pytest.approx(covered.sum(), rel=0.08), level
        energy = read.intensity.sum() / covered.sum()
        assert energy == pytest.approx(level, abs=max(0.08 * level, 4)), level


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_small_cells_of_many_levels_keep_their_energy(sampling):
    """Of cells 5 pixels wide, side by side, the energy of a neighbourhood is kept."""
    jet, rng = full_jet(), np.random.default_rng(3)
    fine = np.zeros((160 * 8, 160 * 8, 3), np.float32)
    level = np.zeros(fine.shape[:2], np.float32)
    for _ in range(80):
        centre, chosen = rng.integers(0, 160 * 8, 2).tolist(), int(rng.integers(0, 256))
        cv2.circle(fine, centre, 20, jet[chosen].tolist(), -1)
        cv2.circle(level, centre, 20, chosen, -1)
    picture, expected = (cv2.resize(one, (160, 160), interpolation=3) for one in (fine, level))
    found = read_mask(sent(picture, sampling)).intensity.astype(np.float32)
    assert found.sum() == pytest.approx(expected.sum(), rel=0.03)
    near, true = (cv2.GaussianBlur(one, (0, 0), 3) for one in (found, expected))
    limit = {"444": 0.08, "420": 0.15}[sampling]
    assert np.linalg.norm(near - true) / np.linalg.norm(true) < limit


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_dimmed_colours_are_parts_of_their_level(part):
    """In a lone pixel: at the ends, where a hue has many brightnesses, off by 38 at most."""
    jet = full_jet()
    for level in LEVELS:
        picture = np.zeros((9, 9, 3), np.uint8)
        picture[4, 4] = np.rint(part * jet[level])
        read = read_mask(picture)
        if picture.max() <= EXPRESSING:
            assert not read.level.any()
            continue
        off = int(read.level[4, 4]) - level
        if 38 < level < 217:
            assert abs(off) <= 6, level
            assert read.part[4, 4] == pytest.approx(255 * part, abs=6)
        else:
            # blue looks too low, and red too high
            assert (-38 <= off <= 2) if level < 128 else (-2 <= off <= 38), level


def test_a_dark_end_is_told_from_a_dimmed_one_by_its_neighbourhood():
    """Half of pure red is the colour of the highest level: what is around an edge decides."""
    jet = full_jet()
    for level, end in ((226, 255), (28, 0)):
        picture = np.zeros((20, 20, 3))
        picture[5:15, 5:15] = jet[level]
        picture[5, 5:15] = jet[level] / 2
        read = read_mask(np.rint(picture).astype(np.uint8))
        assert np.abs(read.level[5, 5:15].astype(int) - level).max() <= 4
        picture[5:15, 5:15] = jet[end]
        read = read_mask(np.rint(picture).astype(np.uint8))
        assert np.abs(read.level[5:15, 5:15].astype(int) - end).max() <= 4
        assert (read.part[5:15, 5:15] > 245).all()


def test_colours_mixed_with_each_other_are_whole():
    """Without black nearby nothing is mixed with it."""
    jet = full_jet()
    mixed = (jet[60] + jet[180]) / 2
    assert mixed.max() < 215
    picture = np.zeros((40, 40, 3))
    picture[5:35, 5:35] = mixed
    read = read_mask(np.rint(picture).astype(np.uint8))
    assert (read.part[15:25, 15:25] == 255).all()
    assert (read.part[5, 5:35] < 220).all()


@pytest.mark.parametrize("least", [120, 0])
def test_what_a_pixel_reads_as_does_not_depend_on_where_it_lies(least):
    """Masks are read tile by tile, in smaller ones where much expresses: nothing shows it."""
    rng = np.random.default_rng(7)
    levels = cv2.GaussianBlur(rng.random((400, 640)).astype(np.float32), (0, 0), 3)
    levels = cv2.normalize(levels, levels.copy(), 0, 255, cv2.NORM_MINMAX)
    drawn = JET.paint(levels) * (rng.random((400, 640, 1)) ** 2 * (levels > least)[..., None])
    whole = read_mask(sent(drawn, "420"))
    pixels = sent(drawn, "420")
    for down, right in ((37, 11), (200, 301)):
        moved = read_mask(np.ascontiguousarray(pixels[down:, right:]))
        inner = np.s_[20:, 20:]
        assert np.array_equal(moved.level[inner], whole.level[down:, right:][inner])
        assert np.array_equal(moved.part[inner], whole.part[down:, right:][inner])


def test_thresholds_and_colours_off_the_scale():
    row = np.array([[(0, 0, 20), (20, 20, 20), (0, 0, 0), (0, 0, 0), (0, 0, 21)]], np.uint8)
    assert (read_mask(row).level > 0).tolist() == [[False, False, False, False, True]]
    assert read_mask(row, 21).part.max() == 0
    # violet is nearer to blue or to red
    violet = np.zeros((1, 40, 3), np.uint8)
    violet[0, 5], violet[0, 35] = (60, 0, 255), (255, 0, 60)
    low, high = read_mask(violet).level[0, [5, 35]]
    assert low < 40 < 215 < high


@pytest.mark.parametrize("name", ["matplotlib's jet", "turbo", "seven steps", "grey"])
def test_a_table_of_one_s_own(name, tmp_path):
    """Any 256 colours, out of Python or a file; levels that share a colour read as their mean."""
    if name in ("matplotlib's jet", "turbo"):
        maps = pytest.importorskip("matplotlib").colormaps
        table = 255 * maps[name.split()[-1]](LEVELS)[:, :3]
    else:
        table = seven_steps() if name == "seven steps" else np.repeat(LEVELS[:, None], 3, axis=1)
    np.savetxt(tmp_path / "own.csv", table, delimiter=",", header="red,green,blue")
    np.save(tmp_path / "own.npy", table)
    scale = open_scale(str(tmp_path / "own.csv"))
    assert scale.colours.tolist() == np.rint(table).astype(np.uint8).tolist()
    assert open_scale(tmp_path / "own.npy").table == scale.table == Scale.of("x", table).table
    colours = scale.colours
    for level in range(30, 256, 5):
        same = np.flatnonzero((colours == colours[level]).all(axis=1)).mean()
        picture = np.zeros((32, 32, 3))
        picture[4:28, 4:28] = table[level]
        read = read_mask(sent(picture, "444"), scale=scale)
        assert abs(float(np.median(read.level[10:22, 10:22])) - same) <= 4, level


def test_matplotlib_s_jet_read_as_jet_is_off_by_what_is_said():
    """The genuine pair cannot tell the two jets from each other."""
    maps = pytest.importorskip("matplotlib").colormaps
    table = np.rint(255 * maps["jet"](LEVELS)[:, :3]).astype(np.uint8)
    found = read_mask(np.repeat(table[:, None], 9, axis=1).reshape(256, 9, 3)).level[:, 4]
    assert 6 < np.abs(found.astype(int) - LEVELS).max() <= 9


def test_a_scale_is_a_value():
    assert JET.colours.tolist() == np.rint(full_jet()).astype(int).tolist()
    assert np.abs(JET.paint(LEVELS) - full_jet()).max() <= 0.5
    assert JET.paint([-3, 300]).tolist() == JET.paint([0, 255]).tolist()
    assert JET.paint(np.zeros((3, 4))).shape == (3, 4, 3)
    between = (full_jet()[100] + full_jet()[101]) / 2
    assert np.abs(JET.paint(100.5) - between).max() <= 0.5
    assert pickle.loads(pickle.dumps(JET)) == JET
    assert open_scale("jet") is open_scale(JET) is JET
    assert JET.describe().keys() == {"name", "sha256"}
    assert not JET.colours.flags.writeable
    assert len({JET, Scale.of("jet", full_jet()), Scale.of("other", full_jet())}) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("1,2,3\n", r"own.csv has shape \(1, 3\)"),
        ("1,2\n" * 256, r"has shape \(256, 2\)"),
        ("red,green,blue\n" + "1,2,3\n" * 256, "cannot be read as a scale"),
        ("1,2,300\n" * 256, "must be from 0 to 255"),
        ("1,2,nan\n" * 256, "must be from 0 to 255"),
        ("1,1,0.5\n" * 256, "reach no more than 1"),
        ("100,2,3\n" * 256, "no two colours"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, content, says):
    (tmp_path / "own.csv").write_text(content)
    with pytest.raises(InvalidInputError, match=says):
        open_scale(tmp_path / "own.csv")


def test_names_and_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"no scale 'hot'; it must be jet, or a file"):
        open_scale("hot")
    with pytest.raises(InvalidInputError, match="cannot be read as a scale"):
        open_scale(tmp_path / "absent.npy")
    (tmp_path / "own.npy").write_bytes(os.urandom(100))
    with pytest.raises(InvalidInputError, match="cannot be read as a scale"):
        open_scale(tmp_path / "own.npy")


def test_the_genuine_pair(shared):
    """Large areas of the genuine mask read as its grey twin has them, within their spread."""
    mask = cv2.imread(str(shared / "masks/71661873_colour.jpg"), cv2.IMREAD_COLOR_RGB)
    assert mask is not None
    read = read_mask(mask.astype(np.uint8))
    # the yellow-green folds: grey 146 to 166 (5 to 95 % of their inner pixels)
    for rows, columns in ((slice(400, 450), slice(245, 295)), (slice(450, 470), slice(220, 250))):
        inner = cv2.erode(mask[rows, columns].max(axis=2), np.ones((3, 3), np.uint8)) > 150
        assert 146 <= np.median(read.level[rows, columns][inner]) <= 158
    # the granule layer: grey 207 to 226 (25 to 75 %)
    inner = cv2.erode(mask.max(axis=2), np.ones((5, 5), np.uint8)) > 200
    assert inner.sum() > 100
    assert 200 <= np.median(read.level[inner]) <= 215


def test_darkness_of_known_colours():
    pixels = np.array([[(200, 200, 200), (100, 100, 100), (0, 0, 0), (255, 255, 255)]], np.uint8)
    assert darkness(pixels, (200.0, 200.0, 200.0)).tolist() == [[0, 128, 255, 0]]
    red = np.full((1, 1, 3), (100, 200, 200), np.uint8)
    assert darkness(red, (200.0, 200.0, 200.0))[0, 0] == round(255 * 0.21 / 2)
    # dark field: bright tissue on black is not dark
    assert darkness(pixels, (0.0, 0.0, 0.0)).max() <= 255


def test_the_scale_that_is_made_as_the_package_is_loaded():
    """Once: so what makes it is looked at by itself."""
    level = np.array([0, 64, 128, 191, 255]) / 255
    red, green, blue = (np.clip(1.5 - np.abs(4 * level - peak), 0, 1) for peak in (3, 2, 1))
    made = _jet()
    assert made == JET
    np.testing.assert_allclose(
        made.colours[[0, 64, 128, 191, 255]], 255 * np.stack((red, green, blue), -1), atol=0.51
    )


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (7, 700), (700, 7)])
def test_pixels_at_every_edge_are_read(shape):
    mask = np.broadcast_to(JET.colours[140], (*shape, 3))
    found = read_mask(mask)
    assert np.abs(found.level.astype(int) - 140).max() <= 1
    np.testing.assert_array_equal(found.part, np.full(shape, 255))
    assert found.level.dtype == found.part.dtype == np.uint8


def test_what_a_table_must_hold():
    """From 0 to 255, more than 1, and two colours that are seen on black."""
    table = np.zeros((256, 3))
    table[:128], table[128:] = (255, 0, 0), (0, 0, 40)
    assert len(np.unique(Scale.of("two", table).colours, axis=0)) == 2
    for wrong, says in (
        (table + 0.5, "from 0 to 255"),
        (table - 0.5, "from 0 to 255"),
        (table / 255, "reach no more than 1,"),
        (np.where(table == 40, EXPRESSING, table), "no two colours"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            Scale.of("wrong", wrong)
    # dark, but no colours from 0 to 1
    with pytest.raises(InvalidInputError, match="no two colours"):
        Scale.of("dark", table / 255 * 2)


def test_a_table_as_spreadsheets_save_it(tmp_path):
    lines = "\n".join(",".join(map(str, colour)) for colour in JET.colours.tolist())
    (tmp_path / "own.csv").write_text(f"# µ\n{lines}\n", "utf-8-sig")
    assert open_scale(tmp_path / "own.csv").table == JET.table
    (tmp_path / "bare.csv").write_text(f"{lines}\n", "utf-8-sig")
    assert open_scale(tmp_path / "bare.csv").table == JET.table
