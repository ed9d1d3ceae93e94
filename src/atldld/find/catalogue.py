"""The catalogue: the service's data sets, genes, specimens and structures in one SQLite file.

The file is never written in place: an update builds a new one beside it and moves it over. So it
can be read without locks, from any number of processes and from shared file systems.

The same tables, in memory, hold what the service answers to a single search; so one piece of SQL
(`atldld.find.conditions`) answers every search, whoever was asked.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from atldld.errors import CacheError, Remedy
from atldld.find.rows import Origin
from atldld.place.spaces import PlaneOfSection, ReferenceSpace
from atldld.records import (
    LARGEST_PIXEL,
    LARGEST_SECTION,
    LARGEST_SIDE,
    LARGEST_THICKNESS,
    LARGEST_TIERS,
)
from atldld.support import fields
from atldld.support.fields import UnusableFieldError
from atldld.support.files import write_errors

__all__ = [
    "DATABASE_ERRORS",
    "SCHEMA",
    "TABLES",
    "Loader",
    "catalogue_path",
    "connected",
    "count",
    "finish",
    "moment",
    "new_database",
    "opened",
    "read_facts",
    "shadow_images",
    "source_of",
    "write_facts",
    "written",
]

SCHEMA = 1
"""Version of the tables; a file of another one is refused."""

TABLES = (
    "data_set",
    "gene",
    "probe",
    "product",
    "treatment",
    "specimen",
    "donor",
    "age",
    "structure",
    "image",
)
"""The tables whose rows are counted."""

DATABASE_ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What SQLite raises of a damaged file; the second where its message quotes what is no text."""


@contextmanager
def written(what: str, then: str) -> Iterator[None]:
    """Turn errors of the system, and of SQLite, which passes them on, into one sentence.

    Parameters
    ----------
    what : str
        What is being written, such as ``"The catalogue at …"``.
    then : str
        What has become of it, and what helps, as sentences.

    Raises
    ------
    CacheError
        If it cannot be written.
    """
    hint = f"Another folder is chosen with {Remedy.CACHE_DIR} or ATLDLD_CACHE_DIR. {then}"
    try:
        with write_errors(what, CacheError, hint=hint):
            yield
    except DATABASE_ERRORS as error:
        raise CacheError(
            f"{what} cannot be written: {error}.",
            hint=f"Look whether the disk is sound and has space. {hint}",
        ) from error


Record = Mapping[str, Any]

# Names are compared without regard to case, which NOCASE does for the letters A to Z.
_ENTITIES: Mapping[str, Mapping[str, str]] = {
    "gene": {
        "acronym": "TEXT COLLATE NOCASE",
        "name": "TEXT COLLATE NOCASE",
        "entrez_id": "INTEGER",
        "ensembl_id": "TEXT COLLATE NOCASE",
        "organism_id": "INTEGER",
    },
    "probe": {"name": "TEXT", "gene_id": "INTEGER", "orientation_id": "INTEGER"},
    "product": {"name": "TEXT", "abbreviation": "TEXT", "species": "TEXT"},
    "treatment": {"name": "TEXT"},
    "age": {"name": "TEXT", "days": "REAL", "embryonic": "INTEGER"},
    "donor": {
        "name": "TEXT",
        "age_id": "INTEGER",
        "organism_id": "INTEGER",
        "sex": "TEXT",
        "strain": "TEXT",
    },
    "specimen": {"name": "TEXT COLLATE NOCASE", "donor_id": "INTEGER"},
    "structure": {
        "acronym": "TEXT COLLATE NOCASE",
        "name": "TEXT COLLATE NOCASE",
        "parent_structure_id": "INTEGER",
        "graph_id": "INTEGER",
        "graph_order": "INTEGER",
        "depth": "INTEGER",
        "structure_id_path": "TEXT",
        "color_hex_triplet": "TEXT",
    },
    "data_set": {
        "specimen_id": "INTEGER",
        "plane_of_section_id": "INTEGER",
        "reference_space_id": "INTEGER",
        "section_thickness": "REAL",
        "failed": "INTEGER",
        "delegate": "INTEGER",
        "expression": "INTEGER",
        "qc_date": "TEXT",
        "synthetic": "INTEGER",
    },
    "image": {
        "data_set_id": "INTEGER",
        "section_number": "INTEGER",
        "width": "INTEGER",
        "height": "INTEGER",
        "tier_count": "INTEGER",
        "resolution": "REAL",
        "failed": "INTEGER",
    },
    "plane_of_section": {"name": "TEXT"},
    "reference_space": {"name": "TEXT"},
}

# What a data set has several of, by the name of the association and of the table.
_LINKS = {"genes": "gene", "probes": "probe", "products": "product", "treatments": "treatment"}

# What a data set leads to one of, through one another.
_CHAIN = ("specimen", "donor", "age")

# How a record without an id is told from others of its table.
_KEYS = {"gene": "acronym"}


def _schema() -> str:
    entities = [
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, "
        + ", ".join(f"{column} {kind}" for column, kind in columns.items())
        + ");"
        for table, columns in _ENTITIES.items()
    ]
    links = [
        f"CREATE TABLE data_set_{table} (data_set_id INTEGER, {table}_id INTEGER, "
        f"PRIMARY KEY (data_set_id, {table}_id)) WITHOUT ROWID;"
        for table in _LINKS.values()
    ]
    return "\n".join(
        (
            "CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;",
            "CREATE TABLE alias (gene_id INTEGER, text TEXT, PRIMARY KEY (gene_id, text)) "
            "WITHOUT ROWID;",
            *entities,
            *links,
            # the data sets whose images are all known
            "CREATE TABLE imaged (data_set_id INTEGER PRIMARY KEY, sections INTEGER, "
            "resolution REAL);",
            # needed while loading: each data set's images are counted
            "CREATE INDEX of_data_set ON image (data_set_id);",
        )
    )


_INDICES = """
CREATE INDEX IF NOT EXISTS gene_acronym ON gene (acronym);
CREATE INDEX IF NOT EXISTS gene_entrez ON gene (entrez_id);
CREATE INDEX IF NOT EXISTS gene_ensembl ON gene (ensembl_id);
CREATE INDEX IF NOT EXISTS of_gene ON data_set_gene (gene_id);
CREATE INDEX IF NOT EXISTS of_probe ON data_set_probe (probe_id);
CREATE INDEX IF NOT EXISTS of_specimen ON data_set (specimen_id);
CREATE INDEX IF NOT EXISTS specimen_name ON specimen (name);
"""

# Every name of a gene or structure, and the trigrams of it. A space on either side makes trigrams
# of the first and the last two letters, which is what keeps "Prx1" close to "Prox1". The index
# keeps no copy of the text; it is made anew with the table.
_NAMES = """
DROP TABLE IF EXISTS name;
DROP TABLE IF EXISTS trigram_count;
DROP TABLE IF EXISTS trigram;
CREATE TABLE name (
    id INTEGER PRIMARY KEY, kind TEXT, owner INTEGER, role TEXT, text TEXT COLLATE NOCASE
);
INSERT INTO name (kind, owner, role, text)
    SELECT 'gene', id, 'acronym', acronym FROM gene WHERE acronym <> ''
    UNION ALL SELECT 'gene', id, 'name', name FROM gene WHERE name <> ''
    UNION ALL SELECT 'gene', gene_id, 'alias', text FROM alias
    UNION ALL SELECT 'structure', id, 'acronym', acronym FROM structure WHERE acronym <> ''
    UNION ALL SELECT 'structure', id, 'name', name FROM structure WHERE name <> '';
CREATE INDEX name_text ON name (text);
CREATE VIRTUAL TABLE trigram USING fts5(text, content='', tokenize='trigram');
CREATE VIRTUAL TABLE trigram_count USING fts5vocab(trigram, row);
INSERT INTO trigram (rowid, text) SELECT id, ' ' || text || ' ' FROM name;
INSERT INTO trigram (trigram) VALUES ('optimize');
"""


def catalogue_path(root: Path) -> Path:
    """Return where the catalogue is below the cache's folder of one service, or would be."""
    return root / "catalogue.sqlite"


def connected(path: Path) -> sqlite3.Connection:
    """Open a file that nobody else uses, and that may lie where there are no locks."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?nolock=1", uri=True, isolation_level=None)


def new_database(path: Path | None = None) -> sqlite3.Connection:
    """Make an empty catalogue, in memory unless a path is given.

    Raises
    ------
    CacheError
        If this Python's SQLite lacks full-text search by trigrams.
    """
    db = sqlite3.connect(":memory:", isolation_level=None) if path is None else connected(path)
    try:
        db.execute("CREATE VIRTUAL TABLE temp.probe USING fts5(text, tokenize='trigram')")
        db.execute("DROP TABLE temp.probe")
    except sqlite3.OperationalError as error:
        db.close()
        raise CacheError(
            f"This Python's SQLite ({sqlite3.sqlite_version}) has no full-text search by "
            f"trigrams, which searching needs: {error}.",
            hint="Use a Python with SQLite 3.34 or newer that includes FTS5; the official "
            "installers, conda and the Linux distributions have it.",
        ) from error
    # nothing is lost by a power cut: the file counts only when it is whole and has been moved
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.executescript(_schema())
    for kind, table in (
        (PlaneOfSection, "plane_of_section"),
        (ReferenceSpace, "reference_space"),
    ):
        db.executemany(
            f"INSERT INTO {table} VALUES (?, ?)", [(member.value, str(member)) for member in kind]
        )
    return db


@contextmanager
def opened(root: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the catalogue below the cache's folder for reading; `None` where there is none.

    Raises
    ------
    CacheError
        If it is damaged, or of another version.
    """
    path = catalogue_path(root)
    if not path.is_file():
        yield None
        return
    # The file never changes under its name, so no locks are needed, and folders may be read-only.
    with (
        _errors_of(path),
        closing(
            sqlite3.connect(
                f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None
            )
        ) as db,
    ):
        facts = read_facts(db) if "fact" in _tables_of(db) else {}
        if facts.get("schema") != str(SCHEMA):
            raise CacheError(
                f"The catalogue at {path} is of version {facts.get('schema', 'unknown')}, and "
                f"this version of atldld reads {SCHEMA}.",
                hint="Build it again with `atldld catalogue update --full`, or ask the service "
                f"with {Remedy.LIVE}.",
            )
        _check_tables(db)
        source_of(db)
        yield db


def _tables_of(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def _check_tables(db: sqlite3.Connection) -> None:
    """Refuse a file that lacks what searches read; views in place of tables are never read."""
    there = _tables_of(db)
    needed: dict[str, set[str]] = {table: {"id", *own} for table, own in _ENTITIES.items()}
    needed |= {f"data_set_{own}": {"data_set_id", f"{own}_id"} for own in _LINKS.values()}
    needed["alias"] = {"gene_id", "text"}
    needed["imaged"] = {"data_set_id", "sections", "resolution"}
    needed["name"] = {"id", "kind", "owner", "role", "text"}
    needed |= {"trigram": set(), "trigram_count": set()}
    for table, columns in needed.items():
        if table not in there:
            raise sqlite3.DatabaseError(f"it has no table {table}")
        known = {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
        if columns - known:
            raise sqlite3.DatabaseError(f"its table {table} has no column {min(columns - known)}")


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except DATABASE_ERRORS as error:
        raise CacheError(
            f"The catalogue at {path} cannot be read: {error}.",
            hint="Build it again with `atldld catalogue update --full`, or ask the service with "
            f"{Remedy.LIVE}.",
        ) from error


def read_facts(db: sqlite3.Connection) -> dict[str, str]:
    """Return what a catalogue says about itself: schema, service, updated, …."""
    return {str(key): str(value) for key, value in db.execute("SELECT key, value FROM fact")}


def shadow_images(db: sqlite3.Connection, data_set_ids: Iterable[int]) -> None:
    """Put copies of what is known of some data sets' images before the tables on disk.

    SQLite looks into a connection's temporary tables first, so images that have just been asked
    for can be searched together with a catalogue that nobody may write.
    """
    numbers = [(number,) for number in data_set_ids]
    for table in ("image", "imaged"):
        (sql,) = db.execute(
            "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?", (table,)
        ).fetchone()
        db.execute(sql.replace("CREATE TABLE", "CREATE TEMP TABLE", 1))
        db.executemany(
            f"INSERT INTO temp.{table} SELECT * FROM main.{table} WHERE data_set_id = ?", numbers
        )


def write_facts(db: sqlite3.Connection, facts: Mapping[str, str]) -> None:
    """Write what a catalogue says about itself."""
    db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts.items())


def source_of(db: sqlite3.Connection) -> Origin:
    """Return the catalogue as the source of an answer.

    Raises
    ------
    sqlite3.DatabaseError
        If it does not say when that was.
    """
    facts = read_facts(db)
    return Origin(
        kind="catalogue",
        url=facts.get("service", "an unknown service"),
        when=moment(facts, "updated") or datetime.now(UTC),
    )


def moment(facts: Mapping[str, str], name: str) -> datetime | None:
    """Return the moment that a fact tells, with its time zone; `None` where there is none.

    Raises
    ------
    sqlite3.DatabaseError
        If it is no date.
    """
    if not facts.get(name):
        return None
    try:
        when = datetime.fromisoformat(facts[name])
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        raise sqlite3.DatabaseError(f"it says {name} = {facts[name]!r:.60}, no date") from None


def count(db: sqlite3.Connection, table: str) -> int:
    """Return how many rows a table has that the service gave an id."""
    (number,) = db.execute(f"SELECT count(*) FROM {table} WHERE id > 0").fetchone()
    return int(number)


def finish(db: sqlite3.Connection) -> None:
    """Index what has been loaded; needed once after loading, before searching."""
    db.executescript("BEGIN;" + _INDICES + _NAMES + "COMMIT;")


class Loader:
    """Puts records of the service, in the shape of RMA answers, into the tables.

    Parameters
    ----------
    db : sqlite3.Connection
        What `new_database` returned.

    Notes
    -----
    Where a row of that id is there already, columns that the new record has win, and the others
    stay: the same gene comes whole from one query and with its acronym alone from another.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._seen: set[tuple[str, Any]] = set()
        self._kinds: dict[str, Callable[[Record], object]] = {
            "SectionDataSet": self._data_set,
            "SectionImage": self._image,
            "Gene": self._gene,
            "Specimen": lambda record: self._chained("specimen", record),
            "Structure": lambda record: self._entity("structure", record),
        }
        self._upserts = {
            table: f"INSERT INTO {table} (id, {', '.join(columns)}) "
            f"VALUES (?{', ?' * len(columns)}) ON CONFLICT (id) DO UPDATE SET "
            + ", ".join(f"{c} = coalesce(excluded.{c}, {c})" for c in columns)
            for table, columns in _ENTITIES.items()
        }

    def load(self, model: str, records: Iterable[Record | None]) -> None:
        """Load records of a model; null entries and records without an id are left out."""
        self.db.execute("BEGIN")
        for record in records:
            if isinstance(record, Mapping) and (model == "Gene" or _whole(record.get("id"))):
                self._kinds[model](record)
        self.db.execute("COMMIT")

    def images_are_known(self, data_set_ids: Iterable[int]) -> None:
        """Say that all images of these data sets have been loaded."""
        self.db.execute("BEGIN")
        self.db.executemany(
            "INSERT OR REPLACE INTO imaged SELECT ?1, count(*), min(resolution) FROM image "
            "WHERE data_set_id = ?1",
            [(number,) for number in data_set_ids],
        )
        self.db.execute("COMMIT")

    def _entity(self, table: str, record: Record) -> int:
        number = self._id_of(table, record)
        values = [_typed(record, column, kind) for column, kind in _ENTITIES[table].items()]
        self.db.execute(self._upserts[table], (number, *values))
        return number

    def _id_of(self, table: str, record: Record) -> int:
        """Return a record's id, or a negative one where the service sent none."""
        number = _whole(record.get("id"))
        if number is not None:
            return number
        key = _KEYS.get(table, "name")
        known = self.db.execute(
            f"SELECT id FROM {table} WHERE {key} = ?", (_plain(record.get(key)),)
        ).fetchone()
        if known is not None:
            return int(known[0])
        (lowest,) = self.db.execute(f"SELECT min(id) FROM {table}").fetchone()
        return min(lowest or 0, 0) - 1

    def _once(self, table: str, record: Record, put: Callable[[Record], int]) -> int:
        """Put a record that comes along with many others only the first time."""
        number = _whole(record.get("id"))
        if number is not None and (table, number) in self._seen:
            return number
        number = put(record)
        self._seen.add((table, number))
        return number

    def _gene(self, record: Record) -> int:
        number = self._entity("gene", record)
        aliases = {*_text(record, "alias_tags").split()}
        aliases |= {_text(record, name) for name in ("original_symbol", "original_name")}
        aliases |= {
            _text(alias, "name")
            for alias in _listed(record.get("gene_aliases"))
            if isinstance(alias, Mapping)
        }
        aliases -= {"", _text(record, "acronym"), _text(record, "name")}
        self.db.executemany(
            "INSERT OR IGNORE INTO alias VALUES (?, ?)", [(number, alias) for alias in aliases]
        )
        return number

    def _chained(self, table: str, record: Record) -> int:
        """Put a specimen, then its donor, then the donor's age."""
        number = self._entity(table, record)
        for following in _CHAIN[_CHAIN.index(table) + 1 :][:1]:
            inner = record.get(following)
            if isinstance(inner, Mapping):
                self._once(following, inner, partial(self._chained, following))
        return number

    def _data_set(self, record: Record) -> None:
        number = self._entity("data_set", record)
        specimen = record.get("specimen")
        if isinstance(specimen, Mapping):
            self._once("specimen", specimen, partial(self._chained, "specimen"))
        for association, table in _LINKS.items():
            put = self._gene if table == "gene" else partial(self._entity, table)
            for linked in _listed(record.get(association)):
                if isinstance(linked, Mapping):
                    other = self._once(table, linked, put)
                    self.db.execute(
                        f"INSERT OR IGNORE INTO data_set_{table} VALUES (?, ?)", (number, other)
                    )

    def _image(self, record: Record) -> None:
        self._entity("image", record)


def _text(record: Record, name: str) -> str:
    """Return a text; what is none counts as empty."""
    value = record.get(name)
    return value if isinstance(value, str) else ""


def _listed(value: object) -> Sequence[object]:
    """Return what is linked; an object stands for a list of one."""
    if isinstance(value, Mapping):
        return [value]
    return value if isinstance(value, (list, tuple)) else ()


def _whole(value: object) -> int | None:
    """Return an id, or `None`."""
    try:
        return fields.whole({"id": value}, "id", 1, (1 << 63) - 1)
    except UnusableFieldError:
        return None


# What columns of numbers can hold; what is larger counts as missing, like what is no number.
_LIMITS: Mapping[str, tuple[float, float]] = {
    "section_thickness": (0.1, LARGEST_THICKNESS),
    "resolution": (1e-3, LARGEST_PIXEL),
    "section_number": (0, LARGEST_SECTION),
    "width": (1, LARGEST_SIDE),
    "height": (1, LARGEST_SIDE),
    "tier_count": (1, LARGEST_TIERS),
    "days": (-1e5, 1e5),
    "depth": (0, 1000),
    "graph_order": (-1e6, 1e6),
}
_FLAGS = {"failed", "delegate", "expression", "synthetic", "embryonic"}


def _typed(record: Record, name: str, kind: str) -> object:
    """Return a value as its column holds it; what cannot be there counts as missing."""
    try:
        if name in _FLAGS:
            told = fields.flag(record, name)
            return None if told is None else int(told)
        if kind.startswith("TEXT"):
            return fields.text(record, name)
        low, high = _LIMITS.get(name, (-(1 << 62), 1 << 62))
        if kind == "REAL":
            return fields.number(record, name, low, high)
        return fields.whole(record, name, int(low), int(high))
    except UnusableFieldError:
        return None


def _plain(value: object) -> object:
    """Return a value that SQLite can hold; what it cannot counts as missing."""
    if isinstance(value, int):
        return int(value) if abs(value) < 1 << 63 else None
    return value if isinstance(value, str | float) else None
