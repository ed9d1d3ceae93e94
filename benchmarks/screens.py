"""Pictures of the terminal, for the docs: commands on the demo archive at 80 and 120 columns.

``make screens``, or ``python benchmarks/screens.py [FOLDER]``. Each picture is an SVG in which the
text can be selected.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"

SCREENS: dict[str, tuple[int, Sequence[str]]] = {
    "help-80": (80, ["atldld --help"]),
    "download-help-80": (80, ["atldld download dataset --help"]),
    "search-80": (
        80,
        ["atldld search dataset -p coronal", "atldld search structure dentate"],
    ),
    "quality-80": (80, ["atldld quality 69289763 --resolution 100"]),
    "quality-120": (120, ["atldld quality 69289763 --resolution 100"]),
    "cache-80": (80, ["atldld cache list", "atldld cache info"]),
}
"""For each picture, how wide the terminal is, and what is typed."""


def on_terminal(words: Sequence[str], environ: Mapping[str, str], width: int) -> str:
    """Return what a command leaves on a terminal of so many columns, with its colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    pieces = []
    with subprocess.Popen(words, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as shell:
        os.close(theirs)
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # nobody has it open any more
                break
            if not piece:
                break
            pieces.append(piece)
    os.close(ours)
    if shell.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {shell.returncode}.")
    text = b"".join(pieces).decode("utf-8").replace("\r\n", "\n")
    # of a line that is written again and again, the last one stays
    return "\n".join(line.rpartition("\r")[2] for line in text.split("\n"))


def draw(
    path: Path,
    width: int,
    typed: Sequence[str],
    environ: Mapping[str, str],
    instead: Mapping[str, str],
) -> None:
    """Run commands and draw the terminal after them.

    Parameters
    ----------
    path : pathlib.Path
        The picture.
    width : int
        Columns of the terminal.
    typed : sequence of str
        The commands.
    environ : dict of str to str
        Their environment.
    instead : dict of str to str
        What differs from time to time, with what is shown in its place.
    """
    from rich.console import Console
    from rich.text import Text

    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=width, file=nowhere, force_terminal=True)
        for line in typed:
            console.print(Text(f"$ {line}", style="bold"))
            words = [sys.executable, "-m", *line.split(" ")]
            on_terminal(words, environ, width)  # the second time, nothing is waited for
            shown = on_terminal(words, environ, width).rstrip("\n")
            for now, always in instead.items():
                shown = shown.replace(now, always)
            console.print(Text.from_ansi(shown))
            console.print()
    # the same picture whenever it is made, so that a change of it is a change of the screen
    svg = console.export_svg(title=typed[0], unique_id=path.stem)
    # fonts of the reader's own: pictures load nothing
    path.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL), encoding="utf-8")


def main(folder: Path = FOLDER, names: Sequence[str] = tuple(SCREENS)) -> list[Path]:
    """Draw the pictures into a folder, and return their files."""
    from atldld.demo.archive import DemoArchive
    from atldld.serve.listen import listen

    server = listen("127.0.0.1", 0, DemoArchive())
    threading.Thread(target=server.run, daemon=True).start()
    made = []
    with tempfile.TemporaryDirectory() as cache:
        environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        address = f"127.0.0.1:{server.effective_port}"
        instead = {address: "127.0.0.1:8765", address.replace(":", "_"): "127.0.0.1_8765"}
        instead |= {cache: "/home/me/.cache/atldld"}
        environ |= {
            "ATLDLD_API_URL": f"http://{address}",
            "ATLDLD_CACHE_DIR": cache,
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        try:
            for name in names:
                width, typed = SCREENS[name]
                path = folder / f"terminal-{name}.svg"
                draw(path, width, typed, environ, instead)
                made.append(path)
        finally:
            server.close()
    return made


if __name__ == "__main__":
    for path in main(Path(sys.argv[1]) if sys.argv[1:] else FOLDER):
        print(path)
