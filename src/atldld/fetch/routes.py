"""The way to a host: the proxies and the certificates that the environment names.

httpx reads the environment too, but breaks off where a variable makes no sense, and knows neither
networks in ``NO_PROXY`` nor the names of certificates that requests, and so atldld 0.3, took. So
it is told what to use.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import ssl
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from atldld.errors import InvalidInputError
from atldld.support.addresses import shown_address

__all__ = ["CERTIFICATES", "Proxy", "Ways", "is_exempt", "proxy_for", "trusted"]

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name trusted certificates. What all of them name is trusted, and nothing else;
without any, what the package certifi brings."""

_SCHEMES = {
    "http": "http",
    "https": "https",
    # Host names are looked up by the proxy in any case.
    "socks": "socks5",
    "socks5": "socks5",
    "socks5h": "socks5",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")  # how OpenSSL wants files in a folder to be called
_PEM = (".pem", ".crt", ".cer")


# ---- proxies


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that the environment names.

    Attributes
    ----------
    variable : str
        Where it is named, such as ``"HTTPS_PROXY"``.
    url : httpx.URL
        Its address, with user name and password.
    """

    variable: str
    url: httpx.URL = field(repr=False)

    def __str__(self) -> str:
        return f"the proxy {shown_address(str(self.url))} of {self.variable}"


def proxy_for(url: str, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """Return the proxy that leads to an address.

    ``https_proxy`` or ``http_proxy``, by the address, comes before ``all_proxy``; each may be
    written in capitals, and goes first where it is not. ``no_proxy`` exempts hosts; see
    `is_exempt`. Where no variable names a proxy, macOS and Windows are asked for theirs.

    Parameters
    ----------
    url : str
        Where the request goes.
    environ : mapping, optional
        The environment; the process's own by default.

    Raises
    ------
    InvalidInputError
        If the variable's value is no address of a proxy, or is one of a kind that is not known.
    """
    env = os.environ if environ is None else environ
    target = httpx.URL(url)
    found = _named(target.scheme, env) or (_of_the_system(target) if environ is None else None)
    if found is None:
        return None
    port = target.port or _DEFAULT_PORTS.get(target.scheme)
    if is_exempt(target.host, port, env.get("no_proxy") or env.get("NO_PROXY") or ""):
        return None
    return _proxy(*found)


def _named(scheme: str, env: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the variable that names a proxy, and its value."""
    for name in (f"{scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if variable == "HTTP_PROXY" and "REQUEST_METHOD" in env:
                continue  # in a CGI script, what the caller sent as the header "Proxy"
            if variable in env:
                if value := env[variable].strip():
                    return variable, value
                break  # empty on purpose
    return None


def _of_the_system(target: httpx.URL) -> tuple[str, str] | None:
    if sys.platform not in {"darwin", "win32"}:
        return None
    if any(name.lower().endswith("_proxy") for name in os.environ) or proxy_bypass(target.host):
        return None
    proxies = getproxies()
    value = proxies.get(target.scheme) or proxies.get("all")
    return ("the system's settings", value) if value else None


def _proxy(variable: str, value: str) -> Proxy:
    hint = f"Correct or unset {variable}; an example is http://host:8080 or socks5://host:1080."
    address = value if "://" in value else f"http://{value}"
    scheme, _, rest = address.partition("://")
    scheme = scheme.lower()
    if scheme not in _SCHEMES:
        raise InvalidInputError(
            f"{variable} names the proxy {shown_address(address)!r}, but proxies of the "
            f"kind {scheme!r} cannot be used.",
            hint=hint,
        )
    if re.search(r"[\s\x00-\x1f\x7f]", rest):
        url = None
    else:
        try:
            url = httpx.URL(f"{_SCHEMES[scheme]}://{rest}")
        except (httpx.InvalidURL, ValueError):
            url = None
    if url is None or not url.host or (url.port or 0) > 65535 or "@" in rest.partition("@")[2]:
        raise InvalidInputError(
            f"{variable} is {shown_address(value)!r}, which is no address of a proxy.", hint=hint
        )
    return Proxy(variable, url)


def is_exempt(host: str, port: int | None, exempt: str) -> bool:
    """Whether a host is to be asked without a proxy.

    Parameters
    ----------
    host : str
        A name, or an IP address without brackets.
    port : int or None
        Its port.
    exempt : str
        ``NO_PROXY``: names, which stand for all below them too, with or without a dot in front;
        IP addresses; networks such as ``10.0.0.0/8`` or ``fe80::/10``; ``*`` for every host; with
        commas or spaces between, and a port behind any of them if only that is meant. What is none
        of these is passed over.
    """
    host = host.lower().rstrip(".")
    address = _ip(host)
    for text in re.split(r"[\s,]+", exempt.lower()):
        entry = text.rpartition("://")[2]
        if entry == "*":
            return True
        name, wanted = _host_and_port(entry)
        if not name or (wanted is not None and wanted != port):
            continue
        if address is not None:
            network = _network(name)
            if network is not None and address.version == network.version and address in network:
                return True
        elif f".{host}".endswith("." + name.removeprefix("*").strip(".")):
            return True
    return False


def _host_and_port(entry: str) -> tuple[str, int | None]:
    """Part ``host:port``, ``[::1]:port`` or ``[fe80::]/10``; the brackets fall."""
    found = re.fullmatch(r"\[(?P<host>[^\]]*)\](?P<mask>/\d+)?(?::(?P<port>\d+))?", entry)
    found = found or re.fullmatch(r"(?P<host>[^:]*)(?P<mask>)(?::(?P<port>\d+))?", entry)
    if found is None:
        return entry, None  # an IPv6 address without brackets
    port = found["port"]
    return found["host"] + (found["mask"] or ""), int(port[:6]) if port else None


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    single = _ip(text)
    try:
        return ipaddress.ip_network(single if single is not None else text, strict=False)
    except ValueError:
        return None


# ---- certificates


def trusted(environ: Mapping[str, str] | None = None) -> ssl.SSLContext:
    """Return the trusted certificates, read once: that takes longer than opening a connection.

    Parameters
    ----------
    environ : mapping, optional
        The environment; the process's own by default. See `CERTIFICATES`.

    Raises
    ------
    InvalidInputError
        If a variable names what is missing or holds no certificate.
    """
    env = os.environ if environ is None else environ
    return _trusted(tuple((name, env[name]) for name in CERTIFICATES if env.get(name)))


@lru_cache(maxsize=4)
def _trusted(named: tuple[tuple[str, str], ...]) -> ssl.SSLContext:
    if not named:
        return httpx.create_ssl_context(trust_env=False)
    context: ssl.SSLContext | None = None
    for variable, value in named:
        held = 0
        # OpenSSL's own variable may name several folders.
        for text in value.split(os.pathsep) if variable == "SSL_CERT_DIR" else [value]:
            for place in _places(variable, Path(text).expanduser()):
                context = _add(context, variable, place)
                held += 1
        if not held:
            raise _unusable(variable, value, "holds no certificates")
    if context is None:  # each has named something, or it was an error
        raise AssertionError
    return context


def _places(variable: str, path: Path) -> Iterator[dict[str, Any]]:
    """Give what OpenSSL is told for a file, or for a folder."""
    try:
        if not path.is_dir():
            path.read_bytes()
            yield {"cafile": str(path)}
            return
        names = sorted(path.iterdir())
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else error.strerror
        raise _unusable(variable, str(path), f"{reason}") from None
    if any(_HASHED.fullmatch(name.name) for name in names):
        yield {"capath": str(path)}
        return
    for name in names:
        if name.suffix.lower() in _PEM and name.is_file():
            yield {"cafile": str(name)}


def _add(context: ssl.SSLContext | None, variable: str, place: dict[str, Any]) -> ssl.SSLContext:
    try:
        if context is None:
            return ssl.create_default_context(**place)
        context.load_verify_locations(**place)
    except (ssl.SSLError, OSError, ValueError):
        name = ", ".join(map(str, place.values()))
        raise _unusable(variable, name, "is no file of certificates (PEM)") from None
    return context


def _unusable(variable: str, path: str, why: str) -> InvalidInputError:
    reason = why if why.startswith(("does", "holds", "is")) else f"cannot be read: {why}"
    return InvalidInputError(
        f"{variable} names {path}, which {reason}.",
        hint=f"Correct or unset {variable}; without it the certificates of certifi are trusted.",
    )


# ---- the transport


class Ways(httpx.BaseTransport):
    """Sends each request by its way: straight, or through a proxy. One connection for each.

    Certificates are read only where a connection is encrypted: a variable that names none does
    not matter to a service of this machine.

    Parameters
    ----------
    limits : httpx.Limits
        Of each way.
    """

    def __init__(self, limits: httpx.Limits) -> None:
        self._limits = limits
        self._ways: dict[tuple[bool, Proxy | None], httpx.HTTPTransport] = {}
        self._opened: _Opened | None = None

    def open_ahead(self, url: str, seconds: float) -> None:
        """Begin to open the connection that the first request to a host needs, if it is straight.

        Parameters
        ----------
        url : str
            The host.
        seconds : float
            How long that may take.
        """
        address = httpx.URL(url)
        if proxy_for(url) is not None or address.scheme not in _DEFAULT_PORTS:
            return
        port = address.port or _DEFAULT_PORTS[address.scheme]
        encrypted = address.scheme == "https"
        way = self._way(encrypted, None)
        # httpx takes no network of one's own, so it is given a pool of connections that does; a
        # version of it that keeps its pool elsewhere opens connections when they are needed
        if not isinstance(getattr(way, "_pool", None), httpcore.ConnectionPool):
            return
        self._opened = _Opened(address.raw_host.decode("ascii"), port, seconds)
        way._pool.close()
        way._pool = httpcore.ConnectionPool(
            ssl_context=_context(encrypted=encrypted),
            max_connections=self._limits.max_connections,
            max_keepalive_connections=self._limits.max_keepalive_connections,
            keepalive_expiry=self._limits.keepalive_expiry,
            network_backend=self._opened,
        )
        self._ways[encrypted, None] = way

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        proxy = proxy_for(str(request.url))
        key = request.url.scheme == "https", proxy
        if key not in self._ways:
            self._ways[key] = self._way(*key)
        return self._ways[key].handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        for way in self._ways.values():
            way.close()
        if self._opened is not None:
            self._opened.close()

    def _way(self, encrypted: bool, proxy: Proxy | None) -> httpx.HTTPTransport:
        to_proxy = None
        if proxy is not None:
            inside = trusted() if proxy.url.scheme == "https" else None
            to_proxy = httpx.Proxy(proxy.url, ssl_context=inside)
            if proxy.url.scheme == "socks5":
                _hide_socks_logins()
        return httpx.HTTPTransport(
            verify=_context(encrypted=encrypted),
            trust_env=False,
            limits=self._limits,
            proxy=to_proxy,
        )


def _context(*, encrypted: bool) -> ssl.SSLContext:
    """Return what is trusted: nothing where nothing is encrypted, which needs no certificates."""
    return trusted() if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Opened(httpcore.NetworkBackend):
    """Opens connections, the first of them at once and not when it is needed.

    Parameters
    ----------
    host, port :
        Of the first one.
    seconds : float
        How long opening it may take.
    """

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self._network = httpcore.SyncBackend()
        self._place = host, port
        self._lock = threading.Lock()
        self._first: Future[httpcore.NetworkStream] | None = Future()
        opening = (self._first, host, port, seconds)
        threading.Thread(target=self._open, args=opening, name="open", daemon=True).start()

    def _open(
        self, first: Future[httpcore.NetworkStream], host: str, port: int, seconds: float
    ) -> None:
        try:
            first.set_result(self._network.connect_tcp(host, port, timeout=seconds))
        except BaseException as error:
            first.set_exception(error)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Return the connection that was opened, once, or open one."""
        with self._lock:
            first, self._first = self._first, None
        if first is not None and (host, port) == self._place:
            stream = first.result()  # or what kept it from being opened, as if it were tried now
            if not stream.get_extra_info("is_readable"):
                return stream
            stream.close()  # the other side has given it up
        elif first is not None:
            _close_once_open(first)
        return self._network.connect_tcp(
            host, port, timeout, local_address=local_address, socket_options=socket_options
        )

    def close(self) -> None:
        """Close the first one, where nobody has needed it."""
        with self._lock:
            first, self._first = self._first, None
        if first is not None:
            _close_once_open(first)


def _close_once_open(opening: Future[httpcore.NetworkStream]) -> None:
    def close(done: Future[httpcore.NetworkStream]) -> None:
        if done.exception() is None:
            done.result().close()

    opening.add_done_callback(close)


def _hide_login(record: logging.LogRecord) -> bool:
    record.msg = re.sub(r"\bauth=\(.*\)", "auth=(…)", str(record.msg))
    return True


def _hide_socks_logins() -> None:
    """Keep the password for a SOCKS proxy out of httpcore's log, where it would stand whole."""
    logging.getLogger("httpcore.socks").addFilter(_hide_login)
