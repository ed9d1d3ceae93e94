"""The report of a data set: one page that holds everything and fetches nothing."""

from atldld.report.contents import Entry, Report, gather, try_atlas
from atldld.report.page import check_page, figures, render, write_report
from atldld.report.source import (
    FolderSource,
    ServiceSource,
    Source,
    find_source,
    open_source,
    source_of,
)

__all__ = [
    "Entry",
    "FolderSource",
    "Report",
    "ServiceSource",
    "Source",
    "check_page",
    "figures",
    "find_source",
    "gather",
    "open_source",
    "render",
    "source_of",
    "try_atlas",
    "write_report",
]
