"""Images from the public bucket: the same sections, and never mixed with the service's unsaid."""

import contextlib
import hashlib
import io
import json
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from atldld.errors import (
    AnswerError,
    BrokenImageError,
    ImageNotFoundError,
    InvalidInputError,
    OfflineError,
    OtherSourceWarning,
    ServiceDefectError,
    ServiceError,
)
from atldld.fetch import Limits, Session
from atldld.fetch.archive import export_archive, import_archive
from atldld.fetch.bucket import BucketImages, ranges_of
from atldld.fetch.cache import Cache
from atldld.fetch.client import Client
from atldld.fetch.compare import shift_between
from atldld.fetch.holdings import holdings, parts
from atldld.fetch.sources import ArchiveImages, Wanted
from atldld.fetch.upkeep import verify_cache
from atldld.serve.app import Application
from atldld.serve.stored import StoredArchive
from atldld.settings import BUCKET_URL, Settings
from atldld.testing.bucket import ENCODINGS, BucketApplication, SlideArchive
from atldld.testing.conformance import check_image_source
from atldld.testing.exchange import Answer
from atldld.testing.faults import FaultPlan, Send, images
from atldld.testing.server import FaultServer, refused_url

TIER = 4
LIMITS = Limits(connect=30, read=120, attempts=2, first_wait=0.01, longest_wait=0.02)


@pytest.fixture(scope="module")
def archives():
    made: dict[object, SlideArchive] = {}

    def archive(**options):
        return made.setdefault(tuple(options.items()), SlideArchive(**options))

    return archive


@pytest.fixture
def hosts(archives):
    """The service and the bucket of an archive, each behind a socket."""
    with contextlib.ExitStack() as stack:

        def start(**options):
            archive = archives(**options)
            bucket = BucketApplication(archive)
            return SimpleNamespace(
                archive=archive,
                api=stack.enter_context(FaultServer(Application(archive))),
                bucket=stack.enter_context(FaultServer(bucket)),
                application=bucket,
            )

        yield start


def session(hosts, folder, source="bucket", **settings):
    given = {"api_url": hosts.api.url, "bucket_url": hosts.bucket.url, **settings}
    return Session(Settings(cache_dir=folder, source=source, **given), limits=LIMITS)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_section_is_the_same_from_either(encoding, hosts, tmp_path):
    there = hosts(encoding=encoding)
    with session(there, tmp_path) as bucket, session(there, tmp_path, "api") as api:
        image = bucket.dataset(909).images[4]
        for tier in (4, 2):
            got = bucket.image(image, tier)
            assert got.path.name == f"{tier}.tif"
            assert (got.width, got.height) == image.size(tier)
            assert got.sha256 == hashlib.sha256(got.path.read_bytes()).hexdigest()
            assert got.url.startswith(there.bucket.url)
            true = there.archive.pixels(image.id, tier).astype(int)
            ours = bucket.pixels(image, tier)
            assert np.abs(ours - true).mean() <= (2 if "jpeg" in encoding else 0)
            assert np.abs(ours - api.pixels(image, tier).astype(int)).mean() < 2.5
            assert api.image(image, tier).path.name == f"{tier}.jpg"


@pytest.mark.one_in(3)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_little_more_is_read_than_the_box_needs(encoding, hosts, tmp_path):
    """At the tier that fits 25 µm: of tiles all, of strips all that are as wide as the slide."""
    there = hosts(encoding=encoding)
    with session(there, tmp_path) as bucket:
        first, image = bucket.dataset(909).images[1], bucket.dataset(909).images[7]
        bucket.image(first, 2)
        before = there.application.sent
        there.application.asked.clear()
        kept = bucket.image(image, 2)
        sent = there.application.sent - before
    if encoding == "plain strips":  # kept deflated, so compared with the slide's rows
        slide = there.archive.images[image.id]["image_width"] >> 2
        needed = 3 * slide * image.size(2)[1]
    elif encoding == "plain tiles":
        needed = 3 * (image.size(2)[0] + 2 * 64) * (image.size(2)[1] + 2 * 64)
    else:
        needed = kept.bytes
    assert sent <= 1.4 * needed
    assert len(there.application.asked) <= 20


def test_a_whole_file_is_proved_by_its_md5(hosts, tmp_path):
    """One section fills its slide but for the margins."""
    there = hosts(per_slide=1, encoding="deflate strips")
    with session(there, tmp_path) as bucket:
        image = bucket.dataset(909).images[4]
        bucket.image(image, TIER)
        name = f"section_data_set_909/downsample_{TIER}/{there.archive.places[image.id][0]}"
        assert (name, "") in there.application.asked
        about = json.loads(_described(bucket.image(image, TIER).path))
    assert about["md5_verified"] is True
    assert about["etag"].strip('"') == hashlib.md5(there.archive.content(name)).hexdigest()


def _described(path):
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        return tiff.pages.first.description


class Flipping:
    """A bucket whose whole files have one bit turned."""

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        (body,) = self.application(environ, start_response)
        if "HTTP_RANGE" in environ or environ["PATH_INFO"].endswith("json"):
            return [body]
        return [body[:3000] + bytes((body[3000] ^ 1,)) + body[3001:]]


def test_a_bit_that_flipped_in_a_whole_file_is_found(archives, tmp_path):
    archive = archives(per_slide=1, encoding="plain strips")
    flipping = Flipping(BucketApplication(archive))
    with (
        FaultServer(Application(archive)) as api,
        FaultServer(flipping) as bucket,
        session(SimpleNamespace(api=api, bucket=bucket), tmp_path) as asking,
        pytest.raises(AnswerError, match=r"have the MD5 .* instead of"),
    ):
        asking.image(asking.dataset(909).images[4], TIER)


# ---- which of the two


def test_auto_asks_the_service_and_not_the_bucket(hosts, tmp_path):
    there = hosts()
    with session(there, tmp_path, "auto") as auto:
        image = auto.dataset(909).images[0]
        assert auto.image(image, TIER).path.suffix == ".jpg"
        assert there.bucket.log == ()
        assert not auto.defects


def broken(*image_ids):
    return FaultPlan(Send(Answer(503)), images(*image_ids))


def test_auto_falls_back_and_says_so(hosts, tmp_path):
    there = hosts()
    with session(there, tmp_path, "auto") as auto:
        every = auto.dataset(909).images
        there.api.use(broken())
        with pytest.warns(OtherSourceWarning, match="come from the bucket at .* status 503"):
            auto.image(every[0], TIER)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it is said once, and nothing is mixed
            for image in every[1:4]:
                assert auto.image(image, TIER).path.suffix == ".tif"
        assert len(auto.defects) == 1
        asked = len(there.api.log)
        # the data set began with the bucket, and goes on with it, now without a word to the service
        auto.image(every[4], TIER)
        assert len(there.api.log) == asked


def test_images_of_both_are_never_mixed_in_silence(hosts, tmp_path):
    there = hosts()
    with session(there, tmp_path, "auto") as auto:
        every = auto.dataset(909).images
        auto.image(every[0], TIER)
        there.api.use(broken(every[1].id))
        with pytest.warns(OtherSourceWarning) as told:
            auto.image(every[1], TIER)
        assert any("some the public bucket's" in str(one.message) for one in told)
    # and a later run, which finds both in the cache
    there.api.use()
    with session(there, tmp_path, "auto") as auto:
        auto.image(every[0], TIER)
        with pytest.warns(OtherSourceWarning, match="some the public bucket's"):
            auto.image(every[1], TIER)
    with session(there, tmp_path, "auto", strict=True) as strict:
        strict.image(every[0], TIER)
        with pytest.raises(ServiceDefectError, match="some the public bucket's"):
            strict.image(every[1], TIER)


@pytest.mark.parametrize(("source", "ending"), [("api", ".jpg"), ("bucket", ".tif")])
def test_what_the_cache_has_of_the_other_is_not_taken(source, ending, hosts, tmp_path):
    there = hosts()
    with session(there, tmp_path, "bucket") as bucket, session(there, tmp_path, "api") as api:
        image = bucket.dataset(909).images[0]
        bucket.image(image, TIER)
        api.image(image, TIER)
    with session(there, tmp_path, source, offline=True) as offline:
        assert offline.image(image, TIER).path.suffix == ending
        with pytest.raises(OfflineError):
            offline.image(image, TIER - 1)


def test_masks_are_the_services_alone(hosts, tmp_path):
    there = hosts()
    with session(there, tmp_path) as bucket:
        image = bucket.dataset(909).images[0]
        with pytest.raises(ImageNotFoundError, match=r"holds no expression masks.*auto"):
            bucket.image(image, TIER, expression=True)
    with session(there, tmp_path, "auto") as auto:
        auto.image(image, TIER, expression=True)
    with session(there, tmp_path) as bucket:
        assert bucket.image(image, TIER, expression=True).path.suffix == ".jpg"


def test_a_service_without_a_bucket_has_none(tmp_path):
    assert Settings(cache_dir=tmp_path).bucket_url == BUCKET_URL
    own = Settings(api_url=refused_url(), cache_dir=tmp_path)
    assert own.bucket_url == ""
    with Session(own, limits=LIMITS) as asking:
        assert asking.bucket is None
    with pytest.raises(InvalidInputError, match="none is known that belongs to"):
        Settings(api_url=refused_url(), cache_dir=tmp_path, source="bucket")
    with pytest.raises(InvalidInputError, match="must be auto, api or bucket"):
        Settings(cache_dir=tmp_path, source="both")  # type: ignore[arg-type]
    env = {"ATLDLD_BUCKET_URL": "http://here:1", "ATLDLD_SOURCE": "bucket"}
    read = Settings.from_environment(env, cache_dir=tmp_path)
    assert (read.bucket_url, read.source) == ("http://here:1", "bucket")


# ---- what the bucket says


def test_what_the_bucket_lacks(hosts, tmp_path, monkeypatch):
    there = hosts()
    with session(there, tmp_path) as bucket:
        image = bucket.dataset(909).images[0]
        # other tests share the archive
        monkeypatch.setitem(there.archive.places, 1, there.archive.places[image.id])
        there.bucket.use(FaultPlan(Send(Answer(404)), lambda r: r.path.endswith(".tiff")))
        with pytest.raises(ImageNotFoundError, match="does not have it at downsample 4"):
            bucket.image(image, TIER)
        there.bucket.use(FaultPlan(Send(Answer(403))))
    with session(there, tmp_path / "other") as bucket, pytest.raises(ImageNotFoundError):
        bucket.image(bucket.dataset(909).images[0], TIER)


def altered(record, change):
    change(record["section_images"][0])
    return record


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda box: box.update(width=box["width"] - 1), "with 177 × 166 pixels"),
        (lambda box: box.update(x=box["x"] + 2), r"at \(32, 20\)"),
        (lambda box: box.update(image_file_width=5), "but its record says 5 ×"),
    ],
)
def test_a_record_that_contradicts_is_refused(change, text, archives, tmp_path):
    archive = archives()

    class Wrong(BucketApplication):
        def __call__(self, environ, start_response):
            (body,) = super().__call__(environ, start_response)
            if not environ["PATH_INFO"].endswith("json"):
                return [body]
            record = json.loads(body)
            change(record["section_images"][0]["downsampling"][f"downsample_{TIER}"])
            body = json.dumps(record).encode()
            start_response("200 OK", [])
            return [body]

    with (
        FaultServer(Application(archive)) as api,
        FaultServer(Wrong(archive)) as bucket,
        session(SimpleNamespace(api=api, bucket=bucket), tmp_path) as asking,
    ):
        api.use(broken())  # or another tier would be compared first
        image = asking.dataset(909).image(next(iter(archive.images)))
        with pytest.raises((AnswerError, BrokenImageError), match=text) as caught:
            asking.image(image, TIER)
        assert caught.value.image_id == image.id
        assert not list(asking.cache.root.rglob("*.tif"))


# ---- boxes are compared with the service's images


def test_boxes_are_compared_once(hosts, tmp_path, caplog):
    caplog.set_level("INFO", "atldld.fetch")
    there = hosts()
    with session(there, tmp_path) as bucket:
        for image in bucket.dataset(909).images[:4]:
            bucket.image(image, TIER)
    lines = [line for line in caplog.messages if "of the bucket lies" in line]
    assert len(lines) == 1
    assert sum(entry.request.image_id is not None for entry in there.api.log) == 1


@pytest.mark.parametrize("known", ["in the cache", "asked for"])
def test_boxes_that_lie_elsewhere_are_refused(known, hosts, tmp_path):
    there = hosts(displaced=40)
    if known == "in the cache":
        with session(there, tmp_path, "api") as api:
            api.image(api.dataset(909).images[2], TIER)
    with session(there, tmp_path) as bucket:
        every = bucket.dataset(909).images
        if known == "in the cache":
            there.api.use(broken())
        for image in every[:2]:  # each of the data set
            with pytest.raises(AnswerError, match="does not show what the service's image shows"):
                bucket.image(image, TIER)
        assert not list(bucket.cache.root.rglob("*.tif"))
    with session(there, tmp_path, "auto") as auto:
        there.api.use(broken(every[1].id))
        auto.image(every[0], TIER)
        with pytest.raises(ServiceError, match="503"):
            auto.image(every[1], TIER)


def test_where_nothing_can_be_compared_the_log_says_so(hosts, tmp_path, caplog):
    caplog.set_level("INFO", "atldld.fetch")
    there = hosts()
    with session(there, tmp_path) as bucket:
        image = bucket.dataset(909).images[0]
        there.api.use(broken())
        bucket.image(image, TIER)
    assert "could not be compared" in caplog.text


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-7, 5)])
def test_the_shift_is_found(shift, demo_records, archives):
    pixels = archives().pixels(101321615, 3).mean(axis=2).astype(np.float32)
    rolled = np.roll(pixels, shift[::-1], axis=(0, 1))
    dx, dy, likeness = shift_between(pixels, rolled)
    assert (dx, dy) == pytest.approx(shift, abs=0.2)
    assert likeness > 0.98
    assert shift_between(pixels, pixels[::-1, ::-1].copy())[2] < 0.7


# ---- ranges


def test_ranges_near_one_another_become_one():
    assert ranges_of([(0, 10), (10, 20), (25, 30)], waste=0) == [(0, 20), (25, 30)]
    assert ranges_of([(25, 30), (0, 10), (5, 20)], waste=0.2) == [(0, 30)]
    assert ranges_of([(0, 100), (110, 200), (1000, 1100)], waste=0.1) == [(0, 200), (1000, 1100)]
    assert ranges_of([(5, 5)]) == []


# ---- the rest of the package


def test_the_contract_of_a_source_is_kept(hosts, tmp_path):
    there = hosts()
    with session(there, tmp_path / "one") as bucket:
        every = bucket.dataset(909).images
        held = {
            Wanted(image, TIER): bucket.image(image, TIER).path.read_bytes() for image in every[:2]
        }
    source = BucketImages(Client(there.bucket.url, limits=LIMITS), Cache(tmp_path / "two"))
    check_image_source(source, held, [Wanted(every[0], TIER, True)])


def test_pickled_sessions_have_the_bucket(hosts, tmp_path):
    with session(hosts(), tmp_path) as bucket:
        image = bucket.dataset(909).images[0]
        with pickle.loads(pickle.dumps(bucket)) as again:
            assert again.image(image, TIER).path.suffix == ".tif"


def test_the_cache_verifies_exports_and_imports_boxes(hosts, tmp_path):
    with session(hosts(), tmp_path / "cache") as bucket:
        every = bucket.dataset(909).images
        first, second = (bucket.image(image, TIER) for image in every[:2])
        assert export_archive(bucket.cache, tmp_path / "it.zip") == 2
        other = Cache(tmp_path / "other")
        taken, refused = import_archive(other, tmp_path / "it.zip")
        assert (taken, refused) == (2, [])
        held = other.find_image(every[0].id, TIER)
        assert held is not None
        assert held.path.read_bytes() == first.path.read_bytes()
        file = io.BytesIO()
        source = ArchiveImages(tmp_path / "it.zip")
        assert source.fetch(Wanted(every[1], TIER), file, lambda: None)
        source.close()
        assert file.getvalue() == second.path.read_bytes()
        content = first.path.read_bytes()
        first.path.write_bytes(content[:-200] + bytes(200))
        checked = verify_cache(bucket)
        assert [damage.path for damage in checked.damaged] == [first.path]


def damage(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    return content


@pytest.mark.parametrize("source", ["auto", "bucket"])
def test_what_came_from_the_bucket_is_mended_from_there(source, hosts, tmp_path):
    there = hosts()
    with session(there, tmp_path) as bucket:
        held = bucket.image(bucket.dataset(909).images[0], TIER)
    content = damage(held.path)
    with session(there, tmp_path, source) as later:
        (found,) = verify_cache(later, repair=True).damaged
        assert (found.path, found.remedy, found.lost) == (held.path, "fetched again", False)
        assert held.path.read_bytes() == content
        assert [path.name for path in held.path.parent.glob(f"{TIER}.*g")] == []  # no JPEG instead
        assert not verify_cache(later).damaged


def test_what_came_from_elsewhere_is_not_replaced(hosts, tmp_path):
    """By a session that may only ask the other one, it is removed, and said to be."""
    there = hosts()
    for ours, other, words in (
        ("bucket", "api", "it came from the public bucket, and only the service may be asked"),
        ("api", "bucket", "it came from the service, and only the public bucket may be asked"),
    ):
        with session(there, tmp_path / ours, ours) as first:
            held = first.image(first.dataset(909).images[0], TIER)
        damage(held.path)
        with session(there, tmp_path / ours, other) as later:
            found = verify_cache(later, repair=True)
        (lost,) = found.damaged
        assert lost.lost
        assert lost.remedy is not None
        assert words in lost.remedy
        assert found.repaired == 0
        assert not list(held.path.parent.glob("*"))


def test_the_cache_counts_what_came_from_the_bucket_with_its_data_set(hosts, tmp_path):
    with session(hosts(), tmp_path) as bucket:
        held = bucket.image(bucket.dataset(909).images[0], TIER)
        (holding,) = holdings(bucket.cache)
        assert holding.images == 1
        assert holding.bytes > held.bytes
        assert holding.bytes == parts(bucket.cache)[0].bytes


def test_the_local_service_passes_off_nothing_of_the_buckets_as_the_apis(hosts, tmp_path):
    with session(hosts(), tmp_path) as bucket:
        image = bucket.dataset(909).images[0]
        bucket.image(image, TIER)
        assert export_archive(bucket.cache, tmp_path / "it.zip") == 1
    for place in (bucket.cache.root, tmp_path / "it.zip"):
        stored = StoredArchive(place)
        assert [record["id"] for record in stored.tables()["SectionDataSet"]] == [909]
        assert stored.image(image.id, TIER, "image", quality=100, region=None) is None
        stored.close()
    # shared as a file, it is what it was
    settings = Settings(cache_dir=tmp_path / "other", offline=True)
    with Session(settings, sources=[ArchiveImages(tmp_path / "it.zip")]) as other:
        assert other.image(image, TIER).path.suffix == ".tif"
