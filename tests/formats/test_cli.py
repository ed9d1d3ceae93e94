"""`atldld export`, and `--alignment` where sections are downloaded."""

import json

import cv2
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from atldld.cli import app
from atldld.errors import AtldldError, InvalidInputError, OutputError
from atldld.warp import DisplacementField

PAGE = "909"


@pytest.fixture
def run(at_demo_server):
    """Run the command; what it raises is raised here."""

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if isinstance(result.exception, AtldldError):
            raise result.exception
        assert result.exit_code == status, result.output
        return result

    return run


def picture_of(path):
    pixels = cv2.imread(str(path))
    assert pixels is not None
    return pixels


def test_a_quicknii_file_with_its_images(run, tmp_path):
    result = run("export", "quicknii", PAGE, "-o", tmp_path / "q" / "a.json", "--images",
                 "--downsample-img", 4)  # fmt: skip
    document = json.loads((tmp_path / "q" / "a.json").read_text())
    assert result.stdout.strip() == str(tmp_path / "q" / "a.json")
    assert "14 sections anchored" in result.stderr
    for one in document["slices"]:
        pixels = picture_of(tmp_path / "q" / one["filename"])
        assert pixels.shape[:2] == (one["height"], one["width"])


def test_images_as_png(run, tmp_path):
    run("export", "quicknii", PAGE, "-o", tmp_path / "a.json", "--images",
        "--downsample-img", 4, "--image-format", "png")  # fmt: skip
    assert len(list(tmp_path.glob("*.png"))) == 14


@pytest.mark.parametrize(
    ("form", "ending"), [("itk", ".mha"), ("npy", ".npy"), ("zarr", ".ome.zarr")]
)
def test_fields(run, tmp_path, form, ending):
    out = tmp_path / "fields"
    result = run("export", "fields", PAGE, out, "--format", form, "--resolution", 200)
    assert result.stdout.strip() == str(out / "fields.json")
    entries = json.loads((out / "fields.json").read_text())["fields"]
    assert len(entries) == 14
    for entry in entries:
        assert entry["file"] == f"{entry['image_id']}_field{ending}"
        assert (out / entry["file"]).exists()
    if form == "npy":
        field = DisplacementField.from_file(out / entries[0]["file"])
        assert field.shape == (entries[0]["rows"], entries[0]["columns"])


def test_a_section_whose_mask_cannot_be_had_is_not_written_without(run, tmp_path):
    """Nothing would tell it from a section that has none, and the command must not call it done."""
    run("dataset", "info", PAGE)
    (root,) = (tmp_path / "cache" / "other-services").iterdir()
    mask = root / "images" / "101321" / "101321612" / "4-expression.jpg"
    (mask / "in the way").mkdir(parents=True)
    result = run("export", "sections", PAGE, tmp_path / "out", "--resolution", 400, "-e", status=1)
    assert "Image 101321612 is left out, without its mask: The cache at" in result.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert len(names) == 13
    assert "101321612.ome.tif" not in names


def test_sections_as_ome_tiff(run, tmp_path):
    run("export", "sections", PAGE, tmp_path / "out", "--resolution", 100, "-e")
    paths = sorted((tmp_path / "out").iterdir())
    assert len(paths) == 14
    with tifffile.TiffFile(paths[5]) as tif:
        assert [series.shape for series in tif.series] == [(80, 114, 3)] * 2
        assert [series.axes for series in tif.series] == ["YXS"] * 2
        xml = tif.ome_metadata or ""
        assert 'PhysicalSizeX="100.0"' in xml
        assert "image_from_output" in xml
        picture = tif.series[0].asarray()
    run("download", "dataset", PAGE, tmp_path / "png", "--resolution", 100)
    same = picture_of(tmp_path / "png" / paths[5].name.replace(".ome.tif", ".png"))
    assert np.array_equal(picture, same[..., ::-1])


class TestAlignment:
    @pytest.fixture
    def refined(self, run, tmp_path):
        """All planes shifted by 40 voxels (1 mm) to the right."""
        path = tmp_path / "refined.json"
        run("export", "quicknii", PAGE, "-o", path)
        document = json.loads(path.read_text())
        for one in document["slices"]:
            one["anchoring"][0] += 40
        document["aligner"] = "somebody"
        path.write_text(json.dumps(document))
        return path

    def test_download_with_a_refined_file(self, run, refined, tmp_path):
        for folder, more in {"plain": [], "moved": ["--alignment", refined]}.items():
            run("download", "dataset", PAGE, tmp_path / folder, "--resolution", 100, *more)
        told = {
            name: json.loads((tmp_path / name / "metadata.json").read_text())
            for name in ("plain", "moved")
        }
        assert told["plain"]["alignment"] is None
        assert told["moved"]["alignment"]["file"] == "refined.json"
        assert told["moved"]["alignment"]["aligner"] == "somebody"
        assert told["moved"]["alignment"]["images"] == 14
        image_id, entry = list(told["moved"]["per_image"].items())[6]
        before = told["plain"]["per_image"][image_id]
        assert entry["alignment"] == "refined.json"
        # the service's own matrices are not what this picture was made with
        assert "tsv" in before
        assert "tsv" not in entry
        moved = np.array(entry["image_to_reference"]) - before["image_to_reference"]
        assert np.allclose(moved, [[0, 0, 0], [0, 0, 0], [0, 0, 1000]], atol=1e-6)
        pictures = [
            picture_of(tmp_path / name / f"{image_id}.png").astype(int)
            for name in ("plain", "moved")
        ]
        # OpenCV rounded places to 1/32 of a pixel before its version 5
        exact = int(cv2.__version__.split(".")[0]) >= 5
        assert np.abs(pictures[1][:, 10:] - pictures[0][:, :-10]).max() <= (1 if exact else 4)

    def test_another_alignment_is_another_result(self, run, refined, tmp_path):
        out = tmp_path / "out"
        run("download", "dataset", PAGE, out, "--resolution", 200)
        with pytest.raises(OutputError, match="alignment none there"):
            run("download", "dataset", PAGE, out, "--resolution", 200, "--alignment", refined)

    def test_exports_use_it_too(self, run, refined, tmp_path):
        again = tmp_path / "again.json"
        run("export", "quicknii", PAGE, "-o", again, "--alignment", refined)
        one, other = (
            json.loads(path.read_text())["slices"][3]["anchoring"] for path in (again, refined)
        )
        assert np.allclose(one, other, atol=1e-9)
        assert "refined.json" in json.loads(again.read_text())["aligner"]

    def test_volumes_use_it_too(self, run, refined, tmp_path):
        for name, more in {"plain": [], "moved": ["--alignment", refined]}.items():
            run("volume", PAGE, "-o", tmp_path / f"{name}.npy", "--resolution", 200, *more)
        before, after = (np.load(tmp_path / f"{name}.npy") for name in ("plain", "moved"))
        covered = np.load(tmp_path / "plain_coverage.npy")[:, :, :-5] > 0
        moved = after[:, :, 5:].astype(int) - before[:, :, :-5]
        assert covered.mean() > 0.1
        assert np.abs(moved[covered]).mean() < 0.5
        told = json.loads((tmp_path / "moved.npy.json").read_text())["metadata"]["datasets"][0]
        assert told["alignment"]["file"] == "refined.json"

    def test_markers_are_told(self, run, refined, tmp_path):
        document = json.loads(refined.read_text())
        document["slices"][2]["markers"] = [[120, 90, 125, 84]]
        refined.write_text(json.dumps(document))
        options = "--alignment", refined, "--downsample-img", 3
        result = run("export", "quicknii", PAGE, "-o", tmp_path / "b.json", *options)
        assert "1 markers bend the curved ones; they lead at most 0.0 µm from" in result.stderr
        again = json.loads((tmp_path / "b.json").read_text())["slices"]
        assert np.allclose(again[2]["markers"], [[120, 90, 125, 84]])
        document["slices"][2]["markers"] = [[120, 90, 20, 84], [20, 90, 120, 84]]
        refined.write_text(json.dumps(document))
        result = run("export", "quicknii", PAGE, "-o", tmp_path / "c.json", *options)
        assert "2 markers that cannot be used, so only its plane is" in result.stderr

    def test_nothing_is_written_with_a_wrong_file(self, run, refined, tmp_path):
        with pytest.raises(InvalidInputError, match="does not have, such as"):
            run("download", "dataset", 69289763, tmp_path / "out", "--alignment", refined)
        assert not (tmp_path / "out").exists()
        with pytest.raises(InvalidInputError, match=r"one of \.csv, \.json"):
            run("export", "quicknii", PAGE, "-o", tmp_path / "a.xml")
