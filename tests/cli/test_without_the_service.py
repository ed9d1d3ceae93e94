"""The service is gone: with the placements and the bucket, everything goes on."""

import json
import shutil

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from atldld.cli import app
from atldld.serve.app import Application
from atldld.testing.bucket import BucketApplication, SlideArchive
from atldld.testing.server import FaultServer

POINTS = "p_um,i_um,r_um\n7000,3000,4000\n6000,4000,7000\n"
PIXELS = "image_id,x,y\n101321615,1000,900\n101321612,5,7\n"


def run(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, (words, done.output, done.stderr, done.exception)
    return done


@pytest.fixture(scope="module")
def archive():
    # lossless, so that the service's JPEGs alone make a difference
    return SlideArchive(encoding="deflate tiles")


@pytest.fixture
def bucket(archive, monkeypatch):
    """The bucket, and a service that has gone; its catalogue was fetched before."""
    with FaultServer(BucketApplication(archive)) as server:
        monkeypatch.setenv("ATLDLD_BUCKET_URL", server.url)
        yield server


@pytest.fixture
def results_with(archive, bucket, monkeypatch, tmp_path):
    """What comes out while the service is there; then it is gone for good."""
    monkeypatch.chdir(tmp_path)
    with FaultServer(Application(archive)) as service:
        monkeypatch.setenv("ATLDLD_API_URL", service.url)
        said = run("catalogue", "update", "--placements")
        assert "To be placed: 1 data sets with about" in said.stderr
        assert "14 images of 1 data sets" in said.stdout
        run("catalogue", "export", "-o", "catalogue.zip")
        everything(tmp_path / "with", "api")
        cache = tmp_path / "cache"
        shutil.rmtree(cache)
        run("catalogue", "import", "catalogue.zip")
    return tmp_path / "with"


def everything(folder, source):
    folder.mkdir()
    (folder / "points.csv").write_text(POINTS)
    (folder / "pixels.csv").write_text(PIXELS)
    more = ["--source", source]
    run("search", "dataset", "-g", "Demo", *more)
    run("dataset", "info", 909, *more)
    run("download", "dataset", 909, folder / "out", "--resolution", 50, *more)
    run("export", "quicknii", 909, "-o", folder / "quick" / "q.json", *more)
    points, pixels = folder / "points.csv", folder / "pixels.csv"
    run("sync", "reference-to-image", points, "-d", 909, "-o", folder / "there.csv", *more)
    run("sync", "image-to-reference", pixels, "-o", folder / "back.csv", *more)
    run("download", "datasets", 909, folder / "batch", "--resolution", 100, *more)


@pytest.mark.long
def test_all_that_the_service_was_needed_for(results_with, bucket, tmp_path):
    without = tmp_path / "without"
    everything(without, "bucket")
    pictures = sorted((results_with / "out").glob("*.png"))
    assert len(pictures) == 14
    for path in pictures:
        theirs, ours = (
            np.asarray(cv2.imread(str(one))).astype(int)
            for one in (path, without / "out" / path.name)
        )
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).mean() < 0.5
        assert np.abs(ours - theirs).max() < 8
    for name in ("there.csv", "back.csv", "quick/q.json"):
        assert (without / name).read_bytes() == (results_with / name).read_bytes()
    document = json.loads((without / "out" / "metadata.json").read_text())
    assert json.dumps(document).count(f"{bucket.url}/section_data_set_909/downsample") == 14


@pytest.mark.long
def test_auto_does_too_and_says_so(results_with, bucket, tmp_path):
    done = run("download", "dataset", 909, tmp_path / "auto", "--resolution", 100)
    assert "Images of section data set 909 come from the bucket" in done.stderr
    assert "as the service failed" in done.stderr
    document = json.loads((tmp_path / "auto" / "metadata.json").read_text())
    assert any("come from the bucket" in str(one) for one in document["warnings"])


def test_masks_are_missed_and_named(results_with, bucket, tmp_path):
    done = run("download", "dataset", 909, tmp_path / "out", "--resolution", 100, "-e",
               "--source", "bucket")  # fmt: skip
    assert "without its mask" in done.stderr
    assert "holds no expression masks" in done.stderr
