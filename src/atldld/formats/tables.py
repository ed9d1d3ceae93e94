"""Tables in files: CSV, TSV and Parquet, read and written in one way.

CSV and TSV hold texts, in UTF-8, of which none is a formula to a spreadsheet (see
`atldld.support.text.cell_of`); an empty cell is nothing. Parquet holds types and needs pyarrow. The
name ``-`` is standard input or output, as CSV.

A text table of any length takes little memory: it stays in its file, and is read from there a
piece at a time (`atldld.formats.texts`). pyarrow's own writer quotes every text and spells numbers
its own way, and its reader guesses types, so that a column of codes such as ``007`` would not come
back as it was.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from atldld.errors import AtldldError, InvalidInputError
from atldld.formats.common import as_json, need
from atldld.formats.texts import TextColumn, TextTable, cells_of, check_names
from atldld.support.files import check_targets, sidecar_of, whole_files
from atldld.support.text import TableWriter, shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "STANDARD",
    "Table",
    "check_target",
    "data_frame",
    "read_table",
    "write_table",
]

STANDARD = "-"
"""The name of standard input and output."""

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_BLOCK = 1 << 18  # ids that are looked at together


@dataclass(frozen=True, eq=False)
class Table:
    """Columns by name.

    Attributes
    ----------
    columns : mapping of str to list, TextColumn, numpy.ndarray or pyarrow.ChunkedArray
        All of N rows. Out of CSV come texts, out of Parquet pyarrow's arrays. What is
        written may be NumPy's arrays, too: masked values and NaN become empty cells, and in Parquet
        masked values become null.
    where : str
        Where it comes from, as the beginning of a sentence.
    metadata : mapping, optional
        Of a Parquet file's schema: pandas keeps there which column is the index.
    """

    columns: Mapping[str, Any]
    where: str = "The table"
    metadata: Mapping[Any, Any] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return list(self.columns)

    def columns_named(self, names: Sequence[str], expected: str | None = None) -> Sequence[str]:
        """Return these names, if there are such columns.

        Parameters
        ----------
        names : sequence of str
            The names.
        expected : str, optional
            What the columns must be, in words; by default their names.

        Raises
        ------
        InvalidInputError
            If a column is missing.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise InvalidInputError(
                f"{self.where} has no column {', '.join(missing)}; expected are the columns "
                f"{expected or ', '.join(names)}. It has: {', '.join(self.names)}."
            )
        return names

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column that was read as float64, shape (N,), NaN where a cell is empty.

        Raises
        ------
        InvalidInputError
            If a cell holds something else than a number.
        """
        return self.beside([name])[:, 0]

    def beside(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return columns of numbers beside each other, shape (N, columns), as `numbers` does.

        Raises
        ------
        InvalidInputError
            If a cell holds something else than a number.
        """
        columns = [self.columns[name] for name in names]
        text = [column for column in columns if isinstance(column, TextColumn)]
        if len({id(column.table) for column in text}) == 1 and len(text) == len(columns):
            return text[0].table.numbers([column.place for column in text])
        out = np.empty((len(names), len(self))).T  # columns come, are used and go as a whole
        for name, values, column in zip(names, columns, out.T, strict=True):
            at = 0
            for some in self._floats(name, values):
                column[at : at + len(some)] = some
                at += len(some)
        return out

    def _floats(self, name: str, values: Any) -> Iterator[NDArray[np.float64]]:
        """Yield a column as float64, some at a time, without a copy of it where it has none."""
        if isinstance(values, TextColumn):
            yield values.table.numbers([values.place])[:, 0]
            return
        pyarrow = _pyarrow()
        try:
            found = values.cast(pyarrow.float64())
        except (pyarrow.ArrowException, ValueError, OverflowError):
            raise InvalidInputError(
                f"The column {name} of {self.where} holds {values.type}, which cannot be read "
                "as numbers."
            ) from None
        for some in found.chunks:
            yield some.to_numpy(zero_copy_only=False)

    def ids(self, name: str) -> NDArray[np.int64]:
        """Return a column of ids that was read, shape (N,), -1 where a cell is empty.

        It may be the table's own, which is not to be changed.

        Raises
        ------
        InvalidInputError
            If a cell holds something else than a whole number below 2⁵³.
        """
        whole = self._whole(name)
        return self._as_ids(name, self.numbers(name)) if whole is None else whole

    def ids_beside(
        self, name: str, names: Sequence[str]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what `ids` and `beside` do, (N,) and (N, columns); text is read once for both.

        Raises
        ------
        InvalidInputError
            As they do.
        """
        if not isinstance(self.columns[name], TextColumn):
            return self.ids(name), self.beside(names)
        together = self.beside([name, *names])
        return self._as_ids(name, together[:, 0]), together[:, 1:]

    def _as_ids(self, name: str, numbers: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return numbers, shape (N,), as ids, shape (N,), in the memory that they are in."""
        out = numbers.view(np.int64)
        for start in range(0, len(numbers), _BLOCK):
            block = numbers[start : start + _BLOCK]
            empty = np.isnan(block)
            wrong = ~empty & ((block != np.floor(block)) | (np.abs(block) > 2**53))
            if wrong.any():
                row = start + int(np.flatnonzero(wrong)[0])
                raise InvalidInputError(
                    f"The column {name} of {self.where} holds {numbers[row]!r} in row {row + 1}, "
                    "which is not the id of anything."
                )
            out[start : start + _BLOCK] = np.where(empty, -1, block)
        return out

    def _whole(self, name: str) -> NDArray[np.int64] | None:
        """Return a column of whole numbers as it is; `None` if it is no such column.

        Through float64 it would take several times as long.
        """
        values = self.columns[name]
        if isinstance(values, TextColumn):
            return None
        pyarrow = _pyarrow()
        if not pyarrow.types.is_integer(values.type):
            return None
        try:
            whole = values.cast(pyarrow.int64())
        except pyarrow.ArrowException:  # beyond 64 bits
            return None
        if whole.null_count:  # to look for what is not there takes as long as to read the file
            whole = whole.fill_null(-1)
        out: NDArray[np.int64] = whole.to_numpy()
        known = len(out) == 0 or -(2**53) <= out.min() <= out.max() <= 2**53
        return out if known else None

    def with_columns(self, new: Mapping[str, Any]) -> Table:
        """Return the table with columns added to its end.

        Raises
        ------
        InvalidInputError
            If it has a column of that name.
        """
        taken = [name for name in new if name in self.columns]
        if taken:
            raise InvalidInputError(
                f"{self.where} has a column {taken[0]} already, which the answer needs.",
                hint="Rename it.",
            )
        return Table({**self.columns, **new}, self.where, self.metadata)


def data_frame(columns: Mapping[str, Any], categories: Iterable[str] = ()) -> pd.DataFrame:
    """Return columns as a `pandas.DataFrame`.

    Parameters
    ----------
    columns : mapping of str to array, shape (N,)
        The columns.
    categories : iterable of str
        Columns of few different texts: each of these is held once.

    Raises
    ------
    AtldldError
        If pandas is not installed.
    """
    pandas = need("pandas", "tables", "Data frames")
    chosen = set(categories)
    frame: pd.DataFrame = pandas.DataFrame(
        {name: pandas.Categorical(c) if name in chosen else c for name, c in columns.items()}
    )
    return frame


# ---- reading


def read_table(name: str) -> Table:
    """Read a table.

    Parameters
    ----------
    name : str
        A ``.csv``, ``.tsv`` or ``.parquet`` file; ``-`` reads CSV from standard input.

    Raises
    ------
    InvalidInputError
        If the ending is another one, the file cannot be read or is no such table, a row has more or
        fewer cells than there are columns, or two columns have one name.
    AtldldError
        If pyarrow is needed and not installed.
    """
    separator = _separator(name)
    if separator is None:
        return _read_parquet(name)
    where = "Standard input" if name == STANDARD else name
    try:
        if name == STANDARD:
            # UTF-8 also where the terminal writes something else
            table = TextTable.of(getattr(sys.stdin, "buffer", sys.stdin), where, separator)
        else:
            file: IO[bytes] = open(name, "rb")  # noqa: SIM115 - read again as columns are asked for
            # what is no file, such as a pipe, can be read once
            kept = file.seekable()
            table = (TextTable if kept else TextTable.of)(file, where, separator)
    except OSError as error:
        raise InvalidInputError(f"{where} cannot be read: {error.strerror or error}.") from None
    return Table(table.columns, where)


def _read_parquet(name: str) -> Table:
    pyarrow = _pyarrow()
    try:
        # not by its name, which pyarrow takes for an address, or for a folder of files
        with open(name, "rb") as file:
            table = pyarrow.parquet.ParquetFile(file).read()
        check_names(table.column_names, name)
        columns = dict(zip(table.column_names, table.columns, strict=True))
    except FileNotFoundError as error:
        raise InvalidInputError(f"{name} cannot be read: {error.strerror}.") from None
    except InvalidInputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"{name} is no Parquet file: {error}.") from None
    return Table(columns, name, table.schema.metadata)


# ---- writing


def check_target(name: str, *, force: bool = False) -> None:
    """Say what speaks against writing a table, before any work is done.

    Parameters
    ----------
    name, force :
        As for `write_table`.

    Raises
    ------
    InvalidInputError
        If the ending is none of a table, or the folder is not there.
    AtldldError
        If pyarrow is needed and not installed.
    OutputError
        If the file is there already and may not be replaced, or cannot be written.
    """
    _separator(name)
    if name != STANDARD:
        if not Path(name).parent.is_dir():
            raise InvalidInputError(f"There is no folder {Path(name).parent} to write into.")
        check_targets([name], force=force)


def write_table(
    name: str | Path,
    table: Table,
    *,
    force: bool = False,
    about: Mapping[str, Any] | None = None,
    digits: int | None = None,
) -> list[Path]:
    """Write a table, whole or not at all.

    Parameters
    ----------
    name : str or pathlib.Path
        A ``.csv``, ``.tsv`` or ``.parquet`` file; ``-`` writes CSV to standard output.
    table : Table
        What is written. Texts of CSV become numbers in Parquet where all of a column are.
    force : bool
        Replace files that are there.
    about : mapping, optional
        What the columns are, and where they come from: as JSON in a file beside a text table, or
        under the key ``atldld`` of Parquet's schema.
    digits : int, optional
        Significant digits of the numbers in NumPy's arrays, in text; by default as many as are
        needed to read the very same number.

    Returns
    -------
    list of pathlib.Path
        The files that were written.

    Raises
    ------
    InvalidInputError
        If the ending is none of a table, or a column of Parquet cannot be written as text.
    AtldldError
        If pyarrow is needed and not installed.
    OutputError
        If a file cannot be written, or is there already and may not be replaced.
    """
    separator = _separator(str(name))
    if name == STANDARD:
        # a file keeps the cells of others; a terminal would obey what stands in them
        _write_texts(sys.stdout, table, ",", digits, look=sys.stdout.isatty())
        sys.stdout.flush()
        return []
    path = Path(name)
    files = [path] if about is None or separator is None else [path, sidecar_of(path)]
    with whole_files(files, force=force) as (temporary, *beside):
        if separator is None:
            _write_parquet(temporary, table, about)
        else:
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                _write_texts(file, table, separator, digits)
            for column in table.columns.values():
                # Windows replaces no file that is open
                if isinstance(column, TextColumn) and column.table.is_read_from(path):
                    column.table.close()
        for sidecar in beside:
            sidecar.write_text(as_json(about or {}, indent=1) + "\n", "utf-8")
    return files


def _write_texts(
    file: TextIO, table: Table, separator: str, digits: int | None, *, look: bool = False
) -> None:
    source = _source(table)
    if source is not None and digits is None:
        new = {name: table.columns[name] for name in table.names[len(source.names) :]}
        source.write(file, new, separator, look=look)
        return
    writer = TableWriter(file, separator)
    writer.row(table.names)
    columns = [_cells(table, name, digits) for name in table.columns]
    rows = zip(*columns, strict=True)
    writer.rows([shown(cell) for cell in row] if look else row for row in rows)


def _source(table: Table) -> TextTable | None:
    """Return the text table that a table was read from, if arrays are all that it has besides."""
    columns = list(table.columns.values())
    first = columns[0] if columns else None
    if not isinstance(first, TextColumn):
        return None
    read = columns[: len(first.table.names)]
    added = columns[len(read) :]
    if any(getattr(one, "table", None) is not first.table for one in read):
        return None
    if [one.place for one in read] != list(range(len(read))):
        return None
    return first.table if all(isinstance(one, np.ndarray) for one in added) else None


def _cells(table: Table, name: str, digits: int | None) -> Iterable[object]:
    """Return a column as cells of a text table.

    Raises
    ------
    InvalidInputError
        If Python has no such values, such as dates of the year 20,000.
    """
    values = table.columns[name]
    if isinstance(values, list | TextColumn):
        return list(values)
    if isinstance(values, np.ndarray):
        return cells_of(values, digits)
    try:
        return ["" if value is None else _text(value) for value in values.to_pylist()]
    except (ValueError, OverflowError, _pyarrow().ArrowException):
        raise InvalidInputError(
            f"The column {name} of {table.where} holds {values.type} that cannot be written as "
            "CSV.",
            hint="Write a .parquet file.",
        ) from None


def _text(value: object) -> str:
    # repr writes as many digits as are needed to read the very same number
    return repr(value) if isinstance(value, float) else str(value)


def _write_parquet(path: Path, table: Table, about: Mapping[str, Any] | None) -> None:
    pyarrow = _pyarrow()
    whole = pyarrow.table({name: _arrow(pyarrow, c) for name, c in table.columns.items()})
    metadata = table.metadata if about is None else {"atldld": as_json(about)}
    if metadata:
        whole = whole.replace_schema_metadata(metadata)
    # coordinates hardly ever repeat: to look for those that do would take as long as the writing
    repeating = [field.name for field in whole.schema if not pyarrow.types.is_floating(field.type)]
    pyarrow.parquet.write_table(whole, path, use_dictionary=repeating)


def _arrow(pyarrow: Any, values: Any) -> Any:
    """Return a column as pyarrow's; texts as whole numbers if all are, else numbers, else texts."""
    if isinstance(values, np.ma.MaskedArray):
        return pyarrow.array(values.data, mask=np.ma.getmaskarray(values))
    if isinstance(values, TextColumn):
        array = values.table.arrow(values.place)
    elif not isinstance(values, list):
        return values
    else:
        array = pyarrow.array([text if text and not text.isspace() else None for text in values])
    for kind in (pyarrow.int64(), pyarrow.float64()):
        try:
            return array.cast(kind)
        except pyarrow.ArrowInvalid:
            continue
    return array.cast(pyarrow.string())


# ---- by its name


def _separator(name: str) -> str | None:
    """Return what is between the cells of a table, by its name; `None` for Parquet.

    Raises
    ------
    InvalidInputError
        If the ending is none of a table.
    AtldldError
        If pyarrow is needed and not installed.
    """
    suffix = ".csv" if name == STANDARD else Path(name).suffix.lower()
    if suffix == ".parquet":
        _pyarrow()
        return None
    if suffix not in _SEPARATORS:
        raise InvalidInputError(
            f"{name!r} is neither a .csv nor a .parquet file, nor - for standard input and output."
        )
    return _SEPARATORS[suffix]


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise AtldldError(
            "Parquet files need pyarrow, which is not installed.",
            hint="Install it with `pip install 'atldld[tables]'`, or use CSV.",
        ) from None
    return pyarrow
