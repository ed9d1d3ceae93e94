"""Several processes at once on one cache."""

import os
import signal
import threading
import time
from collections import Counter

import pytest

from atldld.fetch import Cache
from atldld.fetch.cache import sha256_of
from atldld.fetch.facts import ImageFacts
from atldld.testing.faults import FaultPlan, Late
from tests.faults.programs import complete, end, start, wait_until
from tests.faults.results import (
    asked_images,
    check_cache,
    needed_requests,
    parts_of,
    result_of,
    sizes_of,
)

OPTIONS = ("--resolution", "100", "--jobs", "1")
MANY = 4


@pytest.fixture(scope="module")
def truth(shared_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    shared_server.use()
    complete(shared_server, folder / "cache", folder / "out", *OPTIONS)
    return result_of(folder / "out")


def root_in(cache):
    (root,) = (cache / "other-services").iterdir()
    return root


def test_one_cache_and_a_folder_each(truth, server, archive, tmp_path, record_property):
    server.use(FaultPlan(Late(0.05)))
    outs = [tmp_path / f"out{k}" for k in range(MANY)]
    processes = [start(server, tmp_path / "cache", out, *OPTIONS) for out in outs]
    for status, stderr in map(end, processes):
        assert status == 0, stderr
        assert "Traceback" not in stderr
    for out in outs:
        assert result_of(out) == truth
    check_cache(root_in(tmp_path / "cache"), sizes_of(archive))
    asked = Counter(needed_requests(server.log, root_in(tmp_path / "cache")))
    assert len(asked) == 28
    assert max(asked.values()) == 1  # a lock for each image: no byte is fetched twice
    record_property("requests for each image", sum(asked.values()) / len(asked))
    print(f"{sum(asked.values())} requests for {len(asked)} images: {sorted(asked.values())}")


def test_one_cache_and_one_folder(truth, server, archive, tmp_path):
    """All end well or say clearly why not; the folder is as one of them alone would leave it."""
    server.use(FaultPlan(Late(0.05)))
    out = tmp_path / "out"
    processes = [start(server, tmp_path / "cache", out, *OPTIONS) for _ in range(MANY)]
    ended = [end(process) for process in processes]
    for status, stderr in ended:
        assert "Traceback" not in stderr
        assert status == 0 or (status == 6 and str(out) in stderr), stderr
    assert any(status == 0 for status, _ in ended)
    print([status for status, _ in ended])
    assert result_of(out) == truth
    check_cache(root_in(tmp_path / "cache"), sizes_of(archive))
    assert "14 were there already" in complete(server, tmp_path / "cache", out, *OPTIONS)


def test_one_that_is_killed_does_not_lock_out_the_others(truth, server, archive, tmp_path):
    server.use(FaultPlan(Late(0.1)))
    outs = [tmp_path / f"out{k}" for k in range(MANY)]
    victim = start(server, tmp_path / "cache", outs[0], *OPTIONS)
    wait_until(lambda: len(asked_images(server.log)) >= 6)
    others = [start(server, tmp_path / "cache", out, *OPTIONS) for out in outs[1:]]
    time.sleep(0.1)
    victim.kill()
    assert end(victim)[0] == -signal.SIGKILL
    for status, stderr in map(end, others):
        assert status == 0, stderr
    for out in outs[1:]:
        assert result_of(out) == truth
    check_cache(root_in(tmp_path / "cache"), sizes_of(archive), leftovers=False)
    complete(server, tmp_path / "cache", outs[0], *OPTIONS)
    assert {n: c for n, c in result_of(outs[0]).items() if ".part" not in n} == truth


def test_a_companion_never_vouches_for_anothers_bytes(tmp_path, monkeypatch):
    """Two that keep the same image at the same moment, from a service that encodes it anew."""
    replace = os.replace
    others: list[threading.Thread] = []

    def keep(data):
        with Cache(tmp_path).new_image(5, 0) as arriving:
            arriving.file.write(data)
            arriving.file.flush()
            arriving.keep(
                ImageFacts(
                    width=1, height=1, sha256=sha256_of(arriving.path), url="u", dataset_id=1
                )
            )

    def replace_after_another(source, target):
        # just before the first one's companion is in place, another keeps its own
        if str(target).endswith(".jpg.json") and not others:
            others.append(threading.Thread(target=keep, args=(b"2nd encoding, same",)))
            others[0].start()
            others[0].join(0.5)  # unless it has to wait
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_after_another)
    keep(b"the first encoding")
    others[0].join()
    found = Cache(tmp_path).find_image(5, 0)
    assert found is None or found.sha256 == sha256_of(found.path)
    assert parts_of(tmp_path) == []
