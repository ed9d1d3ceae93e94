"""Archives that others made, in bad faith: nothing is believed, and refusing costs little."""

import hashlib
import io
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from atldld.errors import CacheError, InvalidInputError
from atldld.fetch import members as members_module
from atldld.fetch.archive import export_archive, import_archive
from atldld.fetch.cache import Cache, companion_of
from atldld.fetch.facts import FileFacts, ImageFacts
from atldld.fetch.members import FolderMembers, ZipMembers, decode
from atldld.fetch.upkeep import stored_images
from atldld.serve.stored import StoredArchive
from atldld.support.text import shown

MARKER = "atldld-archive.json"
GOOD_MARKER = b'{"format": "atldld-archive", "version": 1}'
IMAGE = "images/5/5000/4.jpg"


@pytest.fixture
def filled(session):
    """A cache of data set 909: two images, its records, and another file."""
    dataset = session.dataset(909)
    for image in dataset.images[:2]:
        session.image(image, 4)
    with session.cache.new_file("grid_data/download/909.zip") as arriving:
        arriving.file.write(b"PK grid")
        arriving.keep(FileFacts(url="http://x/", sha256=hashlib.sha256(b"PK grid").hexdigest()))
    return session.cache


def facts(content, **more):
    known = {"width": 20, "height": 10, "bytes": len(content), "url": "http://x/"}
    return known | {"sha256": hashlib.sha256(content).hexdigest()} | more


def jpeg(width=20, height=10, *, progressive=False):
    pixels = np.zeros((height, width, 3), np.uint8)
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    return cv2.imencode(".jpg", pixels, flags)[1].tobytes()


def with_size(content, width, height):
    """A JPEG whose header promises other sides than it has."""
    at = next(content.index(m) for m in (b"\xff\xc0", b"\xff\xc2") if m in content)
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


def with_image(content, **more):
    return {IMAGE: content, f"{IMAGE}.json": json.dumps(facts(content, **more)).encode()}


def archive(tmp_path, members, *, compression=zipfile.ZIP_STORED):
    path = tmp_path / "strange.zip"
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr(MARKER, GOOD_MARKER)
        for name, content in members.items():
            file.writestr(name, content)
    return path


def taken_from(tmp_path, source):
    cache = Cache(tmp_path / "into" / "cache")
    count, refused = import_archive(cache, source)
    written = [p for p in (tmp_path / "into").rglob("*") if p.is_file()]
    assert all(cache.root in path.parents for path in written)
    assert not [path for path in written if ".part" in path.name]
    # one sentence for each
    assert all(damage.problem and "\n" not in damage.problem for damage in refused)
    return count, refused, cache


# ---- names


STRANGE_NAMES = [
    "../up.jpg",
    "/etc/passwd",
    "C:/windows/x.jpg",
    "C:\\x.jpg",
    "files\\x",
    "files/../../x",
    "files/./x",
    "files//x",
    "files/x\ny",
    "files/x\x1b[31m",
    "files/näme",
    "files/.hidden",
    "files/x.",
    "files/con",
    "files/NUL.txt",
    "files/" + "a" * 200,
    "files/" + "a/" * 20 + "x",
    "images/٥/٥٠٠٠/٤.jpg",
    "images/9/5000/4.jpg",
    "Images/5/5000/4.jpg",
    "datasets/909.JSON",
    "queries/" + "g" * 64 + ".json",
    "atldld-archive.json/x",
]


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_strange_names(tmp_path, name):
    """Only the layout's own names are taken, and on every system the same ones."""
    content = jpeg()
    members = {name: content, f"{name}.json": json.dumps(facts(content)).encode()}
    count, refused, cache = taken_from(tmp_path, archive(tmp_path, members))
    assert count == 0
    assert refused
    assert not list(stored_images(cache))
    assert all(str(damage.path).isprintable() for damage in refused)


def test_names_with_a_nul_or_twice(tmp_path):
    content = jpeg()
    path = tmp_path / "strange.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(MARKER, GOOD_MARKER)
        for name, body in with_image(content).items():
            file.writestr(name, body)
        file.writestr("files/Twin", b"1")
        file.writestr("files/twin", b"2")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr(IMAGE, jpeg(30, 10))
        file.writestr("files/cutZhere", b"3")
    path.write_bytes(path.read_bytes().replace(b"files/cutZhere", b"files/cut\0here"))
    count, refused, _ = taken_from(tmp_path, path)
    assert count == 0
    assert sum("several files of this name" in damage.problem for damage in refused) == 4
    assert any("cut\\x00here" in str(damage.path) for damage in refused)


@pytest.mark.parametrize(
    ("kind", "says"),
    [(stat.S_IFLNK, "link"), (stat.S_IFIFO, "pipe"), (stat.S_IFCHR, "device")],
)
def test_members_that_are_no_files(tmp_path, kind, says):
    path = tmp_path / "strange.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(MARKER, GOOD_MARKER)
        info = zipfile.ZipInfo("files/x")
        info.external_attr = (kind | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    _, (refused,), _ = taken_from(tmp_path, path)
    assert says in refused.problem


# ---- what they say


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"width": "1e999"}, "companion"),
        ({"width": "NaN"}, "companion"),
        ({"width": "-3"}, "companion"),
        ({"width": "70000"}, "companion"),
        ({"width": '"20"'}, "companion"),
        ({"width": "20.5"}, "companion"),
        ({"width": "true"}, "companion"),
        ({"width": "null"}, "companion"),
        ({"width": "[" * 50_000}, "companion"),
        ({"sha256": '"../x"'}, "companion"),
        ({"fetched": '"yesterday"'}, "companion"),
        ({"fetched": "7"}, "companion"),
        ({"url": '"http://x/\\u001b[31m"'}, "companion"),
        ({"dataset_id": '"909"'}, "companion"),
        ({"dataset_id": "1e30"}, "companion"),
        ({"padding": '"' + "x" * 100_000 + '"'}, "companion"),
        ({"width": "21"}, "no sound image"),
    ],
)
def test_companions(tmp_path, change, says):
    """A companion is read as what it should be: whole numbers in bounds, a hash, a time."""
    content = jpeg()
    known = {name: json.dumps(value) for name, value in facts(content).items()} | change
    text = "{" + ", ".join(f'"{name}": {value}' for name, value in known.items()) + "}"
    members = {IMAGE: content, f"{IMAGE}.json": text.encode()}
    count, (refused,), _ = taken_from(tmp_path, archive(tmp_path, members))
    assert count == 0
    assert says in refused.problem


@pytest.mark.parametrize(
    "body",
    [
        b'{"section_data_set": {"id": 7}, "section_images": 3}',
        b'{"section_data_set": {"id": 7}, "section_images": [3]}',
        b'{"section_data_set": {"id": 1e999}, "section_images": []}',
        b'{"section_data_set": {"id": NaN}, "section_images": []}',
        b'{"section_data_set": {"id": 7}, "section_images": [], "fetched": 5}',
        b'{"section_data_set": {"id": 7}, "section_images": [], "defects": "x"}',
        b'{"section_data_set": {"id": 7}, "section_images": [{"id": 1, "section_number": 1,'
        b' "width": 5, "height": 5, "data_set_id": 8}]}',
        b'{"section_data_set": [], "section_images": []}',
        b"[]",
        b"\xff\xfe",
        b'{"a":' * 5_000,
        b"[" + b"{}," * 1_000_000 + b"{}]",
    ],
)
def test_records_of_data_sets(tmp_path, body):
    _, (refused,), cache = taken_from(tmp_path, archive(tmp_path, {"datasets/7.json": body}))
    assert refused.problem.startswith("it ")
    assert cache.document_names("datasets") == []


def test_answers_to_queries_are_those_that_their_name_says(tmp_path):
    good = {"query": "model::X", "rows": [{"id": 1}], "fetched": "2026-01-01T00:00:00+00:00"}
    name = hashlib.sha256(b"model::X").hexdigest()
    members = {
        f"queries/{name}.json": json.dumps(good),
        f"queries/{'0' * 64}.json": json.dumps(good),
    }
    _, (refused,), cache = taken_from(tmp_path, archive(tmp_path, members))
    assert "another query" in refused.problem
    assert cache.read_document("queries", name) == good


def test_images_have_the_size_that_their_record_says(filled, tmp_path):
    """The record counts and not the companion, which comes from whoever made the image."""
    dataset_id = 909
    image_id = next(stored_images(filled)).image_id
    name = f"images/{image_id // 1000}/{image_id}/3.jpg"
    content = jpeg(30, 20)
    members = {
        "datasets/909.json": (filled.root / "datasets/909.json").read_bytes(),
        name: content,
        f"{name}.json": json.dumps(
            facts(content, width=30, height=20, dataset_id=dataset_id)
        ).encode(),
    }
    _, (refused,), _ = taken_from(tmp_path, archive(tmp_path, members))
    assert "its record 357 × 332 at downsample 3" in refused.problem


# ---- what the cache holds stays


def test_what_is_there_is_not_replaced_and_that_is_told(filled, tmp_path):
    """An import used to leave out what differs from the cache's own without a word."""
    stored = next(stored_images(filled))
    size = stored.facts["width"], stored.facts["height"]
    other = jpeg(*size)
    name = stored.path.relative_to(filled.root).as_posix()
    records = json.loads((filled.root / "datasets/909.json").read_text())
    records["section_data_set"]["section_thickness"] = 99.0
    grid = "files/grid_data/download/909.zip"
    members = {
        name: other,
        f"{name}.json": json.dumps(stored.facts | facts(other, width=size[0], height=size[1])),
        "datasets/909.json": json.dumps(records),
        grid: b"PK other",
        f"{grid}.json": json.dumps(facts(b"PK other")),
    }
    before = {p: p.read_bytes() for p in filled.root.rglob("*") if p.is_file()}
    count, refused = import_archive(filled, archive(tmp_path, members))
    assert count == 0
    assert [damage.problem.partition(" here")[0] for damage in refused] == [
        "the cache holds another answer of the service",
        "the cache holds another file",
        "the cache holds another image",
    ]
    assert {p: p.read_bytes() for p in filled.root.rglob("*") if p.is_file()} == before


def test_the_import_tells_what_it_took(filled, tmp_path):
    export_archive(filled, tmp_path / "a.zip")
    for expected in (True, False):
        told: list[tuple[object, object]] = []

        def tell(kind, new, told=told):
            told.append((kind, new))

        _, refused = import_archive(Cache(tmp_path / "other"), tmp_path / "a.zip", tell=tell)
        assert refused == []
        assert sorted(told) == sorted(
            [("data set", expected), ("file", expected), ("image", expected), ("image", expected)]
        )


# ---- bombs


def test_a_large_progressive_image_is_refused_by_its_header(tmp_path):
    """It would be held whole by its frequencies: 3.3 GB for a file of 4 kB."""
    bomb = with_size(jpeg(progressive=True), 40_000, 40_000)
    members = with_image(bomb, width=40_000, height=40_000)
    _, (refused,), _ = taken_from(tmp_path, archive(tmp_path, members))
    assert "is progressive and of 1,600 million pixels" in refused.problem
    small = jpeg(progressive=True)
    assert taken_from(tmp_path, archive(tmp_path, with_image(small)))[0] == 1


def test_an_image_of_very_many_scans_is_refused(tmp_path):
    bomb = jpeg(progressive=True) + b"\xff\xda" * 200
    _, (refused,), _ = taken_from(tmp_path, archive(tmp_path, with_image(bomb)))
    assert "comes in more than 64 parts" in refused.problem


def test_a_member_that_is_longer_than_it_says(tmp_path):
    """Declared sizes are checked as it is unpacked, in the directory and before the member."""
    content = jpeg()
    path = archive(tmp_path, with_image(content), compression=zipfile.ZIP_DEFLATED)
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = -1
        while (at := raw.find(signature, at + 1)) >= 0:
            if struct.unpack_from("<L", raw, at + offset)[0] == len(content):
                struct.pack_into("<L", raw, at + offset, len(content) - 100)
    path.write_bytes(raw)
    count, (refused,), _ = taken_from(tmp_path, path)
    assert count == 0
    assert "hash" in refused.problem or "read" in refused.problem or "longer" in refused.problem


def test_an_archive_that_unpacks_to_far_more_than_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(members_module, "UNPACKS_TO_AT_LEAST", 1 << 20)
    path = archive(tmp_path, {"files/zeros": bytes(4 << 20)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CacheError, match="would unpack to 4194346; nothing is taken"):
        taken_from(tmp_path, path)


def test_members_that_lie_over_each_other(tmp_path):
    """Thousands of members that share their bytes unpack to thousands of times the file."""
    path = archive(tmp_path, {"files/a": bytes(50_000), "files/b": b"x", "files/c": b"y"})
    raw = bytearray(path.read_bytes())
    at = -1
    while (at := raw.find(b"PK\x01\x02", at + 1)) >= 0:
        struct.pack_into("<LL", raw, at + 20, 50_000, 50_000)
    path.write_bytes(raw)
    with pytest.raises(CacheError, match="lie over each other"):
        taken_from(tmp_path, path)


def test_too_many_members(tmp_path, monkeypatch):
    """They are counted before the directory becomes objects in memory."""
    monkeypatch.setattr(members_module, "MOST_MEMBERS", 50)
    path = archive(tmp_path, {f"files/{k}": b"" for k in range(60)})
    with pytest.raises(CacheError, match="more than 50 files"):
        taken_from(tmp_path, path)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / MARKER).write_bytes(GOOD_MARKER)
    for k in range(60):
        (folder / str(k)).touch()
    with pytest.raises(CacheError, match="more than 50 files"):
        taken_from(tmp_path, folder)
    monkeypatch.setattr(members_module, "LARGEST_DIRECTORY", 100)
    with pytest.raises(CacheError, match="more than 50 files"):
        ZipMembers(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_compress(tmp_path, compression):
    """LZMA may ask for gigabytes to unpack a few bytes."""
    path = archive(tmp_path, {"files/x": b"x" * 999}, compression=compression)
    with pytest.raises(CacheError, match="no archive of atldld"):
        taken_from(tmp_path, path)  # the marker cannot be read either


def test_an_encrypted_member(tmp_path):
    path = archive(tmp_path, {"files/x": b"x", "files/x.json": json.dumps(facts(b"x"))})
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"PK\x01\x02"))
    raw[at + 8] |= 1
    path.write_bytes(raw)
    _, refused, _ = taken_from(tmp_path, path)
    assert "encrypted" in refused[0].problem


def test_a_zip_within_a_zip_is_a_file_like_others(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x", bytes(10 << 20))
    name, body = "files/grid_data/download/5.zip", inner.getvalue()
    members = {name: body, f"{name}.json": json.dumps(facts(body))}
    _, refused, cache = taken_from(tmp_path, archive(tmp_path, members))
    assert refused == []
    assert (cache.root / name).read_bytes() == body


HEAVY = """
import sys
from pathlib import Path
from atldld.fetch.cache import Cache
from atldld.fetch.archive import import_archive
count, refused = import_archive(Cache(Path(sys.argv[2])), sys.argv[1])
for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM:"):
        print(count, len(refused), int(line.split()[1]) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory by /proc")
def test_what_it_costs_to_refuse_them(tmp_path):
    """All kinds of bombs in one archive; a process that imports it stays below 500 MB."""
    bomb = with_size(jpeg(progressive=True), 40_000, 40_000)
    digits = ", ".join(["1"] * 900_000)
    members = {
        **with_image(bomb, width=40_000, height=40_000),
        "datasets/1.json": b'{"section_images": [' + b"{}," * 9_000_000 + b"{}]}",
        "datasets/2.json": b"[" * 30_000_000,
        "datasets/3.json": b'{"section_data_set": {"id": 3, "x": ['
        + digits.encode()
        + b']}, "section_images": [{"width": 1e999}]}',
        "datasets/4.json": b'"' + b"x" * 90_000_000 + b'"',
        "queries/" + "a" * 64 + ".json": b'{"rows": [' + b"[]," * 900_000 + b"[]]}",
    }
    path = archive(tmp_path, members, compression=zipfile.ZIP_DEFLATED)
    out = subprocess.run(
        [sys.executable, "-c", HEAVY, str(path), str(tmp_path / "cache")],
        check=True,
        capture_output=True,
        text=True,
        timeout=110,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout.split()
    assert out[:2] == ["0", "5"] or out[:2] == ["0", "6"]
    assert int(out[2]) < 500_000_000


def test_documents_are_measured_before_they_are_read():
    with pytest.raises(InvalidInputError, match="GB of memory"):
        decode(b"[" + b"0," * 3_000_000 + b"0]", list)
    with pytest.raises(InvalidInputError, match="nested too deep"):
        decode(b"[" * 100_000, list)
    with pytest.raises(InvalidInputError, match="width"):
        decode(b'{"sha256": "' + b"0" * 64 + b'", "width": 1e999, "height": 1}', ImageFacts)


def test_names_as_they_are_shown():
    assert shown("a\x1b[31m\n\u202e") == "a\\x1b[31m\\n\\u202e"
    assert shown("b\udcff") == "b\\udcff"
    assert shown("größe") == "größe"


# ---- nothing leaves a folder that does not lie in it


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "outside" / "secret.jpg"
    path.parent.mkdir()
    path.write_bytes(jpeg(40, 30))
    return path


def everything_of(root, tmp_path):
    """What serving and exporting a folder gives away, as bytes."""
    archive = StoredArchive(root)
    given = [repr(archive.tables()).encode()]
    names = list(FolderMembers(root).names())
    walked = [p.relative_to(root).as_posix() for p in root.rglob("*")]
    linked = [
        f"{p.relative_to(root).as_posix()}/{q.name}"
        for p in root.rglob("*")
        if p.is_symlink() and p.is_dir()
        for q in p.iterdir()
    ]
    for name in {*names, *walked, *linked}:
        held = archive.file(name.removeprefix("files"))
        if held is not None:
            given.append(held.read(1 << 20))
        parts = name.split("/")
        if name.startswith("images/") and len(parts) == 4 and parts[2].isdecimal():
            for tier in range(6):
                made = archive.image(int(parts[2]), tier, "image", quality=100, region=None)
                given.append(made or b"")
    told = []
    export_archive(Cache(root), tmp_path / "out", tell=lambda *one: told.append(one))
    given += [p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()]
    return b"".join(given), told


@pytest.mark.parametrize("way", ["image", "companion", "folder", "images", "document", "file"])
def test_links_are_not_followed(filled, tmp_path, secret, way):
    """`serve` and `cache export` used to give away the target of a link among the images."""
    stored = next(stored_images(filled))
    content = secret.read_bytes()
    known = json.dumps(stored.facts | facts(content, width=40, height=30))
    outside = secret.parent
    if way == "image":
        stored.path.unlink()
        stored.path.symlink_to(secret)
        companion_of(stored.path).write_text(known)
    elif way == "companion":
        (outside / "secret.json").write_text(known)
        stored.path.write_bytes(content)
        companion_of(stored.path).unlink()
        companion_of(stored.path).symlink_to(outside / "secret.json")
    elif way in ("folder", "images"):
        moved = stored.path.parent if way == "folder" else filled.root / "images"
        moved.rename(outside / "moved")
        moved.symlink_to(outside / "moved")
        content = (
            next((outside / "moved").rglob("*.jpg")) if way == "images" else outside / "moved/4.jpg"
        ).read_bytes()
    elif way == "document":
        records = json.loads((filled.root / "datasets/909.json").read_text())
        records["section_data_set"] |= {"id": 910, "secret": "SECRET"}
        (outside / "910.json").write_text(json.dumps(records))
        (filled.root / "datasets/910.json").symlink_to(outside / "910.json")
        content = b"SECRET"
    else:
        (filled.root / "files/grid_data/secret.zip").symlink_to(secret)
        (filled.root / "files/grid_data/secret.zip.json").write_text(known)
    given, told = everything_of(filled.root, tmp_path)
    assert content not in given
    assert any("link" in why or "nothing is known" in why for _, why in told)
    _, refused = import_archive(Cache(tmp_path / "other"), filled.root)
    assert any("link" in damage.problem for damage in refused)
    taken = [p.read_bytes() for p in (tmp_path / "other").rglob("*") if p.is_file()]
    assert content not in b"".join(taken)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("way", ["image", "companion", "document", "file", "marker", "socket"])
def test_nothing_waits_for_a_pipe(filled, tmp_path, monkeypatch, way):
    """What is no ordinary file is not opened: a pipe would keep the reader for ever."""
    stored = next(stored_images(filled))
    path = {
        "image": stored.path,
        "companion": companion_of(stored.path),
        "document": filled.root / "datasets/910.json",
        "file": filled.root / "files/grid_data/download/909.zip",
        "marker": filled.root / MARKER,
        "socket": filled.root / "files/s",
    }[way]
    path.unlink(missing_ok=True)
    if way == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            monkeypatch.chdir(path.parent)  # its whole name may be too long for a socket
            bound.bind("s")
    else:
        os.mkfifo(path)
    if way == "marker":
        with pytest.raises(CacheError, match="no archive"):
            import_archive(Cache(tmp_path / "other"), filled.root)
        return
    everything_of(filled.root, tmp_path)
    import_archive(Cache(tmp_path / "other"), filled.root)


def test_a_folder_is_reached_through_a_link_to_it(filled, tmp_path):
    """The folder that was named may be a link: who named it meant it."""
    (tmp_path / "name").symlink_to(filled.root)
    assert len(StoredArchive(tmp_path / "name").tables()["SectionDataSet"]) == 1
    assert import_archive(Cache(tmp_path / "other"), tmp_path / "name")[0] == 2


def test_a_pipe_is_no_archive(tmp_path):
    """The kind: reading what is no file may wait for ever."""
    pipe = tmp_path / "x.zip"
    os.mkfifo(pipe)
    with pytest.raises(CacheError, match="is a pipe or a device"):
        import_archive(Cache(tmp_path / "cache"), pipe)


def test_what_is_known_of_a_file_is_not_replaced(tmp_path):
    """A lone companion in an archive must not stand for that of a file that the cache has."""
    cache = Cache(tmp_path / "cache")
    with cache.new_file("a/volume.nrrd") as arriving:
        arriving.file.write(b"whole")
        kept = arriving.keep(
            FileFacts(url="http://h/a/volume.nrrd", sha256=hashlib.sha256(b"whole").hexdigest())
        )
    lone = b'{"a": 1}'
    facts = {
        "bytes": len(lone),
        "sha256": hashlib.sha256(lone).hexdigest(),
        "url": "",
        "fetched": "2026-01-02T03:04:05+00:00",
    }
    path = archive(
        tmp_path,
        {
            "files/a/volume.nrrd.json": lone,
            "files/a/volume.nrrd.json.json": json.dumps(facts).encode(),
        },
    )
    _, refused = import_archive(cache, path)
    assert [damage.problem for damage in refused] == [
        "the cache keeps there what it knows of another file"
    ]
    assert cache.find_file("a/volume.nrrd") == kept
