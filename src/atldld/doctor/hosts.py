"""The way to each host: its name, a connection, the certificate, and how long an answer takes."""

from __future__ import annotations

import statistics
import time
from typing import Literal

from atldld.doctor.asking import Asker
from atldld.doctor.model import Finding
from atldld.fetch.reach import addresses_of, connect, first_hop
from atldld.rma.query import RMAParameters

__all__ = ["connection", "latency", "name"]

WITHIN = 6.0
"""Seconds that a name, and a connection, may take."""


def name(address: str) -> Finding:
    """Look up the host's name, or its proxy's."""
    hop = first_hop(address)
    began = time.monotonic()
    found = addresses_of(hop.host, hop.port, seconds=WITHIN)
    took = time.monotonic() - began
    more = f" and {len(found) - 2} more" if len(found) > 2 else ""
    through = f"{hop.proxy}: " if hop.proxy is not None else ""
    told = f"{through}{hop.host} is {', '.join(found[:2])}{more} ({took * 1e3:.0f} ms)"
    return Finding("pass", told)


def connection(address: str) -> Finding:
    """Open a connection, and look at the certificate."""
    hop = first_hop(address)
    made = connect(hop, seconds=WITHIN)
    told = f"port {hop.port} in {made.seconds * 1e3:.0f} ms"
    if made.encrypted_seconds is None:
        return Finding("pass", f"{told}, {hop.proxy or 'not encrypted'}")
    told += (
        f", {made.protocol} in {made.encrypted_seconds * 1e3:.0f} ms; certificate of "
        f"{made.issuer or 'unknown'}, {made.days} days left"
    )
    return Finding("pass", told)


def latency(ask: Asker, host: Literal["api", "archive", "bucket"]) -> Finding:
    """Ask for little, three times, and say how long an answer takes."""
    times, statuses = [], []
    for _ in range(3):
        if host == "api":
            query = RMAParameters("PlaneOfSection", {"id": 1})
            looked = ask.look("/api/v2/data/query.json", {"criteria": query.text})
        else:
            looked = ask.look("/", host=host, method="HEAD", largest=1000)
        times.append(looked.head_seconds)
        statuses.append(looked.status)
    first = f"{times[0] * 1e3:.0f} ms for the first answer"
    told = f"{statistics.median(times) * 1e3:.0f} ms ({first}), status {statuses[-1]}"
    if statuses[-1] >= 500:
        return Finding("fails", told, "The host has a problem of its own; try again later.")
    return Finding("pass", told)
