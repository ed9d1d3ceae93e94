import base64
import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from atldld.atlas import StructureGraph
from atldld.atlas.drawing import (
    canvas_of,
    draw_outlines,
    label_places,
    scale_length,
    scale_text,
    standing_out,
    write_geojson,
    write_svg,
)
from atldld.atlas.outlines import Selection, outlines
from atldld.errors import InvalidInputError, OutputError
from atldld.place import Affine
from atldld.place.tiers import tier_to_image

SVG = "{http://www.w3.org/2000/svg}"
GRAPH = StructureGraph.from_answer(
    [
        {"id": 7, "acronym": "a<&", "name": 'A "B"', "color_hex_triplet": "019399"},
        {"id": 8, "acronym": "b", "name": "B", "color_hex_triplet": "FF0000"},
    ]
)


@pytest.fixture
def drawn():
    """A ring of 5 × 5 pixels of tier 1 about another structure, with a hole; and an island."""
    labels = np.zeros((8, 12), np.uint32)
    labels[1:6, 1:6] = 7
    labels[2:5, 2:5] = 0
    labels[3, 3] = 8
    labels[6, 9:11] = 7
    return outlines(labels, tier_to_image(1), GRAPH, Selection(smooth=False))


def signed(ring):
    x, y = np.array(ring).T
    return (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2


def test_svg(drawn, tmp_path):
    write_svg(tmp_path / "new" / "a.svg", drawn, (12, 8), downsample=1, title="T < U")
    root = ElementTree.parse(tmp_path / "new" / "a.svg").getroot()
    assert root.tag == f"{SVG}svg"
    assert root.get("viewBox") == "0 0 12 8"
    paths = root.findall(f".//{SVG}path")
    assert [path.get("structure_id") for path in paths] == ["7", "8"]
    assert paths[0].get("fill") == "#019399"
    assert paths[0].get("data-acronym") == "a<&"
    assert paths[0].findtext(f"{SVG}title") == 'a<&: A "B"'
    assert len({path.get("id") for path in paths}) == 2
    assert paths[0].attrib["d"].count("M") == 3  # exterior, hole, island
    # pixel u of the picture spans [u, u + 1)
    points = np.array(re.findall(r"([\d.]+),([\d.]+)", paths[1].attrib["d"])).astype(float)
    assert points.min() == 3.0
    assert points.max() == 4.0


def test_svg_with_the_picture(drawn, tmp_path):
    picture = np.full((8, 12, 3), 200, np.uint8)
    write_svg(tmp_path / "a.svg", drawn, (12, 8), downsample=1, picture=picture)
    image = ElementTree.parse(tmp_path / "a.svg").getroot().find(f"{SVG}image")
    assert image is not None
    kind, _, data = image.attrib["href"].partition(",")
    assert kind == "data:image/jpeg;base64"
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.shape == (8, 12, 3)
    with pytest.raises(InvalidInputError, match="12 × 8"):
        write_svg(tmp_path / "b.svg", drawn, (13, 8), downsample=1, picture=picture)
    assert not (tmp_path / "b.svg").exists()


@pytest.mark.parametrize("downsample", [0, 1])
def test_geojson(drawn, tmp_path, downsample):
    write_geojson(tmp_path / "a.geojson", drawn, downsample=downsample)
    document = json.loads((tmp_path / "a.geojson").read_text())
    assert document["type"] == "FeatureCollection"
    a, b = document["features"]
    assert a["geometry"]["type"] == "MultiPolygon"
    assert b["geometry"]["type"] == "Polygon"
    for feature in (a, b):
        assert feature["type"] == "Feature"
        assert feature["properties"]["objectType"] == "annotation"
        polygons = feature["geometry"]["coordinates"]
        for exterior, *holes in polygons if feature is a else [polygons]:
            assert exterior[0] == exterior[-1]
            assert signed(exterior) > 0
            for hole in holes:
                assert hole[0] == hole[-1]
                assert signed(hole) < 0
    assert sorted(len(polygon) for polygon in a["geometry"]["coordinates"]) == [1, 2]
    assert a["properties"]["classification"] == {"name": "a<&", "color": [1, 0x93, 0x99]}
    assert a["properties"]["structure_id"] == 7
    assert a["properties"]["acronym"] == "a<&"
    assert a["properties"]["hemisphere"] == "both"
    # the pixel at (3, 3) of tier 1 spans 6 to 8 of full resolution, from the picture's corner
    points = np.array(b["geometry"]["coordinates"][0])
    assert (points.min(), points.max()) == ((6, 8) if downsample == 0 else (3, 4))
    # the same structure keeps its id, as QuPath wants one for each object
    assert a["id"] != b["id"]
    assert re.fullmatch(r"[0-9a-f-]{36}", a["id"])


def test_lines_on_a_picture(drawn):
    picture = np.full((80, 120, 3), 255, np.uint8)
    large = outlines(
        np.kron(np.eye(2, dtype=np.uint32) * 8, np.ones((20, 30), int)), tier_to_image(0), GRAPH
    )
    out = draw_outlines(picture, large)
    assert (picture == 255).all()
    changed = (out != 255).any(axis=-1)
    # the second block spans pixels 30 to 59: lines are darkest on both sides of its edges
    assert set(np.argsort(out[30, :, 1])[:4].tolist()) == {29, 30, 59, 60}
    assert set(np.argsort(out[:, 45, 1])[:4].tolist()) == {19, 20, 39, 40}
    assert not changed[3:17, 3:27].any()
    # red, not blue
    assert out[changed][:, 0].min() > out[changed][:, 2].min()
    assert (draw_outlines(picture, large, color=(0, 0, 0))[changed].min(axis=0) < 100).all()
    with pytest.raises(InvalidInputError, match="RGB"):
        draw_outlines(picture[..., 0], large)
    # half as far out on the next tier
    half = draw_outlines(picture, large, downsample=1)
    assert np.nonzero((half != 255).any(axis=-1))[0].max() in {19, 20, 21}


def test_the_reference_frame_needs_its_scale(tmp_path):
    plane = Affine(np.array([[25.0, 0, 12.5], [0, 25, 12.5]]), "output pixel", "reference plane")
    labels = np.zeros((6, 6), np.uint32)
    labels[2:4, 2:4] = 8
    drawn = outlines(labels, plane, GRAPH, Selection(smooth=False))
    assert drawn[0].frame == "reference"
    with pytest.raises(InvalidInputError, match="µm"):
        write_svg(tmp_path / "a.svg", drawn, (6, 6))
    write_geojson(tmp_path / "a.geojson", drawn, resolution=25)
    points = np.array(
        json.loads((tmp_path / "a.geojson").read_text())["features"][0]["geometry"]["coordinates"][
            0
        ]
    )
    assert (points.min(), points.max()) == (2, 4)
    mixed = (*drawn, *outlines(labels, tier_to_image(0), GRAPH))
    with pytest.raises(InvalidInputError, match="several frames"):
        write_svg(tmp_path / "a.svg", mixed, (6, 6))


def test_nothing_to_draw_is_a_valid_file(tmp_path):
    write_svg(tmp_path / "a.svg", (), (5, 5))
    write_geojson(tmp_path / "a.geojson", ())
    assert json.loads((tmp_path / "a.geojson").read_text())["features"] == []
    ElementTree.parse(tmp_path / "a.svg")


def test_a_file_that_cannot_be_written(drawn, tmp_path):
    (tmp_path / "file").write_text("")
    for write in (lambda p: write_svg(p, drawn, (12, 8)), lambda p: write_geojson(p, drawn)):
        with pytest.raises(OutputError):
            write(tmp_path / "file" / "a.svg")


TREE = StructureGraph.from_answer(
    [
        {"id": 1, "acronym": "root", "name": "root", "color_hex_triplet": "FFFFFF"},
        {
            "id": 2,
            "acronym": "CH",
            "name": "Cerebrum",
            "color_hex_triplet": "B0F0FF",
            "parent_structure_id": 1,
        },
        {
            "id": 3,
            "acronym": "CTX",
            "name": "Cortex",
            "color_hex_triplet": "70FF71",
            "parent_structure_id": 2,
        },
    ]
)


@pytest.fixture
def nested():
    """A structure, one that lies in it, and an id that the graph lacks."""
    labels = np.zeros((60, 90), np.uint32)
    labels[5:55, 5:45] = 2
    labels[15:45, 15:35] = 3
    labels[10:50, 55:80] = 9
    chosen = Selection(structures=["CH", "CTX"])
    return (
        *outlines(labels, tier_to_image(0), TREE, chosen),
        *[one for one in outlines(labels, tier_to_image(0), TREE) if not one.known],
    )


def test_the_hierarchy_is_nested_groups(nested, tmp_path):
    write_svg(tmp_path / "a.svg", nested, (90, 60))
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    above = {child: parent for parent in root.iter() for child in parent}
    by_id = {element.get("id"): element for element in root.iter()}

    def groups(element):
        found = []
        while (element := above.get(element)) is not None:
            found.append(element.get("data-acronym"))
        return [name for name in found[::-1] if name]

    assert groups(by_id["structure-3-both"]) == ["root", "CH"]
    # the outer one, drawn first, is in its own group beside the inner one
    assert groups(by_id["structure-2-both"]) == ["root", "CH"]
    assert groups(by_id["structure-9-both"]) == []
    order = [path.get("structure_id") for path in root.iter(f"{SVG}path")]
    assert order == ["2", "3", "9"]
    cortex = by_id["structure-3-both"].attrib
    assert (cortex["data-path"], cortex["data-parent"]) == ("/1/2/3/", "2")
    assert (cortex["data-acronym"], cortex["data-name"]) == ("CTX", "Cortex")
    assert by_id["group-2"].findtext(f"{SVG}title") == "CH: Cerebrum"
    assert by_id["group-2"].get("class") == "group depth-1"
    assert by_id["group-2"].get("{http://www.inkscape.org/namespaces/inkscape}label") == "CH"
    names = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(names) == len(set(names))


def test_geojson_tells_of_the_hierarchy(nested, tmp_path):
    write_geojson(tmp_path / "a.geojson", nested)
    outer, inner, unknown = json.loads((tmp_path / "a.geojson").read_text())["features"]
    properties = inner["properties"]
    assert properties["name"] == properties["structure_name"] == "Cortex"
    assert properties["acronym"] == properties["classification"]["name"] == "CTX"
    assert properties["color"] == properties["classification"]["color"] == [0x70, 0xFF, 0x71]
    assert (properties["parent_id"], properties["parent"]) == (2, "CH")
    assert (properties["path"], properties["acronym_path"]) == ("/1/2/3/", "root/CH/CTX")
    # QuPath takes an object's metadata as texts, and reads "children" as objects of its own
    for feature in (outer, inner, unknown):
        metadata = feature["properties"]["metadata"]
        assert all(isinstance(value, str) for value in metadata.values())
        assert not {"children", "childObjects"} & set(feature["properties"])
    assert unknown["properties"]["parent"] is None
    assert unknown["properties"]["path"] == "/9/"


def contrast(one, other):
    def luminance(rgb):
        c = np.asarray(rgb) / 255
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ (
            0.2126,
            0.7152,
            0.0722,
        )

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("grey", [0, 40, 90, 128, 170, 225, 255])
@pytest.mark.parametrize("rgb", [(112, 255, 113), (255, 255, 255), (0, 0, 0), (230, 68, 56)])
def test_lines_stand_out_from_what_lies_beneath(grey, rgb):
    found = standing_out(rgb, grey / 255)
    assert contrast(found, (grey, grey, grey)) >= 4.5
    if contrast(rgb, (grey, grey, grey)) >= 4.5:
        assert found == rgb


@pytest.mark.parametrize("grey", [15, 245])
def test_a_pale_structure_is_seen_on_the_picture(nested, grey):
    picture = np.full((60, 90, 3), grey, np.uint8)
    out = draw_outlines(picture, nested)
    on_line = out[10:50, 2:8].reshape(-1, 3)
    assert max(contrast(pixel, (grey, grey, grey)) for pixel in on_line) > 3


def test_labels_and_scale_bar_are_drawn_on_request(nested):
    large = [
        replace(
            one, polygons=tuple(tuple(8 * ring for ring in polygon) for polygon in one.polygons)
        )
        for one in nested
    ]
    picture = np.full((480, 720, 3), 200, np.uint8)
    plain, named, scaled = (
        draw_outlines(picture, large, **options)
        for options in ({}, {"labels": True}, {"pixel_um": 10.0})
    )
    changed = (named != plain).any(axis=-1)
    # a text in the middle of the inner structure, none on the lines of its edge
    assert changed[200:280, 160:240].any()
    assert not changed[:, :40].any()
    bar = (scaled != plain).any(axis=-1)
    assert not bar[: 480 - 60, :].any()
    # 7200 µm across: the bar is 1 mm, 100 pixels, black, on one row
    rows = (scaled == 0).all(axis=-1).sum(axis=1)
    assert rows.max() == 100
    assert (picture == 200).all()


def test_texts_do_not_overlap_and_stay_inside(nested):
    def size_of(text):
        return 8.0 * len(text), 10.0

    large = [
        replace(
            one, polygons=tuple(tuple(8 * ring for ring in polygon) for polygon in one.polygons)
        )
        for one in nested
    ]
    found = label_places(large, canvas_of(large), (480, 720), size_of)
    assert {text for text, _ in found} == {"CH", "CTX", "9"}
    for n, (text, (x, y)) in enumerate(found):
        for other, (u, v) in found[:n]:
            apart = abs(x - u) >= 4 * (len(text) + len(other)) or abs(y - v) >= 10
            assert apart, (text, other)
    assert label_places(large, canvas_of(large), (480, 720), lambda text: (900.0, 900.0)) == []


def test_scale_bars_are_of_round_lengths():
    for width in (90, 1000, 6400, 11400, 13200, 123456):
        length = scale_length(width)
        assert width / 13 < length <= width / 5
        assert str(length).strip("0.")[0] in "125"
    assert scale_text(500) == "500 µm"
    assert scale_text(2000) == "2 mm"
