"""Where the cache of a service is, which needs nothing that asks the service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from atldld.fetch.cache import Cache
from atldld.settings import API_URL, BUCKET_URL, DOWNLOAD_URL

if TYPE_CHECKING:
    from atldld.settings import Settings

__all__ = ["Host", "cache_of", "cache_root"]

Host = Literal["api", "download"]


def cache_root(settings: Settings, host: Host | Literal["bucket"] = "api") -> Path:
    """Return the folder of the cache for one service.

    What another service than the Allen Institute's answers is kept apart: the demo archive serves
    made-up pixels under genuine ids, which must never be taken for the real ones.

    Parameters
    ----------
    settings : Settings
        Say where to ask and where to keep.
    host : {"api", "download", "bucket"}
        The API, the informatics archive, or the public bucket.
    """
    url, own = {
        "api": (settings.api_url, API_URL),
        "download": (settings.download_url, DOWNLOAD_URL),
        "bucket": (settings.bucket_url or "", BUCKET_URL),
    }[host]
    if url == own:
        return settings.cache_dir
    host_name = urlsplit(url).netloc
    return settings.cache_dir / "other-services" / re.sub(r"[^A-Za-z0-9.-]", "_", host_name)


def cache_of(settings: Settings) -> Cache:
    """Return the cache of the service that is asked.

    Raises
    ------
    CacheError
        If its folder cannot be one.
    """
    cache = Cache(cache_root(settings), allens=settings.api_url == API_URL)
    cache.check_folder()
    return cache
