"""The guard: whether a step has made a section better, by figures that it did not optimise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.refine.model import Labels3d, Look, Matrix, local_correlation, residuals, tissue_above

__all__ = ["Template3d", "figures", "strangers", "verdict", "verdict_of_all"]

_GAIN = 0.005  # part of the difference that a step must take away from the pixels held back
_COVER = 0.01  # part of the overlap of tissue and brain that it may cost
# With a template, what the held-back pixels say and what the template says are weighed together.
_DETAIL = 0.005  # of the squared local correlation with the template that a step may cost
_TOGETHER = 0.002  # what the difference must fall by, and the correlation, counted twice, rise by
_MORE = 0.03  # part of the difference that a step may add where the template speaks for it
# What a step that moves all alike may cost one section, of the difference and of the overlap.
_MUCH, _MUCH_COVER = 0.08, 0.03
# A section does not belong if its likeness is less than a part of that of the sections around it,
# and more of what those explain is unexplained; the less the one says so, the more must the other.
_UNLIKE, _UNEXPLAINED, _BOTH = 0.65, 0.15, 0.28
_AROUND, _LEAST_AROUND = 4, 3  # sections before and after it; how many of them there must be
_WINDOW = 200.0  # µm: standard deviation of the window of that correlation


@dataclass(frozen=True, eq=False)
class Template3d:
    """An atlas's own picture of the brain, which no step looks at.

    Attributes
    ----------
    grey : numpy.ndarray, shape (P, I, R)
        The picture.
    resolution : float
        Side of a voxel, in µm.
    """

    grey: NDArray[np.number]
    resolution: float

    def at(self, points: Matrix) -> Matrix:
        """Return the grey at points, shape (3, N) in reference µm → (N,); 0 outside."""
        from scipy.ndimage import map_coordinates

        places = points / self.resolution - 0.5
        out: Matrix = map_coordinates(
            self.grey, places, order=1, mode="constant", output=np.float64
        )
        return out


def figures(
    look: Look, points: Matrix, greys: Matrix, labels: Labels3d, template: Template3d | None
) -> dict[str, float]:
    """Return what tells how well a section lies, by what no step has looked at.

    Parameters
    ----------
    look : Look
        The section.
    points : numpy.ndarray, shape (3, rows · columns)
        Where its pixels lie, in reference µm.
    greys : numpy.ndarray, shape (count,)
        What structures look like.
    labels : Labels3d
        The atlas.
    template : Template3d or None
        The atlas's own picture, if it has one.

    Returns
    -------
    dict
        ``difference``: the part of the held-back pixels' variance that the greys of their
        structures do not explain. ``overlap``: the area that tissue and brain share, of what they
        have together. ``detail``: the mean squared local correlation with the template, where
        there is one.
    """
    held, counted = look.judging.ravel(), look.counted.ravel()
    found = labels.at(points)
    values = look.values.ravel().astype(np.float64)
    left = residuals(values[held], greys[found[held]])
    spread = values[held] - values[held].mean() if held.any() else values[held]
    tissue = counted & (values > tissue_above(values))
    brain = counted & (found > 0)
    either = int((tissue | brain).sum())
    out = {
        "difference": round(float(left @ left) / (float(spread @ spread) or 1.0), 5),
        "overlap": round(int((tissue & brain).sum()) / either if either else 0.0, 5),
    }
    if template is not None:
        picture = template.at(points).reshape(look.values.shape).astype(np.float32)
        alike = local_correlation(look.values, picture, max(_WINDOW / look.side, 1.0)).ravel()
        # squared, as a stain may be dark where the template is bright
        out["detail"] = round(float((alike[brain] ** 2).mean()) if brain.any() else 0.0, 5)
    return out


def verdict(before: dict[str, float], after: dict[str, float]) -> tuple[bool, str]:
    """Return whether a section is better after a step, and why, as a sentence."""
    if after["overlap"] < before["overlap"] - _COVER:
        return False, "The tissue would cover the atlas's brain worse."
    gain = before["difference"] - after["difference"]
    if "detail" not in before:
        if gain <= _GAIN:
            return False, "The pixels that were held back do not fit better."
        return True, "The pixels that were held back fit better."
    more = after["detail"] - before["detail"]
    if more < -_DETAIL:
        return False, "The section would look less like the atlas's template."
    if gain < -_MORE or gain + 2 * more <= _TOGETHER:
        return False, "Neither the pixels that were held back nor the template fit better."
    return True, "The pixels that were held back and the template fit better together."


def verdict_of_all(
    before: Sequence[dict[str, float]], after: Sequence[dict[str, float]]
) -> list[tuple[bool, str]]:
    """Return what `verdict` does, of a step that moves all sections alike.

    The middle one of all sections decides, so that neighbours go the same way: one knife has cut
    them. A section stays if it becomes much worse.
    """
    gains, covers = [], []
    for was, now in zip(before, after, strict=True):
        detail = 2 * (now["detail"] - was["detail"]) if "detail" in was else 0.0
        gains.append(was["difference"] - now["difference"] + detail)
        covers.append(now["overlap"] - was["overlap"])
    least = _TOGETHER if before and "detail" in before[0] else _GAIN
    if np.median(gains) <= least or np.median(covers) < -_COVER:
        return [(False, "Most sections would not fit better.")] * len(gains)
    return [
        (False, "Most sections fit better, but this one would fit much worse.")
        if gain < -_MUCH or cover < -_MUCH_COVER
        else (True, "Most sections fit better.")
        for gain, cover in zip(gains, covers, strict=True)
    ]


def strangers(likeness: ArrayLike, difference: ArrayLike) -> list[int]:
    """Return which sections do not belong where they lie, as far as the others near them tell.

    A section that is torn, of another place or of another brain, or that was placed wrongly, looks
    much less like what is expected of it than the sections around it, wherever it is moved.

    Parameters
    ----------
    likeness : array_like, shape (sections,)
        Of each section, in the order of their numbers, the mean squared local correlation with
        what is expected where it lies in the end (`atldld.refine.errors.Evidence`).
    difference : array_like, shape (sections,)
        The part of its variance that the greys of its structures do not explain (`figures`).
    """
    alike, apart = np.asarray(likeness, float), np.asarray(difference, float)
    out = []
    for k in range(len(alike)):
        near = [j for j in range(k - _AROUND, k + _AROUND + 1) if 0 <= j < len(alike) and j != k]
        if len(near) < _LEAST_AROUND:
            continue
        usual, left = float(np.median(alike[near])), float(np.median(apart[near]))
        if usual <= 0 or left >= 1:
            continue
        like, more = alike[k] / usual, (apart[k] - left) / (1 - left)
        # both must say so: few details, or uneven light, are no reason
        if like < _UNLIKE and more > max(_UNEXPLAINED, like - _BOTH):
            out.append(k)
    return out
