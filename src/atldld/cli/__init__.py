"""The `atldld` command: a thin door that holds no logic.

The list of commands stands here by itself, so that `atldld --help` and the start of any command
import nothing of the others.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import click

__all__ = ["COMMANDS", "app", "help_text", "main"]

SUMMARY = "Allen Brain Atlas section data sets in the brain's reference coordinates."

COMMANDS = {
    "Find": {
        "search": "Find data sets, images, genes, specimens and structures.",
        "catalogue": "The local catalogue that searches are answered from.",
        "dataset": "What a data set is, and how its sections lie.",
    },
    "Fetch": {
        "download": "Download registered data sets, and images as they are.",
        "cache": "Look at the cache, check it, prune it, move it.",
        "serve": "Serve an archive at the service's own URLs, read-only, until Ctrl-C.",
    },
    "Place": {
        "sync": "Take points between images and the brain.",
    },
    "Use": {
        "volume": "Lay every section, in its own plane, into one grid of voxels.",
        "atlas": "Which structure is where: atlases, outlines on sections, plates.",
        "quantify": "Count expressing pixels of every structure and hemisphere.",
        "grid": "Fetch Allen's 200 µm grids.",
        "refine": "Move and bend sections to fit the atlas; one that would not gain stays.",
        "align": "See, correct and confirm by hand where the sections lie, in the browser.",
        "quality": "Mark the sections that lie, or look, unlike those around them.",
        "report": "Write one page about a data set: sections, quality, regions, volume, methods.",
        "export": "Write files that other tools open: QuickNII, ITK, OME.",
    },
    "This program": {
        "doctor": "Check this machine, the network and the service.",
        "demo": "Run the main job on the packaged demo archive, with no network.",
        "info": "The version and the cache.",
        "completion": "Print what makes a shell complete commands, genes and ids.",
    },
}
"""Every command with the first sentence of its help, by the steps of the work."""

OPTIONS = {"--version": "Show the version.", "-h, --help": "Show this message and exit."}


EXAMPLE = (
    "atldld search dataset -g Prox1 -p sagittal",
    "atldld download dataset 69289763 prox1",
)
"""What most people want first."""


def help_text() -> str:
    """Return what `atldld --help` shows."""
    from atldld.cli.layout import listed, screen_width, wrapped

    room = min(screen_width(sys.stdout) or 80, 100)
    parts = {**COMMANDS, "Help": OPTIONS}
    column = max(len(name) for part in parts.values() for name in part) + 2
    lines = [*wrapped(SUMMARY, room), "", "Usage: atldld COMMAND [options]", "", "Example:"]
    lines += [f"  {line}" for line in EXAMPLE]
    for title, part in parts.items():
        lines += ["", f"{title}:"]
        lines += [f"  {line}" for line in listed(part.items(), room - 2, column)]
    return "\n".join([*lines, "", "More about one: atldld COMMAND --help"])


def main() -> None:
    """Run the command; errors become one sentence and an exit status.

    Which status says what stands in `atldld.cli.codes`.
    """
    try:
        from atldld.cli.terminal import run_to_the_end

        run_to_the_end(_run)
    except KeyboardInterrupt:  # before the first line of it was reached
        os._exit(130)


def _run() -> int:
    if os.environ.get("_ATLDLD_COMPLETE"):  # a shell asks, with each press of the tab key
        from atldld.cli.complete import complete

        return complete(sys.argv[1:])
    if sys.argv[1:] in ([], ["-h"], ["--help"]):
        from atldld.cli.terminal import answer_lines

        answer_lines(help_text())
        return 0 if sys.argv[1:] else 2
    from atldld.cli.root import run

    return run()


def __getattr__(name: str) -> click.Group:
    if name == "app":
        from atldld.cli.root import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
