"""Batches that work in some hours alone; no test waits for a clock."""

from datetime import datetime, time, timedelta

import pytest

from atldld.batch import Download, Window, run_batch
from atldld.errors import InvalidInputError
from atldld.fetch import Session
from atldld.sections.register import Recipe
from atldld.settings import Settings
from atldld.testing.sources import FIRST, Copies, served


class Clock:
    """A clock that goes on when somebody sleeps, and by a step each time that it is looked at."""

    def __init__(self, at, step=timedelta(0)):
        self.at, self.step = at, step
        self.slept = []

    def now(self):
        self.at += self.step
        return self.at

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.at += timedelta(seconds=seconds)


def window(text, at, step=timedelta(0)):
    clock = Clock(at, step)
    read = Window.read(text)
    return Window(read.begin, read.end, clock.now, clock.sleep), clock


DAY = datetime(2026, 3, 28)


@pytest.mark.parametrize(
    ("text", "hour", "is_open", "hours"),
    [
        ("22:00-06:00", 23, True, 0),
        ("22:00-06:00", 3, True, 0),
        ("22:00-06:00", 6, False, 16),
        ("22:00-06:00", 21, False, 1),
        ("09:00-17:00", 9, True, 0),
        ("09:00-17:00", 17, False, 16),
        ("09:00 – 17:30", 8, False, 1),
        ("20:00-24:00", 23, True, 0),
        ("20:00-24:00", 0, False, 20),
    ],
)
def test_when_it_is_open(text, hour, is_open, hours):
    at, clock = window(text, DAY + timedelta(hours=hour))
    assert at.is_open() is is_open
    assert at.seconds() == hours * 3600
    at.wait()
    assert at.is_open()
    assert sum(clock.slept) == pytest.approx(hours * 3600)
    assert max(clock.slept, default=0) <= 60


@pytest.mark.parametrize("text", ["", "22-6", "22:00", "25:00-26:00", "24:30-6:00", "9:00-9:00"])
def test_what_is_no_window(text):
    with pytest.raises(InvalidInputError, match="no window of hours"):
        Window.read(text)


def test_a_batch_begins_data_sets_in_its_hours_alone(tmp_path, monkeypatch):
    """The clock goes on by 70 minutes with each look, so that it closes in between."""
    begun = []
    real = Copies(5)
    at, clock = window("22:00-06:00", datetime(2026, 3, 28, 12), timedelta(minutes=70))
    with served(real) as service:
        settings = Settings(api_url=service.address, cache_dir=tmp_path / "cache")
        with Session(settings) as session:
            from atldld.batch.task import Task

            make = Task.make

            def noted(task, dataset_id, session):
                begun.append((dataset_id, clock.at.time()))
                return make(task, dataset_id, session)

            monkeypatch.setattr(Task, "make", noted)
            summary = run_batch(
                range(FIRST, FIRST + 5),
                tmp_path / "out",
                Download(Recipe(200)),
                session=session,
                window=at,
            )
    assert summary.complete
    assert [number for number, _ in begun] == list(range(FIRST, FIRST + 5))
    assert all(moment >= time(22) or moment < time(6) for _, moment in begun)
    assert clock.slept
    assert clock.at > datetime(2026, 3, 28, 22)
