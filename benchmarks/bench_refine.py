"""How long a refinement takes, by its steps: 112 cached sections of the demo brain.

    python benchmarks/bench_refine.py [--cache DIR] [--resolution 25] [--jobs N]

The pictures are rendered into the cache first, by another process, which takes minutes and is not
counted; with --cache they stay for the next time. The run that is timed makes no request. The
demo's annotation has fewer structures than the genuine one, which matters little: what is looked up
are pixels.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

from findings import Findings, json_option
from memory import peak_mb

DATASET = 71717084


def warm(cache: Path, resolution: float) -> None:
    """Put everything that the run needs into the cache."""
    from atldld.api import open_dataset
    from atldld.atlas import open_atlas
    from atldld.demo.archive import DemoArchive
    from atldld.demo.local import in_process_session

    with in_process_session(cache, DemoArchive([DATASET])) as session:
        # no step: the pictures are fetched and looked at, and stay where they are
        open_dataset(DATASET, session=session).refine(
            open_atlas(25, session=session), steps="whole", resolution=resolution
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, help="folder that keeps the pictures")
    parser.add_argument("--resolution", type=float, default=25)
    parser.add_argument("--jobs", type=int)
    json_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or Path(folder)
        # in another process, so that its memory is not counted
        other = multiprocessing.get_context("spawn").Process(
            target=warm, args=(cache, options.resolution)
        )
        other.start()
        other.join()
        if other.exitcode:
            raise SystemExit("The pictures could not be rendered.")
        run(options, cache)


def run(options: argparse.Namespace, cache: Path) -> None:
    from atldld.api import open_dataset
    from atldld.atlas import open_atlas
    from atldld.demo.local import IN_PROCESS_URL
    from atldld.fetch.session import Session
    from atldld.settings import Settings

    spent: dict[str, float] = {}
    settings = Settings(
        api_url=IN_PROCESS_URL, download_url=IN_PROCESS_URL, cache_dir=cache, offline=True
    )
    with Session(settings) as session:
        dataset, atlas = open_dataset(DATASET, session=session), open_atlas(25, session=session)
        begun, worked = time.perf_counter(), time.process_time()
        last = begun

        def told(_done: int, _total: int, what: str) -> None:
            nonlocal last
            now = time.perf_counter()
            spent[what] = spent.get(what, 0.0) + now - last
            last = now

        found = dataset.refine(
            atlas, resolution=options.resolution, jobs=options.jobs, progress=told
        )
        seconds, busy = time.perf_counter() - begun, time.process_time() - worked
    count = len(found.sections)
    findings = Findings("refine", options.json)
    for name, took in spent.items():
        print(f"  {name:20} {took:6.1f} s")
        findings.row({"what": name, "seconds": took})
    findings.row(
        {
            "what": f"all, {count} sections",
            "seconds": seconds,
            "processor, s": busy,
            "a section, s": seconds / count,
            "peak, MB": peak_mb(),
        }
    )
    findings.tell(
        f"{count} sections in {seconds:.0f} s, {seconds / count:.2f} s each, {busy:.0f} s of "
        f"processor time, {peak_mb():.0f} MB"
    )


if __name__ == "__main__":
    main()
