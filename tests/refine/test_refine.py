"""A registration brings disturbed sections back, moves none to a worse place, and says why."""

import dataclasses
import json
from typing import Any

import msgspec
import numpy as np
import pytest

from atldld.api import DataSet, open_dataset
from atldld.errors import (
    ImageNotFoundError,
    InvalidInputError,
    SkippedImageWarning,
    UnsupportedPlaneError,
)
from atldld.place.alignment import read_alignment
from atldld.place.registration import Registration
from atldld.refine import refine
from atldld.refine.model import Labels3d, look_at
from atldld.refine.steps import check_steps

DATASET = 909


def errors(dataset, atlas, placements):
    """How far off each section's tissue lies, in µm: the median over a grid of places."""
    found = {}
    for section in dataset:
        width, height = section.image.width, section.image.height
        x, y = np.meshgrid(np.linspace(0.1, 0.9, 9) * width, np.linspace(0.1, 0.9, 7) * height)
        points = np.stack((x.ravel(), y.ravel()), axis=-1)
        truth = section.to_reference(points)
        voxels = np.floor(truth / atlas.resolution).astype(int)
        most = np.array(atlas.annotation.shape) - 1
        tissue = atlas.annotation[tuple(np.clip(voxels, 0, most).T)] > 0
        if tissue.sum() >= 3:
            off = placements(section.id).to_reference(points) - truth
            found[section.id] = float(np.median(np.linalg.norm(off[tissue], axis=1)))
    return found


def test_disturbed_sections_come_back(demo, disturbed, refined):
    _, dataset, atlas = demo
    before = errors(dataset, atlas, lambda number: disturbed.section(number).placement)
    after = errors(dataset, atlas, lambda number: refined.sections[number].placement)
    assert np.median(list(before.values())) > 200
    assert np.median(list(after.values())) < 0.4 * np.median(list(before.values()))
    assert all(after[number] < before[number] + 10 for number in before)


def test_what_moved_is_told(refined):
    assert refined.moved >= 10
    fitted = [fit for fit in refined.sections.values() if fit.steps[0].step != "none"]
    assert len(fitted) >= 12  # at the ends there is hardly any tissue
    for fit in fitted:
        assert [step.step for step in fit.steps] == ["whole", "sections", "inplane"]
        for step in fit.steps:
            assert step.reason.endswith(".")
            assert (step.moved > 0) == step.kept
            if step.kept and step.step == "inplane":
                assert step.after["difference"] < step.before["difference"] + 0.03
    whole = [fit.steps[0] for fit in fitted]
    gains = [step.before["difference"] - step.after["difference"] for step in whole]
    assert sum(step.kept for step in whole) > 0.7 * len(whole)  # one map moves all alike
    assert np.median(gains) > 0
    assert refined.about["atlas"]["name"] == "ccf_2017"
    assert refined.about["synthetic"]
    assert refined.about["start"]["file"] == "off.json"


def test_there_and_back(refined):
    for fit in refined.sections.values():
        points = np.array([[0.0, 0.0], [4000.0, 2500.0]])
        back = fit.placement.to_image(fit.placement.to_reference(points))
        np.testing.assert_allclose(back, points, atol=0.1)


def test_the_file_is_an_alignment(demo, refined, tmp_path):
    session, dataset, _ = demo
    path = refined.save(tmp_path / "reg.json")
    again = open_dataset(dataset.id, session=session, alignment=path)
    for section in again:
        fit = refined.sections[section.id]
        np.testing.assert_array_equal(section.placement.forward, fit.placement.forward)
        assert section.alignment == "reg.json"
    assert again.alignment is not None
    assert again.alignment.target == "ccf_2017"
    read = read_alignment(path)
    assert isinstance(read, Registration)
    assert read.about == refined.about


@pytest.mark.long
def test_the_result_does_not_depend_on_threads(demo, disturbed):
    session, _, atlas = demo
    few = DataSet(
        msgspec.structs.replace(disturbed.record, images=disturbed.record.images[3:9]), session
    )
    one, many = (few.refine(atlas, resolution=150, jobs=jobs) for jobs in (1, 3))
    assert one.sections == many.sections


def test_few_sections_stay_where_they_are(demo):
    session, dataset, atlas = demo
    few = DataSet(
        msgspec.structs.replace(dataset.record, images=dataset.record.images[4:7]), session
    )
    found = few.refine(atlas, resolution=150)
    assert found.moved == 0
    for section in few:
        fit = found.sections[section.id]
        np.testing.assert_array_equal(fit.placement.forward, section.placement.forward)
        (step,) = fit.steps
        assert "5 are needed" in step.reason


def test_few_sections_are_refined_on_request(demo):
    session, dataset, atlas = demo
    few = DataSet(
        msgspec.structs.replace(dataset.record, images=dataset.record.images[5:7]), session
    )
    found = few.refine(atlas, resolution=150, few=True)
    for fit in found.sections.values():
        assert [step.step for step in fit.steps] == ["whole", "sections", "inplane", "inplane"]


def test_only_some_sections_are_looked_at(demo):
    _, dataset, atlas = demo
    chosen = dataset.sections[3:9]
    found = dataset.refine(atlas, resolution=150, steps="whole", sections=chosen)
    tried = {image_id for image_id, fit in found.sections.items() if fit.steps}
    assert tried == {section.id for section in chosen}
    assert set(found.sections) == {section.id for section in dataset}


def test_every_stage_counts_in_the_progress(demo):
    """The kind: a bar that stands at its end while the work goes on."""
    _, dataset, atlas = demo
    told = []
    chosen = dataset.sections[3:9]
    dataset.refine(
        atlas,
        resolution=150,
        sections=chosen,
        jobs=1,
        progress=lambda done, total, what: told.append((done, total, what)),
    )
    assert [done for done, _, _ in told] == list(range(1, told[-1][1] + 1))
    assert [what for _, _, what in told[-6:]] == ["errors"] * 6
    assert told[-7][2] == "inplane"
    assert {total for _, total, _ in told} == {told[-1][1]}


def _no_template(kind):
    raise ImageNotFoundError("There is none here.")


@pytest.mark.parametrize("load", [lambda kind: None, _no_template])
def test_without_a_template_the_guard_does_without(demo, load):
    _, dataset, atlas = demo
    without = dataclasses.replace(atlas, load=load)
    for used, named in ((atlas, True), (without, False)):
        found = dataset.refine(used, resolution=150, steps="whole", sections=dataset.sections[3:9])
        assert found.about["template"].startswith("none") != named
        for fit in found.sections.values():
            for step in fit.steps:
                assert ("detail" in step.before) == named


def test_an_empty_picture_stays_where_it_is(demo, monkeypatch):
    _, dataset, atlas = demo
    calls = []

    def look(pixels, *rest):
        calls.append(1)
        found = look_at(pixels, *rest)
        return (
            dataclasses.replace(found, values=np.zeros_like(found.values))
            if len(calls) == 4
            else found
        )

    monkeypatch.setattr("atldld.refine.engine.look_at", look)
    found = dataset.refine(atlas, resolution=150, jobs=1, steps=["whole"])
    reasons = [fit.steps[-1].reason for fit in found.sections.values()]
    assert reasons.count("Its picture is empty.") == 1


def test_a_wrong_start_is_not_followed(demo):
    """Planes two brains away: said, and nothing moved."""
    session, dataset, atlas = demo
    far = [
        dataclasses.replace(
            section,
            placement=dataclasses.replace(
                section.placement,
                forward=section.placement.forward + np.array([[0, 0, 3e4]] * 3),
            ),
        )
        for section in dataset
    ]
    moved = dataclasses.replace(
        _placed(dataset), sections=tuple(_placed_section(section) for section in far)
    )
    found = DataSet.with_pixels(moved, session).refine(atlas, resolution=150)
    assert found.moved == 0
    assert all("outside the atlas" in fit.steps[-1].reason for fit in found.sections.values())


def _placed(dataset):
    from atldld.place.sections import PlacedDataSet

    return PlacedDataSet(
        dataset.record, dataset.plane, dataset.sections, dataset.skipped, dataset.alignment
    )


def _placed_section(section):
    from atldld.place.sections import PlacedSection

    return PlacedSection(section.image, section.placement, section.plane, section.thickness)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(dataset_id=5), "is of section data set 5"),
        (lambda d: d["sections"].update({"7": next(iter(d["sections"].values()))}), "such as 7"),
        (lambda d: d.update(format_version=9), "version 9"),
        (lambda d: d.pop("sections"), "does not say what a registration should"),
        (lambda d: d["sections"].update(x=next(iter(d["sections"].values()))), "does not say"),
        (
            lambda d: next(iter(d["sections"].values())).update(image_to_reference=[[0] * 3] * 3),
            "has no plane",
        ),
        (
            lambda d: next(iter(d["sections"].values())).update(reference_to_image=[[0] * 3] * 3),
            "does not say",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused(demo, refined, tmp_path, change, says):
    session, dataset, _ = demo
    path = refined.save(tmp_path / "reg.json")
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidInputError, match=says):
        open_dataset(dataset.id, session=session, alignment=path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps": ["spline"]}, "no step 'spline'"),
        ({"resolution": 5}, "from 10 to 200"),
        ({"resolution": float("nan")}, "resolution"),
        ({"most": 0}, "limit of a move"),
    ],
)
def test_options_that_make_no_sense(demo, options, says):
    _, dataset, atlas = demo
    with pytest.raises(InvalidInputError, match=says):
        dataset.refine(atlas, **options)


def test_a_developing_brain_is_refused(demo):
    _, dataset, atlas = demo
    with pytest.raises(UnsupportedPlaneError, match="adult"):
        dataset.refine(dataclasses.replace(atlas, spaces=(1,)))


def test_steps_come_in_their_order():
    assert check_steps("sections") == ("sections",)
    assert check_steps(["sections", "whole"]) == ("whole", "sections")


@pytest.mark.parametrize("ids", [[0, 5, 9], [-5, 0, 9], [5, 9]])
def test_the_outside_comes_first(demo, ids):
    """Also where ids are negative, and in an annotation without any outside."""
    annotation = np.resize(np.array(ids), (2, 2, 2))
    labels = Labels3d.of(dataclasses.replace(demo[2], annotation=annotation, resolution=25.0))
    centres = (np.indices((2, 2, 2)).reshape(3, -1).astype(np.float64) + 0.5) * 25
    found = labels.at(centres)
    assert ((found == 0) == (annotation.ravel() == 0)).all()
    assert len(set(found)) == len(ids)
    assert found.max() < labels.count
    assert (labels.at(np.array([[-1.0, 60.0], [5, 5], [5, 5]])) == 0).all()


def test_stain_in_a_dark_field_is_what_shines():
    pixels = np.full((40, 40, 3), 250, np.uint8)
    pixels[10:30, 10:30] = 100
    bright = look_at(pixels, (1, 1, 0, 0), 25, 50)
    dark = look_at(255 - pixels, (1, 1, 0, 0), 25, 50)
    for look in (bright, dark):
        assert look.values[8:12, 8:12].min() > 10
        assert look.values[:3].max() < 3
    # a pixel of 50 µm is two of 25: its centre lies half a pixel further
    np.testing.assert_array_equal(bright.flat(None)[:, 0], [0.5, 0.5, 1])


def test_what_cannot_be_had_is_told(demo, tmp_path):
    session, _, atlas = demo
    dataset = open_dataset(DATASET, session=session)
    gone = dataset.sections[6].id

    class Losing:
        def __getattr__(self, name):
            return getattr(session, name)

        def image(self, image, *rest, **options):
            if image.id == gone:
                raise ImageNotFoundError("It is gone.", image_id=gone)
            return session.image(image, *rest, **options)

    losing: Any = Losing()
    with pytest.warns(SkippedImageWarning, match="is left out"):
        found = refine(dataset, atlas, session=losing, steps=["whole"], resolution=150)
    assert list(found.about["failed"]) == [str(gone)]
    assert "gone" in found.sections[gone].steps[0].reason
