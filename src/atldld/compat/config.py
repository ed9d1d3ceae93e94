"""0.3 import path for the cache's folder."""

from __future__ import annotations

from pathlib import Path

from atldld.settings import Settings

__all__ = ["user_cache_dir"]


def user_cache_dir(create: bool = True) -> Path:
    """Return the folder of the cache.

    ``ATLDLD_CACHE_DIR`` where it is set, else ``$XDG_CACHE_HOME/atldld``, else the platform's own
    place.

    Parameters
    ----------
    create : bool
        Make the folder if it is not there.
    """
    folder = Settings.from_environment().cache_dir
    if create:
        folder.mkdir(parents=True, exist_ok=True)
    return folder
