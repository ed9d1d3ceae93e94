"""The benchmark of registrations runs, and its figures say that sections have become better."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "benchmarks" / "registration"


@pytest.mark.slow
def test_sections_at_known_places(shared):
    command = [sys.executable, str(FOLDER / "cut.py"), "69289763", "--seeds=0", "--resolution=100"]
    done = subprocess.run(
        [*command, '--options={"steps": ["whole"]}'],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    cells = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("|").split("|")]
    before, after = (float(cells[column].split(",")[0]) for column in (3, 4))
    assert before == pytest.approx(220, rel=0.05)
    assert after < 0.8 * before
