"""A transverse data set: the demo brain cut horizontally, which the demo itself has none of."""

import numpy as np
import pytest

from atldld.api import DataSet
from atldld.fetch.session import Session
from atldld.place.sections import PlacedDataSet
from atldld.place.spaces import Plane
from atldld.records import Alignment2d, Alignment3d, SectionDataSet, SectionImage
from atldld.settings import Settings
from atldld.testing.cut import cut
from atldld.testing.pictures import Damage
from atldld.testing.stains import Anatomy

PIXEL = 40.0  # µm at full resolution
NONE = Damage(**dict.fromkeys(Damage.__annotations__, 0.0))


def horizontal(numbers=range(60, 260, 14), thickness=25.0, tilt=0.04):
    """Sections from dorsal to ventral, seen from above: columns towards the right, rows back."""
    # (p, i, r) of one µm along the volume's x, y and z: the knife is tilted a little
    turn = np.array([[0.0, 1.0, tilt], [tilt, -tilt, 1.0], [1.0, 0.0, -tilt]])
    shift = np.array([-200.0, 0.0, 150.0])
    back = np.linalg.inv(turn)
    across = np.array([[PIXEL, 0, -200.0], [0, PIXEL, -300.0]])
    to_image = np.array([[1 / PIXEL, 0, 200.0 / PIXEL], [0, 1 / PIXEL, 300.0 / PIXEL]])
    images = tuple(
        SectionImage(
            id=800_000 + number,
            section_number=number,
            width=295,
            height=345,
            data_set_id=800,
            tier_count=3,
            resolution=PIXEL,
            alignment2d=Alignment2d.of(across, to_image),
        )
        for number in numbers
    )
    return SectionDataSet(
        id=800,
        plane_of_section_id=6,
        reference_space_id=9,
        section_thickness=thickness,
        alignment3d=Alignment3d(
            (*turn.ravel().tolist(), *shift.tolist()),
            (*back.ravel().tolist(), *(-back @ shift).tolist()),
        ),
        images=images,
    )


@pytest.fixture(scope="module")
def known(demo):
    return cut(horizontal(), Anatomy.of(demo[2]), 4, kind="grey", damage=NONE)


@pytest.fixture(scope="module")
def placed(known, tmp_path_factory):
    settings = Settings(cache_dir=tmp_path_factory.mktemp("transverse"), offline=True)
    with Session(settings, sources=[known.images]) as session:
        yield DataSet.with_pixels(PlacedDataSet.of(known.record), session)


def test_the_brain_is_cut_horizontally(placed, demo):
    assert placed.plane is Plane.TRANSVERSE
    depths = [section.geometry.centre[1] for section in placed]
    assert np.ptp(depths) > 4000
    assert all(section.geometry.tilt < 5 for section in placed)
    registered = placed.sections[6].register(100)
    assert registered.plane.grid.axis_names == ("p", "r")


@pytest.mark.parametrize(
    ("steps", "resolution", "share"),
    [
        pytest.param(("whole", "sections"), 150, 0.8, marks=pytest.mark.long),
        pytest.param(("whole", "sections", "inplane"), 75, 0.5, marks=pytest.mark.slow),
    ],
)
def test_horizontal_sections_come_back(known, placed, demo, steps, resolution, share):
    registration = placed.refine(demo[2], steps=steps, resolution=resolution, jobs=2)
    before, after = [], []
    for section in placed:
        truth = known.sections[section.id]
        before.append(np.median(truth.off(section)))
        after.append(np.median(truth.off(registration.sections[section.id].placement)))
    assert registration.moved >= 0.7 * len(placed)
    assert np.median(after) < share * np.median(before)
    assert (np.array(after) < np.array(before) + 10).all()
