"""The tables of docs/performance.md are those of benchmarks/results."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results").glob("*.json"))


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


performance, findings = loaded("performance"), loaded("findings")


def test_page_and_results_agree():
    """Else: `make performance`."""
    text = performance.PAGE.read_text("utf-8")
    assert performance.with_tables(text) == text
    shown = set(re.findall(r"<!-- results: (\S+) -->", text))
    assert shown == {path.stem for path in RESULTS}


def test_another_number_is_noticed(tmp_path):
    for path in RESULTS:
        result = json.loads(path.read_text("utf-8"))
        row = result["rows"][0]
        name = next(name for name, value in row.items() if isinstance(value, float | int))
        row[name] += 17
        (tmp_path / path.name).write_text(json.dumps(result))
    text = performance.PAGE.read_text("utf-8")
    assert performance.with_tables(text, tmp_path) != text


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_are_plain_numbers_of_no_named_machine(path):
    result = json.loads(path.read_text("utf-8"))
    assert {"benchmark", "date", "machine", "rows"} <= set(result)
    assert set(result["machine"]) <= {"cores", "memory_gb", "python"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", result["date"])
    for row in result["rows"]:
        assert all(value is None or isinstance(value, str | int | float) for value in row.values())
    assert not re.search(r"/(home|root|tmp|work|Users)/", path.read_text("utf-8"))


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("bench_*.py")), ids=lambda path: path.stem)
def test_each_benchmark_says_one_line_and_json(path):
    text = path.read_text("utf-8")
    for part in ("json_option(", "Findings(", "findings.row(", "findings.tell("):
        assert part in text, part


def test_what_is_told(tmp_path, capsys):
    file = tmp_path / "found.json"
    file.write_text(json.dumps({"about": "by hand", "before": [{"work": "a", "s": 2}], "rows": 1}))
    told = findings.Findings("work", file)
    told.row({"work": "a", "s": 1 / 3, "more": None})
    told.tell("a third of a second")
    assert capsys.readouterr().out == "work: a third of a second\n"
    found = json.loads(file.read_text("utf-8"))
    assert found["rows"] == [{"work": "a", "s": 0.333333, "more": None}]
    assert found["line"] == "a third of a second"
    assert set(found["machine"]) == {"cores", "memory_gb", "python"}
    # what a person has added stays
    assert (found["about"], found["before"]) == ("by hand", [{"work": "a", "s": 2}])
    assert "| a | 2 | 0.333 | – |" in performance.said(found)


loaded("memory")  # which it imports
goals = loaded("goals")


@pytest.mark.parametrize("name", goals.BENCHMARKS)
def test_each_goal_is_of_a_benchmark_that_takes_these_words(name):
    script = BENCHMARKS / f"bench_{name.split()[0]}.py"
    text = script.read_text("utf-8") + (BENCHMARKS / "findings.py").read_text("utf-8")
    one = goals.BENCHMARKS[name]
    for word in f"{one.words} {one.again}".split():
        assert not word.startswith("--") or f'"{word}"' in text
    assert one.goals


def test_a_goal_is_reached_or_by_how_much_it_is_missed():
    rows = [{"format": "csv", "seconds": 9.0}, {"format": "parquet", "seconds": 2.0}]
    slow = goals.Goal("csv, s", 6, goals.only("seconds", format="csv"))
    assert slow.row([rows]) == {
        "figure": "csv, s",
        "found": 9.0,
        "goal": "≤ 6",
        "reached": "no: 1.5 times that",
    }
    fast = goals.Goal("parquet, s", 3, goals.only("seconds", format="parquet"))
    assert fast.row([rows])["reached"] == "yes"
    ratio = goals.Goal("times as fast", 4, lambda rows: 2.0, more_is_better=True)
    assert ratio.row([rows])["goal"] == "≥ 4"
    assert ratio.row([rows])["reached"] == "no: 0.5 times that"


def test_the_median_of_runs_counts():
    runs = [[{"seconds": seconds}] for seconds in (1.0, 9.0, 2.0)]
    assert goals.Goal("work, s", 3, goals.most("seconds")).row(runs)["found"] == 2.0


def test_a_row_that_is_not_there_is_noticed():
    with pytest.raises(ValueError, match="unpack"):
        goals.only("seconds", format="csv")([{"format": "parquet", "seconds": 1.0}])
