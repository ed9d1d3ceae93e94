"""Data sets for batches: copies of the demo's smallest one, in this process and behind a socket."""

import pytest

from atldld.batch import Download
from atldld.demo.local import in_process_session
from atldld.sections.register import Recipe
from atldld.testing.sources import FIRST, Copies

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
    server_module = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    pytest.importorskip("s3fs", reason="s3fs, of the extra dask, is not installed")
    import boto3

    server = server_module.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ).create_bucket(Bucket="bucket")
    yield environment
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    return s3_server
