import msgspec
import numpy as np
import pytest

import atldld
from atldld.api import DataSet, open_dataset
from atldld.errors import (
    AlignmentMissingError,
    InvalidInputError,
    MissingAlignmentWarning,
    SkippedImageWarning,
    UnsupportedPlaneError,
)
from atldld.place import Placement
from atldld.records import Alignment2d

COARSE = 100  # µm; enough to see that the right things arrive


@pytest.fixture
def dataset(session):
    return open_dataset(909, session=session)


def with_image(dataset, index, **changes):
    """The data set with one image's record changed."""
    images = list(dataset.record.images)
    images[index] = msgspec.structs.replace(images[index], **changes)
    return DataSet(msgspec.structs.replace(dataset.record, images=tuple(images)), dataset.session)


def test_the_interface_in_the_size_it_should_have(session):
    ds = atldld.open_dataset(69289763, session=session)
    np.testing.assert_allclose(
        ds.sections[8].to_reference([(6384, 2744)]), [(8052, 2890, 3346)], atol=0.7
    )
    section = next(iter(ds.register(resolution=COARSE)))
    assert section.image.shape == (80, 132, 3)
    assert section.image.dtype == np.uint8
    assert section.mask is None
    assert section.plane.grid.axis_names == ("i", "p")
    assert section.displacement_field().shape == (80, 132)
    assert "18 sections" in repr(ds)
    assert "Prox1" in repr(ds)


def test_every_section_in_order_with_its_mask(dataset):
    registered = list(dataset.register(COARSE, expression=True))
    assert [one.section.number for one in registered] == sorted(s.number for s in dataset)
    for one in registered:
        assert one.mask.shape == one.image.shape == (80, 114, 3)
        assert one.mask[0, 0].max() < 10
        assert min(one.background) > 230


def test_the_displacement_field_makes_the_same_picture(dataset):
    """Where nothing is averaged, the field and the one matrix show the same."""
    section = dataset.sections[6].register(6, downsample=0)
    field = section.displacement_field()
    warped = field.warp(dataset.sections[6].pixels(0), interpolation="cubic", c=section.background)
    assert np.abs(warped.astype(int) - section.image).mean() < 0.2


def test_fields_point_at_the_tier_that_was_used(dataset):
    one = dataset.sections[6].register(COARSE)
    assert one.downsample > 0
    f_x, f_y = one.displacement_field().transformation
    d = one.downsample
    xy = one.plane.to_image @ [57, 40, 1]
    np.testing.assert_allclose(
        [f_x[40, 57] * 2**d + (2**d - 1) / 2, f_y[40, 57] * 2**d + (2**d - 1) / 2], xy, atol=0.02
    )


def test_one_section_and_many_are_the_same(dataset):
    section = dataset.sections[5]
    alone = section.register(COARSE, plane="parallel", expression=True)
    (of_many,) = dataset.register(
        COARSE, plane="parallel", expression=True, sections=[section], jobs=1
    )
    np.testing.assert_array_equal(alone.image, of_many.image)
    np.testing.assert_array_equal(alone.mask, of_many.mask)


@pytest.mark.parametrize(
    "bad",
    [
        {"resolution": 0},
        {"resolution": -1},
        {"resolution": float("nan")},
        {"downsample": 5},
        {"downsample": -1},
        {"downsample": "fine"},
        {"plane": "slanted"},
        {"plane": "parallel", "detection_xy": (1, 2, 3)},
        {"plane": "parallel", "detection_xy": (np.nan, 2)},
    ],
)
def test_nonsense_is_refused_before_any_request(dataset, bad):
    sent = dataset.session.client.requests_sent
    with pytest.raises(InvalidInputError):
        dataset.register(**bad)
    assert dataset.session.client.requests_sent == sent


def test_what_cannot_be_placed_is_set_aside_with_its_reason(dataset):
    collapsed = Alignment2d((1.0, 2, 2, 4, 0, 0), (1.0, 2, 2, 4, 0, 0))
    for changes, reason in (
        ({"alignment2d": None}, "it has no alignment2d"),
        ({"failed": True}, "the laboratory marked it as failed"),
        ({"alignment2d": collapsed}, "its alignment does not lie in the coronal plane"),
    ):
        with pytest.warns(MissingAlignmentWarning, match=reason):
            changed = with_image(dataset, 3, **changes)
        assert changed.skipped[0].reason == reason
        assert len(changed) == len(dataset) - 1


def test_a_section_that_cannot_be_had_does_not_stop_the_others(dataset):
    broken = with_image(dataset, 4, id=4)
    with pytest.warns(SkippedImageWarning, match="image 4 is unknown"):
        assert len(list(broken.register(COARSE))) == len(dataset) - 1


def test_a_mask_that_cannot_be_had_is_told(dataset):
    without = with_image(dataset, 4, expression_path=None)
    registered = list(without.register(COARSE, expression=True))
    assert registered[4].mask is None
    assert registered[4].files.mask_problem == "it has no expression mask"
    assert not registered[4].files.mask_failed


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"alignment3d": None}, AlignmentMissingError, "alignment3d"),
        ({"section_thickness": None}, AlignmentMissingError, "section_thickness"),
        ({"plane_of_section_id": 4}, UnsupportedPlaneError, "plane_of_section_id is 4"),
        ({"reference_space_id": None}, UnsupportedPlaneError, "reference_space_id is missing"),
        ({"reference_space_id": 3}, UnsupportedPlaneError, "reference_space_id is 3"),
    ],
)
def test_a_data_set_that_cannot_be_placed_says_what_is_missing(dataset, change, error, says):
    with pytest.raises(error, match=says) as caught:
        DataSet(msgspec.structs.replace(dataset.record, **change), dataset.session)
    assert "download image" in str(caught.value)
    assert caught.value.dataset_id == 909


def test_section_of_an_image(dataset):
    section = dataset.section(101321610)
    assert section.id == 101321610
    assert isinstance(section.placement, Placement)
    assert section.geometry.tilt < 1
    with pytest.raises(InvalidInputError, match="no placed section image 5"):
        dataset.section(5)
