from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, run_wsgi_app

from atldld.serve.app import ENDPOINTS, Application
from atldld.serve.archive import Archive

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
genuine = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the genuine records are not beside the project"
)

DATA_SET = 10
SAGITTAL = 30
UNALIGNED = 20
IMAGE = 101
ON_SLIDE = 102


def _numbers(name: str, values: list[float]) -> dict[str, float]:
    return {f"{name}_{k:02d}": value for k, value in enumerate(values)}


# Volume = 2 · pixel + (10, 20); reference = the volume with its axes turned, plus (1, 2, 3).
def _both_ways(there: str, back: str, values: list[float]) -> dict[str, float]:
    """An alignment's numbers: those of one way, and of the way back."""
    size = 2 if len(values) == 6 else 3
    linear = np.linalg.inv(np.reshape(values[: size * size], (size, size)))
    shift = -linear @ values[size * size :]
    return {
        "id": 1,
        **_numbers(there, values),
        **_numbers(back, [*linear.ravel().tolist(), *shift.tolist()]),
    }


ALIGNMENT_2D = {
    "id": 1,
    **_numbers("tsv", [2, 0, 0, 2, 10, 20]),
    **_numbers("tvs", [0.5, 0, 0, 0.5, -5, -10]),
}
ALIGNMENT_3D = {
    "id": 2,
    **_numbers("tvr", [0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 2, 3]),
    **_numbers("trv", [0, 0, 1, 0, 1, 0, 1, 0, 0, -3, -2, -1]),
}


def data_set(number: int, **columns: Any) -> dict[str, Any]:
    return {
        "id": number,
        "failed": False,
        "reference_space_id": 9,
        "section_thickness": 25.0,
        "plane_of_section_id": 1,
        "genes": [{"id": 1, "acronym": "Prox1"}],
        "alignment3d": ALIGNMENT_3D,
        **columns,
    }


def section_image(number: int, section_number: int, **columns: Any) -> dict[str, Any]:
    return {
        "id": number,
        "data_set_id": DATA_SET,
        "section_number": section_number,
        "width": 1001,
        "height": 602,
        "x": 0,
        "y": 0,
        "tier_count": 3,
        "expression_path": "/somewhere.aff",
        "failed": False,
        "alignment2d": ALIGNMENT_2D,
        **columns,
    }


class Shelf(Archive):
    """A source of invented records, whose images tell how they were asked for."""

    synthetic = True

    def __init__(self) -> None:
        self.missing: set[int] = set()
        self.records = {
            "SectionDataSet": [
                data_set(DATA_SET),
                data_set(SAGITTAL, reference_space_id=10, plane_of_section_id=2),
                data_set(UNALIGNED, alignment3d=None),
                data_set(40, reference_space_id=4),
                data_set(50),
            ],
            "SectionImage": [
                section_image(103, 8),
                section_image(IMAGE, 4),
                section_image(ON_SLIDE, 12, x=3248, y=20688, expression_path=None),
                section_image(104, 9, alignment2d=None),
                section_image(301, 4, data_set_id=SAGITTAL),
                section_image(201, 4, data_set_id=UNALIGNED),
                section_image(401, 4, data_set_id=40),
            ],
        }

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        return self.records

    def image(
        self,
        image_id: int,
        downsample: int,
        view: str,
        *,
        quality: int,
        region: tuple[int, int, int, int] | None,
    ) -> bytes | None:
        if image_id in self.missing:
            return None
        return json.dumps([image_id, downsample, view, quality, region]).encode()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def client(shelf: Shelf) -> Iterator[httpx.Client]:
    with _client(Application(shelf)) as client:
        yield client


def _client(application: Application) -> httpx.Client:
    transport = httpx.WSGITransport(app=application)
    return httpx.Client(transport=transport, base_url="http://archive")


def refused(response: httpx.Response, status: int) -> str:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert (body["success"], body["num_rows"], body["total_rows"]) == (False, 0, 0)
    message = body["msg"]
    assert isinstance(message, str)
    return message


def rows(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    body = response.json()
    assert list(body) == ["success", "id", "start_row", "num_rows", "total_rows", "msg"]
    assert body["success"] is True
    found: list[dict[str, Any]] = body["msg"]
    return found


# ---- what is served


def test_index(client: httpx.Client) -> None:
    assert client.get("/").json() == {
        "section_data_sets": [10, 30, 20, 40, 50],
        "section_images": 7,
        "endpoints": list(ENDPOINTS),
        "synthetic": True,
    }


def test_index_of_a_source_that_does_not_say_whether_it_is_synthetic() -> None:
    class Plain(Shelf):
        synthetic = None  # type: ignore[assignment]

    assert "synthetic" not in _client(Application(Plain())).get("/").json()


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/nothing",
        "/api/v2/data",
        "/api/v2/data/SectionDataSet/10/genes",
        "/api/v2/data/SectionDataSet/ten.json",
        "/api/v2/image_to_reference/101.xml",
        "/api/v2/section_image_download/101.png",
        "/api/v2/section_image_download/" + "9" * 5000,
        "/api/v2/section_image_download/../../../etc/passwd",
        "/api/v2/section_image_download/%2e%2e%2fetc%2fpasswd",
        "/api//v2/data/query.json",
        "/api/v2/data/query/",
    ],
)
def test_other_paths_are_told_what_there_is(client: httpx.Client, path: str) -> None:
    message = refused(client.get(f"http://archive{path}"), 404)
    for endpoint in ENDPOINTS:
        assert endpoint in message


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_the_archive_is_read_only(client: httpx.Client, method: str) -> None:
    response = client.request(method, "/api/v2/data/query.json")
    assert "read-only" in refused(response, 405)
    assert response.headers["allow"] == "GET, HEAD"


def test_long_urls_and_many_parameters_are_refused(client: httpx.Client) -> None:
    url = "/api/v2/data/query.json?criteria="
    assert "16384" in refused(client.get(url + "x" * 16_384), 414)
    assert "100 parameters" in refused(client.get("/?" + "&".join(["a=1"] * 101)), 400)


def test_an_unexpected_failure_keeps_its_details_in_the_log(
    shelf: Shelf, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.records = {"SectionDataSet": [{"no": "id"}], "SectionImage": []}
    with caplog.at_level(logging.ERROR):
        response = client.get("/")
    assert refused(response, 500) == "the archive failed; its log says how"
    assert "KeyError" in caplog.text


# ---- RMA


@pytest.mark.parametrize(
    "url",
    [
        "data/query.json?criteria=model::SectionDataSet,rma::criteria,[id$eq10]",
        "data/query?criteria=model::SectionDataSet[id$eq10]",
        "data/query.json?q=model::SectionDataSet,rma::criteria,[id$eq10]",
        "data/query.json?criteria=model::SectionDataSet&order=id&num_rows=1",
        "data/query.json?criteria=" + quote("model::DataSet[id$eq10]", safe=""),
        "data/SectionDataSet/query.json?criteria=[id$eq10],genes[acronym$eq'Prox1']",
        "data/SectionDataSet/query.json?order=id+desc&start_row=4",
        "data/SectionDataSet/query.json?id=10",
        "data/SectionDataSet/query.json?id=10&failed=false&numRows=0&startRow=5",
        "data/SectionDataSet/10.json",
        "data/SectionDataSet/10",
    ],
)
def test_forms_of_a_query(client: httpx.Client, url: str) -> None:
    found = rows(client.get(f"/api/v2/{url}"))
    assert found == [
        {
            "id": 10,
            "failed": False,
            "reference_space_id": 9,
            "section_thickness": 25.0,
            "plane_of_section_id": 1,
        }
    ]


def test_options_of_the_url(client: httpx.Client) -> None:
    url = "/api/v2/data/SectionImage/query.json?criteria=[data_set_id$eq10]"
    body = client.get(
        url + "&include=alignment2d,data_set(genes)&only='id','genes.acronym'"
        "&order='sub_images.section_number'&num_rows=2&start_row=1"
    ).json()
    assert (body["start_row"], body["num_rows"], body["total_rows"]) == (1, 2, 4)
    assert [row["id"] for row in body["msg"]] == [103, 104]
    assert body["msg"][0]["alignment2d"] == ALIGNMENT_2D
    assert body["msg"][0]["data_set"]["genes"] == [{"acronym": "Prox1"}]
    flat = client.get(url + "&include=data_set&tabular='sub_images.id','data_sets.failed+as+f'")
    assert rows(flat)[0] == {"id": 103, "f": False}


def test_one_record_with_its_associations(client: httpx.Client) -> None:
    (row,) = rows(client.get("/api/v2/data/SectionDataSet/10.json?include=section_images"))
    assert [image["id"] for image in row["section_images"]] == [103, 101, 102, 104]


def test_an_unknown_id_is_an_empty_answer(client: httpx.Client) -> None:
    assert rows(client.get("/api/v2/data/SectionDataSet/11.json")) == []


def test_the_row_cap(shelf: Shelf) -> None:
    client = _client(Application(shelf, row_cap=2))
    body = client.get("/api/v2/data/SectionImage/query.json?num_rows=all").json()
    assert (len(body["msg"]), body["num_rows"], body["total_rows"]) == (2, 2, 7)


def test_csv(client: httpx.Client) -> None:
    url = "/api/v2/data/SectionDataSet/query.csv?num_rows=2&include=genes"
    response = client.get(url + "&only=id,failed")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.text == "id,failed\n10,false\n30,false\n"
    assert client.get(url + "&tabular=id,genes.acronym").text == "id,acronym\n10,Prox1\n30,Prox1\n"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data/query.json", "criteria is missing"),
        ("data/query.json?criteria=SectionDataSet", "expected 'model::' at the start"),
        ("data/query.xml?criteria=model::SectionDataSet", "'xml' is not offered"),
        ("data/SectionDataSet/query.json?criteria=[id$eq", "expected a value at position 6"),
        ("data/SectionDataSet/query.json?num_rows=many", "a whole number for num_rows"),
        ("data/Gene/query.json", "no model 'Gene' here; there are: SectionDataSet, SectionImage"),
        ("data/Gene/5.json", "no model 'Gene' here"),
    ],
)
def test_bad_queries(client: httpx.Client, url: str, message: str) -> None:
    assert message in refused(client.get(f"/api/v2/{url}"), 400)


# ---- images


@pytest.mark.parametrize("call", ["section_image_download", "image_download"])
@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        ("101", [101, 0, "image", 100, None]),
        ("101.jpg?downsample=2&quality=80", [101, 2, "image", 80, None]),
        ("101?view=expression", [101, 0, "expression", 100, None]),
        ("101?expression=true", [101, 0, "expression", 100, None]),
        ("101?expression=false", [101, 0, "image", 100, None]),
        ("101?left=0&top=0&width=1001&height=602", [101, 0, "image", 100, None]),
        ("101?downsample=1&width=500&height=301", [101, 1, "image", 100, None]),
        ("101?left=8&top=20&width=3&height=4", [101, 0, "image", 100, [8, 20, 3, 4]]),
        # The corner is in pixels of the whole slide at full resolution, the size is the tier's.
        (
            "102?downsample=2&left=3256&top=20700&width=3&height=4",
            [102, 2, "image", 100, [2, 3, 3, 4]],
        ),
        ("102?downsample=2&width=3&height=4", [102, 2, "image", 100, [0, 0, 3, 4]]),
        (
            "102?downsample=2&left=4244&width=1&height=1",
            [102, 2, "image", 100, [249, 0, 1, 1]],
        ),
    ],
)
def test_image_downloads(client: httpx.Client, call: str, request_: str, asked: list[Any]) -> None:
    response = client.get(f"/api/v2/{call}/{request_}")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/jpeg"
    assert int(response.headers["content-length"]) == len(response.content)
    assert response.json() == asked


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("101?downsample=3", "has the tiers 0 to 2"),
        ("101?downsample=-1", "has the tiers 0 to 2"),
        ("101?downsample=1.5", "must be a whole number"),
        ("101?downsample=", "must be a whole number"),
        ("101?downsample=" + "9" * 5000, "must be a whole number"),
        ("101?downsample=%D9%A1", "must be a whole number"),
        ("101?quality=101", "from 0 to 100"),
        ("101?view=projection", "view=expression"),
        ("101?expression=maybe", "view=expression"),
        ("101?colormap=0", "not offered: colormap"),
        ("101?left=1", "not inside section image 101, whose box is 1001 × 602 pixels at (0, 0)"),
        ("101?top=1", "not inside"),
        ("101?width=1002", "not inside"),
        ("101?width=0", "not inside"),
        ("101?height=-4", "not inside"),
        ("101?downsample=1&width=501", "500 × 301 at downsample 1"),
        ("102?left=0&top=0&width=3&height=4", "at (3248, 20688) of the slide"),
        ("102?downsample=2&left=3247&width=3&height=4", "not inside"),
        ("102?downsample=2&left=4248&width=1&height=1", "not inside"),
    ],
)
def test_bad_image_requests(client: httpx.Client, request_: str, message: str) -> None:
    assert message in refused(client.get(f"/api/v2/image_download/{request_}"), 400)


def test_images_that_there_are_not(client: httpx.Client, shelf: Shelf) -> None:
    shelf.missing.add(101)
    for request_, message in (
        ("999", "holds no section image 999"),
        ("102?view=expression", "102 has no expression mask"),
        ("101?downsample=2", "does not hold section image 101 at downsample 2"),
        ("101?view=expression", "does not hold the expression mask of section image 101"),
    ):
        assert message in refused(client.get(f"/api/v2/image_download/{request_}"), 404)


def test_head_and_etag(client: httpx.Client) -> None:
    url = "/api/v2/section_image_download/101"
    whole = client.get(url)
    head = client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag"):
        assert head.headers[name] == whole.headers[name]
    assert whole.headers["etag"].startswith('"')
    assert client.get(url + "?downsample=1").headers["etag"] != whole.headers["etag"]
    again = client.get(url, headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


# ---- synchronisation


def test_image_to_reference(client: httpx.Client) -> None:
    body = client.get("/api/v2/image_to_reference/101.json?x=100&y=-50.5").json()
    # Volume (2·100 + 10, 2·-50.5 + 20, 4·25) with its axes turned, plus (1, 2, 3).
    assert body == {
        "success": True,
        "id": 0,
        "start_row": 0,
        "num_rows": 1,
        "total_rows": 1,
        "msg": {"image_to_reference": {"x": 101.0, "y": -79.0, "z": 213.0}},
    }


def sync(client: httpx.Client, space: int, point: str, ids: str) -> list[dict[str, Any]]:
    x, y, z = point.split(",")
    url = f"/api/v2/reference_to_image/{space}.json?x={x}&y={y}&z={z}&section_data_set_ids={ids}"
    found = rows(client.get(url))
    assert all(list(one) == ["image_sync"] for one in found)
    return [one["image_sync"] for one in found]


@pytest.mark.parametrize(
    ("p", "image_id", "section_number"),
    [
        ("101", 101, 4),
        ("150", 101, 4),
        # Half-way between two sections, the smaller number.
        ("151", 101, 4),
        ("152", 103, 8),
        # Section 9 has no alignment and cannot answer.
        ("226", 103, 8),
        ("280", 102, 12),
        # Beyond the ends, the outermost section.
        ("-9000", 101, 4),
        ("9e3", 102, 12),
    ],
)
def test_reference_to_image_chooses_the_nearest_section(
    client: httpx.Client, p: str, image_id: int, section_number: int
) -> None:
    assert sync(client, 9, f"{p},-79,213", "10") == [
        {
            "section_data_set_id": 10,
            "section_image_id": image_id,
            "section_number": section_number,
            "x": 100.0,
            "y": -50.5,
        }
    ]


def test_targets_that_fail_stay_in_the_list(client: httpx.Client) -> None:
    found = sync(client, 9, "101,-79,213", "20,10,50,40")
    assert [one["section_data_set_id"] for one in found] == [20, 10, 50, 40]
    # No alignment of the data set; no images; a space that has no mirror image.
    assert [one["section_image_id"] for one in found] == [None, 101, None, None]
    assert found[0] == {
        "section_data_set_id": 20,
        "section_image_id": None,
        "section_number": None,
        "x": None,
        "y": None,
    }


def test_the_other_space_is_mirrored(client: httpx.Client) -> None:
    (own,) = sync(client, 10, "101,-79,213", "30")
    (other,) = sync(client, 9, f"101,-79,{11400 - 213}", "30")
    assert own == other
    assert own["x"] == 100
    assert sync(client, 10, f"101,-79,{11400 - 213}", "10")[0]["x"] == 100


@pytest.mark.parametrize(
    ("url", "status", "message"),
    [
        ("image_to_reference/101.json?x=3", 400, "parameter y is missing"),
        ("image_to_reference/101.json?x=nan&y=3", 400, "x is 'nan', but must be a number"),
        ("image_to_reference/101.json?x=1e99&y=3", 400, "within ±1e+09"),
        ("image_to_reference/999.json?x=3&y=3", 404, "holds no section image 999"),
        ("image_to_reference/104.json?x=3&y=3", 404, "Section image 104 has no alignment2d"),
        ("image_to_reference/201.json?x=3&y=3", 404, "data set 20 has no usable alignment3d"),
        ("reference_to_image/9.json?x=3&y=3&section_data_set_ids=10", 400, "z is missing"),
        ("reference_to_image/9.json?x=3&y=3&z=3", 400, "section_data_set_ids must be one to 100"),
        ("reference_to_image/9.json?x=3&y=3&z=3&section_data_set_ids=1,", 400, "whole numbers"),
        ("reference_to_image/9.json?x=3&y=3&z=3&section_data_set_ids=11", 404, "data set 11"),
        ("reference_to_image/0.json?x=3&y=3&z=3&section_data_set_ids=10", 404, "space 0"),
    ],
)
def test_bad_synchronisation(client: httpx.Client, url: str, status: int, message: str) -> None:
    assert message in refused(client.get(f"/api/v2/{url}"), status)


# ---- genuine records


class Genuine(Shelf):
    def __init__(self) -> None:
        self.missing = set()
        self.records = {"SectionDataSet": [], "SectionImage": []}
        for number in (69289763, 71717084, 74272479):
            found = json.loads((SHARED / "datasets" / f"{number}.json").read_text())
            self.records["SectionDataSet"].append(found["section_data_set"])
            self.records["SectionImage"] += found["section_images"]


@genuine
def test_genuine_records() -> None:
    client = _client(Application(Genuine()))
    msg = client.get("/api/v2/image_to_reference/69177654.json?x=6384&y=2744").json()["msg"]
    point = msg["image_to_reference"]
    assert [round(point[axis]) for axis in "xyz"] == [8052, 2890, 3346]
    place = f"{point['x']},{point['y']},{point['z']}"
    (back,) = sync(client, 10, place, "69289763")
    assert (back["section_image_id"], back["section_number"]) == (69177654, 70)
    # The stored matrices have six digits.
    assert back["x"] == pytest.approx(6384, abs=0.1)
    assert back["y"] == pytest.approx(2744, abs=0.1)
    both = sync(client, 9, place, "71717084,74272479")
    assert all(one["section_image_id"] for one in both)


@genuine
def test_recorded_answers_of_the_allen_service() -> None:
    recorded = json.loads((SHARED / "sync" / "recorded_points.json").read_text())
    for one in recorded["image_to_reference"]:
        shelf = Shelf()
        # Stored row by row, and then the translation.
        tsv = [*(v for row in one["tsv"] for v in row[:2]), *(row[2] for row in one["tsv"])]
        tvr = [*(v for row in one["tvr"] for v in row[:3]), *(row[3] for row in one["tvr"])]
        shelf.records = {
            "SectionDataSet": [
                data_set(
                    one["section_data_set_id"],
                    section_thickness=one["section_thickness_um"],
                    alignment3d=_both_ways("tvr", "trv", tvr),
                )
            ],
            "SectionImage": [
                section_image(
                    one["section_image_id"],
                    one["section_number"],
                    data_set_id=one["section_data_set_id"],
                    alignment2d=_both_ways("tsv", "tvs", tsv),
                )
            ],
        }
        url = f"/api/v2/image_to_reference/{one['section_image_id']}.json"
        answer = _client(Application(shelf)).get(url, params={"x": one["x"], "y": one["y"]})
        point = answer.json()["msg"]["image_to_reference"]
        assert point == pytest.approx({"x": one["p"], "y": one["i"], "z": one["r"]}, abs=1e-9)


# ---- anything at all

STARTS = """
/ /api/v2/ /api/v2/data/ /api/v2/data/query.json /api/v2/data/SectionDataSet/query
/api/v2/data/SectionImage/101 /api/v2/section_image_download/101
/api/v2/image_to_reference/101.json /api/v2/reference_to_image/9.json
"""
NAMES = """
criteria q include order only except tabular num_rows start_row count id x y z
section_data_set_ids downsample quality left top width height view expression
"""
VALUES = """
model::SectionDataSet genes section_images(data_set) id [id$eq10] 10 1e5 -3 all 10,30
expression sub_images.id data_sets.id
"""


@given(
    path=st.tuples(
        st.sampled_from(STARTS.split()), st.one_of(st.just(""), st.text(max_size=30))
    ).map("".join),
    parameters=st.lists(
        st.tuples(
            st.sampled_from(NAMES.split()),
            st.one_of(st.text(max_size=30), st.sampled_from(VALUES.split())),
        ),
        max_size=6,
    ),
)
def test_no_request_makes_the_application_fail(
    path: str, parameters: list[tuple[str, str]]
) -> None:
    builder = EnvironBuilder(path="/", query_string=dict(parameters))
    environ = builder.get_environ()
    environ["PATH_INFO"] = path.encode("utf-8", "surrogatepass").decode("latin-1")
    _, status, _ = run_wsgi_app(Application(Shelf()), environ)
    assert status[:3] in ("200", "400", "404")


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_bytes_make_the_application_fail(path: bytes, query: bytes) -> None:
    environ = EnvironBuilder(path="/").get_environ()
    environ["PATH_INFO"] = "/api/v2/data/" + path.decode("latin-1")
    environ["QUERY_STRING"] = "criteria=model::SectionDataSet" + query.decode("latin-1")
    _, status, _ = run_wsgi_app(Application(Shelf()), environ)
    assert status[:3] in ("200", "400", "404")


def test_paths_are_compiled_once_whoever_makes_applications() -> None:
    """Python 3.11 fails now and then where two threads compile at once."""
    with patch("werkzeug.routing.rules.Rule.compile", side_effect=AssertionError):
        client = _client(Application(Shelf()))
    assert client.get("/").status_code == 200
