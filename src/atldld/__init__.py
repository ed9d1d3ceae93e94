"""Allen Brain Atlas section data sets in the brain's reference coordinates.

Examples
--------
>>> import atldld
>>> ds = atldld.open_dataset(69289763)
>>> ds
<DataSet 69289763 (Prox1), sagittal, 18 sections>
>>> for section in ds.register(resolution=100, sections=ds.sections[8:10]):
...     print(section.id, section.image.shape)
69177654 (80, 132, 3)
69177656 (80, 132, 3)
"""

from __future__ import annotations

import sys
from types import ModuleType

# Public names are imported when they are first used, so that importing the package takes no time.
# `__init__.pyi` lists them and where they are; see `atldld.support.lazy`.
_HOMES: dict[str, str] = {}


def _homes() -> dict[str, str]:
    """Return the module of each public name."""
    if not _HOMES:
        from atldld.support.lazy import homes_of

        _HOMES.update(homes_of(sys.modules[__name__]))
    return _HOMES


# Rooms of the house that are called like what they do: `atldld.quality` is the room, which
# `from atldld.quality import ...` needs, and it is the function, which can be called.
_CALLED = ("quality", "refine", "report", "volume")


class _Room(ModuleType):
    """A room that is called as the function of the same name."""

    @property
    def _function(self) -> object:
        from importlib import import_module

        return getattr(import_module("atldld.api"), self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> object:
        from inspect import signature

        function = self._function
        assert callable(function)
        return signature(function)

    def __call__(self, *arguments: object, **options: object) -> object:
        """Do what the room is for; see the function of the same name in `atldld.api`."""
        function = self._function
        assert callable(function)
        return function(*arguments, **options)


class _House(ModuleType):
    """The package: a room that is imported becomes an attribute here, and then can be called."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _CALLED and type(value) is ModuleType:
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _House


def __getattr__(name: str) -> object:
    value: object
    if name in _CALLED:
        from importlib import import_module

        return import_module(f"{__name__}.{name}")  # which makes it an attribute
    if name == "__version__":
        from atldld.support.provenance import version

        value = version()
    elif name == "__all__":
        value = sorted({*_homes(), "__version__"})
    elif name in _homes():
        from importlib import import_module

        value = getattr(import_module(_homes()[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes(), "__all__", "__version__"})
