"""The catalogue as a file that is handed on, so that a laboratory fetches it once."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from atldld.errors import CacheError, InvalidInputError, Remedy
from atldld.fetch import placements
from atldld.fetch.session import Session
from atldld.find import catalogue
from atldld.find.renewal import only_one
from atldld.support.documents import DocumentError, parse_as
from atldld.support.files import check_targets, temporary_beside, whole_file, write_errors

__all__ = ["Exchanged", "export_catalogue", "import_catalogue"]

MARKER = "atldld-catalogue.json"
FORMAT = "atldld-catalogue"
LARGEST = 2 << 30
"""Bytes of one file, unpacked."""

CHUNK = 1 << 20


class _Part(msgspec.Struct, frozen=True):
    bytes: int
    sha256: str


class _Marker(msgspec.Struct, frozen=True):
    format: str
    version: int
    service: str
    files: dict[str, _Part]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What was written or taken.

    Attributes
    ----------
    path : pathlib.Path
        The file that is handed on.
    service : str
        Of which service.
    files : tuple of str
        ``catalogue.sqlite``, and ``placements.sqlite`` where it is there.
    bytes : int
        Of those, unpacked.
    """

    path: Path
    service: str
    files: tuple[str, ...]
    bytes: int


def export_catalogue(session: Session, target: str | Path, *, force: bool = False) -> Exchanged:
    """Write the catalogue, and the placements if they are there, into one ZIP file.

    Parameters
    ----------
    session : Session
        Whose catalogue.
    target : str or pathlib.Path
        The file.
    force : bool
        Replace one that is there.

    Raises
    ------
    CacheError
        If there is no catalogue, or it is damaged.
    OutputError
        If the file is there, or cannot be written.
    """
    target = Path(target)
    check_targets([target], force=force)
    files = _files(session.cache.root)
    there = {name: path for name, path in files.items() if path.is_file()}
    if "catalogue.sqlite" not in there:
        raise CacheError(
            f"There is no catalogue at {files['catalogue.sqlite']}.",
            hint="Make it with `atldld catalogue update`.",
        )
    for name in there:
        _check(session.cache.root, name)
    marker = _Marker(
        FORMAT,
        1,
        session.settings.api_url,
        {name: _Part(path.stat().st_size, _sha256(path)) for name, path in there.items()},
    )
    with (
        whole_file(target, force=force) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
    ):
        archive.writestr(MARKER, msgspec.json.encode(marker))
        for name, path in there.items():
            archive.write(path, name)
    size = sum(part.bytes for part in marker.files.values())
    return Exchanged(target, marker.service, tuple(there), size)


def import_catalogue(session: Session, source: str | Path, *, force: bool = False) -> Exchanged:
    """Take a catalogue, and placements, from a file that `export_catalogue` has written.

    Nothing of it is believed: hashes, tables and the service must fit.

    Parameters
    ----------
    session : Session
        Into whose cache.
    source : str or pathlib.Path
        The file.
    force : bool
        Replace what is there already.

    Raises
    ------
    InvalidInputError
        If the file is none, is damaged, or of another service.
    CacheError
        If there is a catalogue already, or the cache cannot be written.
    """
    source = Path(source)
    root = session.cache.root
    what = f"The catalogue below {root}"
    with _opened(source) as archive, write_errors(what, CacheError), only_one(session):
        marker = _marker(archive, source)
        if marker.service != session.settings.api_url:
            raise InvalidInputError(
                f"{source} is a catalogue of {marker.service}, and this is one of "
                f"{session.settings.api_url}.",
                hint=f"Name its service: {Remedy.API_URL}, or ATLDLD_API_URL.",
            )
        files = _files(root)
        taken = [name for name in files if name in marker.files]
        for name in taken:
            path = files[name]
            if path.is_file() and not force and _sha256(path) != marker.files[name].sha256:
                raise CacheError(
                    f"There is another {name} at {path} already.",
                    hint=f"Replace it with {Remedy.FORCE}.",
                )
        root.mkdir(parents=True, exist_ok=True)
        with temporary_beside(root / "import", "") as folder:
            folder.mkdir()
            for name in taken:
                _extract(archive, source, name, marker.files[name], Path(folder, name))
                _check(Path(folder), name)
            for name in taken:
                os.replace(Path(folder, name), files[name])
    size = sum(marker.files[name].bytes for name in taken)
    return Exchanged(source, marker.service, tuple(taken), size)


def _files(root: Path) -> dict[str, Path]:
    paths = (catalogue.catalogue_path(root), placements.placements_path(root))
    return {path.name: path for path in paths}


def _check(root: Path, name: str) -> None:
    """Refuse a file that is damaged, or none of its kind."""
    kind = catalogue.opened if name == "catalogue.sqlite" else placements.opened
    with kind(root) as db:
        assert db is not None
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise CacheError(f"{root / name} is damaged ({verdict}).")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _opened(source: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with closing(zipfile.ZipFile(source)) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise InvalidInputError(f"{source} is no catalogue that was exported: {error}.") from None
    except FileNotFoundError:
        raise InvalidInputError(f"There is no file {source}.") from None


def _marker(archive: zipfile.ZipFile, source: Path) -> _Marker:
    try:
        with archive.open(MARKER) as file:
            marker = parse_as(file.read(1 << 20), _Marker)
    except (KeyError, DocumentError, NotImplementedError, RuntimeError):
        marker = None
    if marker is None or marker.format != FORMAT or marker.version != 1:
        raise InvalidInputError(
            f"{source} is no catalogue that was exported, or one of a newer version.",
            hint="Write one with `atldld catalogue export`.",
        )
    if "catalogue.sqlite" not in marker.files:
        raise InvalidInputError(f"{source} says that it holds no catalogue.")
    return marker


def _extract(archive: zipfile.ZipFile, source: Path, name: str, part: _Part, target: Path) -> None:
    if not 0 < part.bytes <= LARGEST:
        raise InvalidInputError(f"{source} gives {name} a size of {part.bytes} bytes.")
    try:
        with archive.open(name) as packed, open(target, "wb") as file:
            digest = _copied(packed, file, part.bytes)
    except (KeyError, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidInputError(f"{name} in {source} cannot be read ({error}).") from None
    if digest != part.sha256:
        raise InvalidInputError(f"{name} in {source} is damaged: its hash is another.")


def _copied(packed: IO[bytes], file: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    left = size + 1  # one more than is said tells that there is more
    while left > 0:
        chunk = packed.read(min(CHUNK, left))
        if not chunk:
            break
        left -= len(chunk)
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()
