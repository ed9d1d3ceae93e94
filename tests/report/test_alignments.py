"""A page about a data set that a registration has moved: both alignments, and what moved."""

import dataclasses
import json
import re
import warnings

import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.formats.quicknii import write_quicknii
from atldld.place.alignment import read_alignment
from atldld.place.refinement import ExpectedError, StepResult
from atldld.place.registration import Registration, SectionFit
from atldld.report import gather, open_source, write_report
from atldld.report.page import figures
from atldld.report.pictures import STEPS
from tests.curved.conftest import curve
from tests.report.conftest import DATASET

pytestmark = pytest.mark.timeout(900)

STAYED = "The pixels that were held back do not fit better."


def step(name, kept, moved):
    return StepResult(
        step=name,
        kept=kept,
        reason="The pixels that were held back fit better." if kept else STAYED,
        moved=moved,
        before={"difference": 0.6, "overlap": 0.9},
        after={"difference": 0.4 if kept else 0.61, "overlap": 0.92},
    )


def shifted(section, um):
    """A section that lies so many µm further down and across."""
    forward = section.placement.forward.copy()
    across = forward[:, 0] / np.linalg.norm(forward[:, 0])
    down = forward[:, 1] / np.linalg.norm(forward[:, 1])
    forward[:, 2] += um * (across + down)
    pixels = um / np.linalg.norm(forward[:, 0]), um / np.linalg.norm(forward[:, 1])
    backward = section.placement.backward.copy()
    backward[0, 3] -= pixels[0]
    backward[1, 3] -= pixels[1]
    return dataclasses.replace(
        section,
        placement=dataclasses.replace(section.placement, forward=forward, backward=backward),
    )


def registration_of(dataset, start="the service's alignment"):
    """Every third section stays, every third is shifted, and every third is curved too."""
    fits = {}
    for k, section in enumerate(dataset.sections):
        now = shifted(section, 300) if k % 3 else section
        if k % 3 == 2:
            now = curve(now, k, max(section.image.width, section.image.height) / 60)
        steps = (step("whole", k % 3 > 0, 424.3), step("inplane", k % 3 == 2, 80.0 * (k % 3 == 2)))
        fits[section.id] = SectionFit.of(
            now.placement,
            section.number,
            steps,
            pixel=section.image.resolution,
            expected_error=ExpectedError(
                before=220.0 + k,
                after=220.0 + k if k % 3 == 0 else 45.0 + k,
                bound90_before=430.0,
                bound90_after=90.0,
                structures={997: (220.0, 45.0)},
            ),
        )
    about = {"atlas": {"name": "ccf_2017"}, "start": start, "atldld_version": "1"}
    return Registration(dataset.id, fits, about)


@pytest.fixture(scope="module")
def reg(source, tmp_path_factory):
    return registration_of(source.dataset).save(tmp_path_factory.mktemp("moved") / "reg.json")


def opened(reg, session):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_source(
            DATASET, session=session, resolution=50, table_resolution=50, alignment=reg
        )


@pytest.fixture(scope="module")
def moved(reg, demo_session, atlas):
    return gather(opened(reg, demo_session), atlas, volume=False)


@pytest.fixture(scope="module")
def moved_page(moved, tmp_path_factory):
    return write_report(moved, tmp_path_factory.mktemp("pages") / "moved.html")


def by_kind(report):
    """A section that has stayed, one that is shifted, and one that is curved."""
    order = sorted(report.entries, key=lambda entry: (entry.section.number, entry.section.id))
    return order[3], order[4], order[5]


def points_of(path):
    """The points of an outline, in pixels."""
    rings = []
    for ring in re.findall(r"M([^M]*?)z", path):
        start, _, moves = ring.partition("l")
        first = np.array([int(n) for n in re.findall(r"-?\d+", start)])
        steps = np.array([int(n) for n in re.findall(r"-?\d+", moves)]).reshape(-1, 2)
        rings.append(np.vstack((first, first + np.cumsum(steps, axis=0))) / STEPS)
    return np.vstack(rings)


@pytest.mark.long
def test_a_report_without_an_alignment_is_as_it_was(gathered):
    assert gathered.source.start is None
    assert gathered.quality_before is None
    assert all(entry.move is None and entry.views.before is None for entry in gathered.entries)
    assert figures(gathered)["alignments"] is None


def test_how_far_sections_have_moved(moved):
    stayed, shift, curved = by_kind(moved)
    assert stayed.move.still
    assert stayed.views.before is None
    assert shift.move.median == pytest.approx(300 * np.sqrt(2), rel=0.01)
    assert shift.move.most == pytest.approx(300 * np.sqrt(2), rel=0.01)
    assert curved.move.most > shift.move.most
    told = figures(moved)
    assert told["alignments"] == {"before": "the service’s alignment", "after": "reg.json"}
    section = next(s for s in told["sections"] if s["image_id"] == curved.section.id)
    assert section["moved_um"]["most"] == pytest.approx(curved.move.most, rel=1e-4)
    assert section["refinement"]["expected_error"]["bound90_after"] == 90
    assert section["quality_before"]["image_id"] == curved.section.id
    json.dumps(told)


def test_it_is_said_which_space_coordinates_are_of(moved, gathered):
    refined, plain = figures(moved)["methods"], figures(gathered)["methods"]
    assert "placed in the coordinates of CCFv3" in refined
    # those that stayed lie where the service has them
    assert "2017) (9 sections) and P56" in refined
    assert "nearly) (5 sections)" in refined
    assert "4 of them) a smooth displacement in that plane" in refined
    assert "placed in the P56 reference space" in plain
    assert "displacement" not in plain


def test_figures_of_before_are_those_of_the_service(moved, demo_session, atlas):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = open_dataset(DATASET, session=demo_session).assess(atlas)
    before = {section.image_id: section for section in moved.quality_before.sections}
    for section in plain.sections:
        assert before[section.image_id].overlap == section.overlap
        assert before[section.image_id].misplacement == section.misplacement
    # and moving sound sections away makes them worse
    worse = [
        section.overlap < before[section.image_id].overlap
        for section in moved.quality.sections
        if section.image_id in {entry.section.id for entry in by_kind(moved)[1:]}
    ]
    assert all(worse)


@pytest.mark.parametrize("kind", [1, 2])
def test_outlines_of_before_lie_where_the_start_has_them(moved, gathered, kind):
    entry = by_kind(moved)[kind]
    plain = next(one for one in gathered.entries if one.section.id == entry.section.id)
    was = entry.views.before
    assert {shape.id for shape in was.shapes} == {shape.id for shape in plain.views.shapes}
    for own, raw, then in zip(was.shapes, was.raw_shapes, plain.views.shapes, strict=True):
        assert own.id == raw.id == then.id
        # on the raw picture they are those of a report of the start
        expected = (plain.plane.shown(points_of(then.path) - 0.5) + 0.5) / (1 << entry.downsample)
        apart = np.linalg.norm(points_of(raw.path)[:, None] - expected[None], axis=2).min(axis=0)
        assert apart.max() < 0.5
        # and on the picture in the brain they lie over the same pixels of the section
        shown = (entry.plane.shown(points_of(own.path) - 0.5) + 0.5) / (1 << entry.downsample)
        apart = np.linalg.norm(shown[:, None] - points_of(raw.path)[None], axis=2).min(axis=1)
        assert np.median(apart) < 1.0


def test_a_start_that_a_file_placed(demo_session, source, tmp_path, atlas):
    planes = write_quicknii(source.dataset, tmp_path / "planes.json")
    document = json.loads(planes.read_text())
    for image in document["slices"]:
        image["anchoring"][0] += 8  # voxels of 25 µm
    planes.write_text(json.dumps(document))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = open_dataset(DATASET, session=demo_session, alignment=planes)
    file = read_alignment(planes).file
    assert file is not None
    described = file.describe()
    reg = registration_of(start, described).save(tmp_path / "reg.json")
    found = opened(reg, demo_session).start
    assert found.name == "planes.json"
    assert found.note is None
    one = start.sections[4]
    np.testing.assert_array_equal(found.section(one.id).placement.forward, one.placement.forward)
    # a file that has changed is not taken for the start
    planes.write_text(planes.read_text() + "\n")
    found = opened(reg, demo_session).start
    assert "planes.json has changed since" in found.note
    assert found.name == "the service’s alignment"
    planes.unlink()
    made = gather(opened(reg, demo_session), None, without_atlas="None.", volume=False)
    assert "planes.json is not there" in made.missing["start"]
    # nor does a name lead out of the folder
    evil = registration_of(start, {**described, "file": "../planes.json"})
    found = opened(evil.save(tmp_path / "evil.json"), demo_session).start
    assert "is not there" in found.note


def paths(page, which, side="left"):
    return page.locator(f"#{side}-lines g.{which} path").count()


def choose(page, which):
    page.locator("#switch label", has=page.locator(f"#show-{which}")).click()


def test_the_viewer_begins_with_before_beside_after(visit, moved, moved_page):
    page = visit(moved_page)
    stayed, shift, curved = by_kind(moved)
    for entry in (shift, curved):
        page.locator(f'.film a[data-go="{moved.entries.index(entry)}"]').click()
        was = entry.views.before
        assert page.locator("#left-tag").inner_text() == "Before refinement"
        assert page.locator("#right-tag").inner_text() == "After refinement"
        assert page.locator("#left-picture").get_attribute("src") == was.registered.uri
        assert page.locator("#right-picture").get_attribute("src") == entry.views.registered.uri
        # each with the atlas's outlines where they lie on it
        assert paths(page, "was", "left") == len(was.own_shapes)
        assert paths(page, "is", "right") == len(entry.views.shapes)
        assert paths(page, "is", "left") == paths(page, "was", "right") == 0
    page.locator(f'.film a[data-go="{moved.entries.index(stayed)}"]').click()
    assert "not moved" in page.locator("#left-tag").inner_text()
    assert page.locator("#left-picture").get_attribute("src") == stayed.views.registered.uri


def test_the_picture_of_before_is_that_of_the_start(moved, gathered):
    for entry in by_kind(moved)[1:]:
        plain = next(one for one in gathered.entries if one.section.id == entry.section.id)
        before = entry.views.before
        assert before.registered.data == plain.views.registered.data
        assert before.registered.data != entry.views.registered.data
        assert before.own_shapes == plain.views.shapes


def test_the_switch_shows_either_alignment_or_both(visit, moved, moved_page):
    page = visit(moved_page)
    stayed, shift, curved = by_kind(moved)
    page.select_option("#left", "raw")
    for entry in (shift, curved):
        page.locator(f'.film a[data-go="{moved.entries.index(entry)}"]').click()
        count = len(entry.views.shapes)
        choose(page, "both")
        for side in ("left", "right"):
            assert paths(page, "was", side) == count
            assert paths(page, "is", side) == count
        choose(page, "before")
        for side in ("left", "right"):
            assert paths(page, "was", side) == count
            assert paths(page, "is", side) == 0
        choose(page, "after")
        for side in ("left", "right"):
            assert paths(page, "was", side) == 0
            assert paths(page, "is", side) == count
        choose(page, "both")
        assert f"{entry.move.median:.0f} µm (median)" in page.locator("#moved-here").inner_text()
    # before and after are told apart by more than their colour
    dashes = "getComputedStyle(document.querySelector('#left-lines g.{} path')).strokeDasharray"
    assert page.evaluate(dashes.format("was")) != "none"
    assert page.evaluate(dashes.format("is")) == "none"
    page.locator(f'.film a[data-go="{moved.entries.index(stayed)}"]').click()
    choose(page, "before")
    assert paths(page, "is") == len(stayed.views.shapes)
    assert page.locator("#moved-here").inner_text() == "This section has not moved."


def test_outlines_lie_apart_by_what_the_section_has_moved(visit, moved, moved_page):
    page = visit(moved_page)
    shift = by_kind(moved)[1]
    page.locator(f'.film a[data-go="{moved.entries.index(shift)}"]').click()
    choose(page, "both")
    boxes = (
        "['was', 'is'].map(name => document.querySelector(`#right-lines g.${name} path`).getBBox())"
    )
    sides = page.evaluate(f"{boxes}.map(box => [box.x + box.width / 2, box.y + box.height / 2])")
    off = (np.array(sides[0]) - sides[1]) / STEPS * 50
    # what lay there before lies 300 µm lower and further right by now
    np.testing.assert_allclose(np.abs(off), 300, atol=60)


def test_the_switch_listens_to_keys(visit, moved_page):
    page = visit(moved_page)
    page.keyboard.press("ArrowRight")
    for key, chosen in (("b", "before"), ("a", "after"), ("o", "both")):
        page.keyboard.press(key)
        assert page.locator("#switch input:checked").get_attribute("value") == chosen
    # as do radio buttons everywhere
    page.locator("#show-before").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    assert page.locator("#switch input:checked").get_attribute("value") == "after"
    said = page.locator("#said").inner_text()
    page.keyboard.press("b")
    assert page.locator("#switch input:checked").get_attribute("value") == "before"
    assert page.locator("#said").inner_text() == said
    # but not in a field of text
    page.locator("#filter").fill("")
    page.locator("#filter").press_sequentially("bao")
    assert page.locator("#switch input:checked").get_attribute("value") == "before"


def test_what_moved_is_told(visit, moved, moved_page):
    page = visit(moved_page)
    stayed, shift, curved = by_kind(moved)
    table = page.locator("#moves-table")
    heads = table.locator("thead th").all_inner_texts()
    assert heads[:4] == ["Section", "whole, µm", "inplane, µm", "In all, µm"]
    row = table.locator("tbody tr", has=page.locator(f"a:text-is('{curved.section.number}')"))
    cells = row.locator("td").all_inner_texts()
    assert cells[1:3] == ["424", "80"]
    assert cells[4:6] == ["0.6 → 0.4", "0.9 → 0.92"]
    assert "(≤ 90)" in cells[6]
    number = stayed.section.number
    assert re.search(rf"\b{number}\b.*{re.escape(STAYED)}", page.locator("#stayed").inner_text())
    page.locator(f"#moves-table a:text-is('{shift.section.number}')").click()
    assert page.locator("#said").inner_text().startswith(f"Section {shift.section.number} ")
    steps = page.locator("#section-steps").inner_text()
    assert "whole: moved by up to 424 µm" in steps
    assert "inplane: stayed" in steps
    assert "difference 0.6 → 0.61" in steps
    told = page.locator("#section-figures").inner_text()
    assert "before" in told
    assert "Expected error" in told
    before = moved.quality_before
    overlap = next(s.overlap for s in before.sections if s.image_id == shift.section.id)
    assert f"{overlap:.3g}" in told
    assert page.locator("#moved .chart circle.before").count() == len(moved.entries)


@pytest.mark.parametrize("width", [390, 1000])
def test_the_page_fits_small_screens(visit, moved_page, width):
    page = visit(moved_page, width=width, height=800)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_without_an_alignment_has_no_switch(visit, page_path):
    page = visit(page_path)
    assert page.locator("#switch").count() == 0
    assert page.locator("#moved").count() == 0
    page.keyboard.press("b")
    assert page.locator("#left-lines g.is path").count() > 0
