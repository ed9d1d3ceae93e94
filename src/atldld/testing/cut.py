"""Sections cut from an atlas at known places: data sets whose registrations can be judged.

`cut` takes a genuine data set's records, says where its sections truly lie
(`atldld.testing.places`), and makes the pictures that would have been taken there
(`atldld.testing.stains`, `atldld.testing.pictures`). Whatever works with a data set gets the
records and a source of images, as from the service, and sees nothing of the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

import msgspec
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from atldld.fetch.sources import ImageSource, Received, Wanted
from atldld.place.placement import Placement
from atldld.place.sections import PlacedDataSet, PlacedSection
from atldld.place.tiers import tier_of, tier_to_image
from atldld.records import Alignment2d, SectionDataSet, SectionImage
from atldld.testing.pictures import Camera, Damage, damaged, photographed
from atldld.testing.places import Errors, Tear, true_placements
from atldld.testing.stains import KINDS, Anatomy, Kind, Stain

__all__ = ["FINEST", "CutDataSet", "CutSection", "HasPlaces", "Pictures", "cut"]

FINEST = 25.0
"""Pictures are made at the coarsest tier whose pixels are no larger than this, in µm."""

_SAMPLES = 8  # pixels of the tier from one judged pixel to the next

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
Random = np.random.Generator


class Pictures(ImageSource):
    """A source of images that are at hand at one tier; coarser ones are averaged from these.

    Parameters
    ----------
    jpegs : mapping of int to bytes
        By id of the section image.
    tier : int
        Theirs.

    Attributes
    ----------
    tier : int
        The finest that it has.
    """

    remote = False
    name = "the pictures that were made"

    def __init__(self, jpegs: Mapping[int, bytes], tier: int) -> None:
        self._jpegs, self.tier = dict(jpegs), tier

    def jpeg(self, image_id: int) -> bytes:
        """Return an image as it is at hand."""
        return self._jpegs[image_id]

    def address(self, wanted: Wanted) -> str:
        """Return an address that leads nowhere."""
        return f"made://{wanted.image.id}/{wanted.downsample}"

    def fetch(self, wanted: Wanted, file: BinaryIO, check: Callable[[], object]) -> Received | None:
        """Write an image's JPEG into a file; finer tiers than the one at hand are not known."""
        jpeg = self._jpegs.get(wanted.image.id)
        if jpeg is None or wanted.expression or wanted.downsample < self.tier:
            return None
        side = 1 << (wanted.downsample - self.tier)
        if side > 1:
            width, height = wanted.size
            pixels = simplejpeg.decode_jpeg(jpeg, "RGB")[: height * side, : width * side]
            boxes = pixels.reshape(height, side, width, side, 3)
            mean = np.rint(boxes.mean(axis=(1, 3))).astype(np.uint8)
            jpeg = simplejpeg.encode_jpeg(mean, 95, "RGB", "444")
        file.write(jpeg)
        return Received(self.address(wanted))


class HasPlaces(Protocol):
    """A placement, or whatever else leads from pixels to the brain."""

    def to_reference(self, xy: Matrix) -> Matrix:
        """Map (x, y) to (p, i, r)."""


@dataclass(frozen=True, eq=False)
class CutSection:
    """What is known of one section.

    Attributes
    ----------
    truth : Placement
        Where it truly lies.
    tissue : numpy.ndarray, shape (N, 2)
        Full-resolution pixels (x, y) in tissue that is there, on a regular grid.
    torn : bool
        Whether it is torn.
    """

    truth: Placement
    tissue: Matrix
    torn: bool

    def off(self, placement: HasPlaces) -> Matrix:
        """Return how far, in µm, a placement is off at each pixel of the tissue, shape (N,)."""
        away = placement.to_reference(self.tissue) - self.truth.to_reference(self.tissue)
        out: Matrix = np.linalg.norm(away, axis=1)
        return out


@dataclass(frozen=True, eq=False)
class CutDataSet:
    """A data set of made-up pictures, and where its sections truly lie.

    Attributes
    ----------
    record : SectionDataSet
        Where they are placed, as the service would tell it.
    images : Pictures
        A source of their pictures.
    sections : dict of int to CutSection
        By id of the section image.
    about : dict
        How it was made.
    """

    record: SectionDataSet
    images: Pictures
    sections: dict[int, CutSection]
    about: dict[str, Any] = field(default_factory=dict)


def cut(
    record: SectionDataSet,
    anatomy: Anatomy,
    seed: int,
    *,
    kind: Kind | None = None,
    errors: Errors | None = None,
    damage: Damage | None = None,
    jobs: int = 2,
) -> CutDataSet:
    """Cut the sections of a data set from an atlas, along its alignment but off by known errors.

    Parameters
    ----------
    record : SectionDataSet
        Genuine records.
    anatomy : Anatomy
        The atlas.
    seed : int
        What is random follows from this and the data set's id.
    kind : str, optional
        How it is stained; each of five seeds in a row has another one by default.
    errors : Errors, optional
        How far off sections are.
    damage : Damage, optional
        How often sections are damaged; a random choice by default.
    jobs : int
        Threads. The result does not depend on them.
    """
    kind = kind or KINDS[(seed + record.id) % len(KINDS)]
    errors = errors or Errors()
    rng = _random(seed, record.id)
    stain = Stain(anatomy, kind, rng)
    camera = Camera.drawn(rng, dark_field=stain.dark_field)
    damage = damage or Damage.drawn(rng)
    images = tuple(_cropped(image, damage, _random(seed, image.id, 1)) for image in record.images)
    record = msgspec.structs.replace(record, images=images, synthetic=True)
    placed = PlacedDataSet.of(record)
    tier = min(tier_of(section, FINEST) for section in placed)
    samples = [_tissue(section, section.placement, anatomy, tier) for section in placed]
    tears = [
        _tears(section, xy, damage, _random(seed, section.id, 2))
        for section, xy in zip(placed, samples, strict=True)
    ]
    samples = [
        xy if len(xy) else np.array([[s.image.width / 2, s.image.height / 2]])
        for s, xy in zip(placed, samples, strict=True)
    ]
    truths = true_placements(placed.sections, samples, errors, rng, tears)
    if errors.median == 0:
        tears = [()] * len(placed)

    def make(k: int) -> tuple[bytes, CutSection]:
        section = placed.sections[k]
        own = _random(seed, section.id, 3)
        return _made(section, tier, truths[k], tears[k], stain, camera, damage, own)

    with ThreadPoolExecutor(jobs) as pool:
        made = list(pool.map(make, range(len(placed))))
    ids = [section.id for section in placed]
    return CutDataSet(
        record,
        Pictures({one: jpeg for one, (jpeg, _) in zip(ids, made, strict=True)}, tier),
        {one: known for one, (_, known) in zip(ids, made, strict=True)},
        {"seed": seed, "kind": kind, "errors": errors, "damage": damage, "camera": camera},
    )


def _random(*numbers: int) -> Random:
    return np.random.default_rng(numbers)


def _cropped(image: SectionImage, damage: Damage, rng: Random) -> SectionImage:
    """Return an image's record, or that of a part of it whose alignment is of the same places."""
    if rng.random() >= damage.cropped or image.alignment2d is None:
        return image
    part, chosen = rng.uniform(0.05, 0.18), rng.integers(4)
    left, top, right, bottom = (part * (side == chosen) for side in range(4))
    x, y = round(left * image.width), round(top * image.height)
    to_volume, to_image = image.alignment2d.to_volume, image.alignment2d.to_image
    to_volume[:, 2] += to_volume[:, :2] @ [x, y]
    to_image[:, 2] -= x, y
    return msgspec.structs.replace(
        image,
        width=round(image.width * (1 - right)) - x,
        height=round(image.height * (1 - bottom)) - y,
        alignment2d=Alignment2d.of(to_volume, to_image),
    )


def _grid(section: PlacedSection, tier: int, every: int = 1) -> Matrix:
    """Return the full-resolution pixels at centres of the tier's, shape (rows, columns, 2)."""
    width, height = section.image.size(tier)
    column, row = np.meshgrid(np.arange(0, width, every), np.arange(0, height, every))
    return tier_to_image(tier).apply(np.stack((column, row), axis=-1))


def _tissue(section: PlacedSection, placement: Placement, anatomy: Anatomy, tier: int) -> Matrix:
    xy = _grid(section, tier, _SAMPLES).reshape(-1, 2)
    return xy[anatomy.at(placement.to_reference(xy).T) > 0]


def _tears(section: PlacedSection, tissue: Matrix, damage: Damage, rng: Random) -> tuple[Tear, ...]:
    if rng.random() >= damage.torn or not len(tissue):
        return ()
    x, y = tissue[rng.integers(len(tissue))]
    return (
        Tear(
            float(x),
            float(y),
            rng.uniform(0, np.pi),
            length=rng.uniform(1200, 3500),
            width=rng.uniform(100, 300),
        ),
    )


def _made(
    section: PlacedSection,
    tier: int,
    truth: Placement,
    tears: Sequence[Tear],
    stain: Stain,
    camera: Camera,
    damage: Damage,
    rng: Random,
) -> tuple[bytes, CutSection]:
    xy = _grid(section, tier)
    shape = xy.shape[:2]
    across = float(np.linalg.norm(section.placement.forward[:, :2], axis=0).mean())
    absorbance, structures = stain.absorbance(truth.to_reference(xy).reshape(-1, 3).T, rng)
    absorbance, tissue = absorbance.reshape(shape), structures.reshape(shape) > 0
    for tear in tears:
        gap = tear.gap(xy, across)
        absorbance[gap], tissue[gap] = 0.0, False
    pixel = across * (1 << tier)
    absorbance, left = damaged(absorbance, tissue, pixel, damage, rng)
    picture = photographed(absorbance, pixel, stain.tint, camera, rng, dark_field=stain.dark_field)
    jpeg = simplejpeg.encode_jpeg(picture, camera.quality, "RGB", "420")
    every = _SAMPLES // 2
    judged = xy[::every, ::every][left[::every, ::every]]
    return jpeg, CutSection(truth, judged, bool(tears))
