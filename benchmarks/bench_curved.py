"""What curved sections cost more than flat ones: pictures, a volume, outlines, `sync`, points.

    python benchmarks/bench_curved.py [--rounds N] [--cache DIR]

Two sections of the demo archive at every resolution, their images cached; the curves are smooth,
of up to 300 full-resolution pixels, with nodes 100 apart, as `atldld refine` makes them. Of
decoding and laying out, flat and curved take turns, and the least CPU time of each counts, so that
a busy machine matters little. Of the points, which all cores share, it is the median by the clock.

A volume of 25 µm, the outlines of some sections and `sync` of 10⁶ rows of CSV take turns in the
same way, with all sections of the first data set flat, and with all of them curved.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from atldld.atlas import open_atlas, section_outlines
from atldld.demo.local import in_process_session
from atldld.fetch import Session
from atldld.formats.points import pixels_to_reference
from atldld.formats.tables import read_table, write_table
from atldld.place import Plane
from atldld.place.deformation import Displacements, SplineDeformation
from atldld.place.registration import Registration, SectionFit
from atldld.place.sections import PlacedDataSet, PlacedSection
from atldld.sections.register import Recipe, fetch, warp
from atldld.volume.build import VolumeRecipe, build_volume
from findings import Findings, json_option

DATASETS = (71717084, 69289763)
RESOLUTIONS = (10, 25, 50)
SPACING, FADING, LARGEST = 100.0, 20, 300.0
ROWS = 1_000_000  # of a table
DRAWN = 16  # one section in so many
WHOLE_ROUNDS = 3


def curve(section: PlacedSection, seed: int) -> PlacedSection:
    """Bend a section smoothly; the deformation fades beyond the image."""
    random = np.random.default_rng(seed)
    size = section.image.width, section.image.height
    x, y = (np.arange(-FADING, side // SPACING + 1 + FADING) * SPACING for side in size)
    fade_x, fade_y = (
        np.clip(np.minimum(k, k[::-1]) / FADING, 0, 1)
        for k in (np.arange(len(x)), np.arange(len(y)))
    )
    vectors = np.zeros((len(y), len(x), 2))
    for _ in range(8):
        across, down = random.uniform(-1, 1, 2) * 2 * np.pi / 4000
        wave = np.sin(across * x + (down * y)[:, None] + random.uniform(0, 2 * np.pi))
        vectors += wave[..., None] * random.normal(size=2)
    vectors *= ((fade_x**2 * (3 - 2 * fade_x)) * (fade_y**2 * (3 - 2 * fade_y))[:, None])[..., None]
    vectors *= LARGEST / np.linalg.norm(vectors, axis=-1).max()
    deformation = SplineDeformation.of(
        Displacements((float(x[0]), float(y[0])), (SPACING, SPACING), vectors.astype(np.float32))
    )
    return replace(section, placement=replace(section.placement, deformation=deformation))


def points(section: PlacedSection, count: int, rounds: int) -> dict[str, float]:
    """Return the seconds that points of a curved section take, there and back."""
    size = section.image.width, section.image.height
    places = np.random.default_rng(0).random((count, 2)) * size
    found = section.placement.to_reference(places)
    ways: dict[str, Callable[[], object]] = {
        "to the reference space": lambda: section.placement.to_reference(places),
        "to the image": lambda: section.placement.to_image(found),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            begun = time.perf_counter()
            work()
            seconds[way].append(time.perf_counter() - begun)
    return {way: median(taken) for way, taken in seconds.items()}


def whole(
    dataset: PlacedDataSet, session: Session, folder: Path
) -> Iterator[tuple[str, Callable[[], object], Callable[[], object]]]:
    """Yield what is done with a data set, with its sections flat and with its sections curved."""
    bent = replace(dataset, sections=tuple(curve(one, k) for k, one in enumerate(dataset.sections)))
    recipe = VolumeRecipe(25, "image", "none")
    atlas = open_atlas(25, session=session)
    table, out = folder / "points.csv", folder / "out.csv"
    rng = np.random.default_rng(0)
    images = np.sort(rng.choice([one.id for one in dataset.sections], ROWS))
    xy = rng.uniform(0, 7000, (ROWS, 2)).round(2)
    rows = zip(images.tolist(), *xy.T.tolist(), strict=True)
    table.write_text("image_id,x,y\n" + "".join(f"{i},{x},{y}\n" for i, x, y in rows))
    fits = {
        one.id: SectionFit.of(one.placement, one.number, (), pixel=one.image.resolution)
        for one in bent.sections
    }
    curves = Registration(dataset.id, fits, {"atlas": {"name": "ccf_2017"}, "start": "Allen's"})

    def build(placed: PlacedDataSet) -> object:
        return build_volume([(placed, session)], recipe, jobs=1)

    def draw(placed: PlacedDataSet) -> object:
        return [section_outlines(one, atlas) for one in placed.sections[::DRAWN]]

    def sync(planes: Registration | None) -> object:
        points = read_table(str(table))
        found = pixels_to_reference(session, points, dataset.id, alignment=planes, remark=print)
        return write_table(out, points.with_columns(found.columns), force=True)

    yield "volume", lambda: build(dataset), lambda: build(bent)
    yield "outlines", lambda: draw(dataset), lambda: draw(bent)
    yield "sync", lambda: sync(None), lambda: sync(curves)


def least(*works: Callable[[], object], rounds: int) -> list[float]:
    """Return the least CPU seconds of each, which take turns."""
    seconds = [np.inf] * len(works)
    for _ in range(rounds):
        for k, work in enumerate(works):
            begun = time.process_time()
            work()
            seconds[k] = min(seconds[k], time.process_time() - begun)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cache", type=Path, help="folder that keeps the pictures")
    parser.add_argument("--points", type=lambda text: int(float(text)), default=10_000_000)
    json_option(parser)
    options = parser.parse_args()
    findings = Findings("curved", options.json)
    cv2.setNumThreads(1)
    print("| data set | plane | µm | flat, CPU s | curved, CPU s | ratio |")
    print("|---|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory() as folder,
        in_process_session(options.cache or Path(folder) / "cache") as session,
    ):
        for dataset_id in DATASETS:
            dataset = PlacedDataSet.of(session.dataset(dataset_id))
            flat = dataset.sections[len(dataset) // 2]
            curved = curve(flat, 1)
            for resolution in RESOLUTIONS:
                jobs = [Recipe(resolution).plan(section) for section in (flat, curved)]
                files = fetch(jobs[0], session)
                one, other = least(
                    *(partial(warp, job, files, session) for job in jobs), rounds=options.rounds
                )
                plane = Plane.from_id(dataset.record.plane_of_section_id).value
                print(
                    f"| {dataset_id} | {plane} | {resolution} | {one:.3f} | {other:.3f} | "
                    f"{other / one:.2f} |",
                    flush=True,
                )
                findings.row(
                    {
                        "data set": dataset_id,
                        "plane": plane,
                        "µm": resolution,
                        "flat, CPU s": one,
                        "curved, CPU s": other,
                        "ratio": other / one,
                    }
                )
            if dataset_id == DATASETS[0]:
                for way, seconds in points(curved, options.points, options.rounds).items():
                    print(f"{options.points:g} points {way}: {seconds:.2f} s")
                    findings.row({"points": f"{options.points:g} {way}", "seconds": seconds})
                for work, flatly, bent in whole(dataset, session, Path(folder)):
                    flatly()  # with which pictures and the atlas come
                    one, other = least(flatly, bent, rounds=WHOLE_ROUNDS)
                    print(f"{work}: {one:.2f} s of the processor, curved {other:.2f}", flush=True)
                    findings.row(
                        {
                            "work": work,
                            "flat, CPU s": one,
                            "curved, CPU s": other,
                            "ratio": other / one,
                        }
                    )
    most = max(row["ratio"] for row in findings.rows if "µm" in row)
    ratios = {row["work"]: row["ratio"] for row in findings.rows if "work" in row}
    findings.tell(
        f"a picture takes at most {most:.2f} times the flat section's time, "
        + ", ".join(f"{work} {ratio:.2f}" for work, ratio in ratios.items())
    )


if __name__ == "__main__":
    main()
