"""What can be done to sections by hand: place them, mark them, say something of them.

Edits are pure: they take a document and return the sections that change. An edit of a key section,
which is one that people have placed or confirmed, may carry over to those between it and the next
key sections before and after it:

- ``"vectors"``: their anchoring vectors o, u, v (`atldld.place.anchoring`) are interpolated
  linearly by section number, as QuickNII does. How they lay before does not count.
- ``"moves"``: what is interpolated is how the key sections have moved from their origins; each
  section between moves from its own origin. Allen's sections were cropped one by one and lie each
  otherwise in its picture, which this keeps.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from atldld.align.state import Document, Marker, Origin, SectionState, rows_of
from atldld.errors import InvalidInputError
from atldld.place.anchoring import anchoring_of, forward_of
from atldld.place.deformation import Deformation
from atldld.place.markers import MarkedDeformation, MarkerDeformation
from atldld.place.placement import Placement
from atldld.place.refinement import StepResult
from atldld.place.registration import SectionFit
from atldld.place.sections import PlacedSection

__all__ = [
    "HAND",
    "MOST_MARKERS",
    "MOST_NOTE",
    "Carry",
    "Place",
    "carried",
    "deformed",
    "farthest",
    "fit_of",
    "marked",
    "markers_of",
    "placed",
    "said",
]

Matrix = NDArray[np.float64]
Carry = Literal["vectors", "moves"]

MOST_MARKERS = 500
"""Markers that a section may have."""

MOST_NOTE = 4000
"""Characters of a note."""

HAND = "hand"
"""The step of a registration that stands for what people did."""

_BY_HAND = "It was placed by hand."
_FOLLOWS = "It follows the sections beside it, which were placed by hand."


@dataclass(frozen=True)
class Place:
    """A section's record and what it takes to place it.

    Attributes
    ----------
    section : PlacedSection
        As it was opened.
    step : numpy.ndarray, shape (3,)
        The way to the next section number there, in µm.
    """

    section: PlacedSection
    step: Matrix

    @classmethod
    def of(cls, section: PlacedSection, start: Origin) -> Place:
        """Return what it takes to place again a section that lay somewhere at the start."""
        inverse = np.linalg.inv(np.array(start.backward)[:, :3])
        return cls(section, inverse[:, 2])

    def placement(
        self, state: SectionState, origin: Origin, curve: Deformation | None
    ) -> Placement:
        """Return where a section lies.

        Parameters
        ----------
        state : SectionState
            As it is.
        origin : Origin
            What it began from.
        curve : Deformation or None
            The deformation of its origin.

        Raises
        ------
        InvalidInputError
            If it would not lie in its plane of section, or markers fold it.
        """
        bent = deformed(state.markers, self.section.image.width, self.section.image.height, curve)
        if state.forward == origin.forward:
            return Placement(np.array(origin.forward), np.array(origin.backward), bent)
        found = Placement.from_plane(state.forward, self.step, self.section.number)
        if found is None or not found.crosses(self.section.plane):
            raise InvalidInputError(
                f"Section {self.section.number} would no longer lie in its plane of section.",
                image_id=self.section.id,
                hint="Tilt it less.",
            )
        return Placement(found.forward, found.backward, bent)


def deformed(
    markers: Sequence[Marker], width: int, height: int, curve: Deformation | None
) -> Deformation | None:
    """Return what markers make of a section that may be curved already.

    Raises
    ------
    InvalidInputError
        If they lie beyond the picture, or fold the section.
    """
    if not markers:
        return curve
    # VisuAlign counts from the picture's corner
    given = np.array([(*one.flat, *one.image) for one in markers], dtype=np.float64) + 0.5
    bent = MarkerDeformation.of(given, width, height).scaled((1, 1), -0.5)
    return bent if curve is None else MarkedDeformation(bent, curve)


def markers_of(bent: Deformation | None) -> tuple[tuple[Marker, ...], Deformation | None]:
    """Return the markers of a deformation, and what is curved beneath them."""
    if isinstance(bent, MarkedDeformation):
        return markers_of(bent.markers)[0], bent.curve
    if not isinstance(bent, MarkerDeformation):
        return (), bent
    listed = bent.markers.tolist()
    return (
        tuple(
            Marker(str(k), (x, y), (flat_x, flat_y))
            for k, (flat_x, flat_y, x, y) in enumerate(listed, 1)
        ),
        None,
    )


def placed(document: Document, image_id: int, forward: Matrix) -> dict[int, SectionState]:
    """Return a section in another place."""
    state = document.sections[image_id]
    status = state.status if state.status == "left out" else "edited"
    return {image_id: msgspec.structs.replace(state, forward=rows_of(forward), status=status)}


def marked(document: Document, image_id: int, markers: Sequence[Marker]) -> dict[int, SectionState]:
    """Return a section with other markers.

    Raises
    ------
    InvalidInputError
        If there are too many, or two have one name or one place in the image.
    """
    if len(markers) > MOST_MARKERS:
        raise InvalidInputError(
            f"A section may have {MOST_MARKERS} markers, and these are {len(markers)}.",
            image_id=image_id,
        )
    for what, kinds in (
        ("name", [one.id for one in markers]),
        ("place", [one.image for one in markers]),
    ):
        if len(set(kinds)) < len(markers):
            raise InvalidInputError(f"Two markers have one {what}.", image_id=image_id)
    state = document.sections[image_id]
    status = state.status if state.status == "left out" else "edited"
    return {image_id: msgspec.structs.replace(state, markers=tuple(markers), status=status)}


def said(
    document: Document, image_id: int, *, status: str | None = None, note: str | None = None
) -> dict[int, SectionState]:
    """Return a section with another status, or another note.

    A section that is no longer confirmed or left out is ``"edited"`` if it lies elsewhere than at
    the start, and else ``"automatic"``; either word stands for both.

    Raises
    ------
    InvalidInputError
        If there is no such status, or the note is too long.
    """
    state = document.sections[image_id]
    if note is not None:
        if len(note) > MOST_NOTE:
            raise InvalidInputError(
                f"A note may have {MOST_NOTE} characters, and this one has {len(note)}.",
                image_id=image_id,
            )
        state = msgspec.structs.replace(state, note=note)
    if status in ("edited", "automatic"):
        touched = document.touched(image_id)
        state = msgspec.structs.replace(state, status="edited" if touched else "automatic")
    elif status == "confirmed" or status == "left out":
        state = msgspec.structs.replace(state, status=status)
    elif status is not None:
        raise InvalidInputError(
            f"There is no status {status!r:.40}; there are automatic, edited, confirmed and left "
            "out.",
            image_id=image_id,
        )
    return {image_id: state}


def carried(
    document: Document, image_id: int, places: Mapping[int, Place], how: Carry
) -> dict[int, SectionState]:
    """Return the sections between a key section and the next ones, once they follow it.

    Parameters
    ----------
    document : Document
        With the key section as it is now.
    image_id : int
        The key section.
    places : mapping of int to Place
        All sections, by image id.
    how : {"vectors", "moves"}
        See the module.

    Raises
    ------
    InvalidInputError
        If there is no plane halfway between two key sections.
    """
    numbers = {one: places[one].section.number for one in document.sections}
    own = numbers[image_id]
    keys = {
        numbers[one]: one
        for one, state in document.sections.items()
        if state.status in ("edited", "confirmed") and one != image_id and numbers[one] != own
    }
    known = sorted(keys)
    at = bisect.bisect(known, own)
    ends = [known[at - 1]] if at else []
    ends += known[at : at + 1]
    out: dict[int, SectionState] = {}
    for end in ends:
        low, high = sorted((own, end))
        for one, state in document.sections.items():
            if low < numbers[one] < high and state.status == "automatic":
                share = (numbers[one] - own) / (end - own)
                between = _between(document, (image_id, keys[end]), one, share, places, how)
                out[one] = msgspec.structs.replace(state, forward=rows_of(between))
    return out


def _between(
    document: Document,
    ends: tuple[int, int],
    image_id: int,
    share: float,
    places: Mapping[int, Place],
    how: Carry,
) -> Matrix:
    sections = document.sections
    if how == "vectors":
        first, second = (
            anchoring_of(sections[one].forward, image.width, image.height)
            for one in ends
            for image in [places[one].section.image]
        )
        image = places[image_id].section.image
        return forward_of((1 - share) * first + share * second, image.width, image.height)
    begun = np.vstack((np.array(document.origin(image_id).forward), [0, 0, 1]))
    first, second = (
        _move(np.array(document.origin(one).forward), np.array(sections[one].forward))
        for one in ends
    )
    moved: Matrix = (((1 - share) * first + share * second) @ begun)[:3]
    return moved


def _move(before: Matrix, after: Matrix) -> Matrix:
    """Return the affine map of space, shape (4, 4), that takes one plane to another.

    What lies off the plane stays at right angles to it, as far off as before.
    """
    spaces = []
    for forward in (before, after):
        normal = np.cross(forward[:, 0], forward[:, 1])
        normal /= np.linalg.norm(normal)
        space = np.eye(4)
        space[:3] = np.column_stack((forward[:, :2], normal, forward[:, 2]))
        spaces.append(space)
    moved: Matrix = spaces[1] @ np.linalg.inv(spaces[0])
    return moved


def fit_of(
    place: Place,
    state: SectionState,
    origin: Origin,
    curve: Deformation | None,
    start: Origin,
) -> SectionFit:
    """Return a section as a registration has it.

    Parameters
    ----------
    place : Place
        Its record.
    state : SectionState
        As it is.
    origin : Origin
        What it began from.
    curve : Deformation or None
        The deformation of its origin.
    start : Origin
        Where it lay when the work began.
    """
    section = place.section
    placement = place.placement(state, origin, curve)
    pixel = section.image.resolution if origin.fields is None else origin.fields.pixel_um
    by_hand = state.forward != origin.forward or state.markers != origin.markers
    steps, expected = origin.steps, origin.expected_error
    if by_hand:
        was = place.placement(
            SectionState(forward=origin.forward, origin=0, markers=origin.markers), origin, curve
        )
        own = state.status != "automatic"
        steps = (
            *steps,
            StepResult(
                step=HAND,
                kept=True,
                reason=_BY_HAND if own else _FOLLOWS,
                moved=round(farthest(section, was, placement), 1),
                before={},
                after={},
            ),
        )
        expected = None  # that was of the place where it lay
    fit = SectionFit.of(placement, section.number, steps, pixel=pixel, expected_error=expected)
    return msgspec.structs.replace(
        fit,
        status=state.status,
        note=state.note,
        start=start.forward if state.forward != start.forward else None,
    )


def farthest(section: PlacedSection, before: Placement, after: Placement) -> float:
    """Return the longest way, in µm, that a point of a grid over a section goes."""
    image = section.image
    xy = np.stack(
        np.meshgrid(np.linspace(0, image.width - 1, 9), np.linspace(0, image.height - 1, 9)), -1
    )
    off = after.to_reference(xy) - before.to_reference(xy)
    return float(np.linalg.norm(off, axis=-1).max())
