"""Many data sets in one go: a list, a journal, several at once, on one machine or on Dask."""

from atldld.batch.alignments import Alignments
from atldld.batch.estimate import Estimate, estimate
from atldld.batch.journal import Entry
from atldld.batch.lists import IdList, find_ids, read_ids
from atldld.batch.run import BatchProgress, BatchSummary, run_batch
from atldld.batch.window import Window
from atldld.batch.work import AtlasChoice, Download, Registrations, Volumes, Work

__all__ = [
    "Alignments",
    "AtlasChoice",
    "BatchProgress",
    "BatchSummary",
    "Download",
    "Entry",
    "Estimate",
    "IdList",
    "Registrations",
    "Volumes",
    "Window",
    "Work",
    "estimate",
    "find_ids",
    "read_ids",
    "run_batch",
]
