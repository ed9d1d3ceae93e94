"""Whatever the service answers, nothing but the error tree comes out. 10,000 cases."""

import itertools
import json
import warnings

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atldld.api import DataSet
from atldld.errors import AtldldError, ServiceWarning
from atldld.fetch.cache import Cache
from atldld.fetch.client import Client
from atldld.fetch.jpeg import verify
from atldld.fetch.limits import Limits
from atldld.fetch.pages import fetch_all
from atldld.fetch.session import Session
from atldld.records import SectionDataSet
from atldld.rma.query import RMAParameters
from atldld.sections.register import Recipe
from atldld.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::atldld.errors.ServiceWarning")

QUIET = Limits(attempts=1, first_wait=0)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([10**30, -1, 0, 1, 25.0, "../x", "909", "nan", 1e308, 5e-324]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def matrices(name, count):
    return {f"{name}_{k:02d}": scalars | st.floats(-2, 2) for k in range(count)}


def records(**columns):
    """Records whose columns are mostly missing or odd, and sometimes good."""
    return st.fixed_dictionaries({}, optional=columns) | values


ids = st.integers(1, 10**9) | scalars
alignment2d = records(**matrices("tsv", 6), **matrices("tvs", 6))
alignment3d = records(**matrices("tvr", 12), **matrices("trv", 12))
sizes = st.integers(1, 20_000) | scalars
images = st.fixed_dictionaries(
    {"id": ids, "section_number": st.integers(0, 500) | scalars, "width": sizes, "height": sizes},
    optional={
        "data_set_id": ids,
        "x": scalars,
        "y": scalars,
        "tier_count": st.integers(1, 9) | scalars,
        "resolution": scalars,
        "failed": scalars,
        "expression_path": scalars,
        "alignment2d": alignment2d,
        "unknown": values,
    },
)
datasets = st.fixed_dictionaries(
    {"id": ids},
    optional={
        "plane_of_section_id": st.sampled_from([1, 2, 6, 4, None]) | scalars,
        "reference_space_id": st.sampled_from([9, 10]) | scalars,
        "section_thickness": st.just(25.0) | scalars,
        "genes": values,
        "specimen": values,
        "alignment3d": alignment3d,
        "failed": scalars,
    },
)


def fuzz(count):
    return settings(
        max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )


@pytest.mark.long
@fuzz(1000)
@given(datasets | values, st.lists(images | values, max_size=3))
def test_records(dataset, images):
    """From any answer to a plan of what to do: only errors of the tree."""
    try:
        record = SectionDataSet.from_records(dataset, images)
        plans = [Recipe(100).plan(s) for s in DataSet(record, Session(Settings())).sections]
    except AtldldError:
        return
    assert all(plan.plane.to_image.shape == (2, 3) for plan in plans)


@pytest.mark.long
@fuzz(500)
@given(st.lists(st.dictionaries(st.sampled_from(["msg", "num_rows", "total_rows"]), values)))
def test_pages(envelopes):
    turns = itertools.chain(envelopes, itertools.repeat({"msg": []}))
    reported: list[object] = []
    try:
        rows = fetch_all(
            lambda query: next(turns), RMAParameters("M", order="ms.id"), reported.append
        )
    except AtldldError:
        return
    assert all(isinstance(row, dict) for row in rows)
    assert all(isinstance(one, ServiceWarning) for one in reported)


@fuzz(500)
@given(
    st.integers(200, 599),
    st.dictionaries(
        st.sampled_from(["Retry-After", "Content-Length", "Location", "Content-Encoding"]),
        st.sampled_from(["0", "-1", "soon", "1e999", "nan", "file:///etc/passwd", "gzip", "br"]),
        max_size=2,
    ),
    st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()),
)
def test_envelopes(status, headers, body):
    def answer(request):
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = Client("http://s", limits=QUIET, transport=httpx.MockTransport(answer))
        try:
            envelope = client.get_json("http://s/x")
        except AtldldError as error:
            envelope = {"msg": error.url}
        finally:
            client.close()
    assert "msg" in envelope


@fuzz(1000)
@given(st.binary(max_size=400), st.integers(0, 3))
def test_image_bytes(tmp_path_factory, body, kind):
    path = tmp_path_factory.getbasetemp() / "fuzz.jpg"
    head = (
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
        b"\xff\xd8\xff\xc0\x00\x11\x08",
    )
    path.write_bytes(head[kind] + body)
    with pytest.raises(AtldldError):
        verify(path, 30, 20)


@fuzz(500)
@given(st.binary(max_size=80) | values.map(lambda value: json.dumps(value).encode()))
def test_documents_of_the_cache(tmp_path_factory, body):
    root = tmp_path_factory.getbasetemp() / "fuzz-cache"
    for name in ("datasets/5.json", "images/0/7/2.jpg.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(body)
    (root / "images/0/7/2.jpg").write_bytes(b"x")
    cache = Cache(root)
    assert cache.read_document("datasets", "5") is None or isinstance(
        cache.read_document("datasets", "5"), dict
    )
    cache.find_image(7, 2)
    session = Session(Settings(cache_dir=root, offline=True))
    try:
        session.dataset(5)
    except AtldldError:
        return
