"""Addresses fit to be shown and kept, and the secrets that were in them.

A password may stand in the address of a service, of a store or of a proxy. It is taken out where
the address comes in and travels apart, as a `Login`, so that whatever is built from the address
(errors, logs, companions of images, metadata, reports, journals) cannot tell it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes, urlsplit

from atldld.errors import shown_address
from atldld.support.http import load_httpx

__all__ = ["Login", "login_for", "shown_address", "shown_addresses", "without_login"]

_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


def shown_addresses(text: str) -> str:
    """Return a text whose addresses are as they may be shown; see `shown_address`."""
    return _IN_TEXT.sub(lambda found: shown_address(found[0]), text)


class Login:
    """Who asks a service, for HTTP's Basic authentication.

    No dataclass: neither its text nor `dataclasses.asdict` of what holds it tells the secret.

    Parameters
    ----------
    address : str
        What it is for: requests to other addresses do not carry it.
    authorization : str
        The header's value.
    """

    __slots__ = ("address", "authorization")

    def __init__(self, address: str, authorization: str) -> None:
        self.address = address
        self.authorization = authorization

    def __repr__(self) -> str:
        return f"Login({self.address!r}, …)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Login) and (self.address, self.authorization) == (
            other.address,
            other.authorization,
        )

    def __hash__(self) -> int:
        return hash((self.address, self.authorization))

    def covers(self, url: str) -> bool:
        """Whether a request to an address may carry it: it is this one, or lies below it."""
        load_httpx()
        import httpx

        mine, asked = httpx.URL(self.address), httpx.URL(url)
        return (mine.scheme, mine.raw_host, mine.port) == (
            asked.scheme,
            asked.raw_host,
            asked.port,
        ) and f"{asked.path}/".startswith(f"{mine.path.rstrip('/')}/")


def without_login(address: str) -> tuple[str, Login | None]:
    """Part an address from the user name and the password in it.

    Parameters
    ----------
    address : str
        Such as ``https://user:password@host``; both may be percent-encoded.

    Returns
    -------
    address : str
        Such as ``https://host``.
    login : Login or None
        Who asks, if the address says so.

    Raises
    ------
    ValueError
        If no host can be read from the address, or if an ``@`` stands elsewhere, so that the
        password may hold a sign that must be percent-encoded.
    """
    parts = urlsplit(address)
    parts.port  # noqa: B018 - raises, if it is no number
    user, at, host = parts.netloc.rpartition("@")
    rest = address.partition("://")[2].removeprefix(parts.netloc).partition("?")[0]
    if not parts.hostname or "@" in user or "@" in rest or re.search(r"[\s\x00-\x1f\x7f]", address):
        raise ValueError("no address")
    if not at:
        return address, None
    name, _, password = user.partition(":")
    clean = address.replace(f"{user}@{host}", host, 1)
    origin = f"{parts.scheme}://{host}{parts.path}".rstrip("/")
    both = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    from base64 import b64encode  # few addresses have a login

    return clean, Login(origin, f"Basic {b64encode(both).decode()}")


def login_for(url: str, logins: tuple[Login, ...]) -> Login | None:
    """Return the login that a request to an address carries: the one for the nearest address."""
    fitting = [login for login in logins if login.covers(url)]
    return max(fitting, key=lambda login: len(login.address), default=None)
