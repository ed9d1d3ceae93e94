"""Runs the command in forks of a process that has imported everything, with the disk failing.

One job a line on standard input, one answer a line on standard output, both JSON. A job names the
command's arguments, its environment and folder, and which call is to fail and how; an answer is the
status (negative for a signal), how many calls there were, and which one failed.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import warnings
from importlib import import_module

COUNT, FAIL, FAIL_ON, KILL, FAIL_READ, BAD_FILE = range(6)
TIMEOUT = 100  # seconds, of one run

IMPORTED = [
    "atldld.cli.atlas",
    "atldld.cli.cache",
    "atldld.cli.catalogue",
    "atldld.cli.dataset",
    "atldld.cli.download",
    "atldld.cli.export",
    "atldld.cli.grid",
    "atldld.cli.quality",
    "atldld.cli.quantify",
    "atldld.cli.report",
    "atldld.cli.root",
    "atldld.cli.sync",
    "atldld.cli.volume",
    "atldld.batch",
    "atldld.formats",
    "atldld.find",
    "atldld.sections.download",
    "atldld.plot",
    "atldld.quality",
    "atldld.regions.quantify",
    "atldld.report",
    "atldld.volume.build",
    "contourpy",
    "filelock",
    "httpx",
    "jinja2",
    "nibabel",
    "nrrd",
    "rich.table",
    "sqlite3",
    "tifffile",
]


def run(job, library, report):
    """In the fork: run the command and end."""
    os.chdir(job["folder"])
    for name in [name for name in os.environ if name.startswith("ATLDLD_")]:
        del os.environ[name]
    os.environ.update(job["environ"])
    for number, name in ((0, os.devnull), (1, job["stdout"]), (2, job["stderr"])):
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["atldld", *job["arguments"]]
    signal.alarm(TIMEOUT)
    status = 70
    library.io_begin(os.fsencode(job["root"]), job["n"], job["mode"], job["error"])
    try:
        from atldld.cli import main

        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        # as at the end of a process: threads end what they are writing
        threading._shutdown()  # type: ignore[attr-defined]
        library.io_end()
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(report, json.dumps([library.io_count(), library.io_what().decode()]).encode())
        os._exit(status)


def main():
    """Answer jobs until there are no more."""
    library = ctypes.CDLL(sys.argv[1])
    library.io_begin.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    library.io_count.restype = ctypes.c_long
    library.io_what.restype = ctypes.c_char_p
    warnings.simplefilter("ignore")
    for name in IMPORTED:
        import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        reading, report = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reading)
            run(json.loads(line), library, report)
        os.close(report)
        with os.fdopen(reading, "rb") as file:
            told = file.read()
        _, status = os.waitpid(process, 0)
        count, what = json.loads(told) if told else (None, "")
        answer = {"status": os.waitstatus_to_exitcode(status), "count": count, "what": what}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
