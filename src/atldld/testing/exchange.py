"""A request, an answer, and the exchange of the two over one connection, as a fault sees it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from atldld.support.processes import cached_property

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["GLANCE", "Answer", "Asked", "Exchange", "Gone", "Request"]

IMAGE_PATH = re.compile(r"/(?:section_)?image_download/(\d+)(?:\.jpg)?$")
MODEL = re.compile(r"model::(\w+)|/data/([A-Z]\w*)")

# How long the server's own threads sleep at most before they look whether it was closed.
GLANCE = 0.02


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


# ---- faults


class Gone(Exception):  # noqa: N818 - not an error: the exchange is over
    """The connection is closed; nothing more can be said on it."""


class Asked(Protocol):
    """The server of an exchange."""

    application: WSGIApplication

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""

    @property
    def closed(self) -> bool:
        """Whether it is closed."""

    def stop_listening(self, seconds: float) -> None:
        """Refuse connections for some seconds."""


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
        self, server: Asked, connection: socket.socket, reader: IO[bytes], request: Request
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
            raise Gone from None

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
                raise Gone
            left = GLANCE if end is None else min(GLANCE, max(end - time.monotonic(), 0))
            try:
                readable, _, _ = select.select([self._connection], [], [], left)
                if readable and not self._connection.recv(1, socket.MSG_PEEK):
                    raise Gone
            except (OSError, ValueError):
                raise Gone from None
            if readable:  # it has sent more: no reason to spin
                time.sleep(left)

    def hang_up(self) -> None:
        """Close the connection in good order."""
        raise Gone

    def reset(self) -> None:
        """Break the connection: the client sees that it was reset by its peer."""
        with contextlib.suppress(OSError):
            self._connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self._reader.close()
        self._connection.close()
        raise Gone


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
