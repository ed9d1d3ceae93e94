import json
import tracemalloc
import warnings

import msgspec
import numpy as np
import pytest

from atldld.errors import AlignmentMissingError, ClampedSectionWarning, InvalidInputError
from atldld.place import (
    Placement,
    ReferencePoints,
    StructureCenter,
    image_to_atlas,
    image_to_image,
    image_to_image_2d,
    image_to_reference,
    reference_to_image,
    structure_to_image,
)
from atldld.place.points import _half_spacings, _nearest
from atldld.place.spaces import BLOCK
from atldld.records import Alignment2d, Alignment3d, SectionDataSet, SectionImage

replace = msgspec.structs.replace
IDENTITY_2D = (1.0, 0, 0, 1, 0, 0)
IDENTITY_3D = (1.0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)


def test_coordinates_that_come_as_columns_go_as_columns():
    """Tables have columns: to put them beside each other and apart again takes as long as all."""
    dataset = stack([1, 5, 9])
    rng = np.random.default_rng(0)
    ids = rng.choice([1001, 1005, 1009], 40_000)
    xy = rng.uniform(0, 100, (40_000, 2))
    rows = image_to_reference(dataset, ids, xy).pir
    columns = image_to_reference(dataset, ids, np.asfortranarray(xy)).pir
    assert rows.flags.c_contiguous
    assert columns.flags.f_contiguous
    np.testing.assert_array_equal(rows, columns)


def stack(numbers, **columns):
    """A data set whose volume is the reference space, with sections of 10 µm and pixels of 1 µm."""
    images = [
        SectionImage(
            id=1000 + number,
            section_number=number,
            width=100,
            height=100,
            alignment2d=Alignment2d(IDENTITY_2D, IDENTITY_2D),
        )
        for number in numbers
    ]
    known = {"id": 1, "reference_space_id": 9, "section_thickness": 10.0}
    return SectionDataSet(
        images=tuple(images),
        alignment3d=Alignment3d(IDENTITY_3D, IDENTITY_3D),
        **{**known, **columns},
    )


@pytest.fixture
def coronal(demo_records):
    return demo_records[71717084]


@pytest.fixture
def sagittal(demo_records):
    return demo_records[69289763]


# ---- image to reference


def test_recorded_answers(shared):
    records = json.loads((shared / "sync" / "recorded_points.json").read_text())

    def flat(matrix):
        array = np.asarray(matrix)
        return tuple(map(float, (*array[:, :-1].ravel(), *array[:, -1])))

    for one in records["image_to_reference"]:
        image = SectionImage(
            id=7,
            section_number=one["section_number"],
            width=1,
            height=1,
            alignment2d=Alignment2d(flat(one["tsv"]), IDENTITY_2D),
        )
        dataset = SectionDataSet(
            id=1,
            section_thickness=one["section_thickness_um"],
            alignment3d=Alignment3d(flat(one["tvr"]), IDENTITY_3D),
            images=(image,),
        )
        for ids in (7, [7]):
            found = image_to_reference(dataset, ids, [[one["x"], one["y"]]])
            np.testing.assert_allclose(
                found.pir, [[one["p"], one["i"], one["r"]]], rtol=0, atol=1e-9
            )
    for one in records["reference_to_image"]:
        image = SectionImage(
            id=7,
            section_number=one["section_number"],
            width=1,
            height=1,
            alignment2d=Alignment2d(IDENTITY_2D, flat(one["tvs"])),
        )
        dataset = SectionDataSet(
            id=1,
            section_thickness=25.0,
            alignment3d=Alignment3d(IDENTITY_3D, flat(one["trv"])),
            images=(image,),
        )
        back = reference_to_image(dataset, [[one["p"], one["i"], one["r"]]], beyond="ignore")
        np.testing.assert_allclose(back.xy, [[one["x"], one["y"]]], rtol=0, atol=1e-9)


def test_each_point_goes_by_its_own_image(coronal):
    rng = np.random.default_rng(1)
    count = 2 * BLOCK + 17
    ids = rng.choice([image.id for image in coronal.images], count)
    xy = rng.random((count, 2)) * 5000
    found = image_to_reference(coronal, ids, xy)
    assert found.space == 9
    assert len(found) == count
    for image in coronal.images[::30]:
        own = ids == image.id
        np.testing.assert_allclose(
            found.pir[own], Placement.of(coronal, image).to_reference(xy[own]), atol=1e-9
        )
        np.testing.assert_allclose(
            image_to_reference(coronal, image.id, xy[own]).pir, found.pir[own], atol=1e-9
        )


def test_no_points_and_one_point(coronal):
    assert image_to_reference(coronal, [], np.zeros((0, 2))).pir.shape == (0, 3)
    assert image_to_reference(coronal, coronal.images[0].id, [1, 2]).pir.shape == (1, 3)
    assert len(reference_to_image(coronal, np.zeros((0, 3)))) == 0


def test_memory_of_many_points(coronal):
    """The result, and next to nothing beside it."""
    count = 1_000_000
    xy = np.random.default_rng(0).random((count, 2)) * 4000
    for ids in (coronal.images[3].id, np.full(count, coronal.images[3].id)):
        tracemalloc.start()
        try:
            result = image_to_reference(coronal, ids, xy).pir.nbytes
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1.25 * result


@pytest.mark.parametrize(
    ("ids", "xy", "message"),
    [
        (5, [[1, 2]], "no section image 5"),
        ([71591511, 5], [[1, 2], [3, 4]], "no section image 5"),
        ([71591511], [[1, 2], [3, 4]], "1 image_ids for 2 points"),
        ("x", [[1, 2]], "whole numbers"),
        ([1.5], [[1, 2]], "whole numbers"),
        (True, [[1, 2]], "whole numbers"),
        (71591511, [[1, 2, 3]], r"shape \(\.\.\., 2\).*pixels"),
        (71591511, [[[1, 2]]], r"one list of points"),
        (71591511, [[np.inf, 2]], "finite"),
    ],
)
def test_bad_pixels(coronal, ids, xy, message):
    with pytest.raises(InvalidInputError, match=message):
        image_to_reference(coronal, ids, xy)


def test_images_without_an_alignment(coronal):
    bare = replace(coronal.images[0], alignment2d=None)
    dataset = replace(coronal, images=(bare, *coronal.images[1:]))
    other = coronal.images[1].id
    image_to_reference(dataset, [other], [[1, 2]])
    for ids in (bare.id, [other, bare.id]):
        with pytest.raises(AlignmentMissingError) as caught:
            image_to_reference(dataset, ids, np.zeros((np.size(ids), 2)))
        assert caught.value.image_id == bare.id
    with pytest.raises(AlignmentMissingError):
        image_to_reference(replace(coronal, alignment3d=None), [], np.zeros((0, 2)))
    with pytest.raises(AlignmentMissingError, match="No image"):
        reference_to_image(replace(coronal, images=(bare,)), [[1, 2, 3]])


# ---- the choice of the section


def at(depth):
    return [[5.0, 6.0, float(depth)]]


@pytest.mark.parametrize(
    ("numbers", "depth", "warned"),
    [
        # sections at 0, 80, … 320 µm: half the spacing is 40, half a section's thickness 5 more
        ((0, 8, 16, 24, 32), 40, False),
        ((0, 8, 16, 24, 32), -44, False),
        ((0, 8, 16, 24, 32), -46, True),
        ((0, 8, 16, 24, 32), 364, False),
        ((0, 8, 16, 24, 32), 366, True),
        # one is missing
        ((0, 8, 16, 32, 40, 48), 238, True),
        ((0, 8, 16, 32, 40, 48), 200, False),
        # spacing that varies with the cutting
        ((0, 8, 17, 25), 124, False),
        # a local spacing, not one for all
        ((0, 2, 4, 6, 8, 10, 30, 50, 70, 90), 795, False),
        ((0, 2, 4, 6, 8, 10, 30, 50, 70, 90), -16, True),
        ((3,), 39, False),
        ((3,), 41, True),
    ],
)
def test_points_far_from_every_section_are_warned_of(numbers, depth, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = reference_to_image(stack(numbers), at(depth))
    assert [one.category for one in caught] == [ClampedSectionWarning] * warned
    if warned:
        assert "1 of 1 points" in str(caught[0].message)
        assert caught[0].filename == __file__
    # answered all the same, as by the service
    nearest = min(numbers, key=lambda number: abs(number * 10 - depth))
    assert found.section_numbers.tolist() == [nearest]
    assert found.distance.tolist() == pytest.approx([depth - nearest * 10])
    assert found.answered.all()


def test_what_happens_beyond_a_distance():
    dataset, points = stack((0, 8, 16)), [[1, 2, 0], [1, 2, -30], [1, 2, 190]]
    found = reference_to_image(dataset, points, max_distance=25)
    assert found.answered.tolist() == [True, False, False]
    assert found.image_ids.tolist() == [1000, -1, -1]
    assert found.section_numbers.tolist() == [0, -1, -1]
    np.testing.assert_array_equal(np.isnan(found.xy).any(axis=1), [False, True, True])
    assert found.distance.tolist() == [0, -30, 30]  # how far they were is still told
    assert reference_to_image(dataset, points, max_distance=30).answered.all()
    with pytest.raises(InvalidInputError, match="2 of 3 points lie further than 25 µm"):
        reference_to_image(dataset, points, max_distance=25, beyond="raise")
    with pytest.warns(ClampedSectionWarning, match="2 of 3 .* 25 µm .* furthest 30 µm"):
        assert reference_to_image(dataset, points, max_distance=25, beyond="warn").answered.all()
    masked = reference_to_image(dataset, [*points, [1, 2, 999]], beyond="mask")
    assert masked.answered.tolist() == [True, True, True, False]
    reference_to_image(dataset, [[1, 2, 999]], beyond="ignore")


def test_bad_choices():
    for options, message in (
        ({"beyond": "nothing"}, "'warn', 'ignore', 'mask' or 'raise'"),
        ({"max_distance": -1}, "at least 0"),
        ({"max_distance": float("nan")}, "at least 0"),
        ({"space": 42}, r"no reference space 42; there are 1 \(E11.5 Embryo\)"),
        ({"space": 3}, "only 9 and 10"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            reference_to_image(stack((0, 8)), at(0), **options)
    # spaces that do not correspond are refused even without points
    with pytest.raises(InvalidInputError, match="only 9 and 10"):
        reference_to_image(stack((0, 8)), np.zeros((0, 3)), space=3)


def test_many_points_are_answered_like_each(coronal):
    rng = np.random.default_rng(2)
    pir = rng.random((BLOCK + 100, 3)) * (13000, 8000, 11400)
    found = reference_to_image(coronal, pir, beyond="ignore")
    for index in (0, BLOCK - 1, BLOCK, BLOCK + 99):
        one = reference_to_image(coronal, pir[index], beyond="ignore")
        assert one.image_ids[0] == found.image_ids[index]
        np.testing.assert_allclose(one.xy[0], found.xy[index], atol=1e-9)
        image = coronal.image(int(one.image_ids[0]))
        np.testing.assert_allclose(
            found.xy[index], Placement.of(coronal, image).to_image(pir[index]), atol=1e-9
        )


# ---- image to image


def test_between_the_spaces_left_and_right_are_mirrored(sagittal, coronal):
    """The documented test point: r = 3346 in the sagittal set, 8054 for the coronal one."""
    pixel = [[6384, 2744]]
    found = image_to_image(sagittal, 69177654, pixel, coronal)
    there = image_to_reference(coronal, found.image_ids, found.xy).pir
    p, i, r = there[0]
    assert (p, i) == pytest.approx((8052, 2890), abs=30)
    assert r == pytest.approx(8054, abs=30)
    # and so back: the same hemisphere as before
    (back,) = image_to_image(coronal, found.image_ids, found.xy, sagittal).xy
    assert back == pytest.approx(pixel[0], abs=30)
    # in one space nothing is
    same = image_to_image(replace(sagittal, reference_space_id=9), 69177654, pixel, coronal)
    there = image_to_reference(coronal, same.image_ids, same.xy).pir
    assert there[0, 2] == pytest.approx(3346, abs=30)


def test_image_to_image_of_itself(coronal):
    image = coronal.images[40]
    found = image_to_image(coronal, image.id, [[1000, 1200], [3000, 10]], coronal)
    assert found.image_ids.tolist() == [image.id] * 2
    np.testing.assert_allclose(found.xy, [[1000, 1200], [3000, 10]], atol=0.2)
    np.testing.assert_allclose(found.distance, 0, atol=0.2)


def test_image_to_image_passes_the_limit_on():
    source, target = stack((100,)), stack((0, 8), id=2)
    with pytest.warns(ClampedSectionWarning) as caught:
        image_to_image(source, 1100, [[1, 2]], target)
    assert caught[0].filename == __file__
    assert not image_to_image(source, 1100, [[1, 2]], target, max_distance=50).answered.any()


def test_unknown_spaces_do_not_correspond(sagittal, coronal):
    young = replace(sagittal, reference_space_id=3)
    with pytest.raises(InvalidInputError, match="space 3 cannot be taken to space 9"):
        image_to_image(young, 69177654, [[1, 2]], coronal)


def test_image_to_image_2d(coronal):
    one, other = coronal.images[30], coronal.images[33]
    found = image_to_image_2d(coronal, one.id, [[1000, 1100]], coronal, other.id)
    volume = one.alignment2d.to_volume @ [1000, 1100, 1]
    expected = other.alignment2d.to_image @ [*volume, 1]
    np.testing.assert_allclose(found.xy, [expected], atol=1e-9)
    assert found.image_ids.tolist() == [other.id]
    assert found.section_numbers.tolist() == [other.section_number]
    assert found.distance.tolist() == [(one.section_number - other.section_number) * 25]
    # the depth plays no part, so a set without one will do
    bare = replace(coronal, alignment3d=None, section_thickness=None)
    again = image_to_image_2d(bare, one.id, [[1000, 1100]], bare, other.id)
    np.testing.assert_array_equal(again.xy, found.xy)
    assert np.isnan(again.distance).all()


def test_image_to_image_2d_stays_within_a_specimen():
    source, target = stack((0,), specimen_name="A"), stack((8,), id=2, specimen_name="A")
    found = image_to_image_2d(source, 1000, [[3, 4]], target, 1008)
    assert found.xy.tolist() == [[3, 4]]
    for name, message in (("B", "different specimens, A and B"), (None, "not known to be")):
        with pytest.raises(InvalidInputError, match=message) as caught:
            image_to_image_2d(source, 1000, [[3, 4]], replace(target, specimen_name=name), 1008)
        assert "image_to_image" in (caught.value.hint or "")
    with pytest.raises(InvalidInputError, match="no section image 1009"):
        image_to_image_2d(source, 1000, [[3, 4]], target, 1009)


# ---- structures and atlases


def test_structure_to_image(sagittal):
    """The recorded answer for DG-sg (632) is about (6384, 2744) of section image 69177654."""
    centers = [
        StructureCenter(632, 8052, 2890, 8054, 9),  # another space's
        StructureCenter.from_record(
            {
                "id": 1,
                "structure_id": 632,
                "x": 8052,
                "y": 2890.0,
                "z": 3346,
                "reference_space_id": 10,
            }
        ),
        StructureCenter(632, 0, 0, 0, 10),  # a second one does not count
        StructureCenter(7, 8052, 2890, 8054, 9),
    ]
    found = structure_to_image(sagittal, [7, 632, 8, 632], centers)
    assert found.image_ids.tolist() == [-1, 69177654, -1, 69177654]
    np.testing.assert_allclose(found.xy[[1, 3]], [[6384, 2744]] * 2, atol=1)
    assert np.isnan(found.xy[[0, 2]]).all()
    assert not structure_to_image(sagittal, [8], centers).answered.any()
    assert len(structure_to_image(sagittal, [], centers)) == 0
    for centre in ({"structure_id": 5}, {**dict.fromkeys("xyz", "a"), "structure_id": 5}):
        with pytest.raises(InvalidInputError, match="no StructureCenter"):
            StructureCenter.from_record(centre)
    with pytest.raises(InvalidInputError, match="no reference_space_id"):
        structure_to_image(replace(sagittal, reference_space_id=None), [632], centers)


def test_image_to_atlas(sagittal, coronal):
    """Any aligned data set can stand for an atlas's."""
    plates = coronal.images[::4]
    found = image_to_atlas(sagittal, 69177654, [[6384, 2744]], coronal, plates, beyond="ignore")
    among_all = image_to_image(sagittal, 69177654, [[6384, 2744]], coronal)
    assert found.image_ids[0] in {plate.id for plate in plates}
    only = replace(coronal, images=tuple(plates))
    expected = image_to_image(sagittal, 69177654, [[6384, 2744]], only, beyond="ignore")
    np.testing.assert_array_equal(found.xy, expected.xy)
    every = image_to_atlas(sagittal, 69177654, [[6384, 2744]], coronal)
    np.testing.assert_array_equal(every.xy, among_all.xy)
    with pytest.raises(InvalidInputError, match="does not belong"):
        image_to_atlas(sagittal, 69177654, [[1, 2]], coronal, sagittal.images)


def test_plates_may_come_in_any_order(sagittal, coronal):
    plates = coronal.images[::4]
    one, other = (
        image_to_atlas(sagittal, 69177654, [[6384, 2744]], coronal, some, beyond="ignore")
        for some in (plates, plates[::-1])
    )
    np.testing.assert_array_equal(one.xy, other.xy)


# ---- limits, and what is passed on


def test_half_spacings_are_of_the_gaps_on_either_side():
    """The median of two gaps before and two after, halved, and half a number more."""
    numbers = np.array([0, 1, 3, 6, 10, 15, 21])  # gaps 1 2 3 4 5 6
    expected = np.array([1.5, 2, 2.5, 3.5, 4.5, 5, 5.5]) / 2 + 0.5
    np.testing.assert_array_equal(_half_spacings(numbers), expected)
    np.testing.assert_array_equal(_half_spacings(np.array([4, 4])), [1, 1])
    np.testing.assert_array_equal(_half_spacings(np.array([2, 2, 8])), [3.5] * 3)


def test_the_nearest_number():
    assert _nearest(np.array([5]), np.array([-1.0, 9.0])).tolist() == [0, 0]
    # halfway it is the lower one
    numbers = np.array([0, 4])
    assert _nearest(numbers, np.array([-9.0, 2.0, 2.1, 99.0])).tolist() == [0, 0, 1, 1]


def test_reference_points_bring_their_space(coronal, sagittal):
    found = image_to_reference(sagittal, 69177654, [[6384, 2744], [100, 200]])
    told = reference_to_image(coronal, found, beyond="ignore")
    for space in (None, found.space):
        again = reference_to_image(coronal, found.pir, space=found.space, beyond="ignore")
        np.testing.assert_array_equal(told.xy, again.xy)
        same = reference_to_image(coronal, found, space=space, beyond="ignore")
        np.testing.assert_array_equal(told.xy, same.xy)
    assert not np.allclose(told.xy, reference_to_image(coronal, found.pir, beyond="ignore").xy)
    nowhere = ReferencePoints(found.pir, None)
    named = reference_to_image(coronal, nowhere, space=found.space, beyond="ignore")
    np.testing.assert_array_equal(named.xy, told.xy)
    with pytest.raises(InvalidInputError, match="of reference space 10, but space is 9"):
        reference_to_image(coronal, found, space=9)


def test_what_happens_beyond_is_passed_on_by_every_call():
    source, target = stack((100,)), stack((0, 8), id=2)
    center = [StructureCenter(7, 1, 2, 1000, 9)]
    for find in (
        lambda **options: image_to_image(source, 1100, [[1, 2]], target, **options),
        lambda **options: image_to_atlas(source, 1100, [[1, 2]], target, **options),
        lambda **options: structure_to_image(target, [7], center, **options),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert find(beyond="ignore").answered.all()
            assert not find(max_distance=50).answered.any()
            assert find(max_distance=5000).answered.all()
        with pytest.raises(InvalidInputError, match="1 of 1 points"):
            find(beyond="raise")


def test_centres_come_as_the_service_writes_them():
    row = {"structure_id": "7", "x": "1.5", "y": 2, "z": "3", "reference_space_id": 9}
    assert StructureCenter.from_record(row) == StructureCenter(7, 1.5, 2.0, 3.0, 9)
    with pytest.raises(InvalidInputError, match="no StructureCenter record"):
        StructureCenter.from_record({"structure_id": 1})


@pytest.mark.parametrize(
    "ids", [1008, "1008", 1008.0, ["1008"], [1008.0], np.array([1008.0]), np.array(["1008"])]
)
def test_ids_in_any_form(ids):
    found = image_to_reference(stack((0, 8)), ids, [[1, 2]])
    np.testing.assert_array_equal(found.pir, [[1, 2, 80]])


@pytest.mark.parametrize("ids", [[[1008]], np.array([[1008.0]]), [1008.5], ["a"], [None], [True]])
def test_what_is_no_list_of_ids(ids):
    with pytest.raises(InvalidInputError, match="must be whole numbers"):
        image_to_reference(stack((0, 8)), ids, [[1, 2]])


def test_images_that_a_data_set_lacks():
    for dataset in (stack(()), stack((0, 8, 16))):
        for image_id in (7, 9999):
            with pytest.raises(InvalidInputError, match=f"has no section image {image_id}") as e:
                image_to_reference(dataset, [image_id], [[1, 2]])
            assert (e.value.dataset_id, e.value.image_id) == (1, image_id)
    assert len(image_to_reference(stack(()), [], np.zeros((0, 2)))) == 0


def test_answers_have_the_types_that_are_documented(coronal):
    found = reference_to_image(coronal, [[8052, 2890, 3346]], beyond="ignore")
    for name in ("image_ids", "section_numbers"):
        assert getattr(found, name).dtype == np.int64
    assert found.distance.dtype == found.xy.dtype == np.float64


def test_how_many_are_too_far_is_counted_over_all_blocks():
    points = np.tile([1.0, 2.0, 0.0], (BLOCK + 10, 1))
    points[[3, BLOCK - 1, BLOCK + 2], 2] = (-30, 190, 400)
    with pytest.warns(ClampedSectionWarning, match=r"^3 of .* 25 µm .* furthest 240 µm"):
        reference_to_image(stack((0, 8, 16)), points, max_distance=25, beyond="warn")


def test_what_is_wrong_with_the_points_is_said():
    dataset = stack((0, 8))
    for xy, message in (
        ([[1, 2, 3]], "origin upper left"),
        (np.zeros((1, 1, 2)), r"one list of points \(x, y\)"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            image_to_image_2d(dataset, 1000, xy, dataset, 1008)
        with pytest.raises(InvalidInputError, match=message):
            image_to_reference(dataset, 1000, xy)
    with pytest.raises(InvalidInputError, match=r"one list of points \(p, i, r\)"):
        reference_to_image(dataset, np.zeros((1, 1, 3)))
    with pytest.raises(InvalidInputError, match="must be whole numbers, one") as caught:
        image_to_reference(dataset, ["a"], [[1, 2]])
    assert str(caught.value).startswith("image_ids")
    with pytest.raises(InvalidInputError) as caught:
        structure_to_image(dataset, ["a"], [])  # type: ignore[list-item]
    assert str(caught.value).startswith("structure_ids")
