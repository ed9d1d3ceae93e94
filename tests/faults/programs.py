"""The command in processes of its own."""

import os
import subprocess
import sys
import time

COMMAND = [sys.executable, "-c", "from atldld.cli import main; main()"]


def start(server, cache, out, *options):
    """Start downloading data set 909; its standard error can be read when it has ended."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("ATLDLD_")}
    environ |= {"ATLDLD_API_URL": server.url, "ATLDLD_CACHE_DIR": str(cache)}
    arguments = ["download", "dataset", "909", str(out), "-e", *options]
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process, timeout=600):
    """Wait for the end: status and standard error."""
    try:
        _, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, stderr


def complete(server, cache, out, *options):
    """Run to the end and expect that all went well."""
    status, stderr = end(start(server, cache, out, *options))
    assert status == 0, stderr
    assert "Traceback" not in stderr
    return stderr


def wait_until(condition, seconds=600):
    """Wait for something to become true."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.002)
