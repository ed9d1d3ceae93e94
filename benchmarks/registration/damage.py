"""What a registration does with damaged pictures and odd input.

    python benchmarks/registration/damage.py [--seed 100] [--options JSON] [CASE ...]

Sections of 69289763 are cut from the genuine atlas at known places (`atldld.testing.cut`), and then
something goes wrong. For each case: how many sections stay where they are placed and how many are
moved, and how far they are off, in µm (the median over the tissue of each, then the median and the
most of them), where that is known.

pictures    one section each is empty, black, torn in two, from another place of the brain (the
            picture of the section five places on), from another brain, and 2 mm off at the start;
            the other sections are sound
pieces      in a corner of every third picture lies a piece of another section
off         every section is 2 mm off at the start
half        every section of the second half is missing
gaps        every second section is missing
single      only one section is there; and the same where it is asked for (``few``)
template    the atlas has no template
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import msgspec
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from atldld.atlas import Atlas
from atldld.atlas.model import Given
from atldld.errors import AtldldError
from atldld.place.sections import PlacedSection
from atldld.records import Alignment2d, SectionDataSet, SectionImage
from atldld.testing.cut import CutDataSet, Pictures, cut
from atldld.testing.stains import Anatomy
from cut import run
from judged import SHARED, genuine_atlas, genuine_record

DATASET, OTHER = 69289763, 74272479
OFF = 2000.0  # µm
# places in the series of 18, where there is much tissue
ODD = {
    "empty": 4,
    "black": 6,
    "torn": 8,
    "another place": 10,
    "another brain": 12,
    "2 mm off": 14,
}

PIECE = "with a piece of another section"
ODD_PLACES = {
    "pictures": {place: what for what, place in ODD.items()},
    "pieces": dict.fromkeys(range(3, 16, 3), PIECE),
}
KNOWN = {"all", "sound", "2 mm off", PIECE}  # of whose tissue it is known where it lies

Pixels = NDArray[np.uint8]


def _pixels(data: CutDataSet, image: SectionImage) -> Pixels:
    return np.asarray(simplejpeg.decode_jpeg(data.images.jpeg(image.id), "RGB"), dtype=np.uint8)


def _replaced(data: CutDataSet, pictures: Mapping[int, Pixels]) -> CutDataSet:
    """Return a data set some of whose sections have other pictures."""
    jpegs = {image.id: data.images.jpeg(image.id) for image in data.record.images}
    jpegs |= {
        one: simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 90, "RGB", "420")
        for one, pixels in pictures.items()
    }
    return dataclasses.replace(data, images=Pictures(jpegs, data.images.tier))


def _moved(data: CutDataSet, places: Sequence[int]) -> CutDataSet:
    """Return a data set some of whose sections are placed 2 mm off, along their x axis."""
    images = list(data.record.images)
    for place in places:
        image = images[place]
        assert image.alignment2d is not None
        to_volume, to_image = image.alignment2d.to_volume, image.alignment2d.to_image
        by = OFF * to_volume[:, 0] / np.linalg.norm(to_volume[:, 0])
        to_volume[:, 2] += by
        to_image[:, 2] -= to_image[:, :2] @ by
        alignment = Alignment2d.of(to_volume, to_image)
        images[place] = msgspec.structs.replace(image, alignment2d=alignment)
    return _with_images(data, images)


def _with_images(data: CutDataSet, images: Sequence[SectionImage]) -> CutDataSet:
    record = msgspec.structs.replace(data.record, images=tuple(images))
    return dataclasses.replace(data, record=record)


def _torn(pixels: Pixels, background: Pixels) -> Pixels:
    """Return a picture whose right half lies lower by a sixth, and askew."""
    height, width = pixels.shape[:2]
    turn = cv2.getRotationMatrix2D((width * 0.75, height / 2), 12, 1)
    turn[1, 2] += height / 6
    flat = tuple(int(value) for value in background)
    half = np.full_like(pixels, background)
    half[:, width // 2 :] = pixels[:, width // 2 :]
    half[:] = cv2.warpAffine(half, turn, (width, height), borderValue=flat)
    out = np.full_like(pixels, background)
    out[:, : width // 2] = pixels[:, : width // 2]
    return np.asarray(np.minimum(out, half), dtype=np.uint8)


def _sized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    return np.asarray(cv2.resize(pixels, size), dtype=np.uint8)


def odd_pictures(data: CutDataSet, other: CutDataSet) -> CutDataSet:
    """Return a data set one section each of which is odd in another way."""
    images = data.record.images
    changed: dict[int, Pixels] = {}
    for what, place in ODD.items():
        image = images[place]
        pixels = _pixels(data, image)
        size = (pixels.shape[1], pixels.shape[0])
        background = np.median(pixels[:4].reshape(-1, 3), axis=0).astype(np.uint8)
        if what == "empty":
            noise = np.random.default_rng(1).normal(0, 3, pixels.shape)
            changed[image.id] = np.clip(background + noise, 0, 255).astype(np.uint8)
        elif what == "black":
            changed[image.id] = np.zeros_like(pixels)
        elif what == "torn":
            changed[image.id] = _torn(pixels, background)
        elif what == "another place":
            changed[image.id] = _sized(_pixels(data, images[place - 5]), size)
        elif what == "another brain":
            middle = other.record.images[len(other.record.images) // 2]
            changed[image.id] = _sized(_pixels(other, middle), size)
    return _moved(_replaced(data, changed), [ODD["2 mm off"]])


def with_pieces(data: CutDataSet) -> CutDataSet:
    """Return a data set where some pictures hold a piece of the section two places before.

    It is a third as long and wide as the picture, and lies in the corner at its start.
    """
    images = data.record.images
    changed = {}
    for place in ODD_PLACES["pieces"]:
        pixels, others = (_pixels(data, images[k]) for k in (place, place - 2))
        rows, columns = (side // 3 for side in pixels.shape[:2])
        top, left = (side // 3 for side in others.shape[:2])
        piece = others[top : top + rows, left : left + columns]
        corner = pixels[: len(piece), : piece.shape[1]]
        np.minimum(corner, piece, out=corner)
        changed[images[place].id] = pixels
    return _replaced(data, changed)


def case(
    name: str, data: CutDataSet, atlas: Atlas, jobs: int, options: Mapping[str, Any]
) -> Iterator[str]:
    """Yield lines of the table for one case."""
    try:
        placed, found, _, _ = run(data, atlas, jobs, **options)
    except AtldldError as error:
        yield f"| {name} | refused: {error} | | | | |"
        return
    placements = found.placements(data.record)
    odd = {data.record.images[place].id: what for place, what in ODD_PLACES.get(name, {}).items()}
    groups: dict[str, list[PlacedSection]] = {}
    for section in placed:
        what = odd.get(section.id, "sound") if odd else "all"
        groups.setdefault(what, []).append(section)
    for what, sections in groups.items():
        moved = [any(step.kept for step in found.sections[one.id].steps) for one in sections]
        reasons = Counter(
            found.sections[one.id].steps[-1].reason
            for one, has_moved in zip(sections, moved, strict=True)
            if not has_moved and found.sections[one.id].steps
        )
        judged = [one for one in sections if len(data.sections[one.id].tissue) and what in KNOWN]
        before = [float(np.median(data.sections[one.id].off(one.placement))) for one in judged]
        after = [float(np.median(data.sections[one.id].off(placements[one.id]))) for one in judged]
        why = reasons.most_common(1)[0][0] if reasons else ""
        yield (
            f"| {name}: {what} | {len(sections) - sum(moved)} | {sum(moved)} | {_of(before)} "
            f"| {_of(after)} | {why} |"
        )


def _of(errors: Sequence[float]) -> str:
    return f"{np.median(errors):.0f}, {max(errors):.0f}" if errors else "–"


CASES: dict[str, Callable[[CutDataSet, Callable[[], CutDataSet]], CutDataSet]] = {
    "pictures": lambda data, other: odd_pictures(data, other()),
    "pieces": lambda data, _: with_pieces(data),
    "off": lambda data, _: _moved(data, range(len(data.record.images))),
    "half": lambda data, _: _with_images(data, data.record.images[:9]),
    "gaps": lambda data, _: _with_images(data, data.record.images[::2]),
    "single": lambda data, _: _with_images(data, data.record.images[8:9]),
    "template": lambda data, _: data,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), help="some of them")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--options", type=json.loads, default={}, help="more of refine's, as JSON")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"There is no case {min(unknown)!r}; there are {', '.join(CASES)}.")
    if not SHARED.is_dir():
        raise SystemExit(f"The genuine data are not at {SHARED}.")
    atlas = genuine_atlas()
    anatomy = Anatomy.of(atlas)

    def made(record: SectionDataSet) -> CutDataSet:
        return cut(record, anatomy, options.seed, kind="grey", jobs=options.jobs)

    def other() -> CutDataSet:
        record = genuine_record(OTHER)
        middle = len(record.images) // 2
        return made(msgspec.structs.replace(record, images=record.images[middle : middle + 1]))

    data = made(genuine_record(DATASET))
    print("| case | stay | moved | before: median, most | after: median, most | why they stay |")
    print("|---" * 6 + "|")
    for name in options.cases:
        used = dataclasses.replace(atlas, load=Given()) if name == "template" else atlas
        changed = CASES[name](data, other)
        for line in case(name, changed, used, options.jobs, options.options):
            print(line, flush=True)
        if name == "single":
            asked = options.options | {"few": True}
            for line in case("single, asked for", changed, used, options.jobs, asked):
                print(line, flush=True)


if __name__ == "__main__":
    main()
