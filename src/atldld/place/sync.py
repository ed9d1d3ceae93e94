"""The service's synchronisation calls, computed locally and for any number of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.errors import AlignmentMissingError
from atldld.place.placement import REFERENCE_FRAME, Placement
from atldld.records import SectionDataSet
from atldld.spaces import between_spaces, check_points

__all__ = ["ImagePoints", "reference_to_image"]


@dataclass(frozen=True, slots=True, eq=False)
class ImagePoints:
    """Points on the sections of one data set.

    Attributes
    ----------
    image_ids : numpy.ndarray, shape (N,), int64
        The section images.
    section_numbers : numpy.ndarray, shape (N,), int64
        Their section numbers.
    xy : numpy.ndarray, shape (N, 2), float64
        (x, y) in full-resolution pixels of each section's own box, origin upper left.
    distance : numpy.ndarray, shape (N,), float64
        How far each point lies from the section across it, in µm of the volume frame, positive
        towards growing section numbers.
    """

    image_ids: NDArray[np.int64]
    section_numbers: NDArray[np.int64]
    xy: NDArray[np.float64]
    distance: NDArray[np.float64]


def reference_to_image(
    dataset: SectionDataSet, pir: ArrayLike, *, space: int | None = None
) -> ImagePoints:
    """Find reference points on the nearest sections of a data set.

    This is the service's ``reference_to_image``: the nearest existing section is taken, however
    far it is, and the point is projected onto it along the volume's third axis.

    Parameters
    ----------
    dataset : SectionDataSet
        With its images.
    pir : array-like, shape (N, 3)
        (p, i, r) in µm.
    space : int, optional
        Id of the reference space of the coordinates; the data set's own by default. Between 9 and
        10 left and right are mirrored, as the service does.

    Returns
    -------
    ImagePoints

    Raises
    ------
    AlignmentMissingError
        The data set, or every image of it, has no alignment.
    InvalidInputError
        Another shape, coordinates that are not finite, or spaces that do not correspond.
    """
    points = np.atleast_2d(check_points(pir, 3, REFERENCE_FRAME))
    points = between_spaces(points, space, dataset.reference_space_id)
    _, thickness = dataset.check_alignment()
    images = [image for image in dataset.images if image.alignment2d is not None]
    if not images:
        raise AlignmentMissingError(
            f"No image of section data set {dataset.id} has an alignment2d.",
            dataset_id=dataset.id,
        )
    placements = [Placement.of(dataset, image) for image in images]
    numbers = np.array([image.section_number for image in images])
    at = placements[0].section_numbers(points)
    nearest = _nearest(numbers, at)
    xy = np.empty((len(points), 2))
    for index in np.unique(nearest):
        chosen = nearest == index
        xy[chosen] = placements[index].to_image(points[chosen])
    return ImagePoints(
        np.array([image.id for image in images])[nearest],
        numbers[nearest],
        xy,
        (at - numbers[nearest]) * thickness,
    )


def _nearest(numbers: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of the number nearest to each value; numbers are sorted."""
    above = np.clip(np.searchsorted(numbers, at), 1, max(len(numbers) - 1, 1))
    if len(numbers) == 1:
        return np.zeros(len(at), dtype=np.int64)
    below = above - 1
    nearer_below = at - numbers[below] <= numbers[above] - at
    return np.where(nearer_below, below, above).astype(np.int64)
