from xml.etree import ElementTree

import httpx
import numpy as np
import pytest

from atldld.atlas.plates import choose_plates, copy_plate, fetch_plate, list_plates
from atldld.demo import anatomy
from atldld.demo.local import in_process_session
from atldld.errors import AnswerError, InvalidInputError, NotFoundError, OfflineError
from atldld.fetch.jpeg import decode
from atldld.fetch.limits import Limits
from atldld.fetch.session import Session
from atldld.place import Placement, image_to_atlas
from atldld.records import SectionDataSet
from atldld.serve.stored import StoredArchive
from atldld.settings import Settings

CENTRE = 990000002


@pytest.fixture(scope="module")
def plates(demo_session):
    return list_plates(demo_session)


@pytest.fixture(scope="module")
def plate(plates):
    return choose_plates(plates, [str(CENTRE)])[0]


def test_they_are_listed_by_section_number(plates):
    assert [one.image.section_number for one in plates] == [180, 288, 440]
    assert [one.atlas_id for one in plates] == [1, 1, 1]
    with pytest.raises(InvalidInputError, match="'5' is not the id"):
        choose_plates(plates, ["5"])
    assert choose_plates(plates, None) == list(plates)


def test_the_query_is_the_documented_one(demo_session, plates):
    asked = [
        demo_session.cache.read_document("queries", name)["query"]
        for name in demo_session.cache.document_names("queries")
    ]
    assert (
        "model::AtlasImage,rma::criteria,[annotated$eqtrue],atlas_data_set(atlases[id$eq1]),"
        "rma::include,alignment2d,rma::options[order$eq'sub_images.section_number']" in asked
    )


def test_an_atlas_without_plates(demo_session):
    with pytest.raises(NotFoundError, match="Atlas 7 has no annotated plates"):
        list_plates(demo_session, 7)
    with pytest.raises(InvalidInputError, match="positive whole numbers"):
        list_plates(demo_session, "coronal")


def test_the_drawing_names_the_structures_that_are_there(demo_session, plate):
    """Truth: the procedural brain at points of the plate."""
    import cv2

    picture, drawing = fetch_plate(demo_session, plate)
    assert decode(picture.path).shape == (1000, 1400, 3)
    root = ElementTree.parse(drawing.path).getroot()
    paths = root.findall(".//{http://www.w3.org/2000/svg}path")
    found = {int(path.attrib["structure_id"]) for path in paths}
    assert {22, 31, 12} <= found
    (path,) = [one for one in paths if one.get("structure_id") == "31"]
    drawn = np.zeros((1000, 1400), np.uint8)
    rings = [
        np.array([xy.split(",") for xy in ring.strip("Z").split()], float) - 0.5
        for ring in path.attrib["d"].split("M")[1:]
    ]
    cv2.fillPoly(drawn, [np.rint(ring).astype(np.int32) for ring in rings], 1)
    y, x = np.indices(drawn.shape)[:, ::7, ::7]
    pir = np.stack((np.full(x.shape, 7200.0), -0.0 + y * 8.0, 100.0 + x * 8.0), -1)
    truth = anatomy.structure_id(pir) == 31
    assert (drawn[::7, ::7].astype(bool) == truth).mean() > 0.99


def test_pictures_are_verified_and_kept(demo_session, plate):
    first = fetch_plate(demo_session, plate, 2, annotation=True)
    sent = demo_session.client.requests_sent
    assert fetch_plate(demo_session, plate, 2, annotation=True) == first
    assert demo_session.client.requests_sent == sent
    coloured = decode(first[0].path)
    plain = decode(fetch_plate(demo_session, plate, 2)[0].path)
    assert coloured.shape == plain.shape == (250, 350, 3)
    assert np.abs(coloured.astype(int) - plain).mean() > 20
    with pytest.raises(InvalidInputError, match="tiers 0 to"):
        fetch_plate(demo_session, plate, 9)


@pytest.mark.parametrize("body", [b"<html>sorry</html>", b"<svg", b""])
def test_what_is_no_drawing_is_refused(tmp_path, demo_session, plate, body):
    jpeg = fetch_plate(demo_session, plate)[0].path.read_bytes()

    def answer(request):
        return httpx.Response(200, content=body if "svg" in request.url.path else jpeg)

    session = Session(
        Settings(cache_dir=tmp_path),
        limits=Limits(attempts=1),
        transport=httpx.MockTransport(answer),
    )
    with pytest.raises(AnswerError, match=r"no drawing|no SVG"):
        fetch_plate(session, plate)
    assert session.find_file(f"api/v2/svg_download/{CENTRE}.svg") is None


def test_offline(tmp_path, plate):
    session = Session(Settings(cache_dir=tmp_path, offline=True))
    with pytest.raises(OfflineError, match="atldld atlas plates"):
        fetch_plate(session, plate)


def test_copies(tmp_path, demo_session, plate):
    written = copy_plate(demo_session, plate, tmp_path / "new", downsample=3)
    assert [path.name for path in written] == [f"{CENTRE}.jpg", f"{CENTRE}.svg"]
    assert decode(written[0]).shape == (125, 175, 3)


def test_what_is_held_can_be_served(tmp_path, demo_session, plate):
    first = fetch_plate(demo_session, plate, 1)
    with in_process_session(tmp_path, StoredArchive(demo_session.cache.root)) as session:
        again = fetch_plate(session, plate, 1)
        assert [one.sha256 for one in again] == [one.sha256 for one in first]


def test_points_are_found_on_the_plates(demo_session, plates):
    """The plates' own alignment: a pixel's place is what the plate shows there."""
    tables = demo_session.query("AtlasDataSet", {"id": 100048576}, ("alignment3d",))
    atlas = SectionDataSet.from_records(tables[0], [])
    for one in plates:
        placement = Placement.of(atlas, one.image)
        p = placement.to_reference([(700, 500)])[0]
        np.testing.assert_allclose(p, (one.image.section_number * 25, 4000, 5700))
    dataset = demo_session.dataset(71717084)
    found = image_to_atlas(
        dataset, dataset.images[50].id, [(4000, 3000)], atlas, [one.image for one in plates],
        beyond="ignore",
    )  # fmt: skip
    assert found.image_ids[0] in {one.id for one in plates}
