"""The blocks of code on the pages, and how they are run."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

RUN = ("python", "sh")
SHOWN = ("text", "json", "xml", "toml")

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\S*)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_NOT_RUN = "not run: "
OUTPUT = "output"


@dataclass(frozen=True)
class Block:
    """A block of code, and what the comment above it says."""

    language: str
    code: str
    mark: str
    line: int

    @property
    def reason(self) -> str:
        """Why it is not run; empty if it is."""
        return self.mark.removeprefix(_NOT_RUN) if self.mark.startswith(_NOT_RUN) else ""

    @property
    def runs(self) -> bool:
        return self.language in RUN and not self.reason


def pages() -> dict[str, Path]:
    """Every page that somebody wrote, by its place in the repository."""
    found = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    return {path.relative_to(ROOT).as_posix(): path for path in found}


def blocks(path: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = path.read_text("utf-8")
    return [
        Block(
            found["language"],
            found["code"],
            found["mark"] or "",
            text.count("\n", 0, found.start("code")),
        )
        for found in _BLOCK.finditer(text)
    ]


# ---- the same work with fewer pixels

SMALLEST = "909"
"""The demo's smallest data set."""

_LARGER = ("71717084", "Pdyn:coronal", "69289763", "Prox1:sagittal")
# These name images or points of a data set, which the smallest has not.
_OF_ONE = ("sync", "--section", "--image", "-i", "image", "fields")

_COARSE: dict[str, dict[str, str]] = {
    "volume": {"--resolution": "200"},
    "download": {"--resolution": "200"},
    "export fields": {"--resolution": "200"},
    "export sections": {"--resolution": "200"},
    "quantify": {"--table-resolution": "200", "--atlas-resolution": "100"},
    "quality": {"--quality-resolution": "200", "--atlas-resolution": "100"},
    "atlas outlines": {"--atlas-resolution": "100"},
    "refine": {"--resolution": "200", "--atlas-resolution": "100", "--steps": "whole"},
    "report": {
        "--resolution": "200",
        "--table-resolution": "200",
        "--atlas-resolution": "100",
        "--no-volume": "",
    },
}


def coarser(words: list[str]) -> list[str]:
    """Return the words of a command that does the same with fewer pixels."""
    if not any(word in _OF_ONE for word in words):
        named = [word for word in words if word in _LARGER]
        words = [SMALLEST if word in named[:1] else word for word in words]
    full = [at for at, word in enumerate(words[:-1]) if word == "--downsample-img"]
    for at in full:  # the full size is drawn and labelled in minutes
        words[at + 1] = words[at + 1].replace("0", "5")
    name = next((name for name in _COARSE if words[: name.count(" ") + 1] == name.split()), None)
    if name is None or words[:2] == ["download", "image"]:
        return words
    for option, value in _COARSE[name].items():
        if option in words and value:
            words[words.index(option) + 1] = value
        elif option not in words:
            words += [option, value] if value else [option]
    return words


_SHIM = """\
#!{python}
import sys
sys.path[:0] = [{root!r}, *{path!r}]
from tests.docs.pages import coarse_main
coarse_main()
"""


def coarse_main() -> None:
    """Be the command `atldld`, with fewer pixels."""
    sys.argv[1:] = coarser(sys.argv[1:])
    if sys.argv[1:2] == ["demo"]:
        _put_off(Path(sys.argv[2]))
        return
    from atldld.cli import main

    main()


def _put_off(folder: Path) -> None:
    """Write of `atldld demo` only what later lines read."""
    import atldld
    from atldld.testing.disturbed import disturbed

    folder.mkdir()
    truth = atldld.open_dataset(int(SMALLEST))
    disturbed(truth, atldld.open_atlas(100)).save(folder / "disturbed.json")


def coarse_code(code: str) -> str:
    """Return Python that does the same with fewer pixels."""
    code = code.replace("71717084", SMALLEST)
    code = re.sub(r"\bresolution=(?:8|10|25|32|50|60|100)\b", "resolution=200", code)
    return re.sub(r"open_atlas\((?:10|25|50)?\)", "open_atlas(100)", code)


# ---- running


@dataclass
class Page:
    """A page that is being run: one folder, one shell, one set of names.

    Parameters
    ----------
    folder : pathlib.Path
        Empty; where lines are typed.
    server : str
        Address of the demo archive.
    coarse : bool
        With fewer pixels.
    """

    folder: Path
    server: str
    coarse: bool
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})
    said: str = ""

    def run(self, block: Block) -> None:
        """Run a block, or raise."""
        code = block.code.replace("http://127.0.0.1:8765", self.server)
        if block.language == "sh":
            self._type(code)
            return
        code = textwrap.dedent(coarse_code(code) if self.coarse else code)
        exec(compile(code, f"line {block.line}", "exec"), self.names)

    def _type(self, lines: str) -> None:
        state, place = self.folder.parent / "state", self.folder.parent / "place"
        before = f'source "{state}"; cd "$(cat "{place}")"\n' if state.exists() else ""
        after = f'\ndeclare -px > "{state}"; pwd > "{place}"\n'
        done = subprocess.run(
            ["bash", "-e", "-c", before + lines + after],
            env={**os.environ, "PATH": f"{self._programs()}{os.pathsep}{os.environ['PATH']}"},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1200,
        )
        self.said += done.stdout + done.stderr
        assert done.returncode == 0, f"{lines}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

    def _programs(self) -> Path:
        """Return the folder of the command, as the page means it."""
        if not self.coarse:
            return Path(sys.executable).parent
        folder = self.folder.parent / "programs"
        if not folder.exists():
            folder.mkdir()
            path = [one for one in sys.path if one.endswith("src")]
            text = _SHIM.format(python=sys.executable, root=str(ROOT), path=path)
            (folder / "atldld").write_text(text)
            (folder / "atldld").chmod(stat.S_IRWXU)
            (folder / "python").symlink_to(sys.executable)
        return folder
