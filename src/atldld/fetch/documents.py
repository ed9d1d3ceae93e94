"""The records of data sets and the answers to queries: from the cache, else from the service."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from atldld.errors import (
    AnswerError,
    AtldldError,
    CacheError,
    DatasetNotFoundError,
    OfflineError,
    Remedy,
    RowShortfallWarning,
    ServiceWarning,
)
from atldld.fetch.cache import Cache
from atldld.fetch.pages import fetch_all
from atldld.fetch.placements import read_placement
from atldld.fetch.retry import log
from atldld.records import SectionDataSet
from atldld.rma.query import RMAParameters
from atldld.support.fields import CHANGED, UnusableFieldError, whole

__all__ = ["DATASET_INCLUDES", "NO_RECORD", "Documents", "record_in"]

DATASET_INCLUDES = ("genes", "specimen(donor(age))", "products", "treatments", "alignment3d")
"""What is kept with the record of a data set."""

NO_RECORD = (AtldldError, LookupError, TypeError, AttributeError, ValueError, ArithmeticError)
"""What is raised for a document that holds something else than a data set."""


class Documents:
    """What one service says, in JSON.

    Parameters
    ----------
    cache : Cache
        Where it is kept.
    ask : callable
        Sends a query and returns the envelope of the answer.
    offline : bool
        Whether nothing may be asked.
    """

    def __init__(
        self, cache: Cache, ask: Callable[[RMAParameters], dict[str, Any]], *, offline: bool
    ) -> None:
        self._cache = cache
        self._ask = ask
        self._offline = offline

    def answer(self, query: RMAParameters, *, refresh: bool = False) -> dict[str, Any]:
        """Return every row of a query; see `atldld.fetch.session.Session.answer`."""
        name = hashlib.sha256(query.text.encode()).hexdigest()
        known = None if refresh else self._cache.read_document("queries", name)
        if known is None or not isinstance(known.get("rows"), list) or self._wants_more(known):
            if self._offline:
                raise OfflineError(
                    "This has not been asked before, so the answer is not in the cache at "
                    f"{self._cache.root}. The question is {query.text}.",
                    hint=f"Ask once without {Remedy.OFFLINE}.",
                )
            defects: list[ServiceWarning] = []
            rows = fetch_all(self._ask, query, defects.append)
            known = _document({"query": query.text, "rows": rows}, defects)
            self._cache.write_document("queries", name, known)
            known["fetched"] = datetime.now(UTC).isoformat(timespec="seconds")
        else:
            log.debug("The answer to %s is in the cache.", query.text)
        return known

    def dataset(self, dataset_id: int, *, refresh: bool = False) -> dict[str, Any]:
        """Return the records of a data set and of its images.

        See `atldld.fetch.session.Session.dataset_records`.
        """
        name = str(dataset_id)
        known = None if refresh else self._cache.read_document("datasets", name)
        if not refresh and not self._is_whole(known):
            placed = read_placement(self._cache.root, dataset_id)
            if placed is not None and not self._wants_more(placed):
                log.debug("Section data set %d is in the placements catalogue.", dataset_id)
                # so that whatever reads the cache finds it, and an export takes it along
                with suppress(CacheError):
                    self._cache.write_json(self._cache.root / "datasets" / f"{name}.json", placed)
                return placed
        if known is None or not self._is_whole(known):
            if self._offline:
                raise OfflineError(
                    f"Section data set {dataset_id} is not in the cache at {self._cache.root}.",
                    dataset_id=dataset_id,
                    hint=f"Fetch it once without {Remedy.OFFLINE}, for instance with "
                    f"`atldld download {dataset_id} -o OUT`.",
                )
            known = self._fetched(dataset_id)
            self._cache.write_document("datasets", name, known)
        else:
            log.debug("Section data set %d is in the cache.", dataset_id)
        return known

    def _fetched(self, dataset_id: int) -> dict[str, Any]:
        query = RMAParameters("SectionDataSet", {"id": dataset_id}, DATASET_INCLUDES)
        query_of_images = RMAParameters(
            "SectionImage",
            {"data_set_id": dataset_id},
            ("alignment2d",),
            order="sub_images.id",
        )
        defects: list[ServiceWarning] = []
        defects_of_images: list[ServiceWarning] = []
        # Both at once: neither needs the other's answer, and each takes several round trips.
        from concurrent.futures import ThreadPoolExecutor  # which what is kept does without

        with ThreadPoolExecutor(1, thread_name_prefix="metadata") as pool:
            arriving = pool.submit(
                fetch_all, self._ask, query_of_images, defects_of_images.append, distinct=True
            )
            rows = fetch_all(self._ask, query, defects.append)
        if not rows and defects:
            raise AnswerError(
                f"The service says that there is a section data set {dataset_id}, but does "
                "not send it.",
                dataset_id=dataset_id,
                hint=f"Try again later. {CHANGED}",
            )
        if not rows:
            raise DatasetNotFoundError(
                f"There is no section data set {dataset_id}.",
                dataset_id=dataset_id,
                hint="Search for one with `atldld search dataset --gene ACRONYM`.",
            )
        images = arriving.result()
        defects += defects_of_images
        _check_about(rows[0], "id", dataset_id)
        for image in images:
            _check_about(image, "data_set_id", dataset_id, needed=False)
        return _document({"section_data_set": rows[0], "section_images": images}, defects)

    def _is_whole(self, document: Mapping[str, Any] | None) -> bool:
        """Whether a document has both records, and no rows are left to fetch."""
        return (
            document is not None
            and isinstance(document.get("section_data_set"), dict)
            and isinstance(document.get("section_images"), list)
            and not self._wants_more(document)
        )

    def _wants_more(self, document: Mapping[str, Any]) -> bool:
        """Whether a document lacks rows that may be had by asking again."""
        return document.get("complete") is False and not self._offline


def _check_about(
    record: Mapping[str, Any], name: str, dataset_id: int, *, needed: bool = True
) -> None:
    """Refuse a record that says that it is of something else than what was asked for."""
    try:
        found = whole(record, name, 0, 10**15, needed=needed)
        why = f"{name} is {found}"
    except UnusableFieldError as error:
        found, why = 0, str(error)
    if found != dataset_id and (needed or found is not None):
        raise AnswerError(
            f"The service answered about something else than section data set {dataset_id}: {why}.",
            dataset_id=dataset_id,
            hint=f"Try again later. {CHANGED}",
        )


def record_in(cache: Cache, dataset_id: int | None) -> SectionDataSet | None:
    """Return the data set that a cache holds, or `None` where it holds none that can be used."""
    document = None if dataset_id is None else cache.read_document("datasets", str(dataset_id))
    if document is None:
        return None
    try:
        return SectionDataSet.from_records(document["section_data_set"], document["section_images"])
    except NO_RECORD:
        return None


def _document(content: dict[str, Any], defects: Sequence[ServiceWarning]) -> dict[str, Any]:
    """Add to a document what was wrong with the answer.

    One that lacks rows is kept for working offline, but asked for again whenever that is possible.
    """
    return {
        **content,
        "complete": not any(isinstance(defect, RowShortfallWarning) for defect in defects),
        "defects": [(type(defect).__name__, str(defect)) for defect in defects],
    }
