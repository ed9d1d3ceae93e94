"""The report of a data set: one page that holds everything and fetches nothing."""

from atldld.report.contents import Report, gather
from atldld.report.page import render, write_report
from atldld.report.source import FolderSource, ServiceSource, Source, open_source

__all__ = [
    "FolderSource",
    "Report",
    "ServiceSource",
    "Source",
    "gather",
    "open_source",
    "render",
    "write_report",
]
