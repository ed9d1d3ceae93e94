"""Environments of their own for other people's packages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.peers.published import UnavailableError, make_environment, program

__all__ = ["environment", "program"]


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
