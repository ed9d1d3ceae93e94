"""Two builds of one tree are the same to the byte, and hold what they should."""

import hashlib
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.release.conftest import ROOT, copy_tree, tracked

VERSION = "7.8.9"  # of no release
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def build(folder: Path, out: Path, **environment: str) -> dict[str, Path]:
    """Build both distributions, and return them by what they end with."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
        cwd=folder, check=True, capture_output=True,
        env=os.environ
        | {"SETUPTOOLS_SCM_PRETEND_VERSION": VERSION, "SOURCE_DATE_EPOCH": "1700000000"}
        | environment,
    )  # fmt: skip
    return {path.suffix: path for path in out.iterdir()}


def hashes(built):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built.values()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return copy_tree(tmp_path_factory.mktemp("one") / "atldld")


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory):
    return build(tree, tmp_path_factory.mktemp("built"))


def test_two_builds_are_the_same(built, tmp_path):
    """Neither the place, the time, permissions, the language nor left-overs show."""
    other = copy_tree(tmp_path / "a longer name of a folder")
    for number, path in enumerate(sorted(other.rglob("*"), reverse=True)):
        os.utime(path, (1_000_000_000 + number,) * 2)
        if path.is_file():
            path.chmod(path.stat().st_mode & 0o700)  # whether it can be run is part of it
    (other / "src/atldld/__pycache__").mkdir()
    (other / "src/atldld/__pycache__/x.cpython-311.pyc").write_bytes(b"left over")
    (other / ".venv").mkdir()
    (other / ".venv/secret").write_text("mine")
    (other / "notes.txt").write_text("mine")
    again = build(other, tmp_path / "out", PYTHONHASHSEED="5", TZ="Asia/Tokyo", LC_ALL="C")
    assert hashes(again) == hashes(built)


def test_the_date_is_the_one_that_was_asked_for(built):
    with zipfile.ZipFile(built[".whl"]) as wheel:
        assert {entry.date_time for entry in wheel.infolist()} == {(2023, 11, 14, 22, 13, 20)}
    with tarfile.open(built[".gz"]) as sdist:
        assert {entry.mtime for entry in sdist} == {1_700_000_000}


def test_the_wheel_out_of_the_sdist_is_the_same_wheel(built, tmp_path):
    with tarfile.open(built[".gz"]) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"atldld-{VERSION}"
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "out")],
        cwd=folder, check=True, capture_output=True,
        # nothing but the sdist says which version it is
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
    )  # fmt: skip
    (wheel,) = (tmp_path / "out").iterdir()
    assert hashes({".whl": wheel}) == hashes({".whl": built[".whl"]})


def test_the_wheel_holds_the_package_and_nothing_else(built):
    package = {name.removeprefix("src/") for name in tracked() if name.startswith("src/")}
    package.add("atldld/_version.py")
    with zipfile.ZipFile(built[".whl"]) as wheel:
        names = set(wheel.namelist())
        assert f'\nversion = "{VERSION}"\n' in wheel.read("atldld/_version.py").decode()
    about = {name for name in names if name.startswith(f"atldld-{VERSION}.dist-info/")}
    assert names - about == package
    assert {Path(name).name for name in about} == {
        "METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE",
    }  # fmt: skip


def test_the_sdist_holds_the_tests_and_the_papers_of_a_release(built):
    with tarfile.open(built[".gz"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert names - {"PKG-INFO", "src/atldld/_version.py"} <= set(tracked())
    left_out = {name for name in tracked() if name not in names}
    assert {name.partition("/")[0] for name in left_out} <= {
        ".dockerignore", ".git_archival.txt", ".gitattributes", ".github",
    } | {name for name in left_out if name.startswith("mkdocs")}  # fmt: skip


def test_the_metadata_says_what_the_project_says(built):
    with zipfile.ZipFile(built[".whl"]) as wheel:
        text = wheel.read(f"atldld-{VERSION}.dist-info/METADATA").decode()
    metadata = HeaderParser().parsestr(text)
    assert metadata["Version"] == VERSION
    assert metadata["Author"] == "atldld developers"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    assert f"{metadata['Requires-Python']}" == PROJECT["requires-python"]
