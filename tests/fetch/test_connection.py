"""Kept connections, over a real socket."""

import contextlib
import gc
import http.server
import io
import json
import threading
import time
import weakref

import httpx
import pytest

from atldld.errors import (
    BrokenImageError,
)
from atldld.fetch.client import Client
from atldld.fetch.connection import Line
from atldld.fetch.limits import Limits

QUICK = Limits(first_wait=0.001, longest_wait=0.01, read=0.5, connect=0.5)
GOOD = {"success": True, "id": 0, "start_row": 0, "num_rows": 1, "total_rows": 1, "msg": [{}]}


class Kept:
    """A service that counts its connections and answers with the path, in its own way."""

    def __init__(self, *, copies=1, late=0.0, body=None):
        self.connections = 0
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                service.connections += 1
                super().setup()

            def do_GET(self):
                told = body(self.path) if body else {**GOOD, "msg": [{"path": self.path}]}
                content = json.dumps(told).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
                with contextlib.suppress(OSError):  # the other side may have hung up
                    self.wfile.write(head + content)
                    for _ in range(copies - 1):
                        time.sleep(late)
                        self.wfile.write(head + content)

            def log_message(self, *_):
                pass

            def handle(self):
                with contextlib.suppress(OSError):
                    super().handle()

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def paths(service, count):
    with contextlib.closing(Client(service.url, limits=QUICK)) as asked:
        return [asked.get_json(f"{service.url}/{k}")["msg"][0].get("path") for k in range(count)]


def test_one_connection_answers_one_request_after_the_other():
    with Kept() as service:
        assert paths(service, 10) == [f"/{k}" for k in range(10)]
    assert service.connections == 1


@pytest.mark.parametrize("late", [0.0, 0.001, 0.02])
def test_an_answer_that_comes_twice_is_not_taken_for_the_next(late):
    with Kept(copies=2, late=late) as service:
        assert paths(service, 5) == [f"/{k}" for k in range(5)]


def test_different_questions_with_one_answer_are_asked_once_more():
    """All-black masks are alike; the second is believed when a new connection says the same."""
    with Kept(body=lambda path: GOOD) as service:
        assert paths(service, 3) == [None] * 3
    assert service.connections == 3


def test_a_body_that_fails_its_check_costs_the_connection():
    with Kept() as service, contextlib.closing(Client(service.url, limits=QUICK)) as asked:
        complaints = [BrokenImageError("grey"), None]

        def check():
            complaint = complaints.pop(0)
            if complaint:
                raise complaint

        asked.download(f"{service.url}/1", io.BytesIO(), check)
    assert service.connections == 2


def test_closing_one_line_leaves_a_given_transport_open():
    closed = []

    class Watched(httpx.MockTransport):
        def close(self):
            closed.append(True)

    answers = iter([httpx.Response(500), httpx.Response(200, json=GOOD)])
    asked = Client("http://s", limits=QUICK, transport=Watched(lambda _: next(answers)))
    assert asked.get_json("http://s/x") == GOOD
    assert not closed
    asked.close()
    assert closed


def test_connections_that_were_dropped_leave_memory():
    """A night's batch drops thousands of them, each with a megabyte of certificates."""
    line = Line(Client("https://example.invalid")._connections.connected)
    gone = weakref.ref(line.http())
    line.drop()
    gc.collect()
    assert gone() is None
