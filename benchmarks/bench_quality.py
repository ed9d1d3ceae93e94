"""Which disturbed sections the quality rule finds, and what it marks on sound ones.

    python benchmarks/bench_quality.py [--cache DIR] [--seeds 20] [--first-seed 100] [--jobs N]

In the demo data sets 71717084 (112 coronal sections) and 69289763 (18 sagittal ones) a tenth of the
sections is disturbed, another tenth for each seed:

shift   moved in its plane by 200 to 600 µm, in any direction
turn    turned in its plane by 3 to 8°, about the middle of its tissue
other   the picture of a section 3 to 6 places away, where that one lies in the plane
depth   placed 3 to 6 places away, at that one's depth
torn    8 to 25 % of the tissue, on one side of a line, is missing, or lies 300 to 800 µm off

Once with the demo's exact placement, once with each section moved by 50 to 100 µm and turned by 1
to 1.5° beforehand, as real placements are not exact. Printed are the areas under the ROC curve over
all seeds, those of each kind against the undisturbed sections, precision and recall at the shipped
threshold, and what is marked where nothing is disturbed. At the end, the one real section at hand.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from atldld.api import DataSet, Section, assess, open_dataset
from atldld.atlas import Atlas, open_atlas
from atldld.atlas.ccf import read_volume
from atldld.cli.terminal import prepare_for_pixels
from atldld.demo.local import in_process_session
from atldld.place import Placement
from atldld.quality import (
    LOOKED_AT,
    DatasetQuality,
    SectionView,
    assess_pictures,
    recipe,
    view_of,
)
from atldld.serve.archive import Archive
from findings import Findings, json_option

if TYPE_CHECKING:
    from atldld.sections.register import RegisteredSection

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
DATASETS = (71717084, 69289763)
KINDS = ("shift", "turn", "other", "depth", "torn")
RESOLUTION = LOOKED_AT
PICTURED_AT = recipe().resolution
PLACES = (3, 6)
LEAST_TISSUE = 400  # pixels, 1 mm²: what has less is not disturbed, as nobody could tell

Random = np.random.Generator


class Sound:
    """A data set as it is, with the views of its sections."""

    def __init__(self, dataset: DataSet, jobs: int | None = None) -> None:
        self.dataset = dataset
        self.views = [
            view_of(registered, RESOLUTION)
            for registered in dataset.register(PICTURED_AT, jobs=jobs)
        ]
        if len(self.views) != len(dataset):
            raise SystemExit("Not all sections could be had.")

    def disturbed(
        self, rng: Random, share: float, *, noise: bool
    ) -> tuple[list[SectionView], list[str]]:
        """Return views of which a share is disturbed, and the kind of each ("" if it is not)."""
        sections = list(self.dataset.sections)
        if noise:
            sections = [
                _jittered(section, view, rng) if view.tissue.any() else section
                for section, view in zip(sections, self.views, strict=True)
            ]
        fit = [k for k, view in enumerate(self.views) if view.tissue.sum() >= LEAST_TISSUE]
        kinds = [""] * len(sections)
        count = max(round(share * len(sections)), 1) if share else 0
        chosen = rng.choice(fit, count, replace=False)
        first = int(rng.integers(len(KINDS)))
        views: dict[int, SectionView] = {}
        for turn, k in enumerate(chosen):
            kinds[k] = KINDS[(first + turn) % len(KINDS)]
            views[k] = self._view(k, kinds[k], sections, rng)
        untouched = self.views
        if noise:
            untouched = [
                untouched[k] if k in views else _view(section) for k, section in enumerate(sections)
            ]
        return [views.get(k, view) for k, view in enumerate(untouched)], kinds

    def _view(self, k: int, kind: str, sections: Sequence[Section], rng: Random) -> SectionView:
        section, view = sections[k], self.views[k]
        if kind == "torn":
            return view_of(_torn(section.register(PICTURED_AT), view.tissue, rng), RESOLUTION)
        if kind == "shift":
            moved = _moved(section, view, rng.uniform(200, 600), rng.uniform(0, 2 * np.pi), 0)
        elif kind == "turn":
            moved = _moved(section, view, 0, 0, rng.uniform(3, 8) * rng.choice([-1, 1]))
        else:
            away = [
                j
                for j in range(len(sections))
                if PLACES[0] <= abs(j - k) <= PLACES[1]
                and self.views[j].tissue.sum() >= LEAST_TISSUE
            ]
            j = int(rng.choice(away))
            # the picture of one section at the depth of the other
            picture, place = (j, k) if kind == "other" else (k, j)
            moved = self._at_depth_of(sections[picture], place)
        return _view(moved)

    def _at_depth_of(self, section: Section, place: int) -> Section:
        """Return a section at the depth of another one, where it was in the plane."""
        record = self.dataset.record
        alignment3d, thickness = record.check_alignment()
        step = self.dataset.sections[place].number - section.number
        across = alignment3d.to_reference[:, 2] * step * thickness
        return _placed(section, np.eye(3), across)


def _moved(
    section: Section, view: SectionView, by: float, towards: float, degrees: float
) -> Section:
    """Return a section moved in its own plane (µm) and turned about the middle of its tissue."""
    row, column = (
        float(np.mean(where)) for where in np.nonzero(view.tissue | (not view.tissue.any()))
    )
    matrix = view.plane.pixel_to_reference.matrix
    centre = matrix @ [column, row, 1]
    normal = np.cross(matrix[:, 0], matrix[:, 1])
    normal /= np.linalg.norm(normal)
    along = matrix[:, 0] / np.linalg.norm(matrix[:, 0])
    across = np.cross(normal, along)
    turn = cv2.Rodrigues(normal * np.radians(degrees))[0]
    shift = by * (np.cos(towards) * along + np.sin(towards) * across)
    return _placed(section, turn, centre - turn @ centre + shift)


def _jittered(section: Section, view: SectionView, rng: Random) -> Section:
    degrees = rng.uniform(1, 1.5) * rng.choice([-1, 1])
    return _moved(section, view, rng.uniform(50, 100), rng.uniform(0, 2 * np.pi), degrees)


def _placed(section: Section, turn: NDArray[np.float64], shift: NDArray[np.float64]) -> Section:
    """Return a section whose place in the reference space is moved rigidly."""
    forward = turn @ section.placement.forward
    forward[:, 2] += shift
    back = np.eye(4)
    back[:3, :3] = turn.T
    back[:3, 3] = -turn.T @ shift
    return dataclasses.replace(
        section, placement=Placement(forward, section.placement.backward @ back)
    )


def _view(section: Section) -> SectionView:
    return view_of(section.register(PICTURED_AT), RESOLUTION)


def _torn(
    registered: RegisteredSection, tissue: NDArray[np.bool_], rng: Random
) -> RegisteredSection:
    """Return a picture of which a piece is missing or out of place; the tissue is as looked at."""
    finer = round(RESOLUTION / PICTURED_AT)
    tissue = tissue.repeat(finer, axis=0).repeat(finer, axis=1)
    rows, columns = np.nonzero(tissue)
    angle = rng.uniform(0, 2 * np.pi)
    beyond = np.quantile(
        rows * np.sin(angle) + columns * np.cos(angle), 1 - rng.uniform(0.08, 0.25)
    )
    row, column = np.indices(tissue.shape)
    piece = (row * np.sin(angle) + column * np.cos(angle) > beyond) & (
        cv2.dilate(tissue.astype(np.uint8), np.ones((5 * finer, 5 * finer), np.uint8)) > 0
    )
    image = registered.image.copy()
    image[piece] = np.rint(registered.background)
    if rng.random() < 0.5:  # the piece lies elsewhere, and turned
        by = rng.uniform(300, 800) / registered.plane.grid.resolution
        towards = rng.uniform(-np.pi / 2, np.pi / 2) + angle
        rows, columns = np.nonzero(piece)
        middle = (float(columns.mean()), float(rows.mean()))
        matrix = cv2.getRotationMatrix2D(middle, rng.uniform(-15, 15), 1)
        matrix[:, 2] += by * np.cos(towards), by * np.sin(towards)
        size = tissue.shape[::-1]
        there = cv2.warpAffine(piece.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
        moved = cv2.warpAffine(registered.image, matrix, size)
        # where it comes to lie on other tissue, light goes through both
        through = moved[there].astype(float) * image[there] / np.array(registered.background)
        image[there] = np.clip(np.rint(through), 0, 255)
    return dataclasses.replace(registered, image=image)


def area_under_curve(scores: NDArray[np.float64], wanted: NDArray[np.bool_]) -> float:
    """Return the chance that a wanted section scores higher than another; ties count half."""
    if not wanted.any() or wanted.all():
        return float("nan")
    high, low = scores[wanted][:, None], scores[~wanted]
    return float(((high > low) + 0.5 * (high == low)).mean())


class Outcome:
    """The scores of many runs, and what was disturbed."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.scores: list[float] = []
        self.marked: list[bool] = []

    def add(self, quality: DatasetQuality, kinds: Sequence[str]) -> None:
        """Take in the result of one run."""
        self.kinds += kinds
        self.scores += [section.score for section in quality.sections]
        self.marked += [section.suspicious for section in quality.sections]

    def curve(self, kind: str | None = None) -> float:
        """Return the area under the curve, of all kinds or of one against the undisturbed."""
        kinds, scores = np.array(self.kinds), np.array(self.scores)
        taken = (kinds == "") | ((kinds == kind) if kind else (kinds != ""))
        return area_under_curve(scores[taken], kinds[taken] != "")

    def precision_and_recall(self) -> tuple[float, float]:
        """Return the share of marked sections that are disturbed, and the other way round."""
        wanted, marked = np.array(self.kinds) != "", np.array(self.marked)
        found = (wanted & marked).sum()
        return found / max(marked.sum(), 1), found / max(wanted.sum(), 1)

    @property
    def share_marked(self) -> float:
        """Part of the sections that is marked."""
        return float(np.mean(self.marked))


def measure(sound: Sound, atlas: Atlas, seeds: int, first: int, jobs: int | None) -> Iterator[str]:
    """Yield the rows of the table for one data set."""
    for noise in (False, True):
        found = {with_atlas: (Outcome(), Outcome()) for with_atlas in (False, True)}
        for run in range(seeds):
            for whole, share in enumerate((0.1, 0.0)):
                if whole and run and (not noise or run >= 5):
                    continue  # without noise the undisturbed set is always the same
                views, kinds = sound.disturbed(
                    np.random.default_rng(first + run), share, noise=noise
                )
                for with_atlas, outcomes in found.items():
                    quality = assess_pictures(
                        views, atlas if with_atlas else None, resolution=RESOLUTION, jobs=jobs
                    )
                    outcomes[whole].add(quality, kinds)
        for with_atlas, (disturbed, whole_ones) in found.items():
            precision, recall = disturbed.precision_and_recall()
            yield (
                f"| {sound.dataset.id} | {'50–100 µm, 1–1.5°' if noise else 'exact'} "
                f"| {'with' if with_atlas else 'without'} | {disturbed.curve():.3f} | "
                + " | ".join(f"{disturbed.curve(kind):.3f}" for kind in KINDS)
                + f" | {precision:.2f} | {recall:.2f} | {100 * whole_ones.share_marked:.1f} % |"
            )


class RealSection(Archive):
    """An archive that holds data set 69289763 with the real pixels of one section, at tier 2."""

    image_id = 69177654

    def __init__(self) -> None:
        self.records = json.loads((SHARED / "datasets" / "69289763.json").read_text())
        jpeg = (SHARED / "images" / f"{self.image_id}_downsample2.jpg").read_bytes()
        self.pixels = simplejpeg.decode_jpeg(jpeg, "RGB")

    def tables(self) -> dict[str, Any]:
        """Return the records."""
        return {
            "SectionDataSet": [self.records["section_data_set"]],
            "SectionImage": self.records["section_images"],
        }

    def image(self, image_id: int, downsample: int, view: str, **asked: Any) -> bytes | None:
        """Return the section at a tier, averaged from tier 2."""
        if image_id != self.image_id or view != "image" or downsample < 2:
            return None
        side = 2 ** (downsample - 2)
        height, width = 7553 >> downsample, 11921 >> downsample
        boxes = self.pixels[: height * side, : width * side].reshape(height, side, width, side, 3)
        mean = np.rint(boxes.mean(axis=(1, 3))).astype(np.uint8)
        return bytes(simplejpeg.encode_jpeg(mean, 95, "RGB", "444"))


def real_section() -> Iterator[str]:
    """Yield the figures of the one real section against the real annotation."""
    if not (SHARED / "images").is_dir():
        yield "The real section is not here."
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        in_process_session(Path(folder), RealSection()) as session,
    ):
        atlas = open_atlas(
            annotation=SHARED / "atlas" / "annotation_25.nrrd",
            graph=SHARED / "atlas" / "structure_graph_1.json",
            session=session,
        )
        template = read_volume(SHARED / "atlas" / "average_template_100.nrrd", None, "template")[0]
        atlas = dataclasses.replace(atlas, load=lambda _: template)
        section = open_dataset(69289763, session=session).section(RealSection.image_id)
        view = _view(section)
        yield f"section {section.number}, as Allen places it: {_figures([view], atlas)}"
        for by in (200, 400, 600):
            angles = np.arange(0, 2 * np.pi, np.pi / 4)
            moved = [_view(_moved(section, view, by, angle, 0)) for angle in angles]
            yield f"moved by {by} µm, in eight directions: {_figures(moved, atlas)}"
        for degrees in (3, 8):
            moved = [_view(_moved(section, view, 0, 0, sign * degrees)) for sign in (-1, 1)]
            yield f"turned by {degrees}°, either way: {_figures(moved, atlas)}"


def _figures(views: Sequence[SectionView], atlas: Atlas) -> str:
    """Return the range of the two figures that need an atlas but no neighbours."""
    found = [assess_pictures([view], atlas).sections[0] for view in views]
    parts = []
    for name in ("overlap", "mutual_information"):
        values = [getattr(section, name) for section in found]
        parts.append(
            f"{name} " + "–".join(dict.fromkeys(f"{x:.3f}" for x in (min(values), max(values))))
        )
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, help="folder that keeps the demo's images")
    parser.add_argument(
        "--seeds", type=int, default=20, help="how many; three times as many for the small set"
    )
    parser.add_argument(
        "--first-seed", type=int, default=100, help="the rule was chosen with 0 to 23"
    )
    parser.add_argument("--only-time", action="store_true", help="judge nothing")
    parser.add_argument("--jobs", type=int)
    json_option(parser)
    options = parser.parse_args()
    findings = Findings("quality", options.json)
    prepare_for_pixels()  # as the command does
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or Path(folder)
        with in_process_session(cache) as session:
            atlas = open_atlas(session=session)
            for dataset_id in DATASETS:
                dataset = open_dataset(dataset_id, session=session)
                sound = None if options.only_time else Sound(dataset, options.jobs)
                if sound is None:  # the first time pictures come into the cache
                    assess(dataset, atlas, jobs=options.jobs)
                begun = time.perf_counter()
                assess(dataset, atlas, jobs=options.jobs)
                seconds = time.perf_counter() - begun
                print(f"{dataset!r}, images cached: {seconds:.1f} s")
                findings.row({"what": f"{dataset_id}, images cached", "seconds": seconds})
                if sound is None:
                    continue
                seeds = options.seeds * (3 if len(dataset) < 50 else 1)
                for row in measure(sound, atlas, seeds, options.first_seed, options.jobs):
                    print(row, flush=True)
                    findings.row({"what": str(row)})
    for line in [] if options.only_time else real_section():
        print(line)
        findings.row({"what": line})
    timed = [row for row in findings.rows if "seconds" in row]
    findings.tell(", ".join(f"{row['what']} {row['seconds']:.1f} s" for row in timed))


if __name__ == "__main__":
    main()
