"""A server that fails on purpose.

`FaultServer` puts any WSGI application behind a real socket and breaks chosen answers: it resets
connections, cuts bodies, drips, stays silent, sends half an image or an error page. What is broken,
and how often, a `~atldld.testing.faults.FaultPlan` says; what was asked, the server's log tells::

    from atldld.serve.app import Application
    from atldld.demo.archive import DemoArchive
    from atldld.testing.faults import FaultPlan, Shorten, images
    from atldld.testing.server import FaultServer

    with FaultServer(Application(DemoArchive((909,)))) as server:
        server.use(FaultPlan(Shorten(), images(101321610), tries=1))
        ...  # ask server.url: the first try of that image breaks off, the second is whole
        assert [entry.fault for entry in server.log] == [Shorten(), None]
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from atldld.testing.exchange import GLANCE, Exchange, Gone, Request
from atldld.testing.faults import Fault, FaultPlan

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["FaultServer", "LogEntry", "refused_url", "unresolvable_url"]


@dataclass(frozen=True)
class LogEntry:
    """One request as the server saw it.

    Attributes
    ----------
    request : Request
        What was asked.
    when : float
        When, by `time.monotonic`.
    fault : Fault or None
        What was done instead of answering.
    """

    request: Request
    when: float
    fault: Fault | None


class FaultServer:
    """A WSGI application behind a real socket of this machine, with faults on purpose.

    It listens from the beginning and until `close`; it is a context manager too.

    Parameters
    ----------
    application : WSGI application
        Gives the true answers. It is called from many threads.

    Attributes
    ----------
    url : str
        Where it is, such as ``http://127.0.0.1:40001``.
    closed : bool
        Whether it was closed.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application
        self.closed = False
        self._lock = threading.Lock()
        self._plans: tuple[FaultPlan, ...] = ()
        self._tries: dict[tuple[FaultPlan, str], int] = {}
        self._log: list[LogEntry] = []
        self._connections: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._deaf_until = 0.0
        self._listening = True
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address: tuple[str, int] = self._listener.getsockname()
        self.url = "http://{}:{}".format(*self.address)
        self._wake, self._woken = socket.socketpair()
        self._accepting = threading.Thread(target=self._accept, name="fault-server", daemon=True)
        self._accepting.start()

    def __enter__(self) -> FaultServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def use(self, *plans: FaultPlan) -> None:
        """Follow these plans from now on, counting from nought; none makes it a good server.

        An outage is over.

        Parameters
        ----------
        *plans : FaultPlan
            The first that fits a request counts.
        """
        with self._lock:
            self._plans = plans
            self._tries = {}
            self._deaf_until = 0.0
        with self._changed:
            self._changed.wait_for(lambda: self._listening, timeout=1)

    @property
    def log(self) -> tuple[LogEntry, ...]:
        """What was asked so far, in order."""
        with self._lock:
            return tuple(self._log)

    def forget(self) -> None:
        """Empty the log."""
        with self._lock:
            self._log.clear()

    def close(self) -> None:
        """Stop listening, drop every connection and end every thread."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
        self._wake.send(b"x")
        self._accepting.join()
        with self._lock:
            threads, connections = list(self._threads), list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        self._wake.close()
        self._woken.close()

    # -- listening

    def _accept(self) -> None:
        listener: socket.socket | None = self._listener
        while not self.closed:
            left = self._deaf_until - time.monotonic()
            if left > 0:
                if listener is not None:
                    listener.close()
                    listener = None
                self._say_whether_listening(False)
                time.sleep(min(left, GLANCE))
                continue
            if listener is None:
                try:
                    listener = socket.create_server(self.address, backlog=128)
                except OSError:  # the last moment of the old one; it passes
                    time.sleep(GLANCE / 4)
                    continue
                self._say_whether_listening(True)
            ready, _, _ = select.select([listener, self._woken], [], [])
            if self._woken in ready:
                self._woken.recv(64)
            elif listener in ready:
                with contextlib.suppress(OSError):
                    self._begin(listener.accept()[0])
        if listener is not None:
            listener.close()

    def _begin(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
        with self._lock:
            self._connections.add(connection)
            self._threads.add(thread)
        thread.start()

    def stop_listening(self, seconds: float) -> None:
        """Refuse connections for some seconds."""
        with self._lock:
            self._deaf_until = max(self._deaf_until, time.monotonic() + seconds)
        self._wake.send(b"x")
        with self._changed:
            self._changed.wait_for(lambda: not self._listening, timeout=1)

    def _say_whether_listening(self, listening: bool) -> None:
        with self._changed:
            self._listening = listening
            self._changed.notify_all()

    # -- answering

    def _serve(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        try:
            while not self.closed:
                request = _read_request(reader)
                if request is None:
                    break
                fault = self._choose(request)
                exchange = Exchange(self, connection, reader, request)
                if fault is None:
                    exchange.send(exchange.answer)
                else:
                    fault.reply(exchange)
                if request.headers.get("connection", "").lower() == "close":
                    break
        except (Gone, OSError, ValueError):
            pass
        finally:
            with contextlib.suppress(OSError):
                reader.close()
            with contextlib.suppress(OSError):
                connection.close()
            with self._lock:
                self._connections.discard(connection)
                self._threads.discard(threading.current_thread())

    def _choose(self, request: Request) -> Fault | None:
        """Return the fault that a request is to get, and write the request into the log."""
        with self._lock:
            fault = None
            for plan in self._plans:
                if plan.where(request):
                    key = plan, request.target
                    self._tries[key] = tried = self._tries.get(key, 0) + 1
                    fault = plan.fault if plan.tries is None or tried <= plan.tries else None
                    break
            self._log.append(LogEntry(request, time.monotonic(), fault))
        return fault


def _read_request(reader: IO[bytes]) -> Request | None:
    words = reader.readline(65536).decode("latin-1").split()
    if len(words) != 3:
        return None
    headers = {name.lower(): value for name, value in http.client.parse_headers(reader).items()}
    reader.read(int(headers.get("content-length") or 0))  # nobody here asks with a body
    return Request(words[0], words[1], headers)


def refused_url() -> str:
    """Return an address of this machine at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def unresolvable_url() -> str:
    """Return an address whose name does not resolve, wherever it is asked."""
    return "http://no-such-service.invalid"
