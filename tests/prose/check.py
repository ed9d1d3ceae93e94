"""Look through pages and messages for turns that are no English, and for slips of spelling.

``python tests/prose/check.py`` prints each with its place and what to write instead, and ends with
status 1 if there is any. `words.txt` has the turns; codespell has the spelling.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORDS = Path(__file__).with_name("words.txt")

# What a spelling checker takes for a slip: names of people, genes and structures, and ours.
KNOWN = "nd,te,ans,ist,mis,thei,ro,fo,ot,nin,tha,claus,cyclin"

# Words of prose that are names in a program: of commands, of styles, of parts of a file.
NAMES = ("dataset", "color", "center", "gray", "neighbor", "director")

_OFF = re.compile(r"<!-- prose: off -->.*?<!-- prose: on -->", re.DOTALL)
_NOT_PROSE = (
    _OFF,
    re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE),
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"`[^`\n]+(?:\n[^`\n]+)?`"),
    re.compile(r"(?<=\])\([^)\s]*\)"),  # where a link leads
    re.compile(r"https?://\S+"),
)


@dataclass(frozen=True)
class Turn:
    """A turn that is not to be used, and what to write instead."""

    pattern: re.Pattern[str]
    instead: str


def turns(path: Path = WORDS) -> list[Turn]:
    """Read the list."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern, arrow, instead = line.partition(" => ")
            assert arrow, f"{path.name}: no => in {line!r}"
            # a turn may be broken over two lines
            spaced = pattern.replace(" ", r"\s+")
            found.append(Turn(re.compile(spaced, re.IGNORECASE), instead))
    return found


def prose(text: str) -> str:
    """Return Markdown with blanks in place of code, comments and addresses."""
    for pattern in _NOT_PROSE:
        text = pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    return text


def faults(text: str, listed: list[Turn]) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the words and what to write instead, of each turn in a text."""
    plain = prose(text)
    for turn in listed:
        for found in turn.pattern.finditer(plain):
            words = " ".join(found[0].split())
            yield plain.count("\n", 0, found.start()) + 1, words, turn.instead


def pages() -> list[Path]:
    """What is looked through."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def messages(code: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of what a program may say: strings of several words.

    Strings that are statements, such as docstrings, are not said.
    """
    tree = ast.parse(code)
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in silent:
            continue
        if isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def found() -> Iterator[tuple[Path, int, str, str]]:
    """Yield the file, the line, the words and what to write instead, of each turn."""
    listed = turns()
    for path in pages():
        for fault in sorted(faults(path.read_text("utf-8"), listed)):
            yield path, *fault
    listed = [turn for turn in listed if not any(name in turn.pattern.pattern for name in NAMES)]
    for path in sorted((ROOT / "src").rglob("*.py")):
        for line, text in messages(path.read_text("utf-8")):
            for below, words, instead in faults(text, listed):
                yield path, line + below - 1, words, instead


def main() -> int:
    """Look through everything; return the status."""
    count = 0
    for path, line, words, instead in found():
        count += 1
        print(f"{path.relative_to(ROOT)}:{line}: {words!r}; write: {instead}")
    spelling = subprocess.run(
        [sys.executable, "-m", "codespell_lib", "-L", KNOWN, *map(str, pages()), ROOT / "src"],
        check=False,
    )
    print(f"{count} turns to write in another way" if count else "Prose: nothing found")
    return int(bool(count) or spelling.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
