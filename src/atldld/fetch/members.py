"""The files of an archive that came from others: a folder or a ZIP file, read without belief.

Nothing outside the archive is ever read or named: links of any kind are not followed, what is no
ordinary file is not opened, and a name that is not plainly that of a file inside does not exist.
What is read is bounded before it is read.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from atldld.errors import CacheError, InvalidInputError, Remedy
from atldld.fetch.cache import FORMAT, MARKER
from atldld.support.documents import DocumentError, parse_as
from atldld.support.files import check_file

__all__ = [
    "LARGEST_DOCUMENT",
    "LARGEST_IMAGE",
    "FolderMembers",
    "Member",
    "Members",
    "ZipMembers",
    "check_marker",
    "decode",
    "facts_of",
    "opened_members",
]

T = TypeVar("T")

LARGEST_IMAGE = 256 << 20
LARGEST_DOCUMENT = 32 << 20
LARGEST_COMPANION = 64 << 10
MOST_MEMBERS = 500_000
LARGEST_DIRECTORY = 48 << 20  # of a ZIP file, in bytes
LARGEST_MEMORY = 200 << 20  # of a document, once it is read
# What is exported is stored, and other tools make JSON a tenth of its size at best.
UNPACKS_TO = 20
UNPACKS_TO_AT_LEAST = 1 << 30
CHUNK = 1 << 20

# Windows opens a device by these names, whatever the ending, and leaves dots at the end out.
_DEVICE = r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.[^/]*)?(?:/|\Z)"
_PART = rf"(?!{_DEVICE})[a-z0-9][a-z0-9._-]{{0,127}}(?<!\.)"
_PLAIN = re.compile(rf"{_PART}(?:/{_PART}){{0,13}}", re.ASCII | re.IGNORECASE)
_KINDS = {
    stat.S_IFLNK: "a link, which is not followed",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive.

    Attributes
    ----------
    name : str
        Its path in the archive, with ``/``.
    size : int
        How long it says that it is, in bytes.
    changed : float
        When it was changed, in seconds since 1970.
    open : callable
        Opens it for reading.
    seekable : bool
        Whether it can be read from anywhere at no cost.
    """

    name: str
    size: int
    changed: float
    open: Callable[[], IO[bytes]]
    seekable: bool

    def chunks(self, largest: int) -> Iterator[bytes]:
        """Yield its bytes: as many as it says, and no more than are allowed.

        Raises
        ------
        InvalidInputError
            If there are more or fewer, or they cannot be read.
        """
        if self.size > largest:
            raise InvalidInputError(f"it announces {self.size} bytes, more than {largest}")
        length = 0
        try:
            with self.open() as file:
                while chunk := file.read(CHUNK):
                    length += len(chunk)
                    if length > self.size:
                        raise InvalidInputError("it is longer than it announces")
                    yield chunk
        except InvalidInputError:
            raise
        except OSError as error:
            raise InvalidInputError(f"it cannot be read: {error.strerror or error}") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise InvalidInputError(f"it cannot be read: {error}") from None
        if length < self.size:
            raise InvalidInputError("it is shorter than it announces")

    def read(self, largest: int) -> bytes:
        """Return its bytes; see `chunks`."""
        return b"".join(self.chunks(largest))


class Members(Protocol):
    """The files of an archive, by their names."""

    def get(self, name: str) -> Member | None:
        """Return a file, or `None` where there is no ordinary file of that name inside."""

    def names(self, below: str = "") -> Iterator[str]:
        """Yield the names of the files, or of those in a folder."""

    def stamp(self, below: str) -> object:
        """Return something that changes when files come into a folder or are replaced there."""

    def left_out(self) -> Iterator[tuple[str, str]]:
        """Yield what is there and is no ordinary file inside, and what it is instead."""

    def close(self) -> None:
        """Let go of it."""


class FolderMembers:
    """A folder; it may change in the meantime.

    Parameters
    ----------
    root : pathlib.Path
        The folder. It may itself be a link; nothing below it may.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._inside: tuple[str, str] | None = None

    def get(self, name: str) -> Member | None:
        """Return a file, or `None` where there is no ordinary file of that name inside."""
        if not _is_plain(name):
            return None
        try:
            folder, _, last = name.rpartition("/")
            path = os.path.join(self._folder(folder), last)
            found = os.lstat(path)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return Member(name, found.st_size, found.st_mtime, lambda: _open(path), seekable=True)

    def _folder(self, name: str) -> str:
        """Return the path of a folder that lies inside, with no link on the way there.

        An image's folder is asked for once for each of its files, one after the other.

        Raises
        ------
        OSError
            If it does not.
        """
        known = self._inside  # which other threads may replace
        if known is not None and known[0] == name:
            return known[1]
        root = os.path.realpath(self.root)
        inside = os.path.join(root, *name.split("/")) if name else root
        # a link anywhere on the way, or another name of the same folder, ends elsewhere
        if os.path.realpath(inside) != inside:
            raise OSError(f"{name} is a link")
        self._inside = name, inside
        return inside

    def names(self, below: str = "") -> Iterator[str]:
        """Yield the names of the files, or of those in a folder, sorted by folder."""
        return (name for name, problem in self._walk(below) if problem is None)

    def left_out(self) -> Iterator[tuple[str, str]]:
        """Yield what is there and is no ordinary file inside, and what it is instead."""
        return ((name, problem) for name, problem in self._walk("") if problem is not None)

    def listed(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Return `names` and `left_out`, for one look at each folder."""
        names, wrong = [], []
        for name, problem in self._walk(""):
            if problem is None:
                names.append(name)
            else:
                wrong.append((name, problem))
        return names, wrong

    def stamp(self, below: str) -> object:
        """Return the time of a folder, which changes as files come and go."""
        try:
            return os.lstat(self.root / below).st_mtime_ns
        except OSError:
            return None

    def close(self) -> None:
        """Let go of it."""

    def _walk(self, below: str) -> Iterator[tuple[str, str | None]]:
        """Yield names with what is wrong with them. Folders are entered, links never."""
        if below and os.path.realpath(self.root / below) != os.path.join(
            os.path.realpath(self.root), below
        ):
            return
        waiting, count = [below], 0
        while waiting:
            folder = waiting.pop()
            try:
                entries = sorted(os.scandir(self.root / folder), key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = f"{folder}/{entry.name}" if folder else entry.name
                # what the folder itself says, which needs no look at the file
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)
                    continue
                count += 1
                if count > MOST_MEMBERS:
                    raise _too_many(self.root)
                if not entry.is_file(follow_symlinks=False):
                    try:
                        mode = entry.stat(follow_symlinks=False).st_mode
                    except OSError:
                        continue
                    yield name, f"it is {_KINDS.get(stat.S_IFMT(mode), 'no ordinary file')}"
                elif not _is_plain(name):
                    yield name, "its name is none of an archive's"
                else:
                    yield name, None


class ZipMembers:
    """A ZIP file.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Raises
    ------
    CacheError
        If it is no ZIP file, or one that would unpack to far more than it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._wrong: list[tuple[str, str]] = []
        try:
            file = _Bounded(open(self.path, "rb"), self.path)  # noqa: SIM115 - kept open
        except OSError as error:
            raise CacheError(
                f"{path} is neither a folder nor a ZIP file: {error.strerror or error}."
            ) from None
        try:
            self._archive = zipfile.ZipFile(file)
            file.opening = False
            self._infos = self._checked(os.fstat(file.fileno()).st_size)
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            file.close()
            if isinstance(error, CacheError):
                raise
            raise CacheError(f"{path} is neither a folder nor a ZIP file: {error}.") from None
        except BaseException:
            file.close()
            raise
        self._file = file

    def get(self, name: str) -> Member | None:
        """Return a file, or `None` where there is no ordinary file of that name inside."""
        info = self._infos.get(name)
        if info is None:
            return None

        def open_() -> IO[bytes]:
            return self._archive.open(info)

        try:
            changed = datetime(*info.date_time).timestamp()
        except (ValueError, OverflowError, OSError):
            changed = 0.0
        return Member(name, info.file_size, changed, open_, seekable=False)

    def names(self, below: str = "") -> Iterator[str]:
        """Yield the names of the files, or of those in a folder."""
        start = f"{below}/" if below else ""
        return (name for name in self._infos if name.startswith(start))

    def left_out(self) -> Iterator[tuple[str, str]]:
        """Yield what is there and is no ordinary file inside, and what it is instead."""
        return iter(self._wrong)

    def listed(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Return `names` and `left_out`."""
        return list(self._infos), list(self._wrong)

    def stamp(self, below: str) -> object:
        """Return the same each time: a ZIP file does not change."""
        return self.path

    def close(self) -> None:
        """Let go of it."""
        self._archive.close()
        self._file.close()

    def _checked(self, length: int) -> dict[str, zipfile.ZipInfo]:
        """Return the members by name, and remember those that are none."""
        infos = [info for info in self._archive.infolist() if not info.is_dir()]
        if sum(info.compress_size for info in infos) > length:
            raise CacheError(f"The members of {self.path} lie over each other; nothing is taken.")
        unpacked = sum(info.file_size for info in infos)
        if unpacked > max(length * UNPACKS_TO, UNPACKS_TO_AT_LEAST):
            raise CacheError(
                f"{self.path} has {length} bytes and would unpack to {unpacked}; nothing is taken."
            )
        found: dict[str, zipfile.ZipInfo] = {}
        # the same name twice, or two names that are one on some systems: nobody knows which counts
        counts: dict[str, int] = {}
        for info in infos:
            folded = info.filename.casefold()
            counts[folded] = counts.get(folded, 0) + 1
        for info in infos:
            name = info.filename
            problem = _problem_of(info)
            if problem is None and counts[name.casefold()] > 1:
                problem = "there are several files of this name"
            if problem is None:
                found[name] = info
            else:
                self._wrong.append((info.orig_filename, problem))
        return found


class _Bounded:
    """A file that refuses to be a ZIP file with a huge directory, before that is in memory."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self.opening = True

    def read(self, size: int = -1) -> bytes:
        if not self.opening:
            return self._file.read(size)
        if size > LARGEST_DIRECTORY:
            raise _too_many(self._path)
        content = self._file.read(size)
        if content.count(b"PK\x01\x02") > MOST_MEMBERS:
            raise _too_many(self._path)
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def opened_members(source: Path) -> FolderMembers | ZipMembers:
    """Open a folder or a ZIP file.

    Raises
    ------
    CacheError
        If it is neither.
    """
    if source.is_dir():
        return FolderMembers(source)
    try:
        check_file(source)  # reading a pipe would wait for ever
    except InvalidInputError as error:
        raise CacheError(
            error.message, hint="An archive is a folder or a ZIP file that was exported."
        ) from None
    return ZipMembers(source)


def _problem_of(info: zipfile.ZipInfo) -> str | None:
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode not in (0, stat.S_IFREG):
        return f"it is {_KINDS.get(mode, 'no ordinary file')}"
    if info.orig_filename != info.filename or not _is_plain(info.filename):
        return "its name is none of an archive's"
    if info.flag_bits & 0x1:
        return "it is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "it is compressed as no archive is"
    return None


def _is_plain(name: str) -> bool:
    """Whether a name is plainly that of a file inside, on any system."""
    return _PLAIN.fullmatch(name) is not None


def _too_many(path: Path) -> CacheError:
    return CacheError(
        f"{path} holds more than {MOST_MEMBERS} files, more than an archive may; nothing is taken.",
        hint=f"Export fewer data sets at a time with {Remedy.DATASETS}.",
    )


def _open(path: str) -> IO[bytes]:
    """Open an ordinary file; what has become something else since it was looked at is refused."""
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no ordinary file")
    # it is read in large pieces, which no buffer would make larger
    return os.fdopen(descriptor, "rb", buffering=0)


# ---- what the archive says


def decode(content: bytes, kind: type[T]) -> T:
    """Read JSON that others wrote as what it should be.

    Raises
    ------
    InvalidInputError
        If it is something else, or would cost too much memory.
    """
    try:
        return parse_as(content, kind, memory=LARGEST_MEMORY)
    except DocumentError as error:
        raise InvalidInputError(f"it {error}") from None


def facts_of(members: Members, name: str, kind: type[T]) -> T:
    """Return what the companion of a member says.

    Raises
    ------
    InvalidInputError
        If there is none, or it does not say what it should.
    """
    companion = members.get(f"{name}.json")
    if companion is None:
        raise InvalidInputError("nothing is known of where it came from")
    try:
        return decode(companion.read(LARGEST_COMPANION), kind)
    except InvalidInputError as error:
        raise InvalidInputError(f"its companion cannot be used: {error.message}") from None


def check_marker(root: Path, members: Members) -> None:
    """Refuse an archive that this version does not know.

    Raises
    ------
    CacheError
        If it is one, or a ZIP file that is no archive.
    """
    marker = members.get(MARKER)
    # a cache whose marker is missing or torn, as by a power cut, says nothing
    try:
        found = {} if marker is None else decode(marker.read(1 << 16), dict)
    except InvalidInputError:
        found = {}
    if found and found != FORMAT:
        raise CacheError(
            f"{root} holds an archive that this version of atldld does not know: {found!r:.100}.",
            hint="Use a newer atldld, or another archive. Nothing was changed.",
        )
    if not found and not Path(root).is_dir():
        raise CacheError(f"{root} is no archive of atldld (it has no {MARKER}).")
