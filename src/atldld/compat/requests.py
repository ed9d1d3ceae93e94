"""0.3 import path for RMA queries. Nothing here is cached."""

from __future__ import annotations

from typing import Any

from atldld.errors import RMAError
from atldld.fetch.pages import fetch_all
from atldld.fetch.session import default_session
from atldld.rma.query import RMAParameters

__all__ = ["RMAError", "RMAParameters", "rma", "rma_all"]


def rma(rma_parameters: RMAParameters) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Send one query and return one page.

    Parameters
    ----------
    rma_parameters : RMAParameters
        The query.

    Returns
    -------
    status : dict
        The envelope without its message: ``success``, ``id``, ``start_row``, ``num_rows``,
        ``total_rows``.
    msg : list of dict
        The rows.

    Raises
    ------
    RMAError
        If the service refuses the query.
    """
    envelope = default_session().rma(rma_parameters)
    msg = envelope.pop("msg")
    return envelope, msg


def rma_all(rma_parameters: RMAParameters) -> list[dict[str, Any]]:
    """Return every row of a query, page by page.

    A shortfall of the service is a `~atldld.errors.RowShortfallWarning`.
    """
    session = default_session()
    return fetch_all(session.rma, rma_parameters, session.report)
