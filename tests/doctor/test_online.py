"""The same checks against the Allen Institute's own service: `pytest -m online`."""

import pytest

from atldld.doctor import CONTRACT_CHECKS, Check, diagnose
from atldld.settings import API_URL, DOWNLOAD_URL, Settings

WAYS = tuple(
    f"{host}.{step}"
    for host in ("api", "archive", "bucket")
    for step in ("name", "connection", "latency")
)


@pytest.fixture(scope="module")
def diagnosis(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    found = diagnose(Settings(api_url=API_URL, download_url=DOWNLOAD_URL, cache_dir=folder))
    print(f"{found.bytes} bytes, {found.seconds:.1f} s")
    return found


@pytest.mark.online
@pytest.mark.parametrize("name", [*WAYS, *CONTRACT_CHECKS, "rate_limit"])
def test_the_service(diagnosis, name):
    found: Check = diagnosis[name]
    print(f"{name}: {found.status}: {found.found}")
    if found.status == "skipped":
        pytest.skip(found.found)
    assert found.status == "pass", f"{found.found} {found.remedy or ''}"


@pytest.mark.online
def test_what_it_takes(diagnosis):
    assert diagnosis.bytes < 2_000_000
    assert diagnosis.seconds < 60
