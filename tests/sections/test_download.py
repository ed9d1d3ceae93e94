import hashlib
import json
import os
import subprocess

import cv2
import msgspec
import numpy as np
import pytest
import tifffile

from atldld.api import DataSet, open_dataset
from atldld.errors import (
    DatasetNotFoundError,
    MissingAlignmentWarning,
    OutputError,
    ServiceDefectError,
)
from atldld.place.planes import Cut
from atldld.place.spaces import Layout
from atldld.sections.download import download_dataset
from atldld.sections.images import save_image
from atldld.sections.metadata import METADATA
from atldld.sections.register import Recipe
from atldld.warp.displacement import DisplacementField

COARSE = Recipe(resolution=100, expression=True)


def run(session, folder, recipe=COARSE, **options):
    return download_dataset(909, folder, recipe, session=session, **options)


def contents(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != METADATA
    }


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_the_folder(session, out):
    told = []
    summary = run(
        session,
        out,
        fields=True,
        command_line="atldld download dataset 909 out",
        progress=lambda *args: told.append(args[:2]),
    )
    assert summary.complete
    assert (summary.written, summary.kept) == (14, 0)
    assert told == [(k, 14) for k in range(1, 15)]
    metadata = json.loads((out / METADATA).read_text())
    assert metadata["complete"]
    names = {METADATA}
    for image_id in metadata["per_image"]:
        names |= {f"{image_id}.png", f"{image_id}_expr.png", f"{image_id}_field.npy"}
    assert {path.name for path in out.iterdir()} == names


def test_metadata_is_enough_to_use_the_result_without_us(session, out):
    """From the written files alone: where in the brain is a pixel, and what is shown there?"""
    run(session, out, fields=True)
    metadata = json.loads((out / METADATA).read_text())
    for key in (
        "dataset_id",
        "downsample_ref",
        "downsample_img",
        "plane_of_section",
        "section_thickness",
        "per_image",
    ):
        assert key in metadata  # 0.3's
    assert metadata["synthetic"] is True
    assert "doi:10.1038/nature05453" in metadata["citation"]
    assert metadata["output"]["axis_of_rows"] == "i"
    assert metadata["output"]["axis_of_columns"] == "r"
    numbers = [entry["section_number"] for entry in metadata["per_image"].values()]
    assert numbers == sorted(numbers, reverse=True)

    image_id, entry = list(metadata["per_image"].items())[5]
    step = metadata["output"]["resolution_um"]
    row, column = 31, 47
    i, r = (row + 0.5) * step, (column + 0.5) * step
    third = entry["third_coordinate"]
    p = third["i"] * i + third["r"] * r + third["constant"]
    assert third["axis"] == "p"
    xy = np.array(entry["image_from_output"]) @ [column, row, 1]
    np.testing.assert_allclose(
        np.array(entry["image_to_reference"]) @ [*xy, 1], (p, i, r), atol=1e-6
    )
    np.testing.assert_allclose(np.array(entry["reference_to_image"]) @ [p, i, r, 1], xy, atol=0.05)
    # the same by the stored numbers, step by step
    tsv, tvr = np.array(entry["tsv"]), np.array(metadata["tvr"])
    volume = tsv[:4].reshape(2, 2) @ xy + tsv[4:]
    s = entry["section_number"] * metadata["section_thickness"]
    np.testing.assert_allclose(tvr[:9].reshape(3, 3) @ [*volume, s] + tvr[9:], (p, i, r), atol=1e-6)
    assert entry["source"]["url"].endswith(
        f"/section_image_download/{image_id}?downsample={entry['downsample_img']}"
    )
    cached = session.cache.find_image(int(image_id), entry["downsample_img"])
    assert entry["source"]["sha256"] == cached.sha256
    assert hashlib.sha256(cached.path.read_bytes()).hexdigest() == cached.sha256
    for file in entry["files"].values():
        assert hashlib.sha256((out / file["name"]).read_bytes()).hexdigest() == file["sha256"]
    field = DisplacementField.from_file(out / f"{image_id}_field.npy")
    assert field.shape == (80, 114)


def test_pictures_are_rgb_and_what_register_gives(session, out):
    run(session, out)
    registered = (
        open_dataset(909, session=session).section(101321615).register(100, expression=True)
    )
    for name, pixels in (("", registered.image), ("_expr", registered.mask)):
        read = cv2.imread(str(out / f"101321615{name}.png"), cv2.IMREAD_COLOR)
        assert read is not None
        np.testing.assert_array_equal(read[..., ::-1], pixels)


def test_tiff(session, out):
    run(session, out, Recipe(resolution=100), picture_format="tiff")
    with tifffile.TiffFile(out / "101321615.tif") as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        assert page.shape == (80, 114, 3)
        assert page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1] == 100
        assert page.tags["ResolutionUnit"].value.name == "CENTIMETER"


@pytest.mark.long
def test_sagittal_layouts(session, tmp_path):
    shapes = {}
    cases: tuple[tuple[Cut, Layout], ...] = (("oblique", "anatomical"), ("parallel", "0.3"))
    for kind, layout in cases:
        recipe = Recipe(resolution=200, cut=kind, layout=layout)
        download_dataset(69289763, tmp_path / kind, recipe, session=session)
        output = json.loads((tmp_path / kind / METADATA).read_text())["output"]
        read = cv2.imread(str(tmp_path / kind / "69177654.png"))
        assert read is not None
        assert read.shape[:2] == (output["rows"], output["columns"])
        shapes[kind] = (output["axis_of_rows"], output["axis_of_columns"], read.shape[:2])
    assert shapes == {"oblique": ("i", "p", (40, 66)), "parallel": ("p", "i", (66, 40))}


def test_running_again_does_nothing_and_repairs(session, out):
    run(session, out)
    before = contents(out)
    times = {name: (out / name).stat().st_mtime_ns for name in before}
    sent = session.client.requests_sent
    summary = run(session, out)
    assert (summary.written, summary.kept) == (0, 14)
    assert session.client.requests_sent == sent
    assert {name: (out / name).stat().st_mtime_ns for name in before} == times
    (out / "101321612.png").write_bytes(b"damaged")
    (out / "101321613_expr.png").unlink()
    summary = run(session, out)
    assert (summary.written, summary.kept) == (2, 12)
    assert contents(out) == before
    assert session.client.requests_sent == sent


def test_an_interrupted_run_goes_on(session, out):
    def stop(done, total, last):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(session, out, progress=stop)
    assert not json.loads((out / METADATA).read_text())["complete"]
    summary = run(session, out)
    assert summary.kept >= 6
    assert summary.kept + summary.written == 14
    assert not list(out.glob(".*"))
    assert json.loads((out / METADATA).read_text())["complete"]


def test_a_folder_with_something_else_is_refused(session, out, tmp_path):
    run(session, out, Recipe(resolution=200))
    sent = session.client.requests_sent
    with pytest.raises(OutputError, match="data set 909"):
        download_dataset(71717084, out, COARSE, session=session)
    assert session.client.requests_sent == sent
    with pytest.raises(OutputError, match="resolution_um 200 there, 100 now"):
        run(session, out)
    (out / METADATA).write_text("{")
    with pytest.raises(OutputError, match="something else"):
        run(session, out)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match="is a file"):
        run(session, file)
    with pytest.raises(OutputError, match=r"is a file|read-only"):
        run(session, file / "below")


def test_force_replaces_what_it_left_and_nothing_else(session, out):
    run(session, out, fields=True)
    (out / "notes.txt").write_text("mine")
    run(session, out, Recipe(resolution=200), force=True)
    names = {path.name for path in out.iterdir()}
    assert "notes.txt" in names
    assert not any(name.endswith(("_field.npy", "_expr.png")) for name in names)
    picture = cv2.imread(str(out / "101321615.png"))
    assert picture is not None
    assert picture.shape == (40, 57, 3)


def test_an_edited_metadata_file_cannot_make_force_remove_other_files(session, out, tmp_path):
    run(session, out, Recipe(resolution=200))
    precious = tmp_path / "precious"
    precious.write_text("mine")
    metadata = json.loads((out / METADATA).read_text())
    metadata["per_image"]["1"] = {"files": {"image": {"name": "../precious", "sha256": ""}}}
    (out / METADATA).write_text(json.dumps(metadata))
    run(session, out, Recipe(resolution=200), force=True)
    assert precious.read_text() == "mine"


def test_an_unknown_data_set_leaves_nothing(session, out):
    with pytest.raises(DatasetNotFoundError):
        download_dataset(5, out, COARSE, session=session)
    assert not out.exists()


def test_read_only_folder(session, tmp_path):
    folder = tmp_path / "ro"
    folder.mkdir()
    if os.geteuid() == 0:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)], capture_output=True
        )
        if made.returncode:
            pytest.skip("root may write anywhere, and nothing can be mounted here")
    else:
        folder.chmod(0o500)
    try:
        sent = session.client.requests_sent
        with pytest.raises(OutputError, match="cannot be written"):
            run(session, folder / "out")
        assert session.client.requests_sent == sent
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", str(folder)], check=True)


def change(session, index, **changes):
    """Make the session answer with one image's record changed."""
    record = session.dataset(909)
    images = list(record.images)
    images[index] = msgspec.structs.replace(images[index], **changes)
    changed = msgspec.structs.replace(record, images=tuple(images))
    session.dataset = lambda dataset_id, refresh=False: changed
    return images[index].id


def test_what_is_left_out_is_named(session, out):
    image_id = change(session, 2, alignment2d=None)
    with pytest.warns(MissingAlignmentWarning, match=str(image_id)):
        summary = run(session, out)
    assert summary.complete
    assert summary.skipped == {str(image_id): "it has no alignment2d"}
    metadata = json.loads((out / METADATA).read_text())
    assert metadata["skipped"] == summary.skipped
    assert metadata["warnings"] == list(summary.warnings)
    assert summary.warnings[0].startswith("MissingAlignmentWarning: 1 images")
    with pytest.raises(ServiceDefectError, match="no alignment2d"):
        DataSet(session.dataset(909), session.strictly())


def test_what_is_done_without_its_mask_is_named(session, out):
    image_id = change(session, 2, expression_path=None)
    summary = run(session, out)
    assert summary.complete
    assert summary.notes == {str(image_id): "it has no expression mask"}
    entry = json.loads((out / METADATA).read_text())["per_image"][str(image_id)]
    assert entry["note"] == "it has no expression mask"
    assert not (out / f"{image_id}_expr.png").exists()


def test_what_cannot_be_had_is_reported_and_tried_again(session, out):
    real = session.dataset
    change(session, 2, id=77)
    summary = run(session, out)
    assert not summary.complete
    assert list(summary.failed) == ["77"]
    assert "unknown to the service" in summary.failed["77"]
    metadata = json.loads((out / METADATA).read_text())
    assert not metadata["complete"]
    assert metadata["failed"] == summary.failed
    assert len(metadata["per_image"]) == 13
    session.dataset = real
    summary = run(session, out)
    assert summary.complete
    assert (summary.written, summary.kept) == (1, 13)


def test_saving_images_as_they_are(session, tmp_path):
    image, mask = save_image(session, 101321610, tmp_path / "o", downsample=3, expression=True)
    assert image.name == "101321610-3.png"
    assert mask.name == "101321610-3-expression.png"
    pixels = cv2.imread(str(image))
    assert pixels is not None
    assert pixels.shape == (332, 357, 3)


def test_an_image_that_another_version_saved_is_left_alone(session, tmp_path):
    image, _ = save_image(session, 101321610, tmp_path / "o", downsample=3, expression=True)
    pixels = cv2.imread(str(image))
    assert pixels is not None
    # the same pixels in other bytes
    cv2.imwrite(str(image), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    before = image.read_bytes()
    save_image(session, 101321610, tmp_path / "o", downsample=3, expression=True)
    assert image.read_bytes() == before
    pixels[5, 5] ^= 1
    cv2.imwrite(str(image), pixels)
    with pytest.raises(OutputError):
        save_image(session, 101321610, tmp_path / "o", downsample=3, expression=True)
