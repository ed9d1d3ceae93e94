"""The atlas on curved sections: labels, grey values, sides and outlines."""

import numpy as np
import pytest
import shapely

from atldld.atlas.outlines import Selection, section_outlines
from atldld.atlas.sample import (
    hemispheres_on_image,
    on_image,
    section_annotation,
    section_template,
)
from atldld.place.spaces import BOX, Grid
from atldld.place.tiers import tier_to_image


def pixels_of(section, downsample):
    """Reference coordinates of all pixels of a tier, by the placement's own way."""
    columns, rows = section.image.size(downsample)
    at = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    return section.to_reference(tier_to_image(downsample).apply(at))


def far_from_edges(pir, side, margin):
    """Where a place is further than `margin` µm from the sides of its voxel."""
    into = pir % side
    return ((into > margin) & (into < side - margin)).all(axis=-1)


@pytest.mark.parametrize("downsample", [4, 5, 7])
def test_labels_over_the_raw_picture_are_those_at_each_pixel(curved, atlas, downsample):
    labels = section_annotation(curved, atlas, downsample=downsample)
    pir = pixels_of(curved, downsample)
    index = np.floor(pir / atlas.resolution).astype(int)
    shape = np.array(atlas.annotation.shape)
    inside = ((index >= 0) & (index < shape)).all(axis=-1)
    p, i, r = np.moveaxis(np.clip(index, 0, shape - 1), -1, 0)
    expected = np.where(inside, np.asarray(atlas.annotation)[p, i, r], 0)
    # 1/16 of a pixel of the tier, which is some 2^d µm
    clear = far_from_edges(pir, atlas.resolution, 2**downsample * 1.5 / 16)
    assert clear.mean() > 0.3
    np.testing.assert_array_equal(labels[clear], expected[clear])
    assert len(np.unique(labels)) > 5


def test_labels_differ_from_those_of_the_flat_section(flat, curved, atlas):
    one, other = (section_annotation(s, atlas, downsample=5) for s in (flat, curved))
    assert (one != other).mean() > 0.05
    # on the reference grid a pixel lies where it lies
    np.testing.assert_array_equal(
        section_annotation(flat, atlas, 50), section_annotation(curved, atlas, 50)
    )


def test_grey_values_are_those_at_each_pixel(curved):
    """A volume that holds its own coordinate tells where it was read."""
    side = 100
    shape = tuple(length // side for length in BOX)
    for axis in range(3):
        centres = (np.arange(shape[axis]) + 0.5) * side
        volume = np.broadcast_to(
            centres.reshape([-1 if k == axis else 1 for k in range(3)]), shape
        ).astype(np.float32)
        image = curved.image
        found = on_image(
            np.ascontiguousarray(volume),
            curved.placement,
            image.width,
            image.height,
            5,
            order=1,
        )
        pir = pixels_of(curved, 5)
        inside = ((pir > side) & (pir < np.array(BOX) - side)).all(axis=-1)
        assert inside.any()
        np.testing.assert_allclose(found[inside], pir[inside][:, axis], atol=32 * 1.5 / 16)


def test_the_template_bends_too(flat, curved, atlas):
    one, other = (section_template(s, atlas, downsample=5) for s in (flat, curved))
    assert one.shape == other.shape
    assert np.abs(one - other).max() > 10


def test_the_midline_bends(curved):
    image = curved.image
    sides = hemispheres_on_image(curved.placement, image.width, image.height, 5)
    r = pixels_of(curved, 5)[..., 2]
    clear = np.abs(r - BOX[2] / 2) > 2
    np.testing.assert_array_equal(sides[clear], np.where(r < BOX[2] / 2, 1, 2)[clear])


def both(section, atlas, frame, **options):
    return {
        (one.id, one.hemisphere): one
        for one in section_outlines(section, atlas, frame=frame, **options)
    }


@pytest.mark.parametrize("tolerance", [0.0, 3.0])
def test_outlines_on_the_image_are_bent_as_the_section_is(curved, atlas, tolerance):
    """Of each structure: its outline in the plane, point by point led to the image."""
    selection = Selection(tolerance=tolerance)
    straight = both(curved, atlas, "reference", resolution=50, selection=selection)
    bent = both(curved, atlas, "image", resolution=50, selection=selection)
    assert list(straight) == list(bent)
    assert len(bent) > 5
    grid = Grid(curved.plane, 50)
    forward = curved.placement.forward[[grid.column_axis, grid.row_axis]]
    back = np.linalg.inv(np.vstack((forward, [0, 0, 1])))
    for key, one in bent.items():
        assert one.frame == "image"
        for (ring, *_), (expected, *_) in zip(one.polygons, straight[key].polygons, strict=True):
            np.testing.assert_array_equal(ring[0], ring[-1])
            # finely divided, the straight line is the truth
            fine = shapely.get_coordinates(shapely.segmentize(shapely.LineString(expected), 20))
            flat = np.column_stack((fine, np.ones(len(fine)))) @ back.T
            truth = curved.placement.deformation.to_image(flat[:, :2])
            off = shapely.distance(shapely.points(truth), shapely.LineString(ring))
            # a twentieth of a pixel of 50 µm
            assert off.max() < 0.06 * 50
    if tolerance:
        ends = sum(len(ring) for one in straight.values() for ring in one.polygons[0])
        bent_points = sum(len(ring) for one in bent.values() for ring in one.polygons[0])
        assert bent_points > ends


def test_bent_neighbours_share_their_border(curved, atlas):
    found = section_outlines(curved, atlas, 50, Selection(tolerance=2), frame="image")
    shapes = [shapely.Polygon(ring, holes) for one in found for ring, *holes in one.polygons]
    assert all(shape.is_valid for shape in shapes)
    union = shapely.coverage_union_all(shapes)
    assert shapely.coverage_is_valid(shapes)
    assert sum(shape.area for shape in shapes) == pytest.approx(union.area, rel=1e-9)


def test_outlines_over_the_raw_picture_lead_back_to_the_plane(curved, atlas):
    """Both ways of sampling give the same outlines in the plane, but for their pixels."""
    one = both(curved, atlas, "reference", resolution=25)
    other = both(curved, atlas, "reference", downsample=4)
    image = both(curved, atlas, "image", downsample=4)
    compared = 0
    for key in set(one) & set(other):
        if one[key].area < 3e5:
            continue
        shapes = [
            shapely.union_all([shapely.Polygon(ring, holes) for ring, *holes in found.polygons])
            for found in (one[key], other[key])
        ]
        shared = shapely.intersection(*shapes).area / shapely.union(*shapes).area
        # pixels of 25 µm on one side, of some 16 on the other
        edge = sum(shape.length for shape in shapes) / 2 * 15
        assert shared > 1 - edge / min(shape.area for shape in shapes)
        assert image[key].frame == "image"
        compared += 1
    assert compared > 3


def test_nothing_changes_for_a_flat_section(flat, atlas):
    for frame in ("image", "reference"):
        for found in section_outlines(flat, atlas, 50, frame=frame):
            assert found.frame == frame
