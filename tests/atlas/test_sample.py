from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.atlas import (
    hemispheres_on_image,
    hemispheres_on_reference,
    on_image,
    on_reference,
    section_annotation,
    section_template,
)
from atldld.atlas.sample import voxel_side
from atldld.demo import anatomy
from atldld.errors import InvalidInputError
from atldld.place import Placement
from atldld.place.planes import OutputPlane
from atldld.place.spaces import BOX, Grid, Plane
from atldld.place.tiers import tier_to_image
from atldld.support.pipeline import fetch_then_work

SHAPE = (132, 80, 114)  # at 100 µm


@pytest.fixture(scope="module")
def ramps():
    """One volume whose voxels name themselves, and one of p + 2i + 3r in µm."""
    named = np.arange(np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE)
    p, i, r = np.indices(SHAPE)
    return named, ((p + 2 * i + 3 * r + 3) * 100.0).astype(np.float32)


def tilted():
    """A section that runs obliquely, and partly out of the box."""
    forward = np.array(
        [[0.3117, 4.0391, 5200.3], [0.2123, 8.1171, -700.2], [9.2219, -0.4137, -300.7]]
    )
    # no pixel's centre lies on the border of two voxels, where rounding would decide
    return Placement(forward, np.zeros((3, 4)))


def expected(volume, pir):
    index = np.floor(pir / 100).astype(int)
    inside = ((index >= 0) & (index < volume.shape)).all(axis=-1)
    values = volume[tuple(np.moveaxis(np.where(inside[..., None], index, 0), -1, 0))]
    return np.where(inside, values, 0)


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("downsample", [0, 3])
def test_labels_are_those_of_the_voxel_in_which_the_pixel_centre_lies(ramps, order, downsample):
    named = (
        np.repeat(ramps[0], 2, 0)[::2] if order == "strided" else np.array(ramps[0], order=order)
    )
    width, height = 1300, 1105
    found = on_image(named, tilted(), width, height, downsample)
    factor = 1 << downsample
    y, x = np.indices((height >> downsample, width >> downsample)) * factor + (factor - 1) / 2
    truth = expected(ramps[0], tilted().to_reference(np.stack((x, y), -1)))
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, truth)
    assert (found == 0).any()
    assert (found > 0).any()


def test_a_thread_of_many_makes_no_threads_of_its_own(ramps, monkeypatch):
    """They would wait for each other, and for the lock of Python."""
    monkeypatch.setattr("atldld.atlas.sample._AT_ONCE", 5000)
    monkeypatch.setattr("atldld.support.pipeline.default_jobs", lambda: 4)
    made = []

    class Counting(ThreadPoolExecutor):
        def __init__(self, workers):
            made.append(workers)
            super().__init__(workers)

    monkeypatch.setattr("atldld.atlas.sample.ThreadPoolExecutor", Counting)
    for workers, expected in ((1, [4]), (2, [2]), (4, [])):
        made.clear()
        outcome = fetch_then_work(
            [1],
            lambda _: None,
            lambda *_: on_image(ramps[0], tilted(), 700, 900, 0),
            fetchers=1,
            workers=workers,
        )
        assert len(list(outcome)) == 1
        assert made == expected


def test_blocks_do_not_show(ramps, monkeypatch):
    whole = on_image(ramps[0], tilted(), 700, 900, 0)
    monkeypatch.setattr("atldld.atlas.sample._AT_ONCE", 5000)
    np.testing.assert_array_equal(on_image(ramps[0], tilted(), 700, 900, 0), whole)


@pytest.mark.parametrize("plane", list(Plane))
def test_an_axis_parallel_plane_through_voxel_centres_is_the_volumes_own(ramps, plane):
    grid = Grid(plane, 100)
    depth = plane.depth_axis
    placement = Placement(np.eye(3), np.zeros((3, 4)))
    orders: tuple[Literal[0, 1], ...] = (0, 1)
    for volume, order in zip(ramps, orders, strict=True):
        shown = on_reference(volume, OutputPlane.at_depth(placement, grid, 3050.0), order=order)
        cut = np.take(volume, 30, axis=depth)
        if (grid.row_axis, grid.column_axis) != tuple(np.delete([0, 1, 2], depth)):
            cut = cut.T
        np.testing.assert_allclose(shown, cut, rtol=1e-6)
    # the last µm of a voxel is still its own
    shown = on_reference(ramps[0], OutputPlane.at_depth(placement, grid, 3099.99))
    cut = np.take(ramps[0], 30, axis=depth)
    assert set(shown.ravel()) == set(cut.ravel())


def test_straight_lines_are_interpolated_exactly(ramps):
    """p + 2i + 3r at voxel centres is what it is everywhere between them."""
    image = on_image(ramps[1], tilted(), 1300, 1100, 2, order=1)
    y, x = np.indices(image.shape) * 4 + 1.5
    pir = tilted().to_reference(np.stack((x, y), -1))
    inner = ((pir > 50) & (pir < np.array(BOX) - 50)).all(axis=-1)
    truth = pir @ [1, 2, 3]
    np.testing.assert_allclose(image[inner], truth[inner], rtol=2e-6)
    beyond = ((pir < 0) | (pir >= BOX)).any(axis=-1)
    assert not image[beyond].any()
    # in the outer half voxel the value stays, rather than falling to 0
    rim = ~inner & ~beyond
    assert (np.abs(image[rim] - truth[rim]) < 300).all()
    assert image.dtype == np.float32


def test_hemispheres(ramps):
    width, height = 1300, 1100
    side = hemispheres_on_image(tilted(), width, height, 1)
    y, x = np.indices(side.shape) * 2 + 0.5
    r = tilted().to_reference(np.stack((x, y), -1))[..., 2]
    np.testing.assert_array_equal(side, np.where(r < 5700, 1, 2))
    plane = OutputPlane.at_depth(tilted(), Grid(Plane.CORONAL, 100), 5000)
    assert (hemispheres_on_reference(plane)[:, :57] == 1).all()
    assert (hemispheres_on_reference(plane)[:, 57:] == 2).all()


def test_tier_centres():
    xy = tier_to_image(3).apply([[0, 0], [10, 5]])
    assert xy.tolist() == [[3.5, 3.5], [83.5, 43.5]]


@pytest.mark.parametrize(
    ("shape", "resolution", "said"),
    [((5, 5), None, "three axes"), ((132, 80, 57), None, "fill"), ((67, 41, 58), None, "fill")],
)
def test_volumes_of_another_shape(shape, resolution, said):
    with pytest.raises(InvalidInputError, match=said):
        voxel_side(np.zeros(shape), resolution)
    assert voxel_side(np.zeros((67, 41, 58)), 200) == 200
    assert voxel_side(np.zeros(SHAPE)) == 100


def test_bad_arguments(ramps):
    with pytest.raises(InvalidInputError, match="order is 2"):
        on_image(ramps[0], tilted(), 100, 100, order=2)  # type: ignore[arg-type]
    for downsample in (-1, 9):
        with pytest.raises(InvalidInputError, match="downsample"):
            on_image(ramps[0], tilted(), 100, 100, downsample)


# ---- the demo brain, whose truth is known everywhere


@pytest.mark.parametrize("dataset_id", [69289763, 71717084])
def test_the_annotation_is_where_the_brain_is(demo_atlas, demo_session, dataset_id):
    """Exact at points: a flip of an axis, or a shift by one voxel, shows at once."""
    section = list(open_dataset(dataset_id, session=demo_session))[7]
    labels = section_annotation(section, demo_atlas, downsample=4)
    y, x = np.indices(labels.shape) * 16 + 7.5
    pir = section.to_reference(np.stack((x, y), -1))
    centres = (np.floor(pir / 100) + 0.5) * 100
    inside = ((pir >= 0) & (pir < BOX)).all(axis=-1)
    truth = np.where(inside, anatomy.structure_id(centres), 0)
    np.testing.assert_array_equal(labels, truth)
    for axis in range(3):
        shifted = np.roll(demo_atlas.annotation, 1, axis=axis)
        moved = on_image(shifted, section.placement, section.image.width, section.image.height, 4)
        assert np.mean(moved != truth) > 0.02
    flipped = np.ascontiguousarray(demo_atlas.annotation[:, :, ::-1])
    mirrored = on_image(flipped, section.placement, section.image.width, section.image.height, 4)
    marked = np.count_nonzero(truth == 60)
    assert marked == 0 or not np.array_equal(mirrored, truth)


def test_only_the_left_hemisphere_has_the_marker(demo_atlas):
    p, _, r = np.nonzero(demo_atlas.annotation == 60)
    assert len(r) > 50
    assert (r < 57).all()
    assert abs((p.mean() + 0.5) * 100 - 5300) < 20
    assert abs((r.mean() + 0.5) * 100 - 3500) < 20


def test_the_template_follows_the_tissue(demo_atlas, demo_session):
    section = open_dataset(909, session=demo_session).sections[6]
    grey = section_template(section, demo_atlas, 100)
    labels = section_annotation(section, demo_atlas, 100)
    assert grey.shape == labels.shape == Grid(section.plane, 100).shape
    assert grey.dtype == np.float32
    assert grey[labels > 0].mean() > 100
    assert grey[labels == 0].mean() < 30


# ---- the genuine annotation on the genuine section


def test_the_dentate_gyrus_is_where_the_service_puts_it(real_atlas, prox1, graph):
    """The service's own structure_to_image of DG-sg, 632: about (6384, 2744)."""
    image, placement = prox1
    labels = on_image(real_atlas.annotation, placement, image.width, image.height, 2)
    assert labels.shape == (1888, 2980)
    x, y = 6384 / 4, 2744 / 4
    around = labels[int(y) - 12 : int(y) + 13, int(x) - 12 : int(x) + 13]
    assert 632 in around
    assert graph.find("DG").id in graph.roll_up(around, to=[graph.find("DG").id])
    # a mirrored atlas would not, as the right place is the left hemisphere's
    assert (hemispheres_on_image(placement, image.width, image.height, 4) == 1).all()


def test_all_ids_of_the_genuine_annotation_are_known(real_atlas):
    assert real_atlas.unknown_ids == ()
    assert real_atlas.resolution == 25
