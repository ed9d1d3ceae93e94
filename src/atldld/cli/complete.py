"""What may come next on the command line: commands, options, words, genes, structures, data sets.

A shell asks with each press of the tab key, so nothing here asks the service, writes a file or
says what is wrong; what is known comes from the catalogue and the cache on this machine.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["ASKING", "SCRIPTS", "candidates", "complete"]

ASKING = "_ATLDLD_COMPLETE"
"""The variable by which a shell asks: the arguments are then the words typed so far."""

MOST = 200  # candidates; nobody reads more

Candidate = tuple[str, str]
"""A word that may come next, and what is to be said of it."""

SCRIPTS = {
    "bash": """\
_atldld_completion() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("${line%%$'\\t'*}")
    done < <(_ATLDLD_COMPLETE=1 "${COMP_WORDS[0]}" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _atldld_completion atldld
""",
    "zsh": """\
#compdef atldld
_atldld() {
    local line answer
    local -a found
    answer=$(_ATLDLD_COMPLETE=1 "${words[1]}" "${(@)words[2,CURRENT]}" 2>/dev/null)
    for line in "${(@f)answer}"; do
        [[ -n "$line" ]] && found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    done
    if (( $#found )); then
        _describe atldld found
    else
        _files
    fi
}
if [[ "$funcstack[1]" == _atldld ]]; then
    _atldld "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _atldld atldld
fi
""",
    "fish": """\
function __atldld_complete
    set -l words (commandline -opc)
    set -l now (commandline -ct)
    set -l program $words[1]
    set -e words[1]
    set -l found (env _ATLDLD_COMPLETE=1 $program $words "$now" 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path "$now"
    end
end
complete -c atldld -f -a '(__atldld_complete)'
""",
}
"""What a shell loads, by its name."""

_PLANES = ("coronal", "sagittal")
# by what an option or an argument is called
_KNOWN_BY = {
    "gene": "gene",
    "structure": "structure",
    "structures": "structure",
    "dataset": "data set",
    "datasets": "data set",
    "dataset_id": "data set",
    "dataset_ids": "data set",
    "ids": "data set",
    "what": "data set",
    "id": "data set",
}


def complete(words: Sequence[str]) -> int:
    """Print what may come next: a word, a tab and what is to be said of it on each line.

    Whatever goes wrong, nothing is said of it.
    """
    from atldld.cli.terminal import answer_lines
    from atldld.support.text import shown

    lines: list[str] = []
    with contextlib.suppress(Exception):
        for word, said in candidates(words):
            # a shell would take what is more than one word apart
            if word.isprintable() and " " not in word:
                lines.append(f"{word}\t{shown(said)}")
    if lines:
        answer_lines("\n".join(lines))
    return 0


def candidates(words: Sequence[str]) -> list[Candidate]:
    """Return what may come next.

    Parameters
    ----------
    words : sequence of str
        What has been typed after the program's name; the last is the word that is being typed.
    """
    # bash takes `--option=word` apart
    typed = [piece for word in words for piece in _parted(word) if piece != "="]
    if words and words[-1] == "=":
        typed.append("")
    *before, now = typed or [""]
    joined = f"{before[-1]}=" if words and words[-1].startswith("--") and "=" in words[-1] else ""
    return [(joined + word, said) for word, said in _next(before, now)][:MOST]


def _parted(word: str) -> tuple[str, ...]:
    name, equals, value = word.partition("=")
    return (name, value) if equals and name.startswith("--") else (word,)


def _next(before: Sequence[str], now: str) -> Iterator[Candidate]:
    from atldld.cli import COMMANDS, OPTIONS

    if not any(not word.startswith("-") for word in before):
        options = {name: said for names, said in OPTIONS.items() for name in names.split(", ")}
        known = {name: said for part in COMMANDS.values() for name, said in part.items()}
        yield from _beginning(now, (options if now.startswith("-") else known).items())
        return
    from atldld.cli.help import first_sentence
    from atldld.cli.root import app

    command: Any = app
    rest = list(before)
    while rest and getattr(command, "commands", None):
        word = rest.pop(0)
        if word in command.commands:
            command = command.commands[word]
        elif not word.startswith("-"):
            return
    inner = getattr(command, "commands", None)
    if inner:
        known = {name: first_sentence(inner[name].help) for name in inner}
        yield from _beginning(now, known.items())
        return
    yield from _of_command(command, rest, now)


def _of_command(command: Any, before: Sequence[str], now: str) -> Iterator[Candidate]:
    from atldld.cli.help import first_sentence, kind_of

    options = {
        name: one
        for one in command.params
        if one.param_type_name == "option" and not getattr(one, "hidden", False)
        for name in (*one.opts, *one.secondary_opts)
    }
    waiting = options.get(before[-1]) if before else None
    if waiting is not None and kind_of(waiting) != "flag":
        yield from _values(waiting, command, now)
        return
    if now.startswith("-"):
        used = {options[word] for word in before if word in options}
        known = {
            name: first_sentence(one.help)
            for name, one in {**options, "--help": None}.items()
            if name.startswith("--") and one is not None and (one.multiple or one not in used)
        }
        yield from _beginning(now, [*known.items(), ("--help", "Show this message and exit.")])
        return
    placed = _placed(before, options)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    for argument in arguments:
        if placed == 0 or argument.nargs != 1:
            yield from _values(argument, command, now)
            return
        placed -= 1


def _placed(before: Sequence[str], options: dict[str, Any]) -> int:
    """Return how many of the words typed so far are arguments."""
    from atldld.cli.help import kind_of

    count, skip = 0, False
    for word in before:
        if skip:
            skip = False
        elif word in options:
            skip = kind_of(options[word]) != "flag"
        else:
            count += not word.startswith("--")
    return count


def _values(parameter: Any, command: Any, now: str) -> Iterator[Candidate]:
    from atldld.cli.help import choices_of

    choices = choices_of(parameter)
    if choices:
        yield from _beginning(now, ((word, "") for word in choices))
        return
    name = parameter.name
    if name == "plane":
        yield from _beginning(now, ((word, "") for word in _PLANES))
    # the same word is another thing in some commands
    kind = {("gene", "name"): "gene", ("structure", "name"): "structure"}.get(
        (command.name, name), _KNOWN_BY.get(name)
    )
    if (command.name, name) in (("image", "id"), ("fetch", "what")):
        kind = None
    if kind == "gene":
        yield from _named("gene", now)
    elif kind == "structure":
        yield from _named("structure", now)
    elif kind == "data set":
        yield from _beginning(now, _kept())


def _beginning(now: str, known: Iterable[Candidate]) -> Iterator[Candidate]:
    low = now.lower()
    yield from ((word, said) for word, said in known if word.lower().startswith(low))


# ---- what this machine knows


def _root() -> Path:
    from atldld.fetch.roots import cache_root
    from atldld.settings import Settings

    return cache_root(Settings.from_environment())


def _named(table: str, now: str) -> Iterator[Candidate]:
    """Yield acronyms of the catalogue with their names; of structures, those of the adult mouse."""
    from atldld.find.catalogue import catalogue_path

    path = catalogue_path(_root())
    if not path.is_file():
        return
    only = "AND graph_id = 1" if table == "structure" else ""
    pattern = now.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as db:
        yield from db.execute(
            f"SELECT DISTINCT acronym, COALESCE(name, '') FROM {table} "
            f"WHERE acronym LIKE ? ESCAPE '\\' {only} ORDER BY acronym LIMIT {MOST}",
            [pattern],
        ).fetchall()


def _kept() -> list[Candidate]:
    """Return the ids of the data sets in the cache."""
    with contextlib.suppress(OSError, ValueError):
        names = os.listdir(_root() / "datasets")
        ids = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        return [(one, "in the cache") for one in sorted(ids, key=int)]
    return []
