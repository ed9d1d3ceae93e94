"""Where the time of one section goes: reading, decoding, warping, writing; and the start.

    python benchmarks/bench_steps.py [--folder DIR]

One of the largest sections of the archive of ``sections.py`` (10,113 × 6,881 pixels), on one core:
the best of several runs for each step. "New memory" is what it costs to touch memory that the
process did not have, which is what a decoder's or a warp's first result does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import platformdirs

import sections
from atldld.fetch.jpeg import REDUCTIONS, decode, verify
from atldld.formats.pictures import write_picture
from atldld.place import Placement
from atldld.place.planes import OutputPlane
from atldld.place.spaces import Grid, Plane
from atldld.place.tiers import shrink_source, tier_matrix
from atldld.warp.background import background_of
from atldld.warp.resample import largest_block, resample
from findings import Findings, json_option

SECTION = 30


def best(call: Callable[[], object], times: int = 5) -> float:
    """Return the shortest time of several, in milliseconds."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return 1000 * min(taken)


def say(what: str, milliseconds: float, more: str = "") -> None:
    STEPS.append({"step": what, "ms": milliseconds})
    print(f"{what:55} {milliseconds:8.1f} ms  {more}")


STEPS: list[dict[str, str | float]] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=Path(platformdirs.user_cache_dir("atldld-benchmarks"))
    )
    json_option(parser)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    archive = sections.archive(options.folder / "busy", "busy")
    dataset, images = sections.records()
    image = images[SECTION]
    placement = Placement.from_records(dataset, image)
    full = archive.image_path(image["id"], 0)
    width, height = image["width"], image["height"]

    say("new memory, 100 MB", best(lambda: np.empty(100_000_000, np.uint8).fill(1)))
    warm = np.zeros(100_000_000, np.uint8)
    say("the same memory again", best(lambda: warm.fill(1)))
    for reduction in reversed(REDUCTIONS):
        pixels = decode(full, reduction)
        say(
            f"decoding at 1/{reduction}",
            best(lambda: decode(full, reduction)),  # noqa: B023
            f"{pixels.nbytes / 1e6:.0f} MB",
        )
    say("verifying", best(lambda: verify(full, width, height)))
    with tempfile.TemporaryDirectory() as folder:
        for tier, resolution in ((4, 25.0), (0, 25.0), (0, 5.0)):
            plane = OutputPlane.oblique(placement, Grid(Plane.CORONAL, resolution))
            matrix = tier_matrix(plane.to_image, tier)
            shape = plane.grid.shape
            reduction = next(r for r in REDUCTIONS if r <= largest_block(matrix, shape))
            path = archive.image_path(image["id"], tier)
            pixels = decode(path, reduction)
            matrix = shrink_source(matrix, reduction)
            around = background_of(pixels)
            picture = resample(pixels, matrix, shape, around)
            png = Path(folder) / "picture.png"
            about = f"tier {tier}, {resolution:g} µm"
            say(f"{about}: decoding at 1/{reduction}", best(lambda: decode(path, reduction)))  # noqa: B023
            say(f"{about}: background", best(lambda: background_of(pixels)))  # noqa: B023
            say(f"{about}: warping", best(lambda: resample(pixels, matrix, shape, around)))  # noqa: B023
            say(f"{about}: writing the PNG", best(lambda: write_picture(png, picture)))  # noqa: B023
    for what, code in (
        ("start of Python", "pass"),
        ("and Click", "import click"),
        ("and what a download needs", "import click, atldld.sections.download"),
    ):
        say(what, best(lambda: subprocess.run([sys.executable, "-c", code], check=True)))  # noqa: B023
    findings = Findings("steps", options.json)
    for step in STEPS:
        findings.row(step)
    warped = [step for step in STEPS if str(step["step"]).endswith("warping")]
    findings.tell(", ".join(f"{step['step']} {step['ms']:.0f} ms" for step in warped))


if __name__ == "__main__":
    main()
