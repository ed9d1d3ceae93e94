"""Asking the service itself: queries that bring at least what a search is about.

The rows are put into a catalogue in memory, and the search is answered from that. So a query needs
to be narrow, but not exact: where a data set, a gene or a specimen is named, only that is sent, and
everything else is compared here. The answers are in the cache afterwards.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from atldld.errors import InvalidInputError, OfflineError, RMAError
from atldld.fetch.pages import Criteria, RMAParameters
from atldld.fetch.session import Session
from atldld.find.catalogue import Loader, finish, new_database
from atldld.find.conditions import PRODUCTS, Filters
from atldld.find.rows import Source

__all__ = ["DATASET_INCLUDES", "Query", "Service", "term"]

DATASET_INCLUDES = ("genes", "probes", "products", "treatments", "specimen(donor(age))")
AT_ONCE = 100  # ids in one query: addresses should stay below 4 kB

Record = dict[str, Any]


@dataclass(frozen=True)
class Query(RMAParameters):
    """An RMA query whose criteria are written in the service's language.

    Parameters
    ----------
    terms : str
        Such as ``"[failed$eqfalse],genes[acronym$in'Gad1','Pvalb']"``.
    only : str
        Columns to send, such as ``"sub_images.id,sub_images.width"``; all of them if empty.
    """

    terms: str = ""
    only: str = ""

    @property
    def text(self) -> str:
        """The query in the service's language."""
        model = f"model::{self.model}"
        criteria = f",rma::criteria,{self.terms}" if self.terms else ""
        text = f"{model}{criteria}{super().text.removeprefix(model)}"
        if not self.only:
            return text
        options = "" if "rma::options" in text else ",rma::options"
        return f"{text}{options}[only$eq'{self.only}']"


def term(criteria: Criteria, operator: str = "$eq") -> str:
    """Return criteria in the service's language, with another operator than equality."""
    text = RMAParameters("", criteria).text.partition(",rma::criteria,")[2]
    return text.replace("$eq", operator, 1)


def among(column: str, values: Sequence[str | int]) -> str:
    """Return a filter on one of several values: ``[id$in1,2]``."""
    if len(values) == 1:
        return term({column: values[0]})
    literals = [term({"": value}).removeprefix("[$eq").removesuffix("]") for value in values]
    return f"[{column}$in{','.join(literals)}]"


class Service:
    """The service as the source of one search.

    Parameters
    ----------
    session : Session
        Where to ask.
    refresh : bool
        Ask even if the answers are in the cache.
    """

    def __init__(self, session: Session, *, refresh: bool = False) -> None:
        self._session = session
        self._refresh = refresh
        self._asked: list[str] = []

    @property
    def source(self) -> Source:
        """The service as the source of an answer."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Source(
            kind="service",
            url=self._session.settings.api_url,
            when=datetime.fromisoformat(min(self._asked, default=now)),
        )

    def catalogue(self, kind: str, filters: Filters) -> sqlite3.Connection:
        """Return a catalogue in memory that holds at least what a search is about.

        Raises
        ------
        InvalidInputError
            The search is so wide that it would bring everything.
        OfflineError, ServiceError
            An answer is not in the cache, and cannot be had.
        """
        db = new_database()
        loader = Loader(db)
        if kind in ("dataset", "image"):
            self._datasets_or_images(loader, kind, filters)
        elif kind == "gene":
            self._genes(loader, filters)
        elif kind == "specimen":
            self._specimens(loader, filters)
        else:
            self._structures(loader, filters)
        finish(db)
        return db

    def images(self, data_set_ids: Iterable[int]) -> list[Record]:
        """Return the records of all images of some data sets.

        Those of data sets whose metadata are in the cache need no request.
        """
        rows: list[Record] = []
        missing = []
        for number in data_set_ids:
            known = None
            if not self._refresh:
                known = self._session.cache.read_document("datasets", str(number))
            images = (known or {}).get("section_images")
            if isinstance(images, list) and (known or {}).get("complete") is not False:
                rows += [{"data_set_id": number, **one} for one in images if one]
            else:
                missing.append(number)
        for some in batched_ids(missing):
            rows += self._rows("SectionImage", among("data_set_id", some), order="sub_images.id")
        return rows

    def near_genes(self, loader: Loader, text: str) -> None:
        """Load genes whose names look like a text, to suggest them."""
        beginning = text[: max(3, len(text) // 2)]
        for pattern in dict.fromkeys((text, f"{beginning}*")):
            if self._load_genes(loader, term({"acronym": pattern}, "$il")):
                return

    def _rows(
        self, model: str, terms: str, include: Sequence[str] = (), order: str | None = None
    ) -> list[Record]:
        answer = self._session.answer(
            Query(model, include=include, order=order, terms=terms), refresh=self._refresh
        )
        self._asked.append(str(answer.get("fetched") or datetime.now(UTC).isoformat()))
        return list(answer["rows"])

    def _datasets(self, loader: Loader, terms: Iterable[str], raw: str | None) -> int:
        text = ",".join(filter(None, (*terms, raw)))
        rows = self._rows("SectionDataSet", text, DATASET_INCLUDES, "data_sets.id")
        loader.load("SectionDataSet", rows)
        return len(rows)

    def _datasets_or_images(self, loader: Loader, kind: str, filters: Filters) -> None:
        of_datasets = bool(_dataset_terms(filters) or filters.gene or filters.specimen)
        if kind == "image" and (filters.id or filters.dataset or filters.rma) and not of_datasets:
            terms = [
                among(column, values)
                for column, values in (("id", filters.id), ("data_set_id", filters.dataset))
                if values
            ]
            text = ",".join(filter(None, ("".join(terms), filters.rma)))
            rows = self._rows("SectionImage", text, order="sub_images.id")
            loader.load("SectionImage", rows)
            return
        ids = filters.id if kind == "dataset" else filters.dataset
        named = among("id", ids) if ids else ""
        if filters.specimen:
            names = [name for name in filters.specimen if not name.isdecimal()]
            numbers = [int(name) for name in filters.specimen if name.isdecimal()]
            for column, values in (("name", names), ("id", numbers)):
                if values:
                    test = _alike_or_among if column == "name" else among
                    self._datasets(loader, [named, f"specimen{test(column, values)}"], filters.rma)
        elif ids:
            self._datasets(loader, [named], filters.rma)
        elif filters.gene:
            self._datasets_of_genes(loader, filters)
        else:
            terms = _dataset_terms(filters)
            if not terms and not filters.rma:
                raise InvalidInputError(
                    "A search without any condition would return everything there is.",
                    hint="Give an id, a gene, a specimen or a plane.",
                )
            self._datasets(loader, terms, filters.rma)

    def _datasets_of_genes(self, loader: Loader, filters: Filters) -> None:
        """Load the data sets of genes, whatever kind of name they are given by."""
        left = list(filters.gene)
        acronyms = [name for name in left if not name.isdecimal() and "*" not in name]
        for some in batched_ids(acronyms):
            self._datasets(loader, [f"genes{among('acronym', some)}"], filters.rma)
        known = {acronym for (acronym,) in loader.db.execute("SELECT acronym FROM gene")}
        for name in left:
            if name in known:
                continue
            for number, tried in enumerate(_gene_terms(name)):
                try:
                    if self._datasets(loader, [f"genes{tried}"], filters.rma):
                        break
                except (RMAError, OfflineError):
                    # not every archive has every column; and a later question was never asked
                    if number == 0 and not acronyms:
                        raise

    def _genes(self, loader: Loader, filters: Filters) -> None:
        if not (filters.name or filters.id or filters.rma):
            raise InvalidInputError(
                "A search for genes without any condition would return everything there is.",
                hint="Give a name, or make the catalogue with `atldld catalogue update`.",
            )
        raw = f",{filters.rma}" if filters.rma else ""
        if filters.id or not filters.name:
            ids = among("id", filters.id) if filters.id else ""
            self._load_genes(loader, (ids + raw).strip(","))
        for name in filters.name:
            for tried in (*_gene_terms(name), *_gene_patterns(name)):
                self._load_genes(loader, tried + raw)

    def _load_genes(self, loader: Loader, terms: str) -> int:
        try:
            rows = self._rows("Gene", terms, order="genes.id")
        except RMAError:
            return 0  # not every archive has every column
        loader.load("Gene", rows)
        return len(rows)

    def _specimens(self, loader: Loader, filters: Filters) -> None:
        terms = []
        if filters.id:
            terms.append(among("id", filters.id))
        numbers = [int(name) for name in filters.name if name.isdecimal()]
        names = [name for name in filters.name if not name.isdecimal()]
        donor = _donor_terms(filters)
        wanted = [
            *([_alike_or_among("name", names)] if names else []),
            *([among("id", numbers)] if numbers else []),
        ] or [""]
        if wanted == [""] and not (terms or donor or filters.rma):
            raise InvalidInputError(
                "A search for specimens without any condition would return everything there is.",
                hint="Give a name, or make the catalogue with `atldld catalogue update`.",
            )
        for one in wanted:
            text = ",".join(filter(None, ("".join((*terms, one)), donor, filters.rma)))
            rows = self._rows("Specimen", text, ("donor(age)",), "specimens.id")
            loader.load("Specimen", rows)

    def _structures(self, loader: Loader, filters: Filters) -> None:
        common = [
            among(column, values)
            for column, values in (
                ("id", filters.id),
                ("graph_id", filters.graph),
            )
            if values
        ]
        wanted = [""]
        if filters.name:
            wanted = []
            for name in filters.name:
                pattern = name if "*" in name else f"*{name}*"
                wanted += [
                    term({"acronym": pattern}, "$il"),
                    term({"name": pattern}, "$il"),
                    *([term({"id": int(name)})] if name.isdecimal() else []),
                ]
        elif not common and not filters.rma:
            # the adult mouse's: a few hundred kilobytes
            common = [term({"graph_id": 1})]
        for one in wanted:
            text = ",".join(filter(None, ("".join((*common, one)), filters.rma)))
            loader.load("Structure", self._rows("Structure", text, order="structures.id"))


def batched_ids(values: Sequence[Any], size: int = AT_ONCE) -> Iterator[tuple[Any, ...]]:
    """Cut a sequence into parts that fit into one query."""
    for start in range(0, len(values), size):
        yield tuple(values[start : start + size])


def _alike_or_among(column: str, values: Sequence[Any]) -> str:
    """Filter texts at least as widely as they are compared here: a ``*`` is anything."""
    if len(values) == 1:
        return term({column: values[0]}, "$il")
    if any("*" in str(value) for value in values):
        return term({column: "*"}, "$il")
    return among(column, values)


def _gene_terms(name: str) -> list[str]:
    """Return filters on genes for what a name may be, the likeliest first."""
    if "*" in name:
        return [term({"acronym": name}, "$il")]
    by_name = [term({"name": name}, "$il"), term({"alias_tags": f"*{name}*"}, "$il")]
    if name.isdecimal():
        return [term({"entrez_id": int(name)}), *by_name]
    if name.upper().startswith("ENS"):
        return [term({"ensembl_id": name.partition(".")[0]}), *by_name]
    return by_name


def _gene_patterns(name: str) -> list[str]:
    """Return filters on genes whose acronym or name holds a text."""
    if "*" in name:
        return []
    return [term({column: f"*{name}*"}, "$il") for column in ("acronym", "name")]


def _donor_terms(filters: Filters) -> str:
    own = "".join(
        _alike_or_among(column, getattr(filters, column))
        for column in ("sex", "strain")
        if getattr(filters, column)
    )
    age = f"(age{_alike_or_among('name', filters.age)})" if filters.age else ""
    return f"donor{own}{age}" if own or age else ""


def _dataset_terms(filters: Filters) -> list[str]:
    """Return what the service itself can tell of data sets, other than what they are called."""
    own = "".join(
        among(column, values)
        for column, values in (
            ("plane_of_section_id", filters.plane),
            ("reference_space_id", filters.space),
        )
        if values
    )
    terms = [own] if own else []
    if filters.treatment:
        names = [name.upper() for name in filters.treatment]
        terms.append(f"treatments{_alike_or_among('name', names)}")
    if filters.product and len(filters.product) == 1:
        name = filters.product[0]
        known = PRODUCTS.get(name.lower()) or (int(name) if name.isdecimal() else None)
        inner = term({"id": known}) if known else term({"name": f"*{name}*"}, "$il")
        terms.append(f"products{inner}")
    if filters.orientation:
        terms.append(f"probes{among('orientation_id', filters.orientation)}")
    donor = _donor_terms(filters)
    if donor:
        terms.append(f"specimen({donor})")
    return terms
