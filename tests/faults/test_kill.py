"""kill -9 at any moment: running again goes on from there and ends as if nothing had been."""

import random
import signal
import time

import pytest

from atldld.support.files import _HOST
from atldld.testing.faults import FaultPlan, Late
from tests.faults.programs import complete, end, start, wait_until
from tests.faults.results import (
    asked_images,
    check_cache,
    images_of,
    needed_requests,
    parts_of,
    result_of,
    sizes_of,
    verified_in,
)

OPTIONS = ("--resolution", "50", "--jobs", "1")
KILLS = 20
# Seconds that each answer takes, so that a run lasts long enough to be killed in the middle.
LATE = 0.1


@pytest.fixture(scope="module")
def truth(shared_server, tmp_path_factory):
    """What a run that is left alone leaves, and how long it lasts from the first request on."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shared_server.use()
    complete(shared_server, folder / "warm", folder / "warm_out", *OPTIONS)  # pictures get rendered
    shared_server.use(FaultPlan(Late(LATE)))
    shared_server.forget()
    complete(shared_server, folder / "cache", folder / "out", *OPTIONS)
    seconds = time.monotonic() - shared_server.log[0].when
    return result_of(folder / "out"), images_of(root_in(folder / "cache")), seconds


def root_in(cache):
    """The service's folder; one that is not there where the run was killed before making it."""
    return next((cache / "other-services").glob("*"), cache / "nothing")


@pytest.fixture(scope="module")
def moments():
    """One random moment in each twentieth of the run, as parts of its duration."""
    draw = random.Random(909)
    return [(k + draw.random()) / KILLS for k in range(KILLS)]


@pytest.mark.long
@pytest.mark.parametrize("number", range(KILLS))
def test_killed_and_run_again(number, moments, truth, server, archive, tmp_path):
    result, cached, seconds = truth
    cache, out = tmp_path / "cache", tmp_path / "out"
    server.use(FaultPlan(Late(LATE)))
    process = start(server, cache, out, *OPTIONS)
    wait_until(lambda: server.log or process.poll() is not None)
    time.sleep(moments[number] * seconds)
    process.send_signal(signal.SIGKILL)
    status, _ = end(process)
    # a moment may come after the end of a run that was faster than the first
    assert status in (-signal.SIGKILL, 0)
    root = root_in(cache)
    verified = verified_in(root)
    # killed between an image and its companion: it is whole, and is looked at instead of fetched
    whole = [path for path in root.rglob("*.jpg") if not path.name.startswith(".")]
    has_metadata = (root / "datasets" / "909.json").exists()
    check_cache(root, sizes_of(archive), leftovers=False)
    for name, content in result_of(out).items():
        if name.endswith(".png") and ".part" not in name:
            assert content == result[name]  # what has its name is whole

    time.sleep(LATE)  # answers that were under way
    server.use()
    server.forget()
    complete(server, cache, out, *OPTIONS)
    asked = asked_images(server.log)
    assert verified.isdisjoint(asked)
    assert len(whole) - len(verified) in range(7)  # as many as are in flight
    assert len(needed_requests(server.log, root_in(cache))) == 28 - len(whole)
    assert not (has_metadata and any(entry.request.model for entry in server.log))
    assert images_of(root_in(cache)).keys() >= cached.keys()
    assert {n: c for n, c in images_of(root_in(cache)).items() if ".part" not in n} == cached
    check_cache(root_in(cache), sizes_of(archive), leftovers=False)
    found = result_of(out)
    assert {n: c for n, c in found.items() if ".part" not in n} == result

    # and a third run has nothing to do
    if number == 0:
        server.forget()
        assert "14 were there already" in complete(server, cache, out, *OPTIONS)
        assert server.log == ()


def test_what_a_killed_run_was_writing_does_not_stay(truth, server, tmp_path):
    """The temporary files of a process that is no more."""
    result, _, _ = truth
    cache, out = tmp_path / "cache", tmp_path / "out"
    server.use(FaultPlan(Late(LATE)))
    process = start(server, cache, out, *OPTIONS)
    wait_until(lambda: parts_of(cache) and (out / "metadata.json").exists())
    process.kill()
    end(process)
    out.mkdir(exist_ok=True)
    (out / f".{process.pid}@{_HOST}-0badf00d.part.png").write_bytes(b"half a picture")
    assert parts_of(cache)
    server.use()
    complete(server, cache, out, *OPTIONS)
    assert result_of(out) == result
    assert parts_of(root_in(cache)) == []
