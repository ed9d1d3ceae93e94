"""A data set on the desk: its document, the journal, and the registration that is kept beside it.

Every edit goes the same way. It is tried on the document; then it stands in the journal, on the
disk; then the registration is written again, and whoever asked is told. When the process dies in
between, the journal has what was told, and the registration is made of it at the next start.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.align.edits import (
    HAND,
    Carry,
    Place,
    carried,
    fit_of,
    marked,
    markers_of,
    placed,
    said,
)
from atldld.align.journal import Beginning, Entry, Journal, is_journal, journal_of
from atldld.align.plane_numbers import PlaneNumbers, Shape
from atldld.align.state import Document, Marker, Origin, Rows, SectionState, rows_of
from atldld.errors import InvalidInputError, OutputError, Remedy
from atldld.fetch.locks import Taken, locked
from atldld.place.alignment import Planes, read_alignment
from atldld.place.coordinates import coordinates_of
from atldld.place.deformation import Deformation, SplineDeformation
from atldld.place.placement import Placement
from atldld.place.registration import (
    Registration,
    SectionFit,
    Status,
    StoredFields,
    add_fields,
    check_registration,
    read_fields,
)
from atldld.place.sections import PlacedDataSet, PlacedSection
from atldld.sections.opened import OpenedDataSet, Section
from atldld.support.files import whole_file
from atldld.support.provenance import FRAME, version

if TYPE_CHECKING:
    from atldld.atlas.model import Atlas
    from atldld.fetch.session import Session
    from atldld.records import SectionDataSet

__all__ = ["Desk", "StaleError", "check_start", "open_desk"]

Matrix = NDArray[np.float64]

BY_HAND = "by_hand"
"""The entry of a registration's ``about`` that says that it was edited, and by which journal."""


class StaleError(Exception):
    """An edit was made to a state that is no longer the one there is."""


class _StoredCurve:
    """A deformation in the fields beside the registration, read when it is first needed."""

    def __init__(self, path: Path, image_id: int, told: StoredFields) -> None:
        self._source = path, image_id, told
        self._read: SplineDeformation | None = None
        self._lock = threading.Lock()

    @property
    def spline(self) -> SplineDeformation:
        with self._lock:
            if self._read is None:
                self._read = read_fields(*self._source)
            return self._read

    def to_flat(self, xy: ArrayLike) -> Matrix:
        return self.spline.to_flat(xy)

    def to_image(self, xy: ArrayLike) -> Matrix:
        return self.spline.to_image(xy)


@dataclass(frozen=True)
class _Start:
    """What the work begins from."""

    placed: PlacedDataSet
    about: dict[str, Any]
    saved: Mapping[int, SectionFit]


class Desk:
    """A data set that is edited; safe to be used by several threads.

    Parameters
    ----------
    dataset : OpenedDataSet
        Its sections, with the session of their pixels.
    atlas : Atlas
        What they are compared with.
    output : pathlib.Path
        The registration.
    journal : Journal
        Its journal, open.
    stack : ExitStack
        Closes what is open.

    Attributes
    ----------
    dataset, atlas, output :
        As given.
    places : dict of int to Place
        All sections, by image id, in their order.
    """

    def __init__(
        self,
        dataset: OpenedDataSet,
        atlas: Atlas,
        output: Path,
        journal: Journal,
        stack: ExitStack,
    ) -> None:
        self.dataset = dataset
        self.atlas = atlas
        self.output = output
        self._journal = journal
        self._stack = stack
        self._lock = threading.RLock()
        self._curves: dict[str, Deformation] = {}
        self._fits: dict[int, tuple[SectionState, SectionFit]] = {}
        sections = {section.id: section for section in dataset.sections}
        document = journal.history.document
        self._starts = dict(zip(document.sections, document.origins, strict=False))
        self.places = {
            image_id: Place.of(sections[image_id], start)
            for image_id, start in self._starts.items()
        }
        self.sections: dict[int, Section] = {one: sections[one] for one in document.sections}

    def close(self) -> None:
        """Close the journal, and let others open it."""
        self._stack.close()

    # ---- what there is

    @property
    def journal(self) -> Journal:
        """The journal."""
        return self._journal

    @property
    def document(self) -> Document:
        """The sections as they are now."""
        return self._journal.history.document

    @property
    def revision(self) -> int:
        """Grows by 1 with each change."""
        return self._journal.history.revision

    @property
    def synthetic(self) -> bool:
        """Whether pixels or atlas are made up."""
        return self.dataset.record.synthetic or self.atlas.synthetic

    def check_section(self, image_id: int) -> Section:
        """Return a section of the data set.

        Raises
        ------
        InvalidInputError
            If there is none with this image.
        """
        found = self.sections.get(image_id)
        if found is None:
            raise InvalidInputError(
                f"Section data set {self.dataset.id} has no placed section image {image_id}.",
                image_id=image_id,
            )
        return found

    def shape_of(self, image_id: int) -> Shape:
        """Return what the numbers of a section's plane are counted by."""
        image = self.check_section(image_id).image
        return Shape(self.dataset.plane, image.width, image.height, image.resolution)

    def start_of(self, image_id: int) -> Origin:
        """Return where a section lay when the work began."""
        return self._starts[image_id]

    def curve_of(self, image_id: int, origin: Origin) -> Deformation | None:
        """Return the deformation of an origin beneath its markers."""
        told = origin.fields
        if told is None:
            return None
        key = told.to_flat.sha256
        with self._lock:
            if key not in self._curves:
                self._curves[key] = _StoredCurve(self.output, image_id, told)
            return self._curves[key]

    def spline_of(self, image_id: int, origin: Origin) -> SplineDeformation | None:
        """Return the same, read."""
        found = self.curve_of(image_id, origin)
        return found.spline if isinstance(found, _StoredCurve) else None

    def placement(
        self,
        image_id: int,
        *,
        state: SectionState | None = None,
        document: Document | None = None,
        forward: Matrix | None = None,
        markers: Sequence[Marker] | None = None,
    ) -> Placement:
        """Return where a section lies, or where it would.

        Parameters
        ----------
        image_id : int
            The section image.
        state, document : optional
            As of these; by default as they are now.
        forward : numpy.ndarray, shape (3, 3), optional
            In this plane instead.
        markers : sequence of Marker, optional
            With these markers instead.

        Raises
        ------
        InvalidInputError
            If it cannot lie there.
        """
        self.check_section(image_id)
        document = document or self.document
        state = state or document.sections[image_id]
        if forward is not None:
            state = msgspec.structs.replace(state, forward=rows_of(forward))
        if markers is not None:
            state = msgspec.structs.replace(state, markers=tuple(markers))
        origin = document.origins[state.origin]
        return self.places[image_id].placement(state, origin, self.curve_of(image_id, origin))

    def start_placement(self, image_id: int) -> Placement:
        """Return where a section lay when the work began."""
        start = self._starts[image_id]
        state = SectionState(forward=start.forward, origin=0, markers=start.markers)
        return self.places[image_id].placement(state, start, self.curve_of(image_id, start))

    # ---- edits

    def place(
        self,
        image_id: int,
        forward: Matrix,
        *,
        carry: Carry | None = None,
        revision: int | None = None,
    ) -> frozenset[int]:
        """Put a section in another plane; return the sections that changed.

        Parameters
        ----------
        image_id : int
            The section image.
        forward : numpy.ndarray, shape (3, 3)
            ``[p, i, r] = forward @ [x, y, 1]``.
        carry : {"vectors", "moves"}, optional
            Have those between the key sections follow; see `atldld.align.edits`.
        revision : int, optional
            The state that the edit was made to.

        Raises
        ------
        StaleError
            If that is no longer the state there is.
        InvalidInputError
            If a section would not lie in its plane of section.
        OutputError
            If the journal or the registration cannot be written.
        """

        def made(document: Document) -> dict[int, SectionState]:
            changed = placed(document, image_id, forward)
            if carry is not None:
                after = document.with_sections(changed)
                changed |= carried(after, image_id, self.places, carry)
            return changed

        return self._edit("place", image_id, made, revision)

    def mark(
        self, image_id: int, markers: Sequence[Marker], *, revision: int | None = None
    ) -> frozenset[int]:
        """Give a section other markers; see `place`."""
        return self._edit(
            "markers", image_id, lambda document: marked(document, image_id, markers), revision
        )

    def say(
        self,
        image_id: int,
        *,
        status: str | None = None,
        note: str | None = None,
        revision: int | None = None,
    ) -> frozenset[int]:
        """Give a section another status or note; see `place`."""
        what = "status" if note is None else "note"
        return self._edit(
            what,
            image_id,
            lambda document: said(document, image_id, status=status, note=note),
            revision,
        )

    def reset(self, image_id: int, *, revision: int | None = None) -> frozenset[int]:
        """Put a section back where it lay when the work began; see `place`."""

        def made(document: Document) -> dict[int, SectionState]:
            start = self._starts[image_id]
            state = document.sections[image_id]
            status: Status = "left out" if state.status == "left out" else "automatic"
            return {
                image_id: SectionState(
                    forward=start.forward,
                    origin=list(self._starts).index(image_id),
                    markers=start.markers,
                    status=status,
                    note=state.note,
                )
            }

        return self._edit("reset", image_id, made, revision)

    def adopt(
        self, fits: Mapping[int, SectionFit], *, revision: int | None = None
    ) -> frozenset[int]:
        """Put sections where a fit has found them; see `place`."""
        with self._lock:
            self._check_revision(revision)
            document = self.document
            origins, changed = [], {}
            for image_id, fit in fits.items():
                state = document.sections[image_id]
                # what was done before stays told, what was done by hand as well
                steps = (*self._fit(image_id, document).steps, *fit.steps)
                fit = msgspec.structs.replace(fit, steps=steps)
                origin = self._origin_of(image_id, fit)
                if _same_places(origin.markers, state.markers):
                    origin = msgspec.structs.replace(origin, markers=state.markers)
                origins.append(origin)
                changed[image_id] = msgspec.structs.replace(
                    state,
                    forward=origins[-1].forward,
                    origin=len(document.origins) + len(origins) - 1,
                    markers=origins[-1].markers,
                    status=state.status if state.status == "left out" else "edited",
                )
            return self._commit("fit", changed, tuple(origins))

    def undo(self, *, revision: int | None = None) -> frozenset[int]:
        """Take back the last change; see `place`."""
        return self._step("undo", revision)

    def redo(self, *, revision: int | None = None) -> frozenset[int]:
        """Do again what was taken back last; see `place`."""
        return self._step("redo", revision)

    def _step(self, kind: Literal["undo", "redo"], revision: int | None) -> frozenset[int]:
        with self._lock:
            self._check_revision(revision)
            changed = self._journal.add(Entry(kind=kind, when=_now()))
            self.save()
            return changed

    def _edit(
        self,
        what: str,
        image_id: int,
        made: Callable[[Document], dict[int, SectionState]],
        revision: int | None,
    ) -> frozenset[int]:
        with self._lock:
            self._check_revision(revision)
            self.check_section(image_id)
            document = self.document
            changed = {
                one: state
                for one, state in made(document).items()
                if state != document.sections[one]
            }
            if not changed:
                return frozenset()
            return self._commit(what, changed)

    def _commit(
        self, what: str, changed: dict[int, SectionState], origins: tuple[Origin, ...] = ()
    ) -> frozenset[int]:
        document = self.document.with_sections(changed, origins)
        for image_id in changed:  # what cannot be written must not come into the journal
            self._fit(image_id, document)
        done = self._journal.add(
            Entry(kind="edit", when=_now(), what=what, sections=changed, origins=origins)
        )
        self.save()
        return done

    def _check_revision(self, revision: int | None) -> None:
        if revision is not None and revision != self.revision:
            raise StaleError

    # ---- the registration

    def registration(self) -> Registration:
        """Return the registration as it is now."""
        with self._lock:
            document = self.document
            fits = {image_id: self._fit(image_id, document) for image_id in document.sections}
            return Registration(self.dataset.id, fits, self._about(document))

    def save(self) -> Path:
        """Write the registration, in place of the one that is there.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        with self._lock:
            made = self.registration()
            document = self.document
            fields = {
                image_id: told
                for image_id in document.sections
                if (told := document.origin(image_id).fields) is not None
            }
            content = made.document(fields)
            with whole_file(self.output, force=True) as temporary:
                temporary.write_bytes(content)
        return self.output

    def _fit(self, image_id: int, document: Document) -> SectionFit:
        state = document.sections[image_id]
        known = self._fits.get(image_id)
        if known is not None and known[0] == state:
            return known[1]
        origin = document.origins[state.origin]
        fit = fit_of(
            self.places[image_id],
            state,
            origin,
            self.curve_of(image_id, origin),
            self._starts[image_id],
        )
        self._fits[image_id] = state, fit
        return fit

    def _origin_of(self, image_id: int, fit: SectionFit) -> Origin:
        section = self.sections[image_id]
        return _origin_of(self.output, self.dataset.id, section, fit)

    def _about(self, document: Document) -> dict[str, Any]:
        states = list(document.sections.values())
        counts = {
            status.replace(" ", "_"): sum(one.status == status for one in states)
            for status in ("automatic", "edited", "confirmed", "left out")
        }
        return {
            **self._journal.beginning.about,
            BY_HAND: {"journal": self._journal.beginning.id, **counts},
        }

    # ---- what is said of a section

    def describe(self, image_id: int, document: Document | None = None) -> dict[str, Any]:
        """Return what the page shows of a section; see the contract in docs/develop/align.md."""
        document = document or self.document
        section, state = self.sections[image_id], document.sections[image_id]
        image, origin, start = section.image, document.origin(image_id), self._starts[image_id]
        moved = document.moved(image_id)
        expected = None if moved else origin.expected_error
        allen = self.allen(image_id)
        last = origin.steps[-1] if origin.steps else None
        tiers = [
            {"tier": tier, "width": size[0], "height": size[1]}
            for tier in range(image.highest_downsample + 1)
            for size in [image.size(tier)]
            if min(size) >= 1
        ]
        return {
            "image_id": image_id,
            "number": section.number,
            "width": image.width,
            "height": image.height,
            "resolution_um": image.resolution,
            "has_expression": image.has_expression_mask,
            "tiers": tiers,
            "status": state.status,
            "moved": moved,
            "curved": origin.fields is not None,
            "expected_error_um": None if expected is None else expected.after,
            "bound90_um": None if expected is None else expected.bound90_after,
            "guard": None
            if last is None
            else {
                "step": last.step,
                "kept": last.kept,
                "reason": last.reason,
                "before": last.before,
                "after": last.after,
            },
            "note": state.note,
            "markers": state.markers,
            "forward": state.forward,
            "start": {"forward": start.forward},
            "allen": None if allen is None else {"forward": rows_of(allen.forward)},
            "plane": PlaneNumbers.of(state.forward, self.shape_of(image_id)),
        }

    def allen(self, image_id: int) -> Placement | None:
        """Return where the service's own alignment has a section, if it has one."""
        image = self.sections[image_id].image
        if image.alignment2d is None:
            return None
        return Placement.of(self.dataset.record, image)


def _same_places(markers: Sequence[Marker], others: Sequence[Marker]) -> bool:
    """Whether markers are others that have lost their names."""
    return len(markers) == len(others) and all(
        np.allclose((*one.image, *one.flat), (*other.image, *other.flat), rtol=0, atol=1e-6)
        for one, other in zip(markers, others, strict=True)
    )


# ---- opening


def check_start(output: Path, *, force: bool) -> bool:
    """Check that work can begin at a registration, before anything is asked; whether it goes on.

    Parameters
    ----------
    output : pathlib.Path
        The registration.
    force : bool
        Start again, in place of what is there.

    Raises
    ------
    InvalidInputError
        If the name cannot be a registration's, or the journal beside it is damaged.
    OutputError
        If there is a file that was not edited by hand, and `force` is not given.
    """
    if output.suffix != ".json":
        raise InvalidInputError(
            f"{output} is the name of a registration that is edited, so its ending must be .json.",
            hint="Other files lie beside it by that name.",
        )
    there, beside = os.path.exists(output), os.path.exists(journal_of(output))
    if force or not (there or beside):
        check_registration(output, force=force)
        return False
    if there and _journal_id(output) is None:
        raise OutputError(
            f"{output} is there already, and is no registration that `atldld align` has edited.",
            hint=f"Replace it with {Remedy.FORCE}, or start from it under another name.",
        )
    if beside and not is_journal(journal_of(output)):
        raise OutputError(
            f"{journal_of(output)} is there already, and is no journal of `atldld align`.",
            hint=f"Replace it with {Remedy.FORCE}, or choose another name.",
        )
    return True


def _journal_id(output: Path) -> str | None:
    """Return the id of the journal by which a registration was edited; `None` for other files."""
    try:
        found = read_alignment(output)
    except InvalidInputError:
        return None
    told = found.about.get(BY_HAND) if isinstance(found, Registration) else None
    return str(told.get("journal")) if isinstance(told, dict) else None


def open_desk(
    record: SectionDataSet,
    session: Session,
    atlas: Atlas,
    output: str | Path,
    *,
    alignment: Planes | None = None,
    force: bool = False,
) -> Desk:
    """Open a data set to be edited, or go on with one.

    Parameters
    ----------
    record : SectionDataSet
        The service's records.
    session : Session
        Where pixels come from.
    atlas : Atlas
        What sections are compared with.
    output : str or pathlib.Path
        The registration. If it was edited before, that is gone on with.
    alignment : Alignment or Registration, optional
        Where the sections lie at the start; by default where the service has them.
    force : bool
        Start again, in place of what is there.

    Raises
    ------
    InvalidInputError
        If the registration or its journal is of another data set, or damaged.
    OutputError
        If it cannot be written, or there is a file that was not edited by hand.
    AlignmentMissingError, UnsupportedPlaneError
        If no section is placed, or the data set is of another brain than the atlas.
    """
    output = Path(output).resolve()
    atlas.check_dataset(record)
    goes_on = check_start(output, force=force)
    with ExitStack() as stack:
        try:
            lock = output.with_name(f".{output.name}.lock")
            stack.enter_context(locked(lock, "The registration", wait=False))
        except Taken:
            raise OutputError(
                f"{output} is being edited by another `atldld align`.",
                hint="Go on in that one, or end it first.",
            ) from None
        journal = stack.enter_context(
            _gone_on(record, output)
            if goes_on and journal_of(output).exists()
            else _begun(record, session, atlas, output, output if goes_on else alignment)
        )
        document = journal.history.document
        desk = Desk(_opened(record, session, document), atlas, output, journal, stack.pop_all())
    try:
        desk.save()
    except BaseException:
        desk.close()
        raise
    return desk


def _gone_on(record: SectionDataSet, output: Path) -> Journal:
    path = journal_of(output)
    journal = Journal.open(path)
    try:
        if journal.beginning.dataset_id != record.id:
            raise InvalidInputError(
                f"{path} is of section data set {journal.beginning.dataset_id}, not of "
                f"{record.id}.",
                dataset_id=record.id,
                hint="Name another file for the result.",
            )
        if output.exists() and _journal_id(output) != journal.beginning.id:
            raise OutputError(
                f"{output} is another registration than the one that {path.name} is the journal "
                "of.",
                hint=f"Move the journal away to go on from the registration, or start again with "
                f"{Remedy.FORCE}.",
            )
    except BaseException:
        journal.close()
        raise
    return journal


def _begun(
    record: SectionDataSet,
    session: Session,
    atlas: Atlas,
    output: Path,
    begins: Planes | Path | None,
) -> Journal:
    start = _start_of(record, session, atlas, begins)
    start.placed.check_placed()
    sections: dict[int, SectionState] = {}
    starts: list[Origin] = []
    later: list[Origin] = []
    for section in start.placed.sections:
        told = section.refinement
        fit = SectionFit.of(
            section.placement,
            section.number,
            () if told is None else told.steps,
            pixel=section.image.resolution,
            expected_error=None if told is None else told.expected_error,
        )
        origin = _origin_of(output, record.id, section, fit)
        saved = start.saved.get(section.id)
        place = len(starts)
        state = SectionState(forward=origin.forward, origin=place, markers=origin.markers)
        if saved is not None:
            state = msgspec.structs.replace(state, status=saved.status, note=saved.note)
            by_hand = bool(saved.steps) and saved.steps[-1].step == HAND
            if by_hand or saved.start is not None:
                begun = _before(record, section, origin, saved.start or origin.forward)
                if not by_hand:  # it was fitted: that is where it was put last
                    state = msgspec.structs.replace(
                        state, origin=len(start.placed.sections) + len(later)
                    )
                    later.append(origin)
                origin = begun
        starts.append(origin)
        sections[section.id] = state
    origins = (*starts, *later)
    beginning = Beginning(
        id=secrets.token_hex(8),
        dataset_id=record.id,
        about=start.about,
        sections=sections,
        origins=origins,
    )
    return Journal.begin(journal_of(output), beginning)


def _before(
    record: SectionDataSet, section: PlacedSection, origin: Origin, forward: Rows
) -> Origin:
    """Return where a section lay before people moved it, as far as the registration says."""
    step = np.linalg.inv(np.array(origin.backward)[:, :3])[:, 2]
    placement = Placement.from_plane(forward, step, section.number)
    if section.image.alignment2d is not None:
        own = Placement.of(record, section.image)
        if rows_of(own.forward) == forward:  # the service's way back is another than the inverse
            placement = own
    if placement is None:
        return origin
    steps = tuple(one for one in origin.steps if one.step != HAND)
    return msgspec.structs.replace(
        origin,
        forward=forward,
        backward=SectionFit.of(
            Placement(np.array(forward), placement.backward), section.number
        ).reference_to_image,
        markers=(),
        steps=steps,
        expected_error=None,
    )


def _origin_of(output: Path, dataset_id: int, section: PlacedSection, fit: SectionFit) -> Origin:
    markers, curve = markers_of(fit.deformation)
    fields = None
    if isinstance(curve, _StoredCurve):
        curve = curve.spline
    if isinstance(curve, SplineDeformation):
        pixel = fit.pixel or section.image.resolution or 1.0
        fields = add_fields(output, dataset_id, section.id, curve, pixel)
    return Origin(
        forward=fit.image_to_reference,
        backward=fit.reference_to_image,
        fields=fields,
        markers=markers,
        steps=fit.steps,
        expected_error=fit.expected_error,
    )


def _start_of(
    record: SectionDataSet, session: Session, atlas: Atlas, begins: Planes | Path | None
) -> _Start:
    """Return where the sections lie at the start, those that are left out among them."""
    planes = read_alignment(begins) if isinstance(begins, Path) else begins
    about: dict[str, Any] = {
        "atldld_version": version(),
        "created": _now(),
        "synthetic": record.synthetic or atlas.synthetic,
        "service": session.settings.api_url,
        "frame": FRAME,
        "space": coordinates_of(atlas.name),
        "atlas": atlas.describe(),
    }
    if planes is None:
        about["start"] = "the service's alignment"
        return _Start(PlacedDataSet.with_placements(record), about, {})
    placements = planes.placements(record)
    if isinstance(planes, Registration):
        start = PlacedDataSet.with_placements(record, placements, planes.source, planes.refinements)
        # what it was made of stays what its sections that have not moved lie in
        about = {**planes.about, **about, "start": planes.about.get("start")}
        about.pop(BY_HAND, None)
        if about["start"] is None:
            about["start"] = planes.source.describe()
        return _Start(start, about, planes.sections)
    about["start"] = planes.file.describe()
    return _Start(PlacedDataSet.with_placements(record, placements, planes.file), about, {})


def _opened(record: SectionDataSet, session: Session, document: Document) -> OpenedDataSet:
    """Return the data set with its sections where they lay at the start."""
    starts = dict(zip(document.sections, document.origins, strict=False))
    given = {
        image_id: Placement(np.array(start.forward), np.array(start.backward))
        for image_id, start in starts.items()
    }
    found = PlacedDataSet.with_placements(record, given)
    missing = sorted(set(given) - {section.id for section in found.sections})
    if missing:
        raise InvalidInputError(
            f"The journal has {len(missing)} images that section data set {record.id} does not "
            f"have, such as {missing[0]}.",
            dataset_id=record.id,
        )
    return OpenedDataSet(found, session)


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
