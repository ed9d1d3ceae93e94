"""Reading what is used in place of the service's alignment, whichever kind of file it is."""

from __future__ import annotations

from pathlib import Path

from atldld.errors import InvalidInputError
from atldld.place import anchoring
from atldld.place.anchoring import Alignment
from atldld.place.registration import Registration, is_registration
from atldld.support.documents import DocumentError, parse_json

__all__ = ["Planes", "read_alignment"]


Planes = Alignment | Registration
"""What places the sections of a data set; images that it lacks keep the service's alignment."""


def read_alignment(path: str | Path) -> Planes:
    """Read a registration of `atldld refine`, or what QuickNII, VisuAlign and their kin write.

    That is a JSON of QuickNII, VisuAlign, DeepSlice, WebAlign or WebWarp. Markers make sections
    curved.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, is of another kind or for another atlas, or names images that
        are not section images.
    """
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
        return Registration.from_document(path, content, document)
    return anchoring.from_document(path, content, document)
