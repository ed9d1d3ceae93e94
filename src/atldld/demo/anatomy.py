"""A procedural mouse brain: a smooth picture of known truth at every point of the reference box.

The brain is a function of reference coordinates ``(p, i, r)`` = (posterior, inferior, right), in
micrometres from the anterior-superior-left corner of a box of 13200 x 8000 x 11400 um. Section
images are rendered from it through affine matrices (`atldld.demo.render`), so that what a pixel
ought to show is known exactly. It is a cartoon of a Nissl-stained brain,
not a measurement: the outlines are low-order polynomials fitted to adult mouse proportions (Allen
CCFv3), everything inside is made up.

How it is built
---------------
Five star-shaped solids (hemisphere, its core, brainstem, cerebellum, olfactory bulb) give signed
distances below the surface. Regions are soft memberships of those distances (10 % to 90 % in
about 60-80 um) painted over each other, so the weights of all regions add up to one. A row of
properties per region (stain, matter, cells, ...) mixed by these weights, times a band-limited
texture, is an optical density; colours follow by Beer-Lambert absorption. Everything is mirrored
about the mid-sagittal plane except one small dark nucleus in the LEFT hemisphere.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    Field = NDArray[np.float32]

__all__ = [
    "BACKGROUND",
    "STRUCTURES",
    "WORKERS",
    "Samples",
    "Structure",
    "Voxels",
    "color",
    "evaluate",
    "expression",
    "structure_id",
    "tissue",
    "voxels",
]

BACKGROUND: tuple[float, float, float] = (247.0, 246.0, 244.0)
"""RGB of the empty slide, 0..255."""

_BOX = np.array([13200.0, 8000.0, 11400.0])  # um
_MIDLINE = 5700.0  # r of the mid-sagittal plane, um
_EDGE = 17.0  # logistic scale of region borders, um: 10 % to 90 % takes 4.4 of them, 75 um


@dataclass(frozen=True, slots=True)
class Structure:
    """One node of the synthetic ontology.

    Attributes
    ----------
    id
        Positive number that identifies the structure.
    acronym, name
        Short and long name.
    color_hex
        Six hexadecimal digits of its RGB colour, without ``#``.
    parent_id
        ``id`` of the parent, None for the root.
    """

    id: int
    acronym: str
    name: str
    color_hex: str
    parent_id: int | None


STRUCTURES: tuple[Structure, ...] = (
    Structure(1, "root", "root", "FFFFFF", None),
    Structure(2, "grey", "grey matter", "BFDAE3", 1),
    Structure(10, "CTX", "isocortex", "70FF71", 2),
    Structure(11, "CTX1", "isocortex, layer 1", "C8FFC8", 10),
    Structure(12, "CTX2/3", "isocortex, layer 2/3", "70FF70", 10),
    Structure(13, "CTX4", "isocortex, layer 4", "30D050", 10),
    Structure(14, "CTX5", "isocortex, layer 5", "20A060", 10),
    Structure(15, "CTX6", "isocortex, layer 6", "107048", 10),
    Structure(20, "HPF", "hippocampal formation", "7ED04B", 2),
    Structure(21, "CA", "Ammon's horn, pyramidal layer", "66A83D", 20),
    Structure(22, "DG", "dentate gyrus, granule layer", "3F7D1F", 20),
    Structure(23, "HPFn", "hippocampal neuropil", "A5E57F", 20),
    Structure(30, "STR", "striatum", "98D6F9", 2),
    Structure(31, "TH", "thalamus", "FF7080", 2),
    Structure(32, "HY", "hypothalamus", "E64438", 2),
    Structure(33, "MB", "midbrain", "FF64FF", 2),
    Structure(34, "HB", "hindbrain", "FF9B88", 2),
    Structure(40, "CB", "cerebellum", "F0F080", 2),
    Structure(41, "CBmo", "cerebellar cortex, molecular layer", "FFFC91", 40),
    Structure(42, "CBgr", "cerebellar cortex, granular layer", "ECE754", 40),
    Structure(43, "CBN", "cerebellar nuclei", "C8B830", 40),
    Structure(50, "OB", "olfactory bulb", "9AD2BD", 2),
    Structure(51, "OBgl", "olfactory bulb, glomerular layer", "7AB8A0", 50),
    Structure(52, "OBopl", "olfactory bulb, outer plexiform layer", "C4EADC", 50),
    Structure(53, "OBgr", "olfactory bulb, granule layer", "82C7AE", 50),
    Structure(60, "MKN", "marker nucleus (left hemisphere only)", "2040C0", 2),
    Structure(70, "fiber tracts", "fiber tracts", "CCCCCC", 1),
    Structure(71, "cc", "corpus callosum and external capsule", "DDDDDD", 70),
    Structure(72, "int", "internal capsule", "C4C4C4", 70),
    Structure(73, "arb", "arbor vitae", "B8B8B8", 70),
    Structure(80, "VS", "ventricular systems", "AAAAAA", 1),
    Structure(81, "VL", "lateral ventricle", "A0A0A0", 80),
    Structure(82, "V3", "third ventricle", "949494", 80),
    Structure(83, "V4", "cerebral aqueduct and fourth ventricle", "888888", 80),
)
"""The ontology, parents before children; only leaves occur in space."""


class _Look(NamedTuple):
    """How a region looks, each value per unit of membership."""

    id: int
    stain: float  # amount of violet stain (cell bodies)
    matter: float  # amount of pale pinkish tissue
    texture: float  # strength of the clumps that modulate the stain
    cells: float  # darkness of the cell dots, 0..1
    gene: float  # expression of the made-up gene, 0..1


_LOOKS = (
    _Look(34, 0.66, 1.0, 0.90, 0.55, 0.0),
    _Look(33, 0.76, 1.0, 0.85, 0.55, 0.0),
    _Look(41, 0.28, 1.0, 1.05, 0.20, 0.0),
    _Look(42, 2.05, 1.0, 0.55, 0.80, 0.06),
    _Look(43, 0.75, 1.0, 0.90, 0.65, 0.0),
    _Look(73, 0.12, 0.7, 0.80, 0.12, 0.0),
    _Look(51, 1.10, 1.0, 0.70, 0.55, 0.0),
    _Look(52, 0.24, 1.0, 0.70, 0.25, 0.0),
    _Look(53, 1.70, 1.0, 0.50, 0.75, 0.0),
    _Look(11, 0.22, 1.0, 0.80, 0.18, 0.0),
    _Look(12, 1.15, 1.0, 0.60, 0.70, 0.36),
    _Look(13, 1.75, 1.0, 0.50, 0.80, 0.04),
    _Look(14, 0.62, 1.0, 0.80, 0.70, 0.50),
    _Look(15, 1.15, 1.0, 0.60, 0.65, 0.02),
    _Look(71, 0.10, 0.6, 0.70, 0.10, 0.0),
    _Look(72, 0.24, 0.8, 0.90, 0.25, 0.0),
    _Look(30, 0.88, 1.0, 0.60, 0.65, 0.03),
    _Look(31, 1.05, 1.0, 0.75, 0.75, 0.02),
    _Look(32, 1.15, 1.0, 0.75, 0.60, 0.0),
    _Look(23, 0.34, 1.0, 0.85, 0.22, 0.0),
    _Look(21, 3.20, 1.0, 0.25, 0.85, 0.85),
    _Look(22, 5.50, 1.0, 0.15, 0.90, 1.0),
    _Look(81, 0.0, 0.0, 0.0, 0.0, 0.0),
    _Look(82, 0.0, 0.0, 0.0, 0.0, 0.0),
    _Look(83, 0.0, 0.0, 0.0, 0.0, 0.0),
    _Look(60, 3.40, 1.0, 0.25, 0.85, 0.60),
)
_IDS: NDArray[np.uint32] = np.array([look.id for look in _LOOKS], dtype=np.uint32)
_ROW = {look.id: row for row, look in enumerate(_LOOKS)}
_PROPERTIES: NDArray[np.float32] = np.array([look[1:] for look in _LOOKS], dtype=np.float32).T

# Absorbance of one unit of each, for R, G, B: the stain is violet, bare tissue faintly pink.
_STAIN_OD: NDArray[np.float32] = np.array([0.285, 0.360, 0.205], dtype=np.float32)
_MATTER_OD: NDArray[np.float32] = np.array([0.030, 0.075, 0.045], dtype=np.float32)


class _Solid(NamedTuple):
    """A star-shaped body: its radius is a polynomial of the direction seen from the centre.

    The direction is the unit vector of (p, i, u), with u the distance from the mid-sagittal
    plane; on the sphere it suffices to take its p to the powers 0 and 1. ``even`` bodies straddle
    the mid-sagittal plane and use even powers of u only. Lengths are um.
    """

    centre: tuple[float, float, float]
    degree: int
    even: bool
    radii: tuple[int, ...]


# fmt: off
_HEMISPHERE = _Solid(
    centre=(6700.0, 3900.0, 2000.0),
    degree=7,
    even=False,
    radii=(
        3709, 56, -1209, 4878, -1141, -7941, 1302, 3465, -295, -1797, 3034, 3472, -4667, -1405,
        2034, -1826, 1210, 2725, -3491, -2183, 2605, -497, 4020, 567, -5054, -1635, 4525, -4539,
        -573, -1760, 447, -981, -641, -3117, 3066, 266, -1616, 4155, 4075, -9031, -1868, 5346,
        -410, -87, -956, 3102, 528, -4220, 493, 2096, 418, -6014, 976, 2714, -2625, 787, 3113,
        -913, 1354, -4673, 3377, 1582, 2828, -1997,
    ),
)
_CORE = _Solid(
    centre=(6900.0, 4300.0, 0.0),
    degree=6,
    even=True,
    radii=(
        1901, -940, 9947, -6893, 516, -311, -1094, 1793, 989, -6549, 2170, -3151, -2876, 3885,
        -2608, 1961, -890, -4750, 8408, -436, 3400, -6342, -2677, 5334, 270, -7005, 3801, 262,
    ),
)
_STEM = _Solid(
    centre=(9900.0, 4900.0, 0.0),
    degree=7,
    even=True,
    radii=(
        2646, 2686, -4134, 1392, 2323, -4430, -1552, 5158, 630, -7943, 5028, -3994, 3996, 4806,
        -3909, 10704, 3193, -4440, 3534, -2174, 8, 646, -2227, 2768, 1628, 7425, -4656, -1835,
        1485, -2905, 706, -10915, 3842, 71, -1067, -3320,
    ),
)
_CEREBELLUM = _Solid(
    centre=(11500.0, 3200.0, 0.0),
    degree=7,
    even=True,
    radii=(
        1481, 203, -371, 2896, -339, 2204, 702, -546, 882, -1737, 7040, 1416, -2497, -4405, -1571,
        -514, -595, -3616, 1202, -966, 164, 548, 3741, -4984, -3, 399, -1572, 782, 776, -5925,
        864, -1040, 1626, 147, -1028, -2699,
    ),
)
_BULB = _Solid(
    centre=(1300.0, 4400.0, 900.0),
    degree=4,
    even=False,
    radii=(
        870, -589, 989, 834, -901, 207, -521, -431, 546, 1009, 406, -1135, -110, 222, 7, -8, -716,
        -61, 1001, -268, -525, 308, -92, 240, 474,
    ),
)
# fmt: on

# Nuclei and tracts that only change the stain: centre (p, i, u), semi-axes (um), relative change.
_NUCLEI = (
    (4700.0, 5450.0, 1150.0, 900.0, 170.0, 190.0, -0.70),  # anterior commissure
    (6750.0, 3250.0, 350.0, 900.0, 260.0, 230.0, 1.52),  # medial habenula
    (6900.0, 4250.0, 1150.0, 600.0, 480.0, 420.0, 0.85),  # ventral thalamus
    (7500.0, 3600.0, 1750.0, 500.0, 430.0, 330.0, 1.14),  # lateral geniculate
    (6400.0, 6650.0, 480.0, 330.0, 260.0, 260.0, 1.52),  # ventromedial hypothalamus
    (7600.0, 6500.0, 350.0, 300.0, 240.0, 260.0, 1.33),  # mammillary body
    (6100.0, 6500.0, 1500.0, 1500.0, 190.0, 240.0, -0.70),  # optic tract
    (7100.0, 6250.0, 2850.0, 650.0, 480.0, 420.0, 0.95),  # amygdala
    (9150.0, 1800.0, 850.0, 900.0, 260.0, 900.0, 1.33),  # superior colliculus
    (9150.0, 2250.0, 850.0, 900.0, 150.0, 900.0, -0.65),  # its optic layer
    (10350.0, 2150.0, 1000.0, 480.0, 480.0, 480.0, 1.04),  # inferior colliculus
    (8900.0, 4350.0, 650.0, 380.0, 330.0, 320.0, 1.42),  # red nucleus
    (8600.0, 5250.0, 1500.0, 500.0, 220.0, 520.0, 1.14),  # substantia nigra
    (8700.0, 5650.0, 1650.0, 600.0, 190.0, 500.0, -0.70),  # cerebral peduncle
    (9300.0, 6500.0, 650.0, 420.0, 310.0, 520.0, 1.61),  # pontine grey
    (10000.0, 5200.0, 1650.0, 500.0, 380.0, 280.0, 1.23),  # trigeminal motor nucleus
    (10900.0, 6500.0, 1450.0, 380.0, 330.0, 380.0, 1.61),  # facial nucleus
    (11900.0, 6900.0, 500.0, 520.0, 260.0, 430.0, 1.33),  # inferior olive
    (11500.0, 7150.0, 420.0, 1700.0, 170.0, 330.0, -0.70),  # pyramids
    (12000.0, 5350.0, 400.0, 900.0, 230.0, 330.0, 1.14),  # dorsal vagal complex
    (11600.0, 5700.0, 2000.0, 1300.0, 520.0, 220.0, -0.65),  # spinal trigeminal tract
    (10300.0, 4500.0, 1500.0, 700.0, 220.0, 300.0, -0.65),  # superior cerebellar peduncle
)

# Circular arc the hippocampus follows, in (p, i, u): dorsal-medial, lateral and ventral points.
_ARC = ((6700.0, 2500.0, 500.0), (8050.0, 2900.0, 2900.0), (8300.0, 5200.0, 3250.0))

_MARKER = ((5300.0, 4300.0, 3500.0), (300.0, 235.0, 235.0))  # centre (p, i, r) and semi-axes, um
_FISSURE = 108.0  # u of the hemispheres' medial wall, um
_SHELL = 200.0  # thickness of the white matter about the core, um
_ROUND = 80.0  # um within which the mirror is rounded off
_GRAIN = 0.86  # overall strength of the texture


def _ramp(x: Field, scale: float = _EDGE) -> Field:
    """Return a soft step from 0 to 1: logistic of x / scale."""
    y = np.tanh(x * np.float32(0.5 / scale))
    y += 1
    y *= np.float32(0.5)
    return cast("Field", y)


def _line(distance: Field, half_width: float) -> Field:
    """Return a soft band of the given half width (um) about distance 0."""
    return _ramp(half_width - np.sqrt(distance * distance + np.float32(225.0)), 15.0)


def _exponents(solid: _Solid) -> Iterator[tuple[int, int, int]]:
    """Yield the powers of the direction's (p, i, u), in the order of ``radii``."""
    for a in (0, 1):
        for b in range(solid.degree + 1):
            for c in range(0, solid.degree + 1 - a - b, 2 if solid.even else 1):
                yield a, b, c


def _depth(solid: _Solid, p: Field, i: Field, u: Field) -> Field:
    """Return the radial depth below a solid's surface, um, negative outside.

    Parameters
    ----------
    solid
        The body.
    p, i, u
        float32 (n,) coordinates, um.

    Returns
    -------
    float32 (n,) depth, um.
    """
    x, y, z = (c - np.float32(o) for c, o in zip((p, i, u), solid.centre, strict=True))
    rho = np.sqrt(x * x + y * y + z * z + np.float32(1.0))
    ny, nz = y / rho, z / rho
    powers_y, powers_z = [np.ones_like(ny)], [np.ones_like(nz)]
    for _ in range(solid.degree):
        powers_y.append(powers_y[-1] * ny)
        powers_z.append(powers_z[-1] * nz)
    # One small matrix product per power of y is far cheaper than one array operation a term.
    stacked = np.stack(powers_z)
    halves = np.zeros((2, p.size), dtype=np.float32)
    table = np.zeros((2, solid.degree + 1, solid.degree + 1), dtype=np.float32)
    for (a, b, c), radius in zip(_exponents(solid), solid.radii, strict=True):
        table[a, b, c] = radius
    for b, power in enumerate(powers_y):
        halves += (table[:, b] @ stacked) * power
    return cast("Field", halves[0] + halves[1] * (x / rho) - rho)


def _ellipsoid(
    p: Field,
    i: Field,
    u: Field,
    centre: tuple[float, float, float],
    axes: tuple[float, float, float],
) -> Field:
    """Return the approximate depth (um) inside an axis-parallel ellipsoid, negative outside."""
    q = np.sqrt(
        ((p - centre[0]) / axes[0]) ** 2
        + ((i - centre[1]) / axes[1]) ** 2
        + ((u - centre[2]) / axes[2]) ** 2
        + np.float32(1e-4)
    )
    return cast("Field", (1 - q) * np.float32(min(axes)))


def _ellipse_distance(a: Field, b: Field, ra: float, rb: float) -> Field:
    """Return the first-order distance (um) to an ellipse of radii ra, rb about the origin."""
    x, y = a / ra, b / rb
    square = x * x + y * y
    return cast(
        "Field", (square - 1) / (2 * np.sqrt((x / ra) ** 2 + (y / rb) ** 2 + np.float32(1e-8)))
    )


class _Painter:
    """Weights of all regions at n points, painted one group over another."""

    def __init__(self, n: int) -> None:
        self.weights: Field = np.zeros((len(_LOOKS), n), dtype=np.float32)
        self.weights[_ROW[34]] = 1  # whatever nothing else claims is hindbrain

    def paint(self, alpha: Field, **parts: Field | float) -> None:
        """Cover everything with opacity ``alpha`` (n,) by regions whose shares add up to one.

        Keywords name regions ``s<id>`` and give their shares.
        """
        if float(alpha.max(initial=0)) < 1e-3:
            return
        self.weights *= 1 - alpha
        for key, share in parts.items():
            self.weights[_ROW[int(key[1:])]] += alpha * share


def _radial_distance(phase: Field, count: float, rho: Field, floor: Field) -> Field:
    """Return the distance (um) to radial half-lines that start at radius ``floor``.

    ``phase`` is the sine of ``count`` times the angle, 0 on the lines. The arcsine of a damped
    sine is a triangle wave with rounded tops: distance without creases.
    """
    across = np.arcsin(np.float32(0.985) * np.abs(phase)) * rho * np.float32(1 / count)
    below = np.maximum(floor - rho, 0)
    return cast("Field", np.sqrt(across * across + below * below))


def _paint_cerebellum(
    to: _Painter, alpha: Field, depth: Field, p: Field, i: Field, u: Field
) -> None:
    """Paint folia: fissures run radially, all layers follow the distance to the pia."""
    x, y = p - np.float32(11250.0), i - np.float32(4300.0)
    rho = np.sqrt(x * x + y * y + np.float32(100.0))
    # The angle is 0 straight up; where it jumps, below, is brainstem. Fissures turn with u, so
    # that coronal cuts show folds too and not mere stripes.
    angle = np.arctan2(x, -y) + np.float32(0.26) * np.sin(u * np.float32(1 / 750.0))
    angle += np.float32(0.10) * np.sin(rho * np.float32(1 / 330.0) + np.float32(1.0))
    floor = np.float32(620.0) + np.float32(120.0) * np.sin(angle * np.float32(2.6))
    fissure = _radial_distance(np.sin(angle * np.float32(4.5)), 4.5, rho, floor)
    # Each lobule has a shallower fissure of its own.
    shallow = _radial_distance(np.cos(angle * np.float32(4.5)), 4.5, rho, floor + 950.0)
    fissure = np.minimum(fissure, shallow)
    # Smooth minimum of the distances to the outer surface and to the nearest fissure.
    softness = np.float32(45.0)
    pia = -softness * np.logaddexp(-depth / softness, -fissure / softness)
    granular, white = _ramp(pia - 170.0), _ramp(pia - 345.0)
    nuclei = _ramp(_ellipsoid(p, i, u, (11500.0, 4000.0, 1500.0), (520.0, 330.0, 800.0)))
    to.paint(alpha, s41=1 - granular, s42=granular * (1 - white), s73=granular * white)
    to.paint(alpha * nuclei, s43=1.0)
    # The cleft itself is open: a thin pale line at the bottom of which the pia meets.
    to.paint(alpha * _ramp(22.0 - pia, 12.0), s83=0.55, s41=0.45)


def _paint_cortex(to: _Painter, alpha: Field, outer: Field, inner: Field) -> None:
    """Paint the cortical layers and the white matter below them.

    ``outer`` is the depth below the pia, ``inner`` the distance to the white matter, um; layers
    follow the ratio of the two and so run parallel to both surfaces.
    """
    thickness = np.float32(750.0) + np.float32(60.0) * np.logaddexp(
        np.float32(0.0), (outer + inner - np.float32(750.0)) / np.float32(60.0)
    )
    t = outer / thickness
    steps = [_ramp(t - np.float32(at), 0.018) for at in (0.13, 0.36, 0.48, 0.72)]
    to.paint(
        alpha,
        s11=1 - steps[0],
        s12=steps[0] * (1 - steps[1]),
        s13=steps[0] * steps[1] * (1 - steps[2]),
        s14=steps[0] * steps[1] * steps[2] * (1 - steps[3]),
        s15=steps[0] * steps[1] * steps[2] * steps[3],
    )
    to.paint(alpha * _ramp(-inner), s71=1.0)


@lru_cache(maxsize=1)
def _arc_frame() -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return centre, axes (rows: two in the plane, then the normal) and radius of the arc."""
    a, b, c = (np.array(x) for x in _ARC)
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal)
    rows = np.stack([b - a, c - a, normal])
    known = [(b @ b - a @ a) / 2, (c @ c - a @ a) / 2, normal @ a]
    centre = np.linalg.solve(rows, known)
    first = b - centre
    radius = float(np.linalg.norm(first))
    first /= radius
    return centre, np.stack([first, np.cross(normal, first), normal]), radius


def _paint_hippocampus(to: _Painter, alpha: Field, p: Field, i: Field, u: Field) -> None:
    """Paint a bent tube whose cross-section carries the interlocking C (CA) and U (dentate)."""
    centre, axes, radius = _arc_frame()
    x, y, z = (c - np.float32(o) for c, o in zip((p, i, u), centre, strict=True))
    e1, e2, b = (x * np.float32(v[0]) + y * np.float32(v[1]) + z * np.float32(v[2]) for v in axes)
    rho = np.sqrt(e1 * e1 + e2 * e2 + np.float32(1.0))
    a = rho - np.float32(radius)  # away from the centre of the arc: towards the cortex
    # Leave the part of the full circle that lies opposite to the middle of the arc.
    along = e1 / rho
    tube = _ramp((1 - np.sqrt((a / 760.0) ** 2 + (b / 1020.0) ** 2 + np.float32(1e-4))) * 760.0)
    alpha = alpha * tube * _ramp(along + np.float32(0.12), 0.012)
    if float(alpha.max(initial=0)) < 1e-3:
        return
    to.paint(alpha, s23=1.0)
    horn = _line(_ellipse_distance(a - 60.0, b + 120.0, 480.0, 680.0), 60.0)
    horn = horn * _ramp(np.where(a > 60.0, 520.0, 60.0) - b, 25.0)
    to.paint(alpha * horn, s21=1.0)
    blade = _line(_ellipse_distance(a + 150.0, b - 130.0, 190.0, 560.0), 66.0)
    blade = blade * _ramp(b + 160.0, 25.0)
    to.paint(alpha * blade, s22=1.0)


def _bundles(p: Field, i: Field, u: Field) -> Field:
    """Return the pale fibre bundles of the striatum, 0..1: wavy rods fanning from behind."""
    bend = np.sin(i * np.float32(1 / 330.0) + u * np.float32(1 / 210.0))
    sway = np.sin(u * np.float32(1 / 370.0) - i * np.float32(1 / 190.0) + np.float32(2.0))
    x = (i + np.float32(0.55) * p + np.float32(95.0) * bend) * np.float32(2 * np.pi / 330.0)
    y = (u - np.float32(0.30) * p + np.float32(95.0) * sway) * np.float32(2 * np.pi / 300.0)
    return _ramp(np.cos(x) * np.cos(y) - np.float32(0.45), 0.16)


def _paint_core(to: _Painter, alpha: Field, stem: Field, p: Field, i: Field, u: Field) -> None:
    """Paint what lies inside the cortex: striatum, thalamus, hypothalamus, hippocampus."""
    # Whatever lies behind the striatum and is not brainstem belongs to the hippocampus.
    behind = _ramp(p - 7500.0, 60.0)
    rods = _bundles(p, i, u)
    to.paint(alpha * (1 - behind), s30=1 - rods, s72=rods)
    to.paint(alpha * behind * (1 - _ramp(stem - 60.0)), s23=1.0)
    thalamus = _ellipsoid(p, i, u, (7100.0, 4100.0, 0.0), (1450.0, 1230.0, 2350.0))
    to.paint(alpha * _ramp(thalamus + 230.0) * (1 - behind), s72=1.0)
    to.paint(alpha * _ramp(thalamus), s31=1.0)
    # Medullary lamina: a pale shell that sets off the lateral from the medial nuclei.
    to.paint(alpha * _line(thalamus - 330.0, 50.0) * 0.75, s72=1.0)
    hypothalamus = _ellipsoid(p, i, u, (6550.0, 6250.0, 0.0), (1800.0, 1150.0, 1300.0))
    to.paint(alpha * _ramp(hypothalamus), s32=1.0)
    _paint_hippocampus(to, alpha, p, i, u)


def _paint_ventricles(to: _Painter, alpha: Field, p: Field, i: Field, u: Field) -> None:
    """Paint the holes: lateral, third and fourth ventricle and the aqueduct."""
    bend = u - np.float32(620.0) - (i - 3300.0) ** 2 * np.float32(-1 / 5200.0)
    window = _ellipsoid(p, i, u, (5400.0, 3350.0, 650.0), (1250.0, 820.0, 800.0))
    to.paint(alpha * _line(bend, 95.0) * _ramp(window), s81=1.0)
    slit = _ellipsoid(p, i, u, (6700.0, 5050.0, 0.0), (1250.0, 1800.0, 2000.0))
    to.paint(alpha * _ramp(slit) * _ramp(148.0 - u), s82=1.0)
    aqueduct = _ellipsoid(p, i, u, (9500.0, 3150.0, 0.0), (1250.0, 220.0, 230.0))
    fourth = _ellipsoid(p, i, u, (11350.0, 4830.0, 0.0), (900.0, 170.0, 1000.0))
    to.paint(alpha * _ramp(np.maximum(aqueduct, fourth)), s83=1.0)


def _bulb_parts(depth: Field) -> dict[str, Field]:
    """Return shares of the three layers of the olfactory bulb by depth, um."""
    first, second = _ramp(depth - 190.0), _ramp(depth - 400.0)
    return {"s51": 1 - first, "s52": first * (1 - second), "s53": first * second}


def _solids(p: Field, i: Field, u: Field) -> tuple[tuple[Field, ...], Field]:
    """Return the depths (um) in hemisphere, brainstem, cerebellum and bulb, and in the core."""
    # The core starts behind the frontal cortex.
    core = np.minimum(_depth(_CORE, p, i, u), p - np.float32(3850.0))
    # The wall of the fissure is cut plane: the fitted bodies may bulge across the midline. Only
    # the core and the white matter about it cross.
    wall = u - np.float32(_FISSURE)
    cerebrum = np.minimum(_depth(_HEMISPHERE, p, i, u), np.maximum(wall, core + _SHELL))
    bulb = np.minimum(_depth(_BULB, p, i, u), wall)
    return (cerebrum, _depth(_STEM, p, i, u), _depth(_CEREBELLUM, p, i, u), bulb), core


def _inside(depths: tuple[Field, ...]) -> Field:
    """Return the soft union of solids, float32 (n,) in 0..1."""
    outside = np.ones_like(depths[0])
    for depth in depths:
        outside *= 1 - _ramp(depth)
    return 1 - outside


def _weights(
    p: Field, i: Field, u: Field, r: Field, depths: tuple[Field, ...], core: Field
) -> Field:
    """Return the weights of all regions, float32 (len(_LOOKS), n); they add up to one."""
    cerebrum, stem, cerebellum, bulb = depths
    to = _Painter(p.size)
    to.paint(_ramp(5900.0 - i - np.float32(1.45) * (p - 8900.0), 40.0), s33=1.0)
    _paint_cerebellum(
        to, _ramp(cerebellum - stem - 150.0) * _ramp(cerebellum + 60.0), cerebellum, p, i, u
    )
    to.paint(_ramp(bulb - np.maximum(cerebrum, -400.0)), **_bulb_parts(bulb))
    # Behind the thalamus the brainstem pushes the cortex aside; in front there is none.
    share = _ramp(cerebrum + 60.0) * _ramp(cerebrum - bulb)
    behind = _ramp(p - 8000.0, 120.0) * _ramp(stem - 20.0)
    share = share * _ramp(cerebrum - cerebellum, 30.0)
    cortex = share * (1 - behind)
    _paint_cortex(to, cortex, cerebrum, -core - np.float32(_SHELL))
    middle = _ramp(core) * (1 - behind)
    _paint_core(to, middle, stem, p, i, u)
    _paint_ventricles(to, np.ones_like(p), p, i, u)
    nucleus = _ellipsoid(p, i, r, *_MARKER)
    to.paint(_ramp(nucleus), s60=1.0)
    return to.weights


@lru_cache(maxsize=1)
def _waves() -> tuple[Field, Field]:
    """Return wave vectors (3, n) in rad/um and phases (n,) of the texture."""
    n = 30
    k = np.arange(n)
    golden = (1 + 5**0.5) / 2
    z = 1 - 2 * (k + 0.5) / n
    around = 2 * np.pi * k / golden
    directions = np.stack(
        [np.sqrt(1 - z * z) * np.cos(around), np.sqrt(1 - z * z) * np.sin(around), z]
    )
    wavelengths = 200.0 + 80.0 * ((k * 0.7548776662) % 1.0)
    phases = 2 * np.pi * ((k * 0.5698402910) % 1.0)
    return (2 * np.pi * directions / wavelengths).astype(np.float32), phases.astype(np.float32)


def _texture(p: Field, i: Field, u: Field) -> Field:
    """Return clumps of 100 to 140 um, float32 (n,), mean 0 and RMS 1."""
    vectors, phases = _waves()
    # Bending space a little hides that these are plane waves.
    bend = np.float32(35.0) * np.sin(p * np.float32(1 / 310.0) - i * np.float32(1 / 270.0))
    points = np.stack([p + bend, i - bend, u + bend], axis=1)
    waves = points @ vectors
    waves += phases
    np.cos(waves, out=waves)
    total: Field = waves.sum(axis=1) * np.float32((2 / phases.size) ** 0.5)
    return total


def _nuclei(p: Field, i: Field, u: Field) -> Field:
    """Return the factor by which dense nuclei and pale tracts change the stain, float32 (n,)."""
    factor = np.ones_like(p)
    low, high = ([float(bound(x)) for x in (p, i, u)] for bound in (np.min, np.max))
    for p0, i0, u0, a, b, c, change in _NUCLEI:
        # At twice the semi-axes the soft edge has long faded; most are far from a given block.
        reach = zip((p0, i0, u0), (a, b, c), low, high, strict=True)
        if any(x + 2 * half < lo or x - 2 * half > hi for x, half, lo, hi in reach):
            continue
        factor *= 1 + np.float32(change) * _ramp(_ellipsoid(p, i, u, (p0, i0, u0), (a, b, c)))
    return factor


class Samples(NamedTuple):
    """The brain at n points, float32."""

    tissue: Field  # (n,) 0..1
    rgb: Field  # (3, n) 0..255
    cells: Field  # (n,) darkness of cell dots, 0..1
    gene: Field  # (n,) expression, 0..1
    ids: NDArray[np.uint32]  # (n,) id of the heaviest region


def evaluate(points: Field) -> Samples:
    """Evaluate everything at float32 (n, 3) points (p, i, r) in um."""
    n = len(points)
    tissue_ = np.zeros(n, dtype=np.float32)
    rgb = np.empty((3, n), dtype=np.float32)
    rgb[:] = np.array(BACKGROUND, dtype=np.float32)[:, None]
    cells = np.zeros(n, dtype=np.float32)
    gene = np.zeros(n, dtype=np.float32)
    ids = np.zeros(n, dtype=np.uint32)
    p, i, r, u = _coordinates(points)
    depths, core = _solids(p, i, u)
    inside = _inside(depths)
    within = np.flatnonzero(inside > 1e-3)
    if within.size:
        if within.size < n:
            p, i, r, u, core, inside = (x[within] for x in (p, i, r, u, core, inside))
            depths = tuple(x[within] for x in depths)
        weights = _weights(p, i, u, r, depths, core)
        stain, matter, grain, dots, strength = _PROPERTIES @ weights
        grain *= np.float32(_GRAIN)
        clumps = np.exp(grain * _texture(p, i, u) - np.float32(0.5) * grain * grain)
        stain *= inside * clumps * _nuclei(p, i, u)
        # Dark clumps saturate, which keeps the picture clear of black.
        stain /= np.sqrt(1 + np.square(stain * np.float32(0.27)))
        density = _STAIN_OD[:, None] * stain + _MATTER_OD[:, None] * (matter * inside)
        rgb[:, within] = np.array(BACKGROUND, dtype=np.float32)[:, None] * np.exp(-density)
        tissue_[within] = inside
        cells[within] = np.clip(dots * inside * clumps, 0, 1)
        gene[within] = np.clip(
            strength * inside * (np.float32(0.8) + np.float32(0.2) * clumps), 0, 1
        )
        ids[within] = np.where(inside >= 0.5, _IDS[weights.argmax(axis=0)], np.uint32(0))
    return Samples(tissue_, rgb, cells, gene, ids)


def _coordinates(points: Field) -> tuple[Field, Field, Field, Field]:
    """Split (n, 3) points into p, i, r and u, the distance from the mid-sagittal plane, um."""
    p, i, r = (np.ascontiguousarray(points[:, k]) for k in range(3))
    across = r - np.float32(_MIDLINE)
    # Rounded off where the sign changes, else mirroring would leave a crease along the midline.
    return p, i, r, np.sqrt(across * across + np.float32(_ROUND * _ROUND))


WORKERS = 2  # threads; numpy and OpenCV release the lock
_BLOCK = 8192  # points evaluated at once: the working arrays stay in the processor's cache


def _in_blocks(pir: ArrayLike, width: int, dtype: type, pick: Callable[[Samples], Any]) -> Any:
    """Evaluate (..., 3) points block by block and return what ``pick`` takes, (..., width)."""
    points = np.asarray(pir)
    flat = points.reshape(-1, 3).astype(np.float32)
    out: NDArray[Any] = np.empty((len(flat), width), dtype=dtype)
    for start in range(0, len(flat), _BLOCK):
        out[start : start + _BLOCK] = pick(evaluate(flat[start : start + _BLOCK]))
    shape = points.shape[:-1]
    return out.reshape(*shape, width) if width > 1 else out.reshape(shape)


def tissue(pir: ArrayLike) -> NDArray[np.float32]:
    """Return how much of the brain a point holds.

    Parameters
    ----------
    pir : array-like, shape (..., 3)
        (p, i, r) in µm.

    Returns
    -------
    numpy.ndarray, shape (...,), float32
        1 inside the brain (ventricles count as inside), 0 outside, soft between.
    """
    return cast("Field", _in_blocks(pir, 1, np.float32, lambda s: s.tissue[:, None]))


def color(pir: ArrayLike) -> NDArray[np.float32]:
    """Return the colour of the stained section, without cells and noise.

    Parameters
    ----------
    pir : array-like, shape (..., 3)
        (p, i, r) in µm.

    Returns
    -------
    numpy.ndarray, shape (..., 3), float32
        Red, green and blue, 0..255; `BACKGROUND` outside the brain.
    """
    return cast("Field", _in_blocks(pir, 3, np.float32, lambda s: s.rgb.T))


def expression(pir: ArrayLike) -> NDArray[np.float32]:
    """Return how strongly a made-up gene is expressed.

    Parameters
    ----------
    pir : array-like, shape (..., 3)
        (p, i, r) in µm.

    Returns
    -------
    numpy.ndarray, shape (...,), float32
        0..1: high in CA and dentate gyrus, middling in layers 2/3 and 5 of the isocortex and in
        the marker nucleus, about 0 elsewhere.
    """
    return cast("Field", _in_blocks(pir, 1, np.float32, lambda s: s.gene[:, None]))


def structure_id(pir: ArrayLike) -> NDArray[np.uint32]:
    """Return the structure that dominates at each point.

    Parameters
    ----------
    pir : array-like, shape (..., 3)
        (p, i, r) in µm.

    Returns
    -------
    numpy.ndarray, shape (...,), uint32
        Ids of leaves of `STRUCTURES`; 0 outside the brain.
    """
    return cast("NDArray[np.uint32]", _in_blocks(pir, 1, np.uint32, lambda s: s.ids[:, None]))


class Voxels(NamedTuple):
    """The brain at the centres of voxels, each (P, I, R)."""

    annotation: NDArray[np.uint32]  # ids of structures, 0 outside
    average_template: NDArray[np.uint16]  # pale tissue is bright, as in the institute's; 0 outside
    ara_nissl: Field  # darkness of the stain, 0..255


def voxels(resolution: int) -> Voxels:
    """Evaluate the brain at the centres of all voxels of the reference box.

    Parameters
    ----------
    resolution : int
        Side of a voxel in µm; voxel k of an axis spans [k R, (k + 1) R).

    Returns
    -------
    Voxels
        Annotation and two templates. Their arrays have p as the fastest axis, as the institute's
        files have it.
    """
    p, i, r = ((np.arange(int(n // resolution)) + 0.5) * resolution for n in _BOX)
    shape = (len(p), len(i), len(r))
    out = Voxels(
        np.empty(shape, dtype=np.uint32, order="F"),
        np.empty(shape, dtype=np.uint16, order="F"),
        np.empty(shape, dtype=np.float32, order="F"),
    )

    arrays: tuple[NDArray[Any], ...] = tuple(out)

    def fill(slab: int, window: tuple[slice, slice]) -> None:
        across, down = i[window[1]], p[window[0]]
        points = np.empty((len(across), len(down), 3), dtype=np.float32)
        points[..., 0], points[..., 1], points[..., 2] = down, across[:, None], r[slab]
        flat = points.reshape(-1, 3)
        made = [np.empty(len(flat), dtype=whole.dtype) for whole in arrays]
        for start in range(0, len(flat), _BLOCK):
            s = evaluate(flat[start : start + _BLOCK])
            block = np.s_[start : start + _BLOCK]
            bright = s.rgb.mean(axis=0)
            values = (s.ids, np.rint(s.tissue * bright * 2), 255 - bright)
            for column, value in zip(made, values, strict=True):
                column[block] = value
        for whole, column in zip(arrays, made, strict=True):
            whole[(*window, slab)] = column.reshape(points.shape[:2]).T

    everything = slice(None), slice(None)
    half = len(r) // 2
    # The right half mirrors the left one but for the marker nucleus and its soft edge.
    (centre_p, centre_i, centre_r), axes = _MARKER
    about = [
        slice(*np.searchsorted(x, (c - 2 * a, c + 2 * a)))
        for x, c, a in zip((p, i, r), (centre_p, centre_i, centre_r), axes, strict=True)
    ]
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda slab: fill(slab, everything), range(len(r) - half)))
        for whole in arrays:
            whole[:, :, len(r) - half :] = whole[:, :, half - 1 :: -1]
        mirrored = [len(r) - 1 - slab for slab in range(about[2].start, about[2].stop)]
        list(pool.map(lambda slab: fill(slab, (about[0], about[1])), mirrored))
    return out
