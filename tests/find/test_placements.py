"""A catalogue that outlives the service: every section is placed without a request."""

import json
import sqlite3
import zipfile
from contextlib import closing
from dataclasses import replace

import pytest

from atldld.demo.archive import DemoArchive
from atldld.errors import CacheError, InvalidInputError, OutputError, ServiceError
from atldld.fetch import Limits, Session
from atldld.fetch.placements import (
    pack,
    placements_path,
    read_placement,
    unpack,
    whose_image,
)
from atldld.find import update
from atldld.find.exchange import export_catalogue, import_catalogue
from atldld.find.placements import (
    PlacementsInfo,
    estimate_placements,
    placements_info,
    update_placements,
)
from atldld.records import SectionDataSet
from atldld.serve.app import Application
from atldld.settings import Settings
from atldld.support.documents import DocumentError
from atldld.testing.exchange import Answer
from atldld.testing.faults import FaultPlan, FewerRows, Send, queries
from atldld.testing.server import FaultServer
from atldld.testing.sources import FIRST, Copies, served

LIMITS = Limits(connect=30, read=120, attempts=2, first_wait=0.01, longest_wait=0.02)


@pytest.fixture(scope="module")
def service():
    with FaultServer(Application(DemoArchive())) as server:
        yield server


@pytest.fixture
def asking(service, tmp_path):
    service.use()
    with Session(Settings(api_url=service.url, cache_dir=tmp_path), limits=LIMITS) as session:
        yield session


def gone(session, folder):
    """A session in the same cache, or another one, whose service refuses whatever is asked."""
    return Session(replace(session.settings, cache_dir=folder), limits=LIMITS)


def test_records_are_those_of_the_service(asking, service, tmp_path):
    update(asking)
    info = update_placements(asking)
    assert (info.data_sets, info.images, info.incomplete) == (3, 144, 0)
    true = {number: asking.dataset(number) for number in (69289763, 71717084, 909)}
    (root,) = [asking.cache.root]
    for path in (root / "datasets").iterdir():
        path.unlink()
    service.use(FaultPlan(Send(Answer(503))))
    service.forget()
    with gone(asking, tmp_path) as session:
        for number, dataset in true.items():
            assert session.dataset(number) == dataset
        image = true[909].images[3]
        assert SectionDataSet.from_records({"id": 1}, [session.image_record(image.id)]).images == (
            image,
        )
        with pytest.raises(ServiceError):
            session.dataset(909, refresh=True)
        with pytest.raises(ServiceError):
            session.dataset(910)
    assert {entry.request.model for entry in service.log} == {"SectionDataSet", "SectionImage"}


def test_genuine_records_keep_every_digit(genuine, shared):
    for number, dataset in genuine.items():
        records = json.loads((shared / "datasets" / f"{number}.json").read_text())
        packed = pack(records["section_data_set"], records["section_images"])
        found = unpack(packed)
        assert SectionDataSet.from_records(*found.values()) == dataset
        assert len(packed) < 125 * len(dataset.images)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.pop("alignment2d"),
        lambda image: image.update(alignment2d=None),
        lambda image: image["alignment2d"].pop("tvs_03"),
        lambda image: image.update(expression_path=None, tier_count=None),
    ],
)
def test_what_is_missing_stays_missing(change):
    (record,) = DemoArchive((909,)).tables()["SectionDataSet"]
    images = json.loads(json.dumps(record["section_images"]))
    change(images[2])
    true = SectionDataSet.from_records(record, images)
    assert SectionDataSet.from_records(*unpack(pack(record, images)).values()) == true


def test_damaged_documents_are_refused():
    (record,) = DemoArchive((909,)).tables()["SectionDataSet"]
    packed = pack(record, record["section_images"])
    for bad in (b"", packed[:-5], packed[: len(packed) // 2], b"x" * 50):
        with pytest.raises(DocumentError):
            unpack(bad)


def test_an_update_that_was_stopped_goes_on(tmp_path):
    with served(Copies(730)) as service:
        settings = Settings(api_url=service.address, cache_dir=tmp_path)
        with Session(settings, limits=LIMITS) as session:
            update(session)
            estimated = estimate_placements(session)
            assert estimated.data_sets == 730

            def stop(done, total, what):
                if done >= 300:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                update_placements(session, progress=stop)
            assert placements_info(session) is None
            assert estimate_placements(session).data_sets == 430
            before = len(service.begun)
            info = update_placements(session)
            assert (info.data_sets, info.images) == (730, 730 * 14)
            # 500 data sets at most: one batch may have been under way twice
            assert len(service.begun) - before <= 5 * 2
            before = len(service.begun)
            assert update_placements(session).data_sets == 730
            assert len(service.begun) == before
        images = session.dataset(FIRST + 7).images
        assert whose_image(session.cache.root, images[5].id) == FIRST + 7
        assert info.bytes < 730 * 14 * 125 + 60_000


def test_data_sets_that_are_gone_are_forgotten_and_new_ones_added(asking):
    update(asking)
    update_placements(asking)
    with closing(sqlite3.connect(asking.cache.root / "catalogue.sqlite")) as db:
        db.execute("DELETE FROM data_set WHERE id = 909")
        db.commit()
    assert update_placements(asking).data_sets == 2
    update(asking, full=True)
    assert update_placements(asking).data_sets == 3


def test_where_rows_are_missing_each_data_set_is_asked_for_and_the_rest_is_whole(service, asking):
    update(asking)
    service.use(FaultPlan(FewerRows(claimed=True), queries("SectionImage"), 1))
    info = update_placements(asking)
    assert (info.data_sets, info.images, info.incomplete) == (3, 144, 0)
    service.use(FaultPlan(FewerRows(claimed=True), queries("SectionImage")))
    info = update_placements(asking, full=True)
    assert (info.data_sets, info.incomplete) == (3, 3)
    service.use()
    info = update_placements(asking)
    assert (info.data_sets, info.images, info.incomplete) == (3, 144, 0)


class LeavesOut:
    """A service that sends no joined record where columns are named."""

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        from urllib.parse import unquote_plus

        if "only" in unquote_plus(environ["QUERY_STRING"]):
            environ = {
                **environ,
                "QUERY_STRING": environ["QUERY_STRING"].replace("alignment2d", "data_set"),
            }
        return self.application(environ, start_response)


def test_a_service_that_joins_nothing_to_named_columns(tmp_path):
    application = LeavesOut(Application(DemoArchive((909,))))
    with FaultServer(application) as server:
        settings = Settings(api_url=server.url, cache_dir=tmp_path)
        with Session(settings, limits=LIMITS) as session:
            update(session)
            update_placements(session)
            placed = read_placement(session.cache.root, 909)
            assert placed is not None
            assert all(image["alignment2d"] for image in placed["section_images"])


def test_without_a_catalogue_it_is_said(asking):
    for call in (update_placements, estimate_placements):
        with pytest.raises(CacheError, match="There is no catalogue"):
            call(asking)
    assert placements_info(asking) is None


@pytest.mark.parametrize("damage", ["cut", "rubbish", "version", "view", "document"])
def test_a_damaged_file_is_an_error_and_not_passed_over(damage, asking, tmp_path):
    update(asking)
    update_placements(asking)
    path = placements_path(asking.cache.root)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "rubbish":
        path.write_bytes(b"no database" * 500)
    else:
        with closing(sqlite3.connect(path)) as db:
            db.executescript(
                {
                    "version": "UPDATE fact SET value = '99' WHERE key = 'schema'",
                    "view": "ALTER TABLE image RENAME TO other; "
                    "CREATE VIEW image AS SELECT * FROM other",
                    "document": "UPDATE data_set SET document = x'00'",
                }[damage]
            )
    with pytest.raises(CacheError, match="placements"):
        asking.dataset(909)
    if damage != "document":
        assert update_placements(asking).data_sets == 3
        assert asking.dataset(909).images


# ---- handed on


@pytest.fixture
def filled(asking):
    update(asking)
    update_placements(asking)
    return asking


def test_a_laboratory_fetches_once(filled, service, tmp_path):
    done = export_catalogue(filled, tmp_path / "it.zip")
    assert done.files == ("catalogue.sqlite", "placements.sqlite")
    with pytest.raises(OutputError, match="already"):
        export_catalogue(filled, tmp_path / "it.zip")
    export_catalogue(filled, tmp_path / "it.zip", force=True)
    service.use(FaultPlan(Send(Answer(503))))
    with gone(filled, tmp_path / "other") as session:
        taken = import_catalogue(session, tmp_path / "it.zip")
        assert taken.files == done.files
        assert isinstance(placements_info(session), PlacementsInfo)
        assert len(session.dataset(71717084).images) == 112
        import_catalogue(session, tmp_path / "it.zip")  # the same again is no harm


def test_nothing_is_replaced_unasked(filled, tmp_path):
    export_catalogue(filled, tmp_path / "it.zip")
    with gone(filled, tmp_path / "other") as session:
        update(session, images=True)
        before = (session.cache.root / "catalogue.sqlite").read_bytes()
        with pytest.raises(CacheError, match=r"another catalogue\.sqlite"):
            import_catalogue(session, tmp_path / "it.zip")
        assert (session.cache.root / "catalogue.sqlite").read_bytes() == before
        assert not placements_path(session.cache.root).exists()
        import_catalogue(session, tmp_path / "it.zip", force=True)
        assert placements_path(session.cache.root).exists()


def rewritten(source, target, change):
    """Another ZIP file, with some members changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


def without(name):
    return lambda n, content: None if n == name else content


def at_marker(change):
    def changed(name, content):
        if name != "atldld-catalogue.json":
            return content
        marker = json.loads(content)
        change(marker)
        return json.dumps(marker).encode()

    return changed


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (without("atldld-catalogue.json"), "no catalogue that was exported"),
        (without("placements.sqlite"), "placements.sqlite .* cannot be read"),
        (lambda n, c: c[:-1] if n == "placements.sqlite" else c, "damaged"),
        (lambda n, c: c + b"x" if n == "catalogue.sqlite" else c, "damaged"),
        (
            at_marker(lambda m: m.update(service="http://elsewhere")),
            "catalogue of http://elsewhere",
        ),
        (at_marker(lambda m: m.update(version=2)), "newer version"),
        (at_marker(lambda m: m["files"].pop("catalogue.sqlite")), "holds no catalogue"),
        (at_marker(lambda m: m["files"]["catalogue.sqlite"].update(bytes=1 << 50)), "a size of"),
    ],
)
def test_what_is_no_sound_catalogue_is_refused(change, text, filled, tmp_path):
    export_catalogue(filled, tmp_path / "it.zip")
    bad = rewritten(tmp_path / "it.zip", tmp_path / "bad.zip", change)
    with gone(filled, tmp_path / "other") as session:
        with pytest.raises((InvalidInputError, CacheError), match=text):
            import_catalogue(session, bad)
        names = {path.name for path in session.cache.root.rglob("*.sqlite*")}
        assert names == set()
        with pytest.raises(InvalidInputError):
            import_catalogue(session, tmp_path / "it.zip.not")
        (tmp_path / "text.zip").write_text("no ZIP")
        with pytest.raises(InvalidInputError):
            import_catalogue(session, tmp_path / "text.zip")
