"""`atldld download datasets` and `atldld volume --datasets`, as they are typed."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

COMMAND = [sys.executable, "-c", "from atldld.cli import main; main()"]
QUICK = ("--resolution", "200")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One cache for all, so that each section is fetched once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def atldld(at_demo_server, cache, tmp_path):
    def run(*arguments, status=0, stdin="", **environ):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "ATLDLD_CACHE_DIR": str(cache), **environ},
            timeout=600,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, (done.stdout, done.stderr)
        return done

    return run


def test_ids_of_a_search_go_right_in(atldld, tmp_path):
    found = atldld("search", "dataset", "-g", "Demo", "--ids").stdout
    assert found == "909\n"
    done = atldld("download", "datasets", "-", "out", *QUICK, stdin=found)
    assert "1 done" in done.stdout
    assert done.stdout.rstrip().endswith(str(tmp_path / "out"))
    assert "left" not in done.stderr  # how far it is, nobody sees
    assert len(list((tmp_path / "out" / "909").glob("*.png"))) == 14
    again = atldld("download", "datasets", "909", "out", *QUICK)
    assert "1 of these were there already" in again.stderr
    other = atldld("download", "datasets", "909", "out", "--resolution", 100, status=6)
    assert "resolution 200 there, 100 now" in other.stderr


def test_rubbish_is_named_and_the_rest_done(atldld, tmp_path):
    (tmp_path / "list.txt").write_text("# mine\nPdyn\n909\n909\n12345\n")
    done = atldld("download", "datasets", "list.txt", "out", *QUICK, status=1)
    assert "list.txt, line 2: 'Pdyn'" in done.stderr
    assert "1 id named again" in done.stderr
    assert "12345" in done.stdout
    assert "no section data set 12345" in done.stdout
    assert "1 done" in done.stdout
    assert "1 failed" in done.stdout
    states = [
        json.loads(line).get("state")
        for line in (tmp_path / "out" / "batch.jsonl").read_text().splitlines()
    ]
    assert sorted(filter(None, states)) == ["done", "failed"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("download", "datasets", "-", "out"), "", "holds no id"),
        (("download", "datasets", "Gad1", "out"), "", "neither the id"),
        (("download", "datasets", "909", "out", "--resolution", "-3"), "", "resolution"),
        (("download", "datasets", "909", "out", "--dask", "foo"), "", "not the address"),
        (("volume", "-o", "out"), "", "No data set is named"),
        (("volume", "909", "-o", "a.npy", "--dask", "local:1"), "", "for many volumes"),
        (("volume", "909", "--datasets", "-", "-o", "out"), "909\n", "use one of them"),
        (("volume", "--datasets", "909", "-o", "out", "--format", "jpg"), "", "ending"),
    ],
)
def test_senseless_requests(atldld, tmp_path, arguments, stdin, said):
    done = atldld(*arguments, status=2, stdin=stdin, ATLDLD_OFFLINE="1")
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_fetches_nothing(atldld, tmp_path):
    atldld("dataset", "info", "909")
    done = atldld(
        "download", "datasets", "909", "12345", "out", "--dry-run", "--rate", 1, "--resolution", 25
    )
    assert not (tmp_path / "out").exists()
    told = " ".join(done.stdout.split())
    assert "data sets 2" in told
    assert "of them known here 1" in told
    assert " 14 " in told
    assert "to fetch, about" in told
    assert "at 1 requests a second" in told
    assert "bytes a pixel" in done.stderr
    assert "12345" in done.stderr
    assert "catalogue update --images" in done.stderr


def test_a_dry_run_tells_the_days_that_the_daily_bound_makes(capsys):
    from atldld.batch.estimate import Estimate
    from atldld.cli.batches import _show_estimate

    found = Estimate(26_061, (), 695_020, 0, 747_142, 10**10, None, (4,))
    _show_estimate(found, 5.0, 20_000)
    told = " ".join(capsys.readouterr().out.split())
    assert "at 5 requests a second 41.5 h" in told
    assert "at 20,000 requests a day 38 days" in told
    _show_estimate(found, 5.0, None)
    assert "a day" not in capsys.readouterr().out


def test_ctrl_c_says_how_to_go_on(cache, tmp_path):
    from atldld.demo.archive import DemoArchive
    from atldld.serve.app import Application
    from atldld.testing.faults import FaultPlan, Late
    from atldld.testing.server import FaultServer

    with FaultServer(Application(DemoArchive([909]))) as server:
        # 14 images, one at a time: it cannot be done before it is stopped
        server.use(FaultPlan(Late(0.3)))
        _stop_and_look(server.url, cache, tmp_path / "out")


def _stop_and_look(url, cache, out):
    running = subprocess.Popen(
        [*COMMAND, "download", "datasets", "909", str(out), *QUICK, "--in-flight", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ATLDLD_CACHE_DIR": str(cache), "ATLDLD_API_URL": url},
        # tests that run in the background of a shell are started deaf to Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until = time.monotonic() + 600
    while not (out / "batch.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    stdout, stderr = running.communicate(timeout=600)
    assert running.returncode == 130, (stdout, stderr)
    assert "The same command goes on from here." in stderr
    assert "Traceback" not in stderr
    assert not list(out.rglob("*.part*"))
    for line in (out / "batch.jsonl").read_text().splitlines():
        assert json.loads(line).get("state") != "failed"


def test_a_volume_of_each_data_set(atldld, tmp_path):
    options = ("--resolution", 400, "--format", "npy")
    done = atldld("volume", "--gene", "Demo", "-p", "coronal", "-o", "each", *options)
    assert "1 done" in done.stdout
    atldld("volume", "909", "-o", "one.npy", "--resolution", 400)
    np.testing.assert_array_equal(
        np.load(tmp_path / "each" / "909" / "909.npy"), np.load(tmp_path / "one.npy")
    )
    again = atldld("volume", "--datasets", "909", "-o", "each", *options)
    assert "there already" in again.stderr
    unknown = atldld("volume", "--gene", "Dmo", "-o", "each", *options, status=3)
    assert "Dmo" in unknown.stderr


def test_dask_from_the_command_line(atldld, tmp_path):
    pytest.importorskip("distributed", reason="distributed, of the extra dask, is not installed")
    done = atldld("download", "datasets", "909", "out", *QUICK, "--dask", "local:2")
    assert "1 done" in done.stdout
    assert len(list((tmp_path / "out" / "909").glob("*.png"))) == 14
