"""A registration made over HTTP goes through the other commands as it is."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from atldld.align.access import Access
from atldld.align.app import Application
from atldld.align.desk import open_desk
from atldld.align.marks import Marks
from atldld.api import open_dataset
from atldld.cli.options import alignment_of
from atldld.errors import AlignmentFileWarning, InvalidInputError
from atldld.place.alignment import ConfirmedOnly, read_alignment
from atldld.place.anchoring import anchoring_of
from atldld.place.deformation import SplineDeformation
from atldld.place.markers import MarkedDeformation, MarkerDeformation
from atldld.place.registration import Registration, SectionFit
from atldld.testing.disturbed import disturbed
from tests.align.conftest import PORT, Asking
from tests.align.working import DATASET

pytestmark = pytest.mark.long


def saved_at(path):
    """Return a registration that was written."""
    found = read_alignment(path)
    assert isinstance(found, Registration)
    return found


def fitted(asking, image_ids, **options):
    """Run a fit to its end, and return its job."""
    answer = asking.post("/api/fit", {"image_ids": image_ids, **options})
    assert answer.status_code == 202, answer.text
    job = answer.json["job"]
    while (told := asking.json(f"/api/jobs/{job}"))["state"] == "running":
        time.sleep(0.05)
    return told


@pytest.fixture(scope="module")
def work(demo, tmp_path_factory):
    """The page of a data set as the service has it, but for one section that is bent and one that
    is off."""
    session, atlas = demo
    dataset = open_dataset(DATASET, session=session)
    off = disturbed(dataset, atlas).sections
    ids = dataset.sections.ids
    fits = {
        section.id: SectionFit.of(section.placement, section.number) for section in dataset.sections
    }
    bent = dataset.sections[8]
    curved = replace(bent.placement, deformation=off[bent.id].deformation)
    fits[bent.id] = SectionFit.of(curved, bent.number, pixel=bent.image.resolution)
    fits[ids[13]] = off[ids[13]]
    begun = Registration(DATASET, fits, {"start": "the service's alignment"})
    output = tmp_path_factory.mktemp("work") / "reg.json"
    desk = open_desk(session.dataset(DATASET), session, atlas, output, alignment=begun)
    application = Application(desk, Access(PORT), marks=Marks(desk, wait=3600))
    yield Asking(application)
    application.close()
    desk.close()


@pytest.fixture(scope="module")
def edited(work):
    """That with one section moved, one marked, the bent one marked too, the one that was off
    fitted, one left out, and some confirmed; returns their image ids."""
    asking = work
    ids = list(asking.application.desk.sections)
    named = {
        "moved": ids[4],
        "marked": ids[6],
        "bent": ids[8],
        "fine": ids[9],
        "left": ids[11],
        "fitted": ids[13],
    }
    plane = asking.json(f"/api/sections/{named['moved']}")["plane"]
    plane["depth_um"] += 60
    plane["rotation_deg"] += 1.5
    asking.edit("place", named["moved"], plane=plane)
    marker = [{"image": [5200, 3200], "flat": [5300, 3260]}]
    asking.edit("markers", named["marked"], markers=marker)
    asking.edit("markers", named["bent"], markers=marker)
    told = fitted(asking, [named["fitted"]], steps=["sections", "inplane"], resolution=100)
    assert told["state"] == "done", told
    assert told["proposal"]["sections"][0]["kept"], told
    answer = asking.post(f"/api/jobs/{told['job']}/accept", {})
    assert [one["image_id"] for one in answer.json["sections"]] == [named["fitted"]]
    asking.edit("status", named["left"], status="left out")
    for one in ("moved", "bent", "fine"):
        asking.edit("status", named[one], status="confirmed")
    asking.edit("note", named["fine"], note="a tear, but right")
    return named


def test_the_registration_is_what_was_edited(work, edited, demo):
    desk = work.application.desk
    found = saved_at(desk.output)
    for image_id in desk.sections:
        here, there = desk.placement(image_id), found.sections[image_id].placement
        xy = np.random.default_rng(0).uniform(0, 6000, (50, 2))
        assert there.to_reference(xy) == pytest.approx(here.to_reference(xy), abs=0.01)
    assert found.sections[edited["fine"]].note == "a tear, but right"
    assert found.sections[edited["left"]].status == "left out"
    assert isinstance(found.sections[edited["marked"]].deformation, MarkerDeformation)
    moved = found.sections[edited["moved"]]
    assert [step.step for step in moved.refinement.kept] == ["hand"]
    assert moved.refinement.moved > 60
    assert moved.start == desk.start_of(edited["moved"]).forward


def test_a_section_that_is_bent_and_marked_is_both(work, edited):
    found = saved_at(work.application.desk.output).sections[edited["bent"]]
    bent = found.deformation
    assert isinstance(bent, MarkedDeformation)
    assert isinstance(bent.curve, SplineDeformation)
    xy = np.array([[5200.0, 3200.0], [1000, 1000], [9000, 5000]])
    assert bent.to_flat(xy) == pytest.approx(bent.curve.to_flat([[5300, 3260], *xy[1:]]), abs=60)
    assert bent.to_flat(xy[0]) == pytest.approx(bent.curve.to_flat([5300, 3260]), abs=1e-6)
    assert bent.to_image(bent.to_flat(xy)) == pytest.approx(xy, abs=0.2)


def test_it_goes_through_every_use(work, edited, demo, tmp_path):
    session, _ = demo
    output = work.application.desk.output
    dataset = open_dataset(DATASET, session=session, alignment=output)
    ids = [section.id for section in dataset.sections]
    assert edited["left"] not in ids
    assert len(ids) == 17
    xy = np.array([[5200.0, 3200.0]])
    for image_id in ids:
        wanted = work.application.desk.placement(image_id).to_reference(xy)
        assert dataset.section(image_id).to_reference(xy) == pytest.approx(wanted, abs=0.01)
    assert dataset.section(edited["moved"]).coordinates.startswith("CCFv3")
    # nobody moved it
    assert dataset.section(edited["fine"]).coordinates.startswith("P56")

    summary = dataset.download(tmp_path / "out", 100)
    assert summary.written == 17
    metadata = json.loads((tmp_path / "out" / "metadata.json").read_text())
    assert str(edited["left"]) not in metadata["per_image"]
    assert metadata["per_image"][str(edited["bent"])]["deformation"]

    volume = dataset.volume(100)
    assert volume.data.any()

    exported = tmp_path / "quicknii.json"
    dataset.export.quicknii(exported)
    slices = {
        int(one["filename"].split("_")[0]): one
        for one in json.loads(exported.read_text())["slices"]
    }
    assert edited["left"] not in slices
    image = dataset.section(edited["moved"]).image
    state = work.application.desk.document.sections[edited["moved"]]
    given = slices[edited["moved"]]
    scale = given["width"]
    tier = next(t for t in range(9) if image.width >> t == scale)
    size = (given["width"] << tier, given["height"] << tier)
    assert given["anchoring"] == pytest.approx(anchoring_of(state.forward, *size), abs=1e-3)
    (marker,) = slices[edited["marked"]]["markers"]
    wanted = np.array([5300, 3260, 5200, 3200])
    assert marker == pytest.approx((wanted + 0.5) / (1 << tier), abs=0.01)
    # one that is bent and marked needs several
    assert len(slices[edited["bent"]]["markers"]) > 5

    # and what VisuAlign reads leads to the same places
    with pytest.warns(AlignmentFileWarning, match="17 of the 18"):
        again = open_dataset(DATASET, session=session, alignment=exported)
    grid = np.stack(np.meshgrid(np.linspace(2500, 8500, 9), np.linspace(1500, 5500, 9)), -1)
    for name in ("moved", "marked", "bent"):
        here = dataset.section(edited[name]).to_reference(grid)
        there = again.section(edited[name]).to_reference(grid)
        assert np.linalg.norm(here - there, axis=-1).max() < 30


@pytest.mark.slow
def test_it_goes_through_tables_and_reports(work, edited, demo, tmp_path):
    session, atlas = demo
    dataset = open_dataset(DATASET, session=session, alignment=work.application.desk.output)
    table = dataset.quantify(
        atlas, 100, sections=list(dataset.sections)[3:6], grid=False, unionize=False
    )
    assert list(table.rows())

    page = dataset.report(
        tmp_path / "report.html", atlas, resolution=100, table_resolution=100, volume=False
    )
    text = page.read_text("utf-8")
    assert "by hand" in text


def test_only_what_was_confirmed(work, edited, demo, tmp_path):
    session, _ = demo
    output = work.application.desk.output
    assert alignment_of(str(output), DATASET, confirmed=True) == ConfirmedOnly(output)
    dataset = open_dataset(DATASET, session=session, alignment=ConfirmedOnly(output))
    assert {section.id for section in dataset.sections} == {
        edited["moved"],
        edited["bent"],
        edited["fine"],
    }
    assert dataset.alignment is not None
    assert dataset.alignment.describe()["confirmed_only"] is True
    # a folder that was made with all of them is not gone on with
    everything = open_dataset(DATASET, session=session, alignment=output)
    everything.download(tmp_path / "out", 100)
    with pytest.raises(Exception, match=r"another|other"):
        dataset.download(tmp_path / "out", 100)


def test_confirmed_needs_a_registration(opened, tmp_path):
    with pytest.raises(InvalidInputError, match="no registration that says"):
        alignment_of(None, DATASET, confirmed=True)
    desk = opened()
    with pytest.raises(InvalidInputError, match="no section that was confirmed"):
        read_alignment(ConfirmedOnly(desk.output))
    planes = tmp_path / "planes.json"
    planes.write_text(json.dumps({"target": "ABA_Mouse_CCFv3_2017_25um.cutlas", "slices": []}))
    with pytest.raises(InvalidInputError):
        read_alignment(ConfirmedOnly(planes))


def test_refining_on_keeps_what_was_left_out(work, edited, demo, tmp_path):
    session, atlas = demo
    dataset = open_dataset(DATASET, session=session, alignment=work.application.desk.output)
    found = dataset.refine(
        atlas, steps=["whole"], resolution=100, sections=list(dataset.sections)[:5], few=True
    )
    assert found.left_out == {edited["left"]}
    path = found.save(tmp_path / "refined.json")
    again = open_dataset(DATASET, session=session, alignment=path)
    assert edited["left"] not in {section.id for section in again.sections}


def test_work_begins_from_a_registration(work, edited, opened, tmp_path):
    """That of another file: curves, markers, words and notes come along."""
    desk = work.application.desk
    states = {k: desk.placement(k) for k in desk.sections}
    statuses = {k: state.status for k, state in desk.document.sections.items()}
    planes = saved_at(desk.output)
    other = opened(tmp_path / "other.json", alignment=planes)
    xy = np.random.default_rng(1).uniform(0, 6000, (20, 2))
    for image_id, placement in states.items():
        here = other.placement(image_id).to_reference(xy)
        assert here == pytest.approx(placement.to_reference(xy), abs=0.01)
    assert {k: state.status for k, state in other.document.sections.items()} == statuses
    assert other.document.sections[edited["fine"]].note == "a tear, but right"


def test_fits_can_be_discarded_and_cancelled(asking):
    desk = asking.application.desk
    one = list(desk.sections)[8]
    before = desk.document
    told = fitted(asking, [one], steps=["inplane"], resolution=100)
    (proposed,) = told["proposal"]["sections"]
    assert proposed["image_id"] == one
    assert proposed["words"].endswith(".")
    path = f"/api/sections/{one}/overlay?kind=labels&width=200&height=126&scale=60"
    drawn = asking.get(f"{path}&job={told['job']}")
    assert drawn.status_code == 200
    if proposed["kept"]:
        assert drawn.data != asking.get(path).data
    assert asking.post(f"/api/jobs/{told['job']}/discard", {}).status_code == 200
    assert desk.document == before
    assert asking.post(f"/api/jobs/{told['job']}/accept", {}).status_code == 422

    answer = asking.post("/api/fit", {"image_ids": [one], "resolution": 25})
    job = answer.json["job"]
    busy = asking.post("/api/fit", {"image_ids": [one]})
    assert busy.status_code == 422
    assert "under way" in busy.json["error"]
    asking.post(f"/api/jobs/{job}/cancel", {})
    while (told := asking.json(f"/api/jobs/{job}"))["state"] == "running":
        time.sleep(0.05)
    assert told["state"] == "cancelled"
    assert desk.document == before


def test_a_fit_of_what_was_edited_since_is_not_taken(asking):
    one = list(asking.application.desk.sections)[8]
    told = fitted(asking, [one], steps=["inplane"], resolution=100)
    plane = asking.json(f"/api/sections/{one}")["plane"]
    plane["depth_um"] += 10
    asking.edit("place", one, plane=plane)
    refused = asking.post(f"/api/jobs/{told['job']}/accept", {})
    assert refused.status_code == 422
    assert "edited since" in refused.json["error"]


@pytest.mark.parametrize(
    "sent",
    [
        {"image_ids": []},
        {"image_ids": [5]},
        {"image_ids": [69177654], "steps": []},
        {"image_ids": [69177654], "steps": ["fly"]},
        {"image_ids": [69177654], "resolution": 1},
        {"image_ids": "x"},
        {},
    ],
)
def test_fits_that_make_no_sense(asking, sent):
    assert asking.post("/api/fit", sent).status_code in (400, 422)


def test_marks_are_found_beside_the_work(desk):
    waits = iter([True, True])
    marks = Marks(desk, wait=0, busy=lambda: next(waits, False))
    marks.begin()
    marks.begin()
    assert marks._thread is not None
    marks._thread.join()
    assert marks.news == 1
    assert next(waits, None) is None
    for image_id in desk.sections:
        found = marks.of(image_id)
        assert found is not None
        assert set(found) == {"suspicious", "reasons"}
    marks.close()
