"""A folder is for one data set: each command that fills one refuses another's, in one sentence."""

import json

import pytest
from click.testing import CliRunner

from atldld.cli import app
from atldld.demo.archive import DemoArchive
from atldld.errors import AtldldError, OutputError, Remedy
from atldld.sections.folder import check_one_dataset
from atldld.serve.app import Application
from atldld.testing.server import FaultServer

COMMANDS = (
    "download dataset 909 out --resolution 400",
    "export fields 909 out --resolution 400",
    "export sections 909 out --resolution 400",
    "export quicknii 909 -o out/a.json --images --downsample-img 4",
    "atlas outlines 909 -o out --resolution 200 --atlas-resolution 100",
)
# what another data set leaves, by the command that leaves it
LEFT = {
    "metadata.json": json.dumps({"dataset_id": 71717084, "per_image": {}}),
    "fields.json": json.dumps({"dataset_id": 71717084, "fields": []}),
    "71591593_outlines.svg": "<svg/>",
    "71591593.ome.tif": "tif",
    "71591593_field.mha": "mha",
    "71591593_expr.png": "png",
    "71591593_s266.jpg": "jpg",
}


@pytest.fixture(scope="module")
def server():
    with FaultServer(Application(DemoArchive((909,)))) as server:
        yield server


@pytest.fixture
def run(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATLDLD_API_URL", server.url)
    monkeypatch.setenv("ATLDLD_DOWNLOAD_URL", server.url)
    server.forget()
    return lambda command: CliRunner().invoke(app, command.split())


@pytest.mark.parametrize("name", LEFT)
@pytest.mark.parametrize("command", COMMANDS)
def test_another_data_set_is_refused(run, server, tmp_path, command, name):
    path = tmp_path / "out" / name
    path.parent.mkdir()
    path.write_text(LEFT[name])
    error = run(command).exception
    assert isinstance(error, OutputError), error
    assert Remedy.FORCE in error.remedies
    assert error.message.count(". ") == 0
    if name != "fields.json" or "export fields" not in command:
        assert "data set" in error.message
    # before any picture or volume is asked for
    assert {entry.request.model for entry in server.log} <= {"SectionDataSet", "SectionImage"}
    assert list((tmp_path / "out").iterdir()) == [path]
    assert path.read_text() == LEFT[name]


@pytest.mark.parametrize("command", [c for c in COMMANDS if "quicknii" not in c][1:3])
def test_asked_it_writes_beside_them(run, tmp_path, command):
    path = tmp_path / "out" / "71591593_outlines.svg"
    path.parent.mkdir()
    path.write_text("mine")
    result = run(f"{command} --force")
    assert result.exit_code == 0, result.exception
    assert path.read_text() == "mine"
    assert len(list(path.parent.iterdir())) > 1


def test_results_of_one_data_set_share_a_folder(run, tmp_path):
    for command in COMMANDS:
        result = run(command)
        assert result.exit_code == 0, (command, result.exception)
    assert len(list((tmp_path / "out").glob("*_outlines.svg"))) > 0


def test_files_of_ones_own_are_nobodys(tmp_path):
    for name in ("2024.png", "notes_outlines.svg", "12_outlines.txt", "metadata.json", "1.jpg"):
        (tmp_path / name).write_text("mine")
    check_one_dataset(tmp_path, 909, {1, 2, 3})
    check_one_dataset(tmp_path / "none", 909, {1, 2, 3})
    (tmp_path / "4_outlines.png").write_text("theirs")
    with pytest.raises(AtldldError, match="image 4"):
        check_one_dataset(tmp_path, 909, {1, 2, 3})
    check_one_dataset(tmp_path, 909, {1, 2, 3, 4})
    check_one_dataset(tmp_path, 909, {1, 2, 3}, force=True)


def test_python_refuses_as_well(session, tmp_path):
    from atldld.api import open_dataset

    dataset = open_dataset(909, session=session)
    out = tmp_path / "out"
    out.mkdir()
    (out / "71591593_outlines.svg").write_text("theirs")
    for write in (
        lambda: dataset.download(out),
        lambda: dataset.export.fields(out),
        lambda: dataset.export.sections(out),
        lambda: dataset.export.quicknii(out / "a.json", images=True),
    ):
        with pytest.raises(OutputError, match="one data set"):
            write()
    assert [path.name for path in out.iterdir()] == ["71591593_outlines.svg"]
