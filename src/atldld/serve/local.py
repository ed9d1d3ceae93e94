"""The local service without a socket, and with one."""

from __future__ import annotations

import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from atldld.demo.archive import DEMO_DATASET_IDS, DemoArchive
from atldld.errors import AtldldError, CacheError, DatasetNotFoundError, InvalidInputError, Remedy
from atldld.fetch.session import cache_root
from atldld.rma.budget import Limits
from atldld.serve.app import Application
from atldld.serve.lanes import Lanes
from atldld.serve.server import Patience, Server, serve_at
from atldld.serve.stored import StoredArchive
from atldld.settings import Settings

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.serve.app import Source

__all__ = ["in_process_session", "listen", "opened_source"]

IN_PROCESS_URL = "http://demo.invalid"
MOST_BUDGET = 1000.0


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


@contextmanager
def opened_source(
    name: str, settings: Settings, dataset_ids: Sequence[int] | None = None
) -> Iterator[Source]:
    """Open the archive that a name stands for as a source.

    Parameters
    ----------
    name : str
        ``"demo"``, ``"cache"``, or the path of a folder or ZIP file that was exported.
    settings : Settings
        Say where the cache is.
    dataset_ids : sequence of int, optional
        Offer only these.

    Raises
    ------
    AtldldError
        If there is no such archive, or it does not hold a data set that is named.
    """
    with ExitStack() as stack:
        source: Source
        if name == "demo":
            held = set(DEMO_DATASET_IDS)
            chosen = [known for known in DEMO_DATASET_IDS if known in (dataset_ids or held)]
            source = DemoArchive(chosen)
        else:
            path = cache_root(settings) if name == "cache" else Path(name)
            if not path.exists():
                raise CacheError(
                    f"There is no archive at {path}.",
                    hint="Name demo, cache, or a folder or .zip file that was exported.",
                )
            # a ZIP file is served as it is: there is nothing to unpack, and nothing to be left over
            source = stored = StoredArchive(path, dataset_ids)
            stack.callback(stored.close)
            held = {record["id"] for record in source.tables()["SectionDataSet"]}
        unknown = set(dataset_ids or ()) - held
        if unknown:
            raise DatasetNotFoundError(
                f"The archive does not hold data set {min(unknown)}.", dataset_id=min(unknown)
            )
        yield source


def listen(
    host: str,
    port: int,
    source: Source | None = None,
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
    source : Source, optional
        What is served; the demo archive by default.
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
        If the address cannot be used, or if others could reach it and `public` is false.
    """
    if not 0 < budget <= MOST_BUDGET:
        raise InvalidInputError(
            f"The budget is {budget:g} times the usual one.",
            hint=f"Choose more than 0 and at most {MOST_BUDGET:g}.",
        )
    # its queue is short on purpose, and says so at every second request
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    if not public and not _is_loopback(host):
        raise InvalidInputError(
            f"Other machines could reach {host}.",
            hint=f"Add {Remedy.PUBLIC} if that is meant; nothing asks for a password.",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise AtldldError(
            f"Cannot listen at {host}:{port}: {error.strerror or error}.",
            hint=f"Choose another port with {Remedy.PORT}; 0 takes a free one.",
        ) from error
    lanes = Lanes()
    try:
        application = Application(
            source or DemoArchive(), limits=Limits().times(budget), lanes=lanes
        )
        return serve_at(
            listening, application, threads=lanes.threads, patience=patience, clock=clock
        )
    except BaseException:
        listening.close()
        raise


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
