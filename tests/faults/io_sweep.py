"""Every change of the disk and every read of a command fails in turn, or the process is killed.

Harness of `test_io_sweep`: what SQLite's own tests do. A run is described by a `Case`; `Sweep`
makes it undisturbed, which says how many calls there are and what is right, and then once more for
each of them in a copy of the same folder.
"""

import errno
import gzip
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import msgspec

from tests.faults.io_server import BAD_FILE, COUNT, FAIL, FAIL_ON, FAIL_READ, KILL
from tests.faults.results import comparable

HERE = Path(__file__).parent
MODES = {
    "fails": FAIL,
    "stays full": FAIL_ON,
    "killed": KILL,
    "a read fails": FAIL_READ,
    "a file is bad": BAD_FILE,
}
READS = (FAIL_READ, BAD_FILE)
# not all could be done, or the cache or the output cannot be used
FAILED = {1, 6}
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT, errno.EROFS)

# Moments, and what else no two runs have in common.
MOMENT = re.compile(rb"20\d\d-\d\d-\d\d([T ])\d\d:\d\d(:\d\d)?")
CHANGING = re.compile(rb"urn:uuid:[0-9a-f-]{36}|\d+ (second|minute|hour)s? ago| --force")
MINE = "the user's own"

# What is there for a time: temporary files, locks, what an update has fetched.
PASSING = re.compile(r"\.part|\.old|\.lock$|catalogue-update")


@dataclass(frozen=True)
class Case:
    """A command to be disturbed.

    Attributes
    ----------
    name : str
        Of the test.
    command : str
        Its arguments; it runs in a folder with ``out``, where its results belong.
    before : tuple of str
        Commands that are run undisturbed before, such as to fill the cache.
    remove : tuple of str
        Patterns of files that are then removed or, in `spoil`, damaged.
    results : str
        Folder whose files are compared: ``out``, or ``cache``.
    again : str
        What has to be added for running it once more.
    """

    name: str
    command: str
    before: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    spoil: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    results: str = "out"
    again: str = "--force"


@dataclass(frozen=True)
class End:
    """How a run ended."""

    status: int
    count: int | None
    what: str
    stderr: str


def build(folder):
    """Compile the library that is preloaded; `None` where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = folder / "io_faults.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "io_faults.c", "-ldl"]
    subprocess.run([*map(str, command)], check=True)
    return library


class ForkServer:
    """Runs commands in forks of one process; see `io_server`."""

    def __init__(self, library, url, folder):
        self.url = url
        self.folder = folder
        environ = {k: v for k, v in os.environ.items() if not k.startswith("ATLDLD_")}
        environ |= {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        environ |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "io_server.py"), str(library)],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, root, command, mode=COUNT, n=0, error=0):
        """Run a command in a folder, with its n-th call failing."""
        told = self.folder / "stderr"
        job = {
            "arguments": command.split(),
            "root": str(root),
            "folder": str(root),
            "environ": {
                "ATLDLD_API_URL": self.url,
                "ATLDLD_CACHE_DIR": str(root / "cache"),
                "TMPDIR": str(root / "tmp"),
                "COLUMNS": "120",
            },
            "stdout": str(self.folder / "stdout"),
            "stderr": str(told),
            "mode": mode,
            "n": n,
            "error": error,
        }
        print(json.dumps(job), file=self.process.stdin, flush=True)
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        return End(**answer, stderr=told.read_text())

    def close(self):
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Sweep:
    """One case, undisturbed and disturbed."""

    def __init__(self, server, case, folder):
        self.server, self.case, self.folder = server, case, folder
        self.base = folder / "base"
        for name in ("out", "tmp", "cache"):
            (self.base / name).mkdir(parents=True)
        for name, text in case.files.items():
            (self.base / name).parent.mkdir(parents=True, exist_ok=True)
            (self.base / name).write_text(text)
        for command in case.before:
            self._undisturbed(self.base, command)
        for pattern in case.remove:
            for path in self.base.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for pattern in case.spoil:
            for path in self.base.glob(pattern):
                path.write_bytes(path.read_bytes()[:-100] + bytes(100))
        (self.base / "out" / "notes.txt").write_text(MINE)
        root = self._copy()
        self.old = result_of(root / case.results)
        self.changes = self._undisturbed(root, case.command).count
        self.truth = result_of(root / case.results)
        assert left_overs(root) == []

    @cached_property
    def reads(self):
        """How many times the command opens a file for reading, or reads of one."""
        return self._undisturbed(self._copy(), self.case.command, FAIL_READ).count

    def count(self, mode):
        """How many calls there are that can be disturbed in some way."""
        return self.reads if mode in READS else self.changes

    def _undisturbed(self, root, command, mode=COUNT):
        end = self.server.run(root, command, mode)
        assert end.status == 0, (command, end)
        assert "Traceback" not in end.stderr, end.stderr
        return end

    def _copy(self):
        root = self.folder / "trial"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.base, root, symlinks=True)
        return root

    def trial(self, mode, n):
        """Disturb the n-th call, check what is left, and run again."""
        root = self._copy()
        error = errno.EIO if mode in READS else errno.ENOSPC
        if mode == FAIL:
            error = ERRORS[n % len(ERRORS)]
        end = self.server.run(root, self.case.command, mode, n, error)
        where = f"{self.case.name}, call {n} of {self.count(mode)} ({end.what}): {end.stderr}"
        if mode == KILL:
            # threads may take another order: then there are fewer calls than before
            assert end.status in {-9, 0}, where
        else:
            # a file of the user's that cannot be read is what the user gave
            self._check_end(end, where, FAILED | {0, 2} if mode in READS else FAILED | {0})
        if mode in (FAIL, *READS) and end.what not in {"unlink", "rmdir"}:
            # what cannot be removed, or be put back on a disk that fails for good, is left over
            assert left_overs(root) == [], where
        self._check_results(root, where, end, reads=mode in READS)
        again = self.server.run(root, self.case.command)
        if again.status and "is there already" in again.stderr:
            again = self.server.run(root, f"{self.case.command} {self.case.again}")
        assert again.status == 0, f"{where} and then: {again.stderr}"
        found = result_of(root / self.case.results)
        assert found == self.truth, (where, differing(found, self.truth))
        assert left_overs(root) == [], where
        assert (root / "out" / "notes.txt").read_text() == MINE

    def _check_end(self, end, where, statuses):
        assert end.status in statuses, where
        assert "Traceback" not in end.stderr, where
        told = [line for line in end.stderr.splitlines() if line.startswith("Error: ")]
        if end.status:
            named = re.search(
                "could not be fetched|1 failed|are damaged|left out|Refused", end.stderr
            )
            assert told or named, where
            assert len(told) <= 1, where

    def _check_results(self, root, where, end, *, reads):
        """What has its final name is whole: what it was, or what it will be.

        What is made of many files lacks one that cannot be read, and the command names it.
        """
        assert (root / "out" / "notes.txt").read_text() == MINE, where
        found = result_of(root / self.case.results)
        told = re.search("Left out |Refused |could not be fetched; the same", end.stderr)
        lacking = reads and (bool(told) or any(map(tells_of_failures, found.values())))
        if end.status == 0 and not lacking:
            assert found == self.truth, (where, differing(found, self.truth))
        for name, content in found.items():
            whole = (self.old.get(name), self.truth.get(name))
            unfinished = isinstance(content, dict) and content.get("complete") is False
            assert content in whole or unfinished or lacking, (where, name)
        for name in self.old:
            # a store makes room for a moment, and comes back with the next run
            there = name in found or left_overs(root) or name not in self.truth
            assert there or lacking, (where, name)


def tells_of_failures(document):
    """Whether a document, a page or the header of a volume names something that failed."""
    if isinstance(document, bytes):
        return re.search(rb'"failed": ?\[[^]]|Input/output error', document) is not None
    if isinstance(document, dict):
        return bool(document.get("failed")) or any(map(tells_of_failures, document.values()))
    return isinstance(document, list) and any(map(tells_of_failures, document))


def left_overs(root):
    """Temporary files and folders, whoever left them."""
    return sorted(p for p in root.rglob(".*") if re.search(r"\.part|\.old", p.name))


def result_of(folder):
    """What a folder holds, by name, in a form that can be compared with another run's."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and not PASSING.search(name):
            found[name] = content_of(path)
    return found


def content_of(path):
    data = path.read_bytes()
    if path.name == "batch.jsonl":
        return None  # it tells of every attempt
    if path.suffix == ".json":
        document = comparable(msgspec.json.decode(MOMENT.sub(b"then", data)))
        if path.name.endswith(".npy.json"):
            document.pop("changed", None)  # when its file was
        return document
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return {i.filename: archive.read(i) for i in archive.infolist()}
    if path.name == "catalogue.sqlite":
        with sqlite3.connect(f"file:{path}?immutable=1", uri=True) as db:
            rows = [line for line in db.iterdump() if "sqlite_stat" not in line]
        db.close()
        return [line for line in rows if 'INTO "fact"' not in line]
    return CHANGING.sub(b"", MOMENT.sub(b"then", data))


def differing(found, truth):
    return sorted(name for name in found.keys() | truth if found.get(name) != truth.get(name))
