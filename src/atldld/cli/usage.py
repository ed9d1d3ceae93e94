"""What is wrong with a command, in our words: what was written, and what may stand there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from atldld.cli.help import choices_of, kind_of, name_of, value_of
from atldld.support.text import shown

__all__ = ["MORE", "named", "nearest", "sentence_of_usage"]


MORE = "This is more than the command takes:"


def named(root: Any, words: Sequence[str]) -> tuple[Any, str]:
    """Return the command that words name, and its whole name.

    Parameters
    ----------
    root : click.Group
        The program.
    words : sequence of str
        What was typed after its name.
    """
    command, path = root, ["atldld"]
    for word in words:
        inner = getattr(command, "commands", None)
        if not inner or (not word.startswith("-") and word not in inner):
            break
        if word in inner:
            command = inner[word]
            path.append(word)
    return command, " ".join(path)


def sentence_of_usage(error: Any, command: Any, path: str) -> str:
    """Return what is wrong with a command that Click has refused, as sentences.

    Parameters
    ----------
    error : click.UsageError
        What it says.
    command : click.Command
        Which has refused it.
    path : str
        Its whole name, such as ``"atldld cache info"``.
    """
    kind = type(error).__name__
    parameter = getattr(error, "param", None)
    if kind == "NoSuchOption":
        return _no_such_option(error.option_name, command, path)
    if kind == "MissingParameter" and parameter is not None:
        return _missing(parameter)
    if kind == "BadParameter" and parameter is not None:
        return _wrong_value(error, parameter)
    message = re.sub(r"\s*\n\s*", " ", error.format_message()).strip()
    if kind == "BadOptionUsage":
        return _wrong_use(error.option_name, message, command)
    if message.startswith("No such command"):
        return _no_such_command(message, command, path)
    extra = re.fullmatch(r"Got unexpected extra arguments? ?(?:\(s\) )?\((.*)\)\.?", message)
    if extra:
        return f"{MORE} {extra[1]}."
    if message.startswith("Missing command"):
        return f"A command is missing: {_or(_names_below(command))}."
    return message if message.endswith((".", "?", "!")) else f"{message}."


def nearest(word: str, known: Iterable[str], *, count: int = 2, alike: float = 0.6) -> str:
    """Return a question for what was meant, with a space before it; nothing if nobody knows."""
    from difflib import get_close_matches

    names = list(known)
    lower = {name.lower(): name for name in reversed(names)}
    found = [lower[one] for one in get_close_matches(word.lower(), lower, count, alike)]
    if not found and len(word) > 1:
        found = [name for name in names if name.lower().startswith(word.lower())][:count]
    return f" Did you mean {_or(found)}?" if found else ""


def _or(names: Iterable[str]) -> str:
    known = list(names)
    return " or ".join([", ".join(known[:-1]), known[-1]] if known[1:] else known)


def _names_below(command: Any) -> list[str]:
    return list(getattr(command, "commands", {}))


def _no_such_command(message: str, command: Any, path: str) -> str:
    found = re.match(r"No such command (?:'(.*?)'|\"(.*?)\")(?:\.$|\. )", message)
    word = next((one for one in found.groups() if one is not None), "?") if found else "?"
    names = _names_below(command)
    said = nearest(word, names) or (_below_another(word) if path == "atldld" else "")
    listed = "" if said else f" There are {', '.join(names)}."
    return f"{path} has no command {shown(word)}.{said or listed}"


def _below_another(word: str) -> str:
    """Say under which command a word stands that was written without it."""
    from atldld.cli.examples import EXAMPLES

    found = [name for name in EXAMPLES if name.split(" ")[1:] == [word.lower()]]
    return f" Did you mean {_or(f'atldld {name}' for name in found)}?" if found else ""


def _options_of(command: Any) -> list[Any]:
    return [one for one in command.params if one.param_type_name == "option"]


def _no_such_option(name: str, command: Any, path: str) -> str:
    known = [name for one in _options_of(command) for name in (*one.opts, *one.secondary_opts)]
    long = [one for one in known if one.startswith("--")]
    said = nearest(name, [*long, "--help"], alike=0.7) if len(name) > 2 else ""
    return f"{path} has no option {shown(name)}.{said}"


def _wrong_use(name: str, message: str, command: Any) -> str:
    if "does not take a value" in message:
        return f"{name} takes no value: it is either there or not."
    for option in _options_of(command):
        if name in option.opts:
            return f"{name} needs a value: {_may_be(option)}."
    return f"{name} needs a value."


def _missing(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = name_of(parameter)
        said = f"{name} is missing"
    else:
        said = f"{_option(parameter)} {value_of(parameter)} is missing"
    meaning = " ".join((parameter.help or "").split()).split(". ")[0].rstrip(".")
    return f"{said}: {meaning[:1].lower() + meaning[1:]}." if meaning else f"{said}."


def _wrong_value(error: Any, parameter: Any) -> str:
    value = _given(error)
    variable = _variable(error, parameter)
    if variable is not None:
        name = variable
    elif parameter.param_type_name == "argument":
        name = name_of(parameter)
    else:
        name = _option(parameter)
    said = f"{name} is {shown(value) or 'empty'}, but" if value is not None else name
    choices = choices_of(parameter)
    meant = nearest(value, choices, count=1) if value is not None and choices else ""
    return f"{said} must be {_may_be(parameter)}.{meant}"


def _option(parameter: Any) -> str:
    return str(next((one for one in parameter.opts if one.startswith("--")), parameter.opts[0]))


def _variable(error: Any, parameter: Any) -> str | None:
    """Return the variable of the environment that a value comes from, if it does."""
    context = getattr(error, "ctx", None)
    source = context.get_parameter_source(parameter.name) if context is not None else None
    return parameter.envvar if getattr(source, "name", None) == "ENVIRONMENT" else None


def _given(error: Any) -> str | None:
    """Return the value that was refused; where there were several, the one that was wrong."""
    quoted = re.match(r"(?:'(.*?)'|\"(.*?)\"|(-?[\d.]+)) is ", error.message)
    return next((one for one in quoted.groups() if one is not None), None) if quoted else None


def _may_be(parameter: Any) -> str:
    """Return what a value may be, in words."""
    choices = choices_of(parameter)
    if choices:
        return _or(choices)
    if getattr(parameter, "is_flag", False):  # which only a variable gives a value to
        return "1 or 0"
    words = {"whole": "a whole number", "number": "a number", "path": "a file or a folder"}
    what = words.get(kind_of(parameter)) or value_of(parameter)
    least, most = _limits(parameter)
    if least is not None and most is not None:
        return f"{what} from {least:g} to {most:g}"
    if least is not None:
        return f"{what}, {least:g} or more"
    return what if most is None else f"{what}, {most:g} at most"


def _limits(parameter: Any) -> tuple[float | None, float | None]:
    return getattr(parameter.type, "min", None), getattr(parameter.type, "max", None)
