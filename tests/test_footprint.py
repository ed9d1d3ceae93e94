"""How much the package costs before it does anything, and while it works."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from atldld.cli import main; main()"]


def seconds(command):
    """The shortest of several runs: what it takes when nothing else happens."""
    best = float("inf")
    for _ in range(7):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        best = min(best, time.perf_counter() - begun)
    return best


def test_import_time():
    bare = seconds([sys.executable, "-c", "pass"])
    assert seconds([sys.executable, "-c", "import atldld"]) - bare <= 0.15


def test_help_time():
    assert seconds([*COMMAND, "--help"]) <= 0.35


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import atldld", ("numpy", "cv2", "httpx", "typer", "rich")),
        ("import atldld.place", ("cv2", "httpx", "typer", "simplejpeg")),
        ("import atldld.cli", ("numpy", "cv2", "httpx", "matplotlib", "werkzeug")),
        ("import atldld.fetch", ("cv2", "httpx", "typer", "matplotlib")),
        ("import atldld.warp", ("httpx", "typer", "matplotlib")),
    ],
)
def test_imports_are_lazy_and_run_one_way(code, unwanted):
    check = f"{code}; import sys; print([m for m in {unwanted!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("dataset_id", [69289763, 71717084])
def test_peak_memory_of_a_whole_data_set(at_demo_server, tmp_path, dataset_id):
    """At most 350 MB at default settings, with 18 sections as with 112."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the high-water mark is read from /proc")
    # The kernel's rusage would count this process too, as it was when it forked.
    tell = (
        "import atexit; from pathlib import Path;"
        "atexit.register(lambda: print(Path('/proc/self/status').read_text()));"
    )
    arguments = ["download", "dataset", str(dataset_id), str(tmp_path / "out"), "-e"]
    done = subprocess.run(
        [COMMAND[0], "-c", tell + COMMAND[2], *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    megabytes = int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1]) / 1024
    print(f"data set {dataset_id}: peak of {megabytes:.0f} MB")
    assert megabytes <= 350
