"""The public bucket as a source of images survives what the service's images survive."""

import pytest

from atldld.fetch import Limits, Session
from atldld.settings import Settings
from atldld.testing.bucket import SlideArchive, both, slides_of
from atldld.testing.conformance import check_source, source_cases
from atldld.testing.faults import standard_faults
from tests.s3 import bucket_server

FAULTS = standard_faults(interval=0.02, outage=0.01)
LIMITS = Limits(
    connect=1, read=0.3, low_speed_seconds=0.3, attempts=3, first_wait=0.02, longest_wait=0.08
)


@pytest.fixture(scope="module")
def slides():
    """One section on a slide, so that a fault of one is that of one section."""
    archive = SlideArchive(1, encoding="deflate tiles")  # so large that ranges are read
    for name in archive.names((4,)):
        archive.content(name)
    return archive


def make_source(url, folder):
    settings = Settings(api_url=url, bucket_url=url, cache_dir=folder, source="bucket")
    return Session(settings, limits=LIMITS)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("case", source_cases(FAULTS, targets=("image",)), ids=str)
def test_slides(case, slides, tmp_path):
    check_source(
        make_source,
        both(slides),
        909,
        case,
        folder=tmp_path,
        within=20,
        where={"image": slides_of(slides)},
    )


RECORD = "/section_data_set_909/section_data_set.json"
OF_RECORDS = {name: fault for name, fault in FAULTS.items() if fault.metadata}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", OF_RECORDS)
def test_the_record_of_a_data_set(name, slides, tmp_path):
    """A fault that passes is not noticed; one that lasts is an error, and is over when it is."""
    from atldld.errors import AtldldError
    from atldld.testing.faults import FaultPlan
    from atldld.testing.server import FaultServer

    def at_record(request):
        return request.path == RECORD

    with FaultServer(both(slides)) as server:
        with make_source(server.url, tmp_path / "passing") as source:
            image = source.dataset(909).images[3]
            server.use(FaultPlan(FAULTS[name], at_record, 2 if name == "refused" else 1))
            true = source.image(image, 4).path.read_bytes()
        with make_source(server.url, tmp_path / "lasting") as source:
            source.dataset(909)
            server.use(FaultPlan(FAULTS[name], at_record))
            try:
                found = source.image(image, 4).path.read_bytes()
            except AtldldError:
                found = true
                assert not list((tmp_path / "lasting").rglob("*.tif*"))
            assert found == true
        server.use()
        with make_source(server.url, tmp_path / "lasting") as source:
            assert source.image(image, 4).path.read_bytes() == true


def test_a_real_s3_server(slides, tmp_path):
    """Ranges, ETags and what is not there, as another implementation has them."""
    pytest.importorskip("moto.server")
    pytest.importorskip("boto3")
    with bucket_server(Bucket="slides", ACL="public-read") as (environment, client):
        for name in slides.names((4, 3)):
            content = slides.content(name)
            assert content is not None
            client.put_object(Bucket="slides", Key=name, Body=content, ACL="public-read")
        from atldld.serve.app import Application
        from atldld.testing.server import FaultServer

        with FaultServer(Application(slides)) as service:
            settings = Settings(
                api_url=service.url,
                bucket_url=f"{environment['AWS_ENDPOINT_URL']}/slides",
                cache_dir=tmp_path,
                source="bucket",
            )
            with Session(settings, limits=LIMITS) as session:
                images = session.dataset(909).images
                for image in images[:2]:
                    got = session.image(image, 4)
                    assert got.path.suffix == ".tif"
                    true = slides.pixels(image.id, 4)
                    difference = abs(session.pixels(image, 4).astype(int) - true)
                    assert difference.mean() < 2
