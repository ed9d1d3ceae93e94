"""Who may ask: the page that this process has opened, and nobody else.

Any page in the same browser can send requests to this machine, and a name that leads to 127.0.0.1
can be fetched by anyone (DNS rebinding). So a request counts only if

- its ``Host`` is this machine by number or by a name that cannot be rebound,
- its ``Origin``, which browsers send with whatever could do harm, is that same host, and
  ``Sec-Fetch-Site`` says nothing else,
- it brings the token that the address had which was opened: 256 random bits,
- and there are not too many of it.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from werkzeug.wrappers import Request

__all__ = ["HEADERS", "MOST_BYTES", "Access", "Bucket", "Refusal"]

MOST_BYTES = 1 << 20
"""Of a request's body."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; font-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""What every answer has."""


class Refusal(Exception):  # noqa: N818 - not an error of the application
    """Ends the work on a request with an answer that says why."""

    def __init__(self, status: HTTPStatus, message: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.more = more


@dataclass
class Bucket:
    """How many may come: so many at once, and so many a second in the long run.

    Attributes
    ----------
    most : float
        At once.
    each_second : float
        In the long run.
    clock : callable
        Returns seconds that never go back.
    """

    most: float
    each_second: float
    clock: Callable[[], float] = time.monotonic
    _left: float = field(init=False)
    _since: float = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self._left, self._since = self.most, self.clock()

    def take(self) -> bool:
        """Take one, and return whether there was one."""
        with self._lock:
            now = self.clock()
            self._left = min(self.most, self._left + (now - self._since) * self.each_second)
            self._since = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


@dataclass
class Access:
    """What requests are checked by.

    Attributes
    ----------
    port : int
        Where the service listens.
    public : bool
        Whether other machines may ask, by this one's number.
    names : tuple of str
        By which names too.
    token : str
        What the page brings.
    """

    port: int
    public: bool = False
    names: tuple[str, ...] = ()
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    requests: Bucket = field(default_factory=lambda: Bucket(400, 120))
    strangers: Bucket = field(default_factory=lambda: Bucket(20, 0.5))

    def check(self, request: Request, *, token: bool = True) -> None:
        """Check a request.

        Parameters
        ----------
        request : werkzeug.wrappers.Request
            What is asked.
        token : bool
            Whether it must bring the token: files of the page that are the same for all need not.

        Raises
        ------
        Refusal
            If it does not count.
        """
        host = request.headers.get("Host", "")
        if not self._is_ours(host):
            raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, "this service is not asked by that name")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise Refusal(HTTPStatus.FORBIDDEN, "other pages may not ask this service")
        site = request.headers.get("Sec-Fetch-Site")
        # anyone may link to the page itself, which holds no secret
        if token and site not in (None, "same-origin", "none"):
            raise Refusal(HTTPStatus.FORBIDDEN, "other pages may not ask this service")
        if not self.requests.take():
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too much is asked for at once")
        if token and not self._knows_token(request):
            if not self.strangers.take():
                raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many tokens were wrong")
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "the token is missing or wrong: open the address that `atldld align` has printed",
            )

    def _is_ours(self, host: str) -> bool:
        try:
            split = urlsplit(f"//{host}")
            name, port = split.hostname, split.port
        except ValueError:
            return False
        if name is None or split.username is not None or split.path or (port or 80) != self.port:
            return False
        if name == "localhost" or (self.public and name in self.names):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:  # a name may lead here, whoever it belongs to
            return False
        return self.public or address.is_loopback

    def _knows_token(self, request: Request) -> bool:
        kind, _, brought = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            # only what the browser itself loads cannot send a header
            brought = request.args.get("token", "") if request.method in ("GET", "HEAD") else ""
        return hmac.compare_digest(brought.strip().encode(), self.token.encode())
