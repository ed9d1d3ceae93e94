"""What is suspicious: how far figures depart from those of the sections around, and in words.

A figure by itself says little, as sections near the ends of the brain differ from those in its
middle. So the rule looks at how far a section's figures depart from those of the sections around
it, in units of how much they depart in this data set anyhow. With an atlas it looks first at how
far a section would have to be moved to fit that. ``docs/quality.md`` says what it finds
and misses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atldld.quality.figures import REACH, around, median
from atldld.quality.table import SectionQuality

if TYPE_CHECKING:
    from atldld.quality.figures import Field, Figures, SectionView
    from atldld.quality.in_atlas import AtlasFigures

__all__ = ["THRESHOLD", "judge", "rule_text"]

AROUND = 8
"""Sections to either side whose figures say what is usual."""

NOTABLE = 3.0
"""Deviation from which a figure is named among the reasons."""

THRESHOLD = 7.0
"""Score above which a section is suspicious."""

LARGEST = 12.0
"""Deviations beyond this count as this."""


@dataclass(frozen=True, slots=True)
class _Test:
    """How a figure counts: which way is worse, and the least difference that is a whole one."""

    figure: str
    sign: int
    floor: float


_TESTS = (
    _Test("overlap", -1, 0.02),
    _Test("mutual_information", -1, 0.02),
    _Test("fit", -1, 0.015),
    _Test("misplacement", 1, 25.0),
    _Test("sharpness", -1, 0.05),
    _Test("tear", 1, 0.015),
    _Test("outside", 1, 0.04),
)


_NEAR_ATLAS = 6
"""Sections to either side whose tears and holes are usual, where there is an atlas."""

_STEEP = 15.0
"""Deviations from the atlas beyond this count as this."""

_FLOORS = {"aside": 20.0, "deep": 80.0, "depth_gain": 0.02, "tear": 0.015, "hole": 0.01}
"""The least difference that is a whole one, of the figures that count with an atlas."""

_USUAL = {"aside": 0.5}
"""Part of what is usual that is a whole one, where it is not all of it: moves in the plane are
found more surely than the others."""

_AS_GAINED = 1.5
"""A depth counts for no more than this times what is gained there: where the atlas looks alike over
hundreds of µm, the best depth means little."""

_TIMES = 1.2
"""So that one threshold serves with and without an atlas."""

_PLAIN = 0.25
"""Part of the score without an atlas that counts where there is one: for what is beyond doubt."""


def rule_text(*, with_atlas: bool = False) -> str:
    """Return the rule in words."""
    ends = (
        f"times the part of the {REACH} neighbours on either side that there are. Above "
        f"{THRESHOLD:g} a section is suspicious, and so is one on which no tissue is seen."
    )
    plain = (
        f"Each figure of a section is compared with the median of the {AROUND} sections on either "
        "side. The difference towards the worse, divided by 1.4826 times the data set's median "
        "absolute difference (or a fixed floor, if that is larger), is its deviation, from 0 to "
        f"{LARGEST:g}. "
    )
    if not with_atlas:
        return plain + "The score is the sum of the deviations, " + ends
    return (
        "Each section is moved to where it fits the annotation best. How far that is in its plane "
        "(a) and across it (d), beyond what it is for the sections beside it, how much better it "
        "fits there (g), how much tissue is missing, folded or out of place (t) and how much of "
        "the annotation's brain is empty (h) are divided by what is usual around it and in the "
        f"data set (a by half of it); d counts as {_AS_GAINED:g} g at most. The score is "
        f"{_TIMES:g} √(a² + d² + 0.4 (d g + t h)), or "
        f"{_PLAIN:g} of the sum of the deviations of the single figures if that is more, " + ends
    )


def _deviations(figures: Figures) -> dict[str, Field]:
    """How far each figure of each section departs towards the worse, 0 to `LARGEST`."""
    out = {}
    for test in _TESTS:
        values = test.sign * getattr(figures, test.figure)
        rest = values - around(values, AROUND)
        usual = 1.4826 * median(np.abs(rest))
        scale = max(usual, test.floor) if np.isfinite(usual) else test.floor
        out[test.figure] = np.clip(np.nan_to_num(rest / scale, nan=0.0), 0, LARGEST)
    return out


def _from_atlas(figures: Figures, placed: AtlasFigures) -> dict[str, Field]:
    """How far each section departs from where the atlas and its neighbours have it."""
    found = {
        "aside": placed.aside,
        "deep": placed.deep,
        "depth_gain": placed.depth_gain,
        "tear": figures.tear - around(figures.tear, _NEAR_ATLAS),
        "hole": placed.hole - around(placed.hole, _NEAR_ATLAS),
    }
    out = {}
    for name, values in found.items():
        usual = 1.4826 * median(np.abs(values))
        near = 1.4826 * around(np.abs(values), AROUND)
        scale = np.fmax(_USUAL.get(name, 1.0) * (near + usual) / 2, _FLOORS[name])
        out[name] = np.clip(np.nan_to_num(values / scale, nan=0.0), 0, _STEEP)
    out["deep"] = np.minimum(out["deep"], _AS_GAINED * out["depth_gain"])
    return out


def judge(
    views: Sequence[SectionView], figures: Figures, placed: AtlasFigures | None = None
) -> list[SectionQuality]:
    """Return what is to be said of each section.

    Parameters
    ----------
    views : sequence of SectionView, length N
        In the order of depth.
    figures : Figures
        What is measured of them.
    placed : AtlasFigures, optional
        How they fit the atlas, if there is one.
    """
    count = len(views)
    deviations = _deviations(figures)
    place = np.arange(count)
    # at the ends of a data set there is less to compare with, and the brain changes fastest
    beside = np.minimum(place, REACH) + np.minimum(count - 1 - place, REACH)
    scores = sum(deviations.values(), np.zeros(count))
    if placed is not None:
        deviations, plain = deviations | _from_atlas(figures, placed), scores
        a, d, g, t, h = (deviations[name] for name in _FLOORS)
        scores = np.maximum(_TIMES * np.sqrt(a**2 + d**2 + 0.4 * (d * g + t * h)), _PLAIN * plain)
    scores = scores * beside / (2 * REACH)
    shown = {test.figure: getattr(figures, test.figure) for test in _TESTS}
    shown["fit"] = figures.continuity
    if placed is not None:
        shown |= {"aside": placed.aside, "deep": placed.deep, "hole": placed.hole}
    out = []
    for k, view in enumerate(views):
        empty = not view.tissue.any()
        score = max(float(scores[k]), 2 * THRESHOLD) if empty else float(scores[k])
        suspicious = score > THRESHOLD
        out.append(
            SectionQuality(
                image_id=view.section.id,
                section_number=view.section.number,
                overlap=_known(figures.overlap[k]),
                mutual_information=_known(figures.mutual_information[k]),
                continuity=float(figures.continuity[k]),
                misplacement=float(figures.misplacement[k]),
                sharpness=float(figures.sharpness[k]),
                tear=float(figures.tear[k]),
                outside=float(figures.outside[k]),
                score=score,
                suspicious=suspicious,
                reasons=_reasons(shown, deviations, k, empty=empty, suspicious=suspicious),
                expected_error=view.section.expected_error,
            )
        )
    return out


def _reasons(
    figures: dict[str, Field],
    deviations: dict[str, Field],
    k: int,
    *,
    empty: bool,
    suspicious: bool,
) -> tuple[str, ...]:
    if empty:
        return ("no tissue is seen on it",)
    worst = sorted(figures, key=lambda name: -deviations[name][k])
    odd = [name for name in worst if deviations[name][k] >= NOTABLE]
    # many small deviations can add up
    return tuple(
        _sentence(figures[name], name, k) for name in odd or (worst[:1] if suspicious else [])
    )


def _sentence(shown: Field, name: str, k: int) -> str:
    value = shown[k]
    near = np.r_[shown[max(k - REACH, 0) : k], shown[k + 1 : k + 1 + REACH]]
    near = near[np.isfinite(near)]
    low, high = np.percentile(near, [25, 75]) if len(near) else (value, value)

    def compared(form: str, unit: str = "", times: float = 1) -> str:
        own, lowest, highest = (format(times * x, form) for x in (value, low, high))
        of_others = lowest if lowest == highest else f"{lowest}–{highest}"
        return f"{own}{unit} (its neighbours: {of_others}{unit})"

    percent = compared(".0f", " %", 100)
    return {
        "overlap": f"its tissue and the annotation overlap by {percent}",
        "mutual_information": f"it shares information with the template by {compared('.2f')}",
        "fit": f"it agrees with the sections beside it by {compared('.2f')}",
        "misplacement": "it would fit the sections beside it better if it were moved or turned, "
        f"by {compared('.0f', ' µm')}",
        "sharpness": f"it may be blurred: its detail is {compared('.2f')}",
        "tear": "tissue is missing, folded or out of place: "
        f"{compared('.1f', ' %', 100)} of what is expected",
        "outside": f"part of the brain lies outside its image: {percent}",
        "aside": f"it would fit the atlas better elsewhere in its plane, {compared('.0f', ' µm')} "
        "from where those beside it suggest",
        "deep": f"it would fit the atlas better at another depth, {compared('.0f', ' µm')} from "
        "where those beside it suggest",
        "hole": f"there is no tissue in a part of the atlas's brain: {percent}",
    }[name]


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
