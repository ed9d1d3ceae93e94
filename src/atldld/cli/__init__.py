"""The `atldld` command: a thin door that holds no logic."""

import sys
from typing import Annotated

import typer

from atldld.cli import cache, dataset, download, export, info, search, serve, sync, volume
from atldld.errors import AtldldError, InvalidInputError

__all__ = ["app", "main"]

app = typer.Typer(
    name="atldld",
    help="Allen Brain Atlas section data sets in the brain's reference coordinates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(info.app, name="info")
app.add_typer(cache.app, name="cache")
app.add_typer(search.app, name="search")
app.add_typer(dataset.app, name="dataset")
app.add_typer(download.app, name="download")
app.add_typer(sync.app, name="sync")
app.add_typer(export.app, name="export")
app.command("volume")(volume.volume)
app.command("serve")(serve.serve)
app.command("demo")(serve.demo)


def _version(wanted: bool) -> None:
    if wanted:
        info.version()
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Allen Brain Atlas section data sets in the brain's reference coordinates."""


def main() -> None:
    """Run the command; errors become one sentence and an exit status.

    The status is 0 when all went well, 2 for a command that makes no sense, 130 when stopped by
    Ctrl-C, and 1 for everything else.
    """
    try:
        app()
    except AtldldError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2 if isinstance(error, InvalidInputError) else 1)
