"""Exporting the cache as an archive, and importing one.

An exported archive is the cache's own layout in a folder or a ZIP file. Importing believes none
of it: names must be the layout's, every image must decode and match its hash, what is said about
it must be plausible before anything is unpacked, and what the cache holds already stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from atldld.errors import CacheError, InvalidInputError, OutputError, Remedy
from atldld.fetch.cache import FORMAT, MADE_ANEW, MARKER, Cache, Origin
from atldld.fetch.documents import NO_RECORD, record_in
from atldld.fetch.facts import LARGEST_FILE, FileFacts, ImageFacts
from atldld.fetch.known import problem_of
from atldld.fetch.members import (
    LARGEST_DOCUMENT,
    LARGEST_IMAGE,
    FolderMembers,
    Member,
    Members,
    decode,
    facts_of,
    opened_members,
)
from atldld.fetch.upkeep import FILE_NAME, IMAGE_NAME, Damage
from atldld.records import SectionDataSet, SectionImage
from atldld.support.files import check_targets, whole_file, whole_folder
from atldld.support.pipeline import in_order
from atldld.support.text import shown

__all__ = ["export_archive", "import_archive"]

# Beside images and files, an archive may hold these, and nothing else.
_DOCUMENT_NAME = re.compile(r"(datasets/\d{1,15}|queries/[0-9a-f]{64})\.json", re.ASCII)


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
        If a data set is not in the cache, or nothing is; or the target cannot be written, or is
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
            hint=f"Fetch it first with `atldld download {min(missing)} -o OUT`.",
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
    return sum(IMAGE_NAME.fullmatch(member.name) is not None for member in chosen)


def _exported(
    members: FolderMembers, wanted: set[int] | None, tell: Callable[[str, str], None]
) -> Iterator[Member]:
    """Yield what is written: documents, and what has a companion, with it."""
    for name in members.names("datasets"):
        if _DOCUMENT_NAME.fullmatch(name) and (wanted is None or int(Path(name).stem) in wanted):
            yield from _present(members, name)
    for name in members.names("queries") if wanted is None else ():
        if _DOCUMENT_NAME.fullmatch(name):
            yield from _present(members, name)
    for folder, pattern, kind in (
        ("images", IMAGE_NAME, ImageFacts),
        ("files", FILE_NAME, FileFacts),
    ):
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
    return name.endswith((".jpg.json", ".tif.json")) or (
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
        If the source is no archive, or it would unpack to far more than it is, or the cache cannot
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
        names, wrong = members.listed()
        refused = [
            Damage(source / shown(name[:200]), problem)
            for name, problem in wrong
            if not name.startswith(_NEVER_TAKEN)
        ]
        expected = _ExpectedSizes(cache)

        def take(name: str) -> _Outcome:
            member = members.get(name)
            if member is None:  # it has gone meanwhile
                return None
            try:
                return _take(cache, members, member, expected)
            except InvalidInputError as error:
                return Damage(source / shown(name[:200]), error.message)

        def take_group(one: tuple[int, list[str]]) -> list[_Outcome]:
            group, some = one
            with cache.settled_group(group):
                return [take(name) for name in some]

        def note(outcome: _Outcome) -> None:
            nonlocal taken
            if isinstance(outcome, Damage):
                refused.append(outcome)
            elif outcome is not None:
                taken += outcome == ("image", True)
                if tell:
                    tell(*outcome)

        # by name: the records of data sets come before the images, which are checked against them
        images: list[str] = []
        for name in sorted(names):
            if name == MARKER or name.startswith(_NEVER_TAKEN) or _is_companion(members, name):
                continue
            if IMAGE_NAME.fullmatch(name):
                images.append(name)
            else:
                note(take(name))
        for start in range(0, len(images), _RUN):
            run = images[start : start + _RUN]
            groups = _by_group(run)
            apart = in_order(groups, take_group) if _are_large(members, run) else None
            for outcomes in apart or map(take_group, groups):
                for outcome in outcomes:
                    note(outcome)
    return taken, refused


# What became of a member: its kind and whether it is new, why it is refused, or that it has gone.
_Outcome = tuple[str, bool] | Damage | None

# Bytes of an image from which decoding it is most of the work, and threads help. Of smaller ones it
# is Python's own: two threads that take turns at that take twice as long as one.
_LARGE = 64 << 10
_LOOKED_AT = 16  # of a run, to see how large they are


def _are_large(members: Members, names: Sequence[str]) -> bool:
    """Whether images are so large, on average, that threads help."""
    some = map(members.get, names[:: -(-len(names) // _LOOKED_AT)])
    sizes = [member.size for member in some if member is not None]
    return sum(sizes) >= _LARGE * max(len(sizes), 1)


# Images among which those that share a lock are taken together: a lock costs as much as a file.
_RUN = 4096


def _by_group(names: Iterable[str]) -> list[tuple[int, list[str]]]:
    """Return the names of images by the group that they share in the cache."""
    groups: dict[int, list[str]] = {}
    for name in names:
        found = IMAGE_NAME.fullmatch(name)
        assert found is not None
        groups.setdefault(Cache.group_of(int(found[1])), []).append(name)
    return sorted(groups.items())


def _take(
    cache: Cache, members: Members, member: Member, expected: _ExpectedSizes
) -> tuple[str, bool]:
    """Take a member of whatever kind; return the kind, and whether it is new."""
    if IMAGE_NAME.fullmatch(member.name):
        return "image", _take_image(cache, members, member, expected)
    if _DOCUMENT_NAME.fullmatch(member.name):
        kind = "data set" if member.name.startswith("datasets/") else "answer"
        return kind, _take_document(cache, member)
    if FILE_NAME.fullmatch(member.name):
        return "file", _take_file(cache, members, member)
    raise InvalidInputError("its name is none of an archive's")


# What a cache has besides, and makes anew.
_NEVER_TAKEN = (*MADE_ANEW, "unpacked/", "requests-today.json")


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
    """How large the cache's records say that images are; for several threads."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._lock = threading.Lock()
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
        with self._lock:  # so that no record is read twice
            if dataset_id not in self._images:
                # images come by their own numbers, and so nearly in order
                if len(self._images) > _RUN // 16:
                    self._images.clear()
                record = record_in(self._cache, dataset_id)
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
    from atldld.fetch.pictures import verify_open

    found = IMAGE_NAME.fullmatch(member.name)
    assert found is not None
    image_id, downsample, expression = int(found[1]), int(found[2]), found[3] is not None
    origin: Origin = "api" if found[4] == "jpg" else "bucket"
    if (
        member.name
        != f"images/{image_id // 1000}/{image_id}/{downsample}{found[3] or ''}.{found[4]}"
    ):
        raise InvalidInputError("its name is none of an archive's")
    facts = facts_of(members, member.name, ImageFacts)
    expected.check(image_id, downsample, facts)

    held = cache.find_image(image_id, downsample, expression=expression, origins=[origin])
    if held is not None and held.sha256 != facts.sha256:
        raise InvalidInputError("the cache holds another image here, which stays")
    if held is not None:
        return False
    # nobody else writes it between the look and the end: who takes images has locked their group
    with cache.new_image(image_id, downsample, expression=expression, settled=True) as arriving:
        _copy(member, LARGEST_IMAGE, facts, arriving.file)
        arriving.file.flush()
        if arriving.origin() != origin:
            raise InvalidInputError("it is another kind of file than its name says")
        try:
            verify_open(arriving.file, arriving.path, facts.width, facts.height)
        except BrokenImageError as error:
            raise InvalidInputError(f"it is no sound image: {error}") from None
        arriving.keep(facts, origin)
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
    except (msgspec.ValidationError, *NO_RECORD):
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
    with cache.new_file(name) as arriving:
        if is_held():
            return False
        _copy(member, LARGEST_FILE, facts, arriving.file)
        arriving.file.flush()
        problem = problem_of(cache, name, arriving.path, facts.sha256)
        if problem is not None:
            raise InvalidInputError(
                f"{problem}; fetch it from the institute itself (`atldld atlas fetch`), or use it "
                f"as a file of your own (`{Remedy.OWN_FILES}`)"
            )
        arriving.keep(facts)
    return True
