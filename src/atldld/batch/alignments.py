"""The alignments of many data sets: which file is whose, by the data set's id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atldld.errors import InvalidInputError, MissingFileError
from atldld.place.alignment import AlignmentPath, ConfirmedOnly

__all__ = ["Alignments"]

_ID = "{id}"


@dataclass(frozen=True, slots=True)
class Alignments:
    """Alignments of data sets, in a folder or by a pattern of names.

    Attributes
    ----------
    where : str
        A folder with ``<id>.json`` or ``<id>/<id>.json``, as `atldld refine --datasets` writes
        them, or a name that holds ``{id}``.
    confirmed : bool
        Whether only sections count that people have confirmed.
    """

    where: str
    confirmed: bool = False

    def check(self) -> None:
        """Check that it can be meant for many data sets.

        Raises
        ------
        InvalidInputError
            If it is neither a folder nor a pattern.
        """
        if _ID not in self.where and not Path(self.where).is_dir():
            raise InvalidInputError(
                f"{self.where} is neither a folder nor a name with {_ID} in it, so it cannot be "
                "the alignments of many data sets.",
                hint=f"Give the folder that `atldld refine --datasets` wrote, or a pattern such as "
                f"planes/{_ID}.json.",
            )

    def read_from(self, dataset_id: int) -> AlignmentPath:
        """Return what to read of a data set: its file, or the confirmed sections of it alone."""
        place = self.of(dataset_id)
        return ConfirmedOnly(place) if self.confirmed else place

    def of(self, dataset_id: int) -> Path:
        """Return the file of a data set.

        Parameters
        ----------
        dataset_id : int
            Its id.

        Raises
        ------
        MissingFileError
            If there is none.
        """
        name = f"{dataset_id}.json"
        if _ID in self.where:
            places = [Path(self.where.replace(_ID, str(dataset_id)))]
        else:
            places = [Path(self.where) / name, Path(self.where) / str(dataset_id) / name]
        for place in places:
            if place.is_file():
                return place
        raise MissingFileError(
            f"There is no alignment of section data set {dataset_id}: "
            f"{' and '.join(map(str, places))} {'are' if len(places) > 1 else 'is'} not there.",
            dataset_id=dataset_id,
            hint="Make it with `atldld refine`, or take the data set from the list.",
        )
