"""The way to each host: its name, a connection, the certificate, and how long an answer takes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import statistics
import threading
import time
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

from atldld.doctor.asking import Asker
from atldld.doctor.model import Finding
from atldld.errors import NetworkError, ServiceTimeoutError
from atldld.rma.query import RMAParameters

__all__ = ["connection", "latency", "name"]

HostName = Literal["api", "archive", "bucket"]

NAME_WITHIN = 6.0
CONNECTION_WITHIN = 6.0
CHECK = "Check the network, or the settings of proxies. Without one: atldld doctor --offline"


def name(address: str) -> Finding:
    """Look up the host's name, or its proxy's."""
    host, port, proxy = _first_hop(address)
    began = time.monotonic()
    found: list[str] = []
    problem: list[OSError] = []

    def look_up() -> None:
        try:
            found.extend(sorted({str(info[4][0]) for info in socket.getaddrinfo(host, port, 0, 1)}))
        except (OSError, UnicodeError) as error:
            problem.append(error if isinstance(error, OSError) else OSError(str(error)))

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(NAME_WITHIN)
    if thread.is_alive():
        raise ServiceTimeoutError(
            f"Nobody said within {NAME_WITHIN:.0f} s which address {host} has.", hint=CHECK
        )
    if not found:
        why = problem[0].strerror or str(problem[0]) if problem else "it has no address"
        raise NetworkError(f"The name {host} is not found: {why}.", hint=CHECK)
    more = f" and {len(found) - 2} more" if len(found) > 2 else ""
    through = f"{proxy}: " if proxy else ""
    took = f"{(time.monotonic() - began) * 1e3:.0f} ms"
    return Finding("pass", f"{through}{host} is {', '.join(found[:2])}{more} ({took})")


def connection(address: str) -> Finding:
    """Open a connection, and look at the certificate."""
    host, port, proxy = _first_hop(address)
    began = time.monotonic()
    try:
        plain = socket.create_connection((host, port), timeout=CONNECTION_WITHIN)
    except OSError as error:
        kind = ServiceTimeoutError if isinstance(error, TimeoutError) else NetworkError
        raise kind(
            f"{proxy or host} cannot be reached at port {port}: {error.strerror or error}.",
            hint=CHECK,
        ) from None
    with contextlib.closing(plain):
        took = time.monotonic() - began
        if proxy is not None or urlsplit(address).scheme != "https":
            kind_ = f"{proxy}" if proxy else "not encrypted"
            return Finding("pass", f"port {port} in {took * 1e3:.0f} ms, {kind_}")
        return _encrypted(plain, host, port, took)


def _encrypted(plain: socket.socket, host: str, port: int, took: float) -> Finding:
    from atldld.fetch.routes import trusted

    began = time.monotonic()
    try:
        with trusted().wrap_socket(plain, server_hostname=host) as secure:
            certificate = secure.getpeercert() or {}
            spoken = secure.version()
    except ssl.SSLCertVerificationError as error:
        raise NetworkError(
            f"The certificate of {host} is not trusted: {error.verify_message}.",
            hint="If your network checks what is encrypted, name its certificate (PEM) in "
            "SSL_CERT_FILE or REQUESTS_CA_BUNDLE.",
        ) from None
    except OSError as error:
        raise NetworkError(
            f"No encrypted connection to {host} can be made: {error.strerror or error}.",
            hint=CHECK,
        ) from None
    took_more = time.monotonic() - began
    issuer = dict(pair for group in certificate.get("issuer", ()) for pair in group)  # type: ignore[misc]
    end = datetime.fromtimestamp(
        ssl.cert_time_to_seconds(str(certificate.get("notAfter", "Jan  1 00:00:00 1970 GMT"))), UTC
    )
    days = (end - datetime.now(UTC)).days
    return Finding(
        "pass",
        f"port {port} in {took * 1e3:.0f} ms, {spoken} in {took_more * 1e3:.0f} ms; certificate of "
        f"{issuer.get('organizationName') or issuer.get('commonName') or 'unknown'}, {days} days "
        "left",
    )


def latency(ask: Asker, host: HostName) -> Finding:
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
    middle = statistics.median(times)
    first = f"{times[0] * 1e3:.0f} ms for the first answer"
    found = f"{middle * 1e3:.0f} ms ({first}), status {statuses[-1]}"
    if statuses[-1] >= 500:
        return Finding("fails", found, "The host has a problem of its own; try again later.")
    return Finding("pass", found)


def _first_hop(address: str) -> tuple[str, int, str | None]:
    """Return what is connected to: the host itself, or the proxy that leads to it."""
    from atldld.fetch.routes import proxy_for

    proxy = proxy_for(address)
    if proxy is not None:
        default = {"https": 443, "socks5": 1080}.get(proxy.url.scheme, 80)
        return proxy.url.host, proxy.url.port or default, str(proxy)
    parts = urlsplit(address)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), None
