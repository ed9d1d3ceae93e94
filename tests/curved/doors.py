"""Every door of the command line that takes an alignment: what is typed, and what is written."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atldld.api import open_dataset
from atldld.place.refinement import StepResult
from atldld.place.registration import Registration, SectionFit
from tests.curved.conftest import curve

DATASET = 909  # fourteen small sections
COARSE = ("--resolution", 200)
ATLAS = ("--atlas-resolution", 100)

MOVED = StepResult(
    step="inplane", kept=True, reason="It fits.", moved=9, before={"difference": 1}, after={}
)


def registration_of(dataset, *, every=1, atlas="ccf_2017", **about):
    """A registration that bends two sections of three, of all sections or of every other one."""
    sections = {}
    for k, section in enumerate(dataset.sections[::every]):
        size = max(section.image.width, section.image.height)
        bent = curve(section, k, size / 40) if k % 3 else section
        sections[section.id] = SectionFit.of(
            bent.placement, section.number, (MOVED,), pixel=section.image.resolution
        )
    told = {"atlas": {"name": atlas}, "start": "the service's alignment", **about}
    return Registration(dataset.id, sections, told)


@dataclass(frozen=True)
class Door:
    """A command with an alignment.

    Attributes
    ----------
    command : tuple
        What is typed before the alignment. POINTS, BRAIN and STRUCTURES stand for tables, OUT for
        what is written.
    many : bool
        Whether the alignment is a folder of such.
    atlas : bool
        Whether it lays the sections on an atlas.
    """

    command: tuple[str | int, ...]
    many: bool = False
    atlas: bool = False

    @property
    def name(self):
        words = [str(word) for word in self.command[:2] if not str(word).isdigit()]
        return " ".join(words) + (" of many" if self.many else "")


SYNC = ("-o", "OUT/rows.csv")
DOORS = [
    Door(("download", "dataset", DATASET, "OUT/sections", *COARSE, "--fields")),
    Door(("download", "datasets", DATASET, "OUT/many", *COARSE), many=True),
    Door(("export", "sections", DATASET, "OUT/sections", *COARSE)),
    Door(("export", "fields", DATASET, "OUT/fields", *COARSE)),
    Door(("export", "quicknii", DATASET, "-o", "OUT/planes.json")),
    Door(("volume", DATASET, "-o", "OUT/volume.nrrd", *COARSE)),
    Door(("volume", "--datasets", DATASET, "-o", "OUT/many", *COARSE), many=True),
    Door(("quality", DATASET, "-o", "OUT/quality.json", *COARSE, *ATLAS), atlas=True),
    Door(("quantify", DATASET, "-o", "OUT/table.csv", *COARSE, *ATLAS), atlas=True),
    Door(("atlas", "outlines", DATASET, "-o", "OUT/lines", *COARSE, *ATLAS), atlas=True),
    Door(("report", DATASET, "-o", "OUT/report.html", *COARSE, *ATLAS, "--no-volume"), atlas=True),
    Door(("refine", DATASET, "-o", "OUT/again.json", *COARSE, *ATLAS, "--steps", "whole")),
    Door(
        ("refine", "--datasets", DATASET, "-o", "OUT/many", *COARSE, *ATLAS, "--steps", "whole"),
        many=True,
    ),
    Door(("sync", "image-to-reference", "POINTS", *SYNC)),
    Door(("sync", "reference-to-image", "BRAIN", "-d", DATASET, *SYNC)),
    Door(("sync", "image-to-image", "POINTS", "-d", DATASET, *SYNC)),
    Door(("sync", "image-to-image-2d", "POINTS", "-i", "IMAGE", *SYNC)),
    Door(("sync", "image-to-atlas", "POINTS", *SYNC)),
    Door(("sync", "structure-to-image", "STRUCTURES", "-d", DATASET, *SYNC)),
]
NAMES = [door.name for door in DOORS]


def typed(door, reg, folder, dataset):
    """What is typed to go through a door with a registration, and the folder that is written to."""
    out = folder / "out"
    out.mkdir()
    images = [section.id for section in dataset.sections]
    rows = "".join(f"{image},{x},{900 - x}\n" for image in images for x in (300, 700))
    tables = {
        "POINTS": "image_id,x,y\n" + rows,
        "BRAIN": "p_um,i_um,r_um\n6000,4000,5000\n7000,3000,7000\n",
        "STRUCTURES": "structure_id\n997\n",
    }
    words = []
    for word in map(str, door.command):
        if word in tables:
            path = folder / f"{word.lower()}.csv"
            path.write_text(tables[word])
            words.append(str(path))
        elif word == "IMAGE":
            words.append(str(images[5]))
        else:
            words.append(word.replace("OUT", str(out), 1) if word.startswith("OUT") else word)
    alignment = Path(reg).parent if door.many else reg
    return [*words, "--alignment", str(alignment)], out


def brain(session, dataset_id=DATASET):
    return open_dataset(dataset_id, session=session)


def where(section):
    """Where a few pixels of a section lie."""
    return section.to_reference(np.array([[0.0, 0.0], [500.0, 300.0], [900.0, 700.0]]))
