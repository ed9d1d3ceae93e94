"""How long a region table takes: 112 cached masks of the demo brain at 8 µm.

    python benchmarks/bench_quantify.py [--cache DIR] [--resolution 8] [--atlas-resolution 25]
                                        [--annotation FILE.nrrd --graph FILE.json] [--jobs N]
                                        [--profile]

The masks are rendered into the cache first, by another process, which takes minutes and is not
counted; with --cache they stay for the next time. The annotation is the demo brain's, or the one
that is given. The run that is timed makes no request. The split is of the processor's time with one
thread, where times add up.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from findings import Findings, json_option
from memory import peak_mb

DATASET = 71717084


def warm(cache: Path, resolution: float, atlas_resolution: float, own: bool) -> None:
    """Put everything that the run needs into the cache."""
    from atldld.api import open_dataset
    from atldld.atlas import open_atlas
    from atldld.demo.archive import DemoArchive
    from atldld.demo.local import in_process_session
    from atldld.place.planes import OutputPlane
    from atldld.place.spaces import Grid
    from atldld.place.tiers import choose_downsample
    from atldld.regions.grids import fetch_grid
    from atldld.regions.quantify import structure_unionizes

    with in_process_session(cache, DemoArchive([DATASET])) as session:
        dataset = open_dataset(DATASET, session=session)
        if own:
            open_atlas(atlas_resolution, session=session)
        fetch_grid(DATASET, session=session)
        structure_unionizes(session, DATASET)
        for done, section in enumerate(dataset, 1):
            plane = OutputPlane.oblique(section.placement, Grid(section.plane, resolution))
            tier = choose_downsample(plane.to_image, section.image.highest_downsample)
            session.image(section.image, tier, expression=True)
            print(f"\rmasks in the cache: {done} of {len(dataset)}", end="", flush=True)
        print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, help="folder that keeps the masks")
    parser.add_argument("--resolution", type=float, default=8)
    parser.add_argument("--atlas-resolution", type=float, default=25)
    parser.add_argument("--annotation", type=Path, help="an NRRD file instead of the demo's")
    parser.add_argument("--graph", type=Path, help="its structure graph")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--profile", action="store_true", help="split the time, with one thread")
    json_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or Path(folder)
        own = options.annotation is None
        # in another process, so that its memory is not counted
        other = multiprocessing.get_context("spawn").Process(
            target=warm, args=(cache, options.resolution, options.atlas_resolution, own)
        )
        other.start()
        other.join()
        run(options, cache)


def run(options: argparse.Namespace, cache: Path) -> None:
    import atldld.regions.quantify as module
    from atldld.api import open_dataset
    from atldld.atlas import open_atlas
    from atldld.cli.terminal import prepare_for_pixels
    from atldld.demo.local import IN_PROCESS_URL
    from atldld.fetch.session import Session
    from atldld.settings import Settings

    spent: dict[str, float] = defaultdict(float)

    def timed(owner: Any, name: str) -> None:
        function: Any = getattr(owner, name)

        def wrapper(*arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                spent[name] += time.process_time() - start

        setattr(owner, name, wrapper)

    if options.profile:
        timed(Session, "pixels")
        for name in (
            "compact_labels",
            "read_mask",
            "on_image",
            "_count",
            "_beside_grid",
            "_beside_unionizes",
        ):
            timed(module, name)
    settings = Settings(
        api_url=IN_PROCESS_URL, download_url=IN_PROCESS_URL, cache_dir=cache, offline=True
    )
    prepare_for_pixels()  # as the command does
    with Session(settings) as session:
        dataset = open_dataset(DATASET, session=session)
        start = time.perf_counter()
        atlas = open_atlas(
            options.atlas_resolution if options.annotation is None else None,
            annotation=options.annotation,
            graph=options.graph,
            session=session,
        )
        opened = time.perf_counter() - start
        start, busy = time.perf_counter(), time.process_time()
        table = module.quantify(
            dataset,
            atlas,
            options.resolution,
            session=session,
            jobs=1 if options.profile else options.jobs,
        )
        seconds = time.perf_counter() - start
        busy = time.process_time() - busy
    pixels = table.row(int(table["structure_id"][0]))["pixels"] + table.row(0)["pixels"]
    print(
        f"{len(table.metadata['sections'])} sections at tier "
        f"{table.metadata['sections'][0]['downsample']}, {pixels / 1e6:.0f} million pixels, "
        f"{atlas!r} opened in {opened:.2f} s"
    )
    print(f"{table!r}")
    findings = Findings("quantify", options.json)
    findings.row(
        {
            "megapixels": pixels / 1e6,
            "seconds": seconds,
            "processor, s": busy,
            "peak, MB": peak_mb(),
        }
    )
    findings.tell(
        f"{pixels / 1e6:.0f} million pixels, {seconds:.1f} s, {busy:.1f} s of processor time, "
        f"{peak_mb():.0f} MB"
    )
    for name, took in sorted(spent.items(), key=lambda one: -one[1]):
        print(f"  {name.lstrip('_'):20} {took:6.2f} s")


if __name__ == "__main__":
    main()
