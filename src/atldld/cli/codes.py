"""The status that a command ends with, for each branch of the tree of errors."""

from __future__ import annotations

from atldld.errors import (
    AtldldError,
    CacheError,
    InvalidInputError,
    NotFoundError,
    OutputError,
    RecordError,
    ServiceDefectError,
    ServiceError,
)

__all__ = ["BRANCHES", "CLOSED_PIPE", "CODES", "ENDED", "STOPPED", "code_of"]

STOPPED = 130  # 128 + SIGINT
ENDED = 143  # 128 + SIGTERM
CLOSED_PIPE = 141  # 128 + SIGPIPE: what a shell says of other tools

BRANCHES: tuple[tuple[type[AtldldError], int], ...] = (
    (InvalidInputError, 2),
    (NotFoundError, 3),
    (ServiceError, 4),
    (ServiceDefectError, 4),
    (RecordError, 5),
    (CacheError, 6),
    (OutputError, 6),
    (AtldldError, 1),
)
"""Branches of the tree of errors, the first that fits counts, and their codes."""

CODES: dict[int, str] = {
    0: "Everything is done.",
    1: "Something could not be done, such as sections that could not be fetched or files that are "
    "damaged; or an error that no other code stands for.",
    2: "The command is not valid: a wrong word, option, number, unit or file. The same command "
    "fails again.",
    3: "There is no such thing: no data set, image, gene, or nothing that a search finds.",
    4: "The service could not be asked, or its answer cannot be used; or asking was forbidden "
    "(--offline). The same command may succeed later.",
    5: "A record of the service lacks what the work needs, such as an alignment.",
    6: "The cache or the output cannot be read or written, or holds what may not be replaced.",
    STOPPED: "Stopped by Ctrl-C. (`serve` and `align`, which run until they are stopped, end with "
    "0.)",
    CLOSED_PIPE: "The reader of the result went away, as with `| head`.",
    ENDED: "Ended by SIGTERM (129 by SIGHUP), but for `serve` and `align`.",
}
"""Every code, and what it means."""


def code_of(error: BaseException) -> int:
    """Return the status that a command ends with when an error ends it."""
    return next((code for branch, code in BRANCHES if isinstance(error, branch)), 1)
