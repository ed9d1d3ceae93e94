"""The guard: what a step must improve, and which sections do not belong where they lie."""

import json
import warnings

import cv2
import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.formats.quicknii import write_quicknii
from atldld.refine.guard import misplaced, strangers, verdict, verdict_of_all


def told(difference, detail, overlap=0.9):
    return {"difference": difference, "overlap": overlap, "detail": detail}


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        (told(0.25, 0.12), True),
        (told(0.25, 0.09), False),  # less like the template
        (told(0.34, 0.15), False),  # much less is explained
        (told(0.30, 0.10), False),
        (told(0.20, 0.15, overlap=0.88), False),
    ],
)
def test_a_step_must_make_a_section_better(after, kept):
    assert verdict(told(0.30, 0.10), after)[0] is kept


def test_all_go_the_same_way_if_most_are_better():
    before = [told(0.3, 0.1)] * 7
    after = [told(0.25, 0.12)] * 4 + [told(0.31, 0.1), told(0.5, 0.1), told(0.25, 0.1, 0.8)]
    kept = [one for one, _ in verdict_of_all(before, after)]
    assert kept == [True] * 5 + [False] * 2  # what is a little worse goes along
    assert not any(one for one, _ in verdict_of_all(after, before))
    assert not any(one for one, _ in verdict_of_all(before, before))


def test_without_a_template_the_pixels_decide():
    before, after = ({"difference": value, "overlap": 0.9} for value in (0.3, 0.28))
    assert all(one for one, _ in verdict_of_all([before] * 3, [after] * 3))
    assert not any(one for one, _ in verdict_of_all([after] * 3, [before] * 3))


def test_strangers_are_unlike_the_sections_around_them():
    rng = np.random.default_rng(0)
    likeness = np.linspace(0.3, 0.15, 20) * rng.uniform(0.85, 1.15, 20)
    difference = np.linspace(0.2, 0.4, 20) * rng.uniform(0.85, 1.15, 20)
    assert strangers(likeness, difference) == []
    likeness[7], difference[7] = 0.09, 0.55
    assert strangers(likeness, difference) == [7]
    likeness[7] = 0.25  # its details are as good as those of others: uneven light, say
    assert strangers(likeness, difference) == []
    assert strangers([0.3, 0.05, 0.3], [0.1, 0.9, 0.1]) == []  # too few to tell


def test_a_data_set_is_judged_by_its_middle_section():
    assert misplaced([0.13] * 6, [0.8] * 6)
    assert not misplaced([0.13] * 6 + [0.3] * 7, [0.8] * 13)
    assert not misplaced([0.25] * 6, [0.9] * 6)
    assert not misplaced([0.05] * 4, [0.5] * 4)  # too few to tell


@pytest.mark.long
def test_a_start_that_is_2_mm_off_is_said_and_not_followed(demo, tmp_path):
    session, dataset, atlas = demo
    path = write_quicknii(dataset, tmp_path / "far.json")
    document = json.loads(path.read_text("utf-8"))
    for image in document["slices"]:
        image["anchoring"][0] += 80.0  # voxels of 25 µm, along r
    path.write_text(json.dumps(document), "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        far = open_dataset(dataset.id, session=session, alignment=path)
    found = far.refine(atlas, resolution=75, jobs=2)
    assert found.moved == 0
    for section in far:
        fit = found.sections[section.id]
        np.testing.assert_array_equal(fit.placement.forward, section.placement.forward)
        assert fit.expected_error is None
    reasons = [fit.steps[-1].reason for fit in found.sections.values()]
    assert sum("better alignment" in reason for reason in reasons) >= 8


@pytest.mark.long
def test_a_picture_of_another_place_stays_and_costs_the_others_nothing(
    demo, disturbed, refined, monkeypatch
):
    session, _, atlas = demo
    wrong, shown = disturbed.sections[8], disturbed.sections[3]
    pixels = session.pixels

    def swapped(image, tier, **options):
        if image.id != wrong.id:
            return pixels(image, tier, **options)
        own = pixels(image, tier, **options)
        return cv2.resize(pixels(shown.image, tier), own.shape[1::-1])

    monkeypatch.setattr(session, "pixels", swapped)
    found = disturbed.refine(atlas, resolution=75, jobs=2)
    fit = found.sections[wrong.id]
    np.testing.assert_array_equal(fit.placement.forward, wrong.placement.forward)
    assert fit.placement.deformation is None
    assert "sections around it" in fit.steps[-1].reason
    assert fit.expected_error is None
    assert found.moved == refined.moved - 1
