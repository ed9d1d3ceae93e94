"""How a section fits the atlas, beyond what those beside it do."""

import dataclasses

import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.atlas import open_atlas
from atldld.demo.local import in_process_session
from atldld.place import Placement
from atldld.quality import assess_pictures, view_of
from atldld.quality.figures import measure
from atldld.quality.in_atlas import in_atlas
from atldld.quality.rule import judge

RESOLUTION = 50
PLACE = 6


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The sections in the middle of the sagittal data set, and the atlas."""
    with in_process_session(tmp_path_factory.mktemp("cache")) as session:
        dataset = open_dataset(69289763, session=session)
        sections = dataset.sections[3:16]
        views = [view_of(section.register(RESOLUTION), RESOLUTION) for section in sections]
        yield sections, views, open_atlas(100, session=session)


def moved(section, shift):
    forward = section.placement.forward.copy()
    forward[:, 2] += shift
    return dataclasses.replace(section, placement=Placement(forward, section.placement.backward))


def with_moved(demo, shift, sections=(PLACE,)):
    known, views, atlas = demo
    out = list(views)
    for place in sections:
        out[place] = view_of(moved(known[place], shift).register(RESOLUTION), RESOLUTION)
    return in_atlas(out, atlas.annotation)


def test_sections_that_lie_right_fit_where_they_are(demo):
    found = in_atlas(demo[1], demo[2].annotation)
    assert np.median(found.aside) < 40
    assert np.median(found.deep) < 60
    assert np.median(found.depth_gain) < 0.2


def test_a_move_in_the_plane_is_measured(demo):
    found = with_moved(demo, (300, -200, 0))
    assert found.aside[PLACE] == pytest.approx(np.hypot(300, 200), rel=0.2)
    assert found.aside[PLACE] > 4 * np.median(found.aside)


def test_a_wrong_depth_is_measured(demo):
    # little enough that it stays between the sections beside it, which lie 200 µm away
    found = with_moved(demo, (0, 0, 150))
    assert found.deep[PLACE] == pytest.approx(150, abs=70)
    assert found.depth_gain[PLACE] == max(found.depth_gain)


def test_what_all_sections_have_in_common_is_no_fault(demo):
    every = range(len(demo[1]))
    found = with_moved(demo, (250, 0, 0), every)
    assert np.median(found.aside) < 60


def test_a_reason_says_how_far_and_from_where(demo):
    known, views, atlas = demo
    out = list(views)
    out[PLACE] = view_of(moved(known[PLACE], (300, -200, 0)).register(RESOLUTION), RESOLUTION)
    section = assess_pictures(out, atlas, resolution=RESOLUTION).sections[PLACE]
    assert section.suspicious
    assert any("fit the atlas better elsewhere in its plane" in one for one in section.reasons)


@pytest.mark.parametrize(("gain", "marked"), [(0.0, False), (2.0, True)])
def test_another_depth_counts_only_as_far_as_it_fits_better_there(demo, gain, marked):
    """Where the atlas looks alike over hundreds of µm, a section's best depth is anywhere."""
    _, views, atlas = demo
    found = in_atlas(views, atlas.annotation)
    deep, depth_gain = found.deep.copy(), found.depth_gain.copy()
    deep[PLACE], depth_gain[PLACE] = 900, gain
    placed = dataclasses.replace(found, deep=deep, depth_gain=depth_gain)
    section = judge(views, measure(views, atlas, None, 1), placed)[PLACE]
    assert section.suspicious == marked
    assert any("at another depth" in one for one in section.reasons) == marked
