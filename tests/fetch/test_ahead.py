"""What is asked for before it is needed, counted in round trips that wait for each other.

Answers are held until all requests of a round are on their way, so nothing depends on a clock: what
asks one after the other only fails, when the backstop is reached.
"""

import pickle
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future

import httpx
import pytest

from atldld.demo.archive import DemoArchive
from atldld.errors import DatasetNotFoundError
from atldld.fetch.routes import Ways, _Opened
from atldld.fetch.session import Session
from atldld.sections.download import download_dataset
from atldld.sections.register import Recipe
from atldld.serve.app import Application
from atldld.settings import Settings
from atldld.testing.server import FaultServer

BACKSTOP = 120.0  # seconds: only a hang takes longer, however busy the machine is
DATASET = 909  # 14 sections


@pytest.fixture(scope="module")
def application():
    return Application(DemoArchive([DATASET]))


class Rounds(httpx.BaseTransport):
    """Answers the requests of a round once all of them are in flight."""

    def __init__(self, application, sizes):
        self.inner = httpx.WSGITransport(application)
        self.begun = []
        self.lock = threading.Lock()
        self.gates = [gate for size in sizes for gate in [threading.Barrier(size)] * size]

    def handle_request(self, request):
        with self.lock:
            gate = self.gates[len(self.begun)]
            self.begun.append(request.url.path)
        gate.wait(BACKSTOP)
        return self.inner.handle_request(request)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_cold_run_has_no_round_trip_that_could_be_avoided(application, tmp_path, ahead):
    """Both metadata at once, then the images, six at a time: the floor of `bench_peer.py`."""
    rounds = Rounds(application, [2, 6, 6, 2])
    settings = Settings(api_url="http://archive", cache_dir=tmp_path / "cache")
    with Session(settings, transport=rounds) as session:
        if ahead:
            session.ask_ahead(DATASET)
        summary = download_dataset(DATASET, tmp_path / "out", Recipe(400), session=session)
    assert (summary.written, summary.failed) == (14, {})
    assert len(rounds.begun) == 16
    assert [path.endswith("query.json") for path in rounds.begun] == [True] * 2 + [False] * 14


class Gate(FaultServer):
    """Counts connections, and holds answers until as many are open as there ought to be."""

    def __init__(self, application, wanted):
        self.connections = 0
        self.wanted = wanted
        self.enough = threading.Event()

        def held(environ, start_response):
            assert self.enough.wait(BACKSTOP)
            return application(environ, start_response)

        super().__init__(held)

    def _begin(self, connection):
        self.connections += 1
        if self.connections == self.wanted:
            self.enough.set()
        super()._begin(connection)


def test_connections_for_images_are_opened_while_metadata_are_waited_for(application, tmp_path):
    server = Gate(application, 6)
    with server:
        settings = Settings(api_url=server.url, cache_dir=tmp_path / "cache")
        with Session(settings) as session:
            session.ask_ahead(DATASET)
            dataset = session.dataset(DATASET)  # is answered once all six are open
            assert len(dataset.images) == 14
            download_dataset(DATASET, tmp_path / "out", Recipe(400), session=session)
            assert session.client.requests_sent == 16
        assert server.connections == 6


def test_nothing_is_opened_or_asked_for_what_is_there(application, tmp_path):
    server = Gate(application, 1)
    with server:
        settings = Settings(api_url=server.url, cache_dir=tmp_path / "cache")
        with Session(settings) as session:
            session.dataset(DATASET)
            there = server.connections
        with Session(settings) as session:
            session.ask_ahead(DATASET)
            assert len(session.dataset(DATASET).images) == 14
            assert session.client.requests_sent == 0
        assert server.connections == there


def test_what_goes_wrong_is_said_where_the_records_are_needed(application, tmp_path):
    settings = Settings(api_url="http://archive", cache_dir=tmp_path)
    with Session(settings, transport=httpx.WSGITransport(application)) as session:
        session.ask_ahead(5)
        with pytest.raises(DatasetNotFoundError):
            session.dataset(5)
        asked = session.client.requests_sent
        assert asked >= 2  # two empty answers are the same, which is looked into
        with pytest.raises(DatasetNotFoundError):
            session.dataset(5)
        assert session.client.requests_sent > asked


def test_a_session_that_asks_can_be_sent_to_another_process(tmp_path):
    with Session(Settings(api_url="http://127.0.0.1:9", cache_dir=tmp_path)) as session:
        session._ahead[DATASET, False] = Future()
        assert pickle.loads(pickle.dumps(session))._ahead == {}
        session.renew()
        assert session._ahead == {}


IMPORTS = """
import builtins, threading
from atldld.fetch.client import Client
asked, importing = threading.Event(), builtins.__import__
def noted(*arguments, ask_on=Client._ask_on, **named):
    asked.set()
    return ask_on(*arguments, **named)
def waiting(name, *arguments, **named):
    if name in {"cv2", "simplejpeg"} and not asked.is_set():
        assert asked.wait(120), name
    return importing(name, *arguments, **named)
Client._ask_on, builtins.__import__ = noted, waiting
from atldld.cli import main
main()
"""


def test_libraries_for_pixels_are_imported_while_metadata_are_waited_for(at_demo_server, tmp_path):
    words = ["download", "dataset", str(DATASET), str(tmp_path / "out"), "--resolution", "400"]
    done = subprocess.run([sys.executable, "-c", IMPORTS, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "14 sections written" in done.stderr


# ---- one connection


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(BACKSTOP)
        yield server


def test_the_connection_that_was_opened_is_used_once(listening):
    host, port = listening.getsockname()
    opened = _Opened(host, port, BACKSTOP)
    there, address = listening.accept()
    stream = opened.connect_tcp(host, port)
    assert stream.get_extra_info("client_addr") == address
    other = opened.connect_tcp(host, port)
    second, elsewhere = listening.accept()
    assert other.get_extra_info("client_addr") == elsewhere != address
    for one in (stream, other, there, second):
        one.close()


def test_one_that_the_other_side_has_given_up_is_not_used(listening):
    host, port = listening.getsockname()
    opened = _Opened(host, port, BACKSTOP)
    there, address = listening.accept()
    there.close()
    assert opened._first is not None
    first = opened._first.result(BACKSTOP)
    while not first.get_extra_info("is_readable"):
        pass
    stream = opened.connect_tcp(host, port)
    second, elsewhere = listening.accept()
    assert stream.get_extra_info("client_addr") == elsewhere != address
    for one in (stream, second):
        one.close()


@pytest.mark.parametrize("other_host", [False, True])
def test_one_that_nobody_needs_is_closed(listening, other_host):
    host, port = listening.getsockname()
    opened = _Opened(host, port, BACKSTOP)
    there, _ = listening.accept()
    there.settimeout(BACKSTOP)
    if other_host:
        with socket.create_server(("127.0.0.1", 0)) as elsewhere:
            opened.connect_tcp(*elsewhere.getsockname()).close()
    else:
        opened.close()
    with there:
        assert there.recv(1) == b""


def test_a_host_that_refuses_is_said_at_the_request_and_once(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = "http://{}:{}".format(*server.getsockname())
    ways = Ways(httpx.Limits(max_connections=1))
    ways.open_ahead(url, BACKSTOP)
    with httpx.Client(transport=ways) as client, pytest.raises(httpx.ConnectError):
        client.get(url)


def test_through_a_proxy_nothing_is_opened_ahead(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    ways = Ways(httpx.Limits(max_connections=1))
    ways.open_ahead("http://example.org", BACKSTOP)
    assert ways._opened is None
