"""The one HTTP client: kept connections, time limits, retries, a bounded number in flight.

A request is finished only when its bytes have been read *and checked*; a body that fails the
check is asked for again like a broken connection. So a passing fault of any kind ends in the same
bytes as no fault. An answer that equals the last on its connection, byte for byte, but was asked
for by another address, is asked for again on a new connection (decision 8).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar
from urllib.parse import urlsplit

from atldld.errors import (
    AnswerError,
    HTTPStatusError,
    InvalidInputError,
    RMAError,
    ServiceTimeoutError,
)
from atldld.fetch.allowance import Allowance
from atldld.fetch.connection import Connections, HeadGuard, Line, onward
from atldld.fetch.limits import Limits
from atldld.fetch.look import Look
from atldld.fetch.retry import Notices, Persistence, log
from atldld.support.addresses import Login, login_for, shown_address, without_login
from atldld.support.fields import CHANGED
from atldld.support.http import load_httpx
from atldld.support.processes import renew_in_children

if TYPE_CHECKING:
    import httpx

    from atldld.fetch.routes import Proxy

__all__ = ["Client", "Range", "Unchanged", "Version"]

T = TypeVar("T")

REDIRECTS = 5

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


@dataclass(frozen=True, slots=True)
class Version:
    """What a server calls a version of a file, so that it need not send it again.

    Attributes
    ----------
    etag, modified : str
        Its ``ETag`` and ``Last-Modified``; empty where it says neither.
    """

    etag: str = ""
    modified: str = ""

    def headers(self) -> dict[str, str]:
        """Return the headers that ask for another version alone."""
        told = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in told.items() if value}


class Unchanged(Exception):  # noqa: N818 - no error: there is nothing to fetch
    """The server has no other version than the one that is known."""


@dataclass(frozen=True, slots=True)
class Range:
    """A part of a file on a server.

    Attributes
    ----------
    content : bytes
        The part.
    size : int
        How many bytes the whole file has.
    etag : str
        What the server calls this version of the file; empty if it does not say.
    """

    content: bytes
    size: int
    etag: str


class Client:
    """Asks the service, politely and persistently. Safe to use from many threads.

    In a forked process it has connections and slots of its own. A pickled one is made again where
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
    allowance : Allowance, optional
        How many requests may be sent a day.
    """

    def __init__(
        self,
        base_url: str,
        *,
        limits: Limits | None = None,
        transport: httpx.BaseTransport | None = None,
        logins: tuple[Login, ...] = (),
        allowance: Allowance | None = None,
    ) -> None:
        self.base_url = base_url
        self.allowance = allowance
        self._logins = logins
        self.limits = limits or Limits()
        self.requests_sent = 0
        self._transport = transport
        self._notices = Notices()
        self._connections = Connections(base_url, self.limits, transport)
        self._persistence = Persistence(self.limits, self._notices, self._connections.closed)
        self._restored = False
        renew_in_children(self)

    def __reduce__(self) -> tuple[Callable[..., Client], tuple[Any, ...]]:
        known = self.base_url, self.limits, self._transport, self._logins, self.allowance
        return _unpickled, known

    def renew(self) -> None:
        """Forget, in a forked child, the parent's connections and who held what there."""
        self.requests_sent = 0
        self._notices.renew()
        self._connections.renew()
        self._persistence.closed = self._connections.closed

    def url(
        self, path: str, params: Mapping[str, Any] | None = None, *, base: str | None = None
    ) -> str:
        """Return the whole address of a path on the service, or on another host.

        Raises
        ------
        InvalidInputError
            If the host's name, or the path, cannot stand in an address.
        """
        load_httpx()
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
            If the service answers ``success: false``; the message is its own.
        ServiceError
            If no usable answer arrives.
        """
        return self._persistence.persist(lambda: self._json_once(url))

    def download(
        self,
        url: str,
        file: BinaryIO,
        check: Callable[[], object],
        *,
        largest: int | None = None,
        progress: Callable[[int, int | None], None] | None = None,
        md5: bool = False,
        once: bool = False,
        known: Version | None = None,
        tell: Callable[[Version], object] | None = None,
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
        md5 : bool
            Compare the body's MD5 with the ETag, where that is one: in S3 it is, of what was
            written in one piece.
        once : bool
            Try only once.
        known : Version, optional
            What is there already: only another version is sent.
        tell : callable, optional
            Takes the version that was sent.

        Returns
        -------
        str
            The SHA-256 of the body, in hexadecimal.

        Raises
        ------
        Unchanged
            If the server has no other version than the known one.
        ServiceError
            If no body arrives that passes the check.
        """
        limit = self.limits.largest_image if largest is None else largest
        return self._persistence.persist(
            lambda: self._download_once(
                url, file, check, limit, progress, md5, known or Version(), tell
            ),
            once=once,
        )

    def get_range(self, url: str, start: int, stop: int) -> Range:
        """Return a part of a file.

        The answer must be the very part that was asked for, and whole. Nothing tells whether its
        bytes are right: whoever asks has to look at them.

        Parameters
        ----------
        url : str
            The whole address.
        start, stop : int
            The first byte, and the first one after the part. What lies behind the file's end is
            left off.

        Raises
        ------
        ServiceError
            If no such part arrives, or the server knows no parts.
        """
        return self._persistence.persist(lambda: self._range_once(url, start, stop))

    def persist(self, attempt: Callable[[], T]) -> T:
        """Return what an attempt of several requests returns in the end.

        It is made again as often as its errors make that worth while; see `ServiceError.tries`.
        """
        return self._persistence.persist(attempt)

    @property
    def in_process(self) -> bool:
        """Whether requests go to something else than the network."""
        return self._transport is not None

    def look(
        self,
        url: str,
        *,
        method: Literal["GET", "HEAD", "POST"] = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        largest: int = 1 << 20,
        seconds: float = 10.0,
        take: Callable[[int], object] | None = None,
    ) -> Look:
        """Ask once, and return whatever is answered: any status, any body.

        Nothing is tried again, checked or kept. It is how the service itself is examined.

        Parameters
        ----------
        url : str
            The whole address.
        method, headers, content : optional
            What is sent. A login for the address is added.
        largest : int
            Bytes after which the rest of the body is left.
        seconds : float
            The most that it may take in all.
        take : callable, optional
            Told of each part of the body as it arrives, by its length; what it raises ends it.

        Raises
        ------
        NetworkError, ServiceTimeoutError
            If no answer arrives, or not in time.
        AnswerError
            If the answer is compressed, which was not asked for.
        """
        began = time.monotonic()
        body = bytearray()
        head, whole = 0.0, True

        def read(_: httpx.Response, chunks: Iterator[bytes]) -> None:
            nonlocal head, whole
            body.clear()
            head, whole = time.monotonic() - began, True
            for chunk in chunks:
                body.extend(chunk)
                if take is not None:
                    take(len(chunk))
                if len(body) > largest:
                    del body[largest:]
                    whole = False
                    return
                if time.monotonic() - began > seconds:
                    raise ServiceTimeoutError(
                        f"Only {len(body)} bytes arrived in {seconds:.0f} s.", url=url
                    )

        with self._connections.slot(), self._connections.line() as line:
            response, _ = self._ask_on(
                line,
                url,
                1 << 62,  # `read` stops before
                read,
                None,
                method=method,
                headers=headers,
                content=content,
                seconds=seconds,
            )
            if not whole:
                line.drop()
        return Look(
            url=url,
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=bytes(body),
            whole=whole,
            head_seconds=head,
            seconds=time.monotonic() - began,
        )

    def load(self) -> None:
        """Import what a request needs, before something else is imported that takes longer."""
        load_httpx()
        import socksio  # noqa: F401

        import atldld.fetch.answers
        import atldld.fetch.routes
        import atldld.fetch.troubles  # noqa: F401

    def open_ahead(self) -> None:
        """Begin to open the connections that many requests will need, if there are none yet."""
        self._connections.open_ahead()

    def close(self) -> None:
        """Close the connections, and end waits between tries.

        A client that was unpickled may serve others too: it opens new connections when asked.
        """
        if not self._restored:
            self._connections.closed.set()
        self._connections.drop_all()
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
                raise RMAError(
                    f"The service refused the query: {envelope.get('msg')!s:.500}",
                    url=url,
                    retry_after=retry_after(response.headers),
                )
            self._raise_for_status(response, url)
            if isinstance(envelope, dict) and "success" in envelope and "msg" not in envelope:
                raise AnswerError(
                    "In the service's answer, msg is missing; there are "
                    f"{', '.join(map(str, envelope))[:200]}.",
                    url=url,
                    hint=CHANGED,
                )
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
        md5: bool,
        known: Version,
        tell: Callable[[Version], object] | None,
    ) -> str:
        sum_of_all = hashlib.md5(usedforsecurity=False)

        def read(response: httpx.Response, chunks: Iterator[bytes]) -> None:
            nonlocal sum_of_all
            if response.status_code == 304 and known.headers():
                raise Unchanged
            self._raise_for_status(response, url)
            file.seek(0)
            file.truncate()
            sum_of_all = hashlib.md5(usedforsecurity=False)
            for chunk in chunks:
                file.write(chunk)
                if md5:
                    sum_of_all.update(chunk)

        def accept(response: httpx.Response, digest: bytes) -> str:
            file.flush()
            told = _MD5.fullmatch(response.headers.get("etag", "")) if md5 else None
            if told is not None and told[1] != sum_of_all.hexdigest():
                raise AnswerError(
                    f"The bytes that arrived have the MD5 {sum_of_all.hexdigest()} instead of "
                    f"{told[1]}.",
                    url=url,
                )
            check()
            if tell is not None:
                told_by = response.headers
                tell(Version(told_by.get("etag", ""), told_by.get("last-modified", "")))
            return digest.hex()

        return self._ask(url, largest, read, accept, progress, known.headers())

    def _range_once(self, url: str, start: int, stop: int) -> Range:
        body = bytearray()

        def read(response: httpx.Response, chunks: Iterator[bytes]) -> None:
            self._raise_for_status(response, url)
            body.clear()
            if response.status_code == 206:
                for chunk in chunks:
                    body.extend(chunk)

        def accept(response: httpx.Response, _: bytes) -> Range:
            told = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
            if response.status_code != 206 or told is None:
                raise AnswerError(
                    f"Bytes {start} to {stop - 1} were asked for, and the answer (status "
                    f"{response.status_code}) is no part of a file.",
                    url=url,
                    hint="The server, or a proxy before it, may not answer with parts of files.",
                )
            first, last, size = map(int, told.groups())
            if (first, last + 1) != (start, min(stop, size)) or len(body) != last + 1 - first:
                raise AnswerError(
                    f"Bytes {start} to {stop - 1} were asked for, and {len(body)} bytes arrived "
                    f"that are called {first} to {last} of {size}.",
                    url=url,
                )
            return Range(bytes(body), size, response.headers.get("etag", "").strip())

        headers = {"Range": f"bytes={start}-{stop - 1}"}
        return self._ask(url, stop - start, read, accept, headers=headers)

    def _ask(
        self,
        url: str,
        largest: int,
        read: Callable[[httpx.Response, Iterator[bytes]], None],
        accept: Callable[[httpx.Response, bytes], T],
        progress: Callable[[int, int | None], None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Send a GET in a free slot, read its answer and return what `accept` makes of it.

        `read` takes the body in chunks. It is called a second time, with the answer on a new
        connection, where the first may be a late copy of the answer before. What `accept` refuses
        costs the connection too: nobody knows what is still to come on it.
        """
        with self._connections.slot(), self._connections.line() as line:
            response, digest = self._ask_on(line, url, largest, read, progress, headers)
            if not line.has_seen(url, digest):
                line.remember(url, digest)
                return accept(response, digest)
            line.drop()
        with self._connections.slot(), self._connections.line() as line:
            line.drop()
            response, digest = self._ask_on(line, url, largest, read, progress, headers)
            line.remember(url, digest)
            return accept(response, digest)

    def _ask_on(
        self,
        line: Line,
        url: str,
        largest: int,
        read: Callable[[httpx.Response, Iterator[bytes]], None],
        progress: Callable[[int, int | None], None] | None,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        content: bytes | None = None,
        seconds: float | None = None,
    ) -> tuple[httpx.Response, bytes]:
        """Send a request, return its answer and the digest of its body; translate errors.

        Redirects are followed on the same host alone, and with the same login.
        """
        load_httpx()
        import httpx
        from socksio import SOCKSError

        from atldld.fetch.troubles import trouble

        address, login = self._parted(url)
        sent = {**(headers or {}), **({"Authorization": login.authorization} if login else {})}
        connect, wait = self.limits.connect, self.limits.read
        if seconds is not None:
            connect, wait = min(connect, seconds), min(wait, seconds)
        guard = HeadGuard(wait, line)
        digest = hashlib.sha256()
        began, size = time.monotonic(), 0

        def chunks(response: httpx.Response) -> Iterator[bytes]:
            nonlocal size
            for chunk in self._body(response, url, largest, progress):
                notice.cancel()
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        notice = self._notices.later(self.limits.notice, urlsplit(address).netloc)
        if self._transport is None:  # else there is no host
            notice.start()
        try:
            for _ in range(REDIRECTS + 1):
                if self.allowance is not None:
                    self.allowance.take()
                self.requests_sent += 1
                with line.http().stream(
                    method,
                    address,
                    headers=sent,
                    content=content,
                    timeout=httpx.Timeout(wait, connect=connect, pool=None),
                    extensions={"trace": guard.trace},
                ) as response:
                    next_address = onward(response)
                    if next_address is None:
                        read(response, chunks(response))
                        log.debug(
                            "Asked %s: %d, %.1f kB in %.1f s.",
                            shown_address(address),
                            response.status_code,
                            size / 1e3,
                            time.monotonic() - began,
                        )
                        return response, digest.digest()
                address = next_address
            raise _in_circles(response, url)
        # httpx lets through what its parts raise of names, of encryption and of SOCKS
        except (httpx.HTTPError, httpx.InvalidURL, SOCKSError, UnicodeError) as error:
            raise trouble(
                error,
                address,
                seconds=(connect, wait),
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
        from atldld.fetch.troubles import refusal

        raise refusal(response, url, self._proxy(url))

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


def _unpickled(
    base_url: str,
    limits: Limits,
    transport: httpx.BaseTransport | None,
    logins: tuple[Login, ...],
    allowance: Allowance | None,
) -> Client:
    """Return a client that stands for a pickled one."""
    if transport is not None or allowance is not None:
        return Client(
            base_url, limits=limits, transport=transport, logins=logins, allowance=allowance
        )
    return _client(base_url, limits, logins)


@lru_cache(maxsize=8)
def _client(base_url: str, limits: Limits, logins: tuple[Login, ...]) -> Client:
    client = Client(base_url, limits=limits, logins=logins)
    client._restored = True
    return client


def _in_circles(response: httpx.Response, url: str) -> HTTPStatusError:
    return HTTPStatusError(
        f"The service redirects in circles (status {response.status_code}).",
        url=url,
        hint="Check the address.",
        status_code=response.status_code,
        tries=2,
    )
