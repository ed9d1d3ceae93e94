"""A folder of curved sections: with the file that it was made with, and without."""

import json
import warnings

import numpy as np
import pytest

from atldld.errors import InvalidInputError
from atldld.report import gather, open_source, render
from atldld.report.words import doubts
from atldld.sections.download import download_dataset
from atldld.sections.register import Recipe
from tests.report.conftest import DATASET
from tests.report.test_alignments import opened, registration_of

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def made(source, demo_session, tmp_path_factory):
    """A registration, and a folder that was made with it, in two places."""
    root = tmp_path_factory.mktemp("curved")
    reg = registration_of(source.dataset).save(root / "file" / "refined.json")
    out = root / "elsewhere" / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        download_dataset(
            DATASET, out, Recipe(50, expression=True), session=demo_session, alignment=reg
        )
    return reg, out


@pytest.fixture(scope="module")
def of_id(made, demo_session, atlas):
    return gather(opened(made[0], demo_session), atlas, volume=False)


def check_same(report, other):
    assert report.source.curves_missing is None
    assert "curves" not in report.missing
    assert [e.section.id for e in report.entries] == [e.section.id for e in other.entries]
    for mine, its in zip(report.entries, other.entries, strict=True):
        assert mine.views.shapes == its.views.shapes
        # bent as the section is
        assert (mine.views.raw_shapes is None) == (its.views.raw_shapes is None)
        for own, one in zip(mine.views.raw_shapes or (), its.views.raw_shapes or (), strict=True):
            assert own == one
        assert mine.section.describe_deformation() == its.section.describe_deformation()
    assert report.regions["energy"] == pytest.approx(other.regions["energy"], nan_ok=True)
    assert [s.score for s in report.quality.sections] == pytest.approx(
        [s.score for s in other.quality.sections], rel=1e-3
    )


@pytest.mark.long
def test_with_its_registration_given(made, demo_session, atlas, of_id):
    reg, out = made
    source = open_source(out, session=demo_session, alignment=reg)
    check_same(gather(source, atlas, volume=False), of_id)


@pytest.mark.parametrize("where", ["beside", "within", "here"])
def test_its_registration_is_found(made, demo_session, atlas, tmp_path, monkeypatch, where):
    import shutil

    reg, out = made
    copy = tmp_path / "some" / "out"
    shutil.copytree(out, copy)
    monkeypatch.chdir(tmp_path)
    target = {"beside": copy.parent, "within": copy, "here": tmp_path}[where]
    shutil.copy(reg, target / reg.name)
    shutil.copytree(reg.with_suffix(".fields"), target / "refined.fields")
    source = open_source(copy, session=demo_session)
    assert source.curves_missing is None
    curved = [one for one in source.dataset if one.placement.deformation is not None]
    assert len(curved) == 4
    for one in curved:
        xy = np.array([[100.0, 200.0], [one.image.width / 2, one.image.height / 2]])
        np.testing.assert_allclose(one.to_image(one.to_reference(xy)), xy, atol=0.5)


def test_without_it_the_pictures_are_shown_and_it_is_said_what_to_do(made, demo_session, atlas):
    _, out = made
    report = gather(open_source(out, session=demo_session), atlas)
    assert len(report.entries) == 14
    told = report.missing["curves"]
    assert "4 sections" in told
    assert "refined.json" in told
    assert "beside" in told
    assert "alignment" in told
    # nothing that would be wrong without it
    assert report.regions is None
    assert report.slices == ()
    assert "curved" in report.missing["regions"]
    assert "curved" in report.missing["volume"]
    metadata = json.loads((out / "metadata.json").read_text())
    for entry in report.entries:
        curved = "deformation" in metadata["per_image"][str(entry.section.id)]
        assert ("outlines" in entry.views.problems) == curved
        assert (entry.views.raw_shapes == ()) == curved
    assert sum(bool(entry.views.shapes) for entry in report.entries) > 10
    assert report.quality is not None
    assert any("Curves" in doubt.title for doubt in doubts(report))
    assert "refined.json" in render(report)


def test_a_changed_registration_is_not_taken(made, demo_session, tmp_path):
    import shutil

    reg, out = made
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    changed = tmp_path / reg.name
    changed.write_bytes(reg.read_bytes() + b"\n")
    shutil.copytree(reg.with_suffix(".fields"), tmp_path / "refined.fields")
    found = open_source(copy, session=demo_session).curves_missing
    assert "has changed since" in (found or "")
    with pytest.raises(InvalidInputError, match="was not made with"):
        open_source(copy, session=demo_session, alignment=changed)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        open_source(copy, session=demo_session, alignment=tmp_path / "nothing.json")
