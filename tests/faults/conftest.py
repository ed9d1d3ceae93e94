import pytest

from atldld.archive.app import Application
from atldld.archive.demo import DemoArchive
from atldld.testing.faults import FaultServer


@pytest.fixture(scope="session")
def archive():
    """One for all: it keeps the pictures that it has rendered."""
    return DemoArchive((909,))


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
