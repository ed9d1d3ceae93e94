"""Who may ask: the page that was opened, and nobody else."""

import http.client
import json
import threading
from contextlib import closing

import pytest

from atldld.align.access import MOST_BYTES, Access, Bucket
from atldld.align.app import Application, Tabs
from atldld.align.listen import listen
from atldld.align.marks import Marks
from atldld.errors import InvalidInputError
from tests.align.conftest import PORT, Asking

TODO = (
    "/api/dataset",
    "/api/compare",
    "/api/methods",
    "/api/jobs/x",
    "/api/cut.jpg?axis=0&voxel=1",
)


def test_without_the_token_nothing_is_answered(asking):
    one = next(iter(asking.application.desk.sections))
    section = f"/api/sections/{one}"
    paths = (
        *TODO,
        section,
        f"{section}/overlay?width=9&height=9",
        f"{section}/tiles/5.jpg",
        f"{section}/structure?x=1&y=1",
    )
    token = asking.application.access.token
    for wrong in (None, "Bearer", "Bearer wrong", f"Basic {token}", f"Bearer {token}x"):
        for path in paths:
            answer = asking.get(path, authorization=wrong)
            if answer.status_code == 429:
                asking.application.access.strangers = Bucket(20, 0.5)
                answer = asking.get(path, authorization=wrong)
            assert answer.status_code == 403, (path, wrong)
            assert "token" in answer.json["error"]
    for path in ("/api/edit", "/api/undo", "/api/lock", "/api/fit"):
        # what a form could send with the token in the address is not enough to change anything
        asking.application.access.strangers = Bucket(20, 0.5)
        answer = asking.post(f"{path}?token={token}", {}, authorization=None)
        assert answer.status_code == 403
    assert asking.application.desk.revision == 0


def test_pictures_take_the_token_in_the_address(asking):
    one = next(iter(asking.application.desk.sections))
    token = asking.application.access.token
    path = f"/api/sections/{one}/thumbnail.jpg"
    assert asking.get(f"{path}?token={token}", authorization=None).status_code == 200
    assert asking.get(f"{path}?token={token[:-1]}", authorization=None).status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        "127.0.0.1:1",
        f"127.0.0.1.evil.example:{PORT}",
        f"localhost.evil.example:{PORT}",
        f"user@127.0.0.1:{PORT}",
        f"192.168.1.7:{PORT}",
        f"127.0.0.1:{PORT}/x",
        "",
        "[::1",
        f"127.0.0.1:{PORT}x",
    ],
)
def test_a_name_that_was_rebound_is_not_answered(asking, host):
    for path in ("/", "/static/align.js", "/api/dataset"):
        assert asking.get(path, host=host).status_code == 421


@pytest.mark.parametrize("host", [f"localhost:{PORT}", f"[::1]:{PORT}", f"127.0.0.2:{PORT}"])
def test_this_machine_has_several_names(asking, host):
    assert asking.get("/api/dataset", host=host).status_code == 200


def test_other_pages_may_not_ask(asking):
    one = next(iter(asking.application.desk.sections))
    edit = {"kind": "note", "image_id": one, "note": "x"}
    for foreign in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://127.0.0.1:{PORT}"},
        {"origin": f"http://127.0.0.1:{PORT + 1}"},
        {"origin": f"http://localhost:{PORT}"},  # of another name it is another page
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ):
        assert asking.post("/api/edit", edit, **foreign).status_code == 403
        assert asking.get("/api/dataset", **foreign).status_code == 403
    own = {"origin": f"http://127.0.0.1:{PORT}", "sec_fetch_site": "same-origin"}
    assert asking.application.desk.revision == 0
    assert asking.post("/api/edit", edit, **own).status_code == 200


def test_what_a_form_can_send_is_not_taken(asking):
    client, headers = asking.client, asking.headers
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = client.post("/api/undo", data=b"{}", content_type=kind, headers=headers)
        assert answer.status_code == 415


def test_bodies_are_bounded(asking):
    answer = asking.post("/api/edit", b"x" * (MOST_BYTES + 1))
    assert answer.status_code == 413
    for sent in (b"", b"{", b"[]", b'{"kind": "note"}', b'{"kind": 3, "image_id": 1}', b"\xff"):
        answer = asking.post("/api/edit", sent)
        assert answer.status_code in (400, 411), sent
        assert answer.json["error"].endswith(".")
    assert asking.get("/api/dataset?x=" + "x" * 70_000).status_code == 414


def test_requests_are_bounded():
    now = [0.0]
    bucket = Bucket(3, 2, clock=lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] += 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    now[0] += 1000
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_too_many_requests_are_told(asking):
    asking.application.access.requests = Bucket(2, 0)
    answers = [asking.get("/api/dataset").status_code for _ in range(3)]
    assert answers == [200, 200, 429]


def test_too_many_wrong_tokens_are_told(asking):
    asking.application.access.strangers = Bucket(2, 0)
    answers = [asking.get("/api/dataset", authorization="Bearer x").status_code for _ in range(3)]
    assert answers == [403, 403, 429]
    assert asking.get("/api/dataset").status_code == 200


def test_every_answer_has_the_strict_headers(asking):
    one = next(iter(asking.application.desk.sections))
    for path in (
        "/",
        "/static/align.js",
        "/api/dataset",
        f"/api/sections/{one}/thumbnail.jpg",
        "/x",
    ):
        headers = asking.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "name",
    [
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "vendor/../../app.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "vendor",
        "",
        "..",
        ".",
        "a%00b",
        "align.js/x",
        "..\\app.py",
        "~root",
        "C:\\x",
    ],
)
def test_no_way_leads_out_of_the_page(asking, name):
    answer = asking.get(f"/static/{name}")
    assert answer.status_code in (404, 308)
    assert b"import" not in answer.data


def test_the_page_and_its_files(asking):
    page = asking.get("/", authorization=None)
    assert page.status_code == 200
    assert page.content_type == "text/html; charset=utf-8"
    script = asking.get("/static/align.js", authorization=None)
    assert script.content_type == "text/javascript; charset=utf-8"
    # nothing is loaded from elsewhere, and nothing secret is in it
    assert "//" not in page.text.replace("<!--", "").replace("http://www.w3.org", "")
    assert asking.application.access.token not in page.text


def test_methods_that_are_none(asking):
    for path in ("/api/dataset", "/"):
        answer = asking.client.delete(path, headers=asking.headers)
        assert answer.status_code == 405
    assert asking.client.post("/api/dataset", headers=asking.headers).status_code == 405
    assert asking.get("/api/edit").status_code == 405
    assert asking.get("/api/other").status_code == 404


def test_one_tab_edits_and_the_second_is_told(asking):
    one = next(iter(asking.application.desk.sections))
    edit = {"kind": "note", "image_id": one, "note": "x"}
    assert asking.json("/api/dataset")["readonly"] is False
    told = asking.get("/api/dataset", x_tab="two").json
    assert told["readonly"] is True
    refused = asking.post("/api/edit", edit, x_tab="two")
    assert refused.status_code == 423
    assert "another tab" in refused.json["error"].lower()
    for path in ("/api/undo", "/api/redo", "/api/fit", "/api/jobs/x/accept"):
        assert asking.post(path, {}, x_tab="two").status_code == 423
    taken = asking.post("/api/lock", {"take": True}, x_tab="two").json
    assert taken["readonly"] is False
    assert asking.post("/api/edit", edit, x_tab="two").status_code == 200
    assert asking.post("/api/lock", {}).json["readonly"] is True
    assert asking.post("/api/edit", edit).status_code == 423


def test_a_tab_that_has_gone_keeps_nobody():
    now = [0.0]
    tabs = Tabs(clock=lambda: now[0])
    assert tabs.met("one")
    assert not tabs.met("two")
    assert not tabs.met(None)
    now[0] += 10
    assert tabs.met("one")
    now[0] += 10
    assert not tabs.met("two")
    now[0] += 16
    assert tabs.met(None)
    assert tabs.met("two")
    assert not tabs.met("one")


def test_over_a_socket(desk):
    """As the command serves it: the address has the token, and waitress bounds what is sent."""
    opened = listen(desk)
    thread = threading.Thread(target=opened.server.run, daemon=True)
    thread.start()
    address, _, token = opened.address.partition("/?token=")
    assert address.startswith("http://127.0.0.1:")
    port = int(address.rpartition(":")[2])
    assert len(token) >= 43

    def asked(method, path, **options):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request(method, path, **options)
            answer = connection.getresponse()
            return answer.status, answer.read()

    try:
        assert asked("GET", "/")[0] == 200
        assert asked("GET", "/api/dataset")[0] == 403
        own = {"Authorization": f"Bearer {token}"}
        status, content = asked("GET", "/api/dataset", headers=own)
        assert status == 200
        assert len(json.loads(content)["sections"]) == len(desk.sections)
        assert asked("GET", "/api/dataset", headers={**own, "Host": "rebound.example"})[0] == 421
        # refused by what is announced, before it has come
        sent = {"Content-Type": "application/json", "Content-Length": str(MOST_BYTES + 1)}
        assert asked("POST", "/api/undo", headers={**own, **sent}, body=b"{")[0] == 413
    finally:
        opened.application.close()
        opened.server.close()
        thread.join(10)


def test_others_are_kept_out_unless_that_is_meant(desk):
    with pytest.raises(InvalidInputError, match="Other machines could reach"):
        listen(desk, "0.0.0.0")


@pytest.mark.parametrize(
    ("public", "host", "ours"),
    [
        (True, "192.168.1.7", True),
        (True, "lab", True),
        (True, "evil.example", False),
        (False, "192.168.1.7", False),
        (False, "lab", False),
    ],
)
def test_a_public_service_is_asked_by_number_or_its_own_name(desk, public, host, ours):
    access = Access(PORT, public=public, names=("lab",))
    asking = Asking(Application(desk, access, marks=Marks(desk, wait=3600)))
    answer = asking.get("/api/dataset", host=f"{host}:{PORT}")
    assert answer.status_code == (200 if ours else 421)
