"""Where pixels come from: the service, archives, a source of one's own; and in which order."""

import contextlib
import io
import pickle
import re
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from atldld.demo.archive import DemoArchive
from atldld.demo.local import in_process_session
from atldld.errors import BrokenImageError, CacheError, ImageNotFoundError, OfflineError
from atldld.fetch import Session
from atldld.fetch.archive import export_archive
from atldld.fetch.sources import ArchiveImages, ImageSource, Received, ServiceImages, Wanted
from atldld.testing.conformance import check_image_source

PAGE = Path(__file__).resolve().parents[2] / "docs" / "develop" / "add-a-source.md"
TIER = 4


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A session at the demo's service that has fetched two images and a mask."""
    folder = tmp_path_factory.mktemp("filled")
    with in_process_session(folder / "cache", DemoArchive((909,))) as session:
        images = session.dataset(909).images
        for image in images[:2]:
            session.image(image, TIER)
        session.image(images[0], TIER, expression=True)
        yield session


@pytest.fixture(scope="module")
def images(filled):
    return filled.dataset(909).images


@pytest.fixture(scope="module")
def held(filled, images):
    """The JPEGs of what was fetched."""
    wanted = [Wanted(images[0], TIER), Wanted(images[1], TIER), Wanted(images[0], TIER, True)]
    return {
        what: filled.image(what.image, TIER, expression=what.expression).path.read_bytes()
        for what in wanted
    }


@pytest.fixture(scope="module", params=["archive.zip", "archive", "cache"])
def archive(request, filled, tmp_path_factory):
    """An exported archive, as a file and as a folder, and a cache."""
    if request.param == "cache":
        return filled.cache.root
    target = tmp_path_factory.mktemp("exported") / request.param
    export_archive(filled.cache, target)
    return target


def offline(filled, folder, sources):
    """A session without a network, and without pixels, that knows the records."""
    settings = replace(filled.settings, cache_dir=folder, offline=True)
    session = Session(settings, sources=sources)
    shutil.copytree(filled.cache.root / "datasets", session.cache.root / "datasets")
    return session


def test_images_come_from_an_archive_without_any_request(filled, archive, held, tmp_path):
    with offline(filled, tmp_path, [ArchiveImages(archive)]) as session:
        known = {image.id: image for image in session.dataset(909).images}
        for wanted, content in held.items():
            image = known[wanted.image.id]
            got = session.image(image, TIER, expression=wanted.expression)
            first = filled.image(image, TIER, expression=wanted.expression)
            assert got.path.read_bytes() == content
            assert got.path.is_relative_to(tmp_path)
            assert (got.url, got.sha256, got.fetched) == (first.url, first.sha256, first.fetched)
        assert session.client.requests_sent == 0
        with pytest.raises(OfflineError, match=rf"neither in the cache .* {archive}\.") as caught:
            session.image(session.dataset(909).images[2], TIER)
        assert caught.value.image_id == session.dataset(909).images[2].id
    assert Session(session.settings).image(image, TIER, expression=wanted.expression)


def test_what_an_archive_lacks_is_asked_of_the_service(archive, images, tmp_path):
    with in_process_session(tmp_path, DemoArchive((909,))) as session:
        session.sources = (ArchiveImages(archive),)
        session.image(images[0], TIER)
        assert session.client.requests_sent == 0
        session.image(images[2], TIER)
        assert session.client.requests_sent == 1


@pytest.fixture
def damaged(filled, images, tmp_path):
    """An archive whose first image has lost its end, and whose second is another picture."""
    target = tmp_path / "damaged"
    export_archive(filled.cache, target)
    path, other = (
        target / filled.image(image, TIER).path.relative_to(filled.cache.root)
        for image in images[:2]
    )
    path.write_bytes(path.read_bytes()[:-40])
    other.write_bytes(path.read_bytes())
    return target


def test_a_damaged_archive_is_named_and_passed_over(filled, damaged, images, held, tmp_path):
    source = ArchiveImages(damaged)
    with offline(filled, tmp_path / "offline", [source]) as session:
        for image in images[:2]:
            with pytest.raises(BrokenImageError, match=re.escape(str(damaged))) as caught:
                session.image(image, TIER)
            assert caught.value.image_id == image.id
        assert not list((session.cache.root / "images").rglob("*.jpg*"))
    with in_process_session(tmp_path / "online", DemoArchive((909,))) as session:
        session.sources = (source,)
        got = session.image(images[0], TIER)
        assert got.path.read_bytes() == held[Wanted(images[0], TIER)]
        assert session.client.requests_sent == 1


class Wrong(ImageSource):
    """Gives the same bytes for whatever is asked, and checks nothing."""

    name = "the wrong one"
    remote = False

    def __init__(self, content):
        self.content = content

    def address(self, wanted):
        return "wrong://"

    def fetch(self, wanted, file, check):
        file.write(self.content)
        return Received("wrong://")


@pytest.mark.parametrize("content", [b"", b"no JPEG", None])
def test_whatever_a_source_says_its_bytes_are_verified(filled, images, held, content, tmp_path):
    content = list(held.values())[1][:-100] if content is None else content
    with offline(filled, tmp_path, [Wrong(content)]) as session:
        with pytest.raises(BrokenImageError, match=r"[Tt]he wrong one"):
            session.image(images[1], TIER)
        assert session.cache.find_image(images[1].id, TIER) is None


def test_a_remote_source_is_not_asked_offline(filled, images, held, tmp_path):
    class Remote(Wrong):
        remote = True

    source = Remote(next(iter(held.values())))
    with offline(filled, tmp_path, [source]) as session, pytest.raises(OfflineError):
        session.image(images[0], TIER)


def test_sources_are_asked_in_their_order(filled, images, held, archive, tmp_path):
    sources = [ArchiveImages(archive), Wrong(b"not reached")]
    with offline(filled, tmp_path, sources) as session:
        assert session.image(images[0], TIER).path.read_bytes() == held[Wanted(images[0], TIER)]
        strict = session.strictly()
        assert strict.settings.strict
        assert (strict.client, strict.sources) == (session.client, session.sources)
        with pickle.loads(pickle.dumps(session)) as again:
            assert [source.name for source in again.sources] == [s.name for s in sources]


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"no ZIP file")
    with pytest.raises(CacheError, match="neither a folder nor a ZIP"):
        ArchiveImages(tmp_path / "x.zip")


# ---- the contract


def test_an_archive_keeps_the_contract(archive, images, held):
    check_image_source(ArchiveImages(archive), held, [Wanted(images[2], TIER)])


def test_the_service_keeps_the_contract(filled, images, held):
    source = ServiceImages(filled.client)
    check_image_source(source, held)
    unknown = Wanted(msgspec.structs.replace(images[0], id=5), TIER)
    with pytest.raises(ImageNotFoundError, match="image 5 is unknown"):
        source.fetch(unknown, io.BytesIO(), lambda: None)


def test_careless_sources_are_found_out(held):
    with pytest.raises(AssertionError, match="other bytes"):
        check_image_source(Wrong(b"x"), held)
    with pytest.raises(AssertionError, match="says that it is there"):
        check_image_source(Wrong(b"x"), {}, held)


class Deaf(Wrong):
    """Checks, and does not care."""

    def fetch(self, wanted, file, check):
        received = super().fetch(wanted, file, check)
        with contextlib.suppress(BrokenImageError):
            check()
        return received


def test_a_source_that_ignores_the_check_is_found_out(held):
    wanted, content = next(iter(held.items()))
    with pytest.raises(AssertionError, match="it was refused"):
        check_image_source(Deaf(content), {wanted: content})


# ---- the page about it


def test_the_example_of_the_page(filled, images, held, tmp_path, monkeypatch):
    text = PAGE.read_text("utf-8")
    blocks = re.findall(r"<!-- a test runs this block -->\n```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    module = types.ModuleType("named_files")
    monkeypatch.setitem(sys.modules, "named_files", module)
    for block in blocks:
        exec(block, module.__dict__)
    folder = tmp_path / "named"
    folder.mkdir()
    own = {wanted: content for wanted, content in held.items() if not wanted.expression}
    for wanted, content in own.items():
        (folder / f"{wanted.image.id}-{TIER}.jpg").write_bytes(content)
    lacking = [Wanted(images[2], TIER), Wanted(images[0], TIER, expression=True)]
    module.test_named_files(folder, own, lacking)
    with offline(filled, tmp_path / "cache", [module.NamedFiles(folder)]) as session:
        got = session.image(images[0], TIER)
        assert got.url == (folder / f"{images[0].id}-{TIER}.jpg").as_uri()
        assert session.pixels(images[0], TIER).shape[2] == 3
