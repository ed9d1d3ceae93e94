"""Looking after the cache: listing, verifying, pruning, exporting and importing.

An exported archive is the cache's own layout in a folder or a ZIP file. Importing believes none
of it: names must be the layout's, every image must decode and match its hash, what is said about
it must be plausible before anything is unpacked, and what the cache holds already stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from atldld.errors import AtldldError, CacheError, InvalidInputError, OutputError
from atldld.fetch.cache import FORMAT, MARKER, Cache, companion_of, read_json, sha256_of
from atldld.fetch.known import GRAPH, problem_of
from atldld.fetch.members import (
    LARGEST_DOCUMENT,
    LARGEST_FILE,
    LARGEST_IMAGE,
    FileFacts,
    FolderMembers,
    ImageFacts,
    Member,
    Members,
    decode,
    facts_of,
    opened_members,
)
from atldld.fetch.session import Session, check_id
from atldld.fetch.unpacked import check_unpacked
from atldld.records import SectionDataSet, SectionImage
from atldld.support.files import check_targets, is_left_over, sweep, whole_file, whole_folder
from atldld.support.text import shown

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
_IMAGE = re.compile(r"images/\d{1,12}/(\d{1,15})/(\d{1,2})(-expression)?\.jpg", re.ASCII)
_DOCUMENT = re.compile(r"(datasets/\d{1,15}|queries/[0-9a-f]{64})\.json", re.ASCII)
_FILE = re.compile(r"files((?:/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){1,12})")

UNTOUCHED = 3600.0
"""Seconds after which `verify_cache` tells of what another machine may have left."""


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

    Files that others remove meanwhile are left out.
    """
    for file in sorted(cache.files("images"), key=lambda file: file.path):
        path = file.path
        found = _IMAGE.fullmatch(path.relative_to(cache.root).as_posix())
        if found is not None:
            yield StoredImage(
                path,
                int(found[1]),
                int(found[2]),
                found[3] is not None,
                _facts(path),
                file.bytes,
                file.modified,
            )


def stored_files(cache: Cache) -> Iterator[str]:
    """Yield the names of the other files of the cache (atlases, grids, plates), sound or not."""
    for path in sorted(file.path for file in cache.files("files")):
        name = path.relative_to(cache.root).as_posix()
        if not path.is_symlink() and _FILE.fullmatch(name):
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
                bytes=sum(image.bytes for image in images),
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

    Raises
    ------
    CacheError
        If the cache is of a newer version; if something must be removed, and cannot be.

    Notes
    -----
    Others may use the cache meanwhile. What they remove counts neither as sound nor as damaged;
    what looks damaged is looked at again when nobody is writing it.
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
    for name in stored_files(cache):
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
        result.add(path, problem, "removed; made anew when needed" if repair else None)
    for path in _left_over(cache):
        if repair:
            sweep(path.parent)
            _remove(cache, path)
        result.add(path, "a run that was killed left it", "removed" if repair else None)
    return result


# What is wrong with a file of the cache: a sentence, nothing, or `_GONE` where it is there no more.
_GONE = ""


def _problem_of_image(path: Path) -> str | None:
    from atldld.errors import BrokenImageError
    from atldld.fetch.jpeg import verify

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
    Others may use the cache meanwhile: what they remove first is not counted, and an image that
    is removed under a run is fetched again by it.
    """
    if older_than is None and max_size is None and dataset_id is None:
        raise InvalidInputError(
            "Pruning without a condition would empty the cache.",
            hint="Give --older-than, --max-size or --dataset.",
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
        record = _record(cache, dataset_id)
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
            hint="To remove everything, give --max-size 0.",
        )
    try:
        return datetime.now(UTC) - age
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def export_archive(
    cache: Cache,
    target: str | Path,
    dataset_ids: Iterable[int] | None = None,
    *,
    force: bool = False,
    tell: Callable[[str, str], None] | None = None,
) -> int:
    """Write the cache, or some data sets of it, as an archive.

    Links in the cache are not followed: nothing leaves it that does not lie in it.

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
    tell : callable, optional
        Takes the name of a file that is left out, and why.

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
        return _export(cache, target, dataset_ids, force=force, tell=tell or _say_nothing)
    except OutputError as error:
        raise CacheError(error.message, hint=error.hint) from error


def _say_nothing(name: str, why: str) -> None:
    """Nobody asked what is left out."""


def _export(
    cache: Cache,
    target: Path,
    dataset_ids: Iterable[int] | None,
    *,
    force: bool,
    tell: Callable[[str, str], None],
) -> int:
    zipped = target.suffix.lower() == ".zip"
    check_targets([target], force=force, store=not zipped)
    wanted = None if dataset_ids is None else set(dataset_ids)
    missing = (wanted or set()) - {int(name) for name in cache.document_names("datasets")}
    if missing:
        raise CacheError(
            f"Data set {min(missing)} is not in the cache at {cache.root}.",
            hint=f"Fetch it first with `atldld download dataset {min(missing)} OUT`.",
        )
    members = FolderMembers(cache.root)
    for name, problem in members.left_out():
        tell(shown(name[:200]), problem)
    chosen = list(_exported(members, wanted, tell))
    if not chosen:
        raise CacheError(f"The cache at {cache.root} is empty; there is nothing to export.")
    try:
        if zipped:
            with whole_file(target, force=force) as temporary:
                _write_zip(temporary, chosen)
        else:
            with whole_folder(target, force=force) as temporary:
                _write_folder(temporary, chosen)
    except InvalidInputError as error:
        raise CacheError(f"The cache changed while it was written: {error.message}.") from None
    return sum(_IMAGE.fullmatch(member.name) is not None for member in chosen)


def _exported(
    members: FolderMembers, wanted: set[int] | None, tell: Callable[[str, str], None]
) -> Iterator[Member]:
    """Yield what is written: documents, and what has a companion, with it."""
    for name in members.names("datasets"):
        if _DOCUMENT.fullmatch(name) and (wanted is None or int(Path(name).stem) in wanted):
            yield from _present(members, name)
    for name in members.names("queries") if wanted is None else ():
        if _DOCUMENT.fullmatch(name):
            yield from _present(members, name)
    for folder, pattern, kind in (("images", _IMAGE, ImageFacts), ("files", _FILE, FileFacts)):
        for name in members.names(folder) if folder == "images" or wanted is None else ():
            if pattern.fullmatch(name) is None or _is_companion(members, name):
                continue
            try:
                facts: Any = facts_of(members, name, kind)
            except InvalidInputError as error:
                tell(name, error.message)
                continue
            if wanted is not None and facts.dataset_id not in wanted:
                continue
            found = [*_present(members, name), *_present(members, f"{name}.json")]
            if len(found) == 2 and found[0].size == facts.bytes:
                yield from found
            else:
                tell(name, "it is not as long as its companion says")


def _present(members: Members, name: str) -> list[Member]:
    found = members.get(name)
    return [] if found is None else [found]


def _is_companion(members: Members, name: str) -> bool:
    return name.endswith(".jpg.json") or (
        name.endswith(".json") and members.get(name.removesuffix(".json")) is not None
    )


def _write_zip(target: Path, members: Iterable[Member]) -> None:
    # JPEGs do not shrink any further
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(MARKER, time.localtime()[:6]), json.dumps(FORMAT) + "\n")
        for member in members:
            when = max(time.localtime(member.changed)[:6], (1980, 1, 1, 0, 0, 0))
            info = zipfile.ZipInfo(member.name, when)
            info.file_size = member.size
            info.external_attr = 0o644 << 16
            with archive.open(info, "w") as file:
                for chunk in member.chunks(LARGEST_FILE):
                    file.write(chunk)


def _write_folder(target: Path, members: Iterable[Member]) -> None:
    target.mkdir()
    (target / MARKER).write_text(json.dumps(FORMAT) + "\n", "utf-8")
    for member in members:
        path = target / member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            for chunk in member.chunks(LARGEST_FILE):
                file.write(chunk)
        os.utime(path, (member.changed, member.changed))


def import_archive(
    cache: Cache,
    source: str | Path,
    *,
    tell: Callable[[str, bool], None] | None = None,
) -> tuple[int, list[Damage]]:
    """Take what is sound in an archive into the cache; what is there already stays.

    Parameters
    ----------
    cache : Cache
        Into which.
    source : str or pathlib.Path
        A ZIP file or a folder that `export_archive` wrote, or a cache.
    tell : callable, optional
        Takes ``"image"``, ``"data set"``, ``"answer"`` or ``"file"`` for each that is sound, and
        whether it was taken: `False` means that the cache held the same already.

    Returns
    -------
    count : int
        How many images were taken.
    refused : list of Damage
        What was not, and why; also what differs from what the cache holds under its name.

    Raises
    ------
    CacheError
        The source is no archive, or it would unpack to far more than it is, or the cache cannot
        be written.
    """
    source = Path(source)
    taken = 0
    with closing(opened_members(source)) as members:
        marker = members.get(MARKER)
        if marker is None or _marker(marker) != FORMAT:
            raise CacheError(
                f"{source} is no archive of atldld (it has no {MARKER} that this version knows)."
            )
        refused = [
            Damage(source / shown(name[:200]), problem)
            for name, problem in members.left_out()
            if not name.startswith(_NEVER_TAKEN)
        ]
        expected = _ExpectedSizes(cache)
        # by name: the records of data sets come before the images, which are checked against them
        for name in sorted(members.names()):
            if name == MARKER or name.startswith(_NEVER_TAKEN) or _is_companion(members, name):
                continue
            member = members.get(name)
            if member is None:  # it has gone meanwhile
                continue
            try:
                if _IMAGE.fullmatch(name):
                    kind, new = "image", _take_image(cache, members, member, expected)
                elif _DOCUMENT.fullmatch(name):
                    kind = "data set" if name.startswith("datasets/") else "answer"
                    new = _take_document(cache, member)
                elif _FILE.fullmatch(name):
                    kind, new = "file", _take_file(cache, members, member)
                else:
                    raise InvalidInputError("its name is none of an archive's")
            except InvalidInputError as error:
                refused.append(Damage(source / shown(name[:200]), error.message))
                continue
            taken += kind == "image" and new
            if tell:
                tell(kind, new)
    return taken, refused


# What a cache has besides, and makes anew.
_NEVER_TAKEN = ("locks/", "unpacked/")


class _DataSetDocument(msgspec.Struct):
    section_data_set: dict[str, Any]
    section_images: list[dict[str, Any] | None]
    fetched: str | None = None
    complete: bool = True
    defects: list[tuple[str, str]] = []


class _QueryDocument(msgspec.Struct):
    query: str
    rows: list[dict[str, Any]]
    fetched: str | None = None
    complete: bool = True
    defects: list[tuple[str, str]] = []


class _ExpectedSizes:
    """How large the cache's records say that images are."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._images: dict[int, dict[int, SectionImage]] = {}

    def check(self, image_id: int, downsample: int, facts: ImageFacts) -> None:
        """Refuse an image whose companion says another size than its record.

        Raises
        ------
        InvalidInputError
            If it does.
        """
        known = self._of(facts.dataset_id).get(image_id)
        if known is None:
            return
        said, expected = (facts.width, facts.height), known.size(downsample)
        if downsample > known.highest_downsample or said != expected:
            raise InvalidInputError(
                f"its companion says {said[0]} × {said[1]} pixels, but its record"
                f" {expected[0]} × {expected[1]} at downsample {downsample}"
            )

    def _of(self, dataset_id: int | None) -> dict[int, SectionImage]:
        if dataset_id is None:
            return {}
        if dataset_id not in self._images:
            if len(self._images) > 64:  # images come by their own numbers, and so nearly in order
                self._images.clear()
            record = _record(self._cache, dataset_id)
            self._images[dataset_id] = (
                {image.id: image for image in record.images} if record else {}
            )
        return self._images[dataset_id]


def _marker(member: Member) -> dict[str, Any]:
    try:
        return decode(member.read(1 << 16), dict)
    except InvalidInputError:
        return {}


def _take_image(cache: Cache, members: Members, member: Member, expected: _ExpectedSizes) -> bool:
    from atldld.errors import BrokenImageError
    from atldld.fetch.jpeg import verify

    found = _IMAGE.fullmatch(member.name)
    assert found is not None
    image_id, downsample, expression = int(found[1]), int(found[2]), found[3] is not None
    path = cache.image_path(image_id, downsample, expression=expression)
    if path.relative_to(cache.root).as_posix() != member.name:
        raise InvalidInputError("its name is none of an archive's")
    facts = facts_of(members, member.name, ImageFacts)
    expected.check(image_id, downsample, facts)

    def is_held() -> bool:
        held = cache.find_image(image_id, downsample, expression=expression)
        if held is not None and held.sha256 != facts.sha256:
            raise InvalidInputError("the cache holds another image here, which stays")
        return held is not None

    if is_held():
        return False
    with cache.new_image(image_id, downsample, expression=expression) as (file, temporary, keep):
        if is_held():  # another process was quicker
            return False
        _copy(member, LARGEST_IMAGE, facts, file)
        file.flush()
        try:
            verify(temporary, facts.width, facts.height)
        except BrokenImageError as error:
            raise InvalidInputError(f"it is no sound image: {error}") from None
        keep(
            width=facts.width,
            height=facts.height,
            sha256=facts.sha256,
            url=facts.url,
            dataset_id=facts.dataset_id,
            fetched=facts.fetched,
        )
    return True


def _copy(member: Member, largest: int, facts: FileFacts, file: BinaryIO) -> None:
    """Write a member's bytes, which must be those that its companion knows."""
    digest = hashlib.sha256()
    for chunk in member.chunks(largest):
        digest.update(chunk)
        file.write(chunk)
    if digest.hexdigest() != facts.sha256:
        raise InvalidInputError("its bytes do not match its hash")


def _take_document(cache: Cache, member: Member) -> bool:
    kind, _, stem = member.name.removesuffix(".json").partition("/")
    document: dict[str, Any] = decode(member.read(LARGEST_DOCUMENT), dict[str, Any])
    if kind == "datasets":
        _check_data_set(document, stem)
    else:
        try:
            answer = msgspec.convert(document, _QueryDocument)
        except msgspec.ValidationError:
            raise InvalidInputError("it is no answer to a query") from None
        if hashlib.sha256(answer.query.encode()).hexdigest() != stem:
            raise InvalidInputError("it is the answer to another query than its name says")
    held = cache.read_document(kind, stem)
    if held is None:
        cache.write_json(cache.root / kind / f"{stem}.json", document)
        return True
    if {**held, "fetched": None} != {**document, "fetched": None}:
        raise InvalidInputError("the cache holds another answer of the service here, which stays")
    return False


def _check_data_set(document: dict[str, Any], stem: str) -> None:
    try:
        known = msgspec.convert(document, _DataSetDocument)
        record = SectionDataSet.from_records(known.section_data_set, known.section_images)
    except (msgspec.ValidationError, *_NO_RECORD):
        raise InvalidInputError("it is no data set") from None
    if str(record.id) != stem:
        raise InvalidInputError(f"it is data set {record.id}")
    if any(image.data_set_id not in (None, record.id) for image in record.images):
        raise InvalidInputError("it holds images of another data set")


def _take_file(cache: Cache, members: Members, member: Member) -> bool:
    name = member.name.removeprefix("files/")
    facts = facts_of(members, member.name, FileFacts)

    def is_held() -> bool:
        if name.endswith(".json") and cache.find_file(name.removesuffix(".json")) is not None:
            raise InvalidInputError("the cache keeps there what it knows of another file")
        held = cache.find_file(name)
        if held is not None and held.sha256 != facts.sha256:
            raise InvalidInputError("the cache holds another file here, which stays")
        return held is not None

    if is_held():
        return False
    with cache.new_file(name) as (file, temporary, keep):
        if is_held():
            return False
        _copy(member, LARGEST_FILE, facts, file)
        file.flush()
        problem = problem_of(cache, name, temporary, facts.sha256)
        if problem is not None:
            raise InvalidInputError(
                f"{problem}; fetch it from the institute itself (`atldld atlas fetch`), or use it "
                "as a file of your own (`--annotation`, `--graph`)"
            )
        keep(url=facts.url, sha256=facts.sha256, fetched=facts.fetched)
    return True


def _fetch_again(session: Session, stored: StoredImage) -> tuple[str, bool]:
    """Fetch a damaged image that was removed; say whether that could be done, and if it is lost."""
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
    except _NO_RECORD:
        return None


# What is raised for a document that holds something else than a data set.
_NO_RECORD = (AtldldError, LookupError, TypeError, AttributeError, ValueError, ArithmeticError)


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
        if file.path.match(".*.part*"):
            with suppress(OSError):
                abandoned = file.path.stat().st_mtime < time.time() - UNTOUCHED
                if abandoned or is_left_over(file.path):
                    found.append(file.path)
    return sorted(found)
