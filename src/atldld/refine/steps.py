"""The steps of a refinement, and the guard that lets a section move only where that is better.

1. ``whole``: one affine map for the whole data set.
2. ``sections``: nine numbers for each section, its plane and how it lies in it. They may not be
   far from those of the sections around.

Each step is fitted on half of the pixels, every other square millimetre. It is kept for a section
only if the other half agrees: the section differs less there from what the atlas says, and the
tissue covers the atlas's brain no worse. A section for which it is not kept stays where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from atldld.errors import InvalidInputError
from atldld.place.registration import StepResult
from atldld.refine.fit import Frame, direction_by, fit_section, fit_whole, moved_by
from atldld.refine.model import Labels3d, Look, Matrix, learn, residuals
from atldld.support.arguments import check_names
from atldld.support.pipeline import outcomes

__all__ = ["FEWEST", "STEPS", "Fitted", "check_steps", "run_steps"]

STEPS = ("whole", "sections")
"""The steps, in their order."""

FEWEST = 5
"""Sections without which the greys of structures cannot be learned: fewer stay where they are."""

_GAIN = 0.005  # part of the difference that a step must take away from the pixels held back
_COVER = 0.01  # part of the overlap of tissue and brain that it may cost
_CAPPED_AT = 99.5  # percentile of all values above which they are cut off
_NEIGHBOURS = 3  # sections on each side that say where one is expected
_PULL = 0.8  # part of their median move that is expected of it
_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Fitted:
    """Where a section lies after the steps.

    Attributes
    ----------
    forward : numpy.ndarray, shape (3, 3)
        ``[p, i, r] = forward @ [x, y, 1]``: image pixels → reference µm.
    step : numpy.ndarray, shape (3,)
        The way to the next section number there, in µm.
    results : tuple of StepResult
        What each step did.
    """

    forward: Matrix
    step: Matrix
    results: tuple[StepResult, ...] = ()


def check_steps(steps: str | Sequence[str]) -> tuple[str, ...]:
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
                f"There is no step {name!r} in a refinement; there are {' and '.join(STEPS)}."
            )
    return tuple(name for name in STEPS if name in chosen)


def run_steps(
    looks: Sequence[Look],
    starts: Sequence[Fitted],
    labels: Labels3d,
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
    labels : Labels3d
        The atlas.
    steps : sequence of str
        Some of `STEPS`.
    most : float
        How far, in µm, a step may move a corner of a section.
    jobs : int
        Threads. The result does not depend on them.
    progress : callable, optional
        Called with the name of the step when a part of it is done: once, or three times a section.
    """
    cap = float(np.percentile(np.concatenate([look.values for look in looks]), _CAPPED_AT))
    capped = [look.capped(cap) for look in looks]
    at = list(starts)
    for name in steps:
        if name == "whole":
            wanted = _whole(capped, at, labels)
            if progress:
                progress(name)
        else:
            wanted = _each(capped, at, labels, jobs, progress)
        at = _guarded(name, capped, at, wanted, labels, most)
    return at


def _whole(looks: Sequence[Look], at: Sequence[Fitted], labels: Labels3d) -> list[Fitted]:
    thinned = [_thinned(look.fitted) for look in looks]
    whole = fit_whole(thinned, [fitted.forward for fitted in at], labels)
    return [
        replace(
            fitted,
            forward=moved_by(whole, fitted.forward),
            step=direction_by(whole, fitted.step),
        )
        for fitted in at
    ]


def _thinned(look: Look, most: int = 8000) -> Look:
    """Return every so-many-th pixel: twelve numbers for all sections need no more."""
    every = max(len(look.values) // most, 1)
    chosen = np.zeros(len(look.values), dtype=bool)
    chosen[::every] = True
    return look.only(chosen)


def _each(
    looks: Sequence[Look],
    at: Sequence[Fitted],
    labels: Labels3d,
    jobs: int,
    progress: Callable[[str], None] | None,
) -> list[Fitted]:
    """Move each section by itself, some rounds, so that its neighbours can say what is likely."""
    forwards = [fitted.forward for fitted in at]
    halves = [look.fitted for look in looks]
    numbers = np.zeros((len(looks), 9))
    moved = list(forwards)
    for rounds in range(_ROUNDS):
        greys = learn(halves, moved, labels)
        expected = np.zeros_like(numbers) if rounds == 0 else _PULL * _running_median(numbers)

        def fit(k: int, _: None, greys: Matrix = greys, expected: Matrix = expected) -> Matrix:
            return fit_section(halves[k], forwards[k], greys, labels, expected[k])

        found = []
        for _, result in outcomes(range(len(looks)), lambda _: None, fit, fetchers=1, workers=jobs):
            if isinstance(result, Exception):
                raise result
            found.append(result)
            if progress:
                progress("sections")
        numbers = np.array(found)
        moved = [
            Frame(look).applied(forward, own)
            for look, forward, own in zip(halves, forwards, numbers, strict=True)
        ]
    return [replace(fitted, forward=forward) for fitted, forward in zip(at, moved, strict=True)]


def _running_median(numbers: Matrix) -> Matrix:
    reach = range(len(numbers))
    out: Matrix = np.array(
        [np.median(numbers[max(k - _NEIGHBOURS, 0) : k + _NEIGHBOURS + 1], axis=0) for k in reach]
    )
    return out


def _guarded(
    name: str,
    looks: Sequence[Look],
    at: Sequence[Fitted],
    wanted: Sequence[Fitted],
    labels: Labels3d,
    most: float,
) -> list[Fitted]:
    """Return where sections lie after a step: each moves only if what was held back agrees."""
    halves = [look.fitted for look in looks]
    was_grey, is_grey = (
        learn(halves, [fitted.forward for fitted in places], labels) for places in (at, wanted)
    )
    out = []
    for look, before, after in zip(looks, at, wanted, strict=True):
        was = _figures(look, before.forward, was_grey, labels)
        is_now = _figures(look, after.forward, is_grey, labels)
        moved = _moved(look, before.forward, after.forward)
        if moved > most:
            kept, reason = False, f"It would move by {moved:.0f} µm, more than {most:.0f}."
        elif not is_now["difference"] < was["difference"] - _GAIN:
            kept, reason = False, "The pixels that were held back do not fit better."
        elif is_now["overlap"] < was["overlap"] - _COVER:
            kept, reason = False, "The tissue would cover the atlas's brain worse."
        else:
            kept, reason = True, "The pixels that were held back fit better."
        result = StepResult(
            step=name,
            kept=kept,
            reason=reason,
            moved=round(moved, 1) if kept else 0.0,
            before=was,
            after=is_now,
        )
        chosen = after if kept else before
        out.append(replace(chosen, results=(*before.results, result)))
    return out


def _figures(look: Look, forward: Matrix, greys: Matrix, labels: Labels3d) -> dict[str, float]:
    """Return what the step has not optimised: the difference of held-back pixels, the overlap."""
    held = look.only(look.held_back)
    left = residuals(held, forward @ held.pixels, greys, labels)
    values = held.values - held.values.mean()
    tissue = look.values > _threshold(look.values)
    brain = labels.at(forward @ look.pixels) > 0
    either = int((tissue | brain).sum())
    return {
        "difference": round(float(left @ left) / (float(values @ values) or 1.0), 5),
        "overlap": round(int((tissue & brain).sum()) / either if either else 0.0, 5),
    }


def _threshold(values: Matrix) -> float:
    """Return the value that parts tissue from the slide best (Otsu's)."""
    span = float(np.ptp(values))
    if span == 0:
        return float(values[0]) if len(values) else 0.0
    scaled = np.clip((values - values.min()) / span * 255, 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(scaled.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    # tissue is often much paler than its darkest layers: what is clearly above the slide counts
    return float(values.min() + span * level / 255 / 2)


def _moved(look: Look, before: Matrix, after: Matrix) -> float:
    frame = Frame(look)
    x, y = frame.middle
    half_x, half_y = frame.half
    corners = ((x + a * half_x, y + b * half_y) for a in (-1, 1) for b in (-1, 1))
    places = np.array([(x, y), *corners])
    points = np.column_stack((places, np.ones(len(places)))).T
    return float(np.linalg.norm((after - before) @ points, axis=0).max())
