"""A small asymmetric volume in two kinds, and one voxel of it that every file must find again."""

import os
import subprocess
import venv
from pathlib import Path

import numpy as np
import pytest

from atldld.volume.model import Volume

# Read before the tests' own environment is cleared of such names.
ENVIRONMENTS = os.environ.get("ATLDLD_EXPORT_ENVS")

RESOLUTION = 800.0
SHAPE = (16, 10, 14)  # the whole voxels of 13200 × 8000 × 11400
LANDMARK = (3, 7, 2)  # anterior, inferior, left


@pytest.fixture(scope="session")
def landmark():
    """The landmark's index, and (p, i, r) in µm of its centre."""
    return LANDMARK, (np.array(LANDMARK) + 0.5) * RESOLUTION


def make(data, channel):
    coverage = np.linspace(0, 3, data[..., 0].size if data.ndim == 4 else data.size)
    return Volume(
        data=data,
        coverage=coverage.reshape(data.shape[:3]).astype(np.float32),
        resolution=RESOLUTION,
        channel=channel,
        dataset_ids=(69289763, 909),
        fill="none",
        metadata={"sections": [np.int64(4), 5], "citation": "© somebody, 25 µm"},
    )


@pytest.fixture
def grey():
    data = np.random.default_rng(1).random(SHAPE, dtype=np.float32) / 2
    data[LANDMARK] = 1.0
    return make(data, "expression")


@pytest.fixture
def colours():
    data = np.random.default_rng(2).integers(0, 200, (*SHAPE, 3), dtype=np.uint8)
    data[LANDMARK] = 250, 130, 10
    return make(data, "image")


@pytest.fixture(scope="session")
def environment_of(request, tmp_path_factory):
    """Make an environment with published packages, once, and return its Python."""

    def make_environment(name: str, *requirements: str) -> Path:
        if ENVIRONMENTS is not None:
            root = Path(ENVIRONMENTS)
        elif getattr(request.config, "cache", None) is not None:
            root = Path(request.config.cache.mkdir("atldld-export"))
        else:
            root = tmp_path_factory.mktemp("atldld-export")
        folder = (root / name).absolute()
        ready, wanted = folder / ".ready", "\n".join(requirements)
        python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        if not ready.is_file() or ready.read_text() != wanted:
            venv.create(folder, with_pip=True, clear=True)
            done = subprocess.run(
                [python, "-m", "pip", "install", "--quiet", *requirements],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                pytest.skip(f"{', '.join(requirements)} cannot be installed: {done.stderr[-500:]}")
            ready.write_text(wanted)
        return python

    return make_environment
