"""The cache on disk, which is also an archive that can be served.

Layout::

    <cache>/
        atldld-archive.json                      {"format": "atldld-archive", "version": 1}
        datasets/<id>.json                       one data set with all its images, as the service
                                                 sent them, and when
        images/<id // 1000>/<id>/<d>.jpg         a section image at tier d, from the service
        images/<id // 1000>/<id>/<d>.tif         the same from the public bucket: other pixels
        images/<id // 1000>/<id>/<d>-expression.jpg
        images/<id // 1000>/<id>/<same>.json     what was checked: size, bytes, SHA-256, source
        queries/<sha256>.json                    answers to other queries, and when
        files/…                                  other files (atlases, grids, plates), by the path
                                                 of their address
        files/….json                             what was checked: bytes, SHA-256, source
        unpacked/….npy                           arrays of volumes in files/, ready to be mapped;
                                                 made again when needed
        unpacked/….npy.json                      of which file, and what was written
        locks/<nn>.lock                          one process at a time fetches an image
        index/images.json                        which files images/ has, to list them quickly; it
                                                 may be removed

Everything is written to a temporary file in the same folder and moved, so a file under its final
name is whole. An image counts only when it has been decoded; its companion says so.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Literal, NamedTuple, TypeVar

from atldld.errors import CacheError, Remedy
from atldld.fetch.locks import locked
from atldld.support.addresses import shown_address
from atldld.support.documents import DocumentError, parse_json
from atldld.support.files import move_to, temporary_beside, write_errors

if TYPE_CHECKING:
    from atldld.fetch.facts import FileFacts, ImageFacts
    from atldld.fetch.kept import CachedFile, CachedImage

__all__ = [
    "MADE_ANEW",
    "Arriving",
    "Cache",
    "FileHeld",
    "FolderHeld",
    "Origin",
    "companion_of",
    "origin_in",
    "origin_of",
    "read_json",
    "sha256_of",
    "unreadable",
]

MARKER = "atldld-archive.json"
FORMAT = {"format": "atldld-archive", "version": 1}
LOCKS = 256

MADE_ANEW = ("locks/", "index/")
"""What a cache needs besides, and makes again: it counts for nothing."""

Origin = Literal["api", "bucket"]
"""Whose pixels an image has: those of the service, or those of the public bucket."""

ENDINGS: Mapping[Origin, str] = {"api": ".jpg", "bucket": ".tif"}

_TIFF = b"II*\0"  # how the files begin that are kept of slides

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ELSEWHERE = f"Choose another folder with {Remedy.CACHE_DIR} or ATLDLD_CACHE_DIR."
_DOCUMENT = {"datasets": re.compile(r"[0-9]{1,15}"), "queries": re.compile(r"[A-Za-z0-9]+")}


class FileHeld(NamedTuple):
    """Any file below the cache's folder, as it was found.

    Attributes
    ----------
    root : pathlib.Path
        The cache's folder.
    name : str
        The file's name below it, with slashes.
    bytes : int
        Its length.
    modified : float
        When it was written last, in seconds of the system's clock.
    """

    root: Path
    name: str
    bytes: int
    modified: float

    @property
    def path(self) -> Path:
        """The file."""
        return self.root / self.name


class FolderHeld(NamedTuple):
    """A folder of the cache, as it was found.

    Attributes
    ----------
    files : list of FileHeld
        The files in it.
    folders : list of str
        The names below the cache's folder of the folders in it; links to folders are left out.
    plain : bool
        Whether it holds ordinary files alone, no folders or links.
    """

    files: list[FileHeld]
    folders: list[str]
    plain: bool


Facts = TypeVar("Facts", bound="FileFacts")
Kept = TypeVar("Kept", "CachedFile", "CachedImage")


class Arriving(Generic[Facts, Kept]):
    """A file on its way into the cache; see `Cache.new_image`.

    Attributes
    ----------
    file : binary file
        Open for reading and writing.
    path : pathlib.Path
        Its temporary name.
    """

    def __init__(
        self, file: BinaryIO, path: Path, kept: Callable[[Facts, int, Origin], Kept]
    ) -> None:
        self.file, self.path = file, path
        self._kept: Callable[[Facts, int, Origin], Kept] = kept

    def origin(self) -> Origin:
        """Return whose pixels it has, if it is an image that has arrived."""
        self.file.seek(0)
        return origin_in(self.file)

    def keep(self, facts: Facts, origin: Origin | None = None) -> Kept:
        """Move the file to its final name and let it count.

        Parameters
        ----------
        facts : FileFacts or ImageFacts
            What is known of it. Its length is measured, and it was fetched now unless that is
            said.
        origin : {"api", "bucket"}, optional
            What `origin` returns, where that has just been asked.
        """
        from dataclasses import fields

        self.file.flush()
        size = os.fstat(self.file.fileno()).st_size
        kept = self._kept(facts, size, origin or self.origin())
        self.file.close()
        # The companion of an older file must not vouch for the new one, nor the other way round:
        # no companion, no file.
        companion = companion_of(kept.path)
        companion.unlink(missing_ok=True)
        move_to(self.path, kept.path)
        known = {
            each.name: getattr(kept, each.name)
            for each in fields(kept)
            # what a server does not tell is left out, as files of older versions have it
            if each.name != "path"
            and (each.name not in {"etag", "modified"} or getattr(kept, each.name))
        }
        # its folder has been made and swept for the file itself
        with temporary_beside(companion, swept=True) as temporary:
            temporary.write_bytes(_encoded(known))
            move_to(temporary, companion)
        return kept


class Cache:
    """Verified files under one folder.

    Parameters
    ----------
    root : pathlib.Path
        The folder; made when the first file is written.
    allens : bool
        Whether it is meant for what the Allen Institute's own hosts answer: files whose content is
        known must be those.
    """

    def __init__(self, root: Path, *, allens: bool = True) -> None:
        self.root = Path(root)
        self.allens = allens
        self._images = os.path.join(self.root, "images")
        self._marker = os.path.join(self.root, MARKER)
        self._marked: tuple[int, ...] | None = None  # what the marker looked like when it was right

    def image_path(
        self,
        image_id: int,
        downsample: int,
        *,
        expression: bool = False,
        origin: Origin = "api",
    ) -> Path:
        """Return where an image is, or would be."""
        name = f"{downsample}{'-expression' if expression else ''}{ENDINGS[origin]}"
        # one string: joining a `Path` part by part takes several times as long
        return Path(f"{self._images}/{image_id // 1000}/{image_id}/{name}")

    def old_image_path(self, image_id: int, downsample: int, *, expression: bool = False) -> Path:
        """Return where atldld 0.3 kept an image in the same folder."""
        return self.root / f"{image_id}-{downsample}{'-expression' if expression else ''}.jpg"

    def check_folder(self) -> None:
        """Say what keeps the folder from being one, if anything does; it need not be there.

        Raises
        ------
        CacheError
            If it is a file, or lies below one, or cannot be looked into.
        """
        try:
            if stat.S_ISDIR(self.root.stat().st_mode):
                os.scandir(self.root).close()
                return
            problem = "it is a file, not a folder"
        except FileNotFoundError:
            return
        except NotADirectoryError:
            problem = "a part of its name is a file, not a folder"
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
        raise CacheError(f"The cache at {self.root} cannot be used: {problem}.", hint=_ELSEWHERE)

    def check_version(self) -> None:
        """Refuse a folder that a newer version has made, or that is something else.

        Raises
        ------
        CacheError
            If a newer version has made it, or something else.
        """
        self._check_marker()

    def _check_marker(self) -> bool:
        """Return whether the marker is there; refuse one that this version does not know.

        Every file that is written needs that, so a marker is read again only if it looks different.
        """
        seen: tuple[int, ...] = ()
        with suppress(OSError):
            facts = os.stat(self._marker)
            seen = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        if seen and seen == self._marked:
            return True
        # a marker that is missing or torn, as by a power cut, says nothing and is written anew
        found = read_json(self.root / MARKER)
        if found and found != FORMAT:
            raise CacheError(
                f"{self.root} holds an archive that this version of atldld does not know: {found}.",
                hint=f"Use a newer atldld, or another folder with {Remedy.CACHE_DIR}. Nothing was "
                "changed.",
            )
        self._marked = seen if found else None
        return bool(found)

    def find_image(
        self,
        image_id: int,
        downsample: int,
        *,
        expression: bool = False,
        origins: Sequence[Origin] = ("api", "bucket"),
    ) -> CachedImage | None:
        """Return a verified image of the first origin of which there is one, or `None`.

        A file without its companion, or of another length than its companion says, does not
        count.

        Raises
        ------
        CacheError
            If one is there that may not be read.
        """
        from atldld.fetch.kept import CachedImage  # not for lists, which verify nothing

        for origin in origins:
            path = self.image_path(image_id, downsample, expression=expression, origin=origin)
            known = read_json(companion_of(path))
            with suppress(TypeError):
                image = CachedImage(path=path, **known)
                if _has_bytes(path, image.bytes):
                    return image
        return None

    @contextmanager
    def new_image(
        self, image_id: int, downsample: int, *, expression: bool = False, settled: bool = False
    ) -> Iterator[Arriving[ImageFacts, CachedImage]]:
        """Give a place for an image to arrive at.

        No other process or thread is given the same image in the meantime. After having waited,
        look with `find_image` whether there is anything left to do. What is not kept is removed.
        Where it is kept, its bytes say: images of the service are JPEGs, those of the public
        bucket TIFFs.

        Parameters
        ----------
        image_id, downsample, expression
            Which image.
        settled : bool
            Whether the caller keeps others from it, with `settled_group`.
        """
        from atldld.fetch.kept import CachedImage

        final = self.image_path(image_id, downsample, expression=expression)

        def kept(facts: ImageFacts, size: int, origin: Origin) -> CachedImage:
            path = final
            if origin != "api":
                path = self.image_path(image_id, downsample, expression=expression, origin=origin)
            return CachedImage(
                path,
                facts.width,
                facts.height,
                size,
                facts.sha256,
                shown_address(facts.url),
                facts.fetched or _now(),
                facts.dataset_id,
            )

        with ExitStack() as stack:
            if not settled:
                stack.enter_context(self._locked(image_id, f"Section image {image_id}"))
            yield Arriving(*stack.enter_context(self._writing(final)), kept)

    def file_path(self, name: str) -> Path:
        """Return where another file is, or would be.

        Parameters
        ----------
        name : str
            The path of its address, such as ``"grid_data/download/69289763.zip"``.
        """
        parts = name.strip("/").split("/")
        if not all(_PART.fullmatch(part) for part in parts):
            raise CacheError(f"{name!r} is no name of a file in the cache.")
        return self.root.joinpath("files", *parts)

    def find_file(self, name: str) -> CachedFile | None:
        """Return another file that was verified, or `None`; see `file_path` and `find_image`."""
        from atldld.fetch.kept import CachedFile

        path = self.file_path(name)
        try:
            file = CachedFile(path=path, **read_json(companion_of(path)))
            return file if _has_bytes(path, file.bytes) else None
        except TypeError:
            return None

    def still_the_same(self, name: str) -> CachedFile | None:
        """Note down that the server has just been asked, and has no other version of a file."""
        path = self.file_path(name)
        known = read_json(companion_of(path))
        if known:
            self.write_json(companion_of(path), {**known, "fetched": _now()})
        return self.find_file(name)

    @contextmanager
    def new_file(self, name: str) -> Iterator[Arriving[FileFacts, CachedFile]]:
        """Give a place for another file to arrive at; see `new_image`."""
        from atldld.fetch.kept import CachedFile

        final = self.file_path(name)

        def kept(facts: FileFacts, size: int, _: Origin) -> CachedFile:
            url = shown_address(facts.url)
            when = facts.fetched or _now()
            return CachedFile(final, size, facts.sha256, url, when, facts.etag, facts.modified)

        number = zlib.crc32(name.encode())
        with self._locked(number, name), self._writing(final) as new:
            yield Arriving(*new, kept)

    def read_document(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return a JSON document (``kind`` is ``"datasets"`` or ``"queries"``), or `None`."""
        return read_json(self.root / kind / f"{name}.json") or None

    def has_document(self, kind: str, name: str) -> bool:
        """Whether a file is there for `read_document`, whatever it holds."""
        return os.path.isfile(self.root / kind / f"{name}.json")

    def write_document(self, kind: str, name: str, document: Mapping[str, Any]) -> None:
        """Write a JSON document, with the time under ``"fetched"``."""
        self.write_json(self.root / kind / f"{name}.json", {**document, "fetched": _now()})

    def document_names(self, kind: str) -> list[str]:
        """Return the names of the documents of a kind, sorted.

        Other files that lie there, such as those that are being written, are left out.
        """
        names = (
            file.name.removeprefix(f"{kind}/").removesuffix(".json")
            for file in self.files(kind)
            if file.name.endswith(".json")
        )
        return sorted(name for name in names if _DOCUMENT[kind].fullmatch(name))

    def files(self, folder: str = "", *, without: str | None = None) -> Iterator[FileHeld]:
        """Yield every file of the cache that is there when its folder's turn comes, in no order.

        Others may remove files in the meantime: what is gone is left out.

        Parameters
        ----------
        folder : str
            Only those below this one.
        without : str, optional
            But not those below this one.

        Raises
        ------
        CacheError
            If a folder cannot be looked into.
        """
        self.check_folder()
        left = [folder]
        while left:
            found = self.look_into(left.pop())
            yield from found.files
            left += (name for name in found.folders if name != without)

    def look_into(self, folder: str) -> FolderHeld:
        """Return the files and folders of one folder; see `files`."""
        # names alone: a `Path` for each of many files takes longer than to look at it
        before = f"{folder}/" if folder else ""
        files, folders, plain = [], [], True
        try:
            with os.scandir(f"{os.fspath(self.root)}/{folder}") as found:
                entries = list(found)
        except (FileNotFoundError, NotADirectoryError):
            return FolderHeld([], [], plain=False)
        except OSError as error:
            raise CacheError(
                f"{error.filename} cannot be read: {error.strerror or error}.",
                hint="Make it readable, or remove it: what was there is fetched again.",
            ) from error
        for entry in entries:
            plain &= entry.is_file(follow_symlinks=False)
            try:
                if entry.is_dir():
                    if not entry.is_symlink():
                        folders.append(before + entry.name)
                    continue
                facts = entry.stat()
            except OSError:
                plain = False
                continue
            if stat.S_ISREG(facts.st_mode):
                files.append(
                    FileHeld(self.root, before + entry.name, facts.st_size, facts.st_mtime)
                )
        return FolderHeld(files, folders, plain)

    def size(self) -> tuple[int, int]:
        """Return the number of files and their bytes."""
        sizes = [file.bytes for file in self.files() if not file.name.startswith(MADE_ANEW)]
        return len(sizes), sum(sizes)

    def settled(self, image_id: int) -> AbstractContextManager[None]:
        """Wait until nobody is writing an image, and keep others from it.

        A cache that cannot be written is settled as it is.
        """
        return self._settled(image_id, f"Section image {image_id}")

    @staticmethod
    def group_of(image_id: int) -> int:
        """Return the number that an image shares with the others of `settled_group`."""
        return image_id % LOCKS

    def settled_group(self, group: int) -> AbstractContextManager[None]:
        """Keep others from all images of a group, for who writes many; see `group_of`.

        Raises
        ------
        CacheError
            If the cache cannot be written, or is of a newer version.
        """
        return self._locked(group, "A group of section images")

    def settled_file(self, name: str) -> AbstractContextManager[None]:
        """Wait until nobody is writing another file; see `settled`."""
        return self._settled(zlib.crc32(name.encode()), name)

    @contextmanager
    def _settled(self, number: int, what: str) -> Iterator[None]:
        with ExitStack() as stack:
            with suppress(CacheError):
                stack.enter_context(self._locked(number, what))
            yield

    def write_json(self, path: Path, document: Mapping[str, Any]) -> None:
        """Write a JSON file of the archive, whole or not at all."""
        with self._writing(path) as (file, temporary):
            file.write(_encoded(document))
            file.close()
            move_to(temporary, path)

    @contextmanager
    def _locked(self, number: int, what: str) -> Iterator[None]:
        """Keep others from fetching the same file."""
        self.check_version()
        with ExitStack() as stack:
            with self.errors():
                stack.enter_context(
                    locked(self.root / "locks" / f"{number % LOCKS:02x}.lock", what)
                )
            yield

    @contextmanager
    def _writing(self, path: Path) -> Iterator[tuple[BinaryIO, Path]]:
        with self.errors():
            if not self._check_marker():
                self.root.mkdir(parents=True, exist_ok=True)
                with temporary_beside(self.root / MARKER) as marker:
                    marker.write_bytes(_encoded(FORMAT) + b"\n")
                    move_to(marker, self.root / MARKER)
            fresh = _made(path.parent)
            with temporary_beside(path, swept=fresh) as temporary, open(temporary, "w+b") as file:
                yield file, temporary

    def errors(self) -> AbstractContextManager[None]:
        """Turn what the system says against writing into a `CacheError`."""
        return write_errors(
            f"The cache at {self.root}",
            CacheError,
            hint=f"Another folder is chosen with {Remedy.CACHE_DIR} or ATLDLD_CACHE_DIR. What was "
            "there is untouched.",
        )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    import hashlib  # with OpenSSL; lists of the cache need none

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def companion_of(path: Path) -> Path:
    """Return where the facts about an image stand."""
    return path.with_name(path.name + ".json")


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, or an empty one where there is none.

    Raises
    ------
    CacheError
        If a file is there that may not be read: what cannot be read is not missing.
    """
    try:
        document = parse_json(path.read_bytes())
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (OSError, DocumentError):
        return {}
    return document if isinstance(document, dict) else {}


def _encoded(document: Mapping[str, Any]) -> bytes:
    import json  # which lists of the cache do without

    return json.dumps(document).encode()


def origin_of(path: Path) -> Origin:
    """Return whose pixels an image file has, which its first bytes tell."""
    with open(path, "rb") as file:
        return origin_in(file)


def origin_in(file: BinaryIO) -> Origin:
    """Return whose pixels the image file has that is open at its beginning."""
    return "bucket" if file.read(len(_TIFF)) == _TIFF else "api"


def _made(folder: Path) -> bool:
    """Make a folder if need be; return whether it was not there."""
    try:
        os.mkdir(folder)
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        if not os.path.isdir(folder):  # as nearly always; some systems say that it is read-only
            raise
        return False
    return True


def unreadable(path: Path, error: OSError) -> CacheError:
    """Return the error that says why a file of the cache cannot be read, and what would help."""
    return CacheError(
        f"{path} is in the cache, but cannot be read: {error.strerror or error}.",
        hint="Make it readable, or remove it: it is fetched again when it is needed.",
    )


def _has_bytes(path: Path, count: object) -> bool:
    """Whether a file is there, may be read, and has so many bytes."""
    try:
        size = path.stat().st_size
    except PermissionError as error:
        raise unreadable(path, error) from None
    except OSError:
        return False
    if not os.access(path, os.R_OK):
        raise unreadable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return size == count


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="seconds")
