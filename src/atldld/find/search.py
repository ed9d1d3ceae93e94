"""Searching the service's section data sets and section images."""

from __future__ import annotations

from typing import Any

from atldld.errors import InvalidInputError
from atldld.fetch.rma import Criteria
from atldld.fetch.session import Session, check_id

__all__ = ["search_datasets", "search_images"]

Row = dict[str, Any]


def search_datasets(
    session: Session,
    *,
    dataset_id: int | str | None = None,
    gene: str | None = None,
    specimen: str | int | None = None,
    plane: str | int | None = None,
    refresh: bool = False,
) -> list[Row]:
    """Return the records of the section data sets that meet all conditions.

    Parameters
    ----------
    session : Session
        Where to ask.
    dataset_id : int, optional
        The id of a section data set.
    gene : str, optional
        The acronym, exactly (mouse genes are written like ``Prox1``).
    specimen : str or int, optional
        The specimen's name, or its id.
    plane : str or int, optional
        The plane of section's name, such as ``"coronal"``, or its id.
    refresh : bool
        Ask the service even if the answer is in the cache.

    Returns
    -------
    list of dict
        Records with ``genes``, ``plane_of_section`` and ``specimen``; failed ones too.

    Raises
    ------
    InvalidInputError
        No condition at all: there are tens of thousands of data sets.
    """
    criteria: dict[str, Any] = {}
    if dataset_id is not None:
        criteria["id"] = check_id(dataset_id, "section data set")
    if gene is not None:
        criteria["genes"] = {"acronym": gene}
    if specimen is not None:
        criteria |= _specimen(specimen)
    if plane is not None:
        criteria["plane_of_section"] = _by_id_or_name(plane)
    _check(criteria)
    return session.query(
        "SectionDataSet",
        criteria,
        ("genes", "plane_of_section", "specimen"),
        order="data_sets.id",
        refresh=refresh,
    )


def search_images(
    session: Session,
    *,
    image_id: int | str | None = None,
    dataset_id: int | str | None = None,
    gene: str | None = None,
    specimen: str | int | None = None,
    refresh: bool = False,
) -> list[Row]:
    """Return the records of the section images that meet all conditions.

    Parameters
    ----------
    session : Session
        Where to ask.
    image_id, dataset_id : int, optional
        The id of a section image, and of the section data set that it belongs to.
    gene, specimen : optional
        Of the data set; see `search_datasets`.
    refresh : bool
        Ask the service even if the answer is in the cache.

    Raises
    ------
    InvalidInputError
        No condition at all.
    """
    criteria: dict[str, Any] = {}
    of_dataset: dict[str, Any] = {}
    if image_id is not None:
        criteria["id"] = check_id(image_id, "section image")
    if dataset_id is not None:
        criteria["data_set_id"] = check_id(dataset_id, "section data set")
    if gene is not None:
        of_dataset["genes"] = {"acronym": gene}
    if specimen is not None:
        of_dataset |= _specimen(specimen)
    if of_dataset:
        criteria["section_data_set"] = of_dataset
    _check(criteria)
    rows = session.query("SectionImage", criteria, order="sub_images.id", refresh=refresh)
    return sorted(rows, key=lambda row: (row.get("data_set_id"), row.get("section_number")))


def _specimen(specimen: str | int) -> Criteria:
    return {"specimen": _by_id_or_name(specimen)}


def _by_id_or_name(value: str | int) -> Criteria:
    text = str(value)
    return {"id": int(text)} if text.isdigit() else {"name": text}


def _check(criteria: Criteria) -> None:
    if not criteria:
        raise InvalidInputError(
            "A search without any condition would return everything there is.",
            hint="Give an id, a gene, a specimen or a plane.",
        )
