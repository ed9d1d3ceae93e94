"""Public names: each is listed once, is there, and is documented."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import atldld

SOURCE = Path(atldld.__file__).parent
# Type checkers do not know the `__all__` that is made of the stub.
PACKAGE: Any = atldld


def name_of(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


FILES = {
    name_of(path): path
    for path in SOURCE.rglob("*.py")
    if path.parent != SOURCE or path.stem[0] != "_"
}


def public_definitions(path):
    """Functions and classes that a module defines without an underscore, its commands aside."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        decorators = [ast.unparse(one) for one in node.decorator_list]
        if not any(one.startswith("app.") for one in decorators):
            yield node.name


def test_everything_that_is_listed_is_there():
    assert PACKAGE.__all__ == sorted(PACKAGE.__all__)
    for name in PACKAGE.__all__:
        assert getattr(atldld, name) is not None
        assert name in dir(atldld)
    assert not hasattr(atldld, "no_such_name")


def test_all_of_the_stub_is_read():
    """What type checkers are told, as Python itself reads it."""
    told = {"__version__"}
    for node in ast.parse((SOURCE / "__init__.pyi").read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            assert [alias.name for alias in node.names] == [alias.asname for alias in node.names]
            told |= {alias.name for alias in node.names}
    assert told == set(PACKAGE.__all__)


def test_a_star_import_gives_all():
    names: dict[str, Any] = {}
    exec("from atldld import *", names)
    assert set(PACKAGE.__all__) <= set(names)


@pytest.mark.parametrize("name", sorted(FILES))
def test_modules_list_what_they_offer(name):
    """All that has no underscore; modules of commands list nothing, for nobody imports of them."""
    defined = set(public_definitions(FILES[name]))
    module = import_module(name)
    if not hasattr(module, "__all__"):
        assert not defined or name.startswith("atldld.cli."), f"{name} has no __all__"
        return
    assert defined <= set(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    for one in module.__all__:
        value = getattr(module, one)
        if inspect.isclass(value):  # an inherited docstring says nothing of this class
            assert vars(value).get("__doc__"), one
        elif inspect.isroutine(value) or isinstance(value, ModuleType):
            assert value.__doc__, one


def test_names_in_docstrings_are_there():
    """Whatever is named as `atldld.x.y` can be imported."""
    found = set()
    for path in FILES.values():
        found |= set(re.findall(r"`(atldld(?:\.\w+)+)`", path.read_text("utf-8")))
    broken = []
    for dotted in sorted(found):
        parts = dotted.split(".")
        value: Any = atldld
        try:
            for k, part in enumerate(parts[1:], 2):
                value = getattr(value, part, None) or import_module(".".join(parts[:k]))
        except ImportError:
            broken.append(dotted)
    assert broken == []
