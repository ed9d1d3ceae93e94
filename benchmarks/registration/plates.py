"""Registrations judged by drawings of experts that no registration has seen.

    python benchmarks/registration/plates.py [--half even|odd|all] [--resolution 50] [--peers]
        [--least 0.03] [--pictures FOLDER]

Reads ``shared/data/nissl/plates`` and ``shared/data/atlas`` beside the repository: 66 genuine Nissl
sections, on which the Allen Institute's experts have outlined the structures of one hemisphere, in
2011. For each registration the structures of the 2017 annotation are laid on the section, and
compared with the drawing, on the half that was drawn: the Dice coefficient, twice the area that
both have of what the two have together, averaged over sections and then over 21 structures. The
drawings are of another atlas, so 1 cannot be reached.

Parameters were chosen on every second plate ("even"); figures are to be reported for the others.

``--pictures`` draws four of the plates before and after, with the experts' lines (blue) and the
annotation's (red). The pixels are the Allen Institute's: look at them, and do not pass them on.
"""

from __future__ import annotations

import argparse
import json
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from svgelements import Path as SvgPath

import nissl
from atldld.atlas import Atlas
from atldld.place.sections import PlacedDataSet
from atldld.refine import refine
from judged import genuine_atlas, session_of
from peers import PEERS, registered_by

STRUCTURES = {
    "CTX": 688, "CTXpl": 695, "HPF": 1089, "CA": 375, "DG": 726, "DG-sg": 632, "CP": 672,
    "TH": 549, "HY": 1097, "MB": 313, "CB": 512, "VL": 81, "OLF": 698, "fiber tracts": 1009,
    "VS": 73, "P": 771, "MY": 354, "BLA": 295, "MH": 483, "SNr": 381, "root": 997,
}  # fmt: skip
GRID = 16  # section pixels from one judged pixel to the next, 17 µm
LEAST = 0.0084  # mm² of a structure in a drawing, below which a section says nothing of it

Matrix = NDArray[np.float64]
Record = Mapping[str, Any]
ToReference = Callable[[Matrix], Matrix]


def drawn(plate: Record, inside: Mapping[int, set[str]]) -> dict[str, NDArray[np.bool_]]:
    """Return the area of each structure in the experts' drawing, on a grid of `GRID` pixels."""
    width, height = plate["section_px"]
    shape = (height // GRID + 1, width // GRID + 1)
    areas = {name: np.zeros(shape, dtype=np.uint8) for name in STRUCTURES}
    for element in ET.parse(nissl.PLATES / plate["outlines"]).getroot().iter():
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


class Judge:
    """The drawings, and the annotation that registrations lay on the sections."""

    def __init__(self, plates: Sequence[Record], atlas: Atlas, least: float = LEAST) -> None:
        self.plates = plates
        self.least = least * 1e6 / (GRID * nissl.SECTION_PIXEL) ** 2  # judged pixels
        self.atlas = atlas
        graph = atlas.graph
        self.inside = {
            structure.id: {
                name
                for name, top in STRUCTURES.items()
                if top == structure.id or top in graph.ancestors(structure.id)
            }
            for structure in graph
        }
        self.members = {
            name: np.array([one for one, names in self.inside.items() if name in names])
            for name in STRUCTURES
        }
        self.drawings = [drawn(plate, self.inside) for plate in plates]

    def score(self, k: int, to_reference: ToReference) -> dict[str, tuple[float, float]]:
        """Return of each structure of plate k the Dice coefficient and the distance of borders.

        That is, in µm, the mean distance from a border to the nearest one of the other, of both.
        """
        drawing = self.drawings[k]
        rows, columns = drawing["root"].shape
        y, x = np.mgrid[:rows, :columns]
        section = np.stack(((x + 0.5) * GRID - 0.5, (y + 0.5) * GRID - 0.5), axis=-1)
        by = nissl.to_section(self.plates[k])
        found = self.at(to_reference((section - by[:, 2]) / np.diag(by[:, :2])))
        half = np.zeros((rows, columns), dtype=bool)
        half[:, np.flatnonzero(drawing["root"].any(axis=0)).min() :] = True
        scores = {}
        for name, area in drawing.items():
            expert, ours = area & half, np.isin(found, self.members[name]) & half
            if expert.sum() >= self.least:
                dice = 2 * float((expert & ours).sum()) / float(expert.sum() + ours.sum())
                scores[name] = dice, apart(expert, ours, half)
        return scores

    def at(self, points: Matrix) -> NDArray[Any]:
        """Return the structures of points in reference µm."""
        steps = np.floor(points / self.atlas.resolution).astype(np.intp)
        inside = ((steps >= 0) & (steps < self.atlas.annotation.shape)).all(axis=-1)
        out = np.zeros(steps.shape[:-1], dtype=self.atlas.annotation.dtype)
        out[inside] = self.atlas.annotation[tuple(steps[inside].T)]
        return out


def apart(one: NDArray[np.bool_], other: NDArray[np.bool_], half: NDArray[np.bool_]) -> float:
    """Return the mean distance between the borders of two areas, in µm; NaN if one is empty."""
    borders = []
    core = cv2.erode(half.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    for area in (one, other):
        inner = cv2.erode(area.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        borders.append(area & ~inner & core)  # the cut between the halves is no border
    if not borders[0].any() or not borders[1].any():
        return float("nan")
    away = [distance_transform_edt(~there)[here] for there, here in (borders, borders[::-1])]
    return float(np.mean([values.mean() for values in away])) * GRID * nissl.SECTION_PIXEL


SHOWN = (17, 35, 43, 57)  # places of four plates, from the front to the back of the brain
LINES = ("CTX", "HPF", "DG-sg", "CP", "TH", "HY", "MB", "CB", "P", "MY", "fiber tracts")


def drawn_over(judge: Judge, k: int, maps: Mapping[str, ToReference]) -> NDArray[np.uint8]:
    """Return plate k with both drawings' lines, for one registration beside the other."""
    drawing = judge.drawings[k]
    rows, columns = drawing["root"].shape
    y, x = np.mgrid[:rows, :columns]
    section = np.stack(((x + 0.5) * GRID - 0.5, (y + 0.5) * GRID - 0.5), axis=-1)
    by = nissl.to_section(judge.plates[k])
    xy = (section - by[:, 2]) / np.diag(by[:, :2])
    grey = cv2.imread(str(nissl.PLATES / judge.plates[k]["image"]), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    at = xy.astype(np.float32)
    picture = 255 - cv2.remap(grey, at[..., 0], at[..., 1], cv2.INTER_AREA, borderValue=0)
    half = np.arange(columns) >= np.flatnonzero(drawing["root"].any(axis=0)).min()
    shown = []
    for name, to_reference in maps.items():
        colours = cv2.cvtColor(np.asarray(picture, np.uint8), cv2.COLOR_GRAY2BGR)
        found = judge.at(to_reference(xy))
        for structure in LINES:
            ours = np.isin(found, judge.members[structure]) & half
            for area, colour in ((ours, (40, 40, 220)), (drawing[structure], (220, 120, 0))):
                lines, _ = cv2.findContours(
                    area.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
                )
                cv2.drawContours(colours, lines, -1, colour, 1, cv2.LINE_AA)
        cv2.putText(
            colours, name, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 1, cv2.LINE_AA
        )
        shown.append(colours)
    return np.asarray(np.hstack(shown), dtype=np.uint8)


def mean(scores: Sequence[Mapping[str, tuple[float, float]]], which: int) -> dict[str, float]:
    """Return the mean of each structure over sections, of the one figure or the other."""
    return {
        name: float(np.nanmean([score[name][which] for score in scores if name in score]))
        for name in STRUCTURES
        if any(name in score for score in scores)
    }


def registrations(
    atlas: Atlas, *, peers: Sequence[str] = (), jobs: int = 2, **options: Any
) -> tuple[dict[str, dict[int, ToReference]], dict[str, float]]:
    """Return the maps of all plates by who made them, and the seconds that each plate took.

    All plates are registered, whichever are judged: none of the drawings is looked at.
    """
    record = nissl.record()
    start = PlacedDataSet.of(record)
    seconds: dict[str, float] = {}
    with session_of(nissl.pictures()) as session:
        begun = time.perf_counter()
        found = refine(start, atlas, session=session, jobs=jobs, **options)
        seconds["atldld"] = (time.perf_counter() - begun) / len(start)
        out: dict[str, Mapping[int, Any]] = {
            "Allen": {section.id: section.placement for section in start},
            "people": nissl.people(),
            "atldld": found.placements(record),
        }
        for name in peers:
            begun = time.perf_counter()
            out[name] = registered_by(name, start, atlas, session)
            seconds[name] = (time.perf_counter() - begun) / len(start)
    return (
        {
            who: {one: place.to_reference for one, place in places.items()}
            for who, places in out.items()
        },
        seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", choices=("even", "odd", "all"), default="odd")
    parser.add_argument("--resolution", type=float, help="as for `atldld refine`")
    parser.add_argument(
        "--least", type=float, default=LEAST, help="mm² of a structure that a section must have"
    )
    parser.add_argument("--options", type=json.loads, default={}, help="more of refine's, as JSON")
    parser.add_argument("--peers", action="store_true", help="and what others make of the plates")
    parser.add_argument("--pictures", type=Path, help="a folder for pictures of four plates")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if not nissl.PLATES.is_dir():
        raise SystemExit(f"The genuine plates are not at {nissl.PLATES}.")
    more = dict(options.options)
    if options.resolution:
        more["resolution"] = options.resolution
    plates = nissl.known()["sections"]
    atlas = genuine_atlas()
    judge = Judge(plates, atlas, options.least)
    peers = [name for name in PEERS if options.peers and PEERS[name].missing() is None]
    results, seconds = registrations(atlas, peers=peers, jobs=options.jobs, **more)
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        for k in SHOWN:
            one = plates[k]["section_image_id"]
            both = {who: results[who][one] for who in ("Allen", "atldld")}
            cv2.imwrite(str(options.pictures / f"{one}.png"), drawn_over(judge, k, both))
    halves = {"even": range(0, len(plates), 2), "odd": range(1, len(plates), 2)}
    judged = halves.get(options.half, range(len(plates)))
    scores = {
        name: [judge.score(k, maps[plates[k]["section_image_id"]]) for k in judged]
        for name, maps in results.items()
    }
    print(
        f"{len(judged)} plates ({options.half}), structures from {options.least:g} mm² on; "
        "Dice coefficient, distance of borders in µm\n"
    )
    print("| structure | " + " | ".join(scores) + " |")
    print("|---" * (len(scores) + 1) + "|")
    tables = {name: (mean(score, 0), mean(score, 1)) for name, score in scores.items()}
    for structure in STRUCTURES:
        cells = (
            f"{dice.get(structure, np.nan):.3f}, {away.get(structure, np.nan):.0f}"
            for dice, away in tables.values()
        )
        print(f"| {structure} | " + " | ".join(cells) + " |")
    cells = (
        f"**{np.mean(list(dice.values())):.3f}**, {np.nanmean(list(away.values())):.0f}"
        for dice, away in tables.values()
    )
    print("| **mean** | " + " | ".join(cells) + " |")
    print("\nSeconds a plate: " + ", ".join(f"{who} {took:.1f}" for who, took in seconds.items()))
    if options.peers:
        for name, peer in PEERS.items():
            if why := peer.missing():
                print(f"{name} is left out: {why}")


if __name__ == "__main__":
    main()
