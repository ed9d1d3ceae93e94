"""The local service in this process, and what the names of archives stand for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from atldld.demo.archive import DEMO_DATASET_IDS, DemoArchive
from atldld.errors import CacheError, DatasetNotFoundError
from atldld.fetch.roots import cache_root
from atldld.serve.app import Application
from atldld.serve.stored import StoredArchive
from atldld.settings import Settings

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.serve.archive import Archive

__all__ = ["IN_PROCESS_URL", "in_process_session", "opened_archive"]

IN_PROCESS_URL = "http://demo.invalid"


def in_process_session(cache_dir: Path, archive: Archive | None = None) -> Session:
    """Return a session that asks the local service in this process, through no socket.

    Parameters
    ----------
    cache_dir : pathlib.Path
        The cache's folder.
    archive : Archive, optional
        What is served; the demo archive by default.
    """
    import httpx

    from atldld.fetch.session import Session

    application = Application(archive or DemoArchive())
    return Session(
        Settings(api_url=IN_PROCESS_URL, download_url=IN_PROCESS_URL, cache_dir=cache_dir),
        transport=httpx.WSGITransport(app=application),
    )


@contextmanager
def opened_archive(
    name: str, settings: Settings, dataset_ids: Sequence[int] | None = None
) -> Iterator[Archive]:
    """Open the archive that a name stands for.

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
        archive: Archive
        if name == "demo":
            held = set(DEMO_DATASET_IDS)
            chosen = [known for known in DEMO_DATASET_IDS if known in (dataset_ids or held)]
            archive = DemoArchive(chosen)
        else:
            path = cache_root(settings) if name == "cache" else Path(name)
            if not path.exists():
                raise CacheError(
                    f"There is no archive at {path}.",
                    hint="Name demo, cache, or a folder or .zip file that was exported.",
                )
            # a ZIP file is served as it is: there is nothing to unpack, and nothing to be left over
            archive = stored = StoredArchive(path, dataset_ids)
            stack.callback(stored.close)
            held = {record["id"] for record in archive.tables()["SectionDataSet"]}
        unknown = set(dataset_ids or ()) - held
        if unknown:
            raise DatasetNotFoundError(
                f"The archive does not hold data set {min(unknown)}.", dataset_id=min(unknown)
            )
        yield archive
