"""What lies in the images' folders of the cache, so that not each must be opened to list them.

Every image has its own folder: with many, opening them and reading what their companions say takes
most of the time of a list. The index keeps the names in each folder, and to which data set its
images belong. Nothing in it is believed unseen. Each listing looks at every folder and every file;
the names count while the folder is the same one with the same times, and what a companion said
while that is the same file with the same length and times. Sizes are never kept.

So the index may be missing, damaged, stale or another machine's: then folders are opened again,
and a new one is written, whole or not at all. See decision 17.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypedDict

from atldld.errors import AtldldError
from atldld.fetch.cache import FORMAT, MARKER, Cache, FileHeld, read_json
from atldld.support.files import move_to, temporary_beside

__all__ = ["INDEX", "SMALLEST", "Kind", "Known", "Stock", "take_stock"]

INDEX = "index/images.json"
"""Where it is, below the cache's folder."""

SMALLEST = 1000
"""Folders of images from which an index is worth having."""

SETTLED = 4_000_000_000
"""Nanoseconds for which something must not have changed to be kept. File systems count time in
steps, of two seconds at most: what has just been written may be written again in the same step."""

_VERSION = 1
_LARGEST = 512 << 20
_PLAIN_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}")
_LARGEST_COMPANION = 64 << 10

_CHECKED = ".json"

Kind: TypeAlias = tuple[tuple[str, ...], tuple[int | None, ...]]
"""What a folder holds: the names of its files, and the data set of each where that is known."""

_Entry: TypeAlias = tuple[int, int]  # what it looked like, and the number of its kind


class Known(NamedTuple):
    """What the metadata of a data set say, as far as a list needs it.

    Attributes
    ----------
    seen : int
        What the file looked like.
    genes : tuple of (str or None), or None
        The genes' acronyms; `None` where the file holds no data set that can be used.
    images : int
        How many images the data set has.
    """

    seen: int
    genes: tuple[str | None, ...] | None
    images: int


class _Content(TypedDict):
    version: int
    kinds: list[Kind]
    folders: dict[str, dict[str, _Entry]]
    records: dict[str, Known]


class _Companion(TypedDict, total=False):
    dataset_id: int | None


class Stock:
    """All files below ``images/``, and what the metadata of data sets say.

    Attributes
    ----------
    kinds : dict of Kind to list of int
        How many folders hold the same names of the same data sets, and the bytes of each of their
        files together: first the number, then one sum for each name.
    others : list of FileHeld
        Files that lie elsewhere than the cache puts images.
    """

    def __init__(self, index: _Index) -> None:
        self.kinds: dict[Kind, list[int]] = {}
        self.others: list[FileHeld] = []
        self._index = index

    def record(self, dataset_id: int) -> Known | None:
        """Return what the metadata of a data set say; `None` where there are none to be used."""
        found = self._index.record(dataset_id)
        return None if found.genes is None else found

    def keep(self) -> None:
        """Write the index, if it has changed and can be written."""
        self._index.write()


def take_stock(cache: Cache) -> Stock:
    """Look at every image file of the cache.

    Raises
    ------
    CacheError
        If a folder cannot be looked into.
    """
    index = _Index(cache)
    stock = Stock(index)
    if not os.path.isdir(cache.root / "images"):
        return stock
    top = cache.look_into("images")
    stock.others += top.files
    groups: dict[str, list[str]] = {}
    for group in top.folders:
        number = group.rpartition("/")[2]
        if not _PLAIN_NUMBER.fullmatch(number):
            stock.others += cache.files(group)
            continue
        inside = cache.look_into(group)
        stock.others += inside.files
        leaves = groups[number] = []
        for leaf in inside.folders:
            image = leaf.rpartition("/")[2]
            if _PLAIN_NUMBER.fullmatch(image) and int(image) // 1000 == int(number):
                leaves.append(image)
            else:
                stock.others += cache.files(leaf)
    if sum(map(len, groups.values())) >= SMALLEST:
        index.begin()
    for number, leaves in groups.items():
        index.look(number, leaves, stock)
    return stock


class _Index:
    """The index of one cache: as it was read, and as it will be written."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._path = cache.root / INDEX
        self._old, self._new = _nothing(), _nothing()
        self._numbers: dict[Kind, int] = {}
        self._kept = False
        self._changed = False
        self._settled = 0

    def begin(self) -> None:
        """Read what was written before; from here on, what is seen is worth keeping."""
        self._kept = True
        self._old = _read(self._path)
        self._new["records"].update(self._old["records"])
        self._settled = _now_on_disk(self._path.parent) - SETTLED

    def look(self, group: str, leaves: Sequence[str], stock: Stock) -> None:
        """Count the files of the folders of one group."""
        old, kinds, totals = self._old["folders"].get(group, {}), self._old["kinds"], stock.kinds
        new = self._new["folders"].setdefault(group, {})
        root = os.path.join(os.fspath(self._cache.root), "images", group, "")
        look = os.stat
        # this loop is all that is left for most folders, so it calls nothing that it can do without
        for leaf in leaves:
            entry = old.get(leaf)
            if entry is not None:
                kind = kinds[entry[1]]
                try:
                    facts = look(root + leaf)
                    seen = [facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns]
                    sizes = []
                    for name in kind[0]:
                        facts = look(f"{root}{leaf}/{name}")
                        sizes.append(facts.st_size)
                        if name.endswith(_CHECKED):
                            seen += (
                                facts.st_ino,
                                facts.st_size,
                                facts.st_mtime_ns,
                                facts.st_ctime_ns,
                            )
                except OSError:
                    pass
                else:
                    if hash(tuple(seen)) == entry[0]:
                        new[leaf] = (entry[0], self._number(kind))
                        _add(totals, kind, sizes)
                        continue
            self._changed = True
            opened = self._open(f"images/{group}/{leaf}", stock)
            if opened is not None:
                kind, sizes, print_ = opened
                _add(totals, kind, sizes)
                if print_ is not None:
                    new[leaf] = (print_, self._number(kind))
        self._changed |= len(new) != len(old)

    def _number(self, kind: Kind) -> int:
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self._new["kinds"])
            self._new["kinds"].append(kind)
        return number

    def _open(self, folder: str, stock: Stock) -> tuple[Kind, list[int], int | None] | None:
        """Look into a folder.

        Returns
        -------
        kind : Kind
            What it holds.
        sizes : list of int
            The bytes of each file.
        seen : int or None
            What it looked like, if that may be kept.
        """
        path = f"{os.fspath(self._cache.root)}/{folder}"
        try:
            facts = os.stat(path)
        except OSError:
            return None  # it has gone meanwhile
        seen = [facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns]
        latest = max(facts.st_mtime_ns, facts.st_ctime_ns)
        inside = self._cache.look_into(folder)
        for deeper in inside.folders:
            stock.others += self._cache.files(deeper)
        sizes = {file.name.rpartition("/")[2]: file.bytes for file in inside.files}
        names = tuple(sorted(sizes))
        of: dict[str, int | None] = {}
        keep = inside.plain
        for name in names:
            if not name.endswith(_CHECKED):
                continue
            try:
                # before it is read: what is replaced in between looks different the next time
                facts = os.stat(f"{path}/{name}")
            except OSError:
                keep = False
                continue
            seen += (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
            latest = max(latest, facts.st_mtime_ns, facts.st_ctime_ns)
            image = name.removesuffix(_CHECKED)
            if image in sizes:
                of[image] = of[name] = _data_set(f"{path}/{name}", facts.st_size, many=self._kept)
        kind = names, tuple(of.get(name) for name in names)
        print_ = hash(tuple(seen)) if keep and latest < self._settled else None
        return kind, [sizes[name] for name in names], print_

    def record(self, dataset_id: int) -> Known:
        """Return what the metadata of a data set say."""
        name = str(dataset_id)
        path = self._cache.root / "datasets" / f"{name}.json"
        try:
            facts = path.stat()
        except OSError:
            return Known(0, None, 0)
        seen = hash((facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
        known = self._old["records"].get(name)
        if known is not None and known.seen == seen:
            return known
        from atldld.fetch.documents import record_in

        record = record_in(self._cache, dataset_id)
        known = (
            Known(seen, None, 0)
            if record is None
            else Known(seen, tuple(gene.acronym for gene in record.genes), len(record.images))
        )
        self._changed = True
        self._new["records"].pop(name, None)
        if max(facts.st_mtime_ns, facts.st_ctime_ns) < self._settled:
            self._new["records"][name] = known
        return known

    def write(self) -> None:
        """Write what was seen, if anything is new in it and it is worth it."""
        if not (self._kept and self._changed):
            return
        # looking at a cache changes nothing that matters, so where it cannot be written, it is not
        with suppress(OSError, AtldldError):
            if read_json(self._cache.root / MARKER) != FORMAT:
                return
            content = _json().encode(self._new)
            with temporary_beside(self._path) as temporary:
                temporary.write_bytes(_sum_of(content) + content)
                move_to(temporary, self._path)


def _add(totals: dict[Kind, list[int]], kind: Kind, sizes: list[int]) -> None:
    total = totals.get(kind)
    if total is None:
        totals[kind] = [1, *sizes]
        return
    total[0] += 1
    for at, size in enumerate(sizes, start=1):
        total[at] += size


def _data_set(companion: str, length: int, *, many: bool) -> int | None:
    """Return the data set that an image's companion names, if it does."""
    found: object = None
    try:
        if length > _LARGEST_COMPANION or not many:
            raise ValueError
        with open(companion, "rb") as file:
            found = _json().decode(file.read(), type=_Companion).get("dataset_id")
    except (OSError, ValueError):
        # not what this package writes, or few: read as everywhere else
        with suppress(AtldldError):
            found = read_json(Path(companion)).get("dataset_id")
    return found if type(found) is int and 0 < found <= 10**15 else None


def _sum_of(content: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(content).hexdigest().encode() + b"\n"


def _read(path: Path) -> _Content:
    """Read an index; what is no whole one is none."""
    with suppress(OSError, ValueError):
        if path.stat().st_size <= _LARGEST:
            sum_, _, content = path.read_bytes().partition(b"\n")
            if _sum_of(content) == sum_ + b"\n":
                found: _Content = _json().decode(content, type=_Content)
                if found["version"] == _VERSION:
                    return found
    return _nothing()


def _nothing() -> _Content:
    return {"version": _VERSION, "kinds": [], "folders": {}, "records": {}}


def _json() -> Any:
    import msgspec  # which small caches do without

    return msgspec.json


def _now_on_disk(folder: Path) -> int:
    """Return the time by the clock that stamps files there; 0 where nothing can be written."""
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        with temporary_beside(folder / "clock") as probe:
            probe.touch()
            return probe.stat().st_mtime_ns
    return 0
