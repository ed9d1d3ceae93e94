"""The local service without a socket, and with one."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from atldld.archive.app import Application
from atldld.archive.demo import DEMO_DATASET_IDS, DemoArchive
from atldld.archive.stored import StoredArchive
from atldld.errors import AtldldError, CacheError, DatasetNotFoundError, InvalidInputError
from atldld.fetch.cache import Cache
from atldld.fetch.session import cache_root
from atldld.fetch.upkeep import import_archive
from atldld.files import scratch_folder
from atldld.settings import Settings

if TYPE_CHECKING:
    from waitress.server import BaseWSGIServer

    from atldld.archive.app import Source
    from atldld.fetch.session import Session

__all__ = ["in_process_session", "listen", "opened_source"]

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


@contextmanager
def opened_source(
    name: str, settings: Settings, dataset_ids: Sequence[int] | None = None
) -> Iterator[Source]:
    """Open what a name stands for as a source.

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
        There is no such archive, or it does not hold a data set that is named.
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
            if not path.is_dir():
                # A ZIP file is checked like any import, and served from what proved sound.
                folder = stack.enter_context(scratch_folder())
                import_archive(Cache(folder, allens=False), path)
                path = folder
            source = StoredArchive(path, dataset_ids)
            held = {record["id"] for record in source.tables()["SectionDataSet"]}
        unknown = set(dataset_ids or ()) - held
        if unknown:
            raise DatasetNotFoundError(
                f"The archive does not hold data set {min(unknown)}.", dataset_id=min(unknown)
            )
        yield source


def listen(
    host: str, port: int, source: Source | None = None, *, public: bool = False
) -> BaseWSGIServer:
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

    Raises
    ------
    AtldldError
        The address cannot be used, or others could reach it and that was not allowed.
    """
    from waitress.server import create_server

    # its queue is short on purpose, and says so at every second request
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    if not public and not _is_loopback(host):
        raise InvalidInputError(
            f"Other machines could reach {host}.",
            hint="Add --public if that is meant; nothing asks for a password.",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise AtldldError(
            f"Cannot listen at {host}:{port}: {error.strerror or error}.",
            hint="Choose another port with --port; 0 takes a free one.",
        ) from error
    try:
        return create_server(
            Application(source or DemoArchive()),
            sockets=[listening],
            threads=4,
            ident="atldld",
            connection_limit=100,
            # questions are short, and nothing is ever uploaded
            max_request_body_size=1 << 16,
            max_request_header_size=1 << 16,
        )
    except BaseException:
        listening.close()
        raise


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
