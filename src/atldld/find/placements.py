"""Fetching the placements catalogue: resumable, and never half; see `atldld.fetch.placements`."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from atldld.errors import CacheError, RowShortfallWarning, ServiceWarning
from atldld.fetch import placements
from atldld.fetch.documents import DATASET_INCLUDES
from atldld.fetch.pages import fetch_all
from atldld.fetch.placements import MATRICES, placements_path
from atldld.fetch.session import Session
from atldld.find import catalogue
from atldld.find.renewal import only_one
from atldld.find.service import batched_ids
from atldld.place.spaces import ReferenceSpace
from atldld.rma.query import RMAParameters, Term, among

__all__ = [
    "PlacementsEstimate",
    "PlacementsInfo",
    "estimate_placements",
    "placements_info",
    "update_placements",
]

ADULT = (ReferenceSpace.P56, ReferenceSpace.P56_LR_FLIPPED)

STAGED_FOR = timedelta(days=30)
"""What an interrupted update has fetched is used so long: these records hardly ever change."""

AT_ONCE = 3
"""Queries at once; each is large."""

# What one row is, on the wire and on the disk. Of records like the genuine ones.
IMAGE_SENT, DATASET_SENT = 660, 3_000
IMAGE_KEPT, DATASET_KEPT = 90, 900
SECTIONS = {1: 60, 2: 20}
"""Images of a data set whose images are not known, by its plane: every eighth section."""

Progress = Callable[[int, int, str], None]
Record = dict[str, Any]

_ONLY = tuple(f"sub_images.{name}" for name in ("data_set_id", *placements.COLUMNS))


@dataclass(frozen=True, slots=True)
class PlacementsEstimate:
    """What an update of the placements will be.

    Attributes
    ----------
    data_sets, images : int
        To be fetched; images are estimated where they are not in the catalogue.
    requests : int
        About how many.
    fetched_bytes, written_bytes : int
        About how many bytes come, and the file grows by.
    """

    data_sets: int
    images: int
    requests: int
    fetched_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True)
class PlacementsInfo:
    """What the placements catalogue is.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    service : str
        Whose records it holds.
    updated : str
        When it was updated last, in UTC (ISO 8601).
    bytes : int
        Size of the file.
    data_sets, images : int
        How many it places.
    incomplete : int
        Data sets of which the service did not send all it had promised.
    """

    path: Path
    service: str
    updated: str
    bytes: int
    data_sets: int
    images: int
    incomplete: int


def placements_info(session: Session) -> PlacementsInfo | None:
    """Describe the placements catalogue of a session's service; `None` where there is none.

    Raises
    ------
    CacheError
        If it cannot be read.
    """
    path = placements_path(session.cache.root)
    with placements.opened(session.cache.root) as db:
        if db is None:
            return None
        facts = placements.read_facts(db)
        data_sets, images, whole = db.execute(
            "SELECT count(*), coalesce(sum(images), 0), coalesce(sum(complete), 0) FROM data_set"
        ).fetchone()
        return PlacementsInfo(
            path=path,
            service=facts.get("service", "an unknown service"),
            updated=facts.get("updated", ""),
            bytes=path.stat().st_size,
            data_sets=data_sets,
            images=images,
            incomplete=data_sets - whole,
        )


def estimate_placements(session: Session, *, full: bool = False) -> PlacementsEstimate:
    """Estimate an update of the placements from the catalogue. Nothing is requested.

    Raises
    ------
    CacheError
        If there is no catalogue, or it cannot be read.
    """
    root = session.cache.root
    missing = set(_adult(root)) - (set() if full else _known(_staged_or_there(root)))
    with catalogue.opened(root) as db:
        assert db is not None
        counted = dict(db.execute("SELECT data_set_id, sections FROM imaged"))
        planes = dict(db.execute("SELECT id, plane_of_section_id FROM data_set"))
    images = sum(
        counted.get(number) or SECTIONS.get(planes.get(number, 0), 30) for number in missing
    )
    batches = -(-len(missing) // 100)
    return PlacementsEstimate(
        data_sets=len(missing),
        images=images,
        requests=batches + -(-images // 2000) + batches,
        fetched_bytes=images * IMAGE_SENT + len(missing) * DATASET_SENT,
        written_bytes=images * IMAGE_KEPT + len(missing) * DATASET_KEPT,
    )


def update_placements(
    session: Session, *, full: bool = False, progress: Progress | None = None
) -> PlacementsInfo:
    """Make the placements catalogue of a session's service, or add what is new.

    It places the data sets of the adult brain (reference spaces 9 and 10) that the catalogue
    knows. What has arrived is kept beside the old file, which stays until the new one is whole; an
    update that was stopped goes on where it was.

    Parameters
    ----------
    session : Session
        Where to ask, and where to keep.
    full : bool
        Fetch everything again.
    progress : callable, optional
        Takes how many data sets have arrived, how many there are, and what they are.

    Raises
    ------
    CacheError
        If there is no catalogue, another update is running, or the file cannot be written.
    OfflineError, ServiceError
        If something cannot be fetched. What has arrived is used by the next update.
    """
    root = session.cache.root
    path = placements_path(root)
    with _errors(path), only_one(session):
        wanted = _adult(root)
        with closing(_staging(root, session, full=full)) as db:
            there = {number for (number,) in db.execute("SELECT id FROM data_set WHERE complete")}
            gone = there - set(wanted)
            _forget(db, gone)
            missing = [number for number in wanted if number not in there]
            done = len(wanted) - len(missing)
            for found in _fetched(session, missing):
                _put(db, found)
                done += len(found)
                if progress is not None:
                    progress(done, len(wanted), "data sets placed")
            now = datetime.now(UTC).isoformat(timespec="seconds")
            db.execute("INSERT OR REPLACE INTO fact VALUES ('updated', ?)", (now,))
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            _staged(root).unlink(missing_ok=True)
            raise CacheError(
                f"The new placements are damaged ({verdict}), so the old ones were kept.",
                hint="Look whether the disk is sound and has space, and try again.",
            )
        _staged(root).replace(path)
    info = placements_info(session)
    assert info is not None
    return info


@dataclass(frozen=True)
class _Placed:
    """The records of one data set."""

    dataset: Record
    images: list[Record]
    complete: bool


def _fetched(session: Session, missing: Sequence[int]) -> Iterator[list[_Placed]]:
    """Yield the records of data sets, a hundred at a time, a few queries at once."""
    batches = list(batched_ids(missing))
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="placements") as pool:
        waiting = [pool.submit(_batch, session, batch) for batch in batches[: 2 * AT_ONCE]]
        left = iter(batches[2 * AT_ONCE :])
        try:
            while waiting:
                found = waiting.pop(0).result()
                waiting += [pool.submit(_batch, session, batch) for batch in _next(left)]
                yield found
        finally:
            for future in waiting:
                future.cancel()


def _next(left: Iterator[tuple[int, ...]]) -> list[tuple[int, ...]]:
    following = next(left, None)
    return [] if following is None else [following]


def _batch(session: Session, numbers: Sequence[int]) -> list[_Placed]:
    """Return the records of some data sets; where rows are missing, ask for each by itself."""
    defects: list[ServiceWarning] = []
    wanted = [Term(None, (among("id", numbers),))]
    datasets = fetch_all(
        session.rma,
        RMAParameters("SectionDataSet", wanted, DATASET_INCLUDES, order="data_sets.id"),
        defects.append,
    )
    images = _images(session, numbers, defects)
    short = any(isinstance(defect, RowShortfallWarning) for defect in defects)
    short = short or len(datasets) < len(numbers)
    if short and len(numbers) > 1:
        return [placed for number in numbers for placed in _batch(session, [number])]
    own: dict[Any, list[Record]] = {}
    for image in images:
        own.setdefault(image.get("data_set_id"), []).append(image)
    return [
        _Placed(dataset, own.get(dataset["id"], []), not short)
        for dataset in datasets
        if dataset.get("id") in numbers
    ]


def _images(
    session: Session, numbers: Sequence[int], defects: list[ServiceWarning]
) -> list[Record]:
    """Return the images of some data sets with their alignment2d.

    It is not known whether the service sends what is included beside the columns that are named.
    Where none of a hundred data sets' images has an alignment, whole records are asked for.
    """
    wanted = [Term(None, (among("data_set_id", numbers),))]

    def ask(only: Sequence[str] | None) -> list[Record]:
        query = RMAParameters(
            "SectionImage", wanted, ("alignment2d",), order="sub_images.id", only=only
        )
        rows = fetch_all(session.rma, query, defects.append, distinct=True)
        return [row for row in rows if isinstance(row.get("id"), int)]

    rows = ask(_ONLY)
    if rows and not any(_has_alignment(row) for row in rows):
        rows = ask(None)
    return rows


def _has_alignment(row: Mapping[str, Any]) -> bool:
    alignment = row.get("alignment2d")
    return isinstance(alignment, Mapping) and all(name in alignment for name in MATRICES)


# ---- the file


def _adult(root: Path) -> list[int]:
    """Return the data sets of the catalogue that lie in the adult brain's space."""
    with catalogue.opened(root) as db:
        if db is None:
            raise CacheError(
                f"There is no catalogue at {catalogue.catalogue_path(root)}, which lists what can "
                "be placed.",
                hint="Make it with `atldld catalogue update`.",
            )
        spaces = ", ".join(str(space.value) for space in ADULT)
        rows = db.execute(
            f"SELECT id FROM data_set WHERE id > 0 AND reference_space_id IN ({spaces}) ORDER BY id"
        )
        return [number for (number,) in rows]


def _staged(root: Path) -> Path:
    return root / "placements-update.sqlite"


def _staged_or_there(root: Path) -> Path:
    return _staged(root) if _staged(root).exists() else placements_path(root)


def _known(path: Path) -> set[int]:
    """Return the data sets that a file places; none where it cannot be read."""
    if not path.exists():
        return set()
    try:
        with closing(catalogue.connected(path)) as db:
            placements.check_tables(db)
            return {number for (number,) in db.execute("SELECT id FROM data_set WHERE complete")}
    except catalogue.DATABASE_ERRORS:
        return set()


def _staging(root: Path, session: Session, *, full: bool) -> sqlite3.Connection:
    """Return the database that is to become the new file, with what is known already."""
    staged, there = _staged(root), placements_path(root)
    root.mkdir(parents=True, exist_ok=True)
    if staged.exists() and not _is_fresh(staged, full=full):
        staged.unlink()
    if not staged.exists():
        if not full and _known(there):
            shutil.copyfile(there, staged)
        else:
            with closing(catalogue.connected(staged)) as db:
                facts = {
                    "service": session.settings.api_url,
                    "begun": datetime.now(UTC).isoformat(timespec="seconds"),
                    "full": str(int(full)),
                }
                placements.new_tables(db, facts.items())
    db = catalogue.connected(staged)
    # a power cut loses the last data sets, which are asked for again
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _is_fresh(staged: Path, *, full: bool) -> bool:
    """Whether what an interrupted update has left can be gone on with."""
    try:
        with closing(catalogue.connected(staged)) as db:
            placements.check_tables(db)
            facts = placements.read_facts(db)
    except catalogue.DATABASE_ERRORS:
        return False
    if full and facts.get("full") != "1":
        return False
    changed = datetime.fromtimestamp(staged.stat().st_mtime, UTC)
    return datetime.now(UTC) - changed < STAGED_FOR


def _forget(db: sqlite3.Connection, numbers: set[int]) -> None:
    rows = [(number,) for number in numbers]
    db.execute("BEGIN")
    db.executemany("DELETE FROM image WHERE data_set_id = ?", rows)
    db.executemany("DELETE FROM data_set WHERE id = ?", rows)
    db.execute("COMMIT")


def _put(db: sqlite3.Connection, found: Sequence[_Placed]) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    db.execute("BEGIN")
    for placed in found:
        number = placed.dataset["id"]
        if db.execute("SELECT 1 FROM data_set WHERE id = ?", (number,)).fetchone():
            db.execute("DELETE FROM image WHERE data_set_id = ?", (number,))
        db.execute(
            "INSERT OR REPLACE INTO data_set VALUES (?, ?, ?, ?, ?)",
            (
                number,
                len(placed.images),
                now,
                int(placed.complete),
                placements.pack(placed.dataset, placed.images),
            ),
        )
        db.executemany(
            "INSERT OR REPLACE INTO image VALUES (?, ?)",
            [(image["id"], number) for image in placed.images],
        )
    db.execute("COMMIT")


def _errors(path: Path) -> AbstractContextManager[None]:
    return catalogue.written(
        f"The placements at {path}",
        "What has arrived is used by the next update.",
    )
