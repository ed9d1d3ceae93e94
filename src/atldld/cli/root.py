"""The root of the command line, whose commands are imported when they are called."""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from atldld.cli import COMMANDS, SUMMARY
from atldld.cli.help import dress
from atldld.cli.manner import manner, start
from atldld.cli.spelling import MANY, fit_out
from atldld.cli.terminal import answer_lines, complain, heed_memory_limit
from atldld.cli.usage import MORE, named, sentence_of_usage

__all__ = ["app", "run"]

# Typer brings a copy of Click's exceptions, or uses Click's own, and exports only some.
_UsageError: Any = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)

# Where a command is not the `app`, or the function of its own name, of the module of its own name.
_TYPERS_OWN = ("install_completion", "show_completion")  # ours is `atldld completion`
_HOMES = {"demo": "serve"}


class _Commands(MutableMapping[str, Any]):
    """The commands by name, each imported when it is asked for."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            if name not in list(self):
                raise KeyError(name)
            module = import_module(f"atldld.cli.{_HOMES.get(name, name)}")
            inner = getattr(module, "app", None)
            if inner is None:
                inner = typer.Typer(add_completion=False)
                inner.command(name)(getattr(module, name))
            command = get_command(inner)
            command.name = name
            command.params = [one for one in command.params if one.name not in _TYPERS_OWN]
            fit_out(command, (name,))
            dress(command, (name,))
            self._known[name] = command
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return (name for part in COMMANDS.values() for name in part)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __setitem__(self, name: str, command: Any) -> None:
        self._known[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("Commands stay.")


class _Group(TyperGroup):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Commands()


app = typer.Typer(
    cls=_Group,
    name="atldld",
    help=SUMMARY,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from atldld.cli.info import version

        version()
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Say nothing but the result and errors.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "-v",
            "--verbose",
            help="Say what is asked, tried again and found in the cache, and how long it takes.",
        ),
    ] = False,
) -> None:
    """Allen Brain Atlas section data sets in the brain's reference coordinates."""
    start(quiet=quiet, verbose=verbose)


def run() -> int:
    """Run the command and return its status; see `atldld.cli.main`."""
    heed_memory_limit()
    command = get_command(app)
    try:
        with command.make_context("atldld", sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except _UsageError as error:
        return _explain(error, command)
    return 0


def _explain(error: Any, command: Any) -> int:
    """Say what is wrong with a command in one sentence, not in a box."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help, if not yet printed
        if error.message.strip():
            answer_lines(error.message)
        return 2
    at, path = named(command, sys.argv[1:])
    said = sentence_of_usage(error, at, path)
    if said.startswith(MORE) and path in MANY:
        said += f" {MANY[path]}"
    # the option itself may not have been reached
    manner.as_json = manner.as_json or "--json" in sys.argv[1:]
    complain(error, f"{said} See `{path} --help`.", 2)
    return 2
