"""Many data sets in one go: a list, a journal, several at once, on one machine or on Dask."""

from atldld.batch.estimate import Estimate, estimate
from atldld.batch.journal import Entry
from atldld.batch.lists import IdList, find_ids, read_ids
from atldld.batch.run import BatchProgress, BatchSummary, run_batch
from atldld.batch.work import Download, Volumes, Work

__all__ = [
    "BatchProgress",
    "BatchSummary",
    "Download",
    "Entry",
    "Estimate",
    "IdList",
    "Volumes",
    "Work",
    "estimate",
    "find_ids",
    "read_ids",
    "run_batch",
]
