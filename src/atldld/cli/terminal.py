"""The terminal: what is printed, in which characters, and how a command ends.

Everything that a command prints goes through here: texts of others are made harmless, characters
that the terminal lacks are replaced, and what cannot go on ends in one sentence and a status.
"""

from __future__ import annotations

import _thread
import atexit
import codecs
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from atldld.cli.codes import CLOSED_PIPE, STOPPED, code_of
from atldld.cli.layout import laid_out, listed, screen_width, wrapped
from atldld.cli.manner import as_line, error_document, manner
from atldld.errors import (
    AmbiguousNameError,
    AtldldError,
    InvalidInputError,
    OutputError,
    Remedy,
    speaking,
)
from atldld.support.text import TableWriter, shown

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "answer",
    "answer_csv",
    "answer_file",
    "answer_json",
    "answer_lines",
    "as_typed",
    "bold",
    "command_line",
    "complain",
    "facts",
    "heed_memory_limit",
    "prepare",
    "prepare_for_pixels",
    "run_to_the_end",
    "say",
    "say_now",
    "sentence_of",
    "table",
]

LEAST_MEMORY = 512 << 20
"""Bytes of address space without which OpenBLAS ends the process as it is loaded."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of malloc.h

NO_MEMORY = -1  # which ends with 1

_NO_MEMORY = (
    "can't start new thread",
    "insufficient memory",  # OpenCV
    "failed to allocate",
    "cannot allocate memory",
    "bad_alloc",
    "failed to map segment",  # of a library, as it is loaded
    "out of memory",
)

IN_OPTIONS = {
    Remedy.ALIGNMENT: "--alignment",
    Remedy.CACHE_DIR: "--cache-dir",
    Remedy.DATASETS: "--datasets",
    Remedy.FORCE: "--force",
    Remedy.JOBS: "--jobs",
    Remedy.KIND: "--kind",
    Remedy.LIVE: "--live",
    Remedy.OFFLINE: "--offline",
    Remedy.OWN_FILES: "--annotation`, `--graph",
    Remedy.PORT: "--port",
    Remedy.PRUNE_ALL: "--max-size 0",
    Remedy.PRUNE_SOME: "--older-than, --max-size or --dataset",
    Remedy.PUBLIC: "--public",
    Remedy.REFRESH: "--refresh",
    Remedy.STAIN_THRESHOLD: "--stain-threshold 0.3",
    Remedy.STRICT: "--strict",
    Remedy.DATASET: "--dataset",
    Remedy.SPACE: "--space",
    Remedy.UNIT: "--unit",
    Remedy.SOURCE_API: "--source api",
    Remedy.SOURCE_AUTO: "--source auto",
    Remedy.SOURCE_BUCKET: "--source bucket",
    Remedy.API_URL: "--api-url",
    Remedy.BUCKET_URL: "--bucket-url",
    Remedy.OME_ZARR: "let the name end in .ome.zarr (for many volumes, --format ome.zarr)",
}
"""How a user of the command line uses each remedy that errors speak of."""

# What we write ourselves and some encodings lack; all else becomes an escape.
_PLAIN = {
    "µ": "u",
    "×": "x",
    "·": "*",
    "°": " deg",
    "²": "2",
    "³": "3",
    "±": "+/-",
    "–": "-",
    "−": "-",
    "—": "-",
    "…": "...",
    "→": "->",
    "⇄": "<->",
    "≥": ">=",
    "≤": "<=",
    "’": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
    "½": "1/2",
    "─": "-",
    "━": "-",
    "╺": "-",
    "╸": "-",
    "│": "|",
    "•": "*",
}


# ---- what is printed


def say(text: str) -> None:
    """Print a sentence for the user, beside the result: to standard error.

    With ``--quiet`` nobody hears it, and with ``--json`` it goes into the envelope.
    """
    if not manner.keeps(text):
        say_now(text)


def say_now(text: str) -> None:
    """Print a sentence for the user who waits, whether or not a program reads the result.

    A terminal gets lines that end between words; a file or a pipe gets one line.
    """
    width = screen_width(sys.stderr) if sys.stderr.isatty() else None
    print("\n".join(wrapped(shown(text), width)), file=sys.stderr, flush=True)  # noqa: T201


def answer(text: object) -> None:
    """Print a line of the result: to standard output."""
    print(shown(text), flush=True)  # noqa: T201


def answer_lines(text: str) -> None:
    """Print lines in which all texts of others have been made harmless: to standard output."""
    print(text, flush=True)  # noqa: T201


def table(columns: Mapping[str, str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table that fits the terminal; see `atldld.cli.layout.laid_out`."""
    answer_lines("\n".join(laid_out(columns, rows, screen_width(sys.stdout), bold=bold())))


def facts(known: Mapping[str, str]) -> None:
    """Print headings, and beside each what is to be said of it: to standard output."""
    pairs = ((f"{heading}:", shown(value)) for heading, value in known.items())
    for line in listed(pairs, screen_width(sys.stdout)):
        answer_lines(line)


def bold() -> bool:
    """Whether headings may be bold: on a terminal, unless its user wants none of that."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def answer_json(value: Any) -> None:
    """Print a result as JSON, with escapes for what a terminal would obey or cannot show."""
    import json

    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(value, indent=1, ensure_ascii=plain)
    answer_lines("\n".join(map(_json_line, text.split("\n"))))


def answer_csv(rows: Iterable[Iterable[object]]) -> None:
    """Print a result as CSV, in which no text is a formula, and none is obeyed by a terminal."""
    table = TableWriter(sys.stdout)
    for row in rows:
        table.row(shown(value) if isinstance(value, str) else value for value in row)
    sys.stdout.flush()


def answer_file(path: Path) -> None:
    """Print a file that is the result: its bytes as they are, or harmless lines to a terminal.

    Raises
    ------
    InvalidInputError
        If a terminal could not show it.
    """
    content = path.read_bytes()
    if not sys.stdout.isatty():
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise InvalidInputError(
            f"A {path.suffix} file is not for a terminal.", hint="Name a file, or lead it on: | …"
        ) from None
    answer_lines("\n".join(map(shown, lines)).rstrip("\n"))


def as_typed(argument: str) -> str:
    """Return an argument as it was typed in UTF-8, where Python has taken it for something else.

    Raises
    ------
    InvalidInputError
        If it is no text.
    """
    if argument.isascii():
        return argument
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:
        raise InvalidInputError(f"{shown(argument)} is no text in UTF-8.") from None


def command_line() -> str:
    """Return the command as it was typed, for what it makes to say; without secrets."""
    import shlex

    from atldld.support.addresses import shown_address

    words = (shown_address(word) if "://" in word else word for word in sys.argv[1:])
    return shown(shlex.join(["atldld", *words]))


def _json_line(line: str) -> str:
    if line.isprintable():
        return line
    units = (
        character
        if character.isprintable()
        else "".join(
            f"\\u{high:02x}{low:02x}"
            for high, low in _pairs(character.encode("utf-16-be", "surrogatepass"))
        )
        for character in line
    )
    return "".join(units)


def _pairs(content: bytes) -> list[tuple[int, int]]:
    return list(zip(content[::2], content[1::2], strict=True))


# ---- in which characters, and where to


class _Stream(io.TextIOWrapper):
    """A standard stream whose troubles end the command, or nothing, but never in a traceback."""

    def write(self, text: str) -> int:
        with self._watched():
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._watched():
            super().flush()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Say that the result cannot be written; that nobody can be told is no reason to stop."""
        try:
            yield
        except OSError as error:
            # what is still to be written goes there, too, so that Python ends without trouble
            _lead_nowhere(self)
            if self.fileno() != 1:
                return
            import errno

            if error.errno == errno.EPIPE:
                raise SystemExit(CLOSED_PIPE) from None
            raise OutputError(
                f"Standard output cannot be written: {error.strerror or error}.",
                hint="Files that the command has written are whole.",
            ) from None


def prepare() -> None:
    """Make the standard streams take whatever is printed, and libraries keep quiet.

    A stream that was closed becomes one that leads nowhere; otherwise the next file that is
    opened would get its number, and what is printed. Streams that someone has put in the places
    of the process's own stay as they are.
    """
    codecs.register_error("atldld", _replaced)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _open_nowhere(number, name)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            lines, at_once = stream.line_buffering, stream.write_through
            encoding = stream.encoding
            setattr(sys, name, _Stream(stream.detach(), encoding, "atldld", None, lines, at_once))
    # The work is shared between threads of our own. Each of OpenBLAS's takes memory for itself,
    # and it writes to the terminal where it gets none.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    if isinstance(sys.stderr, _Stream):
        sys.unraisablehook = _not_raised
        threading.excepthook = _ended


def heed_memory_limit() -> None:
    """Live within a limit of memory, and refuse one under which libraries cannot be loaded.

    Raises
    ------
    AtldldError
        If this process may not have as much memory as Python with its libraries takes.
    """
    limit = _memory_limit()
    if limit is not None and limit < LEAST_MEMORY:
        raise AtldldError(
            f"A process may have {limit >> 20} MB of memory here (`ulimit -v`), and atldld "
            f"needs {LEAST_MEMORY >> 20} MB to begin with.",
            hint="Raise the limit.",
        )
    if limit is not None:
        _take_less_memory()


def prepare_for_pixels() -> None:
    """Set up memory and threads for thousands of strips of pictures, on all cores at once.

    The GNU C library gives what is freed back to the kernel, from 128 kB on, and the kernel clears
    each page of it when the next array is made. So memory that arrays have left is kept for the
    next ones, where there is no limit of it. OpenCV would share out each of its calls among threads
    of its own; where all cores are busy these wait for each other.
    """
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")  # read as OpenCV is loaded
    if sys.platform == "linux" and _memory_limit() is None:
        _set_malloc({_M_MMAP_THRESHOLD: 8 << 20, _M_TRIM_THRESHOLD: 32 << 20})


def _memory_limit() -> int | None:
    """Return how many bytes this process may have; `None` if there is no limit."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _take_less_memory() -> None:
    """Let threads share what they would each reserve, 64 MB for memory and 8 MB for a stack.

    A thread that gets neither never starts, and whoever has started it waits for ever.
    """
    import ctypes

    threading.stack_size(1 << 20)
    _set_malloc({_M_ARENA_MAX: 1})
    with suppress(OSError):
        ctypes.CDLL("libgcc_s.so.1")  # loaded as the first thread ends, or it ends the process


def _set_malloc(values: Mapping[int, int]) -> None:
    """Set some of the numbers that the GNU C library takes memory by."""
    import ctypes

    with suppress(OSError, AttributeError):  # another C library than GNU's
        for name, value in values.items():
            ctypes.CDLL(None).mallopt(name, value)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding lacks; a handler of errors for `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(
        _PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode()
        for character in lacking
    ), error.end


def _open_nowhere(number: int, name: str) -> None:
    mode = "r" if name == "stdin" else "w"
    descriptor = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _lead_nowhere(stream: io.TextIOWrapper) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


# ---- how a command ends


def run_to_the_end(work: Callable[[], int]) -> NoReturn:
    """Run a command; whatever happens ends in at most one sentence, and in a status.

    Parameters
    ----------
    work : callable
        The command; returns its status.
    """
    with speaking(IN_OPTIONS):
        try:
            prepare()
            status = work()
            sys.stdout.flush()
        except BaseException as error:
            status = _status_of(error)
    if status in (STOPPED, NO_MEMORY):
        _stop(status)
    if isinstance(sys.stderr, _Stream):
        # nothing is left to be tidied up if someone presses Ctrl-C now
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(status)


def _status_of(error: BaseException) -> int:
    """Say what has happened, and return the status that fits."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        say("Stopped.")
        return STOPPED
    complain(error, sentence_of(error), code_of(error))
    if not isinstance(error, AtldldError) and _lacks_memory(error):
        return NO_MEMORY
    if os.environ.get("ATLDLD_TRACEBACK"):
        import traceback

        traceback.print_exception(error)
    return code_of(error)


def complain(error: BaseException, sentence: str, code: int) -> None:
    """Say what has gone wrong; with ``--json`` as one line of JSON, to standard error too.

    Parameters
    ----------
    error : exception
        What has happened.
    sentence : str
        The same in words.
    code : int
        The status that the command ends with.
    """
    if manner.as_json:
        document = as_line(error_document(error, sentence, code))
        print(document, file=sys.stderr, flush=True)  # noqa: T201
    elif isinstance(error, AmbiguousNameError):
        say(f"Error: {error.message}")
        for candidate in error.candidates:
            say(f"  {candidate}")
        if error.hint:
            say(error.hint)
    else:
        say(f"Error: {sentence}")


def sentence_of(error: BaseException) -> str:
    """Return what has gone wrong, as sentences."""
    if isinstance(error, AtldldError):
        return str(error)
    if _lacks_memory(error):
        return (
            "There is not enough memory for this, or no more threads may be started. Free some "
            "memory or raise the limit (`ulimit`), or do less at once: fewer --jobs, a coarser "
            "--resolution."
        )
    if isinstance(error, UnicodeError):
        return (
            "A name or an argument cannot be put into the characters of this system "
            f"({sys.getfilesystemencoding()}). Set LANG to one in UTF-8, such as C.UTF-8."
        )
    if isinstance(error, OSError):
        what = f"{error.filename} cannot be used" if error.filename else "The system refused"
        return f"{what}: {error.strerror or error}."
    return (
        f"This is a defect of atldld ({type(error).__name__}: {str(error)[:200]}). Please report "
        "it, with the command and what it prints when ATLDLD_TRACEBACK=1 is set."
    )


def _lacks_memory(error: BaseException) -> bool:
    """Whether the system had no memory, or no thread, in whatever words a library says so."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY)


def _stop(status: int) -> NoReturn:
    """End at once: threads that still work or wait would be waited for, some of them for ever."""
    if status == NO_MEMORY:
        os._exit(1)
    signal.signal(signal.SIGINT, lambda *_: os._exit(status))
    atexit._run_exitfuncs()  # processes that were started end, temporary folders go
    os._exit(status)


def _not_raised(unraisable: Any) -> None:
    """Pass Ctrl-C on that has come where nothing can be raised, such as in a finalizer."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        again = threading.Timer(0.05, _thread.interrupt_main)
        again.daemon = True
        again.start()
    elif not issubclass(unraisable.exc_type, MemoryError):
        sys.__unraisablehook__(unraisable)


def _ended(thread: Any) -> None:
    """Say nothing of a thread that lacked memory: whoever waits for it gets the error."""
    if thread.exc_value is None or not _lacks_memory(thread.exc_value):
        threading.__excepthook__(thread)
