"""Tables of curved sections whose masks are bent: those of the flat ones."""

import numpy as np
import pytest

from atldld.place.tiers import tier_of, tier_to_image
from tests.curved.conftest import Bending

DATASET = 71717084


def table(dataset, atlas, resolution=16, **options):
    return dataset.quantify(atlas, resolution, grid=False, unionize=False, **options)


@pytest.fixture
def tables(bent, straight, atlas):
    flat = straight(DATASET)
    neglected = type(flat).with_pixels(flat, Bending(flat.session, bent(DATASET)))
    return tuple(table(dataset, atlas) for dataset in (bent(DATASET), flat, neglected))


def columns(found, name):
    """Of structures with at least 0.3 mm² on both sides."""
    return np.asarray(found.columns[name], dtype=float)


def test_densities_energies_and_areas_are_those_of_the_flat_sections(tables):
    found, expected, neglected = tables
    large = (columns(expected, "area_mm2") > 0.5) & (columns(expected, "density") > 0.01)
    large &= np.array(expected.columns["kind"]) == "structure"
    assert large.sum() > 10
    for name, tolerance in {
        "area_mm2": 0.01,
        "volume_mm3": 0.01,
        "density": 0.03,
        "intensity": 0.02,
        "energy": 0.03,
    }.items():
        one, other, wrong = (columns(t, name)[large] for t in (found, expected, neglected))
        np.testing.assert_allclose(one, other, rtol=tolerance, err_msg=name)
        if name == "density":
            assert np.abs(wrong / other - 1).max() > 0.1


def test_all_that_the_image_shows_is_counted(tables, curved_sets):
    """Pixels of the table: those of the flat picture whose centres the image has."""
    found = tables[0]
    total = 0.0
    for section in curved_sets[DATASET].sections:
        tier = tier_of(section, 16)
        columns_, rows = section.image.size(tier)
        x, y = np.array([-0.5, columns_ - 0.5]), np.array([-0.5, rows - 0.5])
        corners = np.array([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])])
        share = np.linspace(0, 1, 400, endpoint=False)[:, None]
        ring = np.concatenate(
            [a + share * (b - a) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
        )
        x, y = section.placement.deformation.to_flat(tier_to_image(tier).apply(ring)).T / 2**tier
        total += abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    kinds = np.array(found.columns["kind"])
    sides = np.array(found.columns["hemisphere"])
    # what lies in no other structure, and what lies in none
    roots = ((columns(found, "depth") == 0) | (kinds != "structure")) & (sides == "both")
    assert columns(found, "pixels")[roots].sum() == pytest.approx(total, rel=1e-3)


def test_stain_is_counted_as_well(bent, straight, atlas):
    one, other = (
        table(dataset, atlas, stain_threshold=0.2) for dataset in (bent(DATASET), straight(DATASET))
    )
    large = (columns(other, "area_mm2") > 0.5) & (columns(other, "stained_fraction") > 0.02)
    large &= np.array(other.columns["kind"]) == "structure"
    np.testing.assert_allclose(
        columns(one, "stained_fraction")[large],
        columns(other, "stained_fraction")[large],
        atol=0.03,
    )
