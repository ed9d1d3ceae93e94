"""Serving a desk at an address of this machine."""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass

from atldld.align.access import MOST_BYTES, Access
from atldld.align.app import Application
from atldld.align.desk import Desk
from atldld.serve.listen import bound
from atldld.serve.server import Server, serve_at

__all__ = ["Opened", "listen"]

_THREADS = 12


@dataclass(frozen=True)
class Opened:
    """A server that answers once its ``run()`` is called, and the address that it is opened by.

    Attributes
    ----------
    server : Server
        The server.
    address : str
        With the token.
    application : Application
        What answers.
    """

    server: Server
    address: str
    application: Application


def listen(desk: Desk, host: str = "127.0.0.1", port: int = 0, *, public: bool = False) -> Opened:
    """Return a server for a desk.

    Parameters
    ----------
    desk : Desk
        What is edited.
    host : str
        Address to listen at.
    port : int
        0 chooses a free one.
    public : bool
        Allow an address that other machines can reach.

    Raises
    ------
    AtldldError
        If the address cannot be used, or others could reach it and that was not allowed.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    listening = bound(host, port, public=public)
    try:
        found = listening.getsockname()[1]
        names = (platform.node().lower(),) if public else ()
        access = Access(found, public=public, names=names)
        application = Application(desk, access)
        server = serve_at(listening, application, threads=_THREADS, body=MOST_BYTES)
    except BaseException:
        listening.close()
        raise
    shown = host
    if host in ("0.0.0.0", "::"):  # everywhere; whoever asks must name this machine
        shown = platform.node() if public else "127.0.0.1"
    shown = f"[{shown}]" if ":" in shown else shown
    return Opened(server, f"http://{shown}:{found}/?token={access.token}", application)
