"""Batches on a clock that jumps: the real planner, journal, bounds and resumption."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from atldld.batch import places
from atldld.batch.journal import JOURNAL, read_entries

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def simulate():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        spec = importlib.util.spec_from_file_location("simulate", BENCHMARKS / "simulate.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "simulate", module)
        spec.loader.exec_module(module)
        yield module


def test_it_ends_when_the_dry_run_said(simulate, tmp_path):
    """The kind: an estimate that the bounds, or what a slow service takes, make wrong."""
    count = 300
    hours, requests = simulate.expected(tmp_path, count)
    summary = simulate.one_run(tmp_path, count, kill_after=None, seed=1)
    assert summary.complete
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["now"] / 3600 == pytest.approx(hours, rel=0.1)
    assert requests <= state["requests"] <= 1.02 * requests  # one in 200 is sent again


def test_killed_again_and_again_each_data_set_is_there_once(simulate, tmp_path):
    count, kills = 200, [30, 50, 40]
    told = simulate.killed_runs(tmp_path, count, kills)
    assert told["runs"] == len(kills) + 1
    entries = read_entries(tmp_path / "out" / JOURNAL)
    assert set(entries) == set(range(simulate.FIRST, simulate.FIRST + count))
    assert all(entry.state == "done" for entry in entries.values())
    # a kill loses the data set that was running, and the one whose line was torn
    lines = (tmp_path / "out" / JOURNAL).read_text().splitlines()
    assert sum('"data_set"' in line for line in lines) <= count + 2 * len(kills)


def test_a_service_that_is_down_is_given_up_and_gone_on_with(simulate, tmp_path, monkeypatch):
    monkeypatch.setattr(simulate, "OUTAGE_EVERY", 600.0)
    monkeypatch.setattr(simulate, "OUTAGE", 60.0)
    runs: list[Any] = []
    while not runs or not runs[-1].complete:
        runs.append(simulate.one_run(tmp_path, 200, kill_after=None, seed=len(runs)))
    assert len(runs) > 1
    assert any(run.given_up for run in runs[:-1])
    assert sum(len(run.entries) - run.kept - len(run.failed) for run in runs) == 200


def test_a_new_data_set_does_not_read_the_journal(simulate, tmp_path, monkeypatch):
    """The work for all of them would grow with the square of their number."""
    reads = []

    def counted(path):
        reads.append(path)
        return read_entries(path)

    monkeypatch.setattr(places, "read_entries", counted)
    assert simulate.one_run(tmp_path, 50, kill_after=None, seed=0).complete
    assert reads == []
