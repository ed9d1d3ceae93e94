"""Where the service and the cache are, and whether requests are allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from atldld.addresses import Login, shown, without_login
from atldld.errors import InvalidInputError

__all__ = ["API_URL", "DOWNLOAD_URL", "Settings", "default_cache_dir"]

API_URL = "https://api.brain-map.org"
DOWNLOAD_URL = "https://download.alleninstitute.org"


def default_cache_dir() -> Path:
    """Return the folder of the cache when none is set.

    ``$XDG_CACHE_HOME/atldld`` where that variable is set, as in 0.3, else the platform's own
    place for caches. The folder is not created.
    """
    xdg = os.environ.get("XDG_CACHE_HOME")
    if xdg:
        return Path(xdg) / "atldld"
    import platformdirs

    return Path(platformdirs.user_cache_dir("atldld", appauthor=False))


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
    cache_dir : pathlib.Path
        The folder of the cache (``ATLDLD_CACHE_DIR``).
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
        If an address is not ``http://host`` or ``https://host``.
    """

    api_url: str = API_URL
    download_url: str = DOWNLOAD_URL
    cache_dir: Path = field(default_factory=default_cache_dir)
    offline: bool = False
    strict: bool = False
    logins: tuple[Login, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        logins = {login.address: login for login in self.logins}
        for name in ("api_url", "download_url"):
            url, login = _checked(name, getattr(self, name))
            object.__setattr__(self, name, url)
            if login is not None:
                logins[login.address] = login
        object.__setattr__(self, "logins", tuple(logins.values()))
        object.__setattr__(self, "cache_dir", Path(self.cache_dir).expanduser())

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        api_url: str | None = None,
        download_url: str | None = None,
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
        api_url, download_url, cache_dir, offline, strict : optional
            What goes before the environment.
        """
        env = os.environ if environ is None else environ
        chosen_cache = cache_dir or env.get("ATLDLD_CACHE_DIR") or default_cache_dir()
        api = api_url or env.get("ATLDLD_API_URL") or API_URL
        archive = DOWNLOAD_URL if _checked("api_url", api)[0] == API_URL else api
        return cls(
            api_url=api,
            download_url=download_url or env.get("ATLDLD_DOWNLOAD_URL") or archive,
            cache_dir=Path(chosen_cache),
            offline=_is_on(env, "ATLDLD_OFFLINE") if offline is None else offline,
            strict=_is_on(env, "ATLDLD_STRICT") if strict is None else strict,
        )


def _checked(name: str, address: str) -> tuple[str, Login | None]:
    """Return an address without what follows its host, and who asks it."""
    try:
        url, login = without_login(address.rstrip("/"))
    except ValueError:
        url, login = "", None
    if not url.lower().startswith(("http://", "https://")) or "?" in url or "#" in url:
        # Neither query nor fragment is told: what is written there may be a secret.
        told = re.split(r"[?#]", shown(address))[0]
        raise InvalidInputError(
            f"{name} is {told!r}{' with more behind it' if told != shown(address) else ''}, but "
            f"must be an address such as {API_URL}.",
            hint=f"Set ATLDLD_{name.upper()} or the option to the host alone, or to "
            "https://user:password@host, with other signs than letters and digits "
            "percent-encoded.",
        )
    return url, login


def _is_on(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() not in {"", "0", "false", "no", "off"}
