import base64
import json
import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from atldld.atlas import StructureGraph
from atldld.atlas.drawing import draw_outlines, write_geojson, write_svg
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
