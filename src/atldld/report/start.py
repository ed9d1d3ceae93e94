"""Where sections lay before an alignment moved them, and how far they lie from there now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atldld.errors import AtldldError, InvalidInputError
from atldld.fetch.cache import sha256_of
from atldld.place.alignment import read_alignment
from atldld.place.registration import Registration
from atldld.place.sections import PlacedDataSet
from atldld.sections.metadata import is_plain
from atldld.support.text import shown

if TYPE_CHECKING:
    from atldld.place.alignment import AlignmentPath, Planes
    from atldld.place.sections import PlacedSection
    from atldld.records import SectionDataSet

__all__ = ["Move", "Start", "find_start", "move_between", "same_file"]

SERVICE = "the service’s alignment"

_ACROSS = 15  # places along each side of a picture at which a move is measured
_STILL = 0.05  # µm: less is the rounding of a file


@dataclass(frozen=True)
class Start:
    """A data set as it lay before.

    Attributes
    ----------
    dataset : PlacedDataSet
        Its sections.
    name : str
        What placed them, in words.
    note : str or None
        Why it is not the start that a registration names, if it is not.
    """

    dataset: PlacedDataSet
    name: str = SERVICE
    note: str | None = None

    def section(self, image_id: int) -> PlacedSection | None:
        """Return the section of an image, if it was placed at the start."""
        found = (section for section in self.dataset.sections if section.id == image_id)
        return next(found, None)


@dataclass(frozen=True, slots=True)
class Move:
    """How far a section has moved, over a grid of places of its picture.

    Attributes
    ----------
    median, most : float
        In µm.
    """

    median: float
    most: float

    @property
    def still(self) -> bool:
        """Whether it lies where it lay."""
        return self.most < _STILL


def find_start(planes: Planes, path: AlignmentPath, record: SectionDataSet) -> Start:
    """Return where sections lay before an alignment moved them.

    Parameters
    ----------
    planes : Alignment or Registration
        What has moved them. A registration names the file that it started from; it is looked for
        beside the registration and in the current folder, and must be the very same.
    path : str or pathlib.Path
        Where the alignment was read from.
    record : SectionDataSet
        The data set. What no file places at the start lies as the service has it.
    """
    named = planes.about.get("start") if isinstance(planes, Registration) else None
    if not isinstance(named, Mapping):
        return Start(PlacedDataSet.of(record))
    name = shown(str(named.get("file")))
    try:
        before = read_alignment(same_file(named, Path(path).parent))
        return Start(PlacedDataSet.of(record, before), name)
    except AtldldError as error:
        note = (
            f"The sections lay as {name} had it before they were refined. What is shown as before "
            f"is the service’s alignment instead: {error.message}"
        )
        return Start(PlacedDataSet.of(record), note=note)


def move_between(before: PlacedSection | None, now: PlacedSection) -> Move | None:
    """Return how far a section has moved; `None` if it was not placed before."""
    if before is None:
        return None
    sides = [np.linspace(0, size - 1, _ACROSS) for size in (now.image.width, now.image.height)]
    xy = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    off = np.linalg.norm(now.to_reference(xy) - before.to_reference(xy), axis=1)
    return Move(float(np.median(off)), float(off.max()))


def same_file(named: Mapping[str, Any], *beside: Path) -> Path:
    """Return the file that a description is of.

    Parameters
    ----------
    named : mapping
        With its ``file`` and ``sha256``.
    *beside : pathlib.Path
        Folders in which it may lie; it may lie in the current one too.

    Raises
    ------
    InvalidInputError
        If it is not there, or is another by now.
    """
    name = str(named.get("file"))
    # the name stands in a file that anyone may have edited: it must not lead elsewhere
    places = [folder / name for folder in (*beside, Path())] if is_plain(name) else []
    there = [place for place in places if place.is_file()]
    for place in there:
        try:
            if sha256_of(place) == named.get("sha256"):
                return place
        except OSError:
            continue
    what = "has changed since" if there else "is not there"
    raise InvalidInputError(f"{shown(name)} {what}, beside the registration or in this folder.")
