"""Locks between processes, as far as the file system has any.

A lock saves work: without it two processes may fetch the same image. It keeps nothing whole; that
is what moving finished files into place does. So a file system that refuses locks (NFS without its
lock service, some Lustre mounts, some containers) is told of once, and work goes on.
"""

from __future__ import annotations

import errno
import itertools
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from atldld.errors import LockWarning

__all__ = ["Taken", "locked"]

FIRST_WORD = 5.0
"""Seconds of waiting for a lock after which that is told."""

FURTHER_WORDS = 60.0
"""Seconds from one such word to the next."""

# What a file system without locks answers: no lock service, not offered here, not allowed, not
# known at all. Who may not write there either is told when something is written.
_NO_LOCKS = {"ENOLCK", "EOPNOTSUPP", "ENOTSUP", "EPERM", "EINVAL", "ENOSYS", "ENOTTY"}

_told: set[str] = set()


class Taken(Exception):  # noqa: N818 - not an error by itself
    """Another process or thread holds the lock."""


@contextmanager
def locked(path: Path, what: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock, which the system frees when the process dies.

    Parameters
    ----------
    path : pathlib.Path
        The lock's file; made with its folder if need be, and left.
    what : str
        What is kept from happening twice, as the beginning of a sentence.
    wait : bool
        Wait for it as long as it takes, and warn now and then.

    Yields
    ------
    bool
        Whether there is a lock: `False` on a file system without any.

    Raises
    ------
    Taken
        If another process or thread holds it, and waiting was not asked for.
    OSError
        If the lock's file cannot be made.

    Warns
    -----
    LockWarning
        If it is waited for long, or if the file system has no locks; that once in a process.
    """
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(path)
    try:
        _acquire(lock, path, what, wait=wait)
        held = True
    except NotImplementedError:  # what filelock makes of a missing system call in old versions
        held = False
    except OSError as error:
        if errno.errorcode.get(error.errno or 0) not in _NO_LOCKS:
            raise
        held = False
    if not held:
        _tell_once(path.parent)
    try:
        yield held
    finally:
        if held:
            # some file systems lock, but cannot unlock; closing the file does then
            with suppress(OSError):
                lock.release()


def _lock(path: Path) -> Any:
    import filelock

    try:
        # Its substitute for a missing system call is a file that a killed process leaves, and
        # that is then waited for without end.
        return filelock.FileLock(path, fallback_to_soft=False)
    except TypeError:  # a version that has no substitute
        return filelock.FileLock(path)


def _acquire(lock: Any, path: Path, what: str, *, wait: bool) -> None:
    import filelock

    begun = time.monotonic()
    for patience in itertools.chain([FIRST_WORD], itertools.repeat(FURTHER_WORDS)):
        try:
            lock.acquire(timeout=patience if wait else 0)
            return
        except filelock.Timeout:
            if not wait:
                raise Taken from None
        warnings.warn(
            LockWarning(
                f"{what} is waited for: another process or thread has been at it for "
                f"{time.monotonic() - begun:.0f} s, and holds {path}."
            ),
            stacklevel=4,
        )


def _tell_once(folder: Path) -> None:
    if _told:
        return
    _told.add(str(folder))
    warnings.warn(
        LockWarning(
            f"The file system of {folder} has no locks, so work goes on without them: nothing is "
            "damaged, but processes that run at the same time may fetch the same twice."
        ),
        stacklevel=4,
    )
