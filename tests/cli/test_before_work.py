"""What can be known before the work is said before it: no command asks first and fails then.

And nothing of the user's is replaced without being asked: each command that writes refuses files
that are there, those beside its output too, unless it is called with ``--force``.
"""

import os
import shutil
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from atldld.cli import app
from atldld.demo.archive import DemoArchive
from atldld.errors import AtldldError, InvalidInputError, OutputError, Remedy
from atldld.serve.app import Application
from atldld.testing.server import FaultServer

SECTION = 101321610  # of data set 909
POINTS = "image_id,x,y\n101321610,10,20\n"

# Commands that write one result, what they also write beside it, and what that may end in.
FILES: dict[str, dict[str, list[str]]] = {
    "volume 909 -o {}": {
        ".nii.gz": ["_coverage.nii.gz"],
        ".nrrd": [],
        ".npy": [".npy.json", "_coverage.npy", "_coverage.npy.json"],
        ".tif": [],
    },
    "quantify 909 -o {}": {".csv": [".csv.json"], ".parquet": []},
    "quality 909 -o {}": {".csv": [], ".json": []},
    "report 909 -o {}": {".html": []},
    "align 909 --no-browser -o {}": {".json": [".journal.jsonl"]},
    "grid 909 -o {}": {".nii.gz": [], ".npy": [".npy.json"]},
    "grid 909 --table {}": {".csv": [".csv.json"], ".parquet": []},
    "export quicknii 909 -o {}": {".json": [], ".csv": []},
    "sync image-to-reference points.csv -o {}": {".csv": [], ".parquet": []},
    "sync reference-to-image points.csv -d 909 -o {}": {".csv": []},
    "sync image-to-image points.csv -d 909 -o {}": {".csv": []},
    "sync image-to-image-2d points.csv -i 101321610 -o {}": {".csv": []},
    "sync image-to-atlas points.csv -o {}": {".csv": []},
    "sync structure-to-image points.csv -d 909 -o {}": {".csv": []},
}
CASES = [
    (command, ending, beside)
    for command, endings in FILES.items()
    for ending, besides in endings.items()
    for beside in ["", *besides]
]

# Commands that write into a folder, and a file there whose name is known before any request.
FOLDERS = {
    "export fields 909 {}": "fields.json",
    "export fields 909 {} --format zarr": "fields.json",
    "export sections 909 {}": None,
    "atlas outlines 909 -o {}": None,
    "atlas plates -o {}": None,
    "download dataset 909 {}": "metadata.json",
    "download datasets 909 {}": "batch.jsonl",
    "volume --datasets 909 -o {}": "batch.jsonl",
    f"download image {SECTION} {{}}": f"{SECTION}-0.png",
    f"download image {SECTION} {{}} -e": f"{SECTION}-0-expression.png",
    "dataset preview 909 -o {}": "dataset-id-909-preview.png",
    "demo {}": "overview.png",
    "demo {} ": "report.html",
    "demo {}  ": "69289763/metadata.json",
}
KNOWN_NAMES = [(command, name) for command, name in FOLDERS.items() if name]

# And those whose files are named by ids that the service must say first; no image is asked for.
NAMED_BY_IDS = {
    "export fields 909 {}": "{}_field.mha",
    "export sections 909 {}": "{}.ome.tif",
    "export quicknii 909 -o {}/a.json --images": "{}_s002.jpg",
    "atlas outlines 909 -o {} --format svg": "{}_outlines.svg",
    "atlas outlines 909 -o {} --format png": "{}_outlines.png",
    "download dataset 909 {}": "{}.png",
    "download dataset 909 {} -e": "{}_expr.png",
    "download dataset 909 {} --fields": "{}_field.npy",
    "download dataset 909 {} --format tiff": "{}.tif",
}

# Optional libraries, and commands that need them.
EXTRAS = [
    ("nibabel", "volume 909 -o a.nii.gz"),
    ("nibabel", "volume --datasets 909 -o out"),
    ("nrrd", "volume 909 -o a.nrrd"),
    ("zarr", "volume 909 -o a.ome.zarr"),
    ("zarr", "export fields 909 out --format zarr"),
    ("nibabel", "grid 909 -o a.nii"),
    ("pyarrow", "grid 909 --table a.parquet"),
    ("pyarrow", "quantify 909 -o a.parquet"),
    ("nrrd", "quantify 909 -o a.csv"),
    ("nrrd", "quality 909 -o a.csv"),
    ("nrrd", "atlas fetch annotation"),
    ("nrrd", "atlas outlines 909 -o out"),
    ("shapely", "atlas outlines 909 -o out"),
    ("brainglobe_atlasapi", "quantify 909 --atlas brainglobe:allen_mouse_50um"),
    ("brainglobe_atlasapi", "atlas fetch brainglobe:allen_mouse_50um"),
    ("pyarrow", "sync image-to-reference points.csv -o a.parquet"),
    ("matplotlib", "dataset preview 909 -o out"),
    ("jinja2", "report 909 -o a.html"),
    ("jinja2", "demo out"),
    ("fsspec", "download datasets 909 s3://bucket/it"),
    ("distributed", "download datasets 909 out --dask local:1"),
]


@pytest.fixture(scope="module")
def server():
    with FaultServer(Application(DemoArchive((909,)))) as server:
        yield server


@pytest.fixture
def refused(server, tmp_path, monkeypatch):
    """Run a command that must fail, and return its error, and what it asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATLDLD_API_URL", server.url)
    (tmp_path / "points.csv").write_text(POINTS)
    server.forget()

    def run(command):
        result = CliRunner().invoke(app, command.split())
        assert isinstance(result.exception, AtldldError), (result.output, result.exc_info)
        assert len(result.stdout) == 0
        return result.exception, [entry.request for entry in server.log]

    return run


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("command", "ending", "beside"), CASES)
def test_what_is_there_is_refused(refused, tmp_path, command, ending, beside):
    path = tmp_path / f"a{beside or ending}"
    path.write_text("mine")
    before = contents(tmp_path)
    error, asked = refused(command.format(f"a{ending}"))
    assert asked == []
    assert isinstance(error, OutputError)
    assert f"{path.name} is there already" in error.message
    assert error.remedies == (Remedy.FORCE,)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("command", "name"), KNOWN_NAMES)
def test_what_is_there_in_a_folder_is_refused(refused, tmp_path, command, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    error, asked = refused(command.format("out"))
    assert asked == []
    assert error.remedies == (Remedy.FORCE,)
    assert path.read_text() == "mine"
    left = {p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.suffix != ".lock"}
    assert left == {path}


@pytest.mark.parametrize("command", NAMED_BY_IDS)
def test_files_that_are_named_by_ids_are_refused(refused, tmp_path, command):
    path = tmp_path / "out" / NAMED_BY_IDS[command].format(SECTION)
    path.parent.mkdir()
    path.write_text("mine")
    error, asked = refused(command.format("out"))
    assert {request.model for request in asked} == {"SectionDataSet", "SectionImage"}
    assert f"{path.name} is there already" in error.message
    assert error.remedies == (Remedy.FORCE,)
    assert list((tmp_path / "out").iterdir()) == [path]
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file/a{}", "file is a file"),
        ("/sys/a{}", "read-only"),
        ("folder{}", "folder"),
        ("a" * 260 + "{}", "shorter name"),
        (os.fsdecode(b"\xff") + "{}", "no UTF-8"),
        ("a.xyz", "is|ending"),
    ],
    ids=["file", "read-only", "folder", "long", "bytes", "ending"],
)
@pytest.mark.parametrize(
    "command", [command for command in FILES if "sync" not in command or "image-2d" in command]
)
@pytest.mark.parametrize("force", ["", " --force"])
def test_outputs_that_cannot_be(refused, tmp_path, command, name, message, force):
    """Also not with --force; the folder of a table of points must be there."""
    (tmp_path / "file").write_text("mine")
    ending = next(iter(FILES[command]))
    (tmp_path / f"folder{ending}").mkdir()
    error, asked = refused(command.format(name.format(ending)) + force)
    assert asked == []
    if not (command.startswith("sync") and name.startswith("file")):
        assert any(word in str(error) for word in message.split("|")), str(error)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "file"),
        ("file/deep", "file"),
        ("/sys/a", "read-only"),
        (os.fsdecode(b"\xff"), "no UTF-8"),
    ],
    ids=["file", "below", "read-only", "bytes"],
)
@pytest.mark.parametrize("command", FOLDERS)
def test_folders_that_cannot_be(refused, tmp_path, command, name, message):
    (tmp_path / "file").write_text("mine")
    error, asked = refused(command.format(name))
    assert asked == []
    assert message in str(error)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(("module", "command"), EXTRAS)
def test_a_library_is_missing(refused, tmp_path, monkeypatch, module, command):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    before = contents(tmp_path)
    error, asked = refused(command)
    assert asked == []
    assert module in error.message
    assert "pip install 'atldld[" in str(error)
    assert contents(tmp_path) == before


def test_force_replaces(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATLDLD_API_URL", server.url)
    for name in ("a.json", "fields/fields.json", f"fields/{SECTION}_field.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    for command in (
        "export quicknii 909 -o a.json --force",
        "export fields 909 fields --format npy --resolution 400 --force",
    ):
        assert CliRunner().invoke(app, command.split()).exit_code == 0
    assert (tmp_path / "a.json").read_text().startswith("{")
    assert np.load(tmp_path / "fields" / f"{SECTION}_field.npy").ndim == 3


@pytest.mark.parametrize(
    "command",
    [f"download image {SECTION} out --downsample-img 4 -e", "dataset preview 909 -o out"],
)
def test_scripts_for_0_3_run_twice(server, tmp_path, monkeypatch, command):
    """0.3 replaced these files. The same again is no error; a changed file is not replaced."""
    if "preview" in command:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATLDLD_API_URL", server.url)
    first = CliRunner().invoke(app, command.split())
    assert first.exit_code == 0
    made = contents(tmp_path / "out")
    server.forget()
    again = CliRunner().invoke(app, command.split())
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert contents(tmp_path / "out") == made
    path = min(made)
    pixels = cv2.imread(str(path))
    assert pixels is not None
    cv2.imwrite(str(path), 255 - pixels)
    changed = path.read_bytes()
    refused = CliRunner().invoke(app, command.split())
    assert isinstance(refused.exception, OutputError)
    assert path.read_bytes() == changed
    assert CliRunner().invoke(app, [*command.split(), "--force"]).exit_code == 0
    assert contents(tmp_path / "out") == made
    assert server.log == ()


def test_a_result_that_vouches_for_its_files_is_gone_on_with(server, tmp_path, monkeypatch):
    """`metadata.json` says whose the files are: what an earlier run has left is replaced."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATLDLD_API_URL", server.url)
    command = "download dataset 909 out --resolution 400"
    assert CliRunner().invoke(app, command.split()).exit_code == 0
    made = contents(tmp_path / "out")
    (tmp_path / "out" / f"{SECTION}.png").write_bytes(b"torn")
    assert CliRunner().invoke(app, command.split()).exit_code == 0
    pictures = {path for path in made if path.suffix == ".png"}
    assert all(contents(tmp_path / "out")[path] == made[path] for path in pictures)
    (tmp_path / "out" / "metadata.json").unlink()
    refused = CliRunner().invoke(app, command.split())
    assert isinstance(refused.exception, OutputError)
    assert "is there already" in refused.exception.message
    assert CliRunner().invoke(app, [*command.split(), "--force"]).exit_code == 0


def test_ids_that_are_none_are_said_first(refused):
    error, asked = refused("volume 909 2.5 -o a.nii.gz")
    assert isinstance(error, InvalidInputError)
    assert asked == []


@pytest.mark.parametrize(
    ("command", "asked_for"),
    [
        ("volume 909 -o a.npy --resolution 50", set()),
        ("volume 909 -o a.nii --resolution 50", set()),
        ("export fields 909 out --resolution 50", {"SectionDataSet", "SectionImage"}),
        ("download dataset 909 out --fields", {"SectionDataSet", "SectionImage"}),
        ("atlas fetch annotation --resolution 100", {None}),
    ],
)
def test_a_disk_that_is_obviously_too_small(refused, monkeypatch, command, asked_for):
    """Where the size of the result is known: what is not compressed takes what it takes."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(2, 2, 1))
    error, asked = refused(command)
    assert {request.model for request in asked} == asked_for
    assert all(request.image_id is None for request in asked)
    assert "MB are free there" in error.message


def test_a_batch_that_the_disk_has_no_space_for(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATLDLD_API_URL", server.url)
    assert CliRunner().invoke(app, ["dataset", "info", "909"]).exit_code == 0
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(2, 2, 1))
    server.forget()
    result = CliRunner().invoke(app, ["download", "datasets", "909", "out"])
    assert isinstance(result.exception, OutputError)
    assert "are free there" in result.exception.message
    assert server.log == ()
