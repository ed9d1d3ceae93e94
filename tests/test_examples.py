"""The examples of docstrings run, against the demo archive; none is skipped."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

import atldld

SOURCE = Path(atldld.__file__).parent
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules():
    """The modules with examples, by name, and how many lines have the prompt."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        prompts = re.findall(r"^ *>>> ", path.read_text("utf-8"), re.MULTILINE)
        if prompts:
            parts = path.relative_to(SOURCE.parent).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = len(prompts)
    return found


MODULES = modules()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all examples: what one has fetched, others have."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.one_in(2)
@pytest.mark.usefixtures("at_demo_server")
@pytest.mark.parametrize("name", MODULES)
def test_examples(name, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLDLD_CACHE_DIR", str(cache))
    monkeypatch.chdir(tmp_path)
    ran = 0
    told: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(import_module(name)):
        assert not any(example.options.get(doctest.SKIP) for example in test.examples), test.name
        runner.run(test, out=told.append)
        ran += len(test.examples)
    assert not told, "".join(told)
    assert ran == MODULES[name]  # or some stand where they are not found


def test_there_are_examples():
    assert {"atldld", "atldld.api", "atldld.find.searches", "atldld.place.points"} <= set(MODULES)
