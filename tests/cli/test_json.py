"""What programs read: one envelope for every command, one line for every error, one list of codes.

The kind of fault: standard output that is not JSON alone, a key that no page names, a number that
JSON cannot hold, an error that a program must take apart.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner

from atldld import errors
from atldld.cli import app
from atldld.cli.codes import CODES, code_of
from atldld.cli.declare import Exit
from atldld.cli.manner import plain_json
from atldld.cli.results import RESULTS, envelope_schema, error_schema, table_of_results
from atldld.cli.spelling import NO_JSON
from atldld.errors import AtldldError
from tests.cli.test_grammar import leaves

DOCS = Path(__file__).resolve().parents[2] / "docs"
SECTION = "101321610"
QUICK = ("--resolution", "400")
COARSE = ("--atlas-resolution", "100")
STAINED = ("--stain-threshold", "0.3", "--table-resolution", "200", *COARSE)
POINTS = "image_id,x,y\n101321610,2000,2000\n5,1,1\n"
BRAIN = "p_um,i_um,r_um\n6000,4000,5000\n"

# Every command with a call that ends well, in an order in which they can be run one after another.
CALLS: dict[str, tuple[str, ...]] = {
    "search dataset": ("-g", "Prox1"),
    "search image": ("-d", "909", "--limit", "2"),
    "search gene": ("*",),
    "search specimen": ("*",),
    "search structure": ("DG",),
    "search neighbours": ("909",),
    "dataset info": ("909",),
    "dataset preview": ("909",),
    "download dataset": ("909", "d", *QUICK),
    "download datasets": ("909", "many", *QUICK),
    "download image": (SECTION, "i", "--downsample-img", "4"),
    "cache info": (),
    "cache list": (),
    "cache verify": (),
    "cache export": ("c.zip",),
    "cache import": ("c.zip",),
    "cache prune": ("--older-than", "1000w"),
    "doctor": ("--offline",),
    "info version": (),
    "info cache": (),
    "sync image-to-reference": ("points.csv",),
    "sync reference-to-image": ("brain.csv", "-d", "909"),
    "sync image-to-image": ("points.csv", "-d", "909"),
    "sync image-to-image-2d": ("points.csv", "-i", SECTION),
    "sync image-to-atlas": ("points.csv",),
    "sync structure-to-image": ("structures.csv", "-d", "909"),
    "volume": ("909", "-o", "v.npy", *QUICK),
    "atlas list": (),
    "atlas fetch": ("annotation", *COARSE),
    "atlas plates": (),
    "atlas outlines": ("909", "-o", "lines", "--image", SECTION, *COARSE, "--resolution", "200"),
    "quantify": ("909", "-o", "q.csv", *STAINED),
    "grid": ("909", "--regions", *COARSE),
    "refine": ("909", "-o", "reg.json", *COARSE, "--resolution", "200", "--steps", "whole"),
    "quality": ("909", "--no-atlas", "--quality-resolution", "200"),
    "report": ("909", *QUICK, "--table-resolution", "200", *COARSE, "--no-volume", "--no-atlas"),
    "export quicknii": ("909", "-o", "q.json"),
    "export fields": ("909", "f", *QUICK),
    "export sections": ("909", "s", *QUICK),
    "catalogue update": (),
    "catalogue info": (),
    "catalogue export": ("-o", "cat.zip"),
    "catalogue import": ("cat.zip",),
}
# Too long for here; `tests/test_cli.py` runs it.
ELSEWHERE = {"demo"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("json")
    (folder / "points.csv").write_text(POINTS)
    (folder / "brain.csv").write_text(BRAIN)
    (folder / "structures.csv").write_text("structure_id\n22\n")
    return folder


def test_every_command_has_a_result():
    names = {name for name, _ in leaves()} - NO_JSON
    assert set(RESULTS) == names
    assert set(CALLS) | ELSEWHERE == names


@pytest.mark.usefixtures("at_demo_server")
@pytest.mark.parametrize("command", CALLS)
def test_the_envelope(command, place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("ATLDLD_CACHE_DIR", str(place / "cache"))
    done = CliRunner().invoke(app, [*command.split(), *CALLS[command], "--json"])
    assert done.exit_code == 0, (done.output, done.exc_info)
    found = json.loads(done.stdout, parse_constant=lambda what: pytest.fail(what))
    jsonschema.validate(found, envelope_schema(command))
    assert found["complete"]
    assert found["result"]
    # a machine may be so busy that the service must be waited for
    assert all(line.startswith("Waiting for ") for line in done.stderr.splitlines()), done.stderr
    if not command.startswith("catalogue"):  # there they are names within the file
        for path in found["result"].get("files", []):
            assert Path(path).exists()


def test_the_page_names_every_key():
    page = (DOCS / "json.md").read_text("utf-8")
    assert "\n".join(table_of_results()) in page, "\n".join(table_of_results())
    without = " and ".join(", ".join(f"`{name}`" for name in sorted(NO_JSON)).rsplit(", ", 1))
    assert f"Every command except {without} takes `--json`." in page


@pytest.mark.usefixtures("at_demo_server")
def test_what_is_not_whole_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["download", "image", SECTION, "5", "-o", "out", "--downsample-img", "4", "--json"]
    done = CliRunner().invoke(app, words)
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert not found["complete"]
    assert list(found["result"]["failed"]) == ["5"]
    assert len(found["result"]["files"]) == 1
    assert found["remarks"]


def test_what_is_stopped_says_so(capsys):
    """Whatever a command says as it ends goes to the program, too."""
    from atldld.cli.manner import at_work, start
    from atldld.cli.terminal import say, say_now

    def work():
        with at_work("volume", lambda _: pytest.fail("no result"), None, say_now):
            say("Stopped. The same command goes on from here.")
            print("not for programs")
            raise Exit(130)

    start(as_json=True)
    with pytest.raises(Exit):
        work()
    start()
    told = capsys.readouterr()
    assert told.out == ""
    found = json.loads(told.err)
    jsonschema.validate(found, error_schema())
    assert (found["error"]["kind"], found["error"]["code"]) == ("Stopped", 130)
    assert "goes on from here" in found["error"]["message"]


def test_what_json_cannot_hold():
    found = plain_json(
        {
            1: (np.int64(5), np.float32(0.5), np.nan, np.inf, np.array([1, 2])),
            "path": Path("a"),
            "error": errors.Remedy.FORCE,
            "scalar": np.array(7),
        }
    )
    assert found["1"] == [5, 0.5, None, None, [1, 2]]
    assert (found["path"], found["scalar"]) == ("a", 7)
    json.dumps(found, allow_nan=False)


# ---- errors and codes


def typed(*words, server="http://127.0.0.1:9", cache="cache", **environ):
    return subprocess.run(
        [sys.executable, "-m", "atldld", *map(str, words)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "ATLDLD_API_URL": server, "ATLDLD_CACHE_DIR": str(cache), **environ},
        timeout=600,
    )


def classes():
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, AtldldError)
    }


EXPECTED = {
    "AtldldError": 1,
    "InvalidInputError": 2,
    "AmbiguousNameError": 2,
    "MissingFileError": 2,
    "NotFoundError": 3,
    "DatasetNotFoundError": 3,
    "GridNotFoundError": 3,
    "ImageNotFoundError": 3,
    "ServiceError": 4,
    "OfflineError": 4,
    "DailyLimitError": 4,
    "NetworkError": 4,
    "ServiceTimeoutError": 4,
    "HTTPStatusError": 4,
    "AnswerError": 4,
    "BrokenImageError": 4,
    "RMAError": 4,
    "ServiceDefectError": 4,
    "RecordError": 5,
    "AlignmentMissingError": 5,
    "UnsupportedPlaneError": 5,
    "CacheError": 6,
    "OutputError": 6,
}


def test_each_error_has_its_code():
    assert {name: code_of(kind("x")) for name, kind in classes().items()} == EXPECTED
    assert {code_of(KeyError("x")), code_of(MemoryError())} == {1}
    assert set(EXPECTED.values()) | {0} <= set(CODES)


def test_the_page_of_codes():
    page = (DOCS / "exit-codes.md").read_text("utf-8")
    told = dict(re.findall(r"^\| (\d+) \| (.*?) \|", page, re.MULTILINE))
    assert told == {str(code): meaning for code, meaning in CODES.items()}
    for name, code in EXPECTED.items():
        row = re.search(rf"^\| {code} \|.*$", page, re.MULTILINE)
        assert row is not None
        assert f"`{name}`" in row[0], name


def test_each_code_occurs(at_demo_server, tmp_path, monkeypatch):
    """Those of signals and closed pipes are tried in `test_terminal.py` and `test_cache.py`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.json").write_text("mine")
    bare = tmp_path / "cache" / "not"
    calls: dict[int, tuple[object, ...]] = {
        0: ("dataset", "info", 909),
        1: ("download", "image", SECTION, 5, "-o", "out", "--downsample-img", 4),
        2: ("dataset", "info", "-5"),
        3: ("dataset", "info", 5),
        4: ("dataset", "info", 71717084, "--offline"),
        6: ("export", "quicknii", 909, "-o", "q.json"),
    }
    for code, words in calls.items():
        done = typed(*words, server=at_demo_server, cache=bare)
        assert done.returncode == code, (words, done.stderr)
    from atldld.cli.terminal import _status_of

    assert _status_of(errors.AlignmentMissingError("x")) == 5
    assert _status_of(KeyboardInterrupt()) == 130


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        (("dataset", "info", 5, "--json"), "DatasetNotFoundError", 3),
        (("--quiet", "dataset", "info", 5, "--json"), "DatasetNotFoundError", 3),
        (("dataset", "info", "2.5", "--json"), "InvalidInputError", 2),
        (("dataset", "info", "--frob", "--json"), "UsageError", 2),
        (("dataset", "infos", "--json"), "UsageError", 2),
        (("dataset", "info", 5, "--offline", "--json"), "OfflineError", 4),
    ],
)
def test_errors_are_one_line_of_json(words, kind, code, at_demo_server, tmp_path):
    done = typed(*words, server=at_demo_server, cache=tmp_path / "cache")
    assert done.returncode == code
    assert done.stdout == ""
    found = json.loads(done.stderr)
    jsonschema.validate(found, error_schema())
    assert (found["error"]["kind"], found["error"]["code"]) == (kind, code)


def test_an_ambiguous_name_lists_what_it_fits(capsys):
    from atldld.cli.manner import manner, start
    from atldld.cli.terminal import complain

    start()
    error = errors.AmbiguousNameError("Two fit.", candidates=["5 (a)", "6 (b)"], hint="Choose.")
    complain(error, str(error), 2)
    assert capsys.readouterr().err == "Error: Two fit.\n  5 (a)\n  6 (b)\nChoose.\n"
    manner.as_json, manner.command = True, "dataset info"
    complain(error, str(error), 2)
    start()
    assert json.loads(capsys.readouterr().err)["error"]["candidates"] == ["5 (a)", "6 (b)"]


# ---- quietly and at length


@pytest.mark.parametrize("words", [("-q", "dataset", "info", 909), ("dataset", "info", 909, "-q")])
def test_quietly(words, at_demo_server, tmp_path):
    done = typed(*words, server=at_demo_server, cache=tmp_path / "cache")
    assert done.stderr == ""
    assert "Demo" in done.stdout
    failed = typed(*words[:-1], 5, server=at_demo_server, cache=tmp_path / "cache")
    assert failed.stderr.startswith("Error: ")
    assert failed.stderr.count("\n") == 1


def test_quietly_with_work(at_demo_server, tmp_path):
    out = tmp_path / "out"
    done = typed("-q", "download", 909, out, *QUICK, server=at_demo_server, cache=tmp_path / "c")
    assert (done.stdout, done.stderr) == (f"{out}\n", "")


@pytest.mark.parametrize("words", [("-v", "dataset", "info", 909), ("dataset", "info", 909, "-v")])
def test_at_length(words, at_demo_server, tmp_path):
    first = typed(*words, server=at_demo_server, cache=tmp_path / "cache").stderr
    assert re.search(rf"{at_demo_server}/api/v2/data/query.json.* kB in \d+\.\d s", first)
    assert re.search(r"2 requests in \d+\.\d s", first)
    again = typed(*words, server=at_demo_server, cache=tmp_path / "cache").stderr
    assert "Section data set 909 is in the cache" in again
    assert "0 requests in" in again


def test_at_length_of_images(at_demo_server, tmp_path):
    words = ("download", "image", SECTION, "--downsample-img", 4, "-v", "-o")
    first = typed(*words, tmp_path / "a", server=at_demo_server, cache=tmp_path / "cache").stderr
    assert "section_image_download" in first
    again = typed(*words, tmp_path / "b", server=at_demo_server, cache=tmp_path / "cache").stderr
    assert f"Section image {SECTION} at downsample 4 is in the cache" in again


def test_both_at_once_make_no_sense(tmp_path):
    done = typed("-q", "cache", "info", "-v", cache=tmp_path / "cache")
    assert done.returncode == 2
    assert "Choose one of" in done.stderr
