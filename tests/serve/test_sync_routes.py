"""The four synchronisation calls of the local service that lead from image to image."""

import httpx
import pytest

from atldld.demo.archive import STRUCTURE_CENTERS, DemoArchive
from atldld.place import image_to_image, reference_to_image
from atldld.serve.app import Application
from atldld.serve.archive import Archive

KEYS = ["section_data_set_id", "section_image_id", "section_number", "x", "y"]
ATLAS_SET = 100048576


class WithAtlas(Archive):
    """The demo archive, with every fourth section of 71717084 as the plates of an atlas."""

    def __init__(self):
        self._demo = DemoArchive([71717084, 69289763])
        tables = dict(self._demo.tables())
        coronal = next(one for one in tables["SectionDataSet"] if one["id"] == 71717084)
        images = sorted(coronal["section_images"], key=lambda one: one["section_number"])
        bare = {**coronal, "id": 5, "alignment3d": None, "specimen": None}
        tables["SectionDataSet"] = [*tables["SectionDataSet"], bare]
        tables["SectionImage"] = [
            *tables["SectionImage"],
            {**images[0], "id": 55, "data_set_id": 5},
        ]
        tables["AtlasDataSet"] = [
            {**coronal, "id": ATLAS_SET, "atlases": [{"id": 1}]},
            {**coronal, "id": 6, "alignment3d": None},
        ]
        tables["AtlasImage"] = [
            {**one, "id": 10**6 + one["id"], "data_set_id": ATLAS_SET, "annotated": k % 4 == 0}
            for k, one in enumerate(images)
        ]
        tables["Atlas"] = [
            {"id": 1, "name": "coronal"},
            {"id": 2, "name": "unaligned", "atlas_data_sets": [{"id": 6}]},
            {"id": 3, "name": "empty"},
        ]
        self._tables = tables

    def tables(self):
        return self._tables

    def image(self, *arguments, **options):
        return self._demo.image(*arguments, **options)


@pytest.fixture(scope="module")
def ask():
    application = Application(WithAtlas())
    with httpx.Client(
        transport=httpx.WSGITransport(application, raise_app_exceptions=True),
        base_url="http://archive",
    ) as client:

        def get(path, status=200):
            answer = client.get(f"/api/v2/{path}")
            assert answer.status_code == status, answer.text
            body = answer.json()
            assert body["success"] == (status == 200)
            return body

        yield get


def syncs(body):
    assert body["num_rows"] == body["total_rows"] == len(body["msg"])
    assert all(list(one) == ["image_sync"] for one in body["msg"])
    assert all(list(one["image_sync"]) == KEYS for one in body["msg"])
    return [one["image_sync"] for one in body["msg"]]


def assert_is(sync, found, dataset_id):
    assert sync["section_data_set_id"] == dataset_id
    assert sync["section_image_id"] == found.image_ids[0]
    assert sync["section_number"] == found.section_numbers[0]
    assert (sync["x"], sync["y"]) == tuple(found.xy[0])


def test_image_to_image(ask, demo_records):
    source = demo_records[69289763]
    mirrored, own, failed = syncs(
        ask("image_to_image/69177654.json?x=6384&y=2744&section_data_set_ids=71717084,69289763,5")
    )
    expected = image_to_image(source, 69177654, [[6384, 2744]], demo_records[71717084])
    assert_is(mirrored, expected, 71717084)
    assert own["section_image_id"] == 69177654
    assert (own["x"], own["y"]) == pytest.approx((6384, 2744), abs=0.2)
    assert failed == {**dict.fromkeys(KEYS), "section_data_set_id": 5}


def test_image_to_image_answers_far_points_as_the_service_does(ask):
    """Clamped, with no warning in the log (a warning would be an error here)."""
    (sync,) = syncs(ask("image_to_image/71591511.json?x=0&y=0&section_data_set_ids=69289763"))
    assert sync["section_image_id"] is not None


def test_image_to_image_2d(ask, demo_records):
    dataset = demo_records[71717084]
    one, other = dataset.images[30], dataset.images[31]
    within, elsewhere, unknown_specimen = syncs(
        ask(f"image_to_image_2d/{one.id}.json?x=100&y=200&section_image_ids={other.id},69177654,55")
    )
    volume = one.alignment2d.to_volume @ [100, 200, 1]
    x, y = other.alignment2d.to_image @ [*volume, 1]
    assert within["section_image_id"] == other.id
    assert (within["x"], within["y"]) == pytest.approx((x, y), abs=1e-9)
    assert elsewhere == {**dict.fromkeys(KEYS), "section_data_set_id": 69289763}
    assert unknown_specimen == {**dict.fromkeys(KEYS), "section_data_set_id": 5}


def test_structure_to_image(ask, demo_records):
    known, unknown = syncs(ask("structure_to_image/69289763.json?structure_ids=22,999"))
    p, i, r = STRUCTURE_CENTERS[22]
    expected = reference_to_image(demo_records[69289763], [[p, i, 11400 - r]], beyond="ignore")
    assert_is(known, expected, 69289763)
    assert unknown == {**dict.fromkeys(KEYS), "section_data_set_id": 69289763}
    (right,) = syncs(ask("structure_to_image/71717084.json?structure_ids=22"))
    expected = reference_to_image(demo_records[71717084], [[p, i, r]], beyond="ignore")
    assert_is(right, expected, 71717084)


def test_image_to_atlas(ask, demo_records):
    body = ask("image_to_atlas/69177654.json?x=6384&y=2744&atlas_id=1")
    assert list(body["msg"]) == ["image_sync"]  # one object, no list
    sync = body["msg"]["image_sync"]
    assert list(sync) == KEYS
    assert sync["section_data_set_id"] == ATLAS_SET
    numbers = [image.section_number for image in demo_records[71717084].images][::4]
    assert sync["section_number"] in numbers
    # atlas 1 is the default, as it is the adult's
    assert ask("image_to_atlas/69177654.json?x=6384&y=2744") == body
    failed = ask("image_to_atlas/69177654.json?x=6384&y=2744&atlas_id=2")["msg"]["image_sync"]
    assert failed == {**dict.fromkeys(KEYS), "section_data_set_id": 6}


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("image_to_image/69177654.json?x=1&section_data_set_ids=5", 400, "y is missing"),
        ("image_to_image/69177654.json?x=1&y=1", 400, "section_data_set_ids must be one to"),
        ("image_to_image/69177654.json?x=1&y=1&section_data_set_ids=8", 404, "data set 8"),
        ("image_to_image/8.json?x=1&y=1&section_data_set_ids=5", 404, "section image 8"),
        ("image_to_image/55.json?x=1&y=1&section_data_set_ids=5", 404, "alignment3d"),
        ("image_to_image_2d/69177654.json?x=1&y=1", 400, "section_image_ids must be"),
        ("image_to_image_2d/69177654.json?x=1&y=1&section_image_ids=8", 404, "section image 8"),
        ("structure_to_image/69289763.json", 400, "structure_ids must be"),
        ("structure_to_image/8.json?structure_ids=1", 404, "data set 8"),
        ("image_to_atlas/69177654.json?x=1&y=1&atlas_id=9", 404, "no atlas 9"),
        ("image_to_atlas/69177654.json?x=1&y=1&atlas_id=3", 404, "no data set of atlas 3"),
        ("image_to_atlas/69177654.json?x=1&y=1&atlas_id=a", 400, "whole number"),
    ],
)
def test_bad_questions(ask, path, status, message):
    assert message in ask(path, status)["msg"]


def test_what_an_archive_does_not_hold():
    class Bare(WithAtlas):
        def tables(self):
            return {
                name: super(Bare, self).tables()[name]
                for name in ("SectionDataSet", "SectionImage")
            }

    with httpx.Client(
        transport=httpx.WSGITransport(Application(Bare())), base_url="http://archive"
    ) as client:
        for path, message in (
            ("structure_to_image/69289763.json?structure_ids=22", "no structure centers"),
            ("image_to_atlas/69177654.json?x=1&y=1", "no atlas 1"),
        ):
            answer = client.get(f"/api/v2/{path}")
            assert answer.status_code == 404
            assert message in answer.json()["msg"]


def test_the_demo_centers_are_those_of_its_brain():
    """Recomputed on a coarser grid."""
    import numpy as np

    from atldld.demo import anatomy

    step = 200
    p, i, r = ((np.arange(n) + 0.5) * step for n in (66, 40, 57))
    grid = np.stack(np.meshgrid(p, i, r[r > 5700], indexing="ij"), axis=-1)
    ids = anatomy.structure_id(grid)
    parents = {one.id: one.parent_id for one in anatomy.STRUCTURES}

    def within(structure_id, ancestor):
        while structure_id is not None:
            if structure_id == ancestor:
                return True
            structure_id = parents[structure_id]
        return False

    checked = 0
    for structure_id, center in STRUCTURE_CENTERS.items():
        leaves = [leaf for leaf in parents if within(leaf, structure_id)]
        inside = grid[np.isin(ids, leaves)]
        if len(inside) > 200:
            np.testing.assert_allclose(inside.mean(axis=0), center, atol=80)
            checked += 1
    assert checked > 20
    records = [
        one for one in DemoArchive().tables()["StructureCenter"] if one["structure_id"] == 22
    ]
    assert [(one["reference_space_id"], one["z"]) for one in records] == [(9, 8090), (10, 3310)]
    every = [one["id"] for one in DemoArchive().tables()["StructureCenter"]]
    assert len(set(every)) == len(every)
