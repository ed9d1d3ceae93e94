"""The steps of a refinement, and the guard that lets a section move only where that is better.

1. ``whole``: one affine map for the whole data set.
2. ``sections``: nine numbers for each section, its plane and how it lies in it; those of neighbours
   are alike.
3. ``inplane``: a smooth displacement within the plane of each section.

The first two are fitted on half of the pixels, every other square millimetre, and judged by the
other half. A displacement that only half of the section has shaped says little of the other half's
details, so the third step is tried on one half first; if the other half agrees, it is made with
all. A step is kept for a section only if it is better by figures that were not optimised
(`atldld.refine.guard`), and otherwise the section stays where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args

import numpy as np

from atldld.errors import InvalidInputError
from atldld.place.deformation import Deformation
from atldld.place.refinement import StepResult
from atldld.refine.guard import Template3d, figures, verdict, verdict_of_all
from atldld.refine.inplane import JACOBIAN, bend, deformation_of
from atldld.refine.model import (
    Image,
    Labels3d,
    Look,
    Matrix,
    capped,
    expected_of,
    learn,
    weights_of,
)
from atldld.refine.planes import Frame, fit_planes
from atldld.refine.whole import direction_by, fit_whole, moved_by
from atldld.support.arguments import check_names
from atldld.support.pipeline import outcomes

__all__ = ["FEWEST", "STEPS", "Atlas3d", "Fitted", "Step", "check_steps", "run_steps", "work_of"]

Step = Literal["whole", "sections", "inplane"]
"""What a refinement can do."""

STEPS: tuple[Step, ...] = get_args(Step)
"""The steps, in their order."""

FEWEST = 5
"""Sections without which the greys of structures cannot be learned: fewer stay where they are."""

_COARSE = 50.0  # µm: pixels that planes are fitted with, and steps judged by
_COARSER = (100.0, 200.0)  # µm: pixels that a section is bent by where finer ones make it worse

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Atlas3d:
    """What sections are compared with.

    Attributes
    ----------
    labels : Labels3d
        The annotation.
    template : Template3d or None
        The atlas's own picture, by which steps are judged where there is one.
    """

    labels: Labels3d
    template: Template3d | None = None


@dataclass(frozen=True, eq=False)
class Fitted:
    """Where a section lies after the steps.

    Attributes
    ----------
    forward : numpy.ndarray, shape (3, 3)
        ``[p, i, r] = forward @ [x, y, 1]``: pixels of the flat image → reference µm.
    step : numpy.ndarray, shape (3,)
        The way to the next section number there, in µm.
    deformation : Deformation or None
        The way from the image to the flat image.
    results : tuple of StepResult
        What each step did.
    """

    forward: Matrix
    step: Matrix
    deformation: Deformation | None = None
    results: tuple[StepResult, ...] = ()

    def places(self, look: Look, shift: Image | None = None) -> Matrix:
        """Return where a look's pixels lie, shape (3, rows · columns), in reference µm."""
        out: Matrix = self.forward @ look.flat(self.deformation, shift)
        return out


def check_steps(steps: str | Sequence[str]) -> tuple[Step, ...]:
    """Return the steps that are meant, in their order.

    Raises
    ------
    InvalidInputError
        If there is no such step.
    """
    chosen = [str(name) for name in check_names(steps, "step")]
    for name in chosen:
        if name not in STEPS:
            raise InvalidInputError(
                f"There is no step {name!r} in a refinement; there are {', '.join(STEPS)}."
            )
    return tuple(name for name in STEPS if name in chosen)


def work_of(steps: Sequence[str], sections: int) -> int:
    """Return how often `run_steps` tells its progress."""
    rounds = 2 if sections < FEWEST else 1
    each = {"whole": 1, "sections": sections, "inplane": 2 * sections * rounds}
    return sum(each[name] for name in steps)


def run_steps(
    looks: Sequence[Look],
    starts: Sequence[Fitted],
    atlas: Atlas3d,
    steps: Sequence[str] = STEPS,
    *,
    most: float = 1500.0,
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> list[Fitted]:
    """Run the steps on all sections of a data set, in the order of their numbers.

    Parameters
    ----------
    looks : sequence of Look
        The sections.
    starts : sequence of Fitted
        Where they lie.
    atlas : Atlas3d
        What they are compared with.
    steps : sequence of str
        Some of `STEPS`.
    most : float
        How far, in µm, a step may move any point of a section.
    jobs : int
        Threads. The result does not depend on them.
    progress : callable, optional
        Called with the name of the step when a part of it is done; `work_of` says how often.
    """
    fine = capped(looks)
    coarse = [look.coarser(_COARSE) for look in fine]
    at = list(starts)
    for name in steps:
        if name == "whole":
            wanted = _whole(coarse, at, atlas.labels)
            if progress:
                progress(name)
            at = _judged(name, coarse, at, wanted, atlas, most)
        elif name == "sections":
            wanted = _sections(coarse, at, atlas.labels, jobs, progress)
            at = _judged(name, coarse, at, wanted, atlas, most)
        else:
            # few sections teach what structures look like only once they are bent themselves
            for again in range(2 if len(looks) < FEWEST else 1):
                at = _inplane(fine, coarse, at, atlas, most, jobs, progress, again=again > 0)
    return at


def _halves(looks: Sequence[Look], at: Sequence[Fitted]) -> tuple[list[Matrix], list[Matrix]]:
    """Return the pixels that steps are fitted to, and where they lie."""
    values, points = [], []
    for look, fitted in zip(looks, at, strict=True):
        used = look.fitted.ravel()
        values.append(look.values.ravel()[used].astype(np.float64))
        points.append(fitted.places(look)[:, used])
    return values, points


def _whole(looks: Sequence[Look], at: Sequence[Fitted], labels: Labels3d) -> list[Fitted]:
    whole = fit_whole(*_halves(looks, at), labels)
    return [
        replace(
            fitted,
            forward=moved_by(whole, fitted.forward),
            step=direction_by(whole, fitted.step),
        )
        for fitted in at
    ]


def _sections(
    looks: Sequence[Look],
    at: Sequence[Fitted],
    labels: Labels3d,
    jobs: int,
    progress: Callable[[str], None] | None,
) -> list[Fitted]:
    depths = []
    for look, fitted in zip(looks, at, strict=True):
        middle = fitted.forward @ np.append(Frame(look).middle, 1.0)
        depths.append(float(middle @ fitted.step / np.linalg.norm(fitted.step)))
    moved = fit_planes(
        looks,
        [fitted.forward for fitted in at],
        [fitted.deformation for fitted in at],
        depths,
        labels,
        jobs=jobs,
    )
    if progress:
        for _ in looks:
            progress("sections")
    return [replace(fitted, forward=forward) for fitted, forward in zip(at, moved, strict=True)]


def _inplane(
    fine: Sequence[Look],
    coarse: Sequence[Look],
    at: Sequence[Fitted],
    atlas: Atlas3d,
    most: float,
    jobs: int,
    progress: Callable[[str], None] | None,
    *,
    again: bool = False,
) -> list[Fitted]:
    """Bend each section, if half of it can tell how the other half lies.

    What is bent ``again`` is bent by all pixels or not at all: coarser ones have had their say.
    """
    labels = atlas.labels
    count = range(len(fine))
    half_greys = learn(*_halves(coarse, at), labels, _side(coarse))
    greys = _learned(fine, at, [None] * len(fine), labels)

    def sizes(k: int) -> list[float]:
        return [0.0] if again else _finest(coarse[k])

    def bent(k: int, greys: Matrix, one: _Tried) -> Image:
        """Return how a section is bent by all of its pixels, from what was found before."""
        look, fitted = fine[k], at[k]
        expected = expected_of(look, fitted.places(look), greys, labels)
        return bend(look, expected, weights_of(look, expected, greys), one.shift, one.finest)

    def half(k: int, finest: float) -> _Tried:
        """Return what one half of the pixels makes of it, judged by the other."""
        look, fitted = coarse[k], at[k]
        places = fitted.places(look)
        expected = expected_of(look, places, half_greys, labels)
        shift = bend(look, expected, look.fitted.astype(np.float32), None, finest)
        before = figures(look, places, half_greys, labels, atlas.template)
        after = figures(look, fitted.places(look, shift), half_greys, labels, atlas.template)
        return _Tried(finest, before, after, *verdict(before, after))

    def first(k: int) -> _Tried:
        finer = None
        for finest in sizes(k):
            one = half(k, finest)
            if one.kept:
                return replace(one, shift=bent(k, greys, one))
            finer = finer or one
        assert finer is not None
        return finer

    tried = _each(count, first, jobs, progress)
    # what a section looks like that may not be bent is learned from where it stays
    greys = _learned(fine, at, [one.shift for one in tried], labels)

    def tamed(k: int, one: _Tried) -> tuple[Fitted | None, _Tried]:
        """Return the section once it is bent by all of its pixels, and why it may be, or not."""
        curve = deformation_of(fine[k], bent(k, greys, one), at[k].deformation)
        if curve is None:
            least, greatest = JACOBIAN
            why = f"Areas would change by a factor beyond {least:g} to {greatest:g}."
            return None, replace(one, reason=why)
        out = replace(at[k], deformation=curve)
        if (moved := _moved(fine[k], at[k], out)) > most:
            return None, replace(one, reason=_too_far(moved, most))
        full = figures(coarse[k], out.places(coarse[k]), half_greys, labels, atlas.template)
        kept, reason = verdict(one.before, full)
        if not kept:
            return None, replace(one, after=full, reason=reason)
        if one.finest:
            reason = f"{reason[:-1]}, by pixels of {one.finest:g} µm; finer ones made it worse."
        return out, replace(one, reason=reason)

    def made(k: int) -> tuple[Fitted | None, _Tried]:
        if not tried[k].kept:
            return None, tried[k]
        out, said = tamed(k, tried[k])
        for finest in sizes(k):
            if out is None and finest > tried[k].finest and (one := half(k, finest)).kept:
                out, one = tamed(k, one)
                said = said if out is None else one
        return out, said

    def second(k: int) -> Fitted:
        out, said = made(k)
        result = StepResult(
            step="inplane",
            kept=out is not None,
            reason=said.reason,
            moved=0.0 if out is None else round(_moved(fine[k], at[k], out), 1),
            before=said.before,
            after=said.after,
        )
        return replace(out or at[k], results=(*at[k].results, result))

    return _each(count, second, jobs, progress)


@dataclass(frozen=True, eq=False)
class _Tried:
    """What half of a section says of bending it, by pixels that are not smaller than ``finest``.

    ``shift`` is by how much all of it would be bent, if it may be at all.
    """

    finest: float
    before: dict[str, float]
    after: dict[str, float]
    kept: bool
    reason: str
    shift: Image | None = None


def _finest(look: Look) -> list[float]:
    """Return which pixels a section is bent by at last, in µm: first all, then fewer and fewer."""
    return [0.0, *(side for side in _COARSER if side > 1.5 * look.side)]


def _each(
    count: range,
    work: Callable[[int], Result],
    jobs: int,
    progress: Callable[[str], None] | None,
) -> list[Result]:
    found: list[Result] = []
    for _, result in outcomes(
        count, lambda _: None, lambda k, _: work(k), fetchers=1, workers=jobs
    ):
        if isinstance(result, Exception):
            raise result
        found.append(result)
        if progress:
            progress("inplane")
    return found


def _side(looks: Sequence[Look]) -> float:
    """Return the usual side of pixels, in µm."""
    return float(np.median([look.side for look in looks]))


def _learned(
    looks: Sequence[Look],
    at: Sequence[Fitted],
    shifts: Sequence[Image | None],
    labels: Labels3d,
) -> Matrix:
    """Return the greys, of all pixels, where the sections lie once they are shifted."""
    values, points = [], []
    for look, fitted, shift in zip(looks, at, shifts, strict=True):
        counted = look.counted.ravel()
        values.append(look.values.ravel()[counted])
        points.append(fitted.places(look, shift)[:, counted])
    return learn(values, points, labels, _side(looks))


def _judged(
    name: str,
    looks: Sequence[Look],
    at: Sequence[Fitted],
    wanted: Sequence[Fitted],
    atlas: Atlas3d,
    most: float,
) -> list[Fitted]:
    """Return where sections lie after a step: each moves only if what was held back agrees.

    One affine map moves all sections alike, so all together say whether it is better.
    """
    was_grey, is_grey = (
        learn(*_halves(looks, places), atlas.labels, _side(looks)) for places in (at, wanted)
    )
    was, is_now = (
        [
            figures(look, fitted.places(look), grey, atlas.labels, atlas.template)
            for look, fitted in zip(looks, places, strict=True)
        ]
        for places, grey in ((at, was_grey), (wanted, is_grey))
    )
    if name == "whole":
        verdicts = verdict_of_all(was, is_now)
    else:
        verdicts = [verdict(*pair) for pair in zip(was, is_now, strict=True)]
    out = []
    for k, (look, before, after) in enumerate(zip(looks, at, wanted, strict=True)):
        kept, reason = verdicts[k]
        moved = _moved(look, before, after)
        if moved > most:
            kept, reason = False, _too_far(moved, most)
        result = StepResult(
            step=name,
            kept=kept,
            reason=reason,
            moved=round(moved, 1) if kept else 0.0,
            before=was[k],
            after=is_now[k],
        )
        chosen = after if kept else before
        out.append(replace(chosen, results=(*before.results, result)))
    return out


def _too_far(moved: float, most: float) -> str:
    return f"It would move by {moved:.0f} µm, more than {most:.0f}."


def _moved(look: Look, before: Fitted, after: Fitted) -> float:
    """Return the longest way, in µm, that a point of a grid over the picture goes."""
    rows, columns = look.values.shape
    few = Look(
        np.zeros((9, 9), np.float32),
        look.x[np.linspace(0, columns - 1, 9).astype(int)],
        look.y[np.linspace(0, rows - 1, 9).astype(int)],
        look.side,
    )
    return float(np.linalg.norm(after.places(few) - before.places(few), axis=0).max())
