"""Whatever is written of sections says whose coordinates it is in; atlases are told apart."""

import gzip
import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.errors import InvalidInputError, OtherAtlasWarning
from atldld.formats import write_field, write_quicknii
from atldld.formats.fields import FIELD_EXTENSIONS
from atldld.formats.voxels import known_extensions
from atldld.place.anchoring import AlignmentFile, AtlasMade
from atldld.place.coordinates import CCF, SERVICE, all_coordinates, coordinates_of, short_of
from atldld.place.refinement import StepResult
from atldld.sections.drawings import Drawing, write_drawing
from atldld.sections.register import Recipe
from tests.curved.doors import DATASET, brain, registration_of

STAYED = StepResult(step="whole", kept=False, reason="No.", moved=0, before={}, after={})


@pytest.fixture(scope="module")
def reg(demo_session, tmp_path_factory):
    """A registration of all sections, the first of which has not moved."""
    made = registration_of(brain(demo_session))
    first, *_ = made.sections
    sections = dict(made.sections)
    sections[first] = msgspec.structs.replace(sections[first], steps=(STAYED,))
    return replace(made, sections=sections).save(tmp_path_factory.mktemp("reg") / "reg.json")


@pytest.fixture(scope="module")
def refined(reg, demo_session):
    return open_dataset(DATASET, session=demo_session, alignment=reg)


@pytest.mark.parametrize(
    ("atlas", "called"),
    [
        ("ccf_2017", CCF),
        ("ABA_Mouse_CCFv3_2017_25um.cutlas", CCF),
        ("brainglobe:allen_mouse_25um", CCF),
        ("brainglobe:kim_mouse_25um", "the atlas brainglobe:kim_mouse_25um"),
        ("mine.nrrd", "the atlas mine.nrrd"),
    ],
)
def test_what_coordinates_are_called(atlas, called):
    assert coordinates_of(atlas) == called


def test_several_kinds_are_counted():
    assert all_coordinates([]) == SERVICE
    assert all_coordinates([CCF, CCF]) == CCF
    assert all_coordinates([SERVICE, CCF, CCF]) == f"2 of 3 in {CCF}; 1 of 3 in {SERVICE}"
    assert [short_of(one) for one in (CCF, SERVICE)] == ["CCFv3", "P56"]


def test_sections_know_it(refined, demo_session):
    first, *others = sorted(refined, key=lambda section: section.id != next(iter(refined)).id)
    assert {section.coordinates for section in others} == {CCF}
    # what no step has moved lies where the service has it
    assert first.coordinates == SERVICE
    assert refined.coordinates == f"13 of 14 in {CCF}; 1 of 14 in {SERVICE}"
    assert brain(demo_session).coordinates == SERVICE
    again = AlignmentFile.from_description(refined.alignment.describe())
    assert again == refined.alignment


def read_all(path):
    """All bytes of a file, or of a folder and of what lies beside it under the same name."""
    found = [path.with_name(path.name + ".json"), path]
    files = [file for one in found for file in (one.rglob("*") if one.is_dir() else (one,))]
    content = [file.read_bytes() for file in files if file.is_file()]
    return b"".join(gzip.decompress(one) if one[:2] == b"\x1f\x8b" else one for one in content)


@pytest.mark.parametrize("ending", known_extensions())
def test_volumes(refined, tmp_path, ending):
    volume = refined.volume(400)
    (path,) = volume.save(tmp_path / f"volume{ending}")[:1]
    assert CCF.encode() in read_all(path)
    assert volume.metadata["coordinates"] == refined.coordinates


@pytest.mark.parametrize("ending", [one for one in FIELD_EXTENSIONS if one != ".npy"])
def test_fields(refined, tmp_path, ending):
    section = refined.sections[7]
    path = tmp_path / f"field{ending}"
    write_field(section, Recipe(200).plan(section).plane, path)
    assert CCF.encode() in read_all(path)


@pytest.mark.parametrize("kind", ["svg", "geojson"])
def test_drawings(refined, atlas, tmp_path, kind):
    section = refined.sections[7]
    path, _ = write_drawing(
        section, atlas, Drawing(kind, resolution=100), tmp_path, session=refined.session
    )
    assert CCF in path.read_text()


def test_planes(refined, tmp_path):
    document = json.loads(write_quicknii(refined, tmp_path / "planes.json").read_text())
    assert document["atldld"] == {"coordinates": refined.coordinates}


# ---- another atlas


def made_with(name="ccf_2017", **known):
    atlas = AtlasMade(name=name, **known)
    return AlignmentFile("reg.json", "", name, None, 1, atlas=atlas)


def test_which_atlases_are_one(atlas):
    assert atlas.version.startswith("sha256:")
    here = {"resolution_um": atlas.resolution, "version": atlas.version, "synthetic": True}
    for same in (
        None,
        made_with(),
        made_with(**here),
        made_with("a copy.nrrd", **here),
        made_with("brainglobe:allen_mouse_25um"),
        # another resolution has another hash
        made_with(resolution_um=25.0, version="sha256:0", synthetic=True),
        AlignmentFile("q.json", "", "ABA_Mouse_CCFv3_2017_25um.cutlas", None, 1),
    ):
        assert atlas.differs_from(same) is None
    for other, says in (
        (made_with("mine.nrrd"), "with the atlas mine.nrrd, but the atlas here is ccf_2017"),
        (made_with(**here | {"version": "sha256:0"}), "another version of the atlas ccf_2017"),
        (made_with(synthetic=False), "that is the genuine one, but the one here is the SYNTH"),
        (AlignmentFile("reg.json", "", "unknown", None, 1), "does not say which atlas"),
    ):
        assert says in (atlas.differs_from(other) or "")


@pytest.fixture
def elsewhere(demo_session, tmp_path):
    """A data set whose sections were laid on an atlas of somebody's own."""
    made = registration_of(brain(demo_session), atlas="mine.nrrd")
    path = made.save(tmp_path / "regs" / f"{DATASET}.json")
    return path, open_dataset(DATASET, session=demo_session, alignment=path)


def test_another_atlas_is_warned_of(elsewhere, atlas):
    _, dataset = elsewhere
    section = dataset.sections[6]
    for use in (
        lambda: dataset.quantify(atlas, 200, grid=False, unionize=False),
        lambda: dataset.assess(atlas, resolution=200),
        lambda: section.annotation(atlas, 200),
        lambda: section.outlines(atlas, 200),
    ):
        with pytest.warns(OtherAtlasWarning, match=r"with the atlas mine\.nrrd, but"):
            use()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("door", ["quality", "quantify", "atlas outlines", "report"])
def test_commands_warn_once_and_refuse_if_they_are_to_be_strict(
    door, strict, elsewhere, at_demo_server, monkeypatch, capsys, tmp_path
):
    from atldld.cli import main
    from tests.curved.doors import DOORS, typed

    if door == "report" and not strict:
        pytest.skip("takes its time, and says what `quality` says")
    path, dataset = elsewhere
    (chosen,) = (one for one in DOORS if one.name == door)
    words, out = typed(chosen, path, tmp_path, dataset)
    monkeypatch.setenv("ATLDLD_DOWNLOAD_URL", at_demo_server)
    monkeypatch.setattr("sys.argv", ["atldld", *words, *(["--strict"] if strict else [])])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert (ended.value.code or 0) == (2 if strict else 0), told
    assert told.count("was made with the atlas mine.nrrd") == 1, told
    assert bool(list(out.iterdir())) != strict


def test_strictness_names_the_way_out(elsewhere, atlas):
    path, dataset = elsewhere
    strict = open_dataset(DATASET, session=dataset.session, alignment=path, strict=True)
    with pytest.raises(InvalidInputError, match=r"mine\.nrrd") as caught:
        strict.sections[6].annotation(atlas, 200)
    assert "strict=True" in (caught.value.hint or "")
    assert np.isfinite(strict.sections[6].geometry.tilt)
