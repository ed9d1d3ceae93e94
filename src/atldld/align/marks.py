"""Which sections look or lie unlike those around them: found once, beside the work.

It takes a while, and needs every section's picture. So it waits until the page has what it shows
first, and whenever something is being dragged, works with one thread, and says of a section where
it lay at the start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from atldld.align.desk import Desk
from atldld.errors import AtldldError
from atldld.place.sections import PlacedDataSet
from atldld.quality import assess
from atldld.support.memory import let_go

__all__ = ["Marks"]

_RESOLUTION = 100.0  # µm: coarse, as it is done while people wait for other things
_LATER = 4.0  # seconds
_PAUSE = 0.3

_log = logging.getLogger(__name__)


class _Ended(Exception):  # noqa: N818 - nothing has gone wrong
    """Ends the work when nobody needs it any more."""


class Marks:
    """The quality marks of a desk's sections.

    Parameters
    ----------
    desk : Desk
        What is edited.
    wait : float
        Seconds to wait before it begins.
    busy : callable
        Whether somebody waits for something else.
    """

    def __init__(
        self, desk: Desk, wait: float = _LATER, busy: Callable[[], bool] = lambda: False
    ) -> None:
        self._desk = desk
        self._wait = wait
        self.busy = busy
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._found: dict[int, dict[str, Any]] = {}
        self.news = 0

    def begin(self) -> None:
        """Begin, if that was not done before."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def of(self, image_id: int) -> dict[str, Any] | None:
        """Return the mark of a section, once it is known."""
        return self._found.get(image_id)

    def close(self) -> None:
        """End the work."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        def advance(*_: object) -> None:
            while self.busy() and not self._end.wait(_PAUSE):
                pass
            if self._end.is_set():
                raise _Ended

        if self._end.wait(self._wait):
            return
        desk = self._desk
        placed = PlacedDataSet.with_placements(
            desk.dataset.record, {one: desk.start_placement(one) for one in desk.sections}
        )
        try:
            made = assess(
                placed,
                desk.atlas,
                session=desk.dataset.session,
                resolution=_RESOLUTION,
                jobs=1,
                progress=advance,
            )
        except (_Ended, AtldldError):
            return
        except Exception:
            _log.exception("the sections' quality could not be told")
            return
        finally:
            let_go(desk.atlas.annotation)
        self._found = {
            one.image_id: {"suspicious": one.suspicious, "reasons": list(one.reasons)}
            for one in made.sections
        }
        self.news += 1
