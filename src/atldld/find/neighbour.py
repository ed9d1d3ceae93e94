"""The other data sets of a specimen, and how their sections lie between each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec

from atldld.errors import DatasetNotFoundError, NotFoundError, OfflineError, Remedy
from atldld.fetch.session import Session, check_id, default_session
from atldld.find.rows import FoundDataSet, Origin
from atldld.find.searches import search

__all__ = ["Neighbour", "neighbours"]


@dataclass(frozen=True)
class Neighbour:
    """A data set of a specimen, and which of the specimen's sections it has.

    Attributes
    ----------
    data_set : FoundDataSet
        The data set.
    numbers : tuple of int or None
        Its section numbers, sorted; `None` where its images are not known.
    """

    data_set: FoundDataSet
    numbers: tuple[int, ...] | None

    @property
    def step(self) -> int | None:
        """The commonest distance from one section to the next, in section numbers."""
        steps = [b - a for a, b in pairwise(self.numbers or ())]
        return Counter(steps).most_common(1)[0][0] if steps else None

    def to_record(self) -> dict[str, Any]:
        """Return the data set's fields and the section numbers as plain values."""
        numbers = None if self.numbers is None else list(self.numbers)
        return {**msgspec.to_builtins(self.data_set), "section_numbers": numbers}

    def offset(self, other: Neighbour) -> int | None:
        """Return by how many section numbers most sections lie behind the other set's nearest.

        Negative where they lie before; `None` where the images of either are not known.
        Times the section thickness it is the distance, in µm.
        """
        if not self.numbers or not other.numbers:
            return None
        nearest = [
            min((number - theirs for theirs in other.numbers), key=lambda d: (abs(d), d))
            for number in self.numbers
        ]
        return Counter(nearest).most_common(1)[0][0]


def neighbours(
    dataset_id: int | str,
    *,
    failed: bool = False,
    images: bool = True,
    live: bool = False,
    refresh: bool = False,
    session: Session | None = None,
) -> tuple[Neighbour, list[Neighbour], Origin]:
    """Find the other data sets of the same specimen: interleaved genes, Nissl stains.

    Parameters
    ----------
    dataset_id : int
        The id of a section data set.
    failed : bool
        Show also those that failed the quality control.
    images : bool
        Look up the section numbers too. Those that are neither in the catalogue nor in the cache
        are asked for; working offline they stay unknown.
    live, refresh, session : optional
        See `search`.

    Returns
    -------
    own : Neighbour
        The data set itself.
    others : list of Neighbour
        The other ones, by their first section and id.
    source : Origin
        What answered.

    Raises
    ------
    DatasetNotFoundError
        If there is no such data set.
    NotFoundError
        If its specimen is not known.
    """
    number = check_id(dataset_id, "section data set")
    session = session or default_session()
    asked: dict[str, Any] = {"session": session, "live": live, "refresh": refresh}
    found = search(id=number, failed=True, **asked)
    own = found.first()
    if own is None:
        raise DatasetNotFoundError(
            f"There is no section data set {number}.",
            dataset_id=number,
            hint=f"If it is newer than the catalogue, add {Remedy.LIVE} or update the catalogue.",
        )
    if own.specimen_id is None:
        raise NotFoundError(
            f"The specimen of section data set {number} is not known.", dataset_id=number
        )
    same = search(specimen=own.specimen_id, failed=failed, **asked)
    sets = [own, *(found for found in same if found.id != number)]
    numbers: dict[int, list[int]] = {}
    if images:
        try:
            pictures = search(
                "image", dataset=[data_set.id for data_set in sets], failed=True, **asked
            )
            for image in pictures:
                numbers.setdefault(image.data_set_id, []).append(image.section_number)
        except OfflineError:
            numbers = _kept_numbers(session, [data_set.id for data_set in sets])
    first, *others = (Neighbour(data_set, _sorted(numbers.get(data_set.id))) for data_set in sets)
    others.sort(key=lambda other: (other.numbers or (1 << 62,), other.data_set.id))
    return first, others, same.source


def _sorted(numbers: Iterable[int] | None) -> tuple[int, ...] | None:
    return None if numbers is None else tuple(sorted(set(numbers)))


def _kept_numbers(session: Session, ids: Sequence[int]) -> dict[int, list[int]]:
    """Return the section numbers of the data sets whose metadata are in the cache."""
    found = {}
    for number in ids:
        document = session.cache.read_document("datasets", str(number)) or {}
        images = document.get("section_images")
        if isinstance(images, list):
            found[number] = [image["section_number"] for image in images if image]
    return found
