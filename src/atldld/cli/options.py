"""What the commands share: where to ask, and how to talk to the terminal."""

import functools
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atldld.cli.progress import counted as progress_bar
from atldld.cli.terminal import answer, command_line, facts, say, table
from atldld.errors import (
    AlignmentFileWarning,
    CurveLeftOutWarning,
    InvalidInputError,
    LockWarning,
    ServiceWarning,
)
from atldld.settings import Settings

if TYPE_CHECKING:
    from atldld.fetch.session import Session

__all__ = [
    "AlignmentFile",
    "AtlasName",
    "AtlasResolution",
    "DatasetId",
    "Force",
    "Jobs",
    "MaskScale",
    "answer",
    "asks_service",
    "command_line",
    "facts",
    "progress_bar",
    "say",
    "section_numbers",
    "stoppable",
    "table",
    "waiting_told",
    "warnings_once",
]

# Ids are texts here: the library says what is wrong with one, and names it.
DatasetId = Annotated[str, typer.Argument(metavar="ID", help="Id of the section data set.")]

AlignmentFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="Use a registration of `atldld refine`, or a QuickNII, VisuAlign or DeepSlice "
        "file, not Allen's alignment.",
    ),
]
AtlasName = Annotated[
    str,
    typer.Option(
        "--atlas", metavar="NAME", help="ccf_2017, or brainglobe:NAME for one of BrainGlobe's."
    ),
]
AtlasResolution = Annotated[
    float | None,
    typer.Option(help="Side of the atlas's voxels, in µm: 10, 25 (by default), 50 or 100."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]
Jobs = Annotated[
    int | None,
    typer.Option("--threads", "--jobs", min=1, help="Threads; all cores by default."),
]
MaskScale = Annotated[
    str,
    typer.Option(
        "--scale",
        metavar="NAME|FILE",
        help="Colours of the expression masks: jet, or a .csv or .npy file with red, green and "
        "blue (0 to 255) of levels 0 to 255.",
    ),
]

PANEL = "Where to ask and where to keep"

_SERVICE_OPTIONS = {
    "api_url": Annotated[
        str | None,
        typer.Option(
            help="Host of the API.",
            envvar="ATLDLD_API_URL",
            show_envvar=True,
            metavar="URL",
            rich_help_panel=PANEL,
        ),
    ],
    "download_url": Annotated[
        str | None,
        typer.Option(
            help="Host of the informatics archive.",
            envvar="ATLDLD_DOWNLOAD_URL",
            metavar="URL",
            rich_help_panel=PANEL,
        ),
    ],
    "cache_dir": Annotated[
        Path | None,
        typer.Option(
            help="Folder of the cache.",
            envvar="ATLDLD_CACHE_DIR",
            metavar="DIR",
            rich_help_panel=PANEL,
        ),
    ],
    "offline": Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Make no request; use what is in the cache.",
            envvar="ATLDLD_OFFLINE",
            rich_help_panel=PANEL,
        ),
    ],
    "strict": Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Treat defects of the service as errors.",
            envvar="ATLDLD_STRICT",
            rich_help_panel=PANEL,
        ),
    ],
}


def section_numbers(text: str) -> list[range]:
    """Return the numbers that "5,7-9" means, as ranges.

    Raises
    ------
    InvalidInputError
        If the text is not such a list.
    """
    ranges = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InvalidInputError(
                f"{text!r} is not a list of section numbers.", hint="Write it as 5,7-9."
            )
        ranges.append(range(int(first), int(last or first) + 1))
    return ranges


def asks_service(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where to ask, and pass it a ``session``."""
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.name != "session"]
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if name in {"offline", "strict"} else None,
            annotation=annotation,
        )
        for name, annotation in _SERVICE_OPTIONS.items()
    ]

    @functools.wraps(command)
    def wrapper(**arguments: Any) -> None:
        from atldld.fetch.session import Session

        chosen = {name: arguments.pop(name) for name in _SERVICE_OPTIONS}
        settings = Settings.from_environment({}, **chosen)
        with Session(settings) as session, warnings_once(), waiting_told():
            command(session=session, **arguments)

    wrapper.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in [*own, *added]}
    del wrapper.__wrapped__
    return wrapper


@contextmanager
def warnings_once() -> Iterator[None]:
    """Show the service's defects as plain sentences, each once, when the command is done.

    What is waited for is told at once.
    """
    caught: dict[str, None] = {}

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, LockWarning):
            say(f"Warning: {message}")
        elif issubclass(category, (ServiceWarning, AlignmentFileWarning, CurveLeftOutWarning)):
            caught[str(message)] = None

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        try:
            yield
        finally:
            for text in caught:
                say(f"Warning: {text}")


class _Saying(logging.Handler):
    """Prints what the library says of waiting, for whoever sits before the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        say(record.getMessage())


@contextmanager
def waiting_told() -> Iterator[None]:
    """Say what the service is waited for, and what is tried again, as it happens."""
    from atldld.fetch.retry import log

    saying, level = _Saying(), log.level
    log.addHandler(saying)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(saying)


@contextmanager
def stoppable(session: "Session") -> Iterator[None]:
    """End work that Ctrl-C stops with one sentence and status 130; what was fetched is kept."""
    try:
        yield
    except KeyboardInterrupt:
        session.close()
        say("Stopped. What was fetched is kept, so the same command takes less time.")
        raise typer.Exit(130) from None
