"""How long a whole volume takes, and what it takes: 112 cached sections of the demo brain.

    python benchmarks/bench_volume.py [--resolution 25] [--jobs N] [--json FILE]
    python benchmarks/bench_volume.py --store --resolution 10 [--sections N] [--fill linear]

The sections are rendered into a temporary cache first, which takes a while and is not counted.
Each run is a process of its own that reads nothing but that cache, so that its peak of memory is
the volume's. The split into decoding, splatting and filling is measured with one thread, where
times add up: filling is what a filled volume takes more than one that is not.

With ``--store`` the volume and its coverage are written as OME-Zarr, block by block, once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from findings import Findings, json_option
from memory import peak_mb

if TYPE_CHECKING:
    from atldld.api import DataSet
    from atldld.volume import Channel, Fill

DATASET = 71717084


def one_run(
    cache: str, resolution: float, channel: Channel, fill: Fill, jobs: int
) -> dict[str, float]:
    """Build a volume from cached sections only, and tell what it took."""
    from atldld.api import open_dataset
    from atldld.cli.terminal import prepare_for_pixels
    from atldld.demo.local import IN_PROCESS_URL
    from atldld.fetch import jpeg
    from atldld.fetch.session import Session
    from atldld.settings import Settings

    decoding = 0.0
    original = jpeg.decode

    def timed(*arguments: Any, **named: Any) -> NDArray[np.uint8]:
        nonlocal decoding
        start = time.perf_counter()
        try:
            return original(*arguments, **named)
        finally:
            decoding += time.perf_counter() - start

    jpeg.decode = timed
    prepare_for_pixels()  # as the command does
    settings = Settings(api_url=IN_PROCESS_URL, cache_dir=Path(cache), offline=True)
    with Session(settings) as session:
        dataset = open_dataset(DATASET, session=session)
        before = peak_mb()
        start = time.perf_counter()
        volume = dataset.volume(resolution, channel=channel, fill=fill, jobs=jobs)
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "decode_seconds": decoding,
        "peak_mb": peak_mb(),
        "imports_mb": before,
        "result_mb": (volume.data.nbytes + volume.coverage.nbytes) / 1e6,
        "sections": len(volume.metadata["datasets"][0]["sections"]),
    }


def one_store(
    cache: str,
    resolution: float,
    channel: Channel,
    fill: Fill,
    jobs: int,
    folder: str,
    most: int,
    number: int,
) -> dict[str, float]:
    """Write a volume and its coverage as OME-Zarr from cached sections, and tell what it took."""
    from atldld.api import open_dataset
    from atldld.demo.local import IN_PROCESS_URL
    from atldld.fetch.session import Session
    from atldld.settings import Settings
    from atldld.volume import VolumeRecipe

    settings = Settings(api_url=IN_PROCESS_URL, cache_dir=Path(cache), offline=True)
    with Session(settings) as session:
        dataset = some_of(open_dataset(number, session=session), most)
        before, start, used = peak_mb(), time.perf_counter(), time.process_time()
        paths = dataset.write_volume(
            Path(folder) / "volume.ome.zarr",
            resolution,
            channel=channel,
            fill=fill,
            coverage=True,
            jobs=jobs,
        )
        seconds, processor = time.perf_counter() - start, time.process_time() - used
    recipe = VolumeRecipe(resolution, channel, fill)
    return {
        "seconds": seconds,
        "processor": processor,
        "peak_mb": peak_mb(),
        "imports_mb": before,
        "whole_mb": recipe.bytes / 1e6,
        "stored_mb": sum(
            file.stat().st_size for path in paths for file in path.rglob("*") if file.is_file()
        )
        / 1e6,
        "sections": len(dataset.sections),
    }


def some_of(dataset: DataSet, most: int) -> DataSet:
    """Return a data set of the first of its sections' images from the middle on, as many as asked.

    Their neighbours stay neighbours; what lies beyond is as empty as glass.
    """
    import msgspec

    from atldld.api import DataSet

    images = dataset.record.images
    first = max((len(images) - most) // 2, 0)
    record = msgspec.structs.replace(dataset.record, images=images[first : first + most])
    return DataSet(record, dataset.session)


def write_store(
    resolution: float, channel: str, fill: str, jobs: int, most: int, number: int, file: Path | None
) -> None:
    """Run `one_store` in a process of its own, and put what it tells into findings."""
    from atldld.api import open_dataset
    from atldld.demo.local import in_process_session
    from atldld.volume import VolumeRecipe

    findings = Findings("volume", file)
    with tempfile.TemporaryDirectory() as folder:
        cache = f"{folder}/cache"
        with in_process_session(Path(cache)) as session:
            dataset = some_of(open_dataset(number, session=session), most)
            recipe = VolumeRecipe(resolution)
            for section in dataset.sections:
                tier = recipe.tier_of(section, recipe.slab(dataset, section))
                session.image(section.image, tier, expression=channel == "expression")
        told = in_a_process(cache, resolution, channel, fill, jobs, folder, most, number)
    findings.row(
        {
            "channel": channel,
            "fill": f"{fill}, {resolution:g} µm to OME-Zarr",
            "seconds": told["seconds"],
            "peak, MB": told["peak_mb"],
        }
    )
    findings.tell(
        f"{told['sections']:.0f} sections at {resolution:g} µm to OME-Zarr, {channel} {fill}: "
        f"{told['seconds']:.0f} s ({told['processor']:.0f} s of the processor), peak "
        f"{told['peak_mb']:.0f} MB (imports {told['imports_mb']:.0f}; whole it would be "
        f"{told['whole_mb']:.0f}), stored {told['stored_mb']:.0f} MB"
    )


def _words(channel: str, fill: str) -> tuple[Channel, Fill]:
    """Return words of the command line as what they stand for; `dataset.volume` checks them."""
    return cast("Channel", channel), cast("Fill", fill)


def in_a_process(*arguments: object) -> dict[str, float]:
    """Run `one_run` in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        cache, resolution, channel, fill, jobs, *store = sys.argv[2:]
        words = _words(channel, fill)
        if store:
            folder, most, number = store
            told = one_store(
                cache, float(resolution), *words, int(jobs), folder, int(most), int(number)
            )
        else:
            told = one_run(cache, float(resolution), *words, int(jobs))
        print(json.dumps(told))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolution", type=float, default=25)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--store", action="store_true", help="write OME-Zarr, block by block")
    parser.add_argument("--channel", default="image", help="of the store")
    parser.add_argument("--fill", default="none", help="of the store")
    parser.add_argument("--dataset", type=int, default=DATASET, help="of the store")
    parser.add_argument("--sections", type=int, default=1000, help="of the store, at most")
    json_option(parser)
    options = parser.parse_args()
    if options.store:
        write_store(
            options.resolution,
            options.channel,
            options.fill,
            options.jobs,
            options.sections,
            options.dataset,
            options.json,
        )
        return

    from atldld.api import open_dataset
    from atldld.demo.local import in_process_session

    with tempfile.TemporaryDirectory() as cache:
        with in_process_session(Path(cache)) as session:
            dataset = open_dataset(DATASET, session=session)
            dataset.volume(options.resolution, channel="image")
            dataset.volume(options.resolution, channel="expression")

        def best(channel: str, fill: str, jobs: int) -> dict[str, float]:
            runs = [
                in_a_process(cache, options.resolution, channel, fill, jobs)
                for _ in range(options.repeats)
            ]
            return min(runs, key=lambda run: run["seconds"])

        findings = Findings("volume", options.json)
        for channel in ("image", "intensity", "expression"):
            for fill in ("none", "nearest", "linear"):
                run = best(channel, fill, options.jobs)
                findings.row(
                    {
                        "channel": channel,
                        "fill": fill,
                        "seconds": run["seconds"],
                        "peak, MB": run["peak_mb"],
                    }
                )
                print(
                    f"{channel:10} {fill:8} {run['seconds']:6.2f} s   peak {run['peak_mb']:6.0f} MB"
                    f" (imports {run['imports_mb']:.0f}, result {run['result_mb']:.0f})"
                )
        plain, filled = best("image", "none", 1), best("image", "linear", 1)
    split = {
        "decode": plain["decode_seconds"],
        "splat": plain["seconds"] - plain["decode_seconds"],
        "fill": filled["seconds"] - plain["seconds"],
    }
    parts = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in split.items())
    print(f"one thread, image, linear: {filled['seconds']:.2f} s = {parts}")
    print(f"{run['sections']} sections, {options.jobs} threads, {platform.platform()}")
    for what, seconds in split.items():
        findings.row({"channel": "image", "fill": f"one thread: {what}", "seconds": seconds})
    findings.tell(
        f"{run['sections']} sections at {options.resolution:g} µm, "
        + ", ".join(
            f"{row['channel']} {row['fill']} {row['seconds']:.2f} s"
            for row in findings.rows
            if row["channel"] == "image"
        )
    )


if __name__ == "__main__":
    main()
