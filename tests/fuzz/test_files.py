"""Whatever stands in a file, nothing but the error tree comes out: over 20,000 cases.

The kind: a file that is read as if it were what it should be. Each reader is tried with valid
files that were made odd (`mutations`), and with documents of the right shape and the wrong values.
"""

import copy
import json
import sys
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atldld.demo.local import in_process_session
from atldld.errors import AlignmentFileWarning, AtldldError, ServiceWarning
from tests.fuzz.mutations import odd
from tests.fuzz.readers import READERS, Samples

ROOM = 3 << 30  # bytes that a reader may take beside what the tests have


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    with in_process_session(folder / "cache") as session:
        yield Samples(folder, session)


@pytest.fixture(scope="module")
def known(samples):
    """Valid files of each reader."""
    found = {}

    def of(reader):
        if reader.name not in found:
            found[reader.name] = reader.samples(samples)
        return found[reader.name]

    return of


@pytest.fixture(autouse=True, scope="module")
def bounded():
    """A file that announces more than it holds must not be believed: memory is limited."""
    if sys.platform != "linux":
        yield
        return
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def is_refused(reader, path, content):
    """Read a file; whether it was refused, in a sentence."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in (ServiceWarning, AlignmentFileWarning):
            warnings.simplefilter("ignore", kind)
        try:
            reader.read(path)
        except AtldldError as error:
            told = str(error)
            assert len(told) < 4000, told[:300]
            return bool(told.strip())
    return False


each = pytest.mark.parametrize("reader", READERS, ids=lambda one: one.name)


@each
def test_valid_files_are_read(reader, known, samples):
    """Otherwise the odd ones would all be refused for one reason. (Some samples are no files.)"""
    refused = [
        is_refused(reader, samples.folder / reader.file, content) for content in known(reader)
    ]
    assert not refused[0]


@pytest.mark.long
@each
def test_odd_files(reader, known, samples):
    valid = known(reader)
    path = samples.folder / reader.file
    for case in range(reader.cases):
        content = odd(valid[case % len(valid)], f"{reader.name} {case}")
        try:
            is_refused(reader, path, content)
        except BaseException as error:
            kept = samples.folder / f"case-{case}"
            kept.write_bytes(content)
            told = f"{type(error).__name__}: {error}"[:500]
            pytest.fail(f"{reader.name}, case {case} ({kept}): {told}", pytrace=False)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([10**30, -1, 0, 1, 2.5, 1e308, 5e-324, "../x", "909", "nan", "x" * 5000]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=5,
)
DOCUMENTS = [one for one in READERS if one.file.endswith(("json", "geojson"))]


def places(document, at=()):
    """The places in a document, from the whole to each value."""
    yield at
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document[:3])
        if isinstance(document, list)
        else ()
    )
    for key, value in inner:
        yield from places(value, (*at, key))


def replaced(document, at, value):
    """A copy of a document with another value at a place."""
    if not at:
        return value
    document = copy.deepcopy(document)
    holder = document
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = value
    return document


@pytest.mark.long
@pytest.mark.parametrize("reader", DOCUMENTS, ids=lambda one: one.name)
def test_documents_with_odd_values(reader, known, samples):
    """JSON of the right shape, in which one or two values are of another type or size."""
    document = json.loads(known(reader)[0])
    if isinstance(document, dict) and "per_image" in document:  # two sections say as much as all
        document["per_image"] = dict(list(document["per_image"].items())[:2])
    every = list(places(document))
    path = samples.folder / reader.file

    @settings(
        max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(st.lists(st.tuples(st.sampled_from(every), values), min_size=1, max_size=2))
    def run(changes):
        changed = document
        # the deeper places first: a higher one takes those below it away
        for at, value in sorted(changes, key=lambda one: -len(one[0])):
            changed = replaced(changed, at, value)
        is_refused(reader, path, json.dumps(changed).encode("utf-8", "surrogatepass"))

    run()


def test_there_are_enough_cases():
    from_answers = 5000 + 2000 + 2000 + 1000 + 500  # in test_answers
    assert sum(one.cases for one in READERS) + 200 * len(DOCUMENTS) + from_answers >= 30_000


# ---- what has gone wrong once, by name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("alignment", b"[" * 10_000 + b"]" * 10_000),
        ("alignment", b'{"target": 1e999, "slices": [null]}'),
        ("grid header", b"DimSize = nan nan nan\nElementType = MET_FLOAT\nElementSpacing = 1 1 1"),
        ("grid header", b"DimSize = 1 1 1\nElementType = MET_FLOAT\nElementSpacing = 1 1 1"),
        (
            "grid header",
            b"DimSize = 3 2 2\nElementType = MET_FLOAT\nElementSpacing = 1 1 1\n"
            b"ElementDataFile = energy.raw\nElementNumberOfChannels = many",
        ),
        ("field", b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': "
         b"(1000000, 1000000, 2)}" + b" " * 40 + b"\n"),
        ("field", b"PK\x03\x04"),
        ("catalogue", b"SQLite format 3\x00" + b"\x00" * 200),
        ("drawing of a plate", b'<?xml version="1.0" encoding="nonsense"?><svg/>'),
        ("list of ids", b"909" * 4_000_000),
        ("points as CSV", "note,image_id,x,y\nä,1,2,3".encode("latin-1")),
        ("points as CSV", b"x,x\n1,2\n"),
        ("map", b"[" * 100_000),
        ("outlines", b"\xff"),
        ("folder for reports", b'{"per_image": {"1": {}}, "output": null}'),
    ],
)  # fmt: skip
def test_refused(name, content, samples, known):
    (reader,) = (one for one in READERS if one.name == name)
    known(reader)
    samples.download()
    assert is_refused(reader, samples.folder / reader.file, content)


def test_lists_of_windows_are_read(tmp_path):
    from atldld.batch import read_ids

    for k, content in enumerate(
        (
            "909\r\n5\r\n".encode("utf-16"),
            b"\xef\xbb\xbf909\n5\n",
            b"909\r5\r",
        )
    ):
        path = tmp_path / f"{k}.txt"
        path.write_bytes(content)
        assert read_ids([str(path)]).ids == (909, 5)


def test_a_torn_journal_keeps_what_is_whole(tmp_path):
    (journal,) = (one for one in READERS if one.name == "journal")
    (whole,) = journal.samples(None)  # type: ignore[arg-type]
    from atldld.batch.journal import Journal

    lines = whole.splitlines(keepends=True)
    odd_lines = [
        b'{"data_set": -5, "state": "done"}\n', b'{"data_set": 1e999, "state": "done"}\n',
        b"[" * 100_000 + b"\n", b"\xff\xfe\n", b'{"data_set": 7, "state": "done", "bytes": -1}\n',
        b'{"data_set": 8, "sta\n',
    ]  # fmt: skip
    path = tmp_path / "batch.jsonl"
    path.write_bytes(b"".join([*lines[:2], *odd_lines, *lines[2:]]))
    opened = Journal(path, {"makes": "sections", "resolution": 25.0})
    opened.close()
    assert sorted(opened.known) == [5, 909]


def test_pickles_are_not_loaded(tmp_path):
    """A field is numbers; what else stands in the file could run anything."""
    import pickle

    from atldld.errors import InvalidInputError
    from atldld.warp import DisplacementField

    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "f.npy"
    for content in (
        pickle.dumps(Runs()),
        b"\x93NUMPY\x01\x00\x3b\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}   \n"
        + pickle.dumps(Runs()),
    ):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError):
            DisplacementField.from_file(path)
    assert not (tmp_path / "ran").exists()


def test_a_catalogue_with_a_bad_date_or_without_a_table(samples, known):
    import sqlite3

    (reader,) = (one for one in READERS if one.name == "catalogue")
    (whole,) = known(reader)
    path = samples.folder / "changed.sqlite"
    for sql in (
        "UPDATE fact SET value = 'yesterday' WHERE key = 'updated'",
        "UPDATE fact SET value = '9999-99-99' WHERE key = 'built'",
        "UPDATE fact SET value = '[1' WHERE key = 'added'",
        "UPDATE fact SET value = '{\"gene\": \"x\"}' WHERE key = 'added'",
        "UPDATE fact SET value = '2' WHERE key = 'schema'",
        "UPDATE fact SET value = x'ff' WHERE key = 'updated'",
        "DELETE FROM fact",
        "DROP TABLE fact",
        "DROP TABLE alias",
        "DROP TABLE trigram",
        "ALTER TABLE image DROP COLUMN width",
        "UPDATE image SET width = 'wide'",
        "UPDATE gene SET acronym = x'ff00'",
        "DROP TABLE probe; CREATE VIEW probe AS SELECT 1 AS id",
    ):
        path.write_bytes(whole)
        db = sqlite3.connect(path)
        db.executescript(sql)
        db.commit()
        db.close()
        assert is_refused(reader, samples.folder / reader.file, path.read_bytes()), sql
