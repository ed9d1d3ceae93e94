"""Where the service and the cache are, and whether requests are allowed."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from atldld.errors import InvalidInputError, Remedy
from atldld.support.addresses import Login, shown_address, without_login

__all__ = [
    "API_URL",
    "BUCKET_URL",
    "DOWNLOAD_URL",
    "SOURCES",
    "Settings",
    "Source",
    "default_cache_dir",
]

T = TypeVar("T")

API_URL = "https://api.brain-map.org"
BUCKET_URL = "https://allen-mouse-brain-atlas.s3.us-west-2.amazonaws.com"
DOWNLOAD_URL = "https://download.alleninstitute.org"

Source = Literal["auto", "api", "bucket"]
"""Where the pixels of section images come from."""

SOURCES: tuple[Source, ...] = ("auto", "api", "bucket")


def default_cache_dir() -> Path:
    """Return the folder of the cache when none is set.

    ``$XDG_CACHE_HOME/atldld`` where that variable is set, as in 0.3, else the platform's own
    place for caches. The folder is not created.

    Raises
    ------
    InvalidInputError
        If this account has no home folder, or ``XDG_CACHE_HOME`` cannot be a folder.
    """
    xdg = os.environ.get("XDG_CACHE_HOME", "").strip()
    if xdg:
        return _folder("XDG_CACHE_HOME", xdg) / "atldld"
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("atldld", appauthor=False)).expanduser()
    except RuntimeError:
        raise InvalidInputError(
            "This account has no home folder, so there is no place for the cache.",
            hint=f"Set ATLDLD_CACHE_DIR, or give {Remedy.CACHE_DIR}.",
        ) from None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that says where to ask and where to keep.

    Parameters
    ----------
    api_url : str
        The host of the API (``ATLDLD_API_URL``), without a path: ``/api/v2/...`` and
        ``/grid_data/...`` are added to it. A user name and a password before the host, as in
        ``https://user:password@host``, are taken out of it and kept in `logins`.
    download_url : str
        The host of the informatics archive (``ATLDLD_DOWNLOAD_URL``).
    bucket_url : str, optional
        The address of the public bucket of slides (``ATLDLD_BUCKET_URL``). By default the Allen
        Institute's, if `api_url` is the institute's too, else none (an empty text): made-up
        sections and genuine pixels do not belong together.
    source : {"auto", "api", "bucket"}
        Where the pixels of section images come from (``ATLDLD_SOURCE``): the API, the bucket, or
        the API and, where that fails, the bucket.
    per_second : float, optional
        Requests each second on average (``ATLDLD_PER_SECOND``), and
    per_day : int, optional
        requests a day (``ATLDLD_PER_DAY``) to the API; 0 for as many as you like. By default the
        Allen Institute's own is asked no more often than `atldld.fetch.limits` says, and others
        without bounds.
    cache_dir : pathlib.Path
        The folder of the cache (``ATLDLD_CACHE_DIR``). ``~`` stands for a home folder; a relative
        one is taken from the folder that is the current one now.
    offline : bool
        Make no request at all (``ATLDLD_OFFLINE``); what is not in the cache is an
        `~atldld.errors.OfflineError`.
    strict : bool
        Treat defects of the service as errors (``ATLDLD_STRICT``) instead of warnings.
    logins : tuple of Login
        Who asks which address; requests carry it, and nothing shows or keeps it. Those in the
        addresses are added.

    Raises
    ------
    InvalidInputError
        If an address is not ``http://host`` or ``https://host``, if the cache folder's name is
        not valid, if the source is none of the three, or if it is the bucket and there is none.
    """

    api_url: str = API_URL
    download_url: str = DOWNLOAD_URL
    cache_dir: Path = field(default_factory=default_cache_dir)
    offline: bool = False
    strict: bool = False
    logins: tuple[Login, ...] = field(default=(), repr=False)
    bucket_url: str | None = None
    source: Source = "auto"
    per_second: float | None = None
    per_day: int | None = None

    def __post_init__(self) -> None:
        logins = {login.address: login for login in self.logins}
        if self.bucket_url is None:
            own = _checked("api_url", str(self.api_url).strip())[0] == API_URL
            object.__setattr__(self, "bucket_url", BUCKET_URL if own else "")
        for name in ("api_url", "download_url", *(["bucket_url"] if self.bucket_url else [])):
            url, login = _checked(name, str(getattr(self, name)).strip())
            object.__setattr__(self, name, url)
            if login is not None:
                logins[login.address] = login
        object.__setattr__(self, "logins", tuple(logins.values()))
        hint = f"Set ATLDLD_CACHE_DIR or {Remedy.CACHE_DIR}."
        folder = _folder("cache_dir", self.cache_dir, hint)
        object.__setattr__(self, "cache_dir", folder)
        if self.source not in SOURCES:
            raise InvalidInputError(
                f"The source of images is {self.source!r}, but must be auto, api or bucket.",
                hint="Set ATLDLD_SOURCE to one of them.",
            )
        for name in ("per_second", "per_day"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1e9:
                raise InvalidInputError(
                    f"{name} is {value!r}, but must be a number of requests, or 0 for no bound.",
                    hint=f"Set ATLDLD_{name.upper()}.",
                )
        if self.source == "bucket" and not self.bucket_url:
            raise InvalidInputError(
                f"Images are to come from the bucket, but none is known that belongs to the "
                f"service at {self.api_url}.",
                hint=f"Name its address: {Remedy.BUCKET_URL}, or ATLDLD_BUCKET_URL.",
            )

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        api_url: str | None = None,
        download_url: str | None = None,
        bucket_url: str | None = None,
        source: Source | None = None,
        cache_dir: str | Path | None = None,
        offline: bool | None = None,
        strict: bool | None = None,
    ) -> Settings:
        """Read the settings from the environment; arguments that are given go first.

        Where only the API's address is another than the Allen Institute's, as that of `atldld
        serve`, the informatics archive is looked for there too: made-up sections and genuine
        atlases do not belong together.

        Parameters
        ----------
        environ : mapping, optional
            The environment; the process's own by default.
        api_url, download_url, bucket_url, source, cache_dir, offline, strict : optional
            What goes before the environment.

        Raises
        ------
        InvalidInputError
            If a variable is not valid; the message names it.
        """
        env = os.environ if environ is None else environ

        def chosen(name: str, given: str | Path | None) -> str | Path | None:
            # what is empty counts as not set
            return next((v for v in (given, env.get(name)) if v and str(v).strip()), None)

        api = str(chosen("ATLDLD_API_URL", api_url) or API_URL).strip()
        archive = DOWNLOAD_URL if _checked("api_url", api)[0] == API_URL else api
        bucket = chosen("ATLDLD_BUCKET_URL", bucket_url)
        return cls(
            api_url=api,
            download_url=str(chosen("ATLDLD_DOWNLOAD_URL", download_url) or archive),
            cache_dir=Path(chosen("ATLDLD_CACHE_DIR", cache_dir) or default_cache_dir()),
            offline=_is_on(env, "ATLDLD_OFFLINE") if offline is None else offline,
            strict=_is_on(env, "ATLDLD_STRICT") if strict is None else strict,
            bucket_url=None if bucket is None else str(bucket),
            per_second=_number(env, "ATLDLD_PER_SECOND", float),
            per_day=_number(env, "ATLDLD_PER_DAY", int),
            source=str(chosen("ATLDLD_SOURCE", source) or "auto").strip(),  # type: ignore[arg-type]
        )


def _checked(name: str, address: str) -> tuple[str, Login | None]:
    """Return an address without what follows its host, and who asks it."""
    try:
        url, login = without_login(address.rstrip("/"))
    except ValueError:
        url, login = "", None
    if not _is_address(url):
        # Neither query nor fragment is told: what is written there may be a secret.
        whole = shown_address(address)
        told = re.split(r"[?#]", whole)[0]
        raise InvalidInputError(
            f"{name} is {told!r}{' with more behind it' if told != whole else ''}, but must be an "
            f"address such as {API_URL}.",
            hint=f"Set ATLDLD_{name.upper()} or the option to the host alone, or to "
            "https://user:password@host, with other signs than letters and digits "
            "percent-encoded.",
        )
    return url, login


def _number(environ: Mapping[str, str], name: str, kind: type[T]) -> T | None:
    value = environ.get(name, "").strip()
    if not value:
        return None
    try:
        return kind(value)  # type: ignore[call-arg]
    except ValueError:
        raise InvalidInputError(
            f"{name} is {value!r}, but must be a number of requests, or 0 for no bound."
        ) from None


def _is_on(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "")
    word = value.strip().lower()
    if word in {"1", "true", "t", "yes", "y", "on"}:
        return True
    if word in {"", "0", "false", "f", "no", "n", "off"}:
        return False
    raise InvalidInputError(f"{name} is {value!r}, but must be 1 (on) or 0 (off).")


def _is_address(url: str) -> bool:
    """Whether an address names a host by HTTP, and nothing that a path could not be added to."""
    # urlsplit would drop line breaks in silence
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        return False
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
        if ":" in host and not re.fullmatch(r"(.*@)?\[[^\[\]]+\](:[0-9]*)?", parts.netloc):
            return False
        if ":" in host or re.fullmatch(r"[0-9]+(\.[0-9]+){3}", host):
            ipaddress.ip_address(host)
        elif not host.isascii():
            host.encode("idna")
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(host)
        and port != 0
        and not parts.query
        and not parts.fragment
    )


def _folder(name: str, value: str | os.PathLike[str], hint: str | None = None) -> Path:
    """Return the absolute path of a folder, or raise if a setting cannot be one."""
    hint = hint or f"Set {name} to a folder."
    try:
        text = os.fspath(value)
        if not isinstance(text, str) or "\0" in text:
            raise TypeError
        return Path(text).expanduser().absolute()
    except TypeError:
        raise InvalidInputError(
            f"{name} is {value!r}, but must be the name of a folder.", hint=hint
        ) from None
    except RuntimeError:  # of expanduser
        raise InvalidInputError(
            f"{name} is {str(value)!r}, but nobody knows of that home folder.", hint=hint
        ) from None
    except OSError as error:  # of the current folder, which has been removed
        raise InvalidInputError(
            f"{name} is {str(value)!r}, but the current folder is unknown: "
            f"{error.strerror or error}.",
            hint=hint,
        ) from None
