"""`atldld sync …`, as it is typed: tables in, tables out."""

import csv
import io
import re
import sys
import threading

import numpy as np
import pytest

from atldld.demo.archive import DemoArchive
from atldld.place import image_to_image, image_to_image_2d, image_to_reference, reference_to_image
from atldld.serve.listen import listen

SAGITTAL, CORONAL = 69289763, 71717084
POINTS = """\
note,image_id,x,y
"the dentate, gyrus",69177654,6384,2744
007,71591511,100.5,1e2
nobody's,5,1,2
nowhere,69177654,,3
"""


@pytest.fixture
def sync(at_demo_server, monkeypatch, capsys):
    """Run `atldld sync` in this process; return standard output and error."""

    def run(*arguments, stdin="", status=0):
        from atldld.cli import main

        monkeypatch.setattr(sys, "argv", ["atldld", "sync", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main()
        done = capsys.readouterr()
        assert (ended.value.code or 0) == status, (done.out, done.err)
        # a busy machine may be waited for
        return done.out, re.sub(r"^Waiting for .*\n", "", done.err, flags=re.MULTILINE)

    return run


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_image_to_reference(sync, demo_records):
    out, err = sync("image-to-reference", "-", stdin=POINTS)
    rows = rows_of(out)
    assert list(rows[0]) == [
        *("note", "image_id", "x", "y", "p_um", "i_um", "r_um", "reference_space_id")
    ]
    # what was there is there as it was
    assert [row["note"] for row in rows] == ["the dentate, gyrus", "007", "nobody's", "nowhere"]
    assert [row["y"] for row in rows] == ["2744", "1e2", "2", "3"]
    for row, dataset_id, xy in (
        (rows[0], SAGITTAL, [6384, 2744]),
        (rows[1], CORONAL, [100.5, 100]),
    ):
        dataset = demo_records[dataset_id]
        expected = image_to_reference(dataset, [int(row["image_id"])], [xy]).pir[0]
        # to the last digit
        assert [float(row[f"{axis}_um"]) for axis in "pir"] == expected.tolist()
        assert int(row["reference_space_id"]) == dataset.reference_space_id
    for row in rows[2:]:
        assert [row[name] for name in ("p_um", "i_um", "r_um", "reference_space_id")] == [""] * 4
    assert err == "2 of 4 rows have no answer: 1 without numbers, 1 of unknown images.\n"


def test_image_to_reference_of_one_data_set(sync):
    out, err = sync("image-to-reference", "-", "-d", SAGITTAL, stdin=POINTS)
    assert [bool(row["p_um"]) for row in rows_of(out)] == [True, False, False, False]
    assert err == "3 of 4 rows have no answer: 1 without numbers, 2 of unknown images.\n"


@pytest.mark.parametrize(
    ("columns", "factor", "options"),
    [
        ("p_um,i_um,r_um", 1, ()),
        ("p_mm,i_mm,r_mm", 1000, ()),
        ("p,i,r", 1, ("--unit", "um")),
        ("p,i,r", 1000, ("--unit", "mm")),
        ("p_mm,i_mm,r_mm", 1000, ("--unit", "mm")),
    ],
)
def test_reference_to_image(sync, demo_records, columns, factor, options):
    pir = np.array([[8052.0, 2890, 3346], [5000, 3000, 4000]])
    cells = "\n".join(",".join(map(repr, row)) for row in (pir / factor).tolist())
    out, err = sync(
        "reference-to-image", "-", "-d", CORONAL, *options, stdin=f"{columns}\n{cells}\n,,\n"
    )
    rows = rows_of(out)
    found = reference_to_image(demo_records[CORONAL], pir)
    for k in range(2):
        row = rows[k]
        assert int(row["image_id"]) == found.image_ids[k]
        assert int(row["section_number"]) == found.section_numbers[k]
        assert (float(row["x"]), float(row["y"])) == pytest.approx(tuple(found.xy[k]), abs=1e-6)
        assert float(row["distance_um"]) == pytest.approx(found.distance[k], abs=1e-6)
    assert [rows[2][name] for name in ("image_id", "x", "y", "distance_um")] == [""] * 4
    assert err == "1 of 3 rows have no answer: 1 without numbers.\n"


def test_the_limit_and_the_warning(sync):
    table = "p_um,i_um,r_um\n8052,2890,3346\n6000,4000,11000\n"
    out, err = sync("reference-to-image", "-", "-d", SAGITTAL, stdin=table)
    assert all(row["image_id"] for row in rows_of(out))
    assert err.startswith("Warning: 1 of 2 points lie further than half the local spacing")
    out, err = sync("reference-to-image", "-", "-d", SAGITTAL, "--max-distance", 150, stdin=table)
    near, far = rows_of(out)
    assert near["image_id"] == "69177654"
    assert (far["image_id"], far["section_number"], far["x"], far["y"]) == ("",) * 4
    assert float(far["distance_um"]) > 5000
    assert err == "1 of 2 rows have no answer: 1 too far from any section.\n"


def test_tables_go_from_one_command_to_the_next(sync, demo_records):
    brain, _ = sync("image-to-reference", "-", stdin=POINTS)
    back, _ = sync("reference-to-image", "-", "-d", SAGITTAL, "--max-distance", 200, stdin=brain)
    row = rows_of(back)[0]
    assert row["target_image_id"] == row["image_id"] == "69177654"
    assert (float(row["target_x"]), float(row["target_y"])) == pytest.approx((6384, 2744), abs=0.2)
    # as of space 9, a sagittal set gets the mirrored point
    unnamed = brain.replace("reference_space_id", "its_space")
    options = ("--space", 9, "--max-distance", 9e9)
    other, _ = sync("reference-to-image", "-", "-d", SAGITTAL, *options, stdin=unnamed)
    assert rows_of(other)[0]["target_image_id"] != "69177654"
    again, _ = sync("image-to-image", "-", "-d", CORONAL, stdin=POINTS)
    found = image_to_image(
        demo_records[SAGITTAL], [69177654], [[6384, 2744]], demo_records[CORONAL]
    )
    row = rows_of(again)[0]
    assert int(row["target_image_id"]) == found.image_ids[0]
    assert [float(row["target_x"]), float(row["target_y"])] == found.xy[0].tolist()
    assert rows_of(again)[2]["target_image_id"] == ""


def test_structure_to_image(sync):
    out, err = sync(
        "structure-to-image", "-", "-d", SAGITTAL, stdin="structure_id,name\n22,DG\n999,none\n,x\n"
    )
    rows = rows_of(out)
    assert [bool(row["image_id"]) for row in rows] == [True, False, False]
    assert rows[0]["name"] == "DG"
    assert "2 of 3 rows" in err
    assert "1 without a structure_id" in err


def test_parquet(sync, tmp_path, demo_records):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = pandas.DataFrame(
        {
            "when": pandas.to_datetime(["2020-01-01", "2021-01-01"]),
            "image_id": [69177654, 71591511],
            "x": [6384.0, np.nan],
            "y": [2744, 5],
        },
        index=pandas.Index(["a", "b"], name="cell"),
    )
    table.to_parquet(tmp_path / "in.parquet")
    sync("image-to-reference", tmp_path / "in.parquet", "-o", tmp_path / "out.parquet")
    found = pandas.read_parquet(tmp_path / "out.parquet")
    pandas.testing.assert_frame_equal(found[list(table.columns)], table)
    expected = image_to_reference(demo_records[SAGITTAL], [69177654], [[6384, 2744]]).pir[0]
    np.testing.assert_array_equal(found.loc["a", ["p_um", "i_um", "r_um"]], expected)
    assert found.loc["b", ["p_um", "reference_space_id"]].isna().all()
    # from either format to the other
    sync("image-to-reference", tmp_path / "in.parquet", "-o", tmp_path / "out.csv")
    (row, _) = rows_of((tmp_path / "out.csv").read_text())
    assert [float(row[f"{axis}_um"]) for axis in "pir"] == expected.tolist()
    (tmp_path / "in.csv").write_text(POINTS, "utf-8-sig")
    sync("image-to-reference", tmp_path / "in.csv", "-o", tmp_path / "out.parquet", "--force")
    found = pandas.read_parquet(tmp_path / "out.parquet")
    assert found["image_id"].dtype == np.int64
    np.testing.assert_array_equal(found.loc[0, ["p_um", "i_um", "r_um"]], expected)


def test_parquet_without_pyarrow(sync, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out, err = sync("image-to-reference", tmp_path / "in.parquet", status=1)
    assert "pip install 'atldld[tables]'" in err
    assert out == ""


@pytest.mark.parametrize(
    ("command", "table", "message"),
    [
        ("reference-to-image -d 69289763", "p,i,r\n1,2,3\n", "columns p, i, r have no unit: name"),
        ("reference-to-image -d 69289763", "p,i,r\n1,2,3\n", "p_um, i_um and r_um"),
        ("reference-to-image -d 69289763", "x,y,z\n1,2,3\n", "no column p_um, i_um, r_um"),
        ("reference-to-image -d 69289763", "p_um,i_um\n1,2\n", "no column r_um; expected"),
        ("reference-to-image -d 69289763 --unit mm", "p_um,i_um,r_um\n1,2,3\n", "--unit says mm"),
        ("reference-to-image -d 69289763", "p_um,i_mm,r_um\n1,2,3\n", "in µm and in mm"),
        ("reference-to-image -d 69289763 --space 4", "p_um,i_um,r_um\n1,2,3\n", "only 9 and 10"),
        ("reference-to-image -d 69289763 --space 77", "p_um,i_um,r_um\n1,2,3\n", "no reference sp"),
        ("reference-to-image -d 0.5", "p_um,i_um,r_um\n1,2,3\n", "'0.5' is not the id"),
        ("image-to-reference", "x,y\n1,2\n", "no column image_id; expected are the columns"),
        (
            "image-to-reference",
            "image_id,x,y\n1,a,2\n",
            "column x of Standard input holds 'a' in r",
        ),
        ("image-to-reference", "image_id,x,y\n1.5,1,2\n", "not the id of anything"),
        ("image-to-reference", "image_id,x,y\n1,2\n", "Row 1 of Standard input has 2 cells"),
        ("image-to-reference", "image_id,x,x\n1,2,3\n", "several columns named 'x'"),
        ("image-to-reference", "", "is empty"),
        ("image-to-reference", "image_id,x,y,p_um\n69177654,1,2,3\n", "has a column p_um already"),
        ("image-to-reference -o points.xls", POINTS, "'points.xls' is neither a .csv nor"),
        ("image-to-reference -o none/points.csv", POINTS, "no folder none"),
        ("structure-to-image -d 69289763", "id\n1\n", "no column structure_id"),
    ],
)
def test_bad_tables(sync, monkeypatch, tmp_path, command, table, message):
    monkeypatch.chdir(tmp_path)
    name, *options = command.split()
    out, err = sync(name, "-", *options, stdin=table, status=2)
    assert message in err
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert list(tmp_path.glob("points*")) == []


def test_files_that_are_no_tables(sync, tmp_path):
    pytest.importorskip("pyarrow")
    for name, content, message in (
        ("none.csv", None, "cannot be read"),
        ("a.csv", b"\xff\xfe\x00", "no CSV table in UTF-8"),
        ("a.parquet", b"not that", "Parquet file"),
        ("a.txt", b"image_id,x,y\n", "neither a .csv nor a .parquet"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        _, err = sync("image-to-reference", tmp_path / name, status=2)
        assert message in err


def test_a_file_is_replaced_only_by_a_whole_one(sync, tmp_path):
    (tmp_path / "in.csv").write_text(POINTS)
    # onto itself
    itself = ("image-to-reference", tmp_path / "in.csv", "-o", tmp_path / "in.csv")
    assert "is there already" in sync(*itself, status=6)[1]
    assert (tmp_path / "in.csv").read_text() == POINTS
    sync(*itself, "--force")
    whole = (tmp_path / "in.csv").read_text()
    assert "p_um" in whole
    sync(*itself, "--force", status=2)
    assert (tmp_path / "in.csv").read_text() == whole
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["in.csv"]


@pytest.mark.parametrize(
    "command",
    ["image-to-reference", "reference-to-image", "image-to-image", "structure-to-image"],
)
def test_help(sync, command):
    out, _ = sync(command, "--help")
    assert "POINTS" in out
    assert "--cache-dir" in out


def test_image_to_image_2d(sync, demo_records):
    dataset = demo_records[SAGITTAL]
    one, other = dataset.images[8], dataset.images[10]
    table = f"image_id,x,y\n{one.id},6384,2744\n{one.id},10,20\n5,1,2\n"
    out, err = sync("image-to-image-2d", "-", "-i", other.id, stdin=table)
    rows = rows_of(out)
    expected = image_to_image_2d(dataset, one.id, [[6384, 2744], [10, 20]], dataset, other.id)
    for row, xy in zip(rows, expected.xy.tolist(), strict=False):
        assert (row["target_image_id"], row["image_id"]) == (str(other.id), str(one.id))
        assert [float(row["target_x"]), float(row["target_y"])] == xy
    assert rows[2]["target_x"] == ""
    assert "unknown images" in err
    _, err = sync("image-to-image-2d", "-", "-i", 71591511, stdin=table, status=2)
    assert "different specimens" in err


class Atlas(DemoArchive):
    """The demo archive, whose sagittal sections are the plates of an atlas too."""

    def tables(self):
        tables = dict(super().tables())
        sagittal = next(one for one in tables["SectionDataSet"] if one["id"] == SAGITTAL)
        tables["AtlasDataSet"] = [{**sagittal, "id": 100048576}]
        tables["AtlasImage"] = [
            {**one, "data_set_id": 100048576, "annotated": k != 8}
            for k, one in enumerate(sagittal["section_images"])
        ]
        return tables


def test_image_to_atlas(sync, demo_records):
    server = listen("127.0.0.1", 0, Atlas())
    threading.Thread(target=server.run, daemon=True).start()
    address = f"http://127.0.0.1:{server.effective_port}"
    dataset = demo_records[SAGITTAL]
    one = dataset.images[3]
    table = f"image_id,x,y\n{one.id},5000,3000\n"
    out, _ = sync("image-to-atlas", "-", "--api-url", address, stdin=table)
    (row,) = rows_of(out)
    assert row["target_image_id"] == str(one.id)  # the same section is the nearest plate
    np.testing.assert_allclose(
        [float(row["target_x"]), float(row["target_y"])], [5000, 3000], atol=0.11
    )
    _, err = sync(
        "image-to-atlas", "-", "--atlas-dataset", 7, "--api-url", address, stdin=table, status=3
    )
    assert "no atlas of data set 7" in err
    server.close()
