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
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from atldld.errors import (
    AnswerError,
    HTTPStatusError,
    InvalidInputError,
    NetworkError,
    RMAError,
    ServiceError,
    ServiceTimeoutError,
)
from atldld.support.addresses import Login, login_for, shown_address, without_login
from atldld.support.processes import renew_in_children
from atldld.support.provenance import version

if TYPE_CHECKING:
    import httpx
    import tenacity

    from atldld.fetch.routes import Proxy

__all__ = ["Client", "Limits", "log"]

T = TypeVar("T")

log = logging.getLogger("atldld.fetch")
"""Says what is waited for (level INFO) and what is tried again (WARNING), each now and then."""

REDIRECTS = 5

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
        Bytes after which an answer is refused. See also `atldld.support.documents.LARGEST_MEMORY`.
    reach : float
        Seconds after which a host that cannot be reached is not tried again, where more tries
        hardly help: its name is not found, nothing comes back.
    notice : float
        Seconds without a sign of the host, after which `log` says that it is waited for.
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
    largest_json: int = 64 << 20
    largest_image: int = 1 << 30
    reach: float = 20.0
    notice: float = 2.0


class Client:
    """Asks the service, politely and persistently. Safe to use from many threads.

    In a forked process it has connections and slots of its own. A pickled one is made anew where
    it is unpickled, from its address, limits and transport; those of one address and limits are
    one client in a process, however many things that hold it arrive there.

    Parameters
    ----------
    base_url : str
        The host, such as ``https://api.brain-map.org``.
    limits : Limits
        Time limits, retries and bounds.
    transport : httpx.BaseTransport, optional
        Where requests go instead of the network: ``httpx.WSGITransport`` for a local service in
        the same process, ``httpx.MockTransport`` in tests.
    logins : tuple of Login
        Who asks which address; see `atldld.settings.Settings`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        limits: Limits | None = None,
        transport: httpx.BaseTransport | None = None,
        logins: tuple[Login, ...] = (),
    ) -> None:
        self.base_url = base_url
        self._logins = logins
        self._clock = time.monotonic
        self._told: dict[int, float] = {}  # when something was said last, by its level
        self.limits = limits or Limits()
        self.requests_sent = 0
        self._failed_in_a_row = 0
        self._transport = transport
        self._lines: list[_Line] = []  # those that no request uses, the last used at the end
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(self.limits.in_flight)
        self._closed = threading.Event()
        self._restored = False
        renew_in_children(self)

    def __reduce__(self) -> tuple[Callable[..., Client], tuple[Any, ...]]:
        return _unpickled, (self.base_url, self.limits, self._transport, self._logins)

    def renew(self) -> None:
        """Forget, in a forked child, the parent's connections and who held what there."""
        closed = self._closed.is_set()
        self.requests_sent = 0
        self._told = {}
        self._lines = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(self.limits.in_flight)
        self._closed = threading.Event()
        if closed:
            self._closed.set()

    def url(
        self, path: str, params: Mapping[str, Any] | None = None, *, base: str | None = None
    ) -> str:
        """Return the whole address of a path on the service, or on another host.

        Raises
        ------
        InvalidInputError
            If the host's name, or the path, cannot stand in an address.
        """
        import httpx

        address = (self.base_url if base is None else base) + path
        try:
            return str(httpx.URL(address, params=dict(params) if params else None))
        except httpx.InvalidURL as error:
            raise InvalidInputError(f"{shown_address(address)} is no address: {error}.") from None

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
        """Close the connections, and end waits between tries.

        A client that was unpickled may serve others too: it opens new connections when asked.
        """
        if not self._restored:
            self._closed.set()
        with self._lock:
            for line in self._lines:
                line.drop()
            self._lines.clear()
        if self._transport is not None and not self._restored:
            self._transport.close()

    def _json_once(self, url: str) -> dict[str, Any]:
        body = bytearray()

        def read(_: httpx.Response, chunks: Iterator[bytes]) -> None:
            body.clear()
            for chunk in chunks:
                body.extend(chunk)

        def accept(response: httpx.Response, _: bytes) -> dict[str, Any]:
            from atldld.fetch.answers import decode, retry_after
            from atldld.fetch.troubles import OFFLINE

            # An error's body is read before its status counts: it may say more than the number.
            try:
                envelope = decode(body, url=url)
            except ValueError:
                envelope = None
            if isinstance(envelope, dict) and envelope.get("success") is False:
                rma_error = RMAError(
                    f"The service refused the query: {envelope.get('msg')!s:.500}", url=url
                )
                rma_error.retry_after = retry_after(response.headers)
                raise rma_error
            self._raise_for_status(response, url)
            if not isinstance(envelope, dict) or "msg" not in envelope:
                raise AnswerError(
                    f"The service answered with status {response.status_code}, but not with its "
                    f"JSON: {bytes(body[:60])!r}…",
                    url=url,
                    hint="It may be down for maintenance, or your network may want you to log in "
                    f"in a browser first. {OFFLINE}",
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
            self._raise_for_status(response, url)
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
            before_sleep=self._say_again,
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
        hopeless = getattr(error, "tries", None) is not None
        return (
            state.attempt_number >= self._attempts(error)
            or (hopeless and self._clock() - state.start_time >= self.limits.reach)
            or self._closed.is_set()
        )

    def _attempts(self, error: BaseException | None) -> int:
        """Return how often a request is tried that fails in this way."""
        attempts = self.limits.attempts
        if self._failed_in_a_row >= self.limits.patience:
            return 1
        if _is_plain(error):
            # Refusals rarely change their mind: one more try is enough.
            return min(2, attempts)
        tries = getattr(error, "tries", None)
        return attempts if tries is None else min(tries, attempts)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        import random

        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", None)
        doubling = self.limits.first_wait * 2 ** (state.attempt_number - 1)
        # Some jitter, lest many workers come back at the same moment.
        waited = max(asked or 0.0, doubling * random.uniform(0.75, 1.25))
        return float(min(waited, self.limits.longest_wait))

    def _say_again(self, state: tenacity.RetryCallState) -> None:
        """Say what went wrong, and that it is tried again."""
        error = state.outcome.exception() if state.outcome else None
        seconds = max(round(state.upcoming_sleep), 1)
        self._say(
            logging.WARNING,
            f"{getattr(error, 'message', error)} Trying again in {seconds} s "
            f"({state.attempt_number + 1} of {self._attempts(error)}).",
            every=3.0,
        )

    def _say(self, level: int, text: str, *, every: float) -> None:
        """Say something, unless something of its kind was said just now: many requests may wait."""
        now = self._clock()
        with self._lock:
            before = self._told.get(level)
            if before is not None and now - before < every:
                return
            self._told[level] = now
        log.log(level, "%s", text)

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
        """Send a GET, return its answer and the digest of its body; translate errors.

        Redirects are followed on the same host alone, and with the same login.
        """
        import httpx
        from socksio import SOCKSError

        from atldld.fetch.troubles import trouble

        address, login = self._parted(url)
        headers = {"Authorization": login.authorization} if login else {}
        guard = _HeadGuard(self.limits.read, line)
        digest = hashlib.sha256()

        def chunks(response: httpx.Response) -> Iterator[bytes]:
            for chunk in self._body(response, url, largest, progress):
                notice.cancel()
                digest.update(chunk)
                yield chunk

        notice = self._notice(address)
        try:
            for _ in range(REDIRECTS + 1):
                self.requests_sent += 1
                with line.http().stream(
                    "GET", address, headers=headers, extensions={"trace": guard.trace}
                ) as response:
                    onward = _onward(response)
                    if onward is None:
                        read(response, chunks(response))
                        return response, digest.digest()
                address = onward
            raise _in_circles(response, url)
        # httpx lets through what its parts raise of names, of encryption and of SOCKS
        except (httpx.HTTPError, httpx.InvalidURL, SOCKSError, UnicodeError) as error:
            raise trouble(
                error,
                address,
                seconds=(self.limits.connect, self.limits.read),
                proxy=self._proxy(address),
                stage=guard.stage,
                late=guard.expired,
            ) from None
        finally:
            guard.cancel()
            notice.cancel()

    def _parted(self, url: str) -> tuple[str, Login | None]:
        """Return an address to send a request to, and who asks it."""
        try:
            address, login = without_login(url)
        except ValueError:
            raise InvalidInputError(f"{shown_address(url)} is no web address.") from None
        return address, login or login_for(address, self._logins)

    def _proxy(self, url: str) -> Proxy | None:
        """Return the proxy that a request went through."""
        if self._transport is not None:
            return None
        from atldld.fetch.routes import proxy_for

        return proxy_for(url)

    def _raise_for_status(self, response: httpx.Response, url: str) -> None:
        if response.is_success:
            return
        from atldld.fetch.answers import retry_after
        from atldld.fetch.troubles import refusal

        error = refusal(response, url, self._proxy(url))
        error.retry_after = retry_after(response.headers)
        raise error

    def _notice(self, url: str) -> threading.Timer:
        """Say after a while that a host is waited for, unless that is cancelled before."""
        host = urlsplit(url).netloc
        timer = threading.Timer(
            self.limits.notice,
            lambda: self._say(logging.INFO, f"Waiting for {host} …", every=20.0),
        )
        timer.daemon = True
        if self._transport is None:  # else there is no host
            timer.start()
        return timer

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Hold a slot for one request, and as long after it as the rate demands.

        Slots that each serve one request in ``in_flight / per_second`` seconds keep to the rate
        together; no other clock is needed.
        """
        slots = self._slots
        slots.acquire()
        begun = time.monotonic()
        try:
            yield
        finally:
            rate = self.limits.per_second
            rest = 0.0 if rate is None else begun + self.limits.in_flight / rate - time.monotonic()
            if rest > 0 and not self._closed.is_set():
                later = threading.Timer(rest, slots.release)
                later.daemon = True
                later.start()
            else:
                slots.release()

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
        from atldld.fetch.answers import announced_length, is_encoded

        if is_encoded(response.headers):
            self._raise_for_status(response, url)  # which says more
            # Not asked for; and a small compressed answer may unpack to any size.
            raise AnswerError("The service sent a compressed answer, unasked.", url=url)
        announced = announced_length(response.headers)
        started = time.monotonic()
        received = 0
        if announced is not None and announced > largest:
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
                progress(received, announced)
            yield chunk

    def _connected(self) -> httpx.Client:
        """Return a new HTTP client, for one connection."""
        import httpx

        limits = self.limits
        one = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        if self._transport is None:
            from atldld.fetch.routes import Ways

            transport: httpx.BaseTransport = Ways(one)
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


def _unpickled(
    base_url: str,
    limits: Limits,
    transport: httpx.BaseTransport | None,
    logins: tuple[Login, ...],
) -> Client:
    """Return a client that stands for a pickled one."""
    if transport is not None:
        return Client(base_url, limits=limits, transport=transport, logins=logins)
    return _client(base_url, limits, logins)


@lru_cache(maxsize=8)
def _client(base_url: str, limits: Limits, logins: tuple[Login, ...]) -> Client:
    client = Client(base_url, limits=limits, logins=logins)
    client._restored = True
    return client


def _shared(transport: httpx.BaseTransport) -> httpx.BaseTransport:
    """Return a transport that stays open when one of the HTTP clients that use it is closed."""
    import httpx

    class Shared(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return transport.handle_request(request)

    return Shared()


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


class _HeadGuard:
    """Breaks a connection on which the status and the headers take too long, however they drip.

    The read time limit starts anew with every byte, so a server that sends one now and then would
    hold a request for hours.
    """

    def __init__(self, seconds: float, line: _Line) -> None:
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


def _onward(response: httpx.Response) -> str | None:
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


def _in_circles(response: httpx.Response, url: str) -> HTTPStatusError:
    error = HTTPStatusError(
        f"The service redirects in circles (status {response.status_code}).",
        url=url,
        hint="Check the address.",
    )
    error.status_code = response.status_code
    error.tries = 2
    return error


def _is_plain(error: BaseException | None) -> bool:
    """Whether the service has plainly said no, and so is well."""
    return isinstance(error, RMAError) or (
        isinstance(error, HTTPStatusError) and error.status_code in {403, 404}
    )


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, HTTPStatusError):
        # Anything that says "you asked wrongly" stays wrong; the rest has been seen to pass.
        return error.status_code not in {400, 401, 405, 407, 410, 413, 414}
    return isinstance(error, ServiceError)
