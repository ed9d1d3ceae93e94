"""Text tables that stay on disk: copied as they are where they may be, and never another way."""

import csv
import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from atldld.errors import InvalidInputError
from atldld.formats import texts
from atldld.formats.tables import Table, read_table, write_table
from atldld.formats.texts import TextTable
from atldld.support.text import TableWriter

pyarrow = pytest.importorskip("pyarrow")

CELLS = [
    *("1", "-2.5", "+3", "1e5", "-1e-7", "007", "", "12.", ".5", "-.5", "nan", "-inf", "inf"),
    *("=1", "+x", "-x", "-1_0", "@a", "'a", "'=a", "''", "\ta", " a", " -x", "a b", "µ", "＝1"),
    *("a", "a=1", "a-b", "1_0", "nan(1)", '"q"', '"a,b"', '"two\nlines"', "-", "+", "-5%", "-1,5"),
]
ROWS = st.lists(st.lists(st.sampled_from(CELLS), min_size=2, max_size=2), max_size=6)
NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-5, 10**17).map(float)


@pytest.fixture(autouse=True)
def however_small(monkeypatch):
    monkeypatch.setattr(texts, "_WORTH", 0)


def both(content, use, monkeypatch):
    """What a table gives, as it is and where nothing is taken for plain."""
    outcomes = []
    for plain in (None, False):
        with monkeypatch.context() as patch:
            if plain is False:
                patch.setattr(TextTable, "_is_plain", lambda self: False)
            try:
                outcomes.append(use(TextTable(io.BytesIO(content), "It", ",")))
            except InvalidInputError as error:
                outcomes.append(str(error))
    return outcomes


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, end=st.sampled_from(["\n", "\r\n", "\n\n", "\r"]), last=st.booleans())
# one character is taken out, and one is put behind
@example(rows=[["1", "1"], ["1", "1"]], end="\r\n", last=False)
@example(rows=[["1", "1"], ["1", "1"]], end="\n\n", last=False)
# wrong in both columns, and in two pieces
@example(rows=[["a b", "1"], ["1", "a b"]], end="\n", last=False)
def test_plain_tables_are_read_and_written_as_all_others(rows, end, last):
    content = end.join(["a,b", *map(",".join, rows)]) + (end if last else "")

    def use(table):
        new = {
            "n": np.ma.masked_array(np.arange(table.count), np.arange(table.count) % 3 == 1),
            "x": np.resize([0.1, -2.5, 3.0, np.nan, 1e-5, 1e10, 1e16, -0.0, 1 / 3], table.count),
            "t": np.resize(np.array(["P56", "a,b", "=1", 'q"q']), table.count),
        }
        out = io.StringIO(newline="")
        table.write(out, new, ",")
        found = [table.count, table.names, out.getvalue(), [*table.columns["a"]]]
        for places in ([0], [1, 0]):
            try:
                found.append(table.numbers(places).tolist())
            except InvalidInputError as error:
                found.append(str(error))
        return repr(found)

    with pytest.MonkeyPatch.context() as patch:
        plain, slow = both(content.encode(), use, patch)
    assert plain == slow


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NUMBERS, max_size=50), st.sampled_from(",\t;"))
# where one way to write a number ends and another begins
@example([1e16, 9999999999999998.0, 1e-4, 9.999999999999999e-05, 0.0, -0.0, 5e-324], ",")
def test_numbers_are_spelled_as_python_spells_them(values, separator):
    found = texts._written(np.array(values), separator).to_pylist()
    assert found == [separator + ("" if value != value else repr(value)) for value in values]


def test_columns_that_are_read_together_are_looked_for_once(tmp_path, monkeypatch):
    from pyarrow import csv as reader

    monkeypatch.setattr(texts, "_PIECE", 1 << 12)
    long_table(tmp_path / "t.csv", 1000)
    calls, read = [], reader.read_csv

    def counted(*arguments):
        calls.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(reader, "read_csv", counted)
    table = read_table(str(tmp_path / "t.csv"))
    both = table.beside(["x", "image_id"])
    assert 1 < len(calls) <= (tmp_path / "t.csv").stat().st_size / (1 << 12) + 1
    assert (both == np.stack([table.numbers("x"), table.numbers("image_id")], axis=1)).all()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"a,a\n1,2\n",
        b"a,b\n1\n",
        b"a,b\n1,2,3\n4\n",
        b"a\n\xff\n",
        b"a,b\n1,\xc3",
        b'a\n"x',
    ],
)
def test_what_is_no_table_is_refused_in_the_same_words(content, monkeypatch):
    plain, slow = both(content, lambda table: pytest.fail("taken"), monkeypatch)
    assert plain == slow


def long_table(path, count):
    rng = np.random.default_rng(0)
    rows = zip(
        rng.integers(1, 10**8, count).tolist(), rng.uniform(-9, 9e3, count).tolist(), strict=True
    )
    path.write_text("image_id,x\n" + "\n".join(f"{a},{b}" for a, b in rows) + "\n")


def test_no_row_of_a_plain_table_becomes_an_object_of_python(tmp_path, monkeypatch):
    """What a row costs: Python's reader and writer would see each of them."""
    long_table(tmp_path / "t.csv", 1000)
    seen = []
    monkeypatch.setattr(TableWriter, "row", lambda self, row: seen.append(row))
    monkeypatch.setattr(csv, "reader", lambda *_, **__: pytest.fail("read by Python"))
    table = read_table(str(tmp_path / "t.csv"))
    numbers = table.numbers("x")
    write_table(tmp_path / "out.csv", table.with_columns({"y": numbers / 3}))
    assert len(seen) == 1  # the names


def test_ids_and_numbers_of_a_plain_table_are_read_in_one_pass(tmp_path, monkeypatch):
    """Each pass finds where the cells begin, which takes longer than to read them."""
    long_table(tmp_path / "t.csv", 1000)
    table = read_table(str(tmp_path / "t.csv"))
    passes, pieces = [], TextTable._pieces

    def counted(self):
        passes.append(self)
        return pieces(self)

    monkeypatch.setattr(TextTable, "_pieces", counted)
    ids, numbers = table.ids_beside("image_id", ["x"])
    assert len(passes) == 1
    assert ids.tolist() == table.ids("image_id").tolist()
    assert numbers[:, 0].tolist() == table.numbers("x").tolist()
    write_table(tmp_path / "out.csv", table.with_columns({"y": numbers[:, 0]}))
    assert len(passes) == 4


@pytest.mark.parametrize("broken", ["1.5", "9007199254740993e3", "nonsense"])
def test_an_id_that_is_none_is_told_by_its_row(tmp_path, broken):
    long_table(tmp_path / "t.csv", 50)
    with open(tmp_path / "t.csv", "a") as file:
        file.write(f"{broken},1\n")
    with pytest.raises(InvalidInputError, match=r"image_id of .* in row 51\b"):
        read_table(str(tmp_path / "t.csv")).ids_beside("image_id", ["x"])


@pytest.mark.parametrize("quoted", [False, True])
def test_memory_is_that_of_a_piece_not_of_the_table(tmp_path, monkeypatch, quoted):
    """Whether pyarrow helps or not; texts of all rows would take a hundred times as much."""
    monkeypatch.setattr(texts, "_PIECE", 1 << 16)
    monkeypatch.setattr(texts, "_ROWS", 1 << 10)
    path, count = tmp_path / "t.csv", 100_000
    long_table(path, count)
    if quoted:
        path.write_text(path.read_text().replace("image_id", '"image_id"', 1))
    # once before it counts, as what is imported for it takes more
    write_table(tmp_path / "first.csv", read_table(str(path)))
    read_table(str(path)).numbers("x")
    before = pyarrow.total_allocated_bytes()
    tracemalloc.start()
    try:
        table = read_table(str(path))
        new = table.with_columns({"y": np.linspace(0, 1, count)})
        write_table(tmp_path / "out.csv", new)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4e6
    assert pyarrow.total_allocated_bytes() - before < 1e6
    assert (tmp_path / "out.csv").read_text().count("\n") == count + 1


def test_a_small_table_does_without_pyarrow(tmp_path, monkeypatch):
    """Whose import takes longer than all the rest of the command."""
    monkeypatch.undo()
    monkeypatch.setattr(TextTable, "_pieces", lambda self: pytest.fail("for pyarrow"))
    (tmp_path / "t.csv").write_text("a\n1\n")
    assert read_table(str(tmp_path / "t.csv")).numbers("a").tolist() == [1]


def test_a_table_replaces_itself(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n2\n")
    table = read_table(str(path))
    write_table(path, table.with_columns({"b": np.array([3, 4])}), force=True)
    assert path.read_text() == "a,b\n1,3\n2,4\n"


def test_one_kind_of_table_becomes_the_other(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,x y\n")
    table = read_table(str(tmp_path / "t.csv"))
    write_table(tmp_path / "t.tsv", table.with_columns({"c": np.array([0.5])}))
    assert (tmp_path / "t.tsv").read_text() == "a\tb\tc\n1\tx y\t0.5\n"
    write_table(tmp_path / "u.csv", Table({"b": table.columns["b"], "a": table.columns["a"]}))
    assert (tmp_path / "u.csv").read_text() == "b,a\nx y,1\n"
