import pytest

from atldld.errors import AlignmentMissingError, AnswerError
from atldld.records import SectionDataSet, SectionImage

IMAGE = {"id": 1, "section_number": 2, "width": 14001, "height": 10992, "tier_count": 7}
TSV = {f"{name}_{k:02d}": k + 0.5 for name in ("tsv", "tvs") for k in range(6)}


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
    tvr = {f"{name}_{k:02d}": 1.0 for name in ("tvr", "trv") for k in range(12)}
    record = {"id": 5, "alignment3d": tvr, "section_thickness": 25.0}
    SectionDataSet.from_records(record, []).check_alignment()
    del record[field]
    with pytest.raises(AlignmentMissingError, match=field) as caught:
        SectionDataSet.from_records(record, []).check_alignment()
    assert "download image" in str(caught.value)
