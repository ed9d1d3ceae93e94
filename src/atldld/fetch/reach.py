"""The way to a host, step by step: its name, a connection, its certificate. No HTTP is spoken."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from atldld.errors import NetworkError, Remedy, ServiceTimeoutError
from atldld.fetch.routes import CERTIFICATES, Proxy, proxy_for, trusted

__all__ = ["Connected", "Hop", "addresses_of", "connect", "first_hop"]

CHECK = f"Check the network, and the settings of proxies. Without one there is {Remedy.OFFLINE}."


@dataclass(frozen=True, slots=True)
class Hop:
    """What is connected to first: the host itself, or the proxy that leads to it.

    Attributes
    ----------
    host : str
        Its name.
    port : int
        Where.
    proxy : Proxy or None
        The proxy that it is.
    encrypted : bool
        Whether the host itself is asked at once, and encrypted.
    """

    host: str
    port: int
    proxy: Proxy | None
    encrypted: bool


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection that was made, and closed again.

    Attributes
    ----------
    seconds : float
        Until it was there.
    encrypted_seconds : float or None
        How long the two then took to agree on how to encrypt; `None` where nothing is encrypted.
    protocol : str or None
        Such as ``"TLSv1.3"``.
    issuer : str or None
        Who vouches for the host.
    days : int or None
        For how many days more the certificate is valid.
    """

    seconds: float
    encrypted_seconds: float | None = None
    protocol: str | None = None
    issuer: str | None = None
    days: int | None = None


def first_hop(address: str) -> Hop:
    """Return what is connected to, to ask an address.

    Raises
    ------
    InvalidInputError
        If a variable that names a proxy makes no sense.
    """
    proxy = proxy_for(address)
    if proxy is not None:
        default = {"https": 443, "socks5": 1080}.get(proxy.url.scheme, 80)
        return Hop(proxy.url.host, proxy.url.port or default, proxy, False)
    parts = urlsplit(address)
    encrypted = parts.scheme == "https"
    return Hop(parts.hostname or "", parts.port or (443 if encrypted else 80), None, encrypted)


def addresses_of(host: str, port: int, *, seconds: float) -> list[str]:
    """Return the IP addresses that a name stands for.

    Raises
    ------
    NetworkError
        If it stands for none.
    ServiceTimeoutError
        If nobody says so in time.
    """
    found: list[str] = []
    problem: list[str] = []

    def look_up() -> None:
        try:
            infos = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
            found.extend(sorted({str(info[4][0]) for info in infos}))
        except (OSError, UnicodeError) as error:
            problem.append(str(getattr(error, "strerror", None) or error))

    # in a thread, as the system's own patience may be a minute
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise ServiceTimeoutError(
            f"Nobody said within {seconds:.0f} s which address {host} has.", hint=CHECK
        )
    if not found:
        why = problem[0] if problem else "it has no address"
        raise NetworkError(f"The name {host} is not found: {why}.", hint=CHECK)
    return found


def connect(hop: Hop, *, seconds: float) -> Connected:
    """Open a connection, see the certificate if there is one, and close it.

    Raises
    ------
    NetworkError, ServiceTimeoutError
        If it cannot be made, or the certificate is not trusted.
    """
    began = time.monotonic()
    try:
        plain = socket.create_connection((hop.host, hop.port), timeout=seconds)
    except OSError as error:
        kind = ServiceTimeoutError if isinstance(error, TimeoutError) else NetworkError
        raise kind(
            f"{hop.host} cannot be reached at port {hop.port}: {error.strerror or error}.",
            hint=CHECK,
        ) from None
    with contextlib.closing(plain):
        took = time.monotonic() - began
        return _encrypted(plain, hop, took) if hop.encrypted else Connected(took)


def _encrypted(plain: socket.socket, hop: Hop, took: float) -> Connected:
    began = time.monotonic()
    try:
        with trusted().wrap_socket(plain, server_hostname=hop.host) as secure:
            certificate: dict[str, Any] = dict(secure.getpeercert() or {})
            protocol = secure.version()
    except ssl.SSLCertVerificationError as error:
        raise NetworkError(
            f"The certificate of {hop.host} is not trusted: {error.verify_message}.",
            hint="If your network checks what is encrypted, name its certificate (PEM) in "
            f"{CERTIFICATES[0]} or {CERTIFICATES[2]}.",
        ) from None
    except OSError as error:
        raise NetworkError(
            f"No encrypted connection to {hop.host} can be made: {error.strerror or error}.",
            hint=CHECK,
        ) from None
    names = {key: value for group in certificate.get("issuer", ()) for key, value in group}
    end = certificate.get("notAfter")
    days = None
    if end is not None:
        until = datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC)
        days = (until - datetime.now(UTC)).days
    issuer = names.get("organizationName") or names.get("commonName")
    return Connected(took, time.monotonic() - began, protocol, issuer, days)
