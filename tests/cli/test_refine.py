"""`atldld refine`, as it is typed: of one data set and of many, and stopped in the middle."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from atldld.demo.archive import DemoArchive
from atldld.place.alignment import read_alignment
from atldld.serve.app import Application
from atldld.testing.server import FaultServer

COMMAND = [sys.executable, "-c", "from atldld.cli import main; main()"]
QUICK = ("--resolution", "200", "--atlas-resolution", "100")
IMAGES = 14


@pytest.fixture(scope="module")
def server():
    with FaultServer(Application(DemoArchive([909]))) as server:
        yield server


@pytest.fixture
def begin(server, tmp_path):
    """Start the command; every one that a test has started is ended with it."""
    running = []

    def start(*arguments, stderr=subprocess.PIPE, **environ):
        process = subprocess.Popen(
            [*COMMAND, "refine", *map(str, arguments), *QUICK],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=tmp_path,
            env={
                **os.environ,
                "ATLDLD_CACHE_DIR": str(tmp_path / "cache"),
                "ATLDLD_API_URL": server.url,
                "ATLDLD_DOWNLOAD_URL": server.url,
                **environ,
            },
            # tests that run in the background of a shell are started deaf to Ctrl-C
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def finished(process, status=0):
    stdout, stderr = process.communicate(timeout=600)
    assert "Traceback" not in stderr, stderr
    assert process.returncode == status, (stdout, stderr)
    return stdout, stderr


def drained(descriptor):
    """Read a terminal until nobody has it open any more."""
    with contextlib.suppress(OSError):
        while os.read(descriptor, 65536):
            pass


def images_asked(server):
    """How many pictures were asked for.

    One that a stopped process has asked for may be logged after that, when it is asked for again.
    """
    asked = (entry.request.path for entry in server.log)
    return len({path for path in asked if "image_download" in path})


def images_in(path):
    """How many images a registration places."""
    file = read_alignment(path).file
    assert file is not None
    return file.images


def cached(folder):
    """The pictures that are in a cache; what is on its way there has a hidden name."""
    return [path for path in folder.rglob("*.jpg") if not path.name.startswith(".")]


def wait_until(true):
    until = time.monotonic() + 600
    while not true():
        assert time.monotonic() < until, "It has not come to that."
        time.sleep(0.02)


@pytest.mark.long
def test_what_was_fetched_before_ctrl_c_is_not_fetched_again(server, begin, tmp_path):
    server.forget()
    running = begin(909, "-o", "reg.json")
    wait_until(lambda: len(cached(tmp_path / "cache")) >= 3)
    running.send_signal(signal.SIGINT)
    _, stderr = finished(running, 130)
    assert "Stopped. What was fetched is kept" in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]
    there = len(cached(tmp_path / "cache"))
    server.forget()
    finished(begin(909, "-o", "reg.json"))
    assert images_asked(server) == IMAGES - there < IMAGES
    assert not list((tmp_path / "cache").rglob("*.part*"))
    assert images_in(tmp_path / "reg.json") == IMAGES


@pytest.mark.long
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_one_that_is_stopped_at_work_leaves_nothing_half_written(server, begin, tmp_path, blow):
    ours, theirs = pty.openpty()
    running = begin(909, "-o", "reg.json", stderr=theirs, TERM="xterm", COLUMNS="120")
    os.close(theirs)
    # the pictures are there, and sections are being moved
    told = ""
    while not (counts := re.findall(r" (\d+)/\d+ ", told)) or int(counts[-1]) <= IMAGES:
        told += os.read(ours, 65536).decode("utf-8", "replace")
    running.send_signal(blow)
    # a terminal that nobody reads makes its writers wait
    threading.Thread(target=drained, args=(ours,), daemon=True).start()
    running.communicate(timeout=600)
    assert running.returncode == (130 if blow is signal.SIGINT else -blow)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]
    # nothing is asked again: it can be done without the service
    server.forget()
    stdout, stderr = finished(begin(909, "-o", "reg.json", ATLDLD_OFFLINE="1"))
    assert stdout.strip() == "reg.json"
    assert server.log == ()
    assert "Refining" not in stderr  # how far it is, nobody sees


@pytest.mark.long
def test_many_data_sets(begin, tmp_path):
    (tmp_path / "list.txt").write_text("909\n")
    arguments = ("--datasets", "list.txt", "-o", "out", "--steps", "whole")
    stdout, stderr = finished(begin(*arguments))
    assert "1 done" in stdout
    assert stdout.rstrip().endswith("/out")
    path = tmp_path / "out" / "909" / "909.json"
    assert images_in(path) == IMAGES
    assert json.loads((path.parent / "metadata.json").read_text())["complete"]
    _, stderr = finished(begin(*arguments))
    assert "1 of these were there already" in stderr
    _, stderr = finished(begin(*arguments, "--limit", 300), 6)
    assert "most 1500 there, 300 now" in stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "reg.json"), "No data set is named"),
        ((909, "--datasets", "909", "-o", "out"), "are for one data set"),
        (("--datasets", "909", "--sections", "5", "-o", "out"), "are for one data set"),
        ((909, "-o", "reg.json", "--dask", "local:1"), "are for many data sets"),
        (("--datasets", "909", "-o", "out", "--alignment", "none"), "neither a folder nor a name"),
        (("--datasets", "909", "-o", "out", "--steps", "guess"), "There is no step 'guess'"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(server, begin, tmp_path, arguments, said):
    server.forget()
    _, stderr = finished(begin(*arguments), 2)
    assert said in stderr
    assert server.log == ()
    assert list(tmp_path.iterdir()) == []
