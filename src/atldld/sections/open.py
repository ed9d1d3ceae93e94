"""A data set of the service with its sections placed, and what is strange about them said."""

from __future__ import annotations

import warnings
from pathlib import Path

from atldld.errors import AlignmentFileWarning, MissingAlignmentWarning
from atldld.fetch.session import Session
from atldld.place.alignment import read_alignment
from atldld.place.sections import PlacedDataSet
from atldld.support.fields import CHANGED

__all__ = ["place_dataset", "report_oddities"]


def place_dataset(
    dataset_id: int | str,
    session: Session,
    *,
    refresh: bool = False,
    alignment: str | Path | None = None,
) -> PlacedDataSet:
    """Fetch the records of a data set and place its sections; see `atldld.open_dataset`.

    Parameters
    ----------
    dataset_id : int
        The id of the section data set.
    session : Session
        Where to ask.
    refresh : bool
        Ask the service even if the metadata is in the cache.
    alignment : str or pathlib.Path, optional
        A JSON of QuickNII, VisuAlign or DeepSlice to be used in place of the service's alignment.
    """
    planes = None if alignment is None else read_alignment(alignment)
    placed = PlacedDataSet.of(session.dataset(dataset_id, refresh=refresh), planes)
    report_oddities(placed, session)
    return placed


def report_oddities(placed: PlacedDataSet, session: Session) -> None:
    """Warn of strange planes, and of images that are left out because none is known.

    Parameters
    ----------
    placed : PlacedDataSet
        The data set.
    session : Session
        Keeps what concerns the service; see `Session.report`.
    """
    for note in placed.alignment_notes:
        warnings.warn(note, AlignmentFileWarning, stacklevel=4)
    if placed.unplaced:
        session.report(
            MissingAlignmentWarning(
                f"{len(placed.unplaced)} images of data set {placed.id} are left out: "
                + "; ".join(f"{image.image_id}: {image.reason}" for image in placed.unplaced)
                + f". {CHANGED}"
            )
        )
