"""What is said while nothing comes, and at the end. No test waits: clocks and sleeps are made up.

The kind: a machine without a network, in any way that this shows.
"""

import contextlib
import errno
import logging
import socket
import threading
import time

import httpx
import pytest

import atldld.fetch.retry as module
from atldld.errors import NetworkError, ServiceTimeoutError
from atldld.fetch.client import Client
from atldld.fetch.limits import Limits

from .conftest import GOOD, answer, read_head

HOST = "api.brain-map.org"


@pytest.fixture
def lines(caplog):
    """What is said, and by nobody else."""
    with caplog.at_level(logging.INFO):
        yield lambda: [r.getMessage() for r in caplog.records if r.name == module.log.name]


class Clock:
    """A clock that stands still but for what is slept and what each try takes."""

    def __init__(self, client, monkeypatch):
        self.passed = 0.0
        self.slept = []
        begun = time.monotonic()
        for part in (client._persistence, client._notices):
            monkeypatch.setattr(part, "_clock", lambda: begun + self.passed)
        monkeypatch.setattr(client._persistence, "_sleep", self.sleep)

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.passed += seconds


def failing(error, takes, monkeypatch, url=f"https://{HOST}"):
    """What a client says, and its last error, where each lookup or connection fails."""
    client = Client(url)
    clock = Clock(client, monkeypatch)

    def fail(*_, **__):
        clock.passed += takes
        raise error

    if isinstance(error, socket.gaierror):
        monkeypatch.setattr(socket, "getaddrinfo", fail)
    else:
        monkeypatch.setattr(socket, "create_connection", fail)
    with contextlib.closing(client), pytest.raises(Exception) as caught:  # noqa: PT011
        client.get_json(f"{url}/x")
    return caught.value, clock, client


CAUSES = {
    "no such name": (socket.gaierror(socket.EAI_NONAME, "x"), 0, "name is not found", 3),
    "no resolver": (socket.gaierror(socket.EAI_AGAIN, "x"), 10, "name is not found", 3),
    "no route": (OSError(errno.ENETUNREACH, "x"), 0, "network is unreachable", 3),
    "host away": (OSError(errno.EHOSTUNREACH, "x"), 3, "network is unreachable", 3),
    "nothing comes back": (TimeoutError("timed out"), 10, "timed out after 10 s", 3),
    "refused": (ConnectionRefusedError(errno.ECONNREFUSED, "x"), 0, "refused", 6),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_what_is_said_of_a_host_that_cannot_be_reached(cause, monkeypatch, lines):
    error, takes, words, most = CAUSES[cause]
    told, clock, client = failing(error, takes, monkeypatch)
    assert isinstance(told, (NetworkError, ServiceTimeoutError))
    for part in (HOST, "cannot be reached", words, "offline=True"):
        assert part in str(told)
    assert client.requests_sent <= most
    assert clock.passed <= 30
    first = lines()[0]
    assert HOST in first
    assert words in first
    assert "Trying again in 1 s" in first
    assert len(lines()) <= len(clock.slept)


def test_lines_do_not_come_one_upon_the_other(monkeypatch, lines):
    """Six requests at once fail at once; one line is enough."""
    client = Client(f"https://{HOST}")
    Clock(client, monkeypatch)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_names)
    with contextlib.closing(client):
        threads = [threading.Thread(target=ask_quietly, args=(client,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert 1 <= len(lines()) <= 5


def refuse_names(*_, **__):
    raise socket.gaierror(socket.EAI_NONAME, "x")


def ask_quietly(client):
    with contextlib.suppress(NetworkError):
        client.get_json(f"https://{HOST}/x")


def test_a_slow_host_is_said_to_be_waited_for(start, lines):
    """Within a second of the command there is a line; here at once, as the limit says."""
    assert Limits().notice <= 0.5
    heard = threading.Event()

    def slow(local, connection):
        read_head(connection)
        heard.wait(10)
        answer(connection)

    url = f"http://127.0.0.1:{start(slow).port}"

    class Hearing(logging.Handler):
        def emit(self, record):
            heard.set()

    handler = Hearing()
    module.log.addHandler(handler)
    try:
        with contextlib.closing(Client(url, limits=Limits(notice=0.01))) as client:
            assert client.get_json(f"{url}/x") == GOOD
    finally:
        module.log.removeHandler(handler)
    assert lines() == [f"Waiting for {url.removeprefix('http://')} …"]


def test_a_quick_host_is_not_spoken_of(start, lines):
    url = f"http://127.0.0.1:{start().port}"
    with contextlib.closing(Client(url)) as client:
        assert client.get_json(f"{url}/x") == GOOD
    assert lines() == []


@pytest.mark.parametrize(
    "portal",
    [
        lambda: httpx.Response(200, text="<html>Welcome to our hotel</html>"),
        lambda: httpx.Response(302, headers={"Location": "https://login.hotel.example/?x"}),
        lambda: httpx.Response(511, text="<html>log in</html>"),
    ],
)
def test_a_network_that_wants_a_login(portal, monkeypatch, lines):
    client = Client("http://s", transport=httpx.MockTransport(lambda _: portal()))
    clock = Clock(client, monkeypatch)
    with pytest.raises(Exception, match="browser") as caught:
        client.get_json("http://s/x")
    assert clock.passed <= 30
    assert "Trying again in 1 s" in lines()[0]
    assert "in a browser" in str(caught.value)
    assert "offline=True" in str(caught.value)


def test_the_command_line_says_it(monkeypatch, capsys):
    from atldld.cli.options import waiting_told

    level = module.log.level
    with waiting_told():
        module.log.info("Waiting for %s …", HOST)
        module.log.warning("Trying again.")
    module.log.info("Nobody hears this.")
    assert capsys.readouterr().err == f"Waiting for {HOST} …\nTrying again.\n"
    assert module.log.level == level
    assert not module.log.handlers


def test_a_command_without_a_network(monkeypatch, capsys, tmp_path):
    import sys

    from atldld.cli import main

    monkeypatch.setenv("ATLDLD_API_URL", "http://no-such-service.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", refuse_names)
    monkeypatch.setattr(module.Persistence, "_sleep", lambda self, seconds: None)
    monkeypatch.setattr(sys, "argv", ["atldld", "dataset", "info", "909"])
    with pytest.raises(SystemExit, match="1"):
        main()
    lines = capsys.readouterr().err.splitlines()
    assert "Trying again" in lines[0]
    assert lines[-1].startswith("Error: no-such-service.invalid cannot be reached: its name is not")
    assert "--offline" in lines[-1]
