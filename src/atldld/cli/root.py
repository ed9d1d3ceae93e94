"""The root of the command line, whose commands are imported when they are called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import click

from atldld.cli import COMMANDS, SUMMARY
from atldld.cli.declare import Exit, MadeWhenAsked, Option, command_of, parameters_of
from atldld.cli.help import dress
from atldld.cli.manner import manner, start
from atldld.cli.spelling import MANY, fit_out
from atldld.cli.terminal import answer_lines, complain, heed_memory_limit

__all__ = ["app", "run"]

# Where a command is not the `app`, or the function of its own name, of the module of its own name.
_HOMES = {"demo": "serve"}


def _command(name: str) -> Any:
    """Return a command, or a group of them, whose module is imported now."""
    module = import_module(f"atldld.cli.{_HOMES.get(name, name)}")
    group = getattr(module, "app", None)
    if group is None:
        command = command_of(getattr(module, name), name)
    else:
        command = group.group(name, lambda inner, word: _finish(inner, (name, word)))
    _finish(command, (name,))
    return command


def _finish(command: Any, path: tuple[str, ...]) -> None:
    fit_out(command, path)
    dress(command, path)


def _version(wanted: bool) -> None:
    if wanted:
        from atldld.cli.info import version

        version()
        raise Exit


def _root(
    _: Annotated[
        bool,
        Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
    quiet: Annotated[
        bool, Option("-q", "--quiet", help="Say nothing but the result and errors.")
    ] = False,
    verbose: Annotated[
        bool,
        Option(
            "-v",
            "--verbose",
            help="Say what is asked, tried again and found in the cache, and how long it takes.",
        ),
    ] = False,
) -> None:
    """Allen Brain Atlas section data sets in the brain's reference coordinates."""
    start(quiet=quiet, verbose=verbose)


app = click.Group(
    "atldld",
    callback=_root,
    params=parameters_of(_root),
    help=SUMMARY,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.commands = MadeWhenAsked((name for part in COMMANDS.values() for name in part), _command)


def run() -> int:
    """Run the command and return its status; see `atldld.cli.main`."""
    heed_memory_limit()
    try:
        with app.make_context("atldld", sys.argv[1:]) as context:
            app.invoke(context)
    except Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        return _explain(error, app)
    return 0


def _explain(error: Any, command: Any) -> int:
    """Say what is wrong with a command in one sentence, not in a box."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help, if not yet printed
        if error.message.strip():
            answer_lines(error.message)
        return 2
    from atldld.cli.usage import MORE, named, sentence_of_usage

    context = getattr(error, "ctx", None)
    if context is not None:
        at, path = context.command, context.command_path
    else:
        at, path = named(command, sys.argv[1:])
    said = sentence_of_usage(error, at, path)
    if said.startswith(MORE) and path in MANY:
        said += f" {MANY[path]}"
    # the option itself may not have been reached
    manner.as_json = manner.as_json or "--json" in sys.argv[1:]
    complain(error, f"{said} See `{path} --help`.", 2)
    return 2
