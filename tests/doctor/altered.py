"""The demo's answers, recorded once, and a service that changes some of them."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import simplejpeg
from werkzeug.test import Client as Asking

from atldld.demo.archive import DemoArchive
from atldld.fetch.session import Session
from atldld.serve.app import Application
from atldld.settings import Settings

URL = "http://altered.invalid"
SENT = ("range", "if-none-match")


class Recorded:
    """Answers each question as the demo does, which is asked once for each."""

    def __init__(self):
        self._demo = Asking(Application(DemoArchive()))
        self._known: dict[Any, tuple[int, dict[str, str], bytes]] = {}

    def __call__(self, request: httpx.Request) -> tuple[int, dict[str, str], bytes]:
        headers = {name: request.headers[name] for name in SENT if name in request.headers}
        key = (request.method, str(request.url), tuple(headers.items()))
        if key not in self._known:
            target = request.url.raw_path.decode()
            answer = self._demo.open(
                target, method=request.method, headers=headers, data=request.content
            )
            told = {name.lower(): value for name, value in answer.headers.items()}
            self._known[key] = answer.status_code, told, answer.data
        return self._known[key]


@dataclass
class Answer:
    """An answer that may be changed."""

    status: int
    headers: dict[str, str]
    body: bytes
    url: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @json.setter
    def json(self, value: Any) -> None:
        self.body = json.dumps(value).encode()

    @property
    def pixels(self) -> Any:
        return simplejpeg.decode_jpeg(self.body)

    @pixels.setter
    def pixels(self, value: Any) -> None:
        self.body = simplejpeg.encode_jpeg(np.ascontiguousarray(value), quality=95)


Change = Callable[[Answer], object]


def session_of(recorded: Recorded, cache, changes: "dict[str, Change] | None" = None) -> Session:
    """Return a session that asks the demo, of which answers to some addresses are changed.

    Parameters
    ----------
    changes :
        By a regular expression that is looked for in the decoded path and query.
    """

    def answer(request: httpx.Request) -> httpx.Response:
        status, headers, body = recorded(request)
        url = httpx.URL(request.url).raw_path.decode()
        from urllib.parse import unquote_plus

        changed = Answer(status, dict(headers), body, unquote_plus(url))
        for pattern, change in (changes or {}).items():
            if re.search(pattern, changed.url):
                change(changed)
        changed.headers.pop("content-length", None)
        content = changed.body
        if request.method == "HEAD":
            changed.headers["content-length"] = str(headers.get("content-length", len(body)))
            content = b""
        return httpx.Response(changed.status, headers=changed.headers, content=content)

    settings = Settings(api_url=URL, download_url=URL, cache_dir=cache)
    return Session(settings, transport=httpx.MockTransport(answer))


def zipped(members: "dict[str, bytes]") -> bytes:
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def unzipped(content: bytes) -> "dict[str, bytes]":
    import zipfile

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
