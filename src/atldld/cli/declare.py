"""Commands out of functions: what a parameter is annotated with becomes an option or an argument.

Click reads the command line and says what is wrong with it. A parameter of type ``bool`` is a flag,
a `Literal` a choice, ``list[…]`` may be given several times, and one without a default is needed::

    @app.command("dataset")
    def download(folder: Annotated[str, Argument(metavar="OUT")], force: Force = False) -> None: ...
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import click
from click.exceptions import Exit

__all__ = [
    "Argument",
    "Commands",
    "Exit",
    "MadeWhenAsked",
    "Option",
    "Parameter",
    "command_of",
    "parameters_of",
]

_Command = TypeVar("_Command", bound=Callable[..., None])


class Parameter:
    """What help says of a parameter, and what its value may be.

    Parameters
    ----------
    *names : str
        Of an option, such as ``"-o", "--output"``; by default the function's name for it.
    help, metavar : str, optional
        What it is for, and the word that stands for its value.
    min, max : float, optional
        Limits of a number.
    envvar : str, optional
        The variable of the environment that gives the value where the command line does not.
    show_default : bool or str
        Whether help shows the default, or what it shows in its place.
    heading : str, optional
        Under which help shows it.
    callback : callable, optional
        Is told the value as soon as it is read.
    is_eager : bool
        Whether it is read before the others.
    """

    def __init__(
        self,
        *names: str,
        help: str | None = None,
        metavar: str | None = None,
        min: float | None = None,
        max: float | None = None,
        envvar: str | None = None,
        show_default: bool | str = True,
        heading: str | None = None,
        callback: Callable[[Any], None] | None = None,
        is_eager: bool = False,
    ) -> None:
        self.names, self.help, self.metavar = names, help, metavar
        self.min, self.max, self.envvar = min, max, envvar
        self.show_default, self.heading = show_default, heading
        self.callback, self.is_eager = callback, is_eager


class Option(Parameter):
    """A parameter with a name: ``--output FILE``."""


class Argument(Parameter):
    """A parameter that its place tells."""


class Commands:
    """A group of commands; `command` adds one.

    Parameters
    ----------
    help : str
        What the group is for.
    """

    def __init__(self, help: str) -> None:
        self._help = help
        self._functions: dict[str, Callable[..., None]] = {}

    def command(self, name: str | None = None) -> Callable[[_Command], _Command]:
        """Make a function a command of the group, by its own name or by another."""

        def add(function: _Command) -> _Command:
            self._functions[name or function.__name__.replace("_", "-")] = function
            return function

        return add

    def group(
        self, name: str, finish: Callable[[click.Command, str], None] = lambda command, name: None
    ) -> click.Group:
        """Return the group as Click's.

        Parameters
        ----------
        name : str
            What is typed.
        finish : callable
            Does what is left to do to each of its commands, by its name, when that is made.
        """

        def make(one: str) -> click.Command:
            command = command_of(self._functions[one], one)
            finish(command, one)
            return command

        inner = MadeWhenAsked(self._functions, make)
        return click.Group(name, commands=inner, help=self._help, no_args_is_help=True)


class MadeWhenAsked(MutableMapping[str, Any]):
    """Commands by name, each made when it is asked for: of many, one is called.

    Parameters
    ----------
    names : iterable of str
        All of them, in order.
    make : callable
        Makes one, by its name.
    """

    def __init__(self, names: Iterable[str], make: Callable[[str], Any]) -> None:
        self._known: dict[str, Any] = dict.fromkeys(names)
        self._make = make

    def __getitem__(self, name: str) -> Any:
        if self._known[name] is None:
            self._known[name] = self._make(name)
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __setitem__(self, name: str, command: Any) -> None:
        self._known[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("Commands stay.")


def command_of(function: Callable[..., None], name: str) -> click.Command:
    """Return a function as a command of Click's.

    Parameters
    ----------
    function : callable
        Gets one keyword for each parameter; its documentation is the help.
    name : str
        What is typed.
    """
    params = parameters_of(function)
    return click.Command(name, callback=function, params=params, help=inspect.getdoc(function))


def parameters_of(function: Callable[..., None]) -> list[click.Parameter]:
    """Return the parameters of a function as Click's."""
    signature = inspect.signature(function).parameters
    if any(isinstance(one.annotation, str) for one in signature.values()):
        hints = get_type_hints(function, include_extras=True)
    else:
        hints = {name: one.annotation for name, one in signature.items()}
    return [_parameter(name, hints[name], one.default) for name, one in signature.items()]


def _parameter(name: str, annotation: Any, default: Any) -> click.Parameter:
    kind, said = _taken_apart(annotation)
    several = get_origin(kind) is list
    if several:
        (kind,) = get_args(kind)
    given: dict[str, Any] = {
        "type": _type_of(kind, said),
        "required": default is inspect.Parameter.empty,
        "callback": _callback(said, several=several, default=default),
        "metavar": said.metavar,
        "envvar": said.envvar,
        "is_eager": said.is_eager,
    }
    if not given["required"]:
        given["default"] = default
    if isinstance(said, Argument):
        return _Argument(said, [name], nargs=-1 if several else 1, **given)
    names = said.names or (f"--{name.replace('_', '-')}",)
    flag = {"is_flag": True} if kind is bool else {}
    shown = {"help": said.help, "show_default": said.show_default}
    return _Option(said, [name, *names], multiple=several, **flag, **shown, **given)


def _taken_apart(annotation: Any) -> tuple[Any, Parameter]:
    """Return the type of a parameter, without ``| None``, and what is said of it."""
    kind, *said = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if get_origin(kind) in (Union, type(int | None)):
        (kind,) = (one for one in get_args(kind) if one is not type(None))
    return kind, next((one for one in said if isinstance(one, Parameter)), Option())


def _type_of(kind: Any, said: Parameter) -> Any:
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if kind is int:
        return _Whole(said.min, said.max)  # type: ignore[arg-type]
    if kind is float:
        return _Number(said.min, said.max)
    if issubclass(kind, Path):
        return click.Path(path_type=Path, readable=False)
    return {bool: click.BOOL, str: click.STRING}[kind]


class _Whole(click.IntRange):
    """A whole number, in digits of ASCII: Python would take those of every script."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        whole = re.sub(r"(?<=\d)\.0+(?=\s*$)", "", value) if isinstance(value, str) else value
        return _converted(super().convert, whole, value, param, ctx)


class _Number(click.FloatRange):
    """A number, in digits of ASCII; no limit holds what is none (``nan``)."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        number = _converted(super().convert, value, value, param, ctx)
        if number != number and (self.min, self.max) != (None, None):
            raise click.BadParameter(f"{value!r} is no number.", ctx, param)
        return number


def _converted(convert: Callable[..., Any], text: Any, given: Any, param: Any, ctx: Any) -> Any:
    """Convert a text, or refuse what was given as it was given."""
    try:
        if str(text).isascii():
            return convert(text, param, ctx)
    except click.BadParameter:
        pass
    raise click.BadParameter(f"{given!r} is no such number.", ctx, param) from None


def _callback(said: Parameter, *, several: bool, default: Any) -> Callable[..., Any]:
    def read(_: click.Context, __: click.Parameter, value: Any) -> Any:
        if several:
            value = list(value) if value else default if default is None else []
        if said.callback is not None:
            said.callback(value)
        return value

    return read


class _Option(click.Option):
    def __init__(self, said: Parameter, *names: Any, **given: Any) -> None:
        super().__init__(*names, **given)
        self.heading = said.heading


class _Argument(click.Argument):
    def __init__(self, said: Parameter, *names: Any, **given: Any) -> None:
        super().__init__(*names, **given)
        self.help, self.show_default, self.heading = said.help, said.show_default, said.heading
