"""A server that fails on purpose, and the tests that a source of images must survive.

`FaultServer` puts any WSGI application behind a real socket and breaks chosen answers: it resets
connections, cuts bodies, drips, stays silent, sends half an image or an error page. What is broken,
and how often, a `FaultPlan` says; what was asked, the server's log tells::

    from atldld.serve.app import Application
    from atldld.demo.archive import DemoArchive
    from atldld.testing.faults import FaultPlan, FaultServer, Shorten, images

    with FaultServer(Application(DemoArchive((909,)))) as server:
        server.use(FaultPlan(Shorten(), images(101321610), tries=1))
        ...  # ask server.url: the first try of that image breaks off, the second is whole
        assert [entry.fault for entry in server.log] == [Shorten(), None]

`tries` counts for each address by itself: 1 is a fault that passes, `None` one that lasts. A fault
of one's own is a subclass of `Fault` with a method ``reply``.

`check_source` runs one case of the whole matrix (each fault, on metadata, on an image, on a mask,
passing and lasting) against anything that is asked like `atldld.fetch.Session`: ``dataset(id)``
returns an object with ``images``, and ``image(record, downsample, expression=...)`` an object whose
``path`` is a file. With pytest::

    import pytest
    from atldld.testing.faults import check_source, source_cases

    @pytest.mark.parametrize("case", source_cases(), ids=str)
    def test_my_source_survives(case, tmp_path):
        check_source(
            lambda url, folder: MySource(url, cache=folder),
            Application(DemoArchive((909,))),
            909,
            case,
            folder=tmp_path,
        )

Nothing here needs pytest.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import select
import socket
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from atldld.errors import AtldldError
from atldld.support.processes import cached_property

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = [
    "Announce",
    "Answer",
    "Case",
    "Cut",
    "Drip",
    "Exchange",
    "Fault",
    "FaultPlan",
    "FaultServer",
    "FewerRows",
    "HangUp",
    "Hole",
    "Late",
    "LogEntry",
    "MoreRows",
    "Refuse",
    "RepeatRows",
    "Request",
    "Reset",
    "Resize",
    "Send",
    "Shorten",
    "Silence",
    "Source",
    "Twice",
    "check_source",
    "everything",
    "images",
    "masks",
    "queries",
    "refused_url",
    "source_cases",
    "standard_faults",
    "unresolvable_url",
]

HTML = b"<!DOCTYPE html><html><title>Maintenance</title><p>We will be back soon.</p></html>\n"
IMAGE_PATH = re.compile(r"/(?:section_)?image_download/(\d+)(?:\.jpg)?$")
MODEL = re.compile(r"model::(\w+)|/data/([A-Z]\w*)")

# How long the server's own threads sleep at most before they look whether it was closed.
GLANCE = 0.02


# ---- requests, and which of them are meant


@dataclass(frozen=True)
class Request:
    """What a client asked.

    Attributes
    ----------
    method : str
        Such as ``"GET"``.
    target : str
        Path and query as they were sent.
    headers : mapping of str to str
        By lower-case name.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters, decoded."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def model(self) -> str | None:
        """The model that a metadata query is about, such as ``"SectionImage"``."""
        if "/data/" not in self.path:
            return None
        query = self.query
        found = MODEL.search(f"{query.get('criteria') or query.get('q') or ''} {self.path}")
        return (found[1] or found[2]) if found else None

    @property
    def image_id(self) -> int | None:
        """The id of the section image that a download is about."""
        found = IMAGE_PATH.search(self.path)
        return int(found[1]) if found else None

    @property
    def expression(self) -> bool:
        """Whether a download is about the expression mask."""
        query = self.query
        return self.image_id is not None and (
            query.get("view") == "expression" or query.get("expression") in {"t", "true"}
        )


Where = Callable[[Request], bool]


def everything(request: Request) -> bool:
    """Choose every request."""
    return True


def queries(model: str | None = None) -> Where:
    """Choose metadata queries: all of them, or those about one model.

    Parameters
    ----------
    model : str, optional
        Such as ``"SectionImage"``.
    """

    def chosen(request: Request) -> bool:
        return request.model is not None and model in (None, request.model)

    return chosen


def images(*image_ids: int) -> Where:
    """Choose downloads of section images, but not of expression masks.

    Parameters
    ----------
    *image_ids : int
        Only these; all of them by default.
    """
    return _downloads(image_ids, expression=False)


def masks(*image_ids: int) -> Where:
    """Choose downloads of expression masks.

    Parameters
    ----------
    *image_ids : int
        Only those of these section images; all of them by default.
    """
    return _downloads(image_ids, expression=True)


def _downloads(image_ids: tuple[int, ...], *, expression: bool) -> Where:
    def chosen(request: Request) -> bool:
        return (
            request.image_id is not None
            and request.expression is expression
            and (not image_ids or request.image_id in image_ids)
        )

    return chosen


# ---- answers


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, whole and honest until a fault makes it otherwise.

    Attributes
    ----------
    status : int
        The HTTP status.
    headers : tuple of (str, str)
        Without ``Content-Length``, which is added when the answer is written.
    body : bytes
        The content.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def head(self, *, length: int | None = None, chunked: bool = False) -> bytes:
        """Return the status line and the headers as they are written.

        Parameters
        ----------
        length : int, optional
            What ``Content-Length`` says; the truth by default.
        chunked : bool
            Announce a chunked body instead.
        """
        try:
            reason = HTTPStatus(self.status).phrase
        except ValueError:
            reason = "Unknown"
        framing = (
            ("Transfer-Encoding", "chunked")
            if chunked
            else ("Content-Length", str(len(self.body) if length is None else length))
        )
        lines = [f"HTTP/1.1 {self.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in (*self.headers, framing)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def with_rows(self, change: Callable[[dict[str, Any]], None]) -> Answer:
        """Return this answer after a change to its JSON envelope.

        An answer that is no envelope with rows is returned as it is.

        Parameters
        ----------
        change : callable
            Changes the envelope in place.
        """
        try:
            envelope = json.loads(self.body)
        except ValueError:
            return self
        if not isinstance(envelope, dict) or not isinstance(envelope.get("msg"), list):
            return self
        change(envelope)
        return replace(self, body=json.dumps(envelope).encode())


class _Gone(Exception):  # noqa: N818 - not an error: the exchange is over
    """The connection is closed; nothing more can be said on it."""


class Exchange:
    """One request and the chance to answer it, as a fault sees it.

    Attributes
    ----------
    request : Request
        What was asked.
    server : FaultServer
        Who was asked.
    """

    def __init__(
        self, server: FaultServer, connection: socket.socket, reader: IO[bytes], request: Request
    ) -> None:
        self.server = server
        self.request = request
        self._connection = connection
        self._reader = reader

    @cached_property
    def answer(self) -> Answer:
        """Return what the application answers."""
        return _ask(self.server.application, self.request, self.server.address)

    def send(self, answer: Answer) -> None:
        """Write a whole answer, honestly."""
        body = b"" if self.request.method == "HEAD" else answer.body
        self.write(answer.head(length=len(answer.body)) + body)

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        try:
            self._connection.sendall(data)
        except OSError:
            raise _Gone from None

    def wait(self, seconds: float | None = None) -> None:
        """Wait; the exchange ends when the client leaves or the server is closed.

        Parameters
        ----------
        seconds : float, optional
            For ever by default.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            if self.server.closed:
                raise _Gone
            left = GLANCE if end is None else min(GLANCE, max(end - time.monotonic(), 0))
            try:
                readable, _, _ = select.select([self._connection], [], [], left)
                if readable and not self._connection.recv(1, socket.MSG_PEEK):
                    raise _Gone
            except (OSError, ValueError):
                raise _Gone from None
            if readable:  # it has sent more: no reason to spin
                time.sleep(left)

    def hang_up(self) -> None:
        """Close the connection in good order."""
        raise _Gone

    def reset(self) -> None:
        """Break the connection: the client sees that it was reset by its peer."""
        with contextlib.suppress(OSError):
            self._connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self._reader.close()
        self._connection.close()
        raise _Gone


# ---- faults


@dataclass(frozen=True)
class Fault:
    """A way to answer badly. Subclass it, with a ``reply``, for one of your own."""

    metadata: ClassVar[bool] = True
    """Whether it makes sense for a metadata query."""
    image: ClassVar[bool] = True
    """Whether it makes sense for an image."""
    harmless: ClassVar[bool] = False
    """Whether a client can, and so must, do its whole work even when it lasts."""

    def reply(self, exchange: Exchange) -> None:
        """Answer a request, badly.

        Parameters
        ----------
        exchange : Exchange
            What was asked, what the true answer is, and the means to write another.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Refuse(Fault):
    """Stop listening for a while, and drop this connection: new ones are refused.

    Parameters
    ----------
    seconds : float
        How long.
    """

    seconds: float = 0.05

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        exchange.server._stop_listening(self.seconds)
        exchange.reset()


@dataclass(frozen=True)
class Reset(Fault):
    """Break the connection after a part of the answer.

    Parameters
    ----------
    after : float
        The part of the body that is sent before, from 0 to 1.
    before_head : bool
        Send nothing at all, not even a status.
    """

    after: float = 0.5
    before_head: bool = False

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        if not self.before_head:
            answer = exchange.answer
            exchange.write(answer.head() + _part(answer.body, self.after))
            # Else the reset overtakes the bytes, and the client never sees their beginning.
            exchange.wait(0.005)
        exchange.reset()


@dataclass(frozen=True)
class Shorten(Fault):
    """Announce the whole body, send a part of it, and close in good order.

    Parameters
    ----------
    after : float
        The part of the body that is sent, from 0 to 1.
    chunked : bool
        Send it as chunks of which the last never comes.
    """

    after: float = 0.5
    chunked: bool = False

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        answer = exchange.answer
        part = _part(answer.body, self.after)
        if self.chunked:
            part = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
        exchange.write(answer.head(chunked=self.chunked) + part)
        exchange.hang_up()


@dataclass(frozen=True)
class HangUp(Fault):
    """Close the connection in good order, without an answer."""

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        exchange.hang_up()


@dataclass(frozen=True)
class Cut(Fault):
    """Send a part of the body as if it were all: half a JPEG, or JSON that breaks off.

    Parameters
    ----------
    after : float
        The part of the body that is sent, from 0 to 1.
    """

    after: float = 0.5

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        answer = exchange.answer
        exchange.send(replace(answer, body=_part(answer.body, self.after)))


@dataclass(frozen=True)
class Hole(Fault):
    """Leave out the middle of a body, with its beginning and its end in place.

    Parameters
    ----------
    size : float
        The part of the body that is left out, from 0 to 1.
    """

    size: float = 0.1
    metadata: ClassVar[bool] = False

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        answer = exchange.answer
        first = _part(answer.body, (1 + self.size) / 2 - self.size)
        last = answer.body[len(_part(answer.body, (1 + self.size) / 2)) :]
        exchange.send(replace(answer, body=first + last))


@dataclass(frozen=True)
class Resize(Fault):
    """Send a sound JPEG of another size: every second pixel."""

    metadata: ClassVar[bool] = False

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        import numpy as np
        import simplejpeg

        answer = exchange.answer
        pixels = np.ascontiguousarray(simplejpeg.decode_jpeg(answer.body)[::2, ::2])
        exchange.send(replace(answer, body=simplejpeg.encode_jpeg(pixels)))


@dataclass(frozen=True)
class Send(Fault):
    """Send something else: an error page, a refusal, nothing.

    Parameters
    ----------
    answer : Answer
        What is sent, whole.
    """

    answer: Answer

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        exchange.send(self.answer)


@dataclass(frozen=True)
class Announce(Fault):
    """Announce a body of another length than the one that comes, which then stops.

    Parameters
    ----------
    length : int
        What ``Content-Length`` says.
    """

    length: int = 10 << 30

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        answer = exchange.answer
        exchange.write(answer.head(length=self.length) + answer.body)
        exchange.wait()


@dataclass(frozen=True)
class Silence(Fault):
    """Never answer.

    Parameters
    ----------
    after_head : bool
        Send the status and the headers, then nothing.
    """

    after_head: bool = False

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        if self.after_head:
            exchange.write(exchange.answer.head())
        exchange.wait()


@dataclass(frozen=True)
class Drip(Fault):
    """Send the answer one byte at a time.

    Parameters
    ----------
    interval : float
        Seconds between two bytes.
    head : bool
        Drip the status and the headers too, not just the body.
    """

    interval: float = 1.0
    head: bool = False

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        answer = exchange.answer
        rest = answer.body
        if self.head:
            rest = answer.head() + rest
        else:
            exchange.write(answer.head())
        for byte in rest:
            exchange.wait(self.interval)
            exchange.write(bytes([byte]))


@dataclass(frozen=True)
class FewerRows(Fault):
    """Send the first rows of a page only, while the promise stands.

    Parameters
    ----------
    claimed : bool
        Whether ``num_rows`` says that all of the page was sent; else it says what was sent.
    """

    claimed: bool = True
    image: ClassVar[bool] = False

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""

        def shorten(envelope: dict[str, Any]) -> None:
            envelope["msg"] = envelope["msg"][: len(envelope["msg"]) // 2]
            if not self.claimed:
                envelope["num_rows"] = len(envelope["msg"])

        exchange.send(exchange.answer.with_rows(shorten))


@dataclass(frozen=True)
class MoreRows(Fault):
    """Promise more rows than there are, as the service does where it counts joined rows.

    Parameters
    ----------
    count : int
        How many more.
    """

    count: int = 5
    image: ClassVar[bool] = False
    harmless: ClassVar[bool] = True

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""

        def promise(envelope: dict[str, Any]) -> None:
            envelope["total_rows"] += self.count

        exchange.send(exchange.answer.with_rows(promise))


@dataclass(frozen=True)
class RepeatRows(Fault):
    """Repeat rows that were sent before.

    Parameters
    ----------
    instead : bool
        Whether the first half of the page comes again instead of the second; else it comes again
        after the second.
    """

    instead: bool = True
    image: ClassVar[bool] = False

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""

        def repeat(envelope: dict[str, Any]) -> None:
            rows = envelope["msg"]
            half = (len(rows) + 1) // 2
            envelope["msg"] = (rows[:half] * 2)[: len(rows)] if self.instead else rows + rows[:half]
            envelope["num_rows"] = len(envelope["msg"])

        exchange.send(exchange.answer.with_rows(repeat))


@dataclass(frozen=True)
class Twice(Fault):
    """Send the whole answer twice: the second must not be taken for that to the next request."""

    harmless: ClassVar[bool] = True

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        answer = exchange.answer
        exchange.write((answer.head() + answer.body) * 2)


@dataclass(frozen=True)
class Late(Fault):
    """Send the true answer after a while.

    Parameters
    ----------
    seconds : float
        How long.
    """

    seconds: float
    harmless: ClassVar[bool] = True

    def reply(self, exchange: Exchange) -> None:
        """See `Fault`."""
        exchange.wait(self.seconds)
        exchange.send(exchange.answer)


def standard_faults(*, interval: float = 1.0, outage: float = 0.05) -> dict[str, Fault]:
    """Return every fault of the matrix, by name.

    Parameters
    ----------
    interval : float
        Seconds between two bytes of an answer that drips.
    outage : float
        How long no connection is accepted, in seconds.
    """
    page, text = (("Content-Type", "text/html"),), (("Content-Type", "application/json"),)

    def status(code: int, retry_after: str | None = None) -> Send:
        asked = () if retry_after is None else (("Retry-After", retry_after),)
        return Send(Answer(code, (*page, *asked), HTML))

    refusal = {"success": False, "id": 0, "start_row": 0, "num_rows": 0, "total_rows": 0}
    return {
        "refused": Refuse(outage),
        "reset before the answer": Reset(before_head=True),
        "reset after the head": Reset(0),
        "reset in the middle": Reset(0.5),
        "hung up on": HangUp(),
        "shorter than announced": Shorten(0.5),
        "announced but empty": Shorten(0),
        "last chunk missing": Shorten(0.5, chunked=True),
        "cut in the middle": Cut(0.5),
        "last bytes missing": Cut(0.99),
        "hole in the middle": Hole(),
        "another size": Resize(),
        "html": Send(Answer(200, page, HTML)),
        "empty": Send(Answer(200)),
        "other json": Send(Answer(200, text, b"[]")),
        "refusal": Send(
            Answer(200, text, json.dumps({**refusal, "msg": "the query failed"}).encode())
        ),
        "garbled gzip": Send(Answer(200, (("Content-Encoding", "gzip"),), b"\x1f\x8b" + HTML)),
        "404": status(404),
        "429": status(429),
        "429, retry after": status(429, "1"),
        "500": status(500),
        "503": status(503),
        "503, retry after": status(503, formatdate(time.time() + 60, usegmt=True)),
        "redirect": Send(
            Answer(302, (("Location", "http://elsewhere.invalid/section.jpg"),), HTML)
        ),
        "10 GB announced": Announce(10 << 30),
        "silence": Silence(),
        "silence after the head": Silence(after_head=True),
        "body drips": Drip(interval),
        "head drips": Drip(interval, head=True),
        "sent twice": Twice(),
        "fewer rows, claimed": FewerRows(claimed=True),
        "fewer rows": FewerRows(claimed=False),
        "more rows promised": MoreRows(),
        "rows repeated": RepeatRows(instead=False),
        "rows repeated instead": RepeatRows(instead=True),
    }


def refused_url() -> str:
    """Return an address of this machine at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def unresolvable_url() -> str:
    """Return an address whose name does not resolve, wherever it is asked."""
    return "http://no-such-service.invalid"


def _part(body: bytes, part: float) -> bytes:
    return body[: int(len(body) * part)]


# ---- the server


@dataclass(frozen=True)
class FaultPlan:
    """Which requests get which fault, and how often.

    Parameters
    ----------
    fault : Fault
        What happens.
    where : callable
        Takes a `Request` and says whether it is meant.
    tries : int, optional
        How many of the first requests to the same address get it; `None` for all.
    """

    fault: Fault
    where: Where = everything
    tries: int | None = None


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

    def _stop_listening(self, seconds: float) -> None:
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
        except (_Gone, OSError, ValueError):
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


def _ask(application: WSGIApplication, request: Request, address: tuple[str, int]) -> Answer:
    """Return what a WSGI application answers."""
    parts = urlsplit(request.target)
    errors = io.StringIO()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(parts.path, "latin-1"),
        "QUERY_STRING": parts.query,
        "SERVER_NAME": address[0],
        "SERVER_PORT": str(address[1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": address[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": errors,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None, /
    ) -> Callable[[bytes], object]:
        started[:] = [(status, headers)]
        return written.append

    chunks = application(environ, start_response)
    try:
        body = b"".join(chunks)
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    status, headers = started[0]
    kept = tuple((name, value) for name, value in headers if name.lower() != "content-length")
    return Answer(int(status.split()[0]), kept, b"".join(written) + body)


# ---- the tests of a source


class Source(Protocol):
    """What `check_source` asks: the two methods of `atldld.fetch.Session` that it needs.

    If it has a method ``close``, that is called in the end.
    """

    def dataset(self, dataset_id: int, /) -> Any:
        """Return a data set: an object with ``images``, which compares equal to its like."""

    def image(self, image: Any, downsample: int = 0, /, *, expression: bool = False) -> Any:
        """Return an image: an object whose ``path`` is a file with the bytes of the service."""


MakeSource = Callable[[str, Path], Source]
Target = Literal["metadata", "image", "mask"]


@dataclass(frozen=True)
class Case:
    """One case of the matrix.

    Attributes
    ----------
    name : str
        What the fault is called.
    fault : Fault
        What happens.
    target : {"metadata", "image", "mask"}
        To which requests.
    lasting : bool
        Whether it happens at every try, or at the first only.
    """

    name: str
    fault: Fault
    target: Target
    lasting: bool

    def __str__(self) -> str:
        return f"{self.target}-{self.name}-{'lasting' if self.lasting else 'passing'}"


def source_cases(
    faults: Mapping[str, Fault] | None = None,
    *,
    targets: Iterable[Target] = ("metadata", "image", "mask"),
) -> list[Case]:
    """Return the cases of the matrix, each of which `check_source` can run.

    Parameters
    ----------
    faults : mapping of str to Fault, optional
        Those of `standard_faults` by default.
    targets : iterable of str
        Leave out what the source does not offer.
    """
    faults = standard_faults() if faults is None else faults
    return [
        Case(name, fault, target, lasting)
        for target in targets
        for name, fault in faults.items()
        if (fault.metadata if target == "metadata" else fault.image)
        for lasting in (False, True)
    ]


def check_source(
    make_source: MakeSource,
    application: WSGIApplication,
    dataset_id: int,
    case: Case,
    *,
    folder: Path,
    downsample: int = 4,
    count: int = 3,
    errors: tuple[type[Exception], ...] = (AtldldError,),
    within: float = 60.0,
) -> None:
    """Check that a source survives one fault.

    A fault that passes must not be noticed: the records and bytes are those of a run without it.
    One that lasts must end in an error (or, for rows that are missing, at least a warning) in
    time, must not keep the rest from being had, and must leave nothing behind: when it is over,
    the same folder gives the records and bytes of a run without it.

    Parameters
    ----------
    make_source : callable
        Takes the address of the service and a folder to keep things in; returns a `Source`.
    application : WSGI application
        The good service, such as ``Application(DemoArchive((909,)))``.
    dataset_id : int
        A data set that it has.
    case : Case
        See `source_cases`.
    folder : pathlib.Path
        An empty folder.
    downsample : int
        The tier of the images that are asked for.
    count : int
        How many images are asked for, masks too.
    errors : tuple of exception types
        What the source may raise where a fault lasts.
    within : float
        Seconds that the faulty run may last.

    Raises
    ------
    AssertionError
        It does not survive.
    """
    with FaultServer(application) as server:

        def run(name: str) -> tuple[dict[str, object], dict[str, Exception]]:
            with _closing(make_source(server.url, folder / name)) as source:
                return _ask_for_all(source, dataset_id, downsample, count, case, errors)

        truth, problems = run("undisturbed")
        assert not problems, f"without any fault: {problems}"
        ids = [name.partition(" ")[2] for name in truth if name.startswith("image ")]
        chosen = int(ids[len(ids) // 2])
        where = {"metadata": queries(), "image": images(chosen), "mask": masks(chosen)}[case.target]
        server.use(FaultPlan(case.fault, where, None if case.lasting else 1))
        begun = time.monotonic()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            found, problems = run("disturbed")
        elapsed = time.monotonic() - begun
        assert elapsed < within, f"{case}: it lasted {elapsed:.1f} s"
        if case.fault.harmless or not case.lasting:
            assert not problems, f"{case}: {problems}"
            _compare(found, truth, case)
        elif case.target == "metadata":
            assert problems or warned or found == truth, f"{case}: neither an error nor a warning"
        else:
            assert set(problems) == {f"{case.target} {chosen}"}, f"{case}: {problems or 'no error'}"
            rest = {name: value for name, value in truth.items() if name not in problems}
            _compare(found, rest, case)
        server.use()
        found, problems = run("disturbed")
        assert not problems, f"{case}: after it was over: {problems}"
        _compare(found, truth, case)


def _ask_for_all(
    source: Source,
    dataset_id: int,
    downsample: int,
    count: int,
    case: Case,
    errors: tuple[type[Exception], ...],
) -> tuple[dict[str, object], dict[str, Exception]]:
    """Return what could be had and what could not, by name."""
    found: dict[str, object] = {}
    problems: dict[str, Exception] = {}
    try:
        found["metadata"] = dataset = source.dataset(dataset_id)
    except errors as error:
        return found, {"metadata": error}
    for image in dataset.images[:count]:
        for kind in ("image", "mask"):
            if kind == "mask" and case.target != "mask":
                continue
            try:
                got = source.image(image, downsample, expression=kind == "mask")
                found[f"{kind} {image.id}"] = Path(got.path).read_bytes()
            except errors as error:
                problems[f"{kind} {image.id}"] = error
    return found, problems


def _compare(found: Mapping[str, object], truth: Mapping[str, object], case: Case) -> None:
    different = [name for name in truth if found.get(name) != truth[name]]
    different += [name for name in found if name not in truth]
    assert not different, f"{case}: not as without the fault: {', '.join(different)}"


@contextlib.contextmanager
def _closing(source: Source) -> Iterator[Source]:
    try:
        yield source
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()
