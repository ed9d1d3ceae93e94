"""How time and memory grow with the number of sections, and what bounds a volume.

    python benchmarks/bench_scaling.py [--folder DIR] [--tiers 4,0]

15, 30 and 60 sections of the archive of ``sections.py`` are registered at 25 µm from the cache,
each number in a process of its own; then the volume of all 60 is built with one thread, where the
times of decoding and of all the rest add up.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs

import sections
from findings import Findings, json_option

PROGRAM = """
import json, sys, time
from pathlib import Path
import atldld, atldld.volume.build
from atldld.fetch.session import Session
from atldld.settings import Settings
from memory import peak_mb

cache, url, kind, count, tier = sys.argv[1:]
decoding = 0.0
original = atldld.volume.build.decode
def timed(path, *rest):
    global decoding
    begun = time.perf_counter()
    try:
        return original(path, *rest)
    finally:
        decoding += time.perf_counter() - begun
atldld.volume.build.decode = timed
settings = Settings(api_url=url, cache_dir=Path(cache), offline=True)
with Session(settings) as session:
    dataset = atldld.open_dataset({dataset}, session=session)
    begun = time.perf_counter()
    if kind == "volume":
        dataset.volume(25, jobs=1)
    else:
        chosen = dataset.sections[: int(count)]
        for _ in dataset.register(25, downsample=int(tier), sections=chosen):
            pass
    seconds = time.perf_counter() - begun
print(json.dumps([seconds, decoding, peak_mb()]))
""".replace("{dataset}", str(sections.DATASET))

URL = "http://benchmarks.invalid"


def run(cache: Path, kind: str, count: int, tier: int) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(cache), URL, kind, str(count), str(tier)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    return list(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=Path(platformdirs.user_cache_dir("atldld-benchmarks"))
    )
    parser.add_argument("--tiers", default="4,0")
    json_option(parser)
    options = parser.parse_args()
    findings = Findings("scaling", options.json)
    archive = sections.archive(options.folder / "busy", "busy")
    from atldld.fetch.roots import cache_root
    from atldld.settings import Settings

    with tempfile.TemporaryDirectory() as work:
        cache = Path(work) / "cache"
        root = cache_root(Settings(api_url=URL, cache_dir=cache))
        root.parent.mkdir(parents=True)
        shutil.copytree(archive.root, root)
        for tier in map(int, options.tiers.split(",")):
            for count in (15, 30, 60):
                best = min(run(cache, "register", count, tier) for _ in range(3))
                findings.row(
                    {"sections": count, "tier": tier, "seconds": best[0], "peak, MB": best[2]}
                )
                print(
                    f"tier {tier}, {count} sections: {best[0]:.2f} s, "
                    f"{1000 * best[0] / count:.0f} ms each, peak {best[2]:.0f} MB"
                )
        seconds, decoding, peak = min(run(cache, "volume", 60, 4) for _ in range(3))
    findings.tell(
        f"volume of 60 sections at 25 µm, one thread: {seconds:.2f} s, of which decoding "
        f"{decoding:.2f} s and all the rest {seconds - decoding:.2f} s; peak {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
