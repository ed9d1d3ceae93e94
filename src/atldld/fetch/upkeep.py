"""Looking after the cache: listing, verifying, pruning, exporting and importing.

An exported archive is the cache's own layout in a folder or a ZIP file. Importing believes none
of it: names must be the layout's, and every image must decode and match its hash.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, Any

from atldld.errors import AtldldError, CacheError, InvalidInputError, OutputError
from atldld.fetch.cache import FORMAT, MARKER, Cache, companion_of, read_json, sha256_of
from atldld.fetch.session import Session
from atldld.files import (
    check_targets,
    is_left_over,
    sweep,
    whole_file,
    whole_folder,
    write_errors,
)
from atldld.records import SectionDataSet, SectionImage

__all__ = [
    "Damage",
    "Holding",
    "StoredImage",
    "Verification",
    "export_archive",
    "holdings",
    "import_archive",
    "prune",
    "stored_images",
    "verify_cache",
]

# What an archive may hold, and nothing else. The groups of an image are its id, tier and view.
_IMAGE = re.compile(r"images/\d{1,12}/(\d{1,15})/(\d{1,2})(-expression)?\.jpg")
_DOCUMENT = re.compile(r"(datasets/\d{1,15}|queries/[0-9a-f]{64})\.json")
_FILE = re.compile(r"files((?:/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){1,12})")

LARGEST_IMAGE = 1 << 30
LARGEST_DOCUMENT = 256 << 20
LARGEST_FILE = 8 << 30
CHUNK = 1 << 20
LEFT_OVER_AFTER = 3600.0  # seconds; what a run that goes on is writing is younger


@dataclass(frozen=True)
class StoredImage:
    """An image file of the cache, sound or not.

    Attributes
    ----------
    path : pathlib.Path
        The JPEG.
    image_id, downsample : int
        Which image at which tier.
    expression : bool
        Whether it is the expression mask.
    facts : dict
        What its companion says: width, height, bytes, sha256, url, fetched, dataset_id. Empty
        where there is none.
    """

    path: Path
    image_id: int
    downsample: int
    expression: bool
    facts: dict[str, Any]

    @property
    def dataset_id(self) -> int | None:
        """The data set that it belongs to, where that is known."""
        value = self.facts.get("dataset_id")
        return value if isinstance(value, int) else None

    @property
    def fetched(self) -> datetime:
        """When it was fetched; when the file was written where that is not known."""
        with suppress(TypeError, ValueError):
            when = datetime.fromisoformat(self.facts.get("fetched", ""))
            return when if when.tzinfo else when.replace(tzinfo=UTC)
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)


@dataclass(frozen=True)
class Holding:
    """What the cache holds of one data set.

    Attributes
    ----------
    dataset_id : int or None
        `None` for images whose data set is not known.
    record : SectionDataSet or None
        Its metadata, if they are there.
    images, masks : int
        How many.
    bytes : int
        Of all of them.
    tiers : tuple of int
        Which tiers occur.
    """

    dataset_id: int | None
    record: SectionDataSet | None
    images: int
    masks: int
    bytes: int
    tiers: tuple[int, ...]


@dataclass(frozen=True)
class Damage:
    """A file of the cache that is not as it should be, and what was done about it."""

    path: Path
    problem: str
    remedy: str | None = None
    lost: bool = False
    """Whether it was to be had again, and could not be."""


@dataclass
class Verification:
    """What `verify_cache` found.

    Attributes
    ----------
    sound : int
        Files that are as they should be.
    damaged : list of Damage
        Those that are not.
    """

    sound: int = 0
    damaged: list[Damage] = field(default_factory=list)

    @property
    def repaired(self) -> int:
        """How many of them are mended, or gone where nothing more was to be done."""
        return sum(damage.remedy is not None and not damage.lost for damage in self.damaged)


def stored_images(cache: Cache) -> Iterator[StoredImage]:
    """Yield every image file of the cache, sound or not, by id and tier."""
    paths = (cache.root / "images").glob("*/*/*.jpg")
    for path in sorted(path for path in paths if not path.name.startswith(".")):
        found = _IMAGE.fullmatch(path.relative_to(cache.root).as_posix())
        if found is not None:
            facts = read_json(companion_of(path))
            yield StoredImage(path, int(found[1]), int(found[2]), found[3] is not None, facts)


def stored_files(cache: Cache) -> Iterator[str]:
    """Yield the names of the other files of the cache (atlases, grids, plates), sound or not."""
    folder = cache.root / "files"
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(cache.root).as_posix()
        if path.is_file() and not path.is_symlink() and _FILE.fullmatch(name):
            if path.suffix == ".json" and path.with_suffix("").is_file():
                continue  # the companion of another one
            yield name.removeprefix("files/")


def holdings(cache: Cache) -> list[Holding]:
    """Return what the cache holds, by data set."""
    by_dataset: dict[int | None, list[StoredImage]] = defaultdict(list)
    for name in cache.document_names("datasets"):
        by_dataset[int(name)] = []
    for stored in stored_images(cache):
        by_dataset[stored.dataset_id].append(stored)
    found = []
    for dataset_id, images in sorted(by_dataset.items(), key=lambda pair: pair[0] or 0):
        found.append(
            Holding(
                dataset_id=dataset_id,
                record=_record(cache, dataset_id),
                images=sum(not image.expression for image in images),
                masks=sum(image.expression for image in images),
                bytes=sum(image.path.stat().st_size for image in images),
                tiers=tuple(sorted({image.downsample for image in images})),
            )
        )
    return found


def verify_cache(
    session: Session,
    *,
    repair: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Verification:
    """Read everything again: recompute every hash, decode every image, parse every document.

    Parameters
    ----------
    session : Session
        Whose cache; where damaged images are fetched again.
    repair : bool
        Remove what is damaged, and fetch it again unless working offline.
    progress : callable, optional
        Takes how many images are done, how many there are, and the last one's name.
    """
    from atldld.errors import BrokenImageError
    from atldld.fetch.images import verify

    cache = session.cache
    cache.check_version()
    result = Verification()
    images = list(stored_images(cache))
    for done, stored in enumerate(images, start=1):
        facts = stored.facts
        problem = None
        if not facts:
            problem = "nothing is known of where it came from"
        elif facts.get("sha256") != sha256_of(stored.path):
            problem = "its bytes have changed"
        else:
            try:
                verify(stored.path, facts.get("width", 0), facts.get("height", 0))
            except BrokenImageError as error:
                problem = error.message
        if problem is None:
            result.sound += 1
        else:
            remedy, lost = _mend(session, stored) if repair else (None, False)
            result.damaged.append(Damage(stored.path, problem, remedy, lost))
        if progress:
            progress(done, len(images), stored.path.name)
    for kind in ("datasets", "queries"):
        for name in cache.document_names(kind):
            path = cache.root / kind / f"{name}.json"
            if read_json(path):
                result.sound += 1
                continue
            if repair:
                _unlink(path)
            result.damaged.append(
                Damage(path, "it is no JSON", "removed; fetched when needed" if repair else None)
            )
    for name in stored_files(cache):
        path, facts = cache.file_path(name), read_json(companion_of(cache.file_path(name)))
        if facts.get("sha256") == sha256_of(path):
            result.sound += 1
            continue
        problem = "its bytes have changed" if facts else "nothing is known of where it came from"
        if repair:
            _remove(path)
        remedy = "removed; fetched when needed" if repair else None
        result.damaged.append(Damage(path, problem, remedy))
    for path in _left_over(cache):
        if repair:
            sweep(path.parent)
            _unlink(path)
        result.damaged.append(
            Damage(path, "a run that was killed left it", "removed" if repair else None)
        )
    return result


def prune(
    cache: Cache,
    *,
    older_than: timedelta | None = None,
    max_size: int | None = None,
    dataset_id: int | None = None,
) -> tuple[int, int]:
    """Remove images from the cache, the oldest first.

    Parameters
    ----------
    cache : Cache
        From which.
    older_than : datetime.timedelta, optional
        Those fetched longer ago.
    max_size : int, optional
        Until those that are left have no more bytes than this.
    dataset_id : int, optional
        Those of one data set, and its metadata; with the other conditions only those of it.

    Returns
    -------
    count, size : int
        How many images were removed, and their bytes.

    Raises
    ------
    InvalidInputError
        No condition at all.
    """
    if older_than is None and max_size is None and dataset_id is None:
        raise InvalidInputError(
            "Pruning without a condition would empty the cache.",
            hint="Give --older-than, --max-size or --dataset.",
        )
    cache.check_version()
    images = sorted(stored_images(cache), key=lambda image: image.fetched)
    if dataset_id is not None:
        # also those that a removal which was cut off has left without a companion
        record = _record(cache, dataset_id)
        members = {image.id for image in record.images} if record else set()
        images = [
            image
            for image in images
            if image.dataset_id == dataset_id or (not image.facts and image.image_id in members)
        ]
    kept = sum(image.path.stat().st_size for image in images)
    before = None if older_than is None else datetime.now(UTC) - older_than
    count = size = 0
    for image in images:
        too_old = before is not None and image.fetched < before
        too_much = max_size is not None and kept > max_size
        all_of_it = before is None and max_size is None
        if too_old or too_much or all_of_it:
            own = image.path.stat().st_size
            _remove(image.path)
            count, size, kept = count + 1, size + own, kept - own
    if dataset_id is not None and before is None and max_size is None:
        _unlink(cache.root / "datasets" / f"{dataset_id}.json")
    return count, size


def export_archive(
    cache: Cache,
    target: str | Path,
    dataset_ids: Iterable[int] | None = None,
    *,
    force: bool = False,
) -> int:
    """Write the cache, or some data sets of it, as an archive.

    Parameters
    ----------
    cache : Cache
        From which.
    target : str or pathlib.Path
        A ZIP file, if it ends in ``.zip``, else a folder.
    dataset_ids : iterable of int, optional
        Only these, without the answers to other queries.
    force : bool
        Replace a ZIP file, or a folder that holds an archive.

    Returns
    -------
    int
        How many images were written.

    Raises
    ------
    CacheError
        A data set is not in the cache, or nothing is; or the target cannot be written, or is
        there already.
    """
    target = Path(target)
    try:
        return _export(cache, target, dataset_ids, force=force)
    except OutputError as error:
        raise CacheError(error.message, hint=error.hint) from error


def _export(cache: Cache, target: Path, dataset_ids: Iterable[int] | None, *, force: bool) -> int:
    zipped = target.suffix.lower() == ".zip"
    check_targets([target], force=force, store=not zipped)
    wanted = None if dataset_ids is None else set(dataset_ids)
    missing = (wanted or set()) - {int(name) for name in cache.document_names("datasets")}
    if missing:
        raise CacheError(
            f"Data set {min(missing)} is not in the cache at {cache.root}.",
            hint=f"Fetch it first with `atldld download dataset {min(missing)} OUT`.",
        )
    images = [
        stored
        for stored in stored_images(cache)
        if stored.facts and (wanted is None or stored.dataset_id in wanted)
    ]
    files = [cache.root / MARKER] if (cache.root / MARKER).exists() else []
    for kind in ("datasets", "queries"):
        files += [
            cache.root / kind / f"{name}.json"
            for name in cache.document_names(kind)
            if wanted is None or (kind == "datasets" and int(name) in wanted)
        ]
    for stored in images:
        files += [stored.path, companion_of(stored.path)]
    for name in stored_files(cache) if wanted is None else ():
        held = cache.find_file(name)
        files += [held.path, companion_of(held.path)] if held else []
    if not files:
        raise CacheError(f"The cache at {cache.root} is empty; there is nothing to export.")
    if zipped:
        with (
            whole_file(target, force=force) as temporary,
            # JPEGs do not shrink any further
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
        ):
            for path in files:
                archive.write(path, path.relative_to(cache.root).as_posix())
    else:
        with whole_folder(target, force=force) as temporary:
            for path in files:
                copy = temporary / path.relative_to(cache.root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
    return len(images)


def import_archive(cache: Cache, source: str | Path) -> tuple[int, list[Damage]]:
    """Take what is sound in an archive into the cache; what is there already stays.

    Parameters
    ----------
    cache : Cache
        Into which.
    source : str or pathlib.Path
        A ZIP file or a folder that `export_archive` wrote, or a cache.

    Returns
    -------
    count : int
        How many images were taken.
    refused : list of Damage
        What was not, and why.

    Raises
    ------
    CacheError
        The source is no archive, or the cache cannot be written.
    """
    source = Path(source)
    taken, refused = 0, []
    with _members(source) as members:
        if MARKER not in members or _small_json(members[MARKER]) != FORMAT:
            raise CacheError(
                f"{source} is no archive of atldld (it has no {MARKER} that this version knows)."
            )
        for name, member in members.items():
            if name == MARKER or name.endswith(".jpg.json") or name.startswith("unpacked/"):
                continue
            if name.endswith(".json") and name.removesuffix(".json") in members:
                continue
            try:
                if _IMAGE.fullmatch(name):
                    taken += _take_image(cache, name, member, members.get(f"{name}.json"))
                elif _DOCUMENT.fullmatch(name):
                    _take_document(cache, name, member)
                elif _FILE.fullmatch(name):
                    _take_file(cache, name, member, members.get(f"{name}.json"))
                else:
                    raise InvalidInputError("its name is none of an archive's")
            except (InvalidInputError, ValueError) as error:
                refused.append(Damage(source / name, str(error)))
    return taken, refused


@dataclass(frozen=True)
class _Member:
    """A file of an archive: how long it is, and how to open it."""

    size: int
    open: Callable[[], IO[bytes]]


@contextmanager
def _members(source: Path) -> Iterator[dict[str, _Member]]:
    if source.is_dir():
        paths = [path for path in source.rglob("*") if path.is_file() and not path.is_symlink()]
        yield {
            path.relative_to(source).as_posix(): _Member(path.stat().st_size, partial(_open, path))
            for path in paths
            if not path.name.startswith(".")
        }
        return
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile) as error:
        raise CacheError(f"{source} is neither a folder nor a ZIP file: {error}.") from None
    with archive:
        yield {
            info.filename: _Member(info.file_size, partial(archive.open, info))
            for info in archive.infolist()
            if not info.is_dir()
        }


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _read(member: _Member, largest: int) -> Iterator[bytes]:
    """Yield a member's bytes, no more than it announces and no more than are allowed."""
    if member.size > largest:
        raise InvalidInputError(f"it announces {member.size} bytes, too many")
    length = 0
    try:
        with member.open() as file:
            while chunk := file.read(CHUNK):
                length += len(chunk)
                if length > member.size:
                    raise InvalidInputError("it is longer than it announces")
                yield chunk
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise InvalidInputError(f"it cannot be read: {error}") from None


def _small_json(member: _Member) -> dict[str, Any]:
    import json

    try:
        document = json.loads(b"".join(_read(member, LARGEST_DOCUMENT)))
    except (InvalidInputError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _take_image(cache: Cache, name: str, member: _Member, companion: _Member | None) -> bool:
    from atldld.errors import BrokenImageError
    from atldld.fetch.images import verify

    found = _IMAGE.fullmatch(name)
    facts = {} if companion is None else _small_json(companion)
    if found is None or not facts:
        raise InvalidInputError("nothing is known of where it came from")
    image_id, downsample, expression = int(found[1]), int(found[2]), found[3] is not None
    if cache.find_image(image_id, downsample, expression=expression) is not None:
        return False
    dataset_id = facts.get("dataset_id")
    with cache.new_image(image_id, downsample, expression=expression) as (file, temporary, keep):
        digest = hashlib.sha256()
        for chunk in _read(member, LARGEST_IMAGE):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        if digest.hexdigest() != facts.get("sha256"):
            raise InvalidInputError("its bytes do not match its hash")
        try:
            verify(temporary, int(facts["width"]), int(facts["height"]))
        except (BrokenImageError, KeyError, TypeError) as error:
            raise InvalidInputError(f"it is no sound image: {error}") from None
        keep(
            width=int(facts["width"]),
            height=int(facts["height"]),
            sha256=digest.hexdigest(),
            url=str(facts.get("url", "")),
            dataset_id=dataset_id if isinstance(dataset_id, int) else None,
            fetched=str(facts.get("fetched", "")) or None,
        )
    return True


def _take_document(cache: Cache, name: str, member: _Member) -> None:
    kind, _, stem = name.removesuffix(".json").partition("/")
    document = _small_json(member)
    if not document:
        raise InvalidInputError("it is no JSON")
    if kind == "datasets":
        try:
            record = SectionDataSet.from_records(
                document["section_data_set"], document["section_images"]
            )
        except (AtldldError, KeyError, TypeError, AttributeError):
            raise InvalidInputError("it is no data set") from None
        if str(record.id) != stem:
            raise InvalidInputError(f"it is data set {record.id}")
    elif not isinstance(document.get("rows"), list):
        raise InvalidInputError("it is no answer to a query")
    if cache.read_document(kind, stem) is None:
        cache.write_json(cache.root / name, document)


def _take_file(cache: Cache, name: str, member: _Member, companion: _Member | None) -> None:
    facts = {} if companion is None else _small_json(companion)
    if not facts:
        raise InvalidInputError("nothing is known of where it came from")
    name = name.removeprefix("files/")
    if cache.find_file(name) is not None:
        return
    with cache.new_file(name) as (file, _, keep):
        digest = hashlib.sha256()
        for chunk in _read(member, LARGEST_FILE):
            digest.update(chunk)
            file.write(chunk)
        if digest.hexdigest() != facts.get("sha256"):
            raise InvalidInputError("its bytes do not match its hash")
        keep(
            url=str(facts.get("url", "")),
            sha256=digest.hexdigest(),
            fetched=str(facts.get("fetched", "")) or None,
        )


def _mend(session: Session, stored: StoredImage) -> tuple[str, bool]:
    """Remove a damaged image and fetch it again; say what could be done, and if it is lost."""
    _remove(stored.path)
    if session.settings.offline:
        return "removed; not fetched again, offline", False
    try:
        record = _image_record(session, stored)
        session.image(record, stored.downsample, expression=stored.expression)
    except AtldldError as error:
        return f"removed; not fetched again: {error.message}", True
    return "fetched again", False


def _image_record(session: Session, stored: StoredImage) -> SectionImage:
    dataset = _record(session.cache, stored.dataset_id)
    if dataset is not None:
        with suppress(KeyError):
            return dataset.image(stored.image_id)
    return SectionImage.from_record(session.image_record(stored.image_id))


def _record(cache: Cache, dataset_id: int | None) -> SectionDataSet | None:
    document = None if dataset_id is None else cache.read_document("datasets", str(dataset_id))
    if document is None:
        return None
    try:
        return SectionDataSet.from_records(document["section_data_set"], document["section_images"])
    except (AtldldError, KeyError, TypeError, AttributeError):
        return None


def _remove(path: Path) -> None:
    """Remove an image; its companion first, so that a killed removal leaves nothing vouched for."""
    _unlink(companion_of(path))
    _unlink(path)


def _unlink(path: Path) -> None:
    with write_errors(path, CacheError):
        path.unlink(missing_ok=True)


def _left_over(cache: Cache) -> list[Path]:
    """Return temporary files that no running process can still be writing."""
    limit = time.time() - LEFT_OVER_AFTER
    return [
        path
        for path in cache.root.rglob(".*.part*")
        if is_left_over(path) or (path.is_file() and path.stat().st_mtime < limit)
    ]
