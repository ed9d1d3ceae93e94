"""Published packages in environments of their own, run as black boxes with the local service.

Used by the tests here and by the benchmarks, so it knows neither.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import time
import venv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PEER = "atldld==0.3.4"


class UnavailableError(Exception):
    """The environment cannot be made; says why."""


def peer_requirements() -> list[str]:
    """Return what is to be installed for the published atldld.

    Nothing else is needed: on Python 3.11 it installs and runs with today's packages. The same
    OpenCV as ours, so that two warps can be compared pixel by pixel.
    """
    opencv = importlib.metadata.version("opencv-python-headless")
    return [PEER, f"opencv-python=={opencv}"]


# The peer has the real host built in; this sends its requests to the local service instead.
SITECUSTOMIZE = """
import os
import re

try:
    from requests.sessions import Session
except ImportError:
    pass
else:
    send = Session.request

    def request(self, method, url, *arguments, **options):
        local = re.sub(r"^https?://api\\.brain-map\\.org", os.environ["PEER_API_URL"], url)
        answer = send(self, method, local, *arguments, **options)
        # for questions that the local service cannot be asked: replace text in answers
        for pair in filter(None, os.environ.get("PEER_PATCH", "").split(";;")):
            if "json" in answer.headers.get("Content-Type", ""):
                old, new = pair.split("=>")
                answer._content = answer.text.replace(old, new).encode()
        return answer

    Session.request = request
"""


def program(folder: Path, name: str) -> Path:
    """Return a program of an environment."""
    return folder / (f"Scripts/{name}.exe" if os.name == "nt" else f"bin/{name}")


def make_environment(folder: Path, install: Sequence[str], *, seconds: float = 800) -> Path:
    """Make an environment, once, however many processes ask for it.

    Parameters
    ----------
    folder : pathlib.Path
        Where it is, or will be.
    install : sequence of str
        The arguments of pip; another environment is made when they have changed.
    seconds : float
        How long to wait for another process that makes it.

    Raises
    ------
    UnavailableError
        It cannot be made.
    """
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
                raise UnavailableError(f"another process holds {lock.name}") from None
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
                raise UnavailableError(reason)
            ready.write_text(wanted)
    finally:
        with suppress(FileNotFoundError):
            lock.unlink()
    return folder
