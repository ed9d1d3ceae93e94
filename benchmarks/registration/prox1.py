"""The one genuine section of an in-situ hybridisation at hand, registered alone.

    python benchmarks/registration/prox1.py [--options JSON] [--peers] [--picture FILE]

Section image 69177654 (Prox1, sagittal) of data set 69289763, from ``shared/data/images`` beside
the repository. Its dentate gyrus shows how well it lies: the granule layer, which Prox1 stains
darkest of all, is drawn from the picture alone and compared with the layer that the annotation lays
there. Registrations are not told of it.

The layer is where the darkness (0 to 255), blurred by 12 µm, exceeds 110, in pieces of more than
0.01 mm². Between 110 and 140 these are the same two, the blades and the layer's lower end, and
nothing else of the section. The middle of all of it depends on how large the two are against each
other, so that of the larger one, the blades, is told as well. Tissue is where the darkness, blurred
by 50 µm, exceeds 12, in pieces of at least 2 % of the largest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from atldld.atlas import Atlas
from atldld.place.sections import PlacedDataSet
from atldld.place.tiers import tier_to_image
from atldld.refine import refine
from atldld.testing.cut import HasPlaces, Pictures
from atldld.warp.background import background_of
from atldld.warp.stain import darkness
from judged import SHARED, genuine_atlas, genuine_record, jacobians, session_of
from peers import PEERS, registered_by

DATASET, IMAGE, TIER = 69289763, 69177654, 2
LAYER = 632
PICTURE = SHARED / "images" / f"{IMAGE}_downsample{TIER}.jpg"
EVERY = 4  # pixels of the picture from one judged pixel to the next, 17 µm

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Drawing:
    """What the picture itself shows, at every so-many-th pixel.

    Attributes
    ----------
    xy : numpy.ndarray, shape (rows, columns, 2)
        Full-resolution pixels.
    pixel : float
        How far apart they are, in µm.
    tissue, layer : numpy.ndarray, shape (rows, columns), bool
        The tissue and the granule layer.
    """

    xy: NDArray[np.float64]
    pixel: float
    tissue: Mask
    layer: Mask

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], side: float) -> Drawing:
        """Draw a picture whose pixels have a side in µm."""
        dark = darkness(pixels, background_of(pixels))
        layer = _pieces(cv2.GaussianBlur(dark, (0, 0), 12 / side) > 110, 1e4 / side**2, 0)
        tissue = _pieces(cv2.GaussianBlur(dark, (0, 0), 50 / side) > 12, 0, 0.02)
        row, column = np.indices(dark.shape)[:, ::EVERY, ::EVERY]
        xy = tier_to_image(TIER).apply(np.stack((column, row), axis=-1))
        return cls(xy, side * EVERY, tissue[::EVERY, ::EVERY], layer[::EVERY, ::EVERY])

    def figures(self, places: HasPlaces, atlas: Atlas) -> dict[str, float]:
        """Return how well the annotation fits what is drawn, where a placement lays it."""
        steps = np.floor(places.to_reference(self.xy) / atlas.resolution).astype(int)
        inside = ((steps >= 0) & (steps < atlas.annotation.shape)).all(axis=-1)
        found = np.zeros(inside.shape, dtype=np.int64)
        found[inside] = atlas.annotation[tuple(steps[inside].T)]
        brain, layer = found > 0, found == LAYER
        both = int((layer & self.layer).sum())
        return {
            "overlap": float((brain & self.tissue).sum() / (brain | self.tissue).sum()),
            "dice": 2 * both / float(layer.sum() + self.layer.sum()),
            "apart": _apart(layer, self.layer) * self.pixel,
            "blades apart": _apart(_pieces(layer, 0, 1), _pieces(self.layer, 0, 1)) * self.pixel,
        }


def _apart(one: Mask, other: Mask) -> float:
    """Return how many pixels the middles of two areas lie apart; NaN if one is empty."""
    if not (one.any() and other.any()):
        return float("nan")
    return float(np.linalg.norm(np.argwhere(one).mean(axis=0) - np.argwhere(other).mean(axis=0)))


def _pieces(mask: Mask, least: float, part: float) -> Mask:
    """Return the pieces of a mask that are large enough: pixels, or a part of the largest one."""
    _, pieces, about, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    area = about[:, cv2.CC_STAT_AREA]
    kept = area >= max(least, part * area[1:].max(initial=0))
    kept[0] = False
    out: Mask = kept[pieces]
    return out


def drawn_over(pixels: NDArray[np.uint8], places: Mapping[str, HasPlaces], atlas: Atlas) -> Any:
    """Return the picture with the annotation's borders, of one registration below the other."""
    from atldld.atlas.labels import compact_labels

    _, labels = compact_labels(atlas.annotation)
    shown = []
    small = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    row, column = np.indices(small.shape[:2])
    xy = tier_to_image(TIER + 1).apply(np.stack((column, row), axis=-1))
    for place in places.values():
        steps = np.floor(place.to_reference(xy) / atlas.resolution).astype(int)
        steps = np.clip(steps, 0, np.array(labels.shape) - 1)
        found = labels[tuple(np.moveaxis(steps, -1, 0))].astype(np.float32)
        edge = cv2.morphologyEx(found, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0
        lined = small.copy()
        lined[edge] = (200, 30, 30)
        shown.append(lined)
    return np.vstack(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--options", type=json.loads, default={}, help="more of refine's, as JSON")
    parser.add_argument("--peers", action="store_true", help="and what others make of it")
    parser.add_argument("--picture", type=Path, help="draw both alignments into this file")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if not PICTURE.is_file():
        raise SystemExit(f"The genuine section is not at {PICTURE}.")
    jpeg = PICTURE.read_bytes()
    pixels = simplejpeg.decode_jpeg(jpeg, "RGB")
    record = genuine_record(DATASET)
    only = tuple(image for image in record.images if image.id == IMAGE)
    alone = PlacedDataSet.of(msgspec.structs.replace(record, images=only))
    (section,) = alone.sections
    atlas = genuine_atlas()
    places: dict[str, HasPlaces] = {"Allen": section.placement}
    with session_of(Pictures({IMAGE: jpeg}, TIER)) as session:
        more = {"few": True} | options.options
        found = refine(alone, atlas, session=session, jobs=options.jobs, **more)
        places["atldld"] = found.placements(alone.record)[IMAGE]
        for name, peer in PEERS.items() if options.peers else ():
            if peer.missing() is None:
                places[name] = registered_by(name, alone, atlas, session)[IMAGE]
    side = float(np.linalg.norm(section.placement.forward[:, 0])) * (1 << TIER)
    drawing = Drawing.of(pixels, side)
    print("| | overlap of tissue | Dice of DG-sg | centroid of its blades | of all | Jacobian |")
    print("|---" * 6 + "|")
    for who, place in places.items():
        figures = drawing.figures(place, atlas)
        least, most = jacobians(place, section.placement, drawing.xy[drawing.tissue])
        print(
            f"| {who} | {figures['overlap']:.3f} | {figures['dice']:.2f} "
            f"| {figures['blades apart']:.0f} µm | {figures['apart']:.0f} µm "
            f"| {least:.2f} … {most:.2f} |"
        )
    for step in found.sections[IMAGE].steps:
        print(f"\n{step.step}: {'kept' if step.kept else 'not kept'}. {step.reason}")
    if options.picture:
        both = {who: places[who] for who in ("Allen", "atldld")}
        cv2.imwrite(str(options.picture), drawn_over(pixels, both, atlas)[..., ::-1])


if __name__ == "__main__":
    main()
