"""Columns of a table of points that say what the points are, followed or contradicted.

The kind of fault: a column carries meaning, is passed over, and the answer is wrong without a word:
another hemisphere, another data set's image, another unit.
"""

import csv
import io

import numpy as np
import pytest
from click.testing import CliRunner

from atldld.cli import app
from atldld.errors import InvalidInputError
from atldld.place import ReferencePoints, image_to_image, image_to_reference, reference_to_image

SAGITTAL, CORONAL = 69289763, 71717084
IMAGE = 69177654  # section 70 of the sagittal set
PIR = (8052.0, 2890.0, 3346.0)


@pytest.fixture
def sync(at_demo_server):
    def run(*arguments, stdin):
        result = CliRunner().invoke(app, ["sync", *map(str, arguments)], input=stdin)
        if isinstance(result.exception, InvalidInputError):
            raise result.exception
        assert result.exit_code == 0, (result.output, result.exception)
        return list(csv.DictReader(io.StringIO(result.stdout))), result.stderr

    return run


def pixel(row):
    return int(row["image_id"]), float(row["x"]), float(row["y"])


def expected(dataset, pir, space):
    found = reference_to_image(dataset, [pir], space=space, beyond="ignore")
    return int(found.image_ids[0]), *found.xy[0].tolist()


@pytest.mark.parametrize("target", [CORONAL, SAGITTAL])
def test_the_reference_space_of_each_row_is_followed(sync, demo_records, target):
    lines = "\n".join(
        f"{','.join(map(str, PIR))},{space}" for space in ("10", "9", "", "10.0", "9")
    )
    rows, err = sync("reference-to-image", "-", "-d", target,
                     stdin=f"p_um,i_um,r_um,reference_space_id\n{lines}\n")  # fmt: skip
    dataset = demo_records[target]
    own = dataset.reference_space_id
    for row, space in zip(rows, (10, 9, own, 10, 9), strict=True):
        assert pixel(row) == pytest.approx(expected(dataset, PIR, space))
    assert pixel(rows[0]) != pixel(rows[1])
    assert "no answer" not in err


def test_what_one_command_writes_the_next_one_understands(sync, demo_records):
    """So two commands do what image-to-image does, between spaces too."""
    points = f"image_id,x,y\n{IMAGE},6384,2744\n"
    result = CliRunner().invoke(app, ["sync", "image-to-reference", "-"], input=points)
    rows, _ = sync("reference-to-image", "-", "-d", CORONAL, stdin=result.stdout)
    found = image_to_image(demo_records[SAGITTAL], IMAGE, [(6384, 2744)], demo_records[CORONAL])
    assert int(rows[0]["target_image_id"]) == found.image_ids[0]
    assert float(rows[0]["target_x"]) == pytest.approx(found.xy[0, 0])
    assert float(rows[0]["target_y"]) == pytest.approx(found.xy[0, 1])


def test_an_option_that_agrees_is_fine(sync, demo_records):
    table = "p_um,i_um,r_um,reference_space_id\n8052,2890,3346,10\n8052,2890,3346,\n"
    rows, _ = sync("reference-to-image", "-", "-d", CORONAL, "--space", 10, stdin=table)
    wanted = expected(demo_records[CORONAL], PIR, 10)
    assert [pixel(row) for row in rows] == [pytest.approx(wanted)] * 2


@pytest.mark.parametrize(
    ("arguments", "table", "says"),
    [
        (
            ("reference-to-image", "-", "-d", CORONAL, "--space", 9),
            "p_um,i_um,r_um,reference_space_id\n1,2,3,9\n1,2,3,10\n",
            "is 10 in row 2, but space says 9",
        ),
        (
            ("reference-to-image", "-", "-d", CORONAL),
            "p_um,i_um,r_um,reference_space_id\n1,2,3,8\n",
            "space 8 cannot be taken to space 9",
        ),
        (
            ("reference-to-image", "-", "-d", CORONAL),
            "p_um,i_um,r_um,reference_space_id\n1,2,3,P56\n",
            "which is not a number",
        ),
        (
            ("structure-to-image", "-", "-d", CORONAL),
            "structure_id,reference_space_id\n632,9\n632,10\n",
            "is 10 in row 2, but structure centres",
        ),
        (
            ("image-to-reference", "-", "-d", SAGITTAL),
            f"image_id,x,y,data_set_id\n{IMAGE},1,2,{SAGITTAL}\n{IMAGE},1,2,909\n",
            f"is 909 in row 2, but dataset_id says {SAGITTAL}",
        ),
        (
            ("image-to-reference", "-"),
            f"image_id,x,y,x_px,y_px\n{IMAGE},1,2,8,16\n",
            "it is not clear which are the pixels",
        ),
        (
            ("reference-to-image", "-", "-d", CORONAL),
            "p_um,i_um,r_um,p_mm,i_mm,r_mm\n1,2,3,1,2,3\n",
            "in µm and in mm",
        ),
    ],
)
def test_contradictions_are_refused(sync, arguments, table, says):
    with pytest.raises(InvalidInputError, match=says):
        sync(*arguments, stdin=table)


@pytest.mark.parametrize("name", ["data_set_id", "dataset_id"])
def test_images_of_another_data_set_have_no_answer(sync, demo_records, name):
    table = f"image_id,x,y,{name}\n{IMAGE},1,2,{SAGITTAL}\n{IMAGE},1,2,{CORONAL}\n{IMAGE},1,2,\n"
    for command in (
        ("image-to-reference", "-"),
        ("image-to-image", "-", "-d", CORONAL),
        ("image-to-image-2d", "-", "-i", IMAGE),
    ):
        rows, err = sync(*command, stdin=table)
        answer = "p_um" if command[0] == "image-to-reference" else "target_x"
        assert [bool(row[answer]) for row in rows] == [True, False, True]
        assert "1 of images that are another data set's" in err


def test_other_columns_that_do_not_fit_the_image_are_warned_about(sync):
    table = (
        "image_id,x,y,section_number,reference_space_id\n"
        f"{IMAGE},1,2,70,10\n{IMAGE},1,2,71,10\n{IMAGE},1,2,,9\n"
    )
    rows, err = sync("image-to-image", "-", "-d", CORONAL, stdin=table)
    assert all(row["target_x"] for row in rows)
    assert "In 1 rows section_number is not that of the image" in err
    assert f"in row 2 it is 71, of image {IMAGE} it is 70" in err
    assert "In 1 rows reference_space_id is not" in err


def test_reference_points_know_their_space(demo_records):
    found = image_to_reference(demo_records[SAGITTAL], IMAGE, [(6384, 2744), (1, 2)])
    assert isinstance(found, ReferencePoints)
    there = reference_to_image(demo_records[CORONAL], found)
    same = image_to_image(
        demo_records[SAGITTAL], IMAGE, [(6384, 2744), (1, 2)], demo_records[CORONAL]
    )
    np.testing.assert_array_equal(there.image_ids, same.image_ids)
    np.testing.assert_array_equal(there.xy, same.xy)
    with pytest.raises(InvalidInputError, match="space 10, but space is 9"):
        reference_to_image(demo_records[CORONAL], found, space=9)
