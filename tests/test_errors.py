import ast
import inspect
import pickle
import re
from pathlib import Path

import pytest

import atldld
from atldld import errors
from atldld.cli.terminal import IN_OPTIONS
from atldld.errors import Remedy


def _classes():
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value)
        and issubclass(value, Exception)
        and value.__module__ == errors.__name__
    }


def test_everything_is_listed():
    assert errors.__all__ == sorted(errors.__all__)
    assert set(errors.__all__) == {*_classes(), "Remedy", "shown_address", "speaking"}


def test_the_tree_at_the_top_is_the_tree():
    drawn: dict[str, str | None] = {}
    stack: list[str] = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"\s{4}((?:[│ ] {3}|[├└]── )*)(\w+(?:Error|Warning))\b", line)
        if found:
            depth = len(found[1]) // 4
            stack[depth:] = [found[2]]
            drawn[found[2]] = stack[depth - 1] if depth else None
    for name, cls in _classes().items():
        parent = cls.__bases__[0].__name__
        assert drawn[name] == (parent if parent in _classes() else None), name
    assert set(drawn) == set(_classes())


def test_a_sentence_ids_url_and_what_to_do():
    error = errors.BrokenImageError(
        "The image is broken.", image_id=7, dataset_id=5, url="http://x/y", hint="Try again."
    )
    assert str(error) == "The image is broken. [data set 5, image 7, URL http://x/y] Try again."
    assert str(errors.DatasetNotFoundError("No data set 5.", dataset_id=5)) == "No data set 5."


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.InvalidInputError, ValueError),
        (errors.DatasetNotFoundError, LookupError),
        (errors.NetworkError, ConnectionError),
        (errors.ServiceTimeoutError, TimeoutError),
        (errors.CacheError, OSError),
        (errors.OutputError, OSError),
    ],
)
def test_builtin_bases(cls, builtin):
    with pytest.raises(builtin, match="No luck"):
        raise cls("No luck.", image_id=3)


def test_a_remedy_is_said_in_python_and_in_options():
    error = errors.OutputError(
        f"{{force}} is there, {Remedy.OFFLINE}.", hint=f"Add {Remedy.FORCE} or {Remedy.CACHE_DIR}."
    )
    in_python = "{force} is there, offline=True. Add force=True or Settings(cache_dir=…)."
    assert str(error) == in_python
    assert error.args == ("{force} is there, offline=True.",)
    assert error.hint == "Add force=True or Settings(cache_dir=…)."
    assert error.remedies == (Remedy.FORCE, Remedy.CACHE_DIR)
    with errors.speaking(IN_OPTIONS):
        assert str(error) == "{force} is there, --offline. Add --force or --cache-dir."
        again = pickle.loads(pickle.dumps(error))
        assert again.hint == "Add --force or --cache-dir."
    assert str(again) == str(error) == in_python
    assert errors.OutputError("No luck.").hint is None
    assert errors.OutputError("No luck.").remedies == ()


def test_every_remedy_has_words():
    assert set(errors.IN_PYTHON) == set(IN_OPTIONS) == set(Remedy)
    assert {len(remedy) for remedy in Remedy} == {1}
    assert not any("--" in words for words in errors.IN_PYTHON.values())


def _texts(tree):
    """Yield the strings of a module but for its docstrings; what is put in is left out."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(node.value)  # a docstring
        elif isinstance(node, ast.JoinedStr):
            parts = [part for part in node.values if isinstance(part, ast.Constant)]
            skipped.update(parts)
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            )
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            yield node.value


def test_options_are_known_to_the_command_line_alone():
    """Whoever calls a function has no `--force`; whole commands in backticks are commands."""
    root = Path(atldld.__file__).parent
    found: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name.startswith("cli/"):
            continue
        for text in _texts(ast.parse(path.read_text("utf-8"))):
            plain = re.sub(r"`(atldld [^`]*|--annotation FILE)`", "", text)
            if re.search(r"(?<![\w-])--[a-z]", plain):
                found.setdefault(name, []).append(text)
    assert not found
