"""The placements catalogue: what places every adult section, in one file beside the cache.

It holds the records of data sets with their ``alignment3d``, and of their images the sizes, tiers
and ``alignment2d``, as the service sent them: what `atldld.fetch.session.Session.dataset_records`
returns needs no request then. About a million images take some 60 MB, for each data set is one
compressed document whose image columns stand one after the other.

The file is never written in place, so it can be read without locks; see `atldld.find.placements`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atldld.errors import CacheError
from atldld.support.documents import DocumentError, parse_json

if TYPE_CHECKING:
    import sqlite3

__all__ = [
    "COLUMNS",
    "SCHEMA",
    "check_tables",
    "new_tables",
    "opened",
    "pack",
    "placements_path",
    "read_facts",
    "read_placement",
    "unpack",
    "whose_image",
]

SCHEMA = 1
"""Version of the file; another one is refused."""

COLUMNS = (
    "id",
    "section_number",
    "width",
    "height",
    "x",
    "y",
    "image_width",
    "image_height",
    "tier_count",
    "resolution",
    "failed",
    "expression_path",
)
"""What is kept of an image's record, beside its alignment2d and the data set's id."""

MATRICES = tuple(f"{name}_{k:02d}" for name in ("tsv", "tvs") for k in range(6))

LARGEST_DOCUMENT = 16 << 20
"""Bytes of one data set's document, unpacked."""

_TABLES = {
    "fact": {"key", "value"},
    "data_set": {"id", "images", "fetched", "complete", "document"},
    "image": {"id", "data_set_id"},
}

# What many documents have in common, so that each need not say it again. Part of the schema.
_SHARED = json.dumps(
    {
        "columns": {name: [None, False, True, 8992, 4936, 1.049, 7, 0] for name in COLUMNS},
        "matrices": {name: [1.00123, -0.0512345, 406.469] for name in MATRICES},
        "section_data_set": {
            **dict.fromkeys(
                ("blue_channel", "green_channel", "red_channel", "name", "rnaseq_design_id")
            ),
            "delegate": False,
            "expression": True,
            "failed": False,
            "failed_facet": 734881840,
            "plane_of_section_id": 2,
            "reference_space_id": 10,
            "section_thickness": 25.0,
            "qc_date": "2009-05-02T22:45:57Z",
            "storage_directory": "/external/aibssan/production32/prod46/image_series_",
            "genes": [
                {
                    **dict.fromkeys(
                        ("ensembl_id", "reference_genome_id", "genomic_reference_update_id")
                    ),
                    "acronym": "",
                    "alias_tags": "",
                    "chromosome_id": 34,
                    "entrez_id": 109648,
                    "homologene_id": 1,
                    "legacy_ensembl_gene_id": None,
                    "organism_id": 2,
                    "original_name": "",
                    "original_symbol": "",
                    "version_status": "no change",
                }
            ],
            "products": [
                {"id": 1, "name": "Mouse Brain", "abbreviation": "Mouse", "species": "Mouse"}
            ],
            "treatments": [{"id": 1, "name": "ISH", "tags": None}],
            "specimen": {
                "donor": {
                    "age": {"days": 56, "embryonic": False, "name": "P56", "organism_id": 2},
                    "sex": "M",
                    "sex_full_name": "Male",
                    "strain": "C57BL/6J",
                }
            },
            "alignment3d": {
                "aligned_type": "DataSet",
                **{f"{n}_{k:02d}": 0.99 for n in ("trv", "tvr") for k in range(12)},
            },
        },
    },
    separators=(",", ":"),
).encode()


def placements_path(root: Path) -> Path:
    """Return where the file is below the cache's folder of one service, or would be."""
    return root / "placements.sqlite"


def pack(dataset: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the document of a data set, compressed.

    Numbers are kept as they came: unpacked they are the same.

    Parameters
    ----------
    dataset : mapping
        Its record.
    images : sequence of mapping
        Those of its images, with their alignment2d where there is one.
    """
    rows = sorted(images, key=lambda image: image["id"])
    aligned = [_object(image.get("alignment2d")) for image in rows]
    document = {
        "columns": {name: [image.get(name) for image in rows] for name in COLUMNS},
        "matrices": {name: [one.get(name) for one in aligned] for name in MATRICES},
        "section_data_set": {
            name: value for name, value in dataset.items() if name != "section_images"
        },
    }
    packing = zlib.compressobj(9, zdict=_SHARED)
    text = json.dumps(document, separators=(",", ":")).encode()
    return packing.compress(text) + packing.flush()


def unpack(content: bytes) -> dict[str, Any]:
    """Return the records that a document holds: ``section_data_set`` and ``section_images``.

    Raises
    ------
    DocumentError
        If it is damaged.
    """
    try:
        unpacking = zlib.decompressobj(zdict=_SHARED)
        text = unpacking.decompress(content, LARGEST_DOCUMENT)
        if not unpacking.eof:
            raise DocumentError("breaks off, or is too large")
        document = parse_json(text)
        dataset = document["section_data_set"]
        columns, matrices = ({**document[name]} for name in ("columns", "matrices"))
        lists = [*columns.values(), *matrices.values()]
        if not isinstance(dataset, dict) or len({len(values) for values in lists}) > 1:
            raise TypeError
        plain, aligned = _rows(columns), _rows(matrices)
    except (zlib.error, KeyError, TypeError, AttributeError) as error:
        raise DocumentError(f"is damaged ({error})") from None
    images = []
    for row, matrix in zip(plain, aligned, strict=True):
        known = {name: value for name, value in matrix.items() if value is not None}
        alignment = {"section_image_id": row.get("id"), **known} if known else None
        images.append({**row, "data_set_id": dataset.get("id"), "alignment2d": alignment})
    return {"section_data_set": dataset, "section_images": images}


def _object(value: object) -> Mapping[str, Any]:
    """Return a record that may have come as a list of one, or not at all."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    return value if isinstance(value, Mapping) else {}


def _rows(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Return the rows of a table that is given by its columns."""
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


@contextmanager
def opened(root: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the file below the cache's folder for reading; `None` where there is none.

    Raises
    ------
    CacheError
        If it is damaged, or of another version.
    """
    path = placements_path(root)
    if not path.is_file():
        yield None
        return
    import sqlite3  # here, not at the top: most commands have no such file

    try:
        with closing(
            sqlite3.connect(
                f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None
            )
        ) as db:
            check_tables(db)
            yield db
    except (sqlite3.DatabaseError, UnicodeDecodeError, DocumentError) as error:
        raise CacheError(
            f"The placements at {path} cannot be read: {error}.",
            hint="Remove the file, and make it again with `atldld catalogue update --placements`, "
            "or import one.",
        ) from error


def check_tables(db: sqlite3.Connection) -> None:
    """Refuse a file that is of another version, or has views in place of tables.

    Raises
    ------
    sqlite3.DatabaseError
        If it is no such file.
    """
    import sqlite3

    there = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for table, columns in _TABLES.items():
        known = {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
        if table not in there or columns - known:
            raise sqlite3.DatabaseError(f"it has no table {table} as it should")
    version = read_facts(db).get("schema")
    if version != str(SCHEMA):
        raise sqlite3.DatabaseError(
            f"it is of version {version}, and this version of atldld reads {SCHEMA}"
        )


def read_facts(db: sqlite3.Connection) -> dict[str, str]:
    """Return what the file says about itself: schema, service, updated."""
    return {str(key): str(value) for key, value in db.execute("SELECT key, value FROM fact")}


def read_placement(root: Path, dataset_id: int) -> dict[str, Any] | None:
    """Return the records of a data set and when they were fetched, or `None`.

    Parameters
    ----------
    root : pathlib.Path
        The cache's folder of the service.
    dataset_id : int
        The data set.

    Returns
    -------
    dict or None
        As `atldld.fetch.documents.Documents.dataset` returns it.

    Raises
    ------
    CacheError
        If the file is damaged.
    """
    with opened(root) as db:
        row = (
            db
            and db.execute(
                "SELECT document, fetched, complete FROM data_set WHERE id = ?", (dataset_id,)
            ).fetchone()
        )
        if not row:
            return None
        import sqlite3

        content, fetched, complete = row
        if not isinstance(content, bytes):
            raise sqlite3.DatabaseError("a document is no document")
        found = unpack(content)
        if found["section_data_set"].get("id") != dataset_id:
            raise sqlite3.DatabaseError(f"it has another data set as {dataset_id}")
        return {
            **found,
            "complete": bool(complete),
            "defects": [],
            "fetched": str(fetched),
            "from": "placements",
        }


def whose_image(root: Path, image_id: int) -> int | None:
    """Return the data set of a section image, if it is known here.

    Raises
    ------
    CacheError
        If the file is damaged.
    """
    with opened(root) as db:
        row = (
            db and db.execute("SELECT data_set_id FROM image WHERE id = ?", (image_id,)).fetchone()
        )
        return int(row[0]) if row else None


def new_tables(db: sqlite3.Connection, facts: Iterable[tuple[str, str]]) -> None:
    """Make the tables of a new file."""
    # each document ends in a page of its own, which is half empty: small ones waste little
    db.execute("PRAGMA page_size = 1024")
    db.executescript(
        "CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
        "CREATE TABLE data_set (id INTEGER PRIMARY KEY, images INTEGER, fetched TEXT, "
        "complete INTEGER, document BLOB);"
        "CREATE TABLE image (id INTEGER PRIMARY KEY, data_set_id INTEGER);"
    )
    db.executemany("INSERT INTO fact VALUES (?, ?)", [("schema", str(SCHEMA)), *facts])
