"""What the doctor says of a service that is as known, and of one that differs.

The kind of fault: a service that has changed and is found well, one that is well and is blamed,
a diagnosis that breaks off, or that takes more than it may.
"""

import gzip
import re

import httpx
import numpy as np
import pytest

from atldld.doctor import CONTRACT_CHECKS, diagnose
from atldld.doctor.asking import Budget, SpentError
from atldld.fetch.limits import Limits
from atldld.fetch.session import Session
from atldld.settings import Settings
from tests.doctor import altered, record
from tests.doctor.altered import Recorded, session_of, unzipped, zipped

DATASET = r"SectionDataSet,rma::criteria,\[id\$eq69289763\],rma::include"
IMAGES = r"SectionImage,rma::criteria,\[data_set_id\$eq69289763\],rma::include"
PICTURE = r"section_image_download/69177654\?downsample=6$"
GRID = "grid_data/download/69289763"
GRAPH = "structure_graph_download"
TEMPLATE = "average_template_100"


@pytest.fixture(scope="module")
def recorded():
    return Recorded()


@pytest.fixture
def examine(recorded, tmp_path):
    def found(changes=None, **options):
        with session_of(recorded, tmp_path / "cache", changes) as session:
            return diagnose(session=session, **options)

    return found


def bad(diagnosis):
    return {one.name: one for one in diagnosis.checks if one.status in ("differs", "fails")}


def test_the_demo_server_is_well(demo_server, tmp_path):
    """Over a real socket, within the bytes that it may take."""
    settings = Settings(api_url=demo_server, download_url=demo_server, cache_dir=tmp_path)
    # as patiently as a busy machine needs
    with Session(settings, limits=Limits(read=600)) as session:
        found = diagnose(session=session, longest=600, patience=600)
    print(f"{found.bytes} bytes, {found.seconds:.1f} s, {len(found.checks)} checks")
    assert not bad(found), bad(found)
    assert found.synthetic
    assert found.bytes < 2_000_000
    skipped = {one.name for one in found.checks if one.status == "skipped"}
    assert skipped == {
        # what a made-up archive has not, or what is not its own
        "cache.locks", "archive.annotation", "archive.grid_annotation", "volume_sizes", "flip",
        "bucket.record", "bucket.slide",
    }  # fmt: skip
    assert {one.name for one in found.checks} >= {*CONTRACT_CHECKS, "rate_limit", "api.connection"}


def test_recorded_answers_are_well(examine):
    found = examine()
    assert not bad(found)
    assert found.healthy


# ---- a service that differs


def row(*keys, value=None, drop=False, rename=None):
    """Change a value of the first row of an answer."""

    def change(answer):
        document = answer.json
        at = document["msg"][0]
        for key in keys[:-1]:
            at = at[key]
        old = at.pop(keys[-1])
        if rename:
            at[rename] = old
        elif not drop:
            at[keys[-1]] = value
        answer.json = document

    return change


def whole(change):
    def changed(answer):
        document = answer.json
        answer.json = change(document) or document

    return changed


def rows(change):
    return whole(lambda document: document.update(msg=change(document["msg"])))


def status(number, body=b"<html>Maintenance</html>"):
    def change(answer):
        answer.status, answer.body = number, body
        answer.headers["content-type"] = "text/html"

    return change


def pixels(change):
    def changed(answer):
        if answer.status == 200:
            answer.pixels = change(answer.pixels)

    return changed


def body(change):
    def changed(answer):
        answer.body = change(answer.body)

    return changed


def member(name, change):
    def changed(content):
        members = unzipped(content)
        new = change(members.pop(name))
        return zipped(members if new is None else {**members, name: new})

    return body(changed)


def header(name, value):
    return lambda answer: answer.headers.update({name: value})


def packed(answer):
    answer.body = gzip.compress(answer.body)
    answer.headers["content-encoding"] = "gzip"


def moved(axis, by):
    def change(document):
        msg = document["msg"]
        at = msg[0]["image_sync"] if isinstance(msg, list) else next(iter(msg.values()))
        at[axis] += by

    return whole(change)


def voxel(content):
    values = np.frombuffer(content, "<f4").copy()
    values[values > 0] *= 1.01
    return values.tobytes()


# What is changed, and each check that must say so, with words that it must use. All others pass.
CASES = {
    "a matrix": ({DATASET: row("alignment3d", "tvr_00", value=1.06)},
                 {"rma.dataset": r"tvr_00 is 1.06 instead of 1.0283"}),
    "a renamed field": ({DATASET: row("section_thickness", rename="thickness")},
                        {"rma.dataset": r"section_thickness is missing \(thickness has its value"}),
    "a number as text": ({DATASET: row("section_thickness", value="25.0")},
                         {"rma.dataset": 'section_thickness is the text "25.0" instead of'}),
    "a list as object": ({DATASET: row("genes", value={"acronym": "Prox1"})},
                         {"rma.dataset": "genes is .* instead of a list"}),
    "no alignment": ({DATASET: row("alignment3d", value=None)},
                     {"rma.dataset": "alignment3d is null null instead of an object|alignment3d"}),
    "another plane": ({DATASET: row("plane_of_section_id", value=1)},
                      {"rma.dataset": "plane_of_section_id is 1 instead of 2"}),
    "no rows": ({DATASET: rows(lambda _: [])}, {"rma.dataset": "no row for section data set"}),
    "an object for rows": ({DATASET: rows(lambda msg: msg[0])},
                           {"rma.dataset": "instead of a list of rows"}),
    "refused": ({DATASET: whole(lambda _: {"success": False, "msg": "no such model"})},
                {"rma.dataset": "refused.*no such model"}),
    "a page of maintenance": ({DATASET: status(503)}, {"rma.dataset": "status 503"}),
    "a login page": ({DATASET: status(200)}, {"rma.dataset": "no envelope"}),
    "rows unordered": ({IMAGES: rows(lambda msg: [*msg[5:], *msg[:5]])},
                       {"rma.images": "not sorted by sub_images.id"}),
    "a row fewer": ({IMAGES: rows(lambda msg: msg[1:])},
                    {"rma.images": r"without 1 of 18 ids \(69177634\)"}),
    "a row more": ({IMAGES: rows(lambda msg: [*msg, {**msg[-1], "id": 99999999}])},
                   {"rma.images": "with 1 ids more"}),
    "a null row": ({IMAGES: rows(lambda msg: [*msg[:-1], None])},
                   {"rma.images": "not all objects: one is null"}),
    "another count": ({IMAGES: whole(lambda d: d.update(total_rows=17))},
                      {"rma.images": "total_rows is 17 instead of 18"}),
    "a size": ({IMAGES: row("width", value=8930)}, {"rma.images": "width is 8930 instead of 8929"}),
    "pages from elsewhere": ({r"start_row\$eq5.*num_rows\$eq5": rows(lambda msg: msg[::-1])},
                             {"rma.paging": "page from 5 is not sorted"}),
    "order ignored": ({r"order\$eq'sub_images.section_number'\]$": rows(lambda m: m[::-1])},
                      {"rma.order": "not sorted by sub_images.section_number"}),
    "columns that were not asked for": (
        {r"only\$eq'sub_images.id,sub_images.data": rows(lambda m: [{**r, "x": 0} for r in m])},
        {"rma.only": "more columns than were asked for: x"}),
    "a filter ignored": ({r"id\$gt": rows(lambda m: [*m, {**m[0], "id": 69177634}])},
                         {"rma.only": "instead of 8"}),
    "$in ignored": ({r"id\$in69289763,71717084": rows(lambda m: m[:1])},
                    {"rma.in": "brings 1 rows"}),
    "an unknown id is an error": ({"999999999999": status(404)}, {"rma.empty": "status 404"}),
    "data sets are gone": (
        {r"SectionDataSet,rma::options": whole(lambda d: d.update(total_rows=0))},
        {"rma.total": "total_rows is 0 instead of 1 to 1000"}),
    "another gene": ({r"Gene,rma::criteria,\[acronym\$eq": row("entrez_id", value=5)},
                     {"rma.gene": "entrez_id is 5 instead of 19130"}),
    "capitals count": ({r"\$il": rows(lambda _: [])}, {"rma.like": "brings no Prox1"}),
    "a structure": ({r"Structure,rma::criteria": row("acronym", value="XX")},
                    {"rma.structure": 'acronym is "XX" instead of "DG"'}),
    "another meaning": ({"StructureUnionize": row("expression_density", value=0.99)},
                        {"rma.unionize": "expression_density is 0.99 instead of"}),
    "centres in mm": ({"StructureCenter": row("x", value="7.34")},
                      {"rma.centres": "x is text \"7.34\" instead of a number"}),
    "a mirrored picture": ({PICTURE: pixels(lambda p: p[:, ::-1])},
                           {"image": "mirrored left to right"}),
    "an upturned picture": ({PICTURE: pixels(lambda p: p[::-1])}, {"image": "upside down"}),
    "a picture of another size": ({PICTURE: pixels(lambda p: p[:-1])},
                                  {"image": "height is 117 instead of 118"}),
    "a grey picture": ({PICTURE: pixels(lambda p: p * 0 + 128)}, {"image": "another picture"}),
    "a torn picture": ({PICTURE: body(lambda b: b[: len(b) // 2])}, {"image": "no whole JPEG"}),
    "a PNG": ({PICTURE: body(lambda b: b"\x89PNG\r\n\x1a\n" + b)}, {"image": "no whole JPEG"}),
    "another type": ({PICTURE: header("content-type", "text/plain")},
                     {"image": "content-type is \"text/plain\""}),
    "compressed": ({PICTURE: packed}, {"image": "compressed"}),
    "half a micrometre": ({"image_to_reference": moved("x", 0.5)},
                          {"sync.image_to_reference": "image_to_reference.x is"}),
    "half a pixel": ({"reference_to_image/10.json.*x=8052": moved("y", 0.5)},
                     {"sync.reference_to_image": "y is"}),
    "no flip": ({"image_to_image/": moved("x", 500)}, {"sync.image_to_image": "x is"}),
    "an object for a list": ({"image_to_image_2d/": whole(lambda d: d.update(msg=d["msg"][0]))},
                             {"sync.image_to_image_2d": "object .* instead of a list"}),
    "a list for an object": ({"image_to_atlas": whole(lambda d: d.update(msg=[d["msg"]]))},
                             {"sync.image_to_atlas": "list .* instead of an object"}),
    "voxels of 100 µm": (
        {GRID: member("energy.mhd", lambda b: b.replace(b"200 200 200", b"1 1 1"))},
                         {"grid": 'ElementSpacing is "1 1 1" instead of "200 200 200"'}),
    "other voxels": ({GRID: member("energy.raw", voxel)}, {"grid": "energy.sum is"}),
    "no voxels": ({GRID: member("energy.raw", lambda _: None)}, {"grid": "energy.raw is missing"}),
    "no ZIP": ({GRID: body(lambda _: b"not a zip")}, {"grid": "sent no ZIP"}),
    "a structure fewer": ({GRAPH: rows(lambda m: [{**m[0], "children": m[0]["children"][1:]}])},
                          {"graph": "structures is .* instead of 34"}),
    "no structures": ({GRAPH: rows(lambda _: [{"id": "x"}])}, {"graph": "no structure graph"}),
    "a drawing cut off": ({"svg_download": body(lambda b: b[:5000])}, {"plate": "no whole SVG"}),
    "another template": ({TEMPLATE: body(lambda b: b.replace(b"sizes: 132", b"sizes: 133", 1))},
                         {"archive.template": "sizes is"}),
    "no NRRD": ({TEMPLATE: body(lambda b: b"PK" + b)}, {"archive.template": "no NRRD"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_differs_is_said(case, examine):
    changes, wanted = CASES[case]
    found = bad(examine(changes))
    assert set(found) == set(wanted), {name: one.found for name, one in found.items()}
    for name, words in wanted.items():
        assert re.search(words, found[name].found), found[name].found
        assert found[name].remedy
        if found[name].status == "differs":
            assert found[name].differences


def test_genuine_numbers_are_not_those_of_the_demo(examine):
    """A service that says nothing of being made up must have the genuine pixels and structures."""

    def genuine(answer):
        answer.body = answer.body.replace(b'"synthetic":true', b'"synthetic":false')
        answer.body = answer.body.replace(b'"synthetic": true', b'"synthetic": false')

    found = bad(examine({"data/query": genuine}))
    assert set(found) >= {"image", "grid", "graph", "rma.plates", "rma.total"}
    assert "another picture" in found["image"].found
    assert "instead of 1327" in found["graph"].found


def test_everything_strange_at_once(examine):
    """Whatever comes, there is a finding for each check, and no traceback."""
    for strange in (b"", b"null", b"[]", b'{"success": true, "msg": null}', b"\xff" * 100,
                    b'{"success": true, "msg": [1, null, "x", [], {}]}', b"[" * 5000,
                    b'{"success": true, "msg": {"a": {"b": NaN}}}'):  # fmt: skip
        found = examine({"": body(lambda _, content=strange: content)})
        assert len(found.checks) > len(CONTRACT_CHECKS)
        assert not found.healthy
        broken = [one for one in found.checks if "breaks the check itself" in one.found]
        assert not broken, (strange[:40], broken)


# ---- what it may take


def test_never_more_bytes_than_it_may_take(tmp_path):
    flood = httpx.MockTransport(
        lambda _: httpx.Response(200, stream=httpx.ByteStream(b"x" * 300_000))
    )
    settings = Settings(api_url=altered.URL, download_url=altered.URL, cache_dir=tmp_path)
    with Session(settings, transport=flood) as session:
        found = diagnose(session=session)
    print(found.bytes)
    assert found.bytes < 2_000_000 + 4 * 300_000  # one last part of each of four at once
    assert [one for one in found.checks if "bytes for all checks are spent" in one.found]


def test_a_flood_in_small_parts(tmp_path):
    def flood(_):
        def parts():
            for _ in range(10_000):
                yield b"x" * 10_000

        return httpx.Response(200, stream=Parts(parts()))

    class Parts(httpx.SyncByteStream):
        def __init__(self, parts):
            self._parts = parts

        def __iter__(self):
            return self._parts

    settings = Settings(api_url=altered.URL, download_url=altered.URL, cache_dir=tmp_path)
    with Session(settings, transport=httpx.MockTransport(flood)) as session:
        found = diagnose(session=session)
    assert found.bytes < 2_000_000


def test_nothing_is_asked_when_the_time_is_over(examine):
    found = examine(longest=0)
    asked = [one for one in found.checks if one.name in CONTRACT_CHECKS]
    assert {one.status for one in asked} == {"skipped"}
    assert found.bytes == 0


def test_a_budget_is_for_all_threads():
    budget = Budget(largest=100, longest=100)
    budget.take(100)
    with pytest.raises(SpentError):
        budget.check()
    with pytest.raises(SpentError):
        budget.take(1)


# ---- where the numbers come from


def test_the_known_numbers_are_the_recorded_ones(shared):
    assert record.TARGET.read_text("utf-8") == record.text()
