"""What a benchmark has found: one line for who runs it, rows of plain numbers for the pages.

Every benchmark takes ``--json FILE``. The file says when and on what machine (cores, memory,
Python; no names), the line, and the rows; ``benchmarks/results/`` holds those that the pages show,
and ``performance.py`` makes the tables of docs/performance.md of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import platformdirs

__all__ = ["Findings", "folder_option", "json_option", "machine"]


def folder_option(parser: argparse.ArgumentParser, about: str) -> None:
    """Let a benchmark take ``--folder FOLDER``, for what is made once."""
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(platformdirs.user_cache_dir("atldld-benchmarks")),
        help=f"where what is made once is kept: {about}",
    )


def json_option(parser: argparse.ArgumentParser) -> None:
    """Let a benchmark take ``--json FILE``."""
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write what was found to this file, too"
    )


def machine() -> dict[str, Any]:
    """Return what the numbers depend on: cores that may be used, GB of memory, Python."""
    usable = getattr(os, "sched_getaffinity", None)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": len(usable(0)) if usable else os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "python": platform.python_version(),
    }


class Findings:
    """What one benchmark has found so far.

    Parameters
    ----------
    benchmark : str
        Its name, which begins the line.
    file : pathlib.Path, optional
        Where to write it.
    """

    def __init__(self, benchmark: str, file: Path | None) -> None:
        self.benchmark, self.file = benchmark, file
        self.rows: list[dict[str, Any]] = []
        self._about: dict[str, str] = {}

    def about(self, text: str) -> None:
        """Say how it was measured, for the line above a table."""
        self._about = {"about": text}

    def row(self, cells: Mapping[str, Any]) -> None:
        """Add a row: texts and numbers by the headings of their columns, which name the units."""
        self.rows.append({name: _plain(value) for name, value in cells.items()})

    def tell(self, line: str) -> None:
        """Print the line, and write all of it where that was asked for."""
        print(f"{self.benchmark}: {line}", flush=True)
        if self.file is not None:
            # what a person has added to such a file stays
            old = json.loads(self.file.read_text("utf-8")) if self.file.exists() else {}
            kept = {name: old[name] for name in ("about", "keys", "before") if name in old}
            told = {
                "benchmark": self.benchmark,
                "date": date.today().isoformat(),
                "machine": machine(),
                "line": line,
                "rows": self.rows,
                **kept,
                **self._about,
            }
            self.file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _plain(value: Any) -> Any:
    """Return a number or a text; numbers to six digits, which no measurement has."""
    if value is None or isinstance(value, (bool, str)):
        return value
    number = float(value)
    return int(number) if number.is_integer() else float(f"{number:.6g}")
