"""What pages name between backquotes, and in blocks that no test runs, is there.

The kind of fault: an option, a target of make, a script or a function that was renamed or removed,
and is still named on a page.
"""

import re
import shlex
import tomllib
from importlib import import_module

import click
import pytest

from atldld.cli import app
from tests.docs.pages import ROOT, blocks, pages

PAGES = pages()
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(" ".join(re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)).split())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = set(PROJECT["project"]["optional-dependencies"])
# What they say of options that were, and of other programs.
OLDER = ("docs/command-line.md", "docs/differences-from-0.3.md")
OTHERS = {"--plugin"}
# What the reader is to write.
TO_BE_MADE = {"src/atldld/formats/raw.py"}


def named(path):
    """The texts between backquotes in running text, and the lines of blocks that are not run."""
    text = path.read_text("utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(found.split()) for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose))
    for block in blocks(path):
        if block.reason and block.language == "sh":
            yield from block.code.replace("\\\n", " ").splitlines()


def split(text):
    try:
        return shlex.split(text.replace(r"\|", "|"), comments=True)
    except ValueError:  # a quotation mark that is not closed: no command
        return text.split()


def command_of(words):
    """The command that words name, as far as they do, and the words that are left."""
    command: click.Command = app
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


def options(command):
    """Every option of a command, and of those below it."""
    found = {word for one in command.params for word in (*one.opts, *one.secondary_opts)}
    if isinstance(command, click.Group):
        found |= {word for below in command.commands.values() for word in options(below)}
    return found


EVERY = options(app) | {"--help", "--version"}
SCRIPTS = "".join(path.read_text("utf-8") for path in (ROOT / "benchmarks").rglob("*.py"))


def wrong(text):
    """What a text names that there is not."""
    words = split(text)
    if not words:
        return None
    if words[0] == "make" and len(words) > 1:
        missing = [one for one in words[1:] if "=" not in one and one not in TARGETS]
        return f"make {missing[0]}" if missing else None
    if words[0] == "atldld":
        command, left = command_of(words[1:])
        known = options(command) | {"--help", "--version"}
    elif words[0].startswith("--"):
        left, known = words, EVERY
    else:
        left, known = [], set()
        for word in words:
            path = re.sub(r"(::|#).*", "", word)
            ours = re.match(r"(benchmarks|tests|docs|src)/[\w/.-]+$", path)
            if ours and path not in TO_BE_MADE and not (ROOT / path).exists():
                return path
    for word in left:
        option = word.partition("=")[0]
        if not re.fullmatch(r"--[a-z][\w-]+", option) or option in known | OTHERS:
            continue
        if words[0].startswith("--") and f'"{option}"' in SCRIPTS:
            continue
        return option
    for extra in re.findall(r"atldld\[([\w,]+)\]", text):
        if not set(extra.split(",")) <= EXTRAS:
            return f"atldld[{extra}]"
    return unknown(text)


def unknown(text):
    """The dotted name of Python that a text is, if there is no such thing."""
    found = re.fullmatch(r"(atldld(?:\.\w+)+)(?:\(.*\))?", text)
    if found is None or found[1].endswith((".json", ".zip", ".sqlite")):
        return None
    module, names = "", found[1].split(".")
    for at in range(len(names), 0, -1):
        try:
            module = ".".join(names[:at])
            there = import_module(module)
            break
        except ModuleNotFoundError:
            continue
    for name in names[at:]:
        if not hasattr(there, name):
            return found[1]
        there = getattr(there, name)
    return None


@pytest.mark.parametrize("name", [name for name in PAGES if name not in OLDER])
def test_what_a_page_names_is_there(name):
    found = [(text, what) for text in named(PAGES[name]) if (what := wrong(text))]
    assert not found, found


@pytest.mark.parametrize(
    "text",
    [
        "atldld quantify --frobnicate",
        "atldld cache list --structure DG",
        "--frobnicate",
        "make frobnicate",
        "python benchmarks/frobnicate.py --runs 3",
        "pip install 'atldld[frobnicate]'",
        "atldld.frobnicate",
        "atldld.place.frobnicate(x)",
    ],
)
def test_what_is_not_there_is_found(text):
    assert wrong(text)


@pytest.mark.parametrize(
    "text",
    [
        "atldld --version",
        "atldld cache verify --repair",
        "--threads",
        "make test PYTHON=python3.14",
        "python benchmarks/bench_peer.py",
        "pip install 'atldld[plot,atlas]'",
        "atldld.open_dataset(ID, alignment=FILE)",
        "atldld.fetch",
    ],
)
def test_what_is_there_is_not(text):
    assert wrong(text) is None
