import bz2
import dataclasses
import gzip
import hashlib
import json
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import httpx
import nrrd
import numpy as np
import pytest

from atldld.atlas import StructureGraph, open_atlas
from atldld.atlas.ccf import KINDS, VolumeFile, read_volume, volume_file
from atldld.atlas.model import check_space
from atldld.atlas.open import fetch_graph
from atldld.demo import anatomy
from atldld.demo.archive import DemoArchive
from atldld.demo.local import in_process_session
from atldld.errors import (
    AnswerError,
    AtldldError,
    CacheError,
    InvalidInputError,
    OfflineError,
    OutputError,
    ServiceWarning,
    UnsupportedPlaneError,
)
from atldld.fetch.archive import export_archive, import_archive
from atldld.fetch.cache import Cache
from atldld.fetch.facts import FileFacts
from atldld.fetch.known import GRAPH
from atldld.fetch.limits import Limits
from atldld.fetch.roots import cache_root
from atldld.fetch.session import Session
from atldld.fetch.upkeep import verify_cache
from atldld.records import SectionDataSet
from atldld.serve.app import Application
from atldld.settings import API_URL, DOWNLOAD_URL, Settings

ANNOTATION = VolumeFile("annotation", 100)
ONCE = Limits(attempts=1)


def answering(tmp_path, answers, **settings):
    """A session whose service answers these bodies by the end of the path."""
    asked = []

    def answer(request):
        asked.append(str(request.url))
        for ending, body in answers.items():
            if request.url.path.endswith(ending):
                return httpx.Response(200, content=body)
        return httpx.Response(404)

    session = Session(
        Settings(cache_dir=tmp_path / "cache", **settings),
        limits=ONCE,
        transport=httpx.MockTransport(answer),
    )
    return session, asked


def nrrd_file(tmp_path, data, step=100.0, **header):
    path = tmp_path / "made.nrrd"
    nrrd.write(
        str(path),
        data,
        {"space": "left-posterior-superior", "space directions": np.eye(3) * step, **header},
        index_order="F",
    )
    return path


# ---- the demo brain's


def test_voxels_hold_what_is_at_their_centres(demo_atlas):
    annotation = demo_atlas.annotation
    assert annotation.shape == (132, 80, 114)
    assert annotation.dtype == np.uint32
    rng = np.random.default_rng(5)
    index = np.stack([rng.integers(0, n, 20_000) for n in annotation.shape], axis=-1)
    truth = anatomy.structure_id((index + 0.5) * 100)
    np.testing.assert_array_equal(annotation[tuple(index.T)], truth)
    assert demo_atlas.unknown_ids == ()
    assert demo_atlas.synthetic
    assert demo_atlas.graph.synthetic
    assert "SYNTHETIC" in repr(demo_atlas)
    assert "SYNTHETIC" in demo_atlas.citation


def test_it_is_mapped_and_opening_again_unpacks_nothing(demo_atlas, demo_session, monkeypatch):
    monkeypatch.setattr("atldld.atlas.ccf._write", None)
    again = open_atlas(100, session=demo_session)
    assert isinstance(again.annotation, np.memmap)
    assert not again.annotation.flags.writeable
    sent = demo_session.client.requests_sent
    assert open_atlas(100, session=demo_session).graph.find("DG").id == 22
    assert demo_session.client.requests_sent == sent


@pytest.mark.parametrize("kind", ["average_template", "ara_nissl"])
def test_templates_are_fetched_when_used(demo_session, kind):
    before = volume_file(kind, 100).held(demo_session)
    atlas = open_atlas(100, template=kind, session=demo_session)
    assert volume_file(kind, 100).held(demo_session) == before
    assert atlas.template is not None
    assert atlas.template.shape == atlas.annotation.shape
    inside = atlas.annotation > 0
    assert atlas.template[inside].mean() > 5 * atlas.template[~inside].mean()
    assert volume_file(kind, 100).held(demo_session) is not None


def test_the_files_say_that_they_are_synthetic(demo_session):
    path = ANNOTATION.fetch(demo_session).path
    header = nrrd.read_header(str(path))
    assert header["synthetic"] == "true"
    assert "SYNTHETIC" in header["content"]
    assert header["evaluated_at_um"] == "100"
    fetch_graph(demo_session)
    tree = json.loads(
        (demo_session.cache.root / "files/api/v2/structure_graph_download/1.json").read_text()
    )
    assert tree["synthetic"] is True


def test_25_um_repeats_50_um_and_says_so(monkeypatch):
    """With a made-up brain of one block: evaluating the real one takes seconds."""
    from atldld.demo import atlas as volumes

    small = np.arange(24, dtype=np.uint32).reshape(2, 3, 4)
    voxels = anatomy.Voxels(small, small.astype(np.uint16), small.astype(np.float32))
    monkeypatch.setattr(volumes, "_voxels", lambda r: voxels)
    body = volumes._nrrd.__wrapped__(VolumeFile("annotation", 25))
    header = nrrd.read_header(__import__("io").BytesIO(body))
    assert header["evaluated_at_um"] == "50"
    assert header["sizes"].tolist() == [4, 6, 8]


@pytest.mark.parametrize(
    "path", ["annotation/ccf_2017/annotation_10", "x/annotation_100", "ara_nissl/ara_nissl_7"]
)
def test_other_volumes_are_not_served(demo_session, path):
    client = httpx.Client(
        transport=httpx.WSGITransport(app=Application(DemoArchive())), base_url="http://demo"
    )
    url = f"/informatics-archive/current-release/mouse_ccf/{path}.nrrd"
    assert client.get(url).status_code == 404


def test_the_graph_is_served_without_an_ending_too():
    client = httpx.Client(
        transport=httpx.WSGITransport(app=Application(DemoArchive())), base_url="http://demo"
    )
    answers = [client.get(f"/api/v2/structure_graph_download/1{e}") for e in ("", ".json")]
    assert answers[0].json() == answers[1].json()
    graph = StructureGraph.from_answer(answers[0].json())
    assert [(s.id, s.acronym, s.parent_id) for s in graph] == [
        (s.id, s.acronym, s.parent_id) for s in anatomy.STRUCTURES
    ]
    assert client.get("/api/v2/structure_graph_download/2.json").status_code == 404


# ---- fetching


def test_offline_names_the_command_and_the_size(tmp_path):
    session, asked = answering(tmp_path, {}, offline=True)
    with pytest.raises(
        OfflineError, match=r"atldld atlas fetch annotation --atlas-resolution 25.*308 MB"
    ):
        open_atlas(25, session=session)
    with pytest.raises(OfflineError, match="atlas fetch structures"):
        fetch_graph(session)
    assert asked == []


def test_another_file_under_the_institutes_name_is_refused(tmp_path):
    """The known SHA-256 is checked on the institute's own host, and there only."""
    zeros = np.zeros((528, 320, 456), np.uint8)
    body = nrrd_file(tmp_path, zeros, 25.0).read_bytes()
    session, _ = answering(tmp_path, {"annotation_25.nrrd": body})
    with pytest.raises(AnswerError, match="SHA-256") as caught:
        VolumeFile("annotation", 25).fetch(session)
    assert hashlib.sha256(body).hexdigest() in str(caught.value)
    assert VolumeFile("annotation", 25).held(session) is None
    assert not list((tmp_path / "cache").rglob("*.nrrd*"))


@pytest.mark.parametrize(
    ("shape", "step", "said"),
    [
        ((66, 40, 57), 100.0, "66 × 40 × 57"),
        ((132, 80, 114), 50.0, "a spacing of 50 × 50 × 50 µm"),
        ((114, 80, 132), 100.0, "114 × 80 × 132"),
    ],
)
def test_shape_and_spacing_must_be_those_of_the_name(tmp_path, shape, step, said):
    body = nrrd_file(tmp_path, np.zeros(shape, np.uint32), step).read_bytes()
    session, _ = answering(tmp_path, {"annotation_100.nrrd": body})
    with pytest.raises(AnswerError) as caught:
        ANNOTATION.fetch(session)
    assert said in str(caught.value)
    assert "132 × 80 × 114" in str(caught.value)  # what it must be
    assert "100 µm" in str(caught.value)
    assert ANNOTATION.held(session) is None


def test_broken_files_do_not_count(tmp_path, demo_session):
    whole = ANNOTATION.fetch(demo_session).path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    for body in (b"<html>maintenance</html>", whole[:-2000], bytes(damaged), b""):
        session, _ = answering(tmp_path, {"annotation_100.nrrd": body})
        with pytest.raises(AnswerError):
            ANNOTATION.fetch(session)
        assert ANNOTATION.held(session) is None


def test_a_passing_fault_passes(tmp_path, demo_session):
    whole = ANNOTATION.fetch(demo_session).path.read_bytes()
    bodies = [whole[:5000], whole]
    session = Session(
        Settings(cache_dir=tmp_path),
        limits=Limits(first_wait=0.01),
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=bodies.pop(0))),
    )
    seen = []
    file = ANNOTATION.fetch(session, progress=lambda done, total: seen.append((done, total)))
    assert file.path.read_bytes() == whole
    assert file.sha256 == hashlib.sha256(whole).hexdigest()
    assert file.url.startswith(DOWNLOAD_URL)
    assert seen[-1] == (len(whole), len(whole))


def test_a_graph_that_is_none_is_refused(tmp_path):
    body = json.dumps({"success": False, "msg": "no graph"}).encode()
    session, _ = answering(tmp_path, {"1.json": body})
    with pytest.raises(AnswerError, match="no structure graph"):
        fetch_graph(session)


def test_many_at_once_fetch_it_once(tmp_path):
    with in_process_session(tmp_path) as session:
        threads = [threading.Thread(target=ANNOTATION.open, args=(session,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert session.client.requests_sent == 1
        assert not list(tmp_path.rglob("*.part*"))


def test_the_institutes_own_annotation(tmp_path, shared, monkeypatch):
    """Its hash is the known one; opened again, it takes no time and no memory of its own."""
    answers = {
        "annotation_25.nrrd": (shared / "atlas" / "annotation_25.nrrd").read_bytes(),
        "1.json": (shared / "atlas" / "structure_graph_1.json").read_bytes(),
    }
    session, asked = answering(tmp_path, answers)
    atlas = open_atlas(session=session)
    assert len(asked) == 2
    assert asked[1].endswith("/mouse_ccf/annotation/ccf_2017/annotation_25.nrrd")
    assert not atlas.synthetic
    assert "10.1016/j.cell.2020.04.007" in atlas.citation
    assert atlas.graph[int(atlas.annotation[322, 115, 133])].id in atlas.graph.descendants(726)
    monkeypatch.setattr("atldld.atlas.ccf._write", None)  # it is not unpacked again
    again = open_atlas(session=session)
    assert isinstance(again.annotation, np.memmap)
    assert len(asked) == 2


# ---- what must never mix


def test_each_host_has_a_cache_of_its_own(tmp_path):
    settings = Settings(cache_dir=tmp_path, api_url="http://demo.invalid")
    assert cache_root(settings, "download") == tmp_path
    assert cache_root(settings) == tmp_path / "other-services" / "demo.invalid"
    settings = Settings(cache_dir=tmp_path, download_url="http://demo.invalid:80")
    assert cache_root(settings) == tmp_path
    assert cache_root(settings, "download") == tmp_path / "other-services" / "demo.invalid_80"


def test_the_demos_structures_and_the_institutes_volumes_do_not_mix(tmp_path, demo_session):
    """As when only one of the two addresses was set."""
    fetch_graph(demo_session)
    graph = json.dumps(
        json.loads(
            (demo_session.cache.root / "files/api/v2/structure_graph_download/1.json").read_text()
        )
    ).encode()
    volume = ANNOTATION.fetch(demo_session).path.read_bytes()
    answers = {"1.json": graph, "annotation_100.nrrd": volume}
    session, asked = answering(tmp_path, answers, api_url="http://demo.invalid")
    with pytest.raises(AtldldError, match="ATLDLD_DOWNLOAD_URL"):
        open_atlas(100, session=session)
    assert len(asked) == 1  # nothing large was fetched
    # and the other way round
    own = json.dumps(
        {"msg": [{"id": 997, "acronym": "root", "name": "root", "children": []}]}
    ).encode()
    session, _ = answering(
        tmp_path / "b", {**answers, "1.json": own}, download_url="http://demo.invalid"
    )
    with (
        pytest.warns(ServiceWarning, match="not the one that is known"),
        pytest.raises(AtldldError, match="do not belong together"),
    ):
        open_atlas(100, session=session)


# ---- files of one's own


def test_files_of_ones_own(tmp_path):
    data = np.zeros((132, 80, 114), np.int16)
    data[10, 20, 30] = 2
    data[5] = 77
    tree = [{"id": 2, "acronym": "a", "name": "A", "color_hex_triplet": "019399"}]
    path = nrrd_file(tmp_path, data)
    atlas = open_atlas(annotation=path, graph=tree)
    assert atlas.resolution == 100
    assert atlas.annotation.dtype == np.uint32
    assert atlas.annotation[10, 20, 30] == 2
    assert atlas.unknown_ids == (77,)
    assert atlas.template is None
    with_template = open_atlas(annotation=path, template=path, graph=tree)
    assert with_template.template is not None
    assert with_template.template[10, 20, 30] == 2
    with pytest.raises(InvalidInputError, match="at 50 µm"):
        open_atlas(50, annotation=path, graph=tree)


def test_the_headers_orientation_is_not_believed(tmp_path):
    data = np.arange(132 * 80 * 114, dtype=np.uint32).reshape(132, 80, 114)
    turned = np.diag([-100.0, 100, -100])
    path = tmp_path / "a.nrrd"
    nrrd.write(str(path), data, {"space": "right-anterior-superior", "space directions": turned})
    read, synthetic = read_volume(path, 100, "annotation")
    np.testing.assert_array_equal(read, data)
    assert not synthetic
    millimetres = {"space directions": np.eye(3) * 0.1, "space units": ["mm"] * 3}
    nrrd.write(str(path), data, {"space": "left-posterior-superior", **millimetres})
    assert read_volume(path, 100, "annotation")[0].shape == data.shape


def test_an_annotation_holds_whole_numbers(tmp_path):
    path = nrrd_file(tmp_path, np.zeros((132, 80, 114), np.float32))
    with pytest.raises(InvalidInputError, match="float32"):
        open_atlas(annotation=path, graph=[])
    with pytest.raises(InvalidInputError, match="no whole NRRD"):
        open_atlas(annotation=tmp_path / "none.nrrd", graph=[])


@pytest.mark.parametrize(("resolution", "name"), [(33, "ccf_2017"), (25, "ccf_1999")])
def test_atlases_that_there_are_not(resolution, name, tmp_path):
    session, asked = answering(tmp_path, {})
    with pytest.raises(InvalidInputError):
        open_atlas(resolution, name=name, session=session)
    with pytest.raises(InvalidInputError, match="there are annotation"):
        open_atlas(25, template="mri", session=session)
    assert asked == []


def test_what_is_said_of_each_volume():
    sizes = {VolumeFile(kind, side).unpacked_bytes for kind in KINDS for side in (10, 25, 50, 100)}
    assert max(sizes) == 4_815_360_000
    assert VolumeFile("annotation", 25).described_size == "4.04 MB, 308 MB unpacked"
    assert VolumeFile("ara_nissl", 10).shape == (1320, 800, 1140)


# ---- ids of every kind


def lateralised(dtype):
    """Ids of either sign, or beyond 2³²; of both the low 32 bits are another structure's."""
    data = np.zeros((132, 80, 114), dtype)
    data[10:20], data[20:30] = 997, 8
    if dtype in (np.int16, np.int32, np.int64):
        data[10:20, :, :57] = -997
    if dtype in (np.int64, np.uint64):
        data[20:30, :, :57] = 2**32 + 8
    return data


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_no_id_becomes_another_one(tmp_path, dtype, order):
    """The kind: ids outside 0 … 2³² wrapped to those of other structures, without a word."""
    data = lateralised(dtype) if dtype != np.uint8 else np.full((132, 80, 114), 8, np.uint8)
    path = nrrd_file(tmp_path, data.astype(np.dtype(dtype).newbyteorder(order)))
    atlas = open_atlas(annotation=path, graph=[{"id": 997}, {"id": 8}])
    np.testing.assert_array_equal(atlas.annotation, data)
    assert atlas.annotation.dtype == (
        np.int64 if np.abs(data).max() > 2**32 or (data < 0).any() else np.uint32
    )
    assert set(atlas.unknown_ids) == set(np.unique(data).tolist()) - {0, 8, 997}
    known = [{"id": one} for one in (997, -997, 8, 2**32 + 8)]
    assert open_atlas(annotation=path, graph=known).unknown_ids == ()


def test_ids_that_no_type_holds_are_named(tmp_path):
    data = np.full((132, 80, 114), 5, np.uint64)
    data[100, 5, 5] = 2**63 + 5
    with pytest.raises(InvalidInputError, match="9223372036854775813"):
        open_atlas(annotation=nrrd_file(tmp_path, data), graph=[{"id": 5}])


# ---- files that are not what they say


def nrrd_bytes(data=b"", **fields):
    """A NRRD file with this header; voxels as they are given."""
    header = {
        "type": "unsigned int",
        "dimension": 3,
        "sizes": "132 80 114",
        "endian": "little",
        "encoding": "raw",
        **{key.replace("_", " "): value for key, value in fields.items()},
    }
    lines = [f"{key}: {value}" for key, value in header.items() if value is not None]
    return "\n".join(["NRRD0004", *lines, "", ""]).encode() + data


VOXELS = bytes(4 * 132 * 80 * 114)
PACKED = gzip.compress(VOXELS, 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (nrrd_bytes(VOXELS[:-4]), "announces 4815360"),
        (nrrd_bytes(VOXELS + b"x"), "announces 4815360"),
        (nrrd_bytes(PACKED[: len(PACKED) // 2], encoding="gzip"), "no whole NRRD file"),
        (nrrd_bytes(gzip.compress(VOXELS[4:]), encoding="gzip"), "ends after 4815356"),
        (nrrd_bytes(gzip.compress(VOXELS + b"x"), encoding="gzip"), "more than the 4815360"),
        (nrrd_bytes(PACKED[:-8] + bytes(8), encoding="gz"), "CRC"),
        (nrrd_bytes(bz2.compress(VOXELS[8:]), encoding="bzip2"), "ends after 4815352"),
        (nrrd_bytes(PACKED, encoding="gzip", sizes="1000000000 1000000000 1000000000"), "cannot"),
        (
            nrrd_bytes(PACKED, encoding="gzip", sizes="1320000 800000 1140000"),
            "cannot hold so many",
        ),
        (nrrd_bytes(VOXELS, sizes="132 80 -114"), "132 × 80 × -114"),
        (nrrd_bytes(VOXELS, sizes="132 0 114"), "each side must be 1 or more"),
        (nrrd_bytes(VOXELS, sizes="132 80", dimension=2), "2 axes"),
        (nrrd_bytes(VOXELS, sizes="1 132 80 114", dimension=4), "4 axes"),
        (nrrd_bytes(VOXELS, sizes="132 80"), "must have three"),
        (nrrd_bytes(VOXELS, sizes="99999999999999999999 80 114"), "no whole NRRD|must have"),
        (nrrd_bytes(VOXELS, sizes="nan 80 114"), "NRRD"),
        (nrrd_bytes(VOXELS, encoding="ascii"), "encoded as ascii"),
        (nrrd_bytes(VOXELS, encoding="zrl"), "encoded as zrl"),
        (nrrd_bytes(VOXELS, encoding=None), "encoded as None"),
        (nrrd_bytes(VOXELS, type="block"), "type block"),
        (nrrd_bytes(VOXELS, type="float"), "float32 values"),
        (nrrd_bytes(VOXELS, endian=None), "order of bytes"),
        (nrrd_bytes(b"x" + VOXELS, byte_skip=1), "byte skip"),
        (nrrd_bytes(VOXELS, byte_skip=-1), "byte skip"),
        (nrrd_bytes(data_file="/etc/passwd"), "another file, '/etc/passwd'"),
        (nrrd_bytes(data_file="../voxels.raw"), "another file, '../voxels.raw'"),
        (nrrd_bytes(data_file="made.nrrd"), "another file"),
        (nrrd_bytes(data_file="none.raw"), "none.raw cannot be read"),
        (nrrd_bytes(data_file="LIST"), "LIST cannot be read"),
        (nrrd_bytes(data_file=".."), "is a folder"),
        (nrrd_bytes(data_file="/"), "another file, '/'"),
        (b"NRRD0004\n" + b"# x\n" * (1 << 21), "header has no end"),
        (b"NRRD0004\nsizes\n\n", "no whole NRRD"),
        (b"\x1f\x8b\x08\x00not a nrrd", "begins with"),
        (b"", "is empty"),
    ],
)
def test_a_header_is_not_believed(tmp_path, content, said):
    """The kind: what a file announces was believed: other files, any size, any number of axes."""
    path = tmp_path / "made.nrrd"
    path.write_bytes(content)
    for kind in ("annotation", "template") if "float32" not in said else ("annotation",):
        with pytest.raises(InvalidInputError, match=said) as caught:
            read_volume(path, None, kind)
        assert "\n" not in str(caught.value)


@pytest.mark.timeout(20)
def test_paths_that_are_no_files(tmp_path):
    """The kind: a pipe hung, a folder was taken for no template at all."""
    os.mkfifo(tmp_path / "pipe")
    whole = nrrd_file(tmp_path, np.ones((132, 80, 114), np.uint8))
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none.nrrd", Path("/dev/zero")):
        with pytest.raises(InvalidInputError, match=str(path)):
            open_atlas(annotation=path, graph=[{"id": 1}])
        with pytest.raises(InvalidInputError, match=str(path)):
            open_atlas(annotation=whole, template=path, graph=[{"id": 1}])
        with pytest.raises(InvalidInputError, match=str(path)):
            open_atlas(annotation=whole, graph=path)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("apart", [False, True])
def test_encodings_that_are_read(tmp_path, encoding, apart):
    data = np.arange(132 * 80 * 114, dtype="<u4").reshape((132, 80, 114), order="F")
    packers: dict[str, Callable[[bytes], bytes]] = {
        "raw": bytes,
        "gzip": gzip.compress,
        "bzip2": bz2.compress,
    }
    packed = packers[encoding](data.tobytes("F"))
    fields = {"encoding": encoding, **({"data_file": "made.raw"} if apart else {})}
    (tmp_path / "made.raw").write_bytes(packed)
    (tmp_path / "made.nrrd").write_bytes(nrrd_bytes(b"" if apart else packed, **fields))
    read, _ = read_volume(tmp_path / "made.nrrd", None, "annotation")
    np.testing.assert_array_equal(read, data)
    assert not read.flags.writeable


def test_what_unpacks_to_more_takes_no_memory(tmp_path):
    """The kind: a small file that unpacks to gigabytes was unpacked before it was looked at."""
    path = tmp_path / "made.nrrd"
    path.write_bytes(nrrd_bytes(gzip.compress(bytes(300 << 20), 1), encoding="gzip"))
    tracemalloc.start()
    with pytest.raises(InvalidInputError, match="more than the 4815360 bytes"):
        read_volume(path, None, "annotation")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 48 << 20


def test_large_files_are_mapped(tmp_path, shared, monkeypatch):
    """Unpacked beside memory, and refused before if there is no room for it."""
    path = shared / "atlas" / "annotation_25.nrrd"
    tracemalloc.start()
    read, _ = read_volume(path, None, "annotation")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 48 << 20
    assert isinstance(read, np.memmap)
    assert hashlib.sha256(read.T.data).hexdigest().startswith("e4c549f12c9f21b6")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**8))
    with pytest.raises(OutputError, match=r"takes 308.2 MB at least, but 100.0 MB"):
        read_volume(path, None, "annotation")
    session, _ = answering(tmp_path, {"annotation_25.nrrd": path.read_bytes()})
    with pytest.raises(CacheError, match=r"308\.2 MB at least"):
        VolumeFile("annotation", 25).fetch(session)


# ---- which data sets


@pytest.mark.parametrize(("space", "said"), [(3, "E15.5"), (6, "P4"), (None, "no reference space")])
def test_developing_brains_are_refused_with_the_reason(space, said, demo_atlas):
    record = SectionDataSet(id=5, reference_space_id=space)
    for check in (check_space, demo_atlas.check_dataset):
        with pytest.raises(UnsupportedPlaneError, match=said) as caught:
            check(record)
        assert "adult" in str(caught.value)
        assert caught.value.dataset_id == 5


@pytest.mark.parametrize("space", [9, 10])
def test_both_adult_spaces_use_the_same_annotation(space):
    check_space(SectionDataSet(id=5, reference_space_id=space))


# ---- the cache's upkeep


def test_upkeep_knows_these_files(tmp_path, demo_session, monkeypatch):
    monkeypatch.setattr("atldld.fetch.known.is_known_graph", lambda structures: True)
    monkeypatch.setattr("atldld.atlas.open.is_known_graph", lambda structures: True)
    whole = ANNOTATION.fetch(demo_session).path.read_bytes()
    graph = json.dumps(
        {"msg": [{"id": 997, "acronym": "root", "name": "root", "children": []}]}
    ).encode()
    session, _ = answering(tmp_path, {"annotation_100.nrrd": whole, "1.json": graph})
    held = ANNOTATION.fetch(session)
    fetch_graph(session)
    assert verify_cache(session).damaged == []
    export_archive(session.cache, tmp_path / "out.zip")
    other = Session(Settings(cache_dir=tmp_path / "other", offline=True))
    assert import_archive(other.cache, tmp_path / "out.zip") == (0, [])
    assert ANNOTATION.fetch(other).sha256 == held.sha256
    assert len(fetch_graph(other)) == 1
    # from the folder itself, whose derived arrays are not taken
    ANNOTATION.open(session)
    third = Session(Settings(cache_dir=tmp_path / "third", offline=True))
    assert [
        d for d in import_archive(third.cache, session.cache.root)[1] if "lock" not in str(d.path)
    ] == []
    assert ANNOTATION.held(third) is not None
    assert not (third.cache.root / "unpacked").exists()

    damaged = bytearray(whole)
    damaged[-1] ^= 1
    held.path.write_bytes(damaged)
    (found,) = verify_cache(session).damaged
    assert "bytes have changed" in found.problem
    assert verify_cache(session, repair=True).repaired == 1
    assert ANNOTATION.held(session) is None
    offline = dataclasses.replace(session.settings, offline=True)
    with pytest.raises(OfflineError):
        ANNOTATION.fetch(Session(offline))


def forged(tmp_path, name, content):
    """An archive in which everything fits together but the content of one file."""
    cache = Cache(tmp_path / "forged", allens=False)
    with cache.new_file(name) as arriving:
        arriving.file.write(content)
        arriving.keep(
            FileFacts(url=f"{DOWNLOAD_URL}/{name}", sha256=hashlib.sha256(content).hexdigest())
        )
    target = tmp_path / "forged.zip"
    export_archive(cache, target)
    return target, cache


def other_volume(tmp_path, file, dtype):
    zeros = np.zeros(file.shape, dtype)
    return nrrd_file(tmp_path, zeros, float(file.resolution)).read_bytes()


@pytest.mark.parametrize(
    ("kind", "resolution", "dtype"),
    [("annotation", 25, np.uint32), ("average_template", 100, np.uint16)],
)
def test_a_forged_volume_is_neither_taken_nor_opened(tmp_path, kind, resolution, dtype):
    """The kind: a file whose hash is known was not compared with it where it was imported."""
    file = VolumeFile(kind, resolution)
    archive, source = forged(tmp_path, file.path, other_volume(tmp_path, file, dtype))
    session = Session(Settings(cache_dir=tmp_path / "cache", offline=True))
    _, refused = import_archive(session.cache, archive)
    (found,) = refused
    assert "not the Allen Institute's file" in found.problem
    assert "open_atlas(annotation" in found.problem  # what to do with it
    assert file.held(session) is None
    # as a cache that somebody has handed over
    session = Session(Settings(cache_dir=source.root, offline=True))
    for door in (file.fetch, file.open):
        with pytest.raises(CacheError, match="not the Allen Institute's file") as caught:
            door(session)
        assert "cache verify --repair" in str(caught.value)
        assert "open_atlas(annotation=FILE)" in str(caught.value)
    (found,) = verify_cache(session).damaged
    assert "not the Allen Institute's file" in found.problem
    verify_cache(session, repair=True)
    assert file.held(session) is None
    # what another service serves is its own
    demo = Settings(
        cache_dir=tmp_path / "demo",
        api_url="http://demo.invalid",
        download_url="http://demo.invalid",
    )
    demo_session = Session(demo)
    assert import_archive(demo_session.cache, archive) == (0, [])
    assert file.open(demo_session)[0].shape == file.shape


def test_a_forged_graph_is_not_taken_and_not_silently_opened(tmp_path, shared):
    """Two structures changed places; nothing else tells it from the genuine one."""
    content = (shared / "atlas" / "structure_graph_1.json").read_text()
    swapped = (
        content.replace('"DG-sg"', '"?"').replace('"DG-mo"', '"DG-sg"').replace('"?"', '"DG-mo"')
    )
    archive, source = forged(tmp_path, GRAPH, swapped.encode())
    session = Session(Settings(cache_dir=tmp_path / "cache", offline=True))
    (found,) = import_archive(session.cache, archive)[1]
    assert "not the Allen Institute's structure graph" in found.problem
    with pytest.warns(ServiceWarning, match="atldld atlas fetch structures"):
        fetch_graph(Session(Settings(cache_dir=source.root, offline=True)))
    # the genuine one, written in another way
    again = json.dumps(json.loads(content)).encode()
    archive, source = forged(tmp_path / "b", GRAPH, again)
    assert import_archive(session.cache, archive) == (0, [])
    assert len(fetch_graph(session)) == 1327


def test_the_mapped_array_is_tied_to_the_file(tmp_path, demo_session):
    """The kind: an array that was unpacked once was believed for ever, whatever was in it."""
    whole = ANNOTATION.fetch(demo_session).path.read_bytes()
    session, _ = answering(tmp_path, {"annotation_100.nrrd": whole})
    genuine = np.array(ANNOTATION.open(session)[0])
    (path,) = session.cache.root.rglob("*.npy")
    assert verify_cache(session).damaged == []

    def change():
        content = bytearray(path.read_bytes())
        content[-5000:] = bytes(5000)
        content[2_000_000] ^= 8
        path.write_bytes(content)

    change()
    (found,) = verify_cache(session).damaged
    assert found.path == path
    assert "bytes have changed" in found.problem
    np.testing.assert_array_equal(ANNOTATION.open(session)[0], genuine)
    assert verify_cache(session).damaged == []
    # a copy, whose time is another one, is read once and then believed
    os.utime(path, ns=(5, 5))
    np.testing.assert_array_equal(ANNOTATION.open(session)[0], genuine)
    assert path.stat().st_mtime_ns == 5
    # no array but that of this very file
    for name in (path, path.with_name(path.name + ".json")):
        before = name.read_bytes()
        name.unlink()
        np.testing.assert_array_equal(ANNOTATION.open(session)[0], genuine)
        name.write_bytes(before)
    other = path.with_name("annotation_100.nrrd-0123456789abcdef.npy")
    other.write_bytes(path.read_bytes())
    (found,) = verify_cache(session, repair=True).damaged
    assert (found.path, other.exists()) == (other, False)
    # nor out of a file that has changed since
    path.unlink()
    kept = ANNOTATION.held(session)
    assert kept is not None
    held = kept.path
    held.write_bytes(held.read_bytes()[:-1] + b"x")
    with pytest.raises(CacheError, match="have changed since it was fetched"):
        ANNOTATION.open(session)


def test_an_archive_whose_bytes_do_not_match_is_not_taken(tmp_path, demo_session):
    whole = ANNOTATION.fetch(demo_session).path.read_bytes()
    session, _ = answering(tmp_path, {"annotation_100.nrrd": whole})
    held = ANNOTATION.fetch(session)
    held.path.write_bytes(whole[:-1] + b"x")
    other = Session(Settings(cache_dir=tmp_path / "other", offline=True))
    _, refused = import_archive(other.cache, session.cache.root)
    assert any("do not match" in one.problem for one in refused)
    assert ANNOTATION.held(other) is None


def test_what_is_held_can_be_served(tmp_path, demo_session):
    from atldld.serve.stored import StoredArchive

    ANNOTATION.fetch(demo_session)
    fetch_graph(demo_session)
    source = StoredArchive(demo_session.cache.root)
    assert source.file(f"/{ANNOTATION.path}") is not None
    # what the cache knows of a file is none of the service's
    assert source.file(f"/{ANNOTATION.path}.json") is None
    with in_process_session(tmp_path, source) as session:
        atlas = open_atlas(100, session=session)
        assert atlas.synthetic
        assert len(atlas.graph) == len(anatomy.STRUCTURES)


@pytest.mark.parametrize("name", ["../x", "a/../b", ".hidden", "a//b", "a/.b", ""])
def test_names_stay_below_the_folder(tmp_path, name):
    with pytest.raises(AtldldError):
        Session(Settings(cache_dir=tmp_path)).find_file(name)


def test_the_default_addresses_are_the_institutes():
    assert (Settings().api_url, Settings().download_url) == (API_URL, DOWNLOAD_URL)
