"""Every command at terminals of every kind: text of others, encodings, closed streams, Ctrl-C."""

import ast
import csv
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest

from atldld.cli.codes import CODES
from atldld.demo.archive import DemoArchive
from atldld.serve.listen import listen
from atldld.support.text import cell_of, shown, text_in_cell

DRIVER = Path(__file__).with_name("driver.py")
SOURCE = Path(__file__).resolve().parents[2] / "src" / "atldld"
COMMAND = [sys.executable, "-m", "atldld"]
LONG = 550  # seconds after which something hangs, on however slow a machine

EVIL = (
    "[/red][bold]\x1b[31m\x1b]0;title\x07\x9b2J\u202egnp\u2066\n\r\t\x00=cmd|' /C calc'!A0"
    "</script><b>漢字\u0301\u0301\u0301\u0301\u0301\u0301\ud800\u2028"
)
NAMES = ("acronym", "name", "specimen_name", "strain", "safe_name", "alias_tags")


def hostile(value, name=""):
    """Records whose names hold all that a terminal, a page or a spreadsheet may obey."""
    if isinstance(value, dict):
        return {key: hostile(inner, key) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [hostile(inner, name) for inner in value]
    if not isinstance(value, str) or name not in NAMES:
        return value
    return value + EVIL.replace("\ud800", "")  # which no service can send


class Hostile(DemoArchive):
    """The demo archive under names that nobody should have."""

    def tables(self):
        return {
            model: [hostile(row) for row in rows] if len(rows) < 1000 else rows
            for model, rows in super().tables().items()
        }


@pytest.fixture(scope="module")
def hostile_server():
    server = listen("127.0.0.1", 0, Hostile())
    threading.Thread(target=server.run, daemon=True).start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()


def leaves():
    """The names of all commands that do something."""
    from atldld.cli import app

    def below(command, path):
        inner = getattr(command, "commands", None)
        if inner is None:
            yield " ".join(path)
            return
        for name in inner:
            yield from below(inner[name], [*path, name])

    return sorted(below(app, []))


QUICK = ("--resolution", "400")
ATLAS = ("--atlas-resolution", "100")
# Every command, once or more, in an order in which they can be run one after another.
CALLS = [
    ("search dataset", "-g", "*"),
    ("search dataset", "-g", "*", "--json"),
    ("search dataset", "-g", "*", "--csv"),
    ("search dataset", "-p", "coronal", "--ids"),
    ("search image", "-d", "909"),
    ("search gene", "*"),
    ("search gene", "*", "--json"),
    ("search gene", "[/red]\x1b[31m\u202e"),
    ("search specimen", "*"),
    ("search specimen", "*", "--csv"),
    ("search structure", "*"),
    ("search neighbours", "909"),
    ("catalogue update",),
    ("catalogue info",),
    ("catalogue export", "-o", "OUT/catalogue.zip"),
    ("catalogue import", "OUT/catalogue.zip"),
    ("search dataset", "-p", "coronal"),
    ("search gene", "*"),
    ("dataset info", "909"),
    ("dataset info", "[/red]\x1b[31m"),
    ("dataset preview", "909", "-o", "OUT/preview[/red]"),
    ("download dataset", "909", "OUT/d[/red]\u202e", *QUICK),
    ("download dataset", "909", "OUT/d[/red]\u202e", *QUICK),
    ("download datasets", "909", "OUT/many", *QUICK),
    ("download datasets", "909", "OUT/many", *QUICK, "--dry-run"),
    ("download image", "101321610", "OUT/image", "--downsample-img", "4"),
    ("cache info",),
    ("cache list",),
    ("cache verify",),
    ("cache export", "OUT/cache.zip"),
    ("cache import", "OUT/cache.zip"),
    ("cache prune", "--older-than", "1000w"),
    ("info version",),
    ("info cache",),
    ("completion", "bash"),
    ("sync image-to-reference", "POINTS"),
    ("sync reference-to-image", "BRAIN", "-d", "909"),
    ("sync image-to-image", "POINTS", "-d", "909"),
    ("sync image-to-image-2d", "POINTS", "-i", "101321610"),
    ("sync image-to-atlas", "POINTS"),
    ("sync structure-to-image", "STRUCTURES", "-d", "909"),
    ("volume", "909", "-o", "OUT/v.npy", "--resolution", "200"),
    ("atlas list",),
    ("atlas fetch", "structures"),
    ("atlas fetch", "annotation", "--resolution", "100"),
    ("atlas plates",),
    (
        *("atlas outlines", "909", "-o", "OUT/lines", "--image", "101321610", *ATLAS),
        *("--resolution", "200"),
    ),
    ("quantify", "909", "--resolution", "100", *ATLAS, "--structure", "DG" + EVIL[:20]),
    ("quantify", "909", "--resolution", "200", *ATLAS, "--stain-threshold", "0.3"),
    ("quantify", "909", *ATLAS, "--stain-threshold", "0.3", "-o", "OUT/regions.csv", *QUICK),
    ("grid", "909", "--regions", *ATLAS),
    ("quality", "909", "--resolution", "200", "--no-atlas"),
    ("refine", "909", "-o", "OUT/reg.json", "--resolution", "200", "--steps", "whole"),
    ("quality", "909", "--resolution", "200", "--no-atlas", "-o", "OUT/quality.csv"),
    ("report", "909", "-o", "OUT/report.html", *QUICK, "--table-resolution", "100", *ATLAS),
    ("export quicknii", "909", "-o", "OUT/q.csv"),
    ("export fields", "909", "OUT/fields", *QUICK),
    ("export sections", "909", "OUT/sections", *QUICK),
    ("serve", "/nowhere[/red]\x1b[31m"),
    ("align", "909", "-o", "OUT/by-hand.json", "--port", "[/red]\x1b[31m"),
    ("doctor", "--offline"),
    ("demo", "/dev/null/[/red]\x1b[31m"),
    ("download dataset", "909", "OUT/x", "--plane", "[/red]\x1b[31m"),
    ("[/red]\x1b[31m",),
]


def test_every_command_is_here():
    called = {call[0] for call in CALLS}
    assert set(leaves()) <= called


def calls_in(folder):
    """The calls with files in a folder, as arguments."""
    files = {
        "POINTS": "note,image_id,x,y\n=1+1,101321610,100,200\n\x1b[31m,101321611,5,5\n-5,5,1,1\n",
        "BRAIN": "p_um,i_um,r_um\n6000,4000,5000\n",
        "STRUCTURES": "structure_id\n22\n",
    }
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return [
        [
            *call[0].split(" "),
            *(
                str(folder / f"{one}.csv") if one in files else one.replace("OUT", str(folder))
                for one in call[1:]
            ),
        ]
        for call in CALLS
    ]


def drive(folder, calls, server, cache, **environ):
    """Run commands in one process with an environment; return their statuses and the output."""
    (folder / "calls.json").write_text(json.dumps(calls), encoding="utf-8")
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LC_")},
        "ATLDLD_API_URL": server,
        "ATLDLD_CACHE_DIR": str(cache),
        **environ,
    }
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder / "calls.json"), str(folder / "statuses.json")],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=environ,
        timeout=LONG,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert b"Traceback" not in done.stderr + done.stdout
    statuses = json.loads((folder / "statuses.json").read_text("utf-8"))
    return statuses, done.stdout, done.stderr


def obeyed(text):
    """What a terminal or a reader would obey in a text: none of it may be printed."""
    return {one for one in text if one not in "\n\u00a0" and not one.isprintable()}


@pytest.mark.slow
@pytest.mark.timeout(LONG)
def test_nothing_obeys_text_of_others(hostile_server, tmp_path):
    """The kind: a name of the service's, a file's or the user's own that is printed or written.

    Rich took `[/red]` for its markup and ended in a traceback; terminals obeyed escapes in names.
    """
    calls = calls_in(tmp_path)
    statuses, out, err = drive(
        tmp_path, calls, hostile_server, tmp_path / "cache", PYTHONIOENCODING="utf-8"
    )
    strange = {str(s): c for s, c in zip(statuses, calls, strict=True) if s not in CODES}
    assert not strange
    failed = [" ".join(c[:2]) for s, c in zip(statuses, calls, strict=True) if s]
    assert len(failed) <= 9, (failed, err.decode()[-5000:])
    assert "defect of atldld" not in err.decode()
    # rows of tables with points keep what stands in the cells of others, byte for byte
    kept = out.decode("utf-8").replace("\x1b[31m,101321611,5,5", "")
    assert obeyed(kept) == set()
    assert obeyed(err.decode("utf-8")) == set()
    assert "[/red]" in kept
    assert "\\x1b[31m" in kept
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("</script>") == page.count("<script")
    assert obeyed(page) == set()
    for name in ("regions.csv", "quality.csv", "q.csv"):
        lines = (tmp_path / name).read_text("utf-8")
        assert not re.search(r'(^|,)"?[=@]', lines, re.MULTILINE)
    drawing = next((tmp_path / "lines").glob("*.svg"))
    assert obeyed(drawing.read_text("utf-8")) == set()
    for path in tmp_path.rglob("*"):
        if path.suffix in {".json", ".csv", ".svg", ".html"} and path.is_file():
            path.read_text("utf-8")  # files are UTF-8, whatever the terminal is


ENCODINGS = ("gbk", "cp932", "cp1252", "latin-1", "ascii")
LIGHT = ("search", "dataset", "download", "cache", "info", "catalogue", "sync", "atlas", "export")


@pytest.mark.one_in(3)
@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("encoding", [*ENCODINGS, "POSIX"])
def test_terminals_of_any_encoding(encoding, demo_server, tmp_path, tmp_path_factory):
    """The kind: a character of ours, or of others, that the terminal's encoding lacks."""
    environ = {"PYTHONIOENCODING": encoding}
    if encoding == "POSIX":
        environ = {"LC_ALL": "POSIX", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    calls = [call for call in calls_in(tmp_path) if call[0] in LIGHT]
    if encoding != "POSIX":
        calls = [call for call in calls if call[0] in ("search", "dataset", "cache", "sync")]
    # a terminal of ASCII cannot name folders that its file system lacks
    calls = [[one.replace("\u202e", "") for one in call] for call in calls]
    helps = [[*name.split(" "), "--help"] for name in leaves()]
    cache = tmp_path_factory.getbasetemp() / "cache-of-encodings"
    statuses, out, err = drive(
        tmp_path, [["--help"], ["--version"], *helps, *calls], demo_server, cache, **environ
    )
    assert statuses[: len(helps) + 2] == [0] * (len(helps) + 2)
    codec = "ascii" if encoding == "POSIX" else encoding
    text, told = out.decode(codec), err.decode(codec)
    assert set(statuses) <= set(CODES), (statuses, told[-3000:])
    assert "defect of atldld" not in told
    assert "um" in text or "µm" in text
    for piece in re.findall(r"^\{\n.*?^\}$", text, re.MULTILINE | re.DOTALL):
        json.loads(piece)  # what --json prints is JSON in every encoding


def test_json_is_whole_in_every_encoding(demo_server, tmp_path):
    environ = {
        **os.environ,
        "ATLDLD_API_URL": demo_server,
        "PYTHONIOENCODING": "ascii",
    }
    done = subprocess.run(
        [*COMMAND, "search", "structure", "*", "--json"],
        capture_output=True,
        env=environ,
        timeout=LONG,
    )
    assert json.loads(done.stdout.decode("ascii"))["result"]["rows"][0]["id"]


# ---- streams that are closed, full, or read by nobody


def shell(command, cache, server="http://127.0.0.1:9", **environ):
    """Run a line of the shell in which `atldld` is this package's command."""
    function = f'atldld() {{ "{sys.executable}" -m atldld "$@"; }}'
    return subprocess.run(
        ["bash", "-c", f"{function}; {command}"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={
            **os.environ,
            "ATLDLD_API_URL": server,
            "ATLDLD_CACHE_DIR": str(cache),
            "PYTHONPATH": str(SOURCE.parent),
            **environ,
        },
        timeout=LONG,
    )


@pytest.fixture(scope="module")
def full_cache(demo_server, tmp_path_factory):
    """A cache of which commands can speak."""
    cache = tmp_path_factory.mktemp("full")
    done = shell("atldld dataset info 909", cache, demo_server)
    assert done.returncode == 0, done.stderr
    return cache


TALKING = ["--help", "grid --help", "atlas list", "dataset info 909", "search image -d 909 --json"]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("talking", TALKING)
@pytest.mark.parametrize(
    ("streams", "status", "told"),
    [
        ("| true; exit ${PIPESTATUS[0]}", (0, 141), ""),
        (">&-", (0,), ""),
        ("2>&-", (0,), ""),
        ("<&-", (0,), ""),
        (">&- 2>&- <&-", (0,), ""),
        ("> /dev/full", (6,), "Standard output cannot be written: No space left on device."),
        ("2> /dev/full", (0,), ""),
    ],
)
def test_streams(talking, streams, status, told, full_cache, demo_server):
    """The kind: a standard stream that cannot be written, or is not there."""
    if "/dev/full" in streams and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    done = shell(f"atldld {talking} {streams}", full_cache, demo_server)
    assert done.returncode in status, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert told in done.stderr
    assert done.stderr.count("Error") == (1 if told else 0)


def test_a_long_answer_ends_when_nobody_reads_on(full_cache, demo_server):
    done = shell(
        "atldld search structure '*' --json | head -1; exit ${PIPESTATUS[0]}",
        full_cache,
        demo_server,
    )
    assert done.returncode in (0, 141)
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr


def test_files_do_not_get_what_is_printed(full_cache, demo_server, tmp_path):
    """With a closed stream, the next file that is opened would have got its number."""
    out = tmp_path / "out"
    line = f"atldld download image 101321610 {out} --downsample-img 4 >&- 2>&-"
    assert shell(line, full_cache, demo_server).returncode == 0
    (picture,) = out.glob("*.png")
    assert picture.read_bytes().endswith(b"IEND\xaeB`\x82")


def test_tables_come_from_closed_streams_as_empty_ones(full_cache, demo_server):
    for line in (
        "atldld sync image-to-reference - <&-",
        "atldld download datasets - /dev/null/x <&-",
    ):
        done = shell(line, full_cache, demo_server)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("Error: ")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
@pytest.mark.parametrize("kilobytes", [60_000, 300_000, 530_000, 700_000])
def test_too_little_memory(kilobytes, full_cache, demo_server, tmp_path):
    """The kind: whatever a library does where it gets no memory, or no thread, or no buffer."""
    line = f"ulimit -v {kilobytes}; atldld quality 909 --no-atlas --resolution 200"
    done = shell(line, full_cache, demo_server)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert "OpenBLAS" not in done.stderr
    if kilobytes < 500_000:
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ")
        assert "memory" in done.stderr
        assert done.stderr.count("\n") == 1


def test_memory_in_the_words_of_every_library():
    from atldld.cli.terminal import sentence_of

    said = [
        MemoryError(),
        RuntimeError("can't start new thread"),
        OSError(12, "Cannot allocate memory"),
        ImportError("libopenblas.so: failed to map segment from shared object"),
    ]
    cv2 = pytest.importorskip("cv2")
    said.append(cv2.error("OpenCV(4.9) alloc.cpp:73: error: (-4:Insufficient memory) Failed"))
    for error in said:
        assert "not enough memory" in sentence_of(error)
    assert "defect of atldld" in sentence_of(KeyError("x"))


# ---- Ctrl-C

# Sends itself Ctrl-C when a function is called for the n-th time, and again in what follows.
INTERRUPTED = """
import os, signal, sys
from importlib import import_module
where, name, again = sys.argv[1:4]
del sys.argv[1:4]
module = import_module(where)
holder, _, last = name.rpartition(".")
for part in filter(None, holder.split(".")):
    module = getattr(module, part)
genuine = getattr(module, last)

def interrupted(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGINT)
    return genuine(*args, **kwargs)

setattr(module, last, interrupted)
if again == "twice":
    from atldld.fetch.session import Session
    close = Session.close

    def closing(self):
        os.kill(os.getpid(), signal.SIGINT)
        close(self)

    Session.close = closing
from atldld.cli import main
main()
"""


@pytest.mark.one_in(3)
@pytest.mark.parametrize("again", ["once", "twice"])
@pytest.mark.parametrize(
    ("where", "name", "arguments"),
    [
        ("atldld.fetch.session", "Session.dataset", ("dataset", "info", "909")),
        ("atldld.fetch.session", "Session.dataset", ("quality", "909", "--no-atlas")),
        (
            "atldld.sections.download",
            "_write_section",
            ("download", "dataset", "909", "OUT", *QUICK),
        ),
        ("atldld.sections.register", "resample", ("export", "sections", "909", "OUT", *QUICK)),
        ("atldld.batch", "run_batch", ("download", "datasets", "909", "OUT", *QUICK)),
        ("atldld.batch.work", "download_dataset", ("download", "datasets", "909", "OUT", *QUICK)),
        ("atldld.find.renewal", "_seal", ("catalogue", "update")),
    ],
)
def test_ctrl_c(where, name, arguments, again, full_cache, demo_server, tmp_path):
    """The kind: Ctrl-C wherever it comes, in a thread of a pool too, and again while tidying up."""
    arguments = [str(tmp_path / one) if one == "OUT" else one for one in arguments]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, where, name, again, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "ATLDLD_API_URL": demo_server, "ATLDLD_CACHE_DIR": str(full_cache)},
        # Ctrl-C is heard also where the shell has started us in the background
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        timeout=LONG,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert "Stopped." in done.stderr


def test_ctrl_c_while_modules_are_imported():
    for module in ("atldld.cli.root", "atldld.errors", "click"):
        code = (
            "import os, signal, sys, importlib.abc\n"
            "class Finder(importlib.abc.MetaPathFinder):\n"
            "    def find_spec(self, name, path, target=None):\n"
            f"        if name == {module!r}:\n"
            "            os.kill(os.getpid(), signal.SIGINT)\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from atldld.cli import main\n"
            "sys.meta_path.insert(0, Finder())\n"
            "sys.argv = ['atldld', 'cache', 'info']\n"
            "main()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG
        )
        assert done.returncode == 130, (module, done.stderr)
        assert "Traceback" not in done.stderr


# ---- the pieces


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Prox1", "Prox1"),
        ("25 µm × 2 → …", "25 µm × 2 → …"),
        ("漢字 ä", "漢字 ä"),
        ("e\u0301", "e\u0301"),
        ("\u0301x", "\\u0301x"),
        ("a\x1b[0m", "a\\x1b[0m"),
        ("a\x9b0m\x7f", "a\\x9b0m\\x7f"),
        ("a\nb\r\t\0", "a\\nb\\r\\t\\x00"),
        ("\u202e\u2066\u200b\ufeff", "\\u202e\\u2066\\u200b\\ufeff"),
        ("\ud800\U000e0041", "\\ud800\\U000e0041"),
    ],
)
def test_shown(text, expected):
    assert shown(text) == expected
    assert shown(shown(text)) == expected


def test_no_character_that_is_shown_is_obeyed():
    whole = "".join(map(chr, range(sys.maxunicode + 1)))
    kinds = {unicodedata.category(one) for one in shown(whole)}
    assert kinds.isdisjoint({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+cmd",
        "-cmd",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "＝1",
        "'=1",
        "''@x",
        "-5x",
    ],
)
def test_cells_that_begin_like_a_formula(text):
    """The kind: text of others in CSV, which a spreadsheet runs (OWASP, CSV injection)."""
    cell = cell_of(text)
    assert cell == f"'{text}"
    assert text_in_cell(cell) == text


@pytest.mark.parametrize(
    "value",
    [
        *(-997, -1.5, None, True, "-997", "-1.5e-3", "+5", "-.5", "-inf", "nan", " -7 ", "-5 %"),
        *("-", "Prox1", "it's", "'quoted'", "", "a=b", "'"),
    ],
)
def test_cells_that_stay_as_they_are(value):
    assert cell_of(value) == value
    if isinstance(value, str):
        assert text_in_cell(value) == value


def test_the_page_of_a_report_saves_tables_by_the_same_rule(tmp_path):
    """The kind's other door: the button of the page, which writes CSV in JavaScript."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no Node.js here to run the page's script with")
    script = (SOURCE / "report" / "templates" / "report.js").read_text("utf-8")
    begin = script.index("const FORMULA")
    rule = script[begin : script.index("};", begin) + 2]
    texts = [
        "=1",
        "+x",
        "-5",
        "-5.5e3",
        "-5x",
        "@a",
        "\t=",
        "\ra",
        " =1",
        "＝1",
        "'=1",
        "it's",
        "-",
    ]
    program = f"{rule}\nconsole.log(JSON.stringify({json.dumps(texts)}.map(field)))"
    (tmp_path / "rule.js").write_text(program, encoding="utf-8")
    done = subprocess.run([node, tmp_path / "rule.js"], capture_output=True, timeout=LONG)
    cells = [row for (row,) in csv.reader(json.loads(done.stdout))]
    assert cells == [cell_of(text) for text in texts]


def test_every_table_goes_through_one_writer():
    """The kind: a CSV file that someone writes with `csv` itself."""
    writing = re.compile(r"csv\.(writer|DictWriter)\(")
    users = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if writing.search(path.read_text("utf-8"))
    }
    # the local service answers as the Allen Institute's does
    assert users == {"support/text.py", "serve/app.py"}


def test_files_are_opened_as_utf_8():
    """The kind: a text file that is read or written in whatever encoding the terminal has."""
    wrong = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            texts = [a.value for one in node.args for a in ast.walk(one) if hasattr(a, "value")]
            told = any(one.arg == "encoding" for one in node.keywords)
            if name in ("read_text", "write_text"):
                told |= "utf-8" in texts
            elif isinstance(node.func, ast.Name) and name == "open":
                told |= any(re.fullmatch("[rwax]?[+]?b", one) for one in texts if type(one) is str)
            else:
                continue
            if not told:
                wrong.append(f"{path.relative_to(SOURCE)}:{node.lineno}")
    assert wrong == []


def test_only_the_terminal_prints():
    """The kind: a line that goes to the terminal past what makes it harmless."""
    for path in (SOURCE / "cli").glob("*.py"):
        text = path.read_text("utf-8")
        if path.name != "terminal.py":
            assert not re.search(
                r"\bclick\.echo\(|(?<![.\w])print\(|sys\.std(out|err)\.write", text
            )
        assert not re.search(r'TextColumn\((?![^)]*markup=False)(?!"left")', text), path


ARRAYS = """\
import ctypes, resource, sys
import numpy as np
from atldld.cli.terminal import prepare_for_pixels

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of 4 kB everywhere
if sys.argv[1:]:
    prepare_for_pixels()

def several():
    return [np.ones(60_000) for _ in range(9)]

several()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    several()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told to keep memory"
)
def test_freed_memory_is_kept_for_the_next_arrays():
    """Each page that is given back and taken again is one that the kernel clears first."""

    def pages(*words):
        done = subprocess.run(
            [sys.executable, "-c", ARRAYS, *words], check=True, capture_output=True, text=True
        )
        return int(done.stdout)

    assert pages("keep") < 200 < 5000 < pages()


@pytest.mark.parametrize(("chosen", "told"), [({}, "1"), ({"OPENCV_FOR_THREADS_NUM": "3"}, "3")])
def test_opencv_makes_no_threads_beside_ours(chosen, told):
    """Unless somebody wants them."""
    program = (
        "from atldld.cli.terminal import prepare_for_pixels; prepare_for_pixels();"
        "import cv2; print(cv2.getNumThreads())"
    )
    inherited = {name: value for name, value in os.environ.items() if "OPENCV" not in name}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=inherited | chosen, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == told


def test_commands_that_work_on_pixels_prepare_for_them(monkeypatch):
    from atldld.cli import options

    called = []
    monkeypatch.setattr(options, "prepare_for_pixels", lambda: called.append(True))
    chosen = dict.fromkeys(options._SERVICE_OPTIONS)

    @options.knows_service
    def light(chosen):
        """Show something."""

    @options.knows_service
    def heavy(chosen, jobs=None):
        """Make something."""

    light(**chosen)
    assert called == []
    heavy(jobs=None, **chosen)
    assert called == [True]
