"""Sections by position, by number, around a structure, and at a point."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from atldld.api import Section, Sections
from atldld.errors import InvalidInputError, NotFoundError
from atldld.place.deformation import Displacements, SplineDeformation
from atldld.place.nearest import nearest_pixel


def test_by_position(ds):
    sections = ds.sections
    assert isinstance(sections, Sections)
    assert isinstance(sections[2], Section)
    assert sections[-1] is list(ds)[-1]
    for part in (sections[2:5], sections[::-2], sections[:0], sections[:]):
        assert isinstance(part, Sections)
    assert sections[2:5].ids == [section.id for section in list(sections)[2:5]]
    assert sections[::-1].numbers == sections.numbers[::-1]
    assert len(sections) == len(ds) == 14
    assert sections.numbers == sorted(sections.numbers)
    with pytest.raises(IndexError):
        sections[14]
    # 0.3's scripts and ours take it for a tuple
    assert sections == tuple(sections)
    assert hash(sections[:3]) == hash(tuple(sections)[:3])


def test_slices_are_sections_to_work_with(ds):
    assert [one.id for one in ds.register(400, sections=ds.sections[3:5])] == ds.sections[3:5].ids


def test_it_says_what_it_holds(ds):
    assert repr(ds.sections[:2]) == ("<2 sections: 2 (image 101321610), 46 (image 101321611)>")
    assert repr(ds.sections[:0]) == "<0 sections>"
    assert repr(ds.sections[:1]).startswith("<1 section: ")
    assert "…" in repr(ds.sections)


def test_by_number_and_by_image(ds):
    for section in ds:
        assert ds.section(number=section.number) is section
        assert ds.section(number=np.int64(section.number)) is section
        assert ds.section(section.id) is section
        assert ds.section(image_id=str(section.id)) is section


@pytest.mark.parametrize("given", [{}, {"image_id": 101321610, "number": 5}, {"number": None}])
def test_one_of_both_is_given(ds, given):
    with pytest.raises(InvalidInputError, match="image_id and number"):
        ds.section(**given)


@pytest.mark.parametrize("number", [-1, 2.5, True, "x", [86]])
def test_what_is_no_number(ds, number):
    with pytest.raises(InvalidInputError):
        ds.section(number=number)


def test_the_nearest_numbers_are_named(ds):
    numbers = ds.sections.numbers
    with pytest.raises(InvalidInputError, match=f"{numbers[3]} and {numbers[4]}"):
        ds.section(number=numbers[3] + 1)
    with pytest.raises(InvalidInputError, match=rf"section\(number={numbers[3]}\)"):
        ds.section(numbers[3])


def test_two_sections_of_one_number(ds, shared_session):
    import msgspec

    from atldld.api import DataSet

    first, second, *others = ds.record.images
    twice = msgspec.structs.replace(second, section_number=first.section_number)
    changed = DataSet(
        msgspec.structs.replace(ds.record, images=(first, twice, *others)), shared_session
    )
    with pytest.raises(InvalidInputError, match=f"{first.id}, {second.id}"):
        changed.section(number=first.section_number)


def test_sections_as_a_data_frame(ds):
    frame = ds.sections[2:6].to_pandas()
    assert list(frame.index) == ds.sections[2:6].numbers
    assert list(frame["image_id"]) == ds.sections[2:6].ids
    middle = ds.sections[2].geometry.centre
    assert np.allclose(frame.iloc[0][["p_um", "i_um", "r_um"]].astype(float), middle)
    assert len(ds.to_pandas()) == len(ds)
    assert ds.to_pandas().attrs["dataset_id"] == ds.id
    empty = ds.sections[:0].to_pandas()
    assert len(empty) == 0
    assert empty.index.name == "section_number"


def test_pickled(ds):
    assert pickle.loads(pickle.dumps(ds.sections[:2])).ids == ds.sections[:2].ids


# ---- at a point


def closest(ds, point):
    """The nearest of many pixels of every section, found the slow way."""
    best = (np.inf, None)
    for section in ds:
        size = section.image.width, section.image.height
        xy = np.stack(np.meshgrid(*(np.linspace(0, side - 1, 201) for side in size)), axis=-1)
        away = np.linalg.norm(section.to_reference(xy) - point, axis=-1)
        if away.min() < best[0]:
            best = (away.min(), section)
    return best


@pytest.mark.parametrize(
    "point",
    [(6000, 4000, 5000), (6100.5, 1000, 9000), (12000, 7000, 2000), (0, 0, 0), (-9e3, 9e4, 5)],
)
def test_the_nearest_section_and_pixel(ds, point):
    spot = ds.at(point)
    away, section = closest(ds, point)
    assert spot.section is section
    assert spot.distance <= away + 1e-6
    assert away - spot.distance < 60  # the slow way looks at every 50th pixel
    assert np.allclose(spot.section.to_reference(spot.xy), spot.pir)
    assert np.isclose(np.linalg.norm(np.array(spot.pir) - point), spot.distance)
    image = spot.section.image
    assert 0 <= spot.xy[0] <= image.width - 1
    assert 0 <= spot.xy[1] <= image.height - 1
    assert str(spot.section.number) in repr(spot)


def test_a_pixel_is_found_again(ds):
    for section in ds.sections[::4]:
        spot = ds.at(section.to_reference((1234.5, 2000)))
        assert spot.section is section
        assert np.allclose(spot.xy, (1234.5, 2000), atol=1e-3)
        assert spot.distance < 1e-3


def test_of_a_curved_section_too(ds):
    section = ds.sections[5]
    image = section.image
    across = np.linspace(-2, 2, 21)
    hill = np.exp(-(across[:, None] ** 2) - across**2)
    nodes = (hill[..., None] * (80, -60)).astype(np.float32)
    spacing = image.width / 20, image.height / 20
    curved = SplineDeformation.of(Displacements((0.0, 0.0), spacing, nodes))
    bent = replace(section, placement=replace(section.placement, deformation=curved))
    xy = np.array([image.width * 0.45, image.height * 0.5])
    assert np.linalg.norm(bent.to_reference(xy) - section.to_reference(xy)) > 10
    found = nearest_pixel(bent.placement, image.width, image.height, bent.to_reference(xy))
    assert np.allclose(found, xy, atol=0.2)


@pytest.mark.parametrize("point", ["x", 5, (1, 2), [(1, 2, 3), (4, 5, 6)], (1, 2, np.nan), None])
def test_what_is_no_point(ds, point, atlas):
    with pytest.raises(InvalidInputError):
        ds.at(point)
    with pytest.raises(InvalidInputError):
        atlas.structure_at(point)


# ---- around a structure


@pytest.mark.parametrize(("names", "within"), [("DG", 0), ("DG", 150), (["V3", "OB"], 400)])
def test_the_sections_near_a_structure(ds, atlas, names, within):
    """Those whose plane is no farther from the middle of a voxel than that, and shows it."""
    ids = [one for name in np.atleast_1d(names) for one in
           atlas.graph.descendants(atlas.graph.find(str(name)).id)]  # fmt: skip
    middles = (np.argwhere(np.isin(atlas.annotation, ids)) + 0.5) * atlas.resolution
    least = {}
    for section in ds:
        xy = section.to_image(middles)
        size = np.array([section.image.width, section.image.height])
        inside = ((xy >= 0) & (xy < size)).all(axis=1)
        normal = section.geometry.normal
        away = np.abs((middles - section.placement.forward[:, 2]) @ normal)
        least[section] = away[inside].min() if inside.any() else np.inf
    found = ds.sections_near(names, atlas, within=within)
    assert isinstance(found, Sections)
    # a voxel's middle and its corners are apart by less than this
    slack = atlas.resolution * 0.87
    assert {s for s in ds if least[s] <= max(within - slack, 1)} <= set(found)
    assert set(found) <= {s for s in ds if least[s] <= within + slack}
    assert found.numbers == sorted(found.numbers)
    assert 0 < len(found) < len(ds)


def test_more_are_near_than_cross(ds, atlas):
    counts = [len(ds.sections_near("DG", atlas, within=d)) for d in (0, 100, 1000, 20000)]
    assert counts == sorted(counts)
    assert counts[-1] == len(ds)


def test_a_structure_that_lies_beside_the_image_is_not_shown(ds, atlas):
    """The plane goes through it, but the picture ends before."""
    section = ds.sections[7]
    near = ds.sections_near("CTX", atlas, within=0)
    assert section in near
    aside = section.placement.forward.copy()
    aside[:, 2] += 2 * aside[:, 0] * section.image.width
    from atldld.atlas.near import sections_near

    moved = replace(section, placement=replace(section.placement, forward=aside))
    assert sections_near([section, moved], atlas, "CTX", within=0) == [section]


def test_what_is_no_structure_or_distance(ds, atlas):
    with pytest.raises(NotFoundError, match="nothing of that name"):
        ds.sections_near("nothing of that name", atlas)
    for within in (-1, "x", np.nan, True):
        with pytest.raises(InvalidInputError, match="distance"):
            ds.sections_near("DG", atlas, within=within)


def test_a_structure_without_a_voxel(ds, atlas):
    none = replace(atlas, annotation=np.zeros_like(atlas.annotation))
    with pytest.raises(NotFoundError, match="no voxel"):
        ds.sections_near("DG", none)


# ---- which structure


def test_the_structure_at_a_point(atlas):
    rng = np.random.default_rng(5)
    for voxel in rng.integers(0, atlas.annotation.shape, (50, 3)):
        found = atlas.structure_at((voxel + rng.random(3) * 0.99) * 100)
        label = atlas.annotation[tuple(voxel)]
        assert (found.id if found else 0) == label
    assert atlas.structure_at((-1, 4000, 5000)) is None
    assert atlas.structure_at((13200, 4000, 5000)) is None


def test_the_path_of_a_structure(atlas):
    way = atlas.graph.lineage("DG")
    assert [one.acronym for one in way] == ["root", "grey", "HPF", "DG"]
    assert tuple(one.id for one in way) == way[-1].path
    assert repr(atlas.graph) == f"<StructureGraph of {len(atlas.graph)} structures, SYNTHETIC>"
