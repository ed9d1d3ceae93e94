import dataclasses
import hashlib
import json
import threading

import httpx
import nrrd
import numpy as np
import pytest

from atldld.archive import brain
from atldld.archive.app import Application
from atldld.archive.demo import DemoArchive
from atldld.archive.local import in_process_session
from atldld.atlas import StructureGraph, open_atlas
from atldld.atlas.atlas import check_space, fetch_graph
from atldld.atlas.volumes import KINDS, VolumeFile, read_volume, volume_file
from atldld.errors import (
    AnswerError,
    AtldldError,
    InvalidInputError,
    OfflineError,
    UnsupportedPlaneError,
)
from atldld.fetch.client import Limits
from atldld.fetch.session import Session, cache_root
from atldld.fetch.upkeep import export_archive, import_archive, verify_cache
from atldld.records import SectionDataSet
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
    truth = brain.structure_id((index + 0.5) * 100)
    np.testing.assert_array_equal(annotation[tuple(index.T)], truth)
    assert demo_atlas.unknown_ids == ()
    assert demo_atlas.synthetic
    assert demo_atlas.graph.synthetic
    assert "SYNTHETIC" in repr(demo_atlas)
    assert "SYNTHETIC" in demo_atlas.citation


def test_it_is_mapped_and_opening_again_unpacks_nothing(demo_atlas, demo_session, monkeypatch):
    monkeypatch.setattr("nrrd.read", None)
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
    from atldld.archive import volumes

    small = np.arange(24, dtype=np.uint32).reshape(2, 3, 4)
    monkeypatch.setattr(volumes, "_voxels", lambda r: brain.Voxels(small, small, small))
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
        (s.id, s.acronym, s.parent_id) for s in brain.STRUCTURES
    ]
    assert client.get("/api/v2/structure_graph_download/2.json").status_code == 404


# ---- fetching


def test_offline_names_the_command_and_the_size(tmp_path):
    session, asked = answering(tmp_path, {}, offline=True)
    with pytest.raises(
        OfflineError, match=r"atldld atlas fetch annotation --resolution 25.*308 MB"
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
    monkeypatch.setattr("nrrd.read", None)  # it is not unpacked again
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
    own = json.dumps({"msg": [{"id": 997, "acronym": "root", "name": "root"}]}).encode()
    session, _ = answering(
        tmp_path / "b", {**answers, "1.json": own}, download_url="http://demo.invalid"
    )
    with pytest.raises(AtldldError, match="do not belong together"):
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


def test_upkeep_knows_these_files(tmp_path, demo_session):
    whole = ANNOTATION.fetch(demo_session).path.read_bytes()
    graph = json.dumps({"msg": [{"id": 997, "acronym": "root", "name": "root"}]}).encode()
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
    from atldld.archive.stored import StoredArchive

    ANNOTATION.fetch(demo_session)
    fetch_graph(demo_session)
    source = StoredArchive(demo_session.cache.root)
    assert not any(name.endswith(".json.json") or ".nrrd.json" in name for name in source.files())
    with in_process_session(tmp_path, source) as session:
        atlas = open_atlas(100, session=session)
        assert atlas.synthetic
        assert len(atlas.graph) == len(brain.STRUCTURES)


@pytest.mark.parametrize("name", ["../x", "a/../b", ".hidden", "a//b", "a/.b", ""])
def test_names_stay_below_the_folder(tmp_path, name):
    with pytest.raises(AtldldError):
        Session(Settings(cache_dir=tmp_path)).find_file(name)


def test_the_default_addresses_are_the_institutes():
    assert (Settings().api_url, Settings().download_url) == (API_URL, DOWNLOAD_URL)
