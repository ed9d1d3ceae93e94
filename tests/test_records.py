import pytest

from atldld.errors import AlignmentMissingError, AnswerError
from atldld.records import SectionDataSet, SectionImage

IMAGE = {"id": 1, "section_number": 2, "width": 14001, "height": 10992, "tier_count": 7}
# two ways that take each other back: [vx, vy] = [[0.5, 1.5], [2.5, 3.5]] @ [x, y] + [4.5, 5.5]
THERE = (0.5, 1.5, 2.5, 3.5, 4.5, 5.5)
BACK = (-1.75, 0.75, 1.25, -0.25, 3.75, -4.25)
TSV = {
    f"{name}_{k:02d}": value
    for name, numbers in (("tsv", THERE), ("tvs", BACK))
    for k, value in enumerate(numbers)
}
TVR = {f"{name}_{k:02d}": float(k in (0, 4, 8)) for name in ("tvr", "trv") for k in range(12)}


def test_size_is_floored_at_each_tier():
    image = SectionImage.from_record(IMAGE)
    widths = [image.size(d)[0] for d in range(7)]
    assert widths == [14001, 7000, 3500, 1750, 875, 437, 218]
    assert image.highest_downsample == 6


@pytest.mark.parametrize(
    ("size", "highest"), [((8992, 4936), 6), ((256, 256), 0), ((257, 1), 1), ((38272, 1), 8)]
)
def test_tiers_without_tier_count(size, highest):
    record = IMAGE | {"width": size[0], "height": size[1], "tier_count": None}
    assert SectionImage.from_record(record).highest_downsample == highest


@pytest.mark.parametrize("alignment", [None, {}, {"tsv_00": 1.0}, TSV | {"tvs_03": None}])
def test_missing_alignment_is_none(alignment):
    image = SectionImage.from_record(IMAGE | {"alignment2d": alignment})
    assert image.alignment2d is None
    with pytest.raises(AlignmentMissingError, match="alignment2d"):
        image.check_alignment()
    assert SectionImage.from_record(IMAGE).alignment2d is None


def test_matrices_have_the_stored_order():
    image = SectionImage.from_record(IMAGE | {"alignment2d": TSV})
    assert image.check_alignment().to_volume.tolist() == [[0.5, 1.5, 4.5], [2.5, 3.5, 5.5]]


@pytest.mark.parametrize(
    "bad", [{"id": "../x"}, {"width": None}, {"width": 0}, {"height": "tall"}, {"id": -4}]
)
def test_unusable_image(bad):
    with pytest.raises(AnswerError, match=r"SectionImage|size"):
        SectionImage.from_record(IMAGE | bad)


def test_unknown_keys_nulls_and_numbers_as_text_are_tolerated():
    image = SectionImage.from_record(IMAGE | {"new": {"a": 1}, "x": None, "id": "17"})
    assert (image.id, image.x, image.failed) == (17, 0, False)


def test_dataset_sorts_deduplicates_and_sets_aside():
    dataset = SectionDataSet.from_records(
        {"id": 5, "genes": [None, {"acronym": "A"}], "specimen": None},
        [
            IMAGE | {"id": 3, "section_number": 9},
            None,
            IMAGE,
            IMAGE | {"id": 3, "section_number": 9},
            IMAGE | {"id": 4, "width": None},
        ],
    )
    assert [image.id for image in dataset.images] == [1, 3]
    assert [skipped.image_id for skipped in dataset.skipped] == [None, 4]
    assert [gene.acronym for gene in dataset.genes] == ["A"]


@pytest.mark.parametrize("field", ["alignment3d", "section_thickness"])
def test_what_is_missing_is_named(field):
    record = {"id": 5, "alignment3d": TVR, "section_thickness": 25.0}
    SectionDataSet.from_records(record, []).check_alignment()
    del record[field]
    with pytest.raises(AlignmentMissingError, match=field) as caught:
        SectionDataSet.from_records(record, []).check_alignment()
    assert "download image" in str(caught.value)


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ({"tsv_00": "abc"}, 'tsv_00 is "abc", but must be a number'),
        ({"tsv_00": None}, "tsv_00 is null"),
        ({"tvs_05": 1e300}, "tvs_05 is 1e+300"),
        ({"tvs_05": True}, "tvs_05 is true"),
        ({"tsv_04": 400.0}, "contradicts itself"),
    ],
)
def test_why_an_alignment_is_of_no_use(odd, told):
    image = SectionImage.from_record(IMAGE | {"alignment2d": TSV | odd})
    assert image.alignment2d is None
    with pytest.raises(AlignmentMissingError, match="no usable alignment2d") as caught:
        image.check_alignment()
    assert told in str(caught.value)
    assert "atldld doctor" in str(caught.value)


def test_a_list_of_one_alignment_is_that_one():
    record = {"id": 5, "section_thickness": "25", "alignment3d": [TVR]}
    alignment, thickness = SectionDataSet.from_records(record, []).check_alignment()
    assert (alignment.tvr[0], thickness) == (1.0, 25.0)


def test_numbers_as_text_are_the_same_numbers():
    told = {key: str(value) for key, value in (IMAGE | {"failed": "false"}).items()}
    there = {key: str(value) for key, value in TSV.items()}
    image = SectionImage.from_record(told | {"alignment2d": there})
    assert image == SectionImage.from_record(IMAGE | {"alignment2d": TSV})
    assert SectionImage.from_record(IMAGE | {"failed": "true"}).failed


@pytest.mark.parametrize("stored", ["1_0", "0x10", "1,5", "\u0661", "NaN", "inf", "", " ", "1e999"])
def test_what_is_no_number_is_refused(stored):
    with pytest.raises(AnswerError, match="width is"):
        SectionImage.from_record(IMAGE | {"width": stored})
    image = SectionImage.from_record(IMAGE | {"alignment2d": TSV | {"tsv_01": stored}})
    assert image.alignment2d is None


def test_genuine_alignments_agree_with_themselves(genuine):
    """Six digits make 0.12 µm and 0.06 pixels; what is refused is off by fifty times as much."""
    for dataset in genuine.values():
        assert dataset.alignment_problem is None
        assert all(image.alignment2d is not None for image in dataset.images)
