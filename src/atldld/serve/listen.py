"""Listening: the local service at an address of this machine."""

from __future__ import annotations

import ipaddress
import logging
import socket
import time
from collections.abc import Callable

from atldld.errors import AtldldError, InvalidInputError, Remedy
from atldld.rma.budget import Limits
from atldld.serve.app import Application
from atldld.serve.archive import Archive
from atldld.serve.lanes import Lanes
from atldld.serve.server import Patience, Server, serve_at

__all__ = ["bound", "listen"]

MOST_BUDGET = 1000.0


def listen(
    host: str,
    port: int,
    archive: Archive,
    *,
    public: bool = False,
    budget: float = 1.0,
    patience: Patience | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Server:
    """Return a server that listens, and answers once its ``run()`` is called.

    Parameters
    ----------
    host : str
        Address to listen at.
    port : int
        0 chooses a free one; see the server's ``effective_port``.
    archive : Archive
        What is served.
    public : bool
        Allow an address that other machines can reach.
    budget : float
        What one question may cost, as a multiple of `atldld.rma.budget.Limits`.
    patience : Patience, optional
        How long clients may take, and how many may come.
    clock : callable, optional
        Returns seconds that never go back; only `patience` is measured by it.

    Raises
    ------
    AtldldError
        If the address cannot be used, or others could reach it and that was not allowed.
    """
    if not 0 < budget <= MOST_BUDGET:
        raise InvalidInputError(
            f"The budget is {budget:g} times the usual one.",
            hint=f"Choose more than 0 and at most {MOST_BUDGET:g}.",
        )
    # its queue is short on purpose, and says so at every second request
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    listening = bound(host, port, public=public)
    lanes = Lanes()
    try:
        application = Application(archive, limits=Limits().times(budget), lanes=lanes)
        return serve_at(
            listening,
            application,
            threads=lanes.threads,
            patience=patience,
            clock=clock,
            is_light=application.is_kept,
        )
    except BaseException:
        listening.close()
        raise


def bound(host: str, port: int, *, public: bool = False) -> socket.socket:
    """Return a socket that listens at an address of this machine.

    Parameters
    ----------
    host, port, public :
        See `listen`.

    Raises
    ------
    AtldldError
        If the address cannot be used, or others could reach it and that was not allowed.
    """
    if not public and not _is_loopback(host):
        raise InvalidInputError(
            f"Other machines could reach {host}.",
            hint=f"Add {Remedy.PUBLIC} if that is meant; nothing asks for a password.",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise AtldldError(
            f"Cannot listen at {host}:{port}: {error.strerror or error}.",
            hint=f"Choose another port with {Remedy.PORT}; 0 takes a free one.",
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
