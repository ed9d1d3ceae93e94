"""What every command shares in how it is spelled: `-q`, `-v`, `--json`, and older spellings.

Options that once had another name, or meant something else in another command, still work under
it; they are put into today's words before anything is read, and help does not show them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from atldld.cli.declare import Option, parameters_of
from atldld.cli.manner import at_work, manner
from atldld.cli.terminal import answer, answer_json, answer_lines, say_now
from atldld.errors import InvalidInputError

__all__ = ["DEFAULTS", "FORCE", "MANY", "NO_JSON", "OLD", "OUTPUT", "fit_out", "modern"]

PANEL = "How much is printed"
OUTPUT = "Where the result goes: a file, a folder, or - for standard output."
FORCE = "Replace what is there."

OLD: Mapping[str, Mapping[str, str]] = {
    "atlas fetch": {"--resolution": "--atlas-resolution"},
    "atlas plates": {"--atlas": "--atlas-id"},
    "dataset preview": {"--output-dir": "--output"},
    "download dataset": {"--plane": "--cut"},
    "download datasets": {"--plane": "--cut", "--jobs": "--at-once"},
    "export fields": {"--plane": "--cut"},
    "export quicknii": {"--tolerance": "--marker-tolerance"},
    "export sections": {"--plane": "--cut"},
    "quality": {"--resolution": "--quality-resolution"},
    "quantify": {"--resolution": "--table-resolution", "-s": "--structure"},
    "refine": {"--limit": "--max-move", "--sections": "--section"},
    "search dataset": {"--resolution": "--pixel-size"},
    "search structure": {"--graph": "--ontology"},
}
"""Older spellings of options, by command."""

DEFAULTS: Mapping[str, str] = {"download": "dataset"}
"""Groups whose name alone means one of their commands: `atldld download ID OUT`."""

MANY = {"atldld download dataset": "Several data sets are for `atldld download datasets`."}
"""What to say where a command got more words than it takes, by its whole name."""

NO_JSON = frozenset({"serve", "align", "completion"})
"""Commands without a result that a program could read."""


def fit_out(command: Any, path: tuple[str, ...]) -> None:
    """Give a command, or a group of them, what every one has."""
    name = " ".join(path)
    inner = getattr(command, "commands", None)
    if inner is not None:
        if name in DEFAULTS:
            _put_before_parsing(command, lambda args: _with_default(args, inner, DEFAULTS[name]))
        return
    known = {option for one in command.params for option in one.opts}
    prints = "--output" not in known and name not in NO_JSON
    left_out = set() if prints else {"--output"}
    left_out |= {"--force"} if not prints or "--force" in known else set()
    left_out |= {"--json"} if name in NO_JSON else set()
    command.params.extend(one for one in _common() if not left_out & set(one.opts))
    if name in OLD:
        _put_before_parsing(command, lambda args: modern(args, OLD[name]))
    work = command.invoke

    def invoke(context: Any) -> Any:
        if manner.quiet and manner.verbose:
            raise InvalidInputError("Choose one of --quiet and --verbose.")
        with at_work(name, answer_json, _keeper(), say_now, answer_lines):
            return work(context)

    command.invoke = invoke


def _keeper() -> Callable[[Callable[[], None]], None] | None:
    """Return what has a result printed into the file that is asked for, if one is."""
    if manner.output is None or manner.output == "-":
        return None
    from atldld.support.files import check_targets, whole_file

    path, force = Path(manner.output), manner.force
    check_targets([path], force=force)
    ending = path.suffix.lower()
    manner.as_json = manner.as_json or ending == ".json"

    def keep(give: Callable[[], None]) -> None:
        with (
            whole_file(path, force=force) as temporary,
            open(temporary, "w", encoding="utf-8", newline="\n") as file,
            contextlib.redirect_stdout(file),
        ):
            give()
        answer(path)

    return keep


def modern(arguments: Sequence[str], old: Mapping[str, str]) -> list[str]:
    """Return arguments in which older spellings of options are replaced.

    Examples
    --------
    >>> modern(["909", "--limit=5", "-sDG"], {"--limit": "--max-move", "-s": "--structure"})
    ['909', '--max-move=5', '--structure=DG']
    """
    found: list[str] = []
    for number, word in enumerate(arguments):
        if word == "--":
            return [*found, *arguments[number:]]
        option, equals, value = word.partition("=")
        short = word[:2]
        if option in old:
            found.append(f"{old[option]}{equals}{value}")
        elif re.fullmatch(r"-[A-Za-z]", short) and short in old:
            found.append(f"{old[short]}={word[2:]}")
        else:
            found.append(word)
    return found


def _with_default(arguments: list[str], known: Any, default: str) -> list[str]:
    """Return the arguments of a group, with the command that is meant where none is named."""
    first = arguments[0] if arguments else "--help"
    if first in ("-h", "--help") or first in known:
        return arguments
    import difflib

    # a slip of the pen in the name of a command gets a hint at the command
    if difflib.get_close_matches(first, list(known), 1, 0.7):
        return arguments
    return [default, *arguments]


def _put_before_parsing(command: Any, change: Any) -> None:
    parse = command.parse_args
    command.parse_args = lambda context, args: parse(context, change(list(args)))


def _common() -> list[Any]:
    """Return new options that tell how a command talks."""
    return [_silent(one) for one in parameters_of(_options)]


def _silent(option: Any) -> Any:
    option.expose_value = False
    return option


def _quietly(wanted: bool) -> None:
    manner.quiet = manner.quiet or wanted


def _at_length(wanted: bool) -> None:
    manner.verbose = manner.verbose or wanted


def _into(output: str | None) -> None:
    manner.output = output


def _by_force(wanted: bool) -> None:
    manner.force = wanted


def _in_json(wanted: bool) -> None:
    manner.as_json = manner.as_json or wanted


def _options(
    output: Annotated[
        str | None,
        Option(
            "-o",
            "--output",
            metavar="FILE|-",
            callback=_into,
            help=OUTPUT,
            show_default="-",
            heading=PANEL,
        ),
    ] = None,
    force: Annotated[
        bool,
        Option("--force", callback=_by_force, help=FORCE, heading=PANEL),
    ] = False,
    as_json: Annotated[
        bool,
        Option(
            "--json",
            callback=_in_json,
            is_eager=True,
            help="Print the result as JSON, for programs.",
            heading=PANEL,
        ),
    ] = False,
    quiet: Annotated[
        bool,
        Option(
            "-q",
            "--quiet",
            callback=_quietly,
            is_eager=True,
            help="Say nothing but the result and errors.",
            heading=PANEL,
        ),
    ] = False,
    verbose: Annotated[
        bool,
        Option(
            "-v",
            "--verbose",
            callback=_at_length,
            is_eager=True,
            help="Say what is asked, tried again and found in the cache, and how long it takes.",
            heading=PANEL,
        ),
    ] = False,
) -> None:
    """Carry the options that every command has."""
