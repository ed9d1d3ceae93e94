"""One object leads everywhere: its methods and the functions of the same names do the same."""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import atldld
from atldld.errors import InvalidInputError, OfflineError, OutputError
from atldld.warp.stain import EXPRESSING

DOORS = ("quality", "quantify", "refine", "volume", "download", "report")
ROOMS = ("quality", "refine", "report", "volume")

function: Any = vars(__import__("atldld.api", fromlist=["api"])).get


@pytest.fixture
def gathered(monkeypatch):
    """What reports are made of, without the work: that takes long, and has tests of its own."""
    told: list[dict[str, Any]] = []

    def gather(source, atlas=None, **options):
        told.append({"source": source, "atlas": atlas, **options})
        return "a report"

    monkeypatch.setattr("atldld.report.gather", gather)
    monkeypatch.setattr("atldld.report.write_report", lambda made, path, force: Path(path))
    return told


@pytest.fixture
def doors(ds, atlas, tmp_path, gathered):
    """How each door is called, and what of its result must be equal."""
    names = iter(range(1000))

    def new(ending=""):
        return tmp_path / f"{next(names)}{ending}"

    def files(folder):
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}

    def downloaded(call):
        folder = new()
        call(folder, 400)
        return files(folder)

    def reported(call):
        call(new(".html"), atlas, resolution=200, table_resolution=100, volume=False, jobs=3)
        told = gathered.pop()
        source = told.pop("source")
        assert (source.resolution, source.table_resolution) == (200, 100)
        assert (told["atlas"], told["volume"], told["jobs"]) == (atlas, False, 3)
        return source.dataset.id, told

    return {
        "quality": lambda call: call(atlas, resolution=300).to_rows(),
        "quantify": lambda call: repr(list(call(atlas, 200, grid=False, unionize=False).rows())),
        "refine": lambda call: {
            key: fit.image_to_reference
            for key, fit in call(atlas, steps=[], resolution=200).sections.items()
        },
        "volume": lambda call: call(800, channel="expression").data.tobytes(),
        "download": downloaded,
        "report": reported,
    }


@pytest.mark.parametrize("name", DOORS)
def test_an_id_and_a_data_set_give_the_same(name, doors, ds, shared_session):
    of_object = doors[name](getattr(ds, name))
    door = getattr(atldld, name)

    def by_data_set(*arguments, **options):
        return door(ds, *arguments, **options)

    def by_id(*arguments, **options):
        return door(str(ds.id), *arguments, session=shared_session, **options)

    assert of_object
    assert doors[name](by_data_set) == of_object
    assert doors[name](by_id) == of_object


@pytest.mark.parametrize("name", DOORS)
def test_methods_and_functions_take_the_same(name):
    """What the one takes, the other takes, with the same defaults."""
    method = inspect.signature(getattr(atldld.DataSet, name)).parameters
    door = inspect.signature(function(name)).parameters
    assert next(iter(door)) == "dataset"
    assert door["session"].default is None
    others = {key: one for key, one in door.items() if key not in ("dataset", "session")}
    assert list(others) == [key for key in method if key != "self"]
    for key, one in others.items():
        assert (one.default, one.kind, one.annotation) == (
            method[key].default,
            method[key].kind,
            method[key].annotation,
        ), key


def test_the_threshold_is_the_usual_one():
    assert inspect.signature(function("quantify")).parameters["threshold"].default == EXPRESSING


@pytest.mark.parametrize("name", DOORS)
@pytest.mark.parametrize("wrong", [None, 2.5, True, "x\ty", [909], object(), np.nan])
def test_what_is_no_data_set_is_refused_in_one_sentence(name, wrong, tmp_path):
    where = {"download": [tmp_path / "out"], "report": [tmp_path / "r.html"]}.get(name, [])
    with pytest.raises(InvalidInputError) as told:
        getattr(atldld, name)(wrong, *where)
    assert told.value.message.endswith(".")
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize("name", DOORS)
def test_a_section_is_no_data_set(name, ds, tmp_path):
    where = {"download": [tmp_path / "out"], "report": [tmp_path / "r.html"]}.get(name, [])
    with pytest.raises(InvalidInputError, match="one section"):
        getattr(atldld, name)(ds.sections[0], *where)


@pytest.mark.parametrize("name", ["quality", "quantify", "refine", "report", "sections_near"])
@pytest.mark.parametrize("wrong", [5, "ccf_2017", [None], object()])
def test_what_is_no_atlas_is_refused_before_anything_is_asked(name, wrong, ds, tmp_path):
    before = {"report": [tmp_path / "r.html"], "sections_near": ["DG"]}.get(name, [])
    asked = ds.session.client.requests_sent
    with pytest.raises(InvalidInputError, match="no atlas"):
        getattr(ds, name)(*before, wrong)
    assert ds.session.client.requests_sent == asked


def test_the_usual_atlas_is_opened_where_none_is_given(ds, coarse_atlas, tmp_path):
    named = ds.quantify(resolution=200, grid=False, unionize=False)
    assert named.metadata["atlas"]["name"] == coarse_atlas.name
    assert ds.refine(steps=[], resolution=200).about["atlas"]["name"] == coarse_atlas.name
    assert ds.sections_near("DG") == ds.sections_near("DG", coarse_atlas)


def test_quality_has_an_atlas_unless_it_is_left_out(ds, atlas, monkeypatch):
    with_none = ds.quality(None, resolution=300)
    assert not with_none.with_atlas
    assert "atlas=None" in with_none.notes[0]
    monkeypatch.setattr("atldld.atlas.open_atlas", lambda *_, **__: atlas)
    assert ds.quality(resolution=300).with_atlas
    assert not ds.assess(resolution=300).with_atlas


@pytest.mark.parametrize("name", ROOMS)
def test_rooms_are_called_and_hold_what_they_hold(name):
    import importlib
    import types

    room = getattr(atldld, name)
    assert room is importlib.import_module(f"atldld.{name}")
    assert isinstance(room, types.ModuleType)
    assert callable(room)
    assert room.__all__
    assert inspect.signature(room) == inspect.signature(function(name))


@pytest.mark.parametrize("first", ["from atldld import {}", "import atldld.{}"])
def test_rooms_are_called_however_they_are_imported(first):
    """In a process of its own, where nothing has been imported before."""
    import subprocess
    import sys

    code = ["import types"]
    for name in ROOMS:
        code += [first.format(name), f"import atldld.{name} as room", "import atldld"]
        code += [f"assert room is atldld.{name} and callable(room), room"]
        code += ["assert isinstance(room, types.ModuleType)"]
    subprocess.run([sys.executable, "-c", "\n".join(code)], check=True)


def test_open_dataset_takes_the_settings(demo_server, tmp_path):
    cache = tmp_path / "own"
    with pytest.raises(OfflineError):
        atldld.open_dataset(909, api_url=demo_server, cache_dir=cache, offline=True)
    ds = atldld.open_dataset(909, api_url=demo_server, cache_dir=cache)
    assert ds.session.settings.api_url == demo_server
    assert list(cache.rglob("909.json"))
    again = atldld.open_dataset(909, api_url=demo_server, cache_dir=cache, offline=True)
    assert again.session.settings.offline
    assert again.sections.ids == ds.sections.ids
    with pytest.raises(OfflineError):
        again.sections[0].pixels(4)


def test_settings_go_before_the_environment(demo_server, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLDLD_OFFLINE", "1")
    ds = atldld.open_dataset(909, api_url=demo_server, cache_dir=tmp_path, offline=False)
    assert not ds.session.settings.offline


@pytest.mark.parametrize("given", [{"offline": True}, {"cache_dir": "x"}, {"api_url": "http://h"}])
def test_a_session_has_its_own_settings(given, shared_session):
    with pytest.raises(InvalidInputError, match=next(iter(given))):
        atldld.open_dataset(909, session=shared_session, **given)


def test_a_wrong_session_is_named(ds):
    with pytest.raises(InvalidInputError, match="no session"):
        atldld.open_dataset(909, session="here")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="session"):
        atldld.volume(ds, 800, session=atldld.Session())


def test_the_progress_may_be_told(ds):
    told: list[tuple[int, int, str]] = []
    ds.volume(800, progress=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == list(range(1, len(ds) + 1))
    assert ds.volume(800, progress=False).data.any()
    with pytest.raises(InvalidInputError, match="progress"):
        ds.volume(800, progress=5)


# ---- files


def test_download_of_a_data_set_goes_on_with_that_of_its_id(ds, shared_session, tmp_path):
    from atldld.sections.download import download_dataset
    from atldld.sections.register import Recipe

    first = download_dataset(ds.id, tmp_path / "o", Recipe(400), session=shared_session)
    assert first.written == len(ds)
    again = ds.download(tmp_path / "o", 400)
    assert (again.written, again.kept) == (0, len(ds))
    with pytest.raises(OutputError, match="other options"):
        ds.download(tmp_path / "o", 200)


def test_an_alignment_goes_along(ds, shared_session, atlas, tmp_path, gathered):
    """What was opened with a registration is downloaded and reported with it."""
    path = ds.refine(atlas, steps=[], resolution=200).save(tmp_path / "reg.json")
    moved = atldld.open_dataset(ds.id, session=shared_session, alignment=path)
    moved.download(tmp_path / "o", 400)
    told = json.loads((tmp_path / "o" / "metadata.json").read_text())
    assert told["alignment"]["file"] == "reg.json"
    moved.report(tmp_path / "r.html", None)
    ds.report(tmp_path / "p.html", None)
    first, second = (told["source"] for told in gathered)
    # with the start, so that before and after are shown
    assert first.start is not None
    assert first.dataset.alignment.name == "reg.json"
    assert second.start is None
    assert "atlas=None" in gathered[0]["without_atlas"]


def test_a_report_of_a_folder(ds, shared_session, tmp_path):
    ds.download(tmp_path / "o", 200, expression=True)
    made = atldld.report(
        tmp_path / "o", tmp_path / "r.html", None, volume=False, session=shared_session
    )
    assert "an output folder" in made.read_text("utf-8")


def test_a_page_that_cannot_be_written_is_refused_first(ds, tmp_path):
    asked = ds.session.client.requests_sent
    with pytest.raises(InvalidInputError):
        ds.report(tmp_path / "r.txt")
    (tmp_path / "r.html").touch()
    with pytest.raises(OutputError):
        ds.report(tmp_path / "r.html")
    assert ds.session.client.requests_sent == asked


@pytest.mark.usefixtures("at_demo_server")
def test_exports_are_those_of_the_command(ds, atlas, tmp_path):
    from click.testing import CliRunner

    from atldld.cli import app

    def run(*arguments):
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        assert result.exit_code == 0, result.output

    def same(folder, other):
        names = sorted(path.name for path in (tmp_path / folder).iterdir())
        assert names == sorted(path.name for path in (tmp_path / other).iterdir())
        assert names
        for name in names:
            one, two = (tmp_path / part / name for part in (folder, other))
            if name.endswith(".json"):
                assert json.loads(one.read_text("utf-8")) == json.loads(two.read_text("utf-8"))
            else:
                assert one.read_bytes() == two.read_bytes(), name

    for name in "abcdef":
        (tmp_path / name).mkdir()
    ds.export.quicknii(tmp_path / "a" / "q.json", images=True, downsample=4)
    run("export", "quicknii", ds.id, "-o", tmp_path / "b" / "q.json", "--images",
        "--downsample-img", 4)  # fmt: skip
    same("a", "b")
    ds.export.fields(tmp_path / "c", resolution=400)
    run("export", "fields", ds.id, tmp_path / "d", "--resolution", 400)
    same("c", "d")
    written = ds.export.sections(tmp_path / "e", resolution=400, expression=True)
    assert sorted(written) == sorted((tmp_path / "e").iterdir())
    run("export", "sections", ds.id, tmp_path / "f", "--resolution", 400, "-e")
    assert len(list((tmp_path / "f").iterdir())) == len(written) == len(ds)
    drawn = ds.export.outlines(
        tmp_path / "g", atlas, resolution=200, sections=ds.sections[6], structures=["HPF"]
    )
    assert [path.name for path in drawn] == [f"{ds.sections[6].id}_outlines.svg"]
    assert 'data-acronym="HPF"' in drawn[0].read_text("utf-8")


def test_exports_refuse_before_work(ds, tmp_path):
    asked = ds.session.client.requests_sent
    with pytest.raises(InvalidInputError, match="format"):
        ds.export.fields(tmp_path / "o", format="xyz")
    with pytest.raises(InvalidInputError):
        ds.export.quicknii(tmp_path / "o.txt")
    (tmp_path / f"{ds.sections[0].id}.ome.tif").touch()
    with pytest.raises(OutputError):
        ds.export.sections(tmp_path)
    assert ds.session.client.requests_sent == asked
