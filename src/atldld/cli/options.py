"""What the commands share: where to ask, and how to talk to the terminal."""

import functools
import inspect
import os
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from atldld.cli.declare import Argument, Exit, Option
from atldld.cli.manner import manner
from atldld.cli.progress import counted as progress_bar
from atldld.cli.spelling import FORCE, OUTPUT
from atldld.cli.terminal import (
    answer,
    answer_file,
    command_line,
    facts,
    prepare_for_pixels,
    say,
    say_now,
    table,
)
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
    from atldld.place.alignment import AlignmentPath

__all__ = [
    "DATASET",
    "TIER",
    "AlignmentFile",
    "AtlasResolution",
    "Confirmed",
    "Cut",
    "DatasetId",
    "Datasets",
    "Depth",
    "Expression",
    "Force",
    "Hemisphere",
    "Images",
    "Jobs",
    "MaskScale",
    "NoAtlas",
    "Numbers",
    "Refresh",
    "Resolution",
    "Structures",
    "TableResolution",
    "Target",
    "Tier",
    "alignment_of",
    "answer",
    "asks_service",
    "check_confirmed",
    "command_line",
    "facts",
    "folder_of",
    "knows_service",
    "last_is_place",
    "place_of",
    "progress_bar",
    "say",
    "settings_of",
    "stoppable",
    "table",
    "takes_atlas",
    "tier_of",
    "to",
    "uses_cache",
    "waiting_told",
    "warnings_once",
    "written_to",
]

# Ids are texts here: the library says what is wrong with one, and names it.
DATASET = (
    "A section data set: its id, the address of its page, or a gene and plane (Prox1:coronal)."
)
DatasetId = Annotated[str, Argument(metavar="ID", help=DATASET)]
Target = Annotated[str | None, Option("-d", "--dataset", metavar="ID", help=DATASET)]
Datasets = Annotated[
    list[str] | None,
    Option(
        "--datasets",
        metavar="ID|FILE|-",
        help="Section data sets: ids with commas between, a file with one a line, or - for "
        "standard input. May be repeated.",
    ),
]
Images = Annotated[
    list[str] | None,
    Option("-i", "--image", metavar="ID", help="A section image, by its id. May be repeated."),
]
Numbers = Annotated[
    list[str] | None,
    Option(
        "--section",
        metavar="N|N-N",
        help="A section, by its number, or several: 70, 40-60, 5,7-9. May be repeated.",
    ),
]

AlignmentFile = Annotated[
    str | None,
    Option(
        "--alignment",
        metavar="FILE|FOLDER",
        help="Where the sections lie, in place of Allen's alignment: a registration of `atldld "
        "refine`, or a file of QuickNII, VisuAlign or DeepSlice; or a folder of them (ID.json or "
        "ID/ID.json), or names such as planes/{id}.json.",
    ),
]
Confirmed = Annotated[
    bool,
    Option(
        "--confirmed",
        help="Of --alignment, only the sections that were confirmed by hand with `atldld align`; "
        "the others are left out.",
    ),
]
Force = Annotated[bool, Option("--force", help=FORCE)]
Jobs = Annotated[
    int | None,
    Option("--threads", "--jobs", min=1, help="Threads; all cores by default."),
]
MaskScale = Annotated[
    str,
    Option(
        "--scale",
        metavar="NAME|FILE",
        help="Colours of the expression masks: jet, or a .csv or .npy file with red, green and "
        "blue (0 to 255) of levels 0 to 255.",
    ),
]
Resolution = Annotated[
    float, Option("--resolution", help="Side of a pixel or voxel that is worked with, in µm.")
]
TableResolution = Annotated[
    float,
    Option(
        "--table-resolution",
        help="Masks are counted at the tier whose pixels are at most so large, in µm.",
    ),
]
TIER = Option(
    "--downsample-img",
    metavar="auto|0|1|…",
    help="Tier of the images: 0 is full size, and each next one halves the sides; auto takes what "
    "suits the command.",
)
Tier = Annotated[str, TIER]
Expression = Annotated[bool, Option("-e", "--include-expression", help="The expression masks too.")]
Cut = Annotated[
    Literal["oblique", "parallel"],
    Option(
        "--cut", help="The section's own plane, or one of constant third coordinate (as in 0.3)."
    ),
]
Refresh = Annotated[
    bool,
    Option("--refresh", help="Ask the service even if the answer is in the cache."),
]
NoAtlas = Annotated[bool, Option("--no-atlas", help="Leave the atlas out.")]
Depth = Annotated[
    int | None,
    Option(
        "--depth",
        min=0,
        metavar="N",
        help="Take structures at this depth of the hierarchy: those that lie in N others, with "
        "all that lies in them.",
    ),
]
Structures = Annotated[
    list[str] | None,
    Option(
        "--structure",
        metavar="NAME",
        help="Only this structure (acronym, name or id) and what lies in it. May be repeated.",
    ),
]
Hemisphere = Annotated[
    Literal["both", "left", "right", "each"] | None,
    Option("--hemisphere", help="Both hemispheres together, one, or each apart."),
]


def to(metavar: str, shown: str | None = None) -> Any:
    """Return the option that says where a result goes.

    Parameters
    ----------
    metavar : str
        What may be written: ``"FILE.csv"``, ``"FOLDER"``.
    shown : str, optional
        What help says of the place where it goes without the option.
    """
    default: Any = {} if shown is None else {"show_default": shown}
    return Option("-o", "--output", metavar=metavar, help=OUTPUT, **default)


ATLAS = "The atlas"

AtlasResolution = Annotated[
    float | None,
    Option(
        "--atlas-resolution",
        help="Side of the atlas's voxels, in µm: 10, 25 (by default), 50 or 100.",
        heading=ATLAS,
    ),
]

_ATLAS_OPTIONS: dict[str, tuple[Any, Any]] = {
    "atlas": (
        Annotated[
            str,
            Option(
                "--atlas",
                metavar="NAME",
                help="ccf_2017, or brainglobe:NAME for one of BrainGlobe's.",
                heading=ATLAS,
            ),
        ],
        "ccf_2017",
    ),
    "atlas_resolution": (
        AtlasResolution,
        None,
    ),
    "annotation": (
        Annotated[
            Path | None,
            Option(
                "--annotation",
                metavar="FILE.nrrd",
                help="An annotation of your own in place of the atlas's.",
                heading=ATLAS,
            ),
        ],
        None,
    ),
    "graph": (
        Annotated[
            Path | None,
            Option(
                "--graph",
                metavar="FILE",
                help="The structures of your annotation, JSON or CSV.",
                heading=ATLAS,
            ),
        ],
        None,
    ),
    "template": (
        Annotated[
            str | None,
            Option(
                "--template",
                metavar="NAME|FILE.nrrd",
                help="average_template, ara_nissl, or with --annotation one of your own, which may "
                "be coarser.",
                heading=ATLAS,
            ),
        ],
        None,
    ),
}

PANEL = "Where to ask and where to keep"

_SERVICE_OPTIONS = {
    "api_url": Annotated[
        str | None,
        Option(
            help="Host of the API.",
            envvar="ATLDLD_API_URL",
            metavar="URL",
            heading=PANEL,
        ),
    ],
    "download_url": Annotated[
        str | None,
        Option(
            help="Host of the informatics archive.",
            envvar="ATLDLD_DOWNLOAD_URL",
            metavar="URL",
            heading=PANEL,
        ),
    ],
    "bucket_url": Annotated[
        str | None,
        Option(
            help="Address of the public bucket of slides.",
            envvar="ATLDLD_BUCKET_URL",
            metavar="URL",
            heading=PANEL,
        ),
    ],
    "image_source": Annotated[
        Literal["auto", "api", "bucket"] | None,
        Option(
            "--source",
            help="Where the pixels of section images come from; auto takes the API, and the "
            "bucket where that fails.",
            envvar="ATLDLD_SOURCE",
            show_default="auto",
            heading=PANEL,
        ),
    ],
    "cache_dir": Annotated[
        Path | None,
        Option(
            help="Folder of the cache.",
            envvar="ATLDLD_CACHE_DIR",
            metavar="DIR",
            heading=PANEL,
        ),
    ],
    "offline": Annotated[
        bool,
        Option(
            "--offline",
            help="Make no request; use what is in the cache.",
            envvar="ATLDLD_OFFLINE",
            heading=PANEL,
        ),
    ],
    "strict": Annotated[
        bool,
        Option(
            "--strict",
            help="Treat defects of the service as errors.",
            envvar="ATLDLD_STRICT",
            heading=PANEL,
        ),
    ],
}


def takes_atlas(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose an atlas, and pass it the ``choice``."""
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.name != "choice"]
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for name, (annotation, default) in _ATLAS_OPTIONS.items()
    ]

    @functools.wraps(command)
    def wrapper(**arguments: Any) -> None:
        from atldld.batch import AtlasChoice

        chosen = {name: arguments.pop(name) for name in _ATLAS_OPTIONS}
        choice = AtlasChoice.of(
            chosen["atlas"],
            chosen["atlas_resolution"],
            chosen["annotation"],
            chosen["graph"],
            chosen["template"],
        )
        command(choice=choice, **arguments)

    wrapper.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    del wrapper.__wrapped__
    return wrapper


def alignment_of(
    alignment: str | None, dataset_id: int | None = None, *, confirmed: bool = False
) -> "AlignmentPath | None":
    """Return the alignment file of a data set: the one that is named, or that of a folder.

    Parameters
    ----------
    alignment : str or None
        A file, a folder of them, or a name with ``{id}`` in it.
    dataset_id : int, optional
        The data set; without one, only a file will do.
    confirmed : bool
        Whether only sections count that were confirmed by hand.

    Raises
    ------
    InvalidInputError
        If confirmed sections are asked for, and no alignment is named.
    """
    check_confirmed(alignment, confirmed)
    if alignment is None:
        return None
    if dataset_id is not None and ("{id}" in alignment or Path(alignment).is_dir()):
        from atldld.batch import Alignments

        return Alignments(alignment, confirmed).read_from(dataset_id)
    if not confirmed:
        return Path(alignment)
    from atldld.place.alignment import ConfirmedOnly

    return ConfirmedOnly(Path(alignment))


def check_confirmed(alignment: str | None, confirmed: bool) -> None:
    """Check that there is an alignment whose sections may be confirmed, before anything is asked.

    Raises
    ------
    InvalidInputError
        If confirmed sections are asked for, and no alignment is named.
    """
    if confirmed and alignment is None:
        raise InvalidInputError(
            "Confirmed sections are asked for, but no registration that says which they are.",
            hint="Add --alignment REG.json, which `atldld align` has saved.",
        )


def tier_of(text: str, auto: int) -> int:
    """Return a tier that an option says, where ``auto`` is one of its own.

    Raises
    ------
    InvalidInputError
        If the text is neither a tier nor ``auto``.
    """
    if text == "auto":
        return auto
    if not (text.isascii() and text.isdigit()):
        raise InvalidInputError(
            f"--downsample-img is {text!r}, but must be auto or a tier: 0, 1, 2, …"
        )
    return int(text)


def place_of(output: str | None, positional: str | None, default: str | None = None) -> str:
    """Return where a result goes, which ``-o`` says, or an argument at the end.

    Raises
    ------
    InvalidInputError
        If both say it, or neither.
    """
    if output is not None and positional is not None:
        raise InvalidInputError(
            f"Both {positional} and --output {output} say where the result goes; give one of them."
        )
    place = output or positional or default
    if not place:
        raise InvalidInputError("Nothing says where the result goes.", hint="Give -o FOLDER.")
    return place


def last_is_place(words: list[str], output: str | None) -> tuple[list[str], str]:
    """Return what is read, and where the result goes: ``-o``, or the last of several words."""
    if output is not None:
        return words, output
    if len(words) < 2:
        raise InvalidInputError("Nothing says where the result goes.", hint="Give -o FOLDER.")
    return words[:-1], words[-1]


def folder_of(place: str) -> Path:
    """Return a place as a folder, which standard output is not.

    Raises
    ------
    InvalidInputError
        If it is ``-``.
    """
    if place == "-":
        raise InvalidInputError(
            "The result is more than one file, which cannot go to standard output.",
            hint="Name a folder or a file: -o NAME.",
        )
    return Path(place)


@contextmanager
def written_to(place: str | Path, ending: str) -> Iterator[Path]:
    """Give the file that a result is written to; for ``-`` one whose content is printed then.

    Parameters
    ----------
    place : str or pathlib.Path
        A file, or ``-``.
    ending : str
        Of what goes to standard output, such as ``".csv"``.
    """
    if str(place) != "-":
        yield Path(place)
        return
    from atldld.support.files import scratch_folder

    with scratch_folder() as folder:
        path = folder / f"result{ending}"
        yield path
        answer_file(path)


def settings_of(chosen: Mapping[str, Any]) -> Settings:
    """Return the settings that options have chosen; limits of requests have variables alone."""
    kind = {one: os.environ.get(one, "") for one in ("ATLDLD_PER_SECOND", "ATLDLD_PER_DAY")}
    return Settings.from_environment(kind, **chosen)


def asks_service(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where to ask, and pass it a ``session``."""

    def call(chosen: dict[str, Any], arguments: dict[str, Any]) -> None:
        from atldld.fetch.session import Session

        settings = settings_of(chosen)
        began = time.monotonic()
        with Session(settings) as session, warnings_once(), waiting_told():
            try:
                command(session=session, **arguments)
            finally:
                if manner.verbose:
                    _tell_requests(session, began)

    return _with_service_options(command, ("session",), call)


def uses_cache(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where to ask, and pass it ``cache`` and ``settings``.

    For one that asks nothing: a session would import what asks, half of the time of a start.
    """

    def call(chosen: dict[str, Any], arguments: dict[str, Any]) -> None:
        from atldld.fetch.roots import cache_of

        settings = settings_of(chosen)
        began = time.monotonic()
        cache = cache_of(settings)
        with warnings_once():
            try:
                command(cache=cache, settings=settings, **arguments)
            finally:
                if manner.verbose:
                    from atldld.fetch.session import Session

                    _tell_requests(Session(settings), began)

    return _with_service_options(command, ("cache", "settings"), call)


def knows_service(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where to ask, and pass it what was ``chosen``.

    For a command that has to bear it if that makes no sense.
    """

    def call(chosen: dict[str, Any], arguments: dict[str, Any]) -> None:
        with warnings_once(), waiting_told():
            command(chosen=chosen, **arguments)

    return _with_service_options(command, ("chosen",), call)


def _with_service_options(
    command: Callable[..., None],
    passed: Collection[str],
    call: Callable[[dict[str, Any], dict[str, Any]], None],
) -> Callable[..., None]:
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.name not in passed]
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
        if "jobs" in arguments:  # it works on pixels
            prepare_for_pixels()
        chosen = {name: arguments.pop(name) for name in _SERVICE_OPTIONS}
        chosen["source"] = chosen.pop("image_source")  # "source" is a parameter of some commands
        call(chosen, arguments)

    wrapper.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in [*own, *added]}
    del wrapper.__wrapped__
    return wrapper


def _tell_requests(session: "Session", began: float) -> None:
    """Say how many requests were sent, how long that took, and where the answers are."""
    say_now(
        f"{session.client.requests_sent} requests in {time.monotonic() - began:.1f} s"
        f"{_bounds(session)}; the cache is {session.cache.root}."
    )


def _bounds(session: "Session") -> str:
    """Say how many requests are allowed, and how many were sent today."""
    limits, allowance = session.client.limits, session.client.allowance
    told = [f"at most {limits.per_second:g} a second"] if limits.per_second else []
    if allowance is not None:
        told.append(f"{allowance.used():,} of {allowance.most:,} a day")
    return f" ({', '.join(told)})" if told else ""


@contextmanager
def warnings_once() -> Iterator[None]:
    """Show the service's defects as plain sentences, each once, when the command is done.

    What is waited for is told at once.
    """
    caught: dict[str, None] = {}

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, LockWarning) and not manner.quiet:
            say_now(f"Warning: {message}")
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


@contextmanager
def waiting_told() -> Iterator[None]:
    """Say what the service is waited for, and what is tried again, as it happens."""
    import logging  # here, as nothing is waited for by commands that ask nothing

    from atldld.fetch.retry import log

    class Saying(logging.Handler):
        """Prints what the library says of waiting, for whoever sits before the terminal."""

        def emit(self, record: logging.LogRecord) -> None:
            """Print one line, at once: whoever waits wants to know now."""
            if not manner.quiet:
                say_now(record.getMessage())

    saying, level = Saying(), log.level
    log.addHandler(saying)
    log.setLevel(logging.DEBUG if manner.verbose else logging.INFO)
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
        raise Exit(130) from None
