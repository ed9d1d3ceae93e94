"""Sections that are put off by known amounts, and what is said of how they were found."""

import msgspec
import numpy as np
import pytest

from atldld.place.refinement import ExpectedError
from atldld.place.registration import Registration
from atldld.place.sections import PlacedDataSet
from atldld.testing.disturbed import disturbed, judgement, known_errors
from atldld.testing.places import Errors


@pytest.fixture(scope="module")
def off(demo):
    return disturbed(demo[1], demo[2], seed=3)


def placements(registration):
    return {image_id: fit.placement for image_id, fit in registration.sections.items()}


def test_sections_are_off_by_what_is_asked(demo, off):
    _, truth, atlas = demo
    errors = known_errors(truth, placements(off), atlas)
    # one has next to no tissue
    assert len(errors) == len(truth) - 1
    assert np.median(list(errors.values())) == pytest.approx(220, rel=0.2)
    # shifted and tilted each by itself, and bent
    assert len({round(error) for error in errors.values()}) > len(errors) / 2
    assert all(fit.deformation is not None for fit in off.sections.values())
    assert off.about["disturbed"] == {"median_um": 220.0, "seed": 3}
    still = known_errors(truth, {s.id: s.placement for s in truth.sections}, atlas)
    assert max(still.values()) < 1e-9


def test_a_seed_decides_everything(demo, off):
    again, other = (disturbed(demo[1], demo[2], seed=seed) for seed in (3, 4))
    key = demo[1].sections[0].id
    assert again.sections[key].image_to_reference == off.sections[key].image_to_reference
    assert other.sections[key].image_to_reference != off.sections[key].image_to_reference
    small = disturbed(demo[1], demo[2], Errors(median=100.0, bend=((10.0, 2500.0),)), seed=3)
    errors = known_errors(demo[1], placements(small), demo[2])
    assert np.median(list(errors.values())) == pytest.approx(100, rel=0.3)


def test_what_is_said_of_a_refinement(demo, off):
    _, truth, atlas = demo
    start = PlacedDataSet.of(truth.record, off)
    before = known_errors(truth, placements(off), atlas)
    said = judgement(truth, start, off, atlas)
    middle = f"{np.median(list(before.values())):.0f} µm"
    assert f"{middle} before, {middle} after" in said
    assert said.endswith("no expected error is stated.")
    # nothing is off after this one, and half of the sections keep to what is expected of them
    fits = {}
    for k, section in enumerate(truth.sections):
        fit = off.sections[section.id]
        expected = ExpectedError(
            before=200, after=50, bound90_before=400, bound90_after=1e9 if k % 2 else 0.0
        )
        fits[section.id] = msgspec.structs.replace(fit, expected_error=expected)
    said = judgement(truth, start, Registration(truth.id, fits, {}), atlas)
    below = sum(k % 2 for k, section in enumerate(truth.sections) if section.id in before)
    assert f"50 µm, and {below} of {len(before)} sections lie below" in said
