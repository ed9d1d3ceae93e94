"""How dark each structure of the brain is in a Nissl stain: ``atldld/refine/data/greys.json``.

    python benchmarks/registration/greys.py

Reads ``shared/data`` beside the repository. The plates of even place (`nissl.py`) are registered
with all others, and each structure's pixels of 50 µm in them are averaged. The plates of odd place,
by which registrations are judged, have no part in it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import nissl
from atldld.place.sections import PlacedDataSet
from atldld.refine import refine
from atldld.refine.engine import looks_of
from atldld.refine.model import Labels3d, capped
from atldld.refine.usual import FILE
from judged import genuine_atlas, session_of

SIDE = 50.0  # µm of a pixel
LEAST = 20  # pixels of a structure, below which nothing is said of it


def main() -> None:
    if not nissl.PLATES.is_dir():
        raise SystemExit(f"The genuine plates are not at {nissl.PLATES}.")
    atlas, record = genuine_atlas(), nissl.record()
    labels = Labels3d.of(atlas)
    dataset = PlacedDataSet.of(record)
    with session_of(nissl.pictures()) as session:
        found = refine(dataset, atlas, session=session, jobs=2)
        even = sorted(dataset, key=lambda section: section.number)[::2]
        looks, _ = looks_of(even, session, SIDE, 2)
    placements = found.placements(record)
    counts, sums = np.zeros(labels.count), np.zeros(labels.count)
    kept = [
        section for section in looks if any(step.kept for step in found.sections[section.id].steps)
    ]
    for section, look in zip(kept, capped([looks[one] for one in kept]), strict=True):
        xy = np.stack(np.meshgrid(look.x, look.y), axis=-1).reshape(-1, 2)
        places = labels.at(placements[section.id].to_reference(xy).T)
        counts += np.bincount(places, minlength=labels.count)
        sums += np.bincount(places, look.values.ravel(), minlength=labels.count)
    greys = {
        str(structure): round(total / count, 2)
        for structure, count, total in zip(
            labels.ids.tolist(), counts.tolist(), sums.tolist(), strict=True
        )
        if structure > 0 and count >= LEAST
    }
    about = {
        "what": "mean darkness of structures in Nissl-stained sections: square root of 0 to 255",
        "source": "Allen Mouse Brain Atlas, Nissl data set 100048576: its plates of even place",
        "made_by": f"python benchmarks/registration/{Path(__file__).name}",
    }
    FILE.write_text(json.dumps({"about": about, "greys": greys}, indent=0) + "\n")
    print(f"{len(greys)} structures in {FILE.name}")


if __name__ == "__main__":
    main()
