"""The adapter, on tiny atlases written in BrainGlobe's own format."""

import json
import sys
import warnings

import numpy as np
import pytest

from atldld.atlas import open_atlas
from atldld.atlas.brainglobe import open_brainglobe
from atldld.errors import AtldldError, InvalidInputError, OfflineError
from atldld.fetch.session import Session
from atldld.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("brainglobe_atlasapi", reason="brainglobe-atlasapi is not installed")
nz = pytest.importorskip("ngff_zarr")

# BrainGlobe's parts warn of their own parts.
pytestmark = pytest.mark.filterwarnings("default")

SIDE = 200
SHAPE = (66, 40, 57)  # its own order, "asr": the last axis runs from the right


def write(folder, name, shape=SHAPE, side=SIDE, dtype=np.uint32):
    """Write an atlas of three structures, of which one lies only on the left."""
    root = folder / "brainglobe-atlasapi"
    labels = np.zeros(shape, dtype)
    if dtype == np.int64:
        labels[5, 5, 5], labels[6, 5, 5] = -997, 2**32 + 2
    labels[10:50, 10:30, 5:-5] = 2
    labels[20:30, 15:20, -15:-10] = 614454277  # far from the right: left
    grey = (labels > 0).astype(np.uint16) * 300
    grey[0, 0, 0] = 7

    def store(path, array):
        scale = dict.fromkeys("zyx", side / 1000)
        image = nz.to_ngff_image(array, dims=["z", "y", "x"], scale=scale)
        nz.to_ngff_zarr(str(path), nz.to_multiscales(image, scale_factors=[]), version="0.5")

    store(root / "annotation-sets/a/1_0/annotations_compressed.ome.zarr", labels)
    store(root / "templates/t/1_0/template.ome.zarr", grey)
    for path in root.rglob("scale0"):  # BrainGlobe looks for chunks right below the level
        assert path.is_dir()
    terms = root / "terminologies/s/1_0/terminology.csv"
    terms.parent.mkdir(parents=True)
    terms.write_text(
        "identifier,parent_identifier,abbreviation,name,color_hex_triplet,root_identifier_path\n"
        '1,,root,root,#FFFFFF,"[1]"\n'
        '2,1,G,grey,#019399,"[1, 2]"\n'
        '614454277,2,L,left one,#FF0000,"[1, 2, 614454277]"\n'
    )
    manifest = root / "atlases" / name / "1_0" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(
        json.dumps(
            {
                "name": name,
                "version": "1.0",
                "citation": "Somebody et al. 2020",
                "atlas_link": "http://example.org",
                "species": "Mus musculus",
                "symmetric": True,
                "orientation": "asr",
                "resolution": [side] * 3,
                "shape": list(shape),
                "additional_references": [],
                "terminology": {"location": "/terminologies/s/1_0"},
                "annotation_set": {
                    "location": "/annotation-sets/a/1_0",
                    "template": {"location": "/templates/t/1_0"},
                },
            }
        )
    )
    return labels, grey


@pytest.fixture
def offline(tmp_path):
    return Session(Settings(cache_dir=tmp_path / "cache", offline=True))


def test_the_axes_are_turned_to_ours(tmp_path, offline, capsys):
    labels, grey = write(tmp_path, "tiny_mouse_200um")
    atlas = open_brainglobe("tiny_mouse_200um", None, offline, folder=tmp_path)
    assert atlas.name == "brainglobe:tiny_mouse_200um"
    assert atlas.resolution == 200
    np.testing.assert_array_equal(atlas.annotation, labels[:, :, ::-1])
    np.testing.assert_array_equal(atlas.template, grey[:, :, ::-1])
    assert atlas.annotation.dtype == np.uint32
    # what BrainGlobe has on the left, r below the middle, is on the left
    _, _, r = np.nonzero(atlas.annotation == 614454277)
    assert (r < SHAPE[2] // 2).all()
    assert atlas.graph.find("L").path == (1, 2, 614454277)
    assert atlas.graph.find("G").color == "019399"
    assert atlas.unknown_ids == ()
    assert "Somebody" in atlas.citation
    assert capsys.readouterr().out == ""


def test_no_id_becomes_another_one(tmp_path, offline):
    """The kind: ids outside 0 … 2³² wrapped to those of other structures, without a word."""
    labels, _ = write(tmp_path, "tiny_mouse_200um", dtype=np.int64)
    atlas = open_brainglobe("tiny_mouse_200um", None, offline, folder=tmp_path)
    np.testing.assert_array_equal(atlas.annotation, labels[:, :, ::-1])
    assert atlas.unknown_ids == (-997, 2**32 + 2)


def test_an_annotation_of_floats_is_refused(tmp_path, offline):
    write(tmp_path, "tiny_mouse_200um", dtype=np.float32)
    with pytest.raises(InvalidInputError, match="float32"):
        open_brainglobe("tiny_mouse_200um", None, offline, folder=tmp_path)


def test_atlases_of_other_brains_are_refused(tmp_path, offline):
    write(tmp_path, "tiny_fish_200um", (30, 20, 20))
    with pytest.raises(InvalidInputError, match="6000 × 4000 × 4000 µm"):
        open_brainglobe("tiny_fish_200um", None, offline, folder=tmp_path)


def test_another_resolution_than_its_own_is_refused(tmp_path, offline):
    write(tmp_path, "tiny_mouse_200um")
    with pytest.raises(InvalidInputError, match="200 µm, not 25 µm"):
        open_brainglobe("tiny_mouse_200um", 25, offline, folder=tmp_path)


def test_what_is_not_on_disk_is_not_asked_for_offline(tmp_path, offline, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(OfflineError, match="atldld atlas fetch brainglobe:allen_mouse_10um"):
        open_brainglobe("allen_mouse_10um", None, offline, folder=tmp_path)


def test_without_the_library_it_says_how_to_install_it(monkeypatch, offline):
    monkeypatch.setitem(sys.modules, "brainglobe_atlasapi.bg_atlas", None)
    with pytest.raises(AtldldError, match=r"pip install 'atldld\[brainglobe\]'"):
        open_atlas(name="brainglobe:allen_mouse_50um", session=offline)
