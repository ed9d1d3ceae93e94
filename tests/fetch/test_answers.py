"""Nothing that an answer says of itself breaks anything, or makes anything grow without bound."""

import base64
import contextlib
import io
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atldld.errors import AnswerError, AtldldError, HTTPStatusError
from atldld.fetch.answers import announced_length, decode, is_encoded, retry_after
from atldld.fetch.client import Client
from atldld.fetch.limits import Limits
from atldld.support.addresses import Login
from atldld.support.documents import DEEPEST

from .conftest import GOOD, answer, read_head

QUICK = Limits(first_wait=0.001, longest_wait=0.01, read=1, connect=1, attempts=2)

# ---- headers


@pytest.mark.parametrize(
    "value",
    [
        "", "soon", "-1", "-0.1", "nan", "inf", "1e999", "1.2.3", "9" * 400, "٣",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
        "Mon, 99 Xyz 2024 99:99:99 GMT",
        "Mon, 01 Jan 2024 00:00:00 -999999",
        "Mon, 31 Dec 9999 23:59:59 -2400",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "1 Jan 99999 0 +9999999999",
        "\x00", "=?utf-8?q?=00?=", "x" * 100_000,
    ],
)  # fmt: skip
def test_a_retry_after_that_makes_no_sense_is_passed_over(value):
    """Kind: a header that is parsed, with what its parser does not expect."""
    found = retry_after({"retry-after": value})
    assert found is None or (0 <= found < math.inf)
    answers = [httpx.Response(503, headers={"Retry-After": value}) if value.isascii() else
               httpx.Response(503), httpx.Response(200, json=GOOD)]  # fmt: skip
    client = Client("http://s", limits=QUICK, transport=httpx.MockTransport(
        lambda _: answers.pop(0)))  # fmt: skip
    assert client.get_json("http://s/x") == GOOD


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0), (" 7 ", 7), ("1.5", 1.5), ("99999999", 99999999)]
)
def test_a_retry_after_that_makes_sense(value, seconds):
    assert retry_after({"retry-after": value}) == seconds


def test_a_date_to_try_again_at():
    from email.utils import formatdate
    from time import time

    found = retry_after({"retry-after": formatdate(time() + 60, usegmt=True)})
    assert found == pytest.approx(60, abs=5)
    assert retry_after({"retry-after": formatdate(0)}) == 0


days = st.integers(-(10**30), 10**30).map(str) | st.sampled_from(["Mon,", "Jan", "GMT", "+0100"])


@given(st.text() | st.lists(days, max_size=8).map(" ".join))
@example("1 Jan 2024 00:00:00 +99999999999999999999999999")
def test_no_header_is_an_error(text):
    found = retry_after({"retry-after": text})
    assert found is None or 0 <= found < math.inf
    length = announced_length({"content-length": text})
    assert length is None or length >= 0
    assert is_encoded({"content-encoding": text}) in (True, False)


END = b"\r\nContent-Length: 0\r\n\r\n"
RAW = {
    "length nonsense": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
    "length negative": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    "length endless": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "length superscript": "HTTP/1.1 200 OK\r\nContent-Length: ²\r\n\r\n{}".encode("latin-1"),
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "charset unknown": b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=klingon\r\n"
    b"Content-Length: 2\r\n\r\n{}",
    "encoding unknown": b"HTTP/1.1 200 OK\r\nContent-Encoding: zpaq\r\nContent-Length: 2\r\n\r\n{}",
    "transfer unknown": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "100 for ever": b"HTTP/1.1 100 Continue\r\n\r\n" * 2000,
    "no status": b"HTTP/1.1 \r\n\r\n",
    "status 999": b"HTTP/1.1 999 What" + END,
    "headers for ever": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
    "location nonsense": b"HTTP/1.1 302 F\r\nLocation: http://[" + END,
    "location of a file": b"HTTP/1.1 302 F\r\nLocation: file:///etc/passwd" + END,
    "location mailto": b"HTTP/1.1 302 F\r\nLocation: mailto:x@y" + END,
    "location empty": b"HTTP/1.1 302 F\r\nLocation: " + END,
    "location bytes": b"HTTP/1.1 302 F\r\nLocation: \xff\xfe\xc3\x28" + END,
    "location port": b"HTTP/1.1 302 F\r\nLocation: //127.0.0.1:99999/" + END,
    "cookie nonsense": b"HTTP/1.1 500 F\r\nSet-Cookie: \xff=;;expires=x" + END,
}  # fmt: skip


@pytest.mark.parametrize("kind", RAW)
def test_whatever_stands_in_a_head_is_an_error_of_ours(kind, start):
    def serve(local, connection):
        read_head(connection)
        with contextlib.suppress(OSError):
            connection.sendall(RAW[kind])

    url = f"http://127.0.0.1:{start(serve).port}"
    with contextlib.closing(Client(url, limits=QUICK)) as client:
        with pytest.raises(AtldldError, match=url):
            client.get_json(f"{url}/x")
        with pytest.raises(AtldldError):
            client.download(f"{url}/x", io.BytesIO(), refuse_all)


def refuse_all():
    raise AnswerError("No.")


@pytest.mark.parametrize("encoding", ["gzip", "br, identity", "GZIP", "deflate,deflate"])
def test_nothing_is_decompressed(encoding):
    """A few bytes that become gigabytes; see decision 5."""
    client = Client("http://s", limits=QUICK, transport=httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"Content-Encoding": encoding},
                                 stream=httpx.ByteStream(b"\x1f\x8b"))))  # fmt: skip
    with pytest.raises(AnswerError, match="compressed"):
        client.get_json("http://s/x")


@pytest.mark.parametrize("encoding", ["", "identity", "Identity", "identity, identity"])
def test_what_is_not_compressed_is_taken(encoding):
    found = httpx.Response(200, headers={"Content-Encoding": encoding}, json=GOOD)
    client = Client("http://s", limits=QUICK, transport=httpx.MockTransport(lambda _: found))
    assert client.get_json("http://s/x") == GOOD


# ---- redirects


def redirecting(targets, requests):
    """A service that redirects from each path of `targets`."""

    def handle(request):
        requests.append((str(request.url), request.headers.get("authorization")))
        target = targets.get(request.url.path)
        if target is None:
            return httpx.Response(200, json=GOOD)
        return httpx.Response(302, headers={"Location": target})

    return httpx.MockTransport(handle)


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        ("/y", "http://s/y"),
        ("y?a=b#c", "http://s/y?a=b"),
        ("http://S:80/y", "http://s/y"),
        ("https://s/y", "https://s/y"),
        ("//s/y", "http://s/y"),
        ("http://them:m4rk@s/y", "http://s/y"),
    ],
)
def test_redirects_on_the_same_host_are_followed_with_the_login(target, arrives):
    requests: list[tuple[str, str | None]] = []
    client = Client("http://s", limits=QUICK, transport=redirecting({"/x": target}, requests),
                    logins=(Login("http://s", "Basic m4rk"),))  # fmt: skip
    assert client.get_json("http://s/x") == GOOD
    assert requests == [("http://s/x", "Basic m4rk"), (arrives, "Basic m4rk")]


@pytest.mark.parametrize(
    "target",
    ["http://evil/y", "http://s.evil/y", "http://s:8080/y", "https://s:8443/y", "//evil/y",
     "file:///etc/passwd", "ftp://s/y", "http://s@evil/y", "javascript:x", "\\\\evil"],
)  # fmt: skip
def test_redirects_elsewhere_are_not_followed(target):
    requests: list[tuple[str, str | None]] = []
    client = Client("http://s", limits=QUICK, transport=redirecting({"/x": target}, requests),
                    logins=(Login("http://s", "Basic m4rk"),))  # fmt: skip
    if target == "\\\\evil":  # a path like any other
        assert client.get_json("http://s/x") == GOOD
    else:
        with pytest.raises(AtldldError, match=r"redirects elsewhere|request failed"):
            client.get_json("http://s/x")
    assert {httpx.URL(url).host for url, _ in requests} == {"s"}


def test_an_encrypted_service_is_not_left_for_a_plain_one():
    requests: list[tuple[str, str | None]] = []
    client = Client("https://s", limits=QUICK,
                    transport=redirecting({"/x": "http://s/y"}, requests))  # fmt: skip
    with pytest.raises(HTTPStatusError, match="elsewhere"):
        client.get_json("https://s/x")
    assert {url for url, _ in requests} == {"https://s/x"}


def test_redirects_in_circles_end():
    requests: list[tuple[str, str | None]] = []
    client = Client("http://s", limits=Limits(first_wait=0.001),
                    transport=redirecting({"/x": "/y", "/y": "/x"}, requests))  # fmt: skip
    with pytest.raises(HTTPStatusError, match="circles"):
        client.get_json("http://s/x")
    assert len(requests) == 2 * 6


def test_a_login_in_an_address_that_is_asked_goes_to_it_alone():
    requests: list[tuple[str, str | None]] = []
    client = Client("http://s", limits=QUICK, transport=redirecting({"/x": "/y"}, requests))
    assert client.get_json("http://me:m4rk@other/x") == GOOD
    assert client.get_json("http://s/z") == GOOD
    # the last is asked twice, as its answer is like the one before
    basic = "Basic " + base64.b64encode(b"me:m4rk").decode()
    assert requests[:3] == [
        ("http://other/x", basic), ("http://other/y", basic), ("http://s/z", None)
    ]  # fmt: skip


def test_addresses_whose_parts_httpx_writes_in_its_own_way():
    """The API and the archive may be asked at any address, such as one that names port 80."""
    from atldld.fetch.session import Session
    from atldld.settings import Settings

    for api in ("http://HOST:80", "https://Host:443/base", "http://[::1]"):
        with Session(Settings(api, "http://Files:80/down"), transport=None) as session:
            assert session.file_address("a b", host="download") == "http://files/down/a%20b"
            assert session.file_address("a").endswith("/a")
            assert session.file_address("a").count("://") == 1


# ---- how large, how deep

# The most memory of a program, in kB. What `getrusage` tells counts the process that started it.
PEAK = """
def peak():
    from pathlib import Path
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""

BOMBS = {
    "lists": b"[],",
    "dicts": b"{},",
    "nested": b"[[[[]]]],",
    "pairs": b'{"a":{"a":{"a":{}}}},',
    "names": b'{"":0},',
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak there")
@pytest.mark.parametrize("kind", BOMBS)
def test_an_answer_that_would_fill_the_memory_is_refused_before_it_does(kind):
    """Ninety megabytes of these took up to ten gigabytes."""
    program = (
        PEAK
        + f"""
from atldld.errors import AnswerError
from atldld.fetch.answers import decode
unit = {BOMBS[kind]!r}
body = bytearray(b'{{"success": true, "msg": [' + unit * (60_000_000 // len(unit)) + b'0]}}')
before = peak()
try:
    decode(body)
except AnswerError as error:
    assert "GB of memory" in str(error), error
else:
    raise SystemExit("taken")
print(peak() - before)
"""
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 50_000  # kB


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak there")
def test_what_is_taken_needs_no_more_memory_than_is_said():
    """The worst that just passes, over a real socket: from nothing to the error or the rows."""
    program = (
        PEAK
        + """
from atldld.support import documents
from atldld.fetch.answers import decode
for unit in (b"[],", b"{},", b"[[[[]]]],", b'{"a":{"a":{"a":{}}}},', b'{"":0},', b"1.5,", b'"ab",'):
    cost = sum(unit.count(sign) * size for sign, size in documents._MEMORY.items()) + len(unit)
    decode(b"[" + unit * (documents.LARGEST_MEMORY // 4 // cost) + b"0]")
print(peak())
"""
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) << 10 < (512 << 20) // 4 + (150 << 20)


def test_the_structure_graph_is_decoded_with_the_same_bounds(tmp_path):
    """It is kept as a file, and read as JSON all the same."""
    from atldld.atlas.open import fetch_graph
    from atldld.fetch.session import Session
    from atldld.settings import Settings

    for body, words in ((b"[" + b"{}," * 2_000_000 + b"0]", "memory"), (b"[" * 9000, "nested")):
        transport = httpx.MockTransport(lambda _, body=body: httpx.Response(200, content=body))
        settings = Settings("http://s", cache_dir=tmp_path)
        with (
            Session(settings, limits=QUICK, transport=transport) as session,
            pytest.raises(AnswerError, match=words),
        ):
            fetch_graph(session)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [DEEPEST + 5, 5_000, 200_000])
def test_an_answer_that_is_nested_too_deep(opening, depth):
    closing = "]" if opening == "[" else "}"
    body = (opening * depth + "0" + closing * depth).encode()
    with pytest.raises(AnswerError, match="nested"):
        decode(body)


def test_an_answer_as_deep_as_any():
    body: object = 0
    for _ in range(DEEPEST - 1):
        body = [body]
    assert decode(json.dumps(body).encode()) == body


def test_bounds_hold_while_an_answer_arrives(start):
    sent = itertools.count()

    def serve(local, connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while next(sent) < 10_000:
                connection.sendall(b"10000\r\n" + b"[" * 0x10000 + b"\r\n")

    url = f"http://127.0.0.1:{start(serve).port}"
    limits = Limits(first_wait=0.001, attempts=1, largest_json=1 << 20)
    with (
        contextlib.closing(Client(url, limits=limits)) as client,
        pytest.raises(AnswerError, match="longer than"),
    ):
        client.get_json(f"{url}/x")
    assert next(sent) < 500
    assert Limits().largest_json <= 64 << 20


def test_a_body_without_an_announced_length_is_taken(start):
    def serve(local, connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(GOOD).encode())

    url = f"http://127.0.0.1:{start(serve).port}"
    with contextlib.closing(Client(url, limits=QUICK)) as client:
        assert client.get_json(f"{url}/x") == GOOD


def test_an_informational_answer_is_passed_over(start):
    def serve(local, connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        answer(connection)

    url = f"http://127.0.0.1:{start(serve).port}"
    with contextlib.closing(Client(url, limits=QUICK)) as client:
        assert client.get_json(f"{url}/x") == GOOD
