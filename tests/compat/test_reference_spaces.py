"""Reference spaces as objects, the page about them, and the numbers on it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atldld.errors import InvalidInputError
from atldld.place.spaces import BOX, ReferenceSpace

ROOT = Path(__file__).resolve().parents[2]
P56 = ReferenceSpace.P56
points_in_box = hnp.arrays(
    np.float64, (6, 3), elements=st.floats(0, 1, exclude_max=True).map(lambda v: round(v, 6) * 0.99)
).map(lambda unit: unit * BOX)
resolutions = st.sampled_from([10, 12.5, 25, 50, 100, 200, 7.3])


def test_what_a_space_is():
    assert (P56.id, str(P56), P56.age, P56.species) == (9, "P56 Brain", "P56", "Mus musculus")
    assert (P56.size, P56.axes) == (BOX, ("posterior", "inferior", "right"))
    flipped = ReferenceSpace.of(10)
    assert (flipped.age, flipped.size, flipped.axes) == ("P56", P56.size, P56.axes)
    young = ReferenceSpace.of(1)
    assert (young.age, young.size, young.axes) == ("E11.5", None, None)
    assert [space.age for space in ReferenceSpace] == [
        *("E11.5", "E13.5", "E15.5", "E16.5", "E18.5", "P4", "P14", "P28", "P56", "P56")
    ]
    assert ReferenceSpace.of(P56) is P56
    for bad in (0, 11, "9", None):
        with pytest.raises(InvalidInputError, match=r"there are 1 \(E11\.5 Embryo\)"):
            ReferenceSpace.of(bad)  # type: ignore[arg-type]
    for work in (
        lambda: young.shape(25),
        lambda: young.to_voxels([[1, 2, 3]], 25),
        lambda: young.to_brainglobe([[1, 2, 3]]),
        lambda: young.hemispheres([[1, 2, 3]]),
    ):
        with pytest.raises(InvalidInputError, match="size of reference space 1"):
            work()


@given(points_in_box, resolutions)
def test_voxels_and_back(points, resolution):
    shape = P56.shape(resolution)
    inside = (points < np.array(shape) * resolution).all(axis=1)
    voxels = P56.to_voxels(points[inside], resolution)
    assert voxels.dtype == np.int64
    assert ((voxels >= 0) & (voxels < shape)).all()
    centres = P56.to_um(voxels, resolution)
    assert np.abs(centres - points[inside]).max(initial=0) <= resolution / 2 + 1e-6
    np.testing.assert_array_equal(P56.to_voxels(centres, resolution), voxels)


def test_voxels_at_the_borders():
    for resolution, shape in (
        (10, (1320, 800, 1140)),
        (25, (528, 320, 456)),
        (12.5, (1056, 640, 912)),
    ):
        assert P56.shape(resolution) == shape
    assert P56.to_voxels([0, 0, 0], 25).tolist() == [0, 0, 0]
    assert P56.to_voxels([25, 24.999, 11399.99], 25).tolist() == [1, 0, 455]
    for outside in ([13200, 0, 0], [-0.01, 0, 0]):
        with pytest.raises(
            InvalidInputError, match="1 of 2 points lie outside the 528 × 320 × 456"
        ):
            P56.to_voxels([[1, 1, 1], outside], 25)
        marked = P56.to_voxels([[1, 1, 1], outside], 25, outside="mark")
        assert marked.tolist() == [[0, 0, 0], [-1, -1, -1]]
    for bad in (0, -1, float("nan"), 9000):
        with pytest.raises(InvalidInputError, match="positive number of µm"):
            P56.shape(bad)
    with pytest.raises(InvalidInputError, match="µm of the reference space"):
        P56.to_voxels([1, 2], 25)


ORIENTATIONS = ["asr", "asl", "psl", "pir", "ail", "ras", "lsa", "sra", "rpi", "ial"]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_brainglobe_agrees(orientation):
    """Our axes are its "asl": its letters say where an axis starts."""
    from brainglobe_space import AnatomicalSpace

    ours = AnatomicalSpace("asl", shape=P56.shape(25), resolution=(25, 25, 25))
    order = [[letter in axis for axis in ("ap", "si", "lr")].index(True) for letter in orientation]
    theirs = AnatomicalSpace(
        orientation,
        shape=tuple(np.array(P56.shape(25))[order]),
        resolution=(25, 25, 25),
    )
    points = np.random.default_rng(0).random((50, 3)) * BOX
    expected = np.asarray(ours.map_points_to(theirs, points / 25)) * 25
    np.testing.assert_allclose(P56.to_brainglobe(points, orientation), expected, atol=1e-6)
    np.testing.assert_allclose(P56.from_brainglobe(expected, orientation), points, atol=1e-6)

    # and what it does with an array meets our voxels
    array = np.arange(np.prod((8, 5, 7))).reshape(8, 5, 7)
    turned = AnatomicalSpace("asl", shape=array.shape).map_stack_to(orientation, array)
    axes = P56._brainglobe_axes(orientation)
    by_hand = array.transpose([axis for axis, _ in axes])
    by_hand = by_hand[tuple(slice(None, None, -1 if far else 1) for _, far in axes)]
    np.testing.assert_array_equal(turned, by_hand)


def test_bad_orientations():
    for bad in ("as", "aas", "asx", "asrl", "", 5):
        with pytest.raises(InvalidInputError, match="one letter each"):
            P56.to_brainglobe([[1, 2, 3]], bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="'asr'"):
        P56.from_brainglobe([[1, 2]])


def test_hemispheres():
    points = np.array([[1.0, 2, 100], [1, 2, 5699.9], [1, 2, 5700], [1, 2, 11000]])
    assert P56.hemispheres(points).tolist() == [1, 1, 2, 2]
    left, right = P56.to_hemisphere(points, "left"), P56.to_hemisphere(points, "right")
    assert left[:, 2].tolist() == [100, 5699.9, 5700, 400]
    np.testing.assert_allclose(right[:, 2], [11300, 5700.1, 5700, 11000])
    assert points[3, 2] == 11000
    np.testing.assert_array_equal(left[:, :2], points[:, :2])
    # sagittal sections, of space 10, are left ones
    assert ReferenceSpace.of(10).hemispheres([8052, 2890, 3346]) == 1
    with pytest.raises(InvalidInputError, match="'left' or 'right'"):
        P56.to_hemisphere(points, "both")  # type: ignore[arg-type]


def test_the_picture():
    pytest.importorskip("matplotlib")
    from mpl_toolkits.mplot3d.axes3d import Axes3D

    from atldld.demo.figure import reference_spaces

    box, *sides = reference_spaces().axes
    assert isinstance(box, Axes3D)
    # p backwards towards the viewer, i down, r to the right: turned, not mirrored
    assert (box.get_xlim(), box.get_ylim(), box.get_zlim()) == ((0, 11400), (-13200, 0), (-8000, 0))
    assert [(one.get_xlim(), one.get_ylim()) for one in sides] == [
        ((0, 11400), (8000, 0)),
        ((0, 13200), (8000, 0)),
        ((0, 11400), (13200, 0)),
    ]
    assert (ROOT / "docs" / "images" / "spaces.png").stat().st_size > 20_000


def test_the_code_on_the_page():
    text = (ROOT / "docs" / "spaces.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(from atldld import ReferenceSpace.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    checked = 0
    for line, shown in re.findall(r"^(p56\.\S.*?\))\s+# ([\[(].*?[\])]|\d)", code, re.MULTILINE):
        found = eval(line, names)
        np.testing.assert_allclose(found, eval(shown), atol=0.01, err_msg=line)
        checked += 1
    assert checked == 5


def test_the_numbers_on_the_page(shared):
    """What `benchmarks/nissl_versus_ccf.py` computes is what the page says."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "nissl_versus_ccf.py", shared],
        capture_output=True,
        text=True,
        check=True,
    )
    printed = re.findall(r"^([pir]) +(\d+) +(\d+) +([+-]\d+)$", done.stdout, re.MULTILINE)
    text = (ROOT / "docs" / "spaces.md").read_text("utf-8")
    rows = re.findall(
        r"^\| ([pir]) \| (\d+) µm \| (\d+) µm \| ([+-]\d+) µm \|$", text, re.MULTILINE
    )
    assert [row[0] for row in rows] == ["p", "i", "r"]
    assert printed == rows


def test_the_points_benchmark_runs():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "bench_points.py", "--count=200000", "--repeats=1"],
        capture_output=True,
        text=True,
        check=True,
    )
    (ratio,) = re.findall(r"^one image .* peak ([\d.]+) ×", done.stdout, re.MULTILINE)
    assert float(ratio) <= 2
