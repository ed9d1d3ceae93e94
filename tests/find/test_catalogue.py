"""The catalogue: complete, resumable, incremental, atomic; and fast at the real size."""

import sqlite3
import time
from itertools import pairwise

import httpx
import pytest

from atldld.demo.archive import DemoArchive
from atldld.demo.local import in_process_session
from atldld.errors import CacheError, NetworkError, RMAError, RowShortfallWarning
from atldld.fetch.session import Session
from atldld.find import build, catalogue_info, search, update
from atldld.find.catalogue import catalogue_path, new_database
from atldld.serve.app import Application
from atldld.serve.archive import Archive
from atldld.settings import Settings
from atldld.testing.catalogue import made_up_catalogue, questions

PROX1, PDYN, PAGE = 69289763, 71717084, 909


class Growing(Archive):
    """A source whose tables a test may change."""

    synthetic = True

    def __init__(self, count=60):
        demo = DemoArchive().tables()
        (template,) = (one for one in demo["SectionDataSet"] if one["id"] == PDYN)
        self.template = {k: v for k, v in template.items() if k != "section_images"}
        self.data = {**demo, "SectionImage": [], "SectionDataSet": []}
        self.add(*range(1000, 1000 + count))

    def add(self, *ids, **columns):
        self.data["SectionDataSet"] = sorted(
            [*self.data["SectionDataSet"], *({**self.template, "id": k, **columns} for k in ids)],
            key=lambda row: row["id"],
        )
        self.data["SectionImage"] = [
            *self.data["SectionImage"],
            *(
                {
                    "id": 10 * k + n,
                    "data_set_id": k,
                    "section_number": 8 * n,
                    "width": 9,
                    "height": 9,
                    "tier_count": 3,
                    "resolution": 1.0,
                    "failed": False,
                    "path": "x",
                }
                for k in ids
                for n in range(4)
            ),
        ]

    def tables(self):
        return dict(self.data)  # another each time, as it may have changed

    def image(self, *_, **__):
        return None


@pytest.fixture
def source():
    return Growing()


@pytest.fixture
def asked():
    """The addresses that `growing` has been asked for."""
    return []


@pytest.fixture
def growing(tmp_path, source, asked, monkeypatch):
    """A session at a service that sends seven joined rows in a page."""
    with in_process_session(tmp_path / "growing", source) as session:
        transport = httpx.WSGITransport(app=Application(source, row_cap=7))
        with Session(session.settings, transport=transport) as capped:
            ask = capped.client.get_json

            def counted(url):
                asked.append(url)
                return ask(url)

            monkeypatch.setattr(capped.client, "get_json", counted)
            yield capped


def test_everything_is_fetched(growing, source):
    info = update(growing, images=True)
    assert info.rows["data_set"] == 60
    assert info.rows["image"] == 240
    assert info.imaged == 60
    assert info.rows["structure"] == len(source.data["Structure"])
    assert info.added["data_set"] == 60
    assert info.remarks == ()
    assert not (info.path.parent / "catalogue-update.sqlite").exists()
    assert [p.name for p in info.path.parent.glob(".*")] == []
    assert len(search(gene="Pdyn", session=growing)) == 60


def test_only_what_is_new(growing, asked, source):
    first = update(growing)
    source.add(2000, 2001)
    asked.clear()
    second = update(growing)
    assert second.added["data_set"] == 2
    assert second.built == first.built
    assert len(asked) == 3 * 2 + 3  # two counts of each table, and the pages that are new
    assert search(id=2001, session=growing).ids == [2001]


@pytest.mark.parametrize("change", ["vanished", "in between"])
def test_counts_that_do_not_fit(growing, source, change):
    update(growing, images=True)
    if change == "vanished":
        source.data["SectionDataSet"] = source.data["SectionDataSet"][1:]
    else:
        source.add(5)
    info = update(growing)
    assert info.rows["data_set"] == (59 if change == "vanished" else 61)
    assert info.imaged == info.rows["data_set"]
    assert info.rows["gene"] == 3


def test_a_change_is_seen_by_a_full_update_only(growing, source):
    update(growing, images=True)
    source.data["SectionDataSet"] = [
        {**row, "failed": True} for row in source.data["SectionDataSet"]
    ]
    update(growing)
    assert len(search(gene="Pdyn", session=growing)) == 60
    info = update(growing, full=True)
    assert len(search(gene="Pdyn", session=growing)) == 0
    assert info.imaged == 60


@pytest.mark.parametrize("after", [1, 5, 12, 20, 25, 30])
def test_interrupted(growing, asked, after):
    """No page that has arrived is asked for again, and the old catalogue stays meanwhile."""
    build(catalogue_path(growing.cache.root), [], service="old")
    old = catalogue_path(growing.cache.root).read_bytes()
    ask, left = growing.client.get_json, [after]

    def until(url):
        if not left[0]:
            raise NetworkError("The cable is cut.")
        left[0] -= 1
        return ask(url)

    growing.client.get_json = until
    with pytest.raises(NetworkError):
        update(growing, images=True, full=True)
    assert catalogue_path(growing.cache.root).read_bytes() == old
    before = list(asked)
    growing.client.get_json = ask
    assert update(growing, images=True, full=True).rows["data_set"] == 60
    again = asked[len(before) :]
    assert not set(before) & set(again)
    assert catalogue_info(growing).imaged == 60


def test_nothing_half_when_the_disk_is_full(growing, monkeypatch):
    update(growing)
    path = catalogue_path(growing.cache.root)
    old = path.read_bytes()

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("atldld.find.catalogue.finish", full)
    with pytest.raises(CacheError, match=r"disk is full.*untouched"):
        update(growing, full=True)
    assert path.read_bytes() == old
    assert [p.name for p in path.parent.glob(".*.part*")] == []


def test_rows_that_never_come(growing):
    ask = growing.client.get_json

    def promising(url):
        answer = ask(url)
        if "SectionDataSet" in url and "num_rows" in url:
            answer["total_rows"] += 3
        return answer

    growing.client.get_json = promising
    with pytest.warns(RowShortfallWarning, match="promised"):
        info = update(growing)
    assert info.rows["data_set"] == 60
    assert "promised" in info.remarks[0]


def test_a_service_that_lists_no_genes(growing, source):
    del source.data["Gene"], source.data["Structure"]
    info = update(growing)
    assert info.rows["gene"] == 1
    assert len(info.remarks) == 2
    assert len(search(gene="Pdyn", session=growing)) == 60
    del source.data["SectionDataSet"]
    with pytest.raises(RMAError):
        update(growing, full=True)
    assert catalogue_info(growing).rows["data_set"] == 60


def test_two_updates_at_once(growing):
    import filelock

    lock = growing.cache.root / "locks" / "catalogue.lock"
    lock.parent.mkdir(parents=True)
    with filelock.FileLock(lock), pytest.raises(CacheError, match="Another update"):
        update(growing)


def test_another_version(growing):
    path = update(growing).path
    with sqlite3.connect(path) as db:
        db.execute("UPDATE fact SET value = '0' WHERE key = 'schema'")
    db.close()
    with pytest.raises(CacheError, match=r"version 0.*--full"):
        len(search(gene="Pdyn", session=growing))
    assert search(gene="Pdyn", live=True, session=growing).ids
    assert update(growing).rows["data_set"] == 60


def test_damaged(growing):
    path = update(growing).path
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CacheError, match=r"cannot be read.*--full"):
        len(search(gene="Pdyn", session=growing))
    path.write_text("not a database")
    with pytest.raises(CacheError, match="cannot be read"):
        catalogue_info(growing)
    assert update(growing).rows["data_set"] == 60


def test_none(session):
    with pytest.raises(CacheError, match="atldld catalogue update"):
        catalogue_info(session)


def test_each_service_has_its_own(growing, session):
    assert update(growing).path != update(session).path
    assert search(gene="Pdyn", session=session).ids == [PDYN]


def test_records_as_they_may_be(tmp_path):
    """Nulls, missing keys, repeated rows, records without ids, wrong kinds."""
    rows = [
        None,
        {},
        {"id": "x"},
        {"id": 7, "genes": [None, {"acronym": "A"}, {"acronym": "A"}], "products": None},
        {"id": 7, "genes": [{"acronym": "A"}], "failed": None, "specimen": []},
        {"id": 8, "genes": [{"id": 3, "acronym": "B"}, {"id": 3}], "treatments": [{"name": "ISH"}]},
        {"id": 9, "plane_of_section_id": {"a": 1}, "section_thickness": "thin"},
    ]
    session = Session(Settings(cache_dir=tmp_path, offline=True))
    build(catalogue_path(session.cache.root), [("SectionDataSet", rows)], service="x")
    found = {row.id: row for row in search(session=session)}
    assert {number: row.genes for number, row in found.items()} == {7: ("A",), 8: ("B",), 9: ()}
    assert found[8].treatments == ("ISH",)
    assert found[9].plane == "unknown"


def test_without_trigrams(monkeypatch):
    class Old(sqlite3.Connection):
        def execute(self, sql, *values):
            if "trigram" in sql:
                raise sqlite3.OperationalError("no such tokenizer: trigram")
            return super().execute(sql, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Old))
    with pytest.raises(CacheError, match=r"trigrams.*3\.34"):
        new_database()


def test_real_experiments(real):
    info = catalogue_info(real)
    assert info.rows["data_set"] > 28_000
    assert info.rows["gene"] > 19_000
    assert len(search(gene="Pvalb", session=real)) == 22
    assert search(gene="PVALB", session=real).remarks[0].endswith("the mouse gene Pvalb is meant.")
    assert len(search(treatment="NISSL", session=real)) == 1657
    ids = search(plane="coronal", session=real).ids
    assert all(a < b for a, b in pairwise(ids))
    with pytest.raises(LookupError, match="Prox1"):
        len(search(gene="Prx1", session=real))


@pytest.mark.long
def test_at_full_size(tmp_path):
    """Searches use indices, whatever the machine; the benchmark prints the figures themselves."""
    session = made_up_catalogue(tmp_path)
    path = catalogue_path(session.cache.root)
    assert path.stat().st_size < 100e6

    def best(ask):
        times = []
        for _ in range(15):
            begun = time.perf_counter()
            ask()
            times.append(time.perf_counter() - begun)
        return min(times)

    asked = questions(session)
    gene = [ask for name, ask in asked.items() if name.startswith("data sets of")]
    fuzzy = [ask for name, ask in asked.items() if name.startswith("fuzzy")]
    assert len(search(gene="Gad1", session=session)) > 15
    # two hundred times what it takes: without an index it would be more
    assert max(map(best, gene)) < 1
    assert max(map(best, fuzzy)) < 6
