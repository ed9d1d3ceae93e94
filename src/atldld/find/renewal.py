"""Fetching the catalogue: complete, resumable, incremental, and never half."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from atldld.errors import (
    CacheError,
    RMAError,
    RowShortfallWarning,
    ServiceWarning,
)
from atldld.fetch.locks import Taken, locked
from atldld.fetch.pages import count_in, fetch_all
from atldld.fetch.session import Session
from atldld.find import catalogue
from atldld.find.genes import MOUSE
from atldld.find.rows import Origin
from atldld.find.service import SEARCH_INCLUDES, batched_ids
from atldld.rma.query import Filter, RMAParameters, Term, among
from atldld.support.documents import DocumentError, parse_as, parse_json
from atldld.support.fields import CHANGED, quoted
from atldld.support.files import whole_file

__all__ = ["CatalogueInfo", "build", "catalogue_info", "only_one", "update"]

STAGED_FOR = timedelta(days=2)
"""Pages of an interrupted update are used again so long; the service has changed after that."""

ROWS_AT_ONCE = 1000  # in one page of a table

Record = Mapping[str, Any]
Progress = Callable[[int, int, str], None]

# What images are searched and listed by; a whole record is four times as long.
_IMAGE_COLUMNS = (
    "id",
    "data_set_id",
    "section_number",
    "width",
    "height",
    "tier_count",
    "resolution",
    "failed",
)


@dataclass(frozen=True)
class _Part:
    """A table of the service that is fetched whole, or from an id on."""

    model: str
    table: str  # the service's name of it, which columns are qualified with
    own: str  # the catalogue's
    criteria: tuple[Filter, ...] = ()
    include: tuple[str, ...] = ()
    required: bool = False

    def query(self, after: int = 0) -> RMAParameters:
        return RMAParameters(
            self.model,
            self._newer(after),
            self.include,
            order=f"{self.table}.id",
            num_rows=ROWS_AT_ONCE,
        )

    def counting(self) -> RMAParameters:
        return RMAParameters(self.model, self._newer(), num_rows=1, order=f"{self.table}.id")

    def counting_newer(self, after: int) -> RMAParameters:
        return RMAParameters(self.model, self._newer(after), num_rows=1)

    def _newer(self, after: int = 0) -> list[Term]:
        newer = (Filter.of("id", "$gt", after),) if after else ()
        return [Term(None, newer + self.criteria)]


# Genes of other species come with their data sets; all of the mouse's are known, so that one
# without data sets can be told from a name that does not exist.
_PARTS = (
    _Part("SectionDataSet", "data_sets", "data_set", (), SEARCH_INCLUDES, required=True),
    _Part("Gene", "genes", "gene", (Filter.of("organism_id", "$eq", MOUSE),)),
    _Part("Structure", "structures", "structure", (among("graph_id", (1, 17)),)),
)


@dataclass(frozen=True)
class CatalogueInfo:
    """What a catalogue is.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    source : Origin
        Of which service, and when it was updated last.
    built : datetime.datetime
        When all of it was fetched; what changed since then in records that were there already is
        not known.
    bytes : int
        Size of the file.
    rows : dict
        How many rows there are, by table.
    imaged : int
        Of how many data sets the images are known.
    added : dict
        How many rows the last update brought, by table.
    remarks : tuple of str
        What the service did not send.
    """

    path: Path
    source: Origin
    built: datetime
    bytes: int
    rows: dict[str, int]
    imaged: int
    added: dict[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def catalogue_info(session: Session) -> CatalogueInfo:
    """Describe the catalogue of a session's service.

    Raises
    ------
    CacheError
        If there is none, or it cannot be read.
    """
    path = catalogue.catalogue_path(session.cache.root)
    with catalogue.opened(session.cache.root) as db:
        if db is None:
            raise CacheError(
                f"There is no catalogue at {path}.",
                hint="Make it with `atldld catalogue update`.",
            )
        return _describe(db, path)


def _describe(db: sqlite3.Connection, path: Path) -> CatalogueInfo:
    facts = catalogue.read_facts(db)
    source = catalogue.source_of(db)
    try:
        added = parse_as(facts.get("added", "{}").encode(), dict[str, int])
        remarks = parse_as(facts.get("remarks", "[]").encode(), tuple[str, ...])
    except ValueError as error:
        raise sqlite3.DatabaseError(f"what it says of the last update {error}") from None
    return CatalogueInfo(
        path=path,
        source=source,
        built=catalogue.moment(facts, "built") or source.when,
        bytes=path.stat().st_size,
        rows={table: catalogue.count(db, table) for table in catalogue.TABLES},
        imaged=db.execute("SELECT count(*) FROM imaged").fetchone()[0],
        added=added,
        remarks=remarks,
    )


def build(
    path: Path,
    tables: Iterable[tuple[str, Iterable[Record | None]]],
    *,
    service: str,
    images_of: Iterable[int] = (),
) -> None:
    """Make a catalogue out of records that are at hand.

    Parameters
    ----------
    path : pathlib.Path
        The file; replaced once the new one is whole.
    tables : iterable of (str, iterable of dict)
        Models, such as ``"SectionDataSet"``, and their records in the shape of RMA answers.
    service : str
        The address of the service that they are from.
    images_of : iterable of int
        Ids of the data sets of which all images are among the records.
    """
    with (
        _errors(path),
        whole_file(path, force=True, kind=CacheError) as temporary,
        closing(catalogue.new_database(temporary)) as db,
    ):
        loader = catalogue.Loader(db)
        for model, records in tables:
            loader.load(model, records)
        loader.images_are_known(images_of)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        _seal(db, {"service": service, "built": now, "updated": now})


def _seal(db: sqlite3.Connection, facts: Mapping[str, str]) -> None:
    """Index, describe and check a new catalogue."""
    catalogue.finish(db)
    catalogue.write_facts(db, {"schema": str(catalogue.SCHEMA), **facts})
    db.execute("ANALYZE")
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise CacheError(
            f"The new catalogue is damaged ({verdict}), so the old one was kept.",
            hint="Look whether the disk is sound and has space, and try again.",
        )


def update(
    session: Session,
    *,
    images: bool = False,
    full: bool = False,
    progress: Progress | None = None,
) -> CatalogueInfo:
    """Make the catalogue of a session's service, or add what is new.

    The service does not say what has changed, so an update asks for the records with higher ids
    than those that are known, and compares the numbers of records: where they differ, because
    records have vanished or have been put in between, that table is fetched whole. Changes in
    records that were there already are only seen by a full update.

    Every page is kept until the new catalogue is in place; an update that was stopped goes on
    where it was. The old catalogue stays until the new one is whole and has been checked.

    Parameters
    ----------
    session : Session
        Where to ask, and where to keep.
    images : bool
        Fetch also the numbers of all section images: id, section number, size, tiers, resolution.
        An update of a catalogue that has them does so anyway.
    full : bool
        Fetch everything again.
    progress : callable, optional
        Takes how many rows have arrived of a table, how many there are, and the model.

    Returns
    -------
    CatalogueInfo

    Raises
    ------
    OfflineError, ServiceError, CacheError
        If something could not be fetched or written. What was there is untouched, and what has
        arrived is used by the next update.
    """
    root = session.cache.root
    path = catalogue.catalogue_path(root)
    with (
        _errors(path),
        only_one(session) as alone,
        closing(_Staging(root, session, progress, alone=alone)) as staging,
    ):
        known = _base(path)
        base = None if full else known
        fetched = _fetch_tables(staging, session, base)
        remarks = list(fetched.remarks)
        with whole_file(path, force=True, kind=CacheError) as temporary:
            images = images or (known is not None and known.images)
            with closing(_started(temporary, path, fetched, base)) as db:
                loader = catalogue.Loader(db)
                before = {t: catalogue.count(db, t) for t in catalogue.TABLES}
                for part, query in fetched.queries:
                    loader.load(part.model, staging.rows(query))
                if "data_set" in fetched.anew:
                    for table in ("image", "imaged"):
                        db.execute(
                            f"DELETE FROM {table} WHERE data_set_id NOT IN "
                            "(SELECT id FROM data_set)"
                        )
                if images:
                    remarks += _add_images(db, loader, staging)
                now = datetime.now(UTC).isoformat(timespec="seconds")
                after = {t: catalogue.count(db, t) for t in catalogue.TABLES}
                whole = base is None or not fetched.incremental
                _seal(
                    db,
                    {
                        "service": session.settings.api_url,
                        "updated": now,
                        **({"built": now} if whole else {}),
                        "images": str(int(images)),
                        "added": json.dumps({t: after[t] - before[t] for t in after}),
                        "remarks": json.dumps(remarks),
                    },
                )
        staging.remove()
    return catalogue_info(session)


@dataclass(frozen=True)
class _Base:
    """What the catalogue that is there knows, by table: the highest id, and how many."""

    highest: dict[str, int]
    counts: dict[str, int]
    images: bool


def _base(path: Path) -> _Base | None:
    """Return what there is to add to; nothing where there is no catalogue, or an unusable one."""
    try:
        with catalogue.opened(path.parent) as db:
            if db is None:
                return None
            highest, counts = {}, {}
            for part in _PARTS:
                where = f"WHERE organism_id = {MOUSE}" if part.own == "gene" else "WHERE id > 0"
                highest[part.own], counts[part.own] = db.execute(
                    f"SELECT coalesce(max(id), 0), count(*) FROM {part.own} {where}"
                ).fetchone()
            images = catalogue.read_facts(db).get("images") == "1"
            return _Base(highest, counts, images)
    except CacheError:
        return None


@dataclass(frozen=True)
class _Fetched:
    """What has arrived of the tables, so that it can be loaded.

    Attributes
    ----------
    queries : tuple of (_Part, RMAParameters)
        The tables, and by which query their rows are found again.
    anew : frozenset of str
        Tables of the catalogue that there is which are fetched whole again.
    incremental : bool
        Whether something is only added to what there is.
    remarks : tuple of str
        What the service did not send.
    """

    queries: tuple[tuple[_Part, RMAParameters], ...]
    anew: frozenset[str]
    incremental: bool
    remarks: tuple[str, ...]


def _fetch_tables(staging: _Staging, session: Session, base: _Base | None) -> _Fetched:
    """Fetch each table, or what is new in it, page by page into the staging file."""
    queries: list[tuple[_Part, RMAParameters]] = []
    anew: set[str] = set()
    incremental = False
    remarks: list[str] = []
    for part in _PARTS:
        try:
            after = _known_up_to(session, part, base)
            query = part.query(after)
            remarks += staging.fetch(query)
        except RMAError as error:
            if part.required:
                raise
            also = "; those that come with data sets are known" if part.own == "gene" else ""
            remarks.append(f"The service refused to list {part.own}s ({error.message}){also}.")
            continue
        queries.append((part, query))
        if base is not None and not after:
            anew.add(part.own)
        incremental = incremental or bool(after)
    return _Fetched(tuple(queries), frozenset(anew), incremental, tuple(remarks))


def _known_up_to(session: Session, part: _Part, base: _Base | None) -> int:
    """Return the highest id that is known, where the service only has added records to it."""
    highest = base.highest[part.own] if base is not None else 0
    if base is None or not highest:
        return 0
    total, newer = (
        _total(session.rma(query)) for query in (part.counting(), part.counting_newer(highest))
    )
    return highest if total - newer == base.counts[part.own] else 0


def _started(
    temporary: Path, path: Path, fetched: _Fetched, base: _Base | None
) -> sqlite3.Connection:
    """Return the database to load into: a copy of the catalogue that is there, or an empty one."""
    if base is None:
        return catalogue.new_database(temporary)
    shutil.copyfile(path, temporary)
    db = catalogue.connected(temporary)
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    for own in fetched.anew:
        db.execute(f"DELETE FROM {own}")
        if own == "gene":
            db.execute("DELETE FROM alias")
        if own == "data_set":
            for linked in ("gene", "probe", "product", "treatment"):
                db.execute(f"DELETE FROM data_set_{linked}")
    return db


def _add_images(db: sqlite3.Connection, loader: catalogue.Loader, staging: _Staging) -> list[str]:
    """Fetch the images of the data sets with no known images, a hundred data sets at a time.

    Returns what the service did not send.
    """
    remarks: list[str] = []
    missing = [
        number
        for (number,) in db.execute(
            "SELECT id FROM data_set WHERE id NOT IN (SELECT data_set_id FROM imaged) ORDER BY id"
        )
    ]
    only = [f"sub_images.{column}" for column in _IMAGE_COLUMNS]
    for done, numbers in enumerate(batched_ids(missing)):
        wanted = Term(None, (among("data_set_id", numbers),))
        part = RMAParameters("SectionImage", [wanted], order="sub_images.id", only=only)
        short = staging.fetch(part, distinct=True, tell=False)
        remarks += short
        loader.load("SectionImage", staging.rows(part))
        if not short:
            loader.images_are_known(numbers)
        staging.tell(min((done + 1) * len(numbers), len(missing)), len(missing), "SectionImage")
    return remarks


class _Staging:
    """The pages that have arrived, in a file beside the catalogue until that is in place.

    Parameters
    ----------
    root : pathlib.Path
        The cache's folder of the service.
    session : Session
        Where to ask.
    progress : callable, optional
        See `update`.
    alone : bool
        Whether no other update can use the file. Without locks nobody knows, and the pages are
        kept in memory.
    """

    def __init__(
        self, root: Path, session: Session, progress: Progress | None, *, alone: bool = True
    ) -> None:
        self._session = session
        self._progress = progress
        self._asked: set[str] = set()
        self._path = root / "catalogue-update.sqlite"
        root.mkdir(parents=True, exist_ok=True)
        try:
            self._db = self._connected(alone)
        except sqlite3.OperationalError:
            raise  # what it holds may be sound
        except catalogue.DATABASE_ERRORS:
            self._path.unlink(missing_ok=True)  # damaged: what it held is asked for again
            self._db = self._connected(alone)

    def _connected(self, alone: bool) -> sqlite3.Connection:
        db = (
            catalogue.connected(self._path)
            if alone
            else sqlite3.connect(":memory:", isolation_level=None)
        )
        with ExitStack() as unfinished:
            unfinished.callback(db.close)
            # one page is lost by a power cut, and asked for again
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS page (query TEXT, page TEXT PRIMARY KEY, fetched TEXT, "
                "envelope TEXT, rows BLOB)"
            )
            old = (datetime.now(UTC) - STAGED_FOR).isoformat()
            db.execute("DELETE FROM page WHERE fetched < ?", (old,))
            unfinished.pop_all()
        return db

    def close(self) -> None:
        """Close the file; what it holds stays for the next update."""
        self._db.close()

    def remove(self) -> None:
        """Remove the file, now that the catalogue is in place."""
        self._db.close()
        for name in ("", "-journal", "-wal", "-shm"):
            self._path.with_name(self._path.name + name).unlink(missing_ok=True)

    def tell(self, done: int, total: int, what: str) -> None:
        """Tell how far it is."""
        if self._progress is not None:
            self._progress(done, total, what)

    def fetch(
        self, query: RMAParameters, *, distinct: bool = False, tell: bool = True
    ) -> list[str]:
        """Fetch all pages of a query, and return what the service did not send, if anything."""
        defects: list[ServiceWarning] = []

        def ask(page: RMAParameters) -> Mapping[str, Any]:
            envelope = self._page(query, page)
            if tell:
                done = (page.start_row or 0) + int(envelope["num_rows"])
                self.tell(done, int(envelope["total_rows"]), query.model)
            return envelope

        fetch_all(ask, query, defects.append, distinct=distinct)
        for defect in defects:
            self._session.report(defect)
        return [str(defect) for defect in defects if isinstance(defect, RowShortfallWarning)]

    def _page(self, query: RMAParameters, page: RMAParameters) -> dict[str, Any]:
        """Return a page's envelope with the rows' ids alone; the rows are kept in the file.

        A page that an interrupted update has brought is used, but only once: who asks for it
        again does so because something is missing.
        """
        known = None
        if page.text not in self._asked:
            with self._reading():
                known = self._db.execute(
                    "SELECT envelope FROM page WHERE page = ?", (page.text,)
                ).fetchone()
        self._asked.add(page.text)
        if known is not None:
            # what a damaged file says is asked for again
            with suppress(ValueError, TypeError):
                return parse_as(str(known[0]).encode(), dict[str, Any])
        answer = self._session.rma(page)
        rows = answer.get("msg")
        if not isinstance(rows, list):
            told = f"{rows!r:.200}" if isinstance(rows, str) else quoted(rows)
            raise RMAError(
                f"The service answered msg = {told} instead of rows to {page.text}.",
                hint=CHANGED,
            )
        slim = {
            **{name: count_in(answer, name) for name in ("num_rows", "total_rows")},
            "msg": [{"id": row.get("id")} for row in rows if isinstance(row, Mapping)],
        }
        self._db.execute(
            "INSERT OR REPLACE INTO page VALUES (?, ?, ?, ?, ?)",
            (
                query.text,
                page.text,
                datetime.now(UTC).isoformat(),
                json.dumps(slim),
                zlib.compress(json.dumps(rows).encode(), 1),
            ),
        )
        return slim

    def rows(self, query: RMAParameters) -> Iterator[Record | None]:
        """Give the rows of a query that has been fetched, a page in memory at a time."""
        with self._reading():
            pages = self._db.execute("SELECT rowid FROM page WHERE query = ?", (query.text,))
            numbers = sorted(number for (number,) in pages)
        for number in numbers:
            with self._reading():
                (content,) = self._db.execute(
                    "SELECT rows FROM page WHERE rowid = ?", (number,)
                ).fetchone()
                rows = parse_json(zlib.decompress(content))
                if not isinstance(rows, list):
                    raise TypeError
            yield from rows

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Remove a file that is damaged, so that the next update starts again."""
        try:
            yield
        except (*catalogue.DATABASE_ERRORS, zlib.error, DocumentError, TypeError) as error:
            self.remove()
            raise CacheError(
                f"What the last update has left at {self._path} is damaged, and was removed.",
                hint="Run the update again.",
            ) from error


def _total(envelope: Mapping[str, Any]) -> int:
    return count_in(envelope, "total_rows")


@contextmanager
def only_one(session: Session) -> Iterator[bool]:
    """Keep a second update of the same catalogue from running at once, where there are locks."""
    session.cache.check_version()
    path = session.cache.root / "locks" / "catalogue.lock"
    with ExitStack() as stack:
        try:
            alone = stack.enter_context(locked(path, "The catalogue", wait=False))
        except Taken:
            raise CacheError(
                "Another update of this catalogue is running.", hint="Wait for it to end."
            ) from None
        yield alone


def _errors(path: Path) -> AbstractContextManager[None]:
    return catalogue.written(
        f"The catalogue at {path}",
        "The old catalogue, if there was one, is untouched, and what has arrived is used by the "
        "next update.",
    )
