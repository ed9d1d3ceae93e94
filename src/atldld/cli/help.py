"""What help shows of a command: what it does, an example, and its options by what one wants.

The same option stands under the same heading in every command, which Click's own help does not
know.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from atldld.cli.examples import EXAMPLES
from atldld.cli.layout import kept, listed, screen_width, wrapped
from atldld.cli.terminal import answer_lines, bold

__all__ = [
    "HEADINGS",
    "choices_of",
    "dress",
    "first_sentence",
    "heading_of",
    "help_lines",
    "kind_of",
    "meaning_of",
    "name_of",
    "names_of",
    "usage_of",
    "value_of",
]

WHICH, HOW, ATLAS = "Which ones", "How it is done", "The atlas"
RESULT, MANY, WHERE = "The result", "Many at once", "Where to ask and where to keep"
HELP = "Help"

HEADINGS = (WHICH, HOW, ATLAS, RESULT, MANY, WHERE, HELP)
"""In the order in which help shows them."""

_OPTIONS = {
    WHICH: (
        "age atlas-id dataset datasets depth failed gene hemisphere id image max-sections max-size "
        "min-sections older-than ontology organism orientation pixel-size plane product rma "
        "section sex specimen strain structure treatment"
    ),
    HOW: (
        "alignment budget channel confirmed cut downsample-img few fill frame full grid images "
        "kind marker-tolerance max-distance max-move no-browser no-volume picture public "
        "quality-resolution repair resolution scale space stain-threshold steps table-resolution "
        "target-alignment thickness threads threshold tolerance unionize unit"
    ),
    ATLAS: "annotation atlas atlas-dataset atlas-resolution graph labels no-atlas template",
    RESULT: (
        "acronyms annotated csv fields force format ids image-format include-expression json limit "
        "output regions scale-bar smooth table"
    ),
    MANY: "at-once dask dry-run in-flight rate",
    WHERE: "api-url cache-dir download-url host live offline port refresh strict",
    HELP: "help quiet verbose version",
}
_HEADING_OF = {name: heading for heading, names in _OPTIONS.items() for name in names.split()}

_NAMES = 27  # cells for names at most, before what they mean
_WIDEST = 100  # longer lines are hard to read


def dress(command: Any, path: tuple[str, ...]) -> None:
    """Make a command, or a group of them, show help in our words."""
    command.format_help = functools.partial(_write, command, path)


def _write(command: Any, path: tuple[str, ...], context: Any, formatter: Any) -> None:
    width = min(screen_width(sys.stdout) or 80, _WIDEST)
    # not through Click, which would write UTF-8 to a terminal that has another encoding
    answer_lines("\n".join(help_lines(command, path, context, width)))


def help_lines(command: Any, path: tuple[str, ...], context: Any, width: int) -> Iterator[str]:
    """Yield the lines of the help of a command.

    Parameters
    ----------
    command : click.Command
        The command.
    path : tuple of str
        Its names, without that of the program.
    context : click.Context
        As Click has it.
    width : int
        Of the screen, in cells.
    """
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield from wrapped(" ".join(paragraph.split()), width)
        yield ""
    parameters = [one for one in command.get_params(context) if not getattr(one, "hidden", False)]
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    options = [one for one in parameters if one.param_type_name == "option"]
    inner = getattr(command, "commands", None)
    usage = "COMMAND [options]" if inner else usage_of(parameters)
    lines = wrapped(usage, max(width - len(" ".join(path)) - 16, 30))
    yield f"{_heading('Usage:')} atldld {' '.join(path)} {lines[0]}"
    yield from (f"    {line}" for line in lines[1:])
    example = EXAMPLES.get(" ".join(path))
    if example:
        yield ""
        yield _heading("Example:")
        yield from (f"  {line}" for line in example.split("\n"))
    if inner:
        known = dict(inner)
        pairs = [(name, first_sentence(known[name].help)) for name in known]
        yield from _part("Commands", pairs, width)
    yield from _part("Arguments", [(name_of(one), meaning_of(one)) for one in arguments], width)
    for heading in HEADINGS:
        pairs = [
            (names_of(one), meaning_of(one)) for one in options if heading_of(one, path) == heading
        ]
        yield from _part(heading, pairs, width)
    if inner:
        yield ""
        yield f"More about one: atldld {' '.join(path)} COMMAND --help"


def heading_of(option: Any, path: tuple[str, ...]) -> str:
    """Return the heading that an option stands under."""
    names = [name.lstrip("-") for name in option.opts if name.startswith("--")]
    if path[:1] == ("search",) and "space" in names:  # a filter there
        return WHICH
    given = getattr(option, "heading", None)
    if given in HEADINGS and "alignment" not in names:  # of many data sets, or of one
        return str(given)
    return next((_HEADING_OF[name] for name in names if name in _HEADING_OF), HOW)


def _heading(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if bold() else text


def _part(title: str, pairs: list[tuple[str, str]], width: int) -> Iterator[str]:
    if not pairs:
        return
    yield ""
    yield _heading(f"{title}:")
    longest = max(len(name) for name, _ in pairs)
    for line in listed(pairs, width - 2, min(longest, _NAMES) + 2):
        yield f"  {line}".rstrip()


def first_sentence(text: str | None) -> str:
    """Return the first sentence of a help text."""
    paragraph = " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())
    head, dot, _ = paragraph.partition(". ")
    return head + "." if dot else paragraph


# ---- parameters

_KINDS: dict[str, tuple[type, ...]] = {
    "whole": (click.IntRange,),
    "number": (click.FloatRange,),
    "path": (click.Path,),
}


def choices_of(parameter: Any) -> tuple[str, ...]:
    """Return the words that a parameter may be; none where it may be anything."""
    return tuple(map(str, getattr(parameter.type, "choices", ())))


def kind_of(parameter: Any) -> str:
    """Return what a parameter is: a flag, choice, whole, number, path or text."""
    if getattr(parameter, "is_flag", False):
        return "flag"
    if choices_of(parameter):
        return "choice"
    for kind, types in _KINDS.items():
        if isinstance(parameter.type, types):
            return kind
    return "text"


def value_of(parameter: Any) -> str:
    """Return the word that stands for the value of an option in its help; none of a flag."""
    kind = kind_of(parameter)
    if kind == "flag":
        return ""
    if parameter.metavar:
        return str(parameter.metavar)
    if kind == "choice":
        return "|".join(choices_of(parameter))
    if kind in ("whole", "number"):
        return "N"
    return "PATH" if kind == "path" else str(parameter.name).upper().replace("_", "-")


def usage_of(parameters: Iterable[Any]) -> str:
    """Return what is typed after a command's name: its arguments, and the options it needs."""
    parameters = list(parameters)
    options = [one for one in parameters if one.param_type_name == "option" and one.required]
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    return " ".join([*map(_in_usage, [*arguments, *options]), "[options]"])


def _in_usage(parameter: Any) -> str:
    if parameter.param_type_name == "option":
        short = next((name for name in parameter.opts if not name.startswith("--")), None)
        return f"{short or parameter.opts[0]} {value_of(parameter)}"
    if " " in (parameter.metavar or ""):  # several things, as in `ID... [OUT]`
        return str(parameter.metavar)
    name = name_of(parameter) + ("..." if parameter.nargs != 1 else "")
    return name if parameter.required else f"[{name}]"


def name_of(argument: Any) -> str:
    """Return the name of an argument, without the brackets that say how often it may come."""
    name = str(argument.metavar or argument.name.upper()).partition(" ")[0]
    return name.removesuffix("...").removeprefix("[").removesuffix("]")


def names_of(option: Any) -> str:
    """Return an option as help shows it: its names, and the word for its value."""
    short = [name for name in option.opts if not name.startswith("--")]
    long = [name for name in option.opts if name.startswith("--")]
    negative = [name for name in option.secondary_opts if name.startswith("--")]
    shown = ", ".join([*short[:1], *long[:1], *negative[:1]])
    return f"{shown} {value_of(option)}".rstrip()


def meaning_of(parameter: Any) -> str:
    """Return what the help says of a parameter, and then what else there is to know."""
    said = [" ".join((parameter.help or "").replace("\\[", "[").split())]
    if parameter.param_type_name == "option":
        others = [name for name in parameter.opts if name.startswith("--")][1:]
        if others:
            said.append(f"Also {', '.join(others)}.")
    default = _default(parameter)
    if default:
        said.append(_note(f"default: {default}"))
    if parameter.param_type_name == "option" and parameter.required:
        said.append(_note("required"))
    if parameter.envvar:
        said.append(_note(f"env: {parameter.envvar}"))
    return " ".join(part for part in said if part)


def _note(text: str) -> str:
    return f"[{kept(text) if len(text) <= _NAMES else text}]"


def _default(parameter: Any) -> str | None:
    shown, default = getattr(parameter, "show_default", True), parameter.default
    if isinstance(shown, str):
        return shown
    if not shown or parameter.required or kind_of(parameter) == "flag":
        return None
    if default is None or isinstance(default, bool) or default in ("", (), []):
        return None
    if isinstance(default, float):
        return f"{default:g}"
    plain = getattr(default, "value", default)
    return "the folder you are in" if str(plain) == "." else str(plain)
