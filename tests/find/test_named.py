"""Data sets and images as people name them: ids, pasted addresses, genes with planes.

The kind of fault: what a person has at hand names one data set, and is refused, or is taken for
another one.
"""

import msgspec
import numpy as np
import pytest

from atldld.errors import (
    AmbiguousNameError,
    AtldldError,
    DatasetNotFoundError,
    InvalidInputError,
    NotFoundError,
    OfflineError,
)
from atldld.find import searches
from atldld.find.named import (
    GeneInPlane,
    find_dataset,
    find_datasets,
    read_dataset_name,
    read_image_name,
)

ID = 69289763
QUERY = "api.brain-map.org/api/v2/data/query"


@pytest.mark.parametrize(
    "name",
    [
        ID,
        str(ID),
        f" {ID}\n",
        np.int64(ID),
        f"https://mouse.brain-map.org/experiment/show/{ID}",
        f"http://mouse.brain-map.org/experiment/show/{ID}/",
        f"  <https://mouse.brain-map.org/experiment/show/{ID}>  ",
        f"HTTPS://MOUSE.BRAIN-MAP.ORG/experiment/show/{ID}",
        f"https://www.mouse.brain-map.org/experiment/show/{ID}",
        f"mouse.brain-map.org/experiment/show/{ID}",
        f"//mouse.brain-map.org/experiment/show/{ID}",
        f"https://mouse.brain-map.org:443/experiment/show/{ID}",
        f"https://mouse.brain-map.org/experiment/show/{ID}?popup=true",
        f"https://mouse.brain-map.org/experiment/show/{ID}?popup=true#section-12",
        f"https://mouse.brain-map.org/experiment/show/{ID}#100048576",
        f"https://mouse.brain-map.org/experiment/show?id={ID}",
        f"https://mouse.brain-map.org/experiment/thumbnails/{ID}?image_type=ISH,EXPR",
        f"https://mouse.brain-map.org/experiment/ivt?id={ID}&popup=true",
        f"http://mouse.brain-map.org/experiment/siv?id={ID}&imageId=69177654&initImage=ish",
        f"http://mouse.brain-map.org/experiment/siv?imageId=69177654&id={ID}&x=3#zoom",
        f"http://mouse.brain-map.org/imageseries/show.html?id={ID}",
        f"https://api.brain-map.org/api/v2/data/SectionDataSet/{ID}",
        f"https://api.brain-map.org/api/v2/data/SectionDataSet/{ID}.json?include=genes",
        f"http://api.brain-map.org/api/v2/data/SectionDataSet/{ID}.xml",
        f"http://{QUERY}.json?criteria=model::SectionDataSet,rma::criteria,[id$eq{ID}]",
        f"http://{QUERY}.xml?criteria=model::SectionDataSet,rma::criteria,[id$eq'{ID}'],genes",
        f"http://{QUERY}.json?num_rows=1&criteria=model%3A%3ASectionDataSet%2Crma%3A%3Acriteria"
        f"%2C%5Bid%24eq{ID}%5D%2Crma%3A%3Ainclude%2Cgenes",
        f"{QUERY}.json?criteria=model::SectionDataSet,rma::criteria,[id$in{ID}]",
        f"http://{QUERY}.json?criteria=model::SectionImage,rma::criteria,[data_set_id$eq{ID}]",
        f"http://{QUERY}.csv?criteria=model::SectionImage,rma::criteria,section_data_set[id$eq{ID}]",
        f"http://api.brain-map.org/api/v2/data/SectionDataSet/query.json?criteria=[id$eq{ID}]",
        f"http://api.brain-map.org/grid_data/download/{ID}?include=energy",
    ],
)
def test_what_names_the_data_set(name):
    assert read_dataset_name(name) == ID
    assert find_dataset(name) == ID  # asks nobody


def test_addresses_of_the_service_that_is_asked():
    own = "http://127.0.0.1:8765"
    for address in (
        f"{own}/api/v2/data/SectionDataSet/{ID}.json",
        f"127.0.0.1:8765/api/v2/data/SectionDataSet/{ID}.json",
    ):
        assert read_dataset_name(address, api_url=own) == ID
    with pytest.raises(InvalidInputError, match="no address of the Allen Brain Atlas"):
        read_dataset_name(f"{own}/api/v2/data/SectionDataSet/{ID}.json")


@pytest.mark.parametrize(
    ("name", "gene", "plane"),
    [
        ("Prox1", "Prox1", None),
        ("Prox1:sagittal", "Prox1", "sagittal"),
        ("Prox1/coronal", "Prox1", "coronal"),
        ("Prox1,coronal", "Prox1", "coronal"),
        ("Prox1 coronal", "Prox1", "coronal"),
        (" Prox1 : Coronal ", "Prox1", "coronal"),
        ("Prox1:horizontal", "Prox1", "transverse"),
        ("H2-T9:sagittal", "H2-T9", "sagittal"),
        ("1110008P14Rik:coronal", "1110008P14Rik", "coronal"),
        ("A930033C23Rik*", "A930033C23Rik*", None),
        ("prospero homeobox protein 1:coronal", "prospero homeobox protein 1", "coronal"),
        ("coronal", "coronal", None),
    ],
)
def test_a_gene_and_its_plane(name, gene, plane):
    named = read_dataset_name(name)
    assert named == GeneInPlane(gene, plane)
    assert read_dataset_name(str(named)) == named


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (0, "positive whole numbers"),
        (-5, "positive whole numbers"),
        ("-5", "positive whole numbers"),
        ("2.5", "positive whole numbers"),
        ("nan", "positive whole numbers"),
        ("", "positive whole numbers"),
        (None, "positive whole numbers"),
        (True, "positive whole numbers"),
        ("[/red]\x1b[31m", "Prox1:sagittal"),
        ("../data", "Prox1:sagittal"),
        ("x" * 200, "Prox1:sagittal"),
        ("https://mouse.brain-map.org/gene/show/19080", "a page about a gene"),
        ("https://mouse.brain-map.org/", "no page of an experiment"),
        ("https://mouse.brain-map.org/static/atlas", "no page of an experiment"),
        ("https://mouse.brain-map.org/experiment/show/", "no page of an experiment"),
        ("https://developingmouse.brain-map.org/experiment/show/100026212", "another atlas"),
        ("https://human.brain-map.org/ish/experiment/show/80515491", "another atlas"),
        ("http://connectivity.brain-map.org/projection/experiment/100141599", "another atlas"),
        ("https://atlas.brain-map.org/atlas?atlas=1", "another atlas"),
        (f"https://example.org/experiment/show/{ID}", "no address of the Allen Brain Atlas"),
        (f"https://mouse.brain-map.org.example.org/experiment/show/{ID}", "no address of the"),
        (f"ftp://me:secret@example.org/{ID}", "no address of the Allen Brain Atlas"),
        ("http://api.brain-map.org/api/v2/section_image_download/69177654", "a section image"),
        ("http://api.brain-map.org/api/v2/data/SectionImage/69177654.json", "a section image"),
        (f"http://{QUERY}.json?criteria=model::SectionImage,rma::criteria,[id$eq5]", "image"),
        (f"http://{QUERY}.json?criteria=model::SectionDataSet,rma::criteria,[id$in5,6]", "2 data"),
        (f"http://{QUERY}.json?criteria=model::Gene,rma::criteria,[id$eq5]", "no address of one"),
        (
            f"http://{QUERY}.json?criteria=model::SectionDataSet,rma::criteria,[specimen_id$eq5]",
            "no",
        ),
        ("http://[::1", "no address"),
    ],
)
def test_what_names_none_is_refused_in_one_sentence(name, says):
    with pytest.raises(InvalidInputError) as refused:
        read_dataset_name(name)
    assert says in str(refused.value)
    assert refused.value.message.count(". ") == 0
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        69177654,
        "69177654",
        "http://api.brain-map.org/api/v2/section_image_download/69177654?downsample=3",
        "api.brain-map.org/api/v2/image_download/69177654",
        "http://api.brain-map.org/api/v2/data/SectionImage/69177654.json",
        f"http://{QUERY}.json?criteria=model::SectionImage,rma::criteria,[id$eq69177654]",
        f"https://mouse.brain-map.org/experiment/siv?id={ID}&imageId=69177654",
    ],
)
def test_what_names_an_image(name):
    assert read_image_name(name) == 69177654


@pytest.mark.parametrize(
    "name", [f"https://mouse.brain-map.org/experiment/show/{ID}", "Prox1", "0", "http://x.org/5"]
)
def test_what_names_no_image(name):
    with pytest.raises(InvalidInputError):
        read_image_name(name)


def test_genes_are_found(session):
    assert find_dataset("Prox1", session=session) == ID
    assert find_dataset("Prox1:sagittal", session=session) == ID
    assert find_datasets(["Prox1,71717084", "Pdyn:coronal"], session=session) == [
        *(ID, 71717084, 71717084)
    ]
    assert find_datasets("909,Prox1,sagittal,Pdyn:coronal", session=session) == [909, ID, 71717084]
    with pytest.raises(DatasetNotFoundError, match=f"no coronal .* Prox1; there are: {ID}"):
        find_dataset("Prox1:coronal", session=session)
    with pytest.raises(NotFoundError, match="no gene called"):
        find_dataset("Prox17", session=session)


def test_a_gene_that_nobody_may_ask_for(tmp_path):
    from atldld.fetch.session import Session
    from atldld.settings import Settings

    with Session(
        Settings.from_environment({}, cache_dir=tmp_path / "none", offline=True)
    ) as session:
        with pytest.raises(OfflineError, match="taken for a gene"):
            find_dataset("Prox1", session=session)
        assert find_dataset("909", session=session) == 909


def changed(monkeypatch, *changes):
    """Let a search find the one data set in these kinds, and nothing else."""
    real = searches.search

    def search(*args, **filters):
        (row,) = real(*args, **filters)
        return [msgspec.structs.replace(row, **change) for change in changes]

    monkeypatch.setattr(searches, "search", search)


def test_what_several_fit_is_left_to_the_user(session, monkeypatch):
    changed(monkeypatch, {}, {"id": 7, "plane": "coronal"}, {"id": 8, "plane": "coronal"})
    with pytest.raises(AmbiguousNameError) as refused:
        find_dataset("Prox1", session=session)
    assert len(refused.value.candidates) == 3
    for told in (str(ID), "sagittal", "P56", "05-0660", "ISH antisense", "Prox1:coronal"):
        assert told in str(refused.value)
    assert find_dataset("Prox1:sagittal", session=session) == ID
    with pytest.raises(AmbiguousNameError) as refused:
        find_dataset("Prox1:coronal", session=session)
    assert [one.partition(" ")[0] for one in refused.value.candidates] == ["7", "8"]
    assert "plane" not in (refused.value.hint or "")


def test_only_what_can_be_placed_fits_where_anything_can(session, monkeypatch):
    changed(monkeypatch, {}, {"id": 7, "reference_space": 4, "age": "E18.5"})
    assert find_dataset("Prox1", session=session) == ID
    changed(monkeypatch)


def test_others_fit_where_nothing_can_be_placed(session, monkeypatch):
    changed(monkeypatch, {"id": 7, "reference_space": 4})
    assert find_dataset("Prox1", session=session) == 7


def test_the_error_is_one_that_travels(session, monkeypatch):
    import pickle

    changed(monkeypatch, {}, {"id": 7})
    with pytest.raises(AmbiguousNameError) as refused:
        find_dataset("Prox1", session=session)
    again = pickle.loads(pickle.dumps(refused.value))
    assert isinstance(again, AtldldError)
    assert str(again) == str(refused.value)
