import dataclasses
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from atldld.demo.archive import DemoArchive
from atldld.errors import (
    BrokenImageError,
    DatasetNotFoundError,
    ImageNotFoundError,
    InvalidInputError,
    OfflineError,
)
from atldld.fetch import Limits, Session
from atldld.fetch.session import check_id, default_session
from atldld.serve.app import Application
from atldld.settings import Settings

QUICK = Limits(first_wait=0.001, longest_wait=0.01)


class Broken(httpx.WSGITransport):
    """The demo archive, whose first `count` image answers are cut in half."""

    def __init__(self, count):
        super().__init__(app=Application(DemoArchive((909,))))
        self.count = count

    def handle_request(self, request):
        response = super().handle_request(request)
        if "download" in request.url.path and self.count:
            self.count -= 1
            body = response.read()
            return httpx.Response(200, content=body[: len(body) // 2])
        return response


def offline(session):
    settings = dataclasses.replace(session.settings, offline=True)

    def fail(request):
        raise AssertionError(f"{request.url} was asked")

    return Session(settings, transport=httpx.MockTransport(fail))


def test_threads_that_ask_at_once_get_one_bucket(tmp_path, monkeypatch):
    """Each would compare the first picture of a data set for itself otherwise."""
    both = threading.Barrier(2, timeout=60)
    made = Session._own_bucket

    def slowly(session, url):
        own = made(session, url)
        both.wait()
        return own

    monkeypatch.setattr(Session, "_own_bucket", slowly)
    settings = Settings(cache_dir=tmp_path, bucket_url="http://127.0.0.1:9")
    with Session(settings) as session, ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: session.bucket, range(2))
        assert one is other is session.bucket


def test_a_data_set_with_all_its_images(session, genuine):
    dataset = session.dataset(71717084)
    original = genuine[71717084]
    assert dataset.alignment3d == original.alignment3d
    assert [image.alignment2d for image in dataset.images] == [
        image.alignment2d for image in original.images
    ]
    assert len(dataset.images) == 112
    assert dataset.specimen_name == "05-2716"
    assert dataset.synthetic


def test_asking_twice_sends_nothing_more(session):
    for _ in range(2):
        dataset = session.dataset(909)
        image = dataset.images[3]
        session.image(image, 3)
        session.image(image, 3, expression=True)
        session.image_record(image.id)
        sent = session.client.requests_sent
        session = offline(session)
    assert sent == 0  # the second time
    assert session.dataset(909) == dataset


def test_an_image_of_a_cached_data_set_needs_no_request(session):
    image = session.dataset(909).images[2]
    session.image(image, 4)
    sent = session.client.requests_sent
    assert session.image_record(image.id)["alignment2d"]["section_image_id"] == image.id
    assert session.client.requests_sent == sent
    (session.cache.root / "datasets" / "909.json").write_text('{"section_images": [5, null]}')
    assert session.image_record(image.id)["id"] == image.id
    assert session.client.requests_sent == sent + 1


def test_refresh_asks_again(session):
    session.dataset(909)
    sent = session.client.requests_sent
    session.dataset(909, refresh=True)
    assert session.client.requests_sent == 2 * sent


def test_offline_names_what_is_missing_and_the_command(session):
    dataset = session.dataset(909)
    image = dataset.images[0]
    away = offline(session)
    with pytest.raises(OfflineError, match=f"download image {image.id} OUT --downsample-img 2 -e"):
        away.image(image, 2, expression=True)
    with pytest.raises(OfflineError, match="atldld download 5 -o OUT"):
        away.dataset(5)
    with pytest.raises(OfflineError, match="not in the cache"):
        away.query("Gene", {"acronym": "Pdyn"})


@pytest.mark.parametrize("bad", [0, -5, "abc", "", None, True, 1.5, float("nan"), float("inf"), []])
def test_what_is_no_id_asks_nothing(session, bad):
    with pytest.raises(InvalidInputError, match="section data set"):
        session.dataset(bad)
    assert session.client.requests_sent == 0


def test_ids_may_be_text_or_numpy():
    assert check_id("909", "x") == check_id(np.int64(909), "x") == check_id(909.0, "x") == 909


def test_unknown_ids(session):
    with pytest.raises(DatasetNotFoundError, match="no section data set 12345") as caught:
        session.dataset(12345)
    assert caught.value.dataset_id == 12345
    assert not session.cache.document_names("datasets")
    with pytest.raises(ImageNotFoundError, match="no section image 12345"):
        session.image_record(12345)


def test_tiers_are_checked_before_anything_is_asked(session):
    image = session.dataset(909).images[0]
    sent = session.client.requests_sent
    for bad in (-1, 5, 1.5, "1", True):
        with pytest.raises(InvalidInputError, match="tiers 0 to 4"):
            session.image(image, bad)
    assert session.client.requests_sent == sent


def test_no_mask(session):
    import msgspec

    image = msgspec.structs.replace(session.dataset(909).images[0], expression_path=None)
    with pytest.raises(ImageNotFoundError, match="no expression mask"):
        session.image(image, 3, expression=True)


def test_broken_images_are_asked_for_again_and_never_kept(tmp_path):
    settings = Settings("http://s", cache_dir=tmp_path)
    with Session(settings, limits=QUICK, transport=Broken(2)) as session:
        image = session.dataset(909).images[0]
        assert session.image(image, 3).width == 357
    shutil.rmtree(tmp_path)
    with Session(settings, limits=QUICK, transport=Broken(99)) as session:
        image = session.dataset(909).images[0]
        with pytest.raises(BrokenImageError) as caught:
            session.image(image, 3)
        assert caught.value.image_id == image.id
        assert caught.value.dataset_id == 909
        assert "section_image_download" in (caught.value.url or "")
        assert not list(session.cache.root.rglob("*.jpg*"))
        assert not list(session.cache.root.rglob("*.part*"))


def test_image_unknown_to_the_service(session):
    import msgspec

    image = msgspec.structs.replace(session.dataset(909).images[0], id=4)
    with pytest.raises(ImageNotFoundError, match="404"):
        session.image(image, 3)


def test_the_default_session_follows_the_environment(monkeypatch, tmp_path):
    first = default_session()
    assert default_session() is first
    monkeypatch.setenv("ATLDLD_CACHE_DIR", str(tmp_path / "other"))
    assert default_session().settings.cache_dir == tmp_path / "other"
