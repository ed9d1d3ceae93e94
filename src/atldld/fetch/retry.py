"""What may be tried again, how often, after how long, and what the user hears in the meantime."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from atldld.errors import HTTPStatusError, RMAError, ServiceError

if TYPE_CHECKING:
    import tenacity

    from atldld.fetch.limits import Limits

__all__ = ["Notices", "Persistence", "log", "may_pass"]

T = TypeVar("T")

log = logging.getLogger("atldld.fetch")
"""Says what is waited for (level INFO) and what is tried again (WARNING), each now and then."""


class Notices:
    """Says things in `log`, but not each time: many requests may wait at once."""

    def __init__(self) -> None:
        self._clock = time.monotonic
        self.renew()

    def renew(self) -> None:
        """Forget, in a forked child, what the parent has said."""
        self._told: dict[int, float] = {}  # when something was said last, by its level
        self._lock = threading.Lock()

    def say(self, level: int, text: str, *, every: float) -> None:
        """Say something, unless something of its level was said so many seconds ago or less."""
        now = self._clock()
        with self._lock:
            before = self._told.get(level)
            if before is not None and now - before < every:
                return
            self._told[level] = now
        log.log(level, "%s", text)

    def later(self, seconds: float, host: str) -> threading.Timer:
        """Return what says after a time that a host is waited for, unless it is cancelled."""
        timer = threading.Timer(
            seconds, lambda: self.say(logging.INFO, f"Waiting for {host} …", every=20.0)
        )
        timer.daemon = True
        return timer


class Persistence:
    """Tries requests again, as often as their failures make that worth while.

    Parameters
    ----------
    limits : Limits
        How often, and after how long.
    notices : Notices
        Where it is said.
    closed : threading.Event
        Ends all waiting.
    """

    def __init__(self, limits: Limits, notices: Notices, closed: threading.Event) -> None:
        self._limits = limits
        self._notices = notices
        self.closed = closed
        self._clock = time.monotonic
        self._failed_in_a_row = 0

    def persist(self, attempt: Callable[[], T], *, once: bool = False) -> T:
        """Return what an attempt returns in the end.

        Parameters
        ----------
        attempt : callable
            Makes a request.
        once : bool
            Try it only once.

        Raises
        ------
        ServiceError
            If the last attempt fails, or one in a way that does not pass.
        """
        began = self._clock()
        try:
            try:
                result = attempt()
            except ServiceError as error:
                if once:
                    raise
                result = self._try_again(attempt, error, began)
        except ServiceError as error:
            if not _is_plain(error):
                self._failed_in_a_row += 1
            raise
        self._failed_in_a_row = 0
        return result

    def _try_again(self, attempt: Callable[[], T], error: ServiceError, began: float) -> T:
        """Go on after a first attempt that has failed, as if Tenacity had made it.

        Most runs need no second one, and so none of Tenacity, which brings asyncio.
        """
        import tenacity

        failed = [error]

        def attempts() -> T:
            if failed:
                raise failed.pop()
            return attempt()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(may_pass),
            stop=lambda state: self._give_up(state, began),
            wait=self._wait,
            sleep=self._sleep,
            before_sleep=self._say_again,
            reraise=True,
        )
        return retrying(attempts)

    def _sleep(self, seconds: float) -> None:
        """Wait between tries, but not once the client is closed."""
        self.closed.wait(seconds)

    def _give_up(self, state: tenacity.RetryCallState, began: float) -> bool:
        error = state.outcome.exception() if state.outcome else None
        hopeless = getattr(error, "tries", None) is not None
        return (
            state.attempt_number >= self._attempts(error)
            or (hopeless and self._clock() - began >= self._limits.reach)
            or self.closed.is_set()
        )

    def _attempts(self, error: BaseException | None) -> int:
        """Return how often a request is tried that fails in this way."""
        attempts = self._limits.attempts
        if self._failed_in_a_row >= self._limits.patience:
            return 1
        if _is_plain(error):
            # Refusals rarely change their mind: one more try is enough.
            return min(2, attempts)
        tries = getattr(error, "tries", None)
        return attempts if tries is None else min(tries, attempts)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        import random

        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", None)
        doubling = self._limits.first_wait * 2 ** (state.attempt_number - 1)
        # Some jitter, lest many workers come back at the same moment.
        waited = max(asked or 0.0, doubling * random.uniform(0.75, 1.25))
        return float(min(waited, self._limits.longest_wait))

    def _say_again(self, state: tenacity.RetryCallState) -> None:
        """Say what went wrong, and that it is tried again."""
        error = state.outcome.exception() if state.outcome else None
        seconds = max(round(state.upcoming_sleep), 1)
        self._notices.say(
            logging.WARNING,
            f"{getattr(error, 'message', error)} Trying again in {seconds} s "
            f"({state.attempt_number + 1} of {self._attempts(error)}).",
            every=3.0,
        )


def _is_plain(error: BaseException | None) -> bool:
    """Whether the service has plainly said no, and so is well."""
    return isinstance(error, RMAError) or (
        isinstance(error, HTTPStatusError) and error.status_code in {403, 404}
    )


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, HTTPStatusError):
        # Anything that says "you asked wrongly" stays wrong; the rest has been seen to pass.
        return error.status_code not in {400, 401, 405, 407, 410, 413, 414}
    return isinstance(error, ServiceError)
