"""The web server: waitress, with connections that cannot be held for ever.

waitress drops a connection that is silent, but not one that says a byte every few seconds, nor
one that never reads its answer; and at its limit it takes no new ones. Here each connection has

- a time by which the question it has begun must be whole,
- a time by which its answer must have been read, which grows with the answer's length,
- no more than a few questions ahead of the answers.

At the limit the one that has waited longest for its client makes room for a new one.

An answer that is there already is sent by the loop that has read the question: to wake a thread
for it would take longer, and all clients would wait while the two take turns.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from waitress.adjustments import Adjustments
from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["Patience", "Server", "serve_at"]

HEADER = 24 << 10  # bytes; the longest question is 16 kB
BODY = 4 << 10  # to the archive nothing is ever uploaded
AHEAD = 16  # questions of one connection that wait for their answers
HIGH_WATER = 64 << 20  # bytes of answers that one connection may leave unread before the next


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may take, and how many may come.

    Attributes
    ----------
    question : float
        Seconds in which a question must have come whole, from its first byte or, for the first
        one, from the connection.
    idle : float
        Seconds that a connection is kept between two questions.
    answer : float
        Seconds in which an answer must have been read, whatever its length, and
    slowest : float
        the bytes that add another second.
    connections : int
        How many there are at most.
    unread : int
        Bytes of answers that all connections together may leave unread.
    """

    question: float = 10.0
    idle: float = 60.0
    answer: float = 15.0
    slowest: float = 32_000.0
    connections: int = 200
    unread: int = 512 << 20


class _Channel(HTTPChannel):  # type: ignore[misc]
    """One connection, and since when it waits for its client."""

    server: Server

    def __init__(self, server: Server, *arguments: Any, **named: Any) -> None:
        now = server.clock()
        self.asks_since: float | None = now  # a question is due, or has begun
        self.idle_since = now
        self.reads_since: float | None = None  # an answer has not been read yet
        self.was_asked = False
        self.is_answering = False
        self.longest_answer = 0
        self.received_in: int | None = None  # the thread that reads questions at this moment
        self.is_due = False  # one of them is to be answered
        super().__init__(server, *arguments, **named)

    def received(self, data: bytes) -> bool:
        before = self.request
        self.received_in = threading.get_ident()
        try:
            done = bool(super().received(data))
        finally:
            self.received_in = None
        if len(self.requests) > AHEAD:
            self.will_close = True
        self.was_asked = self.was_asked or bool(self.requests)
        if self.request is None:
            if self.was_asked:
                self.asks_since = None
        elif self.request is not before:
            first = before is None and not self.requests
            if not first or self.asks_since is None:
                self.asks_since = self.server.clock()
        if self.is_due:
            self.is_due = False
            self._begin_to_answer()
        return done

    def _begin_to_answer(self) -> None:
        """Answer the first question here if that takes no time, else have a thread do it."""
        asked = self.requests[0]
        if self.will_close or asked.error or not self.server.is_light(asked.path, asked.query):
            self.server.add_task(self)
            return
        self.service()
        if self.connected and self.total_outbufs_len:
            self._flush_exception(self._flush_some)

    def service(self) -> None:
        self.was_asked = self.is_answering = True
        super().service()
        self.idle_since = self.server.clock()
        self.is_answering = False

    def look(self, now: float) -> None:
        """Note since when this connection waits for its client, and close it if that is long."""
        patience = self.server.patience
        unread = self.total_outbufs_len
        if not unread:
            self.reads_since, self.longest_answer = None, 0
        else:
            if self.reads_since is None:
                self.reads_since = now
            self.longest_answer = max(self.longest_answer, unread)
            due = self.reads_since + patience.answer + self.longest_answer / patience.slowest
            if now > due:
                self.drop()
                return
        if self.requests or self.is_answering or unread:
            return
        if self.asks_since is not None:
            if now > self.asks_since + patience.question:
                self.drop()
        elif now > self.idle_since + patience.idle:
            self.drop()

    @property
    def waits_since(self) -> tuple[bool, float] | None:
        """Since when it waits for its client, those between questions first; `None` if it works.

        A question that is half there is a slow client, which is less welcome than one that comes
        back every now and then, but both give way to a new one.
        """
        if self.requests or self.is_answering or self.will_close:
            return None
        if self.reads_since is not None:
            return False, self.reads_since
        if self.asks_since is not None:
            return False, self.asks_since
        return True, self.idle_since

    def drop(self) -> None:
        """Close the connection, whatever has been sent and not been read."""
        self.will_close = True
        self.connected = False
        # A line that is full would never be ready for writing, which is when the loop closes it.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    @property
    def kept(self) -> int:
        """Bytes of unread answers in memory or temporary files; files are read as they are sent."""
        copies = [b for b in list(self.outbufs) if not isinstance(b, ReadOnlyFileBasedBuffer)]
        return sum(buffer.__len__() for buffer in copies)

    def _flush_outbufs_below_high_watermark(self) -> None:
        # waitress keeps the thread waiting here until the client reads
        if self.total_outbufs_len > self.adj.outbuf_high_watermark:
            self._flush_exception(self._flush_some, do_close=False)
            if self.total_outbufs_len > self.adj.outbuf_high_watermark:
                self.will_close = True
                self.connected = False
                self.server.pull_trigger()


class Server(TcpWSGIServer):  # type: ignore[misc]
    """A server of waitress whose connections are looked at every second.

    Parameters
    ----------
    clock : callable
        Returns seconds that never go back.
    patience : Patience
        How long clients may take.
    is_light : callable
        Whether the answer to a path and its parameters need only be sent.
    """

    channel_class = _Channel

    def __init__(
        self,
        *arguments: Any,
        clock: Callable[[], float],
        patience: Patience,
        is_light: Callable[[str, str], bool],
        **named: Any,
    ) -> None:
        self.clock = clock
        self.patience = patience
        self.is_light = is_light
        self._runs_in: int | None = None
        self._next_look = clock()
        super().__init__(*arguments, **named)

    def run(self) -> None:
        """Answer until it is ended."""
        self._runs_in = threading.get_ident()
        super().run()

    def add_task(self, task: _Channel) -> None:
        """Have a thread answer a connection's first question, unless the loop can do it."""
        if task.received_in == threading.get_ident():
            task.is_due = True  # not here: the lock of its questions is held
        else:
            super().add_task(task)

    def pull_trigger(self) -> None:
        """Have the loop look at its connections; it does that by itself after what it does."""
        if threading.get_ident() != self._runs_in:
            super().pull_trigger()

    def readable(self) -> bool:
        """Look after the connections; whether a new one may be taken (the loop asks each time)."""
        now = self.clock()
        if now >= self._next_look:
            self.look(now)
            self._next_look = now + 1
        return bool(self.accepting) and self._has_room()

    def look(self, now: float) -> None:
        """Drop the connections whose clients are too slow."""
        channels = self._open()
        for channel in channels:
            channel.look(now)
        readers = [channel for channel in channels if channel.reads_since is not None]
        readers.sort(key=lambda channel: channel.reads_since or 0)
        kept = sum(channel.kept for channel in readers)
        for channel in readers:
            if kept <= self.patience.unread:
                break
            kept -= channel.kept
            channel.drop()

    def handle_accept(self) -> None:
        """Take a new connection, and give one up for it at the limit."""
        waiting = [channel for channel in self._open() if channel.waits_since is not None]
        super().handle_accept()
        if waiting and len(self._open()) > self.patience.connections:
            min(waiting, key=lambda channel: channel.waits_since or (True, 0)).drop()

    def close(self) -> None:
        """Stop listening; threads end once they have answered."""
        self.task_dispatcher.set_thread_count(0)
        super().close()

    def _open(self) -> list[_Channel]:
        return [channel for channel in self.active_channels.values() if not channel.will_close]

    def _has_room(self) -> bool:
        """Whether there may be one more, or one waits for its client and can make room."""
        channels = self._open()
        return len(channels) < self.patience.connections or any(
            channel.waits_since is not None for channel in channels
        )


def serve_at(
    listening: socket.socket,
    application: WSGIApplication,
    *,
    threads: int,
    patience: Patience | None = None,
    clock: Callable[[], float] = time.monotonic,
    body: int = BODY,
    is_light: Callable[[str, str], bool] = lambda path, query: False,
) -> Server:
    """Return a server for a socket that listens; its ``run()`` answers.

    Parameters
    ----------
    listening : socket.socket
        Bound to its address.
    application : callable
        The WSGI application.
    threads : int
        How many answer at once.
    patience : Patience, optional
        How long clients may take.
    clock : callable, optional
        Returns seconds that never go back.
    body : int
        Bytes that a question may bring with it.
    is_light : callable, optional
        Whether the answer to a path and its parameters need only be sent; no thread is woken for
        it then.
    """
    patience = _affordable(patience or Patience())
    adjustments = Adjustments(
        threads=threads,
        ident="atldld",
        connection_limit=1 << 20,  # ours counts
        channel_timeout=1 << 20,
        max_request_body_size=body,
        max_request_header_size=HEADER,
        outbuf_high_watermark=HIGH_WATER,
        # who has gone is noticed while the answer is made
        channel_request_lookahead=1,
        # select() knows no more than 1024 files, and so many may be open
        asyncore_use_poll=True,
        log_socket_errors=False,
    )
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.set_thread_count(threads)
    return Server(
        application,
        {},
        True,
        listening,
        dispatcher=dispatcher,
        adj=adjustments,
        sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
        bind_socket=False,
        clock=clock,
        patience=patience,
        is_light=is_light,
    )


def _affordable(patience: Patience) -> Patience:
    """Lower the number of connections to what the system lets a process open, three files each."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return patience
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return patience
    return replace(patience, connections=max(min(patience.connections, (allowed - 64) // 3), 8))
