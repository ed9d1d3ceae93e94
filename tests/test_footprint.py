"""How much the package costs before it does anything, and while it works."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atldld.cli import declare
from atldld.cli.declare import Commands
from atldld.errors import NetworkError
from atldld.fetch import Session
from atldld.settings import Settings

COMMAND = [sys.executable, "-c", "from atldld.cli import main; main()"]


def modules(code, *arguments):
    """The modules that are loaded as some code ends: what its start costs, on every machine."""
    tell = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
    done = subprocess.run(
        [sys.executable, "-c", tell + code, *arguments], check=True, capture_output=True, text=True
    )
    return set(done.stderr.split())


def test_importing_loads_next_to_nothing():
    assert len(modules("import atldld") - modules("pass")) <= 5


def test_help_loads_next_to_nothing():
    loaded = modules(COMMAND[2], "--help") - modules("pass")
    assert not loaded & {"click", "rich", "numpy", "httpx", "msgspec", "csv", "json"}
    assert len(loaded) <= 40


NEVER = {
    "typer",
    "pyarrow",
    "pydantic",
    "rich",
    "asyncio",
    "matplotlib",
    "pandas",
    "werkzeug",
    "importlib.metadata",
    "atldld.batch",
}
PICTURES = {"cv2", "simplejpeg", "scipy"}
ASKING = {"atldld.fetch.session", "atldld.fetch.client", "httpx", "socket", "logging", "_hashlib"}
UNUSED = {"atldld.place", "numpy", "shutil", "tempfile", "zipfile", "difflib", "dask"}


@pytest.mark.parametrize(
    ("command", "unwanted", "most"),
    [
        ("cache info", PICTURES | ASKING | UNUSED | {"msgspec"}, 120),
        ("cache list", PICTURES | UNUSED | {"httpx"}, 145),
        # these two ask the service, and so load httpx
        ("search dataset -d 909", PICTURES | {"numpy", "difflib"}, 335),
        ("dataset info 909", PICTURES | {"atldld.find.searches"}, 430),
        ("sync image-to-reference points.csv", PICTURES | {"atldld.warp"}, 440),
        ("download dataset 909 out --resolution 400", {"scipy"}, 515),
    ],
)
def test_a_command_loads_what_it_uses_and_nothing_else(
    at_demo_server, tmp_path, monkeypatch, command, unwanted, most
):
    """Typer would bring pydantic; batches bring asyncio; half of the commands need no NumPy."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points.csv").write_text("image_id,x,y\n1,2,3\n")
    words = command.replace("-d 909", "--id 909").split()
    loaded = modules(COMMAND[2], *words) - modules("pass")
    assert not loaded & (NEVER | unwanted)
    print(command, len(loaded))
    assert len(loaded) <= most


def test_a_download_of_what_is_in_the_cache_loads_nothing_that_asks(at_demo_server, tmp_path):
    command = ["download", "dataset", "909", str(tmp_path / "one"), "--resolution", "400"]
    assert "httpx" in modules(COMMAND[2], *command)
    command[3] = str(tmp_path / "two")
    assert "httpx" not in modules(COMMAND[2], *command)


def test_with_the_institutes_own_service_nothing_more_is_loaded(monkeypatch):
    """The public bucket belongs to it, and to no other; NumPy came with that, unused."""
    monkeypatch.delenv("ATLDLD_API_URL")
    unwanted = NEVER | PICTURES | ASKING | UNUSED
    assert not modules(COMMAND[2], "cache", "info") & unwanted


def test_of_a_group_one_command_is_made(monkeypatch):
    """Each has a dozen options, and making them takes as long as a small import."""
    made = []
    make = declare.command_of
    monkeypatch.setattr(declare, "command_of", lambda function, name: made.append(name))
    commands = Commands("Some.")
    commands.command("one")(lambda: None)
    commands.command("two")(lambda: None)
    group = commands.group("some")
    assert list(group.commands) == ["one", "two"]
    assert "one" in group.commands
    assert made == []
    monkeypatch.setattr(declare, "command_of", make)
    assert group.commands["two"].name == "two"


def test_a_session_makes_its_client_when_it_asks(tmp_path):
    """What the cache answers needs none; threads that ask at once get the same one."""
    session = Session(Settings(cache_dir=tmp_path))
    assert "client" not in vars(session)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: id(session.client), range(64)))) == 1


def test_a_session_that_was_closed_first_asks_nothing(tmp_path):
    session = Session(Settings(api_url="http://127.0.0.1:9", cache_dir=tmp_path))
    session.close()
    with pytest.raises(NetworkError, match="closed"):
        session.get(session.client.url("/x"))


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import atldld", ("numpy", "cv2", "httpx", "click", "rich")),
        ("import atldld.place", ("cv2", "httpx", "click", "simplejpeg")),
        ("import atldld.cli", ("numpy", "cv2", "httpx", "matplotlib", "werkzeug")),
        ("import atldld.fetch", ("cv2", "httpx", "click", "matplotlib")),
        ("import atldld.warp", ("httpx", "click", "matplotlib")),
    ],
)
def test_imports_are_lazy_and_run_one_way(code, unwanted):
    check = f"{code}; import sys; print([m for m in {unwanted!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "dataset_id",
    [
        pytest.param(69289763, marks=pytest.mark.long),
        pytest.param(71717084, marks=pytest.mark.slow),
    ],
)
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
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
    megabytes = int(peak) / 1024
    print(f"data set {dataset_id}: peak of {megabytes:.0f} MB")
    assert megabytes <= 350
