"""Writing files: whole or not at all, nobody's without being asked, and nothing left behind.

Whatever is written is made under a temporary name beside its target and moved when it is whole.
Temporary names tell who is writing::

    .<process id>@<machine>-<random>.part<ending>    what is being written: a file or a folder
    .<process id>@<machine>-<random>.old/            what is being replaced, while it is

So the next run that writes into the same folder can tell what a killed run has left there: it
removes the first kind, and puts the second back unless something new stands in its place. Files
that belong together have their names in the second kind, too, so that it can take back those that
a killed run has moved to their places before the one that matters most.

What speaks against writing is said by `check_targets` and `check_folder`, before any work is done;
what goes wrong in spite of that becomes one sentence in `write_errors`.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from atldld.errors import AtldldError, InvalidInputError, OutputError, Remedy
from atldld.support.processes import is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

    from atldld.errors import CacheError

__all__ = [
    "OnlyWrites",
    "check_file",
    "check_folder",
    "check_space",
    "check_targets",
    "is_left_over",
    "make_folder",
    "move_to",
    "nameless_file",
    "read_errors",
    "scratch_folder",
    "sidecar_of",
    "sweep",
    "temporary_beside",
    "whole_file",
    "whole_files",
    "whole_folder",
    "write_errors",
]

LEFT_OVER_AFTER = 86_400.0
"""Seconds after which a temporary file of another machine counts as left over."""

# What a folder must hold to be replaced: nobody's folder of other things is deleted for having an
# unlucky name.
_STORES = ("zarr.json", ".zgroup", ".zarray", "atldld-archive.json", "atldld-fields.json")

_WHOLE_MACHINE = 0xEFFFFFFC  # what Linux calls the process ids that no container has for itself


def _here() -> str:
    """Return a name for where process ids are valid: this machine, or this container on it."""
    name = re.sub(r"[^A-Za-z0-9]", "", platform.node())[:32] or "here"
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # no Linux
        return name
    return name if namespace == _WHOLE_MACHINE else f"{name}x{namespace}"


_HOST = _here()
_PART, _OLD = ".part", ".old"
_MOVES = ".moves"  # in the second kind: files that are moved together, the one that matters first
_TEMPORARY = re.compile(
    r"\.(?P<pid>\d{1,10})@(?P<host>[A-Za-z0-9]+)-[0-9a-f]{8}(\.part.*|\.old)", re.DOTALL
)
_STARTED = time.time()
_in_use: set[str] = set()  # names of this process

_SPACE = "Free some space or choose another folder."
_RIGHTS = "Choose a folder that you may write to."
_HINTS = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "Choose a folder on a disk that takes files of this size.",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.EIO: "The disk or the way to it is failing: see the system's log, or use another one.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOTDIR: "A part of the path is a file: choose another folder.",
    errno.ELOOP: "The path leads through links in a circle: choose another one.",
    errno.EMFILE: f"Too many files are open: use fewer {Remedy.JOBS}, or raise the limit (`ulimit "
    "-n`).",
}


# ---- what goes wrong


@contextmanager
def write_errors(
    what: str | Path,
    kind: type[OutputError | CacheError] = OutputError,
    *,
    hint: str = "",
) -> Iterator[None]:
    """Turn the system's errors of writing into one sentence.

    Parameters
    ----------
    what : str or pathlib.Path
        What is written, as the beginning of the sentence.
    kind : type
        `OutputError` or `CacheError`.
    hint : str
        What to do next, after what the kind of error calls for.

    Raises
    ------
    OutputError, CacheError
        If it cannot be written. Errors of this package, and of connections, pass.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, AtldldError | ConnectionError):
            raise
        if isinstance(error, TimeoutError) and error.errno is None:
            raise  # a failed request, not a failed file
        raise _error_of(what, error, kind, hint) from error


def _error_of(
    what: str | Path,
    error: OSError,
    kind: type[OutputError | CacheError] = OutputError,
    hint: str = "",
) -> OutputError | CacheError:
    # libraries pass the system's message on inside of theirs, over several lines at times
    why = error.strerror or " ".join(str(error).split()) or type(error).__name__
    advice = _HINTS.get(error.errno or 0, "Look whether the disk is sound and has space.")
    return kind(f"{what} cannot be written: {why.rstrip('.')}.", hint=f"{advice} {hint}".strip())


@contextmanager
def read_errors(what: str | Path, kind: type[AtldldError] = InvalidInputError) -> Iterator[None]:
    """Turn the system's errors of reading into one sentence.

    What libraries say of a file's content, as `gzip.BadGzipFile`, passes.

    Parameters
    ----------
    what : str or pathlib.Path
        What is read, as the beginning of the sentence.
    kind : type
        Of the error.

    Raises
    ------
    AtldldError
        If it cannot be read; of the kind asked for, with the system's error as its cause.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, AtldldError) or error.errno is None:
            raise
        hint = _HINTS[errno.EIO] if error.errno == errno.EIO else None
        raise kind(f"{what} cannot be read: {error.strerror}.", hint=hint) from error


# ---- what can be said before


def check_file(path: Path, *, largest: int | None = None) -> None:
    """Check that a path is a file that can be read, and not a folder, a device or a pipe.

    Reading a pipe would wait for ever.

    Parameters
    ----------
    path : pathlib.Path
        The file; links are followed.
    largest : int, optional
        Bytes that it may have.

    Raises
    ------
    InvalidInputError
        If there is no such file, or it is empty or has more bytes.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{path} cannot be read: {reason}.") from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
        raise InvalidInputError(f"{path} is {kind}, but must be a file.")
    if not found.st_size:
        raise InvalidInputError(f"{path} is empty.")
    if largest is not None and found.st_size > largest:
        raise InvalidInputError(
            f"{path} has {found.st_size} bytes, but no more than {largest} are read."
        )


def check_targets(
    paths: Iterable[str | Path], *, force: bool, store: bool = False, needed: int = 0
) -> None:
    """Check that files can be written, before any work is done.

    Parameters
    ----------
    paths : iterable of path
        What will be written.
    force : bool
        Whether what is there may be replaced.
    store : bool
        Whether they will be folders, such as OME-Zarr stores.
    needed : int
        Bytes that all of them will surely take.

    Raises
    ------
    InvalidInputError
        If a name is not valid on every system.
    OutputError
        If a target exists and `force` is false, is not a file, or cannot be written.
    """
    folders: dict[Path, Path] = {}
    for path in map(Path, paths):
        _check_name(path)
        folder = _followed(path).parent
        if folder not in folders:
            sweep(folder)  # what a killed run was replacing is there, too
        with write_errors(path):
            _check_target(path, force=force, store=store)
        folders.setdefault(folder, path)
    for folder, path in folders.items():
        _check_nearest(path, folder)
        check_space(path, needed)


def check_folder(folder: str | Path) -> None:
    """Check that files can be written into a folder, before any work is done.

    Parameters
    ----------
    folder : path
        It need not be there yet.

    Raises
    ------
    InvalidInputError
        If the folder's name is not valid on every system.
    OutputError
        If the folder is a file, or cannot be made or written to.
    """
    folder = Path(folder)
    _check_name(folder, is_folder=True)
    sweep(folder)
    _check_nearest(folder, folder)


def check_space(path: str | Path, needed: int) -> None:
    """Check that the disk has enough space.

    Parameters
    ----------
    path : path
        Where it will be written.
    needed : int
        Bytes that it will surely take.

    Raises
    ------
    OutputError
        If the disk has less space.
    """
    if not needed:
        return
    try:
        import shutil  # with what unpacks archives, which most commands never need

        free = shutil.disk_usage(_nearest(Path(path))).free
    except OSError:
        return  # nobody knows, as on some network disks
    if free < needed:
        raise OutputError(
            f"{path} takes {needed / 1e6:,.1f} MB at least, but {free / 1e6:,.1f} MB are free "
            "there.",
            hint=_SPACE,
        )


def _check_name(path: Path, *, is_folder: bool = False) -> None:
    text = str(path)
    if "\0" in text or not (path.name or is_folder):
        raise InvalidInputError(f"{text!r} names no file.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            f"The name {text.encode('utf-8', 'backslashreplace').decode()} is no UTF-8, so it "
            "cannot be written into reports and tables.",
            hint="Choose another name.",
        ) from None


def _check_target(path: Path, *, force: bool, store: bool) -> None:
    """Refuse a target that is there and may not be replaced."""
    mode = _mode_of(path)
    if mode is None:
        return
    if stat.S_ISDIR(mode) and not store:
        raise OutputError(f"{path} is a folder, but must be a file.", hint="Choose another name.")
    if stat.S_ISDIR(mode) and not any(os.path.isfile(path / marker) for marker in _STORES):
        raise OutputError(
            f"{path} is there and is no Zarr store, no archive and no fields of a registration, so "
            "it is not replaced.",
            hint="Choose another name.",
        )
    if store and not stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a file, but must be a folder.", hint="Choose another name.")
    if not store and not stat.S_ISREG(mode):
        raise OutputError(f"{path} is no regular file.", hint="Choose another name.")
    if not force:
        raise OutputError(
            f"{path} is there already.",
            hint=f"Choose another name, or replace it with {Remedy.FORCE}.",
        )


def _mode_of(path: Path) -> int | None:
    """Return what is at a path, or nothing; a link that leads nowhere is nothing."""
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _nearest(folder: Path) -> Path:
    """Return the nearest folder above that exists, or whatever exists in its place."""
    while _mode_of(folder) is None and folder != folder.parent:
        folder = folder.parent
    return folder


def _check_nearest(path: Path, folder: Path) -> None:
    """Refuse a folder that cannot be made or written; by trying, since rights are not all."""
    with write_errors(path):
        nearest = _nearest(folder)
    if not os.path.isdir(nearest):
        if nearest == path:
            raise OutputError(
                f"{path} is a file, but must be a folder.", hint="Choose another name."
            )
        raise OutputError(
            f"{path} cannot be written: {nearest} is a file.", hint="Choose another folder."
        )
    try:
        with temporary_beside(nearest / "probe") as probe:
            probe.touch(exist_ok=False)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise OutputError(
                f"{path} cannot be written: {nearest} is read-only ({error.strerror}).",
                hint=_RIGHTS,
            ) from error
        raise _error_of(path, error) from error


# ---- writing


def sidecar_of(path: Path) -> Path:
    """Return where the provenance of a file goes that cannot hold its own: ``<name>.json``."""
    return path.with_name(path.name + ".json")


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, if need be.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def whole_file(
    path: str | Path,
    ending: str | None = None,
    *,
    force: bool,
    sync: bool = True,
    kind: type[OutputError | CacheError] = OutputError,
    hint: str = "",
) -> Iterator[Path]:
    """Yield a temporary path beside a file, and move it over the file if all goes well.

    Parameters
    ----------
    path : path
        The file; its folder is made if need be. Where it is a link, what that leads to.
    ending : str, optional
        What the temporary name ends in; libraries choose the format by it, and some, such as
        ``.nii.gz``, are longer than a suffix.
    force : bool
        Whether a file that is there may be replaced.
    sync : bool
        Have it on the disk, not only on its way there, before it is moved: for what is written
        once. Files that something else vouches for need not wait.
    kind, hint : optional
        See `write_errors`.

    Raises
    ------
    OutputError, CacheError
        If the file cannot be written, or exists and `force` is false. What was there is untouched.
    """
    with _whole(
        [Path(path)], [ending], force=force, sync=sync, store=False, kind=kind, hint=hint
    ) as (temporary,):
        yield temporary


@contextmanager
def whole_folder(
    path: str | Path, ending: str = "", *, force: bool, sync: bool = True
) -> Iterator[Path]:
    """Yield the path of a temporary folder, and put it in a store's place if all goes well.

    Raises
    ------
    OutputError
        If the folder cannot be written, or exists and is not a store or `force` is false. What was
        there is untouched.
    """
    with _whole([Path(path)], [ending], force=force, sync=sync, store=True) as (temporary,):
        yield temporary


@contextmanager
def whole_files(
    paths: Sequence[str | Path],
    ending: str | None = None,
    *,
    force: bool,
    store: bool | Sequence[bool] = False,
    without: Sequence[str | Path] = (),
) -> Iterator[list[Path]]:
    """Yield temporary paths for files that belong together, and move all of them or none.

    That holds for a run that is killed in between, too, once something is written there again.

    Parameters
    ----------
    paths : sequence of path
        Files of one folder; the one that matters most comes first, and is moved last.
    ending : str, optional
        What temporary names end in; each file's own suffix by default.
    force : bool
        Whether files that are there may be replaced.
    store : bool or sequence of bool
        Whether they are folders; each of them, or all.
    without : sequence of path
        Folders of the same folder that belonged to the files that are replaced, and go with them.

    Raises
    ------
    OutputError
        If a file cannot be written, or exists and `force` is false. What was there is untouched.
    """
    chosen = [Path(path) for path in paths]
    with _whole(
        chosen,
        [ending] * len(chosen),
        force=force,
        sync=True,
        store=store,
        without=[Path(path) for path in without],
    ) as temporaries:
        yield temporaries


@contextmanager
def _whole(
    paths: list[Path],
    endings: Sequence[str | None],
    *,
    force: bool,
    sync: bool,
    store: bool | Sequence[bool],
    without: Sequence[Path] = (),
    kind: type[OutputError | CacheError] = OutputError,
    hint: str = "",
) -> Iterator[list[Path]]:
    stores = [store] * len(paths) if isinstance(store, bool) else store

    def check() -> None:
        for path, is_store in zip(paths, stores, strict=True):
            _check_target(path, force=force, store=is_store)
        for path in without:
            _check_target(path, force=force, store=True)

    with write_errors(paths[0], kind, hint=hint):
        check()
        finals = [_followed(path) for path in paths]
        finals[0].parent.mkdir(parents=True, exist_ok=True)
        temporaries = [
            _new_name(final, _PART + (final.suffix if ending is None else ending))
            for final, ending in zip(finals, endings, strict=True)
        ]
        try:
            yield temporaries
            if sync:
                for temporary in temporaries:
                    _flush(temporary)
            check()  # the work may have taken hours
            _move(list(zip(temporaries, finals, strict=True)), without)
        finally:
            for temporary in temporaries:
                _discard(temporary)


@contextmanager
def temporary_beside(
    path: Path, ending: str | None = None, *, swept: bool = False
) -> Iterator[Path]:
    """Yield a name beside a file that no one else uses, sweep there, and remove what is left.

    Parameters
    ----------
    path : pathlib.Path
        The file; who writes moves the temporary one over it.
    ending : str, optional
        As for `whole_file`.
    swept : bool
        Whether that has been done: where the folder is new, or the second file of it is written.
    """
    temporary = _new_name(path, _PART + (path.suffix if ending is None else ending), swept=swept)
    try:
        yield temporary
    finally:
        if temporary.name in _in_use:
            _discard(temporary)


def move_to(temporary: Path, path: Path) -> None:
    """Move what was written under a name of `temporary_beside` to its own; nothing is left then."""
    os.replace(temporary, path)
    _in_use.discard(temporary.name)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder where temporary files belong, and remove it afterwards.

    What a killed process has left there is removed by the next one that needs such a folder.
    """
    import tempfile

    with write_errors("Temporary files"):
        place = Path(tempfile.gettempdir())
    with write_errors(place), temporary_beside(place / "atldld", "") as folder:
        folder.mkdir(mode=0o700)
        yield folder


def nameless_file(needed: int = 0) -> IO[bytes]:
    """Return an open temporary file without a name, which vanishes when it is closed.

    Parameters
    ----------
    needed : int
        Bytes that it will surely take.

    Raises
    ------
    OutputError
        If there is no space for the file.
    """
    import tempfile

    with write_errors("Temporary files"):
        folder = Path(tempfile.gettempdir())
    with write_errors(folder):
        check_space(folder, needed)
        return tempfile.TemporaryFile(prefix="atldld-", dir=folder)


class OnlyWrites:
    """An open file that can do nothing but write.

    `numpy.save` writes past Python into a file that it knows as one, and then cannot say why the
    disk did not take it.

    Parameters
    ----------
    file : file
        Open for writing bytes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.write: Callable[[bytes], int] = file.write


def _followed(path: Path) -> Path:
    """Return what a link leads to, so that the link stays what it is."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


def _new_name(path: Path, ending: str, *, swept: bool = False) -> Path:
    if not swept:
        sweep(path.parent)
    name = f".{os.getpid()}@{_HOST}-{os.urandom(4).hex()}{ending}"
    _in_use.add(name)
    return path.with_name(name)


def _discard(temporary: Path) -> None:
    try:
        os.unlink(temporary)
    except FileNotFoundError:  # it has been moved, as nearly always
        _in_use.discard(temporary.name)
        return
    except OSError:
        pass
    import shutil

    for pause in (0, 0.01, 0.1):
        # a library's threads may still be writing what has failed already
        if not os.path.isdir(temporary):
            break
        time.sleep(pause)
        shutil.rmtree(temporary, ignore_errors=True)
    _in_use.discard(temporary.name)


def _flush(path: Path) -> None:
    """Flush a file, or all files of a folder, to the disk; a full one may say so only now."""
    if os.path.isdir(path):
        for inner in path.iterdir():
            _flush(inner)
        return
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # a disk that knows no such thing
            raise
    finally:
        os.close(file)


def _move(moves: Sequence[tuple[Path, Path]], without: Sequence[Path] = ()) -> None:
    """Move temporary files to their names: all of them, or none."""
    going = [path for path in (*(final for _, final in moves), *without) if os.path.lexists(path)]
    if len(moves) == 1 and going in ([], [moves[0][1]]) and not os.path.isdir(moves[0][1]):
        os.replace(*moves[0])
        return
    # A folder cannot be moved over another one, and several files not at once: what is there makes
    # room, and comes back if not all that is new can be moved.
    aside = _new_name(moves[0][1], _OLD)
    moved: list[tuple[Path, Path]] = []
    try:
        for final in going:
            aside.mkdir(exist_ok=True)
            moved.append((aside / final.name, final))
            os.rename(final, aside / final.name)
        if len(moves) > 1:
            aside.mkdir(exist_ok=True)
            _note(aside, moves)
        for temporary, final in reversed(moves):
            moved.append((final, temporary))
            os.rename(temporary, final)
    except BaseException:
        for now, before in reversed(moved):
            with suppress(OSError):  # the move that failed
                os.rename(now, before)
        with suppress(OSError):
            (aside / _MOVES).unlink(missing_ok=True)
            aside.rmdir()
        _in_use.discard(aside.name)
        raise
    _discard(aside)


def _note(aside: Path, moves: Sequence[tuple[Path, Path]]) -> None:
    """Note which files are about to be moved together, once what they replace has made room.

    Files are known by their number on the disk, which a move does not change.
    """
    noted = "".join(f"{temporary.lstat().st_ino} {final.name}\0" for temporary, final in moves)
    (aside / _MOVES).write_text(noted, "utf-8")


# ---- what killed runs have left


def sweep(folder: Path) -> None:
    """Remove what killed processes were writing in a folder, and put back what they replaced.

    Parameters
    ----------
    folder : pathlib.Path
        It need not be there.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(".")]
    except OSError:
        return
    for path in (folder / name for name in names):
        if is_left_over(path):
            if path.name.endswith(_OLD):
                _put_back(path)
            _discard(path)


def is_left_over(path: Path) -> bool:
    """Return whether a path is a temporary one that no running process is writing."""
    found = _TEMPORARY.fullmatch(path.name)
    if found is None or path.name in _in_use:
        return False
    try:
        written = path.lstat().st_mtime
    except OSError:
        return False
    if found["host"] != _HOST:
        # nobody here can tell whether the writer still runs
        return written < time.time() - LEFT_OVER_AFTER
    if int(found["pid"]) == os.getpid():
        # of an earlier process of the same number, as in containers
        return written < _STARTED
    return not is_alive(int(found["pid"]))


def _put_back(aside: Path) -> None:
    """Undo a replacement that was cut off before all that is new was in place."""
    with suppress(OSError, ValueError):
        _take_back(aside)
        names = [name for name in os.listdir(aside) if name != _MOVES]
        if not any(os.path.lexists(aside.with_name(name)) for name in names):
            for name in names:
                os.rename(aside / name, aside.with_name(name))


def _take_back(aside: Path) -> None:
    """Remove files that were moved to their names without the one that matters most."""
    if not os.path.isfile(aside / _MOVES):
        return
    noted = (aside / _MOVES).read_text("utf-8").split("\0")[:-1]
    numbers = {name: int(number) for number, _, name in (line.partition(" ") for line in noted)}
    first = next(iter(numbers), None)
    if first is None or os.path.lexists(aside.with_name(first)):
        return  # killed before anything was moved, or after all was
    for name in numbers:
        path = aside.with_name(name)
        if os.path.lexists(path) and path.lstat().st_ino == numbers[name]:
            _discard(path)
