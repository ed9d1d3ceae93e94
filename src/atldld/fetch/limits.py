"""How long to wait, how often to try, how much to take, how many requests at once."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PER_DAY", "PER_SECOND", "Limits"]

PER_SECOND, PER_DAY = 5.0, 20_000
"""Requests to the Allen Institute's service, where nothing else is said. A data set of 60 sections
takes about 62, and the placements of all data sets about a thousand."""


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
        By default only `in_flight` bounds them; a session that asks the Allen Institute's own
        service takes `PER_SECOND`.
    per_day : int, optional
        Requests a day (UTC), of all processes that use one cache. Likewise, `PER_DAY`.
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
    per_day: int | None = None
    largest_json: int = 64 << 20
    largest_image: int = 1 << 30
    reach: float = 20.0
    notice: float = 0.5
