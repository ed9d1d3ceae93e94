"""How far off sections are expected to lie, told by what a registration leaves behind.

Nothing here knows the truth. Where a section lies in the end, and with the greys that structures
have there, these figures are measured on pixels of 100 µm:

- ``pull``: how far, in µm, the section would still be bent to look like what is expected of it
  (`atldld.refine.inplane.bend`);
- ``missed``: by how far, in µm, bending misses a displacement that is known, since it was made on
  purpose: much where the section shows little, or not what is expected;
- ``likeness``: the mean squared local correlation with what is expected;
- ``skew``: how far, in µm, bending has shifted, turned or scaled the section as a whole, which is
  what its plane should have done;
- ``apart``: how far, in µm, its plane is from where those of its neighbours and the thickness of
  sections put it;
- ``unsure``: how little its pixels say of its plane, as a standard deviation in µm
  (`atldld.refine.planes.unsure_of`).

None depends on the stain's brightness or contrast. The error is a product of powers of them, and
its bound a multiple of it. Powers and bounds were found on sections that were cut from the genuine
atlas at known places::

    python benchmarks/registration/calibrate.py

A section that hardly looks like what is expected, or shows nothing, tells nothing by these figures:
it is said to be as far off as sections usually are at the start.

The error of a structure follows from the section's, and from the same figures within the structure
by the section's. Where the section started it was off by the same error and, at a right angle to
that, by how far it has moved since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.place.refinement import ExpectedError
from atldld.refine.inplane import bend, shown_at
from atldld.refine.model import (
    Image,
    Labels3d,
    Look,
    Matrix,
    capped,
    expected_of,
    learn,
    local_correlation,
    weights_of,
)
from atldld.refine.planes import Brightness, unsure_of
from atldld.refine.steps import Fitted
from atldld.support.pipeline import outcomes

__all__ = ["FIGURES", "LEAST", "MODEL", "MOST", "Evidence", "Model", "evidence", "stated"]

FIGURES = ("pull", "missed", "likeness", "skew", "apart", "unsure")
"""What the error is told by."""

LEAST = np.array([5.0, 5.0, 0.01, 3.0, 5.0, 5.0])
"""Less of a figure says no more than this."""

MOST = np.array([400.0, 400.0, 1.0, 400.0, 400.0, 400.0])
"""More of a figure says no more than this."""

_SIDE = 100.0  # µm: pixels that the figures are measured on
_SHOWN = 50.0  # µm: pixels that tell which structures a section shows
_WINDOW = 2.0  # pixels: standard deviation of the window of the local correlation
_BLIND = 0.1  # likeness below which a section tells less and less
_NEIGHBOURS = 2  # sections before and after that a section is compared with
_FEW = 50  # pixels of 50 µm that weigh as much as what the section as a whole shows
_WAVES = ((80.0, 5000.0), (40.0, 2500.0))  # µm: how far, and how long, the known displacement is


@dataclass(frozen=True)
class Model:
    """What errors are, given the figures.

    Attributes
    ----------
    scale : float
        The error, in µm, of a section with all figures 1.
    powers : tuple of float
        Of each of `FIGURES`.
    local : tuple of float
        The same of a structure's figures, each by the section's.
    local_scale : float
        Error of a structure whose figures are the section's, by the section's error.
    moved : float
        What part of the way that a section has moved its error was before.
    unseen : float
        Error, in µm, of a section that shows nothing.
    bounds : tuple of 2 float
        What nine of ten errors, before and after, are below, by the error stated.
    """

    scale: float
    powers: tuple[float, ...]
    local: tuple[float, ...]
    local_scale: float
    moved: float
    unseen: float
    bounds: tuple[float, float]


MODEL = Model(
    scale=1.32,
    powers=(0.496, 0.355, -0.136, 0, 0.156, 0.0959),
    local=(0.321, 0.219, -0.114, 0.0729, 0.17, 0.955),
    local_scale=1.01,
    moved=0.984,
    unseen=237,
    bounds=(1.09, 1.43),
)
"""As ``benchmarks/registration/calibrate.py`` prints it."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of a section's error.

    Attributes
    ----------
    figures : numpy.ndarray, shape (6,)
        Those of `FIGURES`.
    moved : float
        How far it lies from where it started, in µm.
    structures : tuple of int
        Ids of the structures that it shows.
    local : numpy.ndarray, shape (structures, 6)
        Their figures.
    local_moved : numpy.ndarray, shape (structures,)
        How far they lie from where they started, in µm.
    """

    figures: Matrix
    moved: float
    structures: tuple[int, ...]
    local: Matrix
    local_moved: Matrix

    @property
    def likeness(self) -> float:
        """How much the section looks like what is expected of it: 0 to 1."""
        return float(self.figures[FIGURES.index("likeness")])


def evidence(
    looks: Sequence[Look],
    starts: Sequence[Fitted],
    ends: Sequence[Fitted],
    numbers: Sequence[int],
    labels: Labels3d,
    lines: Sequence[Sequence[int]],
    *,
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> list[Evidence | None]:
    """Return what is known of the errors of all sections of a data set.

    Parameters
    ----------
    looks : sequence of Look
        The sections, in the order of their numbers.
    starts, ends : sequence of Fitted
        Where they lay and where they lie.
    numbers : sequence of int
        Their numbers.
    labels : Labels3d
        The annotation.
    lines : sequence of sequence of int
        For each of the labels, the ids of the structures that it is a part of, its own included.
    jobs : int
        Threads. The result does not depend on them.
    progress : callable, optional
        Called with ``"errors"`` when a section is done.

    Returns
    -------
    list of Evidence or None
        None for a section that shows nothing of the atlas's brain.
    """
    shown = [look.coarser(_SHOWN) for look in looks]
    small = [look.coarser(_SIDE) for look in capped(shown)]
    places = [fitted.places(look) for look, fitted in zip(small, ends, strict=True)]
    greys = learn(
        [look.values[look.counted] for look in small],
        [at[:, look.counted.ravel()] for look, at in zip(small, places, strict=True)],
        labels,
        _SIDE,
    )
    brightness = Brightness(greys, labels, [_SIDE])

    def work(k: int, _: None) -> Evidence | None:
        inside = (labels.at(places[k]) > 0) & small[k].counted.ravel()
        if not inside.any():
            return None
        moved = np.linalg.norm(places[k] - starts[k].places(small[k]), axis=0)
        maps = (
            *_bendings(small[k], places[k], greys, labels),
            _skew(small[k], starts[k], ends[k], inside),
            _apart(k, places[k], ends, numbers),
            unsure_of(small[k], ends[k].forward, ends[k].deformation, brightness),
            moved,
        )
        shape = small[k].values.shape
        figures = np.stack([one.reshape(shape) for one in maps], axis=-1).astype(np.float32)
        return _summed(shown[k], figures, ends[k], labels, lines)

    found: list[Evidence | None] = []
    for _, result in outcomes(range(len(looks)), lambda _: None, work, fetchers=1, workers=jobs):
        if isinstance(result, Exception):
            raise result
        found.append(result)
        if progress:
            progress("errors")
    return found


def stated(known: Evidence, model: Model = MODEL) -> ExpectedError:
    """Return the error that is expected of a section and of each structure in it.

    Parameters
    ----------
    known : Evidence
        What is known of it.
    model : Model
        What follows from that.
    """
    figures = np.clip(known.figures, LEAST, MOST)
    after = model.scale * float(np.prod(figures ** np.array(model.powers)))
    ratios = np.clip(known.local, LEAST, MOST) / figures
    local = after * model.local_scale * np.prod(ratios ** np.array(model.local), axis=1)
    blind = max(1 - known.likeness / _BLIND, 0.0)
    after += blind * max(model.unseen - after, 0.0)
    local += blind * np.maximum(model.unseen - local, 0.0)
    before = float(np.hypot(after, model.moved * known.moved))
    was = np.hypot(local, model.moved * known.local_moved)
    return ExpectedError(
        before=round(before, 1),
        after=round(after, 1),
        bound90_before=round(before * model.bounds[0], 1),
        bound90_after=round(after * model.bounds[1], 1),
        structures={
            structure: (round(float(a), 1), round(float(b), 1))
            for structure, a, b in zip(known.structures, was, local, strict=True)
        },
    )


def _bendings(
    look: Look, places: Matrix, greys: Matrix, labels: Labels3d
) -> tuple[Image, Image, Image]:
    """Return pull, missed and likeness of each pixel, shape (rows, columns) each."""
    rows, columns = look.values.shape
    expected = expected_of(look, places, greys, labels)
    y, x = np.indices((rows, columns), dtype=np.float32)
    known = _known(x, y, look.side)
    grid = np.stack((x, y), axis=-1)
    weights = weights_of(look, expected, greys)
    pull = bend(look, expected, weights)
    displaced = Look(shown_at(look.values, grid + known), look.x, look.y, look.side)
    missed = bend(displaced, expected, weights) - known - shown_at(pull, grid + known)
    away = [np.linalg.norm(shift, axis=-1) * look.side for shift in (pull, missed)]
    # a contrast the other way round is no likeness
    alike = np.maximum(local_correlation(look.values, expected, _WINDOW), 0) ** 2
    return away[0], away[1], alike


def _known(x: Image, y: Image, side: float) -> Image:
    """Return a smooth displacement, in pixels, that is always the same."""
    out = np.zeros((*x.shape, 2))
    for far, long in _WAVES:
        turn = 2 * np.pi * side / long
        out[..., 0] += far * np.sin(turn * y + 1) * np.cos(turn * x / 2)
        out[..., 1] += far * np.cos(turn * x) * np.sin(turn * y / 2 + 2)
    return np.asarray(out / side, dtype=np.float32)


def _skew(look: Look, start: Fitted, end: Fitted, inside: NDArray[np.bool_]) -> Matrix:
    """Return how far the affine part of a bending moves each pixel, in µm, shape (N,)."""
    if end.deformation is start.deformation:
        return np.zeros(len(inside))
    pixels = look.flat(start.deformation)
    away = (look.flat(end.deformation) - pixels)[:2] * np.linalg.norm(end.forward[:, 0])
    middle = pixels[:2, inside].mean(axis=1, keepdims=True)
    spread = pixels[:2, inside].std(axis=1, keepdims=True) + 1.0
    basis = np.vstack(((pixels[:2] - middle) / spread, pixels[2:])).T
    affine, *_ = np.linalg.lstsq(basis[inside], away[:, inside].T, rcond=None)
    out: Matrix = np.linalg.norm(basis @ affine, axis=1)
    return out


def _apart(k: int, places: Matrix, ends: Sequence[Fitted], numbers: Sequence[int]) -> Matrix:
    """Return how far a section is, in µm, from where its neighbours put it, shape (N,).

    Its neighbours say that by their planes and numbers; what they say is averaged.
    """
    out = np.zeros(places.shape[1])
    near = [
        j for j in range(max(k - _NEIGHBOURS, 0), min(k + _NEIGHBOURS + 1, len(ends))) if j != k
    ]
    own = _across(ends[k])
    for j in near:
        other = _across(ends[j])
        way = other @ (ends[j].forward[:, 2:] - places) / float(other @ own)
        out += (way - (numbers[j] - numbers[k]) * float(ends[k].step @ own)) / len(near)
    return np.abs(out)


def _across(fitted: Fitted) -> Matrix:
    """Return the direction, shape (3,), across a section's plane, to where numbers grow."""
    out = np.cross(fitted.forward[:, 0], fitted.forward[:, 1])
    out *= np.sign(out @ fitted.step) / np.linalg.norm(out)
    return out


def _summed(
    look: Look,
    maps: Image,
    end: Fitted,
    labels: Labels3d,
    lines: Sequence[Sequence[int]],
) -> Evidence | None:
    """Return the means of maps over a section and over each structure in it."""
    found = labels.at(end.places(look)) * look.counted.ravel()
    inside = np.flatnonzero(found)
    if not len(inside):
        return None
    rows, columns = look.values.shape
    large = cv2.resize(maps, (columns, rows), interpolation=cv2.INTER_LINEAR)
    values = large.reshape(-1, maps.shape[-1])[inside].astype(np.float64)
    own = found[inside]
    sums = np.column_stack(
        [
            np.bincount(own, column, minlength=len(lines))
            for column in (*values.T, np.ones(len(own)))
        ]
    )
    totals: dict[int, Matrix] = {}
    for row in np.unique(own).tolist():
        for structure in lines[row]:
            totals[structure] = totals.get(structure, np.zeros(sums.shape[1])) + sums[row]
    structures = tuple(sorted(totals))
    total = np.array([totals[structure] for structure in structures])
    whole = values.mean(axis=0)
    # few pixels say little by themselves
    local = (total[:, :-1] + _FEW * whole) / (total[:, -1:] + _FEW)
    moved = total[:, -2] / total[:, -1]
    return Evidence(whole[:-1], float(whole[-1]), structures, local[:, :-1], moved)
