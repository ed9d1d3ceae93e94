"""Completion, as real shells load it, from what is on this machine alone."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from atldld.cli.complete import SCRIPTS, candidates

SOURCE = Path(__file__).resolve().parents[2] / "src"
LONG = 550


@pytest.fixture(scope="module")
def known(demo_server, tmp_path_factory):
    """A cache with a catalogue and two data sets; returns the environment that names it."""
    folder = tmp_path_factory.mktemp("completion")
    environ = {
        **os.environ,
        "ATLDLD_API_URL": demo_server,
        "ATLDLD_CACHE_DIR": str(folder / "cache"),
        "PYTHONPATH": str(SOURCE),
    }
    for words in (
        ["catalogue", "update"],
        ["dataset", "info", "909"],
        ["dataset", "info", "69289763"],
    ):
        line = [sys.executable, "-m", "atldld", *words]
        subprocess.run(line, env=environ, check=True, capture_output=True, timeout=LONG)
    program = folder / "bin" / "atldld"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m atldld "$@"\n')
    program.chmod(0o755)
    return {**environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(folder)}


@pytest.fixture
def here(known, monkeypatch):
    """The same in this process, in which nothing may be asked over the network."""
    for name in ("ATLDLD_API_URL", "ATLDLD_CACHE_DIR"):
        monkeypatch.setenv(name, known[name])

    def refused(*_, **__):
        raise AssertionError("completion asks the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    return lambda *words: [word for word, _ in candidates(words)]


LINES = [
    (("dow",), ["download"]),
    (("--ver",), ["--version"]),
    (("cache", "p"), ["prune"]),
    (("search", "dataset", "-g", "pr"), ["Prox1"]),
    (("search", "dataset", "--gene=Pro"), ["--gene=Prox1"]),
    (("search", "dataset", "--gene", "=", "Pro"), ["Prox1"]),
    (("search", "gene", "PDY"), ["Pdyn"]),
    (("search", "structure", "DG"), ["DG"]),
    (("search", "dataset", "-p", ""), ["coronal", "sagittal"]),
    (("quantify", "909", "--structure", "D"), ["DG"]),
    (("quality", ""), ["909", "69289763"]),
    (("quality", "--no-atlas", "6"), ["69289763"]),
    (("quality", "909", "6"), []),
    (("volume", "909", ""), ["909", "69289763"]),
    (("sync", "reference-to-image", "x.csv", "-d", "9"), ["909"]),
    (("download", "image", "9"), []),
    (("grid", "909", "--kind", ""), ["energy", "density", "intensity"]),
    (("grid", "909", "--ki"), ["--kind"]),
    (("grid", "--kind", "energy", "--ki"), []),
    (("nothing", "like", "it"), []),
    (("completion", "z"), ["zsh"]),
]  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), LINES, ids=[" ".join(w) for w, _ in LINES])
def test_what_may_come_next(here, words, expected):
    found = here(*words)
    assert [one for one in found if one.lower() != "pdyn" or one in expected] == expected


def test_every_command_and_option_is_completed(here):
    from tests.cli.test_help import COMMANDS

    for path, command in COMMANDS:
        if hasattr(command, "commands"):
            assert here(*path, "") == list(command.commands)
            continue
        offered = here(*path, "--")
        for option in command.params:
            if option.param_type_name == "option" and not option.hidden:
                assert {one for one in option.opts if one.startswith("--")} <= set(offered)


def test_nothing_is_said_where_nothing_is_known(tmp_path):
    """No catalogue, a broken one, no cache, words that are none: silence and status 0."""
    cache = tmp_path / "cache"
    environ = {**os.environ, "ATLDLD_CACHE_DIR": str(cache), "PYTHONPATH": str(SOURCE)}
    environ |= {"ATLDLD_API_URL": "https://api.brain-map.org", "_ATLDLD_COMPLETE": "1"}
    for broken in (False, True):
        if broken:
            cache.mkdir()
            (cache / "catalogue.sqlite").write_bytes(b"this is no database")
            (cache / "datasets").write_text("a file")
        for words in (["search", "dataset", "-g", "P"], ["quality", ""], ["\udcff\x1b", "x"], []):
            done = subprocess.run(
                [sys.executable, "-m", "atldld", *words],
                env=environ, capture_output=True, timeout=LONG,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, b""), done.stderr
            assert words == [] or done.stdout == b""
    assert sorted(path.name for path in cache.iterdir()) == ["catalogue.sqlite", "datasets"]


def test_the_first_word_is_completed_without_libraries(known):
    code = (
        "import sys; from atldld.cli.complete import candidates; candidates(['sea'])\n"
        "print(sorted({'click', 'rich', 'numpy', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=known, capture_output=True, text=True)
    assert done.stdout == "[]\n"


BASH = """
eval "$(atldld completion bash)"
ask() {{
    COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
    _atldld_completion; echo "${{COMPREPLY[@]}}"
}}
complete -p atldld >/dev/null || exit 3
{lines}
"""
ZSH = """
autoload -Uz compinit && compinit -u
eval "$(atldld completion zsh)"
[[ "${{_comps[atldld]}}" == _atldld ]] || exit 3
_describe() {{ local found=("${{(@P)2}}"); print -r -- "${{(@)found%%:*}}" }}
_files() {{ print -r -- files }}
ask() {{ words=("$@"); CURRENT=$#; _atldld }}
{lines}
"""
FISH = """
atldld completion fish | source
function ask; complete -C"$argv" | string replace -r '\\t.*' '' | string join ' '; end
{lines}
"""
ASKED = [
    ("atldld cache p", "prune"),
    ("atldld search dataset -g Pro", "Prox1"),
    ("atldld quantify 909 --structure D", "DG"),
    ("atldld quality 6", "69289763"),
    ("atldld grid 909 --kind ", "energy density intensity"),
]


@pytest.mark.parametrize(("shell", "script"), [("bash", BASH), ("zsh", ZSH), ("fish", FISH)])
def test_a_real_shell_completes(known, shell, script, tmp_path):
    """The kind: a script that the shell cannot read, or that breaks its own words apart."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed here")
    if shell == "fish":
        lines = [f"ask '{line}'" for line, _ in ASKED]
    else:
        lines = ["ask " + line + (' ""' if line.endswith(" ") else "") for line, _ in ASKED]
    file = tmp_path / f"script.{shell}"
    file.write_text(script.format(lines="\n".join(lines)))
    plain = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [program, *plain, str(file)], env=known, capture_output=True, text=True, timeout=LONG
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    # each shell has an order of its own
    said = [sorted(line.split()) for line in done.stdout.splitlines()]
    assert said == [sorted(expected.split()) for _, expected in ASKED]


def test_scripts_are_printed(capsys):
    from atldld.cli.completion import completion

    for shell, script in SCRIPTS.items():
        completion(shell)  # type: ignore[arg-type]
        assert capsys.readouterr().out == script
