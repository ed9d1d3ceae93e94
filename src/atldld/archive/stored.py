"""The cache, or an exported archive, as a source of the local service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import simplejpeg

from atldld.archive.demo import vocabulary
from atldld.atlas.plates import plate_name, svg_name
from atldld.fetch.cache import Cache
from atldld.processes import renew_in_children

if TYPE_CHECKING:
    from atldld.archive.app import View

__all__ = ["StoredArchive"]

Record = dict[str, Any]

# Associations that records of the cache hold nested, and the models that they are rows of.
_NESTED = {
    "genes": "Gene",
    "products": "Product",
    "treatments": "Treatment",
    "specimen": "Specimen",
}


class StoredArchive:
    """What is on disk, in the layout of `atldld.fetch.cache`. Nothing is ever written.

    Metadata and the list of files are read anew when the archive has changed.

    Parameters
    ----------
    root : pathlib.Path
        The folder.
    dataset_ids : sequence of int, optional
        Offer only these data sets, and no files.
    """

    def __init__(self, root: Path, dataset_ids: Sequence[int] | None = None) -> None:
        self._cache = Cache(root)
        self._cache.check_version()
        self._wanted = None if dataset_ids is None else set(dataset_ids)
        self._lock = Lock()
        renew_in_children(self)
        self._seen: object = None
        self._tables: dict[str, list[Record]] = {}

    def renew(self) -> None:
        """Have a lock of its own in a forked child."""
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[StoredArchive], tuple[Any, ...]]:
        return StoredArchive, (self._cache.root, self._wanted and sorted(self._wanted))

    def tables(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return the records by model."""
        folder = self._cache.root / "datasets"
        # A document is replaced as a whole, which changes the folder's own time.
        now = folder.stat().st_mtime_ns if folder.is_dir() else None
        with self._lock:
            if now != self._seen or not self._tables:
                self._tables, self._seen = self._read(), now
            return self._tables

    def _read(self) -> dict[str, list[Record]]:
        tables: dict[str, list[Record]] = {"SectionDataSet": [], "SectionImage": []}
        others: dict[str, dict[Any, Record]] = {model: {} for model in _NESTED.values()}
        for name in self._cache.document_names("datasets"):
            if self._wanted is not None and int(name) not in self._wanted:
                continue
            document = self._cache.read_document("datasets", name) or {}
            dataset = document.get("section_data_set")
            images = [image for image in document.get("section_images") or () if image]
            if not isinstance(dataset, dict):
                continue
            tables["SectionDataSet"].append({**dataset, "section_images": images})
            tables["SectionImage"] += images
            for association, model in _NESTED.items():
                value = dataset.get(association) or []
                for record in value if isinstance(value, list) else [value]:
                    others[model][record.get("id") or repr(record)] = record
        tables |= vocabulary()
        tables |= {model: list(records.values()) for model, records in others.items()}
        return tables

    def image(
        self,
        image_id: int,
        downsample: int,
        view: View,
        *,
        quality: int,
        region: tuple[int, int, int, int] | None,
    ) -> bytes | None:
        """Return the JPEG of a section image, or `None` where it is not held at that tier.

        The bytes are those that the service sent, unless a region or another quality than 100 is
        asked for.
        """
        stored = self._cache.find_image(image_id, downsample, expression=view == "expression")
        if stored is None:
            return None
        content = stored.path.read_bytes()
        if region is None and quality == 100:
            return content
        pixels = simplejpeg.decode_jpeg(content, "RGB")
        if region is not None:
            left, top, width, height = region
            pixels = pixels[top : top + height, left : left + width].copy()
        encoded: bytes = simplejpeg.encode_jpeg(pixels, quality, "RGB", "444")
        return encoded

    def files(self) -> Mapping[str, Path]:
        """Return the other files that can be asked for, by the path of the address.

        They lie below ``files/`` as they are asked for: ``files/grid_data/download/69289763.zip``,
        ``files/api/v2/structure_graph_download/1.json``, ``files/informatics-archive/…``. A
        request is looked up here and never joined to a path.
        """
        folder = self._cache.root / "files"
        if self._wanted is not None or not folder.is_dir():
            return {}
        return {
            "/" + path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file()
            and not path.is_symlink()
            and not path.name.startswith(".")
            # what the cache knows of a file is not a file of the service
            and not (path.suffix == ".json" and path.with_suffix("").is_file())
        }

    def plate(
        self, plate_id: int, downsample: int, *, annotation: bool, quality: int
    ) -> bytes | None:
        """Return the JPEG of an atlas plate as the service sent it, or `None` if it is not held."""
        held = self._cache.find_file(plate_name(plate_id, downsample, annotation=annotation))
        return None if held is None or quality != 100 else held.path.read_bytes()

    def plate_svg(self, plate_id: int) -> bytes | None:
        """Return the SVG of an atlas plate, or `None` if it is not held."""
        held = self._cache.find_file(svg_name(plate_id))
        return None if held is None else held.path.read_bytes()
