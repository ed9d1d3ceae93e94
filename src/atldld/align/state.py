"""What is edited: where each section lies, its markers, and what people have said of it.

Values that do not change. An edit makes new ones, and the journal (`atldld.align.journal`) is a
list of them. Where a section was put by what placed it last, by the service, a file or a fit, is
its *origin*; what people do is distinguished from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.place.refinement import ExpectedError, StepResult
from atldld.place.registration import Status, StoredFields

__all__ = ["Document", "Marker", "Origin", "Rows", "SectionState", "rows_of"]

Matrix = NDArray[np.float64]
Row3 = tuple[float, float, float]
Rows = tuple[Row3, Row3, Row3]
Row4 = tuple[float, float, float, float]


def rows_of(matrix: ArrayLike) -> Rows:
    """Return a matrix, shape (3, 3), as plain numbers."""
    listed = np.asarray(matrix, dtype=np.float64).reshape(3, 3).tolist()
    return cast("Rows", tuple(map(tuple, listed)))


class Marker(msgspec.Struct, frozen=True):
    """A point of the atlas that was dragged to where it belongs.

    Attributes
    ----------
    id : str
        Its own within the section.
    image : tuple of 2 float
        (x, y) in full-resolution pixels of the image: what lies here …
    flat : tuple of 2 float
        … belongs where the section without markers has this pixel.
    """

    id: str
    image: tuple[float, float]
    flat: tuple[float, float]


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a section was put by what placed it last, and what that said of it.

    Attributes
    ----------
    forward, backward : tuples of float
        As `atldld.place.placement.Placement` has them.
    fields : StoredFields or None
        The deformation, if a spline bends it; it is stored beside the registration.
    markers : tuple of Marker
        Those that it had.
    steps : tuple of StepResult
        What has been tried, as a registration has it.
    expected_error : ExpectedError or None
        How far off it is expected to be.
    """

    forward: Rows
    backward: tuple[Row4, Row4, Row4]
    fields: StoredFields | None = None
    markers: tuple[Marker, ...] = ()
    steps: tuple[StepResult, ...] = ()
    expected_error: ExpectedError | None = None


class SectionState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One section as it is now.

    Attributes
    ----------
    forward : 3 × 3 float
        ``[p, i, r] = forward @ [x, y, 1]``: full-resolution pixels of the flat image → µm.
    origin : int
        Which of the document's origins it began from.
    markers : tuple of Marker
        What bends it.
    status : {"automatic", "edited", "confirmed", "left out"}
        What people have said of it.
    note : str
        What they have written of it.
    """

    forward: Rows
    origin: int
    markers: tuple[Marker, ...] = ()
    status: Status = "automatic"
    note: str = ""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A data set's sections as they are now.

    Attributes
    ----------
    sections : mapping of int to SectionState
        By image id, in the order of the sections.
    origins : tuple of Origin
        The first ones are those of the start, in the order of the sections.
    """

    sections: Mapping[int, SectionState]
    origins: tuple[Origin, ...]

    def origin(self, image_id: int) -> Origin:
        """Return where a section was put by what placed it last."""
        return self.origins[self.sections[image_id].origin]

    def moved(self, image_id: int) -> bool:
        """Whether a section lies elsewhere than its origin."""
        state, origin = self.sections[image_id], self.origin(image_id)
        return state.forward != origin.forward or state.markers != origin.markers

    def touched(self, image_id: int) -> bool:
        """Whether a section lies elsewhere than at the start, by hand or by a fit."""
        started = self.sections[image_id].origin < len(self.sections)
        return not started or self.moved(image_id)

    def with_sections(
        self, changed: Mapping[int, SectionState], origins: tuple[Origin, ...] = ()
    ) -> Document:
        """Return the document with some sections changed, and origins added."""
        return Document(sections={**self.sections, **changed}, origins=(*self.origins, *origins))
