"""Text tables that stay on disk: CSV and TSV of any length, read and written a piece at a time.

Every row goes through Python's ``csv``, unless pyarrow is there and the table is plain: without
quotes and without cells that ``csv`` or `atldld.support.text.cell_of` would write in another way.
Then rows are copied as they are, and numbers are read and written by pyarrow; what comes out is the
same to the last byte.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from atldld.errors import InvalidInputError
from atldld.support.files import nameless_file
from atldld.support.pipeline import in_order
from atldld.support.text import TableWriter, shown, text_in_cell

__all__ = ["TextColumn", "TextTable", "cells_of", "check_names"]

_PIECE = 1 << 19  # bytes of a plain table that are worked on at once
_ROWS = 1 << 14  # and rows of any other
_WORTH = 1 << 20  # bytes from which pyarrow saves more time than it takes to import
_TOLD = 40  # characters of a cell that holds something else than it must
_LONGEST = 1 << 16  # bytes of a line of a plain table; `csv` has a limit for a cell

# Between these, msgspec writes floats as Python does.
_SMALL, _LARGE = 1e-4, 1e16
_ODD, _SIGNED = 1, 2  # kinds of cells that may not be copied as they are

_NUMBER = r"^[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?$"


class TextTable:
    """A text table, of which columns are read when they are asked for.

    Parameters
    ----------
    file : binary file
        The table, which can be read from the beginning again and again.
    where : str
        Where it comes from, as the beginning of a sentence.
    separator : str
        What is between cells.

    Raises
    ------
    InvalidInputError
        If it is no such table, or a row has more or fewer cells than there are columns.
    """

    def __init__(self, file: IO[bytes], where: str, separator: str) -> None:
        self._file, self.where, self.separator = file, where, separator
        self._start = len(codecs.BOM_UTF8) if file.read(3) == codecs.BOM_UTF8 else 0
        weakref.finalize(self, file.close)
        self.names: list[str] = []
        self.count = 0
        self._even = False  # whether every line ends alike, and none is empty
        self._plain = self._is_plain()
        if not self._plain:
            self._check()

    @classmethod
    def of(cls, stream: Any, where: str, separator: str) -> TextTable:
        """Return the table that a stream holds, which can be read once."""
        kept = nameless_file()
        while piece := stream.read(_PIECE):
            kept.write(piece.encode() if isinstance(piece, str) else piece)
        kept.seek(0)
        return cls(kept, where, separator)

    @property
    def columns(self) -> dict[str, TextColumn]:
        """The columns by name."""
        return {name: TextColumn(self, place) for place, name in enumerate(self.names)}

    def is_read_from(self, path: Path) -> bool:
        """Whether a path leads to the file that the table is in."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(path))
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self._file.close()

    def rows(self) -> Iterator[list[list[str]]]:
        """Yield the rows, some at a time, as texts."""
        for rows in self._read():
            yield [[_text(cell) for cell in row] for row in rows]

    def texts(self, place: int) -> Iterator[list[str]]:
        """Yield the cells of a column, some at a time."""
        if self._plain:
            for piece in self._pieces():
                yield self._columns(piece, [place])[0].to_pylist()
        else:
            for rows in self._read():
                yield [_text(row[place]) for row in rows]

    def _read(self) -> Iterator[list[list[str]]]:
        """Yield the rows, some at a time, with cells as they stand in the file."""
        self._file.seek(self._start)
        with _left_open(self._file) as text:
            reader = csv.reader(text, delimiter=self.separator, strict=True)
            next(reader, None)
            cells = filter(None, reader)
            while rows := list(islice(cells, _ROWS)):
                yield rows

    def numbers(self, places: Sequence[int]) -> NDArray[np.float64]:
        """Return columns beside each other, shape (N, columns), NaN where a cell is empty.

        All are read at once: to find where cells begin takes longer than to read them.

        Raises
        ------
        InvalidInputError
            If a cell holds something else than a number.
        """
        out = np.empty((len(places), self.count)).T  # columns are used as a whole
        at = 0
        for columns in self._numbers(places):
            rows = slice(at, at + len(columns[0]))
            at = rows.stop
            for values, column in zip(columns, out.T, strict=True):
                column[rows] = values
        return out

    def arrow(self, place: int) -> Any:
        """Return a column as pyarrow's, of texts; null where a cell is empty or blank."""
        import pyarrow

        return pyarrow.chunked_array(
            [
                pyarrow.array(
                    [text if text and not text.isspace() else None for text in texts]
                ).cast(pyarrow.string())
                for texts in self.texts(place)
            ],
            pyarrow.string(),
        )

    def write(
        self,
        file: TextIO,
        new: Mapping[str, NDArray[Any]],
        separator: str,
        *,
        look: bool = False,
    ) -> None:
        """Write the table with columns added to its end.

        Parameters
        ----------
        file : text file
            Open for writing, as UTF-8 and with ``newline=""``.
        new : mapping of str to numpy.ndarray, shape (N,)
            Masked values and NaN become empty cells.
        separator : str
            What is put between cells.
        look : bool
            Whether somebody looks at it, before a terminal that would obey what stands in it.
        """
        writer = TableWriter(file, separator)
        writer.row([*self.names, *new])
        if self._plain and separator == self.separator and not look:
            self._copy(file, list(new.values()), separator)
            return
        at = 0
        for rows in self.rows():
            added = [cells_of(values[at : at + len(rows)]) for values in new.values()]
            at += len(rows)
            for row, *more in zip(rows, *added, strict=True):
                cells = [*row, *more]
                writer.row([shown(cell) for cell in cells] if look else cells)

    def _copy(self, file: TextIO, new: Sequence[NDArray[Any]], separator: str) -> None:
        """Copy the rows of a plain table, and put cells to their ends."""
        import pyarrow
        import pyarrow.compute as compute

        def pieces() -> Iterator[tuple[bytes, list[NDArray[Any]]]]:
            at = 0
            for piece in self._pieces():
                rows = slice(at, at + piece.count(b"\n"))
                at = rows.stop
                yield piece, [values[rows] for values in new]

        def with_cells(piece_and_new: tuple[bytes, list[NDArray[Any]]]) -> memoryview:
            piece, new = piece_and_new
            # a line with the break before it, as the one after it comes behind the new cells
            lines = np.frombuffer(b"\n" + piece[:-1], np.uint8)
            begins = np.flatnonzero(lines == ord("\n"))
            offsets = np.append(begins, len(lines)).astype(np.int32)
            buffers = [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(lines)]
            whole = pyarrow.Array.from_buffers(pyarrow.string(), len(begins), buffers)
            cells = [_written(values, separator) for values in new]
            joined = compute.binary_join_element_wise(whole, *cells, "")
            _, ends, data = joined.buffers()
            size = int(np.frombuffer(ends, np.int32)[len(joined) + joined.offset])
            return memoryview(data)[1:size]  # without the first break

        raw = _bytes_of(file)
        for text in in_order(pieces(), with_cells):
            if raw is None:
                file.write(str(text, "utf-8"))
                file.write("\n")
            else:
                raw.write(text)
                raw.write(b"\n")

    # ---- as they stand in the file

    def _pieces(self) -> Iterator[bytes]:
        """Yield whole lines without the names, none of them empty, that end with line feeds."""
        self._file.seek(self._start)
        self._file.readline()
        rest = b""
        while piece := self._file.read(_PIECE):
            end = piece.rfind(b"\n") + 1
            if end:
                yield from self._whole_lines(rest + piece[:end])
                rest = piece[end:]
            else:
                rest += piece
        yield from self._whole_lines(rest + b"\n")

    def _whole_lines(self, lines: bytes) -> Iterator[bytes]:
        if not self._even:
            lines = lines.replace(b"\r\n", b"\n")
            while b"\n\n" in lines:
                lines = lines.replace(b"\n\n", b"\n")
        lines = lines.removeprefix(b"\n")
        if lines:
            yield lines

    def _columns(self, piece: bytes, places: Sequence[int]) -> list[Any]:
        """Return the texts of columns in some lines, as pyarrow's."""
        import pyarrow
        from pyarrow import csv as reader

        wanted = [str(place) for place in places]
        table = reader.read_csv(
            pyarrow.BufferReader(piece),
            reader.ReadOptions(column_names=[str(number) for number in range(len(self.names))]),
            reader.ParseOptions(delimiter=self.separator, quote_char=False, double_quote=False),
            reader.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pyarrow.string()),
                strings_can_be_null=False,
            ),
        )
        return list(table.columns)

    def _numbers(self, places: Sequence[int]) -> Iterator[list[NDArray[np.float64]]]:
        before = 0
        if not self._plain:
            for rows in self._read():
                cells = [[_text(row[place]) for row in rows] for place in places]
                yield self._floats(cells, places, before)
                before += len(rows)
            return

        def read(piece: bytes) -> list[tuple[Any, NDArray[np.float64] | None]]:
            return [(cells, _parsed(cells)) for cells in self._columns(piece, places)]

        for columns in in_order(self._pieces(), read):
            if any(found is None for _, found in columns):
                yield self._floats([cells.to_pylist() for cells, _ in columns], places, before)
            else:
                yield [found for _, found in columns if found is not None]
            before += len(columns[0][0])

    def _floats(
        self, columns: Sequence[Sequence[str]], places: Sequence[int], before: int
    ) -> list[NDArray[np.float64]]:
        """Return the cells of columns as numbers, each of shape (N,); NaN where one is empty.

        Raises
        ------
        InvalidInputError
            If a cell holds something else; it is about the first row that has one.
        """
        out, wrong = [], []
        for place, texts in zip(places, columns, strict=True):
            numbers = np.full(len(texts), np.nan)
            for row, text in enumerate(texts):
                if not text or text.isspace():
                    continue
                try:
                    # Python's own notation, 1_000, is nobody's in a table
                    numbers[row] = float("_" if "_" in text else text)
                except ValueError:
                    wrong.append((row, place, text))
                    break
            out.append(numbers)
        if wrong:
            row, place, text = min(wrong, key=lambda one: one[0])
            told = repr(text) if len(text) <= _TOLD else f"{text[:_TOLD]!r}…"
            raise InvalidInputError(
                f"The column {self.names[place]} of {self.where} holds {told} in row "
                f"{before + row + 1}, which is not a number."
            )
        return out

    # ---- looking at it first

    def _is_plain(self) -> bool:
        """Whether rows may be copied as they are; if so, note the names and count the rows."""
        if self._file.seek(0, os.SEEK_END) < _WORTH:
            return False
        with suppress(ImportError):
            import pyarrow.csv  # noqa: F401

            self._file.seek(self._start)
            first = self._file.readline(_LONGEST).strip(b"\r\n")
            if not first or len(first) + 2 >= _LONGEST or b'"' in first or b"\r" in first:
                return False
            with suppress(UnicodeDecodeError):
                self._name(first.decode().split(self.separator))
                length = self._file.tell()
                columns = len(self.names)

                def look(piece: bytes) -> tuple[int, int | None]:
                    return len(piece), _count_plain(piece, self.separator, columns)

                for read, count in in_order(self._pieces(), look):
                    length += read
                    if count is None:
                        self.names, self.count = [], 0
                        return False
                    self.count += count
                # nothing was taken out, and a line feed was put behind the last line if it had none
                size = self._file.seek(-1, os.SEEK_END) + 1
                self._even = length == size + (self._file.read(1) != b"\n")
                return True
        self.names, self.count = [], 0
        return False

    def _check(self) -> None:
        """Read the whole table once, note the names and count the rows."""
        try:
            self._file.seek(self._start)
            with _left_open(self._file) as text:
                self._name(next(csv.reader(text, delimiter=self.separator, strict=True), []))
            for rows in self._read():
                for cells in rows:
                    self.count += 1
                    if len(cells) != len(self.names):
                        raise InvalidInputError(
                            f"Row {self.count} of {self.where} has {len(cells)} cells, but there "
                            f"are {len(self.names)} columns."
                        )
        except UnicodeDecodeError:
            raise InvalidInputError(
                f"{self.where} is no CSV table in UTF-8: byte {self._first_wrong_byte()} is none "
                "of a text.",
                hint="Save it as CSV in UTF-8.",
            ) from None
        except csv.Error as error:
            raise InvalidInputError(f"{self.where} is no CSV table: {error}.") from None

    def _name(self, cells: Sequence[str]) -> None:
        self.names = [text_in_cell(name.strip()) for name in cells]
        if not self.names:
            raise InvalidInputError(f"{self.where} is empty; its first line must name the columns.")
        check_names(self.names, self.where)

    def _first_wrong_byte(self) -> int:
        self._file.seek(self._start)
        decoder = codecs.getincrementaldecoder("utf-8")()
        before = 0
        while piece := self._file.read(_PIECE):
            kept = len(decoder.getstate()[0])
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                return before - kept + error.start
            before += len(piece)
        return before - len(decoder.getstate()[0])


@dataclass(frozen=True, eq=False)
class TextColumn:
    """One column of a text table.

    Attributes
    ----------
    table : TextTable
        The table.
    place : int
        Its number.
    """

    table: TextTable
    place: int

    def __len__(self) -> int:
        return self.table.count

    def __iter__(self) -> Iterator[str]:
        for texts in self.table.texts(self.place):
            yield from texts


def _bytes_of(file: TextIO) -> BinaryIO | None:
    """Return where the bytes of UTF-8 go that a file is written in, if it is and line feeds stay.

    A text of hundreds of megabytes need not be decoded and encoded again.
    """
    if not isinstance(file, io.TextIOWrapper) or codecs.lookup(file.encoding).name != "utf-8":
        return None
    if os.linesep != "\n":
        return None
    file.flush()
    raw: BinaryIO = file.buffer
    return raw


def check_names(names: Sequence[str], where: str) -> None:
    """Check that no two columns have one name.

    Raises
    ------
    InvalidInputError
        If two have.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidInputError(f"{where} has several columns named {twice[0]!r}.")


def cells_of(values: NDArray[Any], digits: int | None = None) -> Iterator[object]:
    """Yield an array as cells: nothing where it is masked or NaN.

    Parameters
    ----------
    values : numpy.ndarray, shape (N,)
        Numbers or texts.
    digits : int, optional
        Significant digits of floats; by default as many as are needed to read the same number.
    """
    for start in range(0, len(values), _ROWS):
        # masked values come as None
        for value in values[start : start + _ROWS].tolist():
            if isinstance(value, float):
                text = repr(value) if digits is None else f"{value:.{digits}g}"
                yield "" if value != value else text
            else:
                yield "" if value is None else value


def _text(cell: str) -> str:
    return text_in_cell(cell) if cell[:1] == "'" else cell


class _left_open(io.TextIOWrapper):  # noqa: N801 - as `open`
    """Reads a file as text, and leaves it open."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8", newline="")

    def close(self) -> None:
        """Let go of the file."""
        with suppress(ValueError):  # it has let go already
            self.detach()


def _count_plain(piece: bytes, separator: str, columns: int) -> int | None:
    """Return how many rows some lines are; None if one of them cannot be copied as it is."""
    if any(mark in piece for mark in (b'"', b"\r", b"\0")):
        return None
    if not piece.isascii():
        piece.decode()  # complains
    data = np.frombuffer(piece, np.uint8)
    stops = np.flatnonzero((data == ord(separator)) | (data == ord("\n")))
    rows, rest = divmod(len(stops), columns)
    if rest:
        return None
    # as many breaks as rows, and each of them behind a row's last cell
    ends = stops[columns - 1 :: columns]
    if piece.count(b"\n") != rows or (data[ends] != ord("\n")).any():
        return None
    if np.diff(ends, prepend=-1).max() > _LONGEST:
        return None
    begins = np.append(0, stops[:-1] + 1)
    kinds = _kinds(separator).take(data.take(begins))
    if (kinds == _ODD).any():
        return None
    signed = np.flatnonzero(kinds == _SIGNED)
    if len(signed) and not _are_numbers(data, begins[signed], stops[signed]):
        return None
    return rows


@lru_cache
def _kinds(separator: str) -> NDArray[np.uint8]:
    """Return what each byte means that a cell of a plain table begins with, shape (256,)."""
    kinds = np.zeros(256, np.uint8)
    # what may begin a formula, or may have been kept from being one
    kinds[list(b"=@'\t \x0b\x0c\xef")] = _ODD
    kinds[list(b"+-")] = _SIGNED
    kinds[ord(separator)] = 0  # of an empty cell
    return kinds


def _are_numbers(data: NDArray[np.uint8], begins: NDArray[Any], ends: NDArray[Any]) -> bool:
    """Whether cells that begin with a sign are all numbers."""
    import pyarrow
    import pyarrow.compute as compute

    lengths = ends - begins
    offsets = np.append(0, np.cumsum(lengths))
    at = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], lengths)
    buffers = [pyarrow.py_buffer(offsets.astype(np.int32)), pyarrow.py_buffer(data[at])]
    cells = pyarrow.Array.from_buffers(pyarrow.string(), len(begins), [None, *buffers])
    return bool(compute.all(compute.match_substring_regex(cells, _NUMBER)).as_py())


def _parsed(cells: Any) -> NDArray[np.float64] | None:
    """Return texts as numbers, NaN where they are empty; None if Python must read them."""
    import pyarrow
    import pyarrow.compute as compute

    empty = compute.equal(cells, "")
    cells = compute.if_else(empty, None, cells)
    try:
        numbers = cells.cast(pyarrow.float64())
    except pyarrow.ArrowInvalid:
        return None
    out: NDArray[np.float64] = numbers.to_numpy()
    # it takes nan(1) for a number
    if np.count_nonzero(np.isnan(out)) > cells.null_count:
        return None
    return out


def _written(values: NDArray[Any], separator: str) -> Any:
    """Return an array as pyarrow's texts: cells with the separator before them.

    They are empty where it is masked or NaN.
    """
    import pyarrow
    import pyarrow.compute as compute

    data = np.ma.getdata(values)
    if data.dtype.kind == "U":
        different, which = np.unique(data, return_inverse=True)
        cells = np.array([separator + _cell(text, separator) for text in different], dtype=object)
        cells = cells[which]
        cells[np.ma.getmaskarray(values)] = separator
        return pyarrow.array(cells, pyarrow.string())
    if data.dtype.kind != "f":
        return _in_list(values if np.ma.is_masked(values) else data, separator)
    numbers = np.ma.filled(values, np.nan)
    texts = _in_list(numbers, separator)
    size = np.abs(numbers)
    # of what is not a number neither is true
    other = ((size < _SMALL) & (size > 0)) | (size >= _LARGE)
    if other.any():
        spelled = [f"{separator}{value!r}" for value in numbers[other].tolist()]
        texts = compute.replace_with_mask(texts, pyarrow.array(other), pyarrow.array(spelled))
    return texts


def _in_list(values: NDArray[Any], separator: str) -> Any:
    """Return numbers as a JSON list has them, as pyarrow's texts with a separator before each."""
    import pyarrow

    if not len(values):
        return pyarrow.array([], pyarrow.string())
    # masked values and NaN are null there
    text = msgspec.json.encode(values.tolist()).replace(b"null", b"")
    marks = np.frombuffer(b"," + text[1:-1], np.uint8)
    begins = np.flatnonzero(marks == ord(","))
    if separator != ",":
        marks = np.where(marks == ord(","), np.uint8(ord(separator)), marks)
    offsets = np.append(begins, len(marks)).astype(np.int32)
    buffers = [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(marks)]
    return pyarrow.Array.from_buffers(pyarrow.string(), len(begins), buffers)


def _cell(text: str, separator: str) -> str:
    """Return a text as it stands between two separators."""
    line = io.StringIO(newline="")
    TableWriter(line, separator).row([text, ""])
    return line.getvalue().removesuffix(f"{separator}\n")
