"""Versions come from tags, and everything can be installed without any."""

import os
import re
import subprocess
import sys

import pytest

from tests.release.conftest import ROOT

AS_SOMEBODY = {
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": os.devnull,
}  # fmt: skip


@pytest.fixture
def run():
    inherited = {key: value for key, value in os.environ.items() if "SETUPTOOLS_SCM" not in key}

    def run(folder, *command):
        return subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True,
            env=inherited | AS_SOMEBODY,
        ).stdout.strip()  # fmt: skip

    return run


@pytest.fixture
def clone(tmp_path, run):
    """A repository of two commits with this project's rules of versions, and no tag."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ["pyproject.toml", "README.md", "LICENSE", ".gitattributes", ".git_archival.txt"]:
        (folder / name).write_text((ROOT / name).read_text())
    run(folder, "git", "init", "-q")
    run(folder, "git", "add", ".")
    run(folder, "git", "commit", "-qm", "one")
    run(folder, "git", "commit", "-qm", "two", "--allow-empty")
    return folder


def version_of(run, folder):
    return run(folder, sys.executable, "-m", "hatchling", "version")


def test_a_clone_without_tags_counts_from_the_version_that_comes(clone, run):
    commit = run(clone, "git", "rev-parse", "--short=9", "HEAD")
    assert version_of(run, clone) == f"1.0.0.dev2+g{commit}"


def test_a_tag_is_the_version(clone, run):
    run(clone, "git", "tag", "v1.2.3")
    assert version_of(run, clone) == "1.2.3"


def test_later_commits_are_on_the_way_to_the_next_version(clone, run):
    run(clone, "git", "tag", "v1.2.3")
    run(clone, "git", "commit", "-qm", "three", "--allow-empty")
    assert re.fullmatch(r"1\.2\.4\.dev1\+g[0-9a-f]{9}", version_of(run, clone))


def test_tags_that_are_no_versions_change_nothing(clone, run):
    run(clone, "git", "tag", "before-the-move")
    run(clone, "git", "tag", "paper-2")
    assert version_of(run, clone).startswith("1.0.0.dev2+g")


def test_changes_that_are_not_committed_show(clone, run):
    run(clone, "git", "tag", "v1.2.3")
    (clone / "README.md").write_text("changed")
    assert re.fullmatch(r"1\.2\.4\.dev0\+g[0-9a-f]{9}\.d\d{8}", version_of(run, clone))


def test_a_folder_without_git_has_a_version_too(clone, run, tmp_path):
    clone.joinpath(".git").rename(tmp_path / "gone")
    assert version_of(run, clone) == "1.0.0.dev0"


def test_an_archive_of_a_tag_knows_it(clone, run, tmp_path):
    run(clone, "git", "tag", "-am", "as releases are tagged", "v1.2.3")
    run(clone, "git", "archive", "-o", str(tmp_path / "all.tar"), "HEAD")
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    run(unpacked, "tar", "xf", str(tmp_path / "all.tar"))
    assert version_of(run, unpacked) == "1.2.3"


def test_a_shallow_clone_has_a_version_too(clone, run, tmp_path):
    run(tmp_path, "git", "clone", "-q", "--depth", "1", clone.as_uri(), "shallow")
    assert version_of(run, tmp_path / "shallow").startswith("1.0.0.dev1+g")
