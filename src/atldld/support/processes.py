"""What a forked process must make again, and which processes run.

A fork copies the memory of one thread's process: connections are shared with the parent from then
on, and a lock that another thread held at that moment is held for ever, by nobody. So what holds
either is noted here, and made again in each child.
"""

from __future__ import annotations

import os
import sys
import weakref
from functools import cached_property as _cached_property
from importlib import import_module
from typing import Any, Protocol, Self, TypeVar, overload

__all__ = ["Renewed", "cached_property", "is_alive", "renew_in_children"]

T = TypeVar("T")

# What is imported when it is first used. Nobody's own code runs while one of these is imported,
# so waiting for it ends.
_LIBRARIES = sys.stdlib_module_names | {
    *("atldld", "cv2", "filelock", "httpcore", "httpx", "msgspec", "nrrd", "numpy", "psutil"),
    *("simplejpeg", "tenacity", "tifffile", "werkzeug"),
}


class Renewed(Protocol):
    """Something that does not survive a fork as it is."""

    def renew(self) -> None:
        """Make it as good as new in a forked child; take no lock that is not new too."""


_to_renew: weakref.WeakSet[Renewed] = weakref.WeakSet()


def renew_in_children(thing: Renewed) -> None:
    """Call a thing's ``renew`` in every process that is forked while it is in use."""
    _to_renew.add(thing)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs; signal 0 would end one on Windows."""
    import psutil

    try:
        return bool(psutil.pid_exists(pid))
    except OverflowError:  # a number that no process has
        return False


class cached_property(_cached_property[T]):  # noqa: N801 - as the one that it stands for
    """`functools.cached_property` without its lock, as from Python 3.12 on.

    In 3.11 all objects of a class share that lock: a thread that waits for the service holds it,
    and a process that is forked in the meantime would wait for ever.
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Self | T:
        """Return the value, made when first asked for."""
        if instance is None:
            return self
        name = self.attrname or self.func.__name__
        known = vars(instance)
        if name not in known:
            # two threads may come at once, and are to have the same
            known.setdefault(name, self.func(instance))
        value: T = known[name]
        return value


def _finish_imports() -> None:
    """Wait for what other threads are importing: a child would find it half imported for ever."""
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if getattr(spec, "_initializing", False) and name.partition(".")[0] in _LIBRARIES:
            # where it fails, the thread that began it is told
            try:
                import_module(name)
            except Exception:
                continue


def _renew() -> None:
    for thing in list(_to_renew):
        thing.renew()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_finish_imports, after_in_child=_renew)
