"""Stated errors are finite, of what a section shows, and larger where it is farther off."""

import json
import warnings

import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.formats.quicknii import write_quicknii
from atldld.refine.errors import FIGURES, evidence, stated
from atldld.refine.model import Labels3d, Look
from atldld.refine.steps import Fitted

DATASET = 909
STILL = {"steps": ["sections"], "most": 1e-3, "resolution": 100, "jobs": 2}


@pytest.fixture(scope="module")
def right(demo):
    """Errors of sections that lie right, and stay."""
    return stated_errors(demo[1].refine(demo[2], **STILL))


def stated_errors(registration):
    assert registration.moved == 0
    return {one: fit.expected_error for one, fit in registration.sections.items()}


def shifted(dataset, session, folder, which, by):
    """The data set with some sections shifted by voxels of 25 µm in their planes."""
    path = write_quicknii(dataset, folder / "shifted.json")
    document = json.loads(path.read_text())
    for k in which:
        anchoring = np.array(document["slices"][k]["anchoring"])
        along = anchoring[3:6] / np.linalg.norm(anchoring[3:6])
        anchoring[:3] += by * along
        document["slices"][k]["anchoring"] = anchoring.tolist()
    path.write_text(json.dumps(document))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_dataset(dataset.id, session=session, alignment=path)


@pytest.mark.long
def test_a_section_that_is_shifted_is_told_from_one_that_lies_right(demo, right, tmp_path):
    session, dataset, atlas = demo
    k = 7
    one = shifted(dataset, session, tmp_path, [k], 12)
    found = stated_errors(one.refine(atlas, **STILL))
    by_number = sorted(dataset, key=lambda section: section.number)
    moved = by_number[k].id
    assert found[moved].after > 1.5 * right[moved].after
    assert found[moved].bound90_after > found[moved].after
    others = [section.id for section in by_number if section.id != moved and right[section.id]]
    ratios = [found[other].after / right[other].after for other in others]
    assert np.median(ratios) == pytest.approx(1, abs=0.1)


@pytest.mark.long
def test_disturbed_sections_state_larger_errors(demo, right, disturbed):
    found = stated_errors(disturbed.refine(demo[2], **STILL))
    both = [one for one in found if found[one] and right[one]]
    assert len(both) >= 10
    assert np.mean([found[one].after > right[one].after for one in both]) > 0.85
    for one in both:  # what stays where it was is as far off as it was
        assert found[one].before == found[one].after


@pytest.mark.long
def test_what_is_found_is_better_than_the_start(refined):
    errors = [fit.expected_error for fit in refined.sections.values()]
    told = [error for error in errors if error is not None]
    assert len(told) >= 12
    assert np.median([error.after for error in told]) < np.median([e.before for e in told]) / 1.5
    for fit in refined.sections.values():
        # what could not be looked at has none, and nothing else lacks one
        assert (fit.expected_error is None) == (fit.steps[0].step == "none")


def test_errors_are_of_the_structures_that_a_section_shows(demo, refined):
    _, dataset, atlas = demo
    for section in dataset:
        fit = refined.sections[section.id]
        if fit.expected_error is None:
            continue
        width, height = section.image.width, section.image.height
        x, y = np.meshgrid(np.linspace(0, width, 300), np.linspace(0, height, 300))
        points = fit.placement.to_reference(np.stack((x.ravel(), y.ravel()), axis=-1))
        voxels = np.floor(points / atlas.resolution).astype(int)
        inside = ((voxels >= 0) & (voxels < atlas.annotation.shape)).all(axis=1)
        shown = set(np.unique(atlas.annotation[tuple(voxels[inside].T)]).tolist()) - {0}
        shown |= {above for one in shown for above in atlas.graph.ancestors(one)}
        structures = fit.expected_error.structures
        assert structures
        assert set(structures) <= shown
        assert len(structures) > 0.8 * len(shown)
        for before, after in structures.values():
            assert 0 < after <= before < 5000


@pytest.fixture
def labels():
    """A brain of two halves in a box of 4 mm."""
    places = np.zeros((40, 40, 40), np.uint16)
    places[5:35, 5:35, 5:20], places[5:35, 5:35, 20:35] = 1, 2
    return Labels3d(places, 3, 100.0, np.array([0, 11, 12]))


def section(values, depth=2000.0):
    count = np.arange(values.shape[0], dtype=float)
    forward = np.array([[50.0, 0, 0], [0, 0, depth], [0, 50.0, 0]])
    return Look(values.astype(np.float32), count, count, 50.0), Fitted(
        forward, np.array([0, 200.0, 0])
    )


@pytest.mark.parametrize("empty", ["blank", "a speck", "one value", "outside"])
def test_figures_are_finite_whatever_the_picture_shows(labels, empty):
    full = np.zeros((80, 80))
    full[10:70, 10:70], full[10:40, 10:70] = 9, 5
    odd, depth = np.zeros((80, 80)), 2000.0
    if empty == "a speck":
        odd[40, 40] = 15
    elif empty == "one value":
        odd[:] = 7
    elif empty == "outside":
        odd, depth = full, 9000.0
    looks, places = zip(section(full, 1800), section(odd, depth), section(full, 2200), strict=True)
    lines = [(), (1, 11), (1, 12)]
    with np.errstate(all="raise", under="ignore"):
        found = evidence(looks, places, places, [1, 2, 3], labels, lines)
    if empty == "outside":
        assert found[1] is None
        return
    told = []
    for one in found:
        assert one is not None
        assert one.figures.shape == (len(FIGURES),)
        assert np.isfinite(one.figures).all()
        assert np.isfinite(one.local).all()
        assert one.structures == (1, 11, 12)
        error = stated(one)
        assert 0 < error.after == error.before < 1e4
        told.append(error.after)
    # what shows nothing of the brain may lie anywhere
    assert told[1] > 1.2 * max(told[0], told[2])
