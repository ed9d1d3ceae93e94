"""Kind to the service: bounds by default, counted over processes, and told."""

import json
import threading
from datetime import date

import pytest

from atldld.demo.archive import DemoArchive
from atldld.errors import DailyLimitError, InvalidInputError
from atldld.fetch import Limits, Session
from atldld.fetch.allowance import NAME, Allowance
from atldld.fetch.limits import PER_DAY, PER_SECOND
from atldld.fetch.session import usual_limits
from atldld.serve.app import Application
from atldld.settings import API_URL, Settings
from atldld.testing.server import FaultServer


def test_the_institutes_own_service_has_bounds_and_others_have_none(tmp_path):
    with Session(Settings(cache_dir=tmp_path)) as session:
        assert session.client.limits.per_second == PER_SECOND
        assert session.client.limits.per_day == PER_DAY
        assert session.client.allowance is not None
        assert session.bucket is not None
        assert session.bucket._client.limits.per_second is None
    other = Settings(api_url="http://127.0.0.1:9", cache_dir=tmp_path)
    with Session(other) as session:
        assert session.client.limits == Limits()
        assert session.client.allowance is None


@pytest.mark.parametrize(
    ("environment", "given", "expected"),
    [
        ({}, {}, (PER_SECOND, PER_DAY)),
        ({"ATLDLD_PER_SECOND": "2"}, {}, (2, PER_DAY)),
        ({"ATLDLD_PER_SECOND": "0", "ATLDLD_PER_DAY": "0"}, {}, (None, None)),
        ({"ATLDLD_PER_DAY": "70"}, {"per_second": 1.5}, (1.5, 70)),
    ],
)
def test_what_is_said_goes_first(environment, given, expected, tmp_path):
    settings = Settings.from_environment(environment, api_url=API_URL, cache_dir=tmp_path)
    limits = usual_limits(settings, Limits(**given))
    assert (limits.per_second, limits.per_day) == expected


@pytest.mark.parametrize("name", ["ATLDLD_PER_SECOND", "ATLDLD_PER_DAY"])
@pytest.mark.parametrize("value", ["many", "-1", "nan", "inf"])
def test_what_is_no_number_is_refused(name, value, tmp_path):
    with pytest.raises(InvalidInputError, match="number of requests"):
        Settings.from_environment({name: value}, cache_dir=tmp_path)


def test_all_processes_and_threads_share_a_day(tmp_path):
    day = [date(2026, 3, 28)]
    several = [Allowance(tmp_path, 95, "here", today=lambda: day[0]) for _ in range(4)]
    taken, refused = [], []

    def take(own):
        for _ in range(40):
            try:
                own.take()
                taken.append(own)
            except DailyLimitError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=take, args=(own,)) for own in several for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 95
    assert len(refused) == 8 * 40 - 95
    assert "95 requests have been sent to here today" in refused[0]
    assert "ATLDLD_PER_DAY" in refused[0]
    day[0] = date(2026, 3, 29)
    several[0].take()
    assert json.loads((tmp_path / NAME).read_text()) == {"day": "2026-03-29", "requests": 10}
    assert several[0].used() == 1


@pytest.mark.parametrize("content", [b"", b"rubbish", b"[]", b'{"day": "2026-03-28"}'])
def test_a_damaged_count_begins_anew(content, tmp_path):
    (tmp_path / NAME).write_bytes(content)
    own = Allowance(tmp_path, 5, "here", today=lambda: date(2026, 3, 28))
    for _ in range(5):
        own.take()
    with pytest.raises(DailyLimitError):
        own.take()


def test_where_nothing_can_be_written_each_process_counts(tmp_path):
    (tmp_path / "file").write_text("no folder")
    own = Allowance(tmp_path / "file", 15, "here")
    for _ in range(15):
        own.take()
    with pytest.raises(DailyLimitError):
        own.take()


def test_a_session_stops_before_the_request(tmp_path):
    with FaultServer(Application(DemoArchive((909,)))) as server:
        settings = Settings(api_url=server.url, cache_dir=tmp_path, per_day=3)
        with Session(settings) as session:
            images = session.dataset(909).images
            session.image(images[0], 4)
            with pytest.raises(DailyLimitError, match="3 requests have been sent"):
                session.image(images[1], 4)
            assert len(server.log) == 3
            assert session.client.allowance is not None
            assert session.client.allowance.used() == 3
