"""Many data sets for a local service: copies of the demo's data set 909 under other ids."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from atldld.demo.archive import DemoArchive
from atldld.serve.app import Application
from atldld.serve.archive import Archive, Tables, View

__all__ = ["FIRST", "Copies", "Served", "served"]

MODEL = 909
FIRST = 1000
"""Copy k has the id FIRST + k, and its images the model's ids plus (k + 1) · STEP."""
STEP = 10**9 + 7  # odd, lest all copies of an image share one lock of the cache
TIER = 4

Record = Mapping[str, Any]


class Copies(Archive):
    """A source that offers the model under as many ids as wanted.

    Parameters
    ----------
    number : int
        How many copies.
    """

    synthetic = True
    makes_files = True

    def __init__(self, number: int) -> None:
        self._model = DemoArchive([MODEL])
        tables = dict(self._model.tables())
        (dataset,) = tables["SectionDataSet"]
        copies = [_copy(dataset, k) for k in range(number)]
        self._tables = tables | {
            "SectionDataSet": copies,
            "SectionImage": [image for copy in copies for image in copy["section_images"]],
        }
        for image in dataset["section_images"]:
            self._model.image(image["id"], TIER, "image", quality=100, region=None)

    def tables(self) -> Tables:
        """Return the records by model."""
        return self._tables

    def image(self, image_id: int, downsample: int, view: View, **options: Any) -> bytes | None:
        """Return the model's picture."""
        return self._model.image(image_id % STEP, downsample, view, **options)

    def make_file(self, path: str) -> bytes | None:
        """Return a file of the model's, such as an atlas."""
        return self._model.make_file(path)


def _copy(dataset: Record, k: int) -> Record:
    own = [
        {**image, "id": image["id"] + (k + 1) * STEP, "data_set_id": FIRST + k}
        for image in dataset["section_images"]
    ]
    return {**dataset, "id": FIRST + k, "section_images": own}


class Served:
    """A service that counts.

    Attributes
    ----------
    address : str
        Where it is.
    begun : list of float
        When each request arrived, in seconds of `time.monotonic`.
    most : int
        How many there were at once at most.
    """

    def __init__(self, application: Any, delay: float) -> None:
        self.address = ""
        self.begun: list[float] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._application, self._delay = application, delay

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """Answer a request after the delay."""
        with self._lock:
            self.begun.append(time.monotonic())
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            time.sleep(self._delay)
            answer: Iterable[bytes] = self._application(environ, start_response)
            return answer
        finally:
            with self._lock:
                self._now -= 1


@contextmanager
def served(source: Copies, delay: float = 0.0) -> Iterator[Served]:
    """Serve copies behind a socket of this machine."""
    from waitress.server import create_server

    service = Served(Application(source), delay)
    # as many threads as requests may wait: the delay is the line's, not a queue's
    server = create_server(service, host="127.0.0.1", port=0, threads=32)
    service.address = f"http://127.0.0.1:{server.effective_port}"
    threading.Thread(target=server.run, daemon=True).start()
    try:
        yield service
    finally:
        server.close()
