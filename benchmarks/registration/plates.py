"""Registrations judged by drawings of experts that no registration has seen.

    python benchmarks/registration/plates.py [--half even|odd|all] [--resolution 50]

Reads ``shared/data/nissl/plates`` and ``shared/data/atlas`` beside the repository: 66 genuine Nissl
sections, on which the Allen Institute's experts have outlined the structures of one hemisphere, in
2011. For each registration the structures of the 2017 annotation are laid on the section, and
compared with the drawing, on the half that was drawn: the Dice coefficient, twice the area that
both have of what the two have together, averaged over sections and then over 21 structures. The
drawings are of another atlas, so 1 cannot be reached.

Parameters were chosen on every second plate ("even"); figures are to be reported for the others.
"""

from __future__ import annotations

import argparse
import json
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import nrrd
import numpy as np
from numpy.typing import NDArray
from svgelements import Path as SvgPath

from atldld.atlas.labels import compact_labels
from atldld.atlas.structures import StructureGraph
from atldld.refine.model import Labels3d, Look, look_at
from atldld.refine.steps import STEPS, Fitted, run_steps

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
STRUCTURES = {
    "CTX": 688, "CTXpl": 695, "HPF": 1089, "CA": 375, "DG": 726, "DG-sg": 632, "CP": 672,
    "TH": 549, "HY": 1097, "MB": 313, "CB": 512, "VL": 81, "OLF": 698, "fiber tracts": 1009,
    "VS": 73, "P": 771, "MY": 354, "BLA": 295, "MH": 483, "SNr": 381, "root": 997,
}  # fmt: skip
SECTION_PIXEL = 1.047  # µm
HUMAN_PIXEL = 10.0  # µm of the image that people have anchored
VOXEL = 25.0
GRID = 16  # section pixels from one judged pixel to the next, 17 µm
LEAST = 30  # judged pixels of a structure below which a section says nothing of it

Matrix = NDArray[np.float64]
Record = Mapping[str, Any]


def drawn(section: Record, inside: Mapping[int, set[str]]) -> dict[str, NDArray[np.bool_]]:
    """Return the area of each structure in the experts' drawing, on a grid of `GRID` pixels."""
    width, height = section["section_px"]
    shape = (height // GRID + 1, width // GRID + 1)
    areas = {name: np.zeros(shape, dtype=np.uint8) for name in STRUCTURES}
    for element in ET.parse(SHARED / "nissl" / "plates" / section["outlines"]).getroot().iter():
        if not element.tag.endswith("path"):
            continue
        names = inside.get(int(element.get("structure_id", 0)), set())
        if not names:
            continue
        polygons = [
            np.rint((np.array(ring) / GRID - 0.5) * 16).astype(np.int32)
            for ring in rings(element.get("d", ""))
        ]
        area = np.zeros(shape, dtype=np.uint8)
        cv2.fillPoly(area, polygons, (1,), shift=4)
        for name in names:
            areas[name] |= area
    return {name: area.astype(bool) for name, area in areas.items()}


def rings(path: str) -> list[list[tuple[float, float]]]:
    """Return the closed lines of an SVG path as points."""
    found = []
    for part in SvgPath(path).as_subpaths():
        ring: list[tuple[float, float]] = []
        for piece in SvgPath(part):
            curved = type(piece).__name__ not in ("Move", "Line", "Close")
            ends = [piece.point(t) for t in np.linspace(0, 1, 9)[1:]] if curved else [piece.end]
            ring += [(end.x, end.y) for end in ends if end is not None]
        if len(ring) > 2:
            found.append(ring)
    return found


def allens(section: Record, tvr: Matrix, thickness: float) -> Fitted:
    """Return where the Allen Institute's alignment lays a section."""
    volume = np.vstack((section["tsv"], (0, 0, section["section_number"] * thickness)))
    forward = tvr[:, :3] @ volume
    forward[:, 2] += tvr[:, 3]
    return Fitted(forward, tvr[:, 2] * thickness)


def peoples(section: Record, start: Fitted) -> Fitted:
    """Return where people have laid a section by hand, with QuickNII's planes."""
    o, u, v = np.reshape(section["human_anchoring"], (3, 3))
    width, height = section["human_px"]
    scale = HUMAN_PIXEL / SECTION_PIXEL
    by_x, by_y = u / width / scale, v / height / scale
    voxels = np.column_stack((by_x, by_y, o + (by_x + by_y) / 2))
    forward = VOXEL * np.vstack((-voxels[1], -voxels[2], voxels[0]))
    forward[:, 2] += VOXEL * np.array([528, 320, 0])
    return Fitted(forward, start.step)


def picture(section: Record, resolution: float) -> Look:
    """Return a plate's picture as it is registered."""
    path = SHARED / "nissl" / "plates" / section["image"]
    pixels = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
    (step_x, _, x), (_, step_y, y) = section["image_to_section"]
    # from pixels' corners to their centres
    to_image = (step_x, step_y, x + step_x / 2 - 0.5, y + step_y / 2 - 0.5)
    return look_at(pixels, to_image, step_x * SECTION_PIXEL, resolution)


class Judge:
    """The drawings, and the annotation that registrations lay on the sections."""

    def __init__(self, sections: Sequence[Record]) -> None:
        graph = StructureGraph.from_file(SHARED / "atlas" / "structure_graph_1.json")
        annotation, _ = nrrd.read(str(SHARED / "atlas" / "annotation_25.nrrd"))
        self.ids, self.places = compact_labels(annotation)
        self.inside = {
            structure.id: {
                name
                for name, top in STRUCTURES.items()
                if top == structure.id or top in graph.ancestors(structure.id)
            }
            for structure in graph
        }
        self.members = {
            name: np.array([name in self.inside.get(int(one), set()) for one in self.ids])
            for name in STRUCTURES
        }
        self.labels = Labels3d(self.places, len(self.ids), VOXEL)
        self.drawings = [drawn(section, self.inside) for section in sections]

    def score(self, k: int, forward: Matrix) -> dict[str, float]:
        """Return the Dice coefficient of each structure that plate k has."""
        drawing = self.drawings[k]
        rows, columns = drawing["root"].shape
        y, x = np.mgrid[:rows, :columns]
        points = np.stack(((x + 0.5) * GRID - 0.5, (y + 0.5) * GRID - 0.5, np.ones_like(x)))
        found = self.labels.at(forward @ points.reshape(3, -1)).reshape(rows, columns)
        half = np.zeros((rows, columns), dtype=bool)
        half[:, np.flatnonzero(drawing["root"].any(axis=0)).min() :] = True
        scores = {}
        for name, area in drawing.items():
            expert, ours = area & half, self.members[name][found] & half
            if expert.sum() >= LEAST:
                scores[name] = 2 * float((expert & ours).sum()) / float(expert.sum() + ours.sum())
        return scores


def mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each structure over sections."""
    return {
        name: float(np.mean([score[name] for score in scores if name in score]))
        for name in STRUCTURES
        if any(name in score for score in scores)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", choices=("even", "odd", "all"), default="odd")
    parser.add_argument("--resolution", type=float, default=50.0)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    known = json.loads((SHARED / "nissl" / "plates" / "index.json").read_text())
    sections = known["sections"]
    tvr, thickness = np.array(known["tvr"]), known["section_thickness_um"]
    judge = Judge(sections)
    starts = [allens(section, tvr, thickness) for section in sections]
    looks = [picture(section, options.resolution) for section in sections]
    begun = time.perf_counter()
    # all sections are registered, whichever are judged: none of the drawings is looked at
    results = {
        "Allen": starts,
        "people": [peoples(section, s) for section, s in zip(sections, starts, strict=True)],
    }
    for steps in (STEPS[:1], STEPS):
        results[" + ".join(steps)] = run_steps(
            looks, starts, judge.labels, steps, jobs=options.jobs
        )
    seconds = (time.perf_counter() - begun) / len(sections)
    halves = {"even": range(0, len(sections), 2), "odd": range(1, len(sections), 2)}
    judged = halves.get(options.half, range(len(sections)))
    scores = {
        name: [judge.score(k, places[k].forward) for k in judged]
        for name, places in results.items()
    }
    table = {name: mean(score) for name, score in scores.items()}
    print(f"{len(judged)} plates ({options.half}), {options.resolution:g} µm, {seconds:.2f} s each")
    print(f"{'':14}" + "".join(f"{name:>18}" for name in table))
    for name in STRUCTURES:
        row = "".join(f"{values.get(name, np.nan):18.3f}" for values in table.values())
        print(f"{name:14}{row}")
    print(f"{'mean':14}" + "".join(f"{np.mean(list(v.values())):18.3f}" for v in table.values()))
    kept = [sum(step.kept for step in fitted.results) for fitted in results[" + ".join(STEPS)]]
    print(f"Kept: {sum(kept)} of {2 * len(kept)} steps.")


if __name__ == "__main__":
    main()
