"""What a search finds: small frozen values, and where they come from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

__all__ = [
    "FoundDataSet",
    "FoundGene",
    "FoundImage",
    "FoundSpecimen",
    "FoundStructure",
    "Origin",
    "age_in_words",
]


class FoundDataSet(msgspec.Struct, frozen=True, kw_only=True):
    """A section data set.

    Attributes
    ----------
    id : int
        The service's id; `atldld.open_dataset` takes it.
    genes : tuple of str
        Acronyms of the genes that it shows; empty for a Nissl stain.
    plane : str
        Plane of section, such as ``"coronal"``.
    treatments, probes, products : tuple of str
        Such as ``"ISH"``, ``"antisense"``, ``"Mouse"`` (the product's abbreviation).
    age, sex, strain : str or None
        Of the donor, such as ``"P56"``, ``"M"``, ``"C57BL/6J"``.
    specimen : str or None
        The specimen's name.
    specimen_id, reference_space : int or None
        Ids.
    thickness : float or None
        Of a section, in µm.
    sections : int or None
        How many section images there are; `None` where that is not known.
    resolution : float or None
        The finest pixel of its images, in µm; `None` where that is not known.
    representative : bool
        Whether the service shows it first among those of its gene (``delegate``).
    failed : bool
        Whether it failed the Allen Institute's quality control.
    synthetic : bool
        Whether its pixels are made up.
    """

    id: int
    genes: tuple[str, ...] = ()
    plane: str = "unknown"
    treatments: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    age: str | None = None
    sex: str | None = None
    strain: str | None = None
    specimen: str | None = None
    specimen_id: int | None = None
    reference_space: int | None = None
    thickness: float | None = None
    sections: int | None = None
    resolution: float | None = None
    representative: bool = False
    failed: bool = False
    synthetic: bool = False


class FoundImage(msgspec.Struct, frozen=True, kw_only=True):
    """A section image.

    Attributes
    ----------
    id, data_set_id : int
        The service's ids.
    section_number : int
        The laboratory's cutting index.
    width, height : int or None
        In full-resolution pixels.
    tier_count : int or None
        How many tiers the pyramid has.
    resolution : float or None
        Side of a full-resolution pixel, in µm.
    failed : bool
        Whether the image failed quality control.
    """

    id: int
    data_set_id: int | None = None
    section_number: int | None = None
    width: int | None = None
    height: int | None = None
    tier_count: int | None = None
    resolution: float | None = None
    failed: bool = False


class FoundGene(msgspec.Struct, frozen=True, kw_only=True):
    """A gene.

    Attributes
    ----------
    id : int
        The service's id; negative where the service sent none.
    acronym, name : str or None
        Such as ``"Pdyn"``, ``"prodynorphin"``.
    aliases : tuple of str
        Synonyms.
    entrez_id : int or None
        NCBI's number.
    ensembl_id : str or None
        Ensembl's id, where the service has it.
    organism : str
        ``"mouse"``, ``"human"``, or ``"organism 3"`` for another one.
    data_sets : int or None
        How many section data sets that did not fail show it; `None` where nobody has counted,
        because the service was asked about genes alone.
    """

    id: int
    acronym: str | None = None
    name: str | None = None
    aliases: tuple[str, ...] = ()
    entrez_id: int | None = None
    ensembl_id: str | None = None
    organism: str = "unknown"
    data_sets: int | None = None


class FoundSpecimen(msgspec.Struct, frozen=True, kw_only=True):
    """A specimen: the brain that sections were cut from.

    Attributes
    ----------
    id : int
        The service's id.
    name, donor : str or None
        Names of the specimen and of its donor.
    age, sex, strain : str or None
        Of the donor.
    data_sets : int or None
        How many section data sets of it did not fail; `None` where nobody has counted.
    """

    id: int
    name: str | None = None
    donor: str | None = None
    age: str | None = None
    sex: str | None = None
    strain: str | None = None
    data_sets: int | None = None


class FoundStructure(msgspec.Struct, frozen=True, kw_only=True):
    """A structure of the brain.

    Attributes
    ----------
    id : int
        The service's id, which annotation volumes hold.
    acronym, name : str or None
        Such as ``"DG"``, ``"Dentate gyrus"``.
    parent_id, graph_id, depth : int or None
        Where it stands in which ontology (1 is the adult mouse's).
    color : str or None
        Six hexadecimal digits, without ``#``.
    """

    id: int
    acronym: str | None = None
    name: str | None = None
    parent_id: int | None = None
    graph_id: int | None = None
    depth: int | None = None
    color: str | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What answered a search, and how old its knowledge is.

    Attributes
    ----------
    kind : {"catalogue", "service"}
        The catalogue on disk, or the service.
    url : str
        The service's address.
    when : datetime.datetime
        When the service was asked; the oldest moment where it was asked several times.
    """

    kind: Literal["catalogue", "service"]
    url: str
    when: datetime

    def __str__(self) -> str:
        day = f"{self.when:%Y-%m-%d}, {age_in_words(self.when)}"
        if self.kind == "catalogue":
            return f"the catalogue of {self.url} of {day}"
        return f"{self.url}, asked on {day}"


def age_in_words(when: datetime, now: datetime | None = None) -> str:
    """Return how long ago something was: ``"just now"``, ``"5 hours ago"``, ``"3 days ago"``."""
    seconds = ((now or datetime.now(UTC)) - when).total_seconds()
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        count = int(seconds // size)
        if count >= 1:
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"
