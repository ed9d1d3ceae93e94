"""Checks two small scripts with both type checkers: what is right passes, what is wrong does not.

    python tests/typed/check.py

Of ``wrong.py`` exactly the lines that say so must be named by mypy and by pyright, of ``right.py``
none.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent / "src"
SCRIPTS = (HERE / "right.py", HERE / "wrong.py")


def wrong_lines(script: Path) -> set[int]:
    """Return the numbers of the lines that a script says are wrong."""
    lines = script.read_text("utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def by_mypy(script: Path) -> dict[int, str]:
    """Return what mypy says, by line."""
    command = ["-m", "mypy", "--strict", "--no-error-summary", "--config-file="]
    command.append("--follow-imports=silent")
    told = subprocess.run(
        [sys.executable, *command, script.name],
        cwd=HERE,
        env={**os.environ, "MYPYPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )
    if told.returncode not in (0, 1):
        raise SystemExit(told.stdout + told.stderr)
    found = re.findall(r"^[^:]+:(\d+): error: (.*)$", told.stdout, re.MULTILINE)
    return {int(line): text for line, text in found}


def by_pyright(script: Path) -> dict[int, str]:
    """Return what pyright says, by line."""
    told = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, script],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
    )
    try:
        answer = json.loads(told.stdout)
    except ValueError:
        raise SystemExit(told.stdout + told.stderr) from None
    return {
        one["range"]["start"]["line"] + 1: one["message"].splitlines()[0]
        for one in answer["generalDiagnostics"]
        if one["severity"] == "error"
    }


def main() -> None:
    """Check both scripts, and end with 1 if a line is judged otherwise than it says."""
    faults = []
    for script in SCRIPTS:
        wanted = wrong_lines(script)
        for name, check in (("mypy", by_mypy), ("pyright", by_pyright)):
            found = check(script)
            faults += [
                f"{script.name}:{line}: {name} finds nothing wrong"
                for line in sorted(wanted - found.keys())
            ]
            faults += [
                f"{script.name}:{line}: {name}: {found[line]}"
                for line in sorted(found.keys() - wanted)
            ]
            print(f"{name}: {script.name}, {len(found)} lines are wrong, {len(wanted)} should be")
    if faults:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
