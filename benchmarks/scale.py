"""What all adult data sets take: requests, bytes, hours and disk, on one machine and on ten.

    python benchmarks/scale.py [--measure IMAGE.jpg]

Prints the tables of docs/scale.md. Every assumption is a constant below, with where it is from.
--measure prints CORE_SECONDS for this machine, from a section image at tier 2.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from atldld.batch.estimate import BYTES_PER_PIXEL, METADATA_REQUESTS
from atldld.batch.work import PNG_BYTES_PER_PIXEL
from atldld.place.spaces import Grid, Plane


@dataclass(frozen=True)
class Kind:
    """Data sets of one plane of section.

    Attributes
    ----------
    data_sets : int
        Of the plane in a public list of the adult sets by gene, which has 26,061; the service's
        own count is "about 26 k".
    images : int
        Of each data set: about 20 sagittal or 60 coronal, says the atlas's documentation.
    megapixels : float
        Of an image at full resolution: the mean of the genuine records at hand, those of 69289763
        (sagittal, 18 images) and of 71717084 and 74272479 (coronal, 172 images).
    """

    data_sets: int
    images: int
    megapixels: float


KINDS = {Plane.SAGITTAL: Kind(21_716, 20, 96.0), Plane.CORONAL: Kind(4_345, 60, 58.9)}

OUTPUTS = {4: 25.0, 2: 5.0, 0: 1.25}
"""Tiers, and the size of an output pixel in µm for which they are taken: those of full resolution
are 1.049 µm."""

RATES = (2, 5, 10)
"""Requests a second. The Allen Institute publishes no limit; these are ours."""

MEGABITS = 100.0
"""A second of the line to the service, which ten machines of one place share."""

CORES = 8
"""Of a machine."""

CORE_SECONDS = {4: 0.02, 2: 0.3, 0: 5.0}
"""Of one core for a section: decoded, warped, written as PNG. --measure gave 0.012, 0.22 and 4.1 on
one core of a shared virtual machine; the rest is for decoding once more, to verify what arrived."""

REFINE_CORE_SECONDS = 3.0
"""Of one core for a section: 1.5 s on two cores (docs/refine.md)."""

NODES, AROUND = 50.0, 8
"""µm from one node of a deformation to the next, and nodes around the picture: those of
`atldld.refine.inplane`. Each node has two 32-bit numbers, in a field there and one back."""

PIXEL = 1.049
"""µm, at full resolution."""

DASK_SECONDS = 0.028
"""For a data set; see bench_batch.py and docs/batches.md."""

METADATA_BYTES = 1300
"""Of an image's record: 69289763.json has 24 kB for 18 images, 74272479.json 71 kB for 60."""


def counted() -> tuple[int, int, int]:
    """Return data sets, images and requests."""
    data_sets = sum(kind.data_sets for kind in KINDS.values())
    images = sum(kind.data_sets * kind.images for kind in KINDS.values())
    return data_sets, images, data_sets * METADATA_REQUESTS + images


def fetched_bytes(tier: int) -> float:
    """Return the bytes of all images at a tier."""
    pixels = sum(kind.data_sets * kind.images * kind.megapixels * 1e6 for kind in KINDS.values())
    return float(pixels / 4**tier * BYTES_PER_PIXEL)


def written_bytes(resolution: float) -> float:
    """Return the bytes of all registered pictures, as PNG on the whole grid."""
    total = 0.0
    for plane, kind in KINDS.items():
        rows, columns = Grid(plane, resolution).shape
        total += kind.data_sets * kind.images * rows * columns * PNG_BYTES_PER_PIXEL
    return total


def refined() -> tuple[float, float]:
    """Return the core hours and the bytes of registrations of everything, not compressed."""
    _, images, _ = counted()
    total = 0.0
    for kind in KINDS.values():
        # as if images were square: what lies around them differs little by their shape
        side = (kind.megapixels * 1e6) ** 0.5 * PIXEL / NODES + 2 * AROUND
        total += kind.data_sets * kind.images * side**2 * 2 * 4 * 2
    return images * REFINE_CORE_SECONDS / 3600, total


def hours(tier: int, rate: float, machines: int) -> tuple[float, str]:
    """Return how long it takes, and what it waits for: service, line or cores."""
    _, images, requests = counted()
    each = {
        "rate": requests / rate,
        "line": fetched_bytes(tier) * 8 / (MEGABITS * 1e6),
        "cores": images * CORE_SECONDS[tier] / (CORES * machines),
    }
    slowest = max(each, key=lambda name: each[name])
    return each[slowest] / 3600, slowest


def size(number: float) -> str:
    """Return bytes in GB or TB."""
    return f"{number / 1e12:,.1f} TB" if number >= 1e12 else f"{number / 1e9:,.0f} GB"


def measure(path: Path) -> None:
    """Print the core's seconds for each output, from one image at tier 2."""
    import cv2
    import numpy as np
    import simplejpeg

    from atldld.warp.background import background_of
    from atldld.warp.resample import resample

    cv2.setNumThreads(1)
    whole = simplejpeg.decode_jpeg(path.read_bytes(), "RGB")
    for tier, resolution in OUTPUTS.items():
        factor = 4.0 / 2**tier
        shown = cv2.resize(whole, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(shown), 90, "RGB", "420")
        shape = Grid(Plane.SAGITTAL, resolution).shape
        step = resolution / 1.049 / 2**tier
        # somewhat oblique, as sections are
        matrix = np.array([[step, 0.05 * step, 0.0], [-0.05 * step, step, 0.0]])
        begun = time.thread_time()
        pixels = simplejpeg.decode_jpeg(jpeg, "RGB")
        picture = resample(pixels, matrix, shape, background_of(pixels))
        cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        print(f"tier {tier}, {resolution:g} µm: {time.thread_time() - begun:.3f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", type=Path, metavar="IMAGE.jpg")
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    data_sets, images, requests = counted()
    print(f"{data_sets:,} data sets, {images:,} images, {requests:,} requests;")
    print(f"metadata {size(images * METADATA_BYTES)}\n")
    print("| tier | output | to fetch, and cache | pictures | on disk together |")
    print("|---|---|---|---|---|")
    for tier, resolution in OUTPUTS.items():
        there, made = fetched_bytes(tier), written_bytes(resolution)
        print(
            f"| {tier} | {resolution:g} µm | {size(there)} | {size(made)} | {size(there + made)} |"
        )
    print("\n| tier | requests a second | one machine | ten machines |")
    print("|---|---|---|---|")
    for tier in OUTPUTS:
        for rate in RATES:
            told = [
                f"{time_:,.0f} h ({why})"
                for time_, why in (hours(tier, rate, machines) for machines in (1, 10))
            ]
            print(f"| {tier} | {rate} | {' | '.join(told)} |")
    print("\n| tier | cores alone, one machine | ten machines |")
    print("|---|---|---|")
    for tier in OUTPUTS:
        alone = images * CORE_SECONDS[tier] / CORES / 3600
        print(f"| {tier} | {alone:.1f} h | {alone / 10:.2g} h |")
    core_hours, registrations = refined()
    print(
        f"\nrefined: {core_hours:,.0f} core hours ({core_hours / CORES:,.0f} h on one machine, "
        f"{core_hours / CORES / 10:,.1f} h on ten), {size(registrations)}"
    )
    print(f"\nDask: {data_sets * DASK_SECONDS / 60:.0f} minutes")


if __name__ == "__main__":
    main()
