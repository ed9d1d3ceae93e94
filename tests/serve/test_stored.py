"""The cache and exported archives, served."""

import dataclasses
import os

import httpx
import pytest
import simplejpeg

from atldld.demo.archive import DemoArchive
from atldld.demo.local import in_process_session, opened_archive
from atldld.errors import CacheError, DatasetNotFoundError, ImageNotFoundError, InvalidInputError
from atldld.fetch.archive import export_archive
from atldld.fetch.members import Member
from atldld.sections.download import download_dataset
from atldld.sections.register import Recipe
from atldld.serve.app import Application
from atldld.serve.listen import listen
from atldld.serve.stored import StoredArchive
from atldld.settings import API_URL, Settings

RECIPE = Recipe(resolution=200, expression=True)


@pytest.fixture
def filled(session, tmp_path):
    download_dataset(909, tmp_path / "first", RECIPE, session=session)
    session.dataset(69289763)
    return session


def ask(source):
    return httpx.Client(
        transport=httpx.WSGITransport(app=Application(source)), base_url="http://archive"
    )


@pytest.mark.one_in(3)
@pytest.mark.parametrize("form", ["folder", "zip", "cache itself"])
def test_a_laboratory_works_from_an_archive(filled, tmp_path, form):
    """What was fetched once can be fetched again from the archive, byte for byte."""
    target = filled.cache.root
    if form != "cache itself":
        target = tmp_path / ("a.zip" if form == "zip" else "a")
        export_archive(filled.cache, target)
    with (
        opened_archive(str(target), filled.settings) as source,
        in_process_session(tmp_path / "second-cache", source) as session,
    ):
        summary = download_dataset(909, tmp_path / "second", RECIPE, session=session)
        assert summary.complete
        for path in (tmp_path / "first").glob("*.png"):
            assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
        with pytest.raises(ImageNotFoundError, match="404"):
            session.image(session.dataset(69289763).images[0], 5)


def test_the_cache_in_use_by_its_name(filled, tmp_path):
    settings = dataclasses.replace(filled.settings, api_url=API_URL)
    settings = dataclasses.replace(settings, cache_dir=filled.cache.root)
    with opened_archive("cache", settings) as source:
        assert {r["id"] for r in source.tables()["SectionDataSet"]} == {909, 69289763}


def test_only_some_data_sets(filled):
    with opened_archive(str(filled.cache.root), filled.settings, [909]) as source:
        assert [r["id"] for r in source.tables()["SectionDataSet"]] == [909]
        assert {r["data_set_id"] for r in source.tables()["SectionImage"]} == {909}
    with (
        pytest.raises(DatasetNotFoundError, match="71717084"),
        opened_archive(str(filled.cache.root), filled.settings, [71717084]),
    ):
        pass
    with opened_archive("demo", filled.settings, [909]) as source:
        assert [r["id"] for r in source.tables()["SectionDataSet"]] == [909]
    with pytest.raises(DatasetNotFoundError), opened_archive("demo", filled.settings, [5]):
        pass


def test_no_archive(tmp_path):
    with (
        pytest.raises(CacheError, match="no archive at"),
        opened_archive(str(tmp_path / "nothing"), Settings(cache_dir=tmp_path)),
    ):
        pass


def test_what_it_lacks_is_404_with_a_reason(filled):
    client = ask(StoredArchive(filled.cache.root))
    image_id = filled.dataset(909).images[0].id
    missing = client.get(f"/api/v2/section_image_download/{image_id}?downsample=0")
    assert missing.status_code == 404
    assert "does not hold section image" in missing.json()["msg"]
    assert client.get("/grid_data/download/909").status_code == 404


def test_regions_and_quality_are_cut_from_what_is_held(filled):
    client = ask(StoredArchive(filled.cache.root))
    image = filled.dataset(909).images[0]
    tier = int(next(filled.cache.image_path(image.id, 0).parent.glob("?.jpg")).stem)
    url = f"/api/v2/section_image_download/{image.id}?downsample={tier}"
    whole = client.get(url)
    assert whole.content == filled.cache.image_path(image.id, tier).read_bytes()
    part = client.get(f"{url}&left=64&top=32&width=20&height=10&quality=50")
    assert simplejpeg.decode_jpeg(part.content).shape == (10, 20, 3)


def test_changes_are_noticed(filled):
    source = StoredArchive(filled.cache.root)
    assert len(source.tables()["SectionDataSet"]) == 2
    filled.dataset(71717084)
    os.utime(filled.cache.root / "datasets")
    assert len(source.tables()["SectionDataSet"]) == 3


def test_a_picture_that_is_kept_is_read_once_and_changes_are_noticed(filled, monkeypatch):
    read = []
    genuine = Member.read

    def counted(self, largest):
        if self.name.endswith(".jpg"):
            read.append(self.name)
        return genuine(self, largest)

    monkeypatch.setattr(Member, "read", counted)
    client = ask(StoredArchive(filled.cache.root))
    image = filled.dataset(909).images[0]
    path = next(filled.cache.image_path(image.id, 0).parent.glob("?.jpg"))
    url = f"/api/v2/section_image_download/{image.id}?downsample={path.stem}"
    before = client.get(url)
    assert [client.get(url).content for _ in range(5)] == [path.read_bytes()] * 5
    assert client.get(url, headers={"If-None-Match": before.headers["etag"]}).status_code == 304
    assert len(read) == 1
    os.utime(path, ns=(1, 1))
    assert client.get(url).headers["etag"] != before.headers["etag"]
    assert len(read) == 2
    companion = path.with_name(f"{path.name}.json")
    held = companion.read_bytes()
    companion.unlink()
    try:
        assert client.get(url).status_code == 404  # nothing vouches for it any more
    finally:
        companion.write_bytes(held)
    assert client.get(url).content == path.read_bytes()


def test_other_files(filled, tmp_path):
    folder = filled.cache.root / "files"
    for name in ("grid_data/download/909.zip", "api/v2/structure_graph_download/1.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / "link").symlink_to(secret)
    (folder / ".hidden").write_text("hidden")
    client = ask(StoredArchive(filled.cache.root))
    for url in ("/grid_data/download/909?include=energy,density", "/grid_data/download/909.zip"):
        assert client.get(url).content == b"grid_data/download/909.zip"
    assert client.get("/api/v2/structure_graph_download/1.json").status_code == 200
    for path in ("/link", "/.hidden", "/../secret", "/%2e%2e/secret", "/grid_data", "//etc/passwd"):
        assert client.get(path).status_code == 404, path
    assert client.post("/grid_data/download/909").status_code == 405


def test_nothing_is_written(filled):
    def state():
        return {p: p.stat().st_mtime_ns for p in filled.cache.root.rglob("*")}

    before = state()
    client = ask(StoredArchive(filled.cache.root))
    client.get("/")
    client.get("/api/v2/data/query.json?criteria=model::SectionImage")
    client.get("/api/v2/section_image_download/5")
    assert state() == before


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_addresses_need_an_explicit_word(host):
    with pytest.raises(InvalidInputError, match="public=True"):
        listen(host, 0, DemoArchive())


def test_a_port_in_use():
    server = listen("127.0.0.1", 0, DemoArchive())
    try:
        with pytest.raises(Exception, match="Choose another port"):
            listen("127.0.0.1", int(server.effective_port), DemoArchive())
    finally:
        server.close()
