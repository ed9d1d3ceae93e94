"""Everything that people send to other processes arrives there, and works.

The kind: objects that hold a lock, a connection, a closure or a mapped file cannot be pickled; or
they can, and then do not work, or are not what they were: writable, or without their hint.
"""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from operator import methodcaller

import numpy as np
import pytest

import atldld
from atldld import errors
from atldld.demo.local import in_process_session
from atldld.fetch.client import Client
from atldld.fetch.limits import Limits
from atldld.fetch.session import Session
from atldld.formats import write_quicknii
from atldld.place.alignment import read_alignment
from atldld.settings import Settings

cloudpickle = pytest.importorskip("cloudpickle")

WAYS = [pickle, cloudpickle]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with in_process_session(tmp_path_factory.mktemp("cache")) as session:
        yield session


@pytest.fixture(scope="module")
def dataset(demo):
    return atldld.open_dataset(909, session=demo)


def sent(thing, way=pickle):
    return pickle.loads(way.dumps(thing))


@pytest.mark.parametrize("way", WAYS)
def test_a_session_a_data_set_and_its_sections(dataset, way):
    again = sent(dataset, way)
    assert again.record == dataset.record
    assert {section.session for section in again.sections} == {again.session}
    assert again.session.settings == dataset.session.settings
    assert again.session.client.limits == dataset.session.client.limits
    section, mine = sent(dataset.sections[3], way), dataset.sections[3]
    assert np.array_equal(section.pixels(4), mine.pixels(4))
    assert np.array_equal(section.to_reference([(1, 2)]), mine.to_reference([(1, 2)]))
    assert np.array_equal(section.register(200).image, mine.register(200).image)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_made_of_them(demo, dataset, way):
    registered = next(dataset.register(200))
    again = sent(registered, way)
    assert np.array_equal(again.image, registered.image)
    assert again.files == registered.files
    field = registered.displacement_field()
    assert sent(field, way) == field
    volume = dataset.volume(200)
    assert np.array_equal(sent(volume, way).data, volume.data)
    assert sent(volume, way).metadata == volume.metadata
    quality = atldld.assess(dataset)
    assert sent(quality, way) == quality
    grid = atldld.fetch_grid(909, session=demo)
    assert sent(grid, way).dataset_id == 909
    placement = dataset.sections[0].placement
    assert sent(placement.image_to_reference, way) == placement.image_to_reference
    assert not sent(placement.image_to_reference, way).matrix.flags.writeable
    points = atldld.reference_to_image(dataset.record, [[6000, 4000, 5000]])
    assert np.array_equal(sent(points, way).xy, points.xy)


@pytest.mark.parametrize("way", WAYS)
def test_a_search_before_and_after_it_was_asked(demo, way):
    search = atldld.search(gene="Prox1", session=demo)
    assert sent(search, way).ids == search.ids == [69289763]
    assert list(sent(search, way)) == list(search)
    assert sent(search, way).source == search.source


@pytest.mark.parametrize("way", WAYS)
def test_an_atlas_sends_no_more_than_where_it_is(demo, dataset, way):
    atlas = atldld.open_atlas(100, session=demo)
    assert atlas.template is not None
    content = way.dumps(atlas)
    assert len(content) < atlas.annotation.nbytes / 20
    again = pickle.loads(content)
    assert isinstance(again.annotation, np.memmap)
    assert np.array_equal(again.annotation, atlas.annotation)
    assert np.array_equal(again.template, atlas.template)
    assert not again.annotation.flags.writeable
    assert again.graph.unknown([1]) == atlas.graph.unknown([1])
    section = dataset.sections[5]
    there, here = section.outlines(again, 100), section.outlines(atlas, 100)
    assert [outline.id for outline in there] == [outline.id for outline in here]
    outlines = sent(here, way)
    assert len(outlines) == len(here) > 0
    assert len(way.dumps(again)) < atlas.annotation.nbytes / 20


def test_an_atlas_of_files_takes_them_along(demo):
    atlas = atldld.open_atlas(100, session=demo)
    array = np.array(atlas.annotation, np.uint32)
    own = atldld.Atlas("mine", 100.0, array, atlas.graph, "nobody", "a file")
    again = sent(own)
    assert np.array_equal(again.annotation, array)
    assert not again.annotation.flags.writeable
    assert again.template is None


def test_an_atlas_is_not_taken_for_another(demo, tmp_path):
    content = pickle.dumps(atldld.open_atlas(100, session=demo))
    held = demo.find_file("informatics-archive/current-release/mouse_ccf/annotation/ccf_2017/"
                          "annotation_100.nrrd", host="download")  # fmt: skip
    companion = held.path.with_name(held.path.name + ".json")
    before = companion.read_text()
    companion.write_text(before.replace(held.sha256, "0" * 64))
    try:
        with pytest.raises(errors.AtldldError, match=r"another one|have changed"):
            pickle.loads(content)
    finally:
        companion.write_text(before)


def test_an_alignment_goes_with_its_data_set(dataset, tmp_path):
    path = tmp_path / "planes.json"
    write_quicknii(dataset, path)
    placed = atldld.open_dataset(909, session=dataset.session, alignment=path)
    again = sent(placed)
    assert again.alignment == placed.alignment == read_alignment(path).file
    assert again.sections[0].alignment == "planes.json"


def test_clients_of_one_service_are_one_client_where_they_arrive(tmp_path):
    """Each section of a data set brings its session; they must not open a connection each."""
    with Session(Settings("http://s", "http://s", tmp_path), limits=Limits(in_flight=3)) as session:
        one, two = sent(session), sent(session)
        assert one is not two
        assert one.client is two.client
        assert one.client.limits == session.client.limits
        assert one.client is not session.client
        other = sent(Client("http://other", limits=session.client.limits))
        assert other is not one.client
    one.close()
    with pytest.raises(errors.NetworkError, match="cannot be reached"):  # it has been tried
        sent(Session(Settings("http://127.0.0.1:9", "http://127.0.0.1:9", tmp_path),
                     limits=Limits(attempts=1))).client.get_json("http://127.0.0.1:9/")  # fmt: skip


def tree(kind):
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", list(tree(errors.AtldldError)))
def test_errors_keep_what_they_know(kind, way):
    """An exception that cannot be unpickled would end a pool of processes."""
    error = kind("No luck.", hint="Try.", dataset_id=1, image_id=2, url="http://s/3")
    error.status_code, error.retry_after = 503, 7.5
    error.add_note("at night")
    again = sent(error, way)
    assert type(again) is kind
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert (again.hint, again.dataset_id, again.image_id, again.url) == ("Try.", 1, 2, "http://s/3")


@pytest.mark.parametrize("kind", [*tree(errors.ServiceWarning), errors.AlignmentFileWarning,
                                  errors.LockWarning])  # fmt: skip
def test_warnings_too(kind):
    assert str(sent(kind("Look."))) == "Look."
    assert type(sent(kind("Look."))) is kind


def test_a_pool_of_spawned_processes(at_demo_server, tmp_path):
    session = Session(Settings(at_demo_server, at_demo_server, tmp_path / "pool"))
    with session, ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        dataset = atldld.open_dataset(909, session=session)
        some = dataset.sections[:4]
        pictures = list(pool.map(methodcaller("pixels", 4), some))
        for section, picture in zip(some, pictures, strict=True):
            assert np.array_equal(section.pixels(4), picture)
        (made,) = pool.map(methodcaller("register", 200), some[:1])
        assert np.array_equal(made.image, some[0].register(200).image)
        wrong = pool.submit(methodcaller("section", 7), dataset)
        with pytest.raises(errors.InvalidInputError) as caught:
            wrong.result()
        assert (caught.value.dataset_id, caught.value.image_id) == (909, 7)
        found = pool.submit(methodcaller("first"), atldld.search(gene="Prox1", session=session))
        assert found.result().id == 69289763
