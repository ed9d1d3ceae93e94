"""Tables in files: what is written is read back, by us and by others."""

import csv
import json

import numpy as np
import pytest

from atldld.errors import AtldldError, InvalidInputError, OutputError
from atldld.formats.tables import Table, data_frame, read_table, write_table

# formulas, codes, quotes, separators and line breaks, numbers as texts
TEXTS = ["=1+1", "007", 'q"q', "a,b\tc", "two\nlines", "-5", "", "'=x", "é"]
WHOLE = np.ma.masked_less(np.array([1, -1, 3, 4, 5, 6, 7, 8, 9]), 0)
NUMBERS = np.array([0.1, np.nan, -2.5, 1e22, 1e-7, 3, 1 / 3, np.inf, 0])


@pytest.fixture
def table():
    return Table({"text": TEXTS, "whole": WHOLE, "number": NUMBERS})


@pytest.mark.parametrize("ending", ["csv", "tsv", "TSV"])
def test_texts_come_back_as_they_were(table, tmp_path, ending):
    name = str(tmp_path / f"t.{ending}")
    assert write_table(name, table) == [tmp_path / f"t.{ending}"]
    found = read_table(name)
    assert found.names == table.names
    assert len(found) == len(TEXTS)
    assert list(found.columns["text"]) == TEXTS
    np.testing.assert_array_equal(found.numbers("number"), NUMBERS)
    np.testing.assert_array_equal(found.ids("whole"), WHOLE.filled(-1))
    # nothing that a spreadsheet would run
    separator = "," if ending == "csv" else "\t"
    with open(name, newline="", encoding="utf-8") as file:
        cells = [row[0] for row in csv.reader(file, delimiter=separator)]
    assert cells[1:] == ["'=1+1", "007", 'q"q', "a,b\tc", "two\nlines", "-5", "", "''=x", "é"]


def test_parquet_holds_types_and_nulls(table, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    name = str(tmp_path / "t.parquet")
    write_table(name, table, about={"unit": "µm"})
    found = parquet.read_table(name)
    assert [str(kind) for kind in found.schema.types] == ["string", "int64", "double"]
    assert found["whole"].null_count == 1
    assert found["number"].null_count == 0  # NaN stays what it is
    assert json.loads(found.schema.metadata[b"atldld"]) == {"unit": "µm"}
    # and on to text
    write_table(tmp_path / "t.csv", read_table(name))
    np.testing.assert_array_equal(
        read_table(str(tmp_path / "t.csv")).ids("whole"), WHOLE.filled(-1)
    )


def test_whole_numbers_are_taken_as_they_are(tmp_path, monkeypatch):
    """Through float64 ten million ids took half a second."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    name = str(tmp_path / "t.parquet")
    columns = {
        "id": pyarrow.array([5, None, 2**53], pyarrow.int64()),
        "small": pyarrow.array([0, 1, 2], pyarrow.uint8()),
        "large": pyarrow.array([0, 1, 2**53 + 2], pyarrow.int64()),
        "huge": pyarrow.array([0, 1, 2**64 - 1], pyarrow.uint64()),
        "number": pyarrow.array([1.0, None, 3.0]),
    }
    parquet.write_table(pyarrow.table(columns), name)
    table = read_table(name)
    np.testing.assert_array_equal(table.ids("number"), [1, -1, 3])
    for wrong in ("large", "huge"):
        with pytest.raises(InvalidInputError, match=wrong):
            table.ids(wrong)
    monkeypatch.delattr(Table, "numbers")
    np.testing.assert_array_equal(table.ids("id"), [5, -1, 2**53])
    np.testing.assert_array_equal(table.ids("small"), [0, 1, 2])


def test_parquet_looks_for_no_repeated_coordinates(table, tmp_path):
    """That took as long as the writing; texts and ids do repeat."""
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table(tmp_path / "t.parquet", table)
    row_group = parquet.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0)
    found = {
        row_group.column(k).path_in_schema: "RLE_DICTIONARY" in row_group.column(k).encodings
        for k in range(3)
    }
    assert found == {"text": True, "whole": True, "number": False}


def test_texts_become_numbers_in_parquet_where_all_are(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"a": ["1", " ", "3"], "b": ["1.5", "", "2"], "c": ["1", "x", ""]}
    write_table(tmp_path / "t.parquet", Table(columns))
    found = parquet.read_table(tmp_path / "t.parquet")
    assert found.to_pydict() == {
        "a": [1, None, 3],
        "b": [1.5, None, 2],
        "c": ["1", "x", None],
    }


def test_what_it_is_about_stands_beside_a_text_table(table, tmp_path):
    path = tmp_path / "t.csv"
    assert write_table(path, table, about={"unit": "µm"}, digits=3) == [
        path,
        tmp_path / "t.csv.json",
    ]
    assert json.loads((tmp_path / "t.csv.json").read_text("utf-8")) == {"unit": "µm"}
    assert list(read_table(str(path)).columns["number"])[6] == "0.333"
    with pytest.raises(OutputError, match="there already"):
        write_table(path, table)
    write_table(path, table, force=True)


def test_a_column_is_not_replaced(table):
    assert table.with_columns({"new": WHOLE}).names == ["text", "whole", "number", "new"]
    with pytest.raises(InvalidInputError, match="has a column text already"):
        table.with_columns({"text": WHOLE})


@pytest.mark.parametrize("name", ["t.xls", "t", ".csv"])
def test_other_endings_are_refused(table, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for attempt in (lambda: write_table(name, table), lambda: read_table(name)):
        with pytest.raises(InvalidInputError, match=r"neither a \.csv nor a \.parquet"):
            attempt()
    assert not list(tmp_path.iterdir())


def test_data_frames(monkeypatch):
    pandas = pytest.importorskip("pandas")
    frame = data_frame({"kind": ["a", "b", "a"], "value": [1, 2, 3]}, ["kind"])
    assert isinstance(frame["kind"].dtype, pandas.CategoricalDtype)
    assert frame["value"].tolist() == [1, 2, 3]
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(AtldldError, match=r"atldld\[tables\]"):
        data_frame({})


def test_columns_that_come_in_pieces_are_put_together():
    pyarrow = pytest.importorskip("pyarrow")
    table = Table(
        {
            "id": pyarrow.chunked_array([[5, 7], [], [9]]),
            "gap": pyarrow.chunked_array([[5, None], [], [9]]),
            "x": pyarrow.chunked_array([[0.5], [None, 2.5]]),
        }
    )
    np.testing.assert_array_equal(
        table.beside(["x", "gap"]), [[0.5, 5], [np.nan, np.nan], [2.5, 9]]
    )
    assert table.ids("id").tolist() == [5, 7, 9]
    assert table.ids("gap").tolist() == [5, -1, 9]
    table.ids("id")[0] = 1  # what is given out is the caller's own
    assert table.ids("id").tolist() == [5, 7, 9]
    whole = Table({"id": pyarrow.chunked_array([[5, 7]])})
    assert not whole.ids("id").flags.writeable  # or the table's, which cannot be changed


def test_each_image_is_met_once_in_whatever_order_rows_are():
    from atldld.formats.points import _different

    for ids in ([], [3], [3, 3, 1, 1, 3], [2, 1, 2, 1]):
        assert _different(np.array(ids, dtype=np.int64)) == sorted(set(ids))
