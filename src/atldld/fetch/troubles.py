"""What went wrong on the way to a host, in plain words, and how often it is worth trying."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from urllib.parse import urlsplit

import httpx

from atldld.errors import (
    HTTPStatusError,
    NetworkError,
    Remedy,
    ServiceError,
    ServiceTimeoutError,
)
from atldld.fetch.answers import retry_after
from atldld.fetch.routes import CERTIFICATES, Proxy
from atldld.support.addresses import shown_address

__all__ = ["OFFLINE", "refusal", "trouble"]

OFFLINE = f"What is in the cache can be used with {Remedy.OFFLINE} (ATLDLD_OFFLINE=1)."
CHECK = f"Check the network and the address. {OFFLINE}"

_UNREACHABLE = {
    getattr(errno, name)
    for name in ("ENETUNREACH", "EHOSTUNREACH", "ENETDOWN", "EHOSTDOWN", "EADDRNOTAVAIL")
    if hasattr(errno, name)
}
_WINDOWS = {10051, 10065, 10050, 10064, 10049}  # the same, as Winsock numbers them
_PROXY_LOGIN = re.compile(r"407|username|password|AUTHENTICATION|ACCEPTABLE", re.IGNORECASE)


def trouble(
    error: Exception,
    url: str,
    *,
    seconds: tuple[float, float],
    proxy: Proxy | None = None,
    stage: str = "",
    late: bool = False,
) -> ServiceError:
    """Return what to tell of an error of httpx.

    Parameters
    ----------
    error : Exception
        What httpx, or one of its parts, has raised.
    url : str
        What was asked.
    seconds : tuple of two floats
        How long a connection and an answer were waited for.
    proxy : Proxy, optional
        What the request went through.
    stage : str
        The last event of the connection that had begun; see httpx's "trace" extension.
    late : bool
        Whether the answer was broken off because it took too long.
    """
    host = urlsplit(shown_address(url)).netloc
    step = stage.removesuffix(".started")
    connecting = step.endswith(("connect_tcp", "start_tls"))
    causes = list(_chain(error))
    certificate = next((c for c in causes if isinstance(c, ssl.SSLCertVerificationError)), None)
    # The first of the two connections that a proxy makes is to itself.
    whose = proxy if proxy and step.startswith("connection.") else None
    whose = proxy if proxy and step == "socks.connect_tcp" else whose
    who = str(whose) if whose else host
    if certificate is not None:
        why = certificate.verify_message or "it does not verify"
        return NetworkError(
            f"The certificate of {who} is not trusted: {why}.",
            url=url,
            hint="If your network checks what is encrypted, name its certificate (PEM) in "
            f"{CERTIFICATES[0]} or {CERTIFICATES[2]}; if it wants you to log in, do so in a "
            f"browser first. {OFFLINE}",
            tries=1,
        )
    if proxy is not None and (whose is None or not connecting):
        refused = _refused_by_proxy(error, host, url, proxy, step, late)
        if refused is not None:
            return refused
    timed_out = isinstance(error, httpx.TimeoutException) or late
    if timed_out and not connecting:
        return ServiceTimeoutError(
            f"The service did not answer within {seconds[1]:g} s: {host} is reached, but silent"
            f"{f', or {proxy} is' if proxy else ''}.",
            url=url,
            hint=f"Try again later; what has arrived is kept. {OFFLINE}",
        )
    reason, tries = _reason(causes, connecting, seconds[0] if timed_out else None)
    if reason is None and not connecting:
        return NetworkError(
            f"The request failed: {error or type(error).__name__}.",
            url=url,
            hint=f"{CHECK} What has arrived is kept.",
        )
    reason = reason or f"{error or type(error).__name__}"
    hint = CHECK
    if whose is not None:
        tries = 2
        hint = f"Correct or unset {whose.variable}, or add {urlsplit(url).hostname} to NO_PROXY."
    kind = ServiceTimeoutError if timed_out else NetworkError
    return kind(f"{_begin(who)} cannot be reached: {reason}.", url=url, hint=hint, tries=tries)


def refusal(response: httpx.Response, url: str, proxy: Proxy | None = None) -> HTTPStatusError:
    """Return what to tell of an answer whose status is not success.

    Parameters
    ----------
    response : httpx.Response
        The answer.
    url : str
        What was asked.
    proxy : Proxy, optional
        What the request went through.
    """
    status = response.status_code
    hint, tries = None, None
    if response.has_redirect_location:
        text = f"redirects elsewhere (status {status}){_elsewhere(response)}, which is not followed"
    else:
        text = f"answered with status {status} {response.reason_phrase}".rstrip()
    if response.has_redirect_location or status == 511:
        hint = (
            "Check the address; where a network wants you to log in, do so in a browser first. "
            f"{OFFLINE}"
        )
    elif status == 401:
        hint = (
            "It asks for a user name and a password: write them into the address, as in "
            "https://user:password@host, with other signs than letters and digits "
            "percent-encoded. They are shown nowhere."
        )
    elif status == 407:
        if proxy is not None:
            return HTTPStatusError(
                _refusal_of(proxy, f"{status} {response.reason_phrase}"),
                url=url,
                hint=_login_hint(proxy),
                tries=1,
                status_code=status,
                retry_after=retry_after(response.headers),
            )
        tries = 1
    return HTTPStatusError(
        f"The service {text}.",
        url=url,
        hint=hint,
        tries=tries,
        status_code=status,
        retry_after=retry_after(response.headers),
    )


def _refused_by_proxy(
    error: Exception, host: str, url: str, proxy: Proxy, step: str, late: bool
) -> ServiceError | None:
    """Return what to tell where the proxy was reached, but led nowhere."""
    from socksio import SOCKSError

    words = str(error)
    if not (
        isinstance(error, (httpx.ProxyError, SOCKSError)) or step.endswith("socks5_connection")
    ):
        return None
    if _PROXY_LOGIN.search(words):
        return NetworkError(_refusal_of(proxy, words), url=url, hint=_login_hint(proxy), tries=1)
    if late or isinstance(error, SOCKSError) or not words:
        words = "it does not speak as a proxy of its kind does"
        tries: int | None = 2
    else:
        # 5xx, and what SOCKS calls unreachable: the host is, or the network behind the proxy.
        tries = 2 if re.match(r"4\d\d", words) else 3
    return NetworkError(
        f"{_begin(str(proxy))} does not lead to {host}: {words}.",
        url=url,
        hint=f"Correct or unset {proxy.variable}, or add {urlsplit(url).hostname} to NO_PROXY.",
        tries=tries,
    )


def _reason(
    causes: list[BaseException], connecting: bool, seconds: float | None
) -> tuple[str | None, int | None]:
    """Say why a host cannot be reached, and how often that is worth trying."""
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return "its name is not found, or no name can be looked up", 3
        if isinstance(cause, ConnectionRefusedError):
            return "the connection is refused, so nothing listens there", None
        if (
            connecting
            and isinstance(cause, ssl.SSLError)
            and not isinstance(cause, ssl.SSLEOFError)
        ):
            return f"no encryption can be agreed on ({cause.reason or cause})", 2
        if isinstance(cause, OSError) and (
            cause.errno in _UNREACHABLE or getattr(cause, "winerror", None) in _WINDOWS
        ):
            return "the network is unreachable", 3
    if seconds is not None:
        return f"it timed out after {seconds:g} s", 3
    return None, None


def _refusal_of(proxy: Proxy, words: str) -> str:
    return (
        f"{_begin(str(proxy))} lets nothing through without a user name and a password ({words})."
    )


def _login_hint(proxy: Proxy) -> str:
    scheme = proxy.url.scheme
    return (
        f"Write them into {proxy.variable}: {scheme}://user:password@{proxy.url.netloc.decode()}, "
        "with other signs than letters and digits percent-encoded."
    )


def _elsewhere(response: httpx.Response) -> str:
    """Say where a redirect leads, as far as that is safe to show."""
    try:
        host = urlsplit(shown_address(response.headers.get("location", ""))).hostname or ""
    except ValueError:
        host = ""
    return f", to {host}" if re.fullmatch(r"[A-Za-z0-9.:-]{1,100}", host) else ""


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and what it came from, the nearest first."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    return chain


def _begin(who: str) -> str:
    return who[:1].upper() + who[1:] if who.startswith("the ") else who
