"""Writing: whole or not at all, nobody's without being asked, nothing left behind."""

import errno
import gzip
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import atldld
from atldld.errors import CacheError, InvalidInputError, NetworkError, OutputError
from atldld.support.files import (
    _HOST,
    OnlyWrites,
    check_folder,
    check_space,
    check_targets,
    is_left_over,
    read_errors,
    scratch_folder,
    sidecar_of,
    sweep,
    temporary_beside,
    whole_file,
    whole_files,
    whole_folder,
    write_errors,
)

BIN = {"zarr.json": "{}", "chunk": "1"}


@pytest.fixture(scope="module")
def dead():
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def store(path, files=BIN):
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


class TestWhole:
    def test_a_file_appears_when_it_is_whole(self, tmp_path):
        path = tmp_path / "new" / "a.nii.gz"
        with whole_file(path, ".nii.gz", force=False) as temporary:
            assert temporary.parent == path.parent
            assert temporary.name.endswith(".part.nii.gz")
            temporary.write_text("whole")
            assert not path.exists()
        assert path.read_text() == "whole"
        assert names(path.parent) == ["a.nii.gz"]

    def test_what_is_there_is_nobodys_to_replace(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text("corrected by hand")
        with (
            pytest.raises(OutputError, match=r"is there already.*force=True"),
            whole_file(path, force=False),
        ):
            pytest.fail("the work was done")
        with whole_file(path, force=True) as temporary:
            temporary.write_text("new")
        assert path.read_text() == "new"

    def test_what_has_come_meanwhile_stays_too(self, tmp_path):
        path = tmp_path / "a.json"

        def write():
            with whole_file(path, force=False) as temporary:
                temporary.write_text("mine")
                path.write_text("another run's")

        with pytest.raises(OutputError, match="is there already"):
            write()
        assert path.read_text() == "another run's"
        assert names(tmp_path) == ["a.json"]

    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "scratch").mkdir()
        link = tmp_path / "a.csv"
        link.symlink_to(tmp_path / "scratch" / "a.csv")
        with whole_file(link, force=False) as temporary:
            temporary.write_text("1")
        assert link.is_symlink()
        assert (tmp_path / "scratch" / "a.csv").read_text() == "1"
        with pytest.raises(OutputError, match="is there already"):
            check_targets([link], force=False)

    @pytest.mark.parametrize("force", [False, True])
    def test_a_folder_is_no_file_and_the_other_way_round(self, tmp_path, force):
        store(tmp_path / "store")
        (tmp_path / "file").write_text("1")
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OutputError, match="is a folder, but must be a file"):
            check_targets([tmp_path / "store"], force=force)
        with pytest.raises(OutputError, match="is a file, but must be a folder"):
            check_targets([tmp_path / "file"], force=force, store=True)
        with pytest.raises(OutputError, match="no regular file"):
            check_targets([tmp_path / "pipe"], force=force)

    def test_only_stores_are_replaced(self, tmp_path):
        store(tmp_path / "mine.zarr", {"picture.jpg": "precious"})
        with (
            pytest.raises(OutputError, match="no Zarr store"),
            whole_folder(tmp_path / "mine.zarr", force=True) as temporary,
        ):
            store(temporary)
        assert names(tmp_path / "mine.zarr") == ["picture.jpg"]
        store(tmp_path / "old.zarr", {**BIN, "other": "2"})
        with whole_folder(tmp_path / "old.zarr", ".zarr", force=True) as temporary:
            store(temporary)
        assert names(tmp_path / "old.zarr") == sorted(BIN)
        assert names(tmp_path) == ["mine.zarr", "old.zarr"]

    def test_files_that_belong_together(self, tmp_path):
        table = tmp_path / "a.csv"
        with whole_files([table, sidecar_of(table)], force=False) as (first, second):
            first.write_text("1")
            second.write_text("2")
        assert names(tmp_path) == ["a.csv", "a.csv.json"]
        with (
            pytest.raises(OutputError, match=r"a\.csv\.json is there already"),
            whole_files([tmp_path / "b.csv", sidecar_of(table)], force=False),
        ):
            pass
        assert names(tmp_path) == ["a.csv", "a.csv.json"]

    def write_both(self, table):
        with whole_files([table, sidecar_of(table)], force=True) as (first, second):
            first.write_text("new table")
            second.write_text("new sidecar")

    @pytest.mark.parametrize("nth", range(1, 5))
    def test_all_are_replaced_or_none(self, tmp_path, monkeypatch, nth):
        """Whichever of the moves fails, what was there comes back."""
        table = tmp_path / "a.csv"
        table.write_text("old table")
        sidecar_of(table).write_text("old sidecar")
        moves, rename = [], os.rename

        def fail(source, target):
            moves.append(target)
            if len(moves) == nth:
                raise OSError(errno.EIO, "Input/output error")
            rename(source, target)

        monkeypatch.setattr(os, "rename", fail)
        with pytest.raises(OutputError, match="Input/output error"):
            self.write_both(table)
        assert table.read_text() == "old table"
        assert sidecar_of(table).read_text() == "old sidecar"
        assert names(tmp_path) == ["a.csv", "a.csv.json"]


class TestErrors:
    @pytest.mark.parametrize(
        ("number", "advice"),
        [
            (errno.ENOSPC, "Free some space"),
            (errno.EDQUOT, "Free some space"),
            (errno.EACCES, "may write to"),
            (errno.EROFS, "may write to"),
            (errno.EIO, "failing"),
            (errno.ENAMETOOLONG, "shorter name"),
            (errno.ENOTDIR, "is a file"),
        ],
    )
    def test_one_sentence_and_what_to_do(self, tmp_path, number, advice):
        for kind in (OutputError, CacheError):
            with (
                pytest.raises(kind) as caught,
                write_errors(tmp_path, kind, hint="Nothing was lost."),
            ):
                raise OSError(number, os.strerror(number))
            assert caught.value.message == f"{tmp_path} cannot be written: {os.strerror(number)}."
            assert caught.value.hint is not None
            assert advice in caught.value.hint
            assert caught.value.hint.endswith(" Nothing was lost.")

    def test_what_libraries_say_is_kept(self):
        said = r"^x cannot be written: 8 wanted and 2 written\. Look"
        with pytest.raises(OutputError, match=said), write_errors("x"):
            raise OSError("8 wanted\n  and 2 written.")

    @pytest.mark.parametrize(
        "error", [NetworkError("No line."), ConnectionResetError(104, "x"), TimeoutError()]
    )
    def test_failed_requests_are_no_failed_files(self, error):
        with pytest.raises(type(error)), write_errors("x", CacheError):
            raise error

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full disk")
    def test_numpy_says_why_the_disk_did_not_take_it(self):
        with (
            pytest.raises(OutputError, match="No space left"),
            write_errors("x"),
            open("/dev/full", "wb") as file,
        ):
            np.save(OnlyWrites(file), np.zeros(1 << 20))


class TestBefore:
    def test_names_that_cannot_be(self, tmp_path):
        with pytest.raises(InvalidInputError, match="no UTF-8"):
            check_targets([os.fsdecode(b"/tmp/\xff.csv")], force=False)
        with pytest.raises(InvalidInputError, match="no UTF-8"):
            check_folder(os.fsdecode(b"/tmp/\xff"))
        for name in ("", "a\0b"):
            with pytest.raises(InvalidInputError, match="names no file"):
                check_targets([name], force=False)
        with pytest.raises(OutputError, match="shorter name"):
            check_targets([tmp_path / ("a" * 300)], force=False)
        with pytest.raises(OutputError, match="shorter name"):
            check_folder(tmp_path / ("a" * 300))

    def test_folders_that_cannot_be_made_or_written(self, tmp_path):
        (tmp_path / "file").write_text("1")
        with pytest.raises(OutputError, match="file is a file"):
            check_targets([tmp_path / "file" / "deep" / "a.csv"], force=False)
        with pytest.raises(OutputError, match="file is a file, but must be a folder"):
            check_folder(tmp_path / "file")
        (tmp_path / "circle").symlink_to(tmp_path / "circle")
        with pytest.raises(OutputError, match="in a circle"):
            check_targets([tmp_path / "circle" / "a.csv"], force=False)
        check_targets([tmp_path / "new" / "deep" / "a.csv"], force=False)
        assert names(tmp_path) == ["circle", "file"]

    @pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="needs Linux")
    def test_not_even_root_may(self):
        """Rights are not asked for, but tried: of root, only the latter tells."""
        with pytest.raises(OutputError, match="/sys is read-only"):
            check_targets(["/sys/a.csv"], force=False)
        with pytest.raises(OutputError, match="/sys is read-only"):
            check_folder("/sys/a")

    def test_a_disk_that_is_obviously_too_small(self, tmp_path):
        with pytest.raises(OutputError, match="are free there"):
            check_space(tmp_path / "new" / "a.npy", 1 << 60)
        check_space(tmp_path / "new" / "a.npy", 1)


class TestLeftOvers:
    def test_what_dead_processes_left_is_removed(self, tmp_path, dead):
        left = tmp_path / f".{dead}@{_HOST}-0badf00d.part.nii.gz"
        left.write_bytes(b"half")
        store(tmp_path / f".{dead}@{_HOST}-0badf00e.part.zarr")
        other = tmp_path / f".{dead}@{_HOST}x-0badf00f.part.npy"
        other.write_bytes(b"another machine's")
        mine = tmp_path / ".profile.part"
        mine.write_text("the user's own")
        with temporary_beside(tmp_path / "a") as temporary:
            temporary.write_text("being written")
            sweep(tmp_path)
            assert names(tmp_path) == sorted([temporary.name, other.name, mine.name])
        os.utime(other, (time.time() - 90_000,) * 2)
        sweep(tmp_path)
        assert names(tmp_path) == [".profile.part"]

    def test_of_an_earlier_process_with_our_own_number(self, tmp_path):
        """In containers every process may have the number 1."""
        left = tmp_path / f".{os.getpid()}@{_HOST}-0badf00d.part"
        left.write_bytes(b"half")
        assert not is_left_over(left)
        os.utime(left, (0, 0))
        assert is_left_over(left)

    def test_what_was_being_replaced_comes_back(self, tmp_path, dead):
        """Killed between the two moves of a store: the old one is aside, the new one not there."""
        aside = tmp_path / f".{dead}@{_HOST}-0badf00d.old"
        aside.mkdir()
        store(aside / "a.zarr")
        check_folder(tmp_path)
        assert names(tmp_path) == ["a.zarr"]
        assert names(tmp_path / "a.zarr") == sorted(BIN)

    def test_it_does_not_come_back_over_something_new(self, tmp_path, dead):
        aside = tmp_path / f".{dead}@{_HOST}-0badf00d.old"
        aside.mkdir()
        for name in ("a.csv", "a.csv.json"):
            (aside / name).write_text("old")
        (tmp_path / "a.csv").write_text("new")
        sweep(tmp_path)
        assert names(tmp_path) == ["a.csv"]
        assert (tmp_path / "a.csv").read_text() == "new"

    @pytest.mark.parametrize("old", [True, False])
    @pytest.mark.parametrize("nth", range(1, 6))
    def test_killed_while_moving_what_belongs_together(self, tmp_path, old, nth):
        """Then all is as it was before, or all is new, once something is written there."""
        was = {"a.json": "old", "a.fields": {"atldld-fields.json": "old", "1.mha": "old"}}
        new = {"a.json": "new", "a.fields": {"atldld-fields.json": "new", "2.mha": "new"}}
        if old:
            (tmp_path / "a.json").write_text("old")
            store(tmp_path / "a.fields", was["a.fields"])
        code = f"""
import os
from pathlib import Path
from atldld.support.files import whole_files
rename, count = os.rename, 0
def kill(*paths):
    global count
    count += 1
    if count == {nth}:
        os._exit(9)
    rename(*paths)
os.rename = kill
with whole_files(["a.json", "a.fields"], force=True, store=[False, True]) as (first, second):
    first.write_text("new")
    second.mkdir()
    for name in ("atldld-fields.json", "2.mha"):
        (second / name).write_text("new")
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path)
        complete = nth > (4 if old else 2)
        assert done.returncode == (0 if complete else 9)
        sweep(tmp_path)
        found = {
            path.name: {p.name: p.read_text() for p in path.iterdir()}
            if path.is_dir()
            else path.read_text()
            for path in tmp_path.iterdir()
        }
        assert found == (new if complete else was if old else {})

    def test_what_somebody_else_put_there_stays(self, tmp_path, dead):
        """A run was killed before it moved its second file; that name is another's now."""
        aside = tmp_path / f".{dead}@{_HOST}-0badf00d.old"
        aside.mkdir()
        (tmp_path / "a.csv.json").write_text("another's")
        number = (tmp_path / "a.csv.json").stat().st_ino + 1
        (aside / ".moves").write_text(f"1 a.csv\0{number} a.csv.json\0")
        sweep(tmp_path)
        assert names(tmp_path) == ["a.csv.json"]

    def test_scratch_folders(self, tmp_path, dead, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        store(tmp_path / f".{dead}@{_HOST}-0badf00d.part")
        with scratch_folder() as folder:
            assert [folder] == list(tmp_path.iterdir())
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "a").mkdir()
        assert names(tmp_path) == []


@pytest.mark.parametrize("kind", [CacheError, InvalidInputError])
def test_what_cannot_be_read(kind):
    said = r"^a.nrrd cannot be read: .* The disk .* is failing"
    with pytest.raises(kind, match=said) as found, read_errors("a.nrrd", kind):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert isinstance(found.value.__cause__, OSError)
    # of the content, which is not the system's affair
    with pytest.raises(gzip.BadGzipFile), read_errors("a.nrrd", kind):
        raise gzip.BadGzipFile("Not a gzipped file")


def test_the_ground_is_light():
    """Everything may import it: it takes the standard library and the errors."""
    code = 'import sys, atldld.support.files; print(*(n for n in sys.modules if "atldld" in n))'
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {
        "atldld",
        "atldld.errors",
        "atldld.support",
        "atldld.support.files",
        "atldld.support.processes",
    }


def test_writers_ask_before_they_replace():
    """Every public function that writes takes ``force``, by one name, and is cautious."""
    writers = {}
    for found in pkgutil.walk_packages(atldld.__path__, "atldld."):
        if found.name.startswith(("atldld.cli", "atldld.napari")) or "__main__" in found.name:
            continue
        module = import_module(found.name)
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if inspect.isclass(thing) and hasattr(thing, "save"):
                writers[f"{name}.save"] = thing.save
            if name.startswith(("write_", "copy_", "save_", "export_")):
                writers[name] = thing
    # what is inside of a file or a store that is being written, or turns errors into sentences
    # `Desk.save` goes on with a registration that it was given or has made
    inner = {
        "Desk.save",
        "write_displacements",
        "write_errors",
        "write_facts",
        "write_mha",
        "write_metadata",
    }
    cautious = {
        name: inspect.signature(writer).parameters["force"].default is False
        for name, writer in writers.items()
        if name not in inner
    }
    assert len(cautious) > 15
    # 0.3 replaced it
    assert [name for name, is_so in cautious.items() if not is_so] == ["DisplacementField.save"]


def test_one_module_makes_temporary_files():
    for path in Path(atldld.__file__).parent.rglob("*.py"):
        if path.name != "files.py":
            text = path.read_text("utf-8")
            assert not re.search(r"import tempfile|from tempfile|mkstemp", text), path
