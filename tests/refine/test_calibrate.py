"""The numbers by which errors are stated come out of sections with known errors."""

import os
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from atldld.refine.errors import FIGURES, Evidence, stated
from tests.conftest import ROOT

FOLDER = ROOT / "benchmarks" / "registration"
USUAL = np.array([30, 35, 0.3, 35, 20, 20])  # figures of a section
POWER = 0.6  # of the first figure, on which alone errors depend here
SCATTER = 0.3  # of the logarithm of errors


@pytest.fixture(scope="module")
def calibrate():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield import_module("calibrate")


def run_of(calibrate, seed, *, error=60.0, count=150):
    """The sections of one data set, and their errors, in µm."""
    rng = np.random.default_rng(seed)
    ratios = np.exp(rng.normal(0, 0.4, (count, len(FIGURES))))
    errors = error * ratios[:, 0] ** POWER * np.exp(rng.normal(0, SCATTER, count))
    for own, true in zip(USUAL * ratios, errors, strict=True):
        known = Evidence(own, 200.0, (1,), own[None], np.array([200.0]))
        before = float(np.hypot(true, 200))
        local = {1: (before, float(true))}
        yield calibrate.Sample(1, seed, "made", "found", known, before, float(true), local)


def inside(samples, model):
    """The part of sections below their bound."""
    return np.mean([one.after <= stated(one.known, model).bound90_after for one in samples])


def test_errors_of_a_run_that_was_not_seen_are_told(calibrate):
    model = calibrate.fitted([one for seed in range(4) for one in run_of(calibrate, seed)])
    assert model.powers[0] == pytest.approx(POWER, abs=0.1)
    assert np.abs(model.powers[1:]).max() < 0.1
    assert inside(run_of(calibrate, 99, count=600), model) == pytest.approx(0.9, abs=0.03)


def test_bounds_are_those_of_runs_that_were_left_out(calibrate):
    """Errors that differ from one data set to the next make a bound wider."""
    differing = [
        one
        for seed, error in enumerate((40.0, 55.0, 70.0, 100.0))
        for one in run_of(calibrate, seed, error=error)
    ]
    model = calibrate.fitted(differing)
    assert inside(differing, model) > 0.92  # all of them together would have 0.9


@pytest.mark.slow
def test_it_runs(shared):
    command = [sys.executable, str(FOLDER / "calibrate.py"), "69289763", "--as-is", "--judged", "0"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert "| **after** | 18 |" in done.stdout
