"""A file that has not changed is not sent again, where the server can tell."""

import pytest

from atldld.errors import HTTPStatusError
from atldld.fetch import Limits, Session
from atldld.settings import Settings
from atldld.testing.server import FaultServer


class Versioned:
    """A server that tells versions of a file in its way, and heeds them."""

    def __init__(self, way):
        self.way, self.version, self.sent = way, 1, 0

    def __call__(self, environ, start_response):
        told = {
            "etag": ("ETag", f'"v{self.version}"'),
            "date": ("Last-Modified", f"Sat, 0{self.version} Mar 2025 10:00:00 GMT"),
        }.get(self.way)
        asked = environ.get("HTTP_IF_NONE_MATCH") or environ.get("HTTP_IF_MODIFIED_SINCE")
        if told is not None and asked == told[1]:
            start_response("304 Not Modified", [told])
            return [b""]
        self.sent += 1
        start_response("200 OK", [] if told is None else [told])
        return [b"content %d" % self.version]


def fetch(session, *, refresh=True):
    return session.file(
        "some/file.txt", check=lambda path: None, what="It", remedy="", refresh=refresh
    )


@pytest.mark.parametrize("way", ["etag", "date", "neither"])
def test_only_another_version_is_sent(way, tmp_path):
    served = Versioned(way)
    with FaultServer(served) as server:
        settings = Settings(api_url=server.url, cache_dir=tmp_path)
        with Session(settings, limits=Limits(attempts=1)) as session:
            first = fetch(session)
            again = fetch(session)
            assert served.sent == (2 if way == "neither" else 1)
            assert again.path.read_bytes() == b"content 1"
            assert again.sha256 == first.sha256
            assert again.fetched >= first.fetched
            served.version = 2
            assert fetch(session).path.read_bytes() == b"content 2"
            before = served.sent
            # one that has been damaged is fetched, whatever its version
            first.path.write_bytes(b"content X")
            assert fetch(session).path.read_bytes() == b"content 2"
            assert served.sent == before + 1


def test_a_server_that_says_so_unasked_is_no_answer(tmp_path):
    def never(environ, start_response):
        start_response("304 Not Modified", [("ETag", '"x"')])
        return [b""]

    with FaultServer(never) as server:
        settings = Settings(api_url=server.url, cache_dir=tmp_path)
        with (
            Session(settings, limits=Limits(attempts=1)) as session,
            pytest.raises(HTTPStatusError, match="304"),
        ):
            fetch(session)
