"""Where a batch's results go: a folder, or a store behind an address such as s3://bucket/prefix."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from atldld.batch.journal import JOURNAL, read_entries
from atldld.batch.work import Work
from atldld.errors import AtldldError, InvalidInputError, OutputError
from atldld.formats.common import need
from atldld.sections.metadata import METADATA
from atldld.support.addresses import shown_address, shown_addresses
from atldld.support.files import check_folder, make_folder, scratch_folder, sweep

__all__ = ["Folder", "Place", "Store", "open_place"]

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://(?P<rest>.+)", re.IGNORECASE)


class Place(Protocol):
    """Where results go. A small value that a worker on another machine can be sent."""

    @property
    def journal(self) -> Path:
        """Where the journal is kept on this machine."""

    def making(self, dataset_id: int) -> Any:
        """Yield the folder to make a data set's result in, and deliver it afterwards."""

    def is_whole(self, dataset_id: int, work: Work) -> bool:
        """Whether a data set's result is there, at a glance."""

    def has_lost(self, dataset_id: int) -> bool:
        """Whether the journal knows a data set whose folder no ``metadata.json`` vouches for."""

    def fetch_journal(self) -> None:
        """Bring the journal here, if the place has a longer one."""

    def keep_journal(self) -> None:
        """Bring the journal to the place."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder; each data set's result is made in its own folder below, file by whole file.

    Attributes
    ----------
    root : pathlib.Path
        The folder, absolute.
    """

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    @property
    def journal(self) -> Path:
        """Where the journal is kept."""
        return self.root / JOURNAL

    @contextmanager
    def making(self, dataset_id: int) -> Iterator[Path]:
        """Yield the folder of a data set's result."""
        yield self.root / str(dataset_id)

    def is_whole(self, dataset_id: int, work: Work) -> bool:
        """Whether a data set's result is there, at a glance."""
        folder = self.root / str(dataset_id)
        sweep(folder)
        return work.is_whole(folder)

    def has_lost(self, dataset_id: int) -> bool:
        """Whether the journal knows a data set whose folder no ``metadata.json`` vouches for."""
        folder = self.root / str(dataset_id)
        # nothing can be lost where nothing was; else each new data set would read all of a journal
        # that grows with them
        if not folder.exists() or (folder / METADATA).exists():
            return False
        return dataset_id in read_entries(self.journal)

    def fetch_journal(self) -> None:
        """Do nothing: the journal is there already."""

    def keep_journal(self) -> None:
        """Do nothing: the journal is there already."""


@dataclass(frozen=True, slots=True)
class Store:
    """An address that fsspec understands: S3 and its like.

    Results are made in a temporary folder and uploaded as whole files, ``metadata.json`` last: a
    data set without it does not count.

    Attributes
    ----------
    url : str
        Such as ``s3://bucket/prefix``. It may hold a password, so it is never shown as it is.
    journal : pathlib.Path
        Where the journal is kept on this machine; the store gets copies.
    """

    url: str = field(repr=False)
    journal: Path

    def __str__(self) -> str:
        return shown_address(self.url)

    @contextmanager
    def making(self, dataset_id: int) -> Iterator[Path]:
        """Yield a temporary folder, and upload what is in it afterwards."""
        with scratch_folder() as temporary:
            folder = temporary / str(dataset_id)
            yield folder
            files = sorted(
                (path for path in folder.rglob("*") if path.is_file()),
                key=lambda path: path == folder / METADATA,
            )
            with self._store() as (store, root):
                vouching = f"{root}/{dataset_id}/{METADATA}"
                if store.exists(vouching):
                    # what is replaced must not count while it is
                    store.rm_file(vouching)
                for path in files:
                    name = path.relative_to(folder).as_posix()
                    store.put_file(str(path), f"{root}/{dataset_id}/{name}")

    def is_whole(self, dataset_id: int, work: Work) -> bool:
        """Whether a data set's last file is there."""
        with self._store() as (store, root):
            return bool(store.exists(f"{root}/{dataset_id}/{METADATA}"))

    def has_lost(self, dataset_id: int) -> bool:
        """Return `False`: results are made in an empty folder."""
        return False

    def fetch_journal(self) -> None:
        """Bring the journal here, if the store has a longer one, of another machine."""
        with self._store() as (store, root):
            try:
                there = store.size(f"{root}/{JOURNAL}")
            except FileNotFoundError:
                return
            here = self.journal.stat().st_size if self.journal.exists() else 0
            if there > here:
                make_folder(self.journal.parent)
                store.get_file(f"{root}/{JOURNAL}", str(self.journal))

    def keep_journal(self) -> None:
        """Copy the journal to the store."""
        with self._store() as (store, root):
            store.put_file(str(self.journal), f"{root}/{JOURNAL}")

    @contextmanager
    def _store(self) -> Iterator[tuple[Any, str]]:
        """Yield the store and the path in it; whatever a store raises becomes one kind of error."""
        url_to_fs = need("fsspec", "dask", f"Results in {self}").url_to_fs
        try:
            store, root = url_to_fs(self.url, use_listings_cache=False)
            # what others have done meanwhile counts
            store.invalidate_cache()
            yield store, root.rstrip("/")
        except AtldldError:
            raise
        except ImportError as error:
            raise AtldldError(
                f"{self} cannot be written to: {shown_addresses(str(error))}",
                hint="Install `atldld[dask]` for s3://, or what fsspec needs for other addresses.",
            ) from error
        except Exception as error:  # each store has errors of its own
            raise OutputError(
                f"{self} cannot be used: {type(error).__name__}: {shown_addresses(str(error))}.",
                hint="Check the address, the credentials and the endpoint; `docs/batches.md` says "
                "where they are set.",
            ) from error


def open_place(out: str | os.PathLike[str], journals: Path) -> Place:
    """Return the place that a folder's name or an address stands for.

    Parameters
    ----------
    out : str or path
        A folder, or an address such as ``s3://bucket/prefix``.
    journals : pathlib.Path
        Folder on this machine for the journals of batches whose place cannot be added to.

    Raises
    ------
    InvalidInputError
        If the name or the address is not valid.
    OutputError
        If the place is a file, or cannot be written to.
    """
    found = _URL.fullmatch(os.fspath(out))
    if found and found["scheme"].lower() not in {"file", "local"}:
        url = os.fspath(out).rstrip("/")
        _check_scheme(found["scheme"].lower(), url)
        name = hashlib.sha256(shown_address(url).encode()).hexdigest()[:16]
        return Store(url, journals.absolute() / f"{name}.jsonl")
    try:
        root = Path(found["rest"] if found else out).expanduser().absolute()
    except RuntimeError:
        raise InvalidInputError(
            f"{os.fspath(out)} cannot be a folder: nobody knows of that home folder."
        ) from None
    check_folder(root)
    return Folder(root)


def _check_scheme(scheme: str, url: str) -> None:
    fsspec = need("fsspec", "dask", f"Results in {shown_address(url)}")
    if scheme not in fsspec.available_protocols():
        raise InvalidInputError(
            f"{shown_address(url)} cannot be written to: nothing is known of addresses with {scheme}://.",
            hint="Use a folder, or an address such as s3://bucket/prefix.",
        )
