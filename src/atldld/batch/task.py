"""What is done for one data set of a batch, on whichever machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from atldld.batch.journal import Entry
from atldld.batch.places import Place
from atldld.batch.work import Work
from atldld.errors import (
    AtldldError,
    CacheError,
    HTTPStatusError,
    NetworkError,
    OutputError,
    ServiceTimeoutError,
)
from atldld.fetch.session import Session

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """What is done for each data set, whichever machine does it.

    Attributes
    ----------
    work : Work
        What is made.
    place : Place
        Where it goes.
    threads : int
        Threads that decode and warp.
    force : bool
        Replace what is there.
    command_line : str or None
        For ``metadata.json``.
    """

    work: Work
    place: Place
    threads: int
    force: bool
    command_line: str | None

    def make(self, dataset_id: int, session: Session) -> Entry:
        """Do the work for one data set; the entry tells whatever goes wrong."""
        begun = time.monotonic()
        session = session.apart()

        def ended(state: Literal["done", "failed"], **facts: Any) -> Entry:
            return Entry(
                data_set=dataset_id,
                state=state,
                seconds=round(time.monotonic() - begun, 3),
                defects=len(session.defects),
                when=datetime.now(UTC).isoformat(timespec="seconds"),
                **facts,
            )

        try:
            with self.place.making(dataset_id) as folder:
                made = self.work.make(
                    dataset_id,
                    folder,
                    session,
                    threads=self.threads,
                    # what the batch has made may be made again
                    force=self.force or self.place.has_lost(dataset_id),
                    command_line=self.command_line,
                )
        except AtldldError as error:
            return ended("failed", why=str(error), passing=_will_meet_others(error))
        except Exception as error:  # one strange record must not end a night's work
            return ended("failed", why=f"{type(error).__name__}: {error}")
        facts = {
            "sections": made.sections,
            "image_bytes": made.image_bytes,
            "bytes": made.bytes,
        }
        if not made.missing:
            return ended("done", **facts)
        first = next(iter(made.missing.values()))
        why = f"{len(made.missing)} images could not be fetched, the first because: {first}"
        return ended("failed", why=why, passing=not made.sections, **facts)


def _will_meet_others(error: AtldldError) -> bool:
    """Whether other data sets are likely to fail for the same reason."""
    if isinstance(error, HTTPStatusError):
        return error.status_code not in {403, 404}
    # the bare class says that a library is missing
    return type(error) is AtldldError or isinstance(
        error, NetworkError | ServiceTimeoutError | CacheError | OutputError
    )
