"""`atldld report`, as it is typed."""

import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-c", "from atldld.cli import main; main()"]
QUICK = ("--resolution", 200, "--table-resolution", 200, "--no-atlas", "--no-volume")


@pytest.fixture
def atldld(at_demo_server, tmp_path):
    def run(*arguments, status=0, **environ):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "ATLDLD_DOWNLOAD_URL": at_demo_server, **environ},
            timeout=600,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, (done.stdout, done.stderr)
        return done

    return run


@pytest.mark.long
def test_a_page_from_an_id_and_from_its_folder(atldld, tmp_path):
    told = atldld("report", 909, "-o", "new/page.html", *QUICK)
    assert told.stdout.strip() == "new/page.html"
    assert "SYNTHETIC" in told.stderr
    page = (tmp_path / "new" / "page.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "atldld report 909" in page

    again = atldld("report", 909, "-o", "new/page.html", *QUICK, status=6)
    assert "there already" in again.stderr

    atldld("download", "dataset", 909, "out", "-e", "--resolution", 200)
    told = atldld("report", "out", "--no-volume", "--no-atlas", ATLDLD_OFFLINE="1")
    assert told.stdout.strip() == "report.html"
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "left out on purpose" in page


@pytest.mark.long
def test_bad_input_is_one_sentence(atldld, tmp_path):
    told = atldld("report", "nothing", status=3)
    assert "no gene called nothing" in told.stderr
    told = atldld("report", tmp_path / "nothing", status=2)
    assert "neither a folder nor a section data set" in told.stderr
    told = atldld("report", 909, "-o", "page.pdf", status=2)
    assert ".html" in told.stderr
    told = atldld("report", 909, "--offline", status=4)
    assert "not in the cache" in told.stderr
    assert not (tmp_path / "report.html").exists()
