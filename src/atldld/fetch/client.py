"""The one HTTP client: kept connections, time limits, retries, a bounded number in flight.

A request is finished only when its bytes have been read *and checked*; a body that fails the
check is asked for again like a broken connection. So a passing fault of any kind ends in the same
bytes as no fault.

Connections are kept from one request to the next, as a round trip to the service takes longer than
most answers. A server or proxy that sends an answer twice would then be read as answering the next
question with the last answer; so one that equals the last on its connection, byte for byte, but
was asked for by another address, is asked for again on a new connection (decision 8).
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from atldld.documents import DocumentError, parse_json
from atldld.errors import (
    AnswerError,
    HTTPStatusError,
    NetworkError,
    RMAError,
    ServiceError,
    ServiceTimeoutError,
)

if TYPE_CHECKING:
    import ssl

    import httpx
    import tenacity

__all__ = ["Client", "Limits"]

T = TypeVar("T")

PROJECT_URL = "https://github.com/atldld/atldld"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait, how often to try, how much to take, how many requests at once.

    Parameters
    ----------
    connect, read : float
        Seconds to wait for a connection, and for the next bytes.
    low_speed_bytes, low_speed_seconds : float
        An answer is given up when fewer than ``low_speed_bytes`` a second arrived on average
        after ``low_speed_seconds``: a server that drips would never hit `read`.
    attempts : int
        How often one request is tried in all.
    patience : int
        After this many requests in a row have failed in all their tries, the service counts as
        down and further ones are tried once, until one succeeds: a data set of hundreds of images
        does not wait for each of them.
    first_wait, longest_wait : float
        Seconds before the second try, doubling up to the longest; also the most that a
        ``Retry-After`` of the service is followed.
    in_flight : int
        Requests at once, over all threads.
    per_second : float, optional
        Requests each second on average, over all threads, in bursts of no more than `in_flight`.
        By default only `in_flight` bounds them.
    largest_json, largest_image : int
        Bytes after which an answer is refused.
    """

    connect: float = 10.0
    read: float = 30.0
    low_speed_bytes: float = 1000.0
    low_speed_seconds: float = 30.0
    attempts: int = 6
    patience: int = 4
    first_wait: float = 0.5
    longest_wait: float = 30.0
    in_flight: int = 6
    per_second: float | None = None
    largest_json: int = 256 << 20
    largest_image: int = 1 << 30


class Client:
    """Asks the service, politely and persistently. Safe to use from many threads.

    Parameters
    ----------
    base_url : str
        The host, such as ``https://api.brain-map.org``.
    limits : Limits
        Time limits, retries and bounds.
    transport : httpx.BaseTransport, optional
        Where requests go instead of the network: ``httpx.WSGITransport`` for a local service in
        the same process, ``httpx.MockTransport`` in tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        limits: Limits | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url
        self.limits = limits or Limits()
        self.requests_sent = 0
        self._failed_in_a_row = 0
        self._transport = transport
        self._lines: list[_Line] = []  # those that no request uses, the last used at the end
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(self.limits.in_flight)
        self._closed = threading.Event()

    def url(self, path: str, params: Mapping[str, Any] | None = None) -> str:
        """Return the whole address of a path on the service."""
        import httpx

        return str(httpx.URL(self.base_url + path, params=dict(params) if params else None))

    def get_json(self, url: str) -> dict[str, Any]:
        """Return the envelope of an answer, whose ``success`` is true.

        Raises
        ------
        RMAError
            The service answered ``success: false``; the message is its own.
        ServiceError
            No usable answer could be had.
        """
        return self._persist(lambda: self._json_once(url))

    def download(
        self,
        url: str,
        file: BinaryIO,
        check: Callable[[], object],
        *,
        largest: int | None = None,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> str:
        """Write a body into a file and check it; try again from the start when the check fails.

        Parameters
        ----------
        url : str
            The whole address.
        file : binary file
            Open for reading and writing; emptied before each try.
        check : callable
            Called when the body is written. It raises a `~atldld.errors.ServiceError` when the
            bytes are no good.
        largest : int, optional
            Bytes after which the answer is refused; that of images by default.
        progress : callable, optional
            Takes the bytes that have arrived, and how many were announced, if any.

        Returns
        -------
        str
            The SHA-256 of the body, in hexadecimal.

        Raises
        ------
        ServiceError
            No body that passes the check could be had.
        """
        limit = self.limits.largest_image if largest is None else largest
        return self._persist(lambda: self._download_once(url, file, check, limit, progress))

    def close(self) -> None:
        """Close the connections, and end waits between tries."""
        self._closed.set()
        with self._lock:
            for line in self._lines:
                line.drop()
            self._lines.clear()
        if self._transport is not None:
            self._transport.close()

    def _json_once(self, url: str) -> dict[str, Any]:
        body = bytearray()

        def read(_: httpx.Response, chunks: Iterator[bytes]) -> None:
            body.clear()
            for chunk in chunks:
                body.extend(chunk)

        def accept(response: httpx.Response, _: bytes) -> dict[str, Any]:
            # An error's body is read before its status counts: it may say more than the number.
            try:
                envelope = parse_json(body)
            except DocumentError:
                envelope = None
            if isinstance(envelope, dict) and envelope.get("success") is False:
                rma_error = RMAError(
                    f"The service refused the query: {envelope.get('msg')!s:.500}", url=url
                )
                rma_error.retry_after = _retry_after(response)
                raise rma_error
            _raise_for_status(response, url)
            if not isinstance(envelope, dict) or "msg" not in envelope:
                raise AnswerError(
                    f"The service answered with status {response.status_code}, but not with its "
                    f"JSON: {bytes(body[:60])!r}…",
                    url=url,
                    hint="It may be down for maintenance; try again later.",
                )
            return envelope

        return self._ask(url, self.limits.largest_json, read, accept)

    def _download_once(
        self,
        url: str,
        file: BinaryIO,
        check: Callable[[], object],
        largest: int,
        progress: Callable[[int, int | None], None] | None,
    ) -> str:
        def read(response: httpx.Response, chunks: Iterator[bytes]) -> None:
            _raise_for_status(response, url)
            file.seek(0)
            file.truncate()
            for chunk in chunks:
                file.write(chunk)

        def accept(_: httpx.Response, digest: bytes) -> str:
            file.flush()
            check()
            return digest.hex()

        return self._ask(url, largest, read, accept, progress)

    def _persist(self, attempt: Callable[[], T]) -> T:
        import tenacity

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            stop=self._give_up,
            wait=self._wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            result = retrying(attempt)
        except ServiceError as error:
            if not _is_plain(error):
                self._failed_in_a_row += 1
            raise
        self._failed_in_a_row = 0
        return result

    def _give_up(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        attempts = self.limits.attempts
        if self._failed_in_a_row >= self.limits.patience:
            attempts = 1
        elif _is_plain(error):
            # Refusals rarely change their mind: one more try is enough.
            attempts = min(2, attempts)
        return state.attempt_number >= attempts or self._closed.is_set()

    def _wait(self, state: tenacity.RetryCallState) -> float:
        import random

        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", None)
        doubling = self.limits.first_wait * 2 ** (state.attempt_number - 1)
        # Some jitter, lest many workers come back at the same moment.
        waited = max(asked or 0.0, doubling * random.uniform(0.75, 1.25))
        return float(min(waited, self.limits.longest_wait))

    def _sleep(self, seconds: float) -> None:
        """Wait between tries, but not once the client is closed."""
        self._closed.wait(seconds)

    def _ask(
        self,
        url: str,
        largest: int,
        read: Callable[[httpx.Response, Iterator[bytes]], None],
        accept: Callable[[httpx.Response, bytes], T],
        progress: Callable[[int, int | None], None] | None = None,
    ) -> T:
        """Send a GET in a free slot, read its answer and return what `accept` makes of it.

        `read` takes the body in chunks. It is called a second time, with the answer on a new
        connection, where the first may be a late copy of the answer before. What `accept` refuses
        costs the connection too: nobody knows what is still to come on it.
        """
        with self._slot(), self._line() as line:
            response, digest = self._ask_on(line, url, largest, read, progress)
            if not line.has_seen(url, digest):
                line.remember(url, digest)
                return accept(response, digest)
            line.drop()
        with self._slot(), self._line() as line:
            line.drop()
            response, digest = self._ask_on(line, url, largest, read, progress)
            line.remember(url, digest)
            return accept(response, digest)

    def _ask_on(
        self,
        line: _Line,
        url: str,
        largest: int,
        read: Callable[[httpx.Response, Iterator[bytes]], None],
        progress: Callable[[int, int | None], None] | None,
    ) -> tuple[httpx.Response, bytes]:
        """Send a GET, return its answer and the digest of its body; translate errors."""
        import httpx

        self.requests_sent += 1
        guard = _HeadGuard(self.limits.read, line)
        digest = hashlib.sha256()

        def chunks(response: httpx.Response) -> Iterator[bytes]:
            for chunk in self._body(response, url, largest, progress):
                digest.update(chunk)
                yield chunk

        try:
            with line.http().stream("GET", url, extensions={"trace": guard.trace}) as response:
                read(response, chunks(response))
                return response, digest.digest()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if isinstance(error, httpx.TimeoutException) or guard.expired:
                raise ServiceTimeoutError(
                    f"The service did not answer within {self.limits.read:g} s.",
                    url=url,
                    hint="Try again later; what has arrived is kept.",
                ) from None
            raise NetworkError(
                f"The request failed: {error or type(error).__name__}.",
                url=url,
                hint="Check the network and the address; what has arrived is kept.",
            ) from None
        finally:
            guard.cancel()

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Hold a slot for one request, and as long after it as the rate demands.

        Slots that each serve one request in ``in_flight / per_second`` seconds keep to the rate
        together; no other clock is needed.
        """
        self._slots.acquire()
        begun = time.monotonic()
        try:
            yield
        finally:
            rate = self.limits.per_second
            rest = 0.0 if rate is None else begun + self.limits.in_flight / rate - time.monotonic()
            if rest > 0 and not self._closed.is_set():
                later = threading.Timer(rest, self._slots.release)
                later.daemon = True
                later.start()
            else:
                self._slots.release()

    @contextmanager
    def _line(self) -> Iterator[_Line]:
        """Give a connection that nobody else uses; it is kept if all goes well."""
        with self._lock:
            if self._closed.is_set():
                raise NetworkError("The client has been closed.", url=self.base_url)
            # the one that was used last: the network has learnt most of it
            line = self._lines.pop() if self._lines else _Line(self._connected)
        try:
            yield line
        except BaseException:
            # Whatever is still to come on it is not the answer to the next question.
            line.drop()
            raise
        finally:
            with self._lock:
                if self._closed.is_set():
                    line.drop()
                else:
                    self._lines.append(line)

    def _body(
        self,
        response: httpx.Response,
        url: str,
        largest: int,
        progress: Callable[[int, int | None], None] | None,
    ) -> Iterator[bytes]:
        if response.headers.get("content-encoding", "identity") != "identity":
            # Not asked for; and a small compressed answer may unpack to any size.
            raise AnswerError("The service sent a compressed answer, unasked.", url=url)
        announced = response.headers.get("content-length", "")
        started = time.monotonic()
        received = 0
        if announced.isdigit() and int(announced) > largest:
            raise AnswerError(f"The answer announces {announced} bytes, too many.", url=url)
        # Chunks as they arrive: with a size of our own, a drip would be gathered unseen.
        for chunk in response.iter_bytes():
            received += len(chunk)
            elapsed = time.monotonic() - started
            if received > largest:
                raise AnswerError(f"The answer is longer than {largest} bytes.", url=url)
            if (
                elapsed > self.limits.low_speed_seconds
                and received < self.limits.low_speed_bytes * elapsed
            ):
                raise ServiceTimeoutError(
                    f"Only {received} bytes arrived in {elapsed:.0f} s.",
                    url=url,
                    hint="Try again later; what has arrived is kept.",
                )
            if progress:
                progress(received, int(announced) if announced.isdigit() else None)
            yield chunk

    def _connected(self) -> httpx.Client:
        """Return a new HTTP client, for one connection."""
        import httpx

        from atldld import __version__

        limits = self.limits
        return httpx.Client(
            headers={
                "User-Agent": f"atldld/{__version__} (+{PROJECT_URL})",
                "Accept-Encoding": "identity",
            },
            timeout=httpx.Timeout(limits.read, connect=limits.connect, pool=None),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            transport=None if self._transport is None else _shared(self._transport),
            # always: files may come from another host than the API's
            verify=_certificates(),
        )


def _shared(transport: httpx.BaseTransport) -> httpx.BaseTransport:
    """Return a transport that stays open when one of the HTTP clients that use it is closed."""
    import httpx

    class Shared(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return transport.handle_request(request)

    return Shared()


@lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    """Return the trusted certificates: reading them takes longer than opening a connection."""
    import httpx

    return httpx.create_ssl_context()


class _Line:
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
        self._end: Callable[[], object] | None = None
        self._last: tuple[str, bytes] | None = None

    def http(self) -> httpx.Client:
        """Return the HTTP client."""
        if self._http is None:
            self._http = self._make()
            # A client that is forgotten without being closed leaves no connection open.
            self._end = weakref.finalize(self, self._http.close)
        return self._http

    def drop(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._end is not None:
            # what is left to do at the end would keep each client that ever was in memory
            self._end()
        self._http = self._end = self._last = self.socket = None

    def has_seen(self, url: str, digest: bytes) -> bool:
        """Whether these bytes were the last answer on this connection, to another question."""
        return self._last is not None and self._last[0] != url and self._last[1] == digest

    def remember(self, url: str, digest: bytes) -> None:
        """Note what was asked and answered last."""
        self._last = url, digest


class _HeadGuard:
    """Breaks a connection on which the status and the headers take too long, however they drip.

    The read time limit starts anew with every byte, so a server that sends one now and then would
    hold a request for hours.
    """

    def __init__(self, seconds: float, line: _Line) -> None:
        self.expired = False
        self._line = line
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Follow the events of a request; see httpx's "trace" extension."""
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            self._line.socket = info["return_value"].get_extra_info("socket")
        elif event == "http11.receive_response_headers.started":
            self._timer.start()
        elif event.startswith("http11.receive_response_headers."):
            self._timer.cancel()

    def cancel(self) -> None:
        """Stop watching."""
        self._timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        if self._line.socket is not None:
            with suppress(OSError):
                # of the plain socket: a TLS socket would first want to say good-bye
                socket.socket.shutdown(self._line.socket, socket.SHUT_RDWR)


def _is_plain(error: BaseException | None) -> bool:
    """Whether the service has plainly said no, and so is well."""
    return isinstance(error, RMAError) or (
        isinstance(error, HTTPStatusError) and error.status_code in {403, 404}
    )


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, HTTPStatusError):
        # Anything that says "you asked wrongly" stays wrong; the rest has been seen to pass.
        return error.status_code not in {400, 401, 405, 410, 413, 414}
    return isinstance(error, ServiceError)


def _raise_for_status(response: httpx.Response, url: str) -> None:
    if response.is_success:
        return
    status = response.status_code
    if response.is_redirect:
        text = f"redirects elsewhere (status {status}), which is not followed"
    else:
        text = f"answered with status {status} {response.reason_phrase}".rstrip()
    error = HTTPStatusError(f"The service {text}.", url=url)
    error.status_code = status
    error.retry_after = _retry_after(response)
    raise error


def _retry_after(response: httpx.Response) -> float | None:
    from email.utils import parsedate_to_datetime

    value = response.headers.get("retry-after", "")
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None
