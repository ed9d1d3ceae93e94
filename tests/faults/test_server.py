"""The faults are what they say: seen through plain sockets and the standard library's client."""

import contextlib
import http.client
import json
import socket
import time
from urllib.parse import urlsplit

import pytest
import simplejpeg

from atldld.testing.exchange import Request
from atldld.testing.faults import (
    Announce,
    Cut,
    Drip,
    FaultPlan,
    FewerRows,
    Hole,
    Late,
    MoreRows,
    Refuse,
    RepeatRows,
    Reset,
    Resize,
    Shorten,
    Silence,
    Twice,
    images,
    masks,
    queries,
    standard_faults,
)
from atldld.testing.server import refused_url, unresolvable_url

ONE = 101321615
IMAGE = f"/api/v2/section_image_download/{ONE}?downsample=4"
QUERY = "/api/v2/data/query.json?criteria=model::SectionImage,rma::criteria,[data_set_id$eq909]"


def ask(server, target=IMAGE, timeout=5):
    """Status, headers and body, over a new connection."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=timeout)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def raw(server, target=IMAGE, seconds=0.3, least=0):
    """Every byte that arrives within a time, and longer until there are as many as at least."""
    host, port = urlsplit(server.url).netloc.split(":")
    end, got = time.monotonic() + seconds, b""
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while (left := end - time.monotonic()) > 0 or len(got) < least:
            connection.settimeout(left if len(got) >= least else 600)
            try:
                data = connection.recv(1 << 16)
            except TimeoutError:
                break
            got += data
            if not data:
                break
    return got


@pytest.fixture
def whole(server):
    body = ask(server)[2]
    server.forget()
    return body


def test_without_a_plan_it_is_the_application(server, archive):
    status, headers, body = ask(server)
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert body == archive.image(ONE, 4, "image", quality=100, region=None)
    status, _, body = ask(server, "/nowhere")
    assert status == 404
    assert json.loads(body)["success"] is False


def test_connections_are_kept(server):
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    connection.connect()
    before = connection.sock
    for _ in range(3):
        connection.request("GET", IMAGE)
        assert connection.getresponse().read()
        assert connection.sock is before
    connection.request("HEAD", IMAGE)
    assert connection.getresponse().read() == b""
    connection.close()


def test_the_first_tries_of_each_address(server):
    fault = Cut(0)
    server.use(FaultPlan(fault, images(), tries=2))
    targets = [IMAGE, IMAGE, IMAGE.replace("=4", "=3"), IMAGE, IMAGE + "&view=expression"]
    assert [len(ask(server, target)[2]) > 0 for target in targets] == [False] * 3 + [True] * 2
    assert [entry.fault for entry in server.log] == [fault, fault, fault, None, None]
    assert [entry.request.target for entry in server.log] == targets
    moments = [entry.when for entry in server.log]
    assert moments == sorted(moments)
    server.forget()
    server.use(FaultPlan(fault, images()))
    assert not any(ask(server)[2] for _ in range(4))
    assert len(server.log) == 4


def test_the_first_plan_that_fits_counts(server):
    server.use(FaultPlan(Cut(0), masks(ONE)), FaultPlan(Cut(0.5), images(ONE)))
    assert ask(server, IMAGE + "&view=expression")[2] == b""
    assert ask(server)[2]
    assert ask(server, IMAGE.replace(str(ONE), str(ONE + 1)))[2]


@pytest.mark.parametrize(
    ("target", "model", "image_id", "expression"),
    [
        (QUERY, "SectionImage", None, False),
        ("/api/v2/data/query.json?q=model%3A%3ASectionDataSet", "SectionDataSet", None, False),
        ("/api/v2/data/SectionImage/query.json?id=5", "SectionImage", None, False),
        ("/api/v2/data/SectionImage/5.json", "SectionImage", None, False),
        ("/api/v2/section_image_download/5", None, 5, False),
        ("/api/v2/image_download/5.jpg?view=expression", None, 5, True),
        ("/api/v2/section_image_download/5?expression=true", None, 5, True),
        ("/api/v2/image_to_reference/5.json?x=1&y=2", None, None, False),
        ("/", None, None, False),
    ],
)
def test_what_a_request_is_about(target, model, image_id, expression):
    request = Request("GET", target)
    assert (request.model, request.image_id, request.expression) == (model, image_id, expression)
    assert queries()(request) is (model is not None)
    assert queries("SectionImage")(request) is (model == "SectionImage")
    assert images()(request) is (image_id is not None and not expression)
    assert masks(5)(request) is expression
    assert masks(6)(request) is images(6)(request) is False


def test_a_reset_is_a_reset(server):
    for fault in (Reset(0.5), Reset(0), Reset(before_head=True)):
        server.use(FaultPlan(fault))
        with pytest.raises(ConnectionResetError):
            raw(server)


def test_shorter_than_announced(server, whole):
    server.use(FaultPlan(Shorten(0.5)))
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(server)
    assert caught.value.partial == whole[: len(whole) // 2]
    server.use(FaultPlan(Shorten(0.5, chunked=True)))
    with pytest.raises(http.client.IncompleteRead):
        ask(server)


def test_a_cut_is_honest_about_its_length(server, whole):
    server.use(FaultPlan(Cut(0.5)))
    _, headers, body = ask(server)
    assert int(headers["Content-Length"]) == len(body) == len(whole) // 2
    assert whole.startswith(body)


def test_a_hole_leaves_beginning_and_end(server, whole):
    server.use(FaultPlan(Hole(0.1)))
    body = ask(server)[2]
    assert len(body) == pytest.approx(0.9 * len(whole), abs=2)
    third = len(whole) // 3
    assert (body[:third], body[-third:]) == (whole[:third], whole[-third:])
    simplejpeg.decode_jpeg(body, strict=False)  # readers that forgive take it
    with pytest.raises(ValueError, match=r"premature|[Cc]orrupt"):
        simplejpeg.decode_jpeg(body)


def test_another_size_is_a_sound_picture(server, whole):
    server.use(FaultPlan(Resize()))
    height, width = simplejpeg.decode_jpeg(whole).shape[:2]
    pixels = simplejpeg.decode_jpeg(ask(server)[2])
    assert pixels.shape[:2] == ((height + 1) // 2, (width + 1) // 2)


def test_announced_and_silent(server, whole):
    server.use(FaultPlan(Announce(10 << 30)))
    got = raw(server)
    assert b"Content-Length: 10737418240\r\n" in got
    assert got.endswith(whole)
    server.use(FaultPlan(Silence()))
    assert raw(server) == b""
    server.use(FaultPlan(Silence(after_head=True)))
    assert raw(server).endswith(b"\r\n\r\n")


def test_a_drip(server, whole):
    server.use(FaultPlan(Drip(0.02, head=True)))
    dripped = raw(server, least=2)
    assert len(dripped) < len(whole)
    assert b"HTTP/1.1 200 OK".startswith(dripped[:15])
    server.use(FaultPlan(Drip(0.02)))
    head, _, body = raw(server).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert len(body) < len(whole)


def test_late_and_twice(server, whole):
    server.use(FaultPlan(Late(0.2)))
    begun = time.monotonic()
    assert ask(server)[2] == whole
    assert time.monotonic() - begun >= 0.2
    server.use(FaultPlan(Twice()))
    assert raw(server).count(whole) == 2


def test_rows(server):
    def envelope(fault):
        server.use(FaultPlan(fault))
        found = json.loads(ask(server, QUERY)[2])
        return (
            [row["id"] - 101321610 for row in found["msg"]],
            found["num_rows"],
            found["total_rows"],
        )

    half, rows = list(range(7)), list(range(14))
    assert envelope(Late(0)) == (rows, 14, 14)
    assert envelope(FewerRows()) == (half, 14, 14)
    assert envelope(FewerRows(claimed=False)) == (half, 7, 14)
    assert envelope(MoreRows()) == (rows, 14, 19)
    assert envelope(RepeatRows()) == (half + half, 14, 14)
    assert envelope(RepeatRows(instead=False)) == (rows + half, 21, 14)


def test_nobody_can_connect_during_an_outage(server):
    server.use(FaultPlan(Refuse(0.4), tries=1))
    begun = time.monotonic()
    with pytest.raises(ConnectionResetError):
        ask(server)
    with pytest.raises(ConnectionRefusedError):
        ask(server)
    while True:
        try:
            assert ask(server)[0] == 200
            break
        except ConnectionRefusedError:
            time.sleep(0.02)
    assert time.monotonic() - begun >= 0.4


def test_addresses_where_nobody_is():
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((urlsplit(refused_url()).hostname, urlsplit(refused_url()).port))
    with pytest.raises(OSError, match=r"."):
        socket.getaddrinfo(urlsplit(unresolvable_url()).hostname, 80)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", standard_faults())
def test_every_fault_is_noticed_by_a_plain_client(name, server):
    """None of them is just the true answer under another name."""
    fault = standard_faults(interval=0.05)[name]
    target = IMAGE if fault.image else QUERY
    true = raw(server, target)
    server.use(FaultPlan(fault))
    with contextlib.suppress(ConnectionResetError):
        assert raw(server, target) != true
