"""The blocks of code on the pages, and how they are run."""

from __future__ import annotations

import ast
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

from tests.docs.stand_ins import ADDRESS, StandIns, confirm_all, path_of_modules, program

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
OUTPUT_IN_FULL = "output of it as it stands"  # other numbers come out of fewer pixels
# What else the comment above a block may say of how it is run.
UNTIL_STOPPED = "runs until stopped"  # each line; it is ended with the page
CONFIRMED = "runs until stopped; somebody confirms every section"
AT_ALLENS = "asks Allen's service"  # the demo archive stands in for it
FEWER_ONLY = "takes minutes"  # it is run with fewer pixels only
ELSEWHERE = "a test runs this block"  # a test of its own
MARKS = ("", OUTPUT, OUTPUT_IN_FULL, UNTIL_STOPPED, CONFIRMED, AT_ALLENS, FEWER_ONLY, ELSEWHERE)


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
        if option == "--atlas-resolution" and "--atlas" in words:
            continue  # of BrainGlobe, which has one
        if option in words and value:
            words[words.index(option) + 1] = value
        elif option not in words:
            words += [option, value] if value else [option]
    return words


_SHIM = """\
#!{python}
import sys
sys.path[:0] = {path!r}
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


_COARSE_REFINE = r'ds.refine(\1, steps="whole", resolution=200)'


def coarse_code(code: str) -> str:
    """Return Python that does the same with fewer pixels."""
    if "71717084" in code:
        code = code.replace("71717084", SMALLEST)
    elif not re.search(r"section\(|\b(?!69289763)\d{8,9}\b", code):  # a section of its own
        code = code.replace("69289763", SMALLEST)
    code = re.sub(r"\bresolution=(?:8|10|25|32|50|60|100)\b", "resolution=200", code)
    code = re.sub(r"\bds\.refine\((.*)\)$", _COARSE_REFINE, code, flags=re.MULTILINE)
    return re.sub(r"open_atlas\((?:10|25|50)?\)", "open_atlas(100)", code)


# ---- what a page says that comes out


_LIST = re.compile(r"(?:^|: (?:about )?)([(\[][-\d., ()]+[)\]])")
_ARRAY = re.compile(r"(\(.*?\)) (u?int\d+|float\d+)\b")


def shown(code: str) -> list[tuple[str, str]]:
    """Return the expressions of Python code that have a comment behind them, and that."""
    found = []
    lines = code.encode().splitlines()
    for node in ast.parse(code).body:
        after = lines[(node.end_lineno or 0) - 1][node.end_col_offset or 0 :].decode()
        comment = re.match(r"\s*#\s*(.*)", after)
        if isinstance(node, ast.Expr) and comment:
            found.append((ast.unparse(node), comment[1].removeprefix("about ")))
    return found


def _read(text: str) -> list[Any]:
    """Return the value that a text is, if it is one."""
    try:
        return [ast.literal_eval(text.strip())]
    except (ValueError, SyntaxError):
        return []


def same(value: Any, comment: str) -> bool | None:
    """Whether a value is what a comment shows; `None` if that shows none.

    ``(11921, 7553)``, ``1: left; 2 is right`` and ``half a voxel: [0.5, 0.5]`` show values, as far
    as they have digits; ``(528, 320, 456) uint32: labels`` shows an array.
    """
    if (array := _ARRAY.match(comment)) and hasattr(value, "dtype"):
        return bool(value.shape == ast.literal_eval(array[1]) and value.dtype == array[2])
    found = _read(comment) or _read(comment.split(":")[0])
    if not found and (listed := _LIST.search(comment)):
        found = _read(listed[1])
    if not found:
        return None
    (said,) = found
    if np.asarray(said).dtype.kind not in "iuf":
        return bool(value == said)
    try:
        return np.allclose(np.asarray(value, float), said, rtol=1e-3, atol=1e-4)
    except ValueError:  # another shape
        return False


# ---- running


@dataclass
class Page:
    """A page that is being run: one folder, one shell, one set of names.

    Use it in a ``with`` statement, which ends what it has begun.

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
    _begun: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        stand_ins = self.folder.parent / "stand-ins"
        stand_ins.mkdir()
        self.stand_ins = StandIns(stand_ins, self.server)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        for begun in self._begun:
            begun.send_signal(signal.SIGTERM)
        codes = [begun.wait(60) for begun in self._begun]
        self.stand_ins.close()
        assert not any(codes), codes

    def run(self, block: Block) -> None:
        """Run a block, or raise."""
        if block.mark == FEWER_ONLY and not self.coarse:
            return
        code = re.sub(r"http://(127\.0\.0\.1|server\.example):8765", self.server, block.code)
        code = self.stand_ins.put_in(code)
        if block.language == "python":
            self._execute(code, block)
        elif block.mark in (UNTIL_STOPPED, CONFIRMED):
            for line in filter(None, map(_command, code.splitlines())):
                self._begin(line, confirmed=block.mark == CONFIRMED)
        elif block.mark == AT_ALLENS:
            self._type(self._way_to_allens(block) + code)
        else:
            self._type(code)

    def _execute(self, code: str, block: Block) -> None:
        code = textwrap.dedent(coarse_code(code) if self.coarse else code)
        exec(compile(code, f"line {block.line}", "exec"), self.names)
        if self.coarse:  # other numbers come out
            return
        for expression, said in shown(code):
            if same(0, said) is None:  # nothing to compare; once is enough
                continue
            value = eval(expression, self.names)
            fits = same(value, said)
            assert fits, f"line {block.line}: {expression} is {value}, not {said}"

    def _type(self, lines: str) -> None:
        state, place = self._state
        after = f'\ndeclare -px > "{state}"; pwd > "{place}"\n'
        done = subprocess.run(
            ["bash", "-e", "-c", self._before() + lines + after],
            env=self._environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=7200,
        )
        self.said += done.stdout + done.stderr
        assert done.returncode == 0, f"{lines}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

    def _begin(self, line: str, *, confirmed: bool) -> None:
        """Begin a command that runs until it is stopped, and wait for the address it names."""
        if " serve" in line:  # no test needs a port of its own
            line = re.sub(r" --port \d+", "", line) + " --port 0"
        output = self.folder.parent / f"begun-{len(self._begun)}"
        with output.open("w") as file:
            begun = subprocess.Popen(
                ["bash", "-e", "-c", f"{self._before()}exec {line}"],
                env={**self._environment(), "BROWSER": "true"},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self._begun.append(begun)
        while not (found := ADDRESS.search(output.read_text())):
            assert begun.poll() is None, f"{line}\n{output.read_text()[-4000:]}"
            time.sleep(0.05)
        address = found[0].replace("0.0.0.0", "127.0.0.1")
        with urlopen(address):  # it answers, and so can be ended by a signal
            pass
        if " serve" in line:
            self.server = address
        if confirmed:
            confirm_all(address)

    @property
    def _state(self) -> tuple[Path, Path]:
        """The variables and the folder that the last block left behind."""
        return self.folder.parent / "state", self.folder.parent / "place"

    def _before(self) -> str:
        state, place = self._state
        return f'source "{state}"; cd "$(cat "{place}")"\n' if state.exists() else ""

    def _way_to_allens(self, block: Block) -> str:
        """Return lines that lead to the stand-in for Allen's service, unless the block's own do."""
        ways = {} if "proxy.example" in block.code else self.stand_ins.at_allens_service()
        lines = [f"export {name}={shlex.quote(way)}\n" for name, way in ways.items()]
        return "".join(["unset ATLDLD_API_URL\n", *lines])

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.stand_ins.environment,
            "PATH": os.pathsep.join(map(str, (*self._programs(), os.environ["PATH"]))),
        }

    def _programs(self) -> tuple[Path, Path]:
        """Return the folders of the commands, as the page means them."""
        folder = self.folder.parent / "programs"
        if not folder.exists():
            folder.mkdir()
            self.stand_ins.programs(folder)
            if self.coarse:
                text = _SHIM.format(python=sys.executable, path=path_of_modules())
                program(folder, "atldld", text)
        return folder, Path(sys.executable).parent


def _command(line: str) -> str:
    """Return a line of a shell without its comment."""
    return shlex.join(shlex.split(line, comments=True))
