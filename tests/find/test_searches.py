"""Lazy searches: from the service, from the catalogue, and what they say when nothing is found."""

import pytest

import atldld
from atldld.errors import (
    InvalidInputError,
    NotFoundError,
    OfflineError,
)
from atldld.fetch.session import Session
from atldld.find import build, search
from atldld.find.catalogue import catalogue_path
from atldld.settings import Settings

PROX1, PDYN, PAGE = 69289763, 71717084, 909
BOTH = pytest.mark.parametrize("source", ["service", "catalogue"])


@BOTH
@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({"gene": "Pdyn"}, [PDYN]),
        ({"gene": "prodynorphin"}, [PDYN]),
        ({"gene": "Dyn"}, [PDYN]),
        ({"gene": "18610"}, [PDYN]),
        ({"gene": "ENSMUSG00000027400"}, [PDYN]),
        ({"gene": ["Pdyn", "Prox1"]}, [PROX1, PDYN]),
        ({"gene": "Pd*"}, [PDYN]),
        ({"plane": "Coronal"}, [PAGE, PDYN]),
        ({"plane": atldld.Plane.SAGITTAL.value}, [PROX1]),
        ({"id": [PAGE, PROX1]}, [PAGE, PROX1]),
        ({"specimen": "05-2716"}, [PAGE, PDYN]),
        ({"specimen": 70971025}, [PAGE, PDYN]),
        ({"specimen": "05-*", "plane": "sagittal"}, [PROX1]),
        ({"product": "adult", "space": 9, "sex": "male"}, [PAGE, PDYN]),
        ({"product": "Developing*", "age": "p56"}, [PAGE, PROX1, PDYN]),
        ({"treatment": "ish", "orientation": "antisense", "strain": "C57*"}, [PAGE, PROX1, PDYN]),
        ({"gene": ["Pdyn", "Demo"], "min_sections": 100}, [PDYN]),
        ({"plane": "coronal", "max_sections": 14}, [PAGE]),
        ({"plane": "coronal", "resolution": 1.05}, [PDYN]),
    ],
)
def test_filters(session_of, source, filters, ids):
    found = search(session=session_of(source), **filters)
    assert found.ids == ids
    assert found.source.kind == source
    assert len(found) == len(list(found)) == len(ids)
    assert found
    first = found.first()
    assert first is not None
    assert first.id == found[0].id == ids[0]


def test_nothing_is_sent_before_it_is_used(session, monkeypatch):
    sent = []
    monkeypatch.setattr(session.client, "get_json", lambda url: sent.append(url))
    found = search(gene="Pdyn", session=session)
    assert "not asked yet" in repr(found)
    assert not sent


def test_one_request_for_a_gene_and_none_again(session, monkeypatch):
    ask, sent = session.client.get_json, []

    def counted(url):
        sent.append(url)
        return ask(url)

    monkeypatch.setattr(session.client, "get_json", counted)
    assert search(gene="Pdyn", session=session).ids == [PDYN]
    assert search(gene="Pdyn", plane="coronal", session=session).ids == [PDYN]
    assert len(sent) == 1
    assert search(gene="Pdyn", session=session).live(refresh=True).ids == [PDYN]
    assert len(sent) == 2


def test_a_row(catalogued):
    (row,) = search(gene="Pdyn", session=catalogued)
    assert (row.genes, row.plane, row.treatments, row.probes) == (
        ("Pdyn",),
        "coronal",
        ("ISH",),
        ("antisense",),
    )
    assert (row.age, row.sex, row.strain, row.specimen) == ("P56", "M", "C57BL/6J", "05-2716")
    assert (row.sections, row.resolution, row.reference_space) == (112, 1.049, 9)
    assert row.synthetic
    assert not row.failed


def test_images(catalogued, session):
    for asked in (catalogued, session):
        images = search("image", dataset=PROX1, session=asked)
        assert [image.section_number for image in images][:2] == [6, 14]
        assert len(images) == 18
    assert len(search("image", gene="Prox1", plane="coronal", session=catalogued)) == 0
    image = search("image", id=69177654, session=catalogued).first()
    assert image is not None
    assert image.width == 11921


@BOTH
def test_other_kinds(session_of, source):
    asked = session_of(source)
    gene = search("gene", name="prody", session=asked).first()
    assert gene is not None
    assert (gene.acronym, gene.entrez_id, gene.organism, gene.aliases) == (
        "Pdyn",
        18610,
        "mouse",
        ("Dyn",),
    )
    assert gene.data_sets == (1 if source == "catalogue" else None)
    other = search("gene", name="19130", session=asked).first()
    assert other is not None
    assert other.acronym == "Prox1"
    structure = search("structure", name="DG", session=asked).first()
    assert structure is not None
    assert (structure.id, structure.parent_id, structure.graph_id) == (22, 20, 1)
    specimens = search("specimen", name="05-*", sex="M", session=asked)
    assert specimens.ids == [68870790, 70971025]


class TestGenes:
    def test_human_capitals_mean_the_mouse(self, catalogued):
        found = search(gene="PDYN", session=catalogued)
        assert found.ids == [PDYN]
        assert found.remarks == ("PDYN is written as in humans; the mouse gene Pdyn is meant.",)

    @pytest.mark.parametrize(
        ("name", "organism", "id", "told"),
        [
            ("PDYN", None, 1, "; the human gene is PDYN."),
            ("prodynorphin", None, 1, "; the human gene is PDYN."),
            ("Pdyn", None, 1, "Pdyn is the mouse gene; the human gene is PDYN."),
            ("pdyn", "human", 2, "pdyn is taken for PDYN."),
            ("OnlyHuman", None, 2, "OnlyHuman is an alias of PDYN."),
        ],
    )
    def test_mouse_before_human(self, tmp_path, name, organism, id, told):
        genes = [
            {"id": k, "acronym": acronym, "name": "prodynorphin", "organism_id": organism_id}
            for k, acronym, organism_id in ((10, "Pdyn", 2), (20, "PDYN", 1))
        ]
        genes[1]["alias_tags"] = "OnlyHuman"
        rows = [{"id": k, "genes": [gene]} for k, gene in enumerate(genes, 1)]
        session = Session(Settings(cache_dir=tmp_path, offline=True))
        build(catalogue_path(session.cache.root), [("SectionDataSet", rows)], service="x")
        found = search(gene=name, organism=organism, session=session)
        assert found.ids == [id]
        assert found.remarks[0].endswith(told)

    def test_a_name_is_explained(self, catalogued):
        assert search(gene="prodynorphin", session=catalogued).remarks == (
            "prodynorphin is the name of Pdyn.",
        )
        assert search(gene="Pdyn", session=catalogued).remarks == ()

    @pytest.mark.parametrize("name", ["Prx1", "prox 1", "Porx1", "prospero homeobx 1"])
    def test_typing_mistakes(self, catalogued, name):
        with pytest.raises(NotFoundError, match=r"Did you mean .*Prox1"):
            len(search(gene=name, session=catalogued))
        found = search("gene", name=name, session=catalogued)
        assert not found
        assert "Prox1" in (found.explanation or "")

    def test_every_unknown_one_is_named(self, catalogued):
        with pytest.raises(NotFoundError, match=r"Prx1 or Pdny.*instead of Prx1.*instead of Pdny"):
            len(search(gene=["Prx1", "Pdyn", "Pdny"], session=catalogued))

    @pytest.mark.parametrize("name", ['"', "'; DROP", "%", "_", "é", "x" * 4000, "*"])
    def test_strange_names(self, catalogued, name):
        found = search("gene", name=name, session=catalogued)
        assert len(found) == (3 if name == "*" else 0)

    def test_the_service_compares_exactly(self, session):
        with pytest.raises(NotFoundError, match=r"exactly.*Prox1"):
            len(search(gene="prox1", session=session))
        assert search(gene="PDYN", session=session).remarks == (
            "PDYN is the human gene; the mouse gene is Pdyn.",
        )


class TestEmpty:
    @BOTH
    def test_the_filter_that_left_nothing(self, session_of, source):
        asked = session_of(source)
        found = search(specimen="05-2716", gene="Pdyn", orientation="sense", session=asked)
        assert found.ids == []
        assert not found
        assert found.first() is None
        assert found.explanation == (
            "1 data set of gene Pdyn, 1 of them of specimen 05-2716, none of those sense "
            "(there are: antisense 1)."
        )
        assert found.explanation in repr(found)

    def test_real_ones(self, real):
        found = search(gene="Gad1", plane="coronal", orientation="sense", session=real)
        assert found.explanation == (
            "20 data sets of gene Gad1, 2 of them coronal, none of those sense "
            "(there are: antisense 2)."
        )

    def test_raw_criteria(self, session):
        assert search(plane="coronal", rma="[weight$gt5000]", session=session).ids == [PAGE, PDYN]
        found = search(gene="Pdyn", rma="[weight$gt9999]", session=session)
        assert found.explanation == "There are no data sets of gene Pdyn that meet [weight$gt9999]."

    def test_pandas(self, catalogued):
        pandas = pytest.importorskip("pandas")
        full = search(plane="coronal", session=catalogued).to_pandas()
        empty = search(plane="transverse", session=catalogued).to_pandas()
        assert isinstance(full, pandas.DataFrame)
        assert list(full.index) == [PAGE, PDYN]
        assert list(empty.columns) == list(full.columns)
        assert full.loc[PDYN, "genes"] == ("Pdyn",)


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"plane": "corronal"}, "Did you mean coronal"),
        ({"id": "x"}, "positive whole number"),
        ({"sex": "both"}, "male"),
        ({"orientation": "up"}, "antisense"),
        ({"space": "P55"}, "reference space"),
        ({"organism": "yeti"}, "human"),
        ({"min_sections": 5, "max_sections": 4}, "at once"),
        ({"min_sections": "many"}, "whole number"),
        ({"resolution": -1}, "positive"),
        ({"resolution": float("nan")}, "positive"),
        ({"gene": [" "]}, "text"),
        ({"gene": "a\0b"}, "text"),
        ({"specimen": True}, "text"),
        ({"rma": "model::Gene"}, "criteria"),
        ({"name": "Pdyn"}, "cannot be filtered by name"),
        ({"graph": 1}, "cannot be filtered"),
    ],
)
def test_senseless_filters(filters, told):
    with pytest.raises(InvalidInputError, match=told):
        search(**filters)


def test_senseless_kinds(session):
    with pytest.raises(InvalidInputError, match="atlas"):
        search("atlas")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="cannot be filtered by plane"):
        search("gene", plane="coronal")
    for kind in ("dataset", "image", "gene", "specimen"):
        with pytest.raises(InvalidInputError, match="without any condition"):
            len(search(kind, session=session))


def test_offline(session):
    import dataclasses

    search(gene="Pdyn", session=session).ids  # noqa: B018
    session.settings = dataclasses.replace(session.settings, offline=True)
    assert search(gene="Pdyn", plane="coronal", session=session).ids == [PDYN]
    with pytest.raises(OfflineError, match="not in the cache"):
        len(search(gene="Prox1", session=session))


class TestFailed:
    @pytest.fixture
    def broken(self, tmp_path):
        """A service with a data set that failed, and a failed image in another."""
        from atldld.demo.archive import DemoArchive
        from atldld.demo.local import in_process_session

        class Broken(DemoArchive):
            def tables(self):
                tables = dict(super().tables())
                tables["SectionDataSet"] = [
                    {**row, "failed": row["id"] == PAGE} for row in tables["SectionDataSet"]
                ]
                tables["SectionImage"] = [
                    {**row, "failed": row["id"] == 69177654} for row in tables["SectionImage"]
                ]
                return tables

        with in_process_session(tmp_path / "broken", Broken()) as session:
            yield session

    def test_hidden_and_said_so(self, broken):
        for _ in range(2):
            found = search(plane="coronal", session=broken)
            assert (found.ids, found.hidden) == ([PDYN], 1)
            assert search(plane="coronal", failed=True, session=broken).ids == [PAGE, PDYN]
            images = search("image", dataset=PROX1, session=broken)
            assert (len(images), images.hidden) == (17, 1)
            alone = search(id=PAGE, session=broken)
            assert alone.explanation == (
                "1 data set of id 909, none of those passed the quality control."
            )
            atldld.find.update(broken, images=True)


def test_images_that_the_catalogue_lacks(session):
    """They are asked for and searched beside it; the file stays as it is."""
    path = atldld.find.update(session).path
    before = path.read_bytes()
    assert search(plane="coronal", min_sections=20, session=session).ids == [PDYN]
    assert len(search("image", gene="Prox1", session=session)) == 18
    assert path.read_bytes() == before
