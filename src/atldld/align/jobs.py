"""Fits that are asked for by hand: refinement steps for some sections, from where they lie now.

A fit works beside the edits. What it finds is a proposal, which changes nothing until it is
accepted. One is under way at a time, as each keeps all processors busy.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from atldld.align.desk import Desk
from atldld.align.edits import deformed, farthest
from atldld.align.state import Document, rows_of
from atldld.errors import AtldldError, InvalidInputError
from atldld.place.placement import Placement
from atldld.place.registration import SectionFit
from atldld.place.sections import PlacedDataSet
from atldld.refine import check_refinement, refine
from atldld.refine.steps import FEWEST

__all__ = ["Job", "Jobs"]

State = Literal["running", "done", "failed", "cancelled"]

_FINE, _COARSE = 25.0, 50.0  # µm: pixels that sections are looked at with; if they are many
_MANY = 8


class _Cancelled(Exception):  # noqa: N818 - nothing has gone wrong
    """Ends a fit that nobody waits for any more."""


@dataclass
class Job:
    """A fit, and how far it is.

    Attributes
    ----------
    id : str
        Its own.
    image_ids : tuple of int
        The sections that it is for.
    steps : tuple of str
        What is done.
    document : Document
        What it began from.
    state, done, total, said :
        How far it is.
    error, hint :
        Why it has failed, if so.
    found : dict of int to SectionFit
        What it proposes, by image id.
    """

    id: str
    image_ids: tuple[int, ...]
    steps: tuple[str, ...]
    document: Document
    state: State = "running"
    done: int = 0
    total: int = 0
    said: str = ""
    error: str | None = None
    hint: str | None = None
    found: dict[int, SectionFit] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def kept(self, image_id: int) -> bool:
        """Whether the guard lets a section go where the fit has found it."""
        return any(step.kept for step in self.found[image_id].steps)


class Jobs:
    """The fits of a desk: the last one of them.

    Parameters
    ----------
    desk : Desk
        What is edited.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._last: Job | None = None

    def start(
        self,
        image_ids: Sequence[int],
        steps: Sequence[str] = ("sections", "inplane"),
        *,
        resolution: float | None = None,
    ) -> Job:
        """Begin a fit.

        Parameters
        ----------
        image_ids : sequence of int
            The sections that may move.
        steps : sequence of {"whole", "sections", "inplane"}
            What is done.
        resolution : float, optional
            Side of a pixel, in µm, at which sections are looked at.

        Raises
        ------
        InvalidInputError
            If a fit is under way, there is no such section or step, or one is left out.
        """
        desk = self._desk
        chosen = tuple(dict.fromkeys(image_ids))
        if not chosen:
            raise InvalidInputError("No section is named that a fit is for.")
        if resolution is None:
            resolution = _FINE if len(chosen) <= _MANY else _COARSE
        names = check_refinement(list(steps), resolution)
        if not names:
            raise InvalidInputError("No step is named that a fit does.")
        document = desk.document
        for image_id in chosen:
            section = desk.check_section(image_id)
            if document.sections[image_id].status == "left out":
                raise InvalidInputError(
                    f"Section {section.number} is left out, so it is not fitted.",
                    image_id=image_id,
                    hint="Take it in again first.",
                )
        with self._lock:
            if self._last is not None and self._last.state == "running":
                raise InvalidInputError(
                    "A fit is under way already.", hint="Wait for it, or cancel it."
                )
            job = Job(secrets.token_hex(8), chosen, names, document)
            job.thread = threading.Thread(target=self._work, args=(job, resolution), daemon=True)
            self._last = job
            job.thread.start()
        return job

    def get(self, job_id: str) -> Job:
        """Return a fit.

        Raises
        ------
        InvalidInputError
            If it is not the last one, or was accepted or discarded.
        """
        job = self._last
        if job is None or job.id != job_id:
            raise InvalidInputError("There is no such fit any more.", hint="Begin another one.")
        return job

    def cancel(self, job_id: str) -> Job:
        """End a fit that is under way, and forget what one has found."""
        job = self.get(job_id)
        job.stop.set()
        if job.state == "done":
            job.state = "cancelled"
            job.found = {}
        return job

    def close(self) -> None:
        """End the fit that is under way, and wait for that."""
        job = self._last
        if job is not None and job.thread is not None:
            job.stop.set()
            job.thread.join()

    def accept(self, job_id: str, *, revision: int | None = None) -> frozenset[int]:
        """Put sections where a fit has found them; return those that changed.

        Raises
        ------
        InvalidInputError
            If there is nothing to accept, or a section was edited since the fit began.
        StaleError
            If another edit came before this one.
        """
        job = self.get(job_id)
        if job.state != "done":
            raise InvalidInputError(f"This fit is {job.state}, so there is nothing to accept.")
        now = self._desk.document.sections
        edited = [
            self._desk.sections[one].number
            for one in job.image_ids
            if (now[one].forward, now[one].markers)
            != (job.document.sections[one].forward, job.document.sections[one].markers)
        ]
        if edited:
            raise InvalidInputError(
                f"Section {edited[0]} was edited since the fit began.",
                hint="Undo that, or discard the fit and begin another one.",
            )
        kept = {one: job.found[one] for one in job.image_ids if job.kept(one)}
        changed = self._desk.adopt(kept, revision=revision) if kept else frozenset()
        job.state, job.found = "cancelled", {}
        return changed

    def placement(self, job_id: str, image_id: int) -> Placement:
        """Return where a fit proposes that a section lies."""
        job = self.get(job_id)
        if image_id not in job.found:
            raise InvalidInputError("This fit proposes nothing for the section.")
        if not job.kept(image_id):
            return self._desk.placement(image_id, document=job.document)
        return job.found[image_id].placement

    def describe(self, job_id: str) -> dict[str, Any]:
        """Return how far a fit is, and what it proposes in the end."""
        job = self.get(job_id)
        told: dict[str, Any] = {
            "job": job.id,
            "state": job.state,
            "done": job.done,
            "total": job.total,
            "said": job.said,
            "error": job.error,
            "hint": job.hint,
        }
        if job.state == "done":
            told["proposal"] = {"sections": [self._proposed(job, one) for one in job.image_ids]}
        return told

    def _proposed(self, job: Job, image_id: int) -> dict[str, Any]:
        desk, fit = self._desk, job.found[image_id]
        kept = job.kept(image_id)
        before = desk.placement(image_id, document=job.document)
        after = fit.placement if kept else before
        expected = fit.expected_error
        last = fit.steps[-1] if fit.steps else None
        return {
            "image_id": image_id,
            "number": fit.section_number,
            "kept": kept,
            "moved_um": farthest(desk.sections[image_id], before, after),
            "before": {
                "forward": rows_of(before.forward),
                "expected_error_um": None if expected is None else expected.before,
            },
            "after": {
                "forward": rows_of(after.forward),
                "expected_error_um": None if expected is None else expected.after,
            },
            "curved": after.deformation is not None,
            "words": " ".join(
                dict.fromkeys(step.reason for step in fit.steps if step.kept or not kept)
            ),
            "steps": fit.steps,
            "guard": None if last is None else {"before": last.before, "after": last.after},
        }

    # ---- the work

    def _work(self, job: Job, resolution: float) -> None:
        def advance(done: int, total: int, what: str) -> None:
            job.done, job.total, job.said = done, total, what
            if job.stop.is_set():
                raise _Cancelled

        try:
            found = self._fitted(job, resolution, advance)
            if job.stop.is_set():
                raise _Cancelled
        except _Cancelled:
            job.state = "cancelled"
        except AtldldError as error:
            job.error, job.hint, job.state = error.message, error.hint, "failed"
        except Exception as error:
            job.error, job.state = f"The fit failed: {error}", "failed"
            raise
        else:
            job.found = found
            job.state = "done"

    def _fitted(self, job: Job, resolution: float, advance: Any) -> dict[int, SectionFit]:
        desk = self._desk
        looked_at = self._looked_at(job)
        placements = {one: self._whole(one, job.document) for one in looked_at}
        record = desk.dataset.record
        others = frozenset(image.id for image in record.images) - set(looked_at)
        dataset = PlacedDataSet.with_placements(record, placements, left_out=others)
        result = refine(
            dataset,
            desk.atlas,
            session=desk.dataset.session,
            steps=job.steps,  # type: ignore[arg-type]
            resolution=resolution,
            few=True,
            progress=advance,
        )
        return {one: result.sections[one] for one in job.image_ids}

    def _looked_at(self, job: Job) -> list[int]:
        """Return the sections that are fitted, and some beside them to learn from if few are."""
        desk = self._desk
        order = [one for one, state in job.document.sections.items() if state.status != "left out"]
        numbers = {one: desk.sections[one].number for one in order}
        own = [numbers[one] for one in job.image_ids]
        chosen = set(job.image_ids)
        near = sorted(
            (one for one in order if one not in chosen),
            key=lambda one: min(abs(numbers[one] - number) for number in own),
        )
        chosen |= set(near[: max(FEWEST - len(chosen), 0)])
        return [one for one in order if one in chosen]

    def _whole(self, image_id: int, document: Document) -> Placement:
        """Return where a section lies, with its deformation read."""
        desk = self._desk
        state = document.sections[image_id]
        origin = document.origins[state.origin]
        found = desk.placement(image_id, document=document)
        image = desk.sections[image_id].image
        spline = desk.spline_of(image_id, origin)
        bent = deformed(state.markers, image.width, image.height, spline)
        return Placement(np.array(found.forward), np.array(found.backward), bent)
