"""The wheel with each extra alone, in a clean environment: it installs, and does its job."""

import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tests.release.conftest import ROOT, copy_tree
from tests.release.jobs import JOBS

EXTRAS = set(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)
PROGRAM = Path(__file__).with_name("jobs.py")


def test_every_extra_has_a_job():
    assert {name for name in JOBS if name} == EXTRAS - {"dev", "docs"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=copy_tree(folder / "tree"), check=True, capture_output=True,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment_of(wheel, tmp_path_factory):
    """Return a function that makes the environment of an extra, once."""
    made: dict[str, Path] = {}
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    def environment_of(extra):
        if extra in made:
            return made[extra]
        folder = tmp_path_factory.mktemp("environment") / (extra or "none")
        python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        what = f"{wheel}[{extra}]" if extra else str(wheel)
        if uv:
            make = [uv, "venv", "--quiet", "--python", sys.executable, str(folder)]
            install = [uv, "pip", "install", "--quiet", "--python", str(python)]
        else:
            make = [sys.executable, "-m", "venv", str(folder)]
            install = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run(make, check=True)
        subprocess.run([*install, "-c", str(ROOT / "constraints.txt"), what], check=True)
        made[extra] = python
        return python

    yield environment_of
    for python in made.values():
        shutil.rmtree(python.parent.parent, ignore_errors=True)


@pytest.fixture
def do(environment_of, demo_server, tmp_path):
    """Return a function that does one extra's job in the environment of another."""

    def do(job, extra):
        python = environment_of(extra)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [python, PROGRAM, job], cwd=tmp_path, capture_output=True, text=True,
            env=clean | {"ATLDLD_API_URL": demo_server, "ATLDLD_DOWNLOAD_URL": demo_server},
        )  # fmt: skip

    return do


@pytest.mark.install
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("extra", JOBS, ids=lambda extra: extra or "none")
def test_the_extra_alone_does_its_job(do, extra, environment_of):
    began = time.perf_counter()
    python = environment_of(extra)
    installed = time.perf_counter()
    answer = do(extra, extra)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.endswith("done\n")
    library = python.parent.parent
    size = sum(file.lstat().st_size for file in library.rglob("*") if not file.is_symlink())
    count = len(list(library.rglob("*.dist-info")))
    # shown with -s: the table of docs/develop/releasing.md
    print(
        f"\n| {extra or 'none'} | {count} | {size / 1e6:.0f} | {installed - began:.0f} |"
        f" {time.perf_counter() - installed:.0f} |"
    )


@pytest.mark.install
@pytest.mark.parametrize("extra", [name for name in JOBS if name not in ("", "all")])
def test_without_it_one_sentence_says_what_to_install(do, extra):
    answer = do(extra, "")
    assert answer.returncode != 0
    assert "Install it with `pip install 'atldld[" in answer.stdout + answer.stderr
