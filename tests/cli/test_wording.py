"""What any wrong value of any option is answered: in our words, in one sentence, at once."""

import json
import os
import re
import subprocess
import sys

import pytest

from atldld.cli.help import kind_of
from tests.cli.test_help import COMMANDS
from tests.cli.test_terminal import DRIVER, LONG

# What no error may hold: reprs of Python, and the words of the libraries below.
FOREIGN = re.compile(
    r"<class|<function|object at 0x|Traceback|Value error|\bNone\b|\bTrue\b|\bFalse\b|array\(|"
    r"PosixPath\(|WindowsPath\(|frozenset|\bdict_|Invalid value|Input should|pydantic|click\.|"
    r"np\.\w+\(|float64|defect of atldld|invalid literal|could not convert|unable to parse|"
    r"has no attribute|positional argument|unexpected keyword|Errno|\[type=|requires an argument"
)
NUMBERS = ("abc", "", "-1", "0", "nan", "-inf", "1e400", "9" * 25, "1.5", "٣")
WORDS = ("", "nonsense", "-1", "[/red]", "a,b", "../..", "x" * 300, "{id}", "%s")
POSITIONAL = {
    "ID": "909", "[ID]": "909", "[ID]...": "909", "ID...": "909", "POINTS": "POINTS",
    "ID|FOLDER": "909", "ID|FILE|-...": "909", "OUT": "OUT",
}  # fmt: skip
NEEDED = {"--output": "OUT", "--dataset": "909", "--image": "1"}
# These change what is asked, or wait for someone.
LEFT_OUT = {"--api-url", "--download-url", "--cache-dir", "--help", "--version"}


def calls():
    """Every option of every command with wrong values, and every argument."""
    for path, command in COMMANDS:
        if hasattr(command, "commands") or path == ("demo",):
            continue
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option"]
        given = [
            POSITIONAL.get(str(one.metavar), "OUT" if "folder" in one.name else "909")
            for one in arguments
            if one.required or path == ("volume",)
        ]
        needed = {max(one.opts, key=len): one for one in options if one.required}
        for option in options:
            name = max((one for one in option.opts if one.startswith("--")), key=len)
            kind = kind_of(option)
            if name in LEFT_OUT or (path == ("serve",) and name not in ("--port", "--datasets")):
                continue
            values = NUMBERS if kind in ("whole", "number") else WORDS
            others = [
                word
                for other in needed
                if other != name
                for word in (other, NEEDED.get(other, "x"))
            ]
            for value in ("x",) if kind == "flag" else values:
                yield [*path, *given, *others, f"{name}={value}"]
            yield [*path, *given, *others, name]
        for at in range(len(given)):
            for value in WORDS:
                words = [*given[:at], value, *given[at + 1 :]]
                if path != ("serve",) and not value.startswith("-"):
                    yield [*path, *words, *(w for o in needed for w in (o, NEEDED.get(o, "x")))]


@pytest.mark.long
@pytest.mark.timeout(LONG)
def test_no_error_is_in_the_words_of_a_library(tmp_path):
    """Nothing can be asked: what is not refused for its value ends without the network."""
    (tmp_path / "POINTS").write_text("image_id,x,y\n1,2,3\n")
    listed = [words for words in calls() if words[0] != "serve" or words[-1] != "--port=0"]
    assert len(listed) > 1500
    (tmp_path / "calls.json").write_text(json.dumps(listed), encoding="utf-8")
    environ = {
        **os.environ,
        "ATLDLD_OFFLINE": "1",
        "ATLDLD_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        [sys.executable, str(DRIVER), "calls.json", "statuses.json"],
        cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONG,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    statuses = json.loads((tmp_path / "statuses.json").read_text("utf-8"))
    told = re.split(r"^\$ \[.*\]\n", done.stderr.decode("utf-8"), flags=re.MULTILINE)[1:]
    assert len(told) == len(statuses) == len(listed)
    foreign = [
        (" ".join(words)[:200], text[:300])
        for words, text in zip(listed, told, strict=True)
        if FOREIGN.search(text.replace(str(words), ""))
    ]
    assert not foreign, (len(foreign), foreign[:40])
    silent = [
        words for words, status, text in zip(listed, statuses, told, strict=True)
        if status and not text.strip()
    ]  # fmt: skip
    assert not silent, silent[:20]
    assert all(isinstance(status, int) for status in statuses)
