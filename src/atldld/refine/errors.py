"""How far off sections are expected to lie, told by what a registration leaves behind.

Nothing here knows the truth. Where a section lies in the end, and with the greys that structures
have there, five figures are measured on pixels of 100 µm:

- ``pull``: how far, in µm, the section would still be bent to look like what is expected of it
  (`atldld.refine.inplane.bend`);
- ``split``: how far, in µm, two bendings are apart that each half of its pixels shapes alone;
- ``likeness``: the mean squared local correlation of the two pictures;
- ``depth``: the part of the likeness that is lost 100 µm further along the series or back, which is
  little where the section does not lie at its depth;
- ``moved``: how far, in µm, it lies from where it started.

All are free of the stain's brightness and contrast. The error is the product of powers of them, and
its bound a multiple of it. The powers were found on sections that were cut from the genuine atlas
at known places::

    python benchmarks/registration/calibrate.py

Within a structure the same figures are compared with the section's. Where the section started it is
off by the same error and, at a right angle to it, by how far it has moved since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from atldld.place.registration import ExpectedError
from atldld.refine.inplane import bend
from atldld.refine.model import Image, Labels3d, Look, Matrix, learn
from atldld.refine.steps import Fitted
from atldld.support.pipeline import outcomes

__all__ = ["FIGURES", "LEAST", "MODEL", "MOST", "Evidence", "Model", "evidence", "stated"]

FIGURES = ("pull", "split", "likeness", "depth", "moved")
"""What the error is told by."""

_SIDE = 100.0  # µm: pixels that the figures are measured on
_SHOWN = 50.0  # µm: pixels that tell which structures a section shows
_CAPPED_AT = 99.5  # percentile of all values above which they are cut off
_WINDOW = 2.0  # pixels: standard deviation of the window of the local correlation
_NOISE = 0.02  # of the variance of a picture, below which a window shows nothing
_ACROSS = 100.0  # µm by which a section is shifted across its plane
_FEW = 50  # pixels of 50 µm that weigh as much as what the section as a whole shows
LEAST = np.array([5.0, 5.0, 0.01, 0.02, 10.0])  # less of a figure says no more than this
MOST = np.array([500.0, 500.0, 1.0, 1.0, 1000.0])


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
    bounds : tuple of 2 float
        What nine of ten errors, before and after, are below, by the error stated.
    """

    scale: float
    powers: tuple[float, ...]
    local: tuple[float, ...]
    local_scale: float
    moved: float
    bounds: tuple[float, float]


MODEL = Model(
    scale=60.0,
    powers=(0.0, 0.0, 0.0, 0.0, 0.0),
    local=(0.0, 0.0, 0.0, 0.0, 0.0),
    local_scale=1.0,
    moved=1.0,
    bounds=(1.4, 1.4),
)
"""As ``benchmarks/registration/calibrate.py`` prints it."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of a section's error.

    Attributes
    ----------
    figures : numpy.ndarray, shape (5,)
        Those of `FIGURES`.
    structures : tuple of int
        Ids of the structures that it shows.
    local : numpy.ndarray, shape (structures, 5)
        Their figures.
    """

    figures: Matrix
    structures: tuple[int, ...]
    local: Matrix


def evidence(
    looks: Sequence[Look],
    starts: Sequence[Fitted],
    ends: Sequence[Fitted],
    labels: Labels3d,
    lines: Sequence[Sequence[int]],
    *,
    jobs: int = 1,
) -> list[Evidence | None]:
    """Return what is known of the errors of all sections of a data set.

    Parameters
    ----------
    looks : sequence of Look
        The sections.
    starts, ends : sequence of Fitted
        Where they lay and where they lie.
    labels : Labels3d
        The annotation.
    lines : sequence of sequence of int
        For each of the labels, the ids of the structures that it is a part of, its own included.
    jobs : int
        Threads. The result does not depend on them.

    Returns
    -------
    list of Evidence or None
        None for a section that shows nothing of the atlas's brain.
    """
    shown = [look.coarser(_SHOWN) for look in looks]
    cap = float(np.percentile(np.concatenate([look.values.ravel() for look in shown]), _CAPPED_AT))
    small = [look.capped(cap).coarser(_SIDE) for look in shown]
    places = [fitted.places(look) for look, fitted in zip(small, ends, strict=True)]
    greys = learn([look.values.ravel() for look in small], places, labels)

    def work(k: int, _: None) -> Evidence | None:
        maps = _maps(small[k], ends[k], greys, labels)
        return _summed(shown[k], maps, starts[k], ends[k], labels, lines)

    found: list[Evidence | None] = []
    for _, result in outcomes(range(len(looks)), lambda _: None, work, fetchers=1, workers=jobs):
        if isinstance(result, Exception):
            raise result
        found.append(result)
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
    before = float(np.hypot(after, model.moved * known.figures[-1]))
    ratios = np.clip(known.local, LEAST, MOST) / figures
    local = after * model.local_scale * np.prod(ratios ** np.array(model.local), axis=1)
    was = np.hypot(local, model.moved * known.local[:, -1])
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


def _maps(look: Look, fitted: Fitted, greys: Matrix, labels: Labels3d) -> Image:
    """Return figures of each pixel, shape (rows, columns, 4): those that are summed.

    The last two are the likeness, and what it would be further along the series or back.
    """
    places = fitted.places(look)
    shape = look.values.shape

    def expected(points: Matrix) -> Image:
        return np.asarray(greys[labels.at(points)].reshape(shape), dtype=np.float32)

    here = expected(places)
    across = np.cross(fitted.forward[:, 0], fitted.forward[:, 1])
    across *= _ACROSS / float(np.linalg.norm(across))
    away = [_likeness(look.values, expected(places + s * across[:, None])) for s in (1, -1)]
    held = look.held_back.astype(np.float32)
    one, other = (bend(look, here, weights) for weights in (1 - held, held))
    return np.stack(
        (
            np.linalg.norm(bend(look, here), axis=-1) * look.side,
            np.linalg.norm(one - other, axis=-1) * look.side,
            _likeness(look.values, here),
            (away[0] + away[1]) / 2,
        ),
        axis=-1,
    ).astype(np.float32)


def _summed(
    look: Look,
    maps: Image,
    start: Fitted,
    end: Fitted,
    labels: Labels3d,
    lines: Sequence[Sequence[int]],
) -> Evidence | None:
    """Return the figures of a section, and of each structure in it."""
    places = end.places(look)
    found = labels.at(places)
    inside = np.flatnonzero(found)
    if not len(inside):
        return None
    rows, columns = look.values.shape
    large = cv2.resize(maps, (columns, rows), interpolation=cv2.INTER_LINEAR).reshape(-1, 4)
    way = np.linalg.norm(places[:, inside] - start.places(look)[:, inside], axis=0)
    values = np.column_stack((large[inside], way))
    counts = np.bincount(found[inside], minlength=len(lines))
    sums = np.stack(
        [np.bincount(found[inside], column, minlength=len(lines)) for column in values.T], axis=1
    )
    whole = values.mean(axis=0)
    totals: dict[int, Matrix] = {}
    for row in np.flatnonzero(counts).tolist():
        # few pixels say little by themselves
        own = np.append(sums[row], counts[row])
        for structure in lines[row]:
            totals[structure] = totals.get(structure, 0.0) + own
    structures = tuple(sorted(totals))
    total = np.array([totals[structure] for structure in structures]).reshape(-1, 6)
    local = (total[:, :5] + _FEW * whole) / (total[:, 5:] + _FEW)
    return Evidence(_figures(whole[None])[0], structures, _figures(local))


def _figures(means: Matrix) -> Matrix:
    """Return `FIGURES`, shape (N, 5), of means of the maps and of the way moved."""
    pull, split, likeness, away, moved = means.T
    depth = 1 - away / np.maximum(likeness, 1e-6)
    return np.stack((pull, split, likeness, np.clip(depth, 0, 1), moved), axis=1)


def _blurred(picture: Image) -> Image:
    out = cv2.GaussianBlur(picture, (0, 0), _WINDOW, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(out, dtype=np.float32)


def _likeness(seen: Image, expected: Image) -> Image:
    """Return the squared local correlation; 0 where the contrast is the other way round."""
    means, spreads, pictures = [], [], []
    for picture in (seen, expected):
        centred = np.asarray(picture - picture.mean(), dtype=np.float32)
        mean = _blurred(centred)
        noise = np.float32(_NOISE * float(centred.var()) + 1e-6)
        pictures.append(centred)
        means.append(mean)
        spreads.append(np.maximum(_blurred(centred * centred) - mean * mean, 0) + noise)
    shared = np.maximum(_blurred(pictures[0] * pictures[1]) - means[0] * means[1], 0)
    out: Image = shared * shared / (spreads[0] * spreads[1])
    return out
