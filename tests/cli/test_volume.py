"""`atldld volume`, as it is typed."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

COMMAND = [sys.executable, "-c", "from atldld.cli import main; main()", "volume"]
DATASET = 909  # fourteen small sections


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One cache for all, so that each section is fetched once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def volume(at_demo_server, cache):
    def run(*arguments, status=0, **environ):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "ATLDLD_CACHE_DIR": str(cache), **environ},
            timeout=600,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, (done.stdout, done.stderr)
        return done

    return run


@pytest.fixture
def refused(volume):
    """Run what must be refused, where any request would fail in another way."""

    def run(*arguments, status=2):
        done = volume(*arguments, status=status, ATLDLD_OFFLINE="1", ATLDLD_CACHE_DIR="nothing")
        assert "offline" not in done.stderr
        return done.stderr

    return run


def test_help(volume):
    shown = volume("--help").stdout
    for option in ("--resolution", "--channel", "--fill", "--thickness", "--jobs", "--force"):
        assert option in shown


def test_a_volume_and_its_coverage_are_written(volume, tmp_path):
    path = tmp_path / "new" / "demo.npy"
    done = volume(DATASET, "-o", path, "--resolution", 200, "--channel", "expression", "--jobs", 2)
    written = done.stdout.split()
    assert str(path) in written
    data, coverage = np.load(path), np.load(tmp_path / "new" / "demo_coverage.npy")
    assert data.shape == coverage.shape == (66, 40, 57)
    assert data.dtype == coverage.dtype == np.float32
    assert coverage.any()
    assert data.any()
    assert "SYNTHETIC" in done.stderr
    assert "14 sections" in done.stderr


def test_options_reach_the_volume(volume, tmp_path):
    thin, thick = tmp_path / "thin.npy", tmp_path / "thick.npy"
    volume(DATASET, "-o", thin, "--resolution", 400)
    volume(DATASET, "-o", thick, "--resolution", 400, "--thickness", 50, "--fill", "linear")
    before, after = (np.load(tmp_path / f"{name}_coverage.npy") for name in ("thin", "thick"))
    assert after.sum() == pytest.approx(2 * before.sum(), rel=0.01)
    assert np.load(thick).any(axis=-1).sum() > np.load(thin).any(axis=-1).sum()
    described = json.loads((tmp_path / "thick.npy.json").read_text())
    assert described["fill"] == "linear"


def test_what_is_there_stays_unless_forced(volume, refused, tmp_path):
    path = tmp_path / "a.npy"
    path.write_text("mine")
    assert "--force" in refused(DATASET, "-o", path, "--resolution", 400, status=6)
    assert path.read_text() == "mine"
    # so does the coverage's file
    other = tmp_path / "b.npy"
    (tmp_path / "b_coverage.npy").write_text("mine")
    assert "b_coverage.npy is there" in refused(DATASET, "-o", other, status=6)
    volume(DATASET, "-o", path, "--resolution", 400, "--force")
    assert np.load(path).shape == (33, 20, 28, 3)
    assert not list(tmp_path.glob(".*part*"))


@pytest.mark.parametrize("name", ["a.mhd", "a", ".nrrd", "a.nii.bz2"])
def test_an_ending_that_means_nothing_is_refused_before_any_request(refused, tmp_path, name):
    said = refused(DATASET, "-o", tmp_path / name)
    for known in (".nii", ".nii.gz", ".nrrd", ".ome.zarr", ".tif", ".npy"):
        assert known in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--resolution", 0), "resolution is 0"),
        (("--thickness", -1), "thickness is -1"),
        (("--channel", "colour"), "colour"),
        (("--fill", "cubic"), "cubic"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_request(
    refused, tmp_path, options, said
):
    assert said in refused(DATASET, "-o", tmp_path / "a.npy", *options)
    assert not list(tmp_path.glob("*"))


def test_a_volume_that_would_not_fit_is_refused(volume, tmp_path):
    said = volume(DATASET, "-o", tmp_path / "a.npy", "--resolution", 1, status=2).stderr
    assert "would fit" in said
    assert not list(tmp_path.glob("*"))


def test_a_folder_that_cannot_be_written_is_said_at_once(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(DATASET, "-o", tmp_path / "file" / "a.npy", status=6)


def test_no_data_set_and_no_output_are_refused(volume, tmp_path):
    volume("-o", tmp_path / "a.npy", status=2)
    volume(DATASET, status=2)
    assert "twice" in volume(DATASET, DATASET, "-o", tmp_path / "a.npy", status=2).stderr
    assert "no section data set" in volume(5, "-o", tmp_path / "a.npy", status=3).stderr
