"""Tables of points: which columns mean what, and where the points are, in columns beside them.

Pixels are the columns ``image_id``, ``x`` and ``y`` (or ``x_px``, ``y_px``): full-resolution pixels
of the section's own box. Points of the brain are ``p_um``, ``i_um``, ``r_um`` (or ``p_mm``, …), in
the reference space that the column ``reference_space_id`` names. What other columns say is
followed, or the row has no answer; it is never passed over. How points are found is said in
`atldld.place.points`.

An alignment is of one data set. Where the images of a table are of several, it places those that it
is of, and the service's alignment the others; an alignment of none of them is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from atldld.errors import (
    AnswerError,
    InvalidInputError,
    NotFoundError,
    Remedy,
    SkippedImageWarning,
)
from atldld.place import points as place
from atldld.place.coordinates import SERVICE, short_of
from atldld.place.placement import Placement
from atldld.place.points import ImagePoints, StructureCenter
from atldld.place.refinement import Refinement
from atldld.place.registration import Registration
from atldld.records import SectionDataSet
from atldld.support.arguments import check_id
from atldld.support.fields import CHANGED

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.formats.tables import Table
    from atldld.place.alignment import Planes
    from atldld.place.anchoring import AlignmentFile

__all__ = [
    "Answers",
    "atlas_plates",
    "dataset_of_image",
    "pixels_to_image",
    "pixels_to_pixels",
    "pixels_to_reference",
    "reference_to_pixels",
    "structures_to_pixels",
]

REFERENCE = ("p", "i", "r")
FACTORS = {"um": 1.0, "mm": 1000.0}
SPACE = "reference_space_id"
DATA_SET = ("data_set_id", "dataset_id")
UNPLACED = "of images without an alignment"

Remark = Callable[[str], None]
"""Called with a sentence on rows whose other columns do not fit their image."""

Given = Mapping[int, Placement]
"""Placements by image id, in place of the service's."""

_Mask = NDArray[np.bool_]
_Ids = NDArray[np.int64]
_Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """What is found for the rows of a table.

    Attributes
    ----------
    columns : dict of str to numpy.ma.MaskedArray, shape (N,), int64, float64 or text
        New columns; masked where a row has no answer.
    count : int
        How many rows there are: N.
    reasons : dict of str to int
        Why rows have no answer, and how many.
    unanswered : int
        How many rows have none.
    left_out : str, optional
        A sentence on sections in which nothing is found because people have left them out.
    """

    columns: dict[str, Any]
    count: int
    reasons: dict[str, int]
    unanswered: int
    left_out: str | None = None

    @property
    def summary(self) -> str | None:
        """How many rows have no answer, and why, as a sentence; `None` where all have one."""
        if not self.unanswered:
            return None
        why = ", ".join(f"{number} {reason}" for reason, number in self.reasons.items())
        return f"{self.unanswered} of {self.count} rows have no answer: {why}."

    @property
    def all_unplaced(self) -> bool:
        """Whether no row has an answer, of some because their images are not aligned."""
        return 0 < self.unanswered == self.count and UNPLACED in self.reasons


def pixels_to_reference(
    session: Session,
    table: Table,
    dataset_id: int | str | None = None,
    *,
    alignment: Planes | None = None,
    remark: Remark,
) -> Answers:
    """Map pixels to the brain: ``p_um``, ``i_um``, ``r_um`` in ``reference_space_id``.

    With an alignment, a column ``coordinates`` says whose they are: ``CCFv3``, or ``P56`` of images
    that the service places; see `atldld.place.coordinates`.

    Parameters
    ----------
    session : Session
        Where the images' data sets come from.
    table : Table
        Of pixels.
    dataset_id : int or str, optional
        The data set of all the images; by default each image's own is found.
    alignment : Alignment or Registration, optional
        Where the images of its data set lie in place of the service's alignment.
    remark : callable
        See `Remark`.

    Raises
    ------
    InvalidInputError
        If the table lacks a column, holds what is no number or id, or contradicts `dataset_id`; if
        the alignment is of another data set.
    NotFoundError
        If there is no data set `dataset_id`.
    """
    reasons: Counter[str] = Counter()
    ids, xy = _pixels(table)
    pir: _Numbers | None = None
    spaces: _Ids = np.empty(0, dtype=np.int64)
    whose: dict[int, str] = {}
    for dataset, chosen, given in _by_dataset(
        session, table, ids, xy, dataset_id, alignment, reasons, remark
    ):
        mine = _taken(ids, chosen)
        found = place.image_to_reference(dataset, mine, _taken(xy, chosen), alignment=given)
        number = -1 if found.space is None else found.space
        if len(mine) == len(table):  # as a rule, and each of these arrays may be large
            pir, spaces = found.pir, np.broadcast_to(np.int64(number), len(table))
        else:
            if pir is None:
                pir, spaces = _nowhere(len(table))
            pir[chosen] = found.pir
            spaces[chosen] = number
        if alignment is not None:
            whose |= _whose(np.unique(mine).tolist(), given, alignment)
    if pir is None:
        pir, spaces = _nowhere(len(table))
    new = {f"{axis}_um": pir[:, k] for k, axis in enumerate(REFERENCE)}
    if alignment is not None:
        different, which = np.unique(ids, return_inverse=True)
        new["coordinates"] = np.array([whose.get(i, "") for i in different.tolist()])[which]
    return _answers({**new, SPACE: spaces}, ~np.isnan(pir[:, 0]), reasons)


def reference_to_pixels(
    session: Session,
    table: Table,
    dataset_id: int | str,
    *,
    unit: str | None = None,
    space: int | None = None,
    max_distance: float | None = None,
    alignment: Planes | None = None,
) -> Answers:
    """Find points of the brain on the nearest sections of a data set.

    Parameters
    ----------
    session : Session
        Where the data set comes from.
    table : Table
        Of points.
    dataset_id : int or str
        The section data set to find them in.
    unit : {"um", "mm"}, optional
        Of the columns ``p``, ``i``, ``r``, where their names do not say it.
    space : int, optional
        Id of the points' reference space; by default what each row says, or the data set's own.
    max_distance : float, optional
        Leave out what lies further than so many µm from a section.
    alignment : Alignment or Registration, optional
        Where the data set's sections lie in place of the service's alignment.

    Raises
    ------
    InvalidInputError
        If the table lacks a column, holds what is no number or id, or contradicts `unit` or
        `space`; if there is no way from a row's space to the data set's.
    NotFoundError
        If there is no such data set.
    """
    reasons: Counter[str] = Counter()
    pir = _reference(table, unit)
    spaces = _spaces(table, space)
    usable = _all_finite(pir)
    _note(reasons, "without numbers", ~usable)
    dataset = session.dataset(dataset_id)
    used = _used(dataset, alignment)
    whole = _no_points(len(table))
    # also without any row: what makes no sense is said all the same
    for number in np.unique(spaces[usable]).tolist() or [-1 if space is None else space]:
        chosen = usable & (spaces == number)
        found = place.reference_to_image(
            used.dataset,
            _taken(pir, chosen),
            space=None if number == -1 else number,
            max_distance=max_distance,
            alignment=used.given,
        )
        if len(found.image_ids) == len(table):
            whole = found
        else:
            _put(whole, chosen, found)
    return replace(_on_sections(table, whole, reasons), left_out=used.told)


def pixels_to_pixels(
    session: Session,
    table: Table,
    target: SectionDataSet,
    *,
    max_distance: float | None = None,
    alignment: Planes | None = None,
    target_alignment: Planes | None = None,
    remark: Remark,
) -> Answers:
    """Find pixels on the nearest sections of another data set.

    Parameters
    ----------
    session, table, remark :
        As for `pixels_to_reference`.
    target : SectionDataSet
        Its sections, or the plates of an atlas; see `atlas_plates`.
    max_distance : float, optional
        Leave out what lies further than so many µm from a section.
    alignment, target_alignment : Alignment or Registration, optional
        Where the images of the table and the target's sections lie in place of the service's
        alignment. Within one data set the first serves for both.

    Raises
    ------
    InvalidInputError
        If the table lacks a column, or holds what is no number or id; if an alignment is of
        another data set.
    """
    target_alignment = _of_target(target, alignment, target_alignment)
    used = _used(target, target_alignment)
    answers = _find_pixels(
        session,
        table,
        lambda source, ids, xy, given: place.image_to_image(
            source,
            ids,
            xy,
            used.dataset,
            max_distance=max_distance,
            alignment=given,
            target_alignment=used.given,
        ),
        alignment,
        remark,
        used=alignment is target_alignment,
    )
    return replace(answers, left_out=used.told)


def pixels_to_image(
    session: Session,
    table: Table,
    target: SectionDataSet,
    image_id: int,
    *,
    alignment: Planes | None = None,
    target_alignment: Planes | None = None,
    remark: Remark,
) -> Answers:
    """Find pixels in another image of the same specimen, ignoring the third dimension.

    Parameters
    ----------
    session, table, remark :
        As for `pixels_to_reference`.
    target : SectionDataSet
        The data set of the other image.
    image_id : int
        The other image.
    alignment, target_alignment : Alignment or Registration, optional
        As for `pixels_to_pixels`.

    Raises
    ------
    InvalidInputError
        If the table lacks a column, or holds what is no number or id; if the specimens differ, or
        an alignment is of another data set or leaves the image out.
    """
    target_alignment = _of_target(target, alignment, target_alignment)
    known = _used(target, target_alignment)
    if image_id in known.out:
        raise InvalidInputError(
            f"Section image {image_id} is not used: {_why_left_out(target_alignment)}.",
            image_id=image_id,
            hint="Choose another image, or use another alignment.",
        )

    def find(source: SectionDataSet, ids: _Ids, xy: _Numbers, given: Given | None) -> ImagePoints:
        whole = _no_points(len(ids))
        for own in np.unique(ids).tolist():
            found = place.image_to_image_2d(
                source,
                own,
                xy[ids == own],
                known.dataset,
                image_id,
                alignment=given,
                target_alignment=known.given,
            )
            _put(whole, ids == own, found)
        return whole

    used = alignment is target_alignment
    return _find_pixels(session, table, find, alignment, remark, used=used)


def structures_to_pixels(
    session: Session,
    table: Table,
    dataset_id: int | str,
    *,
    max_distance: float | None = None,
    alignment: Planes | None = None,
) -> Answers:
    """Find the centres of structures (``structure_id``) on the nearest sections of a data set.

    Parameters
    ----------
    session, table, dataset_id, max_distance, alignment :
        As for `reference_to_pixels`.

    Raises
    ------
    InvalidInputError
        If the table lacks the column, holds what is no id, or names another reference space.
    NotFoundError
        If there is no such data set.
    """
    reasons: Counter[str] = Counter()
    (column,) = table.columns_named(["structure_id"])
    ids = table.ids(column)
    dataset = session.dataset(dataset_id)
    _spaces(table, dataset.reference_space_id, "structure centres are those of the data set's own")
    # One question, whichever structures are asked for, so that the cache can answer the next.
    records = session.query(
        "StructureCenter",
        {"reference_space_id": dataset.reference_space_id},
        order="structure_centers.id",
    )
    centers = _centers(records)
    usable = ids > 0
    _note(reasons, "without a structure_id", ~usable)
    used = _used(dataset, alignment)
    whole = _no_points(len(table))
    _put(
        whole,
        usable,
        place.structure_to_image(
            used.dataset,
            ids[usable].tolist(),
            centers,
            max_distance=max_distance,
            alignment=used.given,
        ),
    )
    answers = _on_sections(table, whole, reasons, "without a centre near a section")
    return replace(answers, left_out=used.told)


def _centers(records: Iterable[Mapping[str, Any]]) -> list[StructureCenter]:
    """Read the service's rows.

    Raises
    ------
    AnswerError
        If one of them cannot be used.
    """
    try:
        return [StructureCenter.from_record(record) for record in records]
    except InvalidInputError as error:
        raise AnswerError(f"The service's answer cannot be used. {error}", hint=CHANGED) from None


def atlas_plates(session: Session, dataset_id: int) -> SectionDataSet:
    """Return the annotated plates of an atlas as a data set.

    Parameters
    ----------
    session : Session
        Where they come from.
    dataset_id : int
        The atlas's data set.

    Raises
    ------
    NotFoundError
        If there is no atlas of that data set.
    """
    atlases = session.query("AtlasDataSet", {"id": dataset_id}, ("alignment3d",))
    if not atlases:
        raise NotFoundError(f"There is no atlas of data set {dataset_id}.", dataset_id=dataset_id)
    plates = session.query(
        "AtlasImage",
        {"annotated": True, "data_set_id": dataset_id},
        ("alignment2d",),
        order="sub_images.id",
    )
    whole = SectionDataSet.from_records(atlases[0], plates)
    # a plate that is left out would hand its points to the next one
    left = [f"{image.image_id}: {image.reason}" for image in whole.skipped]
    left += [
        f"{image.id}: {image.alignment_problem or 'it has no alignment2d'}"
        for image in whole.images
        if image.alignment2d is None
    ]
    if left:
        session.report(
            SkippedImageWarning(
                f"{len(left)} plates of data set {dataset_id} are left out: {'; '.join(left)}. "
                f"{CHANGED}"
            )
        )
    return whole


def dataset_of_image(session: Session, image_id: int) -> Any:
    """Return the id of the data set that a section image belongs to.

    Raises
    ------
    NotFoundError
        If there is no such image, or it belongs to no data set.
    """
    found = session.image_record(image_id).get("data_set_id")
    if found is None:
        raise NotFoundError(f"Section image {image_id} belongs to no data set.", image_id=image_id)
    return found


# ---- what stands in the columns


def _pixels(table: Table) -> tuple[_Ids, _Numbers]:
    """Return image ids, shape (N,), and (x, y), shape (N, 2)."""
    names = ["x_px", "y_px"] if "x_px" in table.names and "x" not in table.names else ["x", "y"]
    image, *pixel = table.columns_named(
        ["image_id", *names], "image_id, x and y (full-resolution pixels of the section's box)"
    )
    for name in pixel:
        same = f"{name}_px"
        if same in table.names and not np.array_equal(
            table.numbers(name), table.numbers(same), equal_nan=True
        ):
            raise InvalidInputError(
                f"The columns {name} and {same} of {table.where} differ; it is not clear which "
                "are the pixels.",
                hint="Keep one of them.",
            )
    return table.ids_beside(image, pixel)


def _all_finite(points: _Numbers) -> _Mask:
    """Return which points have all of their coordinates, shape (N,)."""
    # column by column: NumPy sums or compares rows of two or three numbers one after the other
    out: _Mask = np.isfinite(points[:, 0])
    for column in points.T[1:]:
        out &= np.isfinite(column)
    return out


def _spaces(table: Table, space: int | None, why: str = f"{Remedy.SPACE} says") -> _Ids:
    """Return the reference space of each row, -1 where neither column nor option tells.

    Raises
    ------
    InvalidInputError
        If a row is of another space than the one that is given.
    """
    otherwise = -1 if space is None else space
    if SPACE not in table.names:
        return np.full(len(table), otherwise, dtype=np.int64)
    told = table.ids(SPACE)
    against = (told != -1) & (told != space)
    if space is not None and against.any():
        row = int(np.flatnonzero(against)[0])
        raise InvalidInputError(
            f"The column {SPACE} of {table.where} is {told[row]} in row {row + 1}, but {why} "
            f"{space}.",
            hint=f"Leave {Remedy.SPACE} out, and each row's own space counts; or leave the column "
            "out."
            if why.startswith(Remedy.SPACE)
            else f"Leave the column {SPACE} out.",
        )
    return np.where(told == -1, otherwise, told)


def _reference(table: Table, unit: str | None) -> _Numbers:
    """Return (p, i, r) in µm, shape (N, 3), by the columns' names and the option."""
    expected = "p_um, i_um and r_um (or p_mm, i_mm and r_mm)"
    named = [name for name in FACTORS if any(f"{a}_{name}" in table.names for a in REFERENCE)]
    if len(named) > 1:
        raise InvalidInputError(
            "There are columns in µm and in mm; it is not clear which are meant.",
            hint=f"Keep either of {expected}.",
        )
    if named:
        if unit not in {None, named[0]}:
            raise InvalidInputError(
                f"The columns are named for {named[0]}, but {Remedy.UNIT} says {unit}.",
                hint=f"Leave {Remedy.UNIT} out.",
            )
        columns = table.columns_named([f"{axis}_{named[0]}" for axis in REFERENCE], expected)
        factor = FACTORS[named[0]]
    elif unit is None:
        if all(axis in table.names for axis in REFERENCE):
            raise InvalidInputError(
                f"The columns p, i, r have no unit: name them {expected}, or give "
                f"{Remedy.UNIT} um or {Remedy.UNIT} mm."
            )
        columns, factor = table.columns_named([f"{axis}_um" for axis in REFERENCE], expected), 1.0
    else:
        columns = table.columns_named(list(REFERENCE), f"p, i and r, or {expected}")
        factor = FACTORS[unit]
    points = table.beside(columns)
    points *= factor
    return points


# ---- one data set after another


def _find_pixels(
    session: Session,
    table: Table,
    find: Callable[[SectionDataSet, _Ids, _Numbers, Given | None], ImagePoints],
    alignment: Planes | None,
    remark: Remark,
    *,
    used: bool,
) -> Answers:
    reasons: Counter[str] = Counter()
    ids, xy = _pixels(table)
    whole = _no_points(len(table))
    for dataset, chosen, given in _by_dataset(
        session, table, ids, xy, None, alignment, reasons, remark, used=used
    ):
        _put(whole, chosen, find(dataset, _taken(ids, chosen), _taken(xy, chosen), given))
    return _on_sections(table, whole, reasons)


def _by_dataset(
    session: Session,
    table: Table,
    ids: _Ids,
    xy: _Numbers,
    dataset_id: int | str | None,
    alignment: Planes | None,
    reasons: Counter[str],
    remark: Remark,
    *,
    used: bool = False,
) -> Iterator[tuple[SectionDataSet, _Mask, Given | None]]:
    """Yield each data set with the rows that it can answer; note the others.

    With it come its placements by the alignment, or None for those of the service. An alignment
    that is neither of one of them nor `used` otherwise is an error.
    The image alone says what a row is about. Where another column of the table says something
    else, the row has no answer if it names another data set, and is remarked on otherwise.
    """
    named = {name: table.ids(name) for name in DATA_SET if name in table.names}
    if dataset_id is not None:
        for name, values in named.items():
            against = (values != -1) & (values != check_id(dataset_id, "section data set"))
            if against.any():
                row = int(np.flatnonzero(against)[0])
                raise InvalidInputError(
                    f"The column {name} of {table.where} is {values[row]} in row {row + 1}, but "
                    f"{Remedy.DATASET} says {dataset_id}.",
                    hint=f"Leave {Remedy.DATASET} out, and each image's own data set is found.",
                )
    usable = _all_finite(xy) & (ids > 0)
    del xy
    _note(reasons, "without numbers", ~usable)
    left = dict.fromkeys(_different(_taken(ids, usable)))
    met: list[SectionDataSet] = []
    fits = used
    while left:
        image_id = next(iter(left))
        try:
            dataset = session.dataset(
                dataset_of_image(session, image_id) if dataset_id is None else dataset_id
            )
        except NotFoundError:
            if dataset_id is not None:
                raise
            del left[image_id]
            _note(reasons, "of unknown images", usable & (ids == image_id))
            continue
        met.append(dataset)
        taken = _Used(dataset)
        if alignment is not None and (dataset_id is not None or _is_of(alignment, dataset)):
            taken, fits = _used(dataset, alignment), True
        own = {
            image.id: image.alignment2d is not None or image.id in (taken.given or {})
            for image in dataset.images
        }
        # Of a data set that is named, images that it does not have are no others' either.
        mine = [i for i in left if dataset_id is not None or i in own or i == image_id]
        placed = dataset.alignment3d is not None and bool(dataset.section_thickness)
        good = [i for i in mine if placed and own.get(i) and i not in taken.out]
        out = [i for i in mine if i in taken.out]
        unplaced = [i for i in mine if i in own and i not in good and i not in taken.out]
        strangers = [i for i in mine if i not in own]
        _note(reasons, UNPLACED, usable & _among(ids, unplaced))
        _note(reasons, f"of sections {_why_left_out(alignment)}", usable & _among(ids, out))
        _note(reasons, "of unknown images", usable & _among(ids, strangers))
        if good:
            chosen = usable & _among(ids, good)
            for values in named.values():
                elsewhere = chosen & (values != -1) & (values != dataset.id)
                _note(reasons, "of images that are another data set's", elsewhere)
                chosen &= ~elsewhere
            _remark_on_others(table, dataset, ids, chosen, remark)
            yield taken.dataset, chosen, taken.given
        for i in mine:
            del left[i]
    if alignment is not None and met and not fits:
        alignment.placements(met[0])  # complains


@dataclass(frozen=True)
class _Used:
    """What of a data set is used.

    Attributes
    ----------
    dataset : SectionDataSet
        Without the sections that people have left out.
    given : dict of int to Placement, or None
        Where the others lie; `None` as the service says.
    out : frozenset of int
        Ids of the images that are left out.
    told : str or None
        That, as a sentence.
    """

    dataset: SectionDataSet
    given: Given | None = None
    out: frozenset[int] = frozenset()
    told: str | None = None


def _used(dataset: SectionDataSet, alignment: Planes | None) -> _Used:
    """Return what of a data set is used by an alignment."""
    if alignment is None:
        return _Used(dataset)
    given = alignment.placements(dataset)
    if not isinstance(alignment, Registration) or not alignment.left_out:
        return _Used(dataset, given)
    out = alignment.left_out
    kept = tuple(image for image in dataset.images if image.id not in out)
    told = (
        f"Of the {len(dataset.images)} sections of data set {dataset.id}, {len(out)} "
        f"{'is' if len(out) == 1 else 'are'} not used: {_why_left_out(alignment)}."
    )
    return _Used(
        msgspec.structs.replace(dataset, images=kept),
        {image_id: one for image_id, one in given.items() if image_id not in out},
        out,
        told,
    )


def _why_left_out(alignment: Planes | None) -> str:
    if isinstance(alignment, Registration) and alignment.source.confirmed_only:
        return "not confirmed by hand"
    return "left out by hand"


def _whose(image_ids: list[int], given: Given | None, alignment: Planes | None) -> dict[int, str]:
    """Return whose coordinates images lie in, in a word."""
    told: Mapping[int, Refinement] = {}
    file: AlignmentFile | None
    if isinstance(alignment, Registration):
        file, told = alignment.source, alignment.refinements
    else:
        file = None if alignment is None else alignment.file
    return {
        image_id: short_of(
            SERVICE
            if file is None or image_id not in (given or {})
            else file.coordinates_of(moved=image_id not in told or bool(told[image_id].kept))
        )
        for image_id in image_ids
    }


def _of_target(
    target: SectionDataSet, alignment: Planes | None, target_alignment: Planes | None
) -> Planes | None:
    """Return the alignment of the target, which may be the one of the points' own data set."""
    if target_alignment is None and alignment is not None and _is_of(alignment, target):
        return alignment
    return target_alignment


def _is_of(alignment: Planes, dataset: SectionDataSet) -> bool:
    """Whether an alignment is of a data set, or of some of its images."""
    if isinstance(alignment, Registration):
        return alignment.dataset_id == dataset.id
    return any(image.id in alignment.anchored for image in dataset.images)


def _remark_on_others(
    table: Table, dataset: SectionDataSet, ids: _Ids, chosen: _Mask, remark: Remark
) -> None:
    """Remark on rows whose section number or reference space is not that of their image."""
    numbers = {image.id: image.section_number for image in dataset.images}
    space = -1 if dataset.reference_space_id is None else dataset.reference_space_id
    for name in ("section_number", SPACE):
        if name not in table.names:
            continue
        told = table.ids(name)
        true = np.array(
            [numbers.get(i, -1) if name != SPACE else space for i in ids.tolist()], dtype=np.int64
        )
        wrong = np.flatnonzero(chosen & (told != -1) & (told != true))
        if len(wrong):
            row = int(wrong[0])
            remark(
                f"In {len(wrong)} rows {name} is not that of the image, which alone "
                f"counts: in row {row + 1} it is {told[row]}, of image {ids[row]} it is "
                f"{true[row]}."
            )


# ---- answers


_BLOCK = 1 << 18  # rows that are looked at together


def _taken(values: NDArray[Any], chosen: _Mask) -> NDArray[Any]:
    """Return the chosen rows; the array itself, and no copy, where that is all of them."""
    return values if chosen.all() else values[chosen]


def _different(ids: _Ids) -> list[int]:
    """Return each id once, in order. Rows of one image mostly follow each other."""
    changes = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    found: list[int] = np.unique(ids[np.append(0, changes)] if len(ids) else ids).tolist()
    return found


def _among(ids: _Ids, some: list[int]) -> _Mask:
    """Return which ids are among some."""
    out = np.zeros(len(ids), dtype=bool)
    if some:
        known = np.sort(some)
        for start in range(0, len(ids), _BLOCK):
            block = ids[start : start + _BLOCK]
            nearest = known[np.searchsorted(known[:-1], block)]
            out[start : start + _BLOCK] = nearest == block
    return out


def _note(reasons: Counter[str], reason: str, which: _Mask) -> None:
    reasons[reason] += int(which.sum())


def _no_points(count: int) -> ImagePoints:
    return ImagePoints(
        np.full(count, -1), np.full(count, -1), np.full((count, 2), np.nan), np.full(count, np.nan)
    )


def _nowhere(count: int) -> tuple[_Numbers, _Ids]:
    """Return points without coordinates, shape (N, 3), and without a space, shape (N,)."""
    return np.full((count, 3), np.nan), np.full(count, -1, dtype=np.int64)


def _put(whole: ImagePoints, chosen: _Mask, found: ImagePoints) -> None:
    for name in ("image_ids", "section_numbers", "xy", "distance"):
        getattr(whole, name)[chosen] = getattr(found, name)


def _on_sections(
    table: Table,
    found: ImagePoints,
    reasons: Counter[str],
    otherwise: str = "too far from any section",
) -> Answers:
    new: dict[str, NDArray[Any]] = {
        "image_id": found.image_ids,
        "section_number": found.section_numbers,
        "x": found.xy[:, 0],
        "y": found.xy[:, 1],
        "distance_um": found.distance,
    }
    if any(name in table.names for name in new):
        # a distance is that from the target as it is
        own = {"distance_um"} - set(table.names)
        new = {name if name in own else f"target_{name}": new[name] for name in new}
    return _answers(new, found.answered, reasons, otherwise)


def _lacking(column: NDArray[Any]) -> _Mask:
    """Return where a column holds no answer: a negative id, NaN or no text."""
    kind = column.dtype.kind
    lacking: _Mask = (
        column < 0 if kind == "i" else column == "" if kind == "U" else column != column
    )
    return lacking


def _answers(
    new: dict[str, NDArray[Any]], answered: _Mask, reasons: Counter[str], otherwise: str = ""
) -> Answers:
    known = {reason: number for reason, number in reasons.items() if number}
    unanswered = int((~answered).sum())
    rest = unanswered - sum(known.values())
    if rest > 0 and otherwise:
        known[otherwise] = rest
    columns = {name: np.ma.masked_array(c, _lacking(c)) for name, c in new.items()}
    return Answers(columns, len(answered), known, unanswered)
