"""What a forked process inherits: connections, locks that others held, half imported modules.

The kind: state of one process (sockets, locks, threads, imports under way) that a fork copies into
another one, where it is either shared when it must not be or held by nobody for ever.
"""

import os
import pickle
import random
import signal
import socket
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.demo.archive import DemoArchive
from atldld.demo.local import in_process_session
from atldld.errors import NetworkError
from atldld.fetch.client import Client
from atldld.fetch.session import Session, default_session
from atldld.find import search
from atldld.serve.app import Application
from atldld.serve.stored import StoredArchive
from atldld.settings import Settings
from atldld.support import processes
from atldld.support.files import _new_name
from atldld.support.pipeline import fetch_then_work

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_child(work):
    """Return what a function returns in a forked process; fail where it hangs or raises."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # from Python 3.12 on, forks beside threads are warned about; that they work is the point
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        try:
            answer = work()
        except BaseException as error:
            answer = error
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, "the child hung"
    answer = pickle.loads(content)
    if isinstance(answer, BaseException):
        raise answer
    return answer


class Slow:
    """The demo's data set 909 behind a socket, with latency; keeps who has asked."""

    url: str

    def __init__(self):
        self.asked = []
        self._application = Application(DemoArchive((909,)))

    def __call__(self, environ, start):
        self.asked.append((environ["REMOTE_PORT"], environ["PATH_INFO"]))
        time.sleep(0.01)
        return self._application(environ, start)


@pytest.fixture(scope="module")
def slow():
    from waitress.server import create_server

    application = Slow()
    listening = socket.create_server(("127.0.0.1", 0))
    server = create_server(application, sockets=[listening], threads=16)
    threading.Thread(target=server.run, daemon=True).start()
    application.url = f"http://127.0.0.1:{server.effective_port}"
    yield application
    server.close()


@pytest.fixture
def asking(slow, tmp_path):
    with Session(Settings(slow.url, slow.url, tmp_path / "cache")) as session:
        yield session


def test_a_child_never_asks_on_its_parents_connection(slow, asking):
    asking.get(asking.client.url("/api/v2/data/Gene/query.json"))
    theirs = slow.asked[-1][0]
    in_child(lambda: asking.get(asking.client.url("/api/v2/data/Product/query.json")))
    assert slow.asked[-1][0] != theirs
    asking.get(asking.client.url("/api/v2/data/Treatment/query.json"))
    assert slow.asked[-1][0] == theirs, "the parent's connection must still be good"


@pytest.mark.filterwarnings("ignore::atldld.errors.LockWarning")  # on a busy machine
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads, from 3.12 on
def test_forked_workers_get_their_own_sections(slow, asking):
    """Eight workers beside threads of the parent that download: all pixels are the right ones."""
    sections = open_dataset(909, session=asking).sections
    with in_process_session(asking.settings.cache_dir / "truth", DemoArchive((909,))) as direct:
        truth = [direct.pixels(section.image, 4) for section in sections]

    def everything(seed):
        order = list(range(len(sections)))
        random.Random(seed).shuffle(order)
        return {k: sections[k].pixels(4) for k in order}

    children, reading = [], []
    with ThreadPoolExecutor(3) as pool:
        threads = [pool.submit(everything, seed) for seed in range(3)]
        for seed in range(8):
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                signal.alarm(100)
                with os.fdopen(write, "wb") as answer:
                    pickle.dump(everything(10 + seed), answer)
                os._exit(0)
            os.close(write)
            children.append(child)
            reading.append(os.fdopen(read, "rb"))
        answers = [thread.result() for thread in threads]
    for child, pipe in zip(children, reading, strict=True):
        with pipe:
            answers.append(pickle.load(pipe))
        assert os.waitpid(child, 0)[1] == 0
    for answer in answers:
        assert all(np.array_equal(answer[k], truth[k]) for k in range(len(sections)))
    for k, section in enumerate(sections):
        assert np.array_equal(section.pixels(4), truth[k]), "kept for another section"


def test_locks_that_others_hold_do_not_hold_up_a_child(slow, tmp_path, monkeypatch):
    """Those of the client, its slots, the default session's and the local archives'."""
    monkeypatch.setenv("ATLDLD_API_URL", slow.url)
    monkeypatch.setenv("ATLDLD_CACHE_DIR", str(tmp_path / "default"))
    session = default_session()
    archive = DemoArchive((909,))
    inside = in_process_session(tmp_path / "inside", archive)
    stored = StoredArchive(tmp_path)
    held, free = threading.Event(), threading.Event()

    def hold():
        client, held_inside = session.client._connections, inside.client._connections
        for _ in range(session.client.limits.in_flight):
            client._slots.acquire()
        with client._lock, held_inside._lock, archive._lock, stored._lock, client.closed._cond:  # type: ignore[attr-defined]
            held.set()
            free.wait(60)
        for _ in range(session.client.limits.in_flight):
            client._slots.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)

    def work():
        image = inside.dataset(909).images[0]
        stored.tables()
        return (
            len(session.dataset(909).images),
            inside.pixels(image, 4).shape,
            default_session() is session,
        )

    try:
        assert in_child(work) == (14, (166, 178, 3), True)
    finally:
        free.set()
        thread.join()
    with session:
        assert session.client.requests_sent == 0, "the child's requests are its own"


def test_a_search_under_way_does_not_hold_up_a_childs(tmp_path):
    """Until Python 3.11 all objects of a class share the lock of a cached property."""
    begun, free = threading.Event(), threading.Event()

    def late(request):
        begun.set()
        free.wait(60)
        return httpx.Response(404)

    waiting = Session(
        Settings("http://a.invalid", "http://a.invalid", tmp_path / "a"),
        transport=httpx.MockTransport(late),
    )
    ours = in_process_session(tmp_path / "b")
    found = search(gene="Prox1", session=waiting)

    def ask():
        with pytest.raises(Exception, match="404"):
            len(found)

    thread = threading.Thread(target=ask)
    thread.start()
    begun.wait(60)
    try:
        assert in_child(lambda: search(gene="Prox1", session=ours).ids) == [69289763]
    finally:
        free.set()
        waiting.close()
        thread.join()


def test_a_module_that_a_thread_is_importing_is_whole_in_a_child(tmp_path, monkeypatch):
    (tmp_path / "slowly_imported.py").write_text("import time\ntime.sleep(0.5)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(processes, "_LIBRARIES", processes._LIBRARIES | {"slowly_imported"})

    def load():
        import slowly_imported  # type: ignore[import-not-found]

        return slowly_imported.whole

    thread = threading.Thread(target=load)
    thread.start()
    while "slowly_imported" not in sys.modules:
        time.sleep(0.001)
    try:
        assert in_child(load)
    finally:
        thread.join()
        sys.modules.pop("slowly_imported")


def test_a_loop_goes_on_in_a_child():
    """A forked process has none of the threads that were fetching ahead."""
    results = fetch_then_work(
        list(range(12)), lambda k: k, lambda k, fetched: k * fetched, fetchers=2, workers=2
    )
    assert [next(results), next(results)] == [0, 1]
    whole = [k * k for k in range(12)]
    assert in_child(lambda: list(results)) == whole[2:]
    assert list(results) == whole[2:]


def test_a_closed_client_is_closed_in_a_child_too():
    client = Client("http://127.0.0.1:9")
    client.close()
    with pytest.raises(NetworkError, match="closed"):
        in_child(lambda: client.get_json("http://127.0.0.1:9/"))


def test_random_choices_differ():
    """Names of temporary files, and the jitter between tries."""
    names = {in_child(lambda: _new_name(Path("x.jpg"), ".part.jpg").name) for _ in range(3)}
    assert len(names) == 3
    assert not any(name.startswith(f".{os.getpid()}@") for name in names)
    assert len({in_child(random.random) for _ in range(3)}) == 3


def test_which_processes_run():
    assert processes.is_alive(os.getpid())
    assert processes.is_alive(1)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert not processes.is_alive(child)
    assert not processes.is_alive(9_999_999_999), "a number that no process can have"
