"""Quality figures are the same whoever shows them, and go without what the service has not.

The kind of fault: one question that two doors answer from different inputs. The figures depended
on the resolution of the report's pictures, so that `report` and `quality` named other sections.
"""

import dataclasses
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from atldld.api import assess, open_dataset
from atldld.cli import app
from atldld.demo.archive import DemoArchive
from atldld.demo.local import in_process_session
from atldld.errors import AtldldError, HTTPStatusError, OfflineError
from atldld.fetch.session import Session
from atldld.formats import write_quicknii
from atldld.quality import assess_pictures, atlas_or_reason, recipe, view_of
from atldld.report import figures, gather, open_source, render, try_atlas
from atldld.report.words import doubts, judgement
from atldld.sections.download import download_dataset
from atldld.sections.register import Recipe
from atldld.settings import Settings

pytestmark = pytest.mark.long

DATASET = 909


@pytest.fixture(scope="module")
def assessed(demo_session, atlas):
    """What `quality` says, with and without the atlas."""
    dataset = open_dataset(DATASET, session=demo_session)
    return {True: assess(dataset, atlas), False: assess(dataset)}


def check(report, expected):
    assert report.quality.to_rows() == expected.to_rows()
    assert report.quality.rule == expected.rule
    assert report.quality.resolution == expected.resolution == 50
    odd = len(expected.suspicious)
    said = "No section looks out" if not odd else f"{odd} of {len(expected.sections)} sections"
    assert said in judgement(report)
    assert any(said in doubt.title for doubt in doubts(report)) == bool(odd)
    told = {one["image_id"]: one for one in figures(report)["sections"]}
    for row in expected.to_rows():
        assert told[row["image_id"]]["quality"]["score"] == row["score"]
        assert told[row["image_id"]]["quality"]["suspicious"] == row["suspicious"]


@pytest.mark.long
@pytest.mark.parametrize("with_atlas", [True, False])
@pytest.mark.parametrize("resolution", [25, 50, 130])
def test_whatever_the_pictures_of_the_report_are(
    demo_session, atlas, assessed, resolution, with_atlas
):
    source = open_source(DATASET, session=demo_session, resolution=resolution, table_resolution=200)
    check(gather(source, atlas if with_atlas else None, volume=False), assessed[with_atlas])


@pytest.mark.long
@pytest.mark.parametrize(
    "made",
    [
        Recipe(25),
        Recipe(100, expression=True),
        Recipe(50, cut="parallel"),
        Recipe(25, downsample=2),
        Recipe(30, cut="parallel", layout="anatomical"),
    ],
)
def test_whatever_the_pictures_of_a_folder_are(demo_session, assessed, tmp_path, made):
    download_dataset(DATASET, tmp_path / "out", made, session=demo_session)
    source = open_source(tmp_path / "out", session=demo_session)
    check(gather(source, None, volume=False), assessed[False])


def test_a_folder_of_the_usual_pictures_needs_nothing_else(demo_session, assessed, tmp_path):
    download_dataset(DATASET, tmp_path / "out", Recipe(), session=demo_session)
    with Session(Settings(cache_dir=tmp_path / "empty", offline=True)) as away:
        check(gather(open_source(tmp_path / "out", session=away), None, volume=False),
              assessed[False])  # fmt: skip


def test_a_folder_of_other_pictures_says_what_its_figures_are_made_of(demo_session, tmp_path):
    download_dataset(DATASET, tmp_path / "out", Recipe(100), session=demo_session)
    with Session(Settings(cache_dir=tmp_path / "empty", offline=True)) as away:
        made = gather(open_source(tmp_path / "out", session=away), None, volume=False)
    assert made.quality is not None
    assert made.quality.resolution == 100
    assert "folder's own oblique pictures of 100 µm" in made.quality.notes[0]
    assert "may differ" in made.quality.notes[0]
    assert "made of the folder" in render(made)


def test_with_an_alignment_file(demo_session, atlas, tmp_path):
    dataset = open_dataset(DATASET, session=demo_session)
    path = write_quicknii(dataset, tmp_path / "planes.json")
    document = json.loads(path.read_text())
    document["slices"][6]["anchoring"][0] += 40  # one millimetre to the right
    path.write_text(json.dumps(document))
    expected = assess(open_dataset(DATASET, session=demo_session, alignment=path), atlas)
    assert document["slices"][6]["nr"] in [one.section_number for one in expected.suspicious]
    source = open_source(
        DATASET, session=demo_session, resolution=120, table_resolution=200, alignment=path
    )
    check(gather(source, atlas, volume=False), expected)
    download_dataset(DATASET, tmp_path / "out", Recipe(90), session=demo_session, alignment=path)
    check(gather(open_source(tmp_path / "out", session=demo_session), atlas, volume=False),
          expected)  # fmt: skip


def test_pictures_that_are_given_are_those_of_the_recipe(demo_session, assessed):
    dataset = open_dataset(DATASET, session=demo_session)
    how = recipe()
    views = [view_of(one) for one in dataset.register(how.resolution, downsample=how.downsample)]
    assert assess_pictures(views).to_rows() == assessed[False].to_rows()
    assert recipe(10).resolution == 10
    for bad in (0, -1, float("nan"), 1e9):
        with pytest.raises(AtldldError):
            recipe(bad)


# ---- what the service has not


@pytest.fixture
def lacking(monkeypatch):
    """Let the demo archive be without the files whose path holds a word; note what is asked."""

    def without(*words):
        asked = []
        real = DemoArchive.make_file

        def make_file(self, path):
            asked.append(path)
            return None if any(word in path for word in words) else real(self, path)

        monkeypatch.setattr(DemoArchive, "make_file", make_file)
        return asked

    return without


@pytest.fixture
def run(at_demo_server, monkeypatch, tmp_path):
    def run(*arguments):
        monkeypatch.setenv("ATLDLD_DOWNLOAD_URL", at_demo_server)
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        assert result.exit_code == 0, (result.output, result.exception)
        return result

    return run


QUICK = ("--no-volume", "--table-resolution", 200, "--resolution", 200)
COARSE = ("--atlas-resolution", 100)


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "lacks"),
    [
        (("average_template",), {"mutual_information"}),
        (("annotation",), {"mutual_information", "overlap"}),
        (("structure_graph",), {"mutual_information", "overlap"}),
    ],
)
def test_both_do_without_what_the_service_has_not(run, lacking, tmp_path, words, lacks):
    """And say which figures are missing, with the same figures in both."""
    lacking(*words)
    told = run("quality", DATASET, "-o", "q.json", *COARSE)
    document = json.loads((tmp_path / "q.json").read_text())
    for row in document["sections"]:
        assert {name for name in ("overlap", "mutual_information") if row[name] is None} == lacks
        assert row["continuity"] is not None
    (note,) = document["notes"]
    assert "mutual information" in note
    assert ("overlap" in note) == ("overlap" in lacks)
    assert "404" in note
    assert note in told.stderr
    assert "sections of data set 909 are suspicious" in told.stderr

    run("report", DATASET, "-o", "r.html", *QUICK, *COARSE)
    page = (tmp_path / "r.html").read_text("utf-8")
    (figures,) = re.findall(r'id="figures">(.*?)</script>', page)
    shown = json.loads(figures)
    assert [one["quality"] for one in sorted(shown["sections"], key=number)] == sorted(
        document["sections"], key=number
    )
    assert "mutual information" in shown["quality"]["notes"][0]
    if "overlap" in lacks:
        assert "atlas" in shown["missing"]
    else:
        assert "mutual information" in shown["missing"]["figures"]


def number(section):
    return section["section_number"]


@pytest.mark.slow
def test_at_defaults_both_say_the_same(run, tmp_path):
    told = run("quality", DATASET, "-o", "q.json")
    document = json.loads((tmp_path / "q.json").read_text())
    assert document["notes"] == []
    odd = sum(row["suspicious"] for row in document["sections"])
    assert f"{odd} of 14 sections of data set 909 are suspicious" in told.stderr
    told = run("report", DATASET, "-o", "r.html", *QUICK)
    assert f"14 sections of data set 909, {odd} suspicious" in told.stderr
    page = (tmp_path / "r.html").read_text("utf-8")
    (figures,) = re.findall(r'id="figures">(.*?)</script>', page)
    shown = json.loads(figures)
    assert [one["quality"] for one in sorted(shown["sections"], key=number)] == sorted(
        document["sections"], key=number
    )


def test_what_may_come_back_is_an_error(tmp_path, demo_session, atlas, monkeypatch):
    """Figures that lack the template today and have it tomorrow would not be the same."""
    with Session(Settings(cache_dir=tmp_path / "empty", offline=True)) as away:
        with pytest.raises(OfflineError):
            atlas_or_reason(100, session=away)
        assert try_atlas(away, 100)[0] is None  # a report goes without it, and says so
    failing = HTTPStatusError("The service has a bad day.")
    failing.status_code = 503

    def load(_):
        raise failing

    broken = dataclasses.replace(atlas, load=load)
    dataset = open_dataset(DATASET, session=demo_session)
    with pytest.raises(HTTPStatusError):
        assess(dataset, broken)
    source = open_source(DATASET, session=demo_session, resolution=200, table_resolution=200)
    made = gather(source, broken, volume=False)
    assert made.quality is not None
    assert all(one.mutual_information is None for one in made.quality.sections)
    assert all(one.overlap is not None for one in made.quality.sections)
    assert "bad day" in made.missing["figures"]


def test_a_report_asks_for_a_missing_template_once(lacking, tmp_path):
    asked = lacking("average_template")
    with in_process_session(tmp_path / "cache") as session:
        opened, _ = try_atlas(session, 100)
        source = open_source(DATASET, session=session, resolution=200, table_resolution=200)
        made = gather(source, opened, volume=False)
    # the client asks again for what is said not to be there; not for each of the sections
    assert sum("average_template" in path for path in asked) <= 2
    assert all("template" in entry.views.problems for entry in made.entries)
    assert made.quality is not None
    assert np.isfinite([one.continuity for one in made.quality.sections]).any()
