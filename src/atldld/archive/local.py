"""The local service without a socket, and with one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from atldld.archive.app import Application
from atldld.archive.demo import DemoArchive
from atldld.errors import AtldldError
from atldld.settings import Settings

if TYPE_CHECKING:
    from waitress.server import BaseWSGIServer

    from atldld.archive.app import Source
    from atldld.fetch.session import Session

__all__ = ["in_process_session", "listen"]

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


def listen(host: str, port: int, source: Source | None = None) -> BaseWSGIServer:
    """Return a server that listens, and answers once its ``run()`` is called.

    Parameters
    ----------
    host : str
        Address to listen at.
    port : int
        0 chooses a free one; see the server's ``effective_port``.
    source : Source, optional
        What is served; the demo archive by default.

    Raises
    ------
    AtldldError
        The address cannot be used.
    """
    from waitress.server import create_server

    try:
        return create_server(
            Application(source or DemoArchive()),
            host=host,
            port=port,
            threads=4,
            ident="atldld",
            connection_limit=100,
            # questions are short, and nothing is ever uploaded
            max_request_body_size=1 << 16,
            max_request_header_size=1 << 16,
        )
    except OSError as error:
        raise AtldldError(
            f"Cannot listen at {host}:{port}: {error.strerror or error}.",
            hint="Choose another port with --port; 0 takes a free one.",
        ) from error
