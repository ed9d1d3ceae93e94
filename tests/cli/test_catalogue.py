"""`atldld catalogue`: made, described, and what is said where there is none."""

import io
import zipfile

import pytest
from click.testing import CliRunner

from atldld.cli import app
from atldld.errors import CacheError, OfflineError, OutputError


@pytest.fixture
def run(at_demo_server):
    return lambda *arguments: CliRunner().invoke(app, ["catalogue", *arguments])


def test_update_and_info(run):
    done = run("update", "--images")
    assert done.exit_code == 0
    assert "New: 3 data sets, 3 genes" in done.stderr
    assert "144 images" in done.stderr
    told = run("info").stdout
    assert "Images:      144 of 3 data sets" in told
    assert "just now" in told
    again = run("update")
    assert "New: nothing." in again.stderr
    assert "Images:      144 of 3 data sets" in again.stdout


def test_none(run):
    error = run("info").exception
    assert isinstance(error, CacheError)
    assert "atldld catalogue update" in str(error)


def test_offline(run):
    error = run("update", "--offline").exception
    assert isinstance(error, OfflineError)


def test_an_export_goes_where_results_go(run, tmp_path):
    run("update")
    file = tmp_path / "catalogue.zip"
    done = run("export", "-o", file)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{file}\n"
    # a second one is refused, and replaces it if asked
    assert isinstance(run("export", "-o", file).exception, OutputError)
    assert run("export", "-o", file, "--force").exit_code == 0
    printed = run("export", "-o", "-")
    assert printed.exit_code == 0, printed.output
    with zipfile.ZipFile(io.BytesIO(printed.stdout_bytes)) as ours, zipfile.ZipFile(file) as theirs:
        assert ours.namelist() == theirs.namelist()
        assert "catalogue.sqlite" in ours.namelist()
    assert run("export", str(file)).exit_code == 2
