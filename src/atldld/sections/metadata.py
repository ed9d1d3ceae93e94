"""The ``metadata.json`` of an output folder: what it says, written and read by one set of types.

Anyone may have edited a file. So it is read by these types, and whoever has one may rely on them.
``docs/output.md`` says what each entry means.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from atldld.errors import OutputError
from atldld.place.refinement import Refinement
from atldld.support.documents import DocumentError, check_numbers, parse_json
from atldld.support.text import shown

__all__ = [
    "FLAT",
    "FORMAT_VERSION",
    "METADATA",
    "DeformationEntry",
    "FileEntry",
    "FolderMetadata",
    "OutputEntry",
    "SectionEntry",
    "SourceEntry",
    "as_section",
    "is_plain",
    "read_metadata",
]

METADATA = "metadata.json"

FORMAT_VERSION = 2
"""Goes up when a reader of the one before would misread a folder.

2: sections may be curved, and their matrices are then those of the flat image. Folders of flat
sections are of version 1 as before, which older readers take.
"""

FLAT = 1
"""The version of a folder without curved sections."""

AGAIN = "Give a folder that `atldld download dataset` made, or run that again."

Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Id = Annotated[str, msgspec.Meta(pattern="^[0-9]{1,18}$")]
Row3 = tuple[float, float, float]
Row4 = tuple[float, float, float, float]
Six = tuple[float, float, float, float, float, float]
Twelve = Annotated[tuple[float, ...], msgspec.Meta(min_length=12, max_length=12)]
Tier = Annotated[int, msgspec.Meta(ge=0, le=30)]
# whole ones are written as such: 25, not 25.0
Size = (
    Annotated[int, msgspec.Meta(gt=0, le=20_000)] | Annotated[float, msgspec.Meta(gt=0, le=20_000)]
)


class FileEntry(msgspec.Struct):
    """A file that belongs to a section."""

    name: str
    sha256: str


class SourceEntry(msgspec.Struct):
    """What a section was made from."""

    url: str
    sha256: str
    bytes: Annotated[int, msgspec.Meta(ge=0)]
    width: Count
    height: Count
    fetched: str


class DeformationEntry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How a section is curved; see `atldld.place.Placement.describe_deformation`."""

    greatest_displacement_um: float
    jacobian: tuple[float, float] | None = None
    about: str


class SectionEntry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What ``per_image`` says of a section. What is None is not written."""

    section_number: int
    section_coordinate: float
    section_coordinate_scaled: float | None = None
    third_coordinate: dict[str, float | str]
    image_from_output: tuple[Row3, Row3]
    image_to_reference: tuple[Row3, Row3, Row3]
    reference_to_image: tuple[Row4, Row4]
    tilt_degrees: float | None = None
    depth_range_um: tuple[float, float] | None = None
    width: Count
    height: Count
    downsample_img: Tier
    background: Row3
    source: SourceEntry
    files: dict[str, FileEntry]
    alignment: str | None = None
    coordinates: str | None = None
    deformation: DeformationEntry | None = None
    refinement: Refinement | None = None
    tsv: Six | None = None
    tvs: Six | None = None
    expression_source: SourceEntry | None = None
    note: str | None = None
    mask_failed: bool = False

    def __post_init__(self) -> None:
        if "image" not in self.files:
            raise ValueError("a section has no picture")
        if (self.tsv is None) != (self.tvs is None):
            raise ValueError("an alignment lacks a direction")
        _check_line(self.third_coordinate)


class OutputEntry(msgspec.Struct, kw_only=True):
    """What ``output`` says of the pictures."""

    plane_kind: Literal["oblique", "parallel"]
    resolution_um: Size
    rows: Count
    columns: Count
    axis_of_rows: Literal["p", "i", "r"]
    axis_of_columns: Literal["p", "i", "r"]
    pixel_centre: str = "(k + 1/2) * resolution_um along each axis"
    frame: str | None = None
    coordinates: str | None = None
    third_coordinate: str = (
        "per image: axis = a * row coordinate + b * column coordinate + constant, all in um"
    )
    image_from_output: str = "per image: full-resolution (x, y) = M @ (column, row, 1)"

    def __post_init__(self) -> None:
        if self.axis_of_rows == self.axis_of_columns:
            raise ValueError("rows and columns run along one axis")


class FolderMetadata(msgspec.Struct, kw_only=True):
    """The metadata of an output folder."""

    dataset_id: Id
    format_version: int = FLAT
    complete: bool = False
    synthetic: bool
    atldld_version: str | None = None
    command_line: str | None = None
    created: str | None = None
    service: str | None = None
    citation: str | None = None
    request: dict[str, Any] = {}
    downsample_ref: Size | None = None
    downsample_img: int | str | None = None
    include_expression: bool | None = None
    plane_of_section: int
    plane_of_section_name: str | None = None
    reference_space_id: int
    section_thickness: Annotated[float, msgspec.Meta(gt=0)]
    failed_data_set: bool = False
    genes: list[str | None] | None = None
    specimen: str | None = None
    alignment: dict[str, Any] | None = None
    tvr: Twelve
    trv: Twelve
    output: OutputEntry
    per_image: dict[Id, SectionEntry]
    skipped: dict[Id, str | None]
    failed: dict[str, str] = {}
    to_be_replaced: list[str] | msgspec.UnsetType = msgspec.UNSET
    warnings: list[str] | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.format_version > FORMAT_VERSION:
            raise ValueError(
                f"its format is version {self.format_version}, of a later atldld; this one reads "
                f"up to {FORMAT_VERSION}"
            )


def read_metadata(folder: Path) -> FolderMetadata:
    """Return the metadata of an output folder.

    Parameters
    ----------
    folder : pathlib.Path
        What `atldld.sections.download.download_dataset` has written.

    Raises
    ------
    OutputError
        If the metadata cannot be read, are of another kind, or list no section.
    """
    path = folder / METADATA
    try:
        document = parse_json(path.read_bytes())
        check_numbers(document)
        if isinstance(document, dict) and document.get("per_image") == {}:
            raise OutputError(
                f"{folder} holds no section.", hint="Run `atldld download dataset` again."
            )
        return msgspec.convert(document, FolderMetadata, str_keys=True)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path} cannot be read: {error.strerror or error}.", hint=AGAIN
        ) from None
    except DocumentError as error:
        raise OutputError(f"{path} {error}.", hint=AGAIN) from None
    except msgspec.ValidationError as error:
        entries = document.get("per_image") if isinstance(document, dict) else None
        wrong = [
            image_id
            for image_id, entry in (entries.items() if isinstance(entries, dict) else ())
            if as_section(entry) is None
        ]
        whose = f"the section of image {shown(wrong[0])}" if wrong else "sections"
        raise OutputError(
            f"{path} does not say what it should of {whose} ({error}).", hint=AGAIN
        ) from None


def as_section(entry: object) -> SectionEntry | None:
    """Return an entry of ``per_image``, or None if it is not valid."""
    try:
        check_numbers(entry)
        return msgspec.convert(entry, SectionEntry, str_keys=True)
    except (DocumentError, msgspec.ValidationError):
        return None


def is_plain(name: object) -> bool:
    """Whether a name is that of a file in a folder itself: it must not lead elsewhere."""
    return (
        isinstance(name, str) and name not in {"", ".", ".."} and not set(name) & {"/", "\\", "\0"}
    )


def _check_line(line: Mapping[str, object]) -> None:
    numbers = [line.get(name) for name in (*sorted(set(line) & {"p", "i", "r"}), "constant")]
    if len(numbers) != 3 or not all(isinstance(number, int | float) for number in numbers):
        raise ValueError("a third coordinate is no plane")
    if line.get("axis") not in {"p", "i", "r"}:
        raise ValueError("a third coordinate is none of p, i, r")
