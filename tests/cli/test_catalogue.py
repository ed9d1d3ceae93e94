"""`atldld catalogue`: made, described, and what is said where there is none."""

import pytest
from click.testing import CliRunner

from atldld.cli import app
from atldld.errors import CacheError, OfflineError


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
