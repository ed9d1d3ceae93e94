"""Rooms whose public names are imported when they are first used, so that a room costs nothing.

`__init__.pyi` of a package lists its names and where they are, once for all: for type checkers and
for this module. A name may not be that of a module of the same package, which would take its place.
(A program that is frozen with the package must take those files along.)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

__all__ = ["exports", "homes_of"]


def homes_of(package: ModuleType) -> dict[str, str]:
    """Return the module of each public name of a package."""
    stub = package.__loader__.get_data(f"{package.__file__}i").decode()  # type: ignore[union-attr]
    listed = re.findall(r"^from (\S+) import \w+ as (\w+)$", stub, re.MULTILINE)
    return {name: home for home, name in listed}


def exports(name: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return what a package calls ``__getattr__``, ``__dir__`` and ``__all__``.

    Parameters
    ----------
    name : str
        The package's own.
    """
    package = sys.modules[name]
    homes = homes_of(package)

    def get(wanted: str) -> object:
        if wanted not in homes:
            raise AttributeError(f"module {name!r} has no attribute {wanted!r}")
        value = getattr(import_module(homes[wanted]), wanted)
        setattr(package, wanted, value)
        return value

    return get, lambda: sorted({*vars(package), *homes}), sorted(homes)
