"""The service's six synchronisation calls, computed locally and for any number of points.

========================  ==========================================================================
`image_to_reference`      pixels → brain: ``tsv``, then ``tvr``
`reference_to_image`      brain → the nearest section's pixels: ``trv``, choice, ``tvs``
`image_to_image`          the two after each other, from one data set to another; between reference
                          spaces 9 and 10 left and right are mirrored, here and nowhere else
`image_to_image_2d`       ``tsv`` of one image, then ``tvs`` of another one of the same specimen
`structure_to_image`      the structure's centre, as a reference point
`image_to_atlas`          `image_to_image` to the plates of an atlas
========================  ==========================================================================

The formulas are those of `atldld.place.placement`; the recorded answers of the service agree with
them to the last digits. Where the service silently answers a point far from every section with the
nearest one, these functions warn, and can leave such points out or refuse them.

With an alignment, sections lie where that has them, each with a plane and a deformation of its own;
those that it lacks lie where the service has them. How deep a point lies is then a question to each
section: it lies (n − own number) · t from a section on whose way back it has the fractional section
number n, and the section from which that is least is the nearest one. On a section's own plane it
is 0, and it grows by t from there to the next, as with the service's alignment, for which all
sections give the same answer. So the distance is counted in section numbers either way.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.errors import ClampedSectionWarning, InvalidInputError
from atldld.place.affine import apply_affine, in_blocks
from atldld.place.placement import IMAGE_FRAME, REFERENCE_FRAME, Placement
from atldld.place.spaces import BLOCK, ReferenceSpace, between_spaces, check_points
from atldld.records import LARGEST_ID, LARGEST_SHIFT, SectionDataSet, SectionImage
from atldld.support.arguments import check_id, check_ids, check_number, plain, several
from atldld.support.fields import UnusableFieldError, number, whole

if TYPE_CHECKING:
    from atldld.place.alignment import Planes

__all__ = [
    "Aligned",
    "Beyond",
    "ImagePoints",
    "ReferencePoints",
    "StructureCenter",
    "image_to_atlas",
    "image_to_image",
    "image_to_image_2d",
    "image_to_reference",
    "reference_to_image",
    "structure_to_image",
]

Beyond = Literal["warn", "ignore", "mask", "raise"]
"""What happens to points that lie too far from the nearest section; see `reference_to_image`."""

NO_IMAGE = -1

Aligned: TypeAlias = "Planes | Mapping[int, Placement] | str | Path"
"""Where sections lie in place of the service's alignment: what `read_alignment` returns, the file
that it takes, or placements by image id."""


@dataclass(frozen=True, slots=True, eq=False)
class ImagePoints:
    """Points on the sections of one data set.

    Attributes
    ----------
    image_ids : numpy.ndarray, shape (N,), int64
        The section images; -1 where there is no answer.
    section_numbers : numpy.ndarray, shape (N,), int64
        Their section numbers; -1 where there is no answer.
    xy : numpy.ndarray, shape (N, 2), float64
        (x, y) in full-resolution pixels of each section's own box, origin upper left; NaN where
        there is no answer.
    distance : numpy.ndarray, shape (N,), float64
        How far each point lies from the nearest section across it, in µm of the volume frame,
        positive towards growing section numbers. It stands for points without an answer too, if
        they were too far.
    """

    image_ids: NDArray[np.int64]
    section_numbers: NDArray[np.int64]
    xy: NDArray[np.float64]
    distance: NDArray[np.float64]

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which points have an answer, shape (N,)."""
        return np.not_equal(self.image_ids, NO_IMAGE)

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True, slots=True, eq=False)
class ReferencePoints:
    """Points in a reference space.

    Attributes
    ----------
    pir : numpy.ndarray, shape (N, 3), float64
        (p, i, r) in µm.
    space : int or None
        Id of the reference space: the data set's own.
    """

    pir: NDArray[np.float64]
    space: int | None

    def __len__(self) -> int:
        return len(self.pir)


@dataclass(frozen=True, slots=True)
class StructureCenter:
    """The service's record of where the centre of a structure lies.

    Parameters
    ----------
    structure_id : int
        The structure.
    x, y, z : float
        p, i and r in µm.
    reference_space_id : int
        Of these coordinates.
    """

    structure_id: int
    x: float
    y: float
    z: float
    reference_space_id: int

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> StructureCenter:
        """Read a StructureCenter record as an RMA query returns it.

        Raises
        ------
        InvalidInputError
            If a column is missing, of the wrong type, or larger than any brain.
        """
        try:
            return cls(
                structure_id=whole(record, "structure_id", 0, LARGEST_ID, needed=True) or 0,
                reference_space_id=whole(record, "reference_space_id", 0, LARGEST_ID, needed=True)
                or 0,
                **{
                    axis: number(record, axis, -LARGEST_SHIFT, LARGEST_SHIFT, needed=True) or 0.0
                    for axis in ("x", "y", "z")
                },
            )
        except UnusableFieldError as error:
            raise InvalidInputError(f"This is no StructureCenter record: {error}.") from None


def image_to_reference(
    dataset: SectionDataSet,
    image_ids: ArrayLike,
    xy: ArrayLike,
    *,
    alignment: Aligned | None = None,
) -> ReferencePoints:
    """Map pixels of a data set's images to the brain: the service's ``image_to_reference``.

    ``[vx, vy] = tsv @ [x, y, 1]``, ``[p, i, r] = tvr @ [vx, vy, n · t, 1]`` with the section
    number n and the thickness t; in float64, with no half-pixel shift and no flip. Points outside
    the image are fine.

    Parameters
    ----------
    dataset : SectionDataSet
        With its images.
    image_ids : int or array-like of int, shape (N,)
        The image of all points, or of each.
    xy : array-like, shape (N, 2)
        (x, y) in full-resolution pixels of each section's own box, origin upper left, whatever
        tier is shown.
    alignment : Alignment, Registration, str, pathlib.Path or mapping, optional
        Where sections lie in place of the service's alignment: what
        `~atldld.place.alignment.read_alignment` returns, the file that it takes, or placements by
        image id. Images that it lacks keep the service's.

    Returns
    -------
    ReferencePoints
        In the data set's own reference space, or, with an alignment, in that of the alignment.
        Only the result itself takes memory.

    Raises
    ------
    InvalidInputError
        If the points have another shape or are not finite, an image does not belong to the data
        set, or the alignment cannot be read or is of another one.
    AlignmentMissingError
        If the data set or one of the images has no alignment.

    Examples
    --------
    >>> import atldld
    >>> ds = atldld.open_dataset(69289763)
    >>> atldld.image_to_reference(ds.record, 69177654, [[6384, 2744]]).pir.round()
    array([[8052., 2890., 3346.]])
    """
    points = np.atleast_2d(check_points(xy, 2, IMAGE_FRAME))
    _check_list(points, "(x, y)")
    ids = _ids(image_ids, "image_ids")
    given = _given(dataset, alignment)
    if np.ndim(ids_given := plain(image_ids)) == 0 and not isinstance(ids_given, Iterator):
        image = _image(dataset, int(ids[0]))
        placement = given.get(image.id) or Placement.of(dataset, image)
        if placement.deformation is not None:
            points = placement.deformation.to_flat(points)
        pir = apply_affine(placement.forward, points)
    else:
        if len(ids) != len(points):
            raise InvalidInputError(
                f"There are {len(ids)} image_ids for {len(points)} points, but must be one, or "
                "one for each."
            )
        pir = _each_to_reference(dataset, ids, points, given)
    return ReferencePoints(pir, dataset.reference_space_id)


def reference_to_image(
    dataset: SectionDataSet,
    pir: ArrayLike | ReferencePoints,
    *,
    space: int | None = None,
    max_distance: float | None = None,
    beyond: Beyond | None = None,
    alignment: Aligned | None = None,
) -> ImagePoints:
    """Find reference points on the nearest sections of a data set.

    This is the service's ``reference_to_image``: ``[vx, vy, s] = trv @ [p, i, r, 1]``, the section
    whose number is nearest to s / t is taken, however far it is, and ``[x, y] = tvs @ [vx, vy, 1]``
    with its own ``tvs``. So the point is projected along the volume's third axis.

    Parameters
    ----------
    dataset : SectionDataSet
        With its images.
    pir : array-like, shape (N, 3), or ReferencePoints
        (p, i, r) in µm. `ReferencePoints` say themselves which space they are of.
    space : int, optional
        Id of the reference space of the coordinates; the data set's own by default. Between 9 and
        10 left and right are mirrored, as the service does.
    max_distance : float, optional
        How far from its section a point may lie, in µm. By default half the local spacing of the
        sections: beyond the first and the last section, and where sections are missing, points
        lie further. (Half a section's thickness is allowed on top, as cutting is not regular.)
    beyond : {"warn", "ignore", "mask", "raise"}, optional
        What happens to points beyond that: the service's answer with a `ClampedSectionWarning`
        (the default without `max_distance`) or in silence, no answer (the default with
        `max_distance`: image -1, coordinates NaN), or an error.
    alignment : optional
        Where the data set's sections lie; see `image_to_reference`. The module says which of them
        is the nearest then.

    Returns
    -------
    ImagePoints

    Warns
    -----
    ClampedSectionWarning
        If points lie far from the sections that they were put on.

    Raises
    ------
    AlignmentMissingError
        If the data set, or every image of it, has no alignment.
    InvalidInputError
        If the points have another shape or are not finite, if the space is unknown, if the spaces
        do not correspond, or, with a largest distance, if points are too far away.
    """
    if isinstance(pir, ReferencePoints):
        if space is not None and pir.space not in {None, space}:
            raise InvalidInputError(
                f"The points are of reference space {pir.space}, but space is {space}."
            )
        space = pir.space if space is None else space
        pir = pir.pir
    points = np.atleast_2d(check_points(pir, 3, REFERENCE_FRAME))
    _check_list(points, "(p, i, r)")
    return _reference_to_image(dataset, points, space, max_distance, beyond, alignment)


def image_to_image(
    source: SectionDataSet,
    image_ids: ArrayLike,
    xy: ArrayLike,
    target: SectionDataSet,
    *,
    max_distance: float | None = None,
    beyond: Beyond | None = None,
    alignment: Aligned | None = None,
    target_alignment: Aligned | None = None,
) -> ImagePoints:
    """Find pixels of one data set in another: the service's ``image_to_image``.

    `image_to_reference` with the one, `reference_to_image` with the other. If one is of reference
    space 9 and the other of 10, left and right are mirrored in between, so that sagittal sections,
    which are left ones, meet the right half of the coronal brain, as the service has it.

    Parameters
    ----------
    source, target : SectionDataSet
        With their images.
    image_ids : int or array-like of int, shape (N,)
        Images of the source: that of all points, or of each.
    xy : array-like, shape (N, 2)
        (x, y) in full-resolution pixels of the source's sections.
    max_distance, beyond
        See `reference_to_image`.
    alignment, target_alignment : optional
        Where the sections of the one and of the other lie; see `image_to_reference`. Within one
        data set the first serves for both.

    Returns
    -------
    ImagePoints
        On the target's sections.

    Warns
    -----
    ClampedSectionWarning
        If points lie far from the sections that they were put on.

    Raises
    ------
    AlignmentMissingError
        If one of the data sets has no alignment.
    InvalidInputError
        As for `image_to_reference` and `reference_to_image`.
    """
    found = image_to_reference(source, image_ids, xy, alignment=alignment)
    if target_alignment is None and target.id == source.id:
        target_alignment = alignment
    return _reference_to_image(
        target, found.pir, found.space, max_distance, beyond, target_alignment
    )


def image_to_image_2d(
    source: SectionDataSet,
    image_id: int,
    xy: ArrayLike,
    target: SectionDataSet,
    target_image_id: int,
    *,
    alignment: Aligned | None = None,
    target_alignment: Aligned | None = None,
) -> ImagePoints:
    """Find pixels of one image in another of the same specimen, ignoring the third dimension.

    The service's ``image_to_image_2d``: ``tsv`` of the one image, then ``tvs`` of the other. Both
    lead through the plane of the volume, which images of one specimen share.

    With an alignment there is no such plane: the pixel is led to the reference space by the one
    image's placement and back by the other's, which drops the distance. Without, that is the same.

    Parameters
    ----------
    source, target : SectionDataSet
        The data sets of the two images; usually the same one.
    image_id, target_image_id : int
        The images.
    xy : array-like, shape (N, 2)
        (x, y) in full-resolution pixels of the source image.
    alignment, target_alignment : optional
        Where the sections of the one and of the other data set lie; see `image_to_image`.

    Returns
    -------
    ImagePoints
        On the target image; the distance is that of the source's section from it.

    Raises
    ------
    InvalidInputError
        If the data sets are of different specimens or a specimen is not recorded, if an image does
        not belong to its data set, or if the points have another shape or are not finite.
    AlignmentMissingError
        If one of the images has no alignment2d.
    """
    points = np.atleast_2d(check_points(xy, 2, IMAGE_FRAME))
    _check_list(points, "(x, y)")
    if source.id != target.id:
        names = source.specimen_name, target.specimen_name
        if None in names or names[0] != names[1]:
            raise InvalidInputError(
                f"Section data sets {source.id} and {target.id} are "
                + (
                    "not known to be of one specimen"
                    if None in names
                    else f"of different specimens, {names[0]} and {names[1]}"
                )
                + "; only images of one specimen share a volume.",
                hint="Across specimens use image_to_image, which goes through the reference space.",
            )
    source_image, target_image = _image(source, image_id), _image(target, target_image_id)
    if target_alignment is None and target.id == source.id:
        target_alignment = alignment
    if alignment is None and target_alignment is None:
        there = source_image.check_alignment().to_volume
        back = target_image.check_alignment().to_image
        xy_there = apply_affine(back, apply_affine(there, points))
    else:
        first = _given(source, alignment).get(source_image.id)
        second = _given(target, target_alignment).get(target_image.id)
        pir = (first or Placement.of(source, source_image)).to_reference(points)
        xy_there = (second or Placement.of(target, target_image)).to_image(pir)
    count = len(points)
    # sections of data sets without a thickness can be matched, but not how far they are apart
    apart = source_image.section_number * (
        source.section_thickness or np.nan
    ) - target_image.section_number * (target.section_thickness or np.nan)
    return ImagePoints(
        np.full(count, target_image.id, dtype=np.int64),
        np.full(count, target_image.section_number, dtype=np.int64),
        xy_there,
        np.full(count, apart, dtype=np.float64),
    )


def structure_to_image(
    dataset: SectionDataSet,
    structure_ids: Sequence[int],
    centers: Iterable[StructureCenter],
    *,
    max_distance: float | None = None,
    beyond: Beyond | None = None,
    alignment: Aligned | None = None,
) -> ImagePoints:
    """Find the centres of structures on the sections of a data set.

    The service's ``structure_to_image``: the structure's centre in the data set's own reference
    space, then `reference_to_image`.

    Parameters
    ----------
    dataset : SectionDataSet
        With its images.
    structure_ids : sequence of int
        The structures.
    centers : iterable of StructureCenter
        Those of other structures and spaces are passed over; of several for one structure the
        first counts.
    max_distance, beyond, alignment
        See `reference_to_image`.

    Returns
    -------
    ImagePoints
        In the order of `structure_ids`; a structure without a centre in that space has no answer.

    Warns
    -----
    ClampedSectionWarning
        If centres lie far from the sections that they were put on.

    Raises
    ------
    AlignmentMissingError
        If the data set, or every image of it, has no alignment.
    InvalidInputError
        If the data set has no reference space, or `structure_ids` holds anything but ids.
    """
    space = dataset.reference_space_id
    if space is None:
        raise InvalidInputError(
            f"Section data set {dataset.id} has no reference_space_id, so it is not known which "
            "structure centres are meant.",
            dataset_id=dataset.id,
        )
    wanted = _ids(structure_ids, "structure_ids")
    known: dict[int, StructureCenter] = {}
    for center in centers:
        if center.reference_space_id == space:
            known.setdefault(center.structure_id, center)
    has_center = np.array([structure_id in known for structure_id in wanted.tolist()], dtype=bool)
    found = [known[structure_id] for structure_id in wanted[has_center].tolist()]
    points = check_points(
        np.array([(record.x, record.y, record.z) for record in found]).reshape(-1, 3),
        3,
        REFERENCE_FRAME,
    )
    nearest = _reference_to_image(dataset, points, space, max_distance, beyond, alignment)
    every = _unanswered(len(wanted))
    every.image_ids[has_center] = nearest.image_ids
    every.section_numbers[has_center] = nearest.section_numbers
    every.xy[has_center] = nearest.xy
    every.distance[has_center] = nearest.distance
    return every


def image_to_atlas(
    source: SectionDataSet,
    image_ids: ArrayLike,
    xy: ArrayLike,
    atlas: SectionDataSet,
    plates: Iterable[SectionImage] | None = None,
    *,
    max_distance: float | None = None,
    beyond: Beyond | None = None,
    alignment: Aligned | None = None,
) -> ImagePoints:
    """Find pixels on the plates of an atlas: the service's ``image_to_atlas``.

    Plates are AtlasImages, which are the same kind of records as section images: they belong to a
    data set with an ``alignment3d`` and have an ``alignment2d`` each. So this is `image_to_image`
    to the atlas's data set, among its plates.

    Parameters
    ----------
    source : SectionDataSet
        With its images.
    image_ids : int or array-like of int, shape (N,)
        Images of the source: that of all points, or of each.
    xy : array-like, shape (N, 2)
        (x, y) in full-resolution pixels of the source's sections.
    atlas : SectionDataSet
        The atlas's data set, such as 100048576 of the adult coronal atlas.
    plates : iterable of SectionImage, optional
        Its AtlasImages to choose from, such as the annotated ones; all images of `atlas` by
        default.
    max_distance, beyond
        See `reference_to_image`.
    alignment : optional
        Where the source's sections lie; see `image_to_reference`. Plates lie where the service has
        them.

    Returns
    -------
    ImagePoints
        On the plates.

    Warns
    -----
    ClampedSectionWarning
        If points lie far from the plates that they were put on.

    Raises
    ------
    AlignmentMissingError, InvalidInputError
        As for `image_to_image`.
    """
    if plates is not None:
        chosen = tuple(sorted(plates, key=lambda image: image.section_number))
        strangers = [image.id for image in chosen if image.data_set_id not in {None, atlas.id}]
        if strangers:
            raise InvalidInputError(
                f"Plate {strangers[0]} does not belong to the atlas's data set {atlas.id}.",
                dataset_id=atlas.id,
                image_id=strangers[0],
            )
        atlas = msgspec.structs.replace(atlas, images=chosen)
    found = image_to_reference(source, image_ids, xy, alignment=alignment)
    return _reference_to_image(atlas, found.pir, found.space, max_distance, beyond)


# ---- the choice of the section


def _reference_to_image(
    dataset: SectionDataSet,
    points: NDArray[np.float64],
    space: int | None,
    max_distance: float | None,
    beyond: Beyond | None,
    alignment: Aligned | None = None,
) -> ImagePoints:
    """Do what `reference_to_image` says, with checked points; called by a public function."""
    if beyond is None:
        beyond = "warn" if max_distance is None else "mask"
    if beyond not in {"warn", "ignore", "mask", "raise"}:
        raise InvalidInputError(
            f"beyond is {beyond!r}, but must be 'warn', 'ignore', 'mask' or 'raise'."
        )
    # infinity is fine: no point is too far then
    if max_distance is not None and plain(max_distance) != np.inf:
        max_distance = check_number(max_distance, "max_distance", least=0, unit="µm")
    if space is not None:
        space = ReferenceSpace.of(space).id
    # complains, even about no points, of spaces that do not correspond
    between_spaces(points[:0], space, dataset.reference_space_id)
    given = _given(dataset, alignment)
    _, thickness = dataset.check_alignment()
    images = tuple(
        image for image in dataset.images if image.alignment2d is not None or image.id in given
    )
    if not images:
        dataset.aligned_images()  # complains
    placements = [given.get(image.id) or Placement.of(dataset, image) for image in images]
    numbers = np.array([image.section_number for image in images], dtype=np.int64)
    ids = np.array([image.id for image in images], dtype=np.int64)
    limits = (
        _half_spacings(numbers) * thickness
        if max_distance is None
        else np.full(len(images), float(max_distance))
    )
    # How deep a point lies in the volume is the same for every section, unless they are given.
    depths = np.stack([one.backward[2] for one in (placements if given else placements[:1])])
    bending = [None if one.deformation is None else one.deformation.to_image for one in placements]
    tables = _tables([placement.backward[:2] for placement in placements])

    out = _unanswered(len(points))
    far, furthest = 0, 0.0
    for part in _blocks(len(points)):
        block = between_spaces(points[part], space, dataset.reference_space_id)
        at = apply_affine(depths, block)
        if given:
            at -= numbers
            nearest = np.abs(at).argmin(axis=1)
            distance = at[np.arange(len(at)), nearest] * thickness
        else:
            nearest = _nearest(numbers, at[:, 0])
            distance = (at[:, 0] - numbers[nearest]) * thickness
        out.image_ids[part] = ids[nearest]
        out.section_numbers[part] = numbers[nearest]
        flat = _map_each(tables, nearest, block, np.empty((len(block), 2)))
        out.xy[part] = _bend_each(bending, nearest, flat)
        out.distance[part] = distance
        too_far = np.abs(distance) > limits[nearest]
        if beyond != "ignore" and too_far.any():
            far += int(np.count_nonzero(too_far))
            furthest = max(furthest, float(np.abs(distance[too_far]).max()))
            if beyond == "mask":
                out.image_ids[part][too_far] = out.section_numbers[part][too_far] = NO_IMAGE
                out.xy[part][too_far] = np.nan
    if far and beyond != "mask":
        limit = "half the local spacing" if max_distance is None else f"{max_distance:g} µm"
        text = (
            f"{far} of {len(points)} points lie further than {limit} from the nearest section of "
            f"data set {dataset.id}, the furthest {furthest:.0f} µm"
        )
        if beyond == "raise":
            raise InvalidInputError(f"{text}.", dataset_id=dataset.id)
        warnings.warn(
            f"{text}; they were put on that section all the same.",
            ClampedSectionWarning,
            stacklevel=3,
        )
    return out


def _half_spacings(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return half the usual gap about each section, in section numbers.

    It is the median of the two gaps on either side, so that one missing section does not pass for
    a wide spacing. Half a number is added, as gaps vary by a section or so in the cutting.
    """
    distinct = np.unique(numbers)
    gaps = np.diff(distinct)
    if not len(gaps):
        return np.ones(len(numbers))
    usual = np.array([np.median(gaps[max(k - 2, 0) : k + 2]) for k in range(len(distinct))])
    half: NDArray[np.float64] = usual[np.searchsorted(distinct, numbers)] / 2 + 0.5
    return half


def _nearest(numbers: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of the number nearest to each value; numbers are sorted."""
    above = np.clip(np.searchsorted(numbers, at), 1, max(len(numbers) - 1, 1))
    if len(numbers) == 1:
        return np.zeros(len(at), dtype=np.int64)
    below = above - 1
    nearer_below = at - numbers[below] <= numbers[above] - at
    return np.where(nearer_below, below, above).astype(np.int64)


def _unanswered(count: int) -> ImagePoints:
    return ImagePoints(
        np.full(count, NO_IMAGE, dtype=np.int64),
        np.full(count, NO_IMAGE, dtype=np.int64),
        np.full((count, 2), np.nan),
        np.full(count, np.nan),
    )


# ---- many points, each with its own matrix


def _given(dataset: SectionDataSet, alignment: Aligned | None) -> Mapping[int, Placement]:
    """Return the placements of an alignment, by image id."""
    if alignment is None:
        return {}
    if isinstance(alignment, Mapping):
        return alignment
    if isinstance(alignment, str | Path):
        from atldld.place.alignment import read_alignment

        alignment = read_alignment(alignment)
    return alignment.placements(dataset)


def _each_to_reference(
    dataset: SectionDataSet,
    ids: NDArray[np.int64],
    points: NDArray[np.float64],
    given: Mapping[int, Placement],
) -> NDArray[np.float64]:
    """Map points of several images; ids of shape (N,), points of shape (N, 2)."""
    if not given:
        dataset.check_alignment()
    if not len(ids):
        return np.empty((0, 3))
    if not dataset.images:
        _image(dataset, int(ids[0]))  # complains
    images = sorted(dataset.images, key=lambda image: image.id)
    placements = [
        given.get(image.id) or (None if image.alignment2d is None else Placement.of(dataset, image))
        for image in images
    ]
    placed = np.array([one is not None for one in placements], dtype=bool)
    tables = _tables([np.zeros((3, 3)) if one is None else one.forward for one in placements])
    bending = [
        None if one is None or one.deformation is None else one.deformation.to_flat
        for one in placements
    ]
    known = np.array([image.id for image in images], dtype=np.int64)
    # coordinates that come as columns also go as columns
    order: Literal["C", "F"] = "C" if points.flags.c_contiguous else "F"
    pir = np.empty((len(points), 3), order=order)

    def work(part: slice) -> None:
        block = ids[part]
        index = np.searchsorted(known[:-1], block)  # at most the last one's
        strange = known[index] != block
        if strange.any():
            _image(dataset, int(block[strange][0]))  # complains
        unplaced = ~placed[index]
        if unplaced.any():
            images[int(index[unplaced][0])].check_alignment()  # complains
        _map_each(tables, index, _bend_each(bending, index, points[part]), pir[part])

    in_blocks(len(points), work)
    return pir


def _blocks(count: int) -> Iterable[slice]:
    return (slice(start, start + BLOCK) for start in range(0, count, BLOCK))


def _tables(matrices: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return K matrices of shape (m, n + 1) entry by entry, as an array of shape (m, n + 1, K)."""
    return np.ascontiguousarray(np.moveaxis(np.stack(matrices), 0, 2))


def _map_each(
    tables: NDArray[np.float64],
    index: NDArray[np.int64],
    points: NDArray[np.float64],
    out: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Map each point by its own matrix, one of `_tables`, (N, n) → (N, m), into `out`."""
    total, term = np.empty((2, len(index)))
    # coordinate by coordinate: NumPy takes rows of two or three numbers one after the other
    for column, (*linear, shift) in zip(out.T, tables, strict=True):
        # no index is clipped: unlike the other modes, this one needs no copy
        np.take(shift, index, out=total, mode="clip")
        for entries, coordinate in zip(linear, points.T, strict=True):
            np.take(entries, index, out=term, mode="clip")
            term *= coordinate
            total += term
        column[:] = total
    return out


def _bend_each(
    ways: Sequence[Callable[[ArrayLike], NDArray[np.float64]] | None],
    index: NDArray[np.int64],
    points: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Lead each point through the way of its own section, if that has one; (N, 2) → (N, 2)."""
    if not any(ways):
        return points
    out = points.copy()
    order = np.argsort(index, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(index[order])) + 1):
        way = ways[index[group[0]]] if len(group) else None
        if way is not None:
            out[group] = way(points[group])
    return out


# ---- looking at what was passed


def _check_list(points: NDArray[np.float64], what: str) -> None:
    if points.ndim != 2:
        raise InvalidInputError(
            f"Coordinates have shape {points.shape}, but must be one list of points {what}, of "
            f"shape (N, {points.shape[-1]})."
        )


def _ids(values: Any, what: str) -> NDArray[np.int64]:
    array = np.asarray(values if hasattr(values, "__array__") else several(values))
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind in "OUf" and array.ndim < 2:
        try:  # such as a column of a table with texts, or with numbers that are floats
            array = np.array(check_ids(array, "section image"), dtype=np.int64)
        except InvalidInputError:
            array = np.empty((0, 0))
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise InvalidInputError(f"{what} must be whole numbers, one or a list of them.")
    return np.atleast_1d(array).astype(np.int64, copy=False)


def _image(dataset: SectionDataSet, image_id: int) -> SectionImage:
    image_id = check_id(image_id, "section image")
    try:
        return dataset.image(image_id)
    except KeyError:
        raise InvalidInputError(
            f"Section data set {dataset.id} has no section image {image_id}.",
            dataset_id=dataset.id,
            image_id=image_id,
        ) from None
