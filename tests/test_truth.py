"""Registered pictures against what the demo brain is at every output pixel.

The demo brain f is known everywhere. A section of it is rendered at a tier, without cells and
noise, and laid out at 25 µm in its own plane. Inside the tissue the picture must be f averaged
over the larger of an output pixel and a tier's pixel, within 2 grey levels of 255 (RMS).
"""

from functools import lru_cache

import numpy as np
import pytest

from atldld.demo import anatomy, render
from atldld.place import Placement
from atldld.place.planes import OutputPlane
from atldld.place.spaces import Grid, Plane
from atldld.place.tiers import tier_matrix
from atldld.warp.background import background_of
from atldld.warp.resample import resample

RESOLUTION = 25.0
LIMIT = 2.0  # grey levels, RMS
SAMPLES = 6  # along each side of the area that f is averaged over
PIXELS = 4000  # output pixels that are compared, of each section

CASES = [
    (dataset_id, index, tier)
    for dataset_id, indices in ((69289763, (0, 8, 16)), (71717084, (12, 40, 90)))
    for tier in range(6)
    # the largest pictures take seconds to render, so one of each set stands for all there
    for index in (indices if tier >= 2 else indices[1:2])
]


def reference_points(plane, rows, columns):
    """Reference coordinates (µm) of points given by fractional output rows and columns."""
    grid = plane.grid
    points = np.empty((*np.broadcast_shapes(rows.shape, columns.shape), 3))
    points[..., grid.row_axis] = (rows + 0.5) * grid.resolution
    points[..., grid.column_axis] = (columns + 0.5) * grid.resolution
    points[..., grid.depth_axis] = plane.depth_at(rows, columns)
    return points


def some_pixels_in_tissue(plane, image):
    """Rows and columns of output pixels, on the image, whose surroundings are all tissue."""
    rows, columns = (axis.ravel() for axis in np.indices(plane.grid.shape))
    middle = anatomy.tissue(reference_points(plane, rows, columns)) > 0.99
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(middle))[: 2 * PIXELS]
    rows, columns = rows[chosen], columns[chosen]
    around = np.array([(0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)])
    points = reference_points(plane, rows[:, None] + around[:, 0], columns[:, None] + around[:, 1])
    inside = (anatomy.tissue(points) > 0.99).all(axis=1)
    x, y = plane.to_image @ np.stack((columns, rows, np.ones_like(rows)))
    inside &= (x > 100) & (x < image.width - 100) & (y > 100) & (y < image.height - 100)
    return rows[inside][:PIXELS], columns[inside][:PIXELS]


def average_of_truth(plane, rows, columns, side):
    """f averaged over squares of `side` µm around output pixels, on the section; (N, 3)."""
    offsets = ((np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5) * side / plane.grid.resolution
    down, right = (axis.ravel() for axis in np.meshgrid(offsets, offsets))
    points = reference_points(plane, rows[:, None] + down, columns[:, None] + right)
    return anatomy.color(points).mean(axis=1)


@lru_cache(maxsize=32)
def output_plane(dataset, image):
    """An image's plane at 25 µm, and output pixels of it that are compared."""
    grid = Grid(Plane.from_id(dataset.plane_of_section_id), RESOLUTION)
    plane = OutputPlane.oblique(Placement.of(dataset, image), grid)
    return plane, *some_pixels_in_tissue(plane, image)


@lru_cache(maxsize=32)
def truth_of(dataset, image, side):
    """What these pixels must show."""
    plane, rows, columns = output_plane(dataset, image)
    return average_of_truth(plane, rows, columns, side)


@lru_cache(maxsize=2)
def rendered(dataset, image, tier):
    """A section at a tier, kept while one test after the other shifts it."""
    forward = Placement.of(dataset, image).forward
    return render.render(
        forward, image.width, image.height, tier, cells=False, noise=False, label=None
    )


def difference(dataset, image, tier, shift=(0.0, 0.0)):
    """RMS difference between a registered picture and the truth, in grey levels.

    `shift` moves the picture by parts of an output pixel: what a half-pixel mistake would do.
    """
    picture = rendered(dataset, image, tier)
    plane, rows, columns = output_plane(dataset, image)
    matrix = tier_matrix(plane.to_image, tier)
    matrix[:, 2] += matrix[:, :2] @ shift
    found = resample(picture, matrix, plane.grid.shape, background_of(picture))
    assert len(rows) > 100
    tier_pixel = 2**tier * np.linalg.norm(Placement.of(dataset, image).forward[:, 0])
    truth = truth_of(dataset, image, max(RESOLUTION, tier_pixel))
    return float(np.sqrt(np.mean((found[rows, columns] - truth) ** 2)))


@pytest.mark.parametrize(("dataset_id", "index", "tier"), CASES)
def test_oblique_planes_show_the_truth(demo_records, dataset_id, index, tier):
    dataset = demo_records[dataset_id]
    found = difference(dataset, dataset.images[index], tier)
    print(f"tier {tier}: {found:.2f} grey levels RMS")
    assert found <= LIMIT


@pytest.mark.parametrize("shift", [(0.25, 0), (-0.25, 0), (0, 0.25), (0, -0.25)])
@pytest.mark.parametrize("tier", [2, 4, 5])
@pytest.mark.parametrize("dataset_id", [69289763, 71717084])
def test_a_quarter_of_a_pixel_would_be_noticed(demo_records, dataset_id, tier, shift):
    dataset = demo_records[dataset_id]
    image = dataset.images[len(dataset.images) // 2]
    assert difference(dataset, image, tier, shift) > LIMIT


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("tier", range(6))
@pytest.mark.parametrize("dataset_id", [69289763, 71717084])
def test_every_section_shows_the_truth(demo_records, dataset_id, tier):
    dataset = demo_records[dataset_id]
    # the first and the last sections of the coronal set barely touch the brain
    images = dataset.images[3:-1] if dataset_id == 71717084 else dataset.images
    worst = max(difference(dataset, image, tier) for image in images)
    print(f"data set {dataset_id}, tier {tier}: at most {worst:.2f} grey levels RMS")
    assert worst <= LIMIT
