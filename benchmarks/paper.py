"""Make the tables and figures of the paper: ``python benchmarks/paper.py [--check]``.

Tables of measurements are rows of the documentation's own tables, which name the commands that
measured them. In paper.md a comment says which:

    <!-- table: docs/refine.md | structure | of CTX, **mean** | columns 1 3 -->

is the table of that page whose first heading is *structure*; of it the rows that begin with these
words (without words, all of them) and these columns (all without the last part). Figures are drawn
from such a table, or from the demo archive.

``--check`` writes nothing, and fails where a table differs from the documentation.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
PAPER = ROOT / "paper" / "paper.md"

_MARK = re.compile(
    r"(?P<mark><!-- table: (?P<page>\S+) \| (?P<heading>[^|]+?) \| of ?(?P<rows>[^|]*?)"
    r"(?: ?\| columns (?P<columns>[\d ]+?))? ?-->)\n"
    r"\n(?:(?:\|.*\n)+\n)?"
)
DATASET = 69289763
SECTION = 70


@dataclass(frozen=True, slots=True)
class Table:
    """A Markdown table: its headings, the line below them, and its rows."""

    headings: str
    rule: str
    rows: tuple[str, ...]

    def of(self, names: Sequence[str]) -> Table:
        """Return the rows that begin with one of these words; all of them for none."""
        if not names:
            return self
        missing = set(names) - {first_cell(row) for row in self.rows}
        if missing:
            raise LookupError(f"no row begins with {', '.join(sorted(missing))}")
        rows = tuple(row for row in self.rows if first_cell(row) in names)
        return Table(self.headings, self.rule, rows)

    def columns(self, numbers: Sequence[int]) -> Table:
        """Return the columns with these numbers, from 1; all of them for none."""
        if not numbers:
            return self

        def chosen(row: str) -> str:
            cells = row.split("|")
            return "|".join(["", *(cells[number] for number in numbers), ""])

        return Table(chosen(self.headings), chosen(self.rule), tuple(map(chosen, self.rows)))

    def __str__(self) -> str:
        return "\n".join([self.headings, self.rule, *self.rows]) + "\n"


def first_cell(row: str) -> str:
    """Return what stands in the first cell of a row."""
    return row.split("|")[1].strip()


def table_of(page: str, heading: str) -> Table:
    """Return the table of a page's text whose first heading this is.

    Raises
    ------
    LookupError
        If there is none, or more than one.
    """
    blocks = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    found = [block.splitlines() for block in blocks if first_cell(block) == heading]
    if len(found) != 1:
        raise LookupError(f"{len(found)} tables begin with {heading!r}")
    headings, rule, *rows = found[0]
    return Table(headings, rule, tuple(rows))


def filled(paper: str) -> str:
    """Return a paper's text with its tables as the documentation has them now."""

    def fill(found: re.Match[str]) -> str:
        page = (ROOT / found["page"]).read_text(encoding="utf-8")
        names = [name.strip() for name in found["rows"].split(",") if name.strip()]
        numbers = [int(number) for number in (found["columns"] or "").split()]
        table = table_of(page, found["heading"]).of(names).columns(numbers)
        return f"{found['mark']}\n\n{table}\n"

    return _MARK.sub(fill, paper)


def dice_figure() -> Figure:
    """Draw the Dice coefficients of all structures, out of the table of docs/refine.md."""
    from matplotlib import pyplot as plt

    from atldld import plot

    table = table_of((ROOT / "docs" / "refine.md").read_text(encoding="utf-8"), "structure")
    cells = [[cell.strip(" *") for cell in row.split("|")[1:-1]] for row in table.rows]
    names = [row[0] for row in cells]
    style: Any = plot.STYLE
    placed_by = [cell.strip() for cell in table.headings.split("|")[2:-1]]
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(7.1, 2.8), layout="constrained")
        for number, (who, marker) in enumerate(zip(placed_by, "o^D", strict=True), start=1):
            values = [float(row[number].split(",")[0].strip(" *")) for row in cells]
            axes.plot(range(len(names)), values, marker, markersize=4, label=who)
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_ylabel("Dice coefficient")
        axes.set_ylim(0, 1)
        axes.grid(axis="x", linewidth=0.3)
        axes.legend(frameon=False, loc="lower right", ncols=3)
    return figure


def demo_figure() -> Figure:
    """Draw a section of the demo archive, put off by a known amount and refined."""
    import warnings

    from matplotlib import pyplot as plt

    import atldld
    from atldld import plot
    from atldld.demo.local import in_process_session
    from atldld.testing.disturbed import disturbed

    style: Any = plot.STYLE
    with (
        tempfile.TemporaryDirectory() as folder,
        in_process_session(Path(folder) / "cache") as session,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # what is odd about planes that are off on purpose
        atlas = atldld.open_atlas(25, session=session)
        truth = atldld.open_dataset(DATASET, session=session)
        off, refined = Path(folder) / "off.json", Path(folder) / "refined.json"
        disturbed(truth, atlas).save(off)
        start = atldld.open_dataset(DATASET, session=session, alignment=off)
        start.refine(atlas, resolution=100).save(refined)
        end = atldld.open_dataset(DATASET, session=session, alignment=refined)
        with plt.rc_context(style):
            figure, panels = plt.subplots(1, 2, figsize=(7.1, 2.7), layout="constrained")
            for letter, panel, dataset in zip("ab", panels, (start, end), strict=True):
                section = dataset.section(number=SECTION)
                plot.section(
                    section, atlas, ax=panel, depth=3, resolution=20, labels=False, title=""
                )
                panel.set_title(letter, loc="left", fontweight="bold", fontsize=9)
    return figure


FIGURES = {"figure-dice.png": dice_figure, "figure-demo.png": demo_figure}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare the tables")
    options = parser.parse_args(arguments)
    before = PAPER.read_text(encoding="utf-8")
    after = filled(before)
    if options.check:
        if before != after:
            print("Tables of paper.md differ from the documentation. Run: make paper")
        return int(before != after)
    from atldld import plot

    PAPER.write_text(after, encoding="utf-8")
    for name, draw in FIGURES.items():
        print(plot.save(draw(), PAPER.with_name(name), dpi=150, force=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
