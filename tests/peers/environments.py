"""Environments of their own for other people's packages."""

from __future__ import annotations

import os
import subprocess
import time
import venv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest


def program(folder: Path, name: str) -> Path:
    """Return a program of an environment."""
    return folder / (f"Scripts/{name}.exe" if os.name == "nt" else f"bin/{name}")


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
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    ready, lock = folder / ".ready", folder.with_name(folder.name + ".lock")
    wanted = "\n".join(install)
    deadline = time.monotonic() + seconds
    while True:  # only one process may make it
        try:
            lock.touch(exist_ok=False)
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                pytest.skip(f"another process holds {lock.name}")
            time.sleep(0.5)
    try:
        if not ready.is_file() or ready.read_text() != wanted:
            venv.create(folder, clear=True, with_pip=True)
            made = subprocess.run(
                [program(folder, "python"), "-m", "pip", *install],
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                reason = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
                pytest.skip(f"{name} cannot be installed: {reason}")
            ready.write_text(wanted)
    finally:
        with suppress(FileNotFoundError):
            lock.unlink()
    return folder
