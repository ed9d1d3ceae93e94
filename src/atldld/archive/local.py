"""The local service without a socket, and with one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from atldld.archive.app import Application
from atldld.archive.demo import DemoArchive
from atldld.settings import Settings

if TYPE_CHECKING:
    from atldld.archive.app import Source
    from atldld.fetch.session import Session

__all__ = ["in_process_session"]

IN_PROCESS_URL = "http://demo.invalid"


def in_process_session(cache_dir: Path, source: Source | None = None) -> Session:
    """Return a session that asks the local service in this process, through no socket.

    Parameters
    ----------
    cache_dir : pathlib.Path
        The cache's folder.
    source : Source, optional
        What is served; the demo archive by default.
    """
    import httpx

    from atldld.fetch.session import Session

    application = Application(source or DemoArchive())
    return Session(
        Settings(api_url=IN_PROCESS_URL, download_url=IN_PROCESS_URL, cache_dir=cache_dir),
        transport=httpx.WSGITransport(app=application),
    )
