"""What the cache holds, by kind and by data set: for lists, which ask nothing and read little."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from atldld.fetch.cache import MADE_ANEW, Cache
from atldld.fetch.index import Known, Stock, take_stock

__all__ = ["METADATA", "Holding", "Part", "holdings", "parts"]

METADATA = re.compile(r"datasets/\d{1,15}\.json", re.ASCII)

_IN_FOLDER = re.compile(
    r"(?P<tier>\d{1,2})(?P<mask>-expression)?\.(jpg|tif)(?P<companion>\.json)?", re.ASCII
)


@dataclass(frozen=True)
class Holding:
    """What the cache holds of one data set.

    Attributes
    ----------
    dataset_id : int or None
        `None` for images whose data set is not known.
    genes : tuple of (str or None), or None
        The acronyms of its genes; `None` where its metadata are not there.
    section_images : int or None
        How many images it has, kept or not; `None` where its metadata are not there.
    images, masks : int
        Of how many section images at least one tier is there, and of how many masks.
    files, bytes : int
        Of all of them, with what was checked of each, and of the metadata.
    tiers : tuple of int
        Which tiers occur.
    """

    dataset_id: int | None
    genes: tuple[str | None, ...] | None
    section_images: int | None
    images: int
    masks: int
    files: int
    bytes: int
    tiers: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """All files of one kind in the cache; see `parts`.

    Attributes
    ----------
    kind : str
        What they are, in words.
    files, bytes : int
        How many, and how large together.
    """

    kind: str
    files: int
    bytes: int


IMAGES_AND_METADATA = "images, masks and metadata of data sets"

_KINDS = {
    "datasets": IMAGES_AND_METADATA,
    "images": IMAGES_AND_METADATA,
    "files": "atlases, grids and plates",
    "unpacked": "volumes of atlases, unpacked (made again when needed)",
    "queries": "answers to searches",
    "other-services": "all of other services",
}
_CATALOGUE = "catalogue"
_OTHER = "other files"


def parts(cache: Cache, stock: Stock | None = None) -> list[Part]:
    """Return what the cache holds, by kind; together it is what `Cache.size` returns.

    The first part is what `holdings` lists by data set.

    Parameters
    ----------
    cache : Cache
        Which one.
    stock : Stock, optional
        Its images, if they have just been looked at.
    """
    if stock is None:
        stock = take_stock(cache)
        stock.keep()
    counts: dict[str, list[int]] = {kind: [0, 0] for kind in (*_KINDS.values(), _CATALOGUE, _OTHER)}

    def add(kind: str, files: int, size: int) -> None:
        counts[kind][0] += files
        counts[kind][1] += size

    for (names, _), (folders, *sizes) in stock.kinds.items():
        for name, size in zip(names, sizes, strict=True):
            known = _IN_FOLDER.fullmatch(name) is not None
            add(IMAGES_AND_METADATA if known else _OTHER, folders, size)
    for file in (*stock.others, *cache.files(without="images")):
        if file.name.startswith(MADE_ANEW):
            continue
        folder = file.name.partition("/")[0]
        kind = _KINDS.get(folder, _CATALOGUE if folder.startswith(_CATALOGUE) else _OTHER)
        if kind == IMAGES_AND_METADATA and not METADATA.fullmatch(file.name):
            kind = _OTHER
        add(kind, 1, file.bytes)
    return [Part(kind, files, size) for kind, (files, size) in counts.items()]


def holdings(cache: Cache, stock: Stock | None = None) -> list[Holding]:
    """Return what the cache holds, by data set; files of none that is known come last.

    Parameters
    ----------
    cache : Cache
        Which one.
    stock : Stock, optional
        Its images, if they have just been looked at.
    """
    if stock is None:
        stock = take_stock(cache)
    found: dict[int | None, _Count] = defaultdict(_Count)
    for file in cache.files("datasets"):
        if METADATA.fullmatch(file.name):
            name = file.name.removeprefix("datasets/").removesuffix(".json")
            plain = name == str(int(name))
            found[int(name) if plain else None].add(1, file.bytes)
    for (names, data_sets), (folders, *sizes) in stock.kinds.items():
        images: set[int | None] = set()
        masks: set[int | None] = set()
        for name, dataset_id, size in zip(names, data_sets, sizes, strict=True):
            known = _IN_FOLDER.fullmatch(name)
            if known is None:
                continue
            found[dataset_id].add(folders, size)
            if known["companion"] is None:
                (masks if known["mask"] else images).add(dataset_id)
                found[dataset_id].tiers.add(int(known["tier"]))
        for dataset_id in images:
            found[dataset_id].images += folders
        for dataset_id in masks:
            found[dataset_id].masks += folders
    unknown = found.pop(None, None)
    held = [
        _holding(dataset_id, count, stock.record(dataset_id))
        for dataset_id, count in sorted(found.items(), key=lambda pair: pair[0] or 0)
        if dataset_id is not None
    ]
    if unknown is not None:
        held.append(_holding(None, unknown, None))
    stock.keep()
    return held


class _Count:
    """Files of one data set, while they are counted."""

    def __init__(self) -> None:
        self.images = self.masks = self.files = self.bytes = 0
        self.tiers: set[int] = set()

    def add(self, files: int, size: int) -> None:
        self.files += files
        self.bytes += size


def _holding(dataset_id: int | None, count: _Count, known: Known | None) -> Holding:
    return Holding(
        dataset_id=dataset_id,
        genes=None if known is None else known.genes,
        section_images=None if known is None else known.images,
        images=count.images,
        masks=count.masks,
        files=count.files,
        bytes=count.bytes,
        tiers=tuple(sorted(count.tiers)),
    )
