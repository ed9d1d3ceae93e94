"""A data set and an atlas of the demo that all tests here share."""

import pytest

import atldld
from atldld.demo.local import in_process_session

ID = 909


@pytest.fixture(scope="module")
def shared_session(tmp_path_factory):
    with in_process_session(tmp_path_factory.mktemp("cache")) as session:
        yield session


@pytest.fixture(scope="module")
def ds(shared_session):
    return atldld.open_dataset(ID, session=shared_session)


@pytest.fixture(scope="module")
def atlas(shared_session):
    return atldld.open_atlas(100, session=shared_session)


@pytest.fixture
def coarse_atlas(monkeypatch, atlas):
    """Let the atlas that is usual be the coarse one: the fine one takes seconds to unpack."""
    monkeypatch.setattr("atldld.atlas.open.open_atlas", lambda *_, **__: atlas)
    monkeypatch.setattr("atldld.atlas.open_atlas", lambda *_, **__: atlas)
    return atlas
