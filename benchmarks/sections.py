"""The sections of data set 74272479 as a local archive: genuine numbers, made-up pixels.

60 coronal sections of up to 12,273 × 7,505 pixels, placed by the matrices that the Allen Institute
computed for them, rendered from the demo brain once and kept. There are two archives:

``busy``
    With cells and camera noise, encoded as finely as the service does: for times.
``smooth``
    Three of the sections without cells and noise, whose truth is known at each point: for errors.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import simplejpeg

from atldld.demo import render
from atldld.fetch.cache import Cache, sha256_of
from atldld.fetch.facts import ImageFacts
from atldld.place import Placement
from atldld.records import SectionDataSet

DATASET = 74272479
TIERS = (0, 4)
QUALITY = 90  # 0.17 bytes for each pixel; the one genuine image at hand has 0.16, at tier 2
SMOOTH = (12, 30, 48)  # by their place among the sections

Record = dict[str, Any]


def records() -> tuple[Record, list[Record]]:
    """Return the data set's record and those of its images, by section number."""
    stored = json.loads((Path(__file__).parent / "data" / f"{DATASET}.json").read_text())
    images = sorted(stored["section_images"], key=lambda image: image["section_number"])
    return stored["section_data_set"], images


def archive(folder: Path, kind: str, sections: int | None = None) -> Cache:
    """Return an archive of the first so many sections, rendering what it lacks."""
    dataset, images = records()
    if kind == "smooth":
        images = [images[at] for at in SMOOTH]
    else:
        images = images[:: max(len(images) // (sections or len(images)), 1)][:sections]
    cache = Cache(folder)
    for done, image in enumerate(images):
        for tier in TIERS:
            if cache.find_image(image["id"], tier) is None:
                print(
                    f"rendering section {done + 1} of {len(images)} ({kind}), tier {tier}",
                    file=sys.stderr,
                )
                _render(cache, dataset, image, tier, busy=kind == "busy")
    known = cache.read_document("datasets", str(DATASET)) or {}
    document = {
        "section_data_set": {**dataset, "synthetic": True},
        "section_images": images,
        "complete": True,
    }
    if known.get("section_images") != images:
        cache.write_document("datasets", str(DATASET), document)
    return cache


def as_dataset() -> SectionDataSet:
    """Return the data set with all its images."""
    return SectionDataSet.from_records(*records())


def _render(cache: Cache, dataset: Record, image: Record, tier: int, *, busy: bool) -> None:
    pixels = render.render(
        Placement.from_records(dataset, image).forward,
        image["width"],
        image["height"],
        tier,
        cells=busy,
        noise=busy,
        seed=image["id"],
        label=None,
    )
    jpeg = simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "420")
    with cache.new_image(image["id"], tier) as arriving:
        arriving.file.write(jpeg)
        arriving.file.flush()
        arriving.keep(
            ImageFacts(
                width=pixels.shape[1],
                height=pixels.shape[0],
                sha256=sha256_of(arriving.path),
                url="made by benchmarks/sections.py",
                dataset_id=DATASET,
            )
        )
