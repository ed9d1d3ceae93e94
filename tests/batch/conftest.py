"""Data sets for batches: copies of the demo's smallest one, in this process and behind a socket."""

import pytest

from atldld.batch import Download
from atldld.demo.local import in_process_session
from atldld.sections.register import Recipe
from atldld.testing.sources import FIRST, Copies
from tests.s3 import bucket_server

NUMBER = 8


@pytest.fixture(scope="session")
def archive():
    """One for all: it keeps the pictures that it has rendered."""
    return Copies(NUMBER)


@pytest.fixture
def session(archive, tmp_path):
    with in_process_session(tmp_path / "cache", archive) as session:
        yield session


@pytest.fixture(scope="session")
def ids():
    return [FIRST + k for k in range(NUMBER)]


@pytest.fixture(scope="session")
def work():
    """Coarse pictures, which are made in no time."""
    return Download(Recipe(resolution=200, downsample=4))


@pytest.fixture(scope="session")
def s3_server():
    """A server of S3 on this machine, with a bucket; yields its environment."""
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    pytest.importorskip("s3fs", reason="s3fs, of the extra dask, is not installed")
    with bucket_server(Bucket="bucket") as (environment, _):
        yield environment


@pytest.fixture
def s3(s3_server, monkeypatch):
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    return s3_server
