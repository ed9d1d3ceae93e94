"""Makes the tables of docs/performance.md of the files in benchmarks/results.

    python benchmarks/performance.py            writes the page
    python benchmarks/performance.py --check    says whether page and files agree

A table stands between ``<!-- results: NAME -->`` and ``<!-- end of results -->``; NAME is that of
a file, which a benchmark has written with ``--json`` (see ``findings.py``). Numbers are shown to
three digits.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
RESULTS = HERE / "results"

_BETWEEN = re.compile(
    r"(<!-- results: (?P<name>[a-z0-9-]+) -->\n).*?(<!-- end of results -->)", re.DOTALL
)
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

OURS, THEIRS = "ours", "0.3.4"


def shown(value: Any) -> str:
    """Return a cell: numbers to three digits, nothing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or float(value).is_integer():
        whole = int(value)
        power = len(str(abs(whole))) - 1
        if whole == 10**power and power >= 5:
            return "10" + str(power).translate(_SUPERSCRIPTS)
        return f"{whole:,}" if abs(whole) >= 10_000 else str(whole)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def plain_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows under their own headings, in the order in which those appear."""
    headings = list(dict.fromkeys(name for row in rows for name in row))
    return table(headings, [[shown(row.get(name)) for name in headings] for row in rows])


def with_before(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows with what an older version took beside each number, where that is kept.

    ``before`` holds rows with the same headings; rows belong together whose ``keys`` are the same.
    """
    rows = [dict(row) for row in result["rows"]]
    keys = result.get("keys") or [next(iter(rows[0]))]
    older = {tuple(row[key] for key in keys): row for row in result.get("before", ())}
    if not older:
        return rows
    told = {name for row in older.values() for name in row if name not in keys}
    made = []
    for row in rows:
        before = older.get(tuple(row[key] for key in keys), {})
        cells: dict[str, Any] = {}
        for name, value in row.items():
            if name in told:
                cells[f"{name}, before"] = before.get(name)
                cells[f"{name}, now"] = value
            else:
                cells[name] = value
        made.append(cells)
    return made


def peer_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the comparison with the published package, several numbers to a cell."""

    def pair(row: Mapping[str, Any], what: str, digits: int) -> str:
        values = [row.get(f"{side}, {what}") for side in (OURS, THEIRS)]
        return " / ".join("–" if value is None else f"{value:.{digits}f}" for value in values)

    cells = []
    for row in rows:
        errors = "–"
        if row.get(f"{OURS}, RMS error") is not None:
            errors = f"{pair(row, 'RMS error', 2)} ({pair(row, 'resampling error', 2)})"
        ratio = row.get("ratio")
        cells.append(
            [
                row["work"],
                shown(row[f"{OURS}, s"]),
                shown(row.get(f"{THEIRS}, s")),
                "–" if ratio is None else f"**{shown(ratio)}**",
                f"≥ {row['wanted']:g}",
                pair(row, "peak MB", 0),
                errors,
                f"{shown(row['limit, s'])} s, {row['limit']}: "
                f"{100 * row['limit, s'] / row[f'{OURS}, s']:.0f} %",
            ]
        )
    headings = [
        "work",
        "ours, s",
        "0.3.4, s",
        "ratio",
        "wanted",
        "peak MB, ours / 0.3.4",
        "RMS error, ours / 0.3.4 (resampling alone)",
        "limit, and how much of it is reached",
    ]
    return table(headings, cells)


def said(result: Mapping[str, Any]) -> str:
    """Return a table with a line about when and where it was measured."""
    machine = result["machine"]
    about = f"{result['date']}, {machine['cores']} cores"
    if machine.get("memory_gb"):
        about += f", {machine['memory_gb']:g} GB"
    about += f", Python {machine['python']}"
    if result.get("about"):
        about += f"; {result['about']}"
    if result["benchmark"] == "peer":
        made = peer_table(result["rows"])
    else:
        made = plain_table(with_before(result))
    return f"{about}.\n\n{made}"


def with_tables(text: str, results: Path = RESULTS) -> str:
    """Return a page with the tables of what was measured."""

    def put(found: re.Match[str]) -> str:
        result = json.loads((results / f"{found['name']}.json").read_text("utf-8"))
        return f"{found[1]}\n{said(result)}\n\n{found[3]}"

    return _BETWEEN.sub(put, text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    text = PAGE.read_text("utf-8")
    made = with_tables(text)
    if options.check:
        print("page and results agree" if made == text else "page and results differ")
        return int(made != text)
    PAGE.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
