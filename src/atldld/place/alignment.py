"""Reading what is used in place of the service's alignment, whichever kind of file it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atldld.errors import InvalidInputError
from atldld.place import anchoring
from atldld.place.anchoring import Alignment
from atldld.place.registration import Registration, is_registration
from atldld.support.documents import DocumentError, parse_json

__all__ = ["AlignmentPath", "ConfirmedOnly", "Planes", "read_alignment"]


Planes = Alignment | Registration
"""What places the sections of a data set; images that it lacks keep the service's alignment."""


@dataclass(frozen=True, slots=True)
class ConfirmedOnly:
    """A registration's file, of which only the sections count that people have confirmed.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    """

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)


AlignmentPath = str | Path | ConfirmedOnly
"""Where an alignment is read from."""


def read_alignment(path: AlignmentPath) -> Planes:
    """Read a registration of `atldld refine`, or what QuickNII, VisuAlign and their kin write.

    That is a JSON of QuickNII, VisuAlign, DeepSlice, WebAlign or WebWarp. Markers make sections
    curved.

    Parameters
    ----------
    path : str, pathlib.Path or ConfirmedOnly
        The file.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, is of another kind or for another atlas, or names images that
        are not section images; if only confirmed sections are asked for and there are none.
    """
    confirmed = isinstance(path, ConfirmedOnly)
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"The alignment file {path} cannot be read: {error.strerror or error}."
        ) from error
    try:
        document = parse_json(content)
    except DocumentError as error:
        raise InvalidInputError(f"{path} {error}.", hint=anchoring.EXPECTED) from None
    if is_registration(document):
        registration = Registration.from_document(path, content, document)
        return registration.confirmed() if confirmed else registration
    if confirmed:
        raise InvalidInputError(
            f"{path} says of no section that it was confirmed by hand.",
            hint="Registrations that `atldld align` has saved do.",
        )
    return anchoring.from_document(path, content, document)
