"""What stands on screens of every width: numbers and ids whole, no line too long, progress."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections import Counter
from pathlib import Path

import pytest

from atldld.cli.layout import cells, laid_out, listed, wrapped

DRIVER = Path(__file__).with_name("driver.py")
SOURCE = Path(__file__).resolve().parents[2] / "src"
LONG = 550
WIDTHS = (60, 80, 120)
AGO = re.compile(r"\d+\s\w+\sago")
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

COARSE = ("--resolution", "200", "--atlas-resolution", "100")
# Every command that prints a table or a list.
TABLES = [
    "search dataset -p coronal -p sagittal",
    "search image -d 69289763",
    "search gene Pdyn Prox1",
    "search specimen 05-2716 05-0660",
    "search structure layer",
    "search neighbours 909",
    "catalogue info",
    "dataset info 69289763",
    "dataset info 909",
    "cache info",
    "cache list",
    "atlas list",
    "atlas plates",
    "sync image-to-reference POINTS",
    "quantify 909 --resolution 200 --atlas-resolution 100",
    "quantify 909 --resolution 200 --atlas-resolution 100 --stain-threshold 0.3",
    "grid 909 --regions --atlas-resolution 100",
    "quality 909 --resolution 200 --atlas-resolution 100",
    "quality 909 --resolution 200 --atlas-resolution 100 --alignment REG",
    "download datasets 909 69289763 OUT --resolution 200 --dry-run",
]
BEFORE = [
    ["catalogue", "update", "--images"],
    ["download", "image", "101321617", "OUT", "--downsample-img", "4"],
    ["refine", "909", "-o", "REG", *COARSE, "--steps", "whole"],
    # once more below: nothing is fetched any more then, so that the cache is as large
    *(line.split() for line in TABLES),
]


@pytest.fixture(scope="module")
def drive(demo_server, tmp_path_factory):
    """Runs many commands in one process: for a terminal of some width, or for nobody."""
    folder = tmp_path_factory.mktemp("screen")
    files = {name: str(folder / f"{name.lower()}") for name in ("OUT",)}
    files |= {"REG": str(folder / "reg.json"), "POINTS": str(folder / "points.csv")}
    Path(files["POINTS"]).write_text("image_id,x,y\n101321617,4000.5,3000.25\n")
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environ |= {
        "ATLDLD_API_URL": demo_server,
        "ATLDLD_CACHE_DIR": str(folder / "cache"),
        "PYTHONPATH": str(SOURCE),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
    }

    def run(commands, width=None):
        listed = [[files.get(word, word) for word in command] for command in commands]
        (folder / "calls.json").write_text(json.dumps(listed), encoding="utf-8")
        line = [sys.executable, str(DRIVER), str(folder / "calls.json"), str(folder / "s.json")]
        if width is None:
            done = subprocess.run(
                line, env=environ, timeout=LONG, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            text = done.stdout.decode("utf-8")
        else:
            text = on_terminal(line, environ, width)
        statuses = json.loads((folder / "s.json").read_text("utf-8"))
        assert set(statuses) == {0}, (statuses, text[-3000:])
        return re.split(r"^\$ \[.*\]\n", text, flags=re.MULTILINE)[1:]

    run([["dataset", "info", "909"], *BEFORE])
    return run


def on_terminal(line, environ, width):
    """What a command leaves on a terminal that is so many columns wide."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with subprocess.Popen(line, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        pieces = []
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # nobody has it open any more
                break
            if not piece:
                break
            pieces.append(piece)
        assert process.wait(LONG) == 0
    os.close(ours)
    text = b"".join(pieces).decode("utf-8").replace("\r\n", "\n")
    lines = (line.rpartition("\r")[2] for line in ANSI.sub("", text).split("\n"))
    return "\n".join(lines)


def figures(text):
    """Everything in a text that holds a digit: numbers, ids, sizes, dates."""
    return Counter(
        word.strip(".,;:()") for word in text.split() if any(one.isdigit() for one in word)
    )


@pytest.fixture(scope="module")
def plain(drive):
    return drive([line.split() for line in TABLES])


@pytest.mark.long
@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("width", WIDTHS)
def test_everything_is_whole_at_every_width(drive, plain, width):
    """The kind: a number, an id or a line that a narrow terminal cuts."""
    shown = drive([line.split() for line in TABLES], width)
    assert len(shown) == len(plain) == len(TABLES)
    for name, text, whole in zip(TABLES, shown, plain, strict=True):
        for line in text.split("\n"):
            one_word = " " not in line.strip()  # a path or an address, to be copied
            assert cells(line) <= width or one_word, (name, line)
        # how long ago that was may differ
        missing = figures(AGO.sub("", whole)) - figures(AGO.sub("", text))
        assert not missing, (name, width, missing, text)
        assert not re.search(r"\d…|…\d", text), name


@pytest.mark.long
@pytest.mark.timeout(LONG)
def test_what_programs_read_is_on_the_screen(drive, tmp_path):
    """The kind: a table that lacks ids or numbers of the JSON of the same search."""
    searches = [line.split() for line in TABLES if line.startswith("search ")]
    as_json = drive([[*words, "--json"] for words in searches])
    shown = drive(searches, 60)
    for words, document, text in zip(searches, as_json, shown, strict=True):
        # what is said of waiting comes before
        found = json.loads(document[document.index("{") :])
        records = found["result"]["rows"]
        assert records
        for record in records:
            assert re.search(rf"(?<!\d){record['id']}(?!\d)", text) or "gene" in words, record


def test_narrow_tables_of_figures():
    """Rows that are too wide take several lines; remarks go below; nothing is broken."""
    columns = dict.fromkeys([f"figure {k} (µm)" for k in range(12)], "right")
    rows = [[str(10**9 + k) for k in range(12)], [f"{k}.25" for k in range(12)]]
    for width in (20, 40, 60, 80):
        lines = laid_out(
            {**columns, "why": "below"}, [[*row, "it is so " * 9] for row in rows], width
        )
        assert max(map(cells, lines)) <= width
        words = " ".join(lines).split()
        assert all(one in words for row in rows for one in row)


def test_a_table_as_wide_as_it_likes():
    lines = laid_out({"id": "right", "name": "left", "why": "below"}, [["7", "a b", "c d"]], None)
    assert [line.split() for line in lines if "─" not in line] == [
        ["id", "name", "why"], ["7", "a", "b", "c", "d"],
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["漢字 漢字漢字 ä µm", "one-very-long-word" * 5, "", " a  b "])
def test_cells_of_any_text(text):
    for width in (10, 20, 30):
        lines = laid_out({"n": "right", "words": "left"}, [["1", text]], width)
        assert max(map(cells, lines)) <= width
        assert (
            "".join("".join(lines).split()).replace("─", "").endswith("".join(text.split()))
            or "漢" in text
        )


def test_sentences_end_lines_between_words():
    text = "Mend them with `atldld cache verify --repair`, and go on."
    assert wrapped(text, 32) == ["Mend them with", "`atldld cache verify --repair`,", "and go on."]
    assert wrapped(text, None) == [text]
    path = "/a/very/long/path/that/is/copied"
    assert wrapped(f"{path} x", 10) == [path, "x"]
    assert list(listed([("a", "b c d"), ("long-name", "e")], 24, 4)) == [
        "a   b c d", "long-name", "    e",
    ]  # fmt: skip


# ---- progress


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_rate_and_time_left():
    from atldld.cli.progress import _Clock, duration

    clock = Clock()
    known = _Clock(clock)
    assert known.said(0, 10) == ""
    clock.now += 4
    assert known.said(2, 10) == "0.5/s, 0:16 left"
    assert known.said(10, 10) == "2.5/s, took 0:04"
    assert known.said(8e6, None, unit=" MB", scale=1e6) == "2 MB/s, 0:04"
    assert [duration(one) for one in (0.4, 61, 3600)] == ["0:00", "1:01", "1:00:00"]


def test_progress_is_one_line_on_a_terminal_and_nothing_elsewhere(tmp_path):
    code = (
        "from atldld.cli.progress import counted\n"
        "with counted('Sections of data set 69289763') as progress:\n"
        "    for k in range(1, 15):\n"
        "        progress(k, 14, 'x')\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(SOURCE), "TERM": "xterm", "LANG": "C.UTF-8"}
    environ.pop("COLUMNS")
    line = [sys.executable, "-c", code]
    for width in WIDTHS:
        shown = on_terminal(line, environ, width).strip().split("\n")
        assert len(shown) == 1
        assert re.search(r"14/14 [\d.]+/s, took \d:\d\d$", shown[0].rstrip())
        assert shown[0].startswith("Sections of data set 69289763 ")
        assert cells(shown[0].rstrip()) <= width
    done = subprocess.run(line, env=environ, capture_output=True, timeout=LONG)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_a_first_line_while_the_network_hangs(tmp_path):
    """A server accepts and never answers: the line comes all the same, before any answer."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        environ = {
            **os.environ,
            "ATLDLD_API_URL": f"http://{host}",
            "ATLDLD_CACHE_DIR": str(tmp_path),
            "PYTHONPATH": str(SOURCE),
        }
        with subprocess.Popen(
            [sys.executable, "-m", "atldld", "dataset", "info", "909"],
            env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            backstop = threading.Timer(LONG, process.kill)
            backstop.start()
            assert process.stderr is not None
            first = process.stderr.readline()
            process.kill()
            backstop.cancel()
    assert first == f"Waiting for {host} …\n"
