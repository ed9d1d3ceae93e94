"""How far the work is: one line for each stage on a terminal, and nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from atldld.cli.manner import manner
from atldld.support.text import shown

if TYPE_CHECKING:
    from atldld.support.provenance import Progress

__all__ = ["arriving", "counted", "duration", "stage"]

_Show = Callable[[float, float | None, str], None]


@contextmanager
def stage(what: str) -> Iterator[_Show]:
    """Show one line on standard error: what is done, a bar, and what is said of it.

    Yields
    ------
    callable
        Takes how much is done, how much there is (None where that is not known), and what is said.
    """
    if not sys.stderr.isatty() or not manner.shows_progress:
        yield lambda done, total, said: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    whole = Column(no_wrap=True)
    columns = (
        TextColumn("{task.description}", markup=False, table_column=whole),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
        TextColumn("{task.fields[said]}", markup=False, table_column=whole),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        task = bar.add_task(shown(what), total=None, said="")

        def show(done: float, total: float | None, said: str) -> None:
            bar.update(task, completed=done, total=total, said=said)

        yield show


@contextmanager
def counted(what: str) -> Iterator[Progress]:
    """Show how many of something are done, how fast that goes, and how long it will take."""
    with stage(what) as show:
        clock = _Clock()

        def progress(done: int, total: int, last: str) -> None:
            show(done, total, f"{done}/{total} {clock.said(done, total)}")

        yield progress


@contextmanager
def arriving(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show how much of a file has arrived, in MB."""
    with stage(what) as show:
        clock = _Clock()

        def progress(done: int, total: int | None) -> None:
            of = "" if total is None else f"/{total / 1e6:.1f}"
            rate = clock.said(done, total, unit=" MB", scale=1e6)
            show(done, total, f"{done / 1e6:.1f}{of} MB {rate}")

        yield progress


def duration(seconds: float) -> str:
    """Return a time as people write it: ``0:07``, ``12:00``, ``3:00:07``."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


class _Clock:
    """Knows how fast something goes."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began = now()

    def said(self, done: float, total: float | None, unit: str = "", scale: float = 1) -> str:
        """Return the rate and the time left, or the time that it took."""
        passed = self._now() - self._began
        if done <= 0 or passed <= 0:
            return ""
        rate = done / passed
        shown_rate = rate / scale
        often = f"{shown_rate:{'.3g' if shown_rate < 100 else '.0f'}}{unit}/s"
        if total is not None and done >= total:
            return f"{often}, took {duration(passed)}"
        if total is None:
            return f"{often}, {duration(passed)}"
        return f"{often}, {duration((total - done) / rate)} left"
