"""What help shows of every command, that its examples run, and what wrong words are answered."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from atldld.cli.examples import EXAMPLES
from atldld.cli.help import HEADINGS, heading_of

SOURCE = Path(__file__).resolve().parents[2] / "src"
WIDTHS = (60, 80, 120)


def commands():
    """Every command with its path, groups among them."""
    from atldld.cli import app

    def below(command, path):
        if path:
            yield path, command
        inner = getattr(command, "commands", {})
        for name in inner:
            yield from below(inner[name], (*path, name))

    return list(below(app, ()))


COMMANDS = commands()
NAMES = [" ".join(path) for path, _ in COMMANDS]
LEAVES = [" ".join(path) for path, command in COMMANDS if not hasattr(command, "commands")]


@pytest.fixture
def shown(monkeypatch, capsys):
    """What a command prints, in this process."""
    from atldld.cli import main

    def run(*words, status=0, width=80):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys, "argv", ["atldld", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert (ended.value.code or 0) == status, err
        return out + err

    return run


def options_of(command):
    return [one for one in command.params if one.param_type_name == "option" and not one.hidden]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_fits(shown, name, width):
    """The kind: help that is cut, ragged or full of a library's columns."""
    text = shown(*name.split(), "--help", width=width)
    lines = text.splitlines()
    # what is to be copied stays on one line
    assert max(len(line) for line in lines if "  atldld" not in line) <= width
    assert not re.search(r"<(bool|str|int|float|path|int range)>|[│╭╰]|\[OPTIONS\]|\{ID\}", text)
    # as a cut word has it
    assert not re.search(r"(?<!target_)(?<=\w)…", text)
    assert "Usage: atldld" in text
    assert "Also --help" not in text


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=NAMES)
def test_every_option_has_a_heading_and_is_shown_once(shown, path, command):
    text = shown(*path, "-h")
    for option in options_of(command):
        assert heading_of(option, path) in HEADINGS, (path, option.opts)
        name = next((one for one in option.opts if one.startswith("--")), option.opts[0])
        found = re.findall(rf"^  (?:-\w, )?{re.escape(name)}(?=[ ,\n])", text, re.MULTILINE)
        assert len(found) == 1, (path, name)
    used = re.findall(r"^([A-Z][^:\n]*):$", text, re.MULTILINE)
    known = ("Example", "Commands", "Arguments", *HEADINGS)
    assert [one for one in known if one in used] == used


def test_the_same_option_stands_under_the_same_heading():
    where: dict[str, set[str | None]] = {}
    for path, command in COMMANDS:
        for option in options_of(command):
            if path[0] != "search":
                where.setdefault(max(option.opts, key=len), set()).add(heading_of(option, path))
    # what names data sets names many of them where a command takes many
    apart = {name for name, headings in where.items() if len(headings) > 1}
    assert apart <= {"--datasets", "--format", "--gene", "--plane", "--jobs"}


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_an_example(name):
    example = EXAMPLES[name]
    assert f"atldld {name}" in example
    assert max(map(len, example.split("\n"))) <= 78


def test_no_example_is_of_a_command_that_is_gone():
    assert set(EXAMPLES) == set(LEAVES)


LONG = ("download dataset", "download datasets")
SLOW = ("demo", "quantify", "quality", "refine", "report")


class Typed:
    """Runs one example after another in one folder, as if they were typed."""

    def __init__(self, folder, environ):
        self.folder = folder
        self.environ = environ

    def __call__(self, name):
        function = f'atldld() {{ "{sys.executable}" -m atldld "$@"; }}'
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {function}; {EXAMPLES[name]}"],
            cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert done.returncode == 0, (name, done.stdout, done.stderr)
        return done


@pytest.fixture(scope="module")
def examples(demo_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    environ = {
        **os.environ,
        "ATLDLD_API_URL": demo_server,
        "ATLDLD_CACHE_DIR": str(folder / "cache"),
        "PYTHONPATH": str(SOURCE),
    }
    return Typed(folder, environ)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_examples_run(examples):
    """One after another, as some take what others have written."""
    for name in EXAMPLES:
        if name not in (*LONG, *SLOW, "serve", "align"):
            examples(name)


@pytest.mark.long
def test_long_examples_run(examples):
    for name in LONG:
        examples(name)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_slow_examples_run(examples):
    for name in EXAMPLES:
        if name in SLOW:
            examples(name)


def test_the_example_of_serve_runs(examples):
    examples("dataset info")  # so that there is a cache
    words = EXAMPLES["serve"].split()[1:]
    with subprocess.Popen(
        [sys.executable, "-m", "atldld", *words],
        cwd=examples.folder, env=examples.environ, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        assert server.stdout.readline().startswith("http://127.0.0.1:")
        server.send_signal(signal.SIGTERM)


def test_the_example_of_align_runs(examples):
    """But for the registration that another example makes, and the browser."""
    words = EXAMPLES["align"].replace(" --alignment prox1.json", "").split()[1:]
    words += ["--no-browser", "--atlas-resolution", "100"]
    with subprocess.Popen(
        [sys.executable, "-m", "atldld", *words],
        cwd=examples.folder, env=examples.environ, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as page:  # fmt: skip
        assert page.stdout is not None
        assert re.match(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{40,}\n", page.stdout.readline())
        page.send_signal(signal.SIGTERM)
    assert (examples.folder / "by-hand.json").is_file()


WRONG = [
    ("downlod", "Did you mean download?"),
    ("outlines 909", "Did you mean atldld atlas outlines?"),
    ("frob", "There are search, catalogue,"),
    ("cache lst", "atldld cache has no command lst. Did you mean list?"),
    ("download datset 1", "Did you mean dataset or datasets?"),
    ("download dataset 909 x --resoluton 3", "Did you mean --resolution?"),
    ("search dataset --frobnicate", "atldld search dataset has no option --frobnicate. See"),
    ("download dataset 909 x --cut oblik", "--cut is oblik, but must be oblique or parallel. "
     "Did you mean oblique?"),
    ("quantify 909 --hemisphere lft", "Did you mean left?"),
    ("grid 909 --labels=", "--labels is empty, but must be atlas or service."),
    ("download dataset 909 x --resolution abc", "--resolution is abc, but must be a number."),
    ("quality 909 --threads 0", "--threads is 0, but must be a whole number, 1 or more."),
    ("quality 909 --threads 1.5", "--threads is 1.5, but must be a whole number, 1 or more."),
    ("serve --port 99999", "--port is 99999, but must be a whole number from 0 to 65535."),
    ("quality", "ID is missing: "),
    ("export quicknii 909", "--output FILE.json|FILE.csv|- is missing: "),
    ("info version x", "This is more than the command takes: x."),
    ("quality 909 --no-atlas=3", "--no-atlas takes no value: it is either there or not."),
    ("grid 909 --kind", "--kind needs a value: energy, density or intensity."),
    ("--vresion", "Did you mean --version?"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[words for words, _ in WRONG])
def test_wrong_words(shown, words, said):
    text = shown(*words.split(), status=2)
    assert said in text
    assert text.startswith("Error: ")
    assert re.search(r"See `atldld[a-z ]* --help`\.\n$", text)


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("pdyn", ["Pdyn", "Prox1"], " Did you mean Pdyn?"),
        ("Pro", ["Pdyn", "Prox1"], " Did you mean Prox1?"),
        ("x", ["Pdyn", "Prox1"], ""),
        ("", ["Pdyn"], ""),
    ],
)
def test_what_was_meant(word, known, said):
    from atldld.cli.usage import nearest

    assert nearest(word, known) == said
