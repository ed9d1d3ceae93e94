"""`atldld atlas`, as it is typed."""

import json
import os
import subprocess
import sys
from xml.etree import ElementTree

import cv2
import nrrd
import numpy as np
import pytest
import shapely

COMMAND = [sys.executable, "-c", "from atldld.cli import main; main()", "atlas"]
DATASET = 909
IMAGE = 101321617
AT_100 = ("--atlas-resolution", 100)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One cache for all, so that each file is fetched once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def atlas(at_demo_server, cache):
    def run(*arguments, status=0, **environ):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "ATLDLD_DOWNLOAD_URL": at_demo_server,
                "ATLDLD_CACHE_DIR": str(cache),
                **environ,
            },
            timeout=600,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, (done.stdout, done.stderr)
        return done

    return run


def test_list_and_fetch(atlas, tmp_path):
    own = {"ATLDLD_CACHE_DIR": str(tmp_path)}
    before = atlas("list", **own).stdout
    assert before.count("–") == 12
    assert "132 × 80 × 114" in before
    done = atlas("fetch", "--resolution", 100, **own)
    path = done.stdout.strip()
    assert path.endswith("annotation/ccf_2017/annotation_100.nrrd")
    assert "other-services" in path
    assert "SYNTHETIC" in done.stderr
    assert "34 structures" in done.stderr
    assert atlas("list", **own).stdout.count("–") == 11
    offline = {"ATLDLD_OFFLINE": "1"}
    assert atlas("fetch", "--resolution", 100, **own, **offline).stdout.strip() == path
    said = atlas("fetch", "ara_nissl", "--resolution", 10, status=4, **own, **offline).stderr
    assert "atldld atlas fetch ara_nissl --atlas-resolution 10" in said
    assert "4.82 GB" in said
    assert "structures" in atlas("fetch", "structures", **own).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fetch", "--resolution", 33), "10, 25, 50, 100"),
        (("fetch", "mri"), "annotation, average_template, ara_nissl"),
        (("outlines", "2.5", "-o", "out"), "not the id"),
        (("outlines", 909, "-o", "out", "--structure", "DG", "--depth", 1), "not both"),
        (("outlines", 909, "-o", "out", "--tolerance", -1), "tolerance"),
        (("outlines", 909, "-o", "out", "--picture", "--format", "geojson"), "Only an SVG"),
        (("outlines", 909, "-o", "out", "--hemisphere", "up"), "up"),
        (("plates", "--atlas", "coronal"), "not the id"),
    ],
)
def test_what_makes_no_sense_is_refused(atlas, arguments, said):
    assert said in atlas(*arguments, status=2, ATLDLD_OFFLINE="1", ATLDLD_CACHE_DIR="/none").stderr


def test_outlines_as_a_drawing(atlas, tmp_path):
    options = ("--structure", "HPF", "--structure", "22", "--hemisphere", "each", *AT_100)
    done = atlas("outlines", DATASET, "-o", tmp_path, "--image", IMAGE, *options, "--picture")
    path = tmp_path / f"{IMAGE}_outlines.svg"
    assert done.stdout.strip() == str(path)
    assert "SYNTHETIC" in done.stderr
    root = ElementTree.parse(path).getroot()
    assert root.get("width") == "357"  # 2856 pixels at downsample 3
    paths = root.findall(".//{http://www.w3.org/2000/svg}path")
    assert [(p.get("data-acronym"), p.get("data-hemisphere")) for p in paths] == [
        ("HPF", "left"),
        ("HPF", "right"),
        ("DG", "left"),
        ("DG", "right"),
    ]
    assert root.find("{http://www.w3.org/2000/svg}image") is not None


@pytest.mark.parametrize("downsample", [0, 6])
def test_files_hold_outlines_that_fit_together(atlas, tmp_path, downsample):
    """The kind: what is written is rounded, and must be valid and fit together all the same."""
    options = ("--format", "geojson", "--tolerance", 2, "--downsample-img", downsample, *AT_100)
    atlas("outlines", DATASET, "-o", tmp_path, "--image", IMAGE, *options)
    document = json.loads((tmp_path / f"{IMAGE}_outlines.geojson").read_text())
    shapes = [shapely.geometry.shape(one["geometry"]) for one in document["features"]]
    assert len(shapes) > 5
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)


def test_an_atlas_of_ones_own(atlas, tmp_path):
    """Its ids are of either sign; those that the list lacks are named."""
    labels = np.zeros((132, 80, 114), np.int64)
    labels[20:110, 10:70, :57], labels[20:110, 10:70, 57:] = -5, 5
    nrrd.write(str(tmp_path / "a.nrrd"), labels, {"space directions": np.eye(3) * 100})
    (tmp_path / "a.csv").write_text("id,acronym,name,color_hex_triplet\n5,x,X,19399\n", "utf-8")
    options = ["--format", "geojson", "--annotation", tmp_path / "a.nrrd"]
    options += ["--graph", tmp_path / "a.csv", "--image", IMAGE]
    done = atlas("outlines", DATASET, "-o", tmp_path, *options)
    assert "lacks these ids, which are outlined in grey: -5" in done.stderr
    document = json.loads((tmp_path / f"{IMAGE}_outlines.geojson").read_text())
    assert {one["properties"]["structure_id"] for one in document["features"]} == {5, -5}
    assert [1, 0x93, 0x99] in [
        one["properties"]["classification"]["color"] for one in document["features"]
    ]
    done = atlas("outlines", DATASET, "-o", tmp_path, *options, "--structure", "x", "--force")
    assert "lacks these ids, which are in none of the outlines: -5" in done.stderr


def test_outlines_for_qupath(atlas, tmp_path):
    options = ("--format", "geojson", "--downsample-img", 0, "--depth", 1, *AT_100)
    atlas("outlines", DATASET, "-o", tmp_path, "--image", IMAGE, *options)
    document = json.loads((tmp_path / f"{IMAGE}_outlines.geojson").read_text())
    assert {one["properties"]["acronym"] for one in document["features"]} == {
        "grey",
        "fiber tracts",
        "VS",
    }


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (("--downsample-img", 2), (664, 714)),
        (("--frame", "reference", "--resolution", 50), (160, 228)),
    ],
)
def test_outlines_on_the_picture(atlas, tmp_path, options, size):
    atlas(
        "outlines", DATASET, "-o", tmp_path, "--image", IMAGE, "--format", "png", *options, *AT_100
    )
    shown = cv2.imread(str(tmp_path / f"{IMAGE}_outlines.png"))
    assert shown is not None
    assert shown.shape[:2] == size
    # lines in the hue of layer 1, which no section has, dark enough to be seen on pale tissue
    blue, middle, red = (shown[..., k].astype(int) for k in range(3))
    green = (middle > blue + 25) & (middle > red + 25) & (middle < 200)
    assert green.sum() > 50


@pytest.mark.long
def test_every_section_by_default(atlas, tmp_path):
    done = atlas("outlines", DATASET, "-o", tmp_path, "--downsample-img", 4, *AT_100)
    assert len(done.stdout.split()) == len(list(tmp_path.glob("*_outlines.svg"))) == 14
    assert "14/14" not in done.stderr  # nobody looks


def test_a_structure_that_there_is_not(atlas, tmp_path):
    said = atlas(
        "outlines", DATASET, "-o", tmp_path, "--structure", "hippocampus", *AT_100, status=3
    ).stderr
    assert "no structure 'hippocampus'" in said
    assert not list(tmp_path.glob("*"))


def test_plates(atlas, tmp_path):
    assert "990000002" in atlas("plates").stdout
    done = atlas("plates", 990000002, "-o", tmp_path, "--downsample-img", 2)
    assert [line.rpartition("/")[2] for line in done.stdout.split()] == [
        "990000002.jpg",
        "990000002.svg",
    ]
    assert "no annotated plates" in atlas("plates", "--atlas", 2, status=3).stderr
