"""The registration of a data set: its sections fetched, looked at, fitted and guarded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from atldld.errors import AtldldError, InvalidInputError
from atldld.place.coordinates import coordinates_of
from atldld.place.placement import Placement
from atldld.place.refinement import ExpectedError, StepResult
from atldld.place.registration import Registration, SectionFit
from atldld.place.tiers import tier_of, tier_to_image
from atldld.refine.errors import evidence, stated
from atldld.refine.guard import Template3d, misplaced, strangers
from atldld.refine.model import Labels3d, Look, Matrix, look_at
from atldld.refine.steps import (
    FEWEST,
    STEPS,
    Atlas3d,
    Fitted,
    Step,
    check_steps,
    run_steps,
    work_of,
)
from atldld.sections.register import report_left_out
from atldld.support.arguments import check_number, plain
from atldld.support.pipeline import outcomes, workers_for
from atldld.support.provenance import FRAME, Progress, version

if TYPE_CHECKING:
    from atldld.atlas.model import Atlas
    from atldld.fetch.kept import CachedImage
    from atldld.fetch.session import Session
    from atldld.place.sections import PlacedDataSet, PlacedSection

__all__ = ["check_refinement", "looks_of", "refine"]

_FINEST, _COARSEST = 10.0, 200.0  # µm: sides of pixels that sections may be looked at with
_STRANGER = (
    "It looks much less like the atlas where it lies than the sections around it do, and moving it "
    "does not help: it may be torn, of another place or another brain, or placed wrongly."
)
_MISPLACED = (
    "The sections of this data set hardly look like the atlas where they lie, and moving them does "
    "not help: they may be placed wrongly by more than can be found, or be of another brain. Start "
    "from a better alignment."
)
_FEW = 50  # pixels in the atlas's brain without which there is nothing to compare


def check_refinement(
    steps: str | Sequence[str] = STEPS, resolution: float = 25, most: float = 1500
) -> tuple[Step, ...]:
    """Check the options of `refine` before anything is fetched; return the steps.

    Raises
    ------
    InvalidInputError
        If there is no such step, or a length makes no sense.
    """
    if not _FINEST <= check_number(resolution, "resolution", unit="µm") <= _COARSEST:
        raise InvalidInputError(
            f"The resolution is {resolution:g} µm, but must be from {_FINEST:g} to {_COARSEST:g}."
        )
    check_number(most, "limit of a move", above=0, unit="µm")
    return check_steps(steps)


def refine(
    dataset: PlacedDataSet,
    atlas: Atlas,
    *,
    session: Session,
    steps: Step | Sequence[Step] = STEPS,
    resolution: float = 25,
    most: float = 1500,
    sections: PlacedSection | Iterable[PlacedSection] | None = None,
    few: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Registration:
    """Move and bend the sections of a data set to fit the atlas, from where they are placed.

    Sections are compared with the atlas's annotation: within a structure a data set looks alike,
    and how each structure looks is learned from all sections together. A section moves only if
    pixels that were held back agree, and the atlas's template if there is one; otherwise it stays,
    and the result says why.

    Parameters
    ----------
    dataset : PlacedDataSet
        Where the sections lie at the start.
    atlas : Atlas
        Its annotation.
    session : Session
        Where pixels come from.
    steps : sequence of {"whole", "sections", "inplane"}
        What is done; see `atldld.refine.steps`.
    resolution : float
        Side of a pixel, in µm, at which sections are looked at: 10 to 200.
    most : float
        How far, in µm, a step may move any point of a section.
    sections : PlacedSection or iterable of PlacedSection, optional
        Only these; the others stay where they are and are not looked at.
    few : bool
        Refine fewer than five sections as well. The greys of structures are then learned from too
        little to be sure of, and the guard has more to do.
    jobs : int, optional
        Threads; the number of cores by default. The result does not depend on them.
    progress : callable, optional
        Called with how much is done, how much there is, and what was done last.

    Returns
    -------
    Registration
        For every section that is placed at the start.

    Raises
    ------
    InvalidInputError
        If an option makes no sense. Nothing is asked.
    UnsupportedPlaneError
        If the data set is of another brain than the atlas.
    AlignmentMissingError
        If no section of the data set is placed.
    AtldldError
        If not one section can be fetched: the first one's error.

    Warns
    -----
    SkippedImageWarning
        If a section cannot be fetched; it stays where it is.
    """
    chosen = check_refinement(steps, resolution, most)
    resolution, most = float(plain(resolution)), float(plain(most))
    atlas.check_dataset(dataset.record)
    dataset.check_placed()
    asked = dataset.chosen(sections)
    jobs = workers_for(jobs)
    alignment3d, thickness = dataset.record.check_alignment()
    step: Matrix = np.asarray(alignment3d.to_reference[:, 2] * thickness, dtype=np.float64)
    # the sections are read, refined, and their errors stated
    total = len(asked) + work_of(chosen, len(asked)) + len(asked)
    done = 0

    def advance(what: str) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total, what)

    looks, reasons = looks_of(asked, session, resolution, jobs, advance)
    if not looks:
        raise next(iter(reasons.values()))
    report_left_out(reasons.items(), session, dataset.id)
    labels = Labels3d.of(atlas)
    template, without = _template(atlas)
    order = sorted(looks, key=lambda section: (section.number, section.id))
    starts = [
        Fitted(section.placement.forward, _step_of(section, step), section.placement.deformation)
        for section in order
    ]
    told = {section.id: str(error) for section, error in reasons.items()}
    usable = []
    for k, section in enumerate(order):
        why = _unusable(looks[section], starts[k], labels)
        if why is None:
            usable.append(k)
        else:
            told[section.id] = why
    fitted = dict(zip((section.id for section in order), starts, strict=True))
    expected: dict[int, ExpectedError] = {}
    if len(usable) < (1 if few else FEWEST):
        why = (
            f"{len(usable)} section{'s' * (len(usable) != 1)} can be used, and {FEWEST} are needed "
            "to learn what structures look like."
        )
        told |= {order[k].id: why for k in usable}
        if progress:
            progress(done, done, "nothing to fit")
    elif chosen:
        lines = _lines(atlas, labels)
        strange: set[int] = set()
        for again in (False, True):
            total = done + work_of(chosen, len(usable)) + len(usable)
            results = run_steps(
                [looks[order[k]] for k in usable],
                [starts[k] for k in usable],
                Atlas3d(labels, template),
                chosen,
                most=most,
                jobs=jobs,
                progress=advance,
            )
            known = evidence(
                [looks[order[k]] for k in usable],
                [starts[k] for k in usable],
                results,
                [order[k].number for k in usable],
                labels,
                lines,
                jobs=jobs,
                progress=advance,
            )
            likeness = [0.0 if one is None else one.likeness for one in known]
            tried = [result.results[-1] for result in results]
            # what a section would be at best, though the guard or the limit keeps it from there
            best = [min(one.before["difference"], one.after["difference"]) for one in tried]
            found = strangers(likeness, best)
            strange |= {usable[k] for k in found}
            left = [k for k in usable if k not in strange]
            if again or not found or len(left) < FEWEST:
                break
            usable = left  # what others look like, and where they lie, is found without those
        told |= {order[k].id: _STRANGER for k in strange}
        if "inplane" in chosen and misplaced(
            likeness, [(one.after if one.kept else one.before)["overlap"] for one in tried]
        ):
            told |= {order[k].id: _MISPLACED for k in usable}
        for k, result, one in zip(usable, results, known, strict=True):
            if order[k].id in told:
                continue
            fitted[order[k].id] = result
            if one is not None:
                expected[order[k].id] = stated(one)
    fits = {
        section.id: _fit_of(
            section, fitted.get(section.id), told.get(section.id), expected.get(section.id)
        )
        for section in dataset.sections
    }
    # what people have left out stays left out
    for image in dataset.record.images:
        if image.id in dataset.set_aside:
            fits[image.id] = msgspec.structs.replace(
                SectionFit.of(
                    dataset.set_aside[image.id], image.section_number, pixel=image.resolution
                ),
                status="left out",
            )
    about = _about(dataset, atlas, session, chosen, resolution, most)
    about["template"] = without or atlas.template_kind
    about["failed"] = {str(section.id): str(error) for section, error in reasons.items()}
    return Registration(dataset.id, fits, about)


def _template(atlas: Atlas) -> tuple[Template3d | None, str | None]:
    """Return the atlas's template, or why there is none; the guard does without then."""
    try:
        grey = atlas.template
    except AtldldError as error:
        return None, f"none, so the guard has one figure less: {error}"
    if grey is None:
        return None, "none: the atlas has no template, so the guard has one figure less"
    # a template of one's own may be coarser than the annotation
    side = atlas.resolution * atlas.annotation.shape[0] / grey.shape[0]
    return Template3d(grey, side), None


def _step_of(section: PlacedSection, step: Matrix) -> Matrix:
    """Return the way to the next section number at a section, as its way back has it."""
    try:
        inverse = np.linalg.inv(section.placement.backward[:, :3])
    except np.linalg.LinAlgError:
        return step
    return np.asarray(inverse[:, 2], dtype=np.float64)


def looks_of(
    sections: Sequence[PlacedSection],
    session: Session,
    resolution: float,
    jobs: int,
    advance: Callable[[str], None] = lambda _: None,
) -> tuple[dict[PlacedSection, Look], dict[PlacedSection, AtldldError]]:
    """Return sections as they are registered, and why some cannot be fetched.

    Parameters
    ----------
    sections : sequence of PlacedSection
        The sections.
    session : Session
        Where pixels come from.
    resolution : float
        Side of a pixel, in µm.
    jobs : int
        Threads.
    advance : callable, optional
        Called with a text once a section is done.
    """
    tiers = {section: tier_of(section, resolution) for section in sections}

    def fetch(section: PlacedSection) -> CachedImage:
        return session.image(section.image, tiers[section])

    def work(section: PlacedSection, file: CachedImage) -> Look:
        tier = tiers[section]
        pixels = session.pixels(section.image, tier, held=file)
        (side, _, first), _ = tier_to_image(tier).matrix.tolist()
        across = float(np.linalg.norm(section.placement.forward[:, 0]))
        return look_at(pixels, (side, side, first, first), across * side, resolution)

    looks: dict[PlacedSection, Look] = {}
    reasons: dict[PlacedSection, AtldldError] = {}
    fetchers = session.limits.in_flight
    for section, result in outcomes(sections, fetch, work, fetchers=fetchers, workers=jobs):
        if isinstance(result, AtldldError):
            reasons[section] = result
        else:
            looks[section] = result
        advance(f"section {section.number}")
    return looks, reasons


def _unusable(look: Look, start: Fitted, labels: Labels3d) -> str | None:
    """Return why a section cannot be fitted, if so."""
    if np.ptp(look.values) < 1:
        return "Its picture is empty."
    inside = labels.at(start.places(look)) > 0
    if inside.sum() < _FEW:
        return "It lies outside the atlas's brain, so there is nothing to compare it with."
    return None


def _lines(atlas: Atlas, labels: Labels3d) -> list[tuple[int, ...]]:
    """Return, for each of the labels, the ids of the structures that it is a part of."""
    known = {structure.id for structure in atlas.graph}
    own = labels.ids.tolist()
    return [
        (*atlas.graph.ancestors(one), one) if one in known else ((one,) if one else ())
        for one in own
    ]


def _fit_of(
    section: PlacedSection,
    fitted: Fitted | None,
    why: str | None,
    expected: ExpectedError | None,
) -> SectionFit:
    placement = section.placement
    results: tuple[StepResult, ...] = ()
    if fitted is not None and fitted.results:
        results = fitted.results
        if any(result.kept for result in results):
            found = Placement.from_plane(fitted.forward, fitted.step, section.number)
            if found is not None and fitted.deformation is not None:
                found = replace(found, deformation=fitted.deformation)
            if found is None or not found.crosses(section.plane):
                why = "It would no longer lie in its plane of section."
                results = tuple(
                    msgspec.structs.replace(result, kept=False, reason=why, moved=0.0)
                    for result in results
                )
                expected = None  # that was of the place where it does not lie
            else:
                placement = found
    elif why is not None:
        results = (StepResult(step="none", kept=False, reason=why, moved=0.0, before={}, after={}),)
    return SectionFit.of(
        placement,
        section.number,
        results,
        pixel=section.image.resolution,
        expected_error=expected,
    )


def _about(
    dataset: PlacedDataSet,
    atlas: Atlas,
    session: Session,
    steps: Sequence[str],
    resolution: float,
    most: float,
) -> dict[str, Any]:
    return {
        "atldld_version": version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "synthetic": dataset.record.synthetic or atlas.synthetic,
        "service": session.settings.api_url,
        "frame": FRAME,
        "space": coordinates_of(atlas.name),
        "atlas": atlas.describe(),
        "start": dataset.alignment.describe() if dataset.alignment else "the service's alignment",
        "steps": list(steps),
        "resolution_um": resolution,
        "most_um": most,
    }
