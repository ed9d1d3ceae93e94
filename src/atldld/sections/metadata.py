"""The ``metadata.json`` of an output folder, as those read it back who go on with the folder.

Anyone may have edited it. So it is read by its types: whoever has it may rely on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from atldld.errors import OutputError
from atldld.support.documents import DocumentError, check_numbers, parse_json

__all__ = ["METADATA", "FolderMetadata", "SectionEntry", "is_plain", "read_metadata", "section_in"]

METADATA = "metadata.json"

AGAIN = "Give a folder that `atldld download dataset` made, or run that again."

Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Row3 = tuple[float, float, float]
Row4 = tuple[float, float, float, float]
Six = tuple[float, float, float, float, float, float]
Twelve = Annotated[tuple[float, ...], msgspec.Meta(min_length=12, max_length=12)]


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


class SectionEntry(msgspec.Struct):
    """What ``per_image`` says of a section; see docs/output.md."""

    section_number: int
    section_coordinate: float
    third_coordinate: dict[str, float | str]
    image_from_output: tuple[Row3, Row3]
    image_to_reference: tuple[Row3, Row3, Row3]
    reference_to_image: tuple[Row4, Row4]
    width: Count
    height: Count
    downsample_img: Annotated[int, msgspec.Meta(ge=0, le=30)]
    background: Row3
    source: SourceEntry
    files: dict[str, FileEntry]
    tsv: Six | None = None
    tvs: Six | None = None
    expression_source: SourceEntry | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if "image" not in self.files:
            raise ValueError("a section has no picture")
        if (self.tsv is None) != (self.tvs is None):
            raise ValueError("an alignment lacks a direction")
        _check_line(self.third_coordinate)


class OutputEntry(msgspec.Struct):
    """What ``output`` says of the pictures."""

    plane_kind: Literal["oblique", "parallel"]
    resolution_um: Annotated[float, msgspec.Meta(gt=0, le=20_000)]
    rows: Count
    columns: Count
    axis_of_rows: Literal["p", "i", "r"]
    axis_of_columns: Literal["p", "i", "r"]


class FolderMetadata(msgspec.Struct):
    """What a folder says of itself."""

    dataset_id: Annotated[str, msgspec.Meta(pattern="^[0-9]{1,18}$")]
    synthetic: bool
    plane_of_section: int
    reference_space_id: int
    section_thickness: Annotated[float, msgspec.Meta(gt=0)]
    tvr: Twelve
    trv: Twelve
    output: OutputEntry
    per_image: dict[Annotated[str, msgspec.Meta(pattern="^[0-9]{1,18}$")], SectionEntry]
    skipped: dict[Annotated[str, msgspec.Meta(pattern="^[0-9]{1,18}$")], str | None]
    failed: dict[str, str] = {}
    failed_data_set: bool = False
    genes: list[str | None] | None = None
    specimen: str | None = None
    alignment: dict[str, Any] | None = None
    created: str | None = None
    atldld_version: str | None = None


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return what an output folder says, which has the types of `FolderMetadata`.

    Parameters
    ----------
    folder : pathlib.Path
        What `atldld.sections.download.download_dataset` has written.

    Raises
    ------
    OutputError
        If it cannot be read, or says something else.
    """
    path = folder / METADATA
    try:
        metadata = parse_json(path.read_bytes())
        check_numbers(metadata)
        if isinstance(metadata, dict) and metadata.get("per_image") == {}:
            raise OutputError(
                f"{folder} holds no section.", hint="Run `atldld download dataset` again."
            )
        msgspec.convert(metadata, FolderMetadata)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path} cannot be read: {error.strerror or error}.", hint=AGAIN
        ) from None
    except DocumentError as error:
        raise OutputError(f"{path} {error}.", hint=AGAIN) from None
    except msgspec.ValidationError as error:
        raise OutputError(
            f"{path} does not say what it should of sections ({error}).", hint=AGAIN
        ) from None
    return dict(metadata)


def section_in(entry: object) -> bool:
    """Whether this is what ``per_image`` says of a section."""
    try:
        check_numbers(entry)
        msgspec.convert(entry, SectionEntry)
    except (DocumentError, msgspec.ValidationError):
        return False
    return True


def is_plain(name: object) -> bool:
    """Whether a name is that of a file in a folder itself: it must not lead elsewhere."""
    return (
        isinstance(name, str) and name not in {"", ".", ".."} and not set(name) & {"/", "\\", "\0"}
    )


def _check_line(line: Mapping[str, object]) -> None:
    numbers = [line.get(name) for name in (*sorted(set(line) & {"p", "i", "r"}), "constant")]
    if len(numbers) != 3 or not all(isinstance(one, int | float) for one in numbers):
        raise ValueError("a third coordinate is no plane")
    if line.get("axis") not in {"p", "i", "r"}:
        raise ValueError("a third coordinate is none of p, i, r")
