"""A full disk and a read-only cache: a clear error, and nothing that was there is lost."""

import contextlib
import json
import shutil
import subprocess

import pytest

from atldld.errors import CacheError, OutputError
from atldld.fetch import Session
from atldld.sections.download import download_dataset
from atldld.sections.register import Recipe
from atldld.settings import Settings
from tests.faults.programs import complete, end, start
from tests.faults.results import check_cache, images_of, result_of, sizes_of

OPTIONS = ("--resolution", "50", "--jobs", "1")
RECIPE = Recipe(resolution=50, expression=True)


def mount(*arguments):
    return subprocess.run(["mount", *arguments], capture_output=True, check=False)


@contextlib.contextmanager
def mounted(folder, size):
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    done = mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small(tmp_path):
    """A disk that a run of data set 909 does not fit on."""
    with mounted(tmp_path / "small", "700k") as folder:
        yield folder


@pytest.fixture
def roomy(tmp_path):
    with mounted(tmp_path / "roomy", "64m") as folder:
        yield folder


@pytest.fixture(scope="module")
def truth(shared_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    shared_server.use()
    complete(shared_server, folder / "cache", folder / "out", *OPTIONS)
    return result_of(folder / "out")


def root_in(cache):
    (root,) = (cache / "other-services").iterdir()
    return root


def open_session(server, cache):
    return Session(Settings(api_url=server.url, cache_dir=cache))


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_read_only(folder):
    done = mount("-o", "remount,ro", str(folder))
    if done.returncode:
        pytest.skip(f"remounting is not permitted here: {done.stderr.decode().strip()}")


def test_a_full_disk_under_the_cache(small, truth, server, archive, tmp_path):
    out = tmp_path / "out"
    status, stderr = end(start(server, small, out, *OPTIONS))
    assert status == 6
    assert "Traceback" not in stderr
    assert "No space left on device" in stderr
    assert "--cache-dir" in stderr
    root = root_in(small)
    check_cache(root, sizes_of(archive))
    kept = images_of(root)
    assert 0 < len(kept) < 28
    for name, content in result_of(out).items():
        assert name == "metadata.json" or content == truth[name]
    # with more room the same folders go on from there
    assert mount("-o", "remount,size=64m", str(small)).returncode == 0
    complete(server, small, out, *OPTIONS)
    assert result_of(out) == truth
    assert images_of(root).items() >= kept.items()
    check_cache(root, sizes_of(archive))


def test_a_full_disk_under_the_cache_is_a_cache_error(small, server):
    (small / "filler").write_bytes(bytes(690 << 10))
    with open_session(server, small) as session, pytest.raises(CacheError, match="No space left"):
        session.dataset(909)
    assert list((small / "filler").parent.rglob("*.part*")) == []


def test_a_full_disk_under_the_output(small, truth, server, tmp_path):
    cache, out = tmp_path / "cache", small / "out"
    status, stderr = end(start(server, cache, out, *OPTIONS))
    assert status == 6
    assert "Traceback" not in stderr
    assert "No space left on device" in stderr
    assert str(out) in stderr
    found = result_of(out)
    assert "metadata.json" in found  # whole: it was read as JSON
    assert found["metadata.json"]["complete"] is False
    written = {n for n in found if n.endswith(".png")}
    assert written
    for name in written:
        assert found[name] == truth[name]
    assert mount("-o", "remount,size=64m", str(small)).returncode == 0
    complete(server, cache, out, *OPTIONS)
    assert result_of(out) == truth


def test_a_full_disk_loses_nothing_of_an_earlier_result(small, truth, server, tmp_path):
    """Not even when the earlier result is to be replaced with --force."""
    cache, out = tmp_path / "cache", small / "out"
    assert mount("-o", "remount,size=64m", str(small)).returncode == 0
    complete(server, cache, out, *OPTIONS)
    used = sum(path.stat().st_size for path in out.iterdir())
    (small / "filler").write_bytes(bytes((64 << 20) - used - (256 << 10)))
    with contextlib.suppress(OSError), open(small / "more", "wb") as more:
        while True:
            more.write(bytes(4096))
            more.flush()
    before = contents(out)
    status, stderr = end(start(server, cache, out, *OPTIONS))
    assert status in {0, 6}
    assert "Traceback" not in stderr
    assert contents(out).keys() >= before.keys()
    assert result_of(out) == truth


def test_a_read_only_cache_that_has_everything_is_enough(roomy, truth, server, tmp_path):
    complete(server, roomy, tmp_path / "first", *OPTIONS)
    make_read_only(roomy)
    before = contents(roomy)
    server.forget()
    complete(server, roomy, tmp_path / "out", *OPTIONS)
    assert server.log == ()
    assert result_of(tmp_path / "out") == truth
    assert contents(roomy) == before


def test_a_read_only_cache_that_lacks_an_image(roomy, truth, server, tmp_path):
    complete(server, roomy, tmp_path / "first", *OPTIONS)
    root = root_in(roomy)
    lost = next(root.rglob("*-expression.jpg"))
    lost.unlink()
    make_read_only(roomy)
    before = contents(roomy)
    out = tmp_path / "out"
    status, stderr = end(start(server, roomy, out, *OPTIONS))
    assert status == 1  # all but what needs the image is done
    assert "Traceback" not in stderr
    assert "Read-only file system" in stderr
    assert contents(roomy) == before
    found = result_of(out)
    metadata = found["metadata.json"]
    assert list(metadata["failed"]) == [lost.parent.name]
    for name in truth.keys() - {"metadata.json", f"{lost.parent.name}_expr.png"}:
        assert found[name] == truth[name]


def test_a_read_only_cache_without_the_metadata(roomy, server, tmp_path):
    make_read_only(roomy)
    with open_session(server, roomy) as session:
        with pytest.raises(CacheError, match="Read-only") as caught:
            download_dataset(909, tmp_path / "out", RECIPE, session=session)
        assert "Settings(cache_dir=…)" in str(caught.value)
    assert not (tmp_path / "out").exists()
    status, stderr = end(start(server, roomy, tmp_path / "out", *OPTIONS))
    assert (status, "Traceback" in stderr) == (6, False)
    assert "Read-only" in stderr


def test_a_read_only_output_folder(roomy, server, tmp_path):
    (roomy / "mine").write_text("kept")
    make_read_only(roomy)
    for out in (roomy, roomy / "new"):
        with open_session(server, tmp_path / "cache") as session, pytest.raises(OutputError):
            download_dataset(909, out, RECIPE, session=session)
        status, stderr = end(start(server, tmp_path / "cache", out, *OPTIONS))
        assert (status, "Traceback" in stderr) == (6, False)
        assert str(out) in stderr
    assert json.dumps([p.name for p in roomy.iterdir()]) == '["mine"]'
