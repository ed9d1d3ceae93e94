"""Figures on pages that are measured in seconds are what comes out today."""

import re
import sys

from tests.docs.pages import DOCS, ROOT

NUMBER = re.compile(r"\d+\.\d+")


def numbers(text):
    return [float(one) for one in NUMBER.findall(text)]


def test_of_the_genuine_section(shared, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "bench_quality", raising=False)
    import bench_quality

    table = (DOCS / "quality.md").read_text("utf-8").partition("| placed | overlap |")[2]
    rows = table.partition("\n\n")[0].splitlines()[2:]
    measured = [numbers(line.partition(":")[2]) for line in bench_quality.real_section()]
    assert len(rows) == 6
    assert [numbers(row) for row in rows] == [one for one in measured if one]
