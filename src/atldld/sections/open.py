"""A data set of the service with its sections placed, and what is strange about them said."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from atldld.errors import AlignmentFileWarning, MissingAlignmentWarning
from atldld.fetch.session import Session
from atldld.place.sections import LEFT_OUT, PlacedDataSet
from atldld.support.fields import CHANGED

if TYPE_CHECKING:
    from atldld.place.alignment import AlignmentPath, Planes

__all__ = ["place_dataset", "report_oddities"]


def place_dataset(
    dataset_id: int | str,
    session: Session,
    *,
    refresh: bool = False,
    alignment: AlignmentPath | None = None,
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
    planes: Planes | None = None
    if alignment is not None:
        from atldld.place.alignment import read_alignment

        planes = read_alignment(alignment)
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
    # what people have left out themselves is nothing that they must be warned of
    missing = [image for image in placed.unplaced if image.reason != LEFT_OUT]
    if missing:
        session.report(
            MissingAlignmentWarning(
                f"{len(missing)} images of data set {placed.id} are left out: "
                + "; ".join(f"{image.image_id}: {image.reason}" for image in missing)
                + f". {CHANGED}"
            )
        )
