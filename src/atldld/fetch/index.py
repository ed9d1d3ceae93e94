"""What lies in the images' folders of the cache, so that not each must be opened to list them.

Every image has its own folder: with many, opening them, looking at each file and reading what the
companions say takes most of the time of a list. A thousand of these folders lie in one group, and
the index keeps what each group holds: how many folders have the same names, of the same data sets,
and the sizes of their files. A listing looks at every folder; what the index says of a group counts
while all its folders are the same with the same times. Files that come, go or are replaced change
the times of their folder; a file that is rewritten in place does not, so checking the cache removes
the index.

The index may be missing, damaged, stale or another machine's: then folders are opened again, and a
new one is written, whole or not at all. See decision 19.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypedDict

from atldld.errors import AtldldError
from atldld.fetch.cache import FORMAT, MARKER, Cache, FileHeld, FolderHeld, read_json
from atldld.support.files import move_to, temporary_beside

__all__ = ["INDEX", "SMALLEST", "Group", "Kind", "Known", "Stock", "forget", "take_stock"]

INDEX = "index/images.json"
"""Where it is, below the cache's folder."""

SMALLEST = 1000
"""Folders of images from which an index is worth having."""

SETTLED = 4_000_000_000
"""Nanoseconds for which something must not have changed to be kept. File systems count time in
steps, of two seconds at most: what has just been written may be written again in the same step."""

_VERSION = 2
_LARGEST = 512 << 20
_PLAIN_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}")
_LARGEST_COMPANION = 64 << 10

_CHECKED = ".json"

Kind: TypeAlias = tuple[tuple[str, ...], tuple[int | None, ...]]
"""What a folder holds: the names of its files, and the data set of each where that is known."""


class Group(NamedTuple):
    """What the folders of a group hold.

    Attributes
    ----------
    seen : int
        What they looked like.
    kinds : list of (Kind, list of int)
        As `Stock.kinds`.
    """

    seen: int
    kinds: list[tuple[Kind, list[int]]]


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
    groups: dict[str, Group]
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
    """Look at every image folder of the cache, and into those of groups that have changed.

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
    groups = []
    for folder in top.folders:
        number = folder.rpartition("/")[2]
        if _PLAIN_NUMBER.fullmatch(number):
            groups.append(number)
        else:
            stock.others += cache.files(folder)
    index.look(groups, stock)
    return stock


def forget(cache: Cache) -> None:
    """Remove the index, so that the next list looks at every file."""
    with suppress(OSError):  # where it cannot be removed, it could not be written either
        (cache.root / INDEX).unlink(missing_ok=True)


class _Index:
    """The index of one cache: as it was read, and as it will be written."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._root = os.fspath(cache.root)
        self._path = cache.root / INDEX
        self._old, self._new = _nothing(), _nothing()
        self._kept = False
        self._changed = False
        self._settled = 0

    def _begin(self) -> None:
        """Read what was written before; from here on, what is seen is worth keeping."""
        self._kept = True
        self._old = _read(self._path)
        self._new["records"].update(self._old["records"])
        self._settled = _now_on_disk(self._path.parent) - SETTLED

    def look(self, groups: Sequence[str], stock: Stock) -> None:
        """Count the files of the folders of some groups."""
        images = os.path.join(self._root, "images", "")
        # before any is opened: what changes in between looks different the next time
        found = {group: _look_of(images + group) for group in groups}
        if sum(count for count, _ in found.values()) >= SMALLEST:
            self._begin()
        old, new = self._old["groups"], self._new["groups"]
        for group, (_, seen) in found.items():
            held = old.get(group)
            if held is not None and held.seen == seen:
                new[group], kinds = held, held.kinds
            else:
                self._changed = True
                opened, keep = self._open(group, stock)
                kinds = list(opened.items())
                if keep and seen is not None:
                    new[group] = Group(seen, kinds)
            for kind, sums in kinds:
                _add(stock.kinds, kind, sums)
        self._changed |= len(new) != len(old)

    def _open(self, group: str, stock: Stock) -> tuple[dict[Kind, list[int]], bool]:
        """Look into the folders of a group; return what they hold, and whether that may be kept."""
        kinds: dict[Kind, list[int]] = {}
        inside = self._cache.look_into(f"images/{group}")
        stock.others += inside.files
        keep = not inside.files and self._is_settled(f"images/{group}", inside)
        for folder in inside.folders:
            image = folder.rpartition("/")[2]
            if _PLAIN_NUMBER.fullmatch(image) and int(image) // 1000 == int(group):
                kind, sizes, settled = self._open_one(folder, stock)
                _add(kinds, kind, [1, *sizes])
                keep &= settled
            else:
                stock.others += self._cache.files(folder)
                keep = False
        return kinds, keep

    def _open_one(self, folder: str, stock: Stock) -> tuple[Kind, list[int], bool]:
        """Return the kind of a folder, its files' sizes, and whether that may be kept."""
        inside = self._cache.look_into(folder)
        for deeper in inside.folders:
            stock.others += self._cache.files(deeper)
        sizes = {file.name.rpartition("/")[2]: file.bytes for file in inside.files}
        names = tuple(sorted(sizes))
        of: dict[str, int | None] = {}
        for name in names:
            image = name.removesuffix(_CHECKED)
            if name.endswith(_CHECKED) and image in sizes:
                companion = f"{self._root}/{folder}/{name}"
                of[image] = of[name] = _data_set(companion, sizes[name], many=self._kept)
        keep = inside.plain and self._is_settled(folder, inside)
        return (names, tuple(map(of.get, names))), [sizes[name] for name in names], keep

    def _is_settled(self, folder: str, inside: FolderHeld) -> bool:
        """Whether a folder, and each of its files, was changed long enough ago."""
        try:
            facts = os.stat(f"{self._root}/{folder}")
        except OSError:
            return False
        # also the files: one that is still being written does not change its folder any more
        files = max((file.modified for file in inside.files), default=0.0)
        return max(facts.st_mtime_ns, facts.st_ctime_ns, int(1e9 * files)) < self._settled

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


def _look_of(group: str) -> tuple[int, int | None]:
    """Return how many folders are in a group, and what they and it look like.

    `None` where one cannot be looked at: it has gone meanwhile, is a link that leads nowhere, or
    cannot be read, of which opening it tells.
    """
    look = os.stat
    names: list[str] = []
    try:
        facts = look(group)
        seen = [facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns]
        names = os.listdir(group)
        # this loop is nearly all that is left of a list, so it calls nothing that it can do without
        for name in names:
            facts = look(f"{group}/{name}")
            seen += (facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns)
    except OSError:
        return len(names), None
    return len(names), hash(tuple(seen))


def _add(totals: dict[Kind, list[int]], kind: Kind, sums: Sequence[int]) -> None:
    total = totals.setdefault(kind, [0] * len(sums))
    for at, more in enumerate(sums):
        total[at] += more


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
    return {"version": _VERSION, "groups": {}, "records": {}}


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
