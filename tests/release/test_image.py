"""The steps of the Dockerfile, carried out in a folder; the program, run as the image would run it.

No container is needed, and none is tested: that the base image has what it should, that the steps
run as root there, and that the kernel refuses writes to a read-only root, only a build of the image
shows (`.github/workflows/tests.yml`). What is shown here: the steps work one after the other with
what they copy and nothing else; the installed program is whole; and it writes to /cache, /work and
/tmp alone, as a user who may not write anywhere else.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.release.conftest import ROOT

USER = 10001  # the one of the image
_ABSOLUTE = re.compile(r"(?<![\w.:/])/(?=(?:opt|source|tmp|cache|work)\b)")

pytestmark = [
    pytest.mark.install,
    pytest.mark.timeout(5400),  # what is installed comes over a line
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0,
        reason="only root can run a program as somebody else",
    ),
]


def instructions() -> list[tuple[str, str]]:
    """Return what the Dockerfile says, line by line, without comments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word
    ]


class Image:
    """A folder that stands for the image's root."""

    def __init__(self, root: Path, python: str):
        self.root = root
        self.python = python
        self.environment = {"PATH": "/usr/bin:/bin"}
        self.folder = root
        self.said: dict[str, list[str]] = {}

    def inside(self, text: str) -> str:
        """Return a text with the image's paths as they are in the folder."""
        return _ABSOLUTE.sub(f"{self.root}/", text)

    def build(self) -> None:
        """Carry out every step."""
        (self.root / "bin").mkdir()
        (self.root / "bin" / "python").symlink_to(self.python)
        for word, rest in instructions():
            getattr(self, f"_{word.lower()}")(rest)

    def _from(self, _: str) -> None:
        self.environment = {
            "PATH": f"{self.root}/bin:/usr/bin:/bin",
            # where packages come from is this machine's affair
            **{
                name: value
                for name, value in os.environ.items()
                if name.startswith(("PIP_", "SSL_"))
            },
        }

    def _arg(self, rest: str) -> None:
        name, _, value = rest.partition("=")
        self.environment[name] = value

    def _env(self, rest: str) -> None:
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            filled = re.sub(r"\$\{?(\w+)\}?", lambda found: self.environment[found[1]], value)
            self.environment[name] = self.inside(filled)

    def _workdir(self, rest: str) -> None:
        self.folder = Path(self.inside(rest))
        self.folder.mkdir(exist_ok=True, parents=True)

    def _copy(self, rest: str) -> None:
        if rest.startswith("--from"):
            _, source, target = rest.split()
            assert source == target  # it is there already
            return
        *sources, target = rest.split()
        for source in sources:
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, self.folder / target, ignore=ignored)
            else:
                shutil.copy(ROOT / source, self.folder / target)

    def _run(self, rest: str) -> None:
        # this machine's users stay as they are
        kept = [part for part in rest.split("&&") if not re.match(r"\s*(group|user)add ", part)]
        command = self.inside("&&".join(kept))
        done = subprocess.run(
            ["/bin/sh", "-ec", command], cwd=self.folder, env=self.environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def _said(self, word: str, rest: str) -> None:
        self.said[word] = json.loads(rest[rest.index("[") :])

    def _entrypoint(self, rest: str) -> None:
        self._said("ENTRYPOINT", rest)

    def _cmd(self, rest: str) -> None:
        self._said("CMD", rest)

    def _healthcheck(self, rest: str) -> None:
        self._said("HEALTHCHECK", rest)

    def _user(self, rest: str) -> None:
        assert rest == f"{USER}:{USER}"

    def _label(self, _: str) -> None: ...

    def _expose(self, _: str) -> None: ...

    def _volume(self, _: str) -> None: ...

    @contextmanager
    def started(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """Start a command as the image's user, and end it."""
        with subprocess.Popen(
            command, cwd=self.root / "work", env=self.environment, user=USER, group=USER,
            extra_groups=[], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.terminate()

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command as the image's user; return its status and what it said."""
        with self.started(*command) as process:
            said, _ = process.communicate()
        return process.returncode, said


def written_elsewhere(root: Path) -> list[str]:
    """Return files of the image's user where everybody may write."""
    return [
        str(path)
        for place in ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")
        for path in Path(place).glob("*")
        if path.lstat().st_uid == USER and path != root
    ]


def contents(folder: Path) -> dict[str, tuple[int, float]]:
    """Return the size and time of every file below a folder."""
    found = {}
    for path in folder.rglob("*"):
        about = path.lstat()
        found[str(path)] = (about.st_size, about.st_mtime)
    return found


@pytest.fixture(scope="module")
def image():
    found = [path for path in (sys.executable, "/usr/bin/python3") if usable(path)]
    if not found:
        pytest.skip("no Python here can be run by everybody")
    root = Path(tempfile.mkdtemp(prefix="atldld-image-"))
    root.chmod(0o755)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    image = Image(root, found[0])
    image.build()
    image.environment["TMPDIR"] = f"{root}/tmp"  # what /tmp is there
    yield image
    shutil.rmtree(root)


def usable(python: str) -> bool:
    """Return whether the image's user can run an interpreter, and it is new enough."""
    program = "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))"
    try:
        done = subprocess.run(
            [os.path.realpath(python), "-c", program],
            user=USER, group=USER, extra_groups=[], cwd="/", capture_output=True,
        )  # fmt: skip
    except PermissionError:
        return False
    return done.returncode == 0


def test_the_main_job_writes_to_its_folders_alone(image):
    before = contents(image.root / "opt")
    status, said = image.run(*image.said["ENTRYPOINT"], "demo", "out")
    assert status == 0, said
    assert (image.root / "work" / "out" / "report.html").stat().st_size
    assert contents(image.root / "opt") == before
    assert not written_elsewhere(image.root)


def test_the_program_can_write_nowhere_else(image):
    _, said = image.run("python", "-c", f"open('{image.root}/opt/x', 'w')")
    assert "PermissionError" in said


def test_the_service_is_healthy(image):
    """As `docker run atldld` starts it, at an address of this machine alone and a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    assert image.said["CMD"][2:4] == ["--host", "0.0.0.0"]
    command = [*image.said["CMD"][:2], "--host", "127.0.0.1", "--port", port]
    before = contents(image.root / "opt")
    check = [part.replace("8765", port) for part in image.said["HEALTHCHECK"]]
    with image.started(*image.said["ENTRYPOINT"], *command) as service:
        while service.poll() is None and image.run(*check)[0]:
            time.sleep(0.5)
        assert service.poll() is None, service.stdout.read()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert "section_data_sets" in json.load(answer)
    assert contents(image.root / "opt") == before
    assert not written_elsewhere(image.root)
    assert image.run(*check)[0]  # it notices that nothing answers
