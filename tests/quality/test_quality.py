"""The quality figures and the rule, on the demo's eighteen sagittal sections."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from atldld.api import assess, open_dataset
from atldld.atlas import open_atlas
from atldld.demo.local import in_process_session
from atldld.errors import InvalidInputError, OutputError, UnsupportedPlaneError
from atldld.place import Placement
from atldld.quality import (
    THRESHOLD,
    SectionQuality,
    assess_pictures,
    check_output,
    view_of,
)

RESOLUTION = 100


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Data set, atlas, registered sections and their views; each section is fetched once."""
    with in_process_session(tmp_path_factory.mktemp("cache")) as session:
        dataset = open_dataset(69289763, session=session)
        pictures = list(dataset.register(RESOLUTION))
        views = [view_of(picture, RESOLUTION) for picture in pictures]
        yield dataset, open_atlas(100, session=session), pictures, views


def moved(section, shift, degrees=0.0, about=(0, 0)):
    """A sagittal section moved by (p, i, r) and turned in the plane of p and i about a point."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    centre = np.array([*about, 0.0])
    forward = turn @ section.placement.forward
    forward[:, 2] += centre - turn @ centre + shift
    placement = Placement(forward, section.placement.backward)
    return dataclasses.replace(section, placement=placement)


def with_one(demo, place, kind):
    """The views, with one section disturbed."""
    _, _, pictures, views = demo
    section = pictures[place].section
    if kind == "torn":
        _, columns = np.nonzero(views[place].tissue)
        image = pictures[place].image.copy()
        image[:, : int(np.quantile(columns, 0.2))] = pictures[place].background
        picture = dataclasses.replace(pictures[place], image=image)
    elif kind == "shift":
        picture = moved(section, (300, -250, 0)).register(RESOLUTION)
    elif kind == "turn":
        picture = moved(section, (0, 0, 0), 7, (7000, 4000)).register(RESOLUTION)
    else:  # the picture of a section four places away
        other = pictures[place - 4].section
        depth = section.geometry.centre[2] - other.geometry.centre[2]
        picture = moved(other, (0, 0, depth)).register(RESOLUTION)
    out = list(views)
    out[place] = view_of(picture, RESOLUTION)
    return out


def curve(scores, wanted):
    high, low = scores[wanted][:, None], scores[~wanted]
    return ((high > low) + 0.5 * (high == low)).mean()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("with_atlas", [False, True])
@pytest.mark.parametrize("kind", ["shift", "turn", "other", "torn"])
def test_a_disturbed_section_scores_higher(demo, kind, with_atlas):
    atlas = demo[1] if with_atlas else None
    sound = assess_pictures(demo[3], atlas, resolution=RESOLUTION).sections
    for place in (6, 10):
        found = assess_pictures(with_one(demo, place, kind), atlas, resolution=RESOLUTION).sections
        assert found[place].score > sound[place].score + 2
        assert found[place].score == max(section.score for section in found)


@pytest.mark.parametrize("with_atlas", [False, True])
def test_disturbed_sections_are_told_from_others(demo, with_atlas):
    atlas = demo[1] if with_atlas else None
    scores, wanted = [], []
    for place in range(4, 16, 2):
        kind = ("shift", "turn", "other", "torn")[place // 2 % 4]
        found = assess_pictures(with_one(demo, place, kind), atlas, resolution=RESOLUTION)
        scores += [section.score for section in found.sections]
        wanted += [k == place for k in range(len(found.sections))]
    assert curve(np.array(scores), np.array(wanted)) >= 0.95


@pytest.mark.long
@pytest.mark.parametrize("with_atlas", [False, True])
def test_an_undisturbed_set_has_hardly_a_mark(demo, with_atlas):
    dataset, atlas, _, _ = demo
    seen = []
    quality = assess(
        dataset,
        atlas if with_atlas else None,
        resolution=RESOLUTION,
        progress=lambda *now: seen.append(now[:2]),
    )
    assert len(quality.sections) == len(dataset)
    assert len(quality.suspicious) <= 1
    assert seen[-1] == (18, 18)
    for section in quality.sections:
        assert (section.overlap is None) == (not with_atlas)
        if with_atlas:
            assert section.overlap is not None
            assert section.mutual_information is not None
            assert section.overlap > 0.9
            assert 0 < section.mutual_information < 1
        assert -1 <= section.continuity <= 1
        assert 0 <= section.outside <= 1
        assert section.suspicious == (section.score > THRESHOLD)


def test_reasons_are_sentences_with_the_neighbours_beside(demo):
    found = assess_pictures(with_one(demo, 8, "shift"), demo[1], resolution=RESOLUTION)
    section = found.sections[8]
    assert section.suspicious
    assert found.suspicious[0] is section
    assert any("overlap by" in reason and "neighbours" in reason for reason in section.reasons)
    assert any(" µm" in reason for reason in section.reasons)
    assert str(THRESHOLD).removesuffix(".0") in found.rule


def test_misplacement_is_about_what_it_was_moved_by(demo):
    sound = assess_pictures(demo[3], resolution=RESOLUTION).sections
    found = assess_pictures(with_one(demo, 8, "shift"), resolution=RESOLUTION).sections
    assert sound[8].misplacement < 60
    assert found[8].misplacement == pytest.approx(np.hypot(300, 250), rel=0.2)


def test_the_order_of_pictures_does_not_matter(demo):
    views = demo[3]
    there = assess_pictures(views, resolution=RESOLUTION).sections
    back = assess_pictures(views[::-1], resolution=RESOLUTION).sections
    assert [section.image_id for section in back] == [view.section.id for view in views[::-1]]
    for one, other in zip(there, back[::-1], strict=True):
        assert one == other


def test_finer_pictures_are_reduced(demo):
    dataset, _, pictures, views = demo
    finer = dataset.sections[8].register(50)
    view = view_of(finer, RESOLUTION)
    assert view.plane.grid == views[8].plane.grid
    np.testing.assert_allclose(view.plane.to_image, views[8].plane.to_image)
    assert np.abs(view.darkness.astype(int) - views[8].darkness).mean() < 2
    with pytest.raises(InvalidInputError, match="coarser"):
        view_of(pictures[8], 50)
    with pytest.raises(InvalidInputError, match="several grids"):
        assess_pictures([views[7], view_of(finer, 50)])


def test_none_and_one(demo):
    nothing = assess_pictures([], demo[1], resolution=RESOLUTION)
    assert nothing.sections == ()
    assert nothing.to_rows() == []
    one = assess_pictures(demo[3][8:9], demo[1], resolution=RESOLUTION).sections[0]
    assert one.overlap is not None
    assert one.overlap > 0.9
    assert np.isnan(one.continuity)
    assert one.score == 0
    assert not one.suspicious
    for count in (2, 3):
        few = assess_pictures(demo[3][8 : 8 + count], demo[1], resolution=RESOLUTION)
        assert not few.suspicious


@pytest.mark.parametrize("with_atlas", [False, True])
def test_sections_without_tissue_and_outside_are_marked(demo, with_atlas):
    _, atlas, pictures, views = demo
    out = list(views)
    for place, value in ((3, pictures[3].background), (9, (0, 0, 0))):
        image = np.full_like(pictures[place].image, np.rint(value).astype(np.uint8))
        out[place] = view_of(dataclasses.replace(pictures[place], image=image), RESOLUTION)
    away = moved(pictures[13].section, (40000, 0, 0))
    out[13] = view_of(away.register(RESOLUTION), RESOLUTION)
    found = assess_pictures(out, atlas if with_atlas else None, resolution=RESOLUTION).sections
    assert found[3].reasons == ("no tissue is seen on it",)
    assert found[13].outside == 1
    assert found[3].suspicious
    assert found[9].suspicious
    assert found[13].suspicious
    for place in (6, 11, 15):
        assert not found[place].suspicious


def test_all_without_tissue(demo):
    image = np.full_like(demo[2][0].image, 240)
    views = [view_of(dataclasses.replace(picture, image=image), RESOLUTION) for picture in demo[2]]
    found = assess_pictures(views, demo[1], resolution=RESOLUTION).sections
    assert all(section.reasons == ("no tissue is seen on it",) for section in found)


def test_an_atlas_without_a_template(demo):
    atlas = dataclasses.replace(demo[1], load=lambda _: None)
    found = assess_pictures(demo[3][6:12], atlas, resolution=RESOLUTION).sections
    assert all(section.mutual_information is None for section in found)
    assert all((section.overlap or 0) > 0.9 for section in found)


def test_another_brain_is_refused(demo):
    dataset, atlas, _, _ = demo
    with pytest.raises(UnsupportedPlaneError):
        assess(dataset, dataclasses.replace(atlas, spaces=(1,)))


def test_it_is_written(demo, tmp_path):
    quality = assess_pictures(with_one(demo, 8, "shift"), resolution=RESOLUTION)
    rows = quality.to_rows()
    # what a registration expects has columns of its own, where there is one
    names = [field.name for field in dataclasses.fields(SectionQuality)]
    assert list(rows[0]) == [name for name in names if name != "expected_error"]
    quality.save(tmp_path / "q.csv")
    with open(tmp_path / "q.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["suspicious"] for row in read] == [str(row["suspicious"]) for row in rows]
    assert read[0]["overlap"] == ""
    quality.save(tmp_path / "q.json")
    document = json.loads((tmp_path / "q.json").read_text())
    assert document["sections"] == rows
    assert document["rule"] == quality.rule
    with pytest.raises(OutputError, match="there already"):
        check_output(tmp_path / "q.csv")
    check_output(tmp_path / "q.csv", force=True)
    with pytest.raises(InvalidInputError):
        check_output(tmp_path / "q.txt")
