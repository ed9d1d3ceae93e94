"""A registration is read with NumPy and SimpleITK alone, by the script in the documentation."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atldld.place.registration import Registration
from tests.place.test_registration import PIXEL, curved, flat, marked, marked_curve

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "read_registration.py"


@pytest.fixture(scope="module")
def registration():
    sections = {
        11: curved(),
        12: flat(),
        13: curved(9, amount=60.0),
        15: marked(),
        16: marked_curve(),
    }
    return Registration(5, sections, {"atlas": {"name": "ccf_2017"}})


def test_the_script_needs_nothing_of_ours():
    text = SCRIPT.read_text()
    imported = [
        line.split()[1] for line in text.splitlines() if line.startswith(("import", "from"))
    ]
    assert set(imported) <= {"json", "sys", "pathlib", "numpy", "SimpleITK"}


@pytest.mark.parametrize("image_id", [11, 12, 13, 15, 16])
def test_places_are_ours_to_a_tenth_of_a_pixel(registration, tmp_path, image_id):
    pytest.importorskip("SimpleITK")
    namespace: dict[str, Any] = {"__name__": "script"}
    exec(compile(SCRIPT.read_text(), SCRIPT, "exec"), namespace)
    path = registration.save(tmp_path / "reg.json")
    section = json.loads(path.read_text())["sections"][str(image_id)]
    placement = registration.sections[image_id].placement
    rng = np.random.default_rng(image_id)
    # between nodes, at them, near the edge and beyond it
    at = [*rng.uniform((-300, -200), (5000, 3300), (60, 2)), (-150, -80), (330, 320), (4530, 2820)]
    for x, y in at:
        xy = namespace["to_flat"](section, tmp_path, float(x), float(y))
        pir = np.array(section["image_to_reference"]) @ [*xy, 1]
        off = np.linalg.norm(pir - placement.to_reference([x, y]))
        assert off < 0.1 * PIXEL, (x, y, off)


def test_the_script_prints_micrometres(registration, tmp_path):
    pytest.importorskip("SimpleITK")
    path = registration.save(tmp_path / "reg.json")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(path), "11", "1234.5", "987"],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = registration.sections[11].placement.to_reference([1234.5, 987])
    np.testing.assert_allclose([float(n) for n in done.stdout.split()], expected, atol=0.1)
