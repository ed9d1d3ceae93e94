"""How made-up sections are stained: one grey for each structure, dense layers, and expression.

Stains differ in what they show, and what a gene shows is not anatomy: its signal begins and ends
within structures, follows sheets that no atlas has, and lies about as single dark pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from atldld.atlas.labels import compact_labels
from atldld.testing.places import Noise

if TYPE_CHECKING:
    from atldld.atlas.model import Atlas

__all__ = ["KINDS", "Anatomy", "Kind", "Stain"]

Matrix = NDArray[np.float64]
Random = np.random.Generator

Kind = Literal["grey", "nissl", "weak", "strong", "dark"]
KINDS: tuple[Kind, ...] = ("grey", "nissl", "weak", "strong", "dark")
"""Any greys; dense layers; weak and strong signals of genes on pale tissue; a dark field."""

_EQUAL = 0.35  # part of structures that look exactly as what they are parts of
_DENSE = 50.0  # µm: side of a voxel in which layers are found that the annotation lacks

# what every stain of cells shows: structures under these, and how much darker they are
_CELLS = {
    "DG-sg": 0.45,
    "MH": 0.25,
    "PIR": 0.12,
    "fiber tracts": -0.10,
    "VS": -0.30,
    "AOB": 0.08,
    "DG-mo": -0.05,
}
_CELLS_OF_LAYERS = {"layer 1": -0.08, "layer 2/3": 0.03, "layer 2": 0.06, "layer 4": 0.07}
# (structures under, from and to which depth below their surface in µm, how much darker)
_HIDDEN = (("CB", 150.0, 320.0, 0.40), ("CA1", 180.0, 290.0, 0.35), ("CA3", 150.0, 290.0, 0.30))


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What stains are laid on: an annotation, and what more is known of the tissue.

    Attributes
    ----------
    ids : numpy.ndarray, shape (count,)
        The ids of structures; the first is 0, the outside.
    places : numpy.ndarray, shape (P, I, R)
        Which of them each voxel is in.
    resolution : float
        Side of such a voxel, in µm.
    paths : tuple of tuple of int
        The structures that each of them lies in, from the root to itself.
    names : tuple of str
        What each of them is called.
    cells : numpy.ndarray, shape (count,)
        How much darker a stain of cells makes each structure, in units of absorbance.
    layers : numpy.ndarray, shape (p, i, r), float32
        How much darker it makes layers that the annotation lacks, in voxels of 50 µm.
    texture : numpy.ndarray, shape (a, b, c), float32, or None
        The template's grey, less what is usual in its structure, in units of its spread.
    """

    ids: NDArray[Any]
    places: NDArray[np.unsignedinteger]
    resolution: float
    paths: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    cells: Matrix
    layers: NDArray[np.float32]
    texture: NDArray[np.float32] | None

    @classmethod
    def of(cls, atlas: Atlas) -> Anatomy:
        """Return the anatomy that an atlas shows; takes some seconds."""
        ids, places = compact_labels(atlas.annotation)
        graph = atlas.graph
        known = {structure.id: structure for structure in graph}
        found = [known.get(one) for one in ids.tolist()]
        paths = tuple(() if one is None else one.path for one in found)
        names = tuple("" if one is None else one.name for one in found)
        acronyms = {structure.acronym: structure.id for structure in graph}
        cells = np.zeros(len(ids))
        for acronym, more in _CELLS.items():
            cells += more * np.array([acronyms.get(acronym, -1) in path for path in paths])
        for ending, more in _CELLS_OF_LAYERS.items():
            cells += more * np.array([name.lower().endswith(ending) for name in names])
        layers = _hidden_layers(places, paths, acronyms, atlas.resolution)
        return cls(
            ids, places, atlas.resolution, paths, names, cells, layers, _texture(atlas, places)
        )

    def at(self, points: Matrix) -> NDArray[np.intp]:
        """Return the structure of points, shape (3, N) in reference µm → (N,); 0 outside."""
        steps = np.floor(points / self.resolution).astype(np.intp)
        inside = ((steps >= 0) & (steps < np.array(self.places.shape)[:, None])).all(axis=0)
        out = np.zeros(points.shape[1], dtype=np.intp)
        out[inside] = self.places[tuple(steps[:, inside])]
        return out


def _hidden_layers(
    places: NDArray[Any], paths: tuple[tuple[int, ...], ...], acronyms: dict[str, int], side: float
) -> NDArray[np.float32]:
    from scipy.ndimage import distance_transform_edt

    every = max(round(_DENSE / side), 1)
    coarse = places[::every, ::every, ::every]
    out = np.zeros(coarse.shape, dtype=np.float32)
    for acronym, low, high, more in _HIDDEN:
        inside = np.array([acronyms.get(acronym, -1) in path for path in paths])[coarse]
        if not inside.any():
            continue
        box = tuple(slice(max(int(w.min()) - 1, 0), int(w.max()) + 2) for w in np.nonzero(inside))
        depth = distance_transform_edt(inside[box]) * side * every
        middle, half = (low + high) / 2, (high - low) / 2
        dense = more * np.clip(1.5 - np.abs(depth - middle) / half, 0, 1) * inside[box]
        out[box] += dense.astype(np.float32)
    return out


def _texture(atlas: Atlas, places: NDArray[Any]) -> NDArray[np.float32] | None:
    template = atlas.template
    if template is None:
        return None
    every = places.shape[0] / template.shape[0]
    centres = [((np.arange(n) + 0.5) * every).astype(int) for n in template.shape]
    coarse = places[np.ix_(*centres)].ravel()
    grey = template.ravel().astype(np.float64)
    count = np.maximum(np.bincount(coarse), 1)
    usual = np.bincount(coarse, grey) / count
    rest = grey - usual[coarse]
    spread = rest[coarse > 0].std() or 1.0
    out: NDArray[np.float32] = (np.clip(rest / spread, -3, 3) * (coarse > 0)).astype(np.float32)
    return out.reshape(template.shape)


@dataclass(frozen=True, eq=False)
class _Signal:
    """Where a gene is expressed: in some structures, where a random function is high."""

    rows: NDArray[np.bool_]
    where: Noise
    above: float
    much: float

    def at(self, structures: NDArray[np.intp], points: Matrix) -> Matrix:
        out: Matrix = np.zeros(len(structures))
        chosen = self.rows[structures]
        rise = (self.where.at(points[:, chosen]) - self.above) * 4
        out[chosen] = self.much / (1 + np.exp(-rise))
        return out


@dataclass(frozen=True, eq=False)
class _Sheet:
    """A layer of expression that follows no structure: near where a random function is 0."""

    where: Noise
    thickness: float
    much: float

    def at(self, structures: NDArray[np.intp], points: Matrix) -> Matrix:
        out: Matrix = self.much * np.exp(-((self.where.at(points) / self.thickness) ** 2))
        return out * (structures > 0)


class Stain:
    """What a data set's sections look like: absorbance at any place of the brain.

    Parameters
    ----------
    anatomy : Anatomy
        What it is laid on.
    kind : str
        One of `KINDS`.
    rng : numpy.random.Generator
        What is random: greys, strengths, and where a gene is expressed.
    """

    def __init__(self, anatomy: Anatomy, kind: Kind, rng: Random) -> None:
        self._anatomy = anatomy
        self.kind = kind
        self.dark_field = kind == "dark"
        base, contrast, cells = {
            "grey": (0.26, 0.09, 0.25),
            "nissl": (0.22, 0.05, 0.9),
            "weak": (0.09, 0.022, 0.15),
            "strong": (0.14, 0.04, 0.3),
            "dark": (0.30, 0.09, 0.3),
        }[kind]
        base *= rng.uniform(0.85, 1.2)
        contrast *= rng.uniform(0.8, 1.2)
        cells *= rng.uniform(0.7, 1.2)
        own = _alike(anatomy.paths, rng)
        greys = base + contrast * own + cells * anatomy.cells
        self._greys = np.clip(greys, 0.25 * base, 1.2)
        empty = np.array(["ventric" in name.lower() for name in anatomy.names])
        self._greys[empty] = 0.15 * base
        self._greys[0] = 0.0
        self._layers = cells
        self._texture = rng.uniform(-0.3, 0.6) * contrast
        self._signals = _signals(anatomy, kind, rng)
        self._spots = Noise(rng, 1500)
        self._spotted = {"grey": 0.004, "nissl": 0.0, "weak": 0.012, "strong": 0.03, "dark": 0.01}[
            kind
        ] * rng.uniform(0.5, 1.5)
        blue = np.array([0.95, 1.15, 0.75]) if kind == "nissl" else np.array([1.1, 1.05, 0.75])
        self.tint = np.ones(3) if self.dark_field else blue * rng.uniform(0.92, 1.08, 3)

    def absorbance(self, points: Matrix, rng: Random) -> tuple[Matrix, NDArray[np.intp]]:
        """Return the absorbance and the structure at points, shape (3, N) in µm → (N,) each."""
        structures = self._anatomy.at(points)
        out = self._greys[structures]
        tissue = structures > 0
        inside = points[:, tissue]
        more = self._layers * _sampled(self._anatomy.layers, inside, _DENSE)
        if self._anatomy.texture is not None:
            side = self._anatomy.places.shape[0] / self._anatomy.texture.shape[0]
            more += self._texture * _sampled(
                self._anatomy.texture, inside, side * self._anatomy.resolution
            )
        signal = np.zeros(len(more))
        for one in self._signals:
            signal += one.at(structures[tissue], inside)
        # cells, not a wash
        signal *= rng.gamma(3, 1 / 3, len(signal))
        rate = self._spotted * np.exp(self._spots.at(inside))
        spots = (rng.random(len(rate)) < rate) * rng.uniform(0.2, 0.9, len(rate))
        out[tissue] = np.maximum(out[tissue] + more, 0.01) + signal + spots
        return out, structures


def _alike(paths: tuple[tuple[int, ...], ...], rng: Random) -> Matrix:
    """Return a number for each structure; near ones in the graph have near ones, or the same."""
    drawn: dict[int, float] = {}
    out = np.zeros(len(paths))
    for row, path in enumerate(paths):
        for depth, one in enumerate(path):
            if one not in drawn:
                equal = rng.random() < _EQUAL
                drawn[one] = 0.0 if equal else rng.normal() / (1 + 0.15 * depth)
            out[row] += drawn[one]
    return out / 1.8


def _signals(anatomy: Anatomy, kind: Kind, rng: Random) -> list[_Signal | _Sheet]:
    """Return where a gene is expressed."""
    structures, layers, sheets, much = {
        "grey": (2, 0, 1, 0.25),
        "nissl": (0, 0, 0, 0.0),
        "weak": (3, 1, 0, 0.12),
        "strong": (6, 2, 1, 0.6),
        "dark": (3, 1, 1, 0.35),
    }[kind]
    found: list[_Signal | _Sheet] = []
    inner = sorted({one for path in anatomy.paths for one in path[3:]})
    for _ in range(structures):
        top = inner[rng.integers(len(inner))]
        rows = np.array([top in path for path in anatomy.paths])
        found.append(
            _Signal(rows, Noise(rng, 1800), rng.uniform(-0.8, 0.5), much * rng.uniform(0.5, 1.5))
        )
    for _ in range(layers):
        ending = ("layer 2/3", "layer 4", "layer 5", "layer 6a")[rng.integers(4)]
        rows = np.array([name.lower().endswith(ending) for name in anatomy.names])
        found.append(
            _Signal(rows, Noise(rng, 2500), rng.uniform(-1, 0.3), much * rng.uniform(0.5, 1.5))
        )
    found += [
        _Sheet(Noise(rng, 2000), rng.uniform(0.04, 0.1), much * rng.uniform(0.5, 1.2))
        for _ in range(sheets)
    ]
    return found


def _sampled(volume: NDArray[np.float32], points: Matrix, side: float) -> Matrix:
    from scipy.ndimage import map_coordinates

    out: Matrix = map_coordinates(volume, points / side - 0.5, order=1, mode="nearest")
    return out.astype(np.float64)
