"""The published package in an environment of its own, and the local service for both."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.peers.answers import Answers
from tests.peers.environments import environment, program
from tests.peers.published import SITECUSTOMIZE, peer_requirements

HERE = Path(__file__).parent


class Side:
    """One of the two packages: how to run it."""

    def __init__(self, python: Path, command: list[str], environ: Mapping[str, str]) -> None:
        self.python = python
        self.command = command
        self.environ = {
            key: value for key, value in os.environ.items() if not key.startswith("ATLDLD_")
        } | {"MPLBACKEND": "Agg", "COLUMNS": "160", **environ}

    def run(
        self, *arguments: object, cwd: Path | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return self._run([*self.command, *map(str, arguments)], cwd, environ)

    def script(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a Python file."""
        return self._run([str(self.python), *map(str, arguments)], None, {})

    def _run(
        self, command: list[str], cwd: Path | None, environ: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=cwd,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="session")
def service_url() -> Iterator[str]:
    """Start the local service, and return its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from atldld.cli import main; main()", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        with process.stdout:
            url = process.stdout.readline().strip()
            assert url.startswith("http://"), "the local service did not start"
            yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def peer_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the environment of the peer: made once, kept in ``ATLDLD_PEER_ENV`` or the cache."""
    return environment(
        "peer",
        ["install", "--quiet", *peer_requirements()],
        request,
        tmp_path_factory,
        seconds=600,
    )


@pytest.fixture(scope="session")
def peer(peer_folder: Path, service_url: str, tmp_path_factory: pytest.TempPathFactory) -> Side:
    """Return the published package."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return Side(
        program(peer_folder, "python"),
        [str(program(peer_folder, "atldld"))],
        {
            "PEER_API_URL": service_url,
            "PYTHONPATH": str(site),
            "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("peer-cache")),
        },
    )


@pytest.fixture(scope="session")
def ours(service_url: str, tmp_path_factory: pytest.TempPathFactory) -> Side:
    """Return the package under test."""
    return Side(
        Path(sys.executable),
        [sys.executable, "-c", "from atldld.cli import main; main()"],
        {
            "ATLDLD_API_URL": service_url,
            "ATLDLD_CACHE_DIR": str(tmp_path_factory.mktemp("our-cache") / "atldld"),
        },
    )


@pytest.fixture(scope="session")
def old(peer: Side, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Return what the published package answers."""
    return _answers(peer, tmp_path_factory.mktemp("peer-answers"))


@pytest.fixture(scope="session")
def new(ours: Side, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Return what the package under test answers."""
    return _answers(ours, tmp_path_factory.mktemp("our-answers"))


def _answers(side: Side, folder: Path) -> Answers:
    done = side.script(HERE / "probe.py", folder)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1:]
    return Answers(folder)
