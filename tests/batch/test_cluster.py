"""Batches on Dask: the same results, one limit for all, and nothing lost with a worker."""

import asyncio
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from atldld.batch import cluster, run_batch
from atldld.batch.journal import Entry
from atldld.batch.places import Folder
from atldld.batch.task import Task
from atldld.errors import AtldldError, InvalidInputError
from atldld.fetch.limits import Limits
from atldld.fetch.session import Session
from atldld.settings import Settings
from atldld.testing.sources import served

distributed = pytest.importorskip(
    "distributed", reason="distributed, of the extra dask, is not installed"
)
pytestmark = pytest.mark.long

DELAY = 0.03
RATE = 60


@pytest.fixture(scope="module")
def service(archive):
    with served(archive, DELAY) as service:
        yield service


@pytest.fixture(scope="module")
def dask_cluster(s3_server):
    """Two workers, which know where S3 is."""
    import dask

    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.items():
            patch.setenv(name, value)
        with (
            dask.config.set({cluster.PROFILER: False}),
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
            ) as running,
        ):
            yield running


@pytest.fixture
def far(service, tmp_path):
    """A session whose service other processes can ask too."""
    settings = Settings(api_url=service.address, cache_dir=tmp_path / "cache")
    with Session(settings, limits=Limits(in_flight=4, per_second=RATE)) as session:
        yield session


def pictures(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")
    }


@pytest.mark.parametrize(
    ("free", "tasks", "expected"),
    [(6, 2, [3, 3]), (6, 4, [2, 2, 1, 1]), (6, 80, [1] * 6), (2, 1, [2]), (0, 3, []), (6, 0, [])],
)
def test_requests_are_shared_out_evenly(free, tasks, expected):
    assert cluster.shares(free, tasks) == expected


def test_results_are_those_without_it(dask_cluster, far, service, session, ids, work, tmp_path):
    service.most = 0
    service.begun.clear()
    address = dask_cluster.scheduler_address
    summary = run_batch([*ids[:5], 12345], tmp_path / "a", work, session=far, dask=address)
    assert [entry.state for entry in summary.entries] == ["done"] * 5 + ["failed"]
    assert "12345" in (summary.failed[0].why or "")
    run_batch(ids[:5], tmp_path / "b", work, session=session)
    assert pictures(tmp_path / "a") == pictures(tmp_path / "b") != {}
    assert 2 <= service.most <= 4  # both workers together
    begun = service.begun[: 5 * 16]
    # a burst of what may be in flight, then the rate
    assert begun[-1] - begun[0] >= (len(begun) - 2 * 4) / RATE
    again = run_batch(ids[:5], tmp_path / "a", work, session=far, dask=address)
    assert again.kept == 5


def test_where_an_event_loop_runs_as_in_a_notebook(dask_cluster, far, ids, work, tmp_path):
    async def cell():
        address = dask_cluster.scheduler_address
        return run_batch(ids[:1], tmp_path, work, session=far, dask=address)

    # in a thread of its own: a browser of other tests may have a loop in this one
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, cell()).result().complete


def test_a_killed_worker_loses_nothing(dask_cluster, far, session, ids, work, tmp_path):
    client = distributed.Client(dask_cluster, set_as_default=False)
    with client:
        victim = min(client.run(os.getpid).values())

    killed: list[int] = []

    def kill(now):
        if now.done == 1 and not killed:
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    summary = run_batch(
        ids,
        tmp_path / "a",
        work,
        session=far,
        dask=dask_cluster.scheduler_address,
        progress=kill,
    )
    assert killed
    assert summary.complete, summary.failed
    run_batch(ids, tmp_path / "b", work, session=session)
    assert pictures(tmp_path / "a") == pictures(tmp_path / "b")
    for one in ids:
        folder = tmp_path / "a" / str(one)
        assert json.loads((folder / "metadata.json").read_text())["complete"] is True
        assert not [path for path in folder.iterdir() if ".part" in path.name]


def test_a_result_that_dies_with_its_worker_is_made_again(dask_cluster, far, ids, work, tmp_path):
    """Both workers have ended a data set, and one dies before anybody has looked at its own."""
    client = distributed.Client(dask_cluster, set_as_default=False)
    killed: list[str] = []

    def kill(now):
        if now.done != 1 or killed:
            return
        journal = (tmp_path / "a" / "batch.jsonl").read_text().splitlines()
        told = {str(json.loads(line)["data_set"]) for line in journal if '"done"' in line}
        until = time.monotonic() + 60
        while time.monotonic() < until and not killed:
            time.sleep(0.01)
            for key, places in client.who_has().items():
                name = str(key).split("-")
                if name[0] == "atldld" and name[2] not in told:
                    killed.extend(places)
        process = client.run(os.getpid, workers=killed)[killed[0]]
        os.kill(process, signal.SIGKILL)
        while time.monotonic() < until and killed[0] in client.nthreads():
            time.sleep(0.01)

    with client:
        address = dask_cluster.scheduler_address
        summary = run_batch(ids[:4], tmp_path / "a", work, session=far, dask=address, progress=kill)
    assert killed
    assert summary.complete, summary.failed
    assert len(summary.entries) == 4


def test_results_in_s3(dask_cluster, s3, far, ids, work):
    import fsspec

    address = dask_cluster.scheduler_address
    summary = run_batch(ids[:3], "s3://bucket/dask", work, session=far, dask=address)
    assert summary.complete, summary.failed
    store = fsspec.filesystem("s3")
    store.invalidate_cache()
    found = store.find("bucket/dask")
    assert sum(name.endswith("/metadata.json") for name in found) == 3
    assert "bucket/dask/batch.jsonl" in found


def test_local_workers(far, ids, work, tmp_path):
    assert run_batch(ids[:2], tmp_path / "out", work, session=far, dask="local:1").complete


@pytest.mark.parametrize("address", ["foo", "local:0", "local:x", "tcp://", "tcp://host", "1:2:3"])
def test_what_is_no_address_is_refused(session, ids, work, tmp_path, address):
    with pytest.raises(InvalidInputError):
        run_batch(ids, tmp_path / "out", work, session=session, dask=address)
    assert not (tmp_path / "out").exists()


def test_a_scheduler_that_does_not_answer(session, ids, work, tmp_path, monkeypatch):
    assert cluster.CONNECT < 10
    monkeypatch.setattr(cluster, "CONNECT", 1.0)
    begun = time.monotonic()
    with pytest.raises(AtldldError, match=r"No Dask scheduler answers at tcp://127.0.0.1:9"):
        run_batch(ids, tmp_path / "out", work, session=session, dask="tcp://127.0.0.1:9")
    assert time.monotonic() - begun < 60
    assert not (tmp_path / "out").exists()


def test_something_else_answers(service, session, ids, work, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 1.0)
    address = service.address.removeprefix("http://")
    begun = time.monotonic()
    with pytest.raises(AtldldError, match="No Dask scheduler"):
        run_batch(ids, tmp_path / "out", work, session=session, dask=address)
    assert time.monotonic() - begun < 60


def test_a_folder_that_is_not_shared_is_told(work, tmp_path):
    """The worker says that it has made it, and nothing is to be seen here."""

    class Future:
        status = "finished"

        def exception(self):
            return None

        def result(self):
            return Entry(data_set=7, state="done")

    task = Task(work, Folder(tmp_path), 1, False, None)
    entry = cluster._ended(Future(), 7, task)
    assert entry.state == "failed"
    assert "all machines share" in (entry.why or "")


def test_a_lost_scheduler_is_an_error(work, tmp_path):
    class Future:
        status = "cancelled"

    with pytest.raises(AtldldError, match="lost"):
        cluster._ended(Future(), 7, Task(work, Folder(tmp_path), 1, False, None))
