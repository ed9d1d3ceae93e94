import hashlib
import io
import itertools
import threading
import time

import httpx
import pytest

from atldld.errors import (
    AnswerError,
    BrokenImageError,
    HTTPStatusError,
    NetworkError,
    RMAError,
    ServiceTimeoutError,
)
from atldld.fetch.client import Client
from atldld.fetch.limits import Limits

QUICK = Limits(first_wait=0.001, longest_wait=0.01, read=0.5, connect=0.5)
GOOD = {"success": True, "id": 0, "start_row": 0, "num_rows": 1, "total_rows": 1, "msg": [{}]}


def client(*answers, limits=QUICK):
    """A client whose service gives these answers in turn, the last one for ever."""
    turns = itertools.chain(answers, itertools.repeat(answers[-1]))

    def handler(request):
        answer = next(turns)
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    return Client("http://s", limits=limits, transport=httpx.MockTransport(handler))


def response(status=200, **content):
    return lambda: httpx.Response(status, **content)


FAULTS = {
    "refused": (httpx.ConnectError("refused"), NetworkError),
    "reset": (httpx.ReadError("reset"), NetworkError),
    "shorter than announced": (httpx.RemoteProtocolError("peer closed"), NetworkError),
    "no answer": (httpx.ReadTimeout("slow"), ServiceTimeoutError),
    "html": (response(text="<html>maintenance</html>"), AnswerError),
    "half json": (response(text='{"success": true, "msg": [{'), AnswerError),
    "not an object": (response(text="[1, 2]"), AnswerError),
    "deeply nested": (response(text="[" * 100_000), AnswerError),
    "500": (response(500), HTTPStatusError),
    "503": (response(503, headers={"Retry-After": "0"}), HTTPStatusError),
    "429": (response(429, headers={"Retry-After": "soon"}), HTTPStatusError),
    "404": (response(404), HTTPStatusError),
    "refusal": (response(json={"success": False, "msg": "no such model"}), RMAError),
    "redirect": (response(302, headers={"Location": "http://elsewhere"}), HTTPStatusError),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_passes(fault):
    asked = client(FAULTS[fault][0], response(json=GOOD))
    assert asked.get_json("http://s/x") == GOOD
    assert asked.requests_sent == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lasting_fault_is_its_own_error(fault):
    answer, error = FAULTS[fault]
    asked = client(answer)
    with pytest.raises(error, match="http://s/x") as caught:
        asked.get_json("http://s/x")
    assert type(caught.value) is error
    assert caught.value.url == "http://s/x"
    assert asked.requests_sent == (
        2 if fault in {"404", "refusal", "deeply nested"} else QUICK.attempts
    )


def test_a_refusal_tells_the_services_own_words_whatever_the_status():
    for status in (200, 400, 500):
        asked = client(response(status, json={"success": False, "msg": "no such column"}))
        with pytest.raises(RMAError, match="no such column"):
            asked.get_json("http://s/x")


@pytest.mark.parametrize("status", [400, 405, 414])
def test_what_was_asked_wrongly_is_not_asked_again(status):
    asked = client(response(status))
    with pytest.raises(HTTPStatusError) as caught:
        asked.get_json("http://s/x")
    assert caught.value.status_code == status
    assert asked.requests_sent == 1


def test_retry_after_is_followed_up_to_the_longest_wait():
    limits = Limits(first_wait=0.001, longest_wait=0.2)
    begun = time.monotonic()
    client(
        response(503, headers={"Retry-After": "3600"}), response(json=GOOD), limits=limits
    ).get_json("http://s/x")
    assert 0.2 <= time.monotonic() - begun < 3000  # not the hour that the service asked for


def test_a_dripping_answer_is_given_up():
    dripped = 0

    def drip():
        nonlocal dripped
        while True:
            time.sleep(0.02)
            dripped += 1
            yield b"x"

    limits = Limits(
        attempts=1, low_speed_seconds=0.1, low_speed_bytes=1000, read=5, first_wait=0.001
    )
    with pytest.raises(ServiceTimeoutError, match="bytes arrived"):
        client(lambda: httpx.Response(200, content=drip()), limits=limits).get_json("http://s/x")
    assert dripped < 100


def test_too_long_answers_are_refused():
    limits = Limits(attempts=1, largest_json=10)
    with pytest.raises(AnswerError, match="announces 11"):
        client(response(text="x" * 11), limits=limits).get_json("http://s/x")
    endless = response(content=(b"x" * 6 for _ in itertools.count()))
    with pytest.raises(AnswerError, match="longer than 10"):
        client(endless, limits=limits).get_json("http://s/x")


def test_a_body_that_fails_its_check_is_asked_for_again():
    bodies = [b"bad", b"good"]
    asked = client(*(response(content=body) for body in bodies))
    file = io.BytesIO()

    def check():
        if file.getvalue() != b"good":
            raise BrokenImageError("No.")

    # of what is kept, not of what was refused before it
    assert asked.download("http://s/x", file, check) == hashlib.sha256(b"good").hexdigest()
    assert file.getvalue() == b"good"


def test_no_more_requests_at_once_than_allowed():
    lock, now, most = threading.Lock(), 0, 0

    def handler(request):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return httpx.Response(200, json=GOOD)

    asked = Client("http://s", limits=Limits(in_flight=3), transport=httpx.MockTransport(handler))
    threads = [threading.Thread(target=asked.get_json, args=("http://s/x",)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3
    assert asked.requests_sent == 12


def test_closing_ends_the_waiting():
    asked = client(response(503), limits=Limits(first_wait=600, longest_wait=600))
    threading.Timer(0.1, asked.close).start()
    begun = time.monotonic()
    with pytest.raises((HTTPStatusError, NetworkError)):
        asked.get_json("http://s/x")
    assert time.monotonic() - begun < 500


def test_the_user_agent_says_who_asks():
    seen = {}

    def handler(request):
        seen.update(request.headers)
        return httpx.Response(200, json=GOOD)

    Client("http://s", transport=httpx.MockTransport(handler)).get_json("http://s/x")
    assert seen["user-agent"].startswith("atldld/")
    assert "+https://" in seen["user-agent"]


def test_a_service_that_is_down_is_not_waited_for_again_and_again():
    asked = client(
        *[httpx.ConnectError("refused")] * 13, response(json=GOOD), httpx.ConnectError("refused"),
        limits=Limits(attempts=4, patience=3, first_wait=0.001),
    )  # fmt: skip
    for tries in (4, 8, 12, 13):
        with pytest.raises(NetworkError):
            asked.get_json("http://s/x")
        assert asked.requests_sent == tries
    asked.get_json("http://s/x")
    with pytest.raises(NetworkError):
        asked.get_json("http://s/x")
    assert asked.requests_sent == 14 + 4  # it was up again, so it is worth trying
