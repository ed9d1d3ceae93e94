"""Environments of their own for other people's packages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.peers.published import UnavailableError, make_environment, program

__all__ = ["environment", "program", "pynutil_runner"]

HERE = Path(__file__).parent


def environment(
    name: str,
    install: Sequence[str],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    *,
    seconds: float = 800,
) -> Path:
    """Return an environment, made once and kept in ``ATLDLD_<NAME>_ENV`` or pytest's cache.

    `install` are the arguments of pip. What cannot be installed skips the test with the reason.
    """
    variable = f"ATLDLD_{name.upper()}_ENV"
    if variable in os.environ:
        folder = Path(os.environ[variable])
    elif getattr(request.config, "cache", None) is not None:
        folder = Path(request.config.cache.mkdir(f"atldld-{name}")) / "env"
    else:
        folder = tmp_path_factory.mktemp(f"atldld-{name}") / "env"
    try:
        return make_environment(folder, install, seconds=seconds)
    except UnavailableError as error:
        pytest.skip(f"{name} cannot be installed: {error}")


def pynutil_runner(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path, Path, Path], subprocess.CompletedProcess[str]]:
    """Return what lets PyNutil, in an environment of its own, read images and their alignment."""
    folder = environment(
        "pynutil", ["install", "--quiet", "PyNutil>=0.6"], request, tmp_path_factory
    )

    def run(images: Path, alignment: Path, out: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program(folder, "python"), HERE / "pynutil_folder.py", images, alignment, out],
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )

    return run
