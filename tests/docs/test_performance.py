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
