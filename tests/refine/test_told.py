"""What a registration says of sections reaches those who use them."""

import csv
import json

import msgspec
import pytest

from atldld.api import open_dataset
from atldld.formats.displacements import describe
from atldld.place.refinement import ExpectedError, Refinement, StepResult
from atldld.place.registration import Registration, SectionFit
from atldld.place.sections import PlacedDataSet
from atldld.quality import assess
from atldld.report import open_source
from atldld.sections.download import download_dataset
from atldld.sections.metadata import read_metadata
from atldld.sections.register import Recipe

DATASET = 909
FIGURES = {"difference": 0.5, "overlap": 0.9}
EXPECTED = ExpectedError(
    before=210.5,
    after=41.25,
    bound90_before=400.0,
    bound90_after=88.0,
    structures={997: (210.5, 41.25), 382: (180.0, 30.0)},
)
STEPS = (
    StepResult(
        step="whole", kept=True, reason="Better.", moved=180.0, before=FIGURES, after=FIGURES
    ),
    StepResult(
        step="sections", kept=False, reason="Not better.", moved=0.0, before=FIGURES, after=FIGURES
    ),
)


@pytest.fixture(scope="module")
def registration(demo):
    """A registration in which the first section has moved and the second has stayed."""
    dataset = demo[1]
    fits = {}
    for k, section in enumerate(dataset.sections):
        steps = [STEPS, STEPS[1:]][k] if k < 2 else ()
        expected = EXPECTED if k == 0 else None
        fits[section.id] = SectionFit.of(
            section.placement, section.number, steps, expected_error=expected
        )
    return Registration(dataset.id, fits, {"atlas": {"name": "ccf_2017"}})


@pytest.fixture(scope="module")
def reg(registration, tmp_path_factory):
    return registration.save(tmp_path_factory.mktemp("registration") / "reg.json")


@pytest.fixture(scope="module")
def opened(demo, reg):
    return open_dataset(DATASET, session=demo[0], alignment=reg)


def test_a_section_knows_what_was_done_to_it(opened, demo, registration):
    first, second, third = opened.sections[:3]
    assert first.refinement.expected_error == EXPECTED
    assert [step.step for step in first.refinement.kept] == ["whole"]
    assert first.refinement.moved == 180.0
    assert first.refinement.reason is None
    assert second.expected_error is None
    assert second.refinement.kept == ()
    assert second.refinement.moved == 0.0
    assert second.refinement.reason == "Not better."
    assert third.refinement == Refinement()
    assert registration.moved == 1
    placed = PlacedDataSet.of(demo[1].record, registration)
    assert placed.sections[0].expected_error == EXPECTED
    # and without a registration there is nothing to say
    assert all(section.refinement is None for section in demo[1].sections)
    assert demo[1].sections[0].describe_registration() == {}


def test_quality_shows_what_is_expected_and_judges_as_before(opened, demo, tmp_path):
    found = assess(opened, session=demo[0], resolution=200)
    plain = assess(demo[1], session=demo[0], resolution=200)
    for one, other in zip(found.sections, plain.sections, strict=True):
        assert one.score == other.score
    assert found.with_expected
    assert not plain.with_expected
    path = found.save(tmp_path / "quality.csv")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["expected_error_before"]) == 210.5
    assert float(rows[0]["expected_error_after"]) == 41.25
    assert float(rows[0]["expected_error_bound90_before"]) == 400
    assert float(rows[0]["expected_error_bound90_after"]) == 88
    assert rows[1]["expected_error_after"] == ""
    document = json.loads(found.save(tmp_path / "quality.json").read_text())
    assert document["sections"][0]["expected_error_structures"]["382"] == {
        "before": 180.0,
        "after": 30.0,
    }
    assert "expected_error_structures" not in document["sections"][1]
    # a table of sections without a registration is as it was
    assert "expected_error_after" not in plain.save(tmp_path / "plain.csv").read_text()


def test_downloads_say_so_and_are_read_back(opened, demo, reg, tmp_path):
    folder = tmp_path / "out"
    download_dataset(DATASET, folder, Recipe(200), session=demo[0], alignment=reg)
    told = read_metadata(folder)
    first, second = demo[1].sections[:2]
    assert told.per_image[str(first.id)].refinement == Refinement(
        steps=STEPS, expected_error=EXPECTED
    )
    stayed = told.per_image[str(second.id)].refinement
    assert stayed is not None
    assert stayed.expected_error is None
    document = json.loads((folder / "metadata.json").read_text())
    entry = document["per_image"][str(first.id)]["refinement"]
    assert entry["expected_error"]["bound90_after"] == 88.0
    assert entry["steps"][0] == msgspec.to_builtins(STEPS[0])
    # the second run finds everything there
    again = download_dataset(DATASET, folder, Recipe(200), session=demo[0], alignment=reg)
    assert again.written == 0
    registered = opened.sections[0].register(200)
    said = describe(registered.section, registered.plane)
    assert said["expected_error_um"]["after"] == 41.25
    # a report of the folder knows it too
    source = open_source(folder, session=demo[0])
    assert source.dataset.section(first.id).expected_error == EXPECTED


def test_volumes_and_tables_of_regions_say_so(opened, demo):
    built = opened.volume(200).metadata["datasets"][0]["sections"]
    table = opened.quantify(demo[2], 200).metadata["sections"]
    for sections in (built, table):
        by_id = {section["image_id"]: section for section in sections}
        told = by_id[opened.sections[0].id]["expected_error_um"]
        assert told == {
            "before": 210.5,
            "after": 41.25,
            "bound90_before": 400.0,
            "bound90_after": 88.0,
        }
        assert "expected_error_um" not in by_id[opened.sections[1].id]


def test_the_command_shows_it(reg, at_demo_server, monkeypatch, capsys):
    from atldld.cli import main

    monkeypatch.setenv("ATLDLD_DOWNLOAD_URL", at_demo_server)
    arguments = ["atldld", "quality", "909", "--no-atlas", "--resolution", "200"]
    monkeypatch.setattr("sys.argv", [*arguments, "--alignment", str(reg)])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert not ended.value.code, told.err
    assert "210 → 41 (≤ 88)" in told.out
    assert "nine of ten" in told.err


def test_what_a_folder_says_may_be_nonsense(demo, reg, tmp_path):
    folder = tmp_path / "out"
    download_dataset(DATASET, folder, Recipe(200), session=demo[0], alignment=reg)
    path = folder / "metadata.json"
    document = json.loads(path.read_text())
    document["per_image"][str(demo[1].sections[0].id)]["refinement"]["steps"] = "many"
    path.write_text(json.dumps(document))
    with pytest.raises(Exception, match="does not say what it should of the section of image"):
        read_metadata(folder)
