"""What moved: by which step, how far, what the guard measured, and why other sections stayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from atldld.place.refinement import ExpectedError, StepResult
    from atldld.report.contents import Entry
    from atldld.report.start import Move

__all__ = ["GUARDED", "Guarded", "MovedSection", "Moves", "moves_of"]


class Guarded(NamedTuple):
    """A figure that the guard measures.

    Attributes
    ----------
    name : str
        In `StepResult.before` and `StepResult.after`.
    title, about : str
        What it is called, and what it is.
    """

    name: str
    title: str
    about: str


GUARDED = (
    Guarded(
        "difference",
        "Difference",
        "the part of the held-back pixels’ variance that the structures’ greys do not explain: "
        "lower is better",
    ),
    Guarded("overlap", "Overlap", "of tissue and the atlas’s brain (IoU): higher is better"),
    Guarded(
        "detail",
        "Detail",
        "squared local correlation with the atlas’s template: higher is better",
    ),
)


@dataclass(frozen=True)
class MovedSection:
    """What was done to one section.

    Attributes
    ----------
    place : int
        Where it comes in the order of the page.
    number, image_id : int
        Of the section.
    steps : tuple of StepResult or None
        Of each step of `Moves.steps`, in that order; `None` where it was not tried.
    move : Move or None
        All steps together.
    figures : tuple of (float or None, float or None)
        Of each figure of `Moves.figures`: before the first step, and after the last that was kept.
    expected : ExpectedError or None
        How far off it is expected to be.
    """

    place: int
    number: int
    image_id: int
    steps: tuple[StepResult | None, ...]
    move: Move | None
    figures: tuple[tuple[float | None, float | None], ...]
    expected: ExpectedError | None


@dataclass(frozen=True)
class Moves:
    """What was done to the sections of a data set.

    Attributes
    ----------
    steps : tuple of str
        The steps that were tried on any section, in their order.
    figures : tuple of Guarded
        What the guard has measured.
    sections : tuple of MovedSection
        By section number.
    moved : int
        How many lie elsewhere than before.
    middle : float or None
        The median of how far these have moved, in µm.
    stayed : tuple of (str, tuple of int)
        Why others lie where they lay, and the numbers of the sections that this is true of.
    """

    steps: tuple[str, ...]
    figures: tuple[Guarded, ...]
    sections: tuple[MovedSection, ...]
    moved: int
    middle: float | None
    stayed: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def with_expected(self) -> bool:
        """Whether the error that is expected of any section is known."""
        return any(one.expected is not None for one in self.sections)


def moves_of(entries: Sequence[Entry]) -> Moves | None:
    """Return what was done to sections; `None` if no alignment has moved any.

    Parameters
    ----------
    entries : sequence of Entry
        The sections in the order in which the page counts them.
    """
    if all(entry.move is None and entry.section.refinement is None for entry in entries):
        return None
    tried = [step for entry in entries for step in _steps(entry)]
    steps = tuple(dict.fromkeys(step.step for step in tried if step.step != "none"))
    named = {name for step in tried for name in step.before}
    figures = tuple(figure for figure in GUARDED if figure.name in named)
    places = sorted(
        range(len(entries)), key=lambda k: (entries[k].section.number, entries[k].section.id)
    )
    moved: list[float] = []
    stayed: dict[str, list[int]] = {}
    for k in places:
        entry = entries[k]
        told = entry.section.refinement
        if entry.move is not None and not entry.move.still:
            moved.append(entry.move.median)
        elif told is not None and told.kept:
            moved.append(told.moved)
        elif told is not None and told.reason:
            stayed.setdefault(told.reason, []).append(entry.section.number)
    return Moves(
        steps,
        figures,
        tuple(_section(k, entries[k], steps, figures) for k in places),
        len(moved),
        float(np.median(moved)) if moved else None,
        tuple((reason, tuple(numbers)) for reason, numbers in stayed.items()),
    )


def _steps(entry: Entry) -> tuple[StepResult, ...]:
    return () if entry.section.refinement is None else entry.section.refinement.steps


def _section(
    place: int, entry: Entry, steps: Sequence[str], figures: Sequence[Guarded]
) -> MovedSection:
    done = {step.step: step for step in _steps(entry)}
    first = _steps(entry)[:1]
    last = entry.section.refinement.kept[-1:] if entry.section.refinement else ()
    at_first = first[0].before if first else {}
    at_last = last[0].after if last else at_first
    return MovedSection(
        place,
        entry.section.number,
        entry.section.id,
        tuple(done.get(name) for name in steps),
        entry.move,
        tuple((at_first.get(figure.name), at_last.get(figure.name)) for figure in figures),
        entry.section.expected_error,
    )
