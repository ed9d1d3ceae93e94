"""The cache, or an exported archive, as a source of the local service."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import simplejpeg

from atldld.atlas.plates import plate_name, svg_name
from atldld.errors import AtldldError, InvalidInputError
from atldld.fetch.cache import Cache
from atldld.fetch.facts import FileFacts, ImageFacts
from atldld.fetch.members import (
    LARGEST_DOCUMENT,
    LARGEST_IMAGE,
    Member,
    check_marker,
    decode,
    facts_of,
    opened_members,
)
from atldld.records import SectionDataSet
from atldld.rma.budget import QueryError
from atldld.serve.archive import Archive, View, vocabulary
from atldld.support.processes import renew_in_children

__all__ = ["StoredArchive"]

Record = dict[str, Any]

# Pixels that are decoded to cut a region out of them or to write them at another quality.
LARGEST_CUT = 130_000_000
LARGEST_PLATE = 64 << 20

# Associations that records of the cache hold nested, and the models that they are rows of.
_NESTED = {
    "genes": "Gene",
    "products": "Product",
    "treatments": "Treatment",
    "specimen": "Specimen",
}


class StoredArchive(Archive):
    """What is on disk, in the layout of `atldld.fetch.cache`. Nothing is ever written.

    A folder's metadata are read again when they have changed. A ZIP file is served as it is. Links
    are not followed, and an image is answered only when its bytes match its hash.

    Parameters
    ----------
    root : pathlib.Path
        The folder or ZIP file.
    dataset_ids : sequence of int, optional
        Offer only these data sets, and no files.

    Raises
    ------
    CacheError
        If the path is not an archive, or is one that this version does not know.
    """

    def __init__(self, root: Path, dataset_ids: Sequence[int] | None = None) -> None:
        self._root = Path(root)
        self._members = opened_members(self._root)
        try:
            check_marker(self._root, self._members)
        except BaseException:
            self._members.close()
            raise
        # knows the names; it reads nothing
        self._layout = Cache(Path("/"))
        self._wanted = None if dataset_ids is None else set(dataset_ids)
        self._lock = Lock()
        renew_in_children(self)
        self._seen: object = None
        self._tables: dict[str, list[Record]] = {}
        self._documents: dict[str, tuple[object, Record | None]] = {}
        # whose bytes were compared with their hash
        self._proved: dict[str, tuple[int, float, str]] = {}

    def close(self) -> None:
        """Let go of the folder or file."""
        self._members.close()

    def renew(self) -> None:
        """Make a new lock in a forked child."""
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[StoredArchive], tuple[Any, ...]]:
        return StoredArchive, (self._root, self._wanted and sorted(self._wanted))

    def tables(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return the records of the data sets that are there now; see `Archive.tables`."""
        # A document is replaced as a whole, which changes the folder's own time.
        now = self._members.stamp("datasets")
        with self._lock:
            if now != self._seen or not self._tables:
                self._tables, self._seen = self._read(), now
            return self._tables

    def _read(self) -> dict[str, list[Record]]:
        tables: dict[str, list[Record]] = {"SectionDataSet": [], "SectionImage": []}
        others: dict[str, dict[Any, Record]] = {model: {} for model in _NESTED.values()}
        for document in self._data_sets():
            dataset = document["section_data_set"]
            images = [image for image in document["section_images"] if image]
            tables["SectionDataSet"].append({**dataset, "section_images": images})
            tables["SectionImage"] += images
            for association, model in _NESTED.items():
                value = dataset.get(association) or []
                for record in value if isinstance(value, list) else [value]:
                    if isinstance(record, dict):
                        others[model][str(record.get("id") or repr(record))] = record
        tables |= vocabulary()
        tables |= {model: list(records.values()) for model, records in others.items()}
        return tables

    def _data_sets(self) -> list[Record]:
        """Return the documents of the data sets; those that have not changed are not read again."""
        documents: dict[str, tuple[object, Record | None]] = {}
        for name in sorted(self._members.names("datasets")):
            stem = name.removeprefix("datasets/").removesuffix(".json")
            if name != f"datasets/{stem}.json" or not (stem.isascii() and stem.isdecimal()):
                continue
            if self._wanted is not None and int(stem) not in self._wanted:
                continue
            member = self._members.get(name)
            if member is None:
                continue
            stamp = member.size, member.changed
            known = self._documents.get(name)
            if known is None or known[0] != stamp:
                known = stamp, _data_set(member, stem)
            documents[name] = known
        self._documents = documents
        return [document for _, document in documents.values() if document is not None]

    def image(
        self,
        image_id: int,
        downsample: int,
        view: View,
        *,
        quality: int,
        region: tuple[int, int, int, int] | None,
    ) -> bytes | None:
        """Return a section image, or `None` where it is not held at that tier; see `Archive.image`.

        The bytes are those that the service sent, unless a region or another quality than 100 is
        asked for.
        """
        held = self._image(image_id, downsample, view)
        if held is None:
            return None
        try:
            content = held.read(LARGEST_IMAGE)
            if region is None and quality == 100:
                return content
            height, width, _, _ = simplejpeg.decode_jpeg_header(content)
            if height * width > LARGEST_CUT:
                raise QueryError(
                    f"the archive holds {width} × {height} pixels, more than are cut or written at"
                    " another quality; ask for the whole section at quality 100, or another tier"
                )
            pixels = simplejpeg.decode_jpeg(content, "RGB")
        except QueryError:
            raise
        except (OSError, ValueError):  # it has gone, or is no JPEG
            return None
        if region is not None:
            left, top, width, height = region
            pixels = pixels[top : top + height, left : left + width].copy()
        encoded: bytes = simplejpeg.encode_jpeg(pixels, quality, "RGB", "444")
        return encoded

    def held_image(
        self,
        image_id: int,
        downsample: int,
        view: View,
        *,
        quality: int,
        region: tuple[int, int, int, int] | None,
    ) -> Member | None:
        """Return a JPEG as it is held; see `Archive.held_image`."""
        if region is not None or quality != 100:
            return None
        return self._image(image_id, downsample, view)

    def stamp(self, held: Member) -> object:
        """Return the sizes and times of an image and its companion; see `Archive.stamp`."""
        there = [self._members.get(name) for name in (held.name, f"{held.name}.json")]
        return [(one.size, one.changed) if one else None for one in there]

    def _image(self, image_id: int, downsample: int, view: View) -> Member | None:
        path = self._layout.image_path(image_id, downsample, expression=view == "expression")
        name = path.relative_to(self._layout.root).as_posix()
        return self._sound(name, ImageFacts, LARGEST_IMAGE)

    def _sound(self, name: str, kind: type[FileFacts], largest: int) -> Member | None:
        """Return a member whose companion vouches for its bytes, or `None`."""
        member = self._members.get(name)
        if member is None:
            return None
        try:
            facts = facts_of(self._members, name, kind)
            known = member.size, member.changed, facts.sha256
            if self._proved.get(name) != known:
                digest = hashlib.sha256()
                for chunk in member.chunks(largest):
                    digest.update(chunk)
                if digest.hexdigest() != facts.sha256 or member.size != facts.bytes:
                    return None
                self._proved[name] = known
        except (InvalidInputError, OSError):
            return None
        return member

    def _content(self, name: str) -> bytes | None:
        """Return the bytes of a small file that its companion vouches for, or `None`."""
        member = self._sound(name, FileFacts, LARGEST_PLATE)
        try:
            return None if member is None else member.read(LARGEST_PLATE)
        except (InvalidInputError, OSError):
            return None

    def file(self, path: str) -> Member | None:
        """Return a file as it is held; see `Archive.file`.

        They lie below ``files/`` as they are asked for: ``files/grid_data/download/69289763.zip``,
        ``files/api/v2/structure_graph_download/1.json``, ``files/informatics-archive/…``.
        """
        if self._wanted is not None or not path.startswith("/"):
            return None
        # what the cache knows of a file is not a file of the service
        if path.lower().endswith(".json") and self._members.get(f"files{path[:-5]}") is not None:
            return None
        return self._members.get(f"files{path}")

    def plate(
        self, plate_id: int, downsample: int, *, annotation: bool, quality: int
    ) -> bytes | None:
        """Return an atlas plate as the service sent it; see `Archive.plate`."""
        if quality != 100:
            return None
        name = plate_name(plate_id, downsample, annotation=annotation)
        return self._content(f"files/{name}")

    def plate_svg(self, plate_id: int) -> bytes | None:
        """Return an atlas plate's drawing as the service sent it; see `Archive.plate_svg`."""
        return self._content(f"files/{svg_name(plate_id)}")


def _data_set(member: Member, stem: str) -> Record | None:
    """Return the document of a data set, or `None` where it is none or another one's."""
    try:
        document = decode(member.read(LARGEST_DOCUMENT), dict[str, Any])
        record = SectionDataSet.from_records(
            document["section_data_set"], document["section_images"]
        )
    except (AtldldError, OSError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    # records that are no objects would be no rows
    plain = all(image is None or isinstance(image, dict) for image in document["section_images"])
    return document if plain and str(record.id) == stem else None
