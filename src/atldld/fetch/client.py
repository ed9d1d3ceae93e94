"""The one HTTP client: pooled connections, time limits, retries, a bounded number in flight.

A request is finished only when its bytes have been read *and checked*; a body that fails the
check is asked for again like a broken connection. So a passing fault of any kind ends in the same
bytes as no fault.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from atldld.errors import (
    AnswerError,
    HTTPStatusError,
    NetworkError,
    RMAError,
    ServiceError,
    ServiceTimeoutError,
)

if TYPE_CHECKING:
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
        self._http: httpx.Client | None = None
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

    def download(self, url: str, file: BinaryIO, check: Callable[[], T]) -> T:
        """Write a body into a file and check it; try again from the start when the check fails.

        Parameters
        ----------
        url : str
            The whole address.
        file : binary file
            Open for reading and writing; emptied before each try.
        check : callable
            Called when the body is written; what it returns is returned. It raises a
            `~atldld.errors.ServiceError` when the bytes are no good.

        Raises
        ------
        ServiceError
            No body that passes the check could be had.
        """
        return self._persist(lambda: self._download_once(url, file, check))

    def close(self) -> None:
        """Close the connections, and end waits between tries."""
        self._closed.set()
        with self._lock:
            if self._http is not None:
                self._http.close()
                self._http = None

    def _json_once(self, url: str) -> dict[str, Any]:
        with self._open(url) as response:
            body = b"".join(self._body(response, url, self.limits.largest_json))
            status = response.status_code
        # An error's body is read before its status counts: it may say more than the number.
        try:
            envelope = json.loads(body)
        except (ValueError, RecursionError):
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
                f"The service answered with status {status}, but not with its JSON: {body[:60]!r}…",
                url=url,
                hint="It may be down for maintenance; try again later.",
            )
        return envelope

    def _download_once(self, url: str, file: BinaryIO, check: Callable[[], T]) -> T:
        file.seek(0)
        file.truncate()
        with self._open(url) as response:
            _raise_for_status(response, url)
            for chunk in self._body(response, url, self.limits.largest_image):
                file.write(chunk)
        file.flush()
        return check()

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

    @contextmanager
    def _open(self, url: str) -> Iterator[httpx.Response]:
        """Send a GET in a free slot and translate what the HTTP library raises."""
        import httpx

        with self._slots:
            self.requests_sent += 1
            guard = _HeadGuard(self.limits.read)
            try:
                with self._connected().stream(
                    "GET", url, extensions={"trace": guard.trace}
                ) as response:
                    yield response
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

    def _body(self, response: httpx.Response, url: str, largest: int) -> Iterator[bytes]:
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
            yield chunk

    def _connected(self) -> httpx.Client:
        import httpx

        from atldld import __version__

        if self._closed.is_set():
            raise NetworkError("The client has been closed.", url=self.base_url)
        with self._lock:
            if self._http is None:
                limits = self.limits
                self._http = httpx.Client(
                    headers={
                        "User-Agent": f"atldld/{__version__} (+{PROJECT_URL})",
                        "Accept-Encoding": "identity",
                    },
                    timeout=httpx.Timeout(limits.read, connect=limits.connect, pool=None),
                    limits=httpx.Limits(
                        max_connections=limits.in_flight,
                        # A new connection for each request: an answer that a proxy sends
                        # twice would otherwise be read as the answer to the next question.
                        max_keepalive_connections=0,
                    ),
                    transport=self._transport,
                )
                # A client that is forgotten without being closed leaves no connection open.
                weakref.finalize(self, self._http.close)
            return self._http


class _HeadGuard:
    """Breaks a connection on which the status and the headers take too long, however they drip.

    The read time limit starts anew with every byte, so a server that sends one now and then would
    hold a request for hours.
    """

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._socket: Any = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Follow the events of a request; see httpx's "trace" extension."""
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            self._socket = info["return_value"].get_extra_info("socket")
        elif event == "http11.receive_response_headers.started":
            self._timer.start()
        elif event.startswith("http11.receive_response_headers."):
            self._timer.cancel()

    def cancel(self) -> None:
        """Stop watching."""
        self._timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        if self._socket is not None:
            with suppress(OSError):
                # of the plain socket: a TLS socket would first want to say good-bye
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


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
