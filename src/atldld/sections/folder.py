"""How a run goes on in a folder: what an earlier one has left there, and what of it still holds.

A folder is for one data set: files are named by the ids of images, and nobody could tell later
which belong together. `check_one_dataset` refuses a second one, by what the folder says of itself
and by the names in it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from atldld.errors import OutputError, Remedy
from atldld.fetch.cache import sha256_of
from atldld.sections.metadata import METADATA, FolderMetadata, SectionEntry, as_section, is_plain
from atldld.support.documents import DocumentError, parse_json
from atldld.support.files import check_folder, whole_file, write_errors

__all__ = [
    "check_one_dataset",
    "earlier_result",
    "files_of",
    "older_files",
    "remove_older",
    "still_there",
    "write_metadata",
]


# Files that say which data set they are of.
_INDICES = (METADATA, "fields.json")

# Names that this package gives to the files of an image, but those that anyone might give.
_OF_IMAGE = re.compile(
    r"(?P<id>\d{1,18})(_outlines\.(svg|geojson|png)|\.ome\.tif|_expr\.(png|tif)"
    r"|_field\.(mha|nii|nii\.gz|nrrd|npy|zarr|ome\.zarr)|_s\d{3,}\.(jpg|png))"
)


def check_one_dataset(
    folder: str | Path,
    dataset_id: int | str,
    image_ids: Collection[int] | None = None,
    *,
    force: bool = False,
) -> None:
    """Refuse a folder that holds files of another data set.

    Parameters
    ----------
    folder : str or pathlib.Path
        It need not be there.
    dataset_id : int
        Whose files are to be written.
    image_ids : collection of int, optional
        All images of the data set; without them, only what the folder says of itself counts.
    force : bool
        Whether another data set's files may be there.

    Raises
    ------
    OutputError
        If the folder holds another data set's files and `force` is false.
    """
    folder = Path(folder)
    if force or not folder.is_dir():
        return
    other: object = None
    for name in _INDICES:
        with contextlib.suppress(OSError, DocumentError, TypeError, KeyError):
            found = parse_json((folder / name).read_bytes())["dataset_id"]
            if str(found) != str(dataset_id):
                other = f"data set {found}"
    if other is None and image_ids is not None:
        with contextlib.suppress(OSError):
            names = (_OF_IMAGE.fullmatch(name) for name in sorted(os.listdir(folder)))
            strange = (int(name["id"]) for name in names if name)
            image = next((number for number in strange if number not in image_ids), None)
            other = None if image is None else f"another data set, such as of image {image}"
    if other is not None:
        raise OutputError(
            f"{folder} holds files of {other}; a folder is for one data set.",
            hint=f"Choose another folder, or write beside them with {Remedy.FORCE}.",
        )


def earlier_result(folder: Path, dataset_id: int, *, force: bool) -> dict[str, Any]:
    """Check that a folder can be used, and return the metadata of an earlier result in it.

    Nothing is made yet: an id that does not exist must leave nothing behind.
    """
    check_folder(folder)
    path = folder / METADATA
    if not path.exists():
        return {}
    try:
        before = parse_json(path.read_bytes())
        earlier_id = before["dataset_id"]
        if not isinstance(before.get("per_image", {}), dict):
            raise TypeError
    except (OSError, DocumentError, TypeError, KeyError, AttributeError):
        before, earlier_id = {}, None
    if str(earlier_id) != str(dataset_id) and not force:
        what = (
            f"the result of data set {earlier_id}"
            if earlier_id
            else "a metadata.json of something else"
        )
        raise OutputError(
            f"{folder} holds {what}.",
            dataset_id=dataset_id,
            hint=f"Choose another folder, or replace what is there with {Remedy.FORCE}.",
        )
    return dict(before)


def files_of(metadata: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the names and hashes of the files that an earlier run lists, by image id.

    Names come from a file that anyone may have edited, so only plain ones count.
    """
    listed: dict[str, dict[str, str]] = {}
    entries = metadata.get("per_image")
    for image_id, entry in entries.items() if isinstance(entries, dict) else ():
        with contextlib.suppress(AttributeError, KeyError, TypeError):
            hashes = {file["name"]: file["sha256"] for file in entry["files"].values()}
            if all(map(is_plain, hashes)):
                listed[image_id] = hashes
    return listed


def still_there(folder: Path, before: Mapping[str, Any]) -> dict[str, SectionEntry]:
    """Return the complete entries of an earlier run whose files are whole."""
    kept = {}
    for image_id, hashes in files_of(before).items():
        entry = as_section(before["per_image"][image_id])
        if entry is None or entry.mask_failed:
            continue
        with contextlib.suppress(OSError):
            if all(sha256_of(folder / name) == digest for name, digest in hashes.items()):
                kept[image_id] = entry
    return kept


def older_files(before: Mapping[str, Any], *, force: bool) -> list[str]:
    """Return the files of earlier runs that are not to stay once all of the new ones are there."""
    listed = before.get("to_be_replaced")
    older = {str(name) for name in listed} if isinstance(listed, list) else set()
    if force:
        older |= {name for hashes in files_of(before).values() for name in hashes}
    return sorted(name for name in older if is_plain(name))


def remove_older(folder: Path, older: Iterable[str], metadata: FolderMetadata) -> None:
    """Remove the files of an earlier run for which there are no new ones, and nothing else."""
    new = {file.name for entry in metadata.per_image.values() for file in entry.files.values()}
    with write_errors(folder):
        for name in older:
            if name not in new:
                (folder / name).unlink(missing_ok=True)


def write_metadata(folder: Path, metadata: FolderMetadata) -> None:
    """Write the metadata of a folder, replacing what was there."""
    with whole_file(folder / METADATA, force=True) as temporary:
        # many times as fast as the standard library's, which indents in Python
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(metadata), indent=1))
