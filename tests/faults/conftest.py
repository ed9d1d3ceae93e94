import pytest

from atldld.demo.archive import DemoArchive
from atldld.serve.app import Application
from atldld.testing.server import FaultServer


@pytest.fixture(scope="session")
def archive():
    """One for all: it keeps the pictures that it has rendered, so that none comes late."""
    archive = DemoArchive((909,))
    for record in archive.tables()["SectionImage"]:
        for view in ("image", "expression"):
            archive.image(record["id"], 4, view, quality=100, region=None)
    return archive


@pytest.fixture(scope="session")
def shared_server(archive):
    with FaultServer(Application(archive)) as server:
        yield server


@pytest.fixture
def server(shared_server):
    """The archive of data set 909 behind a socket; good, and with an empty log."""
    shared_server.use()
    shared_server.forget()
    yield shared_server
    shared_server.use()
