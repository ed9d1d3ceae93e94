"""Looking after the cache: verifying, pruning."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from atldld.errors import AtldldError, CacheError, InvalidInputError, Remedy
from atldld.fetch.cache import (
    ENDINGS,
    Cache,
    FileHeld,
    Origin,
    companion_of,
    read_json,
    sha256_of,
)
from atldld.fetch.documents import record_in
from atldld.fetch.holdings import METADATA
from atldld.fetch.index import forget
from atldld.fetch.known import GRAPH, problem_of
from atldld.fetch.session import Session
from atldld.fetch.unpacked import check_unpacked
from atldld.records import SectionImage
from atldld.support.arguments import check_id
from atldld.support.files import is_left_over, sweep

__all__ = [
    "Damage",
    "Sample",
    "StoredImage",
    "Verification",
    "prune",
    "spot_check",
    "stored_images",
    "verify_cache",
]

IMAGE_NAME = re.compile(r"images/\d{1,12}/(\d{1,15})/(\d{1,2})(-expression)?\.(jpg|tif)", re.ASCII)
FILE_NAME = re.compile(r"files((?:/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){1,12})")

_ORIGINS: dict[str, str] = {"api": "the service", "bucket": "the public bucket"}

UNTOUCHED = 3600.0
"""Seconds after which `verify_cache` tells of what another machine may have left."""

_QUICKLY = 8 << 20  # bytes of a file that a spot check reads whole


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
    bytes : int
        Length of the file.
    modified : float
        When it was written last, in seconds of the system's clock.
    """

    path: Path
    image_id: int
    downsample: int
    expression: bool
    facts: dict[str, Any]
    bytes: int = 0
    modified: float = 0.0

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
        return datetime.fromtimestamp(self.modified, UTC)


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

    def add(
        self, path: Path, problem: str | None, remedy: str | None, *, lost: bool = False
    ) -> None:
        """Count a file: sound without a problem, gone with an empty one."""
        if problem is None:
            self.sound += 1
        elif problem:
            self.damaged.append(Damage(path, problem, remedy, lost))

    @property
    def repaired(self) -> int:
        """How many of them are mended, or gone where nothing more was to be done."""
        return sum(damage.remedy is not None and not damage.lost for damage in self.damaged)


def stored_images(cache: Cache) -> Iterator[StoredImage]:
    """Yield every image file of the cache, sound or not, by path.

    Files that others remove in the meantime are left out.
    """
    yield from _stored(cache.files("images"))


def _stored(files: Iterable[FileHeld]) -> Iterator[StoredImage]:
    for file in sorted(files, key=lambda file: file.name.split("/")):
        found = IMAGE_NAME.fullmatch(file.name)
        if found is not None:
            path = file.path
            yield StoredImage(
                path,
                int(found[1]),
                int(found[2]),
                found[3] is not None,
                _facts(path),
                file.bytes,
                file.modified,
            )


def _stored_files(cache: Cache) -> Iterator[str]:
    """Yield the names of the other files of the cache (atlases, grids, plates), sound or not."""
    for path in sorted(file.path for file in cache.files("files")):
        name = path.relative_to(cache.root).as_posix()
        if not path.is_symlink() and FILE_NAME.fullmatch(name):
            if path.suffix == ".json" and path.with_suffix("").is_file():
                continue  # the companion of another one
            yield name.removeprefix("files/")


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

    Raises
    ------
    CacheError
        If the cache is of a newer version; if something must be removed, and cannot be.

    Notes
    -----
    Others may use the cache in the meantime. What they remove counts neither as sound nor as
    damaged; what looks damaged is looked at again when nobody is writing it.
    """
    cache = session.cache
    cache.check_version()
    result = Verification()
    images = list(stored_images(cache))
    for done, stored in enumerate(images, start=1):
        problem = _problem_of_image(stored.path)
        remedy, lost = None, False
        if problem:
            with cache.settled(stored.image_id):
                problem = _problem_of_image(stored.path)
                if problem and repair:
                    _remove(cache, stored.path)
            if problem and repair:
                remedy, lost = _fetch_again(session, stored)
        result.add(stored.path, problem, remedy, lost=lost)
        if progress:
            progress(done, len(images), stored.path.name)
    for kind in ("datasets", "queries"):
        for name in cache.document_names(kind):
            path = cache.root / kind / f"{name}.json"
            problem = _problem_of_document(path)
            if problem and repair:
                _remove(cache, path)
            result.add(path, problem, "removed; fetched when needed" if repair else None)
    for name in _stored_files(cache):
        path = cache.file_path(name)
        problem = _problem_of_file(cache, name)
        if problem:
            with cache.settled_file(name):
                problem = _problem_of_file(cache, name)
                if problem and repair:
                    _remove(cache, path)
        result.add(path, problem, "removed; fetched when needed" if repair else None)
    for path, problem in check_unpacked(cache):
        if problem and repair:
            _remove(cache, path)
        result.add(path, problem, "removed; made again when needed" if repair else None)
    for path in _left_over(cache):
        if repair:
            sweep(path.parent)
            _remove(cache, path)
        result.add(path, "a run that was killed left it", "removed" if repair else None)
    # a list does not see what was rewritten in place
    forget(cache)
    return result


@dataclass(frozen=True)
class Sample:
    """What `spot_check` has looked at.

    Attributes
    ----------
    files, bytes : int
        How many files there are, and their size; of those that were listed in time.
    listed : bool
        Whether all were.
    sound : int
        Files that were read again, and are as they should be.
    damaged : tuple of Damage
        Those that are not.
    whole : bool
        Whether everything was read again.
    """

    files: int
    bytes: int
    listed: bool
    sound: int
    damaged: tuple[Damage, ...]
    whole: bool


def spot_check(cache: Cache, *, seconds: float = 4.0) -> Sample:
    """List the cache and read some of it again, without mending anything.

    Parameters
    ----------
    cache : Cache
        Which one.
    seconds : float
        About how long it may take, half of it for the list. Files are read in a random order, and
        of large ones only the length is looked at.
    """
    begun = time.monotonic()
    count, size, listed = 0, 0, True
    looks: list[tuple[Path, Callable[[Path], str | None]]] = []
    for file in cache.files():
        count, size = count + 1, size + file.bytes
        look = _look_for(cache, file)
        if look is not None:
            looks.append((file.path, look))
        if time.monotonic() - begun > seconds / 2:
            listed = False
            break
    random.shuffle(looks)
    result, read = Verification(), 0
    for path, look in looks:
        if time.monotonic() - begun > seconds:
            break
        result.add(path, look(path), None)
        read += 1
    whole = listed and read == len(looks)
    return Sample(count, size, listed, result.sound, tuple(result.damaged), whole)


def _look_for(cache: Cache, file: FileHeld) -> Callable[[Path], str | None] | None:
    """Return how a file can be looked at for itself, quickly."""
    name = file.path.relative_to(cache.root).as_posix()
    if METADATA.fullmatch(name) or re.fullmatch(r"queries/[0-9a-f]+\.json", name):
        return _problem_of_document
    if IMAGE_NAME.fullmatch(name) or (FILE_NAME.fullmatch(name) and file.path.suffix != ".json"):
        return _problem_of_length if file.bytes > _QUICKLY else _problem_of_bytes
    return None


def _problem_of_length(path: Path) -> str | None:
    told = _facts(path).get("bytes")
    try:
        return None if told in (None, path.stat().st_size) else "its length has changed"
    except OSError:
        return _GONE


# What is wrong with a file of the cache: a sentence, nothing, or `_GONE` where it is there no more.
_GONE = ""


def _problem_of_image(path: Path) -> str | None:
    from atldld.errors import BrokenImageError
    from atldld.fetch.pictures import verify

    facts = _facts(path)
    problem = _problem_of_bytes(path)
    if problem is None:
        try:
            verify(path, facts.get("width", 0), facts.get("height", 0))
        except BrokenImageError as error:
            return error.message
        except FileNotFoundError:
            return _GONE
        except OSError as error:
            return _unread(error)
    return problem


def _problem_of_bytes(path: Path) -> str | None:
    try:
        facts = read_json(companion_of(path))
        digest = sha256_of(path)
    except FileNotFoundError:
        return _GONE
    except OSError as error:
        return _unread(error)
    if not facts:
        return "nothing is known of where it came from"
    return None if facts.get("sha256") == digest else "its bytes have changed"


def _problem_of_file(cache: Cache, name: str) -> str | None:
    path = cache.file_path(name)
    problem = _problem_of_bytes(path)
    # the institute may have revised its graph: it is sound, and told of when it is opened
    if problem is not None or name == GRAPH:
        return problem
    return problem_of(cache, name, path, str(_facts(path).get("sha256")))


def _problem_of_document(path: Path) -> str | None:
    try:
        if read_json(path):
            return None
    except CacheError as error:
        return _unread(error)
    return "it is no JSON" if path.exists() else _GONE


def _unread(error: OSError) -> str:
    if isinstance(error, CacheError):
        return error.message.rstrip(".")
    return f"it cannot be read: {error.strerror or error}"


def _facts(path: Path) -> dict[str, Any]:
    """Return what is known of a file, as far as that can be read."""
    try:
        return read_json(companion_of(path))
    except CacheError:
        return {}


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
        If there is no condition at all, or one that makes no sense.
    CacheError
        If the cache cannot be written, or is of a newer version.

    Notes
    -----
    Others may use the cache in the meantime: what they remove first is not counted, and an image
    that is removed under a run is fetched again by it.
    """
    if older_than is None and max_size is None and dataset_id is None:
        raise InvalidInputError(
            "Pruning without a condition would empty the cache.",
            hint=f"Give {Remedy.PRUNE_SOME}.",
        )
    before = None if older_than is None else _moment_before(older_than)
    if max_size is not None and (not _is_number(max_size) or not max_size >= 0):
        raise InvalidInputError(
            f"The largest size is {max_size!r}, but must be a number of bytes, 0 or more."
        )
    if dataset_id is not None:
        dataset_id = check_id(dataset_id, "section data set")
    cache.check_version()
    images = sorted(stored_images(cache), key=lambda image: image.fetched)
    if dataset_id is not None:
        # also those that a removal which was cut off has left without a companion
        record = record_in(cache, dataset_id)
        members = {image.id for image in record.images} if record else set()
        images = [
            image
            for image in images
            if image.dataset_id == dataset_id or (not image.facts and image.image_id in members)
        ]
    kept = sum(image.bytes for image in images)
    count = size = 0
    for image in images:
        too_old = before is not None and image.fetched < before
        too_much = max_size is not None and kept > max_size
        all_of_it = before is None and max_size is None
        if too_old or too_much or all_of_it:
            kept -= image.bytes
            # nobody looks at an image that has lost its companion, but is there still
            with cache.settled(image.image_id):
                removed = not _is_newer(image) and _remove(cache, image.path)
            if removed:
                count, size = count + 1, size + image.bytes
    if dataset_id is not None and before is None and max_size is None:
        _remove(cache, cache.root / "datasets" / f"{dataset_id}.json")
    return count, size


def _is_newer(image: StoredImage) -> bool:
    """Whether an image has been written again since it was listed."""
    try:
        return image.path.stat().st_mtime != image.modified
    except OSError:
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _moment_before(age: timedelta) -> datetime:
    """Return the moment so long ago; the first that there is for longer ages."""
    if not isinstance(age, timedelta) or age <= timedelta(0):
        raise InvalidInputError(
            f"The age is {age!s}, but must be a positive time.",
            hint=f"To remove everything, give {Remedy.PRUNE_ALL}.",
        )
    try:
        return datetime.now(UTC) - age
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _fetch_again(session: Session, stored: StoredImage) -> tuple[str, bool]:
    """Fetch a damaged image that was removed; say whether that could be done, and if it is lost.

    It comes from where it came from: other pixels would take its place otherwise, and nobody would
    be told.
    """
    if session.settings.offline:
        return "removed; not fetched again, offline", False
    origin: Origin = next(one for one in ENDINGS if ENDINGS[one] == stored.path.suffix)
    if session.settings.source not in ("auto", origin):
        return (
            f"removed; not fetched again: it came from {_ORIGINS[origin]}, and only "
            f"{_ORIGINS[session.settings.source]} may be asked"
        ), True
    try:
        record = _image_record(session, stored)
        found = session.taking(origin).image(
            record, stored.downsample, expression=stored.expression
        )
    except AtldldError as error:
        return f"removed; not fetched again: {error.message}", True
    if found.path != stored.path:  # by a source of somebody's own
        return f"replaced by {found.path.name}, whose pixels are others, of {found.url}", False
    return "fetched again", False


def _image_record(session: Session, stored: StoredImage) -> SectionImage:
    dataset = record_in(session.cache, stored.dataset_id)
    if dataset is not None:
        with suppress(KeyError):
            return dataset.image(stored.image_id)
    return SectionImage.from_record(session.image_record(stored.image_id))


def _remove(cache: Cache, path: Path) -> bool:
    """Remove a file and its companion; return whether it was there.

    The companion goes first, so that a killed removal leaves nothing vouched for.
    """
    with cache.errors():
        companion_of(path).unlink(missing_ok=True)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
    return True


def _left_over(cache: Cache) -> list[Path]:
    """Return temporary files that no running process can still be writing."""
    found = []
    for file in cache.files():
        if fnmatchcase(file.name.rpartition("/")[2], ".*.part*"):
            with suppress(OSError):
                abandoned = file.path.stat().st_mtime < time.time() - UNTOUCHED
                if abandoned or is_left_over(file.path):
                    found.append(file.path)
    return sorted(found)
