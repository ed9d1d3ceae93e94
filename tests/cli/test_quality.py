"""`atldld quality`, as it is typed."""

import csv
import json
import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-c", "from atldld.cli import main; main()"]
DATASET = 909  # fourteen small sections


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One cache for all, so that each section is fetched once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def quality(at_demo_server, cache, tmp_path):
    def run(*arguments, status=0):
        done = subprocess.run(
            [*COMMAND, "quality", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                **os.environ,
                "ATLDLD_CACHE_DIR": str(cache),
                "ATLDLD_DOWNLOAD_URL": at_demo_server,
                "COLUMNS": "200",
            },
            timeout=600,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, (done.stdout, done.stderr)
        return done

    return run


def test_a_line_for_each_section(quality):
    done = quality(DATASET, "--atlas-resolution", 100)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert lines[0].split()[:2] == ["section", "image"]
    assert len([line for line in lines if line.split()[0].isdigit()]) == 14
    assert "of 14 sections of data set 909 are suspicious" in done.stderr
    assert "and the atlas" in done.stderr


def test_without_the_atlas_into_a_file(quality, tmp_path):
    done = quality(DATASET, "--no-atlas", "-o", "out/q.csv")
    assert done.stdout.split() == ["out/q.csv"]
    assert "and the atlas" not in done.stderr
    with open(tmp_path / "out" / "q.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    assert {row["overlap"] for row in rows} == {""}
    again = quality(DATASET, "--no-atlas", "-o", "out/q.csv", status=6)
    assert "there already" in again.stderr
    quality(DATASET, "--no-atlas", "-o", "out/q.json")
    document = json.loads((tmp_path / "out" / "q.json").read_text())
    assert document["atlas"] is None
    assert document["threshold"] > 0


def test_what_makes_no_sense_is_said_at_once(quality):
    assert "ending" in quality(DATASET, "-o", "q.xlsx", status=2).stderr
    assert "resolution" in quality(DATASET, "--no-atlas", "--resolution", -1, status=2).stderr
