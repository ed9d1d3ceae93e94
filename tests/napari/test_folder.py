import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from atldld.atlas.outlines import Selection
from atldld.demo import anatomy
from atldld.errors import OutputError
from atldld.napari.reader import get_reader
from atldld.sections.drawings import Drawing, write_drawing
from atldld.warp.stain import read_mask


def read(folder):
    reader = get_reader(str(folder))
    assert reader is not None
    return reader(str(folder))


def to_world(options, index, *, tilted=True):
    """What napari does with scale, translate, and the affine that ``metadata["tilt"]`` offers."""
    at = np.asarray(index) * options["scale"] + options["translate"]
    tilt = options["metadata"]["tilt"]
    return at @ tilt[:3, :3].T + tilt[:3, 3] if tilted else at


@pytest.fixture
def copied(coronal, tmp_path):
    folder = tmp_path / "copied"
    shutil.copytree(coronal[1], folder)
    return folder


def edit(folder, change):
    metadata = json.loads((folder / "metadata.json").read_text())
    change(metadata)
    (folder / "metadata.json").write_text(json.dumps(metadata))


def test_layers_of_a_folder(coronal):
    dataset, folder = coronal
    (sections, look, kind), (masks, heat, second), (_, lines, third) = read(folder)
    assert (kind, second, third) == ("image", "image", "shapes")
    assert [one["name"] for one in (look, heat, lines)] == [
        f"SYNTHETIC {what} 909" for what in ("sections", "expression", "outlines")
    ]
    for options in (look, heat, lines):
        assert options["units"] == ("um", "um", "um")
        assert options["axis_labels"] == ("p", "i", "r")
        for name in ("scale", "translate"):
            assert options[name] == look[name]
    assert look["rgb"]
    assert sections.shape == (*masks.shape, 3)
    assert masks.shape[1:] == (80, 114)
    placed = look["metadata"]["atldld"]["sections"]
    assert len(placed) == len(dataset)
    # section numbers run from posterior to anterior here, and p grows from plane to plane
    numbers = [one["section_number"] for one in placed]
    assert numbers == sorted(numbers, reverse=True)
    for one in placed[3:6]:
        stored = cv2.imread(str(folder / f"{one['image_id']}.png"), cv2.IMREAD_COLOR_RGB)
        mask = cv2.imread(str(folder / f"{one['image_id']}_expr.png"), cv2.IMREAD_COLOR_RGB)
        assert stored is not None
        assert mask is not None
        assert np.array_equal(np.asarray(sections[one["plane"]]), stored)
        assert np.array_equal(
            np.asarray(masks[one["plane"]]), read_mask(mask.astype(np.uint8)).level
        )
    # between sections there is glass, and no expression
    blank = next(k for k in range(len(sections)) if k not in {one["plane"] for one in placed})
    assert np.ptp(np.asarray(sections[blank]), axis=(0, 1)).max() == 0
    assert np.asarray(sections[blank]).min() > 200
    assert not np.asarray(masks[blank]).any()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("which", ["coronal", "sagittal"])
def test_pixels_lie_where_the_records_have_them(which, request):
    """Every voxel that shows a section, taken to the world and back into its image."""
    dataset, folder = request.getfixturevalue(which)
    _, options, _ = read(folder)[0]
    metadata = json.loads((folder / "metadata.json").read_text())
    across = 0 if which == "coronal" else 2
    said = options["metadata"]["atldld"]
    worst = 0.0
    for one in said["sections"]:
        section = dataset.section(int(one["image_id"]))
        index = np.array([(5, 7, 9), (130, 2, 3), (100, 70, 111), (8, 75, 20)])
        index[:, across] = one["plane"]
        world = to_world(options, index)
        matrix = np.array(metadata["per_image"][one["image_id"]]["image_from_output"])
        # rows and columns: (i, r), and in the layout of 0.3 (p, i)
        row, column = (1, 2) if which == "coronal" else (0, 1)
        xy = np.column_stack((index[:, column], index[:, row], np.ones(4))) @ matrix.T
        assert np.allclose(section.to_reference(xy), world, atol=1e-3)
        flat = to_world(options, index, tilted=False)
        assert np.allclose(np.delete(flat - world, across, axis=1), 0)
        worst = max(worst, float(np.abs(flat - world).max()))
    assert said["off_with_tilt_um"] < 1e-3
    assert 0.5 * said["off_um"] < worst <= said["off_um"]


def test_expression_lies_where_the_brain_has_it(coronal):
    """The demo brain is a formula of (p, i, r): it knows nothing of sections or pictures."""
    _, folder = coronal
    masks, options, _ = read(folder)[1]
    found = np.argwhere(np.asarray(masks) > 200)
    assert len(found) > 20
    world = to_world(options, found)
    assert np.median(anatomy.expression(world)) > 0.6
    # moved by two pixels to any side, it fits worse
    for axis in range(3):
        moved = [
            anatomy.expression(world + step * np.eye(3)[axis]).mean() for step in (-200, 0, 200)
        ]
        assert np.argmax(moved) == 1


@pytest.mark.parametrize("which", ["coronal", "sagittal"])
def test_outlines_lie_where_the_atlas_has_them(which, request, demo_atlas):
    dataset, folder = request.getfixturevalue(which)
    lines, options, _ = read(folder)[-1]
    features = options["features"]
    assert len({len(lines), *map(len, features.values()), len(options["edge_color"])}) == 1
    across, row, column = (0, 1, 2) if which == "coronal" else (2, 1, 0)
    resolution = 50 if which == "coronal" else 100
    section = dataset.section(int(features["image_id"][0]))
    outlines = section.outlines(demo_atlas, resolution, depth=3, frame="reference")
    by_name = {one.acronym: one for one in outlines}
    of_section = features["image_id"] == str(section.id)
    assert set(features["acronym"][of_section]) == set(by_name)
    for name, outline in by_name.items():
        chosen = np.flatnonzero(of_section & (features["acronym"] == name))
        rings = [ring for polygon in outline.polygons for ring in polygon]
        assert len(chosen) == len(rings)
        for k in chosen:
            world = to_world(options, lines[k])
            placed = section.placement.to_reference(section.to_image(world))
            assert np.abs(placed - world)[:, across].max() < 1  # six digits of the way back
            assert np.ptp(lines[k][:, across]) == 0
            assert any(
                len(ring) == len(world)
                and np.allclose(
                    np.sort(ring, axis=0),
                    np.sort(world[:, [column, row]], axis=0),
                    atol=resolution / 900,  # three digits of a pixel in the file
                )
                for ring in rings
            )
            assert np.array_equal(world[0], world[-1])
            assert np.allclose(options["edge_color"][k] * 255, outline.rgb)
        holes = sum(len(polygon) - 1 for polygon in outline.polygons)
        assert features["hole"][chosen].sum() == holes


def test_outlines_over_the_raw_picture_come_to_the_same_place(coronal, demo_atlas, copied):
    dataset, _ = coronal
    before = read(copied)[2]
    for section in dataset.sections[3:6]:
        drawing = Drawing("geojson", "image", 50, downsample=2, selection=Selection(depth=3))
        write_drawing(section, demo_atlas, drawing, copied, session=section.session, force=True)
    after = read(copied)[2]
    assert len(before[0]) == len(after[0])
    for a, b in zip(before[0], after[0], strict=True):
        assert np.allclose(a, b, atol=0.01)


def test_a_structure_is_within_its_outline(coronal, demo_atlas):
    """A voxel in an outline of the layer belongs, by the brain's formula, to that structure."""
    _, folder = coronal
    lines, options, _ = read(folder)[2]
    features = options["features"]
    right = []
    for image_id, one in {*zip(features["image_id"], features["structure_id"], strict=True)}:
        chosen = (features["image_id"] == image_id) & (features["structure_id"] == one)
        rings = [np.rint(lines[k][:, :0:-1]).astype(np.int32) for k in np.flatnonzero(chosen)]
        canvas = np.zeros((80, 114), np.uint8)
        cv2.fillPoly(canvas, rings, 1)  # but not the holes
        inside = np.argwhere(cv2.erode(canvas, np.ones((3, 3))))
        plane = lines[np.argmax(chosen)][0, 0]
        index = np.column_stack((np.full(len(inside), plane), inside))
        ids = anatomy.structure_id(to_world(options, index))
        right.extend(demo_atlas.graph.roll_up(ids, depth=3) == one)
    assert len(right) > 5000
    assert np.mean(right) > 0.95


def test_without_dask_there_are_plain_arrays(coronal, monkeypatch):
    lazy = read(coronal[1])
    monkeypatch.setitem(sys.modules, "dask.array", None)
    plain = read(coronal[1])
    for (a, *_), (b, *_) in zip(lazy[:2], plain[:2], strict=True):
        assert type(b) is np.ndarray
        assert type(a) is not np.ndarray
        assert np.array_equal(np.asarray(a), b)


def test_one_section(copied):
    def keep_one(metadata):
        name = min(metadata["per_image"])
        metadata["per_image"] = {name: metadata["per_image"][name]}

    edit(copied, keep_one)
    data, options, _ = read(copied)[0]
    (one,) = options["metadata"]["atldld"]["sections"]
    assert data.shape == (1, 80, 114, 3)
    assert options["scale"] == (25.0, 100.0, 100.0)  # the thickness of a section
    line = one["third_coordinate"]
    at = to_world(options, (0, 3, 4))
    assert np.isclose(at[0], line["i"] * at[1] + line["r"] * at[2] + line["constant"])


def test_a_folder_without_masks_and_outlines(sagittal, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(sagittal[1], folder, ignore=shutil.ignore_patterns("*.geojson"))
    assert [kind for *_, kind in read(folder)] == ["image"]


def test_tiff(demo_session, coronal, tmp_path):
    from atldld.sections.download import download_dataset
    from atldld.sections.register import Recipe

    download_dataset(
        909, tmp_path / "tiff", Recipe(100), session=demo_session, picture_format="tiff"
    )
    data, *_ = read(tmp_path / "tiff")[0]
    expected, *_ = read(coronal[1])[0]
    assert np.array_equal(np.asarray(data), np.asarray(expected))


def truncated(folder):
    file = folder / "metadata.json"
    file.write_bytes(file.read_bytes()[:3000])


def of_another_version(folder):
    edit(folder, lambda metadata: metadata.pop("output"))


def of_no_section(folder):
    edit(folder, lambda metadata: metadata["per_image"].clear())


def without_a_place(folder):
    edit(folder, lambda metadata: metadata["per_image"]["101321616"]["third_coordinate"].pop("i"))


def of_no_axis(folder):
    edit(folder, lambda metadata: metadata["output"].update(axis_of_rows="r"))


def without_a_picture(folder):
    (folder / "101321616.png").unlink()


def with_a_picture_elsewhere(folder):
    def change(metadata):
        metadata["per_image"]["101321616"]["files"]["image"]["name"] = "../101321616.png"

    edit(folder, change)


def with_broken_outlines(folder):
    next(folder.glob("*.geojson")).write_text('{"features": [')


def with_odd_outlines(folder):
    file = next(folder.glob("*.geojson"))
    document = json.loads(file.read_text())
    document["features"][0]["geometry"] = {"type": "Polygon", "coordinates": [[[1, 2], ["x"]]]}
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (truncated, "metadata.json is no JSON"),
        (of_another_version, "`output`"),
        (of_no_section, "holds no section"),
        (without_a_place, "what it should of the section of image 101321616"),
        (of_no_axis, "rows and columns run along one axis"),
        (without_a_picture, "lacks 101321616.png"),
        (with_a_picture_elsewhere, "lacks ../101321616.png"),
        (with_broken_outlines, "cannot be read as outlines"),
        (with_odd_outlines, "cannot be read as outlines: a polygon of"),
    ],
)
def test_broken_folders_say_so(copied, spoil, says):
    spoil(copied)
    with pytest.raises(OutputError, match=says.replace(".", r"\.")) as caught:
        read(copied)
    assert str(copied) in str(caught.value)


def test_a_broken_picture_says_so_when_it_is_looked_at(copied):
    (copied / "101321616.png").write_bytes(b"\x89PNG")
    data, *_ = read(copied)[0]
    with pytest.raises(OutputError, match=r"101321616\.png cannot be read as"):
        np.asarray(data)
    cv2.imwrite(str(copied / "101321616.png"), np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(OutputError, match=r"has shape \(3, 4, 3\)"):
        np.asarray(read(copied)[0][0])


def test_outlines_that_do_not_say_where_they_lie_are_left_out(copied):
    for file in copied.glob("*.geojson"):
        document = json.loads(file.read_text())
        del document["atldld"]
        file.write_text(json.dumps(document))
    with pytest.warns(UserWarning, match="does not say on which picture"):
        assert len(read(copied)) == 2


def test_what_is_not_ours_is_left_to_others(tmp_path, coronal):
    (tmp_path / "metadata.json").write_text('{"title": "somebody else\'s"}')
    picture = next(coronal[1].glob("*.png"))
    for path in (tmp_path, tmp_path / "nothing", Path(picture), "https://example.org/a.ome.zarr"):
        assert get_reader(str(path)) is None
    assert get_reader([str(coronal[1])]) is None
    (tmp_path / "metadata.json").unlink()
    assert get_reader(str(tmp_path)) is None
