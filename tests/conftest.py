"""What every test may use: a clean environment, the genuine records, the local service."""

import json
import os
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

from atldld.records import SectionDataSet

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
GENUINE = (69289763, 71717084, 74272479)
GOLDEN = (5**0.5 - 1) / 2

# no test depends on how busy the machine is
settings.register_profile("atldld", deadline=None)
settings.load_profile("atldld")


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items):
    """Of the cases of a test marked `one_in(n)`, leave all but one in n to `make long`."""
    seen: Counter[str] = Counter()
    for item in items:
        marker = item.get_closest_marker("one_in")
        if marker is not None:
            test = item.nodeid.partition("[")[0]
            # by the golden ratio: whatever the period of a parameter, each of its values is met
            if seen[test] * GOLDEN % 1 >= 1 / marker.args[0]:
                item.add_marker(pytest.mark.long)
            seen[test] += 1


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """No test sees the user's cache or asks the real service."""
    for name in [name for name in os.environ if name.startswith("ATLDLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ATLDLD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("ATLDLD_API_URL", "http://127.0.0.1:9")  # the discard port: refused
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(scope="session")
def shared():
    """The folder of genuine records and pixels, which are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip("the genuine data (../shared/data) are not here")
    return SHARED


@pytest.fixture(scope="session")
def genuine(shared):
    """The three genuine data sets with all their images, by id."""
    datasets = {}
    for dataset_id in GENUINE:
        records = json.loads((shared / "datasets" / f"{dataset_id}.json").read_text())
        datasets[dataset_id] = SectionDataSet.from_records(
            records["section_data_set"], records["section_images"]
        )
    return datasets


@pytest.fixture(scope="session")
def demo_records():
    """The packaged records of the demo's data sets, by id."""
    from atldld.demo.archive import DemoArchive

    tables = DemoArchive().tables()
    return {
        record["id"]: SectionDataSet.from_records(record, record["section_images"])
        for record in tables["SectionDataSet"]
    }


@pytest.fixture
def session(tmp_path):
    """A session that asks the demo archive in this process."""
    from atldld.demo.local import in_process_session

    with in_process_session(tmp_path / "cache") as session:
        yield session


@pytest.fixture(scope="session")
def demo_server():
    """The demo archive behind a real socket; yields its address."""
    from atldld.demo.archive import DemoArchive
    from atldld.serve.listen import listen

    server = listen("127.0.0.1", 0, DemoArchive())
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()


@pytest.fixture
def at_demo_server(demo_server, monkeypatch):
    """Point the environment, and so the 0.3 doors, at the demo archive's socket."""
    monkeypatch.setenv("ATLDLD_API_URL", demo_server)
    return demo_server
