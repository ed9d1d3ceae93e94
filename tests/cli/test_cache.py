"""`atldld cache …`, and a server that goes away, as they are typed."""

import os
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-m", "atldld"]


def start(*arguments, **options):
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        **options,
    )  # fmt: skip


def atldld(*arguments, status=0, **environ):
    with start(*arguments, env={**os.environ, **environ}) as process:
        out, err = process.communicate(timeout=600)
    assert "Traceback" not in err, err
    assert process.returncode == status, (out, err)
    return out, err


@pytest.fixture
def filled(at_demo_server, tmp_path):
    atldld("download", "dataset", 909, tmp_path / "out", "--resolution", 200)


@pytest.mark.usefixtures("filled")
class TestCache:
    def test_info_and_list(self, tmp_path):
        out, _ = atldld("cache", "info")
        assert str(tmp_path / "cache") in out
        out, _ = atldld("cache", "list")
        assert "909" in out
        assert "14 of 14" in out

    def test_verify(self, tmp_path):
        _, err = atldld("cache", "verify")
        assert "0 are damaged" in err
        path = next((tmp_path / "cache").rglob("*.jpg"))
        content = bytearray(path.read_bytes())
        content[500] ^= 1
        path.write_bytes(content)
        out, err = atldld("cache", "verify", status=1)
        assert str(path) in out
        assert "--repair" in err
        out, _ = atldld("cache", "verify", "--repair")
        assert "fetched again" in out
        atldld("cache", "verify")

    def test_prune(self):
        _, err = atldld("cache", "prune", status=2)
        assert "--older-than" in err
        assert "0 images removed" in atldld("cache", "prune", "--older-than", "1d")[1]
        assert "'soon' is no age" in atldld("cache", "prune", "--older-than", "soon", status=2)[1]
        assert "no size" in atldld("cache", "prune", "--max-size", "big", status=2)[1]
        assert "14 images removed" in atldld("cache", "prune", "--dataset", 909)[1]

    def test_export_import_serve(self, tmp_path):
        target = tmp_path / "lab.zip"
        out, _ = atldld("cache", "export", target, "--datasets", "909")
        assert out.strip() == str(target)
        other = tmp_path / "other"
        _, err = atldld("cache", "import", target, "--cache-dir", other)
        assert "14 images taken" in err
        assert "1 data set taken; 0 were there already; 0 refused" in err.replace("\n", " ")
        _, err = atldld("cache", "import", target, "--cache-dir", other)
        assert "nothing taken; 15 were there already; 0 refused" in err.replace("\n", " ")
        with start("serve", target, "--port", 0) as server:
            address = server.stdout.readline().strip()
            try:
                _, err = atldld(
                    "download", "dataset", 909, tmp_path / "again", "--resolution", 200,
                    "--api-url", address,
                )  # fmt: skip
            finally:
                server.kill()
        assert "14 sections written" in err
        for path in (tmp_path / "out").glob("*.png"):
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()

    def test_odd_budgets_are_refused(self):
        assert "budget" in atldld("serve", "--budget", 0, "--port", 0, status=2)[1]

    def test_serving_to_others_needs_a_word(self):
        assert "--public" in atldld("serve", "--host", "0.0.0.0", "--port", 0, status=2)[1]
        assert "no archive at" in atldld("serve", "nothing-here", "--port", 0, status=6)[1]


@pytest.mark.long
def test_pulling_the_plug_of_the_server(tmp_path):
    """The server dies in the middle of a run and comes back: the run ends well by itself."""
    with start("serve", "--port", 0) as server:
        address = server.stdout.readline().strip()
        port = address.rpartition(":")[2]
        out = tmp_path / "out"
        with start(
            "download", "dataset", 909, out, "--resolution", 8, "-e", "--api-url", address
        ) as run:
            deadline = time.monotonic() + 600
            while not list(out.glob("*.png")) and time.monotonic() < deadline:
                time.sleep(0.02)
            server.kill()
            assert run.poll() is None, run.communicate()
            time.sleep(1.5)
            with start("serve", "--port", port) as second:
                _, err = run.communicate(timeout=600)
                second.kill()
    assert run.returncode == 0, err
    assert "14 sections written" in err
    assert len(list(out.glob("*.png"))) == 28
