"""Progress in notebooks: a bar with rate and time left, where there is a notebook and nowhere else.

Nothing is imported for it: a notebook has IPython, whose display draws the bar.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from atldld.errors import InvalidInputError
from atldld.support.html import ACCENT, escaped
from atldld.support.provenance import Progress

__all__ = ["Progressing", "bar", "in_notebook", "progressing"]

Progressing = Progress | bool | None
"""What functions take as `progress`: a callable; true or false for a bar or none; or nothing, for a
bar in a notebook."""

BETWEEN = 0.1
"""Seconds from one picture of the bar to the next: a notebook keeps every one that it is sent."""


def in_notebook() -> bool:
    """Whether this runs in a notebook, where HTML is shown."""
    return _shell() is not None


def _shell() -> Any:
    """Return IPython's shell if it belongs to a kernel; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None


@contextmanager
def progressing(given: Progressing, what: str) -> Iterator[Progress | None]:
    """Give what is to be called as work goes on, if anything is.

    Parameters
    ----------
    given : callable, bool or None
        What the caller has passed; see `Progressing`.
    what : str
        What is done, such as ``"Volume of 69289763"``.

    Raises
    ------
    InvalidInputError
        If it is anything else.
    """
    if callable(given):
        yield given
        return
    if given is not None and not isinstance(given, bool):
        raise InvalidInputError(
            f"The progress is {given!r:.60}, but must be a function (done, total, what), True, "
            "False or None."
        )
    if given is False or not in_notebook():
        yield None
        return
    with bar(what) as show:
        yield show


@contextmanager
def bar(what: str) -> Iterator[Progress]:
    """Show a bar below the cell that runs; it stays as one line when the work is done.

    Parameters
    ----------
    what : str
        What is done.
    """
    from IPython.display import display

    begun = time.monotonic()
    shown = 0.0
    reached = (0, 0)

    def send(handle: Any, state: str) -> Any:
        done, total = reached
        seconds = time.monotonic() - begun
        data = {
            "text/html": _html(what, done, total, seconds, state),
            "text/plain": _plain(what, done, total, seconds, state),
        }
        if handle is None:
            return display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call, unused-ignore]
        handle.update(data, raw=True)
        return handle

    handle = send(None, "runs")

    def show(done: int, total: int, last: str) -> None:
        nonlocal shown, reached
        reached = (done, total)
        now = time.monotonic()
        if now - shown >= BETWEEN:
            shown = now
            send(handle, "runs")

    try:
        yield show
    except BaseException:
        send(handle, "stopped")
        raise
    send(handle, "done")


def _plain(what: str, done: int, total: int, seconds: float, state: str) -> str:
    """Return one line: how much, how fast, how long yet."""
    if not total:
        return f"{what}: {'…' if state == 'runs' else f'{state} after {_clock(seconds)}'}"
    counted = f"{done}/{total}"
    if state != "runs" or not done or not seconds:
        told = {"runs": "", "done": f" in {_clock(seconds)}"}
        return f"{what}: {counted}{told.get(state, f', stopped after {_clock(seconds)}')}"
    left = seconds / done * (total - done)
    return f"{what}: {counted}, {done / seconds:.1f}/s, {_clock(left)} left"


def _html(what: str, done: int, total: int, seconds: float, state: str) -> str:
    part = done / total if total else float(state == "done")
    colour = ACCENT if state == "stopped" else "#3b82c4"
    return (
        '<div style="font:12.5px/1.5 system-ui,sans-serif;color:inherit;display:flex;gap:10px;'
        'align-items:center;flex-wrap:wrap"><span style="display:inline-block;width:220px;'
        'height:8px;border-radius:4px;background:rgba(128,128,128,.25);overflow:hidden">'
        f'<span style="display:block;height:8px;background:{colour};width:{100 * part:.1f}%">'
        f"</span></span><span>{escaped(_plain(what, done, total, seconds, state))}</span></div>"
    )


def _clock(seconds: float) -> str:
    """Return a length of time as people say it."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
