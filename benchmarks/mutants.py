"""How many small changes of the geometry and the warps the tests notice; see `make mutants`.

mutmut changes one thing at a time (``<`` to ``<=``, 2 to 3, an argument left out) in a copy of the
package below ``mutants/`` and runs the tests that reach it. This chooses which changes are tried
and sums up; what is changed and which tests run stands in pyproject.toml.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MUTANTS = ROOT / "mutants" / "src" / "atldld"
MUTMUT = [sys.executable, "-m", "mutmut"]
SURVIVED = 0  # the status of tests that pass
NO_TESTS = 33


def results(files: list[str]) -> dict[str, dict[str, int | None]]:
    """Return the status of each mutant's tests, by name, of each file."""
    found = {}
    for path in sorted(MUTANTS.rglob("*.py.meta")):
        name = path.relative_to(MUTANTS).as_posix().removesuffix(".py.meta")
        if name in files or (not files and not name.endswith("__init__")):
            found[name] = json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="such as place/planes; all by default")
    parser.add_argument("--sample", type=int, default=1, help="try one mutant in so many")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    # makes the mutants, runs the tests as they are, and tries none
    subprocess.run([*MUTMUT, "run", "--max-children", "1", "none"], cwd=ROOT, capture_output=True)
    known = results(options.files)
    if missing := set(options.files) - set(known):
        sys.exit(f"There are no mutants of {', '.join(sorted(missing))}.")
    names = [name for mutants in known.values() for name in mutants]
    chosen = random.Random(options.seed).sample(names, -(-len(names) // options.sample))
    print(f"{len(chosen)} of {len(names)} mutants are tried.", flush=True)
    subprocess.run(
        [*MUTMUT, "run", "--max-children", str(options.jobs), *sorted(chosen)], cwd=ROOT, check=True
    )

    tried = set(chosen)
    total: Counter[str] = Counter()
    print("file                 tried killed survived no tests   rate")
    survivors = []
    for file, mutants in results(options.files).items():
        count = Counter(
            {SURVIVED: "survived", NO_TESTS: "no tests", None: "not tried"}.get(status, "killed")
            for name, status in mutants.items()
            if name in tried
        )
        total += count
        show(file, count)
        survivors += [name for name in mutants if name in tried and mutants[name] == SURVIVED]
    show("all", total)
    print("\nSurvivors; `python -m mutmut show NAME` shows one:", *survivors, sep="\n")


def show(what: str, count: Counter[str]) -> None:
    tried = sum(count.values())
    print(
        f"{what:20} {tried:5} {count['killed']:6} {count['survived']:8} {count['no tests']:8} "
        f"{count['killed'] / max(tried, 1):7.1%}"
    )


if __name__ == "__main__":
    main()
