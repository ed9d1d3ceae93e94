"""What was tried to place a section better, and how far off it is expected to be."""

from __future__ import annotations

import msgspec

__all__ = ["ExpectedError", "Refinement", "StepResult"]


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a step did to one section.

    Attributes
    ----------
    step : str
        Such as ``"sections"``.
    kept : bool
        Whether the section has moved.
    reason : str
        Why it was kept or not, as a sentence.
    moved : float
        How far the step moves the section's corners and middle, in µm: the most.
    before, after : dict
        Figures of the section that the step has not optimised.
    """

    step: str
    kept: bool
    reason: str
    moved: float
    before: dict[str, float]
    after: dict[str, float]


class ExpectedError(msgspec.Struct, frozen=True, kw_only=True):
    """How far off a section is expected to be, in µm.

    Attributes
    ----------
    before, after : float
        At the start and as the registration has it.
    bound90_before, bound90_after : float
        What nine of ten such sections stay below.
    structures : dict of int to tuple of 2 float
        By id of the structure, the same for it alone: before and after.
    """

    before: float
    after: float
    bound90_before: float
    bound90_after: float
    structures: dict[int, tuple[float, float]] = {}

    @property
    def of_section(self) -> dict[str, float]:
        """The four figures of the section as a whole, by their names."""
        return {
            "before": self.before,
            "after": self.after,
            "bound90_before": self.bound90_before,
            "bound90_after": self.bound90_after,
        }


class Refinement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a registration says of a section, besides where it lies.

    Attributes
    ----------
    steps : tuple of StepResult
        What has been tried, in that order.
    expected_error : ExpectedError or None
        How far off it is expected to be, where that has been estimated.
    """

    steps: tuple[StepResult, ...] = ()
    expected_error: ExpectedError | None = None

    @property
    def kept(self) -> tuple[StepResult, ...]:
        """The steps that have moved it."""
        return tuple(step for step in self.steps if step.kept)

    @property
    def moved(self) -> float:
        """How far, in µm, the step that has moved it most has moved any of its points."""
        return max((step.moved for step in self.kept), default=0.0)

    @property
    def reason(self) -> str | None:
        """Why it has not moved; `None` if it has, or if nothing was tried."""
        return None if self.kept or not self.steps else self.steps[-1].reason
