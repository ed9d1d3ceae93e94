"""Requests, answers, and the faults that may come between them.

What is broken, and how often, a `FaultPlan` says to a `~atldld.testing.server.FaultServer`. `tries`
counts for each address by itself: 1 is a fault that passes, `None` one that lasts. A fault of one's
own is a subclass of `Fault` with a method ``reply``.

Nothing here needs pytest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any, ClassVar

from atldld.testing.exchange import Answer, Exchange, Request

__all__ = [
    "Announce",
    "Cut",
    "Drip",
    "Fault",
    "FaultPlan",
    "FewerRows",
    "HangUp",
    "Hole",
    "Late",
    "MoreRows",
    "Refuse",
    "RepeatRows",
    "Reset",
    "Resize",
    "Send",
    "Shorten",
    "Silence",
    "Twice",
    "Where",
    "everything",
    "images",
    "masks",
    "queries",
    "standard_faults",
]

HTML = b"<!DOCTYPE html><html><title>Maintenance</title><p>We will be back soon.</p></html>\n"


# ---- requests, and which of them are meant


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
        exchange.server.stop_listening(self.seconds)
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


def _part(body: bytes, part: float) -> bytes:
    return body[: int(len(body) * part)]


# ---- where they happen


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
