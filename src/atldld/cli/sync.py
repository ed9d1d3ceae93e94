"""`atldld sync`: points between images and the brain, in tables."""

import csv
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from atldld.cli.options import Force, asks_service, say
from atldld.errors import AtldldError, InvalidInputError, NotFoundError
from atldld.support.files import check_targets, whole_file
from atldld.support.text import TableWriter, shown, text_in_cell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from atldld.fetch.session import Session
    from atldld.place import ImagePoints
    from atldld.records import SectionDataSet

app = typer.Typer(
    help="Take points between images and the brain. Tables are CSV or Parquet, and keep their "
    "other columns; rows without an answer keep empty cells.",
    no_args_is_help=True,
)

Input = Annotated[
    str, typer.Argument(metavar="POINTS", help="A .csv or .parquet file; - reads CSV from stdin.")
]
Output = Annotated[
    str,
    typer.Option("-o", "--output", metavar="FILE", help="A .csv or .parquet file; - is stdout."),
]
Target = Annotated[
    str, typer.Option("-d", "--dataset", metavar="ID", help="The section data set to find them in.")
]
MaxDistance = Annotated[
    float | None,
    typer.Option(
        min=0, metavar="UM", help="Leave out what lies further than so many µm from a section."
    ),
]
Unit = Annotated[
    Literal["um", "mm"] | None,
    typer.Option(help="The unit of the columns p, i, r, where their names do not say it."),
]

_TOLD = 40  # characters of a cell that holds something else than it must

REFERENCE = ("p", "i", "r")
FACTORS = {"um": 1.0, "mm": 1000.0}
SPACE = "reference_space_id"
DATA_SET = ("data_set_id", "dataset_id")
UNPLACED = "of images without an alignment"


@app.command("image-to-reference")
@asks_service
def image_to_reference(
    session: "Session",
    points: Input,
    output: Output = "-",
    dataset_id: Annotated[
        str | None,
        typer.Option("-d", "--dataset", metavar="ID", help="The data set of all the images."),
    ] = None,
    force: Force = False,
) -> None:
    """Map pixels to the brain: columns image_id, x, y to p_um, i_um, r_um.

    x and y are full-resolution pixels of the section's own box, from its upper left corner.
    """
    import numpy as np

    out = _checked(output, force)
    table, rows = _read(points), _Rows()
    ids, xy = _pixels(table)
    pir = np.full((len(table), 3), np.nan)
    spaces = np.full(len(table), -1)
    for dataset, chosen in _by_dataset(session, table, ids, xy, dataset_id, rows):
        from atldld.place import image_to_reference as find

        found = find(dataset, ids[chosen], xy[chosen])
        pir[chosen] = found.pir
        spaces[chosen] = -1 if found.space is None else found.space
    new = {f"{axis}_um": pir[:, k] for k, axis in enumerate(REFERENCE)}
    _write(out, table, {**new, SPACE: spaces})
    rows.tell(np.isnan(pir[:, 0]))


@app.command("reference-to-image")
@asks_service
def reference_to_image(
    session: "Session",
    points: Input,
    dataset_id: Target,
    output: Output = "-",
    unit: Unit = None,
    space: Annotated[
        int | None,
        typer.Option(
            help="Reference space of the points, 9 or 10; by default what the column "
            "reference_space_id says of each row, or the data set's own."
        ),
    ] = None,
    max_distance: MaxDistance = None,
    force: Force = False,
) -> None:
    """Find points of the brain on the nearest sections: columns p_um, i_um, r_um to image_id, x, y.

    distance_um is the signed distance from the section. A column reference_space_id says of each
    row in which space it is.
    """
    import numpy as np

    from atldld.place import reference_to_image as find

    out = _checked(output, force)
    table, rows = _read(points), _Rows()
    pir = _reference(table, unit)
    spaces = _spaces(table, space)
    usable = np.isfinite(pir.sum(axis=1))
    rows.note("without numbers", ~usable)
    dataset = session.dataset(dataset_id)
    whole = _no_points(len(table))
    # also without any row: what makes no sense is said all the same
    for number in np.unique(spaces[usable]).tolist() or [-1 if space is None else space]:
        chosen = usable & (spaces == number)
        found = find(
            dataset, pir[chosen], space=None if number == -1 else number, max_distance=max_distance
        )
        _put(whole, chosen, found)
    rows.answer(out, table, np.ones(len(table), dtype=bool), whole)


@app.command("image-to-image")
@asks_service
def image_to_image(
    session: "Session",
    points: Input,
    dataset_id: Target,
    output: Output = "-",
    max_distance: MaxDistance = None,
    force: Force = False,
) -> None:
    """Find pixels in another data set: columns image_id, x, y to target_image_id, target_x, …."""
    from atldld.place import image_to_image as find

    out = _checked(output, force)
    target = session.dataset(dataset_id)
    _find_pixels(
        session,
        points,
        out,
        lambda source, ids, xy: find(source, ids, xy, target, max_distance=max_distance),
    )


@app.command("image-to-image-2d")
@asks_service
def image_to_image_2d(
    session: "Session",
    points: Input,
    image_id: Annotated[
        str, typer.Option("-i", "--image", metavar="ID", help="The section image to find them in.")
    ],
    output: Output = "-",
    force: Force = False,
) -> None:
    """Find pixels in another image of the same specimen, ignoring the third dimension."""
    import numpy as np

    from atldld.fetch.session import check_id
    from atldld.place import image_to_image_2d as find

    out = _checked(output, force)
    number = check_id(image_id, "section image")
    target = session.dataset(_dataset_of(session, number, None))

    def find_each(
        source: "SectionDataSet", ids: "NDArray[np.int64]", xy: "NDArray[np.float64]"
    ) -> "ImagePoints":
        whole = _no_points(len(ids))
        for one in np.unique(ids).tolist():
            _put(whole, ids == one, find(source, one, xy[ids == one], target, number))
        return whole

    _find_pixels(session, points, out, find_each)


@app.command("image-to-atlas")
@asks_service
def image_to_atlas(
    session: "Session",
    points: Input,
    output: Output = "-",
    atlas_dataset: Annotated[
        str,
        typer.Option(
            "--atlas-dataset",
            metavar="ID",
            help="The data set of the atlas's plates; by default that of the adult coronal atlas.",
        ),
    ] = "100048576",
    max_distance: MaxDistance = None,
    force: Force = False,
) -> None:
    """Find pixels on the annotated plates of an atlas: columns image_id, x, y to target_….

    The plates are AtlasImages; the nearest one is taken.
    """
    from atldld.fetch.session import check_id
    from atldld.place import image_to_atlas as find
    from atldld.records import SectionDataSet

    out = _checked(output, force)
    number = check_id(atlas_dataset, "data set of an atlas")
    atlases = session.query("AtlasDataSet", {"id": number}, ("alignment3d",))
    if not atlases:
        raise NotFoundError(f"There is no atlas of data set {number}.", dataset_id=number)
    plates = session.query(
        "AtlasImage",
        {"annotated": True, "data_set_id": number},
        ("alignment2d",),
        order="sub_images.id",
    )
    atlas = SectionDataSet.from_records(atlases[0], plates)
    _find_pixels(
        session,
        points,
        out,
        lambda source, ids, xy: find(source, ids, xy, atlas, max_distance=max_distance),
    )


@app.command("structure-to-image")
@asks_service
def structure_to_image(
    session: "Session",
    points: Input,
    dataset_id: Target,
    output: Output = "-",
    max_distance: MaxDistance = None,
    force: Force = False,
) -> None:
    """Find the centres of structures: the column structure_id to image_id, x, y."""
    from atldld.place import StructureCenter
    from atldld.place import structure_to_image as find

    out = _checked(output, force)
    table, rows = _read(points), _Rows()
    (column,) = table.columns_named(["structure_id"])
    ids = table.ids(column)
    dataset = session.dataset(dataset_id)
    _spaces(table, dataset.reference_space_id, "structure centres are those of the data set's own")
    # One question, whichever structures are asked for, so that the cache can answer the next.
    records = session.query(
        "StructureCenter",
        {"reference_space_id": dataset.reference_space_id},
        order="structure_centers.id",
    )
    centers = [StructureCenter.from_record(record) for record in records]
    usable = ids > 0
    rows.note("without a structure_id", ~usable)
    found = find(dataset, ids[usable].tolist(), centers, max_distance=max_distance)
    rows.answer(out, table, usable, found, "without a centre near a section")


# ---- what stands in the columns


def _pixels(table: "_Table") -> "tuple[NDArray[np.int64], NDArray[np.float64]]":
    import numpy as np

    names = ["x_px", "y_px"] if "x_px" in table.names and "x" not in table.names else ["x", "y"]
    image, *pixel = table.columns_named(
        ["image_id", *names], "image_id, x and y (full-resolution pixels of the section's box)"
    )
    for name in pixel:
        same = f"{name}_px"
        if same in table.names and not np.array_equal(
            table.numbers(name), table.numbers(same), equal_nan=True
        ):
            raise InvalidInputError(
                f"The columns {name} and {same} of {table.where} differ; it is not clear which "
                "are the pixels.",
                hint="Keep one of them.",
            )
    return table.ids(image), np.column_stack([table.numbers(name) for name in pixel])


def _spaces(table: "_Table", space: int | None, why: str = "--space says") -> "NDArray[np.int64]":
    """Return the reference space of each row, -1 where neither column nor option tells.

    Raises
    ------
    InvalidInputError
        If a row is of another space than the one that is given.
    """
    import numpy as np

    otherwise = -1 if space is None else space
    if SPACE not in table.names:
        return np.full(len(table), otherwise, dtype=np.int64)
    told = table.ids(SPACE)
    against = (told != -1) & (told != space)
    if space is not None and against.any():
        row = int(np.flatnonzero(against)[0])
        raise InvalidInputError(
            f"The column {SPACE} of {table.where} is {told[row]} in row {row + 1}, but {why} "
            f"{space}.",
            hint="Leave --space out, and each row's own space counts; or leave the column out."
            if why.startswith("--")
            else f"Leave the column {SPACE} out.",
        )
    return np.where(told == -1, otherwise, told)


def _reference(table: "_Table", unit: str | None) -> "NDArray[np.float64]":
    """Return (p, i, r) in µm, shape (N, 3), by the columns' names and the option."""
    import numpy as np

    expected = "p_um, i_um and r_um (or p_mm, i_mm and r_mm)"
    named = [one for one in FACTORS if any(f"{axis}_{one}" in table.names for axis in REFERENCE)]
    if len(named) > 1:
        raise InvalidInputError(
            "There are columns in µm and in mm; it is not clear which are meant.",
            hint=f"Keep either of {expected}.",
        )
    if named:
        if unit not in {None, named[0]}:
            raise InvalidInputError(
                f"The columns are named for {named[0]}, but --unit says {unit}.",
                hint="Leave --unit out.",
            )
        columns = table.columns_named([f"{axis}_{named[0]}" for axis in REFERENCE], expected)
        factor = FACTORS[named[0]]
    elif unit is None:
        if all(axis in table.names for axis in REFERENCE):
            raise InvalidInputError(
                f"The columns p, i, r have no unit: name them {expected}, or give --unit um or "
                "--unit mm."
            )
        columns, factor = table.columns_named([f"{axis}_um" for axis in REFERENCE], expected), 1.0
    else:
        columns = table.columns_named(list(REFERENCE), f"p, i and r, or {expected}")
        factor = FACTORS[unit]
    return np.column_stack([table.numbers(name) for name in columns]) * factor


def _find_pixels(
    session: "Session",
    points: str,
    out: "_Target",
    find: "Callable[[SectionDataSet, NDArray[np.int64], NDArray[np.float64]], ImagePoints]",
) -> None:
    """Find the pixels of a table, one data set after another, and write where they are."""
    import numpy as np

    table, rows = _read(points), _Rows()
    ids, xy = _pixels(table)
    whole = _no_points(len(table))
    for dataset, chosen in _by_dataset(session, table, ids, xy, None, rows):
        _put(whole, chosen, find(dataset, ids[chosen], xy[chosen]))
    rows.answer(out, table, np.ones(len(table), dtype=bool), whole)


def _no_points(count: int) -> "ImagePoints":
    import numpy as np

    from atldld.place import ImagePoints

    return ImagePoints(
        np.full(count, -1), np.full(count, -1), np.full((count, 2), np.nan), np.full(count, np.nan)
    )


def _put(whole: "ImagePoints", chosen: "NDArray[np.bool_]", found: "ImagePoints") -> None:
    for name in ("image_ids", "section_numbers", "xy", "distance"):
        getattr(whole, name)[chosen] = getattr(found, name)


def _by_dataset(
    session: "Session",
    table: "_Table",
    ids: "NDArray[np.int64]",
    xy: "NDArray[np.float64]",
    dataset_id: str | None,
    rows: "_Rows",
) -> "Iterator[tuple[SectionDataSet, NDArray[np.bool_]]]":
    """Yield each data set with the rows that it can answer; note the others.

    The image alone says what a row is about. Where another column of the table says something
    else, the row has no answer if it names another data set, and is warned about otherwise.
    """
    import numpy as np

    from atldld.fetch.session import check_id

    named = {name: table.ids(name) for name in DATA_SET if name in table.names}
    if dataset_id is not None:
        for name, values in named.items():
            against = (values != -1) & (values != check_id(dataset_id, "section data set"))
            if against.any():
                row = int(np.flatnonzero(against)[0])
                raise InvalidInputError(
                    f"The column {name} of {table.where} is {values[row]} in row {row + 1}, but "
                    f"--dataset says {dataset_id}.",
                    hint="Leave --dataset out, and each image's own data set is found.",
                )
    usable = np.isfinite(xy.sum(axis=1)) & (ids > 0)
    rows.note("without numbers", ~usable)
    left = dict.fromkeys(np.unique(ids[usable]).tolist())
    while left:
        image_id = next(iter(left))
        try:
            dataset = session.dataset(_dataset_of(session, image_id, dataset_id))
        except NotFoundError:
            if dataset_id is not None:
                raise
            del left[image_id]
            rows.note("of unknown images", usable & (ids == image_id))
            continue
        own = {image.id: image.alignment2d is not None for image in dataset.images}
        # Of a data set that is named, images that it does not have are no others' either.
        mine = [one for one in left if dataset_id is not None or one in own or one == image_id]
        placed = dataset.alignment3d is not None and bool(dataset.section_thickness)
        good = [one for one in mine if placed and own.get(one)]
        unplaced = [one for one in mine if one in own and one not in good]
        strangers = [one for one in mine if one not in own]
        rows.note(UNPLACED, usable & np.isin(ids, unplaced))
        rows.note("of unknown images", usable & np.isin(ids, strangers))
        if good:
            chosen = usable & np.isin(ids, good)
            for values in named.values():
                elsewhere = chosen & (values != -1) & (values != dataset.id)
                rows.note("of images that are another data set's", elsewhere)
                chosen &= ~elsewhere
            _warn_of_others(table, dataset, ids, chosen)
            yield dataset, chosen
        for one in mine:
            del left[one]


def _warn_of_others(
    table: "_Table",
    dataset: "SectionDataSet",
    ids: "NDArray[np.int64]",
    chosen: "NDArray[np.bool_]",
) -> None:
    """Warn of rows whose section number or reference space is not that of their image."""
    import numpy as np

    numbers = {image.id: image.section_number for image in dataset.images}
    space = -1 if dataset.reference_space_id is None else dataset.reference_space_id
    for name in ("section_number", SPACE):
        if name not in table.names:
            continue
        told = table.ids(name)
        true = np.array(
            [numbers.get(one, -1) if name != SPACE else space for one in ids.tolist()],
            dtype=np.int64,
        )
        wrong = np.flatnonzero(chosen & (told != -1) & (told != true))
        if len(wrong):
            row = int(wrong[0])
            say(
                f"Warning: In {len(wrong)} rows {name} is not that of the image, which alone "
                f"counts: in row {row + 1} it is {told[row]}, of image {ids[row]} it is "
                f"{true[row]}."
            )


def _dataset_of(session: "Session", image_id: int, dataset_id: str | None) -> Any:
    if dataset_id is not None:
        return dataset_id
    found = session.image_record(image_id).get("data_set_id")
    if found is None:
        raise NotFoundError(f"Section image {image_id} belongs to no data set.", image_id=image_id)
    return found


class _Rows:
    """Which rows have no answer, and why."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    def note(self, reason: str, which: "NDArray[np.bool_]") -> None:
        self.reasons[reason] += int(which.sum())

    def answer(
        self,
        out: "_Target",
        table: "_Table",
        usable: "NDArray[np.bool_]",
        found: "ImagePoints",
        reason: str = "too far from any section",
    ) -> None:
        """Write points on sections beside the rows that they belong to."""
        import numpy as np

        new: dict[str, NDArray[Any]] = {
            "image_id": found.image_ids,
            "section_number": found.section_numbers,
            "x": found.xy[:, 0],
            "y": found.xy[:, 1],
            "distance_um": found.distance,
        }
        if any(name in table.names for name in new):
            # a distance is that from the target as it is
            own = {"distance_um"} - set(table.names)
            new = {name if name in own else f"target_{name}": new[name] for name in new}
        columns: dict[str, NDArray[Any]] = {}
        for name, values in new.items():
            missing = -1 if values.dtype.kind == "i" else np.nan
            columns[name] = np.full(len(table), missing, dtype=values.dtype)
            columns[name][usable] = values
        answered = np.zeros(len(table), dtype=bool)
        answered[usable] = found.answered
        _write(out, table, columns)
        self.tell(~answered, reason)

    def tell(self, unanswered: "NDArray[np.bool_]", otherwise: str = "") -> None:
        """Count the rows without an answer on standard error."""
        count = int(unanswered.sum())
        if not count:
            return
        known = {reason: number for reason, number in self.reasons.items() if number}
        rest = count - sum(known.values())
        if rest > 0 and otherwise:
            known[otherwise] = rest
        why = ", ".join(f"{number} {reason}" for reason, number in known.items())
        say(f"{count} of {len(unanswered)} rows have no answer: {why}.")
        if count == len(unanswered) and UNPLACED in known:
            raise typer.Exit(1)


# ---- tables in files


@dataclass(frozen=True)
class _Target:
    """Where a table goes, and whether a file that is there may be replaced."""

    name: str
    force: bool


def _checked(output: str, force: bool) -> _Target:
    """Return where a table goes; what speaks against that is said before any work."""
    _kind(output)
    if output != "-":
        if not Path(output).parent.is_dir():
            raise InvalidInputError(f"There is no folder {Path(output).parent} to write into.")
        check_targets([output], force=force)
    return _Target(output, force)


@dataclass
class _Table:
    """Columns by name: lists of texts out of CSV, pyarrow's arrays out of Parquet."""

    columns: dict[str, Any]
    where: str
    rows: int
    metadata: Any = None

    def __len__(self) -> int:
        return self.rows

    @property
    def names(self) -> list[str]:
        return list(self.columns)

    def columns_named(self, names: Sequence[str], expected: str | None = None) -> Sequence[str]:
        """Return these names, or say which columns are expected."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise InvalidInputError(
                f"{self.where} has no column {', '.join(missing)}; expected are the columns "
                f"{expected or ', '.join(names)}. It has: {', '.join(self.names)}."
            )
        return names

    def numbers(self, name: str) -> "NDArray[np.float64]":
        """Return a column as float64, NaN where a cell is empty."""
        import numpy as np

        values = self.columns[name]
        if not isinstance(values, list):
            import pyarrow

            try:
                array = values.cast(pyarrow.float64()).to_numpy()
            except (pyarrow.ArrowException, ValueError, OverflowError):
                raise InvalidInputError(
                    f"The column {name} of {self.where} holds {values.type}, which cannot be read "
                    "as numbers."
                ) from None
            return np.asarray(array, dtype=np.float64)
        out = np.full(len(values), np.nan)
        for row, text in enumerate(values):
            if text and not text.isspace():
                try:
                    # Python's own notation, 1_000, is nobody's in a table
                    out[row] = float("_" if "_" in text else text)
                except ValueError:
                    told = repr(text) if len(text) <= _TOLD else f"{text[:_TOLD]!r}…"
                    raise InvalidInputError(
                        f"The column {name} of {self.where} holds {told} in row {row + 1}, "
                        "which is not a number."
                    ) from None
        return out

    def texts(self, name: str) -> list[str]:
        """Return a column as the texts of CSV cells.

        Raises
        ------
        InvalidInputError
            If Python has no such values, such as dates of the year 20,000.
        """
        values = self.columns[name]
        if isinstance(values, list):
            return values
        try:
            return _texts(values.to_pylist())
        except (ValueError, OverflowError, _pyarrow().ArrowException):
            raise InvalidInputError(
                f"The column {name} of {self.where} holds {values.type} that cannot be written as "
                "CSV.",
                hint="Write a .parquet file.",
            ) from None

    def ids(self, name: str) -> "NDArray[np.int64]":
        """Return a column of ids, -1 where a cell is empty."""
        import numpy as np

        numbers = self.numbers(name)
        wrong = np.isfinite(numbers) & ((numbers != np.floor(numbers)) | (np.abs(numbers) > 2**53))
        wrong |= np.isinf(numbers)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise InvalidInputError(
                f"The column {name} of {self.where} holds {numbers[row]!r} in row {row + 1}, "
                "which is not the id of anything."
            )
        return np.where(np.isnan(numbers), -1, numbers).astype(np.int64)


def _kind(name: str) -> str:
    suffix = Path(name).suffix.lower()
    if name == "-" or suffix == ".csv":
        return "csv"
    if suffix == ".parquet":
        _pyarrow()
        return "parquet"
    raise InvalidInputError(
        f"{name!r} is neither a .csv nor a .parquet file, nor - for standard input and output."
    )


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise AtldldError(
            "Parquet files need pyarrow, which is not installed.",
            hint="Install it with `pip install 'atldld[tables]'`, or use CSV.",
        ) from None
    return pyarrow


def _read(name: str) -> _Table:
    """Read the table of points."""
    if _kind(name) == "parquet":
        return _read_parquet(name)
    where = "Standard input" if name == "-" else name
    try:
        # UTF-8 also where the terminal writes something else
        stream = getattr(sys.stdin, "buffer", sys.stdin)
        content = stream.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{where} cannot be read: {error.strerror or error}.") from None
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        return _read_csv(io.StringIO(text, newline=""), where)
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{where} is no CSV table in UTF-8: byte {error.start} is none of a text.",
            hint="Save it as CSV in UTF-8.",
        ) from None
    except csv.Error as error:
        raise InvalidInputError(f"{where} is no CSV table: {error}.") from None


def _read_csv(lines: Iterable[str], where: str) -> _Table:
    reader = csv.reader(lines, strict=True)
    names = [text_in_cell(name.strip()) for name in next(reader, [])]
    if not names:
        raise InvalidInputError(f"{where} is empty; its first line must name the columns.")
    _check_names(names, where)
    columns: list[list[str]] = [[] for _ in names]
    count = 0
    for cells in reader:
        if not cells:
            continue
        count += 1
        if len(cells) != len(names):
            raise InvalidInputError(
                f"Row {count} of {where} has {len(cells)} cells, but there are {len(names)} "
                "columns."
            )
        for column, cell in zip(columns, cells, strict=True):
            column.append(text_in_cell(cell))
    return _Table(dict(zip(names, columns, strict=True)), where, count)


def _read_parquet(name: str) -> _Table:
    pyarrow = _pyarrow()
    try:
        # not by its name, which pyarrow takes for an address, or for a folder of files
        with open(name, "rb") as file:
            table = pyarrow.parquet.ParquetFile(file).read()
        _check_names(table.column_names, name)
        columns = dict(zip(table.column_names, table.columns, strict=True))
    except FileNotFoundError as error:
        raise InvalidInputError(f"{name} cannot be read: {error.strerror}.") from None
    except InvalidInputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"{name} is no Parquet file: {error}.") from None
    return _Table(columns, name, table.num_rows, table.schema.metadata)


def _check_names(names: Sequence[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidInputError(f"{where} has several columns named {twice[0]!r}.")


def _write(out: _Target, table: _Table, new: "dict[str, NDArray[Any]]") -> None:
    """Write the table with new columns; cells are empty where they are NaN or -1."""
    taken = [name for name in new if name in table.names]
    if taken:
        raise InvalidInputError(
            f"{table.where} has a column {taken[0]} already, which the answer needs.",
            hint="Rename it.",
        )
    if _kind(out.name) == "parquet":
        _write_parquet(out, table, new)
        return
    with _opened(out) as file:
        writer = TableWriter(file)
        writer.row([*table.names, *new])
        old = [table.texts(name) for name in table.names]
        added = [_texts(_cells(values)) for values in new.values()]
        rows = zip(*old, *added, strict=True)
        # a file keeps the cells of others; a terminal would obey what stands in them
        look = out.name == "-" and sys.stdout.isatty()
        writer.rows([shown(cell) for cell in row] if look else row for row in rows)


def _write_parquet(out: _Target, table: _Table, new: "dict[str, NDArray[Any]]") -> None:
    pyarrow = _pyarrow()
    columns = {
        name: _typed(pyarrow, values) if isinstance(values, list) else values
        for name, values in table.columns.items()
    }
    for name, values in new.items():
        kind = pyarrow.int64() if values.dtype.kind == "i" else pyarrow.float64()
        columns[name] = pyarrow.array(_cells(values), kind)
    whole = pyarrow.table(columns)
    if table.metadata:
        # pandas keeps there which column is the index; new columns do not disturb it
        whole = whole.replace_schema_metadata(table.metadata)
    with whole_file(out.name, force=out.force) as temporary:
        pyarrow.parquet.write_table(whole, temporary)


def _typed(pyarrow: Any, texts: list[str]) -> Any:
    """Return a CSV column as whole numbers, else numbers, else texts; empty cells are null."""
    array = pyarrow.array([text if text and not text.isspace() else None for text in texts])
    for kind in (pyarrow.int64(), pyarrow.float64()):
        try:
            return array.cast(kind)
        except pyarrow.ArrowInvalid:
            continue
    return array.cast(pyarrow.string())


def _cells(values: "NDArray[Any]") -> list[Any]:
    if values.dtype.kind == "i":
        return [None if value < 0 else value for value in values.tolist()]
    return [None if value != value else value for value in values.tolist()]


def _texts(values: Iterable[Any]) -> list[str]:
    # repr writes as many digits as are needed to read the very same number
    return [
        "" if value is None else repr(value) if isinstance(value, float) else str(value)
        for value in values
    ]


@contextmanager
def _opened(out: _Target) -> Iterator[TextIO]:
    if out.name == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    with (
        whole_file(out.name, force=out.force) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        yield file
