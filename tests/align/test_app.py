"""What the page is told, and what pictures it gets."""

import json
import threading
import zlib
from typing import Any, cast

import cv2
import msgspec
import numpy as np
import pytest

from atldld.align.cuts import Cuts
from atldld.align.edits import deformed
from atldld.align.overlay import Painter, View, _flattened
from atldld.align.plane_numbers import PlaneNumbers
from atldld.align.state import Marker
from atldld.api import open_dataset
from atldld.atlas.sample import section_annotation
from atldld.place.spaces import Plane
from atldld.testing.disturbed import disturbed
from tests.align.working import DATASET


def nth(asking, k=8):
    return list(asking.application.desk.sections)[k]


def pixels(answer):
    assert answer.status_code == 200, answer.text
    return cv2.imdecode(np.frombuffer(answer.data, np.uint8), cv2.IMREAD_UNCHANGED)


def text_of(matrix):
    return ",".join(map(repr, np.asarray(matrix).ravel().tolist()))


def test_the_data_set(asking):
    desk = asking.application.desk
    told = asking.json("/api/dataset")
    assert told["id"] == desk.dataset.id
    assert told["gene"] == "Prox1"
    assert told["plane"] == "sagittal"
    assert told["atlas"]["name"] == "ccf_2017"
    assert told["atlas"]["shape"] == [132, 80, 114]
    assert told["revision"] == 0
    assert not any(told[name] for name in ("can_undo", "can_redo", "readonly"))
    assert told["output"] == "reg.json"
    assert told["synthetic"] is True
    assert [one["image_id"] for one in told["sections"]] == list(desk.sections)
    for one in told["sections"]:
        section = desk.sections[one["image_id"]]
        assert one["number"] == section.number
        assert (one["width"], one["height"]) == (section.image.width, section.image.height)
        assert one["tiers"][0] == {"tier": 0, "width": one["width"], "height": one["height"]}
        assert one["status"] == "automatic"
        assert one["markers"] == []
        assert one["forward"] == one["start"]["forward"] == one["allen"]["forward"]
        shape = desk.shape_of(one["image_id"])
        numbers = msgspec.convert(one["plane"], PlaneNumbers)
        assert numbers.forward(shape) == pytest.approx(np.array(one["forward"]), abs=1e-8)


def test_edits_over_http(asking):
    one = nth(asking)
    told = asking.json(f"/api/sections/{one}")
    plane = {**told["plane"], "depth_um": told["plane"]["depth_um"] + 120}
    answer = asking.edit("place", one, revision=0, plane=plane, carry="moves")
    assert (answer["revision"], answer["can_undo"], answer["undo"]) == (1, True, "place")
    (changed,) = answer["sections"]
    assert changed["status"] == "edited"
    assert changed["plane"]["depth_um"] == pytest.approx(plane["depth_um"])
    # an old revision is told what there is now
    late = {"kind": "note", "image_id": one, "note": "x", "revision": 0}
    refused = asking.post("/api/edit", late)
    assert refused.status_code == 409
    assert refused.json["state"]["revision"] == 1
    markers = [
        {"image": [3000, 3000], "flat": [3080, 3040]},
        {"id": 7, "image": [5, 5], "flat": [5, 5]},
    ]
    answer = asking.edit("markers", one, revision=1, markers=markers)
    names = [marker["id"] for marker in answer["sections"][0]["markers"]]
    assert len(set(names)) == 2
    assert "7" in names
    asking.edit("status", one, revision=2, status="confirmed")
    asking.edit("note", one, revision=3, note="good — µm ≤ 5")
    folded = [
        {"image": [3000, 3000], "flat": [9000, 3000]},
        {"image": [3500, 3000], "flat": [900, 3000]},
    ]
    refused = asking.post("/api/edit", {"kind": "markers", "image_id": one, "markers": folded})
    assert refused.status_code == 422
    assert "fold" in refused.json["error"]
    assert refused.json["hint"]
    answer = asking.post("/api/undo", {"revision": 4}).json
    assert answer["sections"][0]["note"] == ""
    answer = asking.post("/api/redo", {"revision": 5}).json
    assert answer["sections"][0]["note"] == "good — µm ≤ 5"
    assert asking.post("/api/redo", {}).status_code == 422
    saved = json.loads(asking.application.desk.output.read_text("utf-8"))
    entry = saved["sections"][str(one)]
    assert (entry["status"], entry["note"]) == ("confirmed", "good — µm ≤ 5")


@pytest.mark.parametrize(
    "sent",
    [
        {"kind": "place"},
        {"kind": "markers"},
        {"kind": "status"},
        {"kind": "note"},
        {"kind": "place", "forward": [1, 2]},
        {"kind": "place", "forward": ["a"] * 9},
        {"kind": "place", "forward": [[1e300] * 3] * 3},
        {"kind": "place", "plane": {"depth_um": 1}},
        {"kind": "status", "status": "great"},
        {"kind": "markers", "markers": [{"image": [1, 2]}]},
        {"kind": "markers", "markers": [{"image": [1, 2], "flat": [1, None]}]},
        {"kind": "markers", "markers": [{"image": [k, 1], "flat": [k, 1]} for k in range(501)]},
    ],
)
def test_edits_that_make_no_sense(asking, sent):
    answer = asking.post("/api/edit", {"image_id": nth(asking), **sent})
    assert answer.status_code in (400, 422)
    assert answer.json["error"].endswith(".")
    assert asking.application.desk.revision == 0
    # one that the data set does not have
    assert asking.post("/api/edit", {"image_id": 5, **sent}).status_code in (400, 422)


def test_tiers_and_tiles(asking):
    one = nth(asking)
    image = asking.application.desk.sections[one].image
    whole = pixels(asking.get(f"/api/sections/{one}/tiles/4.jpg"))
    width, height = image.size(4)
    assert whole.shape == (height, width, 3)
    put = np.zeros_like(whole)
    for row in range(-(-height // 512)):
        for column in range(-(-width // 512)):
            tile = pixels(asking.get(f"/api/sections/{one}/tiles/4/{column}_{row}.jpg"))
            put[row * 512 : row * 512 + 512, column * 512 : column * 512 + 512] = tile
    assert np.abs(put.astype(int) - whole).mean() < 2
    mask = pixels(asking.get(f"/api/sections/{one}/tiles/4.jpg?view=expression"))
    assert mask.shape == whole.shape
    assert np.abs(mask.astype(int) - whole).mean() > 5
    small = pixels(asking.get(f"/api/sections/{one}/thumbnail.jpg"))
    assert max(small.shape) == 256
    for path in ("tiles/44.jpg", "tiles/4/99_0.jpg", "tiles/4.jpg?view=x"):
        answer = asking.get(f"/api/sections/{one}/{path}")
        assert answer.status_code == 400
    assert asking.get("/api/sections/5/tiles/4.jpg").status_code == 400
    assert asking.get(f"/api/sections/{one}/tiles/-1.jpg").status_code == 404


def test_the_overlay_shows_what_lies_there(asking):
    """At every pixel the colour of the structure that the atlas has there."""
    desk = asking.application.desk
    one = nth(asking)
    section = desk.sections[one]
    labels = section_annotation(section, desk.atlas, downsample=4)
    height, width = labels.shape
    drawn = pixels(
        asking.get(
            f"/api/sections/{one}/overlay?kind=labels&width={width}&height={height}&x0=0&y0=0&scale=16"
        )
    )
    assert ((drawn[..., 3] == 255) == (labels != 0)).all()
    for number in np.unique(labels[labels != 0]).tolist():
        assert (drawn[labels == number][:, 2::-1] == desk.atlas.graph[number].rgb).all()


@pytest.mark.parametrize("more", ["", "&depth=3", "&markers=[[6200,3700,6000,3700]]"])
def test_numbers_of_structures_are_those_of_the_colours(asking, more):
    """The page paints colours and borders from them."""
    path = f"/api/sections/{nth(asking)}/overlay?width=300&height=190&scale=40{more}"
    answer = asking.get(f"{path}&kind=structures")
    assert answer.headers["Content-Encoding"] == "deflate"
    numbers = np.frombuffer(zlib.decompress(answer.data), "<u2").reshape(190, 300)
    colours = asking.json("/api/dataset")["atlas"]["colours"]
    assert colours[0] is None
    drawn = pixels(asking.get(f"{path}&kind=labels"))
    assert ((numbers > 0) == (drawn[..., 3] > 0)).all()
    for number in np.unique(numbers[numbers > 0]).tolist():
        (colour,) = np.unique(drawn[numbers == number][:, 2::-1], axis=0)
        assert colours[number] == "#{:02x}{:02x}{:02x}".format(*colour.tolist())
    # structures of one colour are told apart by their numbers
    on = np.zeros(numbers.shape, bool)
    on[:, 1:] |= numbers[:, 1:] != numbers[:, :-1]
    on[1:] |= numbers[1:] != numbers[:-1]
    assert (on == (pixels(asking.get(f"{path}&kind=borders"))[..., 3] > 0)).all()


def test_the_overlay_is_drawn_where_the_section_would_lie(asking):
    desk = asking.application.desk
    one = nth(asking)
    told = asking.json(f"/api/sections/{one}")
    moved = np.array(told["forward"])
    moved[:, 2] += moved[:, 0] * 160  # 160 pixels to the right in the atlas
    path = f"/api/sections/{one}/overlay?kind=labels&width=500&height=300&scale=20"
    here = pixels(asking.get(path))
    there = pixels(asking.get(f"{path}&forward={text_of(moved)}"))
    assert (there[:, :-8] == here[:, 8:]).all()
    assert (there != here).any()
    # a part of it, twice as fine
    part = pixels(
        asking.get(
            f"/api/sections/{one}/overlay?kind=labels&width=200&height=200&scale=10&x0=3000&y0=2000"
        )
    )
    assert (part[:, :, 3] > 0).any()
    assert (
        part[:, :, 3] == cv2.resize(here[100:200, 150:250, 3], (200, 200), interpolation=0)
    ).mean() > 0.98
    assert desk.revision == 0  # nothing was edited


def test_markers_bend_the_overlay(asking):
    one = nth(asking)
    path = f"/api/sections/{one}/overlay?kind=labels&width=596&height=377&scale=20"
    here = pixels(asking.get(path))
    bent = pixels(asking.get(f"{path}&markers=[[6200,3700,6000,3700]]"))
    assert (bent != here).any()
    # what lies at the marker is what lay at its place in the flat section
    assert (bent[185, 300] == here[185, 310]).all()
    asking.edit("markers", one, markers=[{"image": [6000, 3700], "flat": [6200, 3700]}])
    assert (pixels(asking.get(path)) == bent).all()
    assert (pixels(asking.get(f"{path}&markers=[]")) == here).all()
    for wrong in ("[[1,2]]", "x", "[[1,2,3,1e99]]"):
        assert asking.get(f"{path}&markers={wrong}").status_code == 400


def test_borders_are_where_structures_meet(asking):
    one = nth(asking)
    path = f"/api/sections/{one}/overlay?width=300&height=190&scale=40&depth=2"
    labels = pixels(asking.get(f"{path}&kind=labels"))
    borders = pixels(asking.get(f"{path}&kind=borders"))
    assert (borders[..., :3] == 255).all()
    on = borders[..., 3] > 0
    across = (labels[:, 1:] != labels[:, :-1]).any(axis=2)
    down = (labels[1:] != labels[:-1]).any(axis=2)
    expected = np.zeros(on.shape, bool)
    expected[:, 1:] |= across
    expected[1:] |= down
    # structures of one colour meet unseen
    assert on[expected].all()
    finer = pixels(
        asking.get(f"/api/sections/{one}/overlay?width=300&height=190&scale=40&kind=borders")
    )
    assert (finer[..., 3] > 0).sum() > on.sum()


def test_the_template_has_a_clear_ground(asking):
    one = nth(asking)
    drawn = pixels(
        asking.get(f"/api/sections/{one}/overlay?width=300&height=190&scale=40&kind=template")
    )
    assert set(np.unique(drawn[..., 3])) == {0, 255}
    inside = drawn[drawn[..., 3] == 255]
    assert (inside[:, 0] == inside[:, 1]).all()
    assert inside[:, 0].max() > 150


@pytest.mark.parametrize(
    "query",
    [
        "width=0&height=5",
        "width=5",
        "width=4096&height=4096",
        "width=5&height=5&scale=0",
        "width=5&height=5&scale=nan",
        "width=5&height=5&x0=1e99",
        "width=5&height=5&kind=x",
        "width=5&height=5&depth=-1",
        "width=5&height=5&forward=1,2,3",
        "width=5&height=5&forward=1,1,1,1,1,1,1,1,1",
        "width=5.5&height=5",
        "width=5&height=5&job=none",
    ],
)
def test_pictures_that_make_no_sense(asking, query):
    answer = asking.get(f"/api/sections/{nth(asking)}/overlay?{query}")
    assert answer.status_code == 400
    assert answer.json["error"].endswith(".")


def test_numbers_and_matrix_are_one(asking):
    one = nth(asking)
    told = asking.json(f"/api/sections/{one}")
    there = asking.json(f"/api/sections/{one}/plane?forward={text_of(told['forward'])}")
    assert there["plane"] == told["plane"]
    plane = {**told["plane"], "tilt_1_deg": 5.0}
    back = asking.json(f"/api/sections/{one}/plane?plane={json.dumps(plane)}")
    assert back["plane"]["tilt_1_deg"] == pytest.approx(5)
    assert asking.get(f"/api/sections/{one}/plane?plane=x").status_code == 400
    assert asking.application.desk.revision == 0


def test_the_structure_under_the_pointer(asking):
    desk = asking.application.desk
    one = nth(asking)
    told = asking.json(f"/api/sections/{one}/structure?x=6384&y=2744")
    section = desk.sections[one]
    place = section.to_reference((6384, 2744))
    assert told["reference"] == pytest.approx(place.tolist())
    found = desk.atlas.structure_at(place)
    assert told["structure"]["acronym"] == found.acronym
    assert [step["acronym"] for step in told["structure"]["path"]][-1] == found.acronym
    assert told["flat"] == [6384, 2744]
    outside = asking.json(f"/api/sections/{one}/structure?x=-90000&y=0")
    assert outside["structure"] is None
    bent = asking.json(
        f"/api/sections/{one}/structure?x=6000&y=3700&markers=[[6200,3700,6000,3700]]"
    )
    assert bent["flat"] == pytest.approx([6200, 3700])
    assert bent["reference"] == pytest.approx(section.to_reference((6200, 3700)).tolist())


def test_cuts_show_where_the_planes_cross_them(asking):
    desk = asking.application.desk
    one = nth(asking)
    cuts = {cut["name"]: cut for cut in asking.json(f"/api/cuts?section={one}")["cuts"]}
    assert set(cuts) == {"coronal", "horizontal", "sagittal"}
    section = desk.sections[one]
    for name, cut in cuts.items():
        picture = pixels(asking.get(cut["picture"]))
        assert picture.shape[:2] == (cut["height"], cut["width"])
        lines: dict[str, list[dict[str, Any]]] = {}
        for line in cut["lines"]:
            lines.setdefault(line["kind"], []).append(line)
        (this,) = lines["this"]
        if name == "sagittal":  # parallel to the section: its outline
            assert set(lines) == {"this"}
            assert len(this["points"]) == 5
            assert this["points"][0] == this["points"][-1]
        else:
            assert len(this["points"]) == 2
            assert len(lines["before"]) == len(lines["after"]) == 1
            order = list(desk.sections)
            assert lines["before"][0]["image_id"] == order[order.index(one) - 1]
            # the ends of the line lie in the section's plane and on the cut
            axis = "pir".index(({"p", "i", "r"} - set(cut["axes"])).pop())
            for point in this["points"]:
                pir = np.empty(3)
                pir[axis] = cut["at_um"]
                for letter, value in zip(cut["axes"], point, strict=True):
                    pir["pir".index(letter)] = value * cut["um_per_pixel"]
                away = section.placement.section_numbers(pir) - section.number
                assert abs(away) * section.thickness < 1
    assert asking.get("/api/cuts?section=5").status_code == 400
    assert asking.get("/api/cut.jpg?axis=3&voxel=0").status_code == 400
    assert asking.get("/api/cut.jpg?axis=0&voxel=9999").status_code == 400


@pytest.mark.parametrize("template", [True, False])
def test_cuts_are_those_of_the_atlas(asking, template):
    atlas: Any = asking.application.desk.atlas
    painter = Painter(atlas if template else cast(Any, _Plain(atlas)))
    cuts = Cuts(painter)
    for axis, count in enumerate(atlas.annotation.shape):
        voxel = round(0.45 * count)
        content = np.frombuffer(cuts.picture(axis, voxel), np.uint8)
        found = np.asarray(cv2.imdecode(content, cv2.IMREAD_UNCHANGED), dtype=float)
        if template:
            expected = painter.grey(np.take(atlas.template, voxel, axis)).astype(float)
        else:
            labels = np.take(atlas.annotation, voxel, axis)
            expected = painter.colours(labels)[..., :3].astype(float)
        # the picture is upright: of what is left, the axis that runs down comes first
        down, across = next(one for one in Plane if one.depth_axis == axis).axes()
        if down > across:
            expected = np.swapaxes(expected, 0, 1)
        assert found.shape == expected.shape
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.97


class _Plain:
    """An atlas without its template."""

    def __init__(self, atlas):
        self._atlas = atlas

    @property
    def template(self):
        return None

    def __getattr__(self, name):
        return getattr(self._atlas, name)


def test_cuts_never_keep_the_overlay_waiting(asking, monkeypatch):
    """However many pictures of cuts take however long, the section under the hand is drawn."""
    application, one = asking.application, nth(asking)
    begun, go_on = threading.Semaphore(0), threading.Event()
    at_once: list[int] = []
    counting = threading.Lock()
    inside = 0

    def slow(axis, voxel):
        nonlocal inside
        with counting:
            inside += 1
            at_once.append(inside)
        begun.release()
        go_on.wait()
        with counting:
            inside -= 1
        return b""

    monkeypatch.setattr(application._slices, "picture", slow)
    drawn: list[int] = []

    def draw():
        for k in range(5):
            path = f"/api/sections/{one}/overlay?kind=structures&width=90&height=60&scale=99&x0={k}"
            drawn.append(asking.get(path).status_code)

    cuts = [
        threading.Thread(target=asking.get, args=(f"/api/cut.jpg?axis=0&voxel={k}",))
        for k in range(6)
    ]
    hand = threading.Thread(target=draw)
    try:
        for cut in cuts:
            cut.start()
        begun.acquire()
        hand.start()
        hand.join(60)
        # while none of the cuts has ended
        assert drawn == [200] * 5
    finally:
        go_on.set()
        for thread in (*cuts, hand):
            thread.join()
    assert len(at_once) == 6
    assert max(at_once) == 1


def test_cuts_follow_the_proposed_plane(asking):
    one = nth(asking)
    told = asking.json(f"/api/sections/{one}")
    forward = np.array(told["forward"])
    forward[2, 2] += 500
    before, after = (
        {cut["name"]: cut for cut in asking.json(f"/api/cuts?section={one}{more}")["cuts"]}
        for more in ("", f"&forward={text_of(forward)}")
    )
    assert after["sagittal"]["at_um"] == pytest.approx(before["sagittal"]["at_um"] + 500)
    assert asking.application.desk.revision == 0


def test_the_comparison_is_in_micrometres(asking):
    one = nth(asking)
    rows = {row["image_id"]: row for row in asking.json("/api/compare")["rows"]}
    assert all(row["from_allen_um"] == {"median": 0, "greatest": 0} for row in rows.values())
    told = asking.json(f"/api/sections/{one}")
    forward = np.array(told["forward"])
    forward[:, 2] += [30, 40, 0]
    asking.edit("place", one, forward=forward.tolist())
    rows = {row["image_id"]: row for row in asking.json("/api/compare")["rows"]}
    assert rows[one]["from_allen_um"]["median"] == pytest.approx(50, abs=0.01)
    assert rows[one]["from_start_um"]["greatest"] == pytest.approx(50, abs=0.01)
    assert rows[one]["status"] == "edited"
    assert sum(row["from_start_um"]["greatest"] > 0 for row in rows.values()) == 1


def test_the_text_for_a_paper(asking):
    one, two, three = (nth(asking, k) for k in (3, 4, 5))
    text = asking.get("/api/methods").text
    assert "No section was moved by hand." in text
    forward = np.array(asking.json(f"/api/sections/{one}")["forward"])
    forward[:, 2] += 10
    asking.edit("place", one, forward=forward.tolist())
    asking.edit("markers", one, markers=[{"image": [3000, 3000], "flat": [3010, 3000]}])
    asking.edit("status", two, status="confirmed")
    asking.edit("status", three, status="left out")
    answer = asking.get("/api/methods")
    assert answer.content_type == "text/plain; charset=utf-8"
    number = asking.application.desk.sections[three].number
    for part in (
        "data set 69289763",
        "Prox1",
        "SYNTHETIC",
        "1 section of 18 was placed by hand (atldld align), 1 of them with 1 marker",
        "1 section of 18 was looked at and confirmed",
        f"1 section was left out as not usable: {number}.",
        "To cite:",
    ):
        assert part in answer.text, part


def test_a_view_counts_from_the_picture_s_corner():
    view = View(10, 5, 100, 50, 4, 2)
    assert view.to_image @ [0, 0, 1] == pytest.approx([101.5, 50.5])
    assert view.to_image @ [9, 4, 1] == pytest.approx([137.5, 58.5])


def test_labels_that_the_atlas_does_not_name_are_grey(asking):
    painter = Painter(asking.application.desk.atlas)
    drawn = painter.colours(np.array([[0, 8, 123456]], np.uint32))
    assert drawn[0, 0].tolist() == [0, 0, 0, 0]
    assert drawn[0, 2].tolist() == [128, 128, 128, 255]


@pytest.fixture(scope="module")
def spline(demo):
    """The deformation of a section that is bent as real ones are."""
    session, atlas = demo
    dataset = open_dataset(DATASET, session=session)
    return disturbed(dataset, atlas).sections[dataset.sections.ids[8]].deformation


@pytest.mark.parametrize("what", ["markers", "spline", "both"])
@pytest.mark.parametrize(
    "view",
    [
        View(500, 317, 0, 0, 23.84, 23.84),
        View(400, 300, -900, 700, 5, 5),
        View(90, 60, 0, 0, 140, 140),
    ],
)
def test_curved_sections_are_drawn_where_they_lie(spline, what, view):
    """What is quick enough to be dragged is as right as what is exact, to a fifth of a pixel."""
    places = [(2000, 2000), (5000, 3000), (7000, 4000), (8000, 2000), (4000, 5000), (3000, 3800)]
    listed = [
        Marker(str(k), (x, y), (x + 70 * (-1) ** k, y - 50)) for k, (x, y) in enumerate(places)
    ]
    bent = deformed(
        listed if what != "spline" else [], 11921, 7553, None if what == "markers" else spline
    )
    assert bent is not None
    found = _flattened(bent, view)
    assert found is not None
    shift, scale = view.to_image[:, 2], np.array([view.across, view.down])
    pixels = np.stack(np.meshgrid(np.arange(view.width), np.arange(view.height)), axis=-1)
    exact = (bent.to_flat(pixels * scale + shift) - shift) / scale
    off = np.linalg.norm(np.moveaxis(found.block(slice(None)), 0, -1) - exact, axis=-1)
    assert np.abs(exact - pixels).max() > 0.3
    assert off.max() < 0.2
