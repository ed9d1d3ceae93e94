"""The demo's data set on a desk, at 100 µm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from atldld.align.access import Access
from atldld.align.app import Application
from atldld.align.desk import Desk, open_desk
from atldld.align.marks import Marks
from atldld.atlas import open_atlas
from atldld.demo.local import in_process_session
from tests.align.working import DATASET

PORT = 8766


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A session that asks the demo archive in this process, and its atlas."""
    with in_process_session(tmp_path_factory.mktemp("align") / "cache") as session:
        yield session, open_atlas(100, session=session)


@pytest.fixture
def opened(demo, tmp_path):
    """Opens the demo's data set, each time from what is there."""
    session, atlas = demo
    desks: list[Desk] = []

    def open_again(output: Path | None = None, **options: Any) -> Desk:
        for desk in desks:
            desk.close()
        record = session.dataset(DATASET)
        desks.append(open_desk(record, session, atlas, output or tmp_path / "reg.json", **options))
        return desks[-1]

    yield open_again
    for desk in desks:
        desk.close()


@pytest.fixture
def desk(opened):
    return opened()


@dataclass
class Asking:
    """The page, as far as the service knows it."""

    application: Application
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = Client(self.application)
        token = self.application.access.token
        self.headers = {
            "Host": f"127.0.0.1:{PORT}",
            "Authorization": f"Bearer {token}",
            "X-Tab": "one",
            **self.headers,
        }

    def get(self, path: str, **headers: str | None) -> TestResponse:
        return self.client.get(path, headers=self._with(headers))

    def post(self, path: str, sent: object, **headers: str | None) -> TestResponse:
        content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        return self.client.post(
            path, data=content, content_type="application/json", headers=self._with(headers)
        )

    def json(self, path: str) -> Any:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json

    def edit(self, kind: str, image_id: int, **more: object) -> Any:
        answer = self.post("/api/edit", {"kind": kind, "image_id": image_id, **more})
        assert answer.status_code == 200, answer.text
        return answer.json

    def _with(self, headers: dict[str, str | None]) -> dict[str, str]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        named: dict[str, str | None] = {name.title(): one for name, one in self.headers.items()}
        named |= {name.title(): value for name, value in given.items()}
        return {name: value for name, value in named.items() if value is not None}


@pytest.fixture
def asking(desk) -> Iterator[Asking]:
    application = Application(desk, Access(PORT), marks=Marks(desk, wait=3600))
    yield Asking(application)
    application.close()
