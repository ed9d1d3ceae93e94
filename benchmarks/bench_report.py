"""How long a whole report takes, and how large it is: 112 cached sections of the demo brain.

    python benchmarks/bench_report.py [--cache DIR] [--dataset 71717084] [--jobs N] [-o FILE.html]
                                      [--annotation FILE.nrrd --graph FILE.json [--template FILE]]

Pictures and masks are rendered into the cache first, which takes minutes and is not counted; with
--cache they stay for the next time. The atlas is the demo brain's, or the one that is given (the
structures of a genuine one are many more). The run that is timed makes no request. CPU seconds are
those of all threads: on a machine that others use they say more than the clock, though not all, as
what others run slows them down too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from findings import Findings, json_option
from memory import peak_mb


def warm(cache: Path, dataset_id: int) -> None:
    """Put everything that the run needs into the cache, by making the report once."""
    from atldld.demo.archive import DemoArchive
    from atldld.demo.local import in_process_session
    from atldld.report import gather, open_source, try_atlas

    def tell(done: int, total: int, _: str) -> None:
        print(f"\rsections in the cache: {done} of {total}", end="", flush=True)

    with (
        in_process_session(cache, DemoArchive([dataset_id])) as session,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        atlas, reason = try_atlas(session)
        source = open_source(dataset_id, session=session)
        gather(source, atlas, without_atlas=reason, progress=tell)
    print()


def run(options: argparse.Namespace, cache: Path, page: Path) -> None:
    from atldld.atlas import open_atlas
    from atldld.cli.terminal import prepare_for_pixels
    from atldld.demo.local import IN_PROCESS_URL
    from atldld.fetch.session import Session
    from atldld.report import gather, open_source, try_atlas, write_report
    from atldld.settings import Settings

    settings = Settings(
        api_url=IN_PROCESS_URL, download_url=IN_PROCESS_URL, cache_dir=cache, offline=True
    )
    prepare_for_pixels()  # as the command does
    with Session(settings) as session:
        begun, worked = time.perf_counter(), time.process_time()
        source = open_source(options.dataset, session=session)
        if options.annotation is None:
            atlas, reason = try_atlas(session)
        else:
            reason = None
            template = {} if options.template is None else {"template": options.template}
            atlas = open_atlas(
                annotation=options.annotation, graph=options.graph, session=session, **template
            )
        opened = time.perf_counter() - begun
        report = gather(source, atlas, without_atlas=reason, jobs=options.jobs)
        gathered = time.perf_counter() - begun
        write_report(report, page)
        seconds = time.perf_counter() - begun
        worked = time.process_time() - worked
    findings = Findings("report", options.json)
    shapes = sum(len(entry.views.shapes) for entry in report.entries)
    print(f"{len(report.entries)} sections, {shapes} outlines, {atlas!r}")
    print(
        f"{seconds:.1f} s (opened after {opened:.1f} s, gathered after {gathered:.1f} s), "
        f"{page.stat().st_size / 1e6:.1f} MB"
    )
    for what, why in report.missing.items():
        print(f"missing: {what}: {why}")
    findings.row(
        {
            "sections": len(report.entries),
            "seconds": seconds,
            "processor, s": worked,
            "page, MB": page.stat().st_size / 1e6,
            "peak, MB": peak_mb(),
        }
    )
    findings.tell(
        f"{len(report.entries)} sections, {seconds:.1f} s, {worked:.1f} s of processor time, "
        f"{peak_mb():.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, help="folder that keeps pictures and masks")
    parser.add_argument("--dataset", type=int, default=71717084)
    parser.add_argument("--annotation", type=Path, help="an NRRD file instead of the demo's")
    parser.add_argument("--graph", type=Path, help="its structure graph")
    parser.add_argument("--template", type=Path, help="its template")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("-o", "--output", type=Path, help="keep the page")
    parser.add_argument("--no-warm", action="store_true", help="the cache is known to be warm")
    json_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or Path(folder)
        if not options.no_warm:
            warm(cache, options.dataset)
            # in a process of its own, whose memory has held nothing else
            again = [sys.executable, __file__, *sys.argv[1:], "--no-warm", "--cache", str(cache)]
            raise SystemExit(subprocess.call(again))
        run(options, cache, options.output or Path(folder) / "report.html")


if __name__ == "__main__":
    main()
