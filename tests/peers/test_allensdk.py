"""Clients that others wrote, on the local service: AllenSDK as a black box, and old scripts.

Run with ``pytest -m peer tests/peers/test_allensdk.py``. What AllenSDK asks for and the local
service does not offer stands in `NOT_OFFERED`, with the words in which it says so.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from atldld.demo.archive import DemoArchive
from atldld.place import (
    StructureCenter,
    image_to_atlas,
    image_to_image,
    image_to_image_2d,
    image_to_reference,
    reference_to_image,
    structure_to_image,
)
from atldld.records import SectionDataSet
from atldld.serve.listen import listen
from tests.peers.environments import environment, program

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
OLD_SCRIPTS = HERE / "old_scripts"

PEER = "allensdk==2.16.2"
PINS: list[str] = [
    # None: with all its dependencies it installs from wheels on Python 3.11, the newest that it
    # can be installed for. It holds numpy below 1.24 and pandas at 1.5.3 by itself.
]
INSTALL = ["install", "--quiet", "--only-binary", ":all:", PEER, *PINS]

SAGITTAL, CORONAL, SMALL = 69289763, 71717084, 909
IMAGE = 101321616  # of data set 909: 2856 × 2656 pixels
ABSENT = 5

# Old scripts have the real host built in; this sends them to the local service instead.
SITECUSTOMIZE = """
import os
import re

from requests.sessions import Session

send = Session.request


def request(self, method, url, *arguments, **options):
    local = re.sub(r"^https?://api\\.brain-map\\.org", os.environ["PEER_API_URL"], url)
    assert local != url, url
    return send(self, method, local, *arguments, **options)


Session.request = request
"""

# Calls of AllenSDK: the class, the method, its arguments, and what the local service says.
NOT_OFFERED = {
    "services": (
        "RmaApi.service_query",
        ("mouse_correlation", [("set", "mouse"), ("structures", "TH")]),
        "services and pipes are not offered",
    ),
    "schema": ("RmaApi.get_schema", (), "nothing is served at this path"),
    "schema of a model": ("RmaApi.get_schema", ("SectionImage",), "nothing is served at this path"),
    "schema of all": ("RmaApi.load_api_schema", (), "nothing is served at this path"),
    "pipes": ("ImageDownloadApi.atlas_image_query", (1,), "expected no second stage"),
    "equalization": (
        "ImageDownloadApi.get_section_image_ranges",
        ([IMAGE],),
        "there is no model 'Equalization' here",
    ),
    "an atlas that is not held": (
        "SynchronizationApi.get_image_to_atlas",
        (IMAGE, 1000.0, 1000.0, 2),
        "the archive holds no atlas 2",
    ),
}


# ---------------------------------------------------------------- the environment and the client


@pytest.fixture(scope="session")
def sdk_python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return AllenSDK's interpreter: made once, kept in ``ATLDLD_ALLENSDK_ENV`` or the cache."""
    return program(environment("allensdk", INSTALL, request, tmp_path_factory), "python")


class Refused(Exception):
    """What a call of AllenSDK has raised, with the answer as far as it has read it."""

    def __init__(self, name: str, status: int | None, text: str) -> None:
        super().__init__(f"{name} {status}: {text[:300]}")
        self.name, self.status, self.text = name, status, text


class Client:
    """AllenSDK, run by its own interpreter; see `probe_allensdk`."""

    def __init__(self, process: subprocess.Popen[str], address: str, folder: Path) -> None:
        self.process = process
        self.address = address
        self.folder = folder

    def at(self, address: str) -> Client:
        return Client(self.process, address, self.folder)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        api, _, method = name.partition(".")
        question = {
            "address": self.address,
            "api": api,
            "method": method,
            "args": args,
            "kwargs": kwargs,
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"], answer["status"], answer["text"])
        return answer["value"]

    def query(self, model: str, **kwargs: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("RmaApi.model_query", model, **kwargs)
        return found

    def sync(self, name: str, *args: Any) -> Any:
        return self.call(f"SynchronizationApi.get_{name}", *args)

    def envelope(self, model: str, **kwargs: Any) -> dict[str, Any]:
        stage = self.call("RmaApi.model_stage", model, **kwargs)
        url = self.call("RmaApi.build_query_url", stage)
        found: dict[str, Any] = self.call("RmaApi.retrieve_parsed_json_over_http", url)
        return found

    def image(self, method: str, image_id: int, **kwargs: Any) -> bytes:
        """Download an image to a file, and return its content."""
        path = self.folder / "image.jpg"
        path.unlink(missing_ok=True)
        self.call(f"ImageDownloadApi.{method}", image_id, str(path), **kwargs)
        return path.read_bytes()


@pytest.fixture(scope="session")
def sdk(
    sdk_python: Path, service_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """Return AllenSDK, directed to the local service by its own argument."""
    folder = tmp_path_factory.mktemp("allensdk")
    complaints = folder / "stderr.txt"
    with complaints.open("w") as stderr:
        process = subprocess.Popen(
            [sdk_python, HERE / "probe_allensdk.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=folder,
            env={**os.environ, "MPLBACKEND": "Agg"},
        )
    with process:
        client = Client(process, service_url, folder)
        try:
            assert client.call("RmaApi.quote_string", "on") == "'on'"
        except json.JSONDecodeError:
            pytest.fail(f"AllenSDK does not start: {complaints.read_text()[-2000:]}")
        yield client


@pytest.fixture(scope="session")
def run_script(sdk_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that runs an old script against an address."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE)

    def run(address: str, name: str, *arguments: object, given: str = "") -> str:
        done = subprocess.run(
            [sdk_python, OLD_SCRIPTS / f"{name}.py", *map(str, arguments)],
            env={**os.environ, "PEER_API_URL": address, "PYTHONPATH": str(site)},
            input=given,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


# ---------------------------------------------------------------- what is known


@pytest.fixture(scope="module")
def archive() -> DemoArchive:
    return DemoArchive()


@pytest.fixture(scope="module")
def datasets(archive) -> dict[int, SectionDataSet]:
    """Return our data sets, read from the packaged records."""
    return {
        record["id"]: SectionDataSet.from_records(record, record["section_images"])
        for record in archive.tables()["SectionDataSet"]
    }


@pytest.fixture(scope="module")
def centers(archive) -> list[StructureCenter]:
    return [StructureCenter.from_record(one) for one in archive.tables()["StructureCenter"]]


def columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without what is associated with it."""
    return {k: v for k, v in record.items() if not isinstance(v, (dict, list))}


def images_of(archive: DemoArchive, dataset_id: int) -> list[Mapping[str, Any]]:
    return [one for one in archive.tables()["SectionImage"] if one["data_set_id"] == dataset_id]


def points(count: int, seed: int) -> list[list[float]]:
    """Return pixels inside and outside of images, with the six decimals that AllenSDK sends."""
    drawn = np.random.default_rng(seed).uniform(-2000, 12000, (count, 2))
    found: list[list[float]] = drawn.round(6).tolist()
    return found


def numbers(alignment: dict[str, float], name: str) -> np.ndarray:
    count = 12 if name in ("tvr", "trv") else 6
    return np.array([alignment[f"{name}_{k:02d}"] for k in range(count)])


def same_place(found: Any, dataset_id: int, expected: Any, k: int = 0) -> None:
    """Compare an ``image_sync`` with one of our points."""
    assert set(found) == {"image_sync"}
    sync = found["image_sync"]
    assert sync["section_data_set_id"] == dataset_id
    if not expected.answered[k]:
        assert sync["section_image_id"] is None
        return
    assert sync["section_image_id"] == expected.image_ids[k]
    assert sync["section_number"] == expected.section_numbers[k]
    assert [sync["x"], sync["y"]] == pytest.approx(expected.xy[k], rel=0, abs=1e-9)


# ---------------------------------------------------------------- RmaApi


@pytest.mark.parametrize("num_rows", [5, 50, 112, 1000])
def test_pages_to_completion(sdk, archive, num_rows):
    found: list[dict[str, Any]] = []
    for _ in range(30):
        page = sdk.query(
            "SectionImage",
            criteria=f"[data_set_id$eq{CORONAL}]",
            order=["sub_images.id"],
            num_rows=num_rows,
            start_row=len(found),
        )
        if not page:
            break
        assert len(page) <= num_rows
        found += page
    expected = sorted(images_of(archive, CORONAL), key=lambda one: one["id"])
    assert found == [columns(one) for one in expected]


def test_envelopes_of_pages(sdk):
    options = {"criteria": f"[data_set_id$eq{CORONAL}]", "num_rows": 50}
    seen = []
    for start_row in (0, 50, 100, 150):
        page = sdk.envelope("SectionImage", start_row=start_row, **options)
        assert page["success"] is True
        assert page["start_row"] == start_row
        assert page["num_rows"] == len(page["msg"])
        assert page["total_rows"] == 112
        seen.append(page["num_rows"])
    assert seen == [50, 50, 12, 0]


@pytest.mark.parametrize("count", [True, False])
def test_count_does_not_change_the_rows(sdk, count):
    found = sdk.query("SectionImage", filters={"data_set_id": SMALL}, count=count, num_rows="all")
    assert len(found) == 14


def test_fifty_rows_unless_more_are_asked_for(sdk):
    assert len(sdk.query("SectionImage", filters={"data_set_id": CORONAL})) == 50
    assert len(sdk.query("SectionImage", filters={"data_set_id": CORONAL}, num_rows="all")) == 112


@pytest.mark.parametrize(
    ("order", "keys", "down"),
    [
        (["sub_images.section_number"], ["section_number"], False),
        (["sub_images.section_number+desc"], ["section_number"], True),
        (["sub_images.width+asc", "sub_images.id+asc"], ["width", "id"], False),
    ],
)
def test_order(sdk, order, keys, down):
    found = sdk.query(
        "SectionImage", criteria=f"[data_set_id$eq{SAGITTAL}]", order=order, num_rows="all"
    )
    values = [[one[key] for key in keys] for one in found]
    assert len(values) == 18
    assert values == sorted(values, reverse=down)


@pytest.mark.parametrize("table", ["", "sub_images."])
def test_only_some_columns(sdk, table):
    found = sdk.query(
        "SectionImage",
        criteria=f"[data_set_id$eq{SMALL}]",
        only=[f"{table}id", f"{table}section_number"],
        num_rows="all",
    )
    assert len(found) == 14
    assert all(set(one) == {"id", "section_number"} for one in found)


@pytest.mark.parametrize("option", ["except", "excpt"])
def test_all_but_some_columns(sdk, archive, option):
    omitted = ["axes", "annotated"]
    found = sdk.query("SectionImage", filters={"id": IMAGE}, **{option: omitted})
    expected = columns(next(one for one in images_of(archive, SMALL) if one["id"] == IMAGE))
    assert found == [{k: v for k, v in expected.items() if k not in omitted}]


def test_tabular(sdk, archive):
    found = sdk.query(
        "SectionImage",
        criteria=f"[data_set_id$eq{SAGITTAL}]",
        include="alignment2d",
        tabular=["sub_images.id", "sub_images.section_number+as+n", "alignment2ds.tsv_04"],
        order=["sub_images.section_number"],
        num_rows="all",
    )
    expected = sorted(images_of(archive, SAGITTAL), key=lambda one: one["section_number"])
    assert found == [
        {
            "id": one["id"],
            "n": one["section_number"],
            "tsv_04": one["alignment2d"]["tsv_04"],
        }
        for one in expected
    ]


def test_tabular_and_distinct(sdk):
    found = sdk.query(
        "SectionImage",
        tabular=["distinct+sub_images.data_set_id"],
        order=["sub_images.data_set_id"],
        num_rows="all",
    )
    assert [one["data_set_id"] for one in found] == [SMALL, SAGITTAL, CORONAL]


def test_a_data_frame(sdk):
    stage = sdk.call("RmaApi.model_stage", "SectionImage", criteria=f"[data_set_id$eq{SMALL}]")
    url = sdk.call("RmaApi.build_query_url", stage)
    frame = sdk.call("RmaApi.json_msg_query", url, dataframe=True)
    assert {"id", "section_number", "tier_count"} <= set(frame["columns"])
    assert len(frame["rows"]) == 14


def test_csv(sdk):
    stage = sdk.call(
        "RmaApi.model_stage",
        "SectionImage",
        criteria=f"[data_set_id$eq{SMALL}]",
        tabular=["sub_images.id", "sub_images.section_number"],
    )
    path = sdk.folder / "rows.csv"
    sdk.call(
        "RmaApi.retrieve_file_over_http",
        sdk.call("RmaApi.build_query_url", stage, fmt="csv"),
        str(path),
    )
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [set(row) for row in rows] == [{"id", "section_number"}] * 14


@pytest.mark.parametrize(
    ("criteria", "ids"),
    [
        ("genes[acronym$eq'Prox1']", {SAGITTAL}),
        ("genes[acronym$eqPdyn]", {CORONAL}),
        ("genes[acronym$eq'prox1']", set()),
        ("genes[acronym$il'prox*']", {SAGITTAL}),
        ("genes[acronym$in'Prox1','Pdyn']", {SAGITTAL, CORONAL}),
        ("[failed$eqfalse],genes[acronym$eq'Prox1'],products[id$eq1]", {SAGITTAL}),
        ("products[abbreviation$eq'Mouse'],plane_of_section[name$eq'coronal']", {CORONAL, SMALL}),
        ("specimen(donor(age[name$eq'P56'])),treatments[name$eq'ISH'],[id$gt1000]", None),
        ("section_images[section_number$eq6]", {SAGITTAL, CORONAL}),
    ],
)
def test_data_sets_by_gene_and_more(sdk, criteria, ids):
    found = sdk.query("SectionDataSet", criteria=criteria, include="genes", num_rows="all")
    assert {one["id"] for one in found} == ({SAGITTAL, CORONAL} if ids is None else ids)
    for one in found:
        (gene,) = one["genes"]
        assert gene["acronym"] == {SAGITTAL: "Prox1", CORONAL: "Pdyn", SMALL: "Demo"}[one["id"]]


def test_filters_of_a_dictionary(sdk):
    found = sdk.query(
        "SectionDataSet",
        filters={"failed": False, "reference_space_id": 10},
        criteria=f"genes[acronym$eq{sdk.call('RmaApi.quote_string', 'Prox1')}]",
    )
    assert [one["id"] for one in found] == [SAGITTAL]


@pytest.mark.parametrize("dataset_id", [SAGITTAL, CORONAL, SMALL])
def test_alignments(sdk, archive, dataset_id):
    found = sdk.query(
        "SectionImage",
        criteria=f"[data_set_id$eq{dataset_id}]",
        include="alignment2d",
        num_rows="all",
    )
    expected = {one["id"]: one["alignment2d"] for one in images_of(archive, dataset_id)}
    assert {one["id"]: one["alignment2d"] for one in found} == expected
    (dataset,) = sdk.query(
        "SectionDataSet", filters={"id": dataset_id}, include="alignment3d,section_images"
    )
    records = archive.tables()["SectionDataSet"]
    assert dataset["alignment3d"] == next(
        one["alignment3d"] for one in records if one["id"] == dataset_id
    )
    assert {one["id"] for one in dataset["section_images"]} == set(expected)


def test_a_filter_in_an_include_restricts(sdk):
    found = sdk.query("SectionDataSet", include="genes[acronym$eq'Pdyn']", num_rows="all")
    assert [one["id"] for one in found] == [CORONAL]


def test_nothing_found(sdk):
    assert sdk.query("SectionImage", filters={"id": ABSENT}) == []
    assert sdk.query("SectionDataSet", criteria="genes[acronym$eq'Nothing']") == []


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("Bogus", {}, "there is no model 'Bogus'"),
        ("SectionImage", {"filters": {"bogus": 1}}, "has no column 'bogus'"),
        ("SectionImage", {"include": "bogus"}, "has no association 'bogus'"),
        ("SectionImage", {"criteria": "[id$eq"}, "expected a value"),
    ],
)
def test_a_refusal_is_an_error_with_a_reason(sdk, model, options, words):
    with pytest.raises(Refused) as refused:
        sdk.query(model, **options)
    assert refused.value.name == "HTTPError"
    assert refused.value.status == 400
    answer = json.loads(refused.value.text)
    assert answer["success"] is False
    assert words in answer["msg"]


@pytest.mark.parametrize("what", NOT_OFFERED)
def test_what_is_not_offered_is_said(sdk, what):
    name, arguments, words = NOT_OFFERED[what]
    with pytest.raises(Refused) as refused:
        sdk.call(name, *arguments)
    assert refused.value.status in (400, 404)
    answer = json.loads(refused.value.text)
    assert answer["success"] is False
    assert words in answer["msg"]


@pytest.mark.parametrize("method", ["download_atlas_image", "download_projection_image"])
def test_other_downloads_are_not_offered(sdk, method):
    with pytest.raises(Refused) as refused:
        sdk.image(method, IMAGE)
    assert refused.value.status == 404
    assert not (sdk.folder / "image.jpg").exists()


# ---------------------------------------------------------------- ImageDownloadApi


@pytest.mark.parametrize("dataset_id", [SAGITTAL, CORONAL, SMALL])
def test_section_image_query(sdk, archive, dataset_id):
    found = sdk.call("ImageDownloadApi.section_image_query", dataset_id)
    assert sorted(found, key=lambda one: one["id"]) == sorted(
        map(columns, images_of(archive, dataset_id)), key=lambda one: one["id"]
    )


def test_section_image_query_in_part(sdk):
    found = sdk.call("ImageDownloadApi.section_image_query", CORONAL, num_rows=10, count=True)
    assert len(found) == 10


def test_data_sets_by_product(sdk):
    found = sdk.call("ImageDownloadApi.get_section_data_sets_by_product", [1])
    assert {one["id"] for one in found} == {SAGITTAL, CORONAL, SMALL}


@pytest.mark.parametrize("method", ["download_section_image", "download_image"])
@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, {}),
        ({"downsample": 0}, {}),
        ({"downsample": 1}, {"downsample": 1}),
        ({"downsample": 4}, {"downsample": 4}),
        ({"downsample": 3, "quality": 50}, {"downsample": 3, "quality": 50}),
        ({"downsample": 3, "view": "expression"}, {"downsample": 3, "view": "expression"}),
        ({"downsample": 3, "expression": True}, {"downsample": 3, "view": "expression"}),
        ({"downsample": 3, "expression": False}, {"downsample": 3}),
        (
            {"downsample": 2, "left": 400, "top": 800, "width": 300, "height": 200},
            {"downsample": 2, "region": (100, 200, 300, 200)},
        ),
        (
            {"downsample": 2, "left": 402, "top": 803, "width": 16, "height": 8},
            {"downsample": 2, "region": (100, 200, 16, 8)},
        ),
        (
            {"left": 1001, "top": 1003, "width": 64, "height": 48, "expression": True},
            {"region": (1001, 1003, 64, 48), "view": "expression"},
        ),
    ],
    ids=str,
)
def test_download(sdk, archive, method, options, asked):
    wanted = {"downsample": 0, "view": "image", "quality": 100, "region": None, **asked}
    tier, view = wanted.pop("downsample"), wanted.pop("view")
    content = sdk.image(method, IMAGE, **options)
    assert content == archive.image(IMAGE, tier, view, **wanted)
    height, width = simplejpeg.decode_jpeg(content).shape[:2]
    left_top_width_height = wanted["region"] or (0, 0, 2856 >> tier, 2656 >> tier)
    assert (width, height) == left_top_width_height[2:]


def test_a_region_is_that_part_of_the_whole(sdk):
    whole = simplejpeg.decode_jpeg(sdk.image("download_section_image", IMAGE, downsample=2))
    part = simplejpeg.decode_jpeg(
        sdk.image(
            "download_section_image",
            IMAGE,
            **{"downsample": 2, "left": 400, "top": 800, "width": 320, "height": 200},
        )
    )
    cut = whole[200:400, 100:420]
    assert np.abs(part.astype(int) - cut.astype(int)).mean() < 1


@pytest.mark.parametrize("image_id", [69177654, 71591577])
def test_download_of_a_large_image(sdk, datasets, image_id):
    (image,) = (image for one in datasets.values() for image in one.images if image.id == image_id)
    pixels = simplejpeg.decode_jpeg(sdk.image("download_section_image", image_id, downsample=5))
    assert pixels.shape == (image.height >> 5, image.width >> 5, 3)


def test_a_name_of_its_own(sdk):
    sdk.call("ImageDownloadApi.download_section_image", IMAGE, downsample=4)
    assert (sdk.folder / f"{IMAGE}.jpg").read_bytes()[:2] == b"\xff\xd8"


@pytest.mark.parametrize(
    ("image_id", "options", "status"),
    [
        (ABSENT, {}, 404),
        (IMAGE, {"downsample": 9}, 400),
        (IMAGE, {"quality": 101}, 400),
        (IMAGE, {"view": "projection"}, 400),
        (IMAGE, {"downsample": 2, "width": 10_000}, 400),
        (IMAGE, {"range": [0, 1500, 0, 1000, 0, 4095]}, 400),
        (IMAGE, {"rgb": [1, 0, 0]}, 400),
        (IMAGE, {"contrast": [0.5, 0.5]}, 400),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["download_section_image", "download_image"])
def test_a_refused_download_leaves_no_file(sdk, method, image_id, options, status):
    with pytest.raises(Refused) as refused:
        sdk.image(method, image_id, **options)
    assert refused.value.name == "HTTPError"
    assert refused.value.status == status
    assert not (sdk.folder / "image.jpg").exists()


# ---------------------------------------------------------------- SynchronizationApi


@pytest.mark.parametrize("dataset_id", [SAGITTAL, CORONAL, SMALL])
def test_image_to_reference(sdk, datasets, dataset_id):
    dataset = datasets[dataset_id]
    for image, xy in zip(dataset.images, points(len(dataset.images), 1), strict=True):
        found = sdk.sync("image_to_reference", image.id, *xy)
        assert set(found) == {"image_to_reference"}
        pir = [found["image_to_reference"][axis] for axis in "xyz"]
        expected = image_to_reference(dataset, image.id, [xy]).pir[0]
        assert pir == pytest.approx(expected, rel=0, abs=1e-9)


def test_answers_fit_the_matrices_that_a_client_gets(sdk):
    """A client that computes with the alignments of `RmaApi` finds what it is answered."""
    (dataset,) = sdk.query("SectionDataSet", filters={"id": SAGITTAL}, include="alignment3d")
    images = sdk.query(
        "SectionImage",
        criteria=f"[data_set_id$eq{SAGITTAL}]",
        include="alignment2d",
        num_rows="all",
    )
    tvr, trv = (numbers(dataset["alignment3d"], name) for name in ("tvr", "trv"))
    by_id = {one["id"]: one for one in images}
    for image, xy in zip(images, points(len(images), 2), strict=True):
        tsv = numbers(image["alignment2d"], "tsv")
        across = image["section_number"] * dataset["section_thickness"]
        volume = [*(tsv[:4].reshape(2, 2) @ xy + tsv[4:]), across]
        pir = tvr[:9].reshape(3, 3) @ volume + tvr[9:]
        answer = sdk.sync("image_to_reference", image["id"], *xy)["image_to_reference"]
        assert [answer[axis] for axis in "xyz"] == pytest.approx(pir, rel=0, abs=1e-9)

        sent = pir.round(6)
        (found,) = sdk.sync("reference_to_image", 10, *sent.tolist(), [SAGITTAL])
        sync = found["image_sync"]
        volume = trv[:9].reshape(3, 3) @ sent + trv[9:]
        nearest = volume[2] / dataset["section_thickness"]
        assert abs(sync["section_number"] - nearest) == pytest.approx(
            min(abs(one["section_number"] - nearest) for one in images)
        )
        tvs = numbers(by_id[sync["section_image_id"]]["alignment2d"], "tvs")
        expected = tvs[:4].reshape(2, 2) @ volume[:2] + tvs[4:]
        assert [sync["x"], sync["y"]] == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("space", [9, 10])
@pytest.mark.parametrize(
    "targets", [[SAGITTAL], [SMALL, CORONAL], [CORONAL, SAGITTAL, SMALL]], ids=str
)
def test_reference_to_image(sdk, datasets, space, targets):
    drawn = np.random.default_rng(3).uniform(-500, [13500, 8500, 11900], (20, 3)).round(6)
    for pir in drawn.tolist():
        found = sdk.sync("reference_to_image", space, *pir, targets)
        assert len(found) == len(targets)
        for one, target in zip(found, targets, strict=True):
            expected = reference_to_image(datasets[target], [pir], space=space, beyond="ignore")
            same_place(one, target, expected)


@pytest.mark.parametrize("source", [SAGITTAL, CORONAL, SMALL])
@pytest.mark.parametrize("targets", [[CORONAL], [SMALL, SAGITTAL, CORONAL]], ids=str)
def test_image_to_image(sdk, datasets, source, targets):
    dataset = datasets[source]
    for image, xy in zip(dataset.images[:14], points(14, 4), strict=True):
        found = sdk.sync("image_to_image", image.id, *xy, targets)
        assert len(found) == len(targets)
        for one, target in zip(found, targets, strict=True):
            expected = image_to_image(dataset, image.id, [xy], datasets[target], beyond="ignore")
            same_place(one, target, expected)


@pytest.mark.parametrize("target", [CORONAL, SMALL])
def test_image_to_image_2d(sdk, datasets, target):
    """From one image to several, of its own data set and of another one of that specimen."""
    source = datasets[SMALL]
    to = datasets[target]
    wanted = [image.id for image in to.images[:5]]
    for image, xy in zip(source.images, points(14, 5), strict=True):
        found = sdk.sync("image_to_image_2d", image.id, *xy, wanted)
        assert len(found) == len(wanted)
        for one, target_id in zip(found, wanted, strict=True):
            expected = image_to_image_2d(source, image.id, [xy], to, target_id)
            same_place(one, target, expected)


def test_image_to_image_2d_of_another_specimen_fails_and_stays_in_the_list(sdk, datasets):
    wanted = [datasets[SAGITTAL].images[0].id, datasets[CORONAL].images[0].id]
    other, same = sdk.sync("image_to_image_2d", IMAGE, 1000.0, 1000.0, wanted)
    assert other["image_sync"]["section_image_id"] is None
    assert same["image_sync"]["section_image_id"] == wanted[1]


@pytest.mark.parametrize("dataset_id", [SAGITTAL, CORONAL, SMALL])
def test_structure_to_image(sdk, datasets, centers, dataset_id):
    wanted = sorted({one.structure_id for one in centers})
    wanted.insert(3, 987_654)  # no structure
    dataset = datasets[dataset_id]
    found = sdk.sync("structure_to_image", dataset_id, wanted)
    expected = structure_to_image(dataset, wanted, centers, beyond="ignore")
    assert len(found) == len(wanted) > 30
    assert list(np.flatnonzero(~expected.answered)) == [3]
    for k, one in enumerate(found):
        same_place(one, dataset_id, expected, k)


class WithAtlas(DemoArchive):
    """The demo archive, and an atlas whose plates are every tenth section of one data set."""

    ATLAS, DATA_SET, FIRST_PLATE = 1, 100048576, 100960000

    def tables(self) -> Any:
        tables = super().tables()
        dataset = next(one for one in tables["SectionDataSet"] if one["id"] == CORONAL)
        plates = [
            {
                **columns(image),
                "id": self.FIRST_PLATE + k,
                "data_set_id": self.DATA_SET,
                "annotated": k % 10 == 0,
                "alignment2d": image["alignment2d"],
            }
            for k, image in enumerate(dataset["section_images"])
        ]
        of_atlas = {**dataset, "id": self.DATA_SET, "section_images": plates}
        atlas = {"id": self.ATLAS, "name": "demo", "atlas_data_sets": [{"id": self.DATA_SET}]}
        return {**tables, "Atlas": [atlas], "AtlasDataSet": [of_atlas], "AtlasImage": plates}


@contextmanager
def served(source: Any) -> Iterator[str]:
    """Serve a source from a thread of this process."""
    server = listen("127.0.0.1", 0, source)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.close()


@pytest.fixture(scope="module")
def with_atlas() -> Iterator[str]:
    with served(WithAtlas()) as address:
        yield address


@pytest.mark.parametrize("source", [SAGITTAL, CORONAL, SMALL])
def test_image_to_atlas(sdk, datasets, with_atlas, source):
    """The answer is one object and not a list, on an annotated plate."""
    tables = WithAtlas().tables()
    (record,) = tables["AtlasDataSet"]
    plates = [one for one in tables["AtlasImage"] if one["annotated"]]
    atlas = SectionDataSet.from_records(record, plates)
    assert len(atlas.images) == 12
    dataset = datasets[source]
    for image, xy in zip(dataset.images[:14], points(14, 6), strict=True):
        found = sdk.at(with_atlas).sync("image_to_atlas", image.id, *xy, WithAtlas.ATLAS)
        expected = image_to_atlas(dataset, image.id, [xy], atlas, beyond="ignore")
        same_place(found, WithAtlas.DATA_SET, expected)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("image_to_reference", (ABSENT, 1.0, 2.0)),
        ("reference_to_image", (9, 1.0, 2.0, 3.0, [ABSENT])),
        ("reference_to_image", (77, 1.0, 2.0, 3.0, [SMALL])),
        ("image_to_image", (ABSENT, 1.0, 2.0, [SMALL])),
        ("image_to_image_2d", (IMAGE, 1.0, 2.0, [ABSENT])),
        ("structure_to_image", (ABSENT, [1])),
        ("image_to_atlas", (IMAGE, 1.0, 2.0, 77)),
    ],
)
def test_synchronisation_with_what_is_not_there(sdk, name, arguments):
    with pytest.raises(Refused) as refused:
        sdk.sync(name, *arguments)
    assert refused.value.status == 404
    assert json.loads(refused.value.text)["success"] is False


# ---------------------------------------------------------------- old scripts


def rows_of(text: str) -> list[list[float]]:
    return [[float(cell) for cell in line.split("\t")] for line in text.splitlines()]


@pytest.mark.parametrize(("dataset_id", "count"), [(SAGITTAL, 18), (CORONAL, 112), (SMALL, 14)])
def test_old_list_of_images(run_script, service_url, archive, dataset_id, count):
    rows = rows_of(run_script(service_url, "list_section_images", dataset_id))
    expected = sorted(images_of(archive, dataset_id), key=lambda one: one["section_number"])
    assert len(rows) == count
    assert rows == [
        [
            *(one[name] for name in ("id", "section_number", "width", "height")),
            *numbers(one["alignment2d"], "tvs"),
        ]
        for one in expected
    ]


def test_old_download(run_script, service_url, archive, tmp_path):
    said = run_script(service_url, "download_images", SMALL, tmp_path / "images")
    assert said == "909: Demo\n"
    expected: dict[str, Any] = {}
    for one in images_of(archive, SMALL):
        image, mask = (
            archive.image(one["id"], 4, view, quality=quality, region=None)
            for view, quality in (("image", 100), ("expression", 80))
        )
        expected |= {f"{one['id']}.jpg": image, f"{one['id']}_expr.jpg": mask}
    assert len(expected) == 28
    assert {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()} == expected


@pytest.mark.parametrize(("image_id", "space"), [(69177654, 10), (IMAGE, 9)])
def test_old_points(run_script, service_url, datasets, image_id, space):
    (source,) = (one for one in datasets.values() if image_id in {image.id for image in one.images})
    given = points(10, 7)
    targets = [SAGITTAL, CORONAL]
    rows = rows_of(
        run_script(
            service_url,
            "sync_points",
            *(image_id, space, ",".join(map(str, targets))),
            given="".join(f"{x} {y}\n" for x, y in given),
        )
    )
    pir = image_to_reference(source, image_id, given).pir
    expected = [np.array(given), pir]
    for target in targets:
        found = reference_to_image(datasets[target], pir, space=space, beyond="ignore")
        expected += [found.image_ids[:, None], found.xy]
    np.testing.assert_allclose(rows, np.hstack(expected), rtol=0, atol=1e-9)


# ---------------------------------------------------------------- a folder that is served


def state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Return the time and content of all that lies below a folder, and of the folder."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in [folder, *folder.rglob("*")]
    }


@pytest.fixture(scope="module", params=["cache", "folder", "zip"])
def stored(request, service_url, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """Serve what one data set's download has left: where it is kept, or exported."""
    root = tmp_path_factory.mktemp("stored")
    environ = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ATLDLD_")},
        "ATLDLD_API_URL": service_url,
        "ATLDLD_CACHE_DIR": str(root / "cache"),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-c", "from atldld.cli import main; main()"]
    download = ["download", "dataset", str(SMALL), root / "done", "--downsample-img", "3", "-e"]
    _run([*command, *download], environ)
    if request.param == "cache":
        # another service than the Allen Institute's has a folder of its own in the cache
        (what,) = (path.parent for path in (root / "cache").glob("**/atldld-archive.json"))
    else:
        what = root / {"folder": "archive", "zip": "archive.zip"}[request.param]
        _run([*command, "cache", "export", what], environ)
    before = state(root)
    process = subprocess.Popen(
        [*command, "serve", what, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environ,
    )
    try:
        assert process.stdout is not None
        with process.stdout:
            address = process.stdout.readline().strip()
            assert address.startswith("http://"), "the local service did not start"
            yield address, root
    finally:
        process.terminate()
        process.wait(10)
    assert state(root) == before, "the served folder has changed"


def _run(command: list[Any], environ: dict[str, str]) -> None:
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_stored_archive_answers_the_same_and_stays_as_it_is(
    sdk, run_script, stored, datasets, archive, service_url, tmp_path
):
    address, root = stored
    before = state(root)
    demo, client = sdk, sdk.at(address)

    # records
    query = {"criteria": f"[data_set_id$eq{SMALL}]", "include": "alignment2d", "num_rows": "all"}
    by_id = [
        sorted(one.query("SectionImage", **query), key=lambda record: record["id"])
        for one in (client, demo)
    ]
    assert by_id[0] == by_id[1]
    (dataset,) = client.query(
        "SectionDataSet", criteria="genes[acronym$eq'Demo']", include="alignment3d,genes"
    )
    assert dataset["id"] == SMALL
    assert len(client.call("ImageDownloadApi.section_image_query", SMALL)) == 14

    # images: as they were fetched, and no others
    for view in ("image", "expression"):
        options = {} if view == "image" else {"view": view}
        content = client.image("download_section_image", IMAGE, downsample=3, **options)
        assert content == archive.image(IMAGE, 3, view, quality=100, region=None)
    region = {"left": 80, "top": 160, "width": 100, "height": 50}
    part = client.image("download_image", IMAGE, downsample=3, quality=90, **region)
    assert simplejpeg.decode_jpeg(part).shape == (50, 100, 3)
    with pytest.raises(Refused) as refused:
        client.image("download_section_image", IMAGE, downsample=1)
    assert refused.value.status == 404

    # points
    source = datasets[SMALL]
    for image, xy in zip(source.images, points(14, 8), strict=True):
        found = client.sync("image_to_reference", image.id, *xy)["image_to_reference"]
        pir = image_to_reference(source, image.id, [xy]).pir
        assert [found[axis] for axis in "xyz"] == pytest.approx(pir[0], rel=0, abs=1e-9)
        sent = pir[0].round(6).tolist()
        (one,) = client.sync("reference_to_image", 9, *sent, [SMALL])
        same_place(one, SMALL, reference_to_image(source, [sent], beyond="ignore"))
        (one,) = client.sync("image_to_image", image.id, *xy, [SMALL])
        same_place(one, SMALL, image_to_image(source, image.id, [xy], source, beyond="ignore"))
        (one,) = client.sync("image_to_image_2d", image.id, *xy, [IMAGE])
        same_place(one, SMALL, image_to_image_2d(source, image.id, [xy], source, IMAGE))

    # old scripts
    arguments = ("list_section_images", SMALL)
    assert run_script(address, *arguments) == run_script(service_url, *arguments)
    run_script(address, "download_images", SMALL, tmp_path / "images", 3)
    assert len(list((tmp_path / "images").glob("*.jpg"))) == 14 + 14

    assert state(root) == before


@pytest.mark.parametrize(
    "criteria", ["plane_of_section[name$eq'coronal']", "reference_space[id$eq9]"]
)
def test_a_stored_archive_finds_by_plane_and_space(sdk, stored, criteria):
    client = sdk.at(stored[0])
    assert [one["id"] for one in client.query("SectionDataSet", criteria=criteria)] == [SMALL]


def test_data_sets_of_a_gene(sdk):
    (gene,) = sdk.query("Gene", filters={"acronym": "'Prox1'"}, include="data_sets")
    assert [one["id"] for one in gene["data_sets"]] == [SAGITTAL]
