"""Connections to the service: kept, never shared by two requests, and so many at once.

Connections are kept from one request to the next, as a round trip to the service takes longer than
most answers. A server or proxy that sends an answer twice would then be read as answering the next
question with the last answer; so a `Line` knows what was answered on it last (decision 8).
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from atldld.errors import NetworkError
from atldld.fetch.limits import Limits
from atldld.support.addresses import without_login
from atldld.support.http import load_httpx
from atldld.support.processes import renew_in_children
from atldld.support.provenance import version

if TYPE_CHECKING:
    import httpx

__all__ = ["Connections", "HeadGuard", "Line", "onward"]

PROJECT_URL = "https://github.com/atldld/atldld"


class Connections:
    """The connections of one client: each serves one request at a time, and is kept after it.

    Parameters
    ----------
    base_url : str
        The host that is asked, for errors.
    limits : Limits
        How many at once, and how long to wait.
    transport : httpx.BaseTransport, optional
        Where requests go instead of the network.

    Attributes
    ----------
    closed : threading.Event
        Set once they are closed for good.
    """

    def __init__(
        self, base_url: str, limits: Limits, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._base_url = base_url
        self._limits = limits
        self._transport = transport
        self._start()

    def _start(self) -> None:
        self.closed = threading.Event()
        self._lines: list[Line] = []  # those that no request uses, the last used at the end
        self._was_used = False
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(self._limits.in_flight)
        # the moments at which the last requests were begun, or will be
        self._begun: deque[float] = deque(maxlen=self._limits.in_flight)

    def renew(self) -> None:
        """Forget, in a forked child, the parent's connections and who held what there."""
        closed = self.closed.is_set()
        self._start()
        if closed:
            self.closed.set()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot for one request, once the rate allows it to begin.

        A request begins no sooner than ``in_flight / per_second`` seconds after the one that was
        begun ``in_flight`` requests before it. So however long answers take, bursts are of
        ``in_flight`` requests at most, and slow answers do not lower the rate.
        """
        slots = self._slots
        slots.acquire()
        try:
            self._keep_to_the_rate()
            yield
        finally:
            slots.release()

    def _keep_to_the_rate(self) -> None:
        rate = self._limits.per_second
        if rate is None:
            return
        with self._lock:
            now = time.monotonic()
            begins = now
            if len(self._begun) == self._limits.in_flight:
                begins = max(now, self._begun[0] + self._limits.in_flight / rate)
            self._begun.append(begins)
        if begins > now:
            self.closed.wait(begins - now)

    @contextmanager
    def line(self) -> Iterator[Line]:
        """Give a connection that nobody else uses; it is kept if all goes well."""
        with self._lock:
            if self.closed.is_set():
                raise NetworkError("The client has been closed.", url=self._base_url)
            # the one that was used last: the network has learnt most of it
            line = self._lines.pop() if self._lines else Line(self.connected)
            self._was_used = True
        try:
            yield line
        except BaseException:
            # Whatever is still to come on it is not the answer to the next question.
            line.drop()
            raise
        finally:
            with self._lock:
                if self.closed.is_set():
                    line.drop()
                else:
                    self._lines.append(line)

    def open_ahead(self) -> None:
        """Begin to open all connections that there may be, if there are none yet.

        Each would be opened by its first request, which would wait for that.
        """
        if self._transport is not None:
            return
        with self._lock:
            if self._lines or self._was_used or self.closed.is_set():
                return
            for _ in range(self._limits.in_flight):
                line = Line(self.connected)
                line.http(partial(self.connected, ahead=True))
                self._lines.append(line)

    def drop_all(self) -> None:
        """Close those that no request uses."""
        with self._lock:
            for line in self._lines:
                line.drop()
            self._lines.clear()

    def connected(self, *, ahead: bool = False) -> httpx.Client:
        """Return a new HTTP client, for one connection that may be opened before it is used."""
        load_httpx()
        import httpx

        limits = self._limits
        single = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        if self._transport is None:
            from atldld.fetch.routes import Ways

            transport: httpx.BaseTransport = (ways := Ways(single))
            if ahead:
                ways.open_ahead(self._base_url, limits.connect)
        else:
            transport = _shared(self._transport)
        return httpx.Client(
            headers={
                "User-Agent": f"atldld/{version()} (+{PROJECT_URL})",
                "Accept-Encoding": "identity",
            },
            timeout=httpx.Timeout(limits.read, connect=limits.connect, pool=None),
            transport=transport,
            trust_env=False,  # what the environment says is read by `Ways`
        )


def _shared(transport: httpx.BaseTransport) -> httpx.BaseTransport:
    """Return a transport that stays open when one of the HTTP clients that use it is closed."""
    import httpx

    class Shared(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return transport.handle_request(request)

    return Shared()


class Line:
    """One connection to the service, and what was answered on it last.

    Parameters
    ----------
    make : callable
        Returns an HTTP client of one connection.
    """

    def __init__(self, make: Callable[[], httpx.Client]) -> None:
        self.socket: Any = None
        self._make = make
        self._http: httpx.Client | None = None
        self._end: weakref.finalize[Any, Any] | None = None
        self._last: tuple[str, bytes] | None = None
        renew_in_children(self)

    def renew(self) -> None:
        """Leave the connection to the parent, in a forked child: not a byte is sent on it."""
        if self._end is not None:
            self._end.detach()
        if self.socket is not None:
            with suppress(OSError, ValueError):
                # of the plain socket: closing a TLS socket could say good-bye
                os.close(socket.socket.detach(self.socket))
        self._http = self._end = self._last = self.socket = None

    def http(self, make: Callable[[], httpx.Client] | None = None) -> httpx.Client:
        """Return the HTTP client; one that another callable makes, if it is the first."""
        if self._http is None:
            self._http = (make or self._make)()
            # A client that is forgotten without being closed leaves no connection open.
            self._end = weakref.finalize(self, self._http.close)
        return self._http

    def drop(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._end is not None:
            # what is left to do at the end would keep each client that ever was in memory
            self._end()
        if self.socket is not None:
            # httpcore forgets it where a proxy leads nowhere
            self.socket.close()
        self._http = self._end = self._last = self.socket = None

    def has_seen(self, url: str, digest: bytes) -> bool:
        """Whether these bytes were the last answer on this connection, to another question."""
        return self._last is not None and self._last[0] != url and self._last[1] == digest

    def remember(self, url: str, digest: bytes) -> None:
        """Note what was asked and answered last."""
        self._last = url, digest


class HeadGuard:
    """Breaks a connection on which the status and the headers take too long, however they drip.

    The read time limit starts again with every byte, so a server that sends one now and then would
    hold a request for hours.
    """

    def __init__(self, seconds: float, line: Line) -> None:
        self.expired = False
        self.stage = ""  # the last event that has begun
        self._seconds = seconds
        self._line = line
        self._timer: threading.Timer | None = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Follow the events of a request; see httpx's "trace" extension.

        Through a proxy there are two heads, and two connections of which one is in the other.
        """
        step, _, state = event.rpartition(".")
        if state == "started":
            self.stage = event
        if state == "complete" and step.endswith(("connect_tcp", "start_tls")):
            self._line.socket = info["return_value"].get_extra_info("socket")
        elif step.endswith(("receive_response_headers", "setup_socks5_connection")):
            self.cancel()
            if state == "started":
                self._timer = _later(self._seconds, self._expire)

    def cancel(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        if self._line.socket is not None:
            with suppress(OSError):
                # of the plain socket: a TLS socket would first want to say good-bye
                socket.socket.shutdown(self._line.socket, socket.SHUT_RDWR)


def _later(seconds: float, call: Callable[[], object]) -> threading.Timer:
    """Call something after a time, unless it is cancelled before."""
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer


def onward(response: httpx.Response) -> str | None:
    """Return where a redirect leads, if that is on the same host, or the same host encrypted."""
    import httpx

    if not response.has_redirect_location:
        return None
    here = response.request.url
    try:
        there = here.join(without_login(str(here.join(response.headers["location"])))[0])
    except (httpx.InvalidURL, ValueError):
        return None
    ports = {("http", None): 80, ("https", None): 443}
    origins = [
        (url.scheme, url.host, url.port or ports.get((url.scheme, None))) for url in (here, there)
    ]
    encrypted = here.scheme == "http" and (there.scheme, there.port) == ("https", None)
    if origins[0] == origins[1] or (encrypted and here.host == there.host):
        return str(there.copy_with(fragment=None))
    return None
