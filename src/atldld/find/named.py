"""Data sets and section images as people name them: by id, by a pasted address, by gene and plane.

One grammar, for every argument, option and list that names a data set::

    69289763                                          its id
    https://mouse.brain-map.org/experiment/show/69289763     the address of its page, or of the API
    Prox1:sagittal                                    a gene and the plane of section
    Prox1                                             a gene, where one data set fits

A gene stands for the one data set of it that can be placed in the adult brain. Where several
fit, the error lists them; none is chosen in silence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from atldld.errors import (
    AmbiguousNameError,
    DatasetNotFoundError,
    InvalidInputError,
    OfflineError,
    Remedy,
)
from atldld.fetch.session import default_session
from atldld.settings import API_URL
from atldld.support.addresses import shown_address
from atldld.support.arguments import check_id, plain, several

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.find.rows import FoundDataSet

__all__ = [
    "GeneInPlane",
    "find_dataset",
    "find_datasets",
    "read_dataset_name",
    "read_image_name",
]

PLANES = {
    "coronal": "coronal",
    "sagittal": "sagittal",
    "transverse": "transverse",
    "horizontal": "transverse",
}
"""Planes of section as they may be written, and as the service has them."""

MOST_LISTED = 12  # data sets that an error lists

_PAGES = "mouse.brain-map.org"
_SITE = "brain-map.org"
_API = urlsplit(API_URL).netloc
_PLANE_LAST = re.compile(rf"(?i)(?P<gene>.+?)\s*[:/,\s]\s*(?P<plane>{'|'.join(PLANES)})")
_GENE = re.compile(r"[^\W_][\w .,:;/()*'+@&\u2019-]{0,99}|\([\w .()*'+@&-]{1,98}")

_WHAT_IT_IS = (
    "Give its id, the address of its page at mouse.brain-map.org, or a gene with the plane of "
    "section, such as Prox1:sagittal."
)


@dataclass(frozen=True, slots=True)
class GeneInPlane:
    """A data set that is named by what it shows.

    Attributes
    ----------
    gene : str
        Acronym, name, synonym, Entrez or Ensembl id.
    plane : str or None
        Plane of section, as the service calls it.
    """

    gene: str
    plane: str | None = None

    def __str__(self) -> str:
        return self.gene if self.plane is None else f"{self.gene}:{self.plane}"


def read_dataset_name(value: Any, *, api_url: str = API_URL) -> int | GeneInPlane:
    """Return the id that a name of a section data set says, or the gene and the plane.

    Parameters
    ----------
    value : int or str
        An id, an address, or a gene with or without a plane.
    api_url : str
        The service that is asked: its addresses are read like those of api.brain-map.org.

    Returns
    -------
    int or GeneInPlane

    Raises
    ------
    InvalidInputError
        If the value is none of these, or the address of something else.

    Examples
    --------
    >>> read_dataset_name("https://mouse.brain-map.org/experiment/show/69289763?popup=true")
    69289763
    >>> read_dataset_name("Prox1:sagittal")
    GeneInPlane(gene='Prox1', plane='sagittal')
    """
    value = plain(value)
    if not isinstance(value, str) or _is_number(value):
        return check_id(value, "section data set")
    text = value.strip()
    address = _address(text, api_url)
    if address is not None:
        return _dataset_in(address, api_url)
    whole = _PLANE_LAST.fullmatch(text)
    gene = whole["gene"].strip() if whole else text
    if _GENE.fullmatch(gene) is None or not text.isprintable():
        raise InvalidInputError(
            f"{value!r:.80} is not the id of a section data set: ids are positive whole numbers.",
            hint=_WHAT_IT_IS,
        )
    return GeneInPlane(gene, PLANES[whole["plane"].lower()] if whole else None)


def read_image_name(value: Any, *, api_url: str = API_URL) -> int:
    """Return the id that a name of a section image says: the id, or an address that holds it.

    Parameters
    ----------
    value : int or str
        An id, or an address of an image or of a page that shows one.
    api_url : str
        See `read_dataset_name`.

    Raises
    ------
    InvalidInputError
        If the value is neither.
    """
    value = plain(value)
    address = _address(value.strip(), api_url) if isinstance(value, str) else None
    if address is None:
        return check_id(value, "section image")
    image = _image_in(address)
    if image is None:
        raise InvalidInputError(
            f"{shown_address(str(value).strip())} is not the address of a section image.",
            hint="Give the image's id, or name its data set and its section number.",
        )
    return image


def find_dataset(value: Any, *, session: Session | None = None) -> int:
    """Return the id of the section data set that is named.

    Parameters
    ----------
    value : int or str
        See `read_dataset_name`.
    session : Session, optional
        Where to look for genes: in its catalogue, or at its service.

    Raises
    ------
    InvalidInputError
        If the value is no name of a data set.
    AmbiguousNameError
        If several data sets of a gene fit; the error lists them.
    NotFoundError
        If there is no such gene, or no data set of it that fits.
    OfflineError, ServiceError, CacheError
        If the gene cannot be looked for.
    """
    named = read_dataset_name(value, **_service_of(session))
    return named if isinstance(named, int) else _find(named, session or default_session())


def find_datasets(values: Any, *, session: Session | None = None) -> list[int]:
    """Return the ids of the section data sets that are named, in order; see `find_dataset`.

    Parameters
    ----------
    values : int, str or iterable of these
        Names; commas may part several in one text.
    session : Session, optional
        See `find_dataset`.

    Raises
    ------
    InvalidInputError, NotFoundError, ServiceError
        See `find_dataset`.
    """
    names = (name for value in several(values) for name in _parted(value))
    return [find_dataset(name, session=session) for name in names]


def _service_of(session: Session | None) -> dict[str, str]:
    return {} if session is None else {"api_url": session.settings.api_url}


def _parted(value: Any) -> list[Any]:
    """Part a text at its commas, but not an address, nor a gene from its plane."""
    if not isinstance(value, str) or "," not in value or _SITE in value or "://" in value:
        return [value]
    parts: list[Any] = []
    for part in filter(None, (part.strip() for part in value.split(","))):
        if part.lower() in PLANES and parts:
            parts[-1] = f"{parts[-1]}:{part}"
        else:
            parts.append(part)
    return parts or [value]


def _find(named: GeneInPlane, session: Session) -> int:
    """Return the one data set that shows a gene in a plane."""
    from atldld.find.searches import search
    from atldld.place.spaces import PLACED_SPACES

    try:
        found: list[FoundDataSet] = list(search("dataset", gene=named.gene, session=session))
    except OfflineError as error:
        raise OfflineError(
            f"{named} is taken for a gene, and which data sets show it is not known here.",
            hint=f"Ask once without {Remedy.OFFLINE}, make a catalogue with `atldld catalogue "
            "update`, or give the id of the data set.",
        ) from error
    pool = [one for one in found if one.reference_space in PLACED_SPACES] or found
    fitting = [one for one in pool if named.plane in (None, one.plane)]
    if len(fitting) == 1:
        return fitting[0].id
    if not fitting:
        there = f"; there are: {'; '.join(map(_described, pool[:MOST_LISTED]))}." if pool else "."
        plane = "" if named.plane is None else f"{named.plane} "
        raise DatasetNotFoundError(
            f"There is no {plane}section data set of the gene {named.gene}{there}",
            hint="Search with `atldld search dataset`.",
        )
    planes = {one.plane for one in fitting}
    also = " or add the plane of section" if len(planes) > 1 else ""
    raise AmbiguousNameError(
        f"{named} may be any of {len(fitting)} section data sets.",
        candidates=[_described(one) for one in fitting[:MOST_LISTED]],
        hint=f"Name one by its id{also}"
        + (f", as in {named.gene}:{sorted(planes)[0]}." if also else "."),
    )


def _described(found: FoundDataSet) -> str:
    """Return what tells a data set from others of its gene, in a line."""
    facts = [
        found.plane,
        found.age,
        f"specimen {found.specimen}" if found.specimen else None,
        " ".join((*found.treatments, *found.probes)) or None,
        f"{found.sections} sections" if found.sections else None,
        "shown first by the Allen Institute" if found.representative else None,
    ]
    return f"{found.id} ({', '.join(fact for fact in facts if fact)})"


def _is_number(text: str) -> bool:
    """Whether a text is meant as a number, so that it is an id or a wrong one."""
    try:
        float(text)
    except ValueError:
        return not text.strip()
    return True


def _address(text: str, api_url: str) -> SplitResult | None:
    """Return a text as an address, if it is one; browsers leave its scheme off."""
    text = text.removeprefix("<").removesuffix(">")
    if "://" not in text:
        host = text.removeprefix("//").partition("/")[0].rpartition("@")[2].lower()
        if host.partition(":")[0].endswith(_SITE) or host == urlsplit(api_url).netloc.lower():
            text = f"https://{text.removeprefix('//')}"
    try:
        return urlsplit(text) if re.match(r"(?i)[a-z][a-z0-9+.-]*://", text) else None
    except ValueError:
        raise InvalidInputError(f"{shown_address(text)} is no address.", hint=_WHAT_IT_IS) from None


def _dataset_in(address: SplitResult, api_url: str) -> int:
    """Return the data set that an address is of, or say what it is of instead."""
    host = (address.hostname or "").lower().removeprefix("www.")
    shown = shown_address(address.geturl())
    if host == _PAGES:
        ids = _of_page(address)
        if ids:
            return check_id(ids[0], "section data set")
        what = "a page about a gene" if "/gene/" in address.path else "no page of an experiment"
        hint = "Open the page of the experiment and paste its address, or give the gene itself."
    elif address.netloc.lower() in (_API, urlsplit(api_url).netloc.lower()) or host == _API:
        ids = _of_api(address)
        if len(ids) == 1:
            return check_id(ids[0], "section data set")
        if ids:
            what, hint = f"a query about {len(ids)} data sets", "Name one data set at a time."
        elif _image_in(address) is not None:
            what = "the address of a section image, not of a data set"
            hint = "`atldld download image` takes it."
        else:
            what, hint = "no address of one section data set", _WHAT_IT_IS
    elif host.endswith(_SITE):
        what = "a page of another atlas than the adult mouse brain's in situ hybridisation"
        hint = f"Only data sets of {_PAGES} can be placed."
    else:
        what, hint = "no address of the Allen Brain Atlas", _WHAT_IT_IS
    raise InvalidInputError(f"{shown} is {what}.", hint=hint)


def _of_page(address: SplitResult) -> list[str]:
    """Return the data set in an address of mouse.brain-map.org: of its page, or of its viewer."""
    parts = [part for part in unquote(address.path).split("/") if part]
    if not parts or parts[0].lower() not in ("experiment", "imageseries"):
        return []
    for part in parts[1:]:
        number = re.fullmatch(r"(\d+)(?:\.\w+)?", part)
        if number:
            return [number[1]]
    # siv?id=…&imageId=…, and the query of a page that is built by a script, behind its #
    for query in (address.query, address.fragment.partition("?")[2]):
        given = parse_qs(query)
        if given.get("id", [""])[0].isdigit():
            return [given["id"][0]]
    return []


def _of_api(address: SplitResult) -> list[str]:
    """Return the data sets that an address of the API asks for."""
    path = unquote(address.path)
    number = re.search(r"(?i)/(?:SectionDataSet|grid_data/download)/(\d+)(?:\.\w+)?/?$", path)
    if number:
        return [number[1]]
    if "/data/" not in path:
        return []
    query = unquote(address.query.replace("+", " "))
    of_images = re.search(r"(?i)model::SectionImage|/SectionImage/", path + query)
    column = r"(?:section_)?data_set_id" if of_images else r"(?:(?:section_)?data_sets?\.)?id"
    nested = r"(?i)(?:section_)?data_set\[id\$eq'?(\d+)"
    listed = re.search(rf"(?i)(?<![\w.]){column}\$(?:eq|in)((?:'?\d+'?,?)+)", query)
    if listed and re.search(r"(?i)SectionDataSet|SectionImage", path + query):
        return list(dict.fromkeys(re.findall(r"\d+", listed[1])))
    if of_images:
        return list(dict.fromkeys(re.findall(nested, query)))
    plain_id = parse_qs(address.query).get("id", [""])[0]
    return [plain_id] if "/SectionDataSet/" in path and plain_id.isdigit() else []


def _image_in(address: SplitResult) -> int | None:
    """Return the section image that an address is of, or whose page it is."""
    given = {name.lower(): values[0] for name, values in parse_qs(address.query).items()}
    for name in ("imageid", "image_id", "section_image_id"):
        if given.get(name, "").isdigit():
            return int(given[name])
    path = unquote(address.path)
    found = re.search(
        r"(?i)/(?:SectionImage|section_image_download|image_download|expression_image_download"
        r"|image_to_reference)/(\d+)(?:\.\w+)?/?$",
        path,
    )
    if found:
        return int(found[1])
    asked = unquote(address.query.replace("+", " "))
    if re.search(r"(?i)model::SectionImage|/SectionImage/", path + asked):
        one = re.search(r"(?i)(?<![\w.])(?:sub_images\.)?id\$eq'?(\d+)", asked)
        if one:
            return int(one[1])
    return None
